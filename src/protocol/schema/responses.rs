//! The shape of every response body of the 61 apis of Kafka 3.7: the facts of Kafka's message definitions
//! (field order, types, version ranges, nullable versions, tags) as one static table. `f(name, first, last, type)`;
//! `.null(first, last)` says in which versions the field may be null, `.tag(number, first)` that it is a tagged
//! field from that version on. Made once from `clients/src/main/resources/common/message`; a new version is added by hand.

use super::{array_of, f, structs, structure, Schema, BOOL, BYTES, FLOAT64, INT16, INT32, INT64, INT8, MAX, NEVER, RECORDS, STRING, UUID};

/// The shape of the response body of `api_key`.
pub(super) fn schema(api_key: i16) -> Option<&'static Schema> {
    Some(match api_key {
        0 => &PRODUCE,
        1 => &FETCH,
        2 => &LIST_OFFSETS,
        3 => &METADATA,
        4 => &LEADER_AND_ISR,
        5 => &STOP_REPLICA,
        6 => &UPDATE_METADATA,
        7 => &CONTROLLED_SHUTDOWN,
        8 => &OFFSET_COMMIT,
        9 => &OFFSET_FETCH,
        10 => &FIND_COORDINATOR,
        11 => &JOIN_GROUP,
        12 => &HEARTBEAT,
        13 => &LEAVE_GROUP,
        14 => &SYNC_GROUP,
        15 => &DESCRIBE_GROUPS,
        16 => &LIST_GROUPS,
        17 => &SASL_HANDSHAKE,
        18 => &API_VERSIONS,
        19 => &CREATE_TOPICS,
        20 => &DELETE_TOPICS,
        21 => &DELETE_RECORDS,
        22 => &INIT_PRODUCER_ID,
        23 => &OFFSET_FOR_LEADER_EPOCH,
        24 => &ADD_PARTITIONS_TO_TXN,
        25 => &ADD_OFFSETS_TO_TXN,
        26 => &END_TXN,
        27 => &WRITE_TXN_MARKERS,
        28 => &TXN_OFFSET_COMMIT,
        29 => &DESCRIBE_ACLS,
        30 => &CREATE_ACLS,
        31 => &DELETE_ACLS,
        32 => &DESCRIBE_CONFIGS,
        33 => &ALTER_CONFIGS,
        34 => &ALTER_REPLICA_LOG_DIRS,
        35 => &DESCRIBE_LOG_DIRS,
        36 => &SASL_AUTHENTICATE,
        37 => &CREATE_PARTITIONS,
        38 => &CREATE_DELEGATION_TOKEN,
        39 => &RENEW_DELEGATION_TOKEN,
        40 => &EXPIRE_DELEGATION_TOKEN,
        41 => &DESCRIBE_DELEGATION_TOKEN,
        42 => &DELETE_GROUPS,
        43 => &ELECT_LEADERS,
        44 => &INCREMENTAL_ALTER_CONFIGS,
        45 => &ALTER_PARTITION_REASSIGNMENTS,
        46 => &LIST_PARTITION_REASSIGNMENTS,
        47 => &OFFSET_DELETE,
        48 => &DESCRIBE_CLIENT_QUOTAS,
        49 => &ALTER_CLIENT_QUOTAS,
        50 => &DESCRIBE_USER_SCRAM_CREDENTIALS,
        51 => &ALTER_USER_SCRAM_CREDENTIALS,
        56 => &ALTER_PARTITION,
        57 => &UPDATE_FEATURES,
        58 => &ENVELOPE,
        60 => &DESCRIBE_CLUSTER,
        61 => &DESCRIBE_PRODUCERS,
        65 => &DESCRIBE_TRANSACTIONS,
        66 => &LIST_TRANSACTIONS,
        67 => &ALLOCATE_PRODUCER_IDS,
        68 => &CONSUMER_GROUP_HEARTBEAT,
        _ => return None,
    })
}

static PRODUCE: Schema = Schema::new("ProduceResponse", 9, &[
    f("Responses", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("PartitionResponses", 0, MAX, structs(&[
            f("Index", 0, MAX, INT32),
            f("ErrorCode", 0, MAX, INT16),
            f("BaseOffset", 0, MAX, INT64),
            f("LogAppendTimeMs", 2, MAX, INT64),
            f("LogStartOffset", 5, MAX, INT64),
            f("RecordErrors", 8, MAX, structs(&[
                f("BatchIndex", 8, MAX, INT32),
                f("BatchIndexErrorMessage", 8, MAX, STRING).null(8, MAX),
            ])),
            f("ErrorMessage", 8, MAX, STRING).null(8, MAX),
            f("CurrentLeader", 10, MAX, structure(&[
                f("LeaderId", 10, MAX, INT32),
                f("LeaderEpoch", 10, MAX, INT32),
            ])).tag(0, 10),
        ])),
    ])),
    f("ThrottleTimeMs", 1, MAX, INT32),
    f("NodeEndpoints", 10, MAX, structs(&[
        f("NodeId", 10, MAX, INT32),
        f("Host", 10, MAX, STRING),
        f("Port", 10, MAX, INT32),
        f("Rack", 10, MAX, STRING).null(10, MAX),
    ])).tag(0, 10),
]);

