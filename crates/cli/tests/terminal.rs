//! The commands for looking and trying, as the real binary: `send`, `tap`, `top`, completions, explanations.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use support::*;

struct Collector {
    process: Process,
    grpc: u16,
    http: u16,
    page: u16,
}

/// A collector with all signals, the live page, and what `more` adds to its exporters.
fn collector(name: &str) -> Collector {
    let (grpc, http, page, own) = (free_port(), free_port(), free_port(), free_port());
    let text = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: \"127.0.0.1:{grpc}\"}}, http: {{endpoint: \"127.0.0.1:{http}\"}}}}}}}}\n\
         processors: {{batch: {{timeout: 50ms}}}}\n\
         exporters: {{nop: }}\n\
         extensions: {{zpages: {{endpoint: \"127.0.0.1:{page}\"}}}}\n\
         service:\n  extensions: [zpages]\n  telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {own}}}}}}}}}]}}}}\n  pipelines:\n    \
           traces: {{receivers: [otlp], processors: [batch], exporters: [nop]}}\n    \
           metrics: {{receivers: [otlp], exporters: [nop]}}\n    \
           logs: {{receivers: [otlp], exporters: [nop]}}\n"
    );
    let folder = empty_test_dir(name);
    let path = folder.join("config.yaml");
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(otelcore());
    let mut process = Process::start(command.arg(format!("--config={}", path.display())), &folder.join("log"));
    wait_for_listener(&format!("127.0.0.1:{page}"), &mut process);
    wait_for_listener(&format!("127.0.0.1:{grpc}"), &mut process);
    Collector { process, grpc, http, page }
}

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(otelcore());
    command.args(args).stdin(Stdio::null());
    for name in ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_HEADERS"] {
        command.env_remove(name);
    }
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn send_says_what_was_accepted_over_each_protocol() {
    let mut collector = collector("send");
    for (protocol, port) in [("grpc", collector.grpc), ("http/protobuf", collector.http), ("http/json", collector.http)]
    {
        let output = run(&[
            "send",
            &format!("--endpoint=127.0.0.1:{port}"),
            &format!("--protocol={protocol}"),
            "--count=250",
            "--size=20",
            "--compression=gzip",
        ]);
        let text = text(&output);
        assert!(output.status.success(), "{protocol}: {text}");
        for part in [
            "250 spans in 3 requests: 250 accepted",
            "250 metric points in 3",
            "250 log records in 3",
            "time to an answer",
        ] {
            assert!(text.contains(part), "{protocol}: {text}");
        }
    }
    let port = collector.grpc;
    let output = run(&["send", "logs", &format!("--endpoint=127.0.0.1:{port}"), "--rate=100", "--duration=1s"]);
    let text = text(&output);
    let items: u64 = text.split("logs").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    assert!(output.status.success() && (100..=200).contains(&items), "{text}");
    collector.process.signal("TERM");
    assert_eq!(collector.process.wait_for_exit(Duration::from_secs(30)), 0);
}

