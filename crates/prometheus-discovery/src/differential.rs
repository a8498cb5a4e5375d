//! Comparison with Prometheus: recorded answers in the first tier, the running Go code by `scripts/differential`.

mod cases;
mod objects;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use otelcore_config::declare::Config;
use otelcore_config::{ConfigNode, Diagnostics, Section, SourceText, parse_documents};
use otelcore_kubernetes_client::ChangeKind;
use otelcore_pipeline::Budget;
use otelcore_test_support::{Choices, CorpusCase, ask_about_seeds, read_corpus};
use serde_json::{Value, json};

use crate::groups::{SourceLabel, parse_json, parse_yaml};
use crate::kubernetes::TestCluster;
use crate::relabel::tests::WithRules;
use crate::{
    DnsSdConfig, FileSdConfig, HttpSdConfig, KubernetesSdConfig, LabelBuilder, LabelSet, NameValidation,
    PrometheusDuration, PrometheusHttpConfig, RelabelConfig, RelabelRules, TargetDefaults, TargetGroup, parse_duration,
    populate_labels, relabel,
};

const CASES: u64 = 2400;
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/prometheus_discovery.corpus.zst");

/// A text as a tree in which `$` has no meaning, and what is wrong with it.
fn tree(text: &str) -> (Option<ConfigNode>, Diagnostics) {
    let diagnostics = Diagnostics::new();
    let root = parse_documents(&SourceText::new("case", text), &diagnostics).into_iter().next();
    (root, diagnostics)
}

fn messages(diagnostics: &Diagnostics) -> Vec<String> {
    diagnostics.items().into_iter().map(|item| item.message).collect()
}

/// Reads a declared configuration; its messages are an error.
fn read<C: Config>(text: &str) -> Result<C, Vec<String>> {
    let (root, diagnostics) = tree(text);
    let config = C::read_section(Section::new(root.as_ref(), "", &diagnostics), &C::default());
    let found = messages(&diagnostics);
    if found.is_empty() { Ok(config) } else { Err(found) }
}

fn text<'v>(case: &'v Value, key: &str) -> &'v str {
    case[key].as_str().unwrap_or_default()
}

fn labels(value: &Value) -> LabelSet {
    let members = value.as_object().into_iter().flatten();
    LabelSet::from_pairs(members.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())))
}

fn map(labels: &LabelSet) -> Value {
    labels.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect::<serde_json::Map<_, _>>().into()
}

/// Groups in the form of the Go program, without labels that have no value.
fn shown(groups: Vec<TargetGroup>) -> Value {
    let mut groups: Vec<TargetGroup> = groups;
    groups.sort_by(|a, b| a.source.cmp(&b.source));
    let groups = groups.iter().map(|group| {
        let mut targets: Vec<Value> = group.targets.iter().map(map).collect();
        targets.sort_by_key(Value::to_string);
        json!({"source": &*group.source, "labels": map(&group.labels), "targets": targets})
    });
    without_empty(groups.collect())
}

fn without_empty(groups: Value) -> Value {
    let filtered = |labels: &Value| -> Value {
        let members = labels.as_object().into_iter().flatten();
        let kept = members.filter(|(_, value)| value.as_str() != Some(""));
        kept.map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>().into()
    };
    let groups = groups.as_array().into_iter().flatten().map(|group| {
        let targets = group["targets"].as_array().into_iter().flatten();
        let mut targets: Vec<Value> = targets.map(filtered).collect();
        targets.sort_by_key(Value::to_string);
        // The labels of no target are not used.
        let labels = if targets.is_empty() { json!({}) } else { filtered(&group["labels"]) };
        json!({"source": group["source"], "labels": labels, "targets": targets})
    });
    groups.collect()
}

fn rules(text: &str) -> Result<Vec<RelabelConfig>, Vec<String>> {
    read::<WithRules>(&format!("{{\"rules\": {text}}}")).map(|config| config.rules)
}

fn relabelled(case: &Value) -> Result<Value, Vec<String>> {
    let scheme = if text(case, "scheme") == "legacy" { NameValidation::Legacy } else { NameValidation::Utf8 };
    let rules = RelabelRules::compile(&rules(text(case, "yaml"))?, scheme).map_err(|error| vec![error.message])?;
    Ok(match relabel(&labels(&case["labels"]), &rules) {
        None => json!({}),
        Some(labels) if labels.is_empty() => json!({"keep": true}),
        Some(labels) => json!({"keep": true, "labels": map(&labels)}),
    })
}

