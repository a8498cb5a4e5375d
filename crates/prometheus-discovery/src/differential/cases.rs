//! The cases: what each seed asks.

use otelcore_test_support::Choices;
use serde_json::{Value, json};

/// The input of a seed.
pub(super) fn input(seed: u64) -> Vec<u8> {
    let mut choices = Choices::new(seed, 4000);
    let c = &mut choices;
    let case = match seed % 24 {
        0..10 => relabel(c),
        10..15 => populate(c),
        15..18 => config(c),
        18 => json!({"kind": "duration", "text": c.choose(&DURATIONS)}),
        19..21 => file(c),
        21 => http(c),
        _ => super::objects::kubernetes(c),
    };
    case.to_string().into_bytes()
}

const DURATIONS: [&str; 24] = [
    "0", "", "1", "0s", "15s", "1m30s", "90s", "1h1h", "1d", "7d", "14d", "1y", "1y1d", "2w3d", "100ms", "1500ms",
    "1s1m", "5", "s5", "-5m", "1.5h", "300y", "1m 5s", "86400s",
];

pub(super) fn some_of<'a>(c: &mut Choices, options: &[&'a str], one_in: usize) -> Vec<&'a str> {
    options.iter().copied().filter(|_| c.one_in(one_in)).collect()
}

const NAMES: [&str; 12] =
    ["__address__", "job", "instance", "a", "b", "a_b", "__meta_x", "__meta_x_y", "__name__", "le", "caf\u{e9}", "a.b"];
const VALUES: [&str; 14] = [
    "1",
    "web",
    "WEB-1",
    "10.0.0.1:9090",
    "host:80",
    "",
    "true",
    "a;b",
    "a\nb",
    "\u{130}stanbul",
    "stra\u{df}e",
    "x-y",
    "8080",
    "foo",
];
const PATTERNS: [&str; 22] = [
    "(.*)",
    "(.+)",
    "web",
    "WEB.*",
    "([^:]+)(?::\\d+)?",
    "([^:]+)(?::\\d+)?;(\\d+)",
    "a(b)?;(.*)",
    "__meta_(.+)",
    "__meta_(?P<rest>x)(.*)",
    "",
    "true",
    "[a-z]+",
    "(a|b)",
    "a.b",
    ".*;.*",
    "(?i)web.*",
    "x(",
    "\\d{1,5}",
    "(.)(.)?.*",
    "caf.",
    "[^_]+",
    "(__)?([a-z]+)_.*",
];
const REPLACEMENTS: [&str; 14] =
    ["$1", "$2", "$1:$2", "${1}_x", "x", "", "$rest", "${rest}x", "$0", "$1_x", "$$", "a-b", "${1}", "pre_$1"];
const TARGETS: [&str; 12] =
    ["a", "b", "job", "new_label", "__address__", "a.b", "$1", "${1}_x", "x$2", "", "1a", "a b"];
const ACTIONS: [&str; 16] = [
    "replace",
    "replace",
    "replace",
    "keep",
    "drop",
    "labelmap",
    "labeldrop",
    "labelkeep",
    "hashmod",
    "lowercase",
    "uppercase",
    "keepequal",
    "dropequal",
    "LabelMap",
    "Keep",
    "remove",
];

fn relabel_rule(c: &mut Choices) -> Value {
    let mut rule = json!({});
    let action = c.choose(&ACTIONS);
    if !c.one_in(6) {
        rule["action"] = json!(action);
    }
    let lower = action.to_lowercase();
    let is_of_names = lower.starts_with("label");
    let is_equal = lower.ends_with("equal");
    // Keys that an action does not take are rare.
    if !is_of_names || c.one_in(12) {
        rule["source_labels"] = json!(some_of(c, &NAMES, 6));
    }
    if (!is_equal && c.one_in(2) || is_of_names) && !c.one_in(12) {
        rule["regex"] = json!(c.choose(&PATTERNS));
    }
    let takes_target = matches!(lower.as_str(), "replace" | "hashmod" | "lowercase" | "uppercase") || is_equal;
    if takes_target && !c.one_in(12) {
        rule["target_label"] = json!(c.choose(&TARGETS));
    }
    if (matches!(lower.as_str(), "replace" | "labelmap") && c.one_in(2)) || c.one_in(20) {
        rule["replacement"] = json!(c.choose(&REPLACEMENTS));
    }
    if lower == "hashmod" && !c.one_in(8) {
        rule["modulus"] = json!([1u64, 2, 8, 1000, u64::MAX][c.below(5)]);
    }
    if c.one_in(12) && !is_of_names && !is_equal {
        rule["separator"] = json!(c.choose(&["", ":", ";;", "@"]));
    }
    rule
}

fn label_map(c: &mut Choices) -> Value {
    let names = some_of(c, &NAMES, 2);
    names.into_iter().map(|name| (name.to_owned(), json!(c.choose(&VALUES)))).collect::<serde_json::Map<_, _>>().into()
}

