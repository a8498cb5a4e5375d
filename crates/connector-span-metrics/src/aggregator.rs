//! Adds spans to series: the machine without a world. It can be given to a helper thread.

use std::sync::Arc;

use otelcore_pdata::Rope;
use otelcore_pdata::views::{Event, KeyValue, RepeatedMessages, ResourceSpans, Scope, resource_entries};
use otelcore_pipeline::{Budget, MonotonicTime};

use crate::attribute_list::encode;
use crate::globs::{self, GlobAttributes};
use crate::key::{Element, KeyHasher};
use crate::lookup::{ResourceValues, ScopeValues, Slots, Sources, clear_slots, fill_slot};
use crate::settings::{ListId, Settings};
use crate::span_fields::{Raw, SpanFields};
use crate::store::{Exemplar, GroupId, NewSeries, Series, Store};
use crate::timestamps::ExportTimes;
use crate::trace_state::adjusted_count;

#[derive(Debug)]
pub(crate) struct Aggregator {
    pub(crate) settings: Arc<Settings>,
    pub(crate) store: Store,
    pub(crate) times: ExportTimes,
    hasher: KeyHasher,
    instance_id: Box<[u8]>,
    /// The default values of the dimensions by list, as they are in keys.
    defaults: [Vec<Element>; 4],
    random: u64,
    /// Buffers that are used again.
    key: Vec<u8>,
    scratch: Vec<u8>,
    /// A resource had no `service.name`.
    pub(crate) has_unnamed_service: bool,
}

/// What is used again for each span of a payload.
#[derive(Default)]
struct SpanBuffers<'a> {
    slots: Slots<'a>,
    event_slots: Slots<'a>,
    globs: GlobAttributes<'a>,
    event_globs: GlobAttributes<'a>,
    /// The last trace state: spans of a trace have the same one.
    trace_state: &'a [u8],
    adjusted: Option<(u64, bool)>,
}

/// What a span adds to series.
struct Observation<'s, 'a> {
    span: &'s SpanFields<'a>,
    duration: f64,
    /// How many spans it stands for.
    times: u64,
    /// The position of its resource.
    resource: u32,
    time: (MonotonicTime, u64),
    max_series: usize,
    max_exemplars: usize,
}

impl Observation<'_, '_> {
    /// Adds it to a series, which is made if it is not known.
    #[inline]
    fn add(&self, store: &mut Store, group: GroupId, key: u128, new: NewSeries<'_, impl FnOnce() -> Box<[u8]>>) {
        let found = store.series(self.resource, group, key, self.time, self.max_series, new);
        let sizes = found.map(|(series, is_overflow)| self.add_to(series, is_overflow));
        store.charge_change(sizes.unwrap_or_default());
    }

    /// Adds it. Returns the bytes that the series took before and takes now; joined buckets take less.
    #[inline]
    fn add_to(&self, series: &mut Series, is_overflow: bool) -> (u64, u64) {
        series.count = series.count.wrapping_add(self.times);
        let before = series.bytes();
        if let Some(histogram) = &mut series.histogram {
            histogram.record(self.duration, self.times);
        }
        if !is_overflow
            && series.exemplars.len() < self.max_exemplars
            && let Some(trace_id) = self.span.trace_id()
        {
            series.exemplars.push(Exemplar { trace_id, span_id: self.span.span_id(), value: self.duration });
        }
        (before, series.bytes())
    }
}

impl Aggregator {
    pub(crate) fn new(settings: Arc<Settings>, budget: &Arc<Budget>, instance_id: &str, seed: u64) -> Self {
        let hasher = KeyHasher::new(seed);
        let defaults = settings.lists().each_ref().map(|list| {
            let element = |default: &Option<Box<[u8]>>| match default {
                Some(text) => Element::new(&hasher, text),
                None => Element::ABSENT,
            };
            list.named.iter().map(|dimension| element(&dimension.default)).collect()
        });
        Self {
            store: Store::new(budget, settings.max_resources),
            times: ExportTimes::new(settings.max_timestamps),
            settings,
            hasher,
            instance_id: instance_id.as_bytes().into(),
            defaults,
            random: seed.rotate_left(17),
            key: Vec::new(),
            scratch: Vec::new(),
            has_unnamed_service: false,
        }
    }

