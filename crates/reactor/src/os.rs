//! What Linux says of the process and its memory: `/proc` and cgroups.
//!
//! Every parser takes the text, so that other machines' files can be tested here.

use std::fs;
use std::path::Path;

/// Bytes of this process; zeros where `/proc` is missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// The address space.
    pub virtual_size: u64,
    /// What of it is in memory.
    pub resident: u64,
    /// What of that no file backs.
    pub anonymous: u64,
}

impl Memory {
    /// Reads `/proc/self/statm`.
    #[must_use]
    pub fn now() -> Self {
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

fn sysconf(name: libc::c_int, otherwise: u64) -> u64 {
    // SAFETY: sysconf takes a number and has no other precondition.
    let value = unsafe { libc::sysconf(name) };
    u64::try_from(value).ok().filter(|v| *v > 0).unwrap_or(otherwise)
}

/// A variable of the process's environment.
#[must_use]
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// While it lives, threads that are started take no signals: a host's handlers run on threads of the host's own. A fault
/// of a thread itself still ends the process.
#[derive(Debug)]
pub struct Unsignalled(Option<libc::sigset_t>);

impl Unsignalled {
    /// Masks the calling thread, whose mask new threads inherit, until it is dropped in the same thread.
    #[must_use]
    pub fn here() -> Self {
        let faults = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGABRT];
        // SAFETY: zeroed sets are memory that sigfillset and pthread_sigmask may write; `before` is kept only when the
        // call has written it.
        unsafe {
            let (mut all, mut before) = (std::mem::zeroed::<libc::sigset_t>(), std::mem::zeroed::<libc::sigset_t>());
            libc::sigfillset(&raw mut all);
            for fault in faults {
                libc::sigdelset(&raw mut all, fault);
            }
            let set = libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self((set == 0).then_some(before))
        }
    }
}

impl Drop for Unsignalled {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // SAFETY: the mask that this thread had.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const *before, std::ptr::null_mut()) };
        }
    }
}

/// Raises the soft limit of open files to the hard one, as Go's runtime does: a connection is a descriptor. Only for a
/// program that owns the process. What the system refuses stays as it is.
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

/// The memory that the process may use: the limit of its cgroup, v2 or v1, or else the machine's memory.
#[must_use]
pub fn memory_total() -> Option<u64> {
    total(&|path| fs::read_to_string(path).ok())
}

/// The same over any set of files.
fn total(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let mounts = read(Path::new("/proc/self/mountinfo")).unwrap_or_default();
    let machine = || mem_total(&read(Path::new("/proc/meminfo"))?);
    if mounts.lines().any(|line| mount(line).is_some_and(|m| m.kind == "cgroup2" && m.point == "/sys/fs/cgroup")) {
        // A container sees its own cgroup as the root of the mount.
        let limit = read(Path::new("/sys/fs/cgroup/memory.max")).and_then(|text| text.trim().parse().ok());
        return limit.or_else(machine);
    }
    v1_limit(&mounts, read).or_else(machine)
}

/// What cgroup v1 shows when there is no limit: the largest page-aligned signed number.
const V1_UNLIMITED: u64 = 9_223_372_036_854_771_712;

fn v1_limit(mounts: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let memory = |m: &Mount<'_>| m.kind == "cgroup" && m.options.split(',').any(|o| o == "memory");
    let mount = mounts.lines().filter_map(mount).find(memory)?;
    let groups = read(Path::new("/proc/self/cgroup"))?;
    let path = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        controllers.split(',').any(|c| c == "memory").then(|| parts.next())?
    })?;
    // The mount may show only a part of the hierarchy: its root is cut off the process's path.
    let inside = path.strip_prefix(mount.root).unwrap_or("").trim_start_matches('/');
    let file = Path::new(mount.point).join(inside).join("memory.limit_in_bytes");
    let limit = read(&file)?.trim().parse().ok()?;
    (limit < V1_UNLIMITED).then_some(limit)
}

struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

/// A line of mountinfo: `id parent major:minor root point options... - type source superoptions` (proc(5)).
fn mount(line: &str) -> Option<Mount<'_>> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let mut right = right.split(' ');
    Some(Mount { root: left.next()?, point: left.next()?, kind: right.next()?, options: right.nth(1)? })
}

fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The wall clock, for whoever has no world: nanoseconds since the Unix epoch.
#[must_use]
pub fn wall_clock() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Opens `stdout`, `stderr` or a file to append to; a `file://` URL names a file.
///
/// # Errors
/// What the system says.
pub fn output(path: &str) -> std::io::Result<Box<dyn std::io::Write + Send>> {
    Ok(match path {
        "stdout" => Box::new(std::io::stdout()),
        "stderr" => Box::new(std::io::stderr()),
        path => {
            let path = path.strip_prefix("file://").unwrap_or(path);
            Box::new(fs::OpenOptions::new().append(true).create(true).open(path)?)
        }
    })
}

/// A file's bytes, or Go's sentence for why not: `open X: no such file or directory`.
///
/// # Errors
/// That sentence.
pub fn read_file(path: &str) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|e| format!("open {path}: {}", crate::sockets::text(&e)))
}

/// A random identity in the form of RFC 9562, version 4.
#[must_use]
pub fn uuid() -> String {
    use std::hash::BuildHasher;
    // Hasher keys come from the system's random source.
    let word = || std::hash::RandomState::new().hash_one(wall_clock());
    let (a, b) = (word(), word());
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
    use super::*;

    const MEMINFO: &str = "MemTotal:       16000 kB\nMemFree:  1 kB\n";
    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "36 32 0:33 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";

    fn seen(files: &[(&str, &str)]) -> Option<u64> {
        total(&|path| files.iter().find(|(p, _)| Path::new(p) == path).map(|(_, text)| (*text).to_owned()))
    }

    #[test]
    fn a_cgroup_v2_limit_goes_before_the_machine() {
        let machine = [("/proc/self/mountinfo", V2), ("/proc/meminfo", MEMINFO)];
        assert_eq!(seen(&machine), Some(16000 * 1024));
        let with = |max| [machine[0], machine[1], ("/sys/fs/cgroup/memory.max", max)];
        assert_eq!(seen(&with("2147483648\n")), Some(2 << 30));
        assert_eq!(seen(&with("max\n")), Some(16000 * 1024));
    }

    #[test]
    fn a_cgroup_v1_limit_is_found_through_the_mount() {
        let files = |limit| {
            [
                ("/proc/self/mountinfo", V1),
                ("/proc/meminfo", MEMINFO),
                ("/proc/self/cgroup", "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n"),
                ("/sys/fs/cgroup/memory/memory.limit_in_bytes", limit),
            ]
        };
        assert_eq!(seen(&files("1048576\n")), Some(1 << 20));
        assert_eq!(seen(&files("9223372036854771712\n")), Some(16000 * 1024));
    }

    #[test]
    fn without_proc_nothing_is_known() {
        assert_eq!(seen(&[]), None);
    }

    #[test]
    fn this_process_has_memory_and_time() {
        assert!(Memory::now().anonymous > 0);
        assert!(cpu_seconds() >= 0.0);
    }
}
