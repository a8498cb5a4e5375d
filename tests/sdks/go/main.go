// Command go-sdk sends a fixed set of traces, metrics and logs through the standard OTLP exporters of the Go SDK and
// prints on standard output what it has sent, one JSON object a line, from the SDK's own objects.
//
// Where to send and how is the exporters' own environment: OTEL_EXPORTER_OTLP_*. SDK_UNIX names a unix socket that
// replaces a TCP connection.
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math"
	"os"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otellog "go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

type object = map[string]any

var printing sync.Mutex

func printLine(o object) {
	line, err := json.Marshal(o)
	check(err)
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(string(line))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var failed error
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { failed = errors.Join(failed, err) }))

	res, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", "go-sdk"),
		attribute.String("service.namespace", "größe"),
		attribute.Int("service.number", 7),
	))
	check(err)
	spans, metrics, logs := exporters(ctx)
	// A small queue and batch show several requests.
	tracers := sdktrace.NewTracerProvider(sdktrace.WithResource(res),
		sdktrace.WithBatcher(printingSpans{spans}, sdktrace.WithMaxExportBatchSize(8)))
	reader := sdkmetric.NewPeriodicReader(printingMetrics{metrics}, sdkmetric.WithInterval(time.Hour))
	view := sdkmetric.NewView(sdkmetric.Instrument{Name: "exponential"}, sdkmetric.Stream{
		Aggregation: sdkmetric.AggregationBase2ExponentialHistogram{MaxSize: 20, MaxScale: 5}})
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithResource(res), sdkmetric.WithReader(reader), sdkmetric.WithView(view))
	loggers := sdklog.NewLoggerProvider(sdklog.WithResource(res),
		sdklog.WithProcessor(sdklog.NewBatchProcessor(printingLogs{logs})))

	context := traces(tracers.Tracer("tracer", trace.WithInstrumentationVersion("1.2.3"),
		trace.WithSchemaURL("https://opentelemetry.io/schemas/1.26.0"),
		trace.WithInstrumentationAttributes(attribute.Bool("scope.attribute", true))))
	measure(meters.Meter("meter", metric.WithInstrumentationVersion("0.1")))
	record(context, loggers.Logger("logger", otellog.WithInstrumentationVersion("2")))

	check(tracers.ForceFlush(ctx))
	check(meters.ForceFlush(ctx))
	check(loggers.ForceFlush(ctx))
	check(tracers.Shutdown(ctx))
	check(meters.Shutdown(ctx))
	check(loggers.Shutdown(ctx))
	check(failed)
}

func exporters(ctx context.Context) (sdktrace.SpanExporter, sdkmetric.Exporter, sdklog.Exporter) {
	protocol := os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL")
	if protocol == "grpc" {
		var t []otlptracegrpc.Option
		var m []otlpmetricgrpc.Option
		var l []otlploggrpc.Option
		if path := os.Getenv("SDK_UNIX"); path != "" {
			t = []otlptracegrpc.Option{otlptracegrpc.WithEndpoint("unix://" + path), otlptracegrpc.WithInsecure()}
			m = []otlpmetricgrpc.Option{otlpmetricgrpc.WithEndpoint("unix://" + path), otlpmetricgrpc.WithInsecure()}
			l = []otlploggrpc.Option{otlploggrpc.WithEndpoint("unix://" + path), otlploggrpc.WithInsecure()}
		}
		spans, err := otlptracegrpc.New(ctx, t...)
		check(err)
		metrics, err := otlpmetricgrpc.New(ctx, m...)
		check(err)
		logs, err := otlploggrpc.New(ctx, l...)
		check(err)
		return spans, metrics, logs
	}
	if protocol != "http/protobuf" {
		log.Fatalf("OTEL_EXPORTER_OTLP_PROTOCOL=%q", protocol)
	}
	spans, err := otlptracehttp.New(ctx)
	check(err)
	metrics, err := otlpmetrichttp.New(ctx)
	check(err)
	logs, err := otlploghttp.New(ctx)
	check(err)
	return spans, metrics, logs
}

