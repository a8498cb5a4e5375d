//! Many connections at a time: idle ones, to measure the memory of each; active ones next to one with large requests,
//! to measure the delay that it causes.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::PathAndQuery;
use otelcore::pipeline::{Cx, Event, Extension, Logger, MonotonicTime, NoopLogSink, StartError};
use otelcore_net::{GrpcChannel, UnaryRequest};

use crate::{component_loop, grpc_load, measure, telemetry};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const SETTINGS: u8 = 4;
const SETTINGS_ACK: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";

/// One HTTP/2 connection whose SETTINGS have been exchanged in both directions.
fn open_idle_connection(endpoint: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(endpoint)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(PREFACE)?;
    let (mut received_settings, mut acknowledged) = (false, false);
    while !(received_settings && acknowledged) {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        stream.read_exact(&mut vec![0; length])?;
        if head[3] == SETTINGS && head[4] & 1 == 1 {
            acknowledged = true;
        } else if head[3] == SETTINGS {
            received_settings = true;
            stream.write_all(SETTINGS_ACK)?;
        }
    }
    Ok(stream)
}

/// `idle ENDPOINT COUNT`: opens connections, prints how many, and keeps them open until its input ends.
pub(crate) fn idle(args: &[String]) -> Result<(), String> {
    let [endpoint, count] = args else { return Err("idle: two arguments".to_owned()) };
    let count: usize = count.parse().map_err(|e| format!("{count}: {e}"))?;
    measure::pin_to_core(1);
    measure::raise_descriptor_limit();
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(open_idle_connection(endpoint).map_err(|e| format!("connection {}: {e}", connections.len()))?);
    }
    println!("{}", connections.len());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(())
}

/// A connection with one request in flight.
struct ActiveConnection {
    channel: GrpcChannel,
    body: Bytes,
    sent_at: Instant,
    large: bool,
}

#[derive(Default)]
struct RequestResults {
    small: Vec<Duration>,
    large: u64,
    failed: u64,
}

struct ActiveLoad {
    connections: Vec<ActiveConnection>,
    path: PathAndQuery,
    /// Earlier responses are warm-up and not counted.
    count_from: Instant,
    results: Rc<RefCell<RequestResults>>,
}

/// The event keys of one channel: its look-up and its connections.
const KEYS_PER_CHANNEL: u64 = 16;

impl ActiveLoad {
    fn send_request(&mut self, cx: &mut Cx<'_>, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.sent_at = Instant::now();
        let message = std::iter::once(connection.body.clone()).collect();
        connection.channel.start_call(
            cx,
            0,
            UnaryRequest { path: self.path.clone(), message, deadline: MonotonicTime::NEVER, metadata: None },
        );
    }
}

impl Extension for ActiveLoad {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        for index in 0..self.connections.len() {
            self.connections[index].channel.start(cx)?;
            self.send_request(cx, index);
        }
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        let index = (local / KEYS_PER_CHANNEL) as usize;
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.channel.handle_event(cx, local, &event);
        while let Some((_, result)) = self.connections[index].channel.poll_result() {
            let now = Instant::now();
            if now >= self.count_from {
                let mut results = self.results.borrow_mut();
                match (result.is_ok(), self.connections[index].large) {
                    (false, _) => results.failed += 1,
                    (true, true) => results.large += 1,
                    (true, false) => results.small.push(now - self.connections[index].sent_at),
                }
            }
            self.send_request(cx, index);
        }
    }
}

/// `active ENDPOINT COUNT MILLIS LARGE_ITEMS`: COUNT connections with requests of one span, and one with large
/// requests. Prints milliseconds (50th and 99th percentile, longest), then responses per second (small, large), and
/// failures.
pub(crate) fn active(args: &[String]) -> Result<(), String> {
    let [endpoint, count, millis, items] = args else { return Err("active: four arguments".to_owned()) };
    let number = |text: &String| text.parse::<u32>().map_err(|e| format!("{text}: {e}"));
    measure::pin_to_core(1);
    measure::raise_descriptor_limit();
    let client = grpc_load::client_config(endpoint, "none")?;
    let log = Logger::new(Arc::new(NoopLogSink));
    let (small, large) = (Bytes::from(telemetry::traces(1, 0)), Bytes::from(telemetry::traces(number(items)?, 0)));
    let connection = |index: u64, body: &Bytes| ActiveConnection {
        channel: GrpcChannel::new(client.clone(), None, log.clone(), index * KEYS_PER_CHANNEL),
        body: body.clone(),
        sent_at: Instant::now(),
        large: index == 0,
    };
    let count = u64::from(number(count)?);
    let run = Duration::from_millis(number(millis)?.into());
    let count_from = Instant::now() + run / 5;
    let results = Rc::new(RefCell::new(RequestResults::default()));
    let active = ActiveLoad {
        connections: (0..=count).map(|at| connection(at, if at == 0 { &large } else { &small })).collect(),
        path: grpc_load::export_path("traces"),
        count_from,
        results: results.clone(),
    };
    component_loop::run(Box::new(active), || Instant::now() >= count_from + run)?;
    let mut results = results.borrow_mut();
    results.small.sort_unstable();
    let latencies = &results.small;
    let percentile =
        |share: usize| latencies.get((latencies.len() * share / 100).min(latencies.len().saturating_sub(1)));
    let ms = |d: Option<&Duration>| d.map_or(f64::NAN, |d| d.as_secs_f64() * 1000.0);
    let rate = |n: f64| n / run.as_secs_f64();
    println!(
        "{} {} {} {} {} {}",
        ms(percentile(50)),
        ms(percentile(99)),
        ms(latencies.last()),
        rate(latencies.len() as f64),
        rate(results.large as f64),
        results.failed
    );
    Ok(())
}
