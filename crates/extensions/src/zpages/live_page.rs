//! The live page: one document with the picture, tables of the same facts, memory, log and configuration.
//!
//! Owns its markup; style and script are parts of the document. Everything is in the document as it is served, so that it can be
//! read without a script; the script renews it.

use otelcore_config::to_annotated_yaml;
use otelcore_pipeline::{CollectorDescription, ComponentStatusEntry, RecentLogRecord};

use super::graph::{ComponentGraph, NodeKind};
use super::grouping::{Drawing, View};
use super::html::Html;
use super::json::{graph_json, status_name, time_text};
use super::layout::Place;
use super::picture::{SHAPES, shape_of, write_picture};
use super::state::{NodeState, Snapshot};
use super::text::{bytes, query_pair, shortened};

/// The most bytes of the page, and of its parts that grow with the configuration; the data interface has all.
const MAX_PAGE: usize = 150 << 10;
const MAX_TABLE: usize = 26 << 10;
const MAX_TABLE_OF_MANY: usize = 18 << 10;
const MAX_LOG: usize = 8 << 10;
const MAX_GRAPH: usize = 10 << 10;
const MAX_PIPELINES: usize = 3 << 10;
/// The most characters of an error in a row; the data interface has all.
const MAX_MESSAGE: usize = 300;
/// What follows the configuration: the script, and some lines.
const REST_OF_PAGE: usize = include_str!("page.js").len() + MAX_GRAPH + 2048;

/// What the page shows.
pub(super) struct LivePage<'a> {
    pub(super) description: &'a CollectorDescription,
    pub(super) graph: &'a ComponentGraph,
    /// What of it is drawn, and where.
    pub(super) drawing: &'a Drawing,
    pub(super) places: &'a [Place],
    /// What the reader has chosen.
    pub(super) view: &'a View,
    pub(super) snapshot: &'a Snapshot,
    /// The log and whether the configuration is shown. `None`: the page can be read from other machines without `auth`.
    pub(super) log: Option<&'a [RecentLogRecord]>,
    /// The value by which the browser knows that style and script are of this server.
    pub(super) nonce: &'a str,
}

