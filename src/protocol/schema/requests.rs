//! The shape of every request body of the 61 apis of Kafka 3.7: the facts of Kafka's message definitions
//! (field order, types, version ranges, nullable versions, tags) as one static table. `f(name, first, last, type)`;
//! `.null(first, last)` says in which versions the field may be null, `.tag(number, first)` that it is a tagged
//! field from that version on. Made once from `clients/src/main/resources/common/message`; a new version is added by hand.

use super::{array_of, f, structs, structure, Schema, BOOL, BYTES, FLOAT64, INT16, INT32, INT64, INT8, MAX, NEVER, RECORDS, STRING, UUID};

/// The shape of the request body of `api_key`.
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

static PRODUCE: Schema = Schema::new("ProduceRequest", 9, &[
    f("TransactionalId", 3, MAX, STRING).null(3, MAX),
    f("Acks", 0, MAX, INT16),
    f("TimeoutMs", 0, MAX, INT32),
    f("TopicData", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("PartitionData", 0, MAX, structs(&[
            f("Index", 0, MAX, INT32),
            f("Records", 0, MAX, RECORDS).null(0, MAX),
        ])),
    ])),
]);

static FETCH: Schema = Schema::new("FetchRequest", 12, &[
    f("ClusterId", 12, MAX, STRING).null(12, MAX).tag(0, 12),
    f("ReplicaId", 0, 14, INT32),
    f("ReplicaState", 15, MAX, structure(&[
        f("ReplicaId", 15, MAX, INT32),
        f("ReplicaEpoch", 15, MAX, INT64),
    ])).tag(1, 15),
    f("MaxWaitMs", 0, MAX, INT32),
    f("MinBytes", 0, MAX, INT32),
    f("MaxBytes", 3, MAX, INT32),
    f("IsolationLevel", 4, MAX, INT8),
    f("SessionId", 7, MAX, INT32),
    f("SessionEpoch", 7, MAX, INT32),
    f("Topics", 0, MAX, structs(&[
        f("Topic", 0, 12, STRING),
        f("TopicId", 13, MAX, UUID),
        f("Partitions", 0, MAX, structs(&[
            f("Partition", 0, MAX, INT32),
            f("CurrentLeaderEpoch", 9, MAX, INT32),
            f("FetchOffset", 0, MAX, INT64),
            f("LastFetchedEpoch", 12, MAX, INT32),
            f("LogStartOffset", 5, MAX, INT64),
            f("PartitionMaxBytes", 0, MAX, INT32),
        ])),
    ])),
    f("ForgottenTopicsData", 7, MAX, structs(&[
        f("Topic", 7, 12, STRING),
        f("TopicId", 13, MAX, UUID),
        f("Partitions", 7, MAX, array_of(&INT32)),
    ])),
    f("RackId", 11, MAX, STRING),
]);

static LIST_OFFSETS: Schema = Schema::new("ListOffsetsRequest", 6, &[
    f("ReplicaId", 0, MAX, INT32),
    f("IsolationLevel", 2, MAX, INT8),
    f("Topics", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("Partitions", 0, MAX, structs(&[
            f("PartitionIndex", 0, MAX, INT32),
            f("CurrentLeaderEpoch", 4, MAX, INT32),
            f("Timestamp", 0, MAX, INT64),
            f("MaxNumOffsets", 0, 0, INT32),
        ])),
    ])),
]);

static METADATA: Schema = Schema::new("MetadataRequest", 9, &[
    f("Topics", 0, MAX, structs(&[
        f("TopicId", 10, MAX, UUID),
        f("Name", 0, MAX, STRING).null(10, MAX),
    ])).null(1, MAX),
    f("AllowAutoTopicCreation", 4, MAX, BOOL),
    f("IncludeClusterAuthorizedOperations", 8, 10, BOOL),
    f("IncludeTopicAuthorizedOperations", 8, MAX, BOOL),
]);

