//! Why something the controller was about did not come to its end.

use crate::zk::store::StoreError;

/// The controller's error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControllerError {
    /// Another broker is the controller by now (`ControllerMovedException`): this one must resign.
    #[error("{0}")]
    Moved(String),
    #[error("{0}")]
    Store(StoreError),
    /// A rule of the state machines forbids it (`StateChangeFailedException`, `IllegalStateException`).
    #[error("{0}")]
    StateChange(String),
    /// Something outside the controller did not do its part.
    #[error("{0}")]
    Broker(String),
}

impl ControllerError {
    /// Whether the office is lost.
    pub fn is_moved(&self) -> bool {
        matches!(self, ControllerError::Moved(_))
    }
}

impl From<StoreError> for ControllerError {
    fn from(error: StoreError) -> ControllerError {
        match error {
            StoreError::ControllerMoved(why) => ControllerError::Moved(why),
            error => ControllerError::Store(error),
        }
    }
}

/// Result of the controller's work.
pub type ControllerResult<T = ()> = Result<T, ControllerError>;
