//! The check compared with the general loop, which knows no short forms, on generated bodies: valid ones with every
//! field, and changed ones.

use super::check_by_fields;
use crate::schema::{FieldRule, FieldType, MessageSchema};
use crate::wire_format::{put_bytes_field, put_fixed64_field, put_tag_and_len, put_varint, put_varint_field};
use crate::{Signal, check, schema};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A length: mostly short, sometimes at the borders of one and two bytes.
    fn len(&mut self) -> usize {
        match self.below(40) {
            0 => 120 + self.below(12) as usize,
            1 => 250 + self.below(12) as usize,
            2 => 0,
            _ => self.below(24) as usize,
        }
    }

    /// A varint of any length.
    fn varint(&mut self) -> u64 {
        let bits = self.below(64);
        self.next() >> bits
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Writes a message with random fields in random order; in `depth` messages more, there are only scalars.
fn write_message(message: &'static MessageSchema, depth: u32, random: &mut Random, out: &mut Vec<u8>) {
    for _ in 0..random.below(message.fields.len() as u64 * 2 + 1) {
        let field = &message.fields[random.below(message.fields.len() as u64) as usize];
        for _ in 0..if field.rule == FieldRule::Repeated { random.below(3) } else { 1 } {
            write_field(field.number, field.kind, depth, random, out);
        }
    }
    if random.below(30) == 0 {
        put_bytes_field(out, 1 + random.below(40) as u32 * 50, b"unknown");
    }
}

fn write_field(number: u32, kind: FieldType, depth: u32, random: &mut Random, out: &mut Vec<u8>) {
    match kind {
        FieldType::String | FieldType::Bytes => {
            let len = random.len();
            put_bytes_field(out, number, &random.bytes(len));
        }
        FieldType::TraceId | FieldType::SpanId => {
            let len = match (random.below(20), kind) {
                (0, _) => 0,
                (1, _) => random.len(),
                (_, FieldType::TraceId) => 16,
                _ => 8,
            };
            put_bytes_field(out, number, &random.bytes(len));
        }
        FieldType::Fixed32 => {
            put_varint(out, u64::from(number) << 3 | 5);
            out.extend_from_slice(&random.bytes(4));
        }
        FieldType::Sfixed64 | FieldType::Fixed64 | FieldType::Double => put_fixed64_field(out, number, random.next()),
        FieldType::Bool
        | FieldType::Int32
        | FieldType::Sint32
        | FieldType::Uint32
        | FieldType::Int64
        | FieldType::Uint64
        | FieldType::Enum(_) => put_varint_field(out, number, random.varint()),
        FieldType::KeyValue if random.below(4) > 0 => {
            let (key_len, text_len) = (random.len(), random.len());
            let (key, mut value) = (random.bytes(key_len), Vec::new());
            match random.below(32) {
                // Too long, or without an end.
                0 => {
                    value.push(0x18);
                    value.extend((0..random.below(13)).map(|_| 0x80 | random.next() as u8));
                    value.push(random.next() as u8);
                }
                1..4 => put_varint_field(&mut value, 2, random.below(2)),
                4..8 => put_varint_field(&mut value, 3, random.varint()),
                8..12 => put_fixed64_field(&mut value, 4, random.next()),
                _ => put_bytes_field(&mut value, 1, &random.bytes(text_len)),
            }
            let mut attribute = Vec::new();
            put_bytes_field(&mut attribute, 1, &key);
            put_bytes_field(&mut attribute, 2, &value);
            put_bytes_field(out, number, &attribute);
        }
        kind => {
            let mut inner = Vec::new();
            if let Some(schema) = kind.message().filter(|_| depth > 0) {
                write_message(schema, depth - 1, random, &mut inner);
            }
            put_bytes_field(out, number, &inner);
        }
    }
}

/// A body of up to some kilobytes. Half of them end with a field that is longer than the loads of the short forms.
fn body(signal: Signal, random: &mut Random) -> Vec<u8> {
    let mut body = Vec::new();
    while body.is_empty() {
        write_message(schema::request(signal), 9, random, &mut body);
    }
    body.truncate(8 << 10);
    if random.below(2) == 0 {
        put_tag_and_len(&mut body, 15, 300);
        body.resize(body.len() + 300, 0x4a);
    }
    body
}

/// Changes one to three places: another byte, one more, one less, or the end.
fn change(body: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(body.len().max(1) as u64) as usize;
        let Some(byte) = body.get_mut(at) else { return };
        match random.below(8) {
            0 => *byte = random.next() as u8,
            1 => *byte = byte.wrapping_add(1),
            2 => *byte = byte.wrapping_sub(1),
            3 => *byte ^= 1 << random.below(8),
            4 => *byte = [0x0a, 0x12, 0x4a, 0x80, 0x7f, 0xff][random.below(6) as usize],
            5 => body.insert(at, random.next() as u8),
            6 => drop(body.remove(at)),
            _ => body.truncate(at),
        }
    }
}

#[test]
fn short_forms_and_general_loop_agree() {
    let mut random = Random(7);
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..3000 {
        let signal = Signal::ALL[round % 3];
        let original = body(signal, &mut random);
        let mut changed = original.clone();
        for step in 0..5 {
            if step > 0 {
                changed.clone_from(&original);
                change(&mut changed, &mut random);
            }
            let expected = check_by_fields(signal, &changed);
            assert_eq!(check(signal, &changed), expected, "{signal} {changed:02x?}");
            *(if expected.is_ok() { &mut accepted } else { &mut refused }) += 1;
        }
    }
    assert!(accepted > 2000 && refused > 2000, "{accepted} accepted, {refused} refused");
}

#[test]
fn value_alone_is_checked_as_that_of_an_attribute() {
    let nested = |depth: usize| {
        (0..depth).fold(vec![0x0a, 1, b'x'], |inner, _| {
            let (mut list, mut value) = (Vec::new(), Vec::new());
            put_bytes_field(&mut list, 1, &inner);
            put_bytes_field(&mut value, 5, &list);
            value
        })
    };
    for depth in [0, 1, 98, 99, 100] {
        let value = nested(depth);
        let (mut pair, mut record, mut logs) = (Vec::new(), Vec::new(), Vec::new());
        put_bytes_field(&mut pair, 2, &value);
        put_bytes_field(&mut record, 6, &pair);
        put_bytes_field(&mut logs, 2, &record);
        let (mut entry, mut body) = (Vec::new(), Vec::new());
        put_bytes_field(&mut entry, 2, &logs);
        put_bytes_field(&mut body, 1, &entry);
        assert_eq!(crate::check_value(&value).is_ok(), check(Signal::Logs, &body).is_ok(), "{depth}");
    }
    let error = crate::check_value(&[0x2a, 2, 0x0a, 1]).unwrap_err();
    assert_eq!((error.offset, error.message), (2, "ArrayValue"));
}
