//! An HTTP/1.1 server of pages from memory: an exporter's metrics, a health check, our own metrics.

use std::borrow::Cow;
use std::rc::Rc;

use otelcore_http::h1::{BodyLimit, Door, RequestHead, Response};
use otelcore_pipeline::{Cx, Event, Logger, ServerAuth, Telemetry};

use crate::HttpListener;
use crate::settings::{Cors, HttpServer};

/// A page: an HTTP response.
pub type Page = Response;

/// Bodies mean nothing to a page; small ones are read and dropped.
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

/// The server. It uses the component's local keys from its base on.
pub struct PageServer {
    listener: HttpListener<()>,
    headers: Vec<(String, String)>,
    cors: Option<Cors>,
    auth: Option<Rc<dyn ServerAuth>>,
    auth_params: Vec<String>,
}

impl std::fmt::Debug for PageServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageServer").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl PageServer {
    /// A server that is not listening yet. `auth` is what [`HttpServer::authenticator`] found.
    #[must_use]
    pub fn new(settings: &HttpServer, auth: Option<Rc<dyn ServerAuth>>, log: Logger, telemetry: &Telemetry) -> Self {
        Self {
            listener: HttpListener::new(settings, log, telemetry),
            headers: settings.response_headers.clone(),
            cors: settings.cors.clone(),
            auth,
            auth_params: settings.auth.as_ref().map(|a| a.request_params.clone()).unwrap_or_default(),
        }
    }

    /// Binds the socket under `base`, and gives the address that it is bound to.
    ///
    /// # Errors
    /// What the certificates lack, or what the system says, in Go's form.
    pub fn open(&mut self, cx: &mut Cx<'_>, base: u64) -> Result<String, String> {
        self.listener.open(cx, base)
    }

    /// Takes an event under one of its keys; `answer` makes the page for a request.
    pub fn event(
        &mut self,
        cx: &mut Cx<'_>,
        local: u64,
        event: &Event<'_>,
        mut answer: impl FnMut(&mut Cx<'_>, &RequestHead) -> Page,
    ) {
        for slot in self.listener.event(cx, local, event) {
            let now = cx.now().0;
            let Some((conn, serial)) = self.listener.get(slot) else { continue };
            let turn = conn.turn(now, &mut NoBodies);
            let requests: Vec<_> = std::iter::from_fn(|| conn.poll_request()).collect();
            self.listener.after(cx, slot, &turn);
            for request in requests {
                let mut page = match self.before(cx, &request.head) {
                    Some(page) => page,
                    None => answer(cx, &request.head),
                };
                page.headers.extend(self.headers.iter().cloned());
                if let Some(cors) = self.cors.as_ref().filter(|_| page.status != 204) {
                    page.headers.extend(cors.answer(&request.head));
                }
                if let Some(conn) = self.listener.answer(slot, serial) {
                    conn.respond(request.id, page);
                }
            }
        }
        self.listener.flush(cx);
    }

    /// What is answered in place of the page: a preflight, or a client without credentials.
    fn before(&self, cx: &mut Cx<'_>, head: &RequestHead) -> Option<Page> {
        if let Some(preflight) = self.cors.as_ref().and_then(|cors| cors.preflight(head)) {
            return Some(preflight);
        }
        let refused = authenticate(self.auth.as_deref()?, &self.auth_params, cx, head).err()?;
        Some(Response::text(401, refused + "\n").header("X-Content-Type-Options", "nosniff"))
    }

    /// Stops listening; what is being answered still is.
    pub fn close(&mut self, cx: &mut Cx<'_>) {
        self.listener.close(cx);
    }
}

/// Asks an authenticator about an HTTP request. Query parameters that are named in `params` go before header fields of
/// the same name.
///
/// # Errors
/// What the client is told.
pub fn authenticate(
    auth: &dyn ServerAuth,
    params: &[String],
    cx: &mut Cx<'_>,
    head: &RequestHead,
) -> Result<(), String> {
    let query = |name: &str| {
        let wanted = params.iter().find(|param| param.eq_ignore_ascii_case(name))?;
        let pairs = head.query()?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| key == wanted).map(|(_, value)| Cow::Owned(unescape(value))).next()
    };
    auth.authenticate(cx, &|name| query(name).or_else(|| head.get(name).map(Cow::Borrowed)))
}

/// A value of a query as it was before it was escaped. What is no escape stays as it is.
fn unescape(value: &str) -> Vec<u8> {
    otelcore_http::status::unescape(value.replace('+', " ").as_bytes())
}

/// Go's answer to a path that nobody serves.
#[must_use]
pub fn not_found() -> Page {
    Response::text(404, "404 page not found\n").header("X-Content-Type-Options", "nosniff")
}
