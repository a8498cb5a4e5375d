//! Every converter beside the Go collector: expressions from tables of arguments, wrong types among them, whose values
//! and errors were recorded. `scripts/differential` asks the Go collector again, with fresh seeds.

use std::path::Path;

use otelcore_pdata::text::put_hex;
use otelcore_test_support::{CorpusCase, ask_oracle, random_bytes, read_corpus, tool_path, write_corpus};

use super::STANDARD;
use crate::contexts::{ContextView, Field};
use crate::error::EvalError;
use crate::evaluate::{Evaluation, FixedEnvironment, Key, State};
use crate::go_time::layout;
use crate::value::{Value, Zone};
use crate::{Compiler, Functions, PathPrefix};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/functions.corpus.zst");

/// Expressions of a function, at most.
const MAX_CASES: usize = 400;

/// Values of all types.
const ANY: &[&str] = &[
    "nil",
    "true",
    "false",
    "0",
    "1",
    "-5",
    "9223372036854775807",
    "2.5",
    "-0.5",
    "100000000.5",
    "\"abc\"",
    "\"\"",
    "\"12\"",
    "\"1.5\"",
    "\"true\"",
    "0x0102",
    "[1, 2]",
    "[\"a\", \"b\"]",
    "[]",
    "[1, \"a\", nil, 2.5, true]",
    "{\"a\": 1}",
    "{}",
    "{\"a\": {\"b\": [1, 2]}, \"c\": \"x\"}",
    "Duration(\"1h30m\")",
    "Unix(1700000000, 5)",
    "TraceID(0x0102030405060708090a0b0c0d0e0f10)",
    "SpanID(0x0102030405060708)",
    "Split(\"a,b,a\", \",\")",
    "ParseJSON(\"[1,\\\"x\\\",null,[2]]\")",
    "ParseJSON(\"{\\\"b\\\":1,\\\"a\\\":[true]}\")",
];

const TEXTS: &[&str] = &[
    "\"abc\"",
    "\"\"",
    "\"Hello World\"",
    "\"ünïcödé ß İ\"",
    "\"a,b,,c\"",
    "\"  x y  \"",
    "\"SomeName_ID2.x-y z\"",
    "\"JSONData\"",
    "\"aaa\"",
    "\"日本語テキスト\"",
    "\"a\\tb\\nc\"",
    "\"quo\\\"te\"",
    "\"$1 %s\"",
    "\"0\"",
    "\"42\"",
    "Decode(0xff6162c3, \"nop\")",
    "Concat([\"ab\", \"c\"], \"-\")",
    "1",
    "nil",
    "true",
    "[\"a\"]",
    "0x616263",
];

const PARTS: &[&str] = &[
    "\"a\"",
    "\"\"",
    "\"abc\"",
    "\" \"",
    "\",\"",
    "\"ß\"",
    "\"x\"",
    "Concat([\"a\", \"b\"], \"\")",
    "1",
    "nil",
    "\"本\"",
];

const INTS: &[&str] = &["0", "1", "2", "3", "10", "-1", "16", "36", "37", "100", "\"1\"", "nil", "2.0", "Int(\"2\")"];

const PATTERNS: &[&str] = &[
    "\"a\"",
    "\"^a.*c$\"",
    "\"(?i)A\"",
    "\"(\"",
    "\"\"",
    "\"(?P<x>a)(?P<y>z)?\"",
    "\"(?P<n>\\\\w+) (?P<m>\\\\w+)\"",
    "\"[^a]+\"",
    "Concat([\"(?P<x>\", \".)\"], \"\")",
    "Concat([\"(\", \"a\"], \"\")",
    "1",
    "nil",
    "\"\\\\p{L}+\"",
    "\".*\"",
];

const TIMES: &[&str] = &[
    "Unix(0)",
    "Unix(1700000000, 123456789)",
    "Unix(-62135596800)",
    "Unix(253402300799, 999999999)",
    "Unix(951782400)",
    "Unix(-1, 5)",
    "Time(\"2024-02-29 23:59:59.5\", \"%Y-%m-%d %H:%M:%S.%L\")",
    "Time(\"2024-07-01 01:02:03\", \"%F %T\", \"America/New_York\")",
    "Time(\"2024-11-03 01:30:00\", \"%F %T\", \"America/New_York\")",
    "Time(\"2040-07-01 01:02:03\", \"%F %T\", \"Europe/Paris\")",
    "Time(\"1900-01-01 00:00:00\", \"%F %T\", \"Asia/Kolkata\")",
    "Time(\"2024-01-01T00:00:00+0530\", \"%FT%T%z\")",
    "1",
    "\"x\"",
    "nil",
];

const DURATIONS: &[&str] = &[
    "Duration(\"1h30m5.25s\")",
    "Duration(\"-1.5h\")",
    "Duration(\"1ns\")",
    "Duration(\"0\")",
    "Duration(\"36h\")",
    "Duration(\"999999h\")",
    "Duration(\"1us\")",
    "1",
    "nil",
    "\"1s\"",
];

