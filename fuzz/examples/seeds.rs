//! Writes the seeds of every target into the folder given: bodies that the generators of the tests make, documents of
//! the tests, data that our own clients and servers exchange, and configurations of the repository.
#![allow(dead_code, reason = "parts of the tests of other crates")]

#[path = "../../crates/pdata/tests/oracle/generate.rs"]
mod generate;
#[path = "../../crates/pdata/tests/json/odd.rs"]
mod odd;
#[path = "../../crates/http/src/pipe.rs"]
mod pipe;
#[path = "../../crates/pdata/tests/oracle/rewrite.rs"]
mod rewrite;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use generate::Choices;
use http::uri::{Authority, PathAndQuery, Scheme};
use otelcore_http::grpc::client::{GrpcClientConn, GrpcClientConnConfig, OutgoingCall};
use otelcore_http::grpc::server::{GrpcServerConn, GrpcServerConnConfig};
use otelcore_http::{AdmitAll, Code, Coding, HeaderValue, Status, Workspace};
use otelcore_pdata::{Rope, Signal, check, json};
use otelcore_test_support::{random_bytes, read_corpus, split_frames};
use pipe::pipe;
use prost::Message;

fn main() {
    let out = PathBuf::from(std::env::args().nth(1).expect("a folder"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    bodies(&out);
    statements(&out);
    compressed_bodies(&out);
    documents(&out);
    configurations(&out, &root);
    manifests(&out, &root);
    responses(&out);
    pages(&out, &root);
    series(&out, &root);
    kafka(&out);
    http1(&out);
    recorded_connections(&out);
    written_scripts(&out);
}

/// A broker's handshake for each way of authentication, and batches of records in each coding.
fn kafka(out: &Path) {
    let frame = |correlation: u8, body: &[u8]| {
        let len = u32::try_from(4 + body.len()).unwrap().to_be_bytes();
        [&len[..], &[0, 0, 0, correlation], body].concat()
    };
    // Error, then each request that the client knows with its lowest and highest version, throttling, tags.
    let mut versions = vec![0, 0, 7];
    for key in [0, 3, 17, 18, 22, 36] {
        versions.extend([0, key, 0, 0, 0, 9, 0]);
    }
    versions.extend([0; 5]);
    for (number, mechanism) in [None, Some("PLAIN"), Some("SCRAM-SHA-256"), Some("OAUTHBEARER")].into_iter().enumerate()
    {
        let mut bytes = frame(0, &versions);
        if let Some(mechanism) = mechanism {
            let mut handshake = vec![0, 0, 0, 0, 0, 1, 0, mechanism.len() as u8];
            handshake.extend_from_slice(mechanism.as_bytes());
            bytes.extend(frame(1, &handshake));
            let message = b"r=nonceserver,s=c2FsdHNhbHQ=,i=4096";
            let mut answer = vec![0, 0, 0, 0, message.len() as u8 + 1];
            answer.extend_from_slice(message);
            answer.extend([0; 9]);
            bytes.extend(frame(2, &answer));
        }
        write_seed(out, "kafka_connection", &format!("handshake-{number}"), &[&[number as u8, 6][..], &bytes].concat());
    }
    // One record: its length, attributes, times and offset, no key, a value, one field of a header.
    let record = [&[34_u8, 0, 0, 0, 1, 10][..], b"value", &[2, 6], b"key", &[2, b'v']].concat();
    let codings = [Coding::Identity, Coding::Gzip, Coding::Snappy, Coding::Lz4, Coding::Zstd];
    for (number, coding) in codings.iter().enumerate() {
        let mut batch = vec![0; 16];
        batch.extend([2, 0, 0, 0, 0, 0, number as u8]);
        batch.extend([0; 34]);
        batch.extend([0, 0, 0, 1]);
        batch.extend_from_slice(&Workspace::new().compress(coding, [&record[..]]));
        write_seed(out, "kafka_batch", &format!("coding-{number}"), &batch);
    }
    for (name, text) in JAEGER_JSON {
        write_seed(out, "jaeger_json", name, text.as_bytes());
    }
}

/// Spans of Jaeger's model with everything, with the names of protobuf, and with the first and the last times.
const JAEGER_JSON: [(&str, &str); 4] = [
    (
        "whole",
        r#"{"traceId":"AQIDBAUGBwgJCgsMDQ4PEA==","spanId":"AQIDBAUGBwg=","operationName":"get","references":[{"traceId":"AQIDBAUGBwgJCgsMDQ4PEA==","spanId":"AQIDBAUGBwg=","refType":"FOLLOWS_FROM"}],"flags":1,"startTime":"2017-01-26T21:46:31.639875Z","duration":"5.001s","tags":[{"key":"s","vStr":"\u003ca\u0026b\u003e"},{"key":"b","vType":"BOOL","vBool":true},{"key":"i","vType":"INT64","vInt64":"-7"},{"key":"n","vType":"BINARY","vBinary":"AP8H"},{"key":"f","vType":"FLOAT64","vFloat64":1.5}],"logs":[{"timestamp":"2017-01-26T21:46:31.639875001Z","fields":[]}],"process":{"serviceName":"shop","tags":[{"key":"k","vStr":"v"}]},"processId":"p1","warnings":["w"]}"#,
    ),
    (
        "names-of-protobuf",
        r#"{"trace_id":"AQIDBAUGBwg=","span_id":"AAAAAAAAAAA=","operation_name":null,"start_time":"2017-01-26T23:46:31,5+02:00","duration":"-1h2m","tags":[{"v_type":3,"v_float64":"NaN"},{"v_type":9,"v_int64":"null"},null,{"v_type":-1,"v_binary":[1,255,null]}],"process":{},"warnings":[null]}"#,
    ),
    ("first-time", r#"{"startTime":"0001-01-01T00:00:00Z","duration":"-2562047h47m16.854775808s"}"#),
    (
        "last-time",
        r#"{"startTime":"9999-12-31T23:59:59.999999999Z","duration":"2562047h47m16.854775807s","flags":"4294967295"}"#,
    ),
];

/// The pages of the parsers' tests, after a byte for the format and one for the length of the pieces.
fn pages(out: &Path, root: &Path) {
    for entry in std::fs::read_dir(root.join("crates/exposition/tests/pages")).unwrap() {
        let path = entry.unwrap().path();
        let format = match path.extension().and_then(|e| e.to_str()) {
            Some("txt") => 0,
            Some("om") => 1,
            Some("pb") => 2,
            _ => continue,
        };
        let name = path.file_name().unwrap().to_str().unwrap();
        write_seed(out, "page", name, &[&[format, 7][..], &std::fs::read(&path).unwrap()].concat());
    }
}

/// Bodies that were compared with the Go exporter, joined to one, after bytes for the settings and for no division.
fn series(out: &Path, root: &Path) {
    let corpus = root.join("crates/exporter-prometheus/tests/data/prometheus.corpus.zst");
    for (i, case) in read_corpus(&corpus).into_iter().take(48).enumerate() {
        let bodies = split_frames(&case.input)[2..].concat();
        write_seed(out, "series", &i.to_string(), &[&[i as u8, 255][..], &bodies].concat());
    }
}

fn write_seed(out: &Path, target: &str, name: &str, bytes: &[u8]) {
    let folder = out.join(target);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), bytes).unwrap();
}

fn body(signal: Signal, seed: u64) -> Vec<u8> {
    let entropy = random_bytes(seed, 40 + seed as usize * 12);
    let c = &mut Choices(&entropy);
    match signal {
        Signal::Traces => generate::traces(c).encode_to_vec(),
        Signal::Metrics => generate::metrics(c).encode_to_vec(),
        Signal::Logs => generate::logs(c).encode_to_vec(),
    }
}

/// OTLP, in any order of fields, and the same as JSON. The first byte is the signal.
fn bodies(out: &Path) {
    for signal in Signal::ALL {
        for seed in 1..140 {
            let plain = body(signal, seed);
            if plain.len() > 6000 || plain.is_empty() {
                continue;
            }
            let name = format!("{signal}-{seed}");
            let bytes = rewrite::rewrite(signal, &plain, &mut Choices(&random_bytes(seed + 500, 300)));
            write_seed(out, "otlp", &name, &[&[signal as u8], &bytes[..]].concat());
            if seed % 3 == 0 {
                let changes = random_bytes(seed + 900, 9);
                write_seed(out, "edit", &name, &[&[signal as u8], &changes[..], &bytes[..]].concat());
            }
            let items = check(signal, &plain).unwrap().items;
            let mut text = vec![signal as u8];
            json::encode(signal, &Rope::new(plain.into(), items), &mut text);
            write_seed(out, "json", &name, &text);
        }
    }
}

/// Statements, conditions and value expressions, each with a body of the signal of its context. The first byte chooses
/// the context, the second what the text is.
fn statements(out: &Path) {
    const TEXTS: [(u8, u8, &str); 16] = [
        (0, 0, "set(attributes[\"k\"], name) where kind == SPAN_KIND_SERVER and not (status.code == 2)"),
        (
            0,
            0,
            "set(attributes[\"a\"][\"b\"][0], [1, {\"x\": nil}, 0x01, -1.5]) where attributes[\"i\"] >= 2 * (3 - 1) / 4",
        ),
        (0, 0, "replace_pattern(name, \"([a-z]+)/\", \"$1\", SHA256)"),
        (0, 0, "keep_keys(attributes, [\"a\", \"http.route\"])"),
        (0, 0, "set(cache[\"x\"], ParseJSON(\"{\\\"a\\\": [1]}\")[\"a\"][0]) where trace_id != nil"),
        (0, 1, "end_time - start_time > Duration(\"1s\") or trace_state[\"a\"] == \"b\""),
        (0, 1, "IsMatch(resource.attributes[\"service.name\"], \"^a.*$\") and IsRootSpan()"),
        (0, 2, "Concat([name, attributes[\"a\"], 1, true, nil], \"-\")"),
        (1, 0, "merge_maps(attributes, ParseJSON(body), \"upsert\") where IsMatch(body, \"^\\\\{\")"),
        (1, 0, "set(body, {\"text\": body, \"severity\": severity_text})"),
        (1, 1, "severity_number < SEVERITY_NUMBER_WARN and body[\"a\"] == 1"),
        (2, 0, "set(value_double, value_int * 1.0) where metric.type == METRIC_DATA_TYPE_SUM"),
        (3, 0, "set(description, Concat([name, unit], \" in \")) where type == METRIC_DATA_TYPE_GAUGE"),
        (4, 0, "set(span.name, name) where event_index == 0"),
        (5, 0, "delete_matching_keys(attributes, \"^(a|b)\")"),
        (6, 0, "truncate_all(attributes, 3)"),
    ];
    for (i, (context, kind, text)) in TEXTS.iter().enumerate() {
        let signal = [
            Signal::Traces,
            Signal::Logs,
            Signal::Metrics,
            Signal::Metrics,
            Signal::Traces,
            Signal::Traces,
            Signal::Logs,
        ][usize::from(*context)];
        for seed in [3, 40] {
            let bytes = [&[*context, *kind], text.as_bytes(), &[0], &body(signal, seed)[..]].concat();
            write_seed(out, "ottl", &format!("{i}-{seed}"), &bytes);
        }
    }
}

fn compressed_bodies(out: &Path) {
    let workspace = Workspace::new();
    for coding in Coding::ALL.iter().filter(|c| !c.is_identity()) {
        let target = match coding {
            Coding::SnappyFramed => "decompress_snappy_framed".to_owned(),
            other => format!("decompress_{}", other.name()),
        };
        let contents = [
            Vec::new(),
            b"a".to_vec(),
            b"otelcore keeps bytes where they arrived. ".repeat(3),
            body(Signal::Traces, 20),
            body(Signal::Metrics, 30),
            body(Signal::Logs, 25),
            random_bytes(7, 600),
            vec![0; 40_000],
            b"otelcore ".repeat(9_000),
        ];
        for (n, content) in contents.iter().enumerate() {
            for level in [1, 4, 9, 12] {
                let compressed = workspace.compress_with_level(coding, Some(level), [&content[..]]);
                write_seed(out, &target, &format!("{n}-{level}"), &compressed);
            }
        }
    }
    // The two formats of one name.
    let framed = workspace.compress(&Coding::SnappyFramed, [&b"two formats of one name"[..]]);
    write_seed(out, "decompress_snappy", "framed", &framed);
}

fn documents(out: &Path) {
    for (n, ((signal, frame), odd)) in odd::SAME_AS_GO.iter().enumerate() {
        for (m, odd) in odd.iter().enumerate() {
            let text = frame.replace('#', odd);
            write_seed(out, "json", &format!("odd-{n}-{m}"), &[&[*signal as u8], text.as_bytes()].concat());
        }
    }
}

fn configurations(out: &Path, root: &Path) {
    for folder in ["examples/tutorial", "examples/custom-components", "benches/collectors"] {
        for entry in std::fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "yaml") {
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                write_seed(out, "config", &name, &std::fs::read(&path).unwrap());
            }
        }
    }
    let small = [
        "a: ${env:A}\nb: ${env:B}\nc: ${env:C}\nd: ${env:D}\ne: $$x${env:N:-def}\n",
        "a: &x {b: 1}\nc: *x\n<<: *x\n",
        "- a\n- [1, 2.5, 0x1f, 1e9, ~, true, \"\\u00e9\", 'it''s']\n",
        "k: |\n  two\n  lines\nf: >-\n  folded\n  text\n? complex\n: value\n",
        "d: 1h30m5.5s\nsize: 10MiB\nempty:\nlist: []\nmap: {}\n",
        "---\na: !!str 1\n...\n",
    ];
    for (n, text) in small.iter().enumerate() {
        write_seed(out, "config", &format!("small-{n}"), text.as_bytes());
    }
}

