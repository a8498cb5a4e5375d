//! Errors of compiling: the sentence, the place and the nearest name.

use crate::testing::{ITEM, compiler, functions, refused};
use crate::{Compiler, PathPrefix};

#[test]
fn statement_that_can_not_be_compiled_says_where_and_why() {
    for (statement, at, message) in [
        ("sat(name, 1)", "sat", "undefined function \"sat\" (did you mean set?)"),
        ("frobnicate(name, 1)", "frobnicate", "undefined function \"frobnicate\""),
        (
            "set(name)",
            "set",
            "error while parsing arguments for call to \"set\": incorrect number of arguments. Expected: 2 Received: 1",
        ),
        (
            "set(\"a\", 1)",
            "\"a\"",
            "error while parsing arguments for call to \"set\": invalid argument at position 0: must be a path",
        ),
        (
            "set((name), 1)",
            "(name)",
            "error while parsing arguments for call to \"set\": invalid argument at position 0: must be a path",
        ),
        (
            "set(target=name, 1)",
            "1",
            "error while parsing arguments for call to \"set\": unnamed argument used after named argument",
        ),
        (
            "set(name, valeu=1)",
            "1",
            "error while parsing arguments for call to \"set\": no such parameter: valeu (did you mean value?)",
        ),
        (
            "set(name, target=name)",
            "name)",
            "error while parsing arguments for call to \"set\": the parameter target is given twice",
        ),
        (
            "set(name, Join([1], \",\", target=1))",
            "Join",
            "error while parsing arguments for call to \"set\": invalid argument at position 1: error while parsing \
             arguments for call to \"Join\": incorrect number of arguments. Expected: 2 Received: 3",
        ),
        (
            "set(name, Join(delimiter=\",\"))",
            "Join",
            "error while parsing arguments for call to \"set\": invalid argument at position 1: error while parsing \
             arguments for call to \"Join\": the parameter vals is missing",
        ),
        (
            "set(name, Upper(1))",
            "1))",
            "error while parsing arguments for call to \"set\": invalid argument at position 1: error while parsing \
             arguments for call to \"Upper\": invalid argument at position 0: expected string but got int64",
        ),
        (
            "set(name, Join(\"a\"))",
            "\"a\"",
            "error while parsing arguments for call to \"set\": invalid argument at position 1: error while parsing \
             arguments for call to \"Join\": invalid argument at position 0: must be a list of type StringLikeGetter",
        ),
        (
            "set(name, Literals(texts=[\"a\", 1]))",
            "1]",
            "error while parsing arguments for call to \"set\": invalid argument at position 1: error while parsing \
             arguments for call to \"Literals\": invalid argument at position 0: error while parsing list argument at \
             index 1: must be a string",
        ),
        (
            "set(name, Literals(number=13))",
            "Literals",
            "error while parsing arguments for call to \"set\": invalid argument at position 1: couldn't create \
             function: 13 is refused",
        ),
        (
            "set(name, KIND_OEN)",
            "KIND_OEN",
            "error while parsing arguments for call to \"set\": invalid argument at position 1: enum symbol, KIND_OEN, \
             not found (did you mean KIND_ONE?)",
        ),
        (
            "set(nam, 1)",
            "nam",
            "error while parsing arguments for call to \"set\": invalid argument at position 0: segment \"nam\" is not \
             a valid path of span (did you mean name?)",
        ),
        (
            "set(name.x, 1)",
            "x",
            "error while parsing arguments for call to \"set\": invalid argument at position 0: the path section \"x\" \
             was not used by the context - this likely means you are using extra path sections",
        ),
        (
            "set(span.name.x, 1)",
            "x",
            "error while parsing arguments for call to \"set\": invalid argument at position 0: the path section \"x\" \
             was not used by the context - this likely means you are using extra path sections",
        ),
        (
            "set(name[\"x\"], 1)",
            "name",
            "error while parsing arguments for call to \"set\": invalid argument at position 0: the keys indexing \
             \"name\" were not used by the context - this likely means you are trying to index a path that does not \
             support indexing",
        ),
        (
            "set(resource.cache[\"a\"], 1)",
            "resource.cache",
            "error while parsing arguments for call to \"set\": invalid argument at position 0: access to cache must \
             be performed using the same context, please replace \"resource.cache[a]\" with \"span.cache[a]\"",
        ),
        (
            "set(name, Apply(\"a\", Uper))",
            "Uper",
            "error while parsing arguments for call to \"set\": invalid argument at position 1: error while parsing \
             arguments for call to \"Apply\": invalid argument at position 1: undefined function Uper (did you mean \
             Upper?)",
        ),
        (
            "set(name, Apply(\"a\", \"b\"))",
            "\"b\"",
            "error while parsing arguments for call to \"set\": invalid argument at position 1: error while parsing \
             arguments for call to \"Apply\": invalid argument at position 1: invalid function name given",
        ),
        (
            "set(name, Apply(\"a\", Join))",
            "Join",
            "error while parsing arguments for call to \"set\": invalid argument at position 1: error while parsing \
             arguments for call to \"Apply\": invalid argument at position 1: incorrect number of arguments. \
             Expected: 2 Received: 1",
        ),
        ("Upper(\"a\")", "Upper", "editor names must start with a lowercase letter but got 'Upper'"),
        ("set(name, upper(\"a\"))", "upper", "converter names must start with an uppercase letter but got 'upper'"),
        ("set(name, 1)[\"a\"]", "set", "only paths and converters may be indexed, not editors, but got set[a]"),
        (
            "set(name, (x) => x)",
            "(x)",
            "lambda expression arguments require the `ottl.functions.enableLambda` feature gate to be enabled, which \
             otelcore does not have: no function takes one",
        ),
    ] {
        let error = refused(statement);
        assert_eq!(error.to_string(), message, "{statement}");
        let found = statement.get(error.place.start..).unwrap_or_default();
        assert!(found.starts_with(at), "{statement}: the place is at {found:?}");
    }
}

