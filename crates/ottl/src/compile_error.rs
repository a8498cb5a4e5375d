//! Errors of compiling, with their place in the text.

use std::fmt;
use std::ops::Range;

/// A statement, condition or expression is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// The Go collector's sentence.
    pub message: String,
    /// The bytes of the text that are at fault.
    pub place: Range<usize>,
    /// What to write instead, if something is near.
    pub hint: Option<String>,
}

impl CompileError {
    pub(crate) fn new(place: Range<usize>, message: impl Into<String>) -> Self {
        Self { message: message.into(), place, hint: None }
    }

    /// Suggests the candidate that is nearest to what was written, if one is near.
    pub(crate) fn with_nearest<'c>(mut self, written: &str, candidates: impl IntoIterator<Item = &'c str>) -> Self {
        self.hint = nearest(written, candidates).map(|name| format!("did you mean {name}?"));
        self
    }

    /// The same error in a larger context.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        self.message = format!("{outer}: {}", self.message);
        self
    }

    /// Line and column of the place in the text, from 1.
    #[must_use]
    pub fn line_and_column(&self, text: &str) -> (usize, usize) {
        line_and_column(text, self.place.start)
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CompileError {}

/// The longest name for which a near one is searched.
const LONGEST_NAME: usize = 64;

fn nearest<'c>(written: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if written.len() > LONGEST_NAME {
        return None;
    }
    let limit = ((written.len() + 1) / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(written, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, removed or replaced; case counts little.
fn distance(a: &str, b: &str) -> usize {
    if a.eq_ignore_ascii_case(b) {
        return usize::from(a != b);
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, y) in b.bytes().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or(usize::MAX - 1);
            let left = row.get(j).copied().unwrap_or(usize::MAX - 1);
            let replaced = diagonal + usize::from(x != y);
            diagonal = above;
            if let Some(cell) = row.get_mut(j + 1) {
                *cell = replaced.min(above + 1).min(left + 1);
            }
        }
    }
    row.last().copied().unwrap_or(0)
}

/// Line and column of a position, from 1. Columns are characters.
pub(crate) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).map_or(0, |line| line.chars().count());
    (before.matches('\n').count() + 1, column + 1)
}
