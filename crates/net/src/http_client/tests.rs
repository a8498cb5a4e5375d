//! The client in a simulated network: servers with scripted responses, a proxy, and a virtual clock.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;

use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_http::Bytes;
use otelcore_pipeline::{
    Budget, Door, Endpoint, Graph, GraphBuilder, Listener, NoLog, Outcome, Receiver, StartError, World,
};
use otelcore_reactor::Sim;

use super::*;
use crate::settings::HttpClientDefaults;
use crate::tls::{ServerTls, TlsServer};

pub(crate) fn log() -> Logger {
    Logger::new(Arc::new(NoLog))
}

pub(crate) fn graph(receiver: impl Receiver + 'static) -> Graph {
    let mut builder = GraphBuilder::new(Arc::new(Budget::default()), log());
    builder.receiver("test".parse().unwrap(), Box::new(receiver));
    builder.build()
}

// ---- a server -------------------------------------------------------------------------------------------------------

/// How a request is answered.
#[derive(Clone)]
enum Answer {
    Say(String),
    /// Sends it, and ends the connection.
    Last(String),
    Later(Duration, String),
    /// Ends the connection without a response.
    Drop,
    Never,
}

fn ok(body: &str) -> Answer {
    Answer::Say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

#[derive(Default)]
struct Told {
    next: VecDeque<Answer>,
    usual: Option<Answer>,
    /// The number of the connection, and the whole request.
    seen: Vec<(usize, String)>,
    accepted: usize,
    ended: usize,
}

type Shared = Rc<RefCell<Told>>;

struct Server {
    port: u16,
    tls: Option<TlsServer>,
    loaded: Option<ServerTls>,
    told: Shared,
    listener: Option<Box<dyn Listener>>,
    streams: BTreeMap<usize, Guest>,
    late: BTreeMap<u64, (usize, String)>,
}

struct Guest {
    io: Box<dyn Stream>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    last: bool,
}

const LATE: u64 = 1 << 40;

fn server(port: u16) -> (Graph, Shared) {
    secure_server(port, None)
}

fn secure_server(port: u16, tls: Option<TlsServer>) -> (Graph, Shared) {
    let told = Shared::default();
    let (streams, late) = (BTreeMap::new(), BTreeMap::new());
    (graph(Server { port, tls, loaded: None, told: told.clone(), listener: None, streams, late }), told)
}

/// Takes the first complete request out of these bytes.
fn take_request(bytes: &mut Vec<u8>) -> Option<String> {
    let head = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    let length = text.split("content-length: ").nth(1).map_or(0, |l| l.lines().next().unwrap().parse().unwrap());
    if bytes.len() < head + length {
        return None;
    }
    Some(String::from_utf8(bytes.drain(..head + length).collect()).unwrap())
}

impl Server {
    fn serve(&mut self, cx: &mut Cx<'_>, number: usize) {
        let Some(guest) = self.streams.get_mut(&number) else { return };
        let mut buf = [0; 4096];
        let over = loop {
            match guest.io.read(&mut buf) {
                Ok(0) => break true,
                Ok(n) => guest.incoming.extend_from_slice(&buf[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break false,
                Err(_) => break true,
            }
        };
        while let Some(request) = take_request(&mut guest.incoming) {
            let mut told = self.told.borrow_mut();
            told.seen.push((number, request));
            let usual = told.usual.clone().unwrap_or_else(|| ok("fine"));
            match told.next.pop_front().unwrap_or(usual) {
                Answer::Say(text) => guest.outgoing.extend(text.into_bytes()),
                Answer::Last(text) => {
                    guest.outgoing.extend(text.into_bytes());
                    guest.last = true;
                }
                Answer::Later(after, text) => {
                    let key = LATE + self.late.len() as u64;
                    self.late.insert(key, (number, text));
                    cx.arm(key, cx.now() + after);
                }
                Answer::Drop => guest.last = true,
                Answer::Never => {}
            }
        }
        while let Ok(n @ 1..) = guest.io.write(&guest.outgoing) {
            guest.outgoing.drain(..n);
        }
        let _ = guest.io.flush();
        if over || guest.last && guest.outgoing.is_empty() {
            guest.io.shut_write();
            self.streams.remove(&number);
            self.told.borrow_mut().ended += 1;
        }
    }
}

impl Receiver for Server {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let at = Endpoint::Tcp { host: String::new(), port: self.port };
        self.listener = Some(cx.listen(0, &at).map_err(|e| StartError(e.to_string()))?);
        if let Some(tls) = &self.tls {
            self.loaded = Some(ServerTls::load(cx, tls, &[b"http/1.1"], log()).unwrap());
        }
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, _: &mut Door<'_>) {
        if let Some((number, text)) = self.late.get(&local).cloned() {
            if let Some(guest) = self.streams.get_mut(&number) {
                guest.outgoing.extend(text.into_bytes());
            }
            return self.serve(cx, number);
        }
        if local > 0 {
            return self.serve(cx, local as usize - 1);
        }
        loop {
            let number = self.told.borrow().accepted;
            let Some(Ok(io)) = self.listener.as_mut().map(|l| l.accept(number as u64 + 1)) else { return };
            let io: Box<dyn Stream> = match &mut self.loaded {
                Some(tls) => Box::new(tls.accept(cx, io).unwrap()),
                None => io,
            };
            self.told.borrow_mut().accepted += 1;
            let guest = Guest { io, incoming: Vec::new(), outgoing: Vec::new(), last: false };
            self.streams.insert(number, guest);
            self.serve(cx, number);
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: Mono) {}

    fn is_closed(&self) -> bool {
        true
    }
}

// ---- a proxy --------------------------------------------------------------------------------------------------------

/// One end of a tunnel, and the bytes that are to be written to it.
type Side = (Box<dyn Stream>, Vec<u8>);

/// Opens tunnels to any requested target, if the credentials are right.
pub(crate) struct TinyProxy {
    credentials: &'static str,
    asked: Rc<RefCell<Vec<String>>>,
    listener: Option<Box<dyn Listener>>,
    /// The ends of the tunnels: the client's, then the target's.
    pairs: Vec<[Option<Side>; 2]>,
    heads: Vec<Option<Vec<u8>>>,
}

pub(crate) fn proxy(credentials: &'static str) -> (Graph, Rc<RefCell<Vec<String>>>) {
    let asked = Rc::<RefCell<Vec<String>>>::default();
    let (pairs, heads) = (Vec::new(), Vec::new());
    (graph(TinyProxy { credentials, asked: asked.clone(), listener: None, pairs, heads }), asked)
}

impl TinyProxy {
    /// Reads from one side; false when it is over.
    fn pull(from: &mut Option<Side>, into: &mut Vec<u8>) -> bool {
        let mut buf = [0; 4096];
        while let Some((io, _)) = from {
            match io.read(&mut buf) {
                Ok(0) => return false,
                Ok(n) => into.extend_from_slice(&buf[..n]),
                Err(e) => return e.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }

    fn carry(&mut self, number: usize) {
        let [near, far] = &mut self.pairs[number];
        let (mut to_far, mut to_near) = (Vec::new(), Vec::new());
        let alive = Self::pull(near, &mut to_far) & Self::pull(far, &mut to_near);
        for (side, bytes) in [(near, to_near), (far, to_far)] {
            if let Some((io, waiting)) = side {
                waiting.extend(bytes);
                while let Ok(n @ 1..) = io.write(waiting) {
                    waiting.drain(..n);
                }
            }
        }
        if !alive {
            self.pairs[number] = [None, None];
        }
    }
}

impl Receiver for TinyProxy {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let at = Endpoint::Tcp { host: String::new(), port: 3128 };
        self.listener = Some(cx.listen(0, &at).map_err(|e| StartError(e.to_string()))?);
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, _: &mut Door<'_>) {
        while let Some(Ok(io)) = self.listener.as_mut().map(|l| l.accept(1 + self.pairs.len() as u64)) {
            self.pairs.push([Some((io, Vec::new())), None]);
            self.heads.push(Some(Vec::new()));
            cx.again(self.pairs.len() as u64);
        }
        let Some(number) = (local as usize).checked_sub(1) else { return };
        if let Event::Resolved(found) = event {
            let far = cx.connect(local, &PeerAddr::Ip(found.as_ref().unwrap()[0])).unwrap();
            self.pairs[number][1] = Some((far, Vec::new()));
            let (_, waiting) = self.pairs[number][0].as_mut().unwrap();
            waiting.extend(b"HTTP/1.1 200 Connection established\r\n\r\n");
        }
        let Some(head) = &mut self.heads[number] else { return self.carry(number) };
        Self::pull(&mut self.pairs[number][0], head);
        let Some(ask) = take_request(head) else { return };
        self.heads[number] = None;
        self.asked.borrow_mut().push(ask.clone());
        if ask.contains(self.credentials) {
            let to = ask.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap().to_owned();
            let (host, port) = to.rsplit_once(':').unwrap();
            cx.resolve(local, host, port.parse().unwrap());
        } else {
            let (_, waiting) = self.pairs[number][0].as_mut().unwrap();
            waiting.extend(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
            self.carry(number);
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: Mono) {}

    fn is_closed(&self) -> bool {
        true
    }
}

// ---- the client -----------------------------------------------------------------------------------------------------

/// For each result: the time in milliseconds, the token, and the status with the body, or the error.
type Heard = Rc<RefCell<Vec<(u64, u64, Result<(u16, String), CallError>)>>>;

struct Client {
    channel: HttpChannel,
    plan: Vec<(u64, Rc<Url>)>,
    patience: Duration,
    heard: Heard,
}

/// The first key of the channel; smaller keys are those of the plan.
const BASE: u64 = 1000;

struct Auth;

impl ClientAuth for Auth {
    fn headers(&self, cx: &mut Cx<'_>) -> Result<Vec<(String, String)>, String> {
        match cx.now().0 / 1_000_000_000 {
            0..5 => Ok(vec![("authorization".to_owned(), "Bearer t".to_owned())]),
            _ => Err("no token".to_owned()),
        }
    }
}

fn settings(yaml: &str) -> HttpClient {
    let d = Diagnostics::new();
    let node = from_yaml(&format!("{{{yaml}}}"), &d).unwrap();
    let mut s = Section::new(Some(&node), "client", &d);
    let settings =
        HttpClient::parse(&mut s, &HttpClientDefaults { compression: "none", timeout: otelcore_config::Dur::ZERO });
    s.finish();
    assert!(!d.has_errors(), "{}", d.to_text(false));
    settings
}

/// A client that sends requests to URLs at times in milliseconds, each with a timeout of ten seconds.
fn client(yaml: &str, plan: &[(u64, &str)]) -> (Graph, Heard) {
    client_with(yaml, plan, None)
}

fn client_with(yaml: &str, plan: &[(u64, &str)], auth: Option<Rc<dyn ClientAuth>>) -> (Graph, Heard) {
    let heard = Heard::default();
    let channel = HttpChannel::new(Rc::new(settings(yaml)), auth, log(), BASE);
    let plan = plan.iter().map(|(at, url)| (*at, Rc::new(Url::parse(url).unwrap()))).collect();
    (graph(Client { channel, plan, patience: Duration::from_secs(10), heard: heard.clone() }), heard)
}

impl Client {
    fn hear(&mut self, cx: &Cx<'_>) {
        while let Some((token, result)) = self.channel.poll_done() {
            let result = result.map(|r| (r.status, String::from_utf8(r.body.to_vec()).unwrap()));
            self.heard.borrow_mut().push((cx.now().0 / 1_000_000, token, result));
        }
    }
}

impl Receiver for Client {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let urls: Vec<&Url> = self.plan.iter().map(|(_, url)| &**url).collect();
        self.channel.start(cx, &urls)?;
        for (token, (at, _)) in (0..).zip(&self.plan) {
            cx.arm(token, Mono(at * 1_000_000));
        }
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, _: &mut Door<'_>) {
        if local < BASE {
            let url = self.plan[local as usize].1.clone();
            let body = [Bytes::from_static(b"tele"), Bytes::from_static(b"metry")].into_iter().collect();
            let by = cx.now() + self.patience;
            let new = NewRequest { url, content_type: "application/x-protobuf", content_encoding: None, body, by };
            self.channel.call(cx, local, new);
        } else {
            self.channel.event(cx, local, &event);
        }
        self.hear(cx);
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}

    fn close(&mut self, cx: &mut Cx<'_>, _: Mono) {
        self.channel.close(cx);
        self.hear(cx);
    }

    fn is_closed(&self) -> bool {
        true
    }
}

/// Runs one server called `h` on port 80 and one client for a minute.
fn story(yaml: &str, answers: Vec<Answer>, plan: &[(u64, &str)]) -> (Shared, Heard) {
    let mut sim = Sim::new(7);
    let (graph, told) = server(80);
    told.borrow_mut().next = answers.into();
    sim.node("h", graph).unwrap();
    let (graph, heard) = client(yaml, plan);
    sim.node("client", graph).unwrap();
    sim.run_for(Duration::from_secs(60));
    (told, heard)
}

fn fine(heard: &Heard) -> usize {
    heard.borrow().iter().filter(|(_, _, r)| matches!(r, Ok((200, _)))).count()
}

/// The error of the only request.
fn error(heard: &Heard) -> String {
    let heard = heard.borrow();
    assert_eq!(heard.len(), 1, "{heard:?}");
    heard[0].2.as_ref().unwrap_err().to_string()
}

const H: &str = "http://h/v1/traces";

// ---- connections ----------------------------------------------------------------------------------------------------

#[test]
fn requests_one_after_the_other_share_a_connection_and_a_look_up() {
    let (told, heard) = story("", vec![], &[(0, H), (100, H), (200, "http://H:80/v1/logs?x=y")]);
    assert_eq!((fine(&heard), told.borrow().accepted), (3, 1));
    assert_eq!(
        told.borrow().seen[0].1,
        format!(
            "POST /v1/traces HTTP/1.1\r\nHost: h\r\nUser-Agent: {USER_AGENT}\r\nContent-Type: application/x-protobuf\r\n\
             Content-Length: 9\r\n\r\ntelemetry"
        )
    );
    assert!(told.borrow().seen[2].1.starts_with("POST /v1/logs?x=y HTTP/1.1\r\nHost: H:80\r\n"));
}

#[test]
fn as_many_connections_as_requests_at_a_time_and_two_that_stay() {
    let (told, heard) = story("", vec![], &[(0, H), (0, H), (0, H), (5000, H), (5000, H), (5000, H)]);
    assert_eq!(fine(&heard), 6);
    // Three connections, of which one was closed after its request, so that the second round needed one new connection.
    assert_eq!((told.borrow().accepted, told.borrow().ended), (4, 2));
    let (told, _) = story("max_idle_conns: 1, max_idle_conns_per_host: 9", vec![], &[(0, H), (0, H), (0, H)]);
    assert_eq!((told.borrow().accepted, told.borrow().ended), (3, 2));
}

#[test]
fn above_the_limit_requests_wait_for_their_turn() {
    let slow = Answer::Later(Duration::from_secs(2), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned());
    let (told, heard) = story("max_conns_per_host: 1", vec![slow.clone(), slow], &[(0, H), (1, H), (2, H)]);
    assert_eq!((fine(&heard), told.borrow().accepted), (3, 1));
    assert_eq!(
        heard.borrow().iter().map(|(at, token, _)| (at / 1000, *token)).collect::<Vec<_>>(),
        [(2, 0), (4, 1), (4, 2)]
    );
    // A request without a response fails at its deadline, and the next one is sent.
    let (told, heard) = story("max_conns_per_host: 1", vec![Answer::Never], &[(0, H), (1000, H), (9000, H)]);
    let heard = heard.borrow();
    assert_eq!(
        heard.iter().map(|(at, _, r)| (at / 1000, r.is_ok())).collect::<Vec<_>>(),
        [(10, false), (10, true), (10, true)]
    );
    assert_eq!(told.borrow().accepted, 2);
}

#[test]
fn an_idle_connection_is_closed_when_its_time_is_over() {
    let (told, heard) = story("idle_conn_timeout: 5s", vec![], &[(0, H), (4000, H), (9500, H)]);
    assert_eq!((fine(&heard), told.borrow().accepted, told.borrow().ended), (3, 2, 2));
    let (told, heard) = story("disable_keep_alives: true", vec![], &[(0, H), (100, H)]);
    assert_eq!((fine(&heard), told.borrow().accepted, told.borrow().ended), (2, 2, 2));
    assert!(told.borrow().seen[0].1.contains("\r\nConnection: close\r\n"));
}

#[test]
fn a_server_that_closes_after_each_answer_is_asked_on_new_connections() {
    let polite = || Answer::Last("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned());
    let silent = || Answer::Last("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned());
    let until_close = || Answer::Last("HTTP/1.0 200 OK\r\n\r\nuntil the end".to_owned());
    let plan = [(0, H), (100, H), (200, H), (300, H)];
    let (told, heard) = story("", vec![polite(), silent(), until_close(), silent()], &plan);
    assert_eq!((fine(&heard), told.borrow().accepted, told.borrow().seen.len()), (4, 4, 4));
    assert_eq!(heard.borrow()[2].2, Ok((200, "until the end".to_owned())));
}

#[test]
fn a_request_that_met_a_closing_connection_is_repeated_once() {
    let (told, heard) = story("", vec![ok("1"), Answer::Drop], &[(0, H), (100, H)]);
    assert_eq!((fine(&heard), told.borrow().accepted, told.borrow().seen.len()), (2, 2, 3));
    // Another idle connection is not used: the server may have closed it too.
    let (told, heard) = story("", vec![ok("1"), ok("2"), Answer::Drop], &[(0, H), (0, H), (5000, H)]);
    assert_eq!((fine(&heard), told.borrow().accepted), (3, 3));
    let (told, heard) = story(
        "max_conns_per_host: 2",
        vec![ok("1"), ok("2"), Answer::Drop, Answer::Drop],
        &[(0, H), (0, H), (5000, H)],
    );
    assert_eq!((fine(&heard), told.borrow().accepted), (2, 3));
    // On a new connection the request is not repeated: the end of the connection is the server's response to it.
    let (told, heard) = story("", vec![Answer::Drop], &[(0, H)]);
    assert_eq!(error(&heard), "Post \"http://h/v1/traces\": EOF");
    assert_eq!(told.borrow().seen.len(), 1);
    let (told, heard) = story("", vec![ok("1"), Answer::Drop, Answer::Drop], &[(0, H), (100, H)]);
    assert_eq!((fine(&heard), told.borrow().seen.len()), (1, 3));
}

#[test]
fn every_address_is_tried_and_the_first_failure_is_told() {
    let run = |addresses: &[&str], answers: bool| {
        let mut sim = Sim::new(1);
        let (graph, _) = server(80);
        let node = sim.node("there", graph).unwrap();
        let (graph, _) = server(81);
        let refuses = sim.node("refuses", graph).unwrap();
        let ip = |name: &&str| match *name {
            "there" => sim.address(node),
            "refuses" => sim.address(refuses),
            void => void.parse::<IpAddr>().unwrap(),
        };
        let ips = addresses.iter().map(ip).collect();
        sim.set_name("h", Ok(ips));
        let (graph, heard) = client("", &[(0, H)]);
        sim.node("client", graph).unwrap();
        sim.run_for(Duration::from_secs(60));
        assert_eq!(fine(&heard) == 1, answers, "{heard:?}");
        let at = heard.borrow()[0].0;
        (at / 1000, if answers { String::new() } else { error(&heard) })
    };
    assert_eq!(run(&["refuses", "there"], true).0, 0);
    // Each of the two addresses gets half of the ten seconds.
    assert_eq!(run(&["10.9.9.9", "there"], true).0, 5);
    let dial = |why: &str| format!("Post \"http://h/v1/traces\": dial tcp {why}");
    assert_eq!(run(&["refuses"], false), (0, dial("10.0.0.2:80: connect: connection refused")));
    assert_eq!(run(&["10.9.9.9", "refuses"], false), (5, dial("10.9.9.9:80: i/o timeout")));
    assert_eq!(
        run(&["10.9.9.9"], false),
        (
            10,
            "Post \"http://h/v1/traces\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                .to_owned()
        )
    );
}

#[test]
fn a_name_that_is_not_known_fails_all_who_wait_for_it() {
    let url = "http://nohost/";
    let (_, heard) = story("", vec![], &[(0, url), (0, url), (1000, url)]);
    assert_eq!(heard.borrow().len(), 3);
    for (_, _, result) in heard.borrow().iter() {
        let error = result.as_ref().unwrap_err();
        assert_eq!(
            (error.fault, error.to_string().as_str()),
            (Fault::Network, "Post \"http://nohost\": dial tcp: lookup nohost: no such host")
        );
    }
}

#[test]
fn an_answer_that_does_not_come_is_given_up_in_time_and_its_connection_with_it() {
    let (told, heard) = story("", vec![Answer::Never], &[(0, H), (20_000, H)]);
    let (at, _, result) = heard.borrow()[0].clone();
    assert_eq!((at, result.unwrap_err().fault), (10_000, Fault::Timeout));
    assert_eq!((fine(&heard), told.borrow().accepted), (1, 2));
}

#[test]
fn closing_fails_what_is_under_way() {
    let mut sim = Sim::new(2);
    let (graph, told) = server(80);
    told.borrow_mut().usual = Some(Answer::Never);
    sim.node("h", graph).unwrap();
    let (graph, heard) = client("max_conns_per_host: 1", &[(0, H), (0, H)]);
    let node = sim.node("client", graph).unwrap();
    sim.run_for(Duration::from_secs(1));
    sim.close(node, Duration::from_secs(1));
    assert_eq!(heard.borrow().iter().filter(|(_, _, r)| r.as_ref().unwrap_err().fault == Fault::Closed).count(), 2);
    sim.run_for(Duration::from_secs(1));
    assert_eq!(told.borrow().ended, 1);
}

// ---- exchanges ------------------------------------------------------------------------------------------------------

#[test]
fn bodies_come_in_chunks_and_the_first_64_kib_are_kept() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntele\r\n5\r\nmetry\r\n0\r\n\r\n";
    let (told, heard) = story("", vec![Answer::Say(chunked.to_owned()), ok(&"x".repeat(100_000))], &[(0, H), (9, H)]);
    assert_eq!(heard.borrow()[0].2, Ok((200, "telemetry".to_owned())));
    assert_eq!(heard.borrow()[1].2.as_ref().unwrap().1.len(), 64 << 10);
    assert_eq!(told.borrow().accepted, 1);
}

#[test]
fn configured_headers_replace_ours_and_the_authenticator_has_the_last_word() {
    let yaml = "headers: {Content-Type: a/b, user-agent: me, HOST: other, x-api-key: k, Content-Length: '3', authorization: mine}";
    let (told, heard) = story(yaml, vec![], &[(0, "http://u:p@h/")]);
    assert_eq!(fine(&heard), 1);
    let head = "POST / HTTP/1.1\r\nHost: other\r\nUser-Agent: me\r\nContent-Type: a/b\r\nAuthorization: mine\r\n\
                X-Api-Key: k\r\nContent-Length: 9\r\n\r\n";
    assert_eq!(told.borrow().seen[0].1, format!("{head}telemetry"));
    let mut sim = Sim::new(7);
    let (graph, told) = server(80);
    sim.node("h", graph).unwrap();
    let (graph, heard) = client_with("headers: {authorization: mine}", &[(0, H), (6000, H)], Some(Rc::new(Auth)));
    sim.node("client", graph).unwrap();
    sim.run_for(Duration::from_secs(60));
    assert!(told.borrow().seen[0].1.contains("\r\nAuthorization: Bearer t\r\n"));
    let refused = heard.borrow()[1].2.clone().unwrap_err();
    assert_eq!(
        (refused.fault, refused.to_string()),
        (Fault::Request, "Post \"http://h/v1/traces\": no token".to_owned())
    );
}

fn to(status: u16, location: &str) -> Answer {
    Answer::Say(format!("HTTP/1.1 {status} Go\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"))
}

#[test]
fn redirects_that_keep_a_post_are_followed_and_secrets_stay_at_home() {
    let mut sim = Sim::new(3);
    let (graph, told) = server(80);
    told.borrow_mut().next = [to(307, "/a"), to(308, "http://elsewhere/b"), ok(""), ok("moved?")].into();
    sim.node("h", graph).unwrap();
    let (graph, other) = server(80);
    other.borrow_mut().next = [to(307, "http://h/back")].into();
    sim.node("elsewhere", graph).unwrap();
    let yaml = "headers: {authorization: secret, cookie: a=b, x: y}";
    let (graph, heard) = client(yaml, &[(0, H)]);
    sim.node("client", graph).unwrap();
    sim.run_for(Duration::from_secs(9));
    assert_eq!(fine(&heard), 1);
    let seen: Vec<_> = told.borrow().seen.iter().chain(&other.borrow().seen).map(|(_, text)| text.clone()).collect();
    let lines: Vec<_> = seen.iter().map(|s| s.split(" HTTP").next().unwrap()).collect();
    assert_eq!(lines, ["POST /v1/traces", "POST /a", "POST /back", "POST /b"]);
    assert!(seen.iter().all(|s| s.ends_with("telemetry") && s.contains("X: y")));
    let secrets: Vec<_> = seen.iter().map(|s| s.contains("secret") && s.contains("a=b")).collect();
    // Not even if the other host redirects the request back.
    assert_eq!(secrets, [true, true, false, false]);
}

#[test]
fn redirects_end_and_those_that_would_drop_the_body_are_answers() {
    let (told, heard) = story("", (0..20).map(|i| to(307, &format!("/{i}"))).collect(), &[(0, H)]);
    assert_eq!(error(&heard), "Post \"http://h/9\": stopped after 10 redirects");
    assert_eq!(told.borrow().seen.len(), 10);
    for status in [301, 302, 303] {
        let (told, heard) = story("", vec![to(status, "/x")], &[(0, H)]);
        assert_eq!((told.borrow().seen.len(), heard.borrow()[0].2.as_ref().unwrap().0), (1, status));
    }
    let (_, heard) = story("", vec![to(307, "ftp://x")], &[(0, H)]);
    assert!(error(&heard).contains("failed to parse Location header \"ftp://x\": unsupported protocol scheme"));
}

#[test]
fn cookies_are_kept_only_when_they_are_wanted() {
    let set = || {
        Answer::Say(
            "HTTP/1.1 200 OK\r\nSet-Cookie: id=7; Path=/\r\nset-cookie: b=8\r\nContent-Length: 0\r\n\r\n".to_owned(),
        )
    };
    let (told, _) = story("cookies: {enabled: true}", vec![set()], &[(0, H), (100, H), (200, "http://h/")]);
    let seen =
        |told: &Shared, cookie: &str| told.borrow().seen.iter().map(|(_, s)| s.contains(cookie)).collect::<Vec<_>>();
    assert_eq!(seen(&told, "\r\nCookie: b=8; id=7\r\n"), [false, true, false]);
    assert_eq!(seen(&told, "\r\nCookie: id=7\r\n"), [false, false, true]);
    let (told, _) = story("", vec![set()], &[(0, H), (100, H)]);
    assert_eq!(seen(&told, "Cookie"), [false, false]);
}

// ---- TLS and proxies ------------------------------------------------------------------------------------------------

/// A server's TLS settings, and the authority that a client must trust, as YAML.
fn certificate(name: &str) -> (TlsServer, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let d = Diagnostics::new();
    let yaml = format!("tls: {{cert_pem: {cert:?}, key_pem: {:?}}}", key.serialize_pem());
    let node = from_yaml(&yaml, &d).unwrap();
    let tls = TlsServer::parse(&mut Section::new(Some(&node), "server", &d)).unwrap();
    (tls, format!("{cert:?}"))
}

#[test]
fn https_has_its_own_connections_and_an_unknown_authority_is_an_error() {
    let (tls, ca) = certificate("h");
    for (yaml, known) in
        [(format!("tls: {{ca_pem: {ca}}}"), true), (format!("tls: {{ca_pem: {}}}", certificate("x").1), false)]
    {
        let mut sim = Sim::new(4);
        sim.set_window(500);
        let (graph, told) = secure_server(443, Some(tls.clone()));
        sim.node("h", graph).unwrap();
        let (graph, heard) = client(&yaml, &[(0, "https://h/x"), (1000, "https://h/x")]);
        sim.node("client", graph).unwrap();
        sim.run_for(Duration::from_secs(60));
        if known {
            assert_eq!((fine(&heard), told.borrow().accepted), (2, 1), "{heard:?}");
        } else {
            let text = heard.borrow()[0].2.as_ref().unwrap_err().to_string();
            assert!(text.starts_with("Post \"https://h/x\": tls: "), "{text}");
            assert_eq!((heard.borrow().len(), told.borrow().seen.len()), (2, 0));
        }
    }
}

#[test]
fn a_handshake_that_does_not_end_is_given_up() {
    let mut sim = Sim::new(4);
    let (graph, _) = server(443);
    sim.node("h", graph).unwrap();
    let (graph, heard) = {
        let heard = Heard::default();
        let channel = HttpChannel::new(Rc::new(settings("")), None, log(), BASE);
        let plan = vec![(0, Rc::new(Url::parse("https://h/").unwrap()))];
        (graph_of(channel, plan, Duration::from_secs(40), &heard), heard)
    };
    sim.node("client", graph).unwrap();
    sim.run_for(Duration::from_secs(60));
    assert_eq!(error(&heard), "Post \"https://h\": net/http: TLS handshake timeout");
    assert_eq!(heard.borrow()[0].0 / 1000, 10);
}

fn graph_of(channel: HttpChannel, plan: Vec<(u64, Rc<Url>)>, patience: Duration, heard: &Heard) -> Graph {
    graph(Client { channel, plan, patience, heard: heard.clone() })
}

#[test]
fn a_proxy_gets_plain_requests_whole() {
    let mut sim = Sim::new(5);
    let (graph, told) = server(3128);
    sim.node("proxy", graph).unwrap();
    let (graph, heard) =
        client("proxy_url: 'http://u:p@proxy:3128'", &[(0, "http://far:4318/v1/traces?q"), (100, "http://far:4318/x")]);
    sim.node("client", graph).unwrap();
    sim.run_for(Duration::from_secs(60));
    assert_eq!((fine(&heard), told.borrow().accepted), (2, 1));
    let seen = told.borrow().seen[0].1.clone();
    assert!(seen.starts_with("POST http://far:4318/v1/traces?q HTTP/1.1\r\nHost: far:4318\r\n"), "{seen}");
    assert!(seen.contains("\r\nProxy-Authorization: Basic dTpw\r\n"), "{seen}");
}

#[test]
fn a_proxy_may_want_tls_itself() {
    let mut sim = Sim::new(5);
    let (tls, ca) = certificate("proxy");
    let (graph, told) = secure_server(3128, Some(tls));
    sim.node("proxy", graph).unwrap();
    // `server_name_override` applies to the certificate of the target server, not to the proxy's.
    let yaml = format!("proxy_url: 'https://proxy:3128', tls: {{ca_pem: {ca}, server_name_override: far}}");
    let (graph, heard) = client(&yaml, &[(0, "http://far/x"), (100, "http://far/x")]);
    sim.node("client", graph).unwrap();
    sim.run_for(Duration::from_secs(60));
    assert_eq!((fine(&heard), told.borrow().accepted), (2, 1), "{heard:?}");
    assert!(told.borrow().seen[0].1.starts_with("POST http://far/x HTTP/1.1\r\nHost: far\r\n"));
}

#[test]
fn a_proxy_that_is_not_there_says_that_it_is_the_proxy() {
    let mut sim = Sim::new(5);
    let (graph, _) = server(1);
    sim.node("proxy", graph).unwrap();
    let (graph, heard) = client("proxy_url: 'http://proxy:3128'", &[(0, H)]);
    sim.node("client", graph).unwrap();
    sim.run_for(Duration::from_secs(60));
    let why = "proxyconnect tcp: dial tcp 10.0.0.1:3128: connect: connection refused";
    assert_eq!(error(&heard), format!("Post \"http://h/v1/traces\": {why}"));
}

#[test]
fn proxy_url_with_an_unknown_scheme_is_a_mistake_of_the_configuration() {
    let d = Diagnostics::new();
    let node = from_yaml("proxy_url: 'socks5://proxy:1'", &d).unwrap();
    for unused in [false, true] {
        let d = Diagnostics::new();
        let mut s = Section::new(Some(&node), "client", &d);
        if unused {
            s.set_unused();
        }
        let defaults = HttpClientDefaults { compression: "none", timeout: otelcore_config::Dur::ZERO };
        let _ = HttpClient::parse(&mut s, &defaults);
        let _ = s.finish();
        assert_eq!((d.has_errors(), d.len()), (!unused, 1));
        assert!(d.to_text(false).contains("proxies with \"socks5\" are not supported"), "{}", d.to_text(false));
    }
}

#[test]
fn https_goes_through_a_tunnel() {
    for seed in 0..20 {
        let mut sim = Sim::new(seed);
        let (tls, ca) = certificate("h");
        let (graph, told) = secure_server(443, Some(tls));
        sim.node("h", graph).unwrap();
        let (graph, asked) = proxy("Basic dTpw");
        sim.node("proxy", graph).unwrap();
        let yaml = |user: &str| format!("proxy_url: 'http://{user}@proxy:3128', tls: {{ca_pem: {ca}}}");
        let (graph, heard) = client(&yaml("u:p"), &[(0, "https://h/x"), (1000, "https://h/x")]);
        sim.node("client", graph).unwrap();
        let (graph, refused) = client(&yaml("nobody:x"), &[(0, "https://h/x")]);
        sim.node("stranger", graph).unwrap();
        sim.run_for(Duration::from_secs(60));
        assert_eq!((fine(&heard), told.borrow().accepted), (2, 1), "seed {seed}: {heard:?}");
        assert!(told.borrow().seen[0].1.starts_with("POST /x HTTP/1.1\r\nHost: h\r\n"));
        assert!(!told.borrow().seen[0].1.contains("Proxy"));
        assert!(asked.borrow()[0].starts_with("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n"));
        let why = "Post \"https://h/x\": proxy: CONNECT h:443: 407 Proxy Authentication Required";
        assert_eq!(error(&refused), why, "seed {seed}");
    }
}

// ---- the real world -------------------------------------------------------------------------------------------------

#[test]
fn on_a_real_machine_a_connection_is_made_kept_and_refused() {
    #[expect(clippy::disallowed_types, reason = "a port that is free, and one that is not any more")]
    let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (open, shut) = (port(), port());
    let told = Shared::default();
    let heard = Heard::default();
    let mut plan = Vec::new();
    for (at, port) in [(0, open), (50, open), (60, shut)] {
        plan.push((at, Rc::new(Url::parse(&format!("http://localhost:{port}/")).unwrap())));
    }
    let channel = HttpChannel::new(Rc::new(settings("")), None, log(), BASE);
    let (streams, late) = (BTreeMap::new(), BTreeMap::new());
    let server = Server { port: open, tls: None, loaded: None, told: told.clone(), listener: None, streams, late };
    let client = Client { channel, plan, patience: Duration::from_secs(10), heard: heard.clone() };
    let mut builder = GraphBuilder::new(Arc::new(Budget::default()), log());
    builder.receiver("server".parse().unwrap(), Box::new(server));
    builder.receiver("client".parse().unwrap(), Box::new(client));
    let mut world = otelcore_reactor::Real::new().unwrap();
    let mut graph = builder.build();
    graph.start(&mut world).unwrap();
    let mut runner = otelcore_reactor::Runner::new(world, graph);
    let until = runner.world().now() + Duration::from_secs(20);
    while heard.borrow().len() < 3 && runner.world().now() < until {
        runner.turn(until, &mut Vec::new()).unwrap();
    }
    assert_eq!((fine(&heard), told.borrow().accepted), (2, 1), "{heard:?}");
    let refused = heard.borrow()[2].2.clone().unwrap_err().to_string();
    assert!(refused.starts_with(&format!("Post \"http://localhost:{shut}\": dial tcp ")), "{refused}");
    assert!(refused.ends_with(&format!(":{shut}: connect: connection refused")), "{refused}");
}
