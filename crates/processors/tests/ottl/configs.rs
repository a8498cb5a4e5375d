//! Configurations: statements and conditions over all paths, and functions that only the processors have.

use std::fmt::Write as _;

use otelcore_pdata::Signal;

use crate::Choices;
use crate::bodies::{KEYS, TEXTS};

/// What the values of a path are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Int,
    Double,
    Bool,
    Time,
    Map,
    TraceId,
    SpanId,
    Kept,
    Any,
}

use Kind::{Any, Bool, Double, Int, Kept, Map, SpanId, Text, Time, TraceId};

/// The paths of a context. Those of [`Kept`] kinds are only read, or written with themselves.
fn paths(context: &str) -> &'static [(&'static str, Kind)] {
    match context {
        "resource" => &[("attributes", Map), ("dropped_attributes_count", Int), ("schema_url", Text)],
        "scope" | "instrumentation_scope" => &[
            ("name", Text),
            ("version", Text),
            ("attributes", Map),
            ("dropped_attributes_count", Int),
            ("schema_url", Text),
        ],
        "span" => &[
            ("trace_id", TraceId),
            ("trace_id.string", Text),
            ("span_id", SpanId),
            ("span_id.string", Text),
            ("trace_state", Text),
            ("trace_state[\"a\"]", Text),
            ("parent_span_id", SpanId),
            ("parent_span_id.string", Text),
            ("name", Text),
            ("kind", Int),
            ("kind.string", Text),
            ("kind.deprecated_string", Text),
            ("start_time_unix_nano", Int),
            ("end_time_unix_nano", Int),
            ("start_time", Time),
            ("end_time", Time),
            ("attributes", Map),
            ("dropped_attributes_count", Int),
            ("events", Kept),
            ("dropped_events_count", Int),
            ("links", Kept),
            ("dropped_links_count", Int),
            ("status", Kept),
            ("status.code", Int),
            ("status.message", Text),
            ("flags", Int),
        ],
        "spanevent" => &[
            ("time_unix_nano", Int),
            ("time", Time),
            ("name", Text),
            ("attributes", Map),
            ("dropped_attributes_count", Int),
        ],
        "metric" => &[
            ("name", Text),
            ("description", Text),
            ("unit", Text),
            ("type", Int),
            ("aggregation_temporality", Int),
            ("is_monotonic", Bool),
            ("data_points", Kept),
            ("metadata", Map),
        ],
        "datapoint" => &[
            ("attributes", Map),
            ("start_time_unix_nano", Int),
            ("time_unix_nano", Int),
            ("start_time", Time),
            ("time", Time),
            ("value_double", Double),
            ("value_int", Int),
            ("exemplars", Kept),
            ("flags", Int),
            ("count", Int),
            ("sum", Double),
            ("bucket_counts", Kept),
            ("explicit_bounds", Kept),
            ("scale", Int),
            ("zero_count", Int),
            ("positive", Kept),
            ("positive.offset", Int),
            ("positive.bucket_counts", Kept),
            ("negative", Kept),
            ("negative.offset", Int),
            ("negative.bucket_counts", Kept),
            ("quantile_values", Kept),
        ],
        "log" => &[
            ("time_unix_nano", Int),
            ("observed_time_unix_nano", Int),
            ("time", Time),
            ("observed_time", Time),
            ("severity_number", Int),
            ("severity_text", Text),
            ("body", Any),
            ("body.string", Text),
            ("attributes", Map),
            ("dropped_attributes_count", Int),
            ("flags", Int),
            ("trace_id", TraceId),
            ("trace_id.string", Text),
            ("span_id", SpanId),
            ("span_id.string", Text),
            ("event_name", Text),
        ],
        _ => &[("client.metadata[\"x-tenant\"]", Kept), ("client.metadata[\"x-list\"][1]", Kept)],
    }
}

