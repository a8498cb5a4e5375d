//! Tokens of XML, by the rules of Go's `encoding/xml` in its strict form.

use std::collections::BTreeMap;

/// The bytes of all namespaces, or of all prefixes, that the names of a document have: a long one can be that of many.
pub(in crate::functions) const MAX_NAME_BYTES: usize = crate::functions::common::MAX_RESULT_BYTES;

/// A name, its prefix replaced by the namespace that it stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::functions) struct Name {
    pub(in crate::functions) space: String,
    pub(in crate::functions) local: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::functions) struct Attribute {
    pub(in crate::functions) name: Name,
    pub(in crate::functions) value: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(in crate::functions) enum Token {
    /// An element begins. `prefix` is as it was written.
    Start {
        name: Name,
        prefix: String,
        attributes: Vec<Attribute>,
    },
    End,
    Text(String),
    CData(String),
    Comment(String),
    ProcessingInstruction {
        target: String,
        content: String,
    },
    Directive(String),
}

pub(in crate::functions) struct Decoder<'t> {
    text: &'t [u8],
    at: usize,
    /// The elements that are open: prefix and name as written, and the namespaces that each has declared, with what
    /// they were before.
    open: Vec<OpenElement>,
    namespaces: BTreeMap<String, String>,
    /// Bytes of namespaces that names have received.
    namespace_bytes: usize,
    /// The element that was read last ends at once.
    closes: bool,
}

struct OpenElement {
    prefix: String,
    local: String,
    shadowed: Vec<(String, Option<String>)>,
}

impl<'t> Decoder<'t> {
    pub(in crate::functions) fn new(text: &'t [u8]) -> Self {
        Self { text, at: 0, open: Vec::new(), namespaces: BTreeMap::new(), namespace_bytes: 0, closes: false }
    }

    /// Whether all of the text is read.
    pub(in crate::functions) fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    /// The next token; `None` at the end.
    pub(in crate::functions) fn next(&mut self) -> Result<Option<Token>, String> {
        if self.closes {
            self.closes = false;
            self.close()?;
            return Ok(Some(Token::End));
        }
        if self.is_at_end() {
            return if self.open.is_empty() { Ok(None) } else { Err(self.error("unexpected EOF")) };
        }
        if !self.skip(b"<") {
            return self.text(None, false).map(|text| Some(Token::Text(text)));
        }
        let token = match self.peek() {
            Some(b'/') => self.end_element()?,
            Some(b'?') => self.processing_instruction()?,
            Some(b'!') => self.declaration()?,
            _ => self.start_element()?,
        };
        Ok(Some(token))
    }

