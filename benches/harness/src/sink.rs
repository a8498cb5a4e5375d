//! The sink: takes any gRPC call, answers with an empty message, and counts what came.
//!
//! It counts calls and message bytes; spans are counted for `PostSpans` and for OTLP traces, by their fields.

use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use otelcore::pipeline::{Budget, Cx, Endpoint, Event, Extension, GraphBuilder, Logger, NoLog, StartError, Stream};
use otelcore::reactor::{Real, Runner};
use otelcore_http::Status;
use otelcore_http::grpc::server::{CallHead, Gate, ServerConfig, ServerConn};
use otelcore_net::{Acceptor, bind};
use otelcore_pdata::wire::{Fields, Wire};

type Conn = ServerConn<Box<dyn Stream>, ()>;

struct All;

impl Gate for All {
    type Permit = ();

    fn route(&mut self, path: &str) -> Result<u32, Status> {
        Ok(u32::from(path.contains("PostSpans")))
    }

    fn admit(&mut self, _: &CallHead, _: u32) -> Result<(), Status> {
        Ok(())
    }

    fn grow(&mut self, (): &mut (), _: u64) -> Result<(), Status> {
        Ok(())
    }
}

struct Sink {
    port: u16,
    config: Rc<ServerConfig>,
    acceptor: Option<Acceptor<Conn>>,
    spans: u64,
    /// Where the count is written, for the harness to read.
    report: std::fs::File,
}

/// The timer that writes the count.
const REPORT: u64 = u64::MAX;

/// Spans in a message: the repeated fields along the path of numbers, the last of which is counted.
fn count(message: &[u8], path: &[u32]) -> u64 {
    let Some((first, rest)) = path.split_first() else { return 1 };
    let inner = |(number, wire)| match wire {
        Wire::Len(inner) if number == *first => count(inner, rest),
        _ => 0,
    };
    Fields::new(message).map(inner).sum()
}

impl Extension for Sink {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let at = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: self.port };
        let listener = bind(cx, 0, &at).map_err(|e| StartError(e.to_string()))?;
        self.acceptor = Some(Acceptor::new(listener, 0));
        let at = cx.now() + Duration::from_millis(20);
        cx.arm(REPORT, at);
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        if local == REPORT {
            // A short write shows an older count, which the next one mends.
            let _ = writeln!(self.report, "{:020}", self.spans);
            let at = cx.now() + Duration::from_millis(20);
            cx.arm(REPORT, at);
            return;
        }
        let Some(acceptor) = &mut self.acceptor else { return };
        let config = &self.config;
        let make = |cx: &mut Cx<'_>, stream| Some(ServerConn::new(stream, config.clone(), cx.now().0, 0));
        for slot in acceptor.event(cx, local, &event, make) {
            let now = cx.now().0;
            let Some((conn, _)) = acceptor.get(slot) else { continue };
            let mut turn = conn.turn(now, &mut All);
            while let Some(call) = conn.poll_call() {
                let path: &[u32] = if call.head.method == 1 { &[1, 1] } else { &[1, 2, 2] };
                self.spans += count(&call.message, path);
                conn.reply_ok(call.id, Bytes::new());
            }
            let again = turn.again;
            turn = conn.flush(now);
            turn.again |= again;
            acceptor.after(cx, slot, &turn);
        }
    }
}

/// `sink PORT REPORT_FILE`
pub(crate) fn main(args: &[String]) -> Result<(), String> {
    let [port, report] = args else { return Err("sink: two arguments".to_owned()) };
    crate::pin(1);
    let log = Logger::new(Arc::new(NoLog));
    let sink = Sink {
        port: port.parse().map_err(|e| format!("{port}: {e}"))?,
        config: Rc::new(ServerConfig { max_recv_message: 64 << 20, ..ServerConfig::default() }),
        acceptor: None,
        spans: 0,
        report: std::fs::File::create(report).map_err(|e| e.to_string())?,
    };
    let mut graph = GraphBuilder::new(Arc::new(Budget::default()), log.clone());
    graph.own(Box::new(sink), log);
    let mut graph = graph.build();
    let mut world = Real::new().map_err(|e| e.to_string())?;
    graph.start(&mut world).map_err(|e| e.to_string())?;
    Runner::new(world, graph).run(|_, _| {}).map_err(|e| e.to_string())?;
    Ok(())
}
