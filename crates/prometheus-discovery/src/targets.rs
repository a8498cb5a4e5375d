//! From a target of a group to what is scraped: the labels of the scrape configuration, relabelling, checks, the URL.
//!
//! A pure function of the group, the target and the scrape configuration.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use otelcore_net::{is_unreserved, percent_escape, query_escape};

use crate::duration::{PrometheusDuration, parse_duration};
use crate::labels::{LabelBuilder, LabelSet};
use crate::relabel::RelabelRules;

/// The labels that Prometheus reserves.
const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const PARAM_PREFIX: &str = "__param_";
const META_PREFIX: &str = "__meta_";
const JOB: &str = "job";
const INSTANCE: &str = "instance";

/// Targets that belong together, as a discovery finds them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TargetGroup {
    /// Identifies the group within its discovery.
    pub source: Arc<str>,
    /// The labels of each target; `__address__` is among them.
    pub targets: Vec<LabelSet>,
    /// Labels that all of them have, unless the target has a label of the same name.
    pub labels: LabelSet,
}

/// What a scrape configuration says of each of its targets.
#[derive(Clone, Debug)]
pub struct TargetDefaults {
    /// `job_name`.
    pub job: String,
    /// The time between two scrapes.
    pub scrape_interval: Duration,
    /// The longest time of a scrape.
    pub scrape_timeout: Duration,
    /// The path of the page.
    pub metrics_path: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Parameters of the query.
    pub params: Vec<(String, Vec<String>)>,
    /// `relabel_configs`.
    pub rules: RelabelRules,
}

/// A target that is scraped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScrapeTarget {
    /// Its labels, with the reserved ones (`__address__`, `__scheme__`, `__metrics_path__`, `__param_x`, ..), which
    /// [`LabelSet::public`] leaves out.
    pub labels: LabelSet,
    /// The time between two scrapes.
    pub interval: Duration,
    /// The longest time of a scrape; not longer than the interval.
    pub timeout: Duration,
    /// What is scraped, as Go writes the URL. It has not been parsed.
    pub url: String,
}

/// Whether an address can be one, with Prometheus's message.
///
/// # Errors
/// It is a URL.
pub fn check_target_address(address: &str) -> Result<(), String> {
    if address.contains('/') { Err(format!("{address:?} is not a valid hostname")) } else { Ok(()) }
}

/// Makes what is scraped of a target with the labels of its group. `None` if relabelling drops it. `builder` is memory
/// that is used again.
///
/// # Errors
/// Why it can't be scraped, with Prometheus's message.
pub fn populate_labels(
    builder: &mut LabelBuilder,
    defaults: &TargetDefaults,
    target: &LabelSet,
    group: &LabelSet,
) -> Result<Option<ScrapeTarget>, String> {
    discovered_labels(builder, defaults, target, group);
    if !defaults.rules.apply(builder) {
        return Ok(None);
    }
    let address = builder.get(ADDRESS).to_owned();
    if address.is_empty() {
        return Err("no address".to_owned());
    }
    check_target_address(&address)?;
    let interval = positive_duration(builder.get(INTERVAL), "interval")?;
    let timeout = positive_duration(builder.get(TIMEOUT), "timeout")?;
    if timeout > interval {
        return Err(format!(
            "scrape timeout cannot be greater than scrape interval ({:?} > {:?})",
            builder.get(TIMEOUT),
            builder.get(INTERVAL)
        ));
    }
    builder.retain(|name| !name.starts_with(META_PREFIX));
    if builder.get(INSTANCE).is_empty() {
        builder.set(INSTANCE, &address);
    }
    let labels = builder.to_label_set();
    let url = target_url(&labels, &defaults.params);
    Ok(Some(ScrapeTarget { labels, interval, timeout, url }))
}

fn positive_duration(text: &str, name: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Err(error) => Err(format!("error parsing scrape {name}: {error}")),
        Ok(Duration::ZERO) => Err(format!("scrape {name} cannot be 0")),
        Ok(duration) => Ok(duration),
    }
}

/// The labels before relabelling.
fn discovered_labels(builder: &mut LabelBuilder, defaults: &TargetDefaults, target: &LabelSet, group: &LabelSet) {
    builder.clear();
    let mut of_group = group.iter().peekable();
    for (name, value) in target.iter() {
        while let Some((of_group, value)) = of_group.next_if(|(of_group, _)| *of_group < name) {
            builder.add_base(of_group, value);
        }
        // An empty value of the target hides that of the group.
        of_group.next_if(|(of_group, _)| *of_group == name);
        builder.add_base(name, value);
    }
    of_group.for_each(|(name, value)| builder.add_base(name, value));
    let interval = PrometheusDuration(defaults.scrape_interval).to_string();
    let timeout = PrometheusDuration(defaults.scrape_timeout).to_string();
    for (name, value) in [
        (JOB, &defaults.job),
        (INTERVAL, &interval),
        (TIMEOUT, &timeout),
        (METRICS_PATH, &defaults.metrics_path),
        (SCHEME, &defaults.scheme),
    ] {
        set_missing(builder, name, value);
    }
    for (key, values) in &defaults.params {
        if let Some(value) = values.first() {
            set_missing(builder, &format!("{PARAM_PREFIX}{key}"), value);
        }
    }
}

