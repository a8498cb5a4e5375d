//! Tags, and what they become: attributes, and the parts of a span that OTLP has fields for. Knows no encoding.

use std::borrow::Cow;
use std::collections::BTreeMap;

use otelcore_pdata::build::AttributesWriter;

/// Up to this many tags are compared with each other; more are found by a map.
const MAX_COMPARED: usize = 16;

/// The value of a tag.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum TagValue<'a> {
    Text(&'a [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(&'a [u8]),
    /// A type in protobuf that does not exist.
    UnknownType(i32),
    /// A type in Thrift that does not exist.
    UnsetType,
}

impl<'a> TagValue<'a> {
    /// The text of a value that is one; empty for other types.
    pub(crate) fn text(&self) -> Cow<'a, [u8]> {
        match *self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::UnknownType(number) => format!("<Unknown Jaeger TagType \"{number}\">").into_bytes().into(),
            Self::UnsetType => Cow::Borrowed(b"<Unknown Jaeger TagType \"<UNSET>\">"),
            Self::Bool(_) | Self::Int(_) | Self::Double(_) | Self::Bytes(_) => Cow::default(),
        }
    }
}

/// A tag of a span or a process, or a field of a log.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Tag<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: TagValue<'a>,
}

impl Tag<'_> {
    pub(crate) fn write(&self, attributes: &mut AttributesWriter<'_>) {
        self.write_as(self.key, attributes);
    }

    /// Writes the value under another key.
    pub(crate) fn write_as(&self, key: &[u8], attributes: &mut AttributesWriter<'_>) {
        match self.value {
            TagValue::Bool(v) => attributes.bool(key, v),
            TagValue::Int(v) => attributes.int(key, v),
            TagValue::Double(v) => attributes.double(key, v),
            TagValue::Bytes(v) => attributes.bytes(key, v),
            TagValue::Text(_) | TagValue::UnknownType(_) | TagValue::UnsetType => {
                attributes.string(key, &self.value.text())
            }
        };
    }
}

/// The tags with each key once, at its first place and with its last value. They are moved to the front of `tags`.
pub(crate) fn unique<'t, 'a>(tags: &'t mut [Tag<'a>]) -> &'t [Tag<'a>] {
    let mut places: BTreeMap<&[u8], usize> = BTreeMap::new();
    let is_long = tags.len() > MAX_COMPARED;
    let mut kept = 0;
    for at in 0..tags.len() {
        let (before, rest) = tags.split_at_mut(at);
        let Some(tag) = rest.first().copied() else { break };
        let place = match is_long {
            true => places.get(tag.key).copied(),
            false => before.iter().take(kept).position(|earlier| earlier.key == tag.key),
        };
        match place.and_then(|place| before.get_mut(place)) {
            Some(earlier) => earlier.value = tag.value,
            None => {
                if is_long {
                    places.insert(tag.key, kept);
                }
                // Where nothing was left out before it, it stays where it is.
                if let Some(free) = before.get_mut(kept) {
                    *free = tag;
                }
                kept += 1;
            }
        }
    }
    tags.get(..kept).unwrap_or_default()
}

/// The tags of a span that may become something else than an attribute.
#[derive(Default)]
struct KnownTags<'t, 'a> {
    kind: Option<&'t Tag<'a>>,
    error: Option<&'t Tag<'a>>,
    status_code: Option<&'t Tag<'a>>,
    status_description: Option<&'t Tag<'a>>,
    http_status_code: Option<&'t Tag<'a>>,
    http_status_message: Option<&'t Tag<'a>>,
    trace_state: Option<&'t Tag<'a>>,
}

const KIND: &[u8] = b"span.kind";
const ERROR: &[u8] = b"error";
const STATUS_CODE: &[u8] = b"otel.status_code";
const STATUS_DESCRIPTION: &[u8] = b"otel.status_description";
const HTTP_STATUS_CODE: &[u8] = b"http.status_code";
const HTTP_STATUS_MESSAGE: &[u8] = b"http.status_message";
const TRACE_STATE: &[u8] = b"w3c.tracestate";

const UNSET: i32 = 0;
const OK: i32 = 1;
const FAILED: i32 = 2;

const KIND_SERVER: i32 = 2;
const KIND_CLIENT: i32 = 3;

