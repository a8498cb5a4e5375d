use std::time::Duration;

use super::*;
use crate::{Diagnostics, GoDuration, HeaderEntry, Section, config_enum, config_struct, from_yaml, print};

config_enum! {
    /// A unit.
    enum Unit {
        /// Payloads.
        Requests = "requests",
        /// Items.
        Items = "items" | "item",
    }
}

config_enum! {
    /// A coding.
    #[config(unknown = "'{key}' unsupported compression type \"{word}\"", hint = "write gzip or none")]
    enum Coding {
        /// None.
        Identity = "none" | "",
        /// gzip.
        Gzip = "gzip",
    }
}

config_struct! {
    /// Keys that several sections have.
    #[config(unsupported("middlewares", "middlewares are not supported yet"))]
    #[derive(PartialEq)]
    struct Shared {
        /// Where to connect to.
        endpoint: String = "localhost:1".to_owned(),
        /// Sent with every request.
        headers: Vec<HeaderEntry>,
        /// How requests are compressed.
        compression: Coding = Coding::Gzip,
    }
}

config_struct! {
    /// A section.
    #[config(check = Self::check)]
    #[derive(PartialEq)]
    struct Inner {
        /// How many.
        #[config(unit = "MiB")]
        #[config(at_least(1, "`count` must be positive", "write `count: 1`"))]
        #[config(at_most(10, "`count` is too large"))]
        count: i64 = 5,
        /// The old form.
        #[config(deprecated = "`count:`")]
        number: Option<i64>,
        /// A password.
        password: OpaqueString,
    }
}

impl Inner {
    fn check(&mut self, s: &mut Section<'_>) {
        if let Some(number) = self.number.take() {
            self.count = number;
        }
        if self.count == 7 {
            s.error("count", "seven is not allowed");
        }
    }
}

config_struct! {
    /// A component.
    #[config(unsupported("storage", "there is no storage yet"))]
    #[derive(PartialEq)]
    struct Outer {
        /// The peer.
        #[config(flatten)]
        shared: Shared = Shared { endpoint: "here:2".to_owned(), ..Shared::default() },
        /// Time limit; see [`Outer::unit`].
        #[config(at_least(GoDuration::ZERO, "'timeout' must be non-negative"))]
        timeout: Duration = Duration::from_secs(5),
        /// Of the size.
        #[config(key = "type")]
        unit: Unit = Unit::Items,
        /// A section.
        #[config(was("inside", "`inner:`"))]
        inner: Inner = Inner { count: 6, ..Inner::default() },
        /// On.
        on: Optional<Inner> = Optional::on(Inner::default()),
        /// Off, null is on.
        null: Optional<Inner> = Optional::on_null(Inner { count: 9, ..Inner::default() }),
        /// Off.
        off: Optional<Inner>,
        /// A list.
        list: Vec<Inner>,
        /// Words.
        words: Vec<String> = vec!["a".to_owned()],
        /// Labels.
        labels: Vec<(String, String)>,
        /// Share.
        share: f64 = 0.5,
        /// May be unset.
        port: Option<u16>,
        /// For another program.
        #[config(no_effect = "there is no garbage collector")]
        gc: bool = true,
        #[config(skip)]
        calls: u64 = 3,
    }
}

fn read(yaml: &str) -> (Outer, Vec<String>, String) {
    let d = Diagnostics::new();
    let node = from_yaml(yaml, &d).unwrap();
    let section = Section::new(Some(&node), "exporters::outer", &d);
    let record = section.recorder();
    let config = Outer::read_section(section, &Outer::default());
    (config, d.items().into_iter().map(|item| item.message).collect(), print::to_yaml(&record.snapshot(), true))
}

#[test]
fn absent_keys_have_the_defaults_of_the_declaration() {
    let (config, messages, _) = read("{}");
    // What is off after reading does not say what a null would mean.
    let expected = Outer { null: Optional::off(Inner { count: 9, ..Inner::default() }), ..Outer::default() };
    assert_eq!((config, messages), (expected, Vec::new()));
    let config = Outer::default();
    assert_eq!((config.shared.endpoint.as_str(), config.inner.count, config.calls), ("here:2", 6, 3));
    assert!(config.on.is_on() && !config.null.is_on() && !config.off.is_on());
}

#[test]
fn written_keys_of_every_type_are_read() {
    let (config, messages, _) = read(
        "endpoint: there:3\nheaders: {a: b}\ncompression: none\ntimeout: 1s\ntype: item\ninner: {count: 2, password: x}\n\
         on: {enabled: false}\nnull:\noff: {count: 3}\nlist: [{count: 1}, {}]\nwords: b,c\nlabels: {k: v}\nshare: 1\nport: 80\n",
    );
    assert_eq!(messages, Vec::<String>::new());
    assert_eq!((config.shared.endpoint.as_str(), config.shared.compression), ("there:3", Coding::Identity));
    assert_eq!(config.shared.headers.iter().map(|h| (h.name.as_str(), h.value.as_str())).next(), Some(("a", "b")));
    assert_eq!((config.timeout, config.unit, config.inner.count), (Duration::from_secs(1), Unit::Items, 2));
    assert_eq!(config.null.get().map(|inner| inner.count), Some(9), "null is on with its own defaults");
    assert_eq!((config.on.get(), config.off.get().map(|inner| inner.count)), (None, Some(3)));
    assert_eq!(config.list.iter().map(|inner| inner.count).collect::<Vec<_>>(), [1, 5]);
    assert_eq!((config.words, config.share, config.port), (vec!["b".to_owned(), "c".to_owned()], 1.0, Some(80)));
    assert_eq!(config.labels, [("k".to_owned(), "v".to_owned())]);
    assert_eq!(format!("{:?}", config.inner.password), "[REDACTED]");
}

