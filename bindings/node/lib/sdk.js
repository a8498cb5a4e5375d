'use strict';
// Exporters for the OpenTelemetry SDK: what it gives them is encoded by its own OTLP serializer, and submitted to a collector in
// this process. They own no collector: who started it shuts it down.

/** Results of the SDK's `ExportResultCode`. */
const SUCCESS = 0;
const FAILED = 1;
/** How long an export is repeated while the collector is full, as the exporters of the SDK do. */
const EXPORT_TIMEOUT_MS = 10000;

function serializers() {
  try {
    return require('@opentelemetry/otlp-transformer');
  } catch (cause) {
    throw new Error("otelcore/sdk: install '@opentelemetry/otlp-transformer', which encodes what the SDK exports", { cause });
  }
}

class InProcessExporter {
  #input;
  #collector;
  #signal;
  #serializer;
  #timeout;
  #pending = new Set();
  #isShutDown = false;

  constructor(collector, signal, serializerName, { input, timeout = EXPORT_TIMEOUT_MS } = {}) {
    const serializer = serializers()[serializerName];
    if (serializer === undefined) throw new Error(`otelcore/sdk: '@opentelemetry/otlp-transformer' has no ${serializerName}`);
    this.#collector = collector;
    this.#input = collector.input(input);
    this.#signal = signal;
    this.#serializer = serializer;
    this.#timeout = timeout;
    // A mistake in the configuration is an error now, and not at the first export.
    if (!this.#input.accepts(signal)) {
      throw new Error(`otelcore/sdk: no pipeline takes ${signal} from the input ${JSON.stringify(this.#input.id)}`);
    }
  }

  export(items, resultCallback) {
    if (this.#isShutDown) {
      resultCallback({ code: FAILED, error: new Error('the exporter has been shut down') });
      return;
    }
    const exported = this.#submit(items).then(
      () => resultCallback({ code: SUCCESS }),
      (error) => resultCallback({ code: FAILED, error }),
    );
    this.#pending.add(exported);
    exported.finally(() => this.#pending.delete(exported)).catch(() => {});
  }

  async #submit(items) {
    const request = this.#serializer.serializeRequest(items);
    if (request === undefined) throw new Error('the serializer of the SDK made no request');
    const deadline = Date.now() + this.#timeout;
    for (;;) {
      try {
        return this.#input.submit(this.#signal, request);
      } catch (error) {
        const pause = Math.max(error.retryAfter ?? 0, 1);
        if (!error.retryable || Date.now() + pause > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  }

  async forceFlush() {
    await Promise.all(this.#pending);
    if (this.#collector.state === 'running') await this.#collector.flush({ timeout: this.#timeout });
  }

  async shutdown() {
    if (this.#isShutDown) return;
    this.#isShutDown = true;
    await this.forceFlush();
  }
}

class CollectorSpanExporter extends InProcessExporter {
  constructor(collector, options) {
    super(collector, 'traces', 'ProtobufTraceSerializer', options);
  }
}

class CollectorMetricExporter extends InProcessExporter {
  #temporality;
  #aggregation;

  constructor(collector, options = {}) {
    super(collector, 'metrics', 'ProtobufMetricsSerializer', options);
    // AggregationTemporality.CUMULATIVE
    this.#temporality = options.temporalitySelector ?? (() => 1);
    this.#aggregation = options.aggregationSelector;
    // The SDK asks for it only where it is there.
    if (this.#aggregation !== undefined) this.selectAggregation = (type) => this.#aggregation(type);
  }

  selectAggregationTemporality(type) {
    return this.#temporality(type);
  }
}

class CollectorLogRecordExporter extends InProcessExporter {
  constructor(collector, options) {
    super(collector, 'logs', 'ProtobufLogsSerializer', options);
  }
}

exports.CollectorSpanExporter = CollectorSpanExporter;
exports.CollectorMetricExporter = CollectorMetricExporter;
exports.CollectorLogRecordExporter = CollectorLogRecordExporter;
