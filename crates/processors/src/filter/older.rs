//! `include` and `exclude`, compiled.

use otelcore_pdata::edit::ResourceMut;

use crate::matching::{Matcher, MetricNames};

/// The older form of a signal.
#[derive(Debug)]
pub(super) enum OlderFilter {
    /// Of spans or log records: those that the matcher matches are kept.
    Items(Box<Matcher>),
    /// Of metrics.
    Metrics { include: Option<Box<MetricFilter>>, exclude: Option<Box<MetricFilter>> },
}

/// One of `include` and `exclude` of metrics.
#[derive(Debug)]
pub(super) struct MetricFilter {
    /// `None` without attributes.
    pub(super) resources: Option<Matcher>,
    /// `None` without names.
    pub(super) names: Option<MetricNames>,
}

impl MetricFilter {
    /// Whether the resource matches; `None` if no attributes are given.
    pub(super) fn matches_resource(&self, resource: &ResourceMut<'_>, buffer: &mut Vec<u8>) -> Option<bool> {
        self.resources.as_ref().map(|matcher| matcher.matches_resource(resource, buffer))
    }

    /// Whether the name of a metric matches; `None` if no names are given.
    pub(super) fn matches_name(&self, name: &[u8]) -> Option<bool> {
        self.names.as_ref().map(|names| names.matches(name))
    }
}
