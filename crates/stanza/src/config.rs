//! The keys of operators.
//!
//! One declaration has the keys of all operators. Which of them an operator has is decided by its `type`; another one that
//! is written is reported.

use std::time::Duration;

use otelcore_config::{ConfigNode, config_struct};

use crate::byte_size::ByteSize;

config_struct! {
    /// `parse_from` alone.
    pub struct ParseFromConfig {
        /// The field that is read.
        pub parse_from: Option<String>,
    }
}

config_struct! {
    /// `timestamp`: the time of the entry, from one of its fields.
    pub struct TimeConfig {
        /// The field that is read.
        pub parse_from: Option<String>,
        /// The layout of the time.
        pub layout: Option<String>,
        /// `strptime`, `gotime` or `epoch`.
        pub layout_type: Option<String>,
        /// The zone of times without one, such as `Europe/Paris`.
        pub location: Option<String>,
        /// Zones by abbreviations that the texts have, such as `EST: America/New_York`.
        pub time_zone_locations: Vec<(String, String)>,
    }
}

config_struct! {
    /// `severity`: the severity of the entry, from one of its fields.
    pub struct SeverityConfig {
        /// The field that is read.
        pub parse_from: Option<String>,
        /// `default`, `otel` or `none`: the words that are known without `mapping`.
        pub preset: Option<String>,
        /// Words, numbers, ranges (`{min: 1, max: 5}`) or classes (`4xx`) by severity.
        pub mapping: Option<ConfigNode>,
        /// The severity text becomes the name of the severity.
        pub overwrite_text: Option<bool>,
    }
}

config_struct! {
    /// `trace`: the trace context of the entry, from its fields.
    pub struct TraceConfig {
        /// The trace id.
        pub trace_id: Option<ParseFromConfig>,
        /// The span id.
        pub span_id: Option<ParseFromConfig>,
        /// The trace flags.
        pub trace_flags: Option<ParseFromConfig>,
    }
}

config_struct! {
    /// `routes`: the first whose expression holds gets the entry.
    pub struct RouteConfig {
        /// The condition.
        pub expr: String,
        /// The ids of the operators that the entry goes to.
        pub output: Vec<String>,
        /// Attributes that are added.
        pub attributes: Vec<(String, String)>,
    }
}

config_struct! {
    /// `cache` of `regex_parser`.
    pub struct CacheConfig {
        /// Results that are kept.
        #[config(ignored = "a match costs less than a look-up here")]
        pub size: Option<u16>,
    }
}

