//! Collectors with a queue on disk: what they acknowledge is delivered, whatever fails and whenever they stop.

use std::collections::BTreeSet;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otelcore_http::Status;
use otelcore_reactor::DiskFaults;
use prost::Message;

use crate::backend::PlannedResponse;
use crate::client::Load;
use crate::fixture::{Fixture, HEALTH_CHANGE, MS, SEC, config_yaml, new_sim, otlp_exporter, seeds};

const QUEUE: &str = "sending_queue: {storage: file_storage, num_consumers: 3}\n\
                     retry_on_failure: {initial_interval: 100ms, max_interval: 1s}";

/// A configuration with a queue on disk.
fn stored_yaml(processors: &str, exporter_keys: &str) -> String {
    config_yaml(processors, &otlp_exporter(exporter_keys)).replace(
        "service:\n",
        "extensions:\n  file_storage: {directory: /data, create_directory: true}\nservice:\n  extensions: [file_storage]\n",
    )
}

fn load(client: u64) -> Load {
    Load { client, requests: 150, spans: 5, padding: 50, interval: 15 * MS, retry: true, ..Load::default() }
}

fn fixture(seed: u64, yaml: &str) -> Fixture {
    let fixture = Fixture::with_yaml(new_sim(seed), seed, yaml);
    fixture.backend.borrow_mut().keeps_otlp_requests = true;
    fixture
}

/// Runs until everything that the clients have sent is delivered.
fn finish(fixture: &mut Fixture, yaml: &str) {
    fixture.sim.disk(fixture.collector).set_faults(DiskFaults::default());
    fixture.sim.heal(fixture.collector, fixture.backend_node);
    fixture.backend.borrow_mut().accept_all_requests();
    fixture.start_backend();
    fixture.sim.crash(fixture.collector);
    assert!(fixture.restart_collector(yaml), "seed {}", fixture.seed);
    fixture.sim.run_for(120 * SEC);
    let seed = fixture.seed;
    let sent: BTreeSet<u64> = fixture.clients.iter().flat_map(|(_, load, _)| load.span_ids()).collect();
    assert_eq!(fixture.missing(), BTreeSet::new(), "seed {seed}: acknowledged and not delivered");
    assert_eq!(fixture.acknowledged(), sent, "seed {seed}: not acknowledged though everything works");
    assert!(fixture.delivered().is_subset(&sent), "seed {seed}: delivered and never sent");
    assert_eq!(fixture.held_bytes(), 0, "seed {seed}");
    let graph = fixture.sim.graph(fixture.collector).unwrap();
    assert_eq!(graph.undelivered().stored, [], "seed {seed}");
}

/// Without a processor that joins payloads, each request arrives as it was sent.
fn check_requests(fixture: &Fixture) {
    let sent: Vec<ExportTraceServiceRequest> = fixture
        .clients
        .iter()
        .flat_map(|(_, load, _)| (0..load.requests).map(|r| ExportTraceServiceRequest::decode(load.body(r)).unwrap()))
        .collect();
    let first_span =
        |request: &ExportTraceServiceRequest| request.resource_spans[0].scope_spans[0].spans[0].span_id.clone();
    for request in &fixture.backend.borrow().otlp_requests {
        let same = sent.iter().find(|sent| first_span(sent) == first_span(request));
        assert_eq!(same, Some(request), "seed {}", fixture.seed);
    }
}