static FETCH: Schema = Schema::new("FetchResponse", 12, &[
    f("ThrottleTimeMs", 1, MAX, INT32),
    f("ErrorCode", 7, MAX, INT16),
    f("SessionId", 7, MAX, INT32),
    f("Responses", 0, MAX, structs(&[
        f("Topic", 0, 12, STRING),
        f("TopicId", 13, MAX, UUID),
        f("Partitions", 0, MAX, structs(&[
            f("PartitionIndex", 0, MAX, INT32),
            f("ErrorCode", 0, MAX, INT16),
            f("HighWatermark", 0, MAX, INT64),
            f("LastStableOffset", 4, MAX, INT64),
            f("LogStartOffset", 5, MAX, INT64),
            f("DivergingEpoch", 12, MAX, structure(&[
                f("Epoch", 12, MAX, INT32),
                f("EndOffset", 12, MAX, INT64),
            ])).tag(0, 12),
            f("CurrentLeader", 12, MAX, structure(&[
                f("LeaderId", 12, MAX, INT32),
                f("LeaderEpoch", 12, MAX, INT32),
            ])).tag(1, 12),
            f("SnapshotId", 12, MAX, structure(&[
                f("EndOffset", 0, MAX, INT64),
                f("Epoch", 0, MAX, INT32),
            ])).tag(2, 12),
            f("AbortedTransactions", 4, MAX, structs(&[
                f("ProducerId", 4, MAX, INT64),
                f("FirstOffset", 4, MAX, INT64),
            ])).null(4, MAX),
            f("PreferredReadReplica", 11, MAX, INT32),
            f("Records", 0, MAX, RECORDS).null(0, MAX),
        ])),
    ])),
    f("NodeEndpoints", 16, MAX, structs(&[
        f("NodeId", 16, MAX, INT32),
        f("Host", 16, MAX, STRING),
        f("Port", 16, MAX, INT32),
        f("Rack", 16, MAX, STRING).null(16, MAX),
    ])).tag(0, 16),
]);

static LIST_OFFSETS: Schema = Schema::new("ListOffsetsResponse", 6, &[
    f("ThrottleTimeMs", 2, MAX, INT32),
    f("Topics", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("Partitions", 0, MAX, structs(&[
            f("PartitionIndex", 0, MAX, INT32),
            f("ErrorCode", 0, MAX, INT16),
            f("OldStyleOffsets", 0, 0, array_of(&INT64)),
            f("Timestamp", 1, MAX, INT64),
            f("Offset", 1, MAX, INT64),
            f("LeaderEpoch", 4, MAX, INT32),
        ])),
    ])),
]);

static METADATA: Schema = Schema::new("MetadataResponse", 9, &[
    f("ThrottleTimeMs", 3, MAX, INT32),
    f("Brokers", 0, MAX, structs(&[
        f("NodeId", 0, MAX, INT32),
        f("Host", 0, MAX, STRING),
        f("Port", 0, MAX, INT32),
        f("Rack", 1, MAX, STRING).null(1, MAX),
    ])),
    f("ClusterId", 2, MAX, STRING).null(2, MAX),
    f("ControllerId", 1, MAX, INT32),
    f("Topics", 0, MAX, structs(&[
        f("ErrorCode", 0, MAX, INT16),
        f("Name", 0, MAX, STRING).null(12, MAX),
        f("TopicId", 10, MAX, UUID),
        f("IsInternal", 1, MAX, BOOL),
        f("Partitions", 0, MAX, structs(&[
            f("ErrorCode", 0, MAX, INT16),
            f("PartitionIndex", 0, MAX, INT32),
            f("LeaderId", 0, MAX, INT32),
            f("LeaderEpoch", 7, MAX, INT32),
            f("ReplicaNodes", 0, MAX, array_of(&INT32)),
            f("IsrNodes", 0, MAX, array_of(&INT32)),
            f("OfflineReplicas", 5, MAX, array_of(&INT32)),
        ])),
        f("TopicAuthorizedOperations", 8, MAX, INT32),
    ])),
    f("ClusterAuthorizedOperations", 8, 10, INT32),
]);

static LEADER_AND_ISR: Schema = Schema::new("LeaderAndIsrResponse", 4, &[
    f("ErrorCode", 0, MAX, INT16),
    f("PartitionErrors", 0, 4, structs(&[
        f("TopicName", 0, 4, STRING),
        f("PartitionIndex", 0, MAX, INT32),
        f("ErrorCode", 0, MAX, INT16),
    ])),
    f("Topics", 5, MAX, structs(&[
        f("TopicId", 5, MAX, UUID),
        f("PartitionErrors", 5, MAX, structs(&[
            f("TopicName", 0, 4, STRING),
            f("PartitionIndex", 0, MAX, INT32),
            f("ErrorCode", 0, MAX, INT16),
        ])),
    ])),
]);

