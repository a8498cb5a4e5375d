//! The rows: the load of each, its programs, and what they are compared with.

use crate::programs::{self, BenchPorts, Program};
use crate::{run, table, telemetry};

/// The protocol that carries OTLP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OtlpProtocol {
    Grpc,
    Http,
}

impl OtlpProtocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }
}

/// Protocol and coding of a forwarding row, the same in and out, and whether it has `batch`.
#[derive(Clone, Copy)]
pub(crate) struct ForwardingRow {
    pub(crate) protocol: OtlpProtocol,
    pub(crate) coding: &'static str,
    pub(crate) batch: bool,
}

/// What is sent.
#[derive(Clone, Copy)]
pub(crate) enum RowLoad {
    /// Requests, each sent when an earlier one has its response, four of them in flight.
    Requests {
        wire: OtlpProtocol,
        coding: &'static str,
        signal: &'static str,
        items: u32,
        requests: u64,
        sink: Option<OtlpProtocol>,
        /// Where only a share is passed on: the load has ended when nothing has arrived for so many milliseconds.
        quiet_millis: Option<u64>,
    },
    /// Whole traces, 12 in each request, that stay in memory.
    Held { requests: u64 },
    /// Connections that exchange SETTINGS and then send nothing.
    Idle { connections: u64 },
    /// Connections with a small request in flight each, next to one with large requests.
    Active { connections: u64, millis: u64, large_items: u32 },
    /// An application with an SDK makes spans at a constant rate per second, and exports them to a collector.
    App { spans: u64, rate: u64 },
    /// A program in C submits requests to the collector inside it, and gets them back through its callback.
    Submit { items: u32, requests: u64 },
}

/// One load and its programs; the first is ours.
pub(crate) struct BenchRow {
    pub(crate) name: &'static str,
    description: &'static str,
    pub(crate) load: RowLoad,
    pub(crate) programs: Vec<Program>,
    pub(crate) target: &'static str,
    /// The row with the same transport and no processor, with which it is compared.
    pub(crate) without: Option<&'static str>,
}

/// Requests of 100 items over gRPC without compression, to a sink of the same kind or to none.
fn grpc_requests(signal: &'static str, requests: u64, to_sink: bool) -> RowLoad {
    let (wire, sink) = (OtlpProtocol::Grpc, to_sink.then_some(OtlpProtocol::Grpc));
    RowLoad::Requests { wire, coding: "none", signal, items: 100, requests, sink, quiet_millis: None }
}

fn jaeger_row(ports: BenchPorts, name: &'static str, items: u32, requests: u64, bar: &'static str) -> BenchRow {
    let (coding, sink) = ("none", Some(OtlpProtocol::Grpc));
    let (wire, signal) = (OtlpProtocol::Grpc, "traces");
    let load = RowLoad::Requests { wire, coding, signal, items, requests, sink, quiet_millis: None };
    let (description, programs) = ("OTLP -> batch -> Jaeger", programs::jaeger(ports));
    BenchRow { name, description, load, programs, target: bar, without: None }
}

fn row_without_sink(name: &'static str, signal: &'static str, programs: Vec<Program>, bar: &'static str) -> BenchRow {
    let what = match signal {
        "metrics" => "OTLP -> Prometheus, known series",
        telemetry::SERIES => "OTLP -> span_metrics, four dimensions, 10,000 series",
        _ => "OTLP -> nop",
    };
    let without = (signal == telemetry::SERIES).then_some("nop-100");
    BenchRow { name, description: what, load: grpc_requests(signal, 10_000, false), programs, target: bar, without }
}

const SET_TARGET: &str = "0.15 s added, 0.85 of the ratio without";
const SET: &str = r#"{trace_statements: ['set(span.attributes["deployment.environment.name"], "production")']}"#;
const SET_WITH_CONDITIONS: &str = r#"{trace_statements: ['set(span.attributes["app.read"], true) where span.kind == SPAN_KIND_SERVER and span.attributes["http.request.method"] == "GET" and span.attributes["url.scheme"] == "https"']}"#;
const REPLACE_PATTERN: &str =
    r#"{trace_statements: ['replace_pattern(span.attributes["url.path"], "/[0-9A-F]{10}/", "/{id}/")']}"#;
/// A fourth of the spans has this method, a fifth this route.
const FILTER: &str = r#"{traces: {span: ['attributes["http.request.method"] != "PUT" or attributes["http.route"] != "/api/v1/checkout/{id}/shipping/quotes"']}}"#;

