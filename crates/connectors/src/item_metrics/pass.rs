//! One pass over a payload, which changes nothing: items are evaluated, and the numbers of each resource are written when
//! its entry ends.

use std::sync::Arc;

use otelcore_ottl::contexts::{
    ContextView, DataPointContext, LogContext, MetricContext, SpanContext, SpanEventContext,
};
use otelcore_ottl::evaluate::State;
use otelcore_ottl::{ConditionSequence, Evaluation, FixedEnvironment};
use otelcore_pdata::build::Body;
use otelcore_pdata::edit::{
    Descend, EditPass, Editor, EventMut, Keep, LogMut, MetricKind, MetricMut, OutputLimit, Point, PointMut,
    ResourceMut, ScopeMut, SpanMut,
};
use otelcore_pdata::views::{AnyValue, View};
use otelcore_pdata::{Rope, StepBudget, Value};
use otelcore_pipeline::{Held, MonotonicTime, NoRoom, Outcome, Payload, WallTime};

use super::config::MetricDefinition;
use super::totals::{EntryTotals, Measure};
use crate::conditions::{RequestHeaders, cost_of_calls};
use crate::ordered_work::Work;

/// Bytes that may be collected before the charge is raised.
const CHARGED_AT_ONCE: u64 = 1 << 16;

/// The output may have so many times the bytes of the payload, and 4 MiB more: a small resource with one item has a metric
/// with names and a description.
const MAX_METRICS: OutputLimit = OutputLimit { factor: 16, extra: 4 << 20 };

/// The metrics of one level.
#[derive(Debug)]
pub(crate) struct LevelMetrics {
    pub(crate) definitions: Vec<MetricDefinition>,
}

/// Makes metrics of payloads of one signal.
pub(super) struct ItemMachine {
    /// The upper level, spans for example, and the lower one, their events.
    levels: Arc<[LevelMetrics]>,
    measure: Measure,
    scope_name: &'static [u8],
    state: State,
    environment: FixedEnvironment,
    cost_per_byte: u64,
}

impl ItemMachine {
    /// `seed` is for functions of conditions.
    pub(super) fn new(levels: Arc<[LevelMetrics]>, measure: Measure, scope_name: &'static [u8], seed: u64) -> Self {
        let cost = |metric: &MetricDefinition| {
            let conditions = metric.conditions.iter().flat_map(|sequence| sequence.conditions());
            let conditions = conditions.map(|condition| 8 + cost_of_calls(condition.text()));
            40 + 20 * metric.attributes.len() as u64 + conditions.sum::<u64>()
        };
        let cost_per_byte = 12 + levels.iter().flat_map(|level| &level.definitions).map(cost).sum::<u64>();
        let environment = FixedEnvironment::new(0, seed);
        Self { levels, measure, scope_name, state: State::default(), environment, cost_per_byte }
    }
}

impl Work for ItemMachine {
    /// The metrics and the charge for them.
    type Output = Result<(Rope, Held), Outcome>;

    fn cost_per_byte(&self) -> u64 {
        self.cost_per_byte
    }

    fn set_time(&mut self, _: MonotonicTime, wall_time: WallTime) {
        self.environment.unix_nanos = wall_time.0.cast_signed();
    }

    fn run(&mut self, payload: &mut Payload) -> Self::Output {
        let request = RequestHeaders(payload.metadata.clone());
        let mut pass = ItemPass {
            levels: &self.levels,
            measure: self.measure,
            scope_name: self.scope_name,
            state: &self.state,
            environment: &self.environment,
            request: &request,
            resource: Vec::new(),
            resource_values: Vec::new(),
            scope_values: Vec::new(),
            entry: EntryTotals::default(),
            body: Body::new(),
            max_output: MAX_METRICS.of(payload.body.len()) as u64,
            event_index: 0,
            key: Vec::new(),
            scratch: Vec::new(),
            collected: payload.held.hold_derived(0),
            charged: 0,
            written: payload.held.hold_derived(0),
            failure: None,
        };
        let mut edit = EditPass::new(payload.signal, payload.body.clone(), OutputLimit::default());
        loop {
            let step = edit.step(&mut pass, &mut StepBudget::for_one_step());
            if let Some(failure) = pass.failure.take() {
                return Err(failure);
            }
            if step.map_err(|error| Outcome::permanent(error.to_string()))? {
                break;
            }
        }
        pass.end_entry();
        if let Some(failure) = pass.failure.take() {
            return Err(failure);
        }
        Ok((pass.body.finish(), pass.written))
    }
}

