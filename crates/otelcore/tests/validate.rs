//! `validate` on configurations: one mistake gives one message, what the Go collector accepts is accepted, and the work
//! for a file is in proportion to its size.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

use std::ffi::OsString;

use otelcore::Registry;
use otelcore::commands::{Terminal, run_command_line as command};
use otelcore::config::steps;

fn run(args: &[String], env: &dyn Fn(&str) -> Option<String>) -> (u8, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal { out: &mut out, err: &mut err, is_terminal: false, env };
    let args = std::iter::once("otelcore".into()).chain(args.iter().map(OsString::from));
    let code = command(args, Registry::default(), &mut terminal);
    (code, String::from_utf8(err).unwrap())
}

fn validate(yaml: &str, env: &[(&str, &str)]) -> (u8, String) {
    let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    run(&["validate".to_owned(), format!("--config=yaml:{yaml}")], &env)
}

/// Messages, each as `error: text`.
fn messages(output: &str) -> Vec<&str> {
    output.lines().filter(|line| line.starts_with("error: ") || line.starts_with("warning: ")).collect()
}

/// A whole configuration around one exporter's section.
fn with_exporter(exporter: &str) -> String {
    format!(
        "receivers: {{nop: }}\nexporters:\n  {exporter}\nservice: {{pipelines: {{traces: {{receivers: [nop], exporters: [{}]}}}}}}\n",
        exporter.split(':').next().unwrap()
    )
}

#[test]
fn error_that_causes_others_is_reported_once() {
    for (exporter, wanted) in [
        ("otlp_grpc: {endpoint: '${VAR:-h:1}'}", "scheme \"VAR\" is not supported"),
        ("otlp_grpc: {endpoint: [a]}", "expected type 'string'"),
        ("otlp_grpc: {endpont: 'h:1'}", "'endpont'"),
        ("otlp_http: {endpoint: 5}", "expected type 'string'"),
        ("otlp_http: {endpoint: 'http://h', headers: [a, b]}", "'headers[0]' expected a map or struct"),
        ("otlp_http: {endpoint: 'http://h', headers: {a: [1]}}", "'headers[a]' expected type 'string'"),
        ("otlp_http: {endpoint: 'http://h', timeout: -1x}", "unknown unit"),
        ("prometheus: {endpoint: ''}", "expecting a non-blank address"),
        ("prometheus: {endpoint: '${_A:b}'}", "invalid uri"),
        ("jaeger: {endpoint: {a: 1}}", "expected type 'string'"),
    ] {
        let yaml = with_exporter(exporter);
        let yaml = if exporter.starts_with("prometheus") { yaml.replace("traces", "metrics") } else { yaml };
        let (code, output) = validate(&yaml, &[]);
        let errors: Vec<_> = messages(&output).into_iter().filter(|m| m.starts_with("error")).collect();
        let wanted = wanted.trim_matches('\'');
        let extra = usize::from(exporter.contains("headers: [a, b]"));
        assert_eq!(errors.len(), 1 + extra, "{exporter}\n{output}");
        assert!(errors[0].contains(wanted) && code == 1, "{exporter}\n{output}");
    }
    for (extension, count) in [
        ("bearertokenauth: {token: '${VAR:-x}'}", 1),
        ("bearertokenauth: {tokn: x}", 1),
        ("bearertokenauth: {}", 1),
        ("basicauth: {htpasswd: {inline: [a]}}", 1),
        ("basicauth: {client_auth: {usernam: a}}", 2),
    ] {
        let yaml = format!("extensions: {{{extension}}}\n{}", with_exporter("nop:"));
        let (_, output) = validate(&yaml, &[]);
        assert!(messages(&output).iter().filter(|m| m.starts_with("error")).count() <= count, "{extension}\n{output}");
        assert!(output.contains("error: "), "{extension}\n{output}");
    }
}

