//! `file_sd_configs`: targets in files.
//!
//! Files are looked at every [`POLL_INTERVAL`] by a job on a helper thread: those whose time, length or identity has changed
//! are read (Prometheus learns of changes from the system instead). At each `refresh_interval` all are read. A file that can't be read, or that changes while it is read, keeps what was found in it last.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use otelcore_config::{Section, config_struct};
use otelcore_go_regexp::GoRegexp;
use otelcore_pipeline::{
    Cx, Event, FileKind, FileMetadata, FileSystem, JobResult, LogField, Logger, MonotonicTime, TimerId,
};

use crate::duration::PrometheusDuration;
use crate::groups::{SourceLabel, parse_json, parse_yaml};
use crate::provider::Provider;
use crate::targets::TargetGroup;
use crate::updates::{GroupQueue, Sink};

/// The time between two looks at the files.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// The longest file, in bytes.
const MAX_FILE_BYTES: usize = 32 << 20;
/// The most files of one discovery.
const MAX_FILES: usize = 10_000;

config_struct! {
    /// Targets in files.
    #[config(check = Self::check)]
    #[derive(PartialEq, Eq)]
    pub struct FileSdConfig {
        /// The paths of files in JSON or YAML. The last part of a path may be a pattern with `*`.
        pub files: Vec<String>,
        /// How often all files are read again. Files that change are read within seconds.
        pub refresh_interval: PrometheusDuration = PrometheusDuration(Duration::from_secs(300)),
    }
}

impl FileSdConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.files.is_empty() {
            s.error("files", "file service discovery config must contain at least one path name");
        }
        for path in &self.files {
            if !is_valid_path(path) {
                s.error("files", format!("path name {path:?} is not valid for file discovery"))
                    .help("the name ends with .json, .yml or .yaml; only its last part may have a `*`");
            } else if has_pattern(folder_of(path)) {
                s.error("files", format!("patterns of folders are not supported: {path:?}"));
            }
        }
        if self.refresh_interval.0.is_zero() {
            s.error("refresh_interval", "'refresh_interval' must be positive");
        }
    }
}

/// Whether Prometheus takes this path: at most one `*`, in the last part, and a known ending.
fn is_valid_path(path: &str) -> bool {
    let endings = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"];
    let Some(stem) = endings.iter().find_map(|ending| path.strip_suffix(ending)) else { return false };
    stem.split_once('*').is_none_or(|(_, behind)| !behind.contains('/'))
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn has_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// The pattern of a file's name, as Go's `filepath.Match`.
fn name_pattern(name: &str) -> Result<GoRegexp, String> {
    let mut pattern = String::from("^(?s:");
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            '\\' => pattern.extend(chars.next().into_iter().flat_map(quoted)),
            '[' => {
                pattern.push('[');
                let mut is_first = true;
                loop {
                    match chars.next() {
                        None => return Err("syntax error in pattern".to_owned()),
                        Some(']') if !is_first => break,
                        Some('^') if is_first => {
                            pattern.push('^');
                            continue;
                        }
                        Some('-') => pattern.push('-'),
                        Some('\\') => pattern.extend(chars.next().into_iter().flat_map(quoted)),
                        Some(c) => pattern.extend(quoted(c)),
                    }
                    is_first = false;
                }
                pattern.push(']');
            }
            c => pattern.extend(quoted(c)),
        }
    }
    pattern.push_str(")$");
    GoRegexp::compile(&pattern).map_err(|_| "syntax error in pattern".to_owned())
}

fn quoted(c: char) -> impl Iterator<Item = char> {
    let is_plain = c.is_alphanumeric() || c == '_' || !c.is_ascii();
    (!is_plain).then_some('\\').into_iter().chain([c])
}

/// What is known of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Known {
    metadata: FileMetadata,
}

/// What a look at a file has found.
#[derive(Debug)]
enum Look {
    Unchanged,
    /// It is being written; it is read at the next look.
    Changing,
    Groups(FileMetadata, Vec<TargetGroup>),
    Failed(String),
}

/// The files that there are, and errors of patterns.
type Looks = (BTreeMap<String, Look>, Vec<String>);

/// A file whose groups have been found.
#[derive(Default)]
struct FileState {
    known: Option<Known>,
    groups: usize,
    error: Option<String>,
}

/// The discovery.
pub(crate) struct FileDiscovery {
    paths: Vec<String>,
    interval: Duration,
    log: Logger,
    base: u64,
    files: BTreeMap<String, FileState>,
    job: Option<JobResult<Looks>>,
    queue: GroupQueue,
    is_applying: bool,
    refresh_at: MonotonicTime,
    timer: Option<TimerId>,
    /// Why the last look failed as a whole.
    error: Option<String>,
    failures: u64,
}

impl FileDiscovery {
    pub(crate) fn new(config: &FileSdConfig, log: Logger, base: u64) -> Self {
        Self {
            paths: config.files.clone(),
            interval: config.refresh_interval.0,
            log,
            base,
            files: BTreeMap::new(),
            job: None,
            queue: GroupQueue::default(),
            is_applying: false,
            refresh_at: MonotonicTime(0),
            timer: None,
            error: None,
            failures: 0,
        }
    }

    fn look(&mut self, cx: &mut Cx<'_>) {
        let is_refresh = self.refresh_at <= cx.now();
        let known: BTreeMap<String, Known> = match is_refresh {
            true => BTreeMap::new(),
            false => self.files.iter().filter_map(|(path, file)| Some((path.clone(), file.known?))).collect(),
        };
        let paths = self.paths.clone();
        self.job = cx.run_file_job(self.base, move |system| look_at(system, &paths, &known)).ok();
        if self.job.is_some() && is_refresh {
            self.refresh_at = cx.now() + self.interval;
        }
        if self.job.is_none() {
            self.wait(cx);
        }
    }

