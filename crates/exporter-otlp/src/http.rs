//! `otlp_http`: one payload, one POST.

use std::rc::Rc;

use otelcore_config::{ComponentId, Dur, Flavour, Section};
use otelcore_http::status::code_from_http;
use otelcore_http::{Bytes, Coding, Status, Workspace};
use otelcore_net::settings::{HttpClient, HttpClientDefaults};
use otelcore_net::{CallError, Fault, HttpChannel, NewRequest, Response, Url, says_invalid_text, says_too_large};
use otelcore_pdata::{Rope, Signal, json, response};
use otelcore_pipeline::{
    About, Bounds, Build, CallResult, Component, Cx, Delivery, Done, Encode, Encoded, Error, Event, Exporter, Factory,
    Field, JobId, Kind, Logger, Message, Mono, Outcome, Payload, Piece, QueueSettings, ReadFile, RetrySettings,
    SendingSettings, Settings, StartError,
};
use smallvec::{SmallVec, smallvec};

use crate::answer;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// How bodies are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// Protobuf, as it was received.
    Proto,
    /// OTLP/JSON.
    Json,
}

/// Settings of an `otlp_http` exporter.
#[derive(Clone, Debug)]
pub struct OtlpHttp {
    /// The client.
    pub client: HttpClient,
    /// The URL of each signal, by `Signal as usize`; at least one is `Some`.
    pub urls: [Option<Url>; 3],
    /// How bodies are written.
    pub encoding: Encoding,
    /// Queue, retry, and the timeout of one attempt.
    pub sending: SendingSettings,
}

/// Makes `otlp_http` exporters.
#[derive(Debug)]
pub struct OtlpHttpFactory;

const CLIENT: HttpClientDefaults = HttpClientDefaults { compression: "gzip", timeout: Dur::from_secs(30) };

/// The key of each signal's own endpoint, and the path that is appended to the common endpoint.
const SIGNALS: [(&str, &str); 3] =
    [("traces_endpoint", "v1/traces"), ("metrics_endpoint", "v1/metrics"), ("logs_endpoint", "v1/logs")];

impl Factory for OtlpHttpFactory {
    fn about(&self) -> About {
        About {
            kind: Kind::Exporter,
            type_name: "otlp_http",
            aliases: &["otlphttp"],
            signals: &Signal::ALL,
            stability: "Stable",
        }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn Settings>> {
        let urls = urls(&mut s);
        let encoding = match s.str("encoding", "proto").as_str() {
            "proto" => Encoding::Proto,
            "json" => Encoding::Json,
            other => {
                s.error("encoding", format!("'encoding' invalid encoding type: {other}")).hint("write proto or json");
                Encoding::Proto
            }
        };
        let client = HttpClient::parse(&mut s, &CLIENT);
        let retry = RetrySettings::parse(s.section("retry_on_failure"));
        let queue = QueueSettings::parse(s.optional("sending_queue", Flavour::Some));
        s.finish();
        let sending = SendingSettings { queue, retry, timeout: client.timeout };
        Some(Box::new(OtlpHttp { client, urls, encoding, sending }))
    }
}

/// Reads the endpoints. Errors are added to the section's diagnostics.
fn urls(s: &mut Section<'_>) -> [Option<Url>; 3] {
    let base = s.str("endpoint", "");
    let own = SIGNALS.map(|(key, _)| s.str(key, ""));
    let profiles = s.str("profiles_endpoint", "");
    if base.is_empty() && profiles.is_empty() && own.iter().all(String::is_empty) {
        s.error("endpoint", "at least one endpoint must be specified").hint("write `endpoint: \"http://host:4318\"`");
        return [None, None, None];
    }
    let parse = |key: &str, text: &str| {
        let parsed = Url::parse(text);
        if let Err(e) = &parsed {
            s.start_error(key, format!("{key} must be a valid URL: {e}"))
                .hint("write `http://host:4318` or `https://...`");
        }
        parsed.ok()
    };
    if !base.is_empty() && parse("endpoint", &base).is_none() {
        return [None, None, None];
    }
    let slash = if base.ends_with('/') { "" } else { "/" };
    std::array::from_fn(|signal| {
        let (key, path) = SIGNALS[signal];
        match (own[signal].as_str(), base.as_str()) {
            ("", "") => None,
            ("", base) => parse("endpoint", &format!("{base}{slash}{path}")),
            (own, _) => parse(key, own),
        }
    })
}

impl Settings for OtlpHttp {
    fn create(&self, build: &Build<'_>) -> Result<Component, StartError> {
        for signal in build.signals {
            let (key, _) = SIGNALS[*signal as usize];
            if self.urls[*signal as usize].is_none() {
                return Err(StartError(format!("either endpoint or {key} must be specified")));
            }
        }
        let client = Rc::new(self.client.clone());
        let auth = client.auth.as_ref().map(|id| build.auth.client(id)).transpose()?;
        let compression = &client.compression;
        let bodies = Bodies { encoding: self.encoding, coding: compression.coding.clone(), level: compression.level };
        let exporter = HttpExporter {
            channel: HttpChannel::new(client, auth, build.log.clone(), 0),
            urls: self.urls.clone().map(|url| url.map(Rc::new)),
            delivery: Delivery::new(bodies.clone(), &build.id.to_string(), build.telemetry, build.log.clone()),
            bodies,
            strange: None,
            log: build.log.clone(),
        };
        Ok(Component::Exporter(Box::new(exporter), self.sending.clone()))
    }

