//! Cases from the specifications of text 0.0.4 and OpenMetrics 1.0.

use otelcore_exposition::PageFormat::{self, OpenMetrics1, Text};
use otelcore_exposition::parse::{PageParser, ParserLimits};

use crate::dump::{dump, dump_with};

fn check(format: PageFormat, page: &str, expected: &[&str]) {
    assert_eq!(dump(format, page.as_bytes()), expected, "{page}");
}

#[test]
fn text_page_of_the_specification_is_read() {
    let page = r#"# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9

# Minimalistic line:
metric_without_timestamp_and_labels 12.47

# A weird metric from before the epoch:
something_weird{problem="division by zero"} +Inf -3982045

# TYPE rpc_duration_seconds summary
rpc_duration_seconds{quantile="0.01"} 3102
rpc_duration_seconds_sum 1.7560473e+07
"#;
    check(
        Text,
        page,
        &[
            r#"help "http_requests_total" "The total number of HTTP requests.""#,
            r#"type "http_requests_total" counter"#,
            r#"sample "http_requests_total"{"code"="200","method"="post"} 1027 @1395066363000"#,
            r#"sample "http_requests_total"{"code"="400","method"="post"} 3 @1395066363000"#,
            r#"sample "msdos_file_access_time_seconds"{"error"="Cannot find file:\u{a}\"FILE.TXT\"","path"="C:\\DIR\\FILE.TXT"} 1.458255915e+09"#,
            r#"sample "metric_without_timestamp_and_labels"{} 12.47"#,
            r#"sample "something_weird"{"problem"="division by zero"} +Inf @-3982045"#,
            r#"type "rpc_duration_seconds" summary"#,
            r#"sample "rpc_duration_seconds"{"quantile"="0.01"} 3102"#,
            r#"sample "rpc_duration_seconds_sum"{} 1.7560473e+07"#,
        ],
    );
}

