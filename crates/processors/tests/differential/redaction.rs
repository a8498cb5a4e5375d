//! Attributes and bodies that are removed and masked.
//!
//! Left out, because they differ on purpose: `hash_function: sha3`, `url_sanitizer` and `db_sanitizer`. Of several blocked
//! values the order is random in Go, so that those here do not overlap.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use otelcore_pdata::Signal;

use crate::telemetry::{
    KEYS, PointOptions, attributes, key_value, logs_body, metric, metrics_body, traces_body, value,
};
use crate::{Case, Choices};

pub fn generate(c: &mut Choices) -> Case {
    let signal = c.choose(&Signal::ALL);
    let mut lines = Vec::new();
    if c.one_in(2) {
        lines.push("allow_all_keys: true".to_owned());
    }
    for key in ["allowed_keys", "ignored_keys"] {
        if c.one_in(2) {
            lines.push(format!("{key}: [{}]", c.some_of(&KEYS).join(", ")));
        }
    }
    let hashes = c.one_in(2);
    if c.one_in(2) {
        let patterns = ["x", "^idle$", "4[0-9]", "ß.", "", "(a|y)", "."];
        let mut list = vec![format!("'{}'", c.choose(&patterns))];
        if !hashes && c.one_in(3) {
            list = vec!["'x'".to_owned(), "'y'".to_owned()];
        }
        if c.one_in(30) {
            list = vec!["'('".to_owned()];
        }
        lines.push(format!("blocked_values: [{}]", list.join(", ")));
    }
    for (key, patterns) in [
        ("allowed_values", ["idle", "^$", "4", "."]),
        ("blocked_key_patterns", ["^a$", "host", "none", "."]),
        ("ignored_key_patterns", ["^b", "sta", "none", "[k"]),
    ] {
        if c.one_in(3) {
            let known = if c.one_in(10) { 4 } else { 3 };
            lines.push(format!("{key}: ['{}']", c.choose(&patterns[..known])));
        }
    }
    if c.one_in(3) {
        lines.push("redact_all_types: true".to_owned());
    }
    if hashes {
        let functions = ["md5", "sha1", "SHA1", "hmac-sha256", "hmac-sha512", "crc"];
        let known = if c.one_in(10) { 6 } else { 5 };
        lines.push(format!("hash_function: {}", c.choose(&functions[..known])));
        if !c.one_in(4) {
            lines.push(format!("hmac_key: {}", "k".repeat(c.choose(&[31, 32, 64, 200]))));
        }
    }
    if !c.one_in(4) {
        lines.push(format!("summary: {}", c.choose(&["debug", "info", "silent"])));
    }
    let body = match signal {
        Signal::Traces => traces_body(c, |c| {
            let mut all = attributes(c, &KEYS);
            if c.one_in(5) {
                all.push(key_value("redaction.masked.count", AnyValue { value: Some(Value::IntValue(3)) }));
                all.push(key_value(
                    "redaction.masked.keys",
                    AnyValue { value: Some(Value::StringValue("q,p".to_owned())) },
                ));
            }
            let events = vec![Event { attributes: attributes(c, &KEYS), ..Event::default() }];
            Span { attributes: all, events, ..Span::default() }
        }),
        Signal::Metrics => metrics_body(c, |c| metric(c, &[0, 1, 2, 3, 4], PointOptions::default())),
        Signal::Logs => logs_body(c, |c| LogRecord {
            attributes: attributes(c, &KEYS),
            body: Some(nested(c, 3)),
            ..LogRecord::default()
        }),
    };
    let yaml = if lines.is_empty() { "{}".to_owned() } else { lines.join("\n") };
    Case { signal, yaml, bodies: vec![body] }
}

fn nested(c: &mut Choices, depth: usize) -> AnyValue {
    if depth == 0 || c.one_in(2) {
        return value(c);
    }
    let value = if c.one_in(2) {
        Value::ArrayValue(ArrayValue { values: (0..c.below(3)).map(|_| nested(c, depth - 1)).collect() })
    } else {
        let keys = c.some_of(&KEYS);
        Value::KvlistValue(KeyValueList {
            values: keys.into_iter().map(|key| key_value(key, nested(c, depth - 1))).collect(),
        })
    };
    AnyValue { value: Some(value) }
}
