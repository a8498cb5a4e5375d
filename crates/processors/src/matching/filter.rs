//! One of `include` and `exclude`, compiled for a signal.

use otelcore_config::{NodeValue, Section};
use otelcore_pdata::views::AnyValue;
use otelcore_pdata::{Signal, Value, text};

use super::config::{AttributeMatchConfig, MatchConfig, MatchError, MatchType, SPAN_KINDS};
use super::texts::TextFilter;
use crate::value;

/// An attribute that must be there.
#[derive(Debug)]
struct AttributeFilter {
    key: Vec<u8>,
    test: ValueTest,
}

#[derive(Debug)]
enum ValueTest {
    Exists,
    /// Equal, of the same type. The entries of maps are sorted.
    Equals(Value),
    /// The text of a string, boolean or number matches; no other value does.
    Matches(TextFilter),
}

/// A compiled [`MatchConfig`]. A list that is absent matches everything.
#[derive(Debug, Default)]
pub(super) struct Filter {
    services: Option<TextFilter>,
    resources: Vec<AttributeFilter>,
    libraries: Vec<(TextFilter, Option<TextFilter>)>,
    /// Names of spans or metrics.
    names: Option<TextFilter>,
    /// By `SpanKind`, the last one for unknown kinds.
    kinds: Option<[bool; SPAN_KINDS.len() + 1]>,
    bodies: Option<TextFilter>,
    severity_texts: Option<TextFilter>,
    /// The lowest number, and whether zero matches.
    severity_number: Option<(i32, bool)>,
    attributes: Vec<AttributeFilter>,
}

/// What a filter reads of a span or log record.
pub(super) trait MatchedItem {
    /// The value of one of its attributes.
    fn attribute(&self, key: &[u8]) -> Option<AnyValue<'_>>;

    /// The name of a span.
    fn name(&self) -> &[u8] {
        &[]
    }

    /// The kind of a span.
    fn kind(&self) -> i32 {
        0
    }

    /// The body of a log record.
    fn body(&self) -> AnyValue<'_> {
        AnyValue::Empty
    }

    /// The severity text and number of a log record.
    fn severity(&self) -> (&[u8], i32) {
        (&[], 0)
    }
}

/// The value of an attribute of a resource.
pub(super) type GetAttribute<'a> = dyn Fn(&[u8]) -> Option<AnyValue<'a>> + 'a;

impl Filter {
    /// Checks the lists and compiles those that the signal has, in the order of the Go collector. `None`: there are none.
    pub(super) fn compile(config: &MatchConfig, signal: Signal) -> Result<Option<Self>, MatchError> {
        config.check_for(signal)?;
        if signal == Signal::Metrics {
            // `resources` has no effect on metrics, as in the Go collector.
            return Ok(metric_names(config)?.map(|names| Self { names: Some(names), ..Self::default() }));
        }
        let mut filter = Self {
            libraries: libraries(config)?,
            attributes: attributes(config, "attributes", &config.attributes)?,
            resources: attributes(config, "resources", &config.resources)?,
            ..Self::default()
        };
        if signal == Signal::Logs {
            filter.bodies = log_bodies(config)?;
            filter.severity_texts = severity_texts(config)?;
            filter.severity_number =
                config.log_severity_number.as_ref().map(|severity| (severity.min, severity.match_undefined));
        } else {
            filter.services = services(config)?;
            filter.names = span_names(config)?;
            filter.kinds = span_kinds(config)?;
        }
        Ok(Some(filter))
    }

    /// The attributes of resources alone.
    #[cfg(feature = "filter")]
    pub(super) fn of_resources(config: &MatchConfig) -> Result<Self, MatchError> {
        Ok(Self { resources: attributes(config, "resources", &config.resources)?, ..Self::default() })
    }

    /// Whether the resource matches.
    pub(super) fn matches_resource(&self, get: &GetAttribute<'_>, buffer: &mut Vec<u8>) -> bool {
        if let Some(services) = &self.services {
            buffer.clear();
            match get(b"service.name") {
                Some(name) => text::put_value(buffer, name),
                None => buffer.extend_from_slice(b"<nil-service-name>"),
            }
            if !services.matches(buffer) {
                return false;
            }
        }
        self.resources.iter().all(|filter| filter.matches(get(&filter.key), buffer))
    }

    /// Whether the instrumentation scope matches.
    pub(super) fn matches_scope(&self, name: &[u8], version: &[u8]) -> bool {
        let is_match = |(names, versions): &(TextFilter, Option<TextFilter>)| {
            names.matches(name) && versions.as_ref().is_none_or(|versions| versions.matches(version))
        };
        self.libraries.iter().all(is_match)
    }

    /// Whether the name of a span or metric matches.
    pub(super) fn matches_name(&self, name: &[u8]) -> bool {
        self.names.as_ref().is_none_or(|names| names.matches(name))
    }