static STOP_REPLICA: Schema = Schema::new("StopReplicaResponse", 2, &[
    f("ErrorCode", 0, MAX, INT16),
    f("PartitionErrors", 0, MAX, structs(&[
        f("TopicName", 0, MAX, STRING),
        f("PartitionIndex", 0, MAX, INT32),
        f("ErrorCode", 0, MAX, INT16),
    ])),
]);

static UPDATE_METADATA: Schema = Schema::new("UpdateMetadataResponse", 6, &[
    f("ErrorCode", 0, MAX, INT16),
]);

static CONTROLLED_SHUTDOWN: Schema = Schema::new("ControlledShutdownResponse", 3, &[
    f("ErrorCode", 0, MAX, INT16),
    f("RemainingPartitions", 0, MAX, structs(&[
        f("TopicName", 0, MAX, STRING),
        f("PartitionIndex", 0, MAX, INT32),
    ])),
]);

static OFFSET_COMMIT: Schema = Schema::new("OffsetCommitResponse", 8, &[
    f("ThrottleTimeMs", 3, MAX, INT32),
    f("Topics", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("Partitions", 0, MAX, structs(&[
            f("PartitionIndex", 0, MAX, INT32),
            f("ErrorCode", 0, MAX, INT16),
        ])),
    ])),
]);

static OFFSET_FETCH: Schema = Schema::new("OffsetFetchResponse", 6, &[
    f("ThrottleTimeMs", 3, MAX, INT32),
    f("Topics", 0, 7, structs(&[
        f("Name", 0, 7, STRING),
        f("Partitions", 0, 7, structs(&[
            f("PartitionIndex", 0, 7, INT32),
            f("CommittedOffset", 0, 7, INT64),
            f("CommittedLeaderEpoch", 5, 7, INT32),
            f("Metadata", 0, 7, STRING).null(0, 7),
            f("ErrorCode", 0, 7, INT16),
        ])),
    ])),
    f("ErrorCode", 2, 7, INT16),
    f("Groups", 8, MAX, structs(&[
        f("GroupId", 8, MAX, STRING),
        f("Topics", 8, MAX, structs(&[
            f("Name", 8, MAX, STRING),
            f("Partitions", 8, MAX, structs(&[
                f("PartitionIndex", 8, MAX, INT32),
                f("CommittedOffset", 8, MAX, INT64),
                f("CommittedLeaderEpoch", 8, MAX, INT32),
                f("Metadata", 8, MAX, STRING).null(8, MAX),
                f("ErrorCode", 8, MAX, INT16),
            ])),
        ])),
        f("ErrorCode", 8, MAX, INT16),
    ])),
]);

static FIND_COORDINATOR: Schema = Schema::new("FindCoordinatorResponse", 3, &[
    f("ThrottleTimeMs", 1, MAX, INT32),
    f("ErrorCode", 0, 3, INT16),
    f("ErrorMessage", 1, 3, STRING).null(1, 3),
    f("NodeId", 0, 3, INT32),
    f("Host", 0, 3, STRING),
    f("Port", 0, 3, INT32),
    f("Coordinators", 4, MAX, structs(&[
        f("Key", 4, MAX, STRING),
        f("NodeId", 4, MAX, INT32),
        f("Host", 4, MAX, STRING),
        f("Port", 4, MAX, INT32),
        f("ErrorCode", 4, MAX, INT16),
        f("ErrorMessage", 4, MAX, STRING).null(4, MAX),
    ])),
]);

static JOIN_GROUP: Schema = Schema::new("JoinGroupResponse", 6, &[
    f("ThrottleTimeMs", 2, MAX, INT32),
    f("ErrorCode", 0, MAX, INT16),
    f("GenerationId", 0, MAX, INT32),
    f("ProtocolType", 7, MAX, STRING).null(7, MAX),
    f("ProtocolName", 0, MAX, STRING).null(7, MAX),
    f("Leader", 0, MAX, STRING),
    f("SkipAssignment", 9, MAX, BOOL),
    f("MemberId", 0, MAX, STRING),
    f("Members", 0, MAX, structs(&[
        f("MemberId", 0, MAX, STRING),
        f("GroupInstanceId", 5, MAX, STRING).null(5, MAX),
        f("Metadata", 0, MAX, BYTES),
    ])),
]);

static HEARTBEAT: Schema = Schema::new("HeartbeatResponse", 4, &[
    f("ThrottleTimeMs", 1, MAX, INT32),
    f("ErrorCode", 0, MAX, INT16),
]);

static LEAVE_GROUP: Schema = Schema::new("LeaveGroupResponse", 4, &[
    f("ThrottleTimeMs", 1, MAX, INT32),
    f("ErrorCode", 0, MAX, INT16),
    f("Members", 3, MAX, structs(&[
        f("MemberId", 3, MAX, STRING),
        f("GroupInstanceId", 3, MAX, STRING).null(3, MAX),
        f("ErrorCode", 3, MAX, INT16),
    ])),
]);

