//! Prometheus 3, which `scripts/prometheus` builds: it scrapes the page of the exporter `prometheus` in all three formats and
//! takes what `prometheus_remote_write` pushes, and its query interface returns what was sent.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

#[path = "support/pki.rs"]
mod pki;
mod support;

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::*;

const TRACE_ID: &str = "0102030405060708090a0b0c0d0e0f10";
const SPAN_ID: &str = "a1b2c3d4e5f60718";

/// The jobs that scrape the page, with the format that each asks for.
const JOBS: [(&str, &str); 3] =
    [("text", "PrometheusText0.0.4"), ("open-metrics", "OpenMetricsText1.0.0"), ("protobuf", "PrometheusProto")];

struct Prometheus {
    process: Process,
    address: String,
}

impl Prometheus {
    /// Starts with this text under `scrape_configs`.
    fn start(dir: &Path, jobs: &str) -> Self {
        let binary = std::env::var("OTELCORE_PROMETHEUS").expect("scripts/prometheus runs this");
        let config = dir.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, scrape_native_histograms: true}}\nscrape_configs: [{jobs}]\n"
        );
        std::fs::write(&config, text).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(binary);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(["--web.enable-remote-write-receiver", "--enable-feature=exemplar-storage"]);
        let mut process = Process::start(&mut command, &dir.join("prometheus.log"));
        wait_for_listener(&address, &mut process);
        let prometheus = Self { process, address };
        prometheus.wait("ready", || http_get(&prometheus.address, "/-/ready").0 == 200);
        prometheus
    }

    /// The `data` of a response, or nothing while the interface is not ready.
    fn get(&self, path: &str) -> Option<Value> {
        let (status, body) = http_get(&self.address, path);
        (status == 200).then(|| serde_json::from_str::<Value>(&body).unwrap()["data"].clone())
    }

    /// The series that a query finds now, in the order of their labels.
    fn query(&self, query: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/v1/query?query={}", escape(query))).unwrap_or_default();
        let mut series = answer["result"].as_array().cloned().unwrap_or_default();
        series.sort_by_key(|one| one["metric"].to_string());
        series
    }

    /// The values of the series that a query finds, once there are so many.
    fn values(&self, query: &str, count: usize) -> Vec<String> {
        let mut found = Vec::new();
        self.wait(query, || {
            found = self.query(query);
            found.len() == count
        });
        found.iter().map(|one| one["value"][1].as_str().unwrap_or("no number").to_owned()).collect()
    }

    /// The native histogram that a query finds.
    fn native(&self, query: &str) -> Value {
        let mut found = Vec::new();
        self.wait(query, || {
            found = self.query(query);
            found.len() == 1
        });
        found[0]["histogram"][1].clone()
    }

    /// The exemplars of the series that a selector finds.
    fn exemplars(&self, selector: &str) -> Vec<Value> {
        let range = format!("start={}&end={}", seconds() - 3600, seconds() + 60);
        let path = format!("/api/v1/query_exemplars?query={}&{range}", escape(selector));
        let series = self.get(&path).unwrap_or_default();
        let of = |one: &Value| one["exemplars"].as_array().cloned().unwrap_or_default();
        series.as_array().map(|all| all.iter().flat_map(of).collect()).unwrap_or_default()
    }

    fn wait(&self, what: &str, mut is_there: impl FnMut() -> bool) {
        wait_until(what, || is_there().then(String::new));
    }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Percent-encodes a query.
