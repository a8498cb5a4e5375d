//! Files, as the jobs of components see them.
//!
//! A component never waits for a disk. It passes a closure to [`crate::Cx::run_file_job`]; the
//! world runs the closure on a helper thread with a [`FileSystem`], whose methods block, and delivers
//! [`crate::Event::Ready`] when it has ended. So a step that takes several system calls (append and sync, list and
//! read) is plain code with `?`, and one state of the component.
//!
//! Owns the trait and what it returns. Opens nothing itself.

use std::any::Any;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use crate::WallTime;

/// The mode of a file that only its owner may read and write.
pub const PRIVATE_FILE: u32 = 0o600;

/// The mode of a directory that only its owner may list and change.
pub const PRIVATE_DIR: u32 = 0o700;

/// How many file jobs of one component may wait or run at a time.
pub const MAX_FILE_JOBS: usize = 64;

/// How many entries [`FileSystem::read_dir`] returns at most.
pub const MAX_DIR_ENTRIES: usize = 65_536;

/// The component has [`MAX_FILE_JOBS`] file jobs that have not ended. The job was dropped and does not run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too many file operations are waiting")]
pub struct TooManyFileJobs;

/// Work on files that runs on a helper thread.
pub type FileJob = Box<dyn FnOnce(&mut dyn FileSystem) + Send>;

/// What is at a path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link. Only [`FileSystem::read_dir`] returns it: every other method follows links.
    Symlink,
    /// A pipe, a socket or a device.
    Other,
}

/// The metadata of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileMetadata {
    /// What it is.
    pub kind: FileKind,
    /// Length in bytes.
    pub length: u64,
    /// The permission bits, for example `0o600`.
    pub mode: u32,
    /// When the content was last changed.
    pub modified: WallTime,
    /// The numbers of the user and the group that own it.
    pub owner: (u32, u32),
    /// Identifies the file on its machine: the numbers of its device and inode. A file that is replaced under the same
    /// path has another identity.
    pub identity: (u64, u64),
}

/// An entry of a directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DirEntry {
    /// The name without the directory.
    pub name: OsString,
    /// What it is.
    pub kind: FileKind,
}

/// An open file that outlives the job that has opened it, also if its path is removed or given to another file. Only a
/// job can read it. Dropping it closes it.
pub struct FileHandle {
    inner: Box<dyn Any + Send>,
}

impl FileHandle {
    /// A handle that keeps `inner`, which only the file system knows that has made it.
    #[must_use]
    pub fn new(inner: impl Any + Send) -> Self {
        Self { inner: Box::new(inner) }
    }

    /// What it keeps, if that is a `T`.
    #[must_use]
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.inner.downcast_ref()
    }
}

impl fmt::Debug for FileHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileHandle").finish_non_exhaustive()
    }
}

/// The size and the use of a file system, as `statfs` counts them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskUsage {
    /// Bytes of a block.
    pub block_size: u64,
    /// Blocks in total.
    pub blocks: u64,
    /// Blocks that are free.
    pub free_blocks: u64,
    /// Blocks that are free for a process without privileges.
    pub available_blocks: u64,
    /// Inodes in total.
    pub inodes: u64,
    /// Inodes that are free.
    pub free_inodes: u64,
}

/// A lock on a file. Dropping it, or the end of the process, frees the lock.
pub struct FileLock {
    _held: Box<dyn Any + Send>,
}

impl FileLock {
    /// A lock that is held as long as `held` exists.
    #[must_use]
    pub fn new(held: impl Any + Send) -> Self {
        Self { _held: Box::new(held) }
    }
}

impl fmt::Debug for FileLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileLock").finish_non_exhaustive()
    }
}

/// The file system, for the time of one job. Every method blocks until the system has answered.
///
/// Nothing is durable before it is synced: content and length of a file by [`FileSystem::sync_file`], and that a name
/// exists, has another file or is gone by [`FileSystem::sync_dir`] of its directory. After a failed sync nothing is
/// known about what was written since the last one: systems discard the data, and a second sync would succeed.
///
/// # Errors
/// Those of the system, in Go's form (`open /x: no such file or directory`). [`io::Error::kind`] distinguishes them:
/// `NotFound`, `AlreadyExists`, `PermissionDenied`, `StorageFull`, `ReadOnlyFilesystem`, and so on.
pub trait FileSystem {
    /// Kind, length, mode and time of a path.
    ///
    /// # Errors
    /// See [`FileSystem`].
    fn metadata(&mut self, path: &Path) -> io::Result<FileMetadata>;