static LEADER_AND_ISR: Schema = Schema::new("LeaderAndIsrRequest", 4, &[
    f("ControllerId", 0, MAX, INT32),
    f("isKRaftController", 7, MAX, BOOL),
    f("ControllerEpoch", 0, MAX, INT32),
    f("BrokerEpoch", 2, MAX, INT64),
    f("Type", 5, MAX, INT8),
    f("UngroupedPartitionStates", 0, 1, structs(&[
        f("TopicName", 0, 1, STRING),
        f("PartitionIndex", 0, MAX, INT32),
        f("ControllerEpoch", 0, MAX, INT32),
        f("Leader", 0, MAX, INT32),
        f("LeaderEpoch", 0, MAX, INT32),
        f("Isr", 0, MAX, array_of(&INT32)),
        f("PartitionEpoch", 0, MAX, INT32),
        f("Replicas", 0, MAX, array_of(&INT32)),
        f("AddingReplicas", 3, MAX, array_of(&INT32)),
        f("RemovingReplicas", 3, MAX, array_of(&INT32)),
        f("IsNew", 1, MAX, BOOL),
        f("LeaderRecoveryState", 6, MAX, INT8),
    ])),
    f("TopicStates", 2, MAX, structs(&[
        f("TopicName", 2, MAX, STRING),
        f("TopicId", 5, MAX, UUID),
        f("PartitionStates", 2, MAX, structs(&[
            f("TopicName", 0, 1, STRING),
            f("PartitionIndex", 0, MAX, INT32),
            f("ControllerEpoch", 0, MAX, INT32),
            f("Leader", 0, MAX, INT32),
            f("LeaderEpoch", 0, MAX, INT32),
            f("Isr", 0, MAX, array_of(&INT32)),
            f("PartitionEpoch", 0, MAX, INT32),
            f("Replicas", 0, MAX, array_of(&INT32)),
            f("AddingReplicas", 3, MAX, array_of(&INT32)),
            f("RemovingReplicas", 3, MAX, array_of(&INT32)),
            f("IsNew", 1, MAX, BOOL),
            f("LeaderRecoveryState", 6, MAX, INT8),
        ])),
    ])),
    f("LiveLeaders", 0, MAX, structs(&[
        f("BrokerId", 0, MAX, INT32),
        f("HostName", 0, MAX, STRING),
        f("Port", 0, MAX, INT32),
    ])),
]);

static STOP_REPLICA: Schema = Schema::new("StopReplicaRequest", 2, &[
    f("ControllerId", 0, MAX, INT32),
    f("isKRaftController", 4, MAX, BOOL),
    f("ControllerEpoch", 0, MAX, INT32),
    f("BrokerEpoch", 1, MAX, INT64),
    f("DeletePartitions", 0, 2, BOOL),
    f("UngroupedPartitions", 0, 0, structs(&[
        f("TopicName", 0, 0, STRING),
        f("PartitionIndex", 0, 0, INT32),
    ])),
    f("Topics", 1, 2, structs(&[
        f("Name", 1, 2, STRING),
        f("PartitionIndexes", 1, 2, array_of(&INT32)),
    ])),
    f("TopicStates", 3, MAX, structs(&[
        f("TopicName", 3, MAX, STRING),
        f("PartitionStates", 3, MAX, structs(&[
            f("PartitionIndex", 3, MAX, INT32),
            f("LeaderEpoch", 3, MAX, INT32),
            f("DeletePartition", 3, MAX, BOOL),
        ])),
    ])),
]);

