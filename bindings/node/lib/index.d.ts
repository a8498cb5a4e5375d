/// <reference types="node" />

/** A kind of telemetry. */
export type Signal = 'traces' | 'metrics' | 'logs';
export type State = 'created' | 'starting' | 'running' | 'stopping' | 'stopped' | 'failed' | 'closed';
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** Why a call has failed. */
export class OtelcoreError extends Error {
  constructor(code: number | string, message: string, retryable?: boolean, retryAfter?: number);
  /** `OTELCORE_INVALID_CONFIG` and so on: the names of the C library's statuses. */
  readonly code: string;
  /** Whether the same call may succeed later. */
  readonly retryable: boolean;
  /** After how many milliseconds a retry is useful; 0 where that is not known. */
  readonly retryAfter: number;
}

/**
 * The configuration of the Go collector: YAML, the same as an object, or an array of these, which are merged in their order: maps
 * key by key, everything else by the last value.
 */
export type Config = string | object | (string | object)[];

export interface LogRecord {
  level: LogLevel;
  /** `exporter inproc/out` for one; empty for the collector itself. */
  component: string;
  message: string;
  fields: Record<string, string | number | boolean | null>;
  /** Records that were dropped before this one, since they came faster than they were taken. */
  dropped: number;
}

export interface Options {
  /** How messages call the configuration. */
  name?: string;
  /** The least urgent records that `log` gets; `info` by default. */
  logLevel?: LogLevel;
  /** Gets the collector's own log. */
  log?: (record: LogRecord) => void;
  /** Whether a running collector keeps the process alive, as a server does; `false` by default. */
  ref?: boolean;
}

export interface Health {
  state: Exclude<State, 'closed'>;
  /** Why it has failed. */
  error?: string;
  /** Bytes of telemetry that it holds. */
  held_bytes: number;
}

export interface ComponentStatus {
  kind: 'receiver' | 'processor' | 'exporter' | 'connector' | 'extension';
  id: string;
  /** The pipeline of a processor, the signals of a connector, and otherwise empty. */
  instance: string;
  status: 'none' | 'starting' | 'ok' | 'recoverable_error' | 'permanent_error' | 'stopping' | 'stopped';
  /** The last error, while the status is an error. */
  message: string;
  /** When the status changed last, as RFC 3339. */
  changed_at: string;
  last_error: { message: string; at: string; count: number } | null;
  /** Where it listens; for a configured port 0 with the port that it got. */
  addresses: string[];
}

/** A queue of an exporter, or of an input or a processor of the program. */
export interface Queue {
  kind: 'exporter' | 'receiver' | 'processor';
  id: string;
  /** `null` is every signal. */
  signal: Signal | null;
  /** The unit of `size` and `capacity`. */
  unit: 'requests' | 'items' | 'bytes';
  /** How much it holds, what is being sent included. */
  size: number;
  capacity: number;
  on_disk: boolean;
  /** `null`: it holds nothing, or it is the queue of an input or a processor of the program. */
  oldest_age_seconds: number | null;
}

/** A metric of the collector's own. */
export interface Metric {
  name: string;
  help: string;
  /** In UCUM; may be empty. */
  unit: string;
  kind: 'counter' | 'gauge' | 'histogram';
  /** A value, or the bounds, counts by bucket (one more than there are bounds) and sum of a histogram. */
  series: { labels: Record<string, string>; value?: number | null; bounds?: number[]; counts?: number[]; sum?: number | null }[];
}

/** A collector at a moment. */
export interface Snapshot {
  state: Exclude<State, 'closed'>;
  /** Why it has failed. */
  error: string | null;
  /** In bytes: telemetry that is held, state that components keep, the limit of a `memory_limiter`, and resident memory of the process. */
  memory: { held_bytes: number; kept_bytes: number; limit_bytes: number | null; resident_bytes: number };
  components: ComponentStatus[];
  queues: Queue[];
  metrics: Metric[];
}

