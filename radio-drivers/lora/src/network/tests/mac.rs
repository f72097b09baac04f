//! Every MAC command a device may send, and every one we send.

use lrwn::{DevStatusAnsPayload, LinkADRAnsPayload, LinkADRReqPayload, RxParamSetupAnsPayload};

use super::*;

/// MAC commands of the one downlink that came of this uplink, if any.
fn exchange(site: &mut Site, lock: &mut Lock, commands: Vec<MACCommand>) -> Option<Vec<MACCommand>> {
    let up = lock.up_mac(commands);
    site.hear(up);
    let down = read_down(site, lock);
    site.pass(3_000);
    down
}

fn read_down(site: &mut Site, lock: &mut Lock) -> Option<Vec<MACCommand>> {
    site.pass(6_000);
    let (_, transmit) = site.sent.pop()?;
    let down = lock.open(&transmit.data);
    let mut set = MACCommandSet::new(vec![MACCommand::Raw(down.f_opts)]);
    set.decode_from_raw(false).unwrap();
    Some(set.to_vec().map(|_| set.iter().cloned().collect()).unwrap())
}

#[test]
fn link_check_is_answered_with_the_margin() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    let answer = exchange(&mut site, &mut lock, vec![MACCommand::LinkCheckReq]).unwrap();
    // 5.5 dB received, SF7 needs -7.5 dB.
    let [MACCommand::LinkCheckAns(check)] = &answer[..] else { panic!("{answer:?}") };
    assert_eq!((check.margin, check.gw_cnt), (13, 1));
}

#[test]
fn the_time_is_told_only_when_it_is_known_and_is_that_of_the_uplink() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    let answer = exchange(&mut site, &mut lock, vec![MACCommand::DeviceTimeReq]).unwrap();
    let [MACCommand::DeviceTimeAns(time)] = &answer[..] else { panic!("{answer:?}") };
    assert_eq!(time.time_since_gps_epoch.as_secs(), 1_700_000_000 - 315_964_800 + 18);
    site.wall.synced = false;
    assert_eq!(
        exchange(&mut site, &mut lock, vec![MACCommand::DeviceTimeReq]),
        None,
        "nothing to say, nothing sent"
    );
    let both = vec![MACCommand::DeviceTimeReq, MACCommand::LinkCheckReq];
    let answer = exchange(&mut site, &mut lock, both).unwrap();
    assert!(matches!(answer[..], [MACCommand::LinkCheckAns(_)]));
}

#[test]
fn answers_travel_with_a_frame_and_commands_may_come_in_port_0() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    let up = lock.up_with(FType::UnconfirmedDataUp, FCtrl::default(), vec![], Some(0), vec![0x02, 0x0d]);
    site.hear(up);
    assert!(site.take_up().is_none(), "MAC commands are not a frame");
    site.send(&lock, 1, b"frame", 30_000);
    let down = lock.open(&site.sent.pop().unwrap().1.data);
    assert_eq!((down.f_opts.len(), &down.payload[..]), (3 + 6, &b"frame"[..]));
    // Commands in both places: the frame is discarded.
    site.pass(9_000);
    let both = vec![MACCommand::LinkCheckReq];
    let up = lock.up_with(FType::UnconfirmedDataUp, FCtrl::default(), both, Some(0), vec![0x02]);
    site.hear(up);
    site.pass(9_000);
    assert!(site.sent.is_empty());
}

#[test]
fn a_frame_that_fills_the_payload_leaves_no_room_for_answers() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    for (len, f_opts) in [(242, 0), (240, 0), (239, 3)] {
        let up = lock.up_mac(vec![MACCommand::LinkCheckReq]);
        site.hear(up);
        site.send(&lock, len, &vec![0; len as usize], 30_000);
        let bytes = site.sent.pop().unwrap().1.data;
        assert!(bytes.len() <= 242 + 13);
        let down = lock.open(&bytes);
        assert_eq!((down.payload.len(), down.f_opts.len()), (len as usize, f_opts));
        site.pass(9_000);
    }
}

#[test]
fn a_device_that_asks_for_any_downlink_gets_one() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    let adr = FCtrl { adr: true, adr_ack_req: true, ..FCtrl::default() };
    let up = lock.up_with(FType::UnconfirmedDataUp, adr, vec![], Some(10), vec![1]);
    site.hear(up);
    site.pass(6_000);
    let down = lock.open(&site.sent.pop().unwrap().1.data);
    assert!(down.adr && !down.ack && down.port.is_none());
}

