//! Globs: `*` matches any text without a separator, `**` any text, `?` one character that is no separator, `[a-z]`, `[!a-z]`
//! and `[abc]` one of a set, `{a,b}` one of several globs; a backslash makes the next character stand for itself.

use std::fmt;

use crate::GoRegexp;

/// Why a glob is not valid: its author is at fault. The text is Go's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobError(String);

impl fmt::Display for GlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for GlobError {}

/// A compiled glob. It matches a whole text, in time linear in it.
#[derive(Clone, Debug)]
pub struct Glob {
    regexp: GoRegexp,
}

impl Glob {
    /// Compiles a glob. Without a separator `*` and `?` match every character.
    ///
    /// # Errors
    /// The pattern is no glob.
    pub fn compile(pattern: &[u8], separator: Option<char>) -> Result<Self, GlobError> {
        let pattern = std::str::from_utf8(pattern).ok().filter(|pattern| !pattern.contains('\u{fffd}'));
        let pattern = pattern.ok_or_else(|| GlobError("could not read rune".to_owned()))?;
        // A character with the number zero ends a glob.
        let pattern = pattern.split('\0').next().unwrap_or_default();
        let regexp = translate(pattern, separator).map_err(GlobError)?;
        let regexp = GoRegexp::compile(&regexp).map_err(|error| GlobError(error.to_string()))?;
        Ok(Self { regexp })
    }

    /// Whether it matches the whole text.
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.regexp.is_match(text)
    }
}

fn put_literal(out: &mut String, c: char) {
    out.push_str(&format!("\\x{{{:x}}}", u32::from(c)));
}

/// The glob as a regular expression.
fn translate(pattern: &str, separator: Option<char>) -> Result<String, String> {
    let one = separator.map_or_else(
        || ".".to_owned(),
        |separator| {
            let mut set = "[^".to_owned();
            put_literal(&mut set, separator);
            set + "]"
        },
    );
    let mut out = String::from(r"(?s)\A(?:");
    let (mut chars, mut groups) = (pattern.chars().peekable(), 0_usize);
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => out.push_str(".*"),
            '*' => {
                out.push_str(&one);
                out.push('*');
            }
            '?' => out.push_str(&one),
            '[' => put_set(&mut out, &mut chars)?,
            '{' => {
                groups += 1;
                out.push_str("(?:");
            }
            ',' if groups > 0 => out.push('|'),
            '}' if groups > 0 => {
                groups -= 1;
                out.push(')');
            }
            '\\' => {
                if let Some(c) = chars.next() {
                    put_literal(&mut out, c);
                }
            }
            c => put_literal(&mut out, c),
        }
    }
    // A group that is not closed ends with the glob.
    out.push_str(&")".repeat(groups));
    out.push_str(r")\z");
    Ok(out)
}

/// A set of characters, behind its `[`: a range, or some characters.
fn put_set(out: &mut String, chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<(), String> {
    const UNEXPECTED_END: &str = "unexpected end of input";
    let is_negated = chars.next_if_eq(&'!').is_some();
    let mut members = String::new();
    let first = chars.next().ok_or(UNEXPECTED_END)?;
    if chars.next_if_eq(&'-').is_some() {
        let last = chars.next().ok_or(UNEXPECTED_END)?;
        if last < first {
            return Err(format!("hi character '{last}' should be greater than lo '{first}'"));
        }
        put_literal(&mut members, first);
        members.push('-');
        put_literal(&mut members, last);
        if chars.next().ok_or(UNEXPECTED_END)? != ']' {
            return Err("expected close range character".to_owned());
        }
    } else {
        let mut next = Some(first);
        loop {
            match next {
                None => return Err(UNEXPECTED_END.to_owned()),
                Some(']') => break,
                Some('\\') => {
                    if let Some(c) = chars.next() {
                        put_literal(&mut members, c);
                    }
                }
                Some(c) => put_literal(&mut members, c),
            }
            next = chars.next();
        }
    }
    if members.is_empty() {
        return Err("could not parse range".to_owned());
    }
    out.push_str(if is_negated { "[^" } else { "[" });
    out.push_str(&members);
    out.push(']');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers are those of the Go collector.
    #[test]
    fn glob_matches_the_whole_text() {
        for (pattern, text, expected) in [
            ("a*", "abc", Ok(true)),
            ("a*c", "a\nc", Ok(true)),
            ("?b", "éb", Ok(true)),
            ("[a-c]x", "bx", Ok(true)),
            ("[!a-c]x", "bx", Ok(false)),
            ("[abc]", "c", Ok(true)),
            ("{a,b*}c", "bxc", Ok(true)),
            ("a,b}", "a,b}", Ok(true)),
            (r"\*", "*", Ok(true)),
            ("user/*/list", "user/1/2/list", Ok(true)),
            ("[", "", Err("unexpected end of input")),
            ("[]", "", Err("could not parse range")),
            ("[c-a]", "", Err("hi character 'a' should be greater than lo 'c'")),
        ] {
            let found = Glob::compile(pattern.as_bytes(), None).map(|glob| glob.is_match(text.as_bytes()));
            assert_eq!(found, expected.map_err(|why| GlobError(why.to_owned())), "{pattern}");
        }
    }

    /// The answers are those of the Go collector.
    #[test]
    fn star_with_a_separator_does_not_match_it() {
        for (pattern, text, expected) in [
            ("k8s.*.name", "k8s.pod.name", true),
            ("k8s.*.name", "k8s.pod.label.name", false),
            ("db.**.name", "db.a.b.name", true),
            ("db.**", "db.", true),
            ("a?b", "a.b", false),
            ("a?b", "axb", true),
            ("a[!x]b", "a.b", true),
            ("{a.*,b}", "a.x", true),
        ] {
            let glob = Glob::compile(pattern.as_bytes(), Some('.')).unwrap();
            assert_eq!(glob.is_match(text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
