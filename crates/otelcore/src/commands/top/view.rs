//! The lines of `top`: the state of a moment as tables that fit a number of columns.
//!
//! Pure: states go in as JSON, lines come out. Whatever is missing in a state is shown as empty.

use serde_json::Value;

use super::super::plain_text;

/// A graph, with the last two states.
#[derive(Debug)]
pub(super) struct View {
    graph: Value,
    current: Option<Value>,
    previous: Option<Value>,
}

/// A column: its name, its width at least, and whether it is a number, which is aligned to the right.
type Column = (&'static str, usize, bool);

fn number(value: &Value, key: &str) -> Option<f64> {
    value.get(key).and_then(Value::as_f64)
}

fn text(value: &Value, key: &str) -> String {
    plain_text(value.get(key).and_then(Value::as_str).unwrap_or_default())
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A number with three digits and a unit.
fn short(value: f64) -> String {
    for (size, unit) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if value >= size {
            let scaled = value / size;
            return if scaled >= 100.0 { format!("{scaled:.0}{unit}") } else { format!("{scaled:.1}{unit}") };
        }
    }
    if value.fract() == 0.0 || value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

fn bytes(value: f64) -> String {
    let (mut rest, mut unit) = (value, 0);
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    while rest >= 1024.0 && unit + 1 < UNITS.len() {
        rest /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 { format!("{rest:.0} {name}") } else { format!("{rest:.1} {name}") }
}

fn duration(milliseconds: f64) -> String {
    let seconds = (milliseconds / 1000.0) as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// The text in this number of columns; a longer one ends in `~`.
fn fit(text: &str, width: usize, is_number: bool) -> String {
    if text.chars().count() > width {
        let cut: String = text.chars().take(width.saturating_sub(1)).collect();
        return if width == 0 { cut } else { format!("{cut}~") };
    }
    if is_number { format!("{text:>width$}") } else { format!("{text:width$}") }
}

impl View {
    pub(super) fn new(graph: Value) -> Result<Self, String> {
        if graph.get("nodes").is_none_or(|nodes| !nodes.is_array()) {
            return Err("the answer has no nodes: is it the live page of otelcore?".to_owned());
        }
        Ok(Self { graph, current: None, previous: None })
    }

    /// Takes the next state. False where it is of another configuration or another process.
    pub(super) fn add_state(&mut self, state: Value) -> bool {
        let is_same = state.get("generation") == self.graph.get("generation");
        let uptime = |state: &Value| number(state, "uptime_ms").unwrap_or(0.0);
        let goes_on = self.current.as_ref().is_none_or(|current| uptime(&state) >= uptime(current));
        if !is_same || !goes_on {
            return false;
        }
        self.previous = self.current.replace(state);
        true
    }

    /// Whether there are two states.
    pub(super) fn has_rates(&self) -> bool {
        self.previous.is_some()
    }

    fn seconds(&self) -> f64 {
        let uptime = |state: &Option<Value>| state.as_ref().and_then(|state| number(state, "uptime_ms")).unwrap_or(0.0);
        (uptime(&self.current) - uptime(&self.previous)) / 1000.0
    }

    /// A rate between the last two states of a count that `read` finds.
    fn rate(&self, read: impl Fn(&Value) -> Option<f64>) -> Option<f64> {
        let (now, before) = (read(self.current.as_ref()?)?, read(self.previous.as_ref()?)?);
        let seconds = self.seconds();
        (seconds > 0.0 && now >= before).then(|| (now - before) / seconds)
    }

    /// The lines, at most `height` of them, none longer than `width`.
    pub(super) fn lines(&self, width: usize, height: Option<usize>) -> Vec<String> {
        let Some(state) = &self.current else { return Vec::new() };
        let mut lines = vec![fit(&self.head(state), width, false).trim_end().to_owned()];
        let memory = state.get("memory").unwrap_or(&Value::Null);
        let of = |key: &str| number(memory, key).map_or_else(|| "none".to_owned(), bytes);
        let line = format!(
            "held {}, kept {}, limit {}, refuses from {}, of {} memory",
            of("held_bytes"),
            of("kept_bytes"),
            of("limit_bytes"),
            of("admission_limit_bytes"),
            of("total_bytes")
        );
        lines.push(fit(&line, width, false).trim_end().to_owned());
        lines.push(String::new());
        self.put_components(state, width, &mut lines);
        lines.push(String::new());
        self.put_edges(width, &mut lines);
        put_connections(state, width, &mut lines);
        for line in &mut lines {
            if line.chars().count() > width {
                *line = fit(line, width, false);
            }
        }
        if let Some(height) = height
            && lines.len() > height
        {
            let hidden = lines.len() - height.saturating_sub(1);
            lines.truncate(height.saturating_sub(1));
            lines.push(fit(&format!("... {hidden} more lines"), width, false).trim_end().to_owned());
        }
        lines
    }

    fn head(&self, state: &Value) -> String {
        let cpu = self.rate(|state| number(state, "cpu_seconds"));
        let memory = state.get("memory").and_then(|memory| number(memory, "resident_bytes"));
        format!(
            "{} {}  up {}  CPU {}  memory {}",
            text(&self.graph, "command"),
            text(&self.graph, "version"),
            duration(number(state, "uptime_ms").unwrap_or(0.0)),
            cpu.map_or_else(|| "-".to_owned(), |cpu| format!("{:.1} %", cpu * 100.0)),
            memory.map_or_else(String::new, bytes)
        )
    }

    fn put_components(&self, state: &Value, width: usize, lines: &mut Vec<String>) {
        const COLUMNS: [Column; 8] = [
            ("COMPONENT", 24, false),
            ("STATUS", 11, false),
            ("ITEMS/S", 8, true),
            ("REFUSED", 7, true),
            ("DROPPED", 7, true),
            ("FAILED", 7, true),
            ("HELD", 6, true),
            ("QUEUE", 0, false),
        ];
        let is_wide = width >= 160;
        // A wide table has the queue and the last error in the same line.
        let fixed: usize = COLUMNS.iter().map(|(_, width, _)| width + 1).sum();
        let (name, queue) =
            if is_wide { (44.min(width - fixed), 24) } else { (width.saturating_sub(fixed - 24 - 1).max(12), 0) };
        let error = if is_wide { width.saturating_sub(fixed - 24 + name + queue + 1) } else { 0 };
        let widths = COLUMNS.map(|(title, width, _)| match title {
            "COMPONENT" => name,
            "QUEUE" => queue,
            _ => width,
        });
        let put = |cells: &[String], error_text: &str, lines: &mut Vec<String>| {
            let mut line = String::new();
            for ((cell, width), (_, _, is_number)) in cells.iter().zip(widths).zip(COLUMNS) {
                if width > 0 {
                    line.push_str(&fit(cell, width, is_number));
                    line.push(' ');
                }
            }
            line.push_str(&fit(error_text, error, false));
            lines.push(line.trim_end().to_owned());
        };
        put(&COLUMNS.map(|(title, ..)| title.to_owned()), "LAST ERROR", lines);
        for (index, (node, state)) in list(&self.graph, "nodes").iter().zip(list(state, "nodes")).enumerate() {
            let kind = text(node, "kind");
            if kind == "pipeline" {
                continue;
            }
            let instance = text(node, "instance");
            let name = match (instance.as_str(), is_wide) {
                ("", _) => format!("{kind} {}", text(node, "id")),
                (instance, true) => format!("{kind} {} ({instance})", text(node, "id")),
                // The instance says enough: a pipeline for a processor, signals for a connector.
                (instance, false) => format!("{} ({instance})", text(node, "id")),
            };
            let flow = ["out", "in"].into_iter().find_map(|key| {
                number(state, key)?;
                self.rate(|state| number(list(state, "nodes").get(index)?, key))
            });
            let count = |key: &str| number(state, key).map_or_else(String::new, short);
            let queues: Vec<String> = list(state, "queues").iter().map(queue_text).collect();
            let cells = [
                name,
                text(state, "status").replace("recoverable_error", "failing").replace("permanent_error", "error"),
                flow.map_or_else(String::new, short),
                count("refused"),
                count("dropped"),
                count("failed"),
                count("held"),
                queues.join(", "),
            ];
            let error_text = error_of(state);
            put(&cells, &error_text, lines);
            if !is_wide {
                for detail in queues.iter().map(|queue| format!("queue {queue}")).chain(Some(error_text)) {
                    if !detail.is_empty() {
                        lines.push(format!("    {}", fit(&detail, width.saturating_sub(4), false).trim_end()));
                    }
                }
            }
        }
    }

    fn put_edges(&self, width: usize, lines: &mut Vec<String>) {
        let pipelines: Vec<String> = list(&self.graph, "pipelines").iter().map(|p| text(p, "id")).collect();
        let nodes = list(&self.graph, "nodes");
        let name = |edge: &Value, key: &str| {
            let index = edge.get(key).and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok());
            index.and_then(|index| nodes.get(index)).map_or_else(String::new, |node| text(node, "id"))
        };
        let first = width.saturating_sub(24 + 3);
        let put = |cells: [&str; 3], lines: &mut Vec<String>| {
            let [edge, items, bytes] = cells;
            let first = if width >= 140 { 80.min(first) } else { first };
            let line = format!("{} {} {}", fit(edge, first, false), fit(items, 10, true), fit(bytes, 13, true));
            lines.push(line.trim_end().to_owned());
        };
        put(["EDGE", "ITEMS/S", "BYTES/S"], lines);
        for (index, edge) in list(&self.graph, "edges").iter().enumerate() {
            let pipeline = edge.get("pipeline").and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok());
            let pipeline = pipeline.and_then(|index| pipelines.get(index)).map_or("", String::as_str);
            let passed = |key: &str| self.rate(|state| number(list(state, "passed").get(index)?, key));
            let label = format!("{pipeline}:{}->{}", name(edge, "from"), name(edge, "to"));
            let items = passed("items").map_or_else(String::new, short);
            let bytes = passed("bytes").map_or_else(String::new, bytes);
            put([&label, &items, &bytes], lines);
        }
    }
}

/// Listeners and destinations with the number of their connections, and the oldest peer. Nothing where the page does not show them.
fn put_connections(state: &Value, width: usize, lines: &mut Vec<String>) {
    let groups = list(state.get("connections").unwrap_or(&Value::Null), "groups");
    if groups.is_empty() {
        return;
    }
    let (component, place) = if width >= 140 { (40, 44) } else { (20, 34) };
    let peer = width.saturating_sub(component + place + 8 + 3);
    let mut put = |cells: [&str; 4]| {
        let [name, at, count, oldest] = cells;
        let (name, at) = (fit(name, component, false), fit(at, place, false));
        let line = format!("{name} {at} {} {}", fit(count, 8, true), fit(oldest, peer, false));
        lines.push(line.trim_end().to_owned());
    };
    put(["", "", "", ""]);
    put(["CONNECTIONS OF", "WHERE", "NUMBER", "OLDEST"]);
    for group in groups {
        let name = format!("{} {}", text(group, "kind"), text(group, "id"));
        let name = if name.trim().is_empty() { "own telemetry" } else { &name };
        let verb = if text(group, "role") == "listener" { "listens at" } else { "connects to" };
        let count = number(group, "count").map_or_else(String::new, short);
        let oldest = list(group, "oldest").first().map_or_else(String::new, |open| {
            let age = duration(number(open, "age_ms").unwrap_or(0.0));
            [text(open, "peer"), text(open, "protocol"), age]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(", ")
        });
        put([name, &format!("{verb} {}", text(group, "address")), &count, &oldest]);
    }
}

fn queue_text(queue: &Value) -> String {
    let of = |key: &str| number(queue, key).map_or_else(|| "?".to_owned(), short);
    format!("{} {} of {}", text(queue, "signal"), of("size"), of("capacity"))
}

/// The error of a node: the current one, or the last one before it worked again.
fn error_of(state: &Value) -> String {
    let message = text(state, "message");
    let last = state.get("last_error").unwrap_or(&Value::Null);
    let count = number(last, "count").filter(|count| *count > 1.0);
    let times = count.map_or_else(String::new, |count| format!(" ({} times)", short(count)));
    match (message.as_str(), text(last, "message")) {
        ("", last) if last.is_empty() => String::new(),
        ("", last) => format!("works again; before: {last}{times}"),
        (message, _) => format!("{message}{times}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(uptime: u64, items: u64) -> Value {
        json!({
            "generation": 0, "uptime_ms": uptime, "cpu_seconds": uptime as f64 / 10_000.0,
            "nodes": [
                {"status": "ok", "message": "", "out": items, "refused": 3},
                {},
                {"status": "recoverable_error", "message": "connection refused\u{1b}[31m", "in": items, "held": 7,
                 "last_error": {"message": "connection refused", "unix_ms": 1, "count": 1200},
                 "queues": [{"signal": "traces", "size": 7, "capacity": 1000, "oldest_seconds": null}]},
            ],
            "passed": [{"items": items, "bytes": items * 100}, {"items": items, "bytes": items * 100}],
            "memory": {"resident_bytes": 5 << 20, "total_bytes": null, "held_bytes": 10, "kept_bytes": 0, "limit_bytes": 1 << 30},
            "connections": {"groups": [
                {"kind": "receiver", "id": "otlp", "role": "listener", "network": "tcp", "address": "127.0.0.1:4317", "count": 1200,
                 "oldest": [{"peer": "10.0.0.1:999", "protocol": "gRPC", "encrypted": false, "age_ms": 62_000, "received_bytes": 1, "sent_bytes": 2}]},
                {"kind": "", "id": "", "role": "destination", "network": "tcp", "address": "10.0.0.2:443", "count": 0, "oldest": []},
            ], "omitted": 0},
        })
    }

    fn view() -> View {
        let node = |kind: &str, id: &str| json!({"kind": kind, "id": id, "instance": "", "signals": ["traces"], "pipelines": [0]});
        let graph = json!({
            "generation": 0, "command": "otelcore", "version": "1.2.3", "pipelines": [{"id": "traces", "signal": "traces", "node": 1}],
            "nodes": [node("receiver", "otlp"), node("pipeline", "traces"), node("exporter", "otlp/a-rather-long-name-of-an-exporter")],
            "edges": [{"from": 0, "to": 1, "signal": "traces", "pipeline": 0}, {"from": 1, "to": 2, "signal": "traces", "pipeline": 0}],
        });
        let mut view = View::new(graph).unwrap();
        assert!(view.add_state(state(60_000, 1000)) && !view.has_rates());
        assert!(view.add_state(state(62_000, 5000)) && view.has_rates());
        view
    }

    #[test]
    fn no_line_is_longer_than_the_terminal_and_everything_is_there() {
        for width in [40, 80, 159, 160, 200] {
            let lines = view().lines(width, None);
            let text = lines.join("\n");
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}\n{text}");
            assert!(!text.contains('\u{1b}'), "{width}\n{text}");
            if width >= 80 {
                for part in [
                    "otelcore 1.2.3  up 1 min 2 s  CPU 10.0 %",
                    "2.0k",
                    "195.3 KiB",
                    "failing",
                    "traces 7 of 1.0k",
                    "connection refused",
                    "(1.2k times)",
                    "listens at 127.0.0.1:4317",
                    "10.0.0.1:999",
                    "own telemetry",
                ] {
                    assert!(text.contains(part), "{width} {part}\n{text}");
                }
            }
        }
    }

    #[test]
    fn lines_beyond_the_height_are_counted() {
        let lines = view().lines(80, Some(5));
        assert_eq!(lines.len(), 5);
        assert!(lines[4].starts_with("... ") && lines[4].ends_with(" more lines"), "{lines:?}");
    }

    #[test]
    fn state_of_another_configuration_or_process_is_refused() {
        let mut view = view();
        assert!(!view.add_state(state(1, 0)), "another process");
        let mut next = state(70_000, 0);
        next["generation"] = json!(1);
        assert!(!view.add_state(next));
        assert!(View::new(json!({})).is_err());
    }
}
