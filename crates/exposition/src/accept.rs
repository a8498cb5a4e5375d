//! Content negotiation with a scraper.
//!
//! `Accept` is read as in prometheus/common, `Accept-Encoding` as in client_golang. A server lists what it can write in
//! [`SupportedFormats`]; clauses that ask for something else are ignored, and the text format is used when none fits.

/// A page format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PageFormat {
    /// Text 0.0.4.
    #[default]
    Text,
    /// OpenMetrics text of version 0.0.1.
    OpenMetrics0,
    /// OpenMetrics text of version 1.0.0.
    OpenMetrics1,
    /// Length-prefixed `io.prometheus.client.MetricFamily` messages.
    Protobuf,
}

/// How names outside `[A-Za-z_:][A-Za-z0-9_:]*` are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NameEscaping {
    /// Each invalid character becomes an underscore.
    #[default]
    Underscores,
    /// `.` becomes `_dot_`, `_` becomes `__`.
    Dots,
    /// `U__` and the code points of invalid characters.
    Values,
    /// Unchanged, in quotes.
    AllowUtf8,
}

impl NameEscaping {
    const ALL: [Self; 4] = [Self::Underscores, Self::Dots, Self::Values, Self::AllowUtf8];

    /// The value of the parameter `escaping`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
            Self::AllowUtf8 => "allow-utf-8",
        }
    }
}

/// What a server writes, besides text with underscores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SupportedFormats {
    /// Further formats.
    pub formats: &'static [PageFormat],
    /// Further escapings.
    pub escapings: &'static [NameEscaping],
}

impl SupportedFormats {
    /// Only text 0.0.4 with underscores.
    pub const TEXT: Self = Self { formats: &[], escapings: &[] };

    /// Text 0.0.4 and protobuf, with all escapings.
    pub const WITHOUT_OPEN_METRICS: Self = Self { formats: &[PageFormat::Protobuf], escapings: Self::ALL.escapings };

    /// All formats and escapings.
    pub const ALL: Self = Self {
        formats: &[PageFormat::OpenMetrics0, PageFormat::OpenMetrics1, PageFormat::Protobuf],
        escapings: &[NameEscaping::Dots, NameEscaping::Values, NameEscaping::AllowUtf8],
    };
}

/// The chosen format and escaping of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NegotiatedFormat {
    /// The format.
    pub format: PageFormat,
    /// How names are escaped.
    pub escaping: NameEscaping,
}

impl NegotiatedFormat {
    /// The best of `supported` for a request with this `Accept` header; pass an empty string if there is none.
    #[must_use]
    pub fn negotiate(header: &str, supported: SupportedFormats) -> Self {
        let mut clauses: Vec<_> = header.split(',').filter_map(AcceptClause::parse).collect();
        clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
        let mut chosen = Self::default();
        for clause in &clauses {
            // A clause whose format does not fit may still set the escaping.
            let requested =
                clause.param("escaping").and_then(|v| NameEscaping::ALL.into_iter().find(|e| e.name() == v));
            if let Some(escaping) = requested
                && (escaping == NameEscaping::Underscores || supported.escapings.contains(&escaping))
            {
                chosen.escaping = escaping;
            }
            if let Some(format) = clause.format()
                && (format == PageFormat::Text || supported.formats.contains(&format))
            {
                return Self { format, ..chosen };
            }
        }
        chosen
    }

    /// The `Content-Type` of the page.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        macro_rules! with_escaping {
            ($head:literal) => {
                match self.escaping {
                    NameEscaping::Underscores => concat!($head, "; escaping=underscores"),
                    NameEscaping::Dots => concat!($head, "; escaping=dots"),
                    NameEscaping::Values => concat!($head, "; escaping=values"),
                    NameEscaping::AllowUtf8 => concat!($head, "; escaping=allow-utf-8"),
                }
            };
        }
        match self.format {
            PageFormat::Text => with_escaping!("text/plain; version=0.0.4; charset=utf-8"),
            PageFormat::OpenMetrics0 => with_escaping!("application/openmetrics-text; version=0.0.1; charset=utf-8"),
            PageFormat::OpenMetrics1 => with_escaping!("application/openmetrics-text; version=1.0.0; charset=utf-8"),
            PageFormat::Protobuf => with_escaping!(
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            ),
        }
    }
}

/// `type/subtype; name=value; q=0.5`.
struct AcceptClause<'a> {
    media: (&'a str, &'a str),
    params: &'a str,
    quality: f64,
}

