//! Addresses of brokers as they are written. Looks nothing up.

/// The port of a broker that is written without one.
const DEFAULT_PORT: u16 = 9092;

/// Reads `host`, `host:port`, `[::1]` or `[::1]:port`.
pub(crate) fn parse_broker(text: &str) -> Option<(String, u16)> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        (host, rest.strip_prefix(':').or_else(|| rest.is_empty().then_some(""))?)
    } else if text.matches(':').count() > 1 {
        (text, "")
    } else {
        text.split_once(':').unwrap_or((text, ""))
    };
    let is_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/');
    let port = if port.is_empty() { Some(DEFAULT_PORT) } else { port.parse().ok().filter(|port| *port != 0) };
    port.filter(|_| is_host).map(|port| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_port() {
        for (text, expected) in [
            ("kafka", Some(("kafka", 9092))),
            ("kafka-0.kafka:9094", Some(("kafka-0.kafka", 9094))),
            ("[::1]:9093", Some(("::1", 9093))),
            ("[::1]", Some(("::1", 9092))),
            ("::1", Some(("::1", 9092))),
            ("", None),
            (":9092", None),
            ("kafka:port", None),
            ("kafka:0", None),
            ("kafka:70000", None),
            ("http://kafka", None),
            ("[::1", None),
        ] {
            assert_eq!(parse_broker(text), expected.map(|(host, port)| (host.to_owned(), port)), "{text}");
        }
    }
}
