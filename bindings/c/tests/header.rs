//! The header is the one that cbindgen generates from the sources, and every C and C++ compiler accepts it without a
//! warning.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a story that can't go on has failed")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn made() -> String {
    let config = cbindgen::Config::from_file(here("cbindgen.toml")).unwrap();
    let builder = cbindgen::Builder::new().with_config(config).with_src(here("src/lib.rs"));
    let mut text = Vec::new();
    builder.generate().unwrap().write(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn the_committed_header_is_the_one_that_the_sources_make() {
    let (path, made) = (here("include/otelcore.h"), made());
    if std::env::var_os("OTELCORE_HEADER").is_some_and(|v| v == "write") {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let how = "OTELCORE_HEADER=write cargo test -p otelcore-capi --test header";
    assert!(committed == made, "include/otelcore.h is not what the sources make: {how}");
    assert!(made.contains(&format!("#define OTELCORE_VERSION \"{}\"", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn every_standard_takes_the_header_without_a_word() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("header");
    std::fs::create_dir_all(&dir).unwrap();
    let body = "#include <otelcore.h>\n#include <otelcore.h>\n\
                int main(void) { otelcore_options o = OTELCORE_OPTIONS_INIT; (void)o; return OTELCORE_OK; }\n";
    for (name, compilers, standards) in [
        ("use.c", ["gcc", "clang"], &["c99", "c11", "c17"][..]),
        ("use.cpp", ["g++", "clang++"], &["c++11", "c++17", "c++20"][..]),
    ] {
        let source = dir.join(name);
        std::fs::write(&source, body).unwrap();
        for compiler in compilers {
            if Command::new(compiler).arg("--version").output().is_err() {
                eprintln!("{compiler} is not installed: not tried");
                continue;
            }
            for standard in standards {
                let done = Command::new(compiler)
                    .arg(format!("-std={standard}"))
                    .args(["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-fsyntax-only", "-I"])
                    .arg(here("include"))
                    .arg(&source)
                    .output()
                    .unwrap();
                assert!(done.status.success(), "{compiler} {standard}: {}", String::from_utf8_lossy(&done.stderr));
            }
        }
    }
}
