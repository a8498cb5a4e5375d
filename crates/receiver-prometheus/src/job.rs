//! A job: its targets as they come and go, and the scraper that scrapes them.
//!
//! ```text
//!  group --populate--> target (shared by the groups that have it) --no group has it--> ending --its time--> markers
//! ```
//! A target that comes back while it is ending goes on with the series that are known of it. Discovers nothing and sends
//! nothing.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_net::{ScrapeSchedule, Scraper, ScraperConfig, TargetId, Url, hash_target};
use otelcore_pdata::StepBudget;
use otelcore_pipeline::{Cx, Event, LogField, Logger, MonotonicTime, StartError};
use otelcore_prometheus_discovery::{
    GroupId, HttpCredentials, LabelBuilder, LabelSet, RelabelRules, ScrapeTarget, TargetDefaults, TargetGroup,
    populate_labels,
};

use crate::config::{Mistake, PromConfig, ScrapeConfig, resolve};
use crate::consumer::{ActiveTarget, JobTargets, millis};
use crate::key::KeyHasher;
use crate::native;
use crate::protocol::accept_header;
use crate::resource::DiscoveredResource;
use crate::settings::PageSettings;
use crate::target::{FinishedScrape, Target};
use crate::transaction::TargetInfo;

/// Local keys of a job: those of its scraper, and from here on that of its credentials.
const CREDENTIALS: u64 = 1 << 31;

/// The most scrapes of a job at once.
const MAX_CONCURRENT: usize = 2048;

/// Identifies a target by its labels and its URL.
type TargetKey = u128;

/// How many groups have a target.
struct References {
    id: TargetId,
    count: usize,
}

/// A target that is not scraped any more.
pub(crate) struct Ending {
    target: ActiveTarget,
    /// The time of the markers.
    stale_ms: i64,
    /// The markers have begun.
    is_final: bool,
}

/// What a job needs of the receiver.
pub(crate) struct JobContext<'c> {
    pub(crate) log: Logger,
    pub(crate) hasher: KeyHasher,
    pub(crate) budget: &'c Arc<otelcore_pipeline::Budget>,
    pub(crate) external_labels: &'c [(String, String)],
    pub(crate) offset_seed: u64,
    pub(crate) first_delay: Duration,
}

/// A job.
pub(crate) struct Job {
    base: u64,
    hasher: KeyHasher,
    settings: Rc<PageSettings>,
    defaults: TargetDefaults,
    target_limit: u64,
    first_delay: Duration,
    credentials: Rc<HttpCredentials>,
    scraper: Scraper,
    targets: JobTargets,
    builder: LabelBuilder,
    groups: BTreeMap<GroupId, Vec<TargetKey>>,
    references: BTreeMap<TargetKey, References>,
    ending: BTreeMap<TargetKey, Ending>,
    /// When the markers of an ending target are due.
    due: BTreeMap<(MonotonicTime, TargetKey), ()>,
    /// Ending targets with something to finish.
    finishing: Vec<TargetKey>,
}

