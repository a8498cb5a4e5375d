import type { Collector } from './index';

export interface ExporterOptions {
  /** The id of the `inproc` receiver; `inproc` by default. */
  input?: string;
  /** How long an export is repeated while the collector is full, in milliseconds; 10,000 by default. */
  timeout?: number;
}

interface ExportResult {
  code: 0 | 1;
  error?: Error;
}

/** What the exporters have in common. `Items` is what the SDK exports. */
declare class InProcessExporter<Items> {
  constructor(collector: Collector, options?: ExporterOptions);
  export(items: Items, resultCallback: (result: ExportResult) => void): void;
  /** Waits until the collector has delivered what was exported. */
  forceFlush(): Promise<void>;
  shutdown(): Promise<void>;
}

/** A `SpanExporter`. */
export class CollectorSpanExporter extends InProcessExporter<any[]> {}

export interface MetricExporterOptions extends ExporterOptions {
  /** `AggregationTemporality` by the type of the instrument; cumulative by default. */
  temporalitySelector?: (instrumentType: any) => any;
  /** The aggregation by the type of the instrument; that of the SDK by default. */
  aggregationSelector?: (instrumentType: any) => any;
}

/** A `PushMetricExporter`. */
export class CollectorMetricExporter extends InProcessExporter<any> {
  constructor(collector: Collector, options?: MetricExporterOptions);
  selectAggregationTemporality(instrumentType: any): any;
  selectAggregation?: (instrumentType: any) => any;
}

/** A `LogRecordExporter`. */
export class CollectorLogRecordExporter extends InProcessExporter<any[]> {}
