//! Tests across modules: what a user writes, and what the collector reads from it or reports about it.

use std::collections::BTreeMap;

use super::*;

mod anything;
mod growth;

#[derive(Default)]
struct World {
    files: BTreeMap<&'static str, &'static str>,
    vars: BTreeMap<&'static str, &'static str>,
}

impl Sources for World {
    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        let found = self.files.get(path).map(|t| t.as_bytes().to_vec());
        found.ok_or_else(|| format!("open {path}: no such file or directory"))
    }
    fn env(&self, name: &str) -> Option<String> {
        self.vars.get(name).map(|v| (*v).to_owned())
    }
}

fn files(files: &[(&'static str, &'static str)]) -> World {
    World { files: files.iter().copied().collect(), ..World::default() }
}

fn vars(vars: &[(&'static str, &'static str)]) -> World {
    World { vars: vars.iter().copied().collect(), ..World::default() }
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|s| (*s).to_owned()).collect()
}

/// The effective values of the tree as JSON without white space.
fn shape(node: &Node) -> String {
    print::json(&Effective::from(node), false).split_whitespace().collect()
}

fn loads(world: &World, uris: &[&str], sets: &[&str]) -> (Option<String>, Diagnostics) {
    let d = Diagnostics::new();
    let node = load(&strings(uris), &strings(sets), world, &Gates::default(), &d);
    (node.map(|n| shape(&n)), d)
}

fn messages(d: &Diagnostics) -> Vec<String> {
    d.items().into_iter().map(|i| i.message).collect()
}

/// Loads one text with the given variables; there must be no error.
fn tree(text: &str, world: &World) -> Node {
    let d = Diagnostics::new();
    let node = load(&[format!("yaml:{text}")], &[], world, &Gates::default(), &d).unwrap();
    assert!(!d.has_errors(), "{}", d.to_text(false));
    node
}

// ---- sources --------------------------------------------------------------------------------------------------------

