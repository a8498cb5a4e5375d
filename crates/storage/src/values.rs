//! A few values by key in one file, replaced as a whole.
//!
//! Owns the file `values` and its lock. A change writes a file beside it, syncs it, renames it and syncs the directory, so that
//! after a crash the file has all changes of a batch or none. The file has a version and a checksum; one that is damaged is
//! renamed and never used.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use otelcore_pipeline::{FileLock, FileSystem, PRIVATE_DIR, PRIVATE_FILE, StorageLocation, ValueChange, ValueStore};

use crate::layout::{LOCK, make_dir, make_dirs, sync_dirs};

const MAGIC: &[u8; 8] = b"OTELVALS";
const VERSION: u32 = 1;
/// Magic, version, length and checksum.
const HEADER_BYTES: usize = 24;
/// The most bytes of all keys and values.
const MAX_BYTES: usize = 64 << 20;

const FILE: &str = "values";
const DAMAGED: &str = "values.damaged";

/// Values in a directory.
#[derive(Debug)]
pub struct ValueFile {
    location: StorageLocation,
    lock: Option<FileLock>,
    values: BTreeMap<String, Vec<u8>>,
}

impl ValueFile {
    /// Nothing is opened yet.
    #[must_use]
    pub fn new(location: StorageLocation) -> Self {
        Self { location, lock: None, values: BTreeMap::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.location.directory.join(name)
    }

    fn prepare(&mut self, files: &mut dyn FileSystem) -> io::Result<()> {
        if self.lock.is_some() {
            return Ok(());
        }
        let directory = &self.location.directory;
        if let (Some(mode), Some(parent)) = (self.location.root_mode, directory.parent()) {
            make_dirs(files, parent, mode)?;
        }
        make_dir(files, directory, PRIVATE_DIR)?;
        let lock = files.lock_file(&directory.join(LOCK), PRIVATE_FILE)?;
        if self.location.fsync {
            sync_dirs(files, directory)?;
        }
        self.lock = Some(lock);
        Ok(())
    }
}

impl ValueStore for ValueFile {
    fn load(&mut self, files: &mut dyn FileSystem) -> io::Result<BTreeMap<String, Vec<u8>>> {
        self.prepare(files)?;
        let path = self.path(FILE);
        let bytes = match files.read(&path, MAX_BYTES + HEADER_BYTES + (1 << 20)) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.values.clear();
                return Ok(BTreeMap::new());
            }
            Err(e) => return Err(e),
        };
        match decode(&bytes) {
            Ok(values) => {
                self.values.clone_from(&values);
                Ok(values)
            }
            Err(why) => {
                let damaged = self.path(DAMAGED);
                files.rename(&path, &damaged)?;
                self.values.clear();
                let text = format!("{} is {why}; it is renamed to {DAMAGED} and not used", path.display());
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
        }
    }

    fn apply(&mut self, files: &mut dyn FileSystem, changes: Vec<ValueChange>) -> io::Result<()> {
        self.prepare(files)?;
        let mut values = self.values.clone();
        for change in changes {
            match change {
                ValueChange::Set(key, value) => drop(values.insert(key, value)),
                ValueChange::Delete(key) => drop(values.remove(&key)),
            }
        }
        let encoded = encode(&values)?;
        let path = self.path(FILE);
        if self.location.fsync {
            files.replace(&path, PRIVATE_FILE, &[&encoded])?;
        } else {
            replace_without_sync(files, &path, &encoded)?;
        }
        self.values = values;
        Ok(())
    }
}

/// Replaces a file in one step for other processes, but not for a crash of the machine.
fn replace_without_sync(files: &mut dyn FileSystem, path: &Path, data: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    match files.create_file(&temporary, PRIVATE_FILE) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => files.set_len(&temporary, 0)?,
        created => created?,
    }
    files.write_at(&temporary, 0, &[data])?;
    files.rename(&temporary, path)
}

fn encode(values: &BTreeMap<String, Vec<u8>>) -> io::Result<Vec<u8>> {
    let too_large = || {
        let text = format!("the values have more than {MAX_BYTES} bytes");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    let mut content = Vec::new();
    for (key, value) in values {
        for part in [key.as_bytes(), value] {
            let length = u32::try_from(part.len()).map_err(|_| too_large())?;
            content.extend_from_slice(&length.to_le_bytes());
            content.extend_from_slice(part);
        }
        if content.len() > MAX_BYTES {
            return Err(too_large());
        }
    }
    let mut out = Vec::with_capacity(HEADER_BYTES + content.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(content.len() as u64).to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&out), &content);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&content);
    Ok(out)
}

fn decode(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, &'static str> {
    const DAMAGE: &str = "damaged";
    let (header, content) = bytes.split_at_checked(HEADER_BYTES).ok_or(DAMAGE)?;
    let (covered, checksum) = header.split_at_checked(HEADER_BYTES - 4).ok_or(DAMAGE)?;
    if !covered.starts_with(MAGIC) {
        return Err(DAMAGE);
    }
    let expected = crc32c::crc32c_append(crc32c::crc32c(covered), content);
    if checksum != expected.to_le_bytes() {
        return Err(DAMAGE);
    }
    if covered.get(8..12) != Some(&VERSION.to_le_bytes()) {
        return Err("of another version");
    }
    let mut rest = content;
    let mut part = || -> Option<&[u8]> {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (part, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        rest = after;
        Some(part)
    };
    let mut values = BTreeMap::new();
    let mut left = content.len();
    while left > 0 {
        let key = part().ok_or(DAMAGE)?;
        let value = part().ok_or(DAMAGE)?;
        left -= key.len() + value.len() + 8;
        values.insert(String::from_utf8(key.to_vec()).map_err(|_| DAMAGE)?, value.to_vec());
    }
    Ok(values)
}