struct ItemPass<'m> {
    levels: &'m [LevelMetrics],
    measure: Measure,
    scope_name: &'static [u8],
    state: &'m State,
    environment: &'m FixedEnvironment,
    request: &'m RequestHeaders,
    /// The attributes of the resource, encoded.
    resource: Vec<(Vec<u8>, Vec<u8>)>,
    /// The numbers of the values of attributes in the resource and in the scope, by level, metric and attribute.
    resource_values: Vec<Option<u32>>,
    scope_values: Vec<Option<u32>>,
    entry: EntryTotals,
    body: Body,
    max_output: u64,
    event_index: i64,
    key: Vec<u32>,
    scratch: Vec<u8>,
    /// The charge for what is collected of the entry, and its bytes.
    collected: Held,
    charged: u64,
    /// The charge for what is written.
    written: Held,
    /// Why the payload is refused.
    failure: Option<Outcome>,
}

/// The numbers of the values that the attributes of all metrics have somewhere, in the order of the metrics.
fn numbers_of<'a>(
    levels: &[LevelMetrics],
    entry: &mut EntryTotals,
    scratch: &mut Vec<u8>,
    out: &mut Vec<Option<u32>>,
    find: impl Fn(&[u8]) -> Option<AnyValue<'a>>,
) {
    out.clear();
    let attributes = levels.iter().flat_map(|level| &level.definitions).flat_map(|metric| &metric.attributes);
    for attribute in attributes {
        out.push(find(&attribute.key).map(|value| entry.number_of(value, scratch)));
    }
}

