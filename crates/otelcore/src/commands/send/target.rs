//! Where the telemetry is sent, and by which protocol: flags, the environment variables of OpenTelemetry's SDKs, defaults.
//!
//! Owns the configuration of the exporter. Connects to nothing.

use std::net::IpAddr;

use otelcore_config::{EffectiveValue, print};

use super::LoadOptions;
use crate::commands::args::GivenFlags;

/// The form of OTLP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Protocol {
    Grpc,
    HttpProtobuf,
    HttpJson,
}

/// The peer.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Target {
    endpoint: String,
    protocol: Protocol,
    compression: String,
    headers: Vec<(String, String)>,
    /// Keys of `tls` with their values, which are texts or `true`.
    tls: Vec<(&'static str, EffectiveValue)>,
    set: Vec<String>,
}

impl Target {
    pub(super) fn read(flags: &GivenFlags, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let given = flags.value("endpoint").map(str::to_owned).or_else(|| env("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let protocol = flags.value("protocol").map(str::to_owned);
        // The variable says how the SDKs reach their own endpoint, not one that a flag names.
        let of_env = || if flags.value("endpoint").is_none() { env("OTEL_EXPORTER_OTLP_PROTOCOL") } else { None };
        let protocol = match protocol.or_else(of_env).as_deref() {
            Some("grpc") => Some(Protocol::Grpc),
            Some("http/protobuf") => Some(Protocol::HttpProtobuf),
            Some("http/json") => Some(Protocol::HttpJson),
            Some(other) => {
                return Err(format!(
                    "OTEL_EXPORTER_OTLP_PROTOCOL is {other:?}: write grpc, http/protobuf or http/json"
                ));
            }
            None => None,
        };
        let (endpoint, protocol) = match (given, protocol) {
            (None, None | Some(Protocol::Grpc)) => ("localhost:4317".to_owned(), Protocol::Grpc),
            (None, Some(protocol)) => ("http://localhost:4318".to_owned(), protocol),
            (Some(endpoint), Some(protocol)) => (endpoint, protocol),
            (Some(endpoint), None) => {
                let protocol =
                    if port_and_path(&endpoint) == Some("4318") { Protocol::HttpProtobuf } else { Protocol::Grpc };
                (endpoint, protocol)
            }
        };
        let is_insecure = flags.is_on("insecure", is_plaintext(&endpoint));
        let endpoint = match (protocol, endpoint.contains("://")) {
            (Protocol::Grpc, _) | (_, true) => endpoint,
            (_, false) => format!("{}://{endpoint}", if is_insecure { "http" } else { "https" }),
        };
        let mut tls = vec![("insecure", EffectiveValue::Bool(is_insecure))];
        if flags.is_on("insecure-skip-verify", false) {
            tls.push(("insecure_skip_verify", EffectiveValue::Bool(true)));
        }
        for (flag, key) in [("ca-file", "ca_file"), ("cert-file", "cert_file"), ("key-file", "key_file")] {
            tls.extend(flags.value(flag).map(|file| (key, EffectiveValue::Str(file.to_owned()))));
        }
        let mut headers = Vec::new();
        for pair in
            env("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default().split(',').filter(|pair| !pair.trim().is_empty())
        {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| "OTEL_EXPORTER_OTLP_HEADERS: write NAME=VALUE, separated by commas".to_owned())?;
            headers.push((name.trim().to_owned(), percent_decoded(value.trim())));
        }
        for field in flags.values("header") {
            let (name, value) = field.split_once('=').ok_or_else(|| format!("--header {field:?}: write NAME=VALUE"))?;
            headers.retain(|(other, _): &(String, String)| !other.eq_ignore_ascii_case(name));
            headers.push((name.to_owned(), value.to_owned()));
        }
        let compression = flags.value("compression").unwrap_or("none").to_owned();
        let set = flags.values("set").map(str::to_owned).collect::<Vec<_>>();
        if let Some(wrong) = set.iter().find(|set| !set.contains('=')) {
            return Err(format!("invalid argument {wrong:?} for \"--set\" flag: missing equal sign"));
        }
        Ok(Self { endpoint, protocol, compression, headers, tls, set })
    }

    /// The peer for people.
    pub(super) fn describe(&self) -> String {
        let protocol = match self.protocol {
            Protocol::Grpc => "OTLP over gRPC",
            Protocol::HttpProtobuf => "OTLP over HTTP",
            Protocol::HttpJson => "OTLP over HTTP, JSON",
        };
        format!("{} ({protocol})", self.endpoint)
    }

    fn exporter(&self) -> &'static str {
        if self.protocol == Protocol::Grpc { "otlp_grpc" } else { "otlp_http" }
    }

    /// `--set` as settings of the exporter.
    pub(super) fn settings(&self) -> Vec<String> {
        self.set.iter().map(|set| format!("exporters.{}.{set}", self.exporter())).collect()
    }

    /// The configuration of the collector. A text in JSON is one in YAML.
    pub(super) fn to_yaml(&self, options: &LoadOptions) -> String {
        let text = |text: &str| EffectiveValue::Str(text.replace('$', "$$"));
        let map = |entries: Vec<(&str, EffectiveValue)>| EffectiveValue::map(entries);
        let list = |names: &[&str]| EffectiveValue::List(names.iter().map(|name| text(name)).collect());
        let off = || map(vec![("enabled", EffectiveValue::Bool(false))]);
        let tls = self.tls.iter().map(|(key, value)| match value {
            EffectiveValue::Str(value) => (*key, text(value)),
            value => (*key, value.clone()),
        });
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
        let mut exporter = vec![
            ("endpoint", text(&self.endpoint)),
            ("compression", text(&self.compression)),
            ("headers", map(headers)),
            ("tls", map(tls.collect())),
            ("timeout", text(&format!("{}ns", options.timeout.as_nanos()))),
            ("sending_queue", off()),
            ("retry_on_failure", off()),
        ];
        if self.protocol == Protocol::HttpJson {
            exporter.push(("encoding", text("json")));
        }
        let pipeline = |_| map(vec![("receivers", list(&["load"])), ("exporters", list(&[self.exporter()]))]);
        let pipelines = options.signals.iter().map(|signal| (signal.name(), pipeline(()))).collect();
        let telemetry =
            map(vec![("logs", map(vec![("level", text("warn"))])), ("metrics", map(vec![("level", text("none"))]))]);
        let root = map(vec![
            ("receivers", map(vec![("load", EffectiveValue::Null)])),
            ("exporters", map(vec![(self.exporter(), map(exporter))])),
            ("service", map(vec![("pipelines", map(pipelines)), ("telemetry", telemetry)])),
        ]);
        print::to_json(&root, false)
    }
}

/// The port of an endpoint, where it has no path.
fn port_and_path(endpoint: &str) -> Option<&str> {
    let address = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest).trim_end_matches('/');
    address.rsplit_once(':').map(|(_, port)| port)
}

