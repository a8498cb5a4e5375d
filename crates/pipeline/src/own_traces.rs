//! Spans of the collector itself: what a payload meets from the receiver to the delivery.
//!
//! Owns the decision which traces are recorded, the ids and the clock of spans, and hands ended spans to a [`SpanSink`].
//! Without a tracer nothing is made. Sends nothing.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{MonotonicTime, WallTime};

/// Events of one span, as the SDKs limit them.
const MAX_EVENTS: usize = 128;

/// Identifies a span for those that follow from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpanContext {
    /// Not zero.
    pub trace_id: [u8; 16],
    /// Not zero.
    pub span_id: [u8; 8],
    /// The trace is recorded.
    pub is_sampled: bool,
}

impl SpanContext {
    /// Reads the header field `traceparent` of W3C Trace Context. `None` if it is not valid.
    #[must_use]
    pub fn from_traceparent(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_future = version != "00";
        if version.len() != 2 || version == "ff" || !is_future && parts.next().is_some() || flags.len() != 2 {
            return None;
        }
        let is_lower_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if trace.len() != 32 || span.len() != 16 || ![version, trace, span, flags].into_iter().all(is_lower_hex) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        let is_sampled = flags & 1 == 1;
        Some(Self { trace_id: trace_id.to_be_bytes(), span_id: span_id.to_be_bytes(), is_sampled })
    }
}

/// The value of an attribute of a span.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SpanValue {
    /// Text.
    Str(String),
    /// A whole number.
    Int(i64),
}

/// Attributes of a span or an event.
pub type SpanAttributes = Vec<(&'static str, SpanValue)>;

/// Something that happened during a span.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpanEvent {
    /// Nanoseconds since 1970.
    pub time: u64,
    /// What happened.
    pub name: &'static str,
    /// Its attributes.
    pub attributes: SpanAttributes,
}

/// A span that has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndedSpan {
    /// The instrumentation scope.
    pub scope: String,
    /// Its name.
    pub name: String,
    /// Its ids.
    pub context: SpanContext,
    /// The span that it follows from.
    pub parent: Option<[u8; 8]>,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
    /// Its attributes.
    pub attributes: SpanAttributes,
    /// What happened during it, in order.
    pub events: Vec<SpanEvent>,
    /// Events that were left out.
    pub dropped_events: u32,
    /// The message of its status, if that is an error.
    pub error: Option<String>,
}

/// Takes the spans that have ended.
pub trait SpanSink: Send + Sync {
    /// Takes a span. Never blocks.
    fn record(&self, span: EndedSpan);
}

/// Which traces are recorded.
#[derive(Clone, PartialEq, Debug)]
pub enum Sampler {
    /// All.
    AlwaysOn,
    /// None.
    AlwaysOff,
    /// This part of them, from 0 to 1, by their ids.
    Ratio(f64),
    /// As the span before them; without one, as the sampler says.
    ParentBased(Box<Self>),
}

impl Sampler {
    fn samples(&self, trace_id: [u8; 16], parent: Option<&SpanContext>) -> bool {
        match self {
            Self::AlwaysOn => true,
            Self::AlwaysOff => false,
            // As the SDK of Go: the number in the last eight bytes, halved, below the ratio of 2^63.
            Self::Ratio(ratio) => {
                let [.., a, b, c, d, e, f, g, h] = trace_id;
                let number = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1;
                *ratio >= 1.0 || (number as f64) < ratio * (1_u64 << 63) as f64
            }
            Self::ParentBased(root) => parent.map_or_else(|| root.samples(trace_id, None), |parent| parent.is_sampled),
        }
    }
}

/// Makes spans. Clones are the same tracer.
#[derive(Clone)]
pub struct Tracer(Arc<TracerState>);

struct TracerState {
    sampler: Sampler,
    sink: Arc<dyn SpanSink>,
    /// Whether the header field `traceparent` of requests is read.
    reads_traceparent: bool,
    /// The state of the generator of ids.
    random: AtomicU64,
    /// Nanoseconds from the origin of the monotonic clock to 1970.
    clock_offset: AtomicU64,
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer").field("sampler", &self.0.sampler).finish_non_exhaustive()
    }
}

impl Tracer {
    /// A tracer whose ids follow from `seed`.
    #[must_use]
    pub fn new(sampler: Sampler, sink: Arc<dyn SpanSink>, reads_traceparent: bool, seed: u64) -> Self {
        let (random, clock_offset) = (AtomicU64::new(seed), AtomicU64::new(0));
        Self(Arc::new(TracerState { sampler, sink, reads_traceparent, random, clock_offset }))
    }

