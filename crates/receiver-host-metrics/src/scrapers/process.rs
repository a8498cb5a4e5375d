//! `process`: each process is a resource with its metrics.
//!
//! A process may end while its files are read: what could be read is sent, and the rest is an error, as in Go.

use std::collections::BTreeMap;
use std::time::Duration;

use otelcore_pdata::build::{AttributesWriter, Body};
use otelcore_pipeline::Logger;

use super::ScrapeErrors;
use super::memory::MemoryInfo;
use super::process_files::{ProcessFiles, ProcessStatus};
use crate::config::{FilterError, NameFilter, ProcessAttributesConfig, ProcessConfig, ProcessMetric};
use crate::host::{Host, TIMED_OUT};
use otelcore_scraped_metrics::{AttributeFilter, Recorder};

/// The longest payload of one scrape. Processes for which there is no room are left out.
const MAX_BODY: usize = 64 << 20;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// The times of a process in the scrape before.
#[derive(Clone, Copy, Debug)]
struct PreviousTimes {
    times: [f64; 3],
    read_at: u64,
    /// When the process was started: a number is given to another process later.
    started: u64,
}

/// Which values of each attribute are sent.
#[derive(Debug)]
struct ResourceFilters {
    cgroup: AttributeFilter,
    command: AttributeFilter,
    command_line: AttributeFilter,
    executable_name: AttributeFilter,
    executable_path: AttributeFilter,
    owner: AttributeFilter,
    parent_id: AttributeFilter,
    id: AttributeFilter,
}

impl ResourceFilters {
    fn new(config: &ProcessAttributesConfig) -> Self {
        Self {
            cgroup: AttributeFilter::new(&config.cgroup),
            command: AttributeFilter::new(&config.command),
            command_line: AttributeFilter::new(&config.command_line),
            executable_name: AttributeFilter::new(&config.executable_name),
            executable_path: AttributeFilter::new(&config.executable_path),
            owner: AttributeFilter::new(&config.owner),
            parent_id: AttributeFilter::new(&config.parent_pid),
            id: AttributeFilter::new(&config.pid),
        }
    }

    fn includes(&self, process: &ProcessResource) -> bool {
        let text = |filter: &AttributeFilter, value: &Option<String>| {
            value.as_ref().is_none_or(|value| filter.includes(value))
        };
        let number = |filter: &AttributeFilter, value: Option<i32>| {
            value.is_none_or(|value| filter.includes(&value.to_string()))
        };
        text(&self.cgroup, &process.cgroup)
            && text(&self.command, &process.command)
            && text(&self.command_line, &process.command_line)
            && text(&self.executable_name, &process.executable_name)
            && text(&self.executable_path, &process.executable_path)
            && text(&self.owner, &process.owner)
            && number(&self.parent_id, process.parent_id)
            && number(&self.id, process.id)
    }
}

/// The attributes of a process; `None` for those that are disabled or not known.
#[derive(Debug, Default)]
struct ProcessResource {
    id: Option<i32>,
    parent_id: Option<i32>,
    executable_name: Option<String>,
    executable_path: Option<String>,
    cgroup: Option<String>,
    command: Option<String>,
    command_line: Option<String>,
    owner: Option<String>,
}

impl ProcessResource {
    fn write(&self, attributes: &mut AttributesWriter<'_>) {
        let numbers = [("process.pid", self.id), ("process.parent_pid", self.parent_id)];
        for (key, value) in numbers {
            if let Some(value) = value {
                attributes.int(key.as_bytes(), i64::from(value));
            }
        }
        let texts = [
            ("process.executable.name", &self.executable_name),
            ("process.executable.path", &self.executable_path),
            ("process.cgroup", &self.cgroup),
            ("process.command", &self.command),
            ("process.command_line", &self.command_line),
            ("process.owner", &self.owner),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                attributes.string(key.as_bytes(), value.as_bytes());
            }
        }
    }
}

