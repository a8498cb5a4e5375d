//! The command line: what the binary and the Python package's command run.
//!
//! Names, flags, texts and exit codes are those of the Go collector's binary: 0 after a clean stop, 1 after any error.

mod args;
mod manifests;
mod run;
mod show;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use otelcore_config::{Diagnostics, Gates, Node, Severity, Sources};

use crate::plan::Plan;
use crate::registry::Registry;
use crate::service::{GRACE, Identity};
use args::{Command, Invocation};

/// The parts of the process that a command uses. The binary passes the real ones.
pub struct Terminal<'a> {
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error.
    pub err: &'a mut dyn Write,
    /// Whether standard output is a terminal.
    pub interactive: bool,
    /// Reads an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

impl std::fmt::Debug for Terminal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal").field("interactive", &self.interactive).finish_non_exhaustive()
    }
}

/// Runs a command line, the program's name first. Returns the exit code.
pub fn main(args: impl IntoIterator<Item = OsString>, registry: Registry, terminal: &mut Terminal<'_>) -> u8 {
    let mut args = args.into_iter();
    let program = args.next().unwrap_or_default();
    let identity = identity(&program.to_string_lossy());
    let invocation = match args::parse(args) {
        Ok(invocation) => of_the_name(invocation, &identity.command, &|path| otelcore_reactor::read_file(path).is_ok()),
        Err(message) => return fail(terminal, &message),
    };
    match invocation.command {
        Command::Help => {
            let _ = terminal.out.write_all(args::help(&identity.command).as_bytes());
            0
        }
        Command::Version => {
            let _ = writeln!(terminal.out, "{} version {}", identity.command, identity.version);
            0
        }
        Command::Components => show::components(&registry, &identity, terminal),
        Command::FeatureGate(ref id) => show::feature_gates(id.as_deref(), terminal),
        Command::Validate => show::validate(&invocation, &registry, terminal),
        Command::PrintConfig { .. } => show::print_config(&invocation, &registry, terminal),
        Command::Run => run::run(&invocation, registry, identity, terminal),
    }
}

/// The name under which the program was started, where a Go collector has that name; `otelcore` otherwise.
fn identity(program: &str) -> Identity {
    let name = program.rsplit('/').next().unwrap_or_default();
    let command = IMAGES.into_iter().chain(["otelcorecol"]).find(|k| *k == name).unwrap_or("otelcore");
    Identity { command: command.to_owned(), ..Identity::default() }
}

/// Names of images of the Go collector, whose default argument is `/etc/NAME/config.yaml`.
const IMAGES: [&str; 4] = ["otelcol", "otelcol-contrib", "otelcol-k8s", "otelcol-otlp"];

/// Adds the default file of an image of the Go collector. A manifest that sets only the command of the container
/// removes the image's default argument: where the program has the name of such an image and there is no `--config`,
/// that file is read if it exists.
fn of_the_name(mut invocation: Invocation, name: &str, is_there: &dyn Fn(&str) -> bool) -> Invocation {
    let path = format!("/etc/{name}/config.yaml");
    if invocation.config.is_empty() && IMAGES.contains(&name) && is_there(&path) {
        invocation.config.push(path);
    }
    invocation
}

fn fail(terminal: &mut Terminal<'_>, message: &str) -> u8 {
    let _ = writeln!(terminal.err, "Error: {message}");
    1
}

/// The most bytes in all files of one command line.
const MAX_FILES: usize = 64 << 20;

/// Files and variables of this machine.
struct Machine<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    /// Each file is read once: its content decides how it is parsed, and a pipe can't be read again.
    files: RefCell<BTreeMap<String, Result<Vec<u8>, String>>>,
}

impl<'a> Machine<'a> {
    fn new(env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { env, files: RefCell::default() }
    }

    /// The YAML files of a folder, sorted. `None` where it is no folder.
    fn folder(&self, path: &str) -> Option<Vec<String>> {
        let is_yaml =
            |name: &String| [".yaml", ".yml"].iter().any(|end| name.ends_with(end)) || name == "Kustomization";
        let mut names: Vec<String> = otelcore_reactor::read_folder(path)?.into_iter().filter(is_yaml).collect();
        names.sort();
        Some(names.into_iter().map(|name| format!("{}/{name}", path.trim_end_matches('/'))).collect())
    }
}

impl Sources for Machine<'_> {
    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        let mut files = self.files.borrow_mut();
        if let Some(read) = files.get(path) {
            return read.clone();
        }
        let held: usize = files.values().flatten().map(Vec::len).sum();
        let read = otelcore_reactor::read_file(path).and_then(|bytes| match held.saturating_add(bytes.len()) {
            all if all > MAX_FILES => Err(format!("read {path}: with it all files together are larger than 64 MiB")),
            _ => Ok(bytes),
        });
        files.insert(path.to_owned(), read.clone());
        read
    }

    fn env(&self, name: &str) -> Option<String> {
        (self.env)(name)
    }
}

