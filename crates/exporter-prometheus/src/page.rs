//! Renders pages from the registry, in pieces.
//!
//! A [`PageRendering`] is the position up to which a page is written: a name, in it the labels of a series, and in
//! a large series a line. [`SeriesRegistry::render_step`] continues there until a piece is full or a step's work is
//! done, so that a page of any size keeps in memory at most one piece and a copy of the buckets of one series.
//!
//! A page is not a snapshot. Families are written in the order of their names, and each series is shown in its state at
//! the moment when it is written; a change at a position that is already written is on the next page. No family and no
//! series is on a page twice, and all lines of one series are from the same state.

use std::collections::VecDeque;
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;

use otelcore_exposition::{
    MetricType, NegotiatedFormat, compare_blocks, write_family_header, write_float, write_histogram, write_sample,
    write_summary, write_underscored,
};
use otelcore_pdata::views::NumberValue;
use otelcore_pipeline::{Budget, Kept, MonotonicTime};

use crate::families::Family;
use crate::label_sets::LabelSetKey;
use crate::registry::{GatherError, SeriesRegistry, Sweep};
use crate::series::{Series, TARGET_HELP};
use crate::series_state::{StoredValue, to_f64};
use crate::step_budget::StepBudget;

/// Bytes of one piece of a page, at most.
pub const PIECE_SIZE: usize = 64 << 10;
/// Bytes that are written at once, at most. Longer lines, and series of many lines, are written line by line.
const MAX_DIRECT_WRITE: usize = PIECE_SIZE / 2;
/// Bytes of one page, at most. A scrape that needs more ends with an error: a truncated page would look complete.
pub const MAX_PAGE_BYTES: u64 = 1 << 30;
/// Series with equal labels that are distinguished by their timestamps, at most. Further ones are not shown.
const MAX_SERIES_OF_EQUAL_LABELS: usize = 64;

/// How a step of rendering ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RenderProgress {
    /// The piece has reached its size.
    PieceFull,
    /// The work of the step is done.
    BudgetSpent,
    /// The page is complete.
    Complete,
}

/// Why a page can't be completed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RenderError {
    /// Nothing could be gathered and something went wrong.
    #[error(transparent)]
    Gather(GatherError),
    /// The page is too large.
    #[error("the page is larger than {MAX_PAGE_BYTES} bytes")]
    TooLarge,
}

/// A page that is being rendered.
#[derive(Debug)]
pub struct PageRendering {
    started_at: MonotonicTime,
    /// Expired series have been removed, and the families of names have been updated.
    families_updated: bool,
    /// Whether `target_info` has not been written yet.
    target_info_pending: bool,
    stage: RenderStage,
    /// Long pieces of a line, to be copied.
    pending: VecDeque<Fragment>,
    series: VecDeque<SeriesLines>,
    written: u64,
    /// The charge for the memory of the rendering.
    kept: Kept,
}

#[derive(Debug)]
enum RenderStage {
    /// Before the name that follows this one.
    Names(Option<Rc<[u8]>>),
    /// Within a family, after this series.
    Family(StartedFamily, Option<LabelSetKey>),
    /// Within `target_info`.
    TargetInfo(TargetInfoPosition),
    Done,
}

/// A family whose HELP and TYPE are on the page.
#[derive(Clone, Debug)]
struct StartedFamily {
    name: Rc<[u8]>,
    escaped_name: Rc<[u8]>,
    seq: u64,
    kind: MetricType,
}

#[derive(Debug)]
struct TargetInfoPosition {
    /// A family of the same name.
    family: Option<StartedFamily>,
    /// After this line.
    last_key: Option<LabelSetKey>,
    /// The name after which the page continues.
    resume_after: Option<Rc<[u8]>>,
}

#[derive(Debug)]
struct Fragment {
    bytes: Rc<[u8]>,
    position: usize,
}

/// The lines of one series that has many or long lines. A copy, so that all of them are from the same state.
#[derive(Debug)]
struct SeriesLines {
    escaped_name: Rc<[u8]>,
    label_block: Rc<[u8]>,
    suffix: &'static str,
    label_name: &'static str,
    /// Bounds or quantiles with their values.
    values: Vec<(f64, f64)>,
    next_line: usize,
    /// Sum and count; none for a number.
    totals: Option<(f64, u64)>,
    timestamp_millis: Option<i64>,
}

