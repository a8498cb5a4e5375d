//! `headers_setter` compared with the Go extension on generated configurations and requests: recorded answers in the first
//! tier, the running Go code by `scripts/differential`.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test")]
#![cfg(feature = "headers_setter")]

use std::borrow::Cow;
use std::path::Path;
use std::rc::Rc;

use otelcore_extensions::HeadersSetterFactory;
use otelcore_pipeline::{
    Capabilities, ClientAuth, CredentialsUnavailable, Cx, Metadata, OfferedCapabilities, OutgoingHeaders,
    RequestProtocol,
};
use otelcore_test_support::{CorpusCase, ask_oracle, random_bytes, read_corpus, tool_path, write_corpus};
use otelcore_testkit::{TestContext, TestWorld, extension, parse_config};

const CASES: u64 = 600;
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/headers_setter.corpus.zst");

/// The other authenticator of the oracle.
struct FixedAuth;

impl ClientAuth for FixedAuth {
    fn apply(&self, _: &mut Cx<'_>, headers: &mut OutgoingHeaders<'_>) -> Result<(), CredentialsUnavailable> {
        headers.set("authorization", "fixed".to_owned());
        Ok(())
    }
}

/// A configuration and a request.
struct Case {
    config: String,
    is_grpc: bool,
    /// Fields that the request has. Over gRPC the Go extension does not see them.
    fields: Vec<(String, String)>,
    metadata: Vec<(String, Vec<String>)>,
    auth: Vec<(String, String)>,
}

const NAMES: [&str; 6] = ["x-a", "x-b", "authorization", "tenant", "content-type", "x-empty"];
const VALUES: [&str; 5] = ["1", "acme", "a b, c", "", "größe"];

struct Choices(std::vec::IntoIter<u8>);

impl Choices {
    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.0.next().unwrap_or(0)) % limit
    }

    fn choose(&mut self, options: &[&str]) -> String {
        options[self.below(options.len())].to_owned()
    }

    /// A name of a header; in several cases only where the protocol's libraries compare them without regard to it.
    fn name(&mut self, any_case: bool) -> String {
        let name = self.choose(&NAMES);
        if any_case && self.below(3) == 0 { name.to_uppercase() } else { name }
    }
}

