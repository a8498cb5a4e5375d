//! Generates machines from seeds: the files of a machine, and a configuration for them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

/// A sequence of numbers.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn is(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn count(&mut self) -> u64 {
        let digits = self.below(14);
        self.below(10_u64.pow(digits as u32))
    }

    fn pick<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len() as u64) as usize]
    }
}

type Files = BTreeMap<String, String>;

/// The case of a seed, as JSON.
pub(crate) fn machine(seed: u64) -> String {
    let mut n = Numbers(seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
    let mut files = Files::new();
    let mut links = BTreeMap::new();
    let mut dirs = Vec::new();
    cpus(&mut n, &mut files);
    memory(&mut n, &mut files);
    disks(&mut n, &mut files);
    network(&mut n, &mut files);
    mounts(&mut n, &mut files, &mut links, &mut dirs);
    processes(&mut n, &mut files, &mut links, &mut dirs);
    for _ in 0..n.below(4) {
        damage(&mut n, &mut files);
    }
    let config = config(&mut n);
    // The Go receiver asks the kernel which processes exist, and not the files.
    if !config["scrapers"]["process"].is_null() {
        dirs.retain(|dir| dir != "proc/99999999");
    }
    json!({"config": config, "files": files, "links": links, "dirs": dirs}).to_string()
}

fn cpus(n: &mut Numbers, files: &mut Files) {
    let cpus = 1 + n.below(6);
    let columns = if n.is(80) { 10 } else { 7 + n.below(3) };
    let (mut stat, mut info) = (String::from("cpu  1 2 3 4 5 6 7 8 9 10\n"), String::new());
    for cpu in 0..cpus {
        let numbers: Vec<String> = (0..columns).map(|_| n.count().to_string()).collect();
        writeln!(stat, "cpu{cpu} {}", numbers.join(" ")).unwrap();
        writeln!(info, "processor\t: {cpu}\nphysical id\t: {}\ncpu cores\t: 2\ncpu MHz\t\t: 2400.000\n", cpu / 2)
            .unwrap();
        let list = n.pick(&["core_cpus_list", "thread_siblings_list"]);
        if n.is(70) {
            let path = format!("sys/devices/system/cpu/cpu{cpu}/topology/{list}");
            files.insert(path, format!("{}-{}\n", cpu / 2 * 2, cpu / 2 * 2 + 1));
        }
    }
    let [ctxt, created] = [n.count(), n.count()];
    let boot = 1_600_000_000 + n.below(100_000_000);
    writeln!(stat, "intr {} 1 2\nctxt {ctxt}\nbtime {boot}\nprocesses {created}", n.count()).unwrap();
    writeln!(stat, "procs_running {}\nprocs_blocked {}\nsoftirq 1 2", n.below(4), n.below(3)).unwrap();
    files.insert("proc/stat".to_owned(), stat);
    files.insert("proc/cpuinfo".to_owned(), info);
    let load = |n: &mut Numbers| format!("{}.{:02}", n.below(50), n.below(100));
    let loads = [load(n), load(n), load(n)].join(" ");
    files.insert("proc/loadavg".to_owned(), format!("{loads} 1/234 5678\n"));
    files.insert("proc/uptime".to_owned(), format!("{}.{:02} 1.00\n", n.below(1_000_000), n.below(100)));
}

fn memory(n: &mut Numbers, files: &mut Files) {
    let keys = [
        "MemFree",
        "MemAvailable",
        "Buffers",
        "Cached",
        "Active(file)",
        "Inactive(file)",
        "Dirty",
        "Shmem",
        "SReclaimable",
        "SUnreclaim",
    ];
    let mut text = format!("MemTotal:       {} kB\n", 1 + n.count());
    for key in keys {
        if n.is(90) {
            writeln!(text, "{key}:       {} kB", n.count()).unwrap();
        }
    }
    for key in ["Total", "Free", "Rsvd", "Surp"] {
        writeln!(text, "HugePages_{key}:       {}", n.below(3) * n.below(1000)).unwrap();
    }
    text.push_str("Hugepagesize:       2048 kB\n");
    files.insert("proc/meminfo".to_owned(), text);
    if n.is(50) {
        let zones = format!("Node 0, zone DMA\n  pages free 3\n        min 1\n        low      {}\n", n.below(10_000));
        files.insert("proc/zoneinfo".to_owned(), zones);
    }
    let mut text = String::from("nr_free_pages 123\n");
    for key in ["pgpgin", "pgpgout", "pswpin", "pswpout", "pgfault", "pgmajfault"] {
        if n.is(95) {
            writeln!(text, "{key} {}", n.count()).unwrap();
        }
    }
    files.insert("proc/vmstat".to_owned(), text);
}

fn disks(n: &mut Numbers, files: &mut Files) {
    let mut text = String::new();
    for disk in ["loop0", "sda", "sda1", "sda2", "dm-0", "nvme0n1"] {
        let is_used = n.is(80);
        let count = |n: &mut Numbers| if is_used { n.count() } else { 0 };
        let numbers: Vec<String> = (0..11 + n.below(2) * 6).map(|_| count(n).to_string()).collect();
        writeln!(text, "   8       0 {disk} {}", numbers.join(" ")).unwrap();
    }
    text.push_str("   8 1 short 1 2 3\n");
    files.insert("proc/diskstats".to_owned(), text);
}

fn network(n: &mut Numbers, files: &mut Files) {
    let mut text = String::from("Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n");
    for name in ["lo", "eth0", "docker0", "veth1a2b3c", "eth0:1"] {
        if n.is(80) {
            let numbers: Vec<String> = (0..16).map(|_| n.count().to_string()).collect();
            writeln!(text, "{name:>6}: {}", numbers.join(" ")).unwrap();
        }
    }
    files.insert("proc/net/dev".to_owned(), text);
    let header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    let mut tcp = header.to_owned();
    let states = ["01", "02", "03", "04", "05", "06", "07", "08", "09", "0A", "0B", "0C"];
    for line in 0..n.below(30) {
        let (port, state) = (n.below(20), n.pick(&states));
        let rest = "00000000:00000000 00:00000000 00000000     0        0 12345 1 0 100 0 0 10 0";
        writeln!(tcp, "{line:>4}: 0100007F:{port:04X} 0100007F:{:04X} {state} {rest}", n.below(3)).unwrap();
    }
    files.insert("proc/net/tcp".to_owned(), tcp);
    if n.is(70) {
        let mut tcp6 = header.to_owned();
        for line in 0..n.below(10) {
            let (port, state) = (n.below(20), n.pick(&states));
            let (local, remote) = ("0000000000000000FFFF00000100007F", "00000000000000000000000001000000");
            let rest = "00000000:00000000 00:00000000 00000000 0 0 1";
            writeln!(tcp6, "{line:>4}: {local}:{port:04X} {remote}:{:04X} {state} {rest}", n.below(3)).unwrap();
        }
        files.insert("proc/net/tcp6".to_owned(), tcp6);
    }
    if n.is(60) {
        files.insert("proc/sys/net/netfilter/nf_conntrack_count".to_owned(), format!("{}\n", n.below(1000)));
        files.insert("proc/sys/net/netfilter/nf_conntrack_max".to_owned(), "262144\n".to_owned());
    }
}

fn mounts(n: &mut Numbers, files: &mut Files, links: &mut BTreeMap<String, String>, dirs: &mut Vec<String>) {
    let all = [
        ("8:1", "/", "/", "ext4", "/dev/sda1"),
        ("8:1", "/var/lib/x", "/data/x", "ext4", "/dev/sda1"),
        ("8:2", "/", "/boot", "vfat", "/dev/sda2"),
        ("8:2", "/", "/boot/efi", "vfat", "/dev/other"),
        ("253:0", "/", "/lvm", "xfs", "/dev/mapper/vg-root"),
        ("253:1", "/", "/plain", "xfs", "/dev/mapper/none"),
        ("259:1", "/", "/with\\040space", "btrfs", "/dev/root"),
        ("0:22", "/", "/proc", "proc", "proc"),
        ("0:23", "/", "/run", "tmpfs", "tmpfs"),
        ("0:24", "net:[4026532281]", "/run/netns", "nsfs", "nsfs"),
        ("0:25", "/", "/missing", "tmpfs", "tmpfs"),
    ];
    let mut text = String::new();
    for (line, (device, root, mount_point, kind, source)) in all.into_iter().enumerate() {
        if n.is(75) {
            let [mount_mode, fs_mode] = [n.pick(&["rw", "rw", "ro"]), n.pick(&["rw", "rw", "ro", "x"])];
            let optional = n.pick(&["shared:1 ", ""]);
            let left = format!("{} 1 {device} {root} {mount_point} {mount_mode},noatime {optional}", line + 20);
            writeln!(text, "{left}- {kind} {source} {fs_mode},errors=x").unwrap();
        }
    }
    let process = if n.is(85) { "1" } else { "self" };
    files.insert(format!("proc/{process}/mountinfo"), text);
    let types = "nodev\tsysfs\nnodev\ttmpfs\n\text4\n\txfs\n\tbtrfs\n\tvfat\nnodev\tzfs\n";
    files.insert("proc/filesystems".to_owned(), types.to_owned());
    for dir in ["data/x", "boot", "boot/efi", "lvm", "plain", "with space", "run/netns"] {
        dirs.push(dir.to_owned());
    }
    files.insert("dev/dm-0".to_owned(), String::new());
    links.insert("dev/mapper/vg-root".to_owned(), "../dm-0".to_owned());
    if n.is(50) {
        links.insert("sys/dev/block/259:1".to_owned(), "../../devices/pci/nvme0n1/nvme0n1p3".to_owned());
    }
}

/// Only the first process, whose number exists on each machine: the Go receiver asks the kernel whether a process exists.
fn processes(n: &mut Numbers, files: &mut Files, links: &mut BTreeMap<String, String>, dirs: &mut Vec<String>) {
    let name = n.pick(&["systemd", "a) b (c", "exactly-fifteen", "fifteen-or-more", "x"]);
    let command = n.pick(&["/sbin/init\0--flag\0", "/usr/bin/fifteen-or-more-letters\0a b\0", "", "\0\0", "one"]);
    let user = n.pick(&["0", "0", "3999999999"]);
    let numbers: Vec<String> = (0..48).map(|_| n.below(10_000).to_string()).collect();
    files.insert("proc/1/comm".to_owned(), format!("{name}\n"));
    files.insert("proc/1/cmdline".to_owned(), command.to_owned());
    files.insert("proc/1/cgroup".to_owned(), "0::/init.scope\n".to_owned());
    files.insert("proc/1/stat".to_owned(), format!("1 ({name}) S {}\n", numbers.join(" ")));
    files.insert("proc/1/statm".to_owned(), format!("{} {} 3 4 0 6 0\n", n.below(1_000_000), n.below(100_000)));
    let state =
        n.pick(&["S (sleeping)", "R (running)", "D (disk sleep)", "Z (zombie)", "I (idle)", "T (stopped)", "X (dead)"]);
    let status = format!(
        "Name:\t{name}\nUmask:\t0022\nState:\t{state}\nTgid:\t1\nPid:\t1\nPPid:\t0\nUid:\t{user}\t{user}\t{user}\t{user}\n\
         Gid:\t0\t0\t0\t0\nGroups:\t \nVmSize:\t  170000 kB\nThreads:\t{}\nSigQ:\t0/62\nSigPnd:\t0000000000000000\n\
         ShdPnd:\t{:016x}\nvoluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t{}\n",
        1 + n.below(40),
        n.below(4) * n.below(1000),
        n.count(),
        n.count()
    );
    files.insert("proc/1/status".to_owned(), status);
    let io = ["rchar", "wchar", "syscr", "syscw", "read_bytes", "write_bytes"];
    let io: String = io.iter().map(|key| format!("{key}: {}\n", n.count())).collect();
    files.insert("proc/1/io".to_owned(), io);
    let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                  Max cpu time              unlimited            unlimited            seconds   \n\
                  Max pending signals       62                   62                   signals   \n";
    files.insert("proc/1/limits".to_owned(), limits.to_owned());
    files.insert("proc/1/task/1/stat".to_owned(), format!("1 (x) S {}\n", numbers.join(" ")));
    for fd in 0..n.below(10) {
        files.insert(format!("proc/1/fd/{fd}"), String::new());
    }
    dirs.push("proc/1/fd".to_owned());
    if n.is(80) {
        links.insert("proc/1/exe".to_owned(), n.pick(&["/usr/lib/systemd/systemd", "/x (deleted)"]).to_owned());
    }
    // Beyond what the kernel gives: it is counted and can't be read.
    if n.is(50) {
        dirs.push("proc/99999999".to_owned());
    }
    files.insert("proc/self/cgroup".to_owned(), "0::/\n".to_owned());
}

/// Removes a file or a line, or replaces a number.
fn damage(n: &mut Numbers, files: &mut Files) {
    let at = n.below(files.len() as u64) as usize;
    let path = files.keys().nth(at).expect("a file").clone();
    // Without the first ones, a process or the whole receiver can't be compared; the next ones are not needed by both.
    let kept = [
        "proc/1/stat",
        "proc/1/status",
        "proc/stat",
        "proc/1/comm",
        "proc/loadavg",
        "proc/uptime",
        "proc/1/task/1/stat",
        "proc/1/limits",
        "proc/1/cmdline",
    ];
    if kept.contains(&path.as_str()) {
        return;
    }
    let text = files.get_mut(&path).expect("a file");
    let lines = text.lines().count() as u64;
    match n.below(4) {
        0 => drop(files.remove(&path)),
        1 if lines > 0 => {
            let gone = n.below(lines) as usize;
            *text = text
                .lines()
                .enumerate()
                .filter(|(at, _)| *at != gone)
                .fold(String::new(), |all, (_, line)| all + line + "\n");
        }
        2 => {
            let digits: Vec<usize> =
                text.bytes().enumerate().filter(|(_, b)| b.is_ascii_digit()).map(|(at, _)| at).collect();
            if !digits.is_empty() {
                let at = digits[n.below(digits.len() as u64) as usize];
                text.replace_range(at..=at, n.pick(&["x", "-", "9999999999999999999999", ".", " "]));
            }
        }
        _ => text.truncate(n.below(text.len() as u64 + 1) as usize),
    }
}

/// A metric and its attributes.
type Metric = (&'static str, &'static [&'static str]);

/// The metrics of each scraper.
const METRICS: [(&str, &[Metric]); 10] = [
    (
        "cpu",
        &[
            ("system.cpu.logical.count", &[]),
            ("system.cpu.physical.count", &[]),
            ("system.cpu.time", &["cpu", "state"]),
            ("system.cpu.utilization", &["cpu", "state"]),
        ],
    ),
    (
        "memory",
        &[
            ("system.linux.memory.available", &[]),
            ("system.linux.memory.dirty", &[]),
            ("system.memory.limit", &[]),
            ("system.memory.linux.hugepages.limit", &[]),
            ("system.memory.linux.hugepages.page_size", &[]),
            ("system.memory.linux.hugepages.reserved", &[]),
            ("system.memory.linux.hugepages.surplus", &[]),
            ("system.memory.linux.hugepages.usage", &["system.memory.linux.hugepages.state"]),
            ("system.memory.linux.hugepages.utilization", &["system.memory.linux.hugepages.state"]),
            ("system.memory.linux.shared", &[]),
            ("system.memory.page_size", &[]),
            ("system.memory.usage", &["state"]),
            ("system.memory.utilization", &["state"]),
        ],
    ),
    (
        "load",
        &[
            ("system.cpu.load_average.1m", &[]),
            ("system.cpu.load_average.5m", &[]),
            ("system.cpu.load_average.15m", &[]),
        ],
    ),
    (
        "disk",
        &[
            ("system.disk.io", &["device", "direction"]),
            ("system.disk.io_time", &["device"]),
            ("system.disk.merged", &["device", "direction"]),
            ("system.disk.operation_time", &["device", "direction"]),
            ("system.disk.operations", &["device", "direction"]),
            ("system.disk.pending_operations", &["device"]),
            ("system.disk.weighted_io_time", &["device"]),
        ],
    ),
    (
        "filesystem",
        &[
            ("system.filesystem.inodes.usage", &["device", "mode", "mountpoint", "type", "state"]),
            ("system.filesystem.usage", &["device", "mode", "mountpoint", "type", "state"]),
            ("system.filesystem.utilization", &["device", "mode", "mountpoint", "type"]),
        ],
    ),
    (
        "network",
        &[
            ("system.network.connections", &["protocol", "state"]),
            ("system.network.conntrack.count", &[]),
            ("system.network.conntrack.max", &[]),
            ("system.network.dropped", &["device", "direction"]),
            ("system.network.errors", &["device", "direction"]),
            ("system.network.io", &["device", "direction"]),
            ("system.network.packets", &["device", "direction"]),
        ],
    ),
    ("paging", &[("system.paging.faults", &["type"]), ("system.paging.operations", &["direction", "type"])]),
    ("processes", &[("system.processes.count", &["status"]), ("system.processes.created", &[])]),
    (
        "process",
        &[
            ("process.context_switches", &["type"]),
            ("process.cpu.time", &["state"]),
            ("process.disk.io", &["direction"]),
            ("process.disk.operations", &["direction"]),
            ("process.memory.usage", &[]),
            ("process.memory.utilization", &[]),
            ("process.memory.virtual", &[]),
            ("process.open_file_descriptors", &[]),
            ("process.paging.faults", &["type"]),
            ("process.signals_pending", &[]),
            ("process.threads", &[]),
            ("process.uptime", &[]),
        ],
    ),
    ("system", &[("system.uptime", &[])]),
];

fn config(n: &mut Numbers) -> Value {
    let mut scrapers = serde_json::Map::new();
    for (scraper, metrics) in METRICS {
        if n.is(60) || scrapers.is_empty() {
            let mut section = serde_json::Map::new();
            let mut switches = serde_json::Map::new();
            for (metric, attributes) in metrics {
                if n.is(50) {
                    switches.insert((*metric).to_owned(), switch(n, attributes));
                }
            }
            section.insert("metrics".to_owned(), Value::Object(switches));
            options(n, scraper, &mut section);
            scrapers.insert(scraper.to_owned(), Value::Object(section));
        }
    }
    json!({"collection_interval": "1h", "initial_delay": "0s", "scrapers": scrapers})
}

fn switch(n: &mut Numbers, attributes: &[&str]) -> Value {
    let mut switch = json!({"enabled": n.is(85)});
    if !attributes.is_empty() && n.is(30) {
        let kept: Vec<&&str> = attributes.iter().filter(|_| n.is(50)).collect();
        switch["attributes"] = json!(kept);
        // Sums of usages of file systems are those of the machine that records them.
        switch["aggregation_strategy"] = json!(n.pick(&["sum", "avg", "min", "max"]));
    }
    switch
}

fn options(n: &mut Numbers, scraper: &str, section: &mut serde_json::Map<String, Value>) {
    let filter = |n: &mut Numbers, list: &str, names: &[&str], pattern: &str| {
        if n.is(50) {
            json!({"match_type": "strict", list: [n.pick(names), n.pick(names)]})
        } else {
            json!({"match_type": "regexp", list: [pattern]})
        }
    };
    let mut add = |n: &mut Numbers, key: &str, list: &str, names: &[&str], pattern: &str| {
        if n.is(25) {
            section.insert(key.to_owned(), filter(n, list, names, pattern));
        }
    };
    match scraper {
        "disk" => {
            add(n, "include", "devices", &["sda", "dm-0"], "^sd");
            add(n, "exclude", "devices", &["sda1", "loop0"], "loop|nvme");
        }
        "network" => {
            add(n, "include", "interfaces", &["lo", "eth0"], "^eth");
            add(n, "exclude", "interfaces", &["lo", "docker0"], "veth.*");
        }
        "filesystem" => {
            add(n, "exclude_mount_points", "mount_points", &["/boot", "/proc"], "^/(run|proc)");
            add(n, "include_mount_points", "mount_points", &["/", "/boot"], "^/");
            add(n, "exclude_fs_types", "fs_types", &["tmpfs", "proc"], "fs$");
            add(n, "include_devices", "devices", &["/dev/sda1", "tmpfs"], "dev");
            let all = n.is(50);
            section.insert("include_virtual_filesystems".to_owned(), json!(all));
        }
        "process" => {
            add(n, "include", "names", &["systemd", "x"], "e");
            add(n, "exclude", "names", &["systemd", "x"], "fifteen");
            for mute in ["exe", "user", "io", "name"] {
                if n.is(20) {
                    section.insert(format!("mute_process_{mute}_error"), json!(true));
                }
            }
            if n.is(30) {
                let attributes = json!({
                    "process.cgroup": {"enabled": true},
                    "process.command": {"enabled": n.is(50)},
                    "process.pid": {"enabled": true, "metrics_exclude": [{"strict": n.pick(&["1", "2"])}]},
                });
                section.insert("resource_attributes".to_owned(), attributes);
            }
        }
        "load" => {
            let average = n.is(50);
            section.insert("cpu_average".to_owned(), json!(average));
        }
        _ => {}
    }
}
