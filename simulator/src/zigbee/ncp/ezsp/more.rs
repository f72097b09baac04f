//! Commands that our own host does not give, or gives in part, for hosts of others; written out field by field.

use cardea_radio::Millis;
use cardea_zigbee::ezsp::call::{Command, Status, token, value};
use cardea_zigbee::{Eui64, NwkAddr};
use zeroize::Zeroizing;

use super::commands::{INVALID_PARAMETER, running};
use super::{Ezsp, INVALID_FRAME_ID, LEFT, NO_ACTION, TRUNCATED};
use crate::zigbee::air::Air;
use crate::zigbee::nvram::{MAX_DEVICES, Member, UNKNOWN};

/// States of the network.
const NO_NETWORK: u8 = 0;
const JOINED: u8 = 2;
/// A sleeping end device.
const SLEEPY: u8 = 4;
/// Counters of the stack, in protocol 13 and later.
const COUNTERS: usize = 42;
/// Numbers of values.
const FREE_BUFFERS: u8 = 0x03;
const VERSION_INFO: u8 = 0x11;
/// There is no such entry.
const NOT_THERE: u8 = 0xFF;
/// Tokens of the factory: all are blank.
const BLANK: u8 = 0xFF;
const FAIL: Status = Status(0x01);

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], u8> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, u8> {
        self.bytes().map(|[byte]| byte)
    }

    fn nwk(&mut self) -> Result<NwkAddr, u8> {
        self.bytes().map(u16::from_le_bytes).map(NwkAddr)
    }

    fn eui(&mut self) -> Result<Eui64, u8> {
        self.bytes().map(|mut eui: [u8; 8]| {
            eui.reverse();
            Eui64(eui)
        })
    }
}

