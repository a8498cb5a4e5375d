//! Ten gRPC calls with messages of telemetry's size on one connection, beside h2 alone: the same frames, with the
//! messages copied into buffers and neither admission, deadlines nor keepalive.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a bench")]

mod exchange;
#[path = "../../pdata/benches/telemetry/mod.rs"]
mod telemetry;

use std::future::Future;
use std::hint::black_box;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use exchange::{GrpcExchange, REQUESTS, Replay};
use http::{HeaderMap, HeaderValue, Response};
use otelcore_pdata::Signal;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The stream as h2 reads and writes it.
struct H2Stream(Replay);

fn pending<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(e) if e.kind() == ErrorKind::WouldBlock => Poll::Pending,
        other => Poll::Ready(other),
    }
}

impl AsyncRead for H2Stream {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let result = self.0.read(buf.initialize_unfilled());
        pending(result.map(|n| buf.advance(n)))
    }
}

impl AsyncWrite for H2Stream {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        pending(self.0.write(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        pending(self.0.write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Receives the calls and responds to them by h2. Returns the bytes of their messages, with the prefixes.
fn serve_by_h2(exchange: &GrpcExchange) -> usize {
    let context = &mut Context::from_waker(Waker::noop());
    let io = Replay::new(&exchange.client_settings);
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 20).max_concurrent_streams(512);
    let handshake = builder.handshake::<_, Bytes>(H2Stream(io.clone()));
    let Poll::Ready(Ok(mut connection)) = pin!(handshake).poll(context) else { panic!("no handshake") };
    assert!(connection.poll_accept(context).is_pending());
    io.set_input(&exchange.client_calls);
    let (mut calls, mut done, mut total) = (Vec::new(), 0, 0);
    while done < REQUESTS {
        while let Poll::Ready(Some(call)) = connection.poll_accept(context) {
            let (request, response) = call.unwrap();
            calls.push((request.into_body(), response, Vec::new()));
        }
        calls.retain_mut(|(body, response, message)| {
            while let Poll::Ready(chunk) = body.poll_data(context) {
                let Some(chunk) = chunk else {
                    let mut head = Response::new(());
                    head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
                    let mut stream = response.send_response(head, false).unwrap();
                    stream.send_data(Bytes::from_static(&[0; 5]), false).unwrap();
                    let status = [("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))];
                    stream.send_trailers(HeaderMap::from_iter(status)).unwrap();
                    total += message.len();
                    done += 1;
                    return false;
                };
                let chunk = chunk.unwrap();
                message.extend_from_slice(&chunk);
                body.flow_control().release_capacity(chunk.len()).unwrap();
            }
            true
        });
    }
    assert!(connection.poll_accept(context).is_pending());
    total
}

fn calls(criterion: &mut Criterion) {
    let body = telemetry::body(Signal::Traces).to_bytes();
    let exchange = GrpcExchange::record(body.clone());
    assert_eq!(exchange.serve(), REQUESTS * body.len());
    assert_eq!(serve_by_h2(&exchange), REQUESTS * (body.len() + 5));
    let mut group = criterion.benchmark_group("10 gRPC calls");
    group.throughput(Throughput::Elements(REQUESTS as u64));
    group.bench_function("server connection", |bencher| bencher.iter(|| black_box(exchange.serve())));
    group.bench_function("h2: the server side alone", |bencher| bencher.iter(|| black_box(serve_by_h2(&exchange))));
    group.bench_function("client connection", |bencher| bencher.iter(|| black_box(exchange.call())));
    group.finish();
}

criterion_group!(benches, calls);
criterion_main!(benches);
