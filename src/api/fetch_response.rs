//! The Fetch answer on the wire, versions 0 to 16. Written by hand, because its records are not bytes to encode
//! but ranges of files to send (protocol page, FetchResponse).

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use super::reply::{Frame, Part};
use crate::log::{AbortedTransaction, FileSlice};

/// Ranges up to this size are copied into the answer: one write beats a write and a `sendfile`.
const INLINE: u32 = 16 * 1024;
const FLEXIBLE: i16 = 12;

/// Records of one partition.
pub enum FetchRecords {
    None,
    File(FileSlice),
    /// Converted for an old client.
    Bytes(Bytes),
}

impl FetchRecords {
    fn len(&self) -> usize {
        match self {
            FetchRecords::None => 0,
            FetchRecords::File(slice) => slice.len as usize,
            FetchRecords::Bytes(bytes) => bytes.len(),
        }
    }
}

/// The answer for one partition.
pub struct FetchPartitionAnswer {
    pub partition: i32,
    pub error: i16,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    pub diverging: Option<(i32, i64)>,
    pub current_leader: Option<(i32, i32)>,
    pub aborted: Option<Vec<AbortedTransaction>>,
    pub preferred_read_replica: i32,
    pub records: FetchRecords,
}

/// The answer for one topic, by name up to version 12 and by id from 13.
pub struct FetchTopicAnswer {
    pub name: std::sync::Arc<str>,
    pub id: Uuid,
    pub partitions: Vec<FetchPartitionAnswer>,
}

/// Where to find a leader (version 16).
pub struct NodeEndpoint {
    pub id: i32,
    pub host: std::sync::Arc<str>,
    pub port: i32,
    pub rack: Option<std::sync::Arc<str>>,
}

/// The whole answer.
pub struct FetchAnswer {
    pub error: i16,
    pub session_id: i32,
    pub topics: Vec<FetchTopicAnswer>,
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// Encodes the answer; the length prefix counts the file ranges that are sent in between.
pub fn encode(correlation_id: i32, version: i16, answer: FetchAnswer) -> std::io::Result<Frame> {
    let mut w = Writer { version, parts: Vec::new(), current: BytesMut::with_capacity(256), file_bytes: 0 };
    w.current.put_i32(0);
    w.current.put_i32(correlation_id);
    w.tags();
    if version >= 1 {
        w.current.put_i32(0);
    }
    if version >= 7 {
        w.current.put_i16(answer.error);
        w.current.put_i32(answer.session_id);
    }
    w.array(answer.topics.len());
    for topic in answer.topics {
        w.topic(topic)?;
    }
    w.top_level_tags(&answer.node_endpoints);
    Ok(w.finish())
}

enum Piece {
    Bytes(BytesMut),
    File(FileSlice),
    Shared(Bytes),
}

struct Writer {
    version: i16,
    parts: Vec<Piece>,
    current: BytesMut,
    file_bytes: usize,
}

impl Writer {
    fn flexible(&self) -> bool {
        self.version >= FLEXIBLE
    }

    fn tags(&mut self) {
        if self.flexible() {
            self.current.put_u8(0);
        }
    }

    fn array(&mut self, count: usize) {
        if self.flexible() {
            put_uvarint(&mut self.current, count as u32 + 1);
        } else {
            self.current.put_i32(count as i32);
        }
    }

    fn string(&mut self, text: &str) {
        if self.flexible() {
            put_uvarint(&mut self.current, text.len() as u32 + 1);
        } else {
            self.current.put_i16(text.len() as i16);
        }
        self.current.put_slice(text.as_bytes());
    }

    fn topic(&mut self, topic: FetchTopicAnswer) -> std::io::Result<()> {
        if self.version >= 13 {
            self.current.put_slice(topic.id.as_bytes());
        } else {
            self.string(&topic.name);
        }
        self.array(topic.partitions.len());
        for partition in topic.partitions {
            self.partition(partition)?;
        }
        self.tags();
        Ok(())
    }

    fn partition(&mut self, p: FetchPartitionAnswer) -> std::io::Result<()> {
        self.current.put_i32(p.partition);
        self.current.put_i16(p.error);
        self.current.put_i64(p.high_watermark);
        if self.version >= 4 {
            self.current.put_i64(p.last_stable_offset);
        }
        if self.version >= 5 {
            self.current.put_i64(p.log_start_offset);
        }
        if self.version >= 4 {
            self.aborted(p.aborted.as_deref());
        }
        if self.version >= 11 {
            self.current.put_i32(p.preferred_read_replica);
        }
        self.records(p.records)?;
        self.partition_tags(p.diverging, p.current_leader);
        Ok(())
    }

    fn aborted(&mut self, aborted: Option<&[AbortedTransaction]>) {
        match aborted {
            None if self.flexible() => self.current.put_u8(0),
            None => self.current.put_i32(-1),
            Some(list) => {
                self.array(list.len());
                for txn in list {
                    self.current.put_i64(txn.producer_id);
                    self.current.put_i64(txn.first_offset);
                    self.tags();
                }
            }
        }
    }

    fn records(&mut self, records: FetchRecords) -> std::io::Result<()> {
        let length = records.len();
        if self.flexible() {
            put_uvarint(&mut self.current, length as u32 + 1);
        } else {
            self.current.put_i32(length as i32);
        }
        match records {
            FetchRecords::None => {}
            FetchRecords::File(slice) if slice.len <= INLINE => self.current.put_slice(&slice.read()?),
            FetchRecords::File(slice) => {
                self.file_bytes += length;
                self.cut();
                self.parts.push(Piece::File(slice));
            }
            FetchRecords::Bytes(bytes) => {
                self.file_bytes += length;
                self.cut();
                self.parts.push(Piece::Shared(bytes));
            }
        }
        Ok(())
    }

