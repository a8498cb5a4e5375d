//! The benches: our release binary and other programs under the same requests, one after another, pinned to cores.
//!
//! `otelcore-bench [--repeat N] [--quick] [--only PROGRAM|ROW] [ROW ...]` runs every row, or the rows named; `--stall`
//! and `--overload` measure the effect of one worst-case request and of too many requests (see `stall` and `overload`).
//! The other commands are the processes that it starts for itself. CPU is user and system time of the collector's
//! process, from before the load until the last item has arrived; peaks are VmHWM. No figure passes or fails: the
//! figures and their ratios are printed.

mod apps;
mod component_loop;
mod connections;
mod grpc_load;
mod http_load;
mod library_calls;
mod measure;
mod overload;
mod programs;
mod relay;
mod rows;
mod run;
mod sink;
mod stall;
mod table;
mod telemetry;
mod worst;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let result = match args.first().map(String::as_str) {
        Some("load") => grpc_load::main(rest),
        Some("http-load") => http_load::main(rest),
        Some("sink") => sink::main(rest),
        Some("relay") => relay::main(rest),
        Some("alone") => library_calls::main(rest),
        Some("overload-client") => overload::run_client(rest),
        Some("idle") => connections::idle(rest),
        Some("active") => connections::active(rest),
        Some("collector") => return run_collector(&args),
        _ => rows::main(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e}");
            ExitCode::FAILURE
        }
    }
}

/// The collector of this build, used instead of a release binary by the smoke test.
fn run_collector(args: &[String]) -> ExitCode {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let env = |name: &str| std::env::var(name).ok();
    let mut terminal = otelcore::commands::Terminal { is_terminal: false, out: &mut out, err: &mut err, env: &env };
    let args = args.iter().map(std::ffi::OsString::from);
    ExitCode::from(otelcore::commands::run_command_line(args, otelcore::Registry::default(), &mut terminal))
}
