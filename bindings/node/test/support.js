'use strict';
// What several tests need: a request, configurations, a program of its own in a process.

const { spawn } = require('node:child_process');

/** A field of a protobuf message whose value has less than 128 bytes. */
function field(number, value) {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([(number << 3) | 2, bytes.length]), bytes]);
}

/** An ExportTraceServiceRequest with a resource without attributes and one span. */
function span(name) {
  const ids = Buffer.concat([field(1, Buffer.alloc(16, 1)), field(2, Buffer.alloc(8, 2))]);
  const scope = field(2, Buffer.concat([ids, field(5, name)]));
  return field(1, Buffer.concat([field(1, ''), field(2, scope)]));
}

/** From inproc/app to inproc/out. */
const through = {
  receivers: { 'inproc/app': null },
  exporters: { 'inproc/out': { retry_on_failure: { initial_interval: '10ms' } } },
  service: {
    telemetry: { metrics: { level: 'none' } },
    pipelines: { traces: { receivers: ['inproc/app'], exporters: ['inproc/out'] } },
  },
};

/** Runs a program in a process of its own; its status, its output, and how long it took. */
function run(source, ...args) {
  const began = Date.now();
  const child = spawn(process.execPath, ['-e', source, ...args], { cwd: __dirname, stdio: ['ignore', 'pipe', 'pipe'] });
  const killer = setTimeout(() => child.kill('SIGKILL'), 30000);
  let out = '';
  child.stdout.on('data', (data) => (out += data));
  child.stderr.on('data', (data) => (out += data));
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      clearTimeout(killer);
      resolve({ code: code ?? signal, out, ms: Date.now() - began });
    });
  });
}

module.exports = { run, span, through };
