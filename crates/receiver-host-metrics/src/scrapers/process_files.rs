//! The files of one process, each read at most once a scrape.

use std::io;

use crate::host::{Host, base_name, lines};
use crate::numbers::{parse_float, parse_int, parse_uint};
use crate::scrapers::cpu::TICKS_PER_SECOND;

/// The longest command line that is kept; the rest of it is cut.
const MAX_COMMAND_LINE: usize = 32 << 10;

/// Names of this length may be cut by the kernel.
const CUT_NAME_LENGTH: usize = 15;

/// `/proc/PID/stat`, as far as it is used.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ProcessStat {
    pub(super) parent: i32,
    /// Seconds in programs, in the kernel, and waiting for disks.
    pub(super) times: [f64; 3],
    pub(super) minor_faults: u64,
    pub(super) major_faults: u64,
    /// Ticks between the start of the system and that of the process.
    pub(super) start_ticks: u64,
}

impl ProcessStat {
    /// # Errors
    /// The file has another form.
    fn parse(text: &str) -> Result<Self, String> {
        // The name of the process may contain anything.
        let (_, rest) = text.rsplit_once(')').ok_or("malformed stat file: no name")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // Numbers as in proc(5): the first field behind the name has number 3.
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
        if fields.len() < 20 {
            let found = fields.len() + 3;
            return Err(format!("malformed stat file: expected at least 23 fields, got {found}"));
        }
        let seconds = |number: usize| parse_float(field(number)).map(|ticks| ticks / TICKS_PER_SECOND);
        let parent = parse_int(field(4))?;
        Ok(Self {
            parent: i32::try_from(parent).map_err(|_| format!("malformed stat file: parent {parent}"))?,
            times: [seconds(14)?, seconds(15)?, seconds(42).unwrap_or(0.0)],
            minor_faults: parse_uint(field(10))?,
            major_faults: parse_uint(field(12))?,
            start_ticks: parse_uint(field(22))?,
        })
    }
}

/// `/proc/PID/status`, as far as it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProcessStatus {
    name: String,
    user: Option<u32>,
    pub(super) threads: i64,
    pub(super) voluntary_switches: i64,
    pub(super) involuntary_switches: i64,
    /// The set of signals that wait for the process, as a number.
    pub(super) pending_signals: u64,
}

