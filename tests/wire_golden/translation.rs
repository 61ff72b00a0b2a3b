//! Names that every run gives anew (topic ids, member ids, the cluster id, fetch sessions) all have a fixed length, so
//! recorded and present ones can be exchanged in whole frames: in requests one way, in answers the other way.

use bytes::Bytes;
use kafka_protocol::messages::ResponseKind;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use uuid::Uuid;

#[derive(Default)]
pub struct Translation {
    /// Recorded, present.
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Translation {
    pub fn to_present(&self, frame: &[u8]) -> Bytes {
        self.pairs.iter().fold(frame.to_vec(), |frame, (recorded, present)| replace(frame, recorded, present)).into()
    }

    pub fn to_recorded(&self, frame: &[u8]) -> Bytes {
        self.pairs.iter().fold(frame.to_vec(), |frame, (recorded, present)| replace(frame, present, recorded)).into()
    }

    /// Takes what it can from two answers to the same request.
    pub fn learn(&mut self, recorded: &ResponseKind, present: &ResponseKind) {
        match (recorded, present) {
            (ResponseKind::Metadata(r), ResponseKind::Metadata(p)) => {
                if let (Some(r), Some(p)) = (&r.cluster_id, &p.cluster_id) {
                    self.add(r.as_bytes(), p.as_bytes());
                }
                let id = |topics: &[MetadataResponseTopic], name: &_| {
                    topics.iter().find(|t| t.name.as_ref() == Some(name)).map(|t| t.topic_id)
                };
                for topic in &r.topics {
                    if let Some(present) = topic.name.as_ref().and_then(|name| id(&p.topics, name)) {
                        self.add_id(topic.topic_id, present);
                    }
                }
            }
            (ResponseKind::DescribeCluster(r), ResponseKind::DescribeCluster(p)) => {
                self.add(r.cluster_id.as_bytes(), p.cluster_id.as_bytes());
            }
            (ResponseKind::CreateTopics(r), ResponseKind::CreateTopics(p)) => {
                for (r, p) in r.topics.iter().zip(&p.topics) {
                    self.add_id(r.topic_id, p.topic_id);
                }
            }
            (ResponseKind::JoinGroup(r), ResponseKind::JoinGroup(p)) => {
                self.add(r.member_id.as_bytes(), p.member_id.as_bytes());
            }
            (ResponseKind::Fetch(r), ResponseKind::Fetch(p)) if r.session_id != 0 && p.session_id != 0 => {
                self.add(&r.session_id.to_be_bytes(), &p.session_id.to_be_bytes());
            }
            _ => {}
        }
    }

    fn add_id(&mut self, recorded: Uuid, present: Uuid) {
        if !recorded.is_nil() && !present.is_nil() {
            self.add(recorded.as_bytes(), present.as_bytes());
        }
    }

    pub fn add_port(&mut self, recorded: u16, present: u16) {
        self.add(&i32::from(recorded).to_be_bytes(), &i32::from(present).to_be_bytes());
    }

    fn add(&mut self, recorded: &[u8], present: &[u8]) {
        // A name of another length would show as a difference.
        if recorded.len() == present.len() && recorded != present && !recorded.is_empty() {
            self.pairs.retain(|(r, _)| r != recorded);
            self.pairs.push((recorded.to_vec(), present.to_vec()));
        }
    }
}

fn replace(mut frame: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut at = 0;
    while let Some(found) = frame[at..].windows(from.len()).position(|window| window == from) {
        frame[at + found..at + found + to.len()].copy_from_slice(to);
        at += found + to.len();
    }
    frame
}
