//! Generated inputs of the comparison: the receiver's section, and what happens to its files.

use base64::Engine as _;
use otelcore_test_support::Choices;
use serde_json::{Value, json};

/// An input for a seed.
pub(crate) fn input(seed: u64) -> Value {
    let mut c = Choices::new(seed, 600);
    let c = &mut c;
    match c.below(20) {
        0 | 1 => regex(c),
        2..=4 => json_lines(c),
        5..=7 => container(c),
        8 | 9 => recombine(c),
        10 | 11 => fields(c),
        12 => route(c),
        13 => pairs(c),
        14 => table(c),
        15 => times(c),
        16 => texts(c),
        17 | 18 => reading(c),
        _ => rotation(c),
    }
}

fn data(text: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn write(file: &str, text: &[u8]) -> Value {
    json!({"op": "write", "file": file, "data": data(text)})
}

fn wait() -> Value {
    json!({"op": "wait"})
}

fn config(extra: &str, operators: &[String]) -> String {
    let operators: String = operators.iter().map(|operator| format!("\n  - {operator}")).collect();
    let operators = if operators.is_empty() { " []".to_owned() } else { operators };
    format!("include: ['DIR/*.log']\nstart_at: beginning\npoll_interval: 20ms\n{extra}\noperators:{operators}\n")
}

/// Lines in one file, read at once.
fn lines(extra: &str, operators: &[String], lines: &[String]) -> Value {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    json!({"config": config(extra, operators), "steps": [write("a.log", text.as_bytes()), wait()]})
}

fn some<'t>(c: &mut Choices, options: &[&'t str], most: usize) -> Vec<&'t str> {
    let count = 1 + c.below(most);
    (0..count).map(|_| c.choose(options)).collect()
}

fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn on_error(c: &mut Choices) -> String {
    c.choose(&["", "", ", on_error: drop", ", on_error: send_quiet", ", on_error: drop_quiet", ", on_error: send"])
        .to_owned()
}

fn condition(c: &mut Choices) -> String {
    c.choose(&[
        "",
        "",
        "",
        ", if: 'body matches \"^a\"'",
        ", if: 'attributes.level == \"warn\"'",
        ", if: 'attributes.n > 3'",
        ", if: 'body startsWith \"{\"'",
        ", if: 'body.x == 1'",
        ", if: 'len(attributes) > 1'",
        ", if: '\"level\" in attributes and not (attributes.level contains \"err\")'",
        ", if: 'attributes?.nested?.deep != nil'",
    ])
    .to_owned()
}

const LOG_LINES: &[&str] = &[
    "2024-03-01 10:00:00 INFO started ok",
    "2024-03-01 10:00:01 warn  disk at 91%",
    "2024-03-01 10:00:02 Error a=1 b=2",
    "2024-12-01 10:00:02 FATAL month",
    "no time here",
    "",
    "   indented",
    "2024-03-01 10:00:03 404 not found",
    "2024-03-01 10:00:04 7 debug2",
    "\u{e4}\u{f6} 10:00:00 x y",
];

fn severity(c: &mut Choices) -> String {
    let preset = c.choose(&["", ", preset: none", ", preset: otel", ", preset: default"]);
    let mapping = c.choose(&[
        "",
        ", mapping: {error: [404, 4xx], warn: warn, info2: [{min: 5, max: 8}], fatal: 5xx}",
        ", mapping: {debug: ['info', 'WARN'], nonsense: x, trace: {min: 9, max: 1}}",
    ]);
    let overwrite = c.choose(&["", ", overwrite_text: true"]);
    format!("{preset}{mapping}{overwrite}")
}