#[test]
fn shell_style_default_has_a_hint() {
    for name in ["VAR", "MY_VAR", "_x", "X", "a1", "file", "env", "http"] {
        let (_, output) = validate(&with_exporter(&format!("otlp_grpc: {{endpoint: '${{{name}:-h:1}}'}}")), &[]);
        assert!(output.contains(&format!("write ${{env:{name}:-h:1}}")), "{name}\n{output}");
    }
    for (reference, hint) in [
        ("${VAR-h:1}", "write ${env:VAR:-h:1}"),
        ("${env:VAR-h:1}", "write ${env:VAR:-h:1}"),
        ("${MY_VAR:=h:1}", "write ${env:MY_VAR:-h:1}"),
        ("${MY_VAR:?unset}", "no operator but `:-`"),
    ] {
        let (_, output) = validate(&with_exporter(&format!("otlp_grpc: {{endpoint: '{reference}'}}")), &[]);
        assert!(output.contains(hint), "{reference}\n{output}");
    }
}

#[test]
fn hints_quote_a_value_as_it_is_written() {
    let (_, output) = validate(
        &with_exporter("otlp_http: {endpoint: 'http://h', headers: {a: 0123, b: True, c: 1_0, d: 1.50}}"),
        &[],
    );
    for hint in ["quote it: \"0123\"", "quote it: \"True\"", "quote it: \"1_0\"", "quote it: \"1.50\""] {
        assert!(output.contains(hint), "{hint}\n{output}");
    }
    let (_, output) = validate(&with_exporter("debug: {sampling_initial: \"0123\"}"), &[]);
    assert!(output.contains("write 123, without quotes"), "{output}");
}

#[test]
fn trailing_line_break_of_a_secret_is_removed_and_inner_one_is_an_error() {
    let env = [("TOKEN", "s3cret\n"), ("CRLF", "s3cret\r\n"), ("INNER", "s3\ncret"), ("BELL", "a\u{7}b")];
    for (yaml, key) in [
        ("extensions: {bearertokenauth: {token: '${env:T}'}}", "extensions::bearertokenauth::token"),
        ("extensions: {bearertokenauth: {tokens: [a, '${env:T}']}}", "extensions::bearertokenauth::tokens[1]"),
        (
            "exporters: {otlp_http: {endpoint: 'http://h', headers: {a: b, x-key: '${env:T}', z: c}}}",
            "exporters::otlp_http::headers::x-key",
        ),
        (
            "exporters: {otlp_grpc: {endpoint: 'h:1', headers: [{name: a}, {name: b, value: '${env:T}'}]}}",
            "exporters::otlp_grpc::headers[1]::value",
        ),
        ("exporters: {otlp_grpc: {endpoint: 'h:1', authority: 'h${env:T}'}}", "exporters::otlp_grpc::authority"),
        ("exporters: {otlp_grpc: {endpoint: 'h:1', user_agent: '${env:T}'}}", "exporters::otlp_grpc::user_agent"),
        (
            "exporters: {otlp_http: {endpoint: 'http://h', proxy_url: 'http://${env:T}'}}",
            "exporters::otlp_http::proxy_url",
        ),
        (
            "receivers: {otlp: {protocols: {http: {response_headers: {a: b, x-key: '${env:T}'}}}}}",
            "receivers::otlp::protocols::http::response_headers::x-key",
        ),
    ] {
        let name = yaml.split_once(": {").unwrap().1.split(':').next().unwrap();
        let section = yaml.split(':').next().unwrap();
        let service = match section {
            "extensions" => format!(
                "receivers: {{nop: }}\nexporters: {{nop: }}\nservice: {{extensions: [{name}], pipelines: {{traces: {{receivers: [nop], exporters: [nop]}}}}}}"
            ),
            "exporters" => format!(
                "receivers: {{nop: }}\nservice: {{pipelines: {{traces: {{receivers: [nop], exporters: [{name}]}}}}}}"
            ),
            _ => format!(
                "exporters: {{nop: }}\nservice: {{pipelines: {{traces: {{receivers: [{name}], exporters: [nop]}}}}}}"
            ),
        };
        for variable in ["TOKEN", "CRLF"] {
            let (code, output) =
                validate(&format!("{}\n{service}", yaml.replace("env:T}", &format!("env:{variable}}}"))), &env);
            assert!(code == 0, "{yaml} {variable}\n{output}");
        }
        for variable in ["INNER", "BELL"] {
            let (code, output) =
                validate(&format!("{}\n{service}", yaml.replace("env:T}", &format!("env:{variable}}}"))), &env);
            assert!(code == 1 && output.contains(&format!("({key})")), "{yaml} {variable}\n{output}");
            assert!(key.ends_with("authority") || !output.contains("s3"), "{output}");
            assert_eq!(messages(&output).len(), 1, "{output}");
        }
    }
}