static UPDATE_METADATA: Schema = Schema::new("UpdateMetadataRequest", 6, &[
    f("ControllerId", 0, MAX, INT32),
    f("isKRaftController", 8, MAX, BOOL),
    f("Type", 8, MAX, INT8).tag(0, 8),
    f("ControllerEpoch", 0, MAX, INT32),
    f("BrokerEpoch", 5, MAX, INT64),
    f("UngroupedPartitionStates", 0, 4, structs(&[
        f("TopicName", 0, 4, STRING),
        f("PartitionIndex", 0, MAX, INT32),
        f("ControllerEpoch", 0, MAX, INT32),
        f("Leader", 0, MAX, INT32),
        f("LeaderEpoch", 0, MAX, INT32),
        f("Isr", 0, MAX, array_of(&INT32)),
        f("ZkVersion", 0, MAX, INT32),
        f("Replicas", 0, MAX, array_of(&INT32)),
        f("OfflineReplicas", 4, MAX, array_of(&INT32)),
    ])),
    f("TopicStates", 5, MAX, structs(&[
        f("TopicName", 5, MAX, STRING),
        f("TopicId", 7, MAX, UUID),
        f("PartitionStates", 5, MAX, structs(&[
            f("TopicName", 0, 4, STRING),
            f("PartitionIndex", 0, MAX, INT32),
            f("ControllerEpoch", 0, MAX, INT32),
            f("Leader", 0, MAX, INT32),
            f("LeaderEpoch", 0, MAX, INT32),
            f("Isr", 0, MAX, array_of(&INT32)),
            f("ZkVersion", 0, MAX, INT32),
            f("Replicas", 0, MAX, array_of(&INT32)),
            f("OfflineReplicas", 4, MAX, array_of(&INT32)),
        ])),
    ])),
    f("LiveBrokers", 0, MAX, structs(&[
        f("Id", 0, MAX, INT32),
        f("V0Host", 0, 0, STRING),
        f("V0Port", 0, 0, INT32),
        f("Endpoints", 1, MAX, structs(&[
            f("Port", 1, MAX, INT32),
            f("Host", 1, MAX, STRING),
            f("Listener", 3, MAX, STRING),
            f("SecurityProtocol", 1, MAX, INT16),
        ])),
        f("Rack", 2, MAX, STRING).null(0, MAX),
    ])),
]);

static CONTROLLED_SHUTDOWN: Schema = Schema::new("ControlledShutdownRequest", 3, &[
    f("BrokerId", 0, MAX, INT32),
    f("BrokerEpoch", 2, MAX, INT64),
]);

static OFFSET_COMMIT: Schema = Schema::new("OffsetCommitRequest", 8, &[
    f("GroupId", 0, MAX, STRING),
    f("GenerationIdOrMemberEpoch", 1, MAX, INT32),
    f("MemberId", 1, MAX, STRING),
    f("GroupInstanceId", 7, MAX, STRING).null(7, MAX),
    f("RetentionTimeMs", 2, 4, INT64),
    f("Topics", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("Partitions", 0, MAX, structs(&[
            f("PartitionIndex", 0, MAX, INT32),
            f("CommittedOffset", 0, MAX, INT64),
            f("CommittedLeaderEpoch", 6, MAX, INT32),
            f("CommitTimestamp", 1, 1, INT64),
            f("CommittedMetadata", 0, MAX, STRING).null(0, MAX),
        ])),
    ])),
]);

static OFFSET_FETCH: Schema = Schema::new("OffsetFetchRequest", 6, &[
    f("GroupId", 0, 7, STRING),
    f("Topics", 0, 7, structs(&[
        f("Name", 0, 7, STRING),
        f("PartitionIndexes", 0, 7, array_of(&INT32)),
    ])).null(2, 7),
    f("Groups", 8, MAX, structs(&[
        f("GroupId", 8, MAX, STRING),
        f("MemberId", 9, MAX, STRING).null(9, MAX),
        f("MemberEpoch", 9, MAX, INT32),
        f("Topics", 8, MAX, structs(&[
            f("Name", 8, MAX, STRING),
            f("PartitionIndexes", 8, MAX, array_of(&INT32)),
        ])).null(8, MAX),
    ])),
    f("RequireStable", 7, MAX, BOOL),
]);

static FIND_COORDINATOR: Schema = Schema::new("FindCoordinatorRequest", 3, &[
    f("Key", 0, 3, STRING),
    f("KeyType", 1, MAX, INT8),
    f("CoordinatorKeys", 4, MAX, array_of(&STRING)),
]);

static JOIN_GROUP: Schema = Schema::new("JoinGroupRequest", 6, &[
    f("GroupId", 0, MAX, STRING),
    f("SessionTimeoutMs", 0, MAX, INT32),
    f("RebalanceTimeoutMs", 1, MAX, INT32),
    f("MemberId", 0, MAX, STRING),
    f("GroupInstanceId", 5, MAX, STRING).null(5, MAX),
    f("ProtocolType", 0, MAX, STRING),
    f("Protocols", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("Metadata", 0, MAX, BYTES),
    ])),
    f("Reason", 8, MAX, STRING).null(8, MAX),
]);

