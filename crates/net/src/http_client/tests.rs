//! The client in a simulated network: servers with scripted responses, a proxy, and a virtual clock.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;

use http::Method;
use otelcore_config::declare::Config;
use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_http::Bytes;
use otelcore_pipeline::{
    Budget, CredentialsUnavailable, Endpoint, Graph, GraphBuilder, Listener, NoopLogSink, Outcome, PeerAddr,
    PipelineInput, Receiver, StartError, Stream, World,
};
use otelcore_reactor::Sim;

use super::*;
use crate::USER_AGENT;
use crate::tls::{TlsAcceptor, TlsServerConfig};

pub(crate) fn log() -> Logger {
    Logger::new(Arc::new(NoopLogSink))
}

pub(crate) fn graph(receiver: impl Receiver + 'static) -> Graph {
    let mut builder = GraphBuilder::new(Arc::new(Budget::default()), log());
    builder.add_receiver("test".parse().unwrap(), Box::new(receiver));
    builder.build()
}

// ---- a server -------------------------------------------------------------------------------------------------------

/// How the server responds to a request.
#[derive(Clone)]
pub(crate) enum ScriptedResponse {
    Send(String),
    /// Sends it, and ends the connection.
    SendAndClose(String),
    SendAfter(Duration, String),
    /// Ends the connection without a response.
    Close,
    Never,
}