func rich() []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("string", "héllo wörld \"quoted\"\n日本語 🦀"),
		attribute.String("empty", ""),
		attribute.Bool("yes", true),
		attribute.Bool("no", false),
		attribute.Int64("int", -42),
		attribute.Int64("largest", math.MaxInt64),
		attribute.Int64("smallest", math.MinInt64),
		attribute.Float64("double", 1.25e-7),
		attribute.Float64("whole", 3),
		attribute.Float64("infinite", math.Inf(-1)),
		attribute.StringSlice("strings", []string{"a", "", "ß"}),
		attribute.BoolSlice("bools", []bool{true, false}),
		attribute.Int64Slice("ints", []int64{1, -1, math.MaxInt64}),
		attribute.Float64Slice("doubles", []float64{0.5, -1, 1e300}),
		attribute.StringSlice("none", []string{}),
		attribute.ByteSlice("bytes", []byte{0, 255, 'x'}),
		attribute.Slice("mixed", attribute.IntValue(1), attribute.StringValue("zwei"), attribute.Value{}),
		attribute.Map("map", attribute.String("ключ", "значение"), attribute.Map("inner", attribute.Bool("deep", true))),
	}
}

func traces(tracer trace.Tracer) context.Context {
	start := time.Unix(1_700_000_000, 123_456_789)
	state, err := trace.ParseTraceState("vendor=value,other=1")
	check(err)
	remote := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{0x4b, 0xf9, 15: 0x36}, SpanID: trace.SpanID{0xf0, 7: 0xb7}, TraceFlags: trace.FlagsSampled, TraceState: state, Remote: true})
	root, rootSpan := tracer.Start(trace.ContextWithRemoteSpanContext(context.Background(), remote), "root größe",
		trace.WithTimestamp(start), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(rich()...),
		trace.WithLinks(trace.Link{SpanContext: remote, Attributes: []attribute.KeyValue{attribute.String("why", "follows")}}))
	for i, kind := range []trace.SpanKind{trace.SpanKindInternal, trace.SpanKindServer, trace.SpanKindClient, trace.SpanKindProducer, trace.SpanKindConsumer} {
		begin := start.Add(time.Duration(i) * time.Millisecond)
		child, span := tracer.Start(root, "child "+kind.String(), trace.WithTimestamp(begin), trace.WithSpanKind(kind))
		span.AddEvent("an event", trace.WithTimestamp(begin.Add(1)), trace.WithAttributes(attribute.Int("n", i), attribute.String("text", "ünï")))
		span.AddEvent("bare", trace.WithTimestamp(begin.Add(2)))
		switch i {
		case 1:
			span.SetStatus(codes.Ok, "")
		case 2:
			span.SetStatus(codes.Error, "fehlgeschlagen: größe")
			span.RecordError(errors.New("it broke"), trace.WithTimestamp(begin.Add(3)))
		}
		_, grandchild := tracer.Start(child, "grandchild", trace.WithTimestamp(begin.Add(5)), trace.WithAttributes(attribute.Int("i", i)))
		grandchild.End(trace.WithTimestamp(begin.Add(10)))
		span.End(trace.WithTimestamp(begin.Add(time.Millisecond)))
	}
	rootSpan.End(trace.WithTimestamp(start.Add(time.Second)))
	return root
}

func measure(meter metric.Meter) {
	ctx := context.Background()
	attributes := metric.WithAttributes(attribute.String("path", "/ä"), attribute.Int("code", 200), attribute.Bool("ok", true))
	ints, err := meter.Int64Counter("requests", metric.WithUnit("{request}"), metric.WithDescription("Anfragen größe"))
	check(err)
	ints.Add(ctx, 5, attributes)
	ints.Add(ctx, 2)
	floats, err := meter.Float64Counter("seconds", metric.WithUnit("s"))
	check(err)
	floats.Add(ctx, 1.5, attributes)
	updown, err := meter.Int64UpDownCounter("active")
	check(err)
	updown.Add(ctx, -3, attributes)
	histogram, err := meter.Float64Histogram("latency", metric.WithUnit("ms"))
	check(err)
	exponential, err := meter.Float64Histogram("exponential")
	check(err)
	for _, v := range []float64{0, 0.1, 4.9, 5, 77, 1e6} {
		histogram.Record(ctx, v, attributes)
		exponential.Record(ctx, v, attributes)
	}
	gauge, err := meter.Int64Gauge("temperature")
	check(err)
	gauge.Record(ctx, -7)
	_, err = meter.Float64ObservableGauge("observed", metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
		o.Observe(0.1, attributes)
		o.Observe(math.Inf(1))
		return nil
	}))
	check(err)
}

