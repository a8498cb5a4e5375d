//! Transforms of metrics.
//!
//! Left out, because they differ on purpose: summaries that are aggregated, `submatch_case`, `count` of single points, a
//! new key together with new values, `experimental_match_labels` with `combine` and `group`, a negative scale of histograms.

use otelcore_pdata::Signal;

use crate::telemetry::{KEYS, METRICS, PointOptions, VALUES, metric, metrics_body};
use crate::{Case, Choices};

const PATTERNS: [&str; 7] =
    [r"^m\.(.*)$", r"^http[._](?P<kind>\w+)[._]total$", "m", "(?i)^M.ONE$", r"^(?P<a>m)(x)?", "[", "^$"];

pub fn generate(c: &mut Choices) -> Case {
    let transforms: Vec<String> = (0..1 + c.below(3)).map(|_| transform(c)).collect();
    let aggregates = transforms.iter().any(|it| it.contains("aggregat"));
    let kinds: &[usize] = if aggregates { &[0, 1, 2, 3] } else { &[0, 1, 2, 3, 4] };
    let body = metrics_body(c, |c| metric(c, kinds, PointOptions::default()));
    Case { signal: Signal::Metrics, yaml: format!("transforms:\n{}", transforms.concat()), bodies: vec![body] }
}

fn transform(c: &mut Choices) -> String {
    let is_regexp = c.one_in(2);
    let action = c.choose(&["update", "update", "insert", "insert", "combine", "group"]);
    let mut lines = Vec::new();
    let include = if is_regexp { c.choose(&PATTERNS) } else { c.choose(&METRICS) };
    if !c.one_in(80) {
        lines.push(format!("include: '{include}'"));
    }
    if is_regexp {
        lines.push("match_type: regexp".to_owned());
    } else if c.one_in(40) {
        lines.push(format!("match_type: {}", c.choose(&["strict", "glob", ""])));
    }
    lines.push(format!("action: {}", if c.one_in(80) { "move" } else { action }));
    if !c.one_in(if action == "update" { 2 } else { 30 }) {
        let name = c.choose(&["new", "new.$1", "${kind}_x", "$$1", "${a}", "pre.$kind.post", "m.one"]);
        lines.push(format!("new_name: '{name}'"));
    }
    if (action == "combine") != c.one_in(60) {
        let kinds = ["sum", "mean", "min", "max", "median", "middle"];
        let known = if c.one_in(20) { 6 } else { 5 };
        lines.push(format!("aggregation_type: {}", c.choose(&kinds[..known])));
    }
    if action == "group" && !c.one_in(20) {
        lines.push("group_resource_labels: {resouceX: v, a: w}".to_owned());
    }
    if matches!(action, "update" | "insert") && c.one_in(3) {
        let value = if is_regexp { c.choose(&["x|y", "^$", "(", "."]) } else { c.choose(&VALUES) };
        lines.push(format!("experimental_match_labels: {{{}: '{value}'}}", c.choose(&KEYS)));
    }
    if c.one_in(100) {
        lines.push("submatch_case: title".to_owned());
    }
    let operations: Vec<String> = (0..c.below(4)).map(|_| operation(c)).collect();
    if !operations.is_empty() {
        lines.push(format!("operations:\n{}", operations.concat()).trim_end().to_owned());
    }
    format!("- {}\n", lines.join("\n  "))
}

fn operation(c: &mut Choices) -> String {
    let actions = [
        "add_label",
        "update_label",
        "delete_label_value",
        "toggle_scalar_data_type",
        "experimental_scale_value",
        "aggregate_labels",
        "aggregate_label_values",
        "remove",
    ];
    let known = if c.one_in(40) { 8 } else { 7 };
    let action = c.choose(&actions[..known]);
    let mut fields = vec![format!("action: {action}")];
    let mut put = |c: &mut Choices, key: &str, value: String| {
        if !c.one_in(50) {
            fields.push(format!("{key}: {value}"));
        }
    };
    let key = c.choose(&KEYS);
    let new_value = c.choose(&["n", "v{{version}}"][..1]).to_owned();
    let aggregation = |c: &mut Choices| c.choose(&["sum", "mean", "min", "max", "median"]).to_owned();
    match action {
        "add_label" => {
            let new_key = c.choose(&["added", "a"]).to_owned();
            put(c, "new_label", new_key);
            put(c, "new_value", new_value);
        }
        "update_label" => {
            put(c, "label", format!("'{key}'"));
            if c.one_in(2) {
                // A key that is renamed to itself is removed in Go.
                let new_key = if key == "host.name" { "renamed" } else { c.choose(&["renamed", "host.name"]) };
                put(c, "new_label", new_key.to_owned());
            } else {
                put(c, "value_actions", "[{value: x, new_value: x2}, {value: '', new_value: none}]".to_owned());
            }
        }
        "delete_label_value" => {
            put(c, "label", format!("'{key}'"));
            let value = format!("'{}'", c.choose(&VALUES));
            put(c, "label_value", value);
        }
        "experimental_scale_value" => {
            let scale = c.choose(&["2", "0.5", "1000", "0.001", "3.5"]).to_owned();
            put(c, "experimental_scale", scale);
        }
        "aggregate_labels" => {
            let keys = c.some_of(&KEYS).join(", ");
            put(c, "label_set", format!("[{keys}]"));
            let aggregation = aggregation(c);
            put(c, "aggregation_type", aggregation);
        }
        "aggregate_label_values" => {
            put(c, "label", format!("'{key}'"));
            put(c, "aggregated_values", "[x, idle, '']".to_owned());
            put(c, "new_value", new_value);
            let aggregation = if c.one_in(40) { "middle".to_owned() } else { aggregation(c) };
            put(c, "aggregation_type", aggregation);
        }
        _ => {}
    }
    format!("    - {{{}}}\n", fields.join(", "))
}
