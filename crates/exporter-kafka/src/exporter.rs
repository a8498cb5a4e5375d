//! The exporter: messages become records with topic, key and headers, and the producer's results outcomes.

use std::rc::Rc;
use std::sync::Arc;

use otelcore_config::HeaderEntry;
use otelcore_kafka_client::record_batch::{HEADER_LEN, MAX_BATCH_OVERHEAD};
use otelcore_kafka_client::{Producer, ProducerConfig, Record, RecordHeader, SendError};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    AttemptId, BuildContext, CallResult, Cx, Delivery, Error, Event, Exporter, Metadata, MonotonicTime, NextCall,
    Outcomes, Payload, StartError, UsedMetadata,
};

use crate::config::KafkaExporterConfig;
use crate::encode::{KafkaEncoder, KafkaMessage, SignalEncoding};
use crate::encoding::Encoding;
use crate::groups::Grouping;

/// See the module.
#[derive(Debug)]
pub(crate) struct KafkaExporter {
    config: Rc<KafkaExporterConfig>,
    delivery: Delivery<KafkaEncoder>,
    producer: Producer,
    /// The headers of every message.
    headers: Vec<RecordHeader>,
    max_message_bytes: usize,
}

impl KafkaExporter {
    pub(crate) fn new(config: Rc<KafkaExporterConfig>, context: &BuildContext<'_>) -> Result<Self, StartError> {
        let client = config.connection.client_config(context)?;
        let max_message_bytes = usize::try_from(config.producer.max_message_bytes).unwrap_or(0);
        let producer_config = producer_config(&config);
        let header =
            |entry: &HeaderEntry| RecordHeader { key: entry.name.clone(), value: entry.value.clone().into_bytes() };
        let headers: Vec<RecordHeader> = config.record_headers.iter().map(header).collect();
        let encoder = encoder(&config, max_message_bytes, &headers)?;
        Ok(Self {
            delivery: Delivery::new(encoder, &context.id.to_string(), context.telemetry, context.log.clone()),
            producer: Producer::new(Rc::new(client), producer_config, context.log.clone()),
            headers,
            max_message_bytes,
            config,
        })
    }

    /// Starts the calls that are ready and handles the results of ended ones, until there are none of either.
    fn advance(&mut self, cx: &mut Cx<'_>, outcomes: &mut Outcomes) {
        loop {
            if let Some(call) = self.delivery.poll_call(cx.now()) {
                self.start_call(cx, call, outcomes);
            } else if let Some((token, result)) = self.producer.poll_result() {
                let result = match result {
                    Ok(()) => CallResult::Delivered { rejected: 0 },
                    Err(SendError::Retry(why)) => CallResult::Retry { after: None, why: Error::new(why) },
                    Err(SendError::TooLarge(why)) => CallResult::TooLarge { limit: None, why: Error::new(why) },
                    Err(SendError::Refused(why)) => {
                        CallResult::Refused { why: Error::new(why), may_be_invalid_text: false }
                    }
                };
                self.delivery.handle_result(cx, token, result, outcomes);
            } else {
                return;
            }
        }
    }

    fn start_call(&mut self, cx: &mut Cx<'_>, call: NextCall<KafkaMessage>, outcomes: &mut Outcomes) {
        let signal = self.config.signal(call.signal);
        let first = |key: &str| {
            let values = call.metadata.as_deref().map_or(&[][..], |metadata| metadata.get(&key.to_ascii_lowercase()));
            if key.is_empty() { None } else { values.first().cloned() }
        };
        let topic =
            first(&signal.topic_from_metadata_key).or(call.content.topic).unwrap_or_else(|| signal.topic.clone());
        let key = first(&signal.message_key_from_metadata_key).filter(|key| !key.is_empty()).map(bytes::Bytes::from);
        let headers = self.headers(call.metadata.as_deref());
        let timestamp_ms = i64::try_from(cx.wall_time().0 / 1_000_000).unwrap_or(i64::MAX);
        let record = |record: crate::encode::KeyAndValue| Record {
            key: record.key.or_else(|| key.clone()),
            value: record.value,
            headers: headers.clone(),
            timestamp_ms,
        };
        let records: Vec<Record> = call.content.records.into_iter().map(record).collect();
        let longest = records.iter().map(Record::encoded_len).max().unwrap_or(0);
        // As the Go client counts: the header of a batch is a part of the limit.
        if longest + HEADER_LEN > self.max_message_bytes {
            let text = format!(
                "error exporting to topic {topic:?}: record size {longest} exceeds max {}: MESSAGE_TOO_LARGE",
                self.max_message_bytes
            );
            let result = CallResult::TooLarge { limit: None, why: Error::new(text) };
            return self.delivery.handle_result(cx, call.token, result, outcomes);
        }
        self.producer.send(cx, call.token, &topic, records, call.deadline);
    }

