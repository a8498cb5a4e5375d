//! Both ends in one thread over a pipe that takes a few bytes at a time.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::sync::Arc;

use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_pipeline::{
    Cx, Endpoint, Key, Listener, Logger, MemorySample, Mono, NoLog, PeerAddr, ProcessSample, Stream, TimerId, Wall,
    World,
};

use super::*;

/// A world of files and a clock.
#[derive(Default)]
struct Files {
    files: BTreeMap<String, Vec<u8>>,
    now: u64,
    reads: usize,
}

impl World for Files {
    fn now(&self) -> Mono {
        Mono(self.now)
    }
    fn wall(&self) -> Wall {
        Wall(0)
    }
    fn rand(&mut self) -> u64 {
        4
    }
    fn memory(&mut self) -> MemorySample {
        MemorySample::default()
    }
    fn process(&mut self) -> ProcessSample {
        ProcessSample::default()
    }
    fn listen(&mut self, _: Key, _: &Endpoint) -> io::Result<Box<dyn Listener>> {
        Err(ErrorKind::Unsupported.into())
    }
    fn connect(&mut self, _: Key, _: &PeerAddr) -> io::Result<Box<dyn Stream>> {
        Err(ErrorKind::Unsupported.into())
    }
    fn resolve(&mut self, _: Key, _: &str, _: u16) {}
    fn arm(&mut self, _: Key, _: Mono) -> TimerId {
        TimerId(0)
    }
    fn cancel(&mut self, _: TimerId) {}
    fn again(&mut self, _: Key) {}
    fn output(&mut self, _: &str) -> io::Result<Box<dyn Write>> {
        Err(ErrorKind::Unsupported.into())
    }
    fn read(&mut self, path: &str) -> io::Result<Vec<u8>> {
        self.reads += 1;
        let missing = || io::Error::other(format!("open {path}: no such file or directory"));
        self.files.get(path).cloned().ok_or_else(missing)
    }
}

#[derive(Default)]
struct Way {
    bytes: VecDeque<u8>,
    shut: bool,
}

/// One end of a pipe that holds `room` bytes.
struct End {
    incoming: Rc<RefCell<Way>>,
    outgoing: Rc<RefCell<Way>>,
    room: usize,
}

fn pipe(room: usize) -> (End, End) {
    let (a, b) = (Rc::<RefCell<Way>>::default(), Rc::<RefCell<Way>>::default());
    (End { incoming: a.clone(), outgoing: b.clone(), room }, End { incoming: b, outgoing: a, room })
}

