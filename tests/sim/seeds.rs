//! Seeds that found something, each with what it was. They are run every time.

pub const FOUND: &[(u64, &str)] = &[
    (15, "after a loss of power the leader epoch file was half written, and the broker could not start"),
    (50, "the same, with zeros in it"),
    (80, "a leader lost power and was back before the next controller looked: it led on, without what it had lost"),
    (136, "a broker that had returned unseen was told to follow, to stop, and to follow in the same epoch: it did not"),
    (225, "won the office in a new session before it knew that the old one had ended, resigned, and kept the znode"),
    (
        250,
        "leader epochs newer than the batches that a loss of power had left: the follower did not see that it diverged",
    ),
    (284, "the same, with batches that overlap: the follower gave up"),
    (1282, "a follower that had to truncate was never told the high watermark again"),
];