fn regex(c: &mut Choices) -> Value {
    let pattern = c.choose(&[
        "^(?P<time>\\S+ \\S+) (?P<level>\\w+) +(?P<msg>.*)$",
        "(?P<level>[A-Za-z]+)",
        "^(?P<a>\\d+)?(?P<b>x)?",
        "(?P<level>\\d\\d\\d)(?P<msg>.*)",
    ]);
    let to = c.choose(&[
        "",
        ", parse_to: body",
        ", parse_to: body.parsed",
        ", parse_to: attributes.in",
        ", parse_to: resource",
    ]);
    let base = if to.contains("body.parsed") {
        "body.parsed"
    } else if to.contains("body") {
        "body"
    } else if to.contains("in") {
        "attributes.in"
    } else if to.contains("resource") {
        "resource"
    } else {
        "attributes"
    };
    let time = if c.one_in(2) {
        format!(", timestamp: {{parse_from: {base}.time, layout: '%Y-%m-%d %H:%M:%S'}}")
    } else {
        String::new()
    };
    let level =
        if c.one_in(2) { format!(", severity: {{parse_from: {base}.level{}}}", severity(c)) } else { String::new() };
    let body = if to.is_empty() && c.one_in(3) { ", body: attributes.msg" } else { "" };
    let scope = if c.one_in(4) { format!(", scope_name: {{parse_from: {base}.level}}") } else { String::new() };
    let operators = [format!(
        "{{type: regex_parser, regex: '{pattern}'{to}{time}{level}{body}{scope}{}{}}}",
        on_error(c),
        condition(c)
    )];
    let chosen = some(c, LOG_LINES, 6);
    lines("", &operators, &owned(&chosen))
}

const JSON_LINES: &[&str] = &[
    r#"{"level":"warn","n":4,"s":"text","ts":1709287200,"list":[1,"two",3.5]}"#,
    r#"{"level":"err","nested":{"deep":{"x":true},"k":"v"},"n":4.5,"ts":"1709287200.123"}"#,
    r#"{"level":17,"trace":"0102030405060708090a0b0c0d0e0f10","span":"0102030405060708","flags":"01"}"#,
    r#"{"n":12345678901234567890,"z":null,"a.b":"dotted","ts":"2024-03-01T10:00:00.5Z"}"#,
    r#"{"a":1,"a":2,"e":"\u00e4\n\ud83d\ude00","trace":"xyz"}"#,
    r#"{"broken":"#,
    r#"[1,2]"#,
    "null",
    r#"{"n": 1e3, "m": -0.0, "ts": 1709287200123} "#,
    "plain",
    "{}",
];

fn json_lines(c: &mut Choices) -> Value {
    let ints = c.choose(&["", ", parse_ints: true"]);
    let to = c.choose(&["", "", ", parse_to: body", ", parse_to: attributes.in"]);
    let base = if to.contains("body") {
        "body"
    } else if to.contains("in") {
        "attributes.in"
    } else {
        "attributes"
    };
    let time = if c.one_in(2) {
        let layout = c.choose(&[
            "layout_type: epoch, layout: s",
            "layout_type: epoch, layout: ms",
            "layout_type: epoch, layout: s.ms",
            "layout_type: epoch, layout: ns",
            "layout_type: gotime, layout: '2006-01-02T15:04:05.999Z07:00'",
            "layout: '%Y-%m-%dT%H:%M:%S.%LZ'",
        ]);
        format!(", timestamp: {{parse_from: {base}.ts, {layout}}}")
    } else {
        String::new()
    };
    let level =
        if c.one_in(2) { format!(", severity: {{parse_from: {base}.level{}}}", severity(c)) } else { String::new() };
    let trace = if c.one_in(3) {
        format!(
            ", trace: {{trace_id: {{parse_from: {base}.trace}}, span_id: {{parse_from: {base}.span}}, trace_flags: {{parse_from: {base}.flags}}}}"
        )
    } else {
        String::new()
    };
    let mut operators =
        vec![format!("{{type: json_parser{ints}{to}{time}{level}{trace}{}{}}}", on_error(c), condition(c))];
    if to.is_empty() && c.one_in(2) {
        operators.push(format!(
            "{{type: add, field: attributes.computed, value: 'EXPR({})'{}}}",
            c.choose(&[
                "attributes.n",
                "attributes.n + 1",
                "attributes.level == \"warn\" ? \"yes\" : \"no\"",
                "len(attributes.list)",
                "attributes.nested.k",
                "attributes.nested?.k",
                "upper(attributes.level)",
                "attributes.list[0]",
                "attributes.s + \"!\"",
                "body",
                "type(attributes.n)",
                "split(attributes.s, \"x\")",
                "attributes.z ?? \"default\"",
                "filter(attributes.list, # != 1)",
                "attributes.n in [4, 5]",
                "string(attributes.n)",
                "int(attributes.n)",
                "{a: attributes.s}",
                "env(\"NOT_SET_HERE\")",
            ]),
            on_error(c)
        ));
    }
    let chosen = some(c, JSON_LINES, 6);
    lines("", &operators, &owned(&chosen))
}

