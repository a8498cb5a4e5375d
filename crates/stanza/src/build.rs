//! Compiles the keys of an operator.

use std::collections::BTreeMap;

use otelcore_config::{ConfigNode, NodeValue};
use otelcore_expr::{Map, Program, Value, key};
use otelcore_go_regexp::GoRegexp;

use crate::blocks::{ParserBlocks, TraceParser};
use crate::config::{OperatorConfig, ParseFromConfig};
use crate::field::Field;
use crate::operator::{Action, Operator, ParserAction, Route};
use crate::parsers::container::{Container, FILE_PATH, Format};
use crate::parsers::{
    CsvParser, Header, JsonArrayParser, JsonParser, KeyValueParser, Parse, RegexParser, UriParser, csv_keys, json_keys,
};
use crate::recombine::Recombine;
use crate::results::OnError;
use crate::severity::SeverityParser;
use crate::template::TextTemplate;
use crate::times::{TimeKeys, TimeParser};
use crate::transforms::{self, Added, Transform};

/// Why an operator can't be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    /// The key, below the operator.
    pub key: &'static str,
    /// The sentence of the Go collector.
    pub message: String,
    /// What to write.
    pub hint: Option<String>,
}

fn error(key: &'static str, message: impl Into<String>) -> BuildError {
    BuildError { key, message: message.into(), hint: None }
}

fn with_hint(key: &'static str, message: impl Into<String>, hint: impl Into<String>) -> BuildError {
    BuildError { key, message: message.into(), hint: Some(hint.into()) }
}

type Built<T> = Result<T, BuildError>;

/// Operators of the Go collector that are not built here, and why.
const NOT_SUPPORTED: [(&str, &str); 11] = [
    ("stdout", "an operator that prints entries is not supported; write them with the exporter `debug`"),
    ("file_output", "an operator that writes files is not supported; write them with the exporter `file`"),
    ("drop_output", "the operator is not supported; write `filter` with the expression `true`"),
    ("syslog_parser", "the operator `syslog_parser` is not supported yet"),
    ("generate_input", INPUT),
    ("file_input", INPUT),
    ("stdin", INPUT),
    ("tcp_input", INPUT),
    ("udp_input", INPUT),
    ("syslog_input", INPUT),
    ("journald_input", INPUT),
];

const INPUT: &str = "operators that read logs are not supported here: the receiver itself reads them";

/// Checks an operator.
pub(crate) fn check(config: &OperatorConfig) -> Built<()> {
    build(config).map(drop)
}

/// Compiles an operator. Its outputs are found when the pipeline is joined.
pub(crate) fn build(config: &OperatorConfig) -> Built<Operator> {
    let operator_type = config.type_name();
    if operator_type.is_empty() {
        return Err(with_hint("type", "missing required field 'type'", "write the type of the operator"));
    }
    if let Some((_, sentence)) = NOT_SUPPORTED.iter().find(|(name, _)| *name == operator_type) {
        return Err(error("type", *sentence));
    }
    let Some(type_name) = TYPES.iter().find(|name| **name == operator_type) else {
        return Err(with_hint(
            "type",
            format!("unsupported type '{operator_type}'"),
            format!("the types are {}", TYPES.join(", ")),
        ));
    };
    let condition = match &config.condition {
        Some(text) if !text.is_empty() => Some(
            Program::parse_condition(text)
                .map_err(|e| error("if", format!("failed to compile expression '{text}': {e}")))?,
        ),
        _ => None,
    };
    let on_error = match &config.on_error {
        None => OnError::Send,
        Some(text) => OnError::parse(text).ok_or_else(|| {
            with_hint(
                "on_error",
                "operator config has an invalid `on_error` field.",
                "write `send`, `send_quiet`, `drop` or `drop_quiet`",
            )
        })?,
    };
    Ok(Operator {
        id: config.id.clone().filter(|id| !id.is_empty()).unwrap_or_else(|| operator_type.to_owned()),
        type_name,
        on_error,
        condition,
        action: action(type_name, config)?,
        output_ids: config.output.clone().unwrap_or_default(),
        outputs: Vec::new(),
    })
}

