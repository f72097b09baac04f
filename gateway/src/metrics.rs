//! `/metrics`: Prometheus text over HTTP, on loopback.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Router, extract::State};
use cardea_core::Metrics;
use cardea_lora::network::Counters as LoraCounters;
use cardea_subghz::network::Counters as SubghzCounters;
use cardea_zigbee::driver::Counters as ZigbeeCounters;
use tokio::sync::{mpsc, oneshot, watch};

use crate::bounded::Bounded;
use crate::relay_loop::Ask;

/// Everything that is measured, at one moment. Names no lock.
#[derive(Debug)]
pub(crate) struct Vitals {
    pub(crate) relay: Metrics,
    pub(crate) upstream: cardea_upstream::Status,
    /// Up, and times started again, by name.
    pub(crate) radios: BTreeMap<String, (bool, u64)>,
    pub(crate) clock_synced: bool,
    pub(crate) uptime_s: u64,
    /// The bridge of ordinary locks; `None` while it is off.
    pub(crate) unsealed: Option<cardea_api::Unsealed>,
}

/// Where what is measured comes from.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) asks: mpsc::Sender<Ask>,
    /// What the LoRaWAN radio has ignored; `None` while that radio is off.
    pub(crate) lora: Option<watch::Receiver<LoraCounters>>,
    /// The same of the Zigbee radio.
    pub(crate) zigbee: Option<watch::Receiver<ZigbeeCounters>>,
    /// The same of the 433 MHz radio.
    pub(crate) subghz: Option<watch::Receiver<SubghzCounters>>,
}

/// Serves for as long as the daemon runs, once the address is free.
pub(crate) async fn serve(bind: SocketAddr, sources: Sources) {
    let router = Router::new().route("/metrics", get(metrics)).with_state(sources);
    let mut backoff = cardea_upstream::Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    loop {
        let error = match Bounded::bind(bind).await {
            Ok(listener) => match axum::serve(listener, router.clone()).await {
                Ok(()) => return,
                Err(error) => error,
            },
            Err(error) => error,
        };
        tracing::error!(%bind, %error, "metrics cannot be served");
        tokio::time::sleep(backoff.wait()).await;
    }
}