/// The contexts whose paths a context has.
fn path_contexts(context: &str) -> &'static [&'static str] {
    match context {
        "resource" => &["resource", "otelcol"],
        "scope" => &["scope", "scope", "scope", "resource", "otelcol"],
        "span" => &["span", "span", "span", "span", "resource", "scope", "instrumentation_scope", "otelcol"],
        "spanevent" => &["spanevent", "spanevent", "spanevent", "span", "resource", "scope"],
        "metric" => &["metric", "metric", "metric", "resource", "scope", "otelcol"],
        "datapoint" => &["datapoint", "datapoint", "datapoint", "datapoint", "metric", "resource", "scope"],
        _ => &["log", "log", "log", "log", "resource", "scope", "otelcol"],
    }
}

fn contexts(signal: Signal) -> &'static [&'static str] {
    match signal {
        Signal::Traces => &["resource", "scope", "span", "span", "span", "spanevent"],
        Signal::Metrics => &["resource", "scope", "metric", "metric", "datapoint", "datapoint"],
        Signal::Logs => &["resource", "scope", "log", "log", "log", "log"],
    }
}

/// Statements and conditions of one context.
struct Writer<'c> {
    c: &'c mut Choices,
    context: &'static str,
    /// Paths begin with the name of their context.
    is_inferred: bool,
}