fn container(c: &mut Choices) -> Value {
    let format = c.choose(&["", "", ", format: docker", ", format: containerd", ", format: crio"]);
    let metadata = c.choose(&["", "", ", add_metadata_from_filepath: false"]);
    let max = c.choose(&["", "", ", max_log_size: 20"]);
    let to = c.choose(&["", "", "", "", ", parse_to: body"]);
    let operators = [format!("{{type: container{format}{metadata}{max}{to}{}{}}}", on_error(c), condition(c))];
    let pool = [
        "2024-03-01T10:00:00.123456789Z stdout F whole line",
        "2024-03-01T10:00:00.2Z stderr P part one, ",
        "2024-03-01T10:00:00.3Z stderr F end",
        "2024-03-01T10:00:00.4Z stdout P only a part",
        "2024-03-01T10:00:00.5Z stdout F",
        "2024-03-01T10:00:00.6+01:00 stdout F crio line",
        "2024-03-01T10:00:00.7+01:00 stdout P crio part ",
        "2024-03-01T10:00:00.8Z stdin F no stream",
        r#"{"log":"docker line\n","stream":"stdout","time":"2024-03-01T10:00:01.5Z"}"#,
        r#"{"log":"x","stream":"stderr","time":"bad"}"#,
        r#"{"log":"no stream","time":"2024-03-01T10:00:01.5Z"}"#,
        r#"{"broken"#,
        "garbage",
        "2024-99-01T10:00:00.1Z stdout F bad month",
    ];
    let chosen: Vec<String> = some(c, &pool, 9).into_iter().map(str::to_owned).collect();
    let path = c.choose(&[
        "pods/ns_pod-1_49cc7c1f-d370-2c40-b686-ca5e4f0b3a61/web/0.log",
        "pods/kube-system_x_abc-1/c/12.log",
        "pods/kube-system_x_abc-1/c/12.log.20240301-100000",
        "pods/other.log",
    ]);
    let text: String = chosen.iter().map(|line| format!("{line}\n")).collect();
    let include_path = c.choose(&["include_file_path: true", "include_file_path: true", "include_file_path: false"]);
    let config = format!(
        "include: ['DIR/pods/**']\nstart_at: beginning\npoll_interval: 20ms\n{include_path}\noperators:\n  - {}\n",
        operators[0]
    );
    json!({"config": config, "steps": [write(path, text.as_bytes()), wait()]})
}

fn recombine(c: &mut Choices) -> Value {
    let rule = c.choose(&[
        "is_first_entry: 'body matches \"^\\\\d\"'",
        "is_last_entry: 'body endsWith \";\"'",
        "is_first_entry: 'body startsWith \"2024\"'",
        "is_last_entry: 'body contains \"end\"'",
    ]);
    let with = c.choose(&["", ", combine_with: ''", ", combine_with: ' | '"]);
    let sizes = c.choose(&[
        "",
        "",
        ", max_batch_size: 2",
        ", max_unmatched_batch_size: 2",
        ", max_log_size: 12",
        ", max_batch_size: 0",
    ]);
    let overwrite = c.choose(&["", ", overwrite_with: newest", ", overwrite_with: oldest"]);
    let field = c.choose(&["body", "body", "body", "attributes.text"]);
    let source = c.choose(&["", ", source_identifier: attributes.source"]);
    let mut operators = Vec::new();
    if field != "body" || !source.is_empty() {
        operators.push("{type: regex_parser, regex: '(?P<source>\\w)(?P<text>.*)', on_error: send_quiet}".to_owned());
    }
    operators.push(format!(
        "{{type: recombine, combine_field: {field}, {rule}{with}{sizes}{overwrite}{source}{}}}",
        condition(c)
    ));
    let pool = ["2024 begin", "  at one", "  at two;", "3 begin", "middle", "the end", "last;", "b2", "a1"];
    let chosen = some(c, &pool, 10);
    lines("include_file_path: true", &operators, &owned(&chosen))
}

const FIELDS: &[&str] = &[
    "attributes.s",
    "attributes.n",
    "attributes.nested",
    "attributes.nested.deep",
    "attributes.nested.k",
    "attributes.list",
    "attributes['a.b']",
    "attributes.new",
    "attributes.new.deep.er",
    "body",
    "body.k",
    "body.k.l",
    "resource.r",
    "resource['x.y']",
    "attributes.s.below",
    "attributes.none",
];

