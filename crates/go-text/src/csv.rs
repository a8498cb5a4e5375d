//! One row of comma-separated values, by the rules of Go's `encoding/csv`.

/// Reads a row. Further lines continue its last field.
///
/// # Errors
/// The sentence of the Go collector.
pub fn read_row(row: &[u8], delimiter: &str, is_lazy: bool) -> Result<Vec<Vec<u8>>, String> {
    let delimiter_char = delimiter.chars().next().unwrap_or(',');
    if matches!(delimiter_char, '\0' | '"' | '\r' | '\n' | '\u{fffd}') {
        return Err("read csv line: csv: invalid field or comment delimiter".to_owned());
    }
    let mut reader = Reader { rest: row, line: 0, delimiter: delimiter.as_bytes(), is_lazy };
    let mut joined: Option<Vec<Vec<u8>>> = None;
    loop {
        let (fields, failed) = match reader.read_record() {
            Ok(None) => break,
            Ok(Some(fields)) => (fields, None),
            Err((fields, message)) => (fields, Some(message)),
        };
        if let Some(message) = failed
            && fields.is_empty()
        {
            return Err(format!("read csv line: {message}"));
        }
        let Some(before) = &mut joined else {
            joined = Some(fields);
            continue;
        };
        let mut fields = fields.into_iter();
        if let (Some(last), Some(first)) = (before.last_mut(), fields.next()) {
            last.push(b'\n');
            last.extend_from_slice(&first);
        }
        before.extend(fields);
    }
    joined.ok_or_else(|| "no csv lines found".to_owned())
}

struct Reader<'r> {
    rest: &'r [u8],
    /// Lines that were read.
    line: usize,
    delimiter: &'r [u8],
    is_lazy: bool,
}

/// The fields before an error, and the error.
type Failed = (Vec<Vec<u8>>, String);

impl Reader<'_> {
    /// The next line with its end, `\r\n` as `\n`; without a `\r` at the end of the text. `None` at the end.
    fn read_line(&mut self) -> Option<Vec<u8>> {
        self.line += 1;
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', self.rest);
        let (line, rest) = self.rest.split_at(end.map_or(self.rest.len(), |at| at + 1));
        self.rest = rest;
        let mut line = line.to_vec();
        if end.is_none() {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        } else if line.ends_with(b"\r\n") {
            line.truncate(line.len() - 2);
            line.push(b'\n');
        }
        Some(line)
    }

    /// The fields of the next record; `None` at the end.
    fn read_record(&mut self) -> Result<Option<Vec<Vec<u8>>>, Failed> {
        let line = loop {
            match self.read_line() {
                None => return Ok(None),
                Some(line) if line == b"\n" || line.is_empty() => {}
                Some(line) => break line,
            }
        };
        let first_line = self.line;
        let mut line = line;
        let mut fields = Vec::new();
        // The bytes of the line that are read.
        let mut at = 0;
        loop {
            let rest = line.get(at..).unwrap_or_default();
            if rest.first() != Some(&b'"') {
                let end = memchr::memmem::find(rest, self.delimiter);
                let field = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
                let field = if end.is_some() { field } else { field.strip_suffix(b"\n").unwrap_or(field) };
                if let Some(quote) = memchr::memchr(b'"', field)
                    && !self.is_lazy
                {
                    let message = position(first_line, self.line, at + quote + 1);
                    return Err((fields, format!("{message}: bare \" in non-quoted-field")));
                }
                fields.push(field.to_vec());
                match end {
                    Some(end) => at += end + self.delimiter.len(),
                    None => return Ok(Some(fields)),
                }
                continue;
            }
            at += 1;
            match self.read_quoted(&mut line, &mut at, &mut fields) {
                Ok(true) => {}
                Ok(false) => return Ok(Some(fields)),
                Err((line, column)) => {
                    let message = position(first_line, line, column);
                    return Err((fields, format!("{message}: extraneous or missing \" in quoted-field")));
                }
            }
        }
    }

    /// Reads the rest of a field in quotes. Returns whether another field follows, or the line and column of an error.
    fn read_quoted(
        &mut self,
        line: &mut Vec<u8>,
        at: &mut usize,
        fields: &mut Vec<Vec<u8>>,
    ) -> Result<bool, (usize, usize)> {
        let mut field = Vec::new();
        let mut is_at_end = false;
        // The column of the position after the end of the text is that of the last line.
        let mut end_position = (self.line, *at + 1);
        loop {
            let rest = line.get(*at..).unwrap_or_default();
            if let Some(quote) = memchr::memchr(b'"', rest) {
                field.extend_from_slice(rest.get(..quote).unwrap_or_default());
                *at += quote + 1;
                let after = line.get(*at..).unwrap_or_default();
                if after.first() == Some(&b'"') {
                    field.push(b'"');
                    *at += 1;
                } else if after.starts_with(self.delimiter) {
                    *at += self.delimiter.len();
                    fields.push(field);
                    return Ok(true);
                } else if after == b"\n" || after.is_empty() {
                    fields.push(field);
                    return Ok(false);
                } else if self.is_lazy {
                    field.push(b'"');
                } else {
                    return Err((self.line, *at));
                }
                end_position = (self.line, *at + 1);
            } else if !rest.is_empty() && !is_at_end {
                field.extend_from_slice(rest);
                end_position = (self.line, *at + rest.len() + 1);
                match self.read_line() {
                    Some(next) => {
                        *line = next;
                        *at = 0;
                        end_position = (self.line, 1);
                    }
                    None => {
                        is_at_end = true;
                        line.clear();
                        *at = 0;
                    }
                }
            } else {
                if !self.is_lazy {
                    return Err(end_position);
                }
                fields.push(field);
                return Ok(false);
            }
        }
    }
}

fn position(first_line: usize, line: usize, column: usize) -> String {
    if first_line == line {
        format!("parse error on line {line}, column {column}")
    } else {
        format!("record on line {first_line}; parse error on line {line}, column {column}")
    }
}
