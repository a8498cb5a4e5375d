//! Attributes compared with those of the Go processor: recorded answers in the first tier, the running Go code by
//! `scripts/differential`. The Go program plays the same API server.

use std::path::Path;

use otelcore_test_support::{Choices, CorpusCase, ask_about_seeds, push_frame, read_corpus, split_frames};
use serde_json::{Value as Json, json};

use super::*;

const CASES: u64 = 250;
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/k8s_attributes.corpus.zst");
const DIGEST: &str = "sha256:b248ef911f93ae27cbbc85056d1ffacc87fd941bbdc2ffd951b6df8df72b8096";

/// Some of these, in their order.
fn some_of<'a>(c: &mut Choices, options: &[&'a str], one_in: usize) -> Vec<&'a str> {
    options.iter().copied().filter(|_| c.one_in(one_in)).collect()
}

fn section(c: &mut Choices) -> String {
    let names: Vec<&str> = crate::fields::Field::NAMES.to_vec();
    let metadata = match c.below(4) {
        0 => String::new(),
        _ => format!("metadata: [{}], ", some_of(c, &names, 3).join(", ")),
    };
    let labels = some_of(
        c,
        &[
            "{key: app}",
            "{tag_name: tier, key: tier, from: pod}",
            "{tag_name: 'l_$1', key_regex: 'app\\.kubernetes\\.io/(.*)'}",
            "{tag_name: 'n_${name}', key_regex: 'x-(?P<name>[a-z]+)', from: namespace}",
            "{tag_name: without-group, key_regex: 'x-a', from: namespace}",
            "{key: zone, from: node}",
            "{key: app, from: deployment}",
            "{key: app, from: statefulset}",
            "{tag_name: of-set, key: app, from: daemonset}",
            "{key_regex: 'a.*', from: job}",
            "{tag_name: service.name, key: tier}",
        ],
        4,
    );
    let annotations = some_of(
        c,
        &[
            "{key: team}",
            "{tag_name: k8s.pod.name, key: team}",
            "{key: note, from: namespace}",
            "{key_regex: '.*', from: node}",
            "{tag_name: note, key: note, from: deployment}",
            "{key_regex: 'no(.)e', from: job}",
        ],
        4,
    );
    let associations = some_of(
        c,
        &[
            "{from: resource_attribute, name: k8s.pod.ip}",
            "{from: resource_attribute, name: k8s.pod.uid}",
            "{from: resource_attribute, name: k8s.pod.name}, {from: resource_attribute, name: k8s.namespace.name}",
            "{from: resource_attribute, name: host.name}",
            "{from: resource_attribute, name: container.id}",
            "{from: resource_attribute, name: k8s.deployment.name}",
            "{from: connection}, {from: resource_attribute, name: k8s.node.name}",
            "{from: connection}",
        ],
        3,
    );
    let associations: Vec<_> = associations.iter().map(|sources| format!("{{sources: [{sources}]}}")).collect();
    let exclude = c.choose(&["", "", "exclude: {pods: [{name: '^web-1'}]}\n"]);
    let passthrough = c.choose(&["false", "false", "false", "false", "false", "true"]);
    format!(
        "auth_type: kubeConfig\nwait_for_metadata: true\npassthrough: {passthrough}\npod_association: [{}]\n{exclude}extract: \
         {{{metadata}labels: [{}], annotations: [{}], otel_annotations: {}, deployment_name_from_replicaset: {}}}\n",
        associations.join(", "),
        labels.join(", "),
        annotations.join(", "),
        c.choose(&["true", "false"]),
        c.choose(&["true", "true", "false"]),
    )
}

fn labels(c: &mut Choices) -> Json {
    let mut labels = json!({});
    for key in some_of(
        c,
        &[
            "app",
            "tier",
            "zone",
            "x-a",
            "x-b",
            "app.kubernetes.io/name",
            "app.kubernetes.io/instance",
            "app.kubernetes.io/version",
        ],
        3,
    ) {
        labels[key] = json!(c.choose(&["one", "two", "", "three"]));
    }
    if c.one_in(2) {
        labels["pod-template-hash"] = json!(c.choose(&["abc", "def"]));
    }
    labels
}