/// The types of operators.
const TYPES: [&str; 25] = [
    "add",
    "assign_keys",
    "container",
    "copy",
    "csv_parser",
    "filter",
    "flatten",
    "json_array_parser",
    "json_parser",
    "key_value_parser",
    "move",
    "noop",
    "recombine",
    "regex_parser",
    "regex_replace",
    "remove",
    "retain",
    "router",
    "sanitize_utf8",
    "scope_name_parser",
    "severity_parser",
    "time_parser",
    "trace_parser",
    "unquote",
    "uri_parser",
];

fn action(type_name: &str, config: &OperatorConfig) -> Built<Action> {
    Ok(match type_name {
        "container" => Action::Container(Box::new(container(config)?)),
        "csv_parser" | "json_array_parser" | "json_parser" | "key_value_parser" | "regex_parser" | "uri_parser" => {
            let (parse_from, parse_to, blocks) = parser_fields(config)?;
            let parser = parser(type_name, config, &parse_from)?;
            Action::Parse(Box::new(ParserAction { parse_from, parse_to, blocks, parser }))
        }
        "recombine" => Action::Recombine(Box::new(recombine(config)?)),
        "filter" => {
            let text = config.expr.as_deref().unwrap_or_default();
            let condition = Program::parse_condition(text)
                .map_err(|e| error("expr", format!("failed to compile expression '{text}': {e}")))?;
            let ratio = config.drop_ratio;
            if !(0.0..=1.0).contains(&ratio) {
                return Err(error("drop_ratio", "drop_ratio must be a number between 0 and 1"));
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1000")]
            let drop_per_mille = (ratio * 1000.0) as u64;
            Action::Filter { condition, drop_per_mille }
        }
        "router" => Action::Router(routes(config)?),
        _ => Action::Transform(transform(type_name, config)?),
    })
}

fn field(key: &'static str, text: Option<&str>, is_rootable: bool) -> Built<Option<Field>> {
    let Some(text) = text else { return Ok(None) };
    let parsed = Field::parse(text, is_rootable);
    let hint = "write a field that begins with `body`, `attributes` or `resource`";
    parsed.map(Some).map_err(|message| with_hint(key, message, hint))
}

fn required_field(key: &'static str, text: Option<&str>, is_rootable: bool, missing: &str) -> Built<Field> {
    field(key, text, is_rootable)?
        .ok_or_else(|| with_hint(key, missing, "write a field that begins with `body`, `attributes` or `resource`"))
}

fn parser_fields(config: &OperatorConfig) -> Built<(Field, Field, ParserBlocks)> {
    let parse_from = field("parse_from", config.parse_from.as_deref(), false)?.unwrap_or_else(Field::body);
    let parse_to = field("parse_to", config.parse_to.as_deref(), true)?.unwrap_or_else(Field::attributes);
    let body = field("body", config.body.as_deref(), false)?;
    if body.is_some() && parse_to == Field::body() {
        return Err(error("parse_to", "`parse_to: body` not allowed when `body` is configured"));
    }
    let time = match &config.timestamp {
        None => None,
        Some(time) => {
            let keys = TimeKeys {
                parse_from: field("timestamp::parse_from", time.parse_from.as_deref(), false)?,
                layout: time.layout.as_deref().unwrap_or_default(),
                layout_type: time.layout_type.as_deref().unwrap_or_default(),
                location: time.location.as_deref().unwrap_or_default(),
                time_zone_locations: &time.time_zone_locations,
            };
            Some(TimeParser::new(keys).map_err(|(_, message)| error("timestamp", message))?)
        }
    };
    let severity = match &config.severity {
        None => None,
        Some(severity) => {
            let parse_from = field("severity::parse_from", severity.parse_from.as_deref(), false)?;
            let overwrite = severity.overwrite_text.unwrap_or(false);
            let parser =
                SeverityParser::new(parse_from, severity.preset.as_deref(), severity.mapping.as_ref(), overwrite);
            Some(parser.map_err(|(_, message)| error("severity", message))?)
        }
    };
    let trace = match &config.trace {
        None => None,
        Some(trace) => {
            let ids = [&trace.trace_id, &trace.span_id, &trace.trace_flags];
            Some(trace_parser("trace", ids)?)
        }
    };
    let scope_name = match &config.scope_name {
        None => None,
        Some(scope) => {
            let missing = "missing required field 'parse_from'";
            Some(required_field("scope_name::parse_from", scope.parse_from.as_deref(), false, missing)?)
        }
    };
    Ok((parse_from, parse_to, ParserBlocks { body, time, severity, trace, scope_name }))
}

fn trace_parser(key: &'static str, ids: [&Option<ParseFromConfig>; 3]) -> Built<TraceParser> {
    let id = |config: &Option<ParseFromConfig>, default| {
        let text = config.as_ref().and_then(|config| config.parse_from.as_deref());
        Ok(field(key, text, false)?.unwrap_or_else(|| Field::body_key(default)))
    };
    let [trace_id, span_id, trace_flags] = ids;
    Ok(TraceParser {
        trace_id: id(trace_id, "trace_id")?,
        span_id: id(span_id, "span_id")?,
        trace_flags: id(trace_flags, "trace_flags")?,
    })
}

fn one_char(key: &'static str, text: &str) -> Built<char> {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => Ok(c),
        _ => Err(error(key, format!("invalid '{key}': '{text}'"))),
    }
}