    /// Sets the clock of spans: both times are now.
    pub fn set_clock(&self, now: MonotonicTime, wall_time: WallTime) {
        self.0.clock_offset.store(wall_time.0.wrapping_sub(now.0), Ordering::Relaxed);
    }

    fn wall_nanos(&self, now: MonotonicTime) -> u64 {
        self.0.clock_offset.load(Ordering::Relaxed).wrapping_add(now.0)
    }

    /// Whether requests say in `traceparent` which span they follow from.
    #[must_use]
    pub fn reads_traceparent(&self) -> bool {
        self.0.reads_traceparent
    }

    /// Begins a span. Without `parent` it begins a trace.
    #[must_use]
    pub fn start(&self, scope: &str, name: String, parent: Option<SpanContext>, now: MonotonicTime) -> ActiveSpan {
        let random = || mix(self.0.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)).max(1);
        let new_trace = || (u128::from(random()) << 64 | u128::from(random())).to_be_bytes();
        let trace_id = parent.as_ref().map_or_else(new_trace, |parent| parent.trace_id);
        let is_sampled = self.0.sampler.samples(trace_id, parent.as_ref());
        let context = SpanContext { trace_id, span_id: random().to_be_bytes(), is_sampled };
        let start = self.wall_nanos(now);
        let recorded = is_sampled.then(|| {
            Box::new(EndedSpan {
                scope: scope.to_owned(),
                name,
                context,
                parent: parent.map(|parent| parent.span_id),
                start,
                end: start,
                attributes: Vec::new(),
                events: Vec::new(),
                dropped_events: 0,
                error: None,
            })
        });
        ActiveSpan { tracer: self.clone(), context, recorded }
    }
}

/// The finalizer of splitmix64.
fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A span that has begun. It is recorded when it is ended; one that is dropped is not.
#[derive(Debug)]
pub struct ActiveSpan {
    tracer: Tracer,
    context: SpanContext,
    /// `None` for a span that is not sampled.
    recorded: Option<Box<EndedSpan>>,
}

impl ActiveSpan {
    /// Its ids, for spans that follow from it.
    #[must_use]
    pub fn context(&self) -> SpanContext {
        self.context
    }

    /// Adds an attribute.
    pub fn set(&mut self, key: &'static str, value: SpanValue) {
        if let Some(span) = &mut self.recorded {
            span.attributes.push((key, value));
        }
    }

    /// Adds an event; `attributes` are made only if the span is recorded.
    pub fn add_event(&mut self, now: MonotonicTime, name: &'static str, attributes: impl FnOnce() -> SpanAttributes) {
        let Some(span) = &mut self.recorded else { return };
        if span.events.len() >= MAX_EVENTS {
            span.dropped_events = span.dropped_events.saturating_add(1);
            return;
        }
        span.events.push(SpanEvent { time: self.tracer.wall_nanos(now), name, attributes: attributes() });
    }

    /// Ends the span, with an error if there is one.
    pub fn end(self, now: MonotonicTime, error: Option<&dyn std::fmt::Display>) {
        let Some(mut span) = self.recorded else { return };
        span.end = self.tracer.wall_nanos(now);
        span.error = error.map(|error| {
            let mut text = String::new();
            // A text can be written to.
            let _ = write!(text, "{error}");
            text
        });
        self.tracer.0.sink.record(*span);
    }
}

/// The tracer of a collector, if it has one now. Clones are the same slot.
#[derive(Clone, Default)]
pub struct TracerSlot(Arc<SlotState>);

#[derive(Default)]
struct SlotState {
    /// Whether there is a tracer, so that the lock is taken only then.
    is_on: AtomicBool,
    tracer: Mutex<Option<Tracer>>,
}

impl std::fmt::Debug for TracerSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TracerSlot").field("is_on", &self.0.is_on).finish_non_exhaustive()
    }
}

