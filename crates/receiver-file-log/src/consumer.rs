//! Finds files, follows them through rotations, and makes requests of what is added to them.
//!
//! A machine: [`FileConsumer::step`] is given a file system and the time, does a bounded part of the work, and returns what it
//! has read. It opens nothing by itself, and never waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use otelcore_go_text::time::Location;
use otelcore_pipeline::{FileHandle, FileKind, FileSystem, ValueChange, ValueStore};
use otelcore_stanza::encode::{EncodedLogs, encode};
use otelcore_stanza::{Entry, Failure, Key, Map, OperatorPipeline, RunContext, TextTemplate, Value, key};

use crate::checkpoint;
use crate::config::FileLogConfig;
use crate::file_set::FileSet;
use crate::file_state::{FileState, Position};
use crate::header::HeaderParser;
use crate::matcher::Matcher;
use crate::owners::Owners;
use crate::reader::{ReadEnd, ReadSettings, Reader, Reading, fingerprint_of, path_value};
use crate::splitter::Splitter;

/// What one step reads at most: bytes of files, and entries.
const STEP_BYTES: usize = 1 << 20;
const STEP_ENTRIES: usize = 8192;
/// The most notices of one step.
const MAX_NOTICES: usize = 20;
/// The most paths of which it is remembered that they can't be read.
const MAX_UNREADABLE: usize = 10_000;
/// For how many polls a file that is gone is remembered, besides `polls_to_archive`.
const GENERATIONS: usize = 3;
/// How often positions are stored while a poll does not end.
const SAVE_INTERVAL: u64 = 1_000_000_000;

/// The time of a step.
#[derive(Clone, Copy, Debug)]
pub struct StepTime {
    /// The time of the day, in nanoseconds since the epoch.
    pub wall_nanos: u64,
    /// A random number.
    pub seed: u64,
}

/// Something that the log should say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// A file is read for the first time.
    Started(PathBuf),
    /// A file can't be opened or read.
    FileFailed(PathBuf, String),
    /// Files can't be looked for everywhere.
    SearchFailed(String),
    /// Entries could not be processed by an operator.
    Operator(Failure),
    /// Positions can't be stored, or read; nothing is read before they are.
    StorageFailed(String),
    /// Positions were read from the storage.
    Resumed,
}

/// What a step has done.
#[derive(Debug, Default)]
pub struct StepOutput {
    /// Entries that left the operators, as one request.
    pub logs: Option<EncodedLogs>,
    /// The poll has ended: there is nothing to do before the next one.
    pub has_ended: bool,
    /// For the log.
    pub notices: Vec<Notice>,
}