/// What is read once for all processes.
struct SharedFacts {
    /// When the system was started, in seconds since the epoch.
    boot_time: u64,
    page_size: u64,
    users: Result<BTreeMap<u32, String>, String>,
    cpus: u32,
    /// Bytes of the machine's memory, where a metric needs them.
    total_memory: Result<u64, String>,
}

/// A process that is reported.
struct FoundProcess {
    id: i32,
    name: String,
    files: ProcessFiles,
    resource: ProcessResource,
    /// Milliseconds since the epoch.
    started: u64,
}

#[derive(Debug)]
pub(super) struct ProcessScraper {
    config: ProcessConfig,
    recorder: Recorder,
    filter: NameFilter,
    resource_filters: ResourceFilters,
    previous: BTreeMap<i32, PreviousTimes>,
}

impl ProcessScraper {
    pub(super) fn new(config: &ProcessConfig, log: &Logger) -> Result<Self, FilterError> {
        let mut recorder = super::recorder("processscraper", config.metrics.settings());
        if recorder.is_enabled(ProcessMetric::Handles) {
            log.warn("process.handles is only supported on Windows; disabling metric on this platform", &[]);
            recorder.disable(ProcessMetric::Handles);
        }
        Ok(Self {
            config: config.clone(),
            recorder,
            filter: config.filter()?,
            resource_filters: ResourceFilters::new(&config.resource_attributes),
            previous: BTreeMap::new(),
        })
    }

    /// Writes the metrics of all processes. Returns the number of metrics.
    pub(super) fn scrape(
        &mut self,
        host: &mut Host<'_>,
        boot_time: &Result<u64, String>,
        body: &mut Body,
    ) -> (usize, ScrapeErrors) {
        let ids = match host.process_ids(&host.paths.proc) {
            Ok(ids) => ids,
            Err(e) => return (0, ScrapeErrors::of(0, e)),
        };
        let facts = self.shared_facts(host, boot_time.as_ref().copied().unwrap_or(0));
        let (mut metrics, mut errors) = (0, ScrapeErrors::default());
        let mut times = BTreeMap::new();
        let (begin, mut omitted) = (body.bytes().len(), 0);
        for id in ids {
            if host.is_cancelled() {
                errors.add(0, TIMED_OUT);
                break;
            }
            if body.bytes().len() - begin > MAX_BODY {
                omitted += 1;
                continue;
            }
            let Some(mut process) = self.find(host, id, &facts, &mut errors) else { continue };
            self.measure(host, &mut process, &facts, &mut times, &mut errors);
            if self.resource_filters.includes(&process.resource) {
                let start = process.started.saturating_mul(NANOS_PER_MILLI);
                metrics += self.recorder.emit(body, start, |attributes| process.resource.write(attributes));
            } else {
                self.recorder.clear();
            }
        }
        self.previous = times;
        if omitted > 0 {
            errors.add(0, format!("the metrics take more than {MAX_BODY} bytes: {omitted} processes are left out"));
        }
        if self.config.mute_process_all_errors {
            errors = ScrapeErrors::default();
        }
        (metrics, errors)
    }

    fn shared_facts(&self, host: &mut Host<'_>, boot_time: u64) -> SharedFacts {
        let is_enabled = |metric| self.recorder.is_enabled(metric);
        let needs_cpus = is_enabled(ProcessMetric::CpuUtilization);
        let needs_memory = is_enabled(ProcessMetric::MemoryUtilization);
        let users = if self.config.resource_attributes.owner.enabled { host.user_names() } else { Ok(BTreeMap::new()) };
        SharedFacts {
            boot_time,
            page_size: host.page_size(),
            users,
            cpus: if needs_cpus {
                super::cpu::logical_count(host).map_or(1, |n| n.clamp(1, 1 << 20) as u32)
            } else {
                1
            },
            total_memory: if needs_memory { MemoryInfo::total(host) } else { Ok(0) },
        }
    }

