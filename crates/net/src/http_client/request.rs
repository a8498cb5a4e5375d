//! One request of a caller: its header fields, its redirects, and its result.

use std::borrow::Cow;
use std::rc::Rc;

use otelcore_http::Bytes;
use otelcore_http::h1::ReplyHead;
use otelcore_http::h1::client::{NotReady, Outgoing};
use otelcore_pipeline::Mono;
use smallvec::SmallVec;

use super::{USER_AGENT, Url};
use crate::proxy::Proxy;
use crate::settings::HttpClient;

/// The largest number of requests in a chain of redirects, as in Go.
const MOST_HOPS: u8 = 10;
/// Header fields that are sent only to the host of the first URL and its subdomains.
const SENSITIVE: [&str; 5] = ["authorization", "www-authenticate", "cookie", "cookie2", "proxy-authorization"];
/// Fields about the framing of a body. The client sets them itself, so that a user's are left out, as in Go's client.
const FRAMING: [&str; 3] = ["content-length", "transfer-encoding", "trailer"];

/// A POST to make.
#[derive(Clone, Debug)]
pub struct NewRequest {
    /// The URL, parsed once.
    pub url: Rc<Url>,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Content-Encoding`, where the body has one.
    pub content_encoding: Option<&'static str>,
    /// The body in parts.
    pub body: SmallVec<[Bytes; 4]>,
    /// The deadline; [`Mono::NEVER`] for none.
    pub by: Mono,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// 200 to 999.
    pub status: u16,
    /// The first 64 KiB of the body.
    pub body: Bytes,
    pub(super) head: ReplyHead,
}

impl Response {
    /// The first header field of that name, ignoring case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.get(name)
    }
}

/// The kind of failure of a request without a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Name, connection, proxy, TLS, or an invalid response: may be retried.
    Network,
    /// The deadline has passed: may be retried.
    Timeout,
    /// The request can't be made: credentials are missing, fields can't be sent, or there are too many redirects.
    Request,
    /// The client was closed.
    Closed,
}

/// The error of a request without a response, with the text of Go's client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("Post \"{url}\": {why}")]
pub struct CallError {
    /// The kind of failure.
    pub fault: Fault,
    url: String,
    why: String,
}

type Fields = Vec<(Cow<'static, str>, String)>;

/// A request that has no result yet.
pub(super) struct Call {
    pub(super) token: u64,
    pub(super) new: NewRequest,
    /// The first URL; credentials are for its host.
    origin: Rc<Url>,
    fields: Fields,
    target: String,
    /// Requests made for it, with those after redirects.
    hops: u8,
    /// It was redirected to a host that the credentials are not for; from then on they are not sent.
    strange: bool,
    /// It was sent again once, and must use a new connection.
    pub(super) repeated: bool,
}

impl Call {
    pub(super) fn new(token: u64, new: NewRequest) -> Self {
        let origin = new.url.clone();
        let (fields, target) = (Fields::new(), String::new());
        Self { token, new, origin, fields, target, hops: 1, strange: false, repeated: false }
    }

    pub(super) fn error(&self, fault: Fault, why: impl Into<String>) -> CallError {
        CallError { fault, url: self.new.url.to_string(), why: why.into() }
    }

    /// The error for a passed deadline.
    pub(super) fn late(&self) -> CallError {
        let why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        self.error(Fault::Timeout, why)
    }

    /// Writes its head. `proxy` is the proxy that the request itself is sent to, without a tunnel.
    pub(super) fn prepare(
        &mut self,
        settings: &HttpClient,
        cookies: Option<String>,
        credentials: Vec<(String, String)>,
        proxy: Option<&Proxy>,
    ) -> Result<(), &'static str> {
        let url = &self.new.url;
        let mut fields = Fields::with_capacity(8);
        fields.push((Cow::Borrowed("Host"), url.authority().to_owned()));
        fields.push((Cow::Borrowed("User-Agent"), USER_AGENT.to_owned()));
        fields.push((Cow::Borrowed("Content-Type"), self.new.content_type.to_owned()));
        if let Some(encoding) = self.new.content_encoding {
            fields.push((Cow::Borrowed("Content-Encoding"), encoding.to_owned()));
        }
        fields.extend(url.basic().map(|basic| (Cow::Borrowed("Authorization"), basic)));
        fields.extend(cookies.map(|cookies| (Cow::Borrowed("Cookie"), cookies)));
        if settings.disable_keep_alives {
            fields.push((Cow::Borrowed("Connection"), "close".to_owned()));
        }
        for (name, value) in &settings.headers {
            let name = name.as_str();
            // A configured `host` applies to the host of the first URL only.
            let elsewhere = self.strange && (SENSITIVE.contains(&name) || name == "host");
            if elsewhere || FRAMING.contains(&name) {
                continue;
            }
            let value = std::str::from_utf8(value.as_bytes()).map_err(|_| "a configured header is not UTF-8")?;
            put(&mut fields, name, value.to_owned());
        }
        if !self.strange {
            for (name, value) in credentials {
                put(&mut fields, &name, value);
            }
        }
        self.target = url.target().to_owned();
        if let Some(proxy) = proxy {
            let host = fields.first().map_or("", |(_, host)| host);
            self.target = format!("{}://{host}{}", url.scheme(), url.target());
            if let Some(credentials) = proxy.authorization() {
                put(&mut fields, "proxy-authorization", credentials);
            }
        }
        self.fields = fields;
        Ok(())
    }

    /// Whether this request carries the authenticator's credentials.
    pub(super) fn wants_credentials(&self) -> bool {
        !self.strange
    }

    /// The request in the form of the protocol machine.
    pub(super) fn outgoing(
        &self,
    ) -> Outgoing<'_, impl Iterator<Item = (&str, &str)>, impl Iterator<Item = Bytes> + use<'_>> {
        Outgoing {
            method: "POST",
            target: &self.target,
            headers: self.fields.iter().map(|(name, value)| (&**name, &**value)),
            body: self.new.body.iter().cloned(),
            deadline: (self.new.by != Mono::NEVER).then_some(self.new.by.0),
        }
    }

    pub(super) fn refused(&self, why: NotReady) -> CallError {
        self.error(Fault::Request, format!("net/http: {why}"))
    }

    /// Follows a redirect. `None` if the response is not a redirect that is followed. Redirects that would turn a POST
    /// into a GET without a body are not followed: the telemetry would be lost without an error.
    pub(super) fn redirect(&mut self, status: u16, location: Option<&[u8]>) -> Option<Result<(), CallError>> {
        let location = location.filter(|l| matches!(status, 307 | 308) && !l.is_empty())?;
        let text = String::from_utf8_lossy(location);
        let url = match self.new.url.join(&text) {
            Ok(url) => url,
            Err(e) => {
                let why = format!("failed to parse Location header {text:?}: {e}");
                return Some(Err(self.error(Fault::Request, why)));
            }
        };
        self.new.url = Rc::new(url);
        if self.hops >= MOST_HOPS {
            return Some(Err(self.error(Fault::Request, format!("stopped after {MOST_HOPS} redirects"))));
        }
        self.hops += 1;
        self.strange |= !is_same_or_below(self.new.url.host(), self.origin.host());
        self.repeated = false;
        Some(Ok(()))
    }
}

/// Sets a field, and replaces one of the same name.
fn put(fields: &mut Fields, name: &str, value: String) {
    match fields.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
        Some((_, old)) => *old = value,
        None => fields.push((Cow::Owned(canonical(name)), value)),
    }
}

/// `X-Api-Key` for `x-api-key`, as Go writes names.
fn canonical(name: &str) -> String {
    let mut up = true;
    let letter = |c: char| {
        let c = if up { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
        up = c == '-';
        c
    };
    name.chars().map(letter).collect()
}

fn is_same_or_below(host: &str, of: &str) -> bool {
    let name = |host: &str| host.parse::<std::net::IpAddr>().is_err();
    host == of || name(host) && host.strip_suffix(of).is_some_and(|rest| rest.ends_with('.'))
}
