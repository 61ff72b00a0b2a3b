//! Small things every layer needs and no layer owns: the disk seam and crash-safe file replacement.

pub mod crashsafe;
pub mod disk;
