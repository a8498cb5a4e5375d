//! A span of Jaeger's model in JSON, as Go's `jsonpb` reads it: from its text to protobuf.
//!
//! Names of fields are accepted as in JSON and as in protobuf, numbers also as strings, enums as names and numbers; a field that the
//! model does not have is an error. `null` is no value, and an error where Go reads the text of it: an id, a time, a duration.
//! Decodes no span.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use otelcore_go_text::json;
use otelcore_go_text::time::{Location, Time, Zone, parse_duration, read_by_go_layout};
use otelcore_pdata::Value;
use otelcore_pdata::wire_format::{put_bytes_field, put_fixed64_field, put_varint_field};

/// The layout of times.
const RFC3339: &str = "2006-01-02T15:04:05.999999999Z07:00";

/// As Go reads it: bits behind the last byte may be anything.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Seconds since 1970 of the years 1 to 9999, which are those that protobuf's times have.
const SECONDS_OF_TIMES: std::ops::Range<i64> = -62_135_596_800..253_402_300_800;

/// What a field is.
#[derive(Clone, Copy)]
enum Kind {
    /// Bytes of one of these lengths.
    Id(&'static [usize]),
    Text,
    Bytes,
    Bool,
    /// An integer with the lowest and the highest value.
    Integer(i64, i64),
    Double,
    Enum(&'static [&'static str]),
    Time,
    Duration,
    Message(&'static Model),
    Messages(&'static Model),
    Texts,
}

/// A message: its name in errors, and its fields with their names in JSON and in protobuf and their numbers.
struct Model {
    name: &'static str,
    fields: &'static [(&'static str, &'static str, u32, Kind)],
}

static SPAN: Model = Model {
    name: "Span",
    fields: &[
        ("traceId", "trace_id", 1, Kind::Id(&[16, 8])),
        ("spanId", "span_id", 2, Kind::Id(&[8])),
        ("operationName", "operation_name", 3, Kind::Text),
        ("references", "references", 4, Kind::Messages(&REFERENCE)),
        ("flags", "flags", 5, Kind::Integer(0, u32::MAX as i64)),
        ("startTime", "start_time", 6, Kind::Time),
        ("duration", "duration", 7, Kind::Duration),
        ("tags", "tags", 8, Kind::Messages(&TAG)),
        ("logs", "logs", 9, Kind::Messages(&LOG)),
        ("process", "process", 10, Kind::Message(&PROCESS)),
        ("processId", "process_id", 11, Kind::Text),
        ("warnings", "warnings", 12, Kind::Texts),
    ],
};
static REFERENCE: Model = Model {
    name: "SpanRef",
    fields: &[
        ("traceId", "trace_id", 1, Kind::Id(&[16, 8])),
        ("spanId", "span_id", 2, Kind::Id(&[8])),
        ("refType", "ref_type", 3, Kind::Enum(&["CHILD_OF", "FOLLOWS_FROM"])),
    ],
};
static TAG: Model = Model {
    name: "KeyValue",
    fields: &[
        ("key", "key", 1, Kind::Text),
        ("vType", "v_type", 2, Kind::Enum(&["STRING", "BOOL", "INT64", "FLOAT64", "BINARY"])),
        ("vStr", "v_str", 3, Kind::Text),
        ("vBool", "v_bool", 4, Kind::Bool),
        ("vInt64", "v_int64", 5, Kind::Integer(i64::MIN, i64::MAX)),
        ("vFloat64", "v_float64", 6, Kind::Double),
        ("vBinary", "v_binary", 7, Kind::Bytes),
    ],
};
static LOG: Model = Model {
    name: "Log",
    fields: &[("timestamp", "timestamp", 1, Kind::Time), ("fields", "fields", 2, Kind::Messages(&TAG))],
};
static PROCESS: Model = Model {
    name: "Process",
    fields: &[("serviceName", "service_name", 1, Kind::Text), ("tags", "tags", 2, Kind::Messages(&TAG))],
};

/// A span of Jaeger's model in JSON, as a message of the encoding `jaeger_json` has it, in protobuf. What follows the JSON value is ignored,
/// as in Go.
///
/// # Errors
/// It is not JSON, has a field that the model does not have, or a value that its field can't have.
pub fn read_jaeger_json(text: &[u8]) -> Result<Vec<u8>, String> {
    let value = json::parse_first_with_integers(text)?;
    let mut out = Vec::with_capacity(text.len());
    put_message(&mut out, &SPAN, &value)?;
    Ok(out)
}

fn put_message(out: &mut Vec<u8>, model: &Model, value: &Value) -> Result<(), String> {
    let Value::Map(entries) = value else { return Err(format!("{} is not a JSON object", model.name)) };
    let known =
        |key: &[u8]| model.fields.iter().any(|(name, other, ..)| key == name.as_bytes() || key == other.as_bytes());
    if let Some((key, _)) = entries.iter().find(|(key, _)| !known(key)) {
        return Err(format!("unknown field {:?} in {}", String::from_utf8_lossy(key), model.name));
    }
    for (name, other, number, kind) in model.fields {
        let of_name = |wanted: &str| entries.iter().find(|(key, _)| key == wanted.as_bytes());
        let Some((_, value)) = of_name(name).or_else(|| of_name(other)) else { continue };
        let needs_value = matches!(kind, Kind::Id(_) | Kind::Time | Kind::Duration);
        if needs_value || !matches!(value, Value::Empty) {
            put_field(out, *number, *kind, value).map_err(|error| format!("{}.{name}: {error}", model.name))?;
        }
    }
    Ok(())
}

fn put_field(out: &mut Vec<u8>, number: u32, kind: Kind, value: &Value) -> Result<(), String> {
    match kind {
        Kind::Id(lengths) => {
            let bytes = base64_of(text_of(value)?)?;
            if !lengths.contains(&bytes.len()) {
                let lengths: Vec<String> = lengths.iter().map(usize::to_string).collect();
                return Err(format!("{} bytes instead of {}", bytes.len(), lengths.join(" or ")));
            }
            put_bytes_field(out, number, &bytes);
        }
        Kind::Text => put_bytes_field(out, number, text_of(value)?),
        Kind::Bytes => put_bytes_field(out, number, &bytes_of(value)?),
        Kind::Bool => match value {
            Value::Bool(value) => put_varint_field(out, number, u64::from(*value)),
            _ => return Err("not a boolean".to_owned()),
        },
        Kind::Integer(least, most) => {
            if let Some(integer) = integer_of(value)? {
                if !(least..=most).contains(&integer) {
                    return Err(format!("{integer} is out of range"));
                }
                put_varint_field(out, number, integer.cast_unsigned());
            }
        }
        Kind::Double => {
            if let Some(double) = double_of(value)? {
                put_fixed64_field(out, number, double.to_bits());
            }
        }
        Kind::Enum(names) => {
            let position = match value {
                Value::String(text) => {
                    names.iter().position(|name| name.as_bytes() == text.as_slice()).map(|at| at as i64)
                }
                // One without a name is kept.
                Value::Int(number) => i32::try_from(*number).ok().map(i64::from),
                _ => None,
            };
            let position = position.ok_or_else(|| format!("not one of {}", names.join(", ")))?;
            put_varint_field(out, number, position.cast_unsigned());
        }
        Kind::Time => {
            // A time of the year 0 is taken for one without a year, and gets that of this one.
            let year_zero = Time { seconds: SECONDS_OF_TIMES.start - 1, nanos: 0, zone: Zone::Utc };
            let time = read_by_go_layout(RFC3339, text_of(value)?, &Location::utc(), &year_zero);
            let time = time.map_err(|error| error.to_string())?;
            if !SECONDS_OF_TIMES.contains(&time.seconds) {
                return Err("the year is not one of 1 to 9999".to_owned());
            }
            put_seconds(out, number, time.seconds, time.nanos.into());
        }
        Kind::Duration => {
            let nanos = parse_duration(text_of(value)?)?;
            put_seconds(out, number, nanos / 1_000_000_000, nanos % 1_000_000_000);
        }
        Kind::Message(model) => put_nested(out, number, model, value)?,
        Kind::Messages(model) => {
            for item in list_of(value)? {
                match item {
                    Value::Empty => put_bytes_field(out, number, b""),
                    item => put_nested(out, number, model, item)?,
                }
            }
        }
        Kind::Texts => {
            for item in list_of(value)? {
                let text = if matches!(item, Value::Empty) { b"" } else { text_of(item)? };
                put_bytes_field(out, number, text);
            }
        }
    }
    Ok(())
}

fn put_nested(out: &mut Vec<u8>, number: u32, model: &Model, value: &Value) -> Result<(), String> {
    let mut nested = Vec::new();
    put_message(&mut nested, model, value)?;
    put_bytes_field(out, number, &nested);
    Ok(())
}

fn put_seconds(out: &mut Vec<u8>, number: u32, seconds: i64, nanos: i64) {
    let mut nested = Vec::new();
    put_varint_field(&mut nested, 1, seconds.cast_unsigned());
    put_varint_field(&mut nested, 2, nanos.cast_unsigned());
    put_bytes_field(out, number, &nested);
}

fn text_of(value: &Value) -> Result<&[u8], String> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err("not a string".to_owned()),
    }
}

