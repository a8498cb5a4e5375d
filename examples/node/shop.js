'use strict';
// A program with a collector in it: the SDK exports into it, a function of the program is a step of the pipeline, and the
// traces come back to the program. With an address it sends them there over OTLP instead: node shop.js http://localhost:4318

const { resourceFromAttributes } = require('@opentelemetry/resources');
const { MeterProvider, PeriodicExportingMetricReader } = require('@opentelemetry/sdk-metrics');
const { BasicTracerProvider, BatchSpanProcessor } = require('@opentelemetry/sdk-trace-base');
const { Collector } = require('otelcore');
const { CollectorMetricExporter, CollectorSpanExporter } = require('otelcore/sdk');

async function main(endpoint) {
  const exporter = endpoint ? 'otlp_http' : 'inproc/out';
  const collector = new Collector({
    receivers: { inproc: null },
    processors: { 'inproc/enrich': { timeout: '2s' }, batch: { timeout: '100ms' } },
    exporters: { [exporter]: endpoint ? { endpoint } : null, debug: null },
    service: {
      pipelines: {
        traces: { receivers: ['inproc'], processors: ['inproc/enrich', 'batch'], exporters: [exporter] },
        metrics: { receivers: ['inproc'], exporters: ['debug'] },
      },
    },
  });
  // The spans of health checks are dropped, and all others say where they are from.
  const enriching = collector.processor('inproc/enrich').run((payload) =>
    payload.edit((item) => {
      if (item.kind === 'resource') item.setAttribute('cloud.region', 'eu-north-1');
      return !(item.kind === 'span' && item.name === 'health');
    }),
  );
  await collector.start();

  const resource = resourceFromAttributes({ 'service.name': 'shop' });
  const spans = new BatchSpanProcessor(new CollectorSpanExporter(collector));
  const tracers = new BasicTracerProvider({ resource, spanProcessors: [spans] });
  const reader = new PeriodicExportingMetricReader({ exporter: new CollectorMetricExporter(collector) });
  const meters = new MeterProvider({ resource, readers: [reader] });
  const orders = meters.getMeter('shop').createCounter('orders');

  // What comes out of the pipeline, in this program again.
  let bytes = 0;
  const taking = (async () => {
    if (endpoint) return;
    for await (const batch of collector.output('inproc/out')) {
      if (!batch.data.includes('eu-north-1')) throw new Error('the processor has not seen it');
      bytes += batch.data.length;
      batch.ack();
    }
  })();

  for (let n = 0; n < 100; n++) {
    tracers.getTracer('shop').startSpan(n % 4 === 0 ? 'health' : 'order', { attributes: { n } }).end();
    orders.add(1);
  }
  await Promise.all([tracers.forceFlush(), meters.forceFlush()]);
  await collector.flush({ timeout: 5000 });
  const enriched = collector.health();
  await collector.shutdown({ timeout: 5000 });
  await Promise.all([enriching, taking]);
  console.log(endpoint ? 'sent' : `took ${bytes > 0 ? 'the spans' : 'nothing'}, holds ${enriched.held_bytes} bytes`);
  console.log(collector.state);
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