impl Writer<'_> {
    /// A path and what its values are.
    fn path(&mut self) -> (String, Kind) {
        let c = &mut *self.c;
        if c.one_in(12) {
            let key = c.choose(&["[\"k\"]", "", "[\"k\"][\"l\"]"]);
            let name = if self.is_inferred { format!("{}.cache", self.context) } else { "cache".to_owned() };
            return (format!("{name}{key}"), if key.is_empty() { Map } else { Any });
        }
        let above = c.choose(path_contexts(self.context));
        let (path, kind) = paths(above)[c.below(paths(above).len())];
        let is_own = above == self.context;
        let prefix = if is_own && !self.is_inferred { String::new() } else { format!("{above}.") };
        let mut path = format!("{prefix}{path}");
        let mut kind = kind;
        // Mostly one attribute, sometimes what is in it.
        if kind == Map && !c.one_in(5) || path.ends_with("body") && c.one_in(3) {
            let _ = write!(path, "[\"{}\"]", c.choose(&KEYS));
            kind = Any;
            if c.one_in(4) {
                path.push_str(c.choose(&["[\"a\"]", "[0]", "[1]", "[\"inner\"][\"c\"]", "[\"new\"]", "[\"inner\"]"]));
            }
        }
        (path, kind)
    }

    fn literal(&mut self, kind: Kind) -> String {
        let c = &mut *self.c;
        let text = |c: &mut Choices| format!("\"{}\"", c.choose(&TEXTS));
        let int = |c: &mut Choices| ["0", "1", "2", "7", "-1", "42", "4294967296"][c.below(7)].to_owned();
        let double = |c: &mut Choices| ["0.0", "1.5", "-2.25", "100.0"][c.below(4)].to_owned();
        match kind {
            Text => match c.below(8) {
                0 => "\"000102030405060708090a0b0c0d0e0f\"".to_owned(),
                1 => "\"0001020304050607\"".to_owned(),
                2 => "\"Server\"".to_owned(),
                3 => "\"SPAN_KIND_CLIENT\"".to_owned(),
                _ => text(c),
            },
            Int => int(c),
            Double => double(c),
            Bool => ["true", "false"][c.below(2)].to_owned(),
            Map => ["{\"a\": 1}", "{\"a\": {\"b\": [1, \"x\"]}, \"c\": true}", "{}"][c.below(3)].to_owned(),
            _ => match c.below(9) {
                0..=2 => text(c),
                3 | 4 => int(c),
                5 => double(c),
                6 => "true".to_owned(),
                7 => ["nil", "0x0102", "[1, 2.5]", "[\"a\", [true]]", "[]"][c.below(5)].to_owned(),
                _ => "{\"a\": 1}".to_owned(),
            },
        }
    }

    /// A value: mostly of a kind.
    fn value(&mut self, kind: Kind) -> String {
        match self.c.below(10) {
            0 => return self.literal(Any),
            1 => return self.converter(),
            _ => {}
        }
        if matches!(kind, TraceId | SpanId | Time | Kept) || self.c.one_in(4) {
            // Of the same kind, if it is found soon.
            for _ in 0..12 {
                let (path, found) = self.path();
                if found == kind {
                    return path;
                }
            }
            return self.path().0;
        }
        if kind == Int && self.c.one_in(4) {
            let (path, _) = self.path();
            let operator = self.c.choose(&["+", "-", "*"]);
            return format!("{path} {operator} {}", self.literal(Int));
        }
        self.literal(kind)
    }

    fn comparison(&mut self) -> String {
        let (path, kind) = self.path();
        let operator = self.c.choose(&["==", "!=", "==", "!=", "<", "<=", ">", ">="]);
        let other = if self.c.one_in(5) { "nil".to_owned() } else { self.value(kind) };
        if self.c.one_in(6) { format!("{other} {operator} {path}") } else { format!("{path} {operator} {other}") }
    }

    fn condition(&mut self) -> String {
        match self.c.below(8) {
            0 => format!("{} and {}", self.comparison(), self.comparison()),
            1 => format!("{} or {}", self.comparison(), self.comparison()),
            2 => format!("not ({} or {})", self.comparison(), self.comparison()),
            4 => format!("IsMatch({}, \"a\")", self.path().0),
            3 if self.context == "span" && self.c.one_in(3) => format!("IsRootSpan() or {}", self.comparison()),
            _ => self.comparison(),
        }
    }

    fn statement(&mut self) -> String {
        let mut statement = match self.function() {
            Some(function) => function,
            None => {
                let (path, kind) = self.path();
                // Go empties events and links that are set to themselves.
                if path.ends_with("aggregation_temporality") {
                    return format!("set({path}, {})", ["0", "1", "2", "\"1\""][self.c.below(4)]);
                }
                let is_emptied = path.ends_with("events") || path.ends_with("links");
                let value =
                    if kind == Kept && !is_emptied && !self.c.one_in(4) { path.clone() } else { self.value(kind) };
                format!("set({path}, {value})")
            }
        };
        if self.c.one_in(2) {
            let _ = write!(statement, " where {}", self.condition());
        }
        statement
    }

    /// A map, mostly.
    fn map(&mut self) -> String {
        for _ in 0..8 {
            let (path, kind) = self.path();
            if kind == Map {
                return path;
            }
        }
        self.path().0
    }

    /// A call of an editor other than `set`.
    fn editor(&mut self) -> String {
        let map = self.map();
        let other = self.map();
        let key = self.c.choose(&KEYS).to_owned();
        match self.c.below(12) {
            0 | 1 => format!("delete_key({map}, \"{key}\")"),
            2 => format!("delete_matching_keys({map}, \"^{key}\")"),
            3 => format!("keep_keys({map}, [\"{key}\", \"a\"])"),
            4 => format!("keep_matching_keys({map}, \"[ab]\")"),
            5 => format!("limit({map}, 2, [\"{key}\"])"),
            6 => format!("truncate_all({map}, 1)"),
            7 => format!("merge_maps({map}, {other}, \"{}\")", self.c.choose(&["insert", "update", "upsert"])),
            8 => format!("replace_all_patterns({map}, \"{}\", \"a\", \"x$$1\")", self.c.choose(&["key", "value"])),
            9 => format!("replace_pattern({}, \"(a|G)\", \"<$$1>\")", self.path().0),
            10 => format!("replace_match({}, \"*a*\", \"x\")", self.path().0),
            _ => format!("flatten({map})"),
        }
    }

    /// A call of a converter.
    fn converter(&mut self) -> String {
        let path = self.path().0;
        match self.c.below(14) {
            0 => format!("Concat([{path}, \"x\"], \"-\")"),
            1 => format!("Len({path})"),
            2 => format!("Int({path})"),
            3 => format!("String({path})"),
            4 => format!("Double({path})"),
            5 => format!("ToUpperCase({path})"),
            6 => format!("Substring({path}, 0, 1)"),
            7 => format!("Split({path}, \"a\")"),
            8 => format!("UnixNano({path})"),
            9 => format!("ConvertCase({path}, \"snake\")"),
            10 => "TraceID(0x000102030405060708090a0b0c0d0e0f)".to_owned(),
            11 => "SpanID(0x0001020304050607)".to_owned(),
            12 => format!("IsMatch({path}, \"^[aG]\")"),
            _ => format!("IsString({path})"),
        }
    }

    /// A call of a function that only the processors have, or of another editor.
    fn function(&mut self) -> Option<String> {
        if self.c.one_in(4) {
            return Some(self.editor());
        }
        let c = &mut *self.c;
        let aggregation =
            |c: &mut Choices| c.choose(&["sum", "mean", "min", "max", "median", "count", "other"]).to_owned();
        Some(match (self.context, c.below(40)) {
            ("span", 0) => "set_semconv_span_name(\"1.37.0\", \"old\")".to_owned(),
            ("metric", 0) => format!("convert_gauge_to_sum(\"{}\", true)", c.choose(&["delta", "cumulative"])),
            ("metric", 1) => "convert_sum_to_gauge()".to_owned(),
            ("metric", 2) => "extract_count_metric(true)".to_owned(),
            ("metric", 3) => "extract_sum_metric(false, \".s\")".to_owned(),
            ("metric", 4) => "scale_metric(2.5)".to_owned(),
            ("metric", 5) => "scale_metric(-1.0, \"unit\")".to_owned(),
            ("metric", 6 | 7) => format!("aggregate_on_attributes(\"{}\", [\"a\"])", aggregation(c)),
            ("metric", 8) => format!("aggregate_on_attributes(\"{}\", [])", aggregation(c)),
            ("metric", 9) => format!("aggregate_on_attributes(\"{}\")", aggregation(c)),
            ("metric", 10) => {
                format!("aggregate_on_attribute_value(\"{}\", \"a\", [\"a\", \"b\"], \"x\")", aggregation(c))
            }
            ("metric", 11) => "convert_summary_quantile_val_to_gauge()".to_owned(),
            ("metric", 12) => format!(
                "convert_exponential_histogram_to_histogram(\"{}\", [0.0, 0.5, 2.0, 8.0])",
                c.choose(&["upper", "midpoint", "uniform"])
            ),
            ("datapoint", 0 | 1) => "merge_histogram_buckets(1.0)".to_owned(),
            ("datapoint", 2 | 3) => "merge_histogram_buckets(2, method=\"limit_buckets\")".to_owned(),
            _ => return None,
        })
    }
}

