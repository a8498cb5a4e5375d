//! The configuration of one action, and its rules.

use otelcore_config::{ConfigNode, NodeValue, Section, config_struct};
use otelcore_go_regexp::{GoRegexp, PatternError};

use super::{Action, ContextKey, ConvertedType, Kind, Pattern, Put, PutMode};
use crate::value;

config_struct! {
    /// What is done with one attribute. Actions are performed in their order.
    #[config(check = Self::check)]
    pub struct ActionConfig {
        /// The key of the attribute. Actions with a `pattern` for keys, `delete` and `hash`, may be without.
        pub key: String,
        /// `insert` (if there is no attribute with this key), `update` (if there is one), `upsert`, `delete`, `hash`
        /// (replaces the value by the hexadecimal digits of its SHA-256), `extract` (writes the named groups of
        /// `pattern` to attributes of their names) or `convert`. Upper case works as well.
        pub action: String,
        /// The value of `insert`, `update` and `upsert`, with its type in YAML.
        pub value: Option<ConfigNode>,
        /// The attribute from which `insert`, `update` and `upsert` take the value. Without it nothing is done.
        pub from_attribute: String,
        /// The request's metadata from which `insert`, `update` and `upsert` take the value: `client.address`;
        /// `metadata.` and the name of a header, which the receiver keeps with `include_metadata`; or `auth.` and an
        /// attribute that the receiver's authenticator knows of the client, such as `auth.username` with `basicauth`.
        /// Several values are joined with `;`. Without one nothing is done. An address that is not known, behind `batch`
        /// for example, is an empty value.
        pub from_context: String,
        /// The value of `insert`, `update` and `upsert` where the other sources give none.
        pub default_value: Option<ConfigNode>,
        /// A regular expression: for `extract` with named groups, matched against the value; for `delete` and `hash`
        /// matched against the keys.
        pub pattern: String,
        /// The type to which `convert` converts: `int`, `double` or `string`. A value that can't be converted stays.
        pub converted_type: String,
    }
}

/// A mistake in an action: the key that it is about, the message of the Go collector, and a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ActionError {
    key: &'static str,
    pub(crate) message: String,
    hint: Option<String>,
}

impl ActionError {
    fn new(key: &'static str, message: String) -> Self {
        Self { key, message, hint: None }
    }
}

/// The part of a message that names the action.
struct Place<'a> {
    key: &'a str,
    index: usize,
}

impl Place<'_> {
    fn error(&self, key: &'static str, text: &str) -> ActionError {
        let Self { key: attribute, index } = self;
        ActionError::new(
            key,
            format!("error with key {attribute:?} ({index}-th action): error creating AttrProc{text}"),
        )
    }

    fn pattern(&self, pattern: &str) -> Result<GoRegexp, ActionError> {
        GoRegexp::compile(pattern).map_err(|error: PatternError| ActionError {
            hint: Some(error.hint()),
            ..self.error("pattern", &format!(". Field \"pattern\" has invalid pattern: \"{pattern}\""))
        })
    }
}

fn is_set(node: Option<&ConfigNode>) -> bool {
    node.is_some_and(|node| node.value != NodeValue::Null)
}