fn set_missing(builder: &mut LabelBuilder, name: &str, value: &str) {
    if builder.get(name).is_empty() {
        builder.set(name, value);
    }
}

/// The URL of a target, as Go's `url.URL` writes it.
fn target_url(labels: &LabelSet, params: &[(String, Vec<String>)]) -> String {
    let (scheme, host, path) = (labels.get(SCHEME), labels.get(ADDRESS), labels.get(METRICS_PATH));
    let mut url = String::new();
    if !scheme.is_empty() {
        let _ = write!(url, "{scheme}:");
    }
    url.push_str("//");
    percent_escape(&mut url, host, |byte| is_unreserved(byte) || b"!$&'()*+,;=:[]<>\"".contains(&byte));
    if !path.is_empty() && !path.starts_with('/') {
        url.push('/');
    }
    match path {
        "*" => url.push('*'),
        path => percent_escape(&mut url, path, |byte| is_unreserved(byte) || b"$&+,/:;=@".contains(&byte)),
    }
    // A label replaces the first value of its parameter.
    let of_labels = labels.iter().filter_map(|(name, value)| Some((name.strip_prefix(PARAM_PREFIX)?, value)));
    let mut query: Vec<(&str, &str)> = of_labels.clone().collect();
    for (key, values) in params {
        let is_replaced = of_labels.clone().any(|(name, _)| name == key);
        query.extend(values.iter().skip(usize::from(is_replaced)).map(|value| (key.as_str(), value.as_str())));
    }
    query.sort_by_key(|(key, _)| *key);
    for (index, (key, value)) in query.into_iter().enumerate() {
        url.push(if index == 0 { '?' } else { '&' });
        url.push_str(&query_escape(key));
        url.push('=');
        url.push_str(&query_escape(value));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> TargetDefaults {
        TargetDefaults {
            job: "j".to_owned(),
            scrape_interval: Duration::from_secs(60),
            scrape_timeout: Duration::from_secs(10),
            metrics_path: "/metrics".to_owned(),
            scheme: "http".to_owned(),
            params: vec![("match[]".to_owned(), vec!["a b".to_owned(), "c".to_owned()])],
            rules: RelabelRules::default(),
        }
    }

    fn populate(target: &[(&str, &str)], group: &[(&str, &str)]) -> Result<Option<ScrapeTarget>, String> {
        let set = |labels: &[(&str, &str)]| LabelSet::from_pairs(labels.iter().copied());
        populate_labels(&mut LabelBuilder::new(), &defaults(), &set(target), &set(group))
    }

    #[test]
    fn target_has_the_labels_of_its_group_and_of_the_scrape_configuration() {
        let target = [(ADDRESS, "h:1"), ("a", ""), ("__meta_x", "1"), ("c", "target")];
        let found = populate(&target, &[("a", "group"), ("b", "group"), ("c", "group")]).unwrap().unwrap();
        let expected = LabelSet::from_pairs([
            (ADDRESS, "h:1"),
            (METRICS_PATH, "/metrics"),
            ("__param_match[]", "a b"),
            (SCHEME, "http"),
            (INTERVAL, "1m"),
            (TIMEOUT, "10s"),
            ("b", "group"),
            ("c", "target"),
            (INSTANCE, "h:1"),
            (JOB, "j"),
        ]);
        assert_eq!(found.labels, expected);
        assert_eq!(found.url, "http://h:1/metrics?match%5B%5D=a+b&match%5B%5D=c");
        assert_eq!((found.interval, found.timeout), (Duration::from_secs(60), Duration::from_secs(10)));
        let public = LabelSet::from_pairs([("b", "group"), ("c", "target"), (INSTANCE, "h:1"), (JOB, "j")]);
        assert_eq!(found.labels.public(), public);
    }

    #[test]
    fn target_that_can_not_be_scraped_has_the_message_of_prometheus() {
        for (target, message) in [
            (vec![("a", "b")], "no address"),
            (vec![(ADDRESS, "http://h")], "\"http://h\" is not a valid hostname"),
            (
                vec![(ADDRESS, "h"), (INTERVAL, "x")],
                "error parsing scrape interval: not a valid duration string: \"x\"",
            ),
            (vec![(ADDRESS, "h"), (INTERVAL, "0")], "scrape interval cannot be 0"),
            (vec![(ADDRESS, "h"), (TIMEOUT, "0s")], "scrape timeout cannot be 0"),
            (
                vec![(ADDRESS, "h"), (TIMEOUT, "2m")],
                "scrape timeout cannot be greater than scrape interval (\"2m\" > \"1m\")",
            ),
        ] {
            assert_eq!(populate(&target, &[]), Err(message.to_owned()));
        }
    }

    #[test]
    fn address_and_path_are_escaped_in_the_url() {
        let target = [(ADDRESS, "[::1]:80"), (METRICS_PATH, "a b/\u{e4}?"), ("__param_x", "&"), (SCHEME, "https")];
        let url = populate(&target, &[]).unwrap().unwrap().url;
        assert_eq!(url, "https://[::1]:80/a%20b/%C3%A4%3F?match%5B%5D=a+b&match%5B%5D=c&x=%26");
    }
}