fn error_mode(c: &mut Choices) -> &'static str {
    ["ignore", "silent", "propagate"][[0, 0, 0, 1, 2][c.below(5)]]
}

/// A YAML string in single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}

pub fn transform(c: &mut Choices, signal: Signal) -> String {
    let key = ["trace_statements", "metric_statements", "log_statements"][signal as usize];
    let mut yaml = format!("error_mode: {}\n{key}:\n", error_mode(c));
    let groups = 1 + c.below(3);
    for _ in 0..groups {
        let context = c.choose(contexts(signal));
        let is_inferred = c.one_in(3);
        let mut writer = Writer { c: &mut *c, context: context_name(context), is_inferred };
        let statements: Vec<String> = (0..1 + writer.c.below(3)).map(|_| writer.statement()).collect();
        let conditions: Vec<String> = if writer.c.one_in(4) { vec![writer.condition()] } else { Vec::new() };
        let _ = writeln!(yaml, "  - statements: {}", list(&statements));
        if !is_inferred {
            let _ = writeln!(yaml, "    context: {context}");
        }
        if !conditions.is_empty() {
            let _ = writeln!(yaml, "    conditions: {}", list(&conditions));
        }
        if c.one_in(5) {
            let _ = writeln!(yaml, "    error_mode: {}", error_mode(c));
        }
    }
    yaml
}