static HEARTBEAT: Schema = Schema::new("HeartbeatRequest", 4, &[
    f("GroupId", 0, MAX, STRING),
    f("GenerationId", 0, MAX, INT32),
    f("MemberId", 0, MAX, STRING),
    f("GroupInstanceId", 3, MAX, STRING).null(3, MAX),
]);

static LEAVE_GROUP: Schema = Schema::new("LeaveGroupRequest", 4, &[
    f("GroupId", 0, MAX, STRING),
    f("MemberId", 0, 2, STRING),
    f("Members", 3, MAX, structs(&[
        f("MemberId", 3, MAX, STRING),
        f("GroupInstanceId", 3, MAX, STRING).null(3, MAX),
        f("Reason", 5, MAX, STRING).null(5, MAX),
    ])),
]);

static SYNC_GROUP: Schema = Schema::new("SyncGroupRequest", 4, &[
    f("GroupId", 0, MAX, STRING),
    f("GenerationId", 0, MAX, INT32),
    f("MemberId", 0, MAX, STRING),
    f("GroupInstanceId", 3, MAX, STRING).null(3, MAX),
    f("ProtocolType", 5, MAX, STRING).null(5, MAX),
    f("ProtocolName", 5, MAX, STRING).null(5, MAX),
    f("Assignments", 0, MAX, structs(&[
        f("MemberId", 0, MAX, STRING),
        f("Assignment", 0, MAX, BYTES),
    ])),
]);

static DESCRIBE_GROUPS: Schema = Schema::new("DescribeGroupsRequest", 5, &[
    f("Groups", 0, MAX, array_of(&STRING)),
    f("IncludeAuthorizedOperations", 3, MAX, BOOL),
]);

static LIST_GROUPS: Schema = Schema::new("ListGroupsRequest", 3, &[
    f("StatesFilter", 4, MAX, array_of(&STRING)),
]);

static SASL_HANDSHAKE: Schema = Schema::new("SaslHandshakeRequest", NEVER, &[
    f("Mechanism", 0, MAX, STRING),
]);

static API_VERSIONS: Schema = Schema::new("ApiVersionsRequest", 3, &[
    f("ClientSoftwareName", 3, MAX, STRING),
    f("ClientSoftwareVersion", 3, MAX, STRING),
]);

static CREATE_TOPICS: Schema = Schema::new("CreateTopicsRequest", 5, &[
    f("Topics", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("NumPartitions", 0, MAX, INT32),
        f("ReplicationFactor", 0, MAX, INT16),
        f("Assignments", 0, MAX, structs(&[
            f("PartitionIndex", 0, MAX, INT32),
            f("BrokerIds", 0, MAX, array_of(&INT32)),
        ])),
        f("Configs", 0, MAX, structs(&[
            f("Name", 0, MAX, STRING),
            f("Value", 0, MAX, STRING).null(0, MAX),
        ])),
    ])),
    f("timeoutMs", 0, MAX, INT32),
    f("validateOnly", 1, MAX, BOOL),
]);

static DELETE_TOPICS: Schema = Schema::new("DeleteTopicsRequest", 4, &[
    f("Topics", 6, MAX, structs(&[
        f("Name", 6, MAX, STRING).null(6, MAX),
        f("TopicId", 6, MAX, UUID),
    ])),
    f("TopicNames", 0, 5, array_of(&STRING)),
    f("TimeoutMs", 0, MAX, INT32),
]);

static DELETE_RECORDS: Schema = Schema::new("DeleteRecordsRequest", 2, &[
    f("Topics", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("Partitions", 0, MAX, structs(&[
            f("PartitionIndex", 0, MAX, INT32),
            f("Offset", 0, MAX, INT64),
        ])),
    ])),
    f("TimeoutMs", 0, MAX, INT32),
]);

static INIT_PRODUCER_ID: Schema = Schema::new("InitProducerIdRequest", 2, &[
    f("TransactionalId", 0, MAX, STRING).null(0, MAX),
    f("TransactionTimeoutMs", 0, MAX, INT32),
    f("ProducerId", 3, MAX, INT64),
    f("ProducerEpoch", 3, MAX, INT16),
]);

