//! Bodies of every form, made from a seed: most of them valid, each field present or not, texts that mean something.

use otelcore_pdata::text::put_json_string;
use otelcore_pdata::wire_format::{put_bytes_field, put_fixed64_field, put_varint_field};
use otelcore_test_support::Choices;

const KEYS: &str = "a b c größe service.name faas.name faas.id cloud.resource_id k8s.pod.name host.id process.pid \
    device.model.identifier aws.log.group.names webengine.name opencensus.starttime telemetry.auto.version \
    otlp.service.name.source otel.library.name otel.library.version otel.scope.name otel.scope.version \
    http.status_code http.response.status_code http.status_message span.kind error otel.status_code \
    otel.status_description census.status_code census.status_description opencensus.status_description w3c.tracestate \
    network.local.address network.peer.address net.host.port net.peer.port service.peer.name peer.service lc \
    otlp.link.0 otlp.link.1 otlp.link.3 otel.zipkin.absentField.startTime";

const VALUES: &[&str] = &[
    "",
    "x",
    "Größe",
    "true",
    "false",
    "internal",
    "0",
    "2",
    "200",
    "404",
    "-7",
    "99999999999999999999",
    "1.5",
    "-0.25",
    "1e5",
    "STATUS_CODE_ERROR",
    "STATUS_CODE_OK",
    "Error",
    "Ok",
    "faas.name",
    "own.key",
    "a=1,b=2",
    "1.2.3.4",
    "{\"a\":1}",
    "\"<&>\\ \u{2028}\t",
];

const LINKS: &[&str] = &[
    "000102030405060708090a0b0c0d0e0f|0001020304050607|k=v|{\"a\":\"b\",\"n\":1,\"d\":1.5,\"t\":true,\"z\":null,\"l\":[1]}|3",
    "\"000102030405060708090a0b0c0d0e0f\"|\"0001020304050607\"||{}|0",
    "||||",
    "|||null|0",
    "|||{\"p\":\"x|y\"}|7",
    "a|b|c",
    "00|0001020304050607||{}|0",
    "|||{}|x",
    "|||[1]|0",
    "|||{\"big\":1e3,\"neg\":-3}|4294967295",
];

const EVENTS: &[&str] = &[
    "",
    "started",
    "a|b",
    "e|{\"k\":\"v\",\"n\":2}|1",
    "e|{\"k\":\"x|y\"}|0",
    "e|{}|",
    "e|no json|0",
    "cs",
    "cr",
    "ss",
    "sr",
    "ms",
    "mr",
    "ws",
];

const SERVICES: &[&str] = &["", "shop", "cart", "unknown-service", "größe"];
const IDS: &[&str] = &["0000000000000001", "00000000000000ff", "abcdefABCDEF0123", "ffffffffffffffff"];
const BAD_IDS: &[&str] =
    &["", "0", "0000000000000000", "xyz", "1", "00000000000000000000000000000001", "10000000000000000"];
const TRACE_IDS: &[&str] = &[
    "0000000000000001",
    "00000000000000010000000000000002",
    "ffffffffffffffffffffffffffffffff",
    "463ac35c9f6413ad48485a3953bb6124",
];
const TIMES: &[i64] = &[0, 1, 1_700_000_000_123_456, 1_700_000_000_000_000, -5, i64::MAX];

fn one_of<T: Copy>(c: &mut Choices, options: &[T]) -> T {
    options[c.below(options.len())]
}

fn key(c: &mut Choices) -> &'static str {
    let keys: Vec<&str> = KEYS.split_whitespace().collect();
    keys[c.below(keys.len())]
}

fn tag(c: &mut Choices) -> (&'static str, &'static str) {
    let key = key(c);
    let value = match key {
        // Most links are well-formed.
        key if key.starts_with("otlp.link") => match c.one_in(6) {
            true => one_of(c, LINKS),
            false => LINKS[c.below(4)],
        },
        _ => one_of(c, VALUES),
    };
    (key, value)
}

/// Keys are different, and what belongs to the resource is the same in every span of the body.
fn tags(c: &mut Choices, resource: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let mut tags: Vec<_> = (0..c.below(8)).map(|_| tag(c)).collect();
    tags.retain(|(key, _)| !is_of_resource(key));
    tags.extend_from_slice(resource);
    let mut seen = std::collections::BTreeSet::new();
    tags.retain(|(key, _)| seen.insert(*key));
    tags
}

