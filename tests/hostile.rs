//! Bad input on a live broker: each costs one connection or an error code and hardly any memory, and nobody else notices.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use common::admin::{NO_ERROR, now_ms};
use common::wire::frame;
use common::{Broker, Wire};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest};
use kafka_protocol::protocol::StrBytes;
use ottla::record::{BatchHeader, RECORD_BATCH_OVERHEAD};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

const KIB_PER_MIB: u64 = 1024;
/// What one bad frame may cost before anything is decompressed.
const FRAME_LIMIT_KIB: u64 = KIB_PER_MIB;
/// What decompressing may cost.
const BOMB_LIMIT_KIB: u64 = 64 * KIB_PER_MIB;

/// A client that goes on working; it panics when it is disturbed.
struct Bystander {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u32, Duration)>,
}

impl Bystander {
    fn start(broker: &Broker) -> Bystander {
        let mut wire = broker.wire();
        wire.create_topic("bystander", 1, &[]);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut count, mut slowest) = (0, Duration::ZERO);
            while !stopped.load(Ordering::Relaxed) {
                let start = Instant::now();
                let offset = wire.produce("bystander", 0, &["still here"], now_ms());
                assert_eq!(offset, i64::from(count));
                assert_eq!(wire.fetch("bystander", 0, offset, 0, 0).high_watermark, offset + 1);
                slowest = slowest.max(start.elapsed());
                count += 1;
            }
            (count, slowest)
        });
        Bystander { stop, thread }
    }

    fn finish(self, limit: Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let (count, slowest) = self.thread.join().expect("the bystander was disturbed");
        println!("bystander: {count} rounds, the slowest took {slowest:?}");
        assert!(count > 0 && slowest < limit, "{count} rounds, the slowest took {slowest:?}");
    }
}

/// A request header of version 1 and a body.
fn request(api_key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    bytes.put_i16(api_key);
    bytes.put_i16(version);
    bytes.put_i32(7);
    bytes.put_i16(3);
    bytes.put_slice(b"bad");
    let flexible = ApiKey::try_from(api_key).is_ok_and(|api| api.request_header_version(version) >= 2);
    if flexible {
        bytes.put_u8(0);
    }
    bytes.put_slice(body);
    frame(&bytes)
}

