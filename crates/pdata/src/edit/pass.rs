//! The pass over a rope, in steps of a budget: what is read next, and which callback is called for it.
//!
//! The work is linear in the bytes, the callbacks' own work aside. One callback is not divided: a step exceeds its
//! budget by at most one item, or one resource, scope or metric without what it contains, and what its callback does.

use std::collections::VecDeque;

use bytes::Bytes;

use super::context::Contexts;
use super::frame::{CHILDREN, Frame, Level, Mode, OWN, Output, SCHEMA_URL};
use super::items::{EventMut, LinkMut, LogMut, SpanMut};
use super::message::Message;
use super::metrics::{MetricMut, PointMut};
use super::{
    Descend, EditError, Edited, Editor, Keep, MAX_WORK, MAX_WORK_PER_BYTE, OutputLimit, ResourceMut, ScopeMut,
};
use crate::rope::RopePart;
use crate::schema::{SCOPE_METRICS, metric, span, sum};
use crate::split::count_all_items;
use crate::wire_format::{MessageFields, WireValue, put_tag_and_len};
use crate::{Rope, Signal, StepBudget};

/// Units of work for each callback, in addition to the bytes.
const CALL_UNITS: u64 = 80;

/// An edit that is done in steps.
#[derive(Debug)]
pub struct EditPass {
    signal: Signal,
    limit: OutputLimit,
    parts: VecDeque<RopePart>,
    done: Rope,
    edited: Edited,
    open: Option<Box<OpenPart>>,
    spare: Option<Box<OpenPart>>,
}

impl EditPass {
    /// A pass over `rope`, a checked body of `signal`.
    #[must_use]
    pub fn new(signal: Signal, mut rope: Rope, limit: OutputLimit) -> Self {
        Self {
            signal,
            limit,
            parts: rope.take_parts().into_iter().collect(),
            done: Rope::default(),
            edited: Edited::default(),
            open: None,
            spare: None,
        }
    }

    /// Goes on, until all is done (true) or the budget of this step is spent (false).
    ///
    /// # Errors
    /// See [`EditError`]. The pass is then of no further use.
    pub fn step<E: Editor + ?Sized>(&mut self, editor: &mut E, work: &mut StepBudget) -> Result<bool, EditError> {
        while !work.is_spent() {
            let Some(open) = &mut self.open else {
                let Some(part) = self.parts.pop_front() else { return Ok(true) };
                let mut open = self.spare.take().unwrap_or_default();
                open.begin(part, self.limit);
                self.open = Some(open);
                continue;
            };
            if open.step(self.signal, editor, work)? {
                open.finish(&mut self.done, &mut self.edited);
                self.spare = self.open.take();
            }
        }
        Ok(false)
    }

    /// Bytes that have been written so far, of all parts.
    #[must_use]
    pub fn written(&self) -> usize {
        self.done.len() + self.open.as_ref().map_or(0, |open| open.output.out.len())
    }

    /// The result, once [`EditPass::step`] has returned true.
    #[must_use]
    pub fn finish(self) -> (Rope, Edited) {
        (self.done, self.edited)
    }
}

/// The part that is being read.
#[derive(Debug, Default)]
pub(super) struct OpenPart {
    pub(super) part: Bytes,
    pub(super) items: u32,
    /// The body's next field.
    pub(super) at: usize,
    pub(super) output: Output,
    pub(super) cx: Contexts,
    /// The metric of the points that are visited, or the span of the events.
    pub(super) outer: Message,
    pub(super) item: Message,
    /// The copy of the span whose events are visited, if it changed.
    pub(super) span: Vec<u8>,
    /// Items that were dropped, were part of a metric that was replaced, and are part of new metrics.
    pub(super) dropped: u64,
    pub(super) replaced: u64,
    pub(super) added: u64,
    /// Bytes that the editor may still read and move.
    work_left: u64,
}