#[test]
fn start_error_of_an_unused_component_is_a_warning() {
    for unused in [
        "otlp_http/unused: {endpoint: 'collector:4318'}",
        "otlp_http/unused: {endpoint: 'http://h', proxy_url: 'socks5://p'}",
        "otlp_http/unused: {endpoint: 'http://h', headers: {a: \"x\\ny\"}}",
        "otlp_grpc/unused: {endpoint: 'h:1', compression: lz4}",
        "otlp_grpc/unused: {endpoint: 'h:1', tls: {cipher_suites: [x]}}",
        "prometheus/unused: {endpoint: ''}",
        "prometheus/unused: {endpoint: 'nowhere'}",
    ] {
        let yaml = with_exporter(&format!("nop:\n  {unused}"));
        let (code, output) = validate(&yaml, &[]);
        assert_eq!((code, messages(&output).len()), (0, 1), "{unused}\n{output}");
        assert!(output.starts_with("warning: "), "{output}");
        let (code, output) = validate(
            &yaml
                .replace("exporters: [nop]", &format!("exporters: [{}]", unused.split(':').next().unwrap()))
                .replace("traces", if unused.starts_with("prom") { "metrics" } else { "traces" }),
            &[],
        );
        assert_eq!(code, 1, "{unused}\n{output}");
    }
    // What Go checks for all components is an error for every component, used or not.
    for unused in [
        "otlp_http/unused: {}",
        "otlp_grpc/unused: {endpoint: h}",
        "otlp_http/unused: {endpont: x}",
        "debug/unused: {verbosity: x}",
    ] {
        let (code, output) = validate(&with_exporter(&format!("nop:\n  {unused}")), &[]);
        assert_eq!(code, 1, "{unused}\n{output}");
    }
}

#[test]
fn old_key_names_are_accepted_with_a_warning() {
    let otlp = |http: &str| {
        format!(
            "receivers: {{otlp: {{protocols: {{http: {{{http}}}}}}}}}\nexporters: {{nop: }}\nservice: {{pipelines: {{traces: {{receivers: [otlp], exporters: [nop]}}}}}}"
        )
    };
    for (yaml, key) in [
        (with_exporter("logging: {logLevel: debug}"), "logLevel"),
        (with_exporter("otlp_http: {endpoint: 'https://h', insecure_skip_verify: true}"), "insecure_skip_verify"),
        (with_exporter("otlp_http: {endpoint: 'https://h', ca_file: /ca.pem}"), "ca_file"),
        (otlp("cors_allowed_origins: ['https://a'], cors_allowed_headers: [x]"), "cors_allowed_origins"),
        (otlp("tls_settings: {cert_file: /a, key_file: /b}"), "tls_settings"),
    ] {
        let (code, output) = validate(&yaml, &[]);
        assert_eq!(code, 0, "{yaml}\n{output}");
        assert!(output.contains(&format!("warning: '{key}' is deprecated")), "{yaml}\n{output}");
    }
}

#[test]
fn contrib_components_are_reported_as_not_supported_yet() {
    for (section, names) in [
        ("receivers", &["awscontainerinsightreceiver", "prometheus_simple", "podman_stats", "vcenter"][..]),
        ("processors", &["experimental_metricsgeneration", "log_dedup", "unroll", "schema"]),
        ("exporters", &["alibabacloud_logservice", "splunk_hec", "honeycombmarker", "mezmo"]),
        ("extensions", &["asapclient", "oidc", "docker_observer", "otlp_encoding", "memory_limiter"]),
    ] {
        for name in names {
            let other = if section == "receivers" { "nop: , " } else { "" };
            let yaml = format!("receivers: {{nop: }}\nexporters: {{nop: }}\n{section}: {{{other}{name}: {{}}}}");
            let yaml = if ["receivers", "exporters"].contains(&section) {
                yaml.replace(&format!("{section}: {{nop: }}\n"), "")
            } else {
                yaml
            };
            let (code, output) = validate(&yaml, &[]);
            assert!(code == 1 && output.contains(&format!("`{name}` is not supported yet")), "{name}\n{output}");
        }
    }
    let (_, output) =
        validate("receivers: {nop: }\nexporters: {nop: }\nconnectors: {exception: , spanmetric: , datadog: }", &[]);
    assert!(output.contains("did you mean `exceptions`, which is not supported yet?"), "{output}");
    assert!(output.contains("did you mean `span_metrics`?"), "{output}");
    assert!(output.contains("the connector `datadog` is not supported yet; leave it out here"), "{output}");
}