impl ItemPass<'_> {
    /// Whether nothing more is to be done.
    fn is_over(&self) -> bool {
        self.failure.is_some()
    }

    /// Writes the metrics of the resource that ends.
    fn end_entry(&mut self) {
        let entry = std::mem::take(&mut self.entry);
        let collected = std::mem::replace(&mut self.collected, self.written.hold_derived(0));
        self.charged = 0;
        if self.is_over() || entry.is_empty() {
            return;
        }
        let definitions = |at: usize| self.levels.get(at).map_or(&[][..], |level| &level.definitions);
        let resource: u64 = self.resource.iter().map(|(key, value)| (key.len() + value.len()) as u64 + 16).sum();
        let names = self.scope_name.len() as u64 + 32;
        let bytes = resource + names + entry.written_bytes([definitions(0), definitions(1)]);
        let total = bytes.saturating_add(self.body.bytes().len() as u64);
        if total > self.max_output {
            let limit = self.max_output;
            self.failure = Some(Outcome::permanent(format!("the metrics are larger than {limit} bytes")));
            return;
        }
        if let Err(no_room) = self.written.try_grow(total) {
            return self.refuse(no_room);
        }
        let now = self.environment.unix_nanos.cast_unsigned();
        let mut writer = self.body.resource_metrics();
        {
            let mut resource = writer.resource();
            let mut attributes = resource.attributes();
            for (key, value) in &self.resource {
                attributes.push(key, AnyValue::parse(value));
            }
        }
        let mut scope_metrics = writer.scope_metrics();
        scope_metrics.scope().name(self.scope_name);
        for (at, level) in self.levels.iter().enumerate() {
            entry.write(&mut scope_metrics, at, &level.definitions, self.measure, now);
        }
        drop(collected);
    }

    fn refuse(&mut self, no_room: NoRoom) {
        self.failure.get_or_insert_with(|| Outcome::retry(no_room.to_string()));
    }

    /// Charges for what has been collected, some of it at once.
    fn charge_collected(&mut self) {
        if self.entry.bytes < self.charged + CHARGED_AT_ONCE {
            return;
        }
        self.charged = self.entry.bytes;
        if let Err(no_room) = self.collected.try_grow(self.charged) {
            self.refuse(no_room);
        }
    }

    /// What an item adds to a metric, whose attributes are then in `key`; `None` if it lacks one. `first` is the position of
    /// the first attribute of the metric among those of all metrics.
    fn amount<'a>(
        &mut self,
        metric: &MetricDefinition,
        first: usize,
        attribute: impl Fn(&[u8]) -> Option<AnyValue<'a>>,
    ) -> Option<f64> {
        match self.measure {
            Measure::Count => self.put_key(metric, first, &attribute).then_some(0.0),
            Measure::Sum => self.put_text_key(metric, &attribute).then(|| amount_of(attribute(&metric.source))),
        }
    }

    /// Whether one of the conditions holds. After an error, which refuses the payload, nothing holds.
    fn holds(&mut self, conditions: &ConditionSequence, context: &dyn ContextView) -> bool {
        let evaluation = Evaluation::new(context, self.state, self.environment);
        match conditions.evaluate(&evaluation, &mut |_, _| {}) {
            Ok(holds) => holds,
            Err(error) => {
                self.failure.get_or_insert_with(|| Outcome::permanent(error.message));
                false
            }
        }
    }

    /// The position of the first attribute of a level's metrics among those of all metrics.
    fn first_attribute(&self, level: usize) -> usize {
        let before = self.levels.iter().take(level).flat_map(|level| &level.definitions);
        before.map(|metric| metric.attributes.len()).sum()
    }

    /// Adds an item to a metric.
    fn add(&mut self, level: usize, metric: usize, amount: f64) {
        self.entry.add(level, metric, &self.key, amount);
        self.charge_collected();
    }

    /// The values of the attributes of a metric: of the item, its scope, its resource, or the default. False: one has none.
    fn put_key<'a>(
        &mut self,
        metric: &MetricDefinition,
        first: usize,
        attribute: &impl Fn(&[u8]) -> Option<AnyValue<'a>>,
    ) -> bool {
        self.key.clear();
        for (at, wanted) in metric.attributes.iter().enumerate() {
            let above = |numbers: &[Option<u32>]| numbers.get(first + at).copied().flatten();
            let number = match attribute(&wanted.key) {
                Some(value) => Some(self.entry.number_of(value, &mut self.scratch)),
                None => above(&self.scope_values).or_else(|| above(&self.resource_values)).or_else(|| {
                    wanted.default.as_ref().map(|value| self.entry.number_of_tree(value, &mut self.scratch))
                }),
            };
            let Some(number) = number else { return false };
            self.key.push(number);
        }
        true
    }

    /// The same for `sum`: attributes of the item as text, or the default. Empty texts and zeros are none.
    fn put_text_key<'a>(
        &mut self,
        metric: &MetricDefinition,
        attribute: &impl Fn(&[u8]) -> Option<AnyValue<'a>>,
    ) -> bool {
        self.key.clear();
        for wanted in &metric.attributes {
            let mut text = Vec::new();
            let value = match attribute(&wanted.key) {
                Some(AnyValue::String(text)) if !text.is_empty() => AnyValue::String(text),
                Some(AnyValue::Double(v)) if v != 0.0 => {
                    otelcore_go_number::put_general(&mut text, v);
                    AnyValue::String(&text)
                }
                Some(AnyValue::Int(v)) if v != 0 => {
                    text.extend_from_slice(v.to_string().as_bytes());
                    AnyValue::String(&text)
                }
                Some(_) => return false,
                None => match &wanted.default {
                    Some(Value::String(text)) if !text.is_empty() => AnyValue::String(text),
                    Some(Value::Int(v)) if *v != 0 => AnyValue::Int(*v),
                    Some(Value::Double(v)) if *v != 0.0 => AnyValue::Double(*v),
                    _ => return false,
                },
            };
            let number = self.entry.number_of(value, &mut self.scratch);
            self.key.push(number);
        }
        true
    }

    fn add_time(&mut self, level: usize, time: u64) {
        if let Some(level) = self.entry.levels.get_mut(level) {
            level.add_time(time);
        }
    }
}

