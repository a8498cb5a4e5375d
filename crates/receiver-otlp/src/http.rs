//! OTLP over HTTP/1.1: one path a signal, protobuf bodies.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use otelcore_http::coding::InflateError;
use otelcore_http::h1::{self, BodyLimit, H1Config, H1Conn, Request, RequestHead, RequestId, Response};
use otelcore_http::status::http_code;
use otelcore_http::{Bytes, Coding, Status};
use otelcore_net::{Acceptor, bind, not_found};
use otelcore_pdata::{Signal, admit};
use otelcore_pipeline::{Cx, Door, Endpoint, Event, Held, Metadata, Outcome, Payload, Stream};

use crate::config::OtlpHttp;
use crate::receiver::{Caller, Requests};
use crate::{SUCCESS, status};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

type Conn = H1Conn<Box<dyn Stream>, Permit>;

/// What the head of a request has shown.
pub(crate) struct Permit {
    signal: Signal,
    coding: Coding,
    held: Held,
}

/// The HTTP server of a receiver.
pub(crate) struct HttpSide {
    listen: Endpoint,
    config: Rc<H1Config>,
    rules: Rules,
    base: u64,
    include_metadata: bool,
    acceptor: Option<Acceptor<Conn>>,
}

/// What decides about a request by its head.
struct Rules {
    /// Path and signal of those that a pipeline uses.
    paths: Vec<(String, Signal)>,
    /// Codings taken; `None` is the default set. Without any, bodies are taken as they are.
    codings: Option<Vec<String>>,
    max_body: u64,
    /// Set on every response.
    headers: Vec<(String, String)>,
}

struct Admission<'a, 'd> {
    door: &'a Door<'d>,
    rules: &'a Rules,
}

impl h1::Door for Admission<'_, '_> {
    type Permit = Permit;

    fn head(&mut self, head: &RequestHead) -> Result<(Permit, BodyLimit), Response> {
        self.rules.admit(head, self.door).map_err(|refused| self.rules.finish(refused))
    }

    fn grow(&mut self, permit: &mut Permit, to: u64) -> Result<(), Response> {
        permit.held.grow(to);
        Ok(())
    }

    fn too_large(&mut self, head: &RequestHead) -> Response {
        self.rules.finish(error(head, &too_large()))
    }
}

fn too_large() -> Status {
    Status::invalid_argument("http: request body too large")
}

impl Rules {
    /// The checks in the Go collector's order: path, coding, method, type, and then the limiter.
    fn admit(&self, head: &RequestHead, door: &Door<'_>) -> Result<(Permit, BodyLimit), Response> {
        let Some((_, signal)) = self.paths.iter().find(|(path, _)| path == head.path()) else {
            return Err(not_found());
        };
        let coding = self.coding(head).map_err(|e| error(head, &Status::invalid_argument(e)))?;
        if head.method() != "POST" {
            let text = "405 method not allowed, supported: [POST]";
            return Err(Response::new(405, "text/plain", Bytes::from_static(text.as_bytes())));
        }
        match content_type(head) {
            Some(PROTOBUF) => {}
            Some(JSON) => {
                let text = "415 unsupported media type, supported: [application/x-protobuf]; application/json is not supported yet";
                return Err(Response::new(415, "text/plain", Bytes::from_static(text.as_bytes())));
            }
            _ => {
                let text = "415 unsupported media type, supported: [application/json, application/x-protobuf]";
                return Err(Response::new(415, "text/plain", Bytes::from_static(text.as_bytes())));
            }
        }
        if let Some(refused) = door.refusal(*signal).and_then(status) {
            return Err(error(head, &refused));
        }
        Ok((Permit { signal: *signal, coding, held: door.budget().hold(0) }, BodyLimit(self.max_body)))
    }

    fn coding(&self, head: &RequestHead) -> Result<Coding, String> {
        let name = head.get("content-encoding").unwrap_or_default();
        if self.codings.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Coding::Identity);
        }
        let unsupported = || format!("unsupported Content-Encoding: {}", String::from_utf8_lossy(name));
        if self.codings.as_ref().is_some_and(|codings| !codings.iter().any(|c| c.as_bytes() == name)) {
            return Err(unsupported());
        }
        match name {
            b"identity" => Ok(Coding::Identity),
            _ => Coding::parse(name).map_err(|_| unsupported()),
        }
    }

    fn finish(&self, mut response: Response) -> Response {
        response.headers.extend(self.headers.iter().cloned());
        response
    }
}

/// The request's media type, where it is one that OTLP has.
fn content_type(head: &RequestHead) -> Option<&'static str> {
    let value = head.get("content-type")?;
    let value = value.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    [PROTOBUF, JSON].into_iter().find(|known| value.eq_ignore_ascii_case(known.as_bytes()))
}

