//! Formatters for the internal topics: committed offsets, group metadata and transactions, as Kafka's Scala classes
//! print themselves. Records of another kind than the formatter's print nothing.

use super::formatter::{Formatter, Printable};
use crate::tools::failure::JavaError;

/// Reads the fields of a record key or value; `None` when the bytes end too early.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    fn i8(&mut self) -> Option<i8> {
        self.take(1)?.first().map(|byte| *byte as i8)
    }

    fn i16(&mut self) -> Option<i16> {
        self.take(2)?.try_into().ok().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take(4)?.try_into().ok().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take(8)?.try_into().ok().map(i64::from_be_bytes)
    }

    /// A string; null is an empty one.
    fn text(&mut self) -> Option<String> {
        self.nullable_text().map(Option::unwrap_or_default)
    }

    fn nullable_text(&mut self) -> Option<Option<String>> {
        match usize::try_from(self.i16()?) {
            Ok(length) => Some(Some(String::from_utf8_lossy(self.take(length)?).into_owned())),
            Err(_) => Some(None),
        }
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.i32()?.max(0);
        self.take(usize::try_from(length).ok()?)
    }

    /// How often something follows; never more than there are bytes.
    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.i32()?.max(0)).ok().filter(|count| *count <= self.0.len())
    }

    fn compact_text(&mut self) -> Option<String> {
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let byte = *self.take(1)?.first()?;
            length |= usize::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        Some(String::from_utf8_lossy(self.take(length.saturating_sub(1))?).into_owned())
    }
}

fn broken(what: &str) -> JavaError {
    JavaError::new("java.lang.RuntimeException", format!("non-parseable {what}")).with_frames()
}

fn line(out: &mut Vec<u8>, key: &str, value: Option<String>) {
    out.extend_from_slice(format!("{key}::{}\n", value.as_deref().unwrap_or("NULL")).as_bytes());
}

/// Prints what was committed.
pub struct OffsetsFormatter;

impl Formatter for OffsetsFormatter {
    fn format(&self, record: &Printable<'_>, out: &mut Vec<u8>) -> Result<(), JavaError> {
        let Some(mut key) = record.key.map(Fields) else { return Ok(()) };
        if !matches!(key.i16(), Some(0 | 1)) {
            return Ok(());
        }
        let (Some(group), Some(topic), Some(partition)) = (key.text(), key.text(), key.i32()) else {
            return Err(broken("offset key"));
        };
        let value = record.value.map(|value| offset_value(value).ok_or_else(|| broken("offset value"))).transpose()?;
        line(out, &format!("[{group},{topic},{partition}]"), value);
        Ok(())
    }
}

fn offset_value(value: &[u8]) -> Option<String> {
    let mut fields = Fields(value);
    let version = fields.i16()?;
    let offset = fields.i64()?;
    let epoch = if version >= 3 { fields.i32()? } else { -1 };
    let metadata = if version >= 4 { fields.compact_text()? } else { fields.text()? };
    let committed = fields.i64()?;
    let expires = if version == 1 { fields.i64()? } else { -1 };
    let epoch = if epoch < 0 { "Optional.empty".to_owned() } else { format!("Optional[{epoch}]") };
    let expires = if expires < 0 { "None".to_owned() } else { format!("Some({expires})") };
    Some(format!(
        "OffsetAndMetadata(offset={offset}, leaderEpoch={epoch}, metadata={metadata}, commitTimestamp={committed}, \
         expireTimestamp={expires})"
    ))
}

/// Prints the generations of groups.
pub struct GroupMetadataFormatter;

impl Formatter for GroupMetadataFormatter {
    fn format(&self, record: &Printable<'_>, out: &mut Vec<u8>) -> Result<(), JavaError> {
        let Some(mut key) = record.key.map(Fields) else { return Ok(()) };
        if key.i16() != Some(2) {
            return Ok(());
        }
        let group = key.text().ok_or_else(|| broken("group key"))?;
        let value = record.value.map(|value| group_value(&group, value).ok_or_else(|| broken("group value")));
        line(out, &group, value.transpose()?);
        Ok(())
    }
}

fn group_value(group: &str, value: &[u8]) -> Option<String> {
    let mut fields = Fields(value);
    let version = fields.i16()?;
    let protocol_type = fields.text()?;
    let generation = fields.i32()?;
    let protocol = fields.nullable_text()?;
    let _leader = fields.nullable_text()?;
    if version >= 2 {
        fields.i64()?;
    }
    let count = fields.count()?;
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(member(&mut fields, version, protocol.as_deref().unwrap_or_default())?);
    }
    let state = if members.is_empty() { "Empty" } else { "Stable" };
    let protocol_type = if protocol_type.is_empty() { "None".to_owned() } else { format!("Some({protocol_type})") };
    Some(format!(
        "GroupMetadata(groupId={group}, generation={generation}, protocolType={protocol_type}, currentState={state}, \
         members=HashMap({}))",
        members.join(", ")
    ))
}