impl LivePage<'_> {
    /// The document.
    pub(super) fn write(&self) -> String {
        let mut html = Html::default();
        self.write_head(&mut html);
        html.raw("<main>\n");
        if !self.snapshot.is_counted {
            html.raw("<p>Own metrics are off (<code>service::telemetry::metrics::level: none</code>), so items are not counted.</p>\n");
        }
        self.write_controls(&mut html);
        self.write_graph(&mut html);
        self.write_nodes(&mut html);
        self.write_edges(&mut html);
        self.write_sample(&mut html);
        self.write_connections(&mut html);
        self.write_memory(&mut html);
        self.write_log(&mut html);
        self.write_config(&mut html);
        html.raw("<p class=\"dim\">Pages of the Go collector: ");
        for page in ["servicez", "pipelinez", "extensionz", "featurez", "tracez"] {
            html.raw("<a href=\"/debug/").raw(page).raw("\">").raw(page).raw("</a> ");
        }
        html.raw("</p>\n</main>\n<script type=\"application/json\" id=\"graph-data\" nonce=\"")
            .raw(self.nonce)
            .raw("\">");
        let graph = graph_json(self.snapshot.generation, self.description, self.graph);
        // The script asks for a long one.
        html.raw(if graph.len() > MAX_GRAPH { "null" } else { str::from_utf8(&graph).unwrap_or("null") });
        html.raw("</script>\n<script nonce=\"").raw(self.nonce).raw("\">").raw(include_str!("page.js"));
        html.raw("</script>\n</body></html>\n");
        html.finish()
    }

    fn write_head(&self, html: &mut Html) {
        let description = self.description;
        html.raw("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>").text(&description.command);
        html.raw(" pipelines</title><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
        html.raw("<link rel=\"icon\" href=\"data:,\"><style nonce=\"").raw(self.nonce).raw("\">");
        html.raw(include_str!("page.css"))
            .raw("</style></head>\n<body data-next-log=\"")
            .number(self.snapshot.next_log);
        html.raw("\" data-generation=\"").number(self.snapshot.generation);
        html.raw(if self.drawing.is_large { "\" data-large=\"\">\n" } else { "\">\n" })
            .raw(SHAPES)
            .raw("<header><h1>")
            .text(&description.command);
        html.raw(" <span class=\"dim\">").text(&description.version).raw("</span></h1>\n<ul class=\"facts\">");
        html.raw("<li>up <b id=\"uptime\">").number(self.snapshot.uptime.as_secs()).raw(" s</b></li>");
        html.raw("<li>CPU <b id=\"cpu\">–</b></li><li>memory <b id=\"m-resident\">");
        html.text(&bytes(self.snapshot.memory.resident)).raw("</b></li><li>components: <b id=\"health\">");
        html.text(&self.health()).raw("</b></li><li class=\"dim\" id=\"connection\">as of ");
        html.text(&time_text(self.snapshot.unix_ms.saturating_mul(1_000_000)));
        html.raw("</li></ul><p class=\"sr\" id=\"announce\" role=\"status\"></p></header>\n");
    }

    /// Searching. In a large graph the server does it, with and without a script.
    fn write_controls(&self, html: &mut Html) {
        html.raw("<form id=\"controls\" role=\"search\"").raw(if self.drawing.is_large { ">" } else { " hidden>" });
        html.raw("<label>Search <input id=\"search\" name=\"q\" type=\"search\" autocomplete=\"off\" value=\"")
            .text(&self.view.text);
        html.raw(
            "\"></label><label>Pipeline <select id=\"pipeline\" name=\"pipeline\"><option value=\"\">all</option>",
        );
        let start = html.len();
        for (index, pipeline) in self.description.pipelines.iter().enumerate() {
            let is_chosen = self.view.pipeline == Some(index);
            if html.len() - start > MAX_PIPELINES && !is_chosen {
                continue;
            }
            html.raw("<option value=\"").number(index).raw(if is_chosen { "\" selected>" } else { "\">" });
            html.text(&shortened(&pipeline.id.to_string(), 80)).raw("</option>");
        }
        html.raw("</select></label>").raw(if self.drawing.is_large { "<button>Show</button>" } else { "" });
        html.raw("</form>\n<p id=\"no-script\">Load the page again for new numbers.</p>\n");
    }

    /// The address of this page with these groups open.
    fn address(&self, open: &[&str]) -> String {
        let mut query = query_pair("q", &self.view.text);
        if let Some(pipeline) = self.view.pipeline {
            query.push_str(&format!("&pipeline={pipeline}"));
        }
        for key in open {
            query.push_str(&format!("&{}", query_pair("open", key)));
        }
        format!("?{query}")
    }

    fn write_graph(&self, html: &mut Html) {
        let drawing = self.drawing;
        html.raw("<section><h2 id=\"h-graph\">Pipelines</h2>\n");
        let opened: Vec<&str> = drawing.opened.iter().map(|(key, _)| key.as_str()).collect();
        if drawing.is_large {
            html.raw("<p id=\"groups\">Many components: those of one kind and signal are drawn as one. A click on one shows its members. ");
            for (key, name) in &drawing.opened {
                let others: Vec<&str> = opened.iter().copied().filter(|one| one != key).collect();
                html.raw("<a href=\"").text(&self.address(&others)).raw("\">Close the ");
                html.text(name).raw("</a> ");
            }
            if *self.view != View::default() {
                html.raw("<a href=\"?\">Show all</a>");
            }
            html.raw("</p>\n");
        }
        if drawing.nodes.is_empty() {
            html.raw("<p>There is no component").raw(if drawing.is_large { " that was searched for" } else { "" });
            html.raw(".</p>\n</section>\n");
            return;
        }
        html.raw("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"h-graph\">\n");
        let open_group = |key: &str| self.address(&[&opened[..], &[key]].concat());
        write_picture(html, drawing, self.places, self.snapshot, &open_group);
        html.raw("</div>\n<p class=\"dim\">Circle: works. Triangle: fails, and may recover. Square: fails until it is changed. ");
        html.raw("Ring: starts. Bar: does not run. A thick line carries items now.");
        if drawing.omitted_nodes + drawing.omitted_edges > 0 {
            html.raw(" Not drawn for want of room: ").number(drawing.omitted_nodes).raw(" components or groups, ");
            html.number(drawing.omitted_edges).raw(" lines.");
        }
        html.raw("</p>\n</section>\n");
    }

    fn write_connections(&self, html: &mut Html) {
        html.raw("<section><h2 id=\"h-connections\">Connections</h2>\n");
        match &self.snapshot.connections {
            Some(connections) => {
                connections.write(html);
                html.raw("</section>\n");
            }
            None => self.write_hidden(html, "list of connections"),
        }
    }

    /// How many components have each status.
    fn health(&self) -> String {
        let mut counts = std::collections::BTreeMap::new();
        for status in self.snapshot.nodes.iter().filter_map(|node| node.status.as_ref()) {
            *counts.entry(status.status).or_insert(0_usize) += 1;
        }
        let texts = counts.iter().map(|(status, count)| format!("{count} {}", status.name().replace('_', " ")));
        texts.collect::<Vec<_>>().join(", ")
    }

    fn write_nodes(&self, html: &mut Html) {
        html.raw("<section><h2 id=\"h-nodes\">Components</h2>\n");
        html.raw("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"h-nodes\"><table><thead><tr>");
        for (name, class) in [
            ("Component", ""),
            ("Status", ""),
            ("Items a second", "n"),
            ("In", "n"),
            ("Out", "n"),
            ("Refused", "n"),
            ("Dropped", "n"),
            ("Failed", "n"),
            ("Held", "n"),
            ("Queue", ""),
            ("Last error", ""),
        ] {
            html.raw("<th scope=\"col\" class=\"").raw(class).raw("\">").raw(name).raw("</th>");
        }
        html.raw("</tr></thead><tbody>\n");
        let (start, mut shown) = (html.len(), 0);
        let rows = self.rows_of_nodes();
        for index in &rows {
            let (Some(node), Some(state)) = (self.graph.nodes.get(*index), self.snapshot.nodes.get(*index)) else {
                continue;
            };
            if html.len() - start > self.max_table() {
                break;
            }
            shown += 1;
            html.raw("<tr id=\"n")
                .number(index)
                .raw("\"><th scope=\"row\">")
                .text(&node.id)
                .raw(" <span class=\"dim\">");
            html.raw(node.kind.name());
            if !node.instance.is_empty() {
                html.raw(", ").text(&node.instance);
            }
            html.raw("</span></th>");
            let shape = shape_of(state);
            html.raw("<td class=\"state\" data-k=\"status\"><svg width=\"14\" height=\"14\" aria-hidden=\"true\"><use href=\"#s-").raw(shape);
            html.raw("\" data-shape=\"").raw(shape).raw("\"/></svg><span>");
            html.text(&status_name(node.kind, state).replace('_', " "))
                .raw("</span></td><td class=\"n\" data-k=\"rate\"></td>");
            write_counts(html, state);
            html.raw("</tr>\n");
        }
        html.raw("</tbody></table></div>\n");
        write_omitted(html, shown, rows.len());
        html.raw("</section>\n");
    }

    /// The components by number, in the order of the table: of a large graph those that are drawn, then those that fail.
    fn rows_of_nodes(&self) -> Vec<usize> {
        let has_row = |index: &usize| self.graph.nodes[*index].kind != NodeKind::Pipeline;
        let mut rows: Vec<usize> = (0..self.graph.nodes.len()).filter(has_row).collect();
        if self.drawing.is_large {
            let single = self.drawing.single_nodes();
            let fails = |index: usize| {
                self.snapshot.nodes.get(index).is_some_and(|state| matches!(shape_of(state), "bad" | "warn"))
            };
            rows.sort_by_key(|index| (!single.contains(index), !fails(*index)));
        }
        rows
    }

    /// Of a graph that is drawn without groups every row has room.
    fn max_table(&self) -> usize {
        if self.drawing.is_large { MAX_TABLE_OF_MANY } else { MAX_TABLE }
    }

    /// The edges by number, in the order of the table.
    fn rows_of_edges(&self) -> Vec<usize> {
        let mut rows: Vec<usize> = (0..self.graph.edges.len()).collect();
        if self.drawing.is_large {
            let single: std::collections::BTreeSet<usize> =
                self.drawing.edges.iter().filter(|members| members.len() == 1).flatten().copied().collect();
            rows.sort_by_key(|index| !single.contains(index));
        }
        rows
    }

    fn write_edges(&self, html: &mut Html) {
        html.raw("<section><h2 id=\"h-edges\">Flow of items</h2>\n");
        html.raw("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"h-edges\"><table><thead><tr>");
        html.raw("<th scope=\"col\">From</th><th scope=\"col\">To</th><th scope=\"col\">Signal</th><th scope=\"col\">Pipeline</th>");
        html.raw(
            "<th scope=\"col\" class=\"n\">Items a second</th><th scope=\"col\" class=\"n\">Bytes a second</th>\
            <th scope=\"col\" class=\"n\">Items</th><th scope=\"col\">Sample</th></tr></thead><tbody>\n",
        );
        let name = |node: usize| self.graph.nodes.get(node).map_or("", |node| node.id.as_str());
        let (start, mut shown) = (html.len(), 0);
        let rows = self.rows_of_edges();
        for index in &rows {
            let (Some(edge), Some(items)) = (self.graph.edges.get(*index), self.snapshot.edges.get(*index)) else {
                continue;
            };
            if html.len() - start > self.max_table() {
                break;
            }
            shown += 1;
            let pipeline = self.description.pipelines.get(edge.pipeline).map(|pipeline| pipeline.id.to_string());
            html.raw("<tr id=\"e").number(index).raw("\"><th scope=\"row\">").text(name(edge.from)).raw("</th>");
            html.cell(name(edge.to)).cell(edge.signal.name()).cell(&pipeline.unwrap_or_default());
            html.raw("<td class=\"n\" data-k=\"rate\"></td><td class=\"n\" data-k=\"bytes\"></td><td class=\"n\" data-k=\"items\">");
            match items {
                Some(items) => html.number(items),
                None => html.raw("not counted"),
            };
            html.raw("</td><td>");
            if self.log.is_some() {
                // The script shows it.
                html.raw("<button type=\"button\" hidden data-sample=\"")
                    .number(index)
                    .raw("\">Look<span class=\"sr\"> at ");
                html.text(name(edge.from)).raw(" to ").text(name(edge.to)).raw("</span></button>");
            }
            html.raw("</td></tr>\n");
        }
        html.raw("</tbody></table></div>\n");
        write_omitted(html, shown, rows.len());
        html.raw("</section>\n");
    }

    /// The place of live samples, which the script fills.
    fn write_sample(&self, html: &mut Html) {
        if self.log.is_none() {
            return;
        }
        html.raw("<section id=\"sample\" hidden><h2 id=\"h-sample\" tabindex=\"-1\">Live sample of <span id=\"sample-name\"></span></h2>\n");
        html.raw(
            "<form id=\"sample-form\"><label>Only where <input id=\"sample-where\" size=\"40\" spellcheck=\"false\" ",
        );
        html.raw("placeholder='span.name == \"GET /\"'></label><button>Look</button>");
        html.raw("<button type=\"button\" id=\"sample-stop\">Stop</button><span class=\"dim\" id=\"sample-state\" role=\"status\"></span></form>\n");
        html.raw("<pre id=\"sample-text\" class=\"tall\" tabindex=\"0\" aria-labelledby=\"h-sample\" role=\"region\"></pre>\n");
        html.raw("<div id=\"sample-plots\" class=\"scroll\" tabindex=\"0\" aria-labelledby=\"h-sample\" role=\"region\" hidden>");
        html.table(
            "The last 120 values of each series",
            &["metric", "attributes", "plot", "last", "lowest", "highest"],
        );
        html.raw("</tbody><tbody id=\"plots\">")
            .end_table()
            .raw("<p class=\"dim\" id=\"plots-more\"></p></div></section>\n");
    }

    fn write_memory(&self, html: &mut Html) {
        let memory = &self.snapshot.memory;
        let optional = |value: Option<u64>| value.map_or_else(|| "none".to_owned(), bytes);
        html.raw("<section><h2 id=\"h-memory\">Memory</h2>\n<div class=\"scroll\"><table><tbody>\n");
        for (name, id, value) in [
            ("Telemetry that is held", "m-held", bytes(memory.held)),
            ("State that components keep", "m-kept", bytes(memory.kept)),
            ("Limit of the two together (memory_limiter)", "m-limit", optional(memory.limit)),
            ("Data are refused from this on", "m-admission_limit", optional(memory.admission_limit)),
            ("Memory of the machine or container", "m-total", optional(memory.total)),
        ] {
            html.raw("<tr><th scope=\"row\">")
                .raw(name)
                .raw("</th><td class=\"n\" id=\"")
                .raw(id)
                .raw("\">")
                .text(&value);
            html.raw("</td></tr>\n");
        }
        html.raw("</tbody></table></div>\n");
        if let Some(limit) = memory.limit.filter(|limit| *limit > 0) {
            let share = (memory.held.saturating_add(memory.kept)) as f64 / limit as f64;
            html.raw("<p><label>Share of the limit <meter id=\"m-meter\" min=\"0\" max=\"1\" high=\"0.8\" value=\"")
                .number(share.min(1.0));
            html.raw("\"></meter></label></p>\n");
        }
        html.raw("</section>\n");
    }

    fn write_log(&self, html: &mut Html) {
        html.raw("<section><h2 id=\"h-log\">Own log</h2>\n");
        let Some(log) = self.log else { return self.write_hidden(html, "log") };
        html.raw("<div class=\"scroll tall\" tabindex=\"0\" role=\"region\" aria-labelledby=\"h-log\"><table class=\"log\"><caption>The last records, the newest first</caption>");
        html.raw("<thead><tr><th scope=\"col\">Time</th><th scope=\"col\">Level</th><th scope=\"col\">Component</th><th scope=\"col\">Record</th></tr></thead><tbody id=\"log\">\n");
        let start = html.len();
        for record in log.iter().rev() {
            if html.len() - start > MAX_LOG {
                break;
            }
            html.raw("<tr class=\"")
                .raw(record.level.name())
                .raw("\">")
                .cell(&time_text(record.time.0))
                .cell(record.level.name());
            html.cell(&record.component).cell(&shortened(&record.text, 2000)).raw("</tr>\n");
        }
        html.raw("</tbody></table></div>\n");
        if log.is_empty() {
            html.raw("<p id=\"no-log\">No record yet, at the level that <code>service::telemetry::logs::level</code> has.</p>\n");
        }
        html.raw("</section>\n");
    }

    fn write_config(&self, html: &mut Html) {
        html.raw("<section><h2 id=\"h-config\">Effective configuration</h2>\n");
        if self.log.is_none() {
            return self.write_hidden(html, "configuration");
        }
        let room = MAX_PAGE.saturating_sub(html.len() + REST_OF_PAGE);
        let origins = self.description.origins.as_ref();
        let config = origins.and_then(|origins| to_annotated_yaml(&self.description.config, origins, true, room));
        // With its escapes it may be longer.
        let mut text = Html::default();
        text.text(config.as_deref().unwrap_or_default());
        if config.is_none() || text.len() > room {
            html.raw("<p>It is long: <a href=\"/api/v1/config\">/api/v1/config</a>.</p></section>\n");
            return;
        }
        html.raw("<details><summary>Every key with its value, and where that came from; secrets are left out</summary><pre tabindex=\"0\">");
        html.raw(&text.finish()).raw("</pre></details></section>\n");
    }

    fn write_hidden(&self, html: &mut Html, what: &str) {
        html.raw("<p>The ")
            .raw(what)
            .raw(" is shown at a loopback address or with <code>auth</code> only. This page can be read ");
        html.raw("from other machines without it.</p></section>\n");
    }
}