    fn check_files(&self, read: ReadFile<'_>) -> Result<(), String> {
        self.client.tls.check_files(read)
    }
}

/// How the bodies of requests are made: the unchanged rope, or converted to JSON, or compressed.
#[derive(Clone, Debug)]
struct Bodies {
    encoding: Encoding,
    coding: Coding,
    level: Option<i32>,
}

impl Bodies {
    fn is_plain(&self) -> bool {
        self.encoding == Encoding::Proto && self.coding.is_identity()
    }

    fn content(&self, workspace: &Workspace, signal: Signal, body: &Rope) -> SmallVec<[Bytes; 4]> {
        match self.encoding {
            Encoding::Proto if self.coding.is_identity() => {
                body.parts().iter().map(|part| part.bytes.clone()).collect()
            }
            Encoding::Proto => {
                let parts = body.parts().iter().map(|part| &part.bytes[..]);
                smallvec![workspace.compress_level(&self.coding, self.level, parts)]
            }
            Encoding::Json => {
                let mut text = Vec::new();
                json::encode(signal, body, &mut text);
                if self.coding.is_identity() {
                    return smallvec![text.into()];
                }
                smallvec![workspace.compress_level(&self.coding, self.level, [&text[..]])]
            }
        }
    }
}

thread_local! {
    /// Codec states of the loop and of each helper thread.
    static WORKSPACE: Workspace = Workspace::new();
}

impl Encode for Bodies {
    type Message = SmallVec<[Bytes; 4]>;

    fn encode(&self, signal: Signal, piece: Piece, bounds: Bounds) -> Encoded<Self::Message> {
        let count = (bounds.bytes / bounds.message.max(1)).clamp(1, bounds.messages);
        let (bodies, rest) = piece.cut(signal, bounds.message, count);
        let message = |body: Rope| {
            let content = WORKSPACE.with(|workspace| self.content(workspace, signal, &body));
            Message { content, bytes: body.len(), body }
        };
        Encoded { messages: bodies.into_iter().map(message).collect(), rest }
    }

    fn work(&self, piece: &Piece, limit: usize) -> usize {
        let parts = piece.body.parts().len().saturating_mul(64);
        match self.is_plain() {
            true if piece.is_within(limit) => parts,
            true => parts.saturating_add(piece.body.len()),
            // Compression and JSON are slow.
            false => parts.saturating_add(piece.body.len()).saturating_mul(8),
        }
    }
}

struct HttpExporter {
    channel: HttpChannel,
    urls: [Option<Rc<Url>>; 3],
    bodies: Bodies,
    delivery: Delivery<Bodies>,
    /// When the last warning about an unexpected response was logged.
    strange: Option<Mono>,
    log: Logger,
}

impl HttpExporter {
    /// Starts the requests that are ready and handles the results of ended ones, until there are none of either.
    fn advance(&mut self, cx: &mut Cx<'_>, done: &mut Done) {
        loop {
            if let Some(call) = self.delivery.poll_call(cx.now()) {
                // Jobs without a URL were refused in `send`.
                let Some(url) = self.urls[call.signal as usize].clone() else { continue };
                let coding = &self.bodies.coding;
                let request = NewRequest {
                    url,
                    content_type: if self.bodies.encoding == Encoding::Json { JSON } else { PROTOBUF },
                    content_encoding: (!coding.is_identity()).then(|| coding.name()),
                    body: call.content,
                    by: call.by,
                };
                self.channel.call(cx, call.token, request);
            } else if let Some((token, result)) = self.channel.poll_done() {
                let Some((signal, items)) = self.delivery.call(token) else { continue };
                let result = match (result, &self.urls[signal as usize]) {
                    (Err(e), _) => unanswered(&e),
                    (Ok(answer), Some(url)) if (200..300).contains(&answer.status) => {
                        let url = url.clone();
                        self.succeeded(cx.now(), signal, items, &url, &answer)
                    }
                    (Ok(answer), Some(url)) => refused(url, &answer, cx.wall().0),
                    (Ok(_), None) => continue,
                };
                self.delivery.handle_result(cx, token, result, done);
            } else {
                return;
            }
        }
    }

