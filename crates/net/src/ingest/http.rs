//! The HTTP server of a receiver: routes, and the rules by which a request is admitted or refused by its head.
//! Plaintext connections use HTTP/1.1; with TLS, clients may choose HTTP/2.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use otelcore_http::h1::{Request, RequestHead, RequestId, Response};
use otelcore_http::{Admission, Bytes, Code, Coding, Status};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Authentication, Budget, BuildContext, CredentialCheck, Cx, Event, Metadata, PipelineInput, ServerAuth, StartError,
};

use super::bodies::{BodyCharge, ConnectionId, IncomingBodies, ServerProtocol};
use super::body::RequestBody;
use super::protocol::IngestProtocol;
use super::requests::{
    HttpRequestState, PendingRequests, ReceivedRequest, RequestContent, RequestKey, RequestResult, ResponseFormat,
    ResponseTarget, SenderCheck, SenderChecks, with_sender,
};
use super::status::{no_room_status, outcome_status, too_large, too_many_checks_status};
use crate::config::{CorsConfig, HttpServerConfig};
use crate::page_server::auth_field;
use crate::request_metrics::{HttpServerMetrics, HttpServerRequest};
use crate::{HttpListener, ListenError, authenticate, not_found, redirect_to_clean_path};

/// A path and method that a receiver serves.
#[derive(Clone, Debug)]
pub struct HttpRoute {
    /// `POST`, for example.
    pub method: &'static str,
    /// The path with its leading slash, compared with the decoded path of a request.
    pub path: String,
    /// Passed to [`IngestProtocol`] with each request of this route.
    pub route: u32,
    /// The signals of its telemetry: while a limiter refuses one of them, requests are refused by their head.
    pub signals: Vec<Signal>,
}

/// The result of reading the head of a request.
pub(super) struct HttpPermit<F> {
    /// The number of the route, and the coding of the body. A refusal is the response only after the check of the
    /// sender has succeeded: other clients must not learn which paths and methods exist.
    admitted: Result<(u32, Coding), Response>,
    format: ResponseFormat<F>,
    charge: BodyCharge,
    check: Option<SenderCheck>,
    /// What the authenticator knows of the sender.
    sender: Vec<(String, String)>,
    noted: HttpServerRequest,
}

/// The HTTP server of a receiver.
pub(super) struct HttpServer<P: IngestProtocol> {
    listener: HttpListener<HttpPermit<P::Format>>,
    rules: HeadRules<P>,
    first_key: u64,
    include_metadata: bool,
    incoming_bodies: IncomingBodies,
    /// Charges for input that is not admitted yet, if it is longer than [`MAX_UNCHARGED`].
    unadmitted_charges: BTreeMap<ConnectionId, BodyCharge>,
    /// The number of connections that had ended when those charges were compared with the connections.
    compared_at: u64,
}

/// Up to this number of bytes, input of a connection that is not admitted yet is not charged.
const MAX_UNCHARGED: usize = 4 << 10;

/// The rules by which a request is admitted or refused by its head.
struct HeadRules<P: IngestProtocol> {
    protocol: Arc<P>,
    routes: Vec<HttpRoute>,
    /// The accepted codings; `None` is the default set. If the list is empty, bodies are not decompressed.
    codings: Option<Vec<String>>,
    max_body: u64,
    /// Set on every response.
    headers: Vec<(String, String)>,
    cors: Option<CorsConfig>,
    auth: Option<Rc<dyn ServerAuth>>,
    auth_params: Vec<String>,
    metrics: HttpServerMetrics,
}

struct RequestAdmission<'a, 'd, 'w, P: IngestProtocol> {
    input: &'a PipelineInput<'d>,
    incoming_bodies: &'a IncomingBodies,
    connection: ConnectionId,
    rules: &'a HeadRules<P>,
    checks: &'a mut SenderChecks,
    cx: &'a mut Cx<'w>,
}

