//! Output to `stdout`, `stderr` and files, by one thread for each of them: a writer never waits for a slow reader.
//!
//! Owns a queue for each target, which takes records until it holds [`OUTPUT_QUEUE_BYTES`], and the count of what was
//! dropped because it was full. Keeps the order of records, and never drops a part of a record. Starts no thread before
//! the first record, sets no flag on a standard stream (other processes share it), and does nothing in a forked child:
//! its threads do not exist there, and a thread that does not exist there may have held a lock.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::forks::TrackedFd;
use crate::helper_threads::spawn;
use crate::waker::Waker;

/// The most bytes in the queue of one target, not counting the record that exceeded it.
pub const OUTPUT_QUEUE_BYTES: usize = 4 << 20;

/// How long a collector that ends waits for the readers of its outputs.
pub const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// How many bytes a pipe takes without blocking when poll(2) reports that it is writable (`PIPE_BUF`).
const PIPE_WRITE_BYTES: usize = 4096;

/// The most bytes in one write to a regular file.
const FILE_WRITE_BYTES: usize = 1 << 20;

const STACK_BYTES: usize = 128 << 10;

/// How often a thread whose reader is slow checks whether it must end.
const CLOSED_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// The shortest time between two reports of one target.
const MIN_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Time after which drops are reported though the queue has not become shorter.
const MAX_REPORT_DELAY: Duration = Duration::from_secs(30);

/// Records that were dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DroppedRecords {
    /// How many.
    pub count: u64,
    /// Their total length.
    pub bytes: u64,
}

/// The outputs of one collector. Clones share them. What is queued when the last clone is dropped is still written, for
/// [`FINISH_TIMEOUT`] at most.
#[derive(Clone, Debug)]
pub struct Outputs(Arc<OutputsState>);

#[derive(Debug)]
struct OutputsState {
    pid: u32,
    targets: Mutex<BTreeMap<String, Weak<WriteQueue>>>,
    /// A file stays open as long as an [`OutputWriter`] of it exists; the standard streams stay as long as this struct.
    standard_streams: Mutex<Vec<Arc<WriteQueue>>>,
    reports: Arc<DropReports>,
}

/// What the threads pass on to the loop.
#[derive(Debug, Default)]
struct DropReports {
    /// A target has dropped records and is ready to report them.
    due: AtomicBool,
    dropped_records: AtomicU64,
    waker: Mutex<Option<Arc<Waker>>>,
}

#[derive(Debug)]
enum OutputTarget {
    /// Descriptor 1 or 2, which belongs to the process and is never closed here.
    StandardStream(RawFd),
    Opened(TrackedFd<File>),
}

#[derive(Debug)]
struct WriteQueue {
    path: String,
    pid: u32,
    file: OutputTarget,
    capacity: usize,
    state: Mutex<QueueState>,
    /// Notified when there is work for the thread, and when a thread in [`Outputs::finish`] must check again.
    changed: Condvar,
    reports: Arc<DropReports>,
}

#[derive(Debug, Default)]
struct QueueState {
    /// Whole records that the thread has not taken yet.
    queued: Vec<u8>,
    /// Bytes that the thread has taken and not written yet.
    unwritten: usize,
    writers: usize,
    has_thread: bool,
    /// Whether the thread waits for records.
    is_idle: bool,
    /// When it was closed: there is no writer any more.
    closed_at: Option<Instant>,
    /// The error of the last write; `None` where it succeeded.
    write_error: Option<(io::ErrorKind, String)>,
    unreported: DroppedRecords,
    /// When `unreported` was last taken, or began to grow.
    unreported_since: Option<Instant>,
    report_is_due: bool,
}

fn lock_ignoring_poison<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> Instant {
    Instant::now()
}

impl Default for Outputs {
    fn default() -> Self {
        Self::new()
    }
}

