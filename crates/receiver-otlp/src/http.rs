//! OTLP over HTTP: one path for each signal, bodies in protobuf or JSON. Plaintext connections use HTTP/1.1; with TLS,
//! clients may choose HTTP/2.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_http::h1::{self, BodyLimit, Request, RequestHead, RequestId, Response};
use otelcore_http::status::http_code;
use otelcore_http::{Bytes, Code, Coding, Status};
use otelcore_net::settings::{Cors, HttpServer};
use otelcore_net::{HttpListener, authenticate, not_found, redirect};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Authentication, Budget, Build, CredentialCheck, Cx, Door, Event, Held, Metadata, ServerAuth, StartError,
};

use crate::bodies::{Bodies, BodyCharge, Connection, Server};
use crate::config::OtlpHttp;
use crate::decode::{Body, Protocol, no_room_status, too_large};
use crate::receiver::{Arrived, Caller, Content, Requests, SenderCheck, SenderChecks, too_many_checks};
use crate::{SUCCESS, status};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
/// The response message of an export in JSON, as the Go collector writes it.
const SUCCESS_JSON: &[u8] = b"{\"partialSuccess\":{}}";

/// The result of reading the head of a request.
pub(crate) struct Permit {
    /// A refusal is the response only after the check of the sender has succeeded: other clients must not learn which
    /// paths and methods exist.
    request: Result<(Signal, Coding), Response>,
    form: Form,
    charge: BodyCharge,
    check: Option<SenderCheck>,
}

/// The format of the response to a request.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    /// [`PROTOBUF`] or [`JSON`].
    content_type: &'static str,
    /// The CORS header fields of the response.
    cors: Option<Rc<[(String, String)]>>,
}

/// The HTTP server of a receiver.
pub(crate) struct HttpSide {
    listener: HttpListener<Permit>,
    rules: Rules,
    base: u64,
    include_metadata: bool,
    bodies: Bodies,
    /// Charges for input that is not admitted yet, by slot, if it is longer than [`UNCHARGED`].
    unadmitted: BTreeMap<usize, Held>,
}

/// Up to this number of bytes, input of a connection that is not admitted yet is not charged.
const UNCHARGED: usize = 4 << 10;

/// The rules by which a request is admitted or refused by its head.
struct Rules {
    /// The paths and their signals, for the signals that a pipeline uses.
    paths: Vec<(String, Signal)>,
    /// The accepted codings; `None` is the default set. If the list is empty, bodies are not decompressed.
    codings: Option<Vec<String>>,
    max_body: u64,
    /// Set on every response.
    headers: Vec<(String, String)>,
    cors: Option<Cors>,
    auth: Option<Rc<dyn ServerAuth>>,
    auth_params: Vec<String>,
}

struct Admission<'a, 'd, 'w> {
    door: &'a Door<'d>,
    bodies: &'a Bodies,
    connection: Connection,
    rules: &'a Rules,
    checks: &'a mut SenderChecks,
    cx: &'a mut Cx<'w>,
}

impl h1::Door for Admission<'_, '_, '_> {
    type Permit = Permit;

    fn head(&mut self, head: &RequestHead) -> Result<(Permit, BodyLimit), Response> {
        if let Some(preflight) = self.rules.cors.as_ref().and_then(|cors| cors.preflight(head)) {
            return Err(self.rules.finish(preflight, None));
        }
        let form = self.rules.form(head);
        self.admit(head, &form).map_err(|refused| self.rules.finish(refused, form.cors.as_ref()))
    }

    fn grow(&mut self, permit: &mut Permit, to: u64) -> Result<(), Response> {
        permit.charge.grow(to).map_err(|no_room| self.rules.refuse(&permit.form, &no_room_status(no_room)))
    }

    fn too_large(&mut self, head: &RequestHead) -> Response {
        let form = self.rules.form(head);
        self.rules.refuse(&form, &too_large())
    }
}

impl Admission<'_, '_, '_> {
    /// Applies the rules, and then charges the request.
    fn admit(&mut self, head: &RequestHead, form: &Form) -> Result<(Permit, BodyLimit), Response> {
        let pending = self.rules.authenticate(head, form, self.cx)?;
        let request = match self.rules.admit(head, form) {
            Err(refused) if pending.is_none() => return Err(refused),
            request => request,
        };
        if let Ok((signal, _)) = &request
            && let Some(refused) = self.door.refusal(*signal).and_then(status)
        {
            return Err(error(form, &refused));
        }
        let charge = self.bodies.open(self.door.budget(), self.connection, head.size());
        let charge = charge.map_err(|no_room| error(form, &no_room_status(no_room)))?;
        let check = pending.map(|check| self.checks.wait(self.cx, check, (self.connection, charge.number())));
        let check = check.transpose().map_err(|e| error(form, &too_many_checks(e)))?;
        Ok((Permit { request, form: form.clone(), charge, check }, BodyLimit(self.rules.max_body)))
    }
}

fn plain(status: u16, text: &'static str) -> Response {
    Response::new(status, "text/plain", Bytes::from_static(text.as_bytes()))
}