fn populated(case: &Value) -> Result<Value, Vec<String>> {
    let config: Value = serde_json::from_str(text(case, "yaml")).unwrap();
    let duration = |key: &str, default: &str| parse_duration(config[key].as_str().unwrap_or(default)).unwrap();
    let rules = match &config["relabel_configs"] {
        Value::Null => Vec::new(),
        list => rules(&list.to_string())?,
    };
    let values = |list: &Value| list.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect();
    let defaults = TargetDefaults {
        job: text(&config, "job_name").to_owned(),
        scrape_interval: duration("scrape_interval", "1m"),
        scrape_timeout: duration("scrape_timeout", "10s"),
        metrics_path: config["metrics_path"].as_str().unwrap_or("/metrics").to_owned(),
        scheme: config["scheme"].as_str().unwrap_or("http").to_owned(),
        params: config["params"].as_object().into_iter().flatten().map(|(k, v)| (k.clone(), values(v))).collect(),
        rules: RelabelRules::compile(&rules, NameValidation::Utf8).map_err(|error| vec![error.message])?,
    };
    let (target, group) = (labels(&case["target"]), labels(&case["group"]));
    match populate_labels(&mut LabelBuilder::new(), &defaults, &target, &group) {
        Err(error) => Err(vec![error]),
        Ok(None) => Ok(json!({})),
        Ok(Some(found)) => Ok(json!({"keep": true, "labels": map(&found.labels), "url": found.url})),
    }
}

fn checked(case: &Value) -> Result<Value, Vec<String>> {
    let yaml = text(case, "yaml");
    match text(case, "name") {
        "file" => read::<FileSdConfig>(yaml).map(drop),
        "dns" => read::<DnsSdConfig>(yaml).map(drop),
        "http" => read::<HttpSdConfig>(yaml).map(drop),
        "kubernetes" => read::<KubernetesSdConfig>(yaml).map(drop),
        _ => read::<PrometheusHttpConfig>(yaml).map(drop),
    }?;
    Ok(json!({}))
}

fn with_groups(groups: Value) -> Value {
    if groups.as_array().is_some_and(Vec::is_empty) { json!({}) } else { json!({"groups": groups}) }
}

fn from_file(case: &Value) -> Result<Value, Vec<String>> {
    let (name, body) = (text(case, "name"), text(case, "body"));
    let source = SourceLabel { name: "__meta_filepath", value: name };
    let parsed = if name.ends_with("json") { parse_json(body.as_bytes(), &source) } else { parse_yaml(body, &source) };
    parsed.map(|groups| with_groups(shown(groups))).map_err(|error| vec![error])
}

fn from_http(case: &Value) -> Result<Value, Vec<String>> {
    let status = u16::try_from(case["status"].as_u64().unwrap()).unwrap();
    crate::http::check_head(status, text(case, "content_type")).map_err(|error| vec![error])?;
    let source = SourceLabel { name: "__meta_url", value: "/sd" };
    let parsed = parse_json(text(case, "body").as_bytes(), &source);
    parsed.map(|groups| with_groups(shown(groups))).map_err(|error| vec![error])
}

/// The objects of a case, by resource.
fn lists(case: &Value) -> BTreeMap<String, Vec<String>> {
    let members = case["objects"].as_object().into_iter().flatten();
    let objects = |items: &Value| items.as_array().unwrap().iter().map(Value::to_string).collect();
    members.map(|(resource, items)| (resource.clone(), objects(items))).collect()
}

fn from_kubernetes(case: &Value) -> Result<Value, Vec<String>> {
    let config: KubernetesSdConfig = read(text(case, "yaml"))?;
    let lists = lists(case);
    let mut cluster = TestCluster::new(&config, &lists, &Arc::new(Budget::default()));
    cluster.work();
    Ok(with_groups(shown(cluster.groups.into_values().collect())))
}

fn our_answer(case: &Value) -> Result<Value, Vec<String>> {
    match text(case, "kind") {
        "relabel" => relabelled(case),
        "populate" => populated(case),
        "duration" => match parse_duration(text(case, "text")) {
            Ok(duration) => Ok(json!({"text": PrometheusDuration(duration).to_string()})),
            Err(error) => Err(vec![error]),
        },
        "config" => checked(case),
        "file" => from_file(case),
        "http" => from_http(case),
        "kubernetes" => from_kubernetes(case),
        other => panic!("{other}"),
    }
}

