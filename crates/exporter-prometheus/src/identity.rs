//! The identity of a series.
//!
//! The identity is a byte string: job and instance, scope, metric type and name, then the point's attributes sorted by
//! key, with values as text (int 1 equals "1"). It is built in reused buffers, so that looking up a series allocates
//! nothing; the labels are also made from this text.

use otelcore_pdata::text::put_value;
use otelcore_pdata::views::{AnyValue, KeyValue, Repeated, ScopeMetrics};
use smallvec::SmallVec;

/// Appends a length and the bytes.
pub(crate) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    put_with(out, |out| out.extend_from_slice(bytes));
}

/// Appends the output of `write`, with its length before it. OTLP bodies are far below 4 GiB.
fn put_with(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let len = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&len.to_le_bytes());
    }
}

/// Removes one byte string from the front and returns it.
fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (taken, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *bytes = rest;
    Some(taken)
}

/// Keys and values of a byte string made by [`put_attributes`].
#[derive(Clone, Copy)]
pub(crate) struct Pairs<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((take(&mut self.0)?, take(&mut self.0)?))
    }
}

fn put_pair(out: &mut Vec<u8>, key: &[u8], value: AnyValue<'_>) {
    put(out, key);
    match value {
        AnyValue::String(text) => put(out, text),
        other => put_with(out, |out| put_value(out, other)),
    }
}

/// The attributes of one point, on the stack.
pub(crate) type Sorted<'a> = SmallVec<[KeyValue<'a>; 12]>;

/// Attributes that labels are made of, at most. A series with more is not shown: all work for one point is done in one
/// step.
pub const MAX_LABELS: usize = 4096;
/// Total bytes of these attributes as received, at most.
pub const MAX_LABEL_BYTES: usize = 1 << 20;
/// Bytes of an array or a map that becomes a label, at most.
pub const MAX_NESTED_BYTES: usize = 64 << 10;

/// There are more attributes, or larger ones, than labels can be made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TooLarge;

/// Reads attributes and sorts them by key.
#[inline]
pub(crate) fn sort<'a>(sorted: &mut Sorted<'a>, attributes: Repeated<'a, KeyValue<'a>>) -> Result<(), TooLarge> {
    sorted.clear();
    let mut bytes = 0;
    for kv in attributes {
        bytes += kv.raw.len();
        let nested = match kv.value {
            AnyValue::Array(raw) | AnyValue::Map(raw) => raw.len(),
            _ => 0,
        };
        if sorted.len() == MAX_LABELS || bytes > MAX_LABEL_BYTES || nested > MAX_NESTED_BYTES {
            return Err(TooLarge);
        }
        sorted.push(kv);
    }
    if !sorted.is_sorted_by_key(|kv| kv.key) {
        sorted.sort_unstable_by_key(|kv| kv.key);
    }
    Ok(())
}

/// Whether `stored` was made from the same attributes. A cheap test: false if a value is not a string.
#[inline]
pub(crate) fn is_same(stored: &[u8], sorted: &[KeyValue<'_>]) -> bool {
    let mut pairs = Pairs(stored);
    for kv in sorted {
        match (pairs.next(), kv.value) {
            (Some((key, value)), AnyValue::String(text)) if key == kv.key && value == text => {}
            _ => return false,
        }
    }
    pairs.0.is_empty()
}

/// Appends sorted attributes merged with `over`: values of `over` replace those of equal keys, and its other keys are
/// added. `over` is sorted in the same way.
pub(crate) fn put_attributes(out: &mut Vec<u8>, sorted: &[KeyValue<'_>], over: &[u8]) {
    let mut over = Pairs(over).peekable();
    for kv in sorted {
        while let Some((key, value)) = over.next_if(|(key, _)| *key < kv.key) {
            put(out, key);
            put(out, value);
        }
        if over.peek().is_none_or(|(key, _)| *key != kv.key) {
            put_pair(out, kv.key, kv.value);
        }
    }
    for (key, value) in over {
        put(out, key);
        put(out, value);
    }
}

/// The part of a series' identity before its attributes, read back.
pub(crate) struct Stem<'a> {
    pub(crate) job: Option<&'a [u8]>,
    pub(crate) instance: Option<&'a [u8]>,
    pub(crate) scope: Scope<'a>,
}

/// The identity of a scope, read back.
pub(crate) struct Scope<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) version: &'a [u8],
    pub(crate) schema_url: &'a [u8],
    pub(crate) attributes: Pairs<'a>,
}

/// Appends job and instance. An absent value is different from an empty one.
pub(crate) fn put_target(out: &mut Vec<u8>, job: Option<&[u8]>, instance: Option<&[u8]>) {
    for part in [job, instance] {
        out.push(u8::from(part.is_some()));
        put(out, part.unwrap_or_default());
    }
}

/// Appends the scope.
pub(crate) fn put_scope(out: &mut Vec<u8>, metrics: &ScopeMetrics<'_>) -> Result<(), TooLarge> {
    let scope = metrics.scope;
    let mut sorted = Sorted::new();
    sort(&mut sorted, scope.attributes())?;
    if [scope.name, scope.version, metrics.schema_url].iter().any(|text| text.len() > MAX_LABEL_BYTES) {
        return Err(TooLarge);
    }
    put(out, scope.name);
    put(out, scope.version);
    put(out, metrics.schema_url);
    put_with(out, |out| put_attributes(out, &sorted, &[]));
    Ok(())
}

impl<'a> Stem<'a> {
    /// Reads the output of [`put_target`] and [`put_scope`].
    pub(crate) fn read(mut bytes: &'a [u8]) -> Option<Self> {
        let mut part = || {
            let (present, rest) = bytes.split_first()?;
            bytes = rest;
            let text = take(&mut bytes)?;
            Some((*present == 1).then_some(text))
        };
        let (job, instance) = (part()?, part()?);
        let mut text = || take(&mut bytes);
        let (name, version, schema_url, attributes) = (text()?, text()?, text()?, Pairs(text()?));
        Some(Self { job, instance, scope: Scope { name, version, schema_url, attributes } })
    }
}
