//! A job with what it takes from `global`, and the checks of Prometheus.

use std::time::Duration;

use otelcore_exposition::PageFormat;
use otelcore_prometheus_discovery::{NameValidation, PrometheusDuration};

use super::{GlobalConfig, PromConfig, ScrapeConfig};
use crate::protocol::ScrapeProtocol;

/// A mistake, with the key in its section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mistake {
    pub(crate) key: &'static str,
    pub(crate) message: String,
}

impl Mistake {
    fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self { key, message: message.into() }
    }
}

/// What `global` means.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedGlobal {
    interval: Duration,
    timeout: Duration,
    validation: NameValidation,
    escaping: &'static str,
}

/// What a job means.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ResolvedJob {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) protocols: Vec<ScrapeProtocol>,
    pub(crate) fallback: PageFormat,
    pub(crate) validation: NameValidation,
    pub(crate) escaping: &'static str,
    pub(crate) scrapes_native: bool,
    pub(crate) always_scrapes_classic: bool,
    pub(crate) reports_extra: bool,
    pub(crate) body_size_limit: u64,
    pub(crate) sample_limit: u64,
    pub(crate) target_limit: u64,
    pub(crate) label_limit: u64,
    pub(crate) label_name_limit: u64,
    pub(crate) label_value_limit: u64,
}

const DEFAULT_INTERVAL: Duration = Duration::from_mins(1);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

const ALLOW_UTF8: &str = "allow-utf-8";
const UNDERSCORES: &str = "underscores";
const ESCAPINGS: [&str; 4] = [ALLOW_UTF8, UNDERSCORES, "dots", "values"];

fn non_zero(duration: PrometheusDuration) -> Option<Duration> {
    Some(duration.0).filter(|duration| !duration.is_zero())
}

fn validation(text: &str) -> Result<Option<NameValidation>, Mistake> {
    match text {
        "" => Ok(None),
        "utf8" => Ok(Some(NameValidation::Utf8)),
        "legacy" => Ok(Some(NameValidation::Legacy)),
        other => {
            let message = format!("unrecognized ValidationScheme: {other:?}");
            Err(Mistake::new("metric_name_validation_scheme", message))
        }
    }
}

fn escaping(text: &str, whose: &str) -> Result<Option<&'static str>, Mistake> {
    if text.is_empty() {
        return Ok(None);
    }
    ESCAPINGS.into_iter().find(|known| *known == text).map(Some).ok_or_else(|| {
        let message = format!(
            "unknown {whose} name escaping method specified, must be one of 'allow-utf-8', 'underscores', 'dots', or 'values', got {text:?}"
        );
        Mistake::new("metric_name_escaping_scheme", message)
    })
}

fn escaping_of(validation: NameValidation) -> &'static str {
    if validation == NameValidation::Legacy { UNDERSCORES } else { ALLOW_UTF8 }
}

/// The formats of `scrape_protocols`.
fn protocols(names: &[String]) -> Result<Vec<ScrapeProtocol>, String> {
    if names.is_empty() {
        return Err("scrape_protocols cannot be empty".to_owned());
    }
    let mut protocols = Vec::new();
    for name in names {
        if names.iter().filter(|other| other.eq_ignore_ascii_case(name)).count() > 1 {
            return Err(format!("duplicated protocol in scrape_protocols, got [{}]", names.join(" ")));
        }
        let found = ScrapeProtocol::parse(name);
        protocols.push(found.ok_or_else(|| format!("scrape_protocols: {}", unknown_protocol(name)))?);
    }
    Ok(protocols)
}

fn unknown_protocol(name: &str) -> String {
    let known: Vec<&str> = ScrapeProtocol::ALL.into_iter().map(ScrapeProtocol::name).collect();
    format!("unknown scrape protocol {name}, supported: [{}]", known.join(" "))
}

const NHCB: &str =
    "'convert_classic_histograms_to_nhcb' is not supported: classic histograms become histograms of OTLP as they are";

