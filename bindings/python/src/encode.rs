//! Encodes what the OpenTelemetry SDK hands to an exporter as OTLP, straight from its objects into the body of a request.
//!
//! The public attributes of the SDK's objects are read, as the SDK's own encoder reads them, and the messages are the
//! same. It never keeps an object, and runs under the GIL only while it reads.
//!
//! An attribute whose value OTLP can't carry is left out and named in [`Request::skipped`]. An object that is not what
//! the SDK documents is an exception.

mod groups;
mod logs;
mod metrics;
mod traces;

use std::borrow::Cow;

use bytes::Bytes;
use otelcore::pdata::build::AttributesWriter;
use otelcore::pdata::views::AnyValue;
use otelcore::pdata::{MAX_NESTING, Signal, Value};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyMapping, PySequence, PyString};

use crate::data::signal_of;

/// Attributes that are named when they are left out; those above are only counted.
const MAX_NAMED: usize = 8;

/// An encoded `Export*ServiceRequest`.
#[pyclass(frozen, module = "otelcore._otelcore")]
pub(crate) struct Request {
    pub(crate) signal: Signal,
    pub(crate) body: Bytes,
    skipped: Vec<(String, String)>,
    skipped_count: usize,
}

#[pymethods]
impl Request {
    /// The message in protobuf.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.body)
    }

    /// The number of attributes that were left out, and the key and the reason of the first ones.
    #[getter]
    fn skipped(&self) -> (usize, Vec<(String, String)>) {
        (self.skipped_count, self.skipped.clone())
    }

    fn __len__(&self) -> usize {
        self.body.len()
    }
}

/// Encodes what an exporter of a signal is given: the spans, the `MetricsData`, or the log records.
#[pyfunction]
pub(crate) fn encode(signal: &str, data: &Bound<'_, PyAny>) -> PyResult<Request> {
    let signal = signal_of(signal)?;
    let mut encoder = Encoder::default();
    let body = match signal {
        Signal::Traces => encoder.spans(data)?,
        Signal::Metrics => encoder.metrics(data)?,
        _ => encoder.log_records(data)?,
    };
    let Encoder { skipped, skipped_count, .. } = encoder;
    Ok(Request { signal, body: body.finish().to_bytes(), skipped, skipped_count })
}

/// The state of one request that is encoded.
#[derive(Default)]
struct Encoder<'py> {
    skipped: Vec<(String, String)>,
    skipped_count: usize,
    enums: EnumValues<'py>,
    trace_state: Option<(Bound<'py, PyAny>, String)>,
}

/// The numbers of members of an `enum.Enum`: reading one is a call of Python.
#[derive(Default)]
struct EnumValues<'py>(Vec<(Bound<'py, PyAny>, i32)>);

impl<'py> EnumValues<'py> {
    /// Members that are kept. Each enumeration of the SDK has a few.
    const LIMIT: usize = 32;

    fn get(&mut self, member: &Bound<'py, PyAny>) -> PyResult<i32> {
        if let Some((_, value)) = self.0.iter().find(|(known, _)| known.is(member)) {
            return Ok(*value);
        }
        let value = member.getattr(intern!(member.py(), "value"))?.extract()?;
        if self.0.len() < Self::LIMIT {
            self.0.push((member.clone(), value));
        }
        Ok(value)
    }
}

impl<'py> Encoder<'py> {
    /// Writes the attributes of a resource, a span, or anything else that has some.
    fn attributes(&mut self, attributes: &Bound<'py, PyAny>, out: &mut AttributesWriter<'_>) -> PyResult<()> {
        if attributes.is_none() {
            return Ok(());
        }
        let py = attributes.py();
        // A copy can't be changed by another thread while it is read; the SDK's attributes are copied under their lock.
        let copy = attributes.call_method0(intern!(py, "copy"));
        if let Ok(copy) = copy.as_ref().map_err(drop).and_then(|copy| copy.cast::<PyDict>().map_err(drop)) {
            for (key, value) in copy.iter() {
                self.attribute(&key, &value, out);
            }
            return Ok(());
        }
        for item in attributes.call_method0(intern!(py, "items"))?.try_iter()? {
            let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item?.extract()?;
            self.attribute(&key, &value, out);
        }
        Ok(())
    }

    fn attribute(&mut self, key: &Bound<'py, PyAny>, value: &Bound<'py, PyAny>, out: &mut AttributesWriter<'_>) {
        if let Err(error) = write_attribute(key, value, out) {
            self.skipped_count += 1;
            if self.skipped.len() < MAX_NAMED {
                let key = key.str().map_or_else(|_| String::new(), |key| key.to_string_lossy().into_owned());
                self.skipped.push((key, error.value(value.py()).to_string()));
            }
        }
    }