    /// The headers of the messages of a sender.
    fn headers(&self, metadata: Option<&Metadata>) -> Arc<[RecordHeader]> {
        let mut headers = self.headers.clone();
        if let Some(metadata) = metadata {
            for key in &self.config.include_metadata_keys {
                let values = metadata.get(&key.to_ascii_lowercase()).iter();
                headers.extend(values.map(|v| RecordHeader { key: key.clone(), value: v.clone().into_bytes() }));
            }
        }
        headers.into()
    }
}

impl Exporter for KafkaExporter {
    fn used_metadata(&self) -> UsedMetadata {
        let config = &self.config;
        let of_signals = [&config.traces, &config.metrics, &config.logs]
            .into_iter()
            .flat_map(|signal| [&signal.topic_from_metadata_key, &signal.message_key_from_metadata_key]);
        let all = config.include_metadata_keys.iter().chain(of_signals).filter(|name| !name.is_empty());
        let mut headers: Vec<String> = all.map(|name| name.to_ascii_lowercase()).collect();
        headers.sort_unstable();
        headers.dedup();
        UsedMetadata { headers, ..UsedMetadata::default() }
    }

    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.producer.start(cx)
    }

    fn send(
        &mut self,
        cx: &mut Cx<'_>,
        attempt: AttemptId,
        payload: &Payload,
        deadline: MonotonicTime,
        outcomes: &mut Outcomes,
    ) {
        self.delivery.send(cx, attempt, payload, deadline, outcomes);
        self.advance(cx, outcomes);
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, outcomes: &mut Outcomes) {
        if !self.delivery.handle_event(cx, local, outcomes) {
            self.producer.handle_event(cx, local, &event);
        }
        self.advance(cx, outcomes);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.producer.close(cx);
    }
}

fn producer_config(config: &KafkaExporterConfig) -> ProducerConfig {
    let producer = &config.producer;
    let size = |bytes: i64| usize::try_from(bytes).unwrap_or(usize::MAX);
    ProducerConfig {
        required_acks: producer.required_acks.0,
        timeout: config.exporter_queue.timeout,
        compression: producer.compression.compression(),
        compression_level: Some(producer.compression_params.level).filter(|level| *level != 0),
        linger: producer.linger,
        max_batch_bytes: size(producer.max_message_bytes),
        max_request_bytes: size(producer.max_broker_write_bytes),
        max_request_records: size(producer.flush_max_messages).max(1),
        partitioner: config.record_partitioner.partitioner(),
        may_create_topics: producer.allow_auto_topic_creation,
    }
}

fn encoder(
    config: &KafkaExporterConfig,
    max_message_bytes: usize,
    headers: &[RecordHeader],
) -> Result<KafkaEncoder, StartError> {
    let by_topic = if config.topic_from_attribute.is_empty() { Grouping::None } else { Grouping::Resource };
    let mut signals = [SignalEncoding { encoding: Encoding::OtlpProto, grouping: Grouping::None }; 3];
    for (slot, signal) in signals.iter_mut().zip(Signal::ALL) {
        let grouping = match signal {
            // Jaeger's spans have their trace ids as keys in any case.
            Signal::Traces if config.traces.encoding.starts_with("jaeger_") => by_topic,
            Signal::Traces if config.partition_traces_by_id => Grouping::Trace,
            Signal::Metrics if config.partition_metrics_by_resource_attributes => Grouping::ResourceHash,
            Signal::Logs if config.partition_logs_by_resource_attributes => Grouping::ResourceHash,
            Signal::Logs if config.partition_logs_by_trace_id => Grouping::Trace,
            _ => by_topic,
        };
        *slot = SignalEncoding { encoding: config.encoding(signal).map_err(StartError::Config)?, grouping };
    }
    let of_headers: usize = headers.iter().map(|header| header.key.len() + header.value.len() + 10).sum();
    // The longest key is a trace id or a hash.
    let around = MAX_BATCH_OVERHEAD + 32 + of_headers;
    let max_value_bytes = max_message_bytes.saturating_sub(around).max(1);
    Ok(KafkaEncoder { signals, topic_attribute: config.topic_from_attribute.as_str().into(), max_value_bytes })
}
