//! Processors of the Python program: payloads that it takes out of a pipeline, changes, and gives back.
//!
//! The collector's thread never waits for Python: payloads are taken by Python's own threads, and one that is not finished
//! in time is refused.

use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use otelcore::inproc::{self, ItemKind, ProcessResult, Visit};
use otelcore::pdata::views::{AnyValue, View};
use otelcore::pdata::{Signal, Value};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::data::bytes_of;
use crate::errors::{self, ExceptionClass};
use crate::process::{ProcessOwned, duration, wait_for_next, without_gil};

/// Values inside of values, as deep as OTLP may be nested here.
const MAX_DEPTH: u32 = 64;

/// The processor of the program. Any thread may use it, and iterate over it; threads share its payloads.
#[pyclass(frozen, module = "otelcore._otelcore")]
pub(crate) struct Processor {
    id: String,
    inner: ProcessOwned<inproc::HostProcessor>,
}

impl Processor {
    pub(crate) fn new(id: &str, inner: inproc::HostProcessor) -> Self {
        Self { id: id.to_owned(), inner: ProcessOwned::new(inner) }
    }

    /// A payload; `None` when the timeout has passed, and an error when the collector has ended.
    fn next_payload(&self, py: Python<'_>, timeout: Option<Duration>) -> PyResult<Result<Option<Payload>, ()>> {
        let processor = self.inner.get()?;
        let next = wait_for_next(py, timeout, |slice| processor.next(Some(slice)))?;
        Ok(next.map(|payload| payload.map(Payload::new)))
    }
}

#[pymethods]
impl Processor {
    /// The processor's id.
    #[getter]
    fn id(&self) -> &str {
        &self.id
    }

    /// The next payload, or `None` when the timeout has passed.
    #[pyo3(signature = (timeout=None))]
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Payload>> {
        let closed = || errors::new_exception(ExceptionClass::Closed, "the collector is closed");
        self.next_payload(py, duration(timeout)?)?.map_err(|()| closed())
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Payload>> {
        Ok(self.next_payload(py, None)?.unwrap_or(None))
    }

    fn __repr__(&self) -> String {
        format!("<otelcore.Processor {}>", self.id)
    }
}

/// A request in a pipeline. One that is dropped unfinished is refused, and its sender may send it again.
#[pyclass(frozen, module = "otelcore._otelcore")]
pub(crate) struct Payload {
    signal: Signal,
    /// `None` after the end. Locked during an edit.
    open: Mutex<Option<ProcessOwned<inproc::HostPayload>>>,
}

type OpenPayload<'p> = MutexGuard<'p, Option<ProcessOwned<inproc::HostPayload>>>;

impl Payload {
    fn new(payload: inproc::HostPayload) -> Self {
        Self { signal: payload.signal(), open: Mutex::new(Some(ProcessOwned::new(payload))) }
    }

    fn open(&self) -> PyResult<OpenPayload<'_>> {
        match self.open.try_lock() {
            Ok(open) => Ok(open),
            Err(TryLockError::Poisoned(open)) => Ok(open.into_inner()),
            Err(TryLockError::WouldBlock) => {
                Err(errors::new_exception(ExceptionClass::State, "the payload is in use: it is being edited"))
            }
        }
    }

    fn finish(&self, result: ProcessResult) -> PyResult<()> {
        let payload = self.open()?.take();
        if let Some(payload) = payload {
            payload.take()?.finish(result);
        }
        Ok(())
    }
}

fn payload_of<'p>(open: &'p mut OpenPayload<'_>) -> PyResult<&'p mut inproc::HostPayload> {
    let finished = || errors::new_exception(ExceptionClass::Closed, "the payload is finished");
    open.as_mut().ok_or_else(finished)?.get_mut()
}

#[pymethods]
impl Payload {
    /// `traces`, `metrics` or `logs`.
    #[getter]
    fn signal(&self) -> String {
        self.signal.to_string()
    }

