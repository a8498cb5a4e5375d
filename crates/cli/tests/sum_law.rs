//! The sum law on the page of a collector under load, with processors, connectors and queues of every type: what went into
//! a component and what it made is what it passed on, holds, refused and dropped.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::fmt::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use otelcore::pipeline::ItemSums;
use support::*;

const CONFIG: &str = "
receivers: {otlp: {protocols: {http: {endpoint: '127.0.0.1:HTTP'}}}}
processors:
  memory_limiter: {check_interval: 1s, limit_mib: 400}
  attributes: {actions: [{key: a, value: b, action: insert}]}
  resource: {attributes: [{key: a, value: b, action: insert}]}
  filter: {error_mode: ignore, traces: {span: ['name == \"span-3\"']}}
  transform: {trace_statements: ['set(span.attributes[\"c\"], \"d\")']}
  probabilistic_sampler: {sampling_percentage: 70}
  redaction: {allow_all_keys: true, blocked_values: ['4[0-9]{12}']}
  span: {name: {from_attributes: [c], separator: '-'}}
  groupbyattrs: {keys: [c]}
  groupbytrace: {wait_duration: 200ms, num_traces: 100}
  tail_sampling: {decision_wait: 1s, policies: [{name: p, type: probabilistic, probabilistic: {sampling_percentage: 50}}]}
  resourcedetection: {detectors: [env]}
  k8sattributes: {passthrough: true}
  batch: {timeout: 50ms, send_batch_size: 64, send_batch_max_size: 100}
  metricstransform: {transforms: [{include: calls, action: update, new_name: spans}]}
  cumulativetodelta: {}
  deltatocumulative: {}
connectors:
  forward: {}
  round_robin: {}
  routing:
    table:
    - {context: span, condition: 'name == \"span-1\"', pipelines: [traces/one, traces/two]}
    - {context: span, condition: 'name == \"span-2\"', action: copy, pipelines: [traces/two]}
  failover: {priority_levels: [[traces/refusing], [traces/two]], retry_interval: 1s}
  count: {}
  sum: {spans: {s: {source_attribute: n}}}
  spanmetrics: {metrics_flush_interval: 300ms}
  servicegraph: {metrics_flush_interval: 300ms}
exporters:
  nop: {}
  otlp_grpc/refused:
    endpoint: 127.0.0.1:CLOSED
    tls: {insecure: true}
    sending_queue: {queue_size: 20, num_consumers: 2}
    retry_on_failure: {initial_interval: 50ms, max_interval: 100ms, max_elapsed_time: 500ms}
  otlp_grpc/unqueued:
    endpoint: 127.0.0.1:CLOSED
    tls: {insecure: true}
    sending_queue: {enabled: false}
    retry_on_failure: {enabled: false}
  otlp_grpc/stored:
    endpoint: 127.0.0.1:CLOSED
    tls: {insecure: true}
    sending_queue: {storage: file_storage, batch: {min_size: 50, max_size: 70, flush_timeout: 50ms}}
  debug: {use_internal_logger: false, output_paths: [/dev/null]}
extensions: {file_storage: {directory: 'DIR/data', create_directory: true}}
service:
  extensions: [file_storage]
  telemetry: {metrics: {level: normal, readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: PAGE}}}}]}}
  pipelines:
    traces:
      receivers: [otlp]
      processors: [memory_limiter, k8sattributes, resourcedetection, attributes, resource, filter, transform, redaction, span, groupbyattrs]
      exporters: [forward, round_robin, routing, failover, count, sum, spanmetrics, servicegraph]
    traces/sampled: {receivers: [forward], processors: [probabilistic_sampler, batch], exporters: [otlp_grpc/refused]}
    traces/whole: {receivers: [forward], processors: [groupbytrace], exporters: [debug]}
    traces/tail: {receivers: [round_robin], processors: [tail_sampling, batch], exporters: [nop]}
    traces/refusing: {receivers: [failover], exporters: [otlp_grpc/unqueued]}
    traces/one: {receivers: [routing, round_robin], exporters: [nop]}
    traces/two: {receivers: [routing, failover], processors: [batch], exporters: [debug]}
    traces/stored: {receivers: [otlp], processors: [batch], exporters: [otlp_grpc/stored]}
    metrics:
      receivers: [count, sum, spanmetrics, servicegraph]
      processors: [metricstransform, cumulativetodelta, deltatocumulative, batch]
      exporters: [nop]
";

/// A request of five spans.
fn request(number: u32) -> String {
    let mut body = String::from(
        r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"s"}}]},"scopeSpans":[{"spans":["#,
    );
    for span in 0..5 {
        // The second is the server of the request whose client is the third.
        let parent = if span == 1 { number * 5 + 3 } else { 0 };
        let comma = if span == 0 { "" } else { "," };
        let _ = write!(
            body,
            r#"{comma}{{"traceId":"{:032x}","spanId":"{:016x}","parentSpanId":"{parent:016x}","name":"span-{span}","kind":{},"attributes":[{{"key":"n","value":{{"intValue":"{span}"}}}}]}}"#,
            number / 3 + 1,
            number * 5 + span + 1,
            span % 5 + 1,
        );
    }
    body + "]}]}]}"
}

#[test]
fn page_under_load_with_every_type_of_component_adds_up() {
    let dir = empty_test_dir("sum_law");
    let [http, page, closed] = [0; 3].map(|_| free_port());
    let config = dir.join("config.yaml");
    let text = CONFIG
        .replace("HTTP", &http.to_string())
        .replace("PAGE", &page.to_string())
        .replace("CLOSED", &closed.to_string())
        .replace("DIR", &dir.display().to_string());
    std::fs::write(&config, text).unwrap();
    let mut process = Process::start(
        Command::new(otelcore()).arg(format!("--config={}", config.display())),
        &dir.join("collector.log"),
    );
    let (http, page) = (format!("127.0.0.1:{http}"), format!("127.0.0.1:{page}"));
    wait_for_listener(&http, &mut process);
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..2)
        .map(|client| {
            let (is_over, http) = (is_over.clone(), http.clone());
            thread::spawn(move || {
                let mut number = client;
                while !is_over.load(Ordering::Relaxed) && number < 4000 {
                    let head =
                        "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close";
                    http_request(&http, head, request(number).as_bytes());
                    number += 2;
                }
            })
        })
        .collect();
    let mut last = ItemSums::default();
    for _ in 0..30 {
        thread::sleep(Duration::from_millis(100));
        let (status, text) = http_get(&page, "/metrics");
        assert_eq!(status, 200);
        last = sums_of(&text);
        assert_eq!(last.check().map_err(|e| e.to_string()), Ok(()), "{}", process.log_text());
    }
    is_over.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    // All components have had items.
    let components = last.components();
    let without: Vec<String> =
        components.iter().filter(|it| it.terms.is_empty()).map(|it| format!("{} {}", it.kind, it.id)).collect();
    assert_eq!(without, Vec::<String>::new());
    assert!(components.len() > 30, "{}", components.len());
    process.signal("TERM");
    process.wait_for_exit(Duration::from_secs(60));
    let log = process.log_text();
    assert!(log.contains("Items of a component.") && !log.contains("do not add up"), "{log}");
}
