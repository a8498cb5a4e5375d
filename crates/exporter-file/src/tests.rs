//! The exporter in a world with a disk.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{Exporter, Outcome, Payload, WallTime};
use otelcore_testkit::{ExporterTest, TestContext, exporter, parse_config, payload};
use prost::Message;

use crate::FileExporterFactory;

/// 2022-09-14T05:02:14.173Z.
const NOW: WallTime = WallTime(1_663_131_734_173_000_000);

fn start(yaml: &str) -> ExporterTest<dyn Exporter> {
    let context = TestContext::new();
    let mut test = ExporterTest::new(exporter(context.create(&FileExporterFactory, "file", yaml).unwrap()));
    test.world.set_wall_time(NOW);
    // The root of the disk.
    test.world.disk().write("/data/other", "");
    test
}

/// A request of one log record a resource, with this text; the attribute names the file.
fn logs(resources: &[(Option<&str>, &str)]) -> Payload {
    let text = |text: &str| AnyValue { value: Some(Value::StringValue(text.to_owned())) };
    let resource_logs = resources.iter().map(|(file, body)| ResourceLogs {
        resource: Some(Resource {
            attributes: file
                .map(|file| KeyValue {
                    key: "fileexporter.path_segment".to_owned(),
                    value: Some(text(file)),
                    key_strindex: 0,
                })
                .into_iter()
                .collect(),
            ..Resource::default()
        }),
        scope_logs: vec![ScopeLogs {
            log_records: vec![LogRecord { body: Some(text(body)), ..LogRecord::default() }],
            ..ScopeLogs::default()
        }],
        schema_url: String::new(),
    });
    let bytes = ExportLogsServiceRequest { resource_logs: resource_logs.collect() }.encode_to_vec();
    payload(Signal::Logs, Rope::new(bytes.into(), u32::try_from(resources.len()).unwrap()))
}

