//! Renders pages from the registry, in pieces.
//!
//! A [`Rendering`] is the position up to which a page is written: a name, within it the labels of a series, and within
//! a large series a line. [`Registry::render_step`] continues from there until a piece is full or the work of a step is
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
    Accept, Kind, compare_blocks, put_family, put_float, put_histogram, put_sample, put_summary, put_underscored,
};
use otelcore_pdata::views::Number;
use otelcore_pipeline::{Budget, Kept, Mono};

use crate::families::{Family, Place};
use crate::reading::{Value, sample};
use crate::registry::{GatherError, Registry, Series, Sweep, TARGET_HELP};
use crate::work::Work;

/// Bytes of one piece of a page, at most.
pub const PIECE: usize = 64 << 10;
/// Bytes that are written at once, at most. Longer lines, and series of many lines, are written line by line.
const SMALL: usize = PIECE / 2;
/// Bytes of one page, at most. A scrape that needs more ends with an error: a truncated page would look complete.
pub const MAX_PAGE: u64 = 1 << 30;
/// Series with equal labels that are distinguished by their timestamps, at most. Further ones are not shown.
const TWINS: usize = 64;

/// How a step of rendering ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The piece has reached its size.
    Full,
    /// The work of the step is done.
    Spent,
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
    #[error("the page is larger than {MAX_PAGE} bytes")]
    TooLarge,
}

/// A page that is being rendered.
#[derive(Debug)]
pub struct Rendering {
    began: Mono,
    /// Expired series have been removed, and the families of names have been updated.
    settled: bool,
    /// Whether `target_info` has not been written yet.
    targets: bool,
    stage: Stage,
    /// Long pieces of a line, to be copied.
    pending: VecDeque<Fragment>,
    series: VecDeque<Lines>,
    written: u64,
    /// The charge for the memory of the rendering.
    kept: Kept,
}

#[derive(Debug)]
enum Stage {
    /// Before the name that follows this one.
    Names(Option<Rc<[u8]>>),
    /// Within a family, after this series.
    Family(InFamily, Option<Place>),
    /// Within `target_info`.
    Targets(InTargets),
    Done,
}

/// A family whose HELP and TYPE are on the page.
#[derive(Clone, Debug)]
struct InFamily {
    name: Rc<[u8]>,
    wire: Rc<[u8]>,
    seq: u64,
    kind: Kind,
}

#[derive(Debug)]
struct InTargets {
    /// A family of the same name.
    merged: Option<InFamily>,
    /// After this line.
    place: Option<Place>,
    /// The name after which the page continues.
    then: Option<Rc<[u8]>>,
}

#[derive(Debug)]
struct Fragment {
    bytes: Rc<[u8]>,
    at: usize,
}

/// The lines of one series that has many or long lines. A copy, so that all of them are from the same state.
#[derive(Debug)]
struct Lines {
    wire: Rc<[u8]>,
    block: Rc<[u8]>,
    suffix: &'static str,
    label: &'static str,
    /// Bounds or quantiles with their values.
    values: Vec<(f64, f64)>,
    next: usize,
    /// Sum and count; none for a number.
    totals: Option<(f64, u64)>,
    at: Option<i64>,
}

/// Bytes charged for a page: one piece and its compressed form.
const COST: u64 = (2 * PIECE) as u64;

impl Rendering {
    /// A page that begins at `now`. Its memory is charged to `budget` as kept state.
    #[must_use]
    pub fn new(now: Mono, budget: &Arc<Budget>) -> Self {
        Self {
            began: now,
            settled: false,
            targets: false,
            stage: Stage::Names(None),
            pending: VecDeque::new(),
            series: VecDeque::new(),
            written: 0,
            kept: budget.keep(COST),
        }
    }

    /// Copies the pending fragments. True when none is left.
    fn flush(&mut self, out: &mut Vec<u8>) -> bool {
        while let Some(fragment) = self.pending.front_mut() {
            let rest = fragment.bytes.get(fragment.at..).unwrap_or_default();
            let n = rest.len().min(PIECE.saturating_sub(out.len()));
            out.extend_from_slice(rest.get(..n).unwrap_or_default());
            fragment.at += n;
            if n < rest.len() {
                return false;
            }
            self.pending.pop_front();
        }
        true
    }

    /// Whether nothing is pending.
    fn is_free(&self) -> bool {
        self.pending.is_empty() && self.series.is_empty()
    }

