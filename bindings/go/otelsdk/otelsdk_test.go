package otelsdk_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	otelcore "github.com/otelcore/otelcore/bindings/go"
	"github.com/otelcore/otelcore/bindings/go/otelsdk"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const yaml = `
receivers: {inproc/app: }
exporters: {inproc/out: }
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [inproc/app], exporters: [inproc/out]}
    metrics: {receivers: [inproc/app], exporters: [inproc/out]}
    logs: {receivers: [inproc/app], exporters: [inproc/out]}
`

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func made(t testing.TB, yaml string) (*otelcore.Collector, *otelcore.Input, *otelcore.Output) {
	t.Helper()
	collector, err := otelcore.New(otelcore.Config{YAML: yaml})
	must(t, err)
	t.Cleanup(func() { _ = collector.Close() })
	input, err := collector.Input("inproc/app")
	must(t, err)
	output, err := collector.Output("inproc/out")
	must(t, err)
	return collector, input, output
}

// A taker acknowledges every batch, and stores it.
type taker struct {
	done chan struct{}
	mu   sync.Mutex
	came map[otelcore.Signal][][]byte
}

func take(t testing.TB, output *otelcore.Output) *taker {
	to := &taker{done: make(chan struct{}), came: map[otelcore.Signal][][]byte{}}
	go func() {
		defer close(to.done)
		for {
			batch, err := output.Next(context.Background())
			if errors.Is(err, otelcore.ErrClosed) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			to.mu.Lock()
			to.came[batch.Signal()] = append(to.came[batch.Signal()], batch.Data())
			to.mu.Unlock()
			if err := batch.Ack(); err != nil {
				t.Error(err)
			}
		}
	}()
	return to
}

// An eavesdropper stores what an exporter passes to the client or the transport behind it.
type eavesdropper struct {
	http.RoundTripper
	otlptrace.Client
	mu     sync.Mutex
	sent   map[otelcore.Signal][][]byte
	packed int
}

func (e *eavesdropper) keep(signal otelcore.Signal, body []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sent[signal] = append(e.sent[signal], body)
}

func (e *eavesdropper) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	e.keep(otelcore.Traces, body)
	return e.Client.UploadTraces(ctx, spans)
}

func (e *eavesdropper) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	request.Body = io.NopCloser(bytes.NewReader(body))
	if request.Header.Get("Content-Encoding") == "gzip" {
		e.packed++
		reader, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		if body, err = io.ReadAll(reader); err != nil {
			return nil, err
		}
	}
	e.keep(map[string]otelcore.Signal{"/v1/traces": otelcore.Traces, "/v1/metrics": otelcore.Metrics, "/v1/logs": otelcore.Logs}[request.URL.Path], body)
	return e.RoundTripper.RoundTrip(request)
}

var messages = map[otelcore.Signal]func() proto.Message{
	otelcore.Traces:  func() proto.Message { return &tracepb.TracesData{} },
	otelcore.Metrics: func() proto.Message { return &metricspb.MetricsData{} },
	otelcore.Logs:    func() proto.Message { return &logspb.LogsData{} },
}

func parsed(t *testing.T, signal otelcore.Signal, bodies [][]byte) []proto.Message {
	t.Helper()
	var all []proto.Message
	for _, body := range bodies {
		message := messages[signal]()
		must(t, proto.Unmarshal(body, message))
		all = append(all, message)
	}
	return all
}

