//! What is done with an attribute, and with the values in the body of a log record.

use otelcore_pdata::Value;
use otelcore_pdata::edit::OutputLimit;
use otelcore_pdata::text;
use otelcore_pdata::views::AnyValue;

use super::config::{Rules, Summary};

/// Bytes of keys that a summary has at most. Further keys are counted.
const MAX_SUMMARY_BYTES: usize = 64 << 10;

/// A masked value is at most so many times longer than the value, and so many bytes in addition.
const LONGEST_MASK: OutputLimit = OutputLimit { factor: 16, extra: 64 << 10 };

/// The mask of a value whose other mask would be longer than that.
const TOO_LONG_MASK: &[u8] = b"****";

/// What is done with an attribute.
#[derive(Debug)]
pub(super) enum Decision {
    Keep,
    Remove,
    Replace(Vec<u8>),
}

/// Keys, and how many there are.
#[derive(Debug, Default)]
pub(super) struct KeyList {
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) count: u64,
    /// Bytes of further keys that fit.
    room: usize,
}

impl KeyList {
    pub(super) fn add(&mut self, key: &[u8]) {
        self.count += 1;
        if let Some(room) = self.room.checked_sub(key.len() + 1) {
            self.room = room;
            self.keys.push(key.to_vec());
        }
    }
}

/// What has been done with a message.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) redacted: KeyList,
    pub(super) masked: KeyList,
    pub(super) allowed: KeyList,
    pub(super) ignored: KeyList,
}

impl Done {
    pub(super) fn new(summary: Summary) -> Self {
        let room = if summary == Summary::Debug { MAX_SUMMARY_BYTES } else { 0 };
        let list = || KeyList { room, ..KeyList::default() };
        Self { redacted: list(), masked: list(), allowed: list(), ignored: KeyList::default() }
    }
}

/// A value as text.
pub(super) fn put_text(out: &mut Vec<u8>, value: AnyValue<'_>) {
    out.clear();
    text::put_value(out, value);
}

impl Rules {
    fn is_ignored_key(&self, key: &[u8]) -> bool {
        self.ignored_keys.contains(key) || self.ignored_key_patterns.as_ref().is_some_and(|it| it.is_match(key))
    }

    fn is_removed_key(&self, key: &[u8]) -> bool {
        !self.allows_all_keys && !self.allowed_keys.contains(key)
    }

    fn is_blocked_key(&self, key: &[u8]) -> bool {
        self.blocked_key_patterns.as_ref().is_some_and(|it| it.is_match(key))
    }

    pub(super) fn is_allowed_value(&self, value: &[u8]) -> bool {
        self.allowed_values.as_ref().is_some_and(|it| it.is_match(value))
    }

    /// Decides about an attribute. `text` is a buffer.
    pub(super) fn decide(&self, key: &[u8], value: AnyValue<'_>, text: &mut Vec<u8>, done: &mut Done) -> Decision {
        if self.is_ignored_key(key) {
            done.ignored.add(key);
            return Decision::Keep;
        }
        if self.is_removed_key(key) {
            done.redacted.add(key);
            return Decision::Remove;
        }
        let value: &[u8] = match value {
            AnyValue::String(text) => text,
            value if self.redacts_all_types => {
                put_text(text, value);
                text
            }
            // Its text is empty, for patterns as well.
            _ => &[],
        };
        if self.is_allowed_value(value) {
            done.allowed.add(key);
            return Decision::Keep;
        }
        if self.is_blocked_key(key) {
            done.masked.add(key);
            return Decision::Replace(self.mask_lines(value));
        }
        match self.mask_blocked(value) {
            Some(masked) => {
                done.masked.add(key);
                Decision::Replace(masked)
            }
            None => Decision::Keep,
        }
    }

    /// Masks a whole value: each of its lines by itself, as the pattern `.*` finds them.
    fn mask_lines(&self, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.mask.len());
        let lines = value.split(|b| *b == b'\n');
        // After a line that is not empty there is no empty match at the end of the text.
        for (index, line) in lines.enumerate() {
            if index > 0 {
                out.push(b'\n');
            }
            self.mask.put(line, &mut out);
            if out.len() > LONGEST_MASK.of(value.len()) {
                return TOO_LONG_MASK.to_vec();
            }
        }
        out
    }

    /// The value with what is blocked in it masked; `None` if nothing is.
    pub(super) fn mask_blocked(&self, value: &[u8]) -> Option<Vec<u8>> {
        let mut masked: Option<Vec<u8>> = None;
        for pattern in &self.blocked_values {
            let text = masked.as_deref().unwrap_or(value);
            let mut out = Vec::new();
            let (mut end, mut is_found) = (0, false);
            let found = pattern.find_all(text, |groups| {
                let Some(Some(found)) = groups.first() else { return Ok(()) };
                is_found = true;
                out.extend_from_slice(text.get(end..found.start).unwrap_or_default());
                self.mask.put(text.get(found.clone()).unwrap_or_default(), &mut out);
                end = found.end;
                if out.len() > LONGEST_MASK.of(value.len()) { Err(()) } else { Ok(()) }
            });
            if found.is_err() {
                return Some(TOO_LONG_MASK.to_vec());
            }
            if is_found {
                out.extend_from_slice(text.get(end..).unwrap_or_default());
                masked = Some(out);
            }
        }
        masked.filter(|masked| masked != value)
    }

    /// Changes the values in the body of a log record, a map or a list. False: nothing changes.
    pub(super) fn redact_body(&self, body: &mut Value, text: &mut Vec<u8>, done: &mut Done) -> bool {
        self.redact_value(body, &mut Vec::new(), text, done)
    }

    /// Changes the values in a value. `path` is that of the value; it is the same afterwards.
    fn redact_value(&self, value: &mut Value, path: &mut Vec<u8>, text: &mut Vec<u8>, done: &mut Done) -> bool {
        let begin = |path: &mut Vec<u8>, step: &[u8]| {
            let len = path.len();
            if len > 0 {
                path.push(b'.');
            }
            path.extend_from_slice(step);
            len
        };
        let mut is_changed = false;
        match value {
            Value::Map(entries) => entries.retain_mut(|(key, value)| {
                let len = begin(path, key);
                let mut is_kept = true;
                if self.is_ignored_key(key) {
                    done.ignored.add(path);
                } else if self.is_removed_key(key) {
                    done.redacted.add(path);
                    (is_kept, is_changed) = (false, true);
                } else if self.is_blocked_key(key) {
                    done.masked.add(path);
                    let secret = if let Value::String(secret) = &*value { secret.as_slice() } else { &[] };
                    *value = Value::String(self.mask_lines(secret));
                    is_changed = true;
                } else {
                    is_changed |= self.redact_value(value, path, text, done);
                }
                path.truncate(len);
                is_kept
            }),
            Value::Array(values) => {
                for (index, value) in values.iter_mut().enumerate() {
                    let len = begin(path, format!("[{index}]").as_bytes());
                    is_changed |= self.redact_value(value, path, text, done);
                    path.truncate(len);
                }
            }
            scalar => {
                let mut encoded = Vec::new();
                scalar.encode(&mut encoded);
                put_text(text, otelcore_pdata::views::View::parse(&encoded));
                if self.is_allowed_value(text) {
                    done.allowed.add(path);
                } else if let Some(masked) = self.mask_blocked(text) {
                    done.masked.add(path);
                    *scalar = Value::String(masked);
                    is_changed = true;
                }
            }
        }
        is_changed
    }
}
