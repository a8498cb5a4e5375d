//! One request of a caller: its header fields, its redirects, and its response or error.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use otelcore_http::Bytes;
use otelcore_http::h1::ResponseHead;
use otelcore_http::h1::client::{OutgoingRequest, StartRequestError};
use otelcore_pipeline::{
    CredentialsUnavailable, Metadata, MonotonicTime, OutgoingField, OutgoingHeaders, RequestProtocol,
};
use smallvec::SmallVec;

use crate::USER_AGENT;
use crate::config::HttpClientConfig;
use crate::proxy::Proxy;
use crate::url::Url;

/// The largest number of requests in a chain of redirects, as in Go.
const MAX_REDIRECT_REQUESTS: u8 = 10;
/// Header fields that are sent only to the host of the first URL and its subdomains.
const SENSITIVE_FIELDS: [&str; 5] = ["authorization", "www-authenticate", "cookie", "cookie2", "proxy-authorization"];
/// Fields about the framing of a body. The client sets them itself, so that a user's are left out, as in Go's client.
const FRAMING_FIELDS: [&str; 3] = ["content-length", "transfer-encoding", "trailer"];

/// The body of a request in parts, which are written one after another.
pub type BodyParts = SmallVec<[Bytes; 4]>;

/// The name and value of a header field.
pub type HeaderField = OutgoingField;

/// A request to make.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// GET, POST, ...
    pub method: Method,
    /// The URL, parsed once.
    pub url: Arc<Url>,
    /// Header fields besides those that the client adds: Host, User-Agent, Content-Length, the configured headers and the
    /// credentials. The client's configuration replaces a field of the same name.
    pub headers: Vec<HeaderField>,
    /// The body; empty for none.
    pub body: BodyParts,
    /// The deadline of the whole exchange; [`MonotonicTime::NEVER`] for none.
    pub deadline: MonotonicTime,
    /// The time limits of its parts.
    pub timeouts: HttpTimeouts,
    /// What happens with the body of the response.
    pub response: ResponseMode,
    /// The metadata of the telemetry in it, for the authenticator.
    pub metadata: Option<Arc<Metadata>>,
}

/// Time limits of the parts of an exchange; `None` is no limit beside the deadline of the whole exchange.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HttpTimeouts {
    /// For connecting to one of the addresses, in place of Go's 30 seconds.
    pub connect: Option<Duration>,
    /// From the begin of the request on the connection to the head of the response.
    pub head: Option<Duration>,
    /// For the next bytes of the response's body, while the caller takes what has arrived.
    pub idle: Option<Duration>,
}

/// What happens with the body of a response.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum ResponseMode {
    /// The first 64 KiB are returned with the response; what follows is discarded.
    #[default]
    Start,
    /// The whole body is returned with the response.
    Whole {
        /// A longer body is an error.
        max_bytes: usize,
    },
    /// The result is returned with the head; the body is read with [`super::HttpClient::read_body`].
    Streamed,
}

impl HttpRequest {
    /// A request without header fields, body, deadline and time limits, of whose response the start is returned.
    #[must_use]
    pub fn new(method: Method, url: Arc<Url>) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            body: BodyParts::new(),
            deadline: MonotonicTime::NEVER,
            timeouts: HttpTimeouts::default(),
            response: ResponseMode::default(),
            metadata: None,
        }
    }
}

/// A response.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    /// 200 to 999.
    pub status: u16,
    /// The body, as far as the request's [`ResponseMode`] asks for it.
    pub body: Bytes,
    pub(super) head: ResponseHead,
}

impl HttpResponse {
    /// The first header field of that name, ignoring case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.get(name)
    }

    /// `Content-Type` without parameters; empty if it is absent.
    #[must_use]
    pub fn media_type(&self) -> &[u8] {
        let field = self.header("content-type").unwrap_or_default();
        field.split(|b| *b == b';').next().unwrap_or_default().trim_ascii()
    }

    /// The first characters of the body, for errors and logs.
    #[must_use]
    pub fn body_start(&self) -> String {
        String::from_utf8_lossy(self.body.get(..self.body.len().min(80)).unwrap_or_default()).into_owned()
    }

    /// A response as if a peer had sent it.
    #[cfg(test)]
    pub(crate) fn for_tests(status: u16, content_type: &str, body: &str) -> Self {
        use otelcore_http::h1::client::{ClientResponse, H1ClientConn};
        struct Peer(std::io::Cursor<String>);
        impl std::io::Read for Peer {
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                self.0.read(buf)
            }
        }
        impl std::io::Write for Peer {
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                Ok(buf.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let length = body.len();
        let text =
            format!("HTTP/1.1 {status} x\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}");
        let mut conn = H1ClientConn::new(Peer(std::io::Cursor::new(text)), std::rc::Rc::default(), 0);
        let request =
            OutgoingRequest { method: "POST", target: "/", headers: [("Host", "h")], body: [], deadline: None };
        conn.start(0, request).unwrap();
        let _ = (conn.flush(0), conn.poll(0));
        let ClientResponse { status, head, body, .. } = conn.poll_response().unwrap().unwrap();
        Self { status, body, head }
    }
}

