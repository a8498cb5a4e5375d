//! `paging`: `/proc/swaps` and `/proc/vmstat`.

use super::{ScrapeErrors, Scraper};
use crate::config::{PagingConfig, PagingMetric};
use crate::host::{Host, lines};
use crate::numbers::parse_uint;
use otelcore_scraped_metrics::Recorder;

const FAILED_USAGE: usize = 2;
const FAILED_OPERATIONS: usize = 2;

/// What the Go collector multiplies every count of `/proc/vmstat` with, pages or not.
const BYTES_PER_COUNT: u64 = 4096;

/// A swap file or partition.
#[derive(Debug, PartialEq, Eq)]
struct SwapDevice {
    name: String,
    used: u64,
    total: u64,
}

#[derive(Debug)]
pub(super) struct PagingScraper {
    recorder: Recorder,
}

impl PagingScraper {
    pub(super) fn new(config: &PagingConfig) -> Self {
        Self { recorder: super::recorder("pagingscraper", config.metrics.settings()) }
    }

    fn scrape_usage(&mut self, host: &mut Host<'_>) -> Result<(), String> {
        let path = host.proc("swaps");
        let text = host.text(&path)?;
        for device in parse_swaps(&text, &path)? {
            let free = device.total.wrapping_sub(device.used);
            for (state, bytes) in [("used", device.used), ("free", free)] {
                let attributes = [device.name.as_str(), state];
                self.recorder.uint(PagingMetric::Usage, host.now, bytes, &attributes);
                let share = bytes as f64 / device.total as f64;
                self.recorder.double(PagingMetric::Utilization, host.now, share, &attributes);
            }
        }
        Ok(())
    }

    fn scrape_operations(&mut self, host: &mut Host<'_>) -> Result<(), String> {
        let path = host.proc("vmstat");
        let text = host.text(&path).map_err(|e| format!("couldn't read {path}: {e}"))?;
        let count = |key: &str| {
            let value = |line: &str| {
                let (name, value) = line.split_once(char::is_whitespace)?;
                (name == key).then(|| parse_uint(value.split_whitespace().next()?).ok()).flatten()
            };
            lines(&text).filter_map(value).last().unwrap_or(0).wrapping_mul(BYTES_PER_COUNT)
        };
        let operations = [
            ("pswpin", "page_in", "major"),
            ("pswpout", "page_out", "major"),
            ("pgpgin", "page_in", "minor"),
            ("pgpgout", "page_out", "minor"),
        ];
        for (key, direction, kind) in operations {
            self.recorder.uint(PagingMetric::Operations, host.now, count(key), &[direction, kind]);
        }
        let (faults, major) = (count("pgfault"), count("pgmajfault"));
        self.recorder.uint(PagingMetric::Faults, host.now, major, &["major"]);
        self.recorder.uint(PagingMetric::Faults, host.now, faults.wrapping_sub(major), &["minor"]);
        Ok(())
    }
}

impl Scraper for PagingScraper {
    const NAME: &'static str = "paging";

    fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    fn scrape(&mut self, host: &mut Host<'_>) -> Result<ScrapeErrors, ScrapeErrors> {
        let mut errors = ScrapeErrors::default();
        if let Err(e) = self.scrape_usage(host) {
            errors.add(FAILED_USAGE, format!("failed to read page file stats: {e}"));
        }
        if let Err(e) = self.scrape_operations(host) {
            errors.add(FAILED_OPERATIONS, format!("failed to read swap info: {e}"));
        }
        Ok(errors)
    }
}

/// # Errors
/// The file has another form.
fn parse_swaps(text: &str, path: &str) -> Result<Vec<SwapDevice>, String> {
    let mut lines = lines(text);
    let header = lines.next().ok_or_else(|| format!("unexpected end-of-file in {path:?}"))?;
    let header: Vec<&str> = header.split_whitespace().collect();
    if header.len() < 4 {
        let found = header.join(" ");
        return Err(format!("couldn't parse {path:?}: expected ≥4 fields in header but got [{found}]"));
    }
    for (column, expected) in [(0, "Filename"), (2, "Size"), (3, "Used")] {
        let found = header.get(column).copied().unwrap_or_default();
        if found != expected {
            return Err(format!("couldn't parse {path:?}: expected {found:?} to be {expected:?}"));
        }
    }
    let mut devices = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, _, total, used, ..] = fields.as_slice() else {
            let found = fields.join(" ");
            return Err(format!("couldn't parse {path:?}: expected ≥4 fields in row but got [{found}]"));
        };
        let number = |column: &str, text: &str| {
            let parsed = parse_uint(text).map_err(|e| format!("couldn't parse '{column}' column in {path:?}: {e}"));
            parsed.map(|kilobytes| kilobytes.wrapping_mul(1024))
        };
        let (total, used) = (number("Size", total)?, number("Used", used)?);
        devices.push(SwapDevice { name: (*name).to_owned(), used, total });
    }
    Ok(devices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_devices_are_read_and_other_forms_are_errors() {
        let header = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        let row = "/dev/dm-2 partition 67022844 490788 -2\n";
        let expected = SwapDevice { name: "/dev/dm-2".to_owned(), used: 490_788 * 1024, total: 67_022_844 * 1024 };
        assert_eq!(parse_swaps(&format!("{header}{row}"), "/proc/swaps"), Ok(vec![expected]));
        let errors = [
            ("", "unexpected end-of-file in \"/proc/swaps\""),
            ("Filename Type", "couldn't parse \"/proc/swaps\": expected ≥4 fields in header but got [Filename Type]"),
            ("Name Type Size Used", "couldn't parse \"/proc/swaps\": expected \"Name\" to be \"Filename\""),
            (
                "Filename Type Size Used\nx y z 1\n",
                "couldn't parse 'Size' column in \"/proc/swaps\": strconv.ParseUint: parsing \"z\": invalid syntax",
            ),
            ("Filename Type Size Used\nx\n", "couldn't parse \"/proc/swaps\": expected ≥4 fields in row but got [x]"),
        ];
        for (text, error) in errors {
            assert_eq!(parse_swaps(text, "/proc/swaps"), Err(error.to_owned()));
        }
    }
}
