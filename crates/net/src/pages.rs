//! An HTTP server of pages from memory: an exporter's metrics, a health check, our own metrics.
//!
//! A request whose credentials take long to check waits for the result. A page may be made piece by piece, as its
//! client reads. The number of pages in progress is bounded, and so is the number of pieces made in one turn of the
//! loop.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use otelcore_http::Bytes;
use otelcore_http::h1::{BodyLimit, Door, Request, RequestHead, RequestId, Response};
use otelcore_pipeline::{Authentication, CredentialCheck, Cx, Event, Logger, ServerAuth, Telemetry};

use crate::settings::{Cors, HttpServer};
use crate::{CredentialChecks, HttpListener, PendingCheck};

/// A page: an HTTP response.
pub type Page = Response;

/// Request bodies have no meaning for a page; small ones are read and dropped.
struct NoBodies;

const BODY: u64 = 64 << 10;

impl Door for NoBodies {
    type Permit = ();

    fn head(&mut self, _: &RequestHead) -> Result<((), BodyLimit), Response> {
        Ok(((), BodyLimit(BODY)))
    }

    fn grow(&mut self, (): &mut (), _: u64) -> Result<(), Response> {
        Ok(())
    }

    fn too_large(&mut self, _: &RequestHead) -> Response {
        Response::text(413, "413 Request Entity Too Large\n")
    }
}

/// The largest number of responses that are being made and requests that wait for a check of their credentials,
/// together. Each holds one piece at most; further requests are refused.
pub const MAX_OPEN: usize = 64;

/// The offset from a server's base to the local key under which checks of credentials end.
const CHECKS: u64 = 1 << 48;

/// Pieces made in one turn of the loop, for all connections together: each may take some milliseconds.
const PIECES: u32 = 2;

/// How a request is answered.
#[derive(Debug)]
pub enum Answer<B> {
    /// With this page.
    Page(Page),
    /// With a page that is made piece by piece, by [`Pages::next`].
    Body(B),
}

/// The next step of a page that is made piece by piece.
#[derive(Debug)]
pub enum Next {
    /// In place of the first piece: the whole page.
    Page(Page),
    /// The head, whose body is the first piece.
    Begin(Page),
    /// A further piece, not empty.
    Piece(Bytes),
    /// The last piece, which may be empty.
    End(Bytes),
    /// Nothing yet; the work continues in the next turn.
    Later,
    /// The page can't be completed: its response is cut off.
    Cut,
}

/// Makes pages.
pub trait Pages {
    /// The state of a page that is made piece by piece.
    type Body;

