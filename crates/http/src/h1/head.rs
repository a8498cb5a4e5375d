//! Heads of requests and responses.
//!
//! A head is parsed once, when its blank line was received, and kept as the received bytes. Everything that a proxy in
//! front might read differently is refused: folded lines, mixed kinds of line ends, two lengths, a length together with
//! chunks.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

/// How many header fields are parsed without an allocation.
const INLINE_FIELDS: usize = 64;
/// Most header fields of a message. The length of the head limits their bytes; this limits the memory for their
/// positions.
const MAX_FIELDS: usize = 1024;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// Why a head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadError {
    Malformed,
    TooLarge,
    Version,
    NoHost,
    Length,
    TransferEncoding,
    BothLengths,
    Http2,
    Tls,
}

impl HeadError {
    pub(crate) fn status_and_text(self) -> (u16, &'static str) {
        match self {
            Self::Malformed | Self::Http2 | Self::Tls => (400, "400 Bad Request"),
            Self::TooLarge => (431, "431 Request Header Fields Too Large"),
            Self::Version => (505, "505 HTTP Version Not Supported: unsupported protocol version"),
            Self::NoHost => (400, "400 Bad Request: missing required Host header"),
            Self::Length => (400, "400 Bad Request: invalid Content-Length"),
            Self::TransferEncoding => (501, "501 Not Implemented: unsupported transfer encoding"),
            Self::BothLengths => (400, "400 Bad Request: Content-Length beside Transfer-Encoding"),
        }
    }
}

/// Collects a head until its blank line.
#[derive(Debug)]
pub(super) struct HeadBuffer {
    bytes: Vec<u8>,
    max: usize,
    /// Whether the first line ends in a line feed alone; `None` until it has ended. If so, all lines must, as in Go. If
    /// not, a line feed alone is refused: a proxy may have treated it as a part of a value.
    ends_in_bare_lf: Option<bool>,
}

