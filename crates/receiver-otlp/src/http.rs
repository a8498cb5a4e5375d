//! OTLP over HTTP: one path for each signal, bodies in protobuf or JSON. Plaintext connections use HTTP/1.1; with TLS,
//! clients may choose HTTP/2.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_http::h1::{Request, RequestHead, RequestId, Response};
use otelcore_http::status::http_status;
use otelcore_http::{Admission, Bytes, Code, Coding, Status};
use otelcore_net::config::{CorsConfig, HttpServerConfig};
use otelcore_net::{HttpListener, authenticate, not_found, redirect_to_clean_path};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Authentication, Budget, BuildContext, CredentialCheck, Cx, Event, Held, Metadata, PipelineInput, ServerAuth,
    StartError,
};

use crate::config::OtlpHttpConfig;
use crate::decode::{Protocol, RequestBody, no_room_status, too_large};
use crate::incoming_bodies::{BodyCharge, ConnectionId, IncomingBodies, ServerProtocol};
use crate::receiver::{
    PendingRequests, ReceivedRequest, RequestContent, ResponseTarget, SenderCheck, SenderChecks, too_many_checks_status,
};
use crate::{SUCCESS_RESPONSE, outcome_status};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
/// The response message of an export in JSON, as the Go collector writes it.
const SUCCESS_JSON: &[u8] = b"{\"partialSuccess\":{}}";

/// The result of reading the head of a request.
pub(crate) struct HttpPermit {
    /// A refusal is the response only after the check of the sender has succeeded: other clients must not learn which
    /// paths and methods exist.
    admitted: Result<(Signal, Coding), Response>,
    format: ResponseFormat,
    charge: BodyCharge,
    check: Option<SenderCheck>,
}

/// The format of the response to a request.
#[derive(Clone, Debug)]
pub(crate) struct ResponseFormat {
    /// [`PROTOBUF`] or [`JSON`].
    content_type: &'static str,
    /// The CORS header fields of the response.
    cors: Option<Rc<[(String, String)]>>,
}

/// The HTTP server of a receiver.
pub(crate) struct OtlpHttpServer {
    listener: HttpListener<HttpPermit>,
    head_rules: HeadRules,
    first_key: u64,
    include_metadata: bool,
    incoming_bodies: IncomingBodies,
    /// Charges for input that is not admitted yet, by slot, if it is longer than [`MAX_UNCHARGED`].
    unadmitted_charges: BTreeMap<usize, Held>,
}

/// Up to this number of bytes, input of a connection that is not admitted yet is not charged.
const MAX_UNCHARGED: usize = 4 << 10;

/// The rules by which a request is admitted or refused by its head.
struct HeadRules {
    /// The paths and their signals, for the signals that a pipeline uses.
    paths: Vec<(String, Signal)>,
    /// The accepted codings; `None` is the default set. If the list is empty, bodies are not decompressed.
    codings: Option<Vec<String>>,
    max_body: u64,
    /// Set on every response.
    headers: Vec<(String, String)>,
    cors: Option<CorsConfig>,
    auth: Option<Rc<dyn ServerAuth>>,
    auth_params: Vec<String>,
}

struct RequestAdmission<'a, 'd, 'w> {
    input: &'a PipelineInput<'d>,
    incoming_bodies: &'a IncomingBodies,
    connection: ConnectionId,
    rules: &'a HeadRules,
    checks: &'a mut SenderChecks,
    cx: &'a mut Cx<'w>,
}

impl Admission<RequestHead> for RequestAdmission<'_, '_, '_> {
    type Permit = HttpPermit;

    fn admit_head(&mut self, head: &RequestHead) -> Result<HttpPermit, Response> {
        if let Some(preflight) = self.rules.cors.as_ref().and_then(|cors| cors.preflight_response(head)) {
            return Err(self.rules.add_headers(preflight, None));
        }
        let format = self.rules.response_format(head);
        self.admit(head, &format).map_err(|refused| self.rules.add_headers(refused, format.cors.as_ref()))
    }

    fn grow(&mut self, permit: &mut HttpPermit, to: u64) -> Result<(), Response> {
        permit.charge.grow(to).map_err(|no_room| self.rules.refusal_response(&permit.format, &no_room_status(no_room)))
    }

    fn too_large(&mut self, head: &RequestHead, _: Option<u64>, _: u64) -> Response {
        let format = self.rules.response_format(head);
        self.rules.refusal_response(&format, &too_large())
    }
}

