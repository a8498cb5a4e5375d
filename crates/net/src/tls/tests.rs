//! Both ends in one thread over a pipe that takes a few bytes at a time.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::declare::Config;
use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_pipeline::{Logger, NoopLogSink, Stream};
use otelcore_testkit::TestWorld;

use super::*;

#[derive(Default)]
struct PipeBuffer {
    bytes: VecDeque<u8>,
    ended: bool,
}

/// One end of a pipe that holds `capacity` bytes.
struct PipeEnd {
    incoming: Rc<RefCell<PipeBuffer>>,
    outgoing: Rc<RefCell<PipeBuffer>>,
    capacity: usize,
}

fn pipe(capacity: usize) -> (PipeEnd, PipeEnd) {
    let (a, b) = (Rc::<RefCell<PipeBuffer>>::default(), Rc::<RefCell<PipeBuffer>>::default());
    (PipeEnd { incoming: a.clone(), outgoing: b.clone(), capacity }, PipeEnd { incoming: b, outgoing: a, capacity })
}

impl Read for PipeEnd {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buffer = self.incoming.borrow_mut();
        if buffer.bytes.is_empty() {
            return if buffer.ended { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        buffer.bytes.read(buf)
    }
}

impl Write for PipeEnd {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut buffer = self.outgoing.borrow_mut();
        let n = (self.capacity - buffer.bytes.len()).min(buf.len());
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        buffer.bytes.extend(&buf[..n]);
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for PipeEnd {
    fn peer_addr(&self) -> String {
        "pipe".to_owned()
    }
    fn event_key(&self) -> Option<u64> {
        Some(1)
    }
    fn shutdown_write(&mut self) {
        self.outgoing.borrow_mut().ended = true;
    }
}

/// A certificate authority.
struct TestCa(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl TestCa {
    fn new(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate and key for a name.
    fn issue(&self, name: &str) -> (Vec<u8>, Vec<u8>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (cert.pem().into_bytes(), key.serialize_pem().into_bytes())
    }
}

/// Files of a server called `gateway` and of a client, both of one authority; and files of another authority, with its
/// client certificate `stranger`.
fn test_files() -> (TestWorld, TestCa) {
    let (ca, other_ca) = (TestCa::new("ours"), TestCa::new("other"));
    let mut world = TestWorld::default();
    for (name, (cert, key)) in
        [("server", ca.issue("gateway")), ("client", ca.issue("agent")), ("stranger", other_ca.issue("agent"))]
    {
        world.disk().write(format!("{name}.pem"), cert);
        world.disk().write(format!("{name}.key"), key);
    }
    world.disk().write("ca.pem", ca.0.pem().into_bytes());
    world.disk().write("other.pem", other_ca.0.pem().into_bytes());
    (world, ca)
}

const SERVER: &str = "cert_file: server.pem, key_file: server.key";

fn log() -> Logger {
    Logger::new(Arc::new(NoopLogSink))
}

fn load_server(world: &mut TestWorld, yaml: &str) -> Result<TlsAcceptor, String> {
    let d = Diagnostics::new();
    let node = from_yaml(&format!("tls: {{{yaml}}}"), &d).unwrap();
    let section = Section::new(node.get_path("tls"), "server::tls", &d);
    let settings = TlsServerConfig::read_section(section, &TlsServerConfig::default());
    assert!(!d.has_errors(), "{}", d.render_to_string(false));
    TlsAcceptor::load(&mut world.cx(), &settings, &[b"h2", b"http/1.1"], log()).map_err(|e| e.to_string())
}

fn load_client(world: &mut TestWorld, yaml: &str, alpn: &[&[u8]]) -> Result<TlsConnector, String> {
    let d = Diagnostics::new();
    let node = from_yaml(&format!("{{{yaml}}}"), &d).unwrap();
    let settings = TlsClientConfig::read_section(Section::new(Some(&node), "client", &d), &TlsClientConfig::default());
    assert!(!d.has_errors(), "{}", d.render_to_string(false));
    TlsConnector::load(&mut world.cx(), &settings, alpn, log()).map_err(|e| e.to_string())
}

/// Sends a request and a response between the two, each longer than the pipe. On failure, returns the errors of the
/// client and the server.
fn exchange(mut client: TlsStream, mut server: TlsStream) -> Result<(TlsStream, TlsStream), [String; 2]> {
    let request: Vec<u8> = (0..200_000_u32).map(|i| i as u8).collect();
    let response: Vec<u8> = request.iter().rev().copied().collect();
    let (mut request_sent, mut request_received, mut response_sent, mut response_received) =
        (0, Vec::new(), 0, Vec::new());
    let mut buf = vec![0; 5000];
    for _ in 0..20_000 {
        let mut failed = false;
        let mut ignore_would_block = |result: io::Result<usize>| match result {
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => {
                failed = true;
                0
            }
        };
        if request_sent < request.len() {
            request_sent += ignore_would_block(client.write(&request[request_sent..]));
        }
        let n = ignore_would_block(server.read(&mut buf));
        request_received.extend_from_slice(&buf[..n]);
        if request_received.len() == request.len() && response_sent < response.len() {
            response_sent += ignore_would_block(server.write(&response[response_sent..]));
        }
        let n = ignore_would_block(client.read(&mut buf));
        response_received.extend_from_slice(&buf[..n]);
        ignore_would_block(server.flush().map(|()| 0));
        if failed {
            // The side that found the error sends an alert to the other.
            let _ = (client.read(&mut buf), server.read(&mut buf), client.read(&mut buf));
            return Err([client.layer_error().unwrap_or_default(), server.layer_error().unwrap_or_default()]);
        }
        if response_received.len() == response.len() {
            assert!(request_received == request && response_received == response);
            return Ok((client, server));
        }
    }
    panic!(
        "nothing moves: request: {request_sent} bytes sent, {} received; response: {response_sent} bytes sent, {} received",
        request_received.len(),
        response_received.len()
    );
}

fn connect_and_exchange(
    world: &mut TestWorld,
    client: &mut TlsConnector,
    server: &mut TlsAcceptor,
) -> Result<(TlsStream, TlsStream), [String; 2]> {
    let (client_end, server_end) = pipe(700);
    let cx = &mut world.cx();
    let client = client.connect(cx, Box::new(client_end), "gateway").unwrap();
    let server = server.accept(cx, Box::new(server_end)).unwrap();
    // Files that are read again.
    while world.run_job().is_some() {}
    exchange(client, server)
}

#[test]
fn request_and_response_longer_than_the_pipe_are_received_whole() {
    let (mut world, _) = test_files();
    for versions in ["", ", max_version: '1.2'", ", min_version: '1.3'"] {
        let mut server = load_server(&mut world, &format!("{SERVER}{versions}")).unwrap();
        let mut client = load_client(&mut world, "ca_file: ca.pem", &[b"h2"]).unwrap();
        let (client, mut server) = connect_and_exchange(&mut world, &mut client, &mut server).unwrap();
        assert_eq!((client.alpn(), server.alpn()), (Some(&b"h2"[..]), Some(&b"h2"[..])));
        assert!(server.handshake().unwrap());
    }
}

#[test]
fn half_closed_stream_ends_for_the_peer_which_can_still_write() {
    let (mut world, _) = test_files();
    let mut server = load_server(&mut world, SERVER).unwrap();
    let mut client = load_client(&mut world, "ca_file: ca.pem", &[]).unwrap();
    let (mut client, mut server) = connect_and_exchange(&mut world, &mut client, &mut server).unwrap();
    server.shutdown_write();
    let mut buf = [0; 10];
    assert_eq!(client.read(&mut buf).unwrap(), 0);
    client.write_all(b"still here").unwrap();
    assert_eq!(server.read(&mut buf).unwrap(), 10);
    // A connection that is closed without `close_notify` is at its end too: the protocols above detect missing data.
    drop(client);
    server.flush().unwrap();
}

#[test]
fn untrusted_certificate_is_refused_with_the_reason() {
    let (mut world, _) = test_files();
    let mut server = load_server(&mut world, SERVER).unwrap();
    let mut refused = |world: &mut TestWorld, yaml: &str| {
        let mut client = load_client(world, yaml, &[]).unwrap();
        connect_and_exchange(world, &mut client, &mut server).map(drop).unwrap_err()
    };
    let [error, _] = refused(&mut world, "ca_file: other.pem");
    assert!(error.contains("UnknownIssuer"), "{error}");
    let [error, _] = refused(&mut world, "ca_file: ca.pem, server_name_override: elsewhere");
    assert!(error.contains("not valid for name"), "{error}");
    for yaml in [
        "insecure_skip_verify: true",
        "ca_file: ca.pem, insecure: true",
        "ca_file: ca.pem, server_name_override: gateway",
    ] {
        let mut client = load_client(&mut world, yaml, &[]).unwrap();
        assert!(connect_and_exchange(&mut world, &mut client, &mut server).is_ok(), "{yaml}");
    }
}

#[test]
fn http_request_without_tls_is_recognised_and_gets_no_alert() {
    let (mut world, _) = test_files();
    let mut server = load_server(&mut world, SERVER).unwrap();
    for (begin, is_http) in [
        ("GET / HTTP/1.1\r\n", true),
        ("HEAD / HTTP/1.1\r\n", true),
        ("POST /v1/traces HTTP/1.1\r\n", true),
        ("PUT /", true),
        ("OPTIONS * HTTP/1.1\r\n", true),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false),
        ("BREW / HTTP/1.1\r\n", false),
    ] {
        let (mut peer, end) = pipe(700);
        let mut stream = server.accept(&mut world.cx(), Box::new(end)).unwrap();
        assert_eq!(stream.handshake().unwrap_err().kind(), ErrorKind::WouldBlock);
        peer.write_all(begin.as_bytes()).unwrap();
        let kind = if begin.starts_with("PRI") { PLAINTEXT_ERROR } else { ErrorKind::InvalidData };
        assert_eq!(stream.handshake().unwrap_err().kind(), kind, "{begin:?}");
        assert_eq!(peer.read(&mut [0; 50]).is_err(), is_http, "only other peers are sent an alert: {begin:?}");
        let error = stream.layer_error().unwrap();
        assert_eq!(error == "tls: first record does not look like a TLS handshake", is_http, "{error}");
        assert_eq!(stream.into_plain_http().is_some(), is_http, "{begin:?}");
    }
}

#[test]
fn server_with_client_ca_file_accepts_certificates_of_that_ca_only() {
    let (mut world, _) = test_files();
    let mut server = load_server(&mut world, &format!("{SERVER}, client_ca_file: ca.pem")).unwrap();
    for (name, accepted) in [("client", true), ("stranger", false), ("", false)] {
        let client_cert =
            if name.is_empty() { String::new() } else { format!(", cert_file: {name}.pem, key_file: {name}.key") };
        let mut client = load_client(&mut world, &format!("ca_file: ca.pem{client_cert}"), &[]).unwrap();
        let result = connect_and_exchange(&mut world, &mut client, &mut server);
        assert_eq!(result.is_ok(), accepted, "{name}");
    }
}

#[test]
fn configured_algorithms_are_the_only_ones_used() {
    let (mut world, _) = test_files();
    let connects = |client: &str, server: &str| {
        let (mut world, _) = test_files();
        let mut server = load_server(&mut world, &format!("{SERVER}, {server}")).unwrap();
        let mut client = load_client(&mut world, &format!("ca_file: ca.pem, {client}"), &[]).unwrap();
        connect_and_exchange(&mut world, &mut client, &mut server).is_ok()
    };
    let (aes, chacha) = ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
    let only = |suite: &str| format!("max_version: '1.2', cipher_suites: [{suite}]");
    assert!(connects(&only(aes), &only(aes)));
    assert!(!connects(&only(aes), &only(chacha)));
    assert!(connects("curve_preferences: [P384]", "curve_preferences: [P384, X25519]"));
    assert!(!connects("curve_preferences: [P384]", "curve_preferences: [X25519]"));
    assert!(!connects("max_version: '1.2'", "min_version: '1.3'"));
    let _ = &mut world;
}

#[test]
fn changed_certificates_are_used_from_the_next_connection_on() {
    let (mut world, ours) = test_files();
    let mut server = load_server(&mut world, &format!("{SERVER}, reload_interval: 10s")).unwrap();
    let mut client = load_client(&mut world, "ca_file: ca.pem, server_name_override: new-name", &[]).unwrap();
    assert!(connect_and_exchange(&mut world, &mut client, &mut server).is_err());
    let (cert, key) = ours.issue("new-name");
    world.disk().write("server.pem", cert);
    world.advance(Duration::from_secs(9));
    assert!(connect_and_exchange(&mut world, &mut client, &mut server).is_err(), "too early");
    // A new certificate without its key is not used: the old pair stays in use until both files are replaced.
    world.advance(Duration::from_secs(2));
    assert!(connect_and_exchange(&mut world, &mut client, &mut server).is_err());
    world.disk().write("server.key", key);
    world.advance(Duration::from_secs(11));
    assert!(connect_and_exchange(&mut world, &mut client, &mut server).is_ok());
    for path in world.disk().paths() {
        world.disk().remove(path);
    }
    world.advance(Duration::from_secs(22));
    assert!(
        connect_and_exchange(&mut world, &mut client, &mut server).is_ok(),
        "files that are gone leave the last ones in place"
    );
    let reads = world.files_read();
    assert!(connect_and_exchange(&mut world, &mut client, &mut server).is_ok());
    assert_eq!(world.files_read(), reads, "nothing is read between two intervals");
}

#[test]
fn connection_that_finds_files_due_waits_for_them_and_others_do_not() {
    let (mut world, ours) = test_files();
    let mut server = load_server(&mut world, &format!("{SERVER}, reload_interval: 10s")).unwrap();
    let (cert, key) = ours.issue("new-name");
    world.disk().write("server.pem", cert);
    world.disk().write("server.key", key);
    world.advance(Duration::from_secs(11));
    let mut client = load_client(&mut world, "ca_file: ca.pem, server_name_override: new-name", &[]).unwrap();
    let mut begin = |world: &mut TestWorld| {
        let (client_end, server_end) = pipe(7000);
        let client = client.connect(&mut world.cx(), Box::new(client_end), "gateway").unwrap();
        (client, server.accept(&mut world.cx(), Box::new(server_end)).unwrap())
    };
    let (mut first_client, mut first) = begin(&mut world);
    let (mut second_client, mut second) = begin(&mut world);
    assert_eq!(world.job_count(), 1, "the files are read once");
    for (client, server) in [(&mut first_client, &mut first), (&mut second_client, &mut second)] {
        assert_eq!(client.handshake().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(server.handshake().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    assert_eq!(second_client.handshake().unwrap_err().kind(), ErrorKind::InvalidData, "it got the old certificate");
    assert_eq!(first_client.handshake().unwrap_err().kind(), ErrorKind::WouldBlock, "the server waits for its files");
    assert_eq!(world.run_job(), Some(1), "the event comes under the key of the connection");
    assert!(exchange(first_client, first).is_ok());
}

#[test]
fn unusable_files_are_named_in_the_error() {
    let (mut world, _) = test_files();
    world.disk().write("empty.pem", Vec::new());
    let mut load_error = |yaml: &str| load_server(&mut world, yaml).unwrap_err();
    assert_eq!(
        load_error("cert_file: /x, key_file: server.key"),
        "failed to load TLS config: failed to load TLS cert and key: open /x: no such file or directory"
    );
    for (yaml, part) in [
        ("cert_file: server.pem, key_file: client.key", "failed to load TLS cert and key"),
        ("cert_file: empty.pem, key_file: server.key", "empty.pem: no certificate in it"),
        ("cert_file: server.pem, key_file: empty.pem", "empty.pem: no private key in it"),
        ("cert_file: server.pem, key_file: server.key, client_ca_file: empty.pem", "failed to parse cert empty.pem"),
        ("cert_pem: nonsense, key_file: server.key", "the PEM in the configuration"),
    ] {
        let error = load_error(yaml);
        assert!(error.contains(part), "{yaml}: {error}");
    }
}

/// A certificate's parameters, with the names of a server.
fn cert_params(name: &str) -> rcgen::CertificateParams {
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params
}

fn insert_cert_and_key(world: &mut TestWorld, name: &str, cert: &rcgen::Certificate, key: &rcgen::KeyPair) {
    world.disk().write(format!("{name}.pem"), cert.pem().into_bytes());
    world.disk().write(format!("{name}.key"), key.serialize_pem().into_bytes());
}

/// A self-signed pair of files.
fn self_signed(world: &mut TestWorld, name: &str, params: &rcgen::CertificateParams) {
    let key = rcgen::KeyPair::generate().unwrap();
    insert_cert_and_key(world, name, &params.self_signed(&key).unwrap(), &key);
}

/// Pairs of files for a name: `leaf` self-signed, `ca` the same as an authority, `signed` by an authority that is in
/// none of the files, `expired`, `future`, `purpose` for the other side only, `same` with the names of `leaf` and
/// another key.
fn test_files_for(name: &str, other_side: rcgen::ExtendedKeyUsagePurpose) -> TestWorld {
    let mut world = TestWorld::default();
    self_signed(&mut world, "leaf", &cert_params(name));
    self_signed(&mut world, "same", &cert_params(name));
    let mut ca = cert_params(name);
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    self_signed(&mut world, "ca", &ca);
    let (cert, key) = TestCa::new("unknown").issue(name);
    world.disk().write("signed.pem", cert);
    world.disk().write("signed.key", key);
    let mut expired = cert_params(name);
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    self_signed(&mut world, "expired", &expired);
    let mut future = cert_params(name);
    future.not_before = rcgen::date_time_ymd(3000, 1, 1);
    self_signed(&mut world, "future", &future);
    let mut purpose = cert_params(name);
    purpose.extended_key_usages = vec![other_side];
    self_signed(&mut world, "purpose", &purpose);
    world
}

/// Whether a client with `ca` in `ca_file` accepts a server with the certificate `server`.
fn connect_with_ca_file(world: &mut TestWorld, ca: &str, server: &str, options: &str) -> Result<(), String> {
    let mut result = Ok(());
    for version in ["max_version: '1.2'", "min_version: '1.3'"] {
        let mut server =
            load_server(world, &format!("cert_file: {server}.pem, key_file: {server}.key, {version}")).unwrap();
        let mut client = load_client(world, &format!("ca_file: {ca}.pem{options}"), &[]).unwrap();
        result = connect_and_exchange(world, &mut client, &mut server).map(drop).map_err(|[error, _]| error);
    }
    result
}

#[test]
fn server_certificate_in_ca_file_itself_is_trusted() {
    let mut world = test_files_for("gateway", rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    for name in ["leaf", "ca", "signed"] {
        assert_eq!(connect_with_ca_file(&mut world, name, name, ""), Ok(()), "{name}");
    }
    // It is also accepted in a file with other certificates.
    let bundle: Vec<u8> =
        ["same", "signed", "leaf"].iter().flat_map(|n| world.disk().content(format!("{n}.pem")).unwrap()).collect();
    world.disk().write("bundle.pem", bundle);
    for name in ["leaf", "signed"] {
        assert_eq!(connect_with_ca_file(&mut world, "bundle", name, ""), Ok(()), "{name}");
    }
}

#[test]
fn server_certificate_in_ca_file_is_refused_for_its_name_dates_or_purpose() {
    let mut world = test_files_for("gateway", rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    for name in ["leaf", "ca", "signed"] {
        let error = connect_with_ca_file(&mut world, name, name, ", server_name_override: elsewhere").unwrap_err();
        assert!(error.contains("not valid for name") && error.contains("elsewhere"), "{name}: {error}");
    }
    for (name, part) in [("expired", "expired"), ("future", "notvalidyet"), ("purpose", "purpose")] {
        let error = connect_with_ca_file(&mut world, name, name, "").unwrap_err();
        assert!(error.to_lowercase().contains(part), "{name}: {error}");
    }
}

#[test]
fn server_certificate_that_only_resembles_the_one_in_ca_file_is_refused() {
    let mut world = test_files_for("gateway", rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    for (ca, server) in [("leaf", "same"), ("same", "leaf"), ("leaf", "ca"), ("ca", "leaf"), ("leaf", "signed")] {
        assert!(connect_with_ca_file(&mut world, ca, server, "").is_err(), "{ca} for {server}");
    }
}

#[test]
fn certificate_signed_by_a_certificate_in_ca_file_that_is_no_ca_is_refused() {
    let mut world = TestWorld::default();
    // Its key has signed a certificate for another machine.
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertifiedIssuer::self_signed(cert_params("one"), key).unwrap();
    world.disk().write("one.pem", leaf.pem().into_bytes());
    let key = rcgen::KeyPair::generate().unwrap();
    insert_cert_and_key(&mut world, "two", &cert_params("gateway").signed_by(&key, &leaf).unwrap(), &key);
    let error = connect_with_ca_file(&mut world, "one", "two", "").unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
}

#[test]
fn chain_through_an_intermediate_is_trusted_by_its_root_only() {
    let mut world = TestWorld::default();
    let root = TestCa::new("root");
    let mut middle = rcgen::CertificateParams::new(Vec::new()).unwrap();
    middle.distinguished_name.push(rcgen::DnType::CommonName, "middle");
    middle.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let middle = rcgen::CertifiedIssuer::signed_by(middle, rcgen::KeyPair::generate().unwrap(), &root.0).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = cert_params("gateway").signed_by(&key, &middle).unwrap();
    insert_cert_and_key(&mut world, "leaf", &leaf, &key);
    world.disk().write("leaf.pem", format!("{}{}", leaf.pem(), middle.pem()).into_bytes());
    world.disk().write("root.pem", root.0.pem().into_bytes());
    world.disk().write("other.pem", TestCa::new("root").0.pem().into_bytes());
    assert_eq!(connect_with_ca_file(&mut world, "root", "leaf", ""), Ok(()));
    assert!(connect_with_ca_file(&mut world, "other", "leaf", "").is_err());
}

#[test]
fn client_certificate_in_client_ca_file_itself_is_trusted() {
    let mut world = test_files_for("agent", rcgen::ExtendedKeyUsagePurpose::ServerAuth);
    let (mut servers, _) = test_files();
    for name in ["server.pem", "server.key", "ca.pem"] {
        let content = servers.disk().content(name).unwrap();
        world.disk().write(format!("server-{name}"), content);
    }
    let mut accepts = |clients: &str, client_name: &str| {
        let server = "cert_file: server-server.pem, key_file: server-server.key";
        let client_cert = if client_name.is_empty() {
            String::new()
        } else {
            format!(", cert_file: {client_name}.pem, key_file: {client_name}.key")
        };
        ["max_version: '1.2'", "min_version: '1.3'"].map(|version| {
            let yaml = format!("{server}, client_ca_file: {clients}.pem, {version}");
            let mut server = load_server(&mut world, &yaml).unwrap();
            let mut client = load_client(&mut world, &format!("ca_file: server-ca.pem{client_cert}"), &[]).unwrap();
            connect_and_exchange(&mut world, &mut client, &mut server).is_ok()
        })
    };
    for name in ["leaf", "ca", "signed"] {
        assert_eq!(accepts(name, name), [true; 2], "{name}");
        assert_eq!(accepts(name, ""), [false; 2], "{name}: none is shown");
    }
    for (clients, client_name) in [
        ("leaf", "same"),
        ("leaf", "signed"),
        ("ca", "leaf"),
        ("expired", "expired"),
        ("future", "future"),
        ("purpose", "purpose"),
    ] {
        assert_eq!(accepts(clients, client_name), [false; 2], "{clients} for {client_name}");
    }
}

/// Certificates that ring can't use, as openssl made them.
const RSA_1024: &str = include_str!("testdata/rsa1024.pem");
const RSA_1024_KEY: &str = include_str!("testdata/rsa1024.key");
const P_521: &str = include_str!("testdata/p521.pem");
const P_521_KEY: &str = include_str!("testdata/p521.key");

#[test]
fn unsupported_key_is_refused_with_the_supported_ones() {
    let (mut world, _) = test_files();
    for (name, text) in [("rsa.pem", RSA_1024), ("rsa.key", RSA_1024_KEY), ("ec.pem", P_521), ("ec.key", P_521_KEY)] {
        world.disk().write(name, text);
    }
    let rsa = "rsa.pem: an RSA key of 1024 bits can't be used; those of 2048 to 4096 bits can";
    let ec = "ec.pem: an ECDSA key on P-521 can't be used; those on P-256 and P-384 can";
    for (name, part) in [("rsa", rsa), ("ec", ec)] {
        let yaml = format!("cert_file: {name}.pem, key_file: {name}.key");
        for error in [load_server(&mut world, &yaml).unwrap_err(), load_client(&mut world, &yaml, &[]).unwrap_err()] {
            assert!(error.contains(part), "{error}");
        }
        let part = part.replace("4096", "8192");
        let error = load_client(&mut world, &format!("ca_file: {name}.pem"), &[]).unwrap_err();
        assert!(error.contains(&part), "{error}");
        let error = load_server(&mut world, &format!("{SERVER}, client_ca_file: {name}.pem")).unwrap_err();
        assert!(error.contains(&part), "{error}");
    }
}
