//! The machine's file system, for jobs on helper threads.
//!
//! Owns the threads, the order of the jobs and the open file of a running job. Jobs under one key run one after another
//! in the order of the calls; jobs under different keys may run at the same time. A component has at most
//! [`MAX_FILE_JOBS`] of them. Keeps no file open between two jobs, apart from those of which a component has a handle.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use otelcore_pipeline::{
    DirEntry, DiskUsage, FileHandle, FileJob, FileKind, FileLock, FileMetadata, FileSystem, Key, MAX_DIR_ENTRIES,
    MAX_FILE_JOBS, Notifier, TooManyFileJobs, WallTime,
};

use crate::forks::TrackedFd;
use crate::helper_threads::HelperThreads;
use crate::sockets::path_error;

/// How many file jobs run at a time: a slow disk or a network file system does not hold up the others.
const MAX_THREADS: usize = 4;

const STACK_BYTES: usize = 512 << 10;

type QueuedJob = (FileJob, Arc<dyn Notifier>);

#[derive(Debug)]
pub(crate) struct FileJobs {
    threads: HelperThreads,
    queues: Arc<Mutex<Queues>>,
}

/// The jobs that have not ended.
#[derive(Default)]
struct Queues {
    /// Jobs that wait, by key. A key is in the map while a job under it waits or runs.
    waiting: BTreeMap<Key, VecDeque<QueuedJob>>,
    /// Jobs that wait or run, by component.
    count: BTreeMap<u32, usize>,
}

impl std::fmt::Debug for Queues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queues").field("count", &self.count).finish_non_exhaustive()
    }
}

fn lock(queues: &Mutex<Queues>) -> MutexGuard<'_, Queues> {
    queues.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FileJobs {
    pub(crate) fn new() -> Self {
        Self { threads: HelperThreads::new("otelcore-files", MAX_THREADS, STACK_BYTES), queues: Arc::default() }
    }

    /// Runs `job` on a helper thread and notifies `ended` afterwards. Where no thread can be started, it runs in the
    /// caller's.
    pub(crate) fn run(&mut self, key: Key, job: FileJob, ended: Arc<dyn Notifier>) -> Result<(), TooManyFileJobs> {
        let is_first = lock(&self.queues).push(key, (job, ended))?;
        if is_first {
            let queues = self.queues.clone();
            if let Err((run_here, _)) = self.threads.run(Box::new(move || run_jobs_of(key, &queues))) {
                run_here();
            }
        }
        Ok(())
    }
}

impl Queues {
    /// Whether no other job under this key waits or runs.
    fn push(&mut self, key: Key, job: QueuedJob) -> Result<bool, TooManyFileJobs> {
        let count = self.count.entry(key.owner).or_default();
        if *count >= MAX_FILE_JOBS {
            return Err(TooManyFileJobs);
        }
        *count += 1;
        let is_first = !self.waiting.contains_key(&key);
        self.waiting.entry(key).or_default().push_back(job);
        Ok(is_first)
    }

    /// The next job under this key. Without one, the key is removed.
    fn pop(&mut self, key: Key) -> Option<QueuedJob> {
        let job = self.waiting.get_mut(&key).and_then(VecDeque::pop_front);
        if job.is_none() {
            self.waiting.remove(&key);
        }
        job
    }

    fn job_ended(&mut self, owner: u32) {
        if let Some(count) = self.count.get_mut(&owner) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.count.remove(&owner);
            }
        }
    }
}

/// Runs the jobs of a key until none waits. A job that panics has ended too: its component finds no result.
fn run_jobs_of(key: Key, queues: &Mutex<Queues>) {
    loop {
        let job = lock(queues).pop(key);
        let Some((job, ended)) = job else { return };
        let _ = catch_unwind(AssertUnwindSafe(|| job(&mut MachineFiles::default())));
        lock(queues).job_ended(key.owner);
        ended.notify();
    }
}

