//! `validate` on configurations: one mistake gives one message, what the Go collector accepts is accepted, and the work
//! for a file is in proportion to its size.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

use std::ffi::OsString;

use otelcore::Registry;
use otelcore::commands::{Terminal, main as command};
use otelcore::config::steps;

fn run(args: &[String], env: &dyn Fn(&str) -> Option<String>) -> (u8, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal { out: &mut out, err: &mut err, interactive: false, env };
    let args = std::iter::once("otelcore".into()).chain(args.iter().map(OsString::from));
    let code = command(args, Registry::default(), &mut terminal);
    (code, String::from_utf8(err).unwrap())
}

fn validate(yaml: &str, env: &[(&str, &str)]) -> (u8, String) {
    let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    run(&["validate".to_owned(), format!("--config=yaml:{yaml}")], &env)
}

/// Messages, each as `error: text`.
fn messages(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.starts_with("error: ") || line.starts_with("warning: ")).collect()
}

/// A whole configuration around one exporter's section.
fn with_exporter(exporter: &str) -> String {
    format!(
        "receivers: {{nop: }}\nexporters:\n  {exporter}\nservice: {{pipelines: {{traces: {{receivers: [nop], exporters: [{}]}}}}}}\n",
        exporter.split(':').next().unwrap()
    )
}

#[test]
fn a_mistake_that_others_would_follow_from_is_one_message() {
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
        let (code, said) = validate(&yaml, &[]);
        let errors: Vec<_> = messages(&said).into_iter().filter(|m| m.starts_with("error")).collect();
        let wanted = wanted.trim_matches('\'');
        let extra = usize::from(exporter.contains("headers: [a, b]"));
        assert_eq!(errors.len(), 1 + extra, "{exporter}\n{said}");
        assert!(errors[0].contains(wanted) && code == 1, "{exporter}\n{said}");
    }
    for (extension, count) in [
        ("bearertokenauth: {token: '${VAR:-x}'}", 1),
        ("bearertokenauth: {tokn: x}", 1),
        ("bearertokenauth: {}", 1),
        ("basicauth: {htpasswd: {inline: [a]}}", 1),
        ("basicauth: {client_auth: {usernam: a}}", 2),
    ] {
        let yaml = format!("extensions: {{{extension}}}\n{}", with_exporter("nop:"));
        let (_, said) = validate(&yaml, &[]);
        assert!(messages(&said).iter().filter(|m| m.starts_with("error")).count() <= count, "{extension}\n{said}");
        assert!(said.contains("error: "), "{extension}\n{said}");
    }
}

#[test]
fn a_default_in_the_way_of_a_shell_has_its_hint_for_every_name() {
    for name in ["VAR", "MY_VAR", "_x", "X", "a1", "file", "env", "http"] {
        let (_, said) = validate(&with_exporter(&format!("otlp_grpc: {{endpoint: '${{{name}:-h:1}}'}}")), &[]);
        assert!(said.contains(&format!("write ${{env:{name}:-h:1}}")), "{name}\n{said}");
    }
    for (reference, hint) in [
        ("${VAR-h:1}", "write ${env:VAR:-h:1}"),
        ("${env:VAR-h:1}", "write ${env:VAR:-h:1}"),
        ("${MY_VAR:=h:1}", "write ${env:MY_VAR:-h:1}"),
        ("${MY_VAR:?unset}", "no operator but `:-`"),
    ] {
        let (_, said) = validate(&with_exporter(&format!("otlp_grpc: {{endpoint: '{reference}'}}")), &[]);
        assert!(said.contains(hint), "{reference}\n{said}");
    }
}

#[test]
fn hints_that_quote_a_value_have_it_as_it_is_written() {
    let (_, said) = validate(
        &with_exporter("otlp_http: {endpoint: 'http://h', headers: {a: 0123, b: True, c: 1_0, d: 1.50}}"),
        &[],
    );
    for hint in ["quote it: \"0123\"", "quote it: \"True\"", "quote it: \"1_0\"", "quote it: \"1.50\""] {
        assert!(said.contains(hint), "{hint}\n{said}");
    }
    let (_, said) = validate(&with_exporter("debug: {sampling_initial: \"0123\"}"), &[]);
    assert!(said.contains("write 123, without quotes"), "{said}");
}

