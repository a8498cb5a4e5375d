//! `ParseCLF` and `ParseLEEF`: lines of web servers and of security devices as maps.

use otelcore_ottl::{Arguments, BuildError, Callable, EvalError, Function, Map, Parameter, ParameterKind, Value};
use otelcore_pdata::Value as Tree;

/// The Common Log Format, or with the format `combined` that with referer and user agent.
pub(super) const PARSE_CLF: Function = Function {
    name: "ParseCLF",
    parameters: &[
        Parameter::new("Target", ParameterKind::String),
        Parameter::optional("Format", ParameterKind::LiteralString),
    ],
    build: build_clf,
};

/// IBM's Log Event Extended Format, versions 1.0 and 2.0.
pub(super) const PARSE_LEEF: Function = Function {
    name: "ParseLEEF",
    parameters: &[Parameter::new("Target", ParameterKind::String)],
    build: |_| {
        Ok(Callable::pure(|arguments| match arguments.first() {
            Some(Value::String(line)) => parse_leef(line).map(|map| Value::Map(Map::owned(map))),
            _ => Ok(Value::Nil),
        }))
    },
};

type Entries = Vec<(Vec<u8>, Tree)>;

fn build_clf(arguments: &mut Arguments) -> Result<Callable, BuildError> {
    let format = arguments.literal_string(1)?.unwrap_or_else(|| "clf".to_owned());
    let is_combined = match format.as_str() {
        "clf" => false,
        "combined" => true,
        _ => return Err(BuildError::new(format!("invalid format {format:?}: must be \"clf\" or \"combined\""))),
    };
    Ok(Callable::pure(move |arguments| match arguments.first() {
        Some(Value::String(line)) => parse_clf(line, is_combined).map(|map| Value::Map(Map::owned(map))),
        _ => Ok(Value::Nil),
    }))
}

fn text(key: &str, value: &[u8]) -> (Vec<u8>, Tree) {
    (key.as_bytes().to_vec(), Tree::String(value.to_vec()))
}

// ---- CLF ------------------------------------------------------------------------------------------------------------

/// Reads one field after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn expect(&mut self, byte: u8) -> Option<()> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        (*first == byte).then_some(())
    }

    /// At least one byte for which `is_part` holds, as many as there are.
    fn take(&mut self, is_part: impl Fn(u8) -> bool) -> Option<&'a [u8]> {
        let len = self.0.iter().position(|byte| !is_part(*byte)).unwrap_or(self.0.len());
        let (field, rest) = self.0.split_at_checked(len).filter(|(field, _)| !field.is_empty())?;
        self.0 = rest;
        Some(field)
    }

    fn word(&mut self) -> Option<&'a [u8]> {
        self.take(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | 0x0c | b'\r'))
    }

    /// A text in quotes, in which a backslash escapes the next character.
    fn quoted(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let mut end = 0;
        loop {
            match self.0.get(end..)? {
                [b'"', ..] => break,
                [b'\\', b'\n', ..] | [b'\\'] | [] => return None,
                [b'\\', ..] => end += 2,
                _ => end += 1,
            }
        }
        let field = self.0.get(..end)?;
        self.0 = self.0.get(end + 1..)?;
        Some(field)
    }
}

/// The fields of a line; `None` if it does not have the format.
fn clf_fields(line: &[u8], is_combined: bool) -> Option<[&[u8]; 9]> {
    let mut fields = Fields(line);
    let host = fields.word()?;
    fields.expect(b' ')?;
    let identity = fields.word()?;
    fields.expect(b' ')?;
    let user = fields.word()?;
    fields.expect(b' ')?;
    fields.expect(b'[')?;
    let time = fields.take(|byte| byte != b']')?;
    fields.expect(b']')?;
    fields.expect(b' ')?;
    let request = fields.quoted()?;
    fields.expect(b' ')?;
    let status = fields.word()?;
    fields.expect(b' ')?;
    let bytes = fields.word()?;
    let (mut referer, mut agent) = (&[][..], &[][..]);
    if is_combined {
        fields.expect(b' ')?;
        referer = fields.quoted()?;
        fields.expect(b' ')?;
        agent = fields.quoted()?;
    }
    fields.0.is_empty().then_some([host, identity, user, time, request, status, bytes, referer, agent])
}

fn parse_clf(line: &[u8], is_combined: bool) -> Result<Entries, EvalError> {
    if line.is_empty() {
        return Err(EvalError::new("cannot parse empty CLF message"));
    }
    let Some([host, identity, user, time, request, status, bytes, referer, agent]) =
        clf_fields(trimmed(line), is_combined)
    else {
        let format = if is_combined { "combined" } else { "clf" };
        return Err(EvalError::new(format!("invalid CLF message: does not match expected {format:?} format")));
    };
    let mut map = vec![
        text("clf.remote_host", host),
        text("clf.rfc931", identity),
        text("clf.auth_user", user),
        text("clf.timestamp", time),
    ];
    let request = unescaped(request);
    map.push(text("clf.request", &request));
    let mut parts = request.splitn(3, |byte| *byte == b' ');
    if let (Some(method), Some(uri), Some(protocol)) = (parts.next(), parts.next(), parts.next()) {
        map.push(text("clf.method", method));
        map.push(text("clf.request_uri", uri));
        map.push(text("clf.protocol", protocol));
    }
    map.push((b"clf.status".to_vec(), Tree::Int(number(status, "status code")?)));
    if bytes != b"-" {
        map.push((b"clf.bytes".to_vec(), Tree::Int(number(bytes, "bytes value")?)));
    }
    if is_combined {
        map.push(text("clf.referer", &unescaped(referer)));
        map.push(text("clf.user_agent", &unescaped(agent)));
    }
    Ok(map)
}

