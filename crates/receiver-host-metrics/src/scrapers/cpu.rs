//! `cpu`: the times of each CPU from `/proc/stat`, their shares between two scrapes, and the CPUs there are.

use std::collections::{BTreeMap, BTreeSet};

use super::{ScrapeErrors, Scraper};
use crate::config::{CpuConfig, CpuMetric};
use crate::host::{Host, lines};
use crate::numbers::{parse_float, parse_int};
use otelcore_scraped_metrics::Recorder;

/// Ticks of a second in files of `/proc`.
pub(super) const TICKS_PER_SECOND: f64 = 100.0;

const FAILED_METRICS: usize = 2;

/// The states in the order of the points, each with its column in `/proc/stat`.
const STATES: [(&str, usize); 8] =
    [("user", 1), ("system", 3), ("idle", 4), ("interrupt", 6), ("nice", 2), ("softirq", 7), ("steal", 8), ("wait", 5)];

/// Seconds in each state, in the order of [`STATES`].
type Times = [f64; 8];

#[derive(Debug)]
pub(super) struct CpuScraper {
    recorder: Recorder,
    /// Those of the scrape before.
    previous: BTreeMap<String, Times>,
}

impl CpuScraper {
    pub(super) fn new(config: &CpuConfig) -> Self {
        Self { recorder: super::recorder("cpuscraper", config.metrics.settings()), previous: BTreeMap::new() }
    }

    fn record(&mut self, metric: CpuMetric, now: u64, cpu: &str, times: &Times) {
        for ((state, _), value) in STATES.iter().zip(times) {
            self.recorder.double(metric, now, *value, &[cpu, state]);
        }
    }
}

impl Scraper for CpuScraper {
    const NAME: &'static str = "cpu";

    fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    fn scrape(&mut self, host: &mut Host<'_>) -> Result<ScrapeErrors, ScrapeErrors> {
        // A file that can't be read is no error in Go either.
        let stat = host.text(&host.proc("stat")).unwrap_or_default();
        let times = parse_stat(&stat);
        for (cpu, times) in &times {
            self.record(CpuMetric::Time, host.now, cpu, times);
        }
        for (cpu, times) in &times {
            if let Some(before) = self.previous.get(cpu) {
                let shares = shares(before, times);
                self.record(CpuMetric::Utilization, host.now, cpu, &shares);
            }
        }
        self.previous = times.into_iter().collect();
        let failed = |e: String| ScrapeErrors::of(FAILED_METRICS, e);
        if self.recorder.is_enabled(CpuMetric::PhysicalCount) {
            let count = physical_count(host).map_err(failed)?;
            self.recorder.int(CpuMetric::PhysicalCount, host.now, count, &[]);
        }
        if self.recorder.is_enabled(CpuMetric::LogicalCount) {
            let count = logical_count(host).map_err(failed)?;
            self.recorder.int(CpuMetric::LogicalCount, host.now, count, &[]);
        }
        if self.recorder.is_enabled(CpuMetric::Frequency) {
            let info = host.text(&host.proc("cpuinfo")).map_err(failed)?;
            for (cpu, mega_hertz) in parse_frequencies(&info) {
                let cpu = format!("cpu{cpu}");
                self.recorder.double(CpuMetric::Frequency, host.now, mega_hertz * 1_000_000.0, &[&cpu]);
            }
        }
        Ok(ScrapeErrors::default())
    }
}

/// The times of each CPU. Lines of another form are left out.
fn parse_stat(stat: &str) -> Vec<(String, Times)> {
    // The first line has the sums of all of them.
    let lines = lines(stat).skip(1).take_while(|line| line.starts_with("cpu"));
    lines.filter_map(parse_stat_line).collect()
}

fn parse_stat_line(line: &str) -> Option<(String, Times)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if fields.len() < 8 {
        return None;
    }
    // As in Go, a line with a column that is no number is left out, whether the column is used or not.
    let numbers: Result<Vec<f64>, String> = fields.iter().skip(1).take(10).map(|field| parse_float(field)).collect();
    let numbers = numbers.ok()?;
    let name = match *fields.first()? {
        "cpu" => "cpu-total",
        name => name,
    };
    let times = STATES.map(|(_, column)| numbers.get(column - 1).map_or(0.0, |ticks| ticks / TICKS_PER_SECOND));
    Some((name.to_owned(), times))
}