fn write_omitted(html: &mut Html, shown: usize, rows: usize) {
    if shown < rows {
        html.raw("<p>")
            .number(shown)
            .raw(" of ")
            .number(rows)
            .raw(" rows are here. Open a group, search, or choose a pipeline for ");
        html.raw("others; <a href=\"/api/v1/state\">/api/v1/state</a> has all.</p>\n");
    }
}

fn write_counts(html: &mut Html, state: &NodeState) {
    for (key, count) in state.counts.named() {
        html.raw("<td class=\"n\" data-k=\"").raw(key).raw("\">");
        if let Some(count) = count {
            html.number(count);
        }
        html.raw("</td>");
    }
    html.raw("<td data-k=\"queue\">");
    for (index, (signal, queue)) in state.queues.iter().enumerate() {
        let number = |value: Option<u64>| value.map_or_else(|| "?".to_owned(), |value| value.to_string());
        html.raw(if index > 0 { "; " } else { "" }).raw(signal.name()).raw(" ").text(&number(queue.size)).raw(" of ");
        html.text(&number(queue.capacity));
        if let Some(age) = queue.oldest_seconds.filter(|age| *age > 0.0) {
            html.raw(", oldest ").number(age.round()).raw(" s");
        }
    }
    html.raw("</td><td class=\"msg\" data-k=\"message\">");
    match &state.status {
        Some(status) if !status.message.is_empty() => {
            html.text(&shortened(&status.message, MAX_MESSAGE)).raw(" (since ").text(&time_text(status.changed_at.0));
            if let Some(count) = status.last_error.as_ref().map(|last| last.count).filter(|count| *count > 1) {
                html.raw(", ").number(count).raw(" times");
            }
            html.raw(")");
        }
        Some(ComponentStatusEntry { last_error: Some(last), .. }) => {
            html.raw("works again; before: ")
                .text(&shortened(&last.message, MAX_MESSAGE))
                .raw(" (")
                .text(&time_text(last.at.0));
            if last.count > 1 {
                html.raw(", ").number(last.count).raw(" times");
            }
            html.raw(")");
        }
        _ => {}
    }
    html.raw("</td>");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use otelcore_pipeline::{LogEntry, LogField, LogLevel, LogSink, Logger, RecentLog};

    use super::*;
    use crate::zpages::connections::Connections;
    use crate::zpages::layout;
    use crate::zpages::tests::{example, large_example};

    struct AllRecords;

    impl LogSink for AllRecords {
        fn enabled(&self, _: LogLevel) -> bool {
            true
        }
        fn log(&self, _: &LogEntry<'_>) {}
    }

    fn page_of(description: &CollectorDescription, view: &View, log: Option<&[RecentLogRecord]>) -> String {
        let graph = ComponentGraph::new(description);
        let drawing = Drawing::new(&graph, view);
        let places = layout::place(&drawing.graph);
        let snapshot = Snapshot {
            nodes: vec![NodeState::default(); graph.nodes.len()],
            edges: vec![Some(5); graph.edges.len()],
            is_counted: true,
            connections: log.map(|_| Connections::default()),
            ..Snapshot::default()
        };
        let page = LivePage {
            description,
            graph: &graph,
            drawing: &drawing,
            places: &places,
            view,
            snapshot: &snapshot,
            log,
            nonce: "abc",
        };
        page.write()
    }

    fn page(log: Option<&[RecentLogRecord]>) -> String {
        page_of(&example(), &View::default(), log)
    }

    #[test]
    fn page_of_many_components_is_bounded_and_groups_can_be_opened_without_a_script() {
        let description = large_example(1000);
        let text = "<".repeat(1024);
        let recent = RecentLog::new(Arc::new(AllRecords), || 0);
        recent.keep();
        (0..100).for_each(|_| Logger::new(recent.clone()).info("record", &[("text", LogField::Str(&text))]));
        let log = recent.records();
        assert_eq!(log.len(), 100);
        let all = page_of(&description, &View::default(), Some(&log));
        let (_, rest) = all.split_once("?q=&amp;open=receiver").unwrap();
        let key = format!("receiver{}", rest.split('"').next().unwrap());
        let many_small = CollectorDescription { pipelines: large_example(7).pipelines, ..example() };
        let page = page_of(&many_small, &View::default(), Some(&log));
        assert!(page.len() < MAX_PAGE && !page.contains("rows are here"), "{}", page.len());
        for query in ["", "q=debug", "q=debug%2F77", "pipeline=3", &format!("open={key}"), "open=exporter-traces-4"] {
            let view = View::parse(query, 1000);
            let page = page_of(&description, &view, Some(&log));
            assert!(page.len() < MAX_PAGE, "{query}: {}", page.len());
            assert!(
                page.contains("<svg role=\"group\"") && page.contains("rows are here") || query == "pipeline=3",
                "{query}"
            );
        }
        let opened = page_of(&description, &View::parse(&format!("open={key}"), 1000), Some(&log));
        assert!(opened.contains("Close the ") && opened.contains("aria-label=\"otlp/"), "{key}");
    }

    #[test]
    fn page_is_complete_and_no_name_is_markup() {
        let page = page(Some(&[]));
        assert!(page.len() < 150 << 10, "{}", page.len());
        assert!(page.contains("traces/&lt;b&gt;") && page.contains("batch/&quot;&gt;&lt;script&gt;"));
        assert!(!page.contains("batch/\"><script>") && !page.contains("<b>debug"));
        assert_eq!(page.matches("<script").count(), 2, "one of data and one of code");
        assert_eq!(page.matches("nonce=\"abc\"").count(), 3);
        for outside in ["http://", "https://", "//", "@import", "url("] {
            let markup = page.split("\"use strict\"").next().unwrap();
            assert!(!markup.contains(outside), "{outside}: nothing comes from elsewhere");
        }
        assert!(!page.contains(" style=") && !page.contains(" onclick="), "the policy of the page forbids them");
    }

    #[test]
    fn secrets_are_redacted_and_the_configuration_is_hidden_from_other_machines() {
        let local = page(Some(&[]));
        assert!(local.contains("[REDACTED]") && !local.contains("hunter2") && local.contains("&lt;here&gt;"));
        assert!(local.contains("# yaml::1") && local.contains("# yaml::2"), "each value has its place");
        let open = page(None);
        assert!(!open.contains("here&gt;") && open.contains("The configuration is shown at a loopback address"));
    }
}