fn pattern(key: &'static str, text: &str, prefix: &str) -> Built<GoRegexp> {
    GoRegexp::compile(text).map_err(|e| with_hint(key, format!("{prefix}{e}"), e.hint()))
}

fn parser(type_name: &str, config: &OperatorConfig, parse_from: &Field) -> Built<Box<dyn Parse>> {
    Ok(match type_name {
        "json_parser" => Box::new(JsonParser { parse_ints: config.parse_ints.unwrap_or(false) }),
        "json_array_parser" => {
            let header = config.header.as_deref().filter(|header| !header.is_empty());
            Box::new(JsonArrayParser { header: header.map(json_keys) })
        }
        "key_value_parser" => {
            let delimiter = config.delimiter.as_deref().unwrap_or("=");
            let pair_delimiter = config.pair_delimiter.as_deref().filter(|text| !text.is_empty()).unwrap_or(" ");
            if delimiter.is_empty() {
                return Err(error("delimiter", "delimiter is a required parameter"));
            }
            if delimiter == pair_delimiter {
                return Err(error("delimiter", "delimiter and pair_delimiter cannot be the same value"));
            }
            Box::new(KeyValueParser {
                delimiter: delimiter.as_bytes().to_vec(),
                pair_delimiter: pair_delimiter.as_bytes().to_vec(),
                parse_from: parse_from.clone(),
            })
        }
        "regex_parser" => {
            let text = config.regex.as_deref().unwrap_or_default();
            if text.is_empty() {
                return Err(error("regex", "missing required field 'regex'"));
            }
            let compiled = pattern("regex", text, "compiling regex: ")?;
            if compiled.group_names().iter().all(String::is_empty) {
                return Err(with_hint(
                    "regex",
                    "no named capture groups in regex pattern",
                    "use named capture groups like '^(?P<my_key>.*)$' to specify the key name for the parsed field",
                ));
            }
            Box::new(RegexParser::new(compiled))
        }
        "csv_parser" => Box::new(csv_parser(config)?),
        _ => Box::new(UriParser),
    })
}