fn fields(c: &mut Choices) -> Value {
    let mut operators = vec!["{type: json_parser, on_error: send_quiet}".to_owned()];
    for _ in 0..1 + c.below(4) {
        let (a, b, error) = (c.choose(FIELDS), c.choose(FIELDS), on_error(c));
        operators.push(match c.below(9) {
            0 => format!("{{type: move, from: \"{a}\", to: \"{b}\"{error}{}}}", condition(c)),
            1 => format!("{{type: copy, from: \"{a}\", to: \"{b}\"{error}}}"),
            2 => format!("{{type: remove, field: \"{a}\"{error}}}"),
            3 => format!(
                "{{type: add, field: \"{a}\", value: {}{error}}}",
                c.choose(&["x", "1", "2.5", "true", "[a, 1]", "{k: {l: v}}", "'EXPR(body)'"])
            ),
            4 => format!("{{type: retain, fields: [\"{a}\", \"{b}\"]{error}}}"),
            5 => format!("{{type: flatten, field: \"{a}\"{error}}}"),
            6 => format!("{{type: remove, field: {}}}", c.choose(&["attributes", "resource", "body"])),
            7 => format!(
                "{{type: assign_keys, field: \"{}\", keys: {}{error}}}",
                c.choose(&["attributes.list", a]),
                c.choose(&["[a, b, c]", "[x]"])
            ),
            _ => "{type: noop}".to_owned(),
        });
    }
    let chosen = some(c, JSON_LINES, 4);
    lines("attributes: {given: yes, host: 'EXPR(\"h-\" + body)'}\nresource: {r: res}", &operators, &owned(&chosen))
}

fn route(c: &mut Choices) -> Value {
    let filter = format!(
        "{{type: filter, expr: {}{}}}",
        c.choose(&[
            "'body contains \"a\"'",
            "'body matches \"[0-9]\"'",
            "'true'",
            "'body == \"warn\"'",
            "'attributes.none == 1'",
            "'body.x > 1'",
            "'not (body startsWith \"i\")'",
            "'len(body) < 5'",
            "'body in [\"a\", \"info\"]'",
        ]),
        c.choose(&["", ", drop_ratio: 0", ", drop_ratio: 1"])
    );
    let default = c.choose(&["", ", default: last", ", default: [other]"]);
    let router = format!(
        "{{type: router, routes: [{{expr: 'body startsWith \"w\"', output: [first]}}, {{expr: '{}', output: {}, attributes: {{routed: 'EXPR(body)-x'}}}}]{default}}}",
        c.choose(&["body contains \"f\"", "body.x == 1", "true"]),
        // With several outputs, the Go operator passes one entry on twice, which its pool of entries then gives out twice.
        c.choose(&["other", "[last]"])
    );
    let operators = [
        c.choose(&["{type: noop}", &filter]).to_owned(),
        router,
        "{type: add, id: first, field: attributes.first, value: 1, output: last}".to_owned(),
        "{type: add, id: other, field: attributes.other, value: 2}".to_owned(),
        "{type: noop, id: last}".to_owned(),
    ];
    let chosen = some(c, &["warn", "info", "a", "f5", "error", "xyz"], 6);
    lines("", &operators, &owned(&chosen))
}

fn pairs(c: &mut Choices) -> Value {
    let delimiter = c.choose(&[
        "",
        ", delimiter: ':'",
        ", delimiter: '=>'",
        ", delimiter: '|', pair_delimiter: ';'",
        ", pair_delimiter: ', '",
    ]);
    let operators = [format!("{{type: key_value_parser{delimiter}{}}}", on_error(c))];
    let pool = [
        "a=1 b=2",
        "a='x y' b=\"z\"",
        "a:1 b:2",
        "a=>1 b=>2=3",
        "a|1;b| 2 ;",
        "a=1, b=2",
        "broken",
        "a='open",
        "a=\\\"q\\\" b=c",
        "  a=1   b=2 ",
        "k=v=w",
        "=x",
        "a=",
    ];
    let chosen = some(c, &pool, 5);
    lines(c.choose(&["", "preserve_leading_whitespaces: true"]), &operators, &owned(&chosen))
}