fn header(c: &mut Choices, any_case: bool) -> String {
    let mut entries = Vec::new();
    // A key that is missing, or empty, is an error.
    match c.below(24) {
        0 => {}
        1 => entries.push(r#""key":"""#.to_owned()),
        _ => entries.push(format!(r#""key":"{}""#, c.name(any_case))),
    }
    let action = c.choose(&["insert", "update", "upsert", "delete", ""]);
    if !action.is_empty() {
        entries.push(format!(r#""action":"{action}""#));
    }
    // The Go extension crashes at a `delete` without a source and fails where a source of it has several values, and it
    // ignores a default of an attribute.
    let sources = if action == "delete" { 1 } else { [1, 1, 1, 1, 1, 1, 1, 0, 2][c.below(9)] };
    let first = if action == "delete" { 0 } else { c.below(3) };
    for source in 0..sources {
        match (first + source) % 3 {
            0 => entries.push(format!(r#""value":"{}""#, c.choose(&VALUES))),
            1 => {
                entries.push(format!(r#""from_context":"{}""#, c.name(true)));
                if c.below(2) == 0 {
                    entries.push(format!(r#""default_value":"{}""#, c.choose(&VALUES)));
                }
            }
            _ => entries.push(format!(r#""from_attribute":"{}""#, c.choose(&["username", "raw", "other"]))),
        }
    }
    format!("{{{}}}", entries.join(","))
}

fn case(seed: u64) -> Case {
    let mut c = Choices(random_bytes(seed, 400).into_iter());
    let is_grpc = c.below(2) == 0;
    let headers: Vec<String> = (0..c.below(6)).map(|_| header(&mut c, !is_grpc)).collect();
    let additional = if c.below(3) == 0 { r#","additional_auth":"fixed""# } else { "" };
    let config = format!(r#"{{"headers":[{}]{additional}}}"#, headers.join(","));
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut metadata: Vec<(String, Vec<String>)> = Vec::new();
    let mut auth: Vec<(String, String)> = Vec::new();
    for name in NAMES {
        if c.below(3) == 0 && !is_grpc {
            fields.push((name.to_owned(), c.choose(&VALUES)));
        }
        if c.below(2) == 0 {
            let count = [1, 1, 1, 1, 1, 2][c.below(6)];
            metadata.push((name.to_owned(), (0..count).map(|_| c.choose(&VALUES)).collect()));
        }
    }
    for name in ["username", "raw"] {
        if c.below(2) == 0 {
            auth.push((name.to_owned(), c.choose(&VALUES)));
        }
    }
    Case { config, is_grpc, fields, metadata, auth }
}

fn json_map(entries: impl Iterator<Item = String>) -> String {
    format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
}

impl Case {
    fn input(&self) -> Vec<u8> {
        let text = |(name, value): &(String, String)| format!(r#""{name}":"{value}""#);
        let list = |(name, values): &(String, Vec<String>)| format!(r#""{name}":["{}"]"#, values.join(r#"",""#));
        format!(
            r#"{{"config":{},"grpc":{},"fields":{},"metadata":{},"auth":{}}}"#,
            self.config,
            self.is_grpc,
            json_map(self.fields.iter().map(text)),
            json_map(self.metadata.iter().map(list)),
            json_map(self.auth.iter().map(text)),
        )
        .into_bytes()
    }

    /// The fields as sorted lines, or every error.
    fn answer(&self) -> Result<String, Vec<String>> {
        let parsed = parse_config(&HeadersSetterFactory, "headers_setter", &self.config);
        if parsed.config.is_none() {
            return Err(parsed.messages);
        }
        let mut offered = OfferedCapabilities::default();
        offered.add::<dyn ClientAuth>(Rc::new(FixedAuth));
        let mut capabilities = Capabilities::default();
        capabilities.add(&"fixed".parse().unwrap(), offered);
        let context = TestContext { capabilities, ..TestContext::new() };
        let setter = extension(context.create(&HeadersSetterFactory, "headers_setter", &self.config).unwrap());
        let mut offered = OfferedCapabilities::default();
        setter.offer_capabilities(&mut offered);
        let auth: Rc<dyn ClientAuth> = offered.get().unwrap();
        let mut metadata = Metadata::default();
        for (name, values) in &self.metadata {
            values.iter().for_each(|value| metadata.add(name, value));
        }
        metadata.set_auth_attributes(self.auth.clone());
        let protocol = if self.is_grpc { RequestProtocol::Grpc } else { RequestProtocol::Http };
        let fields = self.fields.iter().map(|(name, value)| (Cow::Owned(name.clone()), Cow::Owned(value.clone())));
        let mut headers = OutgoingHeaders::new(protocol, Some(&metadata), fields.collect());
        auth.apply(&mut TestWorld::new().cx(), &mut headers).map_err(|e| vec![e.0])?;
        let line = |(name, value): (Cow<'_, str>, Cow<'_, str>)| format!("{}: {value}", name.to_ascii_lowercase());
        let mut lines: Vec<String> = headers.into_fields().into_iter().map(line).collect();
        lines.sort();
        Ok(lines.join("\n"))
    }

    fn compare(&self, recorded: &CorpusCase) {
        let input = self.input();
        let text = String::from_utf8_lossy(&input);
        assert_eq!(
            text,
            String::from_utf8_lossy(&recorded.input),
            "the generator has changed: record the answers again"
        );
        let go = String::from_utf8(recorded.answer.clone()).unwrap();
        match (self.answer(), go.strip_prefix("error: ")) {
            (Ok(ours), None) => assert_eq!(ours, go, "{text}"),
            // The Go collector reports one error of a configuration, this one every error.
            (Err(ours), Some(go)) => assert!(ours.iter().any(|e| go.contains(e)), "{text}: {ours:?}, in Go {go}"),
            (ours, _) => panic!("{text}: {ours:?}, in Go {go}"),
        }
    }
}

#[test]
fn fields_are_those_of_the_recorded_go_extension() {
    let corpus = read_corpus(Path::new(CORPUS));
    assert_eq!(corpus.len() as u64, CASES);
    (0..).zip(&corpus).for_each(|(seed, recorded)| case(seed).compare(recorded));
    let errors = corpus.iter().filter(|recorded| recorded.answer.starts_with(b"error: ")).count();
    assert!((60..400).contains(&errors), "{errors} cases are errors");
}

#[test]
#[ignore = "needs the oracle; run by scripts/differential"]
fn fields_of_fixed_and_fresh_seeds_are_those_of_the_go_extension() {
    let Some(oracle) = tool_path("headers-oracle") else { return };
    let ask = |first: u64| ask_oracle(&oracle, &[], (first..first + CASES).map(|seed| case(seed).input()).collect());
    let fixed = ask(0);
    if std::env::var_os("OTELCORE_CORPUS").is_some_and(|value| value == "write") {
        write_corpus(Path::new(CORPUS), &fixed);
    }
    (0..).zip(&fixed).for_each(|(seed, answer)| case(seed).compare(answer));
    let first = u64::from(std::process::id()) << 20;
    (first..).zip(&ask(first)).for_each(|(seed, answer)| case(seed).compare(answer));
}