fn csv_parser(config: &OperatorConfig) -> Built<CsvParser> {
    let delimiter = config.delimiter.as_deref().filter(|text| !text.is_empty()).unwrap_or(",");
    let header_delimiter = config.header_delimiter.as_deref().filter(|text| !text.is_empty()).unwrap_or(delimiter);
    let (is_lazy, ignores_quotes) = (config.lazy_quotes.unwrap_or(false), config.ignore_quotes.unwrap_or(false));
    if is_lazy && ignores_quotes {
        return Err(error("ignore_quotes", "only one of 'ignore_quotes' or 'lazy_quotes' can be true"));
    }
    let delimiter = one_char("delimiter", delimiter)?;
    let header_delimiter = one_char("header_delimiter", header_delimiter)?;
    let text = |key: &Option<String>| key.clone().filter(|text| !text.is_empty());
    let header = match (text(&config.header), text(&config.header_attribute)) {
        (None, None) => return Err(error("header", "missing required field 'header' or 'header_attribute'")),
        (Some(_), Some(_)) => {
            let message = "only one header parameter can be set: 'header' or 'header_attribute'";
            return Err(error("header", message));
        }
        (Some(header), None) if !header.contains(header_delimiter) => {
            return Err(error("header", "missing field delimiter in header"));
        }
        (Some(header), None) => Header::Keys(csv_keys(&header, header_delimiter)),
        (None, Some(attribute)) => Header::Attribute(attribute.into_bytes(), header_delimiter),
    };
    Ok(CsvParser { header, delimiter, is_lazy, ignores_quotes })
}

fn container(config: &OperatorConfig) -> Built<Container> {
    let fields = parser_fields(config)?;
    let format = match config.format.as_deref() {
        None | Some("") => None,
        Some(text) => Some(Format::parse(text).ok_or_else(|| {
            with_hint(
                "format",
                "operator config has an invalid `format` field.",
                "write `docker`, `crio` or `containerd`",
            )
        })?),
    };
    let condition = Program::parse_condition("attributes.logtag == 'F'").map_err(|e| error("type", e))?;
    let recombine = Recombine {
        matches_first: false,
        condition,
        max_batch_size: 0,
        max_unmatched_batch_size: 0,
        max_log_size: config.max_log_size.map_or(1 << 20, crate::ByteSize::as_usize),
        max_sources: 1000,
        overwrite_with_newest: false,
        combine_field: Field::body(),
        combine_with: Vec::new(),
        source_identifier: Field::attribute(FILE_PATH),
        force_flush_nanos: 5_000_000_000,
        batches: BTreeMap::new(),
        kept_bytes: 0,
    };
    let adds_metadata = config.add_metadata_from_filepath.unwrap_or(true);
    Container::new(format, adds_metadata, fields, recombine).map_err(|e| error("type", e))
}

fn recombine(config: &OperatorConfig) -> Built<Recombine> {
    let text = |key: &Option<String>| key.clone().filter(|text| !text.is_empty());
    let (matches_first, key, condition) = match (text(&config.is_first_entry), text(&config.is_last_entry)) {
        (Some(_), Some(_)) => {
            return Err(error("is_first_entry", "only one of is_first_entry and is_last_entry can be set"));
        }
        (None, None) => {
            return Err(error("is_first_entry", "one of is_first_entry and is_last_entry must be set"));
        }
        (Some(first), None) => (true, "is_first_entry", first),
        (None, Some(last)) => (false, "is_last_entry", last),
    };
    let condition =
        Program::parse_condition(&condition).map_err(|e| error(key, format!("failed to compile {key}: {e}")))?;
    let missing = "missing required argument 'combine_field'";
    let combine_field = required_field("combine_field", config.combine_field.as_deref(), false, missing)?;
    let overwrite_with_newest = match config.overwrite_with.as_deref() {
        Some("newest") => true,
        None | Some("oldest" | "") => false,
        Some(other) => {
            let message = format!("invalid value '{other}' for parameter 'overwrite_with'");
            return Err(error("overwrite_with", message));
        }
    };
    let period = config.force_flush_period.unwrap_or(std::time::Duration::from_secs(5));
    if period.is_zero() {
        return Err(error("force_flush_period", "non-positive interval for NewTicker"));
    }
    let source = field("source_identifier", config.source_identifier.as_deref(), false)?;
    let size = |value: Option<i64>, default: usize| value.map_or(default, |value| usize::try_from(value).unwrap_or(0));
    Ok(Recombine {
        matches_first,
        condition,
        max_batch_size: size(config.max_batch_size, 1000),
        max_unmatched_batch_size: size(config.max_unmatched_batch_size, 100),
        max_log_size: config.max_log_size.map_or(0, crate::ByteSize::as_usize),
        max_sources: size(config.max_sources, 1000),
        overwrite_with_newest,
        combine_field,
        combine_with: config.combine_with.clone().unwrap_or_else(|| "\n".to_owned()).into_bytes(),
        source_identifier: source.unwrap_or_else(|| Field::attribute(FILE_PATH)),
        force_flush_nanos: u64::try_from(period.as_nanos()).unwrap_or(u64::MAX),
        batches: BTreeMap::new(),
        kept_bytes: 0,
    })
}

