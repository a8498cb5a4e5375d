// Scrapes machines with the host_metrics receiver of the Go collector.
//
// A case on stdin is a frame: four bytes of length, little-endian, and JSON with the configuration of the receiver and
// the files of the machine. The answer on stdout is such a frame too: what the first scrape has sent, as OTLP, and the
// errors that were logged. Each case runs in a process of its own, because the receiver keeps what it knows of the machine.
// The root of the machine is /hostfs in cases and answers.
package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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

	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/hostmetricsreceiver"

	"otelcore.invalid/tools/frames"
)

const root = "/hostfs"

type machine struct {
	Config map[string]any    `json:"config"`
	Files  map[string]string `json:"files"`
	Links  map[string]string `json:"links"`
	Dirs   []string          `json:"dirs"`
}

type answer struct {
	Error  string   `json:"error,omitempty"`
	Body   string   `json:"body"`
	Errors []string `json:"errors"`
	Cpus   int      `json:"cpus"`
}

type host struct{}

func (host) GetExtensions() map[component.ID]component.Component { return nil }

func main() {
	if len(os.Args) > 1 && os.Args[1] == "case" {
		scrapeCase()
		return
	}
	frames.MainAnswer(func(input []byte) ([]byte, error) {
		command := exec.Command(os.Args[0], "case")
		command.Stdin = bytes.NewReader(input)
		command.Env = []string{"PATH=" + os.Getenv("PATH")}
		result, err := command.Output()
		if err != nil {
			return json.Marshal(answer{Error: "crash: " + err.Error()})
		}
		return result, nil
	})
}

func scrapeCase() {
	var m machine
	if err := json.NewDecoder(os.Stdin).Decode(&m); err != nil {
		fail("", err)
	}
	dir, err := os.MkdirTemp("", "machine")
	if err != nil {
		fail("", err)
	}
	for path, content := range m.Files {
		must(dir, os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755))
		must(dir, os.WriteFile(filepath.Join(dir, path), []byte(content), 0o644))
	}
	for path, target := range m.Links {
		must(dir, os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755))
		must(dir, os.Symlink(target, filepath.Join(dir, path)))
	}
	for _, path := range m.Dirs {
		must(dir, os.MkdirAll(filepath.Join(dir, path), 0o755))
	}
	m.Config["root_path"] = dir
	// Some parts of the receiver do not use the path, but these variables.
	os.Setenv("HOST_ROOT", dir)
	os.Setenv("HOST_PROC", filepath.Join(dir, "proc"))
	os.Setenv("HOST_SYS", filepath.Join(dir, "sys"))
	factory := hostmetricsreceiver.NewFactory()
	config := factory.CreateDefaultConfig()
	must(dir, confmap.NewFromStringMap(m.Config).Unmarshal(config))
	must(dir, xconfmap.Validate(config))

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
	must(dir, err)
	component, err := factory.CreateMetrics(context.Background(), settings, config, sink)
	must(dir, err)
	must(dir, component.Start(context.Background(), host{}))
	var metrics pmetric.Metrics
	select {
	case metrics = <-sent:
	case <-time.After(10 * time.Second):
		fail(dir, fmt.Errorf("no metrics"))
	}
	renameRoot(metrics, dir)
	body, err := (&pmetric.ProtoMarshaler{}).MarshalMetrics(metrics)
	must(dir, err)
	result := answer{Body: hex.EncodeToString(body), Errors: []string{}, Cpus: runtime.NumCPU()}
	for _, entry := range logs.All() {
		fields := entry.ContextMap()
		text := fmt.Sprintf("%s: %v: %v", entry.Message, fields["scraper"], fields["error"])
		result.Errors = append(result.Errors, strings.ReplaceAll(text, dir, root))
	}
	json.NewEncoder(os.Stdout).Encode(result)
	os.RemoveAll(dir)
	os.Exit(0)
}

// Devices that were found through links are paths below the root.
func renameRoot(metrics pmetric.Metrics, dir string) {
	rename := func(attributes pcommon.Map) {
		for key, value := range attributes.All() {
			if value.Type() == pcommon.ValueTypeStr {
				attributes.PutStr(key, strings.ReplaceAll(value.Str(), dir, root))
			}
		}
	}
	for _, resource := range metrics.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				points := pmetric.NewNumberDataPointSlice()
				switch metric.Type() {
				case pmetric.MetricTypeGauge:
					points = metric.Gauge().DataPoints()
				case pmetric.MetricTypeSum:
					points = metric.Sum().DataPoints()
				}
				for _, point := range points.All() {
					rename(point.Attributes())
				}
			}
		}
	}
}

func must(dir string, err error) {
	if err != nil {
		fail(dir, err)
	}
}

func fail(dir string, err error) {
	text := err.Error()
	if dir != "" {
		text = strings.ReplaceAll(text, dir, root)
		os.RemoveAll(dir)
	}
	json.NewEncoder(os.Stdout).Encode(answer{Error: text})
	os.Exit(0)
}
