//! `otlp_http`: one payload, one POST.

use std::rc::Rc;

use otelcore_config::{ComponentId, Dur, Flavour, Section};
use otelcore_http::status::code_from_http;
use otelcore_http::{Bytes, Status, Workspace};
use otelcore_net::settings::{HttpClient, HttpClientDefaults};
use otelcore_net::{CallError, Fault, HttpChannel, NewRequest, Response, Url};
use otelcore_pdata::{Signal, json, response};
use otelcore_pipeline::{
    About, Build, Component, Cx, Done, Error, Event, Exporter, Factory, Field, JobId, Kind, Logger, Mono, Outcome,
    Payload, QueueSettings, ReadFile, RetrySettings, SendingSettings, Settings, StartError,
};
use slab::Slab;
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
    /// Where each signal goes, by `Signal as usize`; at least one goes somewhere.
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

/// The key of each signal's own endpoint, and its path behind the common one.
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

/// Reads the endpoints. Mistakes go into the section's diagnostics.
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
        let exporter = HttpExporter {
            channel: HttpChannel::new(client.clone(), auth, build.log.clone(), 0),
            client,
            urls: self.urls.clone().map(|url| url.map(Rc::new)),
            encoding: self.encoding,
            workspace: Workspace::new(),
            calls: Slab::new(),
            log: build.log.clone(),
        };
        Ok(Component::Exporter(Box::new(exporter), self.sending.clone()))
    }

    fn check_files(&self, read: ReadFile<'_>) -> Result<(), String> {
        self.client.tls.check_files(read)
    }
}

/// A request under way.
#[derive(Debug)]
struct Call {
    job: JobId,
    signal: Signal,
    items: u32,
    url: Rc<Url>,
}

struct HttpExporter {
    channel: HttpChannel,
    client: Rc<HttpClient>,
    urls: [Option<Rc<Url>>; 3],
    encoding: Encoding,
    workspace: Workspace,
    calls: Slab<Call>,
    log: Logger,
}

impl HttpExporter {
    /// The request's body: the rope as it is, or written anew, or compressed.
    fn body(&self, payload: &Payload) -> SmallVec<[Bytes; 4]> {
        let compression = &self.client.compression;
        let compress = |parts: &mut dyn Iterator<Item = &[u8]>| {
            smallvec![self.workspace.compress_level(&compression.coding, compression.level, parts)]
        };
        match self.encoding {
            Encoding::Proto if compression.coding.is_identity() => {
                payload.body.parts().iter().map(|part| part.bytes.clone()).collect()
            }
            Encoding::Proto => compress(&mut payload.body.parts().iter().map(|part| &part.bytes[..])),
            Encoding::Json => {
                let mut text = Vec::new();
                json::encode(payload.signal, &payload.body, &mut text);
                if compression.coding.is_identity() {
                    return smallvec![text.into()];
                }
                compress(&mut std::iter::once(&text[..]))
            }
        }
    }

    fn collect(&mut self, cx: &mut Cx<'_>, done: &mut Done) {
        while let Some((token, result)) = self.channel.poll_done() {
            let Some(call) = usize::try_from(token).ok().and_then(|t| self.calls.try_remove(t)) else { continue };
            match result {
                Err(e) => done.push(call.job, unanswered(&e)),
                Ok(answer) if (200..300).contains(&answer.status) => {
                    let said = self.taken(call.signal, &answer);
                    done.pieces(call.job, answer::taken(call.signal, call.items, &said, &self.log));
                }
                Ok(answer) => done.push(call.job, refused(&call.url, &answer, cx.wall().0)),
            }
        }
    }

    /// What the peer says beside that it took the data. An answer that can't be read takes nothing of that back.
    fn taken(&self, signal: Signal, answer: &Response) -> response::PartialSuccess {
        let said = match answer.header("content-type") {
            Some(kind) if kind == PROTOBUF.as_bytes() => {
                response::partial_success(&answer.body).map_err(|e| e.to_string())
            }
            Some(kind) if kind == JSON.as_bytes() => {
                json::partial_success(signal, &answer.body).map_err(|e| e.to_string())
            }
            _ => return response::PartialSuccess::default(),
        };
        said.unwrap_or_else(|e| {
            self.log.warn("The peer took the data; its answer can't be read", &[("error", Field::Str(&e))]);
            response::PartialSuccess::default()
        })
    }
}

/// What became of a request that had no answer.
fn unanswered(e: &CallError) -> Outcome {
    let text = format!("failed to make an HTTP request: {e}");
    match e.fault {
        Fault::Network | Fault::Timeout | Fault::Closed => Outcome::retry(text),
        Fault::Request => Outcome::permanent(text),
    }
}

/// What became of a request that was answered with another status than success.
fn refused(url: &Url, answer: &Response, wall: u64) -> Outcome {
    let said = if answer.header("content-type") == Some(JSON.as_bytes()) {
        json::status(&answer.body).ok()
    } else {
        response::status(&answer.body).ok()
    };
    let mut text = format!("error exporting items, request to {url} responded with HTTP Status Code {}", answer.status);
    if let Some(said) = said.filter(|s| !s.message.is_empty()) {
        text.push_str(&format!(", Message={}, Details=[]", said.message));
    }
    let status = Status::new(code_from_http(answer.status), text);
    let text = format!("rpc error: code = {} desc = {}", status.code.name(), status.message);
    let why = Error { code: Some(u32::from(status.code.number())), message: text.into() };
    match answer.status {
        429 | 502..=504 => {
            let after = answer.header("retry-after").filter(|_| matches!(answer.status, 429 | 503));
            Outcome::Retry { after: after.and_then(|value| answer::retry_after(value, wall)), why }
        }
        _ => Outcome::Permanent(why),
    }
}

impl Exporter for HttpExporter {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let urls: Vec<&Url> = self.urls.iter().flatten().map(|url| &**url).collect();
        self.channel.start(cx, &urls)
    }

    fn send(&mut self, cx: &mut Cx<'_>, job: JobId, payload: &Payload, by: Mono, done: &mut Done) {
        let Some(url) = self.urls[payload.signal as usize].clone() else {
            return done.push(job, Outcome::permanent("no endpoint for this signal"));
        };
        let coding = &self.client.compression.coding;
        let request = NewRequest {
            url: url.clone(),
            content_type: if self.encoding == Encoding::Json { JSON } else { PROTOBUF },
            content_encoding: (!coding.is_identity()).then(|| coding.name()),
            body: self.body(payload),
            by,
        };
        let token = self.calls.insert(Call { job, signal: payload.signal, items: payload.items(), url });
        self.channel.call(cx, token as u64, request);
        self.collect(cx, done);
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, done: &mut Done) {
        self.channel.event(cx, local, &event);
        self.collect(cx, done);
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