impl Rules {
    fn new(settings: &OtlpHttp, build: &Build<'_>) -> Result<Self, StartError> {
        let server: &HttpServer = &settings.server;
        let auth = server.auth.as_ref();
        Ok(Self {
            paths: build.signals.iter().map(|s| (settings.paths[*s as usize].clone(), *s)).collect(),
            codings: server.compression_algorithms.clone(),
            max_body: server.max_request_body_size,
            headers: server.response_headers.clone(),
            cors: server.cors.clone(),
            auth: server.authenticator(build.auth)?,
            auth_params: auth.map(|a| a.request_params.clone()).unwrap_or_default(),
        })
    }

    /// Checks the credentials, which is the first check of the Go collector. Returns the check that is still needed, if
    /// any.
    fn authenticate(
        &self,
        head: &RequestHead,
        form: &Form,
        cx: &mut Cx<'_>,
    ) -> Result<Option<Box<dyn CredentialCheck>>, Response> {
        let Some(auth) = &self.auth else { return Ok(None) };
        match authenticate(&**auth, &self.auth_params, cx, head) {
            Authentication::Granted => Ok(None),
            Authentication::Refused(why) => Err(error(form, &Status::new(Code::Unauthenticated, why))),
            Authentication::Pending(check) => Ok(Some(check)),
        }
    }

    /// The checks after that, in the Go collector's order: path, coding, method, content type. The limiter follows.
    fn admit(&self, head: &RequestHead, form: &Form) -> Result<(Signal, Coding), Response> {
        let decoded = head.decoded_path();
        let Some((_, signal)) = self.paths.iter().find(|(path, _)| path.as_bytes() == &*decoded) else {
            return Err(redirect(head).unwrap_or_else(not_found));
        };
        let coding = self.coding(head).map_err(|e| error(form, &Status::invalid_argument(e)))?;
        if head.method() != "POST" {
            return Err(plain(405, "405 method not allowed, supported: [POST]").header("Allow", "POST"));
        }
        if content_type(head).is_none() {
            return Err(plain(
                415,
                "415 unsupported media type, supported: [application/json, application/x-protobuf]",
            ));
        }
        Ok((*signal, coding))
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
        Coding::parse(name).map_err(|_| unsupported())
    }

    fn form(&self, head: &RequestHead) -> Form {
        // A request that is not protobuf gets a response in JSON, as from the Go collector when the type is missing.
        let content_type = content_type(head).unwrap_or(JSON);
        Form { content_type, cors: self.cors.as_ref().map(|cors| cors.answer(head).into()) }
    }

    /// The complete response to a request that is refused.
    fn refuse(&self, form: &Form, status: &Status) -> Response {
        self.finish(error(form, status), form.cors.as_ref())
    }

    fn finish(&self, mut response: Response, cors: Option<&Rc<[(String, String)]>>) -> Response {
        response.headers.extend(self.headers.iter().cloned());
        response.headers.extend(cors.into_iter().flat_map(|fields| fields.iter().cloned()));
        response
    }
}

/// The request's media type, if OTLP supports it.
fn content_type(head: &RequestHead) -> Option<&'static str> {
    let value = head.get("content-type")?;
    let value = value.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    [PROTOBUF, JSON].into_iter().find(|known| value.eq_ignore_ascii_case(known.as_bytes()))
}

/// An error in the form of the request: `google.rpc.Status` in protobuf or JSON.
fn error(form: &Form, status: &Status) -> Response {
    let body = if form.content_type == PROTOBUF {
        status.to_proto()
    } else {
        let mut body = format!("{{\"code\":{},\"message\":", status.code.number()).into_bytes();
        otelcore_pdata::text::put_json_string(&mut body, status.message.as_bytes());
        body.push(b'}');
        body.into()
    };
    let response = Response::new(http_code(status), form.content_type, body);
    // The pause before a retry, if the status has one and it is used with this HTTP status.
    match (response.status, status.retry_after) {
        (429 | 503, Some(after)) => response.header("Retry-After", whole_seconds(after).to_string()),
        _ => response,
    }
}

/// Rounded up, at least one: zero would make every client retry at once.
fn whole_seconds(after: Duration) -> u64 {
    (after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1)
}

impl HttpSide {
    pub(crate) fn new(settings: &OtlpHttp, build: &Build<'_>, base: u64, bodies: Bodies) -> Result<Self, StartError> {
        Ok(Self {
            listener: HttpListener::new(&settings.server, build.log.clone(), build.telemetry),
            rules: Rules::new(settings, build)?,
            base,
            include_metadata: settings.server.include_metadata,
            bodies,
            unadmitted: BTreeMap::new(),
        })
    }

    pub(crate) fn open(&mut self, cx: &mut Cx<'_>) -> Result<String, String> {
        self.listener.open(cx, self.base)
    }

