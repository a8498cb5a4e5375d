//! The `otelcore` binary: calls [`otelcore::commands`] with the arguments and streams of the process.
#![deny(unsafe_code)]

#[allow(unsafe_code, reason = "assembly for what musl has slow, and its tests")]
mod memory;

use std::io::IsTerminal;
use std::process::ExitCode;

use otelcore::Registry;
use otelcore::commands::{Terminal, run_command_line as command};

fn main() -> ExitCode {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut terminal =
        Terminal { is_terminal: out.is_terminal(), out: &mut out, err: &mut err, env: &otelcore::reactor::env_var };
    ExitCode::from(command(std::env::args_os(), Registry::default(), &mut terminal))
}
