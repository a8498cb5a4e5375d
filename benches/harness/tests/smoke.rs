//! The harness runs rows, finds no lost items, and prints so in a table; this test keeps the harness working.

use std::process::Command;

fn run_rows(rows: &[&str]) -> String {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_otelcore-bench"));
    // Ports of this test alone, below those that the system assigns to clients.
    bench.args(["--port", &(20_000 + std::process::id() % 4000).to_string()]);
    bench.args(["--quick", "--own", "--only", "otelcore", "--only", "relay", "--only", "calls alone"]).args(rows);
    let output = bench.output().expect("the harness starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).expect("a table is text")
}

/// The cells of a program's line in a table.
fn table_cells<'a>(table: &'a str, row: &str, program: &str) -> Vec<&'a str> {
    let mut lines = table.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let found = lines.find(|cells| cells.get(1) == Some(&row) && cells.get(2) == Some(&program));
    assert!(found.is_some(), "no {program} in {row}: {table}");
    found.unwrap_or_default()
}

#[test]
fn every_kind_of_row_runs_against_the_collector_of_this_build() {
    let forward = ["forward-grpc-none", "forward-grpc-gzip", "forward-http-none-batch"];
    let table = run_rows(&[&forward[..], &["idle-connections", "active-connections"]].concat());
    for (row, program) in forward.map(|row| (row, "otelcore")).into_iter().chain([("forward-grpc-none", "relay")]) {
        let cells = table_cells(&table, row, program);
        assert!(cells[3].parse::<f64>().is_ok_and(|cpu| cpu > 0.0), "{program} took no time in {row}: {table}");
        assert_eq!(cells[10], "0", "{program} lost something in {row}: {table}");
    }
    let plain: f64 = table_cells(&table, "forward-grpc-none", "otelcore")[6].parse().expect("bytes an item");
    let compressed: f64 = table_cells(&table, "forward-grpc-gzip", "otelcore")[6].parse().expect("bytes an item");
    assert!(compressed * 3.0 < plain, "gzip made {compressed} of {plain}");
    table_cells(&table, "forward-grpc-gzip", "calls alone");
    table_cells(&table, "idle-connections", "otelcore");
    assert_eq!(table_cells(&table, "active-connections", "otelcore")[10], "0", "{table}");
}

#[test]
fn unknown_row_is_an_error_that_names_the_known_rows() {
    let output = Command::new(env!("CARGO_BIN_EXE_otelcore-bench")).arg("forward-pigeon").output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("forward-grpc-none"), "{stderr}");
}

#[test]
fn missing_programs_are_skipped_with_a_build_hint() {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_otelcore-bench"));
    bench.args(["--quick", "--own", "--only", "app-", "--only", "c-submit"]).env("OTELCORE_BENCH_APPS", "nowhere");
    let output = bench.output().expect("the harness starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    for name in ["go", "python", "c"] {
        assert!(stderr.contains(&format!("benches/apps/build {name}")), "{name}: {stderr}");
    }
    assert!(!stderr.contains("forward-"), "no other row is played: {stderr}");
}

/// Measures on ports from `first` on, which no other test uses.
fn run_measurement(first: u32, args: &[&str]) -> String {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_otelcore-bench"));
    bench.args(["--quick", "--own", "--port"]).arg((first + std::process::id() % 300 * 10).to_string()).args(args);
    let output = bench.output().expect("the harness starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).expect("a table is text")
}

#[test]
fn stall_meter_measures_the_slowest_shape_of_a_row() {
    let table = run_measurement(24_000, &["--stall", "prometheus"]);
    let cells = table_cells(&table, "prometheus", "metrics");
    assert!(cells[6].parse::<f64>().is_ok_and(|wait| wait > 0.0), "no retry waited: {table}");
    assert!(cells[11].starts_with("200; page 200"), "{table}");
}

#[test]
fn overload_bench_accounts_for_every_accepted_span() {
    let table = run_measurement(27_000, &["--overload", "grpc-healthy-1", "http-dead-1", "--only", "otelcore"]);
    for cell in ["grpc-healthy-1", "http-dead-1"] {
        let cells = table_cells(&table, cell, "otelcore");
        assert!(cells[4].parse::<u64>().is_ok_and(|accepted| accepted > 0), "nothing was accepted: {table}");
        assert_eq!(cells[9], "0", "{table}");
    }
}

#[test]
fn processor_rows_compare_with_the_row_without_and_pass_on_the_same_share() {
    let all = ["attributes-insert", "transform-set", "transform-set-3", "transform-replace-pattern"];
    let rows = [&["--only", "otelcore", "forward-grpc-none"], &all[..], &["filter-95", "tail-sampling"]].concat();
    let table = run_measurement(27_005, &[&rows[..], &["tail-sampling-memory"]].concat());
    for row in all {
        let cells = table_cells(&table, row, "otelcore");
        assert!(cells[6].parse::<f64>().is_ok(), "nothing to compare {row} with: {table}");
        assert_eq!((cells[7], cells[12], cells[13]), ("1.00", "0", "100.00"), "{table}");
    }
    let plain: f64 = table_cells(&table, "forward-grpc-none", "otelcore")[6].parse().expect("bytes an item");
    let inserted: f64 = table_cells(&table, "attributes-insert", "otelcore")[8].parse().expect("bytes an item");
    // The key has 27 bytes, the value 10, and their messages have 8.
    assert!((44.5..45.5).contains(&(inserted - plain)), "{table}");
    for (row, share) in [("filter-95", 3.0..7.0), ("tail-sampling", 5.0..60.0)] {
        let passed_on = table_cells(&table, row, "otelcore")[13].parse::<f64>();
        assert!(passed_on.is_ok_and(|passed_on| share.contains(&passed_on)), "{row}: {table}");
    }
    assert_eq!(table_cells(&table, "tail-sampling-memory", "otelcore")[9], "996", "{table}");
}
