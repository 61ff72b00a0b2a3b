//! Keys and values of the records in `__consumer_offsets`, by hand: they are Kafka's on-disk format and so outlive
//! any message library.
//!
//! A value begins with its schema version. Versions 0 to 3 are plain (int16 string lengths, int32 array counts);
//! version 4 is the flexible form, which 3.7 reads and never writes. Answers to the encoders and decoders in Kafka's
//! `GroupMetadataManager` and to the schemas `OffsetCommitKey/Value` and `GroupMetadataKey/Value`. Owns no state.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::topic::TopicPartition;

/// Why a key or value cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    #[error("the record ends inside a field")]
    Truncated,
    #[error("a text of the record is not UTF-8")]
    NotUtf8,
    #[error("a field that may not be null is null")]
    Null,
    #[error("Unknown offset message version: {0}")]
    UnknownOffsetVersion(i16),
    #[error("Unknown group metadata message version: {0}")]
    UnknownGroupVersion(i16),
    #[error("a text of {0} bytes does not fit into the record")]
    TooLong(usize),
}

/// What a record of the topic is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordKey {
    Offset {
        group: Arc<str>,
        partition: TopicPartition,
    },
    Group {
        group: Arc<str>,
    },
    /// Written by a newer broker: to be ignored with a warning.
    Unknown {
        version: i16,
    },
}

/// One committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    pub offset: i64,
    /// Leader epoch of the last consumed record; -1 when the client did not say.
    pub leader_epoch: i32,
    pub metadata: Arc<str>,
    /// Milliseconds since the epoch.
    pub commit_timestamp: i64,
    /// Milliseconds since the epoch; only for commits that asked for a retention of their own.
    pub expire_timestamp: Option<i64>,
}

/// Value of a group record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadataValue {
    pub protocol_type: Arc<str>,
    pub generation: i32,
    pub protocol: Option<Arc<str>>,
    pub leader: Option<Arc<str>>,
    /// When the group entered its state, milliseconds since the epoch; -1 when the record does not say.
    pub current_state_timestamp: i64,
    pub members: Vec<MemberValue>,
}

/// One member inside a group record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberValue {
    pub member_id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// The member's metadata for the chosen protocol.
    pub subscription: Bytes,
    pub assignment: Bytes,
}

/// Key of the record that holds `group`'s offset for one partition.
pub fn encode_offset_key(group: &str, partition: &TopicPartition) -> Result<Bytes, RecordsError> {
    let mut out = BytesMut::with_capacity(10 + group.len() + partition.topic.len());
    out.put_i16(1);
    put_string(&mut out, group)?;
    put_string(&mut out, &partition.topic)?;
    out.put_i32(partition.partition);
    Ok(out.freeze())
}

/// Key of the record that holds `group`'s generation and members.
pub fn encode_group_key(group: &str) -> Result<Bytes, RecordsError> {
    let mut out = BytesMut::with_capacity(4 + group.len());
    out.put_i16(2);
    put_string(&mut out, group)?;
    Ok(out.freeze())
}

/// Reads a key; versions from 3 on are `Unknown`.
pub fn decode_key(key: &Bytes) -> Result<RecordKey, RecordsError> {
    let mut input = Reader { rest: key, flexible: false };
    match input.i16()? {
        0 | 1 => {
            let group = input.string()?;
            let topic = input.string()?;
            Ok(RecordKey::Offset { group, partition: TopicPartition { topic, partition: input.i32()? } })
        }
        2 => Ok(RecordKey::Group { group: input.string()? }),
        version => Ok(RecordKey::Unknown { version }),
    }
}

impl OffsetAndMetadata {
    /// Encodes with `version` (1, 2 or 3); a commit with an expiry of its own is always version 1.
    pub fn encode(&self, version: i16) -> Result<Bytes, RecordsError> {
        let version = if self.expire_timestamp.is_some() { 1 } else { version };
        let mut out = BytesMut::with_capacity(32 + self.metadata.len());
        out.put_i16(version);
        out.put_i64(self.offset);
        if version >= 3 {
            out.put_i32(self.leader_epoch);
        }
        put_string(&mut out, &self.metadata)?;
        out.put_i64(self.commit_timestamp);
        if version == 1 {
            out.put_i64(self.expire_timestamp.unwrap_or(-1));
        }
        Ok(out.freeze())
    }

    /// Reads versions 0 to 4.
    pub fn decode(value: &Bytes) -> Result<OffsetAndMetadata, RecordsError> {
        let mut input = Reader { rest: value, flexible: false };
        let version = input.i16()?;
        if !(0..=4).contains(&version) {
            return Err(RecordsError::UnknownOffsetVersion(version));
        }
        input.flexible = version >= 4;
        let offset = input.i64()?;
        let leader_epoch = if version >= 3 { input.i32()? } else { -1 };
        let metadata = input.string()?;
        let commit_timestamp = input.i64()?;
        let expire = if version == 1 { input.i64()? } else { -1 };
        input.tagged_fields()?;
        Ok(OffsetAndMetadata {
            offset,
            leader_epoch,
            metadata,
            commit_timestamp,
            expire_timestamp: (expire != -1).then_some(expire),
        })
    }
}

impl GroupMetadataValue {
    /// Encodes with `version` (0 to 3).
    pub fn encode(&self, version: i16) -> Result<Bytes, RecordsError> {
        let mut out = BytesMut::with_capacity(64);
        out.put_i16(version);
        put_string(&mut out, &self.protocol_type)?;
        out.put_i32(self.generation);
        put_nullable(&mut out, self.protocol.as_deref())?;
        put_nullable(&mut out, self.leader.as_deref())?;
        if version >= 2 {
            out.put_i64(self.current_state_timestamp);
        }
        out.put_i32(i32::try_from(self.members.len()).map_err(|_| RecordsError::TooLong(self.members.len()))?);
        for member in &self.members {
            member.encode(version, &mut out)?;
        }
        Ok(out.freeze())
    }

