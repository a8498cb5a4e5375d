//! How much memory the process may use: the limits of its cgroups, the machine's memory, and the hint in `GOMEMLIMIT`.
//!
//! Every parser takes the text, so that files of other machines can be tested. This module does not read the
//! environment: in a host program the variable is meant for the host.

use std::fs;
use std::path::{Path, PathBuf};

/// The memory that the process may use, in bytes: the lowest limit of its cgroups, v2 or v1. Where there is none, the
/// machine's memory, or `hint` where that is less.
#[must_use]
pub fn memory_total(hint: Option<u64>) -> Option<u64> {
    memory_total_from(&|path| fs::read_to_string(path).ok(), hint)
}

/// The lowest limit of the process's cgroups, where one is below the machine's memory.
#[must_use]
pub fn cgroup_limit() -> Option<u64> {
    cgroup_limit_from(&|path| fs::read_to_string(path).ok())
}

/// Reads `GOMEMLIMIT` as Go's runtime does: a number, with `B`, `KiB`, `MiB`, `GiB` or `TiB` after it or none for
/// bytes. `None` where there is no limit: empty, `off`, the largest number.
///
/// # Errors
/// The text is malformed: Go's runtime would end the process.
pub fn go_memory_limit(text: &str) -> Result<Option<u64>, String> {
    if text.is_empty() || text == "off" {
        return Ok(None);
    }
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("B", 0)];
    let (digits, shift) =
        units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift))).unwrap_or((text, 0));
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let number = if is_number { digits.parse::<i64>().ok() } else { None };
    match number.and_then(|n| n.checked_mul(1 << shift)).and_then(|n| u64::try_from(n).ok()) {
        Some(bytes) => Ok((bytes < i64::MAX.unsigned_abs()).then_some(bytes)),
        None => Err(format!("malformed GOMEMLIMIT {text:?}: write bytes, or a number with B, KiB, MiB, GiB or TiB")),
    }
}

/// The same over any set of files.
fn memory_total_from(read: &ReadText<'_>, hint: Option<u64>) -> Option<u64> {
    cgroup_limit_from(read).or_else(|| match (machine_memory(read), hint) {
        (Some(machine), Some(hint)) => Some(machine.min(hint)),
        (machine, hint) => machine.or(hint),
    })
}

type ReadText<'a> = dyn Fn(&Path) -> Option<String> + 'a;

/// From this value on, a number means that there is no limit (v1 gives the largest number of whole pages then, which
/// depends on the size of a page).
const UNLIMITED: u64 = 1 << 62;

fn cgroup_limit_from(read: &ReadText<'_>) -> Option<u64> {
    let mounts = read(Path::new("/proc/self/mountinfo"))?;
    let v1 = |m: &CgroupMount<'_>| m.file_system == "cgroup" && m.options.split(',').any(|o| o == "memory");
    let v2 = |m: &CgroupMount<'_>| m.file_system == "cgroup2";
    // Where both are mounted, the memory controller belongs to v1 if v1 lists it.
    let (mount, file, controller) = match mounts.lines().filter_map(parse_mount).find(v1) {
        Some(mount) => (mount, "memory.limit_in_bytes", "memory"),
        None => (mounts.lines().filter_map(parse_mount).find(v2)?, "memory.max", ""),
    };
    let cgroups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    // The limit may be set by the process's group or by any group above it that is visible in the mount.
    let lowest = path_in_mount(&cgroups, controller, mount.root)
        .ancestors()
        .filter_map(|group| read(&Path::new(mount.mount_point).join(group).join(file))?.trim().parse::<u64>().ok())
        .min()
        .filter(|limit| *limit < UNLIMITED)?;
    machine_memory(read).is_none_or(|machine| lowest < machine).then_some(lowest)
}

/// The path of the process's group in the mount: from a line `number:controllers:path` of cgroup(7), without the part
/// of the hierarchy that is not visible in the mount. In a container the mount's root is most often its own group.
fn path_in_mount(cgroups: &str, controller: &str, root: &str) -> PathBuf {
    let path = cgroups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        parts.next()?.split(',').any(|c| c == controller).then(|| parts.next())?
    });
    let relative = path.and_then(|path| Path::new(path).strip_prefix(root).ok()).unwrap_or_else(|| Path::new(""));
    if relative.components().any(|c| c == std::path::Component::ParentDir) {
        PathBuf::new()
    } else {
        relative.to_owned()
    }
}

struct CgroupMount<'a> {
    root: &'a str,
    mount_point: &'a str,
    file_system: &'a str,
    options: &'a str,
}

/// A line of mountinfo: `id parent major:minor root point options... - type source superoptions` (proc(5)).
fn parse_mount(line: &str) -> Option<CgroupMount<'_>> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let mut right = right.split(' ');
    Some(CgroupMount {
        root: left.next()?,
        mount_point: left.next()?,
        file_system: right.next()?,
        options: right.nth(1)?,
    })
}

