//! Renders pages from the registry, in pieces.
//!
//! A [`PageRendering`] is the position up to which a page is written: a name, in it the labels of a series, and in
//! a large series a line. [`SeriesRegistry::render_step`] continues there until a piece is full or a step's work is
//! done, so that a page of any size keeps in memory at most one piece and a copy of the buckets of one series.
//!
//! A page is not a snapshot. Families are written in the order of their names, and each series is shown in its state at
//! the moment when it is written; a change at a position that is already written is on the next page. No family and no
//! series is on a page twice, and all lines of one series are from the same state. In protobuf, a family of many series
//! is several messages, since a message begins with its length, and so is one of classic and of native histograms.

use std::rc::Rc;

use otelcore_exposition::protobuf::{Created, MetricValue};
use otelcore_exposition::{
    BlockLabels, MetricType, NegotiatedFormat, OPEN_METRICS_END, SeriesHead, TextDialect, compare_blocks, escape_block,
    escape_labels, sorted_escaped_block,
};
use otelcore_pipeline::MonotonicTime;

use crate::families::Family;
use crate::label_sets::LabelSetKey;
use crate::page_rendering::{MAX_DIRECT_WRITE, PageRendering, RenderStage, StartedFamily, TargetInfoPosition};
use crate::page_series::{
    EscapedName, SeriesLines, has_plain_labels, max_len_of_lines, push_metric, text_dialect, write_lines,
};
use crate::registry::SeriesRegistry;
use crate::series::{Series, TARGET_HELP};
use crate::series_state::StoredValue;
use crate::series_store::SeriesStore;
use crate::step_budget::StepBudget;

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
    /// The page is too large.
    #[error("the page is larger than {MAX_PAGE_BYTES} bytes")]
    TooLarge,
}

impl StartedFamily {
    fn new(family: &Family, page: &PageRendering) -> Self {
        Self {
            name: family.name.clone(),
            escaped_name: EscapedName::new(&family.name, page.format.format, page.escaper),
            help: family.help.clone(),
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
fn series_after<'a>(family: &Family, after: Option<&LabelSetKey>, series: &'a SeriesStore) -> Option<&'a Series> {
    series.get(family.members()?.after(after, series).next()?)
}

impl SeriesRegistry {
    /// The whole page at `now`, for tests and tools; a server renders in pieces, with [`SeriesRegistry::render_step`].
    ///
    /// # Errors
    /// See [`RenderError`].
    pub fn render(&mut self, now: MonotonicTime, format: &NegotiatedFormat) -> Result<Vec<u8>, RenderError> {
        let budget = self.kept.budget().clone();
        let (mut page, mut rendering, mut piece) = (Vec::new(), PageRendering::new(now, *format, &budget), Vec::new());
        loop {
            let progress = self.render_step(&mut rendering, &mut piece, &mut StepBudget::for_one_step())?;
            page.append(&mut piece);
            if progress == RenderProgress::Complete {
                return Ok(page);
            }
        }
    }

