'use strict';
// The exporters with the real SDK: what it records comes out of the collector in the process, and reaches a server over OTLP.

const assert = require('node:assert/strict');
const http = require('node:http');
const { test } = require('node:test');
const { SeverityNumber } = require('@opentelemetry/api-logs');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const { BatchLogRecordProcessor, LoggerProvider } = require('@opentelemetry/sdk-logs');
const { MeterProvider, PeriodicExportingMetricReader } = require('@opentelemetry/sdk-metrics');
const { BasicTracerProvider, BatchSpanProcessor } = require('@opentelemetry/sdk-trace-base');
const { Collector } = require('otelcore');
const { CollectorLogRecordExporter, CollectorMetricExporter, CollectorSpanExporter } = require('otelcore/sdk');
const { through } = require('./support');

const resource = resourceFromAttributes({ 'service.name': 'shop' });

/** A server of OTLP over HTTP: the bodies that it got, by path. */
async function server() {
  const bodies = {};
  const listening = http.createServer((request, response) => {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => {
      (bodies[request.url] ??= []).push(Buffer.concat(parts));
      response.writeHead(200, { 'content-type': 'application/x-protobuf' });
      response.end();
    });
  });
  await new Promise((resolve) => listening.listen(0, '127.0.0.1', resolve));
  return { bodies, port: listening.address().port, close: () => listening.close() };
}

test('telemetry_of_the_sdk_reaches_a_server_over_otlp', async () => {
  const peer = await server();
  const collector = await Collector.start({
    receivers: { inproc: null },
    processors: { batch: { timeout: '60s' } },
    exporters: { otlp_http: { endpoint: `http://127.0.0.1:${peer.port}`, compression: 'none' } },
    service: {
      telemetry: { metrics: { level: 'none' } },
      pipelines: Object.fromEntries(
        ['traces', 'metrics', 'logs'].map((signal) => [signal, { receivers: ['inproc'], processors: ['batch'], exporters: ['otlp_http'] }]),
      ),
    },
  });
  const spans = new CollectorSpanExporter(collector);
  const tracers = new BasicTracerProvider({ resource, spanProcessors: [new BatchSpanProcessor(spans)] });
  for (let i = 0; i < 1000; i++) tracers.getTracer('test').startSpan('checkout', { attributes: { i } }).end();
  await tracers.forceFlush();
  await spans.forceFlush();
  const metrics = new CollectorMetricExporter(collector);
  const meters = new MeterProvider({ resource, readers: [new PeriodicExportingMetricReader({ exporter: metrics })] });
  meters.getMeter('test').createCounter('orders').add(3);
  await meters.shutdown();
  const logs = new CollectorLogRecordExporter(collector);
  const loggers = new LoggerProvider({ resource, processors: [new BatchLogRecordProcessor({ exporter: logs })] });
  loggers.getLogger('test').emit({ severityNumber: SeverityNumber.WARN, body: 'out of stock' });
  await loggers.shutdown();
  await tracers.shutdown();
  await collector.shutdown({ timeout: 20000 });
  peer.close();
  const body = (path) => Buffer.concat(peer.bodies[path]).toString('latin1');
  assert.equal(body('/v1/traces').split('checkout').length - 1, 1000);
  assert.match(body('/v1/traces'), /service\.name.*shop/s);
  assert.match(body('/v1/metrics'), /orders/);
  assert.match(body('/v1/logs'), /out of stock/);
});

test('exporter_without_a_pipeline_or_after_its_end_says_so', async () => {
  const collector = await Collector.start(through);
  assert.throws(() => new CollectorMetricExporter(collector, { input: 'inproc/app' }), /no pipeline takes metrics/);
  const exporter = new CollectorSpanExporter(collector, { input: 'inproc/app', timeout: 50 });
  const output = collector.output('inproc/out');
  const tracers = new BasicTracerProvider({ resource });
  const span = tracers.getTracer('test').startSpan('one');
  span.end();
  const exported = (spans) => new Promise((resolve) => exporter.export(spans, resolve));
  assert.equal((await exported([span])).code, 0);
  const batch = await output.next({ timeout: 20000 });
  assert.match(batch.data.toString('latin1'), /one/);
  batch.ack();
  await collector.shutdown({ timeout: 5000 });
  const refused = await exported([span]);
  assert.equal(refused.code, 1);
  assert.equal(refused.error.code, 'OTELCORE_CLOSED');
  await exporter.shutdown();
  assert.match((await exported([span])).error.message, /shut down/);
});