#[test]
fn a_line_break_at_the_end_of_a_secret_is_left_out_and_one_inside_is_told_at_its_key() {
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
            let (code, said) =
                validate(&format!("{}\n{service}", yaml.replace("env:T}", &format!("env:{variable}}}"))), &env);
            assert!(code == 0, "{yaml} {variable}\n{said}");
        }
        for variable in ["INNER", "BELL"] {
            let (code, said) =
                validate(&format!("{}\n{service}", yaml.replace("env:T}", &format!("env:{variable}}}"))), &env);
            assert!(code == 1 && said.contains(&format!("({key})")), "{yaml} {variable}\n{said}");
            assert!(key.ends_with("authority") || !said.contains("s3"), "{said}");
            assert_eq!(messages(&said).len(), 1, "{said}");
        }
    }
}

#[test]
fn what_go_finds_at_the_start_alone_is_a_warning_where_nothing_uses_the_component() {
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
        let (code, said) = validate(&yaml, &[]);
        assert_eq!((code, messages(&said).len()), (0, 1), "{unused}\n{said}");
        assert!(said.starts_with("warning: "), "{said}");
        let (code, said) = validate(
            &yaml
                .replace("exporters: [nop]", &format!("exporters: [{}]", unused.split(':').next().unwrap()))
                .replace("traces", if unused.starts_with("prom") { "metrics" } else { "traces" }),
            &[],
        );
        assert_eq!(code, 1, "{unused}\n{said}");
    }
    // What Go checks for all components is an error for every component, used or not.
    for unused in [
        "otlp_http/unused: {}",
        "otlp_grpc/unused: {endpoint: h}",
        "otlp_http/unused: {endpont: x}",
        "debug/unused: {verbosity: x}",
    ] {
        let (code, said) = validate(&with_exporter(&format!("nop:\n  {unused}")), &[]);
        assert_eq!(code, 1, "{unused}\n{said}");
    }
}

#[test]
fn old_spellings_work_with_a_warning() {
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
        let (code, said) = validate(&yaml, &[]);
        assert_eq!(code, 0, "{yaml}\n{said}");
        assert!(said.contains(&format!("warning: '{key}' is deprecated")), "{yaml}\n{said}");
    }
}

#[test]
fn every_component_of_the_contrib_distribution_is_known_by_name() {
    for (section, names) in [
        (
            "receivers",
            &["awscontainerinsightreceiver", "prometheus_simple", "podman_stats", "vcenter", "k8s_cluster"][..],
        ),
        ("processors", &["experimental_metricsgeneration", "tail_sampling", "unroll", "schema"]),
        ("exporters", &["alibabacloud_logservice", "splunk_hec", "honeycombmarker", "loadbalancing"]),
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
            let (code, said) = validate(&yaml, &[]);
            assert!(code == 1 && said.contains(&format!("`{name}` is not supported yet")), "{name}\n{said}");
        }
    }
    let (_, said) = validate("receivers: {nop: }\nexporters: {nop: }\nconnectors: {spanmetric: , count: }", &[]);
    assert!(said.contains("did you mean `spanmetrics`, which is not supported yet?"), "{said}");
    assert!(said.contains("leave the connector out"), "{said}");
}

#[test]
fn words_of_telemetry_are_checked() {
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
    ] {
        let (code, said) = validate(&with(telemetry), &[]);
        assert!(code == 1 && said.contains(wanted), "{telemetry}\n{said}");
    }
    for telemetry in
        ["{metrics: {level: }}", "{metrics: {level: Basic}}", "{traces: {level: NONE}}", "{logs: {level: ''}}"]
    {
        let (code, said) = validate(&with(telemetry), &[]);
        assert_eq!(code, 0, "{telemetry}\n{said}");
    }
}

#[test]
fn a_file_beyond_the_limit_is_refused_with_its_name_and_the_limit() {
    let (code, said) = run(&["validate".to_owned(), "--config=/dev/zero".to_owned()], &|_| None);
    assert_eq!(code, 1);
    assert!(said.contains("/dev/zero: larger than 16 MiB, the limit of one file"), "{said}");
    let (code, said) = validate(&with_exporter("debug: {verbosity: '${file:/dev/zero}'}"), &[]);
    assert_eq!(code, 1);
    assert!(said.contains("/dev/zero: larger than 16 MiB, the limit of one file"), "{said}");
}

#[test]
fn mistakes_beyond_a_hundred_are_counted() {
    let keys: String = (0..5000).map(|i| format!("    key_{i}: 1\n")).collect();
    let (code, said) = validate(&with_exporter("nop:").replace("  nop:\n", &format!("  nop:\n  debug:\n{keys}")), &[]);
    assert_eq!((code, messages(&said).len()), (1, 100));
    assert!(
        said.contains("and 4900 more errors\n"),
        "{}",
        said.get(said.len().saturating_sub(300)..).unwrap_or_default()
    );
    assert!(said.contains("(and 4999 more, above)"));
}

