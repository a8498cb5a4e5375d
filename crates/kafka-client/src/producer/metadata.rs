//! When the metadata of the cluster is read, from whom, and what changes with it.

use otelcore_pipeline::{Cx, MonotonicTime};

use super::requests::RequestKind;
use super::{Producer, SendError};
use crate::error_code::{ErrorClass, ErrorCode};
use crate::messages::{self, TopicMetadata};
use crate::versions::ApiKey;

#[derive(Default)]
pub(super) struct MetadataState {
    /// Something waits for it.
    pub(super) is_needed: bool,
    pub(super) is_in_flight: bool,
    /// A request must not be sent before.
    not_before: MonotonicTime,
    /// It is read again then.
    refresh_at: Option<MonotonicTime>,
}

impl Producer {
    /// When metadata is requested next.
    pub(super) fn metadata_deadline(&self, now: MonotonicTime) -> Option<MonotonicTime> {
        let state = &self.metadata;
        if state.is_in_flight {
            return None;
        }
        let urgent = (state.is_needed && state.not_before > now && !self.calls.is_empty()).then_some(state.not_before);
        let refresh = state.refresh_at.filter(|at| *at > now);
        [urgent, refresh].into_iter().flatten().min()
    }

    /// Requests metadata, if it is needed or old.
    pub(super) fn advance_metadata(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        if self.metadata.refresh_at.is_some_and(|at| at <= now) {
            self.metadata.refresh_at = None;
            self.metadata.is_needed = true;
        }
        let is_due = self.metadata.is_needed && !self.metadata.is_in_flight && self.metadata.not_before <= now;
        if !is_due || self.calls.is_empty() {
            return;
        }
        let Some(node) = self.nodes.any(cx) else { return };
        match self.nodes.version(node, ApiKey::Metadata) {
            Some(Ok(version)) => {
                let may_create = self.config.may_create_topics;
                let names = self.topics.values().map(|topic| &*topic.name);
                let names: Vec<&str> = names.collect();
                let request = messages::metadata_request(version, Some(names.into_iter()), may_create);
                let token = self.new_token(RequestKind::Metadata);
                self.metadata.is_in_flight = true;
                self.metadata.is_needed = false;
                let deadline = now + self.client.metadata_timeout();
                self.nodes.send(cx, (node, token), (ApiKey::Metadata, version), (request, true), deadline);
            }
            Some(Err(error)) => {
                self.last_error = Some(error.into());
                self.metadata.not_before = now + self.client.metadata_pause;
            }
            None => {}
        }
    }

    /// Takes over what the cluster says.
    pub(super) fn handle_metadata(&mut self, cx: &mut Cx<'_>, node: i32, version: i16, body: &[u8]) {
        let now = cx.now();
        self.metadata.is_in_flight = false;
        self.metadata.not_before = now + self.client.metadata_pause;
        let metadata = match messages::read_metadata(version, body) {
            Ok(metadata) => metadata,
            Err(e) => {
                self.last_error = Some(format!("the broker's metadata is invalid: {e}").into());
                self.metadata.is_needed = true;
                return;
            }
        };
        self.nodes.throttle(node, now, metadata.throttle_ms);
        self.nodes.set_brokers(&metadata.brokers);
        self.metadata.refresh_at = Some(now + self.client.metadata_interval);
        for topic in metadata.topics {
            self.handle_topic(cx, &topic);
        }
        // A broker may be known now, or be at another address.
        self.pending_nodes.extend(self.due.keys());
    }

    fn handle_topic(&mut self, cx: &mut Cx<'_>, update: &TopicMetadata) {
        let Some(id) = self.topic_ids.get(update.name.as_str()).copied() else { return };
        let Some(topic) = self.topics.get_mut(&id) else { return };
        if !update.error.is_none() && update.error != ErrorCode(5) || update.partitions.is_empty() {
            let error = if update.error.is_none() { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION } else { update.error };
            topic.error = Some(error);
            let waits = !topic.is_idle();
            if error.class() == ErrorClass::Permanent {
                let text = format!("error exporting to topic {:?}: {error}", topic.name);
                for queued in std::mem::take(&mut topic.waiting) {
                    self.finish_record(queued.call, Err(SendError::Refused(text.clone())));
                }
            }
            self.metadata.is_needed |= waits && error.class() != ErrorClass::Permanent;
            return;
        }
        topic.error = None;
        let name = topic.name.clone();
        let gone = topic.update(&update.partitions);
        let with_state = topic.slots.iter().filter(|slot| slot.partition.is_some());
        let with_state: Vec<i32> = with_state.map(|slot| slot.index).collect();
        if !gone.is_empty() {
            self.fail_gone(&name, gone);
        }
        for index in with_state {
            self.schedule(cx.now(), (id, index));
        }
        self.assign_waiting(cx, id);
    }
}