/// The files of a receiver.
#[derive(Debug)]
pub struct FileConsumer {
    matcher: Matcher,
    splitter: Splitter,
    header: Option<HeaderParser>,
    settings: ReadSettings,
    attributes: AttributeSettings,
    operators: OperatorPipeline,
    env: BTreeMap<String, String>,
    local: Location,
    /// New files are read from their begin.
    from_beginning: bool,
    decompresses: bool,
    compression_is_gzip: bool,
    on_truncate: OnTruncate,
    deletes: bool,
    max_batch_files: usize,
    max_batches: i64,
    poll: Option<Poll>,
    /// Files that were open in the last poll.
    previous: FileSet<Reader>,
    /// Files that were closed in this poll and in those before.
    known: VecDeque<FileSet<FileState>>,
    store: Option<Box<dyn ValueStore>>,
    is_loaded: bool,
    /// What was stored last, and when.
    saved: Vec<u8>,
    saved_at: u64,
    unreadable: BTreeSet<PathBuf>,
    owners: Owners,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum OnTruncate {
    Ignore,
    ReadWholeFile,
    ReadNew,
}

#[derive(Debug)]
struct AttributeSettings {
    name: bool,
    path: bool,
    name_resolved: bool,
    path_resolved: bool,
    owner: bool,
    group: bool,
    permissions: bool,
}

/// A poll that has begun.
#[derive(Debug, Default)]
struct Poll {
    paths: VecDeque<PathBuf>,
    batches: i64,
    /// Files of the current batch that are still to be read.
    to_read: VecDeque<Reader>,
    /// Files of the current batch that have been read.
    read: Vec<Reader>,
    /// Files that no path leads to any more, and those that are closed.
    to_close: Vec<Reader>,
    lost: VecDeque<Reader>,
    has_batch: bool,
}

impl Poll {
    /// All files that are open.
    fn readers(&mut self) -> impl Iterator<Item = &mut Reader> {
        let queued = self.to_read.iter_mut().chain(&mut self.lost);
        queued.chain(&mut self.read).chain(&mut self.to_close)
    }
}

impl FileConsumer {
    /// A consumer that knows no file yet. `env` has the variables of the process's environment that expressions name, and
    /// `local` is the zone of times without one.
    ///
    /// # Errors
    /// A setting is not valid. A configuration that was read without errors has none.
    pub fn new(config: &FileLogConfig, env: BTreeMap<String, String>, local: Location) -> Result<Self, String> {
        let templates = |texts: &[(String, String)]| {
            let parsed = texts.iter().map(|(name, text)| Ok((key(name.as_bytes()), TextTemplate::parse(text)?)));
            parsed.collect::<Result<Vec<(Key, TextTemplate)>, String>>()
        };
        let header = config.header.as_ref().map(HeaderParser::new).transpose()?;
        Ok(Self {
            matcher: Matcher::new(config).map_err(|(_, message)| message)?,
            splitter: Splitter::new(config)?,
            header,
            settings: ReadSettings {
                fingerprint_size: config.fingerprint_size.as_usize(),
                flush_period: config.force_flush_period.nanos_or_zero(),
                record_number: config.include_file_record_number,
                record_offset: config.include_file_record_offset,
                has_bytes: config.encoding.eq_ignore_ascii_case("nop"),
                attributes: templates(&config.attributes)?,
                resource: templates(&config.resource)?,
            },
            attributes: AttributeSettings {
                name: config.include_file_name,
                path: config.include_file_path,
                name_resolved: config.include_file_name_resolved,
                path_resolved: config.include_file_path_resolved,
                owner: config.include_file_owner_name,
                group: config.include_file_owner_group_name,
                permissions: config.include_file_permissions,
            },
            operators: OperatorPipeline::build(&config.operators).map_err(|(_, error)| error.message)?,
            env,
            local,
            from_beginning: config.start_at == "beginning",
            decompresses: !config.compression.is_empty(),
            compression_is_gzip: config.compression == "gzip",
            on_truncate: match &*config.on_truncate {
                "read_whole_file" => OnTruncate::ReadWholeFile,
                "read_new" => OnTruncate::ReadNew,
                _ => OnTruncate::Ignore,
            },
            deletes: config.delete_after_read,
            max_batch_files: usize::try_from(config.max_concurrent_files / 2).unwrap_or(1).max(1),
            max_batches: config.max_batches,
            poll: None,
            previous: FileSet::default(),
            known: std::iter::repeat_with(FileSet::default).take(GENERATIONS).collect(),
            store: None,
            is_loaded: true,
            saved: Vec::new(),
            saved_at: 0,
            unreadable: BTreeSet::new(),
            owners: Owners::default(),
        })
    }

    /// Keeps positions in a store, and the files of more polls in memory. Nothing is read before the store has been.
    #[must_use]
    pub fn with_store(mut self, store: Box<dyn ValueStore>, polls_to_archive: i64) -> Self {
        let more = usize::try_from(polls_to_archive).unwrap_or(0);
        self.known.extend(std::iter::repeat_with(FileSet::default).take(more));
        self.store = Some(store);
        self.is_loaded = false;
        self
    }

    /// Stores up to where everything has been delivered, if that has changed.
    pub fn save(&mut self, files: &mut dyn FileSystem, time: StepTime) -> StepOutput {
        let mut output = StepOutput { has_ended: true, ..StepOutput::default() };
        let Some(store) = self.store.as_mut().filter(|_| self.is_loaded) else { return output };
        let known = (0..)
            .zip(&mut self.known)
            .flat_map(|(generation, set)| set.iter_mut().map(move |state| (generation, state)));
        let open = self.previous.iter_mut().map(|reader| (0, &mut reader.state));
        let polled = self.poll.iter_mut().flat_map(Poll::readers).map(|reader| (0, &mut reader.state));
        let positions = checkpoint::encode(known.chain(open).chain(polled));
        self.saved_at = time.wall_nanos;
        if positions == self.saved {
            return output;
        }
        let change = ValueChange::Set(checkpoint::KEY.to_owned(), positions.clone());
        match store.apply(files, vec![change]) {
            Ok(()) => self.saved = positions,
            Err(e) => note(&mut output, Notice::StorageFailed(e.to_string())),
        }
        output
    }