/// What a field is in its message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Own,
    Schema,
    Message(Level),
    Item(Item),
    /// A field of a metric's data that is not a point.
    DataField,
    /// A field of a metric or span that is none of its children.
    Shell,
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    Span,
    Log,
    Point,
    Event,
    Link,
}

#[inline]
pub(super) fn role(signal: Signal, level: Level, number: u32) -> Role {
    match (level, number) {
        (Level::Scope, CHILDREN) => match signal {
            Signal::Traces => Role::Item(Item::Span),
            Signal::Metrics => Role::Message(Level::Metric),
            Signal::Logs => Role::Item(Item::Log),
        },
        (Level::Entry | Level::Scope, OWN) => Role::Own,
        (Level::Entry | Level::Scope, SCHEMA_URL) => Role::Schema,
        (Level::Entry, CHILDREN) => Role::Message(Level::Scope),
        (
            Level::Metric,
            metric::GAUGE | metric::SUM | metric::HISTOGRAM | metric::EXPONENTIAL_HISTOGRAM | metric::SUMMARY,
        ) => Role::Message(Level::Data),
        (Level::Data, sum::DATA_POINTS) => Role::Item(Item::Point),
        (Level::Data, sum::AGGREGATION_TEMPORALITY | sum::IS_MONOTONIC) => Role::DataField,
        (Level::Span, span::EVENTS) => Role::Item(Item::Event),
        (Level::Span, span::LINKS) => Role::Item(Item::Link),
        (Level::Metric | Level::Span, _) => Role::Shell,
        _ => Role::Other,
    }
}

/// A field in its source.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) number: u32,
    pub(super) start: usize,
    pub(super) content: usize,
    pub(super) next: usize,
}

impl OpenPart {
    fn begin(&mut self, part: RopePart, limit: OutputLimit) {
        self.output = Output::new(limit.of(part.bytes.len()));
        self.cx.room = self.output.limit;
        self.part = part.bytes;
        self.items = part.items;
        self.at = 0;
        (self.dropped, self.replaced, self.added) = (0, 0, 0);
        self.work_left = self.work_limit();
    }

    /// True: the part is done.
    fn step<E: Editor + ?Sized>(
        &mut self,
        signal: Signal,
        editor: &mut E,
        work: &mut StepBudget,
    ) -> Result<bool, EditError> {
        let part = self.part.clone();
        while !work.is_spent() {
            let Some(frame) = self.output.frames.last() else {
                if self.next_entry(&part, work) {
                    continue;
                }
                return Ok(true);
            };
            match frame.mode {
                Mode::Scan => {
                    if self.scan(&part, work) {
                        self.enter(&part, editor, work)?;
                    }
                }
                Mode::ScanData => {
                    if self.scan_data(&part, work) {
                        self.enter(&part, editor, work)?;
                    }
                }
                Mode::Visit | Mode::Keep | Mode::Drop | Mode::Replace => {
                    let in_span = frame.in_span;
                    let span = if in_span { std::mem::take(&mut self.span) } else { Vec::new() };
                    let result = self.visit(signal, if in_span { &span } else { &part }, &part, editor, work);
                    if in_span {
                        self.span = span;
                    }
                    result?;
                }
            }
            work.charge(self.output.take_moved());
            if self.output.out.len() > self.output.limit || self.outer.overflow || self.cx.has_overflow() {
                return Err(self.too_large());
            }
        }
        Ok(false)
    }

    /// The end of the part.
    fn finish(&mut self, done: &mut Rope, edited: &mut Edited) {
        edited.dropped += self.dropped;
        let part = std::mem::take(&mut self.part);
        if !self.output.is_changed() {
            edited.shared_parts += 1;
            return done.push(RopePart { bytes: part, items: self.items });
        }
        edited.changed_parts += 1;
        self.output.flush(&part, part.len());
        let mut out = std::mem::take(&mut self.output.out);
        if out.capacity() - out.len() > out.len() / 4 {
            out.shrink_to_fit();
        }
        let items = (u64::from(self.items) + self.added).saturating_sub(self.dropped + self.replaced);
        done.push(RopePart { bytes: out.into(), items: u32::try_from(items).unwrap_or(u32::MAX) });
    }