impl<P: IngestProtocol> Admission<RequestHead> for RequestAdmission<'_, '_, '_, P> {
    type Permit = HttpPermit<P::Format>;

    fn admit_head(&mut self, head: &RequestHead) -> Result<Self::Permit, Response> {
        let mut noted = self.rules.metrics.begin(self.cx, head);
        let refused = |this: &Self, noted: &HttpServerRequest, response: Response| {
            this.rules.metrics.end(this.cx, noted, &response);
            response
        };
        if let Some(preflight) = self.rules.cors.as_ref().and_then(|cors| cors.preflight_response(head)) {
            return Err(refused(self, &noted, self.rules.add_headers(preflight, None)));
        }
        if let Some(noted) = &mut noted
            && let Some(route) = self.rules.routes.iter().find(|route| route.path.as_bytes() == &*head.decoded_path())
        {
            noted.set_route(&route.path);
        }
        let format = self.rules.response_format(head);
        match self.admit(head, &format) {
            Ok(permit) => Ok(HttpPermit { noted, ..permit }),
            Err(response) => Err(refused(self, &noted, self.rules.add_headers(response, format.cors.as_ref()))),
        }
    }

    fn grow(&mut self, permit: &mut Self::Permit, to: u64) -> Result<(), Response> {
        let now = self.cx.now();
        permit
            .charge
            .grow(to, now)
            .map_err(|no_room| self.rules.refusal_response(self.cx, permit, &no_room_status(no_room)))
    }

    fn too_large(&mut self, head: &RequestHead, _: Option<u64>, _: u64) -> Response {
        let format = self.rules.response_format(head);
        let response =
            self.rules.add_headers(self.rules.error_response(None, &format, &too_large()), format.cors.as_ref());
        self.rules.metrics.end(self.cx, &self.rules.metrics.begin(self.cx, head), &response);
        response
    }
}

impl<P: IngestProtocol> RequestAdmission<'_, '_, '_, P> {
    /// Applies the rules, and then charges the request.
    fn admit(
        &mut self,
        head: &RequestHead,
        format: &ResponseFormat<P::Format>,
    ) -> Result<HttpPermit<P::Format>, Response> {
        let pending = self.rules.authenticate(head, format, self.cx)?;
        let sender = self
            .rules
            .auth
            .as_ref()
            .map_or_else(Vec::new, |auth| auth.attributes(&|name| auth_field(&self.rules.auth_params, head, name)));
        let admitted = match self.rules.admit(head, format) {
            Err(refused) if pending.is_none() => return Err(refused),
            request => request,
        };
        let route = admitted.as_ref().ok().map(|(route, _)| route.route);
        let error_response = |status: Status| self.rules.error_response(route, format, &status);
        if let Ok((route, _)) = &admitted
            && let Some(refused) = route.signals.iter().find_map(|signal| self.input.refusal(*signal))
            && let Some(status) = outcome_status(refused)
        {
            return Err(error_response(status));
        }
        let now = self.cx.now();
        let charge = self.incoming_bodies.add(self.input.budget(), self.connection, head.memory_size(), now);
        let charge = charge.map_err(|no_room| error_response(no_room_status(no_room)))?;
        let check = pending.map(|check| self.checks.enqueue(self.cx, check, (self.connection, charge.number())));
        let check = check.transpose().map_err(|e| error_response(too_many_checks_status(e)))?;
        let admitted = admitted.map(|(route, coding)| (route.route, coding));
        Ok(HttpPermit { admitted, format: format.clone(), charge, check, sender, noted: None })
    }
}

fn plain_text_response(status: u16, text: impl Into<Bytes>) -> Response {
    Response::new(status, "text/plain", text)
}

impl<P: IngestProtocol> HeadRules<P> {
    fn new(
        protocol: Arc<P>,
        server: &HttpServerConfig,
        routes: Vec<HttpRoute>,
        context: &BuildContext<'_>,
    ) -> Result<Self, StartError> {
        Ok(Self {
            protocol,
            routes,
            codings: server.compression_algorithms.clone(),
            max_body: server.max_body(),
            headers: server.response_headers.0.clone(),
            cors: server.cors(),
            auth: server.authenticator(context.capabilities)?,
            auth_params: server.auth_params(),
            metrics: HttpServerMetrics::new(context.telemetry, server.tls.get().is_some()),
        })
    }

