//! What the broker does by the clock: retention, flushes, checkpoints, delayed deletes.
//! Each task runs on the blocking pool and is never started again before it has ended (spec log 2.14).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::config::BrokerConfig;
use crate::log::LogManager;
use crate::replica::ReplicaTable;
use crate::util::{blocking, clock};

/// Kafka's delay of the log tasks after start. Ours is never longer than the task's own period.
const INITIAL_DELAY: Duration = Duration::from_secs(30);
/// Files nobody used for this long are closed.
const IDLE_FILES: Duration = Duration::from_secs(300);
/// How often directories of deleted replicas are looked at.
const DELETE_CHECK: Duration = Duration::from_secs(1);

/// Starts the tasks; they end when `stopping` turns true.
pub fn start(
    cfg: &BrokerConfig,
    logs: &Arc<LogManager>,
    replicas: &Arc<ReplicaTable>,
    stopping: watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let mut every = |period_ms: i64, work: Box<dyn Fn() + Send + Sync>| {
        // A period that never ends is how Kafka spells "off".
        if let Ok(period) = u64::try_from(period_ms).map(Duration::from_millis)
            && period_ms != i64::MAX
        {
            tasks.spawn(repeat(period.max(Duration::from_millis(1)), Arc::from(work), stopping.clone()));
        }
    };
    let on = |logs: &Arc<LogManager>, work: fn(&LogManager)| -> Box<dyn Fn() + Send + Sync> {
        let logs = logs.clone();
        Box::new(move || work(&logs))
    };
    every(
        cfg.long("log.retention.check.interval.ms"),
        on(logs, |logs| {
            logs.cleanup_logs(clock::now_ms());
        }),
    );
    every(cfg.long("log.flush.scheduler.interval.ms"), on(logs, |logs| logs.flush_pass(clock::now_ms())));
    every(cfg.long("log.flush.offset.checkpoint.interval.ms"), on(logs, LogManager::checkpoint_recovery_points));
    every(cfg.long("log.flush.start.offset.checkpoint.interval.ms"), on(logs, LogManager::checkpoint_log_starts));
    every(
        cfg.long("producer.id.expiration.check.interval.ms"),
        on(logs, |logs| logs.remove_expired_producers(clock::now_ms())),
    );
    every(
        i64::try_from(DELETE_CHECK.as_millis()).unwrap_or(1000),
        on(logs, |logs| logs.delete_expired(clock::now_ms())),
    );
    every(
        i64::try_from(IDLE_FILES.as_millis()).unwrap_or(1000),
        on(logs, |logs| {
            logs.close_idle_files();
        }),
    );
    let lagging = replicas.clone();
    // The first look is due at once; nothing is led then, so the second will do.
    every((cfg.long("replica.lag.time.max.ms") / 2).max(1), Box::new(move || lagging.shrink_isrs(clock::now_ms())));
    let replicas = replicas.clone();
    every(
        cfg.long("replica.high.watermark.checkpoint.interval.ms"),
        Box::new(move || replicas.checkpoint_high_watermarks()),
    );
    tasks
}

async fn repeat(period: Duration, work: Arc<dyn Fn() + Send + Sync>, mut stopping: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval_at(Instant::now() + period.min(INITIAL_DELAY), period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        let work = work.clone();
        if let Err(error) = blocking::run(move || work()).await {
            tracing::error!(target: "kafka.utils.KafkaScheduler", "Uncaught exception in scheduled task: {error}");
        }
    }
}
