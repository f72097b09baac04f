//! Ends with transparent serial modules.

use super::{Air, Machine, What};
use cardea_subghz_link::*;

impl Air {
    /// To a module.
    pub(super) fn give(&mut self, index: usize, frame: Vec<u8>) {
        let Profile::Serial(module) = self.profile else { panic!("it has none") };
        // Its bytes take their time on the UART, and the module takes what it likes up to its hold; the driver counts with all of it.
        let len = frame.len() - 3;
        let (wire, hold) = (module.wire_us(Module::stream(len)), Micros::from(module.hold_us));
        let generation = self.ends[index].generation;
        let begins = self.now + wire + self.below(hold + 1);
        let out = self.now + wire + phy::PORT + hold + self.profile.air_time(len);
        self.at(begins, What::Begin(index, generation, frame));
        self.at(out, What::Out(index, generation));
    }

    pub(super) fn sent(&mut self, index: usize) {
        self.ends[index].sending = false;
        let local = self.local(index);
        match &mut self.ends[index].machine {
            Machine::Gateway(gateway) => gateway.handle_sent(local),
            Machine::Node(node) => node.handle_sent(local),
        }
    }

    pub(super) fn received(&mut self, index: usize, frame: &[u8]) {
        let tells = self.profile.carrier_sense();
        let quality = Quality { rssi: tells.then_some(-60), lqi: tells.then_some(90) };
        let local = self.local(index);
        match &mut self.ends[index].machine {
            Machine::Gateway(gateway) => {
                gateway.handle_received(local, frame, quality);
            }
            Machine::Node(node) => node.handle_received(local, frame, quality),
        }
        self.settle(index);
    }

    pub(super) fn module_step(&mut self, what: What) {
        match what {
            What::Begin(index, generation, frame) => {
                if generation == self.ends[index].generation {
                    self.carry(Some(index), frame, 0);
                }
            }
            What::Out(index, generation) => {
                if generation == self.ends[index].generation {
                    self.sent(index);
                    self.settle(index);
                }
            }
            What::Given(index, generation, frame) => {
                if generation == self.ends[index].generation {
                    self.received(index, &frame);
                }
            }
            _ => panic!("no step of a module's"),
        }
    }

    /// What was on the air comes out of this module.
    pub(super) fn hear(&mut self, index: usize, frame: &[u8]) {
        let Profile::Serial(module) = self.profile else { panic!("it has none") };
        let wire = module.wire_us(Module::stream(frame.len() - 3));
        let given = self.now + wire + self.below(u64::from(module.hold_us) + phy::PORT);
        let generation = self.ends[index].generation;
        self.at(given, What::Given(index, generation, frame.to_vec()));
    }
}
