//! Any text is read, or refused with an error: no panic, no endless loop.

use proptest::prelude::*;

use super::*;

#[test]
fn every_truncation_of_a_configuration_is_read_or_refused() {
    let text = CONFIG.replace("true", "${env:A:-${env:B}}").replace("default", "a$${b} *c &d <<: ~");
    for (end, _) in text.char_indices() {
        let (node, d) = loads(&vars(&[("B", "1")]), &[&format!("yaml:{}", &text[..end])], &[]);
        assert!(node.is_some() || d.has_errors());
    }
}

/// Pieces that have a meaning for the parser, in random order.
fn soup() -> impl Strategy<Value = String> {
    let pieces = [
        "a", "b:", ": ", "- ", "\n", "\n  ", "\n    ", "\t", "{", "}", "[", "]", ",", "&x ", "*x", "<<: ", "'", "\"",
        "|", ">", "#", "? ", "!!int ", "! ", "---\n", "...", "${env:A}", "${A", "$$", "}", "::", "~", "0x1", "1e9",
        "é", "\u{feff}", "\r", "\\", "%", "@", "\0",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..40).prop_map(|p| p.concat())
}

fn survives(text: &str, variable: &str) {
    let value: &'static str = variable.to_owned().leak();
    let d = Diagnostics::new();
    let uris = strings(&["env:C", &format!("yaml:{text}")]);
    let world = World { vars: [("A", value), ("C", "a: ${env:A}")].into(), ..World::default() };
    if let Some(node) = load(&uris, &[format!("x.y={text}")], &world, &Gates::default(), &d) {
        let mut s = Section::new(Some(&node), "", &d);
        s.str("a", "");
        s.headers("b");
        s.str_list("b", &[]);
        s.duration("a", Dur::ZERO);
        let effective = s.finish();
        print::yaml(&effective, true);
        print::json(&Effective::from(&node), false);
    }
    d.to_text(true);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}", variable in "\\PC{0,30}") {
        survives(&text, &variable);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        struct File(Vec<u8>);
        impl Sources for File {
            fn file(&self, _: &str) -> Result<Vec<u8>, String> { Ok(self.0.clone()) }
            fn env(&self, _: &str) -> Option<String> { None }
        }
        let d = Diagnostics::new();
        let node = load(&strings(&["f"]), &[], &File(bytes), &Gates::default(), &d);
        prop_assert!(node.is_some() || d.has_errors());
        d.to_text(false);
    }

    #[test]
    fn any_soup_of_yaml_is_read_or_refused(text in soup(), variable in soup()) {
        survives(&text, &variable);
    }

    #[test]
    fn a_mutated_configuration_is_read_or_refused(at in 0usize..600, cut in 0usize..4, piece in soup()) {
        let mut chars: Vec<char> = CONFIG.chars().collect();
        let at = at.min(chars.len());
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, piece.chars());
        survives(&chars.into_iter().collect::<String>(), &piece);
    }

    #[test]
    fn what_prints_as_yaml_reads_back(text in "[ -#%-~é\\n\\t]{0,20}", key in "[ -#%-9;-~]{1,8}", number in prop::num::f64::NORMAL) {
        let inner = [(key.clone(), Effective::Str(text.clone())), ("~n".to_owned(), Effective::List(vec![Effective::Float(number), Effective::Str(text)]))];
        let value = Effective::Map([("k".to_owned(), Effective::Map(inner.into_iter().collect()))].into_iter().collect());
        let printed = print::yaml(&value, true);
        let d = Diagnostics::new();
        let node = from_yaml(&printed, &d);
        prop_assert!(node.is_some(), "{printed}\n{}", d.to_text(false));
        let back = Effective::from(&node.unwrap());
        // A float without a fraction reads back as an integer: compare how they print.
        prop_assert_eq!(print::yaml(&back, true), print::yaml(&value, true));
    }
}
