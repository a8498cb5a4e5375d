'use strict';
// The example prints what its description says, with both of its destinations.

const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const http = require('node:http');
const path = require('node:path');
const { test } = require('node:test');
const { promisify } = require('node:util');

const shop = (...args) => promisify(execFile)(process.execPath, [path.join(__dirname, 'shop.js'), ...args], { timeout: 60000 });

test('example_takes_its_spans_back', async () => {
  const { stdout } = await shop();
  assert.equal(stdout.split('\n').slice(-3).join('\n'), 'took the spans, holds 0 bytes\nstopped\n', stdout);
});

test('example_sends_its_spans_over_otlp', async () => {
  let got = '';
  const server = http.createServer((request, response) => {
    request.on('data', (data) => (got += data.toString('latin1')));
    request.on('end', () => response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end());
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { stdout } = await shop(`http://127.0.0.1:${server.address().port}`);
  server.close();
  assert.match(stdout, /sent\nstopped\n$/);
  assert.ok(got.length > 100);
});
