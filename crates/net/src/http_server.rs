//! The listening side of an HTTP server: plaintext with HTTP/1.1, or TLS with HTTP/1.1 and HTTP/2 by ALPN.
//!
//! [`HttpConn`] is one connection of either version; [`HttpListener`] holds the socket and the connections. Never
//! inspects a request.

use std::io::ErrorKind;
use std::rc::Rc;

use otelcore_http::h1::{Door, H1Config, H1Conn, Request, RequestId, Response};
use otelcore_http::{Bytes, Closed, Turn, h2};
use otelcore_pipeline::{Cx, Endpoint, Event, Logger, Stream, Telemetry};

use crate::settings::HttpServer;
use crate::tls::{ServerTls, TlsServer, TlsStream};
use crate::{AcceptReport, Acceptor, Machine, bind};

/// How long a TLS handshake may take, in nanoseconds, if the settings have no limit: grpc-go's connection timeout.
const HANDSHAKE: u64 = 120_000_000_000;
/// The response of Go's net/http to HTTP without TLS on a TLS port.
const NOT_TLS: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// A connection of an HTTP server.
pub struct HttpConn<P>(Speaks<P>);

enum Speaks<P> {
    /// Not known yet: the TLS handshake decides.
    Hello(Box<Hello>),
    Http1(Box<H1Conn<Box<dyn Stream>, P>>),
    Http2(Box<h2::ServerConn<Box<dyn Stream>, P>>),
    /// It ended before the first request.
    Over(Closed),
}

struct Hello {
    tls: TlsStream,
    config: Rc<H1Config>,
    until: u64,
}

impl<P> std::fmt::Debug for HttpConn<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Speaks::Hello(_) => "HttpConn(handshake)",
            Speaks::Http1(_) => "HttpConn(HTTP/1)",
            Speaks::Http2(_) => "HttpConn(HTTP/2)",
            Speaks::Over(_) => "HttpConn(over)",
        })
    }
}

impl<P> HttpConn<P> {
    fn plain(io: Box<dyn Stream>, config: Rc<H1Config>, now: u64) -> Self {
        Self(Speaks::Http1(Box::new(H1Conn::new(io, config, now))))
    }

    fn tls(tls: TlsStream, config: Rc<H1Config>, now: u64) -> Self {
        let until = now.saturating_add(config.read_header_timeout.unwrap_or(HANDSHAKE));
        Self(Speaks::Hello(Box::new(Hello { tls, config, until })))
    }

    /// Reads up to the budget, writes what can be written, and handles timeouts that are due.
    pub fn turn<D: Door<Permit = P> + ?Sized>(&mut self, now: u64, door: &mut D) -> Turn {
        if matches!(self.0, Speaks::Hello(_)) {
            self.shake(now);
        }
        match &mut self.0 {
            Speaks::Hello(_) => Turn::default(),
            Speaks::Http1(conn) => conn.turn(now, door),
            Speaks::Http2(conn) => conn.turn(now, door),
            Speaks::Over(why) => over(why),
        }
    }

    fn shake(&mut self, now: u64) {
        let before = std::mem::replace(&mut self.0, Speaks::Over(Closed::Local("handshake")));
        let Speaks::Hello(mut hello) = before else { return };
        self.0 = match hello.tls.handshake() {
            Ok(_) if hello.tls.alpn() == Some(b"h2") => {
                Speaks::Http2(Box::new(h2::ServerConn::new(Box::new(hello.tls), hello.config, now)))
            }
            Ok(_) => Speaks::Http1(Box::new(H1Conn::new(Box::new(hello.tls), hello.config, now))),
            Err(e) if e.kind() == ErrorKind::WouldBlock && now < hello.until => Speaks::Hello(hello),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Speaks::Over(Closed::Timeout("TLS handshake")),
            Err(e) => match hello.tls.into_plain_http() {
                Some(io) => {
                    let why = Closed::Protocol("client sent an HTTP request to an HTTPS server".to_owned());
                    Speaks::Http1(Box::new(H1Conn::refusing(io, hello.config, now, NOT_TLS, why)))
                }
                None => Speaks::Over(Closed::Io(e.kind())),
            },
        };
    }

    /// Refuses the requests whose body is being read and whose permit `matches`.
    pub fn refuse_reading(&mut self, now: u64, matches: impl Fn(&P) -> bool, answer: impl Fn(&P) -> Response) {
        match &mut self.0 {
            Speaks::Http1(conn) => conn.refuse_reading(now, matches, answer),
            Speaks::Http2(conn) => conn.refuse_reading(now, matches, answer),
            Speaks::Hello(_) | Speaks::Over(_) => {}
        }
    }

