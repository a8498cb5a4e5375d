// Shows the pages of the Go collector's Prometheus exporter, run in this process.
//
// The argument is the exporter's configuration as YAML, without an endpoint. Input: cases, each a count (u32, little
// endian) and that many bodies of ExportMetricsServiceRequest, each behind its length (u32). Every case gets an exporter
// of its own, which is given the bodies in order and asked for its page once. Output for each case: the length of the
// page (u32) and the page. A response other than 200 is shown as its body.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/prometheusexporter"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"gopkg.in/yaml.v3"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: prometheus-oracle YAML <cases >pages")
		os.Exit(2)
	}
	in, out := bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)
	err := run(os.Args[1], in, out)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "prometheus-oracle:", err)
		os.Exit(1)
	}
}

func run(config string, in io.Reader, out io.Writer) error {
	for {
		var count uint32
		if err := binary.Read(in, binary.LittleEndian, &count); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var requests []pmetricotlp.ExportRequest
		for range count {
			var size uint32
			if err := binary.Read(in, binary.LittleEndian, &size); err != nil {
				return err
			}
			body := make([]byte, size)
			if _, err := io.ReadFull(in, body); err != nil {
				return err
			}
			request := pmetricotlp.NewExportRequest()
			if err := request.UnmarshalProto(body); err != nil {
				return err
			}
			requests = append(requests, request)
		}
		page, err := page(config, requests)
		if err != nil {
			return err
		}
		if err := binary.Write(out, binary.LittleEndian, uint32(len(page))); err != nil {
			return err
		}
		if _, err := out.Write(page); err != nil {
			return err
		}
	}
}

func page(config string, requests []pmetricotlp.ExportRequest) ([]byte, error) {
	ctx := context.Background()
	exporter, address, err := start(ctx, config)
	// Another process may take the port first.
	for attempt := 1; err != nil && attempt < 5; attempt++ {
		exporter, address, err = start(ctx, config)
	}
	if err != nil {
		return nil, err
	}
	for _, request := range requests {
		if err := exporter.ConsumeMetrics(ctx, request.Metrics()); err != nil {
			return nil, err
		}
	}
	// A connection that is kept open would delay the shutdown.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	answer, err := client.Get("http://" + address + "/metrics")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	return page, exporter.Shutdown(ctx)
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
