//! One target: its page while it is scraped, the series that are known of it, and what a scrape becomes.
//!
//! ```text
//!  idle --begin--> page --end--> finishing --(stale markers, forgetting, report: in steps)--> idle
//!    |                               ^
//!    +--end (no page)----------------+--end_of_run
//! ```
//! A pure machine: time is an argument. It scrapes nothing and sends nothing; [`Target::step`] returns the transaction
//! that is to be sent.

use std::rc::Rc;

use otelcore_exposition::parse::{Event, Exemplar, FamilyType, Labels, NativeHistogram, PageParser, ParserLimits};
use otelcore_pdata::StepBudget;
use otelcore_pipeline::{Held, Kept};
use otelcore_prometheus_discovery::{LabelBuilder, LabelSet};

use crate::cache::{Forgotten, Known, SeriesCache};
use crate::key::KeyHasher;
use crate::labels::series_labels;
use crate::metadata::MetadataStore;
use crate::native::{NativeError, NativeValue, STALE};
use crate::series::{NAME, Series};
use crate::settings::PageSettings;
use crate::transaction::{TargetInfo, Transaction};

/// How far in the future the time of a sample may be.
const MAX_AHEAD_MS: i64 = 10 * 60 * 1000;

/// What a sample costs in addition to reading it, as a number of bytes: a series that is known, and a new one.
const KNOWN_WORK: usize = 48;
const NEW_WORK: usize = 256;

/// The work after which the rest of a part waits.
const MAX_WORK: usize = 64 << 10;

/// The longest line of a text page, or metric of a protobuf page, in bytes: it is read in one step.
const MAX_ENTRY_BYTES: usize = 128 << 10;

/// Positions that are looked at between two checks of the work, and the work for each.
const POSITIONS: usize = 1024;
const WORK_PER_POSITION: u64 = 60;
/// Work for a stale marker.
const WORK_PER_MARKER: u64 = 1000;

/// The series that every scrape reports, and those that it reports if that is configured.
const REPORTED: [&str; 8] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
];
const ALWAYS_REPORTED: usize = 5;

/// Why a page is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum PageError {
    /// What is wrong with it, and where.
    Page(String),
    /// There is no memory for it.
    NoRoom,
    /// The scrape before is not finished yet.
    Busy,
}

/// What is counted of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Counts {
    samples: u64,
    after_relabelling: u64,
    new_series: u64,
    /// Samples that count for the limit.
    limited: u64,
    duplicates: u64,
    out_of_bounds: u64,
}

/// A scrape whose page is being read.
struct Page {
    parser: PageParser,
    transaction: Transaction,
    started_ms: i64,
    counts: Counts,
    /// The last type on the page.
    last_type: FamilyType,
    sample_limit_exceeded: bool,
    bucket_limit_exceeded: bool,
    held: Held,
}

/// How a scrape has ended, as its owner knows it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ScrapeEnd {
    /// Milliseconds since 1970.
    pub(crate) started_ms: i64,
    pub(crate) seconds: f64,
    pub(crate) timeout_seconds: f64,
    pub(crate) page_bytes: u64,
    pub(crate) is_too_large: bool,
    /// The request has failed.
    pub(crate) has_failed: bool,
}

/// What is written in the log about a scrape.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ScrapeNotes {
    /// Samples with a series that was on the page before.
    pub(crate) duplicates: u64,
    /// Samples whose time is too far in the future.
    pub(crate) out_of_bounds: u64,
    /// Samples that are no points, with the error and the metric of the first one.
    pub(crate) failed: u64,
    pub(crate) first_failure: Option<(String, String)>,
    /// Why the points of the scrape are not sent.
    pub(crate) report_error: Option<String>,
}

/// The points of a scrape.
pub(crate) struct FinishedScrape {
    pub(crate) transaction: Option<Transaction>,
    pub(crate) notes: ScrapeNotes,
    pub(crate) held: Held,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Markers for series that have ended.
    Stale(usize),
    /// What a scrape that was given up has added.
    ForgetAdded(usize, u64),
    ForgetSeries(usize),
    ForgetMetadata(usize),
    Report,
}

struct Finishing {
    stage: Stage,
    transaction: Transaction,
    time_ms: i64,
    /// The scrape whose series may have ended, and the one that was given up after it.
    previous: u64,
    ignored: Option<u64>,
    is_whole_page: bool,
    report: [f64; REPORTED.len()],
    notes: ScrapeNotes,
    held: Held,
}

