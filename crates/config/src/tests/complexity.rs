//! Work grows no faster than n log n with the size of a configuration, whatever is in it: the steps of every known
//! worst case are counted at one size and at eight times that size.

use super::*;
use crate::steps;

/// Loads a configuration, reads a few keys of every component and prints it, as the collector does with a whole one.
fn load_and_print(text: &str, sources: &dyn ConfigSources) -> Diagnostics {
    let d = Diagnostics::new();
    let gates = FeatureGates::parse(&["confmap.enableMergeAppendOption"]).0;
    let uris = ["file:worst".to_owned(), "yaml:{service: {extensions: [x]}}".to_owned()];
    struct OneFile<'a>(&'a str, &'a dyn ConfigSources);
    impl ConfigSources for OneFile<'_> {
        fn read_file(&self, path: &str) -> Result<Vec<u8>, UnreadableSource> {
            if path == "worst" { Ok(self.0.as_bytes().to_vec()) } else { self.1.read_file(path) }
        }
        fn env_var(&self, name: &str) -> Option<String> {
            self.1.env_var(name)
        }
    }
    if let Some(node) = load(&uris, &[], &OneFile(text, sources), &gates, &d) {
        let mut top = Section::new(Some(&node), "", &d);
        for (_, mut section) in top.section("exporters").components() {
            for key in ["endpoint", "compression", "auth"] {
                if section.str(key, "").is_empty() {
                    section.error(key, format!("{key} must be specified"));
                }
            }
            for header in section.headers("headers") {
                section.warn(&header.key, "has no effect");
            }
            let _ = section.finish();
        }
        let mut service = top.section("service");
        for id in service.component_ids("extensions") {
            let names = service.child_keys();
            let _ = service.diagnostics().nearest_name(&id.to_string(), names.iter().map(|n| n.value.as_str()));
        }
        let _ = service.finish();
        top.record("raw", EffectiveValue::from(&node));
        let effective = top.finish();
        let _ = (print::to_yaml(&effective, false), print::to_json(&effective, false));
    }
    let _ = d.render_to_string(true);
    d
}