/// Whether no TLS is meant: by the scheme, or because it is this machine.
fn is_plaintext(endpoint: &str) -> bool {
    match endpoint.split_once("://") {
        Some((scheme, _)) => !scheme.eq_ignore_ascii_case("https"),
        None => {
            let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
    }
}

/// A value of OTEL_EXPORTER_OTLP_HEADERS, which is percent-encoded as W3C baggage is. What is no escape stays.
fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escape = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match escape.filter(|_| *first == b'%') {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::args::{self, Command};

    fn target(args: &[&str], env: &[(&str, &str)]) -> Target {
        let all = ["send"].iter().chain(args).map(std::ffi::OsString::from);
        let Command::Send { flags, .. } = args::parse(all).unwrap().command else { panic!("not send") };
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Target::read(&flags, &env).unwrap()
    }

    fn is_insecure(target: &Target) -> bool {
        target.tls.contains(&("insecure", EffectiveValue::Bool(true)))
    }

    #[test]
    fn endpoint_and_protocol_have_the_defaults_of_sdks() {
        for (args, env, expected, insecure) in [
            (&[][..], &[][..], "localhost:4317 (OTLP over gRPC)", true),
            (&["--protocol=http/json"], &[], "http://localhost:4318 (OTLP over HTTP, JSON)", true),
            (&["--endpoint=localhost:4318"], &[], "http://localhost:4318 (OTLP over HTTP)", true),
            (&["--endpoint=gateway:4317"], &[], "gateway:4317 (OTLP over gRPC)", false),
            (&["--endpoint=gateway:4317", "--insecure"], &[], "gateway:4317 (OTLP over gRPC)", true),
            (&["--endpoint=gateway:4318"], &[], "https://gateway:4318 (OTLP over HTTP)", false),
            (&[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317")], "http://a:4317 (OTLP over gRPC)", true),
            (
                &[],
                &[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")],
                "https://a (OTLP over HTTP)",
                false,
            ),
            (&["--endpoint=b:1"], &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")], "b:1 (OTLP over gRPC)", false),
        ] {
            let target = target(args, env);
            assert_eq!((target.describe().as_str(), is_insecure(&target)), (expected, insecure), "{args:?} {env:?}");
        }
    }

    #[test]
    fn header_of_a_flag_replaces_that_of_the_environment() {
        let env = [("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, X-Tenant=one")];
        let target = target(&["--header=x-tenant=$two", "--header=b=c=d"], &env);
        let expected = [("api-key", "a b"), ("x-tenant", "$two"), ("b", "c=d")];
        assert_eq!(target.headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
