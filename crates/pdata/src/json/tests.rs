//! Tests for cases that the tests against other codecs do not cover: texts of errors, limits, merging, responses of
//! servers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use bytes::Bytes;

use super::decode::moved_bytes;
use super::*;
use crate::{Rope, RopePart, check};

fn decode_checked(signal: Signal, text: &str) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::new();
    decode(signal, text.as_bytes(), &mut out).map(|()| out)
}

/// Converts a document to protobuf and back.
fn encode_decoded(signal: Signal, text: &str) -> String {
    let bytes = Bytes::from(decode_checked(signal, text).unwrap());
    let mut rope = Rope::default();
    rope.push(RopePart { items: check(signal, &bytes).unwrap().items, bytes });
    let mut out = Vec::new();
    encode(signal, &rope, &mut out);
    String::from_utf8(out).unwrap()
}

const TRACES: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"my \"service\" \u00e9"}}],"droppedAttributesCount":1,"entityRefs":[{"schemaUrl":"u","type":"service","idKeys":["service.name"],"descriptionKeys":["a","b"]}]},"scopeSpans":[{"scope":{"name":"n","version":"1","attributes":[{"key":"k","value":{"boolValue":true}}],"droppedAttributesCount":2},"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","traceState":"a=b","parentSpanId":"eee19b7ec3c1b173","flags":257,"name":"I'm a server span","kind":2,"startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000","attributes":[{"key":"list","value":{"arrayValue":{"values":[{"intValue":"-5"},{"doubleValue":1.5e-07},{"bytesValue":"AQID"},{}]}}},{"key":"map","value":{"kvlistValue":{"values":[{"key":"in","value":{"doubleValue":"NaN"}}]}}}],"droppedAttributesCount":1,"events":[{"timeUnixNano":"1544712660500000000","name":"e","attributes":[{"key":"x","value":{"intValue":"0"}}],"droppedAttributesCount":3}],"droppedEventsCount":2,"links":[{"traceId":"5b8efff798038103d269b633813fc60d","spanId":"eee19b7ec3c1b175","traceState":"c=d","attributes":[{"key":"y","value":{"stringValue":""}}],"droppedAttributesCount":4,"flags":1}],"droppedLinksCount":5,"status":{"message":"no","code":2}},{"name":"second","status":{}}],"schemaUrl":"s"}],"schemaUrl":"r"}]}"#;

const METRICS: &str = r#"{"resourceMetrics":[{"resource":{},"scopeMetrics":[{"scope":{},"metrics":[{"name":"g","description":"d","unit":"1","gauge":{"dataPoints":[{"attributes":[{"key":"a","value":{"stringValue":"b"}}],"startTimeUnixNano":"1","timeUnixNano":"2","asDouble":0,"exemplars":[{"filteredAttributes":[{"key":"f","value":{}}],"timeUnixNano":"3","asInt":"-1","traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"}],"flags":1},{"asInt":"9007199254740993"}]},"metadata":[{"key":"m","value":{"stringValue":"v"}}]},{"name":"s","sum":{"dataPoints":[{"timeUnixNano":"2","asInt":"0"}],"aggregationTemporality":2,"isMonotonic":true}},{"name":"h","histogram":{"dataPoints":[{"timeUnixNano":"2","count":"6","sum":0,"bucketCounts":["1","2","3"],"explicitBounds":[0,1.5],"min":-1,"max":"Infinity"}],"aggregationTemporality":1}},{"name":"e","exponentialHistogram":{"dataPoints":[{"count":"3","sum":2,"scale":-1,"zeroCount":"1","positive":{"offset":-3,"bucketCounts":["1","0"]},"negative":{"bucketCounts":["18446744073709551615"]},"flags":1,"min":1,"max":2,"zeroThreshold":0.25}],"aggregationTemporality":2}},{"name":"q","summary":{"dataPoints":[{"count":"1","sum":2.5,"quantileValues":[{"quantile":0.5,"value":1}],"flags":1}]}}],"schemaUrl":"u"}]}]}"#;

