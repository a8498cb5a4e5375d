//! `otlp_http`: one payload, one POST.

use std::rc::Rc;

use otelcore_config::{ComponentId, GoDuration, OptionalFlavor, Section};
use otelcore_http::status::code_from_http;
use otelcore_http::{Bytes, Coding, Status, Workspace};
use otelcore_net::config::{HttpClientConfig, HttpClientDefaults};
use otelcore_net::{
    HttpClient, HttpErrorKind, HttpRequestError, HttpResponse, PostRequest, Url, mentions_invalid_utf8, parse_too_large,
};
use otelcore_pdata::{Rope, Signal, json, response};
use otelcore_pipeline::{
    AttemptId, BuildContext, CallResult, Component, ComponentConfig, ComponentInfo, ComponentKind, Cx, Delivery,
    Encode, EncodeLimits, EncodedMessage, EncodedPiece, Error, Event, Exporter, ExporterQueueConfig, Factory, LogField,
    Logger, MonotonicTime, Outcome, Outcomes, Payload, Piece, QueueConfig, ReadFile, RetryConfig, StartError,
};
use smallvec::{SmallVec, smallvec};

use crate::call_result;

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

/// Configuration of an `otlp_http` exporter.
#[derive(Clone, Debug)]
pub struct OtlpHttpExporterConfig {
    /// The client.
    pub client: HttpClientConfig,
    /// The URL of each signal, by `Signal as usize`; at least one is `Some`.
    pub urls: [Option<Url>; 3],
    /// How bodies are written.
    pub encoding: Encoding,
    /// Queue, retry, and the timeout of one attempt.
    pub exporter_queue: ExporterQueueConfig,
}

/// Makes `otlp_http` exporters.
#[derive(Debug)]
pub struct OtlpHttpFactory;

const CLIENT_DEFAULTS: HttpClientDefaults =
    HttpClientDefaults { compression: "gzip", timeout: GoDuration::from_secs(30) };

/// The key of each signal's own endpoint, and the path that is appended to the common endpoint.
const SIGNAL_ENDPOINTS: [(&str, &str); 3] =
    [("traces_endpoint", "v1/traces"), ("metrics_endpoint", "v1/metrics"), ("logs_endpoint", "v1/logs")];