impl HeadBuffer {
    pub(super) fn new(max: usize) -> Self {
        Self { bytes: Vec::new(), max, ends_in_bare_lf: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes input up to the end of the head; returns the head when it is complete.
    pub(super) fn read_request_head(&mut self, input: &mut &[u8]) -> Result<Option<RequestHead>, HeadError> {
        // Empty lines before a request line are ignored (RFC 9112, 2.2).
        while self.bytes.is_empty() || self.bytes == b"\r" {
            match (input.split_first(), self.bytes.is_empty()) {
                (Some((b'\r', rest)), true) => {
                    self.bytes.push(b'\r');
                    *input = rest;
                }
                (Some((b'\n', rest)), false) => {
                    self.bytes.clear();
                    *input = rest;
                }
                (Some((first, _)), true) if is_token_byte(*first) => break,
                // Another protocol, in which a blank line may never arrive. A handshake of TLS begins with 0x16.
                (Some((0x16, _)), true) => return Err(HeadError::Tls),
                (Some(_), true) => return Err(HeadError::Malformed),
                (Some(_), false) => return Err(HeadError::Malformed),
                (None, _) => return Ok(None),
            }
        }
        let Some(head) = self.collect(input)? else { return Ok(None) };
        if head == PREFACE { Err(HeadError::Http2) } else { RequestHead::parse(head).map(Some) }
    }

    /// Takes input up to and including the first blank line.
    pub(super) fn collect(&mut self, input: &mut &[u8]) -> Result<Option<Bytes>, HeadError> {
        let old = self.bytes.len();
        let space = (self.max + 1).saturating_sub(old);
        let piece = input.get(..input.len().min(space)).unwrap_or_default();
        self.bytes.extend_from_slice(piece);
        if self.ends_in_bare_lf.is_none() {
            let line_feed = piece.iter().position(|b| *b == b'\n').map(|at| old + at);
            let before = line_feed.map(|at| at.checked_sub(1).and_then(|before| self.bytes.get(before)));
            self.ends_in_bare_lf = before.map(|before| before != Some(&b'\r'));
        }
        let blank_line: &[u8] = if self.ends_in_bare_lf == Some(true) { b"\n\n" } else { b"\r\n\r\n" };
        // The blank line may begin in the old bytes and end in the new ones.
        let from = old.saturating_sub(blank_line.len() - 1);
        let tail = self.bytes.get(from..).unwrap_or_default();
        let end = tail.windows(blank_line.len()).position(|w| w == blank_line).map(|at| from + at + blank_line.len());
        match end {
            Some(end) if end <= self.max => {
                self.ends_in_bare_lf = None;
                *input = input.get(end - old..).unwrap_or_default();
                self.bytes.truncate(end);
                Ok(Some(std::mem::take(&mut self.bytes).into()))
            }
            // Mixed kinds of line ends are refused at once, without waiting for the end of the head.
            None if self.ends_in_bare_lf == Some(true) && piece.contains(&b'\r') => Err(HeadError::Malformed),
            _ if self.bytes.len() > self.max => Err(HeadError::TooLarge),
            _ => {
                *input = &[];
                Ok(None)
            }
        }
    }

    /// The received bytes of an incomplete head.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The bytes of a head and the positions of its fields in them.
#[derive(Clone, Default)]
struct ParsedFields {
    raw: Bytes,
    ranges: FieldRanges,
}

/// Name and value of each field, as ranges in the head.
type FieldRanges = SmallVec<[(Range<usize>, Range<usize>); 12]>;

fn field_ranges(raw: &[u8], headers: &[httparse::Header<'_>]) -> FieldRanges {
    headers.iter().map(|h| (range_in(raw, h.name.as_bytes()), range_in(raw, h.value))).collect()
}

impl ParsedFields {
    fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.ranges.iter().map(|(n, v)| (self.str(n), self.bytes(v)))
    }

    fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    /// Whether the connection is kept after this message.
    fn keep_alive(&self, version: u8) -> bool {
        let has_token = |word: &[u8]| {
            self.iter()
                .filter(|(n, _)| n.eq_ignore_ascii_case("connection"))
                .flat_map(|(_, v)| v.split(|b| *b == b','))
                .any(|w| w.trim_ascii().eq_ignore_ascii_case(word))
        };
        if version == 0 { has_token(b"keep-alive") && !has_token(b"close") } else { !has_token(b"close") }
    }

    fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.raw.get(range.clone()).unwrap_or_default()
    }

    fn str(&self, range: &Range<usize>) -> &str {
        std::str::from_utf8(self.bytes(range)).unwrap_or_default()
    }

    /// Declared length and whether the body is chunked: RFC 9112, 6.1 and 6.3, in the strictest reading.
    fn framing(&self, version: u8) -> Result<(Option<u64>, bool), HeadError> {
        let (mut length, mut codings) = (None, 0);
        for (name, value) in self.iter() {
            if name.eq_ignore_ascii_case("content-length") {
                // Only digits: no sign, no list, no space. Nineteen digits cannot overflow.
                let digits = !value.is_empty() && value.len() <= 19 && value.iter().all(u8::is_ascii_digit);
                let n =
                    value.iter().fold(0, |n: u64, d| n.wrapping_mul(10).wrapping_add(u64::from(d.wrapping_sub(b'0'))));
                if !digits || length.is_some_and(|l| l != n) {
                    return Err(HeadError::Length);
                }
                length = Some(n);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                codings += 1;
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadError::TransferEncoding);
                }
            }
        }
        if codings > 1 {
            return Err(HeadError::TransferEncoding);
        }
        if codings == 1 && (length.is_some() || version == 0) {
            return Err(HeadError::BothLengths);
        }
        Ok((length, codings == 1))
    }
}

/// The range of `part` in `raw`.
fn range_in(raw: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(raw.as_ptr() as usize);
    start..start + part.len()
}

/// A byte of a token (RFC 9110, 5.6.2); methods are tokens.
fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// httparse accepts a bare LF as a line end; another parser on the path may not.
fn has_bare_lf(raw: &[u8]) -> bool {
    raw.iter().zip(std::iter::once(&0).chain(raw.iter())).any(|(b, before)| *b == b'\n' && *before != b'\r')
}

/// Mixed kinds of line ends, or a CR that is not part of a line end.
fn has_mixed_line_ends(raw: &[u8]) -> bool {
    has_bare_lf(raw) && raw.contains(&b'\r')
}

/// Parses with space for [`INLINE_FIELDS`] fields; if there are more, again with space for as many as the head has
/// lines, [`MAX_FIELDS`] at most.
fn parse_with_fields<'b, T>(
    raw: &'b [u8],
    mut parse: impl FnMut(&mut [httparse::Header<'b>]) -> Result<T, httparse::Error>,
) -> Result<T, HeadError> {
    let mut parsed = parse(&mut [httparse::EMPTY_HEADER; INLINE_FIELDS]);
    if matches!(parsed, Err(httparse::Error::TooManyHeaders)) {
        let lines = raw.iter().filter(|b| **b == b'\n').count();
        parsed = parse(&mut vec![httparse::EMPTY_HEADER; lines.min(MAX_FIELDS)]);
    }
    parsed.map_err(|e| match e {
        httparse::Error::TooManyHeaders => HeadError::TooLarge,
        httparse::Error::Version => HeadError::Version,
        _ => HeadError::Malformed,
    })
}

/// Request line and header fields.
#[derive(Clone)]
pub struct RequestHead {
    fields: ParsedFields,
    method: Range<usize>,
    target: Range<usize>,
    path: Range<usize>,
    query: Option<Range<usize>>,
    version: u8,
    length: Option<u64>,
    chunked: bool,
}

impl std::fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be secrets, so they are left out.
        f.debug_struct("RequestHead").field("method", &self.method()).field("target", &self.target()).finish()
    }
}

