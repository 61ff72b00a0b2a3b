//! `/config/<type>/<entity>`: overrides of topics, brokers, clients, users and ips, and telling everyone about changes.
//!
//! Entity names of users and clients are sanitized by the caller (`paths::sanitize`); a user's clients are entities of type `users`
//! named `<user>/clients/<client>`.

use std::collections::BTreeMap;

use super::super::json::{ConfigChange, EntityConfig};
use super::super::{ANY_VERSION, Op, ZkError, paths};
use super::write::Refusal;
use super::{Store, StoreError, StringMap, pipelined};

/// Types whose znode is removed when the last override goes.
const QUOTA_TYPES: [&str; 3] = ["clients", "users", "ips"];

impl Store {
    /// Overrides of one entity; empty if it has none.
    pub async fn entity_config(&self, entity_type: &str, entity: &str) -> Result<StringMap, StoreError> {
        let found = self.read_as(&paths::entity(entity_type, entity), false, EntityConfig::decode).await?;
        Ok(found.map(|(znode, _)| znode.config).unwrap_or_default())
    }

    /// Overrides of many entities at once, by name; empty for those without.
    pub async fn entity_configs(
        &self,
        entity_type: &str,
        entities: &[String],
    ) -> Result<BTreeMap<String, StringMap>, StoreError> {
        let reads = entities.iter().map(|e| async move { Ok((e.clone(), self.entity_config(entity_type, e).await?)) });
        Ok(pipelined(reads).await?.into_iter().collect())
    }

    /// Names of all entities of a type that have a znode.
    pub async fn entities(&self, entity_type: &str) -> Result<Vec<String>, StoreError> {
        self.children(&paths::entity_type(entity_type), false).await
    }

    /// Overrides of all entities of a type, by name.
    pub async fn all_entity_configs(&self, entity_type: &str) -> Result<BTreeMap<String, StringMap>, StoreError> {
        let entities = self.entities(entity_type).await?;
        self.entity_configs(entity_type, &entities).await
    }

    /// Overrides of all clients of all users, by `<user>/clients/<client>`.
    pub async fn all_user_client_configs(&self) -> Result<BTreeMap<String, StringMap>, StoreError> {
        let users = self.entities("users").await?;
        let lists = users.iter().map(|user| async move {
            let path = paths::entity("users", &format!("{user}/clients"));
            let clients = self.children(&path, false).await?;
            Ok(clients.into_iter().map(|c| format!("{user}/clients/{c}")).collect::<Vec<_>>())
        });
        let entities: Vec<String> = pipelined(lists).await?.into_iter().flatten().collect();
        self.entity_configs("users", &entities).await
    }

    /// Replaces the overrides of an entity and tells all brokers: what the config APIs and tools do. Quota entities without
    /// overrides vanish.
    pub async fn change_entity_config(
        &self,
        entity_type: &str,
        entity: &str,
        config: &StringMap,
    ) -> Result<(), StoreError> {
        let remove = config.is_empty()
            && QUOTA_TYPES.contains(&entity_type)
            && self.children(&paths::entity(entity_type, entity), false).await?.is_empty();
        if remove {
            self.remove_quota_entity(entity_type, entity).await?;
        } else {
            self.set_entity_config(entity_type, entity, config).await?;
        }
        self.notify_config_change(entity_type, entity).await
    }

    /// Replaces the overrides of an entity without telling anyone. Refused with `ControllerMoved` when there is no
    /// ZooKeeper-mode controller.
    pub async fn set_entity_config(
        &self,
        entity_type: &str,
        entity: &str,
        config: &StringMap,
    ) -> Result<(), StoreError> {
        let path = paths::entity(entity_type, entity);
        let data = EntityConfig::new(config.clone()).encode();
        loop {
            let guard = Op::check(paths::CONTROLLER, self.controller_version(entity_type, entity).await?);
            let set = Op::set_data(&*path, data.clone(), ANY_VERSION);
            match self.write(Some(guard), set).await {
                Ok(_) => return Ok(()),
                Err(Refusal::Op(ZkError::NoNode)) => {}
                Err(Refusal::Op(e)) => return Err(StoreError::zk(path, e)),
                Err(Refusal::Guard(e)) => return Err(StoreError::zk(paths::CONTROLLER, e)),
            }
            match self.create_with_parents(&path, data.clone()).await {
                Err(e) if e.is_node_exists() => {}
                other => return other,
            }
        }
    }

    async fn controller_version(&self, entity_type: &str, entity: &str) -> Result<i32, StoreError> {
        match self.controller().await? {
            None => Err(StoreError::ControllerMoved(format!(
                "Cannot set entity configs for {entity_type} {entity} when there is no controller."
            ))),
            Some((znode, _)) if znode.is_kraft() => Err(StoreError::ControllerMoved(format!(
                "Cannot set entity configs for {entity_type} {entity} directly when there is a KRaft controller."
            ))),
            Some((_, stat)) => Ok(stat.version),
        }
    }

    /// Deletes an entity's znode; for a user's client also the directories above that are no longer needed.
    async fn remove_quota_entity(&self, entity_type: &str, entity: &str) -> Result<(), StoreError> {
        self.delete_if_there(paths::entity(entity_type, entity), None).await?;
        let Some((user, _)) = entity.split_once("/clients/").filter(|_| entity_type == "users") else { return Ok(()) };
        let clients = paths::entity("users", &format!("{user}/clients"));
        if !self.children(&clients, false).await?.is_empty() {
            return Ok(());
        }
        self.delete_if_empty(clients).await?;
        let user_path = paths::entity("users", user);
        let bare = self.entity_config("users", user).await?.is_empty();
        if bare && self.children(&user_path, false).await?.is_empty() {
            self.delete_if_empty(user_path).await?;
        }
        Ok(())
    }

    async fn delete_if_empty(&self, path: String) -> Result<(), StoreError> {
        match self.delete_if_there(path, None).await {
            Err(e) if e.zk_error() == Some(&ZkError::NotEmpty) => Ok(()),
            other => other,
        }
    }

    /// Tells all brokers to read an entity's overrides again.
    pub async fn notify_config_change(&self, entity_type: &str, entity: &str) -> Result<(), StoreError> {
        let change = ConfigChange { entity_path: format!("{entity_type}/{entity}") };
        self.create_notification(paths::CONFIG_CHANGES, paths::CONFIG_CHANGE_PREFIX, change.encode()).await
    }
}