/// Bytes charged for a page: one piece and its compressed form.
const RENDERING_BYTES: u64 = (2 * PIECE_SIZE) as u64;

impl PageRendering {
    /// A page that begins at `now`. Its memory is charged to `budget` as kept state.
    #[must_use]
    pub fn new(now: MonotonicTime, budget: &Arc<Budget>) -> Self {
        Self {
            started_at: now,
            families_updated: false,
            target_info_pending: false,
            stage: RenderStage::Names(None),
            pending: VecDeque::new(),
            series: VecDeque::new(),
            written: 0,
            kept: budget.keep(RENDERING_BYTES),
        }
    }

    /// Copies the pending fragments. True when none is left.
    fn flush_fragments(&mut self, out: &mut Vec<u8>) -> bool {
        while let Some(fragment) = self.pending.front_mut() {
            let rest = fragment.bytes.get(fragment.position..).unwrap_or_default();
            let n = rest.len().min(PIECE_SIZE.saturating_sub(out.len()));
            out.extend_from_slice(rest.get(..n).unwrap_or_default());
            fragment.position += n;
            if n < rest.len() {
                return false;
            }
            self.pending.pop_front();
        }
        true
    }

    /// Whether nothing is pending.
    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.series.is_empty()
    }

    /// Copies the values of a series that is written line by line.
    fn copy_series(
        &mut self,
        escaped_name: &Rc<[u8]>,
        label_block: &Rc<[u8]>,
        value: &StoredValue,
        timestamp_millis: Option<i64>,
    ) {
        let (suffix, label, values, totals) = match value {
            StoredValue::Number(v) => ("", "", vec![(0.0, to_f64(*v))], None),
            StoredValue::Histogram(h) => {
                let mut values: Vec<_> = h.buckets().map(|(bound, count)| (bound, count as f64)).collect();
                if values.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
                    values.push((f64::INFINITY, h.count as f64));
                }
                ("_bucket", "le", values, Some((h.sum, h.count)))
            }
            StoredValue::Summary(s) => ("", "quantile", s.quantiles.clone(), Some((s.sum, s.count))),
        };
        let lines = SeriesLines {
            escaped_name: escaped_name.clone(),
            label_block: label_block.clone(),
            suffix,
            label_name: label,
            values,
            next_line: 0,
            totals,
            timestamp_millis,
        };
        self.kept.grow(lines.charged_bytes());
        self.series.push_back(lines);
    }

    fn push_fragment(&mut self, bytes: impl Into<Rc<[u8]>>) {
        self.pending.push_back(Fragment { bytes: bytes.into(), position: 0 });
    }

    /// Adds the next line of the series that is written line by line to the pending fragments. False when there is no
    /// such series.
    fn next_line(&mut self) -> bool {
        let Some(lines) = self.series.front_mut() else { return false };
        let (mut tail, at) = (Vec::new(), lines.timestamp_millis);
        let end = |tail: &mut Vec<u8>, value: f64| write_sample(tail, b"", b"", value, at);
        let (wire, block, plain) =
            (lines.escaped_name.clone(), lines.label_block.clone(), lines.label_block.is_empty());
        let suffix = if let Some((bound, value)) = lines.values.get(lines.next_line).copied() {
            if lines.label_name.is_empty() {
                tail.extend_from_slice(if plain { b"" } else { b"}" });
            } else {
                tail.extend_from_slice(if plain { b"" } else { b"," });
                tail.extend_from_slice(lines.label_name.as_bytes());
                tail.extend_from_slice(b"=\"");
                write_float(&mut tail, bound);
                tail.extend_from_slice(b"\"}");
            }
            end(&mut tail, value);
            lines.suffix
        } else if let (Some((sum, count)), past) = (lines.totals, lines.next_line.saturating_sub(lines.values.len()))
            && past < 2
        {
            tail.extend_from_slice(if plain { b"" } else { b"}" });
            end(&mut tail, if past == 0 { sum } else { count as f64 });
            if past == 0 { "_sum" } else { "_count" }
        } else {
            self.kept.shrink(lines.charged_bytes());
            self.series.pop_front();
            return true;
        };
        // Braces are written only around labels.
        let braces = !plain || (lines.next_line < lines.values.len() && !lines.label_name.is_empty());
        lines.next_line += 1;
        self.push_fragment(wire);
        self.push_fragment([suffix.as_bytes(), if braces { b"{" } else { b"" }].concat());
        self.push_fragment(block);
        self.push_fragment(tail);
        true
    }
}

