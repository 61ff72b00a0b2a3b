//! The twin's tree of znodes and its watches: a synchronous model of ZooKeeper's `DataTree` and
//! `PrepRequestProcessor`. Owns the znodes; knows clients only as numbers. No locks, no clock of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::super::{ANY_VERSION, CreateMode, MultiError, Op, OpResult, Stat, ZkError, ZkEvent, paths};

/// A client of the twin; the same through all its sessions.
pub type ClientId = u64;

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub data: Bytes,
    /// `cversion` counts creations of children only (that is what numbers sequential znodes).
    stat: Stat,
    children: BTreeSet<String>,
}

impl Node {
    fn new(data: Bytes, owner: i64, zxid: i64, now_ms: i64) -> Node {
        let stat = Stat {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: now_ms,
            mtime: now_ms,
            ephemeral_owner: owner,
            ..Stat::default()
        };
        Node { data, stat, children: BTreeSet::new() }
    }

    /// The stat as a client sees it.
    pub fn stat(&self) -> Stat {
        let num_children = i32::try_from(self.children.len()).unwrap_or(i32::MAX);
        Stat {
            cversion: self.stat.cversion * 2 - num_children,
            data_length: i32::try_from(self.data.len()).unwrap_or(i32::MAX),
            num_children,
            ..self.stat
        }
    }
}

/// What happened to the tree, for watches.
enum Change {
    Created(String),
    Deleted(String),
    DataChanged(String),
}

/// Nodes as they were before a multi, to put back when it fails.
type Undo = Vec<(String, Option<Node>)>;

pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
    zxid: i64,
    pub now_ms: i64,
    data_watches: BTreeMap<String, BTreeSet<ClientId>>,
    child_watches: BTreeMap<String, BTreeSet<ClientId>>,
}

impl Tree {
    pub fn new() -> Tree {
        let root = Node::new(Bytes::new(), 0, 0, 0);
        Tree {
            nodes: BTreeMap::from([("/".to_owned(), root)]),
            zxid: 0,
            now_ms: 0,
            data_watches: BTreeMap::new(),
            child_watches: BTreeMap::new(),
        }
    }

