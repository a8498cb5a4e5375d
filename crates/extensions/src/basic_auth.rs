//! The `basicauth` extension: user names and passwords (RFC 7617), checked by servers or sent by clients.
//!
//! One extension serves one side: `htpasswd` makes it an authenticator of servers, `client_auth` one of clients. No
//! password and no hash is ever put into a message.

mod htpasswd;
mod users;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use otelcore_config::{ComponentId, Effective, Section};
use otelcore_pipeline::{
    About, Authentication, Build, CheckStep, ClientAuth, Component, CredentialCheck, Cx, Extension, Factory, Field,
    Kind, Logger, Mono, ServerAuth, Settings, StartError,
};

use self::users::{Begun, Credentials, Looked, Users};
use crate::Secret;
use crate::watched::Watched;

/// As in Go, padding is required, and unused bits at the end may be set.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Settings of a `basicauth`.
#[derive(Clone, Debug)]
pub enum BasicAuth {
    /// Servers check the credentials of clients.
    Server(Htpasswd),
    /// Clients send credentials.
    Client(ClientCredentials),
}

/// The sources of a server's users; at least one of the two is not empty.
#[derive(Clone, Debug)]
pub struct Htpasswd {
    /// A file, read at the start.
    pub file: String,
    /// Lines that take precedence over those of the file.
    pub inline: Secret,
}

/// The credentials of a client.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    /// The user, without a colon.
    pub username: Source,
    /// The password.
    pub password: Source,
}

/// A text, or the file that contains it.
#[derive(Clone, Debug)]
pub enum Source {
    /// The text from the configuration.
    Text(Secret),
    /// A path; the file may change at any time.
    File(String),
}

/// Makes `basicauth` extensions.
#[derive(Debug)]
pub struct BasicAuthFactory;

/// The shortest time between two warnings that credentials are refused unchecked.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// The answer to a client whose credentials are wrong or not checked.
const INVALID: &str = "invalid credentials";

const NO_SOURCE: &str = "no credential source provided";

impl Factory for BasicAuthFactory {
    fn about(&self) -> About {
        About { kind: Kind::Extension, type_name: "basicauth", aliases: &[], signals: &[], stability: "Beta" }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn Settings>> {
        let (mut server, mut client) = (s.section("htpasswd"), s.section("client_auth"));
        let sides = (!server.is_empty(), !client.is_empty());
        let htpasswd = Htpasswd { file: server.str("file", ""), inline: Secret::take(&mut server, "inline") };
        server.finish();
        client.unsupported(
            "aws_secrets_manager",
            "credentials from AWS Secrets Manager are not built; mount the secret and name `username_file` and `password_file`",
        );
        let elsewhere = client.has("aws_secrets_manager");
        let credentials = ClientCredentials {
            username: Source::take(Secret::trimmed(client.str("username", "")), client.str("username_file", "")),
            password: Source::take(Secret::take(&mut client, "password"), client.str("password_file", "")),
        };
        if let Source::Text(name) = &credentials.username
            && no_colon(name).is_err()
        {
            client
                .start_error("username", "invalid authorization format")
                .hint("a user name has no colon, which would end it (RFC 7617)");
        }
        client.finish();
        // An absent section is shown as null, so that the output of print-config is a valid configuration.
        for (key, _) in [("htpasswd", sides.0), ("client_auth", sides.1)].into_iter().filter(|(_, written)| !written) {
            s.record(key, Effective::Null);
        }
        let settings = match sides {
            (true, true) => {
                s.error_of(&[], "only one of `htpasswd` or `client_auth` can be specified");
                None
            }
            (true, false) if !htpasswd.file.is_empty() || !htpasswd.inline.is_empty() => {
                Some(BasicAuth::Server(htpasswd))
            }
            (false, true) if !credentials.username.is_empty() || !credentials.password.is_empty() => {
                Some(BasicAuth::Client(credentials))
            }
            _ => {
                if !elsewhere {
                    s.error_of(&["htpasswd", "client_auth"], NO_SOURCE)
                        .hint("write `htpasswd` for servers, `client_auth` for clients");
                }
                None
            }
        };
        s.finish();
        settings.map(|settings| Box::new(settings) as Box<dyn Settings>)
    }
}

impl Source {
    fn take(text: Secret, file: String) -> Self {
        if file.is_empty() { Self::Text(text) } else { Self::File(file) }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }
}

impl Settings for BasicAuth {
    fn create(&self, build: &Build<'_>) -> Result<Component, StartError> {
        let log = build.log.clone();
        Ok(Component::Extension(match self {
            Self::Server(htpasswd) => Box::new(Serving {
                htpasswd: htpasswd.clone(),
                auth: Server(Rc::new(ServerState { users: RefCell::default(), warned: Cell::new(None), log })),
            }),
            Self::Client(credentials) => Box::new(Asking(Rc::new(Client {
                username: Current::new(&credentials.username, log.clone(), username),
                password: Current::new(&credentials.password, log, filled),
            }))),
        }))
    }
}

// ---- servers --------------------------------------------------------------------------------------------------------

struct Serving {
    htpasswd: Htpasswd,
    auth: Server,
}

/// Shared with the checks that have not ended.
#[derive(Clone)]
struct Server(Rc<ServerState>);

struct ServerState {
    users: RefCell<Users>,
    /// The time of the last warning that credentials are refused unchecked.
    warned: Cell<Option<Mono>>,
    log: Logger,
}

impl Extension for Serving {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let mut users = Users::new(std::array::from_fn(|_| cx.rand()));
        if !self.htpasswd.file.is_empty() {
            let text = cx.read(&self.htpasswd.file).map_err(|e| StartError(format!("open htpasswd file: {e}")))?;
            self.add(&mut users, &text, "file");
        }
        // Added last, so that it takes precedence over the file.
        self.add(&mut users, self.htpasswd.inline.expose().as_bytes(), "inline");
        if users.is_empty() {
            self.auth.0.log.warn("htpasswd has no users: everyone is refused", &[]);
        }
        self.auth.0.users.replace(users);
        Ok(())
    }

