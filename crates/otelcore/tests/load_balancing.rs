//! `load_balancing` on real sockets: a collector in front of three others.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test that can't go on has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otelcore::inproc::BatchResult;
use otelcore::pdata::Signal;
use otelcore::{EmbedOptions, EmbeddedCollector};
use prost::Message;

const TRACES: u8 = 60;

fn start(yaml: &str) -> EmbeddedCollector {
    let collector = EmbeddedCollector::new(yaml, EmbedOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    collector.start().unwrap();
    collector
}

fn backend(port: u16) -> EmbeddedCollector {
    start(&format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{port}'}}}}}}}}\nexporters: {{inproc/out: }}\n\
         service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines: {{traces: {{receivers: [otlp], exporters: [inproc/out]}}}}\n"
    ))
}

/// One span of each trace.
fn body() -> Vec<u8> {
    let span = |n: u8| Span { trace_id: vec![n + 1; 16], span_id: vec![n + 1; 8], ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: (0..TRACES).map(span).collect(), ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

#[test]
fn traces_are_divided_among_three_collectors() {
    let listeners: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    drop(listeners);
    let backends: Vec<EmbeddedCollector> = ports.iter().map(|port| backend(*port)).collect();
    let hostnames: Vec<String> = ports.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
    let front = |hostnames: &str| {
        format!(
            "receivers: {{inproc/in: }}\nexporters:\n  load_balancing:\n    resolver: {{static: {{hostnames: [{hostnames}]}}}}\n    \
             protocol: {{otlp: {{tls: {{insecure: true}}, retry_on_failure: {{initial_interval: 100ms}}}}}}\nservice:\n  \
             telemetry: {{metrics: {{level: none}}}}\n  pipelines: {{traces: {{receivers: [inproc/in], exporters: [load_balancing]}}}}\n"
        )
    };
    let collector = start(&front(&hostnames.join(", ")));
    let input = collector.input("inproc/in").unwrap();
    // Two payloads: the traces of the second one go where those of the first one went.
    (0..2).for_each(|_| input.submit(Signal::Traces, &body()).unwrap());
    let mut found: BTreeMap<u8, BTreeSet<usize>> = BTreeMap::new();
    let (mut spans, start_time) = (0, Instant::now());
    while spans < 2 * u32::from(TRACES) && start_time.elapsed() < Duration::from_secs(60) {
        for (index, backend) in backends.iter().enumerate() {
            let output = backend.output("inproc/out").unwrap();
            while let Ok(batch) = output.next(Some(Duration::from_millis(50))) {
                let request = ExportTraceServiceRequest::decode(batch.data().to_vec().as_slice()).unwrap();
                batch.finish(BatchResult::Delivered);
                let scopes = request.resource_spans.into_iter().flat_map(|entry| entry.scope_spans);
                for span in scopes.flat_map(|scope| scope.spans) {
                    found.entry(span.trace_id[0]).or_default().insert(index);
                    spans += 1;
                }
            }
        }
    }
    assert_eq!((spans, found.len()), (2 * u32::from(TRACES), usize::from(TRACES)));
    assert!(found.values().all(|at| at.len() == 1), "{found:?}");
    let used: BTreeSet<usize> = found.values().flatten().copied().collect();
    assert_eq!(used.len(), 3, "{found:?}");
    collector.shutdown(Duration::from_secs(5)).unwrap();
    for backend in backends {
        backend.shutdown(Duration::from_secs(5)).unwrap();
    }
}
