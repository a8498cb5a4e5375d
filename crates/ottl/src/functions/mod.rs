//! Editors and converters.
//!
//! Each declares a [`crate::Function`]; [`STANDARD`] lists them. Nothing here reads paths by itself.

mod case;
mod common;
mod convert;
mod decode;
mod editors;
mod format;
mod grok;
mod hash;
mod lists;
mod network;
mod parse;
mod point_attributes;
mod replace;
mod root_span;
mod set;
mod severity;
mod strings;
#[cfg(test)]
mod tests;
mod times;
mod user_agent;
mod xml;
mod xml_tree;
mod xpath;

use otelcore_go_text::{csv, encodings, entries, json, url};

use crate::function::Function;

/// What conditions on spans may call beside the standard converters.
pub const SPAN_CONDITIONS: &[Function] = &[root_span::IS_ROOT_SPAN];

/// What conditions on metrics may call beside the standard converters.
pub const METRIC_CONDITIONS: &[Function] =
    &[point_attributes::HAS_ATTR_ON_DATAPOINT, point_attributes::HAS_ATTR_KEY_ON_DATAPOINT];

/// The functions that every context has.
pub const STANDARD: &[Function] = &[
    set::FUNCTION,
    editors::APPEND,
    editors::DELETE_INDEX,
    editors::DELETE_KEY,
    editors::DELETE_MATCHING_KEYS,
    editors::FLATTEN,
    editors::KEEP_KEYS,
    editors::KEEP_MATCHING_KEYS,
    editors::LIMIT,
    editors::MERGE_MAPS,
    editors::STRINGIFY_ALL,
    editors::TRUNCATE_ALL,
    replace::REPLACE_ALL_MATCHES,
    replace::REPLACE_ALL_PATTERNS,
    replace::REPLACE_MATCH,
    replace::REPLACE_PATTERN,
    convert::BOOL,
    convert::DOUBLE,
    convert::INT,
    convert::IS_BOOL,
    convert::IS_DOUBLE,
    convert::IS_INT,
    convert::IS_LIST,
    convert::IS_MAP,
    convert::IS_STRING,
    convert::IS_VALID_LUHN,
    convert::LEN,
    convert::LOG,
    convert::PARSE_INT,
    convert::PROFILE_ID,
    convert::SPAN_ID,
    convert::STRING,
    convert::TRACE_ID,
    decode::BASE64_DECODE,
    decode::BASE64_ENCODE,
    decode::DECODE,
    format::FORMAT,
    grok::EXTRACT_GROK_PATTERNS,
    hash::COMMUNITY_ID,
    hash::FNV,
    hash::HEX,
    hash::MD5,
    hash::MURMUR3_HASH,
    hash::MURMUR3_HASH128,
    hash::SHA1,
    hash::SHA256,
    hash::SHA512,
    hash::XXH128,
    hash::XXH3,
    lists::COALESCE,
    lists::CONTAINS_VALUE,
    lists::INDEX,
    lists::KEYS,
    lists::SLICE_TO_MAP,
    lists::SORT,
    lists::VALUES,
    network::IS_IN_CIDR,
    parse::PARSE_CSV,
    parse::PARSE_JSON,
    parse::PARSE_KEY_VALUE,
    parse::TO_KEY_VALUE_STRING,
    parse::URL,
    replace::EXTRACT_PATTERNS,
    replace::IS_MATCH,
    severity::PARSE_SEVERITY,
    strings::CONCAT,
    strings::CONVERT_CASE,
    strings::HAS_PREFIX,
    strings::HAS_SUFFIX,
    strings::SPLIT,
    strings::SUBSTRING,
    strings::TO_CAMEL_CASE,
    strings::TO_LOWER_CASE,
    strings::TO_SNAKE_CASE,
    strings::TO_UPPER_CASE,
    strings::TRIM,
    strings::TRIM_PREFIX,
    strings::TRIM_SUFFIX,
    times::DAY,
    times::DURATION,
    times::FORMAT_TIME,
    times::HOUR,
    times::HOURS,
    times::MICROSECONDS,
    times::MILLISECONDS,
    times::MINUTE,
    times::MINUTES,
    times::MONTH,
    times::NANOSECOND,
    times::NANOSECONDS,
    times::NOW,
    times::SECOND,
    times::SECONDS,
    times::TIME,
    times::TRUNCATE_TIME,
    times::UNIX,
    times::UNIX_MICRO,
    times::UNIX_MILLI,
    times::UNIX_NANO,
    times::UNIX_SECONDS,
    times::UUID,
    times::UUID_V7,
    times::WEEKDAY,
    times::YEAR,
    user_agent::USER_AGENT,
    xml::CONVERT_ATTRIBUTES_TO_ELEMENTS_XML,
    xml::CONVERT_TEXT_TO_ELEMENTS_XML,
    xml::GET_XML,
    xml::INSERT_XML,
    xml::PARSE_SIMPLIFIED_XML,
    xml::PARSE_XML,
    xml::REMOVE_XML,
];
