//! Properties: what was built is read back, whatever the records and the codec; no bytes make anything panic.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::codec::{compress, decompress};
use super::convert::{down_convert, down_convert_for_fetch};
use super::legacy::LegacyBuilder;
use super::validate::{AppendRules, check_produce_request, validate_for_append};
use super::walk::{RawRecord, Skim};
use super::*;
use crate::topic::TopicPartition;

const CAP: u64 = 1 << 20;

type Field = Option<Vec<u8>>;
type Spec = (i64, Field, Field, Vec<(Vec<u8>, Field)>);

fn field() -> impl Strategy<Value = Field> {
    option::of(prop_oneof![vec(any::<u8>(), 0..40), (0..90_000usize).prop_map(|n| vec![b'x'; n])])
}

fn spec() -> impl Strategy<Value = Vec<Spec>> {
    let headers = vec((vec(any::<u8>(), 0..9), option::of(vec(any::<u8>(), 0..9))), 0..4);
    let timestamp = prop_oneof![Just(-1i64), 0..i64::MAX, 1_700_000_000_000..1_700_000_009_999i64];
    vec((timestamp, field(), field(), headers), 1..12)
}

fn codec() -> impl Strategy<Value = Codec> {
    proptest::sample::select(Codec::ALL.to_vec())
}

fn build(codec: Codec, specs: &[Spec]) -> Bytes {
    let mut builder = BatchBuilder::new(0).codec(codec);
    for (timestamp, key, value, headers) in specs {
        let headers = headers.iter().map(|(k, v)| (k.as_slice(), v.as_deref()));
        builder.append_with_headers(*timestamp, key.as_deref(), value.as_deref(), headers).unwrap();
    }
    builder.build().unwrap()
}

fn read(batch: &RecordBatch) -> Vec<Spec> {
    let found = records(batch, 64 << 20).map(|r| {
        let r = r.unwrap();
        let headers = r.headers.iter().map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec))).collect();
        (r.timestamp, r.key.map(|k| k.to_vec()), r.value.map(|v| v.to_vec()), headers)
    });
    found.collect()
}

/// Everything that reads bytes of others.
fn read_every_way(bytes: Bytes) {
    for batch in batches(bytes.clone()).flatten() {
        let _ = batch.verify_crc();
        let _ = batch.records(CAP).count();
    }
    let partition = TopicPartition::new("t", 0);
    for compression in [None, Some(Codec::None), Some(Codec::Lz4)] {
        let rules = AppendRules { compression, decompression_cap: CAP, rebuild_cap: CAP, ..AppendRules::default() };
        for origin in [AppendOrigin::Client, AppendOrigin::Coordinator] {
            let _ = validate_for_append(bytes.clone(), &partition, &rules, 0, 0, 0, origin);
        }
    }
    let _ = check_produce_request(9, Some(&bytes));
    let _ = down_convert(bytes.clone(), 1, 0, CAP);
    let _ = down_convert_for_fetch(bytes.clone(), 0, 0, CAP);
    for codec in Codec::ALL {
        if let Ok(out) = decompress(codec, &bytes, CAP) {
            assert!(out.len() as u64 <= CAP || codec == Codec::None);
        }
    }
}

