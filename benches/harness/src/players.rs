//! Players, the measured programs: our binary, other collectors and the floors, each with its configuration.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::rows::{Forward, Wire};

/// Four consecutive ports of this machine.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    /// Where collectors listen.
    pub(crate) otlp: u16,
    pub(crate) sink: u16,
    /// The page of the Prometheus exporter.
    page: u16,
    /// For a receiver that cannot be turned off.
    unused: u16,
}

impl Ports {
    /// Ports from `first` on, which is below the ports that the system assigns to clients.
    pub(crate) fn from(first: u16) -> Self {
        Self { otlp: first, sink: first + 1, page: first + 2, unused: first + 3 }
    }
}

/// A player of one row.
pub(crate) struct Player {
    pub(crate) name: &'static str,
    pub(crate) runs: Runs,
    /// The other players' figures are compared with this one's, besides ours.
    pub(crate) floor: bool,
}

/// How a player is started.
pub(crate) enum Runs {
    /// Our binary with a configuration.
    Ours(String),
    /// A Go collector of that version with a configuration.
    Go(&'static str, String),
    /// Rotel, which is configured by flags.
    Rotel(Vec<String>),
    /// Our byte relay.
    Relay,
    /// Calls of a library alone, by the name that `alone` takes.
    Alone(&'static str),
    /// An application with an SDK, and where its spans go.
    App(App, Way),
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
pub(crate) enum Way {
    /// To no collector, through an exporter that does nothing (`none`), or that encodes them (`encode`).
    Nowhere(&'static str),
    /// Over gRPC to a collector next to it.
    Beside(Box<Runs>),
    /// To the collector inside it, with this configuration.
    Inside(String),
}

/// The folder of the applications that `benches/apps/build` builds: next to the folder of this binary.
fn app(name: &str) -> PathBuf {
    let built = || me().ancestors().nth(2).unwrap_or_else(|| Path::new("target")).join("bench-apps");
    named("OTELCORE_BENCH_APPS", built).join(name)
}

/// The binary of the image, as `scripts/image` builds it into the same target directory.
fn shipped() -> PathBuf {
    let target = me().ancestors().nth(2).unwrap_or_else(|| Path::new("target")).to_owned();
    target.join(format!("{}-unknown-linux-musl/release/otelcore", std::env::consts::ARCH))
}

/// Our collector: the image's binary, or with `own` this binary.
pub(crate) fn ours(own: bool) -> PathBuf {
    if own { me() } else { named("OTELCORE", shipped) }
}

fn named(variable: &str, default: impl FnOnce() -> PathBuf) -> PathBuf {
    std::env::var_os(variable).map_or_else(default, PathBuf::from)
}

fn me() -> PathBuf {
    std::env::current_exe().unwrap_or_default()
}

impl Runs {
    /// The path of the binary, which may be missing.
    pub(crate) fn binary(&self, own: bool) -> PathBuf {
        let built = |name: String| {
            let places = ["benches/collectors/bin", "tests/tools/bin"].map(|place| Path::new(place).join(&name));
            places.iter().find(|binary| binary.is_file()).unwrap_or(&places[0]).clone()
        };
        match self {
            Self::Ours(_) => ours(own),
            Self::Relay | Self::Alone(_) => me(),
            Self::Go(version, _) => {
                named(&format!("OTELCOL_{}", version.replace('.', "_")), || built(format!("otelcol-{version}")))
            }
            Self::Rotel(_) => named("ROTEL", || built("rotel-agent".to_owned())),
            Self::App(App::Go, _) => app("app-go"),
            Self::App(App::Python, _) => app("python/bin/python"),
            Self::Submit(_) => app("c-submit"),
        }
    }

    /// The missing file, if any.
    pub(crate) fn missing(&self, own: bool) -> Option<PathBuf> {
        let beside = match self {
            Self::App(_, Way::Beside(collector)) => collector.missing(own),
            _ => None,
        };
        beside.or_else(|| Some(self.binary(own)).filter(|binary| !binary.is_file()))
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
    pub(crate) fn command(&self, own: bool, ports: Ports, dir: &Path) -> Result<Command, String> {
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
            Self::Alone(what) => drop(command.args(["alone", what])),
            Self::App(app, way) => {
                if matches!(app, App::Python) {
                    command.arg("benches/apps/python/app.py");
                }
                match way {
                    Way::Nowhere(how) => drop(command.args([how, "-"])),
                    Way::Beside(_) => drop(command.arg("grpc").arg(format!("127.0.0.1:{}", ports.otlp))),
                    Way::Inside(config) => {
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
fn config(ports: Ports, receive: Wire, exporter: &str, name: &str, signal: &str, processors: &str) -> String {
    let (protocol, port) = (receive.name(), ports.otlp);
    let section = if processors.is_empty() { "" } else { "processors: {batch: }\n" };
    format!(
        "receivers: {{otlp: {{protocols: {{{protocol}: {{endpoint: \"127.0.0.1:{port}\"}}}}}}}}\n{section}exporters:\n  {name}: {exporter}\nservice:\n  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}\n  pipelines: {{{signal}: {{receivers: [otlp], processors: [{processors}], exporters: [{name}]}}}}\n"
    )
}

fn pair(config: String, version: &'static str) -> Vec<Player> {
    let go = if version == "0.85" { "Go 0.85" } else { "Go 0.155" };
    vec![
        Player { name: "otelcore", runs: Runs::Ours(config.clone()), floor: false },
        Player { name: go, runs: Runs::Go(version, config), floor: false },
    ]
}

/// OTLP over gRPC to Jaeger's collector, with `batch`.
pub(crate) fn jaeger(ports: Ports) -> Vec<Player> {
    let exporter = format!("{{endpoint: \"127.0.0.1:{}\", tls: {{insecure: true}}}}", ports.sink);
    pair(config(ports, Wire::Grpc, &exporter, "jaeger", "traces", "batch"), "0.85")
}

/// OTLP over gRPC to a Prometheus page.
pub(crate) fn prometheus(ports: Ports) -> Vec<Player> {
    let exporter = format!("{{endpoint: \"127.0.0.1:{}\"}}", ports.page);
    pair(config(ports, Wire::Grpc, &exporter, "prometheus", "metrics", ""), "0.155")
}

/// OTLP over gRPC to an exporter that drops everything.
pub(crate) fn nop(ports: Ports) -> Vec<Player> {
    pair(config(ports, Wire::Grpc, "", "nop", "traces", ""), "0.155")
}

/// OTLP to OTLP, with the same protocol in and out.
pub(crate) fn forward(ports: Ports, f: &Forward) -> Vec<Player> {
    let Forward { wire, coding, batch } = *f;
    let (name, endpoint) = match wire {
        Wire::Grpc => ("otlp_grpc", format!("127.0.0.1:{}", ports.sink)),
        Wire::Http => ("otlp_http", format!("http://127.0.0.1:{}", ports.sink)),
    };
    let exporter = format!("{{endpoint: \"{endpoint}\", tls: {{insecure: true}}, compression: {coding}}}");
    let mut players = pair(config(ports, wire, &exporter, name, "traces", if batch { "batch" } else { "" }), "0.155");
    if coding != "zstd" {
        // 0.0.1a15 sends gzip whatever its flags are.
        let name = if coding == "none" { "rotel, gzip out" } else { "rotel" };
        players.push(Player { name, runs: Runs::Rotel(rotel(ports, f)), floor: false });
    }
    players.push(match coding {
        "none" => Player { name: "relay", runs: Runs::Relay, floor: true },
        coding => Player { name: "calls alone", runs: Runs::Alone(coding), floor: true },
    });
    players
}

fn rotel(ports: Ports, f: &Forward) -> Vec<String> {
    let (grpc, http) = match f.wire {
        Wire::Grpc => (ports.otlp, ports.unused),
        Wire::Http => (ports.unused, ports.otlp),
    };
    let mut args = vec!["start".to_owned()];
    for (flag, value) in [
        ("otlp-grpc-endpoint", format!("127.0.0.1:{grpc}")),
        ("otlp-http-endpoint", format!("127.0.0.1:{http}")),
        ("exporter", "otlp".to_owned()),
        ("otlp-exporter-endpoint", format!("http://127.0.0.1:{}", ports.sink)),
        ("otlp-exporter-protocol", f.wire.name().to_owned()),
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
pub(crate) fn apps(ports: Ports, app: App) -> Vec<Player> {
    let exporter = format!("{{endpoint: \"127.0.0.1:{}\", tls: {{insecure: true}}, compression: none}}", ports.sink);
    let beside = config(ports, Wire::Grpc, &exporter, "otlp_grpc", "traces", "batch");
    let inside = format!(
        "receivers: {{inproc/app: }}\nprocessors: {{batch: }}\nexporters:\n  otlp_grpc: {exporter}\nservice:\n  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}\n  pipelines: {{traces: {{receivers: [inproc/app], processors: [batch], exporters: [otlp_grpc]}}}}\n"
    );
    let player = |name, way, floor| Player { name, runs: Runs::App(app, way), floor };
    vec![
        player("otelcore, in process", Way::Inside(inside), false),
        player("otelcore, beside", Way::Beside(Box::new(Runs::Ours(beside.clone()))), false),
        player("Go 0.155, beside", Way::Beside(Box::new(Runs::Go("0.155", beside))), false),
        player("SDK and encoding", Way::Nowhere("encode"), false),
        player("SDK alone", Way::Nowhere("none"), true),
    ]
}

/// The program in C with the collector on its own thread, and in the program's loop.
pub(crate) fn submit() -> Vec<Player> {
    let player = |name, way| Player { name, runs: Runs::Submit(way), floor: false };
    vec![player("otelcore, its thread", "thread"), player("otelcore, driven", "driven")]
}

/// A library alone.
pub(crate) fn alone(name: &'static str, what: &'static str) -> Player {
    Player { name, runs: Runs::Alone(what), floor: false }
}
