//! Networks that only an operator forms, takes over, moves to another dongle, gives another key or more routers. The radio is asked in a task
//! of its own: its dongle may take a minute.

use cardea_api::{MapBehind, MapDevice, MapKind, RadioMap, Reply, Router, Secret};
use cardea_zigbee::backup::Backup;
use cardea_zigbee::driver::{self, MapRole, NetworkDone, NetworkOrder};
use cardea_zigbee::{Eui64, Key};
use tokio::sync::oneshot;

use super::RelayLoop;
use crate::unsealed::read_label;

type To = oneshot::Sender<Result<Reply, String>>;

impl RelayLoop {
    pub(super) fn form_network(&self, radio: &str, replace: bool, to: To) {
        let mut pan = [0; 8];
        let order = getrandom::fill(&mut pan).map_err(no_random).and_then(|()| {
            let key = random_key()?;
            Ok(NetworkOrder::Form { replace, pan, key })
        });
        self.order(radio, order, to);
    }

    pub(super) fn adopt_network(&self, radio: &str, to: To) {
        self.order(radio, Ok(NetworkOrder::Adopt), to);
    }

    pub(super) fn back_up_network(&self, radio: &str, to: To) {
        self.order(radio, Ok(NetworkOrder::Backup), to);
    }

    /// An empty file stands for the backup that the radio keeps.
    pub(super) fn restore_network(&self, radio: &str, replace: bool, file: &Secret, to: To) {
        let backup = match file.as_bytes() {
            [] => Ok(None),
            file => {
                Backup::parse(file).map(|backup| Some(Box::new(backup))).map_err(|error| error.to_string())
            }
        };
        self.order(radio, backup.map(|backup| NetworkOrder::Restore { backup, replace }), to);
    }

    pub(super) fn rotate_network_key(&self, radio: &str, to: To) {
        self.order(radio, random_key().map(NetworkOrder::RotateKey), to);
    }

    pub(super) fn routers(&self, radio: &str, to: To) {
        self.order(radio, Ok(NetworkOrder::Routers), to);
    }

    pub(super) fn admit_router(&self, radio: &str, label: &str, to: To) {
        let order = read_label(label).map(|(eui, code)| NetworkOrder::AdmitRouter { eui, code });
        self.order(radio, order, to);
    }

    pub(super) fn remove_router(&self, radio: &str, router: &str, to: To) {
        let eui = router.parse::<cardea_config::Eui64>();
        self.order(radio, eui.map(|eui| NetworkOrder::RemoveRouter { eui: Eui64(eui.0) }), to);
    }

    pub(super) fn radio_map(&self, radio: &str, survey: bool, to: To) {
        self.order(radio, Ok(NetworkOrder::Map { survey }), to);
    }

    fn order(&self, radio: &str, order: Result<NetworkOrder, String>, to: To) {
        let orders = match (radio, &self.facts.zigbee) {
            ("zigbee", Some(orders)) => Ok(orders.clone()),
            ("zigbee", None) => Err("the Zigbee radio is off: set `enabled = true` in [zigbee]".into()),
            (other, _) => Err(format!("radio {other:?} has no network of that kind: only zigbee has")),
        };
        let (orders, order) = match orders.and_then(|orders| Ok((orders, order?))) {
            Ok(both) => both,
            Err(error) => {
                drop(to.send(Err(error)));
                return;
            }
        };
        tokio::spawn(async move {
            // The operator may have gone.
            let _ = to.send(orders.give(order).await.and_then(reply));
        });
    }
}

fn reply(done: NetworkDone) -> Result<Reply, String> {
    let radio = "zigbee".to_owned();
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    Ok(match done {
        NetworkDone::Network(network) => {
            Reply::Network { radio, id: network.extended_pan.to_string(), channel: network.channel }
        }
        NetworkDone::BackedUp(backup) => {
            let file = backup.encode();
            let bytes = u32::try_from(file.len()).map_err(|_| "the backup is too long")?;
            let (id, devices) = (backup.network.extended_pan.to_string(), count(backup.devices.len()));
            Reply::Backup { radio, id, devices, bytes, file: file.into() }
        }
        NetworkDone::Restored { network, anew, strangers } => {
            let (id, channel) = (network.extended_pan.to_string(), network.channel);
            Reply::Restored { radio, id, channel, anew: count(anew), strangers: count(strangers) }
        }
        NetworkDone::KeyRotated(number) => Reply::KeyRotated { radio, number },
        NetworkDone::Routers(routers) => Reply::Routers(
            routers.into_iter().map(|(eui, joined)| Router { router: eui.to_string(), joined }).collect(),
        ),
        NetworkDone::Map(map) => Reply::RadioMap(told(radio, *map)),
        NetworkDone::Done => Reply::Done,
    })
}

/// A map in the words of the control API.
fn told(radio: String, map: driver::RadioMap) -> RadioMap {
    let seconds = |ms: u64| ms / 1_000;
    let devices = map.devices.into_iter().map(|device| {
        let driver::MapDevice { eui, role, joined, answers, behind } = device;
        let (kind, lock) = match role {
            MapRole::Coordinator => (MapKind::Coordinator, None),
            MapRole::Router => (MapKind::Router, None),
            MapRole::Sealed(lock) => (MapKind::Lock, Some(lock.to_string())),
            MapRole::Ordinary => (MapKind::Unsealed, None),
        };
        let behind = behind.map(|driver::Behind { eui, lqi, age_ms }| MapBehind {
            device: eui.to_string(),
            lqi,
            age_s: seconds(age_ms),
        });
        MapDevice { device: eui.to_string(), kind, lock, joined, answers, behind }
    });
    RadioMap { radio, surveying: map.surveying, age_s: map.age_ms.map(seconds), devices: devices.collect() }
}

fn random_key() -> Result<Key, String> {
    let mut key = Key([0; 16]);
    getrandom::fill(&mut key.0).map_err(no_random)?;
    Ok(key)
}

fn no_random(error: getrandom::Error) -> String {
    format!("the system's random source: {error}")
}

#[cfg(test)]
mod tests {
    /// What the driver can be given must fit through the socket.
    #[test]
    fn the_longest_backup_is_not_longer_than_what_the_socket_takes() {
        assert_eq!(cardea_zigbee::backup::MAX_FILE, cardea_api::MAX_SECRET);
    }
}
