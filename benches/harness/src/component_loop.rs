//! Runs a single component of ours in an event loop.

use std::sync::Arc;
use std::time::Duration;

use otelcore::pipeline::{Budget, Extension, GraphBuilder, Logger, NoopLogSink};
use otelcore::reactor::{EventLoop, RealWorld};

/// Runs `extension` until `is_done` returns true after a turn.
pub(crate) fn run(extension: Box<dyn Extension>, is_done: impl Fn() -> bool) -> Result<(), String> {
    let log = Logger::new(Arc::new(NoopLogSink));
    let mut graph = GraphBuilder::new(Arc::new(Budget::default()), log.clone());
    graph.add_internal(extension, log);
    let mut graph = graph.build();
    let mut world = RealWorld::new().map_err(|e| e.to_string())?;
    graph.start(&mut world).map_err(|e| e.to_string())?;
    let close_when_done = |runner: &mut EventLoop, _| {
        if is_done() {
            runner.close(Duration::ZERO);
        }
    };
    EventLoop::new(world, graph).run(close_when_done).map(drop).map_err(|e| e.to_string())
}