    fn partition_tags(&mut self, diverging: Option<(i32, i64)>, leader: Option<(i32, i32)>) {
        if !self.flexible() {
            return;
        }
        let count = u32::from(diverging.is_some()) + u32::from(leader.is_some());
        put_uvarint(&mut self.current, count);
        if let Some((epoch, end_offset)) = diverging {
            put_uvarint(&mut self.current, 0);
            put_uvarint(&mut self.current, 4 + 8 + 1);
            self.current.put_i32(epoch);
            self.current.put_i64(end_offset);
            self.current.put_u8(0);
        }
        if let Some((id, epoch)) = leader {
            put_uvarint(&mut self.current, 1);
            put_uvarint(&mut self.current, 4 + 4 + 1);
            self.current.put_i32(id);
            self.current.put_i32(epoch);
            self.current.put_u8(0);
        }
    }

    fn top_level_tags(&mut self, endpoints: &[NodeEndpoint]) {
        if !self.flexible() {
            return;
        }
        if self.version < 16 || endpoints.is_empty() {
            self.current.put_u8(0);
            return;
        }
        let mut body = BytesMut::new();
        put_uvarint(&mut body, endpoints.len() as u32 + 1);
        for node in endpoints {
            body.put_i32(node.id);
            put_compact_string(&mut body, Some(&node.host));
            body.put_i32(node.port);
            put_compact_string(&mut body, node.rack.as_deref());
            body.put_u8(0);
        }
        put_uvarint(&mut self.current, 1);
        put_uvarint(&mut self.current, 0);
        put_uvarint(&mut self.current, body.len() as u32);
        self.current.put_slice(&body);
    }

    fn cut(&mut self) {
        let head = self.current.split();
        self.parts.push(Piece::Bytes(head));
    }

    fn finish(mut self) -> Frame {
        self.cut();
        let own: usize = self.parts.iter().map(|p| if let Piece::Bytes(b) = p { b.len() } else { 0 }).sum();
        let length = (own + self.file_bytes - 4) as i32;
        if let Some(Piece::Bytes(first)) = self.parts.first_mut()
            && let Some(prefix) = first.first_chunk_mut::<4>()
        {
            *prefix = length.to_be_bytes();
        }
        let parts = self.parts.into_iter().map(|piece| match piece {
            Piece::Bytes(bytes) => Part::Bytes(bytes.freeze()),
            Piece::Shared(bytes) => Part::Bytes(bytes),
            Piece::File(slice) => Part::File(slice),
        });
        Frame { parts: parts.collect(), is_for_follower: false }
    }
}

fn put_uvarint(buffer: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        buffer.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

fn put_compact_string(buffer: &mut BytesMut, text: Option<&str>) {
    match text {
        Some(text) => {
            put_uvarint(buffer, text.len() as u32 + 1);
            buffer.put_slice(text.as_bytes());
        }
        None => buffer.put_u8(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::codec::{Decodable, HeaderVersion};
    use crate::protocol::messages::{FetchResponse, ResponseHeader};

    fn answer() -> FetchAnswer {
        let ok = FetchPartitionAnswer {
            partition: 3,
            error: 0,
            high_watermark: 10,
            last_stable_offset: 9,
            log_start_offset: 1,
            diverging: Some((2, 8)),
            current_leader: Some((7, 4)),
            aborted: Some(vec![AbortedTransaction { producer_id: 5, first_offset: 6 }]),
            preferred_read_replica: -1,
            records: FetchRecords::Bytes(Bytes::from_static(b"records")),
        };
        FetchAnswer {
            error: 0,
            session_id: 42,
            topics: vec![FetchTopicAnswer { name: "t".into(), id: Uuid::from_u128(9), partitions: vec![ok] }],
            node_endpoints: vec![NodeEndpoint { id: 7, host: "h".into(), port: 9092, rack: None }],
        }
    }

    #[test]
    fn every_version_decodes_to_what_was_meant() {
        for version in 0..=16 {
            let frame = encode(77, version, answer()).unwrap();
            let mut bytes = BytesMut::new();
            for part in frame.parts {
                let Part::Bytes(part) = part else { panic!("no files here") };
                bytes.put_slice(&part);
            }
            let mut bytes = bytes.freeze();
            let length = bytes.split_to(4);
            assert_eq!(i32::from_be_bytes(length[..].try_into().unwrap()) as usize, bytes.len());
            let header = ResponseHeader::decode(&mut bytes, FetchResponse::header_version(version)).unwrap();
            assert_eq!(header.correlation_id, 77);
            let body = FetchResponse::decode(&mut bytes, version).unwrap();
            assert!(bytes.is_empty(), "version {version}: {} bytes left", bytes.len());
            let partition = &body.responses[0].partitions[0];
            assert_eq!(partition.records.as_deref(), Some(&b"records"[..]));
            assert_eq!((partition.partition_index, partition.high_watermark), (3, 10));
            if version >= 4 {
                assert_eq!(partition.aborted_transactions.as_ref().unwrap()[0].first_offset, 6);
            }
            if version >= 12 {
                assert_eq!((partition.diverging_epoch.epoch, partition.current_leader.leader_epoch), (2, 4));
            }
            if version >= 16 {
                assert_eq!(body.node_endpoints[0].port, 9092);
            }
        }
    }
}