impl Factory for OtlpHttpFactory {
    fn info(&self) -> ComponentInfo {
        ComponentInfo {
            kind: ComponentKind::Exporter,
            type_name: "otlp_http",
            aliases: &["otlphttp"],
            signals: &Signal::ALL,
            stability: "Stable",
        }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn ComponentConfig>> {
        let signal_urls = parse_urls(&mut s);
        let encoding = match s.str("encoding", "proto").as_str() {
            "proto" => Encoding::Proto,
            "json" => Encoding::Json,
            other => {
                s.error("encoding", format!("'encoding' invalid encoding type: {other}")).help("write proto or json");
                Encoding::Proto
            }
        };
        let client = HttpClientConfig::parse(&mut s, &CLIENT_DEFAULTS);
        let retry = RetryConfig::parse(s.section("retry_on_failure"));
        let queue = QueueConfig::parse(s.optional_section("sending_queue", OptionalFlavor::Some));
        s.finish();
        let sending = ExporterQueueConfig { queue, retry, timeout: client.timeout };
        Some(Box::new(OtlpHttpExporterConfig { client, urls: signal_urls, encoding, exporter_queue: sending }))
    }
}

/// Reads the endpoints. Errors are added to the section's diagnostics.
fn parse_urls(s: &mut Section<'_>) -> [Option<Url>; 3] {
    let base = s.str("endpoint", "");
    let signal_endpoints = SIGNAL_ENDPOINTS.map(|(key, _)| s.str(key, ""));
    let profiles = s.str("profiles_endpoint", "");
    if base.is_empty() && profiles.is_empty() && signal_endpoints.iter().all(String::is_empty) {
        s.error("endpoint", "at least one endpoint must be specified").help("write `endpoint: \"http://host:4318\"`");
        return [None, None, None];
    }
    let parse = |key: &str, text: &str| {
        let parsed = Url::parse(text);
        if let Err(e) = &parsed {
            s.start_error(key, format!("{key} must be a valid URL: {e}"))
                .help("write `http://host:4318` or `https://...`");
        }
        parsed.ok()
    };
    if !base.is_empty() && parse("endpoint", &base).is_none() {
        return [None, None, None];
    }
    let separator = if base.ends_with('/') { "" } else { "/" };
    std::array::from_fn(|signal| {
        let (key, path) = SIGNAL_ENDPOINTS[signal];
        match (signal_endpoints[signal].as_str(), base.as_str()) {
            ("", "") => None,
            ("", base) => parse("endpoint", &format!("{base}{separator}{path}")),
            (own, _) => parse(key, own),
        }
    })
}

impl ComponentConfig for OtlpHttpExporterConfig {
    fn create(&self, context: &BuildContext<'_>) -> Result<Component, StartError> {
        for signal in context.signals {
            let (key, _) = SIGNAL_ENDPOINTS[*signal as usize];
            if self.urls[*signal as usize].is_none() {
                return Err(StartError(format!("either endpoint or {key} must be specified")));
            }
        }
        let client = Rc::new(self.client.clone());
        let auth = client.auth.as_ref().map(|id| context.auth.client(id)).transpose()?;
        let compression = &client.compression;
        let encoder =
            BodyEncoder { encoding: self.encoding, coding: compression.coding.clone(), level: compression.level };
        let exporter = HttpExporter {
            client: HttpClient::new(client, auth, context.log.clone(), 0),
            urls: self.urls.clone().map(|url| url.map(Rc::new)),
            delivery: Delivery::new(encoder.clone(), &context.id.to_string(), context.telemetry, context.log.clone()),
            encoder,
            last_warning: None,
            log: context.log.clone(),
        };
        Ok(Component::Exporter(Box::new(exporter), self.exporter_queue.clone()))
    }

    fn check_files(&self, read_file: ReadFile<'_>) -> Result<(), String> {
        self.client.tls.check_files(read_file)
    }
}

/// How the bodies of requests are made: the unchanged rope, or converted to JSON, or compressed.
#[derive(Clone, Debug)]
struct BodyEncoder {
    encoding: Encoding,
    coding: Coding,
    level: Option<i32>,
}

impl BodyEncoder {
    fn is_unchanged(&self) -> bool {
        self.encoding == Encoding::Proto && self.coding.is_identity()
    }

    fn encode_body(&self, workspace: &Workspace, signal: Signal, body: &Rope) -> SmallVec<[Bytes; 4]> {
        match self.encoding {
            Encoding::Proto if self.coding.is_identity() => {
                body.parts().iter().map(|part| part.bytes.clone()).collect()
            }
            Encoding::Proto => {
                let parts = body.parts().iter().map(|part| &part.bytes[..]);
                smallvec![workspace.compress_with_level(&self.coding, self.level, parts)]
            }
            Encoding::Json => {
                let mut text = Vec::new();
                json::encode(signal, body, &mut text);
                if self.coding.is_identity() {
                    return smallvec![text.into()];
                }
                smallvec![workspace.compress_with_level(&self.coding, self.level, [&text[..]])]
            }
        }
    }
}

thread_local! {
    /// Codec states of the loop and of each helper thread.
    static WORKSPACE: Workspace = Workspace::new();
}

impl Encode for BodyEncoder {
    type Message = SmallVec<[Bytes; 4]>;

    fn encode(&self, signal: Signal, piece: Piece, limits: EncodeLimits) -> EncodedPiece<Self::Message> {
        let count = (limits.total_bytes / limits.message_bytes.max(1)).clamp(1, limits.max_messages);
        let (bodies, rest) = piece.cut(signal, limits.message_bytes, count);
        let message = |body: Rope| {
            let content = WORKSPACE.with(|workspace| self.encode_body(workspace, signal, &body));
            EncodedMessage { content, bytes: body.len(), body }
        };
        EncodedPiece { messages: bodies.into_iter().map(message).collect(), rest }
    }