fn hex(text: &str) -> Vec<u8> {
    let text: String = text.split_whitespace().collect();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn random(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Name and bytes, sent as they are.
fn bad_frames() -> Vec<(String, Vec<u8>)> {
    let truncated = request(3, 1, &hex("00000002 0003"));
    let named: Vec<(&str, Vec<u8>)> = vec![
        ("a length of 2^31-1", hex("7fffffff")),
        ("a length of 2^31-1 and some bytes", hex("7fffffff 0003 0001 00000001 0003")),
        ("a length of -1", hex("ffffffff")),
        ("a length of -2^31", hex("80000000")),
        ("a length of 0", hex("00000000")),
        ("a length just over socket.request.max.bytes", hex("06400001 0003 0001 00000001")),
        ("half a length", hex("0000")),
        ("a frame of one byte", hex("00000001 00")),
        ("a frame that ends in the header", hex("00000006 0003 0001 0000")),
        ("a client id longer than the frame", hex("0000000c 0003 0001 00000001 7fff 6161")),
        ("a client id of negative length", hex("0000000c 0003 0001 00000001 8000 6161")),
        ("header tags without end", hex("00000012 0012 0003 00000001 0000 ffffffff0f ffffff")),
        ("a frame cut in two", truncated[..truncated.len() - 2].to_vec()),
        ("a frame shorter than its strings", request(3, 1, &hex("00000001 7fff 61"))),
        ("five bytes of Metadata v9", request(3, 9, &hex("ffffffff0f"))),
        ("five bytes of Metadata v12", request(3, 12, &hex("ffffffff07"))),
        ("2^31-1 topics of Metadata v1", request(3, 1, &hex("7fffffff"))),
        ("-2 topics of Metadata v1", request(3, 1, &hex("fffffffe"))),
        ("2^31-1 topics of Produce v3", request(0, 3, &hex("ffff ffff 00001000 7fffffff"))),
        (
            "2^31-1 bytes of records",
            request(0, 3, &hex("ffff ffff 00001000 00000001 000174 00000001 00000000 7fffffff")),
        ),
        ("2^31-1 topics of Fetch v4", request(1, 4, &hex("ffffffff 00000000 00000001 00000001 00 7fffffff"))),
        ("2^31-1 protocols of JoinGroup v0", request(11, 0, &hex("000167 00002710 0000 0001 63 7fffffff"))),
        ("an api that is not there", request(999, 0, &[])),
        ("an api of negative key", request(-1, 0, &[])),
        ("a version that is not there", request(3, 99, &hex("ffffffff"))),
        ("an HTTP GET", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("a TLS hello", hex("16030100c8010000c40303").into_iter().chain(random(1, 200)).collect()),
        ("an SSH banner", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        ("4 KiB of noise", random(2, 4096)),
        ("a frame of noise", frame(&random(3, 4096))),
        ("a frame of zeros", frame(&[0; 4096])),
        ("a frame of ones", frame(&[0xff; 4096])),
    ];
    named.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

/// For every api and version: no body, and bodies that are all counts.
fn bad_bodies(advertised: &[(i16, i16)]) -> Vec<(String, Vec<u8>)> {
    let mut frames = Vec::new();
    for (api, max) in advertised.iter().copied() {
        // These two would do as they are told: what the controller says is not bad input.
        if [5, 7].contains(&api) {
            continue;
        }
        for version in 0..=max {
            frames.push((format!("api {api} v{version}, no body"), request(api, version, &[])));
            let bodies = [vec![0xff; 64], vec![0x7f; 64], hex("ffffffff07").repeat(13), random(api as u64, 64)];
            for (index, body) in bodies.iter().enumerate() {
                frames.push((format!("api {api} v{version}, bad body {index}"), request(api, version, body)));
            }
        }
    }
    frames
}

/// Sends bytes on a connection of their own, says that no more will come, and waits until the broker closes.
fn send(broker: &Broker, name: &str, bytes: &[u8]) {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, broker.port())).unwrap();
    let mut wire = Wire::over(stream.try_clone().unwrap());
    wire.set_timeout(Duration::from_secs(30));
    let _ = (&stream).write_all(bytes); // It may be closed already.
    let _ = stream.shutdown(Shutdown::Write);
    let mut answers = 0;
    loop {
        match wire.receive() {
            Ok(None) => return,
            Ok(Some(_)) => answers += 1,
            Err(e) => panic!("{name}: after {answers} answers: {e}"),
        }
        assert!(answers <= 1, "{name}: more answers than requests");
    }
}

fn reset_peak(broker: &Broker) {
    fs::write(format!("/proc/{}/clear_refs", broker.pid()), "5").unwrap();
}

fn advertised(broker: &Broker) -> Vec<(i16, i16)> {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("tests"))
        .with_client_software_version(StrBytes::from_static_str("1"));
    broker.wire().call(3, &request).api_keys.iter().map(|a| (a.api_key, a.max_version)).collect()
}

fn start() -> Broker {
    let mut broker = Broker::start(&[]);
    broker.expect_log(""); // It may say what it likes about this, except that it panicked.
    broker
}

#[test]
fn each_bad_frame_costs_a_connection_and_no_memory() {
    let broker = start();
    let bystander = Bystander::start(&broker);
    let frames = bad_frames();
    for (name, bytes) in &frames {
        send(&broker, name, bytes); // The first time, buffers grow that stay.
    }
    let mut costly = Vec::new();
    for (name, bytes) in &frames {
        reset_peak(&broker);
        let before = broker.rss_kib();
        send(&broker, name, bytes);
        let cost = broker.peak_rss_kib().saturating_sub(before);
        if cost >= FRAME_LIMIT_KIB && !broker.is_kafka() {
            costly.push(format!("{name}: {cost} KiB"));
        }
    }
    bystander.finish(Duration::from_secs(5));
    assert!(costly.is_empty(), "{costly:#?}");
}

#[test]
fn each_api_stands_bodies_of_mere_counts() {
    let broker = start();
    let frames = bad_bodies(&advertised(&broker));
    let bystander = Bystander::start(&broker);
    for (name, bytes) in &frames[..40] {
        send(&broker, name, bytes);
    }
    reset_peak(&broker);
    let before = broker.rss_kib();
    for (name, bytes) in &frames {
        send(&broker, name, bytes);
    }
    let cost = broker.peak_rss_kib().saturating_sub(before);
    println!("{} bad bodies, {cost} KiB", frames.len());
    bystander.finish(Duration::from_secs(5));
    assert!(broker.is_kafka() || cost < 8 * KIB_PER_MIB, "{cost} KiB for {} frames", frames.len());
}

#[test]
fn promises_of_large_frames_are_not_believed() {
    let broker = start();
    if broker.is_kafka() {
        return; // It believes them, and the heap that we give it does not suffice.
    }
    let bystander = Bystander::start(&broker);
    reset_peak(&broker);
    let before = broker.rss_kib();
    // 64 clients announce 100 MB each, send a little of it, and fall silent.
    let streams: Vec<TcpStream> = (0..64)
        .map(|_| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, broker.port())).unwrap();
            stream.write_all(&hex("06400000 0000 0009 00000001 0003 626164")).unwrap();
            stream
        })
        .collect();
    assert_eq!(broker.wire().fetch("bystander", 0, 0, 0, 0).error_code, NO_ERROR);
    let cost = broker.peak_rss_kib().saturating_sub(before);
    drop(streams);
    bystander.finish(Duration::from_secs(5));
    assert!(broker.is_kafka() || cost < 16 * KIB_PER_MIB, "{cost} KiB for promises");
}