const XML: &[&str] = &[
    "\"<a><b>1</b><b>2</b></a>\"",
    "\"<a x='1' y=\\\"2\\\"><b z='3'>t</b></a>\"",
    "\"\"",
    "\"<a>\"",
    "\"x\"",
    "\"<?xml version='1.0'?><a><!-- c --><b/></a>\"",
    "\"<a>x<b/>y<![CDATA[z<]]></a>\"",
    "\"<a>&lt;&amp;&#65;&#x42;</a>\"",
    "\"<a>&foo;</a>\"",
    "\"<a><b></a></b>\"",
    "\"<r xmlns='urn:x' xmlns:p='urn:p'><p:a p:k='v'>1</p:a></r>\"",
    "\"<p:a>1</p:a>\"",
    "\"<a x=1/>\"",
    "\"<a><b><c>1</c><c>2</c><d>x</d></b><b>y</b></a>\"",
    "\" <a/> \"",
    "\"<a/><b/>\"",
    "\"<!DOCTYPE x><a>1</a>\"",
    "\"<a b='<'/>\"",
    "\"<a>]]></a>\"",
    "\"<a>\\r\\nb</a>\"",
    "\"<a><?pi x?>t</a>\"",
    "1",
    "nil",
    "\"<Log><User><ID>00001</ID><Name type='first'>Joe</Name></User><Text>m</Text></Log>\"",
];

// None selects a node inside another selected one, or one twice: the Go collector's `GetXML` would not end.
const PATHS: &[&str] = &[
    "\"/\"",
    "\"/a\"",
    "\"/a/b\"",
    "\"//b\"",
    "\"//@*\"",
    "\"//@x\"",
    "\"/a/b[1]\"",
    "\"/a/b[last()]\"",
    "\"//text()\"",
    "\"//comment()\"",
    "\"//b[@z='3']\"",
    "\"/a/b[text()='2']\"",
    "\"//c | //d\"",
    "\"/a/*\"",
    "\"//p:a\"",
    "\"/a/b[\"",
    "\"count(//b) > 1\"",
    "\"/Log/User/Name[@type='first']\"",
    "\"//b[position()<2]\"",
    "\"//c[contains(.,'1')]\"",
    "\"/a/b[not(@z)]\"",
    "\"descendant::c\"",
];

const ENCODINGS: &[&str] = &[
    "\"base64\"",
    "\"base64-raw\"",
    "\"base64-url\"",
    "\"base64-raw-url\"",
    "\"utf-8\"",
    "\"utf-16\"",
    "\"utf-16be\"",
    "\"us-ascii\"",
    "\"iso-8859-1\"",
    "\"windows-1252\"",
    "\"ibm037\"",
    "\"koi8-r\"",
    "\"macintosh\"",
    "\"cp437\"",
    "\"gbk\"",
    "\"shift_jis\"",
    "\"euc-kr\"",
    "\"big5\"",
    "\"euc-jp\"",
    "\"gb18030\"",
    "\"nop\"",
    "\"latin1\"",
    "\"nonsense\"",
    "Concat([\"base\", \"64\"], \"\")",
    "1",
];

// No element occurs twice in a format: for some texts with spaces the Go collector would not end.
const FORMATS: &[&str] = &[
    "\"%Y-%m-%d\"",
    "\"%Y-%m-%d %H:%M:%S\"",
    "\"%F %T\"",
    "\"%FT%TZ\"",
    "\"%d/%b/%Y:%H:%M:%S %z\"",
    "\"%a %b %e %T %Y\"",
    "\"%A, %B %d, %Y %I:%M %p\"",
    "\"%Y-%m-%dT%H:%M:%S.%L%j\"",
    "\"%c\"",
    "\"%D\"",
    "\"%y%m%d\"",
    "\"%x %X\"",
    "\"%r %Y\"",
    "\"%Q\"",
    "\"2006\"",
    "\"%S%L\"",
    "\"%Y %Z\"",
    "\"%h %g %o %Y\"",
    "\"%n%t%%%Y\"",
    "\"%Y-%m-%d %l:%M%P\"",
    "\"%Y %w\"",
    "\"%Y %i\"",
    "\"%Y %k\"",
    "\"%Y-%m-%d %H:%M:%S,%f\"",
    "\"%Y .%s\"",
    "\"\"",
];

const TIME_TEXTS: &[&str] = &[
    "\"2023-04-05\"",
    "\"2023-04-05 06:07:08\"",
    "\"2023-04-05T06:07:08Z\"",
    "\"05/Apr/2023:06:07:08 +0200\"",
    "\"Wed Apr 5 06:07:08 2023\"",
    "\"Wednesday, April 05, 2023 06:07 PM\"",
    "\"2023-04-05T06:07:08.123+02:00\"",
    "\"04/05/2023\"",
    "\"04/05/23\"",
    "\"230405\"",
    "\"2023-4-5 6:7:8\"",
    "\"2023-13-05\"",
    "\"2023-04-05 25:07:08\"",
    "\"2023 CET\"",
    "\"2023 GMT+3\"",
    "\"2023 EST\"",
    "\"2023-04-05 06:07:08,123456\"",
    "\"04/05/2023 06:07:08\"",
    "\"06:07:08 pm 2023\"",
    "\"Apr 5 4 2023\"",
    "\"\"",
    "\"x\"",
    "\"%2023\"",
    "\"2023-04-05 6:07pm\"",
    "\"2023 -070000\"",
    "\"2023 +02\"",
    "\"2023 +02:00:00\"",
    "1",
    "nil",
    "\"2023 .5\"",
    "\"2024-02-30\"",
];

const LOCATIONS: &[&str] = &[
    "",
    "\"UTC\"",
    "\"Europe/Paris\"",
    "\"America/New_York\"",
    "\"Nowhere/X\"",
    "\"Asia/Kathmandu\"",
    "\"\"",
    "\"../x\"",
];

