//! The `otelcore` binary: calls [`otelcore::commands`] with the arguments and streams of the process.
#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::process::ExitCode;

use otelcore::Registry;
use otelcore::commands::{Terminal, run_command_line as command};
#[cfg(feature = "static-memory")]
use otelcore_static_memory as _;

fn main() -> ExitCode {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut terminal =
        Terminal { is_terminal: out.is_terminal(), out: &mut out, err: &mut err, env: &otelcore::reactor::env_var };
    ExitCode::from(command(std::env::args_os(), Registry::default(), &mut terminal))
}