    /// Checks the credentials, which is the first check of the Go collector. Returns the check that is still needed, if
    /// any.
    fn authenticate(
        &self,
        head: &RequestHead,
        format: &ResponseFormat<P::Format>,
        cx: &mut Cx<'_>,
    ) -> Result<Option<Box<dyn CredentialCheck>>, Response> {
        let Some(auth) = &self.auth else { return Ok(None) };
        match authenticate(&**auth, &self.auth_params, cx, head) {
            Authentication::Granted => Ok(None),
            Authentication::Refused(why) => {
                Err(self.error_response(None, format, &Status::new(Code::Unauthenticated, why.0)))
            }
            Authentication::Pending(check) => Ok(Some(check)),
        }
    }

    /// The checks after that, in the Go collector's order: path, coding, method, and what the protocol checks. The
    /// limiter follows.
    fn admit(&self, head: &RequestHead, format: &ResponseFormat<P::Format>) -> Result<(&HttpRoute, Coding), Response> {
        let decoded_path = head.decoded_path();
        let of_path = || self.routes.iter().filter(|route| route.path.as_bytes() == &*decoded_path);
        let Some(first) = of_path().next() else {
            return Err(redirect_to_clean_path(head).unwrap_or_else(not_found));
        };
        let coding = self.coding(head).map_err(|status| self.error_response(Some(first.route), format, &status))?;
        let Some(route) = of_path().find(|route| route.method == head.method()) else {
            let methods: Vec<&str> = of_path().map(|route| route.method).collect();
            let text = format!("405 method not allowed, supported: [{}]", methods.join(" "));
            return Err(plain_text_response(405, text).header("Allow", methods.join(", ")));
        };
        match self.protocol.refuse_head(head, &format.body) {
            Some(refused) => Err(refused),
            None => Ok((route, coding)),
        }
    }

    fn coding(&self, head: &RequestHead) -> Result<Coding, Status> {
        let name = head.get("content-encoding").unwrap_or_default();
        if self.codings.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Coding::Identity);
        }
        let is_listed = self.codings.as_ref().is_none_or(|codings| codings.iter().any(|c| c.as_bytes() == name));
        Coding::parse(name).ok().filter(|_| is_listed).ok_or_else(|| {
            Status::invalid_argument(format!("unsupported Content-Encoding: {}", String::from_utf8_lossy(name)))
        })
    }

    fn response_format(&self, head: &RequestHead) -> ResponseFormat<P::Format> {
        let cors = self.cors.as_ref().map(|cors| cors.response_fields(head).into());
        ResponseFormat { body: self.protocol.read_format(head), cors }
    }

    fn error_response(&self, route: Option<u32>, format: &ResponseFormat<P::Format>, status: &Status) -> Response {
        self.protocol.respond(route, &format.body, Err(status))
    }

    /// The complete response to an admitted request that is refused.
    fn refusal_response(&self, cx: &Cx<'_>, permit: &HttpPermit<P::Format>, status: &Status) -> Response {
        let route = permit.admitted.as_ref().ok().map(|(route, _)| *route);
        let response =
            self.add_headers(self.error_response(route, &permit.format, status), permit.format.cors.as_ref());
        self.metrics.end(cx, &permit.noted, &response);
        response
    }

    fn add_headers(&self, mut response: Response, cors: Option<&Rc<[(String, String)]>>) -> Response {
        response.headers.extend(self.headers.iter().cloned());
        response.headers.extend(cors.into_iter().flat_map(|fields| fields.iter().cloned()));
        response
    }
}