fn member(fields: &mut Fields<'_>, version: i16, protocol: &str) -> Option<String> {
    let id = fields.text()?;
    let instance = if version >= 3 { fields.nullable_text()? } else { None };
    let client_id = fields.text()?;
    let client_host = fields.text()?;
    let rebalance_timeout = if version >= 1 { Some(fields.i32()?) } else { None };
    let session_timeout = fields.i32()?;
    fields.bytes()?;
    fields.bytes()?;
    let instance = instance.map_or_else(|| "None".to_owned(), |instance| format!("Some({instance})"));
    Some(format!(
        "{id} -> MemberMetadata(memberId={id}, groupInstanceId={instance}, clientId={client_id}, \
         clientHost={client_host}, sessionTimeoutMs={session_timeout}, rebalanceTimeoutMs={}, \
         supportedProtocols=List({protocol}))",
        rebalance_timeout.unwrap_or(session_timeout)
    ))
}

/// Prints the states of transactions.
pub struct TransactionLogFormatter;

impl Formatter for TransactionLogFormatter {
    fn format(&self, record: &Printable<'_>, out: &mut Vec<u8>) -> Result<(), JavaError> {
        let Some(mut key) = record.key.map(Fields) else { return Ok(()) };
        match key.i16() {
            Some(0) => {}
            Some(version) => {
                out.extend_from_slice(format!("unknown::version={version}\n").as_bytes());
                return Ok(());
            }
            None => return Err(broken("transaction key")),
        }
        let id = key.text().ok_or_else(|| broken("transaction key"))?;
        let value = record.value.map(|value| transaction(&id, value).ok_or_else(|| broken("transaction value")));
        line(out, &id, value.transpose()?);
        Ok(())
    }
}

fn transaction(id: &str, value: &[u8]) -> Option<String> {
    const STATES: [&str; 8] = [
        "Empty",
        "Ongoing",
        "PrepareCommit",
        "PrepareAbort",
        "CompleteCommit",
        "CompleteAbort",
        "Dead",
        "PrepareEpochFence",
    ];
    let mut fields = Fields(value);
    if fields.i16()? != 0 {
        return None;
    }
    let (producer_id, epoch, timeout) = (fields.i64()?, fields.i16()?, fields.i32()?);
    let state = STATES.get(usize::try_from(fields.i8()?).ok()?)?;
    let mut partitions = Vec::new();
    for _ in 0..fields.count()? {
        let topic = fields.text()?;
        for _ in 0..fields.count()? {
            partitions.push(format!("{topic}-{}", fields.i32()?));
        }
    }
    let (updated, started) = (fields.i64()?, fields.i64()?);
    Some(format!(
        "TransactionMetadata(transactionalId={id}, producerId={producer_id}, producerEpoch={epoch}, \
         txnTimeoutMs={timeout}, state={state}, pendingState=None, topicPartitions=HashSet({}), \
         txnStartTimestamp={started}, txnLastUpdateTimestamp={updated})",
        partitions.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    fn print(formatter: &dyn Formatter, key: &str, value: &str) -> String {
        let (key, value) = (bytes(key), bytes(value));
        let record = Printable {
            partition: 0,
            offset: 0,
            timestamp: None,
            key: Some(&key),
            value: Some(&value),
            headers: Vec::new(),
        };
        let mut out = Vec::new();
        formatter.format(&record, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// The vectors were written by Kafka's own encoders.
    #[test]
    fn records_of_kafka() {
        assert_eq!(
            print(&OffsetsFormatter, "00010002673100017400000003", "0003000000000000002affffffff00000000018bcfe56800"),
            "[g1,t,3]::OffsetAndMetadata(offset=42, leaderEpoch=Optional.empty, metadata=, \
             commitTimestamp=1700000000000, expireTimestamp=None)\n"
        );
        let group_key = "000200026731";
        let group = "00030008636f6e73756d657200000004ffffffff0000018bcfe5680000000000";
        assert_eq!(
            print(&GroupMetadataFormatter, group_key, group),
            "g1::GroupMetadata(groupId=g1, generation=4, protocolType=Some(consumer), currentState=Empty, \
             members=HashMap())\n"
        );
        assert_eq!(print(&OffsetsFormatter, group_key, group), "");
        assert_eq!(
            print(
                &TransactionLogFormatter,
                "00000003747831",
                "000000000000000003e800020000ea60010000000100017400000001000000030000018bcfe568000000018bcfe567fb"
            ),
            "tx1::TransactionMetadata(transactionalId=tx1, producerId=1000, producerEpoch=2, txnTimeoutMs=60000, \
             state=Ongoing, pendingState=None, topicPartitions=HashSet(t-3), txnStartTimestamp=1699999999995, \
             txnLastUpdateTimestamp=1700000000000)\n"
        );
    }
}