impl RequestAdmission<'_, '_, '_> {
    /// Applies the rules, and then charges the request.
    fn admit(&mut self, head: &RequestHead, format: &ResponseFormat) -> Result<HttpPermit, Response> {
        let pending = self.rules.authenticate(head, format, self.cx)?;
        let admitted = match self.rules.admit(head, format) {
            Err(refused) if pending.is_none() => return Err(refused),
            request => request,
        };
        if let Ok((signal, _)) = &admitted
            && let Some(refused) = self.input.refusal(*signal).and_then(outcome_status)
        {
            return Err(error_response(format, &refused));
        }
        let charge = self.incoming_bodies.add(self.input.budget(), self.connection, head.memory_size());
        let charge = charge.map_err(|no_room| error_response(format, &no_room_status(no_room)))?;
        let check = pending.map(|check| self.checks.enqueue(self.cx, check, (self.connection, charge.number())));
        let check = check.transpose().map_err(|e| error_response(format, &too_many_checks_status(e)))?;
        Ok(HttpPermit { admitted, format: format.clone(), charge, check })
    }
}

fn plain_text_response(status: u16, text: &'static str) -> Response {
    Response::new(status, "text/plain", Bytes::from_static(text.as_bytes()))
}

impl HeadRules {
    fn new(config: &OtlpHttpConfig, context: &BuildContext<'_>) -> Result<Self, StartError> {
        let server: &HttpServerConfig = &config.server;
        let auth = server.auth.as_ref();
        Ok(Self {
            paths: context.signals.iter().map(|s| (config.paths[*s as usize].clone(), *s)).collect(),
            codings: server.compression_algorithms.clone(),
            max_body: server.max_request_body_size,
            headers: server.response_headers.clone(),
            cors: server.cors.clone(),
            auth: server.authenticator(context.capabilities)?,
            auth_params: auth.map(|a| a.request_params.clone()).unwrap_or_default(),
        })
    }

    /// Checks the credentials, which is the first check of the Go collector. Returns the check that is still needed, if
    /// any.
    fn authenticate(
        &self,
        head: &RequestHead,
        format: &ResponseFormat,
        cx: &mut Cx<'_>,
    ) -> Result<Option<Box<dyn CredentialCheck>>, Response> {
        let Some(auth) = &self.auth else { return Ok(None) };
        match authenticate(&**auth, &self.auth_params, cx, head) {
            Authentication::Granted => Ok(None),
            Authentication::Refused(why) => Err(error_response(format, &Status::new(Code::Unauthenticated, why))),
            Authentication::Pending(check) => Ok(Some(check)),
        }
    }

