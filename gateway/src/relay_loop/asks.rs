//! What is asked over the control socket and by the local page.

use cardea_api::{Reply, Request};
use cardea_core::{Admin, Input, RadioId};
use cardea_framing::LockId;
use cardea_radio::{Admission, AdmissionSecret};

use super::{Ask, RelayLoop, Waiting};
use crate::unsealed::Bridge;

/// Why a gateway that nobody has claimed lets no lock in.
const UNCLAIMED: &str = "nobody has claimed this gateway yet, and until then it lets no lock in: `cardea claim-code` makes the code that \
                         its local page asks for";

impl RelayLoop {
    pub(super) fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Vitals(to) => drop(to.send(self.vitals())),
            Ask::Guest(ask) => {
                let input = self.guests.ask(ask);
                self.input(Input::Peer(input));
            }
            // The server makes another ask of it.
            Ask::Request(Request::Attach { .. }, to) => drop(to.send(Err("not here".into()))),
            Ask::Request(Request::Status {}, to) => drop(to.send(Ok(Reply::Status(Box::new(self.status()))))),
            Ask::Request(Request::Locks {}, to) => drop(to.send(Ok(Reply::Locks(self.locks())))),
            Ask::Request(Request::Admit { .. } | Request::AdmitUnsealed { .. }, to)
                if !*self.facts.claimed.borrow() =>
            {
                drop(to.send(Err(UNCLAIMED.into())));
            }
            Ask::Request(Request::Admit { label }, to) => match self.admission(&label) {
                Ok((radio, admission)) => {
                    let lock = admission.lock;
                    let reply = Reply::Admitted { lock, radio: self.radio_name(radio).into() };
                    self.admin(Admin::Admit { radio, admission }, Waiting::Operator(to, reply));
                }
                Err(error) => drop(to.send(Err(error))),
            },
            Ask::Request(Request::FormNetwork { radio, replace }, to) => {
                self.form_network(&radio, replace, to)
            }
            Ask::Request(Request::AdoptNetwork { radio }, to) => self.adopt_network(&radio, to),
            Ask::Request(Request::BackUpNetwork { radio }, to) => self.back_up_network(&radio, to),
            Ask::Request(Request::RestoreNetwork { radio, replace, file, .. }, to) => {
                self.restore_network(&radio, replace, &file, to);
            }
            Ask::Request(Request::RotateNetworkKey { radio }, to) => self.rotate_network_key(&radio, to),
            Ask::Request(Request::Routers { radio }, to) => self.routers(&radio, to),
            Ask::Request(Request::RadioMap { radio, survey }, to) => self.radio_map(&radio, survey, to),
            Ask::Request(Request::AdmitRouter { radio, label }, to) => self.admit_router(&radio, &label, to),
            Ask::Request(Request::RemoveRouter { radio, router }, to) => {
                self.remove_router(&radio, &router, to)
            }
            Ask::Request(
                request @ (Request::Unsealed {}
                | Request::AdmitUnsealed { .. }
                | Request::RemoveUnsealed { .. }),
                to,
            ) => Bridge::ask(self.facts.unsealed.as_ref(), request, to),
            Ask::Request(Request::Radios {}, to) => drop(to.send(Ok(Reply::Radios(self.radio_details())))),
            Ask::Request(Request::Trace { lock }, to) => drop(to.send(self.trace(lock))),
            Ask::Request(
                request @ (Request::FactoryReset { .. }
                | Request::Logs { .. }
                | Request::Configuration {}
                | Request::TestBroker(_)
                | Request::Host {}
                | Request::Oldest {}
                | Request::Diagnose {}),
                to,
            ) => self.facts.desk.ask(request, to),
            // The server asks the page itself where there is one.
            Ask::Request(
                Request::ClaimCode {}
                | Request::ConfirmClaim {}
                | Request::Recover {}
                | Request::Fingerprint {},
                to,
            ) => drop(to.send(Err("the local page is switched off: set `enabled` in [web]".into()))),
            Ask::Request(Request::Remove { lock }, to) => {
                self.admin(Admin::Remove(lock), Waiting::Operator(to, Reply::Done));
            }
        }
    }

    pub(super) fn admin(&mut self, verb: Admin, waiting: Waiting) -> bool {
        self.next_token += 1;
        let token = self.next_token;
        self.waiting.insert(token, waiting);
        self.input(Input::Admin { token, verb })
    }

    /// Reads a label and finds its radio.
    fn admission(&self, label: &str) -> Result<(RadioId, Admission), String> {
        let admission = cardea_radio::label::parse(label).map_err(|error| error.to_string())?;
        let (name, title) = match admission.secret {
            AdmissionSecret::Lorawan { .. } => ("lora", "LoRaWAN"),
            AdmissionSecret::Zigbee { .. } => ("zigbee", "Zigbee"),
            AdmissionSecret::Subghz { .. } => ("subghz", "433 MHz"),
            AdmissionSecret::Loopback => ("loopback", "loopback"),
        };
        let place = self.facts.radios.iter().position(|radio| *radio == name);
        let id = place.and_then(|place| u16::try_from(place).ok()).map(RadioId);
        let id = id.ok_or_else(|| {
            format!("this label is for the {title} radio, which is off: set `enabled = true` in [{name}]")
        })?;
        let known = |lock: LockId| self.relay.locks().any(|l| l.lock == lock);
        if self.relay.locks().count() >= self.facts.max_locks && !known(admission.lock) {
            return Err(format!(
                "{} locks are admitted, as many as `limits.locks` allows",
                self.facts.max_locks
            ));
        }
        Ok((id, admission))
    }

    pub(super) fn radio_name(&self, id: RadioId) -> &'static str {
        self.facts.radios.get(usize::from(id.0)).copied().unwrap_or_default()
    }
}
