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
struct AuthTestServer {
    collector: Process,
    bearer: String,
    by_query: String,
    basic: String,
    page: String,
    token_file: std::path::PathBuf,
}

impl AuthTestServer {
    fn new(name: &str) -> Self {
        let folder = empty_test_dir(name);
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
            wait_for_listener(address, &mut collector);
        }
        Self { collector, bearer, by_query, basic, page, token_file }
    }

    fn end(mut self) {
        self.collector.signal("INT");
        assert_eq!(self.collector.wait_for_exit(Duration::from_secs(10)), 0, "{}", self.collector.log_text());
        let log = self.collector.log_text();
        assert!(!log.contains("s3cret") && !log.contains("$2y$") && !log.contains("guess"), "{log}");
    }
}

/// Sends a span; `extra_headers` is further header lines.
fn post(address: &str, query: &str, content_type: &str, extra_headers: &str) -> (u16, String) {
    let head = format!("POST /v1/traces{query} HTTP/1.0\r\nHost: x\r\nContent-Type: {content_type}{extra_headers}");
    http_request(address, &head, if content_type == JSON { b"{}" } else { SPAN })
}

fn status_with_authorization(address: &str, authorization: &str) -> u16 {
    post(address, "", PROTOBUF, &format!("\r\nAuthorization: {authorization}")).0
}

#[test]
fn valid_bearer_token_is_accepted_and_others_get_a_status() {
    let server = AuthTestServer::new("auth-bearer");
    let missing = "missing or empty authorization header: Authorization";
    let refused = format!("{{\"code\":16,\"message\":\"{missing}\"}}");
    assert_eq!(post(&server.bearer, "", JSON, ""), (401, refused));
    // google.rpc.Status: code 16, and the message.
    let (length, wrong) = (char::from(30_u8), "scheme or token does not match");
    let refused = format!("\u{8}\u{10}\u{12}{length}{wrong}");
    assert_eq!(post(&server.bearer, "", PROTOBUF, "\r\nAuthorization: Bearer guess"), (401, refused));
    let accepted = "\u{a}\0".to_owned();
    for token in ["s3cret", "older"] {
        let header = format!("\r\nauthorization: Bearer {token}");
        assert_eq!(post(&server.bearer, "", PROTOBUF, &header), (200, accepted.clone()));
    }
    assert_eq!(
        post(&server.bearer, "?authorization=Bearer%20s3cret", PROTOBUF, "").0,
        401,
        "the query was not asked for"
    );
    server.end();
}

#[test]
fn query_parameter_replaces_the_authorization_header() {
    let server = AuthTestServer::new("auth-query");
    for (query, status) in [
        ("?authorization=Bearer%20s3cret", 200),
        ("?a=b&authorization=Bearer+s3cret", 200),
        ("?authorization=Bearer%20guess", 401),
        ("?authorization=", 401),
        ("?authorization=Bearer%20", 401),
        ("", 401),
    ] {
        assert_eq!(post(&server.by_query, query, PROTOBUF, "").0, status, "{query}");
    }
    assert_eq!(status_with_authorization(&server.by_query, "Bearer s3cret"), 200);
    server.end();
}

#[test]
fn new_token_in_the_file_is_accepted_without_a_restart() {
    let server = AuthTestServer::new("auth-rotation");
    assert_eq!(
        (
            status_with_authorization(&server.bearer, "Bearer s3cret"),
            status_with_authorization(&server.bearer, "Bearer newer")
        ),
        (200, 401)
    );
    // As mounted files are updated: a new file replaces the old one.
    let next = server.token_file.with_extension("next");
    std::fs::write(&next, "newer").unwrap();
    std::fs::rename(&next, &server.token_file).unwrap();
    wait_until("the new token", || {
        (status_with_authorization(&server.bearer, "Bearer newer") == 200).then(String::new)
    });
    assert_eq!(status_with_authorization(&server.bearer, "Bearer s3cret"), 401);
    server.end();
}