#[test]
fn telemetry_values_are_checked() {
    let with =
        |telemetry: &str| with_exporter("nop:").replace("service: {", &format!("service: {{telemetry: {telemetry}, "));
    for (telemetry, wanted) in [
        ("{metrics: {level: ''}}", "'level' unknown metrics level \"\""),
        ("{metrics: {level: some}}", "'level' unknown metrics level \"some\""),
        ("{traces: {level: ''}}", "'level' unknown metrics level \"\""),
        ("{traces: {level: some}}", "'level' unknown metrics level \"some\""),
        ("{traces: {propagators: [x]}}", "unsupported trace propagator: x"),
        ("{logs: {level: loud}}", "'level' unrecognized level: \"loud\""),
        ("{logs: {encoding: xml}}", "unsupported value \"xml\""),
        (
            "{metrics: {readers: [{periodic: {exporter: {otlp: {protocol: tcp, endpoint: a}}}}]}}",
            "unsupported protocol \"tcp\"",
        ),
        (
            "{metrics: {readers: [{periodic: {exporter: {otlp: {protocol: grpc}}}}]}}",
            "requires a non-empty \"endpoint\"",
        ),
        ("{metrics: {readers: [{periodic: {exporter: {}}}]}}", "no valid metric exporter"),
        ("{metrics: {readers: [{periodic: }]}}", "no valid metric reader"),
        ("{metrics: {readers: [{periodic: {exporter: {console: {a: 1}}}}]}}", "'console' is not supported"),
        (
            "{metrics: {views: [{selector: {instrument_name: a}}]}}",
            "service::telemetry::metrics::views can only be set when service::telemetry::metrics::level is detailed",
        ),
        ("{metrics: {level: detailed, views: [{stream: {name: a}}]}}", "view: no selector provided"),
        ("{logs: {processors: [{}]}}", "unsupported log processor type, must be one of simple or batch"),
        ("{logs: {processors: [{batch: {exporter: {}}}]}}", "no valid log exporter"),
        ("{traces: {processors: [{}]}}", "unsupported span processor type, must be one of simple or batch"),
        ("{traces: {processors: [{batch: {exporter: {}}}]}}", "no valid span exporter"),
        ("{traces: {processors: [{simple: {exporter: {console: {a: 1}}}}]}}", "'console' is not supported"),
        ("{traces: {sampler: {trace_id_ratio_based: {ratio: 2}}}}", "'ratio' must be from 0 to 1, got 2"),
        ("{traces: {sampler: {}}}", "invalid sampler configuration"),
    ] {
        let (code, output) = validate(&with(telemetry), &[]);
        assert!(code == 1 && output.contains(wanted), "{telemetry}\n{output}");
    }
    let otlp = "exporter: {otlp: {protocol: grpc, endpoint: 'http://a:4317'}}";
    let pushes = format!(
        "{{metrics: {{readers: [{{periodic: {{{otlp}}}}}]}}, logs: {{processors: [{{simple: {{{otlp}}}}}]}}, \
             traces: {{processors: [{{batch: {{{otlp}}}}}], sampler: {{parent_based: {{}}}}}}}}"
    );
    for telemetry in
        ["{metrics: {level: }}", "{metrics: {level: Basic}}", "{traces: {level: NONE}}", "{logs: {level: ''}}", &pushes]
    {
        let (code, output) = validate(&with(telemetry), &[]);
        assert_eq!(code, 0, "{telemetry}\n{output}");
    }
}

