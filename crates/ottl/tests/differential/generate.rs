//! Statements from a seed: most are valid, some are not.

/// Pseudorandom numbers (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.below(texts.len())]
    }
}

const PATHS: &[&str] = &[
    "name",
    "span.name",
    "kind",
    "kind.string",
    "status.code",
    "status.message",
    "span.status.code",
    "trace_id",
    "trace_id.string",
    "span_id",
    "parent_span_id",
    "start_time",
    "start_time_unix_nano",
    "end_time",
    "dropped_attributes_count",
    "attributes",
    "attributes[\"string\"]",
    "attributes[\"int\"]",
    "attributes[\"double\"]",
    "attributes[\"bool\"]",
    "attributes[\"bytes\"]",
    "attributes[\"no_bytes\"]",
    "attributes[\"empty\"]",
    "attributes[\"list\"]",
    "attributes[\"ints\"]",
    "attributes[\"strings\"]",
    "attributes[\"map\"]",
    "attributes[\"number\"]",
    "attributes[\"missing\"]",
    "attributes[\"map\"][\"k\"]",
    "attributes[\"map\"][\"deep\"][\"x\"]",
    "attributes[\"list\"][0]",
    "attributes[\"list\"][2][\"three\"]",
    "attributes[\"ints\"][1]",
    "resource.attributes[\"host\"]",
    "resource.attributes",
    "instrumentation_scope.name",
    "scope.version",
    "cache",
    "cache[\"a\"]",
    "cache[\"a\"][\"b\"]",
];

const BAD_PATHS: &[&str] = &[
    "nam",
    "name.x",
    "name[\"x\"]",
    "status",
    "status.cod",
    "resource.cache[\"a\"]",
    "resource",
    "log.body",
    "attributes.x",
    "attributes[\"list\"][7]",
    "attributes[\"int\"][\"x\"]",
    "attributes[0]",
    "attributes[\"map\"][0]",
    "attributes[\"ints\"][\"x\"]",
];

/// Numbers, strings and other literals.
const LITERALS: &[&str] = &[
    "0",
    "1",
    "2",
    "5",
    "17",
    "010",
    "1.5",
    "2.5",
    ".5",
    "3.",
    "1.0e2",
    "9223372036854775807",
    "\"\"",
    "\"a\"",
    "\"b\"",
    "\"GET /\"",
    "\"12\"",
    "\"1.5\"",
    "\"true\"",
    "\"a\\tb\"",
    "\"\\u00e9\"",
    "\"{\\\"a\\\": [1, null, 2.5]}\"",
    "true",
    "false",
    "nil",
    "0x01",
    "0x0102",
    "0x00112233445566778899aabbccddeeff",
    "0x0011223344556677",
    "SPAN_KIND_SERVER",
    "STATUS_CODE_OK",
    "STATUS_CODE_ERROR",
];

const BAD_LITERALS: &[&str] =
    &["08", "0x1", "9223372036854775808", "'a'", "\"\\d\"", "NO_ENUM", "1e5", "Upper", "\"a", "$", "_"];

fn literal(random: &mut Random) -> String {
    if random.one_in(60) { random.of(BAD_LITERALS) } else { random.of(LITERALS) }.to_owned()
}

fn path(random: &mut Random, depth: u32) -> String {
    if random.one_in(30) {
        return random.of(BAD_PATHS).to_owned();
    }
    if random.one_in(12) {
        let key = value(random, depth + 1);
        return format!("attributes[{key}]");
    }
    random.of(PATHS).to_owned()
}

fn settable(random: &mut Random) -> String {
    if random.one_in(5) {
        return path(random, 2);
    }
    let paths = [
        "attributes[\"out\"]",
        "attributes[\"out\"][\"x\"]",
        "attributes[\"list\"][0]",
        "attributes[\"new\"][1]",
        "name",
        "status.message",
        "cache[\"a\"]",
        "attributes[\"map\"][\"k\"]",
        "attributes[\"string\"]",
        "resource.attributes[\"out\"]",
    ];
    random.of(&paths).to_owned()
}

fn list(random: &mut Random, depth: u32, of: fn(&mut Random, u32) -> String) -> String {
    let elements: Vec<String> = (0..random.below(4)).map(|_| of(random, depth + 1)).collect();
    format!("[{}]", elements.join(if random.one_in(30) { " " } else { ", " }))
}

fn math(random: &mut Random, depth: u32) -> String {
    let mut text = String::new();
    for i in 0..=1 + random.below(2) {
        if i > 0 {
            text.push_str(random.of(&[" + ", " - ", " * ", " / ", "+", "-"]));
        }
        if random.one_in(6) {
            text.push('-');
        }
        match random.below(6) {
            0 if depth < 4 => text.push_str(&format!("({})", math(random, depth + 1))),
            1 => text.push_str(&path(random, depth + 1)),
            2 => text.push_str(random.of(&["attributes[\"int\"]", "attributes[\"double\"]", "start_time_unix_nano"])),
            3 if depth < 4 => text.push_str(&converter(random, depth + 1)),
            _ => text.push_str(random.of(&["0", "1", "2", "7", "1.5", "0.25", "100"])),
        }
    }
    text
}

