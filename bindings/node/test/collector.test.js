'use strict';
// The collector in Node's loop: configuration, inputs, outputs, processors, ends, and what a process does that has one.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { Worker } = require('node:worker_threads');
const { Collector, EncodedValue, OtelcoreError } = require('otelcore');
const { run, span, through } = require('./support');

async function started(config = through, options = {}) {
  const collector = await Collector.start(config, options);
  return { collector, input: collector.input('inproc/app'), output: collector.output('inproc/out') };
}

test('configuration_with_mistakes_is_refused_with_their_places', () => {
  const yaml = 'receivers: {inproc: }\nexporters: {inproc: {tmeout: 1s}}\nservice: {pipelines: {traces: {receivers: [inproc], exporters: [inproc]}}}\n';
  assert.throws(() => new Collector(yaml, { name: 'app.yaml' }), (error) => {
    assert.ok(error instanceof OtelcoreError);
    assert.equal(error.code, 'OTELCORE_INVALID_CONFIG');
    assert.match(error.message, /app\.yaml:2:\d+ {2}\(exporters::inproc::tmeout\)/);
    return true;
  });
  assert.throws(() => new Collector(17), TypeError);
  assert.throws(() => new Collector(through, { logLevel: 'loud' }), TypeError);
  const config = structuredClone(through);
  config.exporters['inproc/out'].tmeout = '1s';
  assert.throws(() => new Collector(config), /exporters::inproc\/out::tmeout/);
});

test('batches_are_iterated_and_redelivered_until_they_are_acknowledged', async () => {
  const { collector, input, output } = await started();
  assert.equal(collector.state, 'running');
  assert.equal(await output.next({ timeout: 0 }), null);
  assert.equal(await output.next({ timeout: 20 }), null);
  input.submit('traces', span('one'));
  const first = await output.next();
  assert.equal(first.signal, 'traces');
  assert.deepEqual(first.data, span('one'));
  first.reject();
  first.ack(); // the first result counts
  const again = await output.next({ timeout: 20000 });
  assert.deepEqual(again.data, first.data);
  again.ack();
  assert.ok(again.finished);
  await collector.flush({ timeout: 20000 });
  for (let i = 0; i < 50; i++) input.submitTraces(span(`span ${i}`));
  setTimeout(() => collector.shutdown({ timeout: 20000 }), 200);
  let count = 0;
  for await (const batch of output) {
    count++;
    batch.ack();
  }
  assert.equal(count, 50);
  assert.equal(collector.state, 'stopped');
  await assert.rejects(output.next(), { code: 'OTELCORE_CLOSED' });
  assert.throws(() => input.submitTraces(span('late')), { code: 'OTELCORE_CLOSED' });
});

test('waits_end_by_abort_timeout_and_close', async () => {
  const { collector, output } = await started();
  const abort = new AbortController();
  const [aborted, second, closed] = [output.next({ signal: abort.signal }), output.next({ timeout: 20 }), output.next()];
  abort.abort(new Error('enough'));
  await assert.rejects(aborted, /enough/);
  await assert.rejects(output.next({ signal: abort.signal }), /enough/);
  assert.equal(await second, null);
  await collector.close();
  await assert.rejects(closed, { code: 'OTELCORE_CLOSED' });
  assert.equal(collector.state, 'closed');
  await collector.close();
  assert.throws(() => collector.health(), { code: 'OTELCORE_INVALID_ARGUMENT' });
});

test('invalid_calls_are_errors_that_say_why', async () => {
  const { collector, input } = await started();
  assert.throws(() => input.submitTraces('text'), TypeError);
  assert.throws(() => input.submit('profiles', span('a')), TypeError);
  assert.throws(() => input.submitTraces(Buffer.from([0x0a, 5, 1])), { code: 'OTELCORE_INVALID_DATA' });
  assert.throws(() => input.submitLogs(span('a')), { code: 'OTELCORE_NOT_FOUND' });
  assert.ok(input.accepts('traces') && !input.accepts('logs'));
  assert.throws(() => collector.input('inproc/none'), /inproc\/none/);
  await assert.rejects(collector.start(), { code: 'OTELCORE_INVALID_STATE' });
  await assert.rejects(collector.flush({ timeout: -1 }), TypeError);
  await assert.rejects(collector.reload('nonsense: {}'), { code: 'OTELCORE_INVALID_CONFIG' });
  assert.equal(collector.state, 'running');
  await collector.shutdown({ timeout: 5000 });
});

