//! The encoder compared with the Go translator, byte for byte, on telemetry from fixed seeds.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, dead_code, reason = "a test")]

#[path = "oracle/bodies.rs"]
mod bodies;
#[path = "../../pdata/tests/oracle/generate.rs"]
mod generate;
#[path = "../../pdata/tests/oracle/rewrite.rs"]
mod rewrite;

use std::path::Path;

use bodies::body;
use otelcore_exporter_jaeger::encode::encode_requests;
use otelcore_pdata::{Signal, check};
use otelcore_test_support::{run_tool, take_u32, tool_path};

const BODY_COUNT: u64 = 600;

/// The requests that the Go translator makes of each body.
fn translate_with_go(oracle: &Path, bodies: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
    let mut input = Vec::new();
    for body in bodies {
        input.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        input.extend_from_slice(body);
    }
    let output = run_tool(oracle, &[], &input);
    let mut rest = output.as_slice();
    let translations = bodies.iter().map(|_| {
        let count = take_u32(&mut rest);
        assert_ne!(count, u32::MAX, "Go refuses a body");
        let requests = (0..count).map(|_| {
            let len = take_u32(&mut rest) as usize;
            let (request, after) = rest.split_at(len);
            rest = after;
            request.to_vec()
        });
        requests.collect()
    });
    let translations = translations.collect();
    assert!(rest.is_empty());
    translations
}

fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    otelcore_pdata::text::put_hex(&mut out, bytes);
    String::from_utf8(out).unwrap()
}

#[test]
fn requests_of_random_bodies_are_byte_identical_to_the_go_translator() {
    let Some(oracle) = tool_path("jaeger-oracle") else { return };
    let bodies: Vec<_> = (0..BODY_COUNT).map(body).collect();
    let (mut spans, mut count) = (0, 0);
    for (seed, (body, expected)) in bodies.iter().zip(translate_with_go(&oracle, &bodies)).enumerate() {
        spans += check(Signal::Traces, body).unwrap().items;
        let encoded = encode_requests(body);
        assert_eq!(encoded.len(), expected.len(), "requests of seed {seed}");
        for (i, (got, expected)) in encoded.iter().zip(&expected).enumerate() {
            let common_prefix = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
            let from = common_prefix.saturating_sub(60);
            let part = |bytes: &[u8]| {
                let part = &bytes[from..bytes.len().min(common_prefix + 60)];
                format!("{} {:?}", hex(part), String::from_utf8_lossy(part))
            };
            assert!(
                got == expected,
                "request {i} of seed {seed}, {} bytes instead of {}, differs at {common_prefix}:\n{}\ninstead of\n{}",
                got.len(),
                expected.len(),
                part(got),
                part(expected),
            );
            count += 1;
        }
    }
    // The bodies of the seeds have enough spans to be a useful test.
    assert!(spans > 1500 && count > 1000, "{spans} spans in {count} requests");
}