/// The type of a failure without a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HttpErrorKind {
    /// Name, connection, proxy, TLS, or an invalid response: may be retried.
    Network,
    /// The deadline has passed: may be retried.
    Timeout,
    /// The response is longer than [`ResponseMode::Whole`] permits.
    TooLarge,
    /// The request can't be made: credentials are missing, fields can't be sent, or there are too many redirects.
    InvalidRequest,
    /// The client was closed.
    Closed,
}

/// The error of a request without a response, with the text of Go's client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{operation} \"{url}\": {why}")]
pub struct HttpRequestError {
    /// The type of the failure.
    pub kind: HttpErrorKind,
    /// The method as Go writes it: `Post`.
    operation: String,
    url: String,
    why: String,
}

type HeaderFields = Vec<HeaderField>;

/// A request that has no result yet.
pub(super) struct PendingRequest {
    pub(super) token: u64,
    pub(super) request: HttpRequest,
    /// The first URL; credentials are for its host.
    first_url: Arc<Url>,
    fields: HeaderFields,
    target: String,
    /// Requests made for it, with those after redirects.
    request_count: u8,
    /// It was redirected to a host that the credentials are not for; from then on they are not sent.
    withhold_credentials: bool,
    /// It was sent again once, and must use a new connection.
    pub(super) resent: bool,
    /// The response, and the part of its body that has arrived, with [`ResponseMode::Whole`].
    pub(super) collected: Option<(HttpResponse, Vec<u8>)>,
}

impl PendingRequest {
    pub(super) fn new(token: u64, request: HttpRequest) -> Self {
        let first_url = request.url.clone();
        let (fields, target) = (HeaderFields::new(), String::new());
        Self {
            token,
            request,
            first_url,
            fields,
            target,
            request_count: 1,
            withhold_credentials: false,
            resent: false,
            collected: None,
        }
    }

    /// Whether its connection passes the body of the response on as it arrives.
    pub(super) fn takes_chunks(&self) -> bool {
        self.request.response != ResponseMode::Start
    }

    /// When the head of the response must be there, if its request begins now.
    pub(super) fn head_deadline(&self, now: MonotonicTime) -> MonotonicTime {
        self.request.timeouts.head.map_or(MonotonicTime::NEVER, |timeout| now + timeout)
    }

    /// When the next bytes of the response's body must be there.
    pub(super) fn idle_deadline(&self, now: MonotonicTime) -> MonotonicTime {
        self.request.timeouts.idle.map_or(MonotonicTime::NEVER, |timeout| now + timeout)
    }

    pub(super) fn error(&self, kind: HttpErrorKind, why: impl Into<String>) -> HttpRequestError {
        let mut operation = self.request.method.as_str().to_ascii_lowercase();
        operation.get_mut(..1).into_iter().for_each(str::make_ascii_uppercase);
        HttpRequestError { kind, operation, url: self.request.url.to_string(), why: why.into() }
    }

    /// The error for a passed deadline.
    pub(super) fn timeout_error(&self) -> HttpRequestError {
        let why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        self.error(HttpErrorKind::Timeout, why)
    }