#[test]
fn literal_arguments_are_checked_by_their_type() {
    let functions = functions();
    let compiler = compiler(&functions);
    let accepted = "Literals(\"a\", 1, 1.5, true, 0x01, [\"a\"], KIND_ONE) == nil";
    compiler.condition(accepted).unwrap_or_else(|error| panic!("{error}"));
    for (argument, what) in [
        ("text=1", "must be a string"),
        ("text=name", "must be a string"),
        ("number=-1", "must be an int"),
        ("number=1.5", "must be an int"),
        ("ratio=1", "must be a float"),
        ("is=\"true\"", "must be a bool"),
        ("raw=\"a\"", "slice parameter must be a byte slice literal"),
        ("texts=\"a\"", "must be a list of type string"),
        ("kind=1", "must be an Enum"),
        ("kind=NONE", "must be an Enum"),
    ] {
        let condition = format!("Literals({argument}) == nil");
        let error = compiler.condition(&condition).expect_err(&condition);
        assert!(error.message.ends_with(what), "{condition}: {error}");
    }
}

#[test]
fn path_without_a_context_is_refused_where_it_is_required() {
    let functions = functions();
    let compiler = Compiler { context: ITEM, functions: &functions, prefix: PathPrefix::Required };
    assert!(compiler.condition("span.name == resource.attributes[\"a\"]").is_ok());
    for (condition, message) in [
        (
            "name == 1",
            "missing context name for path \"name\", possibly valid options are: \"span.name\", \"resource.name\"",
        ),
        (
            "spam.name == 1",
            "context \"spam\" from path \"spam.name\" is not valid, it must be replaced by one of: \"span\", \
             \"resource\" (did you mean span?)",
        ),
    ] {
        assert_eq!(compiler.condition(condition).expect_err(condition).to_string(), message);
    }
}

#[test]
fn place_is_counted_in_lines_and_characters() {
    let statement = "set(name,\n  Upper(é, 1))".replace('é', "name");
    let error = refused(&statement);
    assert_eq!(error.line_and_column(&statement), (2, 3));
}
