//! The protocol of one connection to a broker, as a machine of bytes: versions, authentication, requests and their answers.
//!
//! ```text
//!  begin -> ApiVersions -> SaslHandshake -> SaslAuthenticate .. -> ready: send / poll_event
//! ```
//! Answers come in the order of the requests. A frame is read into a buffer that grows with what arrives, never by the length that the
//! broker declares. Opens no socket and reads no clock.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::messages::{self, RequestBody};
use crate::sasl::{Credentials, Exchange, SaslError, SaslStep, ScramDerived, ScramProof};
use crate::versions::{ApiKey, BrokerVersions, KafkaRelease};
use crate::wire::{Reader, WireError, Writer};

/// The longest answer before the connection is ready.
const MAX_HANDSHAKE_FRAME: usize = 256 << 10;
/// The longest answer that has no records: metadata of the most partitions that are accepted.
const MAX_FRAME: usize = 8 << 20;
/// The most messages of one SASL exchange.
const MAX_SASL_MESSAGES: u32 = 8;

/// Why a connection has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// The broker's bytes are not Kafka's protocol.
    #[error("the broker's answer is invalid: {0}")]
    Wire(#[from] WireError),
    /// An answer is longer than is accepted.
    #[error("the broker announces an answer of {0} bytes; the peer may not speak Kafka's protocol")]
    FrameLength(i32),
    /// An answer to no request, or to another one.
    #[error("the broker answers another request than the oldest one")]
    Correlation,
    /// A request and the broker have no version in common.
    #[error("{0}")]
    Versions(String),
    /// The broker refuses a request of the handshake.
    #[error("the broker refuses {0}: {1}")]
    Refused(&'static str, String),
    /// Authentication has failed.
    #[error("SASL authentication failed: {0}")]
    Sasl(#[from] SaslError),
}

/// What has happened on a connection.
#[derive(Debug)]
pub enum ConnectionEvent {
    /// Requests can be sent. A session that was authenticated ends after this time.
    Ready(Option<Duration>),
    /// The answer to a request.
    Answer {
        /// The number of the request.
        token: u64,
        /// The version of request and answer.
        version: i16,
        /// The answer, without its header.
        body: Bytes,
    },
    /// A request without an answer is written.
    Written {
        /// The number of the request.
        token: u64,
    },
    /// Authentication goes on when this is computed: [`Connection::handle_derived`].
    Derive(ScramProof),
}

enum Phase {
    Versions,
    Handshake,
    Authenticate(Exchange, u32),
    Ready,
}

/// A request whose answer has not come.
struct InFlight {
    correlation: i32,
    api: ApiKey,
    version: i16,
    token: u64,
}

/// See the module.
pub struct Connection {
    client_id: String,
    pinned: Option<KafkaRelease>,
    credentials: Option<Credentials>,
    nonce: String,
    phase: Phase,
    versions: BrokerVersions,
    input: Vec<u8>,
    output: VecDeque<Bytes>,
    /// How much of the first part of `output` is written.
    offset: usize,
    /// Bytes that were queued and written, since it was made.
    queued: u64,
    written: u64,
    in_flight: VecDeque<InFlight>,
    /// Requests without an answer, and where their last byte is.
    unanswered: VecDeque<(u64, u64)>,
    next_correlation: i32,
    /// The longest answer.
    max_frame: usize,
    events: VecDeque<ConnectionEvent>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("in_flight", &self.in_flight.len()).finish_non_exhaustive()
    }
}

impl Connection {
    /// Begins a connection. `nonce` is random, of printable characters without a comma.
    #[must_use]
    pub fn begin(
        client_id: &str,
        pinned: Option<KafkaRelease>,
        credentials: Option<Credentials>,
        nonce: String,
    ) -> Self {
        let mut connection = Self {
            client_id: client_id.to_owned(),
            pinned,
            credentials,
            nonce,
            phase: Phase::Versions,
            versions: BrokerVersions::default(),
            input: Vec::new(),
            output: VecDeque::new(),
            offset: 0,
            queued: 0,
            written: 0,
            in_flight: VecDeque::new(),
            unanswered: VecDeque::new(),
            next_correlation: 0,
            max_frame: MAX_FRAME,
            events: VecDeque::new(),
        };
        connection.put_request(0, ApiKey::ApiVersions, 3, messages::api_versions_request(3), true);
        connection
    }

    /// Accepts answers with so many bytes of records.
    pub(crate) fn accept_records(&mut self, bytes: usize) {
        self.max_frame = MAX_FRAME + bytes;
    }

    /// Whether requests can be sent.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready)
    }

    /// The number of requests whose answers have not come.
    #[must_use]
    pub fn requests_in_flight(&self) -> usize {
        self.in_flight.len() + self.unanswered.len()
    }

    /// The version of a request on this connection.
    ///
    /// # Errors
    /// The broker has none that this client implements.
    pub fn version(&self, api: ApiKey) -> Result<i16, ConnectionError> {
        self.versions.choose(api, self.pinned.as_ref()).map_err(ConnectionError::Versions)
    }

    /// Sends a request. Without `has_answer` [`ConnectionEvent::Written`] follows instead of an answer.
    pub(crate) fn send(&mut self, token: u64, api: ApiKey, version: i16, body: RequestBody, has_answer: bool) {
        self.put_request(token, api, version, body, has_answer);
    }

    fn put_request(&mut self, token: u64, api: ApiKey, version: i16, body: RequestBody, has_answer: bool) {
        let correlation = self.next_correlation;
        self.next_correlation = correlation.wrapping_add(1) & i32::MAX;
        // The client id is in the old form in every version.
        let mut header = Writer::new(false);
        header.i32(0);
        header.i16(api as i16);
        header.i16(version);
        header.i32(correlation);
        header.string(&self.client_id);
        if api.is_flexible(version) {
            header.bytes.push(0);
        }
        let len = header.bytes.len() + body.iter().map(Bytes::len).sum::<usize>();
        let size = i32::try_from(len - 4).unwrap_or(i32::MAX).to_be_bytes();
        if let Some(place) = header.bytes.get_mut(..4) {
            place.copy_from_slice(&size);
        }
        self.queued += len as u64;
        self.output.push_back(header.bytes.into());
        self.output.extend(body.into_iter().filter(|part| !part.is_empty()));
        if has_answer {
            self.in_flight.push_back(InFlight { correlation, api, version, token });
        } else {
            self.unanswered.push_back((self.queued, token));
        }
    }

    /// What is to be written.
    #[must_use]
    pub fn output(&self) -> Vec<IoSlice<'_>> {
        let mut skip = self.offset;
        let parts = self.output.iter().take(64);
        parts.map(|part| IoSlice::new(part.get(std::mem::take(&mut skip)..).unwrap_or_default())).collect()
    }

    /// Whether something is to be written.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Reports that `len` bytes of [`Connection::output`] are written.
    pub fn advance_output(&mut self, len: usize) {
        self.written += len as u64;
        self.offset += len;
        while let Some(first) = self.output.front()
            && self.offset >= first.len()
        {
            self.offset -= first.len();
            self.output.pop_front();
        }
        while let Some((end, token)) = self.unanswered.front().copied()
            && end <= self.written
        {
            self.unanswered.pop_front();
            self.events.push_back(ConnectionEvent::Written { token });
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ConnectionEvent> {
        self.events.pop_front()
    }

    /// Handles bytes of the broker.
    ///
    /// # Errors
    /// The connection can't be used any more.
    pub fn handle_input(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.input.extend_from_slice(bytes);
        let mut start = 0;
        while let Some((len, frame)) = self.next_frame(start)? {
            start += len;
            self.handle_frame(frame)?;
        }
        self.input.drain(..start);
        // An answer that was long must not keep its memory.
        if self.input.is_empty() && self.input.capacity() > 64 << 10 {
            self.input = Vec::new();
        }
        Ok(())
    }

    /// The frame that begins at `start`, if it is complete, and its length with its prefix.
    fn next_frame(&self, start: usize) -> Result<Option<(usize, Bytes)>, ConnectionError> {
        let input = self.input.get(start..).unwrap_or_default();
        let Some((prefix, rest)) = input.split_first_chunk::<4>() else { return Ok(None) };
        let declared = i32::from_be_bytes(*prefix);
        let limit = if self.is_ready() { self.max_frame } else { MAX_HANDSHAKE_FRAME };
        let len = usize::try_from(declared).ok().filter(|len| (4..=limit).contains(len));
        let len = len.ok_or(ConnectionError::FrameLength(declared))?;
        Ok(rest.get(..len).map(|frame| (len + 4, Bytes::copy_from_slice(frame))))
    }

    fn handle_frame(&mut self, frame: Bytes) -> Result<(), ConnectionError> {
        let request = self.in_flight.pop_front().ok_or(ConnectionError::Correlation)?;
        // The answer to ApiVersions has the old header in every version.
        let has_tags = request.api != ApiKey::ApiVersions && request.api.is_flexible(request.version);
        let mut header = Reader::new(&frame, has_tags);
        if header.i32()? != request.correlation {
            return Err(ConnectionError::Correlation);
        }
        header.skip_tags()?;
        let body = frame.slice(frame.len() - header.rest().len()..);
        match request.api {
            ApiKey::ApiVersions => self.handle_versions(request.version, &body),
            ApiKey::SaslHandshake => self.handle_handshake(&body),
            ApiKey::SaslAuthenticate => self.handle_authenticate(request.version, &body),
            _ => {
                let (token, version) = (request.token, request.version);
                self.events.push_back(ConnectionEvent::Answer { token, version, body });
                Ok(())
            }
        }
    }

    fn handle_versions(&mut self, version: i16, body: &[u8]) -> Result<(), ConnectionError> {
        let (error, versions) = messages::read_api_versions(version, body)?;
        if error == ErrorCode::UNSUPPORTED_VERSION && version > 0 {
            self.put_request(0, ApiKey::ApiVersions, 0, messages::api_versions_request(0), true);
            return Ok(());
        }
        if !error.is_none() {
            return Err(ConnectionError::Refused("the request for its versions", error.to_string()));
        }
        self.versions = versions;
        let Some(credentials) = &self.credentials else {
            self.phase = Phase::Ready;
            self.events.push_back(ConnectionEvent::Ready(None));
            return Ok(());
        };
        let request = messages::sasl_handshake_request(credentials.mechanism());
        let version = self.version(ApiKey::SaslHandshake)?;
        self.phase = Phase::Handshake;
        self.put_request(0, ApiKey::SaslHandshake, version, request, true);
        Ok(())
    }

    fn handle_handshake(&mut self, body: &[u8]) -> Result<(), ConnectionError> {
        let Some(credentials) = &self.credentials else { return Err(ConnectionError::Correlation) };
        let (error, mechanisms) = messages::read_sasl_handshake(body)?;
        if !error.is_none() {
            let mechanism = credentials.mechanism();
            let text = format!("{error} {mechanism}; the broker has: {}", mechanisms.join(", "));
            return Err(ConnectionError::Refused("the SASL mechanism", text));
        }
        let (exchange, message) = Exchange::begin(credentials, &self.nonce);
        self.phase = Phase::Authenticate(exchange, 0);
        self.put_sasl_message(&message)
    }

    fn put_sasl_message(&mut self, message: &[u8]) -> Result<(), ConnectionError> {
        let version = self.version(ApiKey::SaslAuthenticate)?;
        let request = messages::sasl_authenticate_request(version, message);
        self.put_request(0, ApiKey::SaslAuthenticate, version, request, true);
        Ok(())
    }

    fn handle_authenticate(&mut self, version: i16, body: &[u8]) -> Result<(), ConnectionError> {
        let response = messages::read_sasl_authenticate(version, body)?;
        let Phase::Authenticate(exchange, count) = &mut self.phase else { return Err(ConnectionError::Correlation) };
        if !response.error.is_none() {
            let message = response.error_message.unwrap_or_default();
            let text = format!("{} {message}", response.error);
            return Err(SaslError::Refused(text.trim_end().to_owned()).into());
        }
        *count += 1;
        if *count > MAX_SASL_MESSAGES {
            return Err(SaslError::Invalid("next").into());
        }
        match exchange.handle(&response.message)? {
            SaslStep::Done => {
                let lifetime = response.session_lifetime_ms;
                self.phase = Phase::Ready;
                self.credentials = None;
                self.events.push_back(ConnectionEvent::Ready((lifetime > 0).then(|| Duration::from_millis(lifetime))));
                Ok(())
            }
            SaslStep::Send(message) => self.put_sasl_message(&message),
            SaslStep::Derive(proof) => {
                self.events.push_back(ConnectionEvent::Derive(proof));
                Ok(())
            }
        }
    }

    /// Goes on with the authentication after [`ConnectionEvent::Derive`].
    ///
    /// # Errors
    /// The broker has no version of the request that this client implements.
    pub fn handle_derived(&mut self, derived: ScramDerived) -> Result<(), ConnectionError> {
        let Phase::Authenticate(exchange, _) = &mut self.phase else { return Ok(()) };
        let message = exchange.handle_derived(derived);
        self.put_sasl_message(&message)
    }
}

#[cfg(test)]
mod tests;
