//! What follows from the declarations of configurations: JSON Schemas, which real configurations fit; the reference
//! under `docs/reference/`; and the keys of the Go components, each of which is declared or named as a difference.
//!
//! `OTELCORE_REFERENCE=write cargo test -p otelcore --test schema` writes the reference.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "files of the repository")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use otelcore::Registry;
use otelcore::commands::{Terminal, run_command_line as command};
use otelcore::config::declare::{Field, Shape, Status, markdown};
use otelcore::config::{ConfigNode, Diagnostics, EffectiveValue, OptionalFlavor, from_yaml, print};
use otelcore::pipeline::ComponentKind;
use serde_json::Value;

const KINDS: [(ComponentKind, &str); 5] = [
    (ComponentKind::Receiver, "receivers"),
    (ComponentKind::Processor, "processors"),
    (ComponentKind::Exporter, "exporters"),
    (ComponentKind::Connector, "connectors"),
    (ComponentKind::Extension, "extensions"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn output(args: &[&str]) -> Value {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal { out: &mut out, err: &mut err, is_terminal: false, env: &|_| None };
    let args = std::iter::once("otelcore").chain(args.iter().copied()).map(Into::into);
    assert_eq!(command(args, Registry::default(), &mut terminal), 0, "{}", String::from_utf8_lossy(&err));
    serde_json::from_slice(&out).unwrap()
}

fn value(node: &ConfigNode) -> Value {
    serde_json::from_str(&print::to_json(&EffectiveValue::from(node), false)).unwrap()
}

fn parse(yaml: &str) -> Value {
    value(&from_yaml(yaml, &Diagnostics::new()).unwrap())
}

fn mistakes(schema: &jsonschema::Validator, configuration: &Value) -> Vec<String> {
    schema.iter_errors(configuration).map(|e| format!("{}: {e}", e.instance_path())).collect()
}

#[test]
fn schemas_of_components_are_json_schemas_with_a_property_for_each_key() {
    let all = output(&["components", "--schema"]);
    let mut count = 0;
    for (section, components) in all.as_object().unwrap() {
        for (name, schema) in components.as_object().unwrap() {
            jsonschema::draft202012::meta::validate(schema).unwrap_or_else(|e| panic!("{section}::{name}: {e}"));
            assert_eq!(schema["type"], "object", "{section}::{name}");
            count += 1;
        }
    }
    assert!(count >= 15, "{count}");
    let endpoint = &all["receivers"]["otlp"]["properties"]["protocols"]["properties"]["grpc"]["properties"]["endpoint"];
    assert_eq!(endpoint["default"], "localhost:4317");
    assert_eq!(all["exporters"]["otlp"]["deprecated"], true, "an alias");
    assert_eq!(all["processors"]["batch"]["properties"]["send_batch_size"]["default"], 8192);
    assert_eq!(all["connectors"]["forward"]["properties"], serde_json::json!({}));
}

#[test]
fn schema_of_a_configuration_accepts_the_examples_and_refuses_mistakes() {
    let schema = output(&["components", "--schema=config"]);
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    let examples = [
        "agent-gateway/agent.yaml",
        "agent-gateway/gateway.yaml",
        "tutorial/otel-collector-config.yaml",
        "tutorial/simplest.yaml",
    ];
    for example in examples {
        let text = std::fs::read_to_string(root().join("examples").join(example)).unwrap();
        assert_eq!(mistakes(&schema, &parse(&text)), Vec::<String>::new(), "{example}");
    }
    for (yaml, is_valid) in [
        ("receivers: {otlp: {protocols: {grpc: , http: {endpoint: '${env:HOST}:4318'}}}}", true),
        ("receivers: {otlp/2: }", true),
        ("processors: {batch: {timeout: 1s, send_batch_size: '${env:SIZE}'}}", true),
        ("exporters: {otlp: {endpoint: a:1, sending_queue: {enabled: false}, tls: {insecure: true}}}", true),
        ("exporters: {otlp_http: {endpoint: 'http://a', headers: [{name: a, value: b}]}}", true),
        ("service: {telemetry: {resource: {service.name: a}}, pipelines: {traces/a: {receivers: [a]}}}", true),
        ("receivers: {oltp: }", false),
        ("receivers: {otlp: {protocol: }}", false),
        ("processors: {batch: {timeout: 1}}", true),
        ("processors: {batch: {timeout: 1x}}", false),
        ("processors: {batch: {timeout: -1s}}", false),
        ("processors: {batch: {send_batch_size: -1}}", false),
        ("exporters: {otlp: {sending_queue: {sizer: bits}}}", false),
        ("exporters: {otlp: {sending_queue: {storage: file}}}", true),
        ("exporters: {otlp: {retry_on_failure: {randomization_factor: 2}}}", false),
        ("service: {pipelines: {trace: {}}}", false),
        ("recievers: {}", false),
    ] {
        let found = mistakes(&schema, &parse(yaml));
        assert_eq!(found.is_empty(), is_valid, "{yaml}: {found:?}");
    }
}

#[test]
fn reference_is_what_the_declarations_say() {
    let writes = std::env::var("OTELCORE_REFERENCE").is_ok_and(|v| v == "write");
    let registry = Registry::default();
    let folder = root().join("docs/reference");
    let mut pages = BTreeMap::new();
    let mut index = String::from(
        "# Reference of the components\n\nGenerated from the declarations of the configurations; do not edit. \
         `otelcore components --schema` prints the same as JSON Schema, and `--schema=config` the schema of a whole \
         configuration, with which editors complete and check a file:\n\n```yaml\n\
         # yaml-language-server: $schema=otelcore.schema.json\n```\n",
    );
    for (kind, section) in KINDS {
        let _ = write!(index, "\n## {section}\n\n");
        for factory in registry.all_of_kind(kind) {
            let info = factory.info();
            let description = factory.description().unwrap_or_else(|| panic!("{} has no description", info.type_name));
            let signals: Vec<_> = info.signals.iter().map(|signal| signal.name()).collect();
            let mut page =
                format!("# {section}::{}\n\n{}\n\nStability: {}.", info.type_name, description.doc, info.stability);
            if !signals.is_empty() {
                let _ = write!(page, " Signals: {}.", signals.join(", "));
            }
            if !info.aliases.is_empty() {
                let _ = write!(page, " Older names: {}.", info.aliases.join(", "));
            }
            let _ = write!(page, "\n\n## Keys\n\n{}", markdown(&description.fields));
            let _ = writeln!(index, "- [{}]({section}/{}.md): {}", info.type_name, info.type_name, description.doc);
            pages.insert(format!("{section}/{}.md", info.type_name), page);
        }
    }
    pages.insert("README.md".to_owned(), index);
    for (name, page) in &pages {
        let path = folder.join(name);
        if writes {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, page).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            &written, page,
            "docs/reference/{name}: OTELCORE_REFERENCE=write cargo test -p otelcore --test schema"
        );
    }
    for (_, section) in KINDS {
        for entry in std::fs::read_dir(folder.join(section)).unwrap() {
            let name = format!("{section}/{}", entry.unwrap().file_name().to_string_lossy());
            assert!(pages.contains_key(&name), "docs/reference/{name} belongs to no component");
        }
    }
}

#[test]
fn declared_keys_have_documentation_and_stand_once() {
    fn check(path: &str, fields: &[Field]) {
        let mut keys: Vec<_> = fields.iter().map(|field| field.key).collect();
        keys.sort_unstable();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "{path}: {keys:?}");
        for field in fields {
            let path = format!("{path}::{}", field.key);
            assert!(!field.doc.is_empty() || matches!(field.status, Status::Unsupported(_)), "{path}");
            check(&path, field.shape.fields());
        }
    }
    for (kind, section) in KINDS {
        for factory in Registry::default().all_of_kind(kind) {
            check(&format!("{section}::{}", factory.info().type_name), &factory.description().unwrap().fields);
        }
    }
}

