//! The load over HTTP/1.1: equal requests on persistent connections, one in flight on each; responses are counted.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use otelcore::pipeline::{Cx, Event, Extension, PeerAddr, StartError, Stream};
use otelcore_http::h1::client::{H1ClientConn, H1ClientConnConfig, OutgoingRequest};
use otelcore_http::{Coding, Workspace};

use crate::grpc_load::ResponseCounts;
use crate::{component_loop, measure, telemetry};

struct HttpLoad {
    address: SocketAddr,
    host: String,
    target: &'static str,
    coding: Coding,
    bodies: Vec<Bytes>,
    config: Rc<H1ClientConnConfig>,
    conns: Vec<Option<H1ClientConn<Box<dyn Stream>>>>,
    remaining: u64,
    sent: u64,
    counts: Rc<ResponseCounts>,
}

impl HttpLoad {
    fn connect(&mut self, cx: &mut Cx<'_>, index: usize) -> Result<(), StartError> {
        let stream = cx.connect(index as u64, &PeerAddr::Ip(self.address))?;
        self.conns[index] = Some(H1ClientConn::new(stream, self.config.clone(), cx.now().0));
        Ok(())
    }

    /// Runs a turn of a connection, counts its response and begins the next request.
    fn turn(&mut self, cx: &mut Cx<'_>, index: usize) {
        let now = cx.now().0;
        let Some(Some(conn)) = self.conns.get_mut(index) else { return };
        let mut turn = conn.poll(now);
        loop {
            while let Some(done) = conn.poll_response() {
                self.counts.count(done.is_ok_and(|reply| reply.status == 200));
            }
            if turn.closed || self.remaining == 0 || !conn.can_start() {
                break;
            }
            let coding = (!self.coding.is_identity()).then(|| ("Content-Encoding", self.coding.name()));
            let headers = [("Host", self.host.as_str()), ("Content-Type", "application/x-protobuf")];
            let body = self.bodies[(self.sent % self.bodies.len() as u64) as usize].clone();
            let request = OutgoingRequest {
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
            self.remaining -= 1;
            let work_left = turn.poll_again;
            turn = conn.flush(now);
            turn.poll_again |= work_left;
        }
        if turn.closed && self.remaining > 0 {
            let _ = self.connect(cx, index);
            cx.request_ready(index as u64);
        } else if turn.poll_again {
            cx.request_ready(index as u64);
        }
    }
}

impl Extension for HttpLoad {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        for index in 0..self.conns.len() {
            self.connect(cx, index)?;
            self.turn(cx, index);
        }
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>) {
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
    measure::pin_to_core(1);
    let coding = telemetry::coding(coding)?;
    let workspace = Workspace::new();
    let bodies = telemetry::bodies(signal, items).into_iter();
    let counts = Rc::new(ResponseCounts::default());
    let load = HttpLoad {
        address: endpoint.parse().map_err(|e| format!("{endpoint}: {e}"))?,
        host: endpoint.clone(),
        target: if signal == "traces" { "/v1/traces" } else { "/v1/metrics" },
        bodies: bodies.map(|body| workspace.compress(&coding, [&body[..]])).collect(),
        coding,
        config: Rc::new(H1ClientConnConfig::default()),
        conns: (0..number(conns)?).map(|_| None).collect(),
        remaining: requests,
        sent: 0,
        counts: counts.clone(),
    };
    component_loop::run(Box::new(load), || counts.total() >= requests)?;
    println!("{} {}", counts.ok.get(), counts.failed.get());
    Ok(())
}
