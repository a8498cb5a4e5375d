//! The collector's own log, passed to a function of the host.

use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;

use otelcore::pdata::text::put_json_string;
use otelcore::pipeline::{LogEntry, LogField, LogLevel as EntryLevel, LogSink};

use crate::boundary::{InCallback, unwind_in_child};
use crate::per_process::current_depth;
use crate::{CallbackUser, FreeFn, LogFn, LogLevel};

/// The log sink of one collector.
pub(crate) struct HostLogSink {
    /// The process that it belongs to.
    depth: u32,
    level: LogLevel,
    call: unsafe extern "C" fn(*mut c_void, LogLevel, *const c_char, *const c_char, *const c_char),
    pub(crate) user: Arc<CallbackUser>,
}

impl HostLogSink {
    /// `None` if the host requested no log.
    pub(crate) fn new(level: LogLevel, call: LogFn, user: *mut c_void, free: FreeFn) -> Option<Self> {
        call.map(|call| Self { depth: current_depth(), level, call, user: Arc::new(CallbackUser::new(user, free)) })
    }
}

/// A text for C, without NULs: C reads up to the first one.
fn c_text(mut text: Vec<u8>) -> CString {
    text.retain(|byte| *byte != 0);
    CString::new(text).unwrap_or_default()
}

fn fields_json(fields: &[(&str, LogField<'_>)]) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (name, field) in fields {
        if out.len() > 1 {
            out.push(b',');
        }
        put_json_string(&mut out, name.as_bytes());
        out.push(b':');
        match field {
            LogField::Str(text) => put_json_string(&mut out, text.as_bytes()),
            LogField::Int(n) => out.extend_from_slice(n.to_string().as_bytes()),
            LogField::Uint(n) => out.extend_from_slice(n.to_string().as_bytes()),
            LogField::Float(n) if n.is_finite() => out.extend_from_slice(n.to_string().as_bytes()),
            LogField::Float(_) => out.extend_from_slice(b"null"),
            LogField::Bool(b) => out.extend_from_slice(b.to_string().as_bytes()),
        }
    }
    out.push(b'}');
    out
}

impl LogSink for HostLogSink {
    fn enabled(&self, level: EntryLevel) -> bool {
        level as LogLevel >= self.level
    }

    fn log(&self, record: &LogEntry<'_>) {
        if self.depth != current_depth() {
            return;
        }
        let scope = record.scope;
        let component = if scope.kind.is_empty() { String::new() } else { format!("{} {}", scope.kind, scope.id) };
        let (component, message) = (c_text(component.into_bytes()), c_text(record.message.as_bytes().to_vec()));
        let fields = c_text(fields_json(record.fields));
        let _inside = InCallback::enter();
        // SAFETY: the host's own function, with its own `user`, which is not freed before the sink; the texts end with
        // a NUL and are valid until it returns.
        unsafe {
            (self.call)(
                self.user.user(),
                record.level as LogLevel,
                component.as_ptr(),
                message.as_ptr(),
                fields.as_ptr(),
            );
        }
        unwind_in_child(self.depth);
    }
}
