//! Tests across modules: what a user writes, and what the collector reads from it or reports about it.

use std::collections::BTreeMap;

use super::*;

mod arbitrary_input;
mod complexity;

#[derive(Default)]
struct TestSources {
    files: BTreeMap<&'static str, &'static str>,
    vars: BTreeMap<&'static str, &'static str>,
}

impl ConfigSources for TestSources {
    fn read_file(&self, path: &str) -> Result<Vec<u8>, UnreadableSource> {
        let found = self.files.get(path).map(|t| t.as_bytes().to_vec());
        found.ok_or_else(|| UnreadableSource(format!("open {path}: no such file or directory")))
    }
    fn env_var(&self, name: &str) -> Option<String> {
        self.vars.get(name).map(|v| (*v).to_owned())
    }
}

fn sources_with_files(files: &[(&'static str, &'static str)]) -> TestSources {
    TestSources { files: files.iter().copied().collect(), ..TestSources::default() }
}

fn sources_with_vars(vars: &[(&'static str, &'static str)]) -> TestSources {
    TestSources { vars: vars.iter().copied().collect(), ..TestSources::default() }
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|s| (*s).to_owned()).collect()
}

/// The effective values of the tree as JSON without white space.
fn compact_json(node: &ConfigNode) -> String {
    print::to_json(&EffectiveValue::from(node), false).split_whitespace().collect()
}

fn load_compact(world: &TestSources, uris: &[&str], sets: &[&str]) -> (Option<String>, Diagnostics) {
    let d = Diagnostics::new();
    let node = load(&strings(uris), &strings(sets), world, &FeatureGates::default(), &d);
    (node.map(|n| compact_json(&n)), d)
}

fn messages(d: &Diagnostics) -> Vec<String> {
    d.items().into_iter().map(|i| i.message).collect()
}

/// Loads one text with the given variables; there must be no error.
fn load_tree(text: &str, world: &TestSources) -> ConfigNode {
    let d = Diagnostics::new();
    let node = load(&[format!("yaml:{text}")], &[], world, &FeatureGates::default(), &d).unwrap();
    assert!(!d.has_errors(), "{}", d.render_to_string(false));
    node
}

// ---- sources --------------------------------------------------------------------------------------------------------

