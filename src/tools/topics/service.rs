//! The actions of `kafka-topics`, on the admin client.

use std::collections::BTreeSet;

use regex::Regex;

use super::assignment::WantedTopic;
use super::describe::{Filter, Reassignments, Settings};
use crate::client::{Admin, Call, ClientError, Target};
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use crate::protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use crate::protocol::messages::delete_topics_request::DeleteTopicState;
use crate::protocol::messages::describe_configs_request::DescribeConfigsResource;
use crate::protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use crate::protocol::messages::metadata_response::MetadataResponseTopic;
use crate::protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    ListPartitionReassignmentsRequest, MetadataResponse, TopicName,
};
use crate::tools::admin::java_error;
use crate::tools::failure::JavaError;
use crate::tools::java_names::api_error;
use crate::tools::options::Options;
use crate::tools::output::out;
use crate::tools::topic_filter;
use crate::topic::{id_from_text, id_to_text, is_internal};

/// DescribeConfigs: the resource is a topic.
const TOPIC_RESOURCE: i8 = 2;
/// DescribeConfigs: the value is Kafka's default.
const DEFAULT_SOURCE: i8 = 5;

pub struct Service<'a> {
    admin: &'a Admin,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// An entry's error, if it has one.
fn entry_error(code: i16, message: Option<&StrBytes>) -> Result<(), JavaError> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        code => Err(api_error(code, message.map(|message| &**message))),
    }
}

/// The one error of an entry for which the whole call is sent again: it went to a broker that is not the controller.
fn misdirected(code: i16) -> Result<(), ClientError> {
    match ErrorCode::from_code(code) {
        code @ ErrorCode::NotController => Err(ClientError::Broker { code, message: None }),
        _ => Ok(()),
    }
}

fn name_of(topic: &MetadataResponseTopic) -> &str {
    topic.name.as_ref().map_or("", |name| name.0.as_str())
}