/// A target.
pub(crate) struct Target {
    settings: Rc<PageSettings>,
    pub(crate) info: TargetInfo,
    hasher: KeyHasher,
    builder: LabelBuilder,
    cache: SeriesCache,
    metadata: MetadataStore,
    reported: Vec<Rc<Series>>,
    page: Option<Page>,
    finishing: Option<Box<Finishing>>,
    /// The number of the last scrape that has ended, and of this one.
    previous: u64,
    current: u64,
    kept: Kept,
}

impl Target {
    pub(crate) fn new(settings: Rc<PageSettings>, info: TargetInfo, hasher: KeyHasher) -> Self {
        let kept = settings.budget.keep(0);
        Self {
            settings,
            info,
            metadata: MetadataStore::new(hasher.clone()),
            hasher,
            builder: LabelBuilder::new(),
            cache: SeriesCache::default(),
            reported: Vec::new(),
            page: None,
            finishing: None,
            previous: 0,
            current: 1,
            kept,
        }
    }

    /// Whether a scrape has been reported.
    pub(crate) fn was_scraped(&self) -> bool {
        self.previous > 0
    }

    pub(crate) fn is_finishing(&self) -> bool {
        self.finishing.is_some()
    }

    /// A page follows.
    pub(crate) fn begin(&mut self, content_type: Option<&[u8]>, started_ms: i64) -> Result<(), PageError> {
        if self.is_finishing() {
            return Err(PageError::Busy);
        }
        let limits = ParserLimits { max_entry_bytes: MAX_ENTRY_BYTES, ..ParserLimits::default() };
        let mut parser = PageParser::new(self.settings.format(content_type), limits);
        if !self.settings.scrapes_native {
            parser = parser.without_native_histograms();
        } else if self.settings.always_scrapes_classic {
            parser = parser.with_classic_histograms();
        }
        self.page = Some(Page {
            parser,
            transaction: Transaction::new(self.hasher.clone()),
            started_ms,
            counts: Counts::default(),
            last_type: FamilyType::Unknown,
            sample_limit_exceeded: false,
            bucket_limit_exceeded: false,
            held: self.settings.budget.hold(0),
        });
        Ok(())
    }

    /// The next part of the page, or an empty one to go on. Returns what it has cost in addition to reading it, as a number
    /// of bytes, and whether nothing is left of it.
    pub(crate) fn push(&mut self, data: &[u8]) -> Result<(usize, bool), PageError> {
        let Some(mut page) = self.page.take() else { return Ok((0, true)) };
        page.parser.handle_data(data);
        let result = self.read_events(&mut page, MAX_WORK);
        let bytes = page.transaction.bytes + page.parser.buffered() as u64 + self.state_bytes();
        let result = result.and_then(|work| {
            let bytes = bytes.saturating_sub(self.kept.bytes());
            page.held.try_grow(bytes).map(|()| work).map_err(|_| PageError::NoRoom)
        });
        self.page = Some(page);
        result
    }

    fn state_bytes(&self) -> u64 {
        self.cache.bytes + self.metadata.bytes
    }

    /// Reads events until there are none or the work is done. Returns the work, and whether there are none.
    fn read_events(&mut self, page: &mut Page, max_work: usize) -> Result<(usize, bool), PageError> {
        let mut work = 0;
        // The parser lends its events, so the other parts of the page are borrowed apart from it.
        let Page { parser, transaction, counts, last_type, .. } = page;
        let mut scrape = PageScrape {
            target: self,
            transaction,
            started_ms: page.started_ms,
            counts,
            last_type,
            sample_limit_exceeded: &mut page.sample_limit_exceeded,
            bucket_limit_exceeded: &mut page.bucket_limit_exceeded,
        };
        while work < max_work {
            let Some(event) = parser.poll_event() else { return Ok((work, true)) };
            let event = event.map_err(|error| PageError::Page(error.to_string()))?;
            work += scrape.handle_event(&event).map_err(PageError::Page)?;
        }
        Ok((work, false))
    }

