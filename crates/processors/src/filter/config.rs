//! The configuration of `filter`, and its compiled form.

use otelcore_config::{Section, config_struct};
use otelcore_ottl::{Condition, ConditionSequence, ErrorMode, LogicOperation};
use otelcore_pdata::Signal;
use otelcore_pipeline::StartError;

use super::expression::Expression;
use super::older::{MetricFilter, MetricSelection, OlderFilter};
use crate::matching::{
    AttributeMatchConfig, MatchConfig, MatchError, Matcher, MetricNames, RegexpConfig, SeverityMatchConfig,
};
use crate::statements::{
    ContextGroup, ContextKind, ErrorModeConfig, GroupCompiler, GroupPlace, GroupsConfig, cost_of_text,
};

config_struct! {
    /// Conditions that share a context. What one of them holds for is dropped.
    pub struct ConditionsConfig {
        /// Their context: `resource`, `scope`, and `span`, `spanevent`, `metric`, `datapoint` or `log`. By default that of
        /// each is inferred from its paths, which then begin with the name of a context.
        pub context: String,
        /// The conditions.
        pub conditions: Vec<String>,
        /// What is done when a condition fails. By default that of the processor.
        pub error_mode: Option<ErrorModeConfig>,
    }
}

impl ContextGroup for ConditionsConfig {
    const KEY: &'static str = "conditions";

    fn without_context(texts: Vec<String>) -> Self {
        Self { conditions: texts, ..Self::default() }
    }
}

config_struct! {
    /// Conditions on traces, by level. What one of them holds for is dropped.
    pub struct TraceFiltersConfig {
        /// Conditions on resources, which are dropped with all that they contain.
        pub resource: Option<Vec<String>>,
        /// Conditions on spans.
        pub span: Option<Vec<String>>,
        /// Conditions on events of spans.
        pub spanevent: Option<Vec<String>>,
    }
}

config_struct! {
    /// Which metrics `include` or `exclude` mean.
    pub struct MetricPropertiesConfig {
        /// How texts are compared: `strict` or `regexp`. With `expr`, `expressions` are evaluated.
        pub match_type: String,
        /// Options of `regexp`.
        pub regexp: RegexpConfig,
        /// Names of metrics, one of which must match.
        pub metric_names: Vec<String>,
        /// Expressions on a metric and each of its points, such as `MetricName == "m" && Label("k") != "v"`, with
        /// `match_type: expr`. One must hold for one of the points.
        pub expressions: Vec<String>,
        /// Attributes of the resource, all of which must match.
        pub resource_attributes: Vec<AttributeMatchConfig>,
    }
}

config_struct! {
    /// Conditions on metrics, by level, or the older `include` and `exclude`.
    pub struct MetricFiltersConfig {
        /// Only metrics that match are kept.
        pub include: Option<MetricPropertiesConfig>,
        /// Metrics that match are dropped.
        pub exclude: Option<MetricPropertiesConfig>,
        /// Options of `regexp`.
        #[config(no_effect = "the options are those of `include` and `exclude`")]
        pub regexp: RegexpConfig,
        /// Conditions on resources, which are dropped with all that they contain.
        pub resource: Option<Vec<String>>,
        /// Conditions on metrics.
        pub metric: Option<Vec<String>>,
        /// Conditions on data points.
        pub datapoint: Option<Vec<String>>,
    }
}

config_struct! {
    /// Which severity numbers match.
    pub struct LogSeverityConfig {
        /// The lowest severity that matches: a name such as `INFO`, or a number.
        pub min: String,
        /// Whether records without a severity number match.
        pub match_undefined: bool,
    }
}

config_struct! {
    /// Which log records `include` or `exclude` mean: those that match every list that is given.
    pub struct LogMatchConfig {
        /// How texts are compared: `strict` (equal) or `regexp` (a regular expression matches a part of them).
        pub match_type: String,
        /// Attributes of the resource, all of which must match.
        pub resource_attributes: Vec<AttributeMatchConfig>,
        /// Attributes of the record, all of which must match.
        pub record_attributes: Vec<AttributeMatchConfig>,
        /// Severity texts, one of which must match.
        pub severity_texts: Vec<String>,
        /// Severity numbers.
        pub severity_number: Option<LogSeverityConfig>,
        /// Bodies as text, one of which must match.
        pub bodies: Vec<String>,
    }
}