#[test]
fn send_to_a_port_without_a_listener_says_why_and_fails() {
    let output =
        run(&["send", "traces", &format!("--endpoint=127.0.0.1:{}", free_port()), "--count=1", "--timeout=2s"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("1 failed") && text.contains("connection refused"), "{text}");
}

#[test]
fn tap_prints_what_passes_an_edge_and_for_which_the_condition_holds() {
    let collector = collector("tap");
    let url = format!("--url=http://127.0.0.1:{}", collector.page);
    let edges = text(&run(&["tap", &url]));
    assert!(edges.contains("  traces:batch->nop\n") && edges.contains("  logs:otlp->logs\n"), "{edges}");
    let endpoint = format!("--endpoint=127.0.0.1:{}", collector.grpc);
    let mut sender = Command::new(otelcore());
    let sender = sender.args(["send", &endpoint, "--rate=200", "--duration=60s"]);
    let _sender = Process::start(sender, &empty_test_dir("tap-sender").join("log"));
    let spans = text(&run(&["tap", "batch->nop", &url, "--limit=20", "--where=span.name == \"GET /cart\""]));
    assert!(spans.contains("# ") && spans.contains("GET /cart ") && !spans.contains("POST /checkout"), "{spans}");
    let points = text(&run(&["tap", "metrics:otlp->metrics", &url, "--limit=3"]));
    assert!(points.contains("test.requests{http.route="), "{points}");
    let logs = text(&run(&["tap", "otlp->logs", &url, "--limit=30", "--format=json"]));
    let records: usize = logs.lines().map(|line| line.matches("\"severityNumber\"").count()).sum();
    assert!(records >= 30 && logs.starts_with("{\"resourceLogs\":"), "{logs}");
    for (args, part) in [
        (&["tap", "nothing->here"][..], "there is no edge \"nothing->here\""),
        (&["tap", "otlp->logs", "--where=log.nothing == 1"], "the condition is not valid"),
        (&["tap", "otlp->logs", "--limit=0"], "--limit must be a positive number"),
    ] {
        let output = run(&[args, &[url.as_str()]].concat());
        assert!(output.status.code() == Some(1) && text(&output).contains(part), "{}", text(&output));
    }
}

#[test]
fn top_prints_the_tables_once_where_the_output_is_no_terminal() {
    let collector = collector("top");
    let endpoint = format!("--endpoint=127.0.0.1:{}", collector.grpc);
    let mut sender = Command::new(otelcore());
    let sender = sender.args(["send", &endpoint, "--rate=200", "--duration=60s"]);
    let _sender = Process::start(sender, &empty_test_dir("top-sender").join("log"));
    for width in ["80", "200"] {
        let output = run(&["top", &format!("127.0.0.1:{}", collector.page), &format!("--width={width}")]);
        let text = text(&output);
        assert!(output.status.success() && !text.contains('\u{1b}'), "{text}");
        assert!(text.contains("receiver otlp") && text.contains("traces:batch->nop"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= width.parse().unwrap()), "{text}");
        assert!(text.lines().any(|line| line.contains("logs:otlp->logs") && line.contains("KiB")), "{text}");
    }
    let output = run(&["top", &format!("127.0.0.1:{}", free_port())]);
    assert!(output.status.code() == Some(1) && text(&output).contains("connection refused"), "{}", text(&output));
}

/// A tmux server with one window, ended with this.
struct Terminal {
    socket: std::path::PathBuf,
    width: usize,
}

impl Terminal {
    /// Runs a command of the shell in a window of this width. `None` where there is no tmux.
    fn open(name: &str, width: usize, command: &str) -> Option<Self> {
        let socket = empty_test_dir(name).join("tmux");
        let terminal = Self { socket, width };
        let columns = width.to_string();
        // What follows keeps the window, with what was written, after the command.
        let command = format!("trap : INT; {command}; echo done: $?; sleep 600");
        let args = ["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", "40", &command];
        terminal.tmux(&args)?;
        Some(terminal)
    }

    fn tmux(&self, args: &[&str]) -> Option<String> {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(args).env("LC_ALL", "C.UTF-8").env("TERM", "xterm").env_remove("TMUX");
        let output = command.output().ok()?;
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        Some(text(&output))
    }

    /// What the window shows, once it has all of these.
    fn wait_for(&self, parts: &[&str]) -> String {
        let mut shown = String::new();
        wait_until(&format!("{parts:?}"), || {
            shown = self.tmux(&["capture-pane", "-p"]).unwrap();
            parts.iter().all(|part| shown.contains(part)).then(String::new)
        });
        assert!(shown.lines().all(|line| line.chars().count() <= self.width), "{shown}");
        shown
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").arg("-S").arg(&self.socket).arg("kill-server").output();
    }
}

#[test]
fn programs_fit_terminals_of_80_and_of_200_columns() {
    let collector = collector("tmux");
    let (binary, page, grpc) = (otelcore(), collector.page, collector.grpc);
    let binary = binary.display();
    for width in [80, 200] {
        let send = format!("{binary} send --endpoint=127.0.0.1:{grpc} --rate=200 --duration=120s");
        let Some(sending) = Terminal::open(&format!("tmux-send-{width}"), width, &send) else {
            return eprintln!("tmux is not installed; nothing is run in a terminal");
        };
        let top =
            Terminal::open(&format!("tmux-top-{width}"), width, &format!("{binary} top 127.0.0.1:{page}")).unwrap();
        let shown = top.wait_for(&["receiver otlp", "traces:batch->nop", "KiB", "listens at"]);
        assert!(!shown.contains("done:"), "it goes on: {shown}");
        // A row is one line: none of it is on the next one.
        let rows = shown.lines().filter(|line| line.starts_with("traces:batch->nop")).count();
        assert_eq!(rows, 1, "{shown}");
        top.tmux(&["send-keys", "C-c"]).unwrap();
        top.wait_for(&["done: 0"]);
        let tap = format!("{binary} tap 'batch->nop' --url=http://127.0.0.1:{page} --limit=3");
        let tap = Terminal::open(&format!("tmux-tap-{width}"), width, &tap).unwrap();
        tap.wait_for(&["# ", "done: 0"]);
        sending.wait_for(&["accepted"]);
    }
}

#[test]
fn configuration_is_drawn_explained_and_annotated() {
    let folder = empty_test_dir("explain");
    let path = folder.join("config.yaml");
    let config = "receivers:\n  otlp:\n    protocols:\n      grpc:\n        endpoint: ${env:GRPC_ADDRESS}\nexporters:\n  \
                  otlp:\n    endpoint: localhost:4317\n  debug:\nservice:\n  pipelines:\n    traces:\n      \
                  receivers: [otlp]\n      exporters: [otlp, debug]\n";
    std::fs::write(&path, config).unwrap();
    let config = format!("--config={}", path.display());
    let mut command = Command::new(otelcore());
    let output = command.args(["validate", "--explain", &config]).env("GRPC_ADDRESS", "localhost:1").output().unwrap();
    let explained = text(&output);
    assert!(explained.contains("    otlp ---+-> otlp\n"), "{explained}");
    assert!(explained.contains("+-> debug") && explained.contains("What to do"), "{explained}");
    let mut command = Command::new(otelcore());
    let output =
        command.args(["print-config", "--annotate", &config]).env("GRPC_ADDRESS", "localhost:1").output().unwrap();
    let annotated = String::from_utf8(output.stdout.clone()).unwrap();
    let has = |start: &str, end: &str| {
        annotated.lines().any(|line| line.trim_start().starts_with(start) && line.ends_with(end))
    };
    assert!(has("endpoint: localhost:1 ", &format!("# ${{env:GRPC_ADDRESS}} in {}:5", path.display())), "{annotated}");
    assert!(has("endpoint: localhost:4317 ", &format!("# {}:8", path.display())), "{annotated}");
    assert!(has("max_recv_msg_size_mib: ", "# default") || has("read_buffer_size: ", "# default"), "{annotated}");
}

#[test]
fn component_is_described_by_its_type() {
    let otlp = text(&run(&["components", "receiver/otlp"]));
    assert!(otlp.contains("protocols::grpc::endpoint: text, default localhost:4317"), "{otlp}");
    let all = text(&run(&["components", "otlp"]));
    assert!(all.contains("receiver otlp: ") && all.contains("exporter otlp_grpc: "), "{all}");
    let output = run(&["components", "oltp"]);
    assert!(output.status.code() == Some(1) && text(&output).contains("did you mean \"otlp\"?"), "{}", text(&output));
}

/// The shells that are installed complete a subcommand and a flag.
#[test]
fn completions_are_scripts_that_shells_accept() {
    let folder = empty_test_dir("completions");
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success(), "{}", text(&output));
        let path = folder.join(shell);
        std::fs::write(&path, &output.stdout).unwrap();
        let Ok(checked) = Command::new(shell).arg("-n").arg(&path).output() else { continue };
        assert!(checked.status.success(), "{shell}: {}", text(&checked));
    }
    let complete = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let script = format!(
            "source {}; COMP_WORDS=({}); COMP_CWORD={}; _otelcore; echo \"${{COMPREPLY[*]}}\"",
            folder.join("bash").display(),
            words.join(" "),
            words.len() - 1
        );
        text(&Command::new("bash").args(["--norc", "-c", &script]).output().unwrap())
    };
    assert_eq!(complete(&["otelcore", "va"]), "validate\n");
    assert_eq!(complete(&["otelcore", "send", "--prot"]), "--protocol\n");
    assert_eq!(complete(&["otelcore", "send", "--protocol", "h"]), "http/protobuf http/json\n");
    assert_eq!(complete(&["otelcore", "components", "memory_l"]), "memory_limiter\n");
}

