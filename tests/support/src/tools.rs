//! Programs of other languages that `scripts/tools` builds, as oracles for our own code.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program built by `scripts/tools`, or found on the path. If it is missing, the test fails in CI; on other machines
/// it is skipped with a message.
///
/// # Panics
/// In CI, when it is missing.
#[must_use]
pub fn tool_path(name: &str) -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/bin").join(name);
    let directories = std::env::var_os("PATH").unwrap_or_default();
    let on_path = || std::env::split_paths(&directories).map(|dir| dir.join(name)).find(|path| path.is_file());
    let found = built.canonicalize().ok().or_else(on_path);
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{name} is missing; run scripts/tools");
        eprintln!("skipped: {name} is missing; run scripts/tools");
    }
    found
}

/// Runs a program with `input`, and returns what it has written.
///
/// # Panics
/// When it can't be run or fails.
#[must_use]
pub fn run_tool(tool: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(tool);
    let mut child = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the tool starts");
    let mut stdin = child.stdin.take().expect("the input is a pipe");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).expect("the tool reads its input"));
        child.wait_with_output().expect("the tool's output can be read")
    });
    assert!(output.status.success(), "{} {args:?}: {}", tool.display(), output.status);
    output.stdout
}

/// Takes a little-endian u32 from the front.
///
/// # Panics
/// Without four bytes.
pub fn take_u32(bytes: &mut &[u8]) -> u32 {
    let (first, rest) = bytes.split_first_chunk().expect("the tool's output has a number here");
    *bytes = rest;
    u32::from_le_bytes(*first)
}

/// Pseudorandom bytes from a seed, by SplitMix64.
#[must_use]
pub fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