fn manifests(out: &Path, root: &Path) {
    let mut folders = vec![root.join("deploy"), root.join("crates/kubernetes/tests/vectors")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "yaml") {
                let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
                let within = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
                write_seed(out, "manifests", &format!("{within}-{stem}"), &std::fs::read(&path).unwrap());
            }
        }
    }
}

fn responses(out: &Path) {
    let json = [
        r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}"#,
        r#"{"partialSuccess":{"rejectedDataPoints":1}}"#,
        r#"{"partialSuccess":{"rejectedLogRecords":-1,"errorMessage":"\u00e9"}}"#,
        r#"{"code":14,"message":"full","details":[{"@type":"x","y":[1]}]}"#,
    ];
    for (n, text) in json.iter().enumerate() {
        write_seed(out, "response", &format!("json-{n}"), text.as_bytes());
    }
    write_seed(out, "response", "partial", b"\x0a\x0b\x08\x03\x12\x07too old");
    let statuses = [
        Status::unavailable("data refused due to high memory usage"),
        Status::resource_exhausted("100% w\u{f6}rk\n").with_retry_after(std::time::Duration::from_millis(1250)),
        Status::new(Code::Internal, ""),
    ];
    for (n, status) in statuses.iter().enumerate() {
        write_seed(out, "response", &format!("status-{n}"), &status.to_proto());
    }
}

