//! The harness runs rows, finds no lost items, and prints so in a table; this test keeps the harness working.

use std::process::Command;

fn play(rows: &[&str]) -> String {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_otelcore-bench"));
    // Ports of this test alone, below those that the system assigns to clients.
    bench.args(["--port", &(20_000 + std::process::id() % 4000).to_string()]);
    bench.args(["--quick", "--own", "--only", "otelcore", "--only", "relay", "--only", "calls alone"]).args(rows);
    let output = bench.output().expect("the harness starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).expect("a table is text")
}

/// The cells of a player's line in a table.
fn line<'a>(table: &'a str, row: &str, player: &str) -> Vec<&'a str> {
    let mut lines = table.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let found = lines.find(|cells| cells.get(1) == Some(&row) && cells.get(2) == Some(&player));
    assert!(found.is_some(), "no {player} in {row}: {table}");
    found.unwrap_or_default()
}

#[test]
fn every_kind_of_row_is_played_against_this_builds_own_collector() {
    let forward = ["forward-grpc-none", "forward-grpc-gzip", "forward-http-none-batch"];
    let table = play(&[&forward[..], &["idle-connections", "active-connections"]].concat());
    for (row, player) in forward.map(|row| (row, "otelcore")).into_iter().chain([("forward-grpc-none", "relay")]) {
        let cells = line(&table, row, player);
        assert!(cells[3].parse::<f64>().is_ok_and(|cpu| cpu > 0.0), "{player} took no time in {row}: {table}");
        assert_eq!(cells[10], "0", "{player} lost something in {row}: {table}");
    }
    let plain: f64 = line(&table, "forward-grpc-none", "otelcore")[6].parse().expect("bytes an item");
    let packed: f64 = line(&table, "forward-grpc-gzip", "otelcore")[6].parse().expect("bytes an item");
    assert!(packed * 3.0 < plain, "gzip made {packed} of {plain}");
    line(&table, "forward-grpc-gzip", "calls alone");
    line(&table, "idle-connections", "otelcore");
    assert_eq!(line(&table, "active-connections", "otelcore")[10], "0", "{table}");
}

#[test]
fn a_row_that_is_not_there_is_an_error_with_the_names_of_those_that_are() {
    let output = Command::new(env!("CARGO_BIN_EXE_otelcore-bench")).arg("forward-pigeon").output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("forward-grpc-none"), "{said}");
}

#[test]
fn programs_that_are_not_built_are_left_out_and_said_how_to_build() {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_otelcore-bench"));
    bench.args(["--quick", "--own", "--only", "app-", "--only", "c-submit"]).env("OTELCORE_BENCH_APPS", "nowhere");
    let output = bench.output().expect("the harness starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for name in ["go", "python", "c"] {
        assert!(said.contains(&format!("benches/apps/build {name}")), "{name}: {said}");
    }
    assert!(!said.contains("forward-"), "no other row is played: {said}");
}

/// Measures on ports from `first` on, which no other test uses.
fn measure(first: u32, args: &[&str]) -> String {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_otelcore-bench"));
    bench.args(["--quick", "--own", "--port"]).arg((first + std::process::id() % 300 * 10).to_string()).args(args);
    let output = bench.output().expect("the harness starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).expect("a table is text")
}

#[test]
fn stall_meter_measures_the_slowest_shape_of_a_row() {
    let table = measure(24_000, &["--stall", "prometheus"]);
    let cells = line(&table, "prometheus", "metrics");
    assert!(cells[6].parse::<f64>().is_ok_and(|wait| wait > 0.0), "nobody waited: {table}");
    assert!(cells[11].starts_with("200; page 200"), "{table}");
}

#[test]
fn overload_bench_accounts_for_every_accepted_span() {
    let table = measure(27_000, &["--overload", "grpc-healthy-1", "http-dead-1", "--only", "otelcore"]);
    for cell in ["grpc-healthy-1", "http-dead-1"] {
        let cells = line(&table, cell, "otelcore");
        assert!(cells[4].parse::<u64>().is_ok_and(|accepted| accepted > 0), "nothing was accepted: {table}");
        assert_eq!(cells[9], "0", "{table}");
    }
}
