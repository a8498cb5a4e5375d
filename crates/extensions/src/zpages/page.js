"use strict";
(() => {
const graph = JSON.parse(document.getElementById("graph-data").textContent);
const byId = (id) => document.getElementById(id);
const HISTORY = 60;
const SHAPES = {ok: "ok", recoverable_error: "warn", permanent_error: "bad", starting: "wait"};
let previous = null, nextLog = Number(document.body.dataset.nextLog), failures = 0;
const history = graph.edges.map(() => []);
const said = new Map();

const units = [[1e9, "G"], [1e6, "M"], [1e3, "k"]];
function short(value) {
  for (const [size, unit] of units) if (value >= size) return (value / size).toPrecision(3) + unit;
  return value >= 100 || Number.isInteger(value) ? String(Math.round(value)) : value.toFixed(1);
}
function bytes(value) {
  let unit = 0;
  while (value >= 1024 && unit < 4) { value /= 1024; unit++; }
  return (unit ? value.toFixed(1) : String(value)) + " " + ["B", "KiB", "MiB", "GiB", "TiB"][unit];
}
function duration(ms) {
  const s = Math.floor(ms / 1000), d = Math.floor(s / 86400), h = Math.floor(s / 3600) % 24, m = Math.floor(s / 60) % 60;
  return d ? d + " d " + h + " h" : h ? h + " h " + m + " min" : m ? m + " min " + (s % 60) + " s" : s + " s";
}
function put(element, text) { if (element && element.textContent !== text) element.textContent = text; }
function rate(now, before, seconds) {
  return now === undefined || now === null || before === undefined || before === null || now < before || !(seconds > 0)
    ? null : (now - before) / seconds;
}
const perSecond = (value) => value === null ? "–" : short(value) + "/s";

const time = (ms) => new Date(ms).toISOString().slice(0, 19) + "Z";
function errorText(node) {
  const last = node.last_error, times = last && last.count > 1 ? ", " + last.count + " times" : "";
  if (node.message) return node.message + " (since " + time(node.changed_unix_ms) + times + ")";
  return last ? "works again; before: " + last.message + " (" + time(last.unix_ms) + times + ")" : "";
}

function showNode(index, node, before, seconds) {
  const row = byId("n" + index);
  if (!row) return;
  const cell = (name) => row.querySelector("[data-k=" + name + "]");
  for (const key of ["in", "out", "refused", "dropped", "failed", "held"]) {
    put(cell(key), node[key] === undefined ? "" : node[key].toLocaleString("en"));
  }
  const flow = node.out !== undefined ? rate(node.out, before && before.out, seconds) : rate(node.in, before && before.in, seconds);
  put(cell("rate"), flow === null ? "" : perSecond(flow));
  put(cell("queue"), (node.queues || []).map((q) => q.signal + " " + (q.size ?? "?") + " of " + (q.capacity ?? "?") +
    (q.oldest_seconds ? ", oldest " + duration(q.oldest_seconds * 1000) : "")).join("; "));
  const name = node.status || "none", shape = SHAPES[name] || "off";
  const words = name.replace("_", " ");
  put(row.querySelector("[data-k=status] span"), words);
  for (const use of [row.querySelector("use"), document.querySelector("#g" + index + " use")]) {
    if (use && use.dataset.shape !== shape) { use.dataset.shape = shape; use.setAttribute("href", "#s-" + shape); }
  }
  put(cell("message"), errorText(node));
  const drawn = byId("g" + index);
  if (drawn) {
    drawn.classList.toggle("bad", shape === "bad");
    drawn.classList.toggle("warn", shape === "warn");
    const label = graph.nodes[index].id + " " + graph.nodes[index].kind + (node.status ? ": " + words : "") + (node.message ? ", " + node.message : "");
    if (drawn.getAttribute("aria-label") !== label) {
      drawn.setAttribute("aria-label", label);
      put(drawn.querySelector("title"), label);
    }
  }
  const was = said.get(index);
  said.set(index, name);
  if (was !== undefined && was !== name) put(byId("announce"), graph.nodes[index].kind + " " + graph.nodes[index].id + ": " + words);
}

function showEdge(index, items, before, passed, passedBefore, seconds) {
  const bytesRate = passed && passedBefore ? rate(passed.bytes, passedBefore.bytes, seconds) : null;
  if (items === null && passed) {
    // Counted only while somebody watches.
    before = passedBefore ? passedBefore.items : null;
    items = passed.items;
  }
  const value = rate(items, before, seconds), values = history[index];
  if (seconds > 0) { values.push(value); if (values.length > HISTORY) values.shift(); }
  const row = byId("e" + index);
  if (row) {
    put(row.querySelector("[data-k=items]"), items === null ? "not counted" : items.toLocaleString("en"));
    put(row.querySelector("[data-k=rate]"), items === null ? "" : perSecond(value));
    put(row.querySelector("[data-k=bytes]"), bytesRate === null ? "" : bytes(Math.round(bytesRate)) + "/s");
  }
  const drawn = byId("p" + index);
  if (!drawn) return;
  drawn.classList.toggle("flows", value > 0);
  put(drawn.querySelector("text"), items === null ? "" : value === null ? short(items) : perSecond(value));
  const line = drawn.querySelector("polyline");
  if (!line || items === null) return;
  const top = Math.max(1e-9, ...values.map((v) => v || 0)), x = Number(line.dataset.x), y = Number(line.dataset.y);
  line.setAttribute("points", values.map((v, i) =>
    (x + i * 54 / (HISTORY - 1)).toFixed(1) + "," + (y + 12 - 12 * (v || 0) / top).toFixed(1)).join(" "));
}

function show(state) {
  // Another configuration runs, or another process.
  if (state.generation !== graph.generation || (previous && state.uptime_ms < previous.uptime_ms)) { location.reload(); return; }
  const seconds = previous ? (state.uptime_ms - previous.uptime_ms) / 1000 : 0;
  state.nodes.forEach((node, i) => showNode(i, node, previous && previous.nodes[i], seconds));
  const passed = (of, i) => (of && of.passed ? of.passed[i] : null);
  state.edges.forEach((items, i) => showEdge(i, items, previous && previous.edges[i], passed(state, i), passed(previous, i), seconds));
  put(byId("uptime"), duration(state.uptime_ms));
  const cpu = previous ? rate(state.cpu_seconds, previous.cpu_seconds, seconds) : null;
  if (cpu !== null) put(byId("cpu"), (cpu * 100).toFixed(1) + " %");
  for (const key of ["resident", "held", "kept", "total", "limit", "admission_limit"]) {
    const value = state.memory[key + "_bytes"];
    put(byId("m-" + key), value === null ? "none" : bytes(value));
  }
  const meter = byId("m-meter");
  if (meter && state.memory.limit_bytes) meter.value = (state.memory.held_bytes + state.memory.kept_bytes) / state.memory.limit_bytes;
  const counts = {};
  for (const node of state.nodes) if (node.status) counts[node.status] = (counts[node.status] || 0) + 1;
  put(byId("health"), Object.entries(counts).map(([name, n]) => n + " " + name.replace("_", " ")).join(", "));
  if (state.next_log > nextLog) readLog(state.next_log);
  previous = state;
}

async function readLog(next) {
  const from = nextLog, body = byId("log");
  nextLog = next;
  if (!body) return;
  const response = await fetch("api/v1/log?from=" + from);
  if (!response.ok) return;
  for (const record of (await response.json()).records) {
    const row = body.insertRow(0);
    row.className = record.level;
    for (const text of [record.time, record.level, record.component, record.text]) row.insertCell().textContent = text;
    while (body.rows.length > 100) body.deleteRow(-1);
  }
  const none = byId("no-log");
  if (none) none.remove();
}

function filter() {
  const text = byId("search").value.toLowerCase(), chosen = byId("pipeline").value;
  const pipeline = chosen === "" ? null : Number(chosen);
  const visible = graph.nodes.map((node) => (node.id.toLowerCase().includes(text) || node.kind.includes(text)) &&
    (pipeline === null || node.pipelines.includes(pipeline)));
  graph.nodes.forEach((_, i) => {
    byId("g" + i)?.classList.toggle("faded", !visible[i]);
    const row = byId("n" + i);
    if (row) row.hidden = !visible[i];
  });
  graph.edges.forEach((edge, i) => {
    const seen = (pipeline === null || edge.pipeline === pipeline) && (text === "" || visible[edge.from] || visible[edge.to]);
    byId("p" + i)?.classList.toggle("faded", !seen);
    const row = byId("e" + i);
    if (row) row.hidden = !seen;
  });
}

function connection(text) { put(byId("connection"), text); }

let polls = false;
async function poll() {
  polls = true;
  try {
    const response = await fetch("api/v1/state");
    if (response.ok) { show(await response.json()); connection("updated every 5 s"); } else connection("no answer: " + response.status);
  } catch { connection("the collector does not answer"); }
  setTimeout(poll, 5000);
}

let source = null;
function watch() {
  if (document.hidden || source || polls) return;
  source = new EventSource("events");
  source.onmessage = (event) => { failures = 0; connection("live"); show(JSON.parse(event.data)); };
  source.onerror = () => {
    connection("connecting again");
    if (source.readyState !== EventSource.CLOSED) return;
    source = null;
    if (++failures > 2) { poll(); return; }
    setTimeout(watch, 2000);
  };
}
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) { watch(); return; }
  if (source) { source.close(); source = null; connection("paused"); }
});
let look = null, lookedAt = null;
function stopLook() { if (look) { look.abort(); look = null; } }
async function lookAt(index) {
  stopLook();
  const own = look = new AbortController(), text = byId("sample-text"), node = (i) => graph.nodes[i].id;
  if (lookedAt !== index) text.textContent = "";
  lookedAt = index;
  byId("sample").hidden = false;
  const edge = graph.edges[index];
  put(byId("sample-name"), node(edge.from) + " to " + node(edge.to) + " (" + edge.signal + ")");
  put(byId("sample-state"), "waiting for data");
  try {
    const response = await fetch("api/v1/samples?edge=" + index + "&limit=20&where=" +
      encodeURIComponent(byId("sample-where").value), {signal: own.signal});
    if (!response.ok) { put(byId("sample-state"), (await response.text()).trim()); return; }
    const reader = response.body.getReader(), decoder = new TextDecoder();
    for (;;) {
      const {done, value} = await reader.read();
      if (done) break;
      put(byId("sample-state"), "live");
      const lines = (text.textContent + decoder.decode(value, {stream: true})).split("\n");
      text.textContent = lines.slice(-400).join("\n");
      text.scrollTop = text.scrollHeight;
    }
    put(byId("sample-state"), "20 items, or the time is over; Look shows the next ones");
  } catch (error) {
    if (error.name !== "AbortError") put(byId("sample-state"), "the collector does not answer");
  }
}
function openSample(index) {
  if (!byId("sample")) return;
  lookAt(index);
  byId("h-sample").focus();
}
for (const button of document.querySelectorAll("[data-sample]")) {
  button.hidden = false;
  button.addEventListener("click", () => openSample(Number(button.dataset.sample)));
}
if (byId("sample")) {
  graph.edges.forEach((_, i) => byId("p" + i)?.addEventListener("click", () => openSample(i)));
  byId("sample-form").addEventListener("submit", (event) => { event.preventDefault(); if (lookedAt !== null) lookAt(lookedAt); });
  byId("sample-stop").addEventListener("click", () => { stopLook(); put(byId("sample-state"), "stopped"); });
}
byId("search").addEventListener("input", filter);
byId("pipeline").addEventListener("change", filter);
byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("controls").hidden = false;
filter();
watch();
})();
