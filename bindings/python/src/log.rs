//! The collector's log for Python's `logging`: a bounded queue, and a pipe that is readable while the queue is not
//! empty. The collector's thread appends and never waits; a Python thread takes the records out.

use std::collections::VecDeque;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use otelcore::pipeline::{LogEntry, LogField, LogLevel, LogSink};
use otelcore::reactor::TrackedFd;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::process::ProcessOwned;

/// The largest number of queued records; further ones are counted and dropped.
const CAPACITY: usize = 1000;

enum FieldValue {
    Str(String),
    Int(i64),
    Uint(u64),
    Float(f64),
    Bool(bool),
}

struct QueuedRecord {
    level: LogLevel,
    message: String,
    fields: Vec<(String, FieldValue)>,
}

struct RecordQueue {
    records: VecDeque<QueuedRecord>,
    lost: u64,
    /// One byte is in the pipe.
    has_pipe_byte: bool,
    closed: bool,
    reader: TrackedFd<PipeReader>,
    writer: TrackedFd<PipeWriter>,
}

impl RecordQueue {
    fn signal_reader(&mut self) {
        if !self.has_pipe_byte {
            self.has_pipe_byte = self.writer.write_all(b"!").is_ok();
        }
    }
}

/// The end of the queue that the collector writes to.
pub(crate) struct QueueSink {
    queue: Mutex<RecordQueue>,
    /// The lowest Python log level that is accepted.
    min_level: AtomicU8,
}

impl QueueSink {
    fn queue(&self) -> MutexGuard<'_, RecordQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn python_level(level: LogLevel) -> u8 {
    match level {
        LogLevel::Debug => 10,
        LogLevel::Info => 20,
        LogLevel::Warn => 30,
        LogLevel::Error => 40,
    }
}

impl LogSink for QueueSink {
    fn enabled(&self, level: LogLevel) -> bool {
        python_level(level) >= self.min_level.load(Ordering::Relaxed)
    }

    fn log(&self, record: &LogEntry<'_>) {
        let mut fields = Vec::with_capacity(record.fields.len() + 1);
        let scope = record.scope;
        if !scope.kind.is_empty() {
            fields.push((scope.kind.to_owned(), FieldValue::Str(scope.id.clone())));
        }
        for (key, value) in record.fields {
            let value = match value {
                LogField::Str(s) => FieldValue::Str((*s).to_owned()),
                LogField::Int(n) => FieldValue::Int(*n),
                LogField::Uint(n) => FieldValue::Uint(*n),
                LogField::Float(x) => FieldValue::Float(*x),
                LogField::Bool(b) => FieldValue::Bool(*b),
            };
            fields.push(((*key).to_owned(), value));
        }
        let mut queue = self.queue();
        if queue.records.len() < CAPACITY {
            queue.records.push_back(QueuedRecord { level: record.level, message: record.message.to_owned(), fields });
        } else {
            queue.lost += 1;
        }
        queue.signal_reader();
    }
}

/// One line for Python: level, message, fields.
type PyRecord<'py> = (u8, String, Bound<'py, PyDict>);

/// A collector's log, from which Python pulls records.
#[pyclass(frozen, module = "otelcore._otelcore")]
pub(crate) struct LogQueue(ProcessOwned<Arc<QueueSink>>);

impl LogQueue {
    pub(crate) fn sink(&self) -> PyResult<Arc<QueueSink>> {
        self.0.get().cloned()
    }
}

#[pymethods]
impl LogQueue {
    #[new]
    fn new(level: u8) -> PyResult<Self> {
        let (reader, writer) = pipe()?;
        let (reader, writer) = (TrackedFd::new(reader), TrackedFd::new(writer));
        let queue =
            RecordQueue { records: VecDeque::new(), lost: 0, has_pipe_byte: false, closed: false, reader, writer };
        Ok(Self(ProcessOwned::new(Arc::new(QueueSink { queue: Mutex::new(queue), min_level: AtomicU8::new(level) }))))
    }

    /// The descriptor that is readable while there are records to take.
    fn fileno(&self) -> PyResult<i32> {
        Ok(self.0.get()?.queue().reader.as_raw_fd())
    }

    /// Sets the lowest Python log level that is accepted.
    fn set_level(&self, level: u8) -> PyResult<()> {
        self.0.get()?.min_level.store(level, Ordering::Relaxed);
        Ok(())
    }

    /// Takes all queued records; also returns how many were lost, and whether the queue is closed.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<(Vec<PyRecord<'py>>, u64, bool)> {
        let (records, lost, closed) = {
            let mut queue = self.0.get()?.queue();
            if std::mem::take(&mut queue.has_pipe_byte) {
                // The pipe has a byte, so this does not wait.
                let _ = queue.reader.read(&mut [0; 1]);
            }
            (std::mem::take(&mut queue.records), std::mem::take(&mut queue.lost), queue.closed)
        };
        let py_records = records.into_iter().map(|record| {
            let fields = PyDict::new(py);
            for (key, value) in record.fields {
                match value {
                    FieldValue::Str(s) => fields.set_item(key, s)?,
                    FieldValue::Int(n) => fields.set_item(key, n)?,
                    FieldValue::Uint(n) => fields.set_item(key, n)?,
                    FieldValue::Float(x) => fields.set_item(key, x)?,
                    FieldValue::Bool(b) => fields.set_item(key, b)?,
                }
            }
            Ok((python_level(record.level), record.message, fields))
        });
        Ok((py_records.collect::<PyResult<_>>()?, lost, closed))
    }

    /// Wakes the thread that waits for the descriptor, for the last time.
    fn close(&self) -> PyResult<()> {
        let mut queue = self.0.get()?.queue();
        queue.closed = true;
        queue.signal_reader();
        Ok(())
    }
}
