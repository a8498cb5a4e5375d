// A program that makes eleven spans, a parent and ten children, and sends them over OTLP/gRPC.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.21.0"
	"go.opentelemetry.io/otel/trace"
)

func run() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := grpc.DialContext(ctx, "192.168.0.152:30080",
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithBlock())
	if err != nil {
		return fmt.Errorf("no connection to the collector: %w", err)
	}
	defer conn.Close()
	exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithGRPCConn(conn))
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