    pub fn node(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    pub fn nodes(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.nodes.iter()
    }

    pub fn exists(&mut self, client: ClientId, path: &str, watch: bool) -> Option<Stat> {
        if watch {
            self.data_watches.entry(path.to_owned()).or_default().insert(client);
        }
        self.nodes.get(path).map(Node::stat)
    }

    pub fn get_data(&mut self, client: ClientId, path: &str, watch: bool) -> Result<(Bytes, Stat), ZkError> {
        let node = self.nodes.get(path).ok_or(ZkError::NoNode)?;
        if watch {
            self.data_watches.entry(path.to_owned()).or_default().insert(client);
        }
        Ok((node.data.clone(), node.stat()))
    }

    pub fn get_children(&mut self, client: ClientId, path: &str, watch: bool) -> Result<(Vec<String>, Stat), ZkError> {
        let node = self.nodes.get(path).ok_or(ZkError::NoNode)?;
        if watch {
            self.child_watches.entry(path.to_owned()).or_default().insert(client);
        }
        Ok((node.children.iter().cloned().collect(), node.stat()))
    }

    /// All operations in one transaction, or none. `session` owns what is created as ephemeral.
    /// Also answers which client is to be told what, in order.
    #[allow(clippy::type_complexity)]
    pub fn apply(&mut self, session: i64, ops: &[Op]) -> Result<(Vec<OpResult>, Vec<(ClientId, ZkEvent)>), MultiError> {
        self.zxid += 1;
        let (mut undo, mut changes, mut results) = (Undo::new(), Vec::new(), Vec::new());
        for (index, op) in ops.iter().enumerate() {
            match self.apply_one(session, op, &mut undo, &mut changes) {
                Ok(result) => results.push(result),
                Err(error) => {
                    for (path, before) in undo.into_iter().rev() {
                        match before {
                            Some(node) => self.nodes.insert(path, node),
                            None => self.nodes.remove(&path),
                        };
                    }
                    return Err(MultiError { index: Some(index), error });
                }
            }
        }
        Ok((results, self.fire(changes)))
    }

    fn apply_one(
        &mut self,
        session: i64,
        op: &Op,
        undo: &mut Undo,
        changes: &mut Vec<Change>,
    ) -> Result<OpResult, ZkError> {
        check_path(op.path())?;
        match op {
            Op::Create { path, data, mode } => self.create(session, path, data, *mode, undo, changes),
            Op::Delete { path, version } => self.delete(path, *version, undo, changes),
            Op::SetData { path, data, version } => {
                let (zxid, now_ms) = (self.zxid, self.now_ms);
                let node = self.versioned(path, *version)?;
                undo.push((path.clone(), Some(node.clone())));
                node.data = data.clone();
                node.stat.version += 1;
                node.stat.mzxid = zxid;
                node.stat.mtime = now_ms;
                let stat = node.stat();
                changes.push(Change::DataChanged(path.clone()));
                Ok(OpResult::DataSet { stat })
            }
            Op::Check { path, version } => self.versioned(path, *version).map(|_| OpResult::Checked),
        }
    }

    fn versioned(&mut self, path: &str, version: i32) -> Result<&mut Node, ZkError> {
        let node = self.nodes.get_mut(path).ok_or(ZkError::NoNode)?;
        if version != ANY_VERSION && version != node.stat.version {
            return Err(ZkError::BadVersion);
        }
        Ok(node)
    }

    fn create(
        &mut self,
        session: i64,
        path: &str,
        data: &Bytes,
        mode: CreateMode,
        undo: &mut Undo,
        changes: &mut Vec<Change>,
    ) -> Result<OpResult, ZkError> {
        let zxid = self.zxid;
        let Some(parent_path) = paths::parent(path) else { return Err(ZkError::NodeExists) };
        let parent = self.nodes.get(parent_path).ok_or(ZkError::NoNode)?;
        let path = if mode.is_sequential() { format!("{path}{:010}", parent.stat.cversion) } else { path.to_owned() };
        if self.nodes.contains_key(&path) {
            return Err(ZkError::NodeExists);
        }
        if parent.stat.ephemeral_owner != 0 {
            return Err(ZkError::NoChildrenForEphemerals);
        }
        undo.push((parent_path.to_owned(), Some(parent.clone())));
        undo.push((path.clone(), None));
        if let Some(parent) = self.nodes.get_mut(parent_path) {
            parent.children.insert(last_component(&path).to_owned());
            parent.stat.cversion += 1;
            parent.stat.pzxid = zxid;
        }
        let owner = if mode.is_ephemeral() { session } else { 0 };
        let node = Node::new(data.clone(), owner, zxid, self.now_ms);
        let stat = node.stat();
        self.nodes.insert(path.clone(), node);
        changes.push(Change::Created(path.clone()));
        Ok(OpResult::Created { path, stat })
    }

    fn delete(
        &mut self,
        path: &str,
        version: i32,
        undo: &mut Undo,
        changes: &mut Vec<Change>,
    ) -> Result<OpResult, ZkError> {
        let zxid = self.zxid;
        let Some(parent_path) = paths::parent(path) else {
            return Err(ZkError::BadArguments("can not delete root node".to_owned()));
        };
        if !self.versioned(path, version)?.children.is_empty() {
            return Err(ZkError::NotEmpty);
        }
        if let Some(parent) = self.nodes.get_mut(parent_path) {
            undo.push((parent_path.to_owned(), Some(parent.clone())));
            parent.children.remove(last_component(path));
            parent.stat.pzxid = zxid;
        }
        let before = self.nodes.remove(path);
        undo.push((path.to_owned(), before));
        changes.push(Change::Deleted(path.to_owned()));
        Ok(OpResult::Deleted)
    }

    /// Takes the watches that a transaction fires, in ZooKeeper's order.
    fn fire(&mut self, changes: Vec<Change>) -> Vec<(ClientId, ZkEvent)> {
        let mut events = Vec::new();
        for change in changes {
            let path = match &change {
                Change::Created(p) | Change::Deleted(p) | Change::DataChanged(p) => p.as_str(),
            };
            let name: Arc<str> = Arc::from(path);
            let mut clients = self.data_watches.remove(path).unwrap_or_default();
            let event = match change {
                Change::Created(_) => ZkEvent::Created(name),
                Change::DataChanged(_) => ZkEvent::DataChanged(name),
                Change::Deleted(_) => {
                    // A client with both kinds of watch on the path is told once.
                    clients.extend(self.child_watches.remove(path).unwrap_or_default());
                    ZkEvent::Deleted(name)
                }
            };
            events.extend(clients.into_iter().map(|client| (client, event.clone())));
            if matches!(event, ZkEvent::DataChanged(_)) {
                continue;
            }
            let Some(parent) = event.path().and_then(paths::parent) else { continue };
            let watchers = self.child_watches.remove(parent).unwrap_or_default();
            let name: Arc<str> = Arc::from(parent);
            events.extend(watchers.into_iter().map(|client| (client, ZkEvent::ChildrenChanged(name.clone()))));
        }
        events
    }

    /// The end of a session: its watches go, its ephemeral znodes are deleted (which others' watches see).
    pub fn end_session(&mut self, client: ClientId, session: i64) -> Vec<(ClientId, ZkEvent)> {
        for watches in [&mut self.data_watches, &mut self.child_watches] {
            watches.retain(|_, clients| {
                clients.remove(&client);
                !clients.is_empty()
            });
        }
        let owned: Vec<Op> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.stat.ephemeral_owner == session)
            .map(|(path, _)| Op::delete(path.clone(), ANY_VERSION))
            .collect();
        if owned.is_empty() {
            return Vec::new();
        }
        self.apply(0, &owned).map(|(_, events)| events).unwrap_or_default()
    }
}

fn last_component(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn check_path(path: &str) -> Result<(), ZkError> {
    let well_formed = path == "/"
        || path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(|c| !c.is_empty() && c != "." && c != ".."));
    if well_formed && !path.contains('\0') {
        Ok(())
    } else {
        Err(ZkError::BadArguments(format!("invalid path {path:?}")))
    }
}