    /// Copies the values of a series that is written line by line.
    fn cut(&mut self, wire: &Rc<[u8]>, block: &Rc<[u8]>, value: &Value, at: Option<i64>) {
        let (suffix, label, values, totals) = match value {
            Value::Number(v) => ("", "", vec![(0.0, sample(*v))], None),
            Value::Histogram(h) => {
                let mut values: Vec<_> = h.buckets().map(|(bound, count)| (bound, count as f64)).collect();
                if values.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
                    values.push((f64::INFINITY, h.count as f64));
                }
                ("_bucket", "le", values, Some((h.sum, h.count)))
            }
            Value::Summary(s) => ("", "quantile", s.quantiles.clone(), Some((s.sum, s.count))),
        };
        let lines = Lines { wire: wire.clone(), block: block.clone(), suffix, label, values, next: 0, totals, at };
        self.kept.grow(lines.cost());
        self.series.push_back(lines);
    }

    fn push(&mut self, bytes: impl Into<Rc<[u8]>>) {
        self.pending.push_back(Fragment { bytes: bytes.into(), at: 0 });
    }

    /// Adds the next line of the series that is written line by line to the pending fragments. False when there is no
    /// such series.
    fn next_line(&mut self) -> bool {
        let Some(lines) = self.series.front_mut() else { return false };
        let (mut tail, at) = (Vec::new(), lines.at);
        let end = |tail: &mut Vec<u8>, value: f64| put_sample(tail, b"", b"", value, at);
        let (wire, block, plain) = (lines.wire.clone(), lines.block.clone(), lines.block.is_empty());
        let suffix = if let Some((bound, value)) = lines.values.get(lines.next).copied() {
            if lines.label.is_empty() {
                tail.extend_from_slice(if plain { b"" } else { b"}" });
            } else {
                tail.extend_from_slice(if plain { b"" } else { b"," });
                tail.extend_from_slice(lines.label.as_bytes());
                tail.extend_from_slice(b"=\"");
                put_float(&mut tail, bound);
                tail.extend_from_slice(b"\"}");
            }
            end(&mut tail, value);
            lines.suffix
        } else if let (Some((sum, count)), past) = (lines.totals, lines.next.saturating_sub(lines.values.len()))
            && past < 2
        {
            tail.extend_from_slice(if plain { b"" } else { b"}" });
            end(&mut tail, if past == 0 { sum } else { count as f64 });
            if past == 0 { "_sum" } else { "_count" }
        } else {
            self.kept.shrink(lines.cost());
            self.series.pop_front();
            return true;
        };
        // Braces are written only around labels.
        let braces = !plain || (lines.next < lines.values.len() && !lines.label.is_empty());
        lines.next += 1;
        self.push(wire);
        self.push([suffix.as_bytes(), if braces { b"{" } else { b"" }].concat());
        self.push(block);
        self.push(tail);
        true
    }
}

impl Lines {
    fn cost(&self) -> u64 {
        (16 * self.values.capacity()) as u64
    }
}

impl InFamily {
    fn of(family: &Family) -> Self {
        Self { name: family.name.clone(), wire: family.wire.clone(), seq: family.seq, kind: family.kind }
    }

    /// The family, if it is still the one whose rendering was begun.
    fn find<'a>(&self, registry: &'a Registry) -> Option<&'a Family> {
        registry.families.named(&self.name).filter(|f| f.seq == self.seq && f.kind == self.kind)
    }
}

/// The series of a family after a place.
fn series_after<'a>(family: &'a Family, place: Option<&Place>) -> Option<(&'a Place, usize)> {
    let from = place.map_or(Bound::Unbounded, Bound::Excluded);
    let (place, twins) = family.members()?.range((from, Bound::Unbounded)).next()?;
    Some((place, twins.first()))
}

impl Registry {
    /// The whole page at `now`, for tests and tools; a server renders it in pieces, with [`Registry::render_step`].
    ///
    /// # Errors
    /// See [`RenderError`].
    pub fn render(&mut self, now: Mono, _: &Accept) -> Result<Vec<u8>, RenderError> {
        let budget = self.kept.budget().clone();
        let (mut page, mut rendering, mut piece) = (Vec::new(), Rendering::new(now, &budget), Vec::new());
        loop {
            let progress = self.render_step(&mut rendering, &mut piece, &mut Work::step())?;
            page.append(&mut piece);
            if progress == Progress::Complete {
                return Ok(page);
            }
        }
    }

