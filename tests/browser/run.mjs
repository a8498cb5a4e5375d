// The live page in headless Chromium: looks, numbers, searching, samples, keyboard, without a script, and what it costs. `--pictures DIR` writes
// the pictures of the manual there. scripts/browser runs it.

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { eventually, metric, otelcore, startCollector, startLoad, stopAll, text } from "./collector.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const argument = process.argv.indexOf("--pictures");
const pictures = argument > 0 ? process.argv[argument + 1] : null;
const SIZES = { desktop: { width: 1280, height: 900 }, phone: { width: 390, height: 844 } };
const SCHEMES = ["light", "dark"];
const MAX_PAGE = 150 << 10;

let failures = 0;
async function test(name, run) {
  try {
    const result = await run();
    console.log(`ok   ${name}${result ? `: ${result}` : ""}`);
  } catch (error) {
    failures++;
    console.log(`FAIL ${name}: ${error.message.split("\n").slice(0, 12).join("\n     ")}`);
  }
}

// A page in a context of its own. Errors of scripts, refusals of the content policy and requests to other hosts fail the test that closes it.
async function open(browser, collector, { size = "desktop", scheme = "light", script = true } = {}) {
  const context = await browser.newContext({
    viewport: SIZES[size], colorScheme: scheme, javaScriptEnabled: script, isMobile: size === "phone", reducedMotion: "reduce",
    // The check for people is put into the page, which its policy would refuse.
    bypassCSP: false,
  });
  const page = await context.newPage(), wrong = [];
  page.on("console", (message) => { if (message.type() === "error") wrong.push(`console: ${message.text()}`); });
  page.on("pageerror", (error) => wrong.push(`script: ${error.message}`));
  page.on("request", (request) => { if (!request.url().startsWith(collector.page)) wrong.push(`request: ${request.url()}`); });
  await page.goto(collector.page);
  return { page, close: async () => { await context.close(); assert.deepEqual(wrong, []); } };
}

async function picture(page, name) {
  if (!pictures) return;
  const session = await page.context().newCDPSession(page);
  const { data } = await session.send("Page.captureScreenshot", { format: "webp", quality: 72 });
  writeFileSync(join(pictures, `${name}.webp`), Buffer.from(data, "base64"));
}

async function accessibility(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const said = violations.map((v) => `${v.id} (${v.impact}): ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(" | ")}`);
  assert.deepEqual(said, []);
}

async function looks(browser, collector, state) {
  for (const size of Object.keys(SIZES)) {
    for (const scheme of SCHEMES) {
      await test(`page_${state}_${size}_${scheme}_has_no_hindrance`, async () => {
        const { page, close } = await open(browser, collector, { size, scheme });
        await page.locator("#connection", { hasText: "live" }).waitFor();
        // Some seconds, so that edges have a course.
        await page.waitForTimeout(state === "load" ? 6000 : 1500);
        await picture(page, `page-${state}-${size}-${scheme}`);
        await accessibility(page);
        const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.ok(wider <= 0, `the page is ${wider} px wider than the screen`);
        await close();
      });
    }
  }
}

const cell = (page, row, key) => page.locator(`#${row} [data-k=${key}]`).innerText().then((value) => Number(value.replaceAll(",", "")));
const nodeRow = (graph, kind, id) => "n" + graph.nodes.findIndex((node) => node.kind === kind && node.id === id);
const edgeIndex = (graph, from, to) => graph.edges.findIndex((edge) => graph.nodes[edge.from].id === from && graph.nodes[edge.to].id === to);

async function numbers(browser, collector, graph) {
  await test("numbers_of_the_page_are_those_of_8888", async () => {
    const { page, close } = await open(browser, collector);
    await page.locator("#connection", { hasText: "live" }).waitFor();
    await page.waitForTimeout(2500);
    const own = await text(collector.metrics);
    const accepted = ["spans", "metric_points", "log_records"].map((items) => metric(own, `otelcol_receiver_accepted_${items}`, { receiver: "otlp" }));
    const sum = accepted.reduce((a, b) => a + b, 0);
    assert.ok(accepted.every((value) => value > 0), `${accepted}`);
    assert.equal(await cell(page, nodeRow(graph, "receiver", "otlp"), "out"), sum);
    const sent = metric(own, "otelcol_exporter_sent_spans", { exporter: "nop" }) + metric(own, "otelcol_exporter_sent_log_records", { exporter: "nop" });
    assert.equal(await cell(page, nodeRow(graph, "exporter", "nop"), "out"), sent);
    const queue = metric(own, "otelcol_exporter_queue_size", { exporter: "otlp_grpc/backup" });
    assert.match(await page.locator(`#${nodeRow(graph, "exporter", "otlp_grpc/backup")} [data-k=queue]`).innerText(), new RegExp(`logs ${queue} of 50`));
    await close();
    return `${sum} items received, ${sent} sent, ${queue} requests wait`;
  });
}

