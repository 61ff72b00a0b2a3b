//! `kafka-topics`: lists, creates, describes, alters and deletes topics (Kafka's `TopicCommand`).

mod assignment;
mod describe;
mod options;
mod service;

use self::service::Service;
use super::admin;
use super::failure::{Failure, JavaError};
use super::options::Options;
use super::output::{err, log, out};

pub use self::options::TABLE;

const LOGGER: &str = "org.apache.kafka.tools.TopicCommand";

pub fn run(args: &[String]) -> i32 {
    match execute(args) {
        Ok(()) => 0,
        Err(failure) => failure.finish(print_early),
    }
}

fn execute(args: &[String]) -> Result<(), Failure> {
    let options = options::parse(args)?;
    let bootstrap = options.value("bootstrap-server")?.unwrap_or_default();
    let admin = admin::create(&bootstrap, options.value("command-config")?)?;
    let outcome = admin::block_on(act(&options, Service::new(&admin)));
    // From here on an error has another face.
    outcome.map_err(|error| {
        out(&format!("Error while executing topic command : {}\n", error.message()));
        log("ERROR", LOGGER, &error.stack_trace());
        Failure::Code(1)
    })
}

async fn act(options: &Options, service: Service<'_>) -> Result<(), JavaError> {
    if options.has("create") {
        service.create(options).await
    } else if options.has("alter") {
        service.alter(options).await
    } else if options.has("list") {
        service.list(options).await
    } else if options.has("describe") {
        service.describe(options).await
    } else {
        service.delete(options).await
    }
}

/// What goes wrong before the action begins: the message, then the error as Java prints it.
fn print_early(error: &JavaError) {
    err(&format!("{}\n{}\n", error.message(), error.stack_trace()));
}
