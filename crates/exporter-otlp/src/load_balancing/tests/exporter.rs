//! Parts of the exporter: its configuration, and what it does while there are no backends.

use std::net::IpAddr;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{Component, Exporter, ExporterQueueConfig, Outcome, Payload};
use otelcore_testkit::{ExporterTest, TestContext, parse_config, payload};
use prost::Message;

use super::super::LoadBalancingFactory;

fn create(yaml: &str) -> (TestContext, Result<(ExporterTest, ExporterQueueConfig), String>) {
    let context = TestContext::new();
    let made = context.create(&LoadBalancingFactory, "load_balancing", yaml).map(|component| match component {
        Component::Exporter(exporter, queue) => (ExporterTest::new(exporter), queue),
        other => panic!("{other:?}"),
    });
    (context, made)
}

fn exporter(yaml: &str) -> (TestContext, ExporterTest) {
    let (context, made) = create(yaml);
    let (mut test, _) = made.unwrap();
    test.start().unwrap();
    (context, test)
}

fn queue(yaml: &str) -> ExporterQueueConfig {
    create(&format!("{{resolver: {{static: {{hostnames: [a]}}}}, {yaml}}}")).1.unwrap().1
}

/// Spans of so many traces.
fn spans(traces: u8) -> Payload {
    let spans = (0..traces).map(|n| Span { trace_id: vec![n + 1; 16], span_id: vec![n + 1; 8], ..Span::default() });
    let scope = ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() }],
    };
    payload(Signal::Traces, Rope::new(request.encode_to_vec().into(), u32::from(traces)))
}

/// The hosts to which connections were begun since the last call, sorted.
fn connections<E: Exporter + ?Sized>(test: &mut ExporterTest<E>) -> Vec<String> {
    let mut peers: Vec<String> = test.world.take_connections().iter().map(|(peer, _)| peer.to_string()).collect();
    peers.sort();
    peers
}

fn addresses(hosts: &[&str]) -> Vec<IpAddr> {
    hosts.iter().map(|host| host.parse().unwrap()).collect()
}

#[test]
fn mistakes_of_the_configuration_have_the_messages_of_the_go_exporter() {
    let resolver = "resolver: {static: {hostnames: [a]}}";
    for (yaml, expected) in [
        ("{}", "no resolvers specified for the exporter"),
        ("{resolver: {static: {hostnames: []}}}", "no endpoints specified for the static resolver"),
        ("{resolver: {dns: {port: 1}}}", "no hostname specified to resolve the backends"),
        ("{resolver: {k8s: {ports: [1]}}}", "no service specified to resolve the backends"),
        (
            "{resolver: {k8s: {service: a.b.c}}}",
            "invalid Kubernetes service FQDN: expected third DNS label to be 'svc'",
        ),
        ("{resolver: {k8s: {service: a.b.svc}}}", "invalid Kubernetes service FQDN: missing cluster domain"),
        ("{resolver: {static: {hostnames: [a]}, dns: {hostname: b}}}", "only one resolver should be specified"),
        ("{resolver: {aws_cloud_map: {namespace: a}}}", "the resolver `aws_cloud_map` is not supported"),
        (&format!("{{{resolver}, routing_key: user}}"), "unsupported routing_key: user"),
        (
            &format!("{{{resolver}, routing_key: attributes}}"),
            "routing_attributes must be specified when routing_key is",
        ),
        (
            &format!("{{{resolver}, routing_attributes: [a]}}"),
            "routing_attributes can only be used when routing_key is",
        ),
        (
            &format!("{{{resolver}, routing_key: metric}}"),
            "cannot configure loadbalancing traces exporter: unsupported",
        ),
        (
            &format!("{{{resolver}, routing_key: traceID}}"),
            "cannot configure loadbalancing metrics exporter: unsupported",
        ),
    ] {
        let parsed = parse_config(&LoadBalancingFactory, "load_balancing", yaml);
        let mut messages = parsed.messages.clone();
        messages.extend(create(yaml).1.err());
        assert!(messages.iter().any(|message| message.contains(expected)), "{yaml}: {messages:?}");
    }
}

#[test]
fn queue_in_front_of_the_ring_is_that_of_the_exporter_or_else_that_of_the_protocol() {
    let default = queue("");
    assert_eq!(default.queue.get().map(|queue| (queue.queue_size, queue.num_consumers)), Some((1000, i64::MAX)));
    assert_eq!((default.retry.enabled, default.timeout), (true, Duration::from_secs(5)));
    let of_protocol = queue("protocol: {otlp: {sending_queue: {queue_size: 7}, timeout: 1s}}");
    assert_eq!(of_protocol.queue.get().map(|queue| queue.queue_size), Some(7));
    assert_eq!(of_protocol.timeout, Duration::from_secs(1));
    let own = queue("sending_queue: {queue_size: 8}, timeout: 2s, protocol: {otlp: {sending_queue: {queue_size: 7}}}");
    assert_eq!(own.queue.get().map(|queue| queue.queue_size), Some(8));
    assert_eq!(own.timeout, Duration::from_secs(2));
    assert!(queue("protocol: {otlp: {sending_queue: {enabled: false}}}").queue.get().is_none());
}