const LOGS: &str = r#"{"resourceLogs":[{"resource":{},"scopeLogs":[{"scope":{},"logRecords":[{"timeUnixNano":"1","observedTimeUnixNano":"2","severityNumber":9,"severityText":"INFO","body":{"stringValue":"a\tb\u0001"},"attributes":[{"key":"a","value":{"intValue":"9223372036854775807"}}],"droppedAttributesCount":1,"flags":1,"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","eventName":"e"},{"body":{}}]}],"schemaUrl":"r"}]}"#;

const ALL_FIELDS: [(Signal, &str); 3] = [(Signal::Traces, TRACES), (Signal::Metrics, METRICS), (Signal::Logs, LOGS)];

#[test]
fn every_field_is_decoded_and_encoded_unchanged() {
    for (signal, text) in ALL_FIELDS {
        assert_eq!(encode_decoded(signal, text), text.replace("\\u00e9", "é"));
    }
}

#[test]
fn truncated_document_is_refused_with_its_position() {
    for (signal, text) in ALL_FIELDS {
        for end in 0..text.len() {
            let mut out = Vec::new();
            let error = decode(signal, &text.as_bytes()[..end], &mut out).unwrap_err();
            assert!(error.offset <= end && out.is_empty(), "{error}");
        }
    }
}

#[test]
fn malformed_document_is_refused_with_path_and_reason() {
    let spans = |span: &str| format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{}},{{}},{{"spans":[{{{span}}}]}}]}}]}}"#);
    for (text, message) in [
        (
            spans(r#""traceId":"5b8efff798038103d269b633813fc60""#),
            "resourceSpans[0].scopeSpans[2].spans[0].traceId: expected 32 hexadecimal digits, found 31 (at byte 60)",
        ),
        (
            spans(r#""parent_span_id":"eee19b7ec3c1b17x""#),
            "resourceSpans[0].scopeSpans[2].spans[0].parentSpanId: expected hexadecimal digits (at byte 67)",
        ),
        (
            spans(r#""kind":"SERVER""#),
            "resourceSpans[0].scopeSpans[2].spans[0].kind: unknown name of an enum value (at byte 57)",
        ),
        (spans(r#""kind": 2147483648"#), "resourceSpans[0].scopeSpans[2].spans[0].kind: not an int32 (at byte 58)"),
        (
            spans(r#""attributes":[{},{"key":"a","value":{"boolValue":null}}]"#),
            "resourceSpans[0].scopeSpans[2].spans[0].attributes[1].value.boolValue: expected true or false, found 'n' (at \
             byte 99)",
        ),
        (
            spans("\"name\":\"a\nb\""),
            "resourceSpans[0].scopeSpans[2].spans[0].name: control character 0x0a in a string (at byte 59)",
        ),
        ("[]".to_owned(), "expected an object, found '[' (at byte 0)"),
        (String::new(), "expected an object, found the end of the body (at byte 0)"),
        (r#"{"x":{"y":[1,}}"#.to_owned(), "expected a value, found '}' (at byte 13)"),
    ] {
        assert_eq!(decode_checked(Signal::Traces, &text).unwrap_err().to_string(), message);
    }
    let text = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[{"bucketCounts":["1","x"]}]}}]}]}]}"#;
    let error = decode_checked(Signal::Metrics, text).unwrap_err();
    assert_eq!(error.path, "resourceMetrics[0].scopeMetrics[0].metrics[0].histogram.dataPoints[0].bucketCounts[1]");
    assert_eq!(error.kind, JsonErrorKind::Number("a uint64"));
}

/// A log whose body is `depth` nested arrays.
fn log_with_nested_arrays(depth: usize) -> String {
    let (open, close) = (r#"{"arrayValue":{"values":["#.repeat(depth), "]}}".repeat(depth));
    format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{open}{{}}{close}}}]}}]}}]}}"#)
}