config_struct! {
    /// Conditions on log records, by level, or the older `include` and `exclude`.
    pub struct LogFiltersConfig {
        /// Only records that match are kept.
        pub include: Option<LogMatchConfig>,
        /// Records that match are dropped.
        pub exclude: Option<LogMatchConfig>,
        /// Conditions on resources, which are dropped with all that they contain.
        pub resource: Option<Vec<String>>,
        /// Conditions on log records.
        pub log_record: Option<Vec<String>>,
    }
}

config_struct! {
    /// The older `include` and `exclude` of spans.
    pub struct SpanMatchConfig {
        /// Only spans that match are kept.
        pub include: Option<MatchConfig>,
        /// Spans that match are dropped.
        pub exclude: Option<MatchConfig>,
    }
}

config_struct! {
    /// Drops telemetry for which a condition holds.
    #[config(check = Self::check)]
    #[config(unsupported("profiles", "there is no signal of profiles yet: remove the conditions on them"))]
    #[config(unsupported("profile_conditions", "there is no signal of profiles yet: remove the conditions on them"))]
    pub struct FilterConfig {
        /// What is done when a condition fails on an item: it is counted and logged once (`ignore`), only counted
        /// (`silent`), or the payload is refused (`propagate`).
        pub error_mode: ErrorModeConfig,
        /// Conditions on traces: texts, or groups.
        pub trace_conditions: Option<GroupsConfig<ConditionsConfig>>,
        /// Conditions on metrics: texts, or groups.
        pub metric_conditions: Option<GroupsConfig<ConditionsConfig>>,
        /// Conditions on logs: texts, or groups.
        pub log_conditions: Option<GroupsConfig<ConditionsConfig>>,
        /// Conditions on traces by level.
        pub traces: TraceFiltersConfig,
        /// Conditions on metrics by level, or the older form.
        pub metrics: MetricFiltersConfig,
        /// Conditions on logs by level, or the older form.
        pub logs: LogFiltersConfig,
        /// The older form for spans.
        pub spans: SpanMatchConfig,
    }
}

/// What a signal is filtered by.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Conditions by level, one pass for each entry.
    pub(super) passes: Vec<LevelConditions>,
    /// The older form.
    pub(super) older: Option<OlderFilter>,
}

/// The conditions of each level.
#[derive(Debug, Default)]
pub(super) struct LevelConditions {
    pub(super) resource: Option<ConditionSequence>,
    pub(super) scope: Option<ConditionSequence>,
    pub(super) span: Option<ConditionSequence>,
    pub(super) span_event: Option<ConditionSequence>,
    pub(super) metric: Option<ConditionSequence>,
    pub(super) data_point: Option<ConditionSequence>,
    pub(super) log: Option<ConditionSequence>,
}

impl LevelConditions {
    fn slot(&mut self, kind: ContextKind) -> &mut Option<ConditionSequence> {
        match kind {
            ContextKind::Resource => &mut self.resource,
            ContextKind::Scope => &mut self.scope,
            ContextKind::Span => &mut self.span,
            ContextKind::SpanEvent => &mut self.span_event,
            ContextKind::Metric => &mut self.metric,
            ContextKind::DataPoint => &mut self.data_point,
            ContextKind::Log => &mut self.log,
        }
    }

    /// All conditions, by level.
    pub(super) fn sequences(&self) -> impl Iterator<Item = &ConditionSequence> {
        let all =
            [&self.resource, &self.scope, &self.span, &self.span_event, &self.metric, &self.data_point, &self.log];
        all.into_iter().flatten()
    }
}

impl Rules {
    /// The conditions, each with what is done about its errors.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, ErrorMode)> {
        self.passes.iter().flat_map(LevelConditions::sequences).flat_map(|sequence| {
            let error_mode = sequence.error_mode();
            sequence.conditions().iter().map(move |condition| (condition.text(), error_mode))
        })
    }
}

