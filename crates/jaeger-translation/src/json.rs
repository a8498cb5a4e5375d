//! A span of Jaeger's model as JSON, as Go's `jsonpb` writes it. Reads a span in protobuf as this crate writes it; what is empty or zero is
//! left out, apart from ids and times.

use otelcore_pdata::text::{UtcDateTime, put_base64, put_json_string_with};
use otelcore_pdata::wire_format::{MessageFields, WireValue};

/// Appends the span as JSON.
pub fn put_span_json(out: &mut Vec<u8>, span: &[u8]) {
    let span = Fields::of(span);
    let mut object = Object::begin(out);
    object.bytes("traceId", span.bytes(1), 16);
    object.id("spanId", span.bytes(2));
    object.string("operationName", span.bytes(3));
    object.list("references", span.all(4), put_reference);
    object.integer("flags", span.varint(5), false);
    object.time("startTime", span.bytes(6));
    object.duration("duration", span.bytes(7));
    object.list("tags", span.all(8), put_tag);
    object.list("logs", span.all(9), put_log);
    if let Some(process) = span.all(10).last() {
        put_process(object.key("process"), process);
    }
    object.string("processId", span.bytes(11));
    object.list("warnings", span.all(12), put_string);
    object.end();
}

fn put_reference(out: &mut Vec<u8>, reference: &[u8]) {
    let reference = Fields::of(reference);
    let mut object = Object::begin(out);
    object.bytes("traceId", reference.bytes(1), 16);
    object.id("spanId", reference.bytes(2));
    match reference.varint(3) {
        0 => {}
        1 => put_string(object.key("refType"), b"FOLLOWS_FROM"),
        other => object.integer("refType", other, false),
    }
    object.end();
}

fn put_tag(out: &mut Vec<u8>, tag: &[u8]) {
    let tag = Fields::of(tag);
    let mut object = Object::begin(out);
    object.string("key", tag.bytes(1));
    let kind = match tag.varint(2) {
        1 => "BOOL",
        2 => "INT64",
        3 => "FLOAT64",
        4 => "BINARY",
        _ => "",
    };
    object.string("vType", kind.as_bytes());
    object.string("vStr", tag.bytes(3));
    if tag.varint(4) != 0 {
        object.key("vBool").extend_from_slice(b"true");
    }
    object.integer("vInt64", tag.varint(5), true);
    let double = f64::from_bits(tag.fixed64(6));
    if double != 0.0 {
        put_double(object.key("vFloat64"), double);
    }
    if let Some(binary) = tag.all(7).last() {
        object.bytes("vBinary", binary, 0);
    }
    object.end();
}

fn put_log(out: &mut Vec<u8>, log: &[u8]) {
    let log = Fields::of(log);
    let mut object = Object::begin(out);
    object.time("timestamp", log.bytes(1));
    if log.all(2).next().is_none() {
        // The list of the Go translation is empty, and not missing, so that it is written.
        object.key("fields").extend_from_slice(b"[]");
    }
    object.list("fields", log.all(2), put_tag);
    object.end();
}

fn put_process(out: &mut Vec<u8>, process: &[u8]) {
    let process = Fields::of(process);
    let mut object = Object::begin(out);
    object.string("serviceName", process.bytes(1));
    object.list("tags", process.all(2), put_tag);
    object.end();
}

/// Numbers that JSON does not have are strings.
fn put_double(out: &mut Vec<u8>, double: f64) {
    if double.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if double.is_infinite() {
        out.extend_from_slice(if double > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" });
    } else {
        otelcore_pdata::text::put_double(out, double);
    }
}

/// With the escapes of Go, which are also those of HTML.
fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    put_json_string_with(out, text, |c| match c {
        '<' => Some("\\u003c"),
        '>' => Some("\\u003e"),
        '&' => Some("\\u0026"),
        '\u{8}' => Some("\\b"),
        '\u{c}' => Some("\\f"),
        '\u{2028}' => Some("\\u2028"),
        '\u{2029}' => Some("\\u2029"),
        _ => None,
    });
}

/// The fields of a message; of a scalar that occurs twice the last one counts.
struct Fields<'a>(Vec<(u32, WireValue<'a>)>);

impl<'a> Fields<'a> {
    fn of(message: &'a [u8]) -> Self {
        Self(MessageFields::new(message).collect())
    }

    fn last(&self, number: u32) -> Option<&WireValue<'a>> {
        self.0.iter().rev().find(|(found, _)| *found == number).map(|(_, value)| value)
    }

    fn bytes(&self, number: u32) -> &'a [u8] {
        match self.last(number) {
            Some(WireValue::Len(bytes)) => bytes,
            _ => &[],
        }
    }

    fn varint(&self, number: u32) -> u64 {
        match self.last(number) {
            Some(WireValue::Varint(value)) => *value,
            _ => 0,
        }
    }

    fn fixed64(&self, number: u32) -> u64 {
        match self.last(number) {
            Some(WireValue::Fixed64(bits)) => *bits,
            _ => 0,
        }
    }

    fn all(&self, number: u32) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.0.iter().filter_map(move |(found, value)| match value {
            WireValue::Len(bytes) if *found == number => Some(*bytes),
            _ => None,
        })
    }
}

