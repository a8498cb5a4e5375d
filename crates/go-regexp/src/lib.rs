//! Go's regular expressions on the engine of the `regex` crate.
//!
//! Both engines descend from RE2 and find the same matches; their syntax differs: in Go `\d`, `\w`, `\s` and `\b` are
//! ASCII, `\Q..\E` quotes, `[a&&b]` is a set of characters, `{` may be literal. A pattern is parsed here by Go's rules
//! and written anew for the `regex` crate, so that a pattern means the same, and its errors are Go's.
//!
//! [`Glob`] is the language of globs that components of the Go collector use.
//!
//! Never backtracks: a match takes time linear in the text. Performs no IO.
#![forbid(unsafe_code)]

mod glob;
mod template;
mod translate;

use std::fmt;
use std::ops::Range;

pub use glob::{Glob, GlobError};
pub use regex::bytes::CaptureLocations;
use regex::bytes::{Match, Regex, RegexBuilder};

pub use template::Template;

/// Why a pattern is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// The kind of mistake, in the words of Go.
    code: &'static str,
    /// The part of the pattern that it is about.
    argument: String,
    /// Characters of the pattern before the mistake.
    at: usize,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error parsing regexp: {}: `{}`", self.code, self.argument)
    }
}

impl std::error::Error for PatternError {}

impl PatternError {
    /// The mistake and its position, for a hint.
    #[must_use]
    pub fn hint(&self) -> String {
        format!("{}: `{}` at character {} of the pattern", self.code, self.argument, self.at + 1)
    }
}

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct GoRegexp {
    regex: Regex,
    /// The name of each group from the first on; empty for a group without one.
    names: Vec<String>,
}

impl GoRegexp {
    /// Compiles one pattern.
    ///
    /// # Errors
    /// The pattern is not valid in Go, or its compiled form is too large.
    pub fn compile(pattern: &str) -> Result<Self, PatternError> {
        let translated = translate::translate(pattern)?;
        Ok(Self { regex: build(pattern, &translated.pattern)?, names: translated.names })
    }

    /// Compiles patterns of which one has to match. It has no groups.
    ///
    /// # Errors
    /// Of the first pattern that is not valid, with its index.
    pub fn compile_any(patterns: &[String]) -> Result<Self, (usize, PatternError)> {
        let mut all = String::new();
        for (index, pattern) in patterns.iter().enumerate() {
            let translated = translate::translate(pattern).map_err(|e| (index, e))?;
            // Alone first: an error of the engine is then about this pattern.
            build(pattern, &translated.pattern).map_err(|e| (index, e))?;
            all.push_str(if index == 0 { "(?:" } else { "|(?:" });
            all.push_str(&translated.pattern);
            all.push(')');
        }
        let last = patterns.len().saturating_sub(1);
        let regex = build(patterns.last().map_or("", String::as_str), &all).map_err(|e| (last, e))?;
        Ok(Self { regex, names: Vec::new() })
    }

    /// The name of each group; empty for a group without one.
    #[must_use]
    pub fn group_names(&self) -> &[String] {
        &self.names
    }

    /// Memory for [`GoRegexp::capture`].
    #[must_use]
    pub fn capture_locations(&self) -> CaptureLocations {
        self.regex.capture_locations()
    }

    /// Whether the pattern matches anywhere in `text`. A byte that is not UTF-8 is one character, as in Go.
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        match std::str::from_utf8(text) {
            Ok(_) => self.regex.is_match(text),
            Err(_) => self.regex.is_match(&with_replacement_characters(text)),
        }
    }

    /// Finds the first match and calls `group` with the index and the text of each group from the first on. A group
    /// that takes no part in the match is empty.
    pub fn capture(&self, text: &[u8], locations: &mut CaptureLocations, mut group: impl FnMut(usize, &[u8])) {
        let replaced;
        let searched = if std::str::from_utf8(text).is_ok() {
            text
        } else {
            replaced = with_replacement_characters(text);
            &replaced
        };
        if self.regex.captures_read(locations, searched).is_none() {
            return;
        }
        for index in 0..self.names.len() {
            let found = locations.get(index + 1).map(|(start, end)| {
                let range = if searched.len() == text.len() {
                    start..end
                } else {
                    Range { start: original_offset(text, start), end: original_offset(text, end) }
                };
                text.get(range).unwrap_or_default()
            });
            group(index, found.unwrap_or_default());
        }
    }
}

impl GoRegexp {
    /// The ranges in `text` of the first match and of its groups.
    #[must_use]
    pub fn find(&self, text: &[u8]) -> Option<Vec<Option<Range<usize>>>> {
        // Groups take memory, which a text without a match does not need.
        if !self.names.is_empty() && !self.is_match(text) {
            return None;
        }
        // The first match is enough: an error ends the search.
        self.find_all(text, |groups| Err(groups.to_vec())).err()
    }

