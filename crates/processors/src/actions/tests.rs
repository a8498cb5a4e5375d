use opentelemetry_proto::tonic::common::v1::any_value::Value;
use otelcore_pipeline::Metadata;

use crate::ResourceFactory;
use crate::testing::{array, map, messages, string};

/// Actions on attributes of a span, the actions in flow style.
fn edited(actions: &str, entries: &[(&str, Value)]) -> Vec<String> {
    edited_with(actions, entries, Metadata::default())
}

fn edited_with(actions: &str, entries: &[(&str, Value)], metadata: Metadata) -> Vec<String> {
    crate::testing::edit_span(&crate::AttributesFactory, &format!("actions: [{actions}]"), entries, metadata)
}

#[test]
fn value_is_written_by_the_rules_of_the_action() {
    let a = || [("a", string("x")), ("b", Value::IntValue(5))];
    assert_eq!(edited("{key: a, value: 1, action: insert}", &a()), ["a=\"x\"", "b=5"]);
    assert_eq!(edited("{key: c, value: 1, action: INSERT}", &a()), ["a=\"x\"", "b=5", "c=1"]);
    assert_eq!(edited("{key: a, value: 1, action: update}", &a()), ["a=1", "b=5"]);
    assert_eq!(edited("{key: c, value: 1, action: update}", &a()), ["a=\"x\"", "b=5"]);
    assert_eq!(
        edited("{key: a, value: [1, s, {k: 1.5, n: null}, true], action: upsert}", &a()),
        ["a=[1,\"s\",{k=1.5,n=empty},true]", "b=5"]
    );
    assert_eq!(edited("{key: c, value: '', action: upsert}", &a()), ["a=\"x\"", "b=5", "c=\"\""]);
    assert_eq!(edited("{key: c, value: 18446744073709551615, action: upsert}", &[]), ["c=-1"]);
}

#[test]
fn first_source_that_has_a_value_is_used() {
    let a = || [("a", map(&[("k", Value::DoubleValue(0.5))]))];
    assert_eq!(edited("{key: c, from_attribute: a, action: insert}", &a()), ["a={k=0.5}", "c={k=0.5}"]);
    assert_eq!(edited("{key: c, from_attribute: z, action: insert}", &a()), ["a={k=0.5}"]);
    assert_eq!(edited("{key: c, from_attribute: z, default_value: d, action: insert}", &a()), ["a={k=0.5}", "c=\"d\""]);
    assert_eq!(edited("{key: c, default_value: d, action: insert}", &[]), ["c=\"d\""]);
    assert_eq!(edited("{key: a, from_attribute: a, action: upsert}", &a()), ["a={k=0.5}"]);

    let mut metadata = Metadata::default();
    metadata.add("X-Tenant", "t1");
    metadata.add("x-tenant", "t2");
    metadata.set_auth_attributes(vec![("username".to_owned(), "bob".to_owned())]);
    let with = |actions: &str| edited_with(actions, &[], metadata.clone());
    assert_eq!(with("{key: c, from_context: metadata.X-Tenant, action: insert}"), ["c=\"t1;t2\""]);
    assert_eq!(with("{key: c, from_context: x-tenant, action: insert}"), ["c=\"t1;t2\""]);
    assert_eq!(with("{key: c, from_context: metadata.other, action: insert}"), [""; 0]);
    assert_eq!(with("{key: c, from_context: metadata.other, default_value: d, action: insert}"), ["c=\"d\""]);
    assert_eq!(with("{key: c, from_context: auth.username, action: insert}"), ["c=\"bob\""]);
    assert_eq!(with("{key: c, from_context: auth.other, action: insert}"), [""; 0]);
    assert_eq!(with("{key: c, from_context: auth.Username, default_value: d, action: insert}"), ["c=\"d\""]);
    // As in the Go collector, an address that is not known is an empty value.
    let client_address = "{key: c, from_context: client.address, default_value: d, action: insert}";
    assert_eq!(with(client_address), ["c=\"\""]);
    for (address, expected) in [("10.0.0.7", "10.0.0.7"), ("::ffff:10.0.0.7", "10.0.0.7"), ("fd00::1", "fd00::1")] {
        let metadata = Metadata::of_client(address.parse().ok());
        assert_eq!(edited_with(client_address, &[], metadata), [format!("c=\"{expected}\"")]);
    }
}

