//! Receivers on real sockets: what a client sends arrives at the end of the pipeline.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test that can't go on has failed"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use otelcore::pdata::{Signal, check};
use otelcore::{EmbedOptions, EmbeddedCollector};

/// A span named `get` of the process `shop`, as a `Batch` in Thrift's binary protocol.
fn binary_batch() -> Vec<u8> {
    let mut out = b"\x0c\x00\x01\x0b\x00\x01\x00\x00\x00\x04shop\x00\x0f\x00\x02\x0c\x00\x00\x00\x01".to_vec();
    let number = |field: u8, v: u8| [&[0x0a, 0, field][..], &[0; 7], &[v]].concat();
    for (field, v) in [(1, 1), (2, 2), (3, 3), (4, 0)] {
        out.extend(number(field, v));
    }
    out.extend_from_slice(b"\x0b\x00\x05\x00\x00\x00\x03get\x08\x00\x07\x00\x00\x00\x01");
    out.extend([number(8, 100), number(9, 5)].concat());
    out.extend_from_slice(&[0, 0]);
    out
}

/// The same span in a call of `emitBatch`, in the compact protocol.
fn compact_message() -> Vec<u8> {
    let batch =
        b"\x1c\x18\x04shop\x00\x19\x1c\x16\x02\x16\x04\x16\x06\x16\x00\x18\x03get\x25\x02\x16\xc8\x01\x16\x0a\x00\x00";
    [b"\x82\x81\x01\x09emitBatch\x1c", &batch[..], b"\x00"].concat()
}

#[test]
fn jaeger_spans_arrive_over_udp_and_over_http() {
    let udp_port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let http_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let yaml = format!(
        "receivers:\n  jaeger:\n    protocols:\n      thrift_compact: {{endpoint: '127.0.0.1:{udp_port}'}}\n      \
         thrift_http: {{endpoint: '127.0.0.1:{http_port}'}}\nexporters: {{inproc/out: }}\nservice:\n  telemetry: \
         {{metrics: {{level: none}}}}\n  pipelines: {{traces: {{receivers: [jaeger], exporters: [inproc/out]}}}}\n"
    );
    let collector = EmbeddedCollector::new(&yaml, EmbedOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let output = collector.output("inproc/out").unwrap();
    let addresses = || {
        let mut found: Vec<_> =
            collector.component_statuses().into_iter().flat_map(|status| status.addresses).collect();
        found.sort();
        found
    };
    assert!(addresses().is_empty(), "not started");
    collector.start().unwrap();
    let mut expected = [udp_port, http_port].map(|port| format!("127.0.0.1:{port}"));
    expected.sort();
    assert_eq!(addresses(), expected);
    let next = || {
        let batch = output.next(Some(Duration::from_secs(30))).unwrap();
        let body = batch.data().to_vec();
        batch.finish(otelcore::inproc::BatchResult::Delivered);
        assert_eq!(check(Signal::Traces, &body).unwrap().items, 1);
        body
    };
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(&compact_message(), ("127.0.0.1", udp_port)).unwrap();
    let over_udp = next();

    let body = binary_batch();
    let mut client = TcpStream::connect(("127.0.0.1", http_port)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = format!(
        "POST /api/traces HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-thrift\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.write_all(&[head.as_bytes(), &body].concat()).unwrap();
    assert_eq!(next(), over_udp, "both are the same span");
    let mut status = [0; 12];
    client.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 202");
    collector.shutdown(Duration::from_secs(5)).unwrap();
    assert!(addresses().is_empty(), "stopped");
}