/// A log with `depth` nested maps in the attributes.
fn log_with_nested_maps(depth: usize) -> String {
    let open = r#"{"key":"k","value":{"kvlistValue":{"values":["#.repeat(depth);
    let close = "]}}}".repeat(depth);
    format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"attributes":[{open}{close}]}}]}}]}}]}}"#)
}

#[test]
fn values_nested_above_the_limit_of_the_check_are_refused() {
    let max = usize::from(MAX_NESTING);
    for nest in [log_with_nested_arrays, log_with_nested_maps] {
        let bytes = decode_checked(Signal::Logs, &nest(max)).unwrap();
        check(Signal::Logs, &bytes).unwrap();
        encode_decoded(Signal::Logs, &nest(max));
        for depth in [max + 1, 10_000] {
            let error = decode_checked(Signal::Logs, &nest(depth)).unwrap_err();
            assert_eq!(error.kind, JsonErrorKind::Nesting);
            assert!(error.path.starts_with("resourceLogs[0].scopeLogs[0].logRecords[0]."));
        }
    }
    assert_eq!(
        decode_checked(Signal::Logs, &log_with_nested_arrays(max + 1)).unwrap_err().kind.to_string(),
        "values nested more than 100 deep"
    );
}

#[test]
fn skipped_values_nested_above_the_limit_are_refused() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let unknown = |depth: usize| format!(r#"{{"x":{}{},"y":1}}"#, open.repeat(depth) + "0", close.repeat(depth));
        assert_eq!(decode_checked(Signal::Traces, &unknown(usize::from(MAX_NESTING))), Ok(Vec::new()));
        for depth in [usize::from(MAX_NESTING) + 1, 100_000] {
            assert_eq!(decode_checked(Signal::Traces, &unknown(depth)).unwrap_err().kind, JsonErrorKind::Nesting);
        }
    }
    for crossed in [r#"{"x":[{"a":1]}}"#, r#"{"x":{"a":[1}]}"#] {
        assert!(decode_checked(Signal::Traces, crossed).is_err(), "{crossed}");
    }
}

#[test]
fn number_of_any_length_is_read_or_refused() {
    let double = |number: &str| {
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{{"doubleValue":{number}}}}}]}}]}}]}}"#)
    };
    let digits = "9".repeat(100_000);
    assert!(decode_checked(Signal::Logs, &double(&digits)).is_err());
    assert!(decode_checked(Signal::Logs, &double(&format!("0.{digits}"))).is_ok());
    assert!(decode_checked(Signal::Logs, &double(&format!("1e-{digits}"))).is_ok());
    assert!(decode_checked(Signal::Logs, &double(&format!("1e{digits}"))).is_err());
    let int = double(&digits).replace("doubleValue", "intValue");
    assert_eq!(decode_checked(Signal::Logs, &int).unwrap_err().kind, JsonErrorKind::Number("an int64"));
}

#[test]
fn repeated_message_is_merged_and_oneof_alternative_is_replaced() {
    let text = r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"a"}],"droppedAttributesCount":1},"scopeMetrics":[{"metrics":[
        {"gauge":{"dataPoints":[{"asInt":"1"}]},"name":"n","gauge":{"dataPoints":[{"asInt":"2"}]}},
        {"gauge":{"dataPoints":[{"asInt":"1"}]},"sum":{"isMonotonic":true},"unit":"u","sum":null}
        ]}],"resource":{"attributes":[{"key":"b"}],"droppedAttributesCount":0}}]}"#;
    let merged = r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"a","value":{}},{"key":"b","value":{}}]},"scopeMetrics":[{"scope":{},"metrics":[{"name":"n","gauge":{"dataPoints":[{"asInt":"2"}]}},{"unit":"u","sum":{}}]}]}]}"#;
    assert_eq!(encode_decoded(Signal::Metrics, text), merged);
    assert_eq!(check(Signal::Metrics, &decode_checked(Signal::Metrics, text).unwrap()).unwrap().items, 1);
}