fn annotations(c: &mut Choices) -> Json {
    let mut annotations = json!({});
    for key in
        some_of(c, &["team", "note", "resource.opentelemetry.io/service.name", "resource.opentelemetry.io/x.y"], 3)
    {
        annotations[key] = json!(c.choose(&["red", "blue", ""]));
    }
    annotations
}

fn metadata(c: &mut Choices, name: &str, namespace: &str, uid: &str) -> Json {
    let created = c.choose(&["2024-02-29T12:00:00Z", "2023-07-01T00:00:00Z"]);
    json!({"name": name, "namespace": namespace, "uid": uid, "resourceVersion": "3", "creationTimestamp": created,
        "labels": labels(c), "annotations": annotations(c)})
}

fn owned(c: &mut Choices, mut metadata: Json, kind: &str, owner: &str) -> Json {
    if !c.one_in(4) {
        let controller = !c.one_in(6);
        metadata["ownerReferences"] = json!([{"apiVersion": "v1", "kind": kind, "name": owner, "uid": format!("uid-{owner}"), "controller": controller}]);
    }
    json!({"metadata": metadata})
}

fn containers(c: &mut Choices, pod: &mut Json, number: usize) {
    let images = [
        "nginx",
        "nginx:1.25",
        "ghcr.io/a/b:2.0",
        "ghcr.io:443/a/b",
        "Bad Image",
        "a/b@sha256:b248ef911f93ae27cbbc85056d1ffacc87fd941bbdc2ffd951b6df8df72b8096",
        "a/b:1@sha256:b248ef911f93ae27cbbc85056d1ffacc87fd941bbdc2ffd951b6df8df72b8096",
    ];
    let ids = [
        format!("ghcr.io/a/b@{DIGEST}"),
        format!("nginx@{DIGEST}"),
        format!("docker-pullable://nginx@{DIGEST}"),
        DIGEST.to_owned(),
        String::new(),
    ];
    let (mut specs, mut statuses) = (Vec::new(), Vec::new());
    for name in some_of(c, &["main", "side", "init"], 2) {
        specs.push(json!({"name": name, "image": c.choose(&images)}));
        if !c.one_in(4) {
            let id = format!("{}{name}-{number}", c.choose(&["containerd://", "docker://", ""]));
            let image_id = &ids[c.below(ids.len())];
            statuses.push(json!({"name": name, "containerID": id, "imageID": image_id, "restartCount": c.below(3),
                "ready": true, "image": "x"}));
        }
    }
    let split = if c.one_in(3) { specs.len().saturating_sub(1) } else { specs.len() };
    pod["spec"]["initContainers"] = json!(specs.split_off(split));
    pod["spec"]["containers"] = json!(specs);
    pod["status"]["containerStatuses"] = json!(statuses);
}