/// One list of conditions of a level: its key, its context and the conditions.
type Level<'a> = (&'static str, ContextKind, &'a Option<Vec<String>>);

impl FilterConfig {
    fn levels(&self, signal: Signal) -> Vec<Level<'_>> {
        match signal {
            Signal::Traces => vec![
                ("traces::resource", ContextKind::Resource, &self.traces.resource),
                ("traces::span", ContextKind::Span, &self.traces.span),
                ("traces::spanevent", ContextKind::SpanEvent, &self.traces.spanevent),
            ],
            Signal::Metrics => vec![
                ("metrics::resource", ContextKind::Resource, &self.metrics.resource),
                ("metrics::metric", ContextKind::Metric, &self.metrics.metric),
                ("metrics::datapoint", ContextKind::DataPoint, &self.metrics.datapoint),
            ],
            Signal::Logs => vec![
                ("logs::resource", ContextKind::Resource, &self.logs.resource),
                ("logs::log_record", ContextKind::Log, &self.logs.log_record),
            ],
        }
    }

    fn groups(&self, signal: Signal) -> (&'static str, Option<&GroupsConfig<ConditionsConfig>>) {
        match signal {
            Signal::Traces => ("trace_conditions", self.trace_conditions.as_ref()),
            Signal::Metrics => ("metric_conditions", self.metric_conditions.as_ref()),
            Signal::Logs => ("log_conditions", self.log_conditions.as_ref()),
        }
    }

    /// Whether `include` or `exclude` of a signal is there.
    fn has_older(&self, signal: Signal) -> bool {
        match signal {
            Signal::Traces => self.spans.include.is_some() || self.spans.exclude.is_some(),
            Signal::Metrics => self.metrics.include.is_some() || self.metrics.exclude.is_some(),
            Signal::Logs => self.logs.include.is_some() || self.logs.exclude.is_some(),
        }
    }

    fn check(&mut self, s: &mut Section<'_>) {
        for signal in Signal::ALL {
            let has_levels = self.levels(signal).iter().any(|(_, _, conditions)| conditions.is_some());
            let (key, groups) = self.groups(signal);
            let has_groups = groups.is_some();
            let name = key.trim_end_matches("_conditions");
            let (levels, older) = match signal {
                Signal::Traces => {
                    (r#""traces.resource", "traces.span", "traces.spanevent""#, r#""spans.include", "spans.exclude""#)
                }
                Signal::Metrics => (
                    r#""metrics.resource", "metrics.metric", "metrics.datapoint""#,
                    r#""metrics.include", "metrics.exclude""#,
                ),
                Signal::Logs => (r#""logs.resource", "logs.log""#, r#""logs.include", "logs.exclude""#),
            };
            // Conditions on traces and the older form of spans may be together in the Go collector.
            if has_groups && (has_levels || self.has_older(signal) && signal != Signal::Traces) {
                let others = if signal == Signal::Traces { levels.to_owned() } else { format!("{levels}, {older}") };
                s.error(
                    key,
                    format!(
                        "cannot use context inferred {name} conditions \"{key}\" and the settings {others} at the same time"
                    ),
                );
                continue;
            }
            if has_levels && self.has_older(signal) {
                let what = if signal == Signal::Traces { "span settings" } else { "settings" };
                let section = if signal == Signal::Traces {
                    "spans"
                } else {
                    levels.split('.').next().unwrap_or("").trim_matches('"')
                };
                s.error(section, format!("cannot use {levels} and the {what} {older} at the same time"));
                continue;
            }
            self.check_signal(signal, s);
        }
    }

    fn check_signal(&self, signal: Signal, s: &mut Section<'_>) {
        let (key, groups) = self.groups(signal);
        for (index, group) in groups.iter().flat_map(|groups| groups.0.iter().enumerate()) {
            let place = GroupPlace::of::<ConditionsConfig>(s, key, index);
            self.group(&mut GroupCompiler { signal, section: Some(s), place, error: None }, group);
        }
        for (key, kind, conditions) in self.levels(signal) {
            let place = GroupPlace { list: key.to_owned(), group: key.to_owned() };
            let mut compiler = GroupCompiler { signal, section: Some(s), place, error: None };
            compiler.conditions(kind, conditions.as_deref().unwrap_or_default(), self.error_mode.0);
        }
        if groups.is_none()
            && let Err((key, error)) = self.older(signal)
        {
            s.start_error(&key, error);
        }
    }

    /// The conditions of a group, by level.
    fn group(&self, compiler: &mut GroupCompiler<'_, '_>, group: &ConditionsConfig) -> Option<LevelConditions> {
        let error_mode = group.error_mode.map_or(self.error_mode.0, |mode| mode.0);
        let mut levels = LevelConditions::default();
        if !group.context.is_empty() {
            let kind = compiler.named_context(&group.context, "conditions", &group.conditions)?;
            let compiled = compiler.conditions(kind, &group.conditions, error_mode)?;
            *levels.slot(compiled.kind) = Some(compiled.conditions).filter(|_| !group.conditions.is_empty());
            return Some(levels);
        }
        let mut by_kind: Vec<(ContextKind, Vec<Condition>)> = Vec::new();
        for (kind, condition) in compiler.inferred_conditions(&group.conditions)? {
            match by_kind.iter_mut().find(|(found, _)| *found == kind) {
                Some((_, conditions)) => conditions.push(condition),
                None => by_kind.push((kind, vec![condition])),
            }
        }
        for (kind, conditions) in by_kind {
            *levels.slot(kind) = Some(ConditionSequence::new(conditions, LogicOperation::Or, error_mode));
        }
        Some(levels)
    }

    /// The rules of a signal.
    pub(super) fn compile(&self, signal: Signal) -> Result<Rules, StartError> {
        let (key, groups) = self.groups(signal);
        let compiler = |key: &str| {
            let place = GroupPlace { list: key.to_owned(), group: key.to_owned() };
            GroupCompiler { signal, section: None, place, error: None }
        };
        if let Some(groups) = groups.filter(|groups| !groups.0.is_empty()) {
            let mut rules = Rules::default();
            for group in &groups.0 {
                let mut compiler = compiler(key);
                let levels = self.group(&mut compiler, group);
                rules.passes.push(levels.ok_or_else(|| StartError::Config(compiler.error.take().unwrap_or_default()))?);
            }
            return Ok(rules);
        }
        let mut levels = LevelConditions::default();
        let mut has_levels = false;
        for (key, kind, conditions) in self.levels(signal) {
            let Some(conditions) = conditions else { continue };
            has_levels = true;
            let mut compiler = compiler(key);
            let compiled = compiler.conditions(kind, conditions, self.error_mode.0);
            let compiled = compiled.ok_or_else(|| StartError::Config(compiler.error.take().unwrap_or_default()))?;
            *levels.slot(kind) = Some(compiled.conditions);
        }
        if has_levels {
            return Ok(Rules { passes: vec![levels], older: None });
        }
        let older = self.older(signal).map_err(|(_, error)| StartError::Config(error))?;
        Ok(Rules { passes: Vec::new(), older })
    }

    /// `include` and `exclude` of a signal; the key and the message of the first mistake.
    fn older(&self, signal: Signal) -> Result<Option<OlderFilter>, (String, String)> {
        if !self.has_older(signal) {
            return Ok(None);
        }
        let at = |key: &'static str| move |error: MatchError| (key.to_owned(), error.message);
        match signal {
            Signal::Traces => {
                let (include, exclude) = (self.spans.include.as_ref(), self.spans.exclude.as_ref());
                Matcher::compile(include, exclude, signal)
                    .map_err(at("spans"))
                    .map(|matcher| Some(OlderFilter::Items(Box::new(matcher))))
            }
            Signal::Metrics => {
                let one = |config: &Option<MetricPropertiesConfig>, key: &'static str| match config {
                    None => Ok(None),
                    Some(config) => config.compile().map(|filter| Some(Box::new(filter))).map_err(at(key)),
                };
                let include = one(&self.metrics.include, "metrics::include")?;
                let exclude = one(&self.metrics.exclude, "metrics::exclude")?;
                Ok(Some(OlderFilter::Metrics { include, exclude }))
            }
            Signal::Logs => {
                let one = |config: &Option<LogMatchConfig>, key: &str| match config {
                    Some(config) if !config.is_empty() => config
                        .to_match_config()
                        .map(Some)
                        .map_err(|message| (format!("logs::{key}::severity_number::min"), message)),
                    _ => Ok(None),
                };
                let include = one(&self.logs.include, "include")?;
                let exclude = one(&self.logs.exclude, "exclude")?;
                let matcher = Matcher::compile(include.as_ref(), exclude.as_ref(), signal)
                    .map_err(|error| ("logs".to_owned(), format!("failed to build skip matcher: {}", error.message)))?;
                Ok(Some(OlderFilter::Items(Box::new(matcher))))
            }
        }
    }
}

