//! `--config=k8s:PATH[#NAME]`, and files whose content is Kubernetes manifests: runs one of their collectors on this
//! machine, or checks all of them against the other objects of the manifests.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::{
    ConfigNode, ConfigSources, Diagnostic, DiagnosticKind, Diagnostics, FeatureGates, Severity, SourceText,
};
use otelcore_kubernetes::{
    Argument, Cluster, Collector, ConfigEffects, ContainerSources, KUSTOMIZATIONS, Kustomization,
};

use super::args::{self, Command, Invocation};
use super::{SystemSources, Terminal, parse_feature_gates, print_error};
use crate::plan::Plan;
use crate::registry::Registry;
use crate::service::DEFAULT_GRACE_PERIOD;

/// The scheme of such a source.
const SCHEME: &str = "k8s:";

/// The manifests of a command line.
pub(super) struct Manifests {
    cluster: Cluster,
    /// The names after `#`.
    selected_names: Vec<String>,
    /// Their names on the command line.
    source_names: Vec<String>,
    /// Sources that are no manifests: they are merged over the collector's own sources.
    other_sources: Vec<String>,
    /// Whether no source was given with `k8s:`.
    is_detected: bool,
    /// How many files and folders were read so far.
    files_read: usize,
}

/// `None` when there is no manifest among the sources.
pub(super) fn read_manifests(uris: &[String], sources: &SystemSources<'_>, d: &Diagnostics) -> Option<Manifests> {
    let (cluster, is_detected) = (Cluster::default(), true);
    let mut manifests = Manifests {
        cluster,
        selected_names: Vec::new(),
        source_names: Vec::new(),
        other_sources: Vec::new(),
        is_detected,
        files_read: 0,
    };
    for uri in uris {
        if let Some(rest) = uri.strip_prefix(SCHEME) {
            let (path, selected) = rest.rsplit_once('#').map_or((rest, None), |(path, pick)| (path, Some(pick)));
            manifests.is_detected = false;
            manifests.selected_names.extend(selected.map(str::to_owned));
            manifests.source_names.push(path.to_owned());
            manifests.add(path, MAX_NESTING, sources, d);
        } else if let Some(source) = read_if_manifest(uri, sources) {
            manifests.source_names.push(source.name.to_string());
            manifests.cluster.add(&source, d);
        } else {
            manifests.other_sources.push(uri.clone());
        }
    }
    (!manifests.source_names.is_empty()).then_some(manifests)
}

/// The most mistakes that are kept for the output: more than a [`Diagnostics`] keeps.
const MAX_MISTAKES: usize = 4000;

/// The most files and folders that are read: a kustomization can name itself in many ways.
const MAX_FILES: usize = 10_000;

/// How deep kustomizations may be nested.
const MAX_NESTING: usize = 8;

fn report_unreadable(message: String, d: &Diagnostics) {
    d.error(None, "", format!("cannot retrieve the configuration: {message}")).kind(DiagnosticKind::Source);
}

/// The text of a file; an error goes into `d`.
fn read_text(file: &str, sources: &SystemSources<'_>, d: &Diagnostics) -> Option<Arc<SourceText>> {
    match sources.read_file(file).map(otelcore_config::decode_text) {
        Ok(Ok(text)) => return Some(SourceText::new(file, text)),
        Ok(Err(why)) => report_unreadable(format!("{file}: {why}"), d),
        Err(e) => report_unreadable(format!("unable to read the file {SCHEME}{file}: {e}"), d),
    }
    None
}

/// The text of a file whose content is Kubernetes objects.
fn read_if_manifest(uri: &str, sources: &SystemSources<'_>) -> Option<Arc<SourceText>> {
    let path = match uri.split_once(':') {
        None => uri,
        Some(("file", path)) => path,
        Some(_) => return None,
    };
    let text = otelcore_config::decode_text(sources.read_file(path).ok()?).ok()?;
    let source = SourceText::new(path, text);
    Cluster::is_manifests(&source).then_some(source)
}