static OFFSET_FOR_LEADER_EPOCH: Schema = Schema::new("OffsetForLeaderEpochRequest", 4, &[
    f("ReplicaId", 3, MAX, INT32),
    f("Topics", 0, MAX, structs(&[
        f("Topic", 0, MAX, STRING),
        f("Partitions", 0, MAX, structs(&[
            f("Partition", 0, MAX, INT32),
            f("CurrentLeaderEpoch", 2, MAX, INT32),
            f("LeaderEpoch", 0, MAX, INT32),
        ])),
    ])),
]);

static ADD_PARTITIONS_TO_TXN: Schema = Schema::new("AddPartitionsToTxnRequest", 3, &[
    f("Transactions", 4, MAX, structs(&[
        f("TransactionalId", 4, MAX, STRING),
        f("ProducerId", 4, MAX, INT64),
        f("ProducerEpoch", 4, MAX, INT16),
        f("VerifyOnly", 4, MAX, BOOL),
        f("Topics", 4, MAX, structs(&[
            f("Name", 0, MAX, STRING),
            f("Partitions", 0, MAX, array_of(&INT32)),
        ])),
    ])),
    f("V3AndBelowTransactionalId", 0, 3, STRING),
    f("V3AndBelowProducerId", 0, 3, INT64),
    f("V3AndBelowProducerEpoch", 0, 3, INT16),
    f("V3AndBelowTopics", 0, 3, structs(&[
        f("Name", 0, MAX, STRING),
        f("Partitions", 0, MAX, array_of(&INT32)),
    ])),
]);

static ADD_OFFSETS_TO_TXN: Schema = Schema::new("AddOffsetsToTxnRequest", 3, &[
    f("TransactionalId", 0, MAX, STRING),
    f("ProducerId", 0, MAX, INT64),
    f("ProducerEpoch", 0, MAX, INT16),
    f("GroupId", 0, MAX, STRING),
]);

static END_TXN: Schema = Schema::new("EndTxnRequest", 3, &[
    f("TransactionalId", 0, MAX, STRING),
    f("ProducerId", 0, MAX, INT64),
    f("ProducerEpoch", 0, MAX, INT16),
    f("Committed", 0, MAX, BOOL),
]);

static WRITE_TXN_MARKERS: Schema = Schema::new("WriteTxnMarkersRequest", 1, &[
    f("Markers", 0, MAX, structs(&[
        f("ProducerId", 0, MAX, INT64),
        f("ProducerEpoch", 0, MAX, INT16),
        f("TransactionResult", 0, MAX, BOOL),
        f("Topics", 0, MAX, structs(&[
            f("Name", 0, MAX, STRING),
            f("PartitionIndexes", 0, MAX, array_of(&INT32)),
        ])),
        f("CoordinatorEpoch", 0, MAX, INT32),
    ])),
]);

static TXN_OFFSET_COMMIT: Schema = Schema::new("TxnOffsetCommitRequest", 3, &[
    f("TransactionalId", 0, MAX, STRING),
    f("GroupId", 0, MAX, STRING),
    f("ProducerId", 0, MAX, INT64),
    f("ProducerEpoch", 0, MAX, INT16),
    f("GenerationId", 3, MAX, INT32),
    f("MemberId", 3, MAX, STRING),
    f("GroupInstanceId", 3, MAX, STRING).null(3, MAX),
    f("Topics", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("Partitions", 0, MAX, structs(&[
            f("PartitionIndex", 0, MAX, INT32),
            f("CommittedOffset", 0, MAX, INT64),
            f("CommittedLeaderEpoch", 2, MAX, INT32),
            f("CommittedMetadata", 0, MAX, STRING).null(0, MAX),
        ])),
    ])),
]);

static DESCRIBE_ACLS: Schema = Schema::new("DescribeAclsRequest", 2, &[
    f("ResourceTypeFilter", 0, MAX, INT8),
    f("ResourceNameFilter", 0, MAX, STRING).null(0, MAX),
    f("PatternTypeFilter", 1, MAX, INT8),
    f("PrincipalFilter", 0, MAX, STRING).null(0, MAX),
    f("HostFilter", 0, MAX, STRING).null(0, MAX),
    f("Operation", 0, MAX, INT8),
    f("PermissionType", 0, MAX, INT8),
]);