fn table(c: &mut Choices) -> Value {
    let options = c.choose(&[
        "",
        ", lazy_quotes: true",
        ", ignore_quotes: true",
        ", delimiter: ';', header_delimiter: ','",
        ", delimiter: \"\\t\", header_delimiter: ','",
    ]);
    let operators = match c.below(4) {
        0 | 1 => vec![format!("{{type: csv_parser, header: 'a,b,c'{options}{}}}", on_error(c))],
        2 => vec![format!(
            "{{type: json_array_parser{}{}}}",
            c.choose(&[", parse_to: body", ", header: 'a,b,c'", ", parse_to: attributes.list"]),
            on_error(c)
        )],
        _ => vec![format!("{{type: uri_parser{}}}", on_error(c))],
    };
    let pool = [
        "1,2,3",
        "\"x,y\",z,\"q\"\"r\"",
        "1,2",
        "1,2,3,4",
        "a;b;c",
        "a\tb\tc",
        "\"open,b,c",
        "x\"y,z,1",
        "\"a\" ,b,c",
        "[1,\"two\",true]",
        "[1.5,null,{\"k\": [1, 2]}]",
        "[[1],2,3]",
        "{}",
        "[]",
        "nope",
        "http://u:p@example.com:80/p/a%20th?q=1&r=2&q=3#f",
        "/only/path?x=y",
        "?q=1&b",
        "relative",
        "http://[::1]:8080/",
        "mailto:x@y",
        "http://h/%zz",
    ];
    let chosen = some(c, &pool, 6);
    lines("", &operators, &owned(&chosen))
}

fn times(c: &mut Choices) -> Value {
    let (layout, pool): (&str, &[&str]) = match c.below(6) {
        0 => ("layout: '%Y-%m-%d %H:%M:%S.%L'", &["2024-03-01 10:00:00.123", "2024-02-29 10:00:00.1", "x"]),
        1 => ("layout: '%d/%b/%Y:%H:%M:%S %z'", &["01/Mar/2024:10:00:00 +0100", "01/mar/2024:10:00:00 -0700"]),
        2 => (
            "layout_type: gotime, layout: 'Mon Jan _2 15:04:05 MST 2006'",
            &["Fri Mar  1 10:00:00 UTC 2024", "Fri Mar 1 10:00:00 CET 2024", "Fri Mar  1 10:00:00 EST 2024"],
        ),
        3 => (
            "layout: '%Y-%m-%d %H:%M:%S', location: America/New_York",
            &["2024-03-01 10:00:00", "2024-07-01 10:00:00", "2024-03-10 02:30:00"],
        ),
        4 => ("layout_type: epoch, layout: s.us", &["1709287200.123456", "1709287200", "1709287200.5.5", "abc"]),
        _ => (
            "layout: '%Y-%m-%d %H:%M:%S %Z', time_zone_locations: {EST: America/New_York, CST: America/Chicago}",
            &["2024-07-01 10:00:00 EST", "2024-03-01 10:00:00 CST", "2024-03-01 10:00:00 UTC"],
        ),
    };
    let mut operators = vec![format!("{{type: time_parser, parse_from: body, {layout}{}}}", on_error(c))];
    if c.one_in(3) {
        operators.push("{type: severity_parser, parse_from: body}".to_owned());
    }
    let chosen = some(c, pool, 3);
    lines("", &operators, &owned(&chosen))
}

fn texts(c: &mut Choices) -> Value {
    let operators = [match c.below(4) {
        0 => format!("{{type: unquote, field: body{}}}", on_error(c)),
        1 => format!(
            "{{type: regex_replace, field: body, regex: '{}', replace_with: '{}'{}}}",
            c.choose(&["a(.)", "[0-9]+", "x*"]),
            c.choose(&["", "<$1>", "$0$0", "-"]),
            on_error(c)
        ),
        2 => format!("{{type: regex_replace, field: body, regex_name: ansi_control_sequences{}}}", on_error(c)),
        _ => format!("{{type: trace_parser, trace_id: {{parse_from: body}}{}}}", on_error(c)),
    }];
    let pool =
        ["\"quoted \\\"x\\\"\"", "'c'", "`raw`", "\"bad", "abc 123 aab", "\x1b[31mred\x1b[0m", "0102", "xyz", "plain"];
    let chosen = some(c, &pool, 5);
    lines("", &operators, &owned(&chosen))
}

