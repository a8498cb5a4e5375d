//! The configuration, the start and the names.

use otelcore_config::declare::Config;
use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_pdata::Signal;
use otelcore_pipeline::{Capability, Event, Extension, OfferedCapabilities};
use otelcore_testkit::{TestContext, TestWorld, extension};

use super::*;

/// The messages of a configuration, with their keys.
fn errors(yaml: &str) -> Vec<(String, String)> {
    let d = Diagnostics::new();
    let node = from_yaml(yaml, &d).unwrap();
    FileStorageConfig::read_section(Section::new(Some(&node), "e", &d), &FileStorageConfig::default());
    d.items().into_iter().map(|item| (item.path, item.message)).collect()
}

#[test]
fn configuration_of_the_go_extension_is_accepted_with_its_defaults() {
    let config = FileStorageConfig::default();
    assert_eq!(config.directory, "/var/lib/otelcol/file_storage");
    assert_eq!((config.timeout, config.fsync, config.directory_mode()), (GoDuration::from_secs(1), true, None));
    let yaml = "
directory: .
compaction: {directory: ., on_start: true, on_rebound: true, rebound_trigger_threshold_mib: 16,
  rebound_needed_threshold_mib: 128, max_transaction_size: 2048, cleanup_on_start: true}
timeout: 2s
fsync: true";
    assert_eq!(errors(yaml), []);
}

#[test]
fn mistakes_have_the_messages_of_the_go_extension() {
    let octal = "directory_permissions value must be a valid octal representation";
    let bits = "directory_permissions contain invalid bits for file access";
    for (yaml, key, message) in [
        (
            "compaction: {max_transaction_size: -1}",
            "compaction::max_transaction_size",
            "max transaction size for compaction cannot be less than 0",
        ),
        (
            "compaction: {on_rebound: true, check_interval: 0s}",
            "compaction::check_interval",
            "compaction check interval must be positive when rebound compaction is set",
        ),
        ("{create_directory: true, directory_permissions: invalid string}", "directory_permissions", octal),
        ("{create_directory: true, directory_permissions: rwxr--r--}", "directory_permissions", octal),
        ("{create_directory: true, directory_permissions: '0778'}", "directory_permissions", octal),
        ("{create_directory: true, directory_permissions: '07771'}", "directory_permissions", bits),
    ] {
        let found = errors(yaml);
        assert_eq!(found.len(), 1, "{yaml}: {found:?}");
        assert!(found[0].0.ends_with(key) && found[0].1 == message, "{yaml}: {found:?}");
    }
    assert_eq!(errors("{create_directory: false, directory_permissions: '07771'}"), []);
    assert_eq!(errors("{create_directory: true, directory_permissions: '0700'}"), []);
}

fn created(yaml: &str) -> (Box<dyn Extension>, TestContext) {
    let context = TestContext::new();
    let component = context.create(&FileStorageFactory, "file_storage", yaml).unwrap_or_else(|e| panic!("{e}"));
    (extension(component), context)
}

fn start(yaml: &str, world: &mut TestWorld) -> Result<(), String> {
    created(yaml).0.start(&mut world.cx()).map_err(|e| e.to_string())
}

#[test]
fn directory_must_exist_unless_it_may_be_made() {
    let mut world = TestWorld::new();
    world.disk().write("/data/a/file", b"x".to_vec());
    assert_eq!(start("directory: /data/a", &mut world), Ok(()));
    assert_eq!(start("{directory: /data/b, create_directory: true}", &mut world), Ok(()));
    assert_eq!(
        start("directory: /data/b", &mut world).unwrap_err(),
        "directory must exist: stat /data/b: no such file or directory. You can enable the create_directory option to automatically create it"
    );
    assert_eq!(start("directory: /data/a/file", &mut world).unwrap_err(), "/data/a/file is not a directory");
}

#[test]
fn each_component_signal_and_purpose_has_a_directory_of_its_own() {
    let (extension, _) = created(
        "{directory: /data, create_directory: true, fsync: false, recreate: true, timeout: 3s, min_free_bytes: 5000}",
    );
    let mut offered = OfferedCapabilities::default();
    extension.offer_capabilities(&mut offered);
    let storage = offered.get::<dyn Storage>().unwrap();
    let (id, kind) = ("otlp/a".parse().unwrap(), ComponentKind::Exporter);
    let location = storage.location(&StorageUser { kind, id: &id, signal: Some(Signal::Logs), purpose: "queue" });
    assert_eq!(
        location,
        StorageLocation {
            directory: PathBuf::from("/data/exporter_otlp_a_logs.queue"),
            root_mode: Some(0o750),
            fsync: false,
            min_free_bytes: 5000,
            lock_timeout: Duration::from_secs(3),
            recreate: true,
        }
    );
    assert_eq!(<dyn Storage as Capability>::NAME, "storage extension");
}

#[test]
fn file_of_the_go_collector_is_named_and_left_as_it_is() {
    let mut world = TestWorld::new();
    let mut page = vec![0; 16];
    page.extend_from_slice(&0xED0C_DAED_u32.to_ne_bytes());
    page.extend_from_slice(&2_u32.to_ne_bytes());
    page.resize(4096, 0);
    world.disk().write("/data/exporter_otlp__traces", page.clone());
    let (mut extension, context) = created("directory: /data");
    extension.start(&mut world.cx()).unwrap();
    world.run(|cx, local, event: Event<'_>| extension.handle_event(cx, local, event));
    let lines = context.log.take_lines();
    assert!(
        lines
            .iter()
            .any(|line| line.contains("a file of the Go collector") && line.contains("/data/exporter_otlp__traces")),
        "{lines:?}"
    );
    assert_eq!(world.disk().content("/data/exporter_otlp__traces"), Some(page));
}