    fn estimate_work(&self, piece: &Piece, limit: usize) -> usize {
        let parts = piece.body.parts().len().saturating_mul(64);
        match self.is_unchanged() {
            true if piece.is_within(limit) => parts,
            true => parts.saturating_add(piece.body.len()),
            // Compression and JSON are slow.
            false => parts.saturating_add(piece.body.len()).saturating_mul(8),
        }
    }
}

struct HttpExporter {
    client: HttpClient,
    urls: [Option<Rc<Url>>; 3],
    encoder: BodyEncoder,
    delivery: Delivery<BodyEncoder>,
    /// When the last warning about an unexpected response was logged.
    last_warning: Option<MonotonicTime>,
    log: Logger,
}

impl HttpExporter {
    /// Starts the requests that are ready and handles the results of ended ones, until there are none of either.
    fn advance(&mut self, cx: &mut Cx<'_>, outcomes: &mut Outcomes) {
        loop {
            if let Some(call) = self.delivery.poll_call(cx.now()) {
                // Attempts without a URL were refused in `send`.
                let Some(url) = self.urls[call.signal as usize].clone() else { continue };
                let coding = &self.encoder.coding;
                let request = PostRequest {
                    url,
                    content_type: if self.encoder.encoding == Encoding::Json { JSON } else { PROTOBUF },
                    content_encoding: (!coding.is_identity()).then(|| coding.name()),
                    body: call.content,
                    deadline: call.deadline,
                };
                self.client.start_request(cx, call.token, request);
            } else if let Some((token, result)) = self.client.poll_result() {
                let Some((signal, items)) = self.delivery.call_info(token) else { continue };
                let result = match (result, &self.urls[signal as usize]) {
                    (Err(e), _) => result_without_response(&e),
                    (Ok(response), Some(url)) if (200..300).contains(&response.status) => {
                        let url = url.clone();
                        self.result_of_success(cx.now(), signal, items, &url, &response)
                    }
                    (Ok(response), Some(url)) => result_of_error_response(url, &response, cx.wall_time().0),
                    (Ok(_), None) => continue,
                };
                self.delivery.handle_result(cx, token, result, outcomes);
            } else {
                return;
            }
        }
    }

    /// The result of a 2xx response. An HTML page does not come from a server that accepts telemetry, so it is not a
    /// success.
    fn result_of_success(
        &mut self,
        now: MonotonicTime,
        signal: Signal,
        items: u32,
        url: &Url,
        response: &HttpResponse,
    ) -> CallResult {
        let content_type = media_type(response);
        let body_kind = response_body_kind(content_type, &response.body);
        if body_kind == ResponseBodyKind::Html {
            let text = format!(
                "error exporting items, request to {url} responded with HTTP Status Code {} and a page ({}), not with an \
                 answer to telemetry: is the URL right? It begins with {:?}",
                response.status,
                String::from_utf8_lossy(content_type),
                first_characters(&response.body)
            );
            return CallResult::Retry { after: None, why: Error::new(text) };
        }
        if body_kind == ResponseBodyKind::Other && self.last_warning.is_none_or(|at| now.since(at) >= WARNING_INTERVAL)
        {
            self.last_warning = Some(now);
            let (url, content_type_text, body_start) =
                (url.to_string(), String::from_utf8_lossy(content_type), first_characters(&response.body));
            let fields = [
                ("url", LogField::Str(&url)),
                ("status", LogField::Uint(u64::from(response.status))),
                ("content_type", LogField::Str(&content_type_text)),
                ("body", LogField::Str(&body_start)),
            ];
            self.log.warn("The peer's answer is not OTLP; the data counts as delivered. Is the URL right?", &fields);
        }
        call_result::from_partial_success(signal, items, &self.partial_success(signal, response), &self.log)
    }

