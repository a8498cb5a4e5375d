//! Sections of the processors, in YAML.

use otelcore_pdata::Signal;

use crate::Choices;

pub const KEYS: [&str; 8] = ["a", "b", "c", "num", "url", "service.name", "env", "größe"];

const KEY_PATTERNS: [&str; 8] = ["^a", "b|c", ".", "^$", r"\.", "(?i)NUM", "[", "ö"];

const EXTRACT_PATTERNS: [&str; 7] = [
    r"^(?P<scheme>https?)://(?P<a>[^/]*)(?:/(?P<path>.*))?$",
    r"(?P<b>\d+)",
    r"(?P<c>\w)(?P<env>\W?)",
    r"(?P<a>.)(?P<a>.?)",
    r"(\d)(?P<x>.)",
    "x",
    "(?P<1>.*)",
];

const TEXT_PATTERNS: [&str; 9] = ["^s", "a|b", "^$", ".", r"^\d+$", "[", "(?i)^GET", r"\.5", "v1"];

/// Texts of span names, services, values and so on.
pub const TEXTS: [&str; 8] = ["", "svc", "get /a", "v1", "42", "a", "true", "INFO"];

fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    otelcore_pdata::text::put_json_string(&mut out, text.as_bytes());
    String::from_utf8(out).unwrap()
}

/// Any value in flow style.
fn value(c: &mut Choices) -> String {
    const VALUES: [&str; 16] = [
        "42",
        "-7",
        "1.5",
        "1e3",
        "true",
        "false",
        "'42'",
        "v1",
        "''",
        "[1, a, [true]]",
        "{k: 1.5}",
        "[]",
        "{}",
        "18446744073709551615",
        "[{k: null}]",
        ".inf",
    ];
    c.choose(&VALUES).to_owned()
}

fn action(c: &mut Choices) -> String {
    const ACTIONS: [&str; 10] =
        ["insert", "update", "upsert", "delete", "hash", "extract", "convert", "UPSERT", "Insert", "move"];
    let action = match c.one_in(60) {
        true => "move",
        false => ACTIONS[c.below(ACTIONS.len() - 1)],
    };
    let mut fields = vec![format!("action: {action}")];
    // Fields that the action does not have, now and then.
    let is_wrong = c.one_in(60);
    let lower = action.to_lowercase();
    let is_put = matches!(lower.as_str(), "insert" | "update" | "upsert");
    if !c.one_in(if matches!(lower.as_str(), "delete" | "hash") { 4 } else { 60 }) {
        fields.push(format!("key: {}", c.choose(&KEYS)));
    }
    if is_put || is_wrong {
        match c.below(4) {
            0 | 1 => fields.push(format!("value: {}", value(c))),
            2 => fields.push(format!("from_attribute: {}", c.choose(&KEYS))),
            _ => {
                let contexts = ["metadata.x-tenant", "metadata.X-List", "x-tenant", "metadata.none", "none"];
                fields.push(format!("from_context: {}", c.choose(&contexts)));
            }
        }
        if c.one_in(4) {
            fields.push(format!("default_value: {}", value(c)));
        }
        if c.one_in(60) {
            fields.push("from_attribute: b".to_owned());
        }
    }
    let has_pattern = match lower.as_str() {
        "extract" => !c.one_in(60),
        "delete" | "hash" => c.one_in(2),
        _ => is_wrong && c.one_in(2),
    };
    if has_pattern {
        let pattern = if lower == "extract" { c.choose(&EXTRACT_PATTERNS) } else { c.choose(&KEY_PATTERNS) };
        fields.push(format!("pattern: {}", quoted(pattern)));
    }
    if lower == "convert" || is_wrong && c.one_in(2) {
        let types = if c.one_in(60) { ["bool", "", "Int"] } else { ["int", "double", "string"] };
        fields.push(format!("converted_type: '{}'", c.choose(&types)));
    }
    fields.dedup_by(|a, b| a.split(':').next() == b.split(':').next());
    let mut seen = Vec::new();
    fields.retain(|field| {
        let key = field.split(':').next().unwrap_or_default().to_owned();
        let is_new = !seen.contains(&key);
        seen.push(key);
        is_new
    });
    format!("{{{}}}", fields.join(", "))
}

fn actions(c: &mut Choices) -> String {
    let count = if c.one_in(100) { 0 } else { 1 + c.below(4) };
    format!("[{}]", (0..count).map(|_| action(c)).collect::<Vec<_>>().join(", "))
}

pub fn resource(c: &mut Choices) -> String {
    format!("attributes: {}\n", actions(c))
}

pub fn attributes(c: &mut Choices, signal: Signal) -> String {
    let mut yaml = String::new();
    for key in ["include", "exclude"] {
        if c.one_in(2) {
            yaml.push_str(&format!("{key}: {}\n", matched(c, signal)));
        }
    }
    format!("{yaml}actions: {}\n", actions(c))
}

fn texts(c: &mut Choices, is_regexp: bool, texts: &[&str]) -> String {
    let count = 1 + c.below(2);
    let one = |c: &mut Choices| match is_regexp {
        // An invalid pattern is rare.
        true => match c.choose(&TEXT_PATTERNS) {
            "[" if !c.one_in(6) => quoted("v"),
            pattern => quoted(pattern),
        },
        false => quoted(c.choose(texts)),
    };
    format!("[{}]", (0..count).map(|_| one(c)).collect::<Vec<_>>().join(", "))
}