    /// The entries of a directory, sorted by name, without `.` and `..`.
    ///
    /// # Errors
    /// See [`FileSystem`]; also when there are more than [`MAX_DIR_ENTRIES`].
    fn read_dir(&mut self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Up to `length` bytes from `offset` on; fewer only where the file ends.
    ///
    /// # Errors
    /// See [`FileSystem`].
    fn read_at(&mut self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>>;

    /// Opens a file for reading. Does not wait for the other end of a pipe.
    ///
    /// # Errors
    /// See [`FileSystem`].
    fn open_file(&mut self, path: &Path) -> io::Result<FileHandle>;

    /// The metadata of an open file.
    ///
    /// # Errors
    /// See [`FileSystem`].
    fn handle_metadata(&mut self, file: &FileHandle) -> io::Result<FileMetadata>;

    /// Up to `length` bytes of an open file from `offset` on; fewer only where the file ends.
    ///
    /// # Errors
    /// See [`FileSystem`].
    fn read_handle(&mut self, file: &FileHandle, offset: u64, length: usize) -> io::Result<Vec<u8>>;

    /// The absolute path without symbolic links.
    ///
    /// # Errors
    /// See [`FileSystem`].
    fn canonical_path(&mut self, path: &Path) -> io::Result<PathBuf>;

    /// Makes an empty file with these permission bits.
    ///
    /// # Errors
    /// See [`FileSystem`]; `AlreadyExists` where there is something at the path.
    fn create_file(&mut self, path: &Path, mode: u32) -> io::Result<()>;

    /// Writes `data`, one part after another, from `offset` on into a file that exists. Bytes between its end and
    /// `offset` become zeros.
    ///
    /// # Errors
    /// See [`FileSystem`]. A part of the data may have been written.
    fn write_at(&mut self, path: &Path, offset: u64, data: &[&[u8]]) -> io::Result<()>;

    /// Cuts a file to `length` bytes, or extends it by zeros.
    ///
    /// # Errors
    /// See [`FileSystem`].
    fn set_len(&mut self, path: &Path, length: u64) -> io::Result<()>;

    /// Makes content and length of a file durable.
    ///
    /// # Errors
    /// See [`FileSystem`].
    fn sync_file(&mut self, path: &Path) -> io::Result<()>;

    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    /// See [`FileSystem`].
    fn sync_dir(&mut self, path: &Path) -> io::Result<()>;

    /// Gives a file or directory another path. A file that has this path already is replaced in one step.
    ///
    /// # Errors
    /// See [`FileSystem`].
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// See [`FileSystem`].
    fn remove_file(&mut self, path: &Path) -> io::Result<()>;

    /// Makes a directory with these permission bits. Its parent must exist.
    ///
    /// # Errors
    /// See [`FileSystem`]; `AlreadyExists` where there is something at the path.
    fn create_dir(&mut self, path: &Path, mode: u32) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// See [`FileSystem`].
    fn remove_dir(&mut self, path: &Path) -> io::Result<()>;

    /// Locks a file against other processes, and against other holders in this one. Makes it with these permission bits
    /// where it does not exist. The lock outlives the job. Only those who ask for the lock notice it.
    ///
    /// # Errors
    /// See [`FileSystem`]; `WouldBlock` where another holder has the lock.
    fn lock_file(&mut self, path: &Path, mode: u32) -> io::Result<FileLock>;

    /// How many bytes may still be written to the file system that holds `path`, by a process without privileges.
    ///
    /// # Errors
    /// See [`FileSystem`].
    fn free_space(&mut self, path: &Path) -> io::Result<u64>;

    /// Size and use of the file system that holds `path`. Waits as long as a network file system does not answer.
    ///
    /// # Errors
    /// See [`FileSystem`].
    fn disk_usage(&mut self, path: &Path) -> io::Result<DiskUsage>;

    /// The path that a symbolic link contains, as it is written there.
    ///
    /// # Errors
    /// See [`FileSystem`]; also when the path is no symbolic link.
    fn read_link(&mut self, path: &Path) -> io::Result<PathBuf>;

    /// A regular file as a whole.
    ///
    /// # Errors
    /// See [`FileSystem`]; also when it is longer than `limit` bytes. The kind is `Unsupported` for a pipe, a socket or
    /// a device, which may have no end or give each byte only once.
    fn read(&mut self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let refuse = |kind, why: &str| Err(io::Error::new(kind, format!("read {}: {why}", path.display())));
        if self.metadata(path).is_ok_and(|found| found.kind == FileKind::Other) {
            return refuse(io::ErrorKind::Unsupported, "not a regular file");
        }
        // Where there is nothing to read, this has the error of opening it.
        let bytes = self.read_at(path, 0, limit.saturating_add(1))?;
        if bytes.len() > limit {
            return refuse(io::ErrorKind::InvalidInput, &format!("larger than {limit} bytes"));
        }
        Ok(bytes)
    }

    /// Writes `data` at the end of a file that exists, and returns the length of the file afterwards. Only one job at a
    /// time may append to a file.
    ///
    /// # Errors
    /// See [`FileSystem`]. A part of the data may have been written.
    fn append(&mut self, path: &Path, data: &[&[u8]]) -> io::Result<u64> {
        let end = self.metadata(path)?.length;
        self.write_at(path, end, data)?;
        Ok(data.iter().fold(end, |end, part| end.saturating_add(part.len() as u64)))
    }

    /// Makes a directory and its missing parents.
    ///
    /// # Errors
    /// See [`FileSystem`]. A directory that exists is no error.
    fn create_dir_all(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        match self.create_dir(path, mode) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => match self.metadata(path)?.kind {
                FileKind::Dir => Ok(()),
                FileKind::File | FileKind::Symlink | FileKind::Other => Err(e),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Err(e) };
                self.create_dir_all(parent, mode)?;
                self.create_dir(path, mode)
            }
            other => other,
        }
    }

    /// Replaces the content of a file, or makes it, durably and in one step: a reader finds, even after a crash,
    /// the old content or the new one. Writes a file beside it, whose name has `.tmp` added, and renames it.
    ///
    /// # Errors
    /// See [`FileSystem`]. The old content is still there then, unless the last step, the sync of the directory, has
    /// failed.
    fn replace(&mut self, path: &Path, mode: u32, data: &[&[u8]]) -> io::Result<()> {
        let mut name = path.as_os_str().to_owned();
        name.push(".tmp");
        let temporary = Path::new(&name);
        match self.create_file(temporary, mode) {
            // A crash has left it.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.remove_file(temporary)?;
                self.create_file(temporary, mode)?;
            }
            created => created?,
        }
        self.write_at(temporary, 0, data)?;
        self.sync_file(temporary)?;
        self.rename(temporary, path)?;
        match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => self.sync_dir(parent),
            None => self.sync_dir(Path::new(".")),
        }
    }
}
