//! A Kafka broker. Checks: a connection gives the same events and ends in the same way in one piece and divided; a batch of records is
//! read within its limit or refused; every answer is read or refused in every version; the records of an answer have growing offsets; a span of
//! `jaeger_json` that was read is written and read as the same.

use bytes::Bytes;
use otelcore_jaeger_translation::put_span_json;
use otelcore_kafka_client::{
    ApiKey, Connection, ConnectionEvent, Credentials, ScramHash, read_any_answer, record_batch,
};
use otelcore_receiver_kafka::read_jaeger_json;

use crate::input::Input;

/// The records of a batch may take this many bytes.
const LIMIT: usize = 1 << 18;

/// The first byte chooses the authentication, the second the length of the pieces; then follow the bytes of the broker.
pub fn connection(data: &[u8]) {
    let mut input = Input(data);
    let (username, password) = (|| "user".to_owned(), || "pencil".to_owned());
    let credentials = match input.below(5) {
        0 => None,
        1 => Some(Credentials::Plain { username: username(), password: password() }),
        2 => Some(Credentials::Scram { hash: ScramHash::Sha256, username: username(), password: password() }),
        3 => Some(Credentials::Scram { hash: ScramHash::Sha512, username: username(), password: password() }),
        _ => Some(Credentials::OauthBearer { token: "token".to_owned() }),
    };
    let piece = 1 + usize::from(input.byte());
    let bytes = input.0;
    assert_eq!(run(credentials.clone(), bytes, bytes.len().max(1)), run(credentials, bytes, piece));
}

/// The events of a connection, and how it ends.
fn run(credentials: Option<Credentials>, bytes: &[u8], piece: usize) -> (Vec<String>, Result<(), String>) {
    let mut connection = Connection::begin("otelcore", None, credentials, "nonce".to_owned());
    let mut events = Vec::new();
    for piece in bytes.chunks(piece) {
        let result = connection.handle_input(piece);
        while let Some(event) = connection.poll_event() {
            events.push(match event {
                ConnectionEvent::Answer { body, .. } => {
                    assert!(body.len() <= bytes.len());
                    "answer".to_owned()
                }
                event => format!("{event:?}"),
            });
        }
        let written = connection.output().iter().map(|part| part.len()).sum();
        connection.advance_output(written);
        // What it writes is its handshake: a few messages.
        assert!(written < 4096, "{written}");
        if let Err(error) = result {
            return (events, Err(error.to_string()));
        }
    }
    (events, Ok(()))
}

/// A batch as it is, and with its length and its checksum corrected.
pub fn batch(data: &[u8]) {
    read(data);
    let mut data = data.to_vec();
    let Ok(len) = i32::try_from(data.len().saturating_sub(12)) else { return };
    if data.len() < 21 {
        return;
    }
    data[8..12].copy_from_slice(&len.to_be_bytes());
    data[16] = 2;
    let checksum = crc32c::crc32c(&data[21..]);
    data[17..21].copy_from_slice(&checksum.to_be_bytes());
    read(&data);
}

fn read(data: &[u8]) {
    if let Ok((batch, rest)) = record_batch::decode(data, LIMIT) {
        assert!(rest.len() < data.len());
        let header = |header: &record_batch::RecordHeader| header.key.len() + header.value.len();
        let lengths = batch.records.iter().map(|record| {
            record.value.len()
                + record.key.as_ref().map_or(0, |key| key.len())
                + record.headers.iter().map(header).sum::<usize>()
        });
        assert!(lengths.sum::<usize>() <= LIMIT.max(data.len()));
    }
}

/// The first byte chooses the request, the second its version; then follows the answer.
pub fn answer(data: &[u8]) {
    let mut input = Input(data);
    let api = ApiKey::ALL[input.below(ApiKey::ALL.len())];
    let range = api.implemented();
    let version = range.min + i16::from(input.byte()) % (range.max - range.min + 1);
    let body = Bytes::copy_from_slice(input.0);
    // What is read refers to the answer, so that it can't be longer.
    let _ = read_any_answer(api, version, &body);
}

/// The records of a partition, as they are and with the checksum of the first batch corrected.
pub fn fetched(data: &[u8]) {
    read_fetched(data);
    let mut data = data.to_vec();
    let len = data.first_chunk::<12>().map_or(0, |head| u32::from_be_bytes([head[8], head[9], head[10], head[11]]));
    let end = 12_usize.saturating_add(len as usize);
    if let Some(batch) = data.get_mut(..end)
        && batch.len() > 21
    {
        batch[16] = 2;
        let checksum = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&checksum.to_be_bytes());
        read_fetched(&data);
    }
}

fn read_fetched(data: &[u8]) {
    for from in [0, 3] {
        let Ok(fetched) = record_batch::decode_fetched(data, from, LIMIT) else { continue };
        assert!(fetched.records.is_sorted_by(|a, b| a.offset < b.offset));
        assert!(fetched.next_offset >= from);
        assert!(fetched.records.iter().all(|record| (from..fetched.next_offset).contains(&record.offset)));
    }
}

/// A message of the encoding `jaeger_json`. A span that was read is in proportion, and is the same when it is written and read again.
pub fn jaeger_json(data: &[u8]) {
    let Ok(span) = read_jaeger_json(data) else { return };
    assert!(span.len() <= 8 * data.len(), "{} bytes of {}", span.len(), data.len());
    let written = json_of(&span);
    let again = read_jaeger_json(&written).unwrap_or_else(|why| panic!("{why}: {}", String::from_utf8_lossy(&written)));
    let twice = json_of(&again);
    assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(&twice));
}

fn json_of(span: &[u8]) -> Vec<u8> {
    let mut json = Vec::new();
    put_span_json(&mut json, span);
    json
}
