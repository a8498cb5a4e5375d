package otelcore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	otelcore "github.com/otelcore/otelcore/bindings/go"
)

func TestALifeFromNewToClose(t *testing.T) {
	collector := made(t, otelcore.Config{YAML: strings.Replace(through, "  telemetry: {metrics: {level: none}}\n", "", 1)})
	if state := collector.State(); state != otelcore.Created {
		t.Fatal(state)
	}
	input, err := collector.Input("inproc/app")
	must(t, err)
	output, err := collector.Output("inproc/out")
	must(t, err)
	if err := input.Submit(t.Context(), otelcore.Traces, spans(3)); !errors.Is(err, otelcore.ErrInvalidState) {
		t.Fatal(err)
	}
	must(t, collector.Start(t.Context()))
	if state := collector.State(); state != otelcore.Running || state.String() != "running" {
		t.Fatal(state)
	}
	must(t, input.Submit(t.Context(), otelcore.Traces, spans(3)))
	must(t, input.Submit(t.Context(), otelcore.Traces, spans(4)))
	health, err := collector.Health()
	must(t, err)
	if health.State != "running" || health.HeldBytes == 0 || health.Error != "" {
		t.Fatalf("%+v", health)
	}
	statuses, err := collector.ComponentStatuses()
	must(t, err)
	if len(statuses) == 0 {
		t.Fatal("no statuses")
	}
	for _, status := range statuses {
		if status.Status != "ok" || status.Kind == "" || status.ID == "" || status.ChangedAt.IsZero() || status.Addresses == nil {
			t.Fatalf("%+v", status)
		}
	}
	page, err := collector.Metrics()
	must(t, err)
	if !bytes.Contains(page, []byte("otelcol_receiver_accepted_spans")) {
		t.Fatalf("%s", page)
	}
	// The batch would wait for ten seconds; the flush ends when it is acknowledged.
	const thinking = 30 * time.Millisecond
	taken := make(chan int, 1)
	go func() {
		batch, err := output.Next(context.Background())
		if err != nil {
			t.Error(err)
			taken <- 0
			return
		}
		time.Sleep(thinking)
		taken <- items(t, batch.Data())
		if batch.Signal() != otelcore.Traces {
			t.Error(batch.Signal())
		}
		if err := batch.Ack(); err != nil {
			t.Error(err)
		}
	}()
	begun := time.Now()
	must(t, collector.Flush(within(t, 8*time.Second)))
	if took := time.Since(begun); took < thinking || took > 5*time.Second {
		t.Fatal(took)
	}
	if n := <-taken; n != 7 {
		t.Fatal(n)
	}
	must(t, collector.Shutdown(within(t, 5*time.Second)))
	if state := collector.State(); state != otelcore.Stopped {
		t.Fatal(state)
	}
	if _, err := output.Next(t.Context()); !errors.Is(err, otelcore.ErrClosed) {
		t.Fatal(err)
	}
	if err := input.Submit(t.Context(), otelcore.Traces, spans(1)); !errors.Is(err, otelcore.ErrClosed) {
		t.Fatal(err)
	}
	if err := collector.Start(t.Context()); !errors.Is(err, otelcore.ErrClosed) {
		t.Fatal(err)
	}
	must(t, collector.Shutdown(t.Context()))
	must(t, collector.Close())
}

func TestMistakesAreToldWithTheirPlaces(t *testing.T) {
	_, err := otelcore.New(otelcore.Config{YAML: "receivers: {inproc: {max_queue: 1}}\n", Name: "mine.yaml"})
	if !errors.Is(err, otelcore.ErrInvalidConfig) || !strings.Contains(err.Error(), "mine.yaml:1:22") {
		t.Fatal(err)
	}
	var failure *otelcore.Error
	if !errors.As(err, &failure) || failure.Code != otelcore.InvalidConfig || failure.Retryable {
		t.Fatalf("%#v", err)
	}
	for _, config := range []otelcore.Config{{}, {YAML: "\xff"}, {YAML: through, Name: "a\x00b"}, {YAML: "a: b: c"}} {
		if collector, err := otelcore.New(config); err == nil {
			t.Errorf("%+v gave %v", config, collector)
		}
	}
	if _, err := otelcore.New(otelcore.Config{YAML: through, Name: "a\x00b"}); !errors.Is(err, otelcore.ErrInvalidArgument) {
		t.Error(err)
	}
}

