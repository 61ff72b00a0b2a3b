//! Which versions of its three requests a controller sends: they follow `inter.broker.protocol.version`, since
//! the controller does not ask brokers what they support.
//!
//! Answers to the version choices in Kafka's `AbstractControllerBrokerRequestBatch`.

/// Versions of the controller's requests, and what else hangs on the inter-broker protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlVersions {
    pub leader_and_isr: i16,
    pub update_metadata: i16,
    pub stop_replica: i16,
    /// Whether an unclean leader is marked as recovering (3.2-IV0 on).
    pub leader_recovery: bool,
    /// Whether topics get ids (2.8-IV0 on).
    pub topic_ids: bool,
}

type Ibp = (u32, u32, u32);

/// Reads `3.7`, `3.7-IV4` or `0.10.2`; a release without `-IV` stands for its last one.
fn parse(text: &str) -> Option<Ibp> {
    let (release, iv) = match text.split_once("-IV") {
        Some((release, iv)) => (release, iv.parse().ok()?),
        None => (text, u32::MAX),
    };
    let mut numbers = release.split('.').map(str::parse::<u32>);
    let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some((major, minor, iv))
}

/// The newest version whose threshold the protocol has reached.
fn pick(ibp: Ibp, thresholds: &[(Ibp, i16)], lowest: i16) -> i16 {
    thresholds.iter().find(|(threshold, _)| ibp >= *threshold).map_or(lowest, |(_, version)| *version)
}

impl ControlVersions {
    /// The versions for `inter.broker.protocol.version`; text that cannot be read counts as the newest.
    pub fn for_ibp(text: &str) -> ControlVersions {
        let ibp = parse(text).unwrap_or((u32::MAX, 0, 0));
        let leader_and_isr = [
            ((3, 4, 0), 7),
            ((3, 2, 0), 6),
            ((2, 8, 1), 5),
            ((2, 4, 1), 4),
            ((2, 4, 0), 3),
            ((2, 2, 0), 2),
            ((1, 0, 0), 1),
        ];
        let update_metadata = [((3, 4, 0), 8), ((2, 8, 1), 7), ((2, 4, 1), 6), ((2, 2, 0), 5), ((1, 0, 0), 4)];
        let stop_replica = [((3, 4, 0), 4), ((2, 6, 0), 3), ((2, 4, 1), 2), ((2, 2, 0), 1)];
        ControlVersions {
            leader_and_isr: pick(ibp, &leader_and_isr, 0),
            update_metadata: pick(ibp, &update_metadata, 3),
            stop_replica: pick(ibp, &stop_replica, 0),
            leader_recovery: ibp >= (3, 2, 0),
            topic_ids: ibp >= (2, 8, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follow_the_protocol() {
        let of = |text| {
            let v = ControlVersions::for_ibp(text);
            (v.leader_and_isr, v.update_metadata, v.stop_replica, v.leader_recovery, v.topic_ids)
        };
        assert_eq!(of("3.7"), (7, 8, 4, true, true));
        assert_eq!(of("3.7-IV4"), (7, 8, 4, true, true));
        assert_eq!(of("3.3"), (6, 7, 3, true, true));
        assert_eq!(of("2.8-IV0"), (4, 6, 3, false, true));
        assert_eq!(of("2.8"), (5, 7, 3, false, true));
        assert_eq!(of("2.4-IV0"), (3, 5, 1, false, false));
        assert_eq!(of("0.10.2"), (0, 3, 0, false, false));
    }
}
