//! Metric names: from OpenTelemetry name, unit and kind to a Prometheus name, as otlptranslator 1.0 does it.
//!
//! There are four strategies. Those with underscores make legacy names from any name, except that the namespace is used
//! as the user wrote it; the others keep the name, and the page escapes it.

use otelcore_config::config_enum;
use otelcore_exposition::MetricType;

config_enum! {
    /// `translation_strategy`.
    #[config(unknown = "invalid {key}: {word}", hint = "")]
    pub enum TranslationStrategy {
        /// Legacy names with unit and type at the end; the default.
        UnderscoreEscapingWithSuffixes = "UnderscoreEscapingWithSuffixes" | "",
        /// Legacy names, nothing added.
        UnderscoreEscapingWithoutSuffixes = "UnderscoreEscapingWithoutSuffixes",
        /// Unchanged names with unit and type at the end.
        NoUtf8EscapingWithSuffixes = "NoUTF8EscapingWithSuffixes",
        /// Unchanged names.
        NoTranslation = "NoTranslation",
    }
}

impl TranslationStrategy {
    /// Whether names outside the legacy set are kept.
    #[must_use]
    pub fn keeps_utf8(self) -> bool {
        matches!(self, Self::NoUtf8EscapingWithSuffixes | Self::NoTranslation)
    }
}

/// Bytes of a metric's name or unit, at most: a name is made in one step.
pub const MAX_NAME_BYTES: usize = 64 << 10;

/// The kind of a metric, as far as it affects names and types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OtlpMetricKind {
    /// An OTLP gauge.
    Gauge,
    /// A monotonic sum.
    Counter,
    /// A sum that is not monotonic.
    UpDownCounter,
    /// A histogram with explicit bounds.
    Histogram,
    /// A summary.
    Summary,
}

impl OtlpMetricKind {
    /// The type on the page.
    #[must_use]
    pub fn prometheus_type(self) -> MetricType {
        match self {
            Self::Gauge | Self::UpDownCounter => MetricType::Gauge,
            Self::Counter => MetricType::Counter,
            Self::Histogram => MetricType::Histogram,
            Self::Summary => MetricType::Summary,
        }
    }
}

/// Why a metric has no name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// The translated name is empty.
    #[error("resulted in empty name")]
    Empty,
    /// The translated name has only underscores.
    #[error("resulted in a name of underscores only")]
    Underscores,
    /// Not UTF-8.
    #[error("is not valid UTF-8")]
    Utf8,
}

/// The Prometheus name. It may contain characters that a page must escape: those of the namespace, and any characters
/// with the strategies that keep UTF-8.
///
/// # Errors
/// A name without characters that are allowed; the series is then not served.
pub fn metric_name(
    strategy: TranslationStrategy,
    namespace: &str,
    name: &[u8],
    unit: &[u8],
    metric_kind: OtlpMetricKind,
) -> Result<Vec<u8>, NameError> {
    let translated = match strategy {
        TranslationStrategy::UnderscoreEscapingWithSuffixes => escape_with_suffixes(namespace, name, unit, metric_kind),
        TranslationStrategy::UnderscoreEscapingWithoutSuffixes => escape_without_suffixes(namespace, name),
        TranslationStrategy::NoUtf8EscapingWithSuffixes => {
            add_suffixes(with_namespace(namespace, name), unit, metric_kind)
        }
        TranslationStrategy::NoTranslation => with_namespace(namespace, name),
    };
    if translated.is_empty() {
        return Err(NameError::Empty);
    }
    if !strategy.keeps_utf8() && translated != name && translated.iter().all(|b| *b == b'_') {
        return Err(NameError::Underscores);
    }
    if str::from_utf8(&translated).is_err() {
        return Err(NameError::Utf8);
    }
    Ok(translated)
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b':'
}

/// Bytes outside ASCII are also separators, so that splitting at bytes is the same as splitting at characters.
fn tokens(name: &[u8], keep: impl Fn(u8) -> bool) -> Vec<&[u8]> {
    name.split(|b| !keep(*b)).filter(|t| !t.is_empty()).collect()
}

fn starts_with_digit(name: &[u8]) -> bool {
    name.first().is_some_and(u8::is_ascii_digit)
}

fn with_namespace(namespace: &str, name: &[u8]) -> Vec<u8> {
    if namespace.is_empty() { name.to_vec() } else { [namespace.as_bytes(), name].join(&b'_') }
}