#[test]
fn message_in_several_occurrences_is_encoded_as_one() {
    use crate::wire_format::{put_bytes_field, put_varint_field};
    let mut entry = Vec::new();
    // Scopes before the resource, which is in two pieces.
    put_bytes_field(&mut entry, 2, b"");
    put_bytes_field(&mut entry, 1, b"\x0a\x03\x0a\x01a\x10\x01");
    put_bytes_field(&mut entry, 1, b"\x0a\x03\x0a\x01b\x10\x02");
    put_varint_field(&mut entry, 99, 1);
    let mut body = Vec::new();
    put_bytes_field(&mut body, 1, &entry);
    let mut rope = Rope::default();
    rope.push(RopePart { bytes: body.into(), items: 0 });
    let mut out = Vec::new();
    encode(Signal::Logs, &rope, &mut out);
    let whole = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"a","value":{}},{"key":"b","value":{}}],"droppedAttributesCount":2},"scopeLogs":[{"scope":{}}]}]}"#;
    assert_eq!(String::from_utf8(out).unwrap(), whole);
}

#[test]
fn empty_body_is_encoded_as_an_empty_object() {
    for signal in Signal::ALL {
        let mut out = b"x".to_vec();
        encode(signal, &Rope::default(), &mut out);
        assert_eq!(out, b"x{}");
        assert_eq!(decode_checked(signal, "{}"), Ok(Vec::new()));
    }
}

#[test]
fn legacy_scopes_are_decoded_with_their_own_number() {
    let old = |span: &str| format!(r#"{{"resourceSpans":[{{"deprecatedScopeSpans":[{{"spans":[{span}]}}]}}]}}"#);
    let bytes = decode_checked(Signal::Traces, &old(r#"{"name":"n"}"#)).unwrap();
    assert!(check(Signal::Traces, &bytes).unwrap().has_legacy_scopes);
    assert_eq!(crate::checked_rope(Signal::Traces, bytes.into()).unwrap().items(), 1);
    assert!(decode_checked(Signal::Traces, &old(r#"{"traceId":"00"}"#)).is_err());
}

#[test]
fn shortest_elements_decode_to_at_most_four_times_their_bytes() {
    for text in [
        format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{{"bucketCounts":[0{}]}}]}}}}]}}]}}]}}"#,
            ",0".repeat(10_000)
        ),
        format!(r#"{{"resourceMetrics":[{}{{}}]}}"#, "{},".repeat(10_000)),
        format!(r#"{{"resourceMetrics":[{{"deprecatedScopeMetrics":[{}{{}}]}}]}}"#, "{},".repeat(10_000)),
    ] {
        let bytes = decode_checked(Signal::Metrics, &text).unwrap();
        assert!(bytes.len() <= 4 * text.len(), "{} from {}", bytes.len(), text.len());
    }
}

