//! `queue ls`: a line about each queue, from the headers of its files and its first record.
//!
//! Owns nothing.

use otelcore_pdata::Signal;
use otelcore_pipeline::ComponentKind;
use otelcore_reactor::with_files;
use otelcore_storage::Record;

use super::find::{FoundQueue, OpenQueue};
use super::{READ_BYTES, signal_of};
use crate::commands::{Terminal, print_error};
use crate::registry::Registry;

const COLUMNS: [&str; 10] =
    ["EXPORTER", "SIGNAL", "REQUESTS", "ITEMS", "BYTES", "OLDEST", "DISK", "QUARANTINED", "DEAD", "QUEUE"];

/// Prints the table. 1 where a queue can't be read.
pub(super) fn list(queues: &[FoundQueue], registry: &Registry, terminal: &mut Terminal<'_>) -> u8 {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    let mut code = 0;
    for queue in queues {
        match row(queue, registry) {
            Ok((row, is_in_use)) => {
                rows.push(row);
                if is_in_use {
                    let path = queue.path.display();
                    let _ = writeln!(terminal.err, "{path}: a collector uses this queue; its numbers change meanwhile");
                }
            }
            Err(e) => code = print_error(terminal, &e),
        }
    }
    let mut widths = [0; COLUMNS.len()];
    for row in &rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.chars().count().max(*width));
    }
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(terminal.out, "{}", cells.join("  ").trim_end());
    }
    code
}

fn row(queue: &FoundQueue, registry: &Registry) -> Result<([String; COLUMNS.len()], bool), String> {
    let (mut open, is_in_use) = OpenQueue::open_shared(queue)?;
    let sizes = with_files(|files| Ok((open.reader.bytes_on_disk(files)?, open.reader.quarantined_bytes(files)?)));
    let (disk, quarantined) = sizes.map_err(|e: std::io::Error| e.to_string())?;
    let (mut requests, mut items, mut bytes, mut is_estimate) = (0_u64, 0_u64, 0_u64, false);
    for segment in open.reader.segments() {
        let all = segment.sequences.end.saturating_sub(segment.sequences.start);
        let part = |whole: u64| {
            let part = u128::from(whole) * u128::from(segment.undelivered) / u128::from(all.max(1));
            u64::try_from(part).unwrap_or(u64::MAX)
        };
        is_estimate |= segment.undelivered > 0 && segment.undelivered < all;
        requests = requests.saturating_add(segment.undelivered);
        items = items.saturating_add(part(segment.items));
        bytes = bytes.saturating_add(part(segment.bytes));
    }
    let first = if requests > 0 { first_undelivered(&mut open)? } else { None };
    let named = exporter_and_signal(&queue.name, registry);
    let signal = first.as_ref().and_then(signal_of).or_else(|| named.as_ref().map(|(_, signal)| *signal));
    let now = otelcore_reactor::unix_time_nanos();
    let about = if is_estimate { "~" } else { "" };
    let row = [
        named.map_or_else(|| "-".to_owned(), |(exporter, _)| exporter),
        signal.map_or("-", Signal::name).to_owned(),
        requests.to_string(),
        format!("{about}{items}"),
        format!("{about}{bytes}"),
        first.map_or_else(|| "-".to_owned(), |record| age(now.saturating_sub(record.meta.time.0))),
        disk.to_string(),
        quarantined.to_string(),
        open.reader.dead_bytes().to_string(),
        queue.name.clone(),
    ];
    Ok((row, is_in_use))
}

/// The oldest record that is not delivered. Reads what was delivered before it, which is one segment as a rule.
fn first_undelivered(open: &mut OpenQueue) -> Result<Option<Record>, String> {
    let reader = &mut open.reader;
    while let Some(step) = with_files(|files| reader.read(files, READ_BYTES)).map_err(|e| e.to_string())? {
        let first = step.records.into_iter().find(|record| !reader.is_delivered(record.sequence));
        if first.is_some() {
            return Ok(first);
        }
    }
    Ok(None)
}

/// `3d`, `4h`, `5m` or `6s`: the largest unit.
fn age(nanos: u64) -> String {
    let seconds = nanos / 1_000_000_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The id of the exporter and the signal, from a name such as `exporter_otlp_http_eu_traces.queue`. Names of types have
/// underscores too: the longest one that is known is taken.
fn exporter_and_signal(name: &str, registry: &Registry) -> Option<(String, Signal)> {
    let (name, _) = name.strip_prefix("exporter_")?.rsplit_once(".queue")?;
    let (id, signal) = name.rsplit_once('_')?;
    let signal = Signal::ALL.into_iter().find(|known| known.name() == signal)?;
    let factories = registry.all_of_kind(ComponentKind::Exporter);
    let names = factories.iter().flat_map(|factory| {
        let info = factory.info();
        info.aliases.iter().copied().chain([info.type_name])
    });
    let parts = names.filter_map(|ty| Some((ty, id.strip_prefix(ty)?.strip_prefix('_')?)));
    let (ty, rest) = parts.max_by_key(|(ty, _)| ty.len())?;
    let id = if rest.is_empty() { ty.to_owned() } else { format!("{ty}/{}", unescape(rest)) };
    Some((id, signal))
}

/// Replaces a tilde and four or more hexadecimal digits by the character of that number.
fn unescape(name: &str) -> String {
    let mut parts = name.split('~');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let character = part.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok()).and_then(char::from_u32);
        match (character, part.get(4..)) {
            (Some(character), Some(rest)) => {
                text.push(character);
                text.push_str(rest);
            }
            _ => {
                text.push('~');
                text.push_str(part);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exporter_and_signal_are_read_from_the_name_of_the_directory() {
        let registry = Registry::default();
        for (name, exporter) in [
            ("exporter_otlp__traces.queue", Some(("otlp", Signal::Traces))),
            ("exporter_otlp_http__logs.queue", Some(("otlp_http", Signal::Logs))),
            ("exporter_otlp_http_eu_west_metrics.queue", Some(("otlp_http/eu_west", Signal::Metrics))),
            ("exporter_otlp_a~002Fb_traces.queue.17.backup", Some(("otlp/a/b", Signal::Traces))),
            ("exporter_unknown__traces.queue", None),
            ("exporter_otlp__traces", None),
            ("log", None),
        ] {
            let expected = exporter.map(|(id, signal)| (id.to_owned(), signal));
            assert_eq!(exporter_and_signal(name, &registry), expected, "{name}");
        }
        assert_eq!(unescape("~00FC~zz~"), "ü~zz~");
    }

    #[test]
    fn age_has_the_largest_unit() {
        let seconds = [0, 59, 60, 3599, 7200, 200_000];
        assert_eq!(seconds.map(|s| age(s * 1_000_000_000)), ["0s", "59s", "1m", "59m", "2h", "2d"]);
    }
}
