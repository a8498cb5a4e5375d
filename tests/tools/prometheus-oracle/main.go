// Shows the pages of the Go collector's Prometheus exporter, run in this process, and checks pages with Prometheus's parser.
//
// Input and output are frames, each behind its length (u32, little endian). With `page`, an input has frames of its own:
// the exporter's configuration as YAML without an endpoint, the header Accept, and bodies of
// ExportMetricsServiceRequest. Every input gets an exporter of its own, which is given the bodies in order and asked for
// its page once. The answer has two frames: Content-Type and page. A response other than 200 has its status as the type.
//
// With `parse`, an input has two frames, Content-Type and page. The answer is empty, or says why a scrape of that page
// would be refused or be incomplete.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/prometheusexporter"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"gopkg.in/yaml.v3"

	"otelcore.invalid/tools/frames"
)

func main() {
	modes := map[string]func([]byte) ([]byte, error){"page": answerPage, "parse": answerParse}
	var answer func([]byte) ([]byte, error)
	if len(os.Args) == 2 {
		answer = modes[os.Args[1]]
	}
	if answer == nil {
		fmt.Fprintln(os.Stderr, "usage: prometheus-oracle page|parse <inputs >answers")
		os.Exit(2)
	}
	frames.MainAnswer(answer)
}

// framesOf returns the frames of an input, of which each mode needs two.
func framesOf(input []byte) ([][]byte, error) {
	all, err := frames.Split(input)
	if err == nil && len(all) < 2 {
		err = errors.New("an input has fewer than two frames")
	}
	return all, err
}

func answerPage(input []byte) ([]byte, error) {
	parts, err := framesOf(input)
	if err != nil {
		return nil, err
	}
	var requests []pmetricotlp.ExportRequest
	for _, body := range parts[2:] {
		request := pmetricotlp.NewExportRequest()
		if err := request.UnmarshalProto(body); err != nil {
			return nil, err
		}
		requests = append(requests, request)
	}
	kind, page, err := page(string(parts[0]), string(parts[1]), requests)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	_ = frames.Write(&out, []byte(kind))
	_ = frames.Write(&out, page)
	return out.Bytes(), nil
}

func page(config, accept string, requests []pmetricotlp.ExportRequest) (string, []byte, error) {
	ctx := context.Background()
	exporter, address, err := start(ctx, config)
	// Another process may take the port first.
	for attempt := 1; err != nil && attempt < 5; attempt++ {
		exporter, address, err = start(ctx, config)
	}
	if err != nil {
		return "", nil, err
	}
	for _, request := range requests {
		if err := exporter.ConsumeMetrics(ctx, request.Metrics()); err != nil {
			return "", nil, err
		}
	}
	// A connection that is kept open would delay the shutdown.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return "", nil, err
	}
	if accept != "" {
		request.Header.Set("Accept", accept)
	}
	answer, err := client.Do(request)
	if err != nil {
		return "", nil, err
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", nil, err
	}
	kind := answer.Header.Get("Content-Type")
	if answer.StatusCode != http.StatusOK {
		kind = answer.Status
	}
	return kind, page, exporter.Shutdown(ctx)
}

// start makes an exporter on a port that was free before; the exporter does not report which one it uses.
func start(ctx context.Context, config string) (exporter.Metrics, string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	address := listener.Addr().String()
	listener.Close()

	section := map[string]any{}
	if err := yaml.Unmarshal([]byte(config), &section); err != nil {
		return nil, "", err
	}
	section["endpoint"] = address
	factory := prometheusexporter.NewFactory()
	settings := factory.CreateDefaultConfig()
	if err := confmap.NewFromStringMap(section).Unmarshal(settings); err != nil {
		return nil, "", err
	}
	exporter, err := factory.CreateMetrics(ctx, exportertest.NewNopSettings(factory.Type()), settings)
	if err != nil {
		return nil, "", err
	}
	return exporter, address, exporter.Start(ctx, componenttest.NewNopHost())
}

func answerParse(input []byte) ([]byte, error) {
	parts, err := framesOf(input)
	if err != nil {
		return nil, err
	}
	if err := parse(string(parts[0]), parts[1]); err != nil {
		return []byte(err.Error()), nil
	}
	return nil, nil
}

// parse reads a page as a scrape does, and checks what a scrape refuses afterwards.
func parse(kind string, page []byte) error {
	parser, err := textparse.New(page, kind, labels.NewSymbolTable(), textparse.ParserOptions{KeepClassicOnClassicAndNativeHistograms: true})
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var timestamp *int64
		switch entry {
		case textparse.EntrySeries:
			_, timestamp, _ = parser.Series()
		case textparse.EntryHistogram:
			var histogramErr error
			_, t, h, fh := parser.Histogram()
			timestamp = t
			switch {
			case h != nil:
				histogramErr = h.Validate()
			case fh != nil:
				histogramErr = fh.Validate()
			default:
				histogramErr = errors.New("a classic histogram behind native ones in one message")
			}
			if histogramErr != nil {
				return histogramErr
			}
		default:
			continue
		}
		var set labels.Labels
		parser.Labels(&set)
		if name, double := set.HasDuplicateLabelNames(); double {
			return fmt.Errorf("label %q twice in %s", name, set)
		}
		if !set.Has(labels.MetricName) {
			return fmt.Errorf("a series without a name: %s", set)
		}
		key := set.String()
		if timestamp != nil {
			key = fmt.Sprint(key, *timestamp)
		}
		if seen[key] {
			return fmt.Errorf("twice: %s", key)
		}
		seen[key] = true
	}
}