    fn server_auth(&self) -> Option<Rc<dyn ServerAuth>> {
        Some(Rc::new(self.auth.clone()))
    }
}

impl Serving {
    fn add(&self, users: &mut Users, text: &[u8], source: &str) {
        let log = &self.auth.0.log;
        for (number, line) in (1..).zip(text.split(|b| *b == b'\n')) {
            let at = [("source", Field::Str(source)), ("line", Field::Uint(number))];
            match htpasswd::line(line) {
                Ok(None) => {}
                Ok(Some((user, hash))) => {
                    if hash.is_heavy() {
                        log.warn("the hash of a user takes long to check, and requests with other new credentials wait for that", &at);
                    }
                    users.add(user, hash);
                }
                Err(why) => log.warn("a line of htpasswd was left out", &[at[0], at[1], ("error", Field::Str(why))]),
            }
        }
    }
}

impl ServerAuth for Server {
    fn authenticate<'h>(&self, cx: &mut Cx<'_>, header: &dyn Fn(&str) -> Option<Cow<'h, [u8]>>) -> Authentication {
        let credentials = match credentials(header("authorization")) {
            Ok(credentials) => credentials,
            Err(refused) => return Authentication::Refused(refused.to_owned()),
        };
        let (user, password) = credentials;
        let looked = self.0.users.borrow().look(cx.now(), &user, &password);
        match looked {
            Looked::Known(right) => result(right).into(),
            Looked::TooMany => self.0.refuse_unchecked(cx.now()).into(),
            Looked::Unknown(digest) => Authentication::Pending(Box::new(PasswordCheck {
                credentials: Credentials { user, password, digest },
                server: self.0.clone(),
            })),
        }
    }
}

/// The user and password in a header field.
fn credentials(value: Option<Cow<'_, [u8]>>) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
    let value = value.filter(|value| !value.is_empty()).ok_or("no basic auth provided")?;
    let encoded = match value.split_at_checked(6) {
        Some((scheme, encoded)) if scheme.eq_ignore_ascii_case(b"Basic ") => encoded,
        _ => return Err("invalid authorization scheme prefix"),
    };
    let decoded = BASE64.decode(encoded).map_err(|_| "invalid authorization format")?;
    let (user, password) = htpasswd::cut(&decoded).ok_or("invalid authorization format")?;
    Ok((user.to_owned(), password.to_owned()))
}

