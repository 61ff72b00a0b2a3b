//! What to send next: requests from what is known of the partitions.

use super::super::requests;
use super::super::session::Asked;
use super::{EARLIEST, FULL_LOOK_MS, FetcherCore, Followed, InFlight, LATEST, Outgoing, Phase, Step};
use crate::topic::TopicPartition;

impl FetcherCore {
    /// What to do now. Not to be asked while an answer is awaited.
    pub fn next_step(&mut self, broker_epoch: i64, now_ms: i64) -> Step {
        self.wake_delayed(now_ms);
        if self.ready_to(Phase::Truncating, now_ms).any(|(_, p)| self.truncates_alone(p)) {
            return Step::Truncate;
        }
        if let Some(request) = self.epochs_request(now_ms).or_else(|| self.offsets_request(now_ms)) {
            return Step::Send(request);
        }
        match self.fetch_request(broker_epoch, now_ms) {
            Some(request) => {
                self.in_flight = Some(InFlight::Fetch);
                Step::Send(request)
            }
            None => Step::Wait(self.next_look(now_ms)),
        }
    }

    /// When something may be ready again; a throttle is looked at after the back-off time.
    fn next_look(&self, now_ms: i64) -> Option<i64> {
        let delayed = self.delayed.first().map(|(at, _)| *at);
        let held_back = (!self.held_back.is_empty()).then(|| now_ms.saturating_add(self.settings.backoff_ms));
        [delayed, held_back].into_iter().flatten().min()
    }

    fn wake_delayed(&mut self, now_ms: i64) {
        while let Some((at, tp)) = self.delayed.pop_first() {
            if at > now_ms {
                self.delayed.insert((at, tp));
                return;
            }
            if let Some(followed) = self.partitions.get_mut(&tp) {
                followed.ready_at_ms = 0;
            }
            self.change(&tp);
        }
    }

    fn ready_to(&self, phase: Phase, now_ms: i64) -> impl Iterator<Item = (&TopicPartition, &Followed)> {
        let known = self.seeking.iter().filter_map(|tp| Some((tp, self.partitions.get(tp)?)));
        known.filter(move |(_, p)| p.phase == phase && p.ready_at_ms <= now_ms)
    }

    /// Without epochs of its own, or where leaders tell in fetches, a log is cut without asking.
    fn truncates_alone(&self, followed: &Followed) -> bool {
        self.settings.versions.truncates_on_fetch
            || followed.log.latest_epoch().is_none()
            || self.settings.versions.epochs.is_none()
    }

    /// Cuts the logs that have nothing to ask about: to the initial offset, their high watermark.
    pub fn truncate(&mut self, now_ms: i64) {
        let ready: Vec<TopicPartition> = self
            .ready_to(Phase::Truncating, now_ms)
            .filter(|(_, p)| self.truncates_alone(p))
            .map(|(tp, _)| tp.clone())
            .collect();
        for tp in ready {
            let Some(offset) = self.partitions.get(&tp).map(|p| p.offset) else { continue };
            self.cut(&tp, offset, true, now_ms);
        }
    }

    fn epochs_request(&mut self, now_ms: i64) -> Option<Outgoing> {
        let version = self.settings.versions.epochs?;
        let with_epoch =
            |(tp, p): (&TopicPartition, &Followed)| Some((tp.clone(), p.leader_epoch, p.log.latest_epoch()?));
        let asked: Vec<_> = self.ready_to(Phase::Truncating, now_ms).filter_map(with_epoch).collect();
        if asked.is_empty() {
            return None;
        }
        let request = requests::epochs(&self.settings, &asked);
        self.in_flight = Some(InFlight::Epochs(asked));
        Some(Outgoing::Epochs(version, request))
    }

    fn offsets_request(&mut self, now_ms: i64) -> Option<Outgoing> {
        for (phase, timestamp) in [(Phase::SeekingEnd, LATEST), (Phase::SeekingStart, EARLIEST)] {
            let asked: Vec<_> = self.ready_to(phase, now_ms).map(|(tp, p)| (tp.clone(), p.leader_epoch)).collect();
            if !asked.is_empty() {
                let request = requests::list_offsets(&self.settings, timestamp, &asked);
                self.in_flight = Some(InFlight::Offsets(timestamp, asked));
                return Some(Outgoing::ListOffsets(self.settings.versions.list_offsets, request));
            }
        }
        None
    }

    /// Leaves out what the throttle stops (`shouldFollowerThrottle`), and takes back in what it does not stop any more.
    fn hold_back(&mut self, now_ms: i64) {
        let before = std::mem::take(&mut self.held_back);
        if self.quota.is_exceeded(now_ms) {
            let held = |(tp, p): &(&TopicPartition, &Followed)| {
                p.phase == Phase::Fetching && !p.in_sync && self.quota.is_throttled(&tp.topic, tp.partition)
            };
            self.held_back = self.partitions.iter().filter(held).map(|(tp, _)| tp.clone()).collect();
        }
        let moved: Vec<TopicPartition> = before.symmetric_difference(&self.held_back).cloned().collect();
        moved.iter().for_each(|tp| self.change(tp));
    }

    fn wanted(&self, tp: &TopicPartition, now_ms: i64) -> Option<Asked> {
        let followed = self.partitions.get(tp)?;
        let ready = followed.phase == Phase::Fetching && followed.ready_at_ms <= now_ms && !self.held_back.contains(tp);
        let epoch = followed.last_fetched_epoch.filter(|_| self.settings.versions.truncates_on_fetch);
        ready.then(|| Asked {
            topic_id: followed.topic_id,
            fetch_offset: followed.offset,
            log_start_offset: followed.log.log_start_offset(),
            leader_epoch: followed.leader_epoch,
            last_fetched_epoch: epoch.unwrap_or(-1),
        })
    }

    fn fetch_request(&mut self, broker_epoch: i64, now_ms: i64) -> Option<Outgoing> {
        let uses_ids = self.nameless == 0 && requests::may_use_topic_ids(&self.settings);
        if uses_ids != self.session.uses_topic_ids() {
            self.session.restart();
        }
        if self.session.is_full() || now_ms >= self.next_look_ms {
            self.next_look_ms = now_ms + FULL_LOOK_MS;
            let all = self.partitions.iter().map(|(tp, p)| (p.place, tp.clone()));
            self.changed.extend(all);
        }
        self.hold_back(now_ms);
        let changed = std::mem::take(&mut self.changed);
        let request = if self.session.is_full() {
            let wanted: Vec<_> =
                changed.into_iter().filter_map(|(_, tp)| self.wanted(&tp, now_ms).map(|asked| (tp, asked))).collect();
            if wanted.is_empty() {
                return None;
            }
            self.session.full(wanted, uses_ids)
        } else {
            let changes = changed.into_iter().map(|(_, tp)| {
                let wanted = self.wanted(&tp, now_ms);
                (tp, wanted)
            });
            let request = self.session.incremental(changes.collect());
            if self.session.is_empty() && request.forgotten.is_empty() {
                return None;
            }
            request
        };
        let version = requests::fetch_version(&self.settings, uses_ids);
        Some(Outgoing::Fetch(version, requests::fetch(&self.settings, version, broker_epoch, request)))
    }
}