    /// Enters the next entry of the body; false at its end.
    fn next_entry(&mut self, part: &[u8], work: &mut StepBudget) -> bool {
        let mut fields = MessageFields::new(part.get(self.at..).unwrap_or_default());
        while !work.is_spent() {
            work.charge(StepBudget::UNITS_PER_FIELD);
            let start = part.len() - fields.rest().len();
            let Some((number, wire)) = fields.next() else { return false };
            self.at = part.len() - fields.rest().len();
            if let (1, WireValue::Len(entry)) = (number, wire) {
                let frame = Frame::new(Level::Entry, Mode::Scan, number, start..self.at, self.at - entry.len());
                self.output.frames.push(frame);
                return true;
            }
        }
        true
    }

    /// Calls the editor for the innermost message, whose own fields are known.
    fn enter<E: Editor + ?Sized>(
        &mut self,
        part: &[u8],
        editor: &mut E,
        work: &mut StepBudget,
    ) -> Result<(), EditError> {
        let Some(frame) = self.output.frames.last() else { return Ok(()) };
        let Frame { level, start, content, .. } = *frame;
        let depth = self.output.frames.len();
        let cx = &mut self.cx;
        let answer = match level {
            Level::Entry => editor.resource(&mut ResourceMut { part, cx }),
            Level::Scope => editor.scope(&mut ScopeMut { part, cx }),
            Level::Metric => editor.metric(&mut MetricMut { message: &mut self.outer, part, cx }),
            Level::Data | Level::Span => Descend::Children,
        };
        self.after_call(0, work)?;
        let replacement = self.cx.replacement.take();
        let mode = match (&replacement, answer) {
            (Some(_), Descend::Children | Descend::Skip) => Mode::Replace,
            (_, Descend::Drop) => Mode::Drop,
            (None, Descend::Skip) => Mode::Keep,
            (None, Descend::Children) => Mode::Visit,
        };
        if matches!(mode, Mode::Drop | Mode::Replace) {
            self.output.flush_at(part, start, depth - 1);
        }
        if let Some(metrics) = replacement.filter(|_| mode == Mode::Replace) {
            self.put_metrics(&metrics, work, depth - 1);
        }
        let Some(frame) = self.output.frames.last_mut() else { return Ok(()) };
        frame.mode = mode;
        frame.at = content;
        if matches!(mode, Mode::Visit | Mode::Keep) {
            self.begin_own(part);
        }
        Ok(())
    }

    fn too_large(&self) -> EditError {
        EditError::OutputTooLarge { limit: self.output.limit }
    }

    #[cold]
    fn too_much_work(&self) -> EditError {
        EditError::TooMuchWork { limit: self.work_limit() }
    }

    fn work_limit(&self) -> u64 {
        MAX_WORK.saturating_add(MAX_WORK_PER_BYTE.saturating_mul(self.part.len() as u64))
    }

    /// After a callback: charges its work, and refuses a message that became too long.
    #[inline]
    fn after_call(&mut self, bytes: usize, work: &mut StepBudget) -> Result<(), EditError> {
        let cost = self.item.take_cost() + self.outer.take_cost() + self.cx.take_cost();
        work.charge(CALL_UNITS + bytes as u64 + 2 * cost);
        let Some(left) = self.work_left.checked_sub(cost) else { return Err(self.too_much_work()) };
        self.work_left = left;
        if self.item.overflow { Err(self.too_large()) } else { Ok(()) }
    }

