//! Names and units of Prometheus, as the Go receiver translates them. Knows no series.

/// The suffixes of samples, in the order in which they are tried.
const SUFFIXES: [&str; 6] = ["_bucket", "_count", "_sum", "_total", "_info", "_created"];

pub(crate) const CREATED: &str = "_created";
pub(crate) const TOTAL: &str = "_total";

/// The name of a sample without its suffix.
pub(crate) fn without_suffix(name: &str) -> &str {
    for suffix in SUFFIXES {
        if let Some(rest) = name.strip_suffix(suffix)
            && !rest.is_empty()
        {
            return rest;
        }
    }
    name
}

/// The name without the suffixes of its type and its unit.
pub(crate) fn trimmed<'n>(name: &'n str, is_sum: bool, unit: &str) -> &'n str {
    if !name.contains('_') {
        return name;
    }
    let name = if is_sum { name.strip_suffix(TOTAL).unwrap_or(name) } else { name };
    // Go compares words between underscores; a name needs at least one more than the unit.
    match name.strip_suffix(unit) {
        Some(rest) => rest.strip_suffix('_').unwrap_or(name),
        None => name,
    }
}

/// Words of units, and what UCUM has for them.
const UNITS: [(&str, &str); 27] = [
    ("days", "d"),
    ("hours", "h"),
    ("minutes", "min"),
    ("seconds", "s"),
    ("milliseconds", "ms"),
    ("microseconds", "us"),
    ("nanoseconds", "ns"),
    ("bytes", "By"),
    ("kibibytes", "KiBy"),
    ("mebibytes", "MiBy"),
    ("gibibytes", "GiBy"),
    ("tibibytes", "TiBy"),
    ("kilobytes", "KBy"),
    ("megabytes", "MBy"),
    ("gigabytes", "GBy"),
    ("terabytes", "TBy"),
    ("meters", "m"),
    ("volts", "V"),
    ("amperes", "A"),
    ("joules", "J"),
    ("watts", "W"),
    ("grams", "g"),
    ("celsius", "Cel"),
    ("hertz", "Hz"),
    ("ratio", "1"),
    ("percent", "%"),
    ("", ""),
];

/// Words after `_per_`.
const PER_UNITS: [(&str, &str); 7] =
    [("second", "s"), ("minute", "m"), ("hour", "h"), ("day", "d"), ("week", "w"), ("month", "mo"), ("year", "y")];

/// A unit of Prometheus in UCUM. What is not known stays as it is.
pub(crate) fn ucum_unit(unit: &str) -> String {
    let translated = |words: &'static [(&'static str, &'static str)], word: &str| {
        words.iter().find(|(known, _)| *known == word).map_or_else(|| word.to_owned(), |(_, ucum)| (*ucum).to_owned())
    };
    let (main, per) = unit.split_once("_per_").unwrap_or((unit, ""));
    let mut ucum = translated(&UNITS, main);
    if !per.is_empty() {
        ucum.push('/');
        ucum.push_str(&translated(&PER_UNITS, per));
    }
    ucum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_suffix_that_leaves_a_name_is_removed() {
        let table = [
            ("a_bucket", "a"),
            ("a_total", "a"),
            ("_total", "_total"),
            ("a_total_count", "a_total"),
            ("a_gcount", "a_gcount"),
            ("a_created", "a"),
            ("a", "a"),
        ];
        for (name, expected) in table {
            assert_eq!(without_suffix(name), expected);
        }
    }

    #[test]
    fn suffixes_of_type_and_unit_are_trimmed() {
        let table = [
            ("a_seconds_total", true, "seconds", "a"),
            ("a_seconds_total", false, "seconds", "a_seconds_total"),
            ("a_seconds", false, "seconds", "a"),
            ("seconds", false, "seconds", "seconds"),
            ("_seconds", false, "seconds", ""),
            ("a_kseconds", false, "seconds", "a_kseconds"),
            ("a_b_c", false, "b_c", "a"),
            ("a_total", true, "", "a"),
            ("a_b", false, "", "a_b"),
        ];
        for (name, is_sum, unit, expected) in table {
            assert_eq!(trimmed(name, is_sum, unit), expected, "{name} {unit}");
        }
    }

    #[test]
    fn units_are_those_of_ucum() {
        let table =
            [("seconds", "s"), ("bytes_per_second", "By/s"), ("", ""), ("foo", "foo"), ("foo_per_bar", "foo/bar")];
        for (unit, expected) in table {
            assert_eq!(ucum_unit(unit), expected);
        }
    }
}