// work makes telemetry of all three signals with the stock SDK, and exports it.
func work(t *testing.T, ctx context.Context, spans sdktrace.SpanExporter, points sdkmetric.Exporter, records sdklog.Exporter) {
	who := resource.NewSchemaless(attribute.String("service.name", "größe"), attribute.Int("number", 7))
	tracers := sdktrace.NewTracerProvider(sdktrace.WithResource(who), sdktrace.WithBatcher(spans, sdktrace.WithMaxExportBatchSize(8)))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithResource(who), sdkmetric.WithReader(sdkmetric.NewPeriodicReader(points, sdkmetric.WithInterval(time.Hour))))
	loggers := sdklog.NewLoggerProvider(sdklog.WithResource(who), sdklog.WithProcessor(sdklog.NewBatchProcessor(records)))

	tracer := tracers.Tracer("tracer", trace.WithInstrumentationVersion("1.2.3"))
	inside, parent := tracer.Start(ctx, "parent", trace.WithSpanKind(trace.SpanKindServer))
	for i := range 20 {
		_, child := tracer.Start(inside, fmt.Sprintf("child %d", i), trace.WithAttributes(attribute.Float64Slice("f", []float64{0.5, float64(i)})))
		child.AddEvent("event", trace.WithAttributes(attribute.Bool("b", true)))
		child.SetStatus(codes.Error, "why")
		child.End()
	}
	parent.End()
	meter := meters.Meter("meter")
	counter, err := meter.Int64Counter("counter", metric.WithUnit("1"))
	must(t, err)
	histogram, err := meter.Float64Histogram("histogram")
	must(t, err)
	for i := range 10 {
		counter.Add(inside, int64(i), metric.WithAttributes(attribute.Int("i", i)))
		histogram.Record(inside, float64(i))
	}
	logger := loggers.Logger("logger")
	for i := range 10 {
		var record log.Record
		record.SetTimestamp(time.Now())
		record.SetSeverity(log.SeverityWarn)
		record.SetBody(attribute.MapValue(attribute.Int("i", i), attribute.String("s", "text")))
		logger.Emit(inside, record)
	}
	must(t, tracers.Shutdown(ctx))
	must(t, meters.Shutdown(ctx))
	must(t, loggers.Shutdown(ctx))
}

func TestWhatTheStockSDKExportsComesOutAsItWasSent(t *testing.T) {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { t.Error(err) }))
	for _, way := range []string{"client", "transport", "transport with gzip"} {
		ctx := within(t, 20*time.Second)
		collector, input, output := made(t, yaml)
		must(t, collector.Start(ctx))
		to := take(t, output)
		e := &eavesdropper{RoundTripper: otelsdk.NewTransport(input), Client: otelsdk.NewTraceClient(input), sent: map[otelcore.Signal][][]byte{}}
		client := &http.Client{Transport: e}
		var m []otlpmetrichttp.Option
		var l []otlploghttp.Option
		var s []otlptracehttp.Option
		if way == "transport with gzip" {
			m = append(m, otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression))
			l = append(l, otlploghttp.WithCompression(otlploghttp.GzipCompression))
			s = append(s, otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
		}
		points, err := otlpmetrichttp.New(ctx, append(m, otlpmetrichttp.WithHTTPClient(client))...)
		must(t, err)
		records, err := otlploghttp.New(ctx, append(l, otlploghttp.WithHTTPClient(client))...)
		must(t, err)
		var spans sdktrace.SpanExporter
		if way == "client" {
			spans, err = otlptrace.New(ctx, e)
		} else {
			spans, err = otlptracehttp.New(ctx, append(s, otlptracehttp.WithHTTPClient(client))...)
		}
		must(t, err)
		work(t, ctx, spans, points, records)
		must(t, collector.Flush(ctx))
		must(t, collector.Shutdown(ctx))
		<-to.done

		for signal := range messages {
			sent, came := parsed(t, signal, e.sent[signal]), parsed(t, signal, to.came[signal])
			if !slices.EqualFunc(sent, came, proto.Equal) {
				t.Errorf("%s by %s: sent %v, came %v", signal, way, sent, came)
			}
		}
		text := fmt.Sprint(parsed(t, otelcore.Traces, to.came[otelcore.Traces]), parsed(t, otelcore.Metrics, to.came[otelcore.Metrics]), parsed(t, otelcore.Logs, to.came[otelcore.Logs]))
		// Each name occurs as often as it was made, so that the comparison is not one of empty values.
		for what, want := range map[string]int{`name:"child `: 20, `name:"parent"`: 1, `name:"counter"`: 1, `name:"histogram"`: 1, `severity_number:SEVERITY_NUMBER_WARN`: 10} {
			if n := strings.Count(strings.ReplaceAll(text, ":  ", ":"), what); n != want {
				t.Errorf("by %s there are %d of %s: %s", way, n, what, text)
			}
		}
		if (e.packed > 0) != (way == "transport with gzip") {
			t.Errorf("by %s %d were packed", way, e.packed)
		}
	}
}