#[test]
fn statuses_unknown_and_foreign_commands_do_no_harm() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    let status = MACCommand::DevStatusAns(DevStatusAnsPayload { battery: 254, margin: -5 });
    assert_eq!(exchange(&mut site, &mut lock, vec![status]), None);
    // A margin byte of 0xff overflows lrwn's own reader; all kinds of answers to questions never asked.
    for raw in [
        vec![0x06, 0x80, 0xff],
        vec![0x03, 0x07],
        vec![0x05, 0xff, 0x07, 0x00],
        vec![0x80, 0x81],
        vec![0x10, 0x07],
    ] {
        let sticky = raw[0] == 0x05;
        let answer = exchange(&mut site, &mut lock, vec![MACCommand::Raw(raw)]);
        assert_eq!(answer.is_some(), sticky);
    }
    let session = site.network.devices[&lock.id].active.as_ref().unwrap();
    assert_eq!((session.rx, session.given_up), (site.network.shared.wanted_rx(), 0));
}

/// A network whose settings have changed since the device joined.
fn changed(class: LorawanClass) -> (Site, Lock) {
    let (site, lock) = joined(class);
    let config = LoraConfig { rx1_delay: 3, rx2_dr: Some(3), rx1_dr_offset: 2, ..LoraConfig::default() };
    (Site::restart(config, site.store, site.now), lock)
}

#[test]
fn a_device_learns_new_receive_parameters_and_they_count_once_it_says_so() {
    let (mut site, mut lock) = changed(LorawanClass::A);
    let up = lock.up(b"x".to_vec());
    let heard = site.hear(up);
    site.pass(6_000);
    let transmit = site.sent.pop().unwrap().1;
    assert_eq!(transmit.tmst, Some(heard.wrapping_add(5_000_000)), "still the old delay");
    let down = lock.open(&transmit.data);
    assert_eq!(down.f_opts, [&[0x08, 3][..], &[0x05, 0x23, 0xd2, 0xad, 0x84]].concat());
    let accepted = RxParamSetupAnsPayload { channel_ack: true, rx2_dr_ack: true, rx1_dr_offset_ack: true };
    let answers = || vec![MACCommand::RxTimingSetupAns, MACCommand::RxParamSetupAns(accepted.clone())];
    site.pass(3_000);
    let up = lock.up_mac(answers());
    let heard = site.hear(up);
    site.send(&lock, 1, b"x", 30_000);
    let transmit = site.sent.pop().unwrap().1;
    assert_eq!(
        transmit.tmst,
        Some(heard.wrapping_add(3_000_000)),
        "the windows of the answer are the new ones"
    );
    assert_eq!(transmit.sf, 9, "DR5 with offset 2");
    assert!(lock.open(&transmit.data).f_opts.is_empty());
    // Sticky: it repeats the answers until it has heard that downlink, and gets one each time.
    site.pass(9_000);
    assert_eq!(exchange(&mut site, &mut lock, answers()), Some(vec![]));
    // The store knows.
    let mut site = Site::restart(site.network.shared.config.clone(), site.store, site.now);
    let up = lock.up(Vec::new());
    let heard = site.hear(up);
    site.send(&lock, 2, b"x", 30_000);
    assert_eq!(site.sent.pop().unwrap().1.tmst, Some(heard.wrapping_add(3_000_000)));
}

#[test]
fn requests_without_an_answer_end_after_three_times() {
    let (mut site, mut lock) = changed(LorawanClass::A);
    let mut asked = 0;
    for _ in 0..8 {
        asked += usize::from(exchange(&mut site, &mut lock, vec![]).is_some());
    }
    assert_eq!(asked, 3);
    // And a restart does not start over.
    site.pass(61_000);
    let mut site = Site::restart(site.network.shared.config.clone(), site.store, site.now);
    assert_eq!(exchange(&mut site, &mut lock, vec![]), None);
    // The device goes on with what it has.
    let up = lock.up(Vec::new());
    let heard = site.hear(up);
    site.send(&lock, 1, b"x", 30_000);
    assert_eq!(site.sent.pop().unwrap().1.tmst, Some(heard.wrapping_add(5_000_000)));
}

#[test]
fn what_a_device_declines_is_not_asked_again() {
    let (mut site, mut lock) = changed(LorawanClass::A);
    assert!(exchange(&mut site, &mut lock, vec![]).is_some());
    let declined = RxParamSetupAnsPayload { channel_ack: true, rx2_dr_ack: false, rx1_dr_offset_ack: true };
    let answers = vec![MACCommand::RxTimingSetupAns, MACCommand::RxParamSetupAns(declined)];
    assert_eq!(exchange(&mut site, &mut lock, answers), Some(vec![]));
    assert_eq!(exchange(&mut site, &mut lock, vec![]), None);
    let rx = site.network.devices[&lock.id].active.as_ref().unwrap().rx;
    assert_eq!((rx.delay, rx.rx1_offset, rx.rx2_dr), (3, 0, 0));
}

