//! Queries and responses of DNS (RFC 1035, SRV of RFC 2782), as far as discoveries need them.
//!
//! Reads untrusted bytes: every step is bounded by the length of the message. Performs no IO.

/// The type of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum QueryType {
    Ns = 2,
    Mx = 15,
    Srv = 33,
}

/// The most records of a response that are read.
const MAX_RECORDS: usize = 10_000;
/// The longest name in text; one of 255 bytes has at most four characters for each.
const MAX_NAME: usize = 1024;
/// The size of responses over UDP that is asked for.
pub(crate) const UDP_SIZE: u16 = 4096;

const CLASS_IN: u16 = 1;
const TYPE_OPT: u16 = 41;

/// A record of the type that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    /// A name, with a dot at its end.
    pub(crate) target: String,
    /// The port of an SRV record.
    pub(crate) port: u16,
}

/// A response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Response {
    pub(crate) code: u8,
    pub(crate) is_truncated: bool,
    pub(crate) records: Vec<Record>,
}

/// `NOERROR`.
pub(crate) const SUCCESS: u8 = 0;
/// `NXDOMAIN`.
pub(crate) const NAME_ERROR: u8 = 3;

/// A query for a name. `None` if the name is none.
pub(crate) fn query(id: u16, name: &str, query_type: QueryType, with_size: bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(64);
    out.extend(id.to_be_bytes());
    // A query that asks for recursion, with one question.
    out.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(with_size)]);
    let begin = out.len();
    let name = name.strip_suffix('.').unwrap_or(name);
    for label in name.split('.').filter(|_| !name.is_empty()) {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        out.push(length);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    if out.len() - begin > 255 {
        return None;
    }
    out.extend((query_type as u16).to_be_bytes());
    out.extend(CLASS_IN.to_be_bytes());
    if with_size {
        out.push(0);
        out.extend(TYPE_OPT.to_be_bytes());
        out.extend(UDP_SIZE.to_be_bytes());
        out.extend([0; 6]);
    }
    Some(out)
}

/// Reads a message piece by piece.
struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Reader<'m> {
    fn take(&mut self, count: usize) -> Option<&'m [u8]> {
        let taken = self.message.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// A name, with a dot at its end. Characters that a host name has not are escaped, as in zone files.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut at = self.at;
        // Where a name continues is before where it is, so that this ends.
        let mut limit = self.message.len();
        let mut has_jumped = false;
        loop {
            let length = usize::from(*self.message.get(at)?);
            match length {
                0 => {
                    if !has_jumped {
                        self.at = at + 1;
                    }
                    return Some(if name.is_empty() { ".".to_owned() } else { name });
                }
                1..=63 => {
                    let label = self.message.get(at + 1..at + 1 + length)?;
                    for byte in label {
                        match byte {
                            b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' | b' ' => {
                                name.extend(['\\', char::from(*byte)]);
                            }
                            b'!'..=b'~' => name.push(char::from(*byte)),
                            _ => name.push_str(&format!("\\{byte:03}")),
                        }
                    }
                    name.push('.');
                    at += 1 + length;
                }
                192.. => {
                    let to = (length & 0x3f) << 8 | usize::from(*self.message.get(at + 1)?);
                    if to >= limit.min(at) {
                        return None;
                    }
                    if !has_jumped {
                        self.at = at + 2;
                    }
                    (at, limit, has_jumped) = (to, to, true);
                }
                _ => return None,
            }
            if name.len() > MAX_NAME {
                return None;
            }
        }
    }
}

/// Reads the response to a query. `None` if it is none, or one to another query.
pub(crate) fn parse(message: &[u8], id: u16, name: &str, query_type: QueryType) -> Option<Response> {
    let mut reader = Reader { message, at: 0 };
    if reader.number()? != id {
        return None;
    }
    let flags = reader.number()?;
    let is_response = flags & 0x8000 != 0;
    let (questions, answers) = (reader.number()?, reader.number()?);
    reader.take(4)?;
    if !is_response || questions != 1 {
        return None;
    }
    let asked = reader.name()?;
    let is_same = asked.trim_end_matches('.').eq_ignore_ascii_case(name.trim_end_matches('.'));
    if !is_same || reader.number()? != query_type as u16 || reader.number()? != CLASS_IN {
        return None;
    }
    let mut response = Response {
        code: u8::try_from(flags & 0xf).unwrap_or_default(),
        is_truncated: flags & 0x0200 != 0,
        records: Vec::new(),
    };
    for _ in 0..usize::from(answers).min(MAX_RECORDS) {
        match record(&mut reader, query_type) {
            Some(Some(record)) => response.records.push(record),
            Some(None) => {}
            // What is cut off is read again over TCP.
            None if response.is_truncated => break,
            None => return None,
        }
    }
    Some(response)
}