    /// Continues a page: appends to `out` until it has nearly [`PIECE_SIZE`](crate::PIECE_SIZE) bytes, or the work of the
    /// step is done.
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
            page.escaper.escapes_lookalikes = self.config.strategy.keeps_utf8();
            // Another metric may have its name where names are escaped.
            let is_hidden = page.is_escaped()
                && self.escaped_target_name != self.target_name
                && self.families.has_shown_family(&self.escaped_target_name);
            page.target_info_pending = self.resources.has_targets() && !is_hidden;
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
                RenderStage::Names { after, sorted } => self.next_name(page, out, (after, sorted), budget),
                RenderStage::Sorting { after, family, mut left } => {
                    let (series, dropped) = (&mut self.series, &mut self.dropped);
                    let is_sorted = self.families.sort_step(family, &mut left, series, dropped, budget);
                    page.stage = if is_sorted {
                        RenderStage::Names { after, sorted: Some(family) }
                    } else {
                        RenderStage::Sorting { after, family, left }
                    };
                }
                RenderStage::Family(family, place) => self.next_series(page, out, family, place, budget),
                RenderStage::TargetInfo(targets) => self.next_target(page, out, targets, budget),
                RenderStage::Done => return RenderProgress::Complete,
            }
        }
    }

    /// Continues with the next name that is shown, or with `target_info` if it is before that name.
    fn next_name(
        &mut self,
        page: &mut PageRendering,
        out: &mut Vec<u8>,
        (name, sorted): (Option<Rc<[u8]>>, Option<usize>),
        budget: &mut StepBudget,
    ) {
        budget.charge(200);
        let next = self.families.next_after(name.as_deref());
        let shown = next.filter(|(_, family)| family.is_shown());
        let (id, in_family) = (shown.map(|(id, _)| id), shown.map(|(_, f)| StartedFamily::new(f, page)));
        let targets = self.resources.has_targets().then_some((&*self.target_name, &*self.escaped_target_name));
        let is_hidden = |(_, family): &(usize, &Family)| {
            let dropped = &mut self.dropped;
            !family.is_shown()
                || family.hidden
                || (page.is_escaped() && self.families.is_hidden_when_escaped(family, targets, dropped))
        };
        if let Some((_, family)) = next.filter(is_hidden) {
            page.stage = RenderStage::after_name(Some(family.name.clone()));
        } else if let Some((family, left)) = next
            .map(|(id, family)| (id, family.unsorted_len()))
            .filter(|(id, unsorted)| *unsorted > 0 && sorted != Some(*id))
        {
            // Series that come while these are sorted are on the next page.
            page.stage = RenderStage::Sorting { after: name, family, left };
            return;
        } else if page.target_info_pending && next.is_none_or(|(_, family)| *self.target_name <= *family.name) {
            page.target_info_pending = false;
            let target_name = EscapedName::new(&self.target_name, page.format.format, page.escaper);
            page.begin_family(out, &target_name, TARGET_HELP, MetricType::Gauge);
            let merged = in_family.filter(|family| *family.name == *self.target_name);
            let resume_after = merged.as_ref().map(|family| family.name.clone()).or(name);
            // Escaped labels of a metric could be those of a target.
            let merged = merged.filter(|_| !page.is_escaped() || !self.config.strategy.keeps_utf8());
            page.stage = RenderStage::TargetInfo(TargetInfoPosition {
                name: target_name,
                family: merged,
                last_key: None,
                resume_after,
            });
        } else if let Some(family) = in_family {
            page.begin_family(out, &family.escaped_name, &family.help, family.kind);
            page.stage = RenderStage::Family(family, None);
        } else if let Some(dialect) = text_dialect(page.format.format)
            && dialect == TextDialect::OpenMetrics
        {
            out.extend_from_slice(OPEN_METRICS_END);
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
        started: StartedFamily,
        last_key: Option<LabelSetKey>,
        budget: &mut StepBudget,
    ) {
        let Some((family, members)) = started.current_family(self).and_then(|f| Some((f, f.members()?))) else {
            page.end_message(out, &started.escaped_name, (&started.help, started.kind), true);
            page.stage = RenderStage::after_name(Some(started.name));
            return;
        };
        let mut rest = members.after(last_key.as_ref(), &self.series);
        let (mut newest, mut block) = (None, Vec::new());
        while out.len() < MAX_DIRECT_WRITE && !budget.is_spent() && page.is_idle() {
            let Some(slot) = rest.next() else {
                page.end_message(out, &started.escaped_name, (&started.help, started.kind), true);
                page.stage = RenderStage::after_name(Some(started.name));
                return;
            };
            budget.charge(60);
            let Some(oldest) = self.series.get(slot) else { continue };
            newest = Some(oldest);
            let is_shown = self.is_shown_on(page, family, (slot, oldest), budget);
            if let Some(younger) = members.younger_of(slot).filter(|_| self.config.send_timestamps) {
                let slots = [slot].into_iter().chain(younger.values().copied());
                let several = slots.take(MAX_SERIES_OF_EQUAL_LABELS).filter_map(|slot| self.series.get(slot));
                let mut sorted: Vec<(Option<i64>, &Series)> = several.map(|s| (self.timestamp(s), s)).collect();
                sorted.sort_by_key(|(time, _)| *time);
                sorted.dedup_by_key(|(time, _)| *time);
                for (_, series) in sorted.into_iter().filter(|_| is_shown) {
                    self.render_series(page, None, (&started, &mut block), series, budget);
                }
            } else if is_shown {
                self.render_series(page, Some(&mut *out), (&started, &mut block), oldest, budget);
            }
            page.end_message(out, &started.escaped_name, (&started.help, started.kind), false);
        }
        page.stage = RenderStage::Family(started, newest.map(|series| self.series.labels(series)).or(last_key));
    }

    /// Whether the page shows a series. Where label names are escaped, several series may have the same labels; the first
    /// one is shown.
    fn is_shown_on(
        &self,
        page: &PageRendering,
        family: &Family,
        (slot, series): (usize, &Series),
        budget: &mut StepBudget,
    ) -> bool {
        if !page.is_escaped() || !self.series.has_quoted_names(series) {
            return true;
        }
        let labels = self.series.labels(series);
        budget.charge(1000 + 10 * labels.block.len() as u64);
        let (block, count) = sorted_escaped_block(&labels.block);
        let hash = self.series.hash_of_escaped(&block);
        let labels = u32::try_from(count).unwrap_or(u32::MAX);
        let escaped = LabelSetKey { block: block.into(), labels, has_quoted_names: false };
        family.is_shown_when_escaped((slot, hash), &escaped, &self.series)
    }

    /// Writes lines of `target_info`, merged in order with the series of a metric that has the same name.
    fn next_target(
        &self,
        page: &mut PageRendering,
        out: &mut Vec<u8>,
        mut targets: TargetInfoPosition,
        budget: &mut StepBudget,
    ) {
        let mut block = Vec::new();
        while out.len() < MAX_DIRECT_WRITE && !budget.is_spent() && page.is_idle() {
            budget.charge(500);
            let family = targets.family.as_ref().and_then(|family| Some((family, family.current_family(self)?)));
            let series = family.and_then(|(started, family)| {
                let series = series_after(family, targets.last_key.as_ref(), &self.series)?;
                Some((started, series, self.series.labels(series)))
            });
            let target = self.resources.target_after(targets.last_key.as_ref());
            let is_before_series = |target: &&LabelSetKey| {
                series.as_ref().is_none_or(|(_, _, place)| {
                    let (a, b) = ((&*target.block, target.labels as usize), (&*place.block, place.labels as usize));
                    compare_blocks(a, b).is_le()
                })
            };
            let place = if let Some(target) = target.filter(is_before_series) {
                render_target(page, out, &targets.name, target);
                target.clone()
            } else if let Some((started, series, place)) = series {
                self.render_series(page, Some(&mut *out), (started, &mut block), series, budget);
                place
            } else {
                page.end_message(out, &targets.name, (TARGET_HELP, MetricType::Gauge), true);
                page.stage = RenderStage::after_name(targets.resume_after);
                return;
            };
            page.end_message(out, &targets.name, (TARGET_HELP, MetricType::Gauge), false);
            targets.last_key = Some(place);
        }
        page.stage = RenderStage::TargetInfo(targets);
    }

    fn timestamp(&self, series: &Series) -> Option<i64> {
        self.config.send_timestamps.then(|| series.state.time.div_euclid(1_000_000))
    }

    /// Writes a series: to `out` if there is one and if the lines are short, or else line by line. `block` is a buffer for
    /// its labels.
    fn render_series(
        &self,
        page: &mut PageRendering,
        out: Option<&mut Vec<u8>>,
        (family, block): (&StartedFamily, &mut Vec<u8>),
        series: &Series,
        budget: &mut StepBudget,
    ) {
        let (state, at, escaper) = (&series.state, self.timestamp(series), page.escaper);
        block.clear();
        self.series.write_labels(series, block);
        budget.charge(block.len() as u64 / 8);
        let has_quoted_names = self.series.has_quoted_names(series);
        let Some(dialect) = text_dialect(page.format.format) else {
            budget.charge(500 + 8 * block.len() as u64 + 40 * state.value.cell_count() as u64);
            let is_native = matches!(state.value, StoredValue::Native(_));
            if std::mem::replace(&mut page.message_is_native, is_native) != is_native {
                page.write_message(out, &family.escaped_name, (&family.help, family.kind));
            }
            let is_counter = family.kind == MetricType::Counter;
            return push_metric(&mut page.message, (block, has_quoted_names), escaper, state, is_counter, at);
        };
        if !has_plain_labels(has_quoted_names, escaper) {
            budget.charge(500 + 8 * block.len() as u64);
            *block = escape_block(block, escaper);
        }
        let name = &family.escaped_name;
        match out {
            Some(out) if max_len_of_lines(name.len(), block.len(), state) <= MAX_DIRECT_WRITE => {
                write_lines(&SeriesHead { name: name.view(), block, timestamp_ms: at }, out, dialect, state);
            }
            _ => page.push_series(SeriesLines::new(name, block.as_slice().into(), dialect, state, at)),
        }
    }
}

