//! Compares OTLP/JSON with prost and with the Go collector's codec: generated messages converted in both directions,
//! their text byte for byte, and unusual documents.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, dead_code, reason = "a test")]

#[path = "oracle/generate.rs"]
mod generate;
#[path = "json/normal.rs"]
mod normal;
#[path = "json/odd.rs"]
mod odd;
#[path = "oracle/rewrite.rs"]
mod rewrite;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use generate::Choices;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use otelcore_pdata::{Part, Rope, Signal, check, json};
use proptest::prelude::*;
use prost::Message;

fn message(signal: Signal, entropy: &[u8]) -> Vec<u8> {
    let c = &mut Choices(entropy);
    match signal {
        Signal::Traces => generate::traces(c).encode_to_vec(),
        Signal::Metrics => generate::metrics(c).encode_to_vec(),
        Signal::Logs => generate::logs(c).encode_to_vec(),
    }
}

fn rope(signal: Signal, parts: &[&[u8]]) -> Rope {
    let mut rope = Rope::default();
    for part in parts {
        let items = check(signal, part).unwrap().items;
        rope.push(Part { bytes: Bytes::copy_from_slice(part), items });
    }
    rope
}

fn encode(signal: Signal, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    json::encode(signal, &rope(signal, parts), &mut out);
    out
}

fn decode(signal: Signal, text: &[u8]) -> Result<Vec<u8>, json::JsonError> {
    let mut out = b"before".to_vec();
    let outcome = json::decode(signal, text, &mut out);
    let bytes = out.split_off(6);
    assert_eq!(out, b"before");
    assert!(bytes.len() <= 4 * text.len(), "{} bytes from {}", bytes.len(), text.len());
    match outcome {
        Ok(()) => {
            check(signal, &bytes).unwrap();
            Ok(bytes)
        }
        Err(error) => {
            assert!(bytes.is_empty(), "nothing is left of a refused body");
            assert!(error.offset <= text.len(), "{error}");
            Err(error)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_as_json_and_read_again_is_what_prost_decodes(
        signal in prop::sample::select(Signal::ALL.to_vec()),
        entropy in prop::collection::vec(any::<u8>(), 0..1500),
        second in prop::collection::vec(any::<u8>(), 0..200),
        order in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let parts = [message(signal, &entropy), message(signal, &second)];
        let rewritten = parts.clone().map(|part| rewrite::rewrite(signal, &part, &mut Choices(&order)));
        let text = encode(signal, &[&rewritten[0], &rewritten[1]]);
        let plain = encode(signal, &[&parts.concat()]);
        prop_assert_eq!(String::from_utf8_lossy(&text), String::from_utf8_lossy(&plain), "order is nothing");
        let bytes = decode(signal, &text).unwrap();
        prop_assert_eq!(normal::text(signal, &bytes), normal::text(signal, &parts.concat()));
        // Where much text is left, lengths are written differently.
        let long = [text, vec![b' '; 1 << 17]].concat();
        let bytes = decode(signal, &long).unwrap();
        prop_assert_eq!(normal::text(signal, &bytes), normal::text(signal, &parts.concat()));
    }

    #[test]
    fn a_damaged_document_is_refused_or_gives_a_body_that_passes_the_check(
        signal in prop::sample::select(Signal::ALL.to_vec()),
        entropy in prop::collection::vec(any::<u8>(), 0..1500),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..5_u8), 1..6),
    ) {
        let mut text = encode(signal, &[&message(signal, &entropy)]);
        for (at, byte, how) in damage {
            let at = at.index(text.len());
            match how {
                0 => text.insert(at, byte),
                1 if text.len() > 1 => drop(text.remove(at)),
                2 => text[at] ^= 1 << (byte % 8),
                3 => text[at] = b"{}[]\",:\\0-.eEnu"[usize::from(byte) % 15],
                _ => text[at] = byte,
            }
            // `decode` here also checks every body that it accepts.
            let _ = decode(signal, &text);
        }
    }

    #[test]
    fn any_bytes_at_all_are_read_without_harm(
        signal in prop::sample::select(Signal::ALL.to_vec()),
        text in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = decode(signal, &text);
        let _ = json::partial_success(signal, &text);
        let _ = json::status(&text);
        // For unchecked bytes the JSON has no meaning, but `encode` must not panic.
        let mut rope = Rope::default();
        rope.push(Part { bytes: Bytes::from(text), items: 0 });
        json::encode(signal, &rope, &mut Vec::new());
    }
}

