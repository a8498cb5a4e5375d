// Sends a fixed set of traces, metrics and logs through the standard OTLP exporters of the SDK for Node.js and prints on
// standard output what it has sent, one JSON object a line, from the SDK's own objects.
//
// Where to send and how is the exporters' own environment: OTEL_EXPORTER_OTLP_*.
'use strict';

const fs = require('node:fs');
const { context, diag, DiagLogLevel, SpanKind, SpanStatusCode, trace, TraceFlags } = require('@opentelemetry/api');
const { SeverityNumber } = require('@opentelemetry/api-logs');
const { resourceFromAttributes, defaultResource } = require('@opentelemetry/resources');
const { BatchLogRecordProcessor, LoggerProvider } = require('@opentelemetry/sdk-logs');
const { AggregationType, DataPointType, MeterProvider, PeriodicExportingMetricReader } = require('@opentelemetry/sdk-metrics');
const { BatchSpanProcessor, BasicTracerProvider } = require('@opentelemetry/sdk-trace-node');

const failures = [];
const fail = (...what) => failures.push(what.map(String).join(' '));
// Warnings don't count: with an authority alone the gRPC exporter warns of half a client certificate.
diag.setLogger({ error: fail, warn() {}, info() {}, debug() {}, verbose() {} }, DiagLogLevel.ERROR);

function exporters() {
  const kind = { grpc: 'grpc', 'http/protobuf': 'proto', 'http/json': 'http' }[process.env.OTEL_EXPORTER_OTLP_PROTOCOL];
  const { OTLPTraceExporter } = require(`@opentelemetry/exporter-trace-otlp-${kind}`);
  const { OTLPMetricExporter } = require(`@opentelemetry/exporter-metrics-otlp-${kind}`);
  const { OTLPLogExporter } = require(`@opentelemetry/exporter-logs-otlp-${kind}`);
  return [new OTLPTraceExporter(), new OTLPMetricExporter(), new OTLPLogExporter()];
}

// The exporter, which prints what it is given.
function printing(exporter, shown) {
  const original = exporter.export.bind(exporter);
  exporter.export = (batch, done) => {
    for (const item of shown(batch)) fs.writeSync(1, JSON.stringify(item) + '\n');
    original(batch, (result) => {
      if (result.code !== 0) fail('export', result.error);
      done(result);
    });
  };
  return exporter;
}

const RICH = {
  string: 'héllo wörld "quoted"\n日本語 🦀',
  empty: '',
  yes: true,
  no: false,
  int: -42,
  largest: Number.MAX_SAFE_INTEGER,
  smallest: Number.MIN_SAFE_INTEGER,
  double: 1.25e-7,
  strings: ['a', '', 'ß'],
  bools: [true, false],
  ints: [1, -1, 2 ** 40],
  doubles: [0.5, -1.5, 1.5e-300],
  none: [],
};

const at = (seconds, nanos) => [seconds, nanos];

function traces(tracer) {
  const second = 1_700_000_000;
  const remote = {
    traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
    spanId: '00f067aa0ba902b7',
    traceFlags: TraceFlags.SAMPLED,
    isRemote: true,
    traceState: new (require('@opentelemetry/core').TraceState)('vendor=value,other=1'),
  };
  const parent = trace.setSpanContext(context.active(), remote);
  const links = [{ context: remote, attributes: { why: 'follows' } }];
  const root = tracer.startSpan(
    'root größe',
    { kind: SpanKind.SERVER, attributes: RICH, links, startTime: at(second, 123_456_789) },
    parent,
  );
  const within = trace.setSpan(parent, root);
  const kinds = [SpanKind.INTERNAL, SpanKind.SERVER, SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER];
  kinds.forEach((kind, i) => {
    const begin = (n) => at(second, 200_000_000 + i * 1_000_000 + n);
    const span = tracer.startSpan(`child ${SpanKind[kind]}`, { kind, startTime: begin(0) }, within);
    span.addEvent('an event', { n: i, text: 'ünï' }, begin(1));
    span.addEvent('bare', begin(2));
    if (i === 1) span.setStatus({ code: SpanStatusCode.OK });
    if (i === 2) {
      span.setStatus({ code: SpanStatusCode.ERROR, message: 'fehlgeschlagen: größe' });
      span.recordException(new Error('it broke'), begin(3));
    }
    const inner = { attributes: { i }, startTime: begin(5) };
    tracer.startSpan('grandchild', inner, trace.setSpan(within, span)).end(begin(10));
    span.end(begin(900_000));
  });
  root.end(at(second + 1, 0));
  return within;
}