impl Outputs {
    /// No output yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(OutputsState {
            pid: std::process::id(),
            targets: Mutex::default(),
            standard_streams: Mutex::default(),
            reports: Arc::default(),
        }))
    }

    /// Opens `stdout`, `stderr` or a file to append to; a `file://` URL names a file. A path that is open already gives
    /// the same queue, so that what several components write keeps its order.
    ///
    /// Each `write` is one record. It is taken whole, or the error is [`io::ErrorKind::WouldBlock`]: the queue is full,
    /// and the record is dropped and counted. Any other error is that of the last write to the target.
    ///
    /// # Errors
    /// The error of the system.
    pub fn open(&self, path: &str) -> io::Result<OutputWriter> {
        self.open_with(path, OUTPUT_QUEUE_BYTES)
    }

    fn open_with(&self, path: &str, capacity: usize) -> io::Result<OutputWriter> {
        if self.0.is_forked() {
            return Err(forked_error());
        }
        let mut targets = lock_ignoring_poison(&self.0.targets);
        targets.retain(|_, target| target.strong_count() > 0);
        if let Some(target) = targets.get(path).and_then(Weak::upgrade) {
            let mut state = lock_ignoring_poison(&target.state);
            // A target that was closed with its last writer only writes what is left: a new one is opened.
            if state.closed_at.is_none() {
                state.writers += 1;
                drop(state);
                return Ok(OutputWriter { target, _outputs: self.clone() });
            }
        }
        let file = match path {
            "stdout" => OutputTarget::StandardStream(libc::STDOUT_FILENO),
            "stderr" => OutputTarget::StandardStream(libc::STDERR_FILENO),
            path => {
                let path = path.strip_prefix("file://").unwrap_or(path);
                // Without the flag, opening a named pipe without a reader would block.
                let mut options = OpenOptions::new();
                options.append(true).create(true).custom_flags(libc::O_NONBLOCK);
                let open = TrackedFd::open(|| options.open(path))?;
                OutputTarget::Opened(open)
            }
        };
        let target = Arc::new(WriteQueue {
            path: path.to_owned(),
            pid: self.0.pid,
            file,
            capacity,
            state: Mutex::new(QueueState { writers: 1, ..QueueState::default() }),
            changed: Condvar::new(),
            reports: self.0.reports.clone(),
        });
        if matches!(target.file, OutputTarget::StandardStream(_)) {
            lock_ignoring_poison(&self.0.standard_streams).push(target.clone());
        }
        targets.insert(path.to_owned(), Arc::downgrade(&target));
        Ok(OutputWriter { target, _outputs: self.clone() })
    }

    /// Waits until everything is written, `timeout` at most. False when the time is up, or the last write to a target
    /// has failed.
    #[must_use = "what is left is lost when the process ends"]
    pub fn finish(&self, timeout: Duration) -> bool {
        if self.0.is_forked() {
            return false;
        }
        let deadline = now() + timeout;
        let targets: Vec<_> = lock_ignoring_poison(&self.0.targets).values().filter_map(Weak::upgrade).collect();
        // `filter`, not `any`: each target is waited for, also after another one has failed.
        targets.iter().filter(|target| !target.finish(deadline)).count() == 0
    }

    /// Records that were dropped so far. Any thread may call this.
    #[must_use]
    pub fn dropped_records(&self) -> u64 {
        self.0.reports.dropped_records.load(Ordering::Relaxed)
    }

    /// What has been dropped since the last report, by target: only targets whose report is due.
    pub(crate) fn take_reports(&self) -> Vec<(String, DroppedRecords)> {
        if !self.0.reports.due.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        let targets: Vec<_> = lock_ignoring_poison(&self.0.targets).values().filter_map(Weak::upgrade).collect();
        targets.iter().filter_map(|target| target.take_report()).collect()
    }

    /// Sets the waker of the loop, which is woken when there is something to report.
    pub(crate) fn set_waker(&self, waker: Option<Arc<Waker>>) {
        if !self.0.is_forked() {
            *lock_ignoring_poison(&self.0.reports.waker) = waker;
        }
    }
}