/// Keys of Go components that differ here on purpose, by component (`*` for all) and end of the path, with the reason.
const DIFFERENT: &[(&str, &str, &str)] = &[
    ("*", "sending_queue::enabled", "every section that can be off has it"),
    ("processors/attributes", "regexp::cacheenabled", "patterns are compiled once; there is nothing to cache"),
    ("processors/attributes", "regexp::cachemaxnumentries", "patterns are compiled once; there is nothing to cache"),
    (
        "processors/tail_sampling",
        "::ExtensionCfg",
        "the settings of policies that extensions have, which are not supported",
    ),
    ("*", "middlewares[]::id", "middlewares are not supported"),
    ("*", "tls::tpm::auth", "keys in a TPM can't be used"),
    ("*", "tls::tpm::enabled", "keys in a TPM can't be used"),
    ("*", "tls::tpm::owner_auth", "keys in a TPM can't be used"),
    ("*", "tls::tpm::path", "keys in a TPM can't be used"),
    ("exporters/prometheus_remote_write", "enabled", "Go's schema leaves out that it is below retry_on_failure"),
    (
        "exporters/prometheus_remote_write",
        "initial_interval",
        "Go's schema leaves out that it is below retry_on_failure",
    ),
    (
        "exporters/prometheus_remote_write",
        "max_elapsed_time",
        "Go's schema leaves out that it is below retry_on_failure",
    ),
    ("exporters/prometheus_remote_write", "max_interval", "Go's schema leaves out that it is below retry_on_failure"),
    ("exporters/prometheus_remote_write", "multiplier", "Go's schema leaves out that it is below retry_on_failure"),
    (
        "exporters/prometheus_remote_write",
        "randomization_factor",
        "Go's schema leaves out that it is below retry_on_failure",
    ),
];

