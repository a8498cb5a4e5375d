// The tutorial's program with another exporter: its eleven spans go to a collector in the same process.
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"time"

	otelcore "github.com/otelcore/otelcore/bindings/go"
	"github.com/otelcore/otelcore/bindings/go/otelsdk"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.21.0"
	"go.opentelemetry.io/otel/trace"
)

//go:embed collector.yaml
var config string

func run() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	collector, err := otelcore.New(otelcore.Config{YAML: config, Name: "collector.yaml", Log: slog.Default()})
	if err != nil {
		return err
	}
	defer collector.Close()
	if err := collector.Start(ctx); err != nil {
		return err
	}
	// It delivers what the provider's shutdown has exported.
	defer func() { err = errors.Join(err, collector.Shutdown(ctx)) }()
	input, err := collector.Input("inproc/app")
	if err != nil {
		return err
	}
	exporter, err := otlptrace.New(ctx, otelsdk.NewTraceClient(input))
	if err != nil {
		return err
	}
	who, err := resource.New(ctx, resource.WithAttributes(semconv.ServiceName("test-service")))
	if err != nil {
		return err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(who))
	tracer := provider.Tracer("test-tracer")
	parent, span := tracer.Start(ctx, "CollectorExporter-Example", trace.WithAttributes(
		attribute.String("attrA", "chocolate"),
		attribute.String("attrB", "raspberry"),
		attribute.String("attrC", "vanilla")))
	for i := range 10 {
		_, child := tracer.Start(parent, fmt.Sprintf("Sample-%d", i))
		time.Sleep(10 * time.Millisecond)
		child.End()
	}
	span.End()
	return provider.Shutdown(ctx)
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