func TestWhatIsUsedInTheWrongWaySaysSo(t *testing.T) {
	collector := made(t, otelcore.Config{YAML: through})
	if _, err := collector.Input("inproc/other"); !errors.Is(err, otelcore.ErrNotFound) || !strings.Contains(err.Error(), "inproc/app") {
		t.Error(err)
	}
	if _, err := collector.Output("a\x00b"); !errors.Is(err, otelcore.ErrInvalidArgument) {
		t.Error(err)
	}
	if err := collector.Flush(t.Context()); !errors.Is(err, otelcore.ErrInvalidState) {
		t.Error(err)
	}
	must(t, collector.Start(t.Context()))
	if err := collector.Start(t.Context()); !errors.Is(err, otelcore.ErrInvalidState) {
		t.Error(err)
	}
	input, err := collector.Input("inproc/app")
	must(t, err)
	if second, err := collector.Input("inproc/app"); err != nil || second != input {
		t.Error(second, err)
	}
	output, err := collector.Output("inproc/out")
	must(t, err)
	for name, refused := range map[string]error{
		"of a signal without a pipeline": input.Submit(t.Context(), otelcore.Logs, nil),
		"of no signal":                   input.Submit(t.Context(), otelcore.Signal(7), nil),
		"that is no request":             input.Submit(t.Context(), otelcore.Traces, []byte("\x0a\xff")),
	} {
		want := map[string]error{
			"of a signal without a pipeline": otelcore.ErrNotFound,
			"of no signal":                   otelcore.ErrInvalidArgument,
			"that is no request":             otelcore.ErrInvalidData,
		}[name]
		if !errors.Is(refused, want) {
			t.Errorf("a body %s: %v", name, refused)
		}
	}
	must(t, input.Submit(t.Context(), otelcore.Traces, nil))
	must(t, input.Submit(t.Context(), otelcore.Traces, []byte{}))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := input.Submit(over, otelcore.Traces, spans(1)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}

	must(t, collector.Close())
	must(t, collector.Close())
	if state := collector.State(); state != otelcore.Gone || state.String() != "closed" {
		t.Error(state)
	}
	_, health := collector.Health()
	_, page := collector.Metrics()
	_, in := collector.Input("inproc/app")
	_, out := collector.Output("inproc/out")
	_, batch := output.Next(t.Context())
	for name, err := range map[string]error{
		"Start": collector.Start(t.Context()), "Flush": collector.Flush(t.Context()),
		"Shutdown": collector.Shutdown(t.Context()), "Health": health, "Metrics": page, "Input": in, "Output": out,
		"Submit": input.Submit(t.Context(), otelcore.Traces, spans(1)), "Next": batch,
	} {
		if !errors.Is(err, otelcore.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}

	var none otelcore.Collector
	if err := none.Start(t.Context()); !errors.Is(err, otelcore.ErrInvalidArgument) {
		t.Error(err)
	}
	if _, err := none.Input("inproc/app"); !errors.Is(err, otelcore.ErrInvalidArgument) {
		t.Error(err)
	}
	must(t, none.Close())
	var nowhere otelcore.Output
	if _, err := nowhere.Next(t.Context()); !errors.Is(err, otelcore.ErrInvalidArgument) {
		t.Error(err)
	}
}

func TestAPortInUseIsToldByStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	yaml := strings.Replace(through, "receivers: {inproc/app: }",
		fmt.Sprintf("receivers: {inproc/app: , otlp: {protocols: {grpc: {endpoint: %q}}}}", taken.Addr()), 1)
	yaml = strings.Replace(yaml, "receivers: [inproc/app]", "receivers: [inproc/app, otlp]", 1)
	collector := made(t, otelcore.Config{YAML: yaml})
	err = collector.Start(t.Context())
	if !errors.Is(err, otelcore.ErrIO) || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Fatal(err)
	}
	if collector.State() != otelcore.Failed {
		t.Fatal(collector.State())
	}
	health, err := collector.Health()
	must(t, err)
	if health.State != "failed" || health.Error == "" {
		t.Fatalf("%+v", health)
	}
	must(t, collector.Shutdown(t.Context()))
}

