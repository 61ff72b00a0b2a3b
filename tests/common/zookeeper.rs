//! A real ZooKeeper server for tests: Debian's jars, a free port, a data directory that vanishes with it.
//!
//! Include with `#[path = "common/zookeeper.rs"] mod zookeeper;` or through `mod common;`.
#![allow(dead_code)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Milliseconds; sessions may be as short as two of these.
const TICK_MS: u32 = 100;
const START_PATIENCE: Duration = Duration::from_secs(60);

/// A standalone server on the loopback interface. Killed when dropped.
pub struct ZooKeeperServer {
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

impl ZooKeeperServer {
    /// Starts a server with an empty tree; returns when it answers.
    pub fn start() -> ZooKeeperServer {
        for _ in 0..5 {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let mut server = ZooKeeperServer { dir, port: free_port(), child: None };
            // Somebody may have taken the port meanwhile: try another.
            if server.launch() {
                return server;
            }
        }
        panic!("ZooKeeper does not start; is it installed, with /usr/share/java/zookeeper.jar and java?");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What to put into `zookeeper.connect`.
    pub fn connect(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills the server. Its data stay.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again after [`ZooKeeperServer::stop`], on the same port with the same data.
    pub fn restart(&mut self) {
        self.stop();
        assert!(self.launch(), "ZooKeeper does not come back: {}", self.log());
    }

    /// Freezes the server: connections stay open, nothing is answered, no session expires.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// What the server printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().expect("a running server").id();
        kill(Pid::from_raw(pid.try_into().expect("a process id")), signal).expect("a signal to our own child");
    }

    fn launch(&mut self) -> bool {
        let dir = self.dir.path();
        let config = dir.join("zoo.cfg");
        let text = format!(
            "tickTime={TICK_MS}\ndataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n\
             maxSessionTimeout=60000\nadmin.enableServer=false\n4lw.commands.whitelist=*\n",
            dir.join("data").display(),
            self.port
        );
        fs::write(&config, text).expect("the server's configuration");
        let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).expect("the server's log");
        let child = Command::new("java")
            .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dzookeeper.forceSync=no"])
            .args(["-Dzookeeper.jmx.log4j.disable=true", "-cp", "/usr/share/java/zookeeper.jar"])
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the server's log"))
            .stderr(log)
            .spawn();
        let Ok(child) = child else { return false };
        self.child = Some(child);
        let deadline = Instant::now() + START_PATIENCE;
        while Instant::now() < deadline {
            if self.is_ok() {
                return true;
            }
            let exited = self.child.as_mut().is_none_or(|c| !matches!(c.try_wait(), Ok(None)));
            if exited {
                return false;
            }
            sleep(Duration::from_millis(20));
        }
        self.stop();
        false
    }

    /// Asks `ruok`.
    fn is_ok(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) else { return false };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let mut answer = String::new();
        stream.write_all(b"ruok").is_ok() && stream.read_to_string(&mut answer).is_ok() && answer == "imok"
    }
}

impl Drop for ZooKeeperServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    listener.local_addr().expect("its address").port()
}