    /// The checks after that, in the Go collector's order: path, coding, method, content type. The limiter follows.
    fn admit(&self, head: &RequestHead, format: &ResponseFormat) -> Result<(Signal, Coding), Response> {
        let decoded_path = head.decoded_path();
        let Some((_, signal)) = self.paths.iter().find(|(path, _)| path.as_bytes() == &*decoded_path) else {
            return Err(redirect_to_clean_path(head).unwrap_or_else(not_found));
        };
        let coding = self.coding(head).map_err(|e| error_response(format, &Status::invalid_argument(e)))?;
        if head.method() != "POST" {
            return Err(plain_text_response(405, "405 method not allowed, supported: [POST]").header("Allow", "POST"));
        }
        if content_type(head).is_none() {
            return Err(plain_text_response(
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

    fn response_format(&self, head: &RequestHead) -> ResponseFormat {
        // A request that is not protobuf gets a response in JSON, as from the Go collector when the type is missing.
        let content_type = content_type(head).unwrap_or(JSON);
        ResponseFormat { content_type, cors: self.cors.as_ref().map(|cors| cors.response_fields(head).into()) }
    }

    /// The complete response to a request that is refused.
    fn refusal_response(&self, format: &ResponseFormat, status: &Status) -> Response {
        self.add_headers(error_response(format, status), format.cors.as_ref())
    }

    fn add_headers(&self, mut response: Response, cors: Option<&Rc<[(String, String)]>>) -> Response {
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
fn error_response(format: &ResponseFormat, status: &Status) -> Response {
    let body = if format.content_type == PROTOBUF {
        status.to_proto()
    } else {
        let mut body = format!("{{\"code\":{},\"message\":", status.code.number()).into_bytes();
        otelcore_pdata::text::put_json_string(&mut body, status.message.as_bytes());
        body.push(b'}');
        body.into()
    };
    let response = Response::new(http_status(status), format.content_type, body);
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

impl OtlpHttpServer {
    pub(crate) fn new(
        config: &OtlpHttpConfig,
        context: &BuildContext<'_>,
        first_key: u64,
        incoming_bodies: IncomingBodies,
    ) -> Result<Self, StartError> {
        Ok(Self {
            listener: HttpListener::new(&config.server, context.log.clone(), context.telemetry),
            head_rules: HeadRules::new(config, context)?,
            first_key,
            include_metadata: config.server.include_metadata,
            incoming_bodies,
            unadmitted_charges: BTreeMap::new(),
        })
    }

    pub(crate) fn open(&mut self, cx: &mut Cx<'_>) -> Result<String, String> {
        self.listener.open(cx, self.first_key)
    }

    pub(crate) fn handle_event(
        &mut self,
        cx: &mut Cx<'_>,
        local: u64,
        event: &Event<'_>,
        input: &mut PipelineInput<'_>,
        requests: &mut PendingRequests,
    ) {
        let config = self.listener.config().clone();
        for slot in self.listener.handle_event(cx, local, event) {
            let now = cx.now().0;
            let Some((conn, serial)) = self.listener.get(slot) else { continue };
            let connection = ConnectionId { server: ServerProtocol::Http, slot, serial };
            if conn.is_idle() && self.incoming_bodies.should_defer(input.budget(), connection) {
                self.listener.request_ready(cx, slot);
                continue;
            }
            let (bodies, rules, checks) = (&self.incoming_bodies, &self.head_rules, &mut requests.checks);
            let poll_result =
                conn.poll(now, &mut RequestAdmission { input, incoming_bodies: bodies, connection, rules, checks, cx });
            while let Some(request) = conn.poll_request() {
                let metadata = self.include_metadata.then(|| Arc::new(request_metadata(&request.head)));
                let caller = ResponseTarget::Http(connection, request.id, request.permit.format.clone());
                let (charge_number, check, content) = request_parts(request, self.head_rules.max_body);
                let received = ReceivedRequest {
                    charge_number,
                    response_target: caller,
                    metadata,
                    content,
                    workspace: config.workspace.clone(),
                };
                requests.receive(cx, input, received, check);
            }
            self.listener.apply_poll_result(cx, slot, &poll_result);
            self.charge_unadmitted(cx, slot, input.budget());
        }
    }

    /// Charges the input of a connection that is not admitted yet; refuses the request if there is no room.
    fn charge_unadmitted(&mut self, cx: &mut Cx<'_>, slot: usize, budget: &Arc<Budget>) {
        let bytes = self.listener.get(slot).map_or(0, |(conn, _)| conn.unadmitted_bytes());
        if bytes <= MAX_UNCHARGED {
            self.unadmitted_charges.remove(&slot);
            return;
        }
        let held = self.unadmitted_charges.entry(slot).or_insert_with(|| budget.hold(0));
        if held.try_grow(bytes as u64).is_err()
            && let Some((conn, serial)) = self.listener.get(slot)
        {
            conn.refuse_head(cx.now().0, plain_text_response(503, "data refused due to high memory usage"));
            self.listener.get_for_response(slot, serial);
            self.unadmitted_charges.remove(&slot);
        }
    }

    /// Refuses bodies that are being read, by the numbers of their charges.
    pub(crate) fn refuse_incoming_bodies(
        &mut self,
        cx: &mut Cx<'_>,
        connection: ConnectionId,
        matches: impl Fn(u64) -> bool,
        status: &Status,
    ) {
        if let Some(conn) = self.listener.get_for_response(connection.slot, connection.serial) {
            let response = |permit: &HttpPermit| self.head_rules.refusal_response(&permit.format, status);
            conn.refuse_incomplete(cx.now().0, |permit| matches(permit.charge.number()), response);
        }
    }

    /// Whether the connection is still open.
    pub(crate) fn is_connected(&mut self, connection: ConnectionId) -> bool {
        self.listener.get(connection.slot).is_some_and(|(_, serial)| serial == connection.serial)
    }

    /// Sends a response that the rules about the head of a request have made.
    pub(crate) fn respond(
        &mut self,
        connection: ConnectionId,
        request: RequestId,
        format: &ResponseFormat,
        response: Response,
    ) {
        if let Some(conn) = self.listener.get_for_response(connection.slot, connection.serial) {
            conn.respond(request, self.head_rules.add_headers(response, format.cors.as_ref()));
        }
    }

    pub(crate) fn send_result(
        &mut self,
        connection: ConnectionId,
        request: RequestId,
        format: &ResponseFormat,
        result: Result<(), Status>,
    ) {
        let response = match result {
            Ok(()) if format.content_type == JSON => Response::new(200, JSON, Bytes::from_static(SUCCESS_JSON)),
            Ok(()) => Response::new(200, PROTOBUF, Bytes::from_static(SUCCESS_RESPONSE)),
            Err(status) => error_response(format, &status),
        };
        self.respond(connection, request, format, response);
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

/// The parts of a received request: the number of its charge, the check of its sender, and what to do with it.
fn request_parts(request: Request<HttpPermit>, limit: u64) -> (u64, Option<SenderCheck>, RequestContent) {
    let HttpPermit { admitted, format, charge, check } = request.permit;
    let (charge_number, is_json) = (charge.number(), format.content_type == JSON);
    let content = match admitted {
        Ok((signal, coding)) => {
            let (bytes, held, protocol) = (request.body, charge.complete(), Protocol::Http);
            RequestContent::Body(RequestBody { signal, bytes, coding, is_json, limit, held, protocol })
        }
        Err(refused) => RequestContent::Refused(refused),
    };
    (charge_number, check, content)
}

fn request_metadata(head: &RequestHead) -> Metadata {
    let mut metadata = Metadata::default();
    for (name, value) in head.headers() {
        if let Ok(value) = std::str::from_utf8(value) {
            metadata.add(name, value);
        }
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_below_one_second_is_rounded_up_to_one() {
        for (millis, seconds) in [(0, 1), (1, 1), (50, 1), (999, 1), (1000, 1), (1001, 2), (30_000, 30)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds, "{millis} ms");
        }
        let retry_status = |millis| {
            let why = otelcore_pipeline::Error { code: None, message: "sending queue is full".into() };
            outcome_status(otelcore_pipeline::Outcome::Retry { after: Some(Duration::from_millis(millis)), why })
                .unwrap()
        };
        assert_eq!(retry_status(0).retry_after, Some(Duration::from_millis(1)));
        let format = ResponseFormat { content_type: PROTOBUF, cors: None };
        let response = error_response(&format, &retry_status(50));
        let field = response.headers.iter().find(|(name, _)| name == "Retry-After");
        assert_eq!((response.status, field.map(|(_, value)| value.as_str())), (503, Some("1")));
    }
}
