//! Payloads inside OSCORE: an authentic peer may still be a wrong one.

use cardea_resources::{
    Battery, Command, CommandReply, Event, EventReply, LogEntry, LogPage, LogPageWriter, LogRequest,
    PinChange, PinList, SiteSetting, SiteState, Status, Time,
};

/// Every decoder: what one accepts, it accepts again as its own encoder writes it, and as the same value.
pub fn resources_decode(data: &[u8]) {
    macro_rules! stable {
        ($($type:ident),*) => {$(
            if let Ok(value) = $type::decode(data) {
                let mut out = [0; 64];
                let len = value.encode(&mut out).unwrap_or_default();
                assert!(len <= $type::MAX_LEN);
                assert_eq!($type::decode(out.get(..len).unwrap_or_default()), Ok(value));
            }
        )*};
    }
    stable!(
        Command,
        CommandReply,
        Event,
        EventReply,
        Status,
        Battery,
        Time,
        LogRequest,
        LogEntry,
        SiteSetting,
        SiteState
    );

    if let Ok(page) = LogPage::decode(data) {
        let mut out = vec![0; data.len()];
        let Ok(mut writer) = LogPageWriter::new(&mut out, page.end) else { return pins(data) };
        let written = page.entries().filter(|entry| writer.push(entry) == Ok(true)).count();
        assert_eq!(written, page.entries().len());
        let len = writer.finish();
        let again = LogPage::decode(out.get(..len).unwrap_or_default());
        assert!(again.is_ok_and(|again| again.end == page.end && again.entries().eq(page.entries())));
    }
    pins(data);
}

/// PINs have no `PartialEq`: the encoding is compared.
fn pins(data: &[u8]) {
    if let Ok(change) = PinChange::decode(data) {
        let mut out = [0; PinChange::MAX_LEN];
        let len = change.encode(&mut out).unwrap_or_default();
        let ours = out.get(..len).unwrap_or_default();
        assert!(len > 0);
        // A key that may be skipped is not written again: what is left says the same.
        if !data.starts_with(ours) {
            let again = PinChange::decode(ours);
            assert!(again.is_ok(), "what is written cannot be read");
            let Ok(again) = again else { return };
            assert_eq!((again.slot, again.revision), (change.slot, change.revision));
            assert_eq!(again.setting.is_some(), change.setting.is_some());
            let mut twice = [0; PinChange::MAX_LEN];
            assert_eq!(again.encode(&mut twice).ok().and_then(|len| twice.get(..len)), Some(ours));
        }
    }
    if let Ok(list) = PinList::decode(data) {
        let mut out = [0; PinList::MAX_LEN];
        let len = PinList::encode(list.capacity, list.highest, list.entries(), &mut out).unwrap_or_default();
        let again = PinList::decode(out.get(..len).unwrap_or_default());
        assert!(again.is_ok_and(|again| again.entries().eq(list.entries())));
    }
}