    /// Writes its head. `proxy` is the proxy that the request itself is sent to, without a tunnel. `authorize` sets the
    /// credentials.
    pub(super) fn write_head(
        &mut self,
        settings: &HttpClientConfig,
        cookies: Option<String>,
        authorize: impl FnOnce(&mut OutgoingHeaders<'_>) -> Result<(), CredentialsUnavailable>,
        proxy: Option<&Proxy>,
    ) -> Result<(), String> {
        let url = &self.request.url;
        let mut host = url.authority().to_owned();
        let mut fields = HeaderFields::with_capacity(8);
        fields.push((Cow::Borrowed("User-Agent"), Cow::Borrowed(USER_AGENT)));
        fields.extend_from_slice(&self.request.headers);
        fields.extend(url.basic_authorization().map(|basic| (Cow::Borrowed("Authorization"), basic.into())));
        fields.extend(cookies.map(|cookies| (Cow::Borrowed("Cookie"), cookies.into())));
        if settings.disable_keep_alives {
            fields.push((Cow::Borrowed("Connection"), Cow::Borrowed("close")));
        }
        let mut fields = OutgoingHeaders::new(RequestProtocol::Http, self.request.metadata.as_deref(), fields);
        for (name, value) in &settings.headers.0 {
            let name = name.as_str();
            // A configured `host` applies to the host of the first URL only.
            let withheld = self.withhold_credentials && (SENSITIVE_FIELDS.contains(&name) || name == "host");
            if withheld || is_framing_field(name) {
                continue;
            }
            let value = std::str::from_utf8(value.as_bytes()).map_err(|_| "a configured header is not UTF-8")?;
            if name == "host" {
                value.clone_into(&mut host);
            } else {
                fields.set(name, value.to_owned());
            }
        }
        if !self.withhold_credentials {
            authorize(&mut fields).map_err(|e| e.0)?;
        }
        self.target = url.target().to_owned();
        if let Some(proxy) = proxy {
            self.target = format!("{}://{host}{}", url.scheme(), url.target());
            if let Some(credentials) = proxy.authorization() {
                fields.set("proxy-authorization", credentials);
            }
        }
        self.fields = vec![(Cow::Borrowed("Host"), host.into())];
        // As in Go's client, an authenticator changes neither the host nor the framing.
        let is_own = |name: &str| name.eq_ignore_ascii_case("host") || is_framing_field(name);
        self.fields.extend(fields.into_fields().into_iter().filter(|(name, _)| !is_own(name)));
        Ok(())
    }

    /// The request in the form of the protocol machine.
    pub(super) fn as_outgoing(
        &self,
    ) -> OutgoingRequest<'_, impl Iterator<Item = (&str, &str)>, impl Iterator<Item = Bytes> + use<'_>> {
        OutgoingRequest {
            method: self.request.method.as_str(),
            target: &self.target,
            headers: self.fields.iter().map(|(name, value)| (&**name, &**value)),
            body: self.request.body.iter().cloned(),
            deadline: (self.request.deadline != MonotonicTime::NEVER).then_some(self.request.deadline.0),
        }
    }

    pub(super) fn invalid_request(&self, why: StartRequestError) -> HttpRequestError {
        self.error(HttpErrorKind::InvalidRequest, format!("net/http: {why}"))
    }

    /// Follows a redirect. `None` if the response is not a redirect that is followed. Redirects that would turn another
    /// method into a GET without a body are not followed: the telemetry would be lost without an error.
    pub(super) fn follow_redirect(
        &mut self,
        status: u16,
        location: Option<&[u8]>,
    ) -> Option<Result<(), HttpRequestError>> {
        let keeps_method = match self.request.method {
            Method::GET | Method::HEAD => matches!(status, 301..=303 | 307 | 308),
            _ => matches!(status, 307 | 308),
        };
        let location = location.filter(|l| keeps_method && !l.is_empty())?;
        let text = String::from_utf8_lossy(location);
        let url = match self.request.url.join(&text) {
            Ok(url) => url,
            Err(e) => {
                let why = format!("failed to parse Location header {text:?}: {e}");
                return Some(Err(self.error(HttpErrorKind::InvalidRequest, why)));
            }
        };
        self.request.url = Arc::new(url);
        if self.request_count >= MAX_REDIRECT_REQUESTS {
            return Some(Err(
                self.error(HttpErrorKind::InvalidRequest, format!("stopped after {MAX_REDIRECT_REQUESTS} redirects"))
            ));
        }
        self.request_count += 1;
        self.withhold_credentials |= !is_same_or_subdomain(self.request.url.host(), self.first_url.host());
        self.resent = false;
        Some(Ok(()))
    }
}

fn is_framing_field(name: &str) -> bool {
    FRAMING_FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name))
}

fn is_same_or_subdomain(host: &str, domain: &str) -> bool {
    let is_name = |host: &str| host.parse::<std::net::IpAddr>().is_err();
    host == domain || is_name(host) && host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}
