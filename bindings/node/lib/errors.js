'use strict';
// Errors of the library as JavaScript has them.

const CODES = [
  'OTELCORE_OK',
  'OTELCORE_INVALID_ARGUMENT',
  'OTELCORE_INVALID_CONFIG',
  'OTELCORE_INVALID_DATA',
  'OTELCORE_NOT_FOUND',
  'OTELCORE_INVALID_STATE',
  'OTELCORE_OVERLOADED',
  'OTELCORE_TIMEOUT',
  'OTELCORE_CLOSED',
  'OTELCORE_IO',
  'OTELCORE_UNAVAILABLE',
  'OTELCORE_REENTRANT',
  'OTELCORE_FORKED',
  'OTELCORE_PANIC',
  'OTELCORE_CANCELLED',
];

/** The numbers of the codes. */
const STATUS = Object.freeze(Object.fromEntries(CODES.map((code, number) => [code, number])));

class OtelcoreError extends Error {
  /** @param {number | string} code the number of the library, or the name of the code */
  constructor(code, message, retryable = false, retryAfter = 0) {
    super(message);
    this.name = 'OtelcoreError';
    this.code = typeof code === 'number' ? (CODES[code] ?? `OTELCORE_${code}`) : code;
    this.retryable = retryable;
    this.retryAfter = retryAfter;
  }
}

module.exports = { OtelcoreError, STATUS };
