//! Batches as Jaeger's clients make them, and their encodings.

use otelcore_pdata::wire_format::{put_bytes_field, put_fixed64_field, put_varint_field};

/// The value of a tag.
#[derive(Clone, Debug)]
pub enum Value {
    Text(&'static str),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(&'static [u8]),
    /// A type that does not exist.
    Unknown(i32),
}

pub type Tags = Vec<(&'static str, Value)>;

#[derive(Clone, Debug, Default)]
pub struct Process {
    pub service: &'static str,
    pub tags: Tags,
}

/// Trace, span, and what it is: 0 for a child, 1 for one that follows.
#[derive(Clone, Debug)]
pub struct Reference {
    pub trace_id: [u64; 2],
    pub span_id: u64,
    pub kind: i32,
}

/// Times are microseconds.
#[derive(Clone, Debug, Default)]
pub struct Span {
    pub trace_id: [u64; 2],
    pub id: u64,
    pub parent_id: u64,
    pub name: &'static str,
    pub references: Vec<Reference>,
    pub flags: i32,
    pub start: Option<i64>,
    pub duration: i64,
    pub tags: Tags,
    pub logs: Vec<(Option<i64>, Tags)>,
    pub process: Option<Process>,
}

#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub process: Option<Process>,
    pub spans: Vec<Span>,
    /// The process is behind the spans.
    pub has_process_last: bool,
}