fn routes(config: &OperatorConfig) -> Built<Vec<Route>> {
    let default = config.default.as_ref().map(|output| ("true".to_owned(), output.clone(), &[][..]));
    let routes = config.routes.iter().map(|route| (route.expr.clone(), route.output.clone(), &route.attributes[..]));
    let mut compiled = Vec::new();
    for (expr, output_ids, attributes) in routes.chain(default) {
        let condition = Program::parse_condition(&expr)
            .map_err(|e| error("routes", format!("failed to compile expression '{expr}': {e}")))?;
        let mut templates = Vec::with_capacity(attributes.len());
        for (name, text) in attributes {
            let template = TextTemplate::parse(text)
                .map_err(|e| error("routes", format!("failed to build attributer for route '{expr}': {e}")))?;
            templates.push((name.clone(), template));
        }
        compiled.push(Route { condition, attributes: templates, output_ids, outputs: Vec::new() });
    }
    Ok(compiled)
}

/// A value of the configuration.
fn value_of(node: &ConfigNode) -> Value {
    match &node.value {
        NodeValue::Null => Value::Nil,
        NodeValue::Bool(v) => Value::Bool(*v),
        NodeValue::Int(v) => Value::Int(i64::try_from(*v).unwrap_or(i64::MAX)),
        NodeValue::Float(v) => Value::Double(*v),
        NodeValue::Str(text) => Value::string(text.as_bytes()),
        NodeValue::List(items) => Value::Array(items.iter().map(value_of).collect()),
        NodeValue::Map(map) => {
            let entries = map.iter().map(|entry| (key(entry.key.as_bytes()), value_of(&entry.node)));
            Value::Map(entries.collect::<Map>())
        }
    }
}

