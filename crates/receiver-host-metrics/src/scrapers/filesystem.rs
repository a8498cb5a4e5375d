//! `filesystem`: the mount table, and how full each file system is.
//!
//! [`PartitionFilter`] reads the mount table and says which file systems are to be asked; [`FilesystemRecorder`] makes
//! metrics of the answers. Asking is not done here: a network file system may never answer.

use std::collections::{BTreeMap, BTreeSet};

use otelcore_pdata::build::Body;
use otelcore_pipeline::DiskUsage;

use super::ScrapeErrors;
use crate::config::{FilesystemConfig, FilesystemMetric, FilterError, NameFilter};
use crate::host::{Host, base_name, clean_path, lines};
use crate::numbers::ratio;
use otelcore_scraped_metrics::Recorder;

/// How many file systems are asked in one scrape.
const MAX_PARTITIONS: usize = 4096;

/// How many links of a device are followed.
const MAX_LINKS: usize = 8;

const FAILED_METRICS: usize = 2;

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    pub(crate) device: String,
    /// Where it is mounted, as the machine sees it.
    pub(crate) mount_point: String,
    pub(crate) fs_type: String,
    /// `rw`, `ro` or `unknown`.
    pub(crate) mode: &'static str,
    /// Where the collector finds it.
    pub(crate) path: String,
}

/// The file systems that are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartitionList {
    pub(crate) partitions: Vec<Partition>,
    /// How many are not asked, because there are too many.
    pub(crate) omitted: usize,
}

/// Which file systems are asked.
#[derive(Debug)]
pub(crate) struct PartitionFilter {
    includes_virtual: bool,
    devices: NameFilter,
    fs_types: NameFilter,
    mount_points: NameFilter,
}

impl PartitionFilter {
    pub(crate) fn new(config: &FilesystemConfig) -> Result<Self, FilterError> {
        Ok(Self {
            includes_virtual: config.include_virtual_filesystems,
            devices: config.devices()?,
            fs_types: config.fs_types()?,
            mount_points: config.mount_points()?,
        })
    }

    /// The file systems that are to be asked.
    ///
    /// # Errors
    /// The mount table can't be read.
    pub(crate) fn list(&self, host: &mut Host<'_>) -> Result<PartitionList, String> {
        let table = MountTable::read(host)?;
        let types = host.text(&host.proc("filesystems"));
        let found = match &table {
            MountTable::Info { text, path } => {
                if !self.includes_virtual {
                    // As in Go: without this file, nothing is reported.
                    types.as_ref().map_err(Clone::clone)?;
                }
                parse_mount_info(text, path, self.includes_virtual)
                    .map_err(|e| format!("error parsing mountinfo file {path}: {e}"))?
            }
            MountTable::Mounts { text } => {
                let types = match types {
                    Err(_) if self.includes_virtual => Vec::new(),
                    types => disk_types(&types?),
                };
                parse_mounts(text, self.includes_virtual, &types)
            }
        };
        let (mut seen, mut list) = (BTreeSet::new(), PartitionList::default());
        for mut mount in found {
            mount.resolve_device(host);
            let is_new = seen.insert((mount.mount_point.clone(), mount.device.clone())) || mount.mount_point.is_empty();
            let is_included = is_new
                && self.devices.includes(&mount.device)
                && self.fs_types.includes(&mount.fs_type)
                && self.mount_points.includes(&mount.mount_point);
            if is_included && list.partitions.len() >= MAX_PARTITIONS {
                list.omitted += 1;
            } else if is_included {
                let path = path_of(&host.paths.root, &mount.mount_point);
                let mode = mount.mode();
                let Mount { device, mount_point, fs_type, .. } = mount;
                list.partitions.push(Partition { device, mount_point, fs_type, mode, path });
            }
        }
        Ok(list)
    }
}

/// Where the collector finds a mount point. The mount table of the collector's own process has the root's path already.
fn path_of(root: &str, mount_point: &str) -> String {
    let is_below = |path: &str| path == root || path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
    if !root.is_empty() && is_below(&clean_path(mount_point)) {
        return mount_point.to_owned();
    }
    clean_path(&format!("{root}/{mount_point}"))
}

enum MountTable {
    Info { text: String, path: String },
    Mounts { text: String },
}

impl MountTable {
    /// That of the first process, or else the collector's own.
    fn read(host: &mut Host<'_>) -> Result<Self, String> {
        if let Some(file) = host.paths.mount_info.clone() {
            let dir = file.rsplit_once('/').map_or(".", |(dir, _)| if dir.is_empty() { "/" } else { dir });
            return Self::read_from(host, dir);
        }
        Self::read_from(host, &host.proc("1")).or_else(|_| Self::read_from(host, &host.proc("self")))
    }

    fn read_from(host: &mut Host<'_>, dir: &str) -> Result<Self, String> {
        let path = format!("{dir}/mountinfo");
        match host.text(&path) {
            Ok(text) => Ok(Self::Info { text, path }),
            Err(_) => Ok(Self::Mounts { text: host.text(&format!("{dir}/mounts"))? }),
        }
    }
}

