//! The command line: what the binary and the Python package's command run.
//!
//! Names, flags, texts and exit codes are those of the Go collector's binary: 0 after a clean stop, 1 after any error.

mod args;
mod completions;
mod config_watch;
mod explain;
mod help;
mod manifests;
#[cfg(test)]
mod manual;
mod page_client;
#[cfg(feature = "extension-file-storage")]
mod queue;
mod run;
#[cfg(feature = "exporter-otlp")]
mod send;
mod show;
mod table;
mod tap;
mod top;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use otelcore_config::{ConfigNode, ConfigSources, Diagnostics, FeatureGates, Severity, UnreadableSource};
use otelcore_pipeline::StartError;

use crate::plan::Plan;
use crate::registry::Registry;
use crate::service::{BuildInfo, Collector, DEFAULT_GRACE_PERIOD};
use args::{Command, Invocation};
use config_watch::{ReadFiles, content_hash};

/// The parts of the process that a command uses. The binary passes the real ones.
pub struct Terminal<'a> {
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error.
    pub err: &'a mut dyn Write,
    /// Whether standard output is a terminal.
    pub is_terminal: bool,
    /// Reads an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

impl std::fmt::Debug for Terminal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal").field("interactive", &self.is_terminal).finish_non_exhaustive()
    }
}

/// Runs a command line, the program's name first. Returns the exit code.
pub fn run_command_line(
    args: impl IntoIterator<Item = OsString>,
    registry: Registry,
    terminal: &mut Terminal<'_>,
) -> u8 {
    let mut args = args.into_iter();
    let program = args.next().unwrap_or_default();
    let build_info = build_info(&program.to_string_lossy());
    let invocation = match args::parse(args) {
        Ok(invocation) => with_default_file_of_image(invocation, &build_info.command, &|path| {
            otelcore_reactor::read_file(path).is_ok()
        }),
        Err(message) => return print_error(terminal, &message),
    };
    match invocation.command {
        Command::Help(command) => {
            let program = &build_info.command;
            let text = command.map_or_else(|| help::of_program(program), |command| help::of_command(program, command));
            let _ = terminal.out.write_all(text.as_bytes());
            0
        }
        Command::Completions(ref shell) => match completions::script(shell, &build_info.command, &registry) {
            Some(script) => {
                let _ = terminal.out.write_all(script.as_bytes());
                0
            }
            None => print_error(terminal, &format!("unknown shell {shell:?}")),
        },
        Command::Version => {
            let _ = writeln!(terminal.out, "{} version {}", build_info.command, build_info.version);
            0
        }
        Command::Component(ref type_name) => show::print_component(type_name, &registry, terminal),
        Command::Components => show::print_components(&registry, &build_info, terminal),
        Command::Schema(what) => show::schema(&registry, what, terminal),
        Command::Explain(ref code) => show::explain(code.as_deref(), terminal),
        Command::FeatureGate(ref id) => show::print_feature_gates(id.as_deref(), terminal),
        Command::Validate { explain } => show::validate(&invocation, explain, &registry, terminal),
        Command::PrintConfig { .. } => show::print_config(&invocation, &registry, terminal),
        #[cfg(feature = "extension-file-storage")]
        Command::Queue { .. } => queue::run(&invocation, &registry, terminal),
        #[cfg(not(feature = "extension-file-storage"))]
        Command::Queue { .. } => print_error(
            terminal,
            "this build has no queues on disk: build it with the feature \"extension-file-storage\"",
        ),
        Command::Tap { ref edge, ref flags } => tap::run(edge.as_deref(), flags, terminal),
        Command::Top { ref url, ref flags } => top::run(url.as_deref(), flags, terminal),
        #[cfg(feature = "exporter-otlp")]
        Command::Send { ref signals, ref flags } => send::run(signals, flags, &registry, terminal),
        #[cfg(not(feature = "exporter-otlp"))]
        Command::Send { .. } => {
            print_error(terminal, "this build can't send: build it with the feature \"exporter-otlp\"")
        }
        Command::Run => run::run(&invocation, registry, build_info, terminal),
    }
}

