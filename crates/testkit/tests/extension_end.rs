//! The end of an extension that still sends something: in a shutdown, and when a change of the configuration removes it.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_pipeline::{
    Budget, ComponentIdentity, ComponentKind, Cx, Event, Extension, Graph, GraphBuilder, InstanceIdentity, Logger,
    MonotonicTime, NoopLogSink,
};
use otelcore_testkit::TestWorld;

const SEC: Duration = Duration::from_secs(1);

/// Needs two seconds to close, or never does.
struct SlowExtension {
    name: &'static str,
    ends: bool,
    is_closed: bool,
    calls: Rc<RefCell<Vec<String>>>,
}

impl Extension for SlowExtension {
    fn handle_event(&mut self, _: &mut Cx<'_>, _: u64, _: Event<'_>) {
        self.is_closed = true;
        self.calls.borrow_mut().push(format!("{} ended", self.name));
    }

    fn close(&mut self, cx: &mut Cx<'_>, deadline: MonotonicTime) {
        let left = deadline.since(cx.now()).as_secs();
        self.calls.borrow_mut().push(format!("{} closes within {left} s", self.name));
        if self.ends {
            cx.set_timer(7, cx.now() + 2 * SEC);
        }
    }

    fn is_closed(&self) -> bool {
        self.is_closed
    }
}

impl Drop for SlowExtension {
    fn drop(&mut self) {
        self.calls.borrow_mut().push(format!("{} dropped", self.name));
    }
}

fn builder() -> GraphBuilder<'static> {
    GraphBuilder::new(Arc::new(Budget::default()), Logger::new(Arc::new(NoopLogSink)))
}

fn with_extension(
    mut builder: GraphBuilder<'_>,
    (name, ends): (&'static str, bool),
    calls: &Rc<RefCell<Vec<String>>>,
) -> Graph {
    let extension = SlowExtension { name, ends, is_closed: false, calls: calls.clone() };
    builder.add_internal(Box::new(extension), Logger::new(Arc::new(NoopLogSink)));
    let identity = ComponentIdentity {
        kind: ComponentKind::Extension,
        id: "slow".parse().unwrap(),
        place: String::new(),
        content: name.to_owned(),
    };
    builder.set_identity(InstanceIdentity { identity, uses: BTreeSet::new() });
    builder.build()
}

/// Passes time in steps, as a loop does.
fn run_for(world: &mut TestWorld, graph: &mut Graph, time: Duration) {
    let end = world.cx().now() + time;
    while let Some(at) = world.next_timer().filter(|at| *at <= end) {
        let now = world.cx().now();
        world.advance(at.since(now));
        world.run_graph(graph);
    }
    let now = world.cx().now();
    world.advance(end.since(now));
}

#[test]
fn shutdown_waits_for_an_extension_that_is_not_closed() {
    let (mut world, calls) = (TestWorld::new(), Rc::default());
    let mut graph = with_extension(builder(), ("a", true), &calls);
    graph.start(&mut world).unwrap();
    let deadline = world.cx().now() + 10 * SEC;
    graph.close(&mut world, deadline);
    run_for(&mut world, &mut graph, SEC);
    assert!(!graph.is_closed());
    run_for(&mut world, &mut graph, SEC);
    assert!(graph.is_closed());
    assert_eq!(*calls.borrow(), ["a closes within 10 s", "a ended"]);
}

#[test]
fn extension_that_a_change_removes_ends_when_it_is_closed_or_its_time_is_over() {
    for ends in [true, false] {
        let (mut world, calls) = (TestWorld::new(), Rc::default());
        let mut graph = with_extension(builder(), ("a", ends), &calls);
        graph.start(&mut world).unwrap();
        let next = with_extension(GraphBuilder::following(&graph), ("b", true), &calls);
        let deadline = world.cx().now() + 5 * SEC;
        graph.change(&mut world, next, deadline).unwrap();
        run_for(&mut world, &mut graph, SEC);
        assert_eq!(*calls.borrow(), ["a closes within 5 s"]);
        run_for(&mut world, &mut graph, 5 * SEC);
        let expected: &[&str] =
            if ends { &["a closes within 5 s", "a ended", "a dropped"] } else { &["a closes within 5 s", "a dropped"] };
        assert_eq!(*calls.borrow(), expected);
    }
}
