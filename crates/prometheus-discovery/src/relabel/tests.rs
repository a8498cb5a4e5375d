use otelcore_config::declare::Config;
use otelcore_config::{Diagnostics, Section, config_struct, from_yaml};

use super::*;

config_struct! {
    /// A section with rules.
    pub(crate) struct WithRules {
        /// The rules.
        pub(crate) rules: Vec<RelabelConfig>,
    }
}

/// The rules of a list in YAML, and the messages of their own checks.
fn read(yaml: &str) -> (Vec<RelabelConfig>, Vec<String>) {
    let diagnostics = Diagnostics::new();
    let node = from_yaml(&format!("rules:\n{yaml}"), &diagnostics).unwrap();
    let config = WithRules::read_section(Section::new(Some(&node), "", &diagnostics), &WithRules::default());
    (config.rules, diagnostics.items().into_iter().map(|item| item.message).collect())
}

fn apply(yaml: &str, labels: &[(&str, &str)]) -> Option<LabelSet> {
    let (configs, messages) = read(yaml);
    assert_eq!(messages, Vec::<String>::new());
    let rules = RelabelRules::compile(&configs, NameValidation::Utf8).unwrap();
    relabel(&LabelSet::from_pairs(labels.iter().copied()), &rules)
}

fn set(labels: &[(&str, &str)]) -> Option<LabelSet> {
    Some(LabelSet::from_pairs(labels.iter().copied()))
}

#[test]
fn replace_sets_what_the_pattern_has_found() {
    let address = [("__address__", "10.0.0.1:80"), ("port", "9090")];
    let rule = "- {source_labels: [__address__, port], regex: '([^:]+)(?::\\d+)?;(\\d+)', target_label: __address__, replacement: '$1:$2'}";
    assert_eq!(apply(rule, &address), set(&[("__address__", "10.0.0.1:9090"), ("port", "9090")]));
    // A part of the value is no match.
    let rule = "- {source_labels: [port], regex: '90', target_label: x}";
    assert_eq!(apply(rule, &address), set(&address));
    let rule = "- {source_labels: [port], target_label: '$${1}_x'}";
    assert_eq!(apply(rule, &address), set(&[address[0], address[1], ("9090_x", "9090")]));
    let rule = "- {target_label: x, replacement: y}\n- {target_label: port, replacement: ''}";
    assert_eq!(apply(rule, &address), set(&[address[0], ("x", "y")]));
    let rule = "- {source_labels: [port], target_label: port, replacement: '$name-$2-$1-$0-$$'}";
    assert_eq!(apply(rule, &address), set(&[address[0], ("port", "--9090-9090-$")]));
}

#[test]
fn keep_and_drop_decide_by_pattern_or_by_equality() {
    let labels = [("a", "1"), ("b", "1"), ("c", "3")];
    for (rule, is_kept) in [
        ("- {source_labels: [a, c], regex: '1;.', action: keep}", true),
        ("- {source_labels: [a], regex: '2|3', action: Keep}", false),
        ("- {source_labels: [a], regex: true, action: drop}", true),
        ("- {source_labels: [none], regex: '', action: drop}", false),
        ("- {source_labels: [a], target_label: b, action: keepequal}", true),
        ("- {source_labels: [a], target_label: c, action: keepequal}", false),
        ("- {source_labels: [a], target_label: b, action: dropequal}", false),
    ] {
        assert_eq!(apply(rule, &labels).is_some(), is_kept, "{rule}");
    }
}

#[test]
fn labels_are_mapped_dropped_and_kept_by_name() {
    let labels = [("__meta_a", "1"), ("__meta_b", "2"), ("job", "j")];
    let mapped = apply("- {regex: '__meta_(.+)', action: labelmap}\n- {regex: '__.*', action: labeldrop}", &labels);
    assert_eq!(mapped, set(&[("a", "1"), ("b", "2"), ("job", "j")]));
    let last = apply("- {regex: '__meta_.+', replacement: x, action: labelmap}", &labels);
    assert_eq!(last.unwrap().get("x"), "2");
    assert_eq!(apply("- {regex: job, action: labelkeep}", &labels), set(&[("job", "j")]));
}

#[test]
fn hash_and_case_are_those_of_prometheus() {
    let labels = [("a", "foo"), ("b", "\u{130}\u{df}\u{1f80}A")];
    let rules = "- {source_labels: [a], modulus: 1000, target_label: h, action: hashmod}
- {source_labels: [b], target_label: l, action: lowercase}
- {source_labels: [b], target_label: u, action: uppercase}";
    let found = apply(rules, &labels).unwrap();
    assert_eq!(found.get("h"), "696");
    assert_eq!((found.get("l"), found.get("u")), ("i\u{df}\u{1f80}a", "\u{130}\u{df}\u{1f88}A"));
}

#[test]
fn mistake_in_a_rule_has_the_message_of_prometheus() {
    for (yaml, message) in [
        ("- {action: hashmod, target_label: a}", "relabel configuration for hashmod requires non-zero modulus"),
        ("- {action: replace}", "relabel configuration for replace action requires 'target_label' value"),
        ("- {target_label: 'a.b'}", "\"a.b\" is invalid 'target_label' for replace action"),
        ("- {target_label: 'a.$1'}", "\"a.$1\" is invalid 'target_label' for replace action"),
        ("- {action: lowercase, target_label: a, replacement: b}", "'replacement' can not be set for lowercase action"),
        ("- {action: labelmap, replacement: 'a-b'}", "\"a-b\" is invalid 'replacement' for labelmap action"),
        (
            "- {action: keepequal, target_label: a, regex: '(.*)'}",
            "keepequal action requires only 'source_labels' and `target_label`, and no other fields",
        ),
        ("- {action: labeldrop, source_labels: []}", "labeldrop action requires only 'regex', and no other fields"),
        ("- {action: ~}", "relabel action cannot be empty"),
    ] {
        let (configs, messages) = read(yaml);
        assert_eq!(messages, Vec::<String>::new());
        let error = RelabelRules::compile(&configs, NameValidation::Legacy).unwrap_err();
        assert_eq!((error.index, error.message.as_str()), (0, message), "{yaml}");
    }
    for (yaml, message) in [
        ("- {regex: 'a('}", "error parsing regexp: missing closing ): `^(?s:a()$`"),
        ("- {action: remove}", "unknown relabel action \"remove\""),
        ("- {source_labels: ['']}", "\"\" is not a valid label name"),
    ] {
        assert_eq!(read(yaml).1, [message], "{yaml}");
    }
}

#[test]
fn mistake_is_reported_at_its_rule() {
    let diagnostics = Diagnostics::new();
    let node = from_yaml("rules:\n- {target_label: a}\n- {action: hashmod}\n", &diagnostics).unwrap();
    let mut s = Section::new(Some(&node), "x", &diagnostics);
    let config = WithRules::read_keys(&mut s, &WithRules::default());
    RelabelRules::check(&config.rules, NameValidation::Utf8, &s, "rules");
    let _ = s.finish();
    let items = diagnostics.items();
    assert_eq!(items.len(), 1);
    assert!(items[0].message.starts_with("relabel configuration for hashmod"));
}
