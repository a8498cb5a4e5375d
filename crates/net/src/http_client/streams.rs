//! Bodies that are streamed to the caller, or collected, as they arrive; and requests that the caller cancels.

use std::collections::{BTreeMap, BTreeSet};

use otelcore_http::Bytes;
use otelcore_http::CloseReason;
use otelcore_http::h1::client::{BodyChunk, ClientResponse, MAX_CHUNK, RequestError};
use otelcore_pipeline::{Cx, MonotonicTime};

use super::{HttpClient, HttpErrorKind, HttpRequestError, HttpResponse, PendingRequest, ResponseMode};

/// What [`HttpClient::read_body`] has read.
#[derive(Clone, Debug)]
pub enum BodyRead {
    /// The next bytes of the body, at most 64 KiB.
    Data(Bytes),
    /// Nothing has arrived since the last call; [`HttpClient::poll_readable`] returns the token when something has.
    Pending,
    /// The body is complete. The token is free.
    End,
    /// The body ended early. The token is free.
    Failed(HttpRequestError),
}

/// The streamed bodies of a client, by the tokens of their requests.
#[derive(Default)]
pub(super) struct Streams {
    /// The connections of bodies whose head was passed on.
    conns: BTreeMap<u64, usize>,
    /// Those that failed, and why.
    failed: BTreeMap<u64, HttpRequestError>,
    /// Those with something to read that the caller does not know of.
    readable: BTreeSet<u64>,
    /// Requests without a result yet, and whether they were cancelled.
    pending: BTreeMap<u64, bool>,
}

impl Streams {
    /// Ends a body with an error. `false` if the request has no body that is being streamed.
    pub(super) fn fail(&mut self, token: u64, error: HttpRequestError) -> bool {
        let is_streamed = self.conns.remove(&token).is_some();
        if is_streamed {
            self.failed.insert(token, error);
            self.readable.insert(token);
        }
        is_streamed
    }

    /// Records that a request has begun.
    pub(super) fn begin(&mut self, token: u64) {
        self.pending.insert(token, false);
    }

    /// Records that a request has its result; `false` if it was cancelled.
    pub(super) fn end(&mut self, token: u64) -> bool {
        self.pending.remove(&token) == Some(false)
    }

    /// Whether a request without a result was cancelled.
    pub(super) fn is_cancelled(&self, token: u64) -> bool {
        self.pending.get(&token) == Some(&true)
    }
}

impl HttpClient {
    /// The token of a request with [`ResponseMode::Streamed`] whose body may be read: [`HttpClient::read_body`] is to be
    /// called for it until it returns [`BodyRead::Pending`] or the end.
    pub fn poll_readable(&mut self) -> Option<u64> {
        self.streams.readable.pop_first()
    }

    /// Reads the next part of the body of a request with [`ResponseMode::Streamed`], after its result was returned. What
    /// is not read stays at the peer, except for 64 KiB and the buffers of the system.
    pub fn read_body(&mut self, cx: &mut Cx<'_>, token: u64) -> BodyRead {
        if let Some(error) = self.streams.failed.remove(&token) {
            return BodyRead::Failed(error);
        }
        let Some(index) = self.streams.conns.get(&token).copied() else { return BodyRead::Pending };
        let key = self.conn_key(index);
        let Some(conn) = self.conns.get_mut(index) else { return BodyRead::Pending };
        let read = match conn.machine.poll_chunk() {
            None => return BodyRead::Pending,
            Some(BodyChunk::Data(data)) => {
                conn.deadline = conn.request.as_ref().map_or(MonotonicTime::NEVER, |r| r.idle_deadline(cx.now()));
                if data.len() >= MAX_CHUNK {
                    // Reading has stopped because of it.
                    cx.request_ready(key);
                }
                self.update_deadline(index);
                BodyRead::Data(data)
            }
            Some(BodyChunk::End) => {
                self.streams.conns.remove(&token);
                conn.request = None;
                self.release_connection(cx, index);
                BodyRead::End
            }
            Some(BodyChunk::Failed(failure)) => {
                self.streams.conns.remove(&token);
                let request = conn.request.take();
                self.remove_connection(index);
                match request {
                    Some(request) => BodyRead::Failed(body_error(&request, &failure)),
                    None => BodyRead::End,
                }
            }
        };
        self.assign_requests(cx);
        read
    }

    /// Gives up a request: nothing more is returned for its token. The connection of a streamed body is closed; another
    /// request goes on without a result until it ends. Its token must not be used again before its deadline.
    pub fn cancel_request(&mut self, cx: &mut Cx<'_>, token: u64) {
        self.streams.readable.remove(&token);
        if self.streams.failed.remove(&token).is_some() {
            return;
        }
        match self.streams.conns.remove(&token) {
            Some(index) => {
                self.remove_connection(index);
                self.assign_requests(cx);
            }
            None => {
                if let Some(is_cancelled) = self.streams.pending.get_mut(&token) {
                    *is_cancelled = true;
                }
            }
        }
    }

