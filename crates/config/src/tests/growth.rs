//! Work grows no faster than n log n with the size of a configuration, whatever is in it: the steps of every known
//! worst case are counted at one size and at eight times that size.

use super::*;
use crate::steps;

/// Loads a configuration, reads a few keys of every component and prints it, as the collector does with a whole one.
fn read(text: &str, world: &dyn Sources) -> Diagnostics {
    let d = Diagnostics::new();
    let gates = Gates::parse(&["confmap.enableMergeAppendOption"]).0;
    let uris = ["file:worst".to_owned(), "yaml:{service: {extensions: [x]}}".to_owned()];
    struct One<'a>(&'a str, &'a dyn Sources);
    impl Sources for One<'_> {
        fn file(&self, path: &str) -> Result<Vec<u8>, String> {
            if path == "worst" { Ok(self.0.as_bytes().to_vec()) } else { self.1.file(path) }
        }
        fn env(&self, name: &str) -> Option<String> {
            self.1.env(name)
        }
    }
    if let Some(node) = load(&uris, &[], &One(text, world), &gates, &d) {
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
        for id in service.ids("extensions") {
            let names = service.child_keys();
            let _ = service.diagnostics().nearest(&id.to_string(), names.iter().map(|n| n.value.as_str()));
        }
        let _ = service.finish();
        top.record("raw", Effective::from(&node));
        let effective = top.finish();
        let _ = (print::yaml(&effective, false), print::json(&effective, false));
    }
    let _ = d.to_text(true);
    d
}

