//! Runs one component of ours alone in a loop.

use std::sync::Arc;
use std::time::Duration;

use otelcore::pipeline::{Budget, Extension, GraphBuilder, Logger, NoLog};
use otelcore::reactor::{Real, Runner};

/// Runs `extension` until `over` returns true after a turn.
pub(crate) fn run(extension: Box<dyn Extension>, over: impl Fn() -> bool) -> Result<(), String> {
    let log = Logger::new(Arc::new(NoLog));
    let mut graph = GraphBuilder::new(Arc::new(Budget::default()), log.clone());
    graph.own(extension, log);
    let mut graph = graph.build();
    let mut world = Real::new().map_err(|e| e.to_string())?;
    graph.start(&mut world).map_err(|e| e.to_string())?;
    let end = |runner: &mut Runner, _| {
        if over() {
            runner.close(Duration::ZERO);
        }
    };
    Runner::new(world, graph).run(end).map(drop).map_err(|e| e.to_string())
}
