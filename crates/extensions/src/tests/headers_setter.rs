//! Tests of `headers_setter`.

use std::borrow::Cow;
use std::rc::Rc;

use otelcore_pipeline::{ClientAuth, Metadata, OfferedCapabilities, OutgoingHeaders, RequestProtocol, ServerAuth};
use otelcore_testkit::{TestContext, TestWorld, extension};

use super::{Fixture, parse};
use crate::{BasicAuthFactory, BearerTokenAuthFactory, HeadersSetterFactory};

/// Applies the extension to a request that has the field `x-old: old`, over HTTP.
fn apply(yaml: &str, metadata: &Metadata) -> Result<String, String> {
    let fixture = Fixture::new(&HeadersSetterFactory, yaml).started();
    let auth = fixture.offered::<dyn ClientAuth>().unwrap();
    let fields = vec![(Cow::Borrowed("X-Old"), Cow::Borrowed("old"))];
    let mut headers = OutgoingHeaders::new(RequestProtocol::Http, Some(metadata), fields);
    auth.apply(&mut TestWorld::new().cx(), &mut headers).map_err(|why| why.0)?;
    Ok(headers.into_fields().iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(", "))
}

#[test]
fn actions_set_change_and_remove_fields() {
    let none = Metadata::default();
    for (yaml, expected) in [
        ("{action: insert, key: x-old, value: new}", "X-Old: old"),
        ("{action: insert, key: x-new, value: new}", "X-Old: old, X-New: new"),
        ("{action: update, key: X-OLD, value: new}", "X-Old: new"),
        ("{action: update, key: x-new, value: new}", "X-Old: old"),
        ("{action: upsert, key: x-old, value: new}", "X-Old: new"),
        ("{action: upsert, key: x-new, value: \"new\\n\"}", "X-Old: old, X-New: new"),
        ("{action: delete, key: x-old}", ""),
        ("{key: x-old, value: new}", "X-Old: new"),
    ] {
        assert_eq!(apply(&format!("headers: [{yaml}]"), &none).as_deref(), Ok(expected), "{yaml}");
    }
}

#[test]
fn values_come_from_metadata_and_from_the_authenticator() {
    let mut metadata = Metadata::default();
    metadata.add("Tenant", "acme");
    metadata.add("Two", "1");
    metadata.add("Two", "2");
    metadata.set_auth_attributes(vec![("username".to_owned(), "bob".to_owned())]);
    for (source, expected) in [
        ("from_context: TENANT", "acme"),
        ("from_context: other", ""),
        ("from_context: other, default_value: d", "d"),
        ("from_attribute: username, default_value: d", "bob"),
        ("from_attribute: subject, default_value: d", "d"),
    ] {
        let yaml = format!("headers: [{{action: update, key: x-old, {source}}}]");
        assert_eq!(apply(&yaml, &metadata), Ok(format!("X-Old: {expected}")), "{source}");
    }
    assert_eq!(
        apply("headers: [{action: upsert, key: x-old, from_context: two}]", &metadata).unwrap_err(),
        "failed to determine the source: 2 source keys found in the context, can't determine which one to use"
    );
}

#[test]
fn configuration_that_the_go_collector_refuses_is_an_error() {
    let source = "missing header source, must be 'from_context', 'from_attribute' or 'value'";
    let conflict = "invalid header source, must either 'from_context', 'from_attribute' or 'value'";
    for (yaml, expected) in [
        ("{}", "missing headers configuration"),
        ("headers: [{value: a}]", "missing header name"),
        ("headers: [{key: '', value: a}]", "missing header name"),
        ("headers: [{key: a}]", source),
        ("headers: [{key: a, value: a, from_context: b}]", conflict),
        ("headers: [{key: a, from_attribute: a, from_context: b}]", conflict),
        ("headers: [{key: 'a b', value: a}]", "'key' is no name that a header can have"),
        ("headers: [{key: a, value: \"a\\nb\"}]", "'value' has characters that a header can't have"),
        (
            "headers: [{key: a, from_context: a, default_value: \"a\\0b\"}]",
            "'default_value' has characters that a header can't have",
        ),
    ] {
        assert_eq!(parse(&HeadersSetterFactory, yaml).messages, [expected], "{yaml}");
    }
    let unknown = parse(&HeadersSetterFactory, "headers: [{action: remove, key: a}]").messages;
    assert!(unknown.iter().any(|message| message.contains("remove")), "{unknown:?}");
    assert!(
        parse(&HeadersSetterFactory, "headers: [{action: delete, key: a}]\nadditional_auth: basicauth/x")
            .messages
            .is_empty()
    );
}

#[test]
fn header_without_an_action_is_reported_at_the_start() {
    let fixture = Fixture::new(&HeadersSetterFactory, "headers: [{key: a, value: b}]").started();
    let lines = fixture.take_log_lines();
    assert!(lines.len() == 1 && lines[0].contains("The action was not provided, using 'upsert'"), "{lines:?}");
}

/// What a chain of `headers_setter` and `bearertokenauth` sends.
fn chained(protocol: RequestProtocol) -> (String, bool) {
    let mut bearer = Fixture::new(&BearerTokenAuthFactory, "token: t").started();
    let mut offered = OfferedCapabilities::default();
    bearer.extension.offer_capabilities(&mut offered);
    let mut context = TestContext::new();
    context.capabilities.add(&"bearertokenauth".parse().unwrap(), offered);
    let yaml = "headers: [{action: upsert, key: authorization, value: mine}]\nadditional_auth: bearertokenauth";
    let setter = extension(context.create(&HeadersSetterFactory, "headers_setter", yaml).unwrap());
    let mut offered = OfferedCapabilities::default();
    setter.offer_capabilities(&mut offered);
    let auth: Rc<dyn ClientAuth> = offered.get().unwrap();
    let mut headers = OutgoingHeaders::new(protocol, None, Vec::new());
    auth.apply(&mut bearer.world.cx(), &mut headers).unwrap();
    (headers.get("authorization").unwrap().to_owned(), auth.requires_tls())
}

#[test]
fn additional_authenticator_is_applied_in_the_order_of_the_go_collector() {
    assert_eq!(chained(RequestProtocol::Http), ("Bearer t".to_owned(), true));
    assert_eq!(chained(RequestProtocol::Grpc), ("mine".to_owned(), true));
    let context = TestContext::new();
    let yaml = "headers: [{key: a, value: b}]\nadditional_auth: bearertokenauth";
    let error = context.create(&HeadersSetterFactory, "headers_setter", yaml).err().unwrap();
    assert!(error.contains("failed to resolve authenticator \"bearertokenauth\": authenticator not found"), "{error}");
}

#[test]
fn basic_authenticator_knows_the_user_of_a_request() {
    let fixture =
        Fixture::new(&BasicAuthFactory, "htpasswd: {inline: 'bob:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M='}").started();
    let auth = fixture.offered::<dyn ServerAuth>().unwrap();
    let header = |name: &str| (name == "authorization").then_some(Cow::Borrowed(&b"Basic Ym9iOnRlc3Q="[..]));
    let attributes = auth.attributes(&header);
    let expected =
        [("username", "bob"), ("raw", "Ym9iOnRlc3Q=")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(attributes, expected);
    assert!(auth.attributes(&|_| None).is_empty());
    assert!(auth.attributes(&|_| Some(Cow::Borrowed(&b"x"[..]))).is_empty());
}
