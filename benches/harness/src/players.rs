//! Who plays: our binary, its peers, and the floors, each with what it must be told.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::rows::{Forward, Wire};

/// Four ports in a row, of this machine's own address.
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
    /// From `first` on, which is below the ports that the system gives to clients.
    pub(crate) fn from(first: u16) -> Self {
        Self { otlp: first, sink: first + 1, page: first + 2, unused: first + 3 }
    }
}

/// A player of one row.
pub(crate) struct Player {
    pub(crate) name: &'static str,
    pub(crate) runs: Runs,
    /// Its figure is what the others are measured against, besides ours.
    pub(crate) floor: bool,
}

/// How a player is started.
pub(crate) enum Runs {
    /// Our binary with a configuration.
    Ours(String),
    /// A Go collector of that version with a configuration.
    Go(&'static str, String),
    /// Rotel, which is told by flags.
    Rotel(Vec<String>),
    /// Our relay of bytes.
    Relay,
    /// Calls of a library alone, by the name that `alone` knows.
    Alone(&'static str),
}

fn named(variable: &str, default: impl FnOnce() -> PathBuf) -> PathBuf {
    std::env::var_os(variable).map_or_else(default, PathBuf::from)
}

fn me() -> PathBuf {
    std::env::current_exe().unwrap_or_default()
}

impl Runs {
    /// The binary, which may be missing.
    pub(crate) fn binary(&self, own: bool) -> PathBuf {
        let built = |name: String| Path::new("benches/collectors/bin").join(name);
        match self {
            Self::Ours(_) if !own => named("OTELCORE", || me().with_file_name("otelcore")),
            Self::Ours(_) | Self::Relay | Self::Alone(_) => me(),
            Self::Go(version, _) => {
                named(&format!("OTELCOL_{}", version.replace('.', "_")), || built(format!("otelcol-{version}")))
            }
            Self::Rotel(_) => named("ROTEL", || built("rotel-agent".to_owned())),
        }
    }

    /// The process, pinned to the collectors' core. `own` plays this build's collector for ours.
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
            }
            Self::Rotel(args) => drop(command.args(args)),
            Self::Relay => drop(command.args(["relay", &ports.otlp.to_string(), &ports.sink.to_string()])),
            Self::Alone(what) => drop(command.args(["alone", what])),
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

/// OTLP over gRPC to nowhere.
pub(crate) fn nop(ports: Ports) -> Vec<Player> {
    pair(config(ports, Wire::Grpc, "", "nop", "traces", ""), "0.155")
}

/// OTLP to OTLP, in and out the same way.
pub(crate) fn forward(ports: Ports, f: &Forward) -> Vec<Player> {
    let Forward { wire, coding, batch } = *f;
    let (name, endpoint) = match wire {
        Wire::Grpc => ("otlp_grpc", format!("127.0.0.1:{}", ports.sink)),
        Wire::Http => ("otlp_http", format!("http://127.0.0.1:{}", ports.sink)),
    };
    let exporter = format!("{{endpoint: \"{endpoint}\", tls: {{insecure: true}}, compression: {coding}}}");
    let mut players = pair(config(ports, wire, &exporter, name, "traces", if batch { "batch" } else { "" }), "0.155");
    if coding != "zstd" {
        // 0.0.1a15 sends gzip whatever it is told.
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

/// A library alone.
pub(crate) fn alone(name: &'static str, what: &'static str) -> Player {
    Player { name, runs: Runs::Alone(what), floor: false }
}