impl<'a> Service<'a> {
    pub fn new(admin: &'a Admin) -> Service<'a> {
        Service { admin }
    }

    /// How long the brokers may take over a change, in milliseconds.
    fn timeout_ms(&self) -> i32 {
        let config = self.admin.config();
        i32::try_from(config.request_timeout.min(config.api_timeout).as_millis()).unwrap_or(i32::MAX)
    }

    async fn all_topics(&self) -> Result<MetadataResponse, JavaError> {
        let mut metadata = self.admin.metadata("listTopics", None).await.map_err(java_error)?;
        metadata.topics.sort_by(|a, b| name_of(a).cmp(name_of(b)));
        Ok(metadata)
    }

    /// The topics that `--topic` matches and `--exclude-internal` leaves, by name.
    fn matching<'m>(
        &self,
        all: &'m MetadataResponse,
        options: &Options,
    ) -> Result<Vec<&'m MetadataResponseTopic>, JavaError> {
        let pattern = options.value("topic")?.map(|include| include_list(&include)).transpose()?;
        let hide_internal = options.has("exclude-internal");
        let wanted = |topic: &&MetadataResponseTopic| {
            let name = name_of(topic);
            pattern.as_ref().is_none_or(|pattern| pattern.is_match(name)) && !(hide_internal && is_internal(name))
        };
        Ok(all.topics.iter().filter(wanted).collect())
    }

    pub async fn list(&self, options: &Options) -> Result<(), JavaError> {
        let all = self.all_topics().await?;
        let names: Vec<&str> = self.matching(&all, options)?.into_iter().map(name_of).collect();
        out(&format!("{}\n", names.join("\n")));
        Ok(())
    }

    pub async fn create(&self, options: &Options) -> Result<(), JavaError> {
        let wanted = WantedTopic::of(options)?;
        if wanted.name.contains(['.', '_']) {
            out("WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could \
                 collide. To avoid issues it is best to use either, but not both.\n");
        }
        wanted.check_numbers()?;
        if wanted.name.is_empty() {
            let text = "The given topic name '' cannot be represented in a request.";
            return Err(JavaError::api("InvalidTopicException", text));
        }
        let topics = vec![creatable(&wanted)];
        let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(self.timeout_ms());
        let call = Call::new("createTopics", Target::Controller);
        let response = self
            .admin
            .call(
                call,
                |_| Ok(request.clone()),
                |answer| answer.topics.iter().try_for_each(|topic| misdirected(topic.error_code)),
            )
            .await
            .map_err(java_error)?;
        for topic in &response.topics {
            let exists = topic.error_code == ErrorCode::TopicAlreadyExists.code();
            if exists && options.has("if-not-exists") {
                return Ok(());
            }
            entry_error(topic.error_code, topic.error_message.as_ref())?;
        }
        out(&format!("Created topic {}.\n", wanted.name));
        Ok(())
    }

    pub async fn alter(&self, options: &Options) -> Result<(), JavaError> {
        let wanted = WantedTopic::of(options)?;
        let all = self.all_topics().await?;
        let topics = self.matching(&all, options)?;
        ensure_exists(&topics, options)?;
        if topics.is_empty() {
            return Ok(());
        }
        let changes = topics.iter().map(|topic| change(topic, &wanted)).collect();
        let request = CreatePartitionsRequest::default().with_topics(changes).with_timeout_ms(self.timeout_ms());
        let call = Call::new("createPartitions", Target::Controller);
        let response = self
            .admin
            .call(
                call,
                |_| Ok(request.clone()),
                |answer| answer.results.iter().try_for_each(|topic| misdirected(topic.error_code)),
            )
            .await
            .map_err(java_error)?;
        response.results.iter().try_for_each(|topic| entry_error(topic.error_code, topic.error_message.as_ref()))
    }

    pub async fn delete(&self, options: &Options) -> Result<(), JavaError> {
        let all = self.all_topics().await?;
        let topics = self.matching(&all, options)?;
        ensure_exists(&topics, options)?;
        if topics.is_empty() {
            return Ok(());
        }
        let names: Vec<TopicName> = topics.iter().map(|topic| TopicName(text(name_of(topic)))).collect();
        let request = DeleteTopicsRequest::default().with_timeout_ms(self.timeout_ms());
        let build = |version: i16| {
            let state = |name: &TopicName| DeleteTopicState::default().with_name(Some(name.clone()));
            // Names went into a list of their own until topic ids came.
            Ok(match version {
                ..=5 => request.clone().with_topic_names(names.clone()),
                _ => request.clone().with_topics(names.iter().map(state).collect()),
            })
        };
        let call = Call::new("deleteTopics", Target::Controller);
        let response = self
            .admin
            .call(call, build, |answer| answer.responses.iter().try_for_each(|topic| misdirected(topic.error_code)))
            .await
            .map_err(java_error)?;
        response.responses.iter().try_for_each(|topic| entry_error(topic.error_code, topic.error_message.as_ref()))
    }

    pub async fn describe(&self, options: &Options) -> Result<(), JavaError> {
        let id = options.value("topic-id")?.map(|id| topic_id(&id)).transpose()?.filter(|id| !id.is_nil());
        let all = self.all_topics().await?;
        let topics: Vec<&MetadataResponseTopic> = match id {
            Some(id) => all.topics.iter().filter(|topic| topic.topic_id == id).collect(),
            None => self.matching(&all, options)?,
        };
        match id {
            Some(id) if topics.is_empty() && !options.has("if-exists") => {
                let text = format!("TopicId '{}' does not exist as expected", id_to_text(id));
                return Err(JavaError::illegal_argument(text));
            }
            Some(_) => {}
            None => ensure_exists(&topics, options)?,
        }
        if topics.is_empty() {
            return Ok(());
        }
        topics.iter().try_for_each(|topic| entry_error(topic.error_code, None))?;
        let live: BTreeSet<i32> = all.brokers.iter().map(|broker| broker.node_id.0).collect();
        let filter = Filter::new(options, live);
        let (settings, reassignments) = tokio::try_join!(self.settings(&topics), self.reassignments())?;
        for (topic, settings) in topics.iter().zip(&settings) {
            if !out(&filter.lines(topic, settings, &reassignments)) {
                break;
            }
        }
        Ok(())
    }

    /// The settings of each topic, in their order.
    async fn settings(&self, topics: &[&MetadataResponseTopic]) -> Result<Vec<Settings>, JavaError> {
        let resource = |topic: &&MetadataResponseTopic| {
            DescribeConfigsResource::default()
                .with_resource_type(TOPIC_RESOURCE)
                .with_resource_name(text(name_of(topic)))
                .with_configuration_keys(None)
        };
        let request = DescribeConfigsRequest::default().with_resources(topics.iter().map(resource).collect());
        let call = Call::new("describeConfigs", Target::Any);
        let response = self.admin.call(call, |_| Ok(request.clone()), |_| Ok(())).await.map_err(java_error)?;
        let entry = |config: &DescribeConfigsResourceResult| {
            let value = config.value.as_ref().map(|value| value.to_string());
            // Version 0 has a flag where later ones have the source.
            (config.name.to_string(), value, config.config_source == DEFAULT_SOURCE || config.is_default)
        };
        let mut settings = Vec::new();
        for topic in topics {
            let Some(result) = response.results.iter().find(|result| &*result.resource_name == name_of(topic)) else {
                settings.push(Settings::new());
                continue;
            };
            entry_error(result.error_code, result.error_message.as_ref())?;
            settings.push(result.configs.iter().map(entry).collect());
        }
        Ok(settings)
    }

    /// Reassignments under way; none where the broker does not tell.
    async fn reassignments(&self) -> Result<Reassignments, JavaError> {
        let request = ListPartitionReassignmentsRequest::default().with_topics(None).with_timeout_ms(self.timeout_ms());
        let call = Call::new("listPartitionReassignments", Target::Controller);
        let judge = |answer: &crate::protocol::messages::ListPartitionReassignmentsResponse| {
            ClientError::from_code(answer.error_code, answer.error_message.as_ref().map(|text| text.to_string()))
        };
        let response = match self.admin.call(call, |_| Ok(request.clone()), judge).await {
            Ok(response) => response,
            Err(ClientError::UnsupportedVersion(_)) => return Ok(Reassignments::new()),
            Err(error) if error.code() == Some(ErrorCode::ClusterAuthorizationFailed) => {
                return Ok(Reassignments::new());
            }
            Err(error) => return Err(java_error(error)),
        };
        let moving = response.topics.into_iter().flat_map(|topic| {
            let name = topic.name.to_string();
            topic.partitions.into_iter().map(move |moving| ((name.clone(), moving.partition_index), moving))
        });
        Ok(moving.collect())
    }
}

