//! The library as C programs use it: built, installed, and called by test programs in C and C++.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a story that can't go on has failed")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn scratch(path: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("c").join(path)
}

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    output
}

fn text(command: &mut Command) -> String {
    String::from_utf8(done(command).stdout).unwrap()
}

/// A command that runs in this build's target folder.
fn within(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    command.current_dir(here("")).env("CARGO_TARGET_DIR", target).env("CARGO", env!("CARGO"));
    command
}

struct Built {
    /// Where it is installed.
    prefix: PathBuf,
    /// Where the library that panics on request is installed.
    panics: PathBuf,
}

/// The library, built and installed once.
fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        let (prefix, panics) = (scratch("prefix"), scratch("panics"));
        // The one without features is built last: its files are what the target folder has afterwards.
        for (prefix, features) in [(&panics, "FEATURES=test-panic"), (&prefix, "FEATURES=")] {
            let _ = std::fs::remove_dir_all(prefix);
            done(within(here("../../scripts/install-c")).arg(prefix).args(["PROFILE=dev", features]));
        }
        Built { prefix, panics }
    })
}

fn compile(source: &Path, program: &Path, library: &Path) {
    let cpp = source.extension().is_some_and(|e| e == "cpp");
    let mut command = Command::new(if cpp { "g++" } else { "gcc" });
    command.arg(if cpp { "-std=c++17" } else { "-std=gnu11" });
    command.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-pthread", "-I"]).arg(here("include"));
    command.arg(source).arg("-o").arg(program).arg("-L").arg(library).arg("-lotelcore");
    command.arg(format!("-Wl,-rpath,{}", library.display()));
    done(&mut command);
}

/// Runs a program with a time limit of one minute. It does not get the library path that cargo sets.
fn run(program: &Path) -> Output {
    done(Command::new("timeout").arg("60").arg(program).env_remove("LD_LIBRARY_PATH"))
}

fn story(name: &str) {
    let program = scratch(name.split('.').next().unwrap());
    compile(&here("tests").join(name), &program, &built().prefix.join("lib"));
    run(&program);
}

#[test]
fn a_life_from_a_text_to_an_end() {
    story("lifecycle.c");
}

#[test]
fn whatever_a_program_hands_in_is_answered() {
    story("misuse.c");
}

#[test]
fn telemetry_goes_by_callback_and_by_pull() {
    story("flow.c");
}

#[test]
fn the_library_is_a_guest() {
    story("guest.c");
}

#[test]
fn a_fork_in_the_middle_of_a_load_loses_nothing() {
    story("fork.c");
}

#[test]
fn a_host_with_a_loop_of_its_own_drives() {
    story("drive.c");
}

#[test]
fn a_program_in_cpp_embeds() {
    story("from_cpp.cpp");
}

#[test]
fn a_panic_ends_in_a_status() {
    let program = scratch("panic");
    compile(&here("tests/panic.c"), &program, &built().panics.join("lib"));
    let output = run(&program);
    assert!(String::from_utf8_lossy(&output.stderr).contains("on request"), "the panic was not provoked");
}

/// A static library in Rust that is independent of ours.
fn other_archive() -> PathBuf {
    let archive = scratch("libother.a");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = within(rustc);
    done(command.args(["--edition=2024", "--crate-type=staticlib", "-o"]).arg(&archive).arg(here("tests/other.rs")));
    archive
}

#[test]
fn two_rust_archives_in_either_order_link_and_panic_apart() {
    let (ours, other) = (built().panics.join("lib/libotelcore.a"), other_archive());
    for (pie, name) in [("-pie", "beside-pie"), ("-no-pie", "beside-no-pie")] {
        for (order, archives) in [("ours-first", [&ours, &other]), ("ours-last", [&other, &ours])] {
            let program = scratch(&format!("{name}-{order}"));
            let mut command = Command::new("gcc");
            command.args([pie, if pie == "-pie" { "-fPIE" } else { "-fno-pie" }, "-std=gnu11", "-pthread", "-I"]);
            command.arg(here("include")).arg(here("tests/beside.c")).args(archives).arg("-o").arg(&program);
            // The output of `rustc --print native-static-libs` for the target.
            done(command.args(["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"]));
            let said = String::from_utf8_lossy(&run(&program).stderr).into_owned();
            assert!(said.contains("of the other archive") && said.contains("on request"), "{pie} {order}: {said}");
        }
    }
}

/// The names of functions in the header.
fn declared() -> BTreeSet<String> {
    let header = std::fs::read_to_string(here("include/otelcore.h")).unwrap();
    let lines = header.lines().filter(|line| !line.starts_with([' ', '#', '/']));
    let names = lines.filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next());
    names.filter(|name| name.starts_with("otelcore_")).map(str::to_owned).collect()
}

fn names(listing: &str) -> BTreeSet<String> {
    listing.lines().filter_map(|line| line.rsplit_once(' ')).map(|(_, name)| name.to_owned()).collect()
}

