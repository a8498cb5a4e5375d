//! The names in a log's directory, and files that are not the log's.
//!
//! Owns the names, and how a directory is made.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use otelcore_pipeline::{FileKind, FileSystem};

/// The name of the Go collector's database, for messages.
pub const BBOLT_NOTE: &str = "a bbolt database of the Go collector's file_storage";

pub(crate) const IDENTITY: &str = "log";
pub(crate) const LOCK: &str = "lock";
pub(crate) const MARKS: &str = "delivered.log";
pub(crate) const RESERVE: &str = "reserve";
pub(crate) const QUARANTINE: &str = "quarantine";
pub(crate) const DEAD: &str = "dead";

pub(crate) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.seg"))
}

/// The number of a segment with this name.
pub(crate) fn segment_number(name: &OsStr) -> Option<u64> {
    let digits = name.to_str()?.strip_suffix(".seg")?;
    let is_number = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_number.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// The first file in a directory that is a database of the Go collector's `file_storage`.
///
/// # Errors
/// Those of listing the directory and of reading the begin of a file.
pub fn find_bbolt_file(files: &mut dyn FileSystem, dir: &Path) -> io::Result<Option<PathBuf>> {
    for entry in files.read_dir(dir)? {
        let is_ours = segment_number(&entry.name).is_some();
        let path = dir.join(&entry.name);
        if entry.kind == FileKind::File && !is_ours && is_bbolt(&files.read_at(&path, 0, 24)?) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Whether a file begins with the first meta page of bbolt: a page header of 16 bytes, the magic number, version 2.
fn is_bbolt(begin: &[u8]) -> bool {
    let number =
        |at: usize| begin.get(at..).and_then(|rest| rest.first_chunk()).map(|chunk| u32::from_ne_bytes(*chunk));
    number(16) == Some(0xED0C_DAED) && number(20) == Some(2)
}

/// The directory of a path, as it is passed to a sync.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// Makes a directory, durably, unless it exists.
pub(crate) fn make_dir(files: &mut dyn FileSystem, path: &Path, mode: u32) -> io::Result<()> {
    match files.create_dir(path, mode) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        created => {
            created?;
            files.sync_dir(parent(path))
        }
    }
}

/// Makes a directory with its missing parents, durably.
pub(crate) fn make_dirs(files: &mut dyn FileSystem, dir: &Path, mode: u32) -> io::Result<()> {
    match make_dir(files, dir, mode) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let above = parent(dir);
            if above == dir || above == Path::new(".") {
                return Err(e);
            }
            make_dirs(files, above, mode)?;
            make_dir(files, dir, mode)
        }
        made => made,
    }
}

/// Makes the entries of a directory and those above it durable: a process may have ended, or a sync have failed, after
/// they were made. Those above may belong to others.
pub(crate) fn sync_dirs(files: &mut dyn FileSystem, dir: &Path) -> io::Result<()> {
    files.sync_dir(dir)?;
    for above in dir.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        match files.sync_dir(above) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    Ok(())
}
