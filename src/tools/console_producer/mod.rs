//! `kafka-console-producer`: lines from stdin become records (Kafka's `ConsoleProducer`), on librdkafka.

mod options;
mod reader;
mod sender;

use std::io::{BufRead, IsTerminal};

use self::options::{LINE_READER, ProducerOptions};
use self::reader::LineReader;
use self::sender::Sender;
use super::failure::{Failure, JavaError, print_stack_trace};
use super::output::out;

pub use self::options::TABLE;

pub fn run(args: &[String]) -> i32 {
    match execute(args) {
        Ok(()) => 0,
        Err(failure) => failure.finish(print_stack_trace),
    }
}

fn execute(args: &[String]) -> Result<(), Failure> {
    let options = ProducerOptions::parse(args)?;
    let sender = Sender::new(&options.topic, &options.producer_properties()?, options.sync)?;
    if options.line_reader != LINE_READER {
        let missing = JavaError::new("java.lang.ClassNotFoundException", options.line_reader.as_str()).with_frames();
        return Err(missing.into());
    }
    let mut reader = LineReader::new(&options.reader_properties()?)?;
    let sent = send_lines(&mut reader, &sender);
    sender.close();
    sent.map_err(Failure::from)
}

/// Sends until the end of the input. What was sent before an error still goes out.
fn send_lines(reader: &mut LineReader, sender: &Sender) -> Result<(), JavaError> {
    let prompt = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mut input = std::io::stdin().lock();
    let mut bytes = Vec::new();
    loop {
        if prompt {
            out(">");
        }
        bytes.clear();
        let read = input.read_until(b'\n', &mut bytes);
        if !read.is_ok_and(|length| length > 0) {
            return Ok(());
        }
        for line in lines(&bytes) {
            sender.send(reader.read(&line)?)?;
        }
    }
}

/// The lines in what was read up to a newline: a carriage return ends a line, too, and bytes that are not UTF-8
/// become U+FFFD, as Java's reader has it.
fn lines(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    bytes.split(|byte| *byte == b'\r').map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn line_ends_of_java() {
        assert_eq!(lines(b"crlf line\r\n"), ["crlf line"]);
        assert_eq!(lines(b"\n"), [""]);
        assert_eq!(lines(b"a\rb\n"), ["a", "b"]);
        assert_eq!(lines(b"bad \xff\xfe bytes"), ["bad \u{fffd}\u{fffd} bytes"]);
    }
}