fn send(test: &mut ExporterTest<dyn Exporter>, payload: &Payload) -> Vec<Outcome> {
    let mut outcomes = test.send(payload);
    outcomes.extend(test.run());
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn content(test: &mut ExporterTest<dyn Exporter>, path: &str) -> String {
    String::from_utf8(test.world.disk().content(path).unwrap_or_else(|| panic!("{path} is missing"))).unwrap()
}

fn line(body: &str) -> String {
    format!(
        "{{\"resourceLogs\":[{{\"resource\":{{}},\"scopeLogs\":[{{\"scope\":{{}},\"logRecords\":[{{\"body\":{{\"stringValue\":\"{body}\"}}}}]}}]}}]}}\n"
    )
}

#[test]
fn requests_are_json_lines_in_a_file_that_was_made_empty_at_the_start() {
    let mut test = start("path: /data/out.json");
    test.world.disk().write("/data/out.json", "of an earlier run");
    test.start().unwrap();
    test.run();
    assert_eq!(content(&mut test, "/data/out.json"), "");
    for body in ["a", "b"] {
        assert_eq!(send(&mut test, &logs(&[(None, body)])), [Outcome::Delivered]);
    }
    let lines = content(&mut test, "/data/out.json");
    assert_eq!(lines, line("a") + &line("b"));
}

#[test]
fn file_is_kept_with_append() {
    let mut test = start("{path: /data/out.json, append: true}");
    test.world.disk().write("/data/out.json", "kept\n");
    test.start().unwrap();
    send(&mut test, &logs(&[(None, "a")]));
    assert!(content(&mut test, "/data/out.json").starts_with("kept\n{"));
}

#[test]
fn protobuf_and_compressed_requests_stand_behind_their_length() {
    for (yaml, is_plain) in [
        ("{path: /data/out, format: proto}", true),
        ("{path: /data/out, format: proto, compression: zstd}", false),
        ("{path: /data/out, format: json, compression: zstd, compression_params: {level: 11}}", false),
    ] {
        let mut test = start(yaml);
        test.start().unwrap();
        let request = logs(&[(None, "a")]);
        assert_eq!(send(&mut test, &request), [Outcome::Delivered]);
        let bytes = test.world.disk().content("/data/out").unwrap();
        let (length, body) = bytes.split_first_chunk::<4>().unwrap();
        assert_eq!(u32::from_be_bytes(*length) as usize, body.len(), "{yaml}");
        if is_plain {
            assert_eq!(body, &request.body.to_bytes()[..]);
        } else {
            assert_eq!(body.first_chunk(), Some(&[0x28, 0xb5, 0x2f, 0xfd]), "{yaml}: a frame of zstd");
        }
    }
}

#[test]
fn full_file_gets_the_name_of_a_backup_and_old_backups_are_removed() {
    let mut test = start("{path: /data/out.json, rotation: {max_megabytes: 1, max_backups: 2, max_days: 1}}");
    test.world.disk().write("/data/out-2022-09-12T00-00-00.000-size.json", "two days old");
    test.world.disk().write("/data/out-notes.json", "of somebody else");
    test.start().unwrap();
    let large = "x".repeat(700 << 10);
    for hour in 0..4 {
        test.world.set_wall_time(WallTime(NOW.0 + hour * 3_600_000_000_000));
        assert_eq!(send(&mut test, &logs(&[(None, &large)])), [Outcome::Delivered]);
    }
    let paths: Vec<_> = test.world.disk().paths().into_iter().map(|path| path.display().to_string()).collect();
    let files: Vec<_> = paths.iter().filter(|path| path.starts_with("/data/out")).collect();
    assert_eq!(
        files,
        [
            "/data/out-2022-09-14T07-02-14.173-size.json",
            "/data/out-2022-09-14T08-02-14.173-size.json",
            "/data/out-notes.json",
            "/data/out.json"
        ]
    );
}

#[test]
fn request_that_is_longer_than_a_file_may_be_has_a_file_of_its_own() {
    let mut test = start("{path: /data/out.json, rotation: {max_megabytes: 1}}");
    test.start().unwrap();
    for body in ["a".to_owned(), "x".repeat(3 << 20), "b".to_owned()] {
        assert_eq!(send(&mut test, &logs(&[(None, &body)])), [Outcome::Delivered]);
    }
    let count = test.world.disk().paths().len();
    assert!(content(&mut test, "/data/out.json").contains("\"b\""), "{count} files");
}

#[test]
fn resources_go_to_the_files_of_their_attribute_and_others_are_counted() {
    let mut test = start("{path: '/data/*.json', group_by: {enabled: true, max_open_files: 1}}");
    test.world.disk().write("/data/a.json", "of an earlier run");
    test.start().unwrap();
    send(&mut test, &logs(&[(Some("a"), "1"), (Some("b/c"), "2"), (None, "3"), (Some("../../a"), "4")]));
    send(&mut test, &logs(&[(Some("a"), "5")]));
    let a = content(&mut test, "/data/a.json");
    let texts = ["\"1\"", "\"4\"", "\"5\"", "earlier", "\"2\"", "\"3\""].map(|text| a.contains(text));
    assert_eq!(texts, [true, true, true, false, false, false], "{a}");
    assert!(content(&mut test, "/data/b/c.json").contains("\"2\""));
}

#[test]
fn write_that_fails_is_retried_and_leaves_no_damaged_request() {
    let mut test = start("path: /data/out.json");
    test.start().unwrap();
    send(&mut test, &logs(&[(None, "a")]));
    let before = content(&mut test, "/data/out.json");
    let mut faults = test.world.disk().faults();
    let healthy = faults;
    faults.capacity = Some(before.len() as u64 + 20);
    test.world.disk().set_faults(faults);
    let request = logs(&[(None, "b")]);
    assert!(matches!(send(&mut test, &request)[..], [Outcome::Retry { .. }]));
    test.world.disk().set_faults(healthy);
    assert_eq!(send(&mut test, &request), [Outcome::Delivered]);
    assert_eq!(content(&mut test, "/data/out.json").lines().count(), 2);
}

#[test]
fn file_in_a_missing_directory_is_opened_when_the_directory_is_there() {
    let mut test = start("path: /missing/out.json");
    test.start().unwrap();
    test.run();
    let request = logs(&[(None, "a")]);
    assert!(
        matches!(&send(&mut test, &request)[..], [Outcome::Retry { why, .. }] if why.message.contains("no such file"))
    );
    test.world.disk().write("/missing/other", "");
    assert_eq!(send(&mut test, &request), [Outcome::Delivered]);
}

#[test]
fn config_with_errors_is_reported_as_in_the_go_collector() {
    for (yaml, message) in [
        ("{}", "path must be non-empty"),
        ("{path: a, format: text}", "format type is not supported"),
        ("{path: a, compression: gzip}", "compression is not supported"),
        ("{path: a, append: true, rotation: }", "append and rotation enabled at the same time is not supported"),
        ("{path: a, group_by: {enabled: true}}", "path must contain exactly one * when group_by is enabled"),
        ("{path: '*', group_by: {enabled: true}}", "path must not start with * when group_by is enabled"),
        ("{path: a, flush_interval: -1s}", "flush_interval must be larger than zero"),
        ("{path: a, directory_permissions: '0755'}", "directory_permissions requires create_directory to be true"),
        (
            "{path: a, create_directory: true, directory_permissions: '9'}",
            "directory_permissions value must be a valid",
        ),
        (
            "{path: a, create_directory: true, directory_permissions: '7777'}",
            "directory_permissions contain invalid bits",
        ),
        ("{path: a, encoding: otlp}", "encoding"),
    ] {
        let messages = parse_config(&FileExporterFactory, "file", yaml).messages;
        assert!(messages.len() == 1 && messages[0].contains(message), "{yaml}: {messages:?}");
    }
    let messages =
        parse_config(&FileExporterFactory, "file", "{path: a, create_directory: true, rotation: {max_days: 3}}")
            .messages;
    assert_eq!(messages, Vec::<String>::new());
}