impl Job {
    /// A job that scrapes nothing yet. It uses local keys from `base` on, 2^32 of them.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub(crate) fn new(
        config: &ScrapeConfig,
        all: &PromConfig,
        context: &JobContext<'_>,
        base: u64,
    ) -> Result<Self, StartError> {
        let wrong = |message: String| StartError::Config(format!("job {:?}: {message}", config.job_name));
        let resolved = resolve(config, all).map_err(|Mistake { key, message }| wrong(format!("{key}: {message}")))?;
        let rules = |configs| RelabelRules::compile(configs, resolved.validation).map_err(|error| wrong(error.message));
        let settings = PageSettings {
            honor_labels: config.honor_labels,
            honor_timestamps: config.honor_timestamps,
            tracks_timestamps: config.track_timestamps_staleness,
            sample_limit: resolved.sample_limit,
            label_limit: size(resolved.label_limit),
            label_name_limit: size(resolved.label_name_limit),
            label_value_limit: size(resolved.label_value_limit),
            bucket_limit: size(config.native_histogram_bucket_limit),
            max_schema: native::max_schema(config.native_histogram_min_bucket_factor),
            scrapes_native: resolved.scrapes_native,
            always_scrapes_classic: resolved.always_scrapes_classic,
            reports_extra: resolved.reports_extra,
            validation: resolved.validation,
            rules: rules(&config.metric_relabel_configs)?,
            external_labels: context.external_labels.to_vec(),
            fallback: resolved.fallback,
            budget: context.budget.clone(),
        };
        let scraper = ScraperConfig {
            max_page: resolved.body_size_limit,
            accept: accept_header(&resolved.protocols, resolved.escaping),
            accepts_gzip: config.enable_compression,
            headers: Vec::new(),
            max_concurrent: MAX_CONCURRENT,
            offset_seed: context.offset_seed,
        };
        let credentials = HttpCredentials::new(&config.http, base + CREDENTIALS);
        let client = Rc::new(config.http.client_config());
        let auth: Rc<dyn otelcore_pipeline::ClientAuth> = credentials.clone();
        Ok(Self {
            base,
            hasher: context.hasher.clone(),
            settings: Rc::new(settings),
            defaults: TargetDefaults {
                job: config.job_name.0.clone(),
                scrape_interval: resolved.interval,
                scrape_timeout: resolved.timeout,
                metrics_path: config.metrics_path.0.clone(),
                scheme: config.scheme.0.clone(),
                params: config.params.0.clone(),
                rules: rules(&config.relabel_configs)?,
            },
            target_limit: resolved.target_limit,
            first_delay: context.first_delay,
            credentials,
            scraper: Scraper::new(scraper, client, Some(auth), context.log.clone(), base),
            targets: JobTargets::new(context.log.clone()),
            builder: LabelBuilder::new(),
            groups: BTreeMap::new(),
            references: BTreeMap::new(),
            ending: BTreeMap::new(),
            due: BTreeMap::new(),
            finishing: Vec::new(),
        })
    }

    pub(crate) fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.credentials.start(cx);
        let urls: Vec<Url> = match self.defaults.scheme.as_str() {
            "https" => Url::parse("https://localhost/").into_iter().collect(),
            _ => Vec::new(),
        };
        self.scraper.start(cx, &urls.iter().collect::<Vec<_>>())
    }

    pub(crate) fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        if local == self.base + CREDENTIALS {
            self.credentials.handle_event(cx, event);
        } else {
            self.scraper.handle_event(cx, local, event, &mut self.targets);
        }
    }

    /// Populates a target of a group, and begins to scrape it if it is new.
    pub(crate) fn add_target(&mut self, cx: &mut Cx<'_>, group: &TargetGroup, index: usize) -> Option<TargetKey> {
        let labels = group.targets.get(index)?;
        let populated = populate_labels(&mut self.builder, &self.defaults, labels, &group.labels);
        let target = populated.and_then(|target| {
            let Some(target) = target else { return Ok(None) };
            let url = Url::parse(&target.url).map_err(|error| error.to_string())?;
            Ok(Some((target, Arc::new(url))))
        });
        match target {
            Ok(found) => found.map(|(target, url)| self.reference(cx, &target, url, (labels, &group.labels))),
            Err(error) => {
                let text = format!("instance {index} in group {}: {error}", group.source);
                let fields = [("err", LogField::Str(&text)), ("scrape_pool", LogField::Str(&self.defaults.job))];
                self.targets.log.error("Creating target failed", &fields);
                None
            }
        }
    }

    fn reference(
        &mut self,
        cx: &mut Cx<'_>,
        target: &ScrapeTarget,
        url: Arc<Url>,
        discovered: (&LabelSet, &LabelSet),
    ) -> TargetKey {
        let texts = target.labels.iter().flat_map(|(name, value)| [name, value]);
        let key = self.hasher.texts(texts.chain([target.url.as_str()]));
        if let Some(references) = self.references.get_mut(&key) {
            references.count += 1;
            return key;
        }
        let mut active = match self.take_ending(key) {
            Some(active) => active,
            None => {
                let info = self.target_info(target, discovered);
                let state = Target::new(self.settings.clone(), info, self.hasher.clone());
                ActiveTarget::new(state, url.clone(), target.interval, target.timeout.as_secs_f64())
            }
        };
        active.url = url.clone();
        let identity = format!("{:?} {}", target.labels, target.url);
        let schedule =
            ScrapeSchedule { interval: target.interval, timeout: target.timeout, first_delay: self.first_delay };
        let id = self.scraper.add_target(cx, url, hash_target(&identity), schedule);
        if active.target.is_finishing() {
            self.targets.ended.push_back(id);
        }
        self.targets.active.insert(id, active);
        self.references.insert(key, References { id, count: 1 });
        self.check_limit();
        key
    }

    fn target_info(&self, target: &ScrapeTarget, (labels, group): (&LabelSet, &LabelSet)) -> TargetInfo {
        let get = |name: &str| if labels.contains(name) { labels.get(name) } else { group.get(name) };
        let scheme = Some(get("__scheme__")).filter(|scheme| !scheme.is_empty()).unwrap_or(&self.defaults.scheme);
        TargetInfo { labels: target.labels.public(), resource: DiscoveredResource::new(scheme, get) }
    }

    fn take_ending(&mut self, key: TargetKey) -> Option<ActiveTarget> {
        if self.ending.get(&key)?.is_final {
            return None;
        }
        self.due.retain(|(_, ending), ()| *ending != key);
        self.finishing.retain(|ending| *ending != key);
        self.ending.remove(&key).map(|ending| ending.target)
    }

    /// One of the groups that have targets.
    pub(crate) fn first_group(&self) -> Option<GroupId> {
        self.groups.keys().next().copied()
    }

    /// There is no target, nor one that is ending.
    pub(crate) fn has_no_targets(&self) -> bool {
        self.references.is_empty() && self.ending.is_empty()
    }

    /// The targets of a group as they were before.
    pub(crate) fn replace_group(&mut self, group: GroupId, keys: Option<Vec<TargetKey>>) -> Vec<TargetKey> {
        let before = match keys.filter(|keys| !keys.is_empty()) {
            Some(keys) => self.groups.insert(group, keys),
            None => self.groups.remove(&group),
        };
        before.unwrap_or_default()
    }

    /// A group has the target no more.
    pub(crate) fn release(&mut self, cx: &mut Cx<'_>, key: TargetKey) {
        let Some(references) = self.references.get_mut(&key) else { return };
        references.count -= 1;
        if references.count > 0 {
            return;
        }
        let id = references.id;
        self.references.remove(&key);
        let next = self.scraper.next_scrape(id);
        self.scraper.remove_target(cx, id, &mut self.targets);
        self.check_limit();
        let Some(active) = self.targets.active.remove(&id).filter(|active| active.target.was_scraped()) else { return };
        // The series end when the next scrape would have been. The target may come back until the one after that.
        let now = cx.now();
        let next = next.unwrap_or(now).max(now);
        let wait = i64::try_from(next.since(now).as_millis()).unwrap_or(0);
        let stale_ms = millis(cx.wall_time()).saturating_add(wait);
        let due = next + active.interval + active.interval / 10;
        if active.target.is_finishing() {
            self.finishing.push(key);
        }
        self.ending.insert(key, Ending { target: active, stale_ms, is_final: false });
        self.due.insert((due, key), ());
    }

    fn check_limit(&mut self) {
        let (count, limit) = (self.references.len() as u64, self.target_limit);
        if limit > 0 && count > limit {
            let reason = format!("target_limit exceeded (number of targets: {count}, limit: {limit})");
            self.scraper.refuse_scrapes(Some(&reason));
        } else {
            self.scraper.refuse_scrapes(None);
        }
    }

    /// When an ending target is due next.
    pub(crate) fn next_due(&self) -> Option<MonotonicTime> {
        self.due.keys().next().map(|(due, _)| *due)
    }

    /// Begins the markers of ending targets whose time has come, of a few at once.
    pub(crate) fn end_due_targets(&mut self, now: MonotonicTime) {
        for _ in 0..64 {
            let Some((due, key)) = self.due.keys().next().copied().filter(|(due, _)| *due <= now) else { return };
            self.due.remove(&(due, key));
            let Some(ending) = self.ending.get_mut(&key) else { continue };
            if ending.target.target.is_finishing() {
                self.due.insert((now + Duration::from_secs(1), key), ());
                continue;
            }
            ending.is_final = true;
            ending.target.target.end_of_run(ending.stale_ms);
            self.finishing.push(key);
        }
    }

    /// Whether scrapes have ended and are not finished.
    pub(crate) fn has_ended_scrapes(&self) -> bool {
        !self.targets.ended.is_empty() || !self.finishing.is_empty()
    }

    /// Finishes scrapes that have ended, within the work.
    pub(crate) fn poll_finished(&mut self, work: &mut StepBudget) -> Option<FinishedScrape> {
        while let Some(id) = self.targets.ended.front() {
            let Some(active) = self.targets.active.get_mut(id).filter(|active| active.target.is_finishing()) else {
                self.targets.ended.pop_front();
                continue;
            };
            let finished = active.target.step(work)?;
            active.log_notes(&self.targets.log, &finished.notes);
            self.targets.ended.pop_front();
            return Some(finished);
        }
        while let Some(key) = self.finishing.last().copied() {
            let Some(ending) = self.ending.get_mut(&key) else {
                self.finishing.pop();
                continue;
            };
            let finished = match ending.target.target.is_finishing() {
                true => Some(ending.target.target.step(work)?),
                false => None,
            };
            if ending.is_final {
                self.ending.remove(&key);
            }
            self.finishing.pop();
            if finished.is_some() {
                return finished;
            }
        }
        None
    }

    /// Scrapes every target once more, and then none.
    pub(crate) fn scrape_last(&mut self, cx: &mut Cx<'_>) {
        self.scraper.stop_schedule(cx);
        self.scraper.scrape_now(cx, &mut self.targets);
    }

    /// Ends scrapes in flight; none begins any more.
    pub(crate) fn close(&mut self, cx: &mut Cx<'_>) {
        self.scraper.close(cx, &mut self.targets);
        self.credentials.close(cx);
        self.due.clear();
        self.ending.clear();
    }

    /// The first target of a group, without a scraper, and the longest time of its scrapes.
    #[cfg(test)]
    pub(crate) fn test_target(
        &mut self,
        group: &otelcore_prometheus_discovery::StaticConfig,
    ) -> Option<(Target, Duration)> {
        let address = group.targets.first()?;
        let labels = LabelSet::from_pairs([("__address__", address.as_ref() as &str)]);
        let group = LabelSet::from_pairs(group.labels.0.iter().map(|(name, value)| (name.clone(), value.clone())));
        let target = populate_labels(&mut self.builder, &self.defaults, &labels, &group).ok()??;
        let info = self.target_info(&target, (&labels, &group));
        Some((Target::new(self.settings.clone(), info, self.hasher.clone()), target.timeout))
    }

    /// No scrape is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.scraper.is_idle() && !self.has_ended_scrapes()
    }
}

fn size(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}