fn reading(c: &mut Choices) -> Value {
    let mut extra = String::new();
    for option in [
        &[
            "",
            "",
            "multiline: {line_start_pattern: '^\\d'}",
            "multiline: {line_end_pattern: ';'}",
            "multiline: {line_start_pattern: '^\\d+ ', omit_pattern: true}",
            "multiline: {line_end_pattern: ';', omit_pattern: true}",
        ][..],
        &["", "preserve_leading_whitespaces: true", "preserve_trailing_whitespaces: true"],
        &["", "", "max_log_size: 10", "max_log_size: 10\nmax_log_size_behavior: truncate", "max_log_size: 1kb"],
        &["", "include_file_record_number: true", "include_file_record_offset: true"],
        &[
            "",
            "include_file_path: true",
            "include_file_name: false",
            "include_file_path_resolved: true\ninclude_file_name_resolved: true",
            "include_file_permissions: true",
        ],
        &[
            "",
            "",
            "encoding: utf-16le",
            "encoding: iso-8859-1",
            "encoding: nop",
            "encoding: ascii",
            "encoding: gbk",
            "encoding: shift_jis",
            "encoding: utf-16be",
            "encoding: utf-8-raw",
        ],
        &["force_flush_period: 200ms", "force_flush_period: 0s"],
        &["", "", "", "header: {pattern: '^#', metadata_operators: [{type: regex_parser, regex: '^#(?P<key>\\w+)'}]}"],
    ] {
        extra.push_str(c.choose(option));
        extra.push('\n');
    }
    if extra.contains("omit_pattern") {
        // Where the pattern is left out, the Go receiver repeats bytes of an entry that is too long.
        extra = extra.replace("max_log_size: 10\n", "max_log_size: 100\n");
    }
    let encode = |text: &str| -> Vec<u8> {
        if extra.contains("utf-16le") {
            text.encode_utf16().flat_map(u16::to_le_bytes).collect()
        } else if extra.contains("utf-16be") {
            text.encode_utf16().flat_map(u16::to_be_bytes).collect()
        } else {
            text.as_bytes().to_vec()
        }
    };
    let pool = [
        "1 first\n",
        "  second  \n",
        "\n",
        "2 third;\r\n",
        "a very long line that is longer than ten bytes\n",
        "no end",
        "\u{e4}\u{4e2d}\n",
        "x;y;z\n",
        "3 next\n",
        "#head one\n",
        "#tail\n",
        "tab\there\n",
    ];
    let mut steps = Vec::new();
    // The Go receiver forgets between two polls that the rest of an entry is left out.
    let writes = if extra.contains("truncate") { 1 } else { 1 + c.below(3) };
    for _ in 0..writes {
        let mut text: String = some(c, &pool, 6).concat();
        if extra.contains("header") && steps.is_empty() {
            // The Go receiver reads nothing of a file that begins with an empty line instead of a header.
            text.insert_str(0, "#first\n");
        }
        steps.push(write("a.log", &encode(&text)));
        steps.push(wait());
    }
    steps.push(wait());
    json!({"config": config(&extra, &[]), "steps": steps})
}

fn rotation(c: &mut Choices) -> Value {
    let extra = [
        c.choose(&["", "on_truncate: read_whole_file", "on_truncate: read_new", "on_truncate: ignore"]),
        c.choose(&["include_file_path: true", "max_concurrent_files: 2", "exclude: ['DIR/b*.log']"]),
        c.choose(&["", "", "fingerprint_size: 16", "start_at: end"]),
    ];
    let extra = extra.join("\n");
    let mut text = config(&extra, &[]);
    if extra.contains("start_at: end") {
        text = text.replacen("start_at: beginning\n", "", 1);
    }
    let mut steps = vec![write("a.log", b"a long enough first line of the file\nsecond\n"), wait()];
    let mut line = 0;
    for _ in 0..2 + c.below(5) {
        line += 1;
        let written = format!("line {line} of the file, of some length\n");
        match c.below(7) {
            0 | 1 => steps.push(write("a.log", written.as_bytes())),
            2 => {
                steps.push(json!({"op": "rename", "file": "a.log", "to": "a.old"}));
                steps.push(write("a.log", written.as_bytes()));
            }
            3 => {
                steps.push(json!({"op": "rename", "file": "a.log", "to": "b.log"}));
                steps.push(write("a.log", written.as_bytes()));
            }
            4 => {
                steps.push(json!({"op": "copy", "file": "a.log", "to": "a.copy"}));
                steps.push(json!({"op": "truncate", "file": "a.log"}));
                steps.push(wait());
                steps.push(write("a.log", written.as_bytes()));
            }
            5 => {
                steps.push(json!({"op": "truncate", "file": "a.log"}));
                steps.push(wait());
                steps.push(write("a.log", written.as_bytes()));
            }
            _ => steps.push(write("d.log", written.as_bytes())),
        }
        steps.push(wait());
    }
    steps.push(wait());
    json!({"config": text, "steps": steps})
}