    /// Adds whole metrics, as fields of a scope.
    fn put_metrics(&mut self, metrics: &[u8], work: &mut StepBudget, depth: usize) {
        work.charge(2 * metrics.len() as u64);
        self.output.out.extend_from_slice(metrics);
        if let Some(scope) = depth.checked_sub(1).and_then(|scope| self.output.frames.get_mut(scope)) {
            scope.kept += MessageFields::new(metrics).count();
        }
        self.added += u64::from(count_all_items(&SCOPE_METRICS, metrics));
    }

    /// Goes on with the innermost message, until it ends, another is entered, or the budget is spent.
    fn visit<E: Editor + ?Sized>(
        &mut self,
        signal: Signal,
        source: &[u8],
        part: &[u8],
        editor: &mut E,
        work: &mut StepBudget,
    ) -> Result<(), EditError> {
        let Some(frame) = self.output.frames.last() else { return Ok(()) };
        let Frame { level, mode, end, .. } = *frame;
        let mut fields = MessageFields::new(source.get(frame.at..end).unwrap_or_default());
        while !work.is_spent() {
            let start = end - fields.rest().len();
            work.charge(StepBudget::UNITS_PER_FIELD);
            let Some((number, wire)) = fields.next() else {
                self.leave(source, part, work);
                return Ok(());
            };
            let next = end - fields.rest().len();
            if let Some(frame) = self.output.frames.last_mut() {
                frame.at = next;
            }
            let len = if let WireValue::Len(content) = wire { content.len() } else { 0 };
            let place = Place { number, start, content: next - len, next };
            let is_message = matches!(wire, WireValue::Len(_));
            match role(signal, level, number) {
                Role::Item(item) if is_message => match mode {
                    Mode::Visit => {
                        if self.item(item, place, source, part, editor, work)? {
                            return Ok(());
                        }
                    }
                    Mode::Drop => {
                        self.dropped += 1;
                    }
                    Mode::Replace => {
                        self.replaced += 1;
                    }
                    Mode::Keep | Mode::Scan | Mode::ScanData => {
                        self.output.keep();
                    }
                },
                Role::Message(below) if is_message => {
                    if self.open_message(below, mode, place) {
                        return Ok(());
                    }
                }
                _ if matches!(mode, Mode::Drop | Mode::Replace) => {}
                Role::Own if is_message => self.pass_own(level, place, source),
                Role::Schema if is_message => self.pass_schema(level, place, source),
                Role::DataField => self.pass_data_field(place, source),
                Role::Shell => {
                    if self.output.frames.last().is_some_and(|frame| frame.has_shell) {
                        self.output.flush(source, start);
                        self.output.pass(next);
                    }
                }
                Role::Other | Role::Item(_) | Role::Message(_) | Role::Own | Role::Schema => {}
            }
            if self.output.out.len() > self.output.limit {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A message that contains others; returns whether it was entered.
    fn open_message(&mut self, below: Level, mode: Mode, place: Place) -> bool {
        let is_data = below == Level::Data;
        let mode = match mode {
            Mode::Drop | Mode::Replace => mode,
            Mode::Keep
                if is_data
                    && (self.cx.data.is_changed(2) || self.cx.data.is_changed(3))
                    && self.cx.data.content == (place.content..place.next) =>
            {
                Mode::Keep
            }
            Mode::Keep | Mode::Scan | Mode::ScanData => {
                self.output.keep();
                return false;
            }
            // A metric's data that is not the last is not valid.
            Mode::Visit if is_data && self.cx.data.content != (place.content..place.next) => {
                self.output.keep();
                return false;
            }
            Mode::Visit if is_data => Mode::Visit,
            Mode::Visit => Mode::Scan,
        };
        self.output.frames.push(Frame::new(below, mode, place.number, place.start..place.next, place.content));
        true
    }

    /// Calls the editor for an item; returns whether its children are visited.
    #[inline]
    fn item<E: Editor + ?Sized>(
        &mut self,
        item: Item,
        place: Place,
        source: &[u8],
        part: &[u8],
        editor: &mut E,
        work: &mut StepBudget,
    ) -> Result<bool, EditError> {
        let Place { number, start, content, next } = place;
        self.item.reset(content..next, &[], self.output.limit);
        let (message, outer, cx) = (&mut self.item, &mut self.outer, &mut self.cx);
        let answer = match item {
            Item::Span => editor.span(&mut SpanMut { source, message, part, cx }),
            Item::Log => of(editor.log(&mut LogMut { source, message, part, cx })),
            Item::Point => of(editor.point(&mut PointMut { message, outer, part, cx })),
            Item::Event => of(editor.event(&mut EventMut { source, message, part, cx, outer })),
            Item::Link => of(editor.link(&mut LinkMut { source, message, part, cx, outer })),
        };
        self.after_call(next - start, work)?;
        let is_changed = self.item.writes > 0;
        match answer {
            Descend::Drop => {
                self.output.flush(source, start);
                self.output.pass(next);
                if let Some(frame) = self.output.frames.last_mut() {
                    frame.dropped = true;
                }
                self.dropped += u64::from(!matches!(item, Item::Event | Item::Link));
            }
            Descend::Children if item == Item::Span => {
                self.open_span(place, is_changed, source);
                return Ok(true);
            }
            Descend::Children | Descend::Skip => {
                if is_changed {
                    self.output.flush(source, start);
                    let raw = self.item.raw(source);
                    put_tag_and_len(&mut self.output.out, number, raw.len());
                    self.output.out.extend_from_slice(raw);
                    self.output.pass(next);
                }
                self.output.keep();
            }
        }
        Ok(false)
    }

    /// Enters a span, to visit its events and links.
    fn open_span(&mut self, place: Place, is_changed: bool, source: &[u8]) {
        const SPAN_CHILDREN: &[u32] = &[span::EVENTS, span::LINKS];
        let Place { number, start, content, next } = place;
        let limit = self.output.limit;
        if is_changed {
            self.output.flush(source, start);
            self.output.pass(next);
            self.span.clear();
            self.span.extend_from_slice(self.item.raw(source));
            let len = self.span.len();
            self.output.frames.push(Frame::new(Level::Span, Mode::Visit, number, 0..len, 0));
            self.output.open_span();
            self.outer.reset(0..len, SPAN_CHILDREN, limit);
        } else {
            self.output.frames.push(Frame::new(Level::Span, Mode::Visit, number, start..next, content));
            self.outer.reset(content..next, SPAN_CHILDREN, limit);
        }
    }

    /// The end of the innermost message.
    fn leave(&mut self, source: &[u8], part: &[u8], work: &mut StepBudget) {
        let Some(frame) = self.output.frames.last() else { return };
        let Frame { level, mode, end, kept, dropped, .. } = *frame;
        let is_gone = matches!(mode, Mode::Drop | Mode::Replace);
        if is_gone || dropped && kept == 0 && level != Level::Span {
            self.output.discard();
        } else {
            match level {
                Level::Entry | Level::Scope => self.end_own(level, end, source),
                Level::Metric | Level::Span => self.end_shell(end, source),
                Level::Data => {
                    for number in [sum::AGGREGATION_TEMPORALITY, sum::IS_MONOTONIC] {
                        if self.cx.data.is_changed(number) {
                            self.output.flush(source, end);
                            self.put_data_field(number);
                        }
                    }
                }
            }
            self.output.close(source);
            self.output.keep();
        }
        if level == Level::Metric && !self.cx.appended.is_empty() {
            let appended = std::mem::take(&mut self.cx.appended);
            let depth = self.output.frames.len();
            self.output.flush_at(part, end, depth);
            self.put_metrics(&appended, work, depth);
        }
    }
}

fn of(answer: Keep) -> Descend {
    match answer {
        Keep::Keep => Descend::Skip,
        Keep::Drop => Descend::Drop,
    }
}