func TestAWaitForABatchEndsWithItsContextAndNoOtherDoes(t *testing.T) {
	collector, input, output := started(t, direct)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := output.Next(over); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := output.Next(within(t, 20*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	// Several calls wait, all but one are cancelled one after another, and the last one gets the batch.
	const waiters = 20
	var calledOff atomic.Int32
	var wait sync.WaitGroup
	var cancels []context.CancelFunc
	got := make(chan *otelcore.Batch, 1)
	for i := range waiters {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if i > 0 {
			cancels = append(cancels, cancel)
		}
		wait.Go(func() {
			batch, err := output.Next(ctx)
			switch {
			case err == nil:
				got <- batch
			case errors.Is(err, context.Canceled):
				calledOff.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	for i, cancel := range cancels {
		cancel()
		eventually(t, "a wait that was called off returns", func() bool { return int(calledOff.Load()) == i+1 })
	}
	must(t, input.Submit(t.Context(), otelcore.Traces, spans(2)))
	wait.Wait()
	batch := <-got
	if n := items(t, batch.Data()); n != 2 {
		t.Fatal(n)
	}
	must(t, batch.Ack())
	must(t, collector.Shutdown(within(t, 5*time.Second)))
}

func TestAContextThatEndsWhileBatchesComeLosesNone(t *testing.T) {
	collector, input, output := started(t, direct)
	const requests = 300
	go func() {
		for range requests {
			if err := input.Submit(context.Background(), otelcore.Traces, spans(1)); err != nil {
				t.Error(err)
			}
			time.Sleep(50 * time.Microsecond)
		}
	}()
	came := 0
	for end := time.Now().Add(20 * time.Second); came < requests && time.Now().Before(end); {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(came%7)*30*time.Microsecond)
		batch, err := output.Next(ctx)
		cancel()
		if err == nil {
			came += items(t, batch.Data())
			must(t, batch.Ack())
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if came%7 == 0 {
			// A timeout of zero gets no batch.
			if batch, err := output.Next(within(t, time.Second)); err == nil {
				came += items(t, batch.Data())
				must(t, batch.Ack())
			}
		}
	}
	if came != requests {
		t.Fatal(came)
	}
	must(t, collector.Shutdown(within(t, 5*time.Second)))
}

func TestWaitersReturnWhenTheCollectorEnds(t *testing.T) {
	for name, end := range map[string]func(*otelcore.Collector) error{
		"Shutdown": func(c *otelcore.Collector) error { return c.Shutdown(within(t, 5*time.Second)) },
		"Close":    (*otelcore.Collector).Close,
	} {
		collector, _, output := started(t, direct)
		waiters := make(chan error, 3)
		for range cap(waiters) {
			go func() {
				_, err := output.Next(context.Background())
				waiters <- err
			}()
		}
		time.Sleep(10 * time.Millisecond)
		must(t, end(collector))
		for range cap(waiters) {
			if err := <-waiters; !errors.Is(err, otelcore.ErrClosed) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestABatchThatIsNotTakenComesAgain(t *testing.T) {
	yaml := strings.Replace(direct, "inproc/out: }", "inproc/out: {retry_on_failure: {initial_interval: 10ms}}}", 1)
	collector, input, output := started(t, yaml)
	must(t, input.Submit(t.Context(), otelcore.Traces, spans(5)))
	must(t, next(t, output).Reject(true))
	begun := time.Now()
	must(t, next(t, output).RetryAfter(50*time.Millisecond))
	batch := next(t, output)
	if since := time.Since(begun); since < 50*time.Millisecond {
		t.Error(since)
	}
	must(t, batch.Ack())
	for _, err := range []error{batch.Ack(), batch.Reject(true), batch.RetryAfter(0)} {
		if !errors.Is(err, otelcore.ErrClosed) {
			t.Error(err)
		}
	}
	if n := items(t, batch.Data()); n != 5 {
		t.Error(n, "the data outlives the batch")
	}
	// A batch that is rejected permanently is dropped.
	must(t, input.Submit(t.Context(), otelcore.Traces, spans(5)))
	must(t, next(t, output).Reject(false))
	must(t, collector.Flush(within(t, 5*time.Second)))
	if batch, err := output.Next(within(t, 50*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(batch, err)
	}
	must(t, collector.Shutdown(within(t, 5*time.Second)))
}

func TestManySubmitAndTakeAtOnceAndNothingIsLost(t *testing.T) {
	collector, input, output := started(t, strings.Replace(through, "10s", "1ms", 1))
	const submitters, each = 8, 250
	var taken atomic.Int64
	var takers, all sync.WaitGroup
	for range 3 {
		takers.Go(func() {
			for {
				batch, err := output.Next(context.Background())
				if errors.Is(err, otelcore.ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				taken.Add(int64(items(t, batch.Data())))
				if err := batch.Ack(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range submitters {
		all.Go(func() {
			for range each {
				if err := input.Submit(t.Context(), otelcore.Traces, spans(2)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	must(t, collector.Flush(within(t, 20*time.Second)))
	if n := taken.Load(); n != 2*submitters*each {
		t.Error(n)
	}
	must(t, collector.Shutdown(within(t, 5*time.Second)))
	takers.Wait()
}

func TestWhatNobodyTakesIsReportedByTheShutdown(t *testing.T) {
	collector, input, _ := started(t, through)
	must(t, input.Submit(t.Context(), otelcore.Traces, spans(6)))
	if err := collector.Flush(within(t, 20*time.Millisecond)); !errors.Is(err, otelcore.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	err := collector.Shutdown(within(t, 100*time.Millisecond))
	if !errors.Is(err, otelcore.ErrTimeout) || !strings.Contains(err.Error(), "6 in exporter inproc/out") {
		t.Fatal(err)
	}
	if collector.State() != otelcore.Stopped {
		t.Error(collector.State())
	}
}

func TestACancelledContextEndsAFlushAndAShutdownEarly(t *testing.T) {
	collector, input, _ := started(t, through)
	must(t, input.Submit(t.Context(), otelcore.Traces, spans(6)))
	for name, call := range map[string]func(context.Context) error{"Flush": collector.Flush, "Shutdown": collector.Shutdown} {
		until, cancelUntil := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancelUntil()
		ctx, cancel := context.WithCancel(until)
		begun := time.Now()
		time.AfterFunc(30*time.Millisecond, cancel)
		err := call(ctx)
		if took := time.Since(begun); err == nil || took > time.Second || name == "Flush" && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v after %v", name, err, took)
		}
		if name == "Shutdown" {
			break
		}
	}
}

func TestAStartThatIsCalledOffEndsTheCollector(t *testing.T) {
	for range 20 {
		collector := made(t, otelcore.Config{YAML: through})
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		err := collector.Start(ctx)
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if err != nil {
			eventually(t, "it ends", func() bool {
				state := collector.State()
				return state == otelcore.Stopped || state == otelcore.Created
			})
		}
		must(t, collector.Shutdown(within(t, 5*time.Second)))
	}
}

func TestAnOverfullInputSaysSoAndWhen(t *testing.T) {
	yaml := strings.NewReplacer("inproc/app: }", "inproc/app: {max_queue_bytes: 100}}",
		"inproc/out: }", "inproc/out: {sending_queue: {queue_size: 1}}}").Replace(direct)
	collector, input, output := started(t, yaml)
	accepted := 0
	var refused error
	for end := time.Now().Add(10 * time.Second); refused == nil && time.Now().Before(end); {
		if refused = input.Submit(t.Context(), otelcore.Traces, spans(9)); refused == nil {
			accepted += 9
		}
	}
	var failure *otelcore.Error
	if !errors.Is(refused, otelcore.ErrOverloaded) || !errors.As(refused, &failure) || !failure.Retryable || failure.RetryAfter <= 0 {
		t.Fatalf("%#v", refused)
	}
	for came := 0; came < accepted; {
		batch := next(t, output)
		came += items(t, batch.Data())
		must(t, batch.Ack())
	}
	must(t, collector.Shutdown(within(t, 5*time.Second)))
}

func TestASubmitAllocatesNothingInGo(t *testing.T) {
	collector, input, _ := started(t, direct)
	ctx, body := t.Context(), spans(0)
	if n := testing.AllocsPerRun(100, func() {
		if err := input.Submit(ctx, otelcore.Traces, body); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	must(t, collector.Shutdown(within(t, 5*time.Second)))
}

func BenchmarkSubmit(b *testing.B) {
	_, input, output := started(b, direct)
	go func() {
		for {
			batch, err := output.Next(context.Background())
			if err != nil {
				return
			}
			_ = batch.Ack()
		}
	}()
	body := spans(30)
	b.ReportAllocs()
	for b.Loop() {
		for errors.Is(input.Submit(b.Context(), otelcore.Traces, body), otelcore.ErrOverloaded) {
			time.Sleep(time.Millisecond)
		}
	}
}

// lines is the writer of a test's logger.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	gate chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	if l.gate != nil {
		<-l.gate
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestTheLogGoesToTheLoggerFromItsLevelOn(t *testing.T) {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelError, slog.LevelError + 1} {
		var logged lines
		logger := slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: level}))
		collector := made(t, otelcore.Config{YAML: direct, Log: logger})
		must(t, collector.Start(t.Context()))
		input, err := collector.Input("inproc/app")
		must(t, err)
		output, err := collector.Output("inproc/out")
		must(t, err)
		must(t, input.Submit(t.Context(), otelcore.Traces, spans(3)))
		must(t, next(t, output).Reject(false))
		must(t, collector.Flush(within(t, 5*time.Second)))
		must(t, collector.Shutdown(within(t, 5*time.Second)))
		must(t, collector.Close())
		text := logged.String()
		lost := strings.Contains(text, "level=ERROR") && strings.Contains(text, `component="exporter inproc/out"`) &&
			strings.Contains(text, "dropped_items=3")
		if lost != (level <= slog.LevelError) || (text == "") != (level > slog.LevelError) {
			t.Errorf("at %v: %s", level, text)
		}
		if strings.Contains(text, "level=INFO") != (level == slog.LevelDebug) {
			t.Errorf("at %v: %s", level, text)
		}
	}
}

func TestALoggerThatDoesNotKeepUpHoldsNothingUpAndIsToldWhatItMissed(t *testing.T) {
	logged := lines{gate: make(chan struct{})}
	logger := slog.New(slog.NewTextHandler(&logged, nil))
	// The debug exporter writes a record for each payload.
	const logging = `
receivers: {inproc/app: }
exporters: {debug: }
service:
  telemetry: {metrics: {level: none}}
  pipelines: {traces: {receivers: [inproc/app], exporters: [debug]}}
`
	collector := made(t, otelcore.Config{YAML: logging, Log: logger})
	must(t, collector.Start(t.Context()))
	input, err := collector.Input("inproc/app")
	must(t, err)
	const requests = 2000
	for range requests {
		must(t, input.Submit(t.Context(), otelcore.Traces, spans(1)))
	}
	must(t, collector.Flush(within(t, 10*time.Second)))
	must(t, collector.Shutdown(within(t, 10*time.Second)))
	close(logged.gate)
	must(t, collector.Close())
	text := logged.String()
	var dropped int
	if at := strings.Index(text, "dropped_records="); at >= 0 {
		_, _ = fmt.Sscanf(text[at:], "dropped_records=%d", &dropped)
	}
	records := strings.Count(text, `component="exporter debug"`)
	if dropped == 0 || records+dropped < requests {
		t.Fatalf("%d records, and %d dropped: %.2000s", records, dropped, text)
	}
}

func TestAReloadKeepsHandlesAndAnErrorChangesNothing(t *testing.T) {
	collector := made(t, otelcore.Config{YAML: through})
	input, err := collector.Input("inproc/app")
	must(t, err)
	output, err := collector.Output("inproc/out")
	must(t, err)
	if err := collector.Reload(t.Context(), through); !errors.Is(err, otelcore.ErrInvalidState) {
		t.Fatal(err)
	}
	must(t, collector.Start(t.Context()))
	must(t, input.Submit(t.Context(), otelcore.Traces, spans(2)))
	// The batch of ten seconds goes on; the exporter is another one.
	must(t, collector.Reload(t.Context(), strings.Replace(through, "inproc/out: ", "inproc/out: {timeout: 9s}", 1)))
	must(t, input.Submit(t.Context(), otelcore.Traces, spans(3)))
	for text, want := range map[string]error{
		strings.Replace(through, "timeout: 10s", "timeuot: 10s", 1): otelcore.ErrInvalidConfig,
		strings.Replace(through, "level: none", "level: basic", 1):  otelcore.ErrInvalidState,
	} {
		if err := collector.Reload(t.Context(), text); !errors.Is(err, want) {
			t.Fatal(err)
		}
	}
	// The old batch is passed on at once.
	must(t, collector.Reload(t.Context(), strings.Replace(through, "timeout: 10s", "timeout: 1ms", 1)))
	batch, err := output.Next(within(t, 10*time.Second))
	must(t, err)
	if n := items(t, batch.Data()); n != 5 {
		t.Fatal(n)
	}
	must(t, batch.Ack())
	must(t, collector.Shutdown(within(t, 5*time.Second)))
	if err := collector.Reload(t.Context(), through); !errors.Is(err, otelcore.ErrClosed) {
		t.Fatal(err)
	}
}
