//! `--config=k8s:PATH[#NAME]`, and files whose content is Kubernetes manifests: runs one of their collectors on this
//! machine, or checks all of them against the other objects of the manifests.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::{Diagnostic, Diagnostics, Gates, Kind, Node, Severity, SourceText, Sources};
use otelcore_kubernetes::{Cluster, Collector, Inside, KUSTOMIZATIONS, Kustomization, Word};

use super::args::{self, Command, Invocation};
use super::{Machine, Terminal, fail, gates};
use crate::plan::Plan;
use crate::registry::Registry;
use crate::service::GRACE;

/// The scheme of such a source.
const SCHEME: &str = "k8s:";

/// The manifests of a command line.
pub(super) struct Manifests {
    cluster: Cluster,
    /// The names after `#`.
    picks: Vec<String>,
    /// Their names on the command line.
    names: Vec<String>,
    /// Sources that are no manifests: they are merged over the collector's own sources.
    others: Vec<String>,
    /// Whether no source was given with `k8s:`.
    guessed: bool,
    /// How many files and folders were read so far.
    looked: usize,
}

/// `None` when there is no manifest among the sources.
pub(super) fn read(uris: &[String], machine: &Machine<'_>, d: &Diagnostics) -> Option<Manifests> {
    let (cluster, guessed) = (Cluster::default(), true);
    let mut found = Manifests { cluster, picks: Vec::new(), names: Vec::new(), others: Vec::new(), guessed, looked: 0 };
    for uri in uris {
        if let Some(rest) = uri.strip_prefix(SCHEME) {
            let (path, pick) = rest.rsplit_once('#').map_or((rest, None), |(path, pick)| (path, Some(pick)));
            found.guessed = false;
            found.picks.extend(pick.map(str::to_owned));
            found.names.push(path.to_owned());
            found.add(path, MAX_NESTED, machine, d);
        } else if let Some(source) = manifest(uri, machine) {
            found.names.push(source.name.to_string());
            found.cluster.add(&source, d);
        } else {
            found.others.push(uri.clone());
        }
    }
    (!found.names.is_empty()).then_some(found)
}

/// The most mistakes that are kept for the output: more than a [`Diagnostics`] keeps.
const MOST_KEPT: usize = 4000;

/// The most files and folders that are read: a kustomization can name itself in many ways.
const MOST_FILES: usize = 10_000;

/// How deep kustomizations may be nested.
const MAX_NESTED: usize = 8;

fn unreadable(message: String, d: &Diagnostics) {
    d.error(None, "", format!("cannot retrieve the configuration: {message}")).kind(Kind::Source);
}

/// The text of a file; an error goes into `d`.
fn text(file: &str, machine: &Machine<'_>, d: &Diagnostics) -> Option<Arc<SourceText>> {
    match machine.file(file).map(otelcore_config::text_of) {
        Ok(Ok(text)) => return Some(SourceText::new(file, text)),
        Ok(Err(why)) => unreadable(format!("{file}: {why}"), d),
        Err(e) => unreadable(format!("unable to read the file {SCHEME}{file}: {e}"), d),
    }
    None
}

/// The text of a file whose content is Kubernetes objects.
fn manifest(uri: &str, machine: &Machine<'_>) -> Option<Arc<SourceText>> {
    let path = match uri.split_once(':') {
        None => uri,
        Some(("file", path)) => path,
        Some(_) => return None,
    };
    let text = otelcore_config::text_of(machine.file(path).ok()?).ok()?;
    let source = SourceText::new(path, text);
    Cluster::recognises(&source).then_some(source)
}

impl Manifests {
    /// Adds a file, a folder of files, or a folder with a kustomization.
    fn add(&mut self, path: &str, deeper: usize, machine: &Machine<'_>, d: &Diagnostics) {
        self.looked += 1;
        if self.looked >= MOST_FILES {
            if self.looked == MOST_FILES {
                unreadable(format!("{path}: these are more than {MOST_FILES} files and folders"), d);
            }
            return;
        }
        let Some(files) = machine.folder(path) else {
            text(path, machine, d).iter().for_each(|source| self.cluster.add(source, d));
            return;
        };
        let is_kustomization = |file: &&String| KUSTOMIZATIONS.iter().any(|name| file.ends_with(&format!("/{name}")));
        if let Some(file) = files.iter().find(is_kustomization) {
            return self.kustomize(path, file, deeper, machine, d);
        }
        if files.is_empty() {
            unreadable(format!("{path} has no *.yaml"), d);
        }
        for file in files {
            self.looked += 1;
            if self.looked > MOST_FILES {
                break;
            }
            text(&file, machine, d).iter().for_each(|source| self.cluster.add(source, d));
        }
    }

