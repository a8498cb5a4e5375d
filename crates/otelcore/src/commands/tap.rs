//! `tap`: prints what passes an edge of a running collector, read from its live page.
//!
//! Owns the loop over requests: the page ends each response after some time, and the next one goes on.

use std::rc::Rc;

use otelcore_net::query_escape;
use otelcore_reactor::{Signals, signal};
use serde_json::Value;

use super::args::GivenFlags;
use super::page_client::{Ended, PageTarget, RequestFailure, Wanted};
use super::{Terminal, print_error};

const DEFAULT_LIMIT: u64 = 100;
/// The most items in one request, which the page has too.
const MAX_REQUEST_LIMIT: u64 = 10_000;
/// The longest line of OTLP/JSON whose items are counted.
const MAX_LINE: usize = 16 << 20;

/// Runs the command.
pub(super) fn run(edge: Option<&str>, flags: &GivenFlags, terminal: &mut Terminal<'_>) -> u8 {
    match tap(edge, flags, terminal) {
        Ok(()) => 0,
        Err(e) => print_error(terminal, &e),
    }
}

fn tap(edge: Option<&str>, flags: &GivenFlags, terminal: &mut Terminal<'_>) -> Result<(), String> {
    let target = PageTarget::read(flags.value("url"), flags)?;
    let signals = Rc::new(Signals::catch(&[signal::TERM, signal::INT]).map_err(|e| e.to_string())?);
    let Some(edge) = edge else { return list_edges(&target, &signals, terminal) };
    let limit = flags.value("limit").map_or(Ok(DEFAULT_LIMIT), str::parse);
    let mut left = limit.ok().filter(|limit| *limit > 0).ok_or("--limit must be a positive number")?;
    let is_json = flags.value("format") == Some("json");
    let condition = flags.value("where").unwrap_or_default();
    let mut counter = ItemCounter { is_json, ..ItemCounter::default() };
    while left > 0 {
        let path = format!(
            "/api/v1/samples?edge={}&limit={}&format={}&where={}",
            query_escape(edge),
            left.min(MAX_REQUEST_LIMIT),
            if is_json { "json" } else { "text" },
            query_escape(condition)
        );
        let mut shown = 0;
        let result = target.get(&path, None, &signals, terminal, &mut |part, terminal| {
            if !part.is_empty() && (terminal.out.write_all(part).is_err() || terminal.out.flush().is_err()) {
                // The reader of the output has gone.
                shown = left;
                return Wanted::Enough;
            }
            shown += counter.add(part);
            Wanted::More
        });
        left = left.saturating_sub(shown);
        match result {
            Ok(Ended::Complete) => {}
            Ok(Ended::Enough | Ended::Interrupted) => return Ok(()),
            Err(e @ (RequestFailure::Refused(_) | RequestFailure::NoResponse(_))) => return Err(e.to_string()),
        }
    }
    Ok(())
}

/// Counts the items in samples as they arrive.
#[derive(Debug, Default)]
struct ItemCounter {
    is_json: bool,
    line: Vec<u8>,
}

impl ItemCounter {
    fn add(&mut self, part: &[u8]) -> u64 {
        let mut items = 0;
        for piece in part.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + piece.len() <= MAX_LINE {
                self.line.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                items += self.items_of_line();
                self.line.clear();
            }
        }
        items
    }

    fn items_of_line(&self) -> u64 {
        if self.is_json {
            return serde_json::from_slice(&self.line).map_or(0, |request: Value| items_of(&request));
        }
        // Before each sample stands `# 3 spans`.
        let text = String::from_utf8_lossy(&self.line);
        text.strip_prefix("# ").and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap_or(0)
    }
}

/// Spans, data points or log records in a request of OTLP/JSON. Its depth is bounded: attributes are not looked into.
fn items_of(request: &Value) -> u64 {
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut items = 0;
    for resource in ["resourceSpans", "resourceMetrics", "resourceLogs"].iter().flat_map(|key| list(request, key)) {
        for scope in ["scopeSpans", "scopeMetrics", "scopeLogs"].iter().flat_map(|key| list(&resource, key)) {
            items += list(&scope, "spans").len() + list(&scope, "logRecords").len();
            for metric in list(&scope, "metrics") {
                let kinds = ["gauge", "sum", "histogram", "exponentialHistogram", "summary"];
                let points =
                    kinds.iter().filter_map(|kind| metric.get(kind)).map(|data| list(data, "dataPoints").len());
                items += points.sum::<usize>();
            }
        }
    }
    items as u64
}

/// Prints a line for each edge.
fn list_edges(target: &PageTarget, signals: &Rc<Signals>, terminal: &mut Terminal<'_>) -> Result<(), String> {
    let mut text = Vec::new();
    let result = target.get("/api/v1/graph", None, signals, terminal, &mut |part, _| {
        text.extend_from_slice(part);
        if text.len() > MAX_LINE { Wanted::Enough } else { Wanted::More }
    });
    result.map_err(|e| e.to_string())?;
    let graph: Value = serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", target.base()))?;
    let empty = Vec::new();
    let list = |key: &str| graph.get(key).and_then(Value::as_array).unwrap_or(&empty);
    let (nodes, pipelines) = (list("nodes"), list("pipelines"));
    let name = |list: &[Value], edge: &Value, key: &str| {
        let index = edge.get(key).and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok());
        let id = index.and_then(|index| list.get(index)).and_then(|node| node.get("id")).and_then(Value::as_str);
        super::plain_text(id.unwrap_or("?"))
    };
    let mut out = String::from("Edges; write one as `otelcore tap EDGE`:\n");
    for edge in list("edges") {
        let (from, to, pipeline) =
            (name(nodes, edge, "from"), name(nodes, edge, "to"), name(pipelines, edge, "pipeline"));
        out.push_str(&format!("  {pipeline}:{from}->{to}\n"));
    }
    let _ = terminal.out.write_all(out.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_counted_across_parts_of_both_forms() {
        let mut text = ItemCounter::default();
        let counts = ["# 3 spans\ntrace x\n# 1", "2 spans\n", "# x\n"].map(|part| text.add(part.as_bytes()));
        assert_eq!(counts, [3, 12, 0]);
        let mut json = ItemCounter { is_json: true, ..ItemCounter::default() };
        let spans = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{},{}]}]}]}"#;
        let points = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"sum":{"dataPoints":[{}]}},{"summary":{"dataPoints":[{},{}]}}]}]}]}"#;
        assert_eq!(json.add(format!("{spans}\n{points}").as_bytes()), 2);
        assert_eq!(json.add(b"\nx\n"), 3);
    }
}
