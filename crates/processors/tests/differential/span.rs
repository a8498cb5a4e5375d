//! Names and attributes of spans.

use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use otelcore_pdata::Signal;

use crate::telemetry::{KEYS, attributes, traces_body};
use crate::{Case, Choices};

const NAMES: [&str; 7] = ["", "/api/v1/document/12345/update", "GET /a", "x::y", "größe 7", "idle", "a=1&b=2"];

const RULES: [&str; 9] = [
    r"^/api/v1/document/(?P<documentId>.*)/update$",
    r"(?P<a>\w+) (?P<path>.*)",
    r"(\d+)",
    r"^(?P<x>[a-z]+)::(?P<y>[a-z]+)$",
    r"(?P<p>\w)=(?P<q>\d)",
    r"(?P<opt>zz)?(?P<rest>.*)",
    r"(?P<outer>a(?P<inner>=))",
    "nothing",
    "(",
];

pub fn generate(c: &mut Choices) -> Case {
    let mut name = Vec::new();
    if c.one_in(2) {
        let mut keys = c.some_of(&KEYS);
        keys.truncate(2);
        name.push(format!("from_attributes: [{}]", keys.join(", ")));
        if c.one_in(2) {
            name.push("separator: '::'".to_owned());
        }
    }
    if c.one_in(2) {
        let rules: Vec<String> = (0..1 + c.below(3))
            .map(|_| {
                let known = if c.one_in(20) { 9 } else { 8 };
                format!("'{}'", c.choose(&RULES[..known]))
            })
            .collect();
        let mut fields = vec![format!("rules: [{}]", rules.join(", "))];
        if c.one_in(2) {
            fields.push("break_after_match: true".to_owned());
        }
        if c.one_in(3) {
            fields.push("keep_original_name: true".to_owned());
        }
        name.push(format!("to_attributes: {{{}}}", fields.join(", ")));
    }
    let mut lines = vec![format!("name: {{{}}}", name.join(", "))];
    if c.one_in(3) {
        let code = c.choose(&["Ok", "Error", "Unset", "Error", "Ok", "error"]);
        let description = if c.one_in(3) { ", description: text" } else { "" };
        lines.push(format!("status: {{code: {code}{description}}}"));
    }
    for key in ["include", "exclude"] {
        if c.one_in(4) {
            let lists =
                ["services: [x]", "span_names: ['GET /a', idle]", "attributes: [{key: a}]", "span_names: ['(']"];
            let match_type = c.choose(&["strict", "regexp"]);
            lines.push(format!("{key}: {{match_type: {match_type}, {}}}", c.choose(&lists)));
        }
    }
    let body = traces_body(c, |c| Span {
        name: c.choose(&NAMES).to_owned(),
        attributes: attributes(c, &KEYS),
        status: c.one_in(2).then(|| Status { message: "before".to_owned(), code: 2 }),
        ..Span::default()
    });
    Case { signal: Signal::Traces, yaml: lines.join("\n"), bodies: vec![body] }
}