#[test]
fn every_scheme_reads_its_source() {
    let world =
        TestSources { files: [("a.yaml", "a: 1"), ("/etc/b.yaml", "b: 2")].into(), vars: [("CONF", "c: 3")].into() };
    let uris = ["a.yaml", "file:/etc/x/../b.yaml", "env:CONF", "yaml:d::e: 4"];
    assert_eq!(load_compact(&world, &uris, &[]).0.unwrap(), r#"{"a":1,"b":2,"c":3,"d":{"e":4}}"#);
}

#[test]
fn unreadable_sources_are_all_reported_in_one_run() {
    let uris = ["file:/x", "s3:foo", "env:1abc", "fil:x", ":x", "https://h/c.yaml"];
    let (node, d) = load_compact(&TestSources::default(), &uris, &["foo"]);
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
    assert_eq!(
        messages(&load_compact(&TestSources::default(), &[], &[]).1),
        ["at least one config flag must be provided"]
    );
}

#[test]
fn empty_document_is_an_empty_configuration_and_later_documents_are_ignored() {
    for text in ["", "null", "# nothing\n", "---\n", "~"] {
        let world = TestSources { files: [("c", text)].into(), ..TestSources::default() };
        assert_eq!(load_compact(&world, &["c"], &[]).0.unwrap(), "{}", "{text:?}");
    }
    assert_eq!(compact_json(&load_tree("a: 1\n---\nb: [", &TestSources::default())), r#"{"a":1}"#);
}

#[test]
fn source_that_is_not_a_map_is_refused() {
    for (text, ty) in [("- a", "[]interface {}"), ("hello", "string"), ("12", "int"), ("true", "bool")] {
        let (node, d) = load_compact(&TestSources::default(), &[&format!("yaml:{text}")], &[]);
        assert_eq!(node, None);
        assert_eq!(messages(&d), [format!("retrieved value (type={ty}) cannot be used as a Conf")]);
    }
}

// ---- YAML -----------------------------------------------------------------------------------------------------------

#[test]
fn anchors_aliases_and_merge_keys_are_resolved() {
    let text = "base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\none: *b\ntwo: {<<: *b, y: 9}\nthree: {<<: [*b, *m], w: 0}\nfour:\n  y: 7\n  <<: *m";
    let node = load_tree(text, &TestSources::default());
    assert_eq!(compact_json(node.get_path("one").unwrap()), r#"{"x":1,"y":2}"#);
    assert_eq!(compact_json(node.get_path("two").unwrap()), r#"{"x":1,"y":9}"#);
    assert_eq!(compact_json(node.get_path("three").unwrap()), r#"{"w":0,"x":1,"y":2,"z":4}"#);
    assert_eq!(compact_json(node.get_path("four").unwrap()), r#"{"y":7,"z":4}"#);
}

#[test]
fn quoted_and_tagged_scalars_have_the_type_of_their_quotes_or_tag() {
    let text = "a: '12'\nb: \"true\"\nc: !!str 12\nd: !!int \"5\"\ne: |\n  12\nf: !foo x\n0x10: k\n1: one\n";
    assert_eq!(
        compact_json(&load_tree(text, &TestSources::default())),
        r#"{"1":"one","16":"k","a":"12","b":"true","c":"12","d":5,"e":"12\n","f":"x"}"#
    );
}

#[test]
fn tab_between_a_key_and_its_value_is_accepted() {
    let node = load_tree("x:\n  a:\tb\n  c:\t\t5\n  d:\t'e\tf'\n", &TestSources::default());
    assert_eq!(node.get_path("x::d").unwrap().origin.to_string(), "yaml::4:6");
    assert_eq!(compact_json(&node), r#"{"x":{"a":"b","c":5,"d":"e\tf"}}"#);
    assert_eq!(load_compact(&TestSources::default(), &["yaml:a:\tb: c"], &[]).0, None);
}

#[test]
fn invalid_yaml_is_reported_with_its_location_and_the_message_of_the_go_collector() {
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
        let (node, d) = load_compact(&TestSources::default(), &[&format!("yaml:{text}")], &[]);
        assert_eq!(node, None, "{text:?}");
        let item = &d.items()[0];
        let origin = item.origin.as_ref().unwrap();
        assert_eq!(
            (item.kind, origin.line, origin.column),
            (DiagnosticKind::InvalidYaml, line, column),
            "{text:?}: {item}"
        );
        let note = item.note.as_deref().unwrap();
        let sentence = "retrieved value (type=string) cannot be used as a Conf: assuming string type since contents are not valid YAML: yaml: line ";
        assert!(note.starts_with(sentence), "{note}");
    }
}

#[test]
fn duplicate_keys_are_reported_with_both_locations_and_the_rest_is_checked() {
    let text = "receivers:\n  otlp:\n  otlp:\n    x: 1\nservice: {a: 1, b: 2, a: 3}\n";
    let d = Diagnostics::new();
    let node = load(&[format!("yaml:{text}")], &[], &NoConfigSources, &FeatureGates::default(), &d).unwrap();
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
    assert_eq!(compact_json(&node), r#"{"receivers":{"otlp":{"x":1}},"service":{"a":3,"b":2}}"#);
}

#[test]
fn aliases_and_nesting_beyond_the_limits_are_refused() {
    let mut exponential_aliases = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for i in 1..10 {
        let refs = vec![format!("*a{}", i - 1); 9].join(", ");
        exponential_aliases.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
    }
    let mut nested_aliases = String::from("a0: &a0 [x]\n");
    for i in 1..200 {
        nested_aliases.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
    }
    let deep = format!("a: {}", "[".repeat(100_000));
    let long_key = format!("{}: 1", vec!["a"; 200].join("::"));
    let table = [
        (exponential_aliases, "excessive aliasing"),
        (nested_aliases, "exceeded max depth of 100"),
        (deep, ""),
        (long_key, "exceeded max depth of 100"),
    ];
    for (text, want) in table {
        let (node, d) = load_compact(&TestSources::default(), &[&format!("yaml:{text}")], &[]);
        assert_eq!(node, None);
        assert!(messages(&d)[0].contains(want), "{}", messages(&d)[0]);
    }
    let fine = format!("a: {}1{}", "[".repeat(90), "]".repeat(90));
    load_tree(&fine, &TestSources::default());
}

// ---- merging --------------------------------------------------------------------------------------------------------

#[test]
fn later_source_merges_maps_and_replaces_other_values() {
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
        assert_eq!(
            load_compact(&TestSources::default(), &[base, &format!("yaml:{over}")], &[]).0.unwrap(),
            *want,
            "{over}"
        );
    }
}

#[test]
fn set_flag_is_merged_last_and_its_value_is_yaml() {
    let (node, d) = load_compact(
        &TestSources::default(),
        &["yaml:a: {b: 1, c: 2}"],
        &["a.b=[x, 'y']", " a.d.e/f = 0x10 ", "a.g=x=y"],
    );
    assert_eq!(node.unwrap(), r#"{"a":{"b":["x","y"],"c":2,"d":{"e/f":16},"g":"x=y"}}"#);
    assert!(d.is_empty());
}

#[test]
fn location_in_a_set_flag_is_that_in_the_argument() {
    let d = Diagnostics::new();
    let node =
        load(&strings(&["yaml:"]), &strings(&[" aa.bbb.c = {x: 1}"]), &NoConfigSources, &FeatureGates::default(), &d)
            .unwrap();
    let c = node.get_path("aa::bbb").unwrap().as_map().unwrap().get("c").unwrap();
    assert_eq!(c.key_origin.to_string(), "--set aa.bbb.c:1:9");
    assert_eq!(node.get_path("aa::bbb::c::x").unwrap().origin.to_string(), "--set aa.bbb.c:1:17");
}

#[test]
fn merge_append_gate_joins_lists_of_components_but_not_of_processors() {
    let (gates, _) = FeatureGates::parse(&["confmap.enableMergeAppendOption"]);
    let one = "yaml:service: {extensions: [a, b], pipelines: {traces: {receivers: [r], processors: [p], exporters: [e]}}}\nextensions: {l: [1]}";
    let two = "yaml:service: {extensions: [b, c], pipelines: {traces: {receivers: [s], processors: [q], exporters: [e, f]}}}\nextensions: {l: [2]}";
    let d = Diagnostics::new();
    let node = load(&strings(&[one, two]), &[], &NoConfigSources, &gates, &d).unwrap();
    assert_eq!(
        compact_json(&node),
        r#"{"extensions":{"l":[2]},"service":{"extensions":["a","b","c"],"pipelines":{"traces":{"exporters":["e","f"],"processors":["q"],"receivers":["r","s"]}}}}"#
    );
}

// ---- expansion ------------------------------------------------------------------------------------------------------

/// The value of `v` in its own type, and as a string field reads it.
fn expand_value(value: &str, world: &TestSources) -> (NodeValue, Option<String>) {
    let node = load_tree(&format!("v: {value}"), world);
    let v = node.get_path("v").unwrap();
    let d = Diagnostics::new();
    let mut s = Section::new(Some(&node), "", &d);
    let text = s.str("v", "default");
    let _ = s.finish();
    (v.value.clone(), (!d.has_errors()).then_some(text))
}

#[test]
fn whole_value_reference_is_parsed_for_its_field_and_verbatim_for_a_string() {
    let str_ = |s: &str| NodeValue::Str(s.into());
    let table = [
        ("123", NodeValue::Int(123), "123"),
        ("0123", NodeValue::Int(83), "0123"),
        ("\"0123\"", str_("\"0123\""), "\"0123\""),
        ("true", NodeValue::Bool(true), "true"),
        ("1e+07", NodeValue::Float(1e7), "1e+07"),
        ("$$X", str_("$X"), "$X"),
        ("a: b: c", str_("a: b: c"), "a: b: c"),
        ("[", str_("["), "["),
        ("null", NodeValue::Null, "null"),
        ("", NodeValue::Null, ""),
        ("${env:Y}", NodeValue::Int(7), "7"),
    ];
    for (text, value, target) in table {
        assert_eq!(
            expand_value("${env:X}", &sources_with_vars(&[("X", text), ("Y", "7")])),
            (value, Some(target.to_owned())),
            "{text}"
        );
    }
    let (value, text) = expand_value("${X}", &sources_with_vars(&[("X", "[a,b]")]));
    assert!(matches!(value, NodeValue::List(l) if l.len() == 2));
    assert_eq!(text.as_deref(), Some("[a,b]"));
}

#[test]
fn references_escapes_and_defaults_expand_as_in_the_go_collector() {
    let world = TestSources {
        files: [("/d/a.yaml", "k: ${env:X}"), ("tok", "s3cr:et\n")].into(),
        vars: [("X", "1"), ("E", ""), ("DIR", "/d"), ("N", "X"), ("C", "a # ${bad.name}")].into(),
    };
    let str_ = |s: &str| NodeValue::Str(s.into());
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
        ("${env:U:-5}", NodeValue::Int(5)),
        ("x${env:U:-}y", str_("xy")),
        ("x${env:E:-d}y", str_("xy")),
        ("${env:E:-d}", NodeValue::Null),
        ("${env:${env:N}}", NodeValue::Int(1)),
        ("${file:tok}", str_("s3cr:et\n")),
        ("${yaml:0x10}", NodeValue::Int(16)),
        ("$$$$", str_("$$")),
    ];
    for (text, want) in table {
        assert_eq!(expand_value(text, &world).0, want, "{text}");
    }
    let node = load_tree("v: ${file:${env:DIR}/a.yaml}", &world);
    assert_eq!(compact_json(&node), r#"{"v":{"k":1}}"#);
    // A comment with a reference that cannot be resolved matters only where the raw text is needed.
    let world = sources_with_vars(&[("C", "[a] # ${bad.name}")]);
    let (value, text) = expand_value("${env:C}", &world);
    assert!(matches!(value, NodeValue::List(_)) && text.is_none());
}

#[test]
fn keys_are_never_expanded() {
    assert_eq!(
        compact_json(&load_tree("${env:X}: 1\n$$a: 2", &sources_with_vars(&[("X", "y")]))),
        r#"{"$$a":2,"${env:X}":1}"#
    );
}

#[test]
fn failed_references_are_reported_with_their_locations_and_the_rest_is_read() {
    let text = "a: ${VAR:-d}\nb: [x, 'y ${env:1a}']\nc: ${env:$X}\nd: ${file:/no}\ne: 5\nf: ${_x:y}";
    let d = Diagnostics::new();
    let node = load(&[format!("yaml:{text}")], &[], &NoConfigSources, &FeatureGates::default(), &d).unwrap();
    let messages: Vec<_> = d.items().iter().map(|i| format!("{i}")).collect();
    assert_eq!(
        messages,
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
    let _ = (s.section("d").finish(), s.raw_node("f"));
    let _ = s.finish();
    assert_eq!(d.len(), 5, "{}", d.render_to_string(false));
}

#[test]
fn unset_variable_is_a_warning_with_its_location() {
    let d = Diagnostics::new();
    let node = load(
        &strings(&["yaml:a:\n  t: ${env:UNSET}\n  u: x${env:UNSET}"]),
        &[],
        &NoConfigSources,
        &FeatureGates::default(),
        &d,
    )
    .unwrap();
    assert!(!d.has_errors());
    let reported: Vec<_> = d.items().iter().map(|i| (i.kind, i.to_string())).collect();
    assert_eq!(
        reported,
        [
            (
                DiagnosticKind::UnsetVariable,
                "yaml::2:6: a::t: Configuration references unset environment variable \"UNSET\"".to_owned()
            ),
            (
                DiagnosticKind::UnsetVariable,
                "yaml::3:7: a::u: Configuration references unset environment variable \"UNSET\"".to_owned()
            ),
        ]
    );
    let mut s = Section::new(node.get_path("a"), "a", &d);
    assert_eq!((s.duration("t", GoDuration::from_secs(5)), s.str("u", "")), (GoDuration::ZERO, "x".to_owned()));
    let _ = s.finish();
}

#[test]
fn recursive_expansion_is_refused_at_the_limit() {
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
        let (_, d) = load_compact(&sources_with_vars(&[("A", text), ("B", "${env:A}")]), &["yaml:v: ${env:A}"], &[]);
        assert!(
            messages(&d).contains(&"too many recursive expansions".to_owned()),
            "{text}: {:?}",
            messages(&d).first()
        );
        assert!(d.items().iter().all(|i| i.kind == DiagnosticKind::Limit));
    }
}

// ---- typed values ---------------------------------------------------------------------------------------------------

/// Reads `v` from `v: <text>` and returns the value and the messages.
fn read_value<T>(text: &str, read: impl FnOnce(&mut Section<'_>) -> T) -> (T, Vec<String>) {
    let node = load_tree(&format!("v: {text}"), &TestSources::default());
    let d = Diagnostics::new();
    let mut s = Section::new(Some(&node), "", &d);
    let value = read(&mut s);
    let _ = s.finish();
    (value, messages(&d))
}

#[test]
fn value_of_another_type_is_refused_with_the_exceptions_of_the_go_collector() {
    let no: Vec<String> = Vec::new();
    let dur = |s: &mut Section<'_>| s.duration("v", GoDuration::from_secs(9)).0;
    assert_eq!(read_value("5", dur), (5, no.clone()));
    assert_eq!(read_value("1h5m", dur), (3_900_000_000_000, no.clone()));
    assert_eq!(read_value("-1s", dur), (-1_000_000_000, no.clone()));
    assert_eq!(read_value("4.5", dur), (4, no.clone()));
    assert_eq!(read_value("", dur), (0, no.clone()));
    assert_eq!(read_value("5x", dur).1, ["'v' time: unknown unit \"x\" in duration \"5x\""]);
    assert_eq!(read_value("abc", dur).1, ["'v' time: invalid duration \"abc\""]);
    assert_eq!(read_value("'5'", dur), (9_000_000_000, vec!["'v' time: missing unit in duration \"5\"".to_owned()]));
    assert_eq!(read_value("true", dur).1, ["'v' expected type 'time.Duration', got unconvertible type 'bool'"]);

    let int = |s: &mut Section<'_>| s.int::<u32>("v", 7);
    assert_eq!(read_value("4.5", int), (4, no.clone()));
    assert_eq!(read_value("0o17", int), (15, no.clone()));
    assert_eq!(read_value("", int), (0, no.clone()));
    assert_eq!(read_value("-5", int), (7, vec!["'v' cannot parse value as 'uint32': -5 overflows uint".to_owned()]));
    assert_eq!(read_value("-5.5", int).1, ["'v' cannot parse value as 'uint32': -5.500000 overflows uint"]);
    assert_eq!(read_value("4294967296", int).1, ["'v' cannot parse value as 'uint32': 4294967296 overflows uint32"]);
    assert_eq!(read_value(".nan", int).1, ["'v' cannot parse value as 'uint32': NaN overflows uint32"]);
    assert_eq!(read_value("1e300", int).0, 7);
    assert_eq!(
        read_value("'5'", |s| s.int::<isize>("v", 7)).1,
        ["'v' expected type 'int', got unconvertible type 'string'"]
    );
    assert_eq!(read_value("-5", |s| s.int::<i64>("v", 7)), (-5, no.clone()));

    assert_eq!(read_value("3", |s| s.float("v", 1.0)), (3.0, no.clone()));
    assert_eq!(
        read_value("x", |s| s.float("v", 1.0)).1,
        ["'v' expected type 'float64', got unconvertible type 'string'"]
    );

    let boolean = |s: &mut Section<'_>| s.bool("v", true);
    assert_eq!(read_value("False", boolean), (false, no.clone()));
    assert_eq!(read_value("", boolean), (false, no.clone()));
    for word in ["yes", "\"true\"", "on"] {
        assert_eq!(read_value(word, boolean).1, ["'v' expected type 'bool', got unconvertible type 'string'"]);
    }

    let text = |s: &mut Section<'_>| s.str("v", "d");
    assert_eq!(read_value("", text), (String::new(), no.clone()));
    assert_eq!(read_value("'12'", text), ("12".to_owned(), no.clone()));
    assert_eq!(read_value("12", text).1, ["'v' expected type 'string', got unconvertible type 'int'"]);
    assert_eq!(read_value("true", text).1, ["'v' expected type 'string', got unconvertible type 'bool'"]);
    assert_eq!(read_value("[a]", text).1, ["'v' expected type 'string', got unconvertible type '[]interface {}'"]);

    let list = |s: &mut Section<'_>| s.str_list("v", &["d"]).join("|");
    assert_eq!(read_value("'a,b'", list), ("a|b".to_owned(), no.clone()));
    assert_eq!(read_value("''", list), (String::new(), no.clone()));
    assert_eq!(read_value("[]", list), (String::new(), no.clone()));
    assert_eq!(read_value("", list), ("d".to_owned(), no.clone()));
    assert_eq!(
        read_value("[x, 1]", list),
        ("x".to_owned(), vec!["'v[1]' expected type 'string', got unconvertible type 'int'".to_owned()])
    );
    assert_eq!(read_value("3", list).1, ["'v' source data must be an array or slice, got int"]);

    assert_eq!(
        read_value("a", |s| s.component_ids("v").len()).1,
        ["'v' source data must be an array or slice, got string"]
    );
    let ids = read_value("[otlp/2, a-b, ' x ']", |s| {
        s.component_ids("v").iter().map(|i| format!("{}@{}", **i, i.origin.column)).collect::<Vec<_>>()
    });
    assert_eq!(ids.0, ["otlp/2@5", "x@18"]);
    assert_eq!(ids.1, ["'v[1]' in \"a-b\" id: invalid character(s) in type \"a-b\""]);
}

#[test]
fn null_value_keeps_the_default_of_pointers_lists_and_sections_only() {
    assert_eq!(read_value("", |s| s.opt_str("v")).0, None);
    assert_eq!(read_value("", |s| s.opt_int::<u32>("v")).0, None);
    assert_eq!(read_value("0", |s| s.opt_int::<u32>("v")).0, Some(0));
    assert_eq!(read_value("", |s| s.int_list::<u16>("v", &[1])).0, [1]);
    assert_eq!(read_value("[1, 2.5]", |s| s.float_list("v", &[])).0, [1.0, 2.5]);
    let inner = |s: &mut Section<'_>| {
        let mut inner = s.section("v");
        let value = inner.int("x", 3_u8);
        let _ = inner.finish();
        value
    };
    assert_eq!(read_value("", inner), (3, Vec::new()));
    assert_eq!(read_value("[]", inner), (3, vec!["'v' expected a map or struct, got \"slice\"".to_owned()]));
    assert_eq!(read_value("x", inner).1, ["'v' expected a map or struct, got \"string\""]);
}

#[test]
fn invalid_enum_values_headers_and_maps_are_reported() {
    let word = |s: &mut Section<'_>| s.one_of_strings("v", &["", "gzip", "zstd"], "gzip").to_owned();
    assert_eq!(read_value("zstd", word), ("zstd".to_owned(), Vec::new()));
    assert_eq!(read_value("", word), (String::new(), Vec::new()));
    assert_eq!(read_value("zst", word).1, ["'v' unsupported value \"zst\" (valid values: [ gzip zstd])"]);

    let headers =
        |s: &mut Section<'_>| s.headers("v").into_iter().map(|h| format!("{}={}", h.name, h.value)).collect::<Vec<_>>();
    assert_eq!(read_value("{b: x, a: y}", headers).0, ["b=x", "a=y"]);
    assert_eq!(read_value("[{name: b, value: x}, {name: a}]", headers).0, ["b=x", "a="]);
    assert_eq!(read_value("[{name: b, value: x}, {name: b}]", headers).1, ["duplicate keys in map-style list: [b]"]);
    assert_eq!(read_value("[{name: b, valu: x}]", headers).1, ["'v[0]' has invalid keys: valu"]);
    assert_eq!(read_value("{a: 1}", headers).1, ["'v[a]' expected type 'string', got unconvertible type 'int'"]);
    assert_eq!(read_value("{a: }", |s| s.str_map("v")).0, [("a".to_owned(), String::new())]);
}

#[test]
fn optional_section_is_enabled_as_in_configoptional() {
    use OptionalFlavor::{Default, None, Some};
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
    for (text, flavor, on) in table {
        let node = load_tree(text, &TestSources::default());
        let d = Diagnostics::new();
        let mut s = Section::new(Option::Some(&node), "", &d);
        let inner = s.optional_section("v", flavor);
        assert_eq!(inner.is_some(), on, "{text} {flavor:?}");
        if let Option::Some(mut inner) = inner {
            assert!(inner.int("x", 2) == 2);
            let _ = inner.finish();
        }
        s.int("w", 0);
        let effective = s.finish();
        assert!(d.is_empty(), "{}", d.render_to_string(false));
        let printed = print::to_json(&effective, true).split_whitespace().collect::<String>();
        assert!(printed.contains(if on { r#""v":{"x":2}"# } else { r#""v":null"# }), "{printed}");
    }
    let messages = read_value("{enabled: no}", |s| s.optional_section("v", Some).map(|i| i.finish())).1;
    assert_eq!(messages, ["unexpected type string for 'enabled': got 'no' value expected 'true' or 'false'"]);
}

#[test]
fn invalid_and_duplicate_ids_of_components_and_pipelines_are_reported() {
    let text =
        "receivers:\n  otlp/ 1:\n  otlp/1:\n  a-b:\n  otlp: x\n  nop: {z: 1}\npipelines: {traces/a: , tracez: }\n";
    let node = load_tree(text, &TestSources::default());
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
fn deprecated_and_unsupported_options_are_reported_at_their_keys() {
    let node = load_tree("a: 1\nb: {enabled: false}\nc: {x: 1}\nd:\n", &TestSources::default());
    let d = Diagnostics::new();
    let mut s = Section::new(Some(&node), "exporters::jaeger", &d);
    assert!(s.warn_deprecated("a", "`tls::insecure: true`"));
    assert!(!s.warn_deprecated("zz", ""));
    s.int("a", 0);
    for key in ["b", "c", "d", "e"] {
        s.refuse_unsupported(key, "it is not built yet");
    }
    let _ = s.error("a", "must be 2").help("write 2");
    let _ = s.error_for_keys(&["e"], "wrong");
    let _ = s.finish();
    let reported: Vec<_> = d.items().iter().map(|i| format!("{:?} {i}", i.kind)).collect();
    assert_eq!(
        reported,
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
fn configuration_of_the_go_collector_loads_unchanged() {
    let node = load_tree(CONFIG, &TestSources::default());
    let d = Diagnostics::new();
    let mut top = Section::new(Some(&node), "", &d);
    let names: Vec<String> = top.section("exporters").components().iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(names, ["jaeger", "prometheus", "logging"]);
    assert_eq!(top.section("processors").components().len(), 0);
    let mut service = top.section("service");
    assert_eq!(service.component_ids("extensions")[0].to_string(), "health_check");
    let mut pipelines = service.section("pipelines").pipelines();
    assert_eq!(pipelines.len(), 2);
    assert_eq!(pipelines[1].1.component_ids("exporters")[1].origin.to_string(), "yaml::30:31");
    assert!(d.is_empty());
}

#[test]
fn mistakes_of_a_file_are_all_shown_in_one_run_with_their_lines() {
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
        load(
            &strings(&["f.yaml"]),
            &[],
            &sources_with_files(&[("f.yaml", text.to_owned().leak())]),
            &FeatureGates::default(),
            &d
        )
        .is_none()
    );
    let rendered = d.render_to_string(false);
    assert!(rendered.contains("--> f.yaml:9:1") && rendered.contains("indent with spaces"), "{rendered}");

    let good: &'static str = text.replace("\ttab: 1", "    limit_mib: -5\n    limit_mib: ${NO}").leak();
    let d = Diagnostics::new();
    let node = load(&strings(&["f.yaml"]), &[], &sources_with_files(&[("f.yaml", good)]), &FeatureGates::default(), &d)
        .unwrap();
    let mut top = Section::new(Some(&node), "", &d);
    for (_, mut otlp) in top.section("receivers").components() {
        let mut protocols = otlp.section("protocols");
        let mut grpc = protocols.section("grpc");
        grpc.str("endpoint", "localhost:4317");
        let _ = (grpc.finish(), protocols.finish(), otlp.finish());
    }
    for (_, mut jaeger) in top.section("exporters").components() {
        jaeger.duration("timeout", GoDuration::from_secs(5));
        jaeger.int("limit_mib", 0_u32);
        let _ = jaeger.finish();
    }
    d.error(None, "service::pipelines", "service must have at least one pipeline");
    let _ = top.finish();
    let golden = "\
error: 'protocols.grpc' has invalid keys: endpont [OC107]
 --> f.yaml:5:9  (receivers::otlp::protocols::grpc::endpont)
  |
5 |         endpont: \"x\"
  |         ^^^^^^^
  = help: did you mean `endpoint`?

error: 'timeout' time: unknown unit \"x\" in duration \"5x\" [OC110]
 --> f.yaml:8:14  (exporters::jaeger::timeout)
  |
8 |     timeout: 5x
  |              ^^
  = help: units are ns, us, ms, s, m and h, as in 1h5m

error: mapping key \"limit_mib\" already defined at line 9 [OC103]
  --> f.yaml:10:5
   |
10 |     limit_mib: ${NO}
   |     ^^^^^^^^^
  ::: f.yaml:9:5
   |
 9 |     limit_mib: -5
   |     --------- first defined here
   = note: retrieved value (type=string) cannot be used as a Conf: assuming string type since contents are not valid YAML: yaml: unmarshal errors: line 10: mapping key \"limit_mib\" already defined at line 9

warning: Configuration references unset environment variable \"NO\" [OC105]
  --> f.yaml:10:16  (exporters::jaeger::limit_mib)
   |
10 |     limit_mib: ${NO}
   |                ^^^^^
   = help: set NO, or give it a default: ${env:NO:-value}

error: service must have at least one pipeline [OC117]
 --> (service::pipelines)
";
    assert_eq!(d.render_to_string(false), golden);
    assert!(d.render_to_string(true).contains("\x1b[1;31merror"));
}

#[test]
fn variable_values_and_control_characters_are_not_rendered() {
    let world = sources_with_vars(&[("PASS", "{user: hunter2, \"a\\eb\": 1}")]);
    let d = Diagnostics::new();
    let node = load(&strings(&["yaml:auth: ${env:PASS}"]), &[], &world, &FeatureGates::default(), &d).unwrap();
    let mut top = Section::new(Some(&node), "", &d);
    let auth = top.section("auth");
    let _ = (auth.finish(), top.finish());
    let rendered = d.render_to_string(false);
    assert!(rendered.contains("env:PASS:1:2") && rendered.contains("invalid keys: user"), "{rendered}");
    assert!(!rendered.contains("hunter2") && !rendered.contains('\x1b'), "{rendered}");
}

#[test]
fn effective_configuration_is_printed_sorted_redacted_and_with_defaults() {
    let text = "exp: {headers: {b: secret, a: '${env:T}'}, tls: , retry: {enabled: false}, list: [x, 'yes', '0123', 'a: b', '*a', \"q\\n\"], on: 'y'}";
    let node = load_tree(text, &sources_with_vars(&[("T", "tok")]));
    let d = Diagnostics::new();
    let mut top = Section::new(Some(&node), "", &d);
    let recorder = top.recorder();
    let mut s = top.section("exp");
    s.headers("headers");
    s.duration("timeout", GoDuration::from_secs(300));
    s.float("ratio", 1e7);
    s.str_list("list", &[]);
    s.str_list("none", &[]);
    s.str("on", "");
    s.str("empty", "");
    s.int("n", 5_i64);
    s.opaque("password", "");
    let tls = s.optional_section("tls", OptionalFlavor::None);
    assert!(tls.is_none());
    let retry = s.optional_section("retry", OptionalFlavor::Some);
    assert!(retry.is_none());
    let _ = (s.finish(), top.finish());
    assert!(d.is_empty(), "{}", d.render_to_string(false));
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
    let printed = print::to_yaml(&recorder.snapshot(), true);
    assert_eq!(printed, yaml);
    let json = print::to_json(&recorder.snapshot(), false);
    assert!(json.contains("\"timeout\": 300000000000,") && json.contains("\"value\": \"tok\""), "{json}");
    assert!(json.starts_with("{\n  \"exp\": {\n    \"empty\": \"\","), "{json}");
    assert!(json.contains("\"ratio\": 10000000,"), "{json}");
}

#[test]
fn unescaped_control_characters_are_refused_as_in_yaml_v3() {
    for text in ["a: b\u{7}c", "a: 'x\u{0}'", "a: \u{7f}", "a: \u{9f}", "# \u{1b}[31m", "a: \u{ffff}"] {
        let d = Diagnostics::new();
        assert!(from_yaml(text, &d).is_none(), "{text:?}");
        let rendered = d.render_to_string(false);
        assert!(rendered.contains("control characters are not allowed") && !rendered.contains('\u{1b}'), "{rendered}");
    }
    let d = Diagnostics::new();
    from_yaml("a: 1\nb: \u{e9}x\u{7}\n", &d);
    assert_eq!(d.items()[0].origin.as_ref().map(|o| (o.line, o.column)), Some((2, 6)));
    assert_eq!(
        compact_json(&load_tree("a: \"x\\ay\\e\"\nb: c\td", &TestSources::default())),
        r#"{"a":"x\u0007y\u001b","b":"c\td"}"#
    );
    // A variable that is not YAML is taken as text.
    let world = sources_with_vars(&[("BELL", "a\u{7}b")]);
    assert_eq!(expand_value("${env:BELL}", &world).0, NodeValue::Str("a\u{7}b".into()));
}

#[test]
fn diagnostics_are_bounded_in_number_and_length() {
    let d = Diagnostics::new();
    for i in 0..3000 {
        d.error(None, &"p".repeat(10_000), format!("{i} {}", "\u{e9}".repeat(10_000)));
        d.warn(None, "", "w");
    }
    assert_eq!((d.count(Severity::Error), d.count(Severity::Warning), d.items().len()), (3000, 3000, 2000));
    assert!(!d.would_keep(Severity::Error) && d.has_errors());
    assert!(d.items().iter().all(|item| item.message.len() < 5000 && item.path.len() < 5000));
    let rendered = d.render_to_string(false);
    assert!(
        rendered.ends_with("\nand 2900 more errors and 2900 more warnings\n"),
        "{}",
        &rendered[rendered.len() - 100..]
    );
}
