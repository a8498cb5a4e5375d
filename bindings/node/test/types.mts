// The declarations describe what a typed program writes; the compiler checks it, nothing runs it.
import { Collector, OtelcoreError, EncodedValue, type Batch } from 'otelcore';
import { CollectorLogRecordExporter, CollectorMetricExporter, CollectorSpanExporter } from 'otelcore/sdk';
import { BatchLogRecordProcessor, type LogRecordExporter } from '@opentelemetry/sdk-logs';
import { AggregationTemporality, PeriodicExportingMetricReader, type PushMetricExporter } from '@opentelemetry/sdk-metrics';
import { BatchSpanProcessor, type SpanExporter } from '@opentelemetry/sdk-trace-base';

const collector: Collector = await Collector.start({ receivers: { inproc: null } }, { logLevel: 'warn', log: (r) => r.level });
collector.submitTraces(Buffer.alloc(0));
const batch: Batch | null = await collector.output('inproc/out').next({ timeout: 10, signal: AbortSignal.timeout(5) });
batch?.reject({ retryable: true, retryAfter: 10 });
for await (const each of collector.output()) each.ack();
await collector.processor('inproc/enrich').run((payload) => {
  payload.edit((item) => {
    if (item.kind === 'span' && item.name === 'health') return false;
    item.setAttribute('list', new EncodedValue('array', new Uint8Array()));
    return item.getAttribute('n') === 1n ? 'skip' : undefined;
  });
});
const spans: SpanExporter = new CollectorSpanExporter(collector, { input: 'inproc/app' });
const metrics: PushMetricExporter = new CollectorMetricExporter(collector, {
  temporalitySelector: () => AggregationTemporality.DELTA,
});
const logs: LogRecordExporter = new CollectorLogRecordExporter(collector);
new BatchSpanProcessor(spans);
new PeriodicExportingMetricReader({ exporter: metrics });
new BatchLogRecordProcessor({ exporter: logs });
try {
  await collector.flush({ timeout: 100 });
} catch (error) {
  if (error instanceof OtelcoreError && error.retryable) console.log(error.code, error.retryAfter);
}
console.log(collector.health().held_bytes, collector.componentStatuses()[0]?.last_error?.count, collector.metrics().length);
await collector.reload('receivers: {}', { grace: 10 });
await collector.shutdown({ timeout: 1000 });
// @ts-expect-error there is no such signal
collector.submit('profiles', Buffer.alloc(0));