fn result(right: bool) -> Result<(), String> {
    if right { Ok(()) } else { Err(INVALID.to_owned()) }
}

impl ServerState {
    /// The answer to credentials that are not checked. Logs a warning, at most once per [`WARN_EVERY`].
    fn refuse_unchecked(&self, now: Mono) -> Result<(), String> {
        if self.warned.get().is_none_or(|last| now.since(last) >= WARN_EVERY) {
            self.warned.set(Some(now));
            self.log.warn("too many wrong passwords: for now, credentials that were not seen before are refused", &[]);
        }
        result(false)
    }
}

/// Credentials of a user with a slow hash, not seen before.
struct PasswordCheck {
    credentials: Credentials,
    server: Rc<ServerState>,
}

impl CredentialCheck for PasswordCheck {
    fn credentials(&self) -> [u8; 32] {
        self.credentials.digest
    }

    fn begin(&self, cx: &mut Cx<'_>) -> CheckStep {
        let begun = self.server.users.borrow_mut().begin(cx.now(), &self.credentials);
        match begun {
            Begun::Known(right) => CheckStep::Ended(result(right)),
            Begun::TooMany => CheckStep::Ended(self.server.refuse_unchecked(cx.now())),
            Begun::Verify(hash) => {
                let password = self.credentials.password.clone();
                CheckStep::Compute(Box::new(move || hash.verify(&password)))
            }
        }
    }

    fn end(&self, cx: &mut Cx<'_>, right: bool) -> Result<(), String> {
        self.server.users.borrow_mut().end(cx.now(), &self.credentials, right);
        result(right)
    }
}

// ---- clients --------------------------------------------------------------------------------------------------------

struct Asking(Rc<Client>);

struct Client {
    username: Current,
    password: Current,
}

/// A source and its current value.
enum Current {
    Text(Secret),
    File(String, Watched<Secret>),
}

/// The content of a credentials file, which must not be empty.
fn filled(text: &str) -> Result<Secret, String> {
    let text = text.trim();
    if text.is_empty() { Err("credentials file is empty".to_owned()) } else { Ok(Secret::from(text.to_owned())) }
}

fn username(text: &str) -> Result<Secret, String> {
    filled(text).and_then(|name| no_colon(&name).map(|()| name))
}

/// The colon ends the user name, so a name can't contain one (RFC 7617).
fn no_colon(name: &Secret) -> Result<(), String> {
    if name.expose().contains(':') { Err("invalid authorization format".to_owned()) } else { Ok(()) }
}

impl Current {
    fn new(source: &Source, log: Logger, parse: fn(&str) -> Result<Secret, String>) -> Self {
        match source {
            Source::Text(text) => Self::Text(text.clone()),
            Source::File(path) => Self::File(path.clone(), Watched::new(path, "refresh credentials", log, parse)),
        }
    }

    fn open(&self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        match self {
            Self::Text(_) => Ok(()),
            Self::File(path, file) => {
                file.open(cx).map_err(|e| StartError(format!("failed to read credentials file {path:?}: {e}")))
            }
        }
    }

    fn get(&self, cx: &mut Cx<'_>) -> Result<Secret, String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(_, file) => file.get(cx).map(|value| (*value).clone()).ok_or_else(|| NO_SOURCE.to_owned()),
        }
    }
}

impl Extension for Asking {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        if let Current::Text(name) = &self.0.username {
            no_colon(name).map_err(StartError)?;
        }
        self.0.username.open(cx)?;
        self.0.password.open(cx)
    }

    fn client_auth(&self) -> Option<Rc<dyn ClientAuth>> {
        Some(self.0.clone())
    }
}

impl ClientAuth for Client {
    fn headers(&self, cx: &mut Cx<'_>) -> Result<Vec<(String, String)>, String> {
        let (name, password) = (self.username.get(cx)?, self.password.get(cx)?);
        let encoded = BASE64.encode(format!("{}:{}", name.expose(), password.expose()));
        Ok(vec![("authorization".to_owned(), format!("Basic {encoded}"))])
    }
}