impl SeriesLines {
    fn charged_bytes(&self) -> u64 {
        (16 * self.values.capacity()) as u64
    }
}

impl StartedFamily {
    fn from_family(family: &Family) -> Self {
        Self {
            name: family.name.clone(),
            escaped_name: family.escaped_name.clone(),
            seq: family.seq,
            kind: family.kind,
        }
    }

    /// The family, if it is still the one whose rendering was begun.
    fn current_family<'a>(&self, registry: &'a SeriesRegistry) -> Option<&'a Family> {
        registry.families.find_by_name(&self.name).filter(|f| f.seq == self.seq && f.kind == self.kind)
    }
}

/// The series of a family after a place.
fn series_after<'a>(family: &'a Family, after: Option<&LabelSetKey>) -> Option<(&'a LabelSetKey, usize)> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let (place, same_labels) = family.members()?.range((from, Bound::Unbounded)).next()?;
    Some((place, same_labels.oldest()))
}

impl SeriesRegistry {
    /// The whole page at `now`, for tests and tools; a server renders in pieces, with [`SeriesRegistry::render_step`].
    ///
    /// # Errors
    /// See [`RenderError`].
    pub fn render(&mut self, now: MonotonicTime, _: &NegotiatedFormat) -> Result<Vec<u8>, RenderError> {
        let budget = self.kept.budget().clone();
        let (mut page, mut rendering, mut piece) = (Vec::new(), PageRendering::new(now, &budget), Vec::new());
        loop {
            let progress = self.render_step(&mut rendering, &mut piece, &mut StepBudget::for_one_step())?;
            page.append(&mut piece);
            if progress == RenderProgress::Complete {
                return Ok(page);
            }
        }
    }

    /// Removes the series whose last point is older than `metric_expiration`, and updates the families of names, until
    /// everything that is due at `now` is done or the work of the step is done. True when everything is done.
    pub fn expire_step(&mut self, now: MonotonicTime, budget: &mut StepBudget) -> bool {
        while now.0.saturating_sub(self.oldest.0) > self.expiration {
            let sweep = self.sweep.get_or_insert(Sweep { part: 0, oldest: MonotonicTime::NEVER });
            if sweep.part == self.series.parts() {
                // Every point that arrived since is newer than those that were visited.
                self.oldest = sweep.oldest.min(now);
                self.sweep = None;
                if self.series.len() == 0 {
                    self.oldest = MonotonicTime::NEVER;
                }
                continue;
            }
            if budget.is_spent() {
                return false;
            }
            let mut expired = Vec::new();
            let mut visited = 0;
            for (slot, series) in self.series.part(sweep.part) {
                visited += 1;
                if now.0.saturating_sub(series.arrived_at.0) > self.expiration {
                    expired.push(slot);
                } else {
                    sweep.oldest = sweep.oldest.min(series.arrived_at);
                }
            }
            budget.charge(20 * visited + 1000);
            // Series for which the step has no work left are found again by the next step.
            let expired_count = expired.len();
            let mut removed = 0;
            for slot in expired {
                if budget.is_spent() {
                    break;
                }
                self.remove(slot, budget);
                removed += 1;
            }
            if removed == expired_count
                && let Some(sweep) = &mut self.sweep
            {
                sweep.part += 1;
            }
        }
        let targets = self.resources.has_targets().then(|| self.target_name.clone());
        let times = (now, self.expiration);
        self.families.process_changes(times, targets.as_deref(), &mut self.dropped, &mut self.kept, budget)
    }

    /// Removes everything that is due at `now`.
    pub fn expire(&mut self, now: MonotonicTime) {
        while !self.expire_step(now, &mut StepBudget::for_one_step()) {}
    }

