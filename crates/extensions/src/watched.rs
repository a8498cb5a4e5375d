//! A file with secrets that may be replaced while the collector runs.
//!
//! It is read at the start, and again when its value is requested and the last read is at least a second old. This
//! needs no timer and no file watcher, and also notices a mount whose symbolic links are replaced. If the file can't be
//! read or used, the value stays as it was, and one warning is logged. Never shows the content of the file.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use otelcore_pipeline::{Cx, Field, Logger, Mono};

/// The file is read again if the last read is at least this old.
const FRESH: Duration = Duration::from_secs(1);

/// The largest file, in bytes. A larger one can't be meant as a secret.
const MAX_FILE: usize = 1 << 20;

pub(crate) struct Watched<T> {
    path: String,
    parse: fn(&str) -> Result<T, String>,
    /// The message that is logged when the value has changed.
    refreshed: &'static str,
    log: Logger,
    state: RefCell<State<T>>,
}

struct State<T> {
    value: Option<Rc<T>>,
    looked: Mono,
    failing: bool,
}

impl<T: PartialEq> Watched<T> {
    /// A file that was not read yet. The errors of `parse` must not contain its input.
    pub(crate) fn new(path: &str, refreshed: &'static str, log: Logger, parse: fn(&str) -> Result<T, String>) -> Self {
        let state = RefCell::new(State { value: None, looked: Mono(0), failing: false });
        Self { path: path.to_owned(), parse, refreshed, log, state }
    }

    /// The first read; the file must exist.
    pub(crate) fn open(&self, cx: &mut Cx<'_>) -> Result<(), String> {
        let value = self.read(cx)?;
        *self.state.borrow_mut() = State { value: Some(Rc::new(value)), looked: cx.now(), failing: false };
        Ok(())
    }

    /// The value; `None` before [`Watched::open`].
    pub(crate) fn get(&self, cx: &mut Cx<'_>) -> Option<Rc<T>> {
        let mut state = self.state.borrow_mut();
        if state.value.is_some() && cx.now().since(state.looked) >= FRESH {
            state.looked = cx.now();
            self.look(cx, &mut state);
        }
        state.value.clone()
    }

    fn look(&self, cx: &mut Cx<'_>, state: &mut State<T>) {
        let file = ("filename", Field::Str(&self.path));
        match self.read(cx) {
            Ok(value) => {
                if state.failing || state.value.as_deref() != Some(&value) {
                    self.log.info(self.refreshed, &[file]);
                    state.value = Some(Rc::new(value));
                }
                state.failing = false;
            }
            Err(why) => {
                if !std::mem::replace(&mut state.failing, true) {
                    let message = "failed to reload credentials file, keeping last value";
                    self.log.warn(message, &[file, ("error", Field::Str(&why))]);
                }
            }
        }
    }

    fn read(&self, cx: &mut Cx<'_>) -> Result<T, String> {
        let bytes = cx.read(&self.path).map_err(|e| e.to_string())?;
        if bytes.len() > MAX_FILE {
            return Err(format!("credentials file {:?} is larger than 1 MiB", self.path));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| format!("credentials file {:?} is no text", self.path))?;
        (self.parse)(text)
    }
}
