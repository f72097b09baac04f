//! The gateway's name on the local network: `cardea-XXXX.local`, said by multicast DNS (RFC 6762), with its page as a service
//! (`_https._tcp`, RFC 6763) for those who look for one.

use std::net::SocketAddr;

use mdns_sd::{DaemonEvent, IfKind, ServiceDaemon, ServiceInfo};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

/// No vowels, so that no name is a word; no digits, which stand for "there are two of them".
const LETTERS: &[u8; 20] = b"bcdfghjklmnpqrstvwxz";

/// Names that this gateway may come to have, beside those that others have taken before it.
const NAMES: u32 = 3;

/// The first part of the name: it follows from the gateway's id, so that it stays.
fn host(gateway: &str) -> String {
    let digest = Sha256::digest(gateway.as_bytes());
    let letter = |byte: &u8| LETTERS.get(usize::from(byte % 20)).copied().map_or('x', char::from);
    format!("cardea-{}", digest.iter().take(4).map(letter).collect::<String>())
}

/// The names that browsers may use: the own one, and what it becomes where another machine has it already (RFC 6762 §9).
pub(crate) fn names(gateway: &str) -> Vec<String> {
    let host = host(gateway);
    (1..=NAMES).map(|n| if n == 1 { format!("{host}.local") } else { format!("{host}-{n}.local") }).collect()
}

/// Says the name until the daemon stops. What goes wrong is a warning: everything else works without.
pub(crate) fn start(gateway: &str, page: SocketAddr, mut stopping: watch::Receiver<bool>) {
    if page.ip().is_loopback() {
        return; // Nobody else could follow it.
    }
    let said = say(gateway, page);
    let (daemon, events) = match said {
        Ok(said) => said,
        Err(error) => {
            tracing::warn!(%error, "the gateway's name is not said on the local network");
            return;
        }
    };
    tokio::spawn(async move {
        loop {
            tokio::select! {
                event = events.recv_async() => match event {
                    Ok(DaemonEvent::NameChange(change)) => tracing::warn!(
                        was = change.original, is = change.new_name, "another machine has the gateway's name: it has another now"
                    ),
                    Ok(DaemonEvent::Error(error)) => tracing::debug!(%error, "multicast DNS"),
                    Ok(_) => {}
                    Err(_) => return,
                },
                _ = stopping.wait_for(|stop| *stop) => {
                    // Says goodbye, so that nobody keeps an address that is gone.
                    let _ = daemon.shutdown();
                    return;
                }
            }
        }
    });
}

fn say(gateway: &str, page: SocketAddr) -> mdns_sd::Result<(ServiceDaemon, mdns_sd::Receiver<DaemonEvent>)> {
    let host = host(gateway);
    let daemon = ServiceDaemon::new()?;
    // Else it says 127.0.0.1 to everybody: that leads to the visitor's own machine.
    daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
    let events = daemon.monitor()?;
    let address = if page.ip().is_unspecified() { String::new() } else { page.ip().to_string() };
    let service = ServiceInfo::new(
        "_https._tcp.local.",
        &format!("Cardea {host}"),
        &format!("{host}.local."),
        address.as_str(),
        page.port(),
        &[("path", "/")][..],
    )?;
    let service = if page.ip().is_unspecified() { service.enable_addr_auto() } else { service };
    daemon.register(service)?;
    tracing::info!("this gateway's page is https://{host}.local:{}/", page.port());
    Ok((daemon, events))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_host_name_stays_and_says_nothing_of_the_id() {
        let names = names("lobby-1");
        assert_eq!(names.len(), 3);
        assert_eq!(names, super::names("lobby-1"));
        assert_ne!(names, super::names("lobby-2"));
        let first = names.first().unwrap();
        assert!(first.len() == "cardea-xxxx.local".len() && !first.contains("lobby"), "{first}");
        assert_eq!(names.get(1), Some(&first.replace(".local", "-2.local")));
    }

    #[test]
    fn a_page_on_loopback_has_no_name() {
        // Would need a runtime if it did anything.
        let (_stop, stopping) = watch::channel(false);
        start("gw", SocketAddr::from(([127, 0, 0, 1], 1)), stopping);
    }
}