test('full_input_is_a_retryable_error', async () => {
  const config = structuredClone(through);
  config.receivers['inproc/app'] = { max_queue_bytes: 200 };
  const { collector, input } = await started(config);
  assert.throws(
    () => {
      for (let i = 0; i < 100; i++) input.submitTraces(span('x'.repeat(40)));
    },
    (error) => error.code === 'OTELCORE_OVERLOADED' && error.retryable && error.retryAfter > 0,
  );
  await collector.close();
});

test('shutdown_in_which_something_is_not_delivered_says_what', async () => {
  const { collector, input } = await started();
  input.submitTraces(span('never taken'));
  await assert.rejects(collector.shutdown({ timeout: 100 }), (error) => {
    assert.equal(error.code, 'OTELCORE_TIMEOUT');
    assert.match(error.message, /1 items were not delivered in time: 1 in exporter inproc\/out/);
    return true;
  });
  assert.equal(collector.state, 'stopped');
});

test('processor_edits_payloads', async () => {
  const config = structuredClone(through);
  config.processors = { 'inproc/enrich': null };
  config.service.pipelines.traces.processors = ['inproc/enrich'];
  const collector = new Collector(config);
  const processor = collector.processor('inproc/enrich');
  await collector.start();
  const [input, output] = [collector.input('inproc/app'), collector.output('inproc/out')];
  const seen = [];
  const runs = processor.run(async (payload) => {
    await null;
    payload.edit((item) => {
      if (item.kind === 'resource') item.setAttribute('service.name', 'shop');
      if (item.kind !== 'span') return true;
      if (item.name === 'health') return false;
      item.setAttribute('whole', 7);
      item.setAttribute('large', 2n ** 60n);
      item.setAttribute('half', 0.5);
      item.setAttribute('flag', true);
      item.setAttribute('raw', Buffer.from([1, 2]));
      item.setAttribute('list', new EncodedValue('array', Buffer.from([0x0a, 3, 0x0a, 1, 0x78])));
      seen.push(item.name, item.getResourceAttribute('service.name'), item.body);
      for (const key of ['whole', 'large', 'half', 'flag', 'raw', 'none']) seen.push(item.getAttribute(key));
      seen.push(item.getAttribute('list').type);
      item.removeAttribute('raw');
      item.name = 'renamed';
      assert.throws(() => (item.body = 'no'), { code: 'OTELCORE_NOT_FOUND' });
      assert.throws(() => item.setAttribute('a', {}), TypeError);
      assert.throws(() => payload.pass(), { code: 'OTELCORE_REENTRANT' });
      return 'skip';
    });
    assert.throws(() => payload.edit(() => { throw new Error('of the visit'); }), /of the visit/);
    assert.throws(() => payload.edit(() => 5), TypeError);
    if (payload.data.includes('refused')) throw new Error('not this one');
  });
  input.submitTraces(span('order'));
  const batch = await output.next({ timeout: 20000 });
  assert.ok(batch.data.includes('renamed') && batch.data.includes('shop'));
  assert.deepEqual(seen, ['order', 'shop', undefined, 7, 2n ** 60n, 0.5, true, Buffer.from([1, 2]), undefined, 'array']);
  batch.ack();
  input.submitTraces(span('health'));
  await collector.flush({ timeout: 20000 });
  assert.equal(await output.next({ timeout: 0 }), null);
  await collector.shutdown({ timeout: 5000 });
  await runs;
});

test('batch_that_is_forgotten_is_given_again', async () => {
  const { collector, input, output } = await started();
  input.submitTraces(span('forgotten'));
  await (async () => assert.ok(await output.next()))();
  let again = null;
  for (let i = 0; i < 100 && again === null; i++) {
    global.gc();
    again = await output.next({ timeout: 50 });
  }
  assert.ok(again.data.includes('forgotten'));
  again.ack();
  await collector.shutdown({ timeout: 5000 });
});

