//! One life of a broker's process, as the edges see it. Whatever the broker does to the outside passes one of them, so
//! a process that is paused or dead is one whose edges hold everything back: it may still compute, but nobody can know.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

pub struct Process {
    pub id: i32,
    /// Counts the lives of the broker.
    pub life: u32,
    dead: AtomicBool,
    paused: AtomicBool,
    cut_from_zk: AtomicBool,
    /// Its machine went with it: not even what it had sent goes on.
    powerless: AtomicBool,
    changed: Notify,
}

impl Process {
    pub fn new(id: i32, life: u32) -> Process {
        Process {
            id,
            life,
            dead: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            cut_from_zk: AtomicBool::new(false),
            powerless: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    pub fn is_cut_from_zk(&self) -> bool {
        self.cut_from_zk.load(Ordering::Relaxed)
    }

    pub fn is_powerless(&self) -> bool {
        self.powerless.load(Ordering::Relaxed)
    }

    pub fn lose_power(&self) {
        self.powerless.store(true, Ordering::Relaxed);
        self.kill();
    }

    pub fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    pub fn cut_from_zk(&self, cut: bool) {
        self.cut_from_zk.store(cut, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    async fn until(&self, holds: impl Fn(&Process) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if holds(self) {
                return;
            }
            changed.await;
        }
    }

    /// Waits while it is paused, and for ever when it is dead.
    pub async fn awake(&self) {
        self.until(|p| !p.is_paused() && !p.is_dead()).await;
    }

    /// The same, and that ZooKeeper can be reached.
    pub async fn reaches_zk(&self) {
        self.until(|p| !p.is_paused() && !p.is_dead() && !p.is_cut_from_zk()).await;
    }

    pub async fn died(&self) {
        self.until(Process::is_dead).await;
    }
}
