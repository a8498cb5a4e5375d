//! SASL mechanisms: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 (RFC 5802) and OAUTHBEARER (RFC 7628). Makes and reads their messages, and sends
//! nothing.
//!
//! The key of SCRAM is derived with as many iterations as the broker says, within limits; it is a value of its own ([`ScramProof`])
//! because that takes long and belongs on a helper thread.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

/// The fewest iterations that are accepted, as RFC 5802 demands, and the most: more would keep a helper thread busy for seconds.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=1_000_000;

/// The hash of SCRAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScramHash {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

impl ScramHash {
    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

/// What a connection authenticates with.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// PLAIN.
    Plain {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// SCRAM.
    Scram {
        /// Which hash.
        hash: ScramHash,
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// OAUTHBEARER.
    OauthBearer {
        /// The token.
        token: String,
    },
}

/// Without the secrets.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mechanism())
    }
}

impl Credentials {
    /// The name of the mechanism.
    #[must_use]
    pub fn mechanism(&self) -> &'static str {
        match self {
            Self::Plain { .. } => "PLAIN",
            Self::Scram { hash: ScramHash::Sha256, .. } => "SCRAM-SHA-256",
            Self::Scram { hash: ScramHash::Sha512, .. } => "SCRAM-SHA-512",
            Self::OauthBearer { .. } => "OAUTHBEARER",
        }
    }
}

/// Why authentication fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// The broker's message is not what the mechanism says.
    #[error("the broker's {0} message is invalid")]
    Invalid(&'static str),
    /// The broker demands a number of iterations that is not accepted.
    #[error("the broker demands {0} iterations, and this client accepts 4096 to 1000000")]
    Iterations(u32),
    /// The broker does not know the password.
    #[error("the signature of the broker is wrong: it does not know the password")]
    Signature,
    /// The broker refuses the user.
    #[error("the broker refuses: {0}")]
    Refused(String),
}

/// An exchange in progress.
pub(crate) enum Exchange {
    /// The only message was sent.
    Single,
    /// After a refused token the broker waits for an answer.
    OauthBearer,
    /// SCRAM: the first message was sent.
    ScramFirst { hash: ScramHash, password: String, first_bare: String, nonce: String },
    /// SCRAM: the proof was sent.
    ScramFinal { signature: Vec<u8> },
}

/// What follows a message of the broker.
pub(crate) enum SaslStep {
    Done,
    Send(Vec<u8>),
    Derive(ScramProof),
}

impl Exchange {
    /// Begins, with the first message. `nonce` is of printable characters without a comma.
    pub(crate) fn begin(credentials: &Credentials, nonce: &str) -> (Self, Vec<u8>) {
        match credentials {
            Credentials::Plain { username, password } => {
                (Self::Single, [b"\0", username.as_bytes(), b"\0", password.as_bytes()].concat())
            }
            Credentials::OauthBearer { token } => {
                (Self::OauthBearer, format!("n,,\x01auth=Bearer {token}\x01\x01").into_bytes())
            }
            Credentials::Scram { hash, username, password } => {
                let username = username.replace('=', "=3D").replace(',', "=2C");
                let first_bare = format!("n={username},r={nonce}");
                let message = format!("n,,{first_bare}").into_bytes();
                let (hash, password, nonce) = (*hash, password.clone(), nonce.to_owned());
                (Self::ScramFirst { hash, password, first_bare, nonce }, message)
            }
        }
    }

    /// Handles a message of the broker.
    pub(crate) fn handle(&mut self, message: &[u8]) -> Result<SaslStep, SaslError> {
        match self {
            Self::Single => Ok(SaslStep::Done),
            Self::OauthBearer if message.is_empty() => Ok(SaslStep::Done),
            // The broker then reports the error.
            Self::OauthBearer => Ok(SaslStep::Send(vec![1])),
            Self::ScramFirst { hash, password, first_bare, nonce } => {
                ScramProof::new(*hash, password, first_bare, nonce, message).map(SaslStep::Derive)
            }
            Self::ScramFinal { signature } => {
                let text = text(message, "server-final")?;
                if let Some(error) = field(text, 'e') {
                    return Err(SaslError::Refused(error.to_owned()));
                }
                let found = field(text, 'v').and_then(|v| STANDARD.decode(v).ok());
                // A comparison that ends at the first difference tells the broker nothing that it may not know.
                match found {
                    Some(found) if found == *signature => Ok(SaslStep::Done),
                    Some(_) => Err(SaslError::Signature),
                    None => Err(SaslError::Invalid("server-final")),
                }
            }
        }
    }

    /// Handles the result of [`ScramProof::derive`]: returns the message to send.
    pub(crate) fn handle_derived(&mut self, derived: ScramDerived) -> Vec<u8> {
        *self = Self::ScramFinal { signature: derived.signature };
        derived.message
    }
}

fn text<'a>(message: &'a [u8], name: &'static str) -> Result<&'a str, SaslError> {
    std::str::from_utf8(message).map_err(|_| SaslError::Invalid(name))
}

