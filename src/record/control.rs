//! Control records: the markers that end transactions on a partition. Answers to `ControlRecordType` and
//! `EndTransactionMarker`.

use bytes::Bytes;

use super::{BatchBuilder, NO_SEQUENCE, RecordError};

/// What a control record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlRecordType {
    Abort,
    Commit,
    LeaderChange,
    SnapshotHeader,
    SnapshotFooter,
    /// A type of a later version: to be skipped.
    Unknown,
}

impl ControlRecordType {
    /// Reads the key of a control record: version and type, two bytes each.
    pub fn parse(key: &[u8]) -> Result<ControlRecordType, RecordError> {
        let Some(&[v1, v2, t1, t2]) = key.first_chunk::<4>() else {
            return Err(RecordError::Invalid(format!(
                "Invalid value size found for end control record key. Must have at least 4 bytes, but found only {}",
                key.len()
            )));
        };
        let version = i16::from_be_bytes([v1, v2]);
        if version < 0 {
            return Err(RecordError::Invalid(format!(
                "Invalid version found for control record: {version}. May indicate data corruption"
            )));
        }
        Ok(match i16::from_be_bytes([t1, t2]) {
            0 => ControlRecordType::Abort,
            1 => ControlRecordType::Commit,
            2 => ControlRecordType::LeaderChange,
            3 => ControlRecordType::SnapshotHeader,
            4 => ControlRecordType::SnapshotFooter,
            _ => ControlRecordType::Unknown,
        })
    }
}

/// The record that ends a transaction on a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTxnMarker {
    pub commit: bool,
    pub coordinator_epoch: i32,
}

impl EndTxnMarker {
    /// Key bytes: version 0, type.
    pub fn key(&self) -> [u8; 4] {
        [0, 0, 0, u8::from(self.commit)]
    }

    /// Value bytes: version 0, coordinator epoch.
    pub fn value(&self) -> [u8; 6] {
        let [a, b, c, d] = self.coordinator_epoch.to_be_bytes();
        [0, 0, a, b, c, d]
    }

    /// Reads a marker back; error if the key is of another control type or either is too short.
    pub fn parse(key: &[u8], value: &[u8]) -> Result<EndTxnMarker, RecordError> {
        let commit = match ControlRecordType::parse(key)? {
            ControlRecordType::Commit => true,
            ControlRecordType::Abort => false,
            other => {
                return Err(RecordError::Invalid(format!(
                    "Invalid control record type for end transaction marker {other:?}"
                )));
            }
        };
        let Some(&[v1, v2, a, b, c, d]) = value.first_chunk::<6>() else {
            return Err(RecordError::Invalid(format!(
                "Invalid value size found for end transaction marker. Must have at least 6 bytes, but found only {}",
                value.len()
            )));
        };
        let version = i16::from_be_bytes([v1, v2]);
        if version < 0 {
            return Err(RecordError::Invalid(format!("Invalid version found for end transaction marker: {version}")));
        }
        Ok(EndTxnMarker { commit, coordinator_epoch: i32::from_be_bytes([a, b, c, d]) })
    }

    /// The batch that carries this marker. `now_ms` in milliseconds since the epoch.
    pub fn to_batch(
        &self,
        base_offset: i64,
        partition_leader_epoch: i32,
        producer_id: i64,
        producer_epoch: i16,
        now_ms: i64,
    ) -> Result<Bytes, RecordError> {
        let mut builder = BatchBuilder::new(base_offset)
            .partition_leader_epoch(partition_leader_epoch)
            .producer(producer_id, producer_epoch, NO_SEQUENCE)
            .transactional(true)
            .control(true);
        builder.append(now_ms, Some(&self.key()), Some(&self.value()))?;
        builder.build()
    }
}
