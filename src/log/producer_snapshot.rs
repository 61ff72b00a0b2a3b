//! The bytes of a producer snapshot: `version 1, crc32c, count, entries of 46 bytes`. Only the newest of a producer's
//! cached batches is kept. Pure: reading and writing the file is `producer_state`'s.

use super::producer_entry::{BatchMetadata, ProducerEntry};

const VERSION: i16 = 1;
const HEADER_SIZE: usize = 10;
const ENTRY_SIZE: usize = 46;

/// Why a snapshot cannot be used; the broker deletes it and takes an older one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorruptSnapshot {
    #[error("Snapshot contained an unknown file version {0}")]
    Version(i16),
    #[error("Snapshot is corrupt (CRC is no longer valid). Stored crc: {stored}. Computed crc: {computed}")]
    Crc { stored: u32, computed: u32 },
    #[error("Snapshot failed schema validation: {0}")]
    Schema(String),
}

/// Serializes the entries of all producers.
pub fn encode<'a>(entries: impl ExactSizeIterator<Item = (i64, &'a ProducerEntry)>) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_SIZE + entries.len() * ENTRY_SIZE);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&i32::try_from(entries.len()).unwrap_or(i32::MAX).to_be_bytes());
    for (producer_id, entry) in entries {
        let last = entry.last_batch();
        out.extend_from_slice(&producer_id.to_be_bytes());
        out.extend_from_slice(&entry.epoch.to_be_bytes());
        out.extend_from_slice(&last.map_or(-1, |b| b.last_seq).to_be_bytes());
        out.extend_from_slice(&last.map_or(-1, |b| b.last_offset).to_be_bytes());
        out.extend_from_slice(&last.map_or(0, |b| b.offset_delta).to_be_bytes());
        out.extend_from_slice(&entry.last_timestamp.to_be_bytes());
        out.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        out.extend_from_slice(&entry.current_txn_first_offset.unwrap_or(-1).to_be_bytes());
    }
    let crc = crc32c::crc32c(&out[6..]);
    out[2..6].copy_from_slice(&crc.to_be_bytes());
    out
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], CorruptSnapshot> {
        let (head, rest) =
            self.0.split_first_chunk::<N>().ok_or_else(|| CorruptSnapshot::Schema("the file is too short".into()))?;
        self.0 = rest;
        Ok(*head)
    }

    fn short(&mut self) -> Result<i16, CorruptSnapshot> {
        self.take().map(i16::from_be_bytes)
    }

    fn int(&mut self) -> Result<i32, CorruptSnapshot> {
        self.take().map(i32::from_be_bytes)
    }

    fn long(&mut self) -> Result<i64, CorruptSnapshot> {
        self.take().map(i64::from_be_bytes)
    }
}

/// Reads a snapshot; (producer id, entry) in file order.
pub fn decode(bytes: &[u8]) -> Result<Vec<(i64, ProducerEntry)>, CorruptSnapshot> {
    let mut reader = Reader(bytes);
    let version = reader.short()?;
    if version != VERSION {
        return Err(CorruptSnapshot::Version(version));
    }
    let stored = reader.int()? as u32;
    let computed = crc32c::crc32c(reader.0);
    if stored != computed {
        return Err(CorruptSnapshot::Crc { stored, computed });
    }
    let count = usize::try_from(reader.int()?).unwrap_or(0);
    if count * ENTRY_SIZE > reader.0.len() {
        return Err(CorruptSnapshot::Schema(format!("{count} entries do not fit {} bytes", reader.0.len())));
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let producer_id = reader.long()?;
        let mut entry = ProducerEntry::EMPTY;
        entry.epoch = reader.short()?;
        let (last_seq, last_offset, offset_delta) = (reader.int()?, reader.long()?, reader.int()?);
        entry.last_timestamp = reader.long()?;
        if last_seq >= 0 {
            entry.add_batch(BatchMetadata { last_seq, last_offset, offset_delta, timestamp: entry.last_timestamp });
        }
        entry.coordinator_epoch = reader.int()?;
        entry.current_txn_first_offset = Some(reader.long()?).filter(|offset| *offset >= 0);
        entries.push((producer_id, entry));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn recorded_snapshots() {
        assert_eq!(hex(&encode([].into_iter())), "000148674bc700000000");
        let mut entry = ProducerEntry::EMPTY;
        entry.epoch = 2;
        entry.last_timestamp = 1_700_000_000_000;
        entry.add_batch(BatchMetadata { last_seq: 9, last_offset: 4, offset_delta: 4, timestamp: 1_700_000_000_000 });
        let bytes = encode([(1000, &entry)].into_iter());
        assert_eq!(
            hex(&bytes),
            "000172c2a85b0000000100000000000003e80002000000090000000000000004000000040000018bcfe56800ffffffffffffffffffffffff"
        );
        assert_eq!(decode(&bytes).unwrap(), [(1000, entry)]);
    }

    #[test]
    fn damage_is_found() {
        let mut entry = ProducerEntry::EMPTY;
        entry.epoch = 2;
        entry.current_txn_first_offset = Some(7);
        entry.coordinator_epoch = 3;
        let good = encode([(1, &entry)].into_iter());
        assert_eq!(decode(&good).unwrap()[0].1, entry);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(decode(&bad).is_err(), "byte {at}");
        }
        for len in 0..good.len() {
            assert!(decode(&good[..len]).is_err(), "length {len}");
        }
    }
}