    /// Whether it depends on the instrumentation scope.
    pub(super) fn reads_scopes(&self) -> bool {
        !self.libraries.is_empty()
    }

    /// Whether it depends on the item itself.
    pub(super) fn reads_items(&self) -> bool {
        self.names.is_some()
            || self.kinds.is_some()
            || self.bodies.is_some()
            || self.severity_texts.is_some()
            || self.severity_number.is_some()
            || !self.attributes.is_empty()
    }

    /// Whether the item itself matches.
    pub(super) fn matches_item(&self, item: &impl MatchedItem, buffer: &mut Vec<u8>) -> bool {
        if self.names.is_some() && !self.matches_name(item.name()) {
            return false;
        }
        if let Some(kinds) = &self.kinds {
            let kind = usize::try_from(item.kind()).ok().and_then(|kind| kinds.get(kind));
            if !kind.or_else(|| kinds.last()).is_some_and(|matches| *matches) {
                return false;
            }
        }
        if let Some(bodies) = &self.bodies {
            let is_match = match item.body() {
                AnyValue::String(body) => bodies.matches(body),
                body => {
                    buffer.clear();
                    text::put_value(buffer, body);
                    bodies.matches(buffer)
                }
            };
            if !is_match {
                return false;
            }
        }
        if self.severity_texts.is_some() || self.severity_number.is_some() {
            let (text, number) = item.severity();
            if self.severity_texts.as_ref().is_some_and(|texts| !texts.matches(text)) {
                return false;
            }
            if let Some((min, match_undefined)) = self.severity_number
                && !(if number == 0 { match_undefined } else { number >= min })
            {
                return false;
            }
        }
        self.attributes.iter().all(|filter| filter.matches(item.attribute(&filter.key), buffer))
    }

    /// Units of work that a byte of an item costs at most.
    pub(super) fn cost_per_byte(&self) -> u64 {
        let lists = [&self.services, &self.names, &self.bodies, &self.severity_texts];
        8 * (lists.into_iter().flatten().count() + self.attributes.len() + self.resources.len()) as u64
            + 8 * self.libraries.len() as u64
    }
}

impl AttributeFilter {
    fn matches(&self, value: Option<AnyValue<'_>>, buffer: &mut Vec<u8>) -> bool {
        let Some(value) = value else { return false };
        match &self.test {
            ValueTest::Exists => true,
            ValueTest::Equals(expected) => is_equal(expected, value),
            ValueTest::Matches(texts) => {
                buffer.clear();
                match value {
                    AnyValue::String(text) => return texts.matches(text),
                    AnyValue::Bool(_) | AnyValue::Int(_) => text::put_value(buffer, value),
                    AnyValue::Double(v) => otelcore_go_number::put_decimal(buffer, v),
                    AnyValue::Empty | AnyValue::Array(_) | AnyValue::Map(_) | AnyValue::Bytes(_) => return false,
                }
                texts.matches(buffer)
            }
        }
    }
}

fn is_equal(expected: &Value, value: AnyValue<'_>) -> bool {
    match (expected, value) {
        (Value::Empty, AnyValue::Empty) => true,
        (Value::String(a), AnyValue::String(b)) => a == b,
        (Value::Bool(a), AnyValue::Bool(b)) => *a == b,
        (Value::Int(a), AnyValue::Int(b)) => *a == b,
        (Value::Double(a), AnyValue::Double(b)) => *a == b,
        (Value::Array(_), AnyValue::Array(_)) | (Value::Map(_), AnyValue::Map(_)) => {
            is_same(expected, &sorted(Value::decode(value)))
        }
        _ => false,
    }
}

/// Equal inside of a list or map, where the Go collector compares hashes: doubles by their bits.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => a.to_bits() == b.to_bits(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && is_same(&a.1, &b.1))
        }
        _ => a == b,
    }
}

/// With the entries of every map sorted by key.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
        Value::Map(entries) => {
            let mut entries: Vec<_> = entries.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Map(entries)
        }
        other => other,
    }
}

// ---- the lists of a configuration -----------------------------------------------------------------------------------

impl MatchConfig {
    /// Reports the mistakes that do not depend on the signal. Called when the section has been read.
    pub(super) fn check(&mut self, s: &mut Section<'_>) {
        let mut reported = Vec::new();
        for error in all_errors(self) {
            if !reported.contains(&error.key) {
                s.start_error(&error.key, error.message).maybe_help(error.hint);
                reported.push(error.key);
            }
        }
    }
}

/// The mistakes of all lists, whatever the signal.
fn all_errors(config: &MatchConfig) -> Vec<MatchError> {
    let checks = [
        libraries(config).err(),
        attributes(config, "attributes", &config.attributes).err(),
        attributes(config, "resources", &config.resources).err(),
        services(config).err(),
        span_names(config).err(),
        config.check_span_kinds().err().or_else(|| span_kinds(config).err()),
        log_bodies(config).err(),
        severity_texts(config).err(),
        metric_names(config).err(),
    ];
    checks.into_iter().flatten().collect()
}

