//! The `otelcore` binary: hands the process to [`otelcore::commands`].
#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::process::ExitCode;

use otelcore::Registry;
use otelcore::commands::{Terminal, main as command};

fn main() -> ExitCode {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut terminal =
        Terminal { interactive: out.is_terminal(), out: &mut out, err: &mut err, env: &otelcore::reactor::env };
    ExitCode::from(command(std::env::args_os(), Registry::default(), &mut terminal))
}
