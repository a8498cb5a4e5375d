//! With what the API server is asked.

/// With what requests are sent. A client certificate is in [`crate::ApiServer::client`].
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    None,
    /// A bearer token.
    Token(String),
    /// The path of a file with a bearer token, which is read again each minute.
    TokenFile(String),
}

impl std::fmt::Debug for Credentials {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Token(_) => f.write_str("Token([REDACTED])"),
            Self::TokenFile(path) => f.debug_tuple("TokenFile").field(path).finish(),
        }
    }
}
