//! Reads a body and adds its records to a table of streams.

use otelcore_net::LeftOutItems;
use otelcore_pdata::Rope;
use otelcore_pdata::views::{LogRecord, Resource, ResourceLogs, Scope, resource_entries};

use crate::hints::{DefaultLabels, RecordLabels, format_of};
use crate::line::{Context, LineFormat, LineWriter};
use crate::streams::StreamTable;

/// The request would have more bytes than are allowed.
#[derive(Debug)]
pub(crate) struct TooLong;

/// Translates a body. `now` is the time of records without one, in nanoseconds since the epoch.
///
/// # Errors
/// [`TooLong`] once the request has more than `limit` bytes.
pub(crate) fn translate(
    defaults: DefaultLabels,
    body: &Rope,
    now: u64,
    limit: usize,
) -> Result<(StreamTable, Option<LeftOutItems>), TooLong> {
    let mut translation = Translation { defaults, now, ..Translation::default() };
    for entry in resource_entries::<ResourceLogs<'_>>(body) {
        for scope in entry.scope_logs() {
            for record in scope.log_records() {
                if let Err(reason) = translation.add(&entry.resource, &scope.scope, &record) {
                    translation.left_out.get_or_insert(LeftOutItems { count: 0, reason }).count += 1;
                }
                if translation.streams.encoded_len() > limit {
                    return Err(TooLong);
                }
            }
        }
    }
    Ok((translation.streams, translation.left_out))
}

#[derive(Default)]
struct Translation {
    defaults: DefaultLabels,
    now: u64,
    streams: StreamTable,
    left_out: Option<LeftOutItems>,
    labels: RecordLabels,
    lines: LineWriter,
    line: Vec<u8>,
    label_text: Vec<u8>,
}

impl Translation {
    fn add(&mut self, resource: &Resource<'_>, scope: &Scope<'_>, record: &LogRecord<'_>) -> Result<(), &'static str> {
        let (resource, attributes) = (resource.attributes(), record.attributes());
        let format = LineFormat::parse(format_of(resource, attributes))?;
        self.labels.collect(self.defaults, resource, attributes, record.severity_number)?;
        self.line.clear();
        let context = Context { resource, scope, labels: &self.labels };
        self.lines.write(&mut self.line, format, record, context)?;
        self.label_text.clear();
        self.labels.write(&mut self.label_text);
        let time = match (record.time_unix_nano, record.observed_time_unix_nano) {
            (0, 0) => self.now,
            (0, observed) => observed,
            (time, _) => time,
        };
        self.streams.add(&self.label_text, time, &self.line);
        Ok(())
    }
}
