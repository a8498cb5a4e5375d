//! Reads one open file.
//!
//! Owns the handle and the state of the file. Reads as much as its caller allows, and goes on there at the next call.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use otelcore_pipeline::{FileHandle, FileSystem};
use otelcore_stanza::{Entry, Key, Map, Origin, RunContext, TextTemplate, Value};

use crate::file_set::Fingerprinted;
use crate::file_state::{FileState, Position};
use crate::gzip::{self, GzipStream};
use crate::header::HeaderParser;
use crate::splitter::{Split, Splitter};

/// What is read at a time; more where an entry is longer.
const CHUNK_BYTES: usize = 256 << 10;
/// Compressed bytes that are read at a time: they can become a thousand times as many.
const COMPRESSED_CHUNK_BYTES: usize = 8 << 10;
/// Entries that are on their way together: when they are delivered, their end is remembered.
const ENTRIES_PER_PART: usize = 100;

/// What readers share.
#[derive(Debug)]
pub(crate) struct ReadSettings {
    pub(crate) fingerprint_size: usize,
    /// In nanoseconds; zero disables it.
    pub(crate) flush_period: u64,
    pub(crate) record_number: bool,
    pub(crate) record_offset: bool,
    pub(crate) has_bytes: bool,
    pub(crate) attributes: Vec<(Key, TextTemplate)>,
    pub(crate) resource: Vec<(Key, TextTemplate)>,
}

/// What a call of a reader works with.
pub(crate) struct Reading<'r> {
    pub(crate) files: &'r mut dyn FileSystem,
    pub(crate) settings: &'r ReadSettings,
    pub(crate) splitter: &'r Splitter,
    pub(crate) header: Option<&'r mut HeaderParser>,
    pub(crate) context: &'r RunContext<'r>,
    /// How many bytes and entries may still be read.
    pub(crate) bytes_left: usize,
    pub(crate) entries_left: usize,
    pub(crate) out: Vec<Entry>,
    /// Errors, with the path of the file.
    pub(crate) errors: Vec<(PathBuf, String)>,
}

impl Reading<'_> {
    fn is_full(&self) -> bool {
        self.bytes_left == 0 || self.entries_left == 0
    }

    fn spend(&mut self, bytes: usize, entries: usize) {
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.entries_left = self.entries_left.saturating_sub(entries);
    }
}

/// Whether the end of a file was reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReadEnd {
    /// There is no more now.
    EndOfFile,
    /// The caller's limit was reached.
    Paused,
}

/// An open file.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) path: PathBuf,
    pub(crate) handle: FileHandle,
    pub(crate) state: FileState,
    /// The attributes of its entries.
    attributes: Map,
    gzip: Option<GzipStream>,
    /// Decompressed bytes that are not split yet.
    pending: Vec<u8>,
}

impl Fingerprinted for Reader {
    fn fingerprint(&self) -> &[u8] {
        &self.state.fingerprint
    }
}

/// The begin of a file, and whether it is compressed.
pub(crate) fn fingerprint_of(
    files: &mut dyn FileSystem,
    handle: &FileHandle,
    size: usize,
    decompresses: bool,
) -> std::io::Result<(Vec<u8>, bool)> {
    let mut begin = files.read_handle(handle, 0, size)?;
    let is_gzip = decompresses && begin.starts_with(gzip::MAGIC);
    if is_gzip {
        let compressed = files.read_handle(handle, 0, size.saturating_add(4096))?;
        begin = gzip::begin(&compressed, size);
    }
    Ok((begin, is_gzip))
}

impl Reader {
    pub(crate) fn new(path: PathBuf, handle: FileHandle, state: FileState, mut attributes: Map) -> Self {
        let mut all = state.header_attributes.clone();
        all.append(&mut attributes);
        Self { path, handle, state, attributes: all, gzip: None, pending: Vec::new() }
    }

    /// Whether the file still begins as it did.
    pub(crate) fn is_valid(&self, files: &mut dyn FileSystem, settings: &ReadSettings, decompresses: bool) -> bool {
        fingerprint_of(files, &self.handle, settings.fingerprint_size, decompresses)
            .is_ok_and(|(begin, _)| begin.starts_with(&self.state.fingerprint))
    }

    /// Reads entries until the end of the file or the limit of the caller.
    pub(crate) fn read(&mut self, reading: &mut Reading<'_>, decompresses: bool) -> ReadEnd {
        let before = self.state.read;
        let end = self.read_all(reading);
        let is_short = self.state.fingerprint.len() < reading.settings.fingerprint_size;
        if is_short && (self.state.read != before || self.state.rest_length > 0) {
            let found = fingerprint_of(reading.files, &self.handle, reading.settings.fingerprint_size, decompresses);
            if let Ok((begin, _)) = found
                && begin.starts_with(&self.state.fingerprint)
            {
                self.state.fingerprint = begin;
            }
        }
        match end {
            Ok(end) => end,
            Err(error) => {
                reading.errors.push((self.path.clone(), error));
                ReadEnd::EndOfFile
            }
        }
    }