impl Manifests {
    /// Adds a file, a folder of files, or a folder with a kustomization.
    fn add(&mut self, path: &str, nesting_left: usize, sources: &SystemSources<'_>, d: &Diagnostics) {
        self.files_read += 1;
        if self.files_read >= MAX_FILES {
            if self.files_read == MAX_FILES {
                report_unreadable(format!("{path}: these are more than {MAX_FILES} files and folders"), d);
            }
            return;
        }
        let Some(files) = sources.yaml_files_of_folder(path) else {
            read_text(path, sources, d).iter().for_each(|source| self.cluster.add(source, d));
            return;
        };
        let is_kustomization = |file: &&String| KUSTOMIZATIONS.iter().any(|name| file.ends_with(&format!("/{name}")));
        if let Some(file) = files.iter().find(is_kustomization) {
            return self.add_kustomization(path, file, nesting_left, sources, d);
        }
        if files.is_empty() {
            report_unreadable(format!("{path} has no *.yaml"), d);
        }
        for file in files {
            self.files_read += 1;
            if self.files_read > MAX_FILES {
                break;
            }
            read_text(&file, sources, d).iter().for_each(|source| self.cluster.add(source, d));
        }
    }

    fn add_kustomization(
        &mut self,
        folder: &str,
        file: &str,
        nesting_left: usize,
        sources: &SystemSources<'_>,
        d: &Diagnostics,
    ) {
        let Some(source) = read_text(file, sources, d) else { return };
        let kustomization = Kustomization::parse(&source, d);
        for (key, origin) in &kustomization.ignored {
            d.warn(
                origin,
                "",
                format!("`{key}` is not applied here: the objects are checked as they are in their files"),
            )
            .kind(DiagnosticKind::Deployment)
            .help("pipe the whole through: kustomize build | otelcore validate --config=k8s:/dev/stdin");
        }
        let path_in_folder =
            |name: &str| if name.starts_with('/') { name.to_owned() } else { format!("{folder}/{name}") };
        for resource in &kustomization.resources {
            match nesting_left.checked_sub(1) {
                // Remote resources are not fetched; only kustomize does that.
                Some(_) if resource.contains("://") || resource.starts_with("github.com/") => {}
                Some(nesting_left) => self.add(&path_in_folder(resource), nesting_left, sources, d),
                None => report_unreadable(format!("{file}: kustomizations nest too deep"), d),
            }
        }
        for map in &kustomization.maps {
            let read =
                |(key, path): &(String, String)| Some((key.clone(), read_text(&path_in_folder(path), sources, d)?));
            self.cluster.add_generated(map, map.files.iter().filter_map(read).collect());
        }
    }

