//! The `bearertokenauth` extension: a fixed token in a header, checked by servers and sent by clients.
//!
//! The tokens are in the configuration, or in a file with one token in each line, which may change at any time. Servers
//! accept each of them, clients send the first. No token is ever put into a message.

use std::borrow::Cow;
use std::rc::Rc;

use otelcore_config::{Section, config_struct};
use otelcore_pipeline::{
    Authentication, BuildContext, ClientAuth, Component, ComponentInfo, ComponentKind, ComponentType,
    CredentialsUnavailable, Cx, Event, Extension, OfferedCapabilities, OutgoingHeaders, ServerAuth, StartError,
    Unauthenticated,
};

use crate::Secret;
use crate::header_syntax::is_header_name;
use crate::watched_file::WatchedFile;

config_struct! {
    /// A fixed token in a header, checked by servers and sent by clients.
    #[config(check = Self::check)]
    #[config(unsupported(
        "retry_on_failure",
        "the token file must be there at the start; leave `retry_on_failure` out"
    ))]
    pub struct BearerTokenAuthConfig {
        /// The text before a space and the token; if empty, the header has the token only.
        pub scheme: String = "Bearer".to_owned(),
        /// The name of the header.
        pub header: String = "Authorization".to_owned(),
        /// The token.
        pub token: Secret,
        /// Several tokens: servers accept each of them, clients send the first one.
        pub tokens: Vec<Secret>,
        /// Path of a file with a token in each line, in place of the tokens here. It may change at any time.
        pub filename: String,
    }
}

const ONE_LINE_HINT: &str = "a line break or a control character is inside of it; a token is one line";

impl BearerTokenAuthConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if !is_header_name(&self.header) {
            s.start_error("header", "'header' is no name that a header can have");
        }
        if self.scheme.bytes().any(|b| !(b' '..=b'~').contains(&b)) {
            s.start_error("scheme", "'scheme' has characters that a header can't have");
        }
        if !self.token.is_valid_field_value() {
            s.start_error("token", "'token' has characters that a header can't have").help(ONE_LINE_HINT);
        }
        if let Some(index) = self.tokens.iter().position(|token| !token.is_valid_field_value()) {
            s.start_error(&format!("tokens[{index}]"), "'tokens' has characters that a header can't have")
                .help(ONE_LINE_HINT);
        }
        if self.tokens.iter().any(Secret::is_empty) {
            s.error("tokens", "an empty token in `tokens` would let in whoever sends none");
        }
        match (self.token.is_empty(), self.tokens.is_empty(), self.filename.is_empty()) {
            (true, true, true) => drop(s.error_for_keys(&["token", "tokens", "filename"], "no bearer token provided")),
            (false, false, _) => drop(s.error("tokens", "either tokens or token should be provided, not both")),
            (true, true, false) | (_, _, true) => {}
            (_, _, false) => {
                drop(s.warn("filename", "a filename is specified. Configured token(s) is ignored!"));
            }
        }
    }

    /// The accepted tokens; the first one is sent.
    fn accepted(&self) -> Vec<Secret> {
        if self.token.is_empty() { self.tokens.clone() } else { vec![self.token.clone()] }
    }
}

/// The number of the token file's timer and job.
const FILE_KEY: u64 = 0;

/// The `bearertokenauth` extension.
#[derive(Clone, Copy, Debug)]
pub struct BearerTokenAuthFactory;

impl ComponentType for BearerTokenAuthFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Extension,
        type_name: "bearertokenauth",
        aliases: &[],
        signals: &[],
        stability: "Beta",
    };
    type Config = BearerTokenAuthConfig;

    fn create(&self, config: &BearerTokenAuthConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let tokens = if config.filename.is_empty() {
            TokenSource::Fixed(Rc::new(config.accepted()))
        } else {
            TokenSource::File(WatchedFile::new(
                FILE_KEY,
                &config.filename,
                "refresh token",
                context.log.clone(),
                parse_token_file,
            ))
        };
        let (scheme, header) = (config.scheme.clone(), config.header.clone());
        let auth = Rc::new(BearerTokenAuthenticator {
            scheme,
            lower_case_header: header.to_ascii_lowercase(),
            header,
            tokens,
        });
        Ok(Component::Extension(Box::new(BearerTokenExtension(auth))))
    }
}

