//! Which versions of its three requests a controller sends: they follow `inter.broker.protocol.version`, since
//! the controller does not ask brokers what they support.
//!
//! Answers to the version choices in Kafka's `AbstractControllerBrokerRequestBatch`.

use crate::config::ProtocolVersion;

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
    /// Whether `/feature` is enabled (2.7-IV0 on).
    pub features: bool,
    /// Format version of `/feature`.
    pub feature_znode: i32,
    /// Whether leaders ask the controller for changes of in-sync sets (2.7-IV2 on) and do not write them themselves.
    pub leaders_ask: bool,
}

/// The newest version whose threshold the protocol has reached.
fn pick(ibp: ProtocolVersion, thresholds: &[(&str, i16)], lowest: i16) -> i16 {
    thresholds.iter().find(|(threshold, _)| ibp.at_least(threshold)).map_or(lowest, |(_, version)| *version)
}

const LEADER_AND_ISR: &[(&str, i16)] =
    &[("3.4-IV0", 7), ("3.2-IV0", 6), ("2.8-IV1", 5), ("2.4-IV1", 4), ("2.4-IV0", 3), ("2.2-IV0", 2), ("1.0-IV0", 1)];
const UPDATE_METADATA: &[(&str, i16)] = &[
    ("3.4-IV0", 8),
    ("2.8-IV1", 7),
    ("2.4-IV1", 6),
    ("2.2-IV0", 5),
    ("1.0-IV0", 4),
    ("0.10.2-IV0", 3),
    ("0.10.0-IV1", 2),
    ("0.9.0", 1),
];
const STOP_REPLICA: &[(&str, i16)] = &[("3.4-IV0", 4), ("2.6-IV0", 3), ("2.4-IV1", 2), ("2.2-IV0", 1)];

impl ControlVersions {
    /// The versions for `inter.broker.protocol.version`.
    pub fn of(ibp: ProtocolVersion) -> ControlVersions {
        ControlVersions {
            leader_and_isr: pick(ibp, LEADER_AND_ISR, 0),
            update_metadata: pick(ibp, UPDATE_METADATA, 0),
            stop_replica: pick(ibp, STOP_REPLICA, 0),
            leader_recovery: ibp.at_least("3.2-IV0"),
            topic_ids: ibp.at_least("2.8-IV0"),
            features: ibp.at_least("2.7-IV0"),
            feature_znode: if ibp.at_least("3.3-IV0") { 2 } else { 1 },
            leaders_ask: ibp.at_least("2.7-IV2"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follow_the_protocol() {
        let of = |text| {
            let v = ControlVersions::of(ProtocolVersion::parse(text).unwrap());
            (v.leader_and_isr, v.update_metadata, v.stop_replica, v.leader_recovery, v.topic_ids)
        };
        assert_eq!(of("3.7"), (7, 8, 4, true, true));
        assert_eq!(of("3.7-IV4"), (7, 8, 4, true, true));
        assert_eq!(of("3.3"), (6, 7, 3, true, true));
        assert_eq!(of("2.8-IV0"), (4, 6, 3, false, true));
        assert_eq!(of("2.8"), (5, 7, 3, false, true));
        assert_eq!(of("2.4-IV0"), (3, 5, 1, false, false));
        assert_eq!(of("2.6"), (4, 6, 3, false, false));
        assert_eq!(of("0.10.2"), (0, 3, 0, false, false));
        assert_eq!(of("0.10.0"), (0, 2, 0, false, false));
        assert_eq!(of("0.9.0"), (0, 1, 0, false, false));
        assert_eq!(of("0.8.2"), (0, 0, 0, false, false));
        let later = |text| {
            let v = ControlVersions::of(ProtocolVersion::parse(text).unwrap());
            (v.features, v.feature_znode, v.leaders_ask)
        };
        assert_eq!(later("3.3-IV0"), (true, 2, true));
        assert_eq!(later("3.2"), (true, 1, true));
        assert_eq!(later("2.7-IV1"), (true, 1, false));
        assert_eq!(later("2.6"), (false, 1, false));
    }
}