    /// The selected collectors. An error goes into `d` when there is none.
    fn selected_collectors(&self, d: &Diagnostics) -> Vec<Collector<'_>> {
        let all = self.cluster.collectors();
        let titles = || all.iter().map(Collector::title).collect::<Vec<_>>().join("; ");
        let title = self.source_names.join(", ");
        if all.is_empty() && !d.has_errors() {
            d.error(None, "", format!("{title}: no collector and no configuration of one is in these manifests"))
                .kind(DiagnosticKind::Source)
                .help("a ConfigMap, an OpenTelemetryCollector, or a workload whose container has --config=FILE");
        }
        let is_selected = |c: &&Collector<'_>| {
            self.selected_names.is_empty() || self.selected_names.iter().any(|pick| c.matches_name(pick))
        };
        let selected: Vec<_> = all.iter().filter(is_selected).cloned().collect();
        if selected.is_empty() && !all.is_empty() {
            d.error(None, "", format!("{title}: no collector is called {}", self.selected_names.join(", ")))
                .kind(DiagnosticKind::Source)
                .help(format!("there is {}", titles()));
        }
        selected
    }

    /// The configuration of the one selected collector, to run or to show on this machine, with the feature gates and
    /// the shutdown time of its command line.
    pub(super) fn load(
        &self,
        invocation: &Invocation,
        sources: &SystemSources<'_>,
        d: &Diagnostics,
    ) -> Option<(ConfigNode, FeatureGates, Option<Duration>)> {
        let mut collectors = self.selected_collectors(d);
        if self.cluster.is_limit_exceeded() {
            let message = "the manifests are too large to look through";
            d.error(None, "", message).kind(DiagnosticKind::Limit).help("name a file with fewer objects");
            return None;
        }
        let collector = collectors.pop()?;
        if !collectors.is_empty() {
            let names: Vec<_> = collectors.iter().chain([&collector]).map(Collector::title).collect();
            let name = self.source_names.first().cloned().unwrap_or_default();
            d.error(None, "", format!("{name} has {} collectors: {}", names.len(), names.join("; ")))
                .kind(DiagnosticKind::Source)
                .help(format!("name one of them: --config={SCHEME}{name}#{}", collector.owner().name));
            return None;
        }
        if self.is_detected {
            let name = self.source_names.first().cloned().unwrap_or_default();
            d.warn(
                None,
                "",
                format!("{name} holds Kubernetes objects: this is the configuration of {}", collector.title()),
            )
            .kind(DiagnosticKind::Source)
            .help(format!("write --config={SCHEME}{name} to say so"));
        }
        let container_invocation = parse_container_args(&collector, d)?;
        // A source that is not in the manifests may still be a file of this machine.
        let source_diagnostics = Diagnostics::new();
        if !collector.check_sources(&source_diagnostics) && source_diagnostics.has_errors() {
            source_diagnostics.items().into_iter().for_each(|item| d.push(item));
            return None;
        }
        let gates = parse_feature_gates(
            &concatenated(&container_invocation.feature_gates, &invocation.feature_gates),
            &Diagnostics::new(),
        );
        let container_sources = ContainerSources::for_local_run(&collector, sources);
        let (uris, sets) = self.merged_sources(&container_invocation, invocation);
        let root = otelcore_config::load(&uris, &sets, &container_sources, &gates, d)?;
        Some((root, gates, container_invocation.shutdown_timeout))
    }

    fn merged_sources(&self, container_invocation: &Invocation, invocation: &Invocation) -> (Vec<String>, Vec<String>) {
        (
            concatenated(&container_invocation.config, &self.other_sources),
            concatenated(&container_invocation.set, &invocation.set),
        )
    }

    /// Checks every selected collector: its configuration, and the objects that belong to it. Writes nothing when there
    /// is no mistake.
    pub(super) fn validate(
        &self,
        invocation: &Invocation,
        registry: &Registry,
        diagnostics: &Diagnostics,
        terminal: &mut Terminal<'_>,
    ) -> u8 {
        let mut mistakes: Vec<Diagnostic> = Vec::new();
        let mut seen = BTreeSet::new();
        let collectors = self.selected_collectors(diagnostics);
        let mut checked = 0;
        let mut all_effects = Vec::new();
        let items = collectors.iter().map_while(|collector| {
            let items = self.check_collector(collector, invocation, registry, &mut all_effects);
            // Once the limit is reached, objects are not found any more: the result is not used.
            let is_complete = !self.cluster.is_limit_exceeded();
            checked += usize::from(is_complete);
            is_complete.then_some(items)
        });
        let items: Vec<Diagnostic> = items.flatten().collect();
        otelcore_kubernetes::check_keys_of_topics(all_effects.iter(), diagnostics);
        if self.cluster.is_limit_exceeded() {
            diagnostics
                .error(
                    None,
                    "",
                    format!("the manifests are too large to check: {checked} of their collectors were checked"),
                )
                .kind(DiagnosticKind::Limit)
                .help("check them in parts");
        }
        for item in diagnostics.items().into_iter().chain(items) {
            // Two workloads may read the same ConfigMap: its mistakes are shown once.
            let position = item.origin.as_ref().map(|o| (o.source.clone(), o.line, o.column));
            let key = (position, item.path.clone(), item.message.clone(), item.help.clone());
            if mistakes.len() < MAX_MISTAKES && seen.insert(key) {
                mistakes.push(item);
            }
        }
        mistakes.sort_by_key(|item| item.origin.as_ref().map(|o| (o.source.clone(), o.line, o.column)));
        let errors = mistakes.iter().filter(|item| item.severity == Severity::Error).count();
        let output = Diagnostics::new();
        mistakes.into_iter().for_each(|item| output.push(item));
        let files = super::ReadFiles::new();
        super::LoadedConfig { plan: None, root: None, grace: DEFAULT_GRACE_PERIOD, diagnostics: output, files }
            .report_warnings(terminal);
        match errors {
            0 => 0,
            1 => print_error(terminal, "1 mistake, above"),
            n => print_error(terminal, &format!("{n} mistakes, above")),
        }
    }

    fn check_collector(
        &self,
        collector: &Collector<'_>,
        invocation: &Invocation,
        registry: &Registry,
        all_effects: &mut Vec<ConfigEffects>,
    ) -> Vec<Diagnostic> {
        let d = Diagnostics::new();
        collector.check_manifests(&d);
        let Some(container_invocation) = parse_container_args(collector, &d) else { return d.items() };
        if !collector.check_sources(&d) {
            return d.items();
        }
        let guesses = ContainerSources::PLACEHOLDERS
            .into_iter()
            .map(|guess| ContainerSources::for_check(collector).with_placeholder(guess));
        let mut attempts = std::iter::once(ContainerSources::for_check(collector)).chain(guesses).map(|inside| {
            let (diagnostics, effects) =
                self.check_config(collector, &inside, &container_invocation, invocation, registry);
            let is_usable = effects.is_some();
            all_effects.extend(effects);
            let unknown = inside.unknown();
            let explained: Vec<_> =
                diagnostics.items().into_iter().filter_map(|item| collector.explain(item, &unknown)).collect();
            (explained, is_usable || unknown.is_empty())
        });
        let first = attempts.next();
        let is_usable = first.as_ref().is_some_and(|(_, usable)| *usable);
        let usable = if is_usable { None } else { attempts.find(|(_, usable)| *usable) };
        let explained = usable.or(first).map(|(explained, _)| explained).unwrap_or_default();
        d.items().into_iter().chain(explained).collect()
    }

    /// Reads the configuration once: gives the mistakes, and what the configuration does if it can be used.
    fn check_config(
        &self,
        collector: &Collector<'_>,
        container_sources: &ContainerSources<'_>,
        container_invocation: &Invocation,
        invocation: &Invocation,
        registry: &Registry,
    ) -> (Diagnostics, Option<ConfigEffects>) {
        // `Plan::parse` returns a plan only where its list has no error, so each reading has its own list.
        let (diagnostics, gate_diagnostics) = (Diagnostics::new(), Diagnostics::new());
        let gates = parse_feature_gates(
            &concatenated(&container_invocation.feature_gates, &invocation.feature_gates),
            &gate_diagnostics,
        );
        for item in gate_diagnostics.items() {
            diagnostics.push(Diagnostic {
                origin: argument_of_flag(collector, "feature-gates").map(|w| w.origin.clone()),
                ..item
            });
        }
        let (uris, sets) = self.merged_sources(container_invocation, invocation);
        let root = otelcore_config::load(&uris, &sets, container_sources, &gates, &diagnostics);
        let plan = root.as_ref().and_then(|root| Some((Plan::parse(root, registry, &gates, &diagnostics)?, root)));
        let Some((plan, root)) = plan else { return (diagnostics, None) };
        let effects = plan.effects(root, container_invocation.shutdown_timeout.unwrap_or(DEFAULT_GRACE_PERIOD));
        collector.check(&effects, &diagnostics);
        if container_sources.unknown().is_empty()
            && let Err(e) = super::check_build(&plan)
        {
            diagnostics.error(None, "", e.to_string());
        }
        (diagnostics, Some(effects))
    }
}

