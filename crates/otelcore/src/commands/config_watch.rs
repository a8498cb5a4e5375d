//! `--reload-on-change`: finds out when the files of the configuration have changed.
//!
//! Owns the files that were read last and what they contained. It is a part of the running graph and reads files by jobs; the
//! caller reads the configuration again when [`ConfigWatch::take_change`] says so.
//!
//! Files are looked at once a second. An inotify watch would have to follow every link and folder on the way to a file: a mounted
//! ConfigMap is changed by a rename of the link `..data`, editors replace files, and network file systems report nothing. A stat of
//! each file follows links by itself, sees all of these, and costs some microseconds a second.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use otelcore_pipeline::{Cx, Event, Extension, FileKind, FileSystem, JobResult, StartError};

/// How often files are looked at, and how long they must have stayed the same before they are read.
const INTERVAL: Duration = Duration::from_secs(1);

/// The most bytes that are read of one file. A configuration is refused before that.
const MAX_FILE_BYTES: u64 = super::MAX_TOTAL_FILE_BYTES as u64;

const TIMER_KEY: u64 = 0;
const JOB_KEY: u64 = 1;

/// What a file contained: a hash, or `None` where it could not be read.
type Content = Option<u64>;

/// The files that a configuration was read from.
pub(super) type ReadFiles = BTreeMap<String, Content>;

/// The hash of the bytes of a file.
pub(super) fn content_hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[derive(Debug, Default)]
struct Watched {
    files: ReadFiles,
    /// They differ from what was read.
    has_changed: bool,
}

/// The state that the watch shares with the code that reads the configuration. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct ConfigWatch(Arc<Mutex<Watched>>);

impl ConfigWatch {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration was read from these files. Where it is not valid, those of the one that runs are watched as well, since
    /// what is wrong may be that another file is missing.
    pub(super) fn set_files(&self, files: &ReadFiles, is_valid: bool) {
        let mut watched = self.lock();
        if is_valid {
            watched.files.clear();
        }
        watched.files.extend(files.iter().map(|(path, content)| (path.clone(), *content)));
    }

    /// Whether the files have changed since they were read, and stay the same now. True once for each change.
    pub(super) fn take_change(&self) -> bool {
        std::mem::take(&mut self.lock().has_changed)
    }

    /// A watch to be run by a graph.
    pub(super) fn part(&self) -> Box<dyn Extension> {
        Box::new(Watcher { watch: self.clone(), seen: Seen::default(), job: None })
    }
}

/// What identifies the state of a file without reading it: device and inode, length, time of the last change.
type FileState = Option<((u64, u64), u64, u64)>;

/// What was seen of all files.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Seen {
    states: BTreeMap<String, FileState>,
    /// They have been the same twice, and were read then.
    is_settled: bool,
}

impl Seen {
    /// Adds what is seen now. Returns whether the files are to be read: they have changed, and are the same as the last time.
    fn observe(&mut self, states: BTreeMap<String, FileState>) -> bool {
        if self.states != states {
            (self.states, self.is_settled) = (states, false);
            return false;
        }
        !std::mem::replace(&mut self.is_settled, true)
    }
}

struct Watcher {
    watch: ConfigWatch,
    seen: Seen,
    job: Option<JobResult<(Seen, Option<ReadFiles>)>>,
}

impl Watcher {
    fn begin(&mut self, cx: &mut Cx<'_>) {
        let paths: Vec<String> = self.watch.lock().files.keys().cloned().collect();
        let mut seen = self.seen.clone();
        let job = cx.run_file_job(JOB_KEY, move |files| {
            let states = paths.iter().map(|path| (path.clone(), file_state(files, path))).collect();
            let contents = seen
                .observe(states)
                .then(|| paths.iter().map(|path| (path.clone(), read_content(files, path))).collect());
            (seen, contents)
        });
        // It is the only job, so it is accepted.
        self.job = job.ok();
        self.set_timer(cx);
    }

    fn set_timer(&self, cx: &mut Cx<'_>) {
        let at = cx.now() + INTERVAL;
        cx.set_timer(TIMER_KEY, at);
    }

    fn finish(&mut self) {
        let Some(result) = self.job.take_if(|job| job.has_ended()) else { return };
        let Some((seen, contents)) = result.take() else { return };
        self.seen = seen;
        let Some(contents) = contents else { return };
        let mut watched = self.watch.lock();
        // Files that were read since the job has begun are compared the next time.
        let is_other = |(path, content): (&String, &mut Content)| {
            contents.get(path).is_some_and(|now| std::mem::replace(content, *now) != *now)
        };
        let changed = watched.files.iter_mut().map(is_other).filter(|is_other| *is_other).count();
        watched.has_changed |= changed > 0;
    }
}

impl Extension for Watcher {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.set_timer(cx);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>) {
        match local {
            // A disk that does not answer delays the next look.
            TIMER_KEY if self.job.is_some() => self.set_timer(cx),
            TIMER_KEY => self.begin(cx),
            _ => self.finish(),
        }
    }
}

/// The state of a file. A pipe has none: it can't be read again.
fn file_state(files: &mut dyn FileSystem, path: &str) -> FileState {
    let metadata = files.metadata(Path::new(path)).ok().filter(|metadata| metadata.kind == FileKind::File)?;
    Some((metadata.identity, metadata.length, metadata.modified.0))
}

fn read_content(files: &mut dyn FileSystem, path: &str) -> Content {
    let path = Path::new(path);
    let length = files.metadata(path).ok().filter(|metadata| metadata.kind == FileKind::File)?.length;
    let length = usize::try_from(length.min(MAX_FILE_BYTES)).ok()?;
    files.read_at(path, 0, length).ok().map(|bytes| content_hash(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(all: &[(&str, FileState)]) -> BTreeMap<String, FileState> {
        all.iter().map(|(path, state)| ((*path).to_owned(), *state)).collect()
    }

    #[test]
    fn files_are_read_once_they_have_been_the_same_twice() {
        let (old, new, missing) = (Some(((1, 1), 10, 5)), Some(((1, 2), 10, 5)), None);
        let mut seen = Seen::default();
        assert!(!seen.observe(states(&[("a", old), ("b", old)])));
        assert!(seen.observe(states(&[("a", old), ("b", old)])), "what was read at the start may be older");
        for _ in 0..3 {
            assert!(!seen.observe(states(&[("a", old), ("b", old)])));
        }
        // A link that moves: the length and the time may be the same.
        assert!(!seen.observe(states(&[("a", new), ("b", old)])));
        assert!(!seen.observe(states(&[("a", missing), ("b", old)])), "it changes still");
        assert!(!seen.observe(states(&[("a", new), ("b", old)])));
        assert!(seen.observe(states(&[("a", new), ("b", old)])));
        assert!(!seen.observe(states(&[("a", new), ("b", old)])));
    }

    #[test]
    fn files_of_a_configuration_that_is_not_valid_are_watched_beside_the_others() {
        let files = |paths: &[&str]| paths.iter().map(|path| ((*path).to_owned(), None)).collect::<ReadFiles>();
        let watch = ConfigWatch::default();
        watch.set_files(&files(&["a", "b"]), true);
        watch.set_files(&files(&["a", "c"]), false);
        assert_eq!(watch.lock().files, files(&["a", "b", "c"]));
        watch.set_files(&files(&["a", "c"]), true);
        assert_eq!(watch.lock().files, files(&["a", "c"]));
        assert!(!watch.take_change());
    }
}