    /// `tracestate` as the header has it. Most spans share one object.
    fn trace_state(&mut self, state: &Bound<'py, PyAny>) -> PyResult<&[u8]> {
        if !matches!(&self.trace_state, Some((known, _)) if known.is(state)) {
            let mut text = String::new();
            if !state.is_none() {
                for item in state.call_method0(intern!(state.py(), "items"))?.try_iter()? {
                    let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item?.extract()?;
                    if !text.is_empty() {
                        text.push(',');
                    }
                    text.push_str(&key.str()?.to_cow()?);
                    text.push('=');
                    text.push_str(&value.str()?.to_cow()?);
                }
            }
            self.trace_state = Some((state.clone(), text));
        }
        Ok(self.trace_state.as_ref().map_or(&[], |(_, text)| text.as_bytes()))
    }
}

fn write_attribute(key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>, out: &mut AttributesWriter<'_>) -> PyResult<()> {
    let key = key.cast::<PyString>()?.to_cow()?;
    let key = key.as_bytes();
    if let Some(value) = scalar(value)? {
        out.push(key, value.view());
    } else {
        out.value(key, &nested(value, 1)?);
    }
    Ok(())
}

/// A value without values in it.
enum Scalar<'a> {
    Empty,
    String(Cow<'a, str>),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(&'a [u8]),
}

impl Scalar<'_> {
    fn view(&self) -> AnyValue<'_> {
        match self {
            Self::Empty => AnyValue::Empty,
            Self::String(v) => AnyValue::String(v.as_bytes()),
            Self::Bool(v) => AnyValue::Bool(*v),
            Self::Int(v) => AnyValue::Int(*v),
            Self::Double(v) => AnyValue::Double(*v),
            Self::Bytes(v) => AnyValue::Bytes(v),
        }
    }
}

/// The value, if it has no values in it.
fn scalar<'a>(value: &'a Bound<'_, PyAny>) -> PyResult<Option<Scalar<'a>>> {
    Ok(Some(if let Ok(text) = value.cast::<PyString>() {
        Scalar::String(text.to_cow()?)
    } else if let Ok(value) = value.cast::<PyBool>() {
        Scalar::Bool(value.is_true())
    } else if value.cast::<PyInt>().is_ok() {
        Scalar::Int(value.extract()?)
    } else if let Ok(value) = value.cast::<PyFloat>() {
        Scalar::Double(value.value())
    } else if value.is_none() {
        Scalar::Empty
    } else if let Ok(bytes) = value.cast::<PyBytes>() {
        Scalar::Bytes(bytes.as_bytes())
    } else {
        return Ok(None);
    }))
}

/// A value with what is in it; `depth` is the number of levels so far, with this one.
fn nested(value: &Bound<'_, PyAny>, depth: u8) -> PyResult<Value> {
    if let Some(value) = scalar(value)? {
        return Ok(Value::decode(value.view()));
    }
    if depth >= MAX_NESTING {
        return Err(PyValueError::new_err(format!("values nested more than {MAX_NESTING} deep")));
    }
    if let Ok(values) = value.cast::<PySequence>() {
        let values = values.try_iter()?.map(|value| nested(&value?, depth + 1));
        return values.collect::<PyResult<_>>().map(Value::Array);
    }
    if let Ok(map) = value.cast::<PyMapping>() {
        let entry = |item: Bound<'_, PyAny>| {
            let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            Ok((key.str()?.to_cow()?.as_bytes().to_vec(), nested(&value, depth + 1)?))
        };
        return map.items()?.iter().map(entry).collect::<PyResult<_>>().map(Value::Map);
    }
    Err(PyTypeError::new_err(format!("a value of the type {} can't be an attribute", value.get_type().name()?)))
}

/// A text that is not an attribute: what is not Unicode in it is replaced, so that it does not cost the whole request.
fn text<'a>(value: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, str>> {
    if value.is_none() {
        return Ok(Cow::Borrowed(""));
    }
    Ok(value.cast::<PyString>()?.to_string_lossy())
}

/// A time in nanoseconds, or another number that may be missing.
fn number_or_zero(value: &Bound<'_, PyAny>) -> PyResult<u64> {
    if value.is_none() { Ok(0) } else { value.extract() }
}

fn trace_id(value: &Bound<'_, PyAny>) -> PyResult<[u8; 16]> {
    Ok(value.extract::<u128>()?.to_be_bytes())
}

fn span_id(value: &Bound<'_, PyAny>) -> PyResult<[u8; 8]> {
    Ok(value.extract::<u64>()?.to_be_bytes())
}
