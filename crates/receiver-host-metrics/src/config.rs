//! The `host_metrics` section of receivers.

mod filters;
mod metrics;

use std::time::Duration;

use otelcore_config::declare::Optional;
use otelcore_config::{GoDuration, NodeValue, Section, config_struct};
use otelcore_scraped_metrics::ResourceAttributeConfig;

pub use filters::{
    DeviceMatchConfig, FsTypeMatchConfig, InterfaceMatchConfig, MountPointMatchConfig, ProcessMatchConfig, RegexpConfig,
};
pub(crate) use filters::{FilterError, NameFilter};
pub(crate) use metrics::{
    CpuMetric, DiskMetric, FilesystemMetric, LoadMetric, MemoryMetric, NetworkMetric, PagingMetric, ProcessMetric,
    ProcessesMetric, SystemMetric,
};
pub use metrics::{
    CpuMetricsConfig, DiskMetricsConfig, FilesystemMetricsConfig, LoadMetricsConfig, MemoryMetricsConfig,
    NetworkMetricsConfig, PagingMetricsConfig, ProcessMetricsConfig, ProcessesMetricsConfig, SystemMetricsConfig,
};

config_struct! {
    /// `cpu`: the time that each CPU has spent in each state.
    pub struct CpuConfig {
        /// Its metrics.
        pub metrics: CpuMetricsConfig,
    }
}

config_struct! {
    /// `memory`: how the memory is used.
    pub struct MemoryConfig {
        /// Its metrics.
        pub metrics: MemoryMetricsConfig,
    }
}

config_struct! {
    /// `load`: the load of the CPUs.
    pub struct LoadConfig {
        /// The load is divided by the number of CPUs that the collector may use.
        pub cpu_average: bool,
        /// Its metrics.
        pub metrics: LoadMetricsConfig,
    }
}

config_struct! {
    /// `disk`: bytes, operations and times of disks.
    #[config(check = Self::check)]
    pub struct DiskConfig {
        /// Only these disks are reported.
        pub include: DeviceMatchConfig,
        /// These disks are not reported.
        pub exclude: DeviceMatchConfig,
        /// Its metrics.
        pub metrics: DiskMetricsConfig,
    }
}

impl DiskConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        report(s, self.filter().err());
    }

    /// The disks that are reported.
    pub(crate) fn filter(&self) -> Result<NameFilter, FilterError> {
        NameFilter::new(
            self.include.list("include", "error creating device include filters"),
            self.exclude.list("exclude", "error creating device exclude filters"),
        )
    }
}

config_struct! {
    /// `filesystem`: how full file systems are.
    #[config(check = Self::check)]
    pub struct FilesystemConfig {
        /// File systems without a device, such as `tmpfs`, are reported too.
        pub include_virtual_filesystems: bool,
        /// Only file systems of these devices are reported.
        pub include_devices: DeviceMatchConfig,
        /// File systems of these devices are not reported.
        pub exclude_devices: DeviceMatchConfig,
        /// Only file systems of these types are reported.
        pub include_fs_types: FsTypeMatchConfig,
        /// File systems of these types are not reported.
        pub exclude_fs_types: FsTypeMatchConfig,
        /// Only file systems at these mount points are reported. They are those of the machine, without `root_path`.
        pub include_mount_points: MountPointMatchConfig,
        /// File systems at these mount points are not reported.
        pub exclude_mount_points: MountPointMatchConfig,
        /// Its metrics.
        pub metrics: FilesystemMetricsConfig,
    }
}

impl FilesystemConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        for filter in [self.devices(), self.fs_types(), self.mount_points()] {
            report(s, filter.err());
        }
    }

    pub(crate) fn devices(&self) -> Result<NameFilter, FilterError> {
        NameFilter::new(
            self.include_devices.list("include_devices", "error creating include_devices filter"),
            self.exclude_devices.list("exclude_devices", "error creating exclude_devices filter"),
        )
    }

    pub(crate) fn fs_types(&self) -> Result<NameFilter, FilterError> {
        NameFilter::new(
            self.include_fs_types.list("include_fs_types", "error creating include_fs_types filter"),
            self.exclude_fs_types.list("exclude_fs_types", "error creating exclude_fs_types filter"),
        )
    }

    pub(crate) fn mount_points(&self) -> Result<NameFilter, FilterError> {
        NameFilter::new(
            self.include_mount_points.list("include_mount_points", "error creating include_mount_points filter"),
            self.exclude_mount_points.list("exclude_mount_points", "error creating exclude_mount_points filter"),
        )
    }
}

