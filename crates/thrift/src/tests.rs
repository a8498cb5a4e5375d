use super::*;

/// Every value of a message as text, types included.
fn dump(reader: &mut Reader<'_>, kind: Kind) -> Result<String, ThriftError> {
    Ok(match kind {
        Kind::Bool => format!("{}", reader.bool()?),
        Kind::Byte => format!("{}b", reader.byte()?),
        Kind::I16 => format!("{}s", reader.i16()?),
        Kind::I32 => format!("{}i", reader.i32()?),
        Kind::I64 => format!("{}l", reader.i64()?),
        Kind::Double => format!("{}d", reader.double()?),
        Kind::Binary => format!("{:?}", String::from_utf8_lossy(reader.binary()?)),
        Kind::Struct => {
            let mut text = String::new();
            reader.read_struct(|reader, id, kind| {
                text += &format!("{id}={} ", dump(reader, kind)?);
                Ok::<(), ThriftError>(())
            })?;
            format!("{{{}}}", text.trim_end())
        }
        Kind::List | Kind::Set => {
            let (kind, length) = reader.list()?;
            let elements: Result<Vec<String>, _> = (0..length).map(|_| dump(reader, kind)).collect();
            format!("[{}]", elements?.join(" "))
        }
        Kind::Map => {
            let (key, value, length) = reader.map()?;
            let mut text = String::new();
            for _ in 0..length {
                text += &format!("{}:{} ", dump(reader, key)?, dump(reader, value)?);
            }
            format!("<{}>", text.trim_end())
        }
    })
}

/// A struct with a field of every type.
const BINARY: &[u8] = b"\x02\x00\x01\x01\x03\x00\x02\xfe\x06\x00\x03\xff\xff\x08\x00\x04\x00\x01\x00\x00\
    \x0a\x00\x05\x80\x00\x00\x00\x00\x00\x00\x00\x04\x00\x06\x3f\xf8\x00\x00\x00\x00\x00\x00\
    \x0b\x00\x07\x00\x00\x00\x02hi\x0c\x00\x08\x02\x00\x01\x00\x00\
    \x0f\x00\x09\x02\x00\x00\x00\x02\x01\x00\x0d\x00\x14\x0b\x08\x00\x00\x00\x01\x00\x00\x00\x01k\x00\x00\x00\x05\x00";
const COMPACT: &[u8] = b"\x11\x13\xfe\x14\x01\x15\x80\x80\x08\x16\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\
    \x17\x00\x00\x00\x00\x00\x00\xf8\x3f\x18\x02hi\x1c\x12\x00\x19\x21\x01\x02\xbb\x01\x85\x01k\x0a\x00";
const VALUES: &str = "{1=true 2=-2b 3=-1s 4=65536i 5=-9223372036854775808l 6=1.5d 7=\"hi\" 8={1=false} 9=[true false] \
    20=<\"k\":5i>}";

#[test]
fn values_of_every_type_are_read_and_skipped_in_both_protocols() {
    for (protocol, bytes) in [(Protocol::Binary, BINARY), (Protocol::Compact, COMPACT)] {
        let mut reader = Reader::new(protocol, bytes);
        assert_eq!(dump(&mut reader, Kind::Struct).as_deref(), Ok(VALUES), "{protocol:?}");
        assert!(reader.is_at_end());
        let mut reader = Reader::new(protocol, bytes);
        reader.skip(Kind::Struct).unwrap();
        assert!(reader.is_at_end());
    }
}

#[test]
fn field_number_far_from_the_last_one_is_written_out() {
    // The number 200 as a zigzag varint behind a type without a step.
    let mut reader = Reader::new(Protocol::Compact, b"\x05\x90\x03\x0a\x00");
    assert_eq!(dump(&mut reader, Kind::Struct).as_deref(), Ok("{200=5i}"));
}

#[test]
fn heads_of_messages_are_read_in_every_form() {
    let head = MessageHead { name: b"emitBatch", kind: MessageKind::Oneway, sequence: 7 };
    for (protocol, bytes) in [
        (Protocol::Compact, b"\x82\x81\x07\x09emitBatch".as_slice()),
        (Protocol::Binary, b"\x80\x01\x00\x04\x00\x00\x00\x09emitBatch\x00\x00\x00\x07"),
        (Protocol::Binary, b"\x00\x00\x00\x09emitBatch\x04\x00\x00\x00\x07"),
    ] {
        assert_eq!(Reader::new(protocol, bytes).message(), Ok(head));
    }
    for (protocol, bytes) in [
        (Protocol::Compact, b"\x80\x81\x07\x09emitBatch".as_slice()),
        (Protocol::Compact, b"\x82\x82\x07\x09emitBatch"),
        (Protocol::Compact, b"\x82\xe1\x07\x09emitBatch"),
        (Protocol::Binary, b"\x80\x02\x00\x04\x00\x00\x00\x09emitBatch\x00\x00\x00\x07"),
    ] {
        assert_eq!(Reader::new(protocol, bytes).message(), Err(ThriftError::NoMessage), "{bytes:?}");
    }
}

#[test]
fn truncated_data_is_an_error_at_every_length() {
    for (protocol, bytes) in [(Protocol::Binary, BINARY), (Protocol::Compact, COMPACT)] {
        for length in 0..bytes.len() {
            let error = Reader::new(protocol, &bytes[..length]).skip(Kind::Struct).unwrap_err();
            assert!(matches!(error, ThriftError::Truncated(at) if at <= length), "{error:?} at {length}");
        }
    }
}

#[test]
fn length_that_exceeds_the_data_is_refused_at_once() {
    let mut reader = Reader::new(Protocol::Binary, b"\x0c\x7f\xff\xff\xff\x00\x00");
    assert_eq!(reader.list(), Err(ThriftError::Truncated(1)));
    let mut reader = Reader::new(Protocol::Binary, b"\xff\xff\xff\xff");
    assert_eq!(reader.binary(), Err(ThriftError::InvalidNumber(0)));
    let mut reader = Reader::new(Protocol::Compact, b"\xec\x00");
    assert_eq!(reader.list(), Err(ThriftError::Truncated(0)));
}

#[test]
fn deep_data_is_refused() {
    let lists = [0x0f, 0, 0, 0, 1].repeat(100_000);
    let mut reader = Reader::new(Protocol::Binary, &lists);
    assert!(matches!(reader.skip(Kind::List), Err(ThriftError::TooDeep(_))));
    let structs = [0x1c].repeat(100_000);
    let mut reader = Reader::new(Protocol::Compact, &structs);
    assert!(matches!(reader.skip(Kind::Struct), Err(ThriftError::TooDeep(_))));
}

#[test]
fn changed_bytes_never_panic() {
    for (protocol, bytes) in [(Protocol::Binary, BINARY), (Protocol::Compact, COMPACT)] {
        for at in 0..bytes.len() {
            for change in [1, 2, 7, 0x0f, 0x10, 0x7f, 0x80, 0xff] {
                let mut bytes = bytes.to_vec();
                bytes[at] ^= change;
                let _ = dump(&mut Reader::new(protocol, &bytes), Kind::Struct);
                let _ = Reader::new(protocol, &bytes).skip(Kind::Struct);
                let _ = Reader::new(protocol, &bytes).message();
            }
        }
    }
}