fn escape(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() || b == b'_' { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// A collector with this configuration, in which `OTLP` is the address of its receiver.
fn start_collector(dir: &Path, config: &str) -> (Process, String) {
    let otlp = format!("127.0.0.1:{}", free_port());
    let path = dir.join("config.yaml");
    std::fs::write(&path, config.replace("OTLP", &otlp)).unwrap();
    let mut process =
        Process::start(Command::new(otelcore()).arg(format!("--config={}", path.display())), &dir.join("log"));
    wait_for_listener(&otlp, &mut process);
    (process, otlp)
}

fn post(otlp: &str, path: &str, body: &str) {
    let head = format!("POST {path} HTTP/1.0\r\nHost: x\r\nContent-Type: application/json");
    let (status, answer) = http_request(otlp, &head, body.as_bytes());
    assert_eq!(status, 200, "{answer}");
}

/// A request with one metric of each kind; its points and exemplars are of now.
fn metrics() -> String {
    let now = seconds();
    let times = format!(r#""startTimeUnixNano":"{}000000000","timeUnixNano":"{now}000000000""#, now - 60);
    let exemplar = |value: &str| {
        format!(r#"{{"timeUnixNano":"{now}000000000","asDouble":{value},"traceId":"{TRACE_ID}","spanId":"{SPAN_ID}"}}"#)
    };
    let attributes = r#""attributes":[{"key":"http.method","value":{"stringValue":"GET \"x\"\n"}}]"#;
    let (of_counter, of_bucket, of_native) = (exemplar("7.5"), exemplar("0.07"), exemplar("1.25"));
    let metrics = [
        format!(
            r#"{{"name":"http.requests","unit":"1","description":"All requests","sum":{{"isMonotonic":true,"aggregationTemporality":2,
            "dataPoints":[{{{times},{attributes},"asInt":"41","exemplars":[{of_counter}]}}]}}}}"#
        ),
        format!(
            r#"{{"name":"room.temperature","unit":"Cel","gauge":{{"dataPoints":[{{{times},{attributes},"asDouble":-12.625}}]}}}}"#
        ),
        format!(
            r#"{{"name":"http.duration","unit":"s","description":"Durations","histogram":{{"aggregationTemporality":2,
            "dataPoints":[{{{times},{attributes},"count":"15","sum":12.5,"bucketCounts":["1","2","3","4","5"],
            "explicitBounds":[0.005,0.1,1,10],"exemplars":[{of_bucket}]}}]}}}}"#
        ),
        format!(
            r#"{{"name":"queue.time","unit":"s","exponentialHistogram":{{"aggregationTemporality":2,
            "dataPoints":[{{{times},{attributes},"count":"19","sum":30.5,"scale":3,"zeroCount":"2","zeroThreshold":0.001,
            "positive":{{"offset":-2,"bucketCounts":["1","0","3","0","0","0","4"]}},
            "negative":{{"offset":5,"bucketCounts":["9"]}},"exemplars":[{of_native}]}}]}}}}"#
        ),
        format!(
            r#"{{"name":"page.size","unit":"By","summary":{{"dataPoints":[{{{times},{attributes},"count":"8","sum":99,
            "quantileValues":[{{"quantile":0.5,"value":4}},{{"quantile":0.99,"value":11}}]}}]}}}}"#
        ),
    ];
    format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop"}}}},
        {{"key":"service.instance.id","value":{{"stringValue":"i1"}}}},{{"key":"host.name","value":{{"stringValue":"node"}}}}]}},
        "scopeMetrics":[{{"scope":{{"name":"lib","version":"1.2"}},"metrics":[{}]}}]}}]}}"#,
        metrics.join(",")
    )
}

/// The labels of a series besides those in `without`, as text.
fn labels(series: &Value, without: &[&str]) -> String {
    let all = series["metric"].as_object().unwrap();
    all.iter().filter(|(name, _)| !without.contains(&name.as_str())).map(|(k, v)| format!("{k}={v} ")).collect()
}

/// The buckets of the exponential histogram of [`metrics`]: negative ones, the zero bucket, positive ones.
fn assert_native_buckets(histogram: &Value) {
    let bound = |index: f64| (index / 8.0).exp2();
    let expected = [
        (-bound(6.0), -bound(5.0), "9"),
        (-0.001, 0.001, "2"),
        (bound(-2.0), bound(-1.0), "1"),
        (bound(0.0), bound(1.0), "3"),
        (bound(4.0), bound(5.0), "4"),
    ];
    assert_eq!((histogram["count"].as_str(), histogram["sum"].as_str()), (Some("19"), Some("30.5")), "{histogram}");
    let number = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
    let buckets = histogram["buckets"].as_array().unwrap();
    assert_eq!(buckets.len(), expected.len(), "{histogram}");
    for (bucket, (lower, upper, count)) in buckets.iter().zip(expected) {
        let is_near = |value: &Value, bound: f64| (number(value) - bound).abs() <= bound.abs() * 1e-9;
        assert!(is_near(&bucket[1], lower) && is_near(&bucket[2], upper) && bucket[3] == count, "{bucket}");
    }
}

/// What exemplars have: the ids of the span, and a value.
fn assert_one_exemplar(exemplars: &[Value], value: &str) {
    let [one] = exemplars else { panic!("{exemplars:?}") };
    assert_eq!((&one["labels"]["trace_id"], &one["labels"]["span_id"]), (&TRACE_ID.into(), &SPAN_ID.into()), "{one}");
    assert_eq!(one["value"], value, "{one}");
}

