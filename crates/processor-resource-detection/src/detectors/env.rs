//! The detector `env`: attributes from `OTEL_RESOURCE_ATTRIBUTES`.

use otelcore_go_regexp::GoRegexp;
use otelcore_pdata::Value;

use crate::answers::{Answers, Halt};
use crate::detected::DetectedResource;

/// One `key=value` with the comma or the end behind it, by the rules of the Go detector.
const PAIR: &str = r"\s*([[:ascii:]]{1,256}?)\s*=\s*([[:ascii:]]{0,256}?)\s*(?:,|$)";

pub(super) fn detect(answers: &mut Answers<'_>) -> Result<DetectedResource, Halt> {
    for name in ["OTEL_RESOURCE_ATTRIBUTES", "OTEL_RESOURCE"] {
        let text = answers.env(name);
        if !text.trim().is_empty() {
            return parse(text.trim()).map_err(Halt::Failed);
        }
    }
    Ok(DetectedResource::default())
}

fn parse(text: &str) -> Result<DetectedResource, String> {
    let pattern = GoRegexp::compile(PAIR).map_err(|e| e.to_string())?;
    let mut resource = DetectedResource::default();
    let mut end = 0;
    let mut is_found = false;
    pattern.find_all(text.as_bytes(), |groups| {
        let part = |index: usize| groups.get(index).cloned().flatten().unwrap_or_default();
        let slice = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
        let whole = part(0);
        if end != whole.start {
            return Err(format!("invalid resource format, invalid text: {:?}", slice(end..whole.start)));
        }
        let (key, value) = (slice(part(1)), slice(part(2)));
        let value = unescape(value).map_err(|escape| {
            let pair = slice(whole.clone());
            format!("invalid resource format in attribute: {pair:?}, err: invalid URL escape {escape:?}")
        })?;
        resource.set(key, Value::String(value));
        end = whole.end;
        is_found = true;
        Ok(())
    })?;
    if !is_found {
        return Err(format!("invalid resource format: {text:?}"));
    }
    match text.get(end..) {
        None | Some("") => Ok(resource),
        Some(rest) => Err(format!("invalid resource format, invalid text: {rest:?}")),
    }
}

/// Decodes `%41` and `+`, as Go's `url.QueryUnescape` does. The error is the escape that is not valid.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let digits = bytes.get(at..at + 2).and_then(|digits| std::str::from_utf8(digits).ok());
                let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
                let Some(value) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
                    let end = bytes.len().min(at + 2);
                    return Err(String::from_utf8_lossy(bytes.get(at - 1..end).unwrap_or_default()).into_owned());
                };
                decoded.push(value);
                at += 2;
            }
            other => decoded.push(*other),
        }
    }
    Ok(decoded)
}
