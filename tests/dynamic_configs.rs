//! Settings that are changed while brokers run: what is refused, what is stored, what takes effect.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::admin::text;
use common::{Broker, Cluster, PATIENCE, Wire, eventually};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const INVALID_REQUEST: i16 = 42;
const INVALID_CONFIG: i16 = 40;

type Change<'a> = (&'a str, i8, Option<&'a str>);

fn resource(kind: i8, name: &str, changes: &[Change]) -> AlterConfigsResource {
    let change = |(name, op, value): &Change| {
        AlterableConfig::default().with_name(text(name)).with_config_operation(*op).with_value(value.map(text))
    };
    AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(changes.iter().map(change).collect())
}

fn alter_as(wire: &mut Wire, kind: i8, name: &str, changes: &[Change], dry: bool) -> (i16, Option<String>) {
    let request = IncrementalAlterConfigsRequest::default()
        .with_resources(vec![resource(kind, name, changes)])
        .with_validate_only(dry);
    let answer = wire.call(1, &request).responses.remove(0);
    (answer.error_code, answer.error_message.map(|m| m.to_string()))
}

fn alter(wire: &mut Wire, kind: i8, name: &str, changes: &[Change]) -> (i16, Option<String>) {
    alter_as(wire, kind, name, changes, false)
}

/// Value and source of a setting; none when the broker does not name it.
fn described(wire: &mut Wire, kind: i8, name: &str, key: &str) -> Option<(String, i8)> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(Some(vec![text(key)]));
    let answer = wire.call(4, &DescribeConfigsRequest::default().with_resources(vec![resource]));
    let entry = answer.results[0].configs.first()?;
    Some((entry.value.as_ref().map(|v| v.to_string()).unwrap_or_default(), entry.config_source))
}

fn await_described(wire: &mut Wire, kind: i8, name: &str, key: &str, expected: Option<(&str, i8)>) {
    eventually("the setting is in force", PATIENCE, || {
        let found = described(wire, kind, name, key);
        (found.as_ref().map(|(v, s)| (v.as_str(), *s)) == expected).then_some(())
    });
}

#[test]
fn what_is_wrong_is_refused_in_kafkas_words_and_changes_nothing() {
    let broker = Broker::start(&[]);
    let mut wire = broker.wire();
    wire.create_topic("t", 1, &[("retention.ms", "1000000")]);
    let mut refused = |kind, name: &str, changes: &[Change]| alter(&mut wire, kind, name, changes);
    let is = |code: i16, message: &str| (code, Some(message.to_owned()));
    let rate = "leader.replication.throttled.rate";
    assert_eq!(
        refused(BROKER, "0", &[(rate, SET, Some("-1"))]),
        is(INVALID_REQUEST, &format!("Invalid value -1 for configuration {rate}: Value must be at least 0"))
    );
    assert_eq!(
        refused(BROKER, "7", &[(rate, SET, Some("1"))]),
        is(INVALID_REQUEST, "Unexpected broker id, expected 0, but received 7")
    );
    assert_eq!(
        refused(BROKER, "x", &[(rate, SET, Some("1"))]),
        is(INVALID_REQUEST, "Node id must be an integer, but it is: x")
    );
    assert_eq!(
        refused(BROKER, "0", &[("log.dirs", SET, Some("/x"))]),
        is(INVALID_REQUEST, "Cannot update these configs dynamically: Set(log.dirs)")
    );
    assert_eq!(refused(TOPIC, "", &[]), is(INVALID_REQUEST, "Default topic resources are not allowed."));
    assert_eq!(
        refused(TOPIC, "t", &[("retention.ms", SET, None)]),
        is(INVALID_REQUEST, "Null value not supported for : retention.ms")
    );
    assert_eq!(
        refused(TOPIC, "t", &[("retention.ms", SET, Some("1")), ("retention.ms", DELETE, None)]),
        is(INVALID_REQUEST, "Error due to duplicate config keys")
    );
    assert_eq!(
        refused(TOPIC, "t", &[("retention.ms", APPEND, Some("1"))]),
        is(INVALID_CONFIG, "Config value append is not allowed for config key: retention.ms")
    );
    assert_eq!(
        refused(TOPIC, "t", &[("retention.ms", SET, Some("x"))]),
        is(
            INVALID_CONFIG,
            "Invalid config value for resource ConfigResource(type=TOPIC, name='t'): Invalid value x for configuration \
             retention.ms: Not a number of type LONG"
        )
    );
    assert_eq!(refused(3, "t", &[]), is(INVALID_REQUEST, "Unknown resource type 3"));
    let twice = IncrementalAlterConfigsRequest::default()
        .with_resources(vec![resource(TOPIC, "t", &[]), resource(TOPIC, "t", &[])]);
    for answer in wire.call(1, &twice).responses {
        assert_eq!(answer.error_code, INVALID_REQUEST);
        assert_eq!(&*answer.error_message.unwrap(), "Each resource must appear at most once.");
    }
    let dry = alter_as(&mut wire, TOPIC, "t", &[("retention.ms", SET, Some("5"))], true);
    assert_eq!(dry, (0, None));
    assert_eq!(alter(&mut wire, TOPIC, "t", &[]), (0, None));
    assert_eq!(described(&mut wire, TOPIC, "t", "retention.ms"), Some(("1000000".to_owned(), 1)));
}