func record(ctx context.Context, logger otellog.Logger) {
	at := time.Unix(1_700_000_001, 1)
	bodies := []attribute.Value{
		attribute.StringValue("plain größe 🦀"),
		attribute.Int64Value(-1),
		attribute.Float64Value(0.1),
		attribute.BoolValue(true),
		attribute.ByteSliceValue([]byte{0, 1, 254, 255}),
		attribute.SliceValue(attribute.StringValue("a"), attribute.Int64Value(1), attribute.SliceValue(attribute.BoolValue(false))),
		attribute.MapValue(attribute.String("k", "v"), attribute.Map("inner", attribute.Float64("d", 2.5), attribute.ByteSlice("b", []byte("xyz")))),
	}
	for i, severity := range []otellog.Severity{otellog.SeverityTrace1, otellog.SeverityDebug, otellog.SeverityInfo, otellog.SeverityWarn2, otellog.SeverityError, otellog.SeverityFatal4, otellog.SeverityUndefined} {
		var r otellog.Record
		r.SetTimestamp(at.Add(time.Duration(i)))
		r.SetObservedTimestamp(at.Add(time.Hour))
		r.SetSeverity(severity)
		r.SetSeverityText(severity.String())
		r.SetBody(bodies[i])
		r.AddAttributes(attribute.Int("index", i), attribute.String("text", "ünï"), attribute.Float64("d", 1e-9), attribute.Slice("mixed", attribute.Int64Value(1), attribute.StringValue("x")))
		if i%2 == 0 {
			logger.Emit(ctx, r)
		} else {
			logger.Emit(context.Background(), r)
		}
	}
}

// What was sent, from the SDK's objects.

type printingSpans struct{ sdktrace.SpanExporter }

func (e printingSpans) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	for _, s := range spans {
		events := []any{}
		for _, event := range s.Events() {
			events = append(events, object{"name": event.Name, "time": nanos(event.Time), "attributes": attributes(event.Attributes), "dropped": event.DroppedAttributeCount})
		}
		// The exporter leaves out a link's trace state.
		links := []any{}
		for _, link := range s.Links() {
			links = append(links, object{"trace_id": link.SpanContext.TraceID().String(), "span_id": link.SpanContext.SpanID().String(),
				"attributes": attributes(link.Attributes), "dropped": link.DroppedAttributeCount})
		}
		parent := ""
		if s.Parent().SpanID().IsValid() {
			parent = s.Parent().SpanID().String()
		}
		// The SDK numbers its codes differently from the protocol.
		code := map[codes.Code]int{codes.Unset: 0, codes.Ok: 1, codes.Error: 2}[s.Status().Code]
		printLine(object{"signal": "span", "resource": attributes(s.Resource().Attributes()), "scope": scope(s.InstrumentationScope()),
			"name": s.Name(), "trace_id": s.SpanContext().TraceID().String(), "span_id": s.SpanContext().SpanID().String(), "parent_span_id": parent,
			"trace_state": s.SpanContext().TraceState().String(), "kind": int(s.SpanKind()), "start": nanos(s.StartTime()), "end": nanos(s.EndTime()),
			"attributes": attributes(s.Attributes()), "events": events, "links": links, "status": object{"code": code, "message": s.Status().Description},
			"sampled": s.SpanContext().IsSampled()})
	}
	return e.SpanExporter.ExportSpans(ctx, spans)
}

type printingMetrics struct{ sdkmetric.Exporter }

func (e printingMetrics) Export(ctx context.Context, rm *metricdata.ResourceMetrics) error {
	for _, sm := range rm.ScopeMetrics {
		for _, m := range sm.Metrics {
			base := func(kind string) object {
				return object{"signal": "metric", "resource": attributes(rm.Resource.Attributes()), "scope": scope(sm.Scope),
					"name": m.Name, "description": m.Description, "unit": m.Unit, "kind": kind}
			}
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				sum(base("sum"), data)
			case metricdata.Sum[float64]:
				sum(base("sum"), data)
			case metricdata.Gauge[int64]:
				numbers(base("gauge"), data.DataPoints)
			case metricdata.Gauge[float64]:
				numbers(base("gauge"), data.DataPoints)
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					o := distribution(base("histogram"), data.Temporality, p.Attributes, p.StartTime, p.Time, p.Count, p.Sum, p.Min, p.Max)
					o["bounds"], o["buckets"] = each(p.Bounds, double), each(p.BucketCounts, number[uint64])
					printLine(o)
				}
			case metricdata.ExponentialHistogram[float64]:
				for _, p := range data.DataPoints {
					o := distribution(base("exponential"), data.Temporality, p.Attributes, p.StartTime, p.Time, p.Count, p.Sum, p.Min, p.Max)
					o["scale"], o["zero_count"] = p.Scale, number(p.ZeroCount)
					o["positive"] = object{"offset": p.PositiveBucket.Offset, "buckets": each(p.PositiveBucket.Counts, number[uint64])}
					o["negative"] = object{"offset": p.NegativeBucket.Offset, "buckets": each(p.NegativeBucket.Counts, number[uint64])}
					printLine(o)
				}
			default:
				log.Fatalf("%T", data)
			}
		}
	}
	return e.Exporter.Export(ctx, rm)
}

