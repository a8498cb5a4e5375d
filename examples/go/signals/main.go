// A program whose spans, metrics and log records go to a collector in the same process, through the standard exporters.
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"time"

	otelcore "github.com/otelcore/otelcore/bindings/go"
	"github.com/otelcore/otelcore/bindings/go/otelsdk"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

//go:embed collector.yaml
var config string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		stdlog.Fatal(err)
	}
}

func run(ctx context.Context) error {
	collector, err := otelcore.New(otelcore.Config{YAML: config, Name: "collector.yaml", Log: slog.Default()})
	if err != nil {
		return err
	}
	defer collector.Close()
	if err := collector.Start(ctx); err != nil {
		return err
	}
	records, err := collector.Output("inproc/records")
	if err != nil {
		return err
	}
	shown := make(chan error, 1)
	go func() { shown <- show(records) }()
	work, err := serve(ctx, collector)
	if err != nil {
		return err
	}
	fmt.Println("serving until an interrupt")
	<-ctx.Done()
	// Remaining data has ten seconds: the providers first, because they export to the collector.
	end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(work(end), collector.Shutdown(end), <-shown)
}

// serve handles ten orders, and returns the function that exports all telemetry of them.
func serve(ctx context.Context, collector *otelcore.Collector) (func(context.Context) error, error) {
	input, err := collector.Input("inproc/app")
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: otelsdk.NewTransport(input)}
	spans, err := otlptrace.New(ctx, otelsdk.NewTraceClient(input))
	if err != nil {
		return nil, err
	}
	points, err := otlpmetrichttp.New(ctx, otlpmetrichttp.WithHTTPClient(client))
	if err != nil {
		return nil, err
	}
	records, err := otlploghttp.New(ctx, otlploghttp.WithHTTPClient(client))
	if err != nil {
		return nil, err
	}
	who := resource.NewSchemaless(attribute.String("service.name", "go-example"))
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans), sdktrace.WithResource(who))
	reader := sdkmetric.NewPeriodicReader(points, sdkmetric.WithInterval(time.Second))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithResource(who))
	loggers := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(records)), sdklog.WithResource(who))

	tracer, logger := tracers.Tracer("orders"), loggers.Logger("orders")
	orders, err := meters.Meter("orders").Int64Counter("orders", metric.WithDescription("Orders taken."))
	if err != nil {
		return nil, err
	}
	for i := range 10 {
		inside, span := tracer.Start(ctx, fmt.Sprintf("order-%d", i), trace.WithAttributes(attribute.Int("order.number", i)))
		orders.Add(inside, 1)
		var record log.Record
		record.SetTimestamp(time.Now())
		record.SetSeverity(log.SeverityInfo)
		record.SetBody(attribute.StringValue(fmt.Sprintf("order %d is taken", i)))
		logger.Emit(inside, record)
		span.End()
	}
	return func(ctx context.Context) error {
		return errors.Join(tracers.Shutdown(ctx), meters.Shutdown(ctx), loggers.Shutdown(ctx))
	}, nil
}

// show receives the output until the collector ends.
func show(records *otelcore.Output) error {
	for {
		batch, err := records.Next(context.Background())
		if errors.Is(err, otelcore.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Printf("%d bytes of %s\n", len(batch.Data()), batch.Signal())
		if err := batch.Ack(); err != nil {
			return err
		}
	}
}