    /// Continues a page: appends to `out` until it has nearly [`PIECE_SIZE`] bytes, or the work of the step is done.
    ///
    /// # Errors
    /// See [`RenderError`].
    pub fn render_step(
        &mut self,
        page: &mut PageRendering,
        out: &mut Vec<u8>,
        budget: &mut StepBudget,
    ) -> Result<RenderProgress, RenderError> {
        let before = out.len();
        let progress = self.continue_page(page, out, budget);
        page.written += (out.len() - before) as u64;
        budget.charge((out.len() - before) as u64 * 4);
        if page.written > MAX_PAGE_BYTES {
            return Err(RenderError::TooLarge);
        }
        if progress == RenderProgress::Complete
            && page.written == 0
            && let Some(series) = self.quantile_series.first().and_then(|slot| self.series.get(*slot))
        {
            let family = self.streams.get(series.stream).and_then(|s| s.family).and_then(|id| self.families.get(id));
            let name = family.map_or_else(String::new, |f| String::from_utf8_lossy(&f.escaped_name).into_owned());
            let text = format!("collected metric {name:?} must not have an explicit \"quantile\" label");
            return Err(RenderError::Gather(GatherError(text)));
        }
        Ok(progress)
    }

    fn continue_page(
        &mut self,
        page: &mut PageRendering,
        out: &mut Vec<u8>,
        budget: &mut StepBudget,
    ) -> RenderProgress {
        if !page.families_updated {
            if !self.expire_step(page.started_at, budget) {
                return RenderProgress::BudgetSpent;
            }
            page.families_updated = true;
            page.target_info_pending = self.resources.has_targets();
        }
        loop {
            if !page.flush_fragments(out) || out.len() >= MAX_DIRECT_WRITE {
                return RenderProgress::PieceFull;
            }
            if page.next_line() {
                budget.charge(200);
                continue;
            }
            if budget.is_spent() {
                return RenderProgress::BudgetSpent;
            }
            match std::mem::replace(&mut page.stage, RenderStage::Done) {
                RenderStage::Names(name) => self.next_name(page, name, budget),
                RenderStage::Family(family, place) => self.next_series(page, out, family, place, budget),
                RenderStage::TargetInfo(targets) => self.next_target(page, out, targets, budget),
                RenderStage::Done => return RenderProgress::Complete,
            }
        }
    }

    /// Continues with the next name that is shown, or with `target_info` if it is before that name.
    fn next_name(&mut self, page: &mut PageRendering, name: Option<Rc<[u8]>>, budget: &mut StepBudget) {
        budget.charge(200);
        let next = self.families.next_after(name.as_deref());
        let shown = next.filter(|(_, family)| family.is_shown());
        let (id, in_family) = (shown.map(|(id, _)| id), shown.map(|(_, family)| StartedFamily::from_family(family)));
        if let Some((_, family)) = next.filter(|(_, family)| !family.is_shown() || family.hidden) {
            page.stage = RenderStage::Names(Some(family.name.clone()));
        } else if page.target_info_pending && next.is_none_or(|(_, family)| *self.target_name <= *family.name) {
            page.target_info_pending = false;
            let (mut wire, mut header) = (Vec::new(), Vec::new());
            write_underscored(&mut wire, &self.target_name);
            write_family_header(&mut header, &wire, TARGET_HELP, MetricType::Gauge);
            page.push_fragment(header);
            let merged = in_family.filter(|family| *family.name == *self.target_name);
            let resume_after = merged.as_ref().map(|family| family.name.clone()).or(name);
            page.stage = RenderStage::TargetInfo(TargetInfoPosition { family: merged, last_key: None, resume_after });
        } else if let (Some((_, family)), Some(in_family)) = (next, in_family) {
            page.push_fragment(family.header.clone());
            page.stage = RenderStage::Family(in_family, None);
        }
        if let Some(id) = id {
            self.families.mark_shown(id, page.started_at);
        }
    }