impl MetricPropertiesConfig {
    /// Compiles the names and attributes.
    fn compile(&self) -> Result<MetricFilter, MatchError> {
        let expressions = if self.match_type == "expr" { &self.expressions[..] } else { &[] };
        let mut compiled = Vec::new();
        for (index, text) in expressions.iter().enumerate() {
            compiled.push(Expression::parse(text).map_err(|reason| {
                MatchError::message(format!(
                    "expressions[{index}]: {reason}: write it as a condition of OTTL in `metrics::metric`, where `MetricName` \
                     is `metric.name`, `HasLabel(\"k\")` is `HasAttrKeyOnDatapoint(\"k\")` and `Label(\"k\") == \"v\"` is \
                     `HasAttrOnDatapoint(\"k\", \"v\")`"
                ))
            })?);
        }
        let attributes = MatchConfig {
            match_type: self.match_type.clone(),
            resources: self.resource_attributes.clone(),
            ..MatchConfig::default()
        };
        let names = MatchConfig {
            match_type: self.match_type.clone(),
            metric_names: self.metric_names.clone(),
            ..MatchConfig::default()
        };
        let has_attributes = !self.resource_attributes.is_empty();
        Ok(MetricFilter {
            resources: has_attributes.then(|| Matcher::of_resources(&attributes)).transpose()?,
            metrics: match compiled {
                compiled if compiled.is_empty() => MetricNames::compile(&names)?.map(MetricSelection::Names),
                compiled => Some(MetricSelection::Expressions(compiled)),
            },
            cost_per_byte: 16 + expressions.iter().map(|text| cost_of_text(text)).sum::<u64>(),
        })
    }
}