fn escape_with_suffixes(namespace: &str, name: &[u8], unit: &[u8], metric_kind: OtlpMetricKind) -> Vec<u8> {
    let mut tokens = tokens(name, is_token_byte);
    let (main, per) = unit_suffixes(unit);
    let (main, per) = (clean_unit(&main), clean_unit(&per));
    let mut main = main.as_slice();
    let mut per = per.as_slice();
    if tokens.contains(&main) {
        main = b"";
    }
    per = if per == b"per_" { b"" } else { per.strip_suffix(b"_").unwrap_or(per) };
    if tokens.contains(&per) {
        per = b"";
    }
    if !per.is_empty() {
        main = main.strip_suffix(b"_").unwrap_or(main);
    }
    tokens.extend([main, per].into_iter().filter(|t| !t.is_empty()));
    for (wanted, word) in [
        (metric_kind == OtlpMetricKind::Counter, "total"),
        (unit == b"1" && metric_kind == OtlpMetricKind::Gauge, "ratio"),
    ] {
        if wanted {
            tokens.retain(|t| *t != word.as_bytes());
            tokens.push(word.as_bytes());
        }
    }
    if !namespace.is_empty() {
        tokens.insert(0, namespace.as_bytes());
    }
    let mut translated = tokens.join(&b'_');
    if starts_with_digit(&translated) {
        translated.insert(0, b'_');
    }
    translated
}

fn escape_without_suffixes(namespace: &str, name: &[u8]) -> Vec<u8> {
    let keep = |b: u8| is_token_byte(b) || b == b'_';
    let mut translated = tokens(name, keep).join(&b'_');
    if !namespace.is_empty() {
        return [tokens(namespace.as_bytes(), keep).join(&b'_'), translated].join(&b'_');
    }
    if starts_with_digit(&translated) {
        translated.insert(0, b'_');
    }
    translated
}

fn add_suffixes(mut name: Vec<u8>, unit: &[u8], metric_kind: OtlpMetricKind) -> Vec<u8> {
    let (main, per) = unit_suffixes(unit);
    let last: &[u8] = match metric_kind {
        OtlpMetricKind::Gauge if unit == b"1" => b"ratio",
        OtlpMetricKind::Counter => b"total",
        _ => b"",
    };
    for suffix in [last, &per] {
        // The byte before the suffix is also removed, even if it is not a separator.
        if !suffix.is_empty() && name.ends_with(suffix) && name.len() > suffix.len() + 1 {
            name.truncate(name.len() - suffix.len() - 1);
        }
    }
    let main = if name.ends_with(&main) { &[] } else { main.as_slice() };
    for suffix in [main, &per, last] {
        if !suffix.is_empty() {
            name.push(b'_');
            name.extend_from_slice(suffix);
        }
    }
    name
}

/// The word for a unit, as the metadata of a metric names it: `bytes_per_second` for `By/s`.
#[must_use]
pub fn unit_name(unit: &[u8], keeps_utf8: bool) -> Vec<u8> {
    let (mut main, mut per) = unit_suffixes(unit);
    if !keeps_utf8 {
        (main, per) = (clean_unit(&main), clean_unit(&per));
    }
    let name = [main, per].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(&b'_');
    let name = name.strip_prefix(b"_").unwrap_or(&name);
    name.strip_suffix(b"_").unwrap_or(name).to_vec()
}

/// The words for a unit before and after its `/`; the second one with `per_`.
fn unit_suffixes(unit: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (main, per) = match unit.iter().position(|b| *b == b'/') {
        Some(at) => (unit.get(..at).unwrap_or_default(), unit.get(at + 1..).unwrap_or_default()),
        None => (unit, &[][..]),
    };
    let usable = |half: &[u8]| !half.is_empty() && !half.iter().any(|b| matches!(b, b'{' | b'}'));
    let (main, per) = (trim_unicode(main), trim_unicode(per));
    let main = if usable(main) { unit_word(main).unwrap_or(main) } else { b"" };
    let per = if usable(per) { [b"per_", per_unit_word(per).unwrap_or(per)].concat() } else { Vec::new() };
    (main.to_vec(), per)
}

/// Go trims all Unicode space.
fn trim_unicode(text: &[u8]) -> &[u8] {
    str::from_utf8(text).map_or_else(|_| text.trim_ascii(), |t| t.trim().as_bytes())
}