/// An object that is being written.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl<'o> Object<'o> {
    fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    fn end(self) {
        self.out.push(b'}');
    }

    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.is_empty) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    fn string(&mut self, key: &str, text: &[u8]) {
        if !text.is_empty() {
            put_string(self.key(key), text);
        }
    }

    /// Bytes of a length at least, with zeros in front.
    fn bytes(&mut self, key: &str, bytes: &[u8], len: usize) {
        let mut padded = vec![0; len.saturating_sub(bytes.len())];
        padded.extend_from_slice(bytes);
        let out = self.key(key);
        out.push(b'"');
        put_base64(out, &padded);
        out.push(b'"');
    }

    fn id(&mut self, key: &str, id: &[u8]) {
        if id.iter().any(|byte| *byte != 0) {
            self.bytes(key, id, 8);
        }
    }

    /// Integers of 64 bits are strings.
    fn integer(&mut self, key: &str, value: u64, is_long: bool) {
        if value != 0 {
            let text = if is_long { format!("\"{}\"", value.cast_signed()) } else { value.to_string() };
            self.key(key).extend_from_slice(text.as_bytes());
        }
    }

    fn list<'a>(&mut self, key: &str, items: impl Iterator<Item = &'a [u8]>, put: fn(&mut Vec<u8>, &[u8])) {
        let mut items = items.peekable();
        if items.peek().is_none() {
            return;
        }
        let out = self.key(key);
        for (position, item) in items.enumerate() {
            out.push(if position == 0 { b'[' } else { b',' });
            put(out, item);
        }
        out.push(b']');
    }

    fn time(&mut self, key: &str, time: &[u8]) {
        let (seconds, nanos) = seconds_and_nanos(time);
        // The first time that there is has seconds whose nanoseconds alone do not fit.
        let nanos = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        let nanos = nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        let date = UtcDateTime::from_unix_nanos(nanos);
        let (year, month, day) = (date.year, date.month, date.day);
        let text = format!(
            "\"{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}{}Z\"",
            date.hour,
            date.minute,
            date.second,
            fraction(date.nanos.into())
        );
        self.key(key).extend_from_slice(text.as_bytes());
    }

    fn duration(&mut self, key: &str, duration: &[u8]) {
        let (seconds, nanos) = seconds_and_nanos(duration);
        if (seconds, nanos) == (0, 0) {
            return;
        }
        let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
        let text = format!("\"{sign}{}{}s\"", seconds.unsigned_abs(), fraction(nanos));
        self.key(key).extend_from_slice(text.as_bytes());
    }
}

fn seconds_and_nanos(message: &[u8]) -> (i64, i64) {
    let fields = Fields::of(message);
    (fields.varint(1).cast_signed(), fields.varint(2).cast_signed())
}

/// No digits, three, six or nine.
fn fraction(nanos: i64) -> String {
    let nanos = nanos.unsigned_abs();
    match nanos {
        0 => String::new(),
        _ if nanos.is_multiple_of(1_000_000) => format!(".{:03}", nanos / 1_000_000),
        _ if nanos.is_multiple_of(1000) => format!(".{:06}", nanos / 1000),
        _ => format!(".{nanos:09}"),
    }
}

#[cfg(test)]
mod tests {
    use otelcore_pdata::wire_format::{put_bytes_field, put_fixed64_field, put_varint_field};

    use super::*;

