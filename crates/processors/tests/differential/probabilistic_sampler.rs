//! Spans and log records with and without thresholds and randomness.

use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use otelcore_pdata::Signal;

use crate::telemetry::{key_value, logs_body, trace_id, traces_body, value};
use crate::{Case, Choices};

pub fn generate(c: &mut Choices) -> Case {
    let signal = c.choose(&[Signal::Traces, Signal::Logs]);
    let percentages = ["50", "10", "33.3", "100", "150", "0", "1", "0.001", "99.9", "-1", "1e-20", "75"];
    let mut lines = vec![format!("sampling_percentage: {}", c.choose(&percentages))];
    if c.one_in(30) {
        lines.push("mode: random".to_owned());
    } else if !c.one_in(4) {
        lines.push(format!("mode: {}", c.choose(&["hash_seed", "equalizing", "proportional"])));
    }
    if c.one_in(3) {
        lines.push(format!("hash_seed: {}", c.choose(&["22", "4294967295"])));
    }
    if c.one_in(2) {
        lines.push("fail_closed: false".to_owned());
    }
    if c.one_in(3) {
        lines.push(format!("sampling_precision: {}", c.choose(&["1", "2", "7", "14", "14", "0", "15"])));
    }
    if signal == Signal::Logs {
        if c.one_in(3) {
            lines.push(format!("attribute_source: {}", c.choose(&["record", "record", "traceID", "body"])));
        }
        if c.one_in(2) {
            lines.push("from_attribute: a".to_owned());
        }
        if c.one_in(2) {
            lines.push("sampling_priority: priority".to_owned());
        }
    }
    let body = match signal {
        Signal::Traces => traces_body(c, |c| Span {
            trace_id: trace_id(c),
            trace_state: trace_state(c),
            attributes: priority(c, "sampling.priority"),
            ..Span::default()
        }),
        _ => logs_body(c, |c| {
            let mut attributes = priority(c, "priority");
            if c.one_in(2) {
                attributes.push(key_value("a", value(c)));
            }
            if c.one_in(3) {
                let threshold = c.choose(&["8", "0", "c", "zz", "ffffffffffffff", "fd70a"]);
                attributes.push(key_value("sampling.threshold", text(threshold)));
            }
            if c.one_in(3) {
                let randomness = c.choose(&["abcdefabcdefab", "00000000000001", "ffffffffffffff", "12"]);
                attributes.push(key_value("sampling.randomness", text(randomness)));
            }
            LogRecord { trace_id: trace_id(c), attributes, ..LogRecord::default() }
        }),
    };
    Case { signal, yaml: lines.join("\n"), bodies: vec![body] }
}

fn text(text: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.to_owned())) }
}

fn priority(c: &mut Choices, key: &str) -> Vec<KeyValue> {
    if !c.one_in(4) {
        return Vec::new();
    }
    let value = match c.below(4) {
        0 => Value::IntValue(c.choose(&[0, 1, 50, -1, 100])),
        1 => Value::DoubleValue(c.choose(&[0.0, 0.5, 25.0, -2.0, 200.0])),
        2 => Value::StringValue(c.choose(&["0", "1", "x", "-0.5", "0x1p3"]).to_owned()),
        _ => Value::BoolValue(true),
    };
    vec![key_value(key, AnyValue { value: Some(value) })]
}

fn trace_state(c: &mut Choices) -> String {
    if c.one_in(2) {
        return String::new();
    }
    let thresholds = ["8", "0", "c", "4", "fd70a", "FF", "fffffffffffff", "123456789abcdef", "+8", ""];
    let mut otel = Vec::new();
    if c.one_in(2) {
        otel.push(format!("th:{}", c.choose(&thresholds)));
    }
    if c.one_in(2) {
        otel.push(format!(
            "rv:{}",
            c.choose(&["abcdefabcdefab", "00000000000001", "7fffffffffffff", "1", "ABCDEFABCDEFAB"])
        ));
    }
    if c.one_in(4) {
        otel.push(c.choose(&["x:y", "p:8", "Bad:1", "x", "a:b.c_d-"]).to_owned());
    }
    let mut members = Vec::new();
    if !otel.is_empty() {
        members.push(format!("ot={}{}", otel.join(";"), if c.one_in(20) { ";" } else { "" }));
    }
    if c.one_in(2) {
        let other = c.choose(&[
            "a=1",
            "a=b c",
            "t@v=x",
            "1t@v=x",
            "1a=b",
            "A=1",
            "a=",
            "",
            " k=v\t",
            "a=b=c",
            "rojo=00f067aa0ba902b7",
        ]);
        members.insert(0, other.to_owned());
    }
    members.join(if c.one_in(5) { " , " } else { "," })
}
