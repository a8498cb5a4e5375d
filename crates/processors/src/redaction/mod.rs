//! The `redaction` processor: removes attributes that are not allowed, and masks values.
//!
//! What can't be decided is masked, never passed on. Names of spans and metrics are not changed.

mod config;
mod mask;
mod rules;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use config::RedactionConfig;
use config::{Rules, Summary};
use otelcore_pdata::edit::{
    AttributesMut, Descend, Editor, EventMut, Keep, LogMut, OutputLimit, PointMut, ResourceMut, ScopeMut, SpanMut,
};
use otelcore_pdata::views::AnyValue;
use otelcore_pdata::{Signal, Value};
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Payload, StartError};
use rules::{Decision, Done};

use crate::edit_processor::{EditProcessor, PayloadEditor};

/// Makes `redaction` processors.
#[derive(Clone, Copy, Debug)]
pub struct RedactionFactory;

impl ComponentType for RedactionFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Processor,
        type_name: "redaction",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Alpha",
    };
    type Config = RedactionConfig;

    fn create(&self, config: &RedactionConfig, _: &BuildContext<'_>) -> Result<Component, StartError> {
        let rules = Arc::new(Rules::compile(config).map_err(|error| StartError::Config(error.message))?);
        let new_editor = move |_, _| RedactionEditor { rules: rules.clone(), plan: Vec::new(), text: Vec::new() };
        Ok(Component::Processor(Box::new(EditProcessor::new(new_editor))))
    }
}

struct RedactionEditor {
    rules: Arc<Rules>,
    /// For each attribute of the message that is edited, what is done with it.
    plan: Vec<Decision>,
    /// A value as text.
    text: Vec<u8>,
}

/// The attributes that say what has been done: those with keys, and those with numbers.
struct SummaryKeys {
    redacted: (&'static [u8], &'static [u8]),
    masked: (&'static [u8], &'static [u8]),
    allowed: (&'static [u8], &'static [u8]),
    ignored_count: &'static [u8],
}

const OF_ATTRIBUTES: SummaryKeys = SummaryKeys {
    redacted: (b"redaction.redacted.keys", b"redaction.redacted.count"),
    masked: (b"redaction.masked.keys", b"redaction.masked.count"),
    allowed: (b"redaction.allowed.keys", b"redaction.allowed.count"),
    ignored_count: b"redaction.ignored.count",
};

const OF_BODY: SummaryKeys = SummaryKeys {
    redacted: (b"redaction.body.redacted.keys", b"redaction.body.redacted.count"),
    masked: (b"redaction.body.masked.keys", b"redaction.body.masked.count"),
    allowed: (b"redaction.body.allowed.keys", b"redaction.body.allowed.count"),
    ignored_count: b"redaction.body.ignored.count",
};

impl RedactionEditor {
    fn attributes(&mut self, attributes: &mut AttributesMut<'_>) {
        let Self { rules, plan, text } = self;
        let mut done = Done::new(rules.summary);
        plan.clear();
        let mut is_changed = false;
        for attribute in attributes.iter() {
            let decision = rules.decide(attribute.key, attribute.value, text, &mut done);
            is_changed |= !matches!(decision, Decision::Keep);
            plan.push(decision);
        }
        if is_changed {
            let mut plan = plan.iter();
            attributes.for_each(|attribute| match plan.next() {
                Some(Decision::Remove) => attribute.remove(),
                Some(Decision::Replace(text)) => attribute.set_value(AnyValue::String(text)),
                Some(Decision::Keep) | None => {}
            });
        }
        put_summary(rules, attributes, done, &OF_ATTRIBUTES);
    }