/// What the tags of a span say, and which of them are no attributes.
#[derive(Default)]
pub(crate) struct TagMeanings<'a> {
    /// `SpanKind`.
    pub(crate) kind: i32,
    /// Code and message.
    pub(crate) status: Option<(i32, Cow<'a, [u8]>)>,
    pub(crate) trace_state: Cow<'a, [u8]>,
    left_out: [Option<&'static [u8]>; 5],
}

impl<'a> TagMeanings<'a> {
    /// Reads the tags of a span, of which each key is there once.
    pub(crate) fn new(tags: &[Tag<'a>], has_trace_state: bool) -> Self {
        let mut known = KnownTags::default();
        for tag in tags {
            match tag.key {
                KIND => known.kind = Some(tag),
                ERROR => known.error = Some(tag),
                STATUS_CODE => known.status_code = Some(tag),
                STATUS_DESCRIPTION => known.status_description = Some(tag),
                HTTP_STATUS_CODE => known.http_status_code = Some(tag),
                HTTP_STATUS_MESSAGE => known.http_status_message = Some(tag),
                TRACE_STATE if has_trace_state => known.trace_state = Some(tag),
                _ => {}
            }
        }
        let mut meanings = Self {
            kind: known.kind.map_or(0, |tag| kind_number(&tag.value.text())),
            trace_state: known.trace_state.map(|tag| tag.value.text()).unwrap_or_default(),
            left_out: [known.kind.map(|_| KIND), known.trace_state.map(|_| TRACE_STATE), None, None, None],
            status: None,
        };
        meanings.read_status(&known);
        meanings
    }

    /// `error: true` goes before `otel.status_code`, and that before the status of HTTP.
    fn read_status(&mut self, known: &KnownTags<'_, 'a>) {
        let text = |tag: Option<&Tag<'a>>| tag.map(|tag| tag.value.text());
        let [_, _, error, status_code, status_description] = &mut self.left_out;
        *status_code = known.status_code.map(|_| STATUS_CODE);
        let mut described = |code: i32| {
            *status_description = known.status_description.map(|_| STATUS_DESCRIPTION);
            (code, text(known.status_description))
        };
        let is_error = known.error.is_some_and(|tag| tag.value == TagValue::Bool(true));
        if is_error {
            *error = Some(ERROR);
            let (code, message) = described(FAILED);
            self.status = Some((code, message.or_else(|| text(known.http_status_message)).unwrap_or_default()));
        } else if let Some(tag) = known.status_code {
            let (code, message) = described(status_number(&tag.value.text()));
            self.status = Some((code, message.unwrap_or_default()));
        } else if let Some(tag) = known.http_status_code
            && http_means_error(&tag.value, self.kind)
        {
            self.status = Some((FAILED, text(known.http_status_message).unwrap_or_default()));
        }
    }

    pub(crate) fn is_attribute(&self, key: &[u8]) -> bool {
        !self.left_out.iter().flatten().any(|left_out| *left_out == key)
    }
}

fn kind_number(name: &[u8]) -> i32 {
    match name {
        b"internal" => 1,
        b"server" => KIND_SERVER,
        b"client" => KIND_CLIENT,
        b"producer" => 4,
        b"consumer" => 5,
        _ => 0,
    }
}

fn status_number(name: &[u8]) -> i32 {
    if name.eq_ignore_ascii_case(b"OK") {
        OK
    } else if name.eq_ignore_ascii_case(b"ERROR") {
        FAILED
    } else {
        UNSET
    }
}

/// Whether a status of HTTP means that the span has failed: a client's request does from 400 on, a server's from 500 on.
/// 399 and what is no status fail too, as in Go.
fn http_means_error(value: &TagValue<'_>, kind: i32) -> bool {
    let code = match value {
        TagValue::Int(code) => Some(*code),
        TagValue::Text(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok()),
        _ => None,
    };
    code.is_some_and(|code| match (code, kind) {
        (400..500, KIND_CLIENT) => true,
        (400..500, KIND_SERVER) => false,
        _ => !(100..399).contains(&code),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, number: i64) -> Tag<'_> {
        Tag { key: key.as_bytes(), value: TagValue::Int(number) }
    }

    #[test]
    fn key_that_is_there_twice_has_its_first_place_and_its_last_value() {
        let mut tags = [tag("a", 1), tag("b", 2), tag("a", 3), tag("c", 4), tag("b", 5)];
        assert_eq!(unique(&mut tags), [tag("a", 3), tag("b", 5), tag("c", 4)]);
        assert_eq!(unique(&mut []), []);
    }

    #[test]
    fn many_keys_are_unique_as_few_are() {
        let keys: Vec<String> = (0..100).map(|i| format!("key-{}", i * 7 % 40)).collect();
        let mut tags: Vec<_> = keys.iter().zip(0..).map(|(key, i)| tag(key, i)).collect();
        let mut expected: Vec<Tag<'_>> = Vec::new();
        for tag in &tags {
            match expected.iter_mut().find(|earlier| earlier.key == tag.key) {
                Some(earlier) => earlier.value = tag.value,
                None => expected.push(*tag),
            }
        }
        assert_eq!(unique(&mut tags), expected);
    }
}