static SYNC_GROUP: Schema = Schema::new("SyncGroupResponse", 4, &[
    f("ThrottleTimeMs", 1, MAX, INT32),
    f("ErrorCode", 0, MAX, INT16),
    f("ProtocolType", 5, MAX, STRING).null(5, MAX),
    f("ProtocolName", 5, MAX, STRING).null(5, MAX),
    f("Assignment", 0, MAX, BYTES),
]);

static DESCRIBE_GROUPS: Schema = Schema::new("DescribeGroupsResponse", 5, &[
    f("ThrottleTimeMs", 1, MAX, INT32),
    f("Groups", 0, MAX, structs(&[
        f("ErrorCode", 0, MAX, INT16),
        f("GroupId", 0, MAX, STRING),
        f("GroupState", 0, MAX, STRING),
        f("ProtocolType", 0, MAX, STRING),
        f("ProtocolData", 0, MAX, STRING),
        f("Members", 0, MAX, structs(&[
            f("MemberId", 0, MAX, STRING),
            f("GroupInstanceId", 4, MAX, STRING).null(4, MAX),
            f("ClientId", 0, MAX, STRING),
            f("ClientHost", 0, MAX, STRING),
            f("MemberMetadata", 0, MAX, BYTES),
            f("MemberAssignment", 0, MAX, BYTES),
        ])),
        f("AuthorizedOperations", 3, MAX, INT32),
    ])),
]);

static LIST_GROUPS: Schema = Schema::new("ListGroupsResponse", 3, &[
    f("ThrottleTimeMs", 1, MAX, INT32),
    f("ErrorCode", 0, MAX, INT16),
    f("Groups", 0, MAX, structs(&[
        f("GroupId", 0, MAX, STRING),
        f("ProtocolType", 0, MAX, STRING),
        f("GroupState", 4, MAX, STRING),
    ])),
]);

static SASL_HANDSHAKE: Schema = Schema::new("SaslHandshakeResponse", NEVER, &[
    f("ErrorCode", 0, MAX, INT16),
    f("Mechanisms", 0, MAX, array_of(&STRING)),
]);

static API_VERSIONS: Schema = Schema::new("ApiVersionsResponse", 3, &[
    f("ErrorCode", 0, MAX, INT16),
    f("ApiKeys", 0, MAX, structs(&[
        f("ApiKey", 0, MAX, INT16),
        f("MinVersion", 0, MAX, INT16),
        f("MaxVersion", 0, MAX, INT16),
    ])),
    f("ThrottleTimeMs", 1, MAX, INT32),
    f("SupportedFeatures", 3, MAX, structs(&[
        f("Name", 3, MAX, STRING),
        f("MinVersion", 3, MAX, INT16),
        f("MaxVersion", 3, MAX, INT16),
    ])).tag(0, 3),
    f("FinalizedFeaturesEpoch", 3, MAX, INT64).tag(1, 3),
    f("FinalizedFeatures", 3, MAX, structs(&[
        f("Name", 3, MAX, STRING),
        f("MaxVersionLevel", 3, MAX, INT16),
        f("MinVersionLevel", 3, MAX, INT16),
    ])).tag(2, 3),
    f("ZkMigrationReady", 3, MAX, BOOL).tag(3, 3),
]);

static CREATE_TOPICS: Schema = Schema::new("CreateTopicsResponse", 5, &[
    f("ThrottleTimeMs", 2, MAX, INT32),
    f("Topics", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("TopicId", 7, MAX, UUID),
        f("ErrorCode", 0, MAX, INT16),
        f("ErrorMessage", 1, MAX, STRING).null(0, MAX),
        f("TopicConfigErrorCode", 5, MAX, INT16).tag(0, 5),
        f("NumPartitions", 5, MAX, INT32),
        f("ReplicationFactor", 5, MAX, INT16),
        f("Configs", 5, MAX, structs(&[
            f("Name", 5, MAX, STRING),
            f("Value", 5, MAX, STRING).null(5, MAX),
            f("ReadOnly", 5, MAX, BOOL),
            f("ConfigSource", 5, MAX, INT8),
            f("IsSensitive", 5, MAX, BOOL),
        ])).null(5, MAX),
    ])),
]);

static DELETE_TOPICS: Schema = Schema::new("DeleteTopicsResponse", 4, &[
    f("ThrottleTimeMs", 1, MAX, INT32),
    f("Responses", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING).null(6, MAX),
        f("TopicId", 6, MAX, UUID),
        f("ErrorCode", 0, MAX, INT16),
        f("ErrorMessage", 5, MAX, STRING).null(5, MAX),
    ])),
]);

static DELETE_RECORDS: Schema = Schema::new("DeleteRecordsResponse", 2, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("Topics", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("Partitions", 0, MAX, structs(&[
            f("PartitionIndex", 0, MAX, INT32),
            f("LowWatermark", 0, MAX, INT64),
            f("ErrorCode", 0, MAX, INT16),
        ])),
    ])),
]);