    /// The scrape has ended. Why it has failed is returned, if that is because of the page. [`Target::step`] follows.
    pub(crate) fn end(&mut self, end: &ScrapeEnd) -> Result<(), PageError> {
        if self.is_finishing() {
            return Err(PageError::Busy);
        }
        let mut page = self.page.take();
        let mut result = Ok(());
        if let Some(page) = page.as_mut().filter(|_| !end.has_failed) {
            page.parser.handle_end();
            // All but the last line was read before.
            result = self.read_events(page, usize::MAX).map(|_| ());
            if result.is_ok() && page.sample_limit_exceeded {
                result = Err(PageError::Page("sample limit exceeded".to_owned()));
            } else if result.is_ok() && page.bucket_limit_exceeded {
                result = Err(PageError::Page("histogram bucket limit exceeded".to_owned()));
            }
        }
        self.finish(page, end, result.clone());
        result
    }

    /// The page was refused with this error before its end; [`Target::step`] follows.
    pub(crate) fn end_refused(&mut self, end: &ScrapeEnd, error: PageError) {
        let page = self.page.take();
        if !self.is_finishing() {
            self.finish(page, end, Err(error));
        }
    }

    fn finish(&mut self, page: Option<Page>, end: &ScrapeEnd, result: Result<(), PageError>) {
        let is_up = result.is_ok() && !end.has_failed;
        let mut ignored = None;
        // A page that was not read to its end, since the request has failed or there is no room, counts as none.
        if (end.has_failed || result == Err(PageError::NoRoom)) && page.is_some() {
            ignored = Some(self.current);
            self.current += 1;
        }
        let counts = page.as_ref().filter(|_| !end.has_failed).map(|page| page.counts).unwrap_or_default();
        let (transaction, held) = match page {
            Some(page) if is_up => (page.transaction, page.held),
            _ => (Transaction::new(self.hasher.clone()), self.settings.budget.hold(0)),
        };
        let page_bytes = match end {
            ScrapeEnd { is_too_large: true, .. } => -1.0,
            ScrapeEnd { has_failed: true, .. } => 0.0,
            end => end.page_bytes as f64,
        };
        self.finishing = Some(Box::new(Finishing {
            stage: Stage::Stale(0),
            transaction,
            time_ms: end.started_ms,
            previous: self.previous,
            ignored,
            is_whole_page: is_up && end.page_bytes > 0,
            report: [
                if is_up { 1.0 } else { 0.0 },
                end.seconds,
                counts.samples as f64,
                counts.after_relabelling as f64,
                counts.new_series as f64,
                end.timeout_seconds,
                self.settings.sample_limit as f64,
                page_bytes,
            ],
            notes: ScrapeNotes {
                duplicates: counts.duplicates,
                out_of_bounds: counts.out_of_bounds,
                ..ScrapeNotes::default()
            },
            held,
        }));
    }

    /// The target is not scraped any more: its series end at this time. [`Target::step`] follows.
    pub(crate) fn end_of_run(&mut self, time_ms: i64) {
        self.page = None;
        self.finishing = Some(Box::new(Finishing {
            stage: Stage::Stale(0),
            transaction: Transaction::new(self.hasher.clone()),
            time_ms,
            previous: self.previous,
            ignored: None,
            is_whole_page: false,
            report: [STALE; REPORTED.len()],
            notes: ScrapeNotes::default(),
            held: self.settings.budget.hold(0),
        }));
    }

    /// Works on the scrape that has ended, within the work. Returns it when nothing is left to do.
    pub(crate) fn step(&mut self, work: &mut StepBudget) -> Option<FinishedScrape> {
        let mut finishing = self.finishing.take()?;
        while !work.is_spent() {
            work.charge(WORK_PER_POSITION);
            match finishing.stage {
                Stage::Stale(from) => {
                    let next = self.mark_stale(&mut finishing, from, work);
                    finishing.stage = match (next, finishing.ignored) {
                        (Some(next), _) => Stage::Stale(next),
                        (None, Some(given_up)) => Stage::ForgetAdded(0, given_up),
                        (None, None) => self.after_markers(finishing.is_whole_page),
                    };
                }
                Stage::ForgetAdded(from, scrape) => {
                    work.charge(POSITIONS as u64 * WORK_PER_POSITION);
                    let next = self.cache.forget(from, POSITIONS, Forgotten::AddedIn(scrape));
                    let done = || self.after_markers(false);
                    finishing.stage = next.map_or_else(done, |next| Stage::ForgetAdded(next, scrape));
                }
                Stage::ForgetSeries(from) => {
                    work.charge(POSITIONS as u64 * WORK_PER_POSITION);
                    let next = self.cache.forget(from, POSITIONS, Forgotten::NotSeenIn(self.current));
                    finishing.stage = next.map_or(Stage::ForgetMetadata(0), Stage::ForgetSeries);
                }
                Stage::ForgetMetadata(from) => {
                    work.charge(POSITIONS as u64 * WORK_PER_POSITION);
                    let next = self.metadata.forget_old(from, POSITIONS, self.current);
                    finishing.stage = next.map_or(Stage::Report, Stage::ForgetMetadata);
                }
                Stage::Report => return Some(self.report(*finishing)),
            }
        }
        self.finishing = Some(finishing);
        None
    }

