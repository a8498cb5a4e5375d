//! The configuration of `span`, and its rules.

use otelcore_config::{Section, config_struct};
use otelcore_go_regexp::GoRegexp;

use crate::matching::MatchConfig;

config_struct! {
    /// Makes names of spans from attributes, attributes from names, and sets the status.
    #[config(check = Self::check)]
    pub struct SpanConfig {
        /// Only spans that match are changed.
        pub include: Option<MatchConfig>,
        /// Spans that match are not changed, also if they match `include`.
        pub exclude: Option<MatchConfig>,
        /// Names from attributes, then attributes from names.
        pub name: SpanNameConfig,
        /// The status that spans get.
        pub status: Option<SpanStatusConfig>,
    }
}

config_struct! {
    /// Names and attributes.
    pub struct SpanNameConfig {
        /// The attributes whose values become the name, in this order. A span that does not have all of them keeps its
        /// name.
        pub from_attributes: Vec<String>,
        /// What is between two values.
        pub separator: String,
        /// Attributes that are made from parts of the name.
        pub to_attributes: Option<ToAttributesConfig>,
    }
}

config_struct! {
    /// Attributes from the name.
    pub struct ToAttributesConfig {
        /// Regular expressions. The groups of the first match become attributes with the names of the groups, and are
        /// replaced by `{name}` in the name of the span, on which the next rule works.
        pub rules: Vec<String>,
        /// Whether the first rule that matches is the last.
        pub break_after_match: bool,
        /// Whether the name stays as it is.
        pub keep_original_name: bool,
    }
}

config_struct! {
    /// A status.
    pub struct SpanStatusConfig {
        /// `Ok`, `Error` or `Unset`.
        pub code: String,
        /// The message of an `Error`.
        pub description: String,
    }
}

impl SpanConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if let Err((key, message)) = Rename::compile(self) {
            s.start_error(key, message);
        }
    }
}

/// A rule of `to_attributes`.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) pattern: GoRegexp,
}

#[derive(Debug)]
pub(super) struct SpanStatus {
    pub(super) code: i32,
    pub(super) description: Vec<u8>,
}

/// A compiled configuration.
#[derive(Debug)]
pub(super) struct Rename {
    pub(super) from_attributes: Vec<Vec<u8>>,
    pub(super) separator: Vec<u8>,
    pub(super) rules: Vec<Rule>,
    pub(super) breaks_after_match: bool,
    pub(super) keeps_original_name: bool,
    pub(super) status: Option<SpanStatus>,
    /// Bytes that may be added to each span, beside copies of what it has.
    pub(super) bytes_per_span: usize,
    /// How many times a part of a span may be copied.
    pub(super) copies: usize,
}

impl Rename {
    /// Checks the configuration, by the rules and with the messages of the Go collector, and compiles it.
    ///
    /// # Errors
    /// The key and the message of the first mistake.
    pub(super) fn compile(config: &SpanConfig) -> Result<Self, (&'static str, String)> {
        let name = &config.name;
        let to_attributes = name.to_attributes.as_ref();
        if name.from_attributes.is_empty()
            && to_attributes.is_none_or(|it| it.rules.is_empty())
            && config.status.is_none()
        {
            let message = "error creating \"span\" processor: either \"from_attributes\" or \"to_attributes\" must be \
                           specified in \"name:\" or \"setStatus\" must be specified";
            return Err(("name", message.to_owned()));
        }
        let status = config.status.as_ref().map(status).transpose()?;
        let rule = |text: &String| {
            let pattern = GoRegexp::compile(text);
            let pattern =
                pattern.map_err(|_| ("name::to_attributes::rules", format!("invalid regexp pattern {text}")))?;
            Ok(Rule { pattern })
        };
        let rules = to_attributes.map_or(&[][..], |it| &it.rules).iter().map(rule).collect::<Result<Vec<_>, _>>()?;
        let bytes = |texts: &[String]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        let names = rules.iter().flat_map(|rule| rule.pattern.group_names());
        Ok(Self {
            bytes_per_span: 64
                + status.as_ref().map_or(0, |status| status.description.len())
                + name.separator.len() * name.from_attributes.len()
                + 24 * name.from_attributes.len()
                + names.clone().map(|name| 2 * name.len() + 32).sum::<usize>(),
            copies: name.from_attributes.len() + names.count(),
            from_attributes: bytes(&name.from_attributes),
            separator: name.separator.as_bytes().to_vec(),
            rules,
            breaks_after_match: to_attributes.is_some_and(|it| it.break_after_match),
            keeps_original_name: to_attributes.is_some_and(|it| it.keep_original_name),
            status,
        })
    }
}

fn status(config: &SpanStatusConfig) -> Result<SpanStatus, (&'static str, String)> {
    let code = match config.code.as_str() {
        "Unset" => 0,
        "Ok" => 1,
        "Error" => 2,
        _ => {
            let message = "error creating \"span\" processor: \"status\" must have specified \"code\" as \"Ok\" or \
                           \"Error\" or \"Unset\"";
            return Err(("status::code", message.to_owned()));
        }
    };
    if !config.description.is_empty() && code != 2 {
        let message = "error creating \"span\" processor: \"description\" can be specified only for \"code\" \"Error\"";
        return Err(("status::description", message.to_owned()));
    }
    Ok(SpanStatus { code, description: config.description.as_bytes().to_vec() })
}
