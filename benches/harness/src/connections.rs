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
use otelcore::pipeline::{Cx, Event, Extension, Logger, Mono, NoLog, StartError};
use otelcore_net::{Channel, NewCall};

use crate::{host, load, measure, telemetry};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const SETTINGS: u8 = 4;
const SETTINGS_ACK: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";

/// One HTTP/2 connection whose SETTINGS have been exchanged in both directions.
fn open(endpoint: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(endpoint)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(PREFACE)?;
    let (mut theirs, mut acknowledged) = (false, false);
    while !(theirs && acknowledged) {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        stream.read_exact(&mut vec![0; length])?;
        if head[3] == SETTINGS && head[4] & 1 == 1 {
            acknowledged = true;
        } else if head[3] == SETTINGS {
            theirs = true;
            stream.write_all(SETTINGS_ACK)?;
        }
    }
    Ok(stream)
}

/// `idle ENDPOINT COUNT`: opens connections, prints how many, and keeps them open until its input ends.
pub(crate) fn idle(args: &[String]) -> Result<(), String> {
    let [endpoint, count] = args else { return Err("idle: two arguments".to_owned()) };
    let count: usize = count.parse().map_err(|e| format!("{count}: {e}"))?;
    measure::pin(1);
    measure::many_descriptors();
    let mut open_ones = Vec::with_capacity(count);
    for _ in 0..count {
        open_ones.push(open(endpoint).map_err(|e| format!("connection {}: {e}", open_ones.len()))?);
    }
    println!("{}", open_ones.len());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(())
}

/// A connection with one request in flight.
struct Asker {
    channel: Channel,
    body: Bytes,
    began: Instant,
    large: bool,
}

#[derive(Default)]
struct Answers {
    small: Vec<Duration>,
    large: u64,
    failed: u64,
}

struct Active {
    askers: Vec<Asker>,
    path: PathAndQuery,
    /// Earlier answers are warm-up and not counted.
    from: Instant,
    answers: Rc<RefCell<Answers>>,
}

/// The event keys of one channel: its look-up and its connections.
const KEYS: u64 = 16;

impl Active {
    fn ask(&mut self, cx: &mut Cx<'_>, at: usize) {
        let Some(asker) = self.askers.get_mut(at) else { return };
        asker.began = Instant::now();
        let message = std::iter::once(asker.body.clone()).collect();
        asker.channel.call(cx, 0, NewCall { path: self.path.clone(), message, by: Mono::NEVER });
    }
}

impl Extension for Active {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        for at in 0..self.askers.len() {
            self.askers[at].channel.start(cx)?;
            self.ask(cx, at);
        }
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        let at = (local / KEYS) as usize;
        let Some(asker) = self.askers.get_mut(at) else { return };
        asker.channel.event(cx, local, &event);
        while let Some((_, result)) = self.askers[at].channel.poll_done() {
            let now = Instant::now();
            if now >= self.from {
                let mut answers = self.answers.borrow_mut();
                match (result.is_ok(), self.askers[at].large) {
                    (false, _) => answers.failed += 1,
                    (true, true) => answers.large += 1,
                    (true, false) => answers.small.push(now - self.askers[at].began),
                }
            }
            self.ask(cx, at);
        }
    }
}

/// `active ENDPOINT COUNT MILLIS LARGE_ITEMS`: COUNT connections with requests of one span, and one with large
/// requests. Prints milliseconds (50th and 99th percentile, longest), then answers per second (small, large), and
/// failures.
pub(crate) fn active(args: &[String]) -> Result<(), String> {
    let [endpoint, count, millis, items] = args else { return Err("active: four arguments".to_owned()) };
    let number = |text: &String| text.parse::<u32>().map_err(|e| format!("{text}: {e}"));
    measure::pin(1);
    measure::many_descriptors();
    let client = load::client(endpoint, "none")?;
    let log = Logger::new(Arc::new(NoLog));
    let (small, large) = (Bytes::from(telemetry::traces(1, 0)), Bytes::from(telemetry::traces(number(items)?, 0)));
    let asker = |at: u64, body: &Bytes| Asker {
        channel: Channel::new(client.clone(), None, log.clone(), at * KEYS),
        body: body.clone(),
        began: Instant::now(),
        large: at == 0,
    };
    let count = u64::from(number(count)?);
    let run = Duration::from_millis(number(millis)?.into());
    let from = Instant::now() + run / 5;
    let answers = Rc::new(RefCell::new(Answers::default()));
    let active = Active {
        askers: (0..=count).map(|at| asker(at, if at == 0 { &large } else { &small })).collect(),
        path: load::method("traces"),
        from,
        answers: answers.clone(),
    };
    host::run(Box::new(active), || Instant::now() >= from + run)?;
    let mut answers = answers.borrow_mut();
    answers.small.sort_unstable();
    let found = &answers.small;
    let at = |share: usize| found.get((found.len() * share / 100).min(found.len().saturating_sub(1)));
    let ms = |d: Option<&Duration>| d.map_or(f64::NAN, |d| d.as_secs_f64() * 1000.0);
    let rate = |n: f64| n / run.as_secs_f64();
    println!(
        "{} {} {} {} {} {}",
        ms(at(50)),
        ms(at(99)),
        ms(found.last()),
        rate(found.len() as f64),
        rate(answers.large as f64),
        answers.failed
    );
    Ok(())
}
