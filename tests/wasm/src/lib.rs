//! A WebAssembly module that uses the crates without IO. `scripts/check-crates` builds it and checks that it imports
//! nothing: such a crate runs wherever there is a WebAssembly engine, without a host for files, clocks or sockets.
//!
//! Each function takes a buffer of the caller, calls one crate, and returns a number that depends on the result, so that
//! the code is not removed.

use std::io::{self, ErrorKind, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::slice;

use bytes::Bytes;
use otelcore_config::{Diagnostics, SourceText, from_yaml};
use otelcore_http::h1::{H1ServerConn, HttpServerConnConfig, Response};
use otelcore_http::{AdmitAll, Coding, Workspace};
use otelcore_kubernetes::Cluster;
use otelcore_pdata::{Rope, Signal, check, json};

/// Calls `read` with the bytes at `start`; `u32::MAX` when it panics.
///
/// # Safety
/// `start` must be valid for reads of `len` bytes.
unsafe fn with_bytes(start: *const u8, len: usize, read: impl FnOnce(&[u8]) -> usize) -> u32 {
    // SAFETY: see above.
    let bytes = unsafe { slice::from_raw_parts(start, len) };
    catch_unwind(AssertUnwindSafe(|| read(bytes))).map_or(u32::MAX, |n| n as u32)
}

/// Validates traces and returns the length of their JSON.
///
/// # Safety
/// `start` must be valid for reads of `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn traces_to_json(start: *const u8, len: usize) -> u32 {
    let read = |body: &[u8]| {
        let Ok(summary) = check(Signal::Traces, body) else { return 0 };
        let mut out = Vec::new();
        json::encode(Signal::Traces, &Rope::new(Bytes::copy_from_slice(body), summary.items), &mut out);
        out.len()
    };
    // SAFETY: as for this function.
    unsafe { with_bytes(start, len, read) }
}

/// Reads a configuration and returns the number of its diagnostics.
///
/// # Safety
/// `start` must be valid for reads of `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn config_diagnostics(start: *const u8, len: usize) -> u32 {
    let read = |text: &[u8]| {
        let diagnostics = Diagnostics::new();
        let root = from_yaml(&String::from_utf8_lossy(text), &diagnostics);
        usize::from(root.is_none()) + diagnostics.len()
    };
    // SAFETY: as for this function.
    unsafe { with_bytes(start, len, read) }
}

/// Reads manifests and returns the number of collectors in them.
///
/// # Safety
/// `start` must be valid for reads of `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn collectors_in_manifests(start: *const u8, len: usize) -> u32 {
    let read = |text: &[u8]| {
        let (mut cluster, diagnostics) = (Cluster::default(), Diagnostics::new());
        cluster.add(&SourceText::new("manifests", &*String::from_utf8_lossy(text)), &diagnostics);
        cluster.collectors().len()
    };
    // SAFETY: as for this function.
    unsafe { with_bytes(start, len, read) }
}

/// Writes a label value and returns its length on a Prometheus page.
///
/// # Safety
/// `start` must be valid for reads of `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn label_value_length(start: *const u8, len: usize) -> u32 {
    let read = |value: &[u8]| {
        let mut out = Vec::new();
        otelcore_exposition::write_quoted_text(&mut out, value);
        out.len()
    };
    // SAFETY: as for this function.
    unsafe { with_bytes(start, len, read) }
}

/// A connection of which the input is known; what is written is discarded.
struct Input<'a>(&'a [u8]);

impl Read for Input<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { self.0.read(buf) }
    }
}

impl Write for Input<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads HTTP/1.1 requests with bodies in any coding, responds to them, and returns the bytes of the bodies.
///
/// # Safety
/// `start` must be valid for reads of `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn http_body_bytes(start: *const u8, len: usize) -> u32 {
    let read = |input: &[u8]| {
        let (config, workspace, mut bytes) = (Rc::new(HttpServerConnConfig::default()), Workspace::new(), 0);
        let mut server = H1ServerConn::new(Input(input), config, 0);
        loop {
            let polled = server.poll(0, &mut AdmitAll);
            while let Some(request) = server.poll_request() {
                for coding in Coding::ALL {
                    let body = workspace.decompress(&coding, request.body.clone(), 1 << 20, |_| Ok::<_, ()>(()));
                    let Ok(body) = body else { continue };
                    bytes += workspace.compress(&coding, [&body[..]]).len();
                }
                server.respond(request.id, Response::text(200, "ok"));
            }
            if !server.flush(0).poll_again && !polled.poll_again {
                return bytes;
            }
        }
    };
    // SAFETY: as for this function.
    unsafe { with_bytes(start, len, read) }
}
