//! The identity of a series.
//!
//! The identity is a byte string: job and instance, scope, metric type and name, then the point's attributes sorted by
//! key, with values as text (int 1 equals "1"); keys and values are apart, since many series have the same keys. It is
//! built in reused buffers, so that looking up a series allocates nothing; the labels are also made from this text.

use otelcore_pdata::text::put_value;
use otelcore_pdata::views::{AnyValue, KeyValue, RepeatedMessages, ScopeMetrics};
use smallvec::SmallVec;

/// A length takes one byte, or, from this one on, this byte and four more: there may be a million series, and most keys
/// and values are short.
const LONG: u8 = 0xff;

/// Appends a length and the bytes.
#[inline]
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    match u8::try_from(bytes.len()) {
        Ok(len) if len < LONG => out.push(len),
        _ => {
            out.push(LONG);
            out.extend_from_slice(&long_len(bytes.len()));
        }
    }
    out.extend_from_slice(bytes);
}

/// OTLP bodies are far below 4 GiB.
fn long_len(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes()
}

/// Appends the output of `write`, with its length before it.
fn put_length_prefixed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    write(out);
    let len = out.len() - at - 1;
    let Some(short) = out.get_mut(at) else { return };
    match u8::try_from(len) {
        Ok(len) if len < LONG => *short = len,
        _ => {
            *short = LONG;
            out.splice(at + 1..at + 1, long_len(len));
        }
    }
}

/// Removes one byte string from the front and returns it.
#[inline]
fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (short, mut rest) = bytes.split_first()?;
    let mut len = usize::from(*short);
    if *short == LONG {
        let (long, after) = rest.split_first_chunk::<4>()?;
        (len, rest) = (u32::from_le_bytes(*long) as usize, after);
    }
    let (bytes_read, rest) = rest.split_at_checked(len)?;
    *bytes = rest;
    Some(bytes_read)
}

/// Texts that were appended by [`put_bytes`].
#[derive(Clone, Copy)]
pub(crate) struct Texts<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Texts<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        take_bytes(&mut self.0)
    }
}

/// Keys and values, each pair appended as two texts.
#[derive(Clone, Copy)]
pub(crate) struct AttributePairs<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for AttributePairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((take_bytes(&mut self.0)?, take_bytes(&mut self.0)?))
    }
}

fn put_value_text(out: &mut Vec<u8>, value: AnyValue<'_>) {
    match value {
        AnyValue::String(text) => put_bytes(out, text),
        other => put_length_prefixed(out, |out| put_value(out, other)),
    }
}

/// The attributes of one point, on the stack.
pub(crate) type SortedAttributes<'a> = SmallVec<[KeyValue<'a>; 12]>;

/// Attributes that labels are made of, at most. A series with more is not shown: all work for one point is done in one
/// step.
pub const MAX_LABELS: usize = 4096;
/// Total bytes of these attributes as received, at most.
pub const MAX_LABEL_BYTES: usize = 1 << 20;
/// Bytes of an array or a map that becomes a label, at most.
pub const MAX_NESTED_BYTES: usize = 64 << 10;

/// There are more attributes, or larger ones, than labels can be made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LabelsTooLarge;

/// Reads attributes and sorts them by key.
#[inline]
pub(crate) fn sort_attributes<'a>(
    sorted: &mut SortedAttributes<'a>,
    attributes: RepeatedMessages<'a, KeyValue<'a>>,
) -> Result<(), LabelsTooLarge> {
    sorted.clear();
    let mut bytes = 0;
    for kv in attributes {
        bytes += kv.raw.len();
        let nested = match kv.value {
            AnyValue::Array(raw) | AnyValue::Map(raw) => raw.len(),
            _ => 0,
        };
        if sorted.len() == MAX_LABELS || bytes > MAX_LABEL_BYTES || nested > MAX_NESTED_BYTES {
            return Err(LabelsTooLarge);
        }
        sorted.push(kv);
    }
    if !sorted.is_sorted_by_key(|kv| kv.key) {
        sorted.sort_unstable_by_key(|kv| kv.key);
    }
    Ok(())
}