#[test]
fn server_responses_are_decoded() {
    let names = [
        (Signal::Traces, "rejectedSpans"),
        (Signal::Metrics, "rejectedDataPoints"),
        (Signal::Logs, "rejectedLogRecords"),
    ];
    for (signal, name) in names {
        for rejected in ["\"3\"", "3"] {
            let text = format!(r#"{{"x":[],"partialSuccess":{{"{name}":{rejected},"errorMessage":"old","y":{{}}}}}}"#);
            let expected = PartialSuccess { rejected: 3, message: "old".to_owned() };
            assert_eq!(decode_partial_success(signal, text.as_bytes()), Ok(expected));
        }
        for full in ["{}", r#"{"partialSuccess":{}}"#, r#"{"partial_success":null}"#] {
            assert_eq!(decode_partial_success(signal, full.as_bytes()), Ok(PartialSuccess::default()));
        }
    }
    let error = decode_partial_success(Signal::Traces, br#"{"partialSuccess":{"rejectedSpans":"x"}}"#).unwrap_err();
    assert_eq!(error.to_string(), "partialSuccess.rejectedSpans: not an int64 (at byte 35)");
    let text = br#"{"code":14, "message":"busy","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo"}]}"#;
    assert_eq!(decode_status(text), Ok(RpcStatus { code: 14, message: "busy".to_owned() }));
    assert!(decode_status(b"<html>").is_err());
}

/// Run with `cargo test --release -p otelcore-pdata speed -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn hundred_spans_are_encoded_and_decoded_and_the_speed_is_printed() {
    let span = r#"{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","parentSpanId":"eee19b7ec3c1b173","flags":257,"name":"GET /api/v1/users","kind":2,"startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000","attributes":[{"key":"http.request.method","value":{"stringValue":"GET"}},{"key":"http.route","value":{"stringValue":"/api/v1/users/{id}"}},{"key":"http.response.status_code","value":{"intValue":"200"}},{"key":"server.address","value":{"stringValue":"users.example.com"}},{"key":"user_agent.original","value":{"stringValue":"Mozilla/5.0 (X11; Linux x86_64)"}}],"events":[{"timeUnixNano":"1544712660500000000","name":"cache miss","attributes":[{"key":"attempt","value":{"intValue":"1"}}]}],"status":{}}"#;
    let text = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"users"}}}}]}},"scopeSpans":[{{"scope":{{"name":"http"}},"spans":[{}]}}]}}]}}"#,
        vec![span; 100].join(",")
    );
    let (mut bytes, mut back) = (Vec::new(), Vec::new());
    let rounds = 4_000_u32;
    #[allow(clippy::disallowed_methods, reason = "a measurement")]
    let measured = |what: &str, len: usize, work: &mut dyn FnMut()| {
        for _ in 0..rounds / 10 {
            work();
        }
        let start = std::time::Instant::now();
        for _ in 0..rounds {
            work();
        }
        let seconds = start.elapsed().as_secs_f64();
        println!("{what}: {:.0} MB/s", f64::from(rounds) * len as f64 / seconds / 1e6);
    };
    measured("decode (JSON bytes)", text.len(), &mut || {
        bytes.clear();
        decode(Signal::Traces, text.as_bytes(), &mut bytes).unwrap();
    });
    let mut rope = Rope::default();
    rope.push(RopePart { items: 100, bytes: Bytes::from(decode_checked(Signal::Traces, &text).unwrap()) });
    println!("{} bytes of JSON, {} of protobuf", text.len(), rope.len());
    measured("encode (JSON bytes)", text.len(), &mut || {
        back.clear();
        encode(Signal::Traces, &rope, &mut back);
    });
    assert_eq!(text.as_bytes(), back);
}

/// A document of a span with one attribute of this value.
fn span_with_attribute(value: &str) -> String {
    let attribute = format!(r#"{{"key":"k","value":{value}}}"#);
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"attributes":[{attribute}]}}]}}]}}]}}"#)
}