    /// The `Export*ServiceRequest` in protobuf, as it is now.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let mut open = self.open()?;
        Ok(PyBytes::new(py, &payload_of(&mut open)?.data()))
    }

    /// The headers of the request that brought it, by name in lower case.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let mut open = self.open()?;
        let headers = PyDict::new(py);
        for (name, values) in payload_of(&mut open)?.metadata().iter().flat_map(|metadata| metadata.iter()) {
            headers.set_item(name, values)?;
        }
        Ok(headers)
    }

    /// Replaces the request.
    fn replace(&self, otlp: &Bound<'_, PyAny>) -> PyResult<()> {
        let bytes = bytes_of(otlp)?;
        let mut open = self.open()?;
        let payload = payload_of(&mut open)?;
        let body = bytes.as_bytes();
        let replaced = without_gil(otlp.py(), || payload.replace(body.to_vec().into()));
        replaced.map_err(|e| errors::new_exception(ExceptionClass::InvalidData, &e.to_string()))
    }

    /// Calls `visit` for each item.
    fn edit(&self, visit: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = visit.py();
        let mut open = self.open()?;
        let payload = payload_of(&mut open)?;
        let mut editor = ItemVisitor { visit, resource: PyDict::new(py), failure: None };
        let edited = payload.visit(|item| editor.visit(item));
        if let Some(failure) = editor.failure {
            return Err(failure);
        }
        edited.map(drop).map_err(|e| errors::new_exception(ExceptionClass::InvalidData, &e.to_string()))
    }

    /// Passes it on as it is now; without any item it is dropped.
    fn pass_on(&self) -> PyResult<()> {
        self.finish(ProcessResult::Pass)
    }

    /// Drops it: its sender takes it as delivered.
    fn drop(&self) -> PyResult<()> {
        self.finish(ProcessResult::Drop)
    }

    /// Refuses it.
    #[pyo3(signature = (retryable=true, reason="", retry_after=None))]
    fn reject(&self, retryable: bool, reason: &str, retry_after: Option<f64>) -> PyResult<()> {
        let delay = duration(retry_after)?;
        self.finish(if retryable { ProcessResult::Retry(delay) } else { ProcessResult::Permanent(reason.to_owned()) })
    }

    fn __repr__(&self) -> String {
        format!("<otelcore.Payload {}>", self.signal)
    }
}

/// An item of a payload in `Payload.edit`. What is changed in it takes effect when the function returns.
#[pyclass(module = "otelcore._otelcore")]
pub(crate) struct Item {
    /// `resource`, `scope`, `span`, `event`, `link`, `metric`, `point` or `log`.
    #[pyo3(get)]
    kind: &'static str,
    /// The name; `None` where this kind has none.
    #[pyo3(get, set)]
    name: Option<String>,
    /// The attributes; empty for a metric.
    #[pyo3(get)]
    attributes: Py<PyDict>,
    /// The attributes of its resource. Changes of them have an effect in the item of the resource only.
    #[pyo3(get)]
    resource: Py<PyDict>,
    /// The body of a log record.
    #[pyo3(get, set)]
    body: Py<PyAny>,
}

struct ItemVisitor<'f, 'py> {
    visit: &'f Bound<'py, PyAny>,
    /// The attributes of the last resource.
    resource: Bound<'py, PyDict>,
    /// The rest of the payload then stays as it is.
    failure: Option<PyErr>,
}

impl ItemVisitor<'_, '_> {
    fn visit(&mut self, item: &mut inproc::Item<'_, '_>) -> Visit {
        if self.failure.is_some() {
            return Visit::Skip;
        }
        self.call(item).unwrap_or_else(|failure| {
            self.failure = Some(failure);
            Visit::Skip
        })
    }

    fn call(&mut self, item: &mut inproc::Item<'_, '_>) -> PyResult<Visit> {
        let py = self.visit.py();
        let before = PyDict::new(py);
        if let Some(attributes) = item.attributes() {
            for entry in attributes.iter() {
                before.set_item(text(entry.key), to_python(py, entry.value)?)?;
            }
        }
        let attributes = before.copy()?;
        if item.kind() == ItemKind::Resource {
            self.resource = attributes.clone();
        }
        let name = item.name().map(text);
        let body = match item.body() {
            Some(body) => to_python(py, body)?,
            None => py.None().into_bound(py),
        };
        let given = Item {
            kind: kind_name(item.kind()),
            name: name.clone(),
            attributes: attributes.clone().unbind(),
            resource: self.resource.clone().unbind(),
            body: body.clone().unbind(),
        };
        let given = Bound::new(py, given)?;
        let answer = self.visit.call1((&given,))?;
        let given = given.borrow();
        if given.name != name && !given.name.as_ref().is_some_and(|name| item.set_name(name.as_bytes())) {
            return Err(PyValueError::new_err(format!(
                "the name of a {} can't be set to {:?}",
                given.kind, given.name
            )));
        }
        let new_body = given.body.bind(py);
        if !is_unchanged(&body, new_body) {
            let raw = encode(new_body)?;
            if !item.set_body(AnyValue::parse(&raw)) {
                return Err(PyValueError::new_err(format!("a {} has no body", given.kind)));
            }
        }
        apply_attributes(item, &before, &attributes)?;
        visit_of(&answer)
    }
}

