//! What a holder reads of the lock's log.

use cardea_resources::{EventKind, LogPage};
use serde::Serialize;

use crate::event::{kind_name, value_words};

/// Bit 6 of the value of a PIN entry.
const DURESS: u32 = 1 << 6;

/// One entry of the lock's log, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// The lock's index. What is missing between two was lost, or lies beyond what one answer holds.
    pub index: u32,
    /// What happened.
    pub kind: String,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// By the lock's clock, Unix seconds; `None` where it did not know the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<u32>,
}

/// The next index, and the entries of a page. A phone shows what whoever stands beside its holder may see, so it never
/// says that a PIN was used under duress.
pub(super) fn read(payload: &[u8]) -> Option<(u32, Vec<LogLine>)> {
    let page = LogPage::decode(payload).ok()?;
    let lines = page.entries().map(|entry| {
        let shown =
            entry.value.map(|value| if entry.kind == EventKind::Pin { value & !DURESS } else { value });
        let value = value_words(entry.kind, shown);
        LogLine { index: entry.index, kind: kind_name(entry.kind), value, at: entry.at }
    });
    Some((page.end, lines.collect()))
}

#[cfg(test)]
mod tests {
    use cardea_resources::{LogEntry, LogPageWriter};

    use super::*;

    fn page(entries: &[(EventKind, u32)]) -> Vec<u8> {
        let mut out = [0; 256];
        let end = u32::try_from(entries.len()).unwrap();
        let mut page = LogPageWriter::new(&mut out, end).unwrap();
        for (index, &(kind, value)) in (0..).zip(entries) {
            let entry = LogEntry { index, kind, at: Some(7), value: Some(value), command: None };
            assert!(page.push(&entry).unwrap());
        }
        let length = page.finish();
        out[..length].to_vec()
    }

    #[test]
    fn entries_are_words_and_duress_looks_like_any_other_pin() {
        let (end, lines) = read(&page(&[(EventKind::Door, 1), (EventKind::Pin, 0x83)])).unwrap();
        assert_eq!(end, 2);
        let shown: Vec<_> = lines.iter().map(|l| (l.kind.as_str(), l.value.as_deref(), l.at)).collect();
        assert_eq!(shown, [("door", Some("open"), Some(7)), ("pin", Some("slot 3"), Some(7))]);
        let duress = read(&page(&[(EventKind::Door, 1), (EventKind::Pin, 0xc3)])).unwrap();
        assert_eq!(duress, (end, lines));
        assert_eq!(read(b"\xa0"), None);
    }
}
