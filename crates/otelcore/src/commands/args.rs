//! Flags and subcommands.

use std::ffi::OsString;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};

/// What a command line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Command {
    Run,
    Help,
    Version,
    Components,
    Schema(SchemaOf),
    FeatureGate(Option<String>),
    /// Explains one code, or lists all.
    Explain(Option<String>),
    Validate,
    /// Reads or sends what is in queues on disk.
    Queue {
        action: QueueAction,
        directory: String,
    },
    PrintConfig {
        redact: bool,
        json: bool,
        validate: bool,
    },
}

/// What `components --schema` describes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SchemaOf {
    /// Each component by itself.
    Components,
    /// A whole configuration.
    Configuration,
}

/// What `queue` does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum QueueAction {
    /// Prints a line about each queue.
    List,
    /// Checks everything.
    Verify,
    /// Writes requests as OTLP/JSON: those that wait, or those that were given up.
    Export { dead: bool },
    /// Sends what waits to this endpoint.
    Replay { endpoint: String },
}

/// A parsed command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Invocation {
    pub(super) command: Command,
    /// `--config`, in order.
    pub(super) config: Vec<String>,
    /// `--set`, in order.
    pub(super) set: Vec<String>,
    /// `--feature-gates`, in order.
    pub(super) feature_gates: Vec<String>,
    /// `--shutdown-timeout`, where it is given.
    pub(super) shutdown_timeout: Option<Duration>,
    /// `--reload-on-change`.
    pub(super) reload_on_change: bool,
    /// Flags of old collectors that were given: the name, and the text of the warning.
    pub(super) old_flags: Vec<(&'static str, &'static str)>,
}

/// Flags that the Go collector has removed, what replaces them here, and whether they have a value.
const OLD_FLAGS: [(&str, &str, bool); 9] = [
    ("mem-ballast-size-mib", "has no effect: a ballast only ever helped Go's garbage collector; leave it out", true),
    ("log-level", "write `service: telemetry: logs: level:`", true),
    ("log-format", "write `service: telemetry: logs: encoding:`", true),
    ("log-profile", "has no effect; leave it out", true),
    ("metrics-level", "write `service: telemetry: metrics: level:`", true),
    ("metrics-addr", "write `service: telemetry: metrics: readers:`", true),
    ("add-instance-id", "has no effect: the instance id is always there; leave it out", false),
    ("new-metrics", "has no effect; leave it out", false),
    ("legacy-metrics", "has no effect; leave it out", false),
];

