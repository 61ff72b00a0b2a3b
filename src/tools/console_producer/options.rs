//! The options of `kafka-console-producer` and the properties they make (Kafka's `ConsoleProducer.ProducerConfig`).

use crate::tools::client_properties::port_of;
use crate::tools::failure::{Failure, JavaError};
use crate::tools::options::{HELP, OptionSpec, Options, VERSION, key_values};
use crate::tools::properties::Properties;

const PURPOSE: &str = "This tool helps to read data from standard input and publish it to Kafka.";
pub const LINE_READER: &str = "kafka.tools.ConsoleProducer$LineMessageReader";

pub static TABLE: &[OptionSpec] = &[
    OptionSpec::valued("topic", "String: topic", "REQUIRED: Topic to write to."),
    OptionSpec::valued(
        "broker-list",
        "String: broker-list",
        "DEPRECATED, the same as --bootstrap-server, which wins if both are given.",
    ),
    OptionSpec::valued(
        "bootstrap-server",
        "String: server to connect to",
        "REQUIRED unless --broker-list (deprecated) is given. Brokers to begin with: HOST1:PORT1,HOST2:PORT2.",
    )
    .required_unless("broker-list"),
    OptionSpec::switch("sync", "Wait for the answer to each record before sending the next."),
    OptionSpec::optional_value(
        "compression-codec",
        "String: compression-codec",
        "none, gzip, snappy, lz4 or zstd; gzip when given without a value.",
    ),
    OptionSpec::valued("batch-size", "Integer: size", "Size of a batch in bytes (`batch.size`).").or("16384"),
    OptionSpec::valued(
        "message-send-max-retries",
        "Integer",
        "How often a failed send is repeated before the record is given up (`retries`).",
    )
    .or("3"),
    OptionSpec::valued("retry-backoff-ms", "Long", "Wait before a send is repeated (`retry.backoff.ms`).").or("100"),
    OptionSpec::valued(
        "timeout",
        "Long: timeout_ms",
        "How long a record may wait for others to share its batch (`linger.ms`). Without this option lines go out \
         as soon as they are typed.",
    )
    .or("1000"),
    OptionSpec::valued("request-required-acks", "String: request required acks", "Acknowledgements wanted (`acks`).")
        .or("-1"),
    OptionSpec::valued(
        "request-timeout-ms",
        "Integer: request timeout ms",
        "How long the answer to a request may take (`request.timeout.ms`); above zero.",
    )
    .or("1500"),
    OptionSpec::valued(
        "metadata-expiry-ms",
        "Long: metadata expiration interval",
        "Age at which metadata is read again though nothing failed (`metadata.max.age.ms`).",
    )
    .or("300000"),
    OptionSpec::valued(
        "max-block-ms",
        "Long: max block on send",
        "How long a send may wait for metadata or memory (`max.block.ms`).",
    )
    .or("60000"),
    OptionSpec::valued(
        "max-memory-bytes",
        "Long: total memory in bytes",
        "Memory for records that wait to be sent (`buffer.memory`).",
    )
    .or("33554432"),
    OptionSpec::valued(
        "max-partition-memory-bytes",
        "Integer: memory in bytes per partition",
        "Size of a partition's batch (`batch.size`); wins over --batch-size.",
    )
    .or("16384"),
    OptionSpec::valued(
        "line-reader",
        "String: reader_class",
        "Class that turns lines into records. Only the default one exists here, as classes of others are Java.",
    )
    .or(LINE_READER),
    OptionSpec::valued(
        "socket-buffer-size",
        "Integer: size",
        "Size of the socket's send buffer (`send.buffer.bytes`).",
    )
    .or("102400"),
    OptionSpec::valued(
        "property",
        "String: prop",
        "key=value for the line reader; may be repeated. Known keys and their defaults:\n parse.key=false\n \
         parse.headers=false\n ignore.error=false\n key.separator=\\t\n headers.delimiter=\\t\n \
         headers.separator=,\n headers.key.separator=:\n null.marker= (a field equal to it is null)\nLines then \
         look like this:\n both: \"h1:v1,h2:v2\\tkey\\tvalue\"\n parse.key: \"key\\tvalue\"\n parse.headers: \
         \"h1:v1,h2:v2\\tvalue\"",
    ),
    OptionSpec::valued(
        "reader-config",
        "String: config file",
        "Properties file for the line reader; --property wins over it.",
    ),
    OptionSpec::valued("producer-property", "String: producer_prop", "key=value for the producer; may be repeated."),
    OptionSpec::valued(
        "producer.config",
        "String: config file",
        "Properties file for the producer; --producer-property wins over it.",
    ),
    HELP,
    VERSION,
];