    /// Removes the series whose last point is older than `metric_expiration`, and updates the families of names, until
    /// everything that is due at `now` is done or the work of the step is done. True when everything is done.
    pub fn expire_step(&mut self, now: Mono, work: &mut Work) -> bool {
        while now.0.saturating_sub(self.oldest.0) > self.expiration {
            let sweep = self.sweep.get_or_insert(Sweep { part: 0, oldest: Mono::NEVER });
            if sweep.part == self.series.parts() {
                // Every point that arrived since is newer than those that were visited.
                self.oldest = sweep.oldest.min(now);
                self.sweep = None;
                if self.series.len() == 0 {
                    self.oldest = Mono::NEVER;
                }
                continue;
            }
            if work.is_spent() {
                return false;
            }
            let mut gone = Vec::new();
            let mut looked_at = 0;
            for (slot, series) in self.series.part(sweep.part) {
                looked_at += 1;
                if now.0.saturating_sub(series.arrived.0) > self.expiration {
                    gone.push(slot);
                } else {
                    sweep.oldest = sweep.oldest.min(series.arrived);
                }
            }
            work.spend(20 * looked_at + 1000);
            // Series for which the step has no work left are found again by the next step.
            let all = gone.len();
            let mut removed = 0;
            for slot in gone {
                if work.is_spent() {
                    break;
                }
                self.remove(slot, work);
                removed += 1;
            }
            if removed == all
                && let Some(sweep) = &mut self.sweep
            {
                sweep.part += 1;
            }
        }
        let targets = self.resources.has_targets().then(|| self.target_name.clone());
        let times = (now, self.expiration);
        self.families.settle(times, targets.as_deref(), &mut self.report, &mut self.kept, work)
    }

    /// Removes everything that is due at `now`.
    pub fn expire(&mut self, now: Mono) {
        while !self.expire_step(now, &mut Work::step()) {}
    }

    /// Continues a page: appends to `out` until it has nearly [`PIECE`] bytes, or the work of the step is done.
    ///
    /// # Errors
    /// See [`RenderError`].
    pub fn render_step(
        &mut self,
        page: &mut Rendering,
        out: &mut Vec<u8>,
        work: &mut Work,
    ) -> Result<Progress, RenderError> {
        let before = out.len();
        let progress = self.render_on(page, out, work);
        page.written += (out.len() - before) as u64;
        work.spend((out.len() - before) as u64 * 4);
        if page.written > MAX_PAGE {
            return Err(RenderError::TooLarge);
        }
        if progress == Progress::Complete
            && page.written == 0
            && let Some(series) = self.quantile.first().and_then(|slot| self.series.get(*slot))
        {
            let family = self.streams.get(series.stream).and_then(|s| s.family).and_then(|id| self.families.get(id));
            let name = family.map_or_else(String::new, |f| String::from_utf8_lossy(&f.wire).into_owned());
            let text = format!("collected metric {name:?} must not have an explicit \"quantile\" label");
            return Err(RenderError::Gather(GatherError(text)));
        }
        Ok(progress)
    }

    fn render_on(&mut self, page: &mut Rendering, out: &mut Vec<u8>, work: &mut Work) -> Progress {
        if !page.settled {
            if !self.expire_step(page.began, work) {
                return Progress::Spent;
            }
            page.settled = true;
            page.targets = self.resources.has_targets();
        }
        loop {
            if !page.flush(out) || out.len() >= SMALL {
                return Progress::Full;
            }
            if page.next_line() {
                work.spend(200);
                continue;
            }
            if work.is_spent() {
                return Progress::Spent;
            }
            match std::mem::replace(&mut page.stage, Stage::Done) {
                Stage::Names(name) => self.next_name(page, name, work),
                Stage::Family(family, place) => self.next_series(page, out, family, place, work),
                Stage::Targets(targets) => self.next_target(page, out, targets, work),
                Stage::Done => return Progress::Complete,
            }
        }
    }

    /// Continues with the next name that is shown, or with `target_info` if it is before that name.
    fn next_name(&mut self, page: &mut Rendering, name: Option<Rc<[u8]>>, work: &mut Work) {
        work.spend(200);
        let next = self.families.after(name.as_deref());
        let here = next.filter(|(_, family)| family.is_shown());
        let (id, in_family) = (here.map(|(id, _)| id), here.map(|(_, family)| InFamily::of(family)));
        if let Some((_, family)) = next.filter(|(_, family)| !family.is_shown() || family.hidden) {
            page.stage = Stage::Names(Some(family.name.clone()));
        } else if page.targets && next.is_none_or(|(_, family)| *self.target_name <= *family.name) {
            page.targets = false;
            let (mut wire, mut header) = (Vec::new(), Vec::new());
            put_underscored(&mut wire, &self.target_name);
            put_family(&mut header, &wire, TARGET_HELP, Kind::Gauge);
            page.push(header);
            let merged = in_family.filter(|family| *family.name == *self.target_name);
            let then = merged.as_ref().map(|family| family.name.clone()).or(name);
            page.stage = Stage::Targets(InTargets { merged, place: None, then });
        } else if let (Some((_, family)), Some(in_family)) = (next, in_family) {
            page.push(family.header.clone());
            page.stage = Stage::Family(in_family, None);
        }
        if let Some(id) = id {
            self.families.seen(id, page.began);
        }
    }

