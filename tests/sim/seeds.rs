//! Seeds that found something, each with what it was. They are run every time.
//!
//! What a seed decides changes with the code it runs. The first three fail today if their fix is taken back; the others
//! did when they were found. Most of what they found is held by unit tests as well.

pub const FOUND: &[(u64, &str)] = &[
    (12, "a leader lost power and was back before the next controller looked: it led on, without what it had lost"),
    (80, "the same, noticed by a high watermark that fell"),
    (
        131,
        "leader epochs newer than the batches that a loss of power had left: the follower did not see that it diverged",
    ),
    (250, "the same"),
    (284, "the same, with batches that overlap: the follower gave up"),
    (15, "after a loss of power the leader epoch file was half written, and the broker could not start"),
    (50, "the same, with zeros in it"),
    (136, "a broker that had returned unseen was told to follow, to stop, and to follow in the same epoch: it did not"),
    (225, "won the office in a new session before it knew that the old one had ended, resigned, and kept the znode"),
    (12866, "returned from a loss of power before the controller's watch told it, and was elected when that one left"),
    (13146, "the same: a change of the in-sync replicas hid the return from the next controller"),
    (13980, "a truncation came undone by a loss of power, and its batches were there twice under the same offsets"),
    (
        16282,
        "one broker had died and another had returned: leaderships of that one went to the dead, out of sync the other",
    ),
    (18702, "the session ended between the registration and the start of the controller: never registered again"),
    (14649, "after a loss of power a segment was empty and the next was not: the replica went on behind the hole"),
    (23741, "a leader cut off from ZooKeeper dropped the last intact replica from the in-sync set: no fault to inject"),
    (29559, "a loss of power spoiled one file of a log and took the index of the next: the log could not be opened"),
    (
        30061,
        "a controller that did not know of its end yet gave leaderships of long ago to a broker that had just started",
    ),
    (41049, "one broker dead, another back without all of its records: the removal of the first confirmed the second"),
    (
        56201,
        "a broker returned while a new controller read states that it then wrote, and the return was not seen again",
    ),
    (47192, "logs made while a shutdown waited for ZooKeeper, behind the mark of a clean one, lost with the power"),
    (61554, "the same"),
    (
        84595,
        "a follower was not told the high watermark again that came with the answer to what it asked in another epoch",
    ),
    (
        92814,
        "lost power just before it joined the in-sync set, whose only member was being taken down: no fault to inject",
    ),
    (
        86140,
        "a controller's last write hid the return of a broker that it had not heard of yet: it led on, without what it lost",
    ),
    (144798, "a loss of power cut a segment between two batches: the replica went on behind the hole"),
    (
        198611,
        "a controller that read its successor's states told a broker that had returned to lead: one epoch, two leaders",
    ),
    (52163, "the answer to the creation of a state was lost, a broker that crashed left the ISR: no leader, ever"),
    (40986, "the same"),
    (
        83106,
        "a leader lost power with a request under way that left one in sync, who lost its session: no fault to inject",
    ),
    (186599, "a leader lost power with a request under way that left it alone in sync: no fault to inject"),
    (240831, "what a broker wrote that left the in-sync set hid the return of another"),
    (152395, "the same, of another that returned between the look at the registrations and the write"),
    (1282, "a follower that had to truncate was never told the high watermark again"),
];
