//! Checks the keys of an operator: those that its type has, and their values.

use otelcore_config::Section;

use crate::build::{self, BuildError};
use crate::config::OperatorConfig;

/// Keys that every operator has.
const COMMON: &[&str] = &["type", "id"];
/// Keys of operators that send entries on.
const WRITER: &[&str] = &["output"];
const TRANSFORMER: &[&str] = &["on_error", "if"];
const PARSER: &[&str] = &["parse_from", "parse_to", "body", "timestamp", "severity", "trace", "scope_name"];

/// The keys of a type, without those that all have. `None` for a type that is not known.
fn own_keys(operator_type: &str) -> Option<(&'static [&'static [&'static str]], &'static [&'static str])> {
    const P: &[&[&str]] = &[WRITER, TRANSFORMER, PARSER];
    const T: &[&[&str]] = &[WRITER, TRANSFORMER];
    Some(match operator_type {
        "container" => (P, &["format", "add_metadata_from_filepath", "max_log_size"]),
        "regex_parser" => (P, &["regex", "cache"]),
        "json_parser" => (P, &["parse_ints"]),
        "json_array_parser" => (P, &["header"]),
        "key_value_parser" => (P, &["delimiter", "pair_delimiter"]),
        "csv_parser" => {
            (P, &["header", "header_delimiter", "header_attribute", "delimiter", "lazy_quotes", "ignore_quotes"])
        }
        "uri_parser" => (P, &[]),
        "syslog_parser" => (
            P,
            &[
                "protocol",
                "location",
                "enable_octet_counting",
                "max_octets",
                "allow_skip_pri_header",
                "non_transparent_framing_trailer",
            ],
        ),
        "time_parser" => (T, &["parse_from", "layout", "layout_type", "location", "time_zone_locations"]),
        "severity_parser" => (T, &["parse_from", "preset", "mapping", "overwrite_text"]),
        "trace_parser" => (T, &["trace_id", "span_id", "trace_flags"]),
        "scope_name_parser" => (T, &["parse_from"]),
        "add" => (T, &["field", "value"]),
        "copy" | "move" => (T, &["from", "to"]),
        "remove" | "flatten" | "unquote" | "sanitize_utf8" => (T, &["field"]),
        "retain" => (T, &["fields"]),
        "assign_keys" => (T, &["field", "keys"]),
        "regex_replace" => (T, &["field", "regex", "regex_name", "replace_with"]),
        "filter" => (T, &["expr", "drop_ratio"]),
        "noop" => (T, &[]),
        "router" => (&[], &["routes", "default"]),
        "recombine" => (
            T,
            &[
                "is_first_entry",
                "is_last_entry",
                "combine_field",
                "combine_with",
                "source_identifier",
                "overwrite_with",
                "force_flush_period",
                "max_batch_size",
                "max_unmatched_batch_size",
                "max_sources",
                "max_log_size",
            ],
        ),
        _ => return None,
    })
}

impl OperatorConfig {
    pub(crate) fn check(&mut self, s: &mut Section<'_>) {
        let operator_type = self.type_name();
        if let Some((groups, own)) = own_keys(operator_type) {
            let known = |key: &str| groups.iter().chain([&COMMON, &own]).any(|group| group.contains(&key));
            for key in s.child_keys() {
                // A key that no operator has is reported when the section ends.
                let is_of_another = !known(&key.value) && is_key(&key.value);
                if is_of_another {
                    s.warn(&key.value, format!("'{}' has no effect on an operator of type {operator_type}", key.value));
                }
            }
        }
        if let Err(BuildError { key, message, hint }) = build::check(self) {
            s.start_error(key, message).maybe_help(hint);
        }
    }
}

/// Whether any operator has a key.
fn is_key(key: &str) -> bool {
    use otelcore_config::declare::Config;
    OperatorConfig::fields(&OperatorConfig::default()).iter().any(|field| field.key == key)
}