/// Defaults that differ from those of the Go structs.
const OTHER_DEFAULTS: &[(&str, &str, &str)] = &[
    ("*", "sending_queue::sizer", "the same, which Go's type does not print"),
    ("processors/cumulativetodelta", "initial_value", "the word for what Go's type is at first"),
    ("exporters/prometheus", "translation_strategy", "what the empty word means"),
    ("exporters/prometheus_remote_write", "compression", "what Go's empty word means"),
    ("exporters/prometheus_remote_write", "endpoint", "Go's default is an example"),
    ("exporters/prometheus_remote_write", "translation_strategy", "what the empty word means"),
    ("exporters/otlp_grpc", "keepalive::time", "grpc-go raises it to this"),
    ("exporters/otlp_grpc", "keepalive::timeout", "that of configgrpc's own constructor"),
    ("exporters/debug", "verbosity", "written in lower case"),
    ("exporters/prometheus", "sending_queue::num_consumers", "Go's zero is refused when it is read"),
    ("exporters/prometheus", "sending_queue::queue_size", "Go's zero is refused when it is read"),
    ("exporters/prometheus", "sending_queue::batch::flush_timeout", "Go's zero is refused when it is read"),
    ("exporters/prometheus", "sending_queue::batch::min_size", "that of the other exporters"),
    ("exporters/file", "flush_interval", "what Go's zero means"),
    ("extensions/file_storage", "fsync", "what is acknowledged survives a loss of power"),
    ("processors/resource_detection", "compression", "the word for what Go's empty text means"),
    ("processors/resource_detection", "write_buffer_size", "that of confighttp's own constructor"),
    ("receivers/kubelet_stats", "k8s_api_config::auth_type", "Go's empty word is refused"),
    ("receivers/jaeger", "keepalive", "configgrpc's own, as for otlp; the Go receiver has none"),
    ("receivers/jaeger", "keepalive::enforcement_policy", "as `keepalive`"),
    ("receivers/jaeger", "keepalive::server_parameters", "as `keepalive`"),
    ("receivers/jaeger", "read_buffer_size", "as `keepalive`"),
    ("receivers/jaeger", "keep_alives_enabled", "confighttp's own; the Go receiver closes each connection"),
    ("receivers/zipkin", "keep_alives_enabled", "confighttp's own; the Go receiver closes each connection"),
    ("extensions/health_check", "_timeout", "confighttp's own; the Go extension leaves pages without limits"),
    ("extensions/health_check", "keep_alives_enabled", "confighttp's own; the Go extension closes each connection"),
];

