use super::*;

fn records() -> Vec<Record> {
    let header = RecordHeader { key: "tenant".to_owned(), value: b"a".to_vec() };
    let value = Bytes::from(vec![b'x'; 3000]);
    vec![
        Record {
            key: None,
            value: Bytes::from_static(b"first"),
            headers: Arc::default(),
            timestamp_ms: 1_700_000_000_123,
        },
        Record {
            key: Some(Bytes::from_static(b"key")),
            value,
            headers: vec![header.clone(), header].into(),
            timestamp_ms: 1_700_000_000_100,
        },
        Record { key: Some(Bytes::new()), ..Record::default() },
    ]
}

fn options(compression: Compression) -> BatchOptions {
    BatchOptions { compression, level: None, producer: ProducerId { id: 77, epoch: 3 }, first_sequence: 41 }
}

#[test]
fn batch_of_every_coding_is_read_as_written() {
    for compression in Compression::ALL {
        let bytes = encode(&records(), options(compression));
        let (batch, rest) = decode(&bytes, 1 << 20).unwrap();
        assert!(rest.is_empty());
        assert_eq!((batch.records, batch.compression), (records(), compression));
        assert_eq!((batch.producer, batch.first_sequence), ((77, 3), 41));
        let estimate: usize = records().iter().map(Record::encoded_len).sum();
        assert!(compression != Compression::None || bytes.len() <= HEADER_LEN + estimate);
    }
}

#[test]
fn batch_with_one_changed_byte_is_refused() {
    let bytes = encode(&records(), options(Compression::None));
    for at in MAGIC_AT..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        assert!(decode(&changed, 1 << 20).is_err(), "{at}");
    }
    for len in 0..bytes.len() {
        assert!(decode(&bytes[..len], 1 << 20).is_err(), "{len}");
    }
}

#[test]
fn batch_that_decompresses_to_more_than_the_limit_is_refused() {
    let record = Record { value: Bytes::from(vec![0; 8 << 20]), ..Record::default() };
    for compression in Compression::ALL {
        let bytes = encode(std::slice::from_ref(&record), options(compression));
        assert!(compression == Compression::None || bytes.len() < 1 << 20, "{compression:?}");
        assert!(matches!(decode(&bytes, 1 << 20), Err(BatchError::Compression(_))), "{compression:?}");
    }
}

#[test]
fn snappy_in_blocks_as_of_the_java_client_is_read() {
    let mut block_bytes = Vec::new();
    let workspace = Workspace::new();
    for part in [&b"one"[..], b"two"] {
        let block = workspace.compress(&Coding::Snappy, [part]);
        block_bytes.extend((block.len() as u32).to_be_bytes());
        block_bytes.extend(&block[..]);
    }
    let framed = [b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01", &block_bytes[..]].concat();
    assert_eq!(decompress(Compression::Snappy, &framed, 100).unwrap(), &b"onetwo"[..]);
    assert!(decompress(Compression::Snappy, &framed, 5).is_err());
}
