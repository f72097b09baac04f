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
        PortEvent::Cut { air } => network.spent(now, air),
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
fn words(Health { up, problem, .. }: Health, named: &Named) -> Option<Result<(), String>> {
    if up {
        return Some(Ok(()));
    }
    let Named { kind, place } = named;
    let (name, key) = (kind.name(), kind.key());
    let wrong = match problem {
        // A reset to be sure, of a few milliseconds.
        Some(Problem::Silent | Problem::Jammed) => return None,
        Some(Problem::NoChip) | None if *kind == Kind::Serial => {
            format!("the port of the {name} at {place} is gone: look at the module and its cable")
        }
        Some(Problem::NoChip) | None => {
            let look = match kind {
                Kind::Sx126x => {
                    "look at its power, its wires, whether SPI is switched on, and whether `busy` and `nreset` are its lines"
                }
                Kind::Cc1101 | Kind::Serial => "look at its power, its wires and whether SPI is switched on",
            };
            format!("no {name} answers at {place}: {look}, and whether `chip = \"{key}\"` is what is there")
        }
        Some(Problem::Other(other)) => format!(
            "at {place} is no {name} but a chip of the other kind: say `chip = \"{}\"` with its lines, or put in a {name}",
            other.key()
        ),
        Some(Problem::Oscillator) => format!(
            "the oscillator of the {name} at {place} does not start: `tcxo` must be the voltage that the module's maker says, and \
             \"none\" if it has a crystal"
        ),
        Some(Problem::Registers) => {
            format!(
                "the {name} at {place} does not keep what is written to it: look at its power and its wires"
            )
        }
        Some(Problem::Stuck) => {
            let look = match kind {
                Kind::Sx126x => ": look at its power, and whether `busy` and `nreset` are its lines",
                Kind::Cc1101 | Kind::Serial => "",
            };
            format!("the {name} at {place} does not do what it is told, and is reset{look}")
        }
    };
    Some(Err(format!("{wrong} (docs/433-radio.md)")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the operator is told of a radio that is down.
    fn told(kind: Kind, problem: Problem) -> String {
        let named = Named { kind, place: "/dev/x".into() };
        let health = Health { up: false, problem: Some(problem), version: None };
        words(health, &named).and_then(Result::err).unwrap_or_default()
    }

    #[test]
    fn the_operator_is_told_of_the_module_that_is_configured_and_what_to_do() {
        for (kind, problem, expected) in [
            (
                Kind::Cc1101,
                Problem::NoChip,
                &["no CC1101 answers at /dev/x", "whether SPI is switched on", "chip = \"cc1101\""][..],
            ),
            (
                Kind::Sx126x,
                Problem::NoChip,
                &["no SX126x answers at /dev/x", "`busy` and `nreset`", "chip = \"sx126x\""],
            ),
            (Kind::Serial, Problem::NoChip, &["port of the serial module at /dev/x is gone", "cable"]),
            (Kind::Cc1101, Problem::Other(Kind::Sx126x), &["is no CC1101", "say `chip = \"sx126x\"`"]),
            (Kind::Sx126x, Problem::Other(Kind::Cc1101), &["is no SX126x", "say `chip = \"cc1101\"`"]),
            (Kind::Sx126x, Problem::Oscillator, &["oscillator of the SX126x", "`tcxo`", "crystal"]),
            (Kind::Sx126x, Problem::Registers, &["the SX126x at /dev/x does not keep"]),
            (Kind::Cc1101, Problem::Registers, &["the CC1101 at /dev/x does not keep"]),
            (Kind::Sx126x, Problem::Stuck, &["the SX126x at /dev/x does not do", "`busy`"]),
            (Kind::Cc1101, Problem::Stuck, &["the CC1101 at /dev/x does not do", "reset (docs"]),
        ] {
            let text = told(kind, problem);
            for words in expected.iter().chain(&["docs/433-radio.md"]) {
                assert!(text.contains(words), "{kind:?} {problem:?}: {text}");
            }
            // What only one kind has is not to be looked for with the others.
            let lines = text.contains("`busy`") || text.contains("`tcxo`");
            assert!(kind == Kind::Sx126x || !lines, "{text}");
        }
        assert_eq!(told(Kind::Cc1101, Problem::Silent), "");
    }
}