fn http1(out: &Path) {
    let requests = [
        "GET /metrics?a=b HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /v1/traces HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Type: application/json\r\n\r\nhello",
        "POST /v1/traces HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: x\r\n\r\n",
        "POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /no HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60001\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\nhello",
        "HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/3.0\r\n\r\n",
    ];
    for (n, text) in requests.iter().enumerate() {
        for options in [0, 3, 42] {
            write_seed(out, "http1_server", &format!("{n}-{options}"), &[&[options], text.as_bytes()].concat());
        }
    }
    write_seed(out, "http1_server", "pipelined", &[&[1], requests[0].repeat(20).as_bytes()].concat());
    let responses = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nuntil the end",
        "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2000\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n",
    ];
    for (n, text) in responses.iter().enumerate() {
        for options in [0, 2, 24, 29] {
            write_seed(out, "http1_client", &format!("{n}-{options}"), &[&[options], text.as_bytes()].concat());
        }
    }
}

/// The data that a client and a server of ours exchange.
fn recorded_connections(out: &Path) {
    for (n, coding) in [Coding::Identity, Coding::Gzip, Coding::Zstd, Coding::Snappy].into_iter().enumerate() {
        let (mut to_client, client_end) = pipe(usize::MAX);
        let (mut to_server, server_end) = pipe(usize::MAX);
        let cfg =
            GrpcClientConnConfig::new(Scheme::HTTP, Authority::from_static("c:4317"), HeaderValue::from_static("seed"));
        let mut client = GrpcClientConn::new(client_end, Rc::new(cfg), 1);
        let mut server: GrpcServerConn<_, ()> =
            GrpcServerConn::new(server_end, Rc::new(GrpcServerConnConfig::default()), 1, 1);
        let (mut from_client, mut from_server, mut script) = (Vec::new(), Vec::new(), vec![1]);
        let mut exchange = |client: &mut GrpcClientConn<_>, script: &mut Vec<u8>| {
            for _ in 0..4 {
                let _ = client.poll(1);
                let bytes = to_client.read_all();
                to_server.write_all(&bytes).unwrap();
                from_client.extend(bytes);
                let _ = server.poll(1, &mut AdmitAll);
                while let Some(call) = server.poll_call() {
                    match call.message.len() % 2 {
                        0 => server.respond(call.id, Bytes::from(vec![1; call.message.len()])),
                        _ => server.respond_error(
                            call.id,
                            &Status::unavailable("full").with_retry_after(std::time::Duration::from_secs(1)),
                        ),
                    }
                }
                let _ = server.flush(1);
                let bytes = to_server.read_all();
                to_client.write_all(&bytes).unwrap();
                for part in bytes.chunks(200) {
                    script.extend_from_slice(&[0, part.len() as u8]);
                    script.extend_from_slice(part);
                }
                from_server.extend(bytes);
            }
        };
        exchange(&mut client, &mut script);
        for seed in 10..13 {
            let call = OutgoingCall {
                path: &PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
                metadata: &[],
                encoding: coding.clone(),
                compressed: false,
                message: [Bytes::from(body(Signal::Traces, seed * 2))],
                deadline: Some(5_000_000_001),
            };
            client.start(1, call).unwrap();
            script.extend_from_slice(&[8, (n as u8) << 3 | 4]);
            exchange(&mut client, &mut script);
        }
        write_seed(out, "grpc_client", &format!("recorded-{n}"), &script);
        for options in [0, 3, 5] {
            write_seed(
                out,
                "grpc_server",
                &format!("recorded-{n}-{options}"),
                &[&[options], &from_client[..]].concat(),
            );
        }
        let mut wrapped = vec![1];
        for part in from_client.chunks(200) {
            wrapped.extend_from_slice(&[0, part.len() as u8]);
            wrapped.extend_from_slice(part);
        }
        for target in ["grpc_server_frames", "http2_server"] {
            write_seed(out, target, &format!("recorded-{n}"), &wrapped);
        }
    }
}

