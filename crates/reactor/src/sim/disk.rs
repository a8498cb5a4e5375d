//! A simulated disk: files in memory that lose at a crash what was not synced.
//!
//! Owns two images of a file system, the one that processes see and the one that survives a crash, and the faults that
//! a test sets. A write reaches the durable image with `sync_file`, a change of a directory with `sync_dir`. At a
//! crash, each sector that was written and not synced is lost, kept or written in part, each change of a directory that
//! was not synced is lost or kept, and the seed decides which. A sync that fails makes the system forget what was to be
//! written, as Linux does: a second one succeeds and the data is gone at a crash.
//!
//! Has no permissions, and no symbolic links but those that a test sets to be read. Never touches the machine's disk.

mod file;
mod operations;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Weak;
use std::time::Duration;

use otelcore_pipeline::{DiskUsage, FileJob, WallTime, os_error};

use self::file::File;
use super::random::RandomSource;
use crate::sockets::path_error;

type Inode = u64;

const ROOT: Inode = 1;

/// What goes wrong on a simulated disk. The default is nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskFaults {
    /// How long a file job takes: at least and at most. It is not used by [`SimDisk`] itself, but by the world that
    /// runs its jobs.
    pub delay: (Duration, Duration),
    /// How many bytes all files may have together before a write fails with `StorageFull`. A part of it is written.
    pub capacity: Option<u64>,
    /// Of 1000 reads and look-ups of a file or directory, how many fail with an input/output error.
    pub read_errors: u32,
    /// Of 1000 writes and changes of directories, how many fail with an input/output error. A write may be done in
    /// part.
    pub write_errors: u32,
    /// Of 1000 syncs, how many fail with an input/output error, and lose what was to be synced at the next crash.
    pub sync_errors: u32,
    /// Of 1000 writes, how many reach another place of the disk: sectors of any file, of which they overwrite what is
    /// there. The file that was meant has its new length, and what was there before.
    pub misdirected_writes: u32,
    /// Whether every change fails with `ReadOnlyFilesystem`.
    pub is_read_only: bool,
}

impl Default for DiskFaults {
    fn default() -> Self {
        Self {
            delay: (Duration::from_micros(50), Duration::from_micros(500)),
            capacity: None,
            read_errors: 0,
            write_errors: 0,
            sync_errors: 0,
            misdirected_writes: 0,
            is_read_only: false,
        }
    }
}

type Entries = BTreeMap<OsString, Inode>;

#[derive(Debug, Default)]
struct Dir {
    entries: Entries,
    durable: Entries,
    mode: u32,
    modified: WallTime,
}

#[derive(Debug)]
enum Node {
    File(File),
    Dir(Dir),
}

/// A place in a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    dir: Inode,
    name: OsString,
}

/// A change of directories that is not durable.
#[derive(Clone, Debug)]
enum DirChange {
    Add(Place, Inode),
    Remove(Place),
    Rename(Place, Place, Inode),
}

/// What a method does, for counting and faults.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Read,
    Write,
    Sync,
}

/// A disk of the simulation. See the module.
#[derive(Debug)]
pub struct SimDisk {
    nodes: BTreeMap<Inode, Node>,
    next_inode: Inode,
    /// Changes of directories that are not durable, in their order.
    changes: Vec<DirChange>,
    faults: DiskFaults,
    random: RandomSource,
    now: WallTime,
    /// Bytes of all files that processes see.
    used: u64,
    operations: u64,
    /// The number of the operation that is not carried out any more.
    crash_at: Option<u64>,
    has_crashed: bool,
    /// Who holds a file's lock. The process of the holder, or its end, drops the other reference.
    locks: BTreeMap<Inode, Weak<()>>,
    /// Files of which there is a handle.
    open_files: BTreeMap<Inode, Weak<()>>,
    bytes_read: u64,
    misdirected: u64,
    /// What [`otelcore_pipeline::FileSystem::read_link`] returns. Nothing else follows these links.
    links: BTreeMap<PathBuf, PathBuf>,
    /// What [`otelcore_pipeline::FileSystem::disk_usage`] returns, where it is not that of this disk.
    usages: BTreeMap<PathBuf, DiskUsage>,
}