fn text_value(random: &mut Random, depth: u32) -> String {
    match random.below(4) {
        0 => random.of(&["name", "attributes[\"string\"]", "trace_id.string", "attributes[\"number\"]"]).to_owned(),
        1 if depth < 4 => value(random, depth + 1),
        _ => random.of(&["\"a\"", "\"GET /\"", "\"12\"", "\"a,b\"", "\"\""]).to_owned(),
    }
}

fn converter(random: &mut Random, depth: u32) -> String {
    let any = |random: &mut Random| value(random, depth + 1);
    let call = match random.below(21) {
        0 => format!("Concat({}, {})", list(random, depth, value), text_value(random, depth)),
        1 => format!("Len({})", any(random)),
        2 => format!("IsString({})", any(random)),
        3 => format!("IsMap({})", any(random)),
        4 => format!("Int({})", any(random)),
        5 => format!("Double({})", any(random)),
        6 => format!("String({})", any(random)),
        7 => format!("Bool({})", any(random)),
        8 => format!("Split({}, \",\")", text_value(random, depth)),
        9 => format!("Substring({}, 0, {})", text_value(random, depth), any(random)),
        10 => format!("Substring(target={}, start=0, length=1)", text_value(random, depth)),
        11 => format!("SHA256({})", text_value(random, depth)),
        12 => format!("Hex({})", any(random)),
        13 => format!("IsMatch({}, \"^[a-z]+$\")", any(random)),
        14 => format!("ParseJSON({})", text_value(random, depth)),
        15 => format!("Duration({})", random.of(&["\"1s\"", "\"1h\"", "\"x\"", "1"])),
        16 => format!("IsInt({})", any(random)),
        17 => format!("IsDouble({})", any(random)),
        18 => format!("TraceID({})", any(random)),
        19 => format!("IsList({})", any(random)),
        _ => match random.below(8) {
            0 => "Unknown(1)".to_owned(),
            1 => "Len()".to_owned(),
            2 => "Len(1, 2)".to_owned(),
            3 => "Len(targt=1)".to_owned(),
            4 => "len(name)".to_owned(),
            5 => "Concat(delimiter=\",\", vals=[name])".to_owned(),
            6 => "Concat([name], delimiter=\",\")".to_owned(),
            _ => "Concat(vals=[name], \",\")".to_owned(),
        },
    };
    match random.below(8) {
        0 => format!("{call}[0]"),
        1 => format!("{call}[\"a\"]"),
        _ => call,
    }
}

pub(crate) fn value(random: &mut Random, depth: u32) -> String {
    if depth >= 4 {
        return if random.one_in(2) { literal(random) } else { random.of(PATHS).to_owned() };
    }
    match random.below(12) {
        0..=3 => literal(random),
        4..=6 => path(random, depth),
        7 => math(random, depth),
        8 | 9 => converter(random, depth),
        10 => list(random, depth, value),
        _ => {
            let entries: Vec<String> = (0..random.below(3))
                .map(|i| format!("\"{}\": {}", ["a", "b", "c"][i], value(random, depth + 1)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

fn boolean(random: &mut Random, depth: u32) -> String {
    let mut text = String::new();
    for i in 0..=random.below(3) {
        if i > 0 {
            text.push_str(random.of(&[" and ", " or "]));
        }
        if random.one_in(5) {
            text.push_str("not ");
        }
        match random.below(10) {
            0 if depth < 3 => text.push_str(&format!("({})", boolean(random, depth + 1))),
            1 => text.push_str(random.of(&["true", "false"])),
            2 => text.push_str(&converter(random, 2)),
            _ => {
                let operator = random.of(&["==", "!=", "<", "<=", ">", ">=", "==", "!="]);
                let left = value(random, 2);
                // Values of the same kind are compared more often than others.
                let right = if random.one_in(4) { left.clone() } else { value(random, 2) };
                text.push_str(&format!("{left} {operator} {right}"));
            }
        }
    }
    text
}

/// A statement.
pub(crate) fn statement(random: &mut Random) -> String {
    let target = settable(random);
    let mut text = match random.below(12) {
        0 => format!("delete_key(attributes, {})", text_value(random, 2)),
        1 => format!("set({}, {}, 1)", target, value(random, 0)),
        2 => format!("set(value={}, target={target})", value(random, 0)),
        3 => format!("replace_pattern({target}, \"[a-z]\", \"x\", SHA256)"),
        _ => format!("set({target}, {})", value(random, 0)),
    };
    if random.one_in(2) {
        text = format!("{text} where {}", boolean(random, 0));
    }
    if random.one_in(8) { mutated(random, &text) } else { text }
}

/// A condition.
pub(crate) fn condition(random: &mut Random) -> String {
    let text = boolean(random, 0);
    if random.one_in(8) { mutated(random, &text) } else { text }
}

/// The text with a character or a part removed, doubled or put elsewhere.
fn mutated(random: &mut Random, text: &str) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(2) {
        if characters.is_empty() {
            break;
        }
        let at = random.below(characters.len());
        match random.below(4) {
            0 => {
                characters.remove(at);
            }
            1 => characters.insert(at, characters[at]),
            2 => {
                let new = random.of(&["(", ")", "[", "]", "{", "}", ",", ".", "=", "-", " ", "\"", "a", "A", "0", "_"]);
                characters.insert(at, new.chars().next().unwrap_or(' '));
            }
            _ => characters.truncate(at),
        }
    }
    characters.into_iter().collect()
}
