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

use bytes::Bytes;
use generate::Choices;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use otelcore_pdata::{Rope, RopePart, Signal, check, json};
use otelcore_test_support::{random_bytes, run_tool, tool_path};
use proptest::prelude::*;
use prost::Message;

fn generated_message(signal: Signal, entropy: &[u8]) -> Vec<u8> {
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
        rope.push(RopePart { bytes: Bytes::copy_from_slice(part), items });
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
    fn body_encoded_and_decoded_equals_what_prost_decodes(
        signal in prop::sample::select(Signal::ALL.to_vec()),
        entropy in prop::collection::vec(any::<u8>(), 0..1500),
        second in prop::collection::vec(any::<u8>(), 0..200),
        order in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let parts = [generated_message(signal, &entropy), generated_message(signal, &second)];
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
    fn damaged_document_is_refused_or_decodes_to_a_checked_body(
        signal in prop::sample::select(Signal::ALL.to_vec()),
        entropy in prop::collection::vec(any::<u8>(), 0..1500),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..5_u8), 1..6),
    ) {
        let mut text = encode(signal, &[&generated_message(signal, &entropy)]);
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
    fn arbitrary_bytes_do_not_panic(
        signal in prop::sample::select(Signal::ALL.to_vec()),
        text in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = decode(signal, &text);
        let _ = json::decode_partial_success(signal, &text);
        let _ = json::decode_status(&text);
        // For unchecked bytes the JSON has no meaning, but `encode` must not panic.
        let mut rope = Rope::default();
        rope.push(RopePart { bytes: Bytes::from(text), items: 0 });
        json::encode(signal, &rope, &mut Vec::new());
    }
}

const TO_JSON: u8 = 0;
const TO_PROTO: u8 = 1;

/// The results of the Go codec, one for each body; `None` if the oracle is missing.
fn go_codec(requests: &[(u8, Signal, Vec<u8>)]) -> Option<Vec<Result<Vec<u8>, String>>> {
    let tool = tool_path("json-oracle")?;
    let mut frames = Vec::new();
    for (what, signal, body) in requests {
        frames.extend_from_slice(&[*what, *signal as u8]);
        frames.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
        frames.extend_from_slice(body);
    }
    let output = run_tool(&tool, &[], &frames);
    let mut rest = output.as_slice();
    let mut results = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<5>() {
        let (result, after) = after.split_at(u32::from_le_bytes(head[1..].try_into().unwrap()) as usize);
        rest = after;
        results.push(match head[0] {
            0 => Ok(result.to_vec()),
            _ => Err(String::from_utf8_lossy(result).into_owned()),
        });
    }
    assert_eq!(results.len(), requests.len());
    Some(results)
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
        let plain = generated_message(signal, &random_bytes(seed, 200 + seed as usize * 3));
        // Not for metrics: if a packed field is in several pieces, the Go codec keeps only the last one.
        if signal != Signal::Metrics {
            bodies.push((signal, rewrite::rewrite(signal, &plain, &mut Choices(&random_bytes(seed + 5000, 600)))));
        }
        bodies.push((signal, plain));
    }
    for c in (0..0x300).chain(0x2020..0x2030).chain([0xfeff, 0xfffd, 0xffff, 0x1f600]) {
        let c = char::from_u32(c).unwrap();
        bodies.push((Signal::Logs, log_with(Value::StringValue(format!("{c}|12345678{c}\"{c}")))));
    }
    let mut doubles: Vec<f64> =
        random_bytes(1, 8000).chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect();
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
fn json_is_byte_for_byte_that_of_the_go_codec() {
    let bodies = bodies();
    let requests: Vec<_> = bodies.iter().map(|(signal, body)| (TO_JSON, *signal, body.clone())).collect();
    let Some(results) = go_codec(&requests) else { return };
    for ((signal, body), result) in bodies.iter().zip(results) {
        let (ours, theirs) = (encode(*signal, &[body]), result.unwrap());
        let same = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
        let around = |text: &[u8]| {
            let shown = text.get(same.saturating_sub(200)..text.len().min(same + 100)).unwrap_or_default();
            String::from_utf8_lossy(shown).into_owned()
        };
        assert!(ours == theirs, "ours:   {}\ntheirs: {}", around(&ours), around(&theirs));
    }
}

#[test]
fn json_of_the_go_codec_is_decoded_as_in_go() {
    let requests: Vec<_> =
        bodies().into_iter().map(|(signal, body)| (TO_PROTO, signal, encode(signal, &[&body]))).collect();
    let Some(results) = go_codec(&requests) else { return };
    for ((_, signal, text), result) in requests.iter().zip(results) {
        let ours = decode(*signal, text).unwrap();
        assert_eq!(normal::text(*signal, &ours), normal::text(*signal, &result.unwrap()));
    }
}

#[test]
fn unusual_documents_are_decoded_as_in_go() {
    let documents = odd::SAME_AS_GO.iter().flat_map(|((signal, around), inner)| {
        inner.iter().map(|inner| (TO_PROTO, *signal, around.replace('#', inner).into_bytes()))
    });
    let requests: Vec<_> = documents.collect();
    let Some(results) = go_codec(&requests) else { return };
    let mut wrong = Vec::new();
    for ((_, signal, text), result) in requests.iter().zip(results) {
        let shown = String::from_utf8_lossy(text);
        match (decode(*signal, text), result) {
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
fn documents_decoded_otherwise_than_in_go_are_the_listed_ones() {
    let document =
        |(signal, around): (Signal, &str), inner| (TO_PROTO, signal, around.replace('#', inner).into_bytes());
    let requests: Vec<_> = odd::DIFFERENT_FROM_GO.iter().map(|(around, inner, ..)| document(*around, inner)).collect();
    for ((_, signal, text), (_, inner, is_accepted, why)) in requests.iter().zip(odd::DIFFERENT_FROM_GO) {
        assert_eq!(decode(*signal, text).is_ok(), *is_accepted, "{inner}: {why}");
    }
    let Some(results) = go_codec(&requests) else { return };
    for (result, (_, inner, is_accepted, why)) in results.iter().zip(odd::DIFFERENT_FROM_GO) {
        assert_eq!(result.is_ok(), !is_accepted, "no longer a difference: {inner}: {why}: {result:x?}");
    }
}

#[test]
fn invalid_utf8_is_decoded_unchanged_as_in_go_and_replaced_when_encoded() {
    let text = b"{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"eventName\":\"a\xff\xc3(\"}]}]}]}".to_vec();
    let ours = decode(Signal::Logs, &text).unwrap();
    assert!(ours.windows(4).any(|w| w == b"a\xff\xc3("));
    let back = String::from_utf8(encode(Signal::Logs, &[&ours])).unwrap();
    assert!(back.contains(r#""eventName":"a\ufffd\ufffd(""#), "{back}");
    let Some(results) = go_codec(&[(TO_PROTO, Signal::Logs, text)]) else { return };
    assert!(results[0].as_ref().unwrap().windows(4).any(|w| w == b"a\xff\xc3("));
}