fn unit_word(unit: &[u8]) -> Option<&'static [u8]> {
    Some(match unit {
        b"d" => b"days",
        b"h" => b"hours",
        b"min" => b"minutes",
        b"s" => b"seconds",
        b"ms" => b"milliseconds",
        b"us" => b"microseconds",
        b"ns" => b"nanoseconds",
        b"By" => b"bytes",
        b"KiBy" => b"kibibytes",
        b"MiBy" => b"mebibytes",
        b"GiBy" => b"gibibytes",
        // As in the Go translator.
        b"TiBy" => b"tibibytes",
        b"KBy" => b"kilobytes",
        b"MBy" => b"megabytes",
        b"GBy" => b"gigabytes",
        b"TBy" => b"terabytes",
        b"m" => b"meters",
        b"V" => b"volts",
        b"A" => b"amperes",
        b"J" => b"joules",
        b"W" => b"watts",
        b"g" => b"grams",
        b"Cel" => b"celsius",
        b"Hz" => b"hertz",
        b"1" => b"",
        b"%" => b"percent",
        _ => return None,
    })
}

fn per_unit_word(unit: &[u8]) -> Option<&'static [u8]> {
    Some(match unit {
        b"s" => b"second",
        b"m" => b"minute",
        b"h" => b"hour",
        b"d" => b"day",
        b"w" => b"week",
        b"mo" => b"month",
        b"y" => b"year",
        _ => return None,
    })
}