fn is_of_resource(key: &str) -> bool {
    let prefixes = ["service.n", "faas.", "cloud.", "k8s.", "host.", "process.", "device.", "aws.", "webengine."];
    let others = ["opencensus.starttime", "telemetry.auto.version", "otlp.service.name.source"];
    let library = ["otel.library", "otel.scope"];
    others.contains(&key) || prefixes.iter().chain(&library).any(|prefix| key.starts_with(prefix))
}

fn id(c: &mut Choices) -> &'static str {
    if c.one_in(40) { one_of(c, BAD_IDS) } else { one_of(c, IDS) }
}

fn trace_id(c: &mut Choices) -> &'static str {
    if c.one_in(40) { one_of(c, BAD_IDS) } else { one_of(c, TRACE_IDS) }
}

fn time(c: &mut Choices) -> i64 {
    if c.one_in(3) { one_of(c, TIMES) } else { 1_700_000_000_000_000 + c.below(256) as i64 }
}

/// The form from 2 on, whether tags are parsed, and the body.
pub fn input(seed: u64) -> Vec<u8> {
    let mut c = Choices::new(seed, 4000);
    let form = c.below(4);
    let mut input = vec![form as u8 + 2, c.below(2) as u8];
    input.extend(match form {
        0 => v1_json(&mut c),
        1 => v1_thrift(&mut c),
        2 => v2_json(&mut c),
        _ => v2_protobuf(&mut c),
    });
    input
}

/// Writes members of an object.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_first: bool,
}

fn object(out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    write(&mut Object { out, is_first: true });
    out.push(b'}');
}

impl Object<'_> {
    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
        put_json_string(self.out, key.as_bytes());
        self.out.push(b':');
        self.out
    }

    fn text(&mut self, key: &str, text: &str) {
        put_json_string(self.key(key), text.as_bytes());
    }

    fn raw(&mut self, key: &str, raw: impl std::fmt::Display) {
        self.key(key).extend_from_slice(raw.to_string().as_bytes());
    }
}

fn list(out: &mut Vec<u8>, count: usize, mut write: impl FnMut(&mut Vec<u8>)) {
    out.push(b'[');
    for i in 0..count {
        if i > 0 {
            out.push(b',');
        }
        write(out);
    }
    out.push(b']');
}

fn json_endpoint(c: &mut Choices, out: &mut Vec<u8>, with_bad: bool) {
    object(out, |o| {
        if c.one_in(2) {
            o.text("serviceName", one_of(c, SERVICES));
        }
        if c.one_in(2) {
            o.text("ipv4", one_of(c, &["10.0.0.1", "", "1.2.3.4"]));
        }
        if c.one_in(3) {
            o.text("ipv6", one_of(c, &["::1", "2001:DB8::0:1", "::ffff:1.2.3.4", "fe80::"]));
        }
        if with_bad && c.one_in(60) {
            o.text("ipv4", one_of(c, &["1.2.3", "x", "fe80::1%eth0", "01.2.3.4"]));
        }
        match c.below(12) {
            0..4 => o.raw("port", one_of(c, &[0, 80, 65535])),
            4 => o.raw("port", "null"),
            5 if with_bad && c.one_in(8) => o.raw("port", 65536),
            _ => {}
        }
    });
}

fn v1_json(c: &mut Choices) -> Vec<u8> {
    let mut out = Vec::new();
    if c.one_in(100) {
        return one_of(c, &["null", "[]", "{}", "", "[{}]", "[1]"]).into();
    }
    list(&mut out, 1 + c.below(4), |out| {
        object(out, |o| {
            o.text("traceId", trace_id(c));
            o.text("id", id(c));
            match c.below(4) {
                0 => o.text("parentId", id(c)),
                1 => o.text("parentId", ""),
                2 => o.raw("parentId", "null"),
                _ => {}
            }
            o.text("name", one_of(c, &["", "GET", "größe"]));
            if c.one_in(2) {
                o.raw("timestamp", time(c));
            }
            if c.one_in(2) {
                o.raw("duration", c.below(200));
            }
            o.raw("debug", "true");
            let count = c.below(4);
            list(o.key("annotations"), count, |out| {
                object(out, |o| {
                    o.raw("timestamp", time(c));
                    o.text("value", one_of(c, EVENTS));
                    if c.one_in(2) {
                        json_endpoint(c, o.key("endpoint"), false);
                    }
                });
            });
            let count = c.below(7);
            list(o.key("binaryAnnotations"), count, |out| {
                object(out, |o| {
                    let (key, value) = tag(c);
                    o.text("key", key);
                    o.text("value", value);
                    if c.one_in(4) {
                        json_endpoint(c, o.key("endpoint"), false);
                    }
                });
            });
        });
    });
    out
}