/// The value of `name=value` in a message of SCRAM.
fn field(message: &str, name: char) -> Option<&str> {
    message.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

/// The long computation of SCRAM.
pub struct ScramProof {
    hash: ScramHash,
    password: String,
    salt: Vec<u8>,
    iterations: NonZeroU32,
    final_without_proof: String,
    auth_message: String,
}

/// Without the password.
impl fmt::Debug for ScramProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramProof").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// The last message of the client, and what the broker must answer.
#[derive(Debug)]
pub struct ScramDerived {
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl ScramProof {
    fn new(hash: ScramHash, password: &str, first_bare: &str, nonce: &str, message: &[u8]) -> Result<Self, SaslError> {
        let invalid = || SaslError::Invalid("server-first");
        let server_first = text(message, "server-first")?;
        if let Some(error) = field(server_first, 'e') {
            return Err(SaslError::Refused(error.to_owned()));
        }
        let full_nonce = field(server_first, 'r').ok_or_else(invalid)?;
        if !full_nonce.starts_with(nonce) || full_nonce.len() == nonce.len() {
            return Err(invalid());
        }
        let salt = field(server_first, 's').and_then(|salt| STANDARD.decode(salt).ok()).ok_or_else(invalid)?;
        let iterations: u32 = field(server_first, 'i').and_then(|i| i.parse().ok()).ok_or_else(invalid)?;
        let accepted = NonZeroU32::new(iterations).filter(|n| ITERATIONS.contains(&n.get()));
        let iterations = accepted.ok_or(SaslError::Iterations(iterations))?;
        let final_without_proof = format!("c=biws,r={full_nonce}");
        let auth_message = format!("{first_bare},{server_first},{final_without_proof}");
        Ok(Self { hash, password: password.to_owned(), salt, iterations, final_without_proof, auth_message })
    }

    /// Computes the proof. Takes some milliseconds for the iterations that are usual, and half a second for the most that are accepted.
    #[must_use]
    pub fn derive(self) -> ScramDerived {
        let mut salted = vec![0; self.hash.digest().output_len()];
        pbkdf2::derive(self.hash.pbkdf2(), self.iterations, &self.salt, self.password.as_bytes(), &mut salted);
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(self.hash.hmac(), key), text);
        let client_key = sign(&salted, b"Client Key");
        let stored_key = digest::digest(self.hash.digest(), client_key.as_ref());
        let client_signature = sign(stored_key.as_ref(), self.auth_message.as_bytes());
        let proof: Vec<u8> =
            client_key.as_ref().iter().zip(client_signature.as_ref()).map(|(key, signature)| key ^ signature).collect();
        let server_key = sign(&salted, b"Server Key");
        let signature = sign(server_key.as_ref(), self.auth_message.as_bytes()).as_ref().to_vec();
        let message = format!("{},p={}", self.final_without_proof, STANDARD.encode(proof)).into_bytes();
        ScramDerived { message, signature }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scram() -> Credentials {
        Credentials::Scram { hash: ScramHash::Sha256, username: "user".to_owned(), password: "pencil".to_owned() }
    }

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &[u8] =
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    /// The exchange of RFC 7677, section 3.
    #[test]
    fn scram_exchange_is_that_of_the_rfc() {
        let (mut exchange, first) = Exchange::begin(&scram(), NONCE);
        assert_eq!(first, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let Ok(SaslStep::Derive(proof)) = exchange.handle(SERVER_FIRST) else { panic!() };
        let message = exchange.handle_derived(proof.derive());
        assert_eq!(
            String::from_utf8(message).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(matches!(exchange.handle(b"v=AAAA"), Err(SaslError::Signature)));
        assert!(matches!(exchange.handle(b"e=other-error"), Err(SaslError::Refused(e)) if e == "other-error"));
        let last = exchange.handle(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert!(matches!(last, Ok(SaslStep::Done)));
    }

    #[test]
    fn scram_first_message_that_is_not_acceptable_is_refused() {
        let messages = [
            "",
            "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=!,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=QQ==,i=1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=QQ==,i=4294967295",
            "r=rOprNGfwEbeRWgbNEkqOx,s=QQ==",
        ];
        for message in messages {
            let (mut exchange, _) = Exchange::begin(&scram(), NONCE);
            assert!(exchange.handle(message.as_bytes()).is_err(), "{message}");
        }
    }

    #[test]
    fn plain_and_bearer_messages_are_as_specified() {
        let plain = Credentials::Plain { username: "u".to_owned(), password: "p".to_owned() };
        assert_eq!(Exchange::begin(&plain, "").1, b"\0u\0p");
        let bearer = Credentials::OauthBearer { token: "t".to_owned() };
        let (mut exchange, first) = Exchange::begin(&bearer, "");
        assert_eq!(first, b"n,,\x01auth=Bearer t\x01\x01");
        assert!(matches!(exchange.handle(b"{\"status\":\"invalid_token\"}"), Ok(SaslStep::Send(m)) if m == [1]));
        assert_eq!(format!("{plain:?} {bearer:?}"), "PLAIN OAUTHBEARER");
    }
}