config_struct! {
    /// `network`: bytes and packets of interfaces, and TCP connections.
    #[config(check = Self::check)]
    pub struct NetworkConfig {
        /// Only these interfaces are reported.
        pub include: InterfaceMatchConfig,
        /// These interfaces are not reported.
        pub exclude: InterfaceMatchConfig,
        /// Its metrics.
        pub metrics: NetworkMetricsConfig,
    }
}

impl NetworkConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        report(s, self.filter().err());
    }

    /// The interfaces that are reported.
    pub(crate) fn filter(&self) -> Result<NameFilter, FilterError> {
        NameFilter::new(
            self.include.list("include", "error creating network interface include filters"),
            self.exclude.list("exclude", "error creating network interface exclude filters"),
        )
    }
}

config_struct! {
    /// `paging`: use of swap space, page faults.
    pub struct PagingConfig {
        /// Its metrics.
        pub metrics: PagingMetricsConfig,
    }
}

config_struct! {
    /// `processes`: how many processes there are.
    pub struct ProcessesConfig {
        /// Its metrics.
        pub metrics: ProcessesMetricsConfig,
    }
}

config_struct! {
    /// `system`: how long the system has been running.
    pub struct SystemConfig {
        /// Its metrics.
        pub metrics: SystemMetricsConfig,
    }
}

/// A resource attribute that is on by default.
fn on() -> ResourceAttributeConfig {
    ResourceAttributeConfig::switched(true)
}

config_struct! {
    /// `process::resource_attributes`.
    pub struct ProcessAttributesConfig {
        /// The control group of the process.
        #[config(key = "process.cgroup")]
        pub cgroup: ResourceAttributeConfig,
        /// The first element of the command line.
        #[config(key = "process.command")]
        pub command: ResourceAttributeConfig = on(),
        /// The command line.
        #[config(key = "process.command_line")]
        pub command_line: ResourceAttributeConfig = on(),
        /// The name of the process.
        #[config(key = "process.executable.name")]
        pub executable_name: ResourceAttributeConfig = on(),
        /// The path of the executable.
        #[config(key = "process.executable.path")]
        pub executable_path: ResourceAttributeConfig = on(),
        /// The name of the user who owns the process.
        #[config(key = "process.owner")]
        pub owner: ResourceAttributeConfig = on(),
        /// The number of the parent process.
        #[config(key = "process.parent_pid")]
        pub parent_pid: ResourceAttributeConfig = on(),
        /// The number of the process.
        #[config(key = "process.pid")]
        pub pid: ResourceAttributeConfig = on(),
    }
}

config_struct! {
    /// `process`: CPU, memory and disk use of each process, which is a resource of its own.
    #[config(check = Self::check)]
    pub struct ProcessConfig {
        /// Only processes of these names are reported.
        pub include: ProcessMatchConfig,
        /// Processes of these names are not reported.
        pub exclude: ProcessMatchConfig,
        /// No error of a process is logged.
        pub mute_process_all_errors: bool,
        /// Names that can't be read are not logged.
        pub mute_process_name_error: bool,
        /// Counts of input and output that can't be read are not logged.
        pub mute_process_io_error: bool,
        /// Control groups that can't be read are not logged.
        pub mute_process_cgroup_error: bool,
        /// Paths of executables that can't be read are not logged.
        pub mute_process_exe_error: bool,
        /// Users without a name are not logged.
        pub mute_process_user_error: bool,
        /// How long a process must have been running before it is reported.
        pub scrape_process_delay: Duration,
        /// Its metrics.
        pub metrics: ProcessMetricsConfig,
        /// The attributes of its resources.
        pub resource_attributes: ProcessAttributesConfig,
    }
}

