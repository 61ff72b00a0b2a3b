//! What `--create` and `--alter` say about partitions, replicas and settings.

use std::collections::BTreeMap;

use crate::tools::failure::JavaError;
use crate::tools::options::Options;
use crate::tools::output::out;

/// The topic as the command line wants it.
#[derive(Debug)]
pub struct WantedTopic {
    pub name: String,
    pub partitions: Option<i32>,
    pub replication_factor: Option<i32>,
    /// Broker ids by partition; empty when the cluster is to choose.
    pub assignment: Vec<Vec<i32>>,
    pub configs: BTreeMap<String, String>,
}

impl WantedTopic {
    pub fn of(options: &Options) -> Result<WantedTopic, JavaError> {
        Ok(WantedTopic {
            name: options.value("topic")?.unwrap_or_default(),
            partitions: options.int("partitions")?,
            replication_factor: options.int("replication-factor")?,
            assignment: match options.value("replica-assignment")?.filter(|text| !text.is_empty()) {
                Some(text) => assignment(&text)?,
                None => Vec::new(),
            },
            configs: configs(&options.values("config"))?,
        })
    }

    /// Limits that Kafka's tool checks itself.
    pub fn check_numbers(&self) -> Result<(), JavaError> {
        if self.replication_factor.is_some_and(|factor| !(1..=i32::from(i16::MAX)).contains(&factor)) {
            return Err(JavaError::illegal_argument("The replication factor must be between 1 and 32767 inclusive"));
        }
        if self.partitions.is_some_and(|count| count < 1) {
            return Err(JavaError::illegal_argument("The partitions must be greater than 0"));
        }
        Ok(())
    }
}

/// `0:1,1:2` as broker ids by partition.
fn assignment(text: &str) -> Result<Vec<Vec<i32>>, JavaError> {
    let mut partitions: Vec<Vec<i32>> = Vec::new();
    for (index, part) in text.trim_end_matches(',').split(',').enumerate() {
        let brokers = part.split(':').map(|id| broker_id(id.trim())).collect::<Result<Vec<i32>, JavaError>>()?;
        let twice = repeated(&brokers);
        if !twice.is_empty() {
            let text = format!("Partition replica lists may not contain duplicate entries: {}", twice.join(","));
            let class = "org.apache.kafka.server.common.AdminCommandFailedException";
            return Err(JavaError::new(class, text).with_frames());
        }
        if partitions.first().is_some_and(|first| first.len() != brokers.len()) {
            let text = format!("Partition {index} has different replication factor: {brokers:?}");
            let class = "org.apache.kafka.server.common.AdminOperationException";
            return Err(JavaError::new(class, text).with_frames());
        }
        partitions.push(brokers);
    }
    Ok(partitions)
}

fn broker_id(text: &str) -> Result<i32, JavaError> {
    text.parse().map_err(|_| {
        JavaError::new("java.lang.NumberFormatException", format!("For input string: \"{text}\"")).with_frames()
    })
}

fn repeated(ids: &[i32]) -> Vec<String> {
    let mut repeated = Vec::new();
    for (at, id) in ids.iter().enumerate() {
        let text = id.to_string();
        if ids.iter().take(at).any(|earlier| earlier == id) && !repeated.contains(&text) {
            repeated.push(text);
        }
    }
    repeated
}

fn configs(words: &[String]) -> Result<BTreeMap<String, String>, JavaError> {
    let mut configs = BTreeMap::new();
    for word in words {
        // Java's split drops empty pieces at the end: `a=` has one part, `a=b=c` three.
        let mut parts: Vec<&str> = word.split('=').map(str::trim).collect();
        while parts.last() == Some(&"") {
            parts.pop();
        }
        let [key, value] = parts.as_slice() else {
            return Err(JavaError::illegal_argument(
                "requirement failed: Invalid topic config: all configs to be added must be in the format \"key=val\".",
            ));
        };
        configs.insert((*key).to_owned(), (*value).to_owned());
    }
    crate::config::topic::validate(&configs).map_err(|error| {
        let java = JavaError::new(error.java_class(), error.to_string());
        if error.java_class().starts_with("org.apache.kafka.common.errors.") { java } else { java.with_frames() }
    })?;
    if configs.contains_key("message.format.version") {
        // The names in braces are what Kafka prints.
        out("WARNING: The configuration ${TopicConfig.MESSAGE_FORMAT_VERSION_CONFIG}=${props.getProperty(\
             TopicConfig.MESSAGE_FORMAT_VERSION_CONFIG)} is specified. This configuration will be ignored if the \
             version is newer than the inter.broker.protocol.version specified in the broker or if the \
             inter.broker.protocol.version is 3.0 or newer. This configuration is deprecated and it will be removed \
             in Apache Kafka 4.0.\n");
    }
    Ok(configs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments() {
        assert_eq!(assignment("0:1,1:2").unwrap(), [[0, 1], [1, 2]]);
        let text = |words: &str| assignment(words).unwrap_err().message().to_owned();
        assert_eq!(text("0:0,1:2"), "Partition replica lists may not contain duplicate entries: 0");
        assert_eq!(text("0,1,2,0:1"), "Partition 3 has different replication factor: [0, 1]");
        assert_eq!(text("0:x"), "For input string: \"x\"");
    }
}