fn v2_json(c: &mut Choices) -> Vec<u8> {
    let mut out = Vec::new();
    if c.one_in(60) {
        return one_of(c, &["null", "[]", "{}", "", "[null]", "[{}]", "[1]", "[{\"id\":1}]", "[] x"]).into();
    }
    let resource: Vec<_> = (0..c.below(4)).map(|_| tag(c)).filter(|(key, _)| is_of_resource(key)).collect();
    list(&mut out, 1 + c.below(4), |out| {
        object(out, |o| {
            o.text("traceId", trace_id(c));
            o.text("id", id(c));
            match c.below(4) {
                0 => o.text("parentId", id(c)),
                1 => o.raw("parentId", "null"),
                _ => {}
            }
            if c.one_in(2) {
                o.text("kind", one_of(c, &["CLIENT", "SERVER", "PRODUCER", "CONSUMER", "client", ""]));
            }
            o.text("name", one_of(c, &["", "get /", "größe"]));
            if !c.one_in(4) {
                o.raw("timestamp", time(c).max(0));
            }
            if !c.one_in(4) {
                o.raw("duration", c.below(200));
            }
            if c.one_in(40) {
                o.raw("shared", "true");
            }
            if !c.one_in(3) {
                json_endpoint(c, o.key("localEndpoint"), true);
            }
            if c.one_in(2) {
                json_endpoint(c, o.key("remoteEndpoint"), true);
            }
            let count = c.below(4);
            list(o.key("annotations"), count, |out| {
                object(out, |o| {
                    o.raw("timestamp", if c.one_in(80) { 0 } else { time(c).max(1) });
                    o.text("value", EVENTS[c.below(EVENTS.len())]);
                });
            });
            let tags = tags(c, &resource);
            object(o.key("tags"), |o| tags.iter().for_each(|(key, value)| o.text(key, value)));
        });
    });
    out
}

fn hex_bytes(text: &str) -> Vec<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).unwrap_or(0) as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | pair.get(1).map_or(0, |b| digit(*b))).collect()
}

