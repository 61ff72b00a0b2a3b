//! A real ZooKeeper server for tests: Debian's jars, a free port, a data directory that vanishes with it.
//!
//! Include through `mod common;`.
#![allow(dead_code)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::place::Place;

/// Milliseconds; sessions may be as short as two of these.
const TICK_MS: u32 = 100;
const START_PATIENCE: Duration = Duration::from_secs(60);

/// A server, on the loopback interface unless it is put elsewhere. Killed when dropped.
pub struct ZooKeeperServer {
    dir: TempDir,
    place: Place,
    port: u16,
    /// Further lines of its configuration.
    extra: String,
    child: Option<Child>,
}

impl ZooKeeperServer {
    /// Starts a server with an empty tree; returns when it answers.
    pub fn start() -> ZooKeeperServer {
        for _ in 0..5 {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let place = Place::default();
            let mut server = ZooKeeperServer { dir, place, port: free_port(), extra: String::new(), child: None };
            // Somebody may have taken the port meanwhile: try another.
            if server.launch() {
                return server;
            }
        }
        panic!("ZooKeeper does not start; is it installed, with /usr/share/java/zookeeper.jar and java?");
    }

    /// So many servers in one place, as one ensemble if they are several; returns when all serve.
    pub fn start_ensemble(count: usize, place: &Place) -> Vec<ZooKeeperServer> {
        let ports: Vec<[u16; 3]> = (0..count).map(|_| [free_port(), free_port(), free_port()]).collect();
        let host = place.host;
        let member = |(i, p): (usize, &[u16; 3])| format!("server.{}={host}:{}:{}\n", i + 1, p[1], p[2]);
        let members: String = ports.iter().enumerate().map(member).collect();
        // A busy machine must not make them lose each other.
        let quorum = format!("tickTime=500\ninitLimit=20\nsyncLimit=10\n{members}");
        let server = |(i, p): (usize, &[u16; 3])| {
            let dir = tempfile::tempdir().expect("a temporary directory");
            fs::create_dir(dir.path().join("data")).expect("the server's data directory");
            fs::write(dir.path().join("data/myid"), (i + 1).to_string()).expect("the server's id");
            let extra = if count > 1 { quorum.clone() } else { String::new() };
            ZooKeeperServer { dir, place: place.clone(), port: p[0], extra, child: None }
        };
        let mut servers: Vec<ZooKeeperServer> = ports.iter().enumerate().map(server).collect();
        servers.iter_mut().for_each(|server| assert!(server.spawn(), "no java"));
        let deadline = Instant::now() + START_PATIENCE;
        for server in &servers {
            while server.mode().is_none() {
                assert!(Instant::now() < deadline, "ZooKeeper does not start: {}", server.log());
                sleep(Duration::from_millis(50));
            }
        }
        servers
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What to put into `zookeeper.connect`.
    pub fn connect(&self) -> String {
        format!("{}:{}", self.place.host, self.port)
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

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Starts the process and returns at once; false if there is none.
    pub fn spawn(&mut self) -> bool {
        let dir = self.dir.path();
        let config = dir.join("zoo.cfg");
        let text = format!(
            "tickTime={TICK_MS}\ndataDir={}\nclientPort={}\nclientPortAddress={}\nmaxClientCnxns=0\n\
             maxSessionTimeout=60000\nadmin.enableServer=false\n4lw.commands.whitelist=*\n{}",
            dir.join("data").display(),
            self.port,
            self.place.host,
            self.extra
        );
        fs::write(&config, text).expect("the server's configuration");
        let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).expect("the server's log");
        let child = self
            .place
            .command("java")
            .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dzookeeper.forceSync=no"])
            .args(["-Dzookeeper.jmx.log4j.disable=true", "-cp", "/usr/share/java/zookeeper.jar"])
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the server's log"))
            .stderr(log)
            .spawn();
        self.child = child.ok();
        self.child.is_some()
    }

    fn launch(&mut self) -> bool {
        if !self.spawn() {
            return false;
        }
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

    fn is_ok(&self) -> bool {
        self.ask("ruok") == "imok"
    }

    /// `standalone`, `leader` or `follower`; none when it does not serve.
    pub fn mode(&self) -> Option<String> {
        let answer = self.ask("srvr");
        answer.lines().find_map(|l| l.strip_prefix("Mode: ")).map(str::to_owned)
    }

    /// The answer to a four-letter word, or what came of it.
    fn ask(&self, word: &str) -> String {
        let mut answer = String::new();
        let address = SocketAddr::from((self.place.host, self.port));
        let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return answer };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let _ = stream.write_all(word.as_bytes());
        let _ = stream.read_to_string(&mut answer);
        answer
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
