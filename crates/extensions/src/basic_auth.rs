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
use otelcore_config::{EffectiveValue, Section, config_struct};
use otelcore_pipeline::{
    Authentication, BuildContext, CheckStep, ClientAuth, Component, ComponentInfo, ComponentKind, ComponentType,
    CredentialCheck, CredentialsUnavailable, Cx, Event, Extension, LogField, Logger, MonotonicTime,
    OfferedCapabilities, OutgoingHeaders, ServerAuth, StartError, Unauthenticated,
};

use self::users::{CheckStart, Credentials, LookupResult, Users};
use crate::Secret;
use crate::watched_file::WatchedFile;

/// As in Go, padding is required, and unused bits at the end may be set.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

config_struct! {
    /// User names and passwords, checked by servers or sent by clients.
    #[config(check = Self::check)]
    pub struct BasicAuthConfig {
        /// Servers check the credentials of clients.
        pub htpasswd: Option<HtpasswdConfig>,
        /// Clients send credentials.
        pub client_auth: Option<ClientCredentialsConfig>,
    }
}

config_struct! {
    /// `htpasswd`: the users of a server; `file` or `inline` or both.
    #[config(check = Self::check)]
    pub struct HtpasswdConfig {
        /// Path of a file in the format of htpasswd, read at the start.
        pub file: String,
        /// Lines that take precedence over those of the file.
        pub inline: Secret,
        /// The section has no keys.
        #[config(skip)]
        pub is_empty: bool,
    }
}

config_struct! {
    /// `client_auth`: the credentials of a client.
    #[config(check = Self::check)]
    #[config(unsupported(
        "aws_secrets_manager",
        "credentials from AWS Secrets Manager are not built; mount the secret and name `username_file` and `password_file`"
    ))]
    pub struct ClientCredentialsConfig {
        /// The user, without a colon.
        pub username: String,
        /// Path of a file with the user, in place of `username`. It may change at any time.
        pub username_file: String,
        /// The password.
        pub password: Secret,
        /// Path of a file with the password, in place of `password`. It may change at any time.
        pub password_file: String,
        /// The section has no keys.
        #[config(skip)]
        pub is_empty: bool,
        /// The credentials are in a place that is not supported.
        #[config(skip)]
        pub is_elsewhere: bool,
    }
}

impl HtpasswdConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        self.is_empty = s.is_empty();
    }
}

impl ClientCredentialsConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        self.is_empty = s.is_empty();
        self.is_elsewhere = s.contains_key("aws_secrets_manager");
        if let CredentialSource::Text(name) = self.username()
            && check_no_colon(&name).is_err()
        {
            s.start_error("username", "invalid authorization format")
                .help("a user name has no colon, which would end it (RFC 7617)");
        }
    }

    fn username(&self) -> CredentialSource {
        CredentialSource::new(Secret::without_line_breaks(self.username.clone()), &self.username_file)
    }

    fn password(&self) -> CredentialSource {
        CredentialSource::new(self.password.clone(), &self.password_file)
    }
}

impl BasicAuthConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        // A section without keys is as an absent one. It is shown as null, so that the output of print-config is a valid
        // configuration.
        if self.htpasswd.take_if(|section| section.is_empty).is_some() {
            s.record("htpasswd", EffectiveValue::Null);
        }
        if self.client_auth.take_if(|section| section.is_empty).is_some() {
            s.record("client_auth", EffectiveValue::Null);
        }
        let is_given = match (&self.htpasswd, &self.client_auth) {
            (Some(_), Some(_)) => {
                s.error_for_keys(&[], "only one of `htpasswd` or `client_auth` can be specified");
                return;
            }
            (Some(htpasswd), None) => !htpasswd.file.is_empty() || !htpasswd.inline.is_empty(),
            (None, Some(client)) => {
                client.is_elsewhere || !client.username().is_empty() || !client.password().is_empty()
            }
            (None, None) => false,
        };
        if !is_given {
            s.error_for_keys(&["htpasswd", "client_auth"], NO_CREDENTIAL_SOURCE)
                .help("write `htpasswd` for servers, `client_auth` for clients");
        }
    }
}

/// A text, or the file that contains it.
enum CredentialSource {
    /// The text from the configuration.
    Text(Secret),
    /// A path; the file may change at any time.
    File(String),
}

/// The `basicauth` extension.
#[derive(Clone, Copy, Debug)]
pub struct BasicAuthFactory;

/// The shortest time between two warnings that credentials are refused unchecked.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// The error for a client whose credentials are wrong or not checked.
const INVALID_CREDENTIALS: &str = "invalid credentials";

const NO_CREDENTIAL_SOURCE: &str = "no credential source provided";

impl CredentialSource {
    fn new(text: Secret, file: &str) -> Self {
        if file.is_empty() { Self::Text(text) } else { Self::File(file.to_owned()) }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }
}

