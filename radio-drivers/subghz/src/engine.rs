//! A [`Network`] and a [`Port`], turned by whoever has a clock: a thread at a chip, or a test at a model.

use crate::network::{Counters, Network};
use crate::port::{Port, PortEvent};
use crate::{Health, Micros, Problem, Transceiver};

/// What is done at once, at most; the rest at the next turn.
const STEPS: usize = 32;

/// Does all that is due. `device` is what the radio is called in words for the operator.
pub fn turn<T: Transceiver>(
    network: &mut Network,
    port: &mut Port<T>,
    device: &str,
    clock: &mut dyn FnMut() -> Micros,
) {
    for _ in 0..STEPS {
        port.handle_timeout(clock);
        let mut moved = false;
        while let Some(event) = port.poll_event() {
            take(network, port, device, event, clock());
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
pub fn counters<S: embedded_hal::spi::SpiDevice>(
    network: &mut Network,
    port: Option<&Port<crate::cc1101::Cc1101<S>>>,
    now: Micros,
) -> Counters {
    let counters = network.counters(now);
    match port {
        Some(port) => Counters { chip: port.radio().counters(), port: port.counters(), ..counters },
        None => counters,
    }
}

fn take<T: Transceiver>(
    network: &mut Network,
    port: &mut Port<T>,
    device: &str,
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
        PortEvent::Cut { air } => network.spent(now, air),
        PortEvent::NotSent => network.handle_not_sent(now),
        PortEvent::Carrier(busy) => network.handle_carrier(now, busy),
        PortEvent::Health(health) => {
            if let Some(state) = words(health, device) {
                network.handle_radio(state);
            }
        }
    }
}

/// `None`: nothing that an operator need know, or that frames need die for.
fn words(Health { up, problem, .. }: Health, device: &str) -> Option<Result<(), String>> {
    let wrong = match problem {
        _ if up => return Some(Ok(())),
        // A reset to be sure, of a few milliseconds.
        Some(Problem::Silent | Problem::Jammed) => return None,
        Some(Problem::NoChip) | None => format!(
            "no CC1101 answers at {device}: look at its power, its wires and whether SPI is switched on (docs/433-radio.md)"
        ),
        Some(Problem::Registers) => {
            format!(
                "the CC1101 at {device} does not keep what is written to it: look at its power and its wires"
            )
        }
        Some(Problem::Stuck) => format!("the CC1101 at {device} does not do what it is told, and is reset"),
    };
    Some(Err(wrong))
}