const TO_JSON: u8 = 0;
const TO_PROTO: u8 = 1;

/// The results of the Go codec, one for each body; `None` if the oracle is missing.
fn go(questions: &[(u8, Signal, Vec<u8>)]) -> Option<Vec<Result<Vec<u8>, String>>> {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tools/bin/json-oracle");
    if !tool.is_file() {
        assert!(std::env::var_os("CI").is_none(), "json-oracle is missing; run scripts/tools");
        eprintln!("skipped: json-oracle is missing; run scripts/tools");
        return None;
    }
    let mut child = Command::new(tool).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut frames = Vec::new();
    for (what, signal, body) in questions {
        frames.extend_from_slice(&[*what, *signal as u8]);
        frames.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
        frames.extend_from_slice(body);
    }
    let writer = std::thread::Builder::new().spawn(move || input.write_all(&frames).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "the oracle failed");
    let mut rest = output.stdout.as_slice();
    let mut answers = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<5>() {
        let (answer, after) = after.split_at(u32::from_le_bytes(head[1..].try_into().unwrap()) as usize);
        rest = after;
        answers.push(match head[0] {
            0 => Ok(answer.to_vec()),
            _ => Err(String::from_utf8_lossy(answer).into_owned()),
        });
    }
    assert_eq!(answers.len(), questions.len());
    Some(answers)
}