/// Runs `work` with the file system of the machine on this thread, which waits for it. For commands without a loop; in a
/// loop, components use [`otelcore_pipeline::Cx::run_file_job`].
pub fn with_files<T>(work: impl FnOnce(&mut dyn FileSystem) -> T) -> T {
    work(&mut MachineFiles::default())
}

/// The file system of the machine. Keeps the file of the last method open, so that an append and its sync use one
/// descriptor: the kernel reports an error of writing back to the descriptors that were open when it happened.
#[derive(Debug, Default)]
struct MachineFiles {
    open: Option<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    file: TrackedFd<File>,
    is_writable: bool,
}

impl MachineFiles {
    fn open(&mut self, path: &Path, for_writing: bool) -> io::Result<&mut File> {
        let is_open = |open: &OpenFile| open.path == path && (open.is_writable || !for_writing);
        if !self.open.as_ref().is_some_and(is_open) {
            // Without the flag, opening a named pipe would block.
            let mut options = OpenOptions::new();
            options.read(true).write(for_writing).custom_flags(libc::O_NONBLOCK);
            let file = options.open(path).map_err(|e| path_error("open", path, &e))?;
            self.keep(path, file, for_writing);
        }
        match &mut self.open {
            Some(open) => Ok(&mut open.file),
            None => Err(path_error("open", path, &io::ErrorKind::NotFound.into())),
        }
    }

    fn keep(&mut self, path: &Path, file: File, is_writable: bool) {
        self.open = Some(OpenFile { path: path.to_owned(), file: TrackedFd::new(file), is_writable });
    }
}

fn kind_of(file_type: fs::FileType) -> FileKind {
    if file_type.is_file() {
        FileKind::File
    } else if file_type.is_dir() {
        FileKind::Dir
    } else if file_type.is_symlink() {
        FileKind::Symlink
    } else {
        FileKind::Other
    }
}

