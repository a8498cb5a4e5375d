//! The lists and watches of a receiver while it runs, and the batch of objects that they have read.
//!
//! Owns the client and the timers of pulls. What becomes of a batch is up to the receiver.

use std::sync::Arc;

use otelcore_kubernetes_client::{
    ApiResource, ApiServer, ChangeKind, KubernetesApiConfig, ObjectConsumer, WatchClient, WatchId,
};
use otelcore_pipeline::{Cx, Event, Logger, MonotonicTime, TimerId};

use crate::records::{ReadObject, RecordFormat};
use crate::source::{ObjectSource, ReadMode};
use crate::versions::{StoredVersions, version_key};

/// A pull is not repeated sooner.
const MIN_INTERVAL: std::time::Duration = std::time::Duration::from_millis(1);

/// A list or watch of a source in a namespace.
struct RunningWatch {
    source: usize,
    key: String,
    /// Objects of the first list that are not newer were sent before the start.
    sent_version: u64,
}

/// A source that is pulled.
struct Pull {
    source: usize,
    at: MonotonicTime,
    timer: TimerId,
}

/// Collects what the client passes on.
struct Collector<'a> {
    sources: &'a [ObjectSource],
    watches: &'a [RunningWatch],
    batch: &'a mut Vec<ReadObject>,
}

impl ObjectConsumer for Collector<'_> {
    fn begin_list(&mut self, _: WatchId) {}

    fn apply(&mut self, _: &mut Cx<'_>, watch: WatchId, change: ChangeKind, object: &[u8]) -> Result<(), String> {
        let Some(watch) = self.watches.get(watch.0) else { return Ok(()) };
        let Some(source) = self.sources.get(watch.source) else { return Ok(()) };
        let event_type = source.event_type(change);
        if !source.excludes(event_type) {
            let is_listed = change == ChangeKind::Listed;
            let sent_version = if is_listed { watch.sent_version } else { 0 };
            let json = object.to_vec();
            self.batch.push(ReadObject { source: watch.source, event_type, is_listed, sent_version, json });
        }
        Ok(())
    }

    fn end_list(&mut self, _: &mut Cx<'_>, _: WatchId) {}
}

/// The lists and watches. See the module.
pub(crate) struct Running {
    client: WatchClient,
    pub(crate) resources: Arc<[ApiResource]>,
    pub(crate) format: Arc<dyn RecordFormat>,
    watches: Vec<RunningWatch>,
    pulls: Vec<Pull>,
    batch: Vec<ReadObject>,
    is_paused: bool,
}

/// With what lists and watches are begun.
pub(crate) struct RunContext<'a> {
    pub(crate) server: &'a ApiServer,
    pub(crate) api: &'a KubernetesApiConfig,
    pub(crate) log: &'a Logger,
    pub(crate) versions: &'a StoredVersions,
    /// The first local key of the client, and of the timers of pulls.
    pub(crate) client_keys: u64,
    pub(crate) pull_keys: u64,
}

impl Running {
    /// Begins to read. `sources` have the resources of the same position.
    pub(crate) fn start(
        cx: &mut Cx<'_>,
        context: &RunContext<'_>,
        sources: &[ObjectSource],
        resources: Vec<ApiResource>,
        format: Arc<dyn RecordFormat>,
    ) -> Self {
        let (server, log) = (context.server.clone(), context.log.clone());
        let mut client = WatchClient::for_server(server, context.api, cx, log, context.client_keys);
        let (mut watches, mut pulls) = (Vec::new(), Vec::new());
        for (index, (source, resource)) in sources.iter().zip(&resources).enumerate() {
            let everywhere = [String::new()];
            let namespaces = if source.namespaces.is_empty() { &everywhere[..] } else { &source.namespaces };
            for namespace in namespaces {
                let key = version_key(&resource.name, namespace);
                let kept = context.versions.get(&key);
                client.add_watch(cx, source.watch_spec(resource, namespace, kept));
                let sent_version = kept.parse().unwrap_or(0);
                watches.push(RunningWatch { source: index, key, sent_version });
            }
            if let ReadMode::Pull { interval } = source.mode {
                let at = cx.now() + interval.max(MIN_INTERVAL);
                let timer = cx.set_timer(context.pull_keys + index as u64, at);
                pulls.push(Pull { source: index, at, timer });
            }
        }
        Self { client, resources: resources.into(), format, watches, pulls, batch: Vec::new(), is_paused: false }
    }

    /// An event of the client.
    pub(crate) fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>, sources: &[ObjectSource]) {
        let mut collector = Collector { sources, watches: &self.watches, batch: &mut self.batch };
        self.client.handle_event(cx, local, event, &mut collector);
    }

    /// The timer of a pull. `key` is its local key.
    pub(crate) fn pull(&mut self, cx: &mut Cx<'_>, source: usize, key: u64, sources: &[ObjectSource]) {
        let Some(ReadMode::Pull { interval }) = sources.get(source).map(|source| &source.mode) else { return };
        let now = cx.now();
        let Some(pull) = self.pulls.iter_mut().find(|pull| pull.source == source && pull.at <= now) else { return };
        pull.at = (pull.at + (*interval).max(MIN_INTERVAL)).max(now);
        pull.timer = cx.set_timer(key, pull.at);
        for (index, _) in self.watches.iter().enumerate().filter(|(_, watch)| watch.source == source) {
            // One that is listed still is listed only once.
            self.client.list_again(cx, WatchId(index));
        }
    }

    /// While it is paused, nothing is read.
    pub(crate) fn set_paused(&mut self, cx: &mut Cx<'_>, is_paused: bool) {
        if std::mem::replace(&mut self.is_paused, is_paused) != is_paused {
            self.client.set_paused(cx, is_paused);
        }
    }

    /// What has been read.
    pub(crate) fn take_batch(&mut self) -> Vec<ReadObject> {
        std::mem::take(&mut self.batch)
    }

    /// Up to which versions changes have been read, by the keys of the storage. Empty while some of them wait in the batch.
    pub(crate) fn read_versions(&self, sources: &[ObjectSource]) -> Vec<(String, String)> {
        if !self.batch.is_empty() {
            return Vec::new();
        }
        let is_watched = |watch: &RunningWatch| {
            sources.get(watch.source).is_some_and(|source| matches!(source.mode, ReadMode::Watch { .. }))
        };
        let watched = self.watches.iter().enumerate().filter(|(_, watch)| is_watched(watch));
        let version = |(index, watch): (usize, &RunningWatch)| {
            Some((watch.key.clone(), self.client.version(WatchId(index))?.to_owned()))
        };
        watched.filter_map(version).collect()
    }

    pub(crate) fn close(&mut self, cx: &mut Cx<'_>) {
        self.client.close(cx);
        self.pulls.drain(..).for_each(|pull| cx.cancel_timer(pull.timer));
    }
}
