package otelcore_test

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	otelcore "github.com/otelcore/otelcore/bindings/go"
)

var changing = strings.NewReplacer("batch: {timeout: 10s}", "inproc/change: {}", "[batch]", "[inproc/change]").Replace(through)

// runs starts a collector whose processor is this function.
func runs(t *testing.T, yaml string, process func(context.Context, *otelcore.Payload) error) (*otelcore.Collector, *otelcore.Input, *otelcore.Output) {
	t.Helper()
	collector := made(t, otelcore.Config{YAML: yaml})
	processor, err := collector.Processor("inproc/change")
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- processor.Run(context.Background(), process) }()
	t.Cleanup(func() {
		_ = collector.Close()
		must(t, <-done)
	})
	must(t, collector.Start(t.Context()))
	input, err := collector.Input("inproc/app")
	must(t, err)
	output, err := collector.Output("inproc/out")
	must(t, err)
	return collector, input, output
}

func TestProcessorChangesAndDropsItems(t *testing.T) {
	seen := 0
	var failed atomic.Value
	check := func(ok bool, what string) {
		if !ok {
			failed.Store(what)
		}
	}
	_, input, output := runs(t, changing, func(_ context.Context, payload *otelcore.Payload) error {
		check(payload.Signal() == otelcore.Traces, "the signal")
		check(errors.Is(payload.Replace([]byte{0x0a, 0xff}), otelcore.ErrInvalidData), "invalid bytes")
		err := payload.Edit(func(item *otelcore.Item) otelcore.Keep {
			switch item.Kind() {
			case otelcore.ResourceItem:
				check(item.SetAttribute("service.name", "shop") == nil, "a resource's attribute")
				check(errors.Is(item.SetName("x"), otelcore.ErrNotFound), "a resource has no name")
				return otelcore.KeepItem
			case otelcore.SpanItem:
			default:
				return otelcore.KeepItem
			}
			seen++
			for _, value := range []any{"text", true, int64(seen), 1.5, nil} {
				check(item.SetAttribute("key", value) == nil, "set")
				got, ok := item.Attribute("key")
				check(ok && got == value, "the value that was set")
			}
			check(item.SetAttribute("key", []byte("bytes")) == nil, "bytes")
			got, _ := item.Attribute("key")
			check(bytes.Equal(got.([]byte), []byte("bytes")), "the bytes that were set")
			for _, value := range []any{
				[]any{}, map[string]any{},
				[]any{"x", int64(-1), nil, []any{true, false}, map[string]any{"k": 1.5}, []byte("b")},
				map[string]any{"list": []any{"a"}, "": nil, "n": int64(1) << 62},
			} {
				check(item.SetAttribute("key", value) == nil, "set a list or map")
				got, ok := item.Attribute("key")
				check(ok && reflect.DeepEqual(got, value), "the list or map that was set")
			}
			deep := []any{}
			for range 99 {
				deep = []any{deep}
			}
			check(item.SetAttribute("key", deep) == nil, "a list nested 100 deep")
			for _, value := range []any{struct{}{}, []any{struct{}{}}, map[string]any{"\xff": nil}, []any{"\xff"}, []any{deep}} {
				check(errors.Is(item.SetAttribute("key", value), otelcore.ErrInvalidArgument), "no value")
			}
			check(item.RemoveAttribute("key") == nil, "remove")
			_, ok := item.Attribute("key")
			check(!ok, "it is removed")
			service, _ := item.ResourceAttribute("service.name")
			check(service == "shop", "the resource's attribute")
			check(item.SetName("renamed") == nil && item.Name() == "renamed", "the name")
			check(errors.Is(item.SetBody("x"), otelcore.ErrNotFound), "a span has no body")
			if seen%2 == 0 {
				return otelcore.DropItem
			}
			return otelcore.SkipItem
		})
		check(err == nil && bytes.Count(payload.Data(), []byte("renamed")) == 2, "the edit")
		return err
	})
	must(t, input.Submit(t.Context(), otelcore.Traces, spans(4)))
	batch := next(t, output)
	if bytes.Count(batch.Data(), []byte("renamed")) != 2 || !bytes.Contains(batch.Data(), []byte("shop")) {
		t.Errorf("not as it was edited: % x", batch.Data())
	}
	must(t, batch.Ack())
	if what := failed.Load(); what != nil {
		t.Error(what)
	}
}

