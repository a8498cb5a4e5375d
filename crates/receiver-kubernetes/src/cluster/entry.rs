//! What is kept of an object: its resources with the points of their metrics, without times.
//!
//! A pod is one resource, and each of its containers another one. Owns nothing; what an entry is charged is known by the
//! tables.

use std::borrow::Cow;

use otelcore_kubernetes_client::ObjectMeta;
use otelcore_scraped_metrics::PointValue;

use super::metrics::{ClusterAttribute, ClusterMetric};

/// Attributes and their values.
pub(super) type Attributes = Vec<(ClusterAttribute, Cow<'static, str>)>;

/// The entity of a resource: its type, the attribute by which it is known, and those that describe it.
#[derive(Debug)]
pub(super) struct EntitySpec {
    pub(super) entity_type: &'static str,
    pub(super) id: ClusterAttribute,
    pub(super) description: &'static [ClusterAttribute],
}

#[derive(Debug)]
pub(super) struct EntryPoint {
    pub(super) metric: ClusterMetric,
    pub(super) value: PointValue,
    /// The values of the metric's attributes.
    pub(super) attributes: Vec<Cow<'static, str>>,
}

/// A metric whose name is that of a condition or of a resource of a node.
#[derive(Debug)]
pub(super) struct NodeMetric {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) unit: Cow<'static, str>,
    pub(super) value: PointValue,
}

#[derive(Debug)]
pub(super) struct EntryResource {
    pub(super) entity: Option<&'static EntitySpec>,
    pub(super) attributes: Vec<(ClusterAttribute, Cow<'static, str>)>,
    pub(super) points: Vec<EntryPoint>,
}

/// Endpoints of a service, by their type of address and zone.
#[derive(Clone, Debug)]
pub(super) struct EndpointCount {
    pub(super) address_type: Cow<'static, str>,
    pub(super) zone: Box<str>,
    pub(super) ready: i64,
    pub(super) serving: i64,
    pub(super) terminating: i64,
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) resources: Vec<EntryResource>,
    /// Of a node: attributes and metrics of a resource beside the others.
    pub(super) node: Option<(Attributes, Vec<NodeMetric>)>,
    /// `NAMESPACE/NAME` of the service: of itself, or of the slice of its endpoints.
    pub(super) service: Box<str>,
    pub(super) endpoints: Vec<EndpointCount>,
}

impl Entry {
    pub(super) fn of(resource: EntryResource) -> Self {
        Self { resources: vec![resource], ..Self::default() }
    }

    /// About how many bytes it takes.
    pub(super) fn memory(&self) -> usize {
        let text = |text: &Cow<'static, str>| if matches!(text, Cow::Owned(_)) { text.len() } else { 0 };
        let attributes = |list: &[(ClusterAttribute, Cow<'static, str>)]| -> usize {
            list.iter().map(|(_, value)| 32 + text(value)).sum()
        };
        let resource = |resource: &EntryResource| {
            let point = |point: &EntryPoint| 64 + point.attributes.iter().map(|value| 24 + text(value)).sum::<usize>();
            96 + attributes(&resource.attributes) + resource.points.iter().map(point).sum::<usize>()
        };
        let node = self.node.as_ref().map_or(0, |(list, metrics)| {
            let metric = |metric: &NodeMetric| 128 + metric.name.len() + metric.description.len();
            attributes(list) + metrics.iter().map(metric).sum::<usize>()
        });
        let endpoints: usize = self.endpoints.iter().map(|count| 96 + count.zone.len()).sum();
        160 + self.resources.iter().map(resource).sum::<usize>() + node + endpoints + self.service.len()
    }
}

impl EntryResource {
    /// The resource of an object: its id and its name.
    pub(super) fn new(
        entity: &'static EntitySpec,
        name: ClusterAttribute,
        metadata: &ObjectMeta,
        has_namespace: bool,
    ) -> Self {
        let mut resource = Self { entity: Some(entity), attributes: Vec::with_capacity(4), points: Vec::new() };
        resource.set(entity.id, metadata.uid.clone());
        resource.set(name, metadata.name.clone());
        if has_namespace {
            resource.set(ClusterAttribute::NamespaceName, metadata.namespace.clone());
        }
        resource
    }

    pub(super) fn set(&mut self, attribute: ClusterAttribute, value: impl Into<Cow<'static, str>>) {
        self.attributes.push((attribute, value.into()));
    }

    pub(super) fn int(&mut self, metric: ClusterMetric, value: i64) {
        self.points.push(EntryPoint { metric, value: PointValue::Int(value), attributes: Vec::new() });
    }

    pub(super) fn double(&mut self, metric: ClusterMetric, value: f64) {
        self.points.push(EntryPoint { metric, value: PointValue::Double(value), attributes: Vec::new() });
    }

    pub(super) fn int_of(&mut self, metric: ClusterMetric, value: i64, attributes: Vec<Cow<'static, str>>) {
        self.points.push(EntryPoint { metric, value: PointValue::Int(value), attributes });
    }
}
