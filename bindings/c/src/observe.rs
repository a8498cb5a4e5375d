//! A collector's health and its own metrics, in buffers that C frees.

use crate::border::{cross, cross_or, put};
use crate::collector::{Collector, hosted};
use crate::error::{Error, Fault};
use crate::table::Table;
use crate::{Format, OTELCORE_FORMAT_PROMETHEUS, Status};

/// Bytes of the library's. Whoever asked for them frees them.
pub struct Buffer(());

static BUFFERS: Table<Buffer, Vec<u8>> = Table::new(4);

fn hand_out(mut bytes: Vec<u8>, out: *mut *mut Buffer) -> Result<(), Fault> {
    if out.is_null() {
        return Err(Fault::argument("there is no place for the buffer"));
    }
    // So that the buffer is a C string as well.
    bytes.push(0);
    let handle = BUFFERS.insert(bytes);
    // SAFETY: not NULL, and the header asks for a place to write to.
    unsafe { put(out, handle) };
    Ok(())
}

/// The collector's health as JSON: `{"state":"running","held_bytes":0}`, with an `"error"` where it has failed.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_health(
    collector: *const Collector,
    out: *mut *mut Buffer,
    err: *mut *mut Error,
) -> Status {
    cross(err, || hand_out(hosted(collector)?.embedded.health().into_bytes(), out))
}

/// The collector's own metrics up to the configured level, as OTELCORE_FORMAT_PROMETHEUS, whether a port serves them or
/// not.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_metrics(
    collector: *const Collector,
    format: Format,
    out: *mut *mut Buffer,
    err: *mut *mut Error,
) -> Status {
    cross(err, || {
        let hosted = hosted(collector)?;
        if format != OTELCORE_FORMAT_PROMETHEUS {
            return Err(Fault::argument("there is no such format"));
        }
        hand_out(hosted.embedded.metrics(), out)
    })
}

/// The bytes of a buffer, and how many they are; a NUL that is not counted follows them. They stay until it is freed.
/// NULL where it is no buffer.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_buffer_data(buffer: *const Buffer, len: *mut usize) -> *const u8 {
    let none = (std::ptr::null(), 0);
    // The table keeps the bytes until the buffer is freed.
    let (data, size) = cross_or(none, || BUFFERS.get(buffer).map_or(none, |bytes| (bytes.as_ptr(), bytes.len() - 1)));
    // SAFETY: NULL, or a place to write to, as the header says.
    unsafe { put(len, size) };
    data
}

/// Frees a buffer. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_buffer_free(buffer: *mut Buffer) {
    cross_or((), || drop(BUFFERS.remove(buffer)));
}