type Worst = (&'static str, fn(usize) -> String);

fn many(n: usize, one: impl Fn(usize) -> String) -> String {
    (0..n).map(one).collect()
}

/// Worst cases of the steps after parsing: components, pipelines, references.
const CASES: &[Worst] = &[
    ("components", |n| {
        format!(
            "receivers:\n{}exporters: {{nop: }}\nservice: {{pipelines: {{traces: {{receivers: [nop/0], exporters: [nop]}}}}}}",
            many(n, |i| format!("  nop/{i}:\n"))
        )
    }),
    ("pipelines", |n| {
        let receivers = many(n, |i| format!("  nop/{i}:\n"));
        let pipelines = many(n, |i| format!("    traces/{i}: {{receivers: [nop/{i}], exporters: [nop]}}\n"));
        format!("receivers:\n{receivers}exporters: {{nop: }}\nservice:\n  pipelines:\n{pipelines}")
    }),
    ("one pipeline of many", |n| {
        let names = many(n, |i| format!("nop/{i}, "));
        format!(
            "receivers:\n{0}exporters:\n{0}service: {{pipelines: {{traces: {{receivers: [{names}], exporters: [{names}]}}}}}}",
            many(n, |i| format!("  nop/{i}:\n"))
        )
    }),
    ("undefined references", |n| {
        let names = many(n, |i| format!("nopp/{i}, "));
        format!(
            "receivers:\n{}exporters: {{nop: }}\nservice: {{pipelines: {{traces: {{receivers: [{names}], exporters: [nop]}}}}}}",
            many(n, |i| format!("  nop/{i}:\n"))
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
            many(n, |i| format!("    traces/{i}: {{receivers: [zipkin/{i}, kafka/0], exporters: [nop]}}\n"));
        format!(
            "receivers:\n{}exporters: {{nop: }}\nservice:\n  pipelines:\n{pipelines}",
            many(n, |i| format!("  zipkin/{i}:\n  nopp/{i}:\n"))
        )
    }),
    ("connectors", |n| {
        format!(
            "receivers: {{nop: }}\nexporters: {{nop: }}\nconnectors:\n{}",
            many(n, |i| format!("  forward/{i}:\n  forwad/{i}:\n"))
        )
    }),
    ("extensions", |n| {
        let names = many(n, |i| format!("health_check/{i}, "));
        format!(
            "receivers: {{nop: }}\nexporters: {{nop: }}\nextensions:\n{}service: {{extensions: [{names}], pipelines: {{traces: {{receivers: [nop], exporters: [nop]}}}}}}",
            many(n, |i| format!("  health_check/{i}:\n"))
        )
    }),
];

#[test]
fn steps_of_a_whole_validation_grow_no_faster_than_n_log_n() {
    let mut slow = Vec::new();
    for (name, text) in CASES {
        let [small, large] = [200, 1600].map(|n| {
            let text = text(n);
            (text.len() as f64, steps::of(|| validate(&text, &[])).0 as f64)
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
fn steps_of_manifests_end_at_a_limit() {
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
    let laughs = |n: usize| {
        let first = "{name: V0, value: xxxxxxxxxxxxxxxx}, ".to_owned();
        let rest = many(n, |i| format!("{{name: V{}, value: '$(V{i})$(V{i})$(V{i})'}}, ", i + 1));
        format!(", env: [{first}{rest}]")
    };
    type Text<'t> = Box<dyn Fn(usize) -> String + 't>;
    let cases: [(&str, Text<'_>); 4] = [
        ("pods and services", Box::new(|n| many(n, |i| pod(i, "")) + &many(n, service))),
        ("variables of variables", Box::new(|n| pod(0, &laughs(n)))),
        ("open references", Box::new(|n| pod(0, &format!(", env: [{{name: A, value: '{}'}}]", "$(".repeat(n * 50))))),
        (
            "mounts",
            Box::new(|n| {
                pod(0, &format!(", volumeMounts: [{}]", many(n, |i| format!("{{name: v{i}, mountPath: /m{i}}}, "))))
            }),
        ),
    ];
    for (name, text) in cases {
        let [small, large] = [20, 100].map(|n| {
            let text = text(n);
            let (steps, (code, said)) = steps::of(|| {
                let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("steps-{n}.yaml"));
                std::fs::write(&path, &text).unwrap();
                run(&["validate".to_owned(), format!("--config=k8s:{}", path.display())], &|_| None)
            });
            assert!(code == 0 || said.contains("error: "), "{name}: {said}");
            steps
        });
        assert!(small > 0 && large < 200_000_000, "{name}: {small} {large}");
        // The square of five, with some room, and no more: the limit is on the product.
        assert!(large < small.saturating_mul(40), "{name}: {small} {large}");
    }
}
