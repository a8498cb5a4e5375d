//! Metrics.

use otelcore::pdata::build::{
    Body, BucketsWriter, ExemplarWriter, ExponentialHistogramPointWriter, HistogramPointWriter, MetricWriter,
    NumberPointWriter,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt};

use super::traces::schema_url;
use super::{Encoder, number_or_zero, span_id, text, trace_id};

impl<'py> Encoder<'py> {
    /// The `ExportMetricsServiceRequest` of a `MetricsData`.
    pub(super) fn metrics(&mut self, data: &Bound<'py, PyAny>) -> PyResult<Body> {
        let py = data.py();
        let mut body = Body::new();
        for resource_metrics in data.getattr(intern!(py, "resource_metrics"))?.try_iter()? {
            let resource_metrics = resource_metrics?;
            let resource = resource_metrics.getattr(intern!(py, "resource"))?;
            let mut entry = body.resource_metrics();
            self.resource(&resource, &mut entry.resource())?;
            for scope_metrics in resource_metrics.getattr(intern!(py, "scope_metrics"))?.try_iter()? {
                let scope_metrics = scope_metrics?;
                let scope = scope_metrics.getattr(intern!(py, "scope"))?;
                let mut out = entry.scope_metrics();
                self.scope(&scope, &mut out.scope())?;
                for metric in scope_metrics.getattr(intern!(py, "metrics"))?.try_iter()? {
                    let metric = metric?;
                    let name = metric.getattr(intern!(py, "name"))?;
                    self.metric(&metric, &name, &mut out.metric())
                        .map_err(|error| PyValueError::new_err(format!("the metric {}: {}", name, error.value(py))))?;
                }
                out.schema_url(text(&schema_url(&scope)?)?.as_bytes());
            }
            entry.schema_url(text(&schema_url(&resource)?)?.as_bytes());
        }
        Ok(body)
    }

    fn metric(
        &mut self,
        metric: &Bound<'py, PyAny>,
        name: &Bound<'py, PyAny>,
        out: &mut MetricWriter<'_>,
    ) -> PyResult<()> {
        let py = metric.py();
        out.name(text(name)?.as_bytes());
        out.description(text(&metric.getattr(intern!(py, "description"))?)?.as_bytes());
        out.unit(text(&metric.getattr(intern!(py, "unit"))?)?.as_bytes());
        let data = metric.getattr(intern!(py, "data"))?;
        let points = data.getattr(intern!(py, "data_points"))?;
        let temporality = || data.getattr(intern!(py, "aggregation_temporality"))?.extract::<i32>();
        let kind = data.get_type().name()?;
        match kind.to_cow()?.as_ref() {
            "Gauge" => {
                let mut out = out.gauge();
                for point in points.try_iter()? {
                    self.number_point(&point?, false, &mut out.point())?;
                }
            }
            "Sum" => {
                let mut out = out.sum();
                for point in points.try_iter()? {
                    self.number_point(&point?, true, &mut out.point())?;
                }
                out.aggregation_temporality(temporality()?);
                out.is_monotonic(data.getattr(intern!(py, "is_monotonic"))?.is_truthy()?);
            }
            "Histogram" => {
                let mut out = out.histogram();
                for point in points.try_iter()? {
                    self.histogram_point(&point?, &mut out.point())?;
                }
                out.aggregation_temporality(temporality()?);
            }
            "ExponentialHistogram" => {
                let mut out = out.exponential_histogram();
                for point in points.try_iter()? {
                    self.exponential_histogram_point(&point?, &mut out.point())?;
                }
                out.aggregation_temporality(temporality()?);
            }
            kind => return Err(PyTypeError::new_err(format!("data of the type {kind} can't be sent"))),
        }
        Ok(())
    }

    fn number_point(
        &mut self,
        point: &Bound<'py, PyAny>,
        has_start: bool,
        out: &mut NumberPointWriter<'_>,
    ) -> PyResult<()> {
        let py = point.py();
        self.attributes(&point.getattr(intern!(py, "attributes"))?, &mut out.attributes())?;
        if has_start {
            out.start_time_unix_nano(number_or_zero(&point.getattr(intern!(py, "start_time_unix_nano"))?)?);
        }
        out.time_unix_nano(number_or_zero(&point.getattr(intern!(py, "time_unix_nano"))?)?);
        let value = point.getattr(intern!(py, "value"))?;
        if value.cast::<PyInt>().is_ok() {
            out.int(value.extract()?);
        } else {
            out.double(value.extract()?);
        }
        self.exemplars(point, out)
    }

