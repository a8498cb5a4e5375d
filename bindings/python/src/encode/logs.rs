//! Log records.

use otelcore::pdata::build::{Body, LogRecordWriter};
use pyo3::intern;
use pyo3::prelude::*;

use super::groups::Groups;
use super::traces::schema_url;
use super::{Encoder, nested, number_or_zero, scalar, span_id, text, trace_id};

/// A first guess of a record's size.
const RECORD_BYTES: usize = 256;

impl<'py> Encoder<'py> {
    /// The `ExportLogsServiceRequest` of a sequence of `ReadableLogRecord`.
    pub(super) fn log_records(&mut self, records: &Bound<'py, PyAny>) -> PyResult<Body> {
        let (records, groups) = Groups::of(records)?;
        let mut body = Body::with_capacity(records.len() * RECORD_BYTES);
        for group in groups {
            let mut entry = body.resource_logs();
            self.resource(&group.resource, &mut entry.resource())?;
            for group in group.scopes {
                let mut scope_logs = entry.scope_logs();
                self.scope(&group.scope, &mut scope_logs.scope())?;
                for record in group.positions.iter().filter_map(|position| records.get(*position)) {
                    self.log_record(record, &mut scope_logs.log_record())?;
                }
                scope_logs.schema_url(text(&schema_url(&group.scope)?)?.as_bytes());
            }
            entry.schema_url(text(&schema_url(&group.resource)?)?.as_bytes());
        }
        Ok(body)
    }

    fn log_record(&mut self, readable: &Bound<'py, PyAny>, out: &mut LogRecordWriter<'_>) -> PyResult<()> {
        let py = readable.py();
        let record = readable.getattr(intern!(py, "log_record"))?;
        out.time_unix_nano(number_or_zero(&record.getattr(intern!(py, "timestamp"))?)?);
        out.observed_time_unix_nano(number_or_zero(&record.getattr(intern!(py, "observed_timestamp"))?)?);
        // Ids of zero stand for none.
        let (trace, span) = (record.getattr(intern!(py, "trace_id"))?, record.getattr(intern!(py, "span_id"))?);
        if trace.is_truthy()? {
            out.trace_id(&trace_id(&trace)?);
        }
        if span.is_truthy()? {
            out.span_id(&span_id(&span)?);
        }
        out.flags(record.getattr(intern!(py, "trace_flags"))?.extract()?);
        let severity = record.getattr(intern!(py, "severity_number"))?;
        if !severity.is_none() {
            out.severity_number(self.enums.get(&severity)?);
        }
        out.severity_text(text(&record.getattr(intern!(py, "severity_text"))?)?.as_bytes());
        out.event_name(text(&record.getattr(intern!(py, "event_name"))?)?.as_bytes());
        let body = record.getattr(intern!(py, "body"))?;
        match scalar(&body)? {
            Some(value) => out.body(value.view()),
            None => out.body_value(&nested(&body, 1)?),
        };
        self.attributes(&record.getattr(intern!(py, "attributes"))?, &mut out.attributes())?;
        out.dropped_attributes_count(readable.getattr(intern!(py, "dropped_attributes"))?.extract()?);
        Ok(())
    }
}
