//! One name look-up by the C library: `/etc/hosts`, `/etc/resolv.conf` with its search list, UDP and TCP. It blocks.
//! With musl, a second query gets the addresses that its `getaddrinfo` leaves out.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use otelcore_pipeline::ResolveError;

/// The addresses of a host, each once, in the order in which to try them.
pub(crate) fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    let mut found: Vec<SocketAddr> = match (host, port).to_socket_addrs() {
        Ok(found) => found.collect(),
        Err(e) => {
            let text = crate::os::error_text(&e);
            // The server may fail for a part of the queries only.
            let found =
                if go_error_text(&text) == TEMPORARY_FAILURE { look_up_in_parts(host, port) } else { Vec::new() };
            if found.is_empty() {
                return Err(ResolveError(format!("lookup {host}: {}", go_error_text(&text))));
            }
            found
        }
    };
    found.dedup();
    #[cfg(target_env = "musl")]
    if found.len() >= musl::MAX_ADDRESSES {
        found = musl::all_addresses(host, port, found);
    }
    if found.is_empty() { Err(ResolveError(format!("lookup {host}: no such host"))) } else { Ok(found) }
}

/// Addresses of the same kind that follow each other, in a random order; the kinds stay in theirs. The C library sorts by
/// what it knows of routes, so that every look-up of a client would begin with the same of several equal servers,
/// whatever order the name server chose.
pub(crate) fn in_random_order(mut addresses: Vec<SocketAddr>, mut random: u64) -> Vec<SocketAddr> {
    for equal in addresses.chunk_by_mut(|a, b| kind_of_address(a.ip()) == kind_of_address(b.ip())) {
        for last in (1..equal.len()).rev() {
            // The multiplier of Knuth's MMIX generator; its high bits are used.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            equal.swap(last, (random >> 33) as usize % (last + 1));
        }
    }
    addresses
}

/// Addresses of different kinds are reached over different routes, or some of them not at all (RFC 6724).
fn kind_of_address(ip: IpAddr) -> (bool, bool, bool, bool) {
    let (is_link_local, is_unique_local) = match ip {
        IpAddr::V4(v4) => (v4.is_link_local(), false),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.is_unique_local()),
    };
    (ip.is_ipv6(), ip.is_loopback(), is_link_local, is_unique_local)
}

/// Go's text for a server that fails or does not answer.
const TEMPORARY_FAILURE: &str = "temporary failure in name resolution";

#[cfg(target_env = "musl")]
use musl::look_up_in_parts;

/// The other C libraries use the answers that they get, so nothing is queried again.
#[cfg(not(target_env = "musl"))]
fn look_up_in_parts(_: &str, _: u16) -> Vec<SocketAddr> {
    Vec::new()
}

/// Each C library has its own texts; this gives Go's text where there is one.
fn go_error_text(text: &str) -> &str {
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(text);
    match text {
        "Name or service not known"
        | "No address associated with hostname"
        | "Name does not resolve"
        | "Name has no usable address" => "no such host",
        "Temporary failure in name resolution" | "Try again" => TEMPORARY_FAILURE,
        other => other,
    }
}

/// Type A of RFC 1035.
#[cfg(any(test, target_env = "musl"))]
const A: u16 = 1;
/// Type AAAA of RFC 3596.
#[cfg(any(test, target_env = "musl"))]
const AAAA: u16 = 28;

/// The addresses of the wanted type in a DNS answer (RFC 1035, section 4.1), as far as it can be read.
#[cfg(any(test, target_env = "musl"))]
fn parse_addresses(message: &[u8], wanted_type: u16) -> Vec<IpAddr> {
    let mut rest = Cursor(message);
    let mut read = || -> Option<Vec<IpAddr>> {
        rest.take(4)?;
        let (questions, answers) = (rest.u16()?, rest.u16()?);
        rest.take(4)?;
        for _ in 0..questions {
            rest.skip_name()?;
            rest.take(4)?;
        }
        let mut found = Vec::new();
        for _ in 0..answers {
            // The records before the end of a truncated answer are used.
            let Some((record_type, data)) = rest.record() else { break };
            if record_type == wanted_type {
                let v4 = <[u8; 4]>::try_from(data).map(IpAddr::from);
                found.extend(v4.or_else(|_| <[u8; 16]>::try_from(data).map(IpAddr::from)));
            }
        }
        Some(found)
    };
    read().unwrap_or_default()
}

