//! Small things every layer needs and no layer owns: the disk seam, crash-safe file replacement, the wall clock, blocking work, and
//! log lines in Kafka's format.

pub mod blocking;
pub mod clock;
pub mod crashsafe;
pub mod disk;
pub mod logging;