    /// Writes series of a family: one for each set of labels, or, with timestamps, one for each set of labels and
    /// timestamp.
    fn next_series(
        &self,
        page: &mut Rendering,
        out: &mut Vec<u8>,
        family: InFamily,
        place: Option<Place>,
        work: &mut Work,
    ) {
        let Some(members) = family.find(self).and_then(Family::members) else {
            page.stage = Stage::Names(Some(family.name));
            return;
        };
        let from = place.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = members.range((from, Bound::Unbounded));
        let mut last = None;
        while out.len() < SMALL && !work.is_spent() && page.is_free() {
            let Some((at, twins)) = rest.next() else {
                page.stage = Stage::Names(Some(family.name));
                return;
            };
            work.spend(60);
            last = Some(at);
            if twins.are_several() && self.settings.send_timestamps {
                let twins = twins.iter().take(TWINS).filter_map(|slot| self.series.get(slot));
                let mut twins: Vec<(Option<i64>, &Series)> = twins.map(|s| (self.timestamp(s), s)).collect();
                twins.sort_by_key(|(time, _)| *time);
                twins.dedup_by_key(|(time, _)| *time);
                for (time, series) in twins {
                    page.cut(&family.wire, &series.block, &series.reading.value, time);
                }
            } else if let Some(series) = self.series.get(twins.first()) {
                self.render_series(page, out, &family.wire, series);
            }
        }
        let last = last.cloned();
        page.stage = Stage::Family(family, last.or(place));
    }

    /// Writes lines of `target_info`, merged in order with the series of a metric that has the same name.
    fn next_target(&self, page: &mut Rendering, out: &mut Vec<u8>, mut targets: InTargets, work: &mut Work) {
        while out.len() < SMALL && !work.is_spent() && page.is_free() {
            work.spend(500);
            let family = targets.merged.as_ref().and_then(|family| Some((&family.wire, family.find(self)?)));
            let series = family.and_then(|(wire, family)| Some((wire, series_after(family, targets.place.as_ref())?)));
            let target = self.resources.target_after(targets.place.as_ref());
            let first = |target: &&Place| {
                series.is_none_or(|(_, (place, _))| {
                    let (a, b) = ((&*target.block, target.labels as usize), (&*place.block, place.labels as usize));
                    compare_blocks(a, b).is_le()
                })
            };
            let place = if let Some(target) = target.filter(first) {
                let mut wire = Vec::new();
                put_underscored(&mut wire, &self.target_name);
                if wire.len() + target.block.len() < SMALL / 2 {
                    put_sample(out, &wire, &target.block, 1.0, None);
                } else {
                    page.cut(&wire.into(), &target.block, &Value::Number(Number::Int(1)), None);
                }
                target.clone()
            } else if let Some((wire, (place, slot))) = series {
                if let Some(series) = self.series.get(slot) {
                    self.render_series(page, out, wire, series);
                }
                place.clone()
            } else {
                page.stage = Stage::Names(targets.then);
                return;
            };
            targets.place = Some(place);
        }
        page.stage = Stage::Targets(targets);
    }

    fn timestamp(&self, series: &Series) -> Option<i64> {
        self.settings.send_timestamps.then(|| series.reading.time.div_euclid(1_000_000))
    }

    fn render_series(&self, page: &mut Rendering, out: &mut Vec<u8>, name: &Rc<[u8]>, series: &Series) {
        let (block, value, at) = (&series.block, &series.reading.value, self.timestamp(series));
        // A number, a bound and a timestamp take less than a hundred bytes.
        if value.lines() * (name.len() + block.len() + 100) > SMALL {
            return page.cut(name, block, value, at);
        }
        match value {
            Value::Number(v) => put_sample(out, name, block, sample(*v), at),
            Value::Histogram(h) => put_histogram(out, name, block, h.buckets(), (h.sum, h.count), at),
            Value::Summary(s) => put_summary(out, name, block, s.quantiles.iter().copied(), (s.sum, s.count), at),
        }
    }
}