const VERBS: &[&str] = &[
    "\"%d\"",
    "\"%s\"",
    "\"%v\"",
    "\"%q\"",
    "\"%x\"",
    "\"%X\"",
    "\"%5d|\"",
    "\"%-5v|\"",
    "\"%05d\"",
    "\"%+d\"",
    "\"%.2f\"",
    "\"%8.3f\"",
    "\"%e\"",
    "\"%g\"",
    "\"%t\"",
    "\"%T\"",
    "\"%c\"",
    "\"%U\"",
    "\"%b\"",
    "\"%o\"",
    "\"%O\"",
    "\"%#x\"",
    "\"% x\"",
    "\"%.3s\"",
    "\"%10s|\"",
    "\"%-10s|\"",
    "\"%%\"",
    "\"%\"",
    "\"%z\"",
    "\"x\"",
    "\"%[2]v %[1]v\"",
    "\"%[3]v\"",
    "\"%*d\"",
    "\"%v %v %v\"",
    "\"% d\"",
    "\"%06.2f\"",
    "\"%.0f\"",
    "\"%G\"",
    "\"%E\"",
    "\"%!\"",
    "\"%#v\"",
];

/// Functions, and for each parameter what is tried; an empty text leaves an optional argument out.
const TABLE: &[(&str, &[&[&str]])] = &[
    ("Base64Decode", &[TEXTS]),
    (
        "Base64Encode",
        &[TEXTS, &["", "\"base64\"", "\"base64-raw\"", "\"base64-url\"", "\"base64-raw-url\"", "\"x\"", "1"]],
    ),
    ("Bool", &[ANY]),
    ("Coalesce", &[&["[nil, 1]", "[]", "[nil, nil]", "[\"a\", 1]", "[nil, [1]]", "1"]]),
    (
        "CommunityID",
        &[
            &["\"10.0.0.1\"", "\"::1\"", "\"x\"", "\"::ffff:1.2.3.4\"", "1"],
            &["80", "-1", "70000", "0"],
            &["\"10.0.0.2\"", "\"10.0.0.1\"", "\"2001:db8::1\"", "nil"],
            &["443", "80", "65536"],
            &["", "\"UDP\"", "\"ICMP6\"", "\"X\"", "\"SCTP\""],
            &["", "1", "65536", "-1"],
        ],
    ),
    (
        "Concat",
        &[
            &[
                "[\"a\", \"b\"]",
                "[]",
                "[\"a\", 1, nil, true, 2.5]",
                "[[1, 2], {\"a\": \"<b>\"}]",
                "[0x0102]",
                "[Duration(\"1s\")]",
            ],
            PARTS,
        ],
    ),
    (
        "ContainsValue",
        &[
            &[
                "[1, 2]",
                "[\"a\", \"b\"]",
                "[]",
                "Split(\"a,b\", \",\")",
                "ParseJSON(\"[1,\\\"a\\\",null,[2],{\\\"a\\\":1}]\")",
                "1",
                "nil",
            ],
            ANY,
        ],
    ),
    ("ConvertAttributesToElementsXML", &[XML, &["", "\"//@x\"", "\"/a/@*\"", "\"//b\"", "\"/a[\""]]),
    ("ConvertCase", &[TEXTS, &["\"lower\"", "\"upper\"", "\"snake\"", "\"camel\"", "\"x\""]]),
    ("ConvertTextToElementsXML", &[XML, &["", "\"/a\"", "\"//b\"", "\"/a[\""], &["", "\"item\""]]),
    ("Day", &[TIMES]),
    (
        "Decode",
        &[
            &[
                "\"aGVsbG8=\"",
                "\"aGVsbG8\"",
                "\"####\"",
                "\"a-_b\"",
                "\"aG\\nVs\"",
                "\"abc\"",
                "\"\"",
                "0xff41",
                "0x41004200",
                "0x82a0",
                "0xa4a4",
                "0xb0a1",
                "0x80ff",
                "0xe38182",
                "0xd83d",
                "1",
                "nil",
                "true",
                "[1]",
                "0x8140fe",
                "0xc3a9c3",
                "0x0a0d41",
            ],
            ENCODINGS,
        ],
    ),
    ("Double", &[ANY]),
    (
        "Duration",
        &[&[
            "\"1h\"",
            "\"1.5m\"",
            "\"-3s\"",
            "\"\"",
            "\"3\"",
            "\"3x\"",
            "\"0\"",
            "\"1h2m3s4ms5us6ns\"",
            "\"9999999h\"",
            "\".5s\"",
            "\"1µs\"",
            "1",
            "nil",
            "\"+5s\"",
            "\"1.s\"",
            "\".\"",
        ]],
    ),
    (
        "ExtractGrokPatterns",
        &[
            &[
                "\"55.3.244.1 GET /index.html 15824 0.043\"",
                "\"abc\"",
                "\"\"",
                "\"2024-01-01T00:00:00Z INFO x\"",
                "1",
                "\"user=joe id=7 ok=true\"",
            ],
            &[
                "\"%{IP:client.ip} %{WORD:method} %{URIPATHPARAM:path} %{NUMBER:bytes:int} %{NUMBER:duration:double}\"",
                "\"%{WORD}\"",
                "\"%{NOPE:x}\"",
                "\"%{TIMESTAMP_ISO8601:t} %{LOGLEVEL:l} %{GREEDYDATA:m}\"",
                "\"(\"",
                "\"user=%{U:user} id=%{NUMBER:id:long} ok=%{WORD:ok:boolean}\"",
                "\"%{WORD:a:int}\"",
                "\"%{WORD:a:what}\"",
                "Concat([\"%{WORD\", \"a}\"], \":\")",
            ],
            &["", "true", "false"],
            &["", "[\"U=j[a-z]+\"]", "[\"U\"]", "[\"a:b=c\"]"],
        ],
    ),
    ("ExtractPatterns", &[TEXTS, PATTERNS]),
    ("FNV", &[TEXTS]),
    (
        "Format",
        &[
            VERBS,
            &[
                "[1]",
                "[\"a\\\"b\"]",
                "[2.5]",
                "[-3]",
                "[true]",
                "[nil]",
                "[]",
                "[1, \"b\"]",
                "[0x6162]",
                "[[1, \"a\"]]",
                "[Duration(\"90s\")]",
                "[100000000.0]",
                "[0.000001]",
                "[5, 42]",
                "[\"日本語\"]",
                "[Split(\"a,b\", \",\")]",
            ],
        ],
    ),
    ("FormatTime", &[TIMES, FORMATS]),
    ("GetXML", &[XML, PATHS]),
    ("HasPrefix", &[TEXTS, PARTS]),
    ("HasSuffix", &[TEXTS, PARTS]),
    ("Hex", &[ANY]),
    ("Hour", &[TIMES]),
    ("Hours", &[DURATIONS]),
    (
        "Index",
        &[
            &[
                "\"abcabc\"",
                "[1, 2, \"a\", nil]",
                "Split(\"a,b\", \",\")",
                "1",
                "nil",
                "{\"a\": 1}",
                "ParseJSON(\"[1,[2]]\")",
                "\"\"",
            ],
            ANY,
        ],
    ),
    (
        "InsertXML",
        &[
            XML,
            &["\"/\"", "\"/a\"", "\"//b\"", "\"//@x\"", "\"/a[\""],
            &["\"<n/>\"", "\"<n>1</n><m/>\"", "\"x\"", "\"\"", "1"],
        ],
    ),
    ("Int", &[ANY]),
    ("IsBool", &[ANY]),
    ("IsDouble", &[ANY]),
    (
        "IsInCIDR",
        &[
            &[
                "\"10.1.2.3\"",
                "\"192.168.0.1\"",
                "\"::1\"",
                "\"x\"",
                "\"::ffff:10.0.0.1\"",
                "\"2001:db8::5\"",
                "1",
                "\"\"",
            ],
            &[
                "[\"10.0.0.0/8\"]",
                "[\"192.168.0.0/16\", \"::/0\"]",
                "[]",
                "[\"x\"]",
                "[\"10.0.0.0/33\"]",
                "[\"2001:db8::/33\"]",
                "[Concat([\"10.0.0.0\", \"9\"], \"/\")]",
                "[1]",
                "[\"::ffff:10.0.0.0/104\"]",
                "[\"10.0.0.0/08\"]",
            ],
        ],
    ),
    ("IsInt", &[ANY]),
    ("IsList", &[ANY]),
    ("IsMap", &[ANY]),
    ("IsMatch", &[ANY, PATTERNS]),
    ("IsString", &[ANY]),
    (
        "IsValidLuhn",
        &[&[
            "\"17893729974\"",
            "\"4012 8888 8888 1881\"",
            "\"123\"",
            "\"\"",
            "\" \"",
            "\"a\"",
            "\"1a2\"",
            "17893729974",
            "nil",
            "2.5",
            "true",
            "\"0\"",
            "[1]",
        ]],
    ),
    ("Keys", &[ANY]),
    ("Len", &[ANY]),
    (
        "Log",
        &[&[
            "1",
            "10",
            "2.5",
            "0.1",
            "1000000",
            "0",
            "-1",
            "\"3\"",
            "\"x\"",
            "nil",
            "true",
            "12345.678",
            "0.5",
            "1.4142135",
            "[1]",
        ]],
    ),
    ("MD5", &[TEXTS]),
    ("Microseconds", &[DURATIONS]),
    ("Milliseconds", &[DURATIONS]),
    ("Minute", &[TIMES]),
    ("Minutes", &[DURATIONS]),
    ("Month", &[TIMES]),
    ("Murmur3Hash", &[TEXTS]),
    ("Murmur3Hash128", &[TEXTS]),
    ("Nanosecond", &[TIMES]),
    ("Nanoseconds", &[DURATIONS]),
    (
        "ParseCSV",
        &[
            &[
                "\"a,b\"",
                "\"a,\\\"b,c\\\"\"",
                "\"a\\\"b,c\"",
                "\"a\\tb\"",
                "\"\"",
                "\"a\\nb,c\"",
                "\"\\\"a\"",
                "\"a b\"",
                "1",
                "\"a,\\\"b\\\"\\\"c\\\"\"",
                "\"\\\"a\\\"b,c\"",
                "\"a,b\\r\\n\"",
            ],
            &["\"x,y\"", "\"x\"", "\"\"", "\"x y\"", "\"x,x\"", "1"],
            &["", "\" \"", "\"\\t\"", "\";;\"", "\"\\\"\""],
            &["", "\" \"", "\"\""],
            &["", "\"strict\"", "\"lazyQuotes\"", "\"ignoreQuotes\"", "\"x\""],
        ],
    ),
    (
        "ParseInt",
        &[
            &[
                "\"10\"",
                "\"-7f\"",
                "\"0x1f\"",
                "\"0b11\"",
                "\"zz\"",
                "\"\"",
                "\"1_000\"",
                "\"9223372036854775808\"",
                "\"-9223372036854775808\"",
                "\"+5\"",
                "\"0o17\"",
                "\"017\"",
                "1",
                "nil",
                "\" 1\"",
                "\"_1\"",
                "\"0_7\"",
            ],
            INTS,
        ],
    ),
    (
        "ParseJSON",
        &[&[
            "\"{\\\"a\\\":1}\"",
            "\"[1,2.5,\\\"x\\\",null,true]\"",
            "\"{}\"",
            "\"[]\"",
            "\"1\"",
            "\"\\\"x\\\"\"",
            "\"null\"",
            "\"{\"",
            "\"{\\\"a\\\":}\"",
            "\"[1,]\"",
            "\"{\\\"a\\\":{\\\"b\\\":[{}]}}\"",
            "\" [ 1 ] \"",
            "\"[1] x\"",
            "\"\"",
            "1",
            "nil",
            "\"[\\\"\\\\u00e9\\\\n\\\\/\\\"]\"",
            "\"[1e3,-0.5,1E-2]\"",
            "\"[01]\"",
            "\"{'a':1}\"",
            "\"{\\\"a\\\":1,\\\"a\\\":2}\"",
            "\"[\\\"\\\\ud83d\\\\ude00\\\"]\"",
            "\"true\"",
            "\"[tru]\"",
            "\"[\\\"\\\\x\\\"]\"",
            "\"[1e999]\"",
            "\"{\\\"a\\\" 1}\"",
        ]],
    ),
    (
        "ParseKeyValue",
        &[
            &[
                "\"a=b c=d\"",
                "\"a='b c' d=\\\"e f\\\"\"",
                "\"a\"",
                "\"\"",
                "\"a=b=c\"",
                "\"a:b,c:d\"",
                "\" a=b  c=d \"",
                "\"a='b\"",
                "1",
                "\"a=\\\\\\\"b c=d\"",
                "\"a=b a=c\"",
                "\"=x y=\"",
            ],
            &["", "\":\"", "\"=\"", "\"\"", "\" \""],
            &["", "\",\"", "\"=\"", "\"\"", "\" \"", "\"  \""],
        ],
    ),
    (
        "ParseSeverity",
        &[
            &["\"err\"", "404", "\"x\"", "nil", "2.5", "7", "503", "true"],
            &[
                "{\"error\": [{\"equals\": [\"err\", \"error\"]}, {\"range\": {\"min\": 5, \"max\": 9}}]}",
                "{\"warn\": [{\"range\": \"4xx\"}]}",
                "{\"fatal\": [{\"range\": \"5xx\"}]}",
                "{\"x\": 1}",
                "{\"x\": [1]}",
                "{\"x\": [{\"equals\": 1}]}",
                "{\"x\": [{\"range\": \"9xx\"}]}",
                "{\"x\": [{\"range\": {\"min\": 1}}]}",
                "{\"x\": [{\"range\": {\"min\": \"a\", \"max\": 1}}]}",
                "{\"x\": [{\"equals\": [1]}]}",
                "{}",
                "1",
                "{\"x\": [{\"range\": 1}]}",
            ],
        ],
    ),
    ("ParseSimplifiedXML", &[XML]),
    ("ParseXML", &[XML]),
    (
        "ProfileID",
        &[&[
            "0x0102030405060708090a0b0c0d0e0f10",
            "\"0102030405060708090a0b0c0d0e0f10\"",
            "0x01",
            "\"x\"",
            "1",
            "nil",
            "Concat([\"0102030405060708\", \"090a0b0c0d0e0f1g\"], \"\")",
        ]],
    ),
    ("RemoveXML", &[XML, PATHS]),
    ("SHA1", &[TEXTS]),
    ("SHA256", &[TEXTS]),
    ("SHA512", &[TEXTS]),
    ("Second", &[TIMES]),
    ("Seconds", &[DURATIONS]),
    (
        "SliceToMap",
        &[
            &[
                "[1, \"a\"]",
                "ParseJSON(\"[{\\\"k\\\":\\\"x\\\",\\\"v\\\":1},{\\\"k\\\":\\\"y\\\",\\\"v\\\":{\\\"w\\\":2}}]\")",
                "ParseJSON(\"[{\\\"k\\\":1}]\")",
                "Split(\"a,b\", \",\")",
                "1",
                "nil",
                "[]",
            ],
            &["", "[\"k\"]", "[\"v\", \"w\"]", "[]", "[\"z\"]"],
            &["", "[\"v\"]", "[\"v\", \"w\"]", "[\"z\"]"],
        ],
    ),
    (
        "Sort",
        &[
            &[
                "[3, 1, 2]",
                "[2.5, 1, 3]",
                "[\"b\", \"a\"]",
                "[true, false]",
                "[3, \"a\", nil, 2.5]",
                "[]",
                "Split(\"c,a,b\", \",\")",
                "ParseJSON(\"[3,1,\\\"x\\\"]\")",
                "ParseJSON(\"[[1],2]\")",
                "1",
                "nil",
                "{\"a\": 1}",
                "\"abc\"",
                "[0x01, 0x02]",
                "[Duration(\"1s\")]",
                "[[2], [1]]",
            ],
            &["", "\"asc\"", "\"desc\"", "\"x\""],
        ],
    ),
    (
        "SpanID",
        &[&[
            "0x0102030405060708",
            "\"0102030405060708\"",
            "0x01",
            "\"zz02030405060708\"",
            "1",
            "nil",
            "Concat([\"01020304\", \"0506070Z\"], \"\")",
            "\"\"",
            "2.5",
        ]],
    ),
    ("Split", &[TEXTS, PARTS]),
    ("String", &[ANY]),
    ("Substring", &[TEXTS, INTS, INTS, &["", "true", "false"]]),
    ("Time", &[TIME_TEXTS, FORMATS, LOCATIONS]),
    (
        "Time",
        &[
            &[
                "\"05 avril 2023\"",
                "\"mer. 05 avr. 2023\"",
                "\"mercredi 5 avril 2023\"",
                "\"5 de abril de 2023\"",
                "\"2023年4月5日\"",
                "\"Wednesday 05 April 2023\"",
                "\"x\"",
            ],
            &[
                "\"%d %B %Y\"",
                "\"%a %d %b %Y\"",
                "\"%A %e %B %Y\"",
                "\"%d de %B de %Y\"",
                "\"%Y\"",
                "\"%Y-%m-%d %I:%M %p\"",
            ],
            &["\"UTC\""],
            &["\"fr\"", "\"fr-FR\"", "\"pt\"", "\"en\"", "\"xx\"", "\"zh\"", "\"de\""],
        ],
    ),
    ("ToCamelCase", &[TEXTS]),
    ("ToKeyValueString", &[ANY, &["", "\":\"", "\"\"", "\" \""], &["", "\",\"", "\"=\"", "\"\""], &["true"]]),
    ("ToLowerCase", &[TEXTS]),
    ("ToSnakeCase", &[TEXTS]),
    ("ToUpperCase", &[TEXTS]),
    (
        "TraceID",
        &[&[
            "0x0102030405060708090a0b0c0d0e0f10",
            "\"0102030405060708090a0b0c0d0e0f10\"",
            "0x01",
            "\"0102030405060708090a0b0c0d0e0fzz\"",
            "1",
            "nil",
            "Concat([\"01020304050607080102030405060708\"], \"\")",
        ]],
    ),
    ("Trim", &[TEXTS, &["", "\"a\"", "\" x\"", "\"ß\"", "\"\"", "\"abc\""]]),
    ("TrimPrefix", &[TEXTS, PARTS]),
    ("TrimSuffix", &[TEXTS, PARTS]),
    ("TruncateTime", &[TIMES, DURATIONS]),
    (
        "URL",
        &[&[
            "\"http://u:p@h:80/a.b?x=1#f\"",
            "\"mailto:x@y\"",
            "\"?a=b&a=c&d\"",
            "\"\"",
            "\"http://a b/\"",
            "\"%zz\"",
            "\"http://[::1]:80/x\"",
            "\"http://[fe80::1%25en0]/\"",
            "\"//h/p\"",
            "\"/p?q\"",
            "\"a:b/c\"",
            "\":b\"",
            "\"1:b\"",
            "\"http://h:x/\"",
            "\"http://h:99999999999999999999/\"",
            "\"http://u@h/x?a=%zz#%41\"",
            "\"http:///x\"",
            "\"http:/x\"",
            "\"*\"",
            "\"x/a:b\"",
            "\"http://h/%41%2f?\"",
            "\"https://example.com/p/a/t/h.tar.gz?k=v&k2=v2#frag\"",
            "\"?a=%zz\"",
            "\"?a;b\"",
            "\"http://h/日本\"",
            "\"HTTP://H/\"",
            "\"http://[::1\"",
            "\"http://h/a\\tb\"",
            "\"http://h:80:90/\"",
            "\"pg://a:1,b:2/x\"",
            "1",
            "nil",
            "\"http://h?\"",
            "\"?\"",
            "\"http://user:p%40ss@h\"",
            "\"#f\"",
            "\"http://h/a.\"",
        ]],
    ),
    (
        "UserAgent",
        &[&[
            "\"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0.4844.82 Safari/537.36\"",
            "\"curl/7.81.0\"",
            "\"\"",
            "\"x\"",
            "1",
            "\"Mozilla/5.0 (iPhone; CPU iPhone OS 16_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.5 Mobile/15E148 Safari/604.1\"",
            "\"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:109.0) Gecko/20100101 Firefox/115.0\"",
            "\"Googlebot/2.1 (+http://www.google.com/bot.html)\"",
            "\"PostmanRuntime/7.32.3\"",
            "\"Go-http-client/1.1\"",
            "\"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.1 Safari/605.1.15\"",
            "\"okhttp/4.9.3\"",
            "\"python-requests/2.28.1\"",
            "\"Mozilla/5.0 (Linux; Android 13; SM-S908B) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/112.0.0.0 Mobile Safari/537.36\"",
            "\"kube-probe/1.27\"",
            "\"ELB-HealthChecker/2.0\"",
            "\"Wget/1.21.2\"",
            "\"Mozilla/5.0 (compatible; MSIE 10.0; Windows NT 6.2; Trident/6.0)\"",
            "\"Opera/9.80 (X11; Linux i686; Ubuntu/14.10) Presto/2.12.388 Version/12.16.2\"",
            "\"Dalvik/2.1.0 (Linux; U; Android 9; Pixel 3)\"",
        ]],
    ),
    ("Unix", &[INTS, &["", "5", "-5", "1000000000", "nil"]]),
    ("UnixMicro", &[TIMES]),
    ("UnixMilli", &[TIMES]),
    ("UnixNano", &[TIMES]),
    ("UnixSeconds", &[TIMES]),
    ("Values", &[ANY]),
    ("Weekday", &[TIMES]),
    ("XXH128", &[TEXTS]),
    ("XXH3", &[TEXTS]),
    ("Year", &[TIMES]),
];