    /// Reads positions from the store. Returns whether reading may begin.
    fn load(&mut self, files: &mut dyn FileSystem, output: &mut StepOutput) -> bool {
        let Some(store) = self.store.as_mut().filter(|_| !self.is_loaded) else { return true };
        let values = match store.load(files) {
            Ok(values) => values,
            Err(e) => {
                note(output, Notice::StorageFailed(e.to_string()));
                // What is damaged is set aside; the next attempt finds nothing.
                return false;
            }
        };
        self.is_loaded = true;
        let Some(states) = values.get(checkpoint::KEY).and_then(|bytes| checkpoint::decode(bytes)) else { return true };
        if !states.is_empty() {
            note(output, Notice::Resumed);
            self.from_beginning = true;
        }
        let oldest = self.known.len().saturating_sub(1);
        for (generation, state) in states {
            let generation = usize::try_from(generation).unwrap_or(oldest).min(oldest);
            if let Some(known) = self.known.get_mut(generation) {
                known.add(state);
            }
        }
        true
    }

    /// Begins a poll if none has begun, and does a part of it.
    pub fn step(&mut self, files: &mut dyn FileSystem, time: StepTime) -> StepOutput {
        let mut output = StepOutput::default();
        if !self.load(files, &mut output) {
            output.has_ended = true;
            return output;
        }
        let mut entries = Vec::new();
        let mut poll = match self.poll.take() {
            Some(poll) => poll,
            None => self.begin_poll(files, time, &mut output),
        };
        let (mut bytes_left, mut entries_left) = (STEP_BYTES, STEP_ENTRIES);
        output.has_ended = loop {
            if bytes_left == 0 || entries_left == 0 {
                break false;
            }
            let is_lost = !poll.lost.is_empty();
            let next = poll.lost.pop_front().or_else(|| poll.to_read.pop_front());
            if let Some(mut reader) = next {
                let context =
                    RunContext { now_nanos: time.wall_nanos, local: &self.local, env: &self.env, seed: time.seed };
                let mut reading = Reading {
                    files,
                    settings: &self.settings,
                    splitter: &self.splitter,
                    header: self.header.as_mut(),
                    context: &context,
                    bytes_left,
                    entries_left,
                    out: Vec::new(),
                    errors: Vec::new(),
                };
                let end = reader.read(&mut reading, self.decompresses);
                (bytes_left, entries_left) = (reading.bytes_left, reading.entries_left);
                entries.append(&mut reading.out);
                for (path, error) in reading.errors {
                    note(&mut output, Notice::FileFailed(path, error));
                }
                match (end, is_lost) {
                    (ReadEnd::Paused, true) => poll.lost.push_front(reader),
                    (ReadEnd::Paused, false) => poll.to_read.push_front(reader),
                    (ReadEnd::EndOfFile, true) => poll.to_close.push(reader),
                    (ReadEnd::EndOfFile, false) => poll.read.push(reader),
                }
                continue;
            }
            if poll.has_batch {
                self.end_batch(files, &mut poll, &mut output);
                continue;
            }
            let is_limited = self.max_batches > 0 && poll.batches >= self.max_batches;
            if poll.batches > 0 && (poll.paths.is_empty() || is_limited) {
                self.end_poll();
                break true;
            }
            self.begin_batch(files, &mut poll, &mut output);
        };
        if !output.has_ended {
            self.poll = Some(poll);
        }
        self.run_operators(entries, time, &mut output);
        if output.has_ended || time.wall_nanos.saturating_sub(self.saved_at) >= SAVE_INTERVAL {
            output.notices.append(&mut self.save(files, time).notices);
        }
        output
    }

    /// Sends everything that operators keep.
    pub fn drain(&mut self, time: StepTime) -> StepOutput {
        let mut output = StepOutput::default();
        let mut out = Vec::new();
        let context = RunContext { now_nanos: time.wall_nanos, local: &self.local, env: &self.env, seed: time.seed };
        self.operators.drain(&context, &mut out);
        self.finish_operators(out, &mut output);
        output
    }