async function clicks(browser, collector, graph) {
  await test("search_shows_what_is_searched_for", async () => {
    const { page, close } = await open(browser, collector);
    const shown = () => page.locator("tr[id^=n]:visible").count();
    const all = await shown();
    await page.getByLabel("Search").fill("backup");
    const found = await shown();
    assert.ok(found > 0 && found < all, `${found} of ${all}`);
    await page.getByLabel("Search").fill("");
    await page.locator("#pipeline").selectOption({ label: "logs" });
    assert.ok(await page.locator(`#${nodeRow(graph, "exporter", "prometheus")}`).isHidden(), "prometheus is in no pipeline of logs");
    assert.ok(await page.locator(`#${nodeRow(graph, "exporter", "nop")}`).isVisible());
    await close();
  });
  await test("click_on_an_edge_shows_spans_that_pass", async () => {
    const { page, close } = await open(browser, collector);
    const edge = edgeIndex(graph, "batch", "nop");
    const at = await page.locator(`#p${edge} path`).first().evaluate((path) => {
      path.scrollIntoView({ inline: "center" });
      const { x, y } = path.getPointAtLength(path.getTotalLength() * 0.75), box = path.ownerSVGElement.getBoundingClientRect();
      return { x: box.x + x, y: box.y + y };
    });
    await page.mouse.click(at.x, at.y);
    await eventually("spans", async () => /span|GET|ms/.test(await page.locator("#sample-text").innerText()));
    await picture(page, "page-sample-desktop-light");
    await page.getByLabel("Only where").fill("span.name ==");
    await page.getByRole("button", { name: "Look", exact: true }).first().click();
    await eventually("the error of a condition", async () => (await page.locator("#sample-state").innerText()).length > 20);
    await page.getByRole("button", { name: "Stop" }).click();
    await accessibility(page);
    await page.context().close().then(() => close().catch((error) => {
      // The condition is refused with 400 on purpose, which the browser reports.
      if (!/400/.test(error.message)) throw error;
    }));
  });
  for (const scheme of SCHEMES) {
    await test(`sample_of_metrics_${scheme}_is_a_plot`, async () => {
      const { page, close } = await open(browser, collector, { scheme });
      const edge = graph.edges.findIndex((one) => one.signal === "metrics" && graph.nodes[one.to].id === "prometheus");
      await page.locator(`[data-sample="${edge}"]`).click();
      await eventually("a plot", async () => {
        const lines = await page.locator("#plots polyline").evaluateAll((all) => all.map((line) => line.getAttribute("points").split(" ").length));
        return lines.some((count) => count > 4);
      }, 30);
      await accessibility(page);
      await page.locator("#h-sample").scrollIntoViewIfNeeded();
      await picture(page, `page-plot-desktop-${scheme}`);
      await close();
    });
  }
  await test("page_is_usable_by_keyboard", async () => {
    const { page, close } = await open(browser, collector);
    const seen = new Set();
    for (let i = 0; i < 80; i++) {
      await page.keyboard.press("Tab");
      seen.add(await page.evaluate(() => document.activeElement.id || document.activeElement.textContent.trim().split(" ")[0]));
    }
    for (const one of ["search", "pipeline", "g0", "Look"]) assert.ok(seen.has(one), `${one} is not reached: ${[...seen].join(", ").slice(0, 300)}`);
    const button = page.getByRole("button", { name: /Look/ }).first();
    await button.focus();
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "h-sample");
    await close();
  });
  await test("secrets_are_not_on_the_page", async () => {
    const markup = await text(collector.page);
    assert.ok(markup.includes("[REDACTED]") && !markup.includes("hunter2"));
    assert.ok(Buffer.byteLength(markup) < MAX_PAGE, `${Buffer.byteLength(markup)} bytes`);
    return `${(Buffer.byteLength(markup) / 1024).toFixed(1)} KiB`;
  });
}

async function connections(browser, collector) {
  await test("connections_are_shown_with_their_peers_and_bytes", async () => {
    const { page, close } = await open(browser, collector);
    const row = page.locator("#connections tr", { hasText: `listens at ${new URL(collector.endpoint).host}` });
    await row.waitFor();
    await eventually("a client of gRPC", async () => /gRPC/.test(await row.innerText()) && /received/.test(await row.innerText()));
    const received = await row.innerText();
    await eventually("more bytes", async () => await row.innerText() !== received);
    await page.locator("#h-connections").scrollIntoViewIfNeeded();
    await close();
    return (await row.innerText().catch(() => received)).replaceAll(/\s+/g, " ").slice(0, 120);
  });
}

