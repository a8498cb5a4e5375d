//! The header is the one that cbindgen generates from the sources, and every C and C++ compiler accepts it without a
//! warning.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn manifest_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn generated_header() -> String {
    let config = cbindgen::Config::from_file(manifest_path("cbindgen.toml")).unwrap();
    let builder = cbindgen::Builder::new().with_config(config).with_src(manifest_path("src/lib.rs"));
    let mut text = Vec::new();
    builder.generate().unwrap().write(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn committed_header_is_the_generated_one() {
    let (path, generated) = (manifest_path("include/otelcore.h"), generated_header());
    if std::env::var_os("OTELCORE_HEADER").is_some_and(|v| v == "write") {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let command = "OTELCORE_HEADER=write cargo test -p otelcore-capi --test header";
    assert!(committed == generated, "include/otelcore.h is not what the sources make: {command}");
    assert!(generated.contains(&format!("#define OTELCORE_VERSION \"{}\"", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn header_compiles_without_a_warning_in_every_standard() {
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
                let output = Command::new(compiler)
                    .arg(format!("-std={standard}"))
                    .args(["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-fsyntax-only", "-I"])
                    .arg(manifest_path("include"))
                    .arg(&source)
                    .output()
                    .unwrap();
                assert!(output.status.success(), "{compiler} {standard}: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }
}