    /// Adds the spans of a payload.
    pub(crate) fn add(&mut self, body: &Rope, time: (MonotonicTime, u64)) {
        let mut buffers = SpanBuffers::default();
        for entry in resource_entries::<ResourceSpans<'_>>(body) {
            let attributes = entry.resource.attributes();
            let read = ResourceValues::read(&self.settings, &self.hasher, attributes, &mut self.scratch);
            let Some(resource) = read else {
                self.has_unnamed_service = true;
                continue;
            };
            let stored = || encode(attributes.map(|attribute| (attribute.key, attribute.value)));
            let at = self.store.use_resource(resource.id, time.0, stored);
            for scope_spans in entry.scope_spans() {
                let scope = self.scope_values(&scope_spans.scope);
                for Raw(span) in RepeatedMessages::new(scope_spans.raw, 2) {
                    self.add_span(span, &resource, scope.as_ref(), at, &mut buffers, time);
                }
            }
        }
    }

    /// The scope, if its name is one of those that become dimensions.
    fn scope_values<'a>(&self, scope: &Scope<'a>) -> Option<ScopeValues<'a>> {
        let Scope { name, version, .. } = *scope;
        let is_included = self.settings.scopes.iter().any(|included| included.as_bytes() == name);
        let elements = || (Element::new(&self.hasher, name), Element::new(&self.hasher, version));
        is_included.then(|| ScopeValues { name, version, elements: elements() })
    }

    /// Begins the key of the series of a span: everything but the dimensions of the lists.
    fn begin_key(
        &mut self,
        span: &SpanFields<'_>,
        resource: &ResourceValues<'_>,
        scope: Option<&ScopeValues<'_>>,
        is_adjusted: bool,
    ) {
        let Self { settings, hasher, key, .. } = self;
        key.clear();
        key.extend_from_slice(&resource.id.to_le_bytes());
        if settings.base.service_name {
            resource.service_element.put(key);
        }
        if settings.base.span_name {
            Element::new(hasher, span.name).put(key);
        }
        // Numbers without a name are one.
        if settings.base.span_kind {
            key.push(if (0..=5).contains(&span.kind) { span.kind as u8 } else { u8::MAX });
        }
        if settings.base.status_code {
            key.push(if (0..=2).contains(&span.status_code) { span.status_code as u8 } else { u8::MAX });
        }
        if !settings.scopes.is_empty() {
            let (name, version) = scope.map_or((Element::ABSENT, Element::ABSENT), |scope| scope.elements);
            name.put(key);
            version.put(key);
        }
        if settings.has_sampling_method {
            key.push(u8::from(is_adjusted));
        }
    }

    fn add_span<'a>(
        &mut self,
        raw: &'a [u8],
        resource: &ResourceValues<'a>,
        scope: Option<&ScopeValues<'a>>,
        at: u32,
        buffers: &mut SpanBuffers<'a>,
        time: (MonotonicTime, u64),
    ) {
        let Self { settings, hasher, scratch, random, .. } = &mut *self;
        let slots = &mut buffers.slots;
        clear_slots(settings, slots);
        let span = SpanFields::read(raw, |attribute| fill_slot(settings, hasher, slots, &attribute, false, scratch));
        if settings.has_globs {
            buffers.globs.fill(settings, hasher, RepeatedMessages::<KeyValue<'_>>::new(raw, 9), false, scratch);
        }
        // A count that is rounded by chance is that of all spans of the trace in a payload, as in the Go collector.
        if buffers.adjusted.is_none() || buffers.trace_state != span.trace_state {
            buffers.trace_state = span.trace_state;
            buffers.adjusted = Some(adjusted_count(span.trace_state, random));
        }
        let (times, is_adjusted) = buffers.adjusted.unwrap_or((1, false));
        self.begin_key(&span, resource, scope, is_adjusted);
        let begun = self.key.len();
        let Self { settings, store, hasher, instance_id, defaults, key, .. } = &mut *self;
        let observation = Observation {
            span: &span,
            duration: span.duration() as f64 / settings.unit.nanos(),
            times,
            resource: at,
            time,
            max_series: settings.max_series,
            max_exemplars: settings.max_exemplars,
        };
        let sources = Sources {
            settings,
            instance_id,
            span: &span,
            resource,
            scope,
            is_adjusted,
            slots: &[&buffers.slots, &resource.slots],
            globs: &[&buffers.globs, &resource.globs],
        };
        let parts = if settings.has_globs { globs::key_parts(sources.globs) } else { [0; 4] };
        let [common, calls, durations, _] = &*defaults;
        sources.put_key(ListId::Common, common, &parts, key);
        let with_common = key.len();
        sources.put_key(ListId::Calls, calls, &parts, key);
        key.push(GroupId::Calls as u8);
        let attributes = || sources.attributes([ListId::Common, ListId::Calls]);
        let histogram = settings.histogram.as_ref().filter(|_| settings.shares_series);
        observation.add(store, GroupId::Calls, hasher.hash(key), NewSeries { attributes, histogram });
        if settings.histogram.is_some() && !settings.shares_series {
            key.truncate(with_common);
            sources.put_key(ListId::Duration, durations, &parts, key);
            key.push(GroupId::Durations as u8);
            let attributes = || sources.attributes([ListId::Common, ListId::Duration]);
            let new = NewSeries { attributes, histogram: settings.histogram.as_ref() };
            observation.add(store, GroupId::Durations, hasher.hash(key), new);
        }
        if settings.has_events {
            self.key.truncate(begun);
            self.add_events(raw, &observation, resource, scope, buffers, is_adjusted);
        }
    }

    /// Adds the events of a span. The key has what [`Aggregator::begin_key`] has written.
    fn add_events<'a>(
        &mut self,
        raw: &'a [u8],
        observation: &Observation<'_, 'a>,
        resource: &ResourceValues<'a>,
        scope: Option<&ScopeValues<'a>>,
        buffers: &mut SpanBuffers<'a>,
        is_adjusted: bool,
    ) {
        let Self { settings, store, hasher, instance_id, defaults, key, scratch, .. } = self;
        let begun = key.len();
        let [common, _, _, events] = &*defaults;
        for event in RepeatedMessages::<Event<'_>>::new(raw, 11) {
            clear_slots(settings, &mut buffers.event_slots);
            for attribute in event.attributes() {
                fill_slot(settings, hasher, &mut buffers.event_slots, &attribute, true, scratch);
            }
            if settings.has_globs {
                buffers.event_globs.fill(settings, hasher, event.attributes(), true, scratch);
            }
            let sources = Sources {
                settings,
                instance_id,
                span: observation.span,
                resource,
                scope,
                is_adjusted,
                slots: &[&buffers.slots, &buffers.event_slots, &resource.slots],
                globs: &[&buffers.globs, &buffers.event_globs, &resource.globs],
            };
            let parts = if settings.has_globs { globs::key_parts(sources.globs) } else { [0; 4] };
            key.truncate(begun);
            sources.put_key(ListId::Common, common, &parts, key);
            sources.put_key(ListId::Events, events, &parts, key);
            key.push(GroupId::Events as u8);
            let attributes = || sources.attributes([ListId::Common, ListId::Events]);
            observation.add(store, GroupId::Events, hasher.hash(key), NewSeries { attributes, histogram: None });
        }
    }
}
