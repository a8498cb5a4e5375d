'use strict';
// The collector in Node's loop: its start, flush, reload and end as promises. Owns the native handle and who waits for its
// turns; the turns themselves are made by the native half.

const native = require('./native');
const { OtelcoreError } = require('./errors');
const { Output, Processor } = require('./queue');
const { signalNumber } = require('./taken');

native.setErrorClass(OtelcoreError);

const STATES = ['created', 'starting', 'running', 'stopping', 'stopped', 'failed'];
const LEVELS = ['debug', 'info', 'warn', 'error'];
/** How long an end of the process waits for what is held. */
const EXIT_TIMEOUT_MS = 5000;
/** After how long a flush looks again: what one component sends may wait in the next one for a larger batch. */
const FLUSH_INTERVAL_MS = 2;

/** Collectors that run. */
const running = new Set();

/** Texts, each followed by its name in messages; the names are distinct. */
function configDocuments(config, name) {
  const sources = Array.isArray(config) ? config : [config];
  const names = new Set();
  return sources.flatMap((source) => {
    if (source === null || (typeof source !== 'string' && typeof source !== 'object')) {
      throw new TypeError('otelcore: the configuration has to be a text in YAML, an object, or an array of these');
    }
    const first = name ?? (typeof source === 'string' ? 'config.yaml' : 'config');
    let distinct = first;
    for (let number = 2; names.has(distinct); number++) distinct = `${first} (${number})`;
    names.add(distinct);
    // YAML is a superset of JSON. With a line for each key, the line numbers in messages are useful.
    return [typeof source === 'string' ? source : JSON.stringify(source, null, 2), distinct];
  });
}

function limitMs(timeout) {
  if (timeout === undefined || timeout === Infinity) return -1;
  if (typeof timeout !== 'number' || !(timeout >= 0)) throw new TypeError('otelcore: a timeout is a number of milliseconds');
  return Math.min(Math.ceil(timeout), Number.MAX_SAFE_INTEGER);
}

class Input {
  #handle;

  constructor(id, handle) {
    this.id = id;
    this.#handle = handle;
  }

