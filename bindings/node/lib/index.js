'use strict';
// An OpenTelemetry Collector inside a Node.js program.

const native = require('./native');
const { Collector, Input } = require('./collector');
const { OtelcoreError } = require('./errors');
const { Output, Processor } = require('./queue');
const { Batch, EncodedValue, Item, Payload } = require('./taken');

exports.Collector = Collector;
exports.Input = Input;
exports.Output = Output;
exports.Processor = Processor;
exports.Batch = Batch;
exports.Payload = Payload;
exports.Item = Item;
exports.EncodedValue = EncodedValue;
exports.OtelcoreError = OtelcoreError;
exports.version = native.version;
