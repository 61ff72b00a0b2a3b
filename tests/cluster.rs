//! Three brokers: replicas in sync, leaders that die, records that stay.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::Cluster;

/// What dying neighbours make a broker say.
const NEIGHBOUR_GONE: &[&str] = &["Error in response for fetch request", "was unsuccessful", "AlterPartition"];

#[test]
fn a_topic_of_three_replicas_outlives_its_leaders() {
    let mut cluster = Cluster::start(3, &[("min.insync.replicas", "2")]);
    NEIGHBOUR_GONE.iter().for_each(|text| cluster.expect_log(text));
    cluster.create_topic("t", 1, 3);
    cluster.await_isr("t", 0, 3);
    let mut expected = Vec::new();
    for round in 0..3 {
        for i in 0..20 {
            let value = format!("{round}-{i}");
            cluster.produce("t", 0, &value);
            expected.push(value);
        }
        let leader = cluster.leader("t", 0);
        cluster.kill(leader);
        let next = cluster.await_other_leader("t", 0, leader);
        let value = format!("{round}-after");
        cluster.produce("t", 0, &value);
        expected.push(value);
        assert_eq!(cluster.values("t", 0), expected, "read from broker {next} after broker {leader} died");
        cluster.launch(leader);
        cluster.await_isr("t", 0, 3);
    }
    cluster.assert_replicas_equal("t", 0);
}
