'use strict';
// The outputs and processors of a collector: promises for what comes next. The collector asks after each turn, while a call
// waits. Owns the waiting calls, in their order.

const native = require('./native');
const { OtelcoreError } = require('./errors');
const { Batch, Payload } = require('./taken');

class TakenQueue {
  #handle;
  #takeNext;
  #make;
  #host;
  #waiters = [];

  constructor(host, id, handle, takeNext, make) {
    this.id = id;
    this.#host = host;
    this.#handle = handle;
    this.#takeNext = takeNext;
    this.#make = make;
  }

  #take() {
    const taken = this.#takeNext(this.#handle);
    return taken === undefined ? undefined : new this.#make(taken);
  }

  /**
   * The next one; null when `timeout` milliseconds have passed, or `signal` is aborted. Rejects with OTELCORE_CLOSED at the
   * collector's end.
   */
  async next({ timeout, signal } = {}) {
    signal?.throwIfAborted();
    if (this.#waiters.length === 0) {
      const taken = this.#take();
      if (taken !== undefined) return taken;
      if (timeout === 0) return null;
      if (this.#host.hasEnded()) throw new OtelcoreError('OTELCORE_CLOSED', 'the collector is closed');
    }
    return new Promise((resolve, reject) => {
      const waiter = { resolve, reject, timer: undefined, unlisten: undefined };
      const leave = (settle) => {
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
        this.#forget(waiter);
        settle();
      };
      if (timeout !== undefined) waiter.timer = setTimeout(() => leave(() => resolve(null)), timeout);
      if (signal !== undefined) {
        const onAbort = () => leave(() => reject(signal.reason));
        signal.addEventListener('abort', onAbort, { once: true });
        waiter.unlisten = () => signal.removeEventListener('abort', onAbort);
      }
      this.#waiters.push(waiter);
      this.#host.addWaiter();
    });
  }

  #forget(waiter) {
    clearTimeout(waiter.timer);
    waiter.unlisten?.();
    this.#host.removeWaiter();
  }

  /** Settles waiting calls by what has come. */
  _afterTurn() {
    while (this.#waiters.length > 0) {
      let settle;
      try {
        const taken = this.#take();
        if (taken === undefined) {
          if (!this.#host.hasEnded()) return;
          throw new OtelcoreError('OTELCORE_CLOSED', 'the collector is closed');
        }
        settle = (waiter) => waiter.resolve(taken);
      } catch (error) {
        settle = (waiter) => waiter.reject(error);
      }
      const waiter = this.#waiters.shift();
      this.#forget(waiter);
      settle(waiter);
    }
  }

  /** Waits for each, and ends with the collector. */
  async *[Symbol.asyncIterator]() {
    for (;;) {
      let taken;
      try {
        taken = await this.next();
      } catch (error) {
        if (error.code === 'OTELCORE_CLOSED') return;
        throw error;
      }
      yield taken;
    }
  }
}

class Output extends TakenQueue {
  constructor(host, id, handle) {
    super(host, id, handle, native.nextBatch, Batch);
  }
}

class Processor extends TakenQueue {
  constructor(host, id, handle) {
    super(host, id, handle, native.nextPayload, Payload);
  }

  /** Calls `process` for each payload until the collector ends. */
  async run(process) {
    for await (const payload of this) {
      try {
        await process(payload);
        payload.pass();
      } catch (error) {
        payload.reject({ retryable: error?.retryable === true, retryAfter: error?.retryAfter || undefined });
      }
    }
  }
}

module.exports = { Output, Processor };