    /// Writes series of a family: one for each set of labels, or, with timestamps, one for each set of labels and
    /// timestamp.
    fn next_series(
        &self,
        page: &mut PageRendering,
        out: &mut Vec<u8>,
        family: StartedFamily,
        last_key: Option<LabelSetKey>,
        budget: &mut StepBudget,
    ) {
        let Some(members) = family.current_family(self).and_then(Family::members) else {
            page.stage = RenderStage::Names(Some(family.name));
            return;
        };
        let from = last_key.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = members.range((from, Bound::Unbounded));
        let mut newest_key = None;
        while out.len() < MAX_DIRECT_WRITE && !budget.is_spent() && page.is_idle() {
            let Some((at, same_labels)) = rest.next() else {
                page.stage = RenderStage::Names(Some(family.name));
                return;
            };
            budget.charge(60);
            newest_key = Some(at);
            if same_labels.has_duplicates() && self.config.send_timestamps {
                let same_labels =
                    same_labels.iter().take(MAX_SERIES_OF_EQUAL_LABELS).filter_map(|slot| self.series.get(slot));
                let mut same_labels: Vec<(Option<i64>, &Series)> =
                    same_labels.map(|s| (self.timestamp(s), s)).collect();
                same_labels.sort_by_key(|(time, _)| *time);
                same_labels.dedup_by_key(|(time, _)| *time);
                for (time, series) in same_labels {
                    page.copy_series(&family.escaped_name, &series.label_block, &series.state.value, time);
                }
            } else if let Some(series) = self.series.get(same_labels.oldest()) {
                self.render_series(page, out, &family.escaped_name, series);
            }
        }
        let newest_key = newest_key.cloned();
        page.stage = RenderStage::Family(family, newest_key.or(last_key));
    }

    /// Writes lines of `target_info`, merged in order with the series of a metric that has the same name.
    fn next_target(
        &self,
        page: &mut PageRendering,
        out: &mut Vec<u8>,
        mut targets: TargetInfoPosition,
        budget: &mut StepBudget,
    ) {
        while out.len() < MAX_DIRECT_WRITE && !budget.is_spent() && page.is_idle() {
            budget.charge(500);
            let family =
                targets.family.as_ref().and_then(|family| Some((&family.escaped_name, family.current_family(self)?)));
            let series =
                family.and_then(|(wire, family)| Some((wire, series_after(family, targets.last_key.as_ref())?)));
            let target = self.resources.target_after(targets.last_key.as_ref());
            let is_before_series = |target: &&LabelSetKey| {
                series.is_none_or(|(_, (place, _))| {
                    let (a, b) = ((&*target.block, target.labels as usize), (&*place.block, place.labels as usize));
                    compare_blocks(a, b).is_le()
                })
            };
            let place = if let Some(target) = target.filter(is_before_series) {
                let mut wire = Vec::new();
                write_underscored(&mut wire, &self.target_name);
                if wire.len() + target.block.len() < MAX_DIRECT_WRITE / 2 {
                    write_sample(out, &wire, &target.block, 1.0, None);
                } else {
                    page.copy_series(&wire.into(), &target.block, &StoredValue::Number(NumberValue::Int(1)), None);
                }
                target.clone()
            } else if let Some((wire, (place, slot))) = series {
                if let Some(series) = self.series.get(slot) {
                    self.render_series(page, out, wire, series);
                }
                place.clone()
            } else {
                page.stage = RenderStage::Names(targets.resume_after);
                return;
            };
            targets.last_key = Some(place);
        }
        page.stage = RenderStage::TargetInfo(targets);
    }

    fn timestamp(&self, series: &Series) -> Option<i64> {
        self.config.send_timestamps.then(|| series.state.time.div_euclid(1_000_000))
    }

    fn render_series(&self, page: &mut PageRendering, out: &mut Vec<u8>, name: &Rc<[u8]>, series: &Series) {
        let (block, value, at) = (&series.label_block, &series.state.value, self.timestamp(series));
        // A number, a bound and a timestamp take less than a hundred bytes.
        if value.max_lines() * (name.len() + block.len() + 100) > MAX_DIRECT_WRITE {
            return page.copy_series(name, block, value, at);
        }
        match value {
            StoredValue::Number(v) => write_sample(out, name, block, to_f64(*v), at),
            StoredValue::Histogram(h) => write_histogram(out, name, block, h.buckets(), (h.sum, h.count), at),
            StoredValue::Summary(s) => {
                write_summary(out, name, block, s.quantiles.iter().copied(), (s.sum, s.count), at)
            }
        }
    }
}