    /// How a request is answered.
    fn answer(&mut self, cx: &mut Cx<'_>, head: &RequestHead) -> Answer<Self::Body>;

    /// Makes the next piece of a page. Called when the connection can take it, so that pieces do not accumulate.
    fn next(&mut self, cx: &mut Cx<'_>, body: &mut Self::Body) -> Next;
}

/// Pages that are made as a whole.
struct Whole<F>(F);

impl<F: FnMut(&mut Cx<'_>, &RequestHead) -> Page> Pages for Whole<F> {
    type Body = ();

    fn answer(&mut self, cx: &mut Cx<'_>, head: &RequestHead) -> Answer<()> {
        Answer::Page((self.0)(cx, head))
    }

    fn next(&mut self, _: &mut Cx<'_>, (): &mut ()) -> Next {
        Next::Cut
    }
}

/// A response that is being made.
struct Open<B> {
    slot: usize,
    serial: u64,
    id: RequestId,
    /// Header fields for this client.
    headers: Vec<(String, String)>,
    body: B,
    /// Its head has been sent.
    begun: bool,
}

/// A request whose credentials are being checked.
struct Unchecked {
    slot: usize,
    serial: u64,
    request: Request<()>,
    /// The request waits until this is dropped.
    _check: PendingCheck<u64>,
}

/// What must happen before a page is made.
enum Before {
    /// Nothing.
    Nothing,
    /// Another response is sent in its place.
    Page(Page),
    /// The client's credentials are to be checked.
    Check(Box<dyn CredentialCheck>),
}

/// The server. It uses the component's local keys from its base on.
pub struct PageServer<B = ()> {
    listener: HttpListener<()>,
    headers: Vec<(String, String)>,
    cors: Option<Cors>,
    auth: Option<Rc<dyn ServerAuth>>,
    auth_params: Vec<String>,
    base: u64,
    checks: CredentialChecks<u64>,
    /// By the number that [`CredentialChecks`] has for them.
    unchecked: BTreeMap<u64, Unchecked>,
    next_unchecked: u64,
    open: VecDeque<Open<B>>,
    /// Pieces that may still be made in this turn.
    pieces: u32,
    /// Another turn has been requested.
    asked: bool,
}

impl<B> std::fmt::Debug for PageServer<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageServer").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl PageServer {
    /// Handles an event under one of its keys; `answer` makes the page for a request.
    pub fn event(
        &mut self,
        cx: &mut Cx<'_>,
        local: u64,
        event: &Event<'_>,
        answer: impl FnMut(&mut Cx<'_>, &RequestHead) -> Page,
    ) {
        self.event_with(cx, local, event, &mut Whole(answer));
    }
}

impl<B> PageServer<B> {
    /// A server that is not listening yet. `auth` is what [`HttpServer::authenticator`] found.
    #[must_use]
    pub fn new(settings: &HttpServer, auth: Option<Rc<dyn ServerAuth>>, log: Logger, telemetry: &Telemetry) -> Self {
        Self {
            listener: HttpListener::new(settings, log, telemetry),
            headers: settings.response_headers.clone(),
            cors: settings.cors.clone(),
            auth,
            auth_params: settings.auth.as_ref().map(|a| a.request_params.clone()).unwrap_or_default(),
            base: 0,
            checks: CredentialChecks::new(CHECKS),
            unchecked: BTreeMap::new(),
            next_unchecked: 0,
            open: VecDeque::new(),
            pieces: PIECES,
            asked: false,
        }
    }

    /// Binds the socket under `base`, and returns the address that it is bound to.
    ///
    /// # Errors
    /// What is wrong with the certificates, or the system's error, in Go's form.
    pub fn open(&mut self, cx: &mut Cx<'_>, base: u64) -> Result<String, String> {
        self.base = base;
        self.checks = CredentialChecks::new(base + CHECKS);
        self.listener.open(cx, base)
    }

    /// Handles an event under one of its keys, and continues the pages that are being made.
    pub fn event_with<P: Pages<Body = B>>(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>, pages: &mut P) {
        if local == self.base {
            (self.pieces, self.asked) = (PIECES, false);
        }
        let slots = if local == self.base + CHECKS {
            self.checks.handle_job_ended(cx);
            Vec::new()
        } else {
            self.listener.event(cx, local, event)
        };
        for slot in slots {
            let now = cx.now().0;
            let Some((conn, serial)) = self.listener.get(slot) else { continue };
            let turn = conn.turn(now, &mut NoBodies);
            let requests: Vec<_> = std::iter::from_fn(|| conn.poll_request()).collect();
            self.listener.after(cx, slot, &turn);
            for request in requests {
                match self.before(cx, &request.head) {
                    Before::Nothing => self.answer(cx, slot, serial, &request, pages),
                    Before::Page(page) => self.respond(slot, serial, &request, page),
                    Before::Check(check) => self.wait(cx, slot, serial, request, check),
                }
            }
        }
        while let Some((number, result)) = self.checks.poll_ended() {
            let Some(Unchecked { slot, serial, request, .. }) = self.unchecked.remove(&number) else { continue };
            // The connection may have ended, and another one may use its slot.
            if self.listener.get(slot).is_none_or(|(_, current)| current != serial) {
                continue;
            }
            match &*result {
                Ok(()) => self.answer(cx, slot, serial, &request, pages),
                Err(refused) => self.respond(slot, serial, &request, unauthorized(refused)),
            }
        }
        self.listener.flush(cx);
        self.make(cx, pages);
    }

    /// Whether [`MAX_OPEN`] is reached.
    fn is_full(&self) -> bool {
        self.open.len() + self.unchecked.len() >= MAX_OPEN
    }

    /// Answers a request that is permitted.
    fn answer<P: Pages<Body = B>>(
        &mut self,
        cx: &mut Cx<'_>,
        slot: usize,
        serial: u64,
        request: &Request<()>,
        pages: &mut P,
    ) {
        let answer = match redirect(&request.head) {
            Some(page) => Answer::Page(page),
            None if self.is_full() => Answer::Page(busy()),
            None => pages.answer(cx, &request.head),
        };
        match answer {
            Answer::Page(page) => self.respond(slot, serial, request, page),
            Answer::Body(body) => {
                let headers = self.fields(&request.head, false);
                self.open.push_back(Open { slot, serial, id: request.id, headers, body, begun: false });
            }
        }
    }

    /// Has a request wait for the check of its credentials.
    fn wait(
        &mut self,
        cx: &mut Cx<'_>,
        slot: usize,
        serial: u64,
        request: Request<()>,
        check: Box<dyn CredentialCheck>,
    ) {
        if self.is_full() {
            return self.respond(slot, serial, &request, busy());
        }
        let number = self.next_unchecked;
        self.next_unchecked += 1;
        match self.checks.wait(cx, check, number) {
            Ok(check) => {
                self.unchecked.insert(number, Unchecked { slot, serial, request, _check: check });
            }
            Err(too_many) => {
                let page = Response::text(503, format!("{too_many}\n")).header("X-Content-Type-Options", "nosniff");
                self.respond(slot, serial, &request, page);
            }
        }
    }

    /// Answers a request with a whole page.
    fn respond(&mut self, slot: usize, serial: u64, request: &Request<()>, mut page: Page) {
        page.headers.extend(self.fields(&request.head, page.status == 204));
        if let Some(conn) = self.listener.answer(slot, serial) {
            conn.respond(request.id, page);
        }
    }

    /// Header fields of a response: those of the settings, and those for a page of another origin.
    fn fields(&self, head: &RequestHead, is_preflight: bool) -> Vec<(String, String)> {
        let mut fields = self.headers.clone();
        if let Some(cors) = self.cors.as_ref().filter(|_| !is_preflight) {
            fields.extend(cors.answer(head));
        }
        fields
    }

    /// Makes pieces for the responses that can take one, in rotation.
    fn make<P: Pages<Body = B>>(&mut self, cx: &mut Cx<'_>, pages: &mut P) {
        // The number of responses in a row that could take no piece.
        let mut idle = 0;
        while idle < self.open.len() {
            let Some(mut open) = self.open.pop_front() else { return };
            let Some((conn, _)) = self.listener.get(open.slot).filter(|(_, serial)| *serial == open.serial) else {
                continue;
            };
            let lost = open.begun && !conn.is_streaming(open.id);
            let ready = if open.begun { conn.wants(open.id) } else { conn.is_turn(open.id) };
            if lost {
                continue;
            }
            if !ready {
                self.open.push_back(open);
                idle += 1;
                continue;
            }
            if self.pieces == 0 {
                self.open.push_front(open);
                if !std::mem::replace(&mut self.asked, true) {
                    cx.again(self.base);
                }
                return;
            }
            self.pieces -= 1;
            idle = 0;
            let next = pages.next(cx, &mut open.body);
            if matches!(next, Next::Later) {
                self.pieces = 0;
            }
            if self.hand_over(cx, &mut open, next) {
                self.open.push_back(open);
            }
            self.listener.flush(cx);
        }
    }

    /// Passes what was made to its connection. True if more follows.
    fn hand_over(&mut self, cx: &mut Cx<'_>, open: &mut Open<B>, next: Next) -> bool {
        let (id, now) = (open.id, cx.now().0);
        let Some(conn) = self.listener.answer(open.slot, open.serial) else { return false };
        match next {
            Next::Page(mut page) if !open.begun => {
                page.headers.append(&mut open.headers);
                conn.respond(id, page);
                false
            }
            Next::Begin(mut page) if !open.begun => {
                page.headers.append(&mut open.headers);
                let first = std::mem::take(&mut page.body);
                open.begun = true;
                let streams = conn.respond_streaming(id, page);
                first.into_iter().filter(|_| streams).for_each(|piece| conn.give(now, id, piece));
                streams
            }
            Next::Piece(piece) => {
                conn.give(now, id, piece);
                true
            }
            Next::End(piece) => {
                conn.give(now, id, piece);
                conn.finish(now, id);
                false
            }
            Next::Later => true,
            Next::Cut if !open.begun => {
                conn.respond(id, Response::text(500, "the page could not be made\n"));
                false
            }
            Next::Cut | Next::Page(_) | Next::Begin(_) => {
                conn.abandon(id);
                false
            }
        }
    }

    /// What must happen before the page: a preflight is answered, or the client's credentials are checked.
    fn before(&self, cx: &mut Cx<'_>, head: &RequestHead) -> Before {
        if let Some(preflight) = self.cors.as_ref().and_then(|cors| cors.preflight(head)) {
            return Before::Page(preflight);
        }
        let Some(auth) = self.auth.as_deref() else { return Before::Nothing };
        match authenticate(auth, &self.auth_params, cx, head) {
            Authentication::Granted => Before::Nothing,
            Authentication::Refused(why) => Before::Page(unauthorized(&why)),
            Authentication::Pending(check) => Before::Check(check),
        }
    }

    /// Stops listening; requests in progress are still answered.
    pub fn close(&mut self, cx: &mut Cx<'_>) {
        self.listener.close(cx);
    }
}

/// The response of Go's ServeMux to a path such as `//metrics`: a redirect to the clean path.
#[must_use]
pub fn redirect(head: &RequestHead) -> Option<Page> {
    Some(Response { status: 307, ..Response::default() }.header("Location", head.clean_target()?))
}

/// Has an authenticator check an HTTP request. Query parameters that are named in `params` take precedence over header
/// fields of the same name.
pub fn authenticate(auth: &dyn ServerAuth, params: &[String], cx: &mut Cx<'_>, head: &RequestHead) -> Authentication {
    let query = |name: &str| {
        let wanted = params.iter().find(|param| param.eq_ignore_ascii_case(name))?;
        let pairs = head.query()?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| key == wanted).map(|(_, value)| Cow::Owned(unescape(value))).next()
    };
    auth.authenticate(cx, &|name| query(name).or_else(|| head.get(name).map(Cow::Borrowed)))
}

/// The unescaped value of a query parameter. An invalid escape is left as it is.
fn unescape(value: &str) -> Vec<u8> {
    otelcore_http::status::unescape(value.replace('+', " ").as_bytes())
}

fn unauthorized(why: &str) -> Page {
    Response::text(401, format!("{why}\n")).header("X-Content-Type-Options", "nosniff")
}

/// The response of client_golang to too many concurrent requests.
fn busy() -> Page {
    let text = format!("Limit of concurrent requests reached ({MAX_OPEN}), try again later.\n");
    Response::text(503, text).header("X-Content-Type-Options", "nosniff")
}

/// Go's response to a path without a handler.
#[must_use]
pub fn not_found() -> Page {
    Response::text(404, "404 page not found\n").header("X-Content-Type-Options", "nosniff")
}
