//! What Linux reports about the process: memory and time from `/proc`, its environment, its files, its clock.

use std::fs;
use std::io::{self, Read};
use std::time::Duration;

use otelcore_pipeline::{ProcessSample, error_with_text};

/// Bytes of this process; zeros where `/proc` is missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessMemory {
    /// The address space.
    pub virtual_size: u64,
    /// The part of it that is in physical memory.
    pub resident: u64,
    /// The part of the resident memory that no file backs.
    pub anonymous: u64,
}

impl ProcessMemory {
    /// Reads `/proc/self/statm`.
    #[must_use]
    pub fn read() -> Self {
        let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let page = sysconf(libc::_SC_PAGESIZE, 4096);
        let mut pages = text.split_whitespace().map(|n| n.parse::<u64>().unwrap_or(0) * page);
        let mut next = || pages.next().unwrap_or(0);
        let (virtual_size, resident, shared) = (next(), next(), next());
        Self { virtual_size, resident, anonymous: resident.saturating_sub(shared) }
    }
}

/// User and system time of this process in seconds.
pub(crate) fn cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The command in parentheses may hold spaces; utime and stime are fields 14 and 15.
    let after = text.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    ticks as f64 / sysconf(libc::_SC_CLK_TCK, 100) as f64
}

/// The values of the own metrics about this process, which runs a collector since `uptime`. Any thread may call this.
#[must_use]
pub fn process_sample(uptime: Duration) -> ProcessSample {
    let ProcessMemory { resident, anonymous, virtual_size } = ProcessMemory::read();
    ProcessSample { cpu_seconds: cpu_seconds(), resident, anonymous, virtual_size, uptime }
}

fn sysconf(name: libc::c_int, default: u64) -> u64 {
    // SAFETY: sysconf takes a number and has no other precondition.
    let value = unsafe { libc::sysconf(name) };
    u64::try_from(value).ok().filter(|v| *v > 0).unwrap_or(default)
}

/// Columns and rows of the terminal that is the standard output; `None` where it is none.
#[must_use]
pub fn terminal_size() -> Option<(usize, usize)> {
    // SAFETY: all zeros is a value of this type.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the request writes to `size`, which is as long as it writes and outlives the call.
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0 && size.ws_row > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
}

/// A variable of the process's environment.
#[must_use]
pub fn env_var(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// While this exists, the calling thread blocks signals, and so do the threads that it starts: a host's handlers run on
/// the host's threads. Signals of a thread's own faults are not blocked and still end the process.
#[derive(Debug)]
pub struct SignalsBlocked(Option<libc::sigset_t>);

impl SignalsBlocked {
    /// Masks the calling thread, whose mask new threads inherit, until it is dropped in the same thread.
    #[must_use]
    pub fn in_this_thread() -> Self {
        let synchronous = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGABRT];
        // SAFETY: zeroed sets are memory that sigfillset and pthread_sigmask may write; `previous` is kept only when
        // the call has written it.
        unsafe {
            let (mut all, mut previous) = (std::mem::zeroed::<libc::sigset_t>(), std::mem::zeroed::<libc::sigset_t>());
            libc::sigfillset(&raw mut all);
            for signal in synchronous {
                libc::sigdelset(&raw mut all, signal);
            }
            let status = libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut previous);
            Self((status == 0).then_some(previous))
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        if let Some(previous) = &self.0 {
            // SAFETY: the mask that this thread had.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const *previous, std::ptr::null_mut()) };
        }
    }
}

/// Raises the soft limit of open files to the hard limit, as Go's runtime does: each connection needs a descriptor.
/// Only for a program that owns the process. Where the system refuses, the limit stays as it is.
pub fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a pointer to a limit that lives until they return.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// The text of a system error without Rust's `(os error N)`, with a small first letter as Go writes it.
pub(crate) fn error_text(e: &io::Error) -> String {
    let text = e.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// How many files this process may have open.
pub(crate) fn file_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call gets a pointer to a limit that lives until it returns.
    let read = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 };
    read.then_some(limit.rlim_cur)
}

/// The wall clock in nanoseconds since the Unix epoch, for callers without a world.
#[must_use]
pub fn unix_time_nanos() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The largest file that is read: a configuration, manifests, certificates, credentials.
const MAX_FILE_BYTES: usize = 16 << 20;