    /// No request is being read, worked on or answered.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        match &self.0 {
            Speaks::Http1(conn) => conn.is_idle(),
            Speaks::Http2(conn) => conn.is_idle(),
            Speaks::Hello(_) | Speaks::Over(_) => false,
        }
    }

    /// Bytes of input that no [`Door`] has admitted yet.
    #[must_use]
    pub fn unadmitted(&self) -> usize {
        match &self.0 {
            Speaks::Http1(conn) => conn.unadmitted(),
            // h2 has a limit for the one header block that may be incomplete.
            Speaks::Http2(_) | Speaks::Hello(_) | Speaks::Over(_) => 0,
        }
    }

    /// Refuses the request whose head is being read. Does nothing on HTTP/2.
    pub fn refuse_head(&mut self, now: u64, response: Response) {
        if let Speaks::Http1(conn) = &mut self.0 {
            conn.refuse_head(now, response);
        }
    }

    /// The next request for the application.
    pub fn poll_request(&mut self) -> Option<Request<P>> {
        match &mut self.0 {
            Speaks::Http1(conn) => conn.poll_request(),
            Speaks::Http2(conn) => conn.poll_request(),
            Speaks::Hello(_) | Speaks::Over(_) => None,
        }
    }

    /// Answers a request. Unknown ids and second responses are ignored.
    pub fn respond(&mut self, id: RequestId, response: Response) {
        match &mut self.0 {
            Speaks::Http1(conn) => conn.respond(id, response),
            Speaks::Http2(conn) => conn.respond(id, response),
            Speaks::Hello(_) | Speaks::Over(_) => {}
        }
    }

    /// Answers a request with a head; the body follows in pieces. False if the response has no body.
    pub fn respond_streaming(&mut self, id: RequestId, response: Response) -> bool {
        match &mut self.0 {
            Speaks::Http1(conn) => conn.respond_streaming(id, response),
            Speaks::Http2(conn) => conn.respond_streaming(id, response),
            Speaks::Hello(_) | Speaks::Over(_) => false,
        }
    }

    /// Whether a streamed response to this request could begin now: on HTTP/1.1 responses are sent in the order of the
    /// requests.
    #[must_use]
    pub fn is_turn(&self, id: RequestId) -> bool {
        match &self.0 {
            Speaks::Http1(conn) => conn.is_turn(id),
            Speaks::Http2(_) => true,
            Speaks::Hello(_) | Speaks::Over(_) => false,
        }
    }

    /// Whether the connection can take the next piece of a streamed response.
    #[must_use]
    pub fn wants(&self, id: RequestId) -> bool {
        match &self.0 {
            Speaks::Http1(conn) => conn.wants(id),
            Speaks::Http2(conn) => conn.wants(id),
            Speaks::Hello(_) | Speaks::Over(_) => false,
        }
    }

    /// Whether a response still needs pieces, now or after the responses before it.
    #[must_use]
    pub fn is_streaming(&self, id: RequestId) -> bool {
        match &self.0 {
            Speaks::Http1(conn) => conn.is_streaming(id),
            Speaks::Http2(conn) => conn.is_streaming(id),
            Speaks::Hello(_) | Speaks::Over(_) => false,
        }
    }

    /// The next piece of a streamed response.
    pub fn give(&mut self, now: u64, id: RequestId, piece: Bytes) {
        match &mut self.0 {
            Speaks::Http1(conn) => conn.give(now, id, piece),
            Speaks::Http2(conn) => conn.give(now, id, piece),
            Speaks::Hello(_) | Speaks::Over(_) => {}
        }
    }

    /// A streamed response is complete.
    pub fn finish(&mut self, now: u64, id: RequestId) {
        match &mut self.0 {
            Speaks::Http1(conn) => conn.finish(id, now),
            Speaks::Http2(conn) => conn.finish(id, now),
            Speaks::Hello(_) | Speaks::Over(_) => {}
        }
    }

    /// A streamed response can't be completed; it is ended so that the client notices it.
    pub fn abandon(&mut self, id: RequestId) {
        match &mut self.0 {
            Speaks::Http1(conn) => conn.abandon(id),
            Speaks::Http2(conn) => conn.abandon(id),
            Speaks::Hello(_) | Speaks::Over(_) => {}
        }
    }
}

fn over(why: &Closed) -> Turn {
    Turn { closed: true, why: Some(why.clone()), ..Turn::default() }
}

impl<P> Machine for HttpConn<P> {
    fn poll_timeout(&self) -> Option<u64> {
        match &self.0 {
            Speaks::Hello(hello) => Some(hello.until),
            Speaks::Http1(conn) => conn.poll_timeout(),
            Speaks::Http2(conn) => conn.poll_timeout(),
            Speaks::Over(_) => None,
        }
    }

