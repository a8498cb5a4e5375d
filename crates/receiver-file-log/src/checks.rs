//! Checks the `file_log` section.

use otelcore_config::{ComponentId, GoDuration, Section};
use otelcore_go_regexp::GoRegexp;
use otelcore_go_text::encodings::Encoding;
use otelcore_stanza::{OperatorPipeline, TextTemplate};

use crate::config::{FileLogConfig, MultilineConfig};
use crate::glob::Pattern;
use crate::matcher::Matcher;

impl FileLogConfig {
    pub(crate) fn check(&mut self, s: &mut Section<'_>) {
        if self.include.is_empty() {
            s.start_error("include", "'include' must be specified").help("write `include: [/var/log/*.log]`");
        }
        for (key, patterns) in [("include", &self.include), ("exclude", &self.exclude)] {
            for pattern in patterns {
                if let Err(error) = Pattern::parse(pattern) {
                    s.start_error(key, format!("{key}: parse glob: {error}"));
                }
            }
        }
        if let Err((key, message)) = Matcher::new(self) {
            s.start_error(key, message);
        }
        self.check_sizes(s);
        self.check_words(s);
        if self.delete_after_read && self.start_at == "end" {
            s.start_error("delete_after_read", "'delete_after_read' cannot be used with 'start_at: end'");
        }
        self.check_header(s);
        for (key, templates) in [("attributes", &self.attributes), ("resource", &self.resource)] {
            for (name, text) in templates {
                if let Err(error) = TextTemplate::parse(text) {
                    s.start_error(key, format!("'{name}': {error}"));
                }
            }
        }
        if let Err((index, error)) = OperatorPipeline::build(&self.operators) {
            let key = format!("operators[{index}]::{}", error.key);
            s.start_error(&key, error.message).maybe_help(error.hint);
        }
        if !self.storage.is_empty()
            && let Err(e) = self.storage.parse::<ComponentId>()
        {
            s.error("storage", format!("'storage' {e}")).help("write the id of an extension such as `file_storage`");
        }
        if self.polls_to_archive > MAX_ARCHIVED_POLLS {
            let message = format!("'polls_to_archive' must be at most {MAX_ARCHIVED_POLLS}");
            s.start_error("polls_to_archive", message);
        }
        if self.storage.is_empty() && self.polls_to_archive > 0 {
            s.warn("polls_to_archive", "archiving is not supported in memory, please use a storage extension");
        }
    }

    fn check_sizes(&self, s: &Section<'_>) {
        if self.fingerprint_size.0 < 16 {
            s.start_error("fingerprint_size", "'fingerprint_size' must be at least 16 bytes");
        } else if self.fingerprint_size.0 > MAX_FINGERPRINT {
            s.start_error("fingerprint_size", format!("'fingerprint_size' must be at most {MAX_FINGERPRINT} bytes"));
        }
        if self.max_log_size.0 <= 0 {
            s.start_error("max_log_size", "'max_log_size' must be positive");
        } else if self.max_log_size.0 > MAX_LOG_SIZE {
            s.start_error("max_log_size", format!("'max_log_size' must be at most {MAX_LOG_SIZE} bytes"));
        }
        if self.max_concurrent_files < 1 {
            s.start_error("max_concurrent_files", "'max_concurrent_files' must be positive");
        }
        if self.max_batches < 0 {
            s.start_error("max_batches", "'max_batches' must not be negative");
        }
        if self.poll_interval <= GoDuration::ZERO {
            s.start_error("poll_interval", "non-positive interval for NewTicker").help("write `poll_interval: 200ms`");
        }
    }

    fn check_words(&self, s: &Section<'_>) {
        if !matches!(&*self.start_at, "end" | "beginning") {
            s.start_error("start_at", format!("invalid start_at location '{}'", self.start_at))
                .help("write `beginning` or `end`");
        }
        if !matches!(&*self.max_log_size_behavior, "split" | "truncate") {
            let message = "'max_log_size_behavior' must be either 'split' or 'truncate'";
            s.start_error("max_log_size_behavior", message);
        }
        if !matches!(&*self.on_truncate, "ignore" | "read_whole_file" | "read_new") {
            s.start_error("on_truncate", "'on_truncate' must be one of: ignore, read_whole_file, read_new");
        }
        if !matches!(&*self.compression, "" | "gzip" | "auto") {
            s.start_error("compression", format!("compression '{}' is not supported", self.compression))
                .help("write `gzip` or `auto`, or leave the key out");
        }
        let encoding = Encoding::of(self.encoding.as_bytes());
        if let Err(message) = &encoding {
            s.start_error("encoding", message.clone());
        }
        let MultilineConfig { line_start_pattern: start, line_end_pattern: end, .. } = &self.multiline;
        for (key, pattern) in [("line_start_pattern", start), ("line_end_pattern", end)] {
            if pattern.is_empty() {
                continue;
            }
            let place = format!("multiline::{key}");
            if self.encoding.eq_ignore_ascii_case("nop") {
                s.start_error(&place, format!("{key} should not be set when using nop encoding"));
            } else if let Err(error) = GoRegexp::compile(&format!("(?m){pattern}")) {
                let kind = if key == "line_start_pattern" { "start" } else { "end" };
                s.start_error(&place, format!("compile line {kind} regex: {error}")).help(error.hint());
            }
        }
        if !start.is_empty() && !end.is_empty() {
            s.start_error("multiline", "only one of line_start_pattern or line_end_pattern can be set");
        }
    }

    fn check_header(&self, s: &Section<'_>) {
        let Some(header) = &self.header else { return };
        if self.start_at == "end" {
            s.start_error("header", "'header' cannot be specified with 'start_at: end'");
        }
        if header.metadata_operators.is_empty() {
            let message =
                "invalid config for 'header': at least one operator must be specified for `metadata_operators`";
            s.start_error("header::metadata_operators", message);
        }
        if let Err(error) = GoRegexp::compile(&header.pattern) {
            s.start_error(
                "header::pattern",
                format!("invalid config for 'header': failed to compile `pattern`: {error}"),
            )
            .help(error.hint());
        }
        if header.metadata_operators.iter().any(|operator| operator.type_name() == "filter") {
            let message = "invalid config for 'header': operator of type filter is not allowed in `metadata_operators`";
            s.start_error("header::metadata_operators", message);
        }
        if let Err((index, error)) = OperatorPipeline::build(&header.metadata_operators) {
            let key = format!("header::metadata_operators[{index}]::{}", error.key);
            s.start_error(&key, error.message).maybe_help(error.hint);
        }
    }
}

/// The longest fingerprint: each file that is known takes as much memory.
const MAX_FINGERPRINT: i64 = 1 << 20;

/// The longest entry.
const MAX_LOG_SIZE: i64 = 1 << 30;

/// Each archived poll takes a look-up for each file that is new.
const MAX_ARCHIVED_POLLS: i64 = 10_000;
