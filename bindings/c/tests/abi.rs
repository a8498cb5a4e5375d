//! The ABI that compiled programs depend on is in `abi.txt`, so that changes are visible: functions, constants, and the
//! offsets of struct fields, as the C compiler reports them.
//!
//! A line that is removed or changed breaks programs: OTELCORE_ABI_VERSION and the name for the loader must change with
//! it. A new line breaks no program. `OTELCORE_ABI=write cargo test -p otelcore-capi --test abi` writes the file.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a story that can't go on has failed")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The header without comments and directives, one declaration per line.
fn declarations() -> Vec<String> {
    let output = Command::new("gcc").args(["-E", "-P", "-x", "c"]).arg(here("include/otelcore.h")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut all = Vec::new();
    let (mut depth, mut line) = (0, String::new());
    for c in text.chars() {
        line.push(c);
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ';' if depth == 0 => {
                let words: Vec<&str> = line.split_whitespace().collect();
                all.push(words.join(" "));
                line.clear();
            }
            _ => {}
        }
    }
    all.into_iter().filter(|line| line.contains("otelcore_")).collect()
}

/// The fields of a declared struct.
fn fields(declaration: &str) -> impl Iterator<Item = &str> {
    let inside =
        declaration.split_once('{').map_or("", |(_, rest)| rest.rsplit_once('}').map_or("", |(fields, _)| fields));
    inside.split(';').filter_map(|field| field.rsplit([' ', '*']).next()).filter(|name| !name.is_empty())
}

/// Sizes, offsets and values as the compiler reports them.
fn measured(declarations: &[String]) -> Vec<String> {
    let mut body = String::new();
    for declaration in declarations.iter().filter(|line| line.contains('{')) {
        let name = declaration.trim_end_matches(';').rsplit(' ').next().unwrap();
        let _ = writeln!(body, "printf(\"sizeof {name} %zu\\n\", sizeof({name}));");
        for field in fields(declaration) {
            let _ = writeln!(
                body,
                "printf(\"{name}.{field} at %zu, %zu bytes\\n\", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));"
            );
        }
    }
    let header = std::fs::read_to_string(here("include/otelcore.h")).unwrap();
    let constants = header.lines().filter_map(|line| line.strip_prefix("#define OTELCORE_")?.split_once(' '));
    for (name, value) in constants {
        if value.trim().parse::<i64>().is_ok() {
            let _ = writeln!(body, "printf(\"OTELCORE_{name} %d\\n\", OTELCORE_{name});");
        }
    }
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("abi");
    std::fs::create_dir_all(&scratch).unwrap();
    let (source, program) = (scratch.join("abi.c"), scratch.join("abi"));
    let text = format!(
        "#include <otelcore.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void) {{\n{body}return 0;\n}}\n"
    );
    std::fs::write(&source, text).unwrap();
    let built =
        Command::new("gcc").arg("-I").arg(here("include")).arg(&source).arg("-o").arg(&program).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let output = Command::new(&program).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn what_compiled_programs_rely_on_is_as_it_was_written_down() {
    let declarations = declarations();
    let mut made: Vec<String> = declarations.iter().filter(|line| !line.contains('{')).cloned().collect();
    made.extend(measured(&declarations));
    assert!(made.iter().any(|line| line.starts_with("otelcore_status otelcore_input_submit(")), "{made:#?}");
    assert!(made.iter().any(|line| line.starts_with("otelcore_options.log_free at ")), "{made:#?}");
    assert!(made.iter().any(|line| line == "OTELCORE_CANCELLED 14"), "{made:#?}");
    let path = here("abi.txt");
    if std::env::var_os("OTELCORE_ABI").is_some_and(|v| v == "write") {
        std::fs::write(&path, made.join("\n") + "\n").unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let written: Vec<&str> = written.lines().collect();
    let gone: Vec<&&str> = written.iter().filter(|line| !made.iter().any(|now| now == **line)).collect();
    assert!(gone.is_empty(), "this breaks programs; OTELCORE_ABI_VERSION must go up: {gone:#?}");
    let new: Vec<&String> = made.iter().filter(|line| !written.contains(&line.as_str())).collect();
    let how = "OTELCORE_ABI=write cargo test -p otelcore-capi --test abi";
    assert!(new.is_empty(), "this is new; {how} writes it down: {new:#?}");
}
