use std::cell::RefCell;
use std::collections::VecDeque;

use super::*;

fn env(pairs: &[(&str, &str)]) -> Proxies {
    let pairs: Vec<(String, String)> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Proxies::from_env(|name| pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
}

#[test]
fn no_proxy_is_read_as_go_documents_it() {
    for (no_proxy, host, port, proxied) in [
        ("", "example.com", 80, true),
        ("", "localhost", 80, false),
        ("", "127.0.0.1", 80, false),
        ("", "127.1.2.3", 80, false),
        ("", "::1", 80, false),
        ("*", "example.com", 80, false),
        ("other.com, *", "example.com", 80, false),
        // A name applies to itself and its subdomains; with a dot in front, only to its subdomains.
        ("foo.com", "foo.com", 80, false),
        ("foo.com", "bar.foo.com", 80, false),
        ("foo.com", "FOO.com", 80, false),
        ("foo.com", "barfoo.com", 80, true),
        ("foo.com", "foo.com.evil", 80, true),
        (".y.com", "x.y.com", 80, false),
        (".y.com", "y.com", 80, true),
        ("*.y.com", "x.y.com", 80, false),
        ("*.y.com", "y.com", 80, true),
        ("foo.com:8080", "foo.com", 8080, false),
        ("foo.com:8080", "foo.com", 80, true),
        (".foo.com:8080", "x.foo.com", 8080, false),
        ("1.2.3.4", "1.2.3.4", 80, false),
        ("1.2.3.4", "1.2.3.5", 80, true),
        ("1.2.3.4:99", "1.2.3.4", 99, false),
        ("1.2.3.4:99", "1.2.3.4", 80, true),
        ("1.2.3.4/8", "1.250.0.1", 80, false),
        ("1.2.3.4/8", "2.0.0.1", 80, true),
        ("10.0.0.0/0", "8.8.8.8", 80, false),
        ("10.0.0.0/33", "10.0.0.1", 80, true),
        ("[2001:db8::1]:80", "2001:db8::1", 80, false),
        ("[2001:db8::1]:80", "2001:db8::1", 81, true),
        ("2001:db8::1", "2001:db8::1", 80, false),
        ("2001:db8::/32", "2001:db8:ffff::1", 80, false),
        ("2001:db8::/32", "2001:db9::1", 80, true),
        (" a.com ,, :80, . ,b.com", "b.com", 80, false),
        (" a.com ,, :80, . ,b.com", "c.com", 80, true),
    ] {
        let proxies = env(&[("HTTP_PROXY", "http://proxy:3128"), ("NO_PROXY", no_proxy)]);
        assert_eq!(proxies.find(false, host, port).unwrap().is_some(), proxied, "{no_proxy:?} {host}:{port}");
    }
}

#[test]
fn each_scheme_has_its_variable_and_the_upper_case_one_goes_first() {
    let host = |p: &Proxies, https| p.find(https, "x.com", 1).unwrap().map(|p| format!("{}:{}", p.host(), p.port()));
    let p = env(&[("HTTP_PROXY", "a:1"), ("http_proxy", "b:2"), ("https_proxy", "https://c")]);
    assert_eq!((host(&p, false).unwrap(), host(&p, true).unwrap()), ("a:1".to_owned(), "c:443".to_owned()));
    let p = env(&[("HTTP_PROXY", ""), ("http_proxy", "b")]);
    assert_eq!((host(&p, false).unwrap(), host(&p, true)), ("b:80".to_owned(), None));
    let cgi = env(&[("HTTP_PROXY", "a:1"), ("HTTPS_PROXY", "c:1"), ("REQUEST_METHOD", "GET")]);
    assert_eq!((host(&cgi, false), host(&cgi, true).unwrap()), (None, "c:1".to_owned()));
    let fixed = Proxies::fixed(Proxy::parse("http://u:p@p:1").unwrap());
    assert_eq!(fixed.find(false, "localhost", 1).unwrap().unwrap().authorization().unwrap(), "Basic dTpw");
}

#[test]
fn a_proxy_that_cannot_be_used_is_named_without_its_password() {
    let socks = env(&[("HTTPS_PROXY", "socks5://u:secret@p:1"), ("NO_PROXY", "near")]);
    assert_eq!((socks.find(false, "x", 1), socks.find(true, "near", 1)), (Ok(None), Ok(None)));
    let why = socks.find(true, "x", 1).unwrap_err();
    assert!(why.starts_with("HTTPS_PROXY: proxies with \"socks5\" are not supported"), "{why}");
    let bad = env(&[("http_proxy", "http://u:secret@p:port")]).find(false, "x", 1).unwrap_err();
    assert_eq!(bad, "http_proxy: invalid proxy address: invalid port \":port\" after host");
}

/// What the proxy sends, piece by piece, and what it received.
#[derive(Default)]
struct Script {
    sends: VecDeque<Vec<u8>>,
    got: Vec<u8>,
    over: bool,
}

struct Io(Rc<RefCell<Script>>);

impl Read for Io {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut script = self.0.borrow_mut();
        match script.sends.pop_front() {
            Some(piece) => {
                buf[..piece.len()].copy_from_slice(&piece);
                Ok(piece.len())
            }
            None if script.over => Ok(0),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Io {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = buf.len().min(7);
        self.0.borrow_mut().got.extend_from_slice(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Io {
    fn peer(&self) -> String {
        "proxy".to_owned()
    }

    fn shut_write(&mut self) {}
}

fn tunnel(proxy: &str) -> (Tunnel, Rc<RefCell<Script>>) {
    let script = Rc::<RefCell<Script>>::default();
    (Tunnel::new(Box::new(Io(script.clone())), &Proxy::parse(proxy).unwrap(), "h", 443), script)
}

fn is_blocked<T>(result: io::Result<T>) -> bool {
    matches!(result, Err(e) if e.kind() == ErrorKind::WouldBlock)
}

#[test]
fn nothing_passes_before_the_answer_and_what_came_with_it_is_read() {
    let (mut tunnel, script) = tunnel("http://u:p@p");
    let mut buf = [0; 10];
    assert!(is_blocked(tunnel.write(b"hello")) && is_blocked(tunnel.read(&mut buf)));
    let asked = String::from_utf8(std::mem::take(&mut script.borrow_mut().got)).unwrap();
    assert!(asked.starts_with("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n"), "{asked}");
    assert!(asked.ends_with("\r\nProxy-Authorization: Basic dTpw\r\n\r\n"), "{asked}");
    script.borrow_mut().sends.extend([b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2".to_vec(), b"00 OK\r\n\r".to_vec()]);
    // The response is left to the write that waits for it.
    assert!(is_blocked(tunnel.read(&mut buf)));
    assert_eq!(script.borrow().sends.len(), 2);
    assert!(is_blocked(tunnel.flush()));
    script.borrow_mut().sends.push_back(b"\nfirst words".to_vec());
    assert_eq!(tunnel.write(b"hello").unwrap(), 5);
    assert_eq!((tunnel.read(&mut buf).unwrap(), &buf), (10, b"first word"));
    assert_eq!((tunnel.read(&mut buf).unwrap(), buf[0]), (1, b's'));
    assert!(is_blocked(tunnel.read(&mut buf)));
    assert_eq!((&script.borrow().got[..], tunnel.trouble()), (&b"hello"[..], None));
}

#[test]
fn a_refusal_is_an_error_with_the_proxys_words() {
    let refused = |answer: &str| {
        let (mut tunnel, script) = tunnel("http://p");
        script.borrow_mut().sends.extend(answer.as_bytes().chunks(1000).map(<[u8]>::to_vec));
        script.borrow_mut().over = true;
        assert!(!is_blocked(tunnel.write(b"hello")) && !is_blocked(tunnel.read(&mut [0; 10])));
        assert!(!script.borrow().got.ends_with(b"hello"));
        tunnel.trouble().unwrap()
    };
    assert_eq!(
        refused("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"),
        "proxy: CONNECT h:443: 407 Proxy Authentication Required"
    );
    assert_eq!(refused("HTTP/1.1 200 OK\r\n"), "proxy: CONNECT h:443: EOF");
    assert_eq!(refused("SSH-2.0\r\n\r\n"), "proxy: CONNECT h:443: malformed HTTP response");
    assert_eq!(refused(&"x".repeat(70_000)), "proxy: CONNECT h:443: the answer is too long");
}
