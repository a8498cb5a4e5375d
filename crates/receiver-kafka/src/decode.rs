//! From a message to telemetry: the encodings by name, and what they decode. Knows no partition.

use std::sync::Arc;

use bytes::Bytes;
use otelcore_go_text::encodings::Encoding as TextEncoding;
use otelcore_kafka_client::RecordHeader;
use otelcore_pdata::build::Body;
use otelcore_pdata::edit::{Descend, Editor, ResourceMut, edit};
use otelcore_pdata::views::AnyValue;
use otelcore_pdata::wire_format::put_tag_and_len;
use otelcore_pdata::{Rope, Signal, Value, checked_rope, json};
use otelcore_pipeline::Held;
use otelcore_receivers::{DecodeError, jaeger, zipkin};

use crate::jaeger_json::read_jaeger_json;

/// How telemetry is written in a message.
#[derive(Clone, Debug)]
pub(crate) enum MessageEncoding {
    OtlpProto,
    OtlpJson,
    /// One span of Jaeger's model.
    JaegerProto,
    /// The same as JSON.
    JaegerJson,
    Zipkin(zipkin::BodyFormat),
    /// The message is the body of a log record, as bytes.
    Raw,
    /// The message is the body of a log record, as text.
    Text(Arc<TextEncoding>),
    /// The message is a JSON object that is the body of a log record.
    Json,
}

impl MessageEncoding {
    /// Reads the name of an encoding of a signal.
    pub(crate) fn parse(signal: Signal, name: &str) -> Result<Self, String> {
        let is_traces = signal == Signal::Traces;
        let is_logs = signal == Signal::Logs;
        Ok(match name {
            "otlp_proto" => Self::OtlpProto,
            "otlp_json" => Self::OtlpJson,
            "jaeger_proto" if is_traces => Self::JaegerProto,
            "jaeger_json" if is_traces => Self::JaegerJson,
            "zipkin_proto" if is_traces => Self::Zipkin(zipkin::BodyFormat::V2Protobuf),
            "zipkin_json" if is_traces => Self::Zipkin(zipkin::BodyFormat::V2Json),
            "zipkin_thrift" if is_traces => Self::Zipkin(zipkin::BodyFormat::V1Thrift),
            "raw" if is_logs => Self::Raw,
            "json" if is_logs => Self::Json,
            "text" if is_logs => Self::text("utf-8")?,
            "azure_resource_logs" if is_logs => {
                return Err("the encoding azure_resource_logs is not supported".to_owned());
            }
            other => match other.strip_prefix("text_").filter(|_| is_logs) {
                Some(name) => Self::text(name).map_err(|error| format!("invalid text encoding: {error}"))?,
                None => return Err(format!("unrecognized {} encoding {other:?}", signal.name())),
            },
        })
    }

    fn text(name: &str) -> Result<Self, String> {
        TextEncoding::of(name.as_bytes()).map(|encoding| Self::Text(Arc::new(encoding)))
    }
}

/// Why a message is not decoded.
#[derive(Debug)]
pub(crate) enum MessageError {
    /// It can't be read.
    Invalid(String),
    /// There is no room for it now.
    NoRoom,
}

/// Decodes messages of one signal.
#[derive(Clone, Debug)]
pub(crate) struct MessageDecoder {
    pub(crate) signal: Signal,
    pub(crate) encoding: MessageEncoding,
    /// The headers that become resource attributes, and the names of these.
    pub(crate) headers: Arc<[(String, Vec<u8>)]>,
}

impl MessageDecoder {
    /// The telemetry of a message. `now` is in nanoseconds since 1970.
    pub(crate) fn decode(
        &self,
        value: &Bytes,
        headers: &[RecordHeader],
        now: u64,
        held: &mut Held,
    ) -> Result<Rope, MessageError> {
        let mut rope = self.decode_value(value, now, held)?;
        if !self.headers.is_empty() {
            let found = self.headers.iter().filter_map(|(name, attribute)| {
                let header = headers.iter().find(|header| header.key == *name)?;
                Some((attribute.as_slice(), header.value.as_slice()))
            });
            let mut editor = HeaderEditor(found.collect());
            if !editor.0.is_empty() {
                let edited = edit(self.signal, &mut rope, &mut editor);
                edited.map_err(|error| MessageError::Invalid(error.to_string()))?;
            }
        }
        Ok(rope)
    }

