//! Any bytes as a request body. What the structural check passes and the codec decodes must re-encode, and decode again to
//! the same. The first byte chooses the row of the api table, the second the version; FUZZ_API fixes the api key.
#![no_main]

use std::sync::OnceLock;

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::{fuzz_target, Corpus};
use ottla::protocol::{api, codec, frame};

static ONLY: OnceLock<Option<i16>> = OnceLock::new();

fuzz_target!(|input: &[u8]| -> Corpus {
    let [row, version, body @ ..] = input else { return Corpus::Reject };
    let only = ONLY.get_or_init(|| std::env::var("FUZZ_API").ok().and_then(|key| key.parse().ok()));
    let row = match only {
        Some(key) => api::find(*key).expect("FUZZ_API is an api key of the table"),
        None => &api::table()[usize::from(*row) % api::table().len()],
    };
    let version = row.min + i16::from(*version) % (row.max - row.min + 1);
    let body = Bytes::copy_from_slice(body);
    let sound = frame::check(row.key, version, &body, frame::element_budget(row.key)).is_ok();
    let Ok(message) = codec::decode_request(row.key, version, body) else {
        return if sound { Corpus::Keep } else { Corpus::Reject };
    };
    assert!(sound, "decoded what the check refuses: {message:?}");
    let mut again = BytesMut::new();
    message.encode(&mut again, version).expect("what was decoded in a version can be encoded in it");
    let second = codec::decode_request(row.key, version, again.clone().freeze()).expect("our own bytes");
    let mut thrice = BytesMut::new();
    second.encode(&mut thrice, version).expect("as before");
    assert_eq!(again, thrice, "{message:?}");
    Corpus::Keep
});