test('log_health_statuses_and_metrics_are_data', async () => {
  const records = [];
  const config = structuredClone(through);
  config.receivers.otlp = { protocols: { http: { endpoint: '127.0.0.1:0' } } };
  config.service.pipelines.traces.receivers.push('otlp');
  delete config.service.telemetry;
  const { collector } = await started(config, { log: (record) => records.push(record) });
  assert.deepEqual(collector.health(), { state: 'running', held_bytes: 0 });
  const otlp = collector.componentStatuses().find((status) => status.id === 'otlp');
  assert.equal(otlp.status, 'ok');
  assert.match(otlp.addresses[0], /^127\.0\.0\.1:\d+$/);
  assert.match(collector.metrics(), /otelcol_process_uptime/);
  await collector.reload(config);
  await collector.shutdown({ timeout: 5000 });
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(records.some((record) => record.level === 'info' && record.message.startsWith('Everything is ready')));
});

test('documents_are_merged_and_json_is_submitted', async () => {
  const yaml = JSON.stringify(through);
  const over = { exporters: { 'inproc/out': { sending_queue: { queue_size: 7 } } } };
  const collector = new Collector([yaml, over]);
  const changes = [];
  collector.onStatusChange((status) => changes.push(`${status.id} ${status.status}`));
  await collector.start();
  collector.input('inproc/app').submitJson('traces', { resourceSpans: [{ scopeSpans: [{ spans: [{ name: 'of json' }] }] }] });
  assert.throws(() => collector.input('inproc/app').submitJson('traces', '{"resourceSpans": 1}'), /resourceSpans/);
  const batch = await collector.output('inproc/out').next({ timeout: 20000 });
  assert.ok(batch.data.includes('of json'));
  const snapshot = collector.snapshot();
  assert.equal(snapshot.state, 'running');
  const queue = snapshot.queues.find((queue) => queue.kind === 'exporter');
  assert.deepEqual([queue.id, queue.signal, queue.unit, queue.size, queue.capacity], ['inproc/out', 'traces', 'requests', 1, 7]);
  assert.ok(queue.oldest_age_seconds >= 0 && snapshot.memory.held_bytes > 0 && snapshot.memory.resident_bytes > 0);
  batch.ack();
  await assert.rejects(collector.reload([yaml, { exporters: { 'inproc/out': { tmeout: 1 } } }]), (error) => {
    assert.match(error.message, /--> config:\d+:\d+ {2}\(exporters::inproc\/out::tmeout\)/);
    return true;
  });
  await collector.reload([yaml, over]);
  await collector.shutdown({ timeout: 5000 });
  assert.ok(changes.includes('inproc/out ok') && changes.includes('inproc/out stopped'), changes);
});

const toFile = (file, extra = '') => `
  const { Collector } = require('otelcore');
  const { span } = require('./support');
  const config = {
    receivers: { inproc: null }, processors: { batch: { timeout: '60s' } }, exporters: { file: { path: ${JSON.stringify(file)} } },
    service: { telemetry: { metrics: { level: 'none' } },
      pipelines: { traces: { receivers: ['inproc'], processors: ['batch'], exporters: ['file'] } } },
  };
  Collector.start(config).then((collector) => { collector.submitTraces(span('delivered')); ${extra} });`;

test('process_ends_by_itself_and_delivers_what_is_held', async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'otelcore-node-'));
  for (const [name, extra, code] of [
    ['loop-is-empty', '', 0],
    ['exit', 'process.exit(3)', 3],
    ['throws', "throw new Error('uncaught')", 1],
  ]) {
    const file = path.join(folder, name);
    const ended = await run(toFile(file, extra));
    assert.equal(ended.code, code, ended.out);
    assert.match(fs.readFileSync(file, 'utf8'), /delivered/, name);
  }
  fs.rmSync(folder, { recursive: true });
});

test('referenced_collector_keeps_the_process_alive', async () => {
  const ended = await run(`
    const { Collector } = require('otelcore');
    const { through } = require('./support');
    Collector.start(through, { ref: true }).then((collector) => {
      setTimeout(() => { console.log('still here'); collector.unref(); }, 300).unref();
    });`);
  assert.equal(ended.code, 0, ended.out);
  assert.match(ended.out, /still here/);
});

test('worker_that_is_terminated_frees_its_collector', async () => {
  const source = `
    const { parentPort } = require('node:worker_threads');
    const { Collector } = require('otelcore');
    const { through } = require(${JSON.stringify(path.join(__dirname, 'support.js'))});
    Collector.start(through, { ref: true, log: () => {} }).then(() => parentPort.postMessage('started'));`;
  for (let i = 0; i < 3; i++) {
    const worker = new Worker(source, { eval: true });
    await new Promise((resolve, reject) => {
      worker.on('message', resolve);
      worker.on('error', reject);
    });
    await worker.terminate();
  }
});
