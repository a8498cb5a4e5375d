package otelcore_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/otelcore/otelcore/bindings/go"
)

const snapshotConfig = `
receivers: {inproc/app: }
exporters: {inproc/out: }
service:
  telemetry: {metrics: {level: basic}}
  pipelines: {traces: {receivers: [inproc/app], exporters: [inproc/out]}}
`

type overrides struct {
	Exporters map[string]map[string]any `json:"exporters"`
}

func TestASnapshotOfARunningCollectorIsData(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	data := overrides{map[string]map[string]any{"inproc/out": {"sending_queue": map[string]any{"queue_size": 7}}}}
	collector, err := otelcore.New(otelcore.Config{YAML: snapshotConfig, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	defer collector.Close()
	changes, err := collector.StatusChanges()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := collector.StatusChanges(); !errors.Is(err, otelcore.ErrInvalidState) {
		t.Error(err)
	}
	if err := collector.Start(ctx); err != nil {
		t.Fatal(err)
	}
	input, _ := collector.Input("inproc/app")
	output, _ := collector.Output("inproc/out")
	json := `{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"of json"}]}]}]}`
	if err := input.SubmitJSON(ctx, otelcore.Traces, []byte(json)); err != nil {
		t.Fatal(err)
	}
	if err := input.SubmitJSON(ctx, otelcore.Traces, []byte("{")); !errors.Is(err, otelcore.ErrInvalidData) {
		t.Error(err)
	}
	batches := output.Batches(ctx)
	batch := <-batches
	if batch == nil || !strings.Contains(string(batch.Data()), "of json") {
		t.Fatal(batch)
	}
	snapshot, err := collector.Snapshot()
	if err != nil || snapshot.State != "running" || snapshot.Error != "" || len(snapshot.Components) != 2 {
		t.Fatal(snapshot, err)
	}
	var queue otelcore.Queue
	for _, each := range snapshot.Queues {
		if each.Kind == "exporter" {
			queue = each
		}
	}
	if queue.ID != "inproc/out" || queue.Capacity != 7 || queue.Size != 1 || queue.Unit != "requests" || queue.OldestAgeSeconds == nil {
		t.Error(queue)
	}
	if snapshot.Memory.HeldBytes == 0 || snapshot.Memory.ResidentBytes == 0 || len(snapshot.Metrics) == 0 {
		t.Error(snapshot)
	}
	if err := batch.Ack(); err != nil {
		t.Error(err)
	}
	if err := collector.ReloadConfig(ctx, otelcore.Config{YAML: snapshotConfig, Data: map[string]any{"exporters": 7}}); !errors.Is(err, otelcore.ErrInvalidConfig) {
		t.Error(err)
	}
	if err := collector.ReloadConfig(ctx, otelcore.Config{YAML: snapshotConfig, Data: data}); err != nil {
		t.Error(err)
	}
	seen := map[string]bool{}
	stopped := make(chan error, 1)
	go func() { stopped <- collector.Shutdown(ctx) }()
	for !seen["inproc/out stopped"] {
		select {
		case change := <-changes:
			seen[change.ID+" "+change.Status] = true
		case <-ctx.Done():
			t.Fatal(seen)
		}
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if _, open := <-batches; open {
		t.Error("there is a batch after the end")
	}
	collector.Close()
	for range changes {
	}
}

func TestDataWithAMistakeIsAnErrorWithItsPath(t *testing.T) {
	data := map[string]any{"exporters": map[string]any{"inproc/out": map[string]any{"tmeout": "1s"}}}
	_, err := otelcore.New(otelcore.Config{YAML: snapshotConfig, Data: data})
	if !errors.Is(err, otelcore.ErrInvalidConfig) || !strings.Contains(err.Error(), "(exporters::inproc/out::tmeout)") || !strings.Contains(err.Error(), "--> data:") {
		t.Error(err)
	}
	if _, err := otelcore.New(otelcore.Config{Data: func() {}}); !errors.Is(err, otelcore.ErrInvalidConfig) {
		t.Error(err)
	}
}

func TestDataWithoutYAMLIsTheWholeConfiguration(t *testing.T) {
	data := map[string]any{
		"receivers": map[string]any{"inproc": nil},
		"exporters": map[string]any{"nop": nil},
		"service": map[string]any{"pipelines": map[string]any{
			"traces": map[string]any{"receivers": []string{"inproc"}, "exporters": []string{"nop"}},
		}},
	}
	collector, err := otelcore.New(otelcore.Config{Data: data})
	if err != nil {
		t.Fatal(err)
	}
	collector.Close()
}