fn is_listed(list: &[(&str, &str, &str)], component: &str, path: &str) -> bool {
    list.iter().any(|(of, end, _)| (*of == "*" || *of == component) && path.ends_with(end))
}

/// Every key by its path, below an element of a list as `key[]`, as the facts have them.
fn collect<'f>(above: &str, fields: &'f [Field], all: &mut BTreeMap<String, &'f Field>) {
    for field in fields {
        let path = if above.is_empty() { field.key.to_owned() } else { format!("{above}::{}", field.key) };
        let below = match field.shape {
            Shape::List(_) | Shape::TextsOrList(_) => format!("{path}[]"),
            Shape::Map(_) => format!("{path}::NAME"),
            _ => path.clone(),
        };
        collect(&below, field.shape.fields(), all);
        all.insert(path, field);
    }
}

/// The default as the facts have it; `None` where there is nothing to compare.
fn default_text(field: &Field) -> Option<String> {
    match (&field.shape, &field.default) {
        (Shape::Optional { flavor, .. }, _) => {
            Some(if *flavor == OptionalFlavor::Some { "on" } else { "off" }.to_owned())
        }
        (_, EffectiveValue::Str(text)) => Some(text.clone()),
        (_, EffectiveValue::Int(v)) => Some(v.to_string()),
        (_, EffectiveValue::Bool(v)) => Some(v.to_string()),
        (_, EffectiveValue::Float(v)) => Some(v.to_string()),
        (_, EffectiveValue::Duration(v)) => Some(v.to_string()),
        _ => None,
    }
}

#[test]
fn keys_of_the_go_components_are_declared_or_named_with_a_reason() {
    let facts = std::fs::read_to_string(root().join("tests/tools/config-oracle/keys.tsv")).unwrap();
    let registry = Registry::default();
    let mut descriptions = BTreeMap::new();
    for (kind, section) in KINDS {
        for factory in registry.all_of_kind(kind) {
            descriptions.insert(format!("{section}/{}", factory.info().type_name), factory.description().unwrap());
        }
    }
    let (mut missing, mut defaults, mut compared) = (Vec::new(), Vec::new(), 0);
    for line in facts.lines() {
        let mut columns = line.split('\t');
        let [component, path, kind, default] = std::array::from_fn(|_| columns.next().unwrap_or_default());
        let Some(description) = descriptions.get(component) else { panic!("{component} is not built in") };
        let mut keys = BTreeMap::new();
        collect("", &description.fields, &mut keys);
        // Nothing below a key that is not supported is declared.
        let is_refused = keys.iter().any(|(key, field)| {
            matches!(field.status, Status::Unsupported(_))
                && path
                    .strip_prefix(key.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with("::") || rest.starts_with('['))
        });
        let Some(field) = keys.get(path) else {
            if !is_refused && !is_listed(DIFFERENT, component, path) {
                missing.push(format!("{component} {path}"));
            }
            continue;
        };
        compared += 1;
        let own = default_text(field).unwrap_or_default();
        // Go's nil sections have no state of their own.
        let is_same = own == default || (own == "off" && default.is_empty());
        let is_compared = !is_refused && !matches!(kind, "list" | "map" | "headers" | "any");
        if is_compared && !is_same && !is_listed(OTHER_DEFAULTS, component, path) {
            defaults.push(format!("{component} {path}: {own:?}, in Go {default:?}"));
        }
    }
    assert!(compared > 350, "{compared}");
    assert_eq!((missing, defaults), (Vec::new(), Vec::new()));
}
