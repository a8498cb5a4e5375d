//! Which texts the grammar accepts.

use crate::lexer::{TokenKind as Kind, tokens, unquote};
use crate::parser;

fn kinds(text: &str) -> Vec<Kind> {
    tokens(text).expect(text).into_iter().map(|token| token.kind).collect()
}

#[test]
fn text_is_divided_by_the_first_rule_that_matches() {
    assert_eq!(
        kinds("0x1f 0x 1.5 1. .5 1.2e-3 12"),
        [Kind::Bytes, Kind::Int, Kind::Lowercase, Kind::Float, Kind::Float, Kind::Float, Kind::Float, Kind::Int,]
    );
    assert_eq!(kinds("1e5"), [Kind::Int, Kind::Lowercase]);
    assert_eq!(
        kinds("nil not or and true false"),
        [Kind::Nil, Kind::Not, Kind::Or, Kind::And, Kind::Boolean, Kind::Boolean,]
    );
    // A keyword ends where the word ends.
    assert_eq!(
        kinds("nilly nil_x notX orB"),
        [Kind::Lowercase, Kind::Lowercase, Kind::Lowercase, Kind::Uppercase, Kind::Lowercase, Kind::Uppercase,]
    );
    assert_eq!(
        kinds("IsMatch SHA256 a1_b"),
        [Kind::Uppercase, Kind::Lowercase, Kind::Uppercase, Kind::Lowercase, Kind::Uppercase, Kind::Lowercase,]
    );
    assert_eq!(
        kinds("== != <= >= < > = => + - * /"),
        [
            Kind::Comparison,
            Kind::Comparison,
            Kind::Comparison,
            Kind::Comparison,
            Kind::Comparison,
            Kind::Comparison,
            Kind::Equal,
            Kind::Arrow,
            Kind::AddSub,
            Kind::AddSub,
            Kind::MultDiv,
            Kind::MultDiv,
        ]
    );
    assert_eq!(kinds("_ (_)"), [Kind::Underscore, Kind::OpenParenthesis, Kind::Underscore, Kind::CloseParenthesis]);
    assert_eq!(kinds("\"a\\\"b\" \"\n\""), [Kind::String, Kind::String]);
}

#[test]
fn character_that_begins_no_token_is_found_at_its_position() {
    for (text, at) in [("a ! b", 2), ("a \"b", 2), ("\"a\\\nb\"", 0), ("a _b", 2), ("é", 0), ("set(a, 'x')", 7)] {
        assert_eq!(tokens(text).expect_err(text), at, "{text}");
    }
}