fn relabel(c: &mut Choices) -> Value {
    let rules: Vec<Value> = (0..1 + c.below(4)).map(|_| relabel_rule(c)).collect();
    let scheme = c.choose(&["legacy", "utf8"]);
    json!({"kind": "relabel", "yaml": json!(rules).to_string(), "scheme": scheme, "labels": label_map(c)})
}

fn populate(c: &mut Choices) -> Value {
    let mut scraped = json!({"job_name": c.choose(&["j", "my job", "x"])});
    for (key, values) in [
        ("metrics_path", &["/metrics", "/a b", "x", "*", "/\u{e4}?#%[]!'()"][..]),
        ("scheme", &["http", "https"]),
        ("scrape_interval", &["15s", "1m", "90s", "1d"]),
    ] {
        if c.one_in(3) {
            scraped[key] = json!(c.choose(values));
        }
    }
    if c.one_in(3) {
        scraped["params"] = json!({"match[]": ["a b", "c&d"], "module": [c.choose(&["http_2xx", ""])], "none": []});
    }
    // The order of labels that map to the same name is not defined here.
    let rules: Vec<Value> = (0..c.below(3))
        .map(|_| match c.below(8) {
            0 => json!({"action": "labelmap", "regex": "__meta_(.+)"}),
            1 => json!({"source_labels": ["a"], "regex": c.choose(&["1", "web"]), "action": c.choose(&["keep", "drop"])}),
            2 => json!({"source_labels": ["a"], "target_label": c.choose(&["__param_module", "__param_x", "__scheme__"])}),
            3 => json!({"target_label": c.choose(&["__scrape_interval__", "__scrape_timeout__"]),
                "replacement": c.choose(&["5s", "0", "x", "2m", "0s", "1h"])}),
            4 => json!({"target_label": "__address__", "replacement": c.choose(&["h:1", "http://h", "[::1]:80", "h%20x:1", "\u{fc}"])}),
            5 => json!({"source_labels": ["__address__"], "regex": "([^:]+):.*", "target_label": "instance"}),
            6 => json!({"target_label": "job", "replacement": c.choose(&["", "other"])}),
            _ => json!({"source_labels": ["__meta_x"], "target_label": "__metrics_path__", "regex": "(.+)"}),
        })
        .collect();
    if !rules.is_empty() {
        scraped["relabel_configs"] = json!(rules);
    }
    let (mut target, group) = (label_map(c), label_map(c));
    if !c.one_in(8) {
        target["__address__"] = json!(c.choose(&["h:1", "10.0.0.1:9100", "h", "a/b"]));
    }
    json!({"kind": "populate", "yaml": scraped.to_string(), "target": target, "group": group})
}

const CONFIGS: [(&str, &str); 62] = [
    ("file", "{}"),
    ("file", "{files: []}"),
    ("file", "{files: [a.json]}"),
    ("file", "{files: ['/x/*.yml', '/x/a.YAML']}"),
    ("file", "{files: ['/x/*/a.yml']}"),
    ("file", "{files: ['a*b*.json']}"),
    ("file", "{files: [a.txt]}"),
    ("file", "{files: [.yml], refresh_interval: 1x}"),
    ("file", "{files: [a.yml], refresh_interval: 30s}"),
    ("file", "{files: [a.yml], other: 1}"),
    ("http", "{}"),
    ("http", "{url: 'ftp://h'}"),
    ("http", "{url: 'h:80/x'}"),
    ("http", "{url: 'http://'}"),
    ("http", "{url: 'https:///path'}"),
    ("http", "{url: 'http://h:80/x?y=z'}"),
    ("http", "{url: 'http://h', refresh_interval: 10s, basic_auth: {username: a, password: b}}"),
    ("http", "{url: 'http://h', bearer_token: a, bearer_token_file: b}"),
    ("http", "{url: 'http://h', follow_redirects: false, enable_http2: false}"),
    ("dns", "{}"),
    ("dns", "{names: []}"),
    ("dns", "{names: [a]}"),
    ("dns", "{names: [a], type: srv, refresh_interval: 10s}"),
    ("dns", "{names: [a], type: A}"),
    ("dns", "{names: [a], type: aaaa, port: 80}"),
    ("dns", "{names: [a], type: MX, port: 25}"),
    ("dns", "{names: [a], type: NS}"),
    ("dns", "{names: [a], type: TXT, port: 1}"),
    ("dns", "{names: [a], refresh_interval: x}"),
    ("client", "{}"),
    ("client", "{basic_auth: {username: a, username_file: b}}"),
    ("client", "{basic_auth: {password: a, password_file: b}}"),
    ("client", "{basic_auth: {username: a}, bearer_token: b}"),
    ("client", "{basic_auth: {username: a}, authorization: {credentials: c}}"),
    ("client", "{authorization: {credentials: a, credentials_file: b}}"),
    ("client", "{authorization: {type: ' BASIC ', credentials: a}}"),
    ("client", "{authorization: {type: Token, credentials: a}}"),
    ("client", "{authorization: {credentials: a}, bearer_token: b}"),
    ("client", "{authorization: {}, bearer_token_file: b}"),
    ("client", "{bearer_token: a}"),
    ("client", "{proxy_url: 'http://p:1', no_proxy: 'a,b'}"),
    ("client", "{no_proxy: a}"),
    ("client", "{proxy_from_environment: true}"),
    ("client", "{proxy_from_environment: true, proxy_url: 'http://p:1'}"),
    ("client", "{proxy_from_environment: true, no_proxy: a}"),
    ("client", "{http_headers: {X-A: {values: [a]}, X-B: {secrets: [b], files: [c]}}}"),
    ("client", "{http_headers: {authorization: {values: [a]}}}"),
    ("client", "{http_headers: {X-Prometheus-Scrape-Timeout-Seconds: {values: [a]}}}"),
    ("client", "{tls_config: {insecure_skip_verify: true, server_name: a, min_version: TLS12, max_version: TLS13}}"),
    ("client", "{tls_config: {min_version: 'TLS9'}}"),
    ("client", "{tls_config: {min_version: '1.2'}}"),
    ("kubernetes", "{}"),
    ("kubernetes", "{role: pods}"),
    ("kubernetes", "{role: pod, api_server: 'http://h', kubeconfig_file: a}"),
    ("kubernetes", "{role: pod, kubeconfig_file: a, bearer_token: b}"),
    ("kubernetes", "{role: pod, bearer_token: b}"),
    ("kubernetes", "{role: node, api_server: 'http://h', namespaces: {own_namespace: true}}"),
    ("kubernetes", "{role: node, kubeconfig_file: f, namespaces: {own_namespace: true}}"),
    ("kubernetes", "{role: service, selectors: [{role: pod, label: a}]}"),
    ("kubernetes", "{role: pod, selectors: [{role: pod, label: a=b}, {role: pod, field: c=d}]}"),
    ("kubernetes", "{role: endpoints, selectors: [{role: pod, field: 'a=b,c'}]}"),
    (
        "kubernetes",
        "{role: pod, selectors: [{role: pod, label: a, field: 'spec.nodeName=n'}, {role: node}], attach_metadata: {node: true, namespace: true}}",
    ),
];