    pub(crate) fn event(
        &mut self,
        cx: &mut Cx<'_>,
        local: u64,
        event: &Event<'_>,
        door: &mut Door<'_>,
        requests: &mut Requests,
    ) {
        let config = self.listener.config().clone();
        for slot in self.listener.event(cx, local, event) {
            let now = cx.now().0;
            let Some((conn, serial)) = self.listener.get(slot) else { continue };
            let connection = Connection { server: Server::Http, slot, serial };
            if conn.is_idle() && self.bodies.defers(door.budget(), connection) {
                self.listener.again(cx, slot);
                continue;
            }
            let (bodies, rules, checks) = (&self.bodies, &self.rules, &mut requests.checks);
            let turn = conn.turn(now, &mut Admission { door, bodies, connection, rules, checks, cx });
            while let Some(request) = conn.poll_request() {
                let meta = self.include_metadata.then(|| Arc::new(metadata(&request.head)));
                let caller = Caller::Http(connection, request.id, request.permit.form.clone());
                let (number, check, content) = content(request, self.rules.max_body);
                let arrived = Arrived { number, caller, meta, content, workspace: config.workspace.clone() };
                requests.receive(cx, door, arrived, check);
            }
            self.listener.after(cx, slot, &turn);
            self.charge_unadmitted(cx, slot, door.budget());
        }
    }

    /// Charges the input of a connection that is not admitted yet; refuses the request if there is no room.
    fn charge_unadmitted(&mut self, cx: &mut Cx<'_>, slot: usize, budget: &Arc<Budget>) {
        let bytes = self.listener.get(slot).map_or(0, |(conn, _)| conn.unadmitted());
        if bytes <= UNCHARGED {
            self.unadmitted.remove(&slot);
            return;
        }
        let held = self.unadmitted.entry(slot).or_insert_with(|| budget.hold(0));
        if held.try_grow(bytes as u64).is_err()
            && let Some((conn, serial)) = self.listener.get(slot)
        {
            conn.refuse_head(cx.now().0, plain(503, "data refused due to high memory usage"));
            self.listener.answer(slot, serial);
            self.unadmitted.remove(&slot);
        }
    }

    /// Refuses bodies that are being read, by the numbers of their charges.
    pub(crate) fn refuse_reading(
        &mut self,
        cx: &mut Cx<'_>,
        connection: Connection,
        matches: impl Fn(u64) -> bool,
        status: &Status,
    ) {
        if let Some(conn) = self.listener.answer(connection.slot, connection.serial) {
            let answer = |permit: &Permit| self.rules.refuse(&permit.form, status);
            conn.refuse_reading(cx.now().0, |permit| matches(permit.charge.number()), answer);
        }
    }

    /// Whether the connection is still open.
    pub(crate) fn is_connected(&mut self, connection: Connection) -> bool {
        self.listener.get(connection.slot).is_some_and(|(_, serial)| serial == connection.serial)
    }

    /// Answers a request with a response of the rules about its head.
    pub(crate) fn respond(&mut self, connection: Connection, request: RequestId, form: &Form, response: Response) {
        if let Some(conn) = self.listener.answer(connection.slot, connection.serial) {
            conn.respond(request, self.rules.finish(response, form.cors.as_ref()));
        }
    }

    pub(crate) fn answer(
        &mut self,
        connection: Connection,
        request: RequestId,
        form: &Form,
        answer: Result<(), Status>,
    ) {
        let response = match answer {
            Ok(()) if form.content_type == JSON => Response::new(200, JSON, Bytes::from_static(SUCCESS_JSON)),
            Ok(()) => Response::new(200, PROTOBUF, Bytes::from_static(SUCCESS)),
            Err(refused) => error(form, &refused),
        };
        self.respond(connection, request, form, response);
    }

    pub(crate) fn flush(&mut self, cx: &mut Cx<'_>) {
        self.listener.flush(cx);
    }

    pub(crate) fn close(&mut self, cx: &mut Cx<'_>) {
        self.listener.close(cx);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.listener.is_closed()
    }
}

/// The parts of a request that has arrived: the number of its charge, the check of its sender, and what to do with it.
fn content(request: Request<Permit>, limit: u64) -> (u64, Option<SenderCheck>, Content) {
    let Permit { request: admitted, form, charge, check } = request.permit;
    let (number, is_json) = (charge.number(), form.content_type == JSON);
    let content = match admitted {
        Ok((signal, coding)) => {
            let (bytes, held, protocol) = (request.body, charge.complete(), Protocol::Http);
            Content::Body(Body { signal, bytes, coding, is_json, limit, held, protocol })
        }
        Err(refused) => Content::Refused(refused),
    };
    (number, check, content)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_rounded_up_and_never_zero() {
        for (millis, seconds) in [(0, 1), (1, 1), (50, 1), (999, 1), (1000, 1), (1001, 2), (30_000, 30)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds, "{millis} ms");
        }
        let refused = |millis| {
            let why = otelcore_pipeline::Error { code: None, message: "sending queue is full".into() };
            status(otelcore_pipeline::Outcome::Retry { after: Some(Duration::from_millis(millis)), why }).unwrap()
        };
        assert_eq!(refused(0).retry_after, Some(Duration::from_millis(1)));
        let form = Form { content_type: PROTOBUF, cors: None };
        let response = error(&form, &refused(50));
        let field = response.headers.iter().find(|(name, _)| name == "Retry-After");
        assert_eq!((response.status, field.map(|(_, value)| value.as_str())), (503, Some("1")));
    }
}
