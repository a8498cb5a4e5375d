use std::cell::RefCell;
use std::collections::VecDeque;

use super::*;

fn proxies_from_env(pairs: &[(&str, &str)]) -> ProxySelector {
    let pairs: Vec<(String, String)> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    ProxySelector::from_env(|name| pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
}

#[test]
fn no_proxy_is_applied_as_in_go() {
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
        let proxies = proxies_from_env(&[("HTTP_PROXY", "http://proxy:3128"), ("NO_PROXY", no_proxy)]);
        assert_eq!(proxies.find(false, host, port).unwrap().is_some(), proxied, "{no_proxy:?} {host}:{port}");
    }
}

#[test]
fn upper_case_variable_of_each_scheme_takes_precedence() {
    let host =
        |p: &ProxySelector, https| p.find(https, "x.com", 1).unwrap().map(|p| format!("{}:{}", p.host(), p.port()));
    let p = proxies_from_env(&[("HTTP_PROXY", "a:1"), ("http_proxy", "b:2"), ("https_proxy", "https://c")]);
    assert_eq!((host(&p, false).unwrap(), host(&p, true).unwrap()), ("a:1".to_owned(), "c:443".to_owned()));
    let p = proxies_from_env(&[("HTTP_PROXY", ""), ("http_proxy", "b")]);
    assert_eq!((host(&p, false).unwrap(), host(&p, true)), ("b:80".to_owned(), None));
    let cgi = proxies_from_env(&[("HTTP_PROXY", "a:1"), ("HTTPS_PROXY", "c:1"), ("REQUEST_METHOD", "GET")]);
    assert_eq!((host(&cgi, false), host(&cgi, true).unwrap()), (None, "c:1".to_owned()));
    let fixed = ProxySelector::fixed(Proxy::parse("http://u:p@p:1").unwrap());
    assert_eq!(fixed.find(false, "localhost", 1).unwrap().unwrap().authorization().unwrap(), "Basic dTpw");
}

#[test]
fn unusable_proxy_is_refused_with_its_variable_and_without_its_password() {
    let socks = proxies_from_env(&[("HTTPS_PROXY", "socks5://u:secret@p:1"), ("NO_PROXY", "near")]);
    assert_eq!((socks.find(false, "x", 1), socks.find(true, "near", 1)), (Ok(None), Ok(None)));
    let why = socks.find(true, "x", 1).unwrap_err();
    assert!(why.to_string().starts_with("HTTPS_PROXY: proxies with \"socks5\" are not supported"), "{why}");
    let bad = proxies_from_env(&[("http_proxy", "http://u:secret@p:port")]).find(false, "x", 1).unwrap_err();
    assert_eq!(bad.to_string(), "http_proxy: invalid proxy address: invalid port \":port\" after host");
}

/// What the proxy sends, piece by piece, and what it received.
#[derive(Default)]
struct ProxyScript {
    to_send: VecDeque<Vec<u8>>,
    received: Vec<u8>,
    ended: bool,
}

struct ScriptedStream(Rc<RefCell<ProxyScript>>);

impl Read for ScriptedStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut script = self.0.borrow_mut();
        match script.to_send.pop_front() {
            Some(piece) => {
                buf[..piece.len()].copy_from_slice(&piece);
                Ok(piece.len())
            }
            None if script.ended => Ok(0),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for ScriptedStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = buf.len().min(7);
        self.0.borrow_mut().received.extend_from_slice(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for ScriptedStream {
    fn peer_addr(&self) -> String {
        "proxy".to_owned()
    }

    fn shutdown_write(&mut self) {}
}

fn scripted_tunnel(proxy: &str) -> (ProxyTunnel, Rc<RefCell<ProxyScript>>) {
    let script = Rc::<RefCell<ProxyScript>>::default();
    (ProxyTunnel::new(Box::new(ScriptedStream(script.clone())), &Proxy::parse(proxy).unwrap(), "h", 443), script)
}

fn would_block<T>(result: io::Result<T>) -> bool {
    matches!(result, Err(e) if e.kind() == ErrorKind::WouldBlock)
}

#[test]
fn data_waits_for_the_response_and_data_received_with_it_is_read() {
    let (mut tunnel, script) = scripted_tunnel("http://u:p@p");
    let mut buf = [0; 10];
    assert!(would_block(tunnel.write(b"hello")) && would_block(tunnel.read(&mut buf)));
    let request = String::from_utf8(std::mem::take(&mut script.borrow_mut().received)).unwrap();
    assert!(request.starts_with("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n"), "{request}");
    assert!(request.ends_with("\r\nProxy-Authorization: Basic dTpw\r\n\r\n"), "{request}");
    script.borrow_mut().to_send.extend([b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2".to_vec(), b"00 OK\r\n\r".to_vec()]);
    // The response is left to the write that waits for it.
    assert!(would_block(tunnel.read(&mut buf)));
    assert_eq!(script.borrow().to_send.len(), 2);
    assert!(would_block(tunnel.flush()));
    script.borrow_mut().to_send.push_back(b"\nfirst words".to_vec());
    assert_eq!(tunnel.write(b"hello").unwrap(), 5);
    assert_eq!((tunnel.read(&mut buf).unwrap(), &buf), (10, b"first word"));
    assert_eq!((tunnel.read(&mut buf).unwrap(), buf[0]), (1, b's'));
    assert!(would_block(tunnel.read(&mut buf)));
    assert_eq!((&script.borrow().received[..], tunnel.layer_error()), (&b"hello"[..], None));
}

#[test]
fn refused_tunnel_is_an_error_with_the_proxys_status_line() {
    let refused = |response: &str| {
        let (mut tunnel, script) = scripted_tunnel("http://p");
        script.borrow_mut().to_send.extend(response.as_bytes().chunks(1000).map(<[u8]>::to_vec));
        script.borrow_mut().ended = true;
        assert!(!would_block(tunnel.write(b"hello")) && !would_block(tunnel.read(&mut [0; 10])));
        assert!(!script.borrow().received.ends_with(b"hello"));
        tunnel.layer_error().unwrap()
    };
    assert_eq!(
        refused("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"),
        "proxy: CONNECT h:443: 407 Proxy Authentication Required"
    );
    assert_eq!(refused("HTTP/1.1 200 OK\r\n"), "proxy: CONNECT h:443: EOF");
    assert_eq!(refused("SSH-2.0\r\n\r\n"), "proxy: CONNECT h:443: malformed HTTP response");
    assert_eq!(refused(&"x".repeat(70_000)), "proxy: CONNECT h:443: the answer is too long");
}