    /// Calls `found` with each match from left to right, as Go's `FindAll` has them: the ranges in `text` of the whole
    /// match and of its groups; a group that takes no part in the match has none. An error of `found` ends the search.
    ///
    /// # Errors
    /// That of `found`.
    pub fn find_all<E>(
        &self,
        text: &[u8],
        mut found: impl FnMut(&[Option<Range<usize>>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let replaced;
        let is_utf8 = std::str::from_utf8(text).is_ok();
        let searched = if is_utf8 {
            text
        } else {
            replaced = with_replacement_characters(text);
            &replaced
        };
        let mut offsets = Offsets { text, is_utf8, in_searched: 0, in_text: 0 };
        // The engine finds empty matches between the bytes of a character, Go does not.
        let is_inside_character =
            |whole: &Match<'_>| whole.is_empty() && searched.get(whole.start()).is_some_and(|b| b & 0xc0 == 0x80);
        if self.names.is_empty() {
            for whole in self.regex.find_iter(searched).filter(|whole| !is_inside_character(whole)) {
                offsets.advance(whole.start());
                found(&[Some(offsets.range(&whole))])?;
            }
            return Ok(());
        }
        let mut ranges = Vec::with_capacity(self.names.len() + 1);
        for captures in self.regex.captures_iter(searched) {
            let whole = captures.get_match();
            if is_inside_character(&whole) {
                continue;
            }
            offsets.advance(whole.start());
            ranges.clear();
            ranges.extend(captures.iter().map(|group| group.map(|group| offsets.range(&group))));
            found(&ranges)?;
        }
        Ok(())
    }

    /// Appends `text` to `out` with each match replaced, and returns whether there was a match. Without one, nothing is
    /// appended.
    pub fn replace_all(&self, text: &[u8], template: &Template, out: &mut Vec<u8>) -> bool {
        let mut end = None;
        let all = self.find_all(text, |groups| {
            if let Some(Some(whole)) = groups.first() {
                out.extend_from_slice(text.get(end.unwrap_or(0)..whole.start).unwrap_or_default());
                self.expand(template, text, groups, out);
                end = Some(whole.end);
            }
            Ok::<(), std::convert::Infallible>(())
        });
        let Ok(()) = all;
        if let Some(end) = end {
            out.extend_from_slice(text.get(end..).unwrap_or_default());
        }
        end.is_some()
    }

    /// Appends a template to `out`, with the texts of the groups that [`GoRegexp::find_all`] found.
    pub fn expand(&self, template: &Template, text: &[u8], groups: &[Option<Range<usize>>], out: &mut Vec<u8>) {
        template.expand(&self.names, text, groups, out);
    }
}

/// The largest compiled form of one pattern, in bytes.
const MAX_COMPILED_BYTES: usize = 10 << 20;

fn build(pattern: &str, translated: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(translated).size_limit(MAX_COMPILED_BYTES).build().map_err(|error| {
        let code = match error {
            regex::Error::CompiledTooBig(_) => "expression too large",
            _ => "invalid or unsupported expression",
        };
        PatternError { code, argument: pattern.to_owned(), at: 0 }
    })
}

/// The text with U+FFFD for each byte that is not UTF-8.
fn with_replacement_characters(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    for chunk in text.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        chunk.invalid().iter().for_each(|_| out.extend_from_slice("\u{fffd}".as_bytes()));
    }
    out
}

/// The offsets in a text of those in [`with_replacement_characters`]. They are computed from a place that advances with
/// the matches, so that the text is read once for all of them.
struct Offsets<'t> {
    text: &'t [u8],
    is_utf8: bool,
    /// The place in the searched text.
    in_searched: usize,
    /// The same place in `text`.
    in_text: usize,
}

impl Offsets<'_> {
    /// The offset in `text` of one that is not before the place.
    fn of(&self, offset: usize) -> usize {
        if self.is_utf8 {
            return offset;
        }
        let rest = self.text.get(self.in_text..).unwrap_or_default();
        self.in_text + original_offset(rest, offset.saturating_sub(self.in_searched))
    }

    fn range(&self, found: &Match<'_>) -> Range<usize> {
        self.of(found.start())..self.of(found.end())
    }

    fn advance(&mut self, offset: usize) {
        (self.in_searched, self.in_text) = (offset, self.of(offset));
    }
}

/// The offset in `text` of an offset in [`with_replacement_characters`].
fn original_offset(text: &[u8], offset: usize) -> usize {
    // What was replaced is not shorter, so that the offset is not behind this. Without the bound, the chunks of a text
    // whose first invalid byte is far away would be searched up to that.
    let text = text.get(..offset).unwrap_or(text);
    let (mut original, mut left) = (0, offset);
    for chunk in text.utf8_chunks() {
        let (valid, invalid) = (chunk.valid().len(), chunk.invalid().len());
        if left <= valid {
            return original + left;
        }
        left -= valid;
        if left < 3 * invalid {
            return original + valid + left / 3;
        }
        left -= 3 * invalid;
        original += valid + invalid;
    }
    original
}

#[cfg(test)]
mod tests;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
