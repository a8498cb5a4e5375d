//! A list of texts or patterns, one of which must match.

use super::config::{MatchError, MatchType};
use otelcore_go_regexp::GoRegexp;

/// Matches a text that is equal to one of a list, or that one of a list of patterns matches.
#[derive(Debug)]
pub(crate) enum TextFilter {
    /// Sorted.
    Strict(Vec<Vec<u8>>),
    Regexp(GoRegexp),
}

/// Compiles the list under `list` in the section `section`, for a match type as it is written.
pub(crate) fn text_filter(
    texts: &[String],
    match_type: &str,
    section: &str,
    list: &str,
) -> Result<TextFilter, MatchError> {
    let match_type = match match_type {
        "strict" => Ok(MatchType::Strict),
        "regexp" => Ok(MatchType::Regexp),
        other => Err(MatchError::new(
            format!("{section}::match_type"),
            format!("unrecognized match_type: '{other}', valid types are: [regexp strict]"),
        )),
    };
    TextFilter::compile(texts, match_type, |index| format!("{section}::{list}[{index}]"))
}

impl TextFilter {
    /// Compiles the list under `key`; `item` gives the key of an element.
    pub(super) fn compile(
        texts: &[String],
        match_type: Result<MatchType, MatchError>,
        item: impl Fn(usize) -> String,
    ) -> Result<Self, MatchError> {
        match match_type? {
            MatchType::Strict => {
                let mut texts: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
                texts.sort_unstable();
                Ok(Self::Strict(texts))
            }
            MatchType::Regexp => {
                let compiled = GoRegexp::compile_any(texts);
                compiled.map(Self::Regexp).map_err(|(index, error)| MatchError {
                    hint: Some(error.hint()),
                    ..MatchError::new(item(index), error.to_string())
                })
            }
        }
    }

    /// Whether the text matches.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Strict(texts) => texts.binary_search_by(|other| other.as_slice().cmp(text)).is_ok(),
            Self::Regexp(regexp) => regexp.is_match(text),
        }
    }
}
