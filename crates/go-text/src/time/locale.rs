//! Names of months, weekdays and halves of the day in other languages: a text in one of them becomes one in English.
//!
//! The names are those of the Unicode CLDR, version 48 (licence: Unicode-3.0), in `data/locales.tsv`: language tags, and
//! behind tabs the short and the long weekdays, the short and the long months, AM and PM.

use super::calendar::{MONTHS, WEEKDAYS};
use super::parse::ParseError;

const LOCALES: &str = include_str!("data/locales.tsv");

/// A language.
#[derive(Clone, Debug)]
pub struct Locale {
    tag: String,
    short_days: Vec<&'static str>,
    long_days: Vec<&'static str>,
    short_months: Vec<&'static str>,
    long_months: Vec<&'static str>,
    day_periods: Vec<&'static str>,
}

/// Why a text is not one of a layout in a language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocaleError {
    /// It has none of the names at a place where the layout has one.
    Mismatch {
        /// The element of the layout.
        layout_element: String,
        /// The text.
        value: Vec<u8>,
    },
    /// The language has no names for an element of the layout.
    Unsupported {
        /// The element of the layout.
        layout_element: &'static str,
        /// The tag of the language.
        tag: String,
    },
}

impl LocaleError {
    /// As an error of reading a time.
    #[must_use]
    pub fn into_parse_error(self) -> ParseError {
        match self {
            Self::Mismatch { layout_element, value } => ParseError::of_locale(value, layout_element),
            Self::Unsupported { layout_element, tag } => ParseError::with_sentence(format!(
                "layout element \"{layout_element}\" is not supported by the language \"{tag}\""
            )),
        }
    }
}

impl Locale {
    /// The language of a tag of BCP 47, such as `fr` or `pt-BR`.
    ///
    /// # Errors
    /// The sentence of the Go collector: there is none.
    pub fn load(tag: &str) -> Result<Self, String> {
        let has_tag = |tags: &str| tags.split(' ').any(|found| found == tag);
        let found = LOCALES.lines().filter_map(|line| line.split_once('\t')).find(|(tags, _)| has_tag(tags));
        let Some((_, names)) = found else {
            return Err(format!("unsupported locale '{tag}', value must be a supported BCP 47 language tag"));
        };
        let list = |names: Option<&'static str>| match names {
            None | Some("") => Vec::new(),
            Some(names) => names.split('|').collect(),
        };
        let mut lists = names.split('\t');
        let mut next = || list(lists.next());
        Ok(Self {
            tag: tag.to_owned(),
            short_days: next(),
            long_days: next(),
            short_months: next(),
            long_months: next(),
            day_periods: next(),
        })
    }

    /// The text with the names of this language in English.
    ///
    /// # Errors
    /// A name is not there, or the language has none.
    pub fn translate(&self, layout: &str, value: &[u8]) -> Result<Vec<u8>, LocaleError> {
        let mut translation = Translation { locale: self, value, at: 0, out: Vec::with_capacity(value.len() + 16) };
        let (bytes, mut at) = (layout.as_bytes(), 0);
        while let (Some(first), Some(rest)) = (bytes.get(at), bytes.get(at..)) {
            let before = if at == 0 { None } else { bytes.get(at - 1) };
            at += match translation.element(*first, rest, before)? {
                Some(len) => len,
                None => {
                    translation.copy_byte();
                    1
                }
            };
        }
        let rest = value.get(translation.at..).unwrap_or_default();
        translation.out.extend_from_slice(rest);
        Ok(translation.out)
    }
}

struct Translation<'t> {
    locale: &'t Locale,
    value: &'t [u8],
    at: usize,
    out: Vec<u8>,
}