static CREATE_ACLS: Schema = Schema::new("CreateAclsRequest", 2, &[
    f("Creations", 0, MAX, structs(&[
        f("ResourceType", 0, MAX, INT8),
        f("ResourceName", 0, MAX, STRING),
        f("ResourcePatternType", 1, MAX, INT8),
        f("Principal", 0, MAX, STRING),
        f("Host", 0, MAX, STRING),
        f("Operation", 0, MAX, INT8),
        f("PermissionType", 0, MAX, INT8),
    ])),
]);

static DELETE_ACLS: Schema = Schema::new("DeleteAclsRequest", 2, &[
    f("Filters", 0, MAX, structs(&[
        f("ResourceTypeFilter", 0, MAX, INT8),
        f("ResourceNameFilter", 0, MAX, STRING).null(0, MAX),
        f("PatternTypeFilter", 1, MAX, INT8),
        f("PrincipalFilter", 0, MAX, STRING).null(0, MAX),
        f("HostFilter", 0, MAX, STRING).null(0, MAX),
        f("Operation", 0, MAX, INT8),
        f("PermissionType", 0, MAX, INT8),
    ])),
]);

static DESCRIBE_CONFIGS: Schema = Schema::new("DescribeConfigsRequest", 4, &[
    f("Resources", 0, MAX, structs(&[
        f("ResourceType", 0, MAX, INT8),
        f("ResourceName", 0, MAX, STRING),
        f("ConfigurationKeys", 0, MAX, array_of(&STRING)).null(0, MAX),
    ])),
    f("IncludeSynonyms", 1, MAX, BOOL),
    f("IncludeDocumentation", 3, MAX, BOOL),
]);

static ALTER_CONFIGS: Schema = Schema::new("AlterConfigsRequest", 2, &[
    f("Resources", 0, MAX, structs(&[
        f("ResourceType", 0, MAX, INT8),
        f("ResourceName", 0, MAX, STRING),
        f("Configs", 0, MAX, structs(&[
            f("Name", 0, MAX, STRING),
            f("Value", 0, MAX, STRING).null(0, MAX),
        ])),
    ])),
    f("ValidateOnly", 0, MAX, BOOL),
]);

static ALTER_REPLICA_LOG_DIRS: Schema = Schema::new("AlterReplicaLogDirsRequest", 2, &[
    f("Dirs", 0, MAX, structs(&[
        f("Path", 0, MAX, STRING),
        f("Topics", 0, MAX, structs(&[
            f("Name", 0, MAX, STRING),
            f("Partitions", 0, MAX, array_of(&INT32)),
        ])),
    ])),
]);

static DESCRIBE_LOG_DIRS: Schema = Schema::new("DescribeLogDirsRequest", 2, &[
    f("Topics", 0, MAX, structs(&[
        f("Topic", 0, MAX, STRING),
        f("Partitions", 0, MAX, array_of(&INT32)),
    ])).null(0, MAX),
]);

static SASL_AUTHENTICATE: Schema = Schema::new("SaslAuthenticateRequest", 2, &[
    f("AuthBytes", 0, MAX, BYTES),
]);

static CREATE_PARTITIONS: Schema = Schema::new("CreatePartitionsRequest", 2, &[
    f("Topics", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("Count", 0, MAX, INT32),
        f("Assignments", 0, MAX, structs(&[
            f("BrokerIds", 0, MAX, array_of(&INT32)),
        ])).null(0, MAX),
    ])),
    f("TimeoutMs", 0, MAX, INT32),
    f("ValidateOnly", 0, MAX, BOOL),
]);

static CREATE_DELEGATION_TOKEN: Schema = Schema::new("CreateDelegationTokenRequest", 2, &[
    f("OwnerPrincipalType", 3, MAX, STRING).null(3, MAX),
    f("OwnerPrincipalName", 3, MAX, STRING).null(3, MAX),
    f("Renewers", 0, MAX, structs(&[
        f("PrincipalType", 0, MAX, STRING),
        f("PrincipalName", 0, MAX, STRING),
    ])),
    f("MaxLifetimeMs", 0, MAX, INT64),
]);

static RENEW_DELEGATION_TOKEN: Schema = Schema::new("RenewDelegationTokenRequest", 2, &[
    f("Hmac", 0, MAX, BYTES),
    f("RenewPeriodMs", 0, MAX, INT64),
]);

