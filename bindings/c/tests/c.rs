//! The library as C programs use it: built, installed, and called by test programs in C and C++.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use otelcore_test_support::{free_port, tool_path};

fn manifest_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn temporary_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("c").join(path)
}

fn run_successfully(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    output
}

fn stdout_of(command: &mut Command) -> String {
    String::from_utf8(run_successfully(command).stdout).unwrap()
}

/// A command that runs in this build's target folder.
fn command_in_target_folder(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    command.current_dir(manifest_path("")).env("CARGO_TARGET_DIR", target).env("CARGO", env!("CARGO"));
    command
}

struct InstalledLibrary {
    /// Where it is installed.
    prefix: PathBuf,
    /// Where the library that panics on request is installed.
    panic_prefix: PathBuf,
}

/// The library, built and installed once.
fn installed_library() -> &'static InstalledLibrary {
    static INSTALLED: OnceLock<InstalledLibrary> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let (prefix, panic_prefix) = (temporary_path("prefix"), temporary_path("panics"));
        // The one without features is built last: its files are what the target folder has afterwards.
        for (prefix, features) in [(&panic_prefix, "FEATURES=test-panic"), (&prefix, "FEATURES=")] {
            let _ = std::fs::remove_dir_all(prefix);
            run_successfully(
                command_in_target_folder(manifest_path("../../scripts/install-c"))
                    .arg(prefix)
                    .args(["PROFILE=dev", features]),
            );
        }
        InstalledLibrary { prefix, panic_prefix }
    })
}

fn compile(source: &Path, program: &Path, library: &Path) {
    let cpp = source.extension().is_some_and(|e| e == "cpp");
    let mut command = Command::new(if cpp { "g++" } else { "gcc" });
    command.arg(if cpp { "-std=c++17" } else { "-std=gnu11" });
    command.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-pthread", "-I"]).arg(manifest_path("include"));
    command.arg(source).arg("-o").arg(program).arg("-L").arg(library).arg("-lotelcore");
    command.arg(format!("-Wl,-rpath,{}", library.display()));
    run_successfully(&mut command);
}

/// Runs a program with a time limit of one minute. It does not get the library path that cargo sets.
fn run_with_time_limit(program: &Path) -> Output {
    run_successfully(Command::new("timeout").arg("60").arg(program).env_remove("LD_LIBRARY_PATH"))
}

fn run_test_program(name: &str) {
    let program = temporary_path(name.split('.').next().unwrap());
    compile(&manifest_path("tests").join(name), &program, &installed_library().prefix.join("lib"));
    run_with_time_limit(&program);
}

#[test]
fn collector_is_created_started_and_shut_down() {
    run_test_program("lifecycle.c");
}

#[test]
fn invalid_arguments_are_refused() {
    run_test_program("misuse.c");
}

#[test]
fn output_delivers_by_callback_and_by_next() {
    run_test_program("flow.c");
}

#[test]
fn processor_of_the_host_program_changes_payloads() {
    run_test_program("processor.c");
}

#[test]
fn state_and_configuration_are_data() {
    run_test_program("snapshot.c");
}

#[test]
fn library_changes_no_state_of_its_host_process() {
    run_test_program("host_state.c");
}

#[test]
fn spans_that_submit_acknowledged_are_delivered_after_kills() {
    let program = temporary_path("killed");
    compile(&manifest_path("tests/killed.c"), &program, &installed_library().prefix.join("lib"));
    let mut command = Command::new("timeout");
    command.arg("180").arg(program).arg(free_port().to_string()).env_remove("LD_LIBRARY_PATH");
    run_successfully(&mut command);
}

#[test]
fn fork_under_load_loses_nothing() {
    run_test_program("fork.c");
}

#[test]
fn collector_runs_in_the_loop_of_its_host() {
    run_test_program("drive.c");
}

#[test]
fn cpp_program_embeds_a_collector() {
    run_test_program("from_cpp.cpp");
}