#[test]
fn settings_of_brokers_reach_those_they_are_for_and_the_topics_that_inherit_them() {
    let cluster = Cluster::start(2, &[]);
    cluster.create_topic("t", 1, 1);
    let (mut zero, mut one) = (cluster.brokers[0].wire(), cluster.brokers[1].wire());
    assert_eq!(alter(&mut zero, BROKER, "", &[("log.retention.ms", SET, Some("7777777"))]), (0, None));
    await_described(&mut one, BROKER, "1", "log.retention.ms", Some(("7777777", 3)));
    await_described(&mut zero, TOPIC, "t", "retention.ms", Some(("7777777", 3)));
    assert_eq!(alter(&mut one, BROKER, "1", &[("log.retention.ms", SET, Some("8888888"))]), (0, None));
    await_described(&mut one, BROKER, "1", "log.retention.ms", Some(("8888888", 2)));
    assert_eq!(described(&mut zero, BROKER, "0", "log.retention.ms"), Some(("7777777".to_owned(), 3)));
    // AlterConfigs replaces everything: here by nothing.
    let resource = kafka_protocol::messages::alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(text("1"));
    let answer = one.call(2, &AlterConfigsRequest::default().with_resources(vec![resource]));
    assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
    await_described(&mut one, BROKER, "1", "log.retention.ms", Some(("7777777", 3)));
    assert_eq!(alter(&mut one, BROKER, "", &[("log.retention.ms", DELETE, None)]), (0, None));
    await_described(&mut zero, TOPIC, "t", "retention.ms", Some(("604800000", 5)));
}

#[test]
fn what_was_set_holds_after_a_restart() {
    let mut broker = Broker::start(&[]);
    let mut wire = broker.wire();
    let rate = "follower.replication.throttled.rate";
    assert_eq!(alter(&mut wire, BROKER, "0", &[(rate, SET, Some("4096"))]), (0, None));
    await_described(&mut wire, BROKER, "0", rate, Some(("4096", 2)));
    broker.terminate();
    broker.launch();
    let mut wire = broker.wire();
    assert_eq!(described(&mut wire, BROKER, "0", rate), Some(("4096".to_owned(), 2)));
    assert!(broker.is_kafka() || broker.log().contains(&format!("{rate} is 4096 now")));
    assert_eq!(alter(&mut wire, BROKER, "0", &[(rate, DELETE, None)]), (0, None));
    await_described(&mut wire, BROKER, "0", rate, None);
}
