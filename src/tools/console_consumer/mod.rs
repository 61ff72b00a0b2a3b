//! `kafka-console-consumer`: prints the records of topics (Kafka's `ConsoleConsumer`), on librdkafka.

mod deserializer;
mod formatter;
mod internal_topics;
mod options;
mod receiver;

use std::io::Write as _;

use self::formatter::Printable;
use self::options::ConsumerOptions;
use self::receiver::{Receiver, Stop};
use super::failure::{Failure, JavaError, print_uncaught};
use super::output::{err, log_error, out};
use super::signals::Signals;

pub use self::options::TABLE;

const LOGGER: &str = "kafka.tools.ConsoleConsumer$";

pub fn run(args: &[String]) -> i32 {
    let options = match ConsumerOptions::parse(args) {
        Ok(options) => options,
        Err(failure) => return failure.finish(print_uncaught),
    };
    let signals = Signals::catch();
    match consume(&options, &signals) {
        Ok(()) => {
            if options.systest_events {
                out("shutdown_complete\n");
            }
            signals.exit_code().unwrap_or(0)
        }
        Err(failure) => failure.finish(|error| log_error(LOGGER, "Unknown error when running consumer: ", error)),
    }
}

fn consume(options: &ConsumerOptions, signals: &Signals) -> Result<(), Failure> {
    let properties = options.consumer_properties()?;
    let receiver = Receiver::start(&options.source, &properties, &options.group)?;
    let mut printed = Printed::default();
    let outcome = print_records(options, &receiver, signals, &mut printed);
    printed.flush();
    drop(receiver);
    err(&format!("Processed a total of {} messages\n", printed.count));
    outcome.map_err(Failure::from)
}

/// What was printed: counted when a record is taken, written out when no more records are at hand.
#[derive(Default)]
struct Printed {
    count: u64,
    pending: Vec<u8>,
}

impl Printed {
    /// False when nobody reads stdout any more.
    fn flush(&mut self) -> bool {
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(&self.pending).and_then(|()| stdout.flush());
        self.pending.clear();
        written.is_ok()
    }
}

/// How much may wait to be written while more records are at hand, in bytes.
const FLUSH_AT: usize = 64 * 1024;

fn print_records(
    options: &ConsumerOptions,
    receiver: &Receiver,
    signals: &Signals,
    printed: &mut Printed,
) -> Result<(), JavaError> {
    while options.max_messages.is_none_or(|max| printed.count < max) {
        let received = receiver.receive(options.timeout_ms, signals, || printed.flush());
        let message = match received {
            Ok(message) => message,
            Err(Stop::Signal) => return Ok(()),
            Err(Stop::OutputGone) => {
                err("Unable to write to standard out, closing consumer.\n");
                return Ok(());
            }
            Err(Stop::Error(error)) => {
                printed.flush();
                log_error(LOGGER, "Error processing message, terminating consumer process: ", &error);
                return Ok(());
            }
            Err(Stop::Authentication(error)) => return Err(error),
        };
        printed.count += 1;
        let record: Printable<'_> = receiver::printable(&message);
        if let Err(error) = options.formatter.format(&record, &mut printed.pending) {
            printed.flush();
            if !options.skip_on_error {
                return Err(error);
            }
            log_error(LOGGER, "Error processing message, skipping this message: ", &error);
        }
        if printed.pending.len() >= FLUSH_AT && !printed.flush() {
            err("Unable to write to standard out, closing consumer.\n");
            return Ok(());
        }
    }
    Ok(())
}
