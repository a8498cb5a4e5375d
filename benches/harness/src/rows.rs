//! The rows: the load of each, its players, and what they are compared with.

use crate::players::{self, Player, Ports};
use crate::{play, table};

/// The protocol that carries OTLP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Grpc,
    Http,
}

impl Wire {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }
}

/// Protocol and coding of a forwarding row, the same in and out, and whether it has `batch`.
#[derive(Clone, Copy)]
pub(crate) struct Forward {
    pub(crate) wire: Wire,
    pub(crate) coding: &'static str,
    pub(crate) batch: bool,
}

/// What is sent.
#[derive(Clone, Copy)]
pub(crate) enum Load {
    /// Requests, each sent when an earlier one is answered, four of them in flight.
    Requests { wire: Wire, coding: &'static str, signal: &'static str, items: u32, requests: u64, sink: Option<Wire> },
    /// Connections that exchange SETTINGS and then send nothing.
    Idle { connections: u64 },
    /// Connections with a small request in flight each, next to one with large requests.
    Active { connections: u64, millis: u64, large_items: u32 },
    /// An application with an SDK makes spans at a constant rate per second, and exports them to a collector.
    App { spans: u64, rate: u64 },
    /// A program in C submits requests to the collector inside it, and gets them back through its callback.
    Submit { items: u32, requests: u64 },
}

/// One load and its players; the first is ours.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    what: &'static str,
    pub(crate) load: Load,
    pub(crate) players: Vec<Player>,
    pub(crate) bar: &'static str,
}

fn jaeger(ports: Ports, name: &'static str, items: u32, requests: u64, bar: &'static str) -> Row {
    let (coding, sink) = ("none", Some(Wire::Grpc));
    let load = Load::Requests { wire: Wire::Grpc, coding, signal: "traces", items, requests, sink };
    Row { name, what: "OTLP -> batch -> Jaeger", load, players: players::jaeger(ports), bar }
}

fn to_nowhere(name: &'static str, signal: &'static str, players: Vec<Player>, bar: &'static str) -> Row {
    let what = if signal == "metrics" { "OTLP -> Prometheus, known series" } else { "OTLP -> nop" };
    let load = Load::Requests { wire: Wire::Grpc, coding: "none", signal, items: 100, requests: 10_000, sink: None };
    Row { name, what, load, players, bar }
}

fn forward(ports: Ports, name: &'static str, wire: Wire, coding: &'static str, batch: bool, bar: &'static str) -> Row {
    let requests = match coding {
        "none" => 10_000,
        "zstd" => 6000,
        _ => 3000,
    };
    let load = Load::Requests { wire, coding, signal: "traces", items: 100, requests, sink: Some(wire) };
    let players = players::forward(ports, &Forward { wire, coding, batch });
    let what = if batch { "OTLP -> batch -> OTLP" } else { "OTLP -> OTLP" };
    Row { name, what, load, players, bar }
}

fn alone(name: &'static str, what: &'static str, requests: u64, players: Vec<Player>) -> Row {
    let (wire, coding) = (Wire::Grpc, "none");
    let load = Load::Requests { wire, coding, signal: "traces", items: 100, requests, sink: None };
    Row { name, what, load, players, bar: "" }
}

fn app(ports: Ports, name: &'static str, spans: u64, rate: u64, app: players::App) -> Row {
    let what = "SDK -> OTLP over gRPC, or in process -> batch -> OTLP";
    let bar = "an added cost far under that of a collector beside";
    Row { name, what, load: Load::App { spans, rate }, players: players::apps(ports, app), bar }
}

fn submit(name: &'static str, items: u32, requests: u64) -> Row {
    let (what, load) = ("submit in C -> inproc -> callback", Load::Submit { items, requests });
    Row { name, what, load, players: players::submit(), bar: "" }
}

fn rows(ports: Ports) -> Vec<Row> {
    use Wire::{Grpc, Http};
    let jaeger = |name, items, requests, bar| jaeger(ports, name, items, requests, bar);
    let forward = |name, wire, coding, batch, bar| forward(ports, name, wire, coding, batch, bar);
    let both = vec![players::alone("check", "walk"), players::alone("prost", "prost")];
    vec![
        jaeger("jaeger-100", 100, 8000, "a tenth of the CPU, peak under 40 MB"),
        jaeger("jaeger-512", 512, 2000, ""),
        jaeger("jaeger-10", 10, 40_000, ""),
        to_nowhere("prometheus-100", "metrics", players::prometheus(ports), "a sixth of the CPU"),
        to_nowhere("nop-100", "traces", players::nop(ports), ""),
        forward("forward-grpc-none", Grpc, "none", false, ""),
        forward("forward-grpc-none-batch", Grpc, "none", true, "2.2 times the relay, a tenth of Go's CPU"),
        forward("forward-grpc-gzip", Grpc, "gzip", false, "1.15 times the calls alone, no more bytes than Go"),
        forward("forward-grpc-zstd", Grpc, "zstd", false, ""),
        forward("forward-http-none", Http, "none", false, "no more than over gRPC"),
        forward("forward-http-none-batch", Http, "none", true, "no more than over gRPC"),
        forward("forward-http-gzip", Http, "gzip", false, "1.15 times the calls alone, no more bytes than Go"),
        forward("forward-http-zstd", Http, "zstd", false, ""),
        alone("walk", "the validating walk beside decoding", 50_000, both),
        alone("coding-gzip", "one inflate and one deflate", 3000, vec![players::alone("flate2", "gzip")]),
        alone("coding-zstd", "one inflate and one deflate", 6000, vec![players::alone("zstd", "zstd")]),
        Row {
            name: "idle-connections",
            what: "idle gRPC connections",
            load: Load::Idle { connections: 10_000 },
            players: players::nop(ports),
            bar: "",
        },
        Row {
            name: "active-connections",
            what: "busy gRPC connections beside one with 4 MB requests",
            load: Load::Active { connections: 1000, millis: 10_000, large_items: 6000 },
            players: players::nop(ports),
            bar: "",
        },
        app(ports, "app-go", 400_000, 20_000, players::App::Go),
        app(ports, "app-python", 80_000, 4000, players::App::Python),
        submit("c-submit-1", 1, 1_000_000),
        submit("c-submit-100", 100, 200_000),
        submit("c-submit-1000", 1000, 20_000),
    ]
}