    /// Entries that operators keep.
    #[must_use]
    pub fn held_entries(&self) -> u64 {
        self.operators.held_entries()
    }

    fn run_operators(&mut self, entries: Vec<Entry>, time: StepTime, output: &mut StepOutput) {
        let mut out = Vec::new();
        let context = RunContext { now_nanos: time.wall_nanos, local: &self.local, env: &self.env, seed: time.seed };
        self.operators.process(entries, &context, &mut out);
        self.operators.handle_timeout(&context, &mut out);
        self.finish_operators(out, output);
    }

    fn finish_operators(&mut self, entries: Vec<Entry>, output: &mut StepOutput) {
        for failure in self.operators.take_failures() {
            note(output, Notice::Operator(failure));
        }
        output.logs = encode(entries);
    }

    fn begin_poll(&mut self, files: &mut dyn FileSystem, time: StepTime, output: &mut StepOutput) -> Poll {
        let found = self.matcher.select(files, time.wall_nanos);
        if let Some(error) = found.error {
            note(output, Notice::SearchFailed(error));
        }
        Poll { paths: found.paths.into(), ..Poll::default() }
    }

    /// Opens the next files, and finds those that no path leads to any more.
    fn begin_batch(&mut self, files: &mut dyn FileSystem, poll: &mut Poll, output: &mut StepOutput) {
        poll.batches += 1;
        poll.has_batch = true;
        let mut current: FileSet<Reader> = FileSet::default();
        let mut paths = BTreeSet::new();
        for _ in 0..self.max_batch_files {
            let Some(path) = poll.paths.pop_front() else { break };
            let Some((handle, fingerprint, is_gzip)) = self.open(files, &path, output) else { continue };
            // Of files with the same content, one is read: a copy that is made before a file is cut.
            if current.contains(&fingerprint) {
                continue;
            }
            match self.new_reader(files, path.clone(), handle, fingerprint, is_gzip, output) {
                Ok(reader) => {
                    paths.insert(path);
                    current.add(reader);
                }
                Err(error) => note(output, Notice::FileFailed(path, error.to_string())),
            }
        }
        for reader in self.previous.drain() {
            let is_truncated =
                paths.contains(&reader.path) && !reader.is_valid(files, &self.settings, self.decompresses);
            if self.deletes || is_truncated || current.has_longer(&reader.state.fingerprint) {
                poll.to_close.push(reader);
            } else {
                poll.lost.push_back(reader);
            }
        }
        poll.to_read = current.drain().into();
    }