impl ProcessStatus {
    /// # Errors
    /// A value is no number.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut found = Self::default();
        for line in lines(text) {
            let Some((key, value)) = line.split_once('\t') else { continue };
            match key.trim_end_matches(':') {
                "Name" => found.name = value.trim_matches([' ', '\t']).to_owned(),
                "Uid" => {
                    let first = value.split('\t').next().unwrap_or_default();
                    let user = parse_uint(first)?;
                    found.user = Some(u32::try_from(user).map_err(|_| format!("user {user} is out of range"))?);
                }
                "Threads" => found.threads = parse_int(value)?,
                "voluntary_ctxt_switches" => found.voluntary_switches = parse_int(value)?,
                "nonvoluntary_ctxt_switches" => found.involuntary_switches = parse_int(value)?,
                "ShdPnd" => {
                    let digits = value.get(value.len().saturating_sub(16)..).unwrap_or(value);
                    found.pending_signals = u64::from_str_radix(digits, 16)
                        .map_err(|_| format!("strconv.ParseUint: parsing {digits:?}: invalid syntax"))?;
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

/// `/proc/PID/io`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ProcessIo {
    pub(super) read_bytes: u64,
    pub(super) written_bytes: u64,
    pub(super) reads: u64,
    pub(super) writes: u64,
}

/// The files of a process. See the module.
#[derive(Debug)]
pub(super) struct ProcessFiles {
    dir: String,
    stat: Option<Result<ProcessStat, String>>,
    status: Option<Result<ProcessStatus, String>>,
    command_line: Option<Result<Vec<String>, String>>,
}

impl ProcessFiles {
    pub(super) fn new(host: &Host<'_>, id: i32) -> Self {
        Self { dir: host.proc(&id.to_string()), stat: None, status: None, command_line: None }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }

    /// Whether the process is still there.
    pub(super) fn exists(&self, host: &mut Host<'_>) -> bool {
        host.exists(&self.dir)
    }

    pub(super) fn stat(&mut self, host: &mut Host<'_>) -> Result<ProcessStat, String> {
        let path = self.path("stat");
        let read = || host.text(&path).and_then(|text| ProcessStat::parse(&text));
        self.stat.get_or_insert_with(read).clone()
    }

    pub(super) fn status(&mut self, host: &mut Host<'_>) -> Result<ProcessStatus, String> {
        let path = self.path("status");
        let read = || host.text(&path).and_then(|text| ProcessStatus::parse(&text));
        self.status.get_or_insert_with(read).clone()
    }

    /// The parts of the command line; empty for a thread of the kernel.
    pub(super) fn command_line(&mut self, host: &mut Host<'_>) -> Result<Vec<String>, String> {
        let path = self.path("cmdline");
        let read = || {
            let text = host.begin_of(&path, MAX_COMMAND_LINE)?;
            if text.is_empty() {
                return Ok(Vec::new());
            }
            Ok(text.trim_end_matches('\0').split('\0').map(str::to_owned).collect())
        };
        self.command_line.get_or_insert_with(read).clone()
    }

    /// The name of the program. The kernel cuts long ones; then it is taken from the command line.
    pub(super) fn name(&mut self, host: &mut Host<'_>) -> Result<String, String> {
        if let Ok(text) = host.text(&self.path("comm")) {
            let name = text.strip_suffix('\n').unwrap_or(&text);
            if !name.is_empty() && name.len() < CUT_NAME_LENGTH {
                return Ok(name.to_owned());
            }
        }
        let name = self.status(host)?.name;
        if name.len() >= CUT_NAME_LENGTH
            && let Some(first) = self.command_line(host)?.first()
            && base_name(first).starts_with(&name)
        {
            return Ok(base_name(first).to_owned());
        }
        Ok(name)
    }

    /// The path of the executable.
    pub(super) fn executable(&self, host: &mut Host<'_>) -> io::Result<String> {
        host.link(&self.path("exe"))
    }

    pub(super) fn control_group(&self, host: &mut Host<'_>) -> Result<String, String> {
        let text = host.text(&self.path("cgroup"))?;
        Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
    }

    /// The number of the user; `None` where it is not there.
    pub(super) fn user(&mut self, host: &mut Host<'_>) -> Result<Option<u32>, String> {
        Ok(self.status(host)?.user)
    }

    /// Pages of the address space, and those that are resident.
    pub(super) fn memory_pages(&self, host: &mut Host<'_>) -> Result<(u64, u64), String> {
        let path = self.path("statm");
        let text = host.text(&path)?;
        let numbers: Vec<u64> = text.split(' ').take(6).map(parse_uint).collect::<Result<_, _>>()?;
        match numbers.as_slice() {
            [all, resident, _, _, _, _] => Ok((*all, *resident)),
            _ => Err(format!("fewer than six numbers in {path}")),
        }
    }

    pub(super) fn io(&self, host: &mut Host<'_>) -> Result<ProcessIo, String> {
        let text = host.text(&self.path("io"))?;
        let mut found = ProcessIo::default();
        for line in lines(&text) {
            let mut fields = line.split_whitespace();
            let (Some(key), Some(value)) = (fields.next(), fields.next()) else { continue };
            let value = parse_uint(value)?;
            match key.trim_end_matches(':') {
                "rchar" => found.read_bytes = value,
                "wchar" => found.written_bytes = value,
                "syscr" => found.reads = value,
                "syscw" => found.writes = value,
                _ => {}
            }
        }
        Ok(found)
    }

    pub(super) fn open_files(&self, host: &mut Host<'_>) -> Result<usize, String> {
        host.entries(&self.path("fd")).map(|entries| entries.len())
    }

    /// The numbers of its threads.
    pub(super) fn threads(&self, host: &mut Host<'_>) -> Result<Vec<i32>, String> {
        host.process_ids(&self.path("task"))
    }

    /// Whether the process has a limit of pending signals, without which they are not reported.
    pub(super) fn has_signal_limit(&self, host: &mut Host<'_>) -> Result<bool, String> {
        let text = host.text(&self.path("limits"))?;
        Ok(lines(&text).any(|line| line.starts_with("Max pending signals")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_of_a_process_with_an_odd_name_is_read() {
        let text = "42 (a) b (c)) S 7 1 1 0 -1 4194560 11 12 13 14 150 250 0 0 20 0 1 0 4711 1 2 3\n";
        let expected =
            ProcessStat { parent: 7, times: [1.5, 2.5, 0.0], minor_faults: 11, major_faults: 13, start_ticks: 4711 };
        assert_eq!(ProcessStat::parse(text), Ok(expected));
        assert_eq!(
            ProcessStat::parse("42 (a) S 7"),
            Err("malformed stat file: expected at least 23 fields, got 5".to_owned())
        );
        assert!(ProcessStat::parse("").is_err());
    }

    #[test]
    fn status_of_a_process_is_read_and_numbers_of_another_form_are_errors() {
        let text = "Name:\tbash\nUid:\t1000\t1000\t1000\t1000\nThreads:\t3\nShdPnd:\t0000000000000000000000ff\n";
        let found = ProcessStatus::parse(text).unwrap();
        assert_eq!(
            (found.name.as_str(), found.user, found.threads, found.pending_signals),
            ("bash", Some(1000), 3, 255)
        );
        let error = "strconv.ParseInt: parsing \"x\": invalid syntax";
        assert_eq!(ProcessStatus::parse("Threads:\tx\n"), Err(error.to_owned()));
    }
}
