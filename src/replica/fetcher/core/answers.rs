//! What an answer means for the partitions it is about.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::super::Fetched;
use super::super::truncation::{LeaderEpochEnd, truncation_point};
use super::{FetcherCore, InFlight, Incoming, LATEST, Phase, TARGET};
use crate::protocol::ErrorCode;
use crate::protocol::messages::fetch_response::PartitionData;
use crate::protocol::messages::{FetchResponse, ListOffsetsResponse, OffsetForLeaderEpochResponse};
use crate::topic::TopicPartition;

impl FetcherCore {
    /// Takes in the answer to the last step.
    pub fn on_response(&mut self, response: Incoming, now_ms: i64) {
        match (self.in_flight.take(), response) {
            (Some(InFlight::Fetch), Incoming::Fetch(response)) => self.on_fetch(response, now_ms),
            (Some(InFlight::Offsets(timestamp, asked)), Incoming::ListOffsets(response)) => {
                self.on_offsets(timestamp, &asked, &response, now_ms);
            }
            (Some(InFlight::Epochs(asked)), Incoming::Epochs(response)) => self.on_epochs(&asked, &response, now_ms),
            _ => tracing::error!(target: TARGET, "{} An answer to nothing that was asked", self.name),
        }
    }

    /// The exchange failed; whether the leader saw the request is not known.
    pub fn on_failure(&mut self, now_ms: i64) {
        match self.in_flight.take() {
            Some(InFlight::Offsets(_, asked)) => asked.iter().for_each(|(tp, _)| self.delay(tp, now_ms)),
            Some(InFlight::Epochs(asked)) => asked.iter().for_each(|(tp, ..)| self.delay(tp, now_ms)),
            Some(InFlight::Fetch) | None => {
                self.session.on_failure();
                self.delay_all(now_ms);
            }
        }
    }

    fn delay_all(&mut self, now_ms: i64) {
        let all: Vec<TopicPartition> = self.partitions.keys().cloned().collect();
        all.iter().for_each(|tp| self.delay(tp, now_ms));
    }

    fn on_fetch(&mut self, mut response: FetchResponse, now_ms: i64) {
        let code = ErrorCode::from_code(response.error_code);
        let mut order = Vec::new();
        for topic in &mut response.responses {
            let name = match self.session.uses_topic_ids() {
                true => self.session.topic_name(topic.topic_id).cloned(),
                false => Some(Arc::from(&*topic.topic.0)),
            };
            // A topic nobody asked for makes the whole answer void, below.
            let name = name.unwrap_or_else(|| Arc::from(""));
            let partitions = std::mem::take(&mut topic.partitions);
            order.extend(partitions.into_iter().map(|p| (TopicPartition::new(name.clone(), p.partition_index), p)));
        }
        let answered: BTreeMap<TopicPartition, usize> = order.iter().map(|(tp, _)| tp.clone()).zip(0..).collect();
        if !self.session.on_response(code, response.session_id, &answered) {
            tracing::info!(target: TARGET, "{} The leader's answer does not fit the fetch session (error {code}), a new one begins", self.name);
            if code == ErrorCode::FetchSessionTopicIdError {
                self.delay_all(now_ms);
            }
            return;
        }
        let mut passed_over = false;
        for (tp, data) in order {
            passed_over |= !self.on_partition(&tp, data, now_ms);
        }
        if passed_over {
            // In this session the leader would not say again what it has said.
            self.session.restart();
        }
    }

    /// False if what the leader says of the partition answers a question of before.
    fn on_partition(&mut self, tp: &TopicPartition, data: PartitionData, now_ms: i64) -> bool {
        let (Some(followed), Some(asked)) = (self.partitions.get(tp), self.session.asked(tp)) else { return true };
        // It may have been taken away and given again while the answer was on its way.
        let current = followed.offset == asked.fetch_offset
            && followed.leader_epoch == asked.leader_epoch
            && followed.phase == Phase::Fetching
            && followed.ready_at_ms <= now_ms;
        if !current {
            return false;
        }
        match ErrorCode::from_code(data.error_code) {
            ErrorCode::None if data.diverging_epoch.epoch >= 0 => {
                let leader =
                    LeaderEpochEnd { epoch: data.diverging_epoch.epoch, end_offset: data.diverging_epoch.end_offset };
                self.on_divergence(tp, leader, now_ms);
            }
            ErrorCode::None => self.on_records(tp, data, now_ms),
            ErrorCode::OffsetOutOfRange => self.enter(tp, Phase::SeekingEnd),
            code => self.on_error(tp, code, now_ms),
        }
        true
    }

    fn on_error(&mut self, tp: &TopicPartition, code: ErrorCode, now_ms: i64) {
        match code {
            ErrorCode::FencedLeaderEpoch => {
                let epoch = self.partitions.get(tp).map_or(-1, |p| p.leader_epoch);
                tracing::info!(target: TARGET, "{} Partition {tp} has an older epoch ({epoch}) than the current leader. Will await the new LeaderAndIsr state before resuming fetching.", self.name);
                self.give_up(tp);
            }
            ErrorCode::UnknownLeaderEpoch
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::InconsistentTopicId => {
                tracing::info!(target: TARGET, "{} The leader of {tp} answers {code}; asking again later", self.name);
                self.delay(tp, now_ms);
            }
            code => {
                tracing::error!(target: TARGET, "{} Error for partition {tp}: {code}", self.name);
                self.delay(tp, now_ms);
            }
        }
    }