fn cluster_pod(c: &mut Choices, number: usize) -> Json {
    let name = c.choose(&["web-1", "web-2", "db-0", "jaeger-agent-x", "job-pod"]).to_owned();
    let namespace = c.choose(&["shop", "other"]);
    let metadata = metadata(c, &format!("{name}-{number}"), namespace, &format!("uid-pod-{number}"));
    let (kind, owner) = match c.below(6) {
        0 | 1 => ("ReplicaSet", c.choose(&["web-abc", "api-def", "gone-abc"])),
        2 => ("StatefulSet", "db"),
        3 => ("DaemonSet", c.choose(&["agent", "other-agent"])),
        4 => ("Job", c.choose(&["backup-28486800", "report-20240229", "plain", "backup-28486799"])),
        _ => ("Node", "n1"),
    };
    let mut pod = owned(c, metadata, kind, owner);
    let (node, host_network) = (c.choose(&["n1", "n2", ""]), c.one_in(6));
    pod["spec"] = json!({"nodeName": node, "hostNetwork": host_network, "hostname": c.choose(&["", "h"])});
    let ip = c.choose(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::7", ""]);
    let started = c.choose(&["2024-02-29T12:00:00Z", "2024-02-29T13:00:00Z"]);
    pod["status"] = json!({"podIP": ip, "startTime": started});
    containers(c, &mut pod, number);
    pod
}

fn objects(c: &mut Choices) -> Json {
    let list = |c: &mut Choices, names: &[&str], namespace: &str, owner: &str| -> Json {
        let mut objects = Vec::new();
        for name in names.iter().filter(|_| !c.one_in(5)).copied().collect::<Vec<_>>() {
            let metadata = metadata(c, name, namespace, &format!("uid-{name}"));
            objects.push(match owner {
                "" => json!({"metadata": metadata}),
                kind => {
                    let root = name.rsplit_once('-').map_or(name, |(root, _)| root);
                    owned(c, metadata, kind, &format!("{root}-root"))
                }
            });
        }
        json!(objects)
    };
    let mut objects = json!({
        "namespaces": list(c, &["shop", "other", "kube-system"], "", ""),
        "nodes": list(c, &["n1", "n2"], "", ""),
        "replicasets": list(c, &["web-abc", "api-def"], "shop", "Deployment"),
        "deployments": list(c, &["web-root", "api-root"], "shop", ""),
        "statefulsets": list(c, &["db"], "shop", ""),
        "daemonsets": list(c, &["agent"], "shop", ""),
        "jobs": list(c, &["backup-28486800", "plain"], "shop", "CronJob"),
    });
    let pods: Vec<Json> = (0..1 + c.below(5)).map(|number| cluster_pod(c, number)).collect();
    objects["pods"] = json!(pods);
    objects
}

fn resource(c: &mut Choices) -> Vec<KeyValue> {
    let mut attributes = Vec::new();
    for (key, values) in [
        ("k8s.pod.ip", &["10.0.0.1", "10.0.0.2", "10.0.0.9", "fd00::7"][..]),
        ("ip", &["10.0.0.3", "10.0.0.2"]),
        ("host.name", &["10.0.0.1", "h", "fd00::7"]),
        ("k8s.pod.uid", &["uid-pod-0", "uid-pod-1", "uid-pod-9"]),
        ("k8s.pod.name", &["web-1-0", "web-2-1", "db-0-0", ""]),
        ("k8s.namespace.name", &["shop", "other", "none"]),
        ("k8s.node.name", &["n1", "n2", ""]),
        ("k8s.deployment.name", &["web", "web-root", "api-root"]),
        ("k8s.deployment.uid", &["uid-web-root"]),
        ("k8s.statefulset.uid", &["uid-db"]),
        ("k8s.daemonset.uid", &["uid-agent"]),
        ("k8s.job.uid", &["uid-plain", "uid-backup-28486800"]),
        ("container.id", &["main-0", "side-1", "init-0", "x"]),
        ("k8s.container.name", &["main", "side", "init", "x"]),
        ("k8s.container.restart_count", &["0", "1", "2", "x"]),
        ("service.name", &["", "mine"]),
        ("team", &["green"]),
    ] {
        if c.one_in(5) {
            let text = c.choose(values).to_owned();
            let value = match text.parse::<i64>() {
                Ok(number) if c.one_in(2) => Value::IntValue(number),
                _ if c.one_in(12) => Value::BoolValue(true),
                _ => Value::StringValue(text),
            };
            let value = Some(AnyValue { value: Some(value) });
            attributes.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
        }
    }
    attributes
}

/// The section, the objects, and pairs of a client's address and a body.
fn input(seed: u64) -> Vec<u8> {
    let mut c = Choices::new(seed, 8000);
    let mut input = Vec::new();
    push_frame(&mut input, section(&mut c).as_bytes());
    push_frame(&mut input, objects(&mut c).to_string().as_bytes());
    for _ in 0..4 {
        push_frame(&mut input, c.choose(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::7", "10.9.9.9", ""]).as_bytes());
        let entry = |c: &mut Choices| ResourceSpans {
            resource: Some(Resource { attributes: resource(c), ..Resource::default() }),
            scope_spans: vec![ScopeSpans { spans: vec![Span::default()], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        };
        let resource_spans = (0..1 + c.below(3)).map(|_| entry(&mut c)).collect();
        push_frame(&mut input, &ExportTraceServiceRequest { resource_spans }.encode_to_vec());
    }
    input
}

fn json_value(value: Option<&Value>) -> Json {
    match value {
        None => Json::Null,
        Some(Value::StringValue(text)) => json!(text),
        Some(Value::IntValue(number)) => json!(number),
        Some(Value::BoolValue(value)) => json!(value),
        Some(Value::ArrayValue(array)) => array.values.iter().map(|value| json_value(value.value.as_ref())).collect(),
        other => panic!("{other:?}"),
    }
}

/// The attributes of each resource, in the form of the Go program.
fn enrich(input: &[u8]) -> String {
    let mut frames = split_frames(input).into_iter();
    let yaml = String::from_utf8(frames.next().unwrap().to_vec()).unwrap();
    let objects: BTreeMap<String, Vec<Json>> = serde_json::from_slice(frames.next().unwrap()).unwrap();
    // The collector's configuration has `$$` for one dollar sign, the Go program is given the section as it is.
    let mut test = Test::not_started(&yaml.replace("auth_type: kubeConfig\n", "").replace('$', "$$"));
    let texts = |items: Vec<Json>| items.iter().map(Json::to_string).collect();
    test.server.objects = objects.into_iter().map(|(resource, items)| (resource, texts(items))).collect();
    test.processor.start().unwrap();
    test.run();
    let mut lines = Vec::new();
    while let (Some(address), Some(body)) = (frames.next(), frames.next()) {
        let items = check(Signal::Traces, body).unwrap().items;
        let mut payload = payload(Signal::Traces, Rope::new(body.to_vec().into(), items));
        let address = std::str::from_utf8(address).unwrap();
        payload.metadata = Some(Arc::new(Metadata::of_client(address.parse().ok())));
        test.processor.process(payload);
        let (payload, _) = test.processor.take_passed_on().pop().unwrap();
        let request = ExportTraceServiceRequest::decode(payload.body.to_bytes()).unwrap();
        for entry in request.resource_spans {
            let attributes = entry.resource.unwrap_or_default().attributes;
            let show = |attribute: &KeyValue| {
                let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
                json!([attribute.key, json_value(value)]).to_string()
            };
            let mut texts: Vec<String> = attributes.iter().map(show).collect();
            texts.sort_unstable();
            lines.push(texts.join("\t"));
        }
    }
    lines.join("\n")
}

fn compare(case: &CorpusCase) {
    let (status, answer) = case.answer.split_first().unwrap();
    let answer = String::from_utf8_lossy(answer);
    let frames = split_frames(&case.input);
    let about = format!("{}{}", String::from_utf8_lossy(frames[0]), String::from_utf8_lossy(frames[1]));
    assert_eq!(*status, 0, "Go says: {answer}\n{about}");
    let found = enrich(&case.input);
    for (index, (ours, theirs)) in found.split('\n').zip(answer.split('\n')).enumerate() {
        assert_eq!(ours, theirs, "resource {index}\n{about}");
    }
    assert_eq!(found, answer);
}

#[test]
fn recorded_resources_get_the_attributes_of_the_go_processor() {
    let cases = read_corpus(Path::new(CORPUS));
    assert!(cases.len() as u64 == CASES);
    cases.iter().for_each(compare);
}

#[test]
#[ignore = "needs the oracle; run by scripts/differential"]
fn resources_of_fixed_and_fresh_seeds_get_the_attributes_of_the_go_processor() {
    let Some(cases) = ask_about_seeds("k8s-oracle", Path::new(CORPUS), CASES, input) else { return };
    cases.iter().for_each(compare);
}