/// The name under which the program was started, where a Go collector has that name; `otelcore` otherwise.
fn build_info(program: &str) -> BuildInfo {
    let name = program.rsplit('/').next().unwrap_or_default();
    let command = GO_IMAGE_NAMES.into_iter().chain(["otelcorecol"]).find(|k| *k == name).unwrap_or("otelcore");
    BuildInfo { command: command.to_owned(), ..BuildInfo::default() }
}

/// Names of images of the Go collector, whose default argument is `/etc/NAME/config.yaml`.
const GO_IMAGE_NAMES: [&str; 4] = ["otelcol", "otelcol-contrib", "otelcol-k8s", "otelcol-otlp"];

/// Adds the default file of an image of the Go collector. A manifest that sets only the command of the container
/// removes the image's default argument: where the program has the name of such an image and there is no `--config`,
/// that file is read if it exists.
fn with_default_file_of_image(mut invocation: Invocation, name: &str, exists: &dyn Fn(&str) -> bool) -> Invocation {
    let path = format!("/etc/{name}/config.yaml");
    if invocation.config.is_empty() && GO_IMAGE_NAMES.contains(&name) && exists(&path) {
        invocation.config.push(path);
    }
    invocation
}

fn print_error(terminal: &mut Terminal<'_>, message: &str) -> u8 {
    let _ = writeln!(terminal.err, "Error: {message}");
    1
}

/// A text of another process without control characters, so that it may go to a terminal.
fn plain_text(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{b7}' } else { c }).collect()
}

/// The most bytes in all files of one command line.
const MAX_TOTAL_FILE_BYTES: usize = 64 << 20;

/// Files and variables of this machine.
struct SystemSources<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    /// Each file is read once: its content decides how it is parsed, and a pipe can't be read again.
    files: RefCell<BTreeMap<String, Result<Vec<u8>, UnreadableSource>>>,
}

impl<'a> SystemSources<'a> {
    fn new(env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { env, files: RefCell::default() }
    }

    /// The files that were read until now.
    fn read_files(&self) -> ReadFiles {
        let hash = |read: &Result<Vec<u8>, UnreadableSource>| read.as_ref().ok().map(|bytes| content_hash(bytes));
        self.files.borrow().iter().map(|(path, read)| (path.clone(), hash(read))).collect()
    }

    /// The YAML files of a folder, sorted. `None` where it is no folder.
    fn yaml_files_of_folder(&self, path: &str) -> Option<Vec<String>> {
        let is_yaml =
            |name: &String| [".yaml", ".yml"].iter().any(|end| name.ends_with(end)) || name == "Kustomization";
        let mut names: Vec<String> = otelcore_reactor::read_folder(path)?.into_iter().filter(is_yaml).collect();
        names.sort();
        Some(names.into_iter().map(|name| format!("{}/{name}", path.trim_end_matches('/'))).collect())
    }
}

impl ConfigSources for SystemSources<'_> {
    fn read_file(&self, path: &str) -> Result<Vec<u8>, UnreadableSource> {
        let mut files = self.files.borrow_mut();
        if let Some(cached) = files.get(path) {
            return cached.clone();
        }
        let total: usize = files.values().flatten().map(Vec::len).sum();
        let result = match otelcore_reactor::read_file(path) {
            Ok(bytes) if total.saturating_add(bytes.len()) > MAX_TOTAL_FILE_BYTES => {
                Err(UnreadableSource(format!("read {path}: with it all files together are larger than 64 MiB")))
            }
            read => read.map_err(|e| UnreadableSource(e.to_string())),
        };
        files.insert(path.to_owned(), result.clone());
        result
    }

    fn env_var(&self, name: &str) -> Option<String> {
        (self.env)(name)
    }
}

/// A configuration that has been read, and all its diagnostics.
struct LoadedConfig {
    plan: Option<Plan>,
    /// What was read, before defaults.
    root: Option<ConfigNode>,
    /// How long a shutdown may take to deliver what is held.
    grace: Duration,
    diagnostics: Diagnostics,
    /// What it was read from.
    files: ReadFiles,
}

