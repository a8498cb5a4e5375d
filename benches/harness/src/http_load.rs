//! The load over HTTP/1.1: equal requests on persistent connections, one in flight on each; answers are counted.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use otelcore::pipeline::{Cx, Event, Extension, PeerAddr, StartError, Stream};
use otelcore_http::h1::client::{ClientConfig, ClientConn, Outgoing};
use otelcore_http::{Coding, Workspace};

use crate::load::Tally;
use crate::{host, measure, telemetry};

struct Load {
    to: SocketAddr,
    host: String,
    target: &'static str,
    coding: Coding,
    bodies: Vec<Bytes>,
    config: Rc<ClientConfig>,
    conns: Vec<Option<ClientConn<Box<dyn Stream>>>>,
    left: u64,
    sent: u64,
    tally: Rc<Tally>,
}

impl Load {
    fn connect(&mut self, cx: &mut Cx<'_>, at: usize) -> Result<(), StartError> {
        let stream = cx.connect(at as u64, &PeerAddr::Ip(self.to)).map_err(|e| StartError(e.to_string()))?;
        self.conns[at] = Some(ClientConn::new(stream, self.config.clone(), cx.now().0));
        Ok(())
    }

    /// Runs a turn of a connection, counts its answer and begins the next request.
    fn turn(&mut self, cx: &mut Cx<'_>, at: usize) {
        let now = cx.now().0;
        let Some(Some(conn)) = self.conns.get_mut(at) else { return };
        let mut turn = conn.turn(now);
        loop {
            while let Some(done) = conn.poll_done() {
                self.tally.count(done.is_ok_and(|reply| reply.status == 200));
            }
            if turn.closed || self.left == 0 || !conn.can_start() {
                break;
            }
            let coding = (!self.coding.is_identity()).then(|| ("Content-Encoding", self.coding.name()));
            let headers = [("Host", self.host.as_str()), ("Content-Type", "application/x-protobuf")];
            let body = self.bodies[(self.sent % self.bodies.len() as u64) as usize].clone();
            let request = Outgoing {
                method: "POST",
                target: self.target,
                headers: headers.into_iter().chain(coding),
                body: [body],
                deadline: None,
            };
            if conn.start(now, request).is_err() {
                break;
            }
            self.sent += 1;
            self.left -= 1;
            let again = turn.again;
            turn = conn.flush(now);
            turn.again |= again;
        }
        if turn.closed && self.left > 0 {
            let _ = self.connect(cx, at);
            cx.again(at as u64);
        } else if turn.again {
            cx.again(at as u64);
        }
    }
}

impl Extension for Load {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        for at in 0..self.conns.len() {
            self.connect(cx, at)?;
            self.turn(cx, at);
        }
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>) {
        self.turn(cx, local as usize);
    }
}

/// `http-load ENDPOINT traces|metrics ITEMS REQUESTS CONNECTIONS CODING`
pub(crate) fn main(args: &[String]) -> Result<(), String> {
    let [endpoint, signal, items, requests, conns, coding] = args else {
        return Err("http-load: six arguments".to_owned());
    };
    let number = |text: &String| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
    let items = u32::try_from(number(items)?).map_err(|e| e.to_string())?;
    let requests = number(requests)?;
    measure::pin(1);
    let coding = telemetry::coding(coding)?;
    let workspace = Workspace::new();
    let packed = telemetry::bodies(signal, items).into_iter();
    let tally = Rc::new(Tally::default());
    let load = Load {
        to: endpoint.parse().map_err(|e| format!("{endpoint}: {e}"))?,
        host: endpoint.clone(),
        target: if signal == "traces" { "/v1/traces" } else { "/v1/metrics" },
        bodies: packed.map(|body| workspace.compress(&coding, [&body[..]])).collect(),
        coding,
        config: Rc::new(ClientConfig::default()),
        conns: (0..number(conns)?).map(|_| None).collect(),
        left: requests,
        sent: 0,
        tally: tally.clone(),
    };
    host::run(Box::new(load), || tally.total() >= requests)?;
    println!("{} {}", tally.ok.get(), tally.failed.get());
    Ok(())
}
