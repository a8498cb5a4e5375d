//! The listening side of an HTTP server: plaintext with HTTP/1.1, or TLS with HTTP/1.1 and HTTP/2 by ALPN.
//!
//! [`HttpServerConn`] is one connection of either version; [`HttpListener`] holds the socket and connections. Never
//! inspects a request.

use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;

use otelcore_http::h1::{H1ServerConn, HttpServerConnConfig, Request, RequestHead, RequestId, Response};
use otelcore_http::{Admission, Bytes, CloseReason, PollResult, h2};
use otelcore_pipeline::{Cx, Endpoint, Event, Logger, Metadata, StartError, Stream, Telemetry};

use crate::acceptor::{LoadSkewPolicy, PLAINTEXT_TO_TLS};
use crate::config::HttpServerConfig;
use crate::tls::{TlsAcceptor, TlsServerConfig, TlsStream};
use crate::{AcceptErrorReporter, Acceptor, ListenError, ProtocolMachine, bind};

/// The time limit of a TLS handshake, in nanoseconds, if the settings have none: grpc-go's connection timeout.
const DEFAULT_HANDSHAKE_TIMEOUT: u64 = 120_000_000_000;
/// What [`Stream::set_protocol`] is told.
const HTTP1: &str = "HTTP/1.1";
const HTTP2: &str = "HTTP/2";
/// The response of Go's net/http to HTTP without TLS on a TLS port.
const HTTP_ON_TLS_PORT_RESPONSE: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// A connection of an HTTP server.
pub struct HttpServerConn<P>(ConnState<P>);

enum ConnState<P> {
    /// Not known yet: the TLS handshake decides.
    Handshake(Box<TlsHandshake>),
    Http1(Box<H1ServerConn<Box<dyn Stream>, P>>),
    Http2(Box<h2::H2ServerConn<Box<dyn Stream>, P>>),
    /// It ended before the first request.
    Ended(CloseReason),
}

struct TlsHandshake {
    tls: TlsStream,
    config: Rc<HttpServerConnConfig>,
    deadline: u64,
}

impl<P> std::fmt::Debug for HttpServerConn<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            ConnState::Handshake(_) => "HttpServerConn(handshake)",
            ConnState::Http1(_) => "HttpServerConn(HTTP/1)",
            ConnState::Http2(_) => "HttpServerConn(HTTP/2)",
            ConnState::Ended(_) => "HttpServerConn(ended)",
        })
    }
}

impl<P> HttpServerConn<P> {
    fn new_plaintext(mut io: Box<dyn Stream>, config: Rc<HttpServerConnConfig>, now: u64) -> Self {
        io.set_protocol(HTTP1);
        Self(ConnState::Http1(Box::new(H1ServerConn::new(io, config, now))))
    }

    fn new_tls(tls: TlsStream, config: Rc<HttpServerConnConfig>, now: u64) -> Self {
        let deadline = now.saturating_add(config.read_header_timeout.unwrap_or(DEFAULT_HANDSHAKE_TIMEOUT));
        Self(ConnState::Handshake(Box::new(TlsHandshake { tls, config, deadline })))
    }

    /// Reads up to the budget, writes what can be written, and handles timeouts that are due.
    pub fn poll<D>(&mut self, now: u64, admission: &mut D) -> PollResult
    where
        D: Admission<RequestHead, Permit = P> + ?Sized,
    {
        if matches!(self.0, ConnState::Handshake(_)) {
            self.continue_handshake(now);
        }
        match &mut self.0 {
            ConnState::Handshake(_) => PollResult::default(),
            ConnState::Http1(conn) => conn.poll(now, admission),
            ConnState::Http2(conn) => conn.poll(now, admission),
            ConnState::Ended(why) => ended_result(why),
        }
    }

