// Command app-go is an application with the stock OpenTelemetry SDK, for the benches: it makes spans at a steady rate and
// discards them, discards them after encoding, or exports them to a collector beside it or in it.
//
//	app-go none|encode|grpc|inproc TARGET SPANS RATE
//
// TARGET is the collector's address for grpc, the configuration of the collector in this process for inproc. After a
// warm-up of a tenth it prints `ready` and waits for a line; after the spans it prints how many exports there were, how
// many failed, and the mean, 50th and 99th percentile of their time in milliseconds, and waits for another line.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	otelcore "github.com/otelcore/otelcore/bindings/go"
	"github.com/otelcore/otelcore/bindings/go/otelsdk"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A watch takes the time of each export.
type watch struct {
	inner  sdktrace.SpanExporter
	mu     sync.Mutex
	took   []time.Duration
	failed int
}

func (w *watch) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	began := time.Now()
	err := w.inner.ExportSpans(ctx, spans)
	took := time.Since(began)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.took = append(w.took, took)
	if err != nil {
		w.failed++
	}
	return err
}

func (w *watch) Shutdown(ctx context.Context) error { return w.inner.Shutdown(ctx) }

func (w *watch) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.took, w.failed = nil, 0
}

func (w *watch) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.took) == 0 {
		return "0 0 0 0 0"
	}
	slices.Sort(w.took)
	var sum time.Duration
	for _, took := range w.took {
		sum += took
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	at := func(share int) float64 { return ms(w.took[min(len(w.took)*share/100, len(w.took)-1)]) }
	return fmt.Sprint(len(w.took), w.failed, ms(sum)/float64(len(w.took)), at(50), at(99))
}

// nothing is the exporter of the lower bound: the cost of the SDK alone.
type nothing struct{}

func (nothing) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (nothing) Shutdown(context.Context) error                             { return nil }

// encoder is the second lower bound: the cost of the SDK's encoding, which every exporter has.
type encoder struct{}

func (encoder) Start(context.Context) error { return nil }
func (encoder) Stop(context.Context) error  { return nil }

func (encoder) UploadTraces(_ context.Context, spans []*tracepb.ResourceSpans) error {
	_, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	return err
}

var (
	methods = []string{"GET", "POST", "PUT", "GET"}
	routes  = []string{
		"/api/v1/products/{id}/recommendations", "/api/v1/products/{id}/reviews/latest",
		"/api/v1/carts/{id}/items/quantities", "/api/v1/checkout/{id}/shipping/quotes",
	}
)

const burst = 64

// work makes spans in bursts, so many a second.
func work(ctx context.Context, tracer trace.Tracer, spans, rate int) {
	began := time.Now()
	for i := range spans {
		if i%burst == 0 {
			time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		}
		number := uint64(i) * 0x9e3779b97f4a7c15
		method, route := methods[i%len(methods)], routes[i/7%len(routes)]
		_, span := tracer.Start(ctx, method+" "+route, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
			attribute.String("http.request.method", method),
			attribute.String("url.path", route+"/"+strconv.FormatUint(number, 16)),
			attribute.String("url.scheme", "https"),
			attribute.String("server.address", "frontend.shop.svc.cluster.local"),
			attribute.String("client.address", "10.42."+strconv.Itoa(i%256)+"."+strconv.Itoa(i/256%256)),
			attribute.String("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
			attribute.String("network.protocol.version", "1.1"),
			attribute.String("http.route", route),
			attribute.String("app.user.tier", "gold"),
			attribute.String("app.session.id", strconv.FormatUint(number, 16)+"-"+strconv.FormatUint(^number, 16)),
		))
		span.End()
	}
}

func run(ctx context.Context, way, target string, spans, rate int) (err error) {
	var inner sdktrace.SpanExporter = nothing{}
	var collector *otelcore.Collector
	switch way {
	case "none":
	case "encode":
		inner, err = otlptrace.New(ctx, encoder{})
	case "grpc":
		inner, err = otlptracegrpc.New(ctx, otlptracegrpc.WithInsecure(), otlptracegrpc.WithEndpoint(target))
	case "inproc":
		var yaml []byte
		if yaml, err = os.ReadFile(target); err != nil {
			return err
		}
		if collector, err = otelcore.New(otelcore.Config{YAML: string(yaml)}); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, collector.Close()) }()
		if err = collector.Start(ctx); err != nil {
			return err
		}
		input, found := collector.Input("inproc/app")
		if found != nil {
			return found
		}
		inner, err = otlptrace.New(ctx, otelsdk.NewTraceClient(input))
	default:
		return fmt.Errorf("%q is none of none, encode, grpc, inproc", way)
	}
	if err != nil {
		return err
	}
	watched := &watch{inner: inner}
	who := resource.NewSchemaless(attribute.String("service.name", "checkout"), attribute.String("host.name", "node-17"))
	provider := sdktrace.NewTracerProvider(sdktrace.WithResource(who), sdktrace.WithBatcher(watched))
	tracer := provider.Tracer("shop.tracer", trace.WithInstrumentationVersion("1.0.0"))
	said := bufio.NewReader(os.Stdin)

	work(ctx, tracer, max(spans/10, burst), rate)
	if err := provider.ForceFlush(ctx); err != nil {
		return err
	}
	watched.reset()
	fmt.Println("ready", max(spans/10, burst))
	if _, err := said.ReadString('\n'); err != nil {
		return err
	}
	work(ctx, tracer, spans, rate)
	if err := provider.ForceFlush(ctx); err != nil {
		return err
	}
	if collector != nil {
		if err := collector.Flush(ctx); err != nil {
			return err
		}
	}
	fmt.Println(watched)
	_, _ = said.ReadString('\n')
	if err := provider.Shutdown(ctx); err != nil || collector == nil {
		return err
	}
	return collector.Shutdown(ctx)
}

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "app-go none|encode|grpc|inproc TARGET SPANS RATE")
		os.Exit(2)
	}
	spans, err := strconv.Atoi(os.Args[3])
	rate, wrong := strconv.Atoi(os.Args[4])
	if err == nil && wrong == nil && spans > 0 && rate > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		err = run(ctx, os.Args[1], os.Args[2], spans, rate)
	} else {
		err = errors.Join(err, wrong, errors.New("SPANS and RATE are positive numbers"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "app-go:", err)
		os.Exit(1)
	}
}
