//! The compiled table: routes, and the groups of pipelines that they lead to.

use otelcore_ottl::contexts::{self, ContextType};
use otelcore_ottl::{Compiler, Condition, PathPrefix, Statement};
use otelcore_pdata::Signal;

use super::functions;
use super::request::RequestCondition;

/// What is done with what matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    Move,
    /// Later routes see it as well.
    Copy,
}

/// What a condition or statement is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RouteContext {
    Resource,
    Span,
    Metric,
    DataPoint,
    Log,
}

impl RouteContext {
    pub(super) fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "" | "resource" => Self::Resource,
            "span" => Self::Span,
            "metric" => Self::Metric,
            "datapoint" => Self::DataPoint,
            "log" => Self::Log,
            _ => return None,
        })
    }

    fn context_type(self) -> ContextType {
        match self {
            Self::Resource => contexts::RESOURCE,
            Self::Span => contexts::SPAN,
            Self::Metric => contexts::METRIC,
            Self::DataPoint => contexts::DATA_POINT,
            Self::Log => contexts::LOG,
        }
    }

    pub(super) fn compiler(self) -> Compiler<'static> {
        let functions = if self == Self::Span { functions::of_spans() } else { functions::of_others() };
        Compiler { context: self.context_type(), functions, prefix: PathPrefix::Implied }
    }

    /// Whether payloads of the signal have what it is about.
    pub(super) fn is_of(self, signal: Signal) -> bool {
        match self {
            Self::Resource => true,
            Self::Span => signal == Signal::Traces,
            Self::Metric | Self::DataPoint => signal == Signal::Metrics,
            Self::Log => signal == Signal::Logs,
        }
    }
}

/// What must hold.
#[derive(Debug)]
pub(super) enum Match {
    Request(RequestCondition),
    Condition(RouteContext, Condition),
    /// Holds where the condition of the statement does, after the statement has changed what matches.
    Statement(RouteContext, Statement),
}

impl Match {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Request(_) => "",
            Self::Condition(_, condition) => condition.text(),
            Self::Statement(_, statement) => statement.text(),
        }
    }

    pub(super) fn context(&self) -> Option<RouteContext> {
        match self {
            Self::Request(_) => None,
            Self::Condition(context, _) | Self::Statement(context, _) => Some(*context),
        }
    }

    /// Whether what does not match, or matches and is kept, may differ from what was there before.
    pub(super) fn changes(&self) -> bool {
        match self {
            Self::Request(_) | Self::Condition(..) => false,
            // The editor `route` changes nothing.
            Self::Statement(_, statement) => {
                let after_name = statement.text().trim_start().strip_prefix("route");
                !after_name.is_some_and(|rest| rest.trim_start().starts_with('('))
            }
        }
    }
}

/// A route.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) matching: Match,
    pub(super) action: Action,
    /// The position in [`Table::groups`].
    pub(super) group: usize,
}

/// The routes of one signal.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) routes: Vec<Route>,
    /// The pipelines that get the same payloads, each by its number among those that the connector feeds.
    pub(super) groups: Vec<Vec<usize>>,
    /// The group of what no route moves.
    pub(super) default_group: Option<usize>,
}

impl Table {
    /// The number of a group of pipelines. Routes to the same single pipeline share one, so that it gets one payload.
    pub(super) fn group(&mut self, pipelines: Vec<usize>) -> usize {
        let shared = if pipelines.len() == 1 { self.groups.iter().position(|group| *group == pipelines) } else { None };
        shared.unwrap_or_else(|| {
            self.groups.push(pipelines);
            self.groups.len() - 1
        })
    }
}