/// `value` inside `levels` other values, each with `before` before the inner one.
fn nested_values(levels: usize, before: [&str; 2], value: &str) -> String {
    (0..levels).fold(value.to_owned(), |inner, level| match level % 2 {
        0 => format!(r#"{{{}"arrayValue":{{"values":[{inner}]}}}}"#, before[0]),
        _ => format!(r#"{{{}"kvlistValue":{{"values":[{{{}"value":{inner}}}]}}}}"#, before[0], before[1]),
    })
}

#[test]
fn moved_bytes_are_proportional_to_the_text_for_every_shape() {
    type Make = fn(&str, usize) -> String;
    let text = |n: usize| format!(r#"{{"stringValue":"{}"}}"#, "x".repeat(n));
    // Alternatives and values that are replaced: each level has an earlier one.
    let earlier = [r#""intValue":"1","arrayValue":{"values":[{"boolValue":true}]},"#, r#""value":{"intValue":"2"},"#];
    let unknown = [r#""other":[1,2,{"a":"b"}],"#, r#""value":{"intValue":"2"},"value":{"other":{}},"#];
    let documents: [(&str, Make); 6] = [
        ("one large value", |value, _| span_with_attribute(value)),
        ("many spans", |_, n| {
            let span = r#"{"name":"a name of a span","attributes":[{"key":"k","value":{"stringValue":"value"}}]}"#;
            let spans = vec![span; n / span.len()].join(",");
            format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#)
        }),
        ("many small values", |_, n| {
            span_with_attribute(&format!(
                r#"{{"arrayValue":{{"values":[{}]}}}}"#,
                vec![r#"{"intValue":1}"#; n / 15].join(",")
            ))
        }),
        ("many alternatives, each large", |value, _| {
            let inner = value.trim_matches(['{', '}']);
            let pieces = vec![inner; 20].join(",");
            span_with_attribute(&format!("{{{pieces}}}"))
        }),
        ("many packed counts", |_, n| {
            let counts = vec!["0"; n / 2].join(",");
            let point = format!(r#"{{"bucketCounts":[{counts}]}}"#);
            let metric = format!(r#"{{"histogram":{{"dataPoints":[{point}]}}}}"#);
            format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{metric}]}}]}}]}}"#)
        }),
        ("one large string of bytes", |_, n| {
            span_with_attribute(&format!(r#"{{"bytesValue":"{}"}}"#, "AAAA".repeat(n / 4)))
        }),
    ];
    for n in [1 << 17, 1 << 20] {
        let mut all: Vec<(String, String)> =
            documents.iter().map(|(name, make)| ((*name).to_owned(), make(&text(n), n))).collect();
        for levels in [3, 30, 98] {
            for (kind, before) in [("plain", ["", ""]), ("earlier ones", earlier), ("unknown fields", unknown)] {
                all.push((
                    format!("{levels} levels, {kind}, large"),
                    span_with_attribute(&nested_values(levels, before, &text(n))),
                ));
                let one = nested_values(levels, before, &text(1000));
                let many = vec![one.as_str(); n / one.len() + 1].join(",");
                let values = span_with_attribute(&format!(r#"{{"arrayValue":{{"values":[{many}]}}}}"#));
                all.push((format!("{levels} levels, {kind}, many"), values));
            }
        }
        for (name, document) in all {
            let signal = if name.contains("packed") { Signal::Metrics } else { Signal::Traces };
            let moved = moved_bytes(signal, document.as_bytes());
            let bound = 8 * document.len() + (4 << 20);
            assert!(moved <= bound, "{name}: {moved} bytes moved for {} of text", document.len());
            let bytes = decode_checked(signal, &document).unwrap();
            check(signal, &bytes).unwrap();
        }
    }
}

#[test]
fn replaced_values_and_alternatives_keep_the_last() {
    for (value, kept) in [
        (r#"{"intValue":1,"stringValue":"a","intValue":2}"#, r#"{"intValue":"2"}"#),
        (r#"{"arrayValue":{"values":[{}]},"kvlistValue":null}"#, r#"{"kvlistValue":{}}"#),
        (r#"{"stringValue":"a"},"value":{}"#, r#"{"stringValue":"a"}"#),
        (r#"{"stringValue":"a"},"value":{"other":{"stringValue":1}}"#, r#"{"stringValue":"a"}"#),
        (r#"{"stringValue":"a"},"value":null"#, r#"{"stringValue":"a"}"#),
        (r#"{"stringValue":"a"},"key":"k","value":{"x":1,"boolValue":false}"#, r#"{"boolValue":false}"#),
        (r#"{"stringValue":"a"},"value":{},"value":{"intValue":3},"value":{}"#, r#"{"intValue":"3"}"#),
    ] {
        for padding in ["", &" ".repeat(1 << 17)] {
            let text = format!("{}{padding}", span_with_attribute(value));
            let expected = encode_decoded(Signal::Traces, &span_with_attribute(kept));
            assert_eq!(encode_decoded(Signal::Traces, &text), expected, "{value}");
        }
    }
    let fault = span_with_attribute(r#"{"stringValue":"a"},"value":{"other":tru}"#);
    assert!(decode_checked(Signal::Traces, &fault).unwrap_err().path.ends_with("attributes[0].value"));
}
