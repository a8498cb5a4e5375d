//! Spans.

use otelcore::pdata::build::{Body, ResourceWriter, ScopeWriter, SpanWriter};
use pyo3::intern;
use pyo3::prelude::*;

use super::groups::Groups;
use super::{Encoder, number_or_zero, span_id, text, trace_id};

/// `SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK` and `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// A first guess of a span's size.
const SPAN_BYTES: usize = 384;

impl<'py> Encoder<'py> {
    /// The `ExportTraceServiceRequest` of a sequence of `ReadableSpan`.
    pub(super) fn spans(&mut self, spans: &Bound<'py, PyAny>) -> PyResult<Body> {
        let (spans, groups) = Groups::of(spans)?;
        let mut body = Body::with_capacity(spans.len() * SPAN_BYTES);
        for group in groups {
            let mut entry = body.resource_spans();
            self.resource(&group.resource, &mut entry.resource())?;
            for group in group.scopes {
                let mut scope_spans = entry.scope_spans();
                self.scope(&group.scope, &mut scope_spans.scope())?;
                for span in group.positions.iter().filter_map(|position| spans.get(*position)) {
                    self.span(span, &mut scope_spans.span())?;
                }
                scope_spans.schema_url(text(&schema_url(&group.scope)?)?.as_bytes());
            }
            entry.schema_url(text(&schema_url(&group.resource)?)?.as_bytes());
        }
        Ok(body)
    }

    pub(super) fn resource(&mut self, resource: &Bound<'py, PyAny>, out: &mut ResourceWriter<'_>) -> PyResult<()> {
        self.attributes(&resource.getattr(intern!(resource.py(), "attributes"))?, &mut out.attributes())
    }

    pub(super) fn scope(&mut self, scope: &Bound<'py, PyAny>, out: &mut ScopeWriter<'_>) -> PyResult<()> {
        if scope.is_none() {
            return Ok(());
        }
        let py = scope.py();
        out.name(text(&scope.getattr(intern!(py, "name"))?)?.as_bytes());
        out.version(text(&scope.getattr(intern!(py, "version"))?)?.as_bytes());
        self.attributes(&scope.getattr(intern!(py, "attributes"))?, &mut out.attributes())
    }

    fn span(&mut self, span: &Bound<'py, PyAny>, out: &mut SpanWriter<'_>) -> PyResult<()> {
        let py = span.py();
        let context = span.call_method0(intern!(py, "get_span_context"))?;
        out.trace_id(&trace_id(&context.getattr(intern!(py, "trace_id"))?)?);
        out.span_id(&span_id(&context.getattr(intern!(py, "span_id"))?)?);
        out.trace_state(self.trace_state(&context.getattr(intern!(py, "trace_state"))?)?);
        let parent = span.getattr(intern!(py, "parent"))?;
        if !parent.is_none() {
            out.parent_span_id(&span_id(&parent.getattr(intern!(py, "span_id"))?)?);
        }
        out.name(text(&span.getattr(intern!(py, "name"))?)?.as_bytes());
        // The numbers of the SDK's kinds begin at INTERNAL, those of OTLP at UNSPECIFIED.
        out.kind(self.enums.get(&span.getattr(intern!(py, "kind"))?)? + 1);
        out.start_time_unix_nano(number_or_zero(&span.getattr(intern!(py, "start_time"))?)?);
        out.end_time_unix_nano(number_or_zero(&span.getattr(intern!(py, "end_time"))?)?);
        self.attributes(&span.getattr(intern!(py, "attributes"))?, &mut out.attributes())?;
        self.events(&span.getattr(intern!(py, "events"))?, out)?;
        self.links(&span.getattr(intern!(py, "links"))?, out)?;
        let status = span.getattr(intern!(py, "status"))?;
        if !status.is_none() {
            let mut out = out.status();
            out.code(self.enums.get(&status.getattr(intern!(py, "status_code"))?)?);
            out.message(text(&status.getattr(intern!(py, "description"))?)?.as_bytes());
        }
        out.dropped_attributes_count(span.getattr(intern!(py, "dropped_attributes"))?.extract()?);
        out.dropped_events_count(span.getattr(intern!(py, "dropped_events"))?.extract()?);
        out.dropped_links_count(span.getattr(intern!(py, "dropped_links"))?.extract()?);
        out.flags(flags(&parent)?);
        Ok(())
    }

    fn events(&mut self, events: &Bound<'py, PyAny>, span: &mut SpanWriter<'_>) -> PyResult<()> {
        if events.is_none() || events.len().is_ok_and(|events| events == 0) {
            return Ok(());
        }
        let py = events.py();
        for event in events.try_iter()? {
            let event = event?;
            let mut out = span.event();
            out.name(text(&event.getattr(intern!(py, "name"))?)?.as_bytes());
            out.time_unix_nano(number_or_zero(&event.getattr(intern!(py, "timestamp"))?)?);
            self.attributes(&event.getattr(intern!(py, "attributes"))?, &mut out.attributes())?;
            out.dropped_attributes_count(event.getattr(intern!(py, "dropped_attributes"))?.extract()?);
        }
        Ok(())
    }

    fn links(&mut self, links: &Bound<'py, PyAny>, span: &mut SpanWriter<'_>) -> PyResult<()> {
        if links.is_none() || links.len().is_ok_and(|links| links == 0) {
            return Ok(());
        }
        let py = links.py();
        for link in links.try_iter()? {
            let link = link?;
            let context = link.getattr(intern!(py, "context"))?;
            let mut out = span.link();
            out.trace_id(&trace_id(&context.getattr(intern!(py, "trace_id"))?)?);
            out.span_id(&span_id(&context.getattr(intern!(py, "span_id"))?)?);
            self.attributes(&link.getattr(intern!(py, "attributes"))?, &mut out.attributes())?;
            out.dropped_attributes_count(link.getattr(intern!(py, "dropped_attributes"))?.extract()?);
            out.flags(flags(&context)?);
        }
        Ok(())
    }
}

/// The schema of a resource or a scope; `None` in Python where there is no scope.
pub(super) fn schema_url<'py>(of: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if of.is_none() { Ok(of.clone()) } else { of.getattr(intern!(of.py(), "schema_url")) }
}

/// Whether the context that a span has as its parent, or a link's, comes from another process.
fn flags(context: &Bound<'_, PyAny>) -> PyResult<u32> {
    let is_remote = !context.is_none() && context.getattr(intern!(context.py(), "is_remote"))?.is_truthy()?;
    Ok(if is_remote { HAS_IS_REMOTE | IS_REMOTE } else { HAS_IS_REMOTE })
}
