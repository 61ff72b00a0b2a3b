//! Conversations between Kafka's brokers (tests/golden/conversations), with our broker in the place of one of them: the
//! test speaks for the others, and the answers must be the recorded ones. What differs from run to run (broker epochs,
//! fetch sessions, ports) is exchanged on the way.
//!
//! - [`play`]: orders of the controller and fetches of followers, to each of the three brokers in turn. What had happened
//!   before the recording began is brought about first ([`past`]).
//! - [`asked`]: what brokers asked of the controller.
//! - [`stale`]: epochs that are over, and some that are not there yet, where nothing is recorded.

mod asked;
mod exchange;
mod past;
mod play;
mod stage;
mod stale;

use std::thread;

use exchange::{RECORDINGS, load};
use past::{Known, runs};
use play::Player;
use stage::Stage;

use super::Score;

#[test]
fn orders_and_fetches_between_brokers_are_answered_as_kafka_answered_them() {
    let parts: Vec<(&str, i32)> = RECORDINGS.iter().flat_map(|r| (0..3).map(move |broker| (*r, broker))).collect();
    // Each with a broker of its own, and mostly waiting.
    let played: Vec<Score> = thread::scope(|scope| {
        let threads: Vec<_> = parts.iter().map(|(name, broker)| scope.spawn(|| play(name, *broker))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a played conversation")).collect()
    });
    let mut score = Score::default();
    for part in played {
        score.identical += part.identical;
        score.equal += part.equal;
        score.different.extend(part.different);
    }
    score.report();
    assert!(score.different.is_empty(), "{}", score.different.join("\n\n"));
    assert_eq!(score.identical + score.equal, 403);
}

fn play(recording: &str, broker: i32) -> Score {
    let recording = load(recording);
    let known = Known::of(&recording);
    let mut stage = Stage::with_follower(broker, known.controller_epoch());
    let mut score = Score::default();
    for run in runs(&recording, broker) {
        stage.start();
        let played = Player::set_up(&stage, &known, &run).play(&run);
        score.identical += played.identical;
        score.equal += played.equal;
        score.different.extend(played.different);
    }
    score
}
