import io.grpc.ManagedChannel;
import io.grpc.netty.NettyChannelBuilder;
import io.netty.channel.MultiThreadIoEventLoopGroup;
import io.netty.channel.epoll.EpollDomainSocketChannel;
import io.netty.channel.epoll.EpollIoHandler;
import io.netty.channel.unix.DomainSocketAddress;
import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.common.KeyValue;
import io.opentelemetry.api.common.Value;
import io.opentelemetry.api.logs.Logger;
import io.opentelemetry.api.logs.Severity;
import io.opentelemetry.api.metrics.Meter;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.context.Context;
import io.opentelemetry.exporter.otlp.logs.OtlpGrpcLogRecordExporter;
import io.opentelemetry.exporter.otlp.metrics.OtlpGrpcMetricExporter;
import io.opentelemetry.exporter.otlp.trace.OtlpGrpcSpanExporter;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.autoconfigure.AutoConfiguredOpenTelemetrySdk;
import io.opentelemetry.sdk.common.CompletableResultCode;
import io.opentelemetry.sdk.common.InstrumentationScopeInfo;
import io.opentelemetry.sdk.logs.data.LogRecordData;
import io.opentelemetry.sdk.logs.export.LogRecordExporter;
import io.opentelemetry.sdk.metrics.Aggregation;
import io.opentelemetry.sdk.metrics.InstrumentSelector;
import io.opentelemetry.sdk.metrics.InstrumentType;
import io.opentelemetry.sdk.metrics.View;
import io.opentelemetry.sdk.metrics.data.AggregationTemporality;
import io.opentelemetry.sdk.metrics.data.DoublePointData;
import io.opentelemetry.sdk.metrics.data.ExponentialHistogramBuckets;
import io.opentelemetry.sdk.metrics.data.ExponentialHistogramPointData;
import io.opentelemetry.sdk.metrics.data.HistogramPointData;
import io.opentelemetry.sdk.metrics.data.LongPointData;
import io.opentelemetry.sdk.metrics.data.MetricData;
import io.opentelemetry.sdk.metrics.data.PointData;
import io.opentelemetry.sdk.metrics.export.MetricExporter;
import io.opentelemetry.sdk.trace.data.SpanData;
import io.opentelemetry.sdk.trace.export.SpanExporter;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;

/**
 * Sends a fixed set of traces, metrics and logs through the stock OTLP exporters of the Java SDK and prints on standard
 * output what it has sent, one JSON object a line, from the SDK's own objects.
 *
 * <p>Where to send and how is the environment of the SDK's autoconfiguration: OTEL_EXPORTER_OTLP_*. SDK_UNIX names a
 * unix socket that takes the place of a TCP connection.
 */