  submit(signal, otlp) {
    native.submit(this.#handle, signalNumber(signal), otlp);
  }

  submitTraces(otlp) {
    native.submit(this.#handle, 0, otlp);
  }

  submitMetrics(otlp) {
    native.submit(this.#handle, 1, otlp);
  }

  submitLogs(otlp) {
    native.submit(this.#handle, 2, otlp);
  }

  submitJson(signal, json) {
    const text = typeof json === 'string' || ArrayBuffer.isView(json) ? json : JSON.stringify(json);
    native.submitJson(this.#handle, signalNumber(signal), text);
  }

  accepts(signal) {
    return native.accepts(this.#handle, signalNumber(signal));
  }
}

class Collector {
  #native;
  #name;
  #isReferenced;
  #onStatus;
  #statuses = new Map();
  #waiters = 0;
  #queues = [];
  #inputs = new Map();
  #outputs = new Map();
  #processors = new Map();
  #flushes = new Set();
  #onEnd = [];
  #onExit;
  #hasEnded = false;

  constructor(config, options = {}) {
    const { name, logLevel = 'info', log, ref = false } = options;
    const level = LEVELS.indexOf(logLevel);
    if (level < 0) throw new TypeError(`otelcore: logLevel has to be one of ${LEVELS.join(', ')}`);
    if (log !== undefined && typeof log !== 'function') throw new TypeError('otelcore: log has to be a function');
    const record = log && ((number, component, message, fields, dropped) =>
      log({ level: LEVELS[number], component, message, fields: JSON.parse(fields), dropped }));
    this.#isReferenced = Boolean(ref);
    this.#name = name === undefined ? undefined : String(name);
    this.#native = native.create(configDocuments(config, this.#name), level, record, () => this.#afterTurn());
  }

  static async start(config, options) {
    const collector = new Collector(config, options);
    await collector.start();
    return collector;
  }

  async start() {
    native.start(this.#native, this.#isReferenced);
    this.#passChanges();
    if (running.size === 0) installExitHandlers();
    running.add(this);
  }

  get state() {
    return STATES[native.state(this.#native)] ?? 'closed';
  }

  input(id = 'inproc') {
    return this.#known(this.#inputs, id, () => new Input(id, native.input(this.#native, id)));
  }

  output(id = 'inproc') {
    return this.#known(this.#outputs, id, () => this.#queue(new Output(this.#host(), id, native.output(this.#native, id))));
  }

  processor(id = 'inproc') {
    const make = () => this.#queue(new Processor(this.#host(), id, native.processor(this.#native, id)));
    return this.#known(this.#processors, id, make);
  }

  #known(known, id, make) {
    if (!known.has(id)) known.set(id, make());
    return known.get(id);
  }

  #queue(queue) {
    this.#queues.push(queue);
    return queue;
  }

  #host() {
    return {
      addWaiter: () => this.#addWaiter(),
      removeWaiter: () => this.#removeWaiter(),
      hasEnded: () => this.#hasEnded,
    };
  }

  submit(signal, otlp) {
    this.input().submit(signal, otlp);
  }

  submitTraces(otlp) {
    this.input().submitTraces(otlp);
  }

  submitMetrics(otlp) {
    this.input().submitMetrics(otlp);
  }

  submitLogs(otlp) {
    this.input().submitLogs(otlp);
  }

  /** A call waits for turns: they are told, and the process stays alive. */
  #addWaiter() {
    if (++this.#waiters > 1) return;
    native.setWantsTurns(this.#native, true);
    native.setReferenced(this.#native, true);
  }

  #removeWaiter() {
    if (--this.#waiters > 0) return;
    native.setWantsTurns(this.#native, false);
    native.setReferenced(this.#native, this.#isReferenced);
  }

  #afterTurn() {
    const state = native.state(this.#native);
    if (state === 4 || state === 5) {
      this.#hasEnded = true;
      running.delete(this);
    }
    this.#passChanges();
    for (const queue of this.#queues) queue._afterTurn();
    for (const check of this.#flushes) check();
    if (this.#hasEnded) for (const onEnd of this.#onEnd.splice(0)) onEnd();
  }

  onStatusChange(listener) {
    if (typeof listener !== 'function') throw new TypeError('otelcore: the listener has to be a function');
    native.watchStatuses(this.#native);
    this.#onStatus = listener;
    this.#passChanges(() => {});
  }

  /** Gives the listener the components whose status is another one than before. */
  #passChanges(listener = this.#onStatus) {
    if (this.#onStatus === undefined || this.state === 'closed') return;
    for (const status of this.componentStatuses()) {
      const key = JSON.stringify([status.kind, status.id, status.instance]);
      const before = this.#statuses.get(key);
      if (before?.status === status.status && before.changed_at === status.changed_at) continue;
      this.#statuses.set(key, status);
      try {
        listener(status);
      } catch (error) {
        // Not one of the turn: Node reports it as it reports those of other listeners.
        process.nextTick(() => {
          throw error;
        });
      }
    }
  }

  async flush({ timeout } = {}) {
    const limit = limitMs(timeout);
    const mark = native.beginFlush(this.#native);
    const isDone = () => this.#hasEnded || native.isFlushed(this.#native, mark);
    if (isDone()) return;
    this.#addWaiter();
    let limitTimer;
    let repeat;
    let check;
    try {
      await new Promise((resolve, reject) => {
        check = () => {
          if (isDone()) resolve();
        };
        this.#flushes.add(check);
        const onTime = () => reject(new OtelcoreError('OTELCORE_TIMEOUT', 'not everything was delivered in time', true));
        if (limit >= 0) limitTimer = setTimeout(onTime, limit);
        repeat = setInterval(() => {
          check();
          if (this.state === 'running') native.beginFlush(this.#native);
        }, FLUSH_INTERVAL_MS);
      });
    } finally {
      clearTimeout(limitTimer);
      clearInterval(repeat);
      this.#flushes.delete(check);
      this.#removeWaiter();
    }
  }

  async reload(config, { grace = 30000 } = {}) {
    native.reload(this.#native, configDocuments(config, this.#name), limitMs(grace));
    this.#passChanges();
  }

  async shutdown({ timeout } = {}) {
    const limit = limitMs(timeout);
    if (running.has(this)) {
      const ended = new Promise((resolve) => this.#onEnd.push(resolve));
      this.#addWaiter();
      try {
        native.beginShutdown(this.#native, limit);
        await ended;
      } finally {
        this.#removeWaiter();
      }
    }
    // It has ended, or was never started: this reports what was not delivered, and does not wait.
    this.#finish(0);
  }

  /** Waits in this call, at an end of the process that runs no more turns of Node's loop. */
  _shutdownNow(timeout) {
    this.#finish(timeout);
  }

  #finish(timeout) {
    try {
      native.finishShutdown(this.#native, timeout);
    } finally {
      this.#hasEnded = true;
      this.#afterTurn();
    }
  }

  async close() {
    native.free(this.#native);
    this.#hasEnded = true;
    running.delete(this);
    this.#afterTurn();
  }

  async [Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose')]() {
    await this.shutdown({ timeout: EXIT_TIMEOUT_MS });
    await this.close();
  }

  ref() {
    this.#setReferenced(true);
    return this;
  }

  unref() {
    this.#setReferenced(false);
    return this;
  }

  #setReferenced(isReferenced) {
    this.#isReferenced = isReferenced;
    if (this.#waiters === 0) native.setReferenced(this.#native, isReferenced);
  }

  snapshot() {
    return JSON.parse(native.read(this.#native, 3));
  }

  health() {
    return JSON.parse(native.read(this.#native, 0));
  }

  componentStatuses() {
    return JSON.parse(native.read(this.#native, 1));
  }

  metrics() {
    return native.read(this.#native, 2);
  }
}

let hasExitHandlers = false;

/** What collectors hold is delivered before the process ends: by Node's loop where it is empty, otherwise in one call. */
function installExitHandlers() {
  if (hasExitHandlers) return;
  hasExitHandlers = true;
  process.on('beforeExit', () => {
    for (const collector of running) collector.shutdown({ timeout: EXIT_TIMEOUT_MS }).catch(() => {});
  });
  process.on('exit', () => {
    for (const collector of running) {
      try {
        collector._shutdownNow(EXIT_TIMEOUT_MS);
      } catch {
        // The log has what was not delivered.
      }
    }
  });
}

module.exports = { Collector, Input };