impl LogMatchConfig {
    fn is_empty(&self) -> bool {
        self.resource_attributes.is_empty()
            && self.record_attributes.is_empty()
            && self.severity_texts.is_empty()
            && self.bodies.is_empty()
            && self.severity_number.is_none()
    }

    fn to_match_config(&self) -> Result<MatchConfig, String> {
        let severity = |config: &LogSeverityConfig| {
            severity_number(&config.min)
                .map(|min| SeverityMatchConfig { min, match_undefined: config.match_undefined })
                .ok_or_else(|| format!("'{}' is not a valid severity: not a valid severity", config.min))
        };
        Ok(MatchConfig {
            match_type: self.match_type.clone(),
            log_bodies: self.bodies.clone(),
            log_severity_texts: self.severity_texts.clone(),
            log_severity_number: self.severity_number.as_ref().map(severity).transpose()?,
            attributes: self.record_attributes.clone(),
            resources: self.resource_attributes.clone(),
            ..MatchConfig::default()
        })
    }
}

/// The number of a severity: of a name such as `warn` or `WARN2`, or the number itself. The empty name is zero.
fn severity_number(name: &str) -> Option<i32> {
    if name.is_empty() {
        return Some(0);
    }
    let name = name.to_uppercase();
    if let Ok(number) = name.parse::<i32>() {
        return (1..=24).contains(&number).then_some(number).filter(|number| number.to_string() == name);
    }
    let names = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    let (level, prefix) = names.iter().enumerate().find(|(_, prefix)| name.starts_with(**prefix))?;
    let step = match name.strip_prefix(prefix)? {
        "" => 0,
        "2" => 1,
        "3" => 2,
        "4" => 3,
        _ => return None,
    };
    i32::try_from(level * 4 + step + 1).ok()
}