    fn body(&mut self, log: &mut LogMut<'_>) {
        let Self { rules, text, .. } = self;
        let mut done = Done::new(rules.summary);
        match log.view().body {
            nested @ (AnyValue::Map(_) | AnyValue::Array(_)) => {
                let mut body = Value::decode(nested);
                if rules.redact_body(&mut body, text, &mut done) {
                    log.update_body(|value| *value = body);
                }
            }
            value => {
                rules::put_text(text, value);
                if rules.is_allowed_value(text) {
                    return;
                }
                if let Some(masked) = rules.mask_blocked(text) {
                    done.masked.add(b"body");
                    log.set_body(AnyValue::String(&masked));
                }
            }
        }
        put_summary(rules, &mut log.attributes(), done, &OF_BODY);
    }
}

/// Writes what has been done with a message to its attributes, beside what an earlier processor has written there.
fn put_summary(rules: &Rules, attributes: &mut AttributesMut<'_>, done: Done, keys: &SummaryKeys) {
    if rules.summary == Summary::Silent {
        return;
    }
    let Done { redacted, masked, allowed, ignored } = done;
    for (list, (keys_attribute, count_attribute)) in
        [(redacted, keys.redacted), (masked, keys.masked), (allowed, keys.allowed)]
    {
        if list.count > 0 && rules.summary == Summary::Debug {
            put_keys(attributes, list.keys, keys_attribute);
        }
        put_count(attributes, list.count, count_attribute);
    }
    put_count(attributes, ignored.count, keys.ignored_count);
}

fn put_keys(attributes: &mut AttributesMut<'_>, mut keys: Vec<Vec<u8>>, attribute: &[u8]) {
    if let Some(AnyValue::String(existing)) = attributes.get(attribute)
        && !existing.is_empty()
    {
        keys.extend(existing.split(|b| *b == b',').map(<[u8]>::to_vec));
    }
    keys.sort_unstable();
    attributes.upsert(attribute, AnyValue::String(&keys.join(&b',')));
}

fn put_count(attributes: &mut AttributesMut<'_>, count: u64, attribute: &[u8]) {
    if count == 0 {
        return;
    }
    let existing = match attributes.get(attribute) {
        Some(AnyValue::Int(v)) => v,
        _ => 0,
    };
    attributes.upsert(attribute, AnyValue::Int(existing.wrapping_add(count.cast_signed())));
}

impl PayloadEditor for RedactionEditor {
    fn begin(&mut self, _: &Payload) {}

    fn output_limit(&self, payload: &Payload) -> OutputLimit {
        // Keys are repeated in the summary, and each key may have a mask.
        let limit = OutputLimit::default();
        let per_item = 8 * (64 + self.rules.mask.len());
        OutputLimit {
            factor: limit.factor + 2 + self.rules.mask.len() / 4,
            extra: limit.extra.saturating_add((payload.items() as usize).saturating_mul(per_item)),
        }
    }

    fn cost_per_byte(&self) -> u64 {
        let rules = &self.rules;
        let patterns = [&rules.ignored_key_patterns, &rules.blocked_key_patterns, &rules.allowed_values];
        let patterns = patterns.into_iter().flatten().count() + 2 * rules.blocked_values.len();
        8 + 8 * patterns as u64 + if rules.mask.len() > 4 { 40 } else { 0 }
    }
}

impl Editor for RedactionEditor {
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        self.attributes(&mut resource.attributes());
        Descend::Children
    }

    fn scope(&mut self, scope: &mut ScopeMut<'_>) -> Descend {
        self.attributes(&mut scope.attributes());
        Descend::Children
    }

    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        self.attributes(&mut span.attributes());
        Descend::Children
    }

    fn event(&mut self, event: &mut EventMut<'_>) -> Keep {
        self.attributes(&mut event.attributes());
        Keep::Keep
    }

    fn point(&mut self, point: &mut PointMut<'_>) -> Keep {
        self.attributes(&mut point.attributes());
        Keep::Keep
    }

    fn log(&mut self, log: &mut LogMut<'_>) -> Keep {
        self.attributes(&mut log.attributes());
        self.body(log);
        Keep::Keep
    }
}