/// The values of the container's command line, followed by those of this one.
fn concatenated(first: &[String], second: &[String]) -> Vec<String> {
    first.iter().chain(second).cloned().collect()
}

/// The word of a flag, or else the first word.
fn argument_of_flag<'c>(collector: &'c Collector<'_>, flag: &str) -> Option<&'c Argument> {
    let arguments = collector.args();
    let is_flag = |w: &&Argument| w.text.trim_start_matches('-').split('=').next() == Some(flag);
    arguments.iter().find(is_flag).or_else(|| arguments.first())
}

/// The container's command line, parsed as this program parses its own. `None` when the program would not start with
/// it.
fn parse_container_args(collector: &Collector<'_>, d: &Diagnostics) -> Option<Invocation> {
    let arguments = collector.args();
    match args::parse(arguments.iter().map(|w| OsString::from(&w.text))) {
        Ok(invocation) => {
            for (flag, replacement) in &invocation.old_flags {
                d.warn(
                    argument_of_flag(collector, flag).map(|w| &w.origin),
                    "",
                    format!("flag --{flag} is deprecated: {replacement}"),
                )
                .kind(DiagnosticKind::Deprecated);
            }
            Some(invocation).filter(|i| i.command == Command::Run)
        }
        Err(message) => {
            // Messages in cobra's form end with the flag, or have it in quotes.
            let is_named = |word: &&Argument| {
                let flag = word.text.split('=').next().unwrap_or_default();
                flag.len() > 1 && (message.ends_with(flag) || message.contains(&format!("\"{flag}\"")))
            };
            let argument = arguments.iter().find(is_named).or_else(|| arguments.first());
            d.error(argument.map(|w| &w.origin), "", message)
                .kind(DiagnosticKind::Deployment)
                .help("`otelcore --help` lists the flags");
            None
        }
    }
}