/// What an item adds to a sum: a number, also one that is a text.
fn amount_of(value: Option<AnyValue<'_>>) -> f64 {
    match value {
        Some(AnyValue::String(text)) => otelcore_go_number::parse_float(text).unwrap_or(0.0),
        Some(AnyValue::Double(v)) => v,
        Some(AnyValue::Int(v)) => v as f64,
        _ => 0.0,
    }
}

/// Adds an item to the metrics of a level. `$find` finds an attribute of the item, `$context` is made of it where there are
/// conditions.
macro_rules! add_item {
    ($pass:ident, $level:expr, $find:expr, |$request:ident| $context:expr) => {{
        let levels = $pass.levels;
        let mut first = $pass.first_attribute($level);
        for (number, metric) in levels.get($level).iter().flat_map(|level| &level.definitions).enumerate() {
            let amount = $pass.amount(metric, first, $find);
            first += metric.attributes.len();
            let Some(amount) = amount else { continue };
            if let Some(conditions) = &metric.conditions {
                let $request = $pass.request;
                if !$pass.holds(conditions, &$context) {
                    continue;
                }
            }
            $pass.add($level, number, amount);
        }
    }};
}

impl Editor for ItemPass<'_> {
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        self.end_entry();
        if self.is_over() {
            return Descend::Skip;
        }
        self.resource.clear();
        for attribute in resource.view().attributes() {
            let mut value = Vec::new();
            attribute.value.encode(&mut value);
            self.resource.push((attribute.key.to_vec(), value));
        }
        let find = |key: &[u8]| resource.attribute(key);
        numbers_of(self.levels, &mut self.entry, &mut self.scratch, &mut self.resource_values, find);
        Descend::Children
    }

    fn scope(&mut self, scope: &mut ScopeMut<'_>) -> Descend {
        if self.is_over() {
            return Descend::Skip;
        }
        let find = |key: &[u8]| scope.attribute(key);
        numbers_of(self.levels, &mut self.entry, &mut self.scratch, &mut self.scope_values, find);
        self.charge_collected();
        Descend::Children
    }

    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        if self.is_over() {
            return Descend::Skip;
        }
        self.event_index = 0;
        let (start, end) = (span.view().start_time_unix_nano, span.view().end_time_unix_nano);
        self.add_time(0, start);
        self.add_time(0, end);
        add_item!(self, 0, |key| span.attribute(key), |request| SpanContext { span, request: Some(request) });
        if self.levels.get(1).is_none_or(|events| events.definitions.is_empty()) {
            return Descend::Skip;
        }
        Descend::Children
    }

    fn event(&mut self, event: &mut EventMut<'_>) -> Keep {
        if !self.is_over() {
            let index = self.event_index;
            self.event_index += 1;
            self.add_time(1, event.view().time_unix_nano);
            add_item!(self, 1, |key| event.attribute(key), |request| SpanEventContext {
                event,
                index,
                request: Some(request)
            });
        }
        Keep::Keep
    }

    fn metric(&mut self, metric: &mut MetricMut<'_>) -> Descend {
        if self.is_over() {
            return Descend::Skip;
        }
        add_item!(self, 0, |_| None, |request| MetricContext::new(metric, Some(request)));
        if metric.kind() == MetricKind::Empty && self.failure.is_none() {
            let name = String::from_utf8_lossy(metric.view().name).into_owned();
            self.failure = Some(Outcome::permanent(format!("metric {name:?}: invalid metric type: Empty")));
        }
        Descend::Children
    }

    fn point(&mut self, point: &mut PointMut<'_>) -> Keep {
        if !self.is_over() {
            let time = match point.view() {
                Point::Number(view) => view.time_unix_nano,
                Point::Histogram(view) => view.time_unix_nano,
                Point::ExponentialHistogram(view) => view.time_unix_nano,
                Point::Summary(view) => view.time_unix_nano,
            };
            self.add_time(1, time);
            add_item!(self, 1, |key| point.attribute(key), |request| DataPointContext::new(point, Some(request)));
        }
        Keep::Keep
    }

    fn log(&mut self, log: &mut LogMut<'_>) -> Keep {
        if !self.is_over() {
            self.add_time(0, log.view().time_unix_nano);
            add_item!(self, 0, |key| log.attribute(key), |request| LogContext { log, request: Some(request) });
        }
        Keep::Keep
    }
}