impl Read for End {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut way = self.incoming.borrow_mut();
        if way.bytes.is_empty() {
            return if way.shut { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        way.bytes.read(buf)
    }
}

impl Write for End {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut way = self.outgoing.borrow_mut();
        let n = (self.room - way.bytes.len()).min(buf.len());
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        way.bytes.extend(&buf[..n]);
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for End {
    fn peer(&self) -> String {
        "pipe".to_owned()
    }
    fn shut_write(&mut self) {
        self.outgoing.borrow_mut().shut = true;
    }
}

/// An authority that issues certificates.
struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
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
/// client `stranger`.
fn files() -> (Files, Authority) {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let mut world = Files::default();
    for (name, (cert, key)) in
        [("server", ours.issue("gateway")), ("client", ours.issue("agent")), ("stranger", other.issue("agent"))]
    {
        world.files.insert(format!("{name}.pem"), cert);
        world.files.insert(format!("{name}.key"), key);
    }
    world.files.insert("ca.pem".to_owned(), ours.0.pem().into_bytes());
    world.files.insert("other.pem".to_owned(), other.0.pem().into_bytes());
    (world, ours)
}

const SERVER: &str = "cert_file: server.pem, key_file: server.key";

fn log() -> Logger {
    Logger::new(Arc::new(NoLog))
}

fn server(world: &mut Files, yaml: &str) -> Result<ServerTls, String> {
    let d = Diagnostics::new();
    let node = from_yaml(&format!("tls: {{{yaml}}}"), &d).unwrap();
    let mut s = Section::new(Some(&node), "server", &d);
    let settings = TlsServer::parse(&mut s).ok_or_else(|| d.to_text(false))?;
    assert!(!d.has_errors(), "{}", d.to_text(false));
    ServerTls::load(&mut Cx::new(world, 0), &settings, &[b"h2", b"http/1.1"], log())
}

fn client(world: &mut Files, yaml: &str, alpn: &[&[u8]]) -> Result<ClientTls, String> {
    let d = Diagnostics::new();
    let node = from_yaml(&format!("{{{yaml}}}"), &d).unwrap();
    let settings = ClientSection::parse(Section::new(Some(&node), "client", &d));
    assert!(!d.has_errors(), "{}", d.to_text(false));
    ClientTls::load(&mut Cx::new(world, 0), &settings.tls, alpn, log())
}

/// Sends a request and a response between the two, each longer than the pipe. On failure, returns the errors of the
/// client and the server.
fn converse(mut client: TlsStream, mut server: TlsStream) -> Result<(TlsStream, TlsStream), [String; 2]> {
    let question: Vec<u8> = (0..200_000_u32).map(|i| i as u8).collect();
    let answer: Vec<u8> = question.iter().rev().copied().collect();
    let (mut asked, mut heard, mut answered, mut got) = (0, Vec::new(), 0, Vec::new());
    let mut buf = vec![0; 5000];
    for _ in 0..20_000 {
        let mut failed = false;
        let mut quiet = |result: io::Result<usize>| match result {
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => {
                failed = true;
                0
            }
        };
        if asked < question.len() {
            asked += quiet(client.write(&question[asked..]));
        }
        let n = quiet(server.read(&mut buf));
        heard.extend_from_slice(&buf[..n]);
        if heard.len() == question.len() && answered < answer.len() {
            answered += quiet(server.write(&answer[answered..]));
        }
        let n = quiet(client.read(&mut buf));
        got.extend_from_slice(&buf[..n]);
        quiet(server.flush().map(|()| 0));
        if failed {
            // The side that found the error sends an alert to the other.
            let _ = (client.read(&mut buf), server.read(&mut buf), client.read(&mut buf));
            return Err([client.trouble().unwrap_or_default(), server.trouble().unwrap_or_default()]);
        }
        if got.len() == answer.len() {
            assert!(heard == question && got == answer);
            return Ok((client, server));
        }
    }
    panic!("nothing moves: asked {asked}, heard {}, answered {answered}, got {}", heard.len(), got.len());
}

fn meet(
    world: &mut Files,
    client: &mut ClientTls,
    server: &mut ServerTls,
) -> Result<(TlsStream, TlsStream), [String; 2]> {
    let (ours, theirs) = pipe(700);
    let cx = &mut Cx::new(world, 0);
    let client = client.connect(cx, Box::new(ours), "gateway").unwrap();
    let server = server.accept(cx, Box::new(theirs)).unwrap();
    converse(client, server)
}

#[test]
fn a_question_and_an_answer_pass_through_a_narrow_pipe() {
    let (mut world, _) = files();
    for versions in ["", ", max_version: '1.2'", ", min_version: '1.3'"] {
        let mut server = server(&mut world, &format!("{SERVER}{versions}")).unwrap();
        let mut client = client(&mut world, "ca_file: ca.pem", &[b"h2"]).unwrap();
        let (client, mut server) = meet(&mut world, &mut client, &mut server).unwrap();
        assert_eq!((client.alpn(), server.alpn()), (Some(&b"h2"[..]), Some(&b"h2"[..])));
        assert!(server.handshake().unwrap());
    }
}

#[test]
fn after_the_last_word_the_other_side_reads_the_end() {
    let (mut world, _) = files();
    let mut server = server(&mut world, SERVER).unwrap();
    let mut client = client(&mut world, "ca_file: ca.pem", &[]).unwrap();
    let (mut client, mut server) = meet(&mut world, &mut client, &mut server).unwrap();
    server.shut_write();
    let mut buf = [0; 10];
    assert_eq!(client.read(&mut buf).unwrap(), 0);
    client.write_all(b"still here").unwrap();
    assert_eq!(server.read(&mut buf).unwrap(), 10);
    // A connection that is closed without `close_notify` is at its end too: the protocols above detect missing data.
    drop(client);
    server.flush().unwrap();
}

#[test]
fn who_is_not_known_is_told_so() {
    let (mut world, _) = files();
    let mut plain = server(&mut world, SERVER).unwrap();
    let mut refused = |world: &mut Files, yaml: &str| {
        let mut client = client(world, yaml, &[]).unwrap();
        meet(world, &mut client, &mut plain).map(drop).unwrap_err()
    };
    let [said, _] = refused(&mut world, "ca_file: other.pem");
    assert!(said.contains("UnknownIssuer"), "{said}");
    let [said, _] = refused(&mut world, "ca_file: ca.pem, server_name_override: elsewhere");
    assert!(said.contains("not valid for name"), "{said}");
    for fine in [
        "insecure_skip_verify: true",
        "ca_file: ca.pem, insecure: true",
        "ca_file: ca.pem, server_name_override: gateway",
    ] {
        let mut client = client(&mut world, fine, &[]).unwrap();
        assert!(meet(&mut world, &mut client, &mut plain).is_ok(), "{fine}");
    }
}

#[test]
fn whoever_speaks_http_without_tls_is_known_for_an_answer_and_gets_no_alert() {
    let (mut world, _) = files();
    let mut server = server(&mut world, SERVER).unwrap();
    for (begin, http) in [
        ("GET / HTTP/1.1\r\n", true),
        ("HEAD / HTTP/1.1\r\n", true),
        ("POST /v1/traces HTTP/1.1\r\n", true),
        ("PUT /", true),
        ("OPTIONS * HTTP/1.1\r\n", true),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false),
        ("BREW / HTTP/1.1\r\n", false),
    ] {
        let (mut peer, end) = pipe(700);
        let mut stream = server.accept(&mut Cx::new(&mut world, 0), Box::new(end)).unwrap();
        assert_eq!(stream.handshake().unwrap_err().kind(), ErrorKind::WouldBlock);
        peer.write_all(begin.as_bytes()).unwrap();
        assert_eq!(stream.handshake().unwrap_err().kind(), ErrorKind::InvalidData, "{begin:?}");
        assert_eq!(peer.read(&mut [0; 50]).is_err(), http, "only strangers are sent an alert: {begin:?}");
        let told = stream.trouble().unwrap();
        assert_eq!(told == "tls: first record does not look like a TLS handshake", http, "{told}");
        assert_eq!(stream.into_plain_http().is_some(), http, "{begin:?}");
    }
}

#[test]
fn a_server_that_wants_certificates_takes_those_of_its_authority_only() {
    let (mut world, _) = files();
    let mut server = server(&mut world, &format!("{SERVER}, client_ca_file: ca.pem")).unwrap();
    for (who, welcome) in [("client", true), ("stranger", false), ("", false)] {
        let own = if who.is_empty() { String::new() } else { format!(", cert_file: {who}.pem, key_file: {who}.key") };
        let mut client = client(&mut world, &format!("ca_file: ca.pem{own}"), &[]).unwrap();
        let met = meet(&mut world, &mut client, &mut server);
        assert_eq!(met.is_ok(), welcome, "{who}");
    }
}

#[test]
fn algorithms_that_are_chosen_are_the_only_ones() {
    let (mut world, _) = files();
    let with = |client: &str, server: &str| {
        let (mut world, _) = files();
        let mut server = self::server(&mut world, &format!("{SERVER}, {server}")).unwrap();
        let mut client = self::client(&mut world, &format!("ca_file: ca.pem, {client}"), &[]).unwrap();
        meet(&mut world, &mut client, &mut server).is_ok()
    };
    let (aes, chacha) = ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
    let only = |suite: &str| format!("max_version: '1.2', cipher_suites: [{suite}]");
    assert!(with(&only(aes), &only(aes)));
    assert!(!with(&only(aes), &only(chacha)));
    assert!(with("curve_preferences: [P384]", "curve_preferences: [P384, X25519]"));
    assert!(!with("curve_preferences: [P384]", "curve_preferences: [X25519]"));
    assert!(!with("max_version: '1.2'", "min_version: '1.3'"));
    let _ = &mut world;
}

#[test]
fn certificates_that_change_are_used_from_the_next_connection_on() {
    let (mut world, ours) = files();
    let mut server = server(&mut world, &format!("{SERVER}, reload_interval: 10s")).unwrap();
    let mut client = client(&mut world, "ca_file: ca.pem, server_name_override: new-name", &[]).unwrap();
    assert!(meet(&mut world, &mut client, &mut server).is_err());
    let (cert, key) = ours.issue("new-name");
    world.files.insert("server.pem".to_owned(), cert);
    world.now = 9_000_000_000;
    assert!(meet(&mut world, &mut client, &mut server).is_err(), "too early");
    // A new certificate without its key is not used: the old pair stays in use until both files are replaced.
    world.now = 11_000_000_000;
    assert!(meet(&mut world, &mut client, &mut server).is_err());
    world.files.insert("server.key".to_owned(), key);
    world.now = 22_000_000_000;
    assert!(meet(&mut world, &mut client, &mut server).is_ok());
    world.files.clear();
    world.now = 44_000_000_000;
    assert!(meet(&mut world, &mut client, &mut server).is_ok(), "files that are gone leave the last ones in place");
    let reads = world.reads;
    assert!(meet(&mut world, &mut client, &mut server).is_ok());
    assert_eq!(world.reads, reads, "nothing is read between two intervals");
}

#[test]
fn what_cannot_be_loaded_is_named() {
    let (mut world, _) = files();
    world.files.insert("empty.pem".to_owned(), Vec::new());
    let mut says = |yaml: &str| server(&mut world, yaml).unwrap_err();
    assert_eq!(
        says("cert_file: /x, key_file: server.key"),
        "failed to load TLS config: failed to load TLS cert and key: open /x: no such file or directory"
    );
    for (yaml, part) in [
        ("cert_file: server.pem, key_file: client.key", "failed to load TLS cert and key"),
        ("cert_file: empty.pem, key_file: server.key", "empty.pem: no certificate in it"),
        ("cert_file: server.pem, key_file: empty.pem", "empty.pem: no private key in it"),
        ("cert_file: server.pem, key_file: server.key, client_ca_file: empty.pem", "failed to parse cert empty.pem"),
        ("cert_pem: nonsense, key_file: server.key", "the PEM in the configuration"),
    ] {
        let said = says(yaml);
        assert!(said.contains(part), "{yaml}: {said}");
    }
}

/// A certificate's parameters, with the names of a server.
fn params(name: &str) -> rcgen::CertificateParams {
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params
}

fn put(world: &mut Files, name: &str, cert: &rcgen::Certificate, key: &rcgen::KeyPair) {
    world.files.insert(format!("{name}.pem"), cert.pem().into_bytes());
    world.files.insert(format!("{name}.key"), key.serialize_pem().into_bytes());
}

/// A self-signed pair of files.
fn self_signed(world: &mut Files, name: &str, params: &rcgen::CertificateParams) {
    let key = rcgen::KeyPair::generate().unwrap();
    put(world, name, &params.self_signed(&key).unwrap(), &key);
}

/// Pairs of files for a name: `leaf` self-signed, `ca` the same as an authority, `signed` by an authority that is in
/// none of the files, `expired`, `future`, `purpose` for the other side only, `same` with the names of `leaf` and
/// another key.
fn pinned(name: &str, other_side: rcgen::ExtendedKeyUsagePurpose) -> Files {
    let mut world = Files::default();
    self_signed(&mut world, "leaf", &params(name));
    self_signed(&mut world, "same", &params(name));
    let mut ca = params(name);
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    self_signed(&mut world, "ca", &ca);
    let (cert, key) = Authority::new("nobody").issue(name);
    world.files.insert("signed.pem".to_owned(), cert);
    world.files.insert("signed.key".to_owned(), key);
    let mut expired = params(name);
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    self_signed(&mut world, "expired", &expired);
    let mut future = params(name);
    future.not_before = rcgen::date_time_ymd(3000, 1, 1);
    self_signed(&mut world, "future", &future);
    let mut purpose = params(name);
    purpose.extended_key_usages = vec![other_side];
    self_signed(&mut world, "purpose", &purpose);
    world
}

/// Whether a client with `ca` in `ca_file` accepts a server with the certificate `server`.
fn trusts(world: &mut Files, ca: &str, server: &str, more: &str) -> Result<(), String> {
    let mut result = Ok(());
    for version in ["max_version: '1.2'", "min_version: '1.3'"] {
        let mut server =
            self::server(world, &format!("cert_file: {server}.pem, key_file: {server}.key, {version}")).unwrap();
        let mut client = client(world, &format!("ca_file: {ca}.pem{more}"), &[]).unwrap();
        result = meet(world, &mut client, &mut server).map(drop).map_err(|[said, _]| said);
    }
    result
}

#[test]
fn server_certificate_in_ca_file_itself_is_trusted() {
    let mut world = pinned("gateway", rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    for name in ["leaf", "ca", "signed"] {
        assert_eq!(trusts(&mut world, name, name, ""), Ok(()), "{name}");
    }
    // It is also accepted in a file with other certificates.
    let bundle: Vec<u8> =
        ["same", "signed", "leaf"].iter().flat_map(|n| world.files[&format!("{n}.pem")].clone()).collect();
    world.files.insert("bundle.pem".to_owned(), bundle);
    for name in ["leaf", "signed"] {
        assert_eq!(trusts(&mut world, "bundle", name, ""), Ok(()), "{name}");
    }
}

#[test]
fn server_certificate_in_ca_file_is_refused_for_its_name_dates_or_purpose() {
    let mut world = pinned("gateway", rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    for name in ["leaf", "ca", "signed"] {
        let said = trusts(&mut world, name, name, ", server_name_override: elsewhere").unwrap_err();
        assert!(said.contains("not valid for name") && said.contains("elsewhere"), "{name}: {said}");
    }
    for (name, part) in [("expired", "expired"), ("future", "notvalidyet"), ("purpose", "purpose")] {
        let said = trusts(&mut world, name, name, "").unwrap_err();
        assert!(said.to_lowercase().contains(part), "{name}: {said}");
    }
}

#[test]
fn server_certificate_that_only_resembles_the_one_in_ca_file_is_refused() {
    let mut world = pinned("gateway", rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    for (ca, server) in [("leaf", "same"), ("same", "leaf"), ("leaf", "ca"), ("ca", "leaf"), ("leaf", "signed")] {
        assert!(trusts(&mut world, ca, server, "").is_err(), "{ca} for {server}");
    }
}

#[test]
fn certificate_in_ca_file_that_is_no_authority_signs_nothing() {
    let mut world = Files::default();
    // Its key has signed a certificate for another machine.
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertifiedIssuer::self_signed(params("one"), key).unwrap();
    world.files.insert("one.pem".to_owned(), leaf.pem().into_bytes());
    let key = rcgen::KeyPair::generate().unwrap();
    put(&mut world, "two", &params("gateway").signed_by(&key, &leaf).unwrap(), &key);
    let said = trusts(&mut world, "one", "two", "").unwrap_err();
    assert!(said.contains("UnknownIssuer"), "{said}");
}

#[test]
fn chain_through_an_intermediate_is_trusted_by_its_root_only() {
    let mut world = Files::default();
    let root = Authority::new("root");
    let mut middle = rcgen::CertificateParams::new(Vec::new()).unwrap();
    middle.distinguished_name.push(rcgen::DnType::CommonName, "middle");
    middle.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let middle = rcgen::CertifiedIssuer::signed_by(middle, rcgen::KeyPair::generate().unwrap(), &root.0).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = params("gateway").signed_by(&key, &middle).unwrap();
    put(&mut world, "leaf", &leaf, &key);
    world.files.insert("leaf.pem".to_owned(), format!("{}{}", leaf.pem(), middle.pem()).into_bytes());
    world.files.insert("root.pem".to_owned(), root.0.pem().into_bytes());
    world.files.insert("other.pem".to_owned(), Authority::new("root").0.pem().into_bytes());
    assert_eq!(trusts(&mut world, "root", "leaf", ""), Ok(()));
    assert!(trusts(&mut world, "other", "leaf", "").is_err());
}

#[test]
fn client_certificate_in_client_ca_file_itself_is_trusted() {
    let mut world = pinned("agent", rcgen::ExtendedKeyUsagePurpose::ServerAuth);
    let (servers, _) = files();
    world.files.extend(servers.files.into_iter().map(|(name, text)| (format!("server-{name}"), text)));
    let mut welcomes = |clients: &str, own: &str| {
        let server = "cert_file: server-server.pem, key_file: server-server.key";
        let own = if own.is_empty() { String::new() } else { format!(", cert_file: {own}.pem, key_file: {own}.key") };
        ["max_version: '1.2'", "min_version: '1.3'"].map(|version| {
            let yaml = format!("{server}, client_ca_file: {clients}.pem, {version}");
            let mut server = self::server(&mut world, &yaml).unwrap();
            let mut client = client(&mut world, &format!("ca_file: server-ca.pem{own}"), &[]).unwrap();
            meet(&mut world, &mut client, &mut server).is_ok()
        })
    };
    for name in ["leaf", "ca", "signed"] {
        assert_eq!(welcomes(name, name), [true; 2], "{name}");
        assert_eq!(welcomes(name, ""), [false; 2], "{name}: none is shown");
    }
    for (clients, own) in [
        ("leaf", "same"),
        ("leaf", "signed"),
        ("ca", "leaf"),
        ("expired", "expired"),
        ("future", "future"),
        ("purpose", "purpose"),
    ] {
        assert_eq!(welcomes(clients, own), [false; 2], "{clients} for {own}");
    }
}

/// Certificates that ring can't use, as openssl made them.
const RSA_1024: &str = include_str!("testdata/rsa1024.pem");
const RSA_1024_KEY: &str = include_str!("testdata/rsa1024.key");
const P_521: &str = include_str!("testdata/p521.pem");
const P_521_KEY: &str = include_str!("testdata/p521.key");

#[test]
fn keys_that_can_not_be_used_are_named_with_what_can() {
    let (mut world, _) = files();
    for (name, text) in [("rsa.pem", RSA_1024), ("rsa.key", RSA_1024_KEY), ("ec.pem", P_521), ("ec.key", P_521_KEY)] {
        world.files.insert(name.to_owned(), text.as_bytes().to_vec());
    }
    let rsa = "rsa.pem: an RSA key of 1024 bits can't be used; those of 2048 to 4096 bits can";
    let ec = "ec.pem: an ECDSA key on P-521 can't be used; those on P-256 and P-384 can";
    for (name, part) in [("rsa", rsa), ("ec", ec)] {
        let own = format!("cert_file: {name}.pem, key_file: {name}.key");
        for said in [server(&mut world, &own).unwrap_err(), client(&mut world, &own, &[]).unwrap_err()] {
            assert!(said.contains(part), "{said}");
        }
        let part = part.replace("4096", "8192");
        let said = client(&mut world, &format!("ca_file: {name}.pem"), &[]).unwrap_err();
        assert!(said.contains(&part), "{said}");
        let said = server(&mut world, &format!("{SERVER}, client_ca_file: {name}.pem")).unwrap_err();
        assert!(said.contains(&part), "{said}");
    }
}