#[test]
fn fish_completes_commands_flags_and_values() {
    let path = empty_test_dir("completions-fish").join("otelcore.fish");
    std::fs::write(&path, &run(&["completions", "fish"]).stdout).unwrap();
    let complete = |line: &str| {
        let script = format!("source {}; complete -C '{line}'", path.display());
        let output = Command::new("fish").args(["--no-config", "-c", &script]).output();
        // Each line is a word, a tab and its description.
        output.ok().map(|output| {
            let text = text(&output);
            text.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
        })
    };
    if complete("otelcore").is_none() {
        return eprintln!("fish is not installed; its completions are not run");
    }
    for (line, expected) in [
        ("otelcore va", &["validate"][..]),
        ("otelcore send --prot", &["--protocol"]),
        ("otelcore send --protocol h", &["http/json", "http/protobuf"]),
        ("otelcore components memory_l", &["memory_limiter"]),
    ] {
        assert_eq!(complete(line).unwrap(), expected, "{line}");
    }
}

/// Starts an interactive zsh in a terminal of its own, presses a key at the end of each line, and prints what each has become.
const ZSH_SCRIPT: &str = r#"
zmodload zsh/zpty || exit 1
zpty z zsh -f -i
zpty -w z "PS1=; fpath=($1 \$fpath); autoload -Uz compinit && compinit -u -D; show() { zle complete-word; print -r -- \$BUFFER >> $1/completed; BUFFER= }; zle -N show; bindkey '^T' show; print > $1/completed"
await() { local i; for i in {1..400}; do [[ -f $1 && $(wc -l < $1) -ge $2 ]] && return; sleep 0.05; done; exit 1 }
await $1/completed 1
integer n=1
for line in "${@:2}"; do
  zpty -w -n z "$line"$'\x14'
  await $1/completed $((++n))
done
tail -n +2 $1/completed
zpty -d z
"#;

#[test]
fn zsh_completes_commands_flags_and_values_from_the_first_time_on() {
    let folder = empty_test_dir("completions-zsh");
    std::fs::write(folder.join("_otelcore"), &run(&["completions", "zsh"]).stdout).unwrap();
    let mut command = Command::new("zsh");
    command.args(["-f", "-c", ZSH_SCRIPT, "zsh"]).arg(&folder);
    command.args([
        "otelcore va",
        "otelcore send --prot",
        "otelcore send --protocol=http/p",
        "otelcore components memory_l",
    ]);
    let Ok(output) = command.output() else {
        return eprintln!("zsh is not installed; its completions are not run");
    };
    let expected = "otelcore validate \notelcore send --protocol=\notelcore send --protocol=http/protobuf \n\
                    otelcore components memory_limiter \n";
    assert_eq!(text(&output), expected);
}