/// Whether an error of Go has a text that is compared. Those of its decoders of YAML and JSON have not.
fn is_compared(kind: &str, error: &str) -> bool {
    let is_of_decoder = ["yaml:", "json:", "invalid character", "unexpected end of JSON", "parse "];
    let is_of_list = matches!(kind, "file" | "http") && error.contains("label name");
    !is_of_list && !is_of_decoder.iter().any(|begin| error.starts_with(begin))
}

/// What differs, if something does.
fn difference(case: &CorpusCase) -> Option<String> {
    let input: Value = serde_json::from_slice(&case.input).unwrap();
    let mut expected: Value = serde_json::from_slice(&case.answer).unwrap();
    if let Some(groups) = expected.get_mut("groups") {
        *groups = without_empty(groups.take());
    }
    let ours = our_answer(&input);
    let is_same = match (&ours, expected["error"].as_str()) {
        (Ok(ours), None) => *ours == expected,
        (Err(errors), Some(error)) => {
            errors.iter().any(|ours| ours == error) || !is_compared(text(&input, "kind"), error)
        }
        _ => false,
    };
    let ours = || ours.map_or_else(|errors| format!("{errors:?}"), |ours| ours.to_string());
    (!is_same).then(|| format!("{input}\nGo:   {expected}\nours: {}\n", ours()))
}

fn compare(cases: &[CorpusCase]) {
    let differences: Vec<String> = cases.iter().filter_map(difference).collect();
    let shown = differences.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} of {} differ:\n{shown}", differences.len(), cases.len());
}

#[test]
fn answers_are_those_of_prometheus() {
    let cases = read_corpus(Path::new(CORPUS));
    assert_eq!(cases.len() as u64, CASES);
    compare(&cases);
}

#[test]
#[ignore = "runs Prometheus's code; see scripts/differential"]
fn answers_to_fresh_seeds_are_those_of_prometheus() {
    let tool = "prometheus-discovery-oracle";
    let cases = ask_about_seeds(tool, Path::new(CORPUS), CASES, cases::input).expect("the oracle is built");
    compare(&cases);
}

/// The groups with targets.
fn with_targets(cluster: &TestCluster) -> Vec<TargetGroup> {
    cluster.groups.values().filter(|group| !group.targets.is_empty()).cloned().collect()
}

/// One cluster becomes another one object by object, in any order; then its groups are those of the other's lists, and
/// nothing is charged for the first one.
#[test]
fn groups_after_events_are_those_of_lists() {
    let cases = read_corpus(Path::new(CORPUS));
    let cases: Vec<Value> = cases.iter().map(|case| serde_json::from_slice(&case.input).unwrap()).collect();
    let cases: Vec<&Value> = cases.iter().filter(|case| text(case, "kind") == "kubernetes").collect();
    for (seed, pair) in cases.windows(2).enumerate() {
        let config: KubernetesSdConfig = read(text(pair[1], "yaml")).unwrap();
        let (from, to) = (lists(pair[0]), lists(pair[1]));
        let budget = Arc::new(Budget::default());
        let mut cluster = TestCluster::new(&config, &from, &budget);
        cluster.work();
        let name = |object: &String| serde_json::from_str::<Value>(object).unwrap()["metadata"]["name"].to_string();
        let mut events = Vec::new();
        for (resource, objects) in &from {
            let remains =
                |object: &&String| to.get(resource).is_some_and(|to| to.iter().any(|o| name(o) == name(object)));
            events.extend(objects.iter().filter(|object| !remains(object)).map(|o| (resource, ChangeKind::Deleted, o)));
        }
        events
            .extend(to.iter().flat_map(|(resource, all)| all.iter().map(move |o| (resource, ChangeKind::Modified, o))));
        let mut choices = Choices::new(seed as u64, 400);
        while !events.is_empty() {
            let (resource, change, object) = events.swap_remove(choices.below(events.len()));
            cluster.apply(resource, change, object);
            if choices.one_in(3) {
                cluster.work();
            }
        }
        cluster.work();
        let other = Arc::new(Budget::default());
        let mut expected = TestCluster::new(&config, &to, &other);
        expected.work();
        assert_eq!(with_targets(&cluster), with_targets(&expected), "pair {seed}");
        assert_eq!(budget.kept(), other.kept(), "pair {seed}");
    }
}