/// Reads a command line without the program's name.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, String> {
    let mut parser = Parser::from_args(with_two_dashes(args));
    let mut invocation = Invocation {
        command: Command::Run,
        config: Vec::new(),
        set: Vec::new(),
        feature_gates: Vec::new(),
        shutdown_timeout: None,
        reload_on_change: false,
        old_flags: Vec::new(),
    };
    let (mut redact, mut json, mut validate) = (true, false, true);
    let (mut schema, mut endpoint, mut dead) = (None, None, false);
    let mut subcommand: Option<String> = None;
    let mut positional = Vec::new();
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(Invocation { command: Command::Help, ..invocation }),
            Arg::Short('v') | Arg::Long("version") => {
                return Ok(Invocation { command: Command::Version, ..invocation });
            }
            Arg::Long("config") => invocation.config.push(value(&mut parser, "config")?),
            Arg::Long("set") => {
                let set = value(&mut parser, "set")?;
                if !set.contains('=') {
                    return Err(format!("invalid argument {set:?} for \"--set\" flag: missing equal sign"));
                }
                invocation.set.push(set);
            }
            Arg::Long("feature-gates") => invocation.feature_gates.push(value(&mut parser, "feature-gates")?),
            Arg::Long("shutdown-timeout") => {
                let text = value(&mut parser, "shutdown-timeout")?;
                let nanos = otelcore_config::duration::parse(&text)
                    .map_err(|e| format!("invalid argument {text:?} for \"--shutdown-timeout\" flag: {e}"))?;
                invocation.shutdown_timeout = Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)));
            }
            Arg::Long("reload-on-change") => {
                invocation.reload_on_change = parser.optional_value().is_none_or(|v| v != "false" && v != "0");
            }
            Arg::Long("mode") => match value(&mut parser, "mode")?.as_str() {
                "redacted" => redact = true,
                "unredacted" => redact = false,
                other => return Err(format!("invalid mode {other:?}: modes are: redacted, unredacted")),
            },
            Arg::Long("format") => match value(&mut parser, "format")?.as_str() {
                "yaml" => json = false,
                "json" => json = true,
                other => return Err(format!("unrecognized print format: {other}")),
            },
            Arg::Long("schema") => {
                schema = Some(match parser.optional_value().as_deref().map(|what| what.to_string_lossy()).as_deref() {
                    None | Some("components") => SchemaOf::Components,
                    Some("config") => SchemaOf::Configuration,
                    Some(other) => return Err(format!("invalid schema {other:?}: schemas are: components, config")),
                });
            }
            Arg::Long("endpoint") => endpoint = Some(value(&mut parser, "endpoint")?),
            Arg::Long("dead") => dead = true,
            Arg::Long("validate") => {
                validate = parser.optional_value().is_none_or(|v| v != "false" && v != "0");
            }
            Arg::Long(name) => {
                let Some((name, replacement, has_value)) = OLD_FLAGS.iter().find(|(old, ..)| *old == name).copied()
                else {
                    return Err(format!("unknown flag: --{name}"));
                };
                if has_value {
                    let given = value(&mut parser, name)?;
                    invocation.set.extend(setting_of_old_flag(name, &given));
                } else {
                    let _ = parser.optional_value();
                }
                invocation.old_flags.push((name, replacement));
            }
            Arg::Short(name) => return Err(format!("unknown shorthand flag: {name:?} in -{name}")),
            Arg::Value(word) if subcommand.is_none() => subcommand = Some(word.string().map_err(|e| e.to_string())?),
            Arg::Value(word) => positional.push(word.string().map_err(|e| e.to_string())?),
        }
    }
    let flags = CommandFlags { redact, json, validate, schema, endpoint, dead };
    invocation.command = command(subcommand.as_deref(), positional, flags)?;
    Ok(invocation)
}

/// The flags of single commands.
struct CommandFlags {
    redact: bool,
    json: bool,
    validate: bool,
    schema: Option<SchemaOf>,
    endpoint: Option<String>,
    dead: bool,
}

/// The command of this name, with its arguments and flags.
fn command(name: Option<&str>, mut positional: Vec<String>, flags: CommandFlags) -> Result<Command, String> {
    let CommandFlags { redact, json, validate, schema, endpoint, dead } = flags;
    if name == Some("queue") {
        return queue(positional, endpoint, dead);
    }
    if endpoint.is_some() || dead {
        return Err(format!("unknown flag: --{}", if dead { "dead" } else { "endpoint" }));
    }
    Ok(match name {
        None => Command::Run,
        Some("help") => Command::Help,
        Some("featuregate") => Command::FeatureGate(positional.pop()),
        Some("explain") => Command::Explain(positional.pop()),
        Some("components" | "validate" | "print-config" | "print-initial-config") if !positional.is_empty() => {
            return Err(format!("accepts 0 arg(s), received {}", positional.len()));
        }
        Some("components") => schema.map_or(Command::Components, Command::Schema),
        Some("validate") => Command::Validate,
        Some("print-config" | "print-initial-config") => Command::PrintConfig { redact, json, validate },
        Some(other) => {
            let known = ["components", "explain", "featuregate", "help", "print-config", "queue", "validate"];
            let suggestion = otelcore_config::nearest_name(other, known)
                .map_or_else(String::new, |n| format!(" (did you mean {n:?}?)"));
            return Err(format!("unknown command {other:?}{suggestion}"));
        }
    })
}

