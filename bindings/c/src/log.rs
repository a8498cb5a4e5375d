//! The collector's own log, passed to a function of the host.

use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;

use otelcore::pdata::text::put_json_string;
use otelcore::pipeline::{Field, Level, LogSink, Record};

use crate::border::{InCallback, stop_in_child};
use crate::per_process::depth;
use crate::{FreeFn, LogFn, LogLevel, Owned};

/// The log sink of one collector.
pub(crate) struct Sink {
    /// The process that it belongs to.
    depth: u32,
    level: LogLevel,
    call: unsafe extern "C" fn(*mut c_void, LogLevel, *const c_char, *const c_char, *const c_char),
    pub(crate) user: Arc<Owned>,
}

impl Sink {
    /// `None` where the host wants no log.
    pub(crate) fn new(level: LogLevel, call: LogFn, user: *mut c_void, free: FreeFn) -> Option<Self> {
        call.map(|call| Self { depth: depth(), level, call, user: Arc::new(Owned::new(user, free)) })
    }
}

/// Text for C, without NULs, which would end it early.
fn c_text(mut text: Vec<u8>) -> CString {
    text.retain(|byte| *byte != 0);
    CString::new(text).unwrap_or_default()
}

fn fields_json(fields: &[(&str, Field<'_>)]) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (name, field) in fields {
        if out.len() > 1 {
            out.push(b',');
        }
        put_json_string(&mut out, name.as_bytes());
        out.push(b':');
        match field {
            Field::Str(text) => put_json_string(&mut out, text.as_bytes()),
            Field::Int(n) => out.extend_from_slice(n.to_string().as_bytes()),
            Field::Uint(n) => out.extend_from_slice(n.to_string().as_bytes()),
            Field::Float(n) if n.is_finite() => out.extend_from_slice(n.to_string().as_bytes()),
            Field::Float(_) => out.extend_from_slice(b"null"),
            Field::Bool(b) => out.extend_from_slice(b.to_string().as_bytes()),
        }
    }
    out.push(b'}');
    out
}

impl LogSink for Sink {
    fn enabled(&self, level: Level) -> bool {
        level as LogLevel >= self.level
    }

    fn log(&self, record: &Record<'_>) {
        if self.depth != depth() {
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
        stop_in_child(self.depth);
    }
}