    fn continue_handshake(&mut self, now: u64) {
        let previous = std::mem::replace(&mut self.0, ConnState::Ended(CloseReason::Local("handshake")));
        let ConnState::Handshake(mut handshake) = previous else { return };
        self.0 = match handshake.tls.handshake() {
            Ok(_) if handshake.tls.alpn() == Some(b"h2") => {
                handshake.tls.set_protocol(HTTP2);
                ConnState::Http2(Box::new(h2::H2ServerConn::new(Box::new(handshake.tls), handshake.config, now)))
            }
            Ok(_) => {
                handshake.tls.set_protocol(HTTP1);
                ConnState::Http1(Box::new(H1ServerConn::new(Box::new(handshake.tls), handshake.config, now)))
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock && now < handshake.deadline => ConnState::Handshake(handshake),
            Err(e) if e.kind() == ErrorKind::WouldBlock => ConnState::Ended(CloseReason::Timeout("TLS handshake")),
            Err(e) => match handshake.tls.into_plain_http() {
                Some(io) => {
                    let why = CloseReason::Protocol(PLAINTEXT_TO_TLS.to_owned());
                    ConnState::Http1(Box::new(H1ServerConn::new_refusing(
                        io,
                        handshake.config,
                        now,
                        HTTP_ON_TLS_PORT_RESPONSE,
                        why,
                    )))
                }
                None => ConnState::Ended(CloseReason::Io(e.kind())),
            },
        };
    }

    /// Refuses the requests whose body is being read and whose permit `matches`.
    pub fn refuse_incomplete(&mut self, now: u64, matches: impl Fn(&P) -> bool, response: impl Fn(&P) -> Response) {
        match &mut self.0 {
            ConnState::Http1(conn) => conn.refuse_incomplete(now, matches, response),
            ConnState::Http2(conn) => conn.refuse_incomplete(now, matches, response),
            ConnState::Handshake(_) | ConnState::Ended(_) => {}
        }
    }

    /// No request is being read or processed, and no response is being sent.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        match &self.0 {
            ConnState::Http1(conn) => conn.is_idle(),
            ConnState::Http2(conn) => conn.is_idle(),
            ConnState::Handshake(_) | ConnState::Ended(_) => false,
        }
    }

    /// Bytes of input that no [`Admission`] has admitted yet.
    #[must_use]
    pub fn unadmitted_bytes(&self) -> usize {
        match &self.0 {
            ConnState::Http1(conn) => conn.unadmitted_bytes(),
            // h2 has a limit for the one header block that may be incomplete.
            ConnState::Http2(_) | ConnState::Handshake(_) | ConnState::Ended(_) => 0,
        }
    }

    /// Refuses the request whose head is being read. Does nothing on HTTP/2.
    pub fn refuse_head(&mut self, now: u64, response: Response) {
        if let ConnState::Http1(conn) = &mut self.0 {
            conn.refuse_head(now, response);
        }
    }

    /// The next request for the application.
    pub fn poll_request(&mut self) -> Option<Request<P>> {
        match &mut self.0 {
            ConnState::Http1(conn) => conn.poll_request(),
            ConnState::Http2(conn) => conn.poll_request(),
            ConnState::Handshake(_) | ConnState::Ended(_) => None,
        }
    }

    /// Sends the response to a request. Unknown ids and second responses are ignored.
    pub fn respond(&mut self, id: RequestId, response: Response) {
        match &mut self.0 {
            ConnState::Http1(conn) => conn.respond(id, response),
            ConnState::Http2(conn) => conn.respond(id, response),
            ConnState::Handshake(_) | ConnState::Ended(_) => {}
        }
    }

    /// Sends the head of a response; the body follows in pieces. False if the response has no body.
    pub fn respond_streaming(&mut self, id: RequestId, response: Response) -> bool {
        match &mut self.0 {
            ConnState::Http1(conn) => conn.respond_streaming(id, response),
            ConnState::Http2(conn) => conn.respond_streaming(id, response),
            ConnState::Handshake(_) | ConnState::Ended(_) => false,
        }
    }

    /// Whether a streamed response to this request could begin now: on HTTP/1.1 responses are sent in the order of the
    /// requests.
    #[must_use]
    pub fn is_next_response(&self, id: RequestId) -> bool {
        match &self.0 {
            ConnState::Http1(conn) => conn.is_next_response(id),
            ConnState::Http2(_) => true,
            ConnState::Handshake(_) | ConnState::Ended(_) => false,
        }
    }

    /// Whether the connection can take the next piece of a streamed response.
    #[must_use]
    pub fn can_send_data(&self, id: RequestId) -> bool {
        match &self.0 {
            ConnState::Http1(conn) => conn.can_send_data(id),
            ConnState::Http2(conn) => conn.can_send_data(id),
            ConnState::Handshake(_) | ConnState::Ended(_) => false,
        }
    }

    /// Whether a response still needs pieces, now or after the responses before it.
    #[must_use]
    pub fn is_streaming(&self, id: RequestId) -> bool {
        match &self.0 {
            ConnState::Http1(conn) => conn.is_streaming(id),
            ConnState::Http2(conn) => conn.is_streaming(id),
            ConnState::Handshake(_) | ConnState::Ended(_) => false,
        }
    }

    /// The next piece of a streamed response.
    pub fn send_data(&mut self, now: u64, id: RequestId, data: Bytes) {
        match &mut self.0 {
            ConnState::Http1(conn) => conn.send_data(now, id, data),
            ConnState::Http2(conn) => conn.send_data(now, id, data),
            ConnState::Handshake(_) | ConnState::Ended(_) => {}
        }
    }

    /// A streamed response is complete.
    pub fn finish_response(&mut self, now: u64, id: RequestId) {
        match &mut self.0 {
            ConnState::Http1(conn) => conn.finish_response(id, now),
            ConnState::Http2(conn) => conn.finish_response(id, now),
            ConnState::Handshake(_) | ConnState::Ended(_) => {}
        }
    }

    /// A streamed response can't be completed; it is ended so that the client notices it.
    pub fn abort_response(&mut self, id: RequestId) {
        match &mut self.0 {
            ConnState::Http1(conn) => conn.abort_response(id),
            ConnState::Http2(conn) => conn.abort_response(id),
            ConnState::Handshake(_) | ConnState::Ended(_) => {}
        }
    }
}

