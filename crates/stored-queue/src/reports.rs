//! What a queue on disk says: lines of the log, and its status.
//!
//! Owns which of them were said already. Decides nothing.

use std::path::{Path, PathBuf};

use otelcore_pipeline::{
    ConditionReport, ConditionReporter, LogField, Logger, MonotonicTime, PeriodicCount, StoredQueueStatus,
};
use otelcore_storage::{OpenError, Recovered, Trouble};

/// The lines of log and the status of one queue.
#[derive(Debug)]
pub(crate) struct Reports {
    log: Logger,
    directory: String,
    status: StoredQueueStatus,
    status_has_changed: bool,
    open_error: Option<OpenError>,
    trouble: ConditionReporter,
    read_errors: PeriodicCount,
    dead_is_full: PeriodicCount,
}

const REPORT_PERIOD: std::time::Duration = std::time::Duration::from_mins(1);

impl Reports {
    pub(crate) fn new(log: Logger, directory: &Path) -> Self {
        Self {
            log,
            directory: directory.display().to_string(),
            status: StoredQueueStatus::Starting,
            status_has_changed: true,
            open_error: None,
            trouble: ConditionReporter::default(),
            read_errors: PeriodicCount::new(REPORT_PERIOD),
            dead_is_full: PeriodicCount::new(REPORT_PERIOD),
        }
    }

    pub(crate) fn poll_status(&mut self) -> Option<StoredQueueStatus> {
        std::mem::take(&mut self.status_has_changed).then(|| self.status.clone())
    }

    fn set_status(&mut self, status: StoredQueueStatus) {
        self.status_has_changed |= self.status != status;
        self.status = status;
    }

    fn directory(&self) -> (&'static str, LogField<'_>) {
        ("directory", LogField::Str(&self.directory))
    }

    pub(crate) fn opened(&mut self, found: &Recovered) {
        self.open_error = None;
        self.set_status(StoredQueueStatus::Ok);
        let fields = [
            self.directory(),
            ("requests", LogField::Uint(found.records)),
            ("items", LogField::Uint(found.items)),
            ("bytes", LogField::Uint(found.bytes)),
        ];
        self.log.info("The queue on disk is open.", &fields);
    }

    /// Reports a failure to open, each reason once.
    pub(crate) fn open_failed(&mut self, error: &OpenError) {
        let text = error.to_string();
        self.set_status(StoredQueueStatus::RecoverableError(text.clone()));
        if self.open_error.as_ref() != Some(error) {
            let fields = [self.directory(), ("error", LogField::Str(&text))];
            self.log.error("The queue on disk can't be opened. Data is refused until it can.", &fields);
            self.open_error = Some(error.clone());
        }
    }

    pub(crate) fn recreated(&self, copy: &Path) {
        let copy = copy.display().to_string();
        let fields = [self.directory(), ("renamed_to", LogField::Str(&copy))];
        self.log.warn("The queue on disk could not be read. It is renamed, and an empty one is used.", &fields);
    }

    pub(crate) fn recreate_failed(&self, error: &str) {
        let fields = [self.directory(), ("error", LogField::Str(error))];
        self.log.error("The queue on disk can't be renamed.", &fields);
    }

    /// Reports that the disk does not take data, or takes it again.
    pub(crate) fn trouble(&mut self, now: MonotonicTime, trouble: Option<&Trouble>) {
        let text = trouble.map(ToString::to_string);
        self.set_status(text.clone().map_or(StoredQueueStatus::Ok, StoredQueueStatus::RecoverableError));
        match self.trouble.observe(now, text.is_some(), 0) {
            Some(ConditionReport::Began { .. }) => {
                let text = text.unwrap_or_default();
                let fields = [self.directory(), ("error", LogField::Str(&text))];
                self.log.error("The queue on disk takes no data now. It is refused, and senders try again.", &fields);
            }
            Some(ConditionReport::Ended { duration, .. }) => {
                let fields = [self.directory(), ("seconds", LogField::Float(duration.as_secs_f64()))];
                self.log.info("The queue on disk takes data again.", &fields);
            }
            None => {}
        }
    }

    pub(crate) fn quarantined(&self, records: u64, bytes: u64, copy: Option<&PathBuf>, segment: &Path) {
        let (copy, segment) = (copy.map(|copy| copy.display().to_string()), segment.display().to_string());
        let mut fields = vec![
            ("file", LogField::Str(&segment)),
            ("requests", LogField::Uint(records)),
            ("bytes", LogField::Uint(bytes)),
        ];
        if let Some(copy) = &copy {
            fields.push(("copy", LogField::Str(copy)));
        }
        self.log.error("A part of the queue on disk is damaged. It is skipped, and the rest is sent.", &fields);
    }

    pub(crate) fn torn_tail(&self, bytes: u64, segment: &Path) {
        let segment = segment.display().to_string();
        let fields = [("file", LogField::Str(&segment)), ("bytes", LogField::Uint(bytes))];
        self.log.info("The queue on disk ends with data that was not acknowledged, from before a crash.", &fields);
    }

    pub(crate) fn missing(&self, records: u64) {
        let fields = [self.directory(), ("requests", LogField::Uint(records))];
        self.log.error("Files of the queue on disk are missing. What was in them is lost.", &fields);
    }

    pub(crate) fn marks_damaged(&self) {
        self.log.warn("The list of what was delivered is damaged. Data may be sent again.", &[self.directory()]);
    }

    pub(crate) fn read_failed(&mut self, now: MonotonicTime, error: &str) {
        if let Some(count) = self.read_errors.add(now, 1) {
            let fields = [self.directory(), ("error", LogField::Str(error)), ("errors", LogField::Uint(count))];
            self.log.warn("The queue on disk can't be read. It is tried again.", &fields);
        }
    }

    /// Reports that what is given up can't be kept.
    pub(crate) fn dead_is_full(&mut self, now: MonotonicTime, items: u64, error: &str, reason: &str) {
        if let Some(items) = self.dead_is_full.add(now, items) {
            let fields = [
                self.directory(),
                ("error", LogField::Str(error)),
                ("reason", LogField::Str(reason)),
                ("dropped_items", LogField::Uint(items)),
            ];
            self.log.error("The folder `dead` takes no more. Dropping data that was given up.", &fields);
        }
    }
}