    fn kustomize(&mut self, folder: &str, file: &str, deeper: usize, machine: &Machine<'_>, d: &Diagnostics) {
        let Some(source) = text(file, machine, d) else { return };
        let kustomization = Kustomization::read(&source, d);
        for (key, origin) in &kustomization.ignored {
            d.warn(
                origin,
                "",
                format!("`{key}` is not applied here: the objects are checked as they are in their files"),
            )
            .kind(Kind::Deployment)
            .hint("pipe the whole through: kustomize build | otelcore validate --config=k8s:/dev/stdin");
        }
        let inside = |name: &str| if name.starts_with('/') { name.to_owned() } else { format!("{folder}/{name}") };
        for resource in &kustomization.resources {
            match deeper.checked_sub(1) {
                // Remote resources are not fetched; only kustomize does that.
                Some(_) if resource.contains("://") || resource.starts_with("github.com/") => {}
                Some(deeper) => self.add(&inside(resource), deeper, machine, d),
                None => unreadable(format!("{file}: kustomizations nest too deep"), d),
            }
        }
        for map in &kustomization.maps {
            let read = |(key, path): &(String, String)| Some((key.clone(), text(&inside(path), machine, d)?));
            self.cluster.add_generated(map, map.files.iter().filter_map(read).collect());
        }
    }

    /// The selected collectors. An error goes into `d` when there is none.
    fn collectors(&self, d: &Diagnostics) -> Vec<Collector<'_>> {
        let all = self.cluster.collectors();
        let names = || all.iter().map(Collector::title).collect::<Vec<_>>().join("; ");
        let title = self.names.join(", ");
        if all.is_empty() && !d.has_errors() {
            d.error(None, "", format!("{title}: no collector and no configuration of one is in these manifests"))
                .kind(Kind::Source)
                .hint("a ConfigMap, an OpenTelemetryCollector, or a workload whose container has --config=FILE");
        }
        let meant = |c: &&Collector<'_>| self.picks.is_empty() || self.picks.iter().any(|pick| c.answers_to(pick));
        let picked: Vec<_> = all.iter().filter(meant).cloned().collect();
        if picked.is_empty() && !all.is_empty() {
            d.error(None, "", format!("{title}: no collector is called {}", self.picks.join(", ")))
                .kind(Kind::Source)
                .hint(format!("there is {}", names()));
        }
        picked
    }

    /// The configuration of the one selected collector, to run or to show on this machine, with the feature gates and
    /// the shutdown time of its command line.
    pub(super) fn load(
        &self,
        outer: &Invocation,
        machine: &Machine<'_>,
        d: &Diagnostics,
    ) -> Option<(Node, Gates, Option<Duration>)> {
        let mut collectors = self.collectors(d);
        if self.cluster.exhausted() {
            let message = "the manifests are too large to look through";
            d.error(None, "", message).kind(Kind::Limit).hint("name a file with fewer objects");
            return None;
        }
        let collector = collectors.pop()?;
        if !collectors.is_empty() {
            let names: Vec<_> = collectors.iter().chain([&collector]).map(Collector::title).collect();
            let name = self.names.first().cloned().unwrap_or_default();
            d.error(None, "", format!("{name} has {} collectors: {}", names.len(), names.join("; ")))
                .kind(Kind::Source)
                .hint(format!("name one of them: --config={SCHEME}{name}#{}", collector.owner().name));
            return None;
        }
        if self.guessed {
            let name = self.names.first().cloned().unwrap_or_default();
            d.warn(
                None,
                "",
                format!("{name} holds Kubernetes objects: this is the configuration of {}", collector.title()),
            )
            .kind(Kind::Source)
            .hint(format!("write --config={SCHEME}{name} to say so"));
        }
        let inner = command_line(&collector, d)?;
        // A source that is not in the manifests may still be a file of this machine.
        let missing = Diagnostics::new();
        if !collector.check_sources(&missing) && missing.has_errors() {
            missing.items().into_iter().for_each(|item| d.push(item));
            return None;
        }
        let gates = gates(&both(&inner.feature_gates, &outer.feature_gates), &Diagnostics::new());
        let inside = Inside::local(&collector, machine);
        let (uris, sets) = self.sources(&inner, outer);
        let root = otelcore_config::load(&uris, &sets, &inside, &gates, d)?;
        Some((root, gates, inner.grace))
    }

    fn sources(&self, inner: &Invocation, outer: &Invocation) -> (Vec<String>, Vec<String>) {
        (both(&inner.config, &self.others), both(&inner.set, &outer.set))
    }

    /// Checks every selected collector: its configuration, and the objects that belong to it. Writes nothing when there
    /// is no mistake.
    pub(super) fn validate(
        &self,
        outer: &Invocation,
        registry: &Registry,
        read: &Diagnostics,
        terminal: &mut Terminal<'_>,
    ) -> u8 {
        let mut found: Vec<Diagnostic> = Vec::new();
        let mut seen = BTreeSet::new();
        let collectors = self.collectors(read);
        let mut checked = 0;
        let items = collectors.iter().map_while(|collector| {
            let items = self.check(collector, outer, registry);
            // Once the limit is reached, objects are not found any more: the result is not used.
            let whole = !self.cluster.exhausted();
            checked += usize::from(whole);
            whole.then_some(items)
        });
        let items: Vec<Diagnostic> = items.flatten().collect();
        if self.cluster.exhausted() {
            read.error(
                None,
                "",
                format!("the manifests are too large to check: {checked} of their collectors were checked"),
            )
            .kind(Kind::Limit)
            .hint("check them in parts");
        }
        for item in read.items().into_iter().chain(items) {
            // Two workloads may read the same ConfigMap: its mistakes are shown once.
            let place = item.origin.as_ref().map(|o| (o.source.clone(), o.line, o.column));
            let key = (place, item.path.clone(), item.message.clone(), item.help.clone());
            if found.len() < MOST_KEPT && seen.insert(key) {
                found.push(item);
            }
        }
        found.sort_by_key(|item| item.origin.as_ref().map(|o| (o.source.clone(), o.line, o.column)));
        let errors = found.iter().filter(|item| item.severity == Severity::Error).count();
        let diagnostics = Diagnostics::new();
        found.into_iter().for_each(|item| diagnostics.push(item));
        super::Loaded { plan: None, grace: GRACE, diagnostics }.warnings(terminal);
        match errors {
            0 => 0,
            1 => fail(terminal, "1 mistake, above"),
            n => fail(terminal, &format!("{n} mistakes, above")),
        }
    }

    fn check(&self, collector: &Collector<'_>, outer: &Invocation, registry: &Registry) -> Vec<Diagnostic> {
        let d = Diagnostics::new();
        collector.check_manifests(&d);
        let Some(inner) = command_line(collector, &d) else { return d.items() };
        if !collector.check_sources(&d) {
            return d.items();
        }
        let guesses = Inside::GUESSES.into_iter().map(|guess| Inside::check(collector).guessing(guess));
        let mut tries = std::iter::once(Inside::check(collector)).chain(guesses).map(|inside| {
            let (own, usable) = self.check_inside(collector, &inside, &inner, outer, registry);
            let unknown = inside.unknown();
            let told: Vec<_> = own.items().into_iter().filter_map(|item| collector.explain(item, &unknown)).collect();
            (told, usable || unknown.is_empty())
        });
        let first = tries.next();
        let usable = first.as_ref().is_some_and(|(_, usable)| *usable);
        let better = if usable { None } else { tries.find(|(_, usable)| *usable) };
        let told = better.or(first).map(|(told, _)| told).unwrap_or_default();
        d.items().into_iter().chain(told).collect()
    }

    /// Reads the configuration once: gives the mistakes, and whether it can be used.
    fn check_inside(
        &self,
        collector: &Collector<'_>,
        inside: &Inside<'_>,
        inner: &Invocation,
        outer: &Invocation,
        registry: &Registry,
    ) -> (Diagnostics, bool) {
        // `Plan::parse` returns a plan only where its list has no error, so each reading has its own list.
        let (own, said) = (Diagnostics::new(), Diagnostics::new());
        let gates = gates(&both(&inner.feature_gates, &outer.feature_gates), &said);
        for item in said.items() {
            own.push(Diagnostic { origin: word(collector, "feature-gates").map(|w| w.origin.clone()), ..item });
        }
        let (uris, sets) = self.sources(inner, outer);
        let root = otelcore_config::load(&uris, &sets, inside, &gates, &own);
        let plan = root.as_ref().and_then(|root| Some((Plan::parse(root, registry, &gates, &own)?, root)));
        let Some((plan, root)) = plan else { return (own, false) };
        collector.check(&plan.facts(root, inner.grace.unwrap_or(GRACE)), &own);
        if inside.unknown().is_empty()
            && let Err(e) = super::show::build(&plan)
        {
            own.error(None, "", e.to_string());
        }
        (own, true)
    }
}