fn attribute_matches(c: &mut Choices, is_regexp: bool) -> String {
    let count = 1 + usize::from(c.one_in(4));
    let one = |c: &mut Choices| {
        let key = if c.one_in(60) { "''" } else { c.choose(&KEYS) };
        match c.below(3) {
            0 => format!("{{key: {key}}}"),
            1 if is_regexp && !c.one_in(20) => {
                format!("{{key: {key}, value: {}}}", quoted(c.choose(&TEXT_PATTERNS[..5])))
            }
            _ if is_regexp && !c.one_in(20) => format!("{{key: {key}, value: {}}}", quoted(c.choose(&TEXTS))),
            _ => format!("{{key: {key}, value: {}}}", value(c)),
        }
    };
    format!("[{}]", (0..count).map(|_| one(c)).collect::<Vec<_>>().join(", "))
}

fn matched(c: &mut Choices, signal: Signal) -> String {
    let is_regexp = c.one_in(2);
    let match_type = match is_regexp {
        _ if c.one_in(60) => "rex",
        true => "regexp",
        false => "strict",
    };
    let lists: &[&str] = match signal {
        Signal::Traces => &["services", "span_names", "span_kinds", "libraries", "attributes", "resources"],
        Signal::Logs => {
            &["log_bodies", "log_severity_texts", "log_severity_number", "libraries", "attributes", "resources"]
        }
        Signal::Metrics => &["metric_names", "metric_names", "resources"],
    };
    let all = ["services", "log_bodies", "log_severity_texts", "log_severity_number", "metric_names", "attributes"];
    let mut keys = Vec::new();
    let count = if c.one_in(40) { 0 } else { 1 + c.below(2) };
    for _ in 0..count {
        let key = if c.one_in(40) { c.choose(&all) } else { c.choose(lists) };
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let mut fields = vec![format!("match_type: {match_type}")];
    for key in keys {
        let list = match key {
            "span_kinds" if is_regexp => texts(c, true, &TEXTS),
            "span_kinds" => {
                let kinds = ["SPAN_KIND_SERVER", "SPAN_KIND_CLIENT", "SPAN_KIND_INTERNAL", "SPAN_KIND_PRODUCER"];
                let kinds = if c.one_in(20) { ["SPAN_KIND_UNSPECIFIED", "server", "", "x"] } else { kinds };
                texts(c, false, &kinds)
            }
            "libraries" => {
                let text =
                    |c: &mut Choices| quoted(c.choose(if is_regexp { &TEXT_PATTERNS[..5] } else { &TEXTS[..5] }));
                let version = if c.one_in(2) { format!(", version: {}", text(c)) } else { String::new() };
                format!("[{{name: {}{version}}}]", text(c))
            }
            // Of no effect, and mistakes in it are errors here and not in Go.
            "resources" if signal == Signal::Metrics => "[{key: a}]".to_owned(),
            "attributes" | "resources" => attribute_matches(c, is_regexp),
            "log_severity_number" => {
                format!("{{min: {}, match_undefined: {}}}", c.below(12), c.one_in(2))
            }
            _ => texts(c, is_regexp, &TEXTS),
        };
        fields.push(format!("{key}: {list}"));
    }
    format!("{{{}}}", fields.join(", "))
}

/// The names of spans that patterns are matched against.
pub const PATTERN_TEXTS: &[&str] = &[
    "", "a", "A", "ab", "b", "aab", "k", "\u{212a}", "5", "٥", "_", "é", "-", "&", "[", "]", "\n", "\u{b}", "\t",
    "a\nb", ".", "{", "a{,2}", "aa", "\\", "^", "~", "αβ", "a b", "ſ",
];

/// Actions for the spans whose name a pattern of random pieces matches.
pub fn pattern(c: &mut Choices) -> String {
    const PIECES: [&str; 62] = [
        "a",
        "b",
        "k",
        "A",
        ".",
        "^",
        "$",
        "*",
        "+",
        "?",
        "|",
        "(",
        ")",
        "(?:",
        "(?i)",
        "(?i:",
        "(?m)",
        "(?s)",
        "(?U)",
        "(?-i)",
        "(?P<n>",
        "(?<m>",
        "[",
        "]",
        "[^",
        "[a-k]",
        "[^a]",
        "[[:alpha:]]",
        "[[:^digit:]]",
        "[:",
        "-",
        "&&",
        "--",
        "~~",
        r"\d",
        r"\D",
        r"\w",
        r"\W",
        r"\s",
        r"\S",
        r"\b",
        r"\B",
        r"\A",
        r"\z",
        r"\pL",
        r"\p{Greek}",
        r"\P{Lu}",
        r"\p{^Lu}",
        "{2}",
        "{1,}",
        "{0,2}",
        "{,2}",
        "{",
        r"\x41",
        r"\x{61}",
        r"\141",
        r"\n",
        r"\Qa.\E",
        r"\\",
        r"\-",
        r"\<",
        "é",
    ];
    let count = 1 + c.below(6);
    let mut pattern: String = (0..count).map(|_| c.choose(&PIECES)).collect();
    if c.one_in(2) {
        pattern = format!("^{pattern}$");
    }
    let actions = "actions: [{key: hit, value: 1, action: insert}]";
    format!("include: {{match_type: regexp, span_names: [{}]}}\n{actions}\n", quoted(&pattern))
}
