use super::*;
use crate::sasl::ScramHash;

/// Takes the requests that the connection has written.
fn requests(connection: &mut Connection) -> Vec<(i16, i32)> {
    let mut bytes = Vec::new();
    while connection.has_output() {
        let len = {
            let parts = connection.output();
            parts.iter().for_each(|part| bytes.extend_from_slice(part));
            parts.iter().map(|part| part.len()).sum()
        };
        connection.advance_output(len);
    }
    let mut found = Vec::new();
    let mut rest = &bytes[..];
    while let Some((prefix, after)) = rest.split_first_chunk::<4>() {
        let (frame, next) = after.split_at(u32::from_be_bytes(*prefix) as usize);
        let mut r = Reader::new(frame, false);
        let (key, _version, correlation) = (r.i16().unwrap(), r.i16().unwrap(), r.i32().unwrap());
        found.push((key, correlation));
        rest = next;
    }
    found
}

fn frame(correlation: i32, has_tags: bool, body: &[u8]) -> Vec<u8> {
    let mut w = Writer::new(false);
    w.i32((4 + usize::from(has_tags) + body.len()) as i32);
    w.i32(correlation);
    if has_tags {
        w.i8(0);
    }
    w.bytes.extend_from_slice(body);
    w.bytes
}

/// Every request in every version that this client has.
fn versions() -> Vec<u8> {
    let mut w = Writer::new(true);
    w.i16(0);
    w.len(ApiKey::ALL.len());
    for api in ApiKey::ALL {
        w.i16(api as i16);
        w.i16(0);
        w.i16(api.implemented().max);
        w.no_tags();
    }
    w.i32(0);
    w.no_tags();
    w.bytes
}

fn authenticated(message: &[u8], lifetime: i64) -> Vec<u8> {
    let mut w = Writer::new(true);
    w.i16(0);
    w.null_string();
    w.put_bytes(message);
    w.i64(lifetime);
    w.no_tags();
    w.bytes
}

fn with_plain() -> Connection {
    let credentials = Credentials::Plain { username: "u".to_owned(), password: "p".to_owned() };
    Connection::begin("c", None, Some(credentials), "nonce".to_owned())
}

#[test]
fn connection_without_authentication_is_ready_after_its_versions_byte_by_byte() {
    let mut connection = Connection::begin("c", None, None, String::new());
    assert_eq!(requests(&mut connection), [(18, 0)]);
    for byte in frame(0, false, &versions()) {
        assert!(connection.poll_event().is_none());
        connection.handle_input(&[byte]).unwrap();
    }
    assert!(matches!(connection.poll_event(), Some(ConnectionEvent::Ready(None))));
}

#[test]
fn versions_are_asked_again_in_version_0_of_an_old_broker() {
    let mut connection = Connection::begin("c", None, None, String::new());
    requests(&mut connection);
    connection.handle_input(&frame(0, false, &[0, 35, 0, 0, 0, 0])).unwrap();
    assert_eq!(requests(&mut connection), [(18, 1)]);
    connection.handle_input(&frame(1, false, &[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 9])).unwrap();
    assert_eq!((connection.is_ready(), connection.version(ApiKey::Produce)), (true, Ok(9)));
}

#[test]
fn plain_authentication_is_done_with_the_lifetime_of_the_session() {
    let mut connection = with_plain();
    requests(&mut connection);
    connection.handle_input(&frame(0, false, &versions())).unwrap();
    assert_eq!(requests(&mut connection), [(17, 1)]);
    connection.handle_input(&frame(1, false, &[0, 0, 0, 0, 0, 0])).unwrap();
    assert_eq!(requests(&mut connection), [(36, 2)]);
    connection.handle_input(&frame(2, true, &authenticated(b"", 1000))).unwrap();
    let lifetime = Some(Duration::from_secs(1));
    assert!(matches!(connection.poll_event(), Some(ConnectionEvent::Ready(found)) if found == lifetime));
}

#[test]
fn mechanism_that_the_broker_does_not_have_is_an_error_with_those_it_has() {
    let mut connection = with_plain();
    connection.handle_input(&frame(0, false, &versions())).unwrap();
    let mut w = Writer::new(false);
    w.i16(33);
    w.len(2);
    w.string("SCRAM-SHA-256");
    w.string("GSSAPI");
    let error = connection.handle_input(&frame(1, false, &w.bytes)).unwrap_err();
    assert!(error.to_string().ends_with("PLAIN; the broker has: SCRAM-SHA-256, GSSAPI"), "{error}");
}

#[test]
fn refused_password_is_an_error_with_the_text_of_the_broker() {
    let mut connection = with_plain();
    connection.handle_input(&frame(0, false, &versions())).unwrap();
    connection.handle_input(&frame(1, false, &[0, 0, 0, 0, 0, 0])).unwrap();
    let mut w = Writer::new(true);
    w.i16(58);
    w.string("Invalid username or password");
    w.put_bytes(b"");
    w.i64(0);
    w.no_tags();
    let error = connection.handle_input(&frame(2, true, &w.bytes)).unwrap_err();
    let text =
        "SASL authentication failed: the broker refuses: SASL_AUTHENTICATION_FAILED Invalid username or password";
    assert_eq!(error.to_string(), text);
}

#[test]
fn scram_goes_on_when_the_proof_is_computed() {
    let credentials =
        Credentials::Scram { hash: ScramHash::Sha256, username: "user".to_owned(), password: "pencil".to_owned() };
    let mut connection = Connection::begin("c", None, Some(credentials), "rOprNGfwEbeRWgbNEkqO".to_owned());
    connection.handle_input(&frame(0, false, &versions())).unwrap();
    connection.handle_input(&frame(1, false, &[0, 0, 0, 0, 0, 0])).unwrap();
    let first = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    connection.handle_input(&frame(2, true, &authenticated(first, 0))).unwrap();
    let Some(ConnectionEvent::Derive(proof)) = connection.poll_event() else { panic!() };
    connection.handle_derived(proof.derive()).unwrap();
    let last = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    connection.handle_input(&frame(3, true, &authenticated(last, 0))).unwrap();
    assert!(matches!(connection.poll_event(), Some(ConnectionEvent::Ready(None))));
}

#[test]
fn frames_that_do_not_belong_end_the_connection() {
    for (bytes, expected) in [
        (frame(5, false, &versions()), ConnectionError::Correlation),
        (vec![0x7f, 0xff, 0xff, 0xff], ConnectionError::FrameLength(i32::MAX)),
        (vec![0, 0, 0, 3], ConnectionError::FrameLength(3)),
        (b"HTTP/1.1 400".to_vec(), ConnectionError::FrameLength(0x4854_5450)),
        (frame(0, false, &[0, 0, 0x7f]), ConnectionError::Wire(WireError::BadLength)),
    ] {
        let mut connection = Connection::begin("c", None, None, String::new());
        assert_eq!(connection.handle_input(&bytes), Err(expected));
    }
    let mut connection = Connection::begin("c", None, None, String::new());
    let twice = [frame(0, false, &versions()), frame(1, false, &versions())].concat();
    assert_eq!(connection.handle_input(&twice), Err(ConnectionError::Correlation));
}
