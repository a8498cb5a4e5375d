use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use otelcore_pdata::Signal;
use prost::Message;

use super::SpanFactory;
use crate::testing::{Started, attributes, messages, request, show, string};

/// The name and the attributes of a span afterwards.
fn renamed(yaml: &str, name: &str) -> (String, Vec<String>) {
    let span = Span { name: name.to_owned(), attributes: attributes(&[("a", string("1"))]), ..Span::default() };
    let mut it = Started::new(&SpanFactory, yaml, Signal::Traces);
    let edited = it.process(request(&[], vec![span]).encode_to_vec());
    let request = ExportTraceServiceRequest::decode(&*edited[0]).unwrap();
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    (span.name.clone(), span.attributes.iter().map(show).collect())
}

#[test]
fn groups_without_a_place_in_the_name_make_attributes() {
    let rule = |rule: &str| format!("name: {{to_attributes: {{rules: ['{rule}']}}}}");
    let expected = |name: &str, entries: &[&str]| {
        (name.to_owned(), entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(
        renamed(&rule("(?P<no>x)?(?P<all>.*)"), "abc"),
        expected("{all}", &["a=\"1\"", "no=\"\"", "all=\"abc\""])
    );
    assert_eq!(
        renamed(&rule("(?P<outer>b(?P<inner>c))"), "abcd"),
        expected("a{outer}d", &["a=\"1\"", "outer=\"bc\"", "inner=\"c\""])
    );
}

#[test]
fn mistakes_have_the_path_of_their_key() {
    let missing = "name: error creating \"span\" processor: either \"from_attributes\" or \"to_attributes\" must be \
                   specified in \"name:\" or \"setStatus\" must be specified";
    for (yaml, expected) in [
        ("{}", missing),
        ("name: {to_attributes: {rules: ['(']}}", "name::to_attributes::rules: invalid regexp pattern ("),
        (
            "status: {code: ok}",
            "status::code: error creating \"span\" processor: \"status\" must have specified \"code\" as \"Ok\" or \
             \"Error\" or \"Unset\"",
        ),
        (
            "status: {code: Ok, description: x}",
            "status::description: error creating \"span\" processor: \"description\" can be specified only for \
             \"code\" \"Error\"",
        ),
    ] {
        let found = messages(&SpanFactory, yaml);
        assert!(found.iter().any(|message| message.ends_with(expected)), "{found:?}");
    }
}
