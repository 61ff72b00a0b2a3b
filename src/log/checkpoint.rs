//! Checkpoint files: a version line, a count line, then one line per entry. The three offset checkpoints of a log dir
//! (`recovery-point-`, `replication-`, `log-start-offset-checkpoint`, and the cleaner's) share the format
//! `topic partition offset`; the leader-epoch file has `epoch startOffset`.
//!
//! Answers to Kafka's `CheckpointFile` and `OffsetCheckpointFile`. Owns no state; callers serialize writers of one file.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use crate::topic::TopicPartition;
use crate::util::crashsafe::{self, Durability};
use crate::util::disk::Disk;

pub const RECOVERY_POINT_FILE: &str = "recovery-point-offset-checkpoint";
pub const HIGH_WATERMARK_FILE: &str = "replication-offset-checkpoint";
pub const LOG_START_OFFSET_FILE: &str = "log-start-offset-checkpoint";
pub const CLEANER_OFFSET_FILE: &str = "cleaner-offset-checkpoint";

const CURRENT_VERSION: i32 = 0;

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// The entry lines of a checkpoint, checked against version and count. A missing or blank file has none.
pub(crate) fn read_lines(disk: &dyn Disk, path: &Path) -> io::Result<Vec<String>> {
    let bytes = match disk.read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let text = String::from_utf8(bytes).map_err(|e| invalid(format!("Malformed checkpoint file {path:?}: {e}")))?;
    let mut lines = text.lines();
    let Some(version) = lines.next() else { return Ok(Vec::new()) };
    let malformed = |line: &str| invalid(format!("Malformed line in checkpoint file ({}): {line}", path.display()));
    let version: i32 = version.trim().parse().map_err(|_| malformed(version))?;
    if version != CURRENT_VERSION {
        return Err(invalid(format!("Unrecognized version of the checkpoint file ({}): {version}", path.display())));
    }
    let Some(count) = lines.next() else { return Ok(Vec::new()) };
    let expected: usize = count.trim().parse().map_err(|_| malformed(count))?;
    let entries: Vec<String> = lines.map(str::to_owned).collect();
    if entries.len() != expected {
        return Err(invalid(format!(
            "Expected {expected} entries in checkpoint file ({}), but found only {}",
            path.display(),
            entries.len()
        )));
    }
    Ok(entries)
}

pub(crate) fn write_lines(
    disk: &dyn Disk,
    path: &Path,
    count: usize,
    lines: &str,
    durability: Durability,
) -> io::Result<()> {
    crashsafe::replace(disk, path, format!("{CURRENT_VERSION}\n{count}\n{lines}").as_bytes(), durability)
}

/// Reads an offset checkpoint; empty when the file is missing or has no bytes.
pub fn read_offsets(disk: &dyn Disk, path: &Path) -> io::Result<HashMap<TopicPartition, i64>> {
    let malformed = |line: &str| invalid(format!("Malformed line in checkpoint file ({}): {line}", path.display()));
    read_lines(disk, path)?
        .iter()
        .map(|line| {
            let mut words = line.split_whitespace();
            let (Some(topic), Some(partition), Some(offset), None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                return Err(malformed(line));
            };
            let partition = partition.parse().map_err(|_| malformed(line))?;
            let offset = offset.parse().map_err(|_| malformed(line))?;
            Ok((TopicPartition::new(topic, partition), offset))
        })
        .collect()
}

/// Replaces an offset checkpoint, durably.
pub fn write_offsets<'a>(
    disk: &dyn Disk,
    path: &Path,
    offsets: impl IntoIterator<Item = (&'a TopicPartition, i64)>,
) -> io::Result<()> {
    let mut lines = String::new();
    let mut count = 0;
    for (tp, offset) in offsets {
        count += 1;
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{} {} {offset}", tp.topic, tp.partition);
    }
    write_lines(disk, path, count, &lines, Durability::Sync)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::disk::RealDisk;

    #[test]
    fn round_trip_and_exact_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(RECOVERY_POINT_FILE);
        assert!(read_offsets(&RealDisk, &path).unwrap().is_empty());
        let tp = TopicPartition::new("a-b.c", 3);
        write_offsets(&RealDisk, &path, [(&tp, 42)]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "0\n1\na-b.c 3 42\n");
        assert_eq!(read_offsets(&RealDisk, &path).unwrap()[&tp], 42);
    }

    #[test]
    fn refuses_what_kafka_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        for (text, ok) in [
            ("", true),
            ("0\n0\n", true),
            ("0\n1\nt\t0  5\n", true),
            ("1\n0\n", false),
            ("0\n2\nt 0 5\n", false),
            ("0\n1\nt 0 5\nt 1 5\n", false),
            ("0\n1\nt 0\n", false),
            ("0\n1\nt 0 x\n", false),
            ("zero\n", false),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read_offsets(&RealDisk, &path).is_ok(), ok, "{text:?}");
        }
    }
}
