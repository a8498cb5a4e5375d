//! The metrics of each scraper, as the Go receiver defines them. Their names, units and descriptions are sent.

use otelcore_scraped_metrics::metric_table;

metric_table! {
    /// The metrics of `cpu`.
    CpuMetricsConfig CpuMetric {
        Frequency frequency "system.cpu.frequency" off gauge "Hz" ["cpu"]
            "Current frequency of the CPU core in Hz.";
        LogicalCount logical_count "system.cpu.logical.count" off sum "{cpu}" []
            "Number of available logical CPUs.";
        PhysicalCount physical_count "system.cpu.physical.count" off sum "{cpu}" []
            "Number of available physical CPUs.";
        Time time "system.cpu.time" on counter "s" ["cpu" "state"]
            "Total seconds each logical CPU spent on each mode.";
        Utilization utilization "system.cpu.utilization" off gauge "1" ["cpu" "state"]
            "Difference in system.cpu.time since the last measurement per logical CPU, divided by the elapsed time (value in interval [0,1]).";
    }
}

metric_table! {
    /// The metrics of `memory`.
    MemoryMetricsConfig MemoryMetric {
        Available available "system.linux.memory.available" off sum "By" []
            "An estimate of how much memory is available for starting new applications, without swapping. This is a more accurate alternative than system.memory.usage with state=free. (Linux only)";
        Dirty dirty "system.linux.memory.dirty" off sum "By" []
            "The amount of dirty memory according to `/proc/meminfo`.";
        Limit limit "system.memory.limit" off sum "By" []
            "Total bytes of memory available.";
        HugepagesLimit hugepages_limit "system.memory.linux.hugepages.limit" off sum "{page}" []
            "Total number of hugepages available.";
        HugepagesPageSize hugepages_page_size "system.memory.linux.hugepages.page_size" off sum "By" []
            "System hugepage size in bytes.";
        HugepagesReserved hugepages_reserved "system.memory.linux.hugepages.reserved" off sum "{page}" []
            "Number of reserved hugepages (hugepages for which a commitment to allocate has been made, but no allocation has yet been made). This is reported as a separate metric rather than a usage state because reserved pages are already counted in free pages - they represent a subset of free pages that cannot be used for non-reserved allocations.";
        HugepagesSurplus hugepages_surplus "system.memory.linux.hugepages.surplus" off sum "{page}" []
            "Number of surplus hugepages (overcommitted hugepages beyond the persistent pool). This is reported as a separate metric rather than a usage state because surplus pages can be in either used or free state, and including them would break the semantic convention that usage states must sum to the limit.";
        HugepagesUsage hugepages_usage "system.memory.linux.hugepages.usage" off sum "{page}" ["system.memory.linux.hugepages.state"]
            "Number of hugepages in use by state.";
        HugepagesUtilization hugepages_utilization "system.memory.linux.hugepages.utilization" off gauge "1" ["system.memory.linux.hugepages.state"]
            "Percentage of hugepages in use by state.";
        Shared shared "system.memory.linux.shared" off sum "By" []
            "Shared memory usage, including tmpfs filesystems and System V/POSIX shared memory. Only supported on Linux.";
        PageSize page_size "system.memory.page_size" off gauge "By" []
            "A constant value for the system's configured page size.";
        Usage usage "system.memory.usage" on sum "By" ["state"]
            "Bytes of memory in use.";
        Utilization utilization "system.memory.utilization" off gauge "1" ["state"]
            "Percentage of memory bytes in use.";
    }
}

metric_table! {
    /// The metrics of `load`.
    LoadMetricsConfig LoadMetric {
        Load15 load_15 "system.cpu.load_average.15m" on gauge "{thread}" []
            "Average CPU Load over 15 minutes.";
        Load1 load_1 "system.cpu.load_average.1m" on gauge "{thread}" []
            "Average CPU Load over 1 minute.";
        Load5 load_5 "system.cpu.load_average.5m" on gauge "{thread}" []
            "Average CPU Load over 5 minutes.";
    }
}

metric_table! {
    /// The metrics of `disk`.
    DiskMetricsConfig DiskMetric {
        Io io "system.disk.io" on counter "By" ["device" "direction"]
            "Disk bytes transferred.";
        IoTime io_time "system.disk.io_time" on counter "s" ["device"]
            "Time disk spent activated. On Windows, this is calculated as the inverse of disk idle time.";
        Merged merged "system.disk.merged" on counter "{operations}" ["device" "direction"]
            "The number of disk reads/writes merged into single physical disk access operations.";
        OperationTime operation_time "system.disk.operation_time" on counter "s" ["device" "direction"]
            "Time spent in disk operations.";
        Operations operations "system.disk.operations" on counter "{operations}" ["device" "direction"]
            "Disk operations count.";
        PendingOperations pending_operations "system.disk.pending_operations" on sum "{operations}" ["device"]
            "The queue size of pending I/O operations.";
        WeightedIoTime weighted_io_time "system.disk.weighted_io_time" on counter "s" ["device"]
            "Time disk spent activated multiplied by the queue length.";
    }
}

