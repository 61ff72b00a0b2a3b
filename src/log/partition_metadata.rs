//! `partition.metadata`: the topic id of a partition directory.
//!
//! Answers to Kafka's `PartitionMetadataFile`. Owns no state.

use std::io;
use std::path::Path;

use uuid::Uuid;

use crate::topic;
use crate::util::crashsafe::{self, Durability};
use crate::util::disk::Disk;

pub const PARTITION_METADATA_FILE: &str = "partition.metadata";

/// The topic id in the file; `None` when there is no file.
pub fn read(disk: &dyn Disk, path: &Path) -> io::Result<Option<Uuid>> {
    let bytes = match disk.read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let invalid = |what: &str| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{what} in partition metadata file ({})", path.display()))
    };
    let text = String::from_utf8(bytes).map_err(|_| invalid("Malformed line"))?;
    let mut lines = text.lines();
    let mut field = |key: &str| {
        let (found, value) = lines.next().and_then(|line| line.split_once(':'))?;
        (found.trim() == key).then(|| value.trim().to_owned())
    };
    let version = field("version").ok_or_else(|| invalid("Malformed line"))?;
    if version != "0" {
        return Err(invalid("Unrecognized version"));
    }
    let id = field("topic_id").and_then(|id| topic::id_from_text(&id)).ok_or_else(|| invalid("Malformed line"))?;
    if id.is_nil() {
        return Err(invalid("Invalid topic ID"));
    }
    Ok(Some(id))
}

/// Writes the file, durably.
pub fn write(disk: &dyn Disk, path: &Path, id: Uuid) -> io::Result<()> {
    let text = format!("version: 0\ntopic_id: {}", topic::id_to_text(id));
    crashsafe::replace(disk, path, text.as_bytes(), Durability::Sync)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::disk::RealDisk;

    #[test]
    fn round_trip_and_refusals() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(PARTITION_METADATA_FILE);
        assert_eq!(read(&RealDisk, &path).unwrap(), None);
        let id = topic::random_id();
        write(&RealDisk, &path, id).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("version: 0\ntopic_id: {}", topic::id_to_text(id)));
        assert_eq!(read(&RealDisk, &path).unwrap(), Some(id));
        for bad in [
            "version: 1\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ",
            "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA",
            "version: 0",
            "",
        ] {
            std::fs::write(&path, bad).unwrap();
            assert!(read(&RealDisk, &path).is_err(), "{bad:?}");
        }
    }
}