#[test]
fn text_entry_in_an_odd_form_is_read() {
    for (page, expected) in [
        ("a 1", r#"sample "a"{} 1"#),
        ("\t a{ x = \"1\" , }\t1 \t5 \n", r#"sample "a"{"x"="1"} 1 @5"#),
        ("a{}1\n", r#"sample "a"{} 1"#),
        ("a:b{x=\"\"y=\"\\q\"} nan\n", r#"sample "a:b"{"x"="","y"="\\q"} NaN"#),
        ("{\"a.b\",x=\"1\"} -inf\n", r#"sample "a.b"{"x"="1"} -Inf"#),
        ("{x=\"1\",\"\\\"ä\"} .5\n", r#"sample "\"\u{e4}"{"x"="1"} 0.5"#),
        ("a{\"x y\"=\"}\"} 1e3\n", r#"sample "a"{"x y"="}"} 1000"#),
        ("# HELP a \n", r#"help "a" """#),
        ("# HELP a    \n", r#"help "a" """#),
        ("#  HELP\t\"a b\" x\\\\n\\ny \\\"z\n", r#"help "a b" "x\\n\u{a}y \\\"z""#),
        ("# TYPE a untyped\n", r#"type "a" unknown"#),
        ("# UNIT a_s s\n#HELP a x\n# HELPER\n# EOF\n#\n\na 1\n", r#"sample "a"{} 1"#),
        ("# \u{7f} comment\na 1\n", r#"sample "a"{} 1"#),
    ] {
        check(Text, page, &[expected]);
    }
    assert_eq!(dump(Text, b"# \xff\na 1\n").len(), 1);
}

#[test]
fn open_metrics_page_of_the_specification_is_read() {
    let page = r##"# TYPE acme_http_router_request_seconds summary
# UNIT acme_http_router_request_seconds seconds
# HELP acme_http_router_request_seconds Latency though all of ACME's "HTTP" \"request\" router.
acme_http_router_request_seconds_sum{path="/api/v1",method="GET"} 9036.32
acme_http_router_request_seconds_created{path="/api/v1",method="GET"} 1605281325.0
# TYPE foo histogram
foo_bucket{le="0.01"} 0
foo_bucket{le="0.1"} 8 # {} 0.054
foo_bucket{le="1"} 11 # {trace_id="KOO5S4vxi0o"} 0.67
foo_bucket{le="10"} 17 12.5 # {trace_id="oHg5SJYRHA0",s="\n"} 9.8 1520879607.789
foo_count 17 1520879607.789
# TYPE bar info
bar_info{entity="a"} 1
# TYPE baz stateset
baz{baz="on"} 1
# TYPE qux gaugehistogram
qux_bucket{le="+Inf"} 1
# TYPE {} unknown
"##
    .replace("# TYPE {} unknown\n", "# TYPE \"u u\" unknown\n{\"u u\"} NaN -1\n# EOF\n");
    check(
        OpenMetrics1,
        &page,
        &[
            r#"type "acme_http_router_request_seconds" summary"#,
            r#"unit "acme_http_router_request_seconds" "seconds""#,
            r#"help "acme_http_router_request_seconds" "Latency though all of ACME's \"HTTP\" \"request\" router.""#,
            r#"sample "acme_http_router_request_seconds_sum"{"method"="GET","path"="/api/v1"} 9036.32"#,
            r#"sample "acme_http_router_request_seconds_created"{"method"="GET","path"="/api/v1"} 1.605281325e+09"#,
            r#"type "foo" histogram"#,
            r#"sample "foo_bucket"{"le"="0.01"} 0"#,
            r##"sample "foo_bucket"{"le"="0.1"} 8 # {} 0.054"##,
            r##"sample "foo_bucket"{"le"="1"} 11 # {"trace_id"="KOO5S4vxi0o"} 0.67"##,
            r##"sample "foo_bucket"{"le"="10"} 17 @12500 # {"s"="\u{a}","trace_id"="oHg5SJYRHA0"} 9.8 @1520879607789"##,
            r#"sample "foo_count"{} 17 @1520879607789"#,
            r#"type "bar" info"#,
            r#"sample "bar_info"{"entity"="a"} 1"#,
            r#"type "baz" stateset"#,
            r#"sample "baz"{"baz"="on"} 1"#,
            r#"type "qux" gaugehistogram"#,
            r#"sample "qux_bucket"{"le"="+Inf"} 1"#,
            r#"type "u u" unknown"#,
            r#"sample "u u"{} NaN @-1000"#,
        ],
    );
    check(OpenMetrics1, "# EOF", &[]);
}

#[test]
fn malformed_text_page_is_an_error_at_its_position() {
    for (page, expected) in [
        ("b\n", "line 1, column 2: expected a value, found the end of the line"),
        ("a{x=1} 1\n", "line 1, column 5: expected a label value in quotes, found '1'"),
        ("a{x=\"1} 1\nb 1\n", "line 1, column 10: expected a closing quote, found the end of the line"),
        ("a{x=\"1\\\n", "line 1, column 8: expected an escaped character, found the end of the line"),
        ("a{x:y=\"1\"} 1\n", "line 1, column 4: expected an equals sign, found ':'"),
        ("a{,} 1\n", "line 1, column 3: expected a label name, found ','"),
        ("a{x=\"1\",,} 1\n", "line 1, column 9: expected a label name, found ','"),
        ("a{x=\"1\" 1\n", "line 1, column 9: expected a label name, found '1'"),
        ("a{\"b\"} 1\n", "line 1, column 3: the metric name is already set"),
        ("{\"a\",\"b\"} 1\n", "line 1, column 6: the metric name is already set"),
        ("{\"\"} 1\n", "line 1, column 2: the sample has no metric name"),
        ("{x=\"1\"} 1\n", "line 1, column 9: the sample has no metric name"),
        ("1a 1\n", "line 1, column 1: expected a metric name, found '1'"),
        ("ä 1\n", "line 1, column 1: expected a metric name, found 'ä'"),
        ("a 0x1p3\n", "line 1, column 3: invalid number \"0x1p3\""),
        ("a 1_0\n", "line 1, column 3: invalid number \"1_0\""),
        ("a +nan\n", "line 1, column 3: invalid number \"+nan\""),
        ("a 1e999\n", "line 1, column 3: invalid number \"1e999\""),
        ("a 1 2.5\n", "line 1, column 5: invalid timestamp \"2.5\""),
        ("a 1 99999999999999999999\n", "line 1, column 5: invalid timestamp \"99999999999999999999\""),
        ("a 1 2 3\n", "line 1, column 7: expected the end of the line, found '3'"),
        ("a 1 # {x=\"1\"} 1\n", "line 1, column 5: invalid timestamp \"#\""),
        ("a 1\r\n", "line 1, column 3: invalid number \"1\\r\""),
        ("# TYPE a info\n", "line 1, column 10: invalid metric type \"info\""),
        ("# TYPE a\n", "line 1, column 9: invalid metric type \"\""),
        ("# HELP \n", "line 1, column 8: expected a metric name, found the end of the line"),
    ] {
        check(Text, page, &[&format!("error {expected}")]);
    }
    let lines = dump(Text, b"a 1\nb{x=\"\xff\"} 1\n");
    assert_eq!(lines[1], "error line 2, column 6: not UTF-8");
}

#[test]
fn malformed_open_metrics_page_is_an_error_at_its_position() {
    for (page, expected) in [
        ("", "line 1, column 1: data does not end with # EOF"),
        ("\n# EOF\n", "line 1, column 1: expected a metric name, found the end of the line"),
        ("# EOF\n\n", "line 2, column 1: unexpected data after # EOF"),
        ("# EOF \n", "line 1, column 3: expected HELP, TYPE, UNIT or EOF, found 'E'"),
        ("# comment\n# EOF\n", "line 1, column 3: expected HELP, TYPE, UNIT or EOF, found 'c'"),
        ("#  TYPE a gauge\n# EOF\n", "line 1, column 3: expected HELP, TYPE, UNIT or EOF, found ' '"),
        ("# TYPE a untyped\n# EOF\n", "line 1, column 10: invalid metric type \"untyped\""),
        ("# UNIT a seconds\n# EOF\n", "line 1, column 10: unit \"seconds\" is not a suffix of the metric's name"),
        ("# UNIT seconds seconds\n# EOF\n", "line 1, column 16: unit \"seconds\" is not a suffix of the metric's name"),
        ("# HELP a\n# EOF\n", "line 1, column 9: expected a space, found the end of the line"),
        (" a 1\n# EOF\n", "line 1, column 1: expected a metric name, found ' '"),
        ("a  1\n# EOF\n", "line 1, column 3: expected a value, found ' '"),
        ("a{x=\"1\", y=\"2\"} 1\n# EOF\n", "line 1, column 9: expected a label name, found ' '"),
        ("a{x=\"1\"y=\"2\"} 1\n# EOF\n", "line 1, column 8: expected a comma or a closing brace, found 'y'"),
        ("a 1 NaN\n# EOF\n", "line 1, column 5: invalid timestamp \"NaN\""),
        ("a 1 1 # {x=\"1\"}\n# EOF\n", "line 1, column 16: expected a space, found the end of the line"),
        ("a 1 1 # {\"x\"} 1\n# EOF\n", "line 1, column 13: expected an equals sign, found '}'"),
        ("a 1 1 # {x=\"1\"} 1 1 1\n# EOF\n", "line 1, column 20: expected the end of the line, found ' '"),
        ("a 1 #{x=\"1\"} 1\n# EOF\n", "line 1, column 5: invalid timestamp \"#{x=\\\"1\\\"}\""),
    ] {
        check(OpenMetrics1, page, &[&format!("error {expected}")]);
    }
    let lines = dump(OpenMetrics1, b"a 1");
    assert_eq!(lines, ["error line 1, column 4: data does not end with # EOF"]);
}

#[test]
fn line_above_the_limit_is_an_error_before_its_end() {
    let limits = ParserLimits { max_entry_bytes: 8, ..ParserLimits::default() };
    let parsed = |page: &[u8], pieces: &[usize]| dump_with(PageParser::new(Text, limits), page, pieces);
    for pieces in [&[][..], &[1], &[3, 100]] {
        assert_eq!(parsed(b"abc 1234\nabc 1", pieces).len(), 2);
        assert_eq!(parsed(b"a 1\nabc 12345\n", pieces)[1..], ["error line 2, column 9: longer than 8 bytes"]);
    }
    let mut parser = PageParser::new(Text, limits);
    parser.handle_data(b"a_long_name_without_an_end");
    assert!(parser.poll_event().unwrap().is_err());
    assert_eq!(parser.buffered(), 0);
}

#[test]
fn events_before_an_error_are_returned() {
    let expected = "error line 4, column 3: expected a value, found the end of the line";
    check(Text, "a 1\n\n# b\nb \n", &["sample \"a\"{} 1", expected]);
}

#[test]
fn long_line_in_single_bytes_is_read_once() {
    let page = format!("a{{x=\"{}\"}} 1\n", "y".repeat(300_000));
    let mut parser = PageParser::new(Text, ParserLimits::default());
    for b in page.as_bytes() {
        assert!(parser.poll_event().is_none());
        parser.handle_data(&[*b]);
    }
    assert!(parser.poll_event().unwrap().is_ok());
}