    /// The partial success in a 2xx response. If the response can't be decoded, the data still counts as accepted.
    fn partial_success(&self, signal: Signal, response: &HttpResponse) -> response::PartialSuccess {
        let content_type = media_type(response);
        let partial = match content_type {
            _ if response.body.is_empty() => return response::PartialSuccess::default(),
            b"application/x-protobuf" | b"application/protobuf" => {
                response::decode_partial_success(&response.body).map_err(|e| e.to_string())
            }
            b"application/json" => json::decode_partial_success(signal, &response.body).map_err(|e| e.to_string()),
            _ => return response::PartialSuccess::default(),
        };
        partial.unwrap_or_else(|e| {
            self.log.warn("The peer took the data; its answer can't be read", &[("error", LogField::Str(&e))]);
            response::PartialSuccess::default()
        })
    }
}

/// The shortest time between two warnings about an unexpected response.
const WARNING_INTERVAL: std::time::Duration = std::time::Duration::from_mins(1);

/// The media type of a response, without parameters.
fn media_type(response: &HttpResponse) -> &[u8] {
    let field = response.header("content-type").unwrap_or_default();
    field.split(|b| *b == b';').next().unwrap_or_default().trim_ascii()
}

/// The kind of body of a 2xx response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ResponseBodyKind {
    /// Empty, protobuf or JSON.
    Otlp,
    /// HTML: from a proxy, a login page, or another server.
    Html,
    Other,
}

fn response_body_kind(content_type: &[u8], body: &[u8]) -> ResponseBodyKind {
    let is_one_of = |kinds: &[&str]| kinds.iter().any(|known| content_type.eq_ignore_ascii_case(known.as_bytes()));
    let start = body.trim_ascii_start();
    let begins_with = |mark: &&str| start.get(..mark.len()).is_some_and(|b| b.eq_ignore_ascii_case(mark.as_bytes()));
    if start.is_empty() || is_one_of(&[PROTOBUF, "application/protobuf", JSON]) {
        ResponseBodyKind::Otlp
    } else if is_one_of(&["text/html", "application/xhtml+xml"]) || ["<!doctype html", "<html"].iter().any(begins_with)
    {
        ResponseBodyKind::Html
    } else {
        ResponseBodyKind::Other
    }
}

/// The first characters of a body, for a log line.
fn first_characters(body: &[u8]) -> String {
    String::from_utf8_lossy(body.get(..body.len().min(80)).unwrap_or_default()).into_owned()
}

/// The result of a request without a response.
fn result_without_response(e: &HttpRequestError) -> CallResult {
    let why = Error::new(format!("failed to make an HTTP request: {e}"));
    match e.kind {
        HttpErrorKind::Network | HttpErrorKind::Timeout | HttpErrorKind::Closed => {
            CallResult::Retry { after: None, why }
        }
        HttpErrorKind::InvalidRequest => CallResult::Refused { why, may_be_invalid_text: false },
    }
}

/// The result of a request whose response is not 2xx.
fn result_of_error_response(url: &Url, response: &HttpResponse, wall_nanos: u64) -> CallResult {
    let peer_status = if response.header("content-type") == Some(JSON.as_bytes()) {
        json::decode_status(&response.body).ok()
    } else {
        response::decode_status(&response.body).ok()
    };
    let mut text =
        format!("error exporting items, request to {url} responded with HTTP Status Code {}", response.status);
    if let Some(peer_status) = peer_status.filter(|s| !s.message.is_empty()) {
        text.push_str(&format!(", Message={}, Details=[]", peer_status.message));
    }
    let searched_text = format!(
        "{text} {}",
        String::from_utf8_lossy(response.body.get(..response.body.len().min(1024)).unwrap_or_default())
    );
    let status = Status::new(code_from_http(response.status), text);
    let text = format!("rpc error: code = {} desc = {}", status.code.name(), status.message);
    let why = Error { code: Some(u32::from(status.code.number())), message: text.into() };
    match (response.status, parse_too_large(&searched_text)) {
        (413, limit) => CallResult::TooLarge { limit: limit.flatten(), why },
        (400..600, Some(limit)) => CallResult::TooLarge { limit, why },
        (429 | 502..=504, None) if !mentions_invalid_utf8(&searched_text) => {
            let after = response.header("retry-after").filter(|_| matches!(response.status, 429 | 503));
            CallResult::Retry { after: after.and_then(|value| call_result::retry_after(value, wall_nanos)), why }
        }
        (status, _) => CallResult::Refused { why, may_be_invalid_text: !matches!(status, 401 | 403..=405) },
    }
}

