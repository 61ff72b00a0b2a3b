//! The admin client as tools make it: from `--bootstrap-server` and `--command-config`, its log on stderr, its errors
//! as Java's.

use std::future::Future;

use super::failure::JavaError;
use super::java_names::api_error;
use super::output;
use super::properties::Properties;
use crate::client::ClientError;
use crate::client::admin::Admin;

/// Makes the client; connects to nothing yet.
pub fn create(bootstrap: &str, command_config: Option<String>) -> Result<Admin, JavaError> {
    create_with(bootstrap, &Properties::load_optional(command_config)?)
}

/// The same with properties that are not (all) out of a file.
pub fn create_with(bootstrap: &str, properties: &Properties) -> Result<Admin, JavaError> {
    let properties: Vec<(String, String)> =
        properties.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    output::show_client_log();
    Admin::new(bootstrap, &properties).map_err(|error| {
        JavaError::new("org.apache.kafka.common.KafkaException", "Failed to create new KafkaAdminClient")
            .with_frames()
            .caused_by(java_error(error))
    })
}

/// Runs a tool's calls to their end on this thread.
pub fn block_on<T, E: From<JavaError>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| E::from(JavaError::new("java.io.IOException", error.to_string()).with_frames()))?;
    runtime.block_on(work)
}

/// What Java's client throws for an error of ours.
pub fn java_error(error: ClientError) -> JavaError {
    let text = error.to_string();
    match error {
        ClientError::Broker { code, message } => api_error(code, message.as_deref()),
        ClientError::NodeAssignment(_) => JavaError::api("TimeoutException", text),
        ClientError::CallTimeout { cause, .. } => {
            JavaError::api("TimeoutException", text).caused_by(java_error(*cause))
        }
        ClientError::Timeout(_) => JavaError::api("TimeoutException", text),
        ClientError::UnsupportedVersion(_) => JavaError::api("UnsupportedVersionException", text),
        ClientError::Connect { .. } | ClientError::Disconnected(_) => JavaError::api("DisconnectException", text),
        ClientError::Protocol(_) => JavaError::new("org.apache.kafka.common.KafkaException", text).with_frames(),
        ClientError::Config(_) => super::client_properties::config_exception(text),
    }
}

/// The same as a future throws it.
pub fn execution_error(error: ClientError) -> JavaError {
    in_execution(java_error(error))
}

/// An error within Java's `ExecutionException`.
pub fn in_execution(cause: JavaError) -> JavaError {
    JavaError::new("java.util.concurrent.ExecutionException", cause.to_string()).with_frames().caused_by(cause)
}
