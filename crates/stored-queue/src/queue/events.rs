//! What the log reports, and what follows from it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use otelcore_pipeline::{Cx, FileSystem, Outcome, Payload};
use otelcore_storage::{LogEvent, OpenError, ReadResult, Record, Recovered, Trouble};

use super::{DiskQueue, PendingPayload, Phase, RECREATE_KEY, rope};
use crate::context::decode_metadata;

impl DiskQueue {
    pub(super) fn handle_log_events(&mut self, cx: &mut Cx<'_>) {
        loop {
            let event = self.late_events.pop_front().or_else(|| self.storage.as_mut()?.poll_event());
            let Some(event) = event else { return };
            self.handle_log_event(cx, event);
        }
    }

    fn handle_log_event(&mut self, cx: &mut Cx<'_>, event: LogEvent) {
        match event {
            LogEvent::Recovered(found) => self.recovered(&found),
            LogEvent::OpenFailed(error) => self.open_failed(cx, &error),
            LogEvent::Durable { up_to } => self.become_durable(up_to),
            LogEvent::Refused { range, trouble } => self.refuse_pending(range, &trouble),
            LogEvent::Read(result) => self.take_read(cx, result),
            LogEvent::ReadFailed(error) => {
                self.reports.read_failed(cx.now(), &error);
                self.has_read_failed = true;
            }
            LogEvent::Quarantined { bytes, segment, is_unacknowledged: true, .. } => {
                self.reports.torn_tail(bytes, &segment);
            }
            LogEvent::Quarantined { records, bytes, copy, segment, .. } => {
                self.metrics.quarantined.add(records);
                self.reports.quarantined(records, bytes, copy.as_ref(), &segment);
                self.release(0, bytes);
            }
            LogEvent::TornTail { bytes, segment } => self.reports.torn_tail(bytes, &segment),
            LogEvent::Missing { records } => self.reports.missing(records),
            LogEvent::MarksDamaged => self.reports.marks_damaged(),
            LogEvent::Trouble(trouble) => self.reports.trouble(cx.now(), Some(&trouble)),
            LogEvent::Working => self.reports.trouble(cx.now(), None),
            LogEvent::Buried { sequence, result } => self.burial_ended(sequence, result.is_ok()),
            LogEvent::Closed => self.is_closed = true,
        }
    }

    fn recovered(&mut self, found: &Recovered) {
        self.phase = Phase::Open;
        self.durable = self.storage.as_ref().map_or(0, otelcore_storage::Log::durable_up_to);
        (self.is_behind, self.next_read) = (found.records > 0, found.first);
        self.items = self.items.saturating_add(found.items);
        self.counts.recovered = self.counts.recovered.saturating_add(found.items);
        self.bytes = self.bytes.saturating_add(found.bytes);
        self.reports.opened(found);
    }

    fn open_failed(&mut self, cx: &mut Cx<'_>, error: &OpenError) {
        let is_locked = matches!(error, OpenError::InUse(_));
        if is_locked && cx.now().since(self.opening_since) < self.location.lock_timeout {
            // Another process may be about to end.
            self.phase = Phase::Opening;
            self.waits_for_lock = true;
            return;
        }
        self.phase = Phase::Failed(error.to_string());
        self.reports.open_failed(error);
        self.refuse_waiting(&error.to_string());
        if matches!(error, OpenError::Damaged(_)) && self.location.recreate && self.recreation.is_none() {
            let (directory, time) = (self.location.directory.clone(), cx.wall_time().0 / 1_000_000);
            let rename = move |files: &mut dyn FileSystem| rename_directory(files, &directory, time);
            self.recreation = cx.run_file_job(RECREATE_KEY, rename).ok();
        }
    }

    pub(super) fn recreation_ended(&mut self) {
        let Some(result) = self.recreation.take().and_then(|job| job.take()) else { return };
        match result {
            Ok(copy) => {
                self.reports.recreated(&copy);
                if let Some(storage) = &mut self.storage {
                    storage.retry();
                }
            }
            Err(error) => self.reports.recreate_failed(&error),
        }
    }