/// A line of the mount table.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    device: String,
    mount_point: String,
    fs_type: String,
    options: Vec<String>,
    /// Major and minor number of the device.
    device_number: String,
}

impl Mount {
    fn mode(&self) -> &'static str {
        ["rw", "ro"].into_iter().find(|mode| self.options.iter().any(|option| option == mode)).unwrap_or("unknown")
    }

    /// Replaces names of devices that are links.
    fn resolve_device(&mut self, host: &mut Host<'_>) {
        if self.device_number.is_empty() {
            return;
        }
        if self.device.starts_with("/dev/mapper/") {
            let path = format!("{}{}", host.paths.dev, self.device.replacen("/dev", "", 1));
            if let Some(resolved) = resolve_links(host, clean_path(&path)) {
                self.device = resolved;
            }
        }
        if self.device == "/dev/root"
            && let Ok(target) = host.link(&host.sys(&format!("dev/block/{}", self.device_number)))
        {
            self.device = self.device.replacen("root", base_name(&target), 1);
        }
    }
}

/// The path at the end of the links; `None` if there is nothing.
fn resolve_links(host: &mut Host<'_>, mut path: String) -> Option<String> {
    for _ in 0..MAX_LINKS {
        match host.link(&path) {
            Ok(target) if target.starts_with('/') => path = clean_path(&target),
            Ok(target) => path = clean_path(&format!("{path}/../{target}")),
            // It exists and is no link.
            Err(e) if e.kind() == std::io::ErrorKind::InvalidInput => return Some(path),
            Err(_) => return None,
        }
    }
    None
}

/// `/proc/PID/mountinfo`. Without `all`, file systems without a device and parts of others are left out.
fn parse_mount_info(text: &str, path: &str, all: bool) -> Result<Vec<Mount>, String> {
    let mut mounts = Vec::new();
    let mut first_devices: BTreeMap<&str, String> = BTreeMap::new();
    for line in lines(text) {
        let invalid = |what: &str| format!("found invalid mountinfo line in file {path} ({what}): {line} ");
        let (left, right) = line.split_once(" - ").ok_or_else(|| invalid("bad parts len"))?;
        let fields: Vec<&str> = left.split_whitespace().collect();
        let [_, _, device_number, root, mount_point, rest @ ..] = fields.as_slice() else {
            return Err(invalid("bad fields(1) len"));
        };
        let mount_options: Vec<&str> = rest.first().map(|options| options.split(',').collect()).unwrap_or_default();
        let fields: Vec<&str> = right.split_whitespace().collect();
        let [fs_type, source, rest @ ..] = fields.as_slice() else { return Err(invalid("bad fields(2) len")) };
        let super_options: Vec<&str> = rest.first().map(|options| options.split(',').collect()).unwrap_or_default();
        let is_device = source.starts_with('/');
        if !all && !is_device {
            continue;
        }
        // Another name of a device that was mounted before is replaced by the first one.
        let named = if is_device || *root == "/" { *source } else { *root };
        let device = first_devices.entry(device_number).or_insert_with(|| named.to_owned()).clone();
        let is_bind = is_device && *root != "/";
        if is_bind && !all {
            continue;
        }
        mounts.push(Mount {
            device,
            mount_point: unescape(mount_point),
            fs_type: (*fs_type).to_owned(),
            options: effective_options(&mount_options, &super_options),
            device_number: (*device_number).to_owned(),
        });
    }
    Ok(mounts)
}

/// A mount is writable if both the mount and the file system are.
fn effective_options(mount_options: &[&str], super_options: &[&str]) -> Vec<String> {
    let has = |mode: &str| (mount_options.contains(&mode), super_options.contains(&mode));
    let mode = match (has("ro"), has("rw")) {
        ((true, _) | (_, true), _) => "ro",
        (_, (true, true)) => "rw",
        _ => return mount_options.iter().map(|option| (*option).to_owned()).collect(),
    };
    let others = mount_options.iter().filter(|option| !matches!(**option, "ro" | "rw"));
    std::iter::once(&mode).chain(others).map(|option| (*option).to_owned()).collect()
}

/// `/proc/PID/mounts`, of kernels without the other file.
fn parse_mounts(text: &str, all: bool, disk_types: &[String]) -> Vec<Mount> {
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [device, mount_point, fs_type, options, ..] = fields.as_slice() else { return None };
        if !all && (*device == "none" || !disk_types.iter().any(|known| known == fs_type)) {
            return None;
        }
        Some(Mount {
            device: (*device).to_owned(),
            mount_point: unescape(mount_point),
            fs_type: (*fs_type).to_owned(),
            options: options.split(',').map(str::to_owned).collect(),
            device_number: String::new(),
        })
    };
    lines(text).filter_map(parse).collect()
}

/// The types of `/proc/filesystems` that need a device, and `zfs`.
fn disk_types(text: &str) -> Vec<String> {
    let disk_type = |line: &str| {
        let name =
            if line.starts_with("nodev") { line.strip_prefix("nodev\t").filter(|name| *name == "zfs")? } else { line };
        Some(name.trim().to_owned())
    };
    lines(text).filter_map(disk_type).collect()
}

