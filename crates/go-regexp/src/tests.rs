use super::*;

fn error(pattern: &str) -> String {
    GoRegexp::compile(pattern).map_or_else(|error| error.to_string(), |_| "valid".to_owned())
}

/// The answers are those of Go.
#[test]
fn invalid_pattern_has_the_error_of_go() {
    for (pattern, expected) in [
        ("[", "missing closing ]: `[`"),
        ("[^]", "missing closing ]: `[^]`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a*??", "invalid nested repetition operator: `*??`"),
        ("(?i)*", "missing argument to repetition operator: `*`"),
        ("a|*", "missing argument to repetition operator: `*`"),
        ("(*)", "missing argument to repetition operator: `*`"),
        ("a{2,1}", "invalid repeat count: `{2,1}`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        (r"\8", r"invalid escape sequence: `\8`"),
        (r"\1", r"invalid escape sequence: `\1`"),
        (r"\y", r"invalid escape sequence: `\y`"),
        (r"\C", r"invalid escape sequence: `\C`"),
        (r"[\b]", r"invalid escape sequence: `\b`"),
        (r"[a-\d]", r"invalid escape sequence: `\d`"),
        (r"\xg", r"invalid escape sequence: `\xg`"),
        (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
        (r"\", "trailing backslash at end of expression: ``"),
        ("(", "missing closing ): `(`"),
        ("a)", "unexpected ): `a)`"),
        ("[b-a]", "invalid character class range: `b-a`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
        (r"\pX", r"invalid character class range: `\pX`"),
        (r"\p{Greekk}", r"invalid character class range: `\p{Greekk}`"),
        ("(?P<n", "invalid named capture: `(?P<n`"),
        ("(?P<a b>x)", "invalid named capture: `(?P<a b>`"),
        ("(?z)", "invalid or unsupported Perl syntax: `(?z`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?i", "invalid or unsupported Perl syntax: `(?i`"),
        ("(?-)", "invalid or unsupported Perl syntax: `(?-)`"),
    ] {
        assert_eq!(error(pattern), format!("error parsing regexp: {expected}"), "{pattern}");
    }
    for pattern in [
        "(?P<n>a)(?P<n>b)",
        "(?P<1>a)",
        "(?<n>a)",
        "x{,3}",
        r"\Q*",
        "a(?i)*",
        "[[:^alpha:]]",
        "[a-]",
        "[-a]",
        "[a-b-c]",
        "[]a]",
        "(|a)*",
        "{",
        "a{01}",
        "[&&--~~[]",
        r"\<\>\-\_",
        "^*",
        "(?)a",
        "(?ii)a",
        "(?:)*",
    ] {
        assert_eq!(error(pattern), "valid", "{pattern}");
    }
}

#[test]
fn error_names_the_position_in_the_pattern() {
    let error = GoRegexp::compile("äb[d-c]").unwrap_err();
    assert_eq!(error.hint(), "invalid character class range: `d-c` at character 4 of the pattern");
    let (index, error) = GoRegexp::compile_any(&["a".to_owned(), "(".to_owned()]).unwrap_err();
    assert_eq!((index, error.to_string()), (1, "error parsing regexp: missing closing ): `(`".to_owned()));
}

#[test]
fn pattern_matches_by_the_rules_of_go() {
    for (pattern, matching, other) in [
        (r"^\d$", &["5"][..], &["٥", "a"][..]),
        (r"^\w$", &["_"], &["é"]),
        (r"^\s$", &[" "], &["\u{b}", "\u{a0}"]),
        (r"^\S$", &["\u{b}"], &["\t"]),
        (r"é\b", &["éa"], &["é", "é "]),
        (r"^[a&&b]$", &["&", "a", "b"], &["c"]),
        (r"^[a~~b]$", &["a", "~"], &["c"]),
        (r"^[[a]$", &["[", "a"], &["b"]),
        (r"^x{,3}$", &["x{,3}"], &["xx"]),
        (r"^\Qa.b\E.$", &["a.bc"], &["aXbc"]),
        (r"^\101\x42\x{43}$", &["ABC"], &[]),
        (r"^a(?i)b|^c", &["aB", "C"], &["Ab"]),
        (r"^(a(?i)b)c$", &["aBc"], &["aBC"]),
        (r"^(?i:a)b$", &["Ab"], &["AB"]),
        (r"^(?i)k$", &["\u{212a}"], &["c"]),
        (r"(?m)^b$", &["a\nb\nc"], &["ab"]),
        (r"^a.b$", &["axb"], &["a\nb"]),
        (r"(?s)^a.b$", &["a\nb"], &["ab"]),
        (r"^[^a]$", &["\n"], &["a"]),
        (r"^\p{Greek}\PL$", &["α1"], &["a1"]),
        (r"^[\p{^Greek}]$", &["a"], &["α"]),
        (r"^[[:^alpha:]\d]$", &["1", "-"], &["a"]),
        (r"^\<x\>$", &["<x>"], &["x"]),
        ("", &["", "a"], &[]),
    ] {
        let regexp = GoRegexp::compile(pattern).unwrap();
        matching.iter().for_each(|text| assert!(regexp.is_match(text.as_bytes()), "{pattern} {text}"));
        other.iter().for_each(|text| assert!(!regexp.is_match(text.as_bytes()), "{pattern} {text}"));
    }
    let any = GoRegexp::compile_any(&["(?i)^a$".to_owned(), "^b$".to_owned()]).unwrap();
    assert_eq!([b"A", b"b", b"B"].map(|text| any.is_match(text)), [true, true, false]);
}

#[test]
fn text_that_is_not_utf8_is_matched_byte_by_byte() {
    let regexp = GoRegexp::compile(r"^a(?P<x>..)(?P<y>.*)$").unwrap();
    assert_eq!(regexp.group_names(), ["x", "y"]);
    let text = b"a\xff\xe2\x82b\xc3";
    assert!(regexp.is_match(text));
    let mut groups = Vec::new();
    regexp.capture(text, &mut regexp.capture_locations(), |index, text| groups.push((index, text.to_vec())));
    assert_eq!(groups, [(0, b"\xff\xe2".to_vec()), (1, b"\x82b\xc3".to_vec())]);
}

#[test]
fn group_without_a_part_in_the_match_is_empty() {
    let regexp = GoRegexp::compile("(?P<a>a)|(?P<b>b)").unwrap();
    let mut groups = Vec::new();
    let mut locations = regexp.capture_locations();
    regexp.capture(b"xb", &mut locations, |_, text| groups.push(text.to_vec()));
    assert_eq!(groups, [b"".to_vec(), b"b".to_vec()]);
    regexp.capture(b"x", &mut locations, |_, _| groups.clear());
    assert_eq!(groups.len(), 2, "no match, no call");
}

/// The answers are those of Go's `ReplaceAllString`.
#[test]
fn matches_replaced_by_a_template_are_those_of_go() {
    for (pattern, text, template, expected) in [
        ("x*", "\u{e9}", "-", "-\u{e9}-"),
        ("a*", "baac", "-", "-b-c-"),
        (r"(\w+)@(\w+)", "ann@x bob@y", "$2.$1", "x.ann y.bob"),
        (r"(\w+)@(\w+)", "ann@x", "$1x", ""),
        (r"(\w+)@(\w+)", "ann@x", "${1}x", "annx"),
        (r"(\w+)@(\w+)", "ann@x", "$$1 $ ${ ${1 $!", "$1 $ ${ ${1 $!"),
        (r"(\w+)@(\w+)", "ann@x", "$0-$3-$01", "ann@x--"),
        ("(?P<n>a)|(?P<n>b)", "ab", "[$n]", "[a][b]"),
        ("(a)|b", "ab", "[$1]", "[a][]"),
    ] {
        let mut out = Vec::new();
        let regexp = GoRegexp::compile(pattern).unwrap();
        assert!(regexp.replace_all(text.as_bytes(), &Template::parse(template), &mut out), "{pattern}");
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{pattern} {text} {template}");
    }
}

#[test]
fn text_that_is_not_utf8_is_replaced_at_its_own_bytes() {
    let mut out = Vec::new();
    let regexp = GoRegexp::compile("a.b").unwrap();
    assert!(regexp.replace_all(b"\xff\xfea\xffb\xff", &Template::parse("<$0>"), &mut out));
    assert_eq!(out, b"\xff\xfe<a\xffb>\xff");
}

#[test]
fn replacing_without_a_match_appends_nothing() {
    let mut out = Vec::new();
    assert!(!GoRegexp::compile("z").unwrap().replace_all(b"abc", &Template::parse("-"), &mut out));
    assert!(out.is_empty());
}

/// The ranges of all matches, from the offsets of each character of the text that is searched.
fn all_ranges(regexp: &GoRegexp, text: &[u8]) -> Vec<Vec<Option<Range<usize>>>> {
    let searched = with_replacement_characters(text);
    // The offset in `text` of each offset in `searched` at which a character begins, and of its end.
    let mut offsets = vec![None; searched.len() + 1];
    let (mut at, mut original) = (0, 0);
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            offsets[at] = Some(original);
            (at, original) = (at + c.len_utf8(), original + c.len_utf8());
        }
        for _ in chunk.invalid() {
            offsets[at] = Some(original);
            (at, original) = (at + 3, original + 1);
        }
    }
    offsets[at] = Some(original);
    let range = |found: Match<'_>| Some(offsets[found.start()]?..offsets[found.end()]?);
    let matches = regexp.regex.captures_iter(&searched);
    matches
        .map(|captures| captures.iter().map(|group| group.and_then(range)).collect::<Vec<_>>())
        .filter(|groups| groups[0].is_some())
        .collect()
}

#[test]
fn offsets_of_matches_in_text_that_is_not_utf8_are_those_of_the_bytes() {
    let parts: [&[u8]; 9] =
        [b"a", b"b", b"\xff", b"\xe2\x82", b"\xc3", "é".as_bytes(), "€".as_bytes(), b" ", "\u{fffd}".as_bytes()];
    let mut seed = 7_u64;
    for pattern in ["", "a", "x*", "(a)|(b)", r"(\w+)(\W*)", "(.)(.)?", "\u{fffd}+", "(a*)(b*)"] {
        let regexp = GoRegexp::compile(pattern).unwrap();
        for _ in 0..200 {
            let mut text = Vec::new();
            for _ in 0..seed % 24 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.extend_from_slice(parts[(seed >> 33) as usize % parts.len()]);
            }
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut found = Vec::new();
            let all = regexp.find_all(&text, |groups| {
                found.push(groups.to_vec());
                Ok::<(), ()>(())
            });
            assert_eq!(all, Ok(()));
            assert_eq!(found, all_ranges(&regexp, &text), "{pattern:?} {text:x?}");
            assert_eq!(regexp.find(&text), found.first().cloned(), "{pattern:?} {text:x?}");
        }
    }
}

#[test]
fn many_matches_in_text_that_is_not_utf8_are_all_found() {
    // Where each offset is computed from the beginning, this does not end within minutes.
    for pattern in ["a", "(a)"] {
        let regexp = GoRegexp::compile(pattern).unwrap();
        let text = b"\xffa".repeat(1 << 20);
        let mut count = 0;
        let all = regexp.find_all(&text, |groups| {
            assert_eq!(groups[0], Some(2 * count + 1..2 * count + 2));
            count += 1;
            Ok::<(), ()>(())
        });
        assert_eq!((all, count), (Ok(()), 1 << 20));
    }
}
