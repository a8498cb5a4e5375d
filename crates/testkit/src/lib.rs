//! Tests of single components, without a machine.
//!
//! A [`TestWorld`] implements [`otelcore_pipeline::World`] in memory: a clock that the test advances, timers, jobs, a
//! disk, names, outputs, and sockets whose other end is the test. Nothing happens by itself and no time passes by
//! itself, so every run of a test is the same. [`ProcessorTest`] and [`ExporterTest`] drive one component in such a
//! world; a receiver, or several components, run in a graph ([`TestWorld::run_graph`], [`receiver_graph`]).
//!
//! This crate opens no socket, starts no thread and reads no file or clock of the machine. It is made for tests: its
//! methods panic where a test can't go on.
//!
//! A processor that passes everything on after a second, and its test:
//!
//! ```
//! use std::time::Duration;
//!
//! use otelcore_pdata::{Rope, Signal};
//! use otelcore_pipeline::{Ack, Cx, Downstream, Event, Payload, Processor};
//! use otelcore_testkit::{ProcessorTest, payload};
//!
//! #[derive(Default)]
//! struct Delay(Vec<(Payload, Ack)>);
//!
//! impl Processor for Delay {
//!     fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, _: &mut Downstream) {
//!         self.0.push((payload, ack));
//!         cx.set_timer(0, cx.now() + Duration::from_secs(1));
//!     }
//!
//!     fn handle_event(&mut self, _: &mut Cx<'_>, _: u64, _: Event<'_>, downstream: &mut Downstream) {
//!         self.0.drain(..).for_each(|(payload, ack)| downstream.send(payload, ack));
//!     }
//! }
//!
//! let mut test = ProcessorTest::new(Box::new(Delay::default()));
//! test.process(payload(Signal::Logs, Rope::default()));
//! test.run_for(Duration::from_millis(999));
//! assert!(test.take_passed_on().is_empty());
//! test.run_for(Duration::from_millis(1));
//! assert_eq!(test.take_passed_on().len(), 1);
//! ```

mod component;
mod connector;
mod graph;
mod item_check;
mod log;
mod ready;
mod stream;
mod world;

pub use component::{
    ExporterTest, ParsedConfig, ProcessorTest, TestContext, exporter, extension, parse_config, payload, processor,
};
pub use connector::{ConnectorTest, PassedOn, connector};
pub use graph::{RecordedPayloads, receiver_graph};
pub use log::{RecordedEntry, TestLog};
pub use stream::{Connecting, PeerStream};
pub use world::{OWNER, TestWorld};