config_struct! {
    /// One operator. `type` decides which of the other keys it has.
    #[config(check = Self::check)]
    pub struct OperatorConfig {
        /// What it does: `add`, `assign_keys`, `container`, `copy`, `csv_parser`, `filter`, `flatten`, `json_array_parser`,
        /// `json_parser`, `key_value_parser`, `move`, `noop`, `recombine`, `regex_parser`, `regex_replace`, `remove`, `retain`,
        /// `router`, `sanitize_utf8`, `scope_name_parser`, `severity_parser`, `time_parser`, `trace_parser`,
        /// `unquote`, `uri_parser`.
        #[config(key = "type")]
        pub operator_type: Option<String>,
        /// Its name, for `output`; the type by default.
        pub id: Option<String>,
        /// The ids of the operators that its entries go to; the next one by default.
        pub output: Option<Vec<String>>,
        /// What is done with an entry that it can't process: `send`, `send_quiet`, `drop` or `drop_quiet`.
        pub on_error: Option<String>,
        /// The condition under which it is applied.
        #[config(key = "if")]
        pub condition: Option<String>,

        /// Of parsers: the field that is read; `body` by default.
        pub parse_from: Option<String>,
        /// Of parsers: the field that the result is written to; `attributes` by default.
        pub parse_to: Option<String>,
        /// Of parsers: the field of the result that becomes the body.
        pub body: Option<String>,
        /// Of parsers: the time of the entry.
        pub timestamp: Option<TimeConfig>,
        /// Of parsers: the severity of the entry.
        pub severity: Option<SeverityConfig>,
        /// Of parsers: the trace context of the entry.
        pub trace: Option<TraceConfig>,
        /// Of parsers: the name of the scope.
        pub scope_name: Option<ParseFromConfig>,

        /// Of `container`: `docker`, `crio` or `containerd`; detected by default.
        pub format: Option<String>,
        /// Of `container`: the names of pod, container and namespace are taken from the path of the file.
        pub add_metadata_from_filepath: Option<bool>,
        /// Of `container` and `recombine`: the longest joined entry; zero disables the limit.
        #[config(unit = "bytes")]
        pub max_log_size: Option<ByteSize>,

        /// Of `regex_parser` and `regex_replace`: the pattern.
        pub regex: Option<String>,
        /// Of `regex_parser`.
        pub cache: Option<CacheConfig>,
        /// Of `json_parser`: numbers without a fraction are integers.
        pub parse_ints: Option<bool>,
        /// Of `key_value_parser`: what is between key and value; of `csv_parser`: what is between two fields.
        pub delimiter: Option<String>,
        /// Of `key_value_parser`: what is between two pairs.
        pub pair_delimiter: Option<String>,
        /// Of `csv_parser` and `json_array_parser`: the keys of the fields.
        pub header: Option<String>,
        /// Of `csv_parser`: what is between two keys of the header.
        pub header_delimiter: Option<String>,
        /// Of `csv_parser`: the attribute that has the header.
        pub header_attribute: Option<String>,
        /// Of `csv_parser`: quotes may be anywhere in a field.
        pub lazy_quotes: Option<bool>,
        /// Of `csv_parser`: quotes are as any other character.
        pub ignore_quotes: Option<bool>,
        /// Of `syslog_parser`: `rfc3164`, `rfc5424` or `none`.
        pub protocol: Option<String>,
        /// Of `syslog_parser` and `time_parser`: the zone of times without one.
        pub location: Option<String>,
        /// Of `syslog_parser`: each message has its length in front.
        pub enable_octet_counting: Option<bool>,
        /// Of `syslog_parser`: the longest message with a length in front.
        pub max_octets: Option<i64>,
        /// Of `syslog_parser`: messages may have no priority.
        pub allow_skip_pri_header: Option<bool>,
        /// Of `syslog_parser`: `LF` or `NUL`.
        pub non_transparent_framing_trailer: Option<String>,
        /// Of `time_parser`: the layout.
        pub layout: Option<String>,
        /// Of `time_parser`: `strptime`, `gotime` or `epoch`.
        pub layout_type: Option<String>,
        /// Of `time_parser`: zones by abbreviations.
        pub time_zone_locations: Vec<(String, String)>,
        /// Of `severity_parser`: `default`, `otel` or `none`.
        pub preset: Option<String>,
        /// Of `severity_parser`: words, numbers, ranges or classes by severity.
        pub mapping: Option<ConfigNode>,
        /// Of `severity_parser`: the severity text becomes the name of the severity.
        pub overwrite_text: Option<bool>,
        /// Of `trace_parser`: the trace id.
        pub trace_id: Option<ParseFromConfig>,
        /// Of `trace_parser`: the span id.
        pub span_id: Option<ParseFromConfig>,
        /// Of `trace_parser`: the trace flags.
        pub trace_flags: Option<ParseFromConfig>,

        /// Of `add`, `assign_keys`, `flatten`, `regex_replace`, `remove`, `sanitize_utf8` and `unquote`: the field.
        pub field: Option<String>,
        /// Of `add`: the value, or an expression `EXPR(..)`.
        pub value: Option<ConfigNode>,
        /// Of `copy` and `move`: the field that is read.
        pub from: Option<String>,
        /// Of `copy` and `move`: the field that is written.
        pub to: Option<String>,
        /// Of `retain`: the fields that are kept.
        pub fields: Option<Vec<String>>,
        /// Of `assign_keys`: the keys of the values of a list.
        pub keys: Option<Vec<String>>,
        /// Of `filter`: entries for which it holds are dropped.
        pub expr: Option<String>,
        /// Of `filter`: the part of them that is dropped, from 0 to 1.
        pub drop_ratio: f64 = 1.0,
        /// Of `router`: conditions and outputs.
        pub routes: Vec<RouteConfig>,
        /// Of `router`: the ids of the operators that get the other entries.
        pub default: Option<Vec<String>>,
        /// Of `regex_replace`: `ansi_control_sequences` instead of a pattern.
        pub regex_name: Option<String>,
        /// Of `regex_replace`: the replacement, with references to groups such as `$1`.
        pub replace_with: Option<String>,

        /// Of `recombine`: holds for the first entry of a group.
        pub is_first_entry: Option<String>,
        /// Of `recombine`: holds for the last entry of a group.
        pub is_last_entry: Option<String>,
        /// Of `recombine`: the field that is joined.
        pub combine_field: Option<String>,
        /// Of `recombine`: what is put between two entries.
        pub combine_with: Option<String>,
        /// Of `recombine`: entries with the same value of this field are joined.
        pub source_identifier: Option<String>,
        /// Of `recombine`: `oldest` or `newest`, the entry whose other fields are kept.
        pub overwrite_with: Option<String>,
        /// Of `recombine`: a group that is as old is sent.
        pub force_flush_period: Option<Duration>,
        /// Of `recombine`: the most entries of a group; zero disables the limit.
        pub max_batch_size: Option<i64>,
        /// Of `recombine`: the same for groups in which no expression has held yet.
        pub max_unmatched_batch_size: Option<i64>,
        /// Of `recombine`: the most groups at a time.
        pub max_sources: Option<i64>,
    }
}

impl OperatorConfig {
    /// The type; empty where it is missing.
    #[must_use]
    pub fn type_name(&self) -> &str {
        self.operator_type.as_deref().unwrap_or_default()
    }
}