type Worst = (&'static str, fn(usize) -> String);

fn many(n: usize, one: impl Fn(usize) -> String) -> String {
    (0..n).map(one).collect()
}

const CASES: &[Worst] = &[
    ("unknown keys", |n| format!("exporters:\n  x:\n{}", many(n, |i| format!("    endpoimt{i}: 1\n")))),
    ("unknown keys on one line", |n| format!("exporters: {{x: {{{}}}}}", many(n, |i| format!("endpoimt{i}: 1, ")))),
    ("unknown keys of many components", |n| {
        format!("exporters:\n{}", many(n, |i| format!("  x/{i}: {{endpont: a}}\n")))
    }),
    ("unknown sections", |n| many(n, |i| format!("exportes{i}: a\n"))),
    ("duplicate keys", |n| format!("exporters:\n  x:\n{}", "    endpoint: a\n".repeat(n))),
    ("duplicate maps", |n| many(n, |i| format!("exporters: {{x: {{a{i}: 1}}}}\n"))),
    ("wrong types", |n| {
        format!("exporters:\n{}", many(n, |i| format!("  x/{i}: {{endpoint: [0123], compression: 5}}\n")))
    }),
    ("wrong ids", |n| format!("exporters:\n{}", many(n, |i| format!("  'x y/{i}':\n")))),
    ("headers", |n| {
        format!("exporters: {{x: {{headers: [{}]}}}}", many(n, |i| format!("{{name: a{}, value: b}}, ", i / 2)))
    }),
    ("headers that are none", |n| format!("exporters: {{x: {{headers: [{}]}}}}", "a, ".repeat(n))),
    ("extensions", |n| format!("service: {{extensions: [{}]}}", many(n, |i| format!("x/{}, ", i / 2)))),
    ("deep lists", |n| format!("a: [{}]", format!("{}{}, ", "[".repeat(89), "]".repeat(89)).repeat(n / 90 + 1))),
    ("too deep", |n| format!("a: {}", "[".repeat(n))),
    ("deep maps in blocks", |n| {
        many(n / 60 + 1, |i| format!("k{i}:\n{}", many(60, |d| format!("{}a:\n", " ".repeat(d + 1)))))
    }),
    ("a long scalar", |n| format!("exporters: {{x: {{endpoint: [{}]}}}}", "x".repeat(n * 8))),
    ("a long key", |n| format!("exporters: {{x: {{? {} : 1}}}}", "endpoint".repeat(n))),
    ("lines of one scalar", |n| format!("a: |\n{}", "  x\n".repeat(n))),
    ("digits", |n| format!("a: {}\nb: 0.{}\nc: {}1", "9".repeat(n), "9".repeat(n), "1_".repeat(n))),
    ("opened keys", |n| many(n, |i| format!("a::b::c{i}::d: 1\n"))),
    ("colons", |n| format!("{}: 1\n", "a::".repeat(n))),
    ("aliases", |n| format!("a: &a [1, 2, 3]\nb: [{}]", "*a, ".repeat(n))),
    ("nested anchors", |n| {
        let inner = format!("[{}]", "1, ".repeat(n));
        format!("a: {}{inner}{}", many(80, |i| format!("&x{i} [")), "]".repeat(80))
    }),
    ("laughs", |n| {
        let first = format!("a0: &a0 [{}]\n", "1, ".repeat(n.min(100)));
        first + &many(n.min(400), |i| format!("a{0}: &a{0} [*a{1}, *a{1}]\n", i + 1, i))
    }),
    ("merge keys", |n| {
        format!("a: &a {{x: 1, y: 2}}\nb:\n{}", many(n, |i| format!("  k{i}: {{<<: [*a, *a], z: 3}}\n")))
    }),
    ("references", |n| many(n, |i| format!("k{i}: ${{env:A}}\n"))),
    ("references in one scalar", |n| format!("a: '{}'", "${env:A}".repeat(n))),
    ("references on one line", |n| format!("a: [{}]", "'x${env:A}', ".repeat(n))),
    ("unset references", |n| many(n, |i| format!("k{i}: ${{env:NO{i}}}\n"))),
    ("unset references on one line", |n| format!("a: [{}]", many(n, |i| format!("'${{env:NO{i}}}', ")))),
    ("references that fail", |n| format!("a: [{}]", "'${NO:-x}', ".repeat(n))),
    ("references to what is large", |n| many(n, |i| format!("k{i}: ${{env:LARGE}}\n"))),
    ("references to lists", |n| many(n, |i| format!("k{i}: ${{env:LIST}}\n"))),
    ("references to themselves", |n| many(n, |i| format!("k{i}: ${{env:SELF}}\n"))),
    ("escaped references", |n| format!("a: '{}'", "$${env:A}".repeat(n))),
    ("dollars", |n| format!("a: '{}'", "$".repeat(n * 4) + "{env:A}")),
    ("opening braces", |n| format!("a: '{}}}'", "${".repeat(n))),
    ("tabs behind colons", |n| many(n, |i| format!("k{i}:\t1\n"))),
    ("control characters", |n| "a: \u{7}\n".repeat(n)),
    ("blank lines", |n| format!("a: [{}", "\n".repeat(n * 8))),
    ("documents", |n| "---\na: 1\n".repeat(n)),
];

/// Steps of suggestions may grow faster, but only up to this limit.
const LIMIT: f64 = 8_000_000.0;

/// The same for references, which are bounded together by what they read and write.
const LIMIT_OF_REFERENCES: f64 = 200_000_000.0;

fn world() -> World {
    let large: &'static str = "x".repeat(20_000).leak();
    let list: &'static str = format!("[{}]", "1, ".repeat(2000)).leak();
    vars(&[("A", "v"), ("LARGE", large), ("LIST", list), ("SELF", "${env:SELF}")])
}

#[test]
fn steps_of_every_worst_case_grow_no_faster_than_n_log_n() {
    let world = world();
    let mut slow = Vec::new();
    for (name, text) in CASES {
        let references = name.starts_with("references");
        let small = if references { 50 } else { 600 };
        let [small, large] = [small, small * 8].map(|n| {
            let text = text(n);
            (text.len() as f64, steps::of(|| read(&text, &world)).0 as f64)
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
fn seconds_of_every_worst_case() {
    let world = world();
    for (name, text) in CASES {
        let mut n = 1 << 22;
        while text(n).len() > 15_000_000 {
            n /= 2;
        }
        let text = text(n);
        let start = std::time::Instant::now();
        let d = read(&text, &world);
        eprintln!("{name}: {} bytes, {:?}, {} told", text.len(), start.elapsed(), d.len());
    }
}
