//! OTLP spans as spans of Jaeger's model in protobuf.
//!
//! Keys and strings are copied with their tags and lengths; nothing is decoded into structs. Field presence and order are those of Jaeger's
//! Go encoder. Nothing here performs IO.
#![forbid(unsafe_code)]

mod json;
mod span;
mod value;

pub use json::put_span_json;
use otelcore_pdata::views::{AnyValue, KeyValue, Resource};
use otelcore_pdata::wire_format::{put_bytes_field, varint_len};
pub use span::{put_span, scope_tags};
use value::{HttpAttributeNames, put_tag};

/// A process as field `number` of a message: the service's name and the resource's other attributes.
pub fn put_process(out: &mut Vec<u8>, number: u32, resource: &Resource<'_>) {
    put_len_delimited(out, number, |out| {
        let mut attributes = resource.attributes().peekable();
        if attributes.peek().is_none() {
            put_bytes_field(out, 1, b"OTLPResourceNoServiceName");
            return;
        }
        let is_service_name = |kv: &KeyValue<'_>| kv.key == b"service.name";
        if let Some(AnyValue::String(name)) = resource.attributes().find(is_service_name).map(|kv| kv.value)
            && !name.is_empty()
        {
            put_bytes_field(out, 1, name);
        }
        for tag in attributes.filter(|kv| !is_service_name(kv)) {
            put_tag(out, 2, &tag, HttpAttributeNames::Unchanged);
        }
    });
}

/// Appends a length-delimited field whose content `write_content` writes. Two bytes are reserved for the length;
/// content below 128 bytes or above 16 KiB is moved by a byte or two once its length is known.
fn put_len_delimited(out: &mut Vec<u8>, number: u32, write_content: impl FnOnce(&mut Vec<u8>)) {
    const RESERVED: usize = 2;
    otelcore_pdata::wire_format::put_varint(out, u64::from(number) << 3 | 2);
    let start = out.len();
    out.extend_from_slice(&[0; RESERVED]);
    write_content(out);
    let len = out.len() - start - RESERVED;
    let width = varint_len(len as u64);
    if width < RESERVED {
        out.remove(start);
    } else {
        for _ in RESERVED..width {
            out.insert(start, 0);
        }
    }
    let mut rest = len as u64;
    for byte in out.iter_mut().skip(start).take(width) {
        // The low seven bits, and the flag that more follow.
        *byte = (rest & 0x7f) as u8 | if rest > 0x7f { 0x80 } else { 0 };
        rest >>= 7;
    }
}