/// The command `queue ACTION DIRECTORY`.
fn queue(positional: Vec<String>, endpoint: Option<String>, dead: bool) -> Result<Command, String> {
    let usage =
        "write `queue ls DIR`, `queue verify DIR`, `queue export [--dead] DIR` or `queue replay --endpoint=URL DIR`";
    let [action, directory] = <[String; 2]>::try_from(positional)
        .map_err(|given| format!("queue takes an action and a directory, received {}: {usage}", given.len()))?;
    let no_flag = |flag: &str| Err(format!("unknown flag of queue {action}: --{flag}: {usage}"));
    let action = match (action.as_str(), endpoint, dead) {
        ("replay", Some(endpoint), false) if !endpoint.is_empty() => QueueAction::Replay { endpoint },
        ("replay", _, false) => return Err(
            "queue replay needs --endpoint: a URL such as http://127.0.0.1:4318 for OTLP over HTTP, host:port for gRPC"
                .to_owned(),
        ),
        ("ls" | "verify" | "export", Some(_), _) => return no_flag("endpoint"),
        ("ls" | "verify" | "replay", _, true) => return no_flag("dead"),
        ("ls", ..) => QueueAction::List,
        ("verify", ..) => QueueAction::Verify,
        ("export", _, dead) => QueueAction::Export { dead },
        _ => return Err(format!("unknown action of queue: {action:?}: {usage}")),
    };
    Ok(Command::Queue { action, directory })
}

/// Flags without a value.
const FLAGS_WITHOUT_VALUE: [&str; 6] = ["help", "schema", "version", "validate", "dead", "reload-on-change"];
/// Flags with a value.
const FLAGS_WITH_VALUE: [&str; 7] =
    ["config", "set", "feature-gates", "shutdown-timeout", "mode", "format", "endpoint"];

/// Adds the second dash to long flags with one dash: collectors before 0.36 read them with Go's package `flag`, and
/// manifests still have `-config=FILE`. The argument after a flag with a value is that value and stays as it is.
fn with_two_dashes(args: impl IntoIterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let (mut is_value, mut is_after_flags) = (false, false);
    args.into_iter().map(move |arg| {
        let text = arg.to_str().unwrap_or_default();
        if is_after_flags || std::mem::take(&mut is_value) {
            return arg;
        }
        is_after_flags = text == "--";
        let (has_two_dashes, name) = match (text.strip_prefix("--"), text.strip_prefix('-')) {
            (Some(name), _) => (true, name),
            (None, Some(name)) => (false, name),
            (None, None) => return arg,
        };
        let (name, has_inline_value) = name.split_once('=').map_or((name, false), |(name, _)| (name, true));
        let old_flag = OLD_FLAGS.iter().find(|(old, ..)| *old == name);
        let takes_value = FLAGS_WITH_VALUE.contains(&name) || old_flag.is_some_and(|(.., has_value)| *has_value);
        is_value = takes_value && !has_inline_value;
        let is_known = takes_value || old_flag.is_some() || FLAGS_WITHOUT_VALUE.contains(&name);
        if is_known && !has_two_dashes { OsString::from(format!("-{text}")) } else { arg }
    })
}

/// The setting that replaces an old flag, as a `--set`.
fn setting_of_old_flag(name: &str, value: &str) -> Option<String> {
    let key = match name {
        "log-level" => "service.telemetry.logs.level",
        "log-format" => "service.telemetry.logs.encoding",
        "metrics-level" => "service.telemetry.metrics.level",
        "metrics-addr" => "service.telemetry.metrics.address",
        _ => return None,
    };
    Some(format!("{key}={value}"))
}

fn value(parser: &mut Parser, flag: &str) -> Result<String, String> {
    let value = parser.value().map_err(|_| format!("flag needs an argument: --{flag}"))?;
    value.string().map_err(|e| e.to_string())
}

