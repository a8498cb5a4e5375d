//! What the system reports about a process: CPU time, memory, its cores and its descriptors.

/// Pins this process to one core.
pub(crate) fn pin_to_core(core: usize) {
    // SAFETY: a zeroed cpu_set_t is an empty set, CPU_SET writes inside it, and the call only reads it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

/// Gives this thread priority over the others of its core, where that is permitted.
pub(crate) fn raise_priority() {
    // SAFETY: the call takes three numbers; without the permission it changes nothing.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, -10);
    }
}

/// Raises the soft limit of descriptors to the hard one; children inherit it.
pub(crate) fn raise_descriptor_limit() {
    // SAFETY: both calls only use the struct that they are given.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// User and system time of a process in seconds, to the nanosecond; zero is this process.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64, String> {
    let pid = libc::pid_t::try_from(pid).map_err(|e| e.to_string())?;
    // SAFETY: a timespec and a clock id are plain numbers, and both calls only write to what they are given.
    unsafe {
        let mut clock: libc::clockid_t = 0;
        let mut time: libc::timespec = std::mem::zeroed();
        if libc::clock_getcpuclockid(pid, &raw mut clock) != 0 || libc::clock_gettime(clock, &raw mut time) != 0 {
            return Err(format!("no CPU clock of process {pid}"));
        }
        Ok(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
    }
}

/// A figure of /proc/PID/status, in megabytes.
pub(crate) fn status_megabytes(pid: u32, key: &str) -> Result<f64, String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(|e| e.to_string())?;
    let line = text.lines().find_map(|l| l.strip_prefix(key)).unwrap_or("");
    let kb: f64 = line.trim_matches([':', ' ', '\t']).trim_end_matches("kB").trim().parse().unwrap_or(0.0);
    Ok(kb / 1024.0)
}