function measure(meter) {
  const attributes = { path: '/ä', code: 200, ok: true };
  const requests = meter.createCounter('requests', { unit: '{request}', description: 'Anfragen größe', valueType: 0 });
  requests.add(5, attributes);
  requests.add(2);
  meter.createCounter('seconds', { unit: 's' }).add(1.5, attributes);
  meter.createUpDownCounter('active', { valueType: 0 }).add(-3, attributes);
  const latency = meter.createHistogram('latency', { unit: 'ms' });
  const exponential = meter.createHistogram('exponential');
  for (const value of [0, 0.1, 4.9, 5, 77, 1e6]) {
    latency.record(value, attributes);
    exponential.record(value, attributes);
  }
  meter.createGauge('temperature', { valueType: 0 }).record(-7);
  meter.createObservableGauge('observed').addCallback((result) => {
    result.observe(0.1, attributes);
    result.observe(-1e300);
  });
}

function record(within, logger) {
  const bodies = [
    'plain größe 🦀',
    -1,
    0.1,
    true,
    new Uint8Array([0, 1, 254, 255]),
    ['a', 1, [false]],
    { k: 'v', inner: { d: 2.5, b: new Uint8Array([120, 121, 122]) } },
  ];
  const severities = ['TRACE', 'DEBUG', 'INFO', 'WARN2', 'ERROR', 'FATAL4', 'UNSPECIFIED'];
  bodies.forEach((body, i) => {
    logger.emit({
      timestamp: at(1_700_000_001, i + 1),
      observedTimestamp: at(1_700_003_601, 1),
      severityNumber: SeverityNumber[severities[i]],
      severityText: severities[i],
      body,
      attributes: { index: i, text: 'ünï', d: 1e-9, mixed: { list: [1, 'x'], deep: { b: false } } },
      eventName: i === 3 ? 'an.event' : undefined,
      context: i % 2 === 0 ? within : context.active(),
    });
  });
}

// What was sent, from the SDK's objects.

function value(v) {
  if (v === undefined || v === null) return null;
  if (typeof v === 'boolean') return { b: v };
  // The SDK has one type of numbers and sends whole ones as integers.
  if (typeof v === 'number') return Number.isInteger(v) ? { i: String(v) } : { d: String(v) };
  if (typeof v === 'string') return { s: v };
  if (v instanceof Uint8Array) return { x: Buffer.from(v).toString('hex') };
  if (Array.isArray(v)) return { a: v.map(value) };
  return { m: attributes(v) };
}

const attributes = (set) => Object.fromEntries(Object.entries(set ?? {}).map(([k, v]) => [k, value(v)]));
const nanos = ([seconds, n]) => String(BigInt(seconds) * 1_000_000_000n + BigInt(n));
const scope = (s) => ({ name: s.name, version: s.version ?? '', schema_url: s.schemaUrl ?? '' });

function* spans(batch) {
  for (const s of batch) {
    const own = s.spanContext();
    yield {
      signal: 'span',
      resource: attributes(s.resource.attributes),
      scope: scope(s.instrumentationScope),
      name: s.name,
      trace_id: own.traceId,
      span_id: own.spanId,
      parent_span_id: s.parentSpanContext?.spanId ?? '',
      trace_state: own.traceState?.serialize() ?? '',
      // The protocol numbers from one.
      kind: s.kind + 1,
      start: nanos(s.startTime),
      end: nanos(s.endTime),
      attributes: attributes(s.attributes),
      events: s.events.map((e) => ({
        name: e.name,
        time: nanos(e.time),
        attributes: attributes(e.attributes),
        dropped: e.droppedAttributesCount ?? 0,
      })),
      links: s.links.map((l) => ({
        trace_id: l.context.traceId,
        span_id: l.context.spanId,
        trace_state: l.context.traceState?.serialize() ?? '',
        attributes: attributes(l.attributes),
        dropped: l.droppedAttributesCount ?? 0,
      })),
      status: { code: s.status.code, message: s.status.message ?? '' },
      sampled: (own.traceFlags & TraceFlags.SAMPLED) !== 0,
      dropped: [s.droppedAttributesCount, s.droppedEventsCount, s.droppedLinksCount],
    };
  }
}