fn config(c: &mut Choices) -> Value {
    let (name, yaml) = CONFIGS[c.below(CONFIGS.len())];
    json!({"kind": "config", "name": name, "yaml": yaml})
}

const LISTS: [&str; 18] = [
    r#"[{"targets":["a:1","b:2"],"labels":{"x":"y","z":""}},{"targets":["c"]}]"#,
    r#"[{"targets":[],"labels":{}}]"#,
    "[]",
    "null",
    "",
    "[null]",
    r#"[{"targets":["a"],"labels":{"":"x"}}]"#,
    r#"[{"targets":["a"],"labels":{"caf\u00e9":"x"}}]"#,
    r#"[{"targets":["a"],"other":1}]"#,
    r#"[{"targets":"a"}]"#,
    r#"[{"targets":["a"],"labels":{"x":null}}]"#,
    r#"[{"targets":["a"]"#,
    r#"{"targets":["a"]}"#,
    r#"[{"labels":{"a":"b"}}]"#,
    r#"[{"targets":null,"labels":null}]"#,
    r#"[{"targets":["a"],"labels":{"__meta_filepath":"x","__meta_url":"y"}}]"#,
    r#"[1]"#,
    r#"[{"targets":["a"],"labels":["x"]}]"#,
];

const YAML_LISTS: [&str; 10] = [
    "- targets: [a:1, b]\n  labels:\n    x: 1\n    y: true\n    z: ~\n- targets:\n  - c\n",
    "- targets: ['a', \"b\", 1]\n",
    "- labels: {x: y}\n",
    "# nothing\n",
    "- targets: [a\n",
    "- targets: [a]\n  lables: {}\n",
    "a: b\n",
    "- ~\n",
    "- targets: [a]\n  labels:\n    x: &v y\n    z: *v\n",
    "- targets: [a]\n  labels: {x: {y: z}}\n",
];

fn file(c: &mut Choices) -> Value {
    match c.below(3) {
        0 => json!({"kind": "file", "name": c.choose(&["a.yml", "b.YAML"]), "body": c.choose(&YAML_LISTS)}),
        1 => json!({"kind": "file", "name": "c.yaml", "body": c.choose(&LISTS)}),
        _ => json!({"kind": "file", "name": "d.json", "body": c.choose(&LISTS)}),
    }
}

fn http(c: &mut Choices) -> Value {
    let content_type = match c.below(4) {
        0 => c.choose(&[
            "text/plain",
            "application/json; charset=utf-8",
            "Application/JSON;charset=\"UTF-8\"",
            "application/json; charset=latin1",
            "application/json;",
            "",
        ]),
        _ => "application/json",
    };
    let status = if c.one_in(5) { [404, 500, 204, 403][c.below(4)] } else { 200 };
    let body = if status == 204 { "" } else { c.choose(&LISTS) };
    json!({"kind": "http", "status": status, "content_type": content_type, "body": body})
}
