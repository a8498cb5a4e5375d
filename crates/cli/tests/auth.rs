//! Authentication of senders: an OTLP receiver with authenticators, over loopback.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::process::Command;
use std::time::Duration;

use support::*;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
/// `user` with the password `pässword 1`, by `htpasswd -B` of Apache.
const USER: &str = "user:$2y$04$xOg9EJNoPlU37s2u5wsiUuoRnHUExJx7g858lRd/7SXXc1nBG5nwm";
/// One span: resource, scope and a span with a name.
const SPAN: &[u8] = b"\x0a\x09\x12\x07\x12\x05\x2a\x03abc";

/// A collector whose receiver has three HTTP servers, one for each way to authenticate.
struct House {
    collector: Process,
    bearer: String,
    by_query: String,
    basic: String,
    page: String,
    token_file: std::path::PathBuf,
}

impl House {
    fn new(name: &str) -> Self {
        let folder = folder(name);
        let [bearer, by_query, basic, page] = [(); 4].map(|()| format!("127.0.0.1:{}", free_port()));
        let token_file = folder.join("token");
        std::fs::write(&token_file, "s3cret\nolder\n").unwrap();
        std::fs::write(folder.join("htpasswd"), USER).unwrap();
        let text = format!(
            "extensions:
  bearertokenauth: {{filename: {token:?}}}
  basicauth/server: {{htpasswd: {{file: {users:?}, inline: 'plain:text'}}}}
receivers:
  otlp/bearer: {{protocols: {{http: {{endpoint: '{bearer}', auth: {{authenticator: bearertokenauth}}}}}}}}
  otlp/query: {{protocols: {{http: {{endpoint: '{by_query}', auth: {{authenticator: bearertokenauth, request_params: [authorization]}}}}}}}}
  otlp/basic: {{protocols: {{http: {{endpoint: '{basic}', auth: {{authenticator: basicauth/server}}}}}}}}
exporters: {{nop: , prometheus: {{endpoint: '{page}', auth: {{authenticator: basicauth/server}}}}}}
service:
  extensions: [bearertokenauth, basicauth/server]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp/bearer, otlp/query, otlp/basic], exporters: [nop]}}
    metrics: {{receivers: [otlp/basic], exporters: [prometheus]}}
",
            token = token_file.display().to_string(),
            users = folder.join("htpasswd").display().to_string(),
        );
        std::fs::write(folder.join("config.yaml"), text).unwrap();
        let mut command = Command::new(otelcore());
        command.arg(format!("--config={}", folder.join("config.yaml").display()));
        let mut collector = Process::start(&mut command, &folder.join("log"));
        for address in [&bearer, &by_query, &basic, &page] {
            wait_for(address, &mut collector);
        }
        Self { collector, bearer, by_query, basic, page, token_file }
    }

    fn end(mut self) {
        self.collector.signal("INT");
        assert_eq!(self.collector.end(Duration::from_secs(10)), 0, "{}", self.collector.said());
        let said = self.collector.said();
        assert!(!said.contains("s3cret") && !said.contains("$2y$") && !said.contains("guess"), "{said}");
    }
}

/// Sends a span; `more` is further header lines.
fn post(address: &str, query: &str, content_type: &str, more: &str) -> (u16, String) {
    let head = format!("POST /v1/traces{query} HTTP/1.0\r\nHost: x\r\nContent-Type: {content_type}{more}");
    http(address, &head, if content_type == JSON { b"{}" } else { SPAN })
}

fn authorized(address: &str, authorization: &str) -> u16 {
    post(address, "", PROTOBUF, &format!("\r\nAuthorization: {authorization}")).0
}

#[test]
fn a_bearer_token_opens_the_door_and_the_refusal_is_a_status() {
    let house = House::new("auth-bearer");
    let missing = "missing or empty authorization header: Authorization";
    let refused = format!("{{\"code\":16,\"message\":\"{missing}\"}}");
    assert_eq!(post(&house.bearer, "", JSON, ""), (401, refused));
    // google.rpc.Status: code 16, and the message.
    let (length, wrong) = (char::from(30_u8), "scheme or token does not match");
    let refused = format!("\u{8}\u{10}\u{12}{length}{wrong}");
    assert_eq!(post(&house.bearer, "", PROTOBUF, "\r\nAuthorization: Bearer guess"), (401, refused));
    let accepted = "\u{a}\0".to_owned();
    for token in ["s3cret", "older"] {
        let header = format!("\r\nauthorization: Bearer {token}");
        assert_eq!(post(&house.bearer, "", PROTOBUF, &header), (200, accepted.clone()));
    }
    assert_eq!(
        post(&house.bearer, "?authorization=Bearer%20s3cret", PROTOBUF, "").0,
        401,
        "the query was not asked for"
    );
    house.end();
}

#[test]
fn a_query_parameter_may_stand_for_the_header() {
    let house = House::new("auth-query");
    for (query, status) in [
        ("?authorization=Bearer%20s3cret", 200),
        ("?a=b&authorization=Bearer+s3cret", 200),
        ("?authorization=Bearer%20guess", 401),
        ("?authorization=", 401),
        ("?authorization=Bearer%20", 401),
        ("", 401),
    ] {
        assert_eq!(post(&house.by_query, query, PROTOBUF, "").0, status, "{query}");
    }
    assert_eq!(authorized(&house.by_query, "Bearer s3cret"), 200);
    house.end();
}