    /// The result of a 2xx response. An HTML page does not come from a server that takes telemetry, so it is not a
    /// success.
    fn succeeded(&mut self, now: Mono, signal: Signal, items: u32, url: &Url, answer: &Response) -> CallResult {
        let kind = media_type(answer);
        let is = answer_kind(kind, &answer.body);
        if is == AnswerKind::Page {
            let text = format!(
                "error exporting items, request to {url} responded with HTTP Status Code {} and a page ({}), not with an \
                 answer to telemetry: is the URL right? It begins with {:?}",
                answer.status,
                String::from_utf8_lossy(kind),
                beginning(&answer.body)
            );
            return CallResult::Retry { after: None, why: Error::new(text) };
        }
        if is == AnswerKind::Other && self.strange.is_none_or(|at| now.since(at) >= WARN_EVERY) {
            self.strange = Some(now);
            let (url, kind, begins) = (url.to_string(), String::from_utf8_lossy(kind), beginning(&answer.body));
            let fields = [
                ("url", Field::Str(&url)),
                ("status", Field::Uint(u64::from(answer.status))),
                ("content_type", Field::Str(&kind)),
                ("body", Field::Str(&begins)),
            ];
            self.log.warn("The peer's answer is not OTLP; the data counts as delivered. Is the URL right?", &fields);
        }
        answer::taken(signal, items, &self.taken(signal, answer), &self.log)
    }

    /// The partial success in a 2xx response. If the response can't be decoded, the data still counts as taken.
    fn taken(&self, signal: Signal, answer: &Response) -> response::PartialSuccess {
        let kind = media_type(answer);
        let said = match kind {
            _ if answer.body.is_empty() => return response::PartialSuccess::default(),
            b"application/x-protobuf" | b"application/protobuf" => {
                response::partial_success(&answer.body).map_err(|e| e.to_string())
            }
            b"application/json" => json::partial_success(signal, &answer.body).map_err(|e| e.to_string()),
            _ => return response::PartialSuccess::default(),
        };
        said.unwrap_or_else(|e| {
            self.log.warn("The peer took the data; its answer can't be read", &[("error", Field::Str(&e))]);
            response::PartialSuccess::default()
        })
    }
}

/// The shortest time between two warnings about an unexpected response.
const WARN_EVERY: std::time::Duration = std::time::Duration::from_mins(1);

/// The media type of a response, without parameters.
fn media_type(answer: &Response) -> &[u8] {
    let whole = answer.header("content-type").unwrap_or_default();
    whole.split(|b| *b == b';').next().unwrap_or_default().trim_ascii()
}

/// The kind of body of a 2xx response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AnswerKind {
    /// Empty, protobuf or JSON.
    Otlp,
    /// HTML: from a proxy, a login page, or another server.
    Page,
    Other,
}

fn answer_kind(kind: &[u8], body: &[u8]) -> AnswerKind {
    let is_one_of = |kinds: &[&str]| kinds.iter().any(|known| kind.eq_ignore_ascii_case(known.as_bytes()));
    let begins = body.trim_ascii_start();
    let begins_with = |mark: &&str| begins.get(..mark.len()).is_some_and(|b| b.eq_ignore_ascii_case(mark.as_bytes()));
    if begins.is_empty() || is_one_of(&[PROTOBUF, "application/protobuf", JSON]) {
        AnswerKind::Otlp
    } else if is_one_of(&["text/html", "application/xhtml+xml"]) || ["<!doctype html", "<html"].iter().any(begins_with)
    {
        AnswerKind::Page
    } else {
        AnswerKind::Other
    }
}

/// The first characters of a body, for a log line.
fn beginning(body: &[u8]) -> String {
    String::from_utf8_lossy(body.get(..body.len().min(80)).unwrap_or_default()).into_owned()
}

/// The result of a request without a response.
fn unanswered(e: &CallError) -> CallResult {
    let why = Error::new(format!("failed to make an HTTP request: {e}"));
    match e.fault {
        Fault::Network | Fault::Timeout | Fault::Closed => CallResult::Retry { after: None, why },
        Fault::Request => CallResult::Refused { why, for_text: false },
    }
}

