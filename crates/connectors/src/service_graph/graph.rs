//! From spans to edges, and from edges to series.

use std::sync::Arc;
use std::time::Duration;

use otelcore_pdata::text::put_value;
use otelcore_pdata::views::{KeyValue, ResourceSpans, Span, resource_entries};
use otelcore_pipeline::{Budget, MonotonicTime, Payload, WallTime};

use super::config::ServiceGraphConfig;
use super::edges::{ConnectionType, Edge, EdgeKey, Edges, Upserted};
use super::series::{AllSeries, Buckets};
use crate::ordered_work::Work;

/// What spans are read for.
#[derive(Debug)]
pub(super) struct Settings {
    dimensions: Vec<String>,
    peer_attributes: Vec<String>,
    database_attributes: Vec<String>,
    has_virtual_label: bool,
}

/// What happened, to be added to the connector's own metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GraphCounts {
    /// Spans that were not used, because the store was full.
    pub(super) dropped_spans: u64,
    pub(super) new_edges: u64,
    pub(super) expired_edges: u64,
    /// Requests that were not counted, because there was no room for a new series.
    pub(super) dropped_requests: u64,
}

/// Edges and series of one connector.
pub(super) struct ServiceGraph {
    settings: Settings,
    edges: Edges,
    pub(super) series: AllSeries,
    now: MonotonicTime,
}

/// The sides of a request, in the order of [`Edge::dimensions`].
const CLIENT: usize = 0;
const SERVER: usize = 1;

/// `SpanKind`.
const KIND_SERVER: i32 = 2;
const KIND_CLIENT: i32 = 3;
const KIND_PRODUCER: i32 = 4;
const KIND_CONSUMER: i32 = 5;

/// `STATUS_CODE_ERROR`.
const ERROR: i32 = 2;

impl ServiceGraph {
    pub(super) fn new(config: &ServiceGraphConfig, budget: &Arc<Budget>, now: MonotonicTime, start: WallTime) -> Self {
        let settings = Settings {
            dimensions: config.dimensions.clone(),
            peer_attributes: config.virtual_node_peer_attributes.clone(),
            database_attributes: config.database_name_attributes.clone(),
            has_virtual_label: config.virtual_node_extra_label,
        };
        let max_size = usize::try_from(config.exponential_histogram_max_size).unwrap_or(0);
        let buckets = config.bounds().map_or(Buckets::Exponential(max_size), Buckets::Explicit);
        let max_items = usize::try_from(config.store.max_items).unwrap_or(0);
        let ttl = Duration::from_nanos(config.store.ttl.nanos_or_zero());
        let series = AllSeries::new(buckets, &settings.dimensions, settings.has_virtual_label, budget.keep(0), start);
        Self { settings, edges: Edges::new(max_items, ttl, budget.keep(0)), series, now }
    }

