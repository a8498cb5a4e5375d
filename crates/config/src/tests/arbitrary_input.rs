//! Any text is read, or refused with an error: no panic, no endless loop.

use proptest::prelude::*;

use super::*;

#[test]
fn truncated_configuration_is_read_or_refused() {
    let text = CONFIG.replace("true", "${env:A:-${env:B}}").replace("default", "a$${b} *c &d <<: ~");
    for (end, _) in text.char_indices() {
        let (node, d) = load_compact(&sources_with_vars(&[("B", "1")]), &[&format!("yaml:{}", &text[..end])], &[]);
        assert!(node.is_some() || d.has_errors());
    }
}

/// Pieces that have a meaning for the parser, in random order.
fn yaml_fragments() -> impl Strategy<Value = String> {
    let pieces = [
        "a", "b:", ": ", "- ", "\n", "\n  ", "\n    ", "\t", "{", "}", "[", "]", ",", "&x ", "*x", "<<: ", "'", "\"",
        "|", ">", "#", "? ", "!!int ", "! ", "---\n", "...", "${env:A}", "${A", "$$", "}", "::", "~", "0x1", "1e9",
        "é", "\u{feff}", "\r", "\\", "%", "@", "\0",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..40).prop_map(|p| p.concat())
}

fn load_and_print_arbitrary(text: &str, variable: &str) {
    let value: &'static str = variable.to_owned().leak();
    let d = Diagnostics::new();
    let uris = strings(&["env:C", &format!("yaml:{text}")]);
    let sources = TestSources { vars: [("A", value), ("C", "a: ${env:A}")].into(), ..TestSources::default() };
    if let Some(node) = load(&uris, &[format!("x.y={text}")], &sources, &FeatureGates::default(), &d) {
        let mut s = Section::new(Some(&node), "", &d);
        s.str("a", "");
        s.headers("b");
        s.str_list("b", &[]);
        s.duration("a", GoDuration::ZERO);
        let effective = s.finish();
        print::to_yaml(&effective, true);
        print::to_json(&EffectiveValue::from(&node), false);
    }
    d.render_to_string(true);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}", variable in "\\PC{0,30}") {
        load_and_print_arbitrary(&text, &variable);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        struct File(Vec<u8>);
        impl ConfigSources for File {
            fn read_file(&self, _: &str) -> Result<Vec<u8>, UnreadableSource> { Ok(self.0.clone()) }
            fn env_var(&self, _: &str) -> Option<String> { None }
        }
        let d = Diagnostics::new();
        let node = load(&strings(&["f"]), &[], &File(bytes), &FeatureGates::default(), &d);
        prop_assert!(node.is_some() || d.has_errors());
        d.render_to_string(false);
    }

    #[test]
    fn random_yaml_fragments_are_read_or_refused(text in yaml_fragments(), variable in yaml_fragments()) {
        load_and_print_arbitrary(&text, &variable);
    }

    #[test]
    fn a_mutated_configuration_is_read_or_refused(at in 0usize..600, cut in 0usize..4, piece in yaml_fragments()) {
        let mut chars: Vec<char> = CONFIG.chars().collect();
        let at = at.min(chars.len());
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, piece.chars());
        load_and_print_arbitrary(&chars.into_iter().collect::<String>(), &piece);
    }

    #[test]
    fn value_printed_as_yaml_reads_back_the_same(text in "[ -#%-~é\\n\\t]{0,20}", key in "[ -#%-9;-~]{1,8}", number in prop::num::f64::NORMAL) {
        let inner = [(key.clone(), EffectiveValue::Str(text.clone())), ("~n".to_owned(), EffectiveValue::List(vec![EffectiveValue::Float(number), EffectiveValue::Str(text)]))];
        let value = EffectiveValue::Map([("k".to_owned(), EffectiveValue::Map(inner.into_iter().collect()))].into_iter().collect());
        let printed = print::to_yaml(&value, true);
        let d = Diagnostics::new();
        let node = from_yaml(&printed, &d);
        prop_assert!(node.is_some(), "{printed}\n{}", d.render_to_string(false));
        let back = EffectiveValue::from(&node.unwrap());
        // A float without a fraction reads back as an integer: compare how they print.
        prop_assert_eq!(print::to_yaml(&back, true), print::to_yaml(&value, true));
    }
}