impl Exporter for HttpExporter {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let urls: Vec<&Url> = self.urls.iter().flatten().map(|url| &**url).collect();
        self.client.start(cx, &urls)
    }

    fn send(
        &mut self,
        cx: &mut Cx<'_>,
        attempt: AttemptId,
        payload: &Payload,
        deadline: MonotonicTime,
        outcomes: &mut Outcomes,
    ) {
        if self.urls[payload.signal as usize].is_none() {
            return outcomes.push(attempt, Outcome::permanent("no endpoint for this signal"));
        }
        self.delivery.send(cx, attempt, payload, deadline, outcomes);
        self.advance(cx, outcomes);
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, outcomes: &mut Outcomes) {
        if !self.delivery.handle_event(cx, local, outcomes) {
            self.client.handle_event(cx, local, &event);
        }
        self.advance(cx, outcomes);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.client.close(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> (Option<OtlpHttpExporterConfig>, Vec<String>) {
        let d = otelcore_config::Diagnostics::new();
        let node = otelcore_config::from_yaml(yaml, &d).unwrap();
        let section = Section::new(Some(&node), "exporters::otlp_http", &d);
        let parsed = OtlpHttpFactory.parse(&"otlp_http".parse().unwrap(), section);
        let parsed =
            parsed.and_then(|s| (s as Box<dyn std::any::Any>).downcast::<OtlpHttpExporterConfig>().ok().map(|b| *b));
        (parsed, d.items().into_iter().map(|item| item.message).collect())
    }

    #[test]
    fn response_with_an_html_page_is_an_error_and_others_are_success() {
        for (content_type, body, expected) in [
            ("application/x-protobuf", "\n\u{0}", ResponseBodyKind::Otlp),
            ("application/json", "{}", ResponseBodyKind::Otlp),
            ("text/html", "", ResponseBodyKind::Otlp),
            ("", "  ", ResponseBodyKind::Otlp),
            ("text/html", "hello", ResponseBodyKind::Html),
            ("Text/HTML", "<p>", ResponseBodyKind::Html),
            ("text/plain", "\r\n<!DOCTYPE html><html>", ResponseBodyKind::Html),
            ("", "<HTML><head>", ResponseBodyKind::Html),
            ("text/plain", "ok", ResponseBodyKind::Other),
            ("", "ok", ResponseBodyKind::Other),
            ("application/xml", "<ok/>", ResponseBodyKind::Other),
        ] {
            assert_eq!(response_body_kind(content_type.as_bytes(), body.as_bytes()), expected, "{content_type} {body}");
        }
    }

    #[test]
    fn url_of_a_signal_is_its_own_or_a_path_below_the_common_one() {
        let (parsed, messages) = parse("{endpoint: 'http://gateway:4318/otlp', logs_endpoint: 'https://logs/x?y=z'}");
        assert_eq!(messages, Vec::<String>::new());
        let urls = parsed.unwrap().urls.map(|url| url.map(|u| u.to_string()).unwrap_or_default());
        assert_eq!(
            urls,
            ["http://gateway:4318/otlp/v1/traces", "http://gateway:4318/otlp/v1/metrics", "https://logs/x?y=z"]
        );
        let (parsed, _) = parse("{traces_endpoint: 'http://t/'}");
        assert_eq!(parsed.unwrap().urls.map(|u| u.is_some()), [true, false, false]);
    }

    #[test]
    fn config_with_errors_is_reported_as_in_the_go_collector() {
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
            let (_, messages) = parse(yaml);
            assert!(messages.len() == 1 && messages[0].starts_with(message), "{yaml}: {messages:?}");
        }
    }
}
