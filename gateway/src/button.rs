//! A button at the gateway that stands for presence, as `cardea claim --confirm` does.

use std::io;
use std::time::{Duration, Instant};

use cardea_config::GpioButton;
use gpiocdev::line::{Bias, EdgeDetection};
use tokio::sync::watch;

/// A contact bounces for less.
const BOUNCE: Duration = Duration::from_millis(30);

/// How often a wait for a press is interrupted to see whether the daemon stops.
const SLICE: Duration = Duration::from_millis(500);

/// A line that cannot be had is asked for again after so long, doubled up to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A button, however it is wired.
pub(crate) trait Button {
    /// Waits a while; true when it was pressed meanwhile.
    fn pressed(&mut self) -> io::Result<bool>;
}

/// Opens the button and says when it is pressed, until the daemon stops. A line that is not there or goes away is asked for again, with
/// a warning each time the reason is new: doors do not wait for a button.
pub(crate) fn watch<B: Button>(
    mut open: impl FnMut() -> io::Result<B>,
    stopping: &watch::Receiver<bool>,
    mut press: impl FnMut(),
) {
    let (first, most) = RETRY;
    let (mut wait, mut said) = (first, String::new());
    while !*stopping.borrow() {
        let failed = match open() {
            Ok(mut button) => loop {
                if *stopping.borrow() {
                    return;
                }
                match button.pressed() {
                    Ok(pressed) => {
                        (wait, said) = (first, String::new());
                        if pressed {
                            press();
                        }
                    }
                    Err(error) => break error.to_string(),
                }
            },
            Err(error) => error.to_string(),
        };
        if failed != said {
            tracing::warn!(
                error = failed,
                "the button at the gateway cannot be read; `cardea claim --confirm` still does"
            );
            said = failed;
        }
        let until = Instant::now() + wait;
        while Instant::now() < until && !*stopping.borrow() {
            std::thread::sleep(SLICE.min(until.saturating_duration_since(Instant::now())));
        }
        wait = (wait * 2).min(most);
    }
}

/// A line of a GPIO chip. The kernel pulls it to the level that it has when nobody presses, and counts only what lasts.
pub(crate) struct Gpio(gpiocdev::Request);

impl Gpio {
    pub(crate) fn open(button: &GpioButton) -> io::Result<Self> {
        let mut builder = gpiocdev::Request::builder();
        builder.on_chip(format!("/dev/{}", button.chip)).with_consumer("cardea-button");
        builder.with_line(button.line).as_input();
        if button.active_high {
            builder.as_active_high().with_bias(Bias::PullDown);
        } else {
            builder.as_active_low().with_bias(Bias::PullUp);
        }
        // Of the button, not of the voltage: the line becomes active.
        builder.with_edge_detection(EdgeDetection::RisingEdge).with_debounce_period(BOUNCE);
        builder.request().map(Self).map_err(io::Error::other)
    }
}

impl Button for Gpio {
    fn pressed(&mut self) -> io::Result<bool> {
        if !self.0.wait_edge_event(SLICE).map_err(io::Error::other)? {
            return Ok(false);
        }
        self.0.read_edge_event().map(|_| true).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::rc::Rc;

    use super::*;

    /// Says what it is told to, and stops the daemon at the end.
    struct Played(Rc<RefCell<VecDeque<io::Result<bool>>>>, watch::Sender<bool>);

    impl Button for Played {
        fn pressed(&mut self) -> io::Result<bool> {
            let next = self.0.borrow_mut().pop_front();
            next.unwrap_or_else(|| {
                self.1.send_replace(true);
                Ok(false)
            })
        }
    }

    #[test]
    fn presses_are_counted_and_a_line_that_goes_away_is_opened_again() {
        let (stop, stopping) = watch::channel(false);
        let gone = || Err(io::Error::other("unplugged"));
        let script =
            Rc::new(RefCell::new(VecDeque::from([Ok(false), Ok(true), gone(), Ok(true), Ok(false)])));
        let (mut opened, mut presses) = (0, 0);
        let open = || {
            opened += 1;
            // The first try finds nothing there.
            if opened == 1 {
                gone().map(|_: bool| unreachable!())
            } else {
                Ok(Played(Rc::clone(&script), stop.clone()))
            }
        };
        watch(open, &stopping, || presses += 1);
        assert_eq!((opened, presses), (3, 2));
    }

    #[test]
    fn a_chip_that_is_not_there_is_an_error_and_no_press() {
        let button = GpioButton { chip: "gpiochip-none".into(), line: 1, active_high: false };
        assert!(Gpio::open(&button).is_err());
    }

    /// The kernel's simulated chip (`gpio-sim`): a real line that is pressed by its pull. Needs root, the module and configfs.
    #[test]
    #[allow(clippy::print_stdout, reason = "a test that did not run must not look like one that passed")]
    fn the_kernels_own_simulated_line_is_pressed() {
        let root = std::path::Path::new("/sys/kernel/config/gpio-sim");
        if !root.is_dir() {
            println!("skipped: no {}: this kernel has no gpio-sim, or it is not loaded", root.display());
            return;
        }
        let device = root.join("cardea-button-test");
        let bank = device.join("bank0");
        std::fs::create_dir_all(&bank).unwrap();
        std::fs::write(bank.join("num_lines"), "4").unwrap();
        std::fs::write(device.join("live"), "1").unwrap();
        let read = |file: std::path::PathBuf| std::fs::read_to_string(file).unwrap().trim().to_owned();
        let chip = read(bank.join("chip_name"));
        let pull = std::path::Path::new("/sys/devices/platform")
            .join(read(device.join("dev_name")))
            .join(&chip)
            .join("sim_gpio2/pull");
        std::fs::write(&pull, "pull-up").unwrap();
        let mut line = Gpio::open(&GpioButton { chip, line: 2, active_high: false }).unwrap();
        assert!(!line.pressed().unwrap());
        std::fs::write(&pull, "pull-down").unwrap();
        assert!(line.pressed().unwrap());
        drop(line);
        std::fs::write(device.join("live"), "0").unwrap();
        std::fs::remove_dir(&bank).unwrap();
        std::fs::remove_dir(&device).unwrap();
    }
}