/// An error in the form of the request: `google.rpc.Status` in protobuf, or in JSON where it is not protobuf.
fn error(head: &RequestHead, status: &Status) -> Response {
    if content_type(head) == Some(PROTOBUF) {
        return protobuf_error(status);
    }
    let mut body = format!("{{\"code\":{},\"message\":", status.code.number()).into_bytes();
    otelcore_pdata::text::put_json_string(&mut body, status.message.as_bytes());
    body.push(b'}');
    with_retry_after(Response::new(http_code(status), JSON, body), status)
}

fn protobuf_error(status: &Status) -> Response {
    with_retry_after(Response::new(http_code(status), PROTOBUF, status.to_proto()), status)
}

/// Says when to come again, where the status knows and HTTP has a place for it.
fn with_retry_after(response: Response, status: &Status) -> Response {
    match (response.status, status.retry_after) {
        (429 | 503, Some(after)) => response.header("Retry-After", after.as_secs().to_string()),
        _ => response,
    }
}

impl HttpSide {
    pub(crate) fn new(settings: &OtlpHttp, signals: &[Signal], base: u64) -> Self {
        let server = &settings.server;
        let paths = signals.iter().map(|s| (settings.paths[*s as usize].clone(), *s)).collect();
        Self {
            listen: server.listen.clone(),
            config: Rc::new(server.machine()),
            rules: Rules {
                paths,
                codings: server.compression_algorithms.clone(),
                max_body: server.max_request_body_size,
                headers: server.response_headers.clone(),
            },
            base,
            include_metadata: server.include_metadata,
            acceptor: None,
        }
    }

    pub(crate) fn open(&mut self, cx: &mut Cx<'_>) -> io::Result<String> {
        let acceptor = Acceptor::new(bind(cx, self.base, &self.listen)?, self.base);
        let local = acceptor.local();
        self.acceptor = Some(acceptor);
        Ok(local)
    }

    pub(crate) fn event(
        &mut self,
        cx: &mut Cx<'_>,
        local: u64,
        event: &Event<'_>,
        door: &mut Door<'_>,
        requests: &mut Requests,
    ) {
        let Some(acceptor) = &mut self.acceptor else { return };
        let config = &self.config;
        let make = |cx: &mut Cx<'_>, stream| H1Conn::new(stream, config.clone(), cx.now().0);
        for slot in acceptor.event(cx, local, event, make) {
            let now = cx.now().0;
            let Some((conn, serial)) = acceptor.get(slot) else { continue };
            let turn = conn.turn(now, &mut Admission { door, rules: &self.rules });
            let mut refused = Vec::new();
            while let Some(mut request) = conn.poll_request() {
                let id = request.id;
                match payload(config, &mut request, self.rules.max_body, self.include_metadata) {
                    Ok(payload) => {
                        let caller = Caller::Http(slot, serial, id);
                        let number = requests.add(caller, payload.signal, payload.items());
                        door.send(cx, number, payload);
                    }
                    Err(status) => refused.push((id, error(&request.head, &status))),
                }
            }
            acceptor.after(cx, slot, &turn);
            for (id, response) in refused {
                if let Some(conn) = acceptor.answer(slot, serial) {
                    conn.respond(id, self.rules.finish(response));
                }
            }
        }
    }

    pub(crate) fn answer(&mut self, slot: usize, serial: u64, request: RequestId, outcome: Outcome) {
        let Some(conn) = self.acceptor.as_mut().and_then(|a| a.answer(slot, serial)) else { return };
        let response = match status(outcome) {
            None => Response::new(200, PROTOBUF, Bytes::from_static(SUCCESS)),
            Some(refused) => protobuf_error(&refused),
        };
        conn.respond(request, self.rules.finish(response));
    }

    pub(crate) fn flush(&mut self, cx: &mut Cx<'_>) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.flush(cx);
        }
    }

    pub(crate) fn close(&mut self, cx: &mut Cx<'_>) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.close(cx);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.acceptor.as_ref().is_none_or(Acceptor::is_closed)
    }
}

/// Inflates and walks a request's body.
fn payload(config: &H1Config, request: &mut Request<Permit>, limit: u64, keep: bool) -> Result<Payload, Status> {
    let body = std::mem::take(&mut request.body);
    let Permit { signal, coding, held } = &mut request.permit;
    let grow = |to| {
        held.grow(to);
        Ok::<(), std::convert::Infallible>(())
    };
    let body = config.workspace.decompress(coding, body, limit, grow).map_err(|e| match e {
        InflateError::TooLarge(_) => too_large(),
        other => Status::invalid_argument(other.to_string()),
    })?;
    let body = admit(*signal, body).map_err(|e| Status::invalid_argument(e.to_string()))?;
    let meta = keep.then(|| Arc::new(metadata(&request.head)));
    let held = std::mem::take(held);
    Ok(Payload { signal: *signal, body, meta, held })
}

fn metadata(head: &RequestHead) -> Metadata {
    let mut meta = Metadata::default();
    for (name, value) in head.headers() {
        if let Ok(value) = std::str::from_utf8(value) {
            meta.add(name, value);
        }
    }
    meta
}
