//! The load: blocking sockets, one thread per connection, bytes that were encoded before.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::sys::socket::{MsgFlags, recv};

use crate::encode::{self, Batch};

const PATIENCE: Duration = Duration::from_secs(60);

pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection to the broker");
    stream.set_nodelay(true).expect("a socket option");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket option");
    stream
}

/// Answers of one connection, read in as large pieces as they come.
struct Answers {
    buffer: Vec<u8>,
    have: usize,
}

impl Answers {
    fn new() -> Answers {
        Answers { buffer: vec![0; 64 * 1024], have: 0 }
    }

    /// Waits for at least one whole answer; says how many came. Checks the error code of each.
    fn receive(&mut self, stream: &mut TcpStream, error_at: usize) -> usize {
        loop {
            let read = stream.read(&mut self.buffer[self.have..]).expect("an answer");
            assert!(read > 0, "the broker closed the connection");
            self.have += read;
            let (mut at, mut count) = (0, 0);
            while let Some(prefix) = self.buffer[at..self.have].first_chunk::<4>() {
                let length = 4 + i32::from_be_bytes(*prefix) as usize;
                if at + length > self.have {
                    break;
                }
                let error = i16::from_be_bytes([self.buffer[at + error_at], self.buffer[at + error_at + 1]]);
                assert_eq!(error, 0, "an error in an answer");
                at += length;
                count += 1;
            }
            self.buffer.copy_within(at..self.have, 0);
            self.have -= at;
            if count > 0 {
                return count;
            }
        }
    }
}

/// Where the error code stands in a Produce answer (version 9) for one topic with one partition.
fn produce_error_at(topic: &str) -> usize {
    // length, correlation id, tags; count of topics, name; count of partitions, index.
    4 + 4 + 1 + 1 + (1 + topic.len()) + 1 + 4
}

/// How much to produce, and how.
#[derive(Clone)]
pub struct Produce {
    pub topic: String,
    pub acks: i16,
    pub connections: usize,
    /// Requests under way on each connection.
    pub window: usize,
    /// In all.
    pub requests: usize,
}

/// Sends `requests` requests over several connections, each to a partition of its own. Returns the seconds it took.
pub fn produce(port: u16, load: &Produce, batch: &Arc<Batch>) -> f64 {
    produce_to(&[port], load, batch)
}

/// The same to several brokers: the leader of partition p listens on port p % n.
pub fn produce_to(ports: &[u16], load: &Produce, batch: &Arc<Batch>) -> f64 {
    let barrier = Arc::new(Barrier::new(load.connections + 1));
    let each = load.requests / load.connections;
    let threads: Vec<_> = (0..load.connections)
        .map(|partition| {
            let (barrier, load, batch) = (barrier.clone(), load.clone(), batch.clone());
            let port = ports[partition % ports.len()];
            thread::spawn(move || {
                let request = encode::produce(&load.topic, partition as i32, load.acks, &batch);
                // Large requests are written one by one, small ones many at a time.
                let copies = if request.len() > 16 * 1024 { 1 } else { load.window };
                let requests = request.repeat(copies);
                let mut stream = connect(port);
                let error_at = produce_error_at(&load.topic);
                let mut answers = Answers::new();
                barrier.wait();
                let (mut sent, mut answered) = (0, 0);
                while answered < each {
                    while sent < each && sent - answered < load.window {
                        let count = copies.min(load.window - (sent - answered)).min(each - sent);
                        stream.write_all(&requests[..count * request.len()]).expect("a request sent");
                        sent += count;
                    }
                    answered += answers.receive(&mut stream, error_at);
                }
            })
        })
        .collect();
    barrier.wait();
    let start = Instant::now();
    threads.into_iter().for_each(|t| t.join().expect("a load thread"));
    start.elapsed().as_secs_f64()
}

/// Latencies in microseconds at a fixed rate, each from the moment its request was due: a stall costs all that it
/// delays. `rate` requests per second on one connection.
pub fn latency(port: u16, topic: &str, acks: i16, rate: u32, seconds: u32, batch: &Batch) -> Histogram<u64> {
    latency_of_partition(port, topic, 0, acks, rate, seconds, batch)
}

