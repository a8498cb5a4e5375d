//! Finds the files whose paths match patterns.
//!
//! Lists only directories that can have such files. What it finds and what it lists is bounded.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use otelcore_pipeline::{FileKind, FileSystem};

use crate::glob::{Pattern, Segment};

/// The most files that all patterns find.
const MAX_FILES: usize = 200_000;
/// The most directories that are listed for all patterns.
const MAX_DIRS: usize = 100_000;
/// The deepest directory that `**` lists, so that links in a circle end.
const MAX_DEPTH: usize = 64;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Paths of files, sorted.
    pub(crate) paths: Vec<PathBuf>,
    /// The first directory that could not be listed, or the limit that was reached.
    pub(crate) error: Option<String>,
}

/// Finds the files that match one of `include` and none of `exclude`.
pub(crate) fn find(files: &mut dyn FileSystem, include: &[Pattern], exclude: &[Pattern]) -> Found {
    let mut search = Search { files, exclude, paths: BTreeSet::new(), dirs_left: MAX_DIRS, error: None };
    for pattern in include {
        let start = if pattern.is_absolute { PathBuf::from("/") } else { PathBuf::new() };
        search.walk(start, &pattern.segments);
    }
    Found { paths: search.paths.into_iter().collect(), error: search.error }
}

struct Search<'s> {
    files: &'s mut dyn FileSystem,
    exclude: &'s [Pattern],
    paths: BTreeSet<PathBuf>,
    dirs_left: usize,
    error: Option<String>,
}

impl Search<'_> {
    fn walk(&mut self, start: PathBuf, segments: &[Segment]) {
        // A path, the segments that it has matched, and how many directories `**` has entered.
        let mut open = vec![(start, 0, 0)];
        while let Some((path, at, depth)) = open.pop() {
            let Some(segment) = segments.get(at) else {
                self.add_if_file(path);
                continue;
            };
            if let Segment::Name(name) = segment {
                let name = std::ffi::OsStr::from_bytes(name);
                open.push((path.join(name), at + 1, depth));
                continue;
            }
            let is_last = at + 1 == segments.len();
            if *segment == Segment::AnyDirs && !is_last {
                open.push((path.clone(), at + 1, depth));
            }
            let Some(entries) = self.list(&path) else { continue };
            for (name, kind) in entries {
                if self.paths.len() >= MAX_FILES {
                    self.fail(|| format!("more than {MAX_FILES} files match"));
                    return;
                }
                let inner = path.join(&name);
                match segment {
                    Segment::AnyDirs => {
                        if is_last && kind != FileKind::Dir {
                            self.add(inner.clone(), kind);
                        }
                        // A link to a directory is one, as in the Go collector.
                        let is_dir = kind == FileKind::Dir || (kind == FileKind::Symlink && self.is_dir(&inner));
                        if is_dir && depth < MAX_DEPTH {
                            open.push((inner, at, depth + 1));
                        }
                    }
                    one if one.matches(name.as_bytes()) => {
                        if is_last {
                            self.add(inner, kind);
                        } else {
                            open.push((inner, at + 1, depth));
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn fail(&mut self, error: impl FnOnce() -> String) {
        self.error.get_or_insert_with(error);
    }

    fn list(&mut self, path: &Path) -> Option<Vec<(std::ffi::OsString, FileKind)>> {
        if self.dirs_left == 0 {
            self.fail(|| format!("more than {MAX_DIRS} directories match"));
            return None;
        }
        self.dirs_left -= 1;
        let dir = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        match self.files.read_dir(dir) {
            Ok(entries) => Some(entries.into_iter().map(|entry| (entry.name, entry.kind)).collect()),
            // A directory that is not there, or a file where a directory could be.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
            Err(e) => {
                self.fail(|| e.to_string());
                None
            }
        }
    }

    fn is_dir(&mut self, path: &Path) -> bool {
        self.files.metadata(path).is_ok_and(|found| found.kind == FileKind::Dir)
    }

    fn add(&mut self, path: PathBuf, kind: FileKind) {
        match kind {
            FileKind::File => {
                if !self.is_excluded(&path) {
                    self.paths.insert(path);
                }
            }
            FileKind::Symlink => self.add_if_file(path),
            FileKind::Dir | FileKind::Other => {}
        }
    }

    fn add_if_file(&mut self, path: PathBuf) {
        if !self.is_excluded(&path) && self.files.metadata(&path).is_ok_and(|found| found.kind == FileKind::File) {
            self.paths.insert(path);
        }
    }

    fn is_excluded(&self, path: &Path) -> bool {
        self.exclude.iter().any(|pattern| pattern.matches(path.as_os_str().as_bytes()))
    }
}