#[test]
fn cpp_wrappers_own_handles_and_let_no_exception_pass() {
    let (source, lib) = (manifest_path("tests/wrappers.cpp"), installed_library().prefix.join("lib"));
    for compiler in ["g++", "clang++"] {
        if Command::new(compiler).arg("--version").output().is_err() {
            eprintln!("{compiler} is not installed: not tried");
            continue;
        }
        for standard in ["c++17", "c++20"] {
            let program = temporary_path(&format!("wrappers-{compiler}-{standard}"));
            let mut command = Command::new(compiler);
            command.arg(format!("-std={standard}")).args([
                "-Wall",
                "-Wextra",
                "-Wpedantic",
                "-Wconversion",
                "-Wshadow",
            ]);
            command.args(["-Werror", "-g", "-pthread", "-I"]).arg(installed_library().prefix.join("include"));
            command.arg(&source).arg("-o").arg(&program).arg("-L").arg(&lib).arg("-lotelcore");
            run_successfully(command.arg(format!("-Wl,-rpath,{}", lib.display())));
            run_with_time_limit(&program);
        }
    }
}

#[test]
fn example_in_cpp_is_built_by_cmake_and_prints_the_documented_output() {
    let (built, build) = (installed_library(), temporary_path("example-cpp"));
    let _ = std::fs::remove_dir_all(&build);
    let prefix = format!("-DCMAKE_PREFIX_PATH={}", built.prefix.display());
    let example = manifest_path("../../examples/cpp");
    run_successfully(Command::new("cmake").arg("-S").arg(example).arg("-B").arg(&build).arg(prefix));
    run_successfully(Command::new("cmake").arg("--build").arg(&build));
    let stdout = String::from_utf8(run_with_time_limit(&build.join("shop")).stdout).unwrap();
    assert_eq!(stdout, "15 of 20 spans came out\nstopped\n");
}

#[test]
fn panic_is_returned_as_a_status() {
    let program = temporary_path("panic");
    compile(&manifest_path("tests/panic.c"), &program, &installed_library().panic_prefix.join("lib"));
    let output = run_with_time_limit(&program);
    assert!(String::from_utf8_lossy(&output.stderr).contains("on request"), "the panic was not provoked");
}

/// A static library in Rust that is independent of ours.
fn other_archive() -> PathBuf {
    let archive = temporary_path("libother.a");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = command_in_target_folder(rustc);
    run_successfully(
        command
            .args(["--edition=2024", "--crate-type=staticlib", "-o"])
            .arg(&archive)
            .arg(manifest_path("tests/other.rs")),
    );
    archive
}

#[test]
fn two_rust_archives_in_either_order_link_and_panic_separately() {
    let (ours, other) = (installed_library().panic_prefix.join("lib/libotelcore.a"), other_archive());
    for (pie, name) in [("-pie", "beside-pie"), ("-no-pie", "beside-no-pie")] {
        for (order, archives) in [("ours-first", [&ours, &other]), ("ours-last", [&other, &ours])] {
            let program = temporary_path(&format!("{name}-{order}"));
            let mut command = Command::new("gcc");
            command.args([pie, if pie == "-pie" { "-fPIE" } else { "-fno-pie" }, "-std=gnu11", "-pthread", "-I"]);
            command
                .arg(manifest_path("include"))
                .arg(manifest_path("tests/beside.c"))
                .args(archives)
                .arg("-o")
                .arg(&program);
            // The output of `rustc --print native-static-libs` for the target.
            run_successfully(command.args(["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"]));
            let stderr = String::from_utf8_lossy(&run_with_time_limit(&program).stderr).into_owned();
            assert!(
                stderr.contains("of the other archive") && stderr.contains("on request"),
                "{pie} {order}: {stderr}"
            );
        }
    }
}

/// The names of functions in the header.
fn declared_functions() -> BTreeSet<String> {
    let header = std::fs::read_to_string(manifest_path("include/otelcore.h")).unwrap();
    let lines = header.lines().filter(|line| !line.starts_with([' ', '#', '/']));
    let names = lines.filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next());
    names.filter(|name| name.starts_with("otelcore_")).map(str::to_owned).collect()
}

fn symbol_names(listing: &str) -> BTreeSet<String> {
    listing.lines().filter_map(|line| line.rsplit_once(' ')).map(|(_, name)| name.to_owned()).collect()
}

