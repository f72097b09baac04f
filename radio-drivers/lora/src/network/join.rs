//! Joining: the join server. Both nonces and the new session are durable before the join-accept goes out, and the old
//! session stays until the device is heard on the new one: a lost accept, or a recorded join-request played again,
//! disconnects nobody.

use cardea_framing::LockId;
use cardea_radio::{Change, Millis};

use super::device::MAX_PENDING;
use super::downlink::{Flight, Slot};
use super::uplink::Heard;
use super::{MAX_USED_NONCES, Network, Purpose};
use crate::config::{DevNoncePolicy, Eui};
use crate::frame::{self, JoinAccept, JoinRequest};
use crate::session::{BLOCK, RecordKey, RxParams, Session};

/// JOIN_ACCEPT_DELAY1 of both regions; JOIN_ACCEPT_DELAY2 is a second later.
const ACCEPT_DELAY: Millis = 5_000;
/// JoinNonces have 24 bits.
const JOIN_NONCES: u32 = 1 << 24;
/// The same join-request twice within this time came over two antennas.
const SAME_REQUEST: Millis = 2_000;

/// A join between its commit and its accept.
pub(super) struct Joining {
    lock: LockId,
    session: Session,
    join_nonce_limit: u32,
    accept: Vec<u8>,
    rx1: Slot,
    rx2: Slot,
}

impl Network {
    pub(super) fn join_request(&mut self, heard: Heard, request: JoinRequest) {
        let now = heard.now;
        let (dev_nonce, dev_eui) = (request.dev_nonce, request.dev_eui);
        let known = self.by_dev_eui.get(&dev_eui).and_then(|lock| Some((*lock, self.devices.get_mut(lock)?)));
        let Some((lock, device)) = known.filter(|(_, device)| device.identity.join_eui == request.join_eui)
        else {
            self.shared.counters.unknown += 1;
            tracing::debug!(dev_eui = %Eui(dev_eui), "join-request of a device that is not admitted");
            return;
        };
        if !request.verify(&device.identity.app_key) {
            self.shared.counters.join_mic += 1;
            tracing::warn!("join-request with a wrong MIC: is the AppKey of its label right?");
            tracing::debug!(dev_eui = %Eui(dev_eui), "the join-request with a wrong MIC");
            return;
        }
        if device.last_join.is_some_and(|(nonce, at)| nonce == dev_nonce && now < at + SAME_REQUEST) {
            return;
        }
        let identity = &mut device.identity;
        let allowed = match self.shared.config.dev_nonce_policy(&Eui(dev_eui)) {
            DevNoncePolicy::Unused => !identity.used_nonces.contains(&dev_nonce),
            DevNoncePolicy::Rising => identity.highest_nonce.is_none_or(|highest| dev_nonce > highest),
        };
        if !allowed {
            self.shared.counters.join_nonce += 1;
            tracing::warn!(
                "join-request with a DevNonce that was used before; if the lock lost its memory, remove it and admit it again"
            );
            tracing::debug!(dev_eui = %Eui(dev_eui), dev_nonce, "the join-request with a used DevNonce");
            return;
        }
        if device.joining || device.being_replaced {
            return;
        }
        if let Some(forwarder) = &mut self.forwarder {
            forwarder.clock.learn(now, heard.tmst);
        }
        let join_nonce = self.next_join_nonce;
        if join_nonce >= JOIN_NONCES {
            tracing::error!("all JoinNonces of this network are used up");
            return;
        }
        let config = &self.shared.config;
        let rx = RxParams {
            delay: config.rx1_delay,
            rx1_offset: config.rx1_dr_offset,
            rx2_dr: self.shared.plan.rx2.1,
            // A join-accept cannot change the frequency; RXParamSetupReq does that later.
            rx2_frequency: self.shared.plan.default_rx2.0,
        };
        let dev_addr = free_dev_addr(config.net_id, dev_eui, join_nonce, |dev_addr| {
            self.by_dev_addr
                .range((dev_addr, LockId([0; 8]))..=(dev_addr, LockId([0xff; 8])))
                .next()
                .is_none()
        });
        let keys =
            frame::session_keys(&identity.app_key, config.net_id, &identity.join_eui, join_nonce, dev_nonce);
        let accept = JoinAccept {
            join_nonce,
            net_id: config.net_id,
            dev_addr,
            rx1_offset: rx.rx1_offset,
            rx2_dr: rx.rx2_dr,
            rx_delay: rx.delay,
            cf_list: self.shared.plan.cf_list(),
        };
        let accept = accept.encode(&identity.join_eui, dev_nonce, &identity.app_key);
        let (Some((network_key, application_key)), Some(accept)) = (keys, accept) else { return };

        // From here on both nonces are used, whatever becomes of the commit.
        self.next_join_nonce += 1;
        identity.highest_nonce = Some(identity.highest_nonce.unwrap_or(0).max(dev_nonce));
        identity.used_nonces.push(dev_nonce);
        if identity.used_nonces.len() > MAX_USED_NONCES {
            identity.used_nonces.remove(0);
        }
        device.last_join = Some((dev_nonce, now));
        device.joining = true;

        let session = Session::new(dev_addr, network_key, application_key, rx);
        let mut batch = vec![
            Change { key: RecordKey::Identity(lock).encode(), value: Some(identity.to_record()) },
            Change {
                key: RecordKey::Pending(lock).encode(),
                value: Some(Session::to_records(device.newest_pending().chain([&session]))),
            },
        ];
        let mut join_nonce_limit = self.shared.durable_join_nonce;
        if join_nonce >= join_nonce_limit {
            join_nonce_limit = join_nonce - join_nonce % BLOCK + BLOCK;
            self.shared.submitted_join_nonce = self.shared.submitted_join_nonce.max(join_nonce_limit);
            let value = Some(join_nonce_limit.to_be_bytes().to_vec());
            batch.push(Change { key: RecordKey::JoinNonce.encode(), value });
        }
        let rx1 = self.shared.plan.rx1(heard.frequency, heard.dr, 0);
        let slot = |delay: Millis, (frequency, dr): (u32, u8)| heard.slot(delay, frequency, dr);
        let rx2 = slot(ACCEPT_DELAY + 1000, self.shared.plan.default_rx2);
        let joining = Joining {
            lock,
            session,
            join_nonce_limit,
            accept,
            rx1: rx1.map_or(rx2, |rx1| slot(ACCEPT_DELAY, rx1)),
            rx2,
        };
        self.shared.commit(batch, Purpose::Join(Box::new(joining)));
    }