#[test]
fn escapes_are_those_of_go() {
    for (token, content) in [
        (r#""a\n\t\r\\\"b""#, Ok("a\n\t\r\\\"b")),
        (r#""\a\b\f\v""#, Ok("\u{7}\u{8}\u{c}\u{b}")),
        (r#""\x41\u00e9\U0001F600\101""#, Ok("Aé😀A")),
        // A byte is a code point.
        (r#""\xff""#, Ok("ÿ")),
        (r#""\d""#, Err(1)),
        (r#""ab\'""#, Err(3)),
        (r#""\400""#, Err(1)),
        (r#""\ud800""#, Err(1)),
        (r#""\x4""#, Err(1)),
        (r#""""#, Ok("")),
    ] {
        assert_eq!(unquote(token).as_deref(), content.as_ref().map(|content| *content), "{token}");
    }
}

const STATEMENTS: &[&str] = &[
    "set(name, \"x\")",
    "set(name,\"x\")where name==\"y\"",
    "set ( span . name , \"x\" )",
    "se t(name, \"x\")",
    "f()",
    "f(a, b) where true",
    "f(attributes[\"a\"][0][attributes[\"i\"]][Len(x)][-1])",
    "f(resource.attributes[\"a\"].b.c[1])",
    "f([1 2, 3], [, 1], [], [[1], {}])",
    "f([a[0x01] B()[nil][true] a[[a[[1]]]]])",
    "f({\"a\": 1 \"b\": 2, \"c\": {\"d\": [nil]},})",
    "f(0x0aff, 0x00, true, false, nil, KIND, KIND_ONE)",
    "f(1, 1.5, .5, 1., 010, 00, 0)",
    "f(-1, +1, -a, -(1 + 2), 1 - -1, 1 * 2 + 3 / (4 - A()))",
    "f(a = 1, bC = SHA256, c_d = ConvertCase)",
    "f(A(B(C(1))[\"x\"])[0][\"y\"])",
    "f(a) where a == 1 and b != 2 or not c < 3 and (d >= 4 or not (e <= 5))",
    "f(a) where (1 + 2) * 3 == a",
    "f(a) where ((1 + 2)) == ((a))",
    "f(a) where (((a == 1)))",
    "f(a) where ((a) == 1)",
    "f(a) where IsMatch(a, \"b\") and not IsMap(b)[\"c\"]",
    "f(a) where true == a",
    "f(a) where (true and (false))",
    "f(a) where where == 1",
    "f(where)",
    "f(a) where a == nil",
];

const NO_STATEMENTS: &[&str] = &[
    "",
    "set",
    "set(",
    "set(name",
    "set(name,)",
    "set(name, \"x\"",
    "set(name, \"x\"))",
    "set(name, \"x\") where",
    "set(name, \"x\") when a == 1",
    "set(name, \"x\") where name",
    "set(name, \"x\") where name == ",
    "set(name, \"x\") where name = 1",
    "set(name, \"x\") where name == 1 and",
    "set(name, \"x\") where not not true",
    "set(name, \"x\") where (name == 1",
    "set(name, \"x\") where name == 1)",
    "set(name, \"x\") where 1 + 2",
    "set(name, \"x\") where A() + 1",
    "set(name, \"x\")[0]",
    "Set(name, \"x\")",
    "set(name, lower(\"x\"))",
    "set(name, 08)",
    "set(name, 9223372036854775808)",
    "set(name, 0x1)",
    "set(name, --1)",
    "set(name, -\"a\")",
    "set(name, [1, ])",
    "set(name, [1, 2 3])",
    "set(name, {a: 1})",
    "set(name, {\"a\" 1})",
    "set(name, {, \"a\": 1})",
    "set(name, attributes[])",
    "set(name, attributes[1 + 2])",
    "set(name, attributes[\"a\" \"b\"])",
    "set(name, attributes.)",
    "set(name, .attributes)",
    "set(name, a..b)",
    "set(name, attributes.or)",
    "set(name, Upper)(x)",
    "set(name, a = b = c)",
    "set(name, (x) => x)",
    "set(name, () => 1)",
    "set(name, (x, _) => x == 1)",
    "set(name, x == 1)",
    "set(name, not true)",
    "set(name, 'x')",
    "set(name, \"\\d\")",
    "set(name, 1e5)",
    "set(name, \"x\") where (Foo) == 1",
    "1",
    "\"a\"",
];

#[test]
fn statements_of_the_grammar_are_parsed() {
    for text in STATEMENTS {
        parser::statement(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn texts_that_are_no_statements_are_refused_with_a_place() {
    for text in NO_STATEMENTS {
        let error = parser::statement(text).expect_err(text);
        assert!(
            error.place.start <= text.len() && error.place.end <= text.len() && !error.message.is_empty(),
            "{text}"
        );
    }
}

#[test]
fn nesting_is_limited_and_takes_linear_time() {
    for (open, close) in [("(", ")"), ("[", "]"), ("A(", ")"), ("-(", ")"), ("{\"a\":", "}"), ("a[", "]"), ("(1+", ")")]
    {
        let nested = |depth: usize| format!("f({}1{}) where true", open.repeat(depth), close.repeat(depth));
        let open_only = format!("f({}", open.repeat(20_000));
        assert!(parser::statement(&nested(40)).is_ok(), "{open}");
        for text in [nested(101), nested(20_000), open_only] {
            let error = parser::statement(&text).expect_err(open);
            assert!(error.message.contains("nested more than 100 deep"), "{open}: {error}");
        }
    }
    // What is no key is a list: each is tried once.
    let lists = |depth: usize| format!("f([{}0x01{}])", "a[".repeat(depth), "]".repeat(depth));
    assert!(parser::statement(&lists(40)).is_ok());
    assert!(parser::statement(&lists(200)).is_err());
    let condition = |depth: usize| format!("{}a == 1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(parser::condition(&condition(90)).is_ok());
    assert!(parser::condition(&condition(200)).is_err());
    assert!(parser::condition(&format!("{} true", "not (".repeat(10_000))).is_err());
    // Not nested, only long.
    let long = format!("f({}1) where {}true", "1 + ".repeat(50_000), "a == 1 and ".repeat(50_000));
    assert!(parser::statement(&long).is_ok());
}

#[test]
fn syntax_error_says_line_column_and_what_was_expected() {
    for (text, message) in [
        (
            "set(name, \"x\")\n  wher a == 1",
            "statement has invalid syntax: 2:3: unexpected token \"wher\" (expected where)",
        ),
        ("set(name \"x\")", "statement has invalid syntax: 1:10: unexpected token \"\\\"x\\\"\" (expected ) or ,)"),
        ("set(name, ", "statement has invalid syntax: 1:11: unexpected end (expected a value)"),
        ("set(é)", "statement has invalid syntax: 1:5: invalid input text \"é\""),
        ("set(\"a", "statement has invalid syntax: 1:5: a string that does not end with \""),
        (
            "f(a) where (a == 1 and b)",
            "statement has invalid syntax: 1:25: unexpected token \")\" (expected a comparison such as ==)",
        ),
    ] {
        assert_eq!(parser::statement(text).expect_err(text).to_string(), message, "{text}");
    }
}