/// Whether these keys and values were made from the same attributes. A cheap test: false if a value is not a string.
#[inline]
pub(crate) fn is_same(keys: &[u8], values: &[u8], sorted: &[KeyValue<'_>]) -> bool {
    let (mut keys, mut values) = (Texts(keys), Texts(values));
    for kv in sorted {
        match (keys.next(), values.next(), kv.value) {
            (Some(key), Some(value), AnyValue::String(text)) if key == kv.key && value == text => {}
            _ => return false,
        }
    }
    keys.0.is_empty()
}

/// The attributes of a point as identity bytes.
#[derive(Debug, Default)]
pub(crate) struct AttributeBytes {
    pub(crate) keys: Vec<u8>,
    pub(crate) values: Vec<u8>,
}

impl AttributeBytes {
    /// Stores sorted attributes merged with `overrides`: values of `overrides` replace those of equal keys, and its other
    /// keys are added. `overrides` is sorted in the same way.
    pub(crate) fn set(&mut self, sorted: &[KeyValue<'_>], overrides: &[u8]) {
        self.keys.clear();
        self.values.clear();
        let mut overrides = AttributePairs(overrides).peekable();
        for kv in sorted {
            while let Some((key, value)) = overrides.next_if(|(key, _)| *key < kv.key) {
                self.put(key, value);
            }
            if overrides.peek().is_none_or(|(key, _)| *key != kv.key) {
                put_bytes(&mut self.keys, kv.key);
                put_value_text(&mut self.values, kv.value);
            }
        }
        for (key, value) in overrides {
            self.put(key, value);
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        put_bytes(&mut self.keys, key);
        put_bytes(&mut self.values, value);
    }

    /// Keys and values.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        Texts(&self.keys).zip(Texts(&self.values))
    }
}

/// The part of a series' identity before its attributes, read back.
pub(crate) struct IdentityPrefix<'a> {
    pub(crate) job: Option<&'a [u8]>,
    pub(crate) instance: Option<&'a [u8]>,
    pub(crate) scope: ScopeIdentity<'a>,
}

/// The identity of a scope, read back.
pub(crate) struct ScopeIdentity<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) version: &'a [u8],
    pub(crate) schema_url: &'a [u8],
    pub(crate) attributes: AttributePairs<'a>,
}

/// Appends job and instance. An absent value is different from an empty one.
pub(crate) fn put_job_and_instance(out: &mut Vec<u8>, job: Option<&[u8]>, instance: Option<&[u8]>) {
    for part in [job, instance] {
        out.push(u8::from(part.is_some()));
        put_bytes(out, part.unwrap_or_default());
    }
}

/// Appends the scope.
pub(crate) fn put_scope(out: &mut Vec<u8>, metrics: &ScopeMetrics<'_>) -> Result<(), LabelsTooLarge> {
    let scope = metrics.scope;
    let mut sorted = SortedAttributes::new();
    sort_attributes(&mut sorted, scope.attributes())?;
    if [scope.name, scope.version, metrics.schema_url].iter().any(|text| text.len() > MAX_LABEL_BYTES) {
        return Err(LabelsTooLarge);
    }
    put_bytes(out, scope.name);
    put_bytes(out, scope.version);
    put_bytes(out, metrics.schema_url);
    put_length_prefixed(out, |out| {
        for kv in &sorted {
            put_bytes(out, kv.key);
            put_value_text(out, kv.value);
        }
    });
    Ok(())
}

impl<'a> IdentityPrefix<'a> {
    /// Reads the output of [`put_job_and_instance`] and [`put_scope`].
    pub(crate) fn parse(mut bytes: &'a [u8]) -> Option<Self> {
        let mut part = || {
            let (present, rest) = bytes.split_first()?;
            bytes = rest;
            let text = take_bytes(&mut bytes)?;
            Some((*present == 1).then_some(text))
        };
        let (job, instance) = (part()?, part()?);
        let mut text = || take_bytes(&mut bytes);
        let (name, version, schema_url, attributes) = (text()?, text()?, text()?, AttributePairs(text()?));
        Some(Self { job, instance, scope: ScopeIdentity { name, version, schema_url, attributes } })
    }
}