    fn read_all(&mut self, reading: &mut Reading<'_>) -> Result<ReadEnd, String> {
        if !self.state.header_is_read
            && reading.header.is_some()
            && !self.read_header(reading).map_err(|e| e.to_string())?
        {
            return Ok(ReadEnd::EndOfFile);
        }
        if self.state.is_gzip { self.read_compressed(reading) } else { self.read_plain(reading) }
    }

    /// Reads the header from the begin of the file. Returns false where the file ends before it.
    fn read_header(&mut self, reading: &mut Reading<'_>) -> std::io::Result<bool> {
        let splitter = reading.splitter.lines_of();
        let limit = splitter.max_log_size().max(CHUNK_BYTES);
        let data = reading.files.read_handle(&self.handle, 0, limit)?;
        let (mut used, mut attributes) = (0, Map::new());
        let Some(header) = reading.header.as_deref_mut() else { return Ok(true) };
        let mut skips = false;
        let has_end = loop {
            let rest = data.get(used..).unwrap_or_default();
            match splitter.next(rest, false, &mut skips) {
                // A header that takes everything that is read has no end.
                Split::More => break data.len() >= limit,
                Split::Entry { advance, start, end } => {
                    let text = rest.get(start..end).unwrap_or_default();
                    let line = text.strip_suffix(b"\r").unwrap_or(text);
                    if !header.add_line(splitter.decode(line), reading.context, &mut attributes) {
                        break true;
                    }
                    used += advance;
                }
            }
        };
        if !has_end {
            return Ok(false);
        }
        if self.state.read.offset < used as u64 {
            self.state.pass(Position { offset: used as u64, ..self.state.read });
        }
        self.state.header_is_read = true;
        self.state.header_attributes = attributes.clone();
        attributes.append(&mut self.attributes);
        self.attributes = attributes;
        Ok(true)
    }

    fn read_plain(&mut self, reading: &mut Reading<'_>) -> Result<ReadEnd, String> {
        let mut wanted = CHUNK_BYTES;
        loop {
            let offset = self.state.read.offset;
            let data = reading.files.read_handle(&self.handle, offset, wanted).map_err(|e| e.to_string())?;
            let is_at_end = data.len() < wanted;
            let (used, is_paused) = self.split(reading, &data, is_at_end);
            if is_paused {
                return Ok(ReadEnd::Paused);
            }
            let rest = data.get(used..).unwrap_or_default();
            if is_at_end {
                self.keep_rest(reading, rest);
                return Ok(ReadEnd::EndOfFile);
            }
            if used == 0 {
                wanted = wanted.saturating_mul(2);
            }
        }
    }

    /// The end of the file is no end of an entry: it is sent when nothing was added for a while.
    fn keep_rest(&mut self, reading: &mut Reading<'_>, rest: &[u8]) {
        let now = reading.context.now_nanos;
        let state = &mut self.state;
        if rest.len() != state.rest_length {
            state.rest_length = rest.len();
            state.rest_since = now;
            return;
        }
        let period = reading.settings.flush_period;
        let is_due = period > 0 && now.saturating_sub(state.rest_since) > period;
        if !rest.is_empty() && is_due && !state.read.skips_rest {
            state.rest_length = 0;
            state.rest_since = now;
            self.send_rest(reading, rest);
        }
    }

    fn send_rest(&mut self, reading: &mut Reading<'_>, rest: &[u8]) {
        let Split::Entry { advance, start, end } = reading.splitter.rest(rest) else { return };
        let text = rest.get(start..end).unwrap_or_default();
        let part = [(0, reading.splitter.decode(text))];
        let mut end = self.state.read;
        self.advance(&mut end, advance);
        end.record_number += 1;
        self.send(reading, &part, end);
    }

    fn advance(&self, position: &mut Position, bytes: usize) {
        if self.state.is_gzip {
            position.skip += bytes as u64;
        } else {
            position.offset += bytes as u64;
        }
    }