impl ComponentType for BasicAuthFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Extension,
        type_name: "basicauth",
        aliases: &[],
        signals: &[],
        stability: "Beta",
    };
    type Config = BasicAuthConfig;

    fn create(&self, config: &BasicAuthConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let log = context.log.clone();
        Ok(Component::Extension(match (&config.htpasswd, &config.client_auth) {
            (Some(htpasswd), _) => Box::new(BasicAuthServer {
                htpasswd: htpasswd.clone(),
                auth: PasswordAuth(Rc::new(PasswordAuthState {
                    users: RefCell::default(),
                    warned_at: Cell::new(None),
                    log,
                })),
            }),
            (None, Some(credentials)) => Box::new(BasicAuthClient(Rc::new(BasicCredentials {
                username: CredentialValue::new(USERNAME_KEY, credentials.username(), log.clone(), parse_username),
                password: CredentialValue::new(PASSWORD_KEY, credentials.password(), log, parse_credential),
            }))),
            (None, None) => return Err(StartError::Config(NO_CREDENTIAL_SOURCE.to_owned())),
        }))
    }
}

// ---- servers --------------------------------------------------------------------------------------------------------

struct BasicAuthServer {
    htpasswd: HtpasswdConfig,
    auth: PasswordAuth,
}

/// Shared with the checks that have not ended.
#[derive(Clone)]
struct PasswordAuth(Rc<PasswordAuthState>);

struct PasswordAuthState {
    users: RefCell<Users>,
    /// The time of the last warning that credentials are refused unchecked.
    warned_at: Cell<Option<MonotonicTime>>,
    log: Logger,
}

impl Extension for BasicAuthServer {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let mut users = Users::new(std::array::from_fn(|_| cx.random()));
        if !self.htpasswd.file.is_empty() {
            let text =
                cx.read_file(&self.htpasswd.file).map_err(|e| StartError::from(e).in_context("open htpasswd file"))?;
            self.add_users(&mut users, &text, "file");
        }
        // Added last, so that it takes precedence over the file.
        self.add_users(&mut users, self.htpasswd.inline.expose().as_bytes(), "inline");
        if users.is_empty() {
            self.auth.0.log.warn("htpasswd has no users: everyone is refused", &[]);
        }
        self.auth.0.users.replace(users);
        Ok(())
    }

    fn offer_capabilities(&self, offered: &mut OfferedCapabilities) {
        offered.add::<dyn ServerAuth>(Rc::new(self.auth.clone()));
    }
}

impl BasicAuthServer {
    fn add_users(&self, users: &mut Users, text: &[u8], source: &str) {
        let log = &self.auth.0.log;
        for (number, line) in (1..).zip(text.split(|b| *b == b'\n')) {
            let position = [("source", LogField::Str(source)), ("line", LogField::Uint(number))];
            match htpasswd::parse_line(line) {
                Ok(None) => {}
                Ok(Some((user, hash))) => {
                    if hash.is_very_slow() {
                        log.warn("the hash of a user takes long to check, and requests with other new credentials wait for that", &position);
                    }
                    users.add(user, hash);
                }
                Err(why) => log.warn(
                    "a line of htpasswd was left out",
                    &[position[0], position[1], ("error", LogField::Str(why))],
                ),
            }
        }
    }
}

impl ServerAuth for PasswordAuth {
    fn authenticate<'h>(&self, cx: &mut Cx<'_>, header: &dyn Fn(&str) -> Option<Cow<'h, [u8]>>) -> Authentication {
        let credentials = match parse_authorization(header("authorization")) {
            Ok(credentials) => credentials,
            Err(refused) => return Authentication::Refused(Unauthenticated(refused.to_owned())),
        };
        let (user, password) = credentials;
        let result = self.0.users.borrow().look_up(cx.now(), &user, &password);
        match result {
            LookupResult::Known(is_valid) => check_result(is_valid).into(),
            LookupResult::TooMany => self.0.refuse_unchecked(cx.now()).into(),
            LookupResult::Unknown(digest) => Authentication::Pending(Box::new(PasswordCheck {
                credentials: Credentials { user, password, digest },
                state: self.0.clone(),
            })),
        }
    }

    /// `username`, and `raw`: the credentials as they were sent.
    fn attributes<'h>(&self, header: &dyn Fn(&str) -> Option<Cow<'h, [u8]>>) -> Vec<(String, String)> {
        let field = header("authorization");
        let raw = field.as_deref().and_then(|value| value.get(6..)).unwrap_or_default();
        let raw = String::from_utf8_lossy(raw).into_owned();
        match parse_authorization(field) {
            Ok((user, _)) => {
                let user = String::from_utf8_lossy(&user).into_owned();
                vec![("username".to_owned(), user), ("raw".to_owned(), raw)]
            }
            Err(_) => Vec::new(),
        }
    }
}

/// The user and password in a header field.
fn parse_authorization(value: Option<Cow<'_, [u8]>>) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
    let value = value.filter(|value| !value.is_empty()).ok_or("no basic auth provided")?;
    let encoded = match value.split_at_checked(6) {
        Some((scheme, encoded)) if scheme.eq_ignore_ascii_case(b"Basic ") => encoded,
        _ => return Err("invalid authorization scheme prefix"),
    };
    let decoded = BASE64.decode(encoded).map_err(|_| "invalid authorization format")?;
    let (user, password) = htpasswd::split_at_colon(&decoded).ok_or("invalid authorization format")?;
    Ok((user.to_owned(), password.to_owned()))
}

