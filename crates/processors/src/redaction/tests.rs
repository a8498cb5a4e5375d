use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::Span;
use otelcore_pdata::Signal;
use prost::Message;

use super::RedactionFactory;
use crate::testing::{Started, attributes, map, messages, request, show, string};

/// The attributes of a span afterwards.
fn redacted(yaml: &str, entries: &[(&str, Value)]) -> Vec<String> {
    let span = Span { attributes: attributes(entries), ..Span::default() };
    let mut it = Started::new(&RedactionFactory, yaml, Signal::Traces);
    let edited = it.process(request(&[], vec![span]).encode_to_vec());
    let request = ExportTraceServiceRequest::decode(&*edited[0]).unwrap();
    request.resource_spans[0].scope_spans[0].spans[0].attributes.iter().map(show).collect()
}

#[test]
fn payload_without_anything_to_remove_is_the_same_buffer() {
    let body = request(&[("a", string("x"))], vec![Span::default()]).encode_to_vec();
    let mut it = Started::new(&RedactionFactory, "{allow_all_keys: true, blocked_values: [y]}", Signal::Traces);
    assert_eq!(it.process(body.clone()), [body]);
}

#[test]
fn attributes_are_removed_and_masked_and_the_summary_says_so() {
    let yaml = "{allowed_keys: [id, card, note], ignored_keys: [safe], blocked_values: ['4[0-9]{3}'], summary: debug}";
    let entries = [
        ("id", string("5")),
        ("card", string("card 4111 and 4222")),
        ("secret", string("x")),
        ("safe", string("4111")),
        ("note", Value::IntValue(4111)),
    ];
    assert_eq!(
        redacted(yaml, &entries),
        [
            "id=\"5\"",
            "card=\"card **** and ****\"",
            "safe=\"4111\"",
            "note=4111",
            "redaction.redacted.keys=\"secret\"",
            "redaction.redacted.count=1",
            "redaction.masked.keys=\"card\"",
            "redaction.masked.count=1",
            "redaction.ignored.count=1",
        ]
    );
}

#[test]
fn value_of_a_blocked_key_is_hashed() {
    let yaml = "{allow_all_keys: true, blocked_key_patterns: ['.*token.*'], hash_function: MD5}";
    assert_eq!(redacted(yaml, &[("my_token", string("a"))]), ["my_token=\"0cc175b9c0f1b6a831c399e269772661\""]);
}

#[test]
fn nested_values_of_a_body_are_masked_by_their_path() {
    let yaml = "{allow_all_keys: true, blocked_values: ['4[0-9]{3}'], blocked_key_patterns: [pass], summary: debug}";
    let body = map(&[("user", map(&[("pass", string("p")), ("n", Value::IntValue(4111))])), ("ok", string("fine"))]);
    let record = LogRecord { body: Some(AnyValue { value: Some(body) }), ..LogRecord::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    let request =
        ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] };
    let mut it = Started::new(&RedactionFactory, yaml, Signal::Logs);
    let edited = it.process(request.encode_to_vec());
    let request = ExportLogsServiceRequest::decode(&*edited[0]).unwrap();
    let record = &request.resource_logs[0].scope_logs[0].log_records[0];
    let expected = map(&[("user", map(&[("pass", string("****")), ("n", string("****"))])), ("ok", string("fine"))]);
    assert_eq!(record.body.as_ref().unwrap().value, Some(expected));
    assert_eq!(
        record.attributes.iter().map(show).collect::<Vec<_>>(),
        ["redaction.body.masked.keys=\"user.n,user.pass\"", "redaction.body.masked.count=2"]
    );
}

#[test]
fn value_that_would_grow_without_bound_is_masked_as_a_whole() {
    let key = "k".repeat(64);
    let yaml = format!("{{allow_all_keys: true, blocked_values: ['x'], hash_function: hmac-sha512, hmac_key: {key}}}");
    assert_eq!(redacted(&yaml, &[("a", string(&"x".repeat(100_000)))]), ["a=\"****\""]);
    let by_key =
        format!("{{allow_all_keys: true, blocked_key_patterns: [a], hash_function: hmac-sha512, hmac_key: {key}}}");
    assert_eq!(redacted(&by_key, &[("a", string(&"\n".repeat(100_000)))]), ["a=\"****\""]);
}

#[test]
fn mistakes_have_the_path_of_their_key() {
    let list = "error creating a redaction processor: failed to process block list: error compiling regex in list: error \
                parsing regexp: missing closing ): `(`";
    for (yaml, expected) in [
        ("blocked_values: [a, '(']", format!("blocked_values[1]: {list}")),
        ("hash_function: sha3", "hash_function: 'hash_function: sha3' is not supported: write `md5`, `sha1`, `hmac-sha256` or `hmac-sha512`".to_owned()),
        (
            "hash_function: x",
            "hash_function: unknown HashFunction x, allowed functions are sha1, sha3, md5, hmac-sha256 and hmac-sha512".to_owned(),
        ),
        ("hash_function: hmac-sha256", "hmac_key: hmac_key must not be empty when hash_function is \"hmac-sha256\"".to_owned()),
        (
            "{hash_function: hmac-sha512, hmac_key: abc}",
            "hmac_key: hmac_key must be at least 64 bytes long for \"hmac-sha512\", got 3 bytes".to_owned(),
        ),
        (
            "url_sanitizer: {enabled: true}",
            "url_sanitizer: 'url_sanitizer' is not supported: paths are not classified; mask their values with `blocked_values`".to_owned(),
        ),
    ] {
        let found = messages(&RedactionFactory, yaml);
        assert!(found.iter().any(|message| message.ends_with(&expected)), "{found:?}");
    }
    assert!(messages(&RedactionFactory, "{url_sanitizer: {enabled: false}, db_sanitizer: {}}").is_empty());
}