    fn after_markers(&mut self, is_whole_page: bool) -> Stage {
        let forgets = self.cache.must_forget(is_whole_page, self.metadata.len());
        if forgets { Stage::ForgetSeries(0) } else { Stage::Report }
    }

    fn mark_stale(&mut self, finishing: &mut Finishing, from: usize, work: &mut StepBudget) -> Option<usize> {
        let end = (from + POSITIONS).min(self.cache.positions());
        for at in from..end {
            work.charge(WORK_PER_POSITION / 4);
            let Some(series) = self.cache.series_at(at) else { continue };
            if finishing.previous > 0 && series.was_tracked(finishing.previous, finishing.ignored) {
                work.charge(WORK_PER_MARKER);
                finishing.transaction.add_sample(series, &self.info, &self.metadata, finishing.time_ms, STALE);
            }
        }
        (end < self.cache.positions()).then_some(end)
    }

    fn report(&mut self, finishing: Finishing) -> FinishedScrape {
        let Finishing { mut transaction, time_ms, report, mut notes, mut held, .. } = finishing;
        let mut error = None;
        if self.reported.is_empty() {
            for name in REPORTED {
                match self.report_series(name) {
                    Ok(series) => self.reported.push(Rc::new(series)),
                    Err(text) => error = Some(text),
                }
            }
        }
        let count = if self.settings.reports_extra { REPORTED.len() } else { ALWAYS_REPORTED };
        for (series, value) in self.reported.iter().zip(report).take(count) {
            transaction.add_sample(series, &self.info, &self.metadata, time_ms, value);
        }
        (self.previous, self.current) = (self.current, self.current + 1);
        self.kept.set(self.state_bytes());
        notes.failed = transaction.failed.count;
        notes.first_failure = transaction.failed.first.take();
        // What was charged for new state is charged as kept from now on.
        if held.bytes() > transaction.bytes {
            held = self.settings.budget.hold(transaction.bytes);
        } else {
            held.grow(transaction.bytes);
        }
        notes.report_error = error;
        let transaction = Some(transaction).filter(|_| notes.report_error.is_none());
        FinishedScrape { transaction, notes, held }
    }

    fn report_series(&self, name: &str) -> Result<Series, String> {
        let external = self.settings.external_labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = LabelSet::from_pairs(self.info.labels.iter().chain([(NAME, name)]).chain(external));
        Series::new(labels, &self.info.labels, &self.hasher)
    }

    #[cfg(test)]
    pub(crate) fn known(&self) -> (usize, usize) {
        self.cache.len()
    }
}

/// A page whose events are handled.
struct PageScrape<'p> {
    target: &'p mut Target,
    transaction: &'p mut Transaction,
    started_ms: i64,
    counts: &'p mut Counts,
    last_type: &'p mut FamilyType,
    sample_limit_exceeded: &'p mut bool,
    bucket_limit_exceeded: &'p mut bool,
}

/// The value of an entry.
enum EntryValue<'v> {
    Number(f64),
    Native(&'v NativeHistogram<'v>),
}