/// The same name with a static lifetime.
fn context_name(name: &str) -> &'static str {
    const NAMES: [&str; 7] = ["resource", "scope", "span", "spanevent", "metric", "datapoint", "log"];
    NAMES.into_iter().find(|known| *known == name).unwrap_or("span")
}

fn conditions(c: &mut Choices, context: &str, is_inferred: bool) -> Vec<String> {
    let mut writer = Writer { c, context: context_name(context), is_inferred };
    (0..1 + writer.c.below(2)).map(|_| writer.condition()).collect()
}

pub fn filter(c: &mut Choices, signal: Signal) -> String {
    let mut yaml = format!("error_mode: {}\n", error_mode(c));
    match c.below(8) {
        0..=2 => {
            let (section, levels): (&str, &[(&str, &str)]) = match signal {
                Signal::Traces => ("traces", &[("resource", "resource"), ("span", "span"), ("spanevent", "spanevent")]),
                Signal::Metrics => {
                    ("metrics", &[("resource", "resource"), ("metric", "metric"), ("datapoint", "datapoint")])
                }
                Signal::Logs => ("logs", &[("resource", "resource"), ("log_record", "log")]),
            };
            let _ = writeln!(yaml, "{section}:");
            let only = c.below(levels.len());
            for (index, (key, context)) in levels.iter().enumerate() {
                if index == only || c.one_in(4) {
                    let mut found = conditions(c, context, false);
                    if *context == "metric" && c.one_in(3) {
                        found.push(
                            c.choose(&["HasAttrKeyOnDatapoint(\"a\")", "HasAttrOnDatapoint(\"a\", \"b\")"]).to_owned(),
                        );
                    }
                    let _ = writeln!(yaml, "  {key}: {}", list(&found));
                }
            }
        }
        3..=6 => {
            let key = ["trace_conditions", "metric_conditions", "log_conditions"][signal as usize];
            let _ = writeln!(yaml, "{key}:");
            let is_flat = c.one_in(2);
            for _ in 0..1 + c.below(2) {
                let context = c.choose(contexts(signal));
                let is_inferred = is_flat || c.one_in(3);
                let found = conditions(c, context, is_inferred);
                if is_flat {
                    found.iter().for_each(|condition| {
                        let _ = writeln!(yaml, "  - {}", quoted(condition));
                    });
                    continue;
                }
                let _ = writeln!(yaml, "  - conditions: {}", list(&found));
                if !is_inferred {
                    let _ = writeln!(yaml, "    context: {context}");
                }
            }
        }
        _ => older(c, signal, &mut yaml),
    }
    yaml
}

fn older(c: &mut Choices, signal: Signal, yaml: &mut String) {
    let match_type = c.choose(&["strict", "regexp"]).to_owned();
    let which = c.choose(&["include", "exclude"]).to_owned();
    let texts: Vec<String> = (0..1 + c.below(2)).map(|_| c.choose(&TEXTS).to_owned()).collect();
    let texts = list(&texts);
    let attribute = format!("[{{key: {}, value: {}}}]", c.choose(&KEYS), quoted(c.choose(&TEXTS)));
    let (section, lists): (&str, Vec<String>) = match signal {
        Signal::Traces => ("spans", vec![format!("span_names: {texts}"), format!("attributes: {attribute}")]),
        Signal::Metrics => {
            ("metrics", vec![format!("metric_names: {texts}"), format!("resource_attributes: {attribute}")])
        }
        Signal::Logs => (
            "logs",
            vec![
                format!("bodies: {texts}"),
                format!("severity_texts: {texts}"),
                format!(
                    "severity_number: {{min: {}, match_undefined: {}}}",
                    c.choose(&["INFO", "9", "warn2"]),
                    c.one_in(2)
                ),
                format!("record_attributes: {attribute}"),
                format!("resource_attributes: {attribute}"),
            ],
        ),
    };
    let list = &lists[c.below(lists.len())];
    let _ = writeln!(yaml, "{section}:\n  {which}:\n    match_type: {match_type}\n    {list}");
}
