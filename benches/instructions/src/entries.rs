//! The machines that are counted. Each entry prepares its input and returns a closure that uses the machine once.

use std::hint::black_box;
use std::rc::Rc;

use bytes::Bytes;
use otelcore_exporter_jaeger::encode::RequestEncoder;
use otelcore_exporter_prometheus::{DroppedPoints, PageConfig, SeriesRegistry};
use otelcore_exposition::NegotiatedFormat;
use otelcore_http::h1::HttpServerConnConfig;
use otelcore_http::{Coding, Workspace};
use otelcore_pdata::build::Body;
use otelcore_pdata::edit::{Descend, Editor, SpanMut, edit};
use otelcore_pdata::views::{AnyValue, ResourceSpans, resource_entries};
use otelcore_pdata::{PieceLimit, Signal, Splitter, StepBudget, check, json};
use otelcore_pipeline::{Encode, EncodeLimits, MonotonicTime, Piece};

use crate::exchange::{GrpcExchange, h1_requests, serve_h1};
use crate::telemetry;

type Run = Box<dyn FnMut()>;
type Entry = (&'static str, fn() -> Run);

/// Name, and preparation. A row of the table for each; items are 100 spans, points or records, or ten requests.
pub(crate) const ENTRIES: &[Entry] = &[
    ("check-traces", || check_body(Signal::Traces)),
    ("check-metrics", || check_body(Signal::Metrics)),
    ("check-logs", || check_body(Signal::Logs)),
    ("views-traces", views),
    ("edit-insert", || {
        edit_spans(|span| {
            span.attributes().insert(b"deployment.environment", AnyValue::String(b"production"));
            Descend::Skip
        })
    }),
    ("edit-replace", || {
        edit_spans(|span| {
            span.attributes().update(b"http.route", AnyValue::String(b"/redacted"));
            Descend::Skip
        })
    }),
    ("edit-drop", || {
        let mut is_odd = false;
        edit_spans(move |_| {
            is_odd = !is_odd;
            if is_odd { Descend::Drop } else { Descend::Skip }
        })
    }),
    ("edit-no-match", || {
        edit_spans(|span| if span.attribute(b"no.such.key").is_some() { Descend::Drop } else { Descend::Skip })
    }),
    ("build-traces", build),
    ("split-traces", split),
    ("json-encode-traces", || json_encode(Signal::Traces)),
    ("json-decode-traces", || json_decode(Signal::Traces)),
    ("json-encode-metrics", || json_encode(Signal::Metrics)),
    ("json-decode-metrics", || json_decode(Signal::Metrics)),
    ("jaeger-encode", jaeger),
    ("prometheus-new-series", new_series),
    ("prometheus-known-series", known_series),
    ("prometheus-page", page),
    ("h1-server", h1_server),
    ("grpc-server", || {
        let exchange = GrpcExchange::record(telemetry::body(Signal::Traces).to_bytes());
        Box::new(move || _ = black_box(exchange.serve()))
    }),
    ("grpc-client", || {
        let exchange = GrpcExchange::record(telemetry::body(Signal::Traces).to_bytes());
        Box::new(move || _ = black_box(exchange.call()))
    }),
    ("gzip-compress", || compress(Coding::Gzip)),
    ("gzip-decompress", || decompress(Coding::Gzip)),
    ("zstd-compress", || compress(Coding::Zstd)),
    ("zstd-decompress", || decompress(Coding::Zstd)),
    ("snappy-compress", || compress(Coding::Snappy)),
    ("snappy-decompress", || decompress(Coding::Snappy)),
];

fn check_body(signal: Signal) -> Run {
    let body = telemetry::body(signal).to_bytes();
    Box::new(move || _ = black_box(check(signal, &body).unwrap()))
}

fn views() -> Run {
    let body = telemetry::body(Signal::Traces);
    Box::new(move || {
        let spans = resource_entries::<ResourceSpans<'_>>(&body).flat_map(|r| r.scope_spans()).flat_map(|s| s.spans());
        let bytes = spans.map(|span| {
            let attributes = span.attributes().map(|kv| match kv.value {
                AnyValue::String(v) => kv.key.len() + v.len(),
                _ => kv.key.len(),
            });
            span.name.len() + attributes.sum::<usize>()
        });
        black_box(bytes.sum::<usize>());
    })
}

/// Calls a function for each span.
struct Spans<F>(F);

impl<F: FnMut(&mut SpanMut<'_>) -> Descend> Editor for Spans<F> {
    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        (self.0)(span)
    }
}

