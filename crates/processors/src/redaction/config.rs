//! The configuration of `redaction`, and its rules.

use std::collections::BTreeSet;

use otelcore_config::declare::OpaqueString;
use otelcore_config::{Section, config_struct};
use otelcore_go_regexp::GoRegexp;

use super::mask::Mask;

config_struct! {
    /// Removes attributes that are not allowed, and masks values: of resources, scopes, spans, events, data points, log
    /// records and in their bodies.
    #[config(check = Self::check)]
    #[config(unsupported("db_sanitizer", "queries are not parsed; mask their values with `blocked_values`"))]
    #[config(unsupported("url_sanitizer", "paths are not classified; mask their values with `blocked_values`"))]
    pub struct RedactionConfig {
        /// Whether attributes with any key are allowed. Otherwise those that are not in `allowed_keys` are removed.
        pub allow_all_keys: bool,
        /// Keys of attributes that are allowed.
        pub allowed_keys: Vec<String>,
        /// Regular expressions for keys whose values are masked.
        pub blocked_key_patterns: Vec<String>,
        /// Regular expressions for parts of values that are masked.
        pub blocked_values: Vec<String>,
        /// Regular expressions for values that are not masked.
        pub allowed_values: Vec<String>,
        /// Keys of attributes that stay as they are.
        pub ignored_keys: Vec<String>,
        /// Regular expressions for keys of attributes that stay as they are.
        pub ignored_key_patterns: Vec<String>,
        /// Whether values that are no strings are masked as well, as text.
        pub redact_all_types: bool,
        /// What masks a value: `md5`, `sha1`, `hmac-sha256` or `hmac-sha512`, in hexadecimal digits. Without it, `****`.
        pub hash_function: String,
        /// The key of `hmac-sha256` (32 bytes at least) or `hmac-sha512` (64 bytes at least).
        pub hmac_key: OpaqueString,
        /// Which attributes say what has been done: `debug` (keys and numbers), `info` (numbers); without it or with
        /// `silent`, none.
        pub summary: String,
    }
}

/// A mistake: its key, the message of the Go collector, and a hint.
pub(super) struct RedactionError {
    key: String,
    pub(super) message: String,
    hint: Option<String>,
}

impl RedactionConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if let Err((key, message)) = self.mask() {
            s.error(key, message);
            return;
        }
        if let Err(error) = Rules::compile(self) {
            s.start_error(&error.key, error.message).maybe_help(error.hint);
        }
        if !matches!(self.summary.as_str(), "" | "debug" | "info" | "silent") {
            s.warn("summary", format!("{:?} is not a known summary: none is written", self.summary));
        }
    }

    /// What masks values; or the key and the message of a mistake.
    fn mask(&self) -> Result<Mask, (&'static str, String)> {
        let name = self.hash_function.to_lowercase();
        let key = self.hmac_key.0.as_bytes();
        let hmac_key = |least: usize| {
            if key.is_empty() {
                return Err(("hmac_key", format!("hmac_key must not be empty when hash_function is {name:?}")));
            }
            if key.len() < least {
                let message =
                    format!("hmac_key must be at least {least} bytes long for {name:?}, got {} bytes", key.len());
                return Err(("hmac_key", message));
            }
            Ok(key.to_vec())
        };
        Ok(match name.as_str() {
            "" => Mask::Stars,
            "md5" => Mask::Md5,
            "sha1" => Mask::Sha1,
            "hmac-sha256" => Mask::HmacSha256(hmac_key(32)?),
            "hmac-sha512" => Mask::HmacSha512(hmac_key(64)?),
            "sha3" => {
                let message =
                    "'hash_function: sha3' is not supported: write `md5`, `sha1`, `hmac-sha256` or `hmac-sha512`";
                return Err(("hash_function", message.to_owned()));
            }
            _ => {
                let message = format!(
                    "unknown HashFunction {name}, allowed functions are sha1, sha3, md5, hmac-sha256 and hmac-sha512"
                );
                return Err(("hash_function", message));
            }
        })
    }
}

/// What attributes say about what has been done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Summary {
    Silent,
    Info,
    Debug,
}

/// Patterns of which one has to match; `None`: there are none.
type Patterns = Option<GoRegexp>;

/// A compiled configuration.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) allows_all_keys: bool,
    pub(super) allowed_keys: BTreeSet<Vec<u8>>,
    pub(super) ignored_keys: BTreeSet<Vec<u8>>,
    pub(super) ignored_key_patterns: Patterns,
    pub(super) blocked_key_patterns: Patterns,
    pub(super) allowed_values: Patterns,
    /// In their order.
    pub(super) blocked_values: Vec<GoRegexp>,
    pub(super) redacts_all_types: bool,
    pub(super) mask: Mask,
    pub(super) summary: Summary,
}

/// Attributes that the processor itself writes, and does not remove.
const OWN_KEYS: [&str; 5] = [
    "redaction.redacted.keys",
    "redaction.redacted.count",
    "redaction.masked.keys",
    "redaction.masked.count",
    "redaction.ignored.count",
];

fn pattern_error(key: &str, index: usize, what: &str, error: &otelcore_go_regexp::PatternError) -> RedactionError {
    RedactionError {
        key: format!("{key}[{index}]"),
        message: format!(
            "error creating a redaction processor: failed to process {what} list: error compiling regex in list: {error}"
        ),
        hint: Some(error.hint()),
    }
}

fn patterns(key: &str, what: &str, list: &[String]) -> Result<Patterns, RedactionError> {
    if list.is_empty() {
        return Ok(None);
    }
    GoRegexp::compile_any(list).map(Some).map_err(|(index, error)| pattern_error(key, index, what, &error))
}

impl Rules {
    /// Checks the configuration, in the order of the Go collector, and compiles it.
    pub(super) fn compile(config: &RedactionConfig) -> Result<Self, RedactionError> {
        let ignored_key_patterns = patterns("ignored_key_patterns", "ignore keys", &config.ignored_key_patterns)?;
        let mut blocked_values: Vec<GoRegexp> = Vec::new();
        for (index, text) in config.blocked_values.iter().enumerate() {
            let pattern = GoRegexp::compile(text).map_err(|e| pattern_error("blocked_values", index, "block", &e))?;
            blocked_values.push(pattern);
        }
        let set = |keys: &[String]| keys.iter().map(|key| key.as_bytes().to_vec()).collect::<BTreeSet<_>>();
        let mut allowed_keys = set(&config.allowed_keys);
        allowed_keys.extend(OWN_KEYS.iter().map(|key| key.as_bytes().to_vec()));
        Ok(Self {
            allows_all_keys: config.allow_all_keys,
            allowed_keys,
            ignored_keys: set(&config.ignored_keys),
            ignored_key_patterns,
            blocked_key_patterns: patterns("blocked_key_patterns", "block keys", &config.blocked_key_patterns)?,
            allowed_values: patterns("allowed_values", "allow", &config.allowed_values)?,
            blocked_values,
            redacts_all_types: config.redact_all_types,
            mask: config.mask().map_err(|(key, message)| RedactionError {
                key: key.to_owned(),
                message,
                hint: None,
            })?,
            summary: match config.summary.as_str() {
                "debug" => Summary::Debug,
                "info" => Summary::Info,
                _ => Summary::Silent,
            },
        })
    }
}
