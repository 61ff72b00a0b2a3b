//! What Kafka 3.7.2 was asked and answered (tests/golden/wire), in the order in which it happened.

use std::path::Path;

use bytes::Bytes;
use serde_json::Value;

pub struct Line {
    /// Such as `01-Fetch.jsonl`.
    pub file: String,
    /// Counts from 1.
    pub number: usize,
    pub note: String,
    /// Host and port it was sent to; where it was sent when that did not matter: nothing.
    pub broker: String,
    /// With the length in front.
    pub request: Bytes,
    pub answer: Answer,
}

pub enum Answer {
    /// With the length in front.
    Frame(Bytes),
    Nothing,
    ConnectionClosed,
}

impl Line {
    /// The api key, where the frame is long enough to have one.
    pub fn api_key(&self) -> Option<i16> {
        self.header_field(4).map(i16::from_be_bytes)
    }

    pub fn version(&self) -> Option<i16> {
        self.header_field(6).map(i16::from_be_bytes)
    }

    /// The recorder counted its requests in it, so it gives their order. None, where it used a connection of its own.
    pub fn correlation_id(&self) -> Option<i32> {
        self.header_field(8).map(i32::from_be_bytes)
    }

    pub fn name(&self) -> String {
        let version = self.version().map(|v| format!(" v{v}")).unwrap_or_default();
        format!("{} line {}{version} {}", self.file, self.number, self.note)
    }

    fn header_field<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.request.get(at..at + N)?.try_into().ok()
    }
}

/// The lines of these files, in the order of the recording.
pub fn load(folder: &Path, is_wanted: impl Fn(&str) -> bool) -> Vec<Line> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder of recordings").flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        if !file.ends_with(".jsonl") || !is_wanted(&file) {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).expect("a recording");
        lines.extend(text.lines().enumerate().map(|(index, line)| parse(&file, index + 1, line)));
    }
    lines.sort_by_key(|l| (l.correlation_id(), l.file.clone(), l.number));
    lines
}

fn parse(file: &str, number: usize, line: &str) -> Line {
    let value: Value = serde_json::from_str(line).expect("a line of JSON");
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let answer = match value.get("response_hex").and_then(Value::as_str) {
        Some(hex) => Answer::Frame(decode_hex(hex)),
        None if text("response").contains("closed") => Answer::ConnectionClosed,
        None => Answer::Nothing,
    };
    Line {
        file: file.to_owned(),
        number,
        note: text("note"),
        broker: text("broker"),
        request: decode_hex(&text("request_hex")),
        answer,
    }
}

pub fn decode_hex(hex: &str) -> Bytes {
    let digit = |c: u8| char::from(c).to_digit(16).expect("a hexadecimal digit") as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