impl RequestHead {
    /// `GET`, `POST`, ...: case-sensitive.
    #[must_use]
    pub fn method(&self) -> &str {
        self.fields.str(&self.method)
    }

    /// The request target as received.
    #[must_use]
    pub fn target(&self) -> &str {
        self.fields.str(&self.target)
    }

    /// The path of the target, `/` if it has none, not decoded.
    #[must_use]
    pub fn path(&self) -> &str {
        if self.path.is_empty() { "/" } else { self.fields.str(&self.path) }
    }

    /// The path with escapes decoded; routes are compared with this.
    #[must_use]
    pub fn decoded_path(&self) -> Cow<'_, [u8]> {
        let path = self.path().as_bytes();
        if path.contains(&b'%') { Cow::Owned(crate::status::percent_decode_bytes(path)) } else { Cow::Borrowed(path) }
    }

    /// The cleaned target for a path with empty or dotted segments, as in Go's ServeMux, including its query, for
    /// `Location`. `None` for a path that is clean, and for a result that a browser could read as a URL of another
    /// host.
    #[must_use]
    pub fn cleaned_target(&self) -> Option<String> {
        let path = self.path();
        let mut segments = Vec::new();
        for segment in path.strip_prefix('/')?.split('/') {
            match segment {
                "" | "." => {}
                ".." => drop(segments.pop()),
                segment => segments.push(segment),
            }
        }
        let mut cleaned = format!("/{}", segments.join("/"));
        if path.ends_with('/') && cleaned.len() > 1 {
            cleaned.push('/');
        }
        let is_plain = cleaned.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@".contains(&b));
        if cleaned == path || !is_plain {
            return None;
        }
        if let Some(query) = self.query() {
            cleaned.push('?');
            cleaned.push_str(query);
        }
        Some(cleaned)
    }

    /// The query: what follows `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.as_ref().map(|q| self.fields.str(q))
    }

    /// About how many bytes of memory the head takes.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        self.fields.raw.len() + self.fields.ranges.len() * size_of::<(Range<usize>, Range<usize>)>()
    }

    /// The minor version, 0 or 1, of HTTP/1; 2 for HTTP/2.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.version
    }

    /// The first header field of that name, in any case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields.get(name)
    }

    /// The media type of `Content-Type` without parameters, as received; empty if there is none.
    #[must_use]
    pub fn media_type(&self) -> &[u8] {
        let value = self.get("content-type").unwrap_or_default();
        value.split(|b| *b == b';').next().unwrap_or_default().trim_ascii()
    }

    /// All header fields in order, names as received.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter()
    }

    /// `Content-Length`, if there is one.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.length
    }

    /// Whether the body is chunked; never with HTTP/2, which uses frames instead.
    #[must_use]
    pub fn is_chunked(&self) -> bool {
        self.chunked
    }

    pub(crate) fn expects_continue(&self) -> bool {
        self.version != 0 && self.get("expect").is_some_and(|v| v.eq_ignore_ascii_case(b"100-continue"))
    }

    pub(super) fn wants_keep_alive(&self) -> bool {
        self.fields.keep_alive(self.version)
    }

    fn parse(raw: Bytes) -> Result<Self, HeadError> {
        if has_mixed_line_ends(&raw) {
            return Err(HeadError::Malformed);
        }
        let (method, target_range, version, at) = parse_with_fields(&raw, |fields| {
            let mut parsed = httparse::Request::new(fields);
            if parsed.parse(&raw)? != httparse::Status::Complete(raw.len()) {
                return Err(httparse::Error::NewLine);
            }
            let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
                return Err(httparse::Error::Token);
            };
            let (method, target) = (range_in(&raw, method.as_bytes()), range_in(&raw, target.as_bytes()));
            Ok((method, target, version, field_ranges(&raw, parsed.headers)))
        })?;
        let fields = ParsedFields { raw: raw.clone(), ranges: at };
        let (path, query) = split_target(fields.str(&target_range), target_range.start)?;
        let (length, chunked) = fields.framing(version)?;
        let hosts = fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case("host")).count();
        if hosts > 1 || hosts == 0 && version == 1 {
            return Err(HeadError::NoHost);
        }
        Ok(Self { fields, method, target: target_range, path, query, version, length, chunked })
    }

    /// The head of an HTTP/2 request. `:authority` becomes the `host` field.
    #[cfg(feature = "grpc")]
    pub(crate) fn from_parts(parts: &http::request::Parts) -> Result<Self, HeadError> {
        let (mut raw, mut at) = (Vec::with_capacity(512), SmallVec::new());
        let mut append = |bytes: &[u8]| {
            let start = raw.len();
            raw.extend_from_slice(bytes);
            start..raw.len()
        };
        let method = append(parts.method.as_str().as_bytes());
        let authority = parts.uri.authority().map_or("", |a| a.as_str());
        let path_and_query = parts.uri.path_and_query().map_or("", |p| p.as_str());
        let target = if path_and_query.is_empty() { authority } else { path_and_query };
        let target_range = append(target.as_bytes());
        let (path, query) = split_target(target, target_range.start)?;
        if !authority.is_empty() {
            at.push((append(b"host"), append(authority.as_bytes())));
        }
        for (name, value) in &parts.headers {
            if name == http::header::HOST && !authority.is_empty() {
                // RFC 9113, 8.3.1: `host` and `:authority` must not name different hosts.
                if !value.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) {
                    return Err(HeadError::Malformed);
                }
                continue;
            }
            at.push((append(name.as_str().as_bytes()), append(value.as_bytes())));
        }
        let fields = ParsedFields { raw: raw.into(), ranges: at };
        let (length, chunked) = fields.framing(2)?;
        Ok(Self { fields, method, target: target_range, path, query, version: 2, length, chunked })
    }
}