fn inject_fault(fixture: &mut Fixture, yaml: &str) {
    let random = fixture.sim.random();
    let (collector, backend) = (fixture.collector, fixture.backend_node);
    let none = DiskFaults::default();
    match random % 12 {
        0 => fixture.sim.kill(backend),
        1 | 2 => fixture.start_backend(),
        3 => fixture.sim.kill(collector),
        4 => fixture.sim.crash(collector),
        5 => fixture.sim.disk(collector).crash_after(random >> 8 & 0x3f),
        6 => {
            let faults = [
                DiskFaults { sync_errors: 200, ..none },
                DiskFaults { write_errors: 200, ..none },
                DiskFaults { capacity: Some(random >> 16 & 0xffff), ..none },
                DiskFaults { is_read_only: true, ..none },
                DiskFaults { delay: (10 * MS, 2000 * MS), ..none },
            ];
            fixture.sim.disk(collector).set_faults(faults[(random >> 8) as usize % faults.len()]);
        }
        7 | 8 => fixture.sim.disk(collector).set_faults(none),
        9 => fixture.sim.partition(collector, backend),
        10 => fixture.sim.heal(collector, backend),
        _ => {
            let response = PlannedResponse::error(Status::unavailable("busy"));
            fixture.backend.borrow_mut().next_responses =
                std::iter::repeat_n(response, (random >> 8 & 7) as usize).collect();
        }
    }
    if fixture.sim.graph(collector).is_none() && random >> 40 & 3 != 0 {
        // Opening may fail while the disk does; the process starts all the same.
        fixture.restart_collector(yaml);
    }
}

fn run_with_faults(seed: u64, processors: &str) -> Fixture {
    let yaml = stored_yaml(processors, QUEUE);
    let mut fixture = fixture(seed, &yaml);
    for client in 1..3 {
        fixture.start_client(load(client));
    }
    for _ in 0..30 {
        let delay = fixture.sim.random() % 400;
        fixture.sim.run_for(Duration::from_millis(delay));
        inject_fault(&mut fixture, &yaml);
    }
    finish(&mut fixture, &yaml);
    fixture
}

#[test]
fn acknowledged_spans_are_delivered_whatever_fails() {
    for seed in seeds().take(10) {
        let fixture = run_with_faults(seed, "");
        check_requests(&fixture);
    }
}

#[test]
fn acknowledged_spans_of_batches_are_delivered_whatever_fails() {
    for seed in seeds().take(4) {
        run_with_faults(seed, "  batch: {timeout: 100ms, send_batch_size: 40, send_batch_max_size: 64}");
    }
}

#[test]
fn acknowledged_spans_of_groups_in_the_queue_are_delivered_after_a_crash() {
    for seed in seeds().take(4) {
        let batch = QUEUE
            .replace("num_consumers: 3", "num_consumers: 3, batch: {flush_timeout: 50ms, min_size: 20, max_size: 33}");
        let yaml = stored_yaml("", &batch);
        let mut fixture = fixture(seed, &yaml);
        fixture.start_client(load(1));
        fixture.sim.run_for(2 * SEC);
        fixture.sim.kill(fixture.backend_node);
        fixture.sim.run_for(SEC);
        fixture.sim.crash(fixture.collector);
        assert!(fixture.restart_collector(&yaml));
        fixture.sim.run_for(SEC);
        assert!(!fixture.missing().is_empty(), "seed {seed}");
        finish(&mut fixture, &yaml);
    }
}

#[test]
fn shutdown_leaves_data_on_disk_and_the_next_start_sends_it() {
    for seed in seeds().take(4) {
        let yaml = stored_yaml("", QUEUE);
        let mut fixture = fixture(seed, &yaml);
        fixture.start_client(load(1));
        fixture.sim.run_for(1500 * MS);
        fixture.sim.kill(fixture.backend_node);
        fixture.sim.run_for(SEC);
        let (start, collector) = (fixture.sim.now(), fixture.collector);
        fixture.sim.close(collector, 25 * SEC);
        while fixture.sim.undelivered(collector).is_none() && fixture.sim.now() < start + 30 * SEC {
            fixture.sim.run_for(10 * MS);
        }
        let took = fixture.sim.now().since(start);
        assert!(took < 6 * SEC, "seed {seed}: {took:?}, though nothing would be lost");
        let report = fixture.sim.undelivered(collector).unwrap().clone();
        let missing = fixture.missing().len() as u64;
        assert_eq!(
            (report.total(), report.stored),
            (0, vec![("exporter otlp_grpc".to_owned(), missing)]),
            "seed {seed}"
        );
        assert!(missing > 50, "seed {seed}");
        fixture.sim.run_for(SEC);
        finish(&mut fixture, &yaml);
    }
}