    #[cold]
    fn error(&self, message: &str) -> String {
        let read = self.text.get(..self.at.min(self.text.len())).unwrap_or_default();
        let line = 1 + memchr::memchr_iter(b'\n', read).count();
        format!("XML syntax error on line {line}: {message}")
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip(&mut self, prefix: &[u8]) -> bool {
        let is_there = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(prefix));
        self.at += if is_there { prefix.len() } else { 0 };
        is_there
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// The text up to `end`, which is skipped.
    fn until(&mut self, end: &[u8]) -> Result<&'t [u8], String> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        match memchr::memmem::find(rest, end) {
            Some(len) => {
                self.at += len + end.len();
                Ok(rest.get(..len).unwrap_or_default())
            }
            None => {
                self.at = self.text.len();
                Err(self.error("unexpected EOF"))
            }
        }
    }

    /// A name with its colons; `None` if there is none.
    fn raw_name(&mut self) -> Result<Option<String>, String> {
        let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'.' | b'-') || *b >= 0x80;
        let rest = self.text.get(self.at..).unwrap_or_default();
        let len = rest.iter().take_while(|b| is_part(b)).count();
        self.at += len;
        if self.is_at_end() {
            return Err(self.error("unexpected EOF"));
        }
        let name = rest.get(..len).unwrap_or_default();
        if name.is_empty() {
            return Ok(None);
        }
        let text = std::str::from_utf8(name).ok();
        let starts_well = |c: char| c.is_alphabetic() || matches!(c, '_' | ':');
        match text.filter(|text| text.starts_with(starts_well)) {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(self.error(&format!("invalid XML name: {}", String::from_utf8_lossy(name)))),
        }
    }

    /// The prefix and the name behind it.
    fn name(&mut self, missing: &str) -> Result<(String, String), String> {
        let Some(name) = self.raw_name()?.filter(|name| name.matches(':').count() <= 1) else {
            return Err(self.error(missing));
        };
        Ok(match name.split_once(':') {
            Some((prefix, local)) if !prefix.is_empty() && !local.is_empty() => (prefix.to_owned(), local.to_owned()),
            _ => (String::new(), name),
        })
    }

    fn end_element(&mut self) -> Result<Token, String> {
        self.at += 1;
        let (prefix, local) = self.name("expected element name after </")?;
        self.skip_space();
        if !self.skip(b">") {
            return Err(self.error(&format!("invalid characters between </{local} and >")));
        }
        match self.open.last() {
            None => Err(self.error(&format!("unexpected end element </{local}>"))),
            Some(open) if open.local != local => {
                Err(self.error(&format!("element <{}> closed by </{local}>", open.local)))
            }
            Some(open) if open.prefix != prefix => {
                let space = if prefix.is_empty() { "\"\"" } else { &prefix };
                let (open_local, open_prefix) = (&open.local, &open.prefix);
                Err(self.error(&format!(
                    "element <{open_local}> in space {open_prefix} closed by </{local}> in space {space}"
                )))
            }
            Some(_) => {
                self.close()?;
                Ok(Token::End)
            }
        }
    }

    /// Forgets the innermost element and its namespaces.
    fn close(&mut self) -> Result<(), String> {
        let Some(element) = self.open.pop() else { return Err(self.error("unexpected end element")) };
        for (prefix, before) in element.shadowed.into_iter().rev() {
            match before {
                Some(space) => self.namespaces.insert(prefix, space),
                None => self.namespaces.remove(&prefix),
            };
        }
        Ok(())
    }

    fn processing_instruction(&mut self) -> Result<Token, String> {
        self.at += 1;
        let Some(target) = self.raw_name()? else { return Err(self.error("expected target name after <?")) };
        self.skip_space();
        let content = String::from_utf8_lossy(self.until(b"?>")?).into_owned();
        if target == "xml" {
            let version = parameter(&content, "version=");
            if !matches!(version, "" | "1.0") {
                let quoted = crate::functions::common::quote(version.as_bytes());
                return Err(format!("xml: unsupported version {quoted}; only version 1.0 is supported"));
            }
            let encoding = parameter(&content, "encoding=");
            if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("utf-8") {
                let quoted = crate::functions::common::quote(encoding.as_bytes());
                return Err(format!("xml: encoding {quoted} declared but Decoder.CharsetReader is nil"));
            }
        }
        Ok(Token::ProcessingInstruction { target, content })
    }

    /// A comment, a section of text, or a directive.
    fn declaration(&mut self) -> Result<Token, String> {
        self.at += 1;
        if self.skip(b"-") {
            if !self.skip(b"-") {
                return Err(self.error("invalid sequence <!- not part of <!--"));
            }
            let comment = self.until(b"--")?;
            if !self.skip(b">") {
                return Err(self.error("invalid sequence \"--\" not allowed in comments"));
            }
            return Ok(Token::Comment(String::from_utf8_lossy(comment).into_owned()));
        }
        if self.skip(b"[") {
            if !self.skip(b"CDATA[") {
                return Err(self.error("invalid <![ sequence"));
            }
            return self.text(None, true).map(Token::CData);
        }
        self.directive()
    }

    /// `<!DOCTYPE ...>`: as it is, comments as a space.
    fn directive(&mut self) -> Result<Token, String> {
        let (mut out, mut quote, mut depth) = (Vec::new(), None, 0_usize);
        loop {
            if quote.is_none() && self.skip(b"<!--") {
                self.until(b"-->")?;
                out.push(b' ');
                continue;
            }
            let Some(b) = self.peek() else { return Err(self.error("unexpected EOF")) };
            self.at += 1;
            match (quote, b) {
                (None, b'>') if depth == 0 => break,
                (None, b'>') => depth -= 1,
                (None, b'<') => depth += 1,
                (None, b'"' | b'\'') => quote = Some(b),
                (Some(open), b) if open == b => quote = None,
                _ => {}
            }
            out.push(b);
        }
        Ok(Token::Directive(String::from_utf8_lossy(&out).into_owned()))
    }

    fn start_element(&mut self) -> Result<Token, String> {
        let (prefix, local) = self.name("expected element name after <")?;
        let mut attributes = Vec::new();
        loop {
            self.skip_space();
            if self.skip(b"/") {
                if !self.skip(b">") {
                    return Err(self.error("expected /> in element"));
                }
                self.closes = true;
                break;
            }
            if self.skip(b">") {
                break;
            }
            if self.is_at_end() {
                return Err(self.error("unexpected EOF"));
            }
            let (space, name) = self.name("expected attribute name in element")?;
            self.skip_space();
            if !self.skip(b"=") {
                return Err(self.error("attribute name without = in element"));
            }
            self.skip_space();
            let quote = self.peek().filter(|b| matches!(b, b'"' | b'\''));
            let Some(quote) = quote else {
                let is_at_end = self.is_at_end();
                let message =
                    if is_at_end { "unexpected EOF" } else { "unquoted or missing attribute value in element" };
                return Err(self.error(message));
            };
            self.at += 1;
            let value = self.text(Some(quote), false)?;
            attributes.push(Attribute { name: Name { space, local: name }, value });
        }
        let shadowed = self.declare_namespaces(&attributes);
        for attribute in &mut attributes {
            self.translate(&mut attribute.name, false)?;
        }
        let mut name = Name { space: prefix.clone(), local: local.clone() };
        self.translate(&mut name, true)?;
        self.open.push(OpenElement { prefix: prefix.clone(), local, shadowed });
        Ok(Token::Start { name, prefix, attributes })
    }

    fn declare_namespaces(&mut self, attributes: &[Attribute]) -> Vec<(String, Option<String>)> {
        let mut shadowed = Vec::new();
        for Attribute { name, value } in attributes {
            let prefix = match (&*name.space, &*name.local) {
                ("xmlns", prefix) => prefix,
                ("", "xmlns") => "",
                _ => continue,
            };
            let before = self.namespaces.insert(prefix.to_owned(), value.clone());
            shadowed.push((prefix.to_owned(), before));
        }
        shadowed
    }

    /// Replaces the prefix of a name by its namespace.
    fn translate(&mut self, name: &mut Name, is_element: bool) -> Result<(), String> {
        match &*name.space {
            "xmlns" => return Ok(()),
            "" if !is_element => return Ok(()),
            "xml" => {
                name.space = "http://www.w3.org/XML/1998/namespace".to_owned();
                return Ok(());
            }
            "" if name.local == "xmlns" => return Ok(()),
            _ => {}
        }
        if let Some(space) = self.namespaces.get(&name.space) {
            self.namespace_bytes += space.len();
            if self.namespace_bytes > MAX_NAME_BYTES {
                return Err(format!("the namespaces of all names are larger than {MAX_NAME_BYTES} bytes"));
            }
            name.space.clone_from(space);
        }
        Ok(())
    }

    /// Text up to the next markup, up to a quote, or up to the end of a section.
    fn text(&mut self, quote: Option<u8>, is_cdata: bool) -> Result<String, String> {
        let mut out = Vec::new();
        // Where a run of characters without a reference began.
        let mut run_start = out.len();
        loop {
            let Some(b) = self.peek() else {
                if is_cdata {
                    return Err(self.error("unexpected EOF in CDATA section"));
                }
                // A value without its quote ends with the text; what follows is then missing.
                break;
            };
            if quote.is_none() && b == b'>' && out.get(run_start..).is_some_and(|run| run.ends_with(b"]]")) {
                self.at += 1;
                if !is_cdata {
                    return Err(self.error("unescaped ]]> not in CDATA section"));
                }
                out.truncate(out.len() - 2);
                break;
            }
            if b == b'<' && !is_cdata {
                if quote.is_some() {
                    self.at += 1;
                    return Err(self.error("unescaped < inside quoted string"));
                }
                break;
            }
            self.at += 1;
            if Some(b) == quote {
                break;
            }
            match b {
                b'&' if !is_cdata => {
                    let c = self.reference()?;
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    run_start = out.len();
                }
                b'\r' => {
                    out.push(b'\n');
                    self.skip(b"\n");
                }
                b => out.push(b),
            }
        }
        let text = String::from_utf8(out).map_err(|_| self.error("invalid UTF-8"))?;
        let is_allowed =
            |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
        match text.chars().find(|c| !is_allowed(*c)) {
            Some(c) => Err(self.error(&format!("illegal character code U+{:04X}", u32::from(c)))),
            None => Ok(text),
        }
    }

    /// The character of `&amp;` or `&#65;`, behind the `&`.
    fn reference(&mut self) -> Result<char, String> {
        let start = self.at;
        let is_number = self.skip(b"#");
        let radix = if is_number && self.skip(b"x") { 16 } else { 10 };
        let is_part = |b: &u8| match (is_number, radix) {
            (true, 16) => b.is_ascii_hexdigit(),
            (true, _) => b.is_ascii_digit(),
            (false, _) => b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'.' | b'-') || *b >= 0x80,
        };
        let rest = self.text.get(self.at..).unwrap_or_default();
        let len = rest.iter().take_while(|b| is_part(b)).count();
        self.at += len;
        if self.is_at_end() {
            return Err(self.error("unexpected EOF"));
        }
        let name = String::from_utf8_lossy(rest.get(..len).unwrap_or_default());
        let has_end = self.skip(b";");
        let c = match (has_end, is_number, &*name) {
            (false, ..) => None,
            (_, true, digits) => {
                let number = u32::from_str_radix(digits, radix).ok().filter(|number| *number <= 0x10_ffff);
                number.map(|number| char::from_u32(number).unwrap_or('\u{fffd}'))
            }
            (_, _, "lt") => Some('<'),
            (_, _, "gt") => Some('>'),
            (_, _, "amp") => Some('&'),
            (_, _, "apos") => Some('\''),
            (_, _, "quot") => Some('"'),
            _ => None,
        };
        c.ok_or_else(|| {
            let reference = String::from_utf8_lossy(self.text.get(start..self.at).unwrap_or_default());
            let semicolon = if has_end { "" } else { " (no semicolon)" };
            self.error(&format!("invalid character entity &{reference}{semicolon}"))
        })
    }
}

/// The value of `name="value"` in a declaration.
fn parameter<'c>(content: &'c str, name: &str) -> &'c str {
    let mut rest = content;
    while let Some((_, after)) = rest.split_once(name) {
        rest = after;
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
        if let Some(quote) = quote {
            let value = after.get(1..).unwrap_or_default();
            return value.split_once(quote).map_or("", |(value, _)| value);
        }
    }
    ""
}
