//! Cases in which the translation differs from Go's on purpose, bounds, and properties for any log records.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, dead_code, reason = "a test")]

#[path = "../../pdata/tests/oracle/generate.rs"]
mod generate;
#[path = "oracle/proto.rs"]
mod proto;

use generate::Choices;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use otelcore_exporter_loki::{DefaultLabels, encode_logs};
use otelcore_net::EncodedBody;
use otelcore_pdata::{Rope, Signal, check};
use otelcore_pipeline::{EncodeLimits, EncodedPiece, Piece};
use proptest::prelude::*;
use prost::Message;
use proto::{PushRequest, Stream};

fn string(text: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) })
}

fn attributes(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    let attribute =
        |(key, value): &(&str, &str)| KeyValue { key: (*key).to_owned(), value: string(value), ..KeyValue::default() };
    pairs.iter().map(attribute).collect()
}

fn record(body: &str, pairs: &[(&str, &str)]) -> LogRecord {
    LogRecord { body: string(body), attributes: attributes(pairs), ..LogRecord::default() }
}

fn rope(request: &ExportLogsServiceRequest) -> Rope {
    let bytes = request.encode_to_vec();
    let items = check(Signal::Logs, &bytes).unwrap().items;
    Rope::new(bytes.into(), items)
}

fn body(resource: &[(&str, &str)], log_records: Vec<LogRecord>) -> Rope {
    let resource = Some(Resource { attributes: attributes(resource), ..Resource::default() });
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    rope(&ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }],
    })
}

fn encode(piece: Piece) -> EncodedPiece<EncodedBody> {
    let defaults = DefaultLabels { level: true, ..DefaultLabels::default() };
    let limits = EncodeLimits { message_bytes: usize::MAX, max_messages: 100, total_bytes: usize::MAX };
    encode_logs(defaults, 7_000_000_001, piece, limits)
}

fn streams(body: Rope) -> Vec<Stream> {
    let encoded = encode(Piece { body, ..Piece::default() });
    let requests = encoded.messages.iter().map(|message| message.content.parts.concat());
    requests.flat_map(|request| PushRequest::decode(request.as_slice()).unwrap().streams).collect()
}

#[test]
fn body_of_several_lines_is_one_value_of_logfmt() {
    let records = ["a=b\nc=d", "a=b\n", "a b"].map(|text| record(text, &[("loki.format", "logfmt")]));
    let lines: Vec<_> = streams(body(&[], records.to_vec())).remove(0).entries.into_iter().map(|e| e.line).collect();
    assert_eq!(lines, ["msg=\"a=b\\nc=d\"", "a=b", "a= b="]);
}

#[test]
fn record_without_a_time_has_the_present_one() {
    let stream = streams(body(&[], vec![record("x", &[])])).remove(0);
    let time = stream.entries[0].timestamp.clone().unwrap();
    assert_eq!((time.seconds, time.nanos, stream.labels.as_str()), (7, 1, "{}"));
}

#[test]
fn names_of_labels_have_only_characters_that_loki_accepts() {
    let hints = [("loki.attribute.labels", "größe,...,1,a.b"), ("größe", "a"), ("...", "b"), ("1", "c"), ("a.b", "d")];
    let stream = streams(body(&[], vec![record("x", &hints)])).remove(0);
    assert_eq!(stream.labels, r#"{a_b="d", gr__e="a", key_1="c"}"#);
}

#[test]
fn records_of_each_tenant_are_in_a_request_with_its_name() {
    let tenants = ["a", "b", "", "c", "a"];
    let records = tenants.map(|tenant| record(tenant, &[("loki.tenant", "t"), ("t", tenant)]));
    let encoded = encode(Piece { body: body(&[], records.to_vec()), ..Piece::default() });
    let mut found: Vec<_> = encoded
        .messages
        .iter()
        .map(|message| {
            let tenant = message.content.headers.first().map(|(name, value)| format!("{name} {value}"));
            (tenant.unwrap_or_default(), message.body.items())
        })
        .collect();
    found.sort();
    let expected = [("", 1), ("X-Scope-OrgID a", 2), ("X-Scope-OrgID b", 1), ("X-Scope-OrgID c", 1)];
    assert_eq!(found, expected.map(|(tenant, items)| (tenant.to_owned(), items)));
}

#[test]
fn long_payload_becomes_several_requests_and_refused_one_halves() {
    let text = "x".repeat(100_000);
    let records = vec![record(&text, &[]); 100];
    let encoded = encode(Piece { body: body(&[], records), ..Piece::default() });
    assert!(encoded.messages.iter().all(|message| message.bytes <= 4 << 20));
    assert_eq!(encoded.messages.iter().map(|message| message.body.items()).sum::<u32>(), 100);
    let piece = Piece { body: body(&[], vec![record("x", &[]); 8]), too_large: true, ..Piece::default() };
    assert_eq!(encode(piece).messages.iter().map(|message| message.body.items()).collect::<Vec<_>>(), [4, 4]);
}

#[test]
fn record_with_too_many_labels_or_a_wrong_format_is_left_out() {
    let names: Vec<_> = (0..200).map(|at| format!("k{at}")).collect();
    let hint = names.join(",");
    let mut many = record("many", &[("loki.attribute.labels", &hint)]);
    many.attributes.extend(names.iter().map(|name| attributes(&[(name, "v")]).remove(0)));
    let long = "x".repeat(20_000);
    let long = record("long", &[("loki.attribute.labels", "a"), ("a", &long)]);
    let records = vec![record("fine", &[]), many, long, record("other", &[("loki.format", "xml")])];
    let encoded = encode(Piece { body: body(&[], records), ..Piece::default() });
    // The names of a hint are read up to the limit.
    assert_eq!(encoded.messages[0].left_out.unwrap().count, 2);
    let only = encode(Piece { body: body(&[], vec![record("x", &[("loki.format", "xml")])]), ..Piece::default() });
    assert_eq!(only.messages[0].left_out.unwrap().count, only.messages[0].body.items());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn any_log_records_give_requests_that_can_be_decoded(
        bytes in proptest::collection::vec(any::<u8>(), 0..3000),
        format in 0..3_usize,
    ) {
        let mut request = generate::logs(&mut Choices(&bytes));
        for resource in &mut request.resource_logs {
            let format = ["json", "logfmt", "raw"][format];
            resource.resource.get_or_insert_default().attributes.extend(attributes(&[("loki.format", format)]));
        }
        let body = rope(&request);
        let encoded = encode(Piece { body: body.clone(), ..Piece::default() });
        let items: u32 = encoded.messages.iter().map(|message| message.body.items()).sum();
        prop_assert_eq!(items, body.items());
        for message in encoded.messages {
            PushRequest::decode(message.content.parts.concat().as_slice()).unwrap();
        }
    }
}