fn base64_of(text: &[u8]) -> Result<Vec<u8>, String> {
    BASE64.decode(text).map_err(|error| format!("invalid base64: {error}"))
}

/// Base64 that may have line ends, or a list of bytes.
fn bytes_of(value: &Value) -> Result<Vec<u8>, String> {
    let Value::Array(items) = value else {
        let text: Vec<u8> = text_of(value)?.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
        return base64_of(&text);
    };
    let byte_of = |item: &Value| match item {
        Value::Empty => Ok(0),
        Value::Int(byte) => u8::try_from(*byte).map_err(|_| "not a byte".to_owned()),
        _ => Err("not a byte".to_owned()),
    };
    items.iter().map(byte_of).collect()
}

/// `None` for a string that is `null`.
fn integer_of(value: &Value) -> Result<Option<i64>, String> {
    match value {
        Value::Int(integer) => Ok(Some(*integer)),
        Value::String(text) => match json::parse_first_with_integers(text)? {
            Value::Empty => Ok(None),
            Value::Int(integer) if json::parse(text).is_ok() => Ok(Some(integer)),
            _ => Err("not an integer".to_owned()),
        },
        _ => Err("not an integer".to_owned()),
    }
}

/// `None` for a string that is `null`.
fn double_of(value: &Value) -> Result<Option<f64>, String> {
    match value {
        Value::Int(integer) => Ok(Some(*integer as f64)),
        Value::Double(double) => Ok(Some(*double)),
        Value::String(text) => match text.as_slice() {
            b"NaN" => Ok(Some(f64::NAN)),
            b"Infinity" => Ok(Some(f64::INFINITY)),
            b"-Infinity" => Ok(Some(f64::NEG_INFINITY)),
            text => match json::parse(text)? {
                Value::Empty => Ok(None),
                Value::Double(double) => Ok(Some(double)),
                _ => Err("not a number".to_owned()),
            },
        },
        _ => Err("not a number".to_owned()),
    }
}