func TestAnUploadWaitsForRoomAndStopCallsItOff(t *testing.T) {
	collector, input, output := made(t, strings.NewReplacer("inproc/app: }", "inproc/app: {max_queue_bytes: 100}}",
		"inproc/out: }", "inproc/out: {sending_queue: {queue_size: 1}}}").Replace(yaml))
	must(t, collector.Start(t.Context()))
	client := otelsdk.NewTraceClient(input)
	must(t, client.Start(t.Context()))
	must(t, client.UploadTraces(t.Context(), nil))
	spans := func() []*tracepb.ResourceSpans {
		return []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{{Name: strings.Repeat("x", 90)}}}}}}
	}
	// Submits until the input is full.
	accepted := 0
	for {
		err := client.UploadTraces(within(t, 450*time.Millisecond), spans())
		if errors.Is(err, context.DeadlineExceeded) && errors.Is(err, otelcore.ErrOverloaded) {
			break
		}
		must(t, err)
		accepted++
	}
	// Many more uploads wait now; each batch that is taken makes room for them.
	var uploads sync.WaitGroup
	var waited atomic.Int32
	for range 4 {
		uploads.Go(func() {
			if err := client.UploadTraces(within(t, 20*time.Second), spans()); err != nil {
				t.Error(err)
			}
			waited.Add(1)
		})
	}
	time.Sleep(50 * time.Millisecond)
	if n := waited.Load(); n != 0 {
		t.Error(n, "uploads found room in a full collector")
	}
	for range accepted + 4 {
		batch, err := output.Next(within(t, 10*time.Second))
		must(t, err)
		must(t, batch.Ack())
	}
	uploads.Wait()
	// An upload that waits is cancelled by a Stop whose context is done.
	for client.UploadTraces(within(t, 450*time.Millisecond), spans()) == nil {
	}
	left := make(chan error, 1)
	go func() { left <- client.UploadTraces(context.Background(), spans()) }()
	time.Sleep(20 * time.Millisecond)
	if err := client.Stop(within(t, 30*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := <-left; !errors.Is(err, otelcore.ErrOverloaded) {
		t.Error(err)
	}
	if err := client.UploadTraces(t.Context(), spans()); err == nil {
		t.Error("a stopped client takes spans")
	}
	must(t, client.Stop(t.Context()))
}

func post(t *testing.T, path, body string, header ...string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://nowhere.invalid"+path, strings.NewReader(body))
	must(t, err)
	request.Header.Set("Content-Type", "application/x-protobuf")
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	return request
}

func TestTheTransportAnswersAsACollectorDoes(t *testing.T) {
	collector, input, output := made(t, strings.Replace(yaml, "logs: {receivers: [inproc/app], exporters: [inproc/out]}", "", 1))
	transport := otelsdk.NewTransport(input)
	ask := func(what string, request *http.Request, want int) *http.Response {
		t.Helper()
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		body, err := io.ReadAll(response.Body)
		must(t, err)
		if response.StatusCode != want || response.Header.Get("Content-Type") != "application/x-protobuf" || response.ContentLength != int64(len(body)) {
			t.Errorf("%s: %s, %q", what, response.Status, body)
		}
		if want == http.StatusOK {
			if len(body) != 0 {
				t.Errorf("%s: %q", what, body)
			}
			return response
		}
		// A google.rpc.Status: a code, then a message.
		number, kind, n := protowire.ConsumeTag(body)
		code, m := protowire.ConsumeVarint(body[max(n, 0):])
		if number != 1 || kind != protowire.VarintType || code == 0 || m < 0 || n+m >= len(body) || body[n+m] != 0x12 {
			t.Errorf("%s: % x", what, body)
		}
		return response
	}
	ask("before the start", post(t, "/v1/traces", "\x0a\x00"), http.StatusServiceUnavailable)
	must(t, collector.Start(t.Context()))
	ask("an empty request", post(t, "/v1/traces", ""), http.StatusOK)
	ask("under a prefix", post(t, "/some/where/v1/metrics", ""), http.StatusOK)
	ask("with a parameter", post(t, "/v1/traces", "", "Content-Type", "application/x-protobuf; charset=utf-8"), http.StatusOK)
	ask("what is no request", post(t, "/v1/traces", "\x0a\xff"), http.StatusBadRequest)
	ask("what is no gzip", post(t, "/v1/traces", "plain", "Content-Encoding", "gzip"), http.StatusBadRequest)
	ask("another coding", post(t, "/v1/traces", "x", "Content-Encoding", "br"), http.StatusUnsupportedMediaType)
	ask("JSON", post(t, "/v1/traces", "{}", "Content-Type", "application/json"), http.StatusUnsupportedMediaType)
	ask("another path", post(t, "/v1/profiles", ""), http.StatusNotFound)
	ask("a signal without a pipeline", post(t, "/v1/logs", "\x0a\x00"), http.StatusNotFound)
	get := post(t, "/v1/traces", "")
	get.Method = http.MethodGet
	ask("another method", get, http.StatusMethodNotAllowed)
	noBody := post(t, "/v1/traces", "")
	noBody.Body = nil
	ask("no body", noBody, http.StatusOK)

	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := transport.RoundTrip(post(t, "/v1/traces", "").WithContext(over)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	_ = output
	must(t, collector.Shutdown(within(t, 5*time.Second)))
	if _, err := (&http.Client{Transport: transport}).Do(post(t, "/v1/traces", "")); !errors.Is(err, otelcore.ErrClosed) {
		t.Error(err)
	}
}

func TestAFullCollectorIsTriedAgainByTheStockExporter(t *testing.T) {
	collector, input, output := made(t, strings.NewReplacer("inproc/app: }", "inproc/app: {max_queue_bytes: 100}}",
		"inproc/out: }", "inproc/out: {sending_queue: {queue_size: 1}}}").Replace(yaml))
	must(t, collector.Start(t.Context()))
	transport := otelsdk.NewTransport(input)
	body, err := proto.Marshal(&metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{{ScopeMetrics: []*metricspb.ScopeMetrics{{Metrics: []*metricspb.Metric{{
		Name: strings.Repeat("m", 90), Data: &metricspb.Metric_Gauge{Gauge: &metricspb.Gauge{DataPoints: []*metricspb.NumberDataPoint{{TimeUnixNano: 1}}}}}}}}}}})
	must(t, err)
	accepted := 0
	for full := 0; full < 20; {
		response, err := transport.RoundTrip(post(t, "/v1/metrics", string(body)))
		must(t, err)
		if response.StatusCode == http.StatusOK {
			accepted++
			continue
		}
		if response.StatusCode != http.StatusTooManyRequests || response.Header.Get("Retry-After") != "1" {
			t.Fatal(response)
		}
		full++
		time.Sleep(5 * time.Millisecond)
	}
	exporter, err := otlpmetrichttp.New(t.Context(), otlpmetrichttp.WithHTTPClient(&http.Client{Transport: transport}),
		otlpmetrichttp.WithRetry(otlpmetrichttp.RetryConfig{Enabled: true, InitialInterval: 10 * time.Millisecond, MaxInterval: time.Second, MaxElapsedTime: 10 * time.Second}))
	must(t, err)
	reader := sdkmetric.NewPeriodicReader(exporter, sdkmetric.WithInterval(time.Hour))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	counter, err := meters.Meter("meter").Int64Counter("again")
	must(t, err)
	counter.Add(t.Context(), 1)
	exported := make(chan error, 1)
	begun := time.Now()
	go func() { exported <- meters.Shutdown(context.Background()) }()
	time.Sleep(100 * time.Millisecond)
	found := false
	for range accepted + 1 {
		batch, err := output.Next(within(t, 10*time.Second))
		must(t, err)
		found = found || bytes.Contains(batch.Data(), []byte("again"))
		must(t, batch.Ack())
	}
	must(t, <-exported)
	if took := time.Since(begun); !found || took < time.Second {
		t.Error(found, took)
	}
	must(t, collector.Shutdown(within(t, 5*time.Second)))
}

func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			fmt.Println("FAIL: goroutines are left behind")
			_ = pprof.Lookup("goroutine").WriteTo(os.Stdout, 1)
			code = 1
			break
		}
	}
	os.Exit(code)
}

func TestATraceClientOfAnInputThatTakesNoTracesFailsWhenItIsMade(t *testing.T) {
	logsOnly := strings.NewReplacer(
		"    traces: {receivers: [inproc/app], exporters: [inproc/out]}\n", "",
		"    metrics: {receivers: [inproc/app], exporters: [inproc/out]}\n", "",
	).Replace(yaml)
	collector, err := otelcore.New(otelcore.Config{YAML: logsOnly})
	must(t, err)
	defer collector.Close()
	input, err := collector.Input("inproc/app")
	must(t, err)
	must(t, input.Accepts(otelcore.Logs))
	_, err = otlptrace.New(t.Context(), otelsdk.NewTraceClient(input))
	if !errors.Is(err, otelcore.ErrNotFound) || !strings.Contains(err.Error(), "no pipeline takes traces") {
		t.Error(err)
	}
}
