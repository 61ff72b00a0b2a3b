//! Where the tools print: stdout and stderr without panics when the reader has gone, and log lines in the layout
//! of Kafka's tools (`[time] LEVEL message (logger)` on stderr).

use std::io::Write as _;

/// Writes to stdout; false when nobody reads it any more.
pub fn out(text: &str) -> bool {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_ok()
}

/// Writes to stderr.
pub fn err(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// A log line of a tool; `message` may span lines.
pub fn log(level: &str, logger: &str, message: &str) {
    let now = chrono::Local::now().format("%Y-%m-%d %H:%M:%S,%3f");
    err(&format!("[{now}] {level} {message} ({logger})\n"));
}

/// A log line followed by an error, as log4j prints a logged exception.
pub fn log_error(logger: &str, message: &str, error: &super::failure::JavaError) {
    log("ERROR", logger, message);
    err(&error.stack_trace());
}