/// The text of `--help`.
pub(super) fn help(command: &str) -> String {
    format!(
        "A small OpenTelemetry Collector.

Usage:
  {command} [flags]
  {command} [command]

Started as otelcol, otelcol-contrib, otelcol-k8s or otelcol-otlp, it reads /etc/NAME/config.yaml if that file is there.
Otherwise, without --config, it takes OTLP on 127.0.0.1:4317 (gRPC) and 127.0.0.1:4318 (HTTP), shows a summary of what comes, puts
metrics on http://127.0.0.1:9464/metrics, and has a live page about itself at http://127.0.0.1:55679.

Available Commands:
  components    Outputs available components in this collector distribution
  explain       Explains the code of an error or a warning, such as OC107
  featuregate   Display feature gates information
  help          Help about any command
  print-config  Prints the Collector's configuration in the specified mode
  queue         Shows, checks, exports or sends what is in queues on disk: queue ls|verify|export|replay DIR
  validate      Validates the config without running the collector

Flags:
      --config URI               Locations to the config file(s): a path, file:PATH, env:NAME or yaml:TEXT; may be
                                 given several times, later ones win. k8s:PATH[#NAME] takes the configuration out of
                                 Kubernetes manifests: a file, a folder or a kustomization
      --feature-gates LIST       Comma-delimited list of feature gate identifiers. Prefix with '-' to disable the
                                 feature. '+' or no prefix will enable the feature
  -h, --help                     help for {command}
      --reload-on-change         Read the configuration again when one of its files has changed and stays the same for a
                                 second, as on SIGHUP; also when the link of a mounted ConfigMap moves
      --set KEY=VALUE            Set arbitrary component config property, such as processors.batch.timeout=2s; wins
                                 over every --config
      --shutdown-timeout TIME    How long a stop may take to deliver what is held (default 25s)
  -v, --version                  version for {command}

Flags of components:
      --schema[=config]          Output the JSON Schema of each component, or of a whole configuration, for editors

Flags of print-config:
      --format string            Output format: yaml (default) or json
      --mode string              Operating mode: redacted (default), unredacted
      --validate                 Validate the config before printing (default true)

Actions of queue, for the directory of a file_storage extension or of one queue in it:
  ls            Prints a line about each queue: what waits, how old it is, the size on disk, what is damaged or given up
  verify        Reads everything and checks it; exit code 1 and the places where something is damaged
  export        Writes what waits as OTLP/JSON, a request a line; with --dead what was given up
  replay        Sends what waits to --endpoint, and removes what was delivered

Flags of queue:
      --dead                     Of export: the requests that were given up, their reasons on standard error
      --endpoint URL             Of replay: http://HOST:PORT for OTLP over HTTP, HOST:PORT for OTLP over gRPC
      --set KEY=VALUE            Of replay: a key of the OTLP exporter, such as tls.insecure=true
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_args(args: &[&str]) -> Result<Invocation, String> {
        parse(args.iter().map(OsString::from))
    }

    #[test]
    fn command_line_of_the_opentelemetry_tutorial_is_accepted() {
        let invocation =
            parse_args(&["--config=/conf/otel-collector-config.yaml", "--mem-ballast-size-mib=683"]).unwrap();
        assert_eq!(invocation.config, ["/conf/otel-collector-config.yaml"]);
        assert_eq!(invocation.old_flags.len(), 1);
        assert_eq!(invocation.command, Command::Run);
    }

    #[test]
    fn repeated_flags_with_a_separate_or_inline_value_are_read() {
        let invocation =
            parse_args(&["--config", "a", "--config=b", "--set", "a.b=c", "--feature-gates=x,-y"]).unwrap();
        assert_eq!(
            (invocation.config, invocation.set),
            (vec!["a".to_owned(), "b".to_owned()], vec!["a.b=c".to_owned()])
        );
        assert_eq!(invocation.feature_gates, ["x,-y"]);
        let got = parse_args(&["validate", "--config", "a"]).unwrap();
        assert_eq!((got.command, got.config), (Command::Validate, vec!["a".to_owned()]));
        assert_eq!(parse_args(&["--log-level=DEBUG"]).unwrap().set, ["service.telemetry.logs.level=DEBUG"]);
    }

    #[test]
    fn reload_on_change_is_off_unless_it_is_asked_for() {
        for (args, expected) in [
            (&[][..], false),
            (&["--reload-on-change"], true),
            (&["-reload-on-change"], true),
            (&["--reload-on-change=false"], false),
        ] {
            assert_eq!(parse_args(args).unwrap().reload_on_change, expected, "{args:?}");
        }
    }

    #[test]
    fn long_flag_with_a_single_dash_is_read_and_values_are_not_changed() {
        let invocation =
            parse_args(&["-config=a", "-config", "b", "-set", "-config=c", "-feature-gates=", "-new-metrics"]).unwrap();
        assert_eq!(
            (invocation.config, invocation.set),
            (vec!["a".to_owned(), "b".to_owned()], vec!["-config=c".to_owned()])
        );
        assert_eq!((invocation.feature_gates, invocation.old_flags.len()), (vec![String::new()], 1));
        assert_eq!(parse_args(&["-mem-ballast-size-mib", "683"]).unwrap().old_flags.len(), 1);
        assert_eq!(parse_args(&["-version"]).unwrap().command, Command::Version);
        assert_eq!(parse_args(&["-v"]).unwrap().command, Command::Version);
        assert_eq!(parse_args(&["print-config", "-mode=unredacted"]).unwrap().command, {
            Command::PrintConfig { redact: false, json: false, validate: true }
        });
        assert_eq!(parse_args(&["-confg=a"]).unwrap_err(), "unknown shorthand flag: 'c' in -c");
        assert_eq!(parse_args(&["--", "-config=a"]).unwrap_err(), "unknown command \"-config=a\"");
    }

    #[test]
    fn schema_of_components_is_printed_unless_that_of_a_configuration_is_named() {
        assert_eq!(parse_args(&["components", "--schema"]).unwrap().command, Command::Schema(SchemaOf::Components));
        assert_eq!(
            parse_args(&["components", "--schema=config"]).unwrap().command,
            Command::Schema(SchemaOf::Configuration)
        );
        let message = "invalid schema \"x\": schemas are: components, config";
        assert_eq!(parse_args(&["components", "--schema=x"]).unwrap_err(), message);
    }

    #[test]
    fn queue_command_has_an_action_and_a_directory() {
        let command = |args: &[&str]| parse_args(args).map(|invocation| invocation.command);
        let queue = |action| Ok(Command::Queue { action, directory: "/data".to_owned() });
        assert_eq!(command(&["queue", "ls", "/data"]), queue(QueueAction::List));
        assert_eq!(command(&["queue", "verify", "/data"]), queue(QueueAction::Verify));
        assert_eq!(command(&["queue", "export", "/data"]), queue(QueueAction::Export { dead: false }));
        assert_eq!(command(&["queue", "export", "--dead", "/data"]), queue(QueueAction::Export { dead: true }));
        let replay = parse_args(&["queue", "replay", "/data", "--endpoint", "h:1", "--set=tls.insecure=true"]).unwrap();
        let action = QueueAction::Replay { endpoint: "h:1".to_owned() };
        assert_eq!((Ok(replay.command), replay.set), (queue(action), vec!["tls.insecure=true".to_owned()]));
        for (args, message) in [
            (&["queue"][..], "queue takes an action and a directory, received 0: "),
            (&["queue", "/data"], "queue takes an action and a directory, received 1: "),
            (&["queue", "rm", "/data"], "unknown action of queue: \"rm\": "),
            (&["queue", "replay", "/data"], "queue replay needs --endpoint: "),
            (&["queue", "ls", "--dead", "/data"], "unknown flag of queue ls: --dead: "),
            (&["queue", "verify", "--endpoint=x", "/data"], "unknown flag of queue verify: --endpoint: "),
            (&["--endpoint=x"], "unknown flag: --endpoint"),
            (&["validate", "--dead"], "unknown flag: --dead"),
        ] {
            let error = parse_args(args).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn mistake_has_the_message_of_cobra() {
        for (args, message) in [
            (&["--nope"][..], "unknown flag: --nope"),
            (&["--set", "foo"], "invalid argument \"foo\" for \"--set\" flag: missing equal sign"),
            (&["--config"], "flag needs an argument: --config"),
            (&["validate", "x"], "accepts 0 arg(s), received 1"),
            (&["valdate"], "unknown command \"valdate\" (did you mean \"validate\"?)"),
            (&["print-config", "--mode=x"], "invalid mode \"x\": modes are: redacted, unredacted"),
            (&["print-config", "--format=x"], "unrecognized print format: x"),
        ] {
            assert_eq!(parse_args(args).unwrap_err(), message);
        }
    }
}
