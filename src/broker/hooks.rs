//! What the controller asks of its broker: to register again after a lost session, and to say how it is configured.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::config::LiveConfig;
use crate::controller::ControllerHooks;
use crate::util::clock;
use crate::zk::json::BrokerRegistration;
use crate::zk::store::Store;

pub struct Hooks {
    pub broker_id: i32,
    pub store: Arc<Store>,
    pub config: Arc<LiveConfig>,
    pub registration: BrokerRegistration,
    /// Data version of `/feature`.
    pub features: watch::Receiver<i64>,
    /// `zookeeper.connection.timeout.ms`.
    pub patience: Duration,
}

impl ControllerHooks for Hooks {
    fn register_broker(&self) -> BoxFuture<'static, Result<i64, String>> {
        let (store, id) = (self.store.clone(), self.broker_id);
        let registration = BrokerRegistration { timestamp_ms: clock::now_ms(), ..self.registration.clone() };
        // The locks of the log directories are held for the life of the process, so an older registration is our own.
        Box::pin(async move { store.register_broker(id, &registration, true).await.map_err(|error| error.to_string()) })
    }

    fn await_feature_version(&self, version: i32) -> BoxFuture<'static, Result<(), String>> {
        let (mut features, patience) = (self.features.clone(), self.patience);
        Box::pin(async move {
            match tokio::time::timeout(patience, features.wait_for(|seen| *seen >= i64::from(version))).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(_)) => Err("the feature listener has ended".to_owned()),
                Err(_) => Err(format!("version {version} of /feature was not seen within {patience:?}")),
            }
        })
    }

    fn unclean_leader_election_enable(&self) -> bool {
        self.config.load().bool("unclean.leader.election.enable")
    }

    fn now_ms(&self) -> i64 {
        clock::now_ms()
    }
}