    fn on_divergence(&mut self, tp: &TopicPartition, leader: LeaderEpochEnd, now_ms: i64) {
        let Some(followed) = self.partitions.get(tp) else { return };
        let truncation = truncation_point(&*followed.log, followed.offset, leader);
        tracing::info!(target: TARGET, "{} Truncating partition {tp} to {truncation:?} due to leader epoch {} that ends at {}", self.name, leader.epoch, leader.end_offset);
        self.cut(tp, truncation.offset, truncation.is_final, now_ms);
    }

    fn on_records(&mut self, tp: &TopicPartition, data: PartitionData, now_ms: i64) {
        let Some(followed) = self.partitions.get_mut(tp) else { return };
        let (high_watermark, bytes) = (data.high_watermark, data.records.as_ref().map_or(0, |records| records.len()));
        let fetched = Fetched {
            leader_epoch: followed.leader_epoch,
            fetch_offset: followed.offset,
            records: data.records.unwrap_or_default(),
            high_watermark: data.high_watermark,
            log_start_offset: data.log_start_offset,
        };
        if let Err(error) = followed.log.append(fetched, now_ms) {
            return self.on_log_error(tp, &error, now_ms);
        }
        if bytes > 0 && self.quota.is_throttled(&tp.topic, tp.partition) {
            self.quota.record(bytes, now_ms);
        }
        let end = followed.log.log_end_offset();
        followed.in_sync = high_watermark <= end;
        if end != followed.offset {
            followed.offset = end;
            followed.last_fetched_epoch = followed.log.latest_epoch().or(followed.last_fetched_epoch);
            let old = (followed.place, tp.clone());
            self.next_place += 1;
            followed.place = self.next_place;
            self.changed.remove(&old);
        }
        self.change(tp);
    }

    fn on_offsets(
        &mut self,
        timestamp: i64,
        asked: &[(TopicPartition, i32)],
        response: &ListOffsetsResponse,
        now_ms: i64,
    ) {
        let mut answers = HashMap::new();
        for topic in &response.topics {
            for partition in &topic.partitions {
                let old = partition.old_style_offsets.first().copied();
                let offset =
                    if self.settings.versions.list_offsets == 0 { old.unwrap_or(-1) } else { partition.offset };
                let tp = TopicPartition::new(&*topic.name.0, partition.partition_index);
                answers.insert(tp, (ErrorCode::from_code(partition.error_code), offset));
            }
        }
        for (tp, epoch) in asked {
            if self.partitions.get(tp).is_none_or(|p| p.leader_epoch != *epoch) {
                continue;
            }
            match answers.get(tp) {
                Some((ErrorCode::None, offset)) if *offset < 0 => self.delay(tp, now_ms),
                Some((ErrorCode::None, offset)) if timestamp == LATEST => self.on_leader_end(tp, *offset, now_ms),
                Some((ErrorCode::None, offset)) => self.on_leader_start(tp, *offset, now_ms),
                Some((code, _)) => self.on_error(tp, *code, now_ms),
                None => self.delay(tp, now_ms),
            }
        }
    }

    fn on_leader_end(&mut self, tp: &TopicPartition, leader_end: i64, now_ms: i64) {
        let Some(followed) = self.partitions.get(tp) else { return };
        let end = followed.log.log_end_offset();
        if leader_end < end {
            tracing::warn!(target: TARGET, "{} Reset fetch offset for partition {tp} from {} to current leader's latest offset {leader_end}", self.name, followed.offset);
            self.cut(tp, leader_end, true, now_ms);
        } else {
            self.enter(tp, Phase::SeekingStart);
        }
    }

    fn on_leader_start(&mut self, tp: &TopicPartition, leader_start: i64, now_ms: i64) {
        let Some(followed) = self.partitions.get_mut(tp) else { return };
        let end = followed.log.log_end_offset();
        tracing::warn!(target: TARGET, "{} Reset fetch offset for partition {tp} from {} to current leader's start offset {leader_start}", self.name, followed.offset);
        if leader_start > end
            && let Err(error) = followed.log.restart_at(followed.leader_epoch, leader_start, now_ms)
        {
            return self.on_log_error(tp, &error, now_ms);
        }
        followed.offset = followed.log.log_end_offset();
        followed.last_fetched_epoch = followed.log.latest_epoch();
        self.enter(tp, Phase::Fetching);
    }

    fn on_epochs(
        &mut self,
        asked: &[(TopicPartition, i32, i32)],
        response: &OffsetForLeaderEpochResponse,
        now_ms: i64,
    ) {
        let mut answers = HashMap::new();
        for topic in &response.topics {
            for partition in &topic.partitions {
                let end = LeaderEpochEnd { epoch: partition.leader_epoch, end_offset: partition.end_offset };
                let tp = TopicPartition::new(&*topic.topic.0, partition.partition);
                answers.insert(tp, (ErrorCode::from_code(partition.error_code), end));
            }
        }
        for (tp, leader_epoch, _) in asked {
            let current = self.partitions.get(tp).is_some_and(|p| p.leader_epoch == *leader_epoch);
            match answers.get(tp) {
                _ if !current => {}
                Some((ErrorCode::None, end)) => self.on_divergence(tp, *end, now_ms),
                Some((code, _)) => self.on_error(tp, *code, now_ms),
                None => self.delay(tp, now_ms),
            }
        }
    }
}