/// The same for one of several partitions.
pub fn latency_of_partition(
    port: u16,
    topic: &str,
    partition: i32,
    acks: i16,
    rate: u32,
    seconds: u32,
    batch: &Batch,
) -> Histogram<u64> {
    let request = encode::produce(topic, partition, acks, batch);
    let total = (rate * seconds) as usize;
    let period = Duration::from_secs(1) / rate;
    let mut stream = connect(port);
    let mut reader = stream.try_clone().expect("the same socket");
    let start = Instant::now() + Duration::from_millis(10);
    let error_at = produce_error_at(topic);
    let receiver = thread::spawn(move || {
        let mut histogram = Histogram::new(3).expect("a histogram");
        let mut answers = Answers::new();
        let mut answered = 0u32;
        while (answered as usize) < total {
            let count = answers.receive(&mut reader, error_at);
            let now = Instant::now();
            for _ in 0..count {
                let due = start + period * answered;
                histogram.record(now.saturating_duration_since(due).as_micros() as u64).expect("a latency");
                answered += 1;
            }
        }
        histogram
    });
    for n in 0..total as u32 {
        let due = start + period * n;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        stream.write_all(&request).expect("a request sent");
    }
    receiver.join().expect("the receiver")
}

/// How much to fetch, and how.
#[derive(Clone)]
pub struct Fetch {
    pub topic: String,
    pub connections: usize,
    /// `max.partition.fetch.bytes`.
    pub partition_max_bytes: i32,
    /// Records and bytes of one batch of the topic, which are all alike.
    pub batch_records: usize,
    pub batch_bytes: usize,
    /// Batches in each partition.
    pub batches: usize,
    /// How many times each partition is read from its beginning.
    pub rounds: usize,
}

/// Reads partitions from their beginnings, each by a connection. The bytes are dropped in the kernel. Returns seconds
/// and bytes of records received.
pub fn fetch(port: u16, load: &Fetch) -> (f64, u64) {
    let bytes = Arc::new(AtomicU64::new(0));
    let barrier = Arc::new(Barrier::new(load.connections + 1));
    let threads: Vec<_> = (0..load.connections)
        .map(|partition| {
            let (barrier, load, bytes) = (barrier.clone(), load.clone(), bytes.clone());
            thread::spawn(move || {
                let mut stream = connect(port);
                barrier.wait();
                for _ in 0..load.rounds {
                    let mut batch = 0;
                    while batch < load.batches {
                        let offset = (batch * load.batch_records) as i64;
                        let request = encode::fetch(&load.topic, partition as i32, offset, load.partition_max_bytes);
                        stream.write_all(&request).expect("a request sent");
                        let got = receive_records(&mut stream, &load.topic);
                        assert!(got >= load.batch_bytes, "{got} bytes of records at offset {offset}");
                        // Only whole batches count: the cut one at the end comes again.
                        let whole = got / load.batch_bytes;
                        batch += whole;
                        bytes.fetch_add((whole * load.batch_bytes) as u64, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    barrier.wait();
    let start = Instant::now();
    threads.into_iter().for_each(|t| t.join().expect("a load thread"));
    (start.elapsed().as_secs_f64(), bytes.load(Ordering::Relaxed))
}

/// Reads one Fetch answer (version 12, one topic, one partition) and drops its records; says how many bytes they were.
fn receive_records(stream: &mut TcpStream, topic: &str) -> usize {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).expect("an answer");
    let length = i32::from_be_bytes(prefix) as usize;
    // Correlation id, tags, throttle time, error, session; topics, name; partitions.
    let at_partition = 4 + 1 + 4 + 2 + 4 + 1 + 1 + topic.len() + 1;
    // Index, error, high watermark, stable offset, log start; no aborted transactions; preferred replica.
    let at_records = at_partition + 4 + 2 + 8 + 8 + 8 + 1 + 4;
    let mut head = vec![0; at_records + 1];
    stream.read_exact(&mut head).expect("an answer");
    let error = i16::from_be_bytes([head[at_partition + 4], head[at_partition + 5]]);
    assert_eq!(error, 0, "an error in an answer");
    let (mut records, mut shift, mut read) = (0usize, 0, head.len());
    let mut byte = [head[at_records]];
    loop {
        records |= ((byte[0] & 0x7f) as usize) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
        stream.read_exact(&mut byte).expect("an answer");
        read += 1;
    }
    let mut left = length - read;
    let mut nowhere = vec![0; 1 << 20];
    while left > 0 {
        let want = left.min(nowhere.len());
        let dropped = recv(stream.as_raw_fd(), &mut nowhere[..want], MsgFlags::MSG_TRUNC).expect("records");
        assert!(dropped > 0, "the broker closed the connection");
        left -= dropped;
    }
    records.saturating_sub(1)
}
