//! The `span` processor: makes names of spans from attributes, attributes from names, and sets the status.
//!
//! Changes nothing else of a span.

mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use config::{Rename, Rule, SpanStatus};
pub use config::{SpanConfig, SpanNameConfig, SpanStatusConfig, ToAttributesConfig};
use otelcore_pdata::edit::{Descend, Editor, OutputLimit, ResourceMut, ScopeMut, SpanMut};
use otelcore_pdata::views::AnyValue;
use otelcore_pdata::{Signal, text};
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Payload, StartError};

use crate::edit_processor::{EditProcessor, PayloadEditor};
use crate::matching::{EntryMatch, Matcher};
use otelcore_go_number as go_number;

/// Makes `span` processors.
#[derive(Clone, Copy, Debug)]
pub struct SpanFactory;

impl ComponentType for SpanFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Processor,
        type_name: "span",
        aliases: &[],
        signals: &[Signal::Traces],
        stability: "Alpha",
    };
    type Config = SpanConfig;

    fn create(&self, config: &SpanConfig, _: &BuildContext<'_>) -> Result<Component, StartError> {
        let rename = Rename::compile(config).map_err(|(_, message)| StartError::Config(message))?;
        let matcher = Matcher::compile(config.include.as_ref(), config.exclude.as_ref(), Signal::Traces);
        let matcher = matcher.map_err(|error| StartError::Config(error.message))?;
        let compiled = Arc::new((rename, matcher));
        let new_editor =
            move |_, _| SpanEditor { compiled: compiled.clone(), entry: EntryMatch::default(), name: Vec::new() };
        Ok(Component::Processor(Box::new(EditProcessor::new(new_editor))))
    }
}

struct SpanEditor {
    compiled: Arc<(Rename, Matcher)>,
    entry: EntryMatch,
    name: Vec<u8>,
}

impl Rename {
    /// Writes the name of the values of attributes. False: an attribute is missing.
    fn put_name(&self, name: &mut Vec<u8>, span: &SpanMut<'_>) -> bool {
        name.clear();
        for (index, key) in self.from_attributes.iter().enumerate() {
            let Some(value) = span.attribute(key) else { return false };
            if index > 0 {
                name.extend_from_slice(&self.separator);
            }
            match value {
                AnyValue::String(_) | AnyValue::Bool(_) | AnyValue::Int(_) => text::put_value(name, value),
                AnyValue::Double(v) => go_number::put_decimal(name, v),
                _ => name.extend_from_slice(b"<unknown-attribute-type>"),
            }
        }
        !self.from_attributes.is_empty()
    }

    /// Moves the groups of a match from the name to attributes. False: the pattern does not match.
    fn extract(&self, rule: &Rule, name: &mut Vec<u8>, span: &mut SpanMut<'_>) -> bool {
        let old = span.view().name.to_vec();
        let Some(groups) = rule.pattern.find(&old) else { return false };
        name.clear();
        let mut end = 0;
        for (key, group) in rule.pattern.group_names().iter().zip(groups.iter().skip(1)) {
            let range = group.clone().unwrap_or_default();
            let value = old.get(range.clone()).unwrap_or_default();
            span.attributes().upsert(key.as_bytes(), AnyValue::String(value));
            // A group that takes no part in the match, or is inside of the one before, has no place in the name.
            if group.is_some() && range.start >= end {
                name.extend_from_slice(old.get(end..range.start).unwrap_or_default());
                name.push(b'{');
                name.extend_from_slice(key.as_bytes());
                name.push(b'}');
                end = range.end;
            }
        }
        name.extend_from_slice(old.get(end..).unwrap_or_default());
        if !self.keeps_original_name {
            span.set_name(name);
        }
        true
    }
}

impl PayloadEditor for SpanEditor {
    fn begin(&mut self, _: &Payload) {}

    fn output_limit(&self, payload: &Payload) -> OutputLimit {
        let (rename, _) = &*self.compiled;
        let added = rename.bytes_per_span.saturating_mul(payload.items() as usize);
        let limit = OutputLimit::default();
        OutputLimit { factor: limit.factor + rename.copies, extra: limit.extra.saturating_add(added) }
    }

    fn cost_per_byte(&self) -> u64 {
        let (rename, matcher) = &*self.compiled;
        4 + matcher.cost_per_byte() + 4 * rename.from_attributes.len() as u64 + 100 * rename.rules.len() as u64
    }
}

impl Editor for SpanEditor {
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        self.entry.resource(&self.compiled.1, resource)
    }

    fn scope(&mut self, scope: &mut ScopeMut<'_>) -> Descend {
        self.entry.scope(&self.compiled.1, scope)
    }

    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        let Self { compiled, entry, name } = self;
        let (rename, matcher) = &**compiled;
        if !entry.span(matcher, span) {
            return Descend::Skip;
        }
        if rename.put_name(name, span) {
            span.set_name(name);
        }
        if !span.view().name.is_empty() {
            for rule in &rename.rules {
                if rename.extract(rule, name, span) && rename.breaks_after_match {
                    break;
                }
            }
        }
        if let Some(SpanStatus { code, description }) = &rename.status {
            span.set_status_code(*code);
            span.set_status_message(description);
        }
        Descend::Skip
    }
}