/// Scripts by hand: see `src/frames.rs` for the letters.
fn written_scripts(out: &Path) {
    let headers = |flags: u8, stream: u8, list: u8| vec![2, flags, stream, list];
    let message = |stream: u8, options: u8, text: &[u8]| [&[4, 1, stream, options, text.len() as u8], text].concat();
    let data = |flags: u8, stream: u8, text: &[u8]| [&[6, flags, stream, text.len() as u8], text].concat();
    for target in ["grpc_server_frames", "http2_server"] {
        let mut all = vec![0];
        for (n, stream) in (1..20_u8).step_by(2).enumerate() {
            let list = n as u8;
            let call = [headers(0, stream, list), message(stream, list & 3, b"\x0a\x00"), vec![8, 8, 9]].concat();
            all.extend_from_slice(&call);
            write_seed(out, target, &format!("call-{n}"), &[&[0], &call[..]].concat());
            let field = [&[2, 0x40, stream, 0, list][..], &data(1, stream, b"hello"), &[8, 8, 9]].concat();
            write_seed(out, target, &format!("field-{n}"), &[&[0], &field[..]].concat());
            let cut = [headers(0, stream, list), data(0, stream, b"\0\0\0\0\x09hel"), vec![13, stream, list]].concat();
            write_seed(out, target, &format!("cut-{n}"), &[&[24], &cut[..]].concat());
        }
        write_seed(out, target, "calls", &all);
        let control = [12, 0, 12, 1, 10, 0, 3, 4, 0, 0, 9, 11, 0, 9, 4, 7, 31, 15, 0, 7, 31, 7, 31];
        write_seed(out, target, "control", &[&[0][..], &headers(0, 1, 0), &control].concat());
        let bomb = [&[0][..], &headers(0, 1, 1), &[4, 1, 1, 0x11, 200], &[0; 200], &[255]].concat();
        write_seed(out, target, "bomb", &bomb);
        // Lengths that are declared and never come.
        let short = [&[0][..], &headers(0, 1, 0), &data(0, 1, b"\0\0\0\xea\x60hel"), &[9]].concat();
        write_seed(out, target, "declared-by-a-prefix", &short);
        let short = [&[0, 2, 0x40, 1, 0, 11][..], &data(0, 1, b"hello"), &[9]].concat();
        write_seed(out, target, "declared-by-a-field", &short);
    }
    for list in 0..11 {
        let response = [headers(0, 1, list), message(1, list & 3, b"ok"), headers(1, 1, 1), vec![9]].concat();
        write_seed(out, "grpc_client", &format!("answer-{list}"), &[&[4], &response[..]].concat());
        let only = [headers(1, 1, list), vec![8, 7, 14, 1, 0, 3, b'b', b'y', b'e']].concat();
        write_seed(out, "grpc_client", &format!("only-{list}"), &[&[12], &only[..]].concat());
        let field = [&[2, 0x41, 1, 3, list][..], &[7, 14]].concat();
        write_seed(out, "grpc_client", &format!("field-{list}"), &[&[6], &field[..]].concat());
    }
}
