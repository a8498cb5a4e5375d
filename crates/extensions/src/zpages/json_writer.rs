//! Writes JSON. `<`, `>` and `&` are escaped in every string, so that the same text may be a part of HTML.

use std::fmt::Write;

use otelcore_pdata::text::put_json_string_with;

/// A text of JSON that is being written.
#[derive(Debug, Default)]
pub(super) struct Json {
    out: Vec<u8>,
    /// An element or member has been written since the last bracket was opened.
    needs_comma: bool,
}

impl Json {
    pub(super) fn begin(&mut self, bracket: u8) -> &mut Self {
        self.comma();
        self.out.push(bracket);
        self.needs_comma = false;
        self
    }

    pub(super) fn end(&mut self, bracket: u8) -> &mut Self {
        self.out.push(bracket);
        self.needs_comma = true;
        self
    }

    fn comma(&mut self) {
        if std::mem::replace(&mut self.needs_comma, true) {
            self.out.push(b',');
        }
    }

    pub(super) fn key(&mut self, key: &str) -> &mut Self {
        self.string(key);
        self.out.push(b':');
        self.needs_comma = false;
        self
    }

    pub(super) fn string(&mut self, text: &str) -> &mut Self {
        self.comma();
        put_json_string_with(&mut self.out, text.as_bytes(), |c| match c {
            '<' => Some("\\u003c"),
            '>' => Some("\\u003e"),
            '&' => Some("\\u0026"),
            '\u{2028}' => Some("\\u2028"),
            '\u{2029}' => Some("\\u2029"),
            _ => None,
        });
        self
    }

    pub(super) fn strings<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) -> &mut Self {
        self.begin(b'[');
        for text in texts {
            self.string(text);
        }
        self.end(b']')
    }

    /// A number, `null`, `true` or `false`.
    pub(super) fn value(&mut self, value: impl std::fmt::Display) -> &mut Self {
        self.comma();
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = write!(text, "{value}");
        self.out.extend_from_slice(text.as_bytes());
        self
    }

    pub(super) fn optional(&mut self, value: Option<impl std::fmt::Display>) -> &mut Self {
        match value {
            Some(value) => self.value(value),
            None => self.value("null"),
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }

    /// What was written.
    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.out.clone()).unwrap()
    }
}
