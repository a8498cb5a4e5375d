//! Library calls without a collector, over the load's bodies: the lower bounds of rows whose cost is in compression.
//!
//! `gzip` and `zstd` inflate and deflate each body once with the bare libraries, with reused states and buffers; `walk`
//! is the validating walk, `prost` decodes the same bodies into structs.

use std::hint::black_box;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otelcore_pdata::{Signal, check};
use prost::Message;
use zstd_safe::{CCtx, DCtx};

use crate::measure::{cpu_seconds, pin_to_core};
use crate::telemetry;

/// A coding's default level: zlib's 6, libzstd's 3.
const GZIP: u32 = 6;
const ZSTD: i32 = 3;

/// `alone gzip|zstd|walk|prost ITEMS ROUNDS`: prints CPU seconds and the bytes that would be sent.
pub(crate) fn main(args: &[String]) -> Result<(), String> {
    let [what, items, rounds] = args else { return Err("alone: three arguments".to_owned()) };
    pin_to_core(0);
    let items: u32 = items.parse().map_err(|e| format!("{items}: {e}"))?;
    let rounds: u64 = rounds.parse().map_err(|e| format!("{rounds}: {e}"))?;
    let bodies = telemetry::bodies("traces", items);
    let mut run_call: Box<dyn FnMut(usize) -> Result<usize, String>> = match what.as_str() {
        "gzip" => gzip(bodies)?,
        "zstd" => zstd(bodies)?,
        "walk" => Box::new(move |i| {
            let body = black_box(&bodies[i % bodies.len()]);
            let found = check(Signal::Traces, body).map_err(|e| e.to_string())?;
            if found.items == items { Ok(body.len()) } else { Err("miscounted".to_owned()) }
        }),
        "prost" => Box::new(move |i| {
            let body = black_box(&bodies[i % bodies.len()]);
            black_box(ExportTraceServiceRequest::decode(&body[..]).map_err(|e| e.to_string())?);
            Ok(body.len())
        }),
        other => return Err(format!("alone: no {other}")),
    };
    for i in 0..8 {
        run_call(i)?;
    }
    let before = cpu_seconds(0)?;
    let mut bytes = 0;
    for i in 0..rounds {
        bytes += run_call(i as usize)?;
    }
    println!("{} {bytes}", cpu_seconds(0)? - before);
    Ok(())
}

type CodecCall = Box<dyn FnMut(usize) -> Result<usize, String>>;

fn deflate(state: &mut Compress, body: &[u8], out: &mut [u8]) -> Result<usize, String> {
    state.reset();
    state.compress(body, out, FlushCompress::Finish).map_err(|e| e.to_string())?;
    if state.total_in() == body.len() as u64 { Ok(state.total_out() as usize) } else { Err("no room".to_owned()) }
}

fn gzip(bodies: Vec<Vec<u8>>) -> Result<CodecCall, String> {
    let mut writer = Compress::new(Compression::new(GZIP), false);
    let mut reader = Decompress::new(false);
    let largest = bodies.iter().map(Vec::len).max().unwrap_or(0);
    let mut compressed = vec![0; largest + 1024];
    let mut plain = vec![0; largest];
    let mut inputs = Vec::new();
    for body in &bodies {
        let n = deflate(&mut writer, body, &mut compressed)?;
        inputs.push(compressed[..n].to_vec());
    }
    Ok(Box::new(move |i| {
        let input = &inputs[i % inputs.len()];
        reader.reset(false);
        reader.decompress(input, &mut plain, FlushDecompress::Finish).map_err(|e| e.to_string())?;
        let n = reader.total_out() as usize;
        deflate(&mut writer, &plain[..n], &mut compressed)
    }))
}

fn zstd(bodies: Vec<Vec<u8>>) -> Result<CodecCall, String> {
    let error_name = |code| zstd_safe::get_error_name(code).to_owned();
    let (mut writer, mut reader) = (CCtx::create(), DCtx::create());
    let largest = bodies.iter().map(Vec::len).max().unwrap_or(0);
    let mut compressed = vec![0; zstd_safe::compress_bound(largest)];
    let mut plain = vec![0; largest];
    let mut inputs = Vec::new();
    for body in &bodies {
        let n = writer.compress(&mut compressed[..], body, ZSTD).map_err(error_name)?;
        inputs.push(compressed[..n].to_vec());
    }
    Ok(Box::new(move |i| {
        let n = reader.decompress(&mut plain[..], &inputs[i % inputs.len()]).map_err(error_name)?;
        writer.compress(&mut compressed[..], &plain[..n], ZSTD).map_err(error_name)
    }))
}