#[test]
fn delete_removes_the_key_and_the_keys_that_match() {
    let entries = || [("a", string("1")), ("ab", string("2")), ("", string("3")), ("c", string("4"))];
    assert_eq!(edited("{key: a, action: delete}", &entries()), ["ab=\"2\"", "=\"3\"", "c=\"4\""]);
    assert_eq!(edited("{pattern: ^a, action: delete}", &entries()), ["c=\"4\""], "the empty key as well, as in Go");
    assert_eq!(edited("{key: c, pattern: b, action: delete}", &entries()), ["a=\"1\"", "=\"3\""]);
}

#[test]
fn hash_is_the_sha256_of_the_value() {
    let entries = [
        ("s", string("abc")),
        ("b", Value::BoolValue(true)),
        ("i", Value::IntValue(-2)),
        ("d", Value::DoubleValue(1.5)),
        ("m", map(&[])),
        ("y", Value::BytesValue(vec![1])),
    ];
    let sha = |bytes: &[u8]| {
        use sha2::Digest;
        let digits: String = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        digits
    };
    assert_eq!(sha(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let all = edited("{pattern: ., action: hash}", &entries);
    assert_eq!(
        all,
        [
            format!("s=\"{}\"", sha(b"abc")),
            format!("b=\"{}\"", sha(&[1])),
            format!("i=\"{}\"", sha(&(-2_i64).to_le_bytes())),
            format!("d=\"{}\"", sha(&1.5_f64.to_le_bytes())),
            "m=\"\"".to_owned(),
            "y=\"\"".to_owned(),
        ]
    );
    let one = edited("{key: s, pattern: ^s$, action: hash}", &entries[..1]);
    assert_eq!(one, [format!("s=\"{}\"", sha(sha(b"abc").as_bytes()))], "hashed twice, as in Go");
    assert_eq!(edited("{key: z, pattern: ^z$, action: hash}", &entries[3..4]), ["d=1.5"]);
}

#[test]
fn extract_writes_the_named_groups_of_a_string() {
    let action = r"{key: url, pattern: '^(?P<scheme>https?)://(?P<host>[^/]*)(?:/(?P<path>.+))?$', action: extract}";
    let entries = [("url", string("http://h/p")), ("host", Value::IntValue(1))];
    assert_eq!(edited(action, &entries), ["url=\"http://h/p\"", "host=\"h\"", "scheme=\"http\"", "path=\"p\""]);
    let entries = [("url", string("https://h/"))];
    assert_eq!(edited(action, &entries), ["url=\"https://h/\""]);
    let entries = [("url", string("https://h"))];
    assert_eq!(edited(action, &entries), ["url=\"https://h\"", "scheme=\"https\"", "host=\"h\"", "path=\"\""]);
    assert_eq!(edited(action, &[("url", Value::IntValue(1))]), ["url=1"]);
    let same = r"{key: a, pattern: '(?P<a>.)(?P<a>.)', action: extract}";
    assert_eq!(edited(same, &[("a", string("xy"))]), ["a=\"y\""], "of equal names the last one counts");
}

#[test]
fn convert_keeps_what_it_can_not_convert() {
    let to = |converted_type: &str, value: Value| {
        let action = format!("{{key: a, converted_type: {converted_type}, action: convert}}");
        edited(&action, &[("a", value)]).remove(0)
    };
    assert_eq!(to("int", string("-12")), "a=-12");
    assert_eq!(to("int", string("1.5")), "a=\"1.5\"");
    assert_eq!(to("int", Value::DoubleValue(-1.9)), "a=-1");
    assert_eq!(to("int", Value::BoolValue(true)), "a=1");
    assert_eq!(to("int", map(&[])), "a={}");
    assert_eq!(to("double", string("0x1p-2")), "a=0.25");
    assert_eq!(to("double", string("x")), "a=\"x\"");
    assert_eq!(to("double", Value::IntValue(3)), "a=3.0");
    assert_eq!(to("double", Value::BoolValue(false)), "a=0.0");
    assert_eq!(to("string", Value::DoubleValue(1.5)), "a=\"1.5\"");
    assert_eq!(to("string", array(&[Value::IntValue(1), string("x")])), r#"a="[1,\"x\"]""#);
    assert_eq!(edited("{key: z, converted_type: int, action: convert}", &[]), [""; 0]);
}

#[test]
fn invalid_action_has_the_message_of_the_go_collector_at_its_key() {
    let prefix = "error with key \"k\" (0-th action): error creating AttrProc";
    for (action, key, message) in [
        (
            "{action: delete}",
            "key",
            "error creating AttrProc due to missing required field (at least one of \"key\" and \"pattern\" have to be used) at the 0-th action"
                .to_owned(),
        ),
        (
            "{action: insert}",
            "key",
            "error creating AttrProc due to missing required field \"key\" at the 0-th action".to_owned(),
        ),
        (
            "{key: k, action: insert}",
            "value",
            format!(
                "{prefix}. Either field \"value\", \"from_attribute\", \"from_context\", or \"default_value\" must be specified"
            ),
        ),
        (
            "{key: k, value: 1, from_attribute: a, action: upsert}",
            "value",
            format!("{prefix} due to multiple value sources being set"),
        ),
        (
            "{key: k, value: 1, pattern: a, action: update}",
            "pattern",
            format!("{prefix}. Action \"update\" does not use the \"pattern\" field. This must not be specified"),
        ),
        (
            "{key: k, value: 1, converted_type: int, action: Update}",
            "converted_type",
            format!("{prefix}. Action \"update\" does not use the \"converted_type\" field. This must not be specified"),
        ),
        (
            "{key: k, value: 1, action: hash}",
            "value",
            format!(
                "{prefix}. Action \"hash\" does not use \"value\" or \"from_attribute\" field. These must not be specified"
            ),
        ),
        (
            "{key: k, pattern: '[', action: delete}",
            "pattern",
            format!("{prefix}. Field \"pattern\" has invalid pattern: \"[\""),
        ),
        (
            "{key: k, converted_type: int, action: delete}",
            "converted_type",
            format!("{prefix}. Action \"delete\" does not use the \"converted_type\" field. This must not be specified"),
        ),
        (
            "{key: k, from_context: a, action: extract}",
            "from_context",
            format!("{prefix}. Action \"extract\" does not use a value source field. These must not be specified"),
        ),
        (
            "{key: k, action: extract}",
            "pattern",
            format!("{prefix} due to missing required field \"pattern\" for action \"extract\""),
        ),
        (
            "{key: k, pattern: a, action: extract}",
            "pattern",
            format!("{prefix}. Field \"pattern\" contains no named matcher groups"),
        ),
        (
            "{key: k, pattern: '(?P<a>a)(b)', action: extract}",
            "pattern",
            format!("{prefix}. Field \"pattern\" contains at least one unnamed matcher group"),
        ),
        (
            "{key: k, pattern: a, action: convert}",
            "pattern",
            format!(
                "{prefix}. Action \"convert\" does not use value sources or \"pattern\" field. These must not be specified"
            ),
        ),
        (
            "{key: k, action: convert}",
            "converted_type",
            format!("{prefix} due to missing required field \"converted_type\" for action \"convert\""),
        ),
        (
            "{key: k, converted_type: bool, action: convert}",
            "converted_type",
            format!("{prefix} due to invalid value \"bool\" in field \"converted_type\" for action \"convert\""),
        ),
        ("{key: k, action: move}", "action", format!("{prefix} due to unsupported action \"move\"")),
    ] {
        let found = messages(&ResourceFactory, &format!("attributes: [{action}]"));
        assert_eq!(found, [format!("processors::resource::attributes[0]::{key}: {message}")], "{action}");
    }
    assert_eq!(
        messages(&ResourceFactory, "attributes: []"),
        ["processors::resource::attributes: missing required field \"attributes\""]
    );
    let found = messages(&ResourceFactory, "attributes: [{key: a, action: insert, valeu: 1}]");
    assert_eq!(found.len(), 1, "an error that follows from a misspelt key is left out: {found:?}");
}
