//! Writes requests into files. Runs in jobs on a helper thread, never on the loop.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use otelcore_http::{Coding, Workspace};
use otelcore_pdata::views::{AnyValue, Resource, View};
use otelcore_pdata::wire_format::{MessageFields, WireValue};
use otelcore_pdata::{Rope, RopePart, Signal, check, json};
use otelcore_pipeline::{FileSystem, WallTime};

use crate::paths::GroupedPath;
use crate::rotation::Rotation;

/// The permission bits of files, before the umask.
const FILE_MODE: u32 = 0o644;
/// The same with rotation.
const ROTATED_FILE_MODE: u32 = 0o640;

/// Files whose lengths are remembered, at most: they are looked through for each part.
const MAX_KNOWN_FILES: usize = 1000;

/// What the configuration says about files.
#[derive(Clone, Debug)]
pub(crate) struct WriterSettings {
    pub(crate) path: PathBuf,
    /// With `group_by`.
    pub(crate) grouped: Option<GroupedPath>,
    /// The attribute of `group_by`.
    pub(crate) attribute: Vec<u8>,
    /// Files whose lengths are remembered.
    pub(crate) max_files: usize,
    /// A file that is there at the start is made empty.
    pub(crate) is_truncated: bool,
    pub(crate) makes_directory: bool,
    pub(crate) rotation: Option<Rotation>,
    pub(crate) is_json: bool,
    /// With zstd.
    pub(crate) zstd_level: Option<i32>,
    pub(crate) directory_mode: u32,
}

/// What became of a request.
#[derive(Debug, Default)]
pub(crate) struct WriteResult {
    /// Items in files.
    pub(crate) written: u32,
    /// Items of resources without the attribute.
    pub(crate) without_attribute: u32,
    /// What is in no file, and why.
    pub(crate) failed: Option<(Rope, io::Error)>,
}

/// A file whose length is known.
struct OpenFile {
    path: PathBuf,
    length: u64,
    /// The number of the last use.
    last_use: u64,
}

/// The files of an exporter.
pub(crate) struct FileWriter {
    settings: Arc<WriterSettings>,
    files: Vec<OpenFile>,
    uses: u64,
    /// When the first job ran: a file that was changed since then is one of this exporter's.
    started: Option<WallTime>,
}

/// A part of a request for one file.
struct Part {
    path: PathBuf,
    body: Rope,
}

impl FileWriter {
    pub(crate) fn new(settings: Arc<WriterSettings>) -> Self {
        Self { settings, files: Vec::new(), uses: 0, started: None }
    }

    /// Opens the file, where there is only one.
    pub(crate) fn start(&mut self, files: &mut dyn FileSystem, now: WallTime) -> io::Result<()> {
        self.started.get_or_insert(now);
        if self.settings.grouped.is_some() {
            return Ok(());
        }
        let path = self.settings.path.clone();
        self.open(files, &path)?;
        match self.settings.rotation {
            Some(rotation) => rotation.remove_old_backups(files, &path, now),
            None => Ok(()),
        }
    }

    /// Writes a request.
    pub(crate) fn write(
        &mut self,
        files: &mut dyn FileSystem,
        now: WallTime,
        signal: Signal,
        body: &Rope,
    ) -> WriteResult {
        self.started.get_or_insert(now);
        let mut result = WriteResult::default();
        let parts = match self.settings.grouped.clone() {
            None => vec![Part { path: self.settings.path.clone(), body: body.clone() }],
            Some(grouped) => self.group(&grouped, signal, body, &mut result),
        };
        for part in parts {
            let items = part.body.items();
            match self.write_part(files, now, signal, &part) {
                Ok(()) => result.written += items,
                Err(e) => {
                    let (failed, _) = result.failed.get_or_insert_with(|| (Rope::default(), e));
                    failed.append(part.body);
                }
            }
        }
        result
    }