/// The bytes of a file, a pipe or a device up to its end.
/// Waits for a pipe until its other end is closed.
///
/// # Errors
/// The system's error with Go's text, `open X: no such file or directory`, or that there are more than 16 MiB.
pub fn read_file(path: &str) -> io::Result<Vec<u8>> {
    read_up_to(path, MAX_FILE_BYTES)
}

fn read_up_to(path: &str, limit: usize) -> io::Result<Vec<u8>> {
    let failed = |verb: &str, e: &io::Error| error_with_text(e, format!("{verb} {path}: {}", error_text(e)));
    let file = fs::File::open(path).map_err(|e| failed("open", &e))?;
    let mut bytes = Vec::new();
    let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    // Opening a folder succeeds; reading it fails with the error that it is a directory.
    file.take(one_more).read_to_end(&mut bytes).map_err(|e| failed("read", &e))?;
    if bytes.len() > limit {
        let text = format!("read {path}: larger than {} MiB, the limit of one file", limit >> 20);
        return Err(io::Error::other(text));
    }
    Ok(bytes)
}

/// Whether a path leads to something that can be read only once: a pipe, a socket, a terminal.
pub(crate) fn is_read_once(path: &str) -> bool {
    fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir())
}

/// The names in a folder, in no order. `None` for a path that is no folder or can't be read.
pub fn read_folder(path: &str) -> Option<Vec<String>> {
    let entries = fs::read_dir(path).ok()?;
    Some(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// A random identity in the form of RFC 9562, version 4.
#[must_use]
pub fn uuid() -> String {
    use std::hash::BuildHasher;
    // Hasher keys come from the system's random source.
    let random_word = || std::hash::RandomState::new().hash_one(unix_time_nanos());
    let (a, b) = (random_word(), random_word());
    let (time, version) = (a >> 16, a & 0xffff);
    let variant = (b >> 48) & 0x3fff | 0x8000;
    format!(
        "{:08x}-{:04x}-{:04x}-{variant:04x}-{:012x}",
        time >> 16,
        time & 0xffff,
        version & 0xfff | 0x4000,
        b & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use otelcore_pipeline::os_error;

    use super::*;

    #[test]
    fn file_or_device_above_the_limit_is_refused_with_its_name_and_the_limit() {
        let refused = read_file("/dev/zero").unwrap_err().to_string();
        assert_eq!(refused, "read /dev/zero: larger than 16 MiB, the limit of one file");
        let path = std::env::temp_dir().join(format!("otelcore-limit-{}", uuid()));
        let name = path.to_string_lossy().into_owned();
        fs::write(&path, vec![b'x'; 3 << 20]).unwrap();
        assert_eq!(read_up_to(&name, 3 << 20).unwrap().len(), 3 << 20);
        let refused = read_up_to(&name, (3 << 20) - 1).unwrap_err().to_string();
        assert_eq!(refused, format!("read {name}: larger than 2 MiB, the limit of one file"));
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn file_that_the_system_refuses_gives_the_text_of_go_and_the_number() {
        let name = std::env::temp_dir().join(format!("otelcore-absent-{}", uuid())).to_string_lossy().into_owned();
        let absent = read_file(&name).unwrap_err();
        assert_eq!(absent.to_string(), format!("open {name}: no such file or directory"));
        assert_eq!((absent.kind(), os_error(&absent)), (io::ErrorKind::NotFound, Some(libc::ENOENT)));
        let folder = read_file("/").unwrap_err();
        assert!(folder.to_string().starts_with("read /: is a directory"));
        assert_eq!(os_error(&folder), Some(libc::EISDIR));
    }

    #[test]
    fn pipe_is_read_to_its_end() {
        let path = std::env::temp_dir().join(format!("otelcore-pipe-{}", uuid()));
        let name = std::ffi::CString::new(path.to_string_lossy().as_bytes()).unwrap();
        // SAFETY: the name is a string that lives until the call returns.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let writer = path.clone();
        let writer = std::thread::spawn(move || {
            use std::io::Write;
            let mut pipe = fs::OpenOptions::new().write(true).open(writer).unwrap();
            pipe.write_all(b"receivers:\n").unwrap();
            pipe.write_all(b"  nop:\n").unwrap();
        });
        assert!(is_read_once(&path.to_string_lossy()));
        assert_eq!(read_file(&path.to_string_lossy()).unwrap(), b"receivers:\n  nop:\n");
        writer.join().unwrap();
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn process_memory_and_cpu_time_are_read() {
        assert!(ProcessMemory::read().anonymous > 0);
        assert!(cpu_seconds() >= 0.0);
    }
}