    fn decode_value(&self, value: &Bytes, now: u64, held: &mut Held) -> Result<Rope, MessageError> {
        let invalid = |error: &dyn std::fmt::Display| MessageError::Invalid(error.to_string());
        match &self.encoding {
            MessageEncoding::OtlpProto => checked_rope(self.signal, value.clone()).map_err(|e| invalid(&e)),
            MessageEncoding::OtlpJson => {
                let mut out = Vec::with_capacity(value.len());
                json::decode(self.signal, value, &mut out).map_err(|e| invalid(&e))?;
                checked_rope(self.signal, out.into()).map_err(|e| invalid(&e))
            }
            MessageEncoding::JaegerProto => {
                let body = post_spans_request(value);
                jaeger::decode(jaeger::BodyFormat::Protobuf, &body, held).map_err(decode_error)
            }
            MessageEncoding::JaegerJson => {
                let span = read_jaeger_json(value).map_err(MessageError::Invalid)?;
                jaeger::decode(jaeger::BodyFormat::Protobuf, &post_spans_request(&span), held).map_err(decode_error)
            }
            MessageEncoding::Zipkin(format) => zipkin::decode(*format, value, false, held).map_err(decode_error),
            MessageEncoding::Raw => Ok(log_record(None, |record| {
                record.body(AnyValue::Bytes(value));
            })),
            MessageEncoding::Text(encoding) => {
                let text = encoding.decode(value);
                Ok(log_record(Some(now), |record| {
                    record.body(AnyValue::String(&text));
                }))
            }
            MessageEncoding::Json => {
                let parsed = otelcore_go_text::json::parse(value).map_err(MessageError::Invalid)?;
                let map = match parsed {
                    Value::Map(_) => parsed,
                    Value::Empty => Value::Map(Vec::new()),
                    _ => return Err(MessageError::Invalid("the message is not a JSON object".to_owned())),
                };
                Ok(log_record(Some(now), |record| {
                    record.body_value(&map);
                }))
            }
        }
    }
}

fn decode_error(error: DecodeError) -> MessageError {
    match error {
        DecodeError::Invalid(why) => MessageError::Invalid(why),
        DecodeError::NoRoom(_) => MessageError::NoRoom,
    }
}

/// A request of Jaeger's collector with one batch, whose only span this is.
fn post_spans_request(span: &[u8]) -> Vec<u8> {
    let mut batch = Vec::with_capacity(10);
    put_tag_and_len(&mut batch, 1, span.len());
    let mut request = Vec::with_capacity(span.len() + 20);
    put_tag_and_len(&mut request, 1, batch.len() + span.len());
    request.extend_from_slice(&batch);
    request.extend_from_slice(span);
    request
}

/// A request with one log record.
fn log_record(observed: Option<u64>, write: impl FnOnce(&mut otelcore_pdata::build::LogRecordWriter<'_>)) -> Rope {
    let mut body = Body::new();
    {
        let mut entry = body.resource_logs();
        // The Go collector writes both, also without content.
        drop(entry.resource());
        let mut scope = entry.scope_logs();
        drop(scope.scope());
        let mut record = scope.log_record();
        if let Some(observed) = observed {
            record.observed_time_unix_nano(observed);
        }
        write(&mut record);
    }
    body.finish()
}

/// Puts headers into the attributes of every resource.
struct HeaderEditor<'a>(Vec<(&'a [u8], &'a [u8])>);

impl Editor for HeaderEditor<'_> {
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        for (key, value) in &self.0 {
            resource.attributes().upsert(key, AnyValue::String(value));
        }
        Descend::Skip
    }
}
