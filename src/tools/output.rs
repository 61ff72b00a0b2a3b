//! Where the tools print: stdout and stderr without panics when the reader has gone, and log lines in the layout
//! of Kafka's tools (`[time] LEVEL message (logger)` on stderr).

use std::io::Write as _;

/// Writes to stdout; false when nobody reads it any more.
pub fn out(text: &str) -> bool {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_ok()
}

/// Writes to stderr.
pub fn err(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// A log line of a tool; `message` may span lines.
pub fn log(level: &str, logger: &str, message: &str) {
    let now = chrono::Local::now().format("%Y-%m-%d %H:%M:%S,%3f");
    err(&format!("[{now}] {level} {message} ({logger})\n"));
}

/// A log line followed by an error, as log4j prints a logged exception.
pub fn log_error(logger: &str, message: &str, error: &super::failure::JavaError) {
    log("ERROR", logger, message);
    err(&error.stack_trace());
}

/// Prints what our own client logs at WARN and above, as Kafka's tools show the log of Java's client.
pub fn show_client_log() {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    // A second call (tests) finds the first one's in place.
    let _ = tracing_subscriber::registry().with(ClientLog).try_init();
}

struct ClientLog;

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for ClientLog {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: tracing_subscriber::layer::Context<'_, S>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        log(event.metadata().level().as_str(), event.metadata().target(), &message.0);
    }
}

/// The text of an event.
struct Message(String);

impl tracing::field::Visit for Message {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