    /// The head of a response whose body is streamed or collected.
    pub(super) fn handle_streamed_head(&mut self, cx: &mut Cx<'_>, index: usize, reply: ClientResponse) {
        let Some(mut request) = self.conns.get_mut(index).and_then(|conn| conn.request.take()) else { return };
        if self.streams.is_cancelled(request.token) {
            self.streams.end(request.token);
            return self.remove_connection(index);
        }
        self.store_cookies(cx, &request, &reply.head);
        let location = reply.head.get("location").filter(|_| !self.settings.keeps_redirects);
        match request.follow_redirect(reply.status, location) {
            None => {}
            Some(redirect) => {
                // The body of the redirect is not read.
                self.remove_connection(index);
                return match redirect {
                    Ok(()) => self.enqueue(cx, request),
                    Err(error) => self.push_result(request.token, Err(error)),
                };
            }
        }
        let response = HttpResponse { status: reply.status, body: reply.body, head: reply.head };
        if matches!(request.request.response, ResponseMode::Streamed) {
            self.streams.conns.insert(request.token, index);
            self.push_result(request.token, Ok(response));
        } else {
            request.collected = Some((response, Vec::new()));
        }
        if let Some(conn) = self.conns.get_mut(index) {
            conn.deadline = request.idle_deadline(cx.now());
            conn.request = Some(request);
        }
        self.handle_streamed_input(cx, index);
    }

    /// A part of a body may have arrived.
    pub(super) fn handle_streamed_input(&mut self, cx: &mut Cx<'_>, index: usize) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        let Some(request) = conn.request.as_ref().filter(|_| conn.machine.is_chunk_ready()) else { return };
        if request.collected.is_some() {
            return self.collect_body(cx, index);
        }
        // While the caller does not read, the peer is not the one that is late.
        conn.deadline = MonotonicTime::NEVER;
        self.streams.readable.insert(request.token);
    }

    /// Appends what has arrived to a body that is collected, and returns the response with its end.
    fn collect_body(&mut self, cx: &mut Cx<'_>, index: usize) {
        let key = self.conn_key(index);
        let Some(conn) = self.conns.get_mut(index) else { return };
        let Some(mut request) = conn.request.take() else { return };
        let ResponseMode::Whole { max_bytes } = request.request.response else { return };
        let Some((response, mut body)) = request.collected.take() else { return };
        loop {
            match conn.machine.poll_chunk() {
                None => {
                    conn.deadline = request.idle_deadline(cx.now());
                    request.collected = Some((response, body));
                    conn.request = Some(request);
                    return;
                }
                Some(BodyChunk::Data(data)) if body.len().saturating_add(data.len()) > max_bytes => {
                    self.remove_connection(index);
                    let why = format!("the response is longer than {max_bytes} bytes");
                    return self.fail_request(request, HttpErrorKind::TooLarge, why);
                }
                Some(BodyChunk::Data(data)) => {
                    body.extend_from_slice(&data);
                    if data.len() >= MAX_CHUNK {
                        cx.request_ready(key);
                    }
                }
                Some(BodyChunk::End) => {
                    self.release_connection(cx, index);
                    return self.push_result(request.token, Ok(HttpResponse { body: body.into(), ..response }));
                }
                Some(BodyChunk::Failed(failure)) => {
                    self.remove_connection(index);
                    let error = body_error(&request, &failure);
                    return self.push_result(request.token, Err(error));
                }
            }
        }
    }

    /// Keeps a connection whose response is complete, if it can carry another request.
    fn release_connection(&mut self, cx: &mut Cx<'_>, index: usize) {
        let is_usable = self.conns.get(index).is_some_and(|conn| conn.machine.can_start());
        if is_usable && !self.settings.disable_keep_alives {
            self.keep_idle(cx, index);
        } else {
            self.remove_connection(index);
        }
    }
}

/// The error of a body that ended early, with Go's text.
fn body_error(request: &PendingRequest, failure: &RequestError) -> HttpRequestError {
    match &failure.close_reason {
        CloseReason::Timeout(_) => request.error(
            HttpErrorKind::Timeout,
            "context deadline exceeded (Client.Timeout or context cancellation while reading body)",
        ),
        CloseReason::Peer => request.error(HttpErrorKind::Network, "unexpected EOF"),
        other => request.error(HttpErrorKind::Network, other.to_string()),
    }
}
