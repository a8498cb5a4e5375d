//! The collector's log for Python's `logging`: a bounded queue, and a pipe that is readable while the queue is not
//! empty. The collector's thread appends and never waits; a Python thread takes the records out.

use std::collections::VecDeque;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use otelcore::pipeline::{Field, Level, LogSink, Record};
use otelcore::reactor::Tracked;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::process::Own;

/// The largest number of queued records; further ones are counted and dropped.
const CAPACITY: usize = 1000;

enum Value {
    Str(String),
    Int(i64),
    Uint(u64),
    Float(f64),
    Bool(bool),
}

struct Line {
    level: Level,
    message: String,
    fields: Vec<(String, Value)>,
}

struct Queue {
    lines: VecDeque<Line>,
    lost: u64,
    /// One byte is in the pipe.
    signalled: bool,
    closed: bool,
    reader: Tracked<PipeReader>,
    writer: Tracked<PipeWriter>,
}

impl Queue {
    fn signal(&mut self) {
        if !self.signalled {
            self.signalled = self.writer.write_all(b"!").is_ok();
        }
    }
}

/// The end of the queue that the collector writes to.
pub(crate) struct Sink {
    queue: Mutex<Queue>,
    /// The lowest Python log level that is accepted.
    wanted: AtomicU8,
}

impl Sink {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn number(level: Level) -> u8 {
    match level {
        Level::Debug => 10,
        Level::Info => 20,
        Level::Warn => 30,
        Level::Error => 40,
    }
}

impl LogSink for Sink {
    fn enabled(&self, level: Level) -> bool {
        number(level) >= self.wanted.load(Ordering::Relaxed)
    }

    fn log(&self, record: &Record<'_>) {
        let mut fields = Vec::with_capacity(record.fields.len() + 1);
        let scope = record.scope;
        if !scope.kind.is_empty() {
            fields.push((scope.kind.to_owned(), Value::Str(scope.id.clone())));
        }
        for (key, value) in record.fields {
            let value = match value {
                Field::Str(s) => Value::Str((*s).to_owned()),
                Field::Int(n) => Value::Int(*n),
                Field::Uint(n) => Value::Uint(*n),
                Field::Float(x) => Value::Float(*x),
                Field::Bool(b) => Value::Bool(*b),
            };
            fields.push(((*key).to_owned(), value));
        }
        let mut queue = self.queue();
        if queue.lines.len() < CAPACITY {
            queue.lines.push_back(Line { level: record.level, message: record.message.to_owned(), fields });
        } else {
            queue.lost += 1;
        }
        queue.signal();
    }
}

/// One line for Python: level, message, fields.
type Told<'py> = (u8, String, Bound<'py, PyDict>);

/// A collector's log, from which Python pulls records.
#[pyclass(frozen, module = "otelcore._otelcore")]
pub(crate) struct LogQueue(Own<Arc<Sink>>);

impl LogQueue {
    pub(crate) fn sink(&self) -> PyResult<Arc<Sink>> {
        self.0.get().cloned()
    }
}

#[pymethods]
impl LogQueue {
    #[new]
    fn new(level: u8) -> PyResult<Self> {
        let (reader, writer) = pipe()?;
        let (reader, writer) = (Tracked::new(reader), Tracked::new(writer));
        let queue = Queue { lines: VecDeque::new(), lost: 0, signalled: false, closed: false, reader, writer };
        Ok(Self(Own::new(Arc::new(Sink { queue: Mutex::new(queue), wanted: AtomicU8::new(level) }))))
    }

    /// The descriptor that is readable while there are records to take.
    fn fileno(&self) -> PyResult<i32> {
        Ok(self.0.get()?.queue().reader.as_raw_fd())
    }

    /// Sets the lowest Python log level that is accepted.
    fn set_level(&self, level: u8) -> PyResult<()> {
        self.0.get()?.wanted.store(level, Ordering::Relaxed);
        Ok(())
    }

    /// Takes all queued records; also returns how many were lost, and whether the queue is closed.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<(Vec<Told<'py>>, u64, bool)> {
        let (lines, lost, closed) = {
            let mut queue = self.0.get()?.queue();
            if std::mem::take(&mut queue.signalled) {
                // The pipe has a byte, so this does not wait.
                let _ = queue.reader.read(&mut [0; 1]);
            }
            (std::mem::take(&mut queue.lines), std::mem::take(&mut queue.lost), queue.closed)
        };
        let told = lines.into_iter().map(|line| {
            let fields = PyDict::new(py);
            for (key, value) in line.fields {
                match value {
                    Value::Str(s) => fields.set_item(key, s)?,
                    Value::Int(n) => fields.set_item(key, n)?,
                    Value::Uint(n) => fields.set_item(key, n)?,
                    Value::Float(x) => fields.set_item(key, x)?,
                    Value::Bool(b) => fields.set_item(key, b)?,
                }
            }
            Ok((number(line.level), line.message, fields))
        });
        Ok((told.collect::<PyResult<_>>()?, lost, closed))
    }

    /// Wakes the thread that waits for the descriptor, for the last time.
    fn close(&self) -> PyResult<()> {
        let mut queue = self.0.get()?.queue();
        queue.closed = true;
        queue.signal();
        Ok(())
    }
}