/// The next record; the inner `None` is one of another type.
fn record(reader: &mut Reader<'_>, query_type: QueryType) -> Option<Option<Record>> {
    reader.name()?;
    let record_type = reader.number()?;
    let class = reader.number()?;
    reader.take(4)?;
    let length = usize::from(reader.number()?);
    let end = reader.at.checked_add(length).filter(|end| *end <= reader.message.len())?;
    let mut found = None;
    if record_type == query_type as u16 && class == CLASS_IN {
        let port = match query_type {
            QueryType::Ns => 0,
            QueryType::Mx => {
                reader.number()?;
                0
            }
            QueryType::Srv => {
                reader.take(4)?;
                reader.number()?
            }
        };
        found = Some(Record { target: reader.name()?, port });
    }
    reader.at = end;
    Some(found)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A response with SRV records, whose targets are compressed names.
    pub(crate) fn response(query: &[u8], code: u8, targets: &[(&str, u16)]) -> Vec<u8> {
        let mut out = query.to_vec();
        let question_end = 12 + query[12..].iter().position(|b| *b == 0).unwrap() + 5;
        out.truncate(question_end);
        out[2] = 0x81;
        out[3] = 0x80 | code;
        out[6..8].copy_from_slice(&(targets.len() as u16).to_be_bytes());
        out[11] = 0;
        for (target, port) in targets {
            out.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60]);
            let mut data = vec![0, 1, 0, 2];
            data.extend(port.to_be_bytes());
            data.push(target.len() as u8);
            data.extend(target.as_bytes());
            data.extend([0xc0, 12]);
            out.extend((data.len() as u16).to_be_bytes());
            out.extend(data);
        }
        out
    }

    #[test]
    fn records_of_a_response_are_read_with_compressed_names() {
        let asked = query(7, "_web._tcp.example", QueryType::Srv, true).unwrap();
        let message = response(&asked, 0, &[("a", 80), ("b.c", 81)]);
        let found = parse(&message, 7, "_web._TCP.example.", QueryType::Srv).unwrap();
        let targets: Vec<(&str, u16)> =
            found.records.iter().map(|record| (record.target.as_str(), record.port)).collect();
        assert_eq!(targets, [("a._web._tcp.example.", 80), ("b\\.c._web._tcp.example.", 81)]);
        for (id, name, query_type) in [
            (8, "_web._tcp.example", QueryType::Srv),
            (7, "other", QueryType::Srv),
            (7, "_web._tcp.example", QueryType::Mx),
        ] {
            assert_eq!(parse(&message, id, name, query_type), None);
        }
        assert_eq!(parse(&asked, 7, "_web._tcp.example", QueryType::Srv), None, "a query is no response");
    }

    #[test]
    fn name_that_is_too_long_is_no_query() {
        assert!(query(1, &"a".repeat(64), QueryType::Ns, false).is_none());
        assert!(query(1, &"a.".repeat(128), QueryType::Ns, false).is_none());
        assert!(query(1, "a..b", QueryType::Ns, false).is_none());
        assert!(query(1, ".", QueryType::Ns, false).is_some());
    }

    #[test]
    fn bytes_that_are_no_message_are_refused_in_bounded_steps() {
        let asked = query(7, "x", QueryType::Srv, false).unwrap();
        let whole = response(&asked, 0, &[("a", 80)]);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length], 7, "x", QueryType::Srv), None, "{length}");
        }
        // Every byte in turn is another one: names that refer to themselves among them.
        for at in 0..whole.len() {
            for byte in 0..=255u8 {
                let mut changed = whole.clone();
                changed[at] = byte;
                let _ = parse(&changed, 7, "x", QueryType::Srv);
            }
        }
    }
}