#[test]
fn retries_end_after_the_longer_time_of_exporter_and_protocol() {
    let own = queue("retry_on_failure: {enabled: true, max_elapsed_time: 600s}");
    assert_eq!(own.retry.max_elapsed_time, Duration::from_secs(600));
    let of_protocol = queue("retry_on_failure: {enabled: true, max_elapsed_time: 100s}");
    assert_eq!(of_protocol.retry.max_elapsed_time, Duration::from_secs(300));
    let unlimited = queue("retry_on_failure: {enabled: true, max_elapsed_time: 0s}");
    assert_eq!(unlimited.retry.max_elapsed_time, Duration::ZERO);
    assert!(!queue("protocol: {otlp: {retry_on_failure: {enabled: false}}}").retry.enabled);
}

#[test]
fn static_backends_are_connected_to_at_the_start() {
    let yaml = "{resolver: {static: {hostnames: [b, 'a:1']}}, protocol: {otlp: {tls: {insecure: true}}}}";
    let (_context, made) = create(yaml);
    let (mut test, _) = made.unwrap();
    test.world.set_lookup_result("a", Ok(addresses(&["10.0.0.1"])));
    test.world.set_lookup_result("b", Ok(addresses(&["10.0.0.2"])));
    test.start().unwrap();
    test.run();
    assert_eq!(connections(&mut test), ["10.0.0.1:1", "10.0.0.2:4317"]);
}

#[test]
fn backends_of_a_name_follow_its_addresses() {
    let yaml = "{resolver: {dns: {hostname: pool, port: '55690'}}, protocol: {otlp: {tls: {insecure: true}}}}";
    let (_context, mut test) = exporter(yaml);
    // Nothing is known yet: the payload waits. The name does not exist: it is to be sent again.
    assert!(test.send(&spans(1)).is_empty());
    let outcomes = test.run();
    assert!(matches!(&outcomes[..], [(_, Outcome::Retry { .. })]), "{outcomes:?}");
    test.world.set_lookup_result("pool", Ok(addresses(&["10.0.0.1", "10.0.0.2", "fd00::1"])));
    for host in ["10.0.0.1", "10.0.0.2", "fd00::1"] {
        test.world.set_lookup_result(host, Ok(addresses(&[host])));
    }
    test.run_for(Duration::from_secs(5));
    assert_eq!(connections(&mut test), ["10.0.0.1:55690", "10.0.0.2:55690", "[fd00::1]:55690"]);
    // A look-up that fails changes nothing, and one that finds the same neither.
    test.world.set_lookup_result("pool", Ok(addresses(&["10.0.0.2", "10.0.0.1", "fd00::1"])));
    test.run_for(Duration::from_secs(5));
    assert!(connections(&mut test).is_empty());
    test.world.set_lookup_result("pool", Ok(addresses(&["10.0.0.2", "10.0.0.3"])));
    test.world.set_lookup_result("10.0.0.3", Ok(addresses(&["10.0.0.3"])));
    test.run_for(Duration::from_secs(5));
    assert_eq!(connections(&mut test), ["10.0.0.3:55690"]);
}

#[test]
fn own_metrics_have_the_names_of_the_go_exporter() {
    let yaml = "{resolver: {dns: {hostname: pool}}, protocol: {otlp: {tls: {insecure: true}}}}";
    let (context, made) = create(yaml);
    let (mut test, _) = made.unwrap();
    test.world.set_lookup_result("pool", Ok(addresses(&["10.0.0.1", "10.0.0.2"])));
    test.start().unwrap();
    test.run();
    test.run_for(Duration::from_secs(5));
    let families = context.telemetry.collect();
    let value = |name: &str| {
        let family = families.iter().find(|family| family.name == name).unwrap();
        family.samples.iter().map(|sample| format!("{:?} {:?}", sample.labels, sample.value)).collect::<Vec<_>>()
    };
    assert_eq!(
        value("otelcol_loadbalancer_num_resolutions"),
        [
            "[(\"resolver\", \"dns\"), (\"success\", \"false\")] Number(0.0)",
            "[(\"resolver\", \"dns\"), (\"success\", \"true\")] Number(2.0)"
        ]
    );
    assert_eq!(value("otelcol_loadbalancer_num_backends"), ["[(\"resolver\", \"dns\")] Number(2.0)"]);
    assert_eq!(value("otelcol_loadbalancer_num_backend_updates"), ["[(\"resolver\", \"dns\")] Number(1.0)"]);
    assert_eq!(value("otelcol_loadbalancer_backend_outcome").len(), 4);
    assert_eq!(value("otelcol_loadbalancer_backend_latency").len(), 2);
}