#[test]
fn class_c_frames_outside_of_windows_carry_no_commands() {
    let (mut site, mut lock) = changed(LorawanClass::C);
    site.send(&lock, 1, b"x", 10_000);
    assert!(lock.open(&site.sent.pop().unwrap().1.data).f_opts.is_empty());
}

fn adr_up(site: &mut Site, lock: &mut Lock, commands: Vec<MACCommand>) {
    let adr = FCtrl { adr: true, ..FCtrl::default() };
    let up = lock.up_with(FType::UnconfirmedDataUp, adr, commands, None, vec![]);
    site.hear_on(868_100_000, 12, 125, up);
}

#[test]
fn adr_asks_for_a_faster_rate_and_takes_no_for_an_answer() {
    for (accepted, then) in [(true, None), (false, None)] {
        let (mut site, mut lock) = joined(LorawanClass::A);
        let mut request = None;
        for _ in 0..10 {
            adr_up(&mut site, &mut lock, vec![]);
            request = read_down(&mut site, &mut lock);
            site.pass(5_000);
            if request.is_some() {
                break;
            }
        }
        // 5.5 dB at SF12: 15.5 dB above the margin are five steps.
        let expected = LinkADRReqPayload {
            dr: 5,
            tx_power: 0,
            ch_mask: lrwn::ChMask::from_slice(&[true; 8]).unwrap(),
            redundancy: lrwn::Redundancy { ch_mask_cntl: 0, nb_rep: 1 },
        };
        assert_eq!(request, Some(vec![MACCommand::LinkADRReq(expected)]));
        let answer = LinkADRAnsPayload { ch_mask_ack: true, dr_ack: accepted, tx_power_ack: true };
        adr_up(&mut site, &mut lock, vec![MACCommand::LinkADRAns(answer)]);
        assert_eq!(read_down(&mut site, &mut lock), then);
        let session = site.network.devices[&lock.id].active.as_ref().unwrap();
        assert_eq!(session.given_up, u8::from(!accepted));
    }
}

#[test]
fn us915_devices_are_told_their_sub_band() {
    let (mut site, mut lock) =
        joined_with(LoraConfig { region: Region::Us915, ..LoraConfig::default() }, LorawanClass::A);
    // Channel 0, although the join-accept named channels 8 to 15 and 65.
    let up = lock.up(vec![1]);
    site.hear_on(902_300_000, 10, 125, up);
    let request = read_down(&mut site, &mut lock).unwrap();
    let [MACCommand::LinkADRReq(off), MACCommand::LinkADRReq(on)] = &request[..] else {
        panic!("{request:?}")
    };
    assert_eq!((off.redundancy.ch_mask_cntl, off.ch_mask.to_bytes()), (7, [0x02, 0x00]));
    assert_eq!((on.redundancy.ch_mask_cntl, on.ch_mask.to_bytes()), (0, [0x00, 0xff]));
    let yes =
        || MACCommand::LinkADRAns(LinkADRAnsPayload { ch_mask_ack: true, dr_ack: true, tx_power_ack: true });
    let up = lock.up_mac(vec![yes(), yes()]);
    site.pass(5_000);
    site.hear_on(903_900_000, 10, 125, up);
    assert_eq!(read_down(&mut site, &mut lock), None);
}

#[test]
fn an_impossible_signal_report_does_no_harm() {
    for lsnr in ["3276.7", "1e300", "-1e300"] {
        let (mut site, mut lock) = joined(LorawanClass::A);
        let data = lock.up_mac(vec![MACCommand::LinkCheckReq]);
        let received = Received {
            tmst: site.tmst_now(),
            frequency: 868_100_000,
            sf: 7,
            bw: 125,
            rssi: -80,
            snr: 55,
            data,
        };
        let push = Packet::PushData { token: 9, eui: EUI, received: vec![received], unreadable: 0 }.encode();
        let (head, json) = push.split_at(12);
        let json = String::from_utf8(json.to_vec()).unwrap();
        let json = json.replace("\"lsnr\":5.5", &format!("\"lsnr\":{lsnr}"));
        assert!(json.contains(lsnr));
        let datagram = [head, json.as_bytes()].concat();
        site.network.handle_datagram(site.now, WALL, "127.0.0.1:40001".parse().unwrap(), &datagram);
        site.pump();
        site.pass(8_000);
        let margin = lock.open(&site.sent.pop().expect("an answer").1.data).f_opts[1];
        // No receiver has more than 100 dB.
        assert_eq!(margin, if lsnr.starts_with('-') { 0 } else { 107 });
    }
}
