//! IP addresses and networks.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::common::{elements, error, required, text};
use crate::error::{BuildError, EvalError};
use crate::function::{Arguments, Callable, Function, ParameterKind as Kind};
use crate::value::Value;

/// The 4 or 16 bytes of an address. An IPv4 address in the form of IPv6 has 4, as with Go's `net.IP.To4`.
pub(super) fn parse_ip(address: &[u8]) -> Option<Vec<u8>> {
    let address = std::str::from_utf8(address).ok()?;
    if let Ok(v4) = address.parse::<Ipv4Addr>() {
        return Some(v4.octets().to_vec());
    }
    let v6 = address.parse::<Ipv6Addr>().ok()?;
    Some(v6.to_ipv4_mapped().map_or_else(|| v6.octets().to_vec(), |v4| v4.octets().to_vec()))
}

/// A network: its first address, and the bits that all of its addresses share.
struct Network {
    address: Vec<u8>,
    prefix: usize,
}

impl Network {
    /// Reads `10.0.0.0/8` as Go's `net.ParseCIDR` does.
    fn parse(text: &[u8]) -> Result<Self, String> {
        let invalid = || format!("invalid CIDR address: {}", String::from_utf8_lossy(text));
        let slash = text.iter().position(|b| *b == b'/').ok_or_else(invalid)?;
        let (address, prefix) = (text.get(..slash).unwrap_or_default(), text.get(slash + 1..).unwrap_or_default());
        let is_number = !prefix.is_empty() && prefix.len() <= 6 && prefix.iter().all(u8::is_ascii_digit);
        let prefix = if is_number { std::str::from_utf8(prefix).ok().and_then(|p| p.parse().ok()) } else { None };
        let (address, prefix): (Vec<u8>, usize) =
            parse_ip(address).filter(|_| !address.contains(&b'%')).zip(prefix).ok_or_else(invalid)?;
        // A mapped address counts its prefix in 128 bits.
        let is_mapped = text.get(..slash).unwrap_or_default().contains(&b':') && address.len() == 4;
        let bits = if is_mapped { 128 } else { address.len() * 8 };
        if prefix > bits {
            return Err(invalid());
        }
        // It has the addresses of IPv4.
        let prefix = if is_mapped { prefix.saturating_sub(96) } else { prefix };
        Ok(Self { address, prefix })
    }

    fn contains(&self, address: &[u8]) -> bool {
        if self.address.len() != address.len() {
            return false;
        }
        let (bytes, bits) = (self.prefix / 8, self.prefix % 8);
        let differs = |(a, b): (&u8, &u8)| a ^ b;
        let mut differences = self.address.iter().zip(address).map(differs);
        let are_same = differences.by_ref().take(bytes).all(|difference| difference == 0);
        are_same && (bits == 0 || differences.next().is_some_and(|difference| difference >> (8 - bits) == 0))
    }
}

pub(super) const IS_IN_CIDR: Function = Function {
    name: "IsInCIDR",
    parameters: &[required("Target", Kind::String), required("Networks", Kind::ListOf(&Kind::String))],
    build: build_is_in_cidr,
};

fn build_is_in_cidr(arguments: &mut Arguments) -> Result<Callable, BuildError> {
    let mut networks = Some(Vec::new());
    for literal in arguments.literals_of(1) {
        let Some(list) = &mut networks else { break };
        match literal {
            Some(Value::String(text)) => list.push(Network::parse(text).map_err(BuildError::new)?),
            _ => networks = None,
        }
    }
    Ok(Callable::pure(move |arguments| {
        let Some(address) = parse_ip(text(arguments, 0)) else { return Ok(Value::Bool(false)) };
        if let Some(networks) = &networks {
            return Ok(Value::Bool(networks.iter().any(|network| network.contains(&address))));
        }
        is_in_any(&address, elements(arguments, 1)).map(Value::Bool)
    }))
}

fn is_in_any<'v>(address: &[u8], networks: impl Iterator<Item = Value<'v>>) -> Result<bool, EvalError> {
    for network in networks {
        if let Value::String(text) = &network
            && Network::parse(text).map_err(error)?.contains(address)
        {
            return Ok(true);
        }
    }
    Ok(false)
}
