//! Tests of the receiver in a world with the files of a machine.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use std::{fs, io};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, number_data_point};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Component, DirEntry, DiskUsage, FileHandle, FileKind, FileLock, FileMetadata, FileSystem, Graph, Logger,
    NoopLogSink, WallTime,
};
use otelcore_reactor::DiskFaults;
use otelcore_testkit::{RecordedPayloads, TestContext, TestWorld, parse_config, receiver_graph};
use proptest::prelude::*;
use prost::Message;

use crate::HostMetricsFactory;
use crate::config::HostMetricsConfig;
use crate::host::HostPaths;
use crate::mounts::MountUsages;
use crate::scrapers::HostScrapers;
use crate::scrapers::filesystem::Partition;

const STAT: &str =
    "cpu  1 1 1 1 1 1 1 1\ncpu0 100 0 0 100 0 0 0 0\nbtime 1000\nprocesses 7\nprocs_running 1\nprocs_blocked 0\n";

struct Fixture {
    context: TestContext,
    world: TestWorld,
    graph: Graph,
    sent: RecordedPayloads,
}

impl Fixture {
    fn new(yaml: &str, signals: &[Signal]) -> Self {
        let context = TestContext { signals: signals.to_vec(), ..TestContext::new() };
        let receiver = match context.create(&HostMetricsFactory, "host_metrics", yaml) {
            Ok(Component::Receiver(receiver)) => receiver,
            other => panic!("{other:?}"),
        };
        let mut world = TestWorld::new();
        world.set_wall_time(WallTime(2_000_000_000_000));
        world.disk().write("/proc/stat", STAT);
        world.disk().write("/proc/loadavg", "0.50 0.25 0.125 1/2 3\n");
        let (mut graph, sent) = receiver_graph(receiver, &context);
        graph.start(&mut world).unwrap();
        let _ = context.log.take_entries();
        Self { context, world, graph, sent }
    }

    fn run_for(&mut self, seconds: u64) {
        let end = self.world.cx().now() + Duration::from_secs(seconds);
        self.world.run_graph(&mut self.graph);
        while let Some(due) = self.world.next_timer().filter(|due| *due <= end) {
            let now = self.world.cx().now();
            self.world.advance(due.since(now));
            self.world.run_graph(&mut self.graph);
        }
        let now = self.world.cx().now();
        self.world.advance(end.since(now));
    }

    /// Name and first value of each metric that was sent.
    fn metrics(&self) -> Vec<(String, f64)> {
        let mut found = Vec::new();
        for payload in self.sent.take() {
            let request = ExportMetricsServiceRequest::decode(&*payload.body.to_bytes()).unwrap();
            for metric in request.resource_metrics.into_iter().flat_map(|r| r.scope_metrics).flat_map(|s| s.metrics) {
                let points = match metric.data {
                    Some(Data::Gauge(gauge)) => gauge.data_points,
                    Some(Data::Sum(sum)) => sum.data_points,
                    other => panic!("{other:?}"),
                };
                found.push((metric.name, value(&points[0])));
            }
        }
        found
    }
}

fn value(point: &NumberDataPoint) -> f64 {
    match point.value {
        Some(number_data_point::Value::AsDouble(v)) => v,
        Some(number_data_point::Value::AsInt(v)) => v as f64,
        None => f64::NAN,
    }
}

#[test]
fn metrics_are_sent_after_the_delay_and_then_at_each_interval() {
    let mut fixture =
        Fixture::new("{collection_interval: 10s, initial_delay: 2s, scrapers: {load: }}", &[Signal::Metrics]);
    fixture.run_for(1);
    assert_eq!(fixture.metrics(), []);
    fixture.run_for(1);
    assert_eq!(fixture.metrics().len(), 3);
    fixture.run_for(30);
    assert_eq!(fixture.metrics().len(), 9);
    assert_eq!(fixture.context.log.take_lines(), Vec::<String>::new());
}

#[test]
fn share_of_a_cpu_is_that_since_the_scrape_before() {
    let yaml = "{collection_interval: 10s, initial_delay: 0s, scrapers: {cpu: {metrics: {\
        system.cpu.time: {enabled: false}, system.cpu.utilization: {enabled: true, attributes: [state]}}}}}";
    let mut fixture = Fixture::new(yaml, &[Signal::Metrics]);
    fixture.run_for(1);
    assert_eq!(fixture.metrics(), []);
    fixture.world.disk().write("/proc/stat", STAT.replace("cpu0 100 0 0 100", "cpu0 130 0 0 110"));
    fixture.run_for(10);
    let metrics = fixture.metrics();
    assert_eq!(metrics.len(), 1);
    assert!((metrics[0].1 - 0.75).abs() < 1e-9, "{metrics:?}");
}

