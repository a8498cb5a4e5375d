//! A file with secrets that may be replaced while the collector runs.
//!
//! It is read at the start, and then every second by a job on a helper thread, so that a request that comes after a
//! long pause has a value of the last second. This needs no file watcher, and also notices a mount whose symbolic links
//! are replaced. If the file can't be read or used, the value stays as it was, and one warning is logged. A pipe is
//! read once only. Never shows the content of the file.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use otelcore_pipeline::{Cx, Event, FileSystem, JobResult, LogField, Logger, StartError};

/// The time between two reads.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// The largest file, in bytes. A larger one can't be meant as a secret.
const MAX_FILE_BYTES: usize = 1 << 20;

type Parse<T> = fn(&str) -> Result<T, String>;

/// The result of a read; `None` for a file that can't be read a second time.
type ReadResult<T> = Result<Option<T>, String>;

pub(crate) struct WatchedFile<T> {
    /// The extension's number for the timer and the job.
    key: u64,
    path: String,
    parse: Parse<T>,
    /// The message that is logged when the value has changed.
    changed_message: &'static str,
    log: Logger,
    state: RefCell<State<T>>,
}

struct State<T> {
    value: Option<Rc<T>>,
    job: Option<JobResult<ReadResult<T>>>,
    is_failing: bool,
}

impl<T: PartialEq + Send + 'static> WatchedFile<T> {
    /// A file that was not read yet. Its timer and its job have the number `key`. The errors of `parse` must not
    /// contain its input.
    pub(crate) fn new(key: u64, path: &str, changed_message: &'static str, log: Logger, parse: Parse<T>) -> Self {
        let state = RefCell::new(State { value: None, job: None, is_failing: false });
        Self { key, path: path.to_owned(), parse, changed_message, log, state }
    }

    /// The first read; the file must exist.
    pub(crate) fn open(&self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let bytes = cx.read_file(&self.path)?;
        let value = parse_bytes(&self.path, &bytes, self.parse).map_err(StartError::Config)?;
        self.state.borrow_mut().value = Some(Rc::new(value));
        cx.set_timer(self.key, cx.now() + READ_INTERVAL);
        Ok(())
    }

    /// The value; `None` before [`WatchedFile::open`].
    pub(crate) fn value(&self) -> Option<Rc<T>> {
        self.state.borrow().value.clone()
    }

    /// Reads the file when the timer fires, and uses what was read when the job has ended.
    pub(crate) fn handle_event(&self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        if local != self.key {
            return;
        }
        let mut state = self.state.borrow_mut();
        if matches!(event, Event::Timer) {
            let (path, parse) = (self.path.clone(), self.parse);
            state.job = cx.run_file_job(self.key, move |files| read_again(files, &path, parse)).ok();
            if state.job.is_some() {
                return;
            }
        } else if let Some(result) = state.job.take().and_then(|job| job.take()) {
            self.apply(&mut state, result);
        }
        cx.set_timer(self.key, cx.now() + READ_INTERVAL);
    }

    fn apply(&self, state: &mut State<T>, result: ReadResult<T>) {
        let file = ("filename", LogField::Str(&self.path));
        match result {
            Ok(None) => {}
            Ok(Some(value)) => {
                if state.is_failing || state.value.as_deref() != Some(&value) {
                    self.log.info(self.changed_message, &[file]);
                    state.value = Some(Rc::new(value));
                }
                state.is_failing = false;
            }
            Err(why) => {
                if !std::mem::replace(&mut state.is_failing, true) {
                    let fields = [file, ("error", LogField::Str(&why))];
                    self.log.warn("failed to reload credentials file, keeping last value", &fields);
                }
            }
        }
    }
}

fn read_again<T>(files: &mut dyn FileSystem, path: &str, parse: Parse<T>) -> ReadResult<T> {
    match files.read(Path::new(path), MAX_FILE_BYTES) {
        Ok(bytes) => parse_bytes(path, &bytes, parse).map(Some),
        Err(e) if e.kind() == ErrorKind::Unsupported => Ok(None),
        Err(e) if e.kind() == ErrorKind::InvalidInput => Err(too_large(path)),
        Err(e) => Err(e.to_string()),
    }
}

fn too_large(path: &str) -> String {
    format!("credentials file {path:?} is larger than 1 MiB")
}

fn parse_bytes<T>(path: &str, bytes: &[u8], parse: Parse<T>) -> Result<T, String> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(too_large(path));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| format!("credentials file {path:?} is no text"))?;
    parse(text)
}
