use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otelcore_kafka_client::RecordHeader;
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::Held;
use prost::Message;

use crate::decode::{MessageDecoder, MessageEncoding, MessageError};

fn decode(signal: Signal, encoding: &str, value: &[u8]) -> Result<Rope, MessageError> {
    let encoding = MessageEncoding::parse(signal, encoding).unwrap();
    let headers =
        vec![("h".to_owned(), b"kafka.header.h".to_vec()), ("none".to_owned(), b"kafka.header.none".to_vec())];
    let decoder = MessageDecoder { signal, encoding, headers: headers.into() };
    let header = |value: &[u8]| RecordHeader { key: "h".to_owned(), value: value.to_vec() };
    decoder.decode(&Bytes::copy_from_slice(value), &[header(b"first"), header(b"second")], 5, &mut Held::default())
}

fn logs(encoding: &str, value: &[u8]) -> String {
    let rope = decode(Signal::Logs, encoding, value).unwrap();
    assert_eq!(rope.items(), 1);
    let request = ExportLogsServiceRequest::decode(rope.to_bytes()).unwrap();
    let resource = &request.resource_logs[0];
    let attributes: Vec<String> =
        resource.resource.iter().flat_map(|r| &r.attributes).map(|a| format!("{}={:?}", a.key, a.value)).collect();
    assert_eq!(attributes.len(), 1, "a header that is not there has no attribute");
    assert!(attributes[0].starts_with("kafka.header.h=") && attributes[0].contains("\"first\""), "{attributes:?}");
    let record = &resource.scope_logs[0].log_records[0];
    format!("{} {:?}", record.observed_time_unix_nano, record.body.as_ref().unwrap().value.as_ref().unwrap())
}

#[test]
fn messages_of_logs_are_bodies() {
    assert_eq!(logs("raw", b"a\xff"), "0 BytesValue([97, 255])");
    assert_eq!(logs("text", "\u{e4}".as_bytes()), "5 StringValue(\"\u{e4}\")");
    assert_eq!(logs("text_iso-8859-1", b"\xe4"), "5 StringValue(\"\u{e4}\")");
    let json = logs("json", b"{\"a\": 1}");
    assert!(json.starts_with("5 KvlistValue") && json.contains("DoubleValue(1.0)"), "{json}");
    assert!(logs("json", b"null").contains("values: []"));
    for value in [&b"[1]"[..], b"{", b""] {
        assert!(matches!(decode(Signal::Logs, "json", value), Err(MessageError::Invalid(_))));
    }
}

#[test]
fn spans_of_each_encoding_are_decoded() {
    let id = |n: u8, len: usize| (1..=len as u8).map(|i| i + n).collect::<Vec<u8>>();
    // A span of Jaeger's model: ids, a name, and a process with a name.
    let mut jaeger = vec![0x0a, 16];
    jaeger.extend(id(0, 16));
    jaeger.extend([0x12, 8]);
    jaeger.extend(id(0, 8));
    jaeger.extend(b"\x1a\x03get\x52\x06\x0a\x04shop");
    let zipkin = br#"[{"traceId":"0102030405060708090a0b0c0d0e0f10","id":"0102030405060708","name":"get",
        "localEndpoint":{"serviceName":"shop"}}]"#;
    let json = br#"{"traceId":"AQIDBAUGBwgJCgsMDQ4PEA==","spanId":"AQIDBAUGBwg=","operationName":"get",
        "startTime":"1970-01-01T00:00:00Z","process":{"serviceName":"shop"}}"#;
    for (encoding, value) in [("jaeger_proto", &jaeger[..]), ("jaeger_json", json), ("zipkin_json", zipkin)] {
        let rope = decode(Signal::Traces, encoding, value).unwrap();
        let request = ExportTraceServiceRequest::decode(rope.to_bytes()).unwrap();
        let resource = &request.resource_spans[0];
        let span = &resource.scope_spans[0].spans[0];
        assert_eq!((span.name.as_str(), &span.trace_id), ("get", &id(0, 16)), "{encoding}");
        let attributes = &resource.resource.as_ref().unwrap().attributes;
        assert!(attributes.iter().any(|a| a.key == "service.name"), "{encoding}: {attributes:?}");
        assert!(attributes.iter().any(|a| a.key == "kafka.header.h"), "{encoding}: {attributes:?}");
    }
    for encoding in
        ["otlp_proto", "otlp_json", "jaeger_proto", "jaeger_json", "zipkin_proto", "zipkin_json", "zipkin_thrift"]
    {
        assert!(
            matches!(decode(Signal::Traces, encoding, b"\xff\xff\xff"), Err(MessageError::Invalid(_))),
            "{encoding}"
        );
    }
}

#[test]
fn requests_of_otlp_are_payloads() {
    let json = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"},{"name":"b"}]}]}]}"#;
    let rope = decode(Signal::Traces, "otlp_json", json).unwrap();
    assert_eq!(rope.items(), 2);
    assert_eq!(decode(Signal::Traces, "otlp_proto", &rope.to_bytes()).unwrap().items(), 2);
}