#[test]
fn error_is_logged_when_it_changes_and_its_end_too() {
    let mut fixture =
        Fixture::new("{collection_interval: 1s, initial_delay: 0s, scrapers: {load: , paging: }}", &[Signal::Metrics]);
    fixture.world.disk().remove("/proc/loadavg");
    fixture.world.disk().write("/proc/vmstat", "pgfault 1\n");
    fixture.world.disk().write("/proc/swaps", "Filename Type Size Used Priority\n");
    fixture.run_for(3);
    let error = "error: Error scraping metrics scraper=load error=open /proc/loadavg: no such file or directory";
    assert_eq!(fixture.context.log.take_lines(), [error]);
    fixture.world.disk().write("/proc/loadavg", "1");
    fixture.run_for(1);
    let other =
        "error: Error scraping metrics scraper=load error=fewer than three numbers in /proc/loadavg repeated_before=3";
    assert_eq!(fixture.context.log.take_lines(), [other]);
    fixture.world.disk().write("/proc/loadavg", "1 2 3");
    fixture.run_for(1);
    assert_eq!(fixture.context.log.take_lines(), ["info: metrics are scraped again scraper=load repeated_before=0"]);
    assert!(fixture.metrics().iter().any(|(name, _)| name == "system.paging.faults"), "the others are sent");
}

#[test]
fn entity_event_is_sent_at_once_and_then_at_each_interval() {
    let mut fixture = Fixture::new("{metadata_collection_interval: 10s, scrapers: {load: }}", &[Signal::Logs]);
    fixture.run_for(25);
    let sent = fixture.sent.take();
    assert_eq!(sent.len(), 3);
    let request = ExportLogsServiceRequest::decode(&*sent[0].body.to_bytes()).unwrap();
    let scope = &request.resource_logs[0].scope_logs[0];
    let keys: Vec<&str> = scope.log_records[0].attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    assert_eq!(keys, ["otel.entity.event.type", "otel.entity.type", "otel.entity.interval"]);
    assert_eq!(scope.scope.as_ref().unwrap().attributes[0].key, "otel.entity.event_as_log");
}

#[test]
fn full_file_system_is_reported_and_one_that_is_missing_is_an_error() {
    let mut fixture = Fixture::new("{initial_delay: 0s, scrapers: {filesystem: }}", &[Signal::Metrics]);
    let disk = fixture.world.disk();
    disk.write("/proc/filesystems", "\text4\n");
    disk.write("/proc/1/mountinfo", "1 1 8:1 / /data rw - ext4 /dev/sda1 rw\n2 1 8:2 / /gone rw - ext4 /dev/sdb rw\n");
    disk.make_dir("/data");
    let usage = DiskUsage { block_size: 10, blocks: 9, free_blocks: 5, available_blocks: 3, inodes: 7, free_inodes: 1 };
    disk.set_disk_usage("/data", usage);
    fixture.run_for(1);
    let expected = [("system.filesystem.inodes.usage".to_owned(), 6.0), ("system.filesystem.usage".to_owned(), 40.0)];
    assert_eq!(fixture.metrics(), expected);
    let error = "error: Error scraping metrics scraper=filesystem error=failed to read usage at /gone: no such file or directory";
    assert_eq!(fixture.context.log.take_lines(), [error]);
}

#[test]
fn scrapes_end_on_a_disk_whose_reads_fail_at_random() {
    let scrapers =
        "{cpu: , disk: , filesystem: , load: , memory: , network: , paging: , process: , processes: , system: }";
    let yaml = format!("{{collection_interval: 1s, initial_delay: 0s, scrapers: {scrapers}}}");
    let mut fixture = Fixture::new(&yaml, &[Signal::Metrics]);
    fixture.world.disk().set_faults(DiskFaults { read_errors: 300, ..DiskFaults::default() });
    fixture.run_for(50);
    assert!(fixture.metrics().iter().filter(|(name, _)| name == "system.cpu.load_average.1m").count() > 10);
}

#[test]
fn configuration_without_a_scraper_or_with_an_unknown_attribute_is_refused() {
    let messages = |yaml: &str| parse_config(&HostMetricsFactory, "host_metrics", yaml).messages;
    assert_eq!(messages("{}"), ["must specify at least one scraper when using host_metrics receiver"]);
    assert_eq!(messages("{scrapers: {cpu: }}"), Vec::<String>::new());
    assert_eq!(messages("{scrapers: {cpu: , nfs: }}"), ["'nfs' is not supported: NFS metrics can't be scraped yet"]);
    assert_eq!(
        messages("{scrapers: {cpu: {metrics: {system.cpu.time: {attributes: [cpu, core]}}}}}"),
        ["metric system.cpu.time doesn't have an attribute core, valid attributes: [cpu, state]"]
    );
    assert_eq!(
        messages("{scrapers: {cpu: {metrics: {system.cpu.time: {aggregation_strategy: median}}}}}"),
        ["invalid aggregation strategy \"median\", valid strategies: [sum, avg, min, max]"]
    );
    assert_eq!(
        messages("{scrapers: {disk: {include: {devices: [sda]}}}}"),
        ["error creating device include filters: unrecognized match_type: '', valid types are: [regexp strict]"]
    );
    assert_eq!(
        messages("{collection_interval: 0s, scrapers: {load: }}"),
        ["\"collection_interval\": requires positive value"]
    );
}