export interface RejectOptions {
  /** Whether it may be given or sent again; `true` by default. */
  retryable?: boolean;
  /** The pause before that, in milliseconds. */
  retryAfter?: number;
}

export interface NextOptions {
  /** In milliseconds; no limit by default. */
  timeout?: number;
  /** Ends the wait; the promise is then rejected with its reason. */
  signal?: AbortSignal;
}

/** The entrance of an `inproc` receiver. */
export class Input {
  private constructor();
  readonly id: string;
  /**
   * Takes an `Export*ServiceRequest` in protobuf: a copy of it, without waiting. Throws `OTELCORE_OVERLOADED` (the same
   * bytes may be taken later), `OTELCORE_INVALID_DATA`, `OTELCORE_NOT_FOUND` where no pipeline takes the signal, or
   * `OTELCORE_CLOSED`; nothing has happened then.
   */
  submit(signal: Signal, otlp: Uint8Array): void;
  submitTraces(otlp: Uint8Array): void;
  submitMetrics(otlp: Uint8Array): void;
  submitLogs(otlp: Uint8Array): void;
  /** Takes a request in OTLP/JSON: a text, its bytes, or the object that is then written as JSON. */
  submitJson(signal: Signal, json: string | Uint8Array | object): void;
  /** Whether a pipeline takes this signal from the input. */
  accepts(signal: Signal): boolean;
}

/** Telemetry of an output. One that is collected as garbage unfinished is given again. */
export class Batch {
  private constructor();
  readonly signal: Signal;
  /** The `Export*ServiceRequest` in protobuf. */
  readonly data: Buffer;
  /** Whether it was acknowledged or rejected. */
  readonly finished: boolean;
  /** Says that it is delivered. The first result counts. */
  ack(): void;
  /** Says that it is not: to be given again, or, where it is not retryable, to be dropped and reported. */
  reject(options?: RejectOptions): void;
}

/** The exit of an `inproc` exporter. Iterating waits for batches, and ends with the collector. */
export class Output implements AsyncIterable<Batch> {
  private constructor();
  readonly id: string;
  /** The next batch; `null` when the timeout has passed. Rejects with `OTELCORE_CLOSED` at the collector's end. */
  next(options?: NextOptions): Promise<Batch | null>;
  [Symbol.asyncIterator](): AsyncGenerator<Batch, void, undefined>;
}

/** A list or a map as protobuf: an `ArrayValue` or a `KeyValueList`. */
export class EncodedValue {
  constructor(type: 'array' | 'map', data: Uint8Array);
  readonly type: 'array' | 'map';
  readonly data: Uint8Array;
}

/** A value of an attribute, or a body. A whole number is an integer; one that a number can't hold exactly is a BigInt. */
export type Value = null | string | boolean | number | bigint | Uint8Array | EncodedValue;

/** An item of a payload in `Payload.edit`; it is valid until the function that got it returns. */
export class Item {
  private constructor();
  readonly kind: 'resource' | 'scope' | 'span' | 'event' | 'link' | 'metric' | 'point' | 'log';
  /** The name of a scope, span, event or metric, and the event name of a log record; `undefined` for others. */
  get name(): string | undefined;
  set name(name: string);
  /** The body of a log record; `undefined` for others. */
  get body(): Value | undefined;
  set body(value: Value);
  getAttribute(key: string): Value | undefined;
  /** An attribute of the resource that the item belongs to. */
  getResourceAttribute(key: string): Value | undefined;
  setAttribute(key: string, value: Value): void;
  removeAttribute(key: string): void;
}