fn machine_memory(read: &ReadText<'_>) -> Option<u64> {
    let meminfo = read(Path::new("/proc/meminfo"))?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: (&str, &str) = ("/proc/meminfo", "MemTotal:       16000000 kB\nMemFree:  1 kB\n");
    const MACHINE: u64 = 16_000_000 * 1024;
    const V2: (&str, &str) =
        ("/proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
    const V1: (&str, &str) = (
        "/proc/self/mountinfo",
        "36 32 0:33 /kubepods/pod1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
         37 32 0:34 / /sys/fs/cgroup/unified ro - cgroup2 cgroup2 rw\n",
    );

    fn total_from_files(files: &[(&str, &str)], hint: Option<u64>) -> Option<u64> {
        let read = |path: &Path| files.iter().find(|(p, _)| Path::new(p) == path).map(|(_, text)| (*text).to_owned());
        memory_total_from(&read, hint)
    }

    #[test]
    fn cgroup_limit_takes_precedence_over_the_machine_and_the_hint() {
        assert_eq!(total_from_files(&[V2, MEMINFO], None), Some(MACHINE));
        let with_limit = |max| [V2, MEMINFO, ("/sys/fs/cgroup/memory.max", max)];
        for hint in [None, Some(1 << 20), Some(8 << 30)] {
            assert_eq!(total_from_files(&with_limit("2147483648\n"), hint), Some(2 << 30));
        }
        assert_eq!(total_from_files(&with_limit("max\n"), None), Some(MACHINE));
        assert_eq!(
            total_from_files(&with_limit("17179869184000\n"), None),
            Some(MACHINE),
            "a limit above the machine is none"
        );
    }

    #[test]
    fn hint_is_used_where_no_limit_can_be_read() {
        let no_limit = [V2, MEMINFO, ("/sys/fs/cgroup/memory.max", "max\n")];
        assert_eq!(total_from_files(&no_limit, Some(1 << 30)), Some(1 << 30));
        assert_eq!(total_from_files(&no_limit, Some(1 << 40)), Some(MACHINE), "never more than there is");
        assert_eq!(total_from_files(&[], Some(1 << 30)), Some(1 << 30));
        assert_eq!(total_from_files(&[], None), None);
    }

    #[test]
    fn cgroup_v2_limit_is_the_lowest_of_the_group_and_its_ancestors() {
        let files = [
            V2,
            MEMINFO,
            ("/proc/self/cgroup", "0::/kubepods/pod1/c1\n"),
            ("/sys/fs/cgroup/kubepods/pod1/c1/memory.max", "max\n"),
            ("/sys/fs/cgroup/kubepods/pod1/memory.max", "1048576\n"),
            ("/sys/fs/cgroup/kubepods/memory.max", "2097152\n"),
        ];
        assert_eq!(total_from_files(&files, None), Some(1 << 20));
    }

    #[test]
    fn cgroup_path_outside_of_the_mount_is_read_as_its_root() {
        for path in ["0::/../other\n", "0::/\n", ""] {
            let files = [V2, MEMINFO, ("/proc/self/cgroup", path), ("/sys/fs/cgroup/memory.max", "1048576\n")];
            assert_eq!(total_from_files(&files, None), Some(1 << 20), "{path}");
        }
    }

    #[test]
    fn cgroup_v1_limit_is_found_through_the_mount() {
        let files = |path, limit| {
            [
                V1,
                MEMINFO,
                ("/proc/self/cgroup", path),
                ("/sys/fs/cgroup/memory/c1/memory.limit_in_bytes", limit),
                ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ]
        };
        let cgroups = "5:cpu,cpuacct:/kubepods/pod1/c1\n4:memory:/kubepods/pod1/c1\n0::/x\n";
        assert_eq!(total_from_files(&files(cgroups, "1048576\n"), None), Some(1 << 20));
        assert_eq!(total_from_files(&files(cgroups, "9223372036854771712\n"), None), Some(MACHINE));
        assert_eq!(
            total_from_files(&files("4:memory:/kubepods/pod11/c1\n", "1048576\n"), None),
            Some(MACHINE),
            "not our prefix"
        );
    }

    #[test]
    fn gomemlimit_is_read_as_go_does() {
        for (text, bytes) in [
            ("134217728", Some(128 << 20)),
            ("204MiB", Some(204 << 20)),
            ("1GiB", Some(1 << 30)),
            ("3KiB", Some(3072)),
            ("1TiB", Some(1 << 40)),
            ("100B", Some(100)),
            ("0", Some(0)),
            ("off", None),
            ("", None),
            ("9223372036854775807", None),
        ] {
            assert_eq!(go_memory_limit(text), Ok(bytes), "{text}");
        }
        for text in ["204MB", "-1", "+1", "1.5GiB", "MiB", " 1", "1 MiB", "9223372036854775808", "9000000TiB", "Off"] {
            let error = go_memory_limit(text).unwrap_err();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
