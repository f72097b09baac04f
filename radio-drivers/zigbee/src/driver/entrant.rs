//! What ordinary locks and routers have in common: they are admitted by an EUI-64 and an install code, and somebody waits until
//! that is durable. Sealed locks have names of their own, see `admission`.

use super::Driver;
use super::admission::Joiner;
use super::device::Identity;
use super::store::versioned;
use crate::types::{Eui64, InstallCode};
use crate::wire::DecodeError;

const VERSION: u8 = 1;
const JOINED: u8 = 1;

/// What lets one device in.
pub(super) struct Entrant {
    code: InstallCode,
    /// Being stored for the first time, and who waits for that.
    admission: Option<u64>,
}

impl Entrant {
    pub(super) fn new(code: InstallCode, waiting: u64) -> Self {
        Self { code, admission: Some(waiting) }
    }

    /// What is stored of it, and whether it is in the network.
    pub(super) fn from_record(record: &[u8]) -> Result<(Self, bool), DecodeError> {
        let mut read = versioned(record)?;
        let joined = read.u8()? & JOINED != 0;
        Ok((Self { code: InstallCode::new(read.rest())?, admission: None }, joined))
    }

    pub(super) fn to_record(&self, joined: bool) -> Vec<u8> {
        [&[VERSION, if joined { JOINED } else { 0 }], self.code.as_bytes()].concat()
    }

    pub(super) fn is_stored(&self) -> bool {
        self.admission.is_none()
    }

    /// Who waits for it to be stored; from now on it is.
    pub(super) fn stored(&mut self) -> Option<u64> {
        self.admission.take()
    }

    /// What the network is opened for; `None` before it is stored.
    pub(super) fn identity(&self, eui: Eui64) -> Option<Identity> {
        self.is_stored().then(|| Identity { eui, code: self.code.clone() })
    }

    /// Whether it may be let in again by this code: the installer is beside it again. `what` it is, for the operator.
    pub(super) fn again(&self, what: &str, eui: Eui64, code: &InstallCode) -> Result<(), String> {
        if !self.is_stored() {
            Err("it is being admitted".into())
        } else if self.code != *code {
            Err(format!("{what} {eui} is admitted with another install code: remove it first"))
        } else {
            Ok(())
        }
    }
}

/// What a device is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Is {
    Sealed,
    Ordinary,
    Router,
}

impl Driver {
    /// What a device is, or is about to be; `None`: a stranger. It is one thing only.
    pub(super) fn what_is(&self, eui: Eui64) -> Option<Is> {
        let mut coming = self.admitting.iter().chain(self.writer.admissions());
        if self.by_eui.contains_key(&eui) || coming.any(|(_, identity)| identity.eui == eui) {
            Some(Is::Sealed)
        } else if self.fleet.is_member(eui) {
            Some(Is::Ordinary)
        } else if self.routers.is_member(eui) {
            Some(Is::Router)
        } else {
            None
        }
    }

    /// An entrant is durable: the network opens for it, even if it was told to leave before.
    pub(super) fn welcome(&mut self, eui: Eui64, who: Joiner) {
        self.gone(eui);
        self.joins.push(who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_these_bytes_and_is_read_again_and_a_damaged_one_is_not() {
        let code = InstallCode::new(&hex::decode("83fed3407a932b70").unwrap()).unwrap();
        for (joined, head) in [(true, "0101"), (false, "0100")] {
            let record = Entrant::new(code.clone(), 1).to_record(joined);
            assert_eq!(hex::encode(&record), format!("{head}83fed3407a932b70"));
            let (again, is_in) = Entrant::from_record(&record).unwrap();
            assert!(again.code == code && is_in == joined && again.is_stored());
            for cut in 0..record.len() {
                assert!(Entrant::from_record(&record[..cut]).is_err(), "{cut}");
            }
            assert!(Entrant::from_record(&[&[2], &record[1..]].concat()).is_err(), "a version to come");
        }
    }

    #[test]
    fn who_is_not_durable_yet_opens_nothing_and_another_code_is_refused() {
        let code = |hex: &str| InstallCode::new(&hex::decode(hex).unwrap()).unwrap();
        let (one, other) = (code("83fed3407a932b70"), code("83fed3407a93972397fc"));
        let eui = Eui64([1; 8]);
        let mut entrant = Entrant::new(one.clone(), 7);
        assert!(entrant.identity(eui).is_none() && entrant.again("router", eui, &one).is_err());
        assert_eq!((entrant.stored(), entrant.stored()), (Some(7), None));
        assert!(entrant.identity(eui).is_some() && entrant.again("router", eui, &one).is_ok());
        assert!(entrant.again("router", eui, &other).unwrap_err().contains("another install code"));
    }
}