    fn wait(&mut self, cx: &mut Cx<'_>) {
        let at = self.refresh_at.min(cx.now() + POLL_INTERVAL).max(cx.now() + Duration::from_millis(100));
        self.timer = Some(cx.set_timer(self.base, at));
    }

    fn apply(&mut self, (looks, errors): Looks) {
        self.failures += errors.len() as u64;
        let error = errors.into_iter().next();
        if error.is_some() && error != self.error {
            let text = error.as_deref().unwrap_or_default();
            self.log.error("Error expanding glob", &[("err", LogField::Str(text))]);
        }
        self.error = error;
        let gone: Vec<String> = self.files.keys().filter(|path| !looks.contains_key(*path)).cloned().collect();
        for path in gone {
            if let Some(file) = self.files.remove(&path) {
                self.queue.push_list(&path, Vec::new(), file.groups);
            }
        }
        for (path, look) in looks {
            self.apply_one(&path, look);
        }
    }

    fn apply_one(&mut self, path: &str, look: Look) {
        let file = self.files.entry(path.to_owned()).or_default();
        match look {
            Look::Unchanged => {}
            Look::Changing => file.known = None,
            Look::Groups(metadata, groups) => {
                let (count, before) = (groups.len(), file.groups);
                *file = FileState { known: Some(Known { metadata }), groups: count, error: None };
                self.queue.push_list(path, groups, before);
            }
            Look::Failed(error) => {
                file.known = None;
                self.failures += 1;
                if file.error.as_ref() != Some(&error) {
                    let fields = [("path", LogField::Str(path)), ("err", LogField::Str(&error))];
                    self.log.error("Error reading file", &fields);
                }
                file.error = Some(error);
            }
        }
    }
}

impl Provider for FileDiscovery {
    fn start(&mut self, cx: &mut Cx<'_>, _: &mut Sink<'_>) -> Result<(), String> {
        self.refresh_at = cx.now();
        self.look(cx);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, _: u64, event: &Event<'_>, sink: &mut Sink<'_>) {
        if matches!(event, Event::Timer) {
            self.timer = None;
            return self.look(cx);
        }
        if let Some(job) = self.job.take() {
            if let Some(looks) = job.take() {
                self.apply(looks);
            }
            self.is_applying = true;
        }
        if self.is_applying {
            self.is_applying = self.queue.apply(sink);
            // The next look begins when everything has been applied.
            if self.is_applying {
                cx.request_ready(self.base);
            } else {
                self.wait(cx);
            }
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.job = None;
        if let Some(timer) = self.timer.take() {
            cx.cancel_timer(timer);
        }
    }

    fn error(&self) -> Option<&str> {
        let of_file = || self.files.values().find_map(|file| file.error.as_deref());
        self.error.as_deref().or_else(of_file)
    }

    fn failures(&self) -> u64 {
        self.failures
    }
}

/// The job: finds the files, and reads those that have changed.
fn look_at(system: &mut dyn FileSystem, paths: &[String], known: &BTreeMap<String, Known>) -> Looks {
    let (mut found, mut errors) = (BTreeSet::new(), Vec::new());
    for path in paths {
        match expand(system, path) {
            Ok(paths) => found.extend(paths),
            Err(error) => errors.push(format!("{path}: {error}")),
        }
    }
    if found.len() > MAX_FILES {
        errors.push(format!("more than {MAX_FILES} files match; the others are left out"));
    }
    let looks = found.into_iter().take(MAX_FILES).filter_map(|path| {
        let look = look_at_one(system, &path, known.get(&path))?;
        Some((path, look))
    });
    (looks.collect(), errors)
}

/// The files of a path that may be a pattern. A folder that is not there has none.
fn expand(system: &mut dyn FileSystem, path: &str) -> Result<Vec<String>, String> {
    let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
    if !has_pattern(name) {
        return Ok(vec![path.to_owned()]);
    }
    let pattern = name_pattern(name)?;
    let shown = match (folder, path.starts_with('/')) {
        ("", true) => "/",
        ("", false) => ".",
        (folder, _) => folder,
    };
    let entries = match system.read_dir(Path::new(shown)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let names = entries.iter().filter(|entry| entry.kind != FileKind::Dir).filter_map(|entry| entry.name.to_str());
    let matching = names.filter(|name| pattern.is_match(name.as_bytes()));
    let prefix = path.strip_suffix(name).unwrap_or_default();
    Ok(matching.map(|name| format!("{prefix}{name}")).collect())
}

/// `None` where there is no file.
fn look_at_one(system: &mut dyn FileSystem, path: &str, known: Option<&Known>) -> Option<Look> {
    let at = PathBuf::from(path);
    let before = match system.metadata(&at) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => return Some(Look::Failed(error.to_string())),
    };
    if known.is_some_and(|known| known.metadata == before) {
        return Some(Look::Unchanged);
    }
    let bytes = match system.read(&at, MAX_FILE_BYTES) {
        Ok(bytes) => bytes,
        Err(error) => return Some(Look::Failed(error.to_string())),
    };
    if system.metadata(&at).ok() != Some(before) {
        return Some(Look::Changing);
    }
    let source = SourceLabel { name: "__meta_filepath", value: path };
    let is_json = at.extension().and_then(OsStr::to_str).is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let parsed = match (is_json, std::str::from_utf8(&bytes)) {
        (true, _) => parse_json(&bytes, &source),
        (false, Ok(text)) => parse_yaml(text, &source),
        (false, Err(_)) => Err("the file is not UTF-8".to_owned()),
    };
    Some(match parsed {
        Ok(groups) => Look::Groups(before, groups),
        Err(error) => Look::Failed(error),
    })
}