type WorstCase = (&'static str, fn(usize) -> String);

fn concat_n(n: usize, one: impl Fn(usize) -> String) -> String {
    (0..n).map(one).collect()
}

const WORST_CASES: &[WorstCase] = &[
    ("unknown keys", |n| format!("exporters:\n  x:\n{}", concat_n(n, |i| format!("    endpoimt{i}: 1\n")))),
    ("unknown keys on one line", |n| format!("exporters: {{x: {{{}}}}}", concat_n(n, |i| format!("endpoimt{i}: 1, ")))),
    ("unknown keys of many components", |n| {
        format!("exporters:\n{}", concat_n(n, |i| format!("  x/{i}: {{endpont: a}}\n")))
    }),
    ("unknown sections", |n| concat_n(n, |i| format!("exportes{i}: a\n"))),
    ("duplicate keys", |n| format!("exporters:\n  x:\n{}", "    endpoint: a\n".repeat(n))),
    ("duplicate maps", |n| concat_n(n, |i| format!("exporters: {{x: {{a{i}: 1}}}}\n"))),
    ("wrong types", |n| {
        format!("exporters:\n{}", concat_n(n, |i| format!("  x/{i}: {{endpoint: [0123], compression: 5}}\n")))
    }),
    ("wrong ids", |n| format!("exporters:\n{}", concat_n(n, |i| format!("  'x y/{i}':\n")))),
    ("headers", |n| {
        format!("exporters: {{x: {{headers: [{}]}}}}", concat_n(n, |i| format!("{{name: a{}, value: b}}, ", i / 2)))
    }),
    ("headers that are none", |n| format!("exporters: {{x: {{headers: [{}]}}}}", "a, ".repeat(n))),
    ("extensions", |n| format!("service: {{extensions: [{}]}}", concat_n(n, |i| format!("x/{}, ", i / 2)))),
    ("deep lists", |n| format!("a: [{}]", format!("{}{}, ", "[".repeat(89), "]".repeat(89)).repeat(n / 90 + 1))),
    ("too deep", |n| format!("a: {}", "[".repeat(n))),
    ("deep maps in blocks", |n| {
        concat_n(n / 60 + 1, |i| format!("k{i}:\n{}", concat_n(60, |d| format!("{}a:\n", " ".repeat(d + 1)))))
    }),
    ("a long scalar", |n| format!("exporters: {{x: {{endpoint: [{}]}}}}", "x".repeat(n * 8))),
    ("a long key", |n| format!("exporters: {{x: {{? {} : 1}}}}", "endpoint".repeat(n))),
    ("lines of one scalar", |n| format!("a: |\n{}", "  x\n".repeat(n))),
    ("digits", |n| format!("a: {}\nb: 0.{}\nc: {}1", "9".repeat(n), "9".repeat(n), "1_".repeat(n))),
    ("opened keys", |n| concat_n(n, |i| format!("a::b::c{i}::d: 1\n"))),
    ("colons", |n| format!("{}: 1\n", "a::".repeat(n))),
    ("aliases", |n| format!("a: &a [1, 2, 3]\nb: [{}]", "*a, ".repeat(n))),
    ("nested anchors", |n| {
        let inner = format!("[{}]", "1, ".repeat(n));
        format!("a: {}{inner}{}", concat_n(80, |i| format!("&x{i} [")), "]".repeat(80))
    }),
    ("laughs", |n| {
        let first = format!("a0: &a0 [{}]\n", "1, ".repeat(n.min(100)));
        first + &concat_n(n.min(400), |i| format!("a{0}: &a{0} [*a{1}, *a{1}]\n", i + 1, i))
    }),
    ("merge keys", |n| {
        format!("a: &a {{x: 1, y: 2}}\nb:\n{}", concat_n(n, |i| format!("  k{i}: {{<<: [*a, *a], z: 3}}\n")))
    }),
    ("references", |n| concat_n(n, |i| format!("k{i}: ${{env:A}}\n"))),
    ("references in one scalar", |n| format!("a: '{}'", "${env:A}".repeat(n))),
    ("references on one line", |n| format!("a: [{}]", "'x${env:A}', ".repeat(n))),
    ("unset references", |n| concat_n(n, |i| format!("k{i}: ${{env:NO{i}}}\n"))),
    ("unset references on one line", |n| format!("a: [{}]", concat_n(n, |i| format!("'${{env:NO{i}}}', ")))),
    ("references that fail", |n| format!("a: [{}]", "'${NO:-x}', ".repeat(n))),
    ("references to what is large", |n| concat_n(n, |i| format!("k{i}: ${{env:LARGE}}\n"))),
    ("references to lists", |n| concat_n(n, |i| format!("k{i}: ${{env:LIST}}\n"))),
    ("references to themselves", |n| concat_n(n, |i| format!("k{i}: ${{env:SELF}}\n"))),
    ("escaped references", |n| format!("a: '{}'", "$${env:A}".repeat(n))),
    ("dollars", |n| format!("a: '{}'", "$".repeat(n * 4) + "{env:A}")),
    ("opening braces", |n| format!("a: '{}}}'", "${".repeat(n))),
    ("tabs behind colons", |n| concat_n(n, |i| format!("k{i}:\t1\n"))),
    ("control characters", |n| "a: \u{7}\n".repeat(n)),
    ("blank lines", |n| format!("a: [{}", "\n".repeat(n * 8))),
    ("documents", |n| "---\na: 1\n".repeat(n)),
];

/// Steps of suggestions may grow faster, but only up to this limit.
const LIMIT: f64 = 8_000_000.0;

/// The same for references, which are bounded together by what they read and write.
const LIMIT_OF_REFERENCES: f64 = 200_000_000.0;

fn test_sources() -> TestSources {
    let large: &'static str = "x".repeat(20_000).leak();
    let list: &'static str = format!("[{}]", "1, ".repeat(2000)).leak();
    sources_with_vars(&[("A", "v"), ("LARGE", large), ("LIST", list), ("SELF", "${env:SELF}")])
}

#[test]
fn steps_of_every_worst_case_grow_no_faster_than_n_log_n() {
    let sources = test_sources();
    let mut slow = Vec::new();
    for (name, text) in WORST_CASES {
        let references = name.starts_with("references");
        let small = if references { 50 } else { 600 };
        let [small, large] = [small, small * 8].map(|n| {
            let text = text(n);
            (text.len() as f64, steps::measure(|| load_and_print(&text, &sources)).0 as f64)
        });
        let scaled = small.1 * (large.0 * large.0.log2()) / (small.0 * small.0.log2());
        let limit = if references { LIMIT_OF_REFERENCES } else { LIMIT };
        if large.1 > 1.5 * scaled && large.1 > limit {
            slow.push(format!("{name}: (bytes, steps) {small:?} and {large:?}"));
        }
    }
    assert!(slow.is_empty(), "{slow:#?}");
}

/// To see the time of each case: `cargo test --release -p otelcore-config seconds -- --ignored --nocapture`.
#[test]
#[ignore = "prints seconds and asserts nothing"]
#[allow(clippy::disallowed_methods, reason = "a look at the clock is its purpose")]
fn worst_cases_print_their_seconds() {
    let sources = test_sources();
    for (name, text) in WORST_CASES {
        let mut n = 1 << 22;
        while text(n).len() > 15_000_000 {
            n /= 2;
        }
        let text = text(n);
        let start = std::time::Instant::now();
        let d = load_and_print(&text, &sources);
        eprintln!("{name}: {} bytes, {:?}, {} diagnostics", text.len(), start.elapsed(), d.len());
    }
}
