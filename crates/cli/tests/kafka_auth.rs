//! The exporter and the receiver `kafka` with TLS and each kind of authentication, and what they report when it fails.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

#[path = "support/kafka.rs"]
mod broker;
#[path = "support/kafka_load.rs"]
mod load;
mod support;
#[path = "support/pki.rs"]
mod tls_files;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use broker::{Kafka, Options, has_scram};
use load::*;
use support::*;
use tls_files::Pki;

/// The authentication of a listener.
struct Listeners {
    kafka: Kafka,
    pki: Pki,
    tls: u16,
    mutual: u16,
    sasl_tls: u16,
}

fn start() -> Listeners {
    let dir = empty_test_dir("kafka-auth");
    let pki = Pki::new(&dir);
    let read = |name: &str| std::fs::read_to_string(pki.path(name)).unwrap();
    let store = pki.path("store.pem");
    std::fs::write(&store, format!("{}{}", read("server.key"), read("server.pem"))).unwrap();
    let [tls, mutual, sasl_tls] = [free_port(), free_port(), free_port()];
    let mut properties = String::new();
    for listener in ["tls", "mutual", "sasltls"] {
        properties.push_str(&format!(
            "listener.name.{listener}.ssl.keystore.type=PEM
listener.name.{listener}.ssl.keystore.location={}
listener.name.{listener}.ssl.truststore.type=PEM
listener.name.{listener}.ssl.truststore.location={}
",
            store.display(),
            pki.path("ca.pem").display(),
        ));
    }
    properties.push_str(
        "listener.name.mutual.ssl.client.auth=required
listener.name.sasltls.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512,OAUTHBEARER
listener.name.sasltls.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"secret\";
listener.name.sasltls.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasltls.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
         unsecuredLoginStringClaim_sub=\"broker\";
",
    );
    let listeners = [("TLS", "SSL", tls), ("MUTUAL", "SSL", mutual), ("SASLTLS", "SASL_SSL", sasl_tls)];
    let options = Options { properties: &properties, listeners: &listeners, ..Options::default() };
    let kafka = Kafka::start_with("kafka-auth-broker", &options);
    Listeners { kafka, pki, tls, mutual, sasl_tls }
}

/// A file with a token that is not signed, for `alice`.
fn token_file(listeners: &Listeners, name: &str, seconds: i64) -> PathBuf {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let claims = format!("{{\"sub\":\"alice\",\"iat\":{},\"exp\":{}}}", now - 100, now + seconds);
    let token = format!("{}.{}.", base64_url(b"{\"alg\":\"none\"}"), base64_url(claims.as_bytes()));
    let path = listeners.pki.path(name);
    std::fs::write(&path, token).unwrap();
    path
}

fn base64_url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for at in 0..=group.len() {
            text.push(char::from(LETTERS[usize::try_from(bits >> (18 - 6 * at) & 63).unwrap()]));
        }
    }
    text
}