#[test]
#[ignore = "needs Prometheus 3; run by scripts/prometheus"]
fn scraped_page_of_each_format_is_returned_by_queries() {
    let dir = empty_test_dir("prometheus-scrape");
    let [page, utf8, secure] = [(); 3].map(|()| format!("127.0.0.1:{}", free_port()));
    let pki = pki::Pki::new(&dir);
    let config = format!(
        "extensions: {{basicauth/server: {{htpasswd: {{inline: 'scraper:secret'}}}}}}
receivers: {{otlp: {{protocols: {{http: {{endpoint: \"OTLP\"}}}}}}}}
exporters:
  prometheus: {{endpoint: \"{page}\", enable_open_metrics: true}}
  prometheus/utf8: {{endpoint: \"{utf8}\", enable_open_metrics: true, translation_strategy: NoTranslation}}
  prometheus/secure: {{endpoint: \"{secure}\", tls: {tls}, auth: {{authenticator: basicauth/server}}}}
service:
  extensions: [basicauth/server]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{metrics: {{receivers: [otlp], exporters: [prometheus, prometheus/utf8, prometheus/secure]}}}}
",
        tls = pki.server(true)
    );
    let (_collector, otlp) = start_collector(&dir, &config);
    post(&otlp, "/v1/metrics", &metrics());
    let job = |name: &str, format: &str, target: &str| {
        format!("{{job_name: {name}, scrape_protocols: [{format}], static_configs: [{{targets: ['{target}']}}]}}")
    };
    let mut jobs: Vec<_> = JOBS.iter().map(|(name, format)| job(name, format, &page)).collect();
    // In these two formats Prometheus takes names as they are.
    jobs.extend([
        job("text-utf8", "PrometheusText1.0.0", &utf8),
        job("open-metrics-utf8", "OpenMetricsText1.0.0", &utf8),
    ]);
    // A page with TLS, certificates of clients and a password.
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|file| pki.path(file).display().to_string());
    jobs.push(format!(
        "{{job_name: secure, scheme: https, tls_config: {{ca_file: {ca}, cert_file: {cert}, key_file: {key}}}, \
         basic_auth: {{username: scraper, password: secret}}, static_configs: [{{targets: ['{secure}']}}]}}"
    ));
    let count = jobs.len();
    let prometheus = Prometheus::start(&dir, &jobs.join(", "));

    for (job, _) in JOBS {
        let select = |name: &str| format!("{name}{{job=\"{job}\"}}");
        assert_eq!(prometheus.values(&select("http_requests_total"), 1), ["41"]);
        let [counter] = &prometheus.query(&select("http_requests_total"))[..] else { panic!("{job}") };
        assert_eq!(
            labels(counter, &["job", "instance"]),
            "__name__=\"http_requests_total\" exported_instance=\"i1\" exported_job=\"shop\" \
             http_method=\"GET \\\"x\\\"\\n\" otel_scope_name=\"lib\" otel_scope_version=\"1.2\" "
        );
        assert_eq!(prometheus.values(&select("room_temperature_celsius"), 1), ["-12.625"]);
        let buckets = prometheus.values(&select("http_duration_seconds_bucket"), 5);
        // In the order of the texts of the labels: +Inf, 0.005, 0.1, 1.0, 10.0.
        assert_eq!(buckets, ["15", "1", "3", "6", "10"], "{job}");
        let infinity = format!("http_duration_seconds_bucket{{job=\"{job}\",le=\"1.0\"}}");
        assert_eq!(prometheus.values(&infinity, 1), ["6"]);
        assert_eq!(prometheus.values(&select("http_duration_seconds_sum"), 1), ["12.5"]);
        assert_eq!(prometheus.values(&select("http_duration_seconds_count"), 1), ["15"]);
        assert_eq!(prometheus.values(&select("page_size_bytes"), 2), ["4", "11"]);
        assert_eq!(prometheus.values(&select("page_size_bytes_sum"), 1), ["99"]);
        assert_eq!(prometheus.values(&select("page_size_bytes_count"), 1), ["8"]);
        let [info] = &prometheus.query(&select("target_info"))[..] else { panic!("no target_info in {job}") };
        assert_eq!((&info["metric"]["host_name"], &info["value"][1]), (&"node".into(), &"1".into()));

        // Exponential histograms are native ones in protobuf, and have no buckets in text.
        if job == "protobuf" {
            assert_native_buckets(&prometheus.native(&select("queue_time_seconds")));
            assert_eq!(prometheus.query(&select("queue_time_seconds_bucket")).len(), 0);
        } else {
            assert_eq!(prometheus.values(&select("queue_time_seconds_bucket"), 1), ["19"]);
            assert_eq!(prometheus.values(&select("queue_time_seconds_sum"), 1), ["30.5"]);
            assert_eq!(prometheus.query(&select("queue_time_seconds")).len(), 0);
        }

        let exemplars = |name: &str| prometheus.exemplars(&select(name));
        if job == "text" {
            assert!(exemplars("http_requests_total").is_empty());
        } else {
            assert_one_exemplar(&exemplars("http_requests_total"), "7.5");
            assert_one_exemplar(&exemplars("http_duration_seconds_bucket"), "0.07");
        }
        if job == "protobuf" {
            assert_one_exemplar(&exemplars("queue_time_seconds"), "1.25");
        }

        // OpenMetrics names the family of a counter without its suffix.
        let family = if job == "open-metrics" { "http_requests" } else { "http_requests_total" };
        for (name, kind, help) in [
            (family, "counter", "All requests"),
            ("http_duration_seconds", "histogram", "Durations"),
            ("room_temperature_celsius", "gauge", ""),
            ("page_size_bytes", "summary", ""),
            ("queue_time_seconds", "histogram", ""),
        ] {
            let path = format!(
                "/api/v1/targets/metadata?match_target={}&metric={name}",
                escape(&format!("{{job=\"{job}\"}}"))
            );
            let found = prometheus.get(&path).unwrap();
            assert_eq!((&found[0]["type"], &found[0]["help"]), (&kind.into(), &help.into()), "{job} {name}: {found}");
        }

        println!("{job}: values, labels, exemplars and metadata are those that were sent");
    }
    for job in ["text-utf8", "open-metrics-utf8"] {
        let select = |name: &str| format!("{{\"{name}\",job=\"{job}\",\"http.method\"=~\"GET.*\"}}");
        assert_eq!(prometheus.values(&select("http.requests"), 1), ["41"]);
        assert_eq!(prometheus.values(&select("http.duration_bucket"), 5), ["15", "1", "3", "6", "10"]);
        println!("{job}: names are those that were sent");
    }
    assert_eq!(prometheus.values("http_requests_total{job=\"secure\"}", 1), ["41"]);
    assert_eq!(prometheus.values("up", count), vec!["1"; count]);
    let targets = prometheus.get("/api/v1/targets").unwrap();
    for target in targets["activeTargets"].as_array().unwrap() {
        assert_eq!(target["lastError"], "", "{target}");
    }
    let log = prometheus.process.log_text();
    assert!(!log.contains("level=WARN") && !log.contains("level=ERROR"), "{log}");
}

#[test]
#[ignore = "needs Prometheus 3; run by scripts/prometheus"]
fn metrics_of_spans_are_scraped_with_native_histograms_and_exemplars() {
    let dir = empty_test_dir("prometheus-span-metrics");
    let page = format!("127.0.0.1:{}", free_port());
    let config = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"OTLP\"}}}}}}}}
connectors:
  span_metrics: {{metrics_flush_interval: 4s, histogram: {{exponential: {{max_size: 160}}, unit: s}}, exemplars: {{enabled: true}}}}
exporters: {{prometheus: {{endpoint: \"{page}\"}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [span_metrics]}}
    metrics: {{receivers: [span_metrics], exporters: [prometheus]}}
"
    );
    let (_collector, otlp) = start_collector(&dir, &config);
    let now = seconds();
    let span = |i: u32, millis: u32| {
        format!(
            r#"{{"traceId":"{TRACE_ID}","spanId":"{i:016x}","name":"GET /","kind":2,"startTimeUnixNano":"{now}000000000","endTimeUnixNano":"{now}{millis:03}000000"}}"#
        )
    };
    let spans: Vec<_> = (0..20).map(|i| span(i + 1, 10 + i * 30)).collect();
    let body = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop"}}}}]}},
        "scopeSpans":[{{"spans":[{}]}}]}}]}}"#,
        spans.join(",")
    );
    let jobs =
        format!("{{job_name: spans, scrape_protocols: [PrometheusProto], static_configs: [{{targets: ['{page}']}}]}}");
    let prometheus = Prometheus::start(&dir, &jobs);
    // Exemplars are on the page until the next export.
    post(&otlp, "/v1/traces", &body);
    let select =
        |name: &str| format!("{name}{{span_name=\"GET /\",span_kind=\"SPAN_KIND_SERVER\",exported_job=\"shop\"}}");
    // The first export begins the series at zero.
    let calls = select("traces_span_metrics_calls_total");
    prometheus.wait("20 calls", || prometheus.query(&calls).first().is_some_and(|one| one["value"][1] == "20"));
    let histogram = prometheus.native(&select("traces_span_metrics_duration_seconds"));
    assert_eq!(histogram["count"], "20", "{histogram}");
    let sum: f64 = histogram["sum"].as_str().unwrap().parse().unwrap();
    // 20 times 10 ms, and 30 ms for each number from 0 to 19.
    assert!((sum - 5.9).abs() < 1e-9, "{sum}");
    let counts =
        histogram["buckets"].as_array().unwrap().iter().map(|b| b[3].as_str().unwrap().parse::<u32>().unwrap());
    assert_eq!(counts.sum::<u32>(), 20);
    prometheus.wait("exemplars", || !prometheus.exemplars(&select("traces_span_metrics_duration_seconds")).is_empty());
    let exemplars = prometheus.exemplars(&select("traces_span_metrics_duration_seconds"));
    assert!(exemplars.iter().all(|one| one["labels"]["trace_id"] == TRACE_ID), "{exemplars:?}");
    println!("span_metrics: {} exemplars of a native histogram of 20 spans", exemplars.len());
}

#[test]
#[ignore = "needs Prometheus 3; run by scripts/prometheus"]
fn pushed_metrics_of_both_protocols_are_returned_by_queries() {
    let dir = empty_test_dir("prometheus-remote-write");
    let prometheus = Prometheus::start(&dir, "");
    let exporter = |name: &str, message: &str| {
        format!(
            "  prometheus_remote_write/{name}: {{endpoint: \"http://{}/api/v1/write\", external_labels: {{version: {name}}}, \
             protobuf_message: {message}}}\n",
            prometheus.address
        )
    };
    let config = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"OTLP\"}}}}}}}}
exporters:
{}{}service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{metrics: {{receivers: [otlp], exporters: [prometheus_remote_write/one, prometheus_remote_write/two]}}}}
",
        exporter("one", "prometheus.WriteRequest"),
        exporter("two", "io.prometheus.write.v2.Request")
    );
    let (collector, otlp) = start_collector(&dir, &config);
    post(&otlp, "/v1/metrics", &metrics());
    for version in ["one", "two"] {
        let select = |name: &str| format!("{name}{{version=\"{version}\"}}");
        assert_eq!(prometheus.values(&select("http_requests_total"), 1), ["41"]);
        let [counter] = &prometheus.query(&select("http_requests_total"))[..] else { panic!("{version}") };
        assert_eq!((&counter["metric"]["job"], &counter["metric"]["instance"]), (&"shop".into(), &"i1".into()));
        assert_eq!(counter["metric"]["http_method"], "GET \"x\"\n");
        assert_eq!(prometheus.values(&select("room_temperature_celsius"), 1), ["-12.625"]);
        assert_eq!(prometheus.values(&select("http_duration_seconds_bucket"), 5), ["15", "1", "3", "6", "10"]);
        assert_eq!(prometheus.values(&select("http_duration_seconds_sum"), 1), ["12.5"]);
        assert_eq!(prometheus.values(&select("page_size_bytes"), 2), ["4", "11"]);
        assert_eq!(prometheus.values(&select("page_size_bytes_count"), 1), ["8"]);
        assert_native_buckets(&prometheus.native(&select("queue_time_seconds")));
        assert_eq!(prometheus.query(&select("target_info"))[0]["metric"]["host_name"], "node");
        for (name, value) in
            [("http_requests_total", "7.5"), ("http_duration_seconds_bucket", "0.07"), ("queue_time_seconds", "1.25")]
        {
            prometheus.wait(&format!("an exemplar of {name}"), || {
                let is_there = !prometheus.exemplars(&select(name)).is_empty();
                if !is_there {
                    // Version 1 of the receiver takes no exemplar before the first histogram of a series.
                    post(&otlp, "/v1/metrics", &metrics());
                }
                is_there
            });
            assert_one_exemplar(&prometheus.exemplars(&select(name)), value);
        }
        println!("remote write, version {version}: values, native histograms and exemplars are those that were sent");
    }
    let log = collector.log_text();
    assert!(!log.contains("warn") && !log.contains("error"), "{log}");
}
