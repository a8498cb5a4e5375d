//! JSON Schemas of components and of whole configurations, from the declarations of their keys.
//!
//! Nothing about a single component stands here: what a registry has is what the schemas have.

use std::collections::BTreeMap;

use otelcore_config::declare::{Description, Field, described, expandable, object, schema};
use otelcore_config::{ComponentId, EffectiveValue, Located};
use otelcore_pipeline::ComponentKind;

use crate::plan::section_name;
use crate::registry::Registry;
use crate::telemetry::TelemetryConfig;

const KINDS: [ComponentKind; 5] = [
    ComponentKind::Receiver,
    ComponentKind::Processor,
    ComponentKind::Exporter,
    ComponentKind::Connector,
    ComponentKind::Extension,
];

fn text(text: impl Into<String>) -> EffectiveValue {
    EffectiveValue::Str(text.into())
}

/// The keys of a component as an object; any keys, where they are not known.
fn keys(description: Option<&Description>) -> EffectiveValue {
    description.map_or_else(
        || EffectiveValue::map([("type", text("object"))]),
        |description| object(&description.fields, None),
    )
}

/// Every type of a kind with its older names: the name, what replaces it if it is an older one, and the description.
fn types(registry: &Registry, kind: ComponentKind) -> Vec<(&'static str, Option<&'static str>, Option<Description>)> {
    let mut all = Vec::new();
    for factory in registry.all_of_kind(kind) {
        let info = factory.info();
        let description = factory.description();
        // A name that is a type of its own is no alias of another one.
        let aliases = info
            .aliases
            .iter()
            .filter(|alias| registry.get(kind, alias).is_some_and(|found| found.info().type_name == info.type_name));
        all.extend(aliases.map(|alias| (*alias, Some(info.type_name), description.clone())));
        all.push((info.type_name, None, description));
    }
    all
}

fn with(value: EffectiveValue, key: &str, entry: EffectiveValue) -> EffectiveValue {
    let EffectiveValue::Map(mut map) = value else { return value };
    map.insert(key.to_owned(), entry);
    EffectiveValue::Map(map)
}

/// `{"receivers": {"otlp": SCHEMA, ..}, ..}`, each a document of its own.
pub(crate) fn of_components(registry: &Registry) -> EffectiveValue {
    let kinds = KINDS.map(|kind| {
        let documents = types(registry, kind).into_iter().map(|(name, replaced_by, description)| {
            let doc = description.as_ref().map_or("", |description| &description.doc);
            let document = schema(name, doc, keys(description.as_ref()));
            let document = match replaced_by {
                Some(_) => with(document, "deprecated", EffectiveValue::Bool(true)),
                None => document,
            };
            (name, document)
        });
        (section_name(kind), EffectiveValue::map(documents))
    });
    EffectiveValue::map(kinds)
}

/// A whole configuration.
pub(crate) fn of_configuration(registry: &Registry) -> EffectiveValue {
    let kinds = KINDS.map(|kind| {
        let components = types(registry, kind).into_iter().map(|(name, replaced_by, description)| {
            let doc = description.as_ref().map_or("", |description| &description.doc);
            let component = with(expandable(keys(description.as_ref())), "description", text(doc));
            let component = match replaced_by {
                Some(_) => with(component, "deprecated", EffectiveValue::Bool(true)),
                None => component,
            };
            (id_pattern(name), component)
        });
        (section_name(kind), by_id(components.collect()))
    });
    let sections = kinds.into_iter().chain([("service", service())]);
    let root = EffectiveValue::map([
        ("type", text("object")),
        ("properties", EffectiveValue::map(sections)),
        ("additionalProperties", EffectiveValue::Bool(false)),
    ]);
    schema("otelcore", "A configuration of the collector.", root)
}

/// `otlp` or `otlp/name`.
fn id_pattern(type_name: &str) -> String {
    format!("^{type_name}(/.+)?$")
}

/// A section whose keys are ids.
fn by_id(patterns: BTreeMap<String, EffectiveValue>) -> EffectiveValue {
    expandable(EffectiveValue::map([
        ("type", text("object")),
        ("patternProperties", EffectiveValue::Map(patterns)),
        ("additionalProperties", EffectiveValue::Bool(false)),
    ]))
}

fn service() -> EffectiveValue {
    let ids = |key, doc| Field::described(key, &[doc], &Vec::<Located<ComponentId>>::new());
    let pipeline = object(
        &[
            ids("receivers", "The ids of its receivers."),
            ids("processors", "The ids of its processors, in their order."),
            ids("exporters", "The ids of its exporters."),
        ],
        None,
    );
    let pipelines = by_id(BTreeMap::from([(id_pattern("(traces|metrics|logs)"), expandable(pipeline))]));
    let telemetry =
        Field::described("telemetry", &["What the collector says about itself."], &TelemetryConfig::default());
    let properties = [
        ("extensions", described(&ids("extensions", "The ids of the extensions that are started, in their order."))),
        ("pipelines", pipelines),
        ("telemetry", described(&telemetry)),
    ];
    expandable(EffectiveValue::map([
        ("type", text("object")),
        ("properties", EffectiveValue::map(properties)),
        ("additionalProperties", EffectiveValue::Bool(false)),
    ]))
}