#[test]
fn nothing_but_the_header_is_exported() {
    let lib = built().prefix.join("lib");
    let declared = declared();
    assert!(declared.len() >= 36, "{declared:?}");
    let shared = text(Command::new("nm").args(["-D", "--defined-only"]).arg(lib.join("libotelcore.so")));
    assert_eq!(names(&shared), declared);
    let archive = text(Command::new("nm").args(["-g", "--defined-only"]).arg(lib.join("libotelcore.a")));
    assert_eq!(names(&archive), declared);
    let dynamic = text(Command::new("readelf").arg("-d").arg(lib.join("libotelcore.so")));
    assert!(dynamic.contains("soname: [libotelcore.so.0]") && dynamic.contains("NODELETE"), "{dynamic}");
    let needed = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
    let known = ["libc.so", "libm.so", "libgcc_s.so", "ld-linux"];
    needed.for_each(|line| assert!(known.iter().any(|name| line.contains(name)), "{line}"));
}

/// A program as a user of an installed library writes it.
const USER: &str = r#"
#include <otelcore.h>
#include <string.h>
int main(void) {
    otelcore_error *err = NULL;
    otelcore_collector *collector = NULL;
    int as_it_should = otelcore_collector_new("nonsense", 8, NULL, &collector, &err) == OTELCORE_INVALID_CONFIG &&
                       strlen(otelcore_error_message(err)) > 0 && strcmp(otelcore_version(), OTELCORE_VERSION) == 0;
    otelcore_error_free(err);
    return as_it_should ? 0 : 1;
}
"#;

