//! A request of 100 spans compressed and decompressed, beside the libraries themselves at the same level.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a bench")]

#[path = "../../pdata/benches/telemetry/mod.rs"]
mod telemetry;

use std::hint::black_box;
use std::io::{Read, Write};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use otelcore_http::{Coding, Workspace};
use otelcore_pdata::Signal;

const LIMIT: u64 = 64 << 20;

/// Codes a body and returns the length of the result.
type Code<'a> = &'a mut dyn FnMut(&[u8]) -> usize;

/// `library` is the name of the rows for `theirs`: compression, then decompression.
fn compare(criterion: &mut Criterion, coding: &Coding, library: &str, theirs: [Code<'_>; 2]) {
    let (body, workspace) = (telemetry::body(Signal::Traces).to_bytes(), Workspace::new());
    let compressed = workspace.compress(coding, [&body[..]]);
    let [compress, decompress] = theirs;
    for direction in ["compress", "decompress"] {
        let mut group = criterion.benchmark_group(format!("{} {direction}", coding.name()));
        group.throughput(Throughput::Bytes(body.len() as u64));
        if direction == "compress" {
            group.bench_function("workspace", |bencher| {
                bencher.iter(|| black_box(workspace.compress(coding, [&body[..]])));
            });
            group.bench_function(library, |bencher| bencher.iter(|| black_box(compress(&body))));
        } else {
            assert_eq!(decompress(&compressed), body.len());
            group.bench_function("workspace", |bencher| {
                bencher.iter(|| -> Bytes {
                    workspace.decompress(coding, compressed.clone(), LIMIT, |_| Ok::<_, ()>(())).unwrap()
                });
            });
            group.bench_function(library, |bencher| bencher.iter(|| black_box(decompress(&compressed))));
        }
        group.finish();
    }
}

fn codings(criterion: &mut Criterion) {
    let mut deflate = |body: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap().len()
    };
    let mut inflate = |body: &[u8]| {
        let mut out = Vec::new();
        GzDecoder::new(body).read_to_end(&mut out).unwrap()
    };
    compare(criterion, &Coding::Gzip, "flate2: a new state each", [&mut deflate, &mut inflate]);

    let (mut compressor, mut decompressor) = (zstd_safe::CCtx::create(), zstd_safe::DCtx::create());
    let mut deflate = |body: &[u8]| {
        let mut out = Vec::with_capacity(zstd_safe::compress_bound(body.len()));
        compressor.compress(&mut out, body, 3).unwrap()
    };
    let mut inflate = |body: &[u8]| {
        let length = zstd_safe::get_frame_content_size(body).unwrap().unwrap();
        let mut out = Vec::with_capacity(usize::try_from(length).unwrap());
        decompressor.decompress(&mut out, body).unwrap()
    };
    compare(criterion, &Coding::Zstd, "zstd-safe: a kept state", [&mut deflate, &mut inflate]);

    let mut encoder = snap::raw::Encoder::new();
    let mut deflate = |body: &[u8]| encoder.compress_vec(body).unwrap().len();
    let mut inflate = |body: &[u8]| snap::raw::Decoder::new().decompress_vec(body).unwrap().len();
    compare(criterion, &Coding::Snappy, "snap: a kept encoder", [&mut deflate, &mut inflate]);
}

criterion_group!(benches, codings);
criterion_main!(benches);