impl Translation<'_> {
    /// Translates one element of the layout. Returns its length; `None` if there is none.
    fn element(&mut self, first: u8, rest: &[u8], before: Option<&u8>) -> Result<Option<usize>, LocaleError> {
        let locale = self.locale;
        let ends_word = |len: usize| !rest.get(len).is_some_and(u8::is_ascii_lowercase);
        let short = |names: [&'static str; 12]| names.map(|name| name.get(..3).unwrap_or_default());
        match first {
            b'J' if rest.starts_with(b"January") => self.name("January", &locale.long_months, &MONTHS),
            b'J' if rest.starts_with(b"Jan") && ends_word(3) => self.name("Jan", &locale.short_months, &short(MONTHS)),
            b'M' if rest.starts_with(b"Monday") => self.name("Monday", &locale.long_days, &WEEKDAYS),
            b'M' if rest.starts_with(b"Mon") && ends_word(3) => {
                let names = WEEKDAYS.map(|name| name.get(..3).unwrap_or_default());
                self.name("Mon", &locale.short_days, &names)
            }
            b'P' if rest.get(1).is_some_and(|b| b.eq_ignore_ascii_case(&b'm')) => {
                self.name("PM", &locale.day_periods, &["AM", "PM"])
            }
            b'p' if rest.get(1).is_some_and(|b| b.eq_ignore_ascii_case(&b'm')) => {
                self.name("pm", &locale.day_periods, &["am", "pm"])
            }
            b'_' if rest.starts_with(b"_2006") => self.padded("_2006", 5),
            b'_' if rest.starts_with(b"_2") => self.padded("_2", 2),
            b'_' if rest.starts_with(b"__2") => self.padded("__2", 3),
            // The second digit of `03` is no element of its own.
            b'3' | b'4' | b'5' if before != Some(&b'0') => self.clock_digits(first).map(Some),
            _ => Ok(None),
        }
    }

    fn copy_byte(&mut self) {
        if let Some(b) = self.value.get(self.at) {
            // Go writes the byte as a character, and goes on by the length of that.
            let mut buffer = [0; 4];
            let text = char::from(*b).encode_utf8(&mut buffer);
            self.out.extend_from_slice(text.as_bytes());
            self.at += text.len();
        }
    }

    fn skip_spaces(&self) -> usize {
        let is_space = |b: &u8| matches!(b, b'\t'..=b'\r' | b' ' | 0x85 | 0xa0);
        let rest = self.value.get(self.at..).unwrap_or_default();
        self.at + rest.iter().take_while(|b| is_space(b)).count()
    }

    fn mismatch(&self, layout_element: &str) -> LocaleError {
        LocaleError::Mismatch { layout_element: layout_element.to_owned(), value: self.value.to_vec() }
    }

    /// Writes the English name for the longest name that is at the front.
    fn name(
        &mut self,
        layout_element: &'static str,
        names: &[&'static str],
        english: &[&'static str],
    ) -> Result<Option<usize>, LocaleError> {
        if names.is_empty() {
            return Err(LocaleError::Unsupported { layout_element, tag: self.locale.tag.clone() });
        }
        let start = self.skip_spaces();
        let mut found: Option<(usize, &str)> = None;
        for (name, english) in names.iter().zip(english) {
            let candidate = self.value.get(start..start + name.len()).and_then(|c| std::str::from_utf8(c).ok());
            let is_longer = found.is_none_or(|(len, _)| name.len() > len);
            if is_longer && candidate.is_some_and(|candidate| equals_folded(candidate, name)) {
                found = Some((name.len(), english));
            }
        }
        let Some((len, english)) = found.filter(|_| start < self.value.len()) else {
            return Err(self.mismatch(layout_element));
        };
        self.out.extend(std::iter::repeat_n(b' ', start - self.at));
        self.out.extend_from_slice(english.as_bytes());
        self.at = start + len;
        Ok(Some(layout_element.len()))
    }

    /// Copies a number with spaces in front; not if the text is too short.
    fn padded(&mut self, layout_element: &str, width: usize) -> Result<Option<usize>, LocaleError> {
        if self.value.len() < self.at + width {
            return Ok(None);
        }
        let start = self.skip_spaces();
        if start >= self.value.len() {
            return Err(self.mismatch(layout_element));
        }
        let is_space = |b: &u8| matches!(b, b'\t'..=b'\r' | b' ' | 0x85 | 0xa0);
        let rest = self.value.get(start..).unwrap_or_default();
        let len = rest.iter().take(width).take_while(|b| !is_space(b)).count();
        self.out.extend(std::iter::repeat_n(b' ', start - self.at));
        self.out.extend_from_slice(rest.get(..len).unwrap_or_default());
        self.at = start + len;
        Ok(Some(width))
    }

    /// Copies one or two digits with spaces in front.
    fn clock_digits(&mut self, element: u8) -> Result<usize, LocaleError> {
        let start = self.skip_spaces();
        let rest = self.value.get(start..).unwrap_or_default();
        let len = rest.iter().take(2).take_while(|b| b.is_ascii_digit()).count();
        if len == 0 {
            return Err(self.mismatch(char::from(element).encode_utf8(&mut [0; 4])));
        }
        self.out.extend(std::iter::repeat_n(b' ', start - self.at));
        self.out.extend_from_slice(rest.get(..len).unwrap_or_default());
        self.at = start + len;
        Ok(1)
    }
}

/// Whether two texts are the same in any case, character by character.
fn equals_folded(a: &str, b: &str) -> bool {
    a == b || a.chars().flat_map(char::to_lowercase).eq(b.chars().flat_map(char::to_lowercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_language_become_english() {
        let french = Locale::load("fr").expect("known");
        let translated = french.translate("Monday 2 January 2006", "Jeudi 5 août 2021".as_bytes());
        assert_eq!(translated.as_deref(), Ok(&b"Thursday 5 August 2021"[..]));
        let portuguese = Locale::load("pt-BR").expect("known");
        assert!(portuguese.translate("January", b"x").is_err());
        assert!(Locale::load("xx").is_err());
    }
}