#[test]
fn valid_basic_credentials_are_accepted() {
    let server = AuthTestServer::new("auth-basic");
    let refused = "{\"code\":16,\"message\":\"no basic auth provided\"}";
    assert_eq!(post(&server.basic, "", JSON, ""), (401, refused.to_owned()));
    for (authorization, message) in [
        ("Bearer guess", "invalid authorization scheme prefix"),
        ("Basic guess", "invalid authorization format"),
        ("Basic dXNlcjpndWVzcw==", "invalid credentials"), // user:guess
        ("Basic bm9ib2R5Omd1ZXNz", "invalid credentials"), // nobody:guess
    ] {
        let response = post(&server.basic, "", JSON, &format!("\r\nAuthorization: {authorization}"));
        assert_eq!(response, (401, format!("{{\"code\":16,\"message\":\"{message}\"}}")), "{authorization}");
    }
    // user:pässword 1, twice, and plain:text
    for authorization in ["Basic dXNlcjpww6Rzc3dvcmQgMQ==", "basic dXNlcjpww6Rzc3dvcmQgMQ==", "Basic cGxhaW46dGV4dA=="]
    {
        assert_eq!(status_with_authorization(&server.basic, authorization), 200, "{authorization}");
    }
    server.end();
}

/// user:pässword 1
const VALID_CREDENTIALS: &str = "Basic dXNlcjpww6Rzc3dvcmQgMQ==";
/// user:guess
const INVALID_CREDENTIALS: &str = "Basic dXNlcjpndWVzcw==";

#[test]
fn metrics_page_with_authenticator_requires_valid_credentials() {
    let server = AuthTestServer::new("auth-page");
    let get = |authorization: &str| {
        http_request(&server.page, &format!("GET /metrics HTTP/1.0\r\nHost: x\r\nAuthorization: {authorization}"), b"")
    };
    for _ in 0..2 {
        assert_eq!(get(INVALID_CREDENTIALS), (401, "invalid credentials\n".to_owned()));
        assert_eq!(get(VALID_CREDENTIALS).0, 200);
    }
    server.end();
}

#[test]
fn path_and_method_errors_require_valid_credentials() {
    let server = AuthTestServer::new("auth-paths");
    for (method, path, status) in [("POST", "/v1/nothing", 404), ("PUT", "/v1/traces", 405)] {
        let send = |authorization: &str| {
            let head = format!(
                "{method} {path} HTTP/1.0\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\nAuthorization: {authorization}"
            );
            http_request(&server.basic, &head, SPAN).0
        };
        // The first time the credentials are not known yet.
        for (authorization, status) in [
            (INVALID_CREDENTIALS, 401),
            (VALID_CREDENTIALS, status),
            (INVALID_CREDENTIALS, 401),
            (VALID_CREDENTIALS, status),
        ] {
            assert_eq!(send(authorization), status, "{method} {path}");
        }
    }
    server.end();
}

#[test]
fn request_with_invalid_credentials_is_refused_while_its_body_is_read() {
    use std::io::{Read, Write};
    let server = AuthTestServer::new("auth-reading");
    let mut stream = std::net::TcpStream::connect(&server.basic).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: 1000000\r\nAuthorization: {INVALID_CREDENTIALS}"
    );
    stream.write_all(format!("{head}\r\n\r\n{{\"resourceSpans\":[").as_bytes()).unwrap();
    let mut response = [0; 12];
    stream.read_exact(&mut response).unwrap();
    assert_eq!(&response, b"HTTP/1.1 401");
    server.end();
}

#[test]
fn missing_credential_files_fail_the_start_with_their_names() {
    let folder = empty_test_dir("auth-missing");
    let run = |extension: &str| {
        let path = folder.join("config.yaml");
        let text = format!(
            "extensions: {{{extension}}}\nreceivers: {{nop: }}\nexporters: {{nop: }}\nservice: {{extensions: [{id}], telemetry: {{metrics: {{level: none}}}}, pipelines: {{traces: {{receivers: [nop], exporters: [nop]}}}}}}\n",
            id = extension.split(':').next().unwrap(),
        );
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new(otelcore());
        let mut process = Process::start(command.arg(format!("--config={}", path.display())), &folder.join("log"));
        assert_eq!(process.wait_for_exit(Duration::from_secs(10)), 1, "{}", process.log_text());
        process.log_text()
    };
    let log = run("bearertokenauth: {filename: /nowhere/token}");
    assert!(log.contains("open /nowhere/token: no such file or directory"), "{log}");
    let log = run("basicauth: {htpasswd: {file: /nowhere/users}}");
    assert!(log.contains("open htpasswd file: open /nowhere/users: no such file or directory"), "{log}");
    let log = run("basicauth: {client_auth: {username: 'a:b'}}");
    assert!(log.contains("invalid authorization format"), "{log}");
}