/// A batch of one record whose value is `size` zeros, compressed by gzip (attribute 1) or zstd (4).
fn bomb(size: u64, gzip: bool, count: i32) -> Bytes {
    let mut head = BytesMut::new();
    let body_length = 1 + 1 + 1 + 1 + varint(size).len() as u64 + size + 1;
    head.put_slice(&varint(body_length));
    head.put_slice(&[0, 0, 0, 1]); // attributes, timestamp delta, offset delta, a null key
    head.put_slice(&varint(size));
    let compressed = if gzip {
        zeros_after(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best()), &head, size)
            .finish()
            .unwrap()
    } else {
        zeros_after(zstd::Encoder::new(Vec::new(), 3).unwrap(), &head, size).finish().unwrap()
    };
    let mut header = BatchHeader {
        base_offset: 0,
        batch_length: i32::try_from(compressed.len() + RECORD_BATCH_OVERHEAD - 12).unwrap(),
        partition_leader_epoch: -1,
        magic: 2,
        crc: 0,
        attributes: if gzip { 1 } else { 4 },
        last_offset_delta: count - 1,
        base_timestamp: now_ms(),
        max_timestamp: now_ms(),
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        records_count: count,
    };
    header.crc = header.compute_crc(&compressed);
    [&header.encode()[..], &compressed].concat().into()
}

/// Zigzag, as in records.
fn varint(value: u64) -> Vec<u8> {
    let mut rest = value << 1;
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

fn zeros_after<W: Write>(mut encoder: W, head: &[u8], size: u64) -> W {
    encoder.write_all(head).unwrap();
    let zeros = vec![0; 1 << 20];
    // One more: the count of headers.
    let mut left = usize::try_from(size + 1).unwrap();
    while left > 0 {
        let step = left.min(zeros.len());
        encoder.write_all(&zeros[..step]).unwrap();
        left -= step;
    }
    encoder
}

#[test]
fn bombs_of_a_gigabyte_do_not_go_off() {
    let broker = start();
    if broker.is_kafka() {
        return; // It takes them, and the heap that we give it does not suffice.
    }
    let mut wire = broker.wire();
    // Room for what a gigabyte of zeros is, compressed.
    wire.create_topic("t", 1, &[("max.message.bytes", "2000000")]);
    let gigabyte = 1 << 30;
    let bombs = [
        ("gzip", bomb(gigabyte, true, 1)),
        ("zstd", bomb(gigabyte, false, 1)),
        ("gzip, with a count of 2^31-1", bomb(gigabyte, true, i32::MAX)),
    ];
    let bystander = Bystander::start(&broker);
    for (name, bomb) in bombs {
        let length = bomb.len();
        reset_peak(&broker);
        let before = broker.rss_kib();
        let answer = wire.produce_batch("t", 0, bomb);
        let cost = broker.peak_rss_kib().saturating_sub(before);
        println!("{name}: {length} bytes, error code {}, {cost} KiB", answer.error_code);
        assert!(cost < BOMB_LIMIT_KIB, "{name}: {cost} KiB");
        // If it is in the log, an old consumer makes the broker unpack it again.
        old_fetch(&broker);
        let cost = broker.peak_rss_kib().saturating_sub(before);
        assert!(cost < BOMB_LIMIT_KIB, "{name}, fetched by an old consumer: {cost} KiB");
    }
    bystander.finish(Duration::from_secs(20));
}

/// Fetch v2 of topic t; whatever comes, or the end of the connection.
fn old_fetch(broker: &Broker) {
    let body = hex("ffffffff 00000000 00000001 00000001 0001 74 00000001 00000000 0000000000000000 00200000");
    send(broker, "an old fetch", &request(1, 2, &body));
}
