//! The compression codecs of record batches with the framing that Kafka's Java clients read and write.
//! Answers to `CompressionType`.
//!
//! Decompression is a stream with a cap on what may come out: a small payload can claim gigabytes, and no
//! claim is believed before its bytes have appeared.

mod gzip;
mod lz4;
mod lz4_block;
mod scratch;
mod snappy;
mod zstd_frames;

use std::io::{self, BufRead, BufReader, Write};

use bytes::Bytes;

use super::RecordError;

/// What a caller allows to come out of one batch when it has no tighter limit, in bytes.
pub const DEFAULT_DECOMPRESSION_CAP: u64 = 1 << 30;

/// Bytes that the stream codecs decompress at a time: small enough to stay in the first cache.
const CHUNK: usize = 32 * 1024;

/// How the records of a batch are compressed (attribute bits 0 to 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    /// All codecs in the order of their numbers.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The codec for the number in the attributes.
    pub fn from_id(id: i8) -> Result<Codec, RecordError> {
        match id {
            0 => Ok(Codec::None),
            1 => Ok(Codec::Gzip),
            2 => Ok(Codec::Snappy),
            3 => Ok(Codec::Lz4),
            4 => Ok(Codec::Zstd),
            _ => Err(RecordError::UnknownCompression(id)),
        }
    }

    /// The number in the attributes.
    pub fn id(self) -> i8 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }

    /// The name as configuration and tools write it.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

/// Compresses `data` as one payload of a format-2 batch.
pub fn compress(codec: Codec, data: &[u8]) -> Result<Vec<u8>, RecordError> {
    let mut encoder = Encoder::new(codec, Vec::new(), false).map_err(unwritable)?;
    encoder.write_all(data).map_err(unwritable)?;
    encoder.finish().map_err(unwritable)
}

/// Decompresses a payload of a format-2 batch; error if more than `cap` bytes come out.
/// For `Codec::None` the bytes themselves, not copied.
pub fn decompress(codec: Codec, data: &Bytes, cap: u64) -> Result<Bytes, RecordError> {
    if codec == Codec::None {
        return Ok(data.clone());
    }
    decompress_all(codec, data, cap, false).map(Bytes::from)
}

/// The same into a vector. `legacy_lz4` accepts the wrong header checksum of format 0.
pub(super) fn decompress_all(codec: Codec, data: &[u8], cap: u64, legacy_lz4: bool) -> Result<Vec<u8>, RecordError> {
    let mut out = Vec::new();
    let mut input = Decoder::new(codec, data, legacy_lz4)?;
    loop {
        let chunk = input.fill_buf().map_err(unreadable)?;
        if chunk.is_empty() {
            return Ok(out);
        }
        if (out.len() + chunk.len()) as u64 > cap {
            return Err(RecordError::TooLarge { cap });
        }
        out.extend_from_slice(chunk);
        let n = chunk.len();
        input.consume(n);
    }
}

/// The error for a payload that does not decompress.
pub(super) fn unreadable(e: io::Error) -> RecordError {
    RecordError::Decompression(e.to_string())
}

/// The error for a compressor that fails, which none does on memory.
pub(super) fn unwritable(e: io::Error) -> RecordError {
    RecordError::Unrepresentable(format!("cannot compress: {e}"))
}

/// Writes compressed bytes to the end of a vector.
pub(super) enum Encoder {
    None(Vec<u8>),
    Gzip(Box<flate2::write::GzEncoder<Vec<u8>>>),
    Snappy(Box<snappy::BlockWriter>),
    Lz4(lz4::FrameWriter),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// Starts a payload after what `out` already holds. `legacy_lz4` writes format 0's header checksum.
    pub(super) fn new(codec: Codec, out: Vec<u8>, legacy_lz4: bool) -> io::Result<Encoder> {
        Ok(match codec {
            Codec::None => Encoder::None(out),
            Codec::Gzip => Encoder::Gzip(Box::new(flate2::write::GzEncoder::new(out, flate2::Compression::default()))),
            Codec::Snappy => Encoder::Snappy(Box::new(snappy::BlockWriter::new(out))),
            Codec::Lz4 => Encoder::Lz4(lz4::FrameWriter::new(out, legacy_lz4)),
            Codec::Zstd => Encoder::Zstd(zstd::stream::write::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL)?),
        })
    }

    /// Ends the payload and gives the vector back.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Encoder::None(out) => Ok(out),
            Encoder::Gzip(w) => w.finish(),
            Encoder::Snappy(w) => w.finish(),
            Encoder::Lz4(w) => w.finish(),
            Encoder::Zstd(w) => w.finish(),
        }
    }
}

impl Write for Encoder {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Encoder::None(out) => out.write(data),
            Encoder::Gzip(w) => w.write(data),
            Encoder::Snappy(w) => w.write(data),
            Encoder::Lz4(w) => w.write(data),
            Encoder::Zstd(w) => w.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads what a compressed payload holds, by the chunks in which the codec produces it.
pub(super) enum Decoder<'a> {
    None(&'a [u8]),
    Gzip(Box<BufReader<gzip::Members<'a>>>),
    Snappy(snappy::BlockReader<'a>),
    Lz4(lz4::FrameReader<'a>),
    Zstd(Box<zstd_frames::FrameReader<'a>>),
}

impl<'a> Decoder<'a> {
    /// Opens `data`. `legacy_lz4` accepts the wrong header checksum of format 0.
    pub(super) fn new(codec: Codec, data: &'a [u8], legacy_lz4: bool) -> Result<Decoder<'a>, RecordError> {
        Ok(match codec {
            Codec::None => Decoder::None(data),
            Codec::Gzip => Decoder::Gzip(Box::new(BufReader::with_capacity(CHUNK, gzip::Members::new(data)))),
            Codec::Snappy => Decoder::Snappy(snappy::BlockReader::new(data)),
            Codec::Lz4 => Decoder::Lz4(lz4::FrameReader::new(data, legacy_lz4).map_err(unreadable)?),
            Codec::Zstd => Decoder::Zstd(Box::new(zstd_frames::FrameReader::new(data))),
        })
    }
}

impl Decoder<'_> {
    /// The next decompressed bytes, as many as there happen to be; empty at the end.
    pub(in crate::record) fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Decoder::None(data) => Ok(data),
            Decoder::Gzip(r) => r.fill_buf(),
            Decoder::Snappy(r) => r.fill_buf(),
            Decoder::Lz4(r) => r.fill_buf(),
            Decoder::Zstd(r) => r.fill_buf(),
        }
    }

    /// Moves past `n` bytes of those.
    pub(in crate::record) fn consume(&mut self, n: usize) {
        match self {
            Decoder::None(data) => *data = data.get(n..).unwrap_or_default(),
            Decoder::Gzip(r) => r.consume(n),
            Decoder::Snappy(r) => r.consume(n),
            Decoder::Lz4(r) => r.consume(n),
            Decoder::Zstd(r) => r.consume(n),
        }
    }
}

/// The error for bytes that end too early or say something impossible.
fn bad_data(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
