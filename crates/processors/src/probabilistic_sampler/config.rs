//! The configuration of `probabilistic_sampler`, and its rules.

use otelcore_config::{Section, config_struct};

use super::sampling::{DIGITS, MIN_PROBABILITY, threshold_of};

config_struct! {
    /// Passes on a share of spans and log records.
    #[config(check = Self::check)]
    pub struct ProbabilisticSamplerConfig {
        /// The share that is passed on; 100 and more is everything, zero nothing.
        #[config(unit = "%")]
        pub sampling_percentage: f64 = 0.0,
        /// Changes the hash of the mode `hash_seed`. Collectors that sample one after another need different seeds,
        /// those beside each other the same.
        pub hash_seed: u32 = 0,
        /// `hash_seed` (the default: a hash of the trace id decides), `equalizing` (items have the percentage afterwards,
        /// whatever has been sampled before) or `proportional` (the percentage of those that arrive). The last two are
        /// consistent probability sampling of OpenTelemetry: threshold and randomness are in the tracestate, or in
        /// attributes of log records.
        pub mode: String,
        /// Whether items are dropped whose tracestate is not valid or that have no randomness. Otherwise they are passed
        /// on.
        pub fail_closed: bool = true,
        /// Hexadecimal digits of a threshold, from 1 to 14.
        pub sampling_precision: i64 = 4,
        /// For logs: `traceID` (the attribute of `from_attribute` is used where there is no trace id) or `record` (the
        /// attribute is used always).
        pub attribute_source: String = "traceID".to_owned(),
        /// For logs: the attribute that the mode `hash_seed` hashes.
        pub from_attribute: String,
        /// For logs: the attribute with the percentage for a record.
        pub sampling_priority: String,
    }
}

const MODES: [&str; 4] = ["", "hash_seed", "equalizing", "proportional"];

impl ProbabilisticSamplerConfig {
    #[expect(clippy::cast_possible_truncation, reason = "as the Go collector reads it")]
    fn check(&mut self, s: &mut Section<'_>) {
        let percentage = self.sampling_percentage as f32;
        let ratio = f64::from(percentage) / 100.0;
        if !percentage.is_finite() {
            let text = if percentage.is_nan() {
                "NaN"
            } else if percentage > 0.0 {
                "+Inf"
            } else {
                "-Inf"
            };
            s.error("sampling_percentage", format!("sampling rate is invalid: {text}%"));
        } else if ratio < 0.0 {
            s.error("sampling_percentage", format!("sampling rate is negative: {percentage:.6}%"));
        } else if ratio > 0.0 && ratio < MIN_PROBABILITY {
            s.error("sampling_percentage", format!("sampling rate is too small: {}%", go_exponent(percentage)));
        }
        if !matches!(self.attribute_source.as_str(), "" | "traceID" | "record") {
            s.error(
                "attribute_source",
                format!("invalid attribute source: {}. Expected: traceID or record", self.attribute_source),
            );
        }
        if self.sampling_precision <= 0 {
            s.error("sampling_precision", format!("invalid sampling precision: {}", self.sampling_precision));
        } else if self.sampling_precision > i64::from(DIGITS) {
            s.error(
                "sampling_precision",
                format!("sampling precision is too great, should be <= 14: {}", self.sampling_precision),
            );
        }
        if !MODES.contains(&self.mode.as_str()) {
            s.error("mode", format!("unsupported sampler mode {:?}", self.mode))
                .help("write `hash_seed`, `equalizing` or `proportional`");
        }
    }
}

/// A small number as `%g` of Go writes it: at least two digits of exponent.
fn go_exponent(v: f32) -> String {
    let text = format!("{v:e}");
    match text.split_once("e-") {
        Some((digits, exponent)) => format!("{digits}e-{exponent:0>2}"),
        None => text,
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum SamplerMode {
    Never,
    Hashing { threshold: u64 },
    Equalizing { threshold: u64 },
    Proportional { ratio: f64 },
}

/// A compiled configuration.
#[derive(Debug)]
pub(super) struct Sampler {
    pub(super) mode: SamplerMode,
    pub(super) fail_closed: bool,
    pub(super) precision: i32,
    pub(super) hash_seed: u32,
    /// Whether a trace id is hashed of log records.
    pub(super) uses_trace_id: bool,
    pub(super) from_attribute: Vec<u8>,
    pub(super) sampling_priority: Vec<u8>,
}

/// Buckets of the hash.
const BUCKETS: u32 = 1 << 14;

impl Sampler {
    #[expect(clippy::cast_possible_truncation, reason = "as the Go collector computes it")]
    pub(super) fn compile(config: &ProbabilisticSamplerConfig) -> Self {
        let percentage = (config.sampling_percentage as f32).clamp(0.0, 100.0);
        let ratio = (f64::from(percentage) / 100.0).max(MIN_PROBABILITY);
        let precision = config.sampling_precision.clamp(1, i64::from(DIGITS)) as i32;
        let mode = match config.mode.as_str() {
            _ if percentage == 0.0 => SamplerMode::Never,
            "equalizing" => SamplerMode::Equalizing { threshold: threshold_of(ratio, precision).unwrap_or(0) },
            "proportional" => SamplerMode::Proportional { ratio },
            // In 32 bits, so that the shares are those of earlier versions.
            _ => match (percentage * (BUCKETS as f32 / 100.0)) as u32 {
                0 => SamplerMode::Never,
                sampled => SamplerMode::Hashing { threshold: u64::from(BUCKETS - sampled.min(BUCKETS)) << 42 },
            },
        };
        Self {
            mode,
            fail_closed: config.fail_closed,
            precision,
            hash_seed: config.hash_seed,
            uses_trace_id: config.attribute_source == "traceID",
            from_attribute: config.from_attribute.as_bytes().to_vec(),
            sampling_priority: config.sampling_priority.as_bytes().to_vec(),
        }
    }
}
