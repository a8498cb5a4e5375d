//! The status of a span, which version 1 has in several tags: the first source that has one decides.

use std::borrow::Cow;

use super::BinaryValue;

const UNSET: i32 = 0;
const OK: i32 = 1;
const ERROR: i32 = 2;

#[derive(Default, Debug)]
struct Source<'a> {
    code: Option<i32>,
    message: Cow<'a, [u8]>,
}

/// What the tags say, by where it comes from.
#[derive(Default, Debug)]
pub(super) struct StatusSources<'a> {
    census: Source<'a>,
    otel: Source<'a>,
    http: Source<'a>,
    has_error_tag: bool,
}

impl<'a> StatusSources<'a> {
    /// Reads a tag. True: it is a part of the status only, and no attribute.
    pub(super) fn take(&mut self, key: &[u8], value: &BinaryValue<'a>) -> bool {
        let code = || match value {
            BinaryValue::Int(code) => i32::try_from(*code).ok(),
            BinaryValue::Text(text) => std::str::from_utf8(text).ok()?.parse::<i32>().ok(),
            BinaryValue::Bool(_) | BinaryValue::Double(_) => None,
        };
        let text = || match value {
            BinaryValue::Text(text) => text.clone(),
            _ => Cow::default(),
        };
        match key {
            b"census.status_code" => {
                // The codes of OpenCensus are those of gRPC.
                if let Some(code) = code() {
                    self.census.code = Some(if code == 0 { OK } else { ERROR });
                }
            }
            b"census.status_description" | b"opencensus.status_description" => self.census.message = text(),
            b"otel.status_code" => self.otel.code = code().or(self.otel.code),
            b"otel.status_description" => self.otel.message = text(),
            b"error" => self.has_error_tag = true,
            b"http.status_code" | b"http.response.status_code" => {
                if let Some(code) = code() {
                    self.http.code = Some(if (100..400).contains(&code) { UNSET } else { ERROR });
                }
                return false;
            }
            b"http.status_message" => {
                self.http.message = text();
                return false;
            }
            _ => return false,
        }
        true
    }

    /// Code and message.
    pub(super) fn status(&self) -> Option<(i32, &[u8])> {
        if let Some(code) = self.census.code {
            return Some((code, &self.census.message));
        }
        if let Some(code) = self.otel.code {
            return Some((code, &self.otel.message));
        }
        if self.has_error_tag {
            let message = if self.census.message.is_empty() { &self.otel.message } else { &self.census.message };
            return Some((ERROR, message));
        }
        self.http.code.map(|code| (code, &*self.http.message))
    }
}
