//! A file with secrets that may be replaced while the collector runs.
//!
//! It is read at the start, and again when its value is requested and the last read is at least a second old. This
//! needs no timer and no file watcher, and also notices a mount whose symbolic links are replaced. If the file can't be
//! read or used, the value stays as it was, and one warning is logged. Never shows the content of the file.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use otelcore_pipeline::{Cx, LogField, Logger, MonotonicTime};

/// The file is read again when its value is requested, if the last read is at least this old.
const REREAD_AFTER: Duration = Duration::from_secs(1);

/// The largest file, in bytes. A larger one can't be meant as a secret.
const MAX_FILE: usize = 1 << 20;

pub(crate) struct WatchedFile<T> {
    path: String,
    parse: fn(&str) -> Result<T, String>,
    /// The message that is logged when the value has changed.
    changed_message: &'static str,
    log: Logger,
    state: RefCell<State<T>>,
}

struct State<T> {
    value: Option<Rc<T>>,
    read_at: MonotonicTime,
    is_failing: bool,
}

impl<T: PartialEq> WatchedFile<T> {
    /// A file that was not read yet. The errors of `parse` must not contain its input.
    pub(crate) fn new(
        path: &str,
        changed_message: &'static str,
        log: Logger,
        parse: fn(&str) -> Result<T, String>,
    ) -> Self {
        let state = RefCell::new(State { value: None, read_at: MonotonicTime(0), is_failing: false });
        Self { path: path.to_owned(), parse, changed_message, log, state }
    }

    /// The first read; the file must exist.
    pub(crate) fn open(&self, cx: &mut Cx<'_>) -> Result<(), String> {
        let value = self.read(cx)?;
        *self.state.borrow_mut() = State { value: Some(Rc::new(value)), read_at: cx.now(), is_failing: false };
        Ok(())
    }

    /// The value; `None` before [`WatchedFile::open`].
    pub(crate) fn get(&self, cx: &mut Cx<'_>) -> Option<Rc<T>> {
        let mut state = self.state.borrow_mut();
        if state.value.is_some() && cx.now().since(state.read_at) >= REREAD_AFTER {
            state.read_at = cx.now();
            self.reread(cx, &mut state);
        }
        state.value.clone()
    }

    fn reread(&self, cx: &mut Cx<'_>, state: &mut State<T>) {
        let field = ("filename", LogField::Str(&self.path));
        match self.read(cx) {
            Ok(value) => {
                if state.is_failing || state.value.as_deref() != Some(&value) {
                    self.log.info(self.changed_message, &[field]);
                    state.value = Some(Rc::new(value));
                }
                state.is_failing = false;
            }
            Err(why) => {
                if !std::mem::replace(&mut state.is_failing, true) {
                    let message = "failed to reload credentials file, keeping last value";
                    self.log.warn(message, &[field, ("error", LogField::Str(&why))]);
                }
            }
        }
    }

    fn read(&self, cx: &mut Cx<'_>) -> Result<T, String> {
        let bytes = cx.read_file(&self.path).map_err(|e| e.to_string())?;
        if bytes.len() > MAX_FILE {
            return Err(format!("credentials file {:?} is larger than 1 MiB", self.path));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| format!("credentials file {:?} is no text", self.path))?;
        (self.parse)(text)
    }
}