/// A collector that sends to a topic and reads it, with these options of the connection.
fn round_trip(
    listeners: &Listeners,
    name: &str,
    port: u16,
    connection: &str,
    token: &str,
) -> (Process, String, PathBuf) {
    let dir = &listeners.kafka.dir;
    let otlp = format!("127.0.0.1:{}", free_port());
    let file = dir.join(format!("{name}.json"));
    let config = format!(
        "extensions: {{bearertokenauth: {{filename: \"{token}\"}}}}
receivers:
  otlp: {{protocols: {{http: {{endpoint: \"{otlp}\"}}}}}}
  kafka:
    brokers: [\"localhost:{port}\"]
    initial_offset: earliest
    group_id: {name}
    logs: {{topics: [{name}]}}
{connection}
exporters:
  kafka:
    brokers: [\"localhost:{port}\"]
    timeout: 3s
    sending_queue: {{enabled: false}}
    retry_on_failure: {{enabled: false}}
    producer: {{required_acks: all}}
    logs: {{topic: {name}}}
{connection}
  file: {{path: \"{file}\", flush_interval: 50ms}}
service:
  extensions: [bearertokenauth]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs/in: {{receivers: [otlp], exporters: [kafka]}}
    logs/out: {{receivers: [kafka], exporters: [file]}}
",
        file = file.display(),
    );
    let mut process = collector(dir, name, &config);
    wait_for_listener(&otlp, &mut process);
    (process, otlp, file)
}

const LOG: &str = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"message-1"}}]}]}]}"#;

#[test]
#[ignore = "needs Kafka; run by scripts/kafka"]
fn exporter_and_receiver_connect_with_tls_and_each_mechanism() {
    let listeners = start();
    let token = token_file(&listeners, "token", 3600).display().to_string();
    let path = |name: &str| listeners.pki.path(name).display().to_string();
    let tls = format!("    tls: {{ca_file: \"{}\"}}", path("ca.pem"));
    let mutual = format!(
        "    tls: {{ca_file: \"{}\", cert_file: \"{}\", key_file: \"{}\"}}",
        path("ca.pem"),
        path("client.pem"),
        path("client.key")
    );
    let sasl = |mechanism: &str| {
        if mechanism == "OAUTHBEARER" {
            return "    auth: {sasl: {mechanism: OAUTHBEARER, oauthbearer_token_source: bearertokenauth}}".to_owned();
        }
        format!("    auth: {{sasl: {{mechanism: {mechanism}, username: alice, password: secret}}}}")
    };
    let mut cases = vec![
        ("tls", listeners.tls, tls.clone()),
        ("mutual", listeners.mutual, mutual),
        ("plain", listeners.kafka.sasl, sasl("PLAIN")),
        ("plain-text", listeners.kafka.sasl, "    auth: {plain_text: {username: alice, password: secret}}".to_owned()),
        ("oauthbearer", listeners.kafka.sasl, sasl("OAUTHBEARER")),
        ("plain-tls", listeners.sasl_tls, format!("{tls}\n{}", sasl("PLAIN"))),
        ("oauthbearer-tls", listeners.sasl_tls, format!("{tls}\n{}", sasl("OAUTHBEARER"))),
    ];
    if has_scram() {
        cases.push(("scram-256", listeners.kafka.sasl, sasl("SCRAM-SHA-256")));
        cases.push(("scram-512", listeners.kafka.sasl, sasl("SCRAM-SHA-512")));
        cases.push(("scram-512-tls", listeners.sasl_tls, format!("{tls}\n{}", sasl("SCRAM-SHA-512"))));
    }
    for (name, port, connection) in &cases {
        let (process, otlp, file) = round_trip(&listeners, name, *port, connection, &token);
        assert_eq!(try_post(&otlp, "/v1/logs", LOG), Some(200), "{name}: {}", process.log_text());
        wait_for_texts(&[&file], "message-", 1);
        println!("{name}: sent and received");
    }
    let expired = token_file(&listeners, "expired", -50).display().to_string();
    let wrong = "    auth: {sasl: {mechanism: PLAIN, username: alice, password: wrong}}".to_owned();
    let of_others = empty_test_dir("kafka-auth-others");
    let other_ca = Pki::new(&of_others).path("ca.pem");
    for (name, port, connection, expected) in [
        ("wrong-token", listeners.kafka.sasl, sasl("OAUTHBEARER"), "SASL authentication failed"),
        ("wrong-password", listeners.kafka.sasl, wrong, "SASL authentication failed"),
        (
            "wrong-ca",
            listeners.tls,
            format!("    tls: {{ca_file: \"{}\"}}", other_ca.display()),
            "invalid peer certificate",
        ),
        ("no-certificate", listeners.mutual, tls.clone(), "fatal alert"),
        ("no-tls", listeners.tls, String::new(), "broker localhost"),
    ] {
        let (process, otlp, _) = round_trip(&listeners, name, port, &connection, &expired);
        assert_eq!(try_post(&otlp, "/v1/logs", LOG), Some(503), "{name}");
        for component in ["receiver", "exporter"] {
            let kind = format!("\"otelcol.component.kind\": \"{component}\"");
            let report = wait_until(&format!("{name}: {component} says {expected}"), || {
                let text = process.log_text();
                let mut lines = text.lines().filter(|line| line.contains(&kind) && line.contains("\"error\""));
                lines.find(|line| line.contains(expected)).map(str::to_owned)
            });
            println!("{name}, {component}: {}", report.split("\"error\"").nth(1).unwrap_or(""));
        }
    }
}
