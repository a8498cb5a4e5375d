//! A channel through a proxy, in a simulated network.

use std::cell::RefCell;

use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_http::grpc::server::{CallHead, Gate, ServerConfig, ServerConn};
use otelcore_pipeline::{Door, Endpoint, Outcome, Receiver};
use otelcore_reactor::Sim;

use super::*;
use crate::Acceptor;
use crate::http_client::tests::{graph, log, proxy};
use crate::settings::GrpcClientDefaults;

/// Answers every call with its message.
struct Echo {
    acceptor: Option<Acceptor<ServerConn<Box<dyn Stream>, ()>>>,
    config: Rc<ServerConfig>,
}

struct Open;

impl Gate for Open {
    type Permit = ();

    fn route(&mut self, _: &str) -> Result<u32, Status> {
        Ok(0)
    }
    fn open(&mut self, _: &CallHead, _: usize) -> Result<(), Status> {
        Ok(())
    }
    fn grow(&mut self, (): &mut (), _: u64) -> Result<(), Status> {
        Ok(())
    }
}

impl Receiver for Echo {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let listener = cx.listen(0, &Endpoint::Tcp { host: String::new(), port: 4317 });
        self.acceptor = Some(Acceptor::new(listener.map_err(|e| StartError(e.to_string()))?, 0));
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, _: &mut Door<'_>) {
        let Some(acceptor) = &mut self.acceptor else { return };
        let config = &self.config;
        let make = |cx: &mut Cx<'_>, stream| Some(ServerConn::new(stream, config.clone(), cx.now().0, cx.rand()));
        for slot in acceptor.event(cx, local, &event, make) {
            let Some((conn, serial)) = acceptor.get(slot) else { continue };
            let turn = conn.turn(cx.now().0, &mut Open);
            while let Some(call) = acceptor.get(slot).and_then(|(conn, _)| conn.poll_call()) {
                if let Some(conn) = acceptor.answer(slot, serial) {
                    conn.reply_ok(call.id, call.message);
                }
            }
            acceptor.after(cx, slot, &turn);
            acceptor.flush(cx);
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: Mono) {}

    fn is_closed(&self) -> bool {
        true
    }
}

/// The results of very many calls, and the largest number of results in one event.
#[derive(Default)]
struct Tally {
    delivered: usize,
    failed: usize,
    most: usize,
    events: usize,
}

/// Makes very many calls at once.
struct Crowd {
    channel: Channel,
    count: u64,
    by: Duration,
    tally: Rc<RefCell<Tally>>,
}

impl Crowd {
    fn collect(&mut self) {
        let mut tally = self.tally.borrow_mut();
        let mut here = 0;
        while let Some((_, result)) = self.channel.poll_done() {
            here += 1;
            match result {
                Ok(_) => tally.delivered += 1,
                Err(_) => tally.failed += 1,
            }
        }
        tally.events += 1;
        tally.most = tally.most.max(here);
    }
}

impl Receiver for Crowd {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.channel.start(cx)?;
        for token in 0..self.count {
            let message = std::iter::once(Bytes::from_static(b"hello")).collect();
            let new = NewCall { path: PathAndQuery::from_static("/x/Y"), message, by: cx.now() + self.by };
            self.channel.call(cx, token, new);
        }
        self.collect();
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, _: &mut Door<'_>) {
        self.channel.event(cx, local, &event);
        self.collect();
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: Mono) {}

    fn is_closed(&self) -> bool {
        true
    }
}

/// Makes `count` calls to `peer`, each with the deadline `by`. At `far:4317` a server answers; at other ports there is
/// no server.
fn crowd(count: u64, peer: &str, by: Duration) -> Rc<RefCell<Tally>> {
    let mut sim = Sim::new(7);
    sim.node("far", graph(Echo { acceptor: None, config: Rc::new(ServerConfig::default()) })).unwrap();
    let d = Diagnostics::new();
    let node = from_yaml(&format!("{{endpoint: '{peer}', tls: {{insecure: true}}}}"), &d).unwrap();
    let defaults = GrpcClientDefaults {
        empty_endpoint: "",
        compression: "none",
        balancer: Balancer::RoundRobin,
        tls_keys_outside: false,
    };
    let settings = GrpcClient::parse(&mut Section::new(Some(&node), "client", &d), &defaults).unwrap();
    let channel = Channel::new(Rc::new(settings), None, log(), 0);
    let tally = Rc::new(RefCell::new(Tally::default()));
    sim.node("client", graph(Crowd { channel, count, by, tally: tally.clone() })).unwrap();
    sim.run_for(Duration::from_secs(60));
    tally
}