    fn open(
        &mut self,
        files: &mut dyn FileSystem,
        path: &Path,
        output: &mut StepOutput,
    ) -> Option<(FileHandle, Vec<u8>, bool)> {
        let size = self.settings.fingerprint_size;
        let opened = files.open_file(path).and_then(|handle| {
            if files.handle_metadata(&handle)?.kind != FileKind::File {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "not a regular file"));
            }
            let (fingerprint, is_gzip) = fingerprint_of(files, &handle, size, self.decompresses)?;
            Ok((handle, fingerprint, is_gzip))
        });
        match opened {
            Ok((handle, fingerprint, is_gzip)) => {
                self.unreadable.remove(path);
                (!fingerprint.is_empty()).then_some((handle, fingerprint, is_gzip || self.compression_is_gzip))
            }
            // It has vanished since it was found.
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => {
                if self.unreadable.len() < MAX_UNREADABLE && self.unreadable.insert(path.to_owned()) {
                    note(output, Notice::FileFailed(path.to_owned(), e.to_string()));
                }
                None
            }
        }
    }

    fn new_reader(
        &mut self,
        files: &mut dyn FileSystem,
        path: PathBuf,
        handle: FileHandle,
        fingerprint: Vec<u8>,
        is_gzip: bool,
        output: &mut StepOutput,
    ) -> io::Result<Reader> {
        let length = files.handle_metadata(&handle)?.length;
        let before = self.previous.take_begin_of(&fingerprint).map(|reader| reader.state);
        let before = before.or_else(|| self.known.iter_mut().find_map(|known| known.take_begin_of(&fingerprint)));
        let is_new = before.is_none();
        let mut state = before.unwrap_or_else(|| FileState::new(fingerprint.clone()));
        if is_new {
            state.is_gzip = is_gzip;
            note(output, Notice::Started(path.clone()));
        } else if state.read.offset > length && state.is_gzip == is_gzip {
            match self.on_truncate {
                OnTruncate::Ignore => {}
                OnTruncate::ReadWholeFile => state.move_to(Position::default()),
                OnTruncate::ReadNew => state.move_to(Position { offset: length, ..state.read }),
            }
        }
        if state.is_gzip != is_gzip {
            // A file that was compressed is read on behind what was read of it before.
            let skip = if is_gzip { state.read.offset } else { 0 };
            let record_number = state.read.record_number;
            state.move_to(Position { skip, record_number, ..Position::default() });
            state.is_gzip = is_gzip;
        }
        if !self.from_beginning {
            state.move_to(Position { offset: length, ..Position::default() });
        }
        let attributes = self.attributes_of(files, &path, &handle)?;
        Ok(Reader::new(path, handle, state, attributes))
    }

    fn attributes_of(&mut self, files: &mut dyn FileSystem, path: &Path, handle: &FileHandle) -> io::Result<Map> {
        let wanted = &self.attributes;
        let mut map = Map::new();
        let mut put = |name: &'static str, value: Value| map.insert(Key::Borrowed(name.as_bytes()), value);
        let name_of = |path: &Path| path_value(Path::new(path.file_name().unwrap_or(path.as_os_str())));
        if wanted.name {
            put("log.file.name", name_of(path));
        }
        if wanted.path {
            put("log.file.path", path_value(path));
        }
        if wanted.owner || wanted.group || wanted.permissions {
            let metadata = files.handle_metadata(handle)?;
            let (user, group) = metadata.owner;
            let unknown = |id: u32| id.to_string().into_bytes();
            if wanted.owner {
                let name = self.owners.user(files, user).unwrap_or_else(|| unknown(user));
                put("log.file.owner.name", Value::String(name));
            }
            if wanted.group {
                let name = self.owners.group(files, group).unwrap_or_else(|| unknown(group));
                put("log.file.owner.group.name", Value::String(name));
            }
            if wanted.permissions {
                put("log.file.permissions", Value::string(format!("{:03o}", metadata.mode & 0o777)));
            }
        }
        if wanted.name_resolved || wanted.path_resolved {
            let resolved = files.canonical_path(path)?;
            if wanted.name_resolved {
                put("log.file.name_resolved", name_of(&resolved));
            }
            if wanted.path_resolved {
                put("log.file.path_resolved", path_value(&resolved));
            }
        }
        Ok(map)
    }

    /// Closes files that are not open any more, and keeps those that are.
    fn end_batch(&mut self, files: &mut dyn FileSystem, poll: &mut Poll, output: &mut StepOutput) {
        poll.has_batch = false;
        let mut closed = Vec::new();
        for reader in poll.to_close.drain(..).chain(self.previous.drain()) {
            closed.push(reader.state);
        }
        if let Some(newest) = self.known.front_mut() {
            closed.into_iter().for_each(|state| newest.add(state));
        }
        for mut reader in poll.read.drain(..) {
            if self.deletes && reader.state.is_delivered() && self.is_read(files, &reader) {
                match files.remove_file(&reader.path) {
                    Ok(()) => continue,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    Err(e) => note(output, Notice::FileFailed(reader.path.clone(), e.to_string())),
                }
            }
            self.previous.add(reader);
        }
    }

    /// Whether everything in a file has been read, and its path leads to it.
    fn is_read(&self, files: &mut dyn FileSystem, reader: &Reader) -> bool {
        let (Ok(open), Ok(at_path)) = (files.handle_metadata(&reader.handle), files.metadata(&reader.path)) else {
            return false;
        };
        open.identity == at_path.identity && reader.state.read.offset >= open.length && reader.state.rest_length == 0
    }

    fn end_poll(&mut self) {
        self.from_beginning = true;
        self.known.pop_back();
        self.known.push_front(FileSet::default());
    }
}

/// Adds a notice, unless there are too many.
fn note(output: &mut StepOutput, notice: Notice) {
    if output.notices.len() < MAX_NOTICES {
        output.notices.push(notice);
    }
}