/// Reads and checks the configuration that the command line names.
fn load(invocation: &Invocation, registry: &Registry, env: &dyn Fn(&str) -> Option<String>) -> LoadedConfig {
    load_from(&SystemSources::new(env), invocation, registry)
}

fn load_from(sources: &SystemSources<'_>, invocation: &Invocation, registry: &Registry) -> LoadedConfig {
    let diagnostics = Diagnostics::new();
    let gates = parse_feature_gates(&invocation.feature_gates, &diagnostics);
    let mut grace = invocation.shutdown_timeout;
    let read: Option<(ConfigNode, FeatureGates)> = if invocation.config.is_empty() && invocation.set.is_empty() {
        otelcore_config::from_yaml(run::DEFAULT_CONFIG, &diagnostics).map(|root| (root, gates))
    } else if let Some(manifests) = manifests::read_manifests(&invocation.config, sources, &diagnostics) {
        manifests.load(invocation, sources, &diagnostics).map(|(root, gates, from_manifest)| {
            grace = grace.or(from_manifest);
            (root, gates)
        })
    } else {
        let root = otelcore_config::load(&invocation.config, &invocation.set, sources, &gates, &diagnostics);
        root.map(|root| (root, gates))
    };
    let plan = read.as_ref().and_then(|(root, gates)| Plan::parse(root, registry, gates, &diagnostics));
    let root = read.map(|(root, _)| root);
    LoadedConfig { plan, root, grace: grace.unwrap_or(DEFAULT_GRACE_PERIOD), diagnostics, files: sources.read_files() }
}

/// Builds what a plan describes, and opens nothing.
fn check_build(plan: &Plan) -> Result<(), StartError> {
    let log = std::sync::Arc::new(otelcore_pipeline::NoopLogSink);
    Collector::with_log(plan.clone(), BuildInfo::default(), log).build_graph().map(|_| ())
}

fn parse_feature_gates(flags: &[String], diagnostics: &Diagnostics) -> FeatureGates {
    let (gates, problems) = FeatureGates::parse(flags);
    for problem in problems {
        if problem.is_notice() {
            diagnostics.warn(None, "--feature-gates", problem.to_string());
        } else {
            diagnostics.error(None, "--feature-gates", problem.to_string());
        }
    }
    gates
}

impl LoadedConfig {
    /// Writes every mistake, and their number.
    fn report_errors(&self, terminal: &mut Terminal<'_>, prefix: &str) -> u8 {
        let items = self.diagnostics.items();
        let errors = self.diagnostics.count(Severity::Error);
        let text = self.diagnostics.render_to_string(false);
        let _ = terminal.err.write_all(text.as_bytes());
        let first = items.iter().find(|d| d.severity == Severity::Error).map(|d| d.message.clone()).unwrap_or_default();
        let more = if errors > 1 { format!(" (and {} more, above)", errors - 1) } else { String::new() };
        print_error(terminal, &format!("{prefix}{first}{more}"))
    }

    /// Writes the warnings.
    fn report_warnings(&self, terminal: &mut Terminal<'_>) {
        if !self.diagnostics.is_empty() {
            let _ = terminal.err.write_all(self.diagnostics.render_to_string(false).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_files_for(name: &str, args: &[&str], exists: bool) -> Vec<String> {
        let invocation = args::parse(args.iter().map(OsString::from)).unwrap();
        with_default_file_of_image(invocation, name, &|_| exists).config
    }

    #[test]
    fn go_image_name_without_config_flag_reads_the_file_of_that_image() {
        for name in GO_IMAGE_NAMES {
            assert_eq!(config_files_for(name, &[], true), [format!("/etc/{name}/config.yaml")]);
            assert_eq!(config_files_for(name, &["--set=a.b=c"], true).len(), 1);
            assert_eq!(config_files_for(name, &["--config=x"], true), ["x"]);
            assert!(config_files_for(name, &[], false).is_empty());
        }
        assert!(config_files_for("otelcore", &[], true).is_empty(), "has a default of its own");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test's own file")]
    fn shutdown_timeout_of_a_manifest_is_used_unless_the_flag_sets_one() {
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