impl SimDisk {
    /// An empty disk with the root directory. Its faults are drawn from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let root = Node::Dir(Dir { mode: 0o755, ..Dir::default() });
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            next_inode: ROOT + 1,
            changes: Vec::new(),
            faults: DiskFaults::default(),
            random: RandomSource(seed),
            now: WallTime::default(),
            used: 0,
            operations: 0,
            crash_at: None,
            has_crashed: false,
            locks: BTreeMap::new(),
            open_files: BTreeMap::new(),
            bytes_read: 0,
            misdirected: 0,
            links: BTreeMap::new(),
            usages: BTreeMap::new(),
        }
    }

    // ---- what a test sets and reads ----------------------------------------------------------------------------

    /// What goes wrong from now on.
    pub fn set_faults(&mut self, faults: DiskFaults) {
        self.faults = faults;
    }

    /// What goes wrong now.
    #[must_use]
    pub fn faults(&self) -> DiskFaults {
        self.faults
    }

    /// Sets the time that changed files get.
    pub fn set_now(&mut self, now: WallTime) {
        self.now = now;
    }

    /// How many methods of [`otelcore_pipeline::FileSystem`] were called, apart from the provided ones, which call
    /// others.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// How many bytes of files were read.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// How many writes have reached another place.
    #[must_use]
    pub fn misdirected(&self) -> u64 {
        self.misdirected
    }

    /// Flips a bit of a file, on the disk and for processes. The seed decides which file and which bit. Returns the
    /// file and the byte; `None` where all files are empty.
    pub fn flip_bit(&mut self) -> Option<(PathBuf, usize)> {
        let mut paths = self.paths();
        paths.retain(|path| self.content(path).is_some_and(|content| !content.is_empty()));
        let path = paths.get(self.random.below(paths.len()))?.clone();
        let inode = self.find("open", &path).ok()?;
        let (choice, bit) = (self.random.next(), self.random.below(8));
        let Some(Node::File(file)) = self.nodes.get_mut(&inode) else { return None };
        let at = usize::try_from(choice % file.content.len().max(1) as u64).unwrap_or(0);
        for image in [&mut file.content, &mut file.durable] {
            if let Some(byte) = image.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        Some((path, at))
    }

    /// Lets the machine crash when `count` more operations have been carried out: all later ones fail and change
    /// nothing.
    /// [`SimDisk::crash`] then has to be called; a [`crate::Sim`] does that and ends the process.
    pub fn crash_after(&mut self, count: u64) {
        self.crash_at = Some(self.operations.saturating_add(count));
    }

    /// Runs a job whose process ends when `count` operations have been carried out. Nothing is lost.
    pub fn run_in_part(&mut self, job: FileJob, count: u64) {
        let crash_at = self.crash_at.replace(self.operations.saturating_add(count));
        job(self);
        self.crash_at = crash_at;
        self.has_crashed = false;
    }

    /// Whether the operation set by [`SimDisk::crash_after`] was reached.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.has_crashed
    }

    /// Loses what was not synced, as far as the seed decides. The disk can be used again afterwards.
    pub fn crash(&mut self) {
        for change in std::mem::take(&mut self.changes) {
            if self.random.below(2) == 0 {
                self.make_durable(&change);
            }
        }
        let random = &mut self.random;
        for node in self.nodes.values_mut() {
            match node {
                Node::Dir(dir) => dir.entries.clone_from(&dir.durable),
                Node::File(file) => file.crash(random),
            }
        }
        self.open_files.clear();
        self.remove_unreachable();
        self.locks.clear();
        self.crash_at = None;
        self.has_crashed = false;
    }

    /// Sets a file's content at once, durably and without faults, with missing directories.
    pub fn write(&mut self, path: impl AsRef<Path>, content: impl Into<Vec<u8>>) {
        let path = path.as_ref();
        let mut dir = ROOT;
        let mut names: Vec<OsString> = names(path);
        let Some(name) = names.pop() else { return };
        for name in names {
            dir = match self.dir(dir).and_then(|d| d.entries.get(&name)) {
                Some(found) => *found,
                None => {
                    let made = self.add_node(Node::Dir(Dir { mode: 0o755, ..Dir::default() }));
                    self.add_durable(dir, name, made);
                    made
                }
            };
        }
        let content = content.into();
        let file = File { durable: content.clone(), content, mode: 0o644, modified: self.now, ..File::default() };
        let made = self.add_node(Node::File(file));
        self.changes.retain(|change| !change.is_at(dir, &name));
        self.add_durable(dir, name, made);
        self.remove_unreachable();
    }

    /// Sets what [`otelcore_pipeline::FileSystem::read_link`] returns for a path. Nothing else follows the link.
    pub fn set_link(&mut self, path: impl Into<PathBuf>, target: impl Into<PathBuf>) {
        self.links.insert(path.into(), target.into());
    }

    /// Sets what [`otelcore_pipeline::FileSystem::disk_usage`] returns for a path that exists.
    pub fn set_disk_usage(&mut self, path: impl Into<PathBuf>, usage: DiskUsage) {
        self.usages.insert(path.into(), usage);
    }

    /// Makes a directory at once, durably and without faults, with missing parents.
    pub fn make_dir(&mut self, path: impl AsRef<Path>) {
        let marker = path.as_ref().join("x");
        self.write(&marker, Vec::new());
        self.remove(&marker);
    }

    /// Removes a file at once, durably and without faults. A file that does not exist is no error.
    pub fn remove(&mut self, path: impl AsRef<Path>) {
        let Ok(place) = self.place("remove", path.as_ref()) else { return };
        self.changes.retain(|change| !change.is_at(place.dir, &place.name));
        if let Some(dir) = self.dir_mut(place.dir) {
            dir.entries.remove(&place.name);
            dir.durable.remove(&place.name);
        }
        self.remove_unreachable();
    }

    /// The content of a file as processes see it. Is not an operation and never fails by a fault.
    #[must_use]
    pub fn content(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        match self.nodes.get(&self.find("open", path.as_ref()).ok()?)? {
            Node::File(file) => Some(file.content.clone()),
            Node::Dir(_) => None,
        }
    }

    /// The content of a file, as `World::read_file` returns it. Is not an operation and never fails by a fault.
    ///
    /// # Errors
    /// There is no such file, or it is a directory.
    pub fn read_whole(&self, path: &str) -> io::Result<Vec<u8>> {
        match self.find("open", path.as_ref()).ok().and_then(|inode| self.nodes.get(&inode)) {
            Some(Node::File(file)) => Ok(file.content.clone()),
            Some(Node::Dir(_)) => {
                Err(io::Error::new(io::ErrorKind::IsADirectory, format!("read {path}: is a directory")))
            }
            None => Err(io::Error::new(io::ErrorKind::NotFound, format!("open {path}: no such file or directory"))),
        }
    }

    /// The paths of all files as processes see them, sorted.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        let mut dirs = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, inode)) = dirs.pop() {
            for (name, inode) in self.dir(inode).into_iter().flat_map(|dir| &dir.entries) {
                match self.nodes.get(inode) {
                    Some(Node::Dir(_)) => dirs.push((path.join(name), *inode)),
                    Some(Node::File(_)) => paths.push(path.join(name)),
                    None => {}
                }
            }
        }
        paths.sort_unstable();
        paths
    }

    // ---- the tree ----------------------------------------------------------------------------------------------

    fn add_node(&mut self, node: Node) -> Inode {
        let inode = self.next_inode;
        self.next_inode += 1;
        self.nodes.insert(inode, node);
        inode
    }

    fn add_durable(&mut self, dir: Inode, name: OsString, inode: Inode) {
        if let Some(dir) = self.dir_mut(dir) {
            dir.entries.insert(name.clone(), inode);
            dir.durable.insert(name, inode);
        }
    }

    fn dir(&self, inode: Inode) -> Option<&Dir> {
        match self.nodes.get(&inode)? {
            Node::Dir(dir) => Some(dir),
            Node::File(_) => None,
        }
    }

    fn dir_mut(&mut self, inode: Inode) -> Option<&mut Dir> {
        match self.nodes.get_mut(&inode)? {
            Node::Dir(dir) => Some(dir),
            Node::File(_) => None,
        }
    }

    fn find(&self, operation: &str, path: &Path) -> io::Result<Inode> {
        let failed = |errno| Err(system_error(operation, path, errno));
        let mut inode = ROOT;
        for name in names(path) {
            match self.nodes.get(&inode) {
                Some(Node::Dir(dir)) => match dir.entries.get(&name) {
                    Some(found) => inode = *found,
                    None => return failed(libc::ENOENT),
                },
                Some(Node::File(_)) | None => return failed(libc::ENOTDIR),
            }
        }
        Ok(inode)
    }

    /// The directory of a path, which must exist, and the last name.
    fn place(&self, operation: &str, path: &Path) -> io::Result<Place> {
        let mut names = names(path);
        let Some(name) = names.pop() else { return Err(system_error(operation, path, libc::EBUSY)) };
        let parent: PathBuf = names.iter().collect();
        let parent = self.find(operation, &parent);
        let dir = parent.map_err(|e| system_error(operation, path, os_error(&e).unwrap_or(libc::ENOENT)))?;
        if self.dir(dir).is_some() {
            Ok(Place { dir, name })
        } else {
            Err(system_error(operation, path, libc::ENOTDIR))
        }
    }

    fn entry(&self, place: &Place) -> Option<Inode> {
        self.dir(place.dir)?.entries.get(&place.name).copied()
    }

    fn file(&mut self, operation: &str, path: &Path) -> io::Result<&mut File> {
        let inode = self.find(operation, path)?;
        match self.nodes.get_mut(&inode) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(system_error(operation, path, libc::EISDIR)),
        }
    }

    fn length(&self, inode: Inode) -> u64 {
        match self.nodes.get(&inode) {
            Some(Node::File(file)) => file.content.len() as u64,
            _ => 0,
        }
    }

    /// Changes a directory as processes see it.
    fn change(&mut self, change: DirChange) {
        let now = self.now;
        let (remove, add) = match &change {
            DirChange::Add(place, inode) => (None, Some((place, *inode))),
            DirChange::Remove(place) => (Some(place), None),
            DirChange::Rename(from, to, inode) => (Some(from), Some((to, *inode))),
        };
        if let Some(place) = remove
            && let Some(dir) = self.dir_mut(place.dir)
        {
            dir.entries.remove(&place.name);
            dir.modified = now;
        }
        if let Some((place, inode)) = add
            && let Some(dir) = self.dir_mut(place.dir)
        {
            dir.entries.insert(place.name.clone(), inode);
            dir.modified = now;
        }
        self.changes.push(change);
    }

    fn make_durable(&mut self, change: &DirChange) {
        match change {
            DirChange::Add(place, inode) => {
                if let Some(dir) = self.dir_mut(place.dir) {
                    dir.durable.insert(place.name.clone(), *inode);
                }
            }
            DirChange::Remove(place) => {
                if let Some(dir) = self.dir_mut(place.dir) {
                    dir.durable.remove(&place.name);
                }
            }
            DirChange::Rename(from, to, inode) => {
                if let Some(dir) = self.dir_mut(from.dir)
                    && dir.durable.get(&from.name) == Some(inode)
                {
                    dir.durable.remove(&from.name);
                }
                if let Some(dir) = self.dir_mut(to.dir) {
                    dir.durable.insert(to.name.clone(), *inode);
                }
            }
        }
    }

    /// Frees what neither a process nor a crash can find any more.
    fn remove_unreachable(&mut self) {
        let mut reached = BTreeSet::new();
        let mut visible = BTreeSet::new();
        let mut open = vec![(ROOT, true)];
        let changed = self.changes.iter().filter_map(|change| match change {
            DirChange::Add(_, inode) | DirChange::Rename(_, _, inode) => Some((*inode, false)),
            DirChange::Remove(_) => None,
        });
        open.extend(changed);
        while let Some((inode, is_visible)) = open.pop() {
            let is_new = reached.insert(inode) | (is_visible && visible.insert(inode));
            if is_new && let Some(dir) = self.dir(inode) {
                open.extend(dir.durable.values().map(|inode| (*inode, false)));
                open.extend(dir.entries.values().map(|inode| (*inode, is_visible)));
            }
        }
        self.open_files.retain(|_, open| open.strong_count() > 0);
        let open_files = &self.open_files;
        self.nodes.retain(|inode, _| reached.contains(inode) || open_files.contains_key(inode));
        self.used = visible.iter().map(|inode| self.length(*inode)).sum();
    }

    // ---- faults ------------------------------------------------------------------------------------------------

    /// Counts an operation, and fails it where a fault says so.
    fn begin(&mut self, operation: Operation, name: &str, path: &Path) -> io::Result<()> {
        if self.crash_at.is_some_and(|at| self.operations >= at) {
            self.has_crashed = true;
        }
        if self.has_crashed {
            return Err(io::Error::other(format!("{name} {}: the simulated machine has crashed", path.display())));
        }
        self.operations += 1;
        if operation == Operation::Write && self.faults.is_read_only {
            return Err(system_error(name, path, libc::EROFS));
        }
        let errors = match operation {
            Operation::Read => self.faults.read_errors,
            Operation::Write => self.faults.write_errors,
            Operation::Sync => self.faults.sync_errors,
        };
        if errors > 0 && self.random.below(1000) < errors as usize {
            return Err(system_error(name, path, libc::EIO));
        }
        Ok(())
    }

    /// Overwrites sectors of a file that the seed chooses, without changing its length.
    fn write_elsewhere(&mut self, data: &[u8]) {
        let has_content = |(inode, node): (&Inode, &Node)| match node {
            Node::File(file) => (!file.content.is_empty()).then_some(*inode),
            Node::Dir(_) => None,
        };
        let inodes: Vec<Inode> = self.nodes.iter().filter_map(has_content).collect();
        let (Some(inode), choice) = (inodes.get(self.random.below(inodes.len())), self.random.next()) else { return };
        if let Some(Node::File(file)) = self.nodes.get_mut(inode) {
            self.misdirected += 1;
            file.overwrite(choice, data);
        }
    }

    /// How many bytes more the files may have.
    fn room(&self) -> u64 {
        self.faults.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used))
    }
}

impl DirChange {
    fn touches(&self, inode: Inode) -> bool {
        match self {
            Self::Add(place, _) | Self::Remove(place) => place.dir == inode,
            Self::Rename(from, to, _) => from.dir == inode || to.dir == inode,
        }
    }

    fn is_at(&self, dir: Inode, name: &OsString) -> bool {
        let is_it = |place: &Place| place.dir == dir && place.name == *name;
        match self {
            Self::Add(place, _) | Self::Remove(place) => is_it(place),
            Self::Rename(from, to, _) => is_it(from) || is_it(to),
        }
    }
}

/// The names of a path; a relative one begins at the root.
fn names(path: &Path) -> Vec<OsString> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_owned()),
            Component::ParentDir => drop(names.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    names
}

fn system_error(operation: &str, path: &Path, errno: i32) -> io::Error {
    path_error(operation, path, &io::Error::from_raw_os_error(errno))
}

#[cfg(test)]
mod tests;
