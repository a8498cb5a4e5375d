// Answers what the receivers k8s_objects, k8s_events and k8s_cluster make of the objects of a server. The server of a case
// is this program, on loopback.
//
// Input, behind its length (u32, little endian): a JSON object as below. Output for each input, behind its length: the byte 0
// and the telemetry as OTLP, or the byte 1 and an error.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/k8sclusterreceiver"
	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/k8seventsreceiver"
	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/k8sobjectsreceiver"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/xconfmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pipeline"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"otelcore.invalid/tools/frames"
)

type input struct {
	Component string         `json:"component"`
	Config    map[string]any `json:"config"`
	// The responses to requests without `watch`, by path.
	Documents map[string]json.RawMessage `json:"documents"`
	// The events of watches, by path.
	Events map[string][]json.RawMessage `json:"events"`
	// How many records are waited for.
	Records int `json:"records"`
}

// How long records are waited for.
const limit = 5 * time.Second

func main() {
	frames.Main(func(in *bufio.Reader, out *bufio.Writer) error {
		// Lists as of old, not streamed as a watch.
		if err := os.Setenv("KUBE_FEATURE_WatchListClient", "false"); err != nil {
			return err
		}
		return frames.Answer(in, out, func(input []byte) ([]byte, error) { return frames.Result(answer(input)), nil })
	})
}

func (in *input) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Query().Get("watch") == "" {
		document, ok := in.Documents[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			document = json.RawMessage(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
		}
		_, _ = w.Write(document)
		return
	}
	for _, event := range in.Events[r.URL.Path] {
		_, _ = w.Write(append(event, '\n'))
	}
	if flusher, ok := w.(http.Flusher); ok {
		flusher.Flush()
	}
	<-r.Context().Done()
}

type host struct{ component.Host }

func (host) GetExporters() map[pipeline.Signal]map[component.ID]component.Component { return nil }

func answer(frame []byte) ([]byte, error) {
	var in input
	if err := json.Unmarshal(frame, &in); err != nil {
		return nil, err
	}
	server := httptest.NewServer(http.HandlerFunc(in.serve))
	defer server.CloseClientConnections()
	dir, err := os.MkdirTemp("", "k8s-receivers-oracle")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "config")
	kubeconfig := fmt.Sprintf("{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: "+
		"{cluster: k, user: u}}], clusters: [{name: k, cluster: {server: %q}}], users: [{name: u, user: {token: t}}]}", server.URL)
	if err := os.WriteFile(path, []byte(kubeconfig), 0o600); err != nil {
		return nil, err
	}
	if err := os.Setenv("KUBECONFIG", path); err != nil {
		return nil, err
	}
	factory := map[string]receiver.Factory{
		"k8s_objects": k8sobjectsreceiver.NewFactory(),
		"k8s_events":  k8seventsreceiver.NewFactory(),
		"k8s_cluster": k8sclusterreceiver.NewFactory(),
	}[in.Component]
	if factory == nil {
		return nil, fmt.Errorf("no component %q", in.Component)
	}
	config := factory.CreateDefaultConfig()
	if err := confmap.NewFromStringMap(in.Config).Unmarshal(config); err != nil {
		return nil, err
	}
	if err := xconfmap.Validate(config); err != nil {
		return nil, err
	}
	if in.Component == "k8s_cluster" {
		return metrics(factory, config)
	}
	return logs(factory, config, in.Records)
}

func logs(factory receiver.Factory, config component.Config, records int) ([]byte, error) {
	ctx := context.Background()
	sink := new(consumertest.LogsSink)
	r, err := factory.CreateLogs(ctx, receivertest.NewNopSettings(factory.Type()), config, sink)
	if err != nil {
		return nil, err
	}
	if err := r.Start(ctx, host{componenttest.NewNopHost()}); err != nil {
		return nil, err
	}
	wait(func() bool { return sink.LogRecordCount() >= records })
	if err := r.Shutdown(ctx); err != nil {
		return nil, err
	}
	var all []byte
	for _, logs := range sink.AllLogs() {
		body, err := (&plog.ProtoMarshaler{}).MarshalLogs(logs)
		if err != nil {
			return nil, err
		}
		all = append(all, body...)
	}
	return all, nil
}

func metrics(factory receiver.Factory, config component.Config) ([]byte, error) {
	ctx := context.Background()
	sink := new(consumertest.MetricsSink)
	r, err := factory.CreateMetrics(ctx, receivertest.NewNopSettings(factory.Type()), config, sink)
	if err != nil {
		return nil, err
	}
	if err := r.Start(ctx, host{componenttest.NewNopHost()}); err != nil {
		return nil, err
	}
	wait(func() bool { return len(sink.AllMetrics()) > 0 })
	if err := r.Shutdown(ctx); err != nil {
		return nil, err
	}
	for _, metrics := range sink.AllMetrics() {
		return (&pmetric.ProtoMarshaler{}).MarshalMetrics(metrics)
	}
	return nil, errors.New("no metrics")
}

func wait(done func() bool) {
	for end := time.Now().Add(limit); !done() && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	// What comes too much is seen as well.
	time.Sleep(20 * time.Millisecond)
}