#[test]
fn very_many_calls_are_begun_over_many_turns_and_all_end() {
    let tally = crowd(20_000, "far:4317", Duration::from_secs(50));
    let tally = tally.borrow();
    assert_eq!((tally.delivered, tally.failed), (20_000, 0));
    assert!(tally.most <= 4096, "{} ended in one event", tally.most);
}

#[test]
fn very_many_calls_without_a_peer_fail_a_few_in_each_turn() {
    let tally = crowd(5000, "far:1", Duration::from_secs(50));
    let tally = tally.borrow();
    assert_eq!((tally.delivered, tally.failed), (0, 5000));
    assert!(tally.most <= 2 * CALLS_A_TURN, "{} ended in one event", tally.most);
}

#[test]
fn very_many_calls_that_wait_for_a_name_end_at_their_deadline_a_few_in_each_turn() {
    // The deadline has passed before the name is resolved.
    let tally = crowd(5000, "far:4317", Duration::ZERO);
    let tally = tally.borrow();
    assert_eq!(tally.delivered + tally.failed, 5000);
    assert!(tally.most <= 2 * CALLS_A_TURN, "{} ended in one event", tally.most);
}

type Heard = Rc<RefCell<Vec<Result<Bytes, Status>>>>;

/// Makes one call at the start.
struct Caller {
    channel: Channel,
    heard: Heard,
}

impl Receiver for Caller {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.channel.start(cx)?;
        let message = std::iter::once(Bytes::from_static(b"hello")).collect();
        let new = NewCall { path: PathAndQuery::from_static("/x/Y"), message, by: cx.now() + Duration::from_secs(9) };
        self.channel.call(cx, 0, new);
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, _: &mut Door<'_>) {
        self.channel.event(cx, local, &event);
        self.heard.borrow_mut().extend(std::iter::from_fn(|| self.channel.poll_done()).map(|(_, result)| result));
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: Mono) {}

    fn is_closed(&self) -> bool {
        true
    }
}

fn through(seed: u64, proxy_url: &str) -> (Vec<String>, Vec<Result<Bytes, Status>>) {
    let mut sim = Sim::new(seed);
    sim.set_window(60);
    sim.node("far", graph(Echo { acceptor: None, config: Rc::new(ServerConfig::default()) })).unwrap();
    let (proxy_graph, asked) = proxy("Basic dTpw");
    sim.node("proxy", proxy_graph).unwrap();
    let d = Diagnostics::new();
    let node = from_yaml("{endpoint: 'far:4317', tls: {insecure: true}}", &d).unwrap();
    let defaults = GrpcClientDefaults {
        empty_endpoint: "",
        compression: "none",
        balancer: Balancer::RoundRobin,
        tls_keys_outside: false,
    };
    let settings = GrpcClient::parse(&mut Section::new(Some(&node), "client", &d), &defaults).unwrap();
    let mut channel = Channel::new(Rc::new(settings), None, log(), 0);
    channel.proxies = Proxies::fixed(Proxy::parse(proxy_url).unwrap());
    let heard = Heard::default();
    sim.node("client", graph(Caller { channel, heard: heard.clone() })).unwrap();
    sim.run_for(Duration::from_secs(10));
    let heard = heard.borrow().clone();
    let asked = asked.borrow().clone();
    (asked, heard)
}

#[test]
fn a_call_in_plaintext_goes_through_a_tunnel() {
    for seed in 0..50 {
        let (asked, heard) = through(seed, "http://u:p@proxy:3128");
        assert_eq!(heard, [Ok(Bytes::from_static(b"hello"))], "seed {seed}");
        assert_eq!(asked.len(), 1);
        assert!(asked[0].starts_with("CONNECT far:4317 HTTP/1.1\r\nHost: far:4317\r\n"), "{}", asked[0]);
    }
}

#[test]
fn a_refusal_of_the_proxy_is_told() {
    let (asked, heard) = through(1, "http://proxy:3128");
    let status = heard[0].as_ref().unwrap_err();
    assert_eq!(status.code, Code::Unavailable);
    assert_eq!(
        status.message,
        "connection error: desc = \"transport: Error while dialing: proxy: CONNECT far:4317: 407 Proxy Authentication Required\""
    );
    assert!(!asked.is_empty());
}