metric_table! {
    /// The metrics of `filesystem`.
    FilesystemMetricsConfig FilesystemMetric {
        InodesUsage inodes_usage "system.filesystem.inodes.usage" on sum "{inodes}" ["device" "mode" "mountpoint" "type" "state"]
            "FileSystem inodes used.";
        Usage usage "system.filesystem.usage" on sum "By" ["device" "mode" "mountpoint" "type" "state"]
            "Filesystem bytes used.";
        Utilization utilization "system.filesystem.utilization" off gauge "1" ["device" "mode" "mountpoint" "type"]
            "Fraction of filesystem bytes used.";
    }
}

metric_table! {
    /// The metrics of `network`.
    NetworkMetricsConfig NetworkMetric {
        Connections connections "system.network.connections" on sum "{connections}" ["protocol" "state"]
            "The number of connections.";
        ConntrackCount conntrack_count "system.network.conntrack.count" off sum "{entries}" []
            "The count of entries in conntrack table.";
        ConntrackMax conntrack_max "system.network.conntrack.max" off sum "{entries}" []
            "The limit for entries in the conntrack table.";
        Dropped dropped "system.network.dropped" on counter "{packets}" ["device" "direction"]
            "The number of packets dropped.";
        Errors errors "system.network.errors" on counter "{errors}" ["device" "direction"]
            "The number of errors encountered.";
        Io io "system.network.io" on counter "By" ["device" "direction"]
            "The number of bytes transmitted and received.";
        Packets packets "system.network.packets" on counter "{packets}" ["device" "direction"]
            "The number of packets transferred.";
    }
}

metric_table! {
    /// The metrics of `paging`.
    PagingMetricsConfig PagingMetric {
        Faults faults "system.paging.faults" on counter "{faults}" ["type"]
            "The number of page faults.";
        Operations operations "system.paging.operations" on counter "{operations}" ["direction" "type"]
            "The number of paging operations.";
        Usage usage "system.paging.usage" on sum "By" ["device" "state"]
            "Swap (unix) or pagefile (windows) usage.";
        Utilization utilization "system.paging.utilization" off gauge "1" ["device" "state"]
            "Swap (unix) or pagefile (windows) utilization.";
    }
}

metric_table! {
    /// The metrics of `processes`.
    ProcessesMetricsConfig ProcessesMetric {
        Count count "system.processes.count" on sum "{processes}" ["status"]
            "Total number of processes in each state.";
        Created created "system.processes.created" on counter "{processes}" []
            "Total number of created processes. Supported on Linux and OpenBSD.";
    }
}

metric_table! {
    /// The metrics of `process`.
    ProcessMetricsConfig ProcessMetric {
        ContextSwitches context_switches "process.context_switches" off counter "{count}" ["type"]
            "Number of times the process has been context switched.";
        CpuTime cpu_time "process.cpu.time" on counter "s" ["state"]
            "Total CPU seconds broken down by different states.";
        CpuUtilization cpu_utilization "process.cpu.utilization" off gauge "1" ["state"]
            "Percentage of total CPU time used by the process since last scrape, expressed as a value between 0 and 1. On the first scrape, no data point is emitted for this metric.";
        DiskIo disk_io "process.disk.io" on counter "By" ["direction"]
            "Disk bytes transferred.";
        DiskOperations disk_operations "process.disk.operations" off counter "{operations}" ["direction"]
            "Number of disk operations performed by the process.";
        Handles handles "process.handles" off sum "{count}" []
            "Number of open handles held by the process.";
        MemoryUsage memory_usage "process.memory.usage" on sum "By" []
            "The amount of physical memory in use.";
        MemoryUtilization memory_utilization "process.memory.utilization" off gauge "1" []
            "Percentage of total physical memory that is used by the process.";
        MemoryVirtual memory_virtual "process.memory.virtual" on sum "By" []
            "Virtual memory size.";
        OpenFileDescriptors open_file_descriptors "process.open_file_descriptors" off sum "{count}" []
            "Number of file descriptors in use by the process.";
        PagingFaults paging_faults "process.paging.faults" off counter "{faults}" ["type"]
            "Number of page faults the process has made.";
        SignalsPending signals_pending "process.signals_pending" off sum "{signals}" []
            "Number of pending signals for the process.";
        Threads threads "process.threads" off sum "{threads}" []
            "Process threads count.";
        Uptime uptime "process.uptime" off gauge "s" []
            "The time the process has been running.";
    }
}

metric_table! {
    /// The metrics of `system`.
    SystemMetricsConfig SystemMetric {
        Uptime uptime "system.uptime" on gauge "s" []
            "The time the system has been running";
    }
}
