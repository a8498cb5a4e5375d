//! Flags and subcommands.

use std::ffi::OsString;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};

use super::table::{COMMANDS, CommandInfo, flags_named};

/// What a command line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Command {
    Run,
    /// Of the program, or of one subcommand.
    Help(Option<&'static CommandInfo>),
    Version,
    /// Prints the completions of this shell.
    Completions(String),
    Components,
    /// Describes the components of this type.
    Component(String),
    Schema(SchemaOf),
    FeatureGate(Option<String>),
    /// Explains one code, or lists all.
    Explain(Option<String>),
    Validate {
        /// Draws the pipelines, and explains each diagnostic.
        explain: bool,
    },
    /// Reads or sends what is in queues on disk.
    Queue {
        action: QueueAction,
        directory: String,
    },
    PrintConfig {
        redact: bool,
        json: bool,
        validate: bool,
        annotate: bool,
    },
    /// Prints what passes an edge, or lists the edges.
    Tap {
        edge: Option<String>,
        flags: GivenFlags,
    },
    /// Shows the state of a running collector.
    Top {
        url: Option<String>,
        flags: GivenFlags,
    },
    /// Makes test telemetry: the signals that are named.
    Send {
        signals: Vec<String>,
        flags: GivenFlags,
    },
}

/// The flags of a subcommand that were given, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct GivenFlags(Vec<(&'static str, Option<String>)>);

impl GivenFlags {
    /// The value of a flag; the last one, where it is repeated.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).last()
    }

    /// The values of a flag that may be repeated.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(given, _)| *given == name).filter_map(|(_, value)| value.as_deref())
    }

    /// Whether a flag without a value is on; `otherwise` where it is not given.
    pub(super) fn is_on(&self, name: &str, otherwise: bool) -> bool {
        let given = self.0.iter().rfind(|(given, _)| *given == name);
        given.map_or(otherwise, |(_, value)| value.as_deref().is_none_or(|value| value != "false" && value != "0"))
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(given, _)| *given == name)
    }
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
    let mut flags = GivenFlags::default();
    let mut wants_help = false;
    let mut subcommand: Option<String> = None;
    let mut positional = Vec::new();
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => wants_help = true,
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
            Arg::Long(name) if flags_named(name).next().is_some() => {
                let Some(flag) = flags_named(name).next() else { continue };
                let given = match flag.value.is_separate() {
                    true => Some(value(&mut parser, flag.name)?),
                    false => parser.optional_value().map(|value| value.to_string_lossy().into_owned()),
                };
                flags.0.push((flag.name, given));
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
    if wants_help {
        let command = subcommand.as_deref().and_then(CommandInfo::find);
        return Ok(Invocation { command: Command::Help(command), ..invocation });
    }
    invocation.command = command(subcommand.as_deref(), positional, flags)?;
    Ok(invocation)
}

/// The command of this name, with its arguments and flags.
fn command(name: Option<&str>, mut positional: Vec<String>, flags: GivenFlags) -> Result<Command, String> {
    let info = match name {
        // The name that the Go collector had before.
        Some("print-initial-config") => CommandInfo::find("print-config"),
        Some(name) => Some(CommandInfo::find(name).ok_or_else(|| unknown_command(name))?),
        None => None,
    };
    for (name, value) in &flags.0 {
        let Some(flag) = info.and_then(|info| info.flag(name)) else { return Err(format!("unknown flag: --{name}")) };
        let words = flag.value.words();
        if let Some(value) = value.as_deref().filter(|value| !words.is_empty() && !words.contains(value)) {
            return Err(match *name {
                "mode" => format!("invalid mode {value:?}: modes are: redacted, unredacted"),
                "format" => format!("unrecognized print format: {value}"),
                "schema" => format!("invalid schema {value:?}: schemas are: components, config"),
                name => format!("invalid argument {value:?} for \"--{name}\" flag: write one of {}", words.join(", ")),
            });
        }
    }
    let Some(info) = info else { return Ok(Command::Run) };
    if positional.len() > info.max_arguments {
        return Err(format!("accepts {} arg(s), received {}", info.max_arguments, positional.len()));
    }
    Ok(match info.name {
        "completions" => {
            let shell = positional.pop().filter(|shell| ["bash", "fish", "zsh"].contains(&shell.as_str()));
            Command::Completions(shell.ok_or("write `completions bash`, `completions fish` or `completions zsh`")?)
        }
        "components" => match (flags.has("schema"), positional.pop()) {
            (true, Some(_)) => return Err("--schema is of all components: leave out the type".to_owned()),
            (true, None) if flags.value("schema") == Some("config") => Command::Schema(SchemaOf::Configuration),
            (true, None) => Command::Schema(SchemaOf::Components),
            (false, Some(type_name)) => Command::Component(type_name),
            (false, None) => Command::Components,
        },
        "explain" => Command::Explain(positional.pop()),
        "featuregate" => Command::FeatureGate(positional.pop()),
        "help" => Command::Help(match positional.pop() {
            Some(name) => Some(CommandInfo::find(&name).ok_or_else(|| unknown_command(&name))?),
            None => None,
        }),
        "print-config" => Command::PrintConfig {
            redact: flags.value("mode") != Some("unredacted"),
            json: flags.value("format") == Some("json"),
            validate: flags.is_on("validate", true),
            annotate: flags.is_on("annotate", false),
        },
        "queue" => {
            return queue(positional, flags.value("endpoint").map(str::to_owned), flags.is_on("dead", false));
        }
        "send" => Command::Send { signals: positional, flags },
        "tap" => Command::Tap { edge: positional.pop(), flags },
        "top" => Command::Top { url: positional.pop(), flags },
        "validate" => Command::Validate { explain: flags.is_on("explain", false) },
        name => return Err(unknown_command(name)),
    })
}

fn unknown_command(name: &str) -> String {
    let known: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    let suggestion =
        otelcore_config::nearest_name(name, known).map_or_else(String::new, |n| format!(" (did you mean {n:?}?)"));
    format!("unknown command {name:?}{suggestion}")
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
        let flag = flags_named(name).next();
        let takes_value =
            flag.is_some_and(|flag| flag.value.is_separate()) || old_flag.is_some_and(|(.., has_value)| *has_value);
        is_value = takes_value && !has_inline_value;
        let is_known = flag.is_some() || old_flag.is_some();
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
        assert_eq!((got.command, got.config), (Command::Validate { explain: false }, vec!["a".to_owned()]));
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
            Command::PrintConfig { redact: false, json: false, validate: true, annotate: false }
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
