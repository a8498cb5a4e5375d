//! The entries of the table.

use super::{Arguments, CommandInfo, FlagInfo, FlagValue};

const fn flag(name: &'static str, value: FlagValue, help: &'static str) -> FlagInfo {
    FlagInfo { name, short: None, value, help }
}

/// Flags of a run and of the subcommands that read a configuration.
pub(in crate::commands) const GLOBAL_FLAGS: &[FlagInfo] = &[
    flag(
        "config",
        FlagValue::File("URI"),
        "Locations to the config file(s): a path, file:PATH, env:NAME or yaml:TEXT; may be given several times, later ones win. \
         k8s:PATH[#NAME] takes the configuration out of Kubernetes manifests: a file, a folder or a kustomization",
    ),
    flag(
        "feature-gates",
        FlagValue::Text("LIST"),
        "Comma-delimited list of feature gate identifiers. Prefix with '-' to disable the feature. '+' or no prefix will enable \
         the feature",
    ),
    FlagInfo { name: "help", short: Some('h'), value: FlagValue::None, help: "help for the program or the command" },
    flag(
        "reload-on-change",
        FlagValue::None,
        "Read the configuration again when one of its files has changed and stays the same for a second, as on SIGHUP; also when \
         the link of a mounted ConfigMap moves",
    ),
    flag(
        "set",
        FlagValue::Text("KEY=VALUE"),
        "Set arbitrary component config property, such as processors.batch.timeout=2s; wins over every --config",
    ),
    flag("shutdown-timeout", FlagValue::Text("TIME"), "How long a stop may take to deliver what is held (default 25s)"),
    FlagInfo { name: "version", short: Some('v'), value: FlagValue::None, help: "version of the program" },
];

const CA_FILE: FlagInfo =
    flag("ca-file", FlagValue::File("FILE"), "Certificates that the server's one is checked with, for https");
const HEADER: FlagInfo = flag(
    "header",
    FlagValue::Text("NAME=VALUE"),
    "A header field of the requests, such as Authorization=...; may be repeated",
);
const SKIP_VERIFY: FlagInfo = flag("insecure-skip-verify", FlagValue::None, "Do not check the server's certificate");