impl Ezsp {
    /// `Err`: why it is no command.
    pub(super) fn more(
        &mut self,
        air: &mut Air,
        now: Millis,
        sequence: u8,
        id: u16,
        body: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, u8> {
        let mut out = vec![sequence, 0x80, 1];
        out.extend(id.to_le_bytes());
        self.write_more(air, now, id, &mut Fields(body), &mut out)?;
        Ok(Zeroizing::new(out))
    }

    fn write_more(
        &mut self,
        air: &mut Air,
        now: Millis,
        id: u16,
        fields: &mut Fields<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), u8> {
        match id {
            // getMfgToken
            0x000B => {
                let length = match fields.u8()? {
                    0x00 | 0x03 | 0x04 => 2,
                    0x0D..=0x0F => 8,
                    _ => 16,
                };
                out.push(length);
                out.extend(std::iter::repeat_n(BLANK, length.into()));
            }
            // setConcentrator, setMulticastTableEntry, setRadioPower
            0x0010 | 0x0064 | 0x0099 => self.status(out, Status::OK),
            // networkState
            0x0018 => out.push(if air.running { JOINED } else { NO_NETWORK }),
            // getNodeId
            0x0027 => out.extend(if air.running { [0, 0] } else { [0xFE, 0xFF] }),
            // getChildData
            0x004A => self.child(air, fields.u8()?, out),
            // setSourceRouteDiscoveryMode
            0x005A => out.extend([0; 4]),
            // getAddressTableRemoteEui64 and getAddressTableRemoteNodeId, or getAddressTableInfo: the table is empty.
            0x005E if self.protocol.is_wide() => {
                self.status(out, Status::NOT_FOUND);
                out.extend([0xFF; 10]);
            }
            0x005E => out.extend([0xFF; 8]),
            0x005F => out.extend([0xFF; 2]),
            // getMulticastTableEntry
            0x0063 => {
                self.status(out, Status::OK);
                out.extend([0; 4]);
            }
            // readAndClearCounters, readCounters
            0x0065 | 0x00F1 => out.extend([0; 2 * COUNTERS]),
            // findKeyTableEntry
            0x0075 => {
                let eui = fields.eui()?;
                let found = air.nvram.ember.key_table.iter().find(|(_, of)| **of == eui);
                out.push(found.map_or(NOT_THERE, |(index, _)| *index));
            }
            // eraseKeyTableEntry
            0x0076 => {
                let erased = air.nvram.ember.key_table.remove(&fields.u8()?);
                if let Some(member) = erased.and_then(|eui| air.nvram.members.get_mut(&eui)) {
                    member.key = None;
                }
                self.status(out, if erased.is_some() { Status::OK } else { Status::INVALID_INDEX });
            }
            // getExtendedTimeout
            0x007F => {
                let extended = self.settings.extended.contains(&fields.eui()?);
                if self.protocol.is_wide() {
                    self.status(out, if extended { Status::OK } else { FAIL });
                } else {
                    out.push(extended.into());
                }
            }
            // replaceAddressTableEntry
            0x0082 => {
                let [_index] = fields.bytes()?;
                let (eui, _nwk, extended) = (fields.eui()?, fields.nwk()?, fields.u8()?);
                if extended != 0 {
                    self.settings.extended.insert(eui);
                }
                self.status(out, Status::OK);
                out.extend([0xFF; 10]);
                out.push(0);
            }
            // removeDevice
            0x00A8 => {
                let (nwk, _parent, eui) = (fields.nwk()?, fields.eui()?, fields.eui()?);
                self.status(out, running(air));
                if air.nvram.members.contains_key(&eui) {
                    air.forget(now, eui);
                    self.device(air, eui, nwk, LEFT, NO_ACTION);
                }
            }
            // getValue
            0x00AA => self.value(fields.u8()?, out),
            // setValue
            0x00AB => {
                let (id, _length) = (fields.u8()?, fields.u8()?);
                let status = self.set_value(air, id, fields.0);
                self.status(out, status);
            }
            // setChildData
            0x00AC => {
                let [_index] = fields.bytes()?;
                let (eui, _kind, nwk) = (fields.eui()?, fields.u8()?, fields.nwk()?);
                let room = air.nvram.members.len() < MAX_DEVICES;
                if room {
                    air.nvram.members.entry(eui).or_insert(Member { nwk, key: None }).nwk = nwk;
                    air.nvram.children.insert(eui);
                }
                self.status(out, if room { Status::OK } else { INVALID_PARAMETER });
            }
            // gpSinkTableClearAll
            0x00E2 => {}
            // getTokenData
            0x0102 => self.token(air, u32::from_le_bytes(fields.bytes()?), out),
            _ => {
                return Err(if Command::parse(id, &[], self.protocol).is_err() {
                    INVALID_FRAME_ID
                } else {
                    TRUNCATED
                });
            }
        }
        Ok(())
    }

    fn status(&self, out: &mut Vec<u8>, status: Status) {
        if self.protocol.is_wide() {
            return out.extend(status.0.to_le_bytes());
        }
        // EmberStatus, or EzspStatus where that is what the command has.
        out.push(match status {
            Status::OK => 0x00,
            FAIL => 0x01,
            Status::INVALID_INDEX => 0xB1,
            Status::NOT_FOUND => 0x03,
            Status::NOT_JOINED => 0x93,
            INVALID_PARAMETER => 0x36,
            _ => 0x70,
        });
    }

    fn child(&self, air: &Air, index: u8, out: &mut Vec<u8>) {
        // Routers are neighbours, and in no table of children.
        let child = air.nvram.children.iter().filter(|eui| !air.routes(**eui)).nth(index.into());
        self.status(out, if child.is_some() { Status::OK } else { Status::NOT_JOINED });
        let eui = child.copied().unwrap_or(Eui64([0; 8]));
        let nwk = air.nvram.members.get(&eui).map_or(UNKNOWN, |member| member.nwk);
        out.extend(eui.0.iter().rev());
        out.push(SLEEPY);
        out.extend(nwk.0.to_le_bytes());
        // Radio, power, timeout and what is left of it.
        out.extend([0; 7]);
    }

    fn value(&self, id: u8, out: &mut Vec<u8>) {
        match id {
            FREE_BUFFERS => {
                self.status(out, Status::OK);
                out.extend([2, 0xC8, 0]);
            }
            VERSION_INFO => {
                self.status(out, Status::OK);
                let [low, high] = self.stack_version().to_le_bytes();
                // Build, then major, minor, patch, special; general availability.
                out.extend([7, 0, 0, high >> 4, high & 0xF, low >> 4, low & 0xF, 0xAA]);
            }
            _ => {
                self.status(out, INVALID_PARAMETER);
                out.push(0);
            }
        }
    }

    fn set_value(&self, air: &mut Air, id: u8, bytes: &[u8]) -> Status {
        let counter = bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        match (id, counter) {
            (value::NWK_FRAME_COUNTER | value::APS_FRAME_COUNTER, _) if air.running => Status::INVALID_STATE,
            (value::NWK_FRAME_COUNTER, Some(counter)) => {
                air.nvram.counters().nib = counter;
                Status::OK
            }
            (value::APS_FRAME_COUNTER, Some(counter)) => {
                air.nvram.counters().aib = counter;
                Status::OK
            }
            (value::NWK_FRAME_COUNTER | value::APS_FRAME_COUNTER, None) => INVALID_PARAMETER,
            // What has no effect here.
            _ => Status::OK,
        }
    }

    fn token(&self, air: &Air, number: u32, out: &mut Vec<u8>) {
        if number != token::RESTORED_EUI64 {
            return self.status(out, Status::NOT_FOUND);
        }
        self.status(out, Status::OK);
        let written = self.address.unwrap_or(air.nvram.eui).unwrap_or(Eui64([BLANK; 8]));
        out.extend(8_u32.to_le_bytes());
        out.extend(written.0.iter().rev());
    }
}
