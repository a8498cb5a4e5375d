//! When the receiver runs, and what becomes of payloads that are refused.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use otelcore_pipeline::{
    FileSystem, MonotonicTime, OfferedCapabilities, Outcome, Storage, StorageLocation, StorageUser, StoredQueue,
    StoredQueueContext, ValueChange, ValueStore,
};
use serde_json::json;

use super::{Test, context, names, object, with_elector};
use crate::K8sObjectsFactory as Objects;
use otelcore_testkit::TestWorld;

const PODS: &str = "/api/v1/pods";
const SEC: Duration = Duration::from_secs(1);

fn watching() -> Test {
    let mut test = Test::new(&Objects, "{objects: [{name: pods, mode: watch}]}");
    test.list(PODS, 7, &[]);
    test.run();
    test.take_targets();
    test
}

#[test]
fn receiver_reads_while_its_collector_leads() {
    let (context, leadership) = with_elector(context());
    let yaml = "{k8s_leader_elector: elector, objects: [{name: pods, mode: watch}]}";
    let mut test = Test::with_context(&Objects, yaml, context, TestWorld::new());
    test.list(PODS, 7, &[]);
    test.run_for(10 * SEC);
    assert!(test.take_targets().is_empty());
    leadership.set(true);
    test.run();
    test.event(PODS, "ADDED", &object("a", "shop", 8));
    assert_eq!(names(&test.records()), ["a"]);
    leadership.set(false);
    test.run();
    test.serve();
    assert!(test.connections.is_empty());
    test.take_targets();
    test.run_for(100 * SEC);
    assert!(test.take_targets().is_empty());
    leadership.set(true);
    test.run();
    test.event(PODS, "ADDED", &object("b", "shop", 9));
    assert_eq!(names(&test.records()), ["b"]);
}

#[test]
fn unknown_elector_is_an_error_with_its_id() {
    let error = |id: &str| {
        let yaml = format!("{{k8s_leader_elector: {id}, objects: [{{name: pods}}]}}");
        context().create(&Objects, "k8s_objects", &yaml).err().unwrap()
    };
    assert!(error("other").contains("unknown k8s leader elector \"other\""), "{}", error("other"));
}

#[test]
fn missing_resource_is_looked_for_again_and_stops_the_others_unless_it_is_ignored() {
    for (mode, collects) in [("propagate", false), ("ignore", true), ("silent", true)] {
        let yaml = format!("{{error_mode: {mode}, objects: [{{name: pods}}, {{name: widgets}}]}}");
        let mut test = Test::new(&Objects, &yaml);
        test.list(PODS, 7, &[object("a", "shop", 5)]);
        test.run();
        assert_eq!(!test.records().is_empty(), collects, "{mode}");
        let lines = test.log_lines();
        let text = "resource not found: widgets. Available resources in cluster: [events nodes pods]";
        assert_eq!(lines.contains(text), mode != "silent", "{mode}: {lines}");
        if mode == "propagate" {
            test.answer(
                "/api/v1?",
                200,
                r#"{"resources":[{"name":"pods","kind":"Pod"},{"name":"widgets","kind":"Widget"}]}"#,
            );
            test.list("/api/v1/widgets", 7, &[object("w", "shop", 5)]);
            test.run_for(60 * SEC);
            assert_eq!(names(&test.records()), ["a", "w"]);
        }
    }
}

