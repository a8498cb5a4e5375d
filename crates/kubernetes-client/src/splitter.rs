//! Cuts a body of JSON into the objects that it has: the items of a list, or the events of a watch.
//!
//! Reads byte by byte and keeps one object. What an object contains is not checked here: it is passed on as text, for a
//! parser that does.

/// The longest object, in bytes of JSON. The API server stores at most 1.5 MiB of one, in a shorter form.
pub const MAX_OBJECT: usize = 3 << 20;

/// A longer buffer is not kept for the next object.
const MAX_KEPT_BUFFER: usize = 256 << 10;

/// The longest key of a list that is compared.
const MAX_KEY: usize = 32;

/// What has been cut off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PieceKind {
    /// The member `metadata` of a list.
    ListMetadata,
    /// An item of a list, or an event of a watch.
    Object,
    /// An object above [`MAX_OBJECT`], which is left out.
    TooLong,
}

/// What a body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BodyKind {
    /// One object with the member `items`.
    List,
    /// Objects, one after another.
    Stream,
}

/// Where the splitter is between strings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Capture {
    /// Nothing is kept.
    None,
    /// Bytes are kept until the depth is this again.
    Until { depth: u32, kind: PieceKind },
}

/// The machine.
#[derive(Debug)]
pub(crate) struct JsonSplitter {
    kind: BodyKind,
    depth: u32,
    in_string: bool,
    is_escaped: bool,
    /// The last string at depth 1 of a list: a key, if a colon follows.
    key: Vec<u8>,
    /// The value that follows at depth 1 is that of `key`.
    after_colon: bool,
    /// Inside of the array `items` of a list.
    in_items: bool,
    capture: Capture,
    buffer: Vec<u8>,
    /// The root of a list is complete.
    is_complete: bool,
}

impl JsonSplitter {
    pub(crate) fn new(kind: BodyKind) -> Self {
        Self {
            kind,
            depth: 0,
            in_string: false,
            is_escaped: false,
            key: Vec::new(),
            after_colon: false,
            in_items: false,
            capture: Capture::None,
            buffer: Vec::new(),
            is_complete: false,
        }
    }

    /// The object that [`JsonSplitter::push`] has returned.
    pub(crate) fn piece(&self) -> &[u8] {
        &self.buffer
    }