impl<'a> AcceptClause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (range, params) = text.split_once(';').unwrap_or((text, ""));
        let media = match range.split_once('/') {
            Some((kind, sub)) if !sub.contains('/') => (kind.trim(), sub.trim()),
            None if range.trim() == "*" => ("*", "*"),
            _ => return None,
        };
        let mut clause = Self { media, params, quality: 1.0 };
        if let Some(q) = clause.param("q") {
            clause.quality = q.parse().ok().filter(|q: &f64| !q.is_nan()).unwrap_or(0.0);
        }
        Some(clause)
    }

    /// The last parameter of that name.
    fn param(&self, name: &str) -> Option<&'a str> {
        let mut pairs = self.params.split(';').filter_map(|p| p.split_once('='));
        pairs.rfind(|(n, _)| n.trim() == name).map(|(_, v)| v.trim())
    }

    fn format(&self) -> Option<PageFormat> {
        let version = self.param("version").unwrap_or("");
        match self.media {
            ("application", "vnd.google.protobuf") => {
                let is_metric_family = self.param("proto") == Some("io.prometheus.client.MetricFamily")
                    && self.param("encoding") == Some("delimited");
                is_metric_family.then_some(PageFormat::Protobuf)
            }
            ("text", "plain") => matches!(version, "" | "0.0.4").then_some(PageFormat::Text),
            ("application", "openmetrics-text") => match version {
                "" | "0.0.1" => Some(PageFormat::OpenMetrics0),
                "1.0.0" => Some(PageFormat::OpenMetrics1),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The content coding of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PageEncoding {
    /// No compression.
    #[default]
    Identity,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl PageEncoding {
    /// The coding for an `Accept-Encoding` header; pass an empty string if there is none. The coding with the highest
    /// quality is chosen; if qualities are equal, the first of identity, gzip and zstd.
    #[must_use]
    pub fn negotiate(header: &str) -> Self {
        let mut best = (-1.0, Self::Identity);
        for (name, encoding) in [("identity", Self::Identity), ("gzip", Self::Gzip), ("zstd", Self::Zstd)] {
            for part in header.split(',') {
                let (coding, params) = part.split_once(';').unwrap_or((part, ""));
                let quality = params.split(';').filter_map(|p| p.trim().strip_prefix("q=")).next();
                let quality = quality.map_or(1.0, |q| q.trim().parse().unwrap_or(0.0));
                if quality > best.0 && matches!(coding.trim(), c if c == "*" || c == name) {
                    best = (quality, encoding);
                }
            }
        }
        // With a header that refuses everything, identity is used.
        if best.0 == 0.0 { Self::Identity } else { best.1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTO: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

    #[test]
    fn first_supported_clause_in_order_of_quality_is_chosen() {
        use PageFormat::{OpenMetrics0, OpenMetrics1, Protobuf, Text};
        let prometheus3 = format!(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2,{PROTO};q=0.7"
        );
        let table: &[(&str, PageFormat, NameEscaping)] = &[
            ("", Text, NameEscaping::Underscores),
            ("*/*", Text, NameEscaping::Underscores),
            ("text/*", Text, NameEscaping::Underscores),
            ("application/openmetrics-text", OpenMetrics0, NameEscaping::Underscores),
            ("application/openmetrics-text; version=1.0.0", OpenMetrics1, NameEscaping::Underscores),
            ("application/openmetrics-text; version=2.0.0", Text, NameEscaping::Underscores),
            ("text/plain;q=0.5, application/openmetrics-text;q=0.9", OpenMetrics0, NameEscaping::Underscores),
            ("text/plain, application/openmetrics-text", Text, NameEscaping::Underscores),
            (PROTO, Protobuf, NameEscaping::Underscores),
            ("application/vnd.google.protobuf", Text, NameEscaping::Underscores),
            ("text/plain; escaping=dots", Text, NameEscaping::Dots),
            ("text/plain; escaping=nonsense", Text, NameEscaping::Underscores),
            ("image/png;escaping=values;q=1, text/plain;q=0.5", Text, NameEscaping::Values),
            ("text/plain;version=1.0.0;escaping=allow-utf-8", Text, NameEscaping::AllowUtf8),
            (&prometheus3, Protobuf, NameEscaping::Underscores),
        ];
        for (header, format, escaping) in table {
            let expected = NegotiatedFormat { format: *format, escaping: *escaping };
            assert_eq!(NegotiatedFormat::negotiate(header, SupportedFormats::ALL), expected, "{header}");
            assert_eq!(
                NegotiatedFormat::negotiate(header, SupportedFormats::TEXT),
                NegotiatedFormat::default(),
                "{header}"
            );
        }
    }

    #[test]
    fn content_type_has_format_version_and_escaping() {
        assert_eq!(
            NegotiatedFormat::default().content_type(),
            "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
        );
        let accept = NegotiatedFormat::negotiate(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
            SupportedFormats::ALL,
        );
        assert_eq!(
            accept.content_type(),
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
        );
    }

    #[test]
    fn coding_is_chosen_only_with_a_higher_quality_than_identity() {
        let table = [
            ("", PageEncoding::Identity),
            ("gzip", PageEncoding::Gzip),
            ("deflate, gzip;q=0.8", PageEncoding::Gzip),
            ("identity, gzip", PageEncoding::Identity),
            ("identity;q=0.5, gzip", PageEncoding::Gzip),
            ("*", PageEncoding::Identity),
            ("*;q=0.1, gzip;q=0.5", PageEncoding::Gzip),
            ("gzip;q=0", PageEncoding::Identity),
            ("br", PageEncoding::Identity),
            ("br, zstd", PageEncoding::Zstd),
            ("zstd, gzip", PageEncoding::Gzip),
            ("gzip;q=0.5, zstd", PageEncoding::Zstd),
        ];
        for (header, expected) in table {
            assert_eq!(PageEncoding::negotiate(header), expected, "{header}");
        }
    }
}
