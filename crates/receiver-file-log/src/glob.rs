//! Patterns of paths: `*` and `?` in a name, `[a-z]`, `{a,b}`, and `**` for any directories.
//!
//! Compares names; lists no directory. Names are bytes: one that is not UTF-8 is matched byte by byte.

/// Patterns that `{..}` can expand to.
const MAX_ALTERNATIVES: usize = 1000;

/// A pattern without `{..}`: its segments between slashes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pattern {
    pub(crate) is_absolute: bool,
    pub(crate) segments: Vec<Segment>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Segment {
    /// A name as it is.
    Name(Vec<u8>),
    /// A pattern for one name.
    Wild(Vec<Token>),
    /// `**`: any directories, also none.
    AnyDirs,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Token {
    Char(char),
    AnyChar,
    AnyChars,
    Class { is_negated: bool, ranges: Vec<(char, char)> },
}

impl Pattern {
    /// Parses a pattern; `{..}` makes several of one.
    ///
    /// # Errors
    /// It is not valid.
    pub(crate) fn parse(text: &str) -> Result<Vec<Self>, String> {
        let mut found = Vec::new();
        expand(text, &mut found)?;
        found.iter().map(|text| Self::parse_one(text)).collect()
    }

    fn parse_one(text: &str) -> Result<Self, String> {
        let is_absolute = text.starts_with('/');
        let names = text.split('/').filter(|name| !name.is_empty() && *name != ".");
        let segments = names.map(|name| if name == "**" { Ok(Segment::AnyDirs) } else { segment(name) });
        Ok(Self { is_absolute, segments: segments.collect::<Result<_, String>>()? })
    }

    /// Whether a path matches as a whole.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        let is_absolute = path.first() == Some(&b'/');
        let names: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
        if is_absolute != self.is_absolute {
            return false;
        }
        // Which numbers of names the segments so far can match.
        let mut reachable = vec![false; names.len() + 1];
        reachable[..1].fill(true);
        for segment in &self.segments {
            let mut next = vec![false; names.len() + 1];
            let mut is_open = false;
            for (at, was) in reachable.iter().enumerate() {
                match segment {
                    Segment::AnyDirs => {
                        is_open |= *was;
                        if let Some(next) = next.get_mut(at) {
                            *next = is_open;
                        }
                    }
                    one => {
                        let is_match = *was && names.get(at).is_some_and(|name| one.matches(name));
                        if let Some(next) = next.get_mut(at + 1) {
                            *next = is_match;
                        }
                    }
                }
            }
            reachable = next;
        }
        reachable.last().copied().unwrap_or(false)
    }
}

impl Segment {
    /// Whether one name matches.
    pub(crate) fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Wild(tokens) => tokens_match(tokens, name),
            Self::AnyDirs => true,
        }
    }
}

/// The first character of a name, or its first byte where that is none.
fn first(name: &[u8]) -> Option<(Option<char>, &[u8])> {
    let (byte, rest) = name.split_first()?;
    if byte.is_ascii() {
        return Some((Some(char::from(*byte)), rest));
    }
    let head = name.get(..name.len().min(4)).unwrap_or_default();
    let c = head.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
    Some((c, c.map_or(rest, |c| name.get(c.len_utf8()..).unwrap_or_default())))
}

/// Compares with one position to return to, so that the time is at most the product of both lengths.
fn tokens_match(tokens: &[Token], name: &[u8]) -> bool {
    let (mut at, mut rest) = (0, name);
    let mut star: Option<(usize, &[u8])> = None;
    loop {
        match tokens.get(at) {
            Some(Token::AnyChars) => {
                star = Some((at, rest));
                at += 1;
                continue;
            }
            None if rest.is_empty() => return true,
            Some(token) => {
                if let Some((c, after)) = first(rest)
                    && token.matches(c)
                {
                    (at, rest) = (at + 1, after);
                    continue;
                }
            }
            None => {}
        }
        let Some((star_at, from)) = star else { return false };
        let Some((_, after)) = first(from) else { return false };
        star = Some((star_at, after));
        (at, rest) = (star_at + 1, after);
    }
}

impl Token {
    fn matches(&self, c: Option<char>) -> bool {
        match self {
            Self::Char(own) => c == Some(*own),
            Self::AnyChar | Self::AnyChars => true,
            Self::Class { is_negated, ranges } => {
                let is_in = c.is_some_and(|c| ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)));
                is_in != *is_negated
            }
        }
    }
}

const BAD: &str = "syntax error in pattern";

