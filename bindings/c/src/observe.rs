//! A collector's health, the status of its components and its own metrics, in buffers that C frees.

use crate::boundary::{run_export, run_export_or, write_out};
use crate::collector::{Collector, collector_object};
use crate::error::{CallError, Error};
use crate::table::HandleTable;
use crate::{Format, OTELCORE_FORMAT_PROMETHEUS, Status};

/// Bytes that the library owns until the caller frees the buffer.
pub struct Buffer(());

static BUFFERS: HandleTable<Buffer, Vec<u8>> = HandleTable::new(4);

pub(crate) fn write_buffer(mut bytes: Vec<u8>, out: *mut *mut Buffer) -> Result<(), CallError> {
    if out.is_null() {
        return Err(CallError::invalid_argument("there is no place for the buffer"));
    }
    // So that the buffer is a C string as well.
    bytes.push(0);
    let handle = BUFFERS.insert(bytes);
    // SAFETY: not NULL, and the header asks for a place to write to.
    unsafe { write_out(out, handle) };
    Ok(())
}

/// The collector's health as JSON: `{"state":"running","held_bytes":0}`, with an `"error"` where it has failed.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_health(
    collector: *const Collector,
    out: *mut *mut Buffer,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || write_buffer(collector_object(collector)?.embedded.health().into_bytes(), out))
}

/// The status of each component as a JSON array, from the start on; later versions may add keys. For example
/// `[{"kind":"exporter","id":"otlp_grpc","instance":"","status":"recoverable_error","message":"no such host",
/// "changed_at":"2025-11-29T20:00:00Z","last_error":{"message":"no such host","at":"2025-11-29T20:00:05Z","count":6},
/// "addresses":[]}]`. The last error, or null, stays when the component works again. A receiver's addresses are where it listens:
/// `"addresses":["127.0.0.1:4317"]`, for a configured port 0 with the port that it got. The status is `none`,
/// `starting`, `ok`, `recoverable_error`, `permanent_error`, `stopping` or `stopped`.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_collector_component_statuses(
    collector: *const Collector,
    out: *mut *mut Buffer,
    err: *mut *mut Error,
) -> Status {
    run_export(err, || write_buffer(collector_object(collector)?.embedded.component_statuses_json().into_bytes(), out))
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
    run_export(err, || {
        let hosted = collector_object(collector)?;
        if format != OTELCORE_FORMAT_PROMETHEUS {
            return Err(CallError::invalid_argument("there is no such format"));
        }
        write_buffer(hosted.embedded.metrics(), out)
    })
}

/// The bytes of a buffer, and how many they are; a NUL that is not counted follows them. They stay until it is freed.
/// NULL where it is no buffer.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_buffer_data(buffer: *const Buffer, len: *mut usize) -> *const u8 {
    let none = (std::ptr::null(), 0);
    // The table keeps the bytes until the buffer is freed.
    let (data, size) =
        run_export_or(none, || BUFFERS.get(buffer).map_or(none, |bytes| (bytes.as_ptr(), bytes.len() - 1)));
    // SAFETY: NULL, or a place to write to, as the header says.
    unsafe { write_out(len, size) };
    data
}

/// Frees a buffer. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn otelcore_buffer_free(buffer: *mut Buffer) {
    run_export_or((), || drop(BUFFERS.remove(buffer)));
}
