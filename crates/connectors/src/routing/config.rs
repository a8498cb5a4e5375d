//! The configuration of `routing`, and the compiled table.

use otelcore_config::{PipelineId, Section, config_struct};
use otelcore_ottl::ErrorMode;

use super::error_mode::ErrorModeConfig;
use super::request::RequestCondition;
use super::table::{Action, Match, Route, RouteContext};

config_struct! {
    /// Passes telemetry to the pipelines that a table names for it.
    #[config(check = Self::check)]
    pub struct RoutingConfig {
        /// The pipelines of what no route moves. Without them it is dropped.
        pub default_pipelines: Vec<PipelineId>,
        /// What is done when a condition can't be evaluated: `propagate` refuses the payload, `ignore` and `silent` treat
        /// it as one that does not hold.
        pub error_mode: ErrorModeConfig = ErrorModeConfig(ErrorMode::Propagate),
        /// The routes, in the order in which they are tried.
        pub table: Vec<RouteConfig>,
        /// Before version 0.120: whether a payload is passed on by the first route that matches only, as now.
        #[config(deprecated = "nothing: what a route moves, later routes do not see")]
        pub match_once: Option<bool>,
    }
}

config_struct! {
    /// A route.
    #[config(check = Self::check)]
    pub struct RouteConfig {
        /// What the condition is about: `resource` (the default), `span`, `metric`, `datapoint`, `log`, or `request`.
        pub context: String,
        /// A condition of OTTL. For `request`: `request["header"] == "value"`, or with `!=`.
        pub condition: String,
        /// A statement of OTTL, such as `route() where attributes["env"] == "prod"`, instead of a condition.
        pub statement: String,
        /// `move` (the default), or `copy`: later routes see what matched as well.
        pub action: String,
        /// The pipelines that get what matches.
        pub pipelines: Vec<PipelineId>,
    }
}

impl RoutingConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.table.is_empty() {
            s.error("table", "invalid routing table: the routing table is empty");
        }
        if self.match_once == Some(false) {
            s.error("match_once", "'match_once: false' is not supported, nor by the Go collector since version 0.120")
                .help("write `action: copy` in routes after which others are to match as well");
        }
    }
}

/// The key of a mistake in a route, and its message.
#[derive(Debug)]
pub(super) struct RouteError {
    key: &'static str,
    /// The place in the text of the key, where it is one in the text.
    at: Option<usize>,
    pub(super) message: String,
    hint: Option<String>,
    /// Whether the Go collector finds it when it reads the configuration.
    is_validated: bool,
}

impl RouteError {
    fn validated(key: &'static str, message: impl Into<String>) -> Self {
        Self { key, at: None, message: message.into(), hint: None, is_validated: true }
    }
}

impl RouteConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let Err(error) = self.compile() else { return };
        let draft = match error.at {
            Some(at) => s.start_error_in_text(error.key, self.text(), at, error.message),
            None if error.is_validated => s.error(error.key, error.message),
            None => s.start_error(error.key, error.message),
        };
        draft.maybe_help(error.hint);
    }

    /// The text of the condition or statement.
    fn text(&self) -> &str {
        if self.condition.is_empty() { &self.statement } else { &self.condition }
    }

    /// By which the Go collector finds a route that is there twice.
    pub(super) fn identity(&self) -> String {
        let statement = if self.condition.is_empty() {
            self.statement.clone()
        } else {
            format!("route() where {}", self.condition)
        };
        match self.context.as_str() {
            "" | "resource" => statement,
            "request" => format!("[request] {}", self.condition),
            context => format!("[{context}] {statement}"),
        }
    }

    /// The route, without its pipelines.
    ///
    /// # Errors
    /// The first mistake, in the words of the Go collector.
    pub(super) fn compile(&self) -> Result<Route, RouteError> {
        match (self.statement.is_empty(), self.condition.is_empty()) {
            (true, true) => {
                return Err(RouteError::validated("condition", "invalid route: no condition or statement provided"));
            }
            (false, false) => {
                return Err(RouteError::validated("statement", "invalid route: both condition and statement provided"));
            }
            _ => {}
        }
        if self.pipelines.is_empty() {
            return Err(RouteError::validated("pipelines", "invalid route: no pipelines defined"));
        }
        let action = match self.action.as_str() {
            "" | "move" => Action::Move,
            "copy" => Action::Copy,
            other => {
                let mut error = RouteError::validated("action", format!("invalid Action string: {other}"));
                error.hint = Some("write move or copy".to_owned());
                return Err(error);
            }
        };
        let matching = match self.context.as_str() {
            "request" if self.condition.is_empty() => {
                return Err(RouteError::validated("condition", "\"request\" context requires a 'condition'"));
            }
            "request" => match RequestCondition::parse(&self.condition) {
                Ok(condition) => Match::Request(condition),
                Err(message) => return Err(RouteError::validated("condition", message)),
            },
            name => {
                let Some(context) = RouteContext::by_name(name) else {
                    let mut error = RouteError::validated("context", format!("invalid context: {name}"));
                    error.hint = Some("write resource, span, metric, datapoint, log or request".to_owned());
                    return Err(error);
                };
                self.compile_text(context)?
            }
        };
        Ok(Route { matching, action, group: 0 })
    }

    fn compile_text(&self, context: RouteContext) -> Result<Match, RouteError> {
        let compiler = context.compiler();
        let (key, result) = if self.condition.is_empty() {
            ("statement", compiler.statement(&self.statement).map(|statement| Match::Statement(context, statement)))
        } else {
            ("condition", compiler.condition(&self.condition).map(|condition| Match::Condition(context, condition)))
        };
        result.map_err(|error| RouteError {
            key,
            at: Some(error.place.start),
            message: error.message,
            hint: error.hint,
            is_validated: false,
        })
    }
}
