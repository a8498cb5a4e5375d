//! Actions on the attributes of one message: `insert`, `update`, `upsert`, `delete`, `hash`, `extract`, `convert`.
//!
//! Actions are compiled from their configuration once ([`Actions::compile`]) and shared; what they need while they are
//! applied is in an [`ActionState`], whose buffers are reused from one message to the next, so that no message causes
//! an allocation. Which messages they are applied to is not decided here.

mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use config::ActionConfig;
pub(crate) use config::ActionError;
use otelcore_go_regexp::{CaptureLocations, GoRegexp as Pattern};
use otelcore_pdata::edit::{AttributesMut, OutputLimit};
use otelcore_pdata::text;
use otelcore_pdata::views::{AnyValue, View};
use otelcore_pipeline::{Metadata, Payload};
use sha2::{Digest, Sha256};

/// One action, checked.
#[derive(Debug)]
pub(crate) struct Action {
    key: Vec<u8>,
    kind: Kind,
}

/// What an action does.
#[derive(Debug)]
enum Kind {
    Put(Put),
    /// Deletes the attribute with the key, and those whose key the pattern matches.
    Delete(Option<Pattern>),
    /// Hashes the same.
    Hash(Option<Pattern>),
    Extract(Pattern),
    Convert(ConvertedType),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PutMode {
    Insert,
    Update,
    Upsert,
}

/// Writes a value: the first one that there is, of these sources.
#[derive(Debug)]
struct Put {
    mode: PutMode,
    /// An encoded `AnyValue`.
    value: Option<Vec<u8>>,
    from_context: Option<ContextKey>,
    /// The key of an attribute; empty for none.
    from_attribute: Vec<u8>,
    /// An encoded `AnyValue`.
    default_value: Option<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ConvertedType {
    String,
    Int,
    Double,
}

/// A value that came with the request.
#[derive(Clone, PartialEq, Eq, Debug)]
enum ContextKey {
    /// The values of a header, its name in lower case.
    Metadata(String),
    /// The address of the client.
    ClientAddress,
    /// What the receiver's authenticator knows of the client, by name.
    Auth(String),
}

impl ContextKey {
    fn parse(key: &str) -> Self {
        if key == "client.address" {
            return Self::ClientAddress;
        }
        if let Some(name) = key.strip_prefix("auth.") {
            return Self::Auth(name.to_owned());
        }
        // A key without a prefix is a header as well.
        Self::Metadata(key.strip_prefix("metadata.").unwrap_or(key).to_lowercase())
    }

    fn value(&self, metadata: Option<&Metadata>) -> Option<Vec<u8>> {
        match self {
            Self::Metadata(name) => {
                let values = metadata?.get(name);
                (!values.is_empty()).then(|| values.join(";").into_bytes())
            }
            // Empty where it is not known, as in the Go collector.
            Self::ClientAddress => {
                let address = metadata.and_then(Metadata::client_address);
                Some(address.map(|address| address.to_string()).unwrap_or_default().into_bytes())
            }
            Self::Auth(name) => metadata?.auth_attribute(name).map(|value| value.as_bytes().to_vec()),
        }
    }
}

/// Compiled actions.
#[derive(Debug)]
pub(crate) struct Actions {
    list: Vec<Action>,
}

impl Actions {
    /// Compiles the actions of a checked configuration.
    ///
    /// # Errors
    /// The first mistake.
    pub(crate) fn compile(list: &[ActionConfig]) -> Result<Arc<Self>, ActionError> {
        let list = list.iter().enumerate().map(|(index, action)| action.compile(index)).collect::<Result<_, _>>()?;
        Ok(Arc::new(Self { list }))
    }

