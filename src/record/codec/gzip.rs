//! gzip as `java.util.zip.GZIPInputStream` reads it: members may follow one another, and whatever else
//! follows a member ends the stream without complaint.

use std::io::{self, Read};

use flate2::bufread::GzDecoder;

const MEMBER_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A reader over one or more gzip members.
pub(in crate::record) struct Members<'a> {
    member: Option<GzDecoder<&'a [u8]>>,
}

impl<'a> Members<'a> {
    pub(super) fn new(data: &'a [u8]) -> Members<'a> {
        Members { member: Some(GzDecoder::new(data)) }
    }
}

impl Read for Members<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(mut member) = self.member.take() {
            let n = member.read(out)?;
            if n > 0 || out.is_empty() {
                self.member = Some(member);
                return Ok(n);
            }
            let rest = member.into_inner();
            if rest.starts_with(&MEMBER_MAGIC) {
                self.member = Some(GzDecoder::new(rest));
            }
        }
        Ok(0)
    }
}