    /// Reads versions 0 to 4.
    pub fn decode(value: &Bytes) -> Result<GroupMetadataValue, RecordsError> {
        let mut input = Reader { rest: value, flexible: false };
        let version = input.i16()?;
        if !(0..=4).contains(&version) {
            return Err(RecordsError::UnknownGroupVersion(version));
        }
        input.flexible = version >= 4;
        let protocol_type = input.string()?;
        let generation = input.i32()?;
        let protocol = input.nullable_string()?;
        let leader = input.nullable_string()?;
        let current_state_timestamp = if version >= 2 { input.i64()? } else { -1 };
        // No reservation by the count: it comes from the log and may be damaged.
        let count = input.array_length()?;
        let mut members = Vec::new();
        for _ in 0..count {
            members.push(MemberValue::decode(version, &mut input)?);
        }
        input.tagged_fields()?;
        Ok(GroupMetadataValue { protocol_type, generation, protocol, leader, current_state_timestamp, members })
    }
}

impl MemberValue {
    fn encode(&self, version: i16, out: &mut BytesMut) -> Result<(), RecordsError> {
        put_string(out, &self.member_id)?;
        if version >= 3 {
            put_nullable(out, self.instance_id.as_deref())?;
        }
        put_string(out, &self.client_id)?;
        put_string(out, &self.client_host)?;
        if version >= 1 {
            out.put_i32(self.rebalance_timeout_ms);
        }
        out.put_i32(self.session_timeout_ms);
        put_bytes(out, &self.subscription)?;
        put_bytes(out, &self.assignment)
    }

    fn decode(version: i16, input: &mut Reader<'_>) -> Result<MemberValue, RecordsError> {
        let member_id = input.string()?;
        let instance_id = if version >= 3 { input.nullable_string()? } else { None };
        let client_id = input.string()?;
        let client_host = input.string()?;
        let rebalance_timeout_ms = if version >= 1 { Some(input.i32()?) } else { None };
        let session_timeout_ms = input.i32()?;
        let subscription = input.bytes()?;
        let assignment = input.bytes()?;
        input.tagged_fields()?;
        Ok(MemberValue {
            member_id,
            instance_id,
            client_id,
            client_host,
            // Version 0 knew one timeout for both.
            rebalance_timeout_ms: rebalance_timeout_ms.unwrap_or(session_timeout_ms),
            session_timeout_ms,
            subscription,
            assignment,
        })
    }
}

fn put_string(out: &mut BytesMut, text: &str) -> Result<(), RecordsError> {
    out.put_i16(i16::try_from(text.len()).map_err(|_| RecordsError::TooLong(text.len()))?);
    out.put_slice(text.as_bytes());
    Ok(())
}

fn put_nullable(out: &mut BytesMut, text: Option<&str>) -> Result<(), RecordsError> {
    match text {
        Some(text) => put_string(out, text),
        None => {
            out.put_i16(-1);
            Ok(())
        }
    }
}

fn put_bytes(out: &mut BytesMut, bytes: &Bytes) -> Result<(), RecordsError> {
    out.put_i32(i32::try_from(bytes.len()).map_err(|_| RecordsError::TooLong(bytes.len()))?);
    out.put_slice(bytes);
    Ok(())
}

/// Reads fields off the front; never reads past the end, whatever the lengths say.
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
    /// Compact lengths and tagged fields.
    pub(super) flexible: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], RecordsError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(RecordsError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordsError> {
        self.take(N)?.try_into().map_err(|_| RecordsError::Truncated)
    }

    pub(super) fn i16(&mut self) -> Result<i16, RecordsError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, RecordsError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, RecordsError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    fn unsigned_varint(&mut self) -> Result<u32, RecordsError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array::<1>()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordsError::Truncated)
    }

    /// A length or count in this form; `None` is null.
    fn length(&mut self, short: bool) -> Result<Option<usize>, RecordsError> {
        if self.flexible {
            return Ok(self.unsigned_varint()?.checked_sub(1).map(|length| length as usize));
        }
        let length = if short { i32::from(self.i16()?) } else { self.i32()? };
        Ok(usize::try_from(length).ok())
    }

    pub(super) fn nullable_string(&mut self) -> Result<Option<Arc<str>>, RecordsError> {
        let Some(length) = self.length(true)? else { return Ok(None) };
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| RecordsError::NotUtf8)?;
        Ok(Some(Arc::from(text)))
    }

    pub(super) fn string(&mut self) -> Result<Arc<str>, RecordsError> {
        self.nullable_string()?.ok_or(RecordsError::Null)
    }

    pub(super) fn nullable_bytes(&mut self) -> Result<Option<Bytes>, RecordsError> {
        let Some(length) = self.length(false)? else { return Ok(None) };
        // A copy, so that a member's few bytes do not keep a whole read buffer alive.
        Ok(Some(Bytes::copy_from_slice(self.take(length)?)))
    }

    fn bytes(&mut self) -> Result<Bytes, RecordsError> {
        self.nullable_bytes()?.ok_or(RecordsError::Null)
    }

    pub(super) fn array_length(&mut self) -> Result<usize, RecordsError> {
        self.length(false)?.ok_or(RecordsError::Null)
    }

    fn tagged_fields(&mut self) -> Result<(), RecordsError> {
        if self.flexible {
            for _ in 0..self.unsigned_varint()? {
                self.unsigned_varint()?;
                let size = self.unsigned_varint()? as usize;
                self.take(size)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