    /// Reads until an object is complete or the input ends; takes what it has read from `input`.
    ///
    /// # Errors
    /// The body can't be JSON of this kind.
    pub(crate) fn push(&mut self, input: &mut &[u8]) -> Result<Option<PieceKind>, &'static str> {
        while let Some((byte, rest)) = input.split_first() {
            *input = rest;
            if let Some(piece) = self.push_byte(*byte)? {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    /// The end of the body.
    ///
    /// # Errors
    /// It is not complete.
    pub(crate) fn finish(&self) -> Result<(), &'static str> {
        let is_complete = self.depth == 0 && !self.in_string;
        let has_root = self.kind == BodyKind::Stream || self.is_complete;
        if is_complete && has_root { Ok(()) } else { Err("the body ends in the middle of an object") }
    }

    fn push_byte(&mut self, byte: u8) -> Result<Option<PieceKind>, &'static str> {
        if self.in_string {
            self.keep(byte);
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ if self.is_key() && self.key.len() < MAX_KEY => self.key.push(byte),
                _ => {}
            }
            return Ok(None);
        }
        match byte {
            b'"' => {
                if self.depth == 0 {
                    return Err("the body is not an object");
                }
                self.keep(byte);
                self.in_string = true;
                if self.is_key() {
                    self.key.clear();
                }
            }
            b'{' | b'[' => return self.open(byte).map(|()| None),
            b'}' | b']' => return self.close(byte),
            b':' if self.is_key() => self.after_colon = true,
            b',' if self.depth == 1 && self.kind == BodyKind::List => self.after_colon = false,
            b' ' | b'\n' | b'\r' | b'\t' => self.keep(byte),
            _ if self.depth == 0 => return Err("the body is not an object"),
            _ => self.keep(byte),
        }
        Ok(None)
    }

    /// Whether a string here is a key of the list.
    fn is_key(&self) -> bool {
        self.kind == BodyKind::List && self.depth == 1 && !self.after_colon
    }

    fn keep(&mut self, byte: u8) {
        if let Capture::Until { kind, .. } = &mut self.capture {
            if self.buffer.len() >= MAX_OBJECT {
                *kind = PieceKind::TooLong;
                self.buffer = Vec::new();
            }
            if *kind != PieceKind::TooLong {
                self.buffer.push(byte);
            }
        }
    }

    fn open(&mut self, byte: u8) -> Result<(), &'static str> {
        if self.capture == Capture::None {
            let kind = match (self.kind, self.depth) {
                (BodyKind::Stream, 0) => Some(PieceKind::Object),
                (BodyKind::List, 0) if self.is_complete => return Err("the body has more than one object"),
                (BodyKind::List, 1) if self.after_colon && self.key == b"metadata" => Some(PieceKind::ListMetadata),
                (BodyKind::List, 2) if self.in_items => Some(PieceKind::Object),
                _ => None,
            };
            if self.kind == BodyKind::List && self.depth == 1 {
                self.in_items = byte == b'[' && self.after_colon && self.key == b"items";
            }
            if let Some(kind) = kind {
                self.capture = Capture::Until { depth: self.depth, kind };
                if self.buffer.capacity() > MAX_KEPT_BUFFER {
                    self.buffer = Vec::new();
                }
                self.buffer.clear();
            }
        }
        if self.depth == 0 && byte == b'[' {
            return Err("the body is not an object");
        }
        self.depth = self.depth.saturating_add(1);
        self.keep(byte);
        Ok(())
    }

    fn close(&mut self, byte: u8) -> Result<Option<PieceKind>, &'static str> {
        self.keep(byte);
        self.depth = self.depth.checked_sub(1).ok_or("the body is not JSON")?;
        if self.kind == BodyKind::List && self.depth <= 1 {
            self.in_items = false;
            self.is_complete = self.depth == 0;
        }
        match self.capture {
            Capture::Until { depth, kind } if depth == self.depth => {
                self.capture = Capture::None;
                Ok(Some(kind))
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces of a body that arrives in parts of this length.
    fn pieces(kind: BodyKind, body: &str, part: usize) -> Result<Vec<(PieceKind, String)>, &'static str> {
        let mut splitter = JsonSplitter::new(kind);
        let mut found = Vec::new();
        for mut input in body.as_bytes().chunks(part) {
            while let Some(piece) = splitter.push(&mut input)? {
                found.push((piece, String::from_utf8(splitter.piece().to_vec()).unwrap()));
            }
        }
        splitter.finish().map(|()| found)
    }

    #[test]
    fn list_is_cut_into_metadata_and_items_whatever_their_order_and_their_parts() {
        let list = r#"{ "kind":"PodList", "x": {"items":[{"no":1}], "metadata":{}}, "items" : [ {"a":"}]\"{"} , {"b":[{"items":[]}]}],
            "metadata":{"resourceVersion":"7"}, "y":"items", "z":[{"c":1}] }"#;
        let expected: Vec<(PieceKind, String)> = vec![
            (PieceKind::Object, r#"{"a":"}]\"{"}"#.to_owned()),
            (PieceKind::Object, r#"{"b":[{"items":[]}]}"#.to_owned()),
            (PieceKind::ListMetadata, r#"{"resourceVersion":"7"}"#.to_owned()),
        ];
        for part in [1, 2, 7, 1000] {
            assert_eq!(pieces(BodyKind::List, list, part), Ok(expected.clone()), "{part}");
        }
        assert_eq!(pieces(BodyKind::List, r#"{"metadata":{},"items":null}"#, 3).unwrap().len(), 1);
    }

    #[test]
    fn stream_is_cut_into_events() {
        let events = "{\"type\":\"ADDED\"}\n{\"type\":\"DELETED\",\"object\":{}}\n\n";
        let found = pieces(BodyKind::Stream, events, 5).unwrap();
        assert_eq!(
            found.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
            ["{\"type\":\"ADDED\"}", "{\"type\":\"DELETED\",\"object\":{}}"]
        );
    }

    #[test]
    fn what_is_not_a_body_of_the_kind_is_an_error() {
        for body in ["[]", "\"a\"", "3", "}", "{}{}", "<html>"] {
            assert!(pieces(BodyKind::List, body, 4).is_err(), "{body}");
        }
        for body in ["", "{\"items\":[", "{\"a"] {
            assert!(pieces(BodyKind::List, body, 4).is_err(), "{body}");
        }
        assert!(pieces(BodyKind::Stream, "{}\n", 4).is_ok());
        assert!(pieces(BodyKind::Stream, "{}\n{", 4).is_err());
    }

    #[test]
    fn object_above_the_limit_is_left_out_and_the_next_one_is_not() {
        let long = format!("{{\"items\":[{{\"a\":\"{}\"}},{{\"b\":1}}]}}", "x".repeat(MAX_OBJECT));
        let found = pieces(BodyKind::List, &long, 1 << 16).unwrap();
        assert_eq!(found[0], (PieceKind::TooLong, String::new()));
        assert_eq!(found[1], (PieceKind::Object, "{\"b\":1}".to_owned()));
    }
}
