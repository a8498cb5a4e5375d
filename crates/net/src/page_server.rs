//! An HTTP server of pages from memory: an exporter's metrics, a health check, our own metrics.
//!
//! A request whose credentials take long to check waits for the result. A page may be made piece by piece, as its
//! client reads. The number of pages in progress is bounded, and so is the number of pieces made in one turn of the
//! loop.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use otelcore_http::h1::{Request, RequestHead, RequestId, Response};
use otelcore_http::{AdmitAll, Bytes};
use otelcore_pipeline::{Authentication, CredentialCheck, Cx, Event, Logger, ServerAuth, Telemetry};

use crate::config::{CorsConfig, HttpServerConfig};
use crate::request_metrics::{HttpServerMetrics, HttpServerRequest};
use crate::{CredentialChecks, HttpListener, ListenError, PendingCheck};

/// A page: an HTTP response.
pub type Page = Response;

/// Request bodies have no meaning for a page; small ones are read and discarded.
const MAX_DISCARDED_BODY: u64 = 64 << 10;

/// The largest number of responses that are being made and requests that wait for a check of their credentials,
/// together. Each holds one piece at most; further requests are refused.
pub const MAX_CONCURRENT_REQUESTS: usize = 64;

/// The offset from a server's base to the local key under which checks of credentials end.
const CHECKS_KEY_OFFSET: u64 = 1 << 48;

/// Pieces made in one turn of the loop, for all connections together: each may take some milliseconds.
const MAX_PIECES_PER_TURN: u32 = 2;

/// The response to a request.
#[derive(Debug)]
pub enum PageResponse<B> {
    /// This page.
    Whole(Page),
    /// A page that is made piece by piece, by [`PageHandler::poll_body`].
    Streamed(B),
}

/// The next step of a page that is made piece by piece.
#[derive(Debug)]
pub enum PageStep {
    /// In place of the first piece: the whole page.
    Page(Page),
    /// The head, whose body is the first piece.
    Head(Page),
    /// A further piece, not empty.
    Data(Bytes),
    /// The last piece, which may be empty.
    LastData(Bytes),
    /// Nothing yet; the work continues in the next turn.
    Pending,
    /// Nothing until [`PageServer::resume`] is called.
    Wait,
    /// The page can't be completed: its response is ended so that the client notices it.
    Abort,
}

/// Makes pages.
pub trait PageHandler {
    /// The state of a page that is made piece by piece.
    type Body;