#[cfg(any(test, target_env = "musl"))]
struct Cursor<'a>(&'a [u8]);

#[cfg(any(test, target_env = "musl"))]
impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// Skips a name: labels up to an empty one, or up to a pointer to the rest of the name.
    fn skip_name(&mut self) -> Option<()> {
        loop {
            let length = *self.take(1)?.first()?;
            match length {
                0 => return Some(()),
                1..64 => self.take(usize::from(length))?,
                _ => return self.take(1).map(|_| ()),
            };
        }
    }

    /// A record's type and data.
    fn record(&mut self) -> Option<(u16, &'a [u8])> {
        self.skip_name()?;
        let record_type = self.u16()?;
        self.take(6)?;
        let length = self.u16()?;
        Some((record_type, self.take(usize::from(length))?))
    }
}

/// musl's `getaddrinfo` returns up to 48 addresses and drops the rest without an error: of a headless service with a
/// hundred pods each look-up would return another half.
#[cfg(target_env = "musl")]
mod musl {
    use std::ffi::{CStr, CString, c_char, c_int, c_uchar};
    use std::net::{IpAddr, SocketAddr};

    use super::{A, AAAA, parse_addresses};

    /// MAXADDRS of musl's lookup.h.
    pub(super) const MAX_ADDRESSES: usize = 48;
    const CLASS_IN: c_int = 1;
    /// A DNS message over TCP.
    const MAX_MESSAGE_BYTES: usize = 65_535;

    unsafe extern "C" {
        fn res_query(
            name: *const c_char,
            class: c_int,
            record_type: c_int,
            message: *mut c_uchar,
            length: c_int,
        ) -> c_int;
    }

    /// All addresses of the name that was found with the search list; where that query fails, the addresses in `found`.
    pub(super) fn all_addresses(host: &str, port: u16, found: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let Some(name) = canonical_name(host) else { return found };
        let v6_first = found.first().is_some_and(SocketAddr::is_ipv6);
        let record_types = if v6_first { [AAAA, A] } else { [A, AAAA] };
        let all: Vec<IpAddr> = record_types.into_iter().flat_map(|record_type| query(&name, record_type)).collect();
        if all.len() < found.len() { found } else { all.into_iter().map(|ip| SocketAddr::new(ip, port)).collect() }
    }

    fn query(name: &CStr, record_type: u16) -> Vec<IpAddr> {
        let mut message = vec![0; MAX_MESSAGE_BYTES];
        let room = c_int::try_from(message.len()).unwrap_or(0);
        // SAFETY: the name ends with a zero, and `room` bytes may be written at `message`.
        let length =
            unsafe { res_query(name.as_ptr(), CLASS_IN, c_int::from(record_type), message.as_mut_ptr(), room) };
        // A length above `room` is the length of the whole answer, which was truncated.
        let length = usize::try_from(length).unwrap_or(0).min(message.len());
        message.get(..length).map(|message| parse_addresses(message, record_type)).unwrap_or_default()
    }

    /// The full name, with the domain of the search list in which it was found.
    fn canonical_name(host: &str) -> Option<CString> {
        // SAFETY: the name, if there is one, ends with a zero and lives as long as the list.
        let name = |first: &libc::addrinfo| unsafe {
            (!first.ai_canonname.is_null()).then(|| CStr::from_ptr(first.ai_canonname).to_owned())
        };
        call_getaddrinfo(host, libc::AI_CANONNAME, libc::AF_UNSPEC, name)?
    }

    /// The IPv4 addresses, or else the addresses of the name without the search list. musl queries both families in all
    /// domains, and fails where a server fails for one of them, as some servers do for AAAA. That failure takes 5 s.
    pub(super) fn look_up_in_parts(host: &str, port: u16) -> Vec<SocketAddr> {
        let full = format!("{host}.");
        let tries = [(host, libc::AF_INET), (&full, libc::AF_UNSPEC)];
        let found = tries
            .into_iter()
            .filter_map(|(name, family)| call_getaddrinfo(name, 0, family, addresses_in_list))
            .find(|ips| !ips.is_empty());
        found.unwrap_or_default().into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
    }