fn check_result(is_valid: bool) -> Result<(), Unauthenticated> {
    if is_valid { Ok(()) } else { Err(Unauthenticated(INVALID_CREDENTIALS.to_owned())) }
}

impl PasswordAuthState {
    /// The result for credentials that are not checked. Logs a warning, at most once per [`WARNING_INTERVAL`].
    fn refuse_unchecked(&self, now: MonotonicTime) -> Result<(), Unauthenticated> {
        if self.warned_at.get().is_none_or(|last| now.since(last) >= WARNING_INTERVAL) {
            self.warned_at.set(Some(now));
            self.log.warn("too many wrong passwords: for now, credentials that were not seen before are refused", &[]);
        }
        check_result(false)
    }
}

/// Credentials of a user with a slow hash, not seen before.
struct PasswordCheck {
    credentials: Credentials,
    state: Rc<PasswordAuthState>,
}

impl CredentialCheck for PasswordCheck {
    fn credentials(&self) -> [u8; 32] {
        self.credentials.digest
    }

    fn begin(&self, cx: &mut Cx<'_>) -> CheckStep {
        let start = self.state.users.borrow_mut().begin_check(cx.now(), &self.credentials);
        match start {
            CheckStart::Known(is_valid) => CheckStep::Ended(check_result(is_valid)),
            CheckStart::TooMany => CheckStep::Ended(self.state.refuse_unchecked(cx.now())),
            CheckStart::Verify(hash) => {
                let password = self.credentials.password.clone();
                CheckStep::Compute(Box::new(move || hash.verify(&password)))
            }
        }
    }

    fn end(&self, cx: &mut Cx<'_>, right: bool) -> Result<(), Unauthenticated> {
        self.state.users.borrow_mut().end_check(cx.now(), &self.credentials, right);
        check_result(right)
    }
}

// ---- clients --------------------------------------------------------------------------------------------------------

struct BasicAuthClient(Rc<BasicCredentials>);

struct BasicCredentials {
    username: CredentialValue,
    password: CredentialValue,
}

/// A source and its current value.
enum CredentialValue {
    Text(Secret),
    File(String, WatchedFile<Secret>),
}

/// Reads the content of a credentials file, which must not be empty.
fn parse_credential(text: &str) -> Result<Secret, String> {
    let text = text.trim();
    if text.is_empty() { Err("credentials file is empty".to_owned()) } else { Ok(Secret::from(text.to_owned())) }
}

fn parse_username(text: &str) -> Result<Secret, String> {
    parse_credential(text).and_then(|name| check_no_colon(&name).map(|()| name))
}

/// The colon ends the user name, so a name can't contain one (RFC 7617).
fn check_no_colon(name: &Secret) -> Result<(), String> {
    if name.expose().contains(':') { Err("invalid authorization format".to_owned()) } else { Ok(()) }
}

/// The numbers of the timers and jobs of a client's two files.
const USERNAME_KEY: u64 = 0;
const PASSWORD_KEY: u64 = 1;

impl CredentialValue {
    fn new(key: u64, source: CredentialSource, log: Logger, parse: fn(&str) -> Result<Secret, String>) -> Self {
        match source {
            CredentialSource::Text(text) => Self::Text(text),
            CredentialSource::File(path) => {
                let watched = WatchedFile::new(key, &path, "refresh credentials", log, parse);
                Self::File(path, watched)
            }
        }
    }

    fn open(&self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        match self {
            Self::Text(_) => Ok(()),
            Self::File(path, file) => {
                file.open(cx).map_err(|e| e.in_context(format_args!("failed to read credentials file {path:?}")))
            }
        }
    }

    fn get(&self) -> Result<Secret, CredentialsUnavailable> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(_, file) => {
                let absent = || CredentialsUnavailable(NO_CREDENTIAL_SOURCE.to_owned());
                file.value().map(|value| (*value).clone()).ok_or_else(absent)
            }
        }
    }
}

impl Extension for BasicAuthClient {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        if let CredentialValue::Text(name) = &self.0.username {
            check_no_colon(name).map_err(StartError::Config)?;
        }
        self.0.username.open(cx)?;
        self.0.password.open(cx)
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        for value in [&self.0.username, &self.0.password] {
            if let CredentialValue::File(_, file) = value {
                file.handle_event(cx, local, &event);
            }
        }
    }

    fn offer_capabilities(&self, offered: &mut OfferedCapabilities) {
        offered.add::<dyn ClientAuth>(self.0.clone());
    }
}

impl ClientAuth for BasicCredentials {
    fn apply(&self, _: &mut Cx<'_>, headers: &mut OutgoingHeaders<'_>) -> Result<(), CredentialsUnavailable> {
        let (name, password) = (self.username.get()?, self.password.get()?);
        let encoded = BASE64.encode(format!("{}:{}", name.expose(), password.expose()));
        headers.set("authorization", format!("Basic {encoded}"));
        Ok(())
    }
}