public final class Main {
  private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);
  private static final List<String> FAILURES = new ArrayList<>();

  public static void main(String[] args) {
    // The exporters log what fails; here that ends the program with an error.
    java.util.logging.Logger.getLogger("io.opentelemetry").addHandler(new Handler() {
      @Override
      public void publish(LogRecord record) {
        if (record.getLevel().intValue() >= Level.WARNING.intValue()) {
          FAILURES.add(record.getMessage());
        }
      }

      @Override
      public void flush() {}

      @Override
      public void close() {}
    });
    String unix = System.getenv("SDK_UNIX");
    String senders = "io.opentelemetry.exporter.sender.";
    System.setProperty("io.opentelemetry.sdk.common.export.GrpcSenderProvider",
        senders + (unix == null ? "okhttp.internal.OkHttpGrpcSenderProvider"
            : "grpc.managedchannel.internal.UpstreamGrpcSenderProvider"));
    MultiThreadIoEventLoopGroup group =
        unix == null ? null : new MultiThreadIoEventLoopGroup(1, EpollIoHandler.newFactory());
    ManagedChannel channel = unix == null ? null
        : NettyChannelBuilder.forAddress(new DomainSocketAddress(unix)).channelType(EpollDomainSocketChannel.class)
            .eventLoopGroup(group).usePlaintext().build();

    OpenTelemetrySdk sdk = AutoConfiguredOpenTelemetrySdk.builder()
        .disableShutdownHook()
        .addPropertiesSupplier(() -> Map.of(
            "otel.service.name", "java-sdk",
            "otel.resource.attributes", "service.namespace=gr%C3%B6%C3%9Fe",
            // A small batch shows several requests.
            "otel.bsp.max.export.batch.size", "8",
            "otel.metric.export.interval", "3600000"))
        .addSpanExporterCustomizer((e, c) -> new PrintingSpans(
            channel == null ? e : OtlpGrpcSpanExporter.builder().setChannel(channel).build()))
        .addMetricExporterCustomizer((e, c) -> new PrintingMetrics(
            channel == null ? e : OtlpGrpcMetricExporter.builder().setChannel(channel).build()))
        .addLogRecordExporterCustomizer((e, c) -> new PrintingLogs(
            channel == null ? e : OtlpGrpcLogRecordExporter.builder().setChannel(channel).build()))
        .addMeterProviderCustomizer((b, c) -> b.registerView(
            InstrumentSelector.builder().setName("exponential").build(),
            View.builder().setAggregation(Aggregation.base2ExponentialBucketHistogram(20, 5)).build()))
        .build().getOpenTelemetrySdk();

    Context context = traces(sdk.getSdkTracerProvider().tracerBuilder("tracer").setInstrumentationVersion("1.2.3")
        .setSchemaUrl("https://opentelemetry.io/schemas/1.26.0").build());
    measure(sdk.getSdkMeterProvider().meterBuilder("meter").setInstrumentationVersion("0.1").build());
    record(context, sdk.getSdkLoggerProvider().loggerBuilder("logger").setInstrumentationVersion("2").build());

    boolean done = true;
    for (CompletableResultCode flush : List.of(sdk.getSdkTracerProvider().forceFlush(),
        sdk.getSdkMeterProvider().forceFlush(), sdk.getSdkLoggerProvider().forceFlush())) {
      done &= flush.join(20, TimeUnit.SECONDS).isSuccess();
    }
    done &= sdk.shutdown().join(20, TimeUnit.SECONDS).isSuccess();
    if (channel != null) {
      channel.shutdownNow();
      group.shutdownGracefully(0, 1, TimeUnit.SECONDS);
    }
    if (!done || !FAILURES.isEmpty()) {
      System.err.println("flushed: " + done + ", " + FAILURES);
      System.exit(1);
    }
    System.exit(0);
  }

  private static Attributes rich() {
    return Attributes.builder()
        .put("string", "héllo wörld \"quoted\"\n日本語 🦀")
        .put("empty", "")
        .put("yes", true)
        .put("no", false)
        .put("int", -42)
        .put("largest", Long.MAX_VALUE)
        .put("smallest", Long.MIN_VALUE)
        .put("double", 1.25e-7)
        .put("whole", 3.0)
        .put("infinite", Double.NEGATIVE_INFINITY)
        .put("strings", "a", "", "ß")
        .put("bools", true, false)
        .put("ints", 1L, -1L, Long.MAX_VALUE)
        .put("doubles", 0.5, -1, 1e300)
        .put(AttributeKey.stringArrayKey("none"), List.of())
        .put(AttributeKey.valueKey("bytes"), Value.of(new byte[] {0, -1, 'x'}))
        .put(AttributeKey.valueKey("mixed"), Value.of(Value.of(1), Value.of("zwei"), Value.of(0.1)))
        .put(AttributeKey.valueKey("map"), Value.of(KeyValue.of("ключ", Value.of("значение")),
            KeyValue.of("inner", Value.of(KeyValue.of("deep", Value.of(true))))))
        .build();
  }

  private static Context traces(Tracer tracer) {
    long start = 1_700_000_000_123_456_789L;
    TraceState state = TraceState.builder().put("other", "1").put("vendor", "value").build();
    SpanContext remote = SpanContext.createFromRemoteParent(
        "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", TraceFlags.getSampled(), state);
    Context parent = Context.root().with(Span.wrap(remote));
    Span root = tracer.spanBuilder("root größe").setParent(parent).setSpanKind(SpanKind.SERVER)
        .setAllAttributes(rich()).addLink(remote, Attributes.builder().put("why", "follows").build())
        .setStartTimestamp(start, TimeUnit.NANOSECONDS).startSpan();
    Context within = parent.with(root);
    int i = 0;
    for (SpanKind kind : SpanKind.values()) {
      long begin = start + i * 1_000_000L;
      Span span = tracer.spanBuilder("child " + kind).setParent(within).setSpanKind(kind)
          .setStartTimestamp(begin, TimeUnit.NANOSECONDS).startSpan();
      span.addEvent("an event", Attributes.builder().put("n", i).put("text", "ünï").build(), begin + 1,
          TimeUnit.NANOSECONDS);
      span.addEvent("bare", begin + 2, TimeUnit.NANOSECONDS);
      if (i == 1) {
        span.setStatus(StatusCode.OK);
      }
      if (i == 2) {
        span.setStatus(StatusCode.ERROR, "fehlgeschlagen: größe");
        span.recordException(new IllegalStateException("it broke"));
      }
      tracer.spanBuilder("grandchild").setParent(within.with(span)).setAttribute("i", i)
          .setStartTimestamp(begin + 5, TimeUnit.NANOSECONDS).startSpan().end(begin + 10, TimeUnit.NANOSECONDS);
      span.end(begin + 1_000_000, TimeUnit.NANOSECONDS);
      i++;
    }
    root.end(start + 1_000_000_000, TimeUnit.NANOSECONDS);
    return within;
  }

  private static void measure(Meter meter) {
    Attributes attributes = Attributes.builder().put("path", "/ä").put("code", 200).put("ok", true).build();
    var requests = meter.counterBuilder("requests").setUnit("{request}").setDescription("Anfragen größe").build();
    requests.add(5, attributes);
    requests.add(2);
    meter.counterBuilder("seconds").ofDoubles().setUnit("s").build().add(1.5, attributes);
    meter.upDownCounterBuilder("active").build().add(-3, attributes);
    var latency = meter.histogramBuilder("latency").setUnit("ms").build();
    var exponential = meter.histogramBuilder("exponential").build();
    for (double value : new double[] {0, 0.1, 4.9, 5, 77, 1e6}) {
      latency.record(value, attributes);
      exponential.record(value, attributes);
    }
    meter.gaugeBuilder("temperature").ofLongs().build().set(-7);
    meter.gaugeBuilder("observed").buildWithCallback(o -> {
      o.record(0.1, attributes);
      o.record(-1e300);
    });
  }

  private static void record(Context context, Logger logger) {
    long at = 1_700_000_001_000_000_001L;
    List<Value<?>> bodies = List.of(Value.of("plain größe 🦀"), Value.of(-1), Value.of(0.1), Value.of(true),
        Value.of(new byte[] {0, 1, -2, -1}), Value.of(Value.of("a"), Value.of(1), Value.of(Value.of(false))),
        Value.of(KeyValue.of("k", Value.of("v")), KeyValue.of("inner",
            Value.of(KeyValue.of("d", Value.of(2.5)), KeyValue.of("b", Value.of(new byte[] {120, 121, 122}))))));
    List<Severity> severities = List.of(Severity.TRACE, Severity.DEBUG, Severity.INFO, Severity.WARN2, Severity.ERROR,
        Severity.FATAL4, Severity.UNDEFINED_SEVERITY_NUMBER);
    for (int i = 0; i < bodies.size(); i++) {
      var builder = logger.logRecordBuilder().setTimestamp(at + i, TimeUnit.NANOSECONDS)
          .setObservedTimestamp(at + 3_600_000_000_000L, TimeUnit.NANOSECONDS).setSeverity(severities.get(i))
          .setSeverityText(severities.get(i).name()).setBody(bodies.get(i))
          .setContext(i % 2 == 0 ? context : Context.root())
          .setAllAttributes(Attributes.builder().put("index", i).put("text", "ünï").put("d", 1e-9).build());
      if (i == 3) {
        builder.setEventName("an.event");
      }
      builder.emit();
    }
  }

  // What was sent, from the SDK's objects.

  private static Map<String, Object> map(Object... pairs) {
    Map<String, Object> map = new LinkedHashMap<>();
    for (int i = 0; i < pairs.length; i += 2) {
      map.put((String) pairs[i], pairs[i + 1]);
    }
    return map;
  }

  private static Map<String, Object> attributes(Attributes attributes) {
    Map<String, Object> map = map();
    attributes.forEach((key, value) -> map.put(key.getKey(), value(value)));
    return map;
  }

  private static Object value(Object v) {
    if (v instanceof Value<?> wrapped) {
      return value(wrapped.getValue());
    } else if (v instanceof Boolean) {
      return map("b", v);
    } else if (v instanceof Long) {
      return map("i", v.toString());
    } else if (v instanceof Double) {
      return map("d", v.toString());
    } else if (v instanceof String) {
      return map("s", v);
    } else if (v instanceof ByteBuffer buffer) {
      byte[] bytes = new byte[buffer.remaining()];
      buffer.duplicate().get(bytes);
      return map("x", HexFormat.of().formatHex(bytes));
    } else if (v instanceof List<?> list && !list.isEmpty() && list.get(0) instanceof KeyValue) {
      Map<String, Object> inner = map();
      list.forEach(item -> inner.put(((KeyValue) item).getKey(), value(((KeyValue) item).getValue())));
      return map("m", inner);
    } else if (v instanceof List<?> list) {
      return map("a", list.stream().map(Main::value).toList());
    }
    throw new IllegalArgumentException(String.valueOf(v));
  }

  private static Map<String, Object> scope(InstrumentationScopeInfo s) {
    return map("name", s.getName(), "version", text(s.getVersion()), "schema_url", text(s.getSchemaUrl()),
        "attributes", attributes(s.getAttributes()));
  }

  private static String text(String s) {
    return s == null ? "" : s;
  }

  private static String state(SpanContext context) {
    List<String> entries = new ArrayList<>();
    context.getTraceState().forEach((key, value) -> entries.add(key + "=" + value));
    return String.join(",", entries);
  }

  /** A failed export ends the program with an error. */
  private static CompletableResultCode watched(CompletableResultCode result) {
    return result.whenComplete(() -> {
      if (!result.isSuccess()) {
        FAILURES.add("export: " + result.getFailureThrowable());
      }
    });
  }

  private record PrintingSpans(SpanExporter inner) implements SpanExporter {
    @Override
    public CompletableResultCode export(Collection<SpanData> spans) {
      for (SpanData s : spans) {
        SpanContext own = s.getSpanContext();
        // The protocol numbers kinds from one.
        print(map("signal", "span", "resource", attributes(s.getResource().getAttributes()),
            "scope", scope(s.getInstrumentationScopeInfo()), "name", s.getName(), "trace_id", own.getTraceId(),
            "span_id", own.getSpanId(), "parent_span_id", s.getParentSpanContext().isValid() ? s.getParentSpanId() : "",
            "trace_state", state(own), "kind", s.getKind().ordinal() + 1, "start", "" + s.getStartEpochNanos(),
            "end", "" + s.getEndEpochNanos(), "attributes", attributes(s.getAttributes()),
            "events", s.getEvents().stream().map(e -> map("name", e.getName(), "time", "" + e.getEpochNanos(),
                "attributes", attributes(e.getAttributes()), "dropped", e.getDroppedAttributesCount())).toList(),
            "links", s.getLinks().stream().map(l -> map("trace_id", l.getSpanContext().getTraceId(),
                "span_id", l.getSpanContext().getSpanId(), "trace_state", state(l.getSpanContext()),
                "attributes", attributes(l.getAttributes()))).toList(),
            "status", map("code", s.getStatus().getStatusCode().ordinal(), "message", s.getStatus().getDescription()),
            "sampled", own.isSampled()));
      }
      return watched(inner.export(spans));
    }

    @Override
    public CompletableResultCode flush() {
      return inner.flush();
    }

    @Override
    public CompletableResultCode shutdown() {
      return inner.shutdown();
    }
  }

  private record PrintingMetrics(MetricExporter inner) implements MetricExporter {
    @Override
    public AggregationTemporality getAggregationTemporality(InstrumentType type) {
      return inner.getAggregationTemporality(type);
    }

    @Override
    public CompletableResultCode export(Collection<MetricData> metrics) {
      for (MetricData m : metrics) {
        for (PointData p : m.getData().getPoints()) {
          Map<String, Object> line = map("signal", "metric", "resource", attributes(m.getResource().getAttributes()),
              "scope", scope(m.getInstrumentationScopeInfo()), "name", m.getName(), "description", m.getDescription(),
              "unit", m.getUnit(), "attributes", attributes(p.getAttributes()), "start", "" + p.getStartEpochNanos(),
              "time", "" + p.getEpochNanos());
          fields(m, p, line);
          print(line);
        }
      }
      return watched(inner.export(metrics));
    }

    @Override
    public CompletableResultCode flush() {
      return inner.flush();
    }

    @Override
    public CompletableResultCode shutdown() {
      return inner.shutdown();
    }
  }

  private static void fields(MetricData m, PointData point, Map<String, Object> line) {
    if (point instanceof LongPointData p) {
      line.put("value", map("i", "" + p.getValue()));
    } else if (point instanceof DoublePointData p) {
      line.put("value", map("d", "" + p.getValue()));
    } else if (point instanceof HistogramPointData p) {
      line.putAll(map("count", "" + p.getCount(), "sum", "" + p.getSum(), "min", "" + p.getMin(), "max", "" + p.getMax(),
          "bounds", p.getBoundaries().stream().map(Object::toString).toList(),
          "buckets", p.getCounts().stream().map(Object::toString).toList()));
    } else if (point instanceof ExponentialHistogramPointData p) {
      line.putAll(map("count", "" + p.getCount(), "sum", "" + p.getSum(), "min", "" + p.getMin(), "max", "" + p.getMax(),
          "scale", p.getScale(), "zero_count", "" + p.getZeroCount(), "positive", side(p.getPositiveBuckets()),
          "negative", side(p.getNegativeBuckets())));
    }
    // In the protocol delta is one and cumulative is two.
    switch (m.getType()) {
      case LONG_GAUGE, DOUBLE_GAUGE -> line.put("kind", "gauge");
      case LONG_SUM -> line.putAll(map("kind", "sum", "monotonic", m.getLongSumData().isMonotonic(),
          "temporality", m.getLongSumData().getAggregationTemporality().ordinal() + 1));
      case DOUBLE_SUM -> line.putAll(map("kind", "sum", "monotonic", m.getDoubleSumData().isMonotonic(),
          "temporality", m.getDoubleSumData().getAggregationTemporality().ordinal() + 1));
      case HISTOGRAM -> line.putAll(map("kind", "histogram",
          "temporality", m.getHistogramData().getAggregationTemporality().ordinal() + 1));
      case EXPONENTIAL_HISTOGRAM -> line.putAll(map("kind", "exponential",
          "temporality", m.getExponentialHistogramData().getAggregationTemporality().ordinal() + 1));
      default -> throw new IllegalArgumentException(m.toString());
    }
  }

  private static Map<String, Object> side(ExponentialHistogramBuckets b) {
    return map("offset", b.getOffset(), "buckets", b.getBucketCounts().stream().map(Object::toString).toList());
  }

  private record PrintingLogs(LogRecordExporter inner) implements LogRecordExporter {
    @Override
    public CompletableResultCode export(Collection<LogRecordData> logs) {
      for (LogRecordData r : logs) {
        SpanContext context = r.getSpanContext();
        print(map("signal", "log", "resource", attributes(r.getResource().getAttributes()),
            "scope", scope(r.getInstrumentationScopeInfo()), "time", "" + r.getTimestampEpochNanos(),
            "observed", "" + r.getObservedTimestampEpochNanos(), "severity", r.getSeverity().getSeverityNumber(),
            "severity_text", text(r.getSeverityText()),
            "body", r.getBodyValue() == null ? null : value(r.getBodyValue()),
            "attributes", attributes(r.getAttributes()), "trace_id", context.isValid() ? context.getTraceId() : "",
            "span_id", context.isValid() ? context.getSpanId() : "", "flags", (int) context.getTraceFlags().asByte(),
            "event_name", text(r.getEventName())));
      }
      return watched(inner.export(logs));
    }

    @Override
    public CompletableResultCode flush() {
      return inner.flush();
    }

    @Override
    public CompletableResultCode shutdown() {
      return inner.shutdown();
    }
  }

  private static synchronized void print(Map<String, Object> line) {
    StringBuilder out = new StringBuilder();
    json(out, line);
    OUT.println(out);
  }

  private static void json(StringBuilder out, Object v) {
    if (v instanceof Map<?, ?> map) {
      out.append('{');
      map.forEach((key, inner) -> {
        out.append(out.charAt(out.length() - 1) == '{' ? "" : ",");
        json(out, key);
        out.append(':');
        json(out, inner);
      });
      out.append('}');
    } else if (v instanceof List<?> list) {
      out.append('[');
      for (int i = 0; i < list.size(); i++) {
        out.append(i == 0 ? "" : ",");
        json(out, list.get(i));
      }
      out.append(']');
    } else if (v instanceof String s) {
      out.append('"');
      for (char c : s.toCharArray()) {
        out.append(c == '"' || c == '\\' ? "\\" + c : c < ' ' ? String.format("\\u%04x", (int) c) : "" + c);
      }
      out.append('"');
    } else {
      out.append(v);
    }
  }
}