    /// Returns the response to a request.
    fn respond(&mut self, cx: &mut Cx<'_>, head: &RequestHead) -> PageResponse<Self::Body>;

    /// Makes the next piece of a page. Called when the connection can take it, so that pieces do not accumulate.
    fn poll_body(&mut self, cx: &mut Cx<'_>, body: &mut Self::Body) -> PageStep;
}

/// Pages that are made as a whole.
struct WholePages<F>(F);

impl<F: FnMut(&mut Cx<'_>, &RequestHead) -> Page> PageHandler for WholePages<F> {
    type Body = ();

    fn respond(&mut self, cx: &mut Cx<'_>, head: &RequestHead) -> PageResponse<()> {
        PageResponse::Whole((self.0)(cx, head))
    }

    fn poll_body(&mut self, _: &mut Cx<'_>, (): &mut ()) -> PageStep {
        PageStep::Abort
    }
}

/// A response that is being made.
struct StreamedPage<B> {
    slot: usize,
    serial: u64,
    id: RequestId,
    /// Header fields for this client.
    headers: Vec<(String, String)>,
    body: B,
    /// Its head has been sent.
    head_sent: bool,
    measured: MeasuredResponse,
}

/// What is measured of a response that is made piece by piece.
struct MeasuredResponse {
    noted: HttpServerRequest,
    status: u16,
    bytes: usize,
}

impl MeasuredResponse {
    fn note(&mut self, step: &PageStep) {
        self.bytes += match step {
            PageStep::Page(page) | PageStep::Head(page) => {
                self.status = page.status;
                page.body.iter().map(|part| part.len()).sum()
            }
            PageStep::Data(piece) | PageStep::LastData(piece) => piece.len(),
            PageStep::Pending | PageStep::Wait | PageStep::Abort => 0,
        };
    }
}

/// A request, and what is noted of it where requests are measured.
struct PageRequest {
    id: RequestId,
    head: RequestHead,
    noted: HttpServerRequest,
}

/// A request whose credentials are being checked.
struct UncheckedRequest {
    slot: usize,
    serial: u64,
    request: PageRequest,
    /// The request waits until this is dropped.
    _check: PendingCheck<u64>,
}

/// The result of the checks before a page is made.
enum RequestCheck {
    /// The page may be made.
    Passed,
    /// Another response is sent in place of the page.
    Respond(Page),
    /// The client's credentials must be checked.
    Pending(Box<dyn CredentialCheck>),
}

/// The server. It uses the component's local keys from its base on.
pub struct PageServer<B = ()> {
    listener: HttpListener<()>,
    headers: Vec<(String, String)>,
    cors: Option<CorsConfig>,
    auth: Option<Rc<dyn ServerAuth>>,
    auth_params: Vec<String>,
    base: u64,
    checks: CredentialChecks<u64>,
    /// By the number that [`CredentialChecks`] has for them.
    unchecked: BTreeMap<u64, UncheckedRequest>,
    next_unchecked: u64,
    streamed: VecDeque<StreamedPage<B>>,
    /// Pieces that may still be made in this turn.
    pieces_left: u32,
    /// Another turn has been requested.
    turn_requested: bool,
    metrics: HttpServerMetrics,
}

impl<B> std::fmt::Debug for PageServer<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageServer").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl PageServer {
    /// Handles an event under one of its keys; `respond` makes the page for a request.
    pub fn handle_event(
        &mut self,
        cx: &mut Cx<'_>,
        local: u64,
        event: &Event<'_>,
        respond: impl FnMut(&mut Cx<'_>, &RequestHead) -> Page,
    ) {
        self.handle_event_with(cx, local, event, &mut WholePages(respond));
    }
}

impl<B> PageServer<B> {
    /// A server that is not listening yet. `auth` is the result of [`HttpServerConfig::authenticator`].
    #[must_use]
    pub fn new(
        settings: &HttpServerConfig,
        auth: Option<Rc<dyn ServerAuth>>,
        log: Logger,
        telemetry: &Telemetry,
    ) -> Self {
        Self {
            listener: HttpListener::new(settings, log, telemetry).with_max_body(MAX_DISCARDED_BODY),
            headers: settings.response_headers.0.clone(),
            cors: settings.cors(),
            auth,
            auth_params: settings.auth_params(),
            base: 0,
            checks: CredentialChecks::new(CHECKS_KEY_OFFSET),
            unchecked: BTreeMap::new(),
            next_unchecked: 0,
            streamed: VecDeque::new(),
            pieces_left: MAX_PIECES_PER_TURN,
            turn_requested: false,
            metrics: HttpServerMetrics::default(),
        }
    }

    /// Counts requests in own metrics at the level `detailed`, as the Go collector does for the servers of components.
    #[must_use]
    pub fn with_request_metrics(mut self, settings: &HttpServerConfig, telemetry: &Telemetry) -> Self {
        self.metrics = HttpServerMetrics::new(telemetry, settings.tls.get().is_some());
        self
    }

    /// Binds the socket under `base`, and returns the address that it is bound to.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn open(&mut self, cx: &mut Cx<'_>, base: u64) -> Result<String, ListenError> {
        self.base = base;
        self.checks = CredentialChecks::new(base + CHECKS_KEY_OFFSET);
        self.listener.open(cx, base)
    }

    /// Handles an event under one of its keys, and continues the pages that are being made.
    pub fn handle_event_with<P: PageHandler<Body = B>>(
        &mut self,
        cx: &mut Cx<'_>,
        local: u64,
        event: &Event<'_>,
        handler: &mut P,
    ) {
        if local == self.base {
            (self.pieces_left, self.turn_requested) = (MAX_PIECES_PER_TURN, false);
        }
        let slots = if local == self.base + CHECKS_KEY_OFFSET {
            self.checks.handle_job_ended(cx);
            Vec::new()
        } else {
            self.listener.handle_event(cx, local, event)
        };
        for slot in slots {
            let now = cx.now().0;
            let Some((conn, serial)) = self.listener.get(slot) else { continue };
            let result = conn.poll(now, &mut AdmitAll);
            let requests: Vec<_> = std::iter::from_fn(|| conn.poll_request()).collect();
            self.listener.record_requests(slot, (requests.len() as u64, 0), now);
            self.listener.apply_poll_result(cx, slot, &result);
            for Request { id, head, .. } in requests {
                let request = PageRequest { noted: self.metrics.begin(cx, &head), id, head };
                match self.check_request(cx, &request.head) {
                    RequestCheck::Passed => self.respond_checked(cx, slot, serial, request, handler),
                    RequestCheck::Respond(page) => self.respond(cx, slot, serial, request, page),
                    RequestCheck::Pending(check) => self.enqueue_check(cx, slot, serial, request, check),
                }
            }
        }
        while let Some((number, result)) = self.checks.poll_result() {
            let Some(UncheckedRequest { slot, serial, request, .. }) = self.unchecked.remove(&number) else { continue };
            // The connection may have ended, and another one may use its slot.
            if self.listener.get(slot).is_none_or(|(_, current)| current != serial) {
                continue;
            }
            match &*result {
                Ok(()) => self.respond_checked(cx, slot, serial, request, handler),
                Err(refused) => self.respond(cx, slot, serial, request, unauthorized(&refused.0)),
            }
        }
        self.listener.flush(cx);
        self.make_pieces(cx, handler);
    }

    /// Continues the pages that wait ([`PageStep::Wait`]).
    pub fn resume<P: PageHandler<Body = B>>(&mut self, cx: &mut Cx<'_>, handler: &mut P) {
        self.make_pieces(cx, handler);
    }

    /// Whether [`MAX_CONCURRENT_REQUESTS`] is reached.
    fn is_full(&self) -> bool {
        self.streamed.len() + self.unchecked.len() >= MAX_CONCURRENT_REQUESTS
    }

    /// Responds to a request that has passed its checks.
    fn respond_checked<P: PageHandler<Body = B>>(
        &mut self,
        cx: &mut Cx<'_>,
        slot: usize,
        serial: u64,
        mut request: PageRequest,
        handler: &mut P,
    ) {
        let response = match redirect_to_clean_path(&request.head) {
            Some(page) => PageResponse::Whole(page),
            None if self.is_full() => PageResponse::Whole(too_many_requests()),
            None => handler.respond(cx, &request.head),
        };
        if !matches!(&response, PageResponse::Whole(page) if page.status == 404)
            && let Some(noted) = &mut request.noted
        {
            noted.set_route(request.head.path());
        }
        match response {
            PageResponse::Whole(page) => self.respond(cx, slot, serial, request, page),
            PageResponse::Streamed(body) => {
                let headers = self.response_fields(&request.head, false);
                let measured = MeasuredResponse { noted: request.noted, status: 200, bytes: 0 };
                let (id, head_sent) = (request.id, false);
                self.streamed.push_back(StreamedPage { slot, serial, id, headers, body, head_sent, measured });
            }
        }
    }

    /// Lets a request wait for the check of its credentials.
    fn enqueue_check(
        &mut self,
        cx: &mut Cx<'_>,
        slot: usize,
        serial: u64,
        request: PageRequest,
        check: Box<dyn CredentialCheck>,
    ) {
        if self.is_full() {
            return self.respond(cx, slot, serial, request, too_many_requests());
        }
        let number = self.next_unchecked;
        self.next_unchecked += 1;
        match self.checks.enqueue(cx, check, number) {
            Ok(check) => {
                self.unchecked.insert(number, UncheckedRequest { slot, serial, request, _check: check });
            }
            Err(too_many) => {
                let page = Response::text(503, format!("{too_many}\n")).header("X-Content-Type-Options", "nosniff");
                self.respond(cx, slot, serial, request, page);
            }
        }
    }

    /// Sends a whole page as the response to a request.
    fn respond(&mut self, cx: &Cx<'_>, slot: usize, serial: u64, request: PageRequest, mut page: Page) {
        page.headers.extend(self.response_fields(&request.head, page.status == 204));
        self.metrics.end(cx, &request.noted, &page);
        if let Some(conn) = self.listener.get_for_response(slot, serial) {
            conn.respond(request.id, page);
        }
    }

    /// Header fields of a response: those of the settings, and those for a page of another origin.
    fn response_fields(&self, head: &RequestHead, is_preflight: bool) -> Vec<(String, String)> {
        let mut fields = self.headers.clone();
        if let Some(cors) = self.cors.as_ref().filter(|_| !is_preflight) {
            fields.extend(cors.response_fields(head));
        }
        fields
    }

    /// Makes pieces for the responses that can take one, in rotation.
    fn make_pieces<P: PageHandler<Body = B>>(&mut self, cx: &mut Cx<'_>, handler: &mut P) {
        // The number of responses in a row that could take no piece.
        let mut blocked = 0;
        while blocked < self.streamed.len() {
            let Some(mut streamed) = self.streamed.pop_front() else { return };
            let Some((conn, _)) = self.listener.get(streamed.slot).filter(|(_, serial)| *serial == streamed.serial)
            else {
                continue;
            };
            let is_lost = streamed.head_sent && !conn.is_streaming(streamed.id);
            let is_ready =
                if streamed.head_sent { conn.can_send_data(streamed.id) } else { conn.is_next_response(streamed.id) };
            if is_lost {
                continue;
            }
            if !is_ready {
                self.streamed.push_back(streamed);
                blocked += 1;
                continue;
            }
            if self.pieces_left == 0 {
                self.streamed.push_front(streamed);
                if !std::mem::replace(&mut self.turn_requested, true) {
                    cx.request_ready(self.base);
                }
                return;
            }
            let step = handler.poll_body(cx, &mut streamed.body);
            if matches!(step, PageStep::Wait) {
                self.streamed.push_back(streamed);
                blocked += 1;
                continue;
            }
            self.pieces_left -= 1;
            blocked = 0;
            if matches!(step, PageStep::Pending) {
                self.pieces_left = 0;
            }
            if self.send_step(cx, &mut streamed, step) {
                self.streamed.push_back(streamed);
            } else if let Some(noted) = &streamed.measured.noted {
                let MeasuredResponse { status, bytes, .. } = streamed.measured;
                self.metrics.record(noted, cx.now(), status, bytes);
            }
            self.listener.flush(cx);
        }
    }

    /// Sends the result of a step on the page's connection. True if more follows.
    fn send_step(&mut self, cx: &mut Cx<'_>, streamed: &mut StreamedPage<B>, step: PageStep) -> bool {
        let (id, now) = (streamed.id, cx.now().0);
        streamed.measured.note(&step);
        let Some(conn) = self.listener.get_for_response(streamed.slot, streamed.serial) else { return false };
        match step {
            PageStep::Page(mut page) if !streamed.head_sent => {
                page.headers.append(&mut streamed.headers);
                conn.respond(id, page);
                false
            }
            PageStep::Head(mut page) if !streamed.head_sent => {
                page.headers.append(&mut streamed.headers);
                let first = std::mem::take(&mut page.body);
                streamed.head_sent = true;
                let has_body = conn.respond_streaming(id, page);
                first.into_iter().filter(|_| has_body).for_each(|piece| conn.send_data(now, id, piece));
                has_body
            }
            PageStep::Data(piece) => {
                conn.send_data(now, id, piece);
                true
            }
            PageStep::LastData(piece) => {
                conn.send_data(now, id, piece);
                conn.finish_response(now, id);
                false
            }
            PageStep::Pending | PageStep::Wait => true,
            PageStep::Abort if !streamed.head_sent => {
                conn.respond(id, Response::text(500, "the page could not be made\n"));
                false
            }
            PageStep::Abort | PageStep::Page(_) | PageStep::Head(_) => {
                conn.abort_response(id);
                false
            }
        }
    }

    /// Checks a request before its page is made: a preflight gets its response, and the client must be authenticated.
    fn check_request(&self, cx: &mut Cx<'_>, head: &RequestHead) -> RequestCheck {
        if let Some(preflight) = self.cors.as_ref().and_then(|cors| cors.preflight_response(head)) {
            return RequestCheck::Respond(preflight);
        }
        let Some(auth) = self.auth.as_deref() else { return RequestCheck::Passed };
        match authenticate(auth, &self.auth_params, cx, head) {
            Authentication::Granted => RequestCheck::Passed,
            Authentication::Refused(why) => RequestCheck::Respond(unauthorized(&why.0)),
            Authentication::Pending(check) => RequestCheck::Pending(check),
        }
    }

    /// Stops listening; requests in progress still get their responses.
    pub fn close(&mut self, cx: &mut Cx<'_>) {
        self.listener.close(cx);
    }
}

/// The response of Go's ServeMux to a path such as `//metrics`: a redirect to the clean path.
#[must_use]
pub fn redirect_to_clean_path(head: &RequestHead) -> Option<Page> {
    Some(Response { status: 307, ..Response::default() }.header("Location", head.cleaned_target()?))
}

/// Has an authenticator check an HTTP request. Query parameters that are named in `params` take precedence over header
/// fields of the same name.
pub fn authenticate(auth: &dyn ServerAuth, params: &[String], cx: &mut Cx<'_>, head: &RequestHead) -> Authentication {
    auth.authenticate(cx, &|name| auth_field(params, head, name))
}

/// The value of a query parameter that is named in `params`, or of a header field.
pub(crate) fn auth_field<'h>(params: &[String], head: &'h RequestHead, name: &str) -> Option<Cow<'h, [u8]>> {
    let query_param = || {
        let wanted = params.iter().find(|param| param.eq_ignore_ascii_case(name))?;
        let pairs = head.query()?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| key == wanted).map(|(_, value)| Cow::Owned(unescape(value))).next()
    };
    query_param().or_else(|| head.get(name).map(Cow::Borrowed))
}

/// The unescaped value of a query parameter. An invalid escape is left as it is.
fn unescape(value: &str) -> Vec<u8> {
    otelcore_http::status::percent_decode_bytes(value.replace('+', " ").as_bytes())
}

fn unauthorized(why: &str) -> Page {
    Response::text(401, format!("{why}\n")).header("X-Content-Type-Options", "nosniff")
}

/// The response of client_golang to too many concurrent requests.
fn too_many_requests() -> Page {
    let text = format!("Limit of concurrent requests reached ({MAX_CONCURRENT_REQUESTS}), try again later.\n");
    Response::text(503, text).header("X-Content-Type-Options", "nosniff")
}

/// Go's response to a path without a handler.
#[must_use]
pub fn not_found() -> Page {
    Response::text(404, "404 page not found\n").header("X-Content-Type-Options", "nosniff")
}