    /// The attributes of a process; `None` if it is not reported.
    fn find(
        &self,
        host: &mut Host<'_>,
        id: i32,
        facts: &SharedFacts,
        errors: &mut ScrapeErrors,
    ) -> Option<FoundProcess> {
        let mut files = ProcessFiles::new(host, id);
        if !files.exists(host) {
            return None;
        }
        let (config, enabled) = (&self.config, &self.config.resource_attributes);
        let mut resource = ProcessResource { id: enabled.pid.enabled.then_some(id), ..ProcessResource::default() };
        if enabled.executable_path.enabled {
            let path = files.executable(host).map_err(|e| {
                if !config.mute_process_exe_error {
                    errors.add(1, format!("error reading process executable for pid {id}: {e}"));
                }
            });
            resource.executable_path = Some(path.unwrap_or_default());
        }
        let name = match files.name(host) {
            Ok(name) => name,
            Err(e) => {
                if !config.mute_process_name_error {
                    errors.add(1, format!("error reading process name for pid {id}: {e}"));
                }
                return None;
            }
        };
        if !self.filter.includes(&name) {
            return None;
        }
        resource.executable_name = enabled.executable_name.enabled.then(|| name.clone());
        if enabled.cgroup.enabled {
            let group = files.control_group(host).map_err(|e| {
                if !config.mute_process_cgroup_error {
                    errors.add(0, format!("error reading process cgroup for pid {id}: {e}"));
                }
            });
            resource.cgroup = Some(group.unwrap_or_default());
        }
        if enabled.command.enabled || enabled.command_line.enabled {
            match files.command_line(host) {
                Ok(parts) => {
                    resource.command = enabled.command.enabled.then(|| parts.first().cloned().unwrap_or_default());
                    resource.command_line = enabled.command_line.enabled.then(|| parts.join(" "));
                }
                Err(e) => errors.add(0, format!("error reading command for process {name:?} (pid {id}): {e}")),
            }
        }
        if enabled.owner.enabled {
            match owner(host, &mut files, facts) {
                Ok(owner) => resource.owner = owner,
                Err(_) if config.mute_process_user_error => {}
                Err(e) => errors.add(0, format!("error reading username for process {name:?} (pid {id}): {e}")),
            }
        }
        let now = host.now / NANOS_PER_MILLI;
        let started = match files.stat(host) {
            Ok(stat) => started(stat.start_ticks, facts.boot_time),
            Err(e) => {
                errors.add(0, format!("error reading create time for process {name:?} (pid {id}): {e}"));
                now
            }
        };
        if is_younger(now, started, config.scrape_process_delay) {
            return None;
        }
        if enabled.parent_pid.enabled {
            let parent = files.stat(host).map(|stat| stat.parent).map_err(|e| {
                errors.add(0, format!("error reading parent pid for process {name:?} (pid {id}): {e}"));
            });
            resource.parent_id = Some(parent.unwrap_or(0));
        }
        Some(FoundProcess { id, name, files, resource, started })
    }

    /// Records the metrics of a process.
    fn measure(
        &mut self,
        host: &mut Host<'_>,
        process: &mut FoundProcess,
        facts: &SharedFacts,
        times: &mut BTreeMap<i32, PreviousTimes>,
        errors: &mut ScrapeErrors,
    ) {
        let (id, name) = (process.id, process.name.clone());
        let mut failed = |metrics: usize, what: &str, e: String| {
            errors.add(metrics, format!("error {what} for process {name:?} (pid {id}): {e}"));
        };
        if let Err(e) = self.measure_cpu(host, process, facts, times) {
            failed(1, "reading cpu times", e);
        }
        if let Err(e) = self.measure_memory(host, process, facts) {
            failed(2, "reading memory info", e);
        }
        if let Err(e) = self.measure_memory_share(host, process, facts) {
            failed(1, "reading memory utilization", e);
        }
        match self.measure_io(host, process) {
            Err(e) if !self.config.mute_process_io_error => failed(1, "reading disk usage", e),
            _ => {}
        }
        if let Err(e) = self.measure_faults(host, process) {
            failed(1, "reading memory paging info", e);
        }
        if let Err(e) = self.measure_threads(host, process) {
            failed(1, "reading thread info", e);
        }
        if let Err(e) = self.measure_switches(host, process) {
            failed(1, "reading context switch counts", e);
        }
        if self.recorder.is_enabled(ProcessMetric::OpenFileDescriptors) {
            match process.files.open_files(host) {
                Ok(count) => self.recorder.int(ProcessMetric::OpenFileDescriptors, host.now, count as i64, &[]),
                Err(e) => failed(1, "reading open file descriptor count", e),
            }
        }
        if let Err(e) = self.measure_signals(host, process) {
            failed(1, "reading pending signals", e);
        }
        let age = i128::from(host.now) - i128::from(process.started) * i128::from(NANOS_PER_MILLI);
        self.recorder.double(ProcessMetric::Uptime, host.now, age as f64 / 1e9, &[]);
    }