fn proto_endpoint(c: &mut Choices) -> Vec<u8> {
    let mut out = Vec::new();
    if c.one_in(2) {
        put_bytes_field(&mut out, 1, one_of(c, SERVICES).as_bytes());
    }
    match c.below(5) {
        0 | 1 => put_bytes_field(&mut out, 2, &[10, 0, 0, 1]),
        2 => put_bytes_field(&mut out, 2, &[1, 2, 0xab]),
        _ => {}
    }
    if c.one_in(3) {
        put_bytes_field(&mut out, 3, &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
    if c.one_in(2) {
        put_varint_field(&mut out, 4, one_of(c, &[80, 65536 + 7, 65535]));
    }
    out
}

fn v2_protobuf(c: &mut Choices) -> Vec<u8> {
    let resource: Vec<_> = (0..c.below(4)).map(|_| tag(c)).filter(|(key, _)| is_of_resource(key)).collect();
    let mut out = Vec::new();
    for _ in 0..1 + c.below(4) {
        let mut span = Vec::new();
        let trace_id = if c.one_in(50) { hex_bytes(one_of(c, BAD_IDS)) } else { hex_bytes(TRACE_IDS[1 + c.below(3)]) };
        put_bytes_field(&mut span, 1, &trace_id);
        if c.one_in(2) {
            put_bytes_field(&mut span, 2, &hex_bytes(id(c)));
        }
        put_bytes_field(&mut span, 3, &hex_bytes(id(c)));
        put_varint_field(&mut span, 4, c.below(6) as u64);
        put_bytes_field(&mut span, 5, one_of(c, &["", "get /", "größe"]).as_bytes());
        if c.one_in(2) {
            put_fixed64_field(&mut span, 6, time(c).cast_unsigned());
        }
        put_varint_field(&mut span, 7, c.below(200) as u64);
        if !c.one_in(3) {
            put_bytes_field(&mut span, 8, &proto_endpoint(c));
        }
        if c.one_in(2) {
            put_bytes_field(&mut span, 9, &proto_endpoint(c));
        }
        for _ in 0..c.below(4) {
            let mut annotation = Vec::new();
            put_fixed64_field(&mut annotation, 1, time(c).cast_unsigned());
            put_bytes_field(&mut annotation, 2, one_of(c, EVENTS).as_bytes());
            put_bytes_field(&mut span, 10, &annotation);
        }
        for (key, value) in tags(c, &resource) {
            let mut entry = Vec::new();
            put_bytes_field(&mut entry, 1, key.as_bytes());
            put_bytes_field(&mut entry, 2, value.as_bytes());
            put_bytes_field(&mut span, 11, &entry);
        }
        put_varint_field(&mut span, 12, 1);
        put_bytes_field(&mut out, 1, &span);
    }
    if c.one_in(60) {
        out.pop();
    }
    out
}

/// Writes fields of a struct in Thrift's binary protocol.
fn thrift_struct(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    write(out);
    out.push(0);
}

fn thrift_field(out: &mut Vec<u8>, kind: u8, number: i16) {
    out.push(kind);
    out.extend_from_slice(&number.to_be_bytes());
}

fn thrift_i64(out: &mut Vec<u8>, number: i16, v: i64) {
    thrift_field(out, 10, number);
    out.extend_from_slice(&v.to_be_bytes());
}

fn thrift_bytes(out: &mut Vec<u8>, number: i16, v: &[u8]) {
    thrift_field(out, 11, number);
    out.extend_from_slice(&(v.len() as u32).to_be_bytes());
    out.extend_from_slice(v);
}

fn thrift_list(out: &mut Vec<u8>, number: i16, count: usize, mut write: impl FnMut(&mut Vec<u8>)) {
    thrift_field(out, 15, number);
    out.push(12);
    out.extend_from_slice(&(count as u32).to_be_bytes());
    (0..count).for_each(|_| write(out));
}

fn thrift_endpoint(c: &mut Choices, out: &mut Vec<u8>, number: i16) {
    thrift_field(out, 12, number);
    thrift_struct(out, |out| {
        thrift_field(out, 8, 1);
        out.extend_from_slice(&one_of(c, &[0, 0x0a00_0001_u32, 0xffff_ffff]).to_be_bytes());
        thrift_field(out, 6, 2);
        out.extend_from_slice(&one_of(c, &[0, 80, -1_i16]).to_be_bytes());
        thrift_bytes(out, 3, one_of(c, SERVICES).as_bytes());
        if c.one_in(3) {
            thrift_bytes(out, 4, &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        }
    });
}

fn v1_thrift(c: &mut Choices) -> Vec<u8> {
    let count = 1 + c.below(4);
    let mut out = vec![12];
    out.extend_from_slice(&(count as u32).to_be_bytes());
    for _ in 0..count {
        thrift_struct(&mut out, |out| {
            thrift_i64(out, 1, c.below(3) as i64);
            thrift_bytes(out, 3, one_of(c, &["", "get", "größe"]).as_bytes());
            thrift_i64(out, 4, c.below(3) as i64 - 1);
            if c.one_in(2) {
                thrift_i64(out, 5, c.below(3) as i64);
            }
            let annotations = c.below(4);
            thrift_list(out, 6, annotations, |out| {
                thrift_struct(out, |out| {
                    thrift_i64(out, 1, time(c));
                    thrift_bytes(out, 2, one_of(c, EVENTS).as_bytes());
                    if c.one_in(2) {
                        thrift_endpoint(c, out, 3);
                    }
                });
            });
            let annotations = c.below(6);
            thrift_list(out, 8, annotations, |out| {
                thrift_struct(out, |out| {
                    let (key, value) = tag(c);
                    let kind = c.below(9) as i32;
                    thrift_bytes(out, 1, key.as_bytes());
                    match kind {
                        6 => thrift_bytes(out, 2, value.as_bytes()),
                        _ => thrift_bytes(out, 2, [&[1][..], &[], &[0x7f; 8], &[0, 0, 0, 100, 0, 0, 0, 0]][c.below(4)]),
                    }
                    thrift_field(out, 8, 3);
                    out.extend_from_slice(&kind.to_be_bytes());
                    if c.one_in(4) {
                        thrift_endpoint(c, out, 4);
                    }
                });
            });
            // `debug`, which has no place in OTLP.
            thrift_field(out, 2, 9);
            out.push(1);
            if c.one_in(2) {
                thrift_i64(out, 10, time(c));
            }
            if c.one_in(2) {
                thrift_i64(out, 11, c.below(200) as i64);
            }
            if c.one_in(2) {
                thrift_i64(out, 12, c.below(3) as i64);
            }
        });
    }
    if c.one_in(60) {
        out.pop();
    }
    out
}
