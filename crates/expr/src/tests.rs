use super::*;

struct Variables(Map);

impl Environment for Variables {
    fn variable(&self, name: &str) -> Option<View<'_>> {
        self.0.get(name.as_bytes()).map(Value::view)
    }

    fn env_var(&self, name: &str) -> String {
        format!("value of {name}")
    }
}

fn variables() -> Variables {
    let inner = Map::from([(key(b"n"), Value::Int(3)), (key(b"s"), Value::string("text"))]);
    let list = vec![Value::Int(1), Value::string("b"), Value::Double(2.5)];
    Variables(Map::from([
        (key(b"body"), Value::string("GET /index 200")),
        (key(b"attributes"), Value::Map(inner)),
        (key(b"list"), Value::Array(list)),
        (key(b"numbers"), Value::Array((1..=4).map(Value::Int).collect())),
    ]))
}

fn run(text: &str) -> String {
    let result = Program::parse(text).and_then(|program| program.run(&variables()));
    match result {
        Ok(value) => {
            let mut out = Vec::new();
            value.print(&mut out);
            format!("{} {}", value.go_type(), String::from_utf8_lossy(&out))
        }
        Err(error) => error,
    }
}

/// The values and the errors of evaluations are those of the Go library.
#[test]
fn expression_has_the_value_of_the_go_library() {
    for (text, expected) in [
        ("1 + 2 * 3", "int 7"),
        ("(1 + 2) * 3", "int 9"),
        ("7 / 2", "float64 3.5"),
        ("7 % 4", "int 3"),
        ("2 ** 3 ** 2", "float64 512"),
        ("-2 ** 2", "float64 -4"),
        ("1.5 + 1", "float64 2.5"),
        ("0x10 + 1_000", "int 1016"),
        ("'a' + \"b\"", "string ab"),
        ("attributes.n == 3.0", "bool true"),
        ("attributes['s'] == 'text'", "bool true"),
        ("attributes.none == nil", "bool true"),
        ("attributes.none.more", "cannot fetch more from <nil>"),
        ("attributes.none?.more", "<nil> <nil>"),
        ("attributes?.['s']", "string text"),
        ("attributes.none ?? 'default'", "string default"),
        ("body.x", "cannot fetch x from string"),
        ("body matches '^GET .* \\\\d+$'", "bool true"),
        ("nothing matches 'x'", "bool false"),
        ("attributes.n matches 'x'", "interface conversion: interface {} is int, not string"),
        ("body contains 'index' and not (body startsWith 'PUT')", "bool true"),
        ("body not contains 'index'", "bool false"),
        ("'b' in list", "bool true"),
        ("1.0 in list", "bool true"),
        ("'s' in attributes", "bool true"),
        ("'x' in nothing", "bool false"),
        ("'x' in body", "operator \"in\" not defined on string"),
        ("list[0]", "int 1"),
        ("list[-1]", "float64 2.5"),
        ("list[3]", "index out of range: 3 (array length is 3)"),
        ("body[0:3]", "string GET"),
        ("list[1:]", "[]interface {} [b 2.5]"),
        ("nothing < 1", "invalid operation: <nil> < int"),
        ("nothing && true", "interface conversion: interface {} is nil, not bool"),
        ("false && nothing", "bool false"),
        ("true || nothing", "bool true"),
        ("len(body) > 3 ? 'long' : 'short'", "string long"),
        ("len('\u{e4}b')", "int 2"),
        ("upper(attributes.s)", "string TEXT"),
        ("split('a,b,c', ',')", "[]interface {} [a b c]"),
        ("split('a,b,c', ',', 2)", "[]interface {} [a b,c]"),
        ("join(['a', 'b'], '-')", "string a-b"),
        ("replace('aaa', 'a', 'b', 2)", "string bba"),
        ("trim('  x ')", "string x"),
        ("trim('__x_', '_')", "string x"),
        ("int('12') + 1", "int 13"),
        ("int('x')", "invalid operation: int(x)"),
        ("float('1.5')", "float64 1.5"),
        ("string(1.0)", "string 1"),
        ("type(attributes)", "string map"),
        ("all(numbers, # > 0)", "bool true"),
        ("any(numbers, {# == 4})", "bool true"),
        ("filter(numbers, # % 2 == 0)", "[]interface {} [2 4]"),
        ("map(1..3, # * 2)", "[]interface {} [2 4 6]"),
        ("count(numbers, # > 2)", "int 2"),
        ("all(body, true)", "builtin all takes only array (got string)"),
        ("{a: 1, 'b': [true]}", "map[string]interface {} map[a:1 b:[true]]"),
        ("max(1, 2.5)", "float64 2.5"),
        ("env('HOME')", "string value of HOME"),
        ("keys(attributes)", "[]interface {} [n s]"),
    ] {
        assert_eq!(run(text), expected, "{text}");
    }
}

#[test]
fn mistake_is_reported_with_its_position() {
    for (text, expected) in [
        ("", "the expression ends too early"),
        ("a ==", "the expression ends too early"),
        ("a b", "unexpected `b` at character 3"),
        ("(a", "the expression ends too early"),
        ("a == 'x", "string at character 6 is not valid"),
        ("12x", "number at character 1 is not valid"),
        ("a ~ b", "`~` at character 3 is not supported"),
        ("nope(a)", "`nope` at character 1 is not supported"),
        ("len()", "not enough arguments to call len at character 1"),
        ("len(a, b)", "too many arguments to call len at character 1"),
        ("env(a)", "a string literal is expected in the call of env at character 1"),
        ("a matches b", "a string literal is expected at character 11"),
        ("a matches '('", "error parsing regexp: missing closing ): `(` at character 11"),
        ("a < b < c", "`<` at character 7 follows another comparison: use parentheses"),
        ("a.b()", "the method `b` at character 3 is not supported"),
        ("let x = 1; x", "`let` at character 1 is not supported"),
        ("1 + 'a'", "invalid operation: + (mismatched types int and string) at character 1"),
        ("a not == b", "unexpected `==` at character 7"),
    ] {
        assert_eq!(Program::parse(text).map(drop), Err(expected.to_owned()), "{text}");
    }
    assert_eq!(
        Program::parse_condition("'text'").map(drop),
        Err("expected bool, but got string at character 1".to_owned())
    );
    assert!(Program::parse(&format!("{}1{}", "(".repeat(200), ")".repeat(200))).is_err());
}

#[test]
fn condition_is_false_for_nil_and_an_error_for_other_values() {
    let holds = |text| Program::parse_condition(text).and_then(|program| program.holds(&variables()));
    assert_eq!(holds("attributes.none"), Ok(false));
    assert_eq!(holds("attributes.n"), Err("invalid operation: bool(int)".to_owned()));
    assert_eq!(holds("attributes.n == 3"), Ok(true));
}

#[test]
fn nested_predicates_end_with_an_error_after_a_bounded_number_of_steps() {
    let text = "all(1..99, all(1..99, all(1..99, all(1..99, true))))";
    assert_eq!(run(text), "the expression takes too many steps");
    assert_eq!(run("1..100000000"), "the expression takes too many steps");
}

#[test]
fn names_of_the_environment_are_found() {
    let program = Program::parse("env('A') + (true ? env('B') : '')").unwrap();
    assert_eq!(program.env_names(), ["A", "B"]);
}