fn modified(metadata: &fs::Metadata) -> WallTime {
    let seconds = u64::try_from(metadata.mtime()).unwrap_or(0);
    let nanos = u64::try_from(metadata.mtime_nsec()).unwrap_or(0);
    WallTime(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

fn file_metadata(found: &fs::Metadata) -> FileMetadata {
    FileMetadata {
        kind: kind_of(found.file_type()),
        length: found.len(),
        mode: found.permissions().mode() & 0o7777,
        modified: modified(found),
        owner: (found.uid(), found.gid()),
        identity: (found.dev(), found.ino()),
    }
}

/// What a [`FileHandle`] of this file system keeps.
struct HeldFile {
    path: PathBuf,
    file: TrackedFd<File>,
}

/// The file of a handle; an error for one that another file system has made.
fn held(handle: &FileHandle) -> io::Result<&HeldFile> {
    handle.get::<HeldFile>().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

impl FileSystem for MachineFiles {
    fn metadata(&mut self, path: &Path) -> io::Result<FileMetadata> {
        fs::metadata(path).map(|found| file_metadata(&found)).map_err(|e| path_error("stat", path, &e))
    }

    fn open_file(&mut self, path: &Path) -> io::Result<FileHandle> {
        let mut options = OpenOptions::new();
        // Without the flag, opening a named pipe would block.
        options.read(true).custom_flags(libc::O_NONBLOCK);
        let file = options.open(path).map_err(|e| path_error("open", path, &e))?;
        Ok(FileHandle::new(HeldFile { path: path.to_owned(), file: TrackedFd::new(file) }))
    }

    fn handle_metadata(&mut self, file: &FileHandle) -> io::Result<FileMetadata> {
        let held = held(file)?;
        held.file.metadata().map(|found| file_metadata(&found)).map_err(|e| path_error("stat", &held.path, &e))
    }

    fn read_handle(&mut self, file: &FileHandle, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let held = held(file)?;
        let left = held.file.metadata().map_or(0, |found| found.len().saturating_sub(offset));
        // Room for what is there, so that a false length allocates nothing.
        let mut bytes = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(length)];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match held.file.read_at(rest, offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(path_error("read", &held.path, &e)),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn canonical_path(&mut self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path).map_err(|e| path_error("lstat", path, &e))
    }

    fn read_dir(&mut self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path).map_err(|e| path_error("open", path, &e))? {
            let entry = entry.map_err(|e| path_error("readdir", path, &e))?;
            if entries.len() >= MAX_DIR_ENTRIES {
                let text = format!("readdir {}: more than {MAX_DIR_ENTRIES} entries", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            let kind = entry.file_type().map_or(FileKind::Other, kind_of);
            entries.push(DirEntry { name: entry.file_name(), kind });
        }
        entries.sort_unstable();
        Ok(entries)
    }

    fn read_at(&mut self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let file = self.open(path, false)?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.take(length as u64).read_to_end(&mut bytes))
            .map_err(|e| path_error("read", path, &e))?;
        Ok(bytes)
    }

    fn create_file(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(mode);
        let file = options.open(path).map_err(|e| path_error("open", path, &e))?;
        self.keep(path, file, true);
        Ok(())
    }

    fn write_at(&mut self, path: &Path, offset: u64, data: &[&[u8]]) -> io::Result<()> {
        let file = self.open(path, true)?;
        write_all_at(file, offset, data).map_err(|e| path_error("write", path, &e))
    }

    fn set_len(&mut self, path: &Path, length: u64) -> io::Result<()> {
        self.open(path, true)?.set_len(length).map_err(|e| path_error("truncate", path, &e))
    }

    fn sync_file(&mut self, path: &Path) -> io::Result<()> {
        // fdatasync also writes the length, which is needed to read the data.
        self.open(path, false)?.sync_data().map_err(|e| path_error("sync", path, &e))
    }

    fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        File::open(path).and_then(|dir| dir.sync_all()).map_err(|e| path_error("sync", path, &e))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.open = None;
        fs::rename(from, to).map_err(|e| path_error(&format!("rename {}", from.display()), to, &e))
    }

    fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.open = None;
        fs::remove_file(path).map_err(|e| path_error("remove", path, &e))
    }

    fn create_dir(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        fs::DirBuilder::new().mode(mode).create(path).map_err(|e| path_error("mkdir", path, &e))
    }

    fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path).map_err(|e| path_error("remove", path, &e))
    }

    fn lock_file(&mut self, path: &Path, mode: u32) -> io::Result<FileLock> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(mode).custom_flags(libc::O_NONBLOCK);
        let file = TrackedFd::new(options.open(path).map_err(|e| path_error("open", path, &e))?);
        loop {
            // SAFETY: a system call on a descriptor that is open.
            if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
                return Ok(FileLock::new(file));
            }
            match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e => return Err(path_error("lock", path, &e)),
            }
        }
    }

    fn free_space(&mut self, path: &Path) -> io::Result<u64> {
        let failed = |e: &io::Error| path_error("statfs", path, e);
        let text =
            CString::new(path.as_os_str().as_bytes()).map_err(|_| failed(&io::ErrorKind::InvalidInput.into()))?;
        let mut found = MaybeUninit::<libc::statvfs>::zeroed();
        // SAFETY: the path ends with a zero byte, and the result is a place of the right size.
        if unsafe { libc::statvfs(text.as_ptr(), found.as_mut_ptr()) } != 0 {
            return Err(failed(&io::Error::last_os_error()));
        }
        // SAFETY: the call has filled it in; all zeros are valid too.
        let found = unsafe { found.assume_init() };
        // The fields have other widths on other systems.
        #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
        let (blocks, size) = (found.f_bavail as u64, found.f_frsize as u64);
        Ok(blocks.saturating_mul(size))
    }

    fn disk_usage(&mut self, path: &Path) -> io::Result<DiskUsage> {
        let failed = |e: &io::Error| path_error("statfs", path, e);
        let text =
            CString::new(path.as_os_str().as_bytes()).map_err(|_| failed(&io::ErrorKind::InvalidInput.into()))?;
        let mut found = MaybeUninit::<libc::statfs>::zeroed();
        // SAFETY: the path ends with a zero byte, and the result is a place of the right size.
        if unsafe { libc::statfs(text.as_ptr(), found.as_mut_ptr()) } != 0 {
            return Err(failed(&io::Error::last_os_error()));
        }
        // SAFETY: the call has filled it in; all zeros are valid too.
        let found = unsafe { found.assume_init() };
        // The fields have other widths and signs on other systems.
        #[allow(clippy::useless_conversion, clippy::unnecessary_cast, clippy::cast_sign_loss)]
        Ok(DiskUsage {
            block_size: found.f_bsize as u64,
            blocks: found.f_blocks as u64,
            free_blocks: found.f_bfree as u64,
            available_blocks: found.f_bavail as u64,
            inodes: found.f_files as u64,
            free_inodes: found.f_ffree as u64,
        })
    }

    fn read_link(&mut self, path: &Path) -> io::Result<PathBuf> {
        fs::read_link(path).map_err(|e| path_error("readlink", path, &e))
    }
}

