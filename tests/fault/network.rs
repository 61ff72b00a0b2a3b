//! A network that can be cut: every node a network namespace of its own, all joined by this process's namespace, which
//! forwards between them and can silently drop what one node sends to another.
//!
//! This process must be in a network namespace of its own (`unshare --net`). All of it vanishes with the processes.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::common::place::Place;

/// The address of this process, of the clients.
pub const HUB: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);

pub struct Network {
    nodes: Vec<Node>,
    /// How many faults cut a direction at present.
    cuts: BTreeMap<(usize, usize), usize>,
}

/// A process that does nothing and keeps a namespace alive.
struct Node {
    holder: Child,
}

impl Network {
    pub fn new(count: usize) -> io::Result<Network> {
        run("ip", &["link", "set", "lo", "up"])?;
        run("sh", &["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])?;
        let nodes = (0..count).map(node).collect::<io::Result<_>>()?;
        Ok(Network { nodes, cuts: BTreeMap::new() })
    }

    pub fn place(&self, node: usize) -> Place {
        let pid = self.nodes[node].holder.id().to_string();
        Place { host: host(node), enter: ["nsenter", "-t", &pid, "-n", "--"].map(str::to_owned).to_vec() }
    }

    /// What `from` sends to `to` is lost from now on, until mended as many times as cut.
    pub fn cut(&mut self, from: usize, to: usize) {
        let count = self.cuts.entry((from, to)).or_insert(0);
        *count += 1;
        if *count == 1 {
            self.rule("add", from, to);
        }
    }

    pub fn mend(&mut self, from: usize, to: usize) {
        let count = self.cuts.get_mut(&(from, to)).expect("a cut");
        *count -= 1;
        if *count == 0 {
            self.cuts.remove(&(from, to));
            self.rule("del", from, to);
        }
    }

    fn rule(&self, verb: &str, from: usize, to: usize) {
        let (from, to) = (host(from).to_string(), host(to).to_string());
        run("ip", &["rule", verb, "pref", "10", "from", &from, "to", &to, "blackhole"]).expect("a routing rule");
    }
}

fn host(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(node + 1).expect("few nodes"))
}

fn node(index: usize) -> io::Result<Node> {
    let mut command = Command::new("unshare");
    let holder = command.args(["--net", "sleep", "infinity"]).stdin(Stdio::null()).spawn()?;
    let node = Node { holder };
    let pid = node.holder.id().to_string();
    let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net"));
    let start = Instant::now();
    while namespace(&pid)? == namespace("self")? {
        if start.elapsed() > Duration::from_secs(10) {
            return Err(io::Error::other("no network namespace"));
        }
        sleep(Duration::from_millis(2));
    }
    let (link, host, hub) = (format!("node{index}"), host(index).to_string(), HUB.to_string());
    run("ip", &["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &pid])?;
    run("ip", &["addr", "add", &hub, "peer", &host, "dev", &link])?;
    run("ip", &["link", "set", &link, "up"])?;
    let inside = format!(
        "ip link set lo up && ip addr add {host} peer {hub} dev eth0 && ip link set eth0 up && ip route add default via {hub}"
    );
    run("nsenter", &["-t", &pid, "-n", "sh", "-c", &inside])?;
    Ok(node)
}

fn run(program: &str, arguments: &[&str]) -> io::Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("{program} {}: {said}", arguments.join(" "))))
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