    /// Splits bytes that begin where reading goes on. Returns how many were used, and whether the limit was reached.
    fn split(&mut self, reading: &mut Reading<'_>, data: &[u8], is_at_end: bool) -> (usize, bool) {
        let (mut used, mut sent) = (0, 0);
        let mut position = self.state.read;
        let mut part: Vec<(u64, Vec<u8>)> = Vec::new();
        loop {
            let rest = data.get(used..).unwrap_or_default();
            let is_full = reading.is_full();
            let split =
                if is_full { Split::More } else { reading.splitter.next(rest, is_at_end, &mut position.skips_rest) };
            if let Split::Entry { advance, start, end } = split {
                let text = rest.get(start..end).unwrap_or_default();
                let decoded = if text.is_empty() { Vec::new() } else { reading.splitter.decode(text) };
                reading.spend(advance, usize::from(!text.is_empty()));
                part.push(((used - sent) as u64, decoded));
                used += advance;
                position.record_number += 1;
                self.advance(&mut position, advance);
                self.state.rest_length = 0;
                self.state.rest_since = reading.context.now_nanos;
            }
            if part.len() >= ENTRIES_PER_PART || (split == Split::More && !part.is_empty()) {
                let entries = std::mem::take(&mut part);
                self.send(reading, &entries, position);
                sent = used;
            }
            if split == Split::More {
                return (used, is_full);
            }
        }
    }

    /// Makes entries of a part. Each text has its distance from the begin of the part.
    fn send(&mut self, reading: &mut Reading<'_>, part: &[(u64, Vec<u8>)], end: Position) {
        let begin = self.state.read;
        let token: Origin = self.state.begin_part(end);
        let settings = reading.settings;
        for (index, (distance, text)) in part.iter().enumerate() {
            if text.is_empty() {
                continue;
            }
            let body = if settings.has_bytes { Value::Bytes(text.clone()) } else { Value::String(text.clone()) };
            let mut entry = Entry::new(body, reading.context.now_nanos);
            if let Err(error) = add_templates(&mut entry, settings, reading.context) {
                reading.errors.push((self.path.clone(), error));
                continue;
            }
            entry.attributes.extend(self.attributes.iter().map(|(key, value)| (key.clone(), value.clone())));
            if settings.record_number {
                let number = begin.record_number + index as u64 + 1;
                entry.attributes.insert(RECORD_NUMBER, Value::Int(i64::try_from(number).unwrap_or(i64::MAX)));
            }
            if settings.record_offset {
                let offset = begin.offset.saturating_add(begin.skip).saturating_add(*distance);
                entry.attributes.insert(RECORD_OFFSET, Value::Int(i64::try_from(offset).unwrap_or(i64::MAX)));
            }
            entry.origins.push(token.clone());
            reading.out.push(entry);
        }
    }

    fn read_compressed(&mut self, reading: &mut Reading<'_>) -> Result<ReadEnd, String> {
        let start = self.state.read;
        let size = reading.files.handle_metadata(&self.handle).map_err(|e| e.to_string())?.length;
        if self.gzip.is_none() {
            if start.offset >= size {
                return Ok(ReadEnd::EndOfFile);
            }
            self.pending.clear();
            self.gzip = Some(GzipStream::new(start.offset, start.skip));
        }
        let mut failed = None;
        loop {
            let data = std::mem::take(&mut self.pending);
            let (used, is_paused) = self.split(reading, &data, false);
            self.pending = data;
            self.pending.drain(..used);
            if is_paused {
                return Ok(ReadEnd::Paused);
            }
            let Some(stream) = &mut self.gzip else { return Ok(ReadEnd::EndOfFile) };
            let compressed = if stream.has_ended {
                Vec::new()
            } else {
                reading
                    .files
                    .read_handle(&self.handle, stream.next, COMPRESSED_CHUNK_BYTES)
                    .map_err(|e| e.to_string())?
            };
            if compressed.is_empty() {
                break;
            }
            if let Err(error) = stream.push(&compressed, &mut self.pending) {
                failed = Some(error);
            }
        }
        // What was added later is a compressed part of its own.
        let rest = std::mem::take(&mut self.pending);
        if !rest.is_empty() {
            self.send_rest(reading, &rest);
        }
        self.gzip = None;
        let record_number = self.state.read.record_number;
        self.state.pass(Position { offset: size, record_number, ..Position::default() });
        failed.map_or(Ok(ReadEnd::EndOfFile), Err)
    }
}

const RECORD_NUMBER: Key = Key::Borrowed(b"log.file.record_number");
const RECORD_OFFSET: Key = Key::Borrowed(b"log.file.record_offset");

fn add_templates(entry: &mut Entry, settings: &ReadSettings, context: &RunContext<'_>) -> Result<(), String> {
    for (key, template) in &settings.attributes {
        let text = template.render(entry, context).map_err(|e| format!("add attributes to entry: {e}"))?;
        entry.attributes.insert(key.clone(), Value::String(text));
    }
    for (key, template) in &settings.resource {
        let text = template.render(entry, context).map_err(|e| format!("add resource keys to entry: {e}"))?;
        entry.resource.insert(key.clone(), Value::String(text));
    }
    Ok(())
}

/// A path as an attribute. A name that is not UTF-8 has replacement characters.
pub(crate) fn path_value(path: &Path) -> Value {
    Value::String(String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned().into_bytes())
}
