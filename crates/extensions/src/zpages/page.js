"use strict";
(async () => {
const byId = (id) => document.getElementById(id);
const isLarge = document.body.dataset.large !== undefined;
let graph = JSON.parse(byId("graph-data").textContent);
// A long one is not in the page.
if (!graph) graph = await fetch("api/v1/graph").then((response) => response.json()).catch(() => null);
if (!graph || String(graph.generation) !== document.body.dataset.generation) { setTimeout(() => location.reload(), 5000); return; }
const HISTORY = 60;
const SHAPES = {ok: "ok", recoverable_error: "warn", permanent_error: "bad", starting: "wait"};
let previous = null, nextLog = Number(document.body.dataset.nextLog), failures = 0;
const history = graph.edges.map(() => []);
const said = new Map();
/** Groups of nodes or edges of the picture, with the numbers of their members. */
const groups = (kind) => [...document.querySelectorAll(kind + "[data-m]")].filter((one) => one.dataset.m !== "")
  .map((drawn) => ({drawn, values: [], members: drawn.dataset.m.split(" ").flatMap((run) => {
    const [first, step, count] = run.split(":").map(Number);
    return Array.from({length: count}, (_, n) => first + step * n);
  })}));
const nodeGroups = groups("a"), edgeGroups = groups("g");

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

function setUse(parent, shape) {
  const use = parent.querySelector("use");
  if (use && use.dataset.shape !== shape) { use.dataset.shape = shape; use.setAttribute("href", "#s-" + shape); }
}
function setShape(drawn, shape) {
  drawn.classList.toggle("bad", shape === "bad");
  drawn.classList.toggle("warn", shape === "warn");
  setUse(drawn, shape);
}
function setLabel(drawn, label) {
  if (drawn.getAttribute("aria-label") === label) return;
  drawn.setAttribute("aria-label", label);
  put(drawn.querySelector("title"), label);
}
function showGroup({drawn, members}, nodes) {
  const counts = new Map();
  for (const member of members) {
    const name = nodes[member] && nodes[member].status;
    if (name) counts.set(name, (counts.get(name) || 0) + 1);
  }
  const shapes = new Set([...counts.keys()].map((name) => SHAPES[name] || "off"));
  setShape(drawn, ["bad", "warn", "wait", "ok"].find((shape) => shapes.has(shape)) || "off");
  const [title, signals] = [...drawn.querySelectorAll("text")].map((one) => one.textContent.trim());
  const words = [...counts].map(([name, count]) => count + " " + name.replace("_", " ")).join(", ");
  setLabel(drawn, title + " " + signals + (words ? ": " + words : ""));
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
  setUse(row, shape);
  put(cell("message"), errorText(node));
  const drawn = byId("g" + index);
  if (drawn) {
    setShape(drawn, shape);
    const { id, kind } = graph.nodes[index], shown = drawn.querySelector("text").textContent.trim();
    const label = shown + " " + kind + (node.status ? ": " + words : "") + (node.message ? ", " + node.message.slice(0, 120) : "") +
      (shown === id ? "" : ", " + id);
    setLabel(drawn, label);
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
  drawEdge(byId("p" + index), values, value, items);
}

/** The items of a group of edges in a second: the sum of those that are counted. */
function showEdgeGroup(group, state, seconds) {
  let sum = null;
  for (const index of group.members) {
    const passed = (of) => of && of.passed && of.passed[index] ? of.passed[index].items : null, items = state.edges[index];
    const value = items !== null && items !== undefined ? rate(items, previous && previous.edges[index], seconds)
      : rate(passed(state), passed(previous), seconds);
    if (value !== null) sum = (sum || 0) + value;
  }
  if (sum === null) return;
  group.values.push(sum);
  if (group.values.length > HISTORY) group.values.shift();
  drawEdge(group.drawn, group.values, sum, 0);
}

function drawEdge(drawn, values, value, items) {
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
  nodeGroups.forEach((group) => showGroup(group, state.nodes));
  edgeGroups.forEach((group) => showEdgeGroup(group, state, seconds));
  if (state.connections) showConnections(state.connections);
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

/** Rows of connections, changed in place where the row is of the same listener or destination. */
function showConnections({groups, omitted}) {
  const body = byId("connections"), shown = groups.slice(0, 50);
  if (!body) return;
  while (body.rows.length > shown.length) body.deleteRow(-1);
  shown.forEach((group, i) => {
    let row = body.rows[i];
    if (!row) {
      row = body.insertRow();
      const head = document.createElement("th");
      head.scope = "row";
      head.append("", document.createElement("span"));
      head.lastChild.className = "dim";
      row.append(head);
      for (const name of ["", "n", "", ""]) row.insertCell().className = name;
    }
    const [head, where, count, protocol, peers] = row.cells, name = (group.id || "own telemetry") + " ";
    if (head.firstChild.data !== name) head.firstChild.data = name;
    put(head.lastChild, group.kind);
    put(where, (group.role === "listener" ? "listens at " : "connects to ") + group.address +
      (group.network === "tcp" ? "" : " (" + group.network + ")"));
    put(count, String(group.count));
    const protocols = [...new Set(group.oldest.map((open) => open.protocol).filter(Boolean))].sort();
    if (group.oldest.some((open) => open.encrypted)) protocols.push("TLS");
    put(protocol, protocols.join(", "));
    const lines = group.oldest.map((open) => [open.peer, duration(open.age_ms)].filter(Boolean).join(", ") +
      (open.received_bytes === null ? "" : ", " + bytes(open.received_bytes) + " received, " + bytes(open.sent_bytes) + " sent"));
    if (group.count > group.oldest.length) lines.push("and " + (group.count - group.oldest.length) + " more");
    while (peers.children.length > lines.length) peers.lastElementChild.remove();
    lines.forEach((line, n) => put(peers.children[n] || peers.appendChild(document.createElement("div")), line));
  });
  const more = omitted + groups.length - shown.length;
  put(byId("connections-more"), more > 0 ? "There are " + more + " further listeners and destinations." : "");
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
// The plots of a live sample: each series with the last values that passed.
const MAX_SERIES = 24, MAX_VALUES = 120;
let series = new Map();
const anyValue = (v) => v === undefined ? "" : v.stringValue ?? v.intValue ?? v.doubleValue ?? v.boolValue ??
  (v.arrayValue ? "[" + (v.arrayValue.values || []).map(anyValue).join(", ") + "]" : v.kvlistValue ? "{…}" : v.bytesValue ?? "");
const attributeText = (list) => (list || []).map((a) => a.key + "=" + anyValue(a.value)).join(", ");
/** Calls `each` with metric, point, value and what the value is, for each point of a request of OTLP/JSON. */
function eachPoint(request, each) {
  for (const resource of request.resourceMetrics || []) {
    const who = (resource.resource?.attributes || []).find((a) => a.key === "service.name");
    for (const scope of resource.scopeMetrics || []) for (const metric of scope.metrics || []) {
      const data = metric.sum || metric.gauge;
      const points = (data || metric.histogram || metric.exponentialHistogram || metric.summary || {}).dataPoints || [];
      for (const point of points) {
        const value = Number(data ? point.asDouble ?? point.asInt ?? NaN : point.count ?? 0);
        each(metric, point, value, data ? "" : "count", who ? anyValue(who.value) : "");
      }
    }
  }
}
function addPoints(line) {
  let request;
  try { request = JSON.parse(line); } catch { return; }
  eachPoint(request, (metric, point, value, what, who) => {
    const name = [metric.name, what, metric.unit ? "(" + metric.unit + ")" : ""].filter(Boolean).join(" ");
    const labels = [who, attributeText(point.attributes)].filter(Boolean).join("; "), key = name + "\n" + labels;
    let one = series.get(key);
    if (!one) {
      if (series.size >= MAX_SERIES) { series.more = true; return; }
      series.set(key, one = {name, labels, values: []});
    }
    one.values.push(value);
    if (one.values.length > MAX_VALUES) one.values.shift();
    one.changed = true;
  });
}
const SVG = "http://www.w3.org/2000/svg";
function svg(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (parent) parent.append(element);
  return element;
}
const exact = (value) => Number.isFinite(value) ? value.toLocaleString("en", {maximumFractionDigits: 6}) : String(value);
function showPlots() {
  for (const one of series.values()) {
    if (!one.row) {
      one.row = byId("plots").insertRow();
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = one.name;
      one.row.append(head);
      one.row.insertCell().textContent = one.labels;
      const picture = svg("svg", {width: 240, height: 44, viewBox: "0 0 240 44", role: "img", class: "plot"}, one.row.insertCell());
      one.line = svg("polyline", {points: ""}, picture);
      one.dot = svg("circle", {r: 2.5, cx: 0, cy: 0}, picture);
      one.picture = picture;
      for (const key of ["last", "low", "high"]) { one[key] = one.row.insertCell(); one[key].className = "n"; }
    }
    if (!one.changed) continue;
    one.changed = false;
    const known = one.values.filter(Number.isFinite), low = Math.min(...known), high = Math.max(...known);
    const y = (v) => high > low ? 40 - 36 * (v - low) / (high - low) : 22, x = (i) => 2 + i * 236 / (MAX_VALUES - 1);
    const places = one.values.map((v, i) => [x(i), y(v)]).filter(([, v]) => Number.isFinite(v));
    one.line.setAttribute("points", places.map((p) => p.map((v) => v.toFixed(1)).join(",")).join(" "));
    const end = places.at(-1);
    if (end) { one.dot.setAttribute("cx", end[0].toFixed(1)); one.dot.setAttribute("cy", end[1].toFixed(1)); }
    put(one.last, exact(one.values.at(-1)));
    put(one.low, known.length ? exact(low) : "");
    put(one.high, known.length ? exact(high) : "");
    one.picture.setAttribute("aria-label", one.values.length + " values, the last " + exact(one.values.at(-1)));
  }
  put(byId("plots-more"), series.more ? "Only the first " + MAX_SERIES + " series are shown; a condition chooses others." : "");
}
let look = null, lookedAt = null;
function stopLook() { if (look) { look.abort(); look = null; } }
function clearSample() {
  byId("sample-text").textContent = "";
  byId("plots").replaceChildren();
  series = new Map();
}
/** Shows lines of text as they come, the last 400. */
function showText(text, chunk) {
  text.textContent = (text.textContent + chunk).split("\n").slice(-400).join("\n");
  text.scrollTop = text.scrollHeight;
}
async function lookAt(index) {
  stopLook();
  const own = look = new AbortController(), text = byId("sample-text"), node = (i) => graph.nodes[i].id;
  if (lookedAt !== index) clearSample();
  lookedAt = index;
  byId("sample").hidden = false;
  const edge = graph.edges[index], plots = edge.signal === "metrics", limit = plots ? 2000 : 20;
  text.hidden = plots;
  byId("sample-plots").hidden = !plots;
  put(byId("sample-name"), node(edge.from) + " to " + node(edge.to) + " (" + edge.signal + ")");
  byId("sample-where").placeholder = {traces: 'span.name == "GET /"', metrics: 'metric.name == "requests"', logs: "log.severity_number >= 17"}[edge.signal];
  put(byId("sample-state"), "waiting for data");
  try {
    const response = await fetch("api/v1/samples?edge=" + index + "&limit=" + limit + (plots ? "&format=json" : "") + "&where=" +
      encodeURIComponent(byId("sample-where").value), {signal: own.signal});
    if (!response.ok) { put(byId("sample-state"), (await response.text()).trim()); return; }
    const reader = response.body.getReader(), decoder = new TextDecoder();
    let rest = "";
    for (;;) {
      const {done, value} = await reader.read();
      if (done) break;
      put(byId("sample-state"), "live");
      const chunk = decoder.decode(value, {stream: true});
      if (!plots) { showText(text, chunk); continue; }
      const lines = (rest + chunk).split("\n");
      rest = lines.pop();
      lines.forEach(addPoints);
      showPlots();
    }
    put(byId("sample-state"), limit + " items, or the time is over; Look shows the next ones");
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
if (isLarge) {
  // The server searches.
  byId("pipeline").addEventListener("change", () => byId("controls").requestSubmit());
} else {
  byId("search").addEventListener("input", filter);
  byId("pipeline").addEventListener("change", filter);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  filter();
}
byId("controls").hidden = false;
byId("no-script").hidden = true;
watch();
})();