impl PageScrape<'_> {
    /// Returns what it has cost, or why the scrape fails.
    fn handle_event(&mut self, event: &Event<'_>) -> Result<usize, String> {
        let (metadata, current) = (&mut self.target.metadata, self.target.current);
        match event {
            Event::Help { name, text } => metadata.set_help(name, text, current),
            Event::Type { name, family_type } => {
                *self.last_type = *family_type;
                metadata.set_type(name, *family_type, current);
            }
            Event::Unit { name, unit } => metadata.set_unit(name, unit, current),
            Event::Sample(sample) => {
                let exemplars = sample.exemplar.iter().copied();
                let value = EntryValue::Number(sample.value);
                return self.add(sample.name, sample.labels, sample.timestamp_ms, &value, exemplars);
            }
            Event::NativeHistogram(histogram) => {
                let exemplars = histogram.exemplars.iter();
                let value = EntryValue::Native(histogram);
                return self.add(histogram.name, histogram.labels, histogram.timestamp_ms, &value, exemplars);
            }
        }
        Ok(KNOWN_WORK)
    }

    fn add<'e>(
        &mut self,
        name: &str,
        labels: Labels<'_>,
        timestamp_ms: Option<i64>,
        value: &EntryValue<'_>,
        exemplars: impl Iterator<Item = Exemplar<'e>>,
    ) -> Result<usize, String> {
        let target = &mut *self.target;
        self.counts.samples += 1;
        let explicit_ms = timestamp_ms.filter(|_| target.settings.honor_timestamps);
        let key = target.hasher.texts([name].into_iter().chain(labels.iter().flat_map(|(name, value)| [name, value])));
        let (series, was_seen, is_new) = match target.cache.find(key, target.current) {
            Some(Known::Dropped) => return Ok(KNOWN_WORK),
            Some(Known::Series(series, was_seen)) => (series, was_seen, false),
            None => {
                let settings = target.settings.clone();
                let (own, builder) = (&target.info.labels, &mut target.builder);
                let found = series_labels(&settings, own, builder, *self.last_type, name, labels)?;
                let Some(found) = found else {
                    if target.kept.has_room() {
                        target.cache.add(key, None, target.current);
                    }
                    return Ok(NEW_WORK);
                };
                let series = Series::new(found, &target.info.labels, &target.hasher)?;
                (target.cache.unique(series), false, true)
            }
        };
        let is_point = self.append(&series, was_seen && explicit_ms.is_none(), explicit_ms, value, exemplars);
        let target = &mut *self.target;
        if is_point {
            if series.is_known.get() && (explicit_ms.is_none() || target.settings.tracks_timestamps) {
                series.track(target.current);
            }
            if is_new {
                // Without room the series is not remembered: it has no marker at its end.
                if target.kept.has_room() {
                    target.cache.add(key, Some(series), target.current);
                }
                if !*self.sample_limit_exceeded && !*self.bucket_limit_exceeded {
                    self.counts.new_series += 1;
                }
            }
        }
        self.counts.after_relabelling += 1;
        Ok(if is_new { NEW_WORK + labels.len() * 16 } else { KNOWN_WORK })
    }

    /// Whether the sample was accepted.
    fn append<'e>(
        &mut self,
        series: &Rc<Series>,
        is_duplicate: bool,
        explicit_ms: Option<i64>,
        value: &EntryValue<'_>,
        exemplars: impl Iterator<Item = Exemplar<'e>>,
    ) -> bool {
        let (settings, transaction) = (&self.target.settings, &mut *self.transaction);
        let (info, metadata) = (&self.target.info, &self.target.metadata);
        if is_duplicate {
            self.counts.duplicates += 1;
            return false;
        }
        let native = match value {
            EntryValue::Number(_) => None,
            EntryValue::Native(histogram) => {
                let mut native = NativeValue::new(histogram);
                if let Err(NativeError::BucketLimit) = native.limit(settings.max_schema, settings.bucket_limit) {
                    *self.bucket_limit_exceeded = true;
                    return false;
                }
                Some(native)
            }
        };
        self.counts.limited += 1;
        if settings.sample_limit > 0 && self.counts.limited > settings.sample_limit {
            *self.sample_limit_exceeded = true;
            return false;
        }
        let time_ms = explicit_ms.unwrap_or(self.started_ms);
        if time_ms > self.started_ms.saturating_add(MAX_AHEAD_MS) {
            self.counts.out_of_bounds += 1;
            return false;
        }
        let is_native = native.is_some();
        let is_point = match (native, value) {
            (Some(native), _) => transaction.add_native(series, info, metadata, time_ms, native),
            (None, EntryValue::Number(value)) => transaction.add_sample(series, info, metadata, time_ms, *value),
            (None, EntryValue::Native(_)) => false,
        };
        if is_point {
            series.is_known.set(true);
        }
        let mut exemplars: Vec<_> = exemplars
            .filter(|exemplar| !is_native || exemplar.timestamp_ms.is_some())
            .map(|exemplar| (exemplar.timestamp_ms.unwrap_or(time_ms), exemplar))
            .collect();
        exemplars.sort_by(|(a, x), (b, y)| a.cmp(b).then(x.value.total_cmp(&y.value)));
        for (at, exemplar) in &exemplars {
            transaction.add_exemplar(series, info, metadata, is_native, exemplar, *at);
        }
        true
    }
}
