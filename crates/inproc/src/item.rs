//! Items of a payload in one form for every language: what kind it is, its name, its attributes.
//!
//! Adds nothing to what [`otelcore_pdata::edit`] can do, and keeps nothing.

use otelcore_pdata::edit::{
    AttributesMut, Descend, Editor, EventMut, Keep, LinkMut, LogMut, MetricMut, PointMut, ResourceMut, ScopeMut,
    SpanMut,
};
use otelcore_pdata::views::AnyValue;

/// What an [`Item`] is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum ItemKind {
    /// A resource, also one that is absent.
    Resource,
    /// An instrumentation scope, also one that is absent.
    Scope,
    /// A span.
    Span,
    /// An event of a span.
    Event,
    /// A link of a span.
    Link,
    /// A metric.
    Metric,
    /// A data point.
    Point,
    /// A log record.
    Log,
}

/// What is done with an item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Visit {
    /// It stays, and what it contains is visited.
    Keep,
    /// It stays, and what it contains stays as it is.
    Skip,
    /// It is dropped, with what it contains.
    Drop,
}

/// An item that is visited.
#[derive(Debug)]
#[non_exhaustive]
pub enum Item<'i, 'a> {
    /// A resource.
    Resource(&'i mut ResourceMut<'a>),
    /// An instrumentation scope.
    Scope(&'i mut ScopeMut<'a>),
    /// A span.
    Span(&'i mut SpanMut<'a>),
    /// An event of a span.
    Event(&'i mut EventMut<'a>),
    /// A link of a span.
    Link(&'i mut LinkMut<'a>),
    /// A metric.
    Metric(&'i mut MetricMut<'a>),
    /// A data point.
    Point(&'i mut PointMut<'a>),
    /// A log record.
    Log(&'i mut LogMut<'a>),
}

impl Item<'_, '_> {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> ItemKind {
        match self {
            Self::Resource(_) => ItemKind::Resource,
            Self::Scope(_) => ItemKind::Scope,
            Self::Span(_) => ItemKind::Span,
            Self::Event(_) => ItemKind::Event,
            Self::Link(_) => ItemKind::Link,
            Self::Metric(_) => ItemKind::Metric,
            Self::Point(_) => ItemKind::Point,
            Self::Log(_) => ItemKind::Log,
        }
    }

    /// The name of a scope, span, event or metric, and the event name of a log record.
    #[must_use]
    pub fn name(&self) -> Option<&[u8]> {
        match self {
            Self::Scope(scope) => Some(scope.view().name),
            Self::Span(span) => Some(span.view().name),
            Self::Event(event) => Some(event.view().name),
            Self::Metric(metric) => Some(metric.view().name),
            Self::Log(log) => Some(log.view().event_name),
            Self::Resource(_) | Self::Link(_) | Self::Point(_) => None,
        }
    }

    /// Sets the name. False: this kind has none.
    pub fn set_name(&mut self, name: &[u8]) -> bool {
        match self {
            Self::Scope(scope) => scope.set_name(name),
            Self::Span(span) => span.set_name(name),
            Self::Event(event) => event.set_name(name),
            Self::Metric(metric) => metric.set_name(name),
            Self::Log(log) => log.set_event_name(name),
            Self::Resource(_) | Self::Link(_) | Self::Point(_) => return false,
        }
        true
    }

    /// The body of a log record.
    #[must_use]
    pub fn body(&self) -> Option<AnyValue<'_>> {
        if let Self::Log(log) = self { Some(log.view().body) } else { None }
    }

    /// Sets the body of a log record. False: it is something else.
    pub fn set_body(&mut self, body: AnyValue<'_>) -> bool {
        let Self::Log(log) = self else { return false };
        log.set_body(body);
        true
    }

    /// The value of an attribute. A metric has none; its points have.
    #[must_use]
    pub fn attribute(&self, key: &[u8]) -> Option<AnyValue<'_>> {
        match self {
            Self::Resource(resource) => resource.attribute(key),
            Self::Scope(scope) => scope.attribute(key),
            Self::Span(span) => span.attribute(key),
            Self::Event(event) => event.attribute(key),
            Self::Link(link) => link.attribute(key),
            Self::Point(point) => point.attribute(key),
            Self::Log(log) => log.attribute(key),
            Self::Metric(_) => None,
        }
    }

    /// Its attributes; `None` for a metric.
    pub fn attributes(&mut self) -> Option<AttributesMut<'_>> {
        Some(match self {
            Self::Resource(resource) => resource.attributes(),
            Self::Scope(scope) => scope.attributes(),
            Self::Span(span) => span.attributes(),
            Self::Event(event) => event.attributes(),
            Self::Link(link) => link.attributes(),
            Self::Point(point) => point.attributes(),
            Self::Log(log) => log.attributes(),
            Self::Metric(_) => return None,
        })
    }

    /// The value of an attribute of the resource that it belongs to.
    #[must_use]
    pub fn resource_attribute(&self, key: &[u8]) -> Option<AnyValue<'_>> {
        match self {
            Self::Resource(resource) => resource.attribute(key),
            Self::Scope(scope) => scope.resource_attribute(key),
            Self::Span(span) => span.resource_attribute(key),
            Self::Event(event) => event.resource_attribute(key),
            Self::Link(link) => link.resource_attribute(key),
            Self::Metric(metric) => metric.resource_attribute(key),
            Self::Point(point) => point.resource_attribute(key),
            Self::Log(log) => log.resource_attribute(key),
        }
    }
}

/// The editor that passes items to a function.
pub(crate) struct ItemEditor<F>(pub(crate) F);

impl<F: FnMut(&mut Item<'_, '_>) -> Visit> ItemEditor<F> {
    fn descend(&mut self, mut item: Item<'_, '_>) -> Descend {
        match (self.0)(&mut item) {
            Visit::Keep => Descend::Children,
            Visit::Skip => Descend::Skip,
            Visit::Drop => Descend::Drop,
        }
    }

    fn keep(&mut self, mut item: Item<'_, '_>) -> Keep {
        match (self.0)(&mut item) {
            Visit::Keep | Visit::Skip => Keep::Keep,
            Visit::Drop => Keep::Drop,
        }
    }
}

impl<F: FnMut(&mut Item<'_, '_>) -> Visit> Editor for ItemEditor<F> {
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        self.descend(Item::Resource(resource))
    }

    fn scope(&mut self, scope: &mut ScopeMut<'_>) -> Descend {
        self.descend(Item::Scope(scope))
    }

    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        self.descend(Item::Span(span))
    }

    fn event(&mut self, event: &mut EventMut<'_>) -> Keep {
        self.keep(Item::Event(event))
    }

    fn link(&mut self, link: &mut LinkMut<'_>) -> Keep {
        self.keep(Item::Link(link))
    }

    fn metric(&mut self, metric: &mut MetricMut<'_>) -> Descend {
        self.descend(Item::Metric(metric))
    }

    fn point(&mut self, point: &mut PointMut<'_>) -> Keep {
        self.keep(Item::Point(point))
    }

    fn log(&mut self, log: &mut LogMut<'_>) -> Keep {
        self.keep(Item::Log(log))
    }
}