/// The tokens of a file. Empty lines are left out: the last line often is empty, and an empty token would give no
/// protection.
fn parse_token_file(text: &str) -> Result<Vec<Secret>, String> {
    let lines = text.split('\n').map(str::trim).filter(|line| !line.is_empty());
    let tokens: Vec<_> = lines.map(|line| Secret::from(line.to_owned())).collect();
    if tokens.iter().any(|token| !token.is_valid_field_value()) {
        return Err("a token in the file has characters that a header can't have".to_owned());
    }
    if tokens.is_empty() { Err("there is no token in the file".to_owned()) } else { Ok(tokens) }
}

enum TokenSource {
    Fixed(Rc<Vec<Secret>>),
    File(WatchedFile<Vec<Secret>>),
}

struct BearerTokenAuthenticator {
    scheme: String,
    header: String,
    /// The header's name in lower case, as it is looked up and sent.
    lower_case_header: String,
    tokens: TokenSource,
}

struct BearerTokenExtension(Rc<BearerTokenAuthenticator>);

impl Extension for BearerTokenExtension {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        match &self.0.tokens {
            TokenSource::Fixed(_) => Ok(()),
            TokenSource::File(file) => file.open(cx),
        }
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        if let TokenSource::File(file) = &self.0.tokens {
            file.handle_event(cx, local, &event);
        }
    }

    fn offer_capabilities(&self, offered: &mut OfferedCapabilities) {
        offered.add::<dyn ServerAuth>(self.0.clone());
        offered.add::<dyn ClientAuth>(self.0.clone());
    }
}

impl BearerTokenAuthenticator {
    fn tokens(&self) -> Rc<Vec<Secret>> {
        match &self.tokens {
            TokenSource::Fixed(tokens) => tokens.clone(),
            TokenSource::File(file) => file.value().unwrap_or_default(),
        }
    }

    /// The token after the scheme and a space.
    fn token<'v>(&self, value: &'v [u8]) -> Option<&'v [u8]> {
        if self.scheme.is_empty() {
            return Some(value);
        }
        value.strip_prefix(self.scheme.as_bytes())?.strip_prefix(b" ")
    }
}

impl ServerAuth for BearerTokenAuthenticator {
    fn authenticate<'h>(&self, _: &mut Cx<'_>, header: &dyn Fn(&str) -> Option<Cow<'h, [u8]>>) -> Authentication {
        let Some(value) = header(&self.lower_case_header).filter(|value| !value.is_empty()) else {
            let why = format!("missing or empty authorization header: {}", self.header);
            return Authentication::Refused(Unauthenticated(why));
        };
        let tokens = self.tokens();
        // Every token is compared, so that the time does not depend on which one matches.
        let matches =
            self.token(&value).is_some_and(|token| tokens.iter().fold(false, |any, t| any | t.constant_time_eq(token)));
        // The Go collector's message also contains what was sent. It is left out here: a token with a typing error
        // reveals most of the secret, and responses are often logged.
        if matches {
            Authentication::Granted
        } else {
            Authentication::Refused(Unauthenticated("scheme or token does not match".to_owned()))
        }
    }
}

impl ClientAuth for BearerTokenAuthenticator {
    fn apply(&self, _: &mut Cx<'_>, headers: &mut OutgoingHeaders<'_>) -> Result<(), CredentialsUnavailable> {
        let tokens = self.tokens();
        let Some(token) = tokens.first().map(Secret::expose) else {
            return Err(CredentialsUnavailable("no bearer token provided".to_owned()));
        };
        let value = if self.scheme.is_empty() { token.to_owned() } else { format!("{} {token}", self.scheme) };
        headers.set(&self.lower_case_header, value);
        Ok(())
    }
}
