//! The connections of a client: they are made address by address, with proxy and TLS, carry one request at a time, and
//! are kept between requests.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use otelcore_http::CloseReason;
use otelcore_http::h1::client::{H1ClientConn, RequestError, StartRequestError};
use otelcore_pipeline::{Cx, LogField, MonotonicTime, PeerAddr, Stream};

use super::maybe_tls::{ConnectTracker, MaybeTlsStream};
use super::{
    ConnPhase, ConnectError, DIAL_TIMEOUT, DeadlineKey, DialState, FailedRequest, HttpClient, HttpErrorKind,
    MIN_DIAL_TIMEOUT, PendingRequest, PooledConn, dial_error_text, exchange_error_text, with_proxy_prefix,
};
use crate::proxy::ProxyTunnel;

impl HttpClient {
    pub(super) fn conn_key(&self, index: usize) -> u64 {
        self.base + 1 + 2 * index as u64
    }

    /// Begins a request on a connection that has carried one before.
    pub(super) fn start_on_reused(&mut self, cx: &mut Cx<'_>, index: usize, request: PendingRequest) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        match conn.machine.start(cx.now().0, request.as_outgoing()) {
            Ok(()) => {
                conn.deadline = request.head_deadline(cx.now());
                if request.takes_chunks() {
                    conn.machine.stream_body();
                }
                conn.request = Some(request);
                self.poll_connection(cx, index);
                self.update_deadline(index);
            }
            Err(why @ StartRequestError::Request(_)) => {
                self.push_result(request.token, Err(request.invalid_request(why)));
                self.keep_idle(cx, index);
            }
            Err(_) => {
                if let Some(origin) = self.origins.get_mut(conn.origin) {
                    origin.waiting.push_front(request.request.deadline, request);
                }
                self.remove_connection(index);
            }
        }
    }

    /// Updates when a connection must be run next.
    pub(super) fn update_deadline(&mut self, index: usize) {
        self.deadlines.set(DeadlineKey::Conn(index), self.conns.get(index).and_then(PooledConn::next_deadline));
    }

    /// Begins a request on a new connection.
    pub(super) fn start_on_new(
        &mut self,
        cx: &mut Cx<'_>,
        number: usize,
        request: PendingRequest,
        addresses: Rc<[SocketAddr]>,
    ) {
        let timeout = request.request.timeouts.connect.unwrap_or(DIAL_TIMEOUT);
        let deadline = (cx.now() + timeout).min(request.request.deadline);
        let dial = DialState { addresses, address_index: 0, deadline, first_error: None };
        let index = self.conns.vacant_key();
        match self.try_addresses(cx, index, number, dial, request) {
            Ok(conn) => {
                self.conns.insert(conn);
                self.update_deadline(index);
                if let Some(origin) = self.origins.get_mut(number) {
                    origin.connections += 1;
                }
            }
            Err((token, error)) => self.push_result(token, Err(error)),
        }
    }

    /// Tries addresses until a connection attempt is in progress.
    pub(super) fn try_addresses(
        &mut self,
        cx: &mut Cx<'_>,
        index: usize,
        number: usize,
        mut dial: DialState,
        request: PendingRequest,
    ) -> Result<PooledConn, FailedRequest> {
        let now = cx.now();
        let failed =
            |request: &PendingRequest, why: String| Err((request.token, request.error(HttpErrorKind::Network, why)));
        while let Some(peer) = dial.addresses.get(dial.address_index).copied() {
            let (stream, connected) = match self.open_stream(cx, index, number, peer) {
                Ok(stream) => stream,
                Err(ConnectError::Fatal(why)) => return failed(&request, why),
                Err(ConnectError::AddressFailed(why)) => {
                    dial.first_error.get_or_insert(why);
                    dial.address_index += 1;
                    continue;
                }
            };
            let mut machine = Box::new(H1ClientConn::new(stream, self.conn_config.clone(), now.0));
            if let Err(why) = machine.start(now.0, request.as_outgoing()) {
                return Err((request.token, request.invalid_request(why)));
            }
            if request.takes_chunks() {
                machine.stream_body();
            }
            let result = machine.flush(now.0);
            if result.poll_again || result.closed {
                cx.request_ready(self.conn_key(index));
            }
            // The time that is left is divided equally among the addresses that are left.
            let time_left = dial.deadline.since(now);
            let addresses_left = u32::try_from(dial.addresses.len() - dial.address_index).unwrap_or(u32::MAX);
            let deadline = now + (time_left / addresses_left).max(MIN_DIAL_TIMEOUT).min(time_left);
            let phase = ConnPhase::Dialing(dial);
            return Ok(PooledConn {
                origin: number,
                peer,
                machine,
                connected,
                phase,
                deadline,
                request: Some(request),
                idle_order: None,
            });
        }
        failed(&request, dial.first_error.unwrap_or_else(|| "dial tcp: i/o timeout".to_owned()))
    }

    /// Begins a connection, with the proxy and TLS layers above the socket.
    pub(super) fn open_stream(
        &mut self,
        cx: &mut Cx<'_>,
        index: usize,
        number: usize,
        peer: SocketAddr,
    ) -> Result<(MaybeTlsStream, Rc<Cell<bool>>), ConnectError> {
        let key = self.conn_key(index);
        let Some(origin) = self.origins.get(number) else { return Err(ConnectError::Fatal("no site".to_owned())) };
        let mut io = cx
            .connect(key, &PeerAddr::Ip(peer))
            .map_err(|e| ConnectError::AddressFailed(with_proxy_prefix(origin, &e.to_string())))?;
        io.set_protocol("HTTP/1.1");
        let (socket, connected) = ConnectTracker::new(io);
        let stream = match &origin.proxy {
            None if !origin.https => MaybeTlsStream::Plain(Box::new(socket)),
            None => MaybeTlsStream::new_tls(self.tls.origin()?.connect(cx, Box::new(socket), &origin.host)?),
            Some(proxy) => {
                let proxy_stream = if proxy.is_https() {
                    MaybeTlsStream::new_tls(self.tls.proxy()?.connect(cx, Box::new(socket), proxy.host())?)
                } else {
                    MaybeTlsStream::Plain(Box::new(socket))
                };
                if origin.https {
                    let proxy_stream: Box<dyn Stream> = match proxy_stream {
                        MaybeTlsStream::Plain(io) => io,
                        MaybeTlsStream::Tls(tls, _) => tls,
                    };
                    let tunnel = ProxyTunnel::new(proxy_stream, proxy, &origin.host, origin.port);
                    MaybeTlsStream::new_tls(self.tls.origin()?.connect(cx, Box::new(tunnel), &origin.host)?)
                } else {
                    proxy_stream
                }
            }
        };
        Ok((stream, connected))
    }

    /// Runs a connection for one turn, and updates when it must be run next.
    pub(super) fn poll_connection(&mut self, cx: &mut Cx<'_>, index: usize) {
        self.poll_protocol(cx, index);
        self.update_deadline(index);
    }

    pub(super) fn poll_protocol(&mut self, cx: &mut Cx<'_>, index: usize) {
        let now = cx.now();
        let key = self.conn_key(index);
        let Some(conn) = self.conns.get_mut(index) else { return };
        let result = conn.machine.poll(now.0);
        if result.poll_again {
            cx.request_ready(key);
        }
        let is_tunnelled = self.origins.get(conn.origin).is_some_and(|s| s.proxy.is_some() && s.https);
        conn.update_phase(now, is_tunnelled);
        let takes_chunks = conn.request.as_ref().is_some_and(PendingRequest::takes_chunks);
        match conn.machine.poll_response() {
            Some(Ok(reply)) if takes_chunks => self.handle_streamed_head(cx, index, reply),
            Some(Ok(reply)) => {
                let request = conn.request.take();
                if result.closed || self.settings.disable_keep_alives {
                    self.remove_connection(index);
                } else {
                    self.keep_idle(cx, index);
                }
                if let Some(request) = request {
                    self.handle_response(cx, request, reply);
                }
            }
            Some(Err(failure)) => self.handle_failure(cx, index, &failure),
            None if takes_chunks => self.handle_streamed_input(cx, index),
            None if result.closed => self.remove_connection(index),
            None => {}
        }
    }

    /// A request on this connection has failed, and the connection with it.
    pub(super) fn handle_failure(&mut self, cx: &mut Cx<'_>, index: usize, failure: &RequestError) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        let Some(mut request) = conn.request.take() else { return self.remove_connection(index) };
        if matches!(failure.close_reason, CloseReason::Timeout(_)) {
            self.remove_connection(index);
            return self.push_result(request.token, Err(request.timeout_error()));
        }
        let peer = conn.peer;
        // If the peer closed the connection, its address was reached, so the next address is not tried.
        let reached = failure.close_reason == CloseReason::Peer;
        match &conn.phase {
            ConnPhase::Dialing(_) if !reached => {
                let why = format!("dial tcp {peer}: {}", dial_error_text(&failure.close_reason));
                conn.request = Some(request);
                self.try_next_address(cx, index, &why);
            }
            ConnPhase::Established | ConnPhase::Dialing(_) if failure.may_retry() && !request.resent => {
                request.resent = true;
                if let Some(origin) = self.origins.get_mut(conn.origin) {
                    origin.waiting.push_front(request.request.deadline, request);
                }
                self.remove_connection(index);
            }
            _ => {
                let why =
                    conn.machine.io().layer_error().unwrap_or_else(|| exchange_error_text(&failure.close_reason, peer));
                self.remove_connection(index);
                self.fail_request(request, HttpErrorKind::Network, why);
            }
        }
    }

    /// An address could not be reached.
    pub(super) fn try_next_address(&mut self, cx: &mut Cx<'_>, index: usize, why: &str) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        let number = conn.origin;
        let phase = std::mem::replace(&mut conn.phase, ConnPhase::Established);
        let (ConnPhase::Dialing(mut dial), Some(request), Some(origin)) =
            (phase, conn.request.take(), self.origins.get(number))
        else {
            return self.remove_connection(index);
        };
        self.log.debug("Connection failed", &[("error", LogField::Str(why))]);
        dial.first_error.get_or_insert_with(|| with_proxy_prefix(origin, why));
        dial.address_index += 1;
        match self.try_addresses(cx, index, number, dial, request) {
            Ok(next) => {
                if let Some(conn) = self.conns.get_mut(index) {
                    *conn = next;
                }
                self.update_deadline(index);
            }
            Err((token, error)) => {
                self.push_result(token, Err(error));
                self.remove_connection(index);
            }
        }
    }

    /// Keeps a connection for the next request, if it may be kept.
    pub(super) fn keep_idle(&mut self, cx: &mut Cx<'_>, index: usize) {
        let Some(number) = self.conns.get(index).map(|c| c.origin) else { return };
        let Some(origin) = self.origins.get_mut(number) else { return self.remove_connection(index) };
        if origin.waiting.is_empty() && origin.idle.len() >= self.settings.idle_limit_per_host() {
            return self.remove_connection(index);
        }
        let idle_order = self.next_idle_order;
        self.next_idle_order += 1;
        if let Some(conn) = self.conns.get_mut(index) {
            let idle_timeout = self.settings.idle_conn_timeout;
            conn.deadline = if idle_timeout.is_zero() { MonotonicTime::NEVER } else { cx.now() + idle_timeout };
            conn.idle_order = Some(idle_order);
            origin.idle.insert((idle_order, index));
            self.idle.insert(idle_order, index);
        }
        self.update_deadline(index);
        self.pending_origins.push(number);
        if self.idle.len() > self.settings.idle_limit()
            && let Some(oldest) = self.idle.first_key_value().map(|(_, index)| *index)
        {
            self.remove_connection(oldest);
        }
    }

    /// Removes a connection from the idle ones.
    pub(super) fn remove_from_idle(&mut self, index: usize) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        let Some(idle_order) = conn.idle_order.take() else { return };
        self.idle.remove(&idle_order);
        if let Some(origin) = self.origins.get_mut(conn.origin) {
            origin.idle.remove(&(idle_order, index));
        }
    }

    pub(super) fn remove_connection(&mut self, index: usize) {
        self.remove_from_idle(index);
        self.deadlines.set(DeadlineKey::Conn(index), None);
        let Some(mut conn) = self.conns.try_remove(index) else { return };
        conn.machine.io_mut().shutdown_write();
        if let Some(origin) = self.origins.get_mut(conn.origin) {
            origin.connections -= 1;
        }
        self.pending_origins.push(conn.origin);
    }
}