static EXPIRE_DELEGATION_TOKEN: Schema = Schema::new("ExpireDelegationTokenRequest", 2, &[
    f("Hmac", 0, MAX, BYTES),
    f("ExpiryTimePeriodMs", 0, MAX, INT64),
]);

static DESCRIBE_DELEGATION_TOKEN: Schema = Schema::new("DescribeDelegationTokenRequest", 2, &[
    f("Owners", 0, MAX, structs(&[
        f("PrincipalType", 0, MAX, STRING),
        f("PrincipalName", 0, MAX, STRING),
    ])).null(0, MAX),
]);

static DELETE_GROUPS: Schema = Schema::new("DeleteGroupsRequest", 2, &[
    f("GroupsNames", 0, MAX, array_of(&STRING)),
]);

static ELECT_LEADERS: Schema = Schema::new("ElectLeadersRequest", 2, &[
    f("ElectionType", 1, MAX, INT8),
    f("TopicPartitions", 0, MAX, structs(&[
        f("Topic", 0, MAX, STRING),
        f("Partitions", 0, MAX, array_of(&INT32)),
    ])).null(0, MAX),
    f("TimeoutMs", 0, MAX, INT32),
]);

static INCREMENTAL_ALTER_CONFIGS: Schema = Schema::new("IncrementalAlterConfigsRequest", 1, &[
    f("Resources", 0, MAX, structs(&[
        f("ResourceType", 0, MAX, INT8),
        f("ResourceName", 0, MAX, STRING),
        f("Configs", 0, MAX, structs(&[
            f("Name", 0, MAX, STRING),
            f("ConfigOperation", 0, MAX, INT8),
            f("Value", 0, MAX, STRING).null(0, MAX),
        ])),
    ])),
    f("ValidateOnly", 0, MAX, BOOL),
]);

static ALTER_PARTITION_REASSIGNMENTS: Schema = Schema::new("AlterPartitionReassignmentsRequest", 0, &[
    f("TimeoutMs", 0, MAX, INT32),
    f("Topics", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("Partitions", 0, MAX, structs(&[
            f("PartitionIndex", 0, MAX, INT32),
            f("Replicas", 0, MAX, array_of(&INT32)).null(0, MAX),
        ])),
    ])),
]);

static LIST_PARTITION_REASSIGNMENTS: Schema = Schema::new("ListPartitionReassignmentsRequest", 0, &[
    f("TimeoutMs", 0, MAX, INT32),
    f("Topics", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("PartitionIndexes", 0, MAX, array_of(&INT32)),
    ])).null(0, MAX),
]);

static OFFSET_DELETE: Schema = Schema::new("OffsetDeleteRequest", NEVER, &[
    f("GroupId", 0, MAX, STRING),
    f("Topics", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("Partitions", 0, MAX, structs(&[
            f("PartitionIndex", 0, MAX, INT32),
        ])),
    ])),
]);

static DESCRIBE_CLIENT_QUOTAS: Schema = Schema::new("DescribeClientQuotasRequest", 1, &[
    f("Components", 0, MAX, structs(&[
        f("EntityType", 0, MAX, STRING),
        f("MatchType", 0, MAX, INT8),
        f("Match", 0, MAX, STRING).null(0, MAX),
    ])),
    f("Strict", 0, MAX, BOOL),
]);

static ALTER_CLIENT_QUOTAS: Schema = Schema::new("AlterClientQuotasRequest", 1, &[
    f("Entries", 0, MAX, structs(&[
        f("Entity", 0, MAX, structs(&[
            f("EntityType", 0, MAX, STRING),
            f("EntityName", 0, MAX, STRING).null(0, MAX),
        ])),
        f("Ops", 0, MAX, structs(&[
            f("Key", 0, MAX, STRING),
            f("Value", 0, MAX, FLOAT64),
            f("Remove", 0, MAX, BOOL),
        ])),
    ])),
    f("ValidateOnly", 0, MAX, BOOL),
]);

static DESCRIBE_USER_SCRAM_CREDENTIALS: Schema = Schema::new("DescribeUserScramCredentialsRequest", 0, &[
    f("Users", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
    ])).null(0, MAX),
]);

