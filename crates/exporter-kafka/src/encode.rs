//! Telemetry as messages. Knows neither topics of the configuration nor brokers.

mod jaeger;

use std::sync::Arc;

use bytes::Bytes;
use otelcore_pdata::views::{AnyValue, ResourceLogs, resource_entries};
use otelcore_pdata::{Rope, Signal, json, split_to, text};
use otelcore_pipeline::{Encode, EncodeLimits, EncodedMessage, EncodedPiece, LeftOutItems, Piece};

use otelcore_zipkin_translation::{EncodedSpans, Format, NO_SERVICE_NAME};

use crate::encoding::Encoding;
use crate::groups::{Group, Grouper, Grouping};

/// Records up to this number of bytes in total are sent in one call. Their outcome is one: if one of them fails, all are sent again.
const MAX_BUNDLE_BYTES: usize = 256 << 10;
const MAX_BUNDLE_RECORDS: usize = 1000;

/// Key and value of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyAndValue {
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Bytes,
}

/// Records for one topic that are sent together.
#[derive(Clone, Debug, Default)]
pub(crate) struct KafkaMessage {
    /// The topic that an attribute names.
    pub(crate) topic: Option<String>,
    pub(crate) records: Vec<KeyAndValue>,
}

/// How a signal is encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignalEncoding {
    pub(crate) encoding: Encoding,
    pub(crate) grouping: Grouping,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct KafkaEncoder {
    pub(crate) signals: [SignalEncoding; 3],
    /// The resource attribute whose value is the topic; if it is empty, there is none.
    pub(crate) topic_attribute: Arc<str>,
    /// The longest value of a record.
    pub(crate) max_value_bytes: usize,
}

impl Encode for KafkaEncoder {
    type Message = KafkaMessage;

    fn encode(&self, signal: Signal, piece: Piece, limits: EncodeLimits) -> EncodedPiece<KafkaMessage> {
        let Some(options) = self.signals.get(signal as usize).copied() else {
            return EncodedPiece { messages: Vec::new(), rest: None };
        };
        let limits = EncodeLimits { message_bytes: limits.message_bytes.min(self.max_value_bytes).max(1), ..limits };
        let mut builder = Builder {
            signal,
            encoding: options.encoding,
            limits,
            messages: Vec::new(),
            bundle: None,
            bytes: 0,
            may_bundle: !piece.too_large,
            rest: Rope::default(),
        };
        let (repaired, too_large) = (piece.repaired, piece.too_large);
        let is_one_group = options.grouping == Grouping::None;
        let grouper = Grouper { signal, grouping: options.grouping, topic_attribute: &self.topic_attribute };
        let rest = grouper.for_each(piece.body, |group| builder.add_group(group, too_large && is_one_group));
        builder.rest.append(rest);
        builder.finish(repaired)
    }

    fn estimate_work(&self, piece: &Piece, limit: usize) -> usize {
        let shares_bytes = self
            .signals
            .iter()
            .all(|signal| signal.encoding == Encoding::OtlpProto && signal.grouping == Grouping::None);
        if shares_bytes {
            piece.sharing_work(limit.min(self.max_value_bytes))
        } else {
            piece.sharing_work(0).saturating_mul(4)
        }
    }
}

/// A message to which records are added.
struct Bundle {
    message: KafkaMessage,
    bytes: usize,
    longest: usize,
    body: Rope,
    left_out: Option<LeftOutItems>,
}

struct Builder {
    signal: Signal,
    encoding: Encoding,
    limits: EncodeLimits,
    messages: Vec<EncodedMessage<KafkaMessage>>,
    bundle: Option<Bundle>,
    /// Bytes of all records.
    bytes: usize,
    may_bundle: bool,
    rest: Rope,
}

impl Builder {
    fn is_full(&self) -> bool {
        self.messages.len() >= self.limits.max_messages || self.bytes >= self.limits.total_bytes
    }

    /// Adds the messages of a group; false when there is no room for another one.
    fn add_group(&mut self, group: Group, too_large: bool) -> bool {
        let Group { key, topic, body } = group;
        let piece = Piece { body, too_large, ..Piece::default() };
        let count = self.limits.max_messages.saturating_sub(self.messages.len()).max(1);
        let (bodies, rest) = piece.cut(self.signal, self.limits.message_bytes, count);
        for body in bodies {
            if self.is_full() {
                self.rest.append(body);
            } else {
                self.add_body(key.as_ref(), topic.as_deref(), body);
            }
        }
        self.rest.append(rest.map(|rest| rest.body).unwrap_or_default());
        !self.is_full()
    }

    /// Adds the message of a body, or several if it would be too long.
    fn add_body(&mut self, key: Option<&Bytes>, topic: Option<&str>, body: Rope) {
        let mut body = body;
        let encoded = if matches!(self.encoding, Encoding::JaegerProto | Encoding::JaegerJson) {
            let is_json = self.encoding == Encoding::JaegerJson;
            let (encoded, spans) =
                jaeger::encode_spans(&body, is_json, self.limits.total_bytes.saturating_sub(self.bytes));
            if spans < body.items() {
                let head = split_to(self.signal, &mut body, spans);
                self.rest.append(std::mem::replace(&mut body, head));
            }
            encoded
        } else {
            encode_body(self.encoding, self.signal, &body)
        };
        let longest = encoded.records.iter().map(|record| record.value.len()).max().unwrap_or(0);
        // A form that is longer than OTLP.
        if longest > self.limits.message_bytes && body.items() > 1 && encoded.is_one_record {
            let half = Piece { body, too_large: true, ..Piece::default() };
            let (bodies, _) = half.clone().cut(self.signal, self.limits.message_bytes, usize::MAX);
            if bodies.len() > 1 {
                return bodies.into_iter().for_each(|body| self.add_body(key, topic, body));
            }
            return self.add_encoded(topic, encoded, half.body, key);
        }
        self.add_encoded(topic, encoded, body, key);
    }