#[test]
fn root_that_does_not_exist_is_an_error_of_the_start() {
    let context = TestContext { signals: vec![Signal::Metrics], ..TestContext::new() };
    let component = context.create(&HostMetricsFactory, "host_metrics", "{root_path: /hostfs, scrapers: {load: }}");
    let Ok(Component::Receiver(receiver)) = component else { panic!("{component:?}") };
    let mut world = TestWorld::new();
    let error = receiver_graph(receiver, &context).0.start(&mut world).unwrap_err().to_string();
    assert!(error.contains("invalid root_path: stat /hostfs: no such file or directory"), "{error}");
}

fn partition(path: &str) -> Partition {
    let text = path.to_owned();
    Partition { device: "d".to_owned(), mount_point: text.clone(), fs_type: "nfs".to_owned(), mode: "rw", path: text }
}

/// The answers: the path, and whether it has answered.
fn answers(mounts: &mut MountUsages) -> Option<Vec<(String, bool)>> {
    let results = mounts.take_results()?;
    Some(results.into_iter().map(|(partition, result)| (partition.path, result.is_ok())).collect())
}

#[test]
fn file_systems_behind_one_that_does_not_answer_are_asked_and_it_is_not_asked_again() {
    let mut world = TestWorld::new();
    for path in ["/a", "/b"] {
        world.disk().make_dir(path);
    }
    let mut mounts = MountUsages::new(0, Duration::from_secs(5));
    let list = || vec![partition("/a"), partition("/b")];
    mounts.start(&mut world.cx(), list());
    // The first job does not end: it waits for the first file system.
    world.advance(Duration::from_secs(5));
    mounts.handle_event(&mut world.cx(), 0);
    assert_eq!(answers(&mut mounts), None);
    // The jobs run in their order. The first one has been given up.
    while let Some(key) = world.run_job() {
        mounts.handle_event(&mut world.cx(), key);
    }
    assert_eq!(answers(&mut mounts), Some(vec![("/a".to_owned(), false), ("/b".to_owned(), true)]));
    mounts.start(&mut world.cx(), list());
    while let Some(key) = world.run_job() {
        mounts.handle_event(&mut world.cx(), key);
    }
    assert_eq!(answers(&mut mounts), Some(vec![("/a".to_owned(), true), ("/b".to_owned(), true)]), "it has answered");
}

#[test]
fn file_systems_are_left_out_while_two_of_them_do_not_answer() {
    let mut world = TestWorld::new();
    let mut mounts = MountUsages::new(0, Duration::from_secs(5));
    mounts.start(&mut world.cx(), vec![partition("/a"), partition("/b"), partition("/c")]);
    for _ in 0..2 {
        world.advance(Duration::from_secs(5));
        mounts.handle_event(&mut world.cx(), 0);
    }
    let expected = ["/a", "/b", "/c"].map(|path| (path.to_owned(), false)).to_vec();
    assert_eq!(answers(&mut mounts), Some(expected.clone()));
    mounts.start(&mut world.cx(), vec![partition("/a"), partition("/b"), partition("/c")]);
    assert_eq!(answers(&mut mounts), Some(expected));
    assert_eq!(world.job_count(), 2, "no further job was begun");
}

/// Files of which each has the same content, whatever its path.
struct SameFiles(Vec<u8>);

impl FileSystem for SameFiles {
    fn metadata(&mut self, _: &Path) -> io::Result<FileMetadata> {
        let modified = WallTime(0);
        Ok(FileMetadata { kind: FileKind::File, length: 0, mode: 0o644, modified, identity: (0, 0), owner: (0, 0) })
    }

    fn read_dir(&mut self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let names = if path == Path::new("/proc") { &["1", "22", "x", "99999999999"][..] } else { &["cpu0", "7"] };
        Ok(names.iter().map(|name| DirEntry { name: (*name).into(), kind: FileKind::Dir }).collect())
    }

    fn read_at(&mut self, _: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let start = usize::try_from(offset).unwrap().min(self.0.len());
        Ok(self.0[start..].iter().copied().take(length).collect())
    }