/** A request in a pipeline. One that is collected as garbage unfinished is refused, and its sender may send it again. */
export class Payload {
  private constructor();
  readonly signal: Signal;
  /** A copy of the request in protobuf as it is now. */
  readonly data: Buffer;
  readonly finished: boolean;
  /** Replaces the request by another one of the same signal. */
  replace(otlp: Uint8Array): void;
  /**
   * Calls `visit` for each resource, scope, span, event, link, metric, point and log record, from the outside to the inside.
   * It returns `true` or nothing to keep the item, `false` to drop it with what it contains, `'skip'` to keep what it
   * contains as it is. What it throws ends the edit; what was changed before stays changed.
   */
  edit(visit: (item: Item) => boolean | 'skip' | void): void;
  /** Passes it on as it is now; without any item it is dropped. The first result counts. */
  pass(): void;
  /** Drops it: its sender takes it as delivered. */
  drop(): void;
  reject(options?: RejectOptions): void;
}

/** The program's side of the `inproc` processors of one id. Finish each payload within the processor's `timeout`. */
export class Processor implements AsyncIterable<Payload> {
  private constructor();
  readonly id: string;
  next(options?: NextOptions): Promise<Payload | null>;
  [Symbol.asyncIterator](): AsyncGenerator<Payload, void, undefined>;
  /**
   * Calls `process` for each payload, one after another, until the collector ends, and passes it on as it is then, unless the
   * function has finished it. One at which it throws is refused: permanently, unless the error has `retryable: true`.
   */
  run(process: (payload: Payload) => void | Promise<void>): Promise<void>;
}

/**
 * A collector in the loop of this thread: it works between other events of the loop, and starts no thread for that.
 *
 * It does not keep the process alive unless `ref` says so or a call waits. Where the process ends, collectors that run deliver
 * what they hold, for 5 seconds at most; a signal that ends the process loses it.
 */
export class Collector implements AsyncDisposable {
  /** Reads and checks a configuration, and opens nothing. */
  constructor(config: Config, options?: Options);
  /** Makes a collector, and starts it. */
  static start(config: Config, options?: Options): Promise<Collector>;
  start(): Promise<void>;
  readonly state: State;
  /** The input of the `inproc` receiver of this id; `inproc` by default. */
  input(id?: string): Input;
  /** The output of the `inproc` exporter of this id; `inproc` by default. */
  output(id?: string): Output;
  /** The processor of this id. A collector with a processor that the program has not asked for does not start. */
  processor(id?: string): Processor;
  /** The same of the input `inproc`. */
  submit(signal: Signal, otlp: Uint8Array): void;
  submitTraces(otlp: Uint8Array): void;
  submitMetrics(otlp: Uint8Array): void;
  submitLogs(otlp: Uint8Array): void;
  /** Waits until all that was accepted before this call is delivered, or reported as lost. */
  flush(options?: { timeout?: number }): Promise<void>;
  /**
   * Changes it to another configuration. Components whose configuration is the same go on with their state; those that end have
   * `grace` milliseconds (30,000) for what they hold. Where it fails the collector goes on as before.
   */
  reload(config: Config, options?: { grace?: number }): Promise<void>;
  /**
   * Takes nothing new, delivers what it holds, and ends within `timeout` milliseconds. Rejects with `OTELCORE_TIMEOUT` where
   * something was not delivered; the message says what, and the collector has ended all the same.
   */
  shutdown(options?: { timeout?: number }): Promise<void>;
  /** Ends it at once: what it holds is lost. */
  close(): Promise<void>;
  /** Shuts it down, within 5 seconds. */
  [Symbol.asyncDispose](): Promise<void>;
  /** Keeps the process alive while it runs. */
  ref(): this;
  unref(): this;
  /** Its state, components, queues, memory and own metrics at this moment. */
  snapshot(): Snapshot;
  /**
   * Has `listener` called with each component whose status has changed, after a turn. Call it before the start to hear of all.
   * What it throws is an uncaught exception.
   */
  onStatusChange(listener: (status: ComponentStatus) => void): void;
  health(): Health;
  componentStatuses(): ComponentStatus[];
  /** Its own metrics as a page in Prometheus' text format. */
  metrics(): string;
}

/** The version of the library. */
export const version: string;