    /// Answers the senders of what is durable, and gives it to the exporter where it is next.
    fn become_durable(&mut self, up_to: u64) {
        self.durable = self.durable.max(up_to);
        let later = self.pending.split_off(&up_to);
        for (sequence, pending) in std::mem::replace(&mut self.pending, later) {
            let PendingPayload { meta, body, metadata, held, ack } = pending;
            self.pending_items = self.pending_items.saturating_sub(u64::from(meta.items));
            ack.settle(Outcome::Delivered);
            if sequence < self.next_read {
                // A read was faster.
                continue;
            }
            if self.is_behind || self.has_stopped || !self.window.has_room(&body, self.window_limit()) {
                if !std::mem::replace(&mut self.is_behind, true) {
                    self.next_read = sequence;
                }
                continue;
            }
            let payload = Payload { signal: self.signal, body: rope(&meta, body.clone()), metadata, held };
            self.window.insert(sequence, meta, body, payload);
        }
    }

    fn refuse_pending(&mut self, range: std::ops::Range<u64>, trouble: &Trouble) {
        let mut refused = self.pending.split_off(&range.start);
        self.pending.append(&mut refused.split_off(&range.end));
        for pending in refused.into_values() {
            let items = u64::from(pending.meta.items);
            self.pending_items = self.pending_items.saturating_sub(items);
            self.metrics.queue.enqueue_failed.add(items);
            pending.ack.settle(Outcome::retry(trouble.to_string()));
            self.release(items, pending.body.len() as u64);
        }
    }

    fn take_read(&mut self, cx: &Cx<'_>, result: ReadResult) {
        for record in result.records {
            let sequence = record.sequence;
            if self.window.contains(sequence) || self.burials.contains_key(&sequence) {
                continue;
            }
            if record.meta.kind != self.signal as u8 {
                self.counts.set_aside = self.counts.set_aside.saturating_add(u64::from(record.meta.items));
                self.bury(cx.now(), record, "it has another signal than its queue".to_owned());
                continue;
            }
            let Record { meta, body, .. } = record;
            let payload = Payload {
                signal: self.signal,
                body: rope(&meta, body.clone()),
                metadata: decode_metadata(&meta.context).map(Arc::new),
                held: self.budget.hold(body.len() as u64),
            };
            self.window.insert(sequence, meta, body, payload);
        }
        self.next_read = self.returned_from.take().unwrap_or(result.next);
        self.is_behind = self.next_read < self.durable;
    }

    /// Notes a record that the exporter has not finished: it is read again.
    pub(super) fn give_back(&mut self, sequence: u64) {
        if self.storage.as_ref().is_some_and(otelcore_storage::Log::is_reading) {
            self.returned_from = Some(self.returned_from.map_or(sequence, |from| from.min(sequence)));
        } else {
            self.next_read = if self.is_behind { self.next_read.min(sequence) } else { sequence };
            self.is_behind = true;
        }
    }

    fn burial_ended(&mut self, sequence: u64, is_buried: bool) {
        if !is_buried {
            if let Some(burial) = self.burials.get_mut(&sequence) {
                burial.is_begun = false;
            }
        } else if let Some(burial) = self.burials.remove(&sequence) {
            let items = u64::from(burial.record.meta.items);
            self.metrics.dead.add(items);
            self.burial_items = self.burial_items.saturating_sub(items);
            self.release(items, burial.record.body.len() as u64);
        }
    }
}

/// Gives a directory another name, which no other has.
fn rename_directory(files: &mut dyn FileSystem, directory: &Path, millis: u64) -> Result<PathBuf, String> {
    let mut name = directory.as_os_str().to_owned();
    name.push(format!(".{millis}.backup"));
    let copy = PathBuf::from(name);
    files.rename(directory, &copy).map_err(|e| e.to_string())?;
    if let Some(parent) = directory.parent() {
        files.sync_dir(parent).map_err(|e| e.to_string())?;
    }
    Ok(copy)
}