/// The subcommands, sorted by name.
pub(in crate::commands) const COMMANDS: &[CommandInfo] = &[
    CommandInfo {
        name: "completions",
        usage: "SHELL",
        about: "Prints the completions of a shell: bash, zsh or fish",
        details: "Add to ~/.bashrc: source <(otelcore completions bash). For zsh, write the output to a file _otelcore in a folder of \
                  $fpath; for fish, to ~/.config/fish/completions/otelcore.fish.",
        arguments: Arguments::Words(&["bash", "fish", "zsh"]),
        max_arguments: 1,
        flags: &[],
        reads_config: false,
    },
    CommandInfo {
        name: "components",
        usage: "[TYPE]",
        about: "Outputs available components in this collector distribution, or the keys of one of them",
        details: "With a type, such as `otlp` or `receiver/otlp`, prints each component of that type: signals, stability, and every key \
                  with its type, default and meaning.",
        arguments: Arguments::Components,
        max_arguments: 1,
        flags: &[flag(
            "schema",
            FlagValue::Optional(&["components", "config"]),
            "Output the JSON Schema of each component, or of a whole configuration, for editors",
        )],
        reads_config: false,
    },
    CommandInfo {
        name: "explain",
        usage: "[CODE]",
        about: "Explains the code of an error or a warning, such as OC107",
        details: "Without a code, lists all of them.",
        arguments: Arguments::Codes,
        max_arguments: 1,
        flags: &[],
        reads_config: false,
    },
    CommandInfo {
        name: "featuregate",
        usage: "[ID]",
        about: "Display feature gates information",
        details: "",
        arguments: Arguments::Text,
        max_arguments: 1,
        flags: &[],
        reads_config: false,
    },
    CommandInfo {
        name: "help",
        usage: "[COMMAND]",
        about: "Help about any command",
        details: "",
        arguments: Arguments::Commands,
        max_arguments: 1,
        flags: &[],
        reads_config: false,
    },
    CommandInfo {
        name: "print-config",
        usage: "",
        about: "Prints the Collector's configuration in the specified mode",
        details: "",
        arguments: Arguments::None,
        max_arguments: 0,
        flags: &[
            flag(
                "annotate",
                FlagValue::None,
                "Write beside each value where it came from: a file and line, a variable, or a default",
            ),
            flag("format", FlagValue::Words(&["yaml", "json"]), "Output format: yaml (default) or json"),
            flag(
                "mode",
                FlagValue::Words(&["redacted", "unredacted"]),
                "Operating mode: redacted (default), unredacted",
            ),
            flag("validate", FlagValue::None, "Validate the config before printing (default true)"),
        ],
        reads_config: true,
    },
    CommandInfo {
        name: "queue",
        usage: "ls|verify|export|replay DIR",
        about: "Shows, checks, exports or sends what is in queues on disk: queue ls|verify|export|replay DIR",
        details: "DIR is the directory of a file_storage extension or of one queue in it. ls prints a line about each queue: what waits, \
                  how old it is, the size on disk, what is damaged or given up. verify reads everything and checks it; exit code 1 and \
                  the places where something is damaged. export writes what waits as OTLP/JSON, a request a line; with --dead what was \
                  given up. replay sends what waits to --endpoint, and removes what was delivered.",
        arguments: Arguments::WordsThenFolder(&["ls", "verify", "export", "replay"]),
        max_arguments: usize::MAX,
        flags: &[
            flag(
                "dead",
                FlagValue::None,
                "Of export: the requests that were given up, their reasons on standard error",
            ),
            flag(
                "endpoint",
                FlagValue::Text("URL"),
                "Of replay: http://HOST:PORT for OTLP over HTTP, HOST:PORT for OTLP over gRPC",
            ),
            flag(
                "set",
                FlagValue::Text("KEY=VALUE"),
                "Of replay: a key of the OTLP exporter, such as tls.insecure=true",
            ),
        ],
        reads_config: false,
    },
    CommandInfo {
        name: "send",
        usage: "[signal...]",
        about: "Makes test telemetry and sends it by OTLP; says what came back and how fast",
        details: "Without a signal, sends traces, metrics and logs. Without --count, --duration and --rate, sends ten items of each \
                  signal once. The exit code is 0 where everything was accepted. What --endpoint leaves out comes from \
                  OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL and OTEL_EXPORTER_OTLP_HEADERS.",
        arguments: Arguments::Words(&["traces", "metrics", "logs"]),
        max_arguments: 3,
        flags: &[
            flag("batch", FlagValue::Text("N"), "Items in a request (default 100, or --count where that is less)"),
            CA_FILE,
            flag("cert-file", FlagValue::File("FILE"), "The client's certificate, where the server asks for one"),
            flag(
                "compression",
                FlagValue::Words(&["gzip", "zstd", "snappy", "none"]),
                "Of the requests (default none)",
            ),
            flag("concurrency", FlagValue::Text("N"), "The most requests without an answer at a time (default 8)"),
            flag("count", FlagValue::Text("N"), "Items of each signal"),
            flag("duration", FlagValue::Text("TIME"), "How long to send, such as 30s"),
            flag(
                "endpoint",
                FlagValue::Text("URL"),
                "Where to send: HOST:PORT or a URL (default OTEL_EXPORTER_OTLP_ENDPOINT, or localhost:4317)",
            ),
            HEADER,
            flag("insecure", FlagValue::None, "No TLS; the default for http:// and for this machine"),
            SKIP_VERIFY,
            flag("key-file", FlagValue::File("FILE"), "The key of the client's certificate"),
            flag(
                "protocol",
                FlagValue::Words(&["grpc", "http/protobuf", "http/json"]),
                "OTLP over gRPC or over HTTP (default OTEL_EXPORTER_OTLP_PROTOCOL; http/protobuf for port 4318, grpc otherwise)",
            ),
            flag("rate", FlagValue::Text("N"), "Items of each signal a second; 0 is as fast as possible (default 0)"),
            flag("service", FlagValue::Text("NAME"), "The service.name of the telemetry (default otelcore-send)"),
            flag(
                "set",
                FlagValue::Text("KEY=VALUE"),
                "Another key of the OTLP exporter, such as tls.server_name_override=x",
            ),
            flag("size", FlagValue::Text("BYTES"), "The length of a further attribute of each item (default 0: none)"),
            flag("timeout", FlagValue::Text("TIME"), "How long to wait for an answer (default 10s)"),
        ],
        reads_config: false,
    },
    CommandInfo {
        name: "tap",
        usage: "[EDGE]",
        about: "Prints what passes an edge of a running collector: live samples, read from its live page",
        details: "Without EDGE, lists the edges. EDGE is FROM->TO with the ids of two components or pipelines, such as \
                  'otlp->traces', with PIPELINE: before it where several edges have that name, or a number. The collector needs the \
                  extension zpages, at a loopback address or with auth.",
        arguments: Arguments::Text,
        max_arguments: 1,
        flags: &[
            CA_FILE,
            flag(
                "format",
                FlagValue::Words(&["text", "json"]),
                "Text for people (default), or OTLP/JSON, a request a line",
            ),
            HEADER,
            SKIP_VERIFY,
            flag("limit", FlagValue::Text("N"), "How many items to print (default 100)"),
            flag("url", FlagValue::Text("URL"), "The collector's live page (default http://localhost:55679)"),
            flag(
                "where",
                FlagValue::Text("CONDITION"),
                "Only items for which this condition of OTTL holds, such as 'span.name == \"GET /\"' or \
                 'log.severity_number >= SEVERITY_NUMBER_WARN'",
            ),
        ],
        reads_config: false,
    },
    CommandInfo {
        name: "top",
        usage: "[URL]",
        about: "Shows components, edges and memory of a running collector, refreshed each second",
        details: "URL is its live page (default http://localhost:55679), of the extension zpages. Ctrl-C ends it. Where the output is not a \
                  terminal, the state is printed once.",
        arguments: Arguments::Text,
        max_arguments: 1,
        flags: &[
            CA_FILE,
            HEADER,
            SKIP_VERIFY,
            flag("once", FlagValue::None, "Print the state once, after one second"),
            flag("width", FlagValue::Text("N"), "Columns (default those of the terminal, or 200)"),
        ],
        reads_config: false,
    },
    CommandInfo {
        name: "validate",
        usage: "",
        about: "Validates the config without running the collector",
        details: "",
        arguments: Arguments::None,
        max_arguments: 0,
        flags: &[flag(
            "explain",
            FlagValue::None,
            "Draw the pipelines as text, and say what each warning and error means and what to write",
        )],
        reads_config: true,
    },
];