function* metrics(data) {
  for (const inner of data.scopeMetrics) {
    for (const metric of inner.metrics) {
      for (const point of metric.dataPoints) {
        const base = {
          signal: 'metric',
          resource: attributes(data.resource.attributes),
          scope: scope(inner.scope),
          name: metric.descriptor.name,
          description: metric.descriptor.description,
          unit: metric.descriptor.unit,
          attributes: attributes(point.attributes),
          start: nanos(point.startTime),
          time: nanos(point.endTime),
        };
        yield { ...base, ...fields(metric, point) };
      }
    }
  }
}

function fields(metric, point) {
  const v = point.value;
  const number = metric.descriptor.valueType === 0 ? { i: String(v) } : { d: String(v) };
  if (metric.dataPointType === DataPointType.GAUGE) return { kind: 'gauge', value: number };
  // The protocol numbers from one.
  const temporality = metric.aggregationTemporality + 1;
  if (metric.dataPointType === DataPointType.SUM) {
    return { kind: 'sum', monotonic: metric.isMonotonic, value: number, temporality };
  }
  const spread = { count: String(v.count), sum: String(v.sum), min: String(v.min), max: String(v.max), temporality };
  if (metric.dataPointType === DataPointType.HISTOGRAM) {
    const { boundaries, counts } = v.buckets;
    return { kind: 'histogram', bounds: boundaries.map(String), buckets: counts.map(String), ...spread };
  }
  const side = ({ offset, bucketCounts }) => ({ offset, buckets: bucketCounts.map(String) });
  const sides = { positive: side(v.positive), negative: side(v.negative) };
  return { kind: 'exponential', scale: v.scale, zero_count: String(v.zeroCount), ...sides, ...spread };
}

function* logs(batch) {
  for (const r of batch) {
    yield {
      signal: 'log',
      resource: attributes(r.resource.attributes),
      scope: scope(r.instrumentationScope),
      time: nanos(r.hrTime),
      observed: nanos(r.hrTimeObserved),
      severity: r.severityNumber ?? 0,
      severity_text: r.severityText ?? '',
      body: value(r.body),
      attributes: attributes(r.attributes),
      trace_id: r.spanContext?.traceId ?? '',
      span_id: r.spanContext?.spanId ?? '',
      flags: r.spanContext?.traceFlags ?? 0,
      event_name: r.eventName ?? '',
      dropped: r.droppedAttributesCount,
    };
  }
}

async function main() {
  const own = { 'service.name': 'node-sdk', 'service.namespace': 'größe', 'service.number': 7 };
  const resource = defaultResource().merge(resourceFromAttributes(own));
  const [toSpans, toMetrics, toLogs] = exporters();
  const tracers = new BasicTracerProvider({
    resource,
    // A small batch shows several requests.
    spanProcessors: [new BatchSpanProcessor(printing(toSpans, spans), { maxExportBatchSize: 8 })],
  });
  const reader = new PeriodicExportingMetricReader({
    exporter: printing(toMetrics, metrics),
    exportIntervalMillis: 3_600_000,
  });
  const aggregation = { type: AggregationType.EXPONENTIAL_HISTOGRAM, options: { maxSize: 20 } };
  const meters = new MeterProvider({ resource, readers: [reader], views: [{ instrumentName: 'exponential', aggregation }] });
  const loggers = new LoggerProvider({
    resource,
    processors: [new BatchLogRecordProcessor({ exporter: printing(toLogs, logs) })],
  });

  const within = traces(tracers.getTracer('tracer', '1.2.3', { schemaUrl: 'https://opentelemetry.io/schemas/1.26.0' }));
  measure(meters.getMeter('meter', '0.1'));
  record(within, loggers.getLogger('logger', '2'));

  const providers = [tracers, meters, loggers];
  for (const provider of providers) await provider.forceFlush();
  for (const provider of providers) await provider.shutdown();
  if (failures.length > 0) throw new Error(failures.join('\n'));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