/// How many parts one system call takes (`IOV_MAX`).
const MAX_PARTS: usize = 1024;

fn write_all_at(file: &File, mut offset: u64, data: &[&[u8]]) -> io::Result<()> {
    let mut parts: Vec<IoSlice<'_>> = data.iter().filter(|part| !part.is_empty()).map(|p| IoSlice::new(p)).collect();
    let mut rest = parts.as_mut_slice();
    while !rest.is_empty() {
        let count = libc::c_int::try_from(rest.len().min(MAX_PARTS)).unwrap_or(1);
        let at = libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
        // SAFETY: `IoSlice` has the layout of an iovec; `count` of them live until the call returns.
        let written = unsafe { libc::pwritev(file.as_raw_fd(), rest.as_ptr().cast(), count, at) };
        match usize::try_from(written) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset = offset.saturating_add(written as u64);
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(_) => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e => return Err(e),
            },
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use otelcore_pipeline::{PRIVATE_DIR, PRIVATE_FILE};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    struct ChannelNotifier(Sender<()>);

    impl Notifier for ChannelNotifier {
        fn notify(&self) {
            let _ = self.0.send(());
        }
    }

    fn channel_notifier() -> (Arc<dyn Notifier>, Receiver<()>) {
        let (sender, notified) = channel();
        (Arc::new(ChannelNotifier(sender)), notified)
    }

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A directory that is removed at the end.
    struct TemporaryDir(PathBuf);

    impl TemporaryDir {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("otelcore-files-{}", crate::os::uuid()));
            MachineFiles::default().create_dir(&path, PRIVATE_DIR).unwrap();
            Self(path)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for TemporaryDir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn file_is_created_written_read_cut_and_removed() {
        let dir = TemporaryDir::new();
        let path = dir.path("a");
        let mut files = MachineFiles::default();
        files.create_file(&path, PRIVATE_FILE).unwrap();
        assert_eq!(files.create_file(&path, PRIVATE_FILE).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(files.append(&path, &[b"one", b"", b"two"]).unwrap(), 6);
        files.write_at(&path, 8, &[b"x"]).unwrap();
        files.sync_file(&path).unwrap();
        files.sync_dir(&dir.0).unwrap();
        assert_eq!(files.read_at(&path, 2, 100).unwrap(), b"etwo\0\0x");
        assert_eq!(files.read_at(&path, 2, 3).unwrap(), b"etw");
        assert_eq!(files.read_at(&path, 99, 3).unwrap(), b"");
        let found = files.metadata(&path).unwrap();
        assert_eq!((found.kind, found.length, found.mode), (FileKind::File, 9, 0o600));
        assert!(found.modified.0 > 1_700_000_000_000_000_000);
        files.set_len(&path, 2).unwrap();
        files.rename(&path, &dir.path("b")).unwrap();
        assert_eq!(files.read(&dir.path("b"), 2).unwrap(), b"on");
        assert_eq!(files.read(&dir.path("b"), 1).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        files.remove_file(&dir.path("b")).unwrap();
        let gone = files.read_at(&path, 0, 1).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        assert_eq!(gone.to_string(), format!("open {}: no such file or directory", path.display()));
    }

    #[test]
    fn open_file_is_read_after_its_path_has_another_file() {
        let dir = TemporaryDir::new();
        let path = dir.path("a");
        let mut files = MachineFiles::default();
        files.create_file(&path, PRIVATE_FILE).unwrap();
        files.append(&path, &[b"old content"]).unwrap();
        let handle = files.open_file(&path).unwrap();
        let before = files.handle_metadata(&handle).unwrap();
        assert_eq!(before, files.metadata(&path).unwrap());
        files.rename(&path, &dir.path("b")).unwrap();
        files.create_file(&path, PRIVATE_FILE).unwrap();
        files.append(&dir.path("b"), &[b" and more"]).unwrap();
        assert_eq!(files.read_handle(&handle, 4, 100).unwrap(), b"content and more");
        assert_eq!(files.read_handle(&handle, 0, 3).unwrap(), b"old");
        assert_eq!(files.read_handle(&handle, 99, 3).unwrap(), b"");
        assert_ne!(files.metadata(&path).unwrap().identity, before.identity);
        files.remove_file(&dir.path("b")).unwrap();
        assert_eq!(files.read_handle(&handle, 0, 3).unwrap(), b"old");
        assert_eq!(files.canonical_path(&dir.0.join(".").join("a")).unwrap(), path.canonicalize().unwrap());
        let gone = files.open_file(&dir.path("none")).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn more_parts_than_one_system_call_takes_are_all_written() {
        let dir = TemporaryDir::new();
        let path = dir.path("a");
        let parts: Vec<Vec<u8>> = (0..3000_u32).map(|n| n.to_be_bytes().to_vec()).collect();
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let mut files = MachineFiles::default();
        files.create_file(&path, PRIVATE_FILE).unwrap();
        files.append(&path, &slices).unwrap();
        assert_eq!(files.read(&path, 1 << 20).unwrap(), parts.concat());
    }

    #[test]
    fn directory_is_made_with_its_parents_listed_and_removed() {
        let dir = TemporaryDir::new();
        let deep = dir.path("a/b");
        let mut files = MachineFiles::default();
        files.create_dir_all(&deep, PRIVATE_DIR).unwrap();
        files.create_dir_all(&deep, PRIVATE_DIR).unwrap();
        files.create_file(&deep.join("z"), PRIVATE_FILE).unwrap();
        files.create_dir(&deep.join("d"), PRIVATE_DIR).unwrap();
        let entries: Vec<_> = files.read_dir(&deep).unwrap().into_iter().map(|e| (e.name, e.kind)).collect();
        assert_eq!(entries, [("d".into(), FileKind::Dir), ("z".into(), FileKind::File)]);
        assert_eq!(files.metadata(&deep).unwrap().mode, 0o700);
        assert_eq!(files.remove_dir(&deep).unwrap_err().kind(), io::ErrorKind::DirectoryNotEmpty);
        files.remove_dir(&deep.join("d")).unwrap();
        assert!(files.create_dir_all(&deep.join("z"), PRIVATE_DIR).is_err(), "a file is not a directory");
        assert_eq!(files.read(&deep, 10).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn replaced_file_has_the_new_content_and_mode_and_leaves_no_other() {
        let dir = TemporaryDir::new();
        let path = dir.path("a");
        let mut files = MachineFiles::default();
        files.replace(&path, PRIVATE_FILE, &[b"long content"]).unwrap();
        // What a crash in the middle leaves behind.
        files.create_file(&dir.path("a.tmp"), 0o644).unwrap();
        files.replace(&path, PRIVATE_FILE, &[b"new"]).unwrap();
        assert_eq!(files.read(&path, 10).unwrap(), b"new");
        assert_eq!(files.metadata(&path).unwrap().mode, 0o600);
        assert_eq!(files.read_dir(&dir.0).unwrap().len(), 1);
    }

    #[test]
    fn lock_is_refused_to_a_second_holder_until_the_first_is_dropped() {
        let dir = TemporaryDir::new();
        let path = dir.path("lock");
        let first = MachineFiles::default().lock_file(&path, PRIVATE_FILE).unwrap();
        let refused = MachineFiles::default().lock_file(&path, PRIVATE_FILE).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock, "{refused}");
        drop(first);
        MachineFiles::default().lock_file(&path, PRIVATE_FILE).unwrap();
        assert!(MachineFiles::default().free_space(&dir.0).unwrap() > 0);
        assert_eq!(MachineFiles::default().free_space(&dir.path("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn use_of_a_file_system_and_target_of_a_link_are_read() {
        let dir = TemporaryDir::new();
        let usage = MachineFiles::default().disk_usage(&dir.0).unwrap();
        assert!(usage.block_size > 0 && usage.blocks >= usage.free_blocks, "{usage:?}");
        let missing = dir.path("none");
        let error = MachineFiles::default().disk_usage(&missing).unwrap_err().to_string();
        assert_eq!(error, format!("statfs {}: no such file or directory", missing.display()));
        std::os::unix::fs::symlink("../target", dir.path("link")).unwrap();
        assert_eq!(MachineFiles::default().read_link(&dir.path("link")).unwrap(), PathBuf::from("../target"));
        assert_eq!(MachineFiles::default().read_link(&dir.0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn full_disk_is_an_error_of_its_own_kind() {
        let mut files = MachineFiles::default();
        let e = files.write_at(Path::new("/dev/full"), 0, &[b"x"]).unwrap_err();
        assert_eq!(e.to_string(), "write /dev/full: no space left on device");
        assert_eq!(e.kind(), io::ErrorKind::StorageFull);
        assert_eq!(
            files.read(Path::new("/dev/zero"), 10).unwrap_err().to_string(),
            "read /dev/zero: not a regular file"
        );
    }

    #[test]
    fn jobs_of_a_key_run_in_order_and_jobs_above_the_limit_are_refused() {
        let mut jobs = FileJobs::new();
        let (notifier, notified) = channel_notifier();
        let (release, held) = channel::<()>();
        let (done, results) = channel();
        let key = |local| Key { owner: 3, local };
        jobs.run(key(1), Box::new(move |_| held.recv().unwrap()), notifier.clone()).unwrap();
        for n in 1..MAX_FILE_JOBS {
            let done = done.clone();
            jobs.run(key(1), Box::new(move |_| done.send(n).unwrap()), notifier.clone()).unwrap();
        }
        let refused = jobs.run(key(2), Box::new(|_| ()), notifier.clone());
        assert_eq!(refused, Err(TooManyFileJobs));
        // Another component is not affected.
        jobs.run(Key { owner: 4, local: 1 }, Box::new(|_| ()), notifier.clone()).unwrap();
        notified.recv_timeout(PATIENCE).unwrap();
        assert!(results.try_recv().is_err(), "the first job of the key still runs");
        release.send(()).unwrap();
        for n in 1..MAX_FILE_JOBS {
            assert_eq!(results.recv_timeout(PATIENCE), Ok(n));
        }
        for _ in 0..MAX_FILE_JOBS {
            notified.recv_timeout(PATIENCE).unwrap();
        }
        jobs.run(key(2), Box::new(|_| ()), notifier).unwrap();
        notified.recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn job_that_panics_notifies_and_the_next_one_of_its_key_runs() {
        let mut jobs = FileJobs::new();
        let (notifier, notified) = channel_notifier();
        let key = Key { owner: 1, local: 1 };
        jobs.run(key, Box::new(|_| std::panic::resume_unwind(Box::new("an error in a job"))), notifier.clone())
            .unwrap();
        jobs.run(key, Box::new(|_| ()), notifier).unwrap();
        for _ in 0..2 {
            notified.recv_timeout(PATIENCE).unwrap();
        }
    }
}
