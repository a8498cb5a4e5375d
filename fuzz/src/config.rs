//! A configuration. Checks: it is read, or refused with a message; a configuration that was read can be printed, and
//! the printed text is read as the same configuration.

use otelcore_config::{
    ConfigSources, Diagnostics, EffectiveValue, FeatureGates, GoDuration, Section, UnreadableSource, from_yaml, load,
    print,
};

/// A file of any bytes, and a few variables that refer to others and to themselves.
struct FuzzSources<'a>(&'a [u8]);

impl ConfigSources for FuzzSources<'_> {
    fn read_file(&self, _: &str) -> Result<Vec<u8>, UnreadableSource> {
        Ok(self.0.to_vec())
    }

    fn env_var(&self, name: &str) -> Option<String> {
        match name {
            "A" => Some("1".to_owned()),
            "B" => Some("x: ${env:A}".to_owned()),
            "C" => Some("${env:C}".to_owned()),
            "D" => Some("[a, {b: c}]".to_owned()),
            _ => None,
        }
    }
}

pub fn run(data: &[u8]) {
    let d = Diagnostics::new();
    let node = load(&["file:c.yaml".to_owned()], &[], &FuzzSources(data), &FeatureGates::default(), &d);
    assert!(node.is_some() || d.has_errors(), "neither read nor refused");
    assert_eq!(d.render_to_string(true).is_empty(), d.is_empty());
    let Some(node) = node else { return };
    let has_errors = d.has_errors();

    let effective = EffectiveValue::from(&node);
    let printed = print::to_yaml(&effective, false);
    let json = print::to_json(&effective, false);
    // The reader expands a dollar sign.
    if !has_errors && !printed.contains('$') {
        let d = Diagnostics::new();
        let reparsed = from_yaml(&printed, &d);
        let reparsed =
            reparsed.unwrap_or_else(|| panic!("the print is not read: {printed}\n{}", d.render_to_string(false)));
        assert_eq!(print::to_yaml(&EffectiveValue::from(&reparsed), false), printed);
        assert!(!json.is_empty());
    }

    // Reads it as components do: every call returns a value.
    let d = Diagnostics::new();
    let mut section = Section::new(Some(&node), "", &d);
    for key in section.child_keys() {
        let key = key.value.as_str();
        section.str(key, "");
        section.headers(key);
        section.str_list(key, &[]);
        section.duration(key, GoDuration::ZERO);
    }
    print::to_yaml(&section.finish(), true);
    let _ = d.render_to_string(false);
}