    fn span(&mut self, service: &[u8], resource: &[KeyValue<'_>], span: &Span<'_>, counts: &mut GraphCounts) {
        let Self { settings, edges, now, .. } = self;
        let (side, connection_type, other_span) = match span.kind {
            KIND_PRODUCER => (CLIENT, ConnectionType::MessagingSystem, span.span_id),
            KIND_CLIENT => (CLIENT, ConnectionType::Unknown, span.span_id),
            KIND_CONSUMER => (SERVER, ConnectionType::MessagingSystem, span.parent_span_id),
            KIND_SERVER => (SERVER, ConnectionType::Unknown, span.parent_span_id),
            _ => return,
        };
        let key: EdgeKey = (span.trace_id.try_into().unwrap_or_default(), other_span.try_into().unwrap_or_default());
        let attributes: Vec<KeyValue<'_>> = span.attributes().collect();
        let nanos = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
        let seconds = nanos as f64 / 1e9;
        let update = |edge: &mut Edge| {
            edge.connection_type = connection_type;
            edge.failed |= span.status.code == ERROR;
            edge.dimensions.resize(settings.dimensions.len(), [None, None]);
            for (name, values) in settings.dimensions.iter().zip(&mut edge.dimensions) {
                if let (Some(value), Some(slot)) = (find(name, resource, &attributes), values.get_mut(side)) {
                    *slot = Some(value);
                }
            }
            if side == SERVER {
                edge.server = service.to_vec();
                edge.server_seconds = seconds;
                return;
            }
            edge.client = service.to_vec();
            edge.client_seconds = seconds;
            let mut peers = settings.peer_attributes.iter().enumerate();
            let peer = peers.find_map(|(index, name)| Some((index, find(name, &attributes, &[])?)));
            if let Some((index, peer)) = peer
                && edge.peer.as_ref().is_none_or(|(there, _)| index <= *there)
            {
                edge.peer = Some((index, peer));
            }
            // The request to a database has one span.
            let database = settings.database_attributes.iter().find_map(|name| find(name, resource, &attributes));
            if let Some(database) = database {
                edge.connection_type = ConnectionType::Database;
                edge.server = database;
                edge.server_seconds = seconds;
            }
        };
        match edges.upsert(*now, key, update) {
            Upserted::Complete { edge, is_new } => {
                counts.new_edges += u64::from(is_new);
                self.record(edge, counts);
            }
            Upserted::Waiting { is_new } => counts.new_edges += u64::from(is_new),
            Upserted::NoRoom => counts.dropped_spans += 1,
        }
    }

    fn record(&mut self, edge: Edge, counts: &mut GraphCounts) {
        counts.dropped_requests += u64::from(!self.series.record(self.now, edge));
    }

    /// Removes up to `count` edges that have waited too long. Returns whether there may be more.
    pub(super) fn expire(&mut self, now: MonotonicTime, count: usize, counts: &mut GraphCounts) -> bool {
        self.now = now;
        for _ in 0..count {
            let Some((key, edge)) = self.edges.pop_expired(now) else { return false };
            counts.expired_edges += 1;
            self.record_virtual(&key, edge, counts);
        }
        true
    }

    /// Counts the request of an edge without one of its spans, if that service is to be in the graph.
    fn record_virtual(&mut self, (_, client_span): &EdgeKey, mut edge: Edge, counts: &mut GraphCounts) {
        if self.settings.peer_attributes.is_empty() {
            return;
        }
        edge.connection_type = ConnectionType::VirtualNode;
        let label = |side| if self.settings.has_virtual_label { side } else { "" };
        if edge.client.is_empty() && *client_span == [0; 8] {
            edge.client = b"user".to_vec();
            edge.virtual_node = label("client");
        } else if edge.server.is_empty() {
            edge.server = edge.peer.take().map_or_else(|| b"unknown".to_vec(), |(_, peer)| peer);
            edge.virtual_node = label("server");
        } else {
            return;
        }
        self.record(edge, counts);
    }
}

/// The value of an attribute as a text: the first list that has it.
fn find(name: &str, first: &[KeyValue<'_>], second: &[KeyValue<'_>]) -> Option<Vec<u8>> {
    let found = first.iter().chain(second).find(|attribute| attribute.key == name.as_bytes())?;
    let mut text = Vec::new();
    put_value(&mut text, found.value);
    Some(text)
}

impl Work for ServiceGraph {
    type Output = GraphCounts;

    fn cost_per_byte(&self) -> u64 {
        let names = self.settings.dimensions.len()
            + self.settings.peer_attributes.len()
            + self.settings.database_attributes.len();
        8 + names as u64
    }

    fn set_time(&mut self, now: MonotonicTime, _: WallTime) {
        self.now = now;
    }

    fn run(&mut self, payload: &mut Payload) -> GraphCounts {
        let mut counts = GraphCounts::default();
        for entry in resource_entries::<ResourceSpans<'_>>(&payload.body) {
            let resource: Vec<KeyValue<'_>> = entry.resource.attributes().collect();
            let Some(service) = find("service.name", &resource, &[]) else { continue };
            for scope in entry.scope_spans() {
                for span in scope.spans() {
                    self.span(&service, &resource, &span, &mut counts);
                }
            }
        }
        counts
    }
}
