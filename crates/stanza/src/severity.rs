//! Severities by the words, numbers and ranges that stand for them.

use std::collections::BTreeMap;

use otelcore_config::{ConfigNode, NodeValue};
use otelcore_expr::View;

use crate::entry::Entry;
use crate::field::Field;

/// The names of the severities, by number.
pub(crate) const NAMES: [&str; 25] = [
    "", "TRACE", "TRACE2", "TRACE3", "TRACE4", "DEBUG", "DEBUG2", "DEBUG3", "DEBUG4", "INFO", "INFO2", "INFO3",
    "INFO4", "WARN", "WARN2", "WARN3", "WARN4", "ERROR", "ERROR2", "ERROR3", "ERROR4", "FATAL", "FATAL2", "FATAL3",
    "FATAL4",
];

/// Words of the preset `default` beside the names.
const MORE_WORDS: [(&str, u8); 8] = [
    ("warning", 13),
    ("warning2", 14),
    ("warning3", 15),
    ("warning4", 16),
    ("err", 17),
    ("err2", 18),
    ("err3", 19),
    ("err4", 20),
];

/// The severity parser.
#[derive(Clone, Debug)]
pub(crate) struct SeverityParser {
    pub(crate) parse_from: Field,
    mapping: Mapping,
    overwrite_text: bool,
}

#[derive(Clone, Debug, Default)]
struct Mapping {
    words: BTreeMap<String, u8>,
    /// Of integers; the last one that has a number counts.
    ranges: Vec<(i64, i64, u8)>,
}

impl Mapping {
    fn preset(name: &str) -> Self {
        let mut words = BTreeMap::new();
        if name != "none" {
            for (number, name) in NAMES.iter().enumerate().skip(1) {
                let severity = u8::try_from(number).unwrap_or(0);
                words.insert(name.to_ascii_lowercase(), severity);
                words.insert(number.to_string(), severity);
            }
            if !matches!(name, "otel" | "aliases") {
                words.extend(MORE_WORDS.map(|(word, severity)| (word.to_owned(), severity)));
            }
        }
        Self { words, ranges: Vec::new() }
    }

    fn add(&mut self, severity: u8, value: &ConfigNode) -> Result<(), String> {
        match &value.value {
            NodeValue::Int(number) => {
                self.words.insert(number.to_string(), severity);
            }
            NodeValue::Str(word) => match &**word {
                "2xx" => self.add_range(200, 299, severity),
                "3xx" => self.add_range(300, 399, severity),
                "4xx" => self.add_range(400, 499, severity),
                "5xx" => self.add_range(500, 599, severity),
                word => {
                    self.words.insert(word.to_lowercase(), severity);
                }
            },
            NodeValue::Map(map) => {
                let bound = |key: &str| match map.get(key).map(|entry| &entry.node.value) {
                    Some(NodeValue::Int(number)) => i64::try_from(*number).ok(),
                    _ => None,
                };
                let (Some(a), Some(b)) = (bound("min"), bound("max")) else {
                    return Err("type map[string]interface {} cannot be parsed as a severity".to_owned());
                };
                self.add_range(a.min(b), a.max(b), severity);
            }
            other => return Err(format!("type {} cannot be parsed as a severity", other.go_type())),
        }
        Ok(())
    }

    /// Adds integers; they replace those that are known.
    fn add_range(&mut self, min: i64, max: i64, severity: u8) {
        self.words.retain(|word, _| !word.parse().is_ok_and(|number: i64| (min..=max).contains(&number)));
        self.ranges.push((min, max, severity));
    }

    fn find(&self, text: &[u8]) -> u8 {
        let lower = String::from_utf8_lossy(text).to_lowercase();
        if let Some(severity) = self.words.get(&lower) {
            return *severity;
        }
        // Only numbers as Go writes them: no zeros in front, no plus sign.
        let number = lower.parse::<i64>().ok().filter(|number| number.to_string() == lower);
        let Some(number) = number else { return 0 };
        let found = self.ranges.iter().rev().find(|(min, max, _)| (*min..=*max).contains(&number));
        found.map_or(0, |(.., severity)| *severity)
    }
}

impl SeverityParser {
    /// Compiles the keys of a severity parser. The error has its key.
    pub(crate) fn new(
        parse_from: Option<Field>,
        preset: Option<&str>,
        mapping: Option<&ConfigNode>,
        overwrite_text: bool,
    ) -> Result<Self, (&'static str, String)> {
        let mut compiled = Mapping::preset(preset.unwrap_or_default());
        if let Some(mapping) = mapping {
            let names = Mapping::preset("aliases");
            let NodeValue::Map(entries) = &mapping.value else {
                return Err(("mapping", format!("'mapping' expected a map, got '{}'", mapping.value.go_kind())));
            };
            for entry in entries {
                let severity = names.find(entry.key.as_bytes());
                let values = match &entry.node.value {
                    NodeValue::List(values) => &values[..],
                    NodeValue::Null => &[],
                    _ => std::slice::from_ref(&entry.node),
                };
                for value in values {
                    compiled.add(severity, value).map_err(|message| ("mapping", message))?;
                }
            }
        }
        let Some(parse_from) = parse_from else {
            return Err(("parse_from", "missing required field 'parse_from'".to_owned()));
        };
        Ok(Self { parse_from, mapping: compiled, overwrite_text })
    }

    /// Sets the severity of an entry.
    pub(crate) fn parse(&self, entry: &mut Entry) -> Result<(), String> {
        let Some(value) = self.parse_from.get(entry) else {
            let field = &self.parse_from;
            return Err(format!("log entry does not have the expected parse_from field: {field}"));
        };
        let mut text = match value {
            View::Int(number) => number.to_string().into_bytes(),
            View::Double(number) if number.fract() == 0.0 && number.abs() < 9.2e18 => {
                otelcore_go_number::truncate(number).to_string().into_bytes()
            }
            View::Double(_) => {
                return Err("parse: type float64 cannot be a severity unless it is a whole number".to_owned());
            }
            View::String(text) | View::Bytes(text) => text.to_vec(),
            other => return Err(format!("parse: type {} cannot be a severity", other.go_type())),
        };
        entry.severity = self.mapping.find(&text);
        if self.overwrite_text && entry.severity != 0 {
            text = NAMES.get(usize::from(entry.severity)).unwrap_or(&"").as_bytes().to_vec();
        }
        entry.severity_text = text;
        Ok(())
    }
}