#[test]
fn outage_longer_than_max_elapsed_time_loses_nothing() {
    let yaml = stored_yaml("", "sending_queue: {storage: file_storage, queue_size: 1000000}");
    let mut fixture = fixture(3, &yaml);
    fixture.sim.kill(fixture.backend_node);
    fixture.start_client(load(1));
    fixture.sim.run_for(1200 * SEC);
    assert_eq!(fixture.missing().len(), 750);
    assert_eq!(fixture.log.drops(), []);
    finish(&mut fixture, &yaml);
}

#[test]
fn span_that_is_refused_for_good_is_kept_in_dead() {
    let yaml = stored_yaml("", QUEUE);
    let mut fixture = fixture(4, &yaml);
    fixture.backend.borrow_mut().next_responses = [PlannedResponse::error(Status::invalid_argument("poison"))].into();
    fixture.start_client(Load { requests: 3, ..load(1) });
    fixture.sim.run_for(10 * SEC);
    assert_eq!(fixture.missing().len(), 5, "the first request");
    assert_eq!(fixture.log.count_with(&["Data is kept in `dead` beside its queue.", "poison"]), 1);
    let paths = fixture.sim.disk(fixture.collector).paths();
    let dead = paths.iter().find(|path| path.starts_with("/data/exporter_otlp_grpc__traces.queue/dead"));
    let content = fixture.sim.disk(fixture.collector).content(dead.unwrap()).unwrap();
    assert!(content.windows(6).any(|part| part == b"poison"));
}

#[test]
fn full_disk_refuses_retryably_and_nothing_is_lost() {
    let yaml = stored_yaml("", QUEUE);
    let mut fixture = fixture(5, &yaml);
    fixture.sim.run_for(SEC);
    fixture.sim.disk(fixture.collector).set_faults(DiskFaults { capacity: Some(0), ..DiskFaults::default() });
    fixture.sim.kill(fixture.backend_node);
    let results = fixture.start_client(Load { padding: 20_000, ..load(1) });
    fixture.sim.run_for(10 * SEC);
    let texts: BTreeSet<String> = results.borrow().errors().map(|(_, status)| format!("{status:?}")).collect();
    assert!(!texts.is_empty() && texts.iter().all(|text| text.contains("no space is left on the disk")), "{texts:?}");
    finish(&mut fixture, &yaml);
}

#[test]
fn collector_is_ready_when_its_queue_on_disk_is_open() {
    let yaml = stored_yaml("", QUEUE)
        .replace("extensions:\n", "extensions:\n  health_check: {endpoint: \"0.0.0.0:13133\"}\n")
        .replace("extensions: [file_storage]", "extensions: [health_check, file_storage]");
    let mut fixture = fixture(6, &yaml);
    fixture.sim.run_for(SEC);
    assert_eq!(fixture.log.count_with(&[HEALTH_CHANGE, "status=ready"]), 1);
    fixture.sim.kill(fixture.collector);
    let slow = DiskFaults { delay: (2000 * MS, 2000 * MS), ..DiskFaults::default() };
    fixture.sim.disk(fixture.collector).set_faults(slow);
    assert!(fixture.restart_collector(&yaml));
    fixture.sim.run_for(SEC);
    assert_eq!(fixture.log.count_with(&[HEALTH_CHANGE]), 0, "the disk is slow");
    fixture.sim.run_for(60 * SEC);
    assert_eq!(fixture.log.count_with(&[HEALTH_CHANGE, "status=ready"]), 1);
    // One that can't be opened is a status, and no reason to end the process.
    fixture.sim.kill(fixture.collector);
    fixture.sim.disk(fixture.collector).set_faults(DiskFaults { is_read_only: true, ..DiskFaults::default() });
    assert!(fixture.restart_collector(&yaml));
    fixture.sim.run_for(10 * SEC);
    assert_eq!(fixture.log.count_with(&[HEALTH_CHANGE, "status=ready"]), 1);
}