fn transform(type_name: &str, config: &OperatorConfig) -> Built<Box<dyn Transform>> {
    let missing_field = format!("{type_name}: field is empty");
    let own_field = |is_rootable| required_field("field", config.field.as_deref(), is_rootable, &missing_field);
    Ok(match type_name {
        "add" => add(config, own_field(false)?)?,
        "copy" | "move" => {
            let from = required_field("from", config.from.as_deref(), false, "copy: missing from field")?;
            let to = required_field("to", config.to.as_deref(), false, "copy: missing to field")?;
            if type_name == "copy" { transforms::copy(from, to) } else { transforms::move_field(from, to) }
        }
        "remove" => transforms::remove(own_field(true)?),
        "retain" => {
            let fields = config.fields.as_deref().unwrap_or_default();
            if fields.is_empty() {
                return Err(error("fields", "retain: 'fields' is empty"));
            }
            let parsed = fields.iter().map(|text| required_field("fields", Some(text), false, ""));
            transforms::retain(parsed.collect::<Built<Vec<_>>>()?)
        }
        "flatten" => transforms::flatten(own_field(false)?),
        "assign_keys" => {
            let keys = config.keys.as_deref().unwrap_or_default();
            if keys.is_empty() {
                return Err(error("keys", "assign_keys missing required field keys"));
            }
            transforms::assign_keys(own_field(false)?, keys.iter().map(|name| key(name.as_bytes())).collect())
        }
        "regex_replace" => {
            let (name, text) = (config.regex_name.as_deref().unwrap_or(""), config.regex.as_deref().unwrap_or(""));
            if name.is_empty() == text.is_empty() {
                return Err(error("regex", "either regex or regex_name must be set"));
            }
            let compiled = match name {
                "" => pattern("regex", text, "")?,
                "ansi_control_sequences" => pattern("regex_name", r"\x1B\[[\x30-\x3F]*[\x20-\x2F]*[\x40-\x7E]", "")?,
                other => return Err(error("regex_name", format!("regex_name {other} is unknown"))),
            };
            let replacement = config.replace_with.as_deref().unwrap_or_default();
            transforms::regex_replace(own_field(false)?, compiled, replacement)
        }
        "unquote" => transforms::unquote_field(own_field(false)?),
        "sanitize_utf8" => {
            let field = field("field", config.field.as_deref(), false)?.unwrap_or_else(Field::body);
            transforms::sanitize_utf8(field)
        }
        "time_parser" => {
            let keys = TimeKeys {
                parse_from: field("parse_from", config.parse_from.as_deref(), false)?,
                layout: config.layout.as_deref().unwrap_or_default(),
                layout_type: config.layout_type.as_deref().unwrap_or_default(),
                location: config.location.as_deref().unwrap_or_default(),
                time_zone_locations: &config.time_zone_locations,
            };
            transforms::time(TimeParser::new(keys).map_err(|(key, message)| error(key, message))?)
        }
        "severity_parser" => {
            let parse_from = field("parse_from", config.parse_from.as_deref(), false)?;
            let overwrite = config.overwrite_text.unwrap_or(false);
            let parser = SeverityParser::new(parse_from, config.preset.as_deref(), config.mapping.as_ref(), overwrite);
            transforms::severity(parser.map_err(|(key, message)| error(key, message))?)
        }
        "trace_parser" => {
            let ids = [&config.trace_id, &config.span_id, &config.trace_flags];
            transforms::trace(trace_parser("trace_id", ids)?)
        }
        "scope_name_parser" => {
            let missing = "missing required field 'parse_from'";
            transforms::scope_name(required_field("parse_from", config.parse_from.as_deref(), false, missing)?)
        }
        _ => transforms::noop(),
    })
}

fn add(config: &OperatorConfig, field: Field) -> Built<Box<dyn Transform>> {
    let Some(node) = &config.value else {
        return Err(with_hint("value", "add: missing required field 'value'", "write a value, or `EXPR(..)`"));
    };
    let expression = node.as_str().and_then(|text| text.strip_prefix("EXPR(")?.strip_suffix(')'));
    let added = match expression {
        None => Added::Value(value_of(node)),
        Some(expression) => {
            let compiled = Program::parse(expression);
            Added::Expression(
                compiled.map_err(|e| error("value", format!("failed to compile expression '{expression}': {e}")))?,
            )
        }
    };
    Ok(transforms::add(field, added))
}

/// The variables of the process's environment that expressions of operators name.
#[must_use]
pub fn env_names(configs: &[OperatorConfig]) -> Vec<String> {
    let mut names = Vec::new();
    for config in configs {
        let value = config.value.as_ref().and_then(ConfigNode::as_str);
        let value = value.and_then(|text| text.strip_prefix("EXPR(")?.strip_suffix(')'));
        let texts = [&config.condition, &config.expr, &config.is_first_entry, &config.is_last_entry];
        let texts = texts.into_iter().flatten().map(String::as_str);
        let routes = config.routes.iter().map(|route| route.expr.as_str());
        for text in texts.chain(value).chain(routes) {
            names.extend(Program::parse(text).map(|program| program.env_names()).unwrap_or_default());
        }
        let templates = config.routes.iter().flat_map(|route| &route.attributes);
        for (_, text) in templates {
            names.extend(TextTemplate::parse(text).map(|template| template.env_names()).unwrap_or_default());
        }
    }
    names
}