/// Checks `global`.
pub(crate) fn resolve_global(global: &GlobalConfig) -> Result<ResolvedGlobal, Mistake> {
    let interval = non_zero(global.scrape_interval).unwrap_or(DEFAULT_INTERVAL);
    if global.scrape_timeout.0 > interval {
        return Err(Mistake::new("scrape_timeout", "global scrape timeout greater than scrape interval"));
    }
    let timeout = non_zero(global.scrape_timeout).unwrap_or_else(|| DEFAULT_TIMEOUT.min(interval));
    let validation = validation(&global.metric_name_validation_scheme)?.unwrap_or(NameValidation::Utf8);
    if let Some((name, _)) = global.external_labels.0.iter().find(|(name, _)| !validation.is_valid_label_name(name)) {
        return Err(Mistake::new("external_labels", format!("{name:?} is not a valid label name")));
    }
    let escaping = escaping(&global.metric_name_escaping_scheme, "global")?.unwrap_or_else(|| escaping_of(validation));
    if let Some(names) = &global.scrape_protocols {
        protocols(names).map_err(|message| Mistake::new("scrape_protocols", format!("{message} for global config")))?;
    }
    if global.convert_classic_histograms_to_nhcb {
        return Err(Mistake::new("convert_classic_histograms_to_nhcb", NHCB));
    }
    Ok(ResolvedGlobal { interval, timeout, validation, escaping })
}

/// The value of the job, or that of `global` if it is zero.
fn or_global(job: u64, global: u64) -> u64 {
    if job == 0 { global } else { job }
}

/// Checks a job, with what it takes from `global`.
pub(crate) fn resolve(job: &ScrapeConfig, config: &PromConfig) -> Result<ResolvedJob, Mistake> {
    let global = &config.global;
    let resolved = resolve_global(global)?;
    let interval = non_zero(job.scrape_interval).unwrap_or(resolved.interval);
    let name = &*job.job_name;
    if job.scrape_timeout.0 > interval {
        let message = format!("scrape timeout greater than scrape interval for scrape config with job name {name:?}");
        return Err(Mistake::new("scrape_timeout", message));
    }
    let timeout = non_zero(job.scrape_timeout).unwrap_or_else(|| resolved.timeout.min(interval));
    let scrapes_native = job.scrape_native_histograms.or(global.scrape_native_histograms).unwrap_or(false);
    let wanted = match job.scrape_protocols.as_ref().or(global.scrape_protocols.as_ref()) {
        Some(names) => protocols(names),
        None if scrapes_native => Ok(ScrapeProtocol::PROTOBUF_FIRST.to_vec()),
        None => Ok(ScrapeProtocol::TEXTS.to_vec()),
    };
    let protocols = wanted.map_err(|message| {
        Mistake::new("scrape_protocols", format!("{message} for scrape config with job name {name:?}"))
    })?;
    let fallback = match job.fallback_scrape_protocol.as_str() {
        // As in the Go receiver, which keeps the behaviour of Prometheus 2.
        "" => PageFormat::Text,
        text => ScrapeProtocol::parse(text).map(ScrapeProtocol::format).ok_or_else(|| {
            let why = unknown_protocol(text);
            let message = format!("invalid fallback_scrape_protocol for scrape config with job name {name:?}: {why}");
            Mistake::new("fallback_scrape_protocol", message)
        })?,
    };
    let own_validation = validation(&job.metric_name_validation_scheme)?;
    let validation = own_validation.unwrap_or(resolved.validation);
    let inherited = if own_validation.is_some() { escaping_of(validation) } else { resolved.escaping };
    let escaping = escaping(&job.metric_name_escaping_scheme, "scrape config")?.unwrap_or(inherited);
    if escaping == ALLOW_UTF8 && validation == NameValidation::Legacy {
        let message = "utf8 metric names requested but validation scheme is not set to UTF8";
        return Err(Mistake::new("metric_name_escaping_scheme", message));
    }
    if job.convert_classic_histograms_to_nhcb == Some(true) {
        return Err(Mistake::new("convert_classic_histograms_to_nhcb", NHCB));
    }
    let classic = job.always_scrape_classic_histograms.unwrap_or(global.always_scrape_classic_histograms);
    let extra = job.extra_scrape_metrics.or(global.extra_scrape_metrics).unwrap_or(config.reports_extra);
    Ok(ResolvedJob {
        interval,
        timeout,
        protocols,
        fallback,
        validation,
        escaping,
        scrapes_native,
        always_scrapes_classic: classic,
        reports_extra: extra,
        body_size_limit: or_global(job.body_size_limit.0, global.body_size_limit.0),
        sample_limit: or_global(job.sample_limit, global.sample_limit),
        target_limit: or_global(job.target_limit, global.target_limit),
        label_limit: or_global(job.label_limit, global.label_limit),
        label_name_limit: or_global(job.label_name_length_limit, global.label_name_length_limit),
        label_value_limit: or_global(job.label_value_length_limit, global.label_value_length_limit),
    })
}