#[test]
fn every_scheme_reads_its_source() {
    let world = World { files: [("a.yaml", "a: 1"), ("/etc/b.yaml", "b: 2")].into(), vars: [("CONF", "c: 3")].into() };
    let uris = ["a.yaml", "file:/etc/x/../b.yaml", "env:CONF", "yaml:d::e: 4"];
    assert_eq!(loads(&world, &uris, &[]).0.unwrap(), r#"{"a":1,"b":2,"c":3,"d":{"e":4}}"#);
}

#[test]
fn every_source_that_cannot_be_read_is_told_at_once() {
    let uris = ["file:/x", "s3:foo", "env:1abc", "fil:x", ":x", "https://h/c.yaml"];
    let (node, d) = loads(&World::default(), &uris, &["foo"]);
    assert_eq!(node, None);
    assert_eq!(
        messages(&d),
        [
            "cannot retrieve the configuration: unable to read the file file:/x: open /x: no such file or directory",
            "unsupported scheme on URI \"s3:foo\"",
            "cannot retrieve the configuration: environment variable \"1abc\" has invalid name: must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$",
            "unsupported scheme on URI \"fil:x\"",
            "invalid uri: \":x\"",
            "unsupported scheme on URI \"https://h/c.yaml\"",
            "invalid argument \"foo\" for \"--set\" flag: missing equal sign",
        ]
    );
    assert_eq!(d.items()[3].help.as_deref(), Some("did you mean `file:`?"));
    assert_eq!(messages(&loads(&World::default(), &[], &[]).1), ["at least one config flag must be provided"]);
}

#[test]
fn an_empty_document_is_an_empty_configuration_and_only_the_first_document_counts() {
    for text in ["", "null", "# nothing\n", "---\n", "~"] {
        let world = World { files: [("c", text)].into(), ..World::default() };
        assert_eq!(loads(&world, &["c"], &[]).0.unwrap(), "{}", "{text:?}");
    }
    assert_eq!(shape(&tree("a: 1\n---\nb: [", &World::default())), r#"{"a":1}"#);
}

#[test]
fn what_is_no_map_cannot_be_a_configuration() {
    for (text, ty) in [("- a", "[]interface {}"), ("hello", "string"), ("12", "int"), ("true", "bool")] {
        let (node, d) = loads(&World::default(), &[&format!("yaml:{text}")], &[]);
        assert_eq!(node, None);
        assert_eq!(messages(&d), [format!("retrieved value (type={ty}) cannot be used as a Conf")]);
    }
}

// ---- YAML -----------------------------------------------------------------------------------------------------------

#[test]
fn anchors_aliases_and_merge_keys_work() {
    let text = "base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\none: *b\ntwo: {<<: *b, y: 9}\nthree: {<<: [*b, *m], w: 0}\nfour:\n  y: 7\n  <<: *m";
    let node = tree(text, &World::default());
    assert_eq!(shape(node.at("one").unwrap()), r#"{"x":1,"y":2}"#);
    assert_eq!(shape(node.at("two").unwrap()), r#"{"x":1,"y":9}"#);
    assert_eq!(shape(node.at("three").unwrap()), r#"{"w":0,"x":1,"y":2,"z":4}"#);
    assert_eq!(shape(node.at("four").unwrap()), r#"{"y":7,"z":4}"#);
}

#[test]
fn quoted_and_tagged_scalars_are_what_they_say() {
    let text = "a: '12'\nb: \"true\"\nc: !!str 12\nd: !!int \"5\"\ne: |\n  12\nf: !foo x\n0x10: k\n1: one\n";
    assert_eq!(
        shape(&tree(text, &World::default())),
        r#"{"1":"one","16":"k","a":"12","b":"true","c":"12","d":5,"e":"12\n","f":"x"}"#
    );
}

#[test]
fn a_tab_may_stand_between_a_key_and_its_value() {
    let node = tree("x:\n  a:\tb\n  c:\t\t5\n  d:\t'e\tf'\n", &World::default());
    assert_eq!(node.at("x::d").unwrap().origin.to_string(), "yaml::4:6");
    assert_eq!(shape(&node), r#"{"x":{"a":"b","c":5,"d":"e\tf"}}"#);
    assert_eq!(loads(&World::default(), &["yaml:a:\tb: c"], &[]).0, None);
}

#[test]
fn broken_yaml_is_told_with_its_place_and_the_sentence_of_the_go_collector() {
    let table = [
        ("a: b: c", 1, 5),
        ("a:\n\tb: 1", 2, 1),
        ("a: [1, 2", 1, 9),
        ("a: *nowhere", 1, 4),
        ("a: &x {b: *x}", 1, 11),
        ("? [a]\n: b", 1, 3),
        ("a: !!bool yes", 1, 4),
        ("<<: 3", 1, 5),
    ];
    for (text, line, column) in table {
        let (node, d) = loads(&World::default(), &[&format!("yaml:{text}")], &[]);
        assert_eq!(node, None, "{text:?}");
        let item = &d.items()[0];
        let origin = item.origin.as_ref().unwrap();
        assert_eq!((item.kind, origin.line, origin.column), (Kind::InvalidYaml, line, column), "{text:?}: {item}");
        let note = item.note.as_deref().unwrap();
        let sentence = "retrieved value (type=string) cannot be used as a Conf: assuming string type since contents are not valid YAML: yaml: line ";
        assert!(note.starts_with(sentence), "{note}");
    }
}

#[test]
fn all_duplicate_keys_are_told_with_both_places_and_the_rest_is_still_checked() {
    let text = "receivers:\n  otlp:\n  otlp:\n    x: 1\nservice: {a: 1, b: 2, a: 3}\n";
    let d = Diagnostics::new();
    let node = load(&[format!("yaml:{text}")], &[], &NoSources, &Gates::default(), &d).unwrap();
    let found: Vec<_> = d
        .items()
        .iter()
        .map(|i| (i.message.clone(), i.origin.clone().unwrap().line, i.related.clone().unwrap().0.line))
        .collect();
    assert_eq!(
        found,
        [
            ("mapping key \"otlp\" already defined at line 2".to_owned(), 3, 2),
            ("mapping key \"a\" already defined at line 5".to_owned(), 5, 5),
        ]
    );
    assert_eq!(shape(&node), r#"{"receivers":{"otlp":{"x":1}},"service":{"a":3,"b":2}}"#);
}

#[test]
fn what_aliases_and_nesting_may_multiply_is_bounded() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for i in 1..10 {
        let refs = vec![format!("*a{}", i - 1); 9].join(", ");
        laughs.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
    }
    let mut tower = String::from("a0: &a0 [x]\n");
    for i in 1..200 {
        tower.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
    }
    let deep = format!("a: {}", "[".repeat(100_000));
    let long_key = format!("{}: 1", vec!["a"; 200].join("::"));
    let table = [
        (laughs, "excessive aliasing"),
        (tower, "exceeded max depth of 100"),
        (deep, ""),
        (long_key, "exceeded max depth of 100"),
    ];
    for (text, want) in table {
        let (node, d) = loads(&World::default(), &[&format!("yaml:{text}")], &[]);
        assert_eq!(node, None);
        assert!(messages(&d)[0].contains(want), "{}", messages(&d)[0]);
    }
    let fine = format!("a: {}1{}", "[".repeat(90), "]".repeat(90));
    tree(&fine, &World::default());
}

// ---- merging --------------------------------------------------------------------------------------------------------

#[test]
fn later_sources_join_maps_and_replace_everything_else() {
    let base = "yaml:processors: {batch: {timeout: 5s, send_batch_size: 1}}\nlist: [1, 2]\nkeep: 1";
    let table: &[(&str, &str)] = &[
        (
            "processors: {batch: {timeout: 1s}}",
            r#"{"keep":1,"list":[1,2],"processors":{"batch":{"send_batch_size":1,"timeout":"1s"}}}"#,
        ),
        ("processors: {batch: }", r#"{"keep":1,"list":[1,2],"processors":{"batch":null}}"#),
        ("processors:", r#"{"keep":1,"list":[1,2],"processors":null}"#),
        ("list: [3]", r#"{"keep":1,"list":[3],"processors":{"batch":{"send_batch_size":1,"timeout":"5s"}}}"#),
        ("list: {a: 1}", r#"{"keep":1,"list":{"a":1},"processors":{"batch":{"send_batch_size":1,"timeout":"5s"}}}"#),
        (
            "processors::batch::timeout: 2s",
            r#"{"keep":1,"list":[1,2],"processors":{"batch":{"send_batch_size":1,"timeout":"2s"}}}"#,
        ),
        ("Keep: 2", r#"{"Keep":2,"keep":1,"list":[1,2],"processors":{"batch":{"send_batch_size":1,"timeout":"5s"}}}"#),
        ("", r#"{"keep":1,"list":[1,2],"processors":{"batch":{"send_batch_size":1,"timeout":"5s"}}}"#),
    ];
    for (over, want) in table {
        assert_eq!(loads(&World::default(), &[base, &format!("yaml:{over}")], &[]).0.unwrap(), *want, "{over}");
    }
}

#[test]
fn set_comes_last_and_its_values_are_yaml() {
    let (node, d) =
        loads(&World::default(), &["yaml:a: {b: 1, c: 2}"], &["a.b=[x, 'y']", " a.d.e/f = 0x10 ", "a.g=x=y"]);
    assert_eq!(node.unwrap(), r#"{"a":{"b":["x","y"],"c":2,"d":{"e/f":16},"g":"x=y"}}"#);
    assert!(d.is_empty());
}

#[test]
fn places_in_a_set_flag_are_told_as_it_was_typed() {
    let d = Diagnostics::new();
    let node =
        load(&strings(&["yaml:"]), &strings(&[" aa.bbb.c = {x: 1}"]), &NoSources, &Gates::default(), &d).unwrap();
    let c = node.at("aa::bbb").unwrap().as_map().unwrap().get("c").unwrap();
    assert_eq!(c.key_origin.to_string(), "--set aa.bbb.c:1:9");
    assert_eq!(node.at("aa::bbb::c::x").unwrap().origin.to_string(), "--set aa.bbb.c:1:17");
}

#[test]
fn the_gate_joins_lists_of_components_but_not_of_processors() {
    let (gates, _) = Gates::parse(&["confmap.enableMergeAppendOption"]);
    let one = "yaml:service: {extensions: [a, b], pipelines: {traces: {receivers: [r], processors: [p], exporters: [e]}}}\nextensions: {l: [1]}";
    let two = "yaml:service: {extensions: [b, c], pipelines: {traces: {receivers: [s], processors: [q], exporters: [e, f]}}}\nextensions: {l: [2]}";
    let d = Diagnostics::new();
    let node = load(&strings(&[one, two]), &[], &NoSources, &gates, &d).unwrap();
    assert_eq!(
        shape(&node),
        r#"{"extensions":{"l":[2]},"service":{"extensions":["a","b","c"],"pipelines":{"traces":{"exporters":["e","f"],"processors":["q"],"receivers":["r","s"]}}}}"#
    );
}

// ---- expansion ------------------------------------------------------------------------------------------------------

/// The value of `v` in its own type, and as a string field reads it.
fn expanded(value: &str, world: &World) -> (Value, Option<String>) {
    let node = tree(&format!("v: {value}"), world);
    let v = node.at("v").unwrap();
    let d = Diagnostics::new();
    let mut s = Section::new(Some(&node), "", &d);
    let text = s.str("v", "default");
    let _ = s.finish();
    (v.value.clone(), (!d.has_errors()).then_some(text))
}

#[test]
fn a_whole_reference_is_parsed_for_its_field_and_verbatim_for_a_string() {
    let str_ = |s: &str| Value::Str(s.into());
    let table = [
        ("123", Value::Int(123), "123"),
        ("0123", Value::Int(83), "0123"),
        ("\"0123\"", str_("\"0123\""), "\"0123\""),
        ("true", Value::Bool(true), "true"),
        ("1e+07", Value::Float(1e7), "1e+07"),
        ("$$X", str_("$X"), "$X"),
        ("a: b: c", str_("a: b: c"), "a: b: c"),
        ("[", str_("["), "["),
        ("null", Value::Null, "null"),
        ("", Value::Null, ""),
        ("${env:Y}", Value::Int(7), "7"),
    ];
    for (text, value, target) in table {
        assert_eq!(expanded("${env:X}", &vars(&[("X", text), ("Y", "7")])), (value, Some(target.to_owned())), "{text}");
    }
    let (value, text) = expanded("${X}", &vars(&[("X", "[a,b]")]));
    assert!(matches!(value, Value::List(l) if l.len() == 2));
    assert_eq!(text.as_deref(), Some("[a,b]"));
}

#[test]
fn references_escapes_and_defaults_follow_the_table() {
    let world = World {
        files: [("/d/a.yaml", "k: ${env:X}"), ("tok", "s3cr:et\n")].into(),
        vars: [("X", "1"), ("E", ""), ("DIR", "/d"), ("N", "X"), ("C", "a # ${bad.name}")].into(),
    };
    let str_ = |s: &str| Value::Str(s.into());
    let table = [
        ("$X", str_("$X")),
        ("a${env:X}b${X}", str_("a1b1")),
        ("\"1${env:X}\"", str_("11")),
        ("$${env:X}", str_("${env:X}")),
        ("$$${env:X}", str_("$1")),
        ("$$$${env:X}", str_("$${env:X}")),
        ("$${env:X} ${env:X}", str_("${env:X} 1")),
        ("${env:X", str_("${env:X")),
        ("a}b", str_("a}b")),
        ("${env:U:-d}", str_("d")),
        ("${env:U:-5}", Value::Int(5)),
        ("x${env:U:-}y", str_("xy")),
        ("x${env:E:-d}y", str_("xy")),
        ("${env:E:-d}", Value::Null),
        ("${env:${env:N}}", Value::Int(1)),
        ("${file:tok}", str_("s3cr:et\n")),
        ("${yaml:0x10}", Value::Int(16)),
        ("$$$$", str_("$$")),
    ];
    for (text, want) in table {
        assert_eq!(expanded(text, &world).0, want, "{text}");
    }
    let node = tree("v: ${file:${env:DIR}/a.yaml}", &world);
    assert_eq!(shape(&node), r#"{"v":{"k":1}}"#);
    // A comment with a reference that cannot be resolved matters only where the raw text is needed.
    let world = vars(&[("C", "[a] # ${bad.name}")]);
    let (value, text) = expanded("${env:C}", &world);
    assert!(matches!(value, Value::List(_)) && text.is_none());
}

#[test]
fn keys_are_never_expanded() {
    assert_eq!(shape(&tree("${env:X}: 1\n$$a: 2", &vars(&[("X", "y")]))), r#"{"$$a":2,"${env:X}":1}"#);
}

#[test]
fn every_reference_that_fails_is_told_with_its_place_and_the_rest_goes_on() {
    let text = "a: ${VAR:-d}\nb: [x, 'y ${env:1a}']\nc: ${env:$X}\nd: ${file:/no}\ne: 5\nf: ${_x:y}";
    let d = Diagnostics::new();
    let node = load(&[format!("yaml:{text}")], &[], &NoSources, &Gates::default(), &d).unwrap();
    let told: Vec<_> = d.items().iter().map(|i| format!("{i}")).collect();
    assert_eq!(
        told,
        [
            "yaml::1:4: a: cannot resolve the configuration: scheme \"VAR\" is not supported for uri \"VAR:-d\"",
            "yaml::2:11: b[1]: cannot resolve the configuration: environment variable \"1a\" has invalid name: must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$",
            "yaml::3:4: c: cannot resolve the configuration: the uri \"env:$X\" contains unsupported characters ('$')",
            "yaml::4:4: d: cannot resolve the configuration: unable to read the file file:/no: open /no: no such file or directory",
            "yaml::6:4: f: cannot resolve the configuration: invalid uri: \"_x:y\"",
        ]
    );
    assert_eq!(d.items()[0].help.as_deref(), Some("write ${env:VAR:-d}: a default needs the scheme `env:`"));
    // What is reported once is not reported again, and defaults are used.
    let mut s = Section::new(Some(&node), "", &d);
    assert_eq!((s.int("a", 9), s.int("e", 0), s.str("c", "def")), (9, 5, "def".to_owned()));
    assert_eq!(s.str_list("b", &[]), ["x"]);
    let _ = (s.section("d").finish(), s.node("f"));
    let _ = s.finish();
    assert_eq!(d.len(), 5, "{}", d.to_text(false));
}

#[test]
fn an_unset_variable_is_a_warning_with_its_place() {
    let d = Diagnostics::new();
    let node =
        load(&strings(&["yaml:a:\n  t: ${env:UNSET}\n  u: x${env:UNSET}"]), &[], &NoSources, &Gates::default(), &d)
            .unwrap();
    assert!(!d.has_errors());
    let told: Vec<_> = d.items().iter().map(|i| (i.kind, i.to_string())).collect();
    assert_eq!(
        told,
        [
            (
                Kind::UnsetVariable,
                "yaml::2:6: a::t: Configuration references unset environment variable \"UNSET\"".to_owned()
            ),
            (
                Kind::UnsetVariable,
                "yaml::3:7: a::u: Configuration references unset environment variable \"UNSET\"".to_owned()
            ),
        ]
    );
    let mut s = Section::new(node.at("a"), "a", &d);
    assert_eq!((s.duration("t", Dur::from_secs(5)), s.str("u", "")), (Dur::ZERO, "x".to_owned()));
    let _ = s.finish();
}

#[test]
fn expansion_that_feeds_itself_ends() {
    for text in [
        "${env:A}",
        "x${env:A}",
        "${env:A}${env:A}",
        "[${env:A}]",
        "[${env:A}, ${env:A}]",
        "{k: 'a ${env:A}${env:A}'}",
        "${env:B}",
    ] {
        let text: &'static str = String::from(text).leak();
        let (_, d) = loads(&vars(&[("A", text), ("B", "${env:A}")]), &["yaml:v: ${env:A}"], &[]);
        assert!(
            messages(&d).contains(&"too many recursive expansions".to_owned()),
            "{text}: {:?}",
            messages(&d).first()
        );
        assert!(d.items().iter().all(|i| i.kind == Kind::Limit));
    }
}

// ---- typed values ---------------------------------------------------------------------------------------------------

/// Reads `v` from `v: <text>` and returns the value and the messages.
fn taken<T>(text: &str, take: impl FnOnce(&mut Section<'_>) -> T) -> (T, Vec<String>) {
    let node = tree(&format!("v: {text}"), &World::default());
    let d = Diagnostics::new();
    let mut s = Section::new(Some(&node), "", &d);
    let value = take(&mut s);
    let _ = s.finish();
    (value, messages(&d))
}

#[test]
fn decoding_is_strict_with_the_exceptions_of_the_go_collector() {
    let no: Vec<String> = Vec::new();
    let dur = |s: &mut Section<'_>| s.duration("v", Dur::from_secs(9)).0;
    assert_eq!(taken("5", dur), (5, no.clone()));
    assert_eq!(taken("1h5m", dur), (3_900_000_000_000, no.clone()));
    assert_eq!(taken("-1s", dur), (-1_000_000_000, no.clone()));
    assert_eq!(taken("4.5", dur), (4, no.clone()));
    assert_eq!(taken("", dur), (0, no.clone()));
    assert_eq!(taken("5x", dur).1, ["'v' time: unknown unit \"x\" in duration \"5x\""]);
    assert_eq!(taken("abc", dur).1, ["'v' time: invalid duration \"abc\""]);
    assert_eq!(taken("'5'", dur), (9_000_000_000, vec!["'v' time: missing unit in duration \"5\"".to_owned()]));
    assert_eq!(taken("true", dur).1, ["'v' expected type 'time.Duration', got unconvertible type 'bool'"]);

    let int = |s: &mut Section<'_>| s.int::<u32>("v", 7);
    assert_eq!(taken("4.5", int), (4, no.clone()));
    assert_eq!(taken("0o17", int), (15, no.clone()));
    assert_eq!(taken("", int), (0, no.clone()));
    assert_eq!(taken("-5", int), (7, vec!["'v' cannot parse value as 'uint32': -5 overflows uint".to_owned()]));
    assert_eq!(taken("-5.5", int).1, ["'v' cannot parse value as 'uint32': -5.500000 overflows uint"]);
    assert_eq!(taken("4294967296", int).1, ["'v' cannot parse value as 'uint32': 4294967296 overflows uint32"]);
    assert_eq!(taken(".nan", int).1, ["'v' cannot parse value as 'uint32': NaN overflows uint32"]);
    assert_eq!(taken("1e300", int).0, 7);
    assert_eq!(
        taken("'5'", |s| s.int::<isize>("v", 7)).1,
        ["'v' expected type 'int', got unconvertible type 'string'"]
    );
    assert_eq!(taken("-5", |s| s.int::<i64>("v", 7)), (-5, no.clone()));

    assert_eq!(taken("3", |s| s.float("v", 1.0)), (3.0, no.clone()));
    assert_eq!(taken("x", |s| s.float("v", 1.0)).1, ["'v' expected type 'float64', got unconvertible type 'string'"]);

    let boolean = |s: &mut Section<'_>| s.bool("v", true);
    assert_eq!(taken("False", boolean), (false, no.clone()));
    assert_eq!(taken("", boolean), (false, no.clone()));
    for word in ["yes", "\"true\"", "on"] {
        assert_eq!(taken(word, boolean).1, ["'v' expected type 'bool', got unconvertible type 'string'"]);
    }

    let text = |s: &mut Section<'_>| s.str("v", "d");
    assert_eq!(taken("", text), (String::new(), no.clone()));
    assert_eq!(taken("'12'", text), ("12".to_owned(), no.clone()));
    assert_eq!(taken("12", text).1, ["'v' expected type 'string', got unconvertible type 'int'"]);
    assert_eq!(taken("true", text).1, ["'v' expected type 'string', got unconvertible type 'bool'"]);
    assert_eq!(taken("[a]", text).1, ["'v' expected type 'string', got unconvertible type '[]interface {}'"]);

    let list = |s: &mut Section<'_>| s.str_list("v", &["d"]).join("|");
    assert_eq!(taken("'a,b'", list), ("a|b".to_owned(), no.clone()));
    assert_eq!(taken("''", list), (String::new(), no.clone()));
    assert_eq!(taken("[]", list), (String::new(), no.clone()));
    assert_eq!(taken("", list), ("d".to_owned(), no.clone()));
    assert_eq!(
        taken("[x, 1]", list),
        ("x".to_owned(), vec!["'v[1]' expected type 'string', got unconvertible type 'int'".to_owned()])
    );
    assert_eq!(taken("3", list).1, ["'v' source data must be an array or slice, got int"]);

    assert_eq!(taken("a", |s| s.ids("v").len()).1, ["'v' source data must be an array or slice, got string"]);
    let ids = taken("[otlp/2, a-b, ' x ']", |s| {
        s.ids("v").iter().map(|i| format!("{}@{}", **i, i.origin.column)).collect::<Vec<_>>()
    });
    assert_eq!(ids.0, ["otlp/2@5", "x@18"]);
    assert_eq!(ids.1, ["'v[1]' in \"a-b\" id: invalid character(s) in type \"a-b\""]);
}

#[test]
fn null_keeps_the_default_of_pointers_lists_and_sections_only() {
    assert_eq!(taken("", |s| s.opt_str("v")).0, None);
    assert_eq!(taken("", |s| s.opt_int::<u32>("v")).0, None);
    assert_eq!(taken("0", |s| s.opt_int::<u32>("v")).0, Some(0));
    assert_eq!(taken("", |s| s.int_list::<u16>("v", &[1])).0, [1]);
    assert_eq!(taken("[1, 2.5]", |s| s.float_list("v", &[])).0, [1.0, 2.5]);
    let inner = |s: &mut Section<'_>| {
        let mut inner = s.section("v");
        let value = inner.int("x", 3_u8);
        let _ = inner.finish();
        value
    };
    assert_eq!(taken("", inner), (3, Vec::new()));
    assert_eq!(taken("[]", inner), (3, vec!["'v' expected a map or struct, got \"slice\"".to_owned()]));
    assert_eq!(taken("x", inner).1, ["'v' expected a map or struct, got \"string\""]);
}

#[test]
fn words_headers_and_maps_say_what_is_wrong_with_them() {
    let word = |s: &mut Section<'_>| s.one_of("v", &["", "gzip", "zstd"], "gzip").to_owned();
    assert_eq!(taken("zstd", word), ("zstd".to_owned(), Vec::new()));
    assert_eq!(taken("", word), (String::new(), Vec::new()));
    assert_eq!(taken("zst", word).1, ["'v' unsupported value \"zst\" (valid values: [ gzip zstd])"]);

    let headers =
        |s: &mut Section<'_>| s.headers("v").into_iter().map(|h| format!("{}={}", h.name, h.value)).collect::<Vec<_>>();
    assert_eq!(taken("{b: x, a: y}", headers).0, ["b=x", "a=y"]);
    assert_eq!(taken("[{name: b, value: x}, {name: a}]", headers).0, ["b=x", "a="]);
    assert_eq!(taken("[{name: b, value: x}, {name: b}]", headers).1, ["duplicate keys in map-style list: [b]"]);
    assert_eq!(taken("[{name: b, valu: x}]", headers).1, ["'v[0]' has invalid keys: valu"]);
    assert_eq!(taken("{a: 1}", headers).1, ["'v[a]' expected type 'string', got unconvertible type 'int'"]);
    assert_eq!(taken("{a: }", |s| s.str_map("v")).0, [("a".to_owned(), String::new())]);
}

#[test]
fn optional_sections_are_off_and_on_as_in_configoptional() {
    use Flavour::{Default, None, Some};
    let table = [
        ("w: 1", None, false),
        ("w: 1", Default, false),
        ("w: 1", Some, true),
        ("v:", None, false),
        ("v:", Default, true),
        ("v:", Some, true),
        ("v: {}", None, true),
        ("v: {}", Default, true),
        ("v: {enabled: false}", Some, false),
        ("v: {enabled: false, x: 2}", Default, false),
        ("v: {enabled: true, x: 2}", None, true),
    ];
    for (text, flavour, on) in table {
        let node = tree(text, &World::default());
        let d = Diagnostics::new();
        let mut s = Section::new(Option::Some(&node), "", &d);
        let inner = s.optional("v", flavour);
        assert_eq!(inner.is_some(), on, "{text} {flavour:?}");
        if let Option::Some(mut inner) = inner {
            assert!(inner.int("x", 2) == 2);
            let _ = inner.finish();
        }
        s.int("w", 0);
        let effective = s.finish();
        assert!(d.is_empty(), "{}", d.to_text(false));
        let printed = print::json(&effective, true).split_whitespace().collect::<String>();
        assert!(printed.contains(if on { r#""v":{"x":2}"# } else { r#""v":null"# }), "{printed}");
    }
    let said = taken("{enabled: no}", |s| s.optional("v", Some).map(|i| i.finish())).1;
    assert_eq!(said, ["unexpected type string for 'enabled': got 'no' value expected 'true' or 'false'"]);
}

#[test]
fn components_and_pipelines_have_ids() {
    let text =
        "receivers:\n  otlp/ 1:\n  otlp/1:\n  a-b:\n  otlp: x\n  nop: {z: 1}\npipelines: {traces/a: , tracez: }\n";
    let node = tree(text, &World::default());
    let d = Diagnostics::new();
    let mut top = Section::new(Some(&node), "", &d);
    let mut ids = Vec::new();
    for (id, section) in top.section("receivers").components() {
        ids.push(format!("{} {}", *id, section.path()));
        let _ = section.finish();
    }
    let pipelines: Vec<String> =
        top.section("pipelines").pipelines().into_iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(ids, ["otlp/1 receivers::otlp/ 1", "otlp receivers::otlp", "nop receivers::nop"]);
    assert_eq!(pipelines, ["traces/a"]);
    let _ = top.finish();
    assert_eq!(
        messages(&d),
        [
            "duplicate name \"otlp/1\" after unmarshaling otlp/1",
            "'receivers' in \"a-b\" id: invalid character(s) in type \"a-b\"",
            "'[otlp]' expected type 'map[string]interface {}', got unconvertible type 'string'",
            "'receivers::nop' has invalid keys: z",
            "'pipelines' in \"tracez\" id: unknown pipeline signal: \"tracez\"",
        ]
    );
}

#[test]
fn old_and_unbuilt_options_are_told_where_they_stand() {
    let node = tree("a: 1\nb: {enabled: false}\nc: {x: 1}\nd:\n", &World::default());
    let d = Diagnostics::new();
    let mut s = Section::new(Some(&node), "exporters::jaeger", &d);
    assert!(s.deprecated("a", "`tls::insecure: true`"));
    assert!(!s.deprecated("zz", ""));
    s.int("a", 0);
    for key in ["b", "c", "d", "e"] {
        s.unsupported(key, "it is not built yet");
    }
    let _ = s.error("a", "must be 2").hint("write 2");
    let _ = s.error_of(&["e"], "wrong");
    let _ = s.finish();
    let told: Vec<_> = d.items().iter().map(|i| format!("{:?} {i}", i.kind)).collect();
    assert_eq!(
        told,
        [
            "Deprecated yaml::1:1: exporters::jaeger::a: 'a' is deprecated",
            "Invalid yaml::1:1: exporters::jaeger: wrong",
            "Invalid yaml::1:4: exporters::jaeger::a: must be 2",
            "Unsupported yaml::3:1: exporters::jaeger::c: 'c' is not supported: it is not built yet",
        ]
    );
}

// ---- what the user sees ---------------------------------------------------------------------------------------------

const CONFIG: &str = "\
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: \"0.0.0.0:4317\"
processors:
extensions:
  health_check: {}
exporters:
  jaeger:
    # 集群内部的服务名
    endpoint: \"jaeger-collector.istio-system.svc.cluster.local:14250\"
    insecure: true
  prometheus:
    endpoint: \"0.0.0.0:9092\"
    namespace: \"default\" # 命名空间
  logging:

service:
  extensions: [health_check]
  pipelines:
    traces:
      receivers: [otlp]
      processors: []
      exporters: [jaeger]

    metrics:
      receivers: [otlp]
      processors: []
      exporters: [prometheus, logging]
";

#[test]
fn a_configuration_of_the_go_collector_loads_as_it_stands() {
    let node = tree(CONFIG, &World::default());
    let d = Diagnostics::new();
    let mut top = Section::new(Some(&node), "", &d);
    let names: Vec<String> = top.section("exporters").components().iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(names, ["jaeger", "prometheus", "logging"]);
    assert_eq!(top.section("processors").components().len(), 0);
    let mut service = top.section("service");
    assert_eq!(service.ids("extensions")[0].to_string(), "health_check");
    let mut pipelines = service.section("pipelines").pipelines();
    assert_eq!(pipelines.len(), 2);
    assert_eq!(pipelines[1].1.ids("exporters")[1].origin.to_string(), "yaml::30:31");
    assert!(d.is_empty());
}

#[test]
fn all_mistakes_of_a_file_are_shown_at_once_each_with_its_line() {
    let text = "\
receivers:
  otlp:
    protocols:
      grpc:
        endpont: \"x\"
exporters:
  jaeger:
    timeout: 5x
\ttab: 1
";
    let d = Diagnostics::new();
    assert!(
        load(&strings(&["f.yaml"]), &[], &files(&[("f.yaml", text.to_owned().leak())]), &Gates::default(), &d)
            .is_none()
    );
    let told = d.to_text(false);
    assert!(told.contains("--> f.yaml:9:1") && told.contains("indent with spaces"), "{told}");

    let good: &'static str = text.replace("\ttab: 1", "    limit_mib: -5\n    limit_mib: ${NO}").leak();
    let d = Diagnostics::new();
    let node = load(&strings(&["f.yaml"]), &[], &files(&[("f.yaml", good)]), &Gates::default(), &d).unwrap();
    let mut top = Section::new(Some(&node), "", &d);
    for (_, mut otlp) in top.section("receivers").components() {
        let mut protocols = otlp.section("protocols");
        let mut grpc = protocols.section("grpc");
        grpc.str("endpoint", "localhost:4317");
        let _ = (grpc.finish(), protocols.finish(), otlp.finish());
    }
    for (_, mut jaeger) in top.section("exporters").components() {
        jaeger.duration("timeout", Dur::from_secs(5));
        jaeger.int("limit_mib", 0_u32);
        let _ = jaeger.finish();
    }
    d.error(None, "service::pipelines", "service must have at least one pipeline");
    let _ = top.finish();
    let golden = "\
error: 'protocols.grpc' has invalid keys: endpont
 --> f.yaml:5:9  (receivers::otlp::protocols::grpc::endpont)
  |
5 |         endpont: \"x\"
  |         ^^^^^^^
  = help: did you mean `endpoint`?

error: 'timeout' time: unknown unit \"x\" in duration \"5x\"
 --> f.yaml:8:14  (exporters::jaeger::timeout)
  |
8 |     timeout: 5x
  |              ^^
  = help: units are ns, us, ms, s, m and h, as in 1h5m

error: mapping key \"limit_mib\" already defined at line 9
  --> f.yaml:10:5
   |
10 |     limit_mib: ${NO}
   |     ^^^^^^^^^
  ::: f.yaml:9:5
   |
 9 |     limit_mib: -5
   |     --------- first defined here
   = note: retrieved value (type=string) cannot be used as a Conf: assuming string type since contents are not valid YAML: yaml: unmarshal errors: line 10: mapping key \"limit_mib\" already defined at line 9

warning: Configuration references unset environment variable \"NO\"
  --> f.yaml:10:16  (exporters::jaeger::limit_mib)
   |
10 |     limit_mib: ${NO}
   |                ^^^^^
   = help: set NO, or give it a default: ${env:NO:-value}

error: service must have at least one pipeline
 --> (service::pipelines)
";
    assert_eq!(d.to_text(false), golden);
    assert!(d.to_text(true).contains("\x1b[1;31merror"));
}

#[test]
fn what_a_variable_holds_is_not_shown_and_control_characters_do_not_reach_the_terminal() {
    let world = vars(&[("PASS", "{user: hunter2, \"a\\eb\": 1}")]);
    let d = Diagnostics::new();
    let node = load(&strings(&["yaml:auth: ${env:PASS}"]), &[], &world, &Gates::default(), &d).unwrap();
    let mut top = Section::new(Some(&node), "", &d);
    let auth = top.section("auth");
    let _ = (auth.finish(), top.finish());
    let told = d.to_text(false);
    assert!(told.contains("env:PASS:1:2") && told.contains("invalid keys: user"), "{told}");
    assert!(!told.contains("hunter2") && !told.contains('\x1b'), "{told}");
}

#[test]
fn the_effective_configuration_prints_sorted_redacted_and_with_defaults() {
    let text = "exp: {headers: {b: secret, a: '${env:T}'}, tls: , retry: {enabled: false}, list: [x, 'yes', '0123', 'a: b', '*a', \"q\\n\"], on: 'y'}";
    let node = tree(text, &vars(&[("T", "tok")]));
    let d = Diagnostics::new();
    let mut top = Section::new(Some(&node), "", &d);
    let kept = top.recorder();
    let mut s = top.section("exp");
    s.headers("headers");
    s.duration("timeout", Dur::from_secs(300));
    s.float("ratio", 1e7);
    s.str_list("list", &[]);
    s.str_list("none", &[]);
    s.str("on", "");
    s.str("empty", "");
    s.int("n", 5_i64);
    s.opaque("password", "");
    let tls = s.optional("tls", Flavour::None);
    assert!(tls.is_none());
    let retry = s.optional("retry", Flavour::Some);
    assert!(retry.is_none());
    let _ = (s.finish(), top.finish());
    assert!(d.is_empty(), "{}", d.to_text(false));
    let yaml = "\
exp:
    empty: \"\"
    headers:
        - name: b
          value: '[REDACTED]'
        - name: a
          value: '[REDACTED]'
    list:
        - x
        - \"yes\"
        - \"0123\"
        - 'a: b'
        - '*a'
        - |
          q
    \"n\": 5
    none: []
    \"on\": \"y\"
    password: '[REDACTED]'
    ratio: 1e+07
    retry: null
    timeout: 5m0s
    tls: null
";
    let printed = print::yaml(&kept.snapshot(), true);
    assert_eq!(printed, yaml);
    let json = print::json(&kept.snapshot(), false);
    assert!(json.contains("\"timeout\": 300000000000,") && json.contains("\"value\": \"tok\""), "{json}");
    assert!(json.starts_with("{\n  \"exp\": {\n    \"empty\": \"\","), "{json}");
    assert!(json.contains("\"ratio\": 10000000,"), "{json}");
}

#[test]
fn control_characters_are_refused_as_in_yaml_v3_unless_escaped() {
    for text in ["a: b\u{7}c", "a: 'x\u{0}'", "a: \u{7f}", "a: \u{9f}", "# \u{1b}[31m", "a: \u{ffff}"] {
        let d = Diagnostics::new();
        assert!(from_yaml(text, &d).is_none(), "{text:?}");
        let told = d.to_text(false);
        assert!(told.contains("control characters are not allowed") && !told.contains('\u{1b}'), "{told}");
    }
    let d = Diagnostics::new();
    from_yaml("a: 1\nb: \u{e9}x\u{7}\n", &d);
    assert_eq!(d.items()[0].origin.as_ref().map(|o| (o.line, o.column)), Some((2, 6)));
    assert_eq!(shape(&tree("a: \"x\\ay\\e\"\nb: c\td", &World::default())), r#"{"a":"x\u0007y\u001b","b":"c\td"}"#);
    // A variable that is not YAML is taken as text.
    let world = vars(&[("BELL", "a\u{7}b")]);
    assert_eq!(expanded("${env:BELL}", &world).0, Value::Str("a\u{7}b".into()));
}

#[test]
fn lists_of_diagnostics_are_bounded_in_number_and_length() {
    let d = Diagnostics::new();
    for i in 0..3000 {
        d.error(None, &"p".repeat(10_000), format!("{i} {}", "\u{e9}".repeat(10_000)));
        d.warn(None, "", "w");
    }
    assert_eq!((d.count(Severity::Error), d.count(Severity::Warning), d.items().len()), (3000, 3000, 2000));
    assert!(!d.keeps(Severity::Error) && d.has_errors());
    assert!(d.items().iter().all(|item| item.message.len() < 5000 && item.path.len() < 5000));
    let told = d.to_text(false);
    assert!(told.ends_with("\nand 2900 more errors and 2900 more warnings\n"), "{}", &told[told.len() - 100..]);
}