    fn open_file(&mut self, _: &Path) -> io::Result<FileHandle> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn handle_metadata(&mut self, _: &FileHandle) -> io::Result<FileMetadata> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn read_handle(&mut self, _: &FileHandle, _: u64, _: usize) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn canonical_path(&mut self, _: &Path) -> io::Result<PathBuf> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn read_link(&mut self, _: &Path) -> io::Result<PathBuf> {
        Ok(PathBuf::from("../x"))
    }

    fn disk_usage(&mut self, _: &Path) -> io::Result<DiskUsage> {
        Ok(DiskUsage::default())
    }

    fn create_file(&mut self, _: &Path, _: u32) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn write_at(&mut self, _: &Path, _: u64, _: &[&[u8]]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn set_len(&mut self, _: &Path, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_file(&mut self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_dir(&mut self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn rename(&mut self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove_file(&mut self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn create_dir(&mut self, _: &Path, _: u32) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove_dir(&mut self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn lock_file(&mut self, _: &Path, _: u32) -> io::Result<FileLock> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn free_space(&mut self, _: &Path) -> io::Result<u64> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

/// Every scraper with every metric.
fn all_scrapers() -> HostScrapers {
    let names = ["cpu", "disk", "filesystem", "load", "memory", "network", "paging", "process", "processes", "system"];
    let description = <HostMetricsConfig as otelcore_config::declare::Config>::description();
    let scrapers = description.fields.iter().find(|field| field.key == "scrapers").unwrap();
    let mut yaml = String::new();
    for scraper in scrapers.shape.fields().iter().filter(|field| names.contains(&field.key)) {
        let metrics = scraper.shape.fields().iter().find(|field| field.key == "metrics").unwrap();
        let switches: Vec<String> =
            metrics.shape.fields().iter().map(|metric| format!("{}: {{enabled: true}}", metric.key)).collect();
        let all = if scraper.key == "filesystem" { "include_virtual_filesystems: true, " } else { "" };
        yaml.push_str(&format!("{}: {{{all}metrics: {{{}}}}}\n", scraper.key, switches.join(", ")));
    }
    let d = otelcore_config::Diagnostics::new();
    let node = otelcore_config::from_yaml(&yaml, &d).unwrap();
    let section = otelcore_config::Section::new(Some(&node), "scrapers", &d);
    let config = <crate::config::ScrapersConfig as otelcore_config::declare::Config>::read_section(
        section,
        &crate::config::ScrapersConfig::default(),
    );
    assert_eq!(d.items().len(), 0, "{:?}", d.items());
    let paths = HostPaths::new("", &|_| None);
    HostScrapers::new(&config, paths, &Logger::new(std::sync::Arc::new(NoopLogSink))).unwrap()
}

/// Pieces of which files of `/proc` are made.
const PIECES: [&str; 30] = [
    "cpu0 ",
    "cpu",
    "btime 5\n",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23",
    "\n",
    "\n\n",
    ":",
    " ",
    "\t",
    "MemTotal: 5 kB\n",
    "low",
    " - ",
    "8:1 / /x rw - ext4 /dev/sda rw\n",
    "/dev/root",
    "/dev/mapper/x",
    "eth0:",
    "\\040",
    "\\",
    "(",
    ")",
    "Uid:\t5\n",
    "State:\t",
    "ShdPnd:\té00000000000000001\n",
    "0100007F:0016 0100007F:0016 0A 1 2 3 4 5 6 7\n",
    "18446744073709551615",
    "-1",
    "\0",
    "\u{fffd}",
    "processor : 1\n",
    "Filename Type Size Used\na b 1 2\n",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn scrape_ends_whatever_the_files_contain(
        pieces in proptest::collection::vec(0..PIECES.len(), 0..60),
        noise in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut content: Vec<u8> = pieces.iter().flat_map(|piece| PIECES[*piece].bytes()).collect();
        content.extend(noise);
        let mut scrapers = all_scrapers();
        let mut files = SameFiles(content);
        for now in [1_u64, 2_000_000_000] {
            let output = scrapers.scrape(&mut files, now, &AtomicBool::new(false));
            prop_assert!(ExportMetricsServiceRequest::decode(output.body.bytes()).is_ok());
        }
    }
}

#[test]
fn scrape_of_this_machine_has_metrics_of_every_scraper() {
    if !fs::exists("/proc/self/stat").unwrap_or(false) {
        return;
    }
    let (output, names) = otelcore_reactor::with_files(|files| {
        let output = all_scrapers().scrape(files, 2_000_000_000_000_000_000, &AtomicBool::new(false));
        let names: Vec<&str> = output.reports.iter().filter(|r| r.metrics > 0).map(|r| r.name).collect();
        (output, names)
    });
    for name in ["cpu", "load", "memory", "network", "processes", "process", "system"] {
        assert!(names.contains(&name), "{name} is missing: {:?}", output.reports);
    }
    let (partitions, _) = output.partitions.unwrap().unwrap();
    assert!(!partitions.partitions.is_empty());
}