impl ActionConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        // The path of the section ends with the index of the action: `actions[2]`.
        let index = s.path().rsplit_once('[').and_then(|(_, index)| index.strip_suffix(']')?.parse().ok());
        if let Err(error) = self.compile(index.unwrap_or(0)) {
            s.start_error(error.key, error.message).maybe_help(error.hint);
        }
    }

    /// Checks the action, by the rules and with the messages of the Go collector, and compiles it.
    pub(crate) fn compile(&self, index: usize) -> Result<Action, ActionError> {
        let action = self.action.to_lowercase();
        if self.key.is_empty() {
            let missing = "error creating AttrProc due to missing required field";
            let takes_pattern = matches!(action.as_str(), "delete" | "hash");
            if takes_pattern && self.pattern.is_empty() {
                let fields = "(at least one of \"key\" and \"pattern\" have to be used)";
                return Err(ActionError::new("key", format!("{missing} {fields} at the {index}-th action")));
            }
            if !takes_pattern {
                return Err(ActionError::new("key", format!("{missing} \"key\" at the {index}-th action")));
            }
        }
        let place = Place { key: &self.key, index };
        let kind = match action.as_str() {
            "insert" => self.compile_put(PutMode::Insert, &action, &place)?,
            "update" => self.compile_put(PutMode::Update, &action, &place)?,
            "upsert" => self.compile_put(PutMode::Upsert, &action, &place)?,
            "delete" => Kind::Delete(self.compile_key_pattern(&action, &place)?),
            "hash" => Kind::Hash(self.compile_key_pattern(&action, &place)?),
            "extract" => Kind::Extract(self.compile_extract(&action, &place)?),
            "convert" => Kind::Convert(self.compile_convert(&action, &place)?),
            _ => return Err(place.error("action", &format!(" due to unsupported action {action:?}"))),
        };
        Ok(Action { key: self.key.as_bytes().to_vec(), kind })
    }

    fn value_sources(&self) -> usize {
        let sources = [is_set(self.value.as_ref()), !self.from_attribute.is_empty(), !self.from_context.is_empty()];
        sources.into_iter().filter(|is_set| *is_set).count()
    }

    /// The error for a field that the action does not use.
    fn unused(&self, place: &Place<'_>, action: &str, key: &'static str, field: &str) -> ActionError {
        place.error(
            key,
            &format!(". Action \"{action}\" does not use the \"{field}\" field. This must not be specified"),
        )
    }

    fn first_source(&self) -> &'static str {
        match (is_set(self.value.as_ref()), self.from_attribute.is_empty()) {
            (true, _) => "value",
            (false, false) => "from_attribute",
            (false, true) => "from_context",
        }
    }

    fn compile_put(&self, mode: PutMode, action: &str, place: &Place<'_>) -> Result<Kind, ActionError> {
        let sources = self.value_sources();
        if sources == 0 && !is_set(self.default_value.as_ref()) {
            let text = ". Either field \"value\", \"from_attribute\", \"from_context\", or \"default_value\" must be specified";
            return Err(place.error("value", text));
        }
        if sources > 1 {
            return Err(place.error(self.first_source(), " due to multiple value sources being set"));
        }
        if !self.pattern.is_empty() {
            return Err(self.unused(place, action, "pattern", "pattern"));
        }
        if !self.converted_type.is_empty() {
            return Err(self.unused(place, action, "converted_type", "converted_type"));
        }
        let encoded = |node: &Option<ConfigNode>, key: &'static str| -> Result<Option<Vec<u8>>, ActionError> {
            let Some(node) = node.as_ref().filter(|node| is_set(Some(node))) else { return Ok(None) };
            let value = value::from_config(node).map_err(|why| ActionError::new(key, why))?;
            let mut raw = Vec::new();
            value.encode(&mut raw);
            Ok(Some(raw))
        };
        let from_context = match self.from_context.as_str() {
            "" => None,
            key => Some(ContextKey::parse(key)),
        };
        Ok(Kind::Put(Put {
            mode,
            value: encoded(&self.value, "value")?,
            from_context,
            from_attribute: self.from_attribute.as_bytes().to_vec(),
            default_value: encoded(&self.default_value, "default_value")?,
        }))
    }

    fn compile_key_pattern(&self, action: &str, place: &Place<'_>) -> Result<Option<Pattern>, ActionError> {
        if is_set(self.value.as_ref()) || !self.from_attribute.is_empty() {
            let text = format!(
                ". Action \"{action}\" does not use \"value\" or \"from_attribute\" field. These must not be specified"
            );
            return Err(place.error(self.first_source(), &text));
        }
        let pattern = (!self.pattern.is_empty()).then(|| place.pattern(&self.pattern)).transpose()?;
        if !self.converted_type.is_empty() {
            return Err(self.unused(place, action, "converted_type", "converted_type"));
        }
        Ok(pattern)
    }

    fn compile_extract(&self, action: &str, place: &Place<'_>) -> Result<Pattern, ActionError> {
        if self.value_sources() > 0 {
            let text = format!(". Action \"{action}\" does not use a value source field. These must not be specified");
            return Err(place.error(self.first_source(), &text));
        }
        if self.pattern.is_empty() {
            let text = format!(" due to missing required field \"pattern\" for action \"{action}\"");
            return Err(place.error("pattern", &text));
        }
        if !self.converted_type.is_empty() {
            return Err(self.unused(place, action, "converted_type", "converted_type"));
        }
        let pattern = place.pattern(&self.pattern)?;
        if pattern.group_names().is_empty() {
            return Err(place.error("pattern", ". Field \"pattern\" contains no named matcher groups"));
        }
        if pattern.group_names().iter().any(String::is_empty) {
            return Err(place.error("pattern", ". Field \"pattern\" contains at least one unnamed matcher group"));
        }
        Ok(pattern)
    }

    fn compile_convert(&self, action: &str, place: &Place<'_>) -> Result<ConvertedType, ActionError> {
        if self.value_sources() > 0 || !self.pattern.is_empty() {
            let text = format!(
                ". Action \"{action}\" does not use value sources or \"pattern\" field. These must not be specified"
            );
            let key = if self.value_sources() > 0 { self.first_source() } else { "pattern" };
            return Err(place.error(key, &text));
        }
        match self.converted_type.as_str() {
            "string" => Ok(ConvertedType::String),
            "int" => Ok(ConvertedType::Int),
            "double" => Ok(ConvertedType::Double),
            "" => {
                let text = format!(" due to missing required field \"converted_type\" for action \"{action}\"");
                Err(place.error("converted_type", &text))
            }
            other => {
                let text =
                    format!(" due to invalid value \"{other}\" in field \"converted_type\" for action \"{action}\"");
                Err(place.error("converted_type", &text))
            }
        }
    }
}
