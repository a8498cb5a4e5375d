//! Changes of OTLP bodies: those of the tests' editor, against the same changes by prost.

#[allow(dead_code, reason = "shared with the tests of the crate that it belongs to")]
#[path = "../../crates/pdata/tests/oracle/generate.rs"]
mod generate;
#[allow(dead_code, reason = "shared with the tests of the crate that it belongs to")]
#[path = "../../crates/pdata/tests/edit/model.rs"]
mod model;
#[path = "../../crates/pdata/tests/edit/script.rs"]
mod script;

use bytes::Bytes;
use model::Body;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otelcore_pdata::edit::{EditPass, Edited, Editor, OutputLimit};
use otelcore_pdata::{Rope, RopePart, Signal, StepBudget, check};
use prost::Message;
use script::Script;

/// Visits everything and changes nothing.
struct Reader;

impl Editor for Reader {}

fn edit(signal: Signal, rope: &Rope, editor: &mut dyn Editor, units: u64) -> (Rope, Edited) {
    let mut pass = EditPass::new(signal, rope.clone(), OutputLimit { factor: 100, extra: 1 << 20 });
    let mut steps = 0;
    while !pass.step(editor, &mut StepBudget::new(units)).expect("the limit is far above") {
        steps += 1;
        assert!(steps < 100 * (rope.len() + 10), "each step gets further");
    }
    pass.finish()
}

fn decode(signal: Signal, body: &[u8]) -> Option<Body> {
    Some(match signal {
        Signal::Traces => Body::Traces(ExportTraceServiceRequest::decode(body).ok()?),
        Signal::Metrics => Body::Metrics(ExportMetricsServiceRequest::decode(body).ok()?),
        Signal::Logs => Body::Logs(ExportLogsServiceRequest::decode(body).ok()?),
    })
}

/// The first byte chooses the signal, the next eight the changes, one the budget of a step; the others are the body.
pub fn run(data: &[u8]) {
    let Some((head, body)) = data.split_at_checked(10) else { return };
    let signal = Signal::ALL[usize::from(head[0]) % 3];
    let seed = head[1..9].iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    let units = 1 + 40 * u64::from(head[9]);
    let mut rope = Rope::default();
    let verdict = check(signal, body);
    let items = verdict.map_or(0, |found| found.items);
    rope.push(RopePart { bytes: Bytes::copy_from_slice(body), items });
    if verdict.is_err() {
        // A body that does not pass is never changed in the collector; the pass must still not fail, as far as the
        // stack allows.
        if body.len() < 1000 {
            edit(signal, &rope, &mut Script::new(seed), u64::MAX);
        }
        return;
    }
    let (same, what) = edit(signal, &rope, &mut Reader, units);
    assert_eq!((same.items(), what.dropped), (items, 0));
    assert_eq!(check(signal, &same.to_bytes()).expect("what is read stays OTLP").items, items);
    let (changed, what) = edit(signal, &rope, &mut Script::new(seed), u64::MAX);
    assert_eq!(check(signal, &changed.to_bytes()).expect("what is changed stays OTLP").items, changed.items());
    assert_eq!(edit(signal, &rope, &mut Script::new(seed), units).0.to_bytes(), changed.to_bytes(), "in steps");
    assert!(signal == Signal::Metrics || u64::from(items - changed.items()) == what.dropped);
    // The model has messages in one piece and fields once, as prost writes them.
    let Some(body) = decode(signal, body).map(|body| Bytes::from(body.encode())) else { return };
    let Some(mut model) = decode(signal, &body) else { return };
    if model.text().contains("StringValueStrindex") {
        return;
    }
    let items = check(signal, &body).expect("prost writes OTLP").items;
    let (mut script, mut expected) = (Script::new(seed), Script::new(seed));
    let (changed, _) = edit(signal, &Rope::new(body, items), &mut script, u64::MAX);
    model.change(&mut expected);
    assert_eq!(script.calls(), expected.calls());
    let found = decode(signal, &changed.to_bytes()).expect("what is changed is read by prost");
    assert_eq!(found.text(), model.text());
}