/// Converters whose results depend on time or chance.
const NOT_COMPARED: [&str; 3] = ["Now", "UUID", "UUIDv7"];

/// All combinations of a function's arguments, or so many of them.
fn expressions(seed: u64) -> Vec<String> {
    let mut all = Vec::new();
    for (name, parameters) in TABLE {
        let combinations: usize = parameters.iter().map(|values| values.len()).product();
        let expression = |mut number: usize| {
            let mut arguments = Vec::new();
            for values in *parameters {
                let value = values[number % values.len()];
                number /= values.len();
                // What follows an argument that is left out is left out as well.
                if value.is_empty() {
                    break;
                }
                arguments.push(value);
            }
            format!("{name}({})", arguments.join(", "))
        };
        if combinations <= MAX_CASES {
            all.extend((0..combinations).map(expression));
        } else {
            let random = random_bytes(seed ^ all.len() as u64, MAX_CASES * 8);
            let number = |bytes: &[u8; 8]| (u64::from_le_bytes(*bytes) % combinations as u64) as usize;
            all.extend(random.as_chunks::<8>().0.iter().map(|bytes| expression(number(bytes))));
        }
    }
    all.sort();
    all.dedup();
    all
}

/// The frame of an expression for the oracle: evaluated on an empty log record.
fn input(expression: &str) -> Vec<u8> {
    let mut frame = vec![4, 2];
    let body = [0x0a, 4, 0x12, 2, 0x12, 0];
    for text in [format!("log {expression}").as_bytes(), b"{}", &body] {
        frame.extend(u32::try_from(text.len()).expect("short").to_le_bytes());
        frame.extend_from_slice(text);
    }
    frame
}