/// `None` for an empty list.
fn texts(config: &MatchConfig, key: &str, texts: &[String]) -> Result<Option<TextFilter>, MatchError> {
    if texts.is_empty() {
        return Ok(None);
    }
    TextFilter::compile(texts, config.match_type(), |index| format!("{key}[{index}]")).map(Some)
}

fn services(config: &MatchConfig) -> Result<Option<TextFilter>, MatchError> {
    texts(config, "services", &config.services).map_err(|e| e.prefixed("error creating service name filters"))
}

fn span_names(config: &MatchConfig) -> Result<Option<TextFilter>, MatchError> {
    texts(config, "span_names", &config.span_names).map_err(|e| e.prefixed("error creating span name filters"))
}

fn span_kinds(config: &MatchConfig) -> Result<Option<[bool; SPAN_KINDS.len() + 1]>, MatchError> {
    let kinds = texts(config, "span_kinds", &config.span_kinds);
    let kinds = kinds.map_err(|e| e.prefixed("error creating span kind filters"))?;
    Ok(kinds.map(|kinds| {
        let [a, b, c, d, e, f] = SPAN_KINDS.map(|kind| kinds.matches(kind.as_bytes()));
        [a, b, c, d, e, f, kinds.matches(b"")]
    }))
}

fn log_bodies(config: &MatchConfig) -> Result<Option<TextFilter>, MatchError> {
    texts(config, "log_bodies", &config.log_bodies).map_err(|e| e.prefixed("error creating log record body filters"))
}

fn severity_texts(config: &MatchConfig) -> Result<Option<TextFilter>, MatchError> {
    let texts = texts(config, "log_severity_texts", &config.log_severity_texts);
    texts.map_err(|e| e.prefixed("error creating log record severity text filters"))
}

pub(super) fn metric_names(config: &MatchConfig) -> Result<Option<TextFilter>, MatchError> {
    texts(config, "metric_names", &config.metric_names)
}

fn libraries(config: &MatchConfig) -> Result<Vec<(TextFilter, Option<TextFilter>)>, MatchError> {
    let one = |text: &String, index: usize, key: &str| {
        let path = || format!("libraries[{index}]::{key}");
        TextFilter::compile(std::slice::from_ref(text), config.match_type(), |_| path())
            .map_err(|e| e.prefixed(&format!("error creating library {key} filters")))
    };
    let compile = |(index, library): (usize, &super::config::LibraryMatchConfig)| {
        let name = one(&library.name, index, "name")?;
        let version = library.version.as_ref().map(|version| one(version, index, "version")).transpose()?;
        Ok((name, version))
    };
    config.libraries.iter().enumerate().map(compile).collect()
}

fn attributes(
    config: &MatchConfig,
    key: &str,
    list: &[AttributeMatchConfig],
) -> Result<Vec<AttributeFilter>, MatchError> {
    let what = if key == "resources" { "resource" } else { "attribute" };
    let compile = |(index, attribute): (usize, &AttributeMatchConfig)| {
        attribute_filter(config, attribute, &format!("{key}[{index}]"))
            .map_err(|e| e.prefixed(&format!("error creating {what} filters")))
    };
    list.iter().enumerate().map(compile).collect()
}

fn attribute_filter(
    config: &MatchConfig,
    attribute: &AttributeMatchConfig,
    path: &str,
) -> Result<AttributeFilter, MatchError> {
    if attribute.key.is_empty() {
        return Err(MatchError::new(format!("{path}::key"), "can't have empty key in the list of attributes"));
    }
    let key = attribute.key.as_bytes().to_vec();
    let Some(node) = attribute.value.as_ref().filter(|node| node.value != NodeValue::Null) else {
        return Ok(AttributeFilter { key, test: ValueTest::Exists });
    };
    let at_value = |message: String| MatchError::new(format!("{path}::value"), message);
    let value = value::from_config(node).map_err(at_value)?;
    let test = match (config.match_type()?, value) {
        (MatchType::Strict, value) => ValueTest::Equals(sorted(value)),
        (MatchType::Regexp, Value::String(pattern)) => {
            let pattern = String::from_utf8(pattern).unwrap_or_default();
            let texts = TextFilter::compile(&[pattern], Ok(MatchType::Regexp), |_| format!("{path}::value"))?;
            ValueTest::Matches(texts)
        }
        (MatchType::Regexp, other) => {
            return Err(at_value(format!(
                "match_type=regexp for {:?} only supports Str, but found {}",
                attribute.key,
                value::type_name(&other)
            )));
        }
    };
    Ok(AttributeFilter { key, test })
}