    /// The commit of a join is through, or failed: then the device will try again with another nonce.
    pub(super) fn joined(&mut self, now: Millis, joining: Joining, stored: bool) {
        let Joining { lock, mut session, join_nonce_limit, accept, rx1, rx2 } = joining;
        let Some(device) = self.devices.get_mut(&lock) else { return };
        device.joining = false;
        if !stored {
            return;
        }
        self.shared.durable_join_nonce = self.shared.durable_join_nonce.max(join_nonce_limit);
        session.durable_down = session.reserved_down;
        let oldest = device.pending.len().saturating_sub(MAX_PENDING - 1);
        let forgotten: Vec<_> = device.pending.drain(..oldest).collect();
        self.by_dev_addr.insert((session.dev_addr, lock));
        device.pending.push_back(session);
        for old in forgotten {
            if !device.has_dev_addr(old.dev_addr) {
                self.by_dev_addr.remove(&(old.dev_addr, lock));
            }
        }
        let flight = Flight::join(lock, accept, rx2);
        let slots = [Some(rx1), Some(rx2)];
        if self.shared.launch_first(now, flight, slots).is_err() {
            tracing::warn!("no window was left for a join-accept");
            tracing::debug!(lock = %hex::encode(lock.0), "the join-accept without a window");
        }
    }
}

/// A DevAddr that no session has; after enough attempts one that some session has, which is allowed.
fn free_dev_addr(net_id: [u8; 3], dev_eui: [u8; 8], join_nonce: u32, free: impl Fn(u32) -> bool) -> u32 {
    // Spread, not secret: DevAddrs are public.
    let mut seed = dev_eui
        .iter()
        .fold(u64::from(join_nonce), |seed, byte| (seed ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    for _ in 0..32 {
        let dev_addr = frame::dev_addr(net_id, (seed >> 16) as u32);
        if free(dev_addr) {
            return dev_addr;
        }
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
    }
    frame::dev_addr(net_id, (seed >> 16) as u32)
}
