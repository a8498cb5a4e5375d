// A processor in Go between a receiver and an exporter: spans of health checks are dropped, and the others say where they are
// from.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"time"

	otelcore "github.com/otelcore/otelcore/bindings/go"
)

const config = `
receivers: {inproc/app: }
processors: {inproc/enrich: {timeout: 2s}}
exporters: {inproc/out: }
service:
  pipelines: {traces: {receivers: [inproc/app], processors: [inproc/enrich], exporters: [inproc/out]}}
`

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	collector, err := otelcore.New(otelcore.Config{YAML: config})
	if err != nil {
		return err
	}
	defer collector.Close()
	enrich, err := collector.Processor("inproc/enrich")
	if err != nil {
		return err
	}
	// It ends with the collector. A payload for which it takes longer than the timeout is refused, and comes again.
	go enrich.Run(ctx, process)
	if err := collector.Start(ctx); err != nil {
		return err
	}
	input, err := collector.Input("inproc/app")
	if err != nil {
		return err
	}
	output, err := collector.Output("inproc/out")
	if err != nil {
		return err
	}
	if err := input.Submit(ctx, otelcore.Traces, request("GET /cart", "GET /healthz")); err != nil {
		return err
	}
	batch, err := output.Next(ctx)
	if err != nil {
		return err
	}
	fmt.Println(bytes.Contains(batch.Data(), []byte("/healthz")), bytes.Contains(batch.Data(), []byte("eu-north-1")))
	if err := batch.Ack(); err != nil {
		return err
	}
	return collector.Shutdown(ctx)
}

func process(_ context.Context, payload *otelcore.Payload) error {
	var failed error
	err := payload.Edit(func(item *otelcore.Item) otelcore.Keep {
		switch item.Kind() {
		case otelcore.ResourceItem:
			failed = item.SetAttribute("cloud.region", "eu-north-1")
		case otelcore.SpanItem:
			if item.Name() == "GET /healthz" {
				return otelcore.DropItem
			}
		}
		return otelcore.KeepItem
	})
	if err != nil {
		return err
	}
	return failed
}

// request is a request of spans with these names, as an SDK makes it.
func request(names ...string) []byte {
	message := func(field byte, content []byte) []byte {
		return append([]byte{field<<3 | 2, byte(len(content))}, content...)
	}
	var spans []byte
	for _, name := range names {
		spans = append(spans, message(2, message(5, []byte(name)))...)
	}
	return message(1, message(2, spans))
}