/// Path and query of a target in origin, absolute or asterisk form (RFC 9112, 3.2).
fn split_target(target: &str, start: usize) -> Result<(Range<usize>, Option<Range<usize>>), HeadError> {
    let lower = |n: usize| target.get(..n).map(str::to_ascii_lowercase);
    let skip = if target.starts_with('/') || target == "*" {
        0
    } else if lower(7).as_deref() == Some("http://") || lower(8).as_deref() == Some("https://") {
        let authority = target.find("//").map_or(0, |at| at + 2);
        let after = target.get(authority..).unwrap_or_default();
        authority + after.find(['/', '?']).unwrap_or(after.len())
    } else {
        return Err(HeadError::Malformed);
    };
    let rest = target.get(skip..).unwrap_or_default();
    let end = rest.find('?').unwrap_or(rest.len());
    let begin = start + skip;
    let query = (end < rest.len()).then(|| begin + end + 1..begin + rest.len());
    Ok((begin..begin + end, query))
}

/// Status line and header fields of a received response.
#[derive(Clone, Default)]
pub struct ResponseHead {
    fields: ParsedFields,
    pub(super) status: u16,
    version: u8,
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
}

impl std::fmt::Debug for ResponseHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be secrets, so they are left out.
        f.debug_list().entries(self.headers().map(|(name, _)| name)).finish()
    }
}

impl ResponseHead {
    /// The first header field of that name, in any case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields.get(name)
    }

    /// All header fields in order, names as received.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter()
    }

    pub(super) fn wants_keep_alive(&self) -> bool {
        self.fields.keep_alive(self.version)
    }

    /// `is_connect`: with a 2xx the connection is a tunnel, and the fields about a body are ignored (RFC 9110, 9.3.6).
    pub(super) fn parse(raw: Bytes, tunnel: bool) -> Result<Self, HeadError> {
        // httparse ignores leading empty lines, which are only allowed before requests.
        if has_bare_lf(&raw) || !raw.starts_with(b"HTTP/1.") {
            return Err(HeadError::Malformed);
        }
        let (status, version, at) = parse_with_fields(&raw, |fields| {
            let mut parsed = httparse::Response::new(fields);
            if parsed.parse(&raw)? != httparse::Status::Complete(raw.len()) {
                return Err(httparse::Error::NewLine);
            }
            let (Some(status @ 100..), Some(version)) = (parsed.code, parsed.version) else {
                return Err(httparse::Error::Status);
            };
            Ok((status, version, field_ranges(&raw, parsed.headers)))
        })?;
        let fields = ParsedFields { raw: raw.clone(), ranges: at };
        let (length, chunked) = match status {
            200..300 if tunnel => (None, false),
            _ => fields.framing(version)?,
        };
        Ok(Self { fields, status, version, length, chunked })
    }
}

/// Whether responses with this status have a body (RFC 9110, 6.4.1).
pub(crate) fn may_have_body(status: u16) -> bool {
    !matches!(status, 100..=199 | 204 | 304)
}

pub(super) fn encode_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}