static ALTER_USER_SCRAM_CREDENTIALS: Schema = Schema::new("AlterUserScramCredentialsRequest", 0, &[
    f("Deletions", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("Mechanism", 0, MAX, INT8),
    ])),
    f("Upsertions", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("Mechanism", 0, MAX, INT8),
        f("Iterations", 0, MAX, INT32),
        f("Salt", 0, MAX, BYTES),
        f("SaltedPassword", 0, MAX, BYTES),
    ])),
]);

static ALTER_PARTITION: Schema = Schema::new("AlterPartitionRequest", 0, &[
    f("BrokerId", 0, MAX, INT32),
    f("BrokerEpoch", 0, MAX, INT64),
    f("Topics", 0, MAX, structs(&[
        f("TopicName", 0, 1, STRING),
        f("TopicId", 2, MAX, UUID),
        f("Partitions", 0, MAX, structs(&[
            f("PartitionIndex", 0, MAX, INT32),
            f("LeaderEpoch", 0, MAX, INT32),
            f("NewIsr", 0, 2, array_of(&INT32)),
            f("NewIsrWithEpochs", 3, MAX, structs(&[
                f("BrokerId", 3, MAX, INT32),
                f("BrokerEpoch", 3, MAX, INT64),
            ])),
            f("LeaderRecoveryState", 1, MAX, INT8),
            f("PartitionEpoch", 0, MAX, INT32),
        ])),
    ])),
]);

static UPDATE_FEATURES: Schema = Schema::new("UpdateFeaturesRequest", 0, &[
    f("timeoutMs", 0, MAX, INT32),
    f("FeatureUpdates", 0, MAX, structs(&[
        f("Feature", 0, MAX, STRING),
        f("MaxVersionLevel", 0, MAX, INT16),
        f("AllowDowngrade", 0, 0, BOOL),
        f("UpgradeType", 1, MAX, INT8),
    ])),
    f("ValidateOnly", 1, MAX, BOOL),
]);

static ENVELOPE: Schema = Schema::new("EnvelopeRequest", 0, &[
    f("RequestData", 0, MAX, BYTES),
    f("RequestPrincipal", 0, MAX, BYTES).null(0, MAX),
    f("ClientHostAddress", 0, MAX, BYTES),
]);

static DESCRIBE_CLUSTER: Schema = Schema::new("DescribeClusterRequest", 0, &[
    f("IncludeClusterAuthorizedOperations", 0, MAX, BOOL),
    f("EndpointType", 1, MAX, INT8),
]);

static DESCRIBE_PRODUCERS: Schema = Schema::new("DescribeProducersRequest", 0, &[
    f("Topics", 0, MAX, structs(&[
        f("Name", 0, MAX, STRING),
        f("PartitionIndexes", 0, MAX, array_of(&INT32)),
    ])),
]);

static DESCRIBE_TRANSACTIONS: Schema = Schema::new("DescribeTransactionsRequest", 0, &[
    f("TransactionalIds", 0, MAX, array_of(&STRING)),
]);

static LIST_TRANSACTIONS: Schema = Schema::new("ListTransactionsRequest", 0, &[
    f("StateFilters", 0, MAX, array_of(&STRING)),
    f("ProducerIdFilters", 0, MAX, array_of(&INT64)),
]);

static ALLOCATE_PRODUCER_IDS: Schema = Schema::new("AllocateProducerIdsRequest", 0, &[
    f("BrokerId", 0, MAX, INT32),
    f("BrokerEpoch", 0, MAX, INT64),
]);

static CONSUMER_GROUP_HEARTBEAT: Schema = Schema::new("ConsumerGroupHeartbeatRequest", 0, &[
    f("GroupId", 0, MAX, STRING),
    f("MemberId", 0, MAX, STRING),
    f("MemberEpoch", 0, MAX, INT32),
    f("InstanceId", 0, MAX, STRING).null(0, MAX),
    f("RackId", 0, MAX, STRING).null(0, MAX),
    f("RebalanceTimeoutMs", 0, MAX, INT32),
    f("SubscribedTopicNames", 0, MAX, array_of(&STRING)).null(0, MAX),
    f("ServerAssignor", 0, MAX, STRING).null(0, MAX),
    f("TopicPartitions", 0, MAX, structs(&[
        f("TopicId", 0, MAX, UUID),
        f("Partitions", 0, MAX, array_of(&INT32)),
    ])).null(0, MAX),
]);