/// The settings of tail sampling with five policies; `wait` is the time until a decision.
fn tail_sampling(wait: &str) -> String {
    format!(
        "{{decision_wait: {wait}, num_traces: 150000, policies: [\
         {{name: errors, type: status_code, status_code: {{status_codes: [ERROR]}}}}, \
         {{name: slow, type: latency, latency: {{threshold_ms: 27}}}}, \
         {{name: clients, type: string_attribute, string_attribute: {{key: client.address, values: ['10\\.42\\.7\\..*'], enabled_regex_matching: true}}}}, \
         {{name: share, type: probabilistic, probabilistic: {{sampling_percentage: 5}}}}, \
         {{name: slow-gold, type: and, and: {{and_sub_policy: [\
         {{name: gold, type: string_attribute, string_attribute: {{key: app.user.tier, values: [gold]}}}}, \
         {{name: slower, type: latency, latency: {{threshold_ms: 26}}}}]}}}}]}}"
    )
}

/// Rows of processors between the same two ends as in `forward-grpc-none`.
fn processor_rows(ports: BenchPorts) -> Vec<BenchRow> {
    let row = |name, description, load, (processor, settings): (&str, &str), target| {
        let batch = processor == "tail_sampling";
        let programs = programs::process(ports, processor, settings, batch);
        let without = Some(if batch { "forward-grpc-none-batch" } else { "forward-grpc-none" });
        BenchRow { name, description, load, programs, target, without }
    };
    let all = grpc_requests("traces", 10_000, true);
    let insert = ("attributes", "{actions: [{key: deployment.environment.name, value: production, action: insert}]}");
    let ratio = "0.85 of the ratio without";
    vec![
        row("attributes-insert", "OTLP -> attributes, one insert -> OTLP", all, insert, SET_TARGET),
        row("transform-set", "OTLP -> transform, set -> OTLP", all, ("transform", SET), SET_TARGET),
        row(
            "transform-set-3",
            "OTLP -> transform, set with three conditions -> OTLP",
            all,
            ("transform", SET_WITH_CONDITIONS),
            SET_TARGET,
        ),
        row(
            "transform-replace-pattern",
            "OTLP -> transform, replace_pattern -> OTLP",
            all,
            ("transform", REPLACE_PATTERN),
            "0.5 s added, 0.85 of the ratio without",
        ),
        row("filter-95", "OTLP -> filter, drops 95 % -> OTLP", all.quiet_after(500), ("filter", FILTER), ratio),
        row(
            "tail-sampling",
            "OTLP -> tail_sampling, five policies -> batch -> OTLP",
            // A decision is due after a second, and made within another.
            grpc_requests(telemetry::NEW_TRACES, 4000, true).quiet_after(3500),
            ("tail_sampling", &tail_sampling("1s")),
            ratio,
        ),
        row(
            "tail-sampling-memory",
            "100,000 traces of eight spans held by tail_sampling",
            RowLoad::Held { requests: 8334 },
            ("tail_sampling", &tail_sampling("300s")),
            "a third of Go's memory",
        ),
    ]
}

fn forwarding_row(
    ports: BenchPorts,
    name: &'static str,
    protocol: OtlpProtocol,
    coding: &'static str,
    batch: bool,
    bar: &'static str,
) -> BenchRow {
    let requests = match coding {
        "none" => 10_000,
        "zstd" => 6000,
        _ => 3000,
    };
    let (signal, sink) = ("traces", Some(protocol));
    let load = RowLoad::Requests { wire: protocol, coding, signal, items: 100, requests, sink, quiet_millis: None };
    let programs = programs::forward(ports, &ForwardingRow { protocol, coding, batch });
    let what = if batch { "OTLP -> batch -> OTLP" } else { "OTLP -> OTLP" };
    BenchRow { name, description: what, load, programs, target: bar, without: None }
}

fn library_row(name: &'static str, description: &'static str, requests: u64, programs: Vec<Program>) -> BenchRow {
    let load = grpc_requests("traces", requests, false);
    BenchRow { name, description, load, programs, target: "", without: None }
}

fn app_row(ports: BenchPorts, name: &'static str, spans: u64, rate: u64, app: programs::App) -> BenchRow {
    let what = "SDK -> OTLP over gRPC, or in process -> batch -> OTLP";
    let bar = "an added cost far under that of a collector beside";
    BenchRow {
        name,
        description: what,
        load: RowLoad::App { spans, rate },
        programs: programs::apps(ports, app),
        target: bar,
        without: None,
    }
}