// A graph that does not fit: groups, which are opened with and without a script.
async function groups(browser, collector) {
  const size = async (url) => {
    const markup = await text(url);
    assert.ok(Buffer.byteLength(markup) < MAX_PAGE, `${url}: ${Buffer.byteLength(markup)} bytes`);
    return Buffer.byteLength(markup);
  };
  for (const script of [true, false]) {
    await test(`many_components_are_groups_that_open_${script ? "with" : "without"}_a_script`, async () => {
      const { page, close } = await open(browser, collector, { script });
      if (script) await page.locator("#connection", { hasText: "live" }).waitFor();
      const group = page.locator("a.group.exporter").first(), name = await group.locator("text").first().textContent();
      assert.match(name, /^\d+ exporters/);
      if (script) {
        await eventually("a group that carries items", async () => await page.locator("g.edge.flows").count() > 0);
        await page.waitForTimeout(4000);
        await picture(page, "page-groups-desktop-light");
        await accessibility(page);
      }
      const before = await page.locator("a.node:not(.group)").count();
      await group.focus();
      await page.keyboard.press("Enter");
      await page.waitForURL(/open=exporter/);
      assert.ok(await page.locator("a.node:not(.group)").count() > before, "its members are drawn");
      if (script) await accessibility(page);
      await page.getByRole("link", { name: /^Close the/ }).first().click();
      await page.waitForURL((url) => !/open=/.test(url.search));
      await page.getByLabel("Search").fill("nop/77");
      await page.getByRole("button", { name: "Show", exact: true }).click();
      await page.waitForURL(/q=nop/);
      assert.ok(await page.locator("tr th", { hasText: "nop/77" }).first().isVisible());
      await close();
      return name.trim();
    });
  }
  await test("page_of_many_components_is_small", async () => {
    const sizes = [await size(collector.page)];
    const key = /open=([a-z.0-9-]+)/.exec(await text(collector.page))[1];
    for (const query of [`?open=${key}`, "?q=batch", "?pipeline=3", "?q=nop%2F1&pipeline=1"]) sizes.push(await size(collector.page + query));
    return `${(Math.max(...sizes) / 1024).toFixed(1)} KiB at most`;
  });
}

async function withoutScript(browser, collector, graph) {
  for (const size of Object.keys(SIZES)) {
    await test(`page_without_a_script_on_${size}_has_the_numbers_of_the_moment`, async () => {
      const { page, close } = await open(browser, collector, { size, script: false });
      assert.ok(await cell(page, nodeRow(graph, "receiver", "otlp"), "out") > 0, "items are counted");
      assert.ok(await page.locator("#controls").isHidden(), "what needs a script is not shown");
      assert.ok(await page.getByText("Load the page again for new numbers.").isVisible(), "it says how to get new numbers");
      await picture(page, `page-no-script-${size}-light`);
      await close();
    });
  }
}

async function cost(browser, collector) {
  const share = async (seconds) => {
    const before = collector.cpu();
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    return (collector.cpu() - before) / seconds;
  };
  await test("page_that_is_looked_at_costs_less_than_two_percent_of_a_core", async () => {
    const alone = await share(10);
    const { page, close } = await open(browser, collector);
    await page.locator("#connection", { hasText: "live" }).waitFor();
    const looked = await share(20);
    await close();
    assert.ok(looked - alone < 0.02, `${alone} and ${looked}`);
    return `${(alone * 100).toFixed(2)} % of a core without, ${(looked * 100).toFixed(2)} % with it`;
  });
}

const folder = mkdtempSync(join(tmpdir(), "otelcore-browser-"));
let browser = null;
try {
  assert.ok(otelcore && existsSync(otelcore), "OTELCORE_BIN names the collector");
  const collector = await startCollector(folder);
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
  const graph = JSON.parse(await text(collector.page + "api/v1/graph"));
  await looks(browser, collector, "idle");
  await cost(browser, collector);
  const load = startLoad(collector, 200);
  await looks(browser, collector, "load");
  await clicks(browser, collector, graph);
  await connections(browser, collector);
  await withoutScript(browser, collector, graph);
  await load.stop();
  await numbers(browser, collector, graph);
  const many = await startCollector(folder, 300);
  const loadOfMany = startLoad(many, 50);
  await groups(browser, many);
  await loadOfMany.stop();
} catch (error) {
  failures++;
  console.log(`FAIL ${error.stack}`);
} finally {
  await browser?.close();
  stopAll();
  rmSync(folder, { recursive: true, force: true });
}
process.exit(failures ? 1 : 0);