func TestProcessorErrorsAndPanicsHaveTheirOutcome(t *testing.T) {
	var calls atomic.Int32
	collector, input, output := runs(t, changing, func(_ context.Context, payload *otelcore.Payload) error {
		switch calls.Add(1) {
		case 1:
			return &otelcore.Error{Code: otelcore.Unavailable, Retryable: true} // its sender sends it again
		case 2:
			return errors.New("never")
		case 3:
			panic("on request")
		case 4:
			return payload.Edit(func(*otelcore.Item) otelcore.Keep { panic("on request") })
		case 5:
			return payload.Drop()
		}
		return payload.Replace(spans(9))
	})
	for want := int32(2); want <= 5; want++ {
		must(t, input.Submit(t.Context(), otelcore.Traces, spans(1)))
		must(t, collector.Flush(within(t, 20*time.Second)))
		if calls.Load() != want {
			t.Fatalf("%d calls, not %d", calls.Load(), want)
		}
	}
	must(t, input.Submit(t.Context(), otelcore.Traces, spans(2)))
	batch := next(t, output)
	if count := items(t, batch.Data()); count != 9 {
		t.Errorf("%d spans", count)
	}
	must(t, batch.Ack())
}

func TestProcessorThatTakesTooLongDoesNotStopTheCollector(t *testing.T) {
	yaml := strings.Replace(changing, "inproc/change: {}", "inproc/change: {timeout: 50ms}", 1)
	release := make(chan struct{})
	var calls atomic.Int32
	collector, input, output := runs(t, yaml, func(context.Context, *otelcore.Payload) error {
		if calls.Add(1) == 1 {
			<-release
		}
		return nil
	})
	must(t, input.Submit(t.Context(), otelcore.Traces, spans(3)))
	eventually(t, "a call", func() bool { return calls.Load() == 1 })
	time.Sleep(100 * time.Millisecond)
	if state := collector.State(); state != otelcore.Running {
		t.Error(state)
	}
	close(release)
	must(t, next(t, output).Ack())
}

func TestPayloadsAreTakenOneByOne(t *testing.T) {
	collector := made(t, otelcore.Config{YAML: changing})
	if err := collector.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "inproc/change") {
		t.Fatalf("a processor that nobody asked for: %v", err)
	}
	collector = made(t, otelcore.Config{YAML: changing})
	processor, err := collector.Processor("inproc/change")
	must(t, err)
	if _, err := collector.Processor("inproc/none"); !errors.Is(err, otelcore.ErrNotFound) {
		t.Error(err)
	}
	must(t, collector.Start(t.Context()))
	input, err := collector.Input("inproc/app")
	must(t, err)
	output, err := collector.Output("inproc/out")
	must(t, err)
	if _, err := processor.Next(within(t, 10*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	must(t, input.Submit(t.Context(), otelcore.Traces, spans(3)))
	take := func() *otelcore.Payload {
		payload, err := processor.Next(within(t, 20*time.Second))
		must(t, err)
		return payload
	}
	must(t, take().RetryAfter(time.Millisecond))
	must(t, take().Reject(true))
	payload := take()
	must(t, payload.Pass())
	if err := payload.Pass(); !errors.Is(err, otelcore.ErrClosed) {
		t.Error(err)
	}
	if payload.Data() != nil || payload.Edit(nil) == nil {
		t.Error("a finished payload can be used")
	}
	must(t, next(t, output).Ack())
	must(t, collector.Shutdown(within(t, 20*time.Second)))
	if _, err := processor.Next(t.Context()); !errors.Is(err, otelcore.ErrClosed) {
		t.Error(err)
	}
}

func TestPayloadThatIsBeingEditedIsFinishedAfterwards(t *testing.T) {
	collector := made(t, otelcore.Config{YAML: strings.Replace(changing, "inproc/change: {}", "inproc/change: {timeout: 0}", 1)})
	processor, err := collector.Processor("inproc/change")
	must(t, err)
	must(t, collector.Start(t.Context()))
	input, err := collector.Input("inproc/app")
	must(t, err)
	output, err := collector.Output("inproc/out")
	must(t, err)
	must(t, input.Submit(t.Context(), otelcore.Traces, spans(3)))
	payload, err := processor.Next(within(t, 20*time.Second))
	must(t, err)
	calls := []func() error{payload.Pass, payload.Drop, func() error { return payload.Reject(true) }, func() error { return payload.RetryAfter(0) }}
	must(t, payload.Edit(func(*otelcore.Item) otelcore.Keep {
		for _, call := range calls {
			if err := call(); err == nil || !strings.Contains(err.Error(), "edited") {
				t.Error(err)
			}
		}
		return otelcore.KeepItem
	}))
	must(t, payload.Pass())
	batch := next(t, output)
	if count := items(t, batch.Data()); count != 3 {
		t.Errorf("%d spans", count)
	}
	must(t, batch.Ack())
	must(t, collector.Shutdown(within(t, 20*time.Second)))
}
