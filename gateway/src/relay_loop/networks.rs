//! Networks that only an operator forms or takes over. The radio is asked in a task of its own: its dongle may take a minute.

use cardea_api::Reply;
use cardea_zigbee::Key;
use cardea_zigbee::driver::NetworkOrder;
use tokio::sync::oneshot;

use super::RelayLoop;

type To = oneshot::Sender<Result<Reply, String>>;

impl RelayLoop {
    pub(super) fn form_network(&self, radio: &str, replace: bool, to: To) {
        let (mut pan, mut key) = ([0; 8], Key([0; 16]));
        if let Err(error) = getrandom::fill(&mut pan).and_then(|()| getrandom::fill(&mut key.0)) {
            drop(to.send(Err(format!("the system's random source: {error}"))));
            return;
        }
        self.order(radio, NetworkOrder::Form { replace, pan, key }, to);
    }

    pub(super) fn adopt_network(&self, radio: &str, to: To) {
        self.order(radio, NetworkOrder::Adopt, to);
    }

    fn order(&self, radio: &str, order: NetworkOrder, to: To) {
        let orders = match (radio, &self.facts.zigbee) {
            ("zigbee", Some(orders)) => orders.clone(),
            ("zigbee", None) => {
                drop(to.send(Err("the Zigbee radio is off: set `enabled = true` in [zigbee]".into())));
                return;
            }
            (other, _) => {
                drop(
                    to.send(Err(format!("radio {other:?} has no network to form or adopt: only zigbee has"))),
                );
                return;
            }
        };
        tokio::spawn(async move {
            let answer = orders.give(order).await.map(|network| Reply::Network {
                radio: "zigbee".into(),
                id: network.extended_pan.to_string(),
                channel: network.channel,
            });
            // The operator may have gone.
            let _ = to.send(answer);
        });
    }
}
