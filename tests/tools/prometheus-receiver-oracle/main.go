// Answers for the Go receiver `prometheus`. Inputs are on standard input, answers on standard output, each behind its
// length (u32, little endian). An input is JSON: the configuration of the receiver, and the responses that its target gives,
// one for each scrape. The target is reached through a proxy, so that its address is what the configuration says.
//
// An answer is JSON as well: the error of the configuration, or the requests that the target got and the body of an
// ExportMetricsServiceRequest for each scrape.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/xconfmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"gopkg.in/yaml.v3"

	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/prometheusreceiver"

	"otelcore.invalid/tools/frames"
)

// The cases that run at once.
const parallel = 64

type page struct {
	Status      int    `json:"status"`
	ContentType string `json:"content_type"`
	Body        []byte `json:"body"`
	// Milliseconds before the response.
	Delay int `json:"delay"`
}

type input struct {
	Config string `json:"config"`
	Pages  []page `json:"pages"`
}

type request struct {
	URL     string      `json:"url"`
	Headers http.Header `json:"headers"`
}

type answer struct {
	Error    string    `json:"error,omitempty"`
	Requests []request `json:"requests,omitempty"`
	Bodies   [][]byte  `json:"bodies,omitempty"`
}

func main() { frames.Main(run) }

func run(in *bufio.Reader, out *bufio.Writer) error {
	slots := make(chan struct{}, parallel)
	answers := make(chan chan answer, 1<<20)
	written := make(chan error, 1)
	go func() { written <- writeAnswers(answers, out) }()
	for {
		frame, err := frames.Read(in)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		var next input
		if err := json.Unmarshal(frame, &next); err != nil {
			return err
		}
		result := make(chan answer, 1)
		answers <- result
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			result <- receive(next)
		}()
	}
	close(answers)
	return <-written
}

func writeAnswers(answers chan chan answer, out *bufio.Writer) error {
	for result := range answers {
		frame, err := json.Marshal(<-result)
		if err != nil {
			return err
		}
		if err := frames.Write(out, frame); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// target serves the pages and records requests and payloads.
type target struct {
	mu     sync.Mutex
	pages  []page
	served int
	ended  chan struct{}
	done   chan struct{}
	answer answer
}

func (t *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	index := t.served
	t.served++
	if index < len(t.pages) {
		t.answer.Requests = append(t.answer.Requests, request{URL: r.URL.String(), Headers: r.Header.Clone()})
	}
	t.mu.Unlock()
	if index >= len(t.pages) {
		<-t.ended
		return
	}
	next := t.pages[index]
	time.Sleep(time.Duration(next.Delay) * time.Millisecond)
	if next.ContentType == "" {
		w.Header()["Content-Type"] = nil
	} else {
		w.Header().Set("Content-Type", next.ContentType)
	}
	w.WriteHeader(next.Status)
	_, _ = w.Write(next.Body)
}

func (t *target) consume(_ context.Context, metrics pmetric.Metrics) error {
	body, err := pmetricotlp.NewExportRequestFromMetrics(metrics).MarshalProto()
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.answer.Bodies) < len(t.pages) {
		t.answer.Bodies = append(t.answer.Bodies, body)
		if len(t.answer.Bodies) == len(t.pages) {
			close(t.done)
		}
	}
	return nil
}

func receive(in input) answer {
	result, err := scrape(in)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return result
}

func scrape(in input) (answer, error) {
	t := &target{pages: in.Pages, ended: make(chan struct{}), done: make(chan struct{})}
	server := httptest.NewServer(t)
	defer server.Close()
	defer close(t.ended)

	raw := map[string]any{}
	if err := yaml.Unmarshal([]byte(in.Config), &raw); err != nil {
		return answer{}, err
	}
	raw["discovery_reload_on_startup"] = true
	if config, ok := raw["config"].(map[string]any); ok {
		if jobs, ok := config["scrape_configs"].([]any); ok {
			for _, job := range jobs {
				if job, ok := job.(map[string]any); ok && job["proxy_url"] == nil {
					job["proxy_url"] = server.URL
				}
			}
		}
	}
	factory := prometheusreceiver.NewFactory()
	config := factory.CreateDefaultConfig()
	if err := confmap.NewFromStringMap(raw).Unmarshal(config); err != nil {
		return answer{}, err
	}
	if err := xconfmap.Validate(config); err != nil {
		return answer{}, err
	}
	if len(in.Pages) == 0 {
		return answer{}, nil
	}
	sink, err := consumer.NewMetrics(t.consume)
	if err != nil {
		return answer{}, err
	}
	settings := receivertest.NewNopSettings(factory.Type())
	settings.BuildInfo.Version = "latest"
	receiver, err := factory.CreateMetrics(context.Background(), settings, config, sink)
	if err != nil {
		return answer{}, err
	}
	if err := receiver.Start(context.Background(), componenttest.NewNopHost()); err != nil {
		return answer{}, err
	}
	late := false
	select {
	case <-t.done:
	case <-time.After(60 * time.Second):
		late = true
	}
	_ = receiver.Shutdown(context.Background())
	t.mu.Lock()
	defer t.mu.Unlock()
	if late {
		return answer{}, fmt.Errorf("%d of %d scrapes in time", len(t.answer.Bodies), len(t.pages))
	}
	return t.answer, nil
}