static INIT_PRODUCER_ID: Schema = Schema::new("InitProducerIdResponse", 2, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("ErrorCode", 0, MAX, INT16),
    f("ProducerId", 0, MAX, INT64),
    f("ProducerEpoch", 0, MAX, INT16),
]);

static OFFSET_FOR_LEADER_EPOCH: Schema = Schema::new("OffsetForLeaderEpochResponse", 4, &[
    f("ThrottleTimeMs", 2, MAX, INT32),
    f("Topics", 0, MAX, structs(&[
        f("Topic", 0, MAX, STRING),
        f("Partitions", 0, MAX, structs(&[
            f("ErrorCode", 0, MAX, INT16),
            f("Partition", 0, MAX, INT32),
            f("LeaderEpoch", 1, MAX, INT32),
            f("EndOffset", 0, MAX, INT64),
        ])),
    ])),
]);

static ADD_PARTITIONS_TO_TXN: Schema = Schema::new("AddPartitionsToTxnResponse", 3, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("ErrorCode", 4, MAX, INT16),
    f("ResultsByTransaction", 4, MAX, structs(&[
        f("TransactionalId", 4, MAX, STRING),
        f("TopicResults", 4, MAX, structs(&[
            f("Name", 0, MAX, STRING),
            f("ResultsByPartition", 0, MAX, structs(&[
                f("PartitionIndex", 0, MAX, INT32),
                f("PartitionErrorCode", 0, MAX, INT16),
            ])),
        ])),
    ])),
    f("ResultsByTopicV3AndBelow", 0, 3, structs(&[
        f("Name", 0, MAX, STRING),
        f("ResultsByPartition", 0, MAX, structs(&[
            f("PartitionIndex", 0, MAX, INT32),
            f("PartitionErrorCode", 0, MAX, INT16),
        ])),
    ])),
]);

static ADD_OFFSETS_TO_TXN: Schema = Schema::new("AddOffsetsToTxnResponse", 3, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("ErrorCode", 0, MAX, INT16),
]);

static END_TXN: Schema = Schema::new("EndTxnResponse", 3, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("ErrorCode", 0, MAX, INT16),
]);

static WRITE_TXN_MARKERS: Schema = Schema::new("WriteTxnMarkersResponse", 1, &[
    f("Markers", 0, MAX, structs(&[
        f("ProducerId", 0, MAX, INT64),
        f("Topics", 0, MAX, structs(&[
            f("Name", 0, MAX, STRING),
            f("Partitions", 0, MAX, structs(&[
                f("PartitionIndex", 0, MAX, INT32),
                f("ErrorCode", 0, MAX, INT16),
            ])),
        ])),
    ])),
]);

static TXN_OFFSET_COMMIT: Schema = Schema::new("TxnOffsetCommitResponse", 3, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("Topics", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("Partitions", 0, MAX, structs(&[
            f("PartitionIndex", 0, MAX, INT32),
            f("ErrorCode", 0, MAX, INT16),
        ])),
    ])),
]);

static DESCRIBE_ACLS: Schema = Schema::new("DescribeAclsResponse", 2, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("ErrorCode", 0, MAX, INT16),
    f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
    f("Resources", 0, MAX, structs(&[
        f("ResourceType", 0, MAX, INT8),
        f("ResourceName", 0, MAX, STRING),
        f("PatternType", 1, MAX, INT8),
        f("Acls", 0, MAX, structs(&[
            f("Principal", 0, MAX, STRING),
            f("Host", 0, MAX, STRING),
            f("Operation", 0, MAX, INT8),
            f("PermissionType", 0, MAX, INT8),
        ])),
    ])),
]);

static CREATE_ACLS: Schema = Schema::new("CreateAclsResponse", 2, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("Results", 0, MAX, structs(&[
        f("ErrorCode", 0, MAX, INT16),
        f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
    ])),
]);

static DELETE_ACLS: Schema = Schema::new("DeleteAclsResponse", 2, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("FilterResults", 0, MAX, structs(&[
        f("ErrorCode", 0, MAX, INT16),
        f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
        f("MatchingAcls", 0, MAX, structs(&[
            f("ErrorCode", 0, MAX, INT16),
            f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
            f("ResourceType", 0, MAX, INT8),
            f("ResourceName", 0, MAX, STRING),
            f("PatternType", 1, MAX, INT8),
            f("Principal", 0, MAX, STRING),
            f("Host", 0, MAX, STRING),
            f("Operation", 0, MAX, INT8),
            f("PermissionType", 0, MAX, INT8),
        ])),
    ])),
]);

