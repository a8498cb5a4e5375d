//! An HTTP/1.1 server of pages from memory: an exporter's metrics, a health check, our own metrics.

use std::io;
use std::rc::Rc;

use otelcore_http::Turn;
use otelcore_http::h1::{BodyLimit, Door, H1Config, H1Conn, RequestHead, Response};
use otelcore_pipeline::{Cx, Endpoint, Event, Stream};

use crate::settings::HttpServer;
use crate::{Acceptor, Machine, bind};

/// A page: an HTTP response.
pub type Page = Response;

impl<P> Machine for H1Conn<Box<dyn Stream>, P> {
    fn poll_timeout(&self) -> Option<u64> {
        Self::poll_timeout(self)
    }

    fn drain(&mut self, _: u64) {
        Self::drain(self);
    }

    fn flush(&mut self, now: u64) -> Turn {
        Self::flush(self, now)
    }

    fn shut_write(&mut self) {
        self.io_mut().shut_write();
    }
}

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
    listen: Endpoint,
    config: Rc<H1Config>,
    headers: Vec<(String, String)>,
    acceptor: Option<Acceptor<H1Conn<Box<dyn Stream>, ()>>>,
}

impl std::fmt::Debug for PageServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageServer").field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl PageServer {
    /// A server that is not listening yet.
    #[must_use]
    pub fn new(settings: &HttpServer) -> Self {
        Self {
            listen: settings.listen.clone(),
            config: Rc::new(settings.machine()),
            headers: settings.response_headers.clone(),
            acceptor: None,
        }
    }

    /// Binds the socket under `base`, and gives the address that it is bound to.
    ///
    /// # Errors
    /// What the system says, in Go's form.
    pub fn open(&mut self, cx: &mut Cx<'_>, base: u64) -> io::Result<String> {
        let acceptor = Acceptor::new(bind(cx, base, &self.listen)?, base);
        let local = acceptor.local();
        self.acceptor = Some(acceptor);
        Ok(local)
    }

    /// Takes an event under one of its keys; `answer` makes the page for a request.
    pub fn event(
        &mut self,
        cx: &mut Cx<'_>,
        local: u64,
        event: &Event<'_>,
        mut answer: impl FnMut(&mut Cx<'_>, &RequestHead) -> Page,
    ) {
        let Some(acceptor) = &mut self.acceptor else { return };
        let config = &self.config;
        let make = |cx: &mut Cx<'_>, stream| H1Conn::new(stream, config.clone(), cx.now().0);
        for slot in acceptor.event(cx, local, event, make) {
            let now = cx.now().0;
            let Some((conn, serial)) = acceptor.get(slot) else { continue };
            let turn = conn.turn(now, &mut NoBodies);
            let requests: Vec<_> = std::iter::from_fn(|| conn.poll_request()).collect();
            acceptor.after(cx, slot, &turn);
            for request in requests {
                let mut page = answer(cx, &request.head);
                page.headers.extend(self.headers.iter().cloned());
                if let Some(conn) = acceptor.answer(slot, serial) {
                    conn.respond(request.id, page);
                }
            }
        }
        acceptor.flush(cx);
    }

    /// Stops listening; what is being answered still is.
    pub fn close(&mut self, cx: &mut Cx<'_>) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.close(cx);
        }
    }
}

/// Go's answer to a path that nobody serves.
#[must_use]
pub fn not_found() -> Page {
    Response::text(404, "404 page not found\n").header("X-Content-Type-Options", "nosniff")
}