fn ended_result(why: &CloseReason) -> PollResult {
    PollResult { closed: true, close_reason: Some(why.clone()), ..PollResult::default() }
}

impl<P> ProtocolMachine for HttpServerConn<P> {
    fn poll_timeout(&self) -> Option<u64> {
        match &self.0 {
            ConnState::Handshake(handshake) => Some(handshake.deadline),
            ConnState::Http1(conn) => conn.poll_timeout(),
            ConnState::Http2(conn) => conn.poll_timeout(),
            ConnState::Ended(_) => None,
        }
    }

    fn drain(&mut self, _: u64) {
        match &mut self.0 {
            // A client that has not sent a request yet waits for no response.
            ConnState::Handshake(_) => self.0 = ConnState::Ended(CloseReason::Local("drained")),
            ConnState::Http1(conn) => conn.drain(),
            ConnState::Http2(conn) => conn.drain(),
            ConnState::Ended(_) => {}
        }
    }

    fn end_connection(&mut self, now: u64, _: &'static str) {
        match &mut self.0 {
            ConnState::Http1(conn) => conn.end_with_next_request(now),
            ConnState::Http2(conn) => conn.end_with_next_request(now),
            ConnState::Handshake(_) | ConnState::Ended(_) => {}
        }
    }

    fn flush(&mut self, now: u64) -> PollResult {
        match &mut self.0 {
            ConnState::Handshake(_) => PollResult::default(),
            ConnState::Http1(conn) => conn.flush(now),
            ConnState::Http2(conn) => conn.flush(now),
            ConnState::Ended(why) => ended_result(why),
        }
    }

    fn shutdown_write(&mut self) {
        match &mut self.0 {
            ConnState::Http1(conn) => conn.io_mut().shutdown_write(),
            ConnState::Http2(conn) => conn.io_mut().shutdown_write(),
            ConnState::Handshake(_) | ConnState::Ended(_) => {}
        }
    }
}

/// A listening socket and its connections. It uses the component's local keys from the base of [`HttpListener::open`]
/// on.
pub struct HttpListener<P> {
    listen: Result<Endpoint, StartError>,
    config: Rc<HttpServerConnConfig>,
    tls_config: Option<TlsServerConfig>,
    tls: Option<TlsAcceptor>,
    log: Logger,
    error_reporter: AcceptErrorReporter,
    /// Until it listens.
    load_skew: Option<LoadSkewPolicy>,
    acceptor: Option<Acceptor<HttpServerConn<P>>>,
}

