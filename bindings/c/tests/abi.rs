//! The ABI that compiled programs depend on is in `abi.txt`, so that changes are visible: functions, constants, and the
//! offsets of struct fields, as the C compiler reports them.
//!
//! A line that is removed or changed breaks programs: OTELCORE_ABI_VERSION and the name for the loader must change with
//! it. A new line breaks no program. `OTELCORE_ABI=write cargo test -p otelcore-capi --test abi` writes the file.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn manifest_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The header without comments and directives, one declaration per line.
fn declarations() -> Vec<String> {
    let output =
        Command::new("gcc").args(["-E", "-P", "-x", "c"]).arg(manifest_path("include/otelcore.h")).output().unwrap();
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
    let body =
        declaration.split_once('{').map_or("", |(_, rest)| rest.rsplit_once('}').map_or("", |(fields, _)| fields));
    body.split(';').filter_map(|field| field.rsplit([' ', '*']).next()).filter(|name| !name.is_empty())
}

/// Sizes, offsets and values as the compiler reports them.
fn measured_by_compiler(declarations: &[String]) -> Vec<String> {
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
    let header = std::fs::read_to_string(manifest_path("include/otelcore.h")).unwrap();
    let constants = header.lines().filter_map(|line| line.strip_prefix("#define OTELCORE_")?.split_once(' '));
    for (name, value) in constants {
        if value.trim().parse::<i64>().is_ok() {
            let _ = writeln!(body, "printf(\"OTELCORE_{name} %d\\n\", OTELCORE_{name});");
        }
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("abi");
    std::fs::create_dir_all(&folder).unwrap();
    let (source, program) = (folder.join("abi.c"), folder.join("abi"));
    let text = format!(
        "#include <otelcore.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void) {{\n{body}return 0;\n}}\n"
    );
    std::fs::write(&source, text).unwrap();
    let output = Command::new("gcc")
        .arg("-I")
        .arg(manifest_path("include"))
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = Command::new(&program).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn abi_is_the_recorded_one() {
    let declarations = declarations();
    let mut current: Vec<String> = declarations.iter().filter(|line| !line.contains('{')).cloned().collect();
    current.extend(measured_by_compiler(&declarations));
    assert!(current.iter().any(|line| line.starts_with("otelcore_status otelcore_input_submit(")), "{current:#?}");
    assert!(current.iter().any(|line| line.starts_with("otelcore_options.log_free at ")), "{current:#?}");
    assert!(current.iter().any(|line| line == "OTELCORE_CANCELLED 14"), "{current:#?}");
    let path = manifest_path("abi.txt");
    if std::env::var_os("OTELCORE_ABI").is_some_and(|v| v == "write") {
        std::fs::write(&path, current.join("\n") + "\n").unwrap();
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    let recorded: Vec<&str> = recorded.lines().collect();
    let removed: Vec<&&str> =
        recorded.iter().filter(|line| !current.iter().any(|current_line| current_line == **line)).collect();
    assert!(removed.is_empty(), "this breaks programs; OTELCORE_ABI_VERSION must go up: {removed:#?}");
    let added: Vec<&String> = current.iter().filter(|line| !recorded.contains(&line.as_str())).collect();
    let command = "OTELCORE_ABI=write cargo test -p otelcore-capi --test abi";
    assert!(added.is_empty(), "this is new; {command} writes it down: {added:#?}");
}
