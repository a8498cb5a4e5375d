//! What follows from the outcome of a message: it is done with, sent again, skipped, or stops its partition.

use std::time::Duration;

use otelcore_kafka_client::PartitionId;
use otelcore_pipeline::{Cx, Error, LogField, MonotonicTime, Outcome, PipelineInput};

use super::{InFlight, PAUSES, RETRY, SignalConsumer, WORK, bytes_of};

impl SignalConsumer {
    pub(super) fn send_again(&mut self, cx: &mut Cx<'_>, input: &mut PipelineInput<'_>) {
        let now = cx.now();
        while let Some((at, number)) = self.retries.first().copied()
            && at <= now
        {
            self.retries.remove(&(at, number));
            let Some(entry) = self.in_flight.get_mut(&number) else { continue };
            entry.retry_at = None;
            self.receiver_metrics.record_resent(self.decoder.signal, entry.body.items());
            if let Some(entry) = self.in_flight.get(&number) {
                let payload = self.payload(entry);
                input.resend(cx, self.request(number), payload);
            }
        }
        if let Some((at, _)) = self.retries.first() {
            cx.set_timer(RETRY, *at);
        }
    }

    /// The outcome of a message.
    pub(crate) fn settled(&mut self, cx: &mut Cx<'_>, number: u64, outcome: Outcome) {
        let Some(entry) = self.in_flight.remove(&number) else { return };
        let signal = self.decoder.signal;
        let (id, offset) = (entry.partition, entry.offset);
        let items = entry.body.items();
        let is_ours = self.partitions.contains_key(&id);
        match outcome {
            Outcome::Delivered => self.finish(cx, id, offset),
            Outcome::Retry { after, why } if is_ours && !self.gives_up(cx.now(), &entry) => {
                return self.keep(cx, number, entry, after, &why);
            }
            Outcome::Retry { ref why, .. } if is_ours => {
                self.log_skipped(cx.now(), "refused", &why.message, (id, offset), items);
                self.finish(cx, id, offset);
            }
            Outcome::Permanent(ref why) => self.handle_permanent(cx, id, offset, &why.message, items),
            // It is read again after a start.
            Outcome::Lost(_) if self.is_closing || !is_ours => {}
            Outcome::Lost(_) => {
                return self.keep(cx, number, entry, None, &Error::new("a component has dropped the message"));
            }
            Outcome::Retry { .. } => {}
        }
        self.receiver_metrics.record_outcome(signal, items, &outcome);
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(bytes_of(&entry));
        if let Some(state) = self.partitions.get_mut(&id) {
            state.on_their_way = state.on_their_way.saturating_sub(1);
        }
        self.finish_if_idle(cx, id);
        cx.request_ready(WORK);
    }

    /// Whether a message that was refused for now is skipped.
    fn gives_up(&self, now: MonotonicTime, entry: &InFlight) -> bool {
        let (marking, backoff) = (&self.config.message_marking, &self.config.error_backoff);
        let may_skip = if marking.after { marking.on_error } else { backoff.enabled };
        let limit = backoff.max_elapsed_time;
        may_skip && (!backoff.enabled || !limit.is_zero() && now.since(entry.first_sent) >= limit)
    }

    /// Keeps a message to send it again.
    fn keep(&mut self, cx: &mut Cx<'_>, number: u64, mut entry: InFlight, after: Option<Duration>, why: &Error) {
        let now = cx.now();
        if entry.attempts == 0
            && let Some(count) = self.message_notices.add(now, 1)
        {
            let fields = [("error", LogField::Str(&why.message)), ("count", LogField::Uint(count))];
            self.log.info("Backing off due to error from the next consumer.", &fields);
        }
        let backoff = &self.config.error_backoff;
        let (first, most, factor) = match backoff.enabled && !backoff.initial_interval.is_zero() {
            true => (backoff.initial_interval, backoff.max_interval.max(backoff.initial_interval), backoff.multiplier),
            false => (PAUSES.0, PAUSES.1, 1.5),
        };
        let growth = factor.max(1.0).powi(i32::try_from(entry.attempts.min(64)).unwrap_or(64));
        let pause = Duration::try_from_secs_f64(first.as_secs_f64() * growth).unwrap_or(most).min(most);
        let spread = (backoff.randomization_factor * (cx.random() % 1000) as f64 / 1000.0).clamp(0.0, 1.0);
        let pause = pause.mul_f64(1.0 + spread).max(after.unwrap_or_default()).max(Duration::from_millis(10));
        let pause = if self.is_closing { pause.min(PAUSES.0) } else { pause };
        entry.attempts = entry.attempts.saturating_add(1);
        let at = now + pause;
        entry.retry_at = Some(at);
        self.receiver_metrics.record_kept(self.decoder.signal, entry.body.items());
        self.in_flight.insert(number, entry);
        if self.retries.first().is_none_or(|(first, _)| at < *first) {
            cx.set_timer(RETRY, at);
        }
        self.retries.insert((at, number));
    }

    /// A message that can't be read.
    pub(super) fn handle_invalid(&mut self, cx: &mut Cx<'_>, id: PartitionId, offset: i64, why: &str) {
        if let Some(state) = self.partitions.get(&id) {
            state.metrics.unmarshal_failed.add(1);
        }
        self.handle_permanent(cx, id, offset, why, 0);
    }

    /// A message that can't be read or was refused for good: it is skipped, or its partition stops.
    fn handle_permanent(&mut self, cx: &mut Cx<'_>, id: PartitionId, offset: i64, why: &str, items: u32) {
        let marking = &self.config.message_marking;
        let is_skipped = !marking.after || marking.on_permanent_error.unwrap_or(marking.on_error);
        if is_skipped {
            self.log_skipped(cx.now(), "permanent", why, (id, offset), items);
            return self.finish(cx, id, offset);
        }
        let Some(state) = self.partitions.get_mut(&id) else { return };
        if !std::mem::replace(&mut state.is_blocked, true) {
            let fields = [
                ("error", LogField::Str(why)),
                ("topic", LogField::Str(&state.topic)),
                ("partition", LogField::Int(state.index.into())),
                ("offset", LogField::Int(offset)),
            ];
            self.log.error(
                "A message can't be processed; its partition is paused until the group has a rebalance",
                &fields,
            );
        }
        self.buffered_bytes = self.buffered_bytes.saturating_sub(state.clear());
        self.ready.remove(&id);
    }
}
