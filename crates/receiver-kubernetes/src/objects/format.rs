//! Objects as records: the whole object is the body.

use std::collections::BTreeMap;
use std::sync::Arc;

use otelcore_kubernetes_client::ApiResource;
use otelcore_pdata::Value;
use otelcore_pdata::build::{Body, LogRecordWriter};

use crate::records::{DecodedObject, RecordFormat, path, string};
use crate::source::{NamespacePattern, ObjectSource};

const SCOPE: &str = "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/k8sobjectsreceiver";

struct SourceFormat {
    resource: String,
    excluded: Arc<[NamespacePattern]>,
}

/// The format. It knows the sources by their positions.
pub(super) struct ObjectFormat(Vec<SourceFormat>);

impl ObjectFormat {
    pub(super) fn of_sources(_: u64, sources: &[ObjectSource], resources: &[ApiResource]) -> Arc<dyn RecordFormat> {
        let format = |(source, resource): (&ObjectSource, &ApiResource)| SourceFormat {
            resource: resource.name.clone(),
            excluded: source.excluded_namespaces.clone(),
        };
        Arc::new(Self(sources.iter().zip(resources).map(format).collect()))
    }
}

impl RecordFormat for ObjectFormat {
    fn write(&self, objects: Vec<DecodedObject>, now: u64, body: &mut Body) {
        let mut namespaces: Vec<(String, Vec<DecodedObject>)> = Vec::new();
        let mut positions = BTreeMap::new();
        for object in objects {
            let Some(source) = self.0.get(object.source) else { continue };
            let namespace = string(path(&object.object, &["metadata", "namespace"]));
            if !namespace.is_empty() && source.excluded.iter().any(|pattern| pattern.is_match(namespace)) {
                continue;
            }
            let position = *positions.entry(namespace.to_owned()).or_insert_with(|| {
                namespaces.push((namespace.to_owned(), Vec::new()));
                namespaces.len() - 1
            });
            if let Some((_, objects)) = namespaces.get_mut(position) {
                objects.push(object);
            }
        }
        for (namespace, objects) in namespaces {
            let mut entry = body.resource_logs();
            {
                let mut resource = entry.resource();
                if !namespace.is_empty() {
                    resource.attributes().string(b"k8s.namespace.name", namespace.as_bytes());
                }
            }
            let mut scope = entry.scope_logs();
            scope.scope().name(SCOPE.as_bytes()).version(env!("CARGO_PKG_VERSION").as_bytes());
            for object in objects {
                if let Some(source) = self.0.get(object.source) {
                    write_record(&mut scope.log_record(), &source.resource, object, now);
                }
            }
        }
    }
}

fn write_record(record: &mut LogRecordWriter<'_>, resource: &str, object: DecodedObject, now: u64) {
    record.observed_time_unix_nano(now);
    {
        let mut attributes = record.attributes();
        attributes.string(b"k8s.resource.name", resource.as_bytes());
        let name = string(path(&object.object, &["metadata", "name"]));
        if object.event_type.is_some() && !name.is_empty() {
            attributes.string(b"event.domain", b"k8s").string(b"event.name", name.as_bytes());
        }
    }
    let value = match object.event_type {
        None => object.object,
        Some(event_type) => Value::Map(vec![
            (b"type".to_vec(), Value::String(event_type.as_bytes().to_vec())),
            (b"object".to_vec(), object.object),
        ]),
    };
    record.body_value(&value);
}
