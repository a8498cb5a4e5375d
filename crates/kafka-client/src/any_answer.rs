//! The answers of a broker to any request, read as the client reads them. Only fuzz targets need this.

use bytes::Bytes;

use crate::consumer;
use crate::messages::{self, admin, consumer_group, fetch, group};
use crate::versions::ApiKey;
use crate::wire::WireError;

/// Reads the answer to any request.
#[doc(hidden)]
pub fn read_any_answer(api: ApiKey, version: i16, body: &Bytes) -> Result<(), WireError> {
    match api {
        ApiKey::Produce => messages::read_produce(version, body).map(drop),
        ApiKey::Fetch => fetch::read_fetch(version, body).map(drop),
        ApiKey::ListOffsets => fetch::read_list_offsets(version, body).map(drop),
        ApiKey::Metadata => messages::read_metadata(version, body).map(drop),
        ApiKey::OffsetCommit => group::read_offset_commit(version, body).map(drop),
        ApiKey::OffsetFetch => group::read_offset_fetch(version, body).map(drop),
        ApiKey::FindCoordinator => group::read_find_coordinator(version, body).map(drop),
        ApiKey::JoinGroup => group::read_join_group(version, body).map(|joined| {
            for member in joined.members {
                drop(consumer::read_member(member));
            }
        }),
        ApiKey::Heartbeat | ApiKey::LeaveGroup => group::read_error(api, version, body).map(drop),
        ApiKey::SyncGroup => group::read_sync_group(version, body).map(|(_, _, assignment)| {
            drop(consumer::read_assignment(&assignment));
        }),
        ApiKey::SaslHandshake => messages::read_sasl_handshake(body).map(drop),
        ApiKey::ApiVersions => messages::read_api_versions(version, body).map(drop),
        ApiKey::InitProducerId => messages::read_init_producer_id(version, body).map(drop),
        ApiKey::DescribeGroups => admin::read_describe_groups(version, body).map(drop),
        ApiKey::ListGroups => admin::read_list_groups(version, body).map(drop),
        ApiKey::DescribeConfigs => admin::read_describe_configs(version, body).map(drop),
        ApiKey::ConsumerGroupDescribe => admin::read_consumer_group_describe(version, body).map(drop),
        ApiKey::ConsumerGroupHeartbeat => consumer_group::read_consumer_group_heartbeat(version, body).map(drop),
        ApiKey::SaslAuthenticate => messages::read_sasl_authenticate(version, body).map(drop),
    }
}
