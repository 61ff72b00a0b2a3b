//! zstd as Kafka's clients send it: one frame or several, one behind the other.
//!
//! A context is large (a window of 2 MiB where the Java client compressed), so each thread keeps the one it used last.

use std::cell::Cell;
use std::io;

use zstd::zstd_safe::{DCtx, InBuffer, OutBuffer, get_error_name};

use super::scratch::Scratch;
use super::{CHUNK, bad_data};

/// Contexts above this, in bytes, are not kept: a payload chooses how large its window is.
const KEPT: usize = 4 * 1024 * 1024;

thread_local! {
    static SPARE: Cell<Option<DCtx<'static>>> = const { Cell::new(None) };
}

/// A context at the start of a frame, given back to its thread in the end.
struct Context(Option<DCtx<'static>>);

impl Context {
    fn new() -> Context {
        let spare = SPARE.try_with(Cell::take).ok().flatten();
        let usable = spare.filter(|context| context.sizeof() <= KEPT);
        Context(usable)
    }

    fn get(&mut self) -> io::Result<&mut DCtx<'static>> {
        if self.0.is_none() {
            self.0 = DCtx::try_create();
        }
        self.0.as_mut().ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let Some(mut context) = self.0.take() else { return };
        let reset = context.reset(zstd::zstd_safe::ResetDirective::SessionOnly);
        if reset.is_ok() && context.sizeof() <= KEPT {
            let _ = SPARE.try_with(|spare| spare.set(Some(context)));
        }
    }
}

/// Reads frames, a chunk at a time.
pub(in crate::record) struct FrameReader<'a> {
    rest: &'a [u8],
    context: Context,
    /// A frame has begun and not ended.
    in_frame: bool,
    chunk: Scratch,
    length: usize,
    position: usize,
}

impl<'a> FrameReader<'a> {
    pub(super) fn new(data: &'a [u8]) -> FrameReader<'a> {
        FrameReader {
            rest: data,
            context: Context::new(),
            in_frame: false,
            chunk: Scratch::of(CHUNK),
            length: 0,
            position: 0,
        }
    }

    /// Decompresses until something comes out, or everything has.
    fn next_chunk(&mut self) -> io::Result<()> {
        (self.position, self.length) = (0, 0);
        while self.length == 0 && (self.in_frame || !self.rest.is_empty()) {
            let mut input = InBuffer::around(self.rest);
            let mut output = OutBuffer::around(self.chunk.up_to(CHUNK));
            let hint = self.context.get()?.decompress_stream(&mut output, &mut input);
            let hint = hint.map_err(|code| bad_data(get_error_name(code)))?;
            let (read, written) = (input.pos(), output.pos());
            if read == 0 && written == 0 && hint != 0 {
                return Err(bad_data("Truncated source"));
            }
            self.rest = self.rest.get(read..).unwrap_or_default();
            self.length = written;
            self.in_frame = hint != 0;
        }
        Ok(())
    }

    /// What of the current chunk is not consumed; of the next one, after that; empty at the end.
    pub(super) fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position >= self.length {
            self.next_chunk()?;
        }
        Ok(self.chunk.get(self.position, self.length))
    }

    pub(super) fn consume(&mut self, n: usize) {
        self.position += n;
    }
}
