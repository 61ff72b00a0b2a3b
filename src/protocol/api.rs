//! The api table of a Kafka 3.7 broker in ZooKeeper mode: 61 apis, their versions, and from which version on each is
//! flexible (compact lengths, tagged fields). A constant; it answers to ApiKeys and ApiVersionManager. What this broker
//! advertises is [`ADVERTISED`], which grows to the whole table as handlers are added.

pub use super::messages::ApiKey;

/// One api of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiVersion {
    /// The number in request headers.
    pub key: i16,
    /// Kafka's name, such as `Fetch`.
    pub name: &'static str,
    /// Lowest version served.
    pub min: i16,
    /// Highest version served.
    pub max: i16,
    /// First flexible version; none if no version is.
    pub flexible_from: Option<i16>,
}

impl ApiVersion {
    /// Whether `version` of this api has compact lengths and tagged fields. Defined for any version, as Kafka parses
    /// headers before it looks at the range.
    pub fn is_flexible(&self, version: i16) -> bool {
        self.flexible_from.is_some_and(|first| version >= first)
    }

    /// The name as Kafka's ApiKeys constants have it, such as `LIST_OFFSETS`.
    pub fn constant_name(&self) -> String {
        let mut out = String::with_capacity(self.name.len() + 4);
        for letter in self.name.chars() {
            if letter.is_ascii_uppercase() && !out.is_empty() {
                out.push('_');
            }
            out.push(letter.to_ascii_uppercase());
        }
        out
    }

    /// Whether `version` is in the served range.
    pub fn serves(&self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

const NEVER: i16 = -1;

const fn row(key: i16, name: &'static str, min: i16, max: i16, flexible_from: i16) -> ApiVersion {
    let flexible_from = if flexible_from == NEVER { None } else { Some(flexible_from) };
    ApiVersion { key, name, min, max, flexible_from }
}

/// Ascending by key, as ApiVersions responses list it.
static TABLE: [ApiVersion; 61] = [
    row(0, "Produce", 0, 10, 9),
    row(1, "Fetch", 0, 16, 12),
    row(2, "ListOffsets", 0, 8, 6),
    row(3, "Metadata", 0, 12, 9),
    row(4, "LeaderAndIsr", 0, 7, 4),
    row(5, "StopReplica", 0, 4, 2),
    row(6, "UpdateMetadata", 0, 8, 6),
    row(7, "ControlledShutdown", 0, 3, 3),
    row(8, "OffsetCommit", 0, 9, 8),
    row(9, "OffsetFetch", 0, 9, 6),
    row(10, "FindCoordinator", 0, 4, 3),
    row(11, "JoinGroup", 0, 9, 6),
    row(12, "Heartbeat", 0, 4, 4),
    row(13, "LeaveGroup", 0, 5, 4),
    row(14, "SyncGroup", 0, 5, 4),
    row(15, "DescribeGroups", 0, 5, 5),
    row(16, "ListGroups", 0, 4, 3),
    row(17, "SaslHandshake", 0, 1, NEVER),
    row(18, "ApiVersions", 0, 3, 3),
    row(19, "CreateTopics", 0, 7, 5),
    row(20, "DeleteTopics", 0, 6, 4),
    row(21, "DeleteRecords", 0, 2, 2),
    row(22, "InitProducerId", 0, 4, 2),
    row(23, "OffsetForLeaderEpoch", 0, 4, 4),
    row(24, "AddPartitionsToTxn", 0, 4, 3),
    row(25, "AddOffsetsToTxn", 0, 3, 3),
    row(26, "EndTxn", 0, 3, 3),
    row(27, "WriteTxnMarkers", 0, 1, 1),
    row(28, "TxnOffsetCommit", 0, 3, 3),
    row(29, "DescribeAcls", 0, 3, 2),
    row(30, "CreateAcls", 0, 3, 2),
    row(31, "DeleteAcls", 0, 3, 2),
    row(32, "DescribeConfigs", 0, 4, 4),
    row(33, "AlterConfigs", 0, 2, 2),
    row(34, "AlterReplicaLogDirs", 0, 2, 2),
    row(35, "DescribeLogDirs", 0, 4, 2),
    row(36, "SaslAuthenticate", 0, 2, 2),
    row(37, "CreatePartitions", 0, 3, 2),
    row(38, "CreateDelegationToken", 0, 3, 2),
    row(39, "RenewDelegationToken", 0, 2, 2),
    row(40, "ExpireDelegationToken", 0, 2, 2),
    row(41, "DescribeDelegationToken", 0, 3, 2),
    row(42, "DeleteGroups", 0, 2, 2),
    row(43, "ElectLeaders", 0, 2, 2),
    row(44, "IncrementalAlterConfigs", 0, 1, 1),
    row(45, "AlterPartitionReassignments", 0, 0, 0),
    row(46, "ListPartitionReassignments", 0, 0, 0),
    row(47, "OffsetDelete", 0, 0, NEVER),
    row(48, "DescribeClientQuotas", 0, 1, 1),
    row(49, "AlterClientQuotas", 0, 1, 1),
    row(50, "DescribeUserScramCredentials", 0, 0, 0),
    row(51, "AlterUserScramCredentials", 0, 0, 0),
    row(56, "AlterPartition", 0, 3, 0),
    row(57, "UpdateFeatures", 0, 1, 0),
    row(58, "Envelope", 0, 0, 0),
    row(60, "DescribeCluster", 0, 1, 0),
    row(61, "DescribeProducers", 0, 0, 0),
    row(65, "DescribeTransactions", 0, 0, 0),
    row(66, "ListTransactions", 0, 0, 0),
    row(67, "AllocateProducerIds", 0, 0, 0),
    row(68, "ConsumerGroupHeartbeat", 0, 0, 0),
];

/// The apis this broker answers now.
pub const ADVERTISED: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::LeaderAndIsr,
    ApiKey::StopReplica,
    ApiKey::UpdateMetadata,
    ApiKey::ControlledShutdown,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::DescribeLogDirs,
    ApiKey::CreatePartitions,
    ApiKey::ElectLeaders,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::AlterPartitionReassignments,
    ApiKey::ListPartitionReassignments,
    ApiKey::AlterPartition,
    ApiKey::DescribeCluster,
    ApiKey::AllocateProducerIds,
];

/// All 61 apis, ascending by key.
pub fn table() -> &'static [ApiVersion] {
    &TABLE
}

