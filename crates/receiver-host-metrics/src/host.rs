//! Files that describe the machine: where they are, and how they are read.
//!
//! Everything here runs in a job on files. A file is read up to a limit, as text; bytes that are no UTF-8 become U+FFFD.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use otelcore_pipeline::{DirEntry, DiskUsage, FileSystem};

use crate::numbers::parse_float;

/// The longest file that is read as a whole.
const MAX_FILE: usize = 16 << 20;

/// How much of a long file is read at a time.
const CHUNK: usize = 256 << 10;

/// The longest line of a file that is read line by line.
const MAX_LINE: usize = 64 << 10;

/// The error where the time limit of a scrape is over.
pub(crate) const TIMED_OUT: &str = "context deadline exceeded";

/// Where the directories of the machine are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPaths {
    pub(crate) proc: String,
    pub(crate) sys: String,
    pub(crate) dev: String,
    pub(crate) etc: String,
    /// The root of the machine's file system; empty for the collector's own.
    pub(crate) root: String,
    /// `HOST_PROC_MOUNTINFO`: a file beside which the mount table is.
    pub(crate) mount_info: Option<String>,
}

impl HostPaths {
    /// From `root_path` and the variables that the Go collector reads, which are stronger.
    pub(crate) fn new(root_path: &str, env_var: &dyn Fn(&str) -> Option<String>) -> Self {
        let root = if root_path.is_empty() { String::new() } else { clean_path(root_path) };
        let root = if root == "/" { String::new() } else { root };
        let variable = |name: &str| env_var(name).filter(|value| !value.is_empty());
        let dir = |name: &str, path: &str| variable(name).map_or_else(|| format!("{root}{path}"), |v| clean_path(&v));
        Self {
            proc: dir("HOST_PROC", "/proc"),
            sys: dir("HOST_SYS", "/sys"),
            dev: dir("HOST_DEV", "/dev"),
            etc: dir("HOST_ETC", "/etc"),
            mount_info: variable("HOST_PROC_MOUNTINFO"),
            root,
        }
    }
}

/// A path without `.`, `..`, doubled and trailing slashes, as Go's `filepath.Clean`.
pub(crate) fn clean_path(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&"..") | None if is_absolute => {}
                Some(&"..") | None => parts.push(".."),
                Some(_) => {
                    parts.pop();
                }
            },
            part => parts.push(part),
        }
    }
    match (is_absolute, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// The last element of a path.
pub(crate) fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("/")
}

/// The lines of a text. A newline at its end begins no line.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.strip_suffix('\n').unwrap_or(text).split('\n').filter(move |_| !text.is_empty())
}

/// The files of a machine, for the time of one scrape.
pub(crate) struct Host<'a> {
    files: &'a mut dyn FileSystem,
    pub(crate) paths: &'a HostPaths,
    is_cancelled: &'a AtomicBool,
    /// When the scrape began, in nanoseconds since the epoch.
    pub(crate) now: u64,
}

impl std::fmt::Debug for Host<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl<'a> Host<'a> {
    pub(crate) fn new(
        files: &'a mut dyn FileSystem,
        paths: &'a HostPaths,
        is_cancelled: &'a AtomicBool,
        now: u64,
    ) -> Self {
        Self { files, paths, is_cancelled, now }
    }

    /// Whether the time limit of the scrape is over.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }

    /// A path below `/proc`.
    pub(crate) fn proc(&self, path: &str) -> String {
        format!("{}/{path}", self.paths.proc)
    }

    /// A path below `/sys`.
    pub(crate) fn sys(&self, path: &str) -> String {
        format!("{}/{path}", self.paths.sys)
    }

    /// A file as text.
    ///
    /// # Errors
    /// The system's, in Go's form; also where the file is too long.
    pub(crate) fn text(&mut self, path: &str) -> Result<String, String> {
        self.read(path).map_err(|e| e.to_string())
    }

