//! Writing answers: bytes by `write`, ranges of log files by `sendfile`, so that fetched records never pass
//! through this process. Answers to Kafka's `MultiRecordsSend`/`TransferableChannel`.
//!
//! What stands between ranges leaves in packets of its own. A corked socket would join them, and would hold back the
//! last pages of every `sendfile` too, which the reader then waits for. Small ranges are not sent this way, see
//! [`crate::api::fetch_response`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::sendfile::sendfile;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use crate::api::reply::{Frame, Part};
use crate::log::FileSlice;

/// Most bytes one `sendfile` call may move, so that one reader does not hold a worker thread for long.
const SENDFILE_STEP: usize = 2 * 1024 * 1024;

/// Writes a whole answer.
pub async fn send(stream: &mut TcpStream, frame: Frame) -> io::Result<()> {
    for part in frame.parts {
        match part {
            Part::Bytes(bytes) => stream.write_all(&bytes).await?,
            Part::File(slice) => send_file(stream, &slice).await?,
        }
    }
    Ok(())
}

async fn send_file(stream: &mut TcpStream, slice: &FileSlice) -> io::Result<()> {
    let Some(file) = slice.file.as_fd() else {
        let bytes = slice.read()?;
        return stream.write_all(&bytes).await;
    };
    let mut offset = slice.position as i64;
    let mut left = slice.len as usize;
    while left > 0 {
        stream.writable().await?;
        let (most, mut moved) = (left.min(SENDFILE_STEP), 0);
        let result = stream.try_io(Interest::WRITABLE, || {
            moved = send_some(stream.as_fd(), file, &mut offset, most)?;
            // To have a full socket refuse pages costs more than to ask it. It tells when it has room again.
            match moved == most || has_room(stream.as_fd())? {
                true => Ok(()),
                false => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        left -= moved;
        match result {
            Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Moves up to `most` bytes of the file into the socket, at least one.
fn send_some(socket: BorrowedFd<'_>, file: BorrowedFd<'_>, offset: &mut i64, most: usize) -> io::Result<usize> {
    match sendfile(socket, file, Some(offset), most)? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "log file ended before the range to send")),
        moved => Ok(moved),
    }
}

/// Whether a good part of the socket's buffer is free.
fn has_room(socket: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(poll(&mut [PollFd::new(socket, PollFlags::POLLOUT)], PollTimeout::ZERO)? > 0)
}