impl TracerSlot {
    /// The tracer.
    #[must_use]
    pub fn get(&self) -> Option<Tracer> {
        if !self.0.is_on.load(Ordering::Relaxed) {
            return None;
        }
        self.0.tracer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has spans made by this tracer from now on.
    pub fn set(&self, tracer: Tracer) {
        *self.0.tracer.lock().unwrap_or_else(PoisonError::into_inner) = Some(tracer);
        self.0.is_on.store(true, Ordering::Relaxed);
    }

    /// Has no more spans made by this tracer. Another one that was set meanwhile stays.
    pub fn remove(&self, tracer: &Tracer) {
        let mut current = self.0.tracer.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(&current.0, &tracer.0)) {
            *current = None;
            self.0.is_on.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Recorded(Mutex<Vec<EndedSpan>>);

    impl SpanSink for Recorded {
        fn record(&self, span: EndedSpan) {
            self.0.lock().unwrap().push(span);
        }
    }

    fn tracer(sampler: Sampler) -> (Tracer, Arc<Recorded>) {
        let sink = Arc::new(Recorded::default());
        let tracer = Tracer::new(sampler, sink.clone(), true, 7);
        tracer.set_clock(MonotonicTime(100), WallTime(1_000_100));
        (tracer, sink)
    }

    #[test]
    fn span_has_the_trace_of_its_parent_and_the_times_of_the_wall_clock() {
        let (tracer, sink) = tracer(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));
        let parent = tracer.start("s", "parent".to_owned(), None, MonotonicTime(100));
        let mut child = tracer.start("s", "child".to_owned(), Some(parent.context()), MonotonicTime(150));
        child.set("n", SpanValue::Int(1));
        child.add_event(MonotonicTime(160), "e", Vec::new);
        child.end(MonotonicTime(200), Some(&"no"));
        parent.end(MonotonicTime(300), None);
        let spans = sink.0.lock().unwrap();
        let [child, parent] = spans.as_slice() else { panic!("{spans:?}") };
        assert_eq!((child.start, child.end, child.events[0].time), (1_000_150, 1_000_200, 1_000_160));
        assert_eq!((child.context.trace_id, child.parent), (parent.context.trace_id, Some(parent.context.span_id)));
        assert_eq!((child.error.as_deref(), &parent.error, parent.parent), (Some("no"), &None, None));
        assert_ne!(child.context.span_id, parent.context.span_id);
    }

    #[test]
    fn samplers_decide_by_parent_and_id() {
        let remote = |is_sampled| SpanContext { trace_id: [1; 16], span_id: [2; 8], is_sampled };
        let parent_based = |root| Sampler::ParentBased(Box::new(root));
        for (sampler, parent, expected) in [
            (Sampler::AlwaysOn, Some(remote(false)), true),
            (Sampler::AlwaysOff, Some(remote(true)), false),
            (parent_based(Sampler::AlwaysOff), Some(remote(true)), true),
            (parent_based(Sampler::AlwaysOn), Some(remote(false)), false),
            (parent_based(Sampler::AlwaysOff), None, false),
            (Sampler::Ratio(0.0), None, false),
            (Sampler::Ratio(1.0), None, true),
        ] {
            let (tracer, sink) = tracer(sampler.clone());
            tracer.start("s", "x".to_owned(), parent, MonotonicTime(0)).end(MonotonicTime(1), None);
            assert_eq!(sink.0.lock().unwrap().len() == 1, expected, "{sampler:?}");
        }
        let (tracer, sink) = tracer(Sampler::Ratio(0.25));
        (0..4000).for_each(|_| tracer.start("s", "x".to_owned(), None, MonotonicTime(0)).end(MonotonicTime(1), None));
        let count = sink.0.lock().unwrap().len();
        assert!((900..1100).contains(&count), "{count}");
    }

    #[test]
    fn events_of_a_span_are_limited() {
        let (tracer, sink) = tracer(Sampler::AlwaysOn);
        let mut span = tracer.start("s", "x".to_owned(), None, MonotonicTime(0));
        (0..200).for_each(|_| span.add_event(MonotonicTime(1), "e", Vec::new));
        span.end(MonotonicTime(2), None);
        let spans = sink.0.lock().unwrap();
        assert_eq!((spans[0].events.len(), spans[0].dropped_events), (128, 72));
    }

    #[test]
    fn header_field_is_read_as_the_specification_says() {
        let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = SpanContext::from_traceparent(valid).unwrap();
        assert_eq!((context.trace_id[0], context.span_id[7], context.is_sampled), (0x0a, 0x31, true));
        assert!(!SpanContext::from_traceparent(&valid.replace("-01", "-00")).unwrap().is_sampled);
        assert!(SpanContext::from_traceparent(&format!("cc{}-extra", &valid[2..])).is_some());
        for wrong in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(SpanContext::from_traceparent(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn slot_forgets_a_tracer_only_while_it_is_the_current_one() {
        let (slot, (first, _), (second, _)) =
            (TracerSlot::default(), tracer(Sampler::AlwaysOn), tracer(Sampler::AlwaysOn));
        assert!(slot.get().is_none());
        slot.set(first.clone());
        slot.set(second.clone());
        slot.remove(&first);
        assert!(slot.get().is_some());
        slot.remove(&second);
        assert!(slot.get().is_none());
    }
}