async fn metrics(State(sources): State<Sources>) -> impl IntoResponse {
    match current(&sources).await {
        Some(text) => {
            let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
            (StatusCode::OK, kind, text).into_response()
        }
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// What is measured at this moment; `None`: the daemon is stopping.
pub(crate) async fn current(Sources { asks, lora, zigbee, subghz }: &Sources) -> Option<String> {
    let (tx, rx) = oneshot::channel();
    asks.send(Ask::Vitals(tx)).await.ok()?;
    let vitals = rx.await.ok()?;
    let lora = lora.as_ref().map(|counters| *counters.borrow());
    let zigbee = zigbee.as_ref().map(|counters| *counters.borrow());
    let subghz = subghz.as_ref().map(|counters| *counters.borrow());
    Some(text(&vitals, lora.as_ref(), zigbee.as_ref(), subghz.as_ref()))
}

/// The Prometheus text format.
fn text(
    vitals: &Vitals,
    lora: Option<&LoraCounters>,
    zigbee: Option<&ZigbeeCounters>,
    subghz: Option<&SubghzCounters>,
) -> String {
    let mut out = Text(String::new());
    let Vitals { relay: r, upstream: u, radios, clock_synced, uptime_s, unsealed } = vitals;
    out.family("cardea_build_info", "gauge", "Always 1.");
    out.sample("cardea_build_info", &format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), 1);
    out.gauge("cardea_uptime_seconds", "Seconds since the daemon started.", *uptime_s);
    out.gauge("cardea_clock_synced", "1 while the system clock is believed.", u64::from(*clock_synced));

    out.family("cardea_radio_up", "gauge", "1 while the radio carries frames.");
    for (name, (up, _)) in radios {
        out.sample("cardea_radio_up", &format!("radio=\"{name}\""), u64::from(*up));
    }
    out.family("cardea_radio_restarts_total", "counter", "Times the driver was started again.");
    for (name, (_, restarts)) in radios {
        out.sample("cardea_radio_restarts_total", &format!("radio=\"{name}\""), *restarts);
    }

    out.gauge("cardea_broker_up", "1 while the broker link is up.", u64::from(u.connected));
    out.counter("cardea_broker_connects_total", "Connections made to the broker.", u.connects);
    out.counter(
        "cardea_broker_failures_total",
        "Attempts that failed and connections that broke.",
        u.failures,
    );
    out.counter("cardea_broker_oversized_total", "Messages discarded as too large.", u.oversized);
    out.counter("cardea_broker_messages_total", "Messages received.", u.received);
    let rtt = "Smoothed round trip to the broker, milliseconds.";
    out.gauge("cardea_broker_rtt_milliseconds", rtt, r.broker_rtt_ms);

    out.gauge("cardea_locks", "Admitted locks.", r.locks);
    out.counter("cardea_frames_received_total", "Frames from radios.", r.frames_up);
    out.counter("cardea_frames_sent_total", "Frames given to radios.", r.frames_down);
    out.counter("cardea_datagrams_received_total", "Datagrams completed from frames.", r.datagrams_up);
    out.counter("cardea_peer_datagrams_total", "Datagrams carried between peers.", r.peer_frames);
    out.counter("cardea_receipts_total", "Receipts given to locks.", r.receipts);
    out.counter("cardea_duplicates_total", "Datagrams seen before.", r.duplicates);

    out.family("cardea_frames_discarded_total", "counter", "Frames and datagrams not relayed.");
    for (reason, count) in [
        ("unknown_lock", r.unknown_lock),
        ("malformed", r.malformed_frames),
        ("peer", r.peer_dropped),
        ("not_accepted", r.not_accepted),
    ] {
        out.sample("cardea_frames_discarded_total", &format!("reason=\"{reason}\""), count);
    }

    if let Some(lora) = lora {
        lora_families(&mut out, lora);
    }
    if let Some(ZigbeeCounters { strangers, foreign, shed, .. }) = zigbee {
        out.family("cardea_zigbee_ignored_total", "counter", "Received by the Zigbee radio and not used.");
        for (reason, count) in [("stranger", *strangers), ("foreign", *foreign), ("shed", *shed)] {
            out.sample("cardea_zigbee_ignored_total", &format!("reason=\"{reason}\""), count);
        }
    }

    if let Some(subghz) = subghz {
        subghz_families(&mut out, subghz);
    }

    if let Some(bridge) = unsealed {
        out.gauge("cardea_unsealed_locks", "Ordinary locks: not end-to-end.", bridge.locks);
        let up = "1 while the broker link of ordinary locks is up.";
        out.gauge("cardea_unsealed_broker_up", up, u64::from(bridge.connected));
        let ignored = "Messages for ordinary locks and events of them that came to nothing without a word.";
        out.counter("cardea_unsealed_ignored_total", ignored, bridge.ignored);
    }

    out.gauge("cardea_outbox_frames", "Frames that wait for broker or platform.", r.outbox_rows);
    out.gauge("cardea_outbox_bytes", "Bytes of frames in the store.", r.outbox_bytes);
    out.gauge("cardea_outbox_memory_frames", "Frames of the outbox in memory.", r.rows_in_memory);
    out.counter("cardea_outbox_committed_total", "Frames written to the store.", r.rows_committed);
    let spared = "Frames taken by broker or platform before they were written.";
    out.counter("cardea_outbox_spared_total", spared, r.rows_never_written);
    out.counter("cardea_outbox_dropped_total", "Frames dropped, each told in a gap.", r.rows_dropped);
    out.counter("cardea_outbox_resent_total", "Frames sent again, not seen by the platform.", r.resent);
    out.counter("cardea_store_failures_total", "Store operations that failed.", r.store_failures);
    out.counter(
        "cardea_events_dropped_total",
        "Gateway events that the broker could not take.",
        r.events_dropped,
    );

    out.counter("cardea_published_total", "Messages given to the broker link.", r.published);
    out.counter("cardea_acknowledged_total", "Messages the broker acknowledged.", r.acknowledged);
    out.counter("cardea_refused_total", "Messages the broker will never take.", r.refused_by_broker);
    out.gauge("cardea_in_flight", "Messages without an answer of the broker.", r.in_flight);
    out.counter(
        "cardea_messages_malformed_total",
        "Messages from the broker that are none of ours.",
        r.malformed_messages,
    );

    out.counter("cardea_downlinks_total", "Downlinks accepted.", r.downlinks);
    out.counter("cardea_downlinks_repeated_total", "Downlinks whose id was known.", r.downlinks_repeated);
    out.family("cardea_downlink_results_total", "counter", "Downlinks that came to an end.");
    for (state, count) in [
        ("delivered", r.downlinks_delivered),
        ("expired", r.downlinks_expired),
        ("refused", r.downlinks_refused),
        ("failed", r.downlinks_failed),
    ] {
        out.sample("cardea_downlink_results_total", &format!("state=\"{state}\""), count);
    }
    out.gauge("cardea_downlink_ids", "Downlink ids remembered.", r.inbox_ids);
    out.0
}

/// Anybody who reaches the packet forwarder's port, or has a transmitter, can make these rise.
fn lora_families(out: &mut Text, lora: &LoraCounters) {
    out.family("cardea_lora_ignored_total", "counter", "Received by the LoRaWAN radio and not used.");
    for (reason, count) in [
        ("not_a_forwarder", lora.malformed),
        ("foreign_forwarder", lora.foreign_forwarder),
        ("unusable", lora.unusable),
        ("off_plan", lora.off_plan),
        ("not_lorawan", lora.not_lorawan),
        ("unknown", lora.unknown),
        ("join_mic", lora.join_mic),
        ("join_nonce", lora.join_nonce),
        ("repeated", lora.repeated),
        ("shed", lora.shed),
    ] {
        out.sample("cardea_lora_ignored_total", &format!("reason=\"{reason}\""), count);
    }
    out.family("cardea_lora_downlinks_lost_total", "counter", "Downlinks the packet forwarder did not take.");
    for (reason, count) in [("refused", lora.refused), ("unanswered", lora.unanswered)] {
        out.sample("cardea_lora_downlinks_lost_total", &format!("reason=\"{reason}\""), count);
    }
    let failures = "Transactions of the LoRaWAN radio that the store could not commit.";
    out.counter("cardea_lora_store_failures_total", failures, lora.store_failures);
}

fn subghz_families(out: &mut Text, SubghzCounters { link, chip, port, shed, network }: &SubghzCounters) {
    out.family("cardea_subghz_ignored_total", "counter", "Received by the 433 MHz radio and not used.");
    for (reason, count) in [
        ("checksum", chip.bad_crc),
        ("noise", chip.malformed.saturating_add(link.noise)),
        ("forged", link.forged),
        ("replayed", link.replayed),
        ("stranger", link.strangers),
        ("shed", *shed),
    ] {
        out.sample("cardea_subghz_ignored_total", &format!("reason=\"{reason}\""), count);
    }
    out.family(
        "cardea_subghz_unsent_total",
        "counter",
        "Frames that the 433 MHz radio did not send, or not whole.",
    );
    for (reason, count) in
        [("busy", port.busy), ("late", port.late), ("failed", port.failed), ("no_airtime", link.silenced)]
    {
        out.sample("cardea_subghz_unsent_total", &format!("reason=\"{reason}\""), count);
    }
    out.counter("cardea_subghz_received_total", "Frames with a right checksum.", chip.received);
    out.counter("cardea_subghz_sent_total", "Frames on the air at 433 MHz.", chip.sent);
    out.counter("cardea_subghz_resets_total", "Resets of the 433 MHz module.", chip.resets);
    let missed = "Ends of frames that no interrupt line of the 433 MHz module told.";
    out.counter("cardea_subghz_missed_edges_total", missed, chip.missed_edges);
    let airtime = "Time on the air at 433 MHz in the last hour, milliseconds.";
    out.gauge("cardea_subghz_airtime_milliseconds", airtime, network.airtime.0 / 1_000);
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: u64) {
        let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "gauge", help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        let _ = writeln!(self.0, "{name} {value}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_family_is_declared_once_and_every_sample_belongs_to_one() {
        let vitals = Vitals {
            relay: Metrics { frames_up: 7, ..Metrics::default() },
            upstream: cardea_upstream::Status::default(),
            radios: BTreeMap::from([("lora".to_owned(), (true, 2))]),
            clock_synced: true,
            uptime_s: 1,
            unsealed: None,
        };
        let lora = LoraCounters { foreign_forwarder: 3, ..LoraCounters::default() };
        let zigbee = ZigbeeCounters { strangers: 4, ..ZigbeeCounters::default() };
        let mut subghz = SubghzCounters::default();
        subghz.link.forged = 6;
        let neither = text(&vitals, None, None, None);
        assert!(!neither.contains("cardea_lora") && !neither.contains("cardea_zigbee"));
        assert!(!neither.contains("cardea_subghz"));
        assert!(!neither.contains("cardea_unsealed"));
        let bridge = cardea_api::Unsealed {
            end_to_end: false,
            locks: 2,
            commands: 0,
            connected: true,
            detail: String::new(),
            ignored: 5,
        };
        let vitals = Vitals { unsealed: Some(bridge), ..vitals };
        let text = text(&vitals, Some(&lora), Some(&zigbee), Some(&subghz));
        let mut families = BTreeSet::new();
        for line in text.lines() {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                let (name, kind) = declared.split_once(' ').unwrap();
                assert!(families.insert(name), "{name} twice");
                assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().unwrap();
                assert!(families.contains(name), "{name} is not declared");
                line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
            }
        }
        assert!(text.contains("\ncardea_frames_received_total 7\n"));
        assert!(text.contains("\ncardea_radio_restarts_total{radio=\"lora\"} 2\n"));
        assert!(text.contains("\ncardea_lora_ignored_total{reason=\"foreign_forwarder\"} 3\n"));
        assert!(text.contains("\ncardea_zigbee_ignored_total{reason=\"stranger\"} 4\n"));
        assert!(text.contains("\ncardea_subghz_ignored_total{reason=\"forged\"} 6\n"));
        assert!(text.contains("\ncardea_unsealed_ignored_total 5\n"));
    }
}