    /// The longest output that the actions can cause.
    pub(crate) fn output_limit(&self, payload: &Payload) -> OutputLimit {
        let mut limit = OutputLimit::default();
        let mut bytes_per_item = 0_usize;
        for Action { key, kind } in &self.list {
            match kind {
                Kind::Put(put) => {
                    let constant = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
                    bytes_per_item += key.len() + constant(&put.value).max(constant(&put.default_value)) + 32;
                    // Every copy is at most as long as what it is copied from.
                    limit.factor += usize::from(!put.from_attribute.is_empty());
                    if let Some(key) = &put.from_context {
                        bytes_per_item += key.value(payload.metadata.as_deref()).map_or(0, |value| value.len());
                    }
                }
                Kind::Extract(pattern) => {
                    let names = pattern.group_names();
                    bytes_per_item += names.iter().map(|name| name.len() + 32).sum::<usize>();
                    limit.factor += names.len();
                }
                // A hash in place of a short value.
                Kind::Hash(None) => bytes_per_item += 96,
                Kind::Hash(Some(_)) => limit.factor += 16,
                Kind::Convert(_) | Kind::Delete(_) => {}
            }
        }
        limit.extra += (payload.items() as usize).saturating_mul(bytes_per_item);
        limit
    }

    /// Units of work that a byte of a message costs at most; see [`StepBudget`](otelcore_pdata::StepBudget).
    pub(crate) fn cost_per_byte(&self) -> u64 {
        let of_pattern = |pattern: &Option<Pattern>| if pattern.is_some() { 8 } else { 1 };
        let costs = self.list.iter().map(|action| match &action.kind {
            Kind::Put(_) | Kind::Convert(_) => 2,
            Kind::Delete(pattern) => of_pattern(pattern),
            Kind::Hash(pattern) => 16 + of_pattern(pattern),
            Kind::Extract(_) => 100,
        });
        2 + costs.sum::<u64>()
    }
}

/// Actions and what they need while they are applied.
#[derive(Debug)]
pub(crate) struct ActionState {
    actions: Arc<Actions>,
    /// By action: the value of the request.
    context: Vec<Option<Vec<u8>>>,
    /// By action: where the groups of its pattern are.
    locations: Vec<Option<CaptureLocations>>,
    /// A value that is written to the message that it was read from.
    value: Vec<u8>,
    text: Vec<u8>,
}

impl ActionState {
    pub(crate) fn new(actions: Arc<Actions>) -> Self {
        let locations = actions.list.iter().map(|action| match &action.kind {
            Kind::Extract(pattern) => Some(pattern.capture_locations()),
            _ => None,
        });
        let locations = locations.collect();
        Self { actions, context: Vec::new(), locations, value: Vec::new(), text: Vec::new() }
    }

    pub(crate) fn actions(&self) -> &Actions {
        &self.actions
    }

    /// Begins a payload, with the metadata of its request.
    pub(crate) fn begin(&mut self, metadata: Option<&Metadata>) {
        self.context.clear();
        let value = |action: &Action| match &action.kind {
            Kind::Put(Put { from_context: Some(key), .. }) => key.value(metadata),
            _ => None,
        };
        self.context.extend(self.actions.list.iter().map(value));
    }

