//! The statements of OTTL's own end-to-end tests, on a log record that has what they read.

use std::path::Path;

use otelcore_config::{Diagnostics, from_yaml};
use otelcore_pdata::views::AnyValue;
use otelcore_pdata::{Signal, build};
use otelcore_test_support::{CorpusCase, ask_oracle};

use crate::Case;

/// A record with the attributes of those of the end-to-end tests.
fn log() -> Vec<u8> {
    let mut body = build::Body::new();
    {
        let mut entry = body.resource_logs();
        entry.resource().attributes().string(b"host.name", b"localhost").string(b"A|B|C", b"newValue");
        let mut scope_logs = entry.scope_logs();
        scope_logs.scope().name(b"scope");
        let mut log = scope_logs.log_record();
        log.body(AnyValue::String(b"operationA"));
        log.time_unix_nano(1_581_452_772_000_000_321).observed_time_unix_nano(1_581_452_772_000_000_322);
        log.dropped_attributes_count(1).flags(1).severity_number(1);
        log.trace_id(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]).span_id(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let mut attributes = log.attributes();
        for (key, value) in [
            ("encoding", "base64"),
            ("http.method", "get"),
            ("split_delimiter", "|"),
            ("dynamicprefix", "operation"),
            ("dynamicsuffix", "tionA"),
            ("http.path", "/health"),
            ("http.url", "http://localhost/health"),
            ("flags", "A|B|C"),
            ("total.string", "123456789"),
            ("A|B|C", "something"),
            ("slice", "slice"),
            ("val", "val2"),
            ("int_value_str", "0"),
            ("nil_string", "nil"),
            ("server.ip", "192.168.0.1"),
        ] {
            attributes.string(key.as_bytes(), value.as_bytes());
        }
        attributes.int(b"int_value", 0);
        attributes.array(b"array", |array| array.push(AnyValue::String(b"looong")));
        attributes.map(b"conflict", |map| {
            map.map(b"conflict1", |map| {
                map.string(b"conflict2", b"pass");
            });
        });
        attributes.map(b"conflict.conflict1", |map| {
            map.string(b"conflict2", b"nopass");
        });
        attributes.map(b"foo", |map| {
            map.string(b"bar", b"pass").string(b"flags", b"pass");
            map.array(b"slice", |slice| slice.push(AnyValue::String(b"val")));
            map.map(b"nested", |map| {
                map.string(b"test", b"pass");
            });
        });
        attributes.map(b"foo2", |map| {
            map.array(b"slice", |slice| slice.push(AnyValue::String(b"val")));
        });
        attributes.array(b"things", |things| {
            for (name, value) in [(&b"foo"[..], 2), (b"bar", 5)] {
                things.map(|thing| {
                    thing.string(b"name", name).int(b"value", value);
                });
            }
        });
        let texts = |slice: &mut build::ArrayWriter<'_>, texts: &[&str]| {
            texts.iter().for_each(|text| slice.push(AnyValue::String(text.as_bytes())));
        };
        attributes.array(b"slices", |slice| {
            texts(slice, &["slice1", "slice2"]);
            slice.map(|map| {
                map.string(b"name", b"foo");
            });
        });
        attributes.array(b"slice2", |slice| texts(slice, &["val", "foo", "bar", "baz"]));
        attributes.array(b"primitiveValuesSlice", |slice| {
            texts(slice, &["value1"]);
            slice.push(AnyValue::Int(42));
            slice.push(AnyValue::Bool(true));
        });
    }
    body.finish().to_bytes().to_vec()
}

/// A YAML string in double quotes.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn case(statement: &str) -> Case {
    let statement = quoted(statement);
    let yaml = format!("error_mode: propagate\nlog_statements:\n  - context: log\n    statements: [{statement}]\n");
    Case { is_filter: false, signal: Signal::Logs, yaml, body: log() }
}

/// Asks for the statements of a file of Go, and for what they do. Those that do something else the second time are left
/// out: the time, and random numbers.
pub fn ask(oracle: &Path, file: &str) -> Vec<CorpusCase> {
    let mut input = vec![5, 0];
    for text in [file, "{}", ""] {
        input.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        input.extend_from_slice(text.as_bytes());
    }
    let answer = ask_oracle(oracle, &[], vec![input]).remove(0).answer;
    assert_eq!(answer[0], 0, "{}", String::from_utf8_lossy(&answer));
    let d = Diagnostics::new();
    let node = from_yaml(&String::from_utf8_lossy(&answer[1..]).replace('$', "$$"), &d);
    let node = node.unwrap_or_else(|| panic!("{:?}", d.items()));
    let statement = |item: &otelcore_config::ConfigNode| {
        item.get_path("statement").and_then(|node| node.as_str()).map(str::to_owned)
    };
    let inputs: Vec<Vec<u8>> = node
        .get_path("statements")
        .unwrap()
        .items()
        .iter()
        .filter_map(statement)
        .map(|statement| case(&statement).to_input())
        .collect();
    assert!(inputs.len() > 200, "{}", inputs.len());
    let (first, second) = (ask_oracle(oracle, &[], inputs.clone()), ask_oracle(oracle, &[], inputs));
    first.into_iter().zip(second).filter(|(a, b)| a == b).map(|(case, _)| case).collect()
}
