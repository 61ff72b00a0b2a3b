//! `kafka-replica-verification`: reads all replicas of topics side by side and says where they differ, and how far
//! behind they are (Kafka's `ReplicaVerificationTool`). It runs until it is ended, or until offsets do not match.
//!
//! [`compare`] is the comparison, pure; [`fetch`] asks the brokers.

mod compare;
mod fetch;

use self::compare::{Finding, Replicas};
use super::admin;
use super::failure::{Failure, JavaError};
use super::options::{HELP, OptionSpec, Options, VERSION};
use super::output::{err, log, out};
use super::properties::Properties;
use super::signals::Signals;
use super::topic_filter;

const LOGGER: &str = "org.apache.kafka.tools.ReplicaVerificationTool";
const PURPOSE: &str = "Validate that all replicas for a set of topics have the same data.";

pub static TABLE: &[OptionSpec] = &[
    OptionSpec::valued("broker-list", "String: hostname:port,...,hostname:port", "REQUIRED: Brokers to begin with."),
    OptionSpec::valued("fetch-size", "Integer: bytes", "Most bytes of a partition in one request.").or("1048576"),
    OptionSpec::valued("max-wait-ms", "Integer: ms", "How long a request may wait for records.").or("1000"),
    OptionSpec::valued("topic-white-list", "Java regex (String)", "The old name of --topics-include.").or(".*"),
    OptionSpec::valued("topics-include", "Java regex (String)", "The topics to look at.").or(".*"),
    OptionSpec::valued(
        "time",
        "Long: timestamp/-1(latest)/-2(earliest)",
        "Where to begin: at the first record not older than this.",
    )
    .or("-1"),
    OptionSpec::valued("report-interval-ms", "Long: ms", "How often the greatest lag is printed.").or("30000"),
    HELP,
    VERSION,
];

/// The command line, taken apart.
struct Order {
    topics: regex::Regex,
    fetch_size: i32,
    max_wait_ms: i32,
    /// Timestamp, or -1 for the end and -2 for the start.
    from: i64,
    report_interval_ms: i64,
}

pub fn run(args: &[String]) -> i32 {
    match execute(args) {
        Ok(()) => 0,
        Err(failure) => failure.finish(|error| err(&format!("{}\n{}\n", error.message(), error.stack_trace()))),
    }
}

fn execute(args: &[String]) -> Result<(), Failure> {
    let options = Options::parse(TABLE, args)?;
    options.help_or_version(PURPOSE)?;
    options.require(&["broker-list"])?;
    options.forbid("topics-include", &["topic-white-list"])?;
    let brokers = options.value("broker-list")?.unwrap_or_default();
    if !brokers.split(',').all(has_port) {
        return Err(options.usage("Please provide valid host:port like host1:9091,host2:9092\n"));
    }
    let signals = Signals::catch();
    let admin = admin::create_with(&brokers, &Properties::default())?;
    let number = |name: &str| Ok::<i32, JavaError>(options.int(name)?.unwrap_or_default());
    let included = if options.has("topics-include") { "topics-include" } else { "topic-white-list" };
    let pattern = options.value(included)?.unwrap_or_default();
    let order = Order {
        topics: topic_filter::include_list(&pattern).map_err(|_| {
            JavaError::new("java.lang.RuntimeException", format!("{pattern} is an invalid regex")).with_frames()
        })?,
        fetch_size: number("fetch-size")?,
        max_wait_ms: number("max-wait-ms")?,
        from: options.long("time")?.unwrap_or_default(),
        report_interval_ms: options.long("report-interval-ms")?.unwrap_or_default(),
    };
    admin::block_on(verify(&admin, &order, &signals))
}

fn has_port(server: &str) -> bool {
    server.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

fn now() -> String {
    chrono::Local::now().format("%Y-%m-%d %H:%M:%S,%3f").to_string()
}

async fn verify(admin: &crate::client::Admin, order: &Order, signals: &Signals) -> Result<(), Failure> {
    let topics = fetch::topics(admin, &order.topics).await?;
    if topics.is_empty() {
        log(
            "ERROR",
            LOGGER,
            "No topics found. [topics-include] if specified, is either filtering out all topics or there is no topic.",
        );
        return Err(Failure::Code(1));
    }
    let mut replicas = Replicas::new(fetch::initial_offsets(admin, &topics, order.from).await?);
    out(&format!("{}: verification process is started\n", now()));
    let mut reported = std::time::Instant::now();
    loop {
        let answers = tokio::select! {
            answers = fetch::round(admin, &topics, &replicas, order) => answers?,
            code = ended(signals) => return Err(Failure::Code(code)),
        };
        let (findings, lag) = replicas.compare(&answers)?;
        for finding in &findings {
            if !out(&format!("{}: {finding}\n", now())) {
                return Err(Failure::Code(1));
            }
            if matches!(finding, Finding::Offsets { .. }) {
                return Err(Failure::Code(1));
            }
        }
        if let Some(lag) = lag
            && reported.elapsed().as_millis() > u128::try_from(order.report_interval_ms).unwrap_or(0)
        {
            reported = std::time::Instant::now();
            if !out(&format!("{}: {lag}\n", now())) {
                return Err(Failure::Code(1));
            }
        }
    }
}

/// The exit code of the signal, once one has come.
async fn ended(signals: &Signals) -> i32 {
    loop {
        if let Some(code) = signals.exit_code() {
            return code;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