#[test]
fn server_that_can_not_be_asked_is_asked_again_after_growing_pauses() {
    let mut test = Test::new(&Objects, "{objects: [{name: pods}]}");
    test.answer("/api?", 503, r#"{"message":"starting"}"#);
    test.list(PODS, 7, &[object("a", "shop", 5)]);
    test.run_for(100 * SEC);
    let requests = test.take_targets().len();
    assert!((6..=9).contains(&requests), "{requests}");
    let lines = test.log_lines();
    assert_eq!(lines.matches("GET /api: status 503: starting").count(), 1, "{lines}");
    test.answer("/api?", 200, r#"{"versions":["v1"]}"#);
    test.run_for(61 * SEC);
    assert_eq!(names(&test.records()), ["a"]);
}

#[test]
fn payload_that_is_refused_for_now_is_sent_again_and_nothing_is_read_meanwhile() {
    let mut test = watching();
    test.payloads.push_outcome(Outcome::retry("full"));
    test.event(PODS, "ADDED", &object("a", "shop", 8));
    test.event(PODS, "ADDED", &object("b", "shop", 9));
    assert_eq!(names(&test.records()), ["a"]);
    test.run_for(2 * SEC);
    assert_eq!(names(&test.records()), ["a", "b"]);
}

#[test]
fn payload_that_is_refused_for_good_is_logged_and_the_next_one_follows() {
    let mut test = watching();
    test.payloads.push_outcome(Outcome::permanent("no"));
    test.event(PODS, "ADDED", &object("a", "shop", 8));
    test.event(PODS, "ADDED", &object("b", "shop", 9));
    assert_eq!(names(&test.records()), ["a", "b"]);
    assert!(test.log_lines().contains("records of objects are not delivered"));
    for _ in 0..40 {
        test.payloads.push_outcome(Outcome::retry("full"));
    }
    test.event(PODS, "ADDED", &object("c", "shop", 10));
    test.run_for(400 * SEC);
    assert!(test.log_lines().contains("records of objects are not delivered"));
}

#[test]
fn long_objects_become_records_in_a_job_and_keep_their_order() {
    let mut test = watching();
    let long = |name: &str| json!({"metadata": {"name": name, "resourceVersion": "9"}, "x": "y".repeat(100_000)});
    test.event(PODS, "ADDED", &long("a"));
    test.event(PODS, "ADDED", &object("b", "shop", 10));
    assert_eq!(names(&test.records()), ["a", "b"]);
}

/// A storage whose values are in the test.
#[derive(Debug, Default)]
struct TestStorage(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

#[derive(Debug)]
struct TestValues(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl ValueStore for TestValues {
    fn load(&mut self, _: &mut dyn FileSystem) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn apply(&mut self, _: &mut dyn FileSystem, changes: Vec<ValueChange>) -> std::io::Result<()> {
        for change in changes {
            match change {
                ValueChange::Set(key, value) => drop(self.0.lock().unwrap().insert(key, value)),
                ValueChange::Delete(key) => drop(self.0.lock().unwrap().remove(&key)),
            }
        }
        Ok(())
    }
}

impl Storage for TestStorage {
    fn location(&self, _: &StorageUser<'_>) -> StorageLocation {
        unreachable!("a receiver of objects has values only")
    }

    fn open_values(&self, user: &StorageUser<'_>) -> Box<dyn ValueStore> {
        assert_eq!(user.id.to_string(), "k8s_objects");
        Box::new(TestValues(self.0.clone()))
    }

    fn open_queue(&self, _: StoredQueueContext<'_>) -> Box<dyn StoredQueue> {
        unreachable!("a receiver of objects has values only")
    }
}

fn with_storage(values: &Arc<Mutex<BTreeMap<String, Vec<u8>>>>) -> Test {
    let mut context = context();
    let mut offered = OfferedCapabilities::default();
    offered.add::<dyn Storage>(Rc::new(TestStorage(values.clone())));
    context.capabilities.add(&"file_storage".parse().unwrap(), offered);
    let yaml = "{storage: file_storage, objects: [{name: pods, mode: watch, namespaces: [shop]}]}";
    let mut test = Test::with_context(&Objects, yaml, context, TestWorld::new());
    test.list("/api/v1/namespaces/shop/pods", 7, &[]);
    test.run();
    test
}

#[test]
fn watch_goes_on_after_a_restart_from_the_version_that_was_delivered() {
    let values = Arc::default();
    let path = "/api/v1/namespaces/shop/pods";
    let mut test = with_storage(&values);
    test.event(path, "ADDED", &object("a", "shop", 8));
    assert_eq!(names(&test.records()), ["a"]);
    test.run_for(6 * SEC);
    let stored = |values: &Arc<Mutex<BTreeMap<String, Vec<u8>>>>| {
        values.lock().unwrap().get("latestResourceVersion/pods.shop").cloned().unwrap_or_default()
    };
    assert_eq!(stored(&values), b"8");
    // What is not delivered does not count.
    test.payloads.push_outcome(Outcome::retry("full"));
    test.event(path, "ADDED", &object("b", "shop", 9));
    test.graph.close(&mut test.world, MonotonicTime::NEVER);
    test.run();
    assert!(test.graph.is_closed());
    assert_eq!(stored(&values), b"8");
    let mut test = with_storage(&values);
    let targets = test.take_targets();
    assert!(targets.last().unwrap().ends_with("&resourceVersion=8"), "{targets:?}");
    // What is delivered is stored at the end.
    test.event(path, "ADDED", &object("b", "shop", 9));
    test.graph.close(&mut test.world, MonotonicTime::NEVER);
    test.run();
    assert!(test.graph.is_closed());
    assert_eq!(stored(&values), b"9");
}

#[test]
fn receiver_that_is_closed_reads_nothing_and_closes_its_connections() {
    let mut test = watching();
    let deadline = test.world.cx().now() + SEC;
    test.graph.close(&mut test.world, deadline);
    test.run();
    test.serve();
    assert!(test.graph.is_closed() && test.connections.is_empty());
}