func sum[N int64 | float64](base object, data metricdata.Sum[N]) {
	base["monotonic"], base["temporality"] = data.IsMonotonic, temporality(data.Temporality)
	numbers(base, data.DataPoints)
}

func numbers[N int64 | float64](base object, points []metricdata.DataPoint[N]) {
	for _, p := range points {
		o := object{"attributes": attributes(p.Attributes.ToSlice()), "start": nanos(p.StartTime), "time": nanos(p.Time)}
		for k, v := range base {
			o[k] = v
		}
		switch v := any(p.Value).(type) {
		case int64:
			o["value"] = object{"i": number(v)}
		case float64:
			o["value"] = object{"d": double(v)}
		}
		printLine(o)
	}
}

func distribution(o object, t metricdata.Temporality, set attribute.Set, start, end time.Time, count uint64, sum float64, low, high metricdata.Extrema[float64]) object {
	o["temporality"], o["attributes"] = temporality(t), attributes(set.ToSlice())
	o["start"], o["time"], o["count"], o["sum"] = nanos(start), nanos(end), number(count), double(sum)
	if v, ok := low.Value(); ok {
		o["min"] = double(v)
	}
	if v, ok := high.Value(); ok {
		o["max"] = double(v)
	}
	return o
}

func temporality(t metricdata.Temporality) int {
	return map[metricdata.Temporality]int{metricdata.DeltaTemporality: 1, metricdata.CumulativeTemporality: 2}[t]
}

type printingLogs struct{ sdklog.Exporter }

func (e printingLogs) Export(ctx context.Context, records []sdklog.Record) error {
	for _, r := range records {
		set := object{}
		r.WalkAttributes(func(kv attribute.KeyValue) bool {
			set[string(kv.Key)] = value(kv.Value)
			return true
		})
		o := object{"signal": "log", "resource": attributes(r.Resource().Attributes()), "scope": scope(r.InstrumentationScope()),
			"time": nanos(r.Timestamp()), "observed": nanos(r.ObservedTimestamp()), "severity": int(r.Severity()), "severity_text": r.SeverityText(),
			"body": value(r.Body()), "attributes": set, "trace_id": "", "span_id": "", "flags": int(r.TraceFlags()), "dropped": r.DroppedAttributes()}
		if r.TraceID().IsValid() {
			o["trace_id"], o["span_id"] = r.TraceID().String(), r.SpanID().String()
		}
		printLine(o)
	}
	return e.Exporter.Export(ctx, records)
}

func value(v attribute.Value) any {
	switch v.Type() {
	case attribute.EMPTY:
		return nil
	case attribute.BOOL:
		return object{"b": v.AsBool()}
	case attribute.INT64:
		return object{"i": number(v.AsInt64())}
	case attribute.FLOAT64:
		return object{"d": double(v.AsFloat64())}
	case attribute.STRING:
		return object{"s": v.AsString()}
	case attribute.BYTESLICE:
		return object{"x": hex.EncodeToString(v.AsByteSlice())}
	case attribute.BOOLSLICE:
		return object{"a": each(v.AsBoolSlice(), func(b bool) object { return object{"b": b} })}
	case attribute.INT64SLICE:
		return object{"a": each(v.AsInt64Slice(), func(n int64) object { return object{"i": number(n)} })}
	case attribute.FLOAT64SLICE:
		return object{"a": each(v.AsFloat64Slice(), func(d float64) object { return object{"d": double(d)} })}
	case attribute.STRINGSLICE:
		return object{"a": each(v.AsStringSlice(), func(s string) object { return object{"s": s} })}
	case attribute.SLICE:
		return object{"a": each(v.AsSlice(), value)}
	case attribute.MAP:
		return object{"m": attributes(v.AsMap())}
	}
	log.Fatalf("%v", v.Type())
	return nil
}

func attributes(list []attribute.KeyValue) object {
	set := object{}
	for _, kv := range list {
		set[string(kv.Key)] = value(kv.Value)
	}
	return set
}

func scope(s instrumentation.Scope) object {
	return object{"name": s.Name, "version": s.Version, "schema_url": s.SchemaURL, "attributes": attributes(s.Attributes.ToSlice())}
}

func each[A, B any](list []A, f func(A) B) []B {
	out := make([]B, 0, len(list))
	for _, v := range list {
		out = append(out, f(v))
	}
	return out
}

func nanos(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

func number[N int64 | uint64](n N) string { return fmt.Sprint(n) }

func double(d float64) string { return strconv.FormatFloat(d, 'g', -1, 64) }