#[test]
fn mistakes_are_all_reported_once_in_the_words_of_the_declaration() {
    for (yaml, expected) in [
        ("timeout: -1s", &["'timeout' must be non-negative"][..]),
        ("inner: {count: 0}", &["`count` must be positive"]),
        ("inner: {count: 11}", &["`count` is too large"]),
        ("inner: {count: 7}", &["seven is not allowed"]),
        ("inner: {count: x}", &["'count' expected type 'int64', got unconvertible type 'string'"]),
        ("inner: {number: 7}", &["'number' is deprecated", "seven is not allowed"]),
        ("inside: {count: 7}", &["'inside' is deprecated", "seven is not allowed"]),
        ("type: item\ncompression: br", &["'compression' unsupported compression type \"br\""]),
        ("type: bits", &["unsupported value \"bits\" (valid values: [requests items item])"]),
        ("gc: true", &["'gc' has no effect: there is no garbage collector"]),
        ("storage: x", &["'storage' is not supported: there is no storage yet"]),
        ("middlewares: [a]", &["'middlewares' is not supported: middlewares are not supported yet"]),
        ("storage: {enabled: false}\nmiddlewares: []", &[]),
        ("calls: 1", &["'exporters::outer' has invalid keys: calls"]),
        ("list: [{count: 0}, {cuont: 1}]", &["`count` must be positive", "'list[1]' has invalid keys: cuont"]),
    ] {
        let (_, messages, _) = read(yaml);
        let stripped: Vec<_> = messages.iter().map(|m| m.trim_start_matches("'type' ")).collect();
        let mut expected = expected.to_vec();
        let mut stripped = stripped.clone();
        expected.sort_unstable();
        stripped.sort_unstable();
        assert_eq!(stripped, expected, "{yaml}");
    }
}

#[test]
fn fields_describe_every_key_with_the_defaults_of_the_outer_type() {
    let fields = Outer::fields(&Outer::default());
    let keys: Vec<_> = fields.iter().map(|field| field.key).collect();
    let expected = [
        "endpoint",
        "headers",
        "compression",
        "middlewares",
        "timeout",
        "type",
        "inner",
        "on",
        "null",
        "off",
        "list",
        "words",
        "labels",
        "share",
        "port",
        "gc",
        "storage",
    ];
    assert_eq!(keys, expected);
    assert_eq!(fields[0].default, crate::EffectiveValue::Str("here:2".to_owned()));
    assert_eq!(fields[0].doc, "Where to connect to.");
    assert_eq!(fields[6].shape.fields()[0].default, crate::EffectiveValue::Int(6));
    assert_eq!(fields[6].shape.fields()[0].unit, Some("MiB"));
}

#[test]
fn reference_has_a_row_for_every_key_and_tables_of_old_and_refused_keys() {
    let text = markdown(&Outer::fields(&Outer::default()));
    for row in [
        "| `endpoint` | text | `here:2` | Where to connect to. |",
        "| `timeout` | duration, at least 0s | `5s` | Time limit; see `Outer::unit`. |",
        "| `type` | `requests`, `items`, `item` | `items` | Of the size. |",
        "| `inner::count` | integer, MiB, at least 1, at most 10 | `6` | How many. |",
        "| `null` | optional section | off; on if it is written | Off, null is on. |",
        "| `list[]::password` | text, redacted |  | A password. |",
        "| `gc` | bool | `true` | For another program. Has no effect: there is no garbage collector. |",
        "## Old keys\n\n| Key | Write instead |\n|---|---|\n| `inside` | `inner:` |\n| `inner::number` | `count:` |",
        "| `storage` | there is no storage yet |",
    ] {
        assert!(text.contains(row), "{row}\n{text}");
    }
}

#[test]
fn schema_has_types_defaults_and_constraints_of_every_key() {
    let object = object(&Outer::fields(&Outer::default()), None);
    let text = print::to_json(&schema("outer", "A component.", object), false);
    let compact: String = text.split_whitespace().collect();
    for part in [
        r#""$schema":"https://json-schema.org/draft/2020-12/schema""#,
        r#""additionalProperties":false"#,
        r#""timeout":{"default":"5s","description":"Timelimit;see`Outer::unit`.","minimum":0,"pattern":"^[+]?(0|"#,
        r#""count":{"default":6,"description":"Howmany.Unit:MiB.","maximum":10,"minimum":1,"pattern":"\\$\\{","type":["integer","string","null"]}"#,
        r#""number":{"deprecated":true,"#,
        r#""inside":{"additionalProperties":false,"deprecated":true,"#,
        r#""enum":["requests","items","item",null]"#,
        r#""port":{"description":"Maybeunset.","maximum":65535,"minimum":0,"#,
    ] {
        assert!(compact.contains(part), "{part}\n{text}");
    }
}