fn expression_of(input: &[u8]) -> String {
    let len = u32::from_le_bytes(input[2..6].try_into().expect("four bytes")) as usize;
    String::from_utf8(input[6 + 4..6 + len].to_vec()).expect("text")
}

struct NoItem;

impl ContextView for NoItem {
    fn get<'c>(&'c self, _: Field, _: &[Key<'_>]) -> Result<Value<'c>, EvalError> {
        Ok(Value::Nil)
    }
}

enum Answer {
    Value(String),
    NotValid(String),
    Failed(String),
}

fn evaluate(expression: &str, functions: &Functions) -> Answer {
    let compiler = Compiler { context: crate::testing::ITEM, functions, prefix: PathPrefix::Implied };
    let compiled = match compiler.value_expression(expression) {
        Ok(compiled) => compiled,
        Err(error) => return Answer::NotValid(error.to_string()),
    };
    let (state, environment) = (State::default(), FixedEnvironment::new(1_790_000_000_000_000_000, 1));
    match compiled.evaluate(&Evaluation::new(&NoItem, &state, &environment)) {
        Ok(value) => Answer::Value(normalized(&render(&value))),
        Err(error) => Answer::Failed(error.to_string()),
    }
}

/// The value in the form of the oracle.
fn render(value: &Value<'_>) -> String {
    let hex = |bytes: &[u8]| {
        let mut out = Vec::new();
        put_hex(&mut out, bytes);
        String::from_utf8(out).expect("digits")
    };
    let quoted = |text: &[u8]| {
        let mut out = Vec::new();
        crate::evaluate::put_go_json(&mut out, &Value::str(text)).expect("a text");
        String::from_utf8(out).expect("text")
    };
    match value {
        Value::Nil => "nil".to_owned(),
        Value::String(text) => format!("string {}", quoted(text)),
        Value::Bool(v) => format!("bool {v}"),
        Value::Int(v) => format!("int {v}"),
        Value::Double(v) => format!("double {:x}", v.to_bits()),
        Value::Bytes(bytes) => format!("bytes {}", hex(bytes)),
        Value::TraceId(id) => format!("trace_id {}", hex(id)),
        Value::SpanId(id) => format!("span_id {}", hex(id)),
        Value::Time(time) => {
            let offset = match &time.zone {
                Zone::Utc => 0,
                Zone::Fixed { offset, .. } => *offset,
            };
            let mut text = Vec::new();
            layout::format("2006-01-02T15:04:05.999999999Z07:00", time, &mut text);
            let text = String::from_utf8(text).expect("text");
            format!("time {}.{:09}{offset:+} {text}", time.seconds, time.nanos)
        }
        Value::Duration(v) => format!("duration {v}"),
        Value::Map(map) => {
            let entry = |(key, value): (&[u8], Value<'_>)| format!("{}: {}", quoted(key), render(&value));
            format!("map {{{}}}", map.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::List(list) => {
            format!("list [{}]", list.iter().map(|value| render(&value)).collect::<Vec<_>>().join(", "))
        }
        other => other.go_type().to_owned(),
    }
}

/// The same with the entries of maps in the order of their keys, since Go's maps have none.
fn normalized(text: &str) -> String {
    fn read(text: &mut &str, close: char) -> Vec<String> {
        let (mut parts, mut part, mut is_quoted, mut is_escaped) = (Vec::new(), String::new(), false, false);
        while let Some(c) = text.chars().next() {
            *text = &text[c.len_utf8()..];
            if is_quoted {
                part.push(c);
                is_quoted = is_escaped || c != '"';
                is_escaped = !is_escaped && c == '\\';
                continue;
            }
            match c {
                '{' | '[' => {
                    let close = if c == '{' { '}' } else { ']' };
                    let mut inner = read(text, close);
                    if c == '{' {
                        inner.sort();
                    }
                    part.push(c);
                    part.push_str(&inner.join(","));
                    part.push(close);
                }
                c if c == close => break,
                ',' => parts.push(std::mem::take(&mut part)),
                c => {
                    is_quoted = c == '"';
                    part.push(c);
                }
            }
        }
        parts.push(part);
        parts.iter().map(|part| part.trim().to_owned()).collect()
    }
    read(&mut &*text, '\0').join(",")
}

/// Functions whose errors have sentences of their own where Go quotes one of a library, and the reason why.
const OWN_SENTENCES: [&str; 9] = [
    // The decoder of JSON has others than that of Go's library, of the same meaning.
    "ParseJSON",
    // Paths that are not valid.
    "ConvertAttributesToElementsXML",
    "ConvertTextToElementsXML",
    "GetXML",
    "InsertXML",
    "RemoveXML",
    // Positions in texts that are no address.
    "URL",
    // Go takes the first of several errors in the order of its map.
    "ParseSeverity",
    // The text behind a time, where Go ends with a panic.
    "Time",
];

/// Results that differ on purpose: what is in the expression, and the reason.
const DIFFERENCES: &[(&str, &str)] = &[
    ("%#v", "the Go collector shows addresses"),
    ("\"%#x\"", "digits of doubles with a width of their own"),
    ("0x8140fe, \"big5\"", "of bytes that are no character, another number of U+FFFD"),
    ("\"%b\"", "doubles by a power of two"),
    ("Keys(ParseJSON", "Go's order is any"),
    ("Values(ParseJSON", "the same"),
    ("\"Europe/Paris\"), Duration(\"999999h\")", "the offset of the first time"),
    ("\"Asia/Kolkata\"), Duration(\"999999h\")", "the same"),
    ("\"America/New_York\"), Duration(\"999999h\")", "the same"),
    ("0xe38182, \"euc-jp\"", "the same"),
];

/// Compares one case. Returns what differs.
fn difference(case: &CorpusCase, functions: &Functions) -> Option<String> {
    let expression = expression_of(&case.input);
    if DIFFERENCES.iter().any(|(part, _)| expression.contains(part)) {
        return None;
    }
    let (status, go) = case.answer.split_first().expect("a status");
    let go = String::from_utf8_lossy(go).into_owned();
    let ours = evaluate(&expression, functions);
    let name = expression.split('(').next().unwrap_or_default();
    let is_same = match &ours {
        Answer::Value(value) => *status == 0 && *value == normalized(&go),
        // The compiler's sentences have their own tests.
        Answer::NotValid(_) => *status == 1,
        Answer::Failed(message) => *status == 1 && (*message == go || OWN_SENTENCES.contains(&name)),
    };
    let shown = match ours {
        Answer::Value(text) => text,
        Answer::NotValid(text) => format!("not valid: {text}"),
        Answer::Failed(text) => format!("error: {text}"),
    };
    (!is_same).then(|| format!("{expression}\n    ours {shown}\n    go {status} {go}"))
}

fn compare(cases: &[CorpusCase]) {
    let functions = Functions::standard();
    let differences: Vec<String> = cases.iter().filter_map(|case| difference(case, &functions)).collect();
    let shown = differences.iter().take(200).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} of {} differ:\n{shown}", differences.len(), cases.len());
}

#[test]
fn values_and_errors_are_those_that_were_recorded_of_go() {
    compare(&read_corpus(Path::new(CORPUS)));
}

#[test]
#[ignore = "asks the Go collector: scripts/differential"]
fn values_and_errors_of_fresh_seeds_are_those_of_go() {
    let Some(oracle) = tool_path("ottl-oracle") else { return };
    let ask = |seed| ask_oracle(&oracle, &[], expressions(seed).iter().map(|text| input(text)).collect());
    if std::env::var_os("OTELCORE_CORPUS").is_some_and(|mode| mode == "write") {
        write_corpus(Path::new(CORPUS), &ask(0));
    }
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    println!("seed {seed}");
    compare(&ask(seed));
}

/// The table above is complete, and so is the manual.
#[test]
fn every_function_is_in_the_table_of_tests_and_in_the_manual() {
    let manual = include_str!("../../../../docs/ottl.md");
    let recorded = read_corpus(Path::new(CORPUS));
    for function in STANDARD {
        let name = function.name;
        let is_editor = name.starts_with(|c: char| c.is_ascii_lowercase());
        let is_tested = is_editor || NOT_COMPARED.contains(&name) || TABLE.iter().any(|(found, _)| *found == name);
        assert!(is_tested, "{name} has no row in the table of tests");
        let count = recorded.iter().filter(|case| expression_of(&case.input).split('(').next() == Some(name)).count();
        let row = format!("| `{name}` | supported | {count} |");
        assert!(is_editor || manual.contains(&row), "docs/ottl.md lacks: {row}");
        assert!(manual.contains(&format!("| `{name}` |")), "docs/ottl.md lacks {name}");
    }
}