/// Replaces other characters by `_`, joins repeated `_` into one, and removes a leading `_`.
fn clean_unit(unit: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(unit.len());
    for &b in unit {
        let b = if is_token_byte(b) { b } else { b'_' };
        if b != b'_' || out.last() != Some(&b'_') {
            out.push(b);
        }
    }
    if out.first() == Some(&b'_') {
        out.remove(0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(strategy: TranslationStrategy, namespace: &str, name: &str, unit: &str, shape: OtlpMetricKind) -> String {
        metric_name(strategy, namespace, name.as_bytes(), unit.as_bytes(), shape)
            .map_or_else(|_| "dropped".to_owned(), |n| String::from_utf8(n).unwrap())
    }

    #[test]
    fn metric_names_are_translated_as_in_the_go_collector() {
        use OtlpMetricKind::{Counter, Gauge, Histogram};
        let table = [
            (
                ("http.server.duration", "ms", Histogram),
                ["http_server_duration_milliseconds", "http_server_duration", "http.server.duration_milliseconds"],
            ),
            (("my.metric", "1", Gauge), ["my_metric_ratio", "my_metric", "my.metric_ratio"]),
            (("my.metric", "1", Counter), ["my_metric_total", "my_metric", "my.metric_total"]),
            (("my.metric", "{x}/s", Gauge), ["my_metric_per_second", "my_metric", "my.metric_per_second"]),
            (("my.metric", "foo_", Counter), ["my_metric_foo__total", "my_metric", "my.metric_foo__total"]),
            (("my.metric", "°C", Gauge), ["my_metric_C", "my_metric", "my.metric_°C"]),
            (("x.total", "s", Counter), ["x_seconds_total", "x_total", "x_seconds_total"]),
            (("total.x", "s", Counter), ["x_seconds_total", "total_x", "total.x_seconds_total"]),
            (("total", "", Counter), ["total", "total", "total_total"]),
            (("seconds.x", "s", Gauge), ["seconds_x", "seconds_x", "seconds.x_seconds"]),
            (("xseconds", "s", Gauge), ["xseconds_seconds", "xseconds", "xseconds"]),
            (("a__b", "", Gauge), ["a_b", "a__b", "a__b"]),
            (("_a_", "", Gauge), ["a", "_a_", "_a_"]),
            (("1a", "", Gauge), ["_1a", "_1a", "1a"]),
            (("世界", "", Gauge), ["dropped", "dropped", "世界"]),
            (("x_bytestotal", "", Counter), ["x_bytestotal_total", "x_bytestotal", "x_byte_total"]),
            (("bytes.total", "By", Counter), ["bytes_total", "bytes_total", "bytes_total"]),
            (
                ("x.per.second", "By/s", Gauge),
                ["x_per_second_bytes_per_second", "x_per_second", "x.per.second_bytes_per_second"],
            ),
            (("x", "By/min", Gauge), ["x_bytes_per_min", "x", "x_bytes_per_min"]),
            (("x", "a/b/c", Gauge), ["x_a_per_b_c", "x", "x_a_per_b/c"]),
            (("x", "1/s", Gauge), ["x_per_second", "x", "x_per_second"]),
            (("x", "1", Histogram), ["x", "x", "x"]),
            (("x", "1", OtlpMetricKind::UpDownCounter), ["x", "x", "x"]),
            (("x", "1", OtlpMetricKind::Summary), ["x", "x", "x"]),
            (("x", "foo_/s", Gauge), ["x_foo_per_second", "x", "x_foo__per_second"]),
            (("x", "s/°", Gauge), ["x_seconds", "x", "x_seconds_per_°"]),
            (("x", " s / {req} ", Gauge), ["x_seconds", "x", "x_seconds"]),
            (("ns:x", "", Gauge), ["ns:x", "ns:x", "ns:x"]),
            (("___", "", Gauge), ["dropped", "___", "___"]),
            (("", "", Gauge), ["dropped", "dropped", "dropped"]),
        ];
        for ((input, unit, shape), [with, without, keep]) in table {
            let case = format!("{input} {unit} {shape:?}");
            assert_eq!(
                name(TranslationStrategy::UnderscoreEscapingWithSuffixes, "", input, unit, shape),
                with,
                "{case}"
            );
            assert_eq!(
                name(TranslationStrategy::UnderscoreEscapingWithoutSuffixes, "", input, unit, shape),
                without,
                "{case}"
            );
            assert_eq!(name(TranslationStrategy::NoUtf8EscapingWithSuffixes, "", input, unit, shape), keep, "{case}");
        }
        assert_eq!(name(TranslationStrategy::NoTranslation, "n s", "cpu.usage", "s", Counter), "n s_cpu.usage");
    }

    #[test]
    fn units_are_translated_to_the_words_of_the_go_translator() {
        let words = "d=days h=hours min=minutes s=seconds ms=milliseconds us=microseconds ns=nanoseconds By=bytes \
            KiBy=kibibytes MiBy=mebibytes GiBy=gibibytes TiBy=tibibytes KBy=kilobytes MBy=megabytes GBy=gigabytes \
            TBy=terabytes kBy=kBy m=meters V=volts A=amperes J=joules W=watts g=grams Cel=celsius Hz=hertz %=percent \
            S=S furlong=furlong";
        for (unit, word) in words.split_whitespace().map(|w| w.split_once('=').unwrap()) {
            let got = name(TranslationStrategy::default(), "", "x", unit, OtlpMetricKind::Histogram);
            assert_eq!(got, format!("x_{word}"));
        }
        let per = "s=second m=minute h=hour d=day w=week mo=month y=year min=min";
        for (unit, word) in per.split_whitespace().map(|w| w.split_once('=').unwrap()) {
            let got = name(TranslationStrategy::default(), "", "x", &format!("1/{unit}"), OtlpMetricKind::Histogram);
            assert_eq!(got, format!("x_per_{word}"));
        }
    }

    #[test]
    fn unit_of_metadata_has_no_underscores_at_its_ends() {
        let name = |unit: &str, utf8| String::from_utf8(unit_name(unit.as_bytes(), utf8)).unwrap();
        for (unit, expected) in [
            ("By/s", "bytes_per_second"),
            ("1", ""),
            ("{x}/s", "per_second"),
            ("_foo_", "foo"),
            ("°C", "C"),
            ("1/", ""),
        ] {
            assert_eq!(name(unit, false), expected, "{unit}");
        }
        assert_eq!(name("°C", true), "°C");
    }

    #[test]
    fn namespace_is_unchanged_with_suffixes_and_escaped_without() {
        let with = |ns| name(TranslationStrategy::UnderscoreEscapingWithSuffixes, ns, "1a", "", OtlpMetricKind::Gauge);
        assert_eq!([with("ns"), with("1ns"), with("test-space")], ["ns_1a", "_1ns_1a", "test-space_1a"]);
        let without =
            |ns| name(TranslationStrategy::UnderscoreEscapingWithoutSuffixes, ns, "a", "", OtlpMetricKind::Gauge);
        assert_eq!([without("1ns"), without("test-space")], ["1ns_a", "test_space_a"]);
    }
}