/// The share of each state of the time between two measurements. The time of guests is in `user` and `nice` already.
fn shares(before: &Times, after: &Times) -> Times {
    // Added in the order of Go, so that the sum has its last digit.
    let total = |times: &Times| {
        let [user, system, idle, interrupt, nice, softirq, steal, wait] = times;
        user + system + idle + nice + wait + interrupt + softirq + steal
    };
    let elapsed = total(after) - total(before);
    let mut shares = [0.0; 8];
    if elapsed > 0.0 {
        for (share, (after, before)) in shares.iter_mut().zip(after.iter().zip(before)) {
            *share = (after - before) / elapsed;
        }
    }
    shares
}

/// CPUs as the scheduler sees them.
pub(super) fn logical_count(host: &mut Host<'_>) -> Result<i64, String> {
    let info = host.text(&host.proc("cpuinfo")).unwrap_or_default().to_lowercase();
    let is_processor = |line: &&str| {
        let value = line.split_once(':').map_or(*line, |(_, value)| value).trim();
        line.starts_with("processor") && parse_int(value).is_ok_and(|n| i32::try_from(n).is_ok())
    };
    let count = lines(&info).filter(is_processor).count();
    if count > 0 {
        return Ok(count as i64);
    }
    let stat = host.text(&host.proc("stat"))?;
    let is_cpu =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    Ok(lines(&stat).filter(is_cpu).count() as i64)
}

/// Cores: threads of one core share a list of siblings.
fn physical_count(host: &mut Host<'_>) -> Result<i64, String> {
    let dir = host.sys("devices/system/cpu");
    let entries = host.entries(&dir).unwrap_or_default();
    let is_cpu = |name: &str| name.strip_prefix("cpu").is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()));
    let cpus: Vec<&str> = entries.iter().filter_map(|entry| entry.name.to_str()).filter(|name| is_cpu(name)).collect();
    for list in ["core_cpus_list", "thread_siblings_list"] {
        let mut cores = BTreeSet::new();
        for cpu in &cpus {
            if let Ok(text) = host.text(&format!("{dir}/{cpu}/topology/{list}"))
                && lines(&text).count() == 1
            {
                cores.insert(text);
            }
        }
        if !cores.is_empty() {
            return Ok(cores.len() as i64);
        }
    }
    let info = host.text(&host.proc("cpuinfo"))?.to_lowercase();
    let mut packages = BTreeMap::new();
    let (mut id, mut cores) = (None, None);
    for line in lines(&info).map(str::trim) {
        if line.is_empty() {
            if let (Some(id), Some(cores)) = (id.take(), cores.take()) {
                packages.insert(id, cores);
            }
            (id, cores) = (None, None);
            continue;
        }
        let Some((key, value)) = line.split_once(':') else { continue };
        match (key.trim(), parse_int(value.trim())) {
            ("physical id", Ok(value)) => id = Some(value),
            ("cpu cores", Ok(value)) => cores = Some(value),
            _ => {}
        }
    }
    Ok(packages.values().fold(0, |sum: i64, cores| sum.saturating_add(*cores)))
}

/// The number and the frequency in MHz of each CPU; zero where the machine does not say it.
fn parse_frequencies(info: &str) -> Vec<(i64, f64)> {
    let mut found = Vec::new();
    for line in lines(info) {
        let Some((key, value)) = line.split_once(':') else { continue };
        match key.trim() {
            "processor" => found.extend(parse_int(value.trim()).ok().map(|cpu| (cpu, 0.0))),
            "cpu MHz" => {
                if let (Some((_, frequency)), Ok(value)) = (found.last_mut(), parse_float(value.trim())) {
                    *frequency = value;
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_the_time_between_two_scrapes() {
        let stat = |user: u32, idle: u32| format!("cpu  1 1 1 1 1 1 1 1 1 1\ncpu0 {user} 0 0 {idle} 0 0 0 0 0 0\n");
        let times = |user, idle| parse_stat(&stat(user, idle)).remove(0).1;
        assert_eq!(shares(&times(100, 100), &times(400, 200)), [0.75, 0.0, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(shares(&times(100, 100), &times(100, 100)), [0.0; 8]);
        assert_eq!(shares(&times(100, 100), &times(0, 0)), [0.0; 8]);
    }

    #[test]
    fn lines_of_another_form_are_left_out() {
        let found =
            parse_stat("cpu  1 2\ncpu0 1 2 3\ncpu1 1 2 3 4 5 6 x 8\ncpu2 1 2 3 4 5 6 7\nintr 1\ncpu3 1 2 3 4 5 6 7\n");
        assert_eq!(found.iter().map(|(cpu, _)| cpu.as_str()).collect::<Vec<_>>(), ["cpu2"]);
    }
}
