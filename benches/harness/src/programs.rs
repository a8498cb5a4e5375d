//! The measured programs: our binary, other collectors and the lower bounds, each with its configuration.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::rows::{ForwardingRow, OtlpProtocol};

/// Four consecutive ports of this machine.
#[derive(Clone, Copy)]
pub(crate) struct BenchPorts {
    /// Where collectors listen.
    pub(crate) otlp: u16,
    pub(crate) sink: u16,
    /// The page of the Prometheus exporter.
    page: u16,
    /// For a receiver that cannot be turned off.
    unused: u16,
}

impl BenchPorts {
    /// Ports from `first` on, which is below the ports that the system assigns to clients.
    pub(crate) fn starting_at(first: u16) -> Self {
        Self { otlp: first, sink: first + 1, page: first + 2, unused: first + 3 }
    }
}

/// A measured program of one row.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) launch: Launch,
    /// The figures of the other programs are compared with those of this one, besides ours.
    pub(crate) is_lower_bound: bool,
}

/// How a program is started.
pub(crate) enum Launch {
    /// Our binary with a configuration.
    Ours(String),
    /// A Go collector of that version with a configuration.
    Go(&'static str, String),
    /// Rotel, which is configured by flags.
    Rotel(Vec<String>),
    /// Our byte relay.
    Relay,
    /// Calls of a library alone, by the name that the command `alone` takes.
    Library(&'static str),
    /// An application with an SDK, and where its spans go.
    App(App, SpanDestination),
    /// The program in C, by the way that its collector runs.
    Submit(&'static str),
}

/// The language of an application.
#[derive(Clone, Copy)]
pub(crate) enum App {
    Go,
    Python,
}

/// Where the spans of an application go.
pub(crate) enum SpanDestination {
    /// To no collector, through an exporter that does nothing (`none`), or that encodes them (`encode`).
    NoCollector(&'static str),
    /// Over gRPC to a collector next to it.
    SeparateCollector(Box<Launch>),
    /// To the collector inside it, with this configuration.
    InProcess(String),
}

/// The folder of the applications that `benches/apps/build` builds: next to the folder of this binary.
fn app_path(name: &str) -> PathBuf {
    let built = || own_binary().ancestors().nth(2).unwrap_or_else(|| Path::new("target")).join("bench-apps");
    path_from_env("OTELCORE_BENCH_APPS", built).join(name)
}

/// The binary of the image, as `scripts/image` builds it into the same target directory.
fn image_binary() -> PathBuf {
    let target = own_binary().ancestors().nth(2).unwrap_or_else(|| Path::new("target")).to_owned();
    target.join(format!("{}-unknown-linux-musl/dist/otelcore", std::env::consts::ARCH))
}

/// Our collector: the image's binary, or with `own` this binary.
pub(crate) fn our_binary(own: bool) -> PathBuf {
    if own { own_binary() } else { path_from_env("OTELCORE", image_binary) }
}

fn path_from_env(variable: &str, default: impl FnOnce() -> PathBuf) -> PathBuf {
    std::env::var_os(variable).map_or_else(default, PathBuf::from)
}

fn own_binary() -> PathBuf {
    std::env::current_exe().unwrap_or_default()
}

impl Launch {
    /// The path of the binary, which may be missing.
    pub(crate) fn binary(&self, own: bool) -> PathBuf {
        let tool_path = |name: String| {
            let candidates = ["benches/collectors/bin", "tests/tools/bin"].map(|place| Path::new(place).join(&name));
            candidates.iter().find(|binary| binary.is_file()).unwrap_or(&candidates[0]).clone()
        };
        match self {
            Self::Ours(_) => our_binary(own),
            Self::Relay | Self::Library(_) => own_binary(),
            Self::Go(version, _) => path_from_env(&format!("OTELCOL_{}", version.replace('.', "_")), || {
                tool_path(format!("otelcol-{version}"))
            }),
            Self::Rotel(_) => path_from_env("ROTEL", || tool_path("rotel-agent".to_owned())),
            Self::App(App::Go, _) => app_path("app-go"),
            Self::App(App::Python, _) => app_path("python/bin/python"),
            Self::Submit(_) => app_path("c-submit"),
        }
    }

    /// The missing file, if any.
    pub(crate) fn missing(&self, own: bool) -> Option<PathBuf> {
        let collector = match self {
            Self::App(_, SpanDestination::SeparateCollector(collector)) => collector.missing(own),
            _ => None,
        };
        collector.or_else(|| Some(self.binary(own)).filter(|binary| !binary.is_file()))
    }

    /// How to make the missing file, if a script of ours makes it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::App(App::Go, _) => "; run benches/apps/build go (and scripts/tools for the Go collector)",
            Self::App(App::Python, _) => "; run benches/apps/build python (and scripts/tools for the Go collector)",
            Self::Submit(_) => "; run benches/apps/build c",
            Self::Ours(_) => "; run scripts/image DIR",
            Self::Go("0.155", _) => "; run scripts/tools",
            _ => "",
        }
    }

    /// The process, pinned to the collectors' core. With `own` this build's collector is used as ours.
    pub(crate) fn command(&self, own: bool, ports: BenchPorts, dir: &Path) -> Result<Command, String> {
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(self.binary(own));
        match self {
            Self::Ours(config) | Self::Go(_, config) => {
                if own && matches!(self, Self::Ours(_)) {
                    command.arg("collector");
                }
                let path = dir.join("config.yaml");
                std::fs::write(&path, config).map_err(|e| e.to_string())?;
                command.arg(format!("--config={}", path.display()));
                if matches!(self, Self::Ours(_)) {
                    // Shorter than the time limit of the overload bench.
                    command.arg("--shutdown-timeout=8s");
                }
            }
            Self::Rotel(args) => drop(command.args(args)),
            Self::Relay => drop(command.args(["relay", &ports.otlp.to_string(), &ports.sink.to_string()])),
            Self::Library(library) => drop(command.args(["alone", library])),
            Self::App(app, destination) => {
                if matches!(app, App::Python) {
                    command.arg("benches/apps/python/app.py");
                }
                match destination {
                    SpanDestination::NoCollector(exporter) => drop(command.args([exporter, "-"])),
                    SpanDestination::SeparateCollector(_) => {
                        command.arg("grpc").arg(format!("127.0.0.1:{}", ports.otlp));
                    }
                    SpanDestination::InProcess(config) => {
                        let path = dir.join("inside.yaml");
                        std::fs::write(&path, config).map_err(|e| e.to_string())?;
                        command.arg("inproc").arg(path);
                    }
                }
            }
            Self::Submit(way) => drop(command.arg(way)),
        }
        let log = std::fs::File::create(dir.join("log")).map_err(|e| e.to_string())?;
        command.env("GOMAXPROCS", "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(command)
    }
}

/// A configuration with one pipeline of one exporter.
fn collector_config(
    ports: BenchPorts,
    protocol: OtlpProtocol,
    exporter: &str,
    name: &str,
    signal: &str,
    processors: &str,
) -> String {
    let (protocol, port) = (protocol.name(), ports.otlp);
    let section = if processors.is_empty() { "" } else { "processors: {batch: }\n" };
    format!(
        "receivers: {{otlp: {{protocols: {{{protocol}: {{endpoint: \"127.0.0.1:{port}\"}}}}}}}}\n{section}exporters:\n  {name}: {exporter}\nservice:\n  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}\n  pipelines: {{{signal}: {{receivers: [otlp], processors: [{processors}], exporters: [{name}]}}}}\n"
    )
}

fn ours_and_go(config: String, version: &'static str) -> Vec<Program> {
    let go = if version == "0.85" { "Go 0.85" } else { "Go 0.155" };
    vec![
        Program { name: "otelcore", launch: Launch::Ours(config.clone()), is_lower_bound: false },
        Program { name: go, launch: Launch::Go(version, config), is_lower_bound: false },
    ]
}

/// OTLP over gRPC to Jaeger's collector, with `batch`.
pub(crate) fn jaeger(ports: BenchPorts) -> Vec<Program> {
    let exporter = format!("{{endpoint: \"127.0.0.1:{}\", tls: {{insecure: true}}}}", ports.sink);
    ours_and_go(collector_config(ports, OtlpProtocol::Grpc, &exporter, "jaeger", "traces", "batch"), "0.85")
}

/// OTLP over gRPC to a Prometheus page.
pub(crate) fn prometheus(ports: BenchPorts) -> Vec<Program> {
    let exporter = format!("{{endpoint: \"127.0.0.1:{}\"}}", ports.page);
    ours_and_go(collector_config(ports, OtlpProtocol::Grpc, &exporter, "prometheus", "metrics", ""), "0.155")
}

/// OTLP over gRPC to an exporter that drops everything.
pub(crate) fn nop(ports: BenchPorts) -> Vec<Program> {
    ours_and_go(collector_config(ports, OtlpProtocol::Grpc, "", "nop", "traces", ""), "0.155")
}

/// OTLP over gRPC to `span_metrics` with four dimensions, whose metrics are dropped.
pub(crate) fn span_metrics(ports: BenchPorts) -> Vec<Program> {
    let port = ports.otlp;
    ours_and_go(
        format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: \"127.0.0.1:{port}\"}}}}}}}}\nexporters: {{nop: }}\nconnectors:\n  span_metrics:\n    dimensions: [{{name: http.request.method}}, {{name: http.route}}, {{name: app.user.tier}}, {{name: client.address}}]\n    metrics_flush_interval: 15s\nservice:\n  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}\n  pipelines:\n    traces: {{receivers: [otlp], exporters: [span_metrics]}}\n    metrics: {{receivers: [span_metrics], exporters: [nop]}}\n"
        ),
        "0.155",
    )
}

/// OTLP over gRPC to a processor, with `batch` behind it if `batch`, to OTLP over gRPC. `settings` are the processor's, in
/// one line.
pub(crate) fn process(ports: BenchPorts, processor: &str, settings: &str, batch: bool) -> Vec<Program> {
    let (port, sink) = (ports.otlp, ports.sink);
    let (section, batch) = if batch { ("batch: \n  ", ", batch") } else { ("", "") };
    ours_and_go(
        format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: \"127.0.0.1:{port}\"}}}}}}}}\nprocessors:\n  {section}{processor}: {settings}\nexporters:\n  otlp_grpc: {{endpoint: \"127.0.0.1:{sink}\", tls: {{insecure: true}}, compression: none}}\nservice:\n  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}\n  pipelines: {{traces: {{receivers: [otlp], processors: [{processor}{batch}], exporters: [otlp_grpc]}}}}\n"
        ),
        "0.155",
    )
}

/// OTLP to OTLP, with the same protocol in and out.
pub(crate) fn forward(ports: BenchPorts, f: &ForwardingRow) -> Vec<Program> {
    let ForwardingRow { protocol: wire, coding, batch } = *f;
    let (name, endpoint) = match wire {
        OtlpProtocol::Grpc => ("otlp_grpc", format!("127.0.0.1:{}", ports.sink)),
        OtlpProtocol::Http => ("otlp_http", format!("http://127.0.0.1:{}", ports.sink)),
    };
    let exporter = format!("{{endpoint: \"{endpoint}\", tls: {{insecure: true}}, compression: {coding}}}");
    let mut programs = ours_and_go(
        collector_config(ports, wire, &exporter, name, "traces", if batch { "batch" } else { "" }),
        "0.155",
    );
    if coding != "zstd" {
        // 0.0.1a15 sends gzip whatever its flags are.
        let name = if coding == "none" { "rotel, gzip out" } else { "rotel" };
        programs.push(Program { name, launch: Launch::Rotel(rotel(ports, f)), is_lower_bound: false });
    }
    programs.push(match coding {
        "none" => Program { name: "relay", launch: Launch::Relay, is_lower_bound: true },
        coding => Program { name: "calls alone", launch: Launch::Library(coding), is_lower_bound: true },
    });
    programs
}

fn rotel(ports: BenchPorts, f: &ForwardingRow) -> Vec<String> {
    let (grpc, http) = match f.protocol {
        OtlpProtocol::Grpc => (ports.otlp, ports.unused),
        OtlpProtocol::Http => (ports.unused, ports.otlp),
    };
    let mut args = vec!["start".to_owned()];
    for (flag, value) in [
        ("otlp-grpc-endpoint", format!("127.0.0.1:{grpc}")),
        ("otlp-http-endpoint", format!("127.0.0.1:{http}")),
        ("exporter", "otlp".to_owned()),
        ("otlp-exporter-endpoint", format!("http://127.0.0.1:{}", ports.sink)),
        ("otlp-exporter-protocol", f.protocol.name().to_owned()),
        ("otlp-exporter-compression", f.coding.to_owned()),
    ] {
        args.extend([format!("--{flag}"), value]);
    }
    if !f.batch {
        args.push("--disable-batching".to_owned());
    }
    args
}

/// An application next to each collector, and with ours inside it; the floor is the SDK with an exporter that does
/// nothing.
pub(crate) fn apps(ports: BenchPorts, app: App) -> Vec<Program> {
    let exporter = format!("{{endpoint: \"127.0.0.1:{}\", tls: {{insecure: true}}, compression: none}}", ports.sink);
    let separate = collector_config(ports, OtlpProtocol::Grpc, &exporter, "otlp_grpc", "traces", "batch");
    let in_process = format!(
        "receivers: {{inproc/app: }}\nprocessors: {{batch: }}\nexporters:\n  otlp_grpc: {exporter}\nservice:\n  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}\n  pipelines: {{traces: {{receivers: [inproc/app], processors: [batch], exporters: [otlp_grpc]}}}}\n"
    );
    let program = |name, way, floor| Program { name, launch: Launch::App(app, way), is_lower_bound: floor };
    vec![
        program("otelcore, in process", SpanDestination::InProcess(in_process), false),
        program(
            "otelcore, beside",
            SpanDestination::SeparateCollector(Box::new(Launch::Ours(separate.clone()))),
            false,
        ),
        program("Go 0.155, beside", SpanDestination::SeparateCollector(Box::new(Launch::Go("0.155", separate))), false),
        program("SDK and encoding", SpanDestination::NoCollector("encode"), false),
        program("SDK alone", SpanDestination::NoCollector("none"), true),
    ]
}

/// The program in C with the collector on its own thread, and in the program's loop.
pub(crate) fn submit() -> Vec<Program> {
    let program = |name, way| Program { name, launch: Launch::Submit(way), is_lower_bound: false };
    vec![program("otelcore, its thread", "thread"), program("otelcore, driven", "driven")]
}

/// A library alone.
pub(crate) fn library(name: &'static str, what: &'static str) -> Program {
    Program { name, launch: Launch::Library(what), is_lower_bound: false }
}