fn message(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn proto_id(id: [u64; 2], with_high: bool) -> Vec<u8> {
    let bytes = id.map(u64::to_be_bytes).concat();
    if with_high { bytes } else { bytes[8..].to_vec() }
}

fn proto_tags(out: &mut Vec<u8>, number: u32, tags: &Tags) {
    for (key, value) in tags {
        let tag = message(|out| {
            put_bytes_field(out, 1, key.as_bytes());
            match value {
                Value::Text(v) => put_bytes_field(out, 3, v.as_bytes()),
                Value::Bool(v) => {
                    put_varint_field(out, 2, 1);
                    put_varint_field(out, 4, u64::from(*v));
                }
                Value::Int(v) => {
                    put_varint_field(out, 5, v.cast_unsigned());
                    put_varint_field(out, 2, 2);
                }
                Value::Double(v) => {
                    put_varint_field(out, 2, 3);
                    put_fixed64_field(out, 6, v.to_bits());
                }
                Value::Bytes(v) => {
                    put_varint_field(out, 2, 4);
                    put_bytes_field(out, 7, v);
                }
                Value::Unknown(number) => put_varint_field(out, 2, i64::from(*number).cast_unsigned()),
            }
        });
        put_bytes_field(out, number, &tag);
    }
}

/// Whole seconds, and the rest as nanoseconds.
fn proto_time(out: &mut Vec<u8>, number: u32, micros: i64) {
    let seconds = message(|out| {
        put_varint_field(out, 1, (micros / 1_000_000).cast_unsigned());
        put_varint_field(out, 2, (micros % 1_000_000 * 1000).cast_unsigned());
    });
    put_bytes_field(out, number, &seconds);
}

fn proto_process(process: &Process) -> Vec<u8> {
    message(|out| {
        put_bytes_field(out, 1, process.service.as_bytes());
        proto_tags(out, 2, &process.tags);
    })
}

fn proto_span(span: &Span) -> Vec<u8> {
    message(|out| {
        if span.trace_id != [0, 0] {
            put_bytes_field(out, 1, &proto_id(span.trace_id, span.flags != 1 || span.trace_id[0] != 0));
        }
        if span.id != 0 {
            put_bytes_field(out, 2, &span.id.to_be_bytes());
        }
        put_bytes_field(out, 3, span.name.as_bytes());
        for Reference { trace_id, span_id, kind } in &span.references {
            let reference = message(|out| {
                put_bytes_field(out, 1, &proto_id(*trace_id, true));
                put_bytes_field(out, 2, &span_id.to_be_bytes());
                put_varint_field(out, 3, i64::from(*kind).cast_unsigned());
            });
            put_bytes_field(out, 4, &reference);
        }
        put_varint_field(out, 5, u64::from(span.flags.unsigned_abs()));
        if let Some(start) = span.start {
            proto_time(out, 6, start);
        }
        if span.duration != 0 {
            proto_time(out, 7, span.duration);
        }
        proto_tags(out, 8, &span.tags);
        for (time, fields) in &span.logs {
            let log = message(|out| {
                if let Some(time) = time {
                    proto_time(out, 1, *time);
                }
                proto_tags(out, 2, fields);
            });
            put_bytes_field(out, 9, &log);
        }
        if let Some(process) = &span.process {
            put_bytes_field(out, 10, &proto_process(process));
        }
    })
}

impl Batch {
    /// `jaeger.api_v2.PostSpansRequest`.
    pub fn to_protobuf(&self) -> Vec<u8> {
        let batch = message(|out| {
            let process = self.process.as_ref().map(proto_process);
            if let Some(process) = process.as_ref().filter(|_| !self.has_process_last) {
                put_bytes_field(out, 2, process);
            }
            self.spans.iter().for_each(|span| put_bytes_field(out, 1, &proto_span(span)));
            if let Some(process) = process.filter(|_| self.has_process_last) {
                put_bytes_field(out, 2, &process);
            }
        });
        message(|out| put_bytes_field(out, 1, &batch))
    }

    /// `jaeger.Batch` in Thrift.
    pub fn to_thrift(&self, is_compact: bool) -> Vec<u8> {
        let mut writer = ThriftWriter { is_compact, out: Vec::new(), last_field: 0 };
        self.write(&mut writer);
        writer.out
    }

    /// A message that calls `emitBatch`.
    pub fn to_message(&self, is_compact: bool) -> Vec<u8> {
        let mut writer = ThriftWriter { is_compact, out: message_head(is_compact, "emitBatch"), last_field: 0 };
        writer.structure(|writer| writer.struct_field(1, |writer| self.write_fields(writer)));
        writer.out
    }

    fn write(&self, writer: &mut ThriftWriter) {
        writer.structure(|writer| self.write_fields(writer));
    }

    fn write_fields(&self, writer: &mut ThriftWriter) {
        let write_process = |writer: &mut ThriftWriter| {
            if let Some(process) = &self.process {
                writer.struct_field(1, |writer| {
                    writer.bytes(1, process.service.as_bytes());
                    writer.tags(2, &process.tags);
                });
            }
        };
        if !self.has_process_last {
            write_process(writer);
        }
        writer.list(2, &self.spans, thrift_span);
        writer.i64(3, 7);
        writer.struct_field(4, |writer| (1..=3).for_each(|number| writer.i64(number, 0)));
        if self.has_process_last {
            write_process(writer);
        }
    }
}

/// The beginning of a message.
pub fn message_head(is_compact: bool, method: &str) -> Vec<u8> {
    let mut out = match is_compact {
        true => vec![0x82, 0x81, 5, method.len() as u8],
        false => [&[0x80, 1, 0, 4][..], &(method.len() as u32).to_be_bytes()].concat(),
    };
    out.extend_from_slice(method.as_bytes());
    if !is_compact {
        out.extend_from_slice(&[0, 0, 0, 5]);
    }
    out
}

fn thrift_span(writer: &mut ThriftWriter, span: &Span) {
    writer.i64(1, span.trace_id[1].cast_signed());
    writer.i64(2, span.trace_id[0].cast_signed());
    writer.i64(3, span.id.cast_signed());
    writer.i64(4, span.parent_id.cast_signed());
    writer.bytes(5, span.name.as_bytes());
    if !span.references.is_empty() {
        writer.list(6, &span.references, |writer, reference| {
            writer.i32(1, reference.kind);
            writer.i64(2, reference.trace_id[1].cast_signed());
            writer.i64(3, reference.trace_id[0].cast_signed());
            writer.i64(4, reference.span_id.cast_signed());
        });
    }
    writer.i32(7, span.flags);
    writer.i64(8, span.start.unwrap_or(0));
    writer.i64(9, span.duration);
    if !span.tags.is_empty() {
        writer.tags(10, &span.tags);
    }
    if !span.logs.is_empty() {
        writer.list(11, &span.logs, |writer, (time, fields)| {
            writer.i64(1, time.unwrap_or(0));
            writer.tags(2, fields);
        });
    }
}

/// Writes Thrift in one of its protocols.
struct ThriftWriter {
    is_compact: bool,
    out: Vec<u8>,
    last_field: i16,
}

impl ThriftWriter {
    fn varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.out.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.out.push(v as u8);
    }

    fn zigzag(&mut self, v: i64) {
        self.varint((v << 1 ^ v >> 63).cast_unsigned());
    }

    /// Types are those of the binary and the compact protocol.
    fn field(&mut self, kinds: (u8, u8), number: i16) {
        if self.is_compact {
            let step = number - self.last_field;
            if (1..16).contains(&step) {
                self.out.push((step as u8) << 4 | kinds.1);
            } else {
                self.out.push(kinds.1);
                self.zigzag(number.into());
            }
            self.last_field = number;
        } else {
            self.out.push(kinds.0);
            self.out.extend_from_slice(&number.to_be_bytes());
        }
    }

    fn i64(&mut self, number: i16, v: i64) {
        self.field((10, 6), number);
        if self.is_compact { self.zigzag(v) } else { self.out.extend_from_slice(&v.to_be_bytes()) }
    }

    fn i32(&mut self, number: i16, v: i32) {
        self.field((8, 5), number);
        if self.is_compact { self.zigzag(v.into()) } else { self.out.extend_from_slice(&v.to_be_bytes()) }
    }

    fn double(&mut self, number: i16, v: f64) {
        self.field((4, 7), number);
        self.out.extend_from_slice(&if self.is_compact { v.to_le_bytes() } else { v.to_be_bytes() });
    }

    fn bool(&mut self, number: i16, v: bool) {
        self.field((2, if v { 1 } else { 2 }), number);
        if !self.is_compact {
            self.out.push(v.into());
        }
    }

    fn length(&mut self, length: usize) {
        if self.is_compact {
            self.varint(length as u64);
        } else {
            self.out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }

    fn bytes(&mut self, number: i16, v: &[u8]) {
        self.field((11, 8), number);
        self.length(v.len());
        self.out.extend_from_slice(v);
    }

    fn structure(&mut self, write: impl FnOnce(&mut Self)) {
        let outer = std::mem::take(&mut self.last_field);
        write(self);
        self.out.push(0);
        self.last_field = outer;
    }

    fn struct_field(&mut self, number: i16, write: impl FnOnce(&mut Self)) {
        self.field((12, 12), number);
        self.structure(write);
    }

    fn list<T>(&mut self, number: i16, elements: &[T], write: impl Fn(&mut Self, &T)) {
        self.field((15, 9), number);
        match (self.is_compact, elements.len()) {
            (true, length @ 0..15) => self.out.push((length as u8) << 4 | 12),
            (true, _) => self.out.push(0xfc),
            (false, _) => self.out.push(12),
        }
        if !self.is_compact || elements.len() >= 15 {
            self.length(elements.len());
        }
        elements.iter().for_each(|element| self.structure(|writer| write(writer, element)));
    }

    fn tags(&mut self, number: i16, tags: &Tags) {
        self.list(number, tags, |writer, (key, value)| {
            writer.bytes(1, key.as_bytes());
            let kind = match value {
                Value::Text(_) => 0,
                Value::Double(_) => 1,
                Value::Bool(_) => 2,
                Value::Int(_) => 3,
                Value::Bytes(_) => 4,
                Value::Unknown(number) => *number,
            };
            writer.i32(2, kind);
            match value {
                Value::Text(v) => writer.bytes(3, v.as_bytes()),
                Value::Double(v) => writer.double(4, *v),
                Value::Bool(v) => writer.bool(5, *v),
                Value::Int(v) => writer.i64(6, *v),
                Value::Bytes(v) => writer.bytes(7, v),
                Value::Unknown(_) => {}
            }
        });
    }
}