/// Random bytes of a seed, by SplitMix64.
fn entropy(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn log_with(body: Value) -> Vec<u8> {
    let record = LogRecord { body: Some(AnyValue { value: Some(body) }), ..LogRecord::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
        .encode_to_vec()
}

/// Bodies of every signal from fixed seeds, in any order of fields, and values that are hard to write.
fn bodies() -> Vec<(Signal, Vec<u8>)> {
    let mut bodies = Vec::new();
    for seed in 0..900 {
        let signal = Signal::ALL[seed as usize % 3];
        let plain = message(signal, &entropy(seed, 200 + seed as usize * 3));
        // Not for metrics: if a packed field is in several pieces, the Go codec keeps only the last one.
        if signal != Signal::Metrics {
            bodies.push((signal, rewrite::rewrite(signal, &plain, &mut Choices(&entropy(seed + 5000, 600)))));
        }
        bodies.push((signal, plain));
    }
    for c in (0..0x300).chain(0x2020..0x2030).chain([0xfeff, 0xfffd, 0xffff, 0x1f600]) {
        let c = char::from_u32(c).unwrap();
        bodies.push((Signal::Logs, log_with(Value::StringValue(format!("{c}|12345678{c}\"{c}")))));
    }
    let mut doubles: Vec<f64> =
        entropy(1, 8000).chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect();
    doubles.extend((-330..310).flat_map(|e| [10_f64.powi(e), -1.25 * 10_f64.powi(e), f64::from(e) / 8.0]));
    doubles.extend([
        f64::NAN,
        -f64::NAN,
        f64::MAX,
        f64::MIN_POSITIVE,
        f64::EPSILON,
        5e-324,
        1e21,
        9.99e20,
        1e-6,
        9.9e-7,
    ]);
    bodies.extend(doubles.into_iter().map(|v| (Signal::Logs, log_with(Value::DoubleValue(v)))));
    bodies
}

#[test]
fn json_is_what_go_writes_byte_for_byte() {
    let bodies = bodies();
    let questions: Vec<_> = bodies.iter().map(|(signal, body)| (TO_JSON, *signal, body.clone())).collect();
    let Some(answers) = go(&questions) else { return };
    for ((signal, body), answer) in bodies.iter().zip(answers) {
        let (ours, theirs) = (encode(*signal, &[body]), answer.unwrap());
        let same = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
        let around = |text: &[u8]| {
            let shown = text.get(same.saturating_sub(200)..text.len().min(same + 100)).unwrap_or_default();
            String::from_utf8_lossy(shown).into_owned()
        };
        assert!(ours == theirs, "ours:   {}\ntheirs: {}", around(&ours), around(&theirs));
    }
}

#[test]
fn what_go_writes_is_read_as_go_reads_it() {
    let questions: Vec<_> =
        bodies().into_iter().map(|(signal, body)| (TO_PROTO, signal, encode(signal, &[&body]))).collect();
    let Some(answers) = go(&questions) else { return };
    for ((_, signal, text), answer) in questions.iter().zip(answers) {
        let ours = decode(*signal, text).unwrap();
        assert_eq!(normal::text(*signal, &ours), normal::text(*signal, &answer.unwrap()));
    }
}

#[test]
fn odd_documents_are_read_as_go_reads_them() {
    let documents = odd::ALIKE.iter().flat_map(|((signal, around), inner)| {
        inner.iter().map(|inner| (TO_PROTO, *signal, around.replace('#', inner).into_bytes()))
    });
    let questions: Vec<_> = documents.collect();
    let Some(answers) = go(&questions) else { return };
    let mut wrong = Vec::new();
    for ((_, signal, text), answer) in questions.iter().zip(answers) {
        let shown = String::from_utf8_lossy(text);
        match (decode(*signal, text), answer) {
            (Ok(ours), Ok(theirs)) => {
                if normal::text(*signal, &ours) != normal::text(*signal, &theirs) {
                    wrong.push(format!("{shown}: other meaning\n  {ours:x?}\n  {theirs:x?}"));
                }
            }
            (Err(_), Err(_)) => {}
            (Err(error), Ok(_)) => wrong.push(format!("{shown}: refused here alone: {error}")),
            (Ok(_), Err(error)) => wrong.push(format!("{shown}: refused by Go alone: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn where_a_document_is_read_otherwise_than_in_go_it_is_on_purpose() {
    let document =
        |(signal, around): (Signal, &str), inner| (TO_PROTO, signal, around.replace('#', inner).into_bytes());
    let questions: Vec<_> = odd::DIFFERENT.iter().map(|(around, inner, ..)| document(*around, inner)).collect();
    for ((_, signal, text), (_, inner, taken, why)) in questions.iter().zip(odd::DIFFERENT) {
        assert_eq!(decode(*signal, text).is_ok(), *taken, "{inner}: {why}");
    }
    let Some(answers) = go(&questions) else { return };
    for (answer, (_, inner, taken, why)) in answers.iter().zip(odd::DIFFERENT) {
        assert_eq!(answer.is_ok(), !taken, "no longer a difference: {inner}: {why}: {answer:x?}");
    }
}

#[test]
fn bytes_that_are_not_utf8_pass_into_protobuf_as_in_go_and_are_replaced_on_the_way_back() {
    let text = b"{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"eventName\":\"a\xff\xc3(\"}]}]}]}".to_vec();
    let ours = decode(Signal::Logs, &text).unwrap();
    assert!(ours.windows(4).any(|w| w == b"a\xff\xc3("));
    let back = String::from_utf8(encode(Signal::Logs, &[&ours])).unwrap();
    assert!(back.contains(r#""eventName":"a\ufffd\ufffd(""#), "{back}");
    let Some(answers) = go(&[(TO_PROTO, Signal::Logs, text)]) else { return };
    assert!(answers[0].as_ref().unwrap().windows(4).any(|w| w == b"a\xff\xc3("));
}
