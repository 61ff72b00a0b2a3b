//! Log lines in Kafka's format, `[2026-11-22 15:04:05,123] INFO message (kafka.server.KafkaServer)`, on standard
//! output. Tools wait for some of these lines, so the format is a contract.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged unless `OTTLA_LOG` says otherwise (`kafka.controller=debug,info`).
const DEFAULT_FILTER: &str = "info,zookeeper_client=error,rdkafka=warn,librdkafka=warn";

/// Sends all log lines to standard output from now on. A second call changes nothing.
pub fn init() {
    let filter = std::env::var("OTTLA_LOG").unwrap_or_else(|_| DEFAULT_FILTER.to_owned());
    let targets: Targets = filter.parse().unwrap_or_else(|_| Targets::new().with_default(Level::INFO));
    // It fails only when a subscriber is there already, and then lines go there.
    let _ = tracing_subscriber::registry().with(KafkaLines.with_filter(targets)).try_init();
}

struct KafkaLines;

impl<S: Subscriber> Layer<S> for KafkaLines {
    fn on_event(&self, event: &Event<'_>, _ctx: Context<'_, S>) {
        let mut line = String::with_capacity(160);
        let now = chrono::Local::now().format("[%Y-%m-%d %H:%M:%S,%3f]");
        let _ = write!(line, "{now} {} ", event.metadata().level());
        event.record(&mut Text(&mut line));
        let _ = writeln!(line, " ({})", event.metadata().target().replace("::", "."));
        // Nobody can be told when standard output is gone.
        let _ = std::io::stdout().lock().write_all(line.as_bytes());
    }
}

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
