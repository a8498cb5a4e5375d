// Scrapes kubelets with the kubelet_stats receiver of the Go collector.
//
// A case on stdin is a frame: four bytes of length, little-endian, and JSON with the configuration of the receiver and the
// answers of the kubelet and of the API server. The answer on stdout is such a frame too: what the first scrape has sent,
// as OTLP, and what was logged. One server on the loopback interface plays both the kubelet and the API server.
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/xconfmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	nooptrace "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/kubeletstatsreceiver"

	"otelcore.invalid/tools/frames"
)

type kubelet struct {
	Config  map[string]any    `json:"config"`
	Summary string            `json:"summary"`
	Pods    string            `json:"pods"`
	Objects map[string]string `json:"objects"`
	Node    string            `json:"node"`
}

type answer struct {
	Error string   `json:"error,omitempty"`
	Body  string   `json:"body,omitempty"`
	Time  uint64   `json:"time"`
	Logs  []string `json:"logs"`
}

type host struct{}

func (host) GetExtensions() map[component.ID]component.Component { return nil }

func main() {
	frames.Main(func(in *bufio.Reader, out *bufio.Writer) error {
		// The server here answers lists and watches in the form of before.
		os.Setenv("KUBE_FEATURE_WatchListClient", "false")
		dir, err := os.MkdirTemp("", "kubelet")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		return frames.Answer(in, out, func(input []byte) ([]byte, error) { return json.Marshal(scrape(dir, input)) })
	})
}

func (k *kubelet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.URL.Path == "/stats/summary":
		io.WriteString(w, k.Summary)
	case r.URL.Path == "/pods":
		io.WriteString(w, k.Pods)
	case r.URL.Path == "/api/v1/nodes" && r.URL.Query().Get("watch") != "":
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case r.URL.Path == "/api/v1/nodes":
		fmt.Fprintf(w, `{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[%s]}`, k.Node)
	default:
		if object, ok := k.Objects[r.URL.Path]; ok {
			io.WriteString(w, object)
			return
		}
		parts := strings.Split(r.URL.Path, "/")
		w.WriteHeader(http.StatusNotFound)
		message := fmt.Sprintf("%s %q not found", parts[len(parts)-2], parts[len(parts)-1])
		text, _ := json.Marshal(message)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":%s,"reason":"NotFound","code":404}`, text)
	}
}

func scrape(dir string, body []byte) (result answer) {
	defer func() {
		if crash := recover(); crash != nil {
			result = answer{Error: fmt.Sprintf("crash: %v", crash)}
		}
	}()
	var k kubelet
	if err := json.Unmarshal(body, &k); err != nil {
		return answer{Error: "crash: " + err.Error()}
	}
	server := httptest.NewServer(&k)
	defer server.Close()
	defer server.CloseClientConnections()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"k","user":"u"}}],`+
		`"clusters":[{"name":"k","cluster":{"server":%q}}],"users":[{"name":"u","user":{}}]}`, server.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		return answer{Error: "crash: " + err.Error()}
	}
	os.Setenv("KUBECONFIG", kubeconfig)
	k.Config["endpoint"] = server.URL
	k.Config["auth_type"] = "none"

	factory := kubeletstatsreceiver.NewFactory()
	config := factory.CreateDefaultConfig()
	if err := confmap.NewFromStringMap(k.Config).Unmarshal(config); err != nil {
		return answer{Error: err.Error()}
	}
	if err := xconfmap.Validate(config); err != nil {
		return answer{Error: err.Error()}
	}
	core, logs := observer.New(zap.WarnLevel)
	settings := receiver.Settings{
		ID: component.NewID(factory.Type()),
		TelemetrySettings: component.TelemetrySettings{
			Logger:         zap.New(core),
			TracerProvider: nooptrace.NewTracerProvider(),
			MeterProvider:  noopmetric.NewMeterProvider(),
			Resource:       pcommon.NewResource(),
		},
		BuildInfo: component.BuildInfo{Version: "0"},
	}
	sent := make(chan pmetric.Metrics, 1)
	sink, err := consumer.NewMetrics(func(_ context.Context, metrics pmetric.Metrics) error {
		copied := pmetric.NewMetrics()
		metrics.CopyTo(copied)
		select {
		case sent <- copied:
		default:
		}
		return nil
	})
	if err != nil {
		return answer{Error: "crash: " + err.Error()}
	}
	metricsReceiver, err := factory.CreateMetrics(context.Background(), settings, config, sink)
	if err != nil {
		return answer{Error: err.Error()}
	}
	if err := metricsReceiver.Start(context.Background(), host{}); err != nil {
		return answer{Error: err.Error()}
	}
	result = answer{Logs: []string{}}
	deadline := time.After(10 * time.Second)
	var metrics pmetric.Metrics
	for waiting := true; waiting; {
		select {
		case metrics = <-sent:
			waiting = false
		case <-deadline:
			return answer{Error: "crash: no metrics"}
		case <-time.After(2 * time.Millisecond):
			// A scrape that fails sends nothing.
			if logs.FilterMessage("Error scraping metrics").Len() > 0 {
				metrics = pmetric.NewMetrics()
				waiting = false
			}
		}
	}
	if err := metricsReceiver.Shutdown(context.Background()); err != nil {
		return answer{Error: "crash: " + err.Error()}
	}
	for _, entry := range logs.All() {
		if strings.HasPrefix(entry.Message, "[WARNING]") {
			continue
		}
		fields := entry.ContextMap()
		parts := []string{entry.Message}
		for _, key := range []string{"pod", "container", "volume", "error"} {
			if value, ok := fields[key]; ok {
				parts = append(parts, fmt.Sprint(value))
			}
		}
		result.Logs = append(result.Logs, strings.Join(parts, "|"))
	}
	encoded, err := (&pmetric.ProtoMarshaler{}).MarshalMetrics(metrics)
	if err != nil {
		return answer{Error: "crash: " + err.Error()}
	}
	result.Body = hex.EncodeToString(encoded)
	result.Time = timeOf(metrics)
	return result
}

// The time of the points, which is that of the scrape.
func timeOf(metrics pmetric.Metrics) uint64 {
	for _, resource := range metrics.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				points := pmetric.NewNumberDataPointSlice()
				if metric.Type() == pmetric.MetricTypeSum {
					points = metric.Sum().DataPoints()
				} else if metric.Type() == pmetric.MetricTypeGauge {
					points = metric.Gauge().DataPoints()
				}
				for _, point := range points.All() {
					return uint64(point.Timestamp())
				}
			}
		}
	}
	return 0
}