#[test]
fn file_above_the_size_limit_is_refused_by_name() {
    let (code, output) = run(&["validate".to_owned(), "--config=/dev/zero".to_owned()], &|_| None);
    assert_eq!(code, 1);
    assert!(output.contains("/dev/zero: larger than 16 MiB, the limit of one file"), "{output}");
    let (code, output) = validate(&with_exporter("debug: {verbosity: '${file:/dev/zero}'}"), &[]);
    assert_eq!(code, 1);
    assert!(output.contains("/dev/zero: larger than 16 MiB, the limit of one file"), "{output}");
}

#[test]
fn errors_above_one_hundred_are_counted() {
    let keys: String = (0..5000).map(|i| format!("    key_{i}: 1\n")).collect();
    let (code, output) =
        validate(&with_exporter("nop:").replace("  nop:\n", &format!("  nop:\n  debug:\n{keys}")), &[]);
    assert_eq!((code, messages(&output).len()), (1, 100));
    assert!(
        output.contains("and 4900 more errors\n"),
        "{}",
        output.get(output.len().saturating_sub(300)..).unwrap_or_default()
    );
    assert!(output.contains("(and 4999 more, above)"));
}

type WorstCase = (&'static str, fn(usize) -> String);

fn concat_n(n: usize, make: impl Fn(usize) -> String) -> String {
    (0..n).map(make).collect()
}

/// Worst cases of the steps after parsing: components, pipelines, references.
const CASES: &[WorstCase] = &[
    ("components", |n| {
        format!(
            "receivers:\n{}exporters: {{nop: }}\nservice: {{pipelines: {{traces: {{receivers: [nop/0], exporters: [nop]}}}}}}",
            concat_n(n, |i| format!("  nop/{i}:\n"))
        )
    }),
    ("pipelines", |n| {
        let receivers = concat_n(n, |i| format!("  nop/{i}:\n"));
        let pipelines = concat_n(n, |i| format!("    traces/{i}: {{receivers: [nop/{i}], exporters: [nop]}}\n"));
        format!("receivers:\n{receivers}exporters: {{nop: }}\nservice:\n  pipelines:\n{pipelines}")
    }),
    ("one pipeline of many", |n| {
        let names = concat_n(n, |i| format!("nop/{i}, "));
        format!(
            "receivers:\n{0}exporters:\n{0}service: {{pipelines: {{traces: {{receivers: [{names}], exporters: [{names}]}}}}}}",
            concat_n(n, |i| format!("  nop/{i}:\n"))
        )
    }),
    ("undefined references", |n| {
        let names = concat_n(n, |i| format!("nopp/{i}, "));
        format!(
            "receivers:\n{}exporters: {{nop: }}\nservice: {{pipelines: {{traces: {{receivers: [{names}], exporters: [nop]}}}}}}",
            concat_n(n, |i| format!("  nop/{i}:\n"))
        )
    }),
    ("repeated references", |n| {
        format!(
            "receivers: {{nop: }}\nexporters: {{nop: }}\nservice: {{pipelines: {{traces: {{receivers: [{}], exporters: [nop]}}}}}}",
            "nop, ".repeat(n)
        )
    }),
    ("unknown components", |n| {
        let pipelines =
            concat_n(n, |i| format!("    traces/{i}: {{receivers: [redis/{i}, kafka/0], exporters: [nop]}}\n"));
        format!(
            "receivers:\n{}exporters: {{nop: }}\nservice:\n  pipelines:\n{pipelines}",
            concat_n(n, |i| format!("  redis/{i}:\n  nopp/{i}:\n"))
        )
    }),
    ("connectors", |n| {
        format!(
            "receivers: {{nop: }}\nexporters: {{nop: }}\nconnectors:\n{}",
            concat_n(n, |i| format!("  forward/{i}:\n  forwad/{i}:\n"))
        )
    }),
    ("extensions", |n| {
        let names = concat_n(n, |i| format!("health_check/{i}, "));
        format!(
            "receivers: {{nop: }}\nexporters: {{nop: }}\nextensions:\n{}service: {{extensions: [{names}], pipelines: {{traces: {{receivers: [nop], exporters: [nop]}}}}}}",
            concat_n(n, |i| format!("  health_check/{i}:\n"))
        )
    }),
];

#[test]
fn validation_steps_grow_at_most_n_log_n() {
    let mut slow = Vec::new();
    for (name, text) in CASES {
        let [small, large] = [200, 1600].map(|n| {
            let text = text(n);
            (text.len() as f64, steps::measure(|| validate(&text, &[])).0 as f64)
        });
        let scaled = small.1 * (large.0 * large.0.log2()) / (small.0 * small.0.log2());
        // Suggestions have a budget that the small size does not use up.
        if large.1 > 1.5 * scaled + 5_000_000.0 {
            slow.push(format!("{name}: (bytes, steps) {small:?} and {large:?}"));
        }
    }
    assert!(slow.is_empty(), "{slow:#?}");
}

/// Worst cases of manifests, `n` of everything: without a limit their checks grow with the square.
#[test]
fn manifest_check_steps_are_limited() {
    let config = "receivers: {otlp: {protocols: {grpc: }}}\\nexporters: {nop: }\\nservice: {pipelines: {traces: {receivers: [otlp], exporters: [nop]}}}";
    let pod = |i: usize, more: &str| {
        format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{i}, labels: {{a: b}}}}\nspec: {{containers: [{{name: otelcol, image: otelcol, args: ['--config=yaml:{config}']{more}}}]}}\n")
            .replace("'--config=yaml:", "\"--config=yaml:")
            .replace("}}}}']", "}}}}\"]")
    };
    let service = |i: usize| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{i}}}\nspec: {{selector: {{a: b}}, ports: [{{port: 4317}}]}}\n"
        )
    };
    let nested_variables = |n: usize| {
        let first = "{name: V0, value: xxxxxxxxxxxxxxxx}, ".to_owned();
        let rest = concat_n(n, |i| format!("{{name: V{}, value: '$(V{i})$(V{i})$(V{i})'}}, ", i + 1));
        format!(", env: [{first}{rest}]")
    };
    type TextOfSize<'t> = Box<dyn Fn(usize) -> String + 't>;
    let cases: [(&str, TextOfSize<'_>); 4] = [
        ("pods and services", Box::new(|n| concat_n(n, |i| pod(i, "")) + &concat_n(n, service))),
        ("variables of variables", Box::new(|n| pod(0, &nested_variables(n)))),
        ("open references", Box::new(|n| pod(0, &format!(", env: [{{name: A, value: '{}'}}]", "$(".repeat(n * 50))))),
        (
            "mounts",
            Box::new(|n| {
                pod(0, &format!(", volumeMounts: [{}]", concat_n(n, |i| format!("{{name: v{i}, mountPath: /m{i}}}, "))))
            }),
        ),
    ];
    for (name, text) in cases {
        let [small, large] = [20, 100].map(|n| {
            let text = text(n);
            let (steps, (code, output)) = steps::measure(|| {
                let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("steps-{n}.yaml"));
                std::fs::write(&path, &text).unwrap();
                run(&["validate".to_owned(), format!("--config=k8s:{}", path.display())], &|_| None)
            });
            assert!(code == 0 || output.contains("error: "), "{name}: {output}");
            steps
        });
        assert!(small > 0 && large < 200_000_000, "{name}: {small} {large}");
        // The square of five, with some room, and no more: the limit is on the product.
        assert!(large < small.saturating_mul(40), "{name}: {small} {large}");
    }
}

