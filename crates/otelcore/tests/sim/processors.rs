//! Processors that change telemetry, between clients and a backend.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;

use crate::client::Load;
use crate::fixture::{Fixture, MS, SEC, otlp_exporter, seeds};

/// Changes spans of the first client and all resources.
const PROCESSORS: &str = "  attributes:\n    include: {match_type: strict, services: [client-1]}\n    actions:\n      \
    - {key: padding, action: delete}\n      - {key: env, value: prod, action: insert}\n  resource:\n    attributes: \
    [{key: cluster, value: eu, action: upsert}]\n  batch: {timeout: 200ms, send_batch_size: 100, \
    send_batch_max_size: 100}";

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// Checks every span of a request; returns how many there are.
fn check_spans(request: &ExportTraceServiceRequest, seed: u64) -> usize {
    let mut spans = 0;
    for entry in &request.resource_spans {
        let resource = &entry.resource.as_ref().unwrap().attributes;
        assert_eq!(text(resource, "cluster"), Some("eu"), "seed {seed}");
        let is_changed = text(resource, "service.name") == Some("client-1");
        for span in entry.scope_spans.iter().flat_map(|scope| &scope.spans) {
            let expected = if is_changed { (Some("prod"), false) } else { (None, true) };
            let found = (text(&span.attributes, "env"), text(&span.attributes, "padding").is_some());
            assert_eq!(found, expected, "seed {seed}");
            spans += 1;
        }
    }
    spans
}

#[test]
fn spans_that_match_are_changed_before_they_are_batched() {
    for seed in seeds().take(8) {
        let mut fixture = Fixture::new(seed, PROCESSORS, &otlp_exporter(""));
        fixture.backend.borrow_mut().keeps_otlp_requests = true;
        let load = |client| Load { client, requests: 60, spans: 7, padding: 50, interval: 20 * MS, ..Load::default() };
        [1, 2].into_iter().for_each(|client| drop(fixture.start_client(load(client))));
        fixture.sim.run_for(30 * SEC);
        let all: BTreeSet<u64> = load(1).span_ids().union(&load(2).span_ids()).copied().collect();
        assert_eq!((fixture.acknowledged(), fixture.delivered()), (all.clone(), all), "seed {seed}");
        let backend = fixture.backend.borrow();
        assert!(backend.otlp_requests.len() < 60, "seed {seed}: spans are batched");
        let spans: usize = backend.otlp_requests.iter().map(|request| check_spans(request, seed)).sum();
        assert_eq!(spans, 2 * 60 * 7, "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
    }
}

#[test]
fn long_payload_is_edited_on_a_helper_thread_and_those_behind_it_arrive_as_well() {
    for seed in seeds().take(3) {
        let mut fixture = Fixture::new(seed, PROCESSORS, &otlp_exporter(""));
        fixture.backend.borrow_mut().keeps_otlp_requests = true;
        // Each of the first client's requests is above what is edited in a turn.
        let long = Load { requests: 3, spans: 30_000, padding: 40, interval: 5 * MS, ..Load::default() };
        let short = Load { client: 2, requests: 40, spans: 3, padding: 5, interval: MS, ..Load::default() };
        fixture.start_client(long.clone());
        fixture.start_client(short.clone());
        fixture.sim.run_for(60 * SEC);
        let all: BTreeSet<u64> = long.span_ids().union(&short.span_ids()).copied().collect();
        assert_eq!(fixture.acknowledged(), all, "seed {seed}");
        assert!(fixture.missing().is_empty(), "seed {seed}");
        let spans: usize =
            fixture.backend.borrow().otlp_requests.iter().map(|request| check_spans(request, seed)).sum();
        assert_eq!(spans, 90_120, "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
    }
}

#[test]
fn shutdown_delivers_what_waits_behind_a_long_edit() {
    for seed in seeds().take(3) {
        let mut fixture = Fixture::new(seed, PROCESSORS, &otlp_exporter(""));
        let load = Load { requests: 2, spans: 30_000, padding: 40, interval: MS, ..Load::default() };
        fixture.start_client(load);
        fixture.sim.run_for(SEC + 30 * MS);
        let collector = fixture.collector;
        fixture.sim.close(collector, 20 * SEC);
        fixture.sim.run_for(30 * SEC);
        assert!(fixture.missing().is_empty(), "seed {seed}");
        assert!(fixture.log.drops().is_empty(), "seed {seed}");
    }
}

/// Drops the spans of the second client, and changes the others.
const STATEMENTS: &str = "  filter: {trace_conditions: ['resource.attributes[\"service.name\"] == \"client-2\"']}\n  transform:\n    \
    trace_statements:\n      - statements: ['set(span.attributes[\"env\"], \"prod\")', 'set(resource.attributes[\"cluster\"], \
    \"eu\")']\n  batch: {timeout: 200ms, send_batch_size: 100, send_batch_max_size: 100}";

#[test]
fn spans_are_filtered_and_transformed_before_they_are_batched() {
    for seed in seeds().take(8) {
        let mut fixture = Fixture::new(seed, STATEMENTS, &otlp_exporter(""));
        fixture.backend.borrow_mut().keeps_otlp_requests = true;
        let load = |client| Load { client, requests: 60, spans: 7, padding: 50, interval: 20 * MS, ..Load::default() };
        [1, 2].into_iter().for_each(|client| drop(fixture.start_client(load(client))));
        fixture.sim.run_for(30 * SEC);
        let all: BTreeSet<u64> = load(1).span_ids().union(&load(2).span_ids()).copied().collect();
        assert_eq!((fixture.acknowledged(), fixture.delivered()), (all, load(1).span_ids()), "seed {seed}");
        for request in &fixture.backend.borrow().otlp_requests {
            for entry in &request.resource_spans {
                assert_eq!(text(&entry.resource.as_ref().unwrap().attributes, "cluster"), Some("eu"), "seed {seed}");
                for span in entry.scope_spans.iter().flat_map(|scope| &scope.spans) {
                    assert_eq!(text(&span.attributes, "env"), Some("prod"), "seed {seed}");
                }
            }
        }
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
    }
}