fn apply_attributes(
    item: &mut inproc::Item<'_, '_>,
    before: &Bound<'_, PyDict>,
    after: &Bound<'_, PyDict>,
) -> PyResult<()> {
    for key in before.keys() {
        if !after.contains(&key)?
            && let Some(mut attributes) = item.attributes()
        {
            attributes.remove(key.extract::<String>()?.as_bytes());
        }
    }
    for (key, value) in after.iter() {
        if before.get_item(&key)?.is_some_and(|old| is_unchanged(&old, &value)) {
            continue;
        }
        let raw = encode(&value)?;
        let key: String = key.extract()?;
        match item.attributes() {
            Some(mut attributes) => attributes.upsert(key.as_bytes(), AnyValue::parse(&raw)),
            None => return Err(PyValueError::new_err("a metric has no attributes; its points have")),
        }
    }
    Ok(())
}

/// The same object, which can't have changed.
fn is_unchanged(old: &Bound<'_, PyAny>, new: &Bound<'_, PyAny>) -> bool {
    old.is(new) && !new.is_instance_of::<PyList>() && !new.is_instance_of::<PyDict>()
}

/// What the function says of an item: nothing or `True` keeps it, `False` drops it, `"skip"` keeps what it contains as it is.
fn visit_of(answer: &Bound<'_, PyAny>) -> PyResult<Visit> {
    if answer.is_none() {
        return Ok(Visit::Keep);
    }
    if let Ok(keep) = answer.cast::<PyBool>() {
        return Ok(if keep.is_true() { Visit::Keep } else { Visit::Drop });
    }
    match answer.extract::<String>() {
        Ok(word) if word == "skip" => Ok(Visit::Skip),
        _ => Err(PyTypeError::new_err(
            "a function of Payload.edit() returns True or None to keep, False to drop, or 'skip'",
        )),
    }
}

fn kind_name(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::Resource => "resource",
        ItemKind::Scope => "scope",
        ItemKind::Span => "span",
        ItemKind::Event => "event",
        ItemKind::Link => "link",
        ItemKind::Metric => "metric",
        ItemKind::Point => "point",
        ItemKind::Log => "log",
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn to_python<'py>(py: Python<'py>, value: AnyValue<'_>) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        AnyValue::Empty => py.None().into_bound(py),
        AnyValue::String(value) => PyString::new(py, &String::from_utf8_lossy(value)).into_any(),
        AnyValue::Bool(value) => PyBool::new(py, value).to_owned().into_any(),
        AnyValue::Int(value) => value.into_pyobject(py)?.into_any(),
        AnyValue::Double(value) => PyFloat::new(py, value).into_any(),
        AnyValue::Bytes(value) => PyBytes::new(py, value).into_any(),
        AnyValue::Array(raw) => {
            let list = PyList::empty(py);
            for element in AnyValue::array_elements(raw) {
                list.append(to_python(py, element)?)?;
            }
            list.into_any()
        }
        AnyValue::Map(raw) => {
            let map = PyDict::new(py);
            for entry in AnyValue::map_entries(raw) {
                map.set_item(text(entry.key), to_python(py, entry.value)?)?;
            }
            map.into_any()
        }
    })
}

fn encode(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let mut raw = Vec::new();
    from_python(value, 0)?.encode(&mut raw);
    Ok(raw)
}

fn from_python(value: &Bound<'_, PyAny>, depth: u32) -> PyResult<Value> {
    if depth > MAX_DEPTH {
        return Err(PyValueError::new_err(format!("a value is nested more than {MAX_DEPTH} deep")));
    }
    if value.is_none() {
        Ok(Value::Empty)
    } else if let Ok(value) = value.cast::<PyBool>() {
        Ok(Value::Bool(value.is_true()))
    } else if let Ok(value) = value.cast::<PyInt>() {
        let number = value.extract().map_err(|_| PyOverflowError::new_err("an attribute's integer has 64 bits"))?;
        Ok(Value::Int(number))
    } else if let Ok(value) = value.cast::<PyFloat>() {
        Ok(Value::Double(value.extract()?))
    } else if let Ok(value) = value.cast::<PyString>() {
        Ok(Value::String(value.extract::<String>()?.into_bytes()))
    } else if let Ok(value) = value.cast::<PyBytes>() {
        Ok(Value::Bytes(value.as_bytes().to_vec()))
    } else if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        Ok(Value::Array(value.try_iter()?.map(|element| from_python(&element?, depth + 1)).collect::<PyResult<_>>()?))
    } else if let Ok(map) = value.cast::<PyDict>() {
        let entry = |(key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
            Ok((key.extract::<String>()?.into_bytes(), from_python(&value, depth + 1)?))
        };
        Ok(Value::Map(map.iter().map(entry).collect::<PyResult<_>>()?))
    } else {
        Err(PyTypeError::new_err(format!("an attribute can't have a value of type {}", value.get_type().name()?)))
    }
}