/// A configuration with connectors and these pipelines.
fn with_connectors(connectors: &str, pipelines: &str) -> String {
    format!(
        "receivers: {{nop: }}\nexporters: {{nop: , nop/a: }}\nprocessors: {{batch: , batch/x: }}\nconnectors: {connectors}\nservice: {{pipelines: {{{pipelines}}}}}\n"
    )
}

#[test]
fn connectors_that_join_no_pipelines_are_reported_in_the_words_of_the_go_collector() {
    for (connectors, pipelines, wanted) in [
        (
            "{forward: }",
            "traces: {receivers: [nop], exporters: [forward]}",
            "failed to build pipelines: connector \"forward\" used as exporter in [traces] pipeline but not used in any supported receiver pipeline",
        ),
        (
            "{forward: }",
            "traces: {receivers: [forward], exporters: [nop]}",
            "failed to build pipelines: connector \"forward\" used as receiver in [traces] pipeline but not used in any supported exporter pipeline",
        ),
        (
            "{forward: }",
            "traces/in: {receivers: [nop], exporters: [forward]}, traces/in2: {receivers: [nop], exporters: [forward]}, logs: {receivers: [forward], exporters: [nop]}",
            "connector \"forward\" used as exporter in [traces/in traces/in2] pipeline but not used in any supported receiver pipeline",
        ),
        (
            "{forward/1: , forward/2: }",
            "traces/in: {receivers: [nop, forward/2], processors: [batch, batch/x], exporters: [forward/1]}, traces/2: {receivers: [forward/1], processors: [batch], exporters: [forward/2]}",
            "failed to build pipelines: cycle detected: connector \"forward/1\" (traces to traces) -> processor \"batch\" in pipeline \"traces/2\" -> connector \"forward/2\" (traces to traces) -> processor \"batch\" in pipeline \"traces/in\" -> processor \"batch/x\" in pipeline \"traces/in\" -> connector \"forward/1\" (traces to traces)",
        ),
        (
            "{forward: }",
            "traces: {receivers: [nop, forward], exporters: [forward]}",
            "failed to build pipelines: cycle detected: connector \"forward\" (traces to traces) -> connector \"forward\" (traces to traces)",
        ),
        (
            "{nop/a: }",
            "traces: {receivers: [nop], exporters: [nop]}",
            "'connectors' unknown type: \"nop\" for id: \"nop/a\" (valid values: [",
        ),
        (
            "{forward: {x: 1}}",
            "traces: {receivers: [nop], exporters: [nop]}",
            "'connectors::forward' has invalid keys: x",
        ),
        (
            "{forward: }",
            "traces: {receivers: [nop], exporters: [forward/2]}",
            "service::pipelines::traces: references exporter \"forward/2\" which is not configured",
        ),
    ] {
        let (code, output) = validate(&with_connectors(connectors, pipelines), &[]);
        assert!(code == 1 && output.contains(wanted), "{wanted}\n{output}");
    }
    let joined = "traces: {receivers: [nop], exporters: [forward]}, traces/2: {receivers: [forward], exporters: [nop]}, logs: {receivers: [nop], exporters: [forward]}, logs/2: {receivers: [forward], exporters: [nop]}";
    assert_eq!(validate(&with_connectors("{forward: , forward/unused: }", joined), &[]), (0, String::new()));
}