fn edit_spans(editor: impl FnMut(&mut SpanMut<'_>) -> Descend + 'static) -> Run {
    let body = telemetry::body(Signal::Traces);
    let mut editor = Spans(editor);
    Box::new(move || {
        let mut rope = body.clone();
        edit(Signal::Traces, &mut rope, &mut editor).unwrap();
        black_box(rope);
    })
}

fn build() -> Run {
    let mut body = Body::new();
    Box::new(move || {
        body.clear();
        let mut entry = body.resource_spans();
        entry.resource().attributes().string(b"service.name", b"checkout");
        let mut scope = entry.scope_spans();
        for i in 0..telemetry::ITEMS as u64 {
            let mut span = scope.span();
            span.trace_id(&[7; 16]).span_id(&[8; 8]).name(b"GET /api/v1/products").kind(2);
            span.start_time_unix_nano(i).end_time_unix_nano(i + 1);
            let mut attributes = span.attributes();
            for key in ["http.method", "url.path", "url.scheme", "server.address", "client.address"] {
                attributes.string(key.as_bytes(), b"a value of some thirty characters");
            }
            attributes.int(b"http.response.status_code", 200);
        }
        drop(scope);
        drop(entry);
        black_box(body.bytes().len());
    })
}

fn split() -> Run {
    let body = telemetry::body(Signal::Traces);
    Box::new(move || {
        let mut splitter = Splitter::new(Signal::Traces);
        splitter.push(body.clone());
        let mut budget = StepBudget::unlimited();
        while !splitter.is_empty() {
            black_box(splitter.next_piece(PieceLimit::items(10), &mut budget));
        }
    })
}

fn json_encode(signal: Signal) -> Run {
    let (body, mut text) = (telemetry::body(signal), Vec::new());
    Box::new(move || {
        text.clear();
        json::encode(signal, &body, &mut text);
        black_box(text.len());
    })
}

fn json_decode(signal: Signal) -> Run {
    let (mut text, mut protobuf) = (Vec::new(), Vec::new());
    json::encode(signal, &telemetry::body(signal), &mut text);
    Box::new(move || {
        protobuf.clear();
        json::decode(signal, &text, &mut protobuf).unwrap();
        black_box(protobuf.len());
    })
}

fn jaeger() -> Run {
    let body = telemetry::body(Signal::Traces);
    let limits = EncodeLimits { message_bytes: 4 << 20, max_messages: 16, total_bytes: 16 << 20 };
    Box::new(move || {
        let piece = Piece { body: body.clone(), ..Piece::default() };
        black_box(RequestEncoder.encode(Signal::Traces, piece, limits));
    })
}

fn registry() -> SeriesRegistry {
    SeriesRegistry::new(&PageConfig::default(), 1, DroppedPoints::without_log())
}

fn new_series() -> Run {
    let body = telemetry::body(Signal::Metrics);
    Box::new(move || {
        let mut registry = registry();
        registry.push_body(&body, MonotonicTime(0));
        assert_eq!(registry.len(), telemetry::ITEMS);
    })
}

fn known_series() -> Run {
    let (body, mut registry) = (telemetry::body(Signal::Metrics), registry());
    registry.push_body(&body, MonotonicTime(0));
    Box::new(move || registry.push_body(&body, MonotonicTime(1)))
}

fn page() -> Run {
    let mut registry = registry();
    registry.push_body(&telemetry::body(Signal::Metrics), MonotonicTime(0));
    Box::new(move || drop(black_box(registry.render(MonotonicTime(1), &NegotiatedFormat::default()).unwrap())))
}

fn h1_server() -> Run {
    let requests = h1_requests(&telemetry::body(Signal::Traces).to_bytes());
    let config = Rc::new(HttpServerConnConfig::default());
    Box::new(move || _ = black_box(serve_h1(&requests, &config)))
}

fn compress(coding: Coding) -> Run {
    let (body, workspace) = (telemetry::body(Signal::Traces).to_bytes(), Workspace::new());
    Box::new(move || drop(black_box(workspace.compress(&coding, [&body[..]]))))
}

fn decompress(coding: Coding) -> Run {
    let workspace = Workspace::new();
    let body = workspace.compress(&coding, [&telemetry::body(Signal::Traces).to_bytes()[..]]);
    Box::new(move || {
        let decoded: Result<Bytes, _> = workspace.decompress(&coding, body.clone(), 64 << 20, |_| Ok::<_, ()>(()));
        black_box(decoded.unwrap());
    })
}
