'use strict';
// What a program takes from a collector: batches of an output, payloads of a processor, and the items in them. The native
// half owns them; one that is collected as garbage unfinished is given again, or refused so that its sender may send it again.

const native = require('./native');
const { OtelcoreError, STATUS } = require('./errors');

const SIGNALS = ['traces', 'metrics', 'logs'];

function signalNumber(signal) {
  const number = SIGNALS.indexOf(signal);
  if (number < 0) throw new TypeError(`otelcore: the signal has to be 'traces', 'metrics' or 'logs', and not ${String(signal)}`);
  return number;
}

function pauseMs(retryAfter) {
  return Math.min(Math.max(Math.ceil(Number(retryAfter) || 0), 0), Number.MAX_SAFE_INTEGER);
}

/** What batches and payloads have in common: a handle that is ended once. */
class Taken {
  #handle;

  constructor(handle, signal) {
    this.#handle = handle;
    this.signal = SIGNALS[signal];
  }

  get finished() {
    return this.#handle === undefined;
  }

  /** @protected */
  _handle() {
    if (this.#handle === undefined) throw new OtelcoreError('OTELCORE_CLOSED', `the ${this._kind} is finished`);
    return this.#handle;
  }

  /** Ends it; the first result counts. @protected */
  _end(end, value) {
    const handle = this.#handle;
    if (handle === undefined) return;
    try {
      end(handle, value);
    } catch (error) {
      // One that is being edited can be ended afterwards.
      if (error.code === 'OTELCORE_REENTRANT') throw error;
      this.#handle = undefined;
      throw error;
    }
    this.#handle = undefined;
  }
}

class Batch extends Taken {
  constructor([handle, signal, data]) {
    super(handle, signal);
    this.data = data;
  }

  get _kind() {
    return 'batch';
  }

  ack() {
    this._end(native.finishBatch, STATUS.OTELCORE_OK);
  }

  reject({ retryable = true, retryAfter } = {}) {
    if (!retryable) this._end(native.finishBatch, STATUS.OTELCORE_INVALID_DATA);
    else if (retryAfter === undefined) this._end(native.finishBatch, STATUS.OTELCORE_UNAVAILABLE);
    else this._end(native.retryBatch, pauseMs(retryAfter));
  }
}

const KINDS = ['resource', 'scope', 'span', 'event', 'link', 'metric', 'point', 'log'];
const ENCODED_TYPES = { array: 6, map: 7 };

/** A list or a map as protobuf: an `ArrayValue` or a `KeyValueList`. */
class EncodedValue {
  constructor(type, data) {
    if (!Object.hasOwn(ENCODED_TYPES, type)) throw new TypeError("otelcore: an encoded value is an 'array' or a 'map'");
    this.type = type;
    this.data = data;
  }
}

function fromNative(value) {
  return Array.isArray(value) ? new EncodedValue(value[0] === ENCODED_TYPES.map ? 'map' : 'array', value[1]) : value;
}

function toNative(value) {
  return value instanceof EncodedValue ? [ENCODED_TYPES[value.type], value.data] : value;
}

/** An item of a payload in `Payload.edit`. It is valid until the function that got it returns. */
class Item {
  #item;

  constructor(item, kind) {
    this.#item = item;
    this.kind = KINDS[kind];
  }

  get name() {
    return native.itemName(this.#item);
  }

  set name(name) {
    native.setItemName(this.#item, name);
  }

  get body() {
    return fromNative(native.itemBody(this.#item));
  }

  set body(value) {
    native.setItemBody(this.#item, toNative(value));
  }

  getAttribute(key) {
    return fromNative(native.itemAttribute(this.#item, key, false));
  }

  getResourceAttribute(key) {
    return fromNative(native.itemAttribute(this.#item, key, true));
  }

  setAttribute(key, value) {
    native.setItemAttribute(this.#item, key, toNative(value));
  }

  removeAttribute(key) {
    native.removeItemAttribute(this.#item, key);
  }
}

/** What a visit returns, and the numbers of the library. */
function keepNumber(result) {
  if (result === undefined || result === true) return 0;
  if (result === 'skip') return 1;
  if (result === false) return 2;
  throw new TypeError("otelcore: a visit returns true or undefined to keep an item, 'skip' to keep it as it is, false to drop it");
}

class Payload extends Taken {
  constructor([handle, signal]) {
    super(handle, signal);
  }

  get _kind() {
    return 'payload';
  }

  get data() {
    return native.payloadData(this._handle());
  }

  replace(otlp) {
    native.replacePayload(this._handle(), otlp);
  }

  edit(visit) {
    native.editPayload(this._handle(), (item, kind) => keepNumber(visit(new Item(item, kind))));
  }

  pass() {
    this._end(native.finishPayload, STATUS.OTELCORE_OK);
  }

  drop() {
    if (this.finished) return;
    this.replace(Buffer.alloc(0));
    this.pass();
  }

  reject({ retryable = true, retryAfter } = {}) {
    if (!retryable) this._end(native.finishPayload, STATUS.OTELCORE_INVALID_DATA);
    else if (retryAfter === undefined) this._end(native.finishPayload, STATUS.OTELCORE_UNAVAILABLE);
    else this._end(native.retryPayload, pauseMs(retryAfter));
  }
}

module.exports = { Batch, EncodedValue, Item, Payload, SIGNALS, signalNumber };