/// Puts right checksums into whatever batches there are, so that the checks behind them are reached.
fn with_right_checksums(bytes: &[u8]) -> Bytes {
    let mut out = Vec::new();
    for batch in batches(Bytes::copy_from_slice(bytes)).flatten() {
        let at = out.len() + if batch.magic() == MAGIC_V2 { 17 } else { 12 };
        out.extend_from_slice(batch.bytes());
        out[at..at + 4].copy_from_slice(&batch.computed_crc().to_be_bytes());
    }
    out.into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_built_is_read(codec in codec(), specs in spec()) {
        let batch = RecordBatch::parse(build(codec, &specs)).unwrap();
        batch.verify_crc().unwrap();
        prop_assert_eq!(&batch.header().encode()[..], &batch.bytes()[..61]);
        prop_assert_eq!(read(&batch), specs);
    }

    #[test]
    fn what_is_appended_is_what_was_sent(from in codec(), to in option::of(codec()), specs in spec()) {
        let rules = AppendRules { compression: to, max_message_bytes: i32::MAX, ..AppendRules::default() };
        let bytes = build(from, &specs);
        let partition = TopicPartition::new("t", 0);
        let v = validate_for_append(bytes, &partition, &rules, 50, 3, 0, AppendOrigin::Client).unwrap().unwrap();
        let batch = RecordBatch::parse([&v.header_bytes()[..], &v.body].concat().into()).unwrap();
        batch.verify_crc().unwrap();
        prop_assert_eq!(batch.header().codec().unwrap(), to.unwrap_or(from));
        prop_assert_eq!((batch.header().base_offset, v.last_offset), (50, 49 + specs.len() as i64));
        prop_assert_eq!(v.max_timestamp, specs.iter().map(|s| s.0).max().unwrap());
        prop_assert_eq!(read(&batch), specs);
    }

    #[test]
    fn old_formats_come_back_as_they_went(codec in codec(), magic in 0..=1i8, specs in spec()) {
        prop_assume!(codec != Codec::Zstd);
        let mut builder = LegacyBuilder::new(magic, codec, None, 7, Vec::new()).unwrap();
        for (i, (timestamp, key, value, _)) in specs.iter().enumerate() {
            builder.append(7 + i as i64, *timestamp, key.as_deref(), value.as_deref()).unwrap();
        }
        let bytes = Bytes::from(builder.finish().unwrap());
        let mut found = Vec::new();
        for batch in batches(bytes.clone()) {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            found.extend(batch.records(64 << 20).map(Result::unwrap));
        }
        prop_assert_eq!(found.len(), specs.len());
        for (i, (r, (timestamp, key, value, _))) in found.iter().zip(&specs).enumerate() {
            prop_assert_eq!(r.offset, 7 + i as i64);
            prop_assert_eq!(r.timestamp, if magic == 0 { -1 } else { *timestamp });
            prop_assert_eq!((r.key.as_deref(), r.value.as_deref()), (key.as_deref(), value.as_deref()));
        }
        // And up again, as an old producer's request.
        let rules = AppendRules { max_message_bytes: i32::MAX, ..AppendRules::default() };
        let partition = TopicPartition::new("t", 0);
        let v = validate_for_append(bytes, &partition, &rules, 50, 3, 0, AppendOrigin::Client).unwrap().unwrap();
        let batch = RecordBatch::parse([&v.header_bytes()[..], &v.body].concat().into()).unwrap();
        prop_assert_eq!(read(&batch).len(), specs.len());
        // And down again.
        let down = down_convert(batch.into_bytes(), magic, 0, 64 << 20).unwrap();
        prop_assert_eq!(down.stats.records_converted as usize, specs.len());
    }

    #[test]
    fn payloads_come_back(codec in codec(), data in vec(any::<u8>(), 0..200_000)) {
        let packed = Bytes::from(compress(codec, &data).unwrap());
        prop_assert_eq!(decompress(codec, &packed, data.len() as u64).unwrap(), data.clone());
        if codec != Codec::None && !data.is_empty() {
            prop_assert!(decompress(codec, &packed, data.len() as u64 - 1).is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_quick_look_agrees_with_the_careful_one(mut bytes in vec(any::<u8>(), 1..40), fit in any::<bool>()) {
        if fit {
            bytes[0] = 2 * (bytes.len() as u8 - 1);
        }
        let (mut quick, mut careful) = (bytes.as_slice(), bytes.as_slice());
        if let Some(skim) = Skim::take_plain(&mut quick) {
            let raw = RawRecord::take(&mut careful).unwrap().skim();
            prop_assert_eq!(quick, careful);
            prop_assert_eq!((skim.size, skim.timestamp_delta, skim.offset_delta),
                (raw.size, raw.timestamp_delta, raw.offset_delta));
            prop_assert_eq!((skim.key_size.max(-1), skim.value_size.max(-1)), (raw.key_size, raw.value_size));
        } else {
            prop_assert_eq!(quick, &bytes[..]);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..400)) {
        read_every_way(bytes.into());
    }

    #[test]
    fn no_damage_panics(
        codec in codec(),
        specs in vec((0..5i64, option::of(vec(any::<u8>(), 0..9)), option::of(vec(any::<u8>(), 0..300)), Just(vec![])), 1..5),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        old in option::of(0..=1i8),
    ) {
        let mut bytes = build(codec, &specs).to_vec();
        if let (Some(magic), true) = (old, codec != Codec::Zstd) {
            bytes = down_convert(bytes.into(), magic, 0, CAP).unwrap().bytes.to_vec();
        }
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        read_every_way(with_right_checksums(&bytes));
        read_every_way(bytes.into());
    }
}