/// Without white space around it.
fn trimmed(line: &[u8]) -> &[u8] {
    match std::str::from_utf8(line) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => line.trim_ascii(),
    }
}

fn number(digits: &[u8], what: &str) -> Result<i64, EvalError> {
    let shown = String::from_utf8_lossy(digits);
    shown.parse().map_err(|error: std::num::ParseIntError| {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        let why =
            if matches!(error.kind(), PosOverflow | NegOverflow) { "value out of range" } else { "invalid syntax" };
        EvalError::new(format!("invalid {what} {shown:?}: strconv.ParseInt: parsing {shown:?}: {why}"))
    })
}

/// Without the escapes that web servers write.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    loop {
        rest = match rest {
            [] => return out,
            [b'\\', b'x', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0);
                out.push((digit(*high) << 4 | digit(*low)) as u8);
                rest
            }
            [b'\\', escaped, rest @ ..] => {
                match escaped {
                    b'\\' | b'"' => out.push(*escaped),
                    b'n' => out.push(b'\n'),
                    b't' => out.push(b'\t'),
                    b'r' => out.push(b'\r'),
                    b'b' => out.push(0x08),
                    b'f' => out.push(0x0c),
                    b'v' => out.push(0x0b),
                    other => out.extend_from_slice(&[b'\\', *other]),
                }
                rest
            }
            [byte, rest @ ..] => {
                out.push(*byte);
                rest
            }
        };
    }
}

// ---- LEEF -----------------------------------------------------------------------------------------------------------

fn position(text: &[u8], searched: &[u8]) -> Option<usize> {
    text.windows(searched.len()).position(|window| window == searched)
}

fn cut(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let index = text.iter().position(|byte| *byte == at)?;
    Some((text.get(..index)?, text.get(index + 1..)?))
}

fn parse_leef(line: &[u8]) -> Result<Entries, EvalError> {
    if line.is_empty() {
        return Err(EvalError::new("cannot parse empty LEEF message"));
    }
    let error = |message: String| Err(EvalError::new(message));
    let Some(message) = position(line, b"LEEF:").and_then(|start| line.get(start + 5..)) else {
        return error("invalid LEEF message: 'LEEF:' not found".to_owned());
    };
    let Some((version, rest)) = cut(message, b'|') else {
        return error("invalid LEEF message: missing pipe delimiter in header".to_owned());
    };
    let is_second = match version {
        b"1.0" => false,
        b"2.0" => true,
        other => {
            let other = String::from_utf8_lossy(other);
            return error(format!("unsupported LEEF version: {other} (supported: 1.0, 2.0)"));
        }
    };
    let fields: Vec<&[u8]> = rest.splitn(5, |byte| *byte == b'|').collect();
    let [vendor, product, product_version, event, after @ ..] = &fields[..] else {
        let version = if is_second { "2.0" } else { "1.0" };
        return error(format!(
            "invalid LEEF {version} header: expected at least 4 fields (vendor, product, version, eventID), got {}",
            fields.len()
        ));
    };
    let after = after.first().copied();
    let (delimiter, attributes) = match after {
        None => (b'\t', &[][..]),
        Some(attributes) if !is_second => (b'\t', attributes),
        Some(after) => second_version_attributes(after)?,
    };
    let mut values: Entries = Vec::new();
    let mut index = std::collections::BTreeMap::new();
    for pair in attributes.split(|byte| *byte == delimiter) {
        let Some((key, value)) = cut(pair, b'=').filter(|(key, _)| !key.is_empty()) else { continue };
        let at = *index.entry(key).or_insert(values.len());
        match values.get_mut(at) {
            // The last value of a key counts.
            Some((_, found)) => *found = Tree::String(value.to_vec()),
            None => values.push((key.to_vec(), Tree::String(value.to_vec()))),
        }
    }
    Ok(vec![
        text("leef.version", version),
        text("leef.vendor", vendor),
        text("leef.product.name", product),
        text("leef.product.version", product_version),
        text("leef.event.id", event),
        (b"leef.attributes".to_vec(), Tree::Map(values)),
    ])
}

/// Delimiter and attributes of version 2.0, in which the delimiter can be absent.
fn second_version_attributes(after: &[u8]) -> Result<(u8, &[u8]), EvalError> {
    let (specification, attributes) = cut(after, b'|').unwrap_or((after, &[]));
    if specification.contains(&b'=') {
        // The first attribute: the delimiter is absent.
        return Ok((b'\t', after));
    }
    let invalid = |message: String| EvalError::new(format!("invalid LEEF 2.0 delimiter: {message}"));
    let shown = || String::from_utf8_lossy(specification);
    let delimiter = match specification {
        [] => b'\t',
        [b'0', b'x' | b'X', digits @ ..] => match digits {
            [] => return Err(invalid("empty hex value".to_owned())),
            [high, low] => match ((*high as char).to_digit(16), (*low as char).to_digit(16)) {
                (Some(high), Some(low)) => (high << 4 | low) as u8,
                _ => return Err(invalid(format!("invalid hex delimiter {:?}", shown()))),
            },
            digits if digits.len() % 2 == 0 && digits.iter().all(u8::is_ascii_hexdigit) => {
                let bytes = digits.len() / 2;
                return Err(invalid(format!("hex delimiter must decode to a single byte, got {bytes} bytes")));
            }
            _ => return Err(invalid(format!("invalid hex delimiter {:?}", shown()))),
        },
        [byte] => *byte,
        _ => {
            return Err(invalid(format!(
                "delimiter must be a single character or 0x-prefixed hex value, got {:?}",
                shown()
            )));
        }
    };
    Ok((delimiter, attributes))
}