    fn histogram_point(&mut self, point: &Bound<'py, PyAny>, out: &mut HistogramPointWriter<'_>) -> PyResult<()> {
        let py = point.py();
        self.attributes(&point.getattr(intern!(py, "attributes"))?, &mut out.attributes())?;
        out.start_time_unix_nano(number_or_zero(&point.getattr(intern!(py, "start_time_unix_nano"))?)?);
        out.time_unix_nano(number_or_zero(&point.getattr(intern!(py, "time_unix_nano"))?)?);
        out.count(point.getattr(intern!(py, "count"))?.extract()?);
        if let Some(sum) = optional(&point.getattr(intern!(py, "sum"))?)? {
            out.sum(sum);
        }
        out.bucket_counts(&numbers::<u64>(&point.getattr(intern!(py, "bucket_counts"))?)?);
        out.explicit_bounds(&numbers::<f64>(&point.getattr(intern!(py, "explicit_bounds"))?)?);
        if let Some(min) = optional(&point.getattr(intern!(py, "min"))?)? {
            out.min(min);
        }
        if let Some(max) = optional(&point.getattr(intern!(py, "max"))?)? {
            out.max(max);
        }
        self.exemplars(point, out)
    }

    fn exponential_histogram_point(
        &mut self,
        point: &Bound<'py, PyAny>,
        out: &mut ExponentialHistogramPointWriter<'_>,
    ) -> PyResult<()> {
        let py = point.py();
        self.attributes(&point.getattr(intern!(py, "attributes"))?, &mut out.attributes())?;
        out.start_time_unix_nano(number_or_zero(&point.getattr(intern!(py, "start_time_unix_nano"))?)?);
        out.time_unix_nano(number_or_zero(&point.getattr(intern!(py, "time_unix_nano"))?)?);
        out.count(point.getattr(intern!(py, "count"))?.extract()?);
        if let Some(sum) = optional(&point.getattr(intern!(py, "sum"))?)? {
            out.sum(sum);
        }
        out.scale(point.getattr(intern!(py, "scale"))?.extract()?);
        out.zero_count(point.getattr(intern!(py, "zero_count"))?.extract()?);
        if let Some(buckets) = Buckets::of(&point.getattr(intern!(py, "positive"))?)? {
            buckets.write(&mut out.positive());
        }
        if let Some(buckets) = Buckets::of(&point.getattr(intern!(py, "negative"))?)? {
            buckets.write(&mut out.negative());
        }
        out.flags(point.getattr(intern!(py, "flags"))?.extract()?);
        if let Some(min) = optional(&point.getattr(intern!(py, "min"))?)? {
            out.min(min);
        }
        if let Some(max) = optional(&point.getattr(intern!(py, "max"))?)? {
            out.max(max);
        }
        self.exemplars(point, out)
    }

    fn exemplars(&mut self, point: &Bound<'py, PyAny>, point_out: &mut impl PointWriter) -> PyResult<()> {
        let py = point.py();
        for exemplar in point.getattr(intern!(py, "exemplars"))?.try_iter()? {
            let exemplar = exemplar?;
            let mut out = point_out.exemplar();
            out.time_unix_nano(number_or_zero(&exemplar.getattr(intern!(py, "time_unix_nano"))?)?);
            let (span, trace) = (exemplar.getattr(intern!(py, "span_id"))?, exemplar.getattr(intern!(py, "trace_id"))?);
            if !span.is_none() && !trace.is_none() {
                out.span_id(&span_id(&span)?);
                out.trace_id(&trace_id(&trace)?);
            }
            let attributes = exemplar.getattr(intern!(py, "filtered_attributes"))?;
            self.attributes(&attributes, &mut out.filtered_attributes())?;
            let value = exemplar.getattr(intern!(py, "value"))?;
            if let Ok(value) = value.cast::<PyFloat>() {
                out.double(value.value());
            } else {
                out.int(value.extract()?);
            }
        }
        Ok(())
    }
}

fn optional(value: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
    if value.is_none() { Ok(None) } else { value.extract().map(Some) }
}

/// The numbers of a list or a tuple; none for `None`.
fn numbers<'py, T: for<'a> FromPyObject<'a, 'py, Error = PyErr>>(values: &Bound<'py, PyAny>) -> PyResult<Vec<T>> {
    if values.is_none() {
        return Ok(Vec::new());
    }
    values.try_iter()?.map(|value| value?.extract::<T>()).collect()
}

/// The buckets of one side of an exponential histogram.
struct Buckets {
    offset: i32,
    counts: Vec<u64>,
}

impl Buckets {
    /// `None` where there are no counts: the side is not written then.
    fn of(buckets: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let py = buckets.py();
        let counts = numbers::<u64>(&buckets.getattr(intern!(py, "bucket_counts"))?)?;
        if counts.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self { offset: buckets.getattr(intern!(py, "offset"))?.extract()?, counts }))
    }

    fn write(&self, out: &mut BucketsWriter<'_>) {
        out.offset(self.offset);
        out.bucket_counts(&self.counts);
    }
}

/// A point that can have exemplars.
trait PointWriter {
    fn exemplar(&mut self) -> ExemplarWriter<'_>;
}

impl PointWriter for NumberPointWriter<'_> {
    fn exemplar(&mut self) -> ExemplarWriter<'_> {
        self.exemplar()
    }
}

impl PointWriter for HistogramPointWriter<'_> {
    fn exemplar(&mut self) -> ExemplarWriter<'_> {
        self.exemplar()
    }
}

impl PointWriter for ExponentialHistogramPointWriter<'_> {
    fn exemplar(&mut self) -> ExemplarWriter<'_> {
        self.exemplar()
    }
}