fn list_of(value: &Value) -> Result<&[Value], String> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err("not a list".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A span with what the model has.
    const SPAN: &str = r#"{"traceId":"AQIDBAUGBwgJCgsMDQ4PEA==","spanId":"AQIDBAUGBwg=","operation_name":"get",
        "references":[{"traceId":"AQIDBAUGBwgJCgsMDQ4PEA==","spanId":"AQIDBAUGBwg=","refType":"FOLLOWS_FROM"}],"flags":1,
        "startTime":"2017-01-26T23:46:31.5+02:00","duration":"1.5s","tags":[{"key":"i","vType":"INT64","vInt64":"-7"},
        {"key":"f","vType":3,"vFloat64":"NaN"},{"key":"b","vType":"BINARY","vBinary":"AP8="}],"processId":null,
        "logs":[{"timestamp":"2017-01-26T21:46:31Z"}],"process":{"serviceName":"shop"},"warnings":["w"]} x"#;

    #[test]
    fn span_in_json_is_the_same_span_in_protobuf() {
        let span = read_jaeger_json(SPAN.as_bytes()).unwrap();
        let mut expected = Vec::new();
        let id: Vec<u8> = (1..=16).collect();
        put_bytes_field(&mut expected, 1, &id);
        put_bytes_field(&mut expected, 2, &id[..8]);
        put_bytes_field(&mut expected, 3, b"get");
        let mut reference = Vec::new();
        put_bytes_field(&mut reference, 1, &id);
        put_bytes_field(&mut reference, 2, &id[..8]);
        put_varint_field(&mut reference, 3, 1);
        put_bytes_field(&mut expected, 4, &reference);
        put_varint_field(&mut expected, 5, 1);
        put_seconds(&mut expected, 6, 1_485_467_191, 500_000_000);
        put_seconds(&mut expected, 7, 1, 500_000_000);
        assert!(span.starts_with(&expected), "{span:?}");
        assert!(span.ends_with(b"\x52\x06\x0a\x04shop\x62\x01w"), "{span:?}");
    }

    #[test]
    fn span_that_go_refuses_is_refused() {
        for (text, expected) in [
            ("{\"x\":1}", "unknown field \"x\" in Span"),
            ("{\"traceId\":\"AQ==\"}", "Span.traceId: 1 bytes instead of 16 or 8"),
            ("{\"spanId\":null}", "Span.spanId: not a string"),
            ("{\"duration\":null}", "Span.duration: not a string"),
            ("{\"startTime\":\"0000-12-31T23:59:59Z\"}", "Span.startTime: the year is not one of 1 to 9999"),
            ("{\"flags\":\"1 2\"}", "Span.flags: not an integer"),
            ("{\"tags\":[{\"vFloat64\":\"inf\"}]}", "Span.tags: KeyValue.vFloat64: "),
            ("{\"tags\":[{\"vBinary\":[256]}]}", "Span.tags: KeyValue.vBinary: not a byte"),
            ("{\"traceId\":1}", "Span.traceId: not a string"),
            ("{\"flags\":-1}", "Span.flags: -1 is out of range"),
            ("{\"flags\":1.5}", "Span.flags: not an integer"),
            ("{\"duration\":5}", "Span.duration: not a string"),
            ("{\"startTime\":\"2017-01-26 21:46:31Z\"}", "Span.startTime: "),
            ("{\"warnings\":\"a\"}", "Span.warnings: not a list"),
            ("{\"tags\":[{\"vType\":\"X\"}]}", "Span.tags: KeyValue.vType: not one of STRING"),
            ("{\"tags\":[{\"vBinary\":\"AP8\"}]}", "Span.tags: KeyValue.vBinary: invalid base64"),
            ("{\"tags\":[{\"vBool\":\"true\"}]}", "Span.tags: KeyValue.vBool: not a boolean"),
            ("[]", "Span is not a JSON object"),
        ] {
            let error = read_jaeger_json(text.as_bytes()).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn span_that_is_cut_anywhere_is_refused() {
        let end = SPAN.rfind('}').unwrap();
        assert!((0..=end).all(|len| read_jaeger_json(&SPAN.as_bytes()[..len]).is_err()));
    }
}