#[test]
fn exported_symbols_are_those_of_the_header() {
    let lib = installed_library().prefix.join("lib");
    let declared = declared_functions();
    assert!(declared.len() >= 36, "{declared:?}");
    let shared = stdout_of(Command::new("nm").args(["-D", "--defined-only"]).arg(lib.join("libotelcore.so")));
    assert_eq!(symbol_names(&shared), declared);
    let archive = stdout_of(Command::new("nm").args(["-g", "--defined-only"]).arg(lib.join("libotelcore.a")));
    assert_eq!(symbol_names(&archive), declared);
    let dynamic = stdout_of(Command::new("readelf").arg("-d").arg(lib.join("libotelcore.so")));
    assert!(dynamic.contains("soname: [libotelcore.so.0]") && dynamic.contains("NODELETE"), "{dynamic}");
    let needed = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
    let known = ["libc.so", "libm.so", "libgcc_s.so", "ld-linux"];
    needed.for_each(|line| assert!(known.iter().any(|name| line.contains(name)), "{line}"));
}

/// A program as a user of an installed library writes it.
const USER_PROGRAM: &str = r#"
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
    let path = installed_library().prefix.join("lib/pkgconfig");
    let flags = stdout_of(Command::new("pkg-config").args(arguments).arg("otelcore").env("PKG_CONFIG_PATH", path));
    flags.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn installed_library_is_found_by_pkg_config() {
    let (source, lib) = (temporary_path("user.c"), installed_library().prefix.join("lib"));
    std::fs::write(&source, USER_PROGRAM).unwrap();
    let shared_program = temporary_path("user-shared");
    let flags = pkg_config(&["--cflags", "--libs"]);
    run_successfully(Command::new("gcc").arg(&source).arg("-o").arg(&shared_program).args(flags));
    run_successfully(Command::new(&shared_program).env("LD_LIBRARY_PATH", &lib));
    let static_program = temporary_path("user-static");
    let flags = pkg_config(&["--static", "--cflags", "--libs"]);
    let flags = flags.iter().map(|flag| if flag == "-lotelcore" { "-l:libotelcore.a" } else { flag });
    run_successfully(Command::new("gcc").arg(&source).arg("-o").arg(&static_program).args(flags));
    run_with_time_limit(&static_program);
    let needed = stdout_of(Command::new("readelf").arg("-d").arg(&static_program));
    assert!(!needed.contains("libotelcore"), "{needed}");
}

#[test]
fn installed_library_is_found_by_cmake() {
    let (project, build) = (temporary_path("cmake"), temporary_path("cmake/build"));
    let _ = std::fs::remove_dir_all(&project);
    std::fs::create_dir_all(&project).unwrap();
    std::fs::write(project.join("user.c"), USER_PROGRAM).unwrap();
    let lists = "cmake_minimum_required(VERSION 3.13)\nproject(user C)\nfind_package(otelcore 0.1 REQUIRED CONFIG)\n\
                 add_executable(shared user.c)\ntarget_link_libraries(shared PRIVATE otelcore::otelcore)\n\
                 add_executable(fixed user.c)\ntarget_link_libraries(fixed PRIVATE otelcore::otelcore_static)\n";
    std::fs::write(project.join("CMakeLists.txt"), lists).unwrap();
    let prefix = format!("-DCMAKE_PREFIX_PATH={}", installed_library().prefix.display());
    run_successfully(Command::new("cmake").arg("-S").arg(&project).arg("-B").arg(&build).arg(prefix));
    run_successfully(Command::new("cmake").arg("--build").arg(&build));
    run_with_time_limit(&build.join("shared"));
    run_with_time_limit(&build.join("fixed"));
}

#[test]
fn examples_print_the_documented_output() {
    let (built, out) = (installed_library(), temporary_path("examples"));
    let examples = manifest_path("../../examples/c");
    run_successfully(
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
        run_successfully(command.env("LD_LIBRARY_PATH", built.prefix.join("lib")))
    };
    let embedded = example("embed", "debug.yaml");
    let stderr = String::from_utf8_lossy(&embedded.stderr).into_owned();
    let stdout = String::from_utf8_lossy(&embedded.stdout);
    assert!(stdout.contains("100 spans and 1 metric submitted") && stdout.contains("stopped"), "{stdout}\n{stderr}");
    assert!(stderr.contains("checkout") && stderr.contains("orders"), "{stderr}");
    let driven = String::from_utf8(example("epoll", "").stdout).unwrap();
    assert!(driven.contains("took 50 spans") && driven.contains("stopped"), "{driven}");
    let processed = example("process", "");
    let (stdout, stderr) = (String::from_utf8_lossy(&processed.stdout), String::from_utf8_lossy(&processed.stderr));
    assert!(stdout.contains("dropped 5 of 20 spans") && stdout.contains("stopped"), "{stdout}");
    assert!(stderr.contains("cloud.region") && !stderr.contains("health"), "{stderr}");
}