fn segment(name: &str) -> Result<Segment, String> {
    let mut tokens = Vec::new();
    let mut is_wild = false;
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => {
                is_wild = true;
                if tokens.last() == Some(&Token::AnyChars) {
                    continue;
                }
                Token::AnyChars
            }
            '?' => {
                is_wild = true;
                Token::AnyChar
            }
            '\\' => Token::Char(chars.next().ok_or(BAD)?),
            '[' => {
                is_wild = true;
                let is_negated = chars.next_if(|c| matches!(c, '!' | '^')).is_some();
                let mut ranges = Vec::new();
                loop {
                    let mut bound = || match chars.next() {
                        Some('\\') => chars.next(),
                        other => other,
                    };
                    let from = match bound() {
                        Some(']') if !ranges.is_empty() => break,
                        Some(']' | '-') | None => return Err(BAD.to_owned()),
                        Some(from) => from,
                    };
                    let to = if chars.next_if_eq(&'-').is_some() {
                        match chars.next() {
                            Some('\\') => chars.next().ok_or(BAD)?,
                            Some(']') | None => return Err(BAD.to_owned()),
                            Some(to) => to,
                        }
                    } else {
                        from
                    };
                    ranges.push((from, to));
                }
                Token::Class { is_negated, ranges }
            }
            c => Token::Char(c),
        });
    }
    if is_wild {
        return Ok(Segment::Wild(tokens));
    }
    let text: String = tokens
        .iter()
        .filter_map(|token| match token {
            Token::Char(c) => Some(*c),
            _ => None,
        })
        .collect();
    Ok(Segment::Name(text.into_bytes()))
}

/// Appends the patterns that a text with `{a,b}` stands for.
fn expand(text: &str, found: &mut Vec<String>) -> Result<(), String> {
    let mut open = vec![text.to_owned()];
    while let Some(text) = open.pop() {
        if found.len() + open.len() > MAX_ALTERNATIVES {
            return Err(format!("the pattern stands for more than {MAX_ALTERNATIVES} patterns"));
        }
        match first_braces(&text)? {
            None => found.push(text),
            Some((before, alternatives, after)) => {
                open.extend(alternatives.iter().rev().map(|alternative| format!("{before}{alternative}{after}")));
            }
        }
    }
    Ok(())
}

/// See [`first_braces`].
type Braces<'t> = (&'t str, Vec<&'t str>, &'t str);

/// The text before the first `{`, what is between its commas, and the text behind its `}`.
fn first_braces(text: &str) -> Result<Option<Braces<'_>>, String> {
    let (mut begin, mut start, mut depth) = (None, 0, 0_u32);
    let mut alternatives = Vec::new();
    let (mut is_escaped, mut is_in_class) = (false, false);
    for (at, c) in text.char_indices() {
        if std::mem::take(&mut is_escaped) {
            continue;
        }
        match c {
            '\\' => is_escaped = true,
            '[' => is_in_class = true,
            ']' => is_in_class = false,
            _ if is_in_class => {}
            '{' => {
                depth += 1;
                if begin.is_none() {
                    (begin, start) = (Some(at), at + 1);
                }
            }
            ',' if depth == 1 => {
                alternatives.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            '}' if depth == 0 => return Err(BAD.to_owned()),
            '}' => {
                depth -= 1;
                if depth == 0 {
                    alternatives.push(text.get(start..at).unwrap_or_default());
                    let before = text.get(..begin.unwrap_or(0)).unwrap_or_default();
                    return Ok(Some((before, alternatives, text.get(at + 1..).unwrap_or_default())));
                }
            }
            _ => {}
        }
    }
    if depth > 0 { Err(BAD.to_owned()) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Pattern::parse(pattern).unwrap().iter().any(|pattern| pattern.matches(path.as_bytes()))
    }

    #[test]
    fn path_is_matched_by_names_classes_alternatives_and_any_directories() {
        for (pattern, path, expected) in [
            ("/var/log/*.log", "/var/log/a.log", true),
            ("/var/log/*.log", "/var/log/a/b.log", false),
            ("/var/log/**/*.log", "/var/log/a/b.log", true),
            ("/var/log/**/*.log", "/var/log/b.log", true),
            ("/var/**", "/var/a/b", true),
            ("**/b", "/a/b", false),
            ("/**/b", "/a/b", true),
            ("/a?c", "/abc", true),
            ("/a?c", "/a\u{e4}c", true),
            ("/a?c", "/ac", false),
            ("/[a-c]x", "/bx", true),
            ("/[!a-c]x", "/bx", false),
            ("/[^a-c]x", "/dx", true),
            ("/{a,b*}/c", "/bcd/c", true),
            ("/{a,b{c,d}}", "/bd", true),
            ("/a\\*b", "/a*b", true),
            ("/a\\*b", "/axb", false),
            ("/*a*b", "/xaxxab", true),
            ("./a", "a", true),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
        for pattern in ["/[a", "/{a", "/a}", "/[]", "/a\\", "/[a-]"] {
            assert_eq!(Pattern::parse(pattern), Err(BAD.to_owned()), "{pattern}");
        }
        assert!(Pattern::parse(&"{a,b}".repeat(20)).is_err());
    }

    #[test]
    fn name_that_is_not_utf8_is_matched() {
        let pattern = Pattern::parse("/a*?z").unwrap();
        assert!(pattern[0].matches(b"/a\xff\xfez"));
    }
}