fn submit_row(name: &'static str, items: u32, requests: u64) -> BenchRow {
    let (what, load) = ("submit in C -> inproc -> callback", RowLoad::Submit { items, requests });
    BenchRow { name, description: what, load, programs: programs::submit(), target: "", without: None }
}

fn rows(ports: BenchPorts) -> Vec<BenchRow> {
    use OtlpProtocol::{Grpc, Http};
    let jaeger = |name, items, requests, bar| jaeger_row(ports, name, items, requests, bar);
    let forward = |name, wire, coding, batch, bar| forwarding_row(ports, name, wire, coding, batch, bar);
    let both = vec![programs::library("check", "walk"), programs::library("prost", "prost")];
    let mut rows = vec![
        jaeger("jaeger-100", 100, 8000, "a tenth of the CPU, peak under 40 MB"),
        jaeger("jaeger-512", 512, 2000, ""),
        jaeger("jaeger-10", 10, 40_000, ""),
        row_without_sink("prometheus-100", "metrics", programs::prometheus(ports), "a sixth of the CPU"),
        row_without_sink("nop-100", "traces", programs::nop(ports), ""),
        row_without_sink(
            "span_metrics",
            telemetry::SERIES,
            programs::span_metrics(ports),
            "0.85 of the ratio of `nop-100`",
        ),
        forward("forward-grpc-none", Grpc, "none", false, ""),
        forward("forward-grpc-none-batch", Grpc, "none", true, "2.2 times the relay, a tenth of Go's CPU"),
        forward("forward-grpc-gzip", Grpc, "gzip", false, "1.15 times the calls alone, no more bytes than Go"),
        forward("forward-grpc-zstd", Grpc, "zstd", false, ""),
        forward("forward-http-none", Http, "none", false, "no more than over gRPC"),
        forward("forward-http-none-batch", Http, "none", true, "no more than over gRPC"),
        forward("forward-http-gzip", Http, "gzip", false, "1.15 times the calls alone, no more bytes than Go"),
        forward("forward-http-zstd", Http, "zstd", false, ""),
        library_row("walk", "the validating walk beside decoding", 50_000, both),
        library_row("coding-gzip", "one inflate and one deflate", 3000, vec![programs::library("flate2", "gzip")]),
        library_row("coding-zstd", "one inflate and one deflate", 6000, vec![programs::library("zstd", "zstd")]),
        BenchRow {
            name: "idle-connections",
            description: "idle gRPC connections",
            load: RowLoad::Idle { connections: 10_000 },
            programs: programs::nop(ports),
            target: "",
            without: None,
        },
        BenchRow {
            name: "active-connections",
            description: "busy gRPC connections beside one with 4 MB requests",
            load: RowLoad::Active { connections: 1000, millis: 10_000, large_items: 6000 },
            programs: programs::nop(ports),
            target: "",
            without: None,
        },
        app_row(ports, "app-go", 400_000, 20_000, programs::App::Go),
        app_row(ports, "app-python", 80_000, 4000, programs::App::Python),
        submit_row("c-submit-1", 1, 1_000_000),
        submit_row("c-submit-100", 100, 200_000),
        submit_row("c-submit-1000", 1000, 20_000),
    ];
    // Behind the rows without a processor, with which they are compared.
    rows.extend(processor_rows(ports));
    rows
}

impl RowLoad {
    /// The same requests, of which only a share is passed on.
    fn quiet_after(mut self, millis: u64) -> Self {
        if let Self::Requests { quiet_millis, .. } = &mut self {
            *quiet_millis = Some(millis);
        }
        self
    }

    /// The same load at the size of a smoke test.
    fn quick(self) -> Self {
        match self {
            Self::Requests { requests, wire, coding, signal, items, sink, quiet_millis } => {
                let requests = (requests / 100).max(20);
                Self::Requests { requests, wire, coding, signal, items, sink, quiet_millis }
            }
            Self::Held { requests } => Self::Held { requests: requests / 100 },
            Self::Idle { .. } => Self::Idle { connections: 50 },
            Self::Active { .. } => Self::Active { connections: 20, millis: 500, large_items: 1000 },
            Self::App { rate, .. } => Self::App { spans: 4096, rate },
            Self::Submit { items, requests } => Self::Submit { items, requests: (requests / 100).max(32) },
        }
    }
}

