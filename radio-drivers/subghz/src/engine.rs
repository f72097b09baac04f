//! A [`Network`] and a [`Port`], turned by whoever has a clock: a thread at a chip, or a test at a model.

use crate::network::{Counters, Network};
use crate::port::{Port, PortEvent};
use crate::{Health, Kind, Micros, Problem, Transceiver};

/// What is done at once, at most; the rest at the next turn.
const STEPS: usize = 32;

/// What the radio is called in words for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// What should be there.
    pub kind: Kind,
    /// Where.
    pub place: String,
}

/// Does all that is due.
pub fn turn<T: Transceiver>(
    network: &mut Network,
    port: &mut Port<T>,
    named: &Named,
    clock: &mut dyn FnMut() -> Micros,
) {
    for _ in 0..STEPS {
        port.handle_timeout(clock);
        let mut moved = false;
        while let Some(event) = port.poll_event() {
            take(network, port, named, event, clock());
            moved = true;
        }
        let now = clock();
        network.handle_timeout(now);
        if !port.is_sending() {
            if let Some(transmit) = network.poll_transmit(now) {
                port.transmit(clock, transmit);
                moved = true;
            } else {
                port.listen(now, network.channel());
            }
        }
        if !moved {
            return;
        }
    }
}

/// When [`turn`] is due, without an edge.
pub fn due<T: Transceiver>(network: &mut Network, port: &Port<T>, now: Micros) -> Micros {
    let network = if port.is_sending() { None } else { network.poll_timeout(now) };
    port.poll_timeout().min(network.unwrap_or(Micros::MAX))
}

/// Network and port together.
pub fn counters<T: Transceiver>(network: &mut Network, port: &Port<T>, now: Micros) -> Counters {
    Counters { chip: port.radio().tally(), port: port.counters(), ..network.counters(now) }
}

fn take<T: Transceiver>(
    network: &mut Network,
    port: &mut Port<T>,
    named: &Named,
    event: PortEvent,
    now: Micros,
) {
    match event {
        PortEvent::Received { frame, quality, offset_hz, at } => {
            if network.handle_received(at, &frame, quality)
                && let Some(offset_hz) = offset_hz
            {
                port.learn(offset_hz);
            }
        }
        PortEvent::Sent { at } => network.handle_sent(at),
        PortEvent::NotSent => network.handle_not_sent(now),
        PortEvent::Carrier(busy) => network.handle_carrier(now, busy),
        PortEvent::Health(health) => {
            if let Some(state) = words(health, named) {
                network.handle_radio(state);
            }
        }
    }
}

/// `None`: nothing that an operator need know, or that frames need die for.
fn words(Health { up, problem, .. }: Health, Named { kind, place }: &Named) -> Option<Result<(), String>> {
    let wrong = match (problem, kind) {
        _ if up => return Some(Ok(())),
        // A reset to be sure, of a few milliseconds.
        (Some(Problem::Silent | Problem::Jammed), _) => return None,
        (Some(Problem::NoChip) | None, Kind::Cc1101) => format!(
            "no CC1101 answers at {place}: look at its power, its wires and whether SPI is switched on (docs/433-radio.md)"
        ),
        (Some(Problem::NoChip) | None, Kind::Sx126x) => format!(
            "no SX126x answers at {place}: look at its power, its wires, whether SPI is switched on, and whether `nreset` and \
             `busy` are its lines (docs/433-radio.md)"
        ),
        (Some(_) | None, Kind::Serial) => format!(
            "the serial module's port at {place} is gone: look at the module and its cable (docs/433-radio.md)"
        ),
        (Some(Problem::Registers), _) => format!(
            "the {} at {place} does not keep what is written to it: look at its power and its wires",
            kind.name()
        ),
        (Some(Problem::Stuck), Kind::Cc1101) => {
            format!("the CC1101 at {place} does not do what it is told, and is reset")
        }
        (Some(Problem::Stuck), Kind::Sx126x) => format!(
            "the SX126x at {place} does not do what it is told, and is reset: look at `busy`, and at `tcxo` and `model`, which must \
             be the module's (docs/433-radio.md)"
        ),
    };
    Some(Err(wrong))
}