    fn drain(&mut self, _: u64) {
        match &mut self.0 {
            // A client that has not sent a request yet waits for no response.
            Speaks::Hello(_) => self.0 = Speaks::Over(Closed::Local("drained")),
            Speaks::Http1(conn) => conn.drain(),
            Speaks::Http2(conn) => conn.drain(),
            Speaks::Over(_) => {}
        }
    }

    fn flush(&mut self, now: u64) -> Turn {
        match &mut self.0 {
            Speaks::Hello(_) => Turn::default(),
            Speaks::Http1(conn) => conn.flush(now),
            Speaks::Http2(conn) => conn.flush(now),
            Speaks::Over(why) => over(why),
        }
    }

    fn shut_write(&mut self) {
        match &mut self.0 {
            Speaks::Http1(conn) => conn.io_mut().shut_write(),
            Speaks::Http2(conn) => conn.io_mut().shut_write(),
            Speaks::Hello(_) | Speaks::Over(_) => {}
        }
    }
}

/// A listening socket and its connections. It uses the component's local keys from the base of [`HttpListener::open`]
/// on.
pub struct HttpListener<P> {
    listen: Endpoint,
    config: Rc<H1Config>,
    tls_settings: Option<TlsServer>,
    tls: Option<ServerTls>,
    log: Logger,
    report: AcceptReport,
    acceptor: Option<Acceptor<HttpConn<P>>>,
}

impl<P> std::fmt::Debug for HttpListener<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpListener").field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl<P> HttpListener<P> {
    /// A server that is not listening yet.
    #[must_use]
    pub fn new(settings: &HttpServer, log: Logger, telemetry: &Telemetry) -> Self {
        Self {
            listen: settings.listen.clone(),
            config: Rc::new(settings.machine()),
            tls_settings: settings.tls.clone(),
            tls: None,
            report: AcceptReport::new(log.clone(), telemetry),
            log,
            acceptor: None,
        }
    }

    /// Loads certificates and binds the socket under `base`; returns the address that it is bound to.
    ///
    /// # Errors
    /// What is wrong with the certificates, or the system's error, in Go's form.
    pub fn open(&mut self, cx: &mut Cx<'_>, base: u64) -> Result<String, String> {
        if let Some(settings) = &self.tls_settings {
            self.tls = Some(ServerTls::load(cx, settings, &[b"h2", b"http/1.1"], self.log.clone())?);
        }
        let listener = bind(cx, base, &self.listen).map_err(|e| e.to_string())?;
        let acceptor = Acceptor::new(listener, base).reporting(self.report.clone());
        let local = acceptor.local();
        self.acceptor = Some(acceptor);
        Ok(local)
    }

    /// The settings of its connections, for their workspace.
    #[must_use]
    pub fn config(&self) -> &Rc<H1Config> {
        &self.config
    }

    /// Handles an event under one of its keys, and returns the slots whose connections must run now.
    pub fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) -> Vec<usize> {
        let Some(acceptor) = &mut self.acceptor else { return Vec::new() };
        let (config, tls) = (&self.config, &mut self.tls);
        acceptor.event(cx, local, event, |cx, stream| match tls {
            None => Some(HttpConn::plain(stream, config.clone(), cx.now().0)),
            Some(tls) => Some(HttpConn::tls(tls.accept(cx, stream)?, config.clone(), cx.now().0)),
        })
    }

    /// See [`Acceptor::get`].
    pub fn get(&mut self, slot: usize) -> Option<(&mut HttpConn<P>, u64)> {
        self.acceptor.as_mut()?.get(slot)
    }

    /// See [`Acceptor::answer`].
    pub fn answer(&mut self, slot: usize, serial: u64) -> Option<&mut HttpConn<P>> {
        self.acceptor.as_mut()?.answer(slot, serial)
    }

    /// See [`Acceptor::again`].
    pub fn again(&self, cx: &mut Cx<'_>, slot: usize) {
        if let Some(acceptor) = &self.acceptor {
            acceptor.again(cx, slot);
        }
    }

    /// See [`Acceptor::after`].
    pub fn after(&mut self, cx: &mut Cx<'_>, slot: usize, turn: &Turn) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.after(cx, slot, turn);
        }
    }

    /// See [`Acceptor::flush`].
    pub fn flush(&mut self, cx: &mut Cx<'_>) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.flush(cx);
        }
    }

    /// Stops listening; requests in progress are still answered.
    pub fn close(&mut self, cx: &mut Cx<'_>) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.close(cx);
        }
    }

    /// It is not listening, and every connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.acceptor.as_ref().is_none_or(Acceptor::is_closed)
    }
}