static DESCRIBE_CONFIGS: Schema = Schema::new("DescribeConfigsResponse", 4, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("Results", 0, MAX, structs(&[
        f("ErrorCode", 0, MAX, INT16),
        f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
        f("ResourceType", 0, MAX, INT8),
        f("ResourceName", 0, MAX, STRING),
        f("Configs", 0, MAX, structs(&[
            f("Name", 0, MAX, STRING),
            f("Value", 0, MAX, STRING).null(0, MAX),
            f("ReadOnly", 0, MAX, BOOL),
            f("IsDefault", 0, 0, BOOL),
            f("ConfigSource", 1, MAX, INT8),
            f("IsSensitive", 0, MAX, BOOL),
            f("Synonyms", 1, MAX, structs(&[
                f("Name", 1, MAX, STRING),
                f("Value", 1, MAX, STRING).null(0, MAX),
                f("Source", 1, MAX, INT8),
            ])),
            f("ConfigType", 3, MAX, INT8),
            f("Documentation", 3, MAX, STRING).null(0, MAX),
        ])),
    ])),
]);

static ALTER_CONFIGS: Schema = Schema::new("AlterConfigsResponse", 2, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("Responses", 0, MAX, structs(&[
        f("ErrorCode", 0, MAX, INT16),
        f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
        f("ResourceType", 0, MAX, INT8),
        f("ResourceName", 0, MAX, STRING),
    ])),
]);

static ALTER_REPLICA_LOG_DIRS: Schema = Schema::new("AlterReplicaLogDirsResponse", 2, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("Results", 0, MAX, structs(&[
        f("TopicName", 0, MAX, STRING),
        f("Partitions", 0, MAX, structs(&[
            f("PartitionIndex", 0, MAX, INT32),
            f("ErrorCode", 0, MAX, INT16),
        ])),
    ])),
]);

static DESCRIBE_LOG_DIRS: Schema = Schema::new("DescribeLogDirsResponse", 2, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("ErrorCode", 3, MAX, INT16),
    f("Results", 0, MAX, structs(&[
        f("ErrorCode", 0, MAX, INT16),
        f("LogDir", 0, MAX, STRING),
        f("Topics", 0, MAX, structs(&[
            f("Name", 0, MAX, STRING),
            f("Partitions", 0, MAX, structs(&[
                f("PartitionIndex", 0, MAX, INT32),
                f("PartitionSize", 0, MAX, INT64),
                f("OffsetLag", 0, MAX, INT64),
                f("IsFutureKey", 0, MAX, BOOL),
            ])),
        ])),
        f("TotalBytes", 4, MAX, INT64),
        f("UsableBytes", 4, MAX, INT64),
    ])),
]);

static SASL_AUTHENTICATE: Schema = Schema::new("SaslAuthenticateResponse", 2, &[
    f("ErrorCode", 0, MAX, INT16),
    f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
    f("AuthBytes", 0, MAX, BYTES),
    f("SessionLifetimeMs", 1, MAX, INT64),
]);

static CREATE_PARTITIONS: Schema = Schema::new("CreatePartitionsResponse", 2, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("Results", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("ErrorCode", 0, MAX, INT16),
        f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
    ])),
]);

static CREATE_DELEGATION_TOKEN: Schema = Schema::new("CreateDelegationTokenResponse", 2, &[
    f("ErrorCode", 0, MAX, INT16),
    f("PrincipalType", 0, MAX, STRING),
    f("PrincipalName", 0, MAX, STRING),
    f("TokenRequesterPrincipalType", 3, MAX, STRING),
    f("TokenRequesterPrincipalName", 3, MAX, STRING),
    f("IssueTimestampMs", 0, MAX, INT64),
    f("ExpiryTimestampMs", 0, MAX, INT64),
    f("MaxTimestampMs", 0, MAX, INT64),
    f("TokenId", 0, MAX, STRING),
    f("Hmac", 0, MAX, BYTES),
    f("ThrottleTimeMs", 0, MAX, INT32),
]);

static RENEW_DELEGATION_TOKEN: Schema = Schema::new("RenewDelegationTokenResponse", 2, &[
    f("ErrorCode", 0, MAX, INT16),
    f("ExpiryTimestampMs", 0, MAX, INT64),
    f("ThrottleTimeMs", 0, MAX, INT32),
]);

static EXPIRE_DELEGATION_TOKEN: Schema = Schema::new("ExpireDelegationTokenResponse", 2, &[
    f("ErrorCode", 0, MAX, INT16),
    f("ExpiryTimestampMs", 0, MAX, INT64),
    f("ThrottleTimeMs", 0, MAX, INT32),
]);

static DESCRIBE_DELEGATION_TOKEN: Schema = Schema::new("DescribeDelegationTokenResponse", 2, &[
    f("ErrorCode", 0, MAX, INT16),
    f("Tokens", 0, MAX, structs(&[
        f("PrincipalType", 0, MAX, STRING),
        f("PrincipalName", 0, MAX, STRING),
        f("TokenRequesterPrincipalType", 3, MAX, STRING),
        f("TokenRequesterPrincipalName", 3, MAX, STRING),
        f("IssueTimestamp", 0, MAX, INT64),
        f("ExpiryTimestamp", 0, MAX, INT64),
        f("MaxTimestamp", 0, MAX, INT64),
        f("TokenId", 0, MAX, STRING),
        f("Hmac", 0, MAX, BYTES),
        f("Renewers", 0, MAX, structs(&[
            f("PrincipalType", 0, MAX, STRING),
            f("PrincipalName", 0, MAX, STRING),
        ])),
    ])),
    f("ThrottleTimeMs", 0, MAX, INT32),
]);

