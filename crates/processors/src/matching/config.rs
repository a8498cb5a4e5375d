//! The configuration of `include` and `exclude`, and its rules.

use otelcore_config::{ConfigNode, config_struct};
use otelcore_pdata::Signal;

config_struct! {
    /// An attribute that must be there.
    pub struct AttributeMatchConfig {
        /// Its key.
        pub key: String,
        /// Its value; with `regexp` a pattern for its text. Without one every value matches.
        pub value: Option<ConfigNode>,
    }
}

config_struct! {
    /// An instrumentation scope.
    pub struct LibraryMatchConfig {
        /// Its name.
        pub name: String,
        /// Its version. Without one every version matches; an empty one matches an empty one only.
        pub version: Option<String>,
    }
}

config_struct! {
    /// Matches the severity number of a log record.
    pub struct SeverityMatchConfig {
        /// The lowest number that matches.
        pub min: i32,
        /// Whether records without a severity number match.
        pub match_undefined: bool,
    }
}

config_struct! {
    /// Options of `match_type: regexp`.
    pub struct RegexpConfig {
        /// Whether results are cached.
        #[config(no_effect = "a match takes time linear in the text, and needs no cache")]
        pub cacheenabled: bool,
        /// The number of results that are cached; zero is no limit.
        #[config(no_effect = "there is no cache")]
        pub cachemaxnumentries: i64,
    }
}

config_struct! {
    /// Which spans, metrics or log records match: those that match every list that is given. At least one list must be.
    #[config(check = Self::check)]
    pub struct MatchConfig {
        /// How texts are compared: `strict` (equal) or `regexp` (a regular expression matches a part of them).
        pub match_type: String,
        /// Options of `regexp`.
        pub regexp: RegexpConfig,
        /// Values of the resource's attribute `service.name`, one of which must match. For spans.
        pub services: Vec<String>,
        /// Names of spans, one of which must match.
        pub span_names: Vec<String>,
        /// Kinds of spans, such as `SPAN_KIND_SERVER`, one of which must match.
        pub span_kinds: Vec<String>,
        /// Bodies of log records as text, one of which must match.
        pub log_bodies: Vec<String>,
        /// Severity texts of log records, one of which must match.
        pub log_severity_texts: Vec<String>,
        /// Severity numbers of log records.
        pub log_severity_number: Option<SeverityMatchConfig>,
        /// Names of metrics, one of which must match.
        pub metric_names: Vec<String>,
        /// Attributes, all of which must match. For spans and log records.
        pub attributes: Vec<AttributeMatchConfig>,
        /// Attributes of the resource, all of which must match. For metrics they have no effect.
        pub resources: Vec<AttributeMatchConfig>,
        /// Instrumentation scopes, all of which must match. For spans and log records.
        pub libraries: Vec<LibraryMatchConfig>,
    }
}

/// A mistake in a [`MatchConfig`]: the key below it, the message of the Go collector, and a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MatchError {
    pub(crate) key: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl MatchError {
    pub(super) fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into(), hint: None }
    }

    /// A mistake in the whole section.
    #[cfg(feature = "filter")]
    pub(crate) fn message(message: impl Into<String>) -> Self {
        Self::new("match_type", message)
    }

    /// The same with a text before the message.
    pub(super) fn prefixed(self, prefix: &str) -> Self {
        Self { message: format!("{prefix}: {}", self.message), ..self }
    }
}

/// How texts are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MatchType {
    Strict,
    Regexp,
}

pub(super) const SPAN_KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

impl MatchConfig {
    /// The type, for a list that needs it.
    pub(super) fn match_type(&self) -> Result<MatchType, MatchError> {
        match self.match_type.as_str() {
            "strict" => Ok(MatchType::Strict),
            "regexp" => Ok(MatchType::Regexp),
            other => {
                let message = format!("unrecognized match_type: '{other}', valid types are: [regexp strict]");
                Err(MatchError::new("match_type", message))
            }
        }
    }

    /// Checks which lists there are, by the rules of a signal.
    pub(super) fn check_for(&self, signal: Signal) -> Result<(), MatchError> {
        let is_set = |key: &str| match key {
            "services" => !self.services.is_empty(),
            "span_names" => !self.span_names.is_empty(),
            "span_kinds" => !self.span_kinds.is_empty(),
            "log_bodies" => !self.log_bodies.is_empty(),
            "log_severity_texts" => !self.log_severity_texts.is_empty(),
            "log_severity_number" => self.log_severity_number.is_some(),
            "metric_names" => !self.metric_names.is_empty(),
            "attributes" => !self.attributes.is_empty(),
            "resources" => !self.resources.is_empty(),
            _ => !self.libraries.is_empty(),
        };
        let error = |message: &str| Err(MatchError::new("match_type", message));
        match signal {
            Signal::Traces => {
                let others = ["log_bodies", "log_severity_texts", "log_severity_number", "metric_names"];
                if let Some(key) = others.into_iter().find(|key| is_set(key)) {
                    return Err(MatchError::new(key, format!("{key} should not be specified for trace spans")));
                }
                let own = ["services", "span_names", "attributes", "libraries", "resources", "span_kinds"];
                if !own.into_iter().any(is_set) {
                    return error(
                        "at least one of \"attributes\", \"libraries\",  or \"resources\" field must be specified",
                    );
                }
                self.check_span_kinds()
            }
            Signal::Logs => {
                if ["span_names", "services", "span_kinds", "metric_names"].into_iter().any(is_set) {
                    return error("services, span_names, span_kinds and metric_names are not valid for log records");
                }
                let own =
                    ["attributes", "libraries", "resources", "log_bodies", "log_severity_texts", "log_severity_number"];
                if !own.into_iter().any(is_set) {
                    return error(
                        "at least one of \"attributes\", \"libraries\", \"span_kinds\", \"resources\", \"log_bodies\", \"log_severity_texts\" or \"log_severity_number\" field must be specified",
                    );
                }
                Ok(())
            }
            Signal::Metrics => {
                let others = [
                    "log_bodies",
                    "log_severity_texts",
                    "span_names",
                    "services",
                    "span_kinds",
                    "attributes",
                    "libraries",
                    "log_severity_number",
                ];
                if others.into_iter().any(is_set) {
                    return error(
                        "\"span_names\", \"span_kinds\", \"log_bodies\", \"log_severity_texts\", \"log_severity_number\", \"services\", \"attributes\" and \"libraries\" are not valid for metrics",
                    );
                }
                if !["metric_names", "resources"].into_iter().any(is_set) {
                    return error("at least one of \"metric_names\" or \"resources\" field must be specified");
                }
                Ok(())
            }
        }
    }

    /// With `strict` a kind must be one of the names, other than that of no kind.
    pub(super) fn check_span_kinds(&self) -> Result<(), MatchError> {
        let mut known = SPAN_KINDS;
        known.sort_unstable();
        let known: Vec<&str> = known.into_iter().filter(|kind| *kind != "SPAN_KIND_UNSPECIFIED").collect();
        let unknown = self.span_kinds.iter().position(|kind| !known.contains(&kind.as_str()));
        match unknown.filter(|_| self.match_type == "strict") {
            None => Ok(()),
            Some(index) => {
                let message = format!(
                    "span_kinds string must match one of the standard span kinds when match_type=strict: [{}]",
                    known.join(" ")
                );
                Err(MatchError::new(format!("span_kinds[{index}]"), message))
            }
        }
    }
}
