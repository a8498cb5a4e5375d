//! One request of a caller: its header fields, its redirects, and what became of it.

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

/// Requests in a row before a chain of redirects is given up, as in Go.
const MOST_HOPS: u8 = 10;
/// What goes to no other host than the one it is meant for.
const SENSITIVE: [&str; 5] = ["authorization", "www-authenticate", "cookie", "cookie2", "proxy-authorization"];
/// Fields about the framing of a body; ours to say, so that a user's are left out, as Go's client does.
const FRAMING: [&str; 3] = ["content-length", "transfer-encoding", "trailer"];

/// A POST to make.
#[derive(Clone, Debug)]
pub struct NewRequest {
    /// Where to, parsed once.
    pub url: Rc<Url>,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Content-Encoding`, where the body has one.
    pub content_encoding: Option<&'static str>,
    /// The body in parts.
    pub body: SmallVec<[Bytes; 4]>,
    /// When to give up; [`Mono::NEVER`] is never.
    pub by: Mono,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// 200 to 999.
    pub status: u16,
    /// The first 64 KiB of the body.
    pub body: Bytes,
    pub(super) head: ReplyHead,
}

impl Response {
    /// The first header field of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.get(name)
    }
}

/// Whose fault it is that there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Name, connection, proxy, TLS, or an answer that is none: worth another attempt.
    Network,
    /// Its time was over: worth another attempt.
    Timeout,
    /// The request can't be made: credentials that are not there, fields that can't be sent, redirects without end.
    Request,
    /// The client was closed.
    Closed,
}

/// A request without an answer, in the words of Go's client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("Post \"{url}\": {why}")]
pub struct CallError {
    /// Whose fault it is.
    pub fault: Fault,
    url: String,
    why: String,
}

type Fields = Vec<(Cow<'static, str>, String)>;

/// A request on its way.
pub(super) struct Call {
    pub(super) token: u64,
    pub(super) new: NewRequest,
    /// The first URL; credentials are for its host.
    origin: Rc<Url>,
    fields: Fields,
    target: String,
    /// Requests made for it, redirects included.
    hops: u8,
    /// Once at a host that credentials are not for, they are not sent again.
    strange: bool,
    /// It was sent again once; only a connection that has not served before will do.
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

    /// Its time is over.
    pub(super) fn late(&self) -> CallError {
        let why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        self.error(Fault::Timeout, why)
    }

    /// Writes its head. `proxy` is the one that takes requests, not tunnels.
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
            // A host that was set is that of the first URL.
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

    /// Whether the authenticator is to be asked for this request.
    pub(super) fn wants_credentials(&self) -> bool {
        !self.strange
    }

    /// The request as the machine wants it.
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

    /// Goes where an answer sends it. `None` when the answer is the last one. Answers that would turn a POST into a GET
    /// without a body are last ones: following them would lose the telemetry in silence.
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

/// Sets a field, in place of one of that name.
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