    fn message(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    fn tag(key: &str, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        message(|out| {
            put_bytes_field(out, 1, key.as_bytes());
            write(out);
        })
    }

    fn time(seconds: i64, nanos: u64) -> Vec<u8> {
        message(|out| {
            put_varint_field(out, 1, seconds.cast_unsigned());
            put_varint_field(out, 2, nanos);
        })
    }

    fn tags() -> Vec<Vec<u8>> {
        let double = |value: f64| {
            tag("f", |out| {
                put_varint_field(out, 2, 3);
                put_fixed64_field(out, 6, value.to_bits());
            })
        };
        let mut tags = vec![
            tag("s", |out| put_bytes_field(out, 3, "<a&b>\u{2028}\u{8}\u{1}\"\\\u{e9}".as_bytes())),
            tag("empty", |_| {}),
            tag("b", |out| {
                put_varint_field(out, 2, 1);
                put_varint_field(out, 4, 1);
            }),
            tag("false", |out| put_varint_field(out, 2, 1)),
            tag("i", |out| {
                put_varint_field(out, 2, 2);
                put_varint_field(out, 5, (-7_i64).cast_unsigned());
            }),
            tag("n", |out| {
                put_varint_field(out, 2, 4);
                put_bytes_field(out, 7, &[0, 255, 7]);
            }),
        ];
        tags.extend([0.0, 1.5, -2.0, 1e21, 1e-7, 123_456.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(double));
        tags
    }

    /// A span with everything, and one with nothing but ids of some lengths.
    fn spans() -> Vec<Vec<u8>> {
        let whole = message(|out| {
            put_bytes_field(out, 1, &(1..=16).collect::<Vec<u8>>());
            put_bytes_field(out, 2, &(1..=8).collect::<Vec<u8>>());
            put_bytes_field(out, 3, b"operation");
            for kind in 0..2 {
                let reference = message(|out| {
                    put_bytes_field(out, 1, &[9; 16]);
                    put_bytes_field(out, 2, &[0, 0, 0, 0, 0, 0, 0, 3]);
                    put_varint_field(out, 3, kind);
                });
                put_bytes_field(out, 4, &reference);
            }
            put_varint_field(out, 5, 3);
            put_bytes_field(out, 6, &time(1_485_467_191, 639_875_000));
            put_bytes_field(out, 7, &time(5, 1_000_000));
            tags().iter().for_each(|tag| put_bytes_field(out, 8, tag));
            let log = message(|out| {
                put_bytes_field(out, 1, &time(1_485_467_191, 639_875_001));
                tags().iter().take(2).for_each(|tag| put_bytes_field(out, 2, tag));
            });
            put_bytes_field(out, 9, &log);
            let process = message(|out| {
                put_bytes_field(out, 1, b"service");
                put_bytes_field(out, 2, &tags()[0]);
            });
            put_bytes_field(out, 10, &process);
            put_bytes_field(out, 11, b"p1");
            put_bytes_field(out, 12, b"warning <1>");
        });
        let ids = message(|out| {
            put_bytes_field(out, 1, &[0; 16]);
            put_bytes_field(out, 2, &[0; 8]);
            put_bytes_field(out, 6, &time(-1, 5));
            put_bytes_field(out, 7, &time(0, 0));
            put_bytes_field(out, 10, &[]);
        });
        let short = message(|out| {
            put_bytes_field(out, 6, &time(1, 0));
            put_bytes_field(out, 7, &time(0, 20_000));
        });
        let first = message(|out| put_bytes_field(out, 6, &time(-9_223_372_037, 145_224_192)));
        vec![whole, ids, short, first]
    }

    #[test]
    fn spans_are_written_as_go_writes_them() {
        for (span, expected) in spans().iter().zip(EXPECTED) {
            let mut out = Vec::new();
            put_span_json(&mut out, span);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    /// What `jsonpb` of gogo/protobuf 1.3.2 makes of them with jaeger-idl 0.9.0.
    const EXPECTED: [&str; 4] = [
        r#"{"traceId":"AQIDBAUGBwgJCgsMDQ4PEA==","spanId":"AQIDBAUGBwg=","operationName":"operation","references":[{"traceId":"CQkJCQkJCQkJCQkJCQkJCQ==","spanId":"AAAAAAAAAAM="},{"traceId":"CQkJCQkJCQkJCQkJCQkJCQ==","spanId":"AAAAAAAAAAM=","refType":"FOLLOWS_FROM"}],"flags":3,"startTime":"2017-01-26T21:46:31.639875Z","duration":"5.001s","tags":[{"key":"s","vStr":"\u003ca\u0026b\u003e\u2028\b\u0001\"\\é"},{"key":"empty"},{"key":"b","vType":"BOOL","vBool":true},{"key":"false","vType":"BOOL"},{"key":"i","vType":"INT64","vInt64":"-7"},{"key":"n","vType":"BINARY","vBinary":"AP8H"},{"key":"f","vType":"FLOAT64"},{"key":"f","vType":"FLOAT64","vFloat64":1.5},{"key":"f","vType":"FLOAT64","vFloat64":-2},{"key":"f","vType":"FLOAT64","vFloat64":1e+21},{"key":"f","vType":"FLOAT64","vFloat64":1e-7},{"key":"f","vType":"FLOAT64","vFloat64":123456},{"key":"f","vType":"FLOAT64","vFloat64":"NaN"},{"key":"f","vType":"FLOAT64","vFloat64":"Infinity"},{"key":"f","vType":"FLOAT64","vFloat64":"-Infinity"}],"logs":[{"timestamp":"2017-01-26T21:46:31.639875001Z","fields":[{"key":"s","vStr":"\u003ca\u0026b\u003e\u2028\b\u0001\"\\é"},{"key":"empty"}]}],"process":{"serviceName":"service","tags":[{"key":"s","vStr":"\u003ca\u0026b\u003e\u2028\b\u0001\"\\é"}]},"processId":"p1","warnings":["warning \u003c1\u003e"]}"#,
        r#"{"traceId":"AAAAAAAAAAAAAAAAAAAAAA==","startTime":"1969-12-31T23:59:59.000000005Z","process":{}}"#,
        r#"{"traceId":"AAAAAAAAAAAAAAAAAAAAAA==","startTime":"1970-01-01T00:00:01Z","duration":"0.000020s"}"#,
        r#"{"traceId":"AAAAAAAAAAAAAAAAAAAAAA==","startTime":"1677-09-21T00:12:43.145224192Z"}"#,
    ];
}