impl Load {
    /// The same load at the size of a smoke test.
    fn quick(self) -> Self {
        match self {
            Self::Requests { requests, wire, coding, signal, items, sink } => {
                let requests = (requests / 100).max(20);
                Self::Requests { requests, wire, coding, signal, items, sink }
            }
            Self::Idle { .. } => Self::Idle { connections: 50 },
            Self::Active { .. } => Self::Active { connections: 20, millis: 500, large_items: 1000 },
            Self::App { rate, .. } => Self::App { spans: 4096, rate },
            Self::Submit { items, requests } => Self::Submit { items, requests: (requests / 100).max(32) },
        }
    }
}

/// The options of a run.
pub(crate) struct How {
    pub(crate) ports: Ports,
    /// The number of rounds of every row, each of them with every player; the median is the result.
    repeat: usize,
    pub(crate) quick: bool,
    /// This build's own collector is used instead of the release binary.
    pub(crate) own: bool,
    /// Prefixes of players or rows; empty means all.
    only: Vec<String>,
    rows: Vec<String>,
    mode: Mode,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Rows,
    Stall,
    Overload,
}

impl How {
    /// Whether a row of the stall meter or a cell of the overload bench is wanted, played by `player`.
    pub(crate) fn wants(&self, name: &str, player: &str) -> bool {
        let only = |begin: &String| name.starts_with(begin.as_str()) || player.starts_with(begin.as_str());
        (self.only.is_empty() || self.only.iter().any(only))
            && (self.rows.is_empty() || self.rows.iter().any(|row| row == name))
    }

    fn parse(args: &[String]) -> Result<Self, String> {
        let (ports, only, rows) = (Ports::from(24317), Vec::new(), Vec::new());
        let mut how = Self { ports, repeat: 1, quick: false, own: false, only, rows, mode: Mode::Rows };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
            match arg.as_str() {
                "--repeat" => how.repeat = value()?.parse().map_err(|e| format!("--repeat: {e}"))?,
                "--only" => how.only.push(value()?.clone()),
                "--port" => how.ports = Ports::from(value()?.parse().map_err(|e| format!("--port: {e}"))?),
                "--quick" => how.quick = true,
                "--own" => how.own = true,
                "--stall" => how.mode = Mode::Stall,
                "--overload" => how.mode = Mode::Overload,
                flag if flag.starts_with('-') => {
                    return Err(format!(
                        "no flag {flag}: --stall, --overload, --repeat N, --only PLAYER or ROW, --port N, --quick, --own, ROW ..."
                    ));
                }
                _ => how.rows.push(arg.clone()),
            }
        }
        Ok(how)
    }
}

/// `[--stall | --overload] [--repeat N] [--only PLAYER|ROW] [--port N] [--quick] [--own] [ROW ...]`
pub(crate) fn main(args: &[String]) -> Result<(), String> {
    let how = How::parse(args)?;
    crate::measure::many_descriptors();
    if how.mode == Mode::Rows {
        return play_rows(&how);
    }
    let dir = std::env::temp_dir().join(format!("otelcore-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    let done = if how.mode == Mode::Stall { crate::stall::main(&how, &dir) } else { crate::overload::main(&how, &dir) };
    let _ = std::fs::remove_dir_all(&dir);
    done
}

fn play_rows(how: &How) -> Result<(), String> {
    let all = rows(how.ports);
    if let Some(name) = how.rows.iter().find(|name| all.iter().all(|row| row.name != name.as_str())) {
        let names: Vec<&str> = all.iter().map(|row| row.name).collect();
        return Err(format!("no row {name}; there are {}", names.join(", ")));
    }
    let dir = std::env::temp_dir().join(format!("otelcore-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    let mut tables = table::Tables::default();
    let mut failed = 0;
    for mut row in all {
        if !(how.rows.is_empty() || how.rows.iter().any(|name| name == row.name)) {
            continue;
        }
        let only = |name: &str| how.only.is_empty() || how.only.iter().any(|begin| name.starts_with(begin.as_str()));
        if !only(row.name) {
            row.players.retain(|player| only(player.name));
        }
        if row.players.is_empty() {
            continue;
        }
        if how.quick {
            row.load = row.load.quick();
        }
        eprintln!("{}: {}", row.name, row.what);
        let mut scores: Vec<Vec<Vec<f64>>> = row.players.iter().map(|_| Vec::new()).collect();
        // Players run alternately, so that a change in the machine's speed affects all of them.
        for round in 0..how.repeat {
            for (player, scores) in row.players.iter().zip(&mut scores) {
                if let Some(binary) = player.runs.missing(how.own) {
                    if round == 0 {
                        eprintln!("  {} is missing: {}{}", player.name, binary.display(), player.runs.hint());
                    }
                    continue;
                }
                match play::play(&row, player, how, &dir) {
                    Ok(score) => scores.push(score),
                    Err(e) => {
                        failed += 1;
                        eprintln!("  {}: {e}", player.name);
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