impl<P: IngestProtocol> HttpServer<P> {
    pub(super) fn new(
        protocol: Arc<P>,
        config: &HttpServerConfig,
        routes: Vec<HttpRoute>,
        context: &BuildContext<'_>,
        first_key: u64,
        incoming_bodies: IncomingBodies,
    ) -> Result<Self, StartError> {
        Ok(Self {
            listener: HttpListener::new(config, context.log.clone(), context.telemetry),
            rules: HeadRules::new(protocol, config, routes, context)?,
            first_key,
            include_metadata: config.include_metadata,
            incoming_bodies,
            unadmitted_charges: BTreeMap::new(),
            compared_at: 0,
        })
    }

    pub(super) fn open(&mut self, cx: &mut Cx<'_>) -> Result<String, ListenError> {
        self.listener.open(cx, self.first_key)
    }

    pub(super) fn handle_event(
        &mut self,
        cx: &mut Cx<'_>,
        local: u64,
        event: &Event<'_>,
        input: &mut PipelineInput<'_>,
        requests: &mut PendingRequests<P>,
    ) {
        let workspace = self.listener.config().workspace.clone();
        for slot in self.listener.handle_event(cx, local, event) {
            let now = cx.now().0;
            let client = self.listener.client(slot).cloned();
            let Some((conn, serial)) = self.listener.get(slot) else { continue };
            let connection = ConnectionId { server: ServerProtocol::Http, slot, serial };
            if conn.is_idle() && self.incoming_bodies.should_defer(input.budget(), connection) {
                self.listener.request_ready(cx, slot);
                continue;
            }
            let (incoming_bodies, rules, checks) = (&self.incoming_bodies, &self.rules, &mut requests.checks);
            let mut admission = RequestAdmission { input, incoming_bodies, connection, rules, checks, cx };
            let poll_result = conn.poll(now, &mut admission);
            let mut load = (0, 0);
            while let Some(request) = conn.poll_request() {
                load = (load.0 + 1, load.1 + request.body.len() as u64);
                let headers = self.include_metadata.then(|| request_metadata(&request.head, client.as_ref()));
                let metadata = (client.as_ref(), headers);
                let (received, check) = received_request(request, connection, metadata, &self.rules, &workspace);
                requests.receive(cx, input, received, check);
            }
            self.listener.record_requests(slot, load, now);
            self.listener.apply_poll_result(cx, slot, &poll_result);
            self.charge_unadmitted(cx, connection, input.budget());
        }
    }

    /// Charges the input of a connection that is not admitted yet; refuses the request if there is no room.
    fn charge_unadmitted(&mut self, cx: &mut Cx<'_>, connection: ConnectionId, budget: &Arc<Budget>) {
        let bytes = self.listener.get(connection.slot).map_or(0, |(conn, _)| conn.unadmitted_bytes());
        if bytes <= MAX_UNCHARGED {
            self.unadmitted_charges.remove(&connection);
            return;
        }
        let charged = match self.unadmitted_charges.get_mut(&connection) {
            Some(charge) => charge.grow_head(bytes as u64, cx.now()),
            None => self.incoming_bodies.add(budget, connection, bytes, cx.now()).map(|charge| {
                self.unadmitted_charges.insert(connection, charge);
            }),
        };
        if charged.is_err() {
            self.refuse_unadmitted(cx, connection);
        }
    }

    /// Refuses the request whose head is being read. Input that waits behind a request stays, and stays charged.
    fn refuse_unadmitted(&mut self, cx: &mut Cx<'_>, connection: ConnectionId) {
        let Some(conn) = self.listener.get_for_response(connection.slot, connection.serial) else { return };
        conn.refuse_head(cx.now().0, plain_text_response(503, "data refused due to high memory usage"));
        if conn.unadmitted_bytes() <= MAX_UNCHARGED {
            self.unadmitted_charges.remove(&connection);
        }
    }

