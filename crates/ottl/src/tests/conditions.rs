//! Comparison, arithmetic and boolean operators.

use crate::testing::holds;

const TRUE: &[&str] = &[
    "attributes[\"string\"] == \"a\"",
    "attributes[\"string\"] < \"b\" and attributes[\"string\"] >= \"a\"",
    "attributes[\"int\"] == 5 and attributes[\"int\"] == 5.0 and attributes[\"int\"] < 5.5",
    "attributes[\"double\"] > 2 and attributes[\"double\"] <= 2.5",
    "attributes[\"bool\"] == true and attributes[\"bool\"] > false",
    "attributes[\"bytes\"] == 0x0102 and attributes[\"bytes\"] < 0x0103",
    // Types are not converted.
    "attributes[\"int\"] != \"5\" and attributes[\"string\"] != nil",
    "not (attributes[\"int\"] < \"6\") and not (attributes[\"int\"] > \"6\")",
    // What is not there, an empty value and empty bytes are nil.
    "attributes[\"missing\"] == nil and nil == attributes[\"missing\"]",
    "attributes[\"missing\"] <= nil and attributes[\"missing\"] >= nil",
    "not (attributes[\"missing\"] < nil) and not (attributes[\"missing\"] != nil)",
    "attributes[\"empty\"] == nil and attributes[\"no_bytes\"] == nil",
    "attributes[\"missing\"] == attributes[\"no_bytes\"]",
    "attributes[\"map\"][\"missing\"] == nil",
    "attributes[\"int\"] != nil and not (attributes[\"int\"] <= nil)",
    // Maps in any order; lists of a literal and of telemetry.
    "attributes[\"map\"] == {\"n\": 1, \"k\": \"v\"}",
    "attributes[\"map\"] != {\"n\": 1} and attributes[\"map\"] != {\"n\": 1.0, \"k\": \"v\"}",
    "attributes[\"ints\"] == [1, 2] and attributes[\"ints\"] != [2, 1] and attributes[\"ints\"] != [1]",
    "not (attributes[\"ints\"] < [3]) and not (attributes[\"map\"] >= {})",
    // A map in a list literal is another Go type than one in a list of telemetry.
    "attributes[\"list\"] != [1, \"two\", {\"three\": 3}]",
    "[1, attributes[\"int\"]] == [1, 5]",
    "[{\"a\": attributes[\"int\"]}] == [{\"a\": 5}]",
    "[attributes[\"missing\"]] == [nil]",
    // A Go list of strings is not comparable with others.
    "Split() != [\"x\", \"y\"]",
    // Ids equal only ids, times only times.
    "trace_id == trace_id and trace_id != 0x07070707070707070707070707070707",
    "start_time == start_time and Now() > start_time and Now() - start_time == Duration(1000000000)",
    "start_time + Duration(1000000000) == Now() and Duration(2) - Duration(1) == Duration(1)",
    "start_time != 1000000000 and Duration(1) != 1",
    // Arithmetic.
    "1 + 2 * 3 == 7 and (1 + 2) * 3 == 9 and 7 / 2 == 3 and 7 / 2.0 == 3.5",
    "10 - 2 - 3 == 5 and 100 / 10 / 5 == 2 and 2 * -3 == -6 and -(1 + 1) == -2",
    "attributes[\"int\"] * 2 + 1 == 11 and -attributes[\"double\"] == -2.5",
    "9223372036854775807 + attributes[\"int\"] == -9223372036854775804",
    // Keys.
    "attributes[\"list\"][0] == 1 and attributes[\"list\"][2][\"three\"] == 3",
    "attributes[\"list\"][attributes[\"ints\"][0]] == \"two\"",
    "attributes[Join([\"st\", \"ring\"])] == \"a\"",
    "First([attributes[\"missing\"], attributes[\"map\"]])[\"k\"] == \"v\"",
    "Split()[1] == \"y\" and attributes[\"bytes\"] != nil",
    // Enums, names of contexts, literals.
    "KIND_ONE == 1 and status.code == KIND_TWO and span.status.code == 2",
    "resource.attributes[\"host\"] == \"h\" and span.name == \"GET /\"",
    "true and not false and (false or true)",
    "1 == 1 and \"a\" != \"b\"",
    // Operators are evaluated from the left until the result is known.
    "true or attributes[\"int\"] / 0 == 1",
    "attributes[\"int\"] == 5 or attributes[\"int\"] / 0 == 1",
    "not (attributes[\"int\"] == 6 and attributes[\"int\"] / 0 == 1)",
    "Join([1, 2.5, true, 0xff, {\"b\": [1, nil], \"a\": \"<\"}], \" \") \
     == \"1 2.5 true ff {\\\"a\\\":\\\"\\\\u003c\\\",\\\"b\\\":[1,null]}\"",
    "Apply(attributes[\"string\"], Upper) == \"A\" and Apply(function=Upper, target=\"b\") == \"B\"",
    "IsText(\"a\") and not IsText(1)",
];

const ERRORS: &[(&str, &str)] = &[
    ("attributes[\"int\"] / 0 == 1", "attempted to divide by 0"),
    ("attributes[\"double\"] / 0 == 1", "attempted to divide by 0"),
    ("attributes[\"string\"] + 1 == 1", "a value of type string must be int64, float64, time.Time or time.Duration"),
    ("1 + attributes[\"missing\"] == 1", "a value of type nil must be int64 or float64"),
    ("-attributes[\"string\"] == 1", "unsupported unary minus operation on type string"),
    ("start_time + start_time == 1", "time.Time must be added to time.Duration; found time.Time instead"),
    ("start_time * 2 == 1", "only addition and subtraction supported for time.Time and time.Duration"),
    ("attributes[0] == 1", "cannot get map value: unable to resolve a string index in map: invalid key type"),
    (
        "attributes[attributes[\"int\"]] == 1",
        "cannot get map value: unable to resolve a string index in map: could not resolve key for map/slice, \
         expecting 'string' but got 'int64'",
    ),
    ("attributes[\"list\"][3] == 1", "index 3 out of bounds"),
    ("attributes[\"list\"][-1] == 1", "index -1 out of bounds"),
    ("attributes[\"list\"][\"a\"] == 1", "unable to resolve an integer index in slice: invalid key type"),
    ("attributes[\"int\"][\"a\"] == 1", "type Int does not support string indexing"),
    ("attributes[\"empty\"][\"a\"] == 1", "type Empty does not support string indexing"),
    ("First([attributes[\"map\"]])[\"missing\"] == 1", "key not found in map"),
    ("First([\"a\"])[0] == 1", "type string does not support int indexing"),
    ("Split()[2] == 1", "index 2 out of bounds"),
    ("Upper(attributes[\"int\"]) == 1", "expected string but got int64"),
    ("Upper(attributes[\"missing\"]) == 1", "expected string but got nil"),
    ("First([1])", "value returned from Converter in constant expression must be bool but got int64"),
    ("First([])", "value returned from Converter in constant expression must be bool but got <nil>"),
    ("{\"a\": Split()} == 1", "<Invalid value type []string>"),
    ("{\"a\": start_time} == 1", "<Invalid value type time.Time>"),
];

#[test]
fn conditions_hold_as_in_go() {
    for condition in TRUE {
        assert_eq!(holds(condition), Ok(true), "{condition}");
        assert_eq!(holds(&format!("not ({condition})")), Ok(false), "not {condition}");
    }
}

#[test]
fn conditions_that_can_not_be_evaluated_say_why() {
    for (condition, message) in ERRORS {
        let error = holds(condition).expect_err(condition);
        assert_eq!(error.to_string(), *message, "{condition}");
    }
}