#[test]
fn a_new_token_in_the_file_opens_the_door_of_a_running_collector() {
    let house = House::new("auth-rotation");
    assert_eq!((authorized(&house.bearer, "Bearer s3cret"), authorized(&house.bearer, "Bearer newer")), (200, 401));
    // As mounted files are updated: a new file replaces the old one.
    let next = house.token_file.with_extension("next");
    std::fs::write(&next, "newer").unwrap();
    std::fs::rename(&next, &house.token_file).unwrap();
    until("the new token", || (authorized(&house.bearer, "Bearer newer") == 200).then(String::new));
    assert_eq!(authorized(&house.bearer, "Bearer s3cret"), 401);
    house.end();
}

#[test]
fn a_name_and_a_password_open_the_door() {
    let house = House::new("auth-basic");
    let refused = "{\"code\":16,\"message\":\"no basic auth provided\"}";
    assert_eq!(post(&house.basic, "", JSON, ""), (401, refused.to_owned()));
    for (authorization, message) in [
        ("Bearer guess", "invalid authorization scheme prefix"),
        ("Basic guess", "invalid authorization format"),
        ("Basic dXNlcjpndWVzcw==", "invalid credentials"), // user:guess
        ("Basic bm9ib2R5Omd1ZXNz", "invalid credentials"), // nobody:guess
    ] {
        let answer = post(&house.basic, "", JSON, &format!("\r\nAuthorization: {authorization}"));
        assert_eq!(answer, (401, format!("{{\"code\":16,\"message\":\"{message}\"}}")), "{authorization}");
    }
    // user:pässword 1, twice, and plain:text
    for authorization in ["Basic dXNlcjpww6Rzc3dvcmQgMQ==", "basic dXNlcjpww6Rzc3dvcmQgMQ==", "Basic cGxhaW46dGV4dA=="]
    {
        assert_eq!(authorized(&house.basic, authorization), 200, "{authorization}");
    }
    house.end();
}

/// user:pässword 1
const RIGHT: &str = "Basic dXNlcjpww6Rzc3dvcmQgMQ==";
/// user:guess
const WRONG: &str = "Basic dXNlcjpndWVzcw==";

#[test]
fn page_whose_reader_is_checked_is_given_to_the_right_one() {
    let house = House::new("auth-page");
    let get = |authorization: &str| {
        http(&house.page, &format!("GET /metrics HTTP/1.0\r\nHost: x\r\nAuthorization: {authorization}"), b"")
    };
    for _ in 0..2 {
        assert_eq!(get(WRONG), (401, "invalid credentials\n".to_owned()));
        assert_eq!(get(RIGHT).0, 200);
    }
    house.end();
}

#[test]
fn only_a_checked_sender_learns_of_paths_and_methods() {
    let house = House::new("auth-paths");
    for (method, path, status) in [("POST", "/v1/nothing", 404), ("PUT", "/v1/traces", 405)] {
        let send = |authorization: &str| {
            let head = format!(
                "{method} {path} HTTP/1.0\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\nAuthorization: {authorization}"
            );
            http(&house.basic, &head, SPAN).0
        };
        // The first time the credentials are not known yet.
        for (authorization, status) in [(WRONG, 401), (RIGHT, status), (WRONG, 401), (RIGHT, status)] {
            assert_eq!(send(authorization), status, "{method} {path}");
        }
    }
    house.end();
}

#[test]
fn body_that_is_being_read_when_its_sender_is_found_wrong_is_refused() {
    use std::io::{Read, Write};
    let house = House::new("auth-reading");
    let mut stream = std::net::TcpStream::connect(&house.basic).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: 1000000\r\nAuthorization: {WRONG}"
    );
    stream.write_all(format!("{head}\r\n\r\n{{\"resourceSpans\":[").as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
    house.end();
}

#[test]
fn what_is_missing_keeps_the_collector_from_starting_and_is_named() {
    let folder = folder("auth-missing");
    let run = |extension: &str| {
        let path = folder.join("config.yaml");
        let text = format!(
            "extensions: {{{extension}}}\nreceivers: {{nop: }}\nexporters: {{nop: }}\nservice: {{extensions: [{id}], telemetry: {{metrics: {{level: none}}}}, pipelines: {{traces: {{receivers: [nop], exporters: [nop]}}}}}}\n",
            id = extension.split(':').next().unwrap(),
        );
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new(otelcore());
        let mut process = Process::start(command.arg(format!("--config={}", path.display())), &folder.join("log"));
        assert_eq!(process.end(Duration::from_secs(10)), 1, "{}", process.said());
        process.said()
    };
    let said = run("bearertokenauth: {filename: /nowhere/token}");
    assert!(said.contains("open /nowhere/token: no such file or directory"), "{said}");
    let said = run("basicauth: {htpasswd: {file: /nowhere/users}}");
    assert!(said.contains("open htpasswd file: open /nowhere/users: no such file or directory"), "{said}");
    let said = run("basicauth: {client_auth: {username: 'a:b'}}");
    assert!(said.contains("invalid authorization format"), "{said}");
}
