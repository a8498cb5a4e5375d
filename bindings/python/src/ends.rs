//! Inputs, outputs and batches: telemetry into and out of the collector.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use otelcore::inproc::{self, Finish, NoBatch};
use otelcore::pdata::Signal;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

use crate::errors::{self, Class, of_refused};
use crate::process::{Own, duration, outside, wait};

/// A signal by its name.
pub(crate) fn signal_of(name: &str) -> PyResult<Signal> {
    let known = [Signal::Traces, Signal::Metrics, Signal::Logs].into_iter().find(|signal| signal.name() == name);
    known.ok_or_else(|| pyo3::exceptions::PyValueError::new_err("a signal is 'traces', 'metrics' or 'logs'"))
}

/// The input of an `inproc` receiver. Any thread may use it.
#[pyclass(frozen, module = "otelcore._otelcore")]
pub(crate) struct Input {
    id: String,
    inner: Own<inproc::Input>,
}

impl Input {
    pub(crate) fn new(id: &str, inner: inproc::Input) -> Self {
        Self { id: id.to_owned(), inner: Own::new(inner) }
    }

    fn put(&self, signal: Signal, otlp: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = otlp.py();
        let input = self.inner.get()?;
        let copy;
        // `bytes` can't change, and so can be read without the GIL; anything else is copied first.
        let bytes = match otlp.cast::<PyBytes>() {
            Ok(bytes) => bytes,
            Err(_) => {
                copy = PyMemoryView::from(otlp)?.call_method0("tobytes")?.cast_into::<PyBytes>()?;
                &copy
            }
        };
        let body = bytes.as_bytes();
        outside(py, || input.submit(signal, body)).map_err(|e| of_refused(py, &e))
    }
}

#[pymethods]
impl Input {
    /// The receiver's id.
    #[getter]
    fn id(&self) -> &str {
        &self.id
    }

    /// Takes an `ExportTraceServiceRequest` in protobuf. Never waits.
    fn submit_traces(&self, otlp: &Bound<'_, PyAny>) -> PyResult<()> {
        self.put(Signal::Traces, otlp)
    }

    /// Takes an `ExportMetricsServiceRequest` in protobuf. Never waits.
    fn submit_metrics(&self, otlp: &Bound<'_, PyAny>) -> PyResult<()> {
        self.put(Signal::Metrics, otlp)
    }

    /// Takes an `ExportLogsServiceRequest` in protobuf. Never waits.
    fn submit_logs(&self, otlp: &Bound<'_, PyAny>) -> PyResult<()> {
        self.put(Signal::Logs, otlp)
    }

    /// The same, with the signal given by name.
    fn submit(&self, signal: &str, otlp: &Bound<'_, PyAny>) -> PyResult<()> {
        self.put(signal_of(signal)?, otlp)
    }

    fn __repr__(&self) -> String {
        format!("<otelcore.Input {}>", self.id)
    }
}

/// The output of an `inproc` exporter. Any thread may use it, and iterate over it; threads share its batches.
#[pyclass(frozen, module = "otelcore._otelcore")]
pub(crate) struct Output {
    id: String,
    inner: Own<inproc::Output>,
}

impl Output {
    pub(crate) fn new(id: &str, inner: inproc::Output) -> Self {
        Self { id: id.to_owned(), inner: Own::new(inner) }
    }

    /// A batch; `None` when the timeout has passed, and an error when the collector has ended.
    fn pull(&self, py: Python<'_>, timeout: Option<Duration>) -> PyResult<Result<Option<Batch>, ()>> {
        let output = self.inner.get()?;
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let came = wait(py, until, |slice| match output.next(Some(slice)) {
            Ok(batch) => Some(Some(batch)),
            Err(NoBatch::Closed) => Some(None),
            Err(_) => None,
        })?;
        Ok(match came {
            Some(Some(batch)) => Ok(Some(Batch::new(py, batch))),
            Some(None) => Err(()),
            None if timeout.is_some() => Ok(None),
            // Without a timeout, `None` means that the interpreter is exiting.
            None => Err(()),
        })
    }
}

#[pymethods]
impl Output {
    /// The exporter's id.
    #[getter]
    fn id(&self) -> &str {
        &self.id
    }

    /// The next batch, or `None` when the timeout has passed.
    #[pyo3(signature = (timeout=None))]
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Batch>> {
        let closed = || errors::new(Class::Closed, "the collector is closed, and every batch was taken");
        self.pull(py, duration(timeout)?)?.map_err(|()| closed())
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Batch>> {
        Ok(self.pull(py, None)?.unwrap_or(None))
    }

    fn __repr__(&self) -> String {
        format!("<otelcore.Output {}>", self.id)
    }
}

/// Telemetry from an exporter. A batch that is dropped without `ack` or `reject` is delivered again.
#[pyclass(frozen, module = "otelcore._otelcore")]
pub(crate) struct Batch {
    signal: Signal,
    data: Py<PyBytes>,
    open: Mutex<Option<Own<inproc::Batch>>>,
}

impl Batch {
    fn new(py: Python<'_>, batch: inproc::Batch) -> Self {
        let data = PyBytes::new(py, batch.data()).unbind();
        Self { signal: batch.signal(), data, open: Mutex::new(Some(Own::new(batch))) }
    }

    /// Only the first call has an effect.
    fn finish(&self, finish: Finish) -> PyResult<()> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(batch) = open {
            batch.take()?.finish(finish);
        }
        Ok(())
    }
}

#[pymethods]
impl Batch {
    /// `traces`, `metrics` or `logs`.
    #[getter]
    fn signal(&self) -> String {
        self.signal.to_string()
    }

    /// The `Export*ServiceRequest` in protobuf.
    #[getter]
    fn data(&self, py: Python<'_>) -> Py<PyBytes> {
        self.data.clone_ref(py)
    }

    /// Reports the batch as delivered.
    fn ack(&self) -> PyResult<()> {
        self.finish(Finish::Delivered)
    }

    /// Reports the batch as not delivered.
    #[pyo3(signature = (retryable=true, reason="", retry_after=None))]
    fn reject(&self, retryable: bool, reason: &str, retry_after: Option<f64>) -> PyResult<()> {
        let pause = duration(retry_after)?;
        self.finish(if retryable { Finish::Retry(pause) } else { Finish::Permanent(reason.to_owned()) })
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// Delivered if the block ended without an exception; otherwise it is delivered again.
    fn __exit__(
        &self,
        exception: Option<&Bound<'_, PyAny>>,
        _value: Option<&Bound<'_, PyAny>>,
        _trace: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.finish(if exception.is_some() { Finish::Retry(None) } else { Finish::Delivered })
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("<otelcore.Batch {}, {} bytes>", self.signal, self.data.bind(py).as_bytes().len())
    }
}
