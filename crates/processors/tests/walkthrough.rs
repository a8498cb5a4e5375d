//! The code of `docs/adding-a-component.md` is that of the files that the page names.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test")]

use std::path::Path;

#[test]
fn code_of_the_walkthrough_is_in_the_files_that_it_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/adding-a-component.md")).unwrap();
    let mut blocks = 0;
    let mut rest = page.as_str();
    while let Some((before, after)) = rest.split_once("```rust\n") {
        let (code, after) = after.split_once("```").unwrap();
        let file = before.lines().last().unwrap().trim_matches('`');
        let source = std::fs::read_to_string(root.join(file)).unwrap_or_else(|_| panic!("no file {file}"));
        assert!(source.contains(code), "{file} does not have this code any more:\n{code}");
        blocks += 1;
        rest = after;
    }
    assert!(blocks > 8, "{blocks} blocks");
    // The files of the first table.
    let table = page.lines().filter(|line| line.starts_with("| `"));
    for file in table.flat_map(|line| line.split('|').nth(1)).flat_map(|cell| cell.split('`').skip(1).step_by(2)) {
        let path = if file == "Cargo.toml" { root.join("crates/processors/Cargo.toml") } else { root.join(file) };
        assert!(path.is_file(), "no file {file}");
    }
}