/// The result of a request whose response is not 2xx.
fn refused(url: &Url, answer: &Response, wall: u64) -> CallResult {
    let said = if answer.header("content-type") == Some(JSON.as_bytes()) {
        json::status(&answer.body).ok()
    } else {
        response::status(&answer.body).ok()
    };
    let mut text = format!("error exporting items, request to {url} responded with HTTP Status Code {}", answer.status);
    if let Some(said) = said.filter(|s| !s.message.is_empty()) {
        text.push_str(&format!(", Message={}, Details=[]", said.message));
    }
    let words = format!(
        "{text} {}",
        String::from_utf8_lossy(answer.body.get(..answer.body.len().min(1024)).unwrap_or_default())
    );
    let status = Status::new(code_from_http(answer.status), text);
    let text = format!("rpc error: code = {} desc = {}", status.code.name(), status.message);
    let why = Error { code: Some(u32::from(status.code.number())), message: text.into() };
    match (answer.status, says_too_large(&words)) {
        (413, limit) => CallResult::TooLarge { limit: limit.flatten(), why },
        (400..600, Some(limit)) => CallResult::TooLarge { limit, why },
        (429 | 502..=504, None) if !says_invalid_text(&words) => {
            let after = answer.header("retry-after").filter(|_| matches!(answer.status, 429 | 503));
            CallResult::Retry { after: after.and_then(|value| answer::retry_after(value, wall)), why }
        }
        (status, _) => CallResult::Refused { why, for_text: !matches!(status, 401 | 403..=405) },
    }
}

impl Exporter for HttpExporter {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let urls: Vec<&Url> = self.urls.iter().flatten().map(|url| &**url).collect();
        self.channel.start(cx, &urls)
    }

    fn send(&mut self, cx: &mut Cx<'_>, job: JobId, payload: &Payload, by: Mono, done: &mut Done) {
        if self.urls[payload.signal as usize].is_none() {
            return done.push(job, Outcome::permanent("no endpoint for this signal"));
        }
        self.delivery.send(cx, job, payload, by, done);
        self.advance(cx, done);
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, done: &mut Done) {
        if !self.delivery.event(cx, local, done) {
            self.channel.event(cx, local, &event);
        }
        self.advance(cx, done);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.channel.close(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> (Option<OtlpHttp>, Vec<String>) {
        let d = otelcore_config::Diagnostics::new();
        let node = otelcore_config::from_yaml(yaml, &d).unwrap();
        let section = Section::new(Some(&node), "exporters::otlp_http", &d);
        let parsed = OtlpHttpFactory.parse(&"otlp_http".parse().unwrap(), section);
        let parsed = parsed.and_then(|s| (s as Box<dyn std::any::Any>).downcast::<OtlpHttp>().ok().map(|b| *b));
        (parsed, d.items().into_iter().map(|item| item.message).collect())
    }

    #[test]
    fn answer_with_a_page_is_no_success_and_other_bodies_are() {
        for (kind, body, expected) in [
            ("application/x-protobuf", "\n\u{0}", AnswerKind::Otlp),
            ("application/json", "{}", AnswerKind::Otlp),
            ("text/html", "", AnswerKind::Otlp),
            ("", "  ", AnswerKind::Otlp),
            ("text/html", "hello", AnswerKind::Page),
            ("Text/HTML", "<p>", AnswerKind::Page),
            ("text/plain", "\r\n<!DOCTYPE html><html>", AnswerKind::Page),
            ("", "<HTML><head>", AnswerKind::Page),
            ("text/plain", "ok", AnswerKind::Other),
            ("", "ok", AnswerKind::Other),
            ("application/xml", "<ok/>", AnswerKind::Other),
        ] {
            assert_eq!(answer_kind(kind.as_bytes(), body.as_bytes()), expected, "{kind} {body}");
        }
    }

    #[test]
    fn each_signal_has_a_url_of_its_own_or_a_path_behind_the_common_one() {
        let (parsed, said) = parse("{endpoint: 'http://gateway:4318/otlp', logs_endpoint: 'https://logs/x?y=z'}");
        assert_eq!(said, Vec::<String>::new());
        let urls = parsed.unwrap().urls.map(|url| url.map(|u| u.to_string()).unwrap_or_default());
        assert_eq!(
            urls,
            ["http://gateway:4318/otlp/v1/traces", "http://gateway:4318/otlp/v1/metrics", "https://logs/x?y=z"]
        );
        let (parsed, _) = parse("{traces_endpoint: 'http://t/'}");
        assert_eq!(parsed.unwrap().urls.map(|u| u.is_some()), [true, false, false]);
    }

    #[test]
    fn mistakes_are_told_in_the_go_collectors_words() {
        for (yaml, message) in [
            ("{}", "at least one endpoint must be specified"),
            ("{endpoint: 'localhost:4318'}", "endpoint must be a valid URL"),
            ("{endpoint: 'http://a', logs_endpoint: 'x'}", "logs_endpoint must be a valid URL"),
            ("{endpoint: 'http://a', encoding: avro}", "'encoding' invalid encoding type: avro"),
            ("{endpoint: 'http://a', compression: br}", "'compression' unsupported compression type \"br\""),
            (
                "{endpoint: 'http://a', compression: snappy, compression_params: {level: 3}}",
                "unsupported parameters {Level:3} for compression type \"snappy\"",
            ),
        ] {
            let (_, said) = parse(yaml);
            assert!(said.len() == 1 && said[0].starts_with(message), "{yaml}: {said:?}");
        }
    }
}
