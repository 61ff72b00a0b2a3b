//! The Java exception of each error code, since the tools print class names.

use rdkafka::types::RDKafkaErrorCode;

use super::failure::JavaError;
use crate::protocol::ErrorCode;

/// Names that do not follow from the code's name.
const IRREGULAR: &[(&str, &str)] = &[
    ("BROKER_ID_NOT_REGISTERED", "BrokerIdNotRegisteredException"),
    ("CLUSTER_AUTHORIZATION_FAILED", "ClusterAuthorizationException"),
    ("CORRUPT_MESSAGE", "CorruptRecordException"),
    ("DELEGATION_TOKEN_AUTHORIZATION_FAILED", "DelegationTokenAuthorizationException"),
    ("GROUP_AUTHORIZATION_FAILED", "GroupAuthorizationException"),
    ("INVALID_CONFIG", "InvalidConfigurationException"),
    ("INVALID_TOPIC_EXCEPTION", "InvalidTopicException"),
    ("INVALID_TXN_STATE", "InvalidTxnStateException"),
    ("MESSAGE_TOO_LARGE", "RecordTooLargeException"),
    ("OFFSET_METADATA_TOO_LARGE", "OffsetMetadataTooLarge"),
    ("RECORD_LIST_TOO_LARGE", "RecordBatchTooLargeException"),
    ("REQUEST_TIMED_OUT", "TimeoutException"),
    ("SASL_AUTHENTICATION_FAILED", "SaslAuthenticationException"),
    ("TOPIC_ALREADY_EXISTS", "TopicExistsException"),
    ("TOPIC_AUTHORIZATION_FAILED", "TopicAuthorizationException"),
    ("TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "TransactionalIdAuthorizationException"),
    ("UNKNOWN_SERVER_ERROR", "UnknownServerException"),
];

/// The simple class name, such as `NotEnoughReplicasException`.
pub fn exception_class(code: ErrorCode) -> String {
    let name = code.name();
    if let Some((_, class)) = IRREGULAR.iter().find(|(code, _)| *code == name) {
        return (*class).to_owned();
    }
    let mut class = String::new();
    for word in name.split('_') {
        let mut letters = word.chars();
        class.extend(letters.next());
        class.push_str(&letters.as_str().to_ascii_lowercase());
    }
    class + "Exception"
}

/// The exception of a code with the text a broker sent for it, or the code's own text.
pub fn api_error(code: ErrorCode, message: Option<&str>) -> JavaError {
    JavaError::api(&exception_class(code), message.filter(|text| !text.is_empty()).unwrap_or(code.message()))
}

/// The wire code behind a native error; `None` for those librdkafka makes up itself.
pub fn wire_code(native: RDKafkaErrorCode) -> Option<ErrorCode> {
    let number = i16::try_from(native as i32).ok().filter(|number| *number >= -1)?;
    Some(ErrorCode::from_code(number))
}

/// The exception Java would throw for a native error.
pub fn native_error(native: RDKafkaErrorCode, reason: &str) -> JavaError {
    match (native, wire_code(native)) {
        (_, Some(code)) => api_error(code, None),
        (RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::OperationTimedOut, _) => {
            JavaError::api("TimeoutException", reason)
        }
        (RDKafkaErrorCode::Authentication, _) => JavaError::api("SaslAuthenticationException", reason),
        _ => JavaError::new("org.apache.kafka.common.KafkaException", reason).with_frames(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        assert_eq!(exception_class(ErrorCode::from_code(19)), "NotEnoughReplicasException");
        assert_eq!(exception_class(ErrorCode::from_code(36)), "TopicExistsException");
        assert_eq!(exception_class(ErrorCode::from_code(3)), "UnknownTopicOrPartitionException");
        assert_eq!(wire_code(RDKafkaErrorCode::NotEnoughReplicas), Some(ErrorCode::from_code(19)));
        assert_eq!(wire_code(RDKafkaErrorCode::MessageTimedOut), None);
    }
}