static DELETE_GROUPS: Schema = Schema::new("DeleteGroupsResponse", 2, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("Results", 0, MAX, structs(&[
        f("GroupId", 0, MAX, STRING),
        f("ErrorCode", 0, MAX, INT16),
    ])),
]);

static ELECT_LEADERS: Schema = Schema::new("ElectLeadersResponse", 2, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("ErrorCode", 1, MAX, INT16),
    f("ReplicaElectionResults", 0, MAX, structs(&[
        f("Topic", 0, MAX, STRING),
        f("PartitionResult", 0, MAX, structs(&[
            f("PartitionId", 0, MAX, INT32),
            f("ErrorCode", 0, MAX, INT16),
            f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
        ])),
    ])),
]);

static INCREMENTAL_ALTER_CONFIGS: Schema = Schema::new("IncrementalAlterConfigsResponse", 1, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("Responses", 0, MAX, structs(&[
        f("ErrorCode", 0, MAX, INT16),
        f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
        f("ResourceType", 0, MAX, INT8),
        f("ResourceName", 0, MAX, STRING),
    ])),
]);

static ALTER_PARTITION_REASSIGNMENTS: Schema = Schema::new("AlterPartitionReassignmentsResponse", 0, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("ErrorCode", 0, MAX, INT16),
    f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
    f("Responses", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("Partitions", 0, MAX, structs(&[
            f("PartitionIndex", 0, MAX, INT32),
            f("ErrorCode", 0, MAX, INT16),
            f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
        ])),
    ])),
]);

static LIST_PARTITION_REASSIGNMENTS: Schema = Schema::new("ListPartitionReassignmentsResponse", 0, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("ErrorCode", 0, MAX, INT16),
    f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
    f("Topics", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("Partitions", 0, MAX, structs(&[
            f("PartitionIndex", 0, MAX, INT32),
            f("Replicas", 0, MAX, array_of(&INT32)),
            f("AddingReplicas", 0, MAX, array_of(&INT32)),
            f("RemovingReplicas", 0, MAX, array_of(&INT32)),
        ])),
    ])),
]);

static OFFSET_DELETE: Schema = Schema::new("OffsetDeleteResponse", NEVER, &[
    f("ErrorCode", 0, MAX, INT16),
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("Topics", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("Partitions", 0, MAX, structs(&[
            f("PartitionIndex", 0, MAX, INT32),
            f("ErrorCode", 0, MAX, INT16),
        ])),
    ])),
]);

static DESCRIBE_CLIENT_QUOTAS: Schema = Schema::new("DescribeClientQuotasResponse", 1, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("ErrorCode", 0, MAX, INT16),
    f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
    f("Entries", 0, MAX, structs(&[
        f("Entity", 0, MAX, structs(&[
            f("EntityType", 0, MAX, STRING),
            f("EntityName", 0, MAX, STRING).null(0, MAX),
        ])),
        f("Values", 0, MAX, structs(&[
            f("Key", 0, MAX, STRING),
            f("Value", 0, MAX, FLOAT64),
        ])),
    ])).null(0, MAX),
]);

static ALTER_CLIENT_QUOTAS: Schema = Schema::new("AlterClientQuotasResponse", 1, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("Entries", 0, MAX, structs(&[
        f("ErrorCode", 0, MAX, INT16),
        f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
        f("Entity", 0, MAX, structs(&[
            f("EntityType", 0, MAX, STRING),
            f("EntityName", 0, MAX, STRING).null(0, MAX),
        ])),
    ])),
]);

static DESCRIBE_USER_SCRAM_CREDENTIALS: Schema = Schema::new("DescribeUserScramCredentialsResponse", 0, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("ErrorCode", 0, MAX, INT16),
    f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
    f("Results", 0, MAX, structs(&[
        f("User", 0, MAX, STRING),
        f("ErrorCode", 0, MAX, INT16),
        f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
        f("CredentialInfos", 0, MAX, structs(&[
            f("Mechanism", 0, MAX, INT8),
            f("Iterations", 0, MAX, INT32),
        ])),
    ])),
]);

static ALTER_USER_SCRAM_CREDENTIALS: Schema = Schema::new("AlterUserScramCredentialsResponse", 0, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("Results", 0, MAX, structs(&[
        f("User", 0, MAX, STRING),
        f("ErrorCode", 0, MAX, INT16),
        f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
    ])),
]);