#[test]
fn components_lists_a_connector_with_its_pairs_of_signals() {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal { out: &mut out, err: &mut err, is_terminal: false, env: &|_| None };
    let code = command(["otelcore", "components"].map(OsString::from), Registry::default(), &mut terminal);
    let text = String::from_utf8(out).unwrap();
    let wanted = "    - name: forward\n      module: ";
    assert!(code == 0 && text.contains(wanted), "{text}");
    let wanted = "        logs-to-logs: Beta\n        metrics-to-metrics: Beta\n        traces-to-traces: Beta\n";
    assert!(text.contains(wanted), "{text}");
}

#[test]
fn load_skew_of_servers_is_checked() {
    let with_server = |server: &str| {
        format!(
            "receivers: {{otlp: {{protocols: {{{server}}}}}}}\nexporters: {{nop: }}\n\
             service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [nop]}}}}}}\n"
        )
    };
    for (section, wanted) in [
        ("{}", None),
        ("", None),
        ("{enabled: false}", None),
        ("{max_ratio: 1.5, interval: 10s}", None),
        ("{max_ratio: 1}", Some("'max_ratio' must be greater than 1")),
        ("{interval: 10ms}", Some("'interval' must be at least 1s")),
        ("{ratio: 3}", Some("has invalid keys")),
    ] {
        for protocol in ["grpc", "http"] {
            let (code, output) = validate(&with_server(&format!("{protocol}: {{load_skew: {section}}}")), &[]);
            let found = messages(&output);
            let is_expected = match wanted {
                None => code == 0 && found.is_empty(),
                Some(wanted) => code == 1 && found.len() == 1 && found[0].contains(wanted),
            };
            assert!(is_expected, "{protocol} {section}: {output}");
        }
    }
}
