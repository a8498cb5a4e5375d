//! What people are told in the log: messages that are skipped, and what goes wrong in the group. Each kind not too often.

use otelcore_kafka_client::{ConsumerNotice, PartitionId};
use otelcore_pipeline::{LogField, MonotonicTime};

use super::SignalConsumer;

impl SignalConsumer {
    pub(super) fn log_skipped(
        &mut self,
        now: MonotonicTime,
        kind: &'static str,
        why: &str,
        (id, offset): (PartitionId, i64),
        items: u32,
    ) {
        let Some(count) = self.message_notices.add(now, 1) else { return };
        let Some(state) = self.partitions.get(&id) else { return };
        let fields = [
            ("error", LogField::Str(why)),
            ("kind", LogField::Str(kind)),
            ("topic", LogField::Str(&state.topic)),
            ("partition", LogField::Int(state.index.into())),
            ("offset", LogField::Int(offset)),
            ("dropped_items", LogField::Uint(items.into())),
            ("count", LogField::Uint(count)),
        ];
        self.log.error("A message can't be processed and is skipped", &fields);
    }

    pub(super) fn log_notice(&mut self, now: MonotonicTime, notice: &ConsumerNotice) {
        let Some(count) = self.group_notices.add(now, 1) else { return };
        let count = ("count", LogField::Uint(count));
        match notice {
            ConsumerNotice::Group(error) => {
                self.log.warn("The consumer group can't be used at present", &[("error", LogField::Str(error)), count]);
            }
            ConsumerNotice::Fetch { topic, index, error } => {
                let fields = [
                    ("error", LogField::Str(error)),
                    ("topic", LogField::Str(topic)),
                    ("partition", LogField::Int((*index).into())),
                    count,
                ];
                self.log.error("Records of a partition can't be fetched", &fields);
            }
            ConsumerNotice::OffsetReset { topic, index, offset } => {
                let fields = [
                    ("topic", LogField::Str(topic)),
                    ("partition", LogField::Int((*index).into())),
                    ("offset", LogField::Int(*offset)),
                    count,
                ];
                self.log.warn(
                    "The offset of a partition does not exist any more; it is read from initial_offset on",
                    &fields,
                );
            }
            ConsumerNotice::Commit(error) => {
                self.log.error("Offsets can't be committed", &[("error", LogField::Str(error)), count]);
            }
        }
    }
}