/// Ends its process when it is dropped.
struct ChildProcess(std::process::Child);

impl Drop for ChildProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The response of an HTTP server on this machine.
fn http_get(port: u16, path: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).ok()?;
    let mut response = String::new();
    stream.read_to_string(&mut response).ok()?;
    Some(response)
}

/// Sends requests until one is answered, for half a minute at most.
fn wait_for<T>(what: &str, mut request: impl FnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(response) = request() {
            return response;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("never came: {what}");
}

/// A real Jaeger with its spans in memory; interfaces that this test does not need listen on any free port.
fn start_jaeger(jaeger: &Path, otlp: u16, query: u16, admin: u16) -> ChildProcess {
    let unused_interfaces = [
        "processor.jaeger-compact.server-host-port",
        "processor.jaeger-binary.server-host-port",
        "processor.zipkin-compact.server-host-port",
        "http-server.host-port",
        "collector.http-server.host-port",
        "collector.grpc-server.host-port",
        "collector.otlp.http.host-port",
        "query.grpc-server.host-port",
    ];
    ChildProcess(
        Command::new(jaeger)
            .args(unused_interfaces.map(|flag| format!("--{flag}=127.0.0.1:0")))
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
fn start_prometheus(prometheus: &Path, out: &Path, page: u16, port: u16) -> ChildProcess {
    let scrape = format!(
        "global: {{scrape_interval: 200ms}}\nscrape_configs: [{{job_name: shop, static_configs: [{{targets: [\"127.0.0.1:{page}\"]}}]}}]\n"
    );
    std::fs::write(out.join("prometheus.yml"), scrape).unwrap();
    let data = out.join("prometheus");
    let _ = std::fs::remove_dir_all(&data);
    ChildProcess(
        Command::new(prometheus)
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
fn application_in_c_reaches_jaeger_and_prometheus() {
    use std::net::TcpStream;
    use std::process::Stdio;
    let Some(jaeger) = tool_path("jaeger-all-in-one") else { return };
    let Some(prometheus_program) = tool_path("prometheus") else { return };
    let (built, out) = (installed_library(), temporary_path("jaeger"));
    std::fs::create_dir_all(&out).unwrap();
    let program = out.join("embed");
    compile(&manifest_path("../../examples/c/embed.c"), &program, &built.prefix.join("lib"));
    let [otlp, query, admin, page, prometheus] = std::array::from_fn(|_| free_port());
    let _jaeger = start_jaeger(&jaeger, otlp, query, admin);
    wait_for("Jaeger", || TcpStream::connect(("127.0.0.1", otlp)).ok());
    let config = std::fs::read_to_string(manifest_path("../../examples/c/collector.yaml")).unwrap();
    let config = config.replace("localhost:4317", &format!("127.0.0.1:{otlp}"));
    std::fs::write(out.join("collector.yaml"), config.replace("localhost:9464", &format!("127.0.0.1:{page}"))).unwrap();
    let _prometheus = start_prometheus(&prometheus_program, &out, page, prometheus);
    let mut application = ChildProcess(
        Command::new("timeout")
            .arg("60")
            .arg(&program)
            .arg(out.join("collector.yaml"))
            .arg("stay")
            .env("LD_LIBRARY_PATH", built.prefix.join("lib"))
            .stdin(Stdio::piped())
            .stdout(std::fs::File::create(out.join("stdout")).unwrap())
            .spawn()
            .unwrap(),
    );
    wait_for("a hundred spans in Jaeger", || {
        let response = http_get(query, "/api/traces?service=shop&limit=1000")?;
        (response.matches("\"operationName\"").count() == 100).then_some(())
    });
    wait_for("the counter in Prometheus", || {
        let response = http_get(prometheus, "/api/v1/query?query=orders_total")?;
        (response.contains("\"job\":\"shop\"") && response.contains("\"100\"]")).then_some(())
    });
    // The program ends when its input ends.
    drop(application.0.stdin.take());
    assert!(application.0.wait().unwrap().success());
    let stdout = std::fs::read_to_string(out.join("stdout")).unwrap();
    assert!(stdout.contains("100 spans and 1 metric submitted") && stdout.contains("stopped"), "{stdout}");
}