static ALTER_PARTITION: Schema = Schema::new("AlterPartitionResponse", 0, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("ErrorCode", 0, MAX, INT16),
    f("Topics", 0, MAX, structs(&[
        f("TopicName", 0, 1, STRING),
        f("TopicId", 2, MAX, UUID),
        f("Partitions", 0, MAX, structs(&[
            f("PartitionIndex", 0, MAX, INT32),
            f("ErrorCode", 0, MAX, INT16),
            f("LeaderId", 0, MAX, INT32),
            f("LeaderEpoch", 0, MAX, INT32),
            f("Isr", 0, MAX, array_of(&INT32)),
            f("LeaderRecoveryState", 1, MAX, INT8),
            f("PartitionEpoch", 0, MAX, INT32),
        ])),
    ])),
]);

static UPDATE_FEATURES: Schema = Schema::new("UpdateFeaturesResponse", 0, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("ErrorCode", 0, MAX, INT16),
    f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
    f("Results", 0, MAX, structs(&[
        f("Feature", 0, MAX, STRING),
        f("ErrorCode", 0, MAX, INT16),
        f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
    ])),
]);

static ENVELOPE: Schema = Schema::new("EnvelopeResponse", 0, &[
    f("ResponseData", 0, MAX, BYTES).null(0, MAX),
    f("ErrorCode", 0, MAX, INT16),
]);

static DESCRIBE_CLUSTER: Schema = Schema::new("DescribeClusterResponse", 0, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("ErrorCode", 0, MAX, INT16),
    f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
    f("EndpointType", 1, MAX, INT8),
    f("ClusterId", 0, MAX, STRING),
    f("ControllerId", 0, MAX, INT32),
    f("Brokers", 0, MAX, structs(&[
        f("BrokerId", 0, MAX, INT32),
        f("Host", 0, MAX, STRING),
        f("Port", 0, MAX, INT32),
        f("Rack", 0, MAX, STRING).null(0, MAX),
    ])),
    f("ClusterAuthorizedOperations", 0, MAX, INT32),
]);

static DESCRIBE_PRODUCERS: Schema = Schema::new("DescribeProducersResponse", 0, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("Topics", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("Partitions", 0, MAX, structs(&[
            f("PartitionIndex", 0, MAX, INT32),
            f("ErrorCode", 0, MAX, INT16),
            f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
            f("ActiveProducers", 0, MAX, structs(&[
                f("ProducerId", 0, MAX, INT64),
                f("ProducerEpoch", 0, MAX, INT32),
                f("LastSequence", 0, MAX, INT32),
                f("LastTimestamp", 0, MAX, INT64),
                f("CoordinatorEpoch", 0, MAX, INT32),
                f("CurrentTxnStartOffset", 0, MAX, INT64),
            ])),
        ])),
    ])),
]);

static DESCRIBE_TRANSACTIONS: Schema = Schema::new("DescribeTransactionsResponse", 0, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("TransactionStates", 0, MAX, structs(&[
        f("ErrorCode", 0, MAX, INT16),
        f("TransactionalId", 0, MAX, STRING),
        f("TransactionState", 0, MAX, STRING),
        f("TransactionTimeoutMs", 0, MAX, INT32),
        f("TransactionStartTimeMs", 0, MAX, INT64),
        f("ProducerId", 0, MAX, INT64),
        f("ProducerEpoch", 0, MAX, INT16),
        f("Topics", 0, MAX, structs(&[
            f("Topic", 0, MAX, STRING),
            f("Partitions", 0, MAX, array_of(&INT32)),
        ])),
    ])),
]);

static LIST_TRANSACTIONS: Schema = Schema::new("ListTransactionsResponse", 0, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("ErrorCode", 0, MAX, INT16),
    f("UnknownStateFilters", 0, MAX, array_of(&STRING)),
    f("TransactionStates", 0, MAX, structs(&[
        f("TransactionalId", 0, MAX, STRING),
        f("ProducerId", 0, MAX, INT64),
        f("TransactionState", 0, MAX, STRING),
    ])),
]);

static ALLOCATE_PRODUCER_IDS: Schema = Schema::new("AllocateProducerIdsResponse", 0, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("ErrorCode", 0, MAX, INT16),
    f("ProducerIdStart", 0, MAX, INT64),
    f("ProducerIdLen", 0, MAX, INT32),
]);

static CONSUMER_GROUP_HEARTBEAT: Schema = Schema::new("ConsumerGroupHeartbeatResponse", 0, &[
    f("ThrottleTimeMs", 0, MAX, INT32),
    f("ErrorCode", 0, MAX, INT16),
    f("ErrorMessage", 0, MAX, STRING).null(0, MAX),
    f("MemberId", 0, MAX, STRING).null(0, MAX),
    f("MemberEpoch", 0, MAX, INT32),
    f("HeartbeatIntervalMs", 0, MAX, INT32),
    f("Assignment", 0, MAX, structure(&[
        f("TopicPartitions", 0, MAX, structs(&[
            f("TopicId", 0, MAX, UUID),
            f("Partitions", 0, MAX, array_of(&INT32)),
        ])),
    ])).null(0, MAX),
]);