/// The values of the container's command line, followed by those of this one.
fn both(inner: &[String], outer: &[String]) -> Vec<String> {
    inner.iter().chain(outer).cloned().collect()
}

/// The word of a flag, or else the first word.
fn word<'c>(collector: &'c Collector<'_>, flag: &str) -> Option<&'c Word> {
    let words = collector.args();
    let is = |w: &&Word| w.text.trim_start_matches('-').split('=').next() == Some(flag);
    words.iter().find(is).or_else(|| words.first())
}

/// The container's command line, parsed as this program parses its own. `None` when the program would not start with
/// it.
fn command_line(collector: &Collector<'_>, d: &Diagnostics) -> Option<Invocation> {
    let words = collector.args();
    match args::parse(words.iter().map(|w| OsString::from(&w.text))) {
        Ok(inner) => {
            for (flag, becomes) in &inner.old_flags {
                d.warn(word(collector, flag).map(|w| &w.origin), "", format!("flag --{flag} is deprecated: {becomes}"))
                    .kind(Kind::Deprecated);
            }
            Some(inner).filter(|i| i.command == Command::Run)
        }
        Err(message) => {
            // Messages in cobra's form end with the flag, or have it in quotes.
            let named = |word: &&Word| {
                let flag = word.text.split('=').next().unwrap_or_default();
                flag.len() > 1 && (message.ends_with(flag) || message.contains(&format!("\"{flag}\"")))
            };
            let word = words.iter().find(named).or_else(|| words.first());
            d.error(word.map(|w| &w.origin), "", message)
                .kind(Kind::Deployment)
                .hint("`otelcore --help` lists the flags");
            None
        }
    }
}