fn broker_ids(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().map(|id| BrokerId(*id)).collect()
}

fn creatable(wanted: &WantedTopic) -> CreatableTopic {
    let by_hand = !wanted.assignment.is_empty();
    let assignments = wanted.assignment.iter().zip(0..).map(|(brokers, partition)| {
        CreatableReplicaAssignment::default().with_partition_index(partition).with_broker_ids(broker_ids(brokers))
    });
    let configs = wanted
        .configs
        .iter()
        .map(|(name, value)| CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value))));
    let factor = wanted.replication_factor.and_then(|factor| i16::try_from(factor).ok());
    CreatableTopic::default()
        .with_name(TopicName(text(&wanted.name)))
        .with_num_partitions(if by_hand { -1 } else { wanted.partitions.unwrap_or(-1) })
        .with_replication_factor(if by_hand { -1 } else { factor.unwrap_or(-1) })
        .with_assignments(assignments.collect())
        .with_configs(configs.collect())
}

/// The partitions a topic gets; an assignment names those it has as well, which are left out.
fn change(topic: &MetadataResponseTopic, wanted: &WantedTopic) -> CreatePartitionsTopic {
    let added = wanted.assignment.iter().skip(topic.partitions.len());
    let added = added.map(|brokers| CreatePartitionsAssignment::default().with_broker_ids(broker_ids(brokers)));
    CreatePartitionsTopic::default()
        .with_name(TopicName(text(name_of(topic))))
        .with_count(wanted.partitions.unwrap_or_default())
        .with_assignments((!wanted.assignment.is_empty()).then(|| added.collect()))
}

fn ensure_exists(found: &[&MetadataResponseTopic], options: &Options) -> Result<(), JavaError> {
    let requested = options.value("topic")?.unwrap_or_default();
    match found.is_empty() && !requested.is_empty() && !options.has("if-exists") {
        false => Ok(()),
        true => Err(JavaError::illegal_argument(format!("Topic '{requested}' does not exist as expected"))),
    }
}

/// `--topic` as a pattern.
fn include_list(raw: &str) -> Result<Regex, JavaError> {
    topic_filter::include_list(raw).map_err(|text| {
        JavaError::new("java.lang.RuntimeException", format!("{text} is an invalid regex.")).with_frames()
    })
}

fn topic_id(text: &str) -> Result<uuid::Uuid, JavaError> {
    if text.chars().count() > 24 {
        let prefix: String = text.chars().take(24).collect();
        let text = format!("Input string with prefix `{prefix}` is too long to be decoded as a base64 UUID");
        return Err(JavaError::illegal_argument(text));
    }
    id_from_text(text).ok_or_else(|| {
        // Four letters are three bytes, and a rest counts as far as it has whole ones.
        let bytes = text.trim_end_matches('=').len() * 6 / 8;
        JavaError::illegal_argument(format!(
            "Input string `{text}` decoded as {bytes} bytes, which is not equal to the expected 16 bytes of a \
             base64-encoded UUID"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_are_none() {
        assert_eq!(include_list("(").unwrap_err().message(), "( is an invalid regex.");
    }

    #[test]
    fn ids_that_are_none() {
        assert_eq!(
            topic_id("xyz").unwrap_err().message(),
            "Input string `xyz` decoded as 2 bytes, which is not equal to the expected 16 bytes of a base64-encoded UUID"
        );
    }
}