    fn measure_cpu(
        &mut self,
        host: &mut Host<'_>,
        process: &mut FoundProcess,
        facts: &SharedFacts,
        times: &mut BTreeMap<i32, PreviousTimes>,
    ) -> Result<(), String> {
        const STATES: [&str; 3] = ["user", "system", "wait"];
        let is_share_enabled = self.recorder.is_enabled(ProcessMetric::CpuUtilization);
        if !self.recorder.is_enabled(ProcessMetric::CpuTime) && !is_share_enabled {
            return Ok(());
        }
        let stat = process.files.stat(host)?;
        for (state, seconds) in STATES.into_iter().zip(stat.times) {
            self.recorder.double(ProcessMetric::CpuTime, host.now, seconds, &[state]);
        }
        if !is_share_enabled {
            return Ok(());
        }
        let before = self.previous.get(&process.id).filter(|before| before.started == process.started);
        if let Some(before) = before {
            let elapsed = host.now.saturating_sub(before.read_at) as f64 / 1e9;
            for (state, (after, before)) in STATES.into_iter().zip(stat.times.into_iter().zip(before.times)) {
                let share = if elapsed > 0.0 { (after - before) / elapsed / f64::from(facts.cpus) } else { 0.0 };
                self.recorder.double(ProcessMetric::CpuUtilization, host.now, share, &[state]);
            }
        }
        times.insert(process.id, PreviousTimes { times: stat.times, read_at: host.now, started: process.started });
        Ok(())
    }

    fn measure_memory(
        &mut self,
        host: &mut Host<'_>,
        process: &FoundProcess,
        facts: &SharedFacts,
    ) -> Result<(), String> {
        let metrics = [ProcessMetric::MemoryUsage, ProcessMetric::MemoryVirtual];
        if metrics.iter().any(|metric| self.recorder.is_enabled(*metric)) {
            let (all, resident) = process.files.memory_pages(host)?;
            let bytes = |pages: u64| pages.wrapping_mul(facts.page_size);
            self.recorder.uint(ProcessMetric::MemoryUsage, host.now, bytes(resident), &[]);
            self.recorder.uint(ProcessMetric::MemoryVirtual, host.now, bytes(all), &[]);
        }
        Ok(())
    }

    fn measure_memory_share(
        &mut self,
        host: &mut Host<'_>,
        process: &FoundProcess,
        facts: &SharedFacts,
    ) -> Result<(), String> {
        if self.recorder.is_enabled(ProcessMetric::MemoryUtilization) {
            let total = facts.total_memory.clone()?;
            let (_, resident) = process.files.memory_pages(host)?;
            // As precise as in Go.
            let share = 100.0 * resident.wrapping_mul(facts.page_size) as f32 / total as f32;
            self.recorder.double(ProcessMetric::MemoryUtilization, host.now, f64::from(share), &[]);
        }
        Ok(())
    }