impl<P> std::fmt::Debug for HttpListener<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpListener").field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl<P> HttpListener<P> {
    /// A server that is not listening yet.
    #[must_use]
    pub fn new(settings: &HttpServerConfig, log: Logger, telemetry: &Telemetry) -> Self {
        Self {
            listen: settings.listen.address(),
            config: Rc::new(settings.connection_config()),
            tls_config: settings.tls.get().cloned(),
            tls: None,
            error_reporter: AcceptErrorReporter::new(log.clone(), telemetry),
            load_skew: LoadSkewPolicy::new(&settings.load_skew, &log, telemetry),
            log,
            acceptor: None,
        }
    }

    /// Lowers the limit of the length of request bodies.
    #[must_use]
    pub fn with_max_body(mut self, max_body: u64) -> Self {
        let max_body = max_body.min(self.config.max_body);
        self.config = Rc::new(HttpServerConnConfig { max_body, ..(*self.config).clone() });
        self
    }

    /// Loads certificates and binds the socket under `base`; returns the address that it is bound to.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn open(&mut self, cx: &mut Cx<'_>, base: u64) -> Result<String, ListenError> {
        if let Some(config) = &self.tls_config {
            let tls = TlsAcceptor::load(cx, config, &[b"h2", b"http/1.1"], self.log.clone());
            self.tls = Some(tls.map_err(ListenError::Certificates)?);
        }
        let listen = self.listen.as_ref().map_err(|e| ListenError::Endpoint(e.to_string()))?;
        let listener = bind(cx, base, listen)?;
        let acceptor = Acceptor::new(listener, base)
            .with_error_reporter(self.error_reporter.clone())
            .with_load_skew(self.load_skew.take());
        let local_addr = acceptor.local_addr();
        self.acceptor = Some(acceptor);
        Ok(local_addr)
    }

    /// The settings of its connections, for their workspace.
    #[must_use]
    pub fn config(&self) -> &Rc<HttpServerConnConfig> {
        &self.config
    }

    /// Handles an event under one of its keys, and returns the slots whose connections must run now.
    pub fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) -> Vec<usize> {
        let Some(acceptor) = &mut self.acceptor else { return Vec::new() };
        let (config, tls) = (&self.config, &mut self.tls);
        acceptor.handle_event(cx, local, event, |cx, stream| match tls {
            None => Some(HttpServerConn::new_plaintext(stream, config.clone(), cx.now().0)),
            Some(tls) => Some(HttpServerConn::new_tls(tls.accept(cx, stream)?, config.clone(), cx.now().0)),
        })
    }

    /// See [`Acceptor::get`].
    pub fn get(&mut self, slot: usize) -> Option<(&mut HttpServerConn<P>, u64)> {
        self.acceptor.as_mut()?.get(slot)
    }

    /// See [`Acceptor::client`].
    #[must_use]
    pub fn client(&self, slot: usize) -> Option<&Arc<Metadata>> {
        self.acceptor.as_ref()?.client(slot)
    }

    /// See [`Acceptor::get_for_response`].
    pub fn get_for_response(&mut self, slot: usize, serial: u64) -> Option<&mut HttpServerConn<P>> {
        self.acceptor.as_mut()?.get_for_response(slot, serial)
    }

    /// See `Acceptor::ended_connections`.
    pub(crate) fn ended_connections(&self) -> u64 {
        self.acceptor.as_ref().map_or(0, Acceptor::ended_connections)
    }

    /// See `Acceptor::record_requests`.
    pub(crate) fn record_requests(&mut self, slot: usize, load: (u64, u64), now: u64) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.record_requests(slot, load, now);
        }
    }

    /// See [`Acceptor::request_ready`].
    pub fn request_ready(&self, cx: &mut Cx<'_>, slot: usize) {
        if let Some(acceptor) = &self.acceptor {
            acceptor.request_ready(cx, slot);
        }
    }

    /// See [`Acceptor::apply_poll_result`].
    pub fn apply_poll_result(&mut self, cx: &mut Cx<'_>, slot: usize, result: &PollResult) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.apply_poll_result(cx, slot, result);
        }
    }

    /// See [`Acceptor::flush`].
    pub fn flush(&mut self, cx: &mut Cx<'_>) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.flush(cx);
        }
    }

    /// Stops listening; requests in progress still get their responses.
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