    /// A file as text, with the kind of its error.
    ///
    /// # Errors
    /// As [`Host::text`].
    pub(crate) fn read(&mut self, path: &str) -> io::Result<String> {
        let bytes = self.files.read_at(Path::new(path), 0, MAX_FILE + 1)?;
        if bytes.len() > MAX_FILE {
            let text = format!("read {path}: larger than {MAX_FILE} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(into_text(bytes))
    }

    /// The first bytes of a file as text.
    ///
    /// # Errors
    /// The system's, in Go's form.
    pub(crate) fn begin_of(&mut self, path: &str, limit: usize) -> Result<String, String> {
        self.files.read_at(Path::new(path), 0, limit).map(into_text).map_err(|e| e.to_string())
    }

    /// Passes each line of a file to `line`, whatever its length. A line that is too long is left out.
    ///
    /// # Errors
    /// The system's, in Go's form; [`TIMED_OUT`] where the time limit of the scrape is over.
    pub(crate) fn for_each_line(&mut self, path: &str, mut line: impl FnMut(&str)) -> Result<(), String> {
        let (mut offset, mut rest) = (0, Vec::new());
        loop {
            if self.is_cancelled() {
                return Err(TIMED_OUT.to_owned());
            }
            let chunk = self.files.read_at(Path::new(path), offset, CHUNK).map_err(|e| e.to_string())?;
            if chunk.is_empty() {
                break;
            }
            offset += chunk.len() as u64;
            let mut parts = chunk.split(|byte| *byte == b'\n');
            let mut part = parts.next().unwrap_or_default();
            for next in parts {
                rest.extend_from_slice(part);
                line(&String::from_utf8_lossy(&rest));
                rest.clear();
                part = next;
            }
            rest.extend_from_slice(part);
            if rest.len() > MAX_LINE {
                rest.clear();
            }
        }
        if !rest.is_empty() {
            line(&String::from_utf8_lossy(&rest));
        }
        Ok(())
    }

    /// The entries of a directory.
    ///
    /// # Errors
    /// The system's, in Go's form.
    pub(crate) fn entries(&mut self, path: &str) -> Result<Vec<DirEntry>, String> {
        self.files.read_dir(Path::new(path)).map_err(|e| e.to_string())
    }

    /// The numbers of the processes, ascending.
    ///
    /// # Errors
    /// The system's, in Go's form.
    pub(crate) fn process_ids(&mut self, path: &str) -> Result<Vec<i32>, String> {
        let entries = self.entries(path)?;
        let id = |entry: &DirEntry| {
            let name = entry.name.to_str()?;
            name.bytes().all(|byte| byte.is_ascii_digit()).then(|| name.parse().ok()).flatten()
        };
        let mut ids: Vec<i32> = entries.iter().filter_map(id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Whether there is something at a path.
    pub(crate) fn exists(&mut self, path: &str) -> bool {
        self.files.metadata(Path::new(path)).is_ok()
    }

    /// Where a symbolic link leads to.
    ///
    /// # Errors
    /// The system's, in Go's form.
    pub(crate) fn link(&mut self, path: &str) -> io::Result<String> {
        self.files.read_link(Path::new(path)).map(|target: PathBuf| target.to_string_lossy().into_owned())
    }

    /// When the system was started, in seconds since the epoch.
    ///
    /// # Errors
    /// The system's, in Go's form, or that a file has another form.
    pub(crate) fn boot_time(&mut self) -> Result<u64, String> {
        if self.is_in_container() {
            return Ok((self.now as f64 / 1e9 - self.uptime()?) as u64);
        }
        let stat = self.text(&self.proc("stat"))?;
        let Some(line) = lines(&stat).find(|line| line.starts_with("btime")) else {
            return Err("could not find btime".to_owned());
        };
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            [_, time] => Ok(crate::numbers::parse_int(time)?.cast_unsigned()),
            _ => Err("wrong btime format".to_owned()),
        }
    }

    /// How long the system has been running, in seconds.
    ///
    /// # Errors
    /// The system's, in Go's form, or that the file has another form.
    pub(crate) fn uptime(&mut self) -> Result<f64, String> {
        let text = self.text(&self.proc("uptime"))?;
        parse_float(text.split_whitespace().next().ok_or("wrong uptime format")?)
    }

    /// In containers of LXC and Docker the uptime is that of the container, and the time of the boot is not.
    fn is_in_container(&mut self) -> bool {
        let environ = self.begin_of(&self.proc("1/environ"), MAX_LINE);
        let mut is_guest = environ.is_ok_and(|text| text.contains("container=lxc"));
        if let Ok(groups) = self.text(&self.proc("self/cgroup")) {
            if groups.contains("lxc") || groups.contains("docker") {
                is_guest = true;
            } else if groups.contains("machine-rkt") || self.exists("/usr/bin/lxc-version") {
                is_guest = false;
            }
        }
        let release = self.text(&format!("{}/os-release", self.paths.etc)).unwrap_or_default();
        if lines(&release).any(|line| matches!(line, "ID=coreos" | "ID=\"coreos\"")) {
            is_guest = false;
        }
        is_guest || self.exists("/.dockerenv")
    }

    /// Bytes of a page of memory, from the values that the kernel gives each process.
    pub(crate) fn page_size(&mut self) -> u64 {
        const AT_PAGESZ: usize = 6;
        const WORD: usize = size_of::<usize>();
        let bytes = self.files.read_at(Path::new("/proc/self/auxv"), 0, 4096).unwrap_or_default();
        let word = |bytes: &[u8]| bytes.try_into().map_or(0, usize::from_ne_bytes);
        let entries = bytes.chunks_exact(2 * WORD).map(|entry| entry.split_at(WORD));
        let mut sizes = entries.filter(|(key, _)| word(key) == AT_PAGESZ).map(|(_, value)| word(value) as u64);
        sizes.next().filter(|size| *size > 0).unwrap_or(4096)
    }

    /// How many CPUs the collector may use.
    pub(crate) fn usable_cpus(&mut self) -> u32 {
        let status = self.text("/proc/self/status").unwrap_or_default();
        let mask = lines(&status).find_map(|line| line.strip_prefix("Cpus_allowed:")).unwrap_or_default();
        mask.chars().filter_map(|digit| digit.to_digit(16)).map(u32::count_ones).sum::<u32>().max(1)
    }

    /// The name of each user, by number. Those of the machine, or else those of the collector's own file system.
    ///
    /// # Errors
    /// The system's, in Go's form.
    pub(crate) fn user_names(&mut self) -> Result<BTreeMap<u32, String>, String> {
        let text = match self.read(&format!("{}/passwd", self.paths.etc)) {
            Ok(text) => text,
            Err(_) => self.text("/etc/passwd")?,
        };
        let mut names = BTreeMap::new();
        for line in lines(&text) {
            let mut fields = line.split(':');
            let (Some(name), Some(id)) = (fields.next(), fields.nth(1)) else { continue };
            if let Ok(id) = id.parse() {
                names.entry(id).or_insert_with(|| name.to_owned());
            }
        }
        Ok(names)
    }
}

fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// Size and use of the file system at `path`.
///
/// # Errors
/// The system's, without the path.
pub(crate) fn disk_usage(files: &mut dyn FileSystem, path: &str) -> Result<DiskUsage, String> {
    files.disk_usage(Path::new(path)).map_err(|e| {
        let text = e.to_string();
        text.strip_prefix(&format!("statfs {path}: ")).map_or_else(|| text.clone(), str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_below_the_root_unless_a_variable_says_otherwise() {
        let none = |_: &str| None;
        let paths = HostPaths::new("/hostfs/", &none);
        assert_eq!((paths.proc.as_str(), paths.root.as_str()), ("/hostfs/proc", "/hostfs"));
        assert_eq!(HostPaths::new("/", &none), HostPaths::new("", &none));
        let variable = |name: &str| (name == "HOST_PROC").then(|| "/other/proc/".to_owned());
        let paths = HostPaths::new("/hostfs", &variable);
        assert_eq!((paths.proc.as_str(), paths.sys.as_str()), ("/other/proc", "/hostfs/sys"));
    }

    #[test]
    fn path_is_cleaned_as_in_go() {
        let cases = [("/a//b/./c/..", "/a/b"), ("/..", "/"), ("", "."), ("../x/", "../x"), ("a/../../b", "../b")];
        for (path, expected) in cases {
            assert_eq!(clean_path(path), expected, "{path}");
        }
        assert_eq!([base_name("/a/b/"), base_name("/"), base_name("x")], ["b", "/", "x"]);
    }

    #[test]
    fn newline_at_the_end_begins_no_line() {
        assert_eq!(lines("a\nb\n").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(lines("").count(), 0);
        assert_eq!(lines("a\n\nb").collect::<Vec<_>>(), ["a", "", "b"]);
    }
}