    fn measure_io(&mut self, host: &mut Host<'_>, process: &FoundProcess) -> Result<(), String> {
        let metrics = [ProcessMetric::DiskIo, ProcessMetric::DiskOperations];
        if !metrics.iter().any(|metric| self.recorder.is_enabled(*metric)) {
            return Ok(());
        }
        let io = process.files.io(host)?;
        self.recorder.uint(ProcessMetric::DiskIo, host.now, io.read_bytes, &["read"]);
        self.recorder.uint(ProcessMetric::DiskIo, host.now, io.written_bytes, &["write"]);
        self.recorder.uint(ProcessMetric::DiskOperations, host.now, io.reads, &["read"]);
        self.recorder.uint(ProcessMetric::DiskOperations, host.now, io.writes, &["write"]);
        Ok(())
    }

    fn measure_faults(&mut self, host: &mut Host<'_>, process: &mut FoundProcess) -> Result<(), String> {
        if self.recorder.is_enabled(ProcessMetric::PagingFaults) {
            let stat = process.files.stat(host)?;
            self.recorder.uint(ProcessMetric::PagingFaults, host.now, stat.major_faults, &["major"]);
            self.recorder.uint(ProcessMetric::PagingFaults, host.now, stat.minor_faults, &["minor"]);
        }
        Ok(())
    }

    fn measure_threads(&mut self, host: &mut Host<'_>, process: &mut FoundProcess) -> Result<(), String> {
        if self.recorder.is_enabled(ProcessMetric::Threads) {
            let threads = process.files.status(host)?.threads;
            self.recorder.int(ProcessMetric::Threads, host.now, threads, &[]);
        }
        Ok(())
    }

    fn measure_switches(&mut self, host: &mut Host<'_>, process: &mut FoundProcess) -> Result<(), String> {
        if !self.recorder.is_enabled(ProcessMetric::ContextSwitches) {
            return Ok(());
        }
        let threads = process.files.threads(host)?;
        let (mut involuntary, mut voluntary) = (0_i64, 0_i64);
        let mut add = |status: &ProcessStatus| {
            involuntary = involuntary.wrapping_add(status.involuntary_switches);
            voluntary = voluntary.wrapping_add(status.voluntary_switches);
        };
        if threads.len() == 1 {
            add(&process.files.status(host)?);
        } else {
            // The file of the process has the counts of its first thread only.
            for thread in threads {
                if host.is_cancelled() {
                    return Err(TIMED_OUT.to_owned());
                }
                let text = host.text(&host.proc(&format!("{thread}/status")))?;
                add(&ProcessStatus::parse(&text)?);
            }
        }
        self.recorder.int(ProcessMetric::ContextSwitches, host.now, involuntary, &["involuntary"]);
        self.recorder.int(ProcessMetric::ContextSwitches, host.now, voluntary, &["voluntary"]);
        Ok(())
    }

    fn measure_signals(&mut self, host: &mut Host<'_>, process: &mut FoundProcess) -> Result<(), String> {
        if self.recorder.is_enabled(ProcessMetric::SignalsPending) && process.files.has_signal_limit(host)? {
            let signals = process.files.status(host)?.pending_signals;
            self.recorder.uint(ProcessMetric::SignalsPending, host.now, signals, &[]);
        }
        Ok(())
    }
}

/// The name of the user who owns a process.
fn owner(host: &mut Host<'_>, files: &mut ProcessFiles, facts: &SharedFacts) -> Result<Option<String>, String> {
    let Some(user) = files.user(host)? else { return Ok(None) };
    let users = facts.users.as_ref().map_err(Clone::clone)?;
    let name = users.get(&user).ok_or_else(|| format!("user: unknown userid {user}"))?;
    Ok((!name.is_empty()).then(|| name.clone()))
}

/// When a process was started, in milliseconds since the epoch.
fn started(ticks: u64, boot_time: u64) -> u64 {
    let millis = ticks.wrapping_mul(1000) / super::cpu::TICKS_PER_SECOND as u64;
    millis.wrapping_add(boot_time.wrapping_mul(1000))
}

/// Whether a process has not been running for so long.
fn is_younger(now: u64, started: u64, delay: Duration) -> bool {
    let age = i128::from(now) - i128::from(started);
    i128::try_from(delay.as_millis()).unwrap_or(i128::MAX) > age
}