pub(crate) fn ok_response(body: &str) -> ScriptedResponse {
    ScriptedResponse::Send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

#[derive(Default)]
pub(crate) struct ServerRecord {
    pub(crate) scripted: VecDeque<ScriptedResponse>,
    default_response: Option<ScriptedResponse>,
    /// The number of the connection, and the whole request.
    pub(crate) requests: Vec<(usize, String)>,
    accepted: usize,
    closed: usize,
}

pub(crate) type SharedRecord = Rc<RefCell<ServerRecord>>;

struct TestServer {
    port: u16,
    tls: Option<TlsServerConfig>,
    tls_acceptor: Option<TlsAcceptor>,
    record: SharedRecord,
    listener: Option<Box<dyn Listener>>,
    conns: BTreeMap<usize, TestServerConn>,
    delayed: BTreeMap<u64, (usize, String)>,
}

struct TestServerConn {
    io: Box<dyn Stream>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    close_after_write: bool,
}

const DELAYED_KEY: u64 = 1 << 40;

pub(crate) fn test_server(port: u16) -> (Graph, SharedRecord) {
    test_server_with_tls(port, None)
}

fn test_server_with_tls(port: u16, tls: Option<TlsServerConfig>) -> (Graph, SharedRecord) {
    let record = SharedRecord::default();
    let (conns, delayed) = (BTreeMap::new(), BTreeMap::new());
    (
        graph(TestServer { port, tls, tls_acceptor: None, record: record.clone(), listener: None, conns, delayed }),
        record,
    )
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

impl TestServer {
    fn serve_conn(&mut self, cx: &mut Cx<'_>, number: usize) {
        let Some(conn) = self.conns.get_mut(&number) else { return };
        let mut buf = [0; 4096];
        let at_end = loop {
            match conn.io.read(&mut buf) {
                Ok(0) => break true,
                Ok(n) => conn.incoming.extend_from_slice(&buf[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break false,
                Err(_) => break true,
            }
        };
        while let Some(request) = take_request(&mut conn.incoming) {
            let mut record = self.record.borrow_mut();
            record.requests.push((number, request));
            let default_response = record.default_response.clone().unwrap_or_else(|| ok_response("fine"));
            match record.scripted.pop_front().unwrap_or(default_response) {
                ScriptedResponse::Send(text) => conn.outgoing.extend(text.into_bytes()),
                ScriptedResponse::SendAndClose(text) => {
                    conn.outgoing.extend(text.into_bytes());
                    conn.close_after_write = true;
                }
                ScriptedResponse::SendAfter(delay, text) => {
                    let key = DELAYED_KEY + self.delayed.len() as u64;
                    self.delayed.insert(key, (number, text));
                    cx.set_timer(key, cx.now() + delay);
                }
                ScriptedResponse::Close => conn.close_after_write = true,
                ScriptedResponse::Never => {}
            }
        }
        while let Ok(n @ 1..) = conn.io.write(&conn.outgoing) {
            conn.outgoing.drain(..n);
        }
        let _ = conn.io.flush();
        if at_end || conn.close_after_write && conn.outgoing.is_empty() {
            conn.io.shutdown_write();
            self.conns.remove(&number);
            self.record.borrow_mut().closed += 1;
        }
    }
}

impl Receiver for TestServer {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let at = Endpoint::Tcp { host: String::new(), port: self.port };
        self.listener = Some(cx.listen(0, &at)?);
        if let Some(tls) = &self.tls {
            self.tls_acceptor = Some(TlsAcceptor::load(cx, tls, &[b"http/1.1"], log()).unwrap());
        }
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, _: &mut PipelineInput<'_>) {
        if let Some((number, text)) = self.delayed.get(&local).cloned() {
            if let Some(conn) = self.conns.get_mut(&number) {
                conn.outgoing.extend(text.into_bytes());
            }
            return self.serve_conn(cx, number);
        }
        if local > 0 {
            return self.serve_conn(cx, local as usize - 1);
        }
        loop {
            let number = self.record.borrow().accepted;
            let Some(Ok(io)) = self.listener.as_mut().map(|l| l.accept(number as u64 + 1)) else { return };
            let io: Box<dyn Stream> = match &mut self.tls_acceptor {
                Some(tls) => Box::new(tls.accept(cx, io).unwrap()),
                None => io,
            };
            self.record.borrow_mut().accepted += 1;
            let conn = TestServerConn { io, incoming: Vec::new(), outgoing: Vec::new(), close_after_write: false };
            self.conns.insert(number, conn);
            self.serve_conn(cx, number);
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {}

    fn is_closed(&self) -> bool {
        true
    }
}

// ---- a proxy --------------------------------------------------------------------------------------------------------

/// One end of a tunnel, and the bytes that are to be written to it.
type TunnelEnd = (Box<dyn Stream>, Vec<u8>);

/// Opens tunnels to any requested target, if the credentials are right.
pub(crate) struct TestProxy {
    credentials: &'static str,
    requests: Rc<RefCell<Vec<String>>>,
    listener: Option<Box<dyn Listener>>,
    /// The ends of the tunnels: the client's, then the target's.
    tunnels: Vec<[Option<TunnelEnd>; 2]>,
    heads: Vec<Option<Vec<u8>>>,
}

pub(crate) fn test_proxy(credentials: &'static str) -> (Graph, Rc<RefCell<Vec<String>>>) {
    let requests = Rc::<RefCell<Vec<String>>>::default();
    let (tunnels, heads) = (Vec::new(), Vec::new());
    (graph(TestProxy { credentials, requests: requests.clone(), listener: None, tunnels, heads }), requests)
}

impl TestProxy {
    /// Reads from one side; false when it is over.
    fn read_available(from: &mut Option<TunnelEnd>, into: &mut Vec<u8>) -> bool {
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

    fn forward(&mut self, number: usize) {
        let [client_end, target_end] = &mut self.tunnels[number];
        let (mut to_target, mut to_client) = (Vec::new(), Vec::new());
        let is_open =
            Self::read_available(client_end, &mut to_target) & Self::read_available(target_end, &mut to_client);
        for (end, bytes) in [(client_end, to_client), (target_end, to_target)] {
            if let Some((io, unsent)) = end {
                unsent.extend(bytes);
                while let Ok(n @ 1..) = io.write(unsent) {
                    unsent.drain(..n);
                }
            }
        }
        if !is_open {
            self.tunnels[number] = [None, None];
        }
    }
}

impl Receiver for TestProxy {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let at = Endpoint::Tcp { host: String::new(), port: 3128 };
        self.listener = Some(cx.listen(0, &at)?);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, _: &mut PipelineInput<'_>) {
        while let Some(Ok(io)) = self.listener.as_mut().map(|l| l.accept(1 + self.tunnels.len() as u64)) {
            self.tunnels.push([Some((io, Vec::new())), None]);
            self.heads.push(Some(Vec::new()));
            cx.request_ready(self.tunnels.len() as u64);
        }
        let Some(number) = (local as usize).checked_sub(1) else { return };
        if let Event::Resolved(found) = event {
            let target_end = cx.connect(local, &PeerAddr::Ip(found.as_ref().unwrap()[0])).unwrap();
            self.tunnels[number][1] = Some((target_end, Vec::new()));
            let (_, unsent) = self.tunnels[number][0].as_mut().unwrap();
            unsent.extend(b"HTTP/1.1 200 Connection established\r\n\r\n");
        }
        let Some(head) = &mut self.heads[number] else { return self.forward(number) };
        Self::read_available(&mut self.tunnels[number][0], head);
        let Some(request) = take_request(head) else { return };
        self.heads[number] = None;
        self.requests.borrow_mut().push(request.clone());
        if request.contains(self.credentials) {
            let to = request.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap().to_owned();
            let (host, port) = to.rsplit_once(':').unwrap();
            cx.resolve(local, host, port.parse().unwrap());
        } else {
            let (_, unsent) = self.tunnels[number][0].as_mut().unwrap();
            unsent.extend(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
            self.forward(number);
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {}

    fn is_closed(&self) -> bool {
        true
    }
}

// ---- the client -----------------------------------------------------------------------------------------------------

/// For each result: the time in milliseconds, the token, and the status with the body, or the error.
type RecordedResults = Rc<RefCell<Vec<(u64, u64, Result<(u16, String), HttpRequestError>)>>>;

struct TestClient {
    http_client: HttpClient,
    plan: Vec<(u64, Arc<Url>)>,
    timeout: Duration,
    results: RecordedResults,
}

/// The first key of the channel; smaller keys are those of the plan.
const BASE: u64 = 1000;

struct ExpiringAuth;

impl ClientAuth for ExpiringAuth {
    fn apply(&self, cx: &mut Cx<'_>, headers: &mut OutgoingHeaders<'_>) -> Result<(), CredentialsUnavailable> {
        match cx.now().0 / 1_000_000_000 {
            0..5 => {
                headers.set("authorization", "Bearer t".to_owned());
                Ok(())
            }
            _ => Err(CredentialsUnavailable("no token".to_owned())),
        }
    }
}

pub(crate) fn parse_config(yaml: &str) -> HttpClientConfig {
    let d = Diagnostics::new();
    let node = from_yaml(&format!("{{{yaml}}}"), &d).unwrap();
    let s = Section::new(Some(&node), "client", &d);
    let config = HttpClientConfig::read_section(s, &HttpClientConfig::default());
    assert!(!d.has_errors(), "{}", d.render_to_string(false));
    config
}

/// A client that sends requests to URLs at times in milliseconds, each with a timeout of ten seconds.
fn test_client(yaml: &str, plan: &[(u64, &str)]) -> (Graph, RecordedResults) {
    test_client_with_auth(yaml, plan, None)
}

fn test_client_with_auth(
    yaml: &str,
    plan: &[(u64, &str)],
    auth: Option<Rc<dyn ClientAuth>>,
) -> (Graph, RecordedResults) {
    let results = RecordedResults::default();
    let http_client = HttpClient::new(Rc::new(parse_config(yaml)), auth, log(), BASE);
    let plan = plan.iter().map(|(at, url)| (*at, Arc::new(Url::parse(url).unwrap()))).collect();
    (graph(TestClient { http_client, plan, timeout: Duration::from_secs(10), results: results.clone() }), results)
}

impl TestClient {
    fn record_results(&mut self, cx: &Cx<'_>) {
        while let Some((token, result)) = self.http_client.poll_result() {
            let result = result.map(|r| (r.status, String::from_utf8(r.body.to_vec()).unwrap()));
            self.results.borrow_mut().push((cx.now().0 / 1_000_000, token, result));
        }
    }
}

impl Receiver for TestClient {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let urls: Vec<&Url> = self.plan.iter().map(|(_, url)| &**url).collect();
        self.http_client.start(cx, &urls)?;
        for (token, (at, _)) in (0..).zip(&self.plan) {
            cx.set_timer(token, MonotonicTime(at * 1_000_000));
        }
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, _: &mut PipelineInput<'_>) {
        if local < BASE {
            let url = self.plan[local as usize].1.clone();
            let body = [Bytes::from_static(b"tele"), Bytes::from_static(b"metry")].into_iter().collect();
            let by = cx.now() + self.timeout;
            let mut new = HttpRequest::new(Method::POST, url);
            new.headers.push(("Content-Type".into(), "application/x-protobuf".into()));
            (new.body, new.deadline) = (body, by);
            self.http_client.start_request(cx, local, new);
        } else {
            self.http_client.handle_event(cx, local, &event);
        }
        self.record_results(cx);
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}

    fn close(&mut self, cx: &mut Cx<'_>, _: MonotonicTime) {
        self.http_client.close(cx);
        self.record_results(cx);
    }

    fn is_closed(&self) -> bool {
        true
    }
}

/// Runs one server called `h` on port 80 and one client for a minute.
fn run_requests(yaml: &str, answers: Vec<ScriptedResponse>, plan: &[(u64, &str)]) -> (SharedRecord, RecordedResults) {
    let mut sim = Sim::new(7);
    let (graph, record) = test_server(80);
    record.borrow_mut().scripted = answers.into();
    sim.add_node("h", graph).unwrap();
    let (graph, results) = test_client(yaml, plan);
    sim.add_node("client", graph).unwrap();
    sim.run_for(Duration::from_secs(60));
    (record, results)
}

fn count_ok(results: &RecordedResults) -> usize {
    results.borrow().iter().filter(|(_, _, r)| matches!(r, Ok((200, _)))).count()
}

/// The error of the only request.
fn only_error(results: &RecordedResults) -> String {
    let results = results.borrow();
    assert_eq!(results.len(), 1, "{results:?}");
    results[0].2.as_ref().unwrap_err().to_string()
}

const TRACES_URL: &str = "http://h/v1/traces";

// ---- connections ----------------------------------------------------------------------------------------------------

#[test]
fn sequential_requests_share_a_connection_and_a_look_up() {
    let (record, results) =
        run_requests("", vec![], &[(0, TRACES_URL), (100, TRACES_URL), (200, "http://H:80/v1/logs?x=y")]);
    assert_eq!((count_ok(&results), record.borrow().accepted), (3, 1));
    assert_eq!(
        record.borrow().requests[0].1,
        format!(
            "POST /v1/traces HTTP/1.1\r\nHost: h\r\nUser-Agent: {USER_AGENT}\r\nContent-Type: application/x-protobuf\r\n\
             Content-Length: 9\r\n\r\ntelemetry"
        )
    );
    assert!(record.borrow().requests[2].1.starts_with("POST /v1/logs?x=y HTTP/1.1\r\nHost: H:80\r\n"));
}

#[test]
fn concurrent_requests_use_one_connection_each_and_two_stay_open() {
    let (record, results) = run_requests(
        "",
        vec![],
        &[
            (0, TRACES_URL),
            (0, TRACES_URL),
            (0, TRACES_URL),
            (5000, TRACES_URL),
            (5000, TRACES_URL),
            (5000, TRACES_URL),
        ],
    );
    assert_eq!(count_ok(&results), 6);
    // Three connections, of which one was closed after its request, so that the second round needed one new connection.
    assert_eq!((record.borrow().accepted, record.borrow().closed), (4, 2));
    let (record, _) = run_requests(
        "max_idle_conns: 1, max_idle_conns_per_host: 9",
        vec![],
        &[(0, TRACES_URL), (0, TRACES_URL), (0, TRACES_URL)],
    );
    assert_eq!((record.borrow().accepted, record.borrow().closed), (3, 2));
}

#[test]
fn requests_above_max_conns_per_host_wait_for_a_connection() {
    let slow =
        ScriptedResponse::SendAfter(Duration::from_secs(2), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned());
    let (record, results) = run_requests(
        "max_conns_per_host: 1",
        vec![slow.clone(), slow],
        &[(0, TRACES_URL), (1, TRACES_URL), (2, TRACES_URL)],
    );
    assert_eq!((count_ok(&results), record.borrow().accepted), (3, 1));
    assert_eq!(
        results.borrow().iter().map(|(at, token, _)| (at / 1000, *token)).collect::<Vec<_>>(),
        [(2, 0), (4, 1), (4, 2)]
    );
    // A request without a response fails at its deadline, and the next one is sent.
    let (record, results) = run_requests(
        "max_conns_per_host: 1",
        vec![ScriptedResponse::Never],
        &[(0, TRACES_URL), (1000, TRACES_URL), (9000, TRACES_URL)],
    );
    let results = results.borrow();
    assert_eq!(
        results.iter().map(|(at, _, r)| (at / 1000, r.is_ok())).collect::<Vec<_>>(),
        [(10, false), (10, true), (10, true)]
    );
    assert_eq!(record.borrow().accepted, 2);
}

#[test]
fn idle_connection_after_idle_conn_timeout_is_closed() {
    let (record, results) =
        run_requests("idle_conn_timeout: 5s", vec![], &[(0, TRACES_URL), (4000, TRACES_URL), (9500, TRACES_URL)]);
    assert_eq!((count_ok(&results), record.borrow().accepted, record.borrow().closed), (3, 2, 2));
    let (record, results) = run_requests("disable_keep_alives: true", vec![], &[(0, TRACES_URL), (100, TRACES_URL)]);
    assert_eq!((count_ok(&results), record.borrow().accepted, record.borrow().closed), (2, 2, 2));
    assert!(record.borrow().requests[0].1.contains("\r\nConnection: close\r\n"));
}

#[test]
fn requests_after_a_server_closed_its_connection_use_new_connections() {
    let announced = || {
        ScriptedResponse::SendAndClose("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned())
    };
    let unannounced = || ScriptedResponse::SendAndClose("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned());
    let until_close = || ScriptedResponse::SendAndClose("HTTP/1.0 200 OK\r\n\r\nuntil the end".to_owned());
    let plan = [(0, TRACES_URL), (100, TRACES_URL), (200, TRACES_URL), (300, TRACES_URL)];
    let (record, results) = run_requests("", vec![announced(), unannounced(), until_close(), unannounced()], &plan);
    assert_eq!((count_ok(&results), record.borrow().accepted, record.borrow().requests.len()), (4, 4, 4));
    assert_eq!(results.borrow()[2].2, Ok((200, "until the end".to_owned())));
}

#[test]
fn request_on_a_reused_connection_that_closes_is_sent_again_once() {
    let (record, results) =
        run_requests("", vec![ok_response("1"), ScriptedResponse::Close], &[(0, TRACES_URL), (100, TRACES_URL)]);
    assert_eq!((count_ok(&results), record.borrow().accepted, record.borrow().requests.len()), (2, 2, 3));
    // Another idle connection is not used: the server may have closed it too.
    let (record, results) = run_requests(
        "",
        vec![ok_response("1"), ok_response("2"), ScriptedResponse::Close],
        &[(0, TRACES_URL), (0, TRACES_URL), (5000, TRACES_URL)],
    );
    assert_eq!((count_ok(&results), record.borrow().accepted), (3, 3));
    let (record, results) = run_requests(
        "max_conns_per_host: 2",
        vec![ok_response("1"), ok_response("2"), ScriptedResponse::Close, ScriptedResponse::Close],
        &[(0, TRACES_URL), (0, TRACES_URL), (5000, TRACES_URL)],
    );
    assert_eq!((count_ok(&results), record.borrow().accepted), (2, 3));
    // On a new connection the request is not repeated: the end of the connection is the server's response to it.
    let (record, results) = run_requests("", vec![ScriptedResponse::Close], &[(0, TRACES_URL)]);
    assert_eq!(only_error(&results), "Post \"http://h/v1/traces\": EOF");
    assert_eq!(record.borrow().requests.len(), 1);
    let (record, results) = run_requests(
        "",
        vec![ok_response("1"), ScriptedResponse::Close, ScriptedResponse::Close],
        &[(0, TRACES_URL), (100, TRACES_URL)],
    );
    assert_eq!((count_ok(&results), record.borrow().requests.len()), (1, 3));
}

#[test]
fn every_address_is_tried_and_the_first_error_is_returned() {
    let send_to = |addresses: &[&str], succeeds: bool| {
        let mut sim = Sim::new(1);
        let (graph, _) = test_server(80);
        let node = sim.add_node("there", graph).unwrap();
        let (graph, _) = test_server(81);
        let refuses = sim.add_node("refuses", graph).unwrap();
        let ip = |name: &&str| match *name {
            "there" => sim.address(node),
            "refuses" => sim.address(refuses),
            unused => unused.parse::<IpAddr>().unwrap(),
        };
        let ips = addresses.iter().map(ip).collect();
        sim.set_lookup_result("h", Ok(ips));
        let (graph, results) = test_client("", &[(0, TRACES_URL)]);
        sim.add_node("client", graph).unwrap();
        sim.run_for(Duration::from_secs(60));
        assert_eq!(count_ok(&results) == 1, succeeds, "{results:?}");
        let at = results.borrow()[0].0;
        (at / 1000, if succeeds { String::new() } else { only_error(&results) })
    };
    assert_eq!(send_to(&["refuses", "there"], true).0, 0);
    // Each of the two addresses gets half of the ten seconds.
    assert_eq!(send_to(&["10.9.9.9", "there"], true).0, 5);
    let dial = |why: &str| format!("Post \"http://h/v1/traces\": dial tcp {why}");
    assert_eq!(send_to(&["refuses"], false), (0, dial("10.0.0.2:80: connect: connection refused")));
    assert_eq!(send_to(&["10.9.9.9", "refuses"], false), (5, dial("10.9.9.9:80: i/o timeout")));
    assert_eq!(
        send_to(&["10.9.9.9"], false),
        (
            10,
            "Post \"http://h/v1/traces\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                .to_owned()
        )
    );
}

#[test]
fn unknown_host_name_fails_every_request_that_waits_for_it() {
    let url = "http://nohost/";
    let (_, results) = run_requests("", vec![], &[(0, url), (0, url), (1000, url)]);
    assert_eq!(results.borrow().len(), 3);
    for (_, _, result) in results.borrow().iter() {
        let error = result.as_ref().unwrap_err();
        assert_eq!(
            (error.kind, error.to_string().as_str()),
            (HttpErrorKind::Network, "Post \"http://nohost\": dial tcp: lookup nohost: no such host")
        );
    }
}

#[test]
fn request_without_a_response_fails_at_its_deadline_and_closes_its_connection() {
    let (record, results) = run_requests("", vec![ScriptedResponse::Never], &[(0, TRACES_URL), (20_000, TRACES_URL)]);
    let (at, _, result) = results.borrow()[0].clone();
    assert_eq!((at, result.unwrap_err().kind), (10_000, HttpErrorKind::Timeout));
    assert_eq!((count_ok(&results), record.borrow().accepted), (1, 2));
}

#[test]
fn closing_the_client_fails_requests_in_progress() {
    let mut sim = Sim::new(2);
    let (graph, record) = test_server(80);
    record.borrow_mut().default_response = Some(ScriptedResponse::Never);
    sim.add_node("h", graph).unwrap();
    let (graph, results) = test_client("max_conns_per_host: 1", &[(0, TRACES_URL), (0, TRACES_URL)]);
    let node = sim.add_node("client", graph).unwrap();
    sim.run_for(Duration::from_secs(1));
    sim.close(node, Duration::from_secs(1));
    assert_eq!(
        results.borrow().iter().filter(|(_, _, r)| r.as_ref().unwrap_err().kind == HttpErrorKind::Closed).count(),
        2
    );
    sim.run_for(Duration::from_secs(1));
    assert_eq!(record.borrow().closed, 1);
}

// ---- exchanges ------------------------------------------------------------------------------------------------------

#[test]
fn chunked_body_is_decoded_and_only_the_first_64_kib_are_kept() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntele\r\n5\r\nmetry\r\n0\r\n\r\n";
    let (record, results) = run_requests(
        "",
        vec![ScriptedResponse::Send(chunked.to_owned()), ok_response(&"x".repeat(100_000))],
        &[(0, TRACES_URL), (9, TRACES_URL)],
    );
    assert_eq!(results.borrow()[0].2, Ok((200, "telemetry".to_owned())));
    assert_eq!(results.borrow()[1].2.as_ref().unwrap().1.len(), 64 << 10);
    assert_eq!(record.borrow().accepted, 1);
}

#[test]
fn configured_headers_replace_defaults_and_the_authenticators_replace_both() {
    let yaml = "headers: {Content-Type: a/b, user-agent: me, HOST: other, x-api-key: k, Content-Length: '3', authorization: mine}";
    let (record, results) = run_requests(yaml, vec![], &[(0, "http://u:p@h/")]);
    assert_eq!(count_ok(&results), 1);
    let head = "POST / HTTP/1.1\r\nHost: other\r\nUser-Agent: me\r\nContent-Type: a/b\r\nAuthorization: mine\r\n\
                X-Api-Key: k\r\nContent-Length: 9\r\n\r\n";
    assert_eq!(record.borrow().requests[0].1, format!("{head}telemetry"));
    let mut sim = Sim::new(7);
    let (graph, record) = test_server(80);
    sim.add_node("h", graph).unwrap();
    let (graph, results) = test_client_with_auth(
        "headers: {authorization: mine}",
        &[(0, TRACES_URL), (6000, TRACES_URL)],
        Some(Rc::new(ExpiringAuth)),
    );
    sim.add_node("client", graph).unwrap();
    sim.run_for(Duration::from_secs(60));
    assert!(record.borrow().requests[0].1.contains("\r\nAuthorization: Bearer t\r\n"));
    let refused = results.borrow()[1].2.clone().unwrap_err();
    assert_eq!(
        (refused.kind, refused.to_string()),
        (HttpErrorKind::InvalidRequest, "Post \"http://h/v1/traces\": no token".to_owned())
    );
}

fn redirect_to(status: u16, location: &str) -> ScriptedResponse {
    ScriptedResponse::Send(format!("HTTP/1.1 {status} Go\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"))
}

#[test]
fn redirects_that_keep_a_post_are_followed_without_credentials_for_other_hosts() {
    let mut sim = Sim::new(3);
    let (graph, record) = test_server(80);
    record.borrow_mut().scripted =
        [redirect_to(307, "/a"), redirect_to(308, "http://elsewhere/b"), ok_response(""), ok_response("moved?")].into();
    sim.add_node("h", graph).unwrap();
    let (graph, other_record) = test_server(80);
    other_record.borrow_mut().scripted = [redirect_to(307, "http://h/back")].into();
    sim.add_node("elsewhere", graph).unwrap();
    let yaml = "headers: {authorization: secret, cookie: a=b, x: y}";
    let (graph, results) = test_client(yaml, &[(0, TRACES_URL)]);
    sim.add_node("client", graph).unwrap();
    sim.run_for(Duration::from_secs(9));
    assert_eq!(count_ok(&results), 1);
    let seen: Vec<_> =
        record.borrow().requests.iter().chain(&other_record.borrow().requests).map(|(_, text)| text.clone()).collect();
    let lines: Vec<_> = seen.iter().map(|s| s.split(" HTTP").next().unwrap()).collect();
    assert_eq!(lines, ["POST /v1/traces", "POST /a", "POST /back", "POST /b"]);
    assert!(seen.iter().all(|s| s.ends_with("telemetry") && s.contains("X: y")));
    let secrets: Vec<_> = seen.iter().map(|s| s.contains("secret") && s.contains("a=b")).collect();
    // Not even if the other host redirects the request back.
    assert_eq!(secrets, [true, true, false, false]);
}

#[test]
fn redirects_above_the_limit_fail_and_those_that_drop_the_body_are_returned() {
    let (record, results) =
        run_requests("", (0..20).map(|i| redirect_to(307, &format!("/{i}"))).collect(), &[(0, TRACES_URL)]);
    assert_eq!(only_error(&results), "Post \"http://h/9\": stopped after 10 redirects");
    assert_eq!(record.borrow().requests.len(), 10);
    for status in [301, 302, 303] {
        let (record, results) = run_requests("", vec![redirect_to(status, "/x")], &[(0, TRACES_URL)]);
        assert_eq!((record.borrow().requests.len(), results.borrow()[0].2.as_ref().unwrap().0), (1, status));
    }
    let (_, results) = run_requests("", vec![redirect_to(307, "ftp://x")], &[(0, TRACES_URL)]);
    assert!(only_error(&results).contains("failed to parse Location header \"ftp://x\": unsupported protocol scheme"));
}

#[test]
fn cookies_are_kept_only_if_they_are_enabled() {
    let set = || {
        ScriptedResponse::Send(
            "HTTP/1.1 200 OK\r\nSet-Cookie: id=7; Path=/\r\nset-cookie: b=8\r\nContent-Length: 0\r\n\r\n".to_owned(),
        )
    };
    let (record, _) = run_requests(
        "cookies: {enabled: true}",
        vec![set()],
        &[(0, TRACES_URL), (100, TRACES_URL), (200, "http://h/")],
    );
    let has_cookie = |record: &SharedRecord, cookie: &str| {
        record.borrow().requests.iter().map(|(_, s)| s.contains(cookie)).collect::<Vec<_>>()
    };
    assert_eq!(has_cookie(&record, "\r\nCookie: b=8; id=7\r\n"), [false, true, false]);
    assert_eq!(has_cookie(&record, "\r\nCookie: id=7\r\n"), [false, false, true]);
    let (record, _) = run_requests("", vec![set()], &[(0, TRACES_URL), (100, TRACES_URL)]);
    assert_eq!(has_cookie(&record, "Cookie"), [false, false]);
}

// ---- TLS and proxies ------------------------------------------------------------------------------------------------

/// A server's TLS settings, and the authority that a client must trust, as YAML.
fn certificate(name: &str) -> (TlsServerConfig, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let d = Diagnostics::new();
    let yaml = format!("tls: {{cert_pem: {cert:?}, key_pem: {:?}}}", key.serialize_pem());
    let node = from_yaml(&yaml, &d).unwrap();
    let tls = TlsServerConfig::read_section(
        Section::new(node.get_path("tls"), "server::tls", &d),
        &TlsServerConfig::default(),
    );
    (tls, format!("{cert:?}"))
}

#[test]
fn https_requests_share_a_connection_and_an_unknown_authority_is_an_error() {
    let (tls, ca) = certificate("h");
    for (yaml, known) in
        [(format!("tls: {{ca_pem: {ca}}}"), true), (format!("tls: {{ca_pem: {}}}", certificate("x").1), false)]
    {
        let mut sim = Sim::new(4);
        sim.set_window(500);
        let (graph, record) = test_server_with_tls(443, Some(tls.clone()));
        sim.add_node("h", graph).unwrap();
        let (graph, results) = test_client(&yaml, &[(0, "https://h/x"), (1000, "https://h/x")]);
        sim.add_node("client", graph).unwrap();
        sim.run_for(Duration::from_secs(60));
        if known {
            assert_eq!((count_ok(&results), record.borrow().accepted), (2, 1), "{results:?}");
        } else {
            let text = results.borrow()[0].2.as_ref().unwrap_err().to_string();
            assert!(text.starts_with("Post \"https://h/x\": tls: "), "{text}");
            assert_eq!((results.borrow().len(), record.borrow().requests.len()), (2, 0));
        }
    }
}

#[test]
fn certificates_for_a_redirect_to_https_are_read_when_it_is_followed() {
    let (tls, ca) = certificate("h");
    let mut sim = Sim::new(4);
    let (graph, record) = test_server(80);
    record.borrow_mut().scripted = (0..3).map(|_| redirect_to(307, "https://s/y")).collect();
    sim.add_node("h", graph).unwrap();
    let (graph, secure_record) = test_server_with_tls(443, Some(tls));
    sim.add_node("s", graph).unwrap();
    let yaml = "tls: {ca_file: /ca.pem, server_name_override: h}";
    let (graph, results) = test_client(yaml, &[(0, "http://h/x"), (2000, "http://h/x"), (2000, "http://h/x")]);
    let client = sim.add_node("client", graph).unwrap();
    // The file is not there at first, which is no error of the start: no URL needs it then.
    sim.run_for(Duration::from_secs(1));
    let text = results.borrow()[0].2.as_ref().unwrap_err().to_string();
    assert!(text.contains("failed to load TLS config: failed to load CA CertPool File"), "{text}");
    sim.disk(client).write("/ca.pem", ca.trim_matches('"').replace("\\n", "\n"));
    sim.run_for(Duration::from_secs(60));
    assert_eq!((count_ok(&results), secure_record.borrow().requests.len()), (2, 2), "{results:?}");
}

#[test]
fn tls_handshake_that_does_not_end_fails_at_its_timeout() {
    let mut sim = Sim::new(4);
    let (graph, _) = test_server(443);
    sim.add_node("h", graph).unwrap();
    let (graph, results) = {
        let results = RecordedResults::default();
        let http_client = HttpClient::new(Rc::new(parse_config("")), None, log(), BASE);
        let plan = vec![(0, Arc::new(Url::parse("https://h/").unwrap()))];
        (client_graph(http_client, plan, Duration::from_secs(40), &results), results)
    };
    sim.add_node("client", graph).unwrap();
    sim.run_for(Duration::from_secs(60));
    assert_eq!(only_error(&results), "Post \"https://h\": net/http: TLS handshake timeout");
    assert_eq!(results.borrow()[0].0 / 1000, 10);
}

fn client_graph(
    http_client: HttpClient,
    plan: Vec<(u64, Arc<Url>)>,
    timeout: Duration,
    results: &RecordedResults,
) -> Graph {
    graph(TestClient { http_client, plan, timeout, results: results.clone() })
}

#[test]
fn plaintext_request_is_sent_to_the_proxy_with_its_whole_url() {
    let mut sim = Sim::new(5);
    let (graph, record) = test_server(3128);
    sim.add_node("proxy", graph).unwrap();
    let (graph, results) = test_client(
        "proxy_url: 'http://u:p@proxy:3128'",
        &[(0, "http://far:4318/v1/traces?q"), (100, "http://far:4318/x")],
    );
    sim.add_node("client", graph).unwrap();
    sim.run_for(Duration::from_secs(60));
    assert_eq!((count_ok(&results), record.borrow().accepted), (2, 1));
    let seen = record.borrow().requests[0].1.clone();
    assert!(seen.starts_with("POST http://far:4318/v1/traces?q HTTP/1.1\r\nHost: far:4318\r\n"), "{seen}");
    assert!(seen.contains("\r\nProxy-Authorization: Basic dTpw\r\n"), "{seen}");
}

#[test]
fn proxy_with_https_is_connected_with_tls() {
    let mut sim = Sim::new(5);
    let (tls, ca) = certificate("proxy");
    let (graph, record) = test_server_with_tls(3128, Some(tls));
    sim.add_node("proxy", graph).unwrap();
    // `server_name_override` applies to the certificate of the target server, not to the proxy's.
    let yaml = format!("proxy_url: 'https://proxy:3128', tls: {{ca_pem: {ca}, server_name_override: far}}");
    let (graph, results) = test_client(&yaml, &[(0, "http://far/x"), (100, "http://far/x")]);
    sim.add_node("client", graph).unwrap();
    sim.run_for(Duration::from_secs(60));
    assert_eq!((count_ok(&results), record.borrow().accepted), (2, 1), "{results:?}");
    assert!(record.borrow().requests[0].1.starts_with("POST http://far/x HTTP/1.1\r\nHost: far\r\n"));
}

#[test]
fn unreachable_proxy_is_named_in_the_error() {
    let mut sim = Sim::new(5);
    let (graph, _) = test_server(1);
    sim.add_node("proxy", graph).unwrap();
    let (graph, results) = test_client("proxy_url: 'http://proxy:3128'", &[(0, TRACES_URL)]);
    sim.add_node("client", graph).unwrap();
    sim.run_for(Duration::from_secs(60));
    let why = "proxyconnect tcp: dial tcp 10.0.0.1:3128: connect: connection refused";
    assert_eq!(only_error(&results), format!("Post \"http://h/v1/traces\": {why}"));
}

#[test]
fn proxy_url_with_an_unknown_scheme_is_a_configuration_error() {
    let d = Diagnostics::new();
    let node = from_yaml("proxy_url: 'socks5://proxy:1'", &d).unwrap();
    for unused in [false, true] {
        let d = Diagnostics::new();
        let mut s = Section::new(Some(&node), "client", &d);
        if unused {
            s.mark_unused();
        }
        let _ = HttpClientConfig::read_section(s, &HttpClientConfig::default());
        assert_eq!((d.has_errors(), d.len()), (!unused, 1));
        assert!(
            d.render_to_string(false).contains("proxies with \"socks5\" are not supported"),
            "{}",
            d.render_to_string(false)
        );
    }
}

#[test]
fn https_request_with_a_proxy_goes_through_a_tunnel() {
    for seed in 0..20 {
        let mut sim = Sim::new(seed);
        let (tls, ca) = certificate("h");
        let (graph, record) = test_server_with_tls(443, Some(tls));
        sim.add_node("h", graph).unwrap();
        let (graph, proxy_requests) = test_proxy("Basic dTpw");
        sim.add_node("proxy", graph).unwrap();
        let yaml = |user: &str| format!("proxy_url: 'http://{user}@proxy:3128', tls: {{ca_pem: {ca}}}");
        let (graph, results) = test_client(&yaml("u:p"), &[(0, "https://h/x"), (1000, "https://h/x")]);
        sim.add_node("client", graph).unwrap();
        let (graph, refused_results) = test_client(&yaml("nobody:x"), &[(0, "https://h/x")]);
        sim.add_node("stranger", graph).unwrap();
        sim.run_for(Duration::from_secs(60));
        assert_eq!((count_ok(&results), record.borrow().accepted), (2, 1), "seed {seed}: {results:?}");
        assert!(record.borrow().requests[0].1.starts_with("POST /x HTTP/1.1\r\nHost: h\r\n"));
        assert!(!record.borrow().requests[0].1.contains("Proxy"));
        assert!(proxy_requests.borrow()[0].starts_with("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n"));
        let why = "Post \"https://h/x\": proxy: CONNECT h:443: 407 Proxy Authentication Required";
        assert_eq!(only_error(&refused_results), why, "seed {seed}");
    }
}

// ---- loopback -------------------------------------------------------------------------------------------------------

#[test]
fn loopback_connection_is_made_kept_and_refused() {
    #[expect(clippy::disallowed_types, reason = "a port that is free, and one that is not any more")]
    let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (open_port, refused_port) = (port(), port());
    let record = SharedRecord::default();
    let results = RecordedResults::default();
    let mut plan = Vec::new();
    for (at, port) in [(0, open_port), (50, open_port), (60, refused_port)] {
        plan.push((at, Arc::new(Url::parse(&format!("http://localhost:{port}/")).unwrap())));
    }
    let http_client = HttpClient::new(Rc::new(parse_config("")), None, log(), BASE);
    let (conns, delayed) = (BTreeMap::new(), BTreeMap::new());
    let server = TestServer {
        port: open_port,
        tls: None,
        tls_acceptor: None,
        record: record.clone(),
        listener: None,
        conns,
        delayed,
    };
    let client = TestClient { http_client, plan, timeout: Duration::from_secs(10), results: results.clone() };
    let mut builder = GraphBuilder::new(Arc::new(Budget::default()), log());
    builder.add_receiver("server".parse().unwrap(), Box::new(server));
    builder.add_receiver("client".parse().unwrap(), Box::new(client));
    let mut world = otelcore_reactor::RealWorld::new().unwrap();
    let mut graph = builder.build();
    graph.start(&mut world).unwrap();
    let mut runner = otelcore_reactor::EventLoop::new(world, graph);
    let until = runner.world().now() + Duration::from_secs(20);
    while results.borrow().len() < 3 && runner.world().now() < until {
        runner.turn(until, &mut Vec::new()).unwrap();
    }
    assert_eq!((count_ok(&results), record.borrow().accepted), (2, 1), "{results:?}");
    let error = results.borrow()[2].2.clone().unwrap_err().to_string();
    assert!(error.starts_with(&format!("Post \"http://localhost:{refused_port}\": dial tcp ")), "{error}");
    assert!(error.ends_with(&format!(":{refused_port}: connect: connection refused")), "{error}");
}

// ---- methods and bodies of responses ---------------------------------------------------------------------------------

/// Sends requests at times in milliseconds, and reads streamed bodies only after `reads_from`.
struct TestReader {
    http_client: HttpClient,
    plan: Vec<(u64, HttpRequest)>,
    reads_from: u64,
    cancel_at: Option<u64>,
    readable: Vec<u64>,
    events: Rc<RefCell<Vec<(u64, String)>>>,
    streamed_bytes: Rc<Cell<usize>>,
}

const READ_KEY: u64 = 900;
const CANCEL_KEY: u64 = 901;

impl TestReader {
    fn advance(&mut self, cx: &mut Cx<'_>) {
        while let Some((token, result)) = self.http_client.poll_result() {
            let text = match result {
                Ok(response) => format!("{} {}", response.status, String::from_utf8_lossy(&response.body)),
                Err(e) => e.to_string(),
            };
            self.events.borrow_mut().push((token, text));
        }
        self.readable.extend(std::iter::from_fn(|| self.http_client.poll_readable()));
        if cx.now() < MonotonicTime(self.reads_from * 1_000_000) {
            return;
        }
        for token in std::mem::take(&mut self.readable) {
            loop {
                let text = match self.http_client.read_body(cx, token) {
                    BodyRead::Data(data) => {
                        assert!(data.len() <= 64 << 10);
                        self.streamed_bytes.set(self.streamed_bytes.get() + data.len());
                        continue;
                    }
                    BodyRead::Pending => break,
                    BodyRead::End => "end".to_owned(),
                    BodyRead::Failed(e) => e.to_string(),
                };
                self.events.borrow_mut().push((token, text));
                break;
            }
        }
    }
}

impl Receiver for TestReader {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        for (token, (at, _)) in (0..).zip(&self.plan) {
            cx.set_timer(token, MonotonicTime(at * 1_000_000));
        }
        cx.set_timer(READ_KEY, MonotonicTime(self.reads_from * 1_000_000));
        if let Some(at) = self.cancel_at {
            cx.set_timer(CANCEL_KEY, MonotonicTime(at * 1_000_000));
        }
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, _: &mut PipelineInput<'_>) {
        match local {
            READ_KEY => {}
            CANCEL_KEY => (0..self.plan.len() as u64).for_each(|token| self.http_client.cancel_request(cx, token)),
            BASE.. => self.http_client.handle_event(cx, local, &event),
            _ => {
                let mut request = self.plan[local as usize].1.clone();
                request.deadline = cx.now() + Duration::from_secs(10);
                self.http_client.start_request(cx, local, request);
            }
        }
        self.advance(cx);
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {}

    fn is_closed(&self) -> bool {
        true
    }
}

fn get(response: ResponseMode) -> HttpRequest {
    HttpRequest { response, ..HttpRequest::new(Method::GET, Arc::new(Url::parse("http://h/page").unwrap())) }
}

struct ReadResult {
    events: Vec<(u64, String)>,
    streamed_bytes: usize,
    record: SharedRecord,
}

/// Sends the requests for a minute.
fn read(
    responses: Vec<ScriptedResponse>,
    plan: Vec<(u64, HttpRequest)>,
    reads_from: u64,
    cancel_at: Option<u64>,
) -> ReadResult {
    let mut sim = Sim::new(7);
    let (server, record) = test_server(80);
    record.borrow_mut().scripted = responses.into();
    sim.add_node("h", server).unwrap();
    let (events, streamed_bytes) = (Rc::default(), Rc::default());
    let reader = TestReader {
        http_client: HttpClient::new(Rc::new(parse_config("")), None, log(), BASE),
        plan,
        reads_from,
        cancel_at,
        readable: Vec::new(),
        events: Rc::clone(&events),
        streamed_bytes: Rc::clone(&streamed_bytes),
    };
    sim.add_node("client", graph(reader)).unwrap();
    sim.run_for(Duration::from_secs(60));
    ReadResult { events: events.take(), streamed_bytes: streamed_bytes.get(), record }
}

#[test]
fn request_without_body_has_its_method_and_no_length() {
    let url = Arc::new(Url::parse("http://h/page").unwrap());
    let plan = [Method::GET, Method::DELETE, Method::PUT].map(|m| (0, HttpRequest::new(m, url.clone())));
    let result = read(vec![], plan.to_vec(), 0, None);
    let mut methods: Vec<_> =
        result.record.borrow().requests.iter().map(|(_, r)| r.contains("Content-Length")).collect();
    methods.sort_unstable();
    assert_eq!(methods, [false, false, true]);
    assert!(result.events.iter().all(|(_, text)| text == "200 fine"), "{:?}", result.events);
    let refused = HttpRequest::new(Method::GET, Arc::new(Url::parse("http://h:99/x").unwrap()));
    let result = read(vec![], vec![(0, refused)], 0, None);
    assert!(result.events[0].1.starts_with("Get \"http://h:99/x\": dial tcp"), "{:?}", result.events);
}

#[test]
fn redirect_of_a_get_is_followed_for_every_redirect_status() {
    for (status, mode) in [(301, ResponseMode::Start), (302, ResponseMode::Streamed), (303, ResponseMode::Start)] {
        let redirect = format!("HTTP/1.1 {status} Moved\r\nLocation: /other\r\nContent-Length: 3\r\n\r\nxyz");
        let result = read(vec![ScriptedResponse::Send(redirect)], vec![(0, get(mode))], 0, None);
        assert!(result.events[0].1.starts_with("200"), "{:?}", result.events);
        assert!(result.record.borrow().requests[1].1.starts_with("GET /other HTTP/1.1"));
    }
}

#[test]
fn whole_response_is_collected_up_to_its_limit() {
    let long = "x".repeat(300_000);
    let whole = |max_bytes| get(ResponseMode::Whole { max_bytes });
    let plan = vec![(0, whole(300_000)), (1000, whole(1000)), (2000, get(ResponseMode::Start)), (3000, whole(5))];
    let responses = vec![ok_response(&long), ok_response(&long), ok_response(&long), ok_response("short")];
    let events = read(responses, plan, 0, None).events;
    assert_eq!((events[0].0, events[0].1.len()), (0, 4 + 300_000));
    assert_eq!(events[1].1, "Get \"http://h/page\": the response is longer than 1000 bytes");
    assert_eq!((events[2].1.len(), events[3].1.as_str()), (4 + 65_536, "200 short"));
}

#[test]
fn streamed_response_is_read_as_the_caller_takes_it() {
    let long = "x".repeat(3_000_000);
    let plan = vec![(0, get(ResponseMode::Streamed)), (5000, get(ResponseMode::Streamed))];
    let result = read(vec![ok_response(&long), ok_response("again")], plan, 4000, None);
    let texts: Vec<_> = result.events.iter().map(|(token, text)| (*token, text.as_str())).collect();
    assert_eq!(texts, [(0, "200 "), (0, "end"), (1, "200 "), (1, "end")]);
    assert_eq!((result.streamed_bytes, result.record.borrow().accepted), (3_000_005, 1));
}

#[test]
fn streamed_response_that_is_not_taken_ends_at_its_deadline() {
    let long = "x".repeat(3_000_000);
    let result = read(vec![ok_response(&long)], vec![(0, get(ResponseMode::Streamed))], 30_000, None);
    assert!(result.streamed_bytes <= 64 << 10, "{}", result.streamed_bytes);
    let last = &result.events.last().unwrap().1;
    assert!(last.contains("context deadline exceeded"), "{last}");
}

#[test]
fn time_limits_of_head_and_body_are_observed() {
    let timeouts = HttpTimeouts {
        head: Some(Duration::from_secs(2)),
        idle: Some(Duration::from_secs(3)),
        ..HttpTimeouts::default()
    };
    let late = |mode| HttpRequest { timeouts, ..get(mode) };
    for (response, mode, expected) in [
        (ScriptedResponse::Never, ResponseMode::Start, "timeout awaiting response headers"),
        (ScriptedResponse::Never, ResponseMode::Streamed, "timeout awaiting response headers"),
        (
            ScriptedResponse::Send("HTTP/1.1 200 OK\r\n\r\nabc".to_owned()),
            ResponseMode::Streamed,
            "no bytes of the body arrived in time",
        ),
        (
            ScriptedResponse::Send("HTTP/1.1 200 OK\r\n\r\nabc".to_owned()),
            ResponseMode::Whole { max_bytes: 100 },
            "no bytes of the body arrived in time",
        ),
    ] {
        let events = read(vec![response], vec![(0, late(mode))], 0, None).events;
        assert!(events.last().unwrap().1.ends_with(expected), "{events:?}");
    }
}

#[test]
fn cancelled_request_has_no_result_and_frees_its_connection() {
    let long = "x".repeat(3_000_000);
    let plan =
        vec![(0, get(ResponseMode::Streamed)), (500, get(ResponseMode::Start)), (5000, get(ResponseMode::Start))];
    let responses = vec![
        ok_response(&long),
        ScriptedResponse::SendAfter(Duration::from_secs(2), "HTTP/1.1 204 x\r\n\r\n".to_owned()),
    ];
    let result = read(responses, plan, 50_000, Some(1000));
    let texts: Vec<_> = result.events.iter().map(|(token, text)| (*token, text.as_str())).collect();
    assert_eq!(texts.last(), Some(&(2, "200 fine")), "{texts:?}");
    assert!(texts.iter().filter(|(token, _)| *token < 2).all(|(_, text)| *text == "200 "), "{texts:?}");
    assert_eq!(result.streamed_bytes, 0);
}