fn pkg_config(arguments: &[&str]) -> Vec<String> {
    let path = built().prefix.join("lib/pkgconfig");
    let flags = text(Command::new("pkg-config").args(arguments).arg("otelcore").env("PKG_CONFIG_PATH", path));
    flags.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn what_is_installed_is_found_by_pkg_config() {
    let (source, lib) = (scratch("user.c"), built().prefix.join("lib"));
    std::fs::write(&source, USER).unwrap();
    let shared = scratch("user-shared");
    let flags = pkg_config(&["--cflags", "--libs"]);
    done(Command::new("gcc").arg(&source).arg("-o").arg(&shared).args(flags));
    done(Command::new(&shared).env("LD_LIBRARY_PATH", &lib));
    let fixed = scratch("user-static");
    let flags = pkg_config(&["--static", "--cflags", "--libs"]);
    let flags = flags.iter().map(|flag| if flag == "-lotelcore" { "-l:libotelcore.a" } else { flag });
    done(Command::new("gcc").arg(&source).arg("-o").arg(&fixed).args(flags));
    run(&fixed);
    let needed = text(Command::new("readelf").arg("-d").arg(&fixed));
    assert!(!needed.contains("libotelcore"), "{needed}");
}

#[test]
fn what_is_installed_is_found_by_cmake() {
    let (project, build) = (scratch("cmake"), scratch("cmake/build"));
    let _ = std::fs::remove_dir_all(&project);
    std::fs::create_dir_all(&project).unwrap();
    std::fs::write(project.join("user.c"), USER).unwrap();
    let lists = "cmake_minimum_required(VERSION 3.13)\nproject(user C)\nfind_package(otelcore 0.1 REQUIRED CONFIG)\n\
                 add_executable(shared user.c)\ntarget_link_libraries(shared PRIVATE otelcore::otelcore)\n\
                 add_executable(fixed user.c)\ntarget_link_libraries(fixed PRIVATE otelcore::otelcore_static)\n";
    std::fs::write(project.join("CMakeLists.txt"), lists).unwrap();
    let prefix = format!("-DCMAKE_PREFIX_PATH={}", built().prefix.display());
    done(Command::new("cmake").arg("-S").arg(&project).arg("-B").arg(&build).arg(prefix));
    done(Command::new("cmake").arg("--build").arg(&build));
    run(&build.join("shared"));
    run(&build.join("fixed"));
}

#[test]
fn the_examples_do_what_they_say() {
    let (built, out) = (built(), scratch("examples"));
    let examples = here("../../examples/c");
    done(
        Command::new("make")
            .args(["-C"])
            .arg(&examples)
            .arg(format!("OUT={}", out.display()))
            .env("PKG_CONFIG_PATH", built.prefix.join("lib/pkgconfig")),
    );
    let example = |name: &str, argument: &str| {
        let program = out.join(name);
        let mut command = Command::new("timeout");
        command.arg("60").arg(program).arg(argument).current_dir(&examples);
        done(command.env("LD_LIBRARY_PATH", built.prefix.join("lib")))
    };
    let embedded = example("embed", "debug.yaml");
    let said = String::from_utf8_lossy(&embedded.stderr).into_owned();
    let out = String::from_utf8_lossy(&embedded.stdout);
    assert!(out.contains("100 spans and 1 metric submitted") && out.contains("stopped"), "{out}\n{said}");
    assert!(said.contains("checkout") && said.contains("orders"), "{said}");
    let driven = String::from_utf8(example("epoll", "").stdout).unwrap();
    assert!(driven.contains("took 50 spans") && driven.contains("stopped"), "{driven}");
}

/// Ends its process when it is dropped.
struct Ends(std::process::Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The response of an HTTP server on this machine.
fn get(port: u16, path: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Sends requests until one is answered, for half a minute at most.
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("never came: {what}");
}

/// A real Jaeger with its spans in memory; interfaces that this test does not need listen on any free port.
fn start_jaeger(jaeger: &Path, otlp: u16, query: u16, admin: u16) -> Ends {
    let elsewhere = [
        "processor.jaeger-compact.server-host-port",
        "processor.jaeger-binary.server-host-port",
        "processor.zipkin-compact.server-host-port",
        "http-server.host-port",
        "collector.http-server.host-port",
        "collector.grpc-server.host-port",
        "collector.otlp.http.host-port",
        "query.grpc-server.host-port",
    ];
    Ends(
        Command::new(jaeger)
            .args(elsewhere.map(|flag| format!("--{flag}=127.0.0.1:0")))
            .arg(format!("--collector.otlp.grpc.host-port=127.0.0.1:{otlp}"))
            .arg(format!("--query.http-server.host-port=127.0.0.1:{query}"))
            .arg(format!("--admin.http.host-port=127.0.0.1:{admin}"))
            .env("SPAN_STORAGE_TYPE", "memory")
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap(),
    )
}

/// A real Prometheus that scrapes a page on this machine.
fn start_prometheus(out: &Path, page: u16, port: u16) -> Ends {
    let scrape = format!(
        "global: {{scrape_interval: 200ms}}\nscrape_configs: [{{job_name: shop, static_configs: [{{targets: [\"127.0.0.1:{page}\"]}}]}}]\n"
    );
    std::fs::write(out.join("prometheus.yml"), scrape).unwrap();
    let data = out.join("prometheus");
    let _ = std::fs::remove_dir_all(&data);
    Ends(
        Command::new("prometheus")
            .arg(format!("--config.file={}", out.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap(),
    )
}

#[test]
fn an_application_in_c_reaches_a_real_jaeger_and_a_real_prometheus() {
    use std::net::TcpStream;
    use std::process::Stdio;
    let jaeger = here("../../tests/tools/bin/jaeger-all-in-one");
    if !jaeger.is_file() {
        assert!(std::env::var_os("CI").is_none(), "Jaeger is missing; run scripts/tools");
        eprintln!("skipped: Jaeger is missing; run scripts/tools");
        return;
    }
    if Command::new("prometheus").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "Prometheus is missing; run scripts/tools");
        eprintln!("skipped: Prometheus is missing; run scripts/tools");
        return;
    }
    let (built, out) = (built(), scratch("jaeger"));
    std::fs::create_dir_all(&out).unwrap();
    let program = out.join("embed");
    compile(&here("../../examples/c/embed.c"), &program, &built.prefix.join("lib"));
    let [otlp, query, admin, page, prometheus] = std::array::from_fn(|_| free_port());
    let _jaeger = start_jaeger(&jaeger, otlp, query, admin);
    until("Jaeger", || TcpStream::connect(("127.0.0.1", otlp)).ok());
    let config = std::fs::read_to_string(here("../../examples/c/collector.yaml")).unwrap();
    let config = config.replace("localhost:4317", &format!("127.0.0.1:{otlp}"));
    std::fs::write(out.join("collector.yaml"), config.replace("localhost:9464", &format!("127.0.0.1:{page}"))).unwrap();
    let _prometheus = start_prometheus(&out, page, prometheus);
    let mut application = Ends(
        Command::new("timeout")
            .arg("60")
            .arg(&program)
            .arg(out.join("collector.yaml"))
            .arg("stay")
            .env("LD_LIBRARY_PATH", built.prefix.join("lib"))
            .stdin(Stdio::piped())
            .stdout(std::fs::File::create(out.join("said")).unwrap())
            .spawn()
            .unwrap(),
    );
    until("a hundred spans in Jaeger", || {
        let answer = get(query, "/api/traces?service=shop&limit=1000")?;
        (answer.matches("\"operationName\"").count() == 100).then_some(())
    });
    until("the counter in Prometheus", || {
        let answer = get(prometheus, "/api/v1/query?query=orders_total")?;
        (answer.contains("\"job\":\"shop\"") && answer.contains("\"100\"]")).then_some(())
    });
    // The program ends when its input ends.
    drop(application.0.stdin.take());
    assert!(application.0.wait().unwrap().success());
    let said = std::fs::read_to_string(out.join("said")).unwrap();
    assert!(said.contains("100 spans and 1 metric submitted") && said.contains("stopped"), "{said}");
}