    /// The resources of a request by the files that they belong to, in the order of their first resource.
    fn group(&self, grouped: &GroupedPath, signal: Signal, body: &Rope, result: &mut WriteResult) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        // Positions in `parts` by path, so that many different paths do not take quadratic time.
        let mut positions = std::collections::BTreeMap::new();
        for part in body.parts() {
            let mut fields = MessageFields::new(&part.bytes);
            loop {
                let start = part.bytes.len() - fields.rest().len();
                let Some((number, wire)) = fields.next() else { break };
                let (1, WireValue::Len(raw)) = (number, wire) else { continue };
                let entry = part.bytes.slice(start..part.bytes.len() - fields.rest().len());
                let items = check(signal, &entry).map_or(0, |checked| checked.items);
                let Some(value) = string_attribute(raw, &self.settings.attribute) else {
                    result.without_attribute = result.without_attribute.saturating_add(items);
                    continue;
                };
                let path = grouped.for_value(value);
                let at = *positions.entry(path.clone()).or_insert_with(|| {
                    parts.push(Part { path, body: Rope::default() });
                    parts.len() - 1
                });
                if let Some(part) = parts.get_mut(at) {
                    part.body.push(RopePart { bytes: entry, items });
                }
            }
        }
        parts
    }

    fn write_part(&mut self, files: &mut dyn FileSystem, now: WallTime, signal: Signal, part: &Part) -> io::Result<()> {
        let frame = self.settings.encode(signal, &part.body);
        let mut at = self.open(files, &part.path)?;
        if let Some(rotation) = self.settings.rotation {
            let length = self.files.get(at).map_or(0, |file| file.length);
            if length > 0 && length.saturating_add(frame.len() as u64) > rotation.max_bytes {
                self.files.swap_remove(at);
                rotation.rotate(files, &part.path, now)?;
                at = self.open(files, &part.path)?;
            }
        }
        let Some(file) = self.files.get_mut(at) else { return Ok(()) };
        let written = files.write_at(&file.path, file.length, &[&frame]);
        if let Err(e) = written {
            // A part of it may be there. What can't be cut off now is overwritten by the next request.
            let _ = files.set_len(&file.path, file.length);
            if e.kind() == io::ErrorKind::NotFound {
                // Another process has removed it.
                self.files.swap_remove(at);
            }
            return Err(e);
        }
        file.length = file.length.saturating_add(frame.len() as u64);
        Ok(())
    }

    /// The position of a file among those whose lengths are known; makes it if it does not exist.
    fn open(&mut self, files: &mut dyn FileSystem, path: &Path) -> io::Result<usize> {
        self.uses += 1;
        if let Some(at) = self.files.iter().position(|file| file.path == path) {
            self.files[at].last_use = self.uses;
            return Ok(at);
        }
        let length = self.prepare(files, path)?;
        if self.files.len() >= self.settings.max_files.min(MAX_KNOWN_FILES) {
            let oldest = self.files.iter().enumerate().min_by_key(|(_, file)| file.last_use).map(|(at, _)| at);
            oldest.map(|at| self.files.swap_remove(at));
        }
        self.files.push(OpenFile { path: path.to_owned(), length, last_use: self.uses });
        Ok(self.files.len() - 1)
    }

    /// Makes a file, or makes one empty that was there before this exporter; returns its length.
    fn prepare(&self, files: &mut dyn FileSystem, path: &Path) -> io::Result<u64> {
        let mode = if self.settings.rotation.is_some() { ROTATED_FILE_MODE } else { FILE_MODE };
        match files.metadata(path) {
            Ok(found) => {
                let is_older = self.started.is_none_or(|started| found.modified < started);
                if self.settings.is_truncated && is_older && found.length > 0 {
                    files.set_len(path, 0)?;
                    return Ok(0);
                }
                return Ok(found.length);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        if let (true, Some(dir)) = (self.settings.makes_directory, path.parent())
            && !dir.as_os_str().is_empty()
        {
            files.create_dir_all(dir, self.settings.directory_mode)?;
        }
        files.create_file(path, mode)?;
        Ok(0)
    }
}

impl WriterSettings {
    /// The bytes of a request in a file.
    fn encode(&self, signal: Signal, body: &Rope) -> Vec<u8> {
        let mut frame = Vec::new();
        if !self.is_json && self.zstd_level.is_none() {
            put_length(&mut frame, body.len());
            body.parts().iter().for_each(|part| frame.extend_from_slice(&part.bytes));
            return frame;
        }
        let mut text = Vec::new();
        if self.is_json {
            json::encode(signal, body, &mut text);
        }
        let Some(level) = self.zstd_level else {
            text.push(b'\n');
            return text;
        };
        let parts: Vec<&[u8]> = match self.is_json {
            true => vec![&text],
            false => body.parts().iter().map(|part| &part.bytes[..]).collect(),
        };
        let level = (level != 0).then_some(level);
        let compressed = Workspace::new().compress_with_level(&Coding::Zstd, level, parts);
        put_length(&mut frame, compressed.len());
        frame.extend_from_slice(&compressed);
        frame
    }
}

/// Four bytes, the most significant first.
fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

/// The value of a resource's first attribute with this key, if it is a string.
fn string_attribute<'a>(entry: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let resource = MessageFields::new(entry).find_map(|field| match field {
        (1, WireValue::Len(raw)) => Some(Resource::parse(raw)),
        _ => None,
    })?;
    match resource.attributes().find(|kv| kv.key == key)?.value {
        AnyValue::String(text) => Some(text),
        _ => None,
    }
}