    /// Refuses requests that are being read, by the numbers of their charges.
    pub(super) fn refuse_incoming_bodies(
        &mut self,
        cx: &mut Cx<'_>,
        connection: ConnectionId,
        matches: impl Fn(u64) -> bool,
        status: &Status,
    ) {
        if self.unadmitted_charges.get(&connection).is_some_and(|charge| matches(charge.number())) {
            self.refuse_unadmitted(cx, connection);
        }
        if let Some(conn) = self.listener.get_for_response(connection.slot, connection.serial) {
            let now = cx.now().0;
            let response = |permit: &HttpPermit<P::Format>| self.rules.refusal_response(cx, permit, status);
            conn.refuse_incomplete(now, |permit| matches(permit.charge.number()), response);
        }
    }

    /// Whether the connection is still open.
    pub(super) fn is_connected(&mut self, connection: ConnectionId) -> bool {
        self.listener.get(connection.slot).is_some_and(|(_, serial)| serial == connection.serial)
    }

    pub(super) fn send_result(
        &mut self,
        cx: &Cx<'_>,
        connection: ConnectionId,
        (id, request): (RequestId, HttpRequestState<P::Format>),
        result: RequestResult,
    ) {
        let HttpRequestState { route, format, noted } = request;
        // The connection may be closed, and another one may use its slot.
        let Some(conn) = self.listener.get_for_response(connection.slot, connection.serial) else { return };
        let response = match result {
            RequestResult::Accepted => self.rules.protocol.respond(route, &format.body, Ok(())),
            RequestResult::Refused(status) => self.rules.error_response(route, &format, &status),
            RequestResult::RefusedHead(response) => response,
        };
        let response = self.rules.add_headers(response, format.cors.as_ref());
        self.rules.metrics.end(cx, &noted, &response);
        conn.respond(id, response);
    }

    pub(super) fn flush(&mut self, cx: &mut Cx<'_>) {
        self.listener.flush(cx);
        let ended = self.listener.ended_connections();
        if std::mem::replace(&mut self.compared_at, ended) != ended {
            let listener = &mut self.listener;
            self.unadmitted_charges.retain(|connection, _| {
                listener.get(connection.slot).is_some_and(|(_, serial)| serial == connection.serial)
            });
        }
    }

    pub(super) fn close(&mut self, cx: &mut Cx<'_>) {
        self.listener.close(cx);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.listener.is_closed()
    }
}

/// A request that has been received, and the check of its sender.
fn received_request<P: IngestProtocol>(
    request: Request<HttpPermit<P::Format>>,
    connection: ConnectionId,
    (client, headers): (Option<&Arc<Metadata>>, Option<Metadata>),
    rules: &HeadRules<P>,
    workspace: &otelcore_http::Workspace,
) -> (ReceivedRequest<P>, Option<SenderCheck>) {
    let HttpPermit { admitted, format, charge, check, sender, mut noted } = request.permit;
    if let Some(noted) = &mut noted {
        noted.body = request.body.len();
    }
    let metadata = with_sender(client, headers, sender);
    let charge_number = charge.number();
    let route = admitted.as_ref().ok().map(|(route, _)| *route);
    let content = match admitted {
        Ok((route, coding)) => RequestContent::Body(RequestBody {
            protocol: rules.protocol.clone(),
            route,
            format: format.body.clone(),
            bytes: request.body,
            coding,
            limit: rules.max_body,
            held: charge.complete(),
            server: ServerProtocol::Http,
        }),
        Err(refused) => RequestContent::Refused(refused),
    };
    let target =
        ResponseTarget { connection, request: RequestKey::Http(request.id, HttpRequestState { route, format, noted }) };
    (ReceivedRequest { charge_number, target, metadata, content, workspace: workspace.clone() }, check)
}

fn request_metadata(head: &RequestHead, client: Option<&Arc<Metadata>>) -> Metadata {
    let mut metadata = client.map(|client| (**client).clone()).unwrap_or_default();
    for (name, value) in head.headers() {
        if let Ok(value) = std::str::from_utf8(value) {
            metadata.add(name, value);
        }
    }
    metadata
}