/// A path of the mount table, in which some characters are written as octal numbers. A path of another form stays as it
/// is.
fn unescape(path: &str) -> String {
    let mut out = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            if *first == b'"' {
                return path.to_owned();
            }
            out.push(*first);
            continue;
        }
        let digits = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let is_octal = |digits: &&str| digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        match (digits.filter(is_octal).and_then(|digits| u8::from_str_radix(digits, 8).ok()), tail) {
            (Some(byte), [_, _, _, tail @ ..]) => {
                out.push(byte);
                rest = tail;
            }
            (_, [b'\\', tail @ ..]) => {
                out.push(b'\\');
                rest = tail;
            }
            _ => return path.to_owned(),
        }
    }
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// Makes metrics of how full file systems are.
#[derive(Debug)]
pub(crate) struct FilesystemRecorder {
    recorder: Recorder,
}

impl FilesystemRecorder {
    pub(crate) fn new(config: &FilesystemConfig) -> Self {
        Self { recorder: super::recorder("filesystemscraper", config.metrics.settings()) }
    }

    /// Writes the metrics. `start` is when the system was started, in seconds since the epoch. Returns the number of
    /// metrics.
    pub(crate) fn write(
        &mut self,
        now: u64,
        start: u64,
        usages: &[(Partition, Result<DiskUsage, String>)],
        omitted: usize,
        body: &mut Body,
    ) -> (usize, ScrapeErrors) {
        let mut errors = ScrapeErrors::default();
        if omitted > 0 {
            errors.add(0, format!("more than {MAX_PARTITIONS} file systems: {omitted} are left out"));
        }
        let mut is_empty = true;
        for (partition, usage) in usages {
            match usage {
                Ok(usage) => {
                    is_empty = false;
                    self.record(now, partition, usage);
                }
                Err(e) => errors.add(0, format!("failed to read usage at {}: {e}", partition.path)),
            }
        }
        if is_empty && errors.text().is_some() {
            errors.failed_metrics = FAILED_METRICS;
        }
        (self.recorder.emit(body, start.saturating_mul(1_000_000_000), |_| {}), errors)
    }

    fn record(&mut self, now: u64, partition: &Partition, usage: &DiskUsage) {
        let size = usage.block_size;
        let total = usage.blocks.wrapping_mul(size);
        let free = usage.available_blocks.wrapping_mul(size);
        let used = usage.blocks.wrapping_sub(usage.free_blocks).wrapping_mul(size);
        let reserved = total.wrapping_sub(used).wrapping_sub(free);
        let inodes_used = usage.inodes.saturating_sub(usage.free_inodes);
        let Partition { device, mount_point, fs_type, mode, .. } = partition;
        for (state, bytes) in [("used", used), ("free", free), ("reserved", reserved)] {
            let attributes = [device.as_str(), mode, mount_point, fs_type, state];
            self.recorder.uint(FilesystemMetric::Usage, now, bytes, &attributes);
        }
        for (state, inodes) in [("used", inodes_used), ("free", usage.free_inodes)] {
            let attributes = [device.as_str(), mode, mount_point, fs_type, state];
            self.recorder.uint(FilesystemMetric::InodesUsage, now, inodes, &attributes);
        }
        let share = ratio(used, used.wrapping_add(free));
        let attributes = [device.as_str(), mode, mount_point, fs_type];
        self.recorder.double(FilesystemMetric::Utilization, now, share, &attributes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_with_octal_numbers_is_read() {
        let cases = [
            (r"/a\040b", "/a b"),
            (r"/a\134b\\", r"/a\b\"),
            (r"/\303\251", "/é"),
            (r"/a\04", r"/a\04"),
            (r"/a\400", r"/a\400"),
            (r"/\", r"/\"),
            ("/a\"", "/a\""),
        ];
        for (text, expected) in cases {
            assert_eq!(unescape(text), expected, "{text}");
        }
    }

    #[test]
    fn path_below_the_root_is_not_prefixed_again() {
        assert_eq!(path_of("/hostfs", "/boot"), "/hostfs/boot");
        assert_eq!(path_of("/hostfs", "/hostfs/boot"), "/hostfs/boot");
        assert_eq!(path_of("/hostfs", "/hostfsx"), "/hostfs/hostfsx");
        assert_eq!(path_of("", "/boot"), "/boot");
    }

    #[test]
    fn mount_is_writable_only_if_its_file_system_is() {
        let line =
            |mount: &str, fs: &str| format!("36 35 98:0 / /mnt {mount},noatime master:1 - ext3 /dev/root {fs}\n");
        let mode = |mount: &str, fs: &str| parse_mount_info(&line(mount, fs), "mountinfo", false).unwrap()[0].mode();
        assert_eq!(
            [mode("rw", "rw"), mode("rw", "ro"), mode("ro", "rw"), mode("x", "rw")],
            ["rw", "ro", "ro", "unknown"]
        );
    }
}