/// The row of `key`, whatever the version.
pub fn find(key: i16) -> Option<&'static ApiVersion> {
    TABLE.binary_search_by_key(&key, |row| row.key).ok().and_then(|at| TABLE.get(at))
}

/// The row of `key` if Kafka 3.7 serves `version` of it.
pub fn lookup(key: i16, version: i16) -> Option<&'static ApiVersion> {
    find(key).filter(|row| row.serves(version))
}

/// The rows an ApiVersions response lists, ascending by key.
pub fn advertised() -> impl Iterator<Item = &'static ApiVersion> {
    ADVERTISED.iter().filter_map(|key| find(*key as i16))
}

/// Whether this broker answers `key` at `version`. A request for anything else closes the connection,
/// but for [`is_unsupported_api_versions`].
pub fn is_advertised(key: i16, version: i16) -> bool {
    ADVERTISED.iter().any(|advertised| *advertised as i16 == key) && lookup(key, version).is_some()
}

/// An ApiVersions request of a version above ours: its body cannot be read, and it is answered in version 0 with
/// UNSUPPORTED_VERSION and the row of ApiVersions alone.
pub fn is_unsupported_api_versions(key: i16, version: i16) -> bool {
    key == ApiKey::ApiVersions as i16 && lookup(key, version).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_one_a_kafka_broker_sent() {
        let recorded = include_str!("../../tests/golden/api-versions.tsv");
        let ours: Vec<String> =
            TABLE.iter().map(|row| format!("{}\t{}\t{}\t{}", row.key, row.name, row.min, row.max)).collect();
        assert_eq!(recorded.lines().skip(1).collect::<Vec<_>>(), ours);
    }

    #[test]
    fn lookup_knows_keys_and_versions() {
        assert_eq!(lookup(3, 12).unwrap().name, "Metadata");
        assert!(
            lookup(3, 13).is_none() && lookup(3, -1).is_none() && lookup(52, 0).is_none() && lookup(-1, 0).is_none()
        );
        assert!(find(17).unwrap().flexible_from.is_none() && !find(17).unwrap().is_flexible(1));
        assert_eq!(find(23).unwrap().constant_name(), "OFFSET_FOR_LEADER_EPOCH");
        assert!(is_unsupported_api_versions(18, 4) && !is_unsupported_api_versions(18, 3));
    }

    #[test]
    fn what_is_advertised_is_ascending_and_in_the_table() {
        let keys: Vec<i16> = advertised().map(|row| row.key).collect();
        assert_eq!(keys.len(), ADVERTISED.len());
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(is_advertised(0, 10) && !is_advertised(0, 11) && !is_advertised(24, 0));
    }
}