    fn add_encoded(&mut self, topic: Option<&str>, mut encoded: EncodedRecords, body: Rope, key: Option<&Bytes>) {
        if let Some(key) = key {
            encoded.records.iter_mut().for_each(|record| record.key = Some(key.clone()));
        }
        if encoded.records.is_empty() && encoded.left_out.is_none() {
            // Nothing to send: the items count as delivered.
            return;
        }
        let bytes: usize = encoded.records.iter().map(|record| record.value.len()).sum();
        let longest = encoded.records.iter().map(|record| record.value.len()).max().unwrap_or(0);
        self.bytes += bytes;
        if let Some(bundle) = &self.bundle {
            let fits = self.may_bundle
                && bundle.message.topic.as_deref() == topic
                && bundle.bytes + bytes <= MAX_BUNDLE_BYTES
                && bundle.message.records.len() + encoded.records.len() <= MAX_BUNDLE_RECORDS;
            if !fits {
                self.end_bundle();
            }
        }
        let bundle = self.bundle.get_or_insert_with(|| Bundle {
            message: KafkaMessage { topic: topic.map(str::to_owned), records: Vec::new() },
            bytes: 0,
            longest: 0,
            body: Rope::default(),
            left_out: None,
        });
        bundle.message.records.append(&mut encoded.records);
        bundle.bytes += bytes;
        bundle.longest = bundle.longest.max(longest);
        bundle.body.append(body);
        if let Some(left_out) = encoded.left_out {
            bundle.left_out.get_or_insert(LeftOutItems { count: 0, ..left_out }).count += left_out.count;
        }
    }

    fn end_bundle(&mut self) {
        let Some(Bundle { message, longest, body, left_out, .. }) = self.bundle.take() else { return };
        self.messages.push(EncodedMessage { content: message, bytes: longest, body, left_out });
    }

    fn finish(mut self, repaired: bool) -> EncodedPiece<KafkaMessage> {
        self.end_bundle();
        let rest = (!self.rest.is_empty()).then(|| Piece { body: self.rest, repaired, too_large: false });
        EncodedPiece { messages: self.messages, rest }
    }
}

/// The records of a body.
struct EncodedRecords {
    records: Vec<KeyAndValue>,
    /// The whole body is one record, which is shorter with fewer items.
    is_one_record: bool,
    left_out: Option<LeftOutItems>,
}

impl EncodedRecords {
    fn one(value: Bytes) -> Self {
        Self { records: vec![KeyAndValue { key: None, value }], is_one_record: true, left_out: None }
    }
}

fn encode_body(encoding: Encoding, signal: Signal, body: &Rope) -> EncodedRecords {
    match encoding {
        Encoding::OtlpProto => EncodedRecords::one(body.to_bytes()),
        Encoding::OtlpJson => {
            let mut out = Vec::with_capacity(body.len().saturating_mul(2));
            json::encode(signal, body, &mut out);
            EncodedRecords::one(out.into())
        }
        Encoding::ZipkinProto => encode_zipkin(body, Format::Proto),
        Encoding::ZipkinJson => encode_zipkin(body, Format::Json),
        Encoding::JaegerProto => jaeger::encode_spans(body, false, usize::MAX).0,
        Encoding::JaegerJson => jaeger::encode_spans(body, true, usize::MAX).0,
        Encoding::Raw => encode_raw(body),
    }
}

fn encode_zipkin(body: &Rope, format: Format) -> EncodedRecords {
    let EncodedSpans { bytes, left_out } = otelcore_zipkin_translation::encode_spans(body, format, NO_SERVICE_NAME);
    let left_out = left_out.map(|(count, reason)| LeftOutItems { count, reason });
    EncodedRecords { left_out, ..EncodedRecords::one(bytes.into()) }
}

/// The bodies of log records: bytes as they are, other values as JSON. Those without a body are not sent.
fn encode_raw(body: &Rope) -> EncodedRecords {
    let mut encoded = EncodedRecords { records: Vec::new(), is_one_record: false, left_out: None };
    for entry in resource_entries::<ResourceLogs<'_>>(body) {
        for record in entry.scope_logs().flat_map(|scope| scope.log_records()) {
            let mut out = Vec::new();
            match record.body {
                AnyValue::Empty => continue,
                AnyValue::Bytes(bytes) => out.extend_from_slice(bytes),
                value => {
                    if text::put_json(&mut out, value).is_err() {
                        let reason = "JSON has no NaN and no infinity";
                        encoded.left_out.get_or_insert(LeftOutItems { count: 0, reason }).count += 1;
                        continue;
                    }
                    escape_html(&mut out);
                }
            }
            if !out.is_empty() {
                encoded.records.push(KeyAndValue { key: None, value: out.into() });
            }
        }
    }
    encoded
}

/// Escapes a text of JSON for HTML, as Go does here. These bytes are in its strings only.
fn escape_html(json: &mut Vec<u8>) {
    if !json.iter().any(|byte| matches!(byte, b'<' | b'>' | b'&')) {
        return;
    }
    let plain = std::mem::take(json);
    for byte in plain {
        match byte {
            b'<' => json.extend_from_slice(b"\\u003c"),
            b'>' => json.extend_from_slice(b"\\u003e"),
            b'&' => json.extend_from_slice(b"\\u0026"),
            byte => json.push(byte),
        }
    }
}

#[cfg(test)]
#[allow(unreachable_pub, dead_code, reason = "shared with other tests")]
mod differential;
#[cfg(test)]
mod tests;