/// The options of a run.
pub(crate) struct BenchOptions {
    pub(crate) ports: BenchPorts,
    /// The number of rounds of every row, each of them with every program; the median is the result.
    repeat: usize,
    pub(crate) quick: bool,
    /// This build's own collector is used instead of the release binary.
    pub(crate) own: bool,
    /// Prefixes of programs or rows; empty means all.
    only: Vec<String>,
    rows: Vec<String>,
    mode: BenchMode,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BenchMode {
    Rows,
    Stall,
    Overload,
}

impl BenchOptions {
    /// Whether a row of the stall meter or a cell of the overload bench is selected for `program`.
    pub(crate) fn is_selected(&self, name: &str, program: &str) -> bool {
        let only = |begin: &String| name.starts_with(begin.as_str()) || program.starts_with(begin.as_str());
        (self.only.is_empty() || self.only.iter().any(only))
            && (self.rows.is_empty() || self.rows.iter().any(|row| row == name))
    }

    fn parse(args: &[String]) -> Result<Self, String> {
        let (ports, only, rows) = (BenchPorts::starting_at(24317), Vec::new(), Vec::new());
        let mut options = Self { ports, repeat: 1, quick: false, own: false, only, rows, mode: BenchMode::Rows };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
            match arg.as_str() {
                "--repeat" => options.repeat = value()?.parse().map_err(|e| format!("--repeat: {e}"))?,
                "--only" => options.only.push(value()?.clone()),
                "--port" => {
                    options.ports = BenchPorts::starting_at(value()?.parse().map_err(|e| format!("--port: {e}"))?)
                }
                "--quick" => options.quick = true,
                "--own" => options.own = true,
                "--stall" => options.mode = BenchMode::Stall,
                "--overload" => options.mode = BenchMode::Overload,
                flag if flag.starts_with('-') => {
                    return Err(format!(
                        "no flag {flag}: --stall, --overload, --repeat N, --only PROGRAM or ROW, --port N, --quick, --own, ROW ..."
                    ));
                }
                _ => options.rows.push(arg.clone()),
            }
        }
        Ok(options)
    }
}

/// `[--stall | --overload] [--repeat N] [--only PROGRAM|ROW] [--port N] [--quick] [--own] [ROW ...]`
pub(crate) fn main(args: &[String]) -> Result<(), String> {
    let options = BenchOptions::parse(args)?;
    crate::measure::raise_descriptor_limit();
    if options.mode == BenchMode::Rows {
        return run_rows(&options);
    }
    let dir = std::env::temp_dir().join(format!("otelcore-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    let result = if options.mode == BenchMode::Stall {
        crate::stall::main(&options, &dir)
    } else {
        crate::overload::main(&options, &dir)
    };
    let _ = std::fs::remove_dir_all(&dir);
    result
}

fn run_rows(options: &BenchOptions) -> Result<(), String> {
    let all = rows(options.ports);
    if let Some(name) = options.rows.iter().find(|name| all.iter().all(|row| row.name != name.as_str())) {
        let names: Vec<&str> = all.iter().map(|row| row.name).collect();
        return Err(format!("no row {name}; there are {}", names.join(", ")));
    }
    let dir = std::env::temp_dir().join(format!("otelcore-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    let mut tables = table::Tables::default();
    let mut failed = 0;
    for mut row in all {
        if !(options.rows.is_empty() || options.rows.iter().any(|name| name == row.name)) {
            continue;
        }
        let only =
            |name: &str| options.only.is_empty() || options.only.iter().any(|begin| name.starts_with(begin.as_str()));
        if !only(row.name) {
            row.programs.retain(|program| only(program.name));
        }
        if row.programs.is_empty() {
            continue;
        }
        if options.quick {
            row.load = row.load.quick();
        }
        eprintln!("{}: {}", row.name, row.description);
        let mut scores: Vec<Vec<Vec<f64>>> = row.programs.iter().map(|_| Vec::new()).collect();
        // Programs run alternately, so that a change in the machine's speed affects all of them.
        for round in 0..options.repeat {
            for (program, scores) in row.programs.iter().zip(&mut scores) {
                if let Some(binary) = program.launch.missing(options.own) {
                    if round == 0 {
                        eprintln!("  {} is missing: {}{}", program.name, binary.display(), program.launch.hint());
                    }
                    continue;
                }
                match run::run_row(&row, program, options, &dir) {
                    Ok(score) => scores.push(score),
                    Err(e) => {
                        failed += 1;
                        eprintln!("  {}: {e}", program.name);
                    }
                }
            }
        }
        tables.add(&row, &scores);
    }
    let _ = std::fs::remove_dir_all(&dir);
    println!("{}", tables.finish());
    if failed > 0 { Err(format!("{failed} failed")) } else { Ok(()) }
}