    /// Performs all actions.
    pub(crate) fn apply(&mut self, attributes: &mut AttributesMut<'_>) {
        let Self { actions, context, locations, value, text } = self;
        for (index, Action { key, kind }) in actions.list.iter().enumerate() {
            match kind {
                Kind::Put(put) => {
                    put.apply(key, context.get(index).and_then(Option::as_deref), attributes, value);
                }
                Kind::Delete(pattern) => {
                    attributes.remove(key);
                    if let Some(pattern) = pattern {
                        attributes.retain(|attribute| !pattern.is_match(attribute.key));
                    }
                }
                Kind::Hash(pattern) => hash(key, pattern.as_ref(), attributes),
                Kind::Extract(pattern) => {
                    if let (Some(AnyValue::String(found)), Some(Some(locations))) =
                        (attributes.get(key), locations.get_mut(index))
                    {
                        text.clear();
                        text.extend_from_slice(found);
                        pattern.capture(text, locations, |group, found| {
                            if let Some(name) = pattern.group_names().get(group) {
                                attributes.upsert(name.as_bytes(), AnyValue::String(found));
                            }
                        });
                    }
                }
                Kind::Convert(to) => convert(key, *to, attributes, text),
            }
        }
    }
}

impl Put {
    fn apply(&self, key: &[u8], context: Option<&[u8]>, attributes: &mut AttributesMut<'_>, copy: &mut Vec<u8>) {
        let value = if let Some(raw) = &self.value {
            AnyValue::parse(raw)
        } else if let Some(text) = context {
            AnyValue::String(text)
        } else if !self.from_attribute.is_empty()
            && let Some(source) = attributes.get(&self.from_attribute)
        {
            copy.clear();
            source.encode(copy);
            AnyValue::parse(copy)
        } else if let Some(raw) = &self.default_value {
            AnyValue::parse(raw)
        } else {
            return;
        };
        match self.mode {
            PutMode::Insert => {
                attributes.insert(key, value);
            }
            PutMode::Update => {
                attributes.update(key, value);
            }
            PutMode::Upsert => attributes.upsert(key, value),
        }
    }
}

/// Replaces the values of the attribute with the key, and of those whose key the pattern matches.
fn hash(key: &[u8], pattern: Option<&Pattern>, attributes: &mut AttributesMut<'_>) {
    if let Some(value) = attributes.get(key) {
        let mut digits = [0; 64];
        let hashed = hash_value(value, &mut digits);
        attributes.update(key, AnyValue::String(hashed));
    }
    if let Some(pattern) = pattern
        && attributes.iter().any(|attribute| pattern.is_match(attribute.key))
    {
        attributes.for_each(|attribute| {
            let view = attribute.view();
            if pattern.is_match(view.key) {
                let mut digits = [0; 64];
                attribute.set_value(AnyValue::String(hash_value(view.value, &mut digits)));
            }
        });
    }
}

/// The hexadecimal digits of the SHA-256 of a string, boolean or number; nothing for other values, as in Go.
fn hash_value<'d>(value: AnyValue<'_>, digits: &'d mut [u8; 64]) -> &'d [u8] {
    let sum = match value {
        AnyValue::String(text) => Sha256::digest(text),
        AnyValue::Bool(v) => Sha256::digest([u8::from(v)]),
        AnyValue::Int(v) => Sha256::digest(v.to_le_bytes()),
        AnyValue::Double(v) => Sha256::digest(v.to_le_bytes()),
        AnyValue::Empty | AnyValue::Array(_) | AnyValue::Map(_) | AnyValue::Bytes(_) => return &[],
    };
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in digits.chunks_exact_mut(2).zip(sum.iter()) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    digits
}

/// Converts the value of an attribute. A value that can't be converted stays.
fn convert(key: &[u8], to: ConvertedType, attributes: &mut AttributesMut<'_>, text: &mut Vec<u8>) {
    let Some(value) = attributes.get(key) else { return };
    let converted = match (to, value) {
        (ConvertedType::String, AnyValue::String(_))
        | (ConvertedType::Int, AnyValue::Int(_))
        | (ConvertedType::Double, AnyValue::Double(_)) => return,
        (ConvertedType::String, value) => {
            text.clear();
            text::put_value(text, value);
            Some(AnyValue::String(text))
        }
        (ConvertedType::Int, AnyValue::Double(v)) => Some(AnyValue::Int(otelcore_go_number::truncate(v))),
        (ConvertedType::Int, AnyValue::Bool(v)) => Some(AnyValue::Int(v.into())),
        (ConvertedType::Int, AnyValue::String(v)) => otelcore_go_number::parse_int(v).map(AnyValue::Int),
        #[expect(clippy::cast_precision_loss, reason = "that is the conversion")]
        (ConvertedType::Double, AnyValue::Int(v)) => Some(AnyValue::Double(v as f64)),
        (ConvertedType::Double, AnyValue::Bool(v)) => Some(AnyValue::Double(if v { 1.0 } else { 0.0 })),
        (ConvertedType::Double, AnyValue::String(v)) => otelcore_go_number::parse_float(v).map(AnyValue::Double),
        _ => None,
    };
    if let Some(converted) = converted {
        attributes.update(key, converted);
    }
}
