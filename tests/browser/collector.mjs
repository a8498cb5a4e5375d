// Starts the collector of the browser's tests and its load, and reads its pages. Every process that is started here is ended by `stopAll`.

import { spawn } from "node:child_process";
import { openSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";

export const otelcore = process.env.OTELCORE_BIN;
const processes = new Set();

export function stopAll() {
  for (const one of processes) one.kill("SIGKILL");
}

function freePort() {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

export async function eventually(what, check, seconds = 20) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await check();
    if (found) return found;
    if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

export async function text(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response.text();
}

// All signals, a connector, a destination that is away, and pipelines that share components.
function configuration(ports) {
  return `receivers:
  otlp:
    protocols:
      grpc: {endpoint: "127.0.0.1:${ports.grpc}"}
processors:
  memory_limiter: {check_interval: 1s, limit_mib: 256}
  batch: {timeout: 200ms}
  attributes/shop: {actions: [{key: shop, value: berlin, action: upsert}]}
connectors:
  span_metrics: {metrics_flush_interval: 1s}
exporters:
  nop:
  prometheus: {endpoint: "127.0.0.1:${ports.prometheus}"}
  otlp_grpc/backup:
    endpoint: "127.0.0.1:${ports.closed}"
    tls: {insecure: true}
    retry_on_failure: {initial_interval: 1s, max_interval: 2s}
    sending_queue: {queue_size: 50}
extensions:
  zpages: {endpoint: "127.0.0.1:${ports.page}"}
  bearertokenauth: {token: hunter2}
service:
  extensions: [zpages, bearertokenauth]
  telemetry: {metrics: {level: detailed, readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: ${ports.metrics}}}}}]}}
  pipelines:
    traces: {receivers: [otlp], processors: [memory_limiter, attributes/shop, batch], exporters: [nop, span_metrics]}
    metrics: {receivers: [otlp, span_metrics], processors: [memory_limiter, batch], exporters: [prometheus]}
    logs: {receivers: [otlp], processors: [memory_limiter, batch], exporters: [nop]}
    logs/backup: {receivers: [otlp], exporters: [otlp_grpc/backup]}
`;
}

// Many pipelines of each signal, each with components of its own.
function manyPipelines(ports, count) {
  const each = (line) => Array.from({ length: count }, (_, i) => line(i)).join("\n");
  const signal = (i) => ["traces", "metrics", "logs"][i % 3];
  return `receivers:
  otlp: {protocols: {grpc: {endpoint: "127.0.0.1:${ports.grpc}"}}}
processors:
  memory_limiter: {check_interval: 1s, limit_mib: 256}
${each((i) => `  batch/${i}: {timeout: 200ms}`)}
exporters:
  otlp_grpc/away: {endpoint: "127.0.0.1:${ports.closed}", tls: {insecure: true}, sending_queue: {queue_size: 50}}
${each((i) => `  nop/${i}:`)}
extensions:
  zpages: {endpoint: "127.0.0.1:${ports.page}"}
service:
  extensions: [zpages]
  telemetry: {metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: ${ports.metrics}}}}}]}}
  pipelines:
${each((i) => `    ${signal(i)}/${i}: {receivers: [otlp], processors: [memory_limiter, batch/${i}], exporters: [nop/${i}${i % 10 ? "" : ", otlp_grpc/away"}]}`)}
`;
}

export async function startCollector(folder, pipelines = 0) {
  const ports = {};
  for (const name of ["grpc", "prometheus", "closed", "page", "metrics"]) ports[name] = await freePort();
  const path = join(folder, `config-${pipelines}.yaml`), logPath = join(folder, `log-${pipelines}`);
  writeFileSync(path, pipelines ? manyPipelines(ports, pipelines) : configuration(ports));
  const log = openSync(logPath, "w");
  const child = spawn(otelcore, [`--config=${path}`], { stdio: ["ignore", log, log] });
  processes.add(child);
  const collector = {
    pid: child.pid,
    page: `http://127.0.0.1:${ports.page}/`,
    endpoint: `http://127.0.0.1:${ports.grpc}`,
    metrics: `http://127.0.0.1:${ports.metrics}/metrics`,
    log: () => readFileSync(logPath, "utf8"),
    // CPU time of all of its threads, in seconds.
    cpu: () => readdirSync(`/proc/${child.pid}/task`).reduce(
      (sum, thread) => sum + Number(readFileSync(`/proc/${child.pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]) / 1e9, 0),
    stop: () => { child.kill("SIGTERM"); },
  };
  await eventually("the collector listens", () => text(collector.page).then(() => true, () => false));
  return collector;
}

// Sends each signal at this rate until `stop` is called.
export function startLoad(collector, rate) {
  const load = spawn(otelcore, ["send", `--endpoint=${collector.endpoint}`, `--rate=${rate}`, "--duration=10m"], { stdio: "ignore" });
  processes.add(load);
  const ended = new Promise((resolve) => load.on("exit", resolve));
  return { stop: async () => { load.kill("SIGINT"); await ended; } };
}

// The value of a metric on the page of own metrics, all series with these labels added up.
export function metric(page, name, labels = {}) {
  let sum = 0, found = false;
  for (const line of page.split("\n")) {
    if (!line.startsWith(name + "{") && !line.startsWith(name + " ")) continue;
    if (Object.entries(labels).every(([key, value]) => line.includes(`${key}="${value}"`))) {
      sum += Number(line.slice(line.lastIndexOf(" ") + 1));
      found = true;
    }
  }
  return found ? sum : null;
}
