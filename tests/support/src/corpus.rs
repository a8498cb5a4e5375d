//! Recorded cases: inputs with the answers of an oracle, in one compressed file.
//!
//! An oracle reads inputs on standard input, each behind its length (u32, little endian), and writes an answer for each
//! in the same form. A test replays the recorded answers; the same test records them anew, with fresh seeds too, when it
//! is run by `scripts/differential`.

use std::path::Path;

use crate::tools::{run_tool, take_u32, tool_path};

/// The largest corpus after decompression, in bytes.
const MAX_CORPUS_BYTES: usize = 64 << 20;

/// An input, and what the oracle answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorpusCase {
    /// The input.
    pub input: Vec<u8>,
    /// The oracle's answer.
    pub answer: Vec<u8>,
}

/// Asks a program for its answers.
///
/// # Panics
/// When the program fails, or writes another number of answers.
#[must_use]
pub fn ask_oracle(tool: &Path, args: &[&str], inputs: Vec<Vec<u8>>) -> Vec<CorpusCase> {
    let output = run_tool(tool, args, &join_frames(&inputs));
    let answers = split_frames(&output);
    assert_eq!(answers.len(), inputs.len(), "answers of {}", tool.display());
    let case = |(input, answer): (Vec<u8>, &[u8])| CorpusCase { input, answer: answer.to_vec() };
    inputs.into_iter().zip(answers).map(case).collect()
}

/// Asks a program about the seeds of a corpus, the first `count` ones, and about as many fresh ones. Those of the corpus are
/// recorded in it where `OTELCORE_CORPUS` is `write`. `None` where the program is not built.
///
/// # Panics
/// When the program fails, or the corpus can't be written.
#[must_use]
pub fn ask_about_seeds(
    tool: &str,
    corpus: &Path,
    count: u64,
    input: impl Fn(u64) -> Vec<u8>,
) -> Option<Vec<CorpusCase>> {
    let tool = tool_path(tool)?;
    let ask = |first: u64| ask_oracle(&tool, &[], (first..first + count).map(&input).collect());
    let mut cases = ask(0);
    if std::env::var_os("OTELCORE_CORPUS").is_some_and(|value| value == "write") {
        write_corpus(corpus, &cases);
    }
    cases.extend(ask(u64::from(std::process::id()) << 20));
    Some(cases)
}

/// Reads a corpus.
///
/// # Panics
/// When the file can't be read or is no corpus.
#[must_use]
pub fn read_corpus(path: &Path) -> Vec<CorpusCase> {
    let compressed = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut bytes = Vec::with_capacity(MAX_CORPUS_BYTES);
    zstd_safe::decompress(&mut bytes, &compressed)
        .unwrap_or_else(|e| panic!("{}: {}", path.display(), zstd_safe::get_error_name(e)));
    let frames = split_frames(&bytes);
    let pairs = frames.chunks_exact(2);
    assert!(pairs.remainder().is_empty(), "{} ends with half a case", path.display());
    pairs.map(|pair| CorpusCase { input: pair[0].to_vec(), answer: pair[1].to_vec() }).collect()
}

/// Writes a corpus.
///
/// # Panics
/// When it is too long, or the file can't be written.
pub fn write_corpus(path: &Path, cases: &[CorpusCase]) {
    let frames: Vec<_> = cases.iter().flat_map(|case| [case.input.clone(), case.answer.clone()]).collect();
    let bytes = join_frames(&frames);
    assert!(bytes.len() <= MAX_CORPUS_BYTES, "{} bytes are too many for a corpus", bytes.len());
    let mut compressed = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    zstd_safe::compress(&mut compressed, &bytes, 19).expect("the room is large enough");
    std::fs::write(path, compressed).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

fn join_frames(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in frames {
        push_frame(&mut out, frame);
    }
    out
}

/// Appends bytes behind their length, as an oracle reads and writes them.
///
/// # Panics
/// When the frame has 4 GiB or more.
pub fn push_frame(out: &mut Vec<u8>, frame: &[u8]) {
    out.extend(u32::try_from(frame.len()).expect("a frame has less than 4 GiB").to_le_bytes());
    out.extend_from_slice(frame);
}

/// The frames that were appended by [`push_frame`].
///
/// # Panics
/// When the last one is not complete.
#[must_use]
pub fn split_frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let len = take_u32(&mut bytes) as usize;
        let (frame, rest) = bytes.split_at_checked(len).expect("a frame is complete");
        frames.push(frame);
        bytes = rest;
    }
    frames
}
