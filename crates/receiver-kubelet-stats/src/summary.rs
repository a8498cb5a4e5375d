//! The answer of `/stats/summary` as structs: the members that become metrics. Others are skipped, and null is the same as
//! absence.

use otelcore_kubernetes_client::parse_time_nanos;
use serde::{Deserialize, Deserializer};

/// Null is the default.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Nanoseconds since 1970 of `0001-01-01T00:00:00Z`, which is no time in Go.
const NO_TIME: i64 = -6_795_364_578_871_345_152;

/// When something was started, in nanoseconds since 1970; `None` if that is not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct StartTime(pub(crate) Option<i64>);

impl<'de> Deserialize<'de> for StartTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(Self(None)) };
        let Some(nanos) = parse_time_nanos(&text) else {
            return Err(serde::de::Error::custom(format!("{text:?} is not a time of RFC 3339")));
        };
        Ok(Self(Some(nanos).filter(|nanos| *nanos != NO_TIME)))
    }
}

/// Declares structs whose members are as in JSON, with camel case.
macro_rules! answer {
    ($($(#[$attribute:meta])* $name:ident { $($(#[$member_attribute:meta])* $member:ident: $type:ty,)* })*) => {
        $(
            $(#[$attribute])*
            #[derive(Clone, PartialEq, Debug, Default, Deserialize)]
            #[serde(default, rename_all = "camelCase")]
            pub(crate) struct $name {
                $(
                    $(#[$member_attribute])*
                    #[serde(deserialize_with = "or_default")]
                    pub(crate) $member: $type,
                )*
            }
        )*
    };
}

pub(crate) use answer;

answer! {
    /// The whole answer.
    Summary {
        node: NodeStats,
        pods: Vec<PodStats>,
    }

    NodeStats {
        node_name: String,
        system_containers: Vec<ContainerStats>,
        start_time: StartTime,
        cpu: Option<CpuStats>,
        memory: Option<MemoryStats>,
        network: Option<NetworkStats>,
        fs: Option<FsStats>,
    }

    PodStats {
        pod_ref: PodReference,
        start_time: StartTime,
        containers: Vec<ContainerStats>,
        cpu: Option<CpuStats>,
        memory: Option<MemoryStats>,
        network: Option<NetworkStats>,
        /// The volumes have this name.
        #[serde(rename = "volume")]
        volume_stats: Vec<VolumeStats>,
        #[serde(rename = "ephemeral-storage")]
        ephemeral_storage: Option<FsStats>,
    }

    PodReference {
        name: String,
        namespace: String,
        uid: String,
    }

    ContainerStats {
        name: String,
        start_time: StartTime,
        cpu: Option<CpuStats>,
        memory: Option<MemoryStats>,
        rootfs: Option<FsStats>,
        logs: Option<FsStats>,
    }

    CpuStats {
        usage_nano_cores: Option<u64>,
        usage_core_nano_seconds: Option<u64>,
    }

    MemoryStats {
        available_bytes: Option<u64>,
        usage_bytes: Option<u64>,
        working_set_bytes: Option<u64>,
        rss_bytes: Option<u64>,
        page_faults: Option<u64>,
        major_page_faults: Option<u64>,
    }

    FsStats {
        available_bytes: Option<u64>,
        capacity_bytes: Option<u64>,
        used_bytes: Option<u64>,
    }

    VolumeStats {
        name: String,
        available_bytes: Option<u64>,
        capacity_bytes: Option<u64>,
        used_bytes: Option<u64>,
        inodes_free: Option<u64>,
        inodes: Option<u64>,
        inodes_used: Option<u64>,
    }

    /// The default interface, and all of them.
    NetworkStats {
        name: String,
        rx_bytes: Option<u64>,
        rx_errors: Option<u64>,
        tx_bytes: Option<u64>,
        tx_errors: Option<u64>,
        interfaces: Vec<InterfaceStats>,
    }

    InterfaceStats {
        name: String,
        rx_bytes: Option<u64>,
        rx_errors: Option<u64>,
        tx_bytes: Option<u64>,
        tx_errors: Option<u64>,
    }
}