/// The checked command line.
pub struct ProducerOptions {
    pub topic: String,
    pub sync: bool,
    pub line_reader: String,
    bootstrap: String,
    options: Options,
}

impl ProducerOptions {
    pub fn parse(args: &[String]) -> Result<ProducerOptions, Failure> {
        let options = Options::parse(TABLE, args).map_err(|error| Failure::usage(TABLE, error.message()))?;
        options.help_or_version(PURPOSE)?;
        options.require(&["topic"])?;
        let servers = if options.has("bootstrap-server") { "bootstrap-server" } else { "broker-list" };
        let bootstrap = options.value(servers)?.unwrap_or_default();
        if !bootstrap.split(',').all(|server| port_of(server).is_some()) {
            return Err(options.usage("Please provide valid host:port like host1:9091,host2:9092\n "));
        }
        Ok(ProducerOptions {
            topic: options.value("topic")?.unwrap_or_default(),
            sync: options.has("sync"),
            line_reader: options.value("line-reader")?.unwrap_or_default(),
            bootstrap,
            options,
        })
    }

    /// The properties of the line reader.
    pub fn reader_properties(&self) -> Result<Properties, JavaError> {
        let mut properties = Properties::load_optional(self.options.value("reader-config")?)?;
        properties.extend(key_values(&self.options.values("property")));
        Ok(properties)
    }

    /// The properties of the producer, under their Java names. An option wins over the same property; its default
    /// does not.
    pub fn producer_properties(&self) -> Result<Properties, JavaError> {
        let mut properties = Properties::load_optional(self.options.value("producer.config")?)?;
        properties.extend(key_values(&self.options.values("producer-property")));
        properties.set("bootstrap.servers", self.bootstrap.as_str());
        properties.set("compression.type", self.compression()?);
        if !properties.contains("client.id") {
            properties.set("client.id", "console-producer");
        }
        // Where nobody asked for a delay, a line is sent as it is typed; Kafka's second of waiting only shows.
        if !self.options.has("timeout") && !properties.contains("linger.ms") {
            properties.set("linger.ms", "5");
        }
        for (key, option) in [
            ("linger.ms", "timeout"),
            ("acks", "request-required-acks"),
            ("request.timeout.ms", "request-timeout-ms"),
            ("retries", "message-send-max-retries"),
            ("retry.backoff.ms", "retry-backoff-ms"),
            ("send.buffer.bytes", "socket-buffer-size"),
            ("buffer.memory", "max-memory-bytes"),
            ("batch.size", "batch-size"),
            ("batch.size", "max-partition-memory-bytes"),
            ("metadata.max.age.ms", "metadata-expiry-ms"),
            ("max.block.ms", "max-block-ms"),
        ] {
            if self.options.has(option) || !properties.contains(key) {
                let value = match option {
                    "request-required-acks" => self.options.value(option)?,
                    _ => self.options.long(option)?.map(|number| number.to_string()),
                };
                properties.set(key, value.unwrap_or_default());
            }
        }
        Ok(properties)
    }

    fn compression(&self) -> Result<String, JavaError> {
        match (self.options.has("compression-codec"), self.options.value("compression-codec")?) {
            (false, _) => Ok("none".to_owned()),
            (true, Some(codec)) if !codec.is_empty() => Ok(codec),
            (true, _) => Ok("gzip".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(words: &str) -> Properties {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        ProducerOptions::parse(&words).ok().unwrap().producer_properties().unwrap()
    }

    #[test]
    fn options_win_over_properties_and_defaults_do_not() {
        let properties = properties(
            "--broker-list h:1 --topic t --compression-codec --producer-property acks=1 \
             --producer-property retries=9 --message-send-max-retries 7",
        );
        let get = |key| properties.get(key).unwrap();
        assert_eq!((get("acks"), get("retries"), get("compression.type")), ("1", "7", "gzip"));
        assert_eq!((get("bootstrap.servers"), get("client.id"), get("linger.ms")), ("h:1", "console-producer", "5"));
    }
}