    /// Calls `getaddrinfo`, and returns the result of `read` on the first entry of its list.
    fn call_getaddrinfo<T>(
        host: &str,
        flags: c_int,
        family: c_int,
        read: impl FnOnce(&libc::addrinfo) -> T,
    ) -> Option<T> {
        let host = CString::new(host).ok()?;
        // SAFETY: addrinfo is plain data, for which zeros are its defaults; the list that getaddrinfo makes is read
        // before it is freed, and freed once.
        unsafe {
            let mut hints: libc::addrinfo = std::mem::zeroed();
            hints.ai_flags = flags;
            hints.ai_family = family;
            hints.ai_socktype = libc::SOCK_STREAM;
            let mut list = std::ptr::null_mut();
            if libc::getaddrinfo(host.as_ptr(), std::ptr::null(), &raw const hints, &raw mut list) != 0 {
                return None;
            }
            let result = list.as_ref().map(read);
            libc::freeaddrinfo(list);
            result
        }
    }

    /// The addresses of a list.
    fn addresses_in_list(first: &libc::addrinfo) -> Vec<IpAddr> {
        let mut found = Vec::new();
        let mut next = Some(first);
        while let Some(info) = next {
            match info.ai_family {
                libc::AF_INET => {
                    // SAFETY: the family determines the type of the address, which lives as long as the list.
                    let address = unsafe { info.ai_addr.cast::<libc::sockaddr_in>().read_unaligned() };
                    found.push(IpAddr::from(address.sin_addr.s_addr.to_ne_bytes()));
                }
                libc::AF_INET6 => {
                    // SAFETY: as above.
                    let address = unsafe { info.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
                    found.push(IpAddr::from(address.sin6_addr.s6_addr));
                }
                _ => {}
            }
            // SAFETY: the end of the list is NULL.
            next = unsafe { info.ai_next.as_ref() };
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to `a.b` with an alias before its address, names as pointers.
    const RESPONSE: &[u8] = b"\x00\x01\x81\x80\x00\x01\x00\x03\x00\x00\x00\x00\x01a\x01b\x00\x00\x01\x00\x01\
        \xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x1e\x00\x04\x01c\xc0\x0e\
        \xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04\x0a\x00\x00\x07\
        \x01c\xc0\x0e\x00\x1c\x00\x01\x00\x00\x00\x1e\x00\x10\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01";

    #[test]
    fn response_with_an_alias_gives_the_addresses_after_it() {
        assert_eq!(parse_addresses(RESPONSE, A), ["10.0.0.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(parse_addresses(RESPONSE, AAAA), ["fd00::1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn truncated_response_gives_its_complete_records() {
        for end in 0..RESPONSE.len() {
            assert!(parse_addresses(&RESPONSE[..end], AAAA).is_empty(), "{end}");
        }
        assert_eq!(parse_addresses(&RESPONSE[..RESPONSE.len() - 1], A).len(), 1);
    }

    #[test]
    fn equal_addresses_are_in_a_random_order_and_kinds_in_theirs() {
        let parse = |texts: &[&str]| -> Vec<SocketAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let all = parse(&["[fd00::1]:1", "[fd00::2]:1", "[2001:db8::1]:1", "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]);
        let mut first = std::collections::BTreeSet::new();
        for seed in 0..200_u64 {
            let found = in_random_order(all.clone(), seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            assert_eq!(found.iter().map(|a| kind_of_address(a.ip())).collect::<Vec<_>>(), {
                all.iter().map(|a| kind_of_address(a.ip())).collect::<Vec<_>>()
            });
            let mut sorted = found.clone();
            sorted.sort_unstable();
            let mut expected = all.clone();
            expected.sort_unstable();
            assert_eq!(sorted, expected, "each address once");
            first.insert((found[0], found[3]));
        }
        assert_eq!(first.len(), 6, "each of them can be the first one");
        assert_eq!(in_random_order(Vec::new(), 1), []);
    }

    #[test]
    fn lookup_error_of_each_c_library_has_the_text_of_go() {
        for (text, expected) in [
            ("failed to lookup address information: Name or service not known", "no such host"),
            ("failed to lookup address information: Name does not resolve", "no such host"),
            ("failed to lookup address information: Try again", "temporary failure in name resolution"),
            ("something else", "something else"),
        ] {
            assert_eq!(go_error_text(text), expected);
        }
    }
}
