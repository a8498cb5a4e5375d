//! Runs the example with a real Jaeger and a real Prometheus, if scripts/tools has installed them.
#![allow(clippy::unwrap_used, reason = "a test that can't go on says where")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct ChildGuard(Child);

impl Drop for ChildGuard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

fn wait_until(what: &str, mut poll: impl FnMut() -> Option<String>) -> String {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(result) = poll() {
            return result;
        }
        assert!(Instant::now() < end, "never came: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A real Prometheus that scrapes a page.
fn start_prometheus(page: u16, port: u16) -> ChildGuard {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prometheus");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let config = dir.join("prometheus.yml");
    let text =
        "global: {scrape_interval: 200ms}\nscrape_configs: [{job_name: app, static_configs: [{targets: [PAGE]}]}]\n";
    std::fs::write(&config, text.replace("PAGE", &format!("\"127.0.0.1:{page}\""))).unwrap();
    ChildGuard(
        Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    )
}

#[test]
fn example_delivers_spans_points_and_log_records() {
    let jaeger = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tools/bin/jaeger-all-in-one");
    if !jaeger.is_file() {
        assert!(std::env::var_os("CI").is_none(), "Jaeger is missing; run scripts/tools");
        eprintln!("skipped: Jaeger is missing; run scripts/tools");
        return;
    }
    if Command::new("prometheus").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "Prometheus is missing; run scripts/tools");
        eprintln!("skipped: Prometheus is missing; run scripts/tools");
        return;
    }
    let [grpc, query, admin, page, scraper] = std::array::from_fn(|_| free_port());
    let _prometheus = start_prometheus(page, scraper);
    let scraper = format!("127.0.0.1:{scraper}");
    // Prometheus is ready some seconds before its first scrape; after that scrape it reports that this target is not
    // up.
    wait_until("a scrape of the page", || {
        get(&scraper, "/api/v1/query?query=up").filter(|text| text.contains("\"0\"]"))
    });
    let _jaeger = ChildGuard(
        Command::new(jaeger)
            .args(["--collector.otlp.enabled=false", "--processor.jaeger-compact.server-host-port=127.0.0.1:0"])
            .args(["--processor.jaeger-binary.server-host-port=127.0.0.1:0"])
            .args(["--processor.zipkin-compact.server-host-port=127.0.0.1:0", "--http-server.host-port=127.0.0.1:0"])
            .args([
                format!("--collector.grpc-server.host-port=127.0.0.1:{grpc}"),
                "--collector.http-server.host-port=127.0.0.1:0".to_owned(),
            ])
            .args([
                format!("--query.http-server.host-port=127.0.0.1:{query}"),
                "--query.grpc-server.host-port=127.0.0.1:0".to_owned(),
            ])
            .arg(format!("--admin.http.host-port=127.0.0.1:{admin}"))
            .env("SPAN_STORAGE_TYPE", "memory")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    wait_until("Jaeger", || TcpStream::connect(("127.0.0.1", grpc)).ok().map(|_| String::new()));
    let mut app = ChildGuard(
        Command::new(env!("CARGO_BIN_EXE_embedded-rust"))
            .env("JAEGER", format!("127.0.0.1:{grpc}"))
            .env("PAGE", format!("127.0.0.1:{page}"))
            .env("STAY", "5")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let page = format!("127.0.0.1:{page}");
    wait_until("the page", || {
        get(&page, "/metrics").filter(|text| text.contains("orders_total{") && text.contains("} 10"))
    });
    wait_until("the counter in Prometheus", || {
        get(&scraper, "/api/v1/query?query=orders_total").filter(|text| text.contains("\"10\"]"))
    });
    let query = format!("127.0.0.1:{query}");
    let traces = wait_until("ten spans in Jaeger", || {
        let text = get(&query, "/api/traces?service=embedded-rust&limit=100")?;
        (text.matches("\"operationName\"").count() == 10).then_some(text)
    });
    assert!(traces.contains("order-9") && traces.contains("order.number"), "{traces}");
    let mut output = String::new();
    app.0.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(app.0.wait().unwrap().success(), "{output}");
    assert_eq!(output.matches(" is taken").count(), 10, "{output}");
    assert!(output.ends_with("delivered\n"), "{output}");
}