/// A configuration that has been read, and all its diagnostics.
struct Loaded {
    plan: Option<Plan>,
    /// How long a shutdown may take to deliver what is held.
    grace: Duration,
    diagnostics: Diagnostics,
}

/// Reads and checks the configuration that the command line names.
fn load(invocation: &Invocation, registry: &Registry, env: &dyn Fn(&str) -> Option<String>) -> Loaded {
    load_from(&Machine::new(env), invocation, registry)
}

fn load_from(machine: &Machine<'_>, invocation: &Invocation, registry: &Registry) -> Loaded {
    let diagnostics = Diagnostics::new();
    let gates = gates(&invocation.feature_gates, &diagnostics);
    let mut grace = invocation.grace;
    let read: Option<(Node, Gates)> = if invocation.config.is_empty() && invocation.set.is_empty() {
        otelcore_config::from_yaml(run::DEFAULT, &diagnostics).map(|root| (root, gates))
    } else if let Some(manifests) = manifests::read(&invocation.config, machine, &diagnostics) {
        manifests.load(invocation, machine, &diagnostics).map(|(root, gates, inner)| {
            grace = grace.or(inner);
            (root, gates)
        })
    } else {
        let root = otelcore_config::load(&invocation.config, &invocation.set, machine, &gates, &diagnostics);
        root.map(|root| (root, gates))
    };
    let plan = read.and_then(|(root, gates)| Plan::parse(&root, registry, &gates, &diagnostics));
    Loaded { plan, grace: grace.unwrap_or(GRACE), diagnostics }
}

fn gates(flags: &[String], d: &Diagnostics) -> Gates {
    let (gates, problems) = Gates::parse(flags);
    for problem in problems {
        if problem.is_notice() {
            d.warn(None, "--feature-gates", problem.to_string());
        } else {
            d.error(None, "--feature-gates", problem.to_string());
        }
    }
    gates
}

impl Loaded {
    /// Writes every mistake, and their number.
    fn report(&self, terminal: &mut Terminal<'_>, prefix: &str) -> u8 {
        let items = self.diagnostics.items();
        let errors = self.diagnostics.count(Severity::Error);
        let text = self.diagnostics.to_text(false);
        let _ = terminal.err.write_all(text.as_bytes());
        let first = items.iter().find(|d| d.severity == Severity::Error).map(|d| d.message.clone()).unwrap_or_default();
        let more = if errors > 1 { format!(" (and {} more, above)", errors - 1) } else { String::new() };
        fail(terminal, &format!("{prefix}{first}{more}"))
    }

    /// Writes the warnings.
    fn warnings(&self, terminal: &mut Terminal<'_>) {
        if !self.diagnostics.is_empty() {
            let _ = terminal.err.write_all(self.diagnostics.to_text(false).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_under(name: &str, args: &[&str], there: bool) -> Vec<String> {
        let invocation = args::parse(args.iter().map(OsString::from)).unwrap();
        of_the_name(invocation, name, &|_| there).config
    }

    #[test]
    fn an_images_name_reads_its_images_file_if_it_is_there() {
        for name in IMAGES {
            assert_eq!(read_under(name, &[], true), [format!("/etc/{name}/config.yaml")]);
            assert_eq!(read_under(name, &["--set=a.b=c"], true).len(), 1);
            assert_eq!(read_under(name, &["--config=x"], true), ["x"]);
            assert!(read_under(name, &[], false).is_empty());
        }
        assert!(read_under("otelcore", &[], true).is_empty(), "has a default of its own");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test's own file")]
    fn a_containers_own_time_for_a_stop_holds_where_its_manifest_runs_here() {
        let path = std::env::temp_dir().join(format!("otelcore-grace-{}.yaml", otelcore_reactor::uuid()));
        let manifest = "
apiVersion: v1
kind: Pod
metadata: {name: app}
spec:
  containers:
    - name: otelcore
      image: otelcore
      args: ['--config=yaml:{receivers: {nop: }, exporters: {nop: }, service: {pipelines: {traces: {receivers: [nop], exporters: [nop]}}}}', --shutdown-timeout=7s]
";
        std::fs::write(&path, manifest).unwrap();
        let source = format!("--config=k8s:{}", path.display());
        let grace = |args: &[&str]| {
            let invocation = args::parse([&source[..]].iter().chain(args).map(OsString::from)).unwrap();
            load(&invocation, &Registry::default(), &|_| None).grace
        };
        assert_eq!(grace(&[]), Duration::from_secs(7));
        assert_eq!(grace(&["--shutdown-timeout=3s"]), Duration::from_secs(3), "who runs it has the last word");
        std::fs::remove_file(&path).unwrap();
    }
}
