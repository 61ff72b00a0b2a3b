//! Writing answers: bytes by `write`, ranges of log files by `sendfile`, so that fetched records never pass
//! through this process. Answers to Kafka's `MultiRecordsSend`/`TransferableChannel`.

use std::io;

use socket2::SockRef;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use crate::api::reply::{Frame, Part};
use crate::log::FileSlice;

/// Most bytes one `sendfile` call may move, so that one reader does not hold a worker thread for long.
const SENDFILE_STEP: usize = 512 * 1024;

/// Writes a whole answer. With file ranges the socket is corked meanwhile: head, records and tail share packets, and
/// the reader wakes for whole ones.
pub async fn send(stream: &mut TcpStream, frame: Frame) -> io::Result<()> {
    let corked = frame.parts.iter().any(|part| matches!(part, Part::File(_)));
    if corked {
        SockRef::from(&*stream).set_cork(true)?;
    }
    send_parts(stream, frame).await?;
    if corked {
        SockRef::from(&*stream).set_cork(false)?;
    }
    Ok(())
}

async fn send_parts(stream: &mut TcpStream, frame: Frame) -> io::Result<()> {
    for part in frame.parts {
        match part {
            Part::Bytes(bytes) => stream.write_all(&bytes).await?,
            Part::File(slice) => send_file(stream, &slice).await?,
        }
    }
    Ok(())
}

async fn send_file(stream: &mut TcpStream, slice: &FileSlice) -> io::Result<()> {
    let file = slice.file.as_fd();
    let Some(file) = file else {
        let bytes = slice.read()?;
        return stream.write_all(&bytes).await;
    };
    let mut offset = slice.position as i64;
    let mut left = slice.len as usize;
    while left > 0 {
        stream.writable().await?;
        let sent = stream.try_io(Interest::WRITABLE, || {
            nix::sys::sendfile::sendfile(&*stream, file, Some(&mut offset), left.min(SENDFILE_STEP))
                .map_err(io::Error::from)
        });
        match sent {
            Ok(0) => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "log file ended before the range to send"));
            }
            Ok(n) => left -= n,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