/// Writes a line of `target_info`.
fn render_target(page: &mut PageRendering, out: &mut Vec<u8>, name: &EscapedName, target: &LabelSetKey) {
    let escaper = page.escaper;
    let Some(dialect) = text_dialect(page.format.format) else {
        let value = MetricValue::Gauge(1.0);
        if has_plain_labels(target.has_quoted_names, escaper) {
            let labels: Vec<_> = BlockLabels::new(&target.block).collect();
            let labels = labels.iter().map(|(name, value)| (&**name, *value));
            page.message.push(labels, &value, Created::Unset, None);
        } else {
            let labels = escape_labels(&target.block, escaper);
            let labels = labels.iter().map(|(name, value)| (&**name, &**value));
            page.message.push(labels, &value, Created::Unset, None);
        }
        return;
    };
    let block: Rc<[u8]> = if has_plain_labels(target.has_quoted_names, escaper) {
        target.block.clone()
    } else {
        escape_block(&target.block, escaper).into()
    };
    if name.len() + block.len() < MAX_DIRECT_WRITE / 2 {
        let head = SeriesHead { name: name.view(), block: &block, timestamp_ms: None };
        head.write_number(out, dialect, 1.0, None);
    } else {
        page.push_series(SeriesLines::of_target(name, block, dialect));
    }
}
