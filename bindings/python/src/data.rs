//! Inputs, outputs and batches: telemetry into and out of the collector.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use otelcore::inproc::{self, BatchResult};
use otelcore::pdata::Signal;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

use crate::encode::Request;
use crate::errors::{self, ExceptionClass, from_submit_error};
use crate::process::{ProcessOwned, duration, wait_for_next, without_gil};

/// A signal by its name.
pub(crate) fn signal_of(name: &str) -> PyResult<Signal> {
    let known = [Signal::Traces, Signal::Metrics, Signal::Logs].into_iter().find(|signal| signal.name() == name);
    known.ok_or_else(|| pyo3::exceptions::PyValueError::new_err("a signal is 'traces', 'metrics' or 'logs'"))
}

/// The bytes of an object that has some. `bytes` can't change, and so can be read without the GIL; anything else is
/// copied.
pub(crate) fn bytes_of<'py>(otlp: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    match otlp.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.clone()),
        Err(_) => Ok(PyMemoryView::from(otlp)?.call_method0("tobytes")?.cast_into::<PyBytes>()?),
    }
}

/// The input of an `inproc` receiver. Any thread may use it.
#[pyclass(frozen, module = "otelcore._otelcore")]
pub(crate) struct Input {
    id: String,
    inner: ProcessOwned<inproc::Input>,
}

impl Input {
    pub(crate) fn new(id: &str, inner: inproc::Input) -> Self {
        Self { id: id.to_owned(), inner: ProcessOwned::new(inner) }
    }

    fn submit_bytes(&self, signal: Signal, otlp: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = otlp.py();
        let input = self.inner.get()?;
        let bytes = bytes_of(otlp)?;
        let body = bytes.as_bytes();
        without_gil(py, || input.submit(signal, body)).map_err(|e| from_submit_error(py, &e))
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
        self.submit_bytes(Signal::Traces, otlp)
    }

    /// Takes an `ExportMetricsServiceRequest` in protobuf. Never waits.
    fn submit_metrics(&self, otlp: &Bound<'_, PyAny>) -> PyResult<()> {
        self.submit_bytes(Signal::Metrics, otlp)
    }

    /// Takes an `ExportLogsServiceRequest` in protobuf. Never waits.
    fn submit_logs(&self, otlp: &Bound<'_, PyAny>) -> PyResult<()> {
        self.submit_bytes(Signal::Logs, otlp)
    }

    /// The same, with the signal given by name.
    fn submit(&self, signal: &str, otlp: &Bound<'_, PyAny>) -> PyResult<()> {
        self.submit_bytes(signal_of(signal)?, otlp)
    }

    /// Takes a request in OTLP/JSON, which is converted in this call. Never waits.
    fn submit_json(&self, py: Python<'_>, signal: &str, document: &str) -> PyResult<()> {
        let (input, signal) = (self.inner.get()?, signal_of(signal)?);
        without_gil(py, || input.submit_json(signal, document.as_bytes())).map_err(|e| from_submit_error(py, &e))
    }

    /// Takes what `encode` has made, without a copy.
    fn submit_request(&self, py: Python<'_>, request: &Request) -> PyResult<()> {
        let input = self.inner.get()?;
        without_gil(py, || input.submit_bytes(request.signal, request.body.clone()))
            .map_err(|e| from_submit_error(py, &e))
    }

    fn __repr__(&self) -> String {
        format!("<otelcore.Input {}>", self.id)
    }
}

/// The output of an `inproc` exporter. Any thread may use it, and iterate over it; threads share its batches.
#[pyclass(frozen, module = "otelcore._otelcore")]
pub(crate) struct Output {
    id: String,
    inner: ProcessOwned<inproc::Output>,
}

impl Output {
    pub(crate) fn new(id: &str, inner: inproc::Output) -> Self {
        Self { id: id.to_owned(), inner: ProcessOwned::new(inner) }
    }

    /// A batch; `None` when the timeout has passed, and an error when the collector has ended.
    fn next_batch(&self, py: Python<'_>, timeout: Option<Duration>) -> PyResult<Result<Option<Batch>, ()>> {
        let output = self.inner.get()?;
        let next = wait_for_next(py, timeout, |slice| output.next(Some(slice)))?;
        Ok(next.map(|batch| batch.map(|batch| Batch::new(py, batch))))
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
        let closed =
            || errors::new_exception(ExceptionClass::Closed, "the collector is closed, and every batch was taken");
        self.next_batch(py, duration(timeout)?)?.map_err(|()| closed())
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Batch>> {
        Ok(self.next_batch(py, None)?.unwrap_or(None))
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
    open: Mutex<Option<ProcessOwned<inproc::Batch>>>,
}

impl Batch {
    fn new(py: Python<'_>, batch: inproc::Batch) -> Self {
        let data = PyBytes::new(py, batch.data()).unbind();
        Self { signal: batch.signal(), data, open: Mutex::new(Some(ProcessOwned::new(batch))) }
    }

    /// Only the first call has an effect.
    fn finish(&self, result: BatchResult) -> PyResult<()> {
        let batch = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(batch) = batch {
            batch.take()?.finish(result);
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
        self.finish(BatchResult::Delivered)
    }

    /// Reports the batch as not delivered.
    #[pyo3(signature = (retryable=true, reason="", retry_after=None))]
    fn reject(&self, retryable: bool, reason: &str, retry_after: Option<f64>) -> PyResult<()> {
        let delay = duration(retry_after)?;
        self.finish(if retryable { BatchResult::Retry(delay) } else { BatchResult::Permanent(reason.to_owned()) })
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
        self.finish(if exception.is_some() { BatchResult::Retry(None) } else { BatchResult::Delivered })
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("<otelcore.Batch {}, {} bytes>", self.signal, self.data.bind(py).as_bytes().len())
    }
}