impl OutputsState {
    fn is_forked(&self) -> bool {
        std::process::id() != self.pid
    }
}

impl Drop for OutputsState {
    fn drop(&mut self) {
        if self.is_forked() {
            return;
        }
        let targets = self.targets.get_mut().unwrap_or_else(PoisonError::into_inner);
        targets.values().filter_map(Weak::upgrade).for_each(|target| target.close());
    }
}

fn forked_error() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "a forked child has no output of its parent's collector")
}

/// Writes to one target. Never blocks.
#[derive(Debug)]
pub struct OutputWriter {
    target: Arc<WriteQueue>,
    /// Keeps the outputs alive as long as this writer exists.
    _outputs: Outputs,
}

impl io::Write for OutputWriter {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        WriteQueue::push(&self.target, record).map(|()| record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for OutputWriter {
    fn drop(&mut self) {
        if std::process::id() != self.target.pid {
            return;
        }
        let mut state = lock_ignoring_poison(&self.target.state);
        state.writers = state.writers.saturating_sub(1);
        let is_last = state.writers == 0 && matches!(self.target.file, OutputTarget::Opened(_));
        drop(state);
        if is_last {
            self.target.close();
        }
    }
}

impl WriteQueue {
    fn push(self: &Arc<Self>, record: &[u8]) -> io::Result<()> {
        if std::process::id() != self.pid {
            return Err(forked_error());
        }
        if record.is_empty() {
            return Ok(());
        }
        let mut state = lock_ignoring_poison(&self.state);
        // The last record may exceed the bound: otherwise a record that is longer than the queue could never be
        // written.
        let has_room = state.queued.len() + state.unwritten < self.capacity;
        if !(has_room && self.ensure_thread(&mut state)) {
            self.count_dropped(&mut state, 1, record.len());
            return Err(io::Error::new(io::ErrorKind::WouldBlock, format!("{} takes no more", self.path)));
        }
        state.queued.extend_from_slice(record);
        let failure = state.write_error.clone();
        if std::mem::take(&mut state.is_idle) {
            drop(state);
            self.changed.notify_all();
        }
        failure.map_or(Ok(()), |(kind, text)| Err(io::Error::new(kind, text)))
    }

    /// Starts the thread with the first record. Where the system refuses, it is tried again with the next record.
    fn ensure_thread(self: &Arc<Self>, state: &mut QueueState) -> bool {
        if !state.has_thread {
            let target = self.clone();
            // A thread of its own: a reader may be slow for ever. It handles no signal: a closed pipe gives an error.
            state.has_thread = spawn("otelcore-output", STACK_BYTES, move || target.run_writer()).is_ok();
        }
        state.has_thread
    }

    fn count_dropped(&self, state: &mut QueueState, count: u64, bytes: usize) {
        state.unreported.count += count;
        state.unreported.bytes += bytes as u64;
        state.unreported_since.get_or_insert_with(now);
        self.reports.dropped_records.fetch_add(count, Ordering::Relaxed);
    }

    fn close(&self) {
        lock_ignoring_poison(&self.state).closed_at.get_or_insert_with(now);
        self.changed.notify_all();
    }

    fn finish(&self, deadline: Instant) -> bool {
        let mut state = lock_ignoring_poison(&self.state);
        while !state.queued.is_empty() || state.unwritten > 0 {
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.write_error.is_none()
    }

    fn take_report(&self) -> Option<(String, DroppedRecords)> {
        let mut state = lock_ignoring_poison(&self.state);
        if !std::mem::take(&mut state.report_is_due) {
            return None;
        }
        state.unreported_since = None;
        Some((self.path.clone(), std::mem::take(&mut state.unreported)))
    }

    /// The thread's function: takes all waiting records, writes them, and repeats.
    fn run_writer(&self) {
        let mut taken = Vec::new();
        while self.take_queued(&mut taken) {
            let limit = if is_regular(self.fd()) { FILE_WRITE_BYTES } else { PIPE_WRITE_BYTES };
            let mut rest = taken.as_slice();
            while !rest.is_empty() {
                let Some(result) = self.write_when_ready(chunk(rest, limit)) else { return };
                let (written, write_error) = match result {
                    Ok(done) => (done, None),
                    // The rest is dropped: the next records may be written, and the queue must not grow.
                    Err(e) => (rest.len(), Some((e.kind(), crate::os::error_text(&e)))),
                };
                let is_lost = write_error.is_some();
                let unwritten = rest;
                rest = rest.get(written..).unwrap_or_default();
                let mut state = lock_ignoring_poison(&self.state);
                state.unwritten = rest.len();
                state.write_error = write_error;
                if is_lost {
                    let records = unwritten.iter().filter(|byte| **byte == b'\n').count().max(1);
                    self.count_dropped(&mut state, records as u64, unwritten.len());
                } else {
                    self.check_report_due(&mut state);
                }
            }
            self.changed.notify_all();
            taken.clear();
            // Frees the memory of a large record.
            taken.shrink_to(FILE_WRITE_BYTES);
        }
    }

    /// Waits for records. False when there are none and the target is closed.
    fn take_queued(&self, taken: &mut Vec<u8>) -> bool {
        let mut state = lock_ignoring_poison(&self.state);
        while state.queued.is_empty() {
            if state.closed_at.is_some() {
                return false;
            }
            state.is_idle = true;
            let has_later_report =
                state.unreported_since.is_some() && !state.report_is_due && state.write_error.is_none();
            state = if has_later_report {
                let waited = self.changed.wait_timeout(state, MIN_REPORT_INTERVAL);
                let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
                self.check_report_due(&mut state);
                state
            } else {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
        state.is_idle = false;
        std::mem::swap(&mut state.queued, taken);
        state.unwritten = taken.len();
        true
    }

    /// Writes a part of `bytes` as soon as the target takes it. `None` when the target was closed [`FINISH_TIMEOUT`]
    /// ago.
    fn write_when_ready(&self, bytes: &[u8]) -> Option<io::Result<usize>> {
        loop {
            if !is_writable(self.fd(), CLOSED_CHECK_INTERVAL) {
                let closed = lock_ignoring_poison(&self.state).closed_at;
                if closed.is_some_and(|closed_at| now().saturating_duration_since(closed_at) >= FINISH_TIMEOUT) {
                    return None;
                }
                continue;
            }
            // SAFETY: the pointer and the length are those of a slice that lives until the call returns.
            let written = unsafe { libc::write(self.fd(), bytes.as_ptr().cast(), bytes.len()) };
            return Some(match usize::try_from(written) {
                Ok(written) => Ok(written.min(bytes.len())),
                Err(_) => match io::Error::last_os_error() {
                    e if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => continue,
                    // The process has no such standard stream: the bytes are discarded, as std does.
                    e if e.raw_os_error() == Some(libc::EBADF) => Ok(bytes.len()),
                    e => Err(e),
                },
            });
        }
    }

    fn check_report_due(&self, state: &mut QueueState) {
        let Some(since) = state.unreported_since.filter(|_| !state.report_is_due) else { return };
        let age = now().saturating_duration_since(since);
        let has_drained = state.queued.len() + state.unwritten <= self.capacity / 2;
        if has_drained && age >= MIN_REPORT_INTERVAL || age >= MAX_REPORT_DELAY {
            state.report_is_due = true;
            self.reports.due.store(true, Ordering::Release);
            if let Some(waker) = &*lock_ignoring_poison(&self.reports.waker) {
                // An error is ignored: a loop that has ended reports nothing any more.
                let _ = waker.wake();
            }
        }
    }

    fn fd(&self) -> RawFd {
        match &self.file {
            OutputTarget::StandardStream(fd) => *fd,
            OutputTarget::Opened(file) => file.as_raw_fd(),
        }
    }
}

/// The first part of `bytes`, `limit` bytes at most. It ends with a line if a line ends in it, because other processes
/// may write to the same pipe between two parts.
fn chunk(bytes: &[u8], limit: usize) -> &[u8] {
    let Some(first) = bytes.get(..limit) else { return bytes };
    let end = first.iter().rposition(|byte| *byte == b'\n').map_or(limit, |at| at + 1);
    first.get(..end).unwrap_or(first)
}

fn is_regular(fd: RawFd) -> bool {
    // SAFETY: a zeroed stat is memory that fstat may write, and is read only when the call has written it.
    unsafe {
        let mut stat = std::mem::zeroed::<libc::stat>();
        libc::fstat(fd, &raw mut stat) == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFREG
    }
}

/// Waits until a write would not block, `timeout` at most. An error counts as writable: the write reports it.
fn is_writable(fd: RawFd, timeout: Duration) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    let millis = libc::c_int::try_from(timeout.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: one descriptor, which lives until the call returns.
    unsafe { libc::poll(&raw mut poll, 1, millis) > 0 }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::io::{Read, Write};
    use std::path::{Path, PathBuf};

    use super::*;

    /// A named pipe. Its end for reading does not block.
    fn named_pipe(name: &str) -> (PathBuf, File) {
        let path = std::env::temp_dir().join(format!("otelcore-output-{name}-{}", crate::os::uuid()));
        let text = CString::new(path.display().to_string()).unwrap();
        // SAFETY: the text ends in a zero and lives until the call returns.
        assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0);
        let reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        (path, reader)
    }

    fn path_text(path: &Path) -> String {
        path.display().to_string()
    }

    /// What comes until nothing comes for a while.
    fn read_until_quiet(reader: &mut File) -> String {
        let mut all = Vec::new();
        let mut quiet = 0;
        while quiet < 100 {
            match reader.read_to_end(&mut all) {
                Ok(0) | Err(_) => quiet += 1,
                Ok(_) => quiet = 0,
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn output_without_a_reader_drops_whole_records_and_never_blocks() {
        let (path, mut reader) = named_pipe("unread");
        let outputs = Outputs::new();
        let mut output = outputs.open_with(&path_text(&path), 64 << 10).unwrap();
        let mut taken = Vec::new();
        for n in 0..2000 {
            let record = format!("{n:0200}\n");
            match output.write_all(record.as_bytes()) {
                Ok(()) => taken.push(n),
                Err(e) => assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert!(!outputs.finish(Duration::from_millis(10)), "there is no reader");
        let dropped = outputs.dropped_records();
        assert_eq!(dropped + taken.len() as u64, 2000);
        assert!(dropped > 1000, "{dropped}: the queue and the pipe hold less than 400 KB");
        let read: Vec<usize> = read_until_quiet(&mut reader).lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(read, taken, "in order, each whole");
        assert!(outputs.finish(Duration::from_secs(5)));
        // Once there is room again, the drops are reported once.
        let deadline = now() + Duration::from_secs(10);
        let reports = loop {
            let reports = outputs.take_reports();
            if !reports.is_empty() {
                break reports;
            }
            assert!(now() < deadline, "never reported");
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(reports, [(path_text(&path), DroppedRecords { count: dropped, bytes: dropped * 201 })]);
        output.write_all(b"after\n").unwrap();
        assert_eq!(read_until_quiet(&mut reader), "after\n");
        assert_eq!(outputs.take_reports(), []);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn output_with_two_writers_keeps_the_order_of_records() {
        let path = std::env::temp_dir().join(format!("otelcore-output-order-{}", crate::os::uuid()));
        let outputs = Outputs::new();
        let mut writers = [outputs.open(&path_text(&path)).unwrap(), outputs.open(&path_text(&path)).unwrap()];
        for n in 0..1000 {
            writers[n % 2].write_all(format!("{n}\n").as_bytes()).unwrap();
        }
        assert!(outputs.finish(Duration::from_secs(10)));
        let expected: String = (0..1000).map(|n| format!("{n}\n")).collect();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn record_longer_than_the_queue_is_taken_while_the_queue_has_room() {
        let path = std::env::temp_dir().join(format!("otelcore-output-long-{}", crate::os::uuid()));
        let outputs = Outputs::new();
        let mut output = outputs.open_with(&path_text(&path), 10).unwrap();
        output.write_all(b"short\n").unwrap();
        output.write_all(&[b'x'; 1000]).unwrap();
        assert!(outputs.finish(Duration::from_secs(10)));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 1006);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn failed_write_is_counted_and_returned_by_the_next_write() {
        let outputs = Outputs::new();
        let mut output = outputs.open("/dev/full").unwrap();
        output.write_all(b"one\ntwo\n").unwrap();
        assert!(!outputs.finish(Duration::from_secs(10)));
        let e = output.write_all(b"three\n").unwrap_err();
        assert_eq!((e.kind(), e.to_string()), (io::ErrorKind::StorageFull, "no space left on device".to_owned()));
        assert!(!outputs.finish(Duration::from_secs(10)));
        assert_eq!(outputs.dropped_records(), 3);
        assert_eq!(outputs.take_reports(), [], "it can't be written yet");
    }

    #[test]
    fn write_to_a_closed_pipe_is_an_error_and_no_signal() {
        let (path, reader) = named_pipe("gone");
        let outputs = Outputs::new();
        let mut output = outputs.open(&path_text(&path)).unwrap();
        drop(reader);
        output.write_all(b"one\n").unwrap();
        assert!(!outputs.finish(Duration::from_secs(10)));
        assert_eq!(output.write_all(b"two\n").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn writer_thread_ends_after_the_last_output_is_dropped_even_without_a_reader() {
        let (path, reader) = named_pipe("end");
        let outputs = Outputs::new();
        let mut output = outputs.open(&path_text(&path)).unwrap();
        output.write_all(&vec![b'x'; 1 << 20]).unwrap();
        let target = Arc::downgrade(&output.target);
        drop((output, outputs));
        let deadline = now() + Duration::from_secs(10);
        while target.strong_count() > 0 {
            assert!(now() < deadline, "the thread goes on");
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(reader);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn open_of_a_pipe_without_a_reader_is_an_error() {
        let (path, reader) = named_pipe("no-reader");
        drop(reader);
        assert!(Outputs::new().open(&path_text(&path)).is_err());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn output_in_a_forked_child_does_not_wait_for_a_lock() {
        let path = std::env::temp_dir().join(format!("otelcore-output-fork-{}", crate::os::uuid()));
        let outputs = Outputs::new();
        let mut output = outputs.open(&path_text(&path)).unwrap();
        output.write_all(b"parent\n").unwrap();
        assert!(outputs.finish(Duration::from_secs(10)));
        let target = output.target.clone();
        let state_lock = lock_ignoring_poison(&target.state);
        // SAFETY: the child calls nothing that another thread of the parent may have locked (which is what is tested),
        // and leaves by _exit; the alarm ends it when it waits all the same.
        let status = unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::alarm(10);
                let refused = output.write(b"child\n").is_err() && !outputs.finish(Duration::from_secs(60));
                outputs.set_waker(None);
                drop((output, outputs));
                libc::_exit(if refused { 7 } else { 8 });
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            status
        };
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "{status:#x}");
        drop(state_lock);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "parent\n");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn chunk_of_several_lines_ends_at_a_line_end() {
        assert_eq!(chunk(b"ab\ncd\nef", 4), b"ab\n");
        assert_eq!(chunk(b"abcdef", 4), b"abcd");
        assert_eq!(chunk(b"ab", 4), b"ab");
    }
}