impl ProcessConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        report(s, self.filter().err());
    }

    /// The processes that are reported.
    pub(crate) fn filter(&self) -> Result<NameFilter, FilterError> {
        NameFilter::new(
            self.include.list("include", "error creating process include filters"),
            self.exclude.list("exclude", "error creating process exclude filters"),
        )
    }
}

/// Reports a filter that can't be made.
fn report(s: &Section<'_>, error: Option<FilterError>) {
    if let Some(error) = error {
        s.start_error(&error.key, error.message).maybe_help(error.hint);
    }
}

config_struct! {
    /// What is measured. A scraper is on if its key is there.
    #[config(unsupported("nfs", "NFS metrics can't be scraped yet"))]
    #[config(check = Self::check)]
    pub struct ScrapersConfig {
        /// The time that each CPU has spent in each state.
        pub cpu: Optional<CpuConfig> = Optional::on_null(CpuConfig::default()),
        /// Bytes, operations and times of disks.
        pub disk: Optional<DiskConfig> = Optional::on_null(DiskConfig::default()),
        /// How full file systems are.
        pub filesystem: Optional<FilesystemConfig> = Optional::on_null(FilesystemConfig::default()),
        /// The load of the CPUs.
        pub load: Optional<LoadConfig> = Optional::on_null(LoadConfig::default()),
        /// How the memory is used.
        pub memory: Optional<MemoryConfig> = Optional::on_null(MemoryConfig::default()),
        /// Bytes and packets of interfaces, and TCP connections.
        pub network: Optional<NetworkConfig> = Optional::on_null(NetworkConfig::default()),
        /// Use of swap space, page faults.
        pub paging: Optional<PagingConfig> = Optional::on_null(PagingConfig::default()),
        /// CPU, memory and disk use of each process.
        pub process: Optional<ProcessConfig> = Optional::on_null(ProcessConfig::default()),
        /// How many processes there are.
        pub processes: Optional<ProcessesConfig> = Optional::on_null(ProcessesConfig::default()),
        /// How long the system has been running.
        pub system: Optional<SystemConfig> = Optional::on_null(SystemConfig::default()),
    }
}

impl ScrapersConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        // An empty section turns a scraper on.
        let is_empty = |value: &NodeValue| match value {
            NodeValue::Null => true,
            NodeValue::Map(map) => map.is_empty(),
            _ => false,
        };
        if s.raw_node("nfs").is_some_and(|node| is_empty(&node.value)) {
            s.error("nfs", "'nfs' is not supported: NFS metrics can't be scraped yet").help("remove `nfs`");
        }
    }

    /// Whether nothing is measured.
    fn is_empty(&self) -> bool {
        let on = [
            self.cpu.is_on(),
            self.disk.is_on(),
            self.filesystem.is_on(),
            self.load.is_on(),
            self.memory.is_on(),
            self.network.is_on(),
            self.paging.is_on(),
            self.process.is_on(),
            self.processes.is_on(),
            self.system.is_on(),
        ];
        !on.contains(&true)
    }
}

config_struct! {
    /// Metrics of the machine: CPU, memory, disks, file systems, network, processes. In a pipeline of logs, an event of the
    /// entity `host`.
    #[config(check = Self::check)]
    pub struct HostMetricsConfig {
        /// How often the metrics are measured.
        #[config(above(GoDuration::ZERO, "\"collection_interval\": requires positive value"))]
        pub collection_interval: Duration = Duration::from_secs(60),
        /// How long after the start they are measured first.
        pub initial_delay: GoDuration = GoDuration(1_000_000_000),
        /// Time limit of one measurement, after which what is there is sent; zero for no limit.
        #[config(at_least(GoDuration::ZERO, "\"timeout\": requires positive value"))]
        pub timeout: Duration,
        /// Where the root of the machine's file system is, for a collector in a container: `/hostfs`.
        pub root_path: String,
        /// How often the event of the entity is repeated in logs; zero sends it once.
        pub metadata_collection_interval: Duration = Duration::from_secs(300),
        /// What is measured.
        pub scrapers: ScrapersConfig,
    }
}

impl HostMetricsConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.scrapers.is_empty() {
            s.error("scrapers", "must specify at least one scraper when using host_metrics receiver")
                .help("write for example `scrapers: {cpu: , memory: }`");
        }
    }
}
