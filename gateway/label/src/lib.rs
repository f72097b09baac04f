//! Radio labels as pictures: a QR code, and below it the same text in print, for who has to type it.
//!
//! The text is the one of [`cardea_radio::label`]. In the code it stands in capitals, which QR codes hold in 5.5 bits a
//! character instead of 8; readers of labels do not care. In print it stands in lower case, where `0` and `8` are not taken
//! for `O` and `B`, and is broken after slashes.

use std::fmt::Write as _;

use cardea_radio::{Admission, label};
use qrcodegen::{QrCode, QrCodeEcc};
use zeroize::Zeroizing;

/// Modules of white around a code (ISO/IEC 18004 §5.3.8).
const QUIET: i32 = 4;
/// Characters of a line in print.
const LINE: usize = 40;
/// Of the whole label, in millimetres: a module of the longest label is then 0.9 mm.
const WIDTH_MM: f32 = 40.0;
/// Of a line of print, in parts of the label's width.
const LINE_HEIGHT: f32 = 0.05;

/// A label that cannot be drawn. None that [`label::reveal`] writes is: the longest is far below what a code holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the label's text is too long for a QR code")]
pub struct TooLong;

/// The label of an admission as an SVG document. It holds the lock's admission secret, as the label does.
///
/// # Errors
/// [`TooLong`].
pub fn svg(admission: &Admission) -> Result<Zeroizing<String>, TooLong> {
    let text = label::reveal(admission);
    let capitals = Zeroizing::new(text.to_ascii_uppercase());
    let code = QrCode::encode_text(&capitals, QrCodeEcc::Medium).map_err(|_| TooLong)?;
    let side = code.size() + 2 * QUIET;
    let lines = lines(&text);

    // One user unit is a module; print is given in parts of the width.
    let width = side as f32;
    let height = width * (1.0 + LINE_HEIGHT * (lines.len() as f32 + 0.5));
    let mut out = Zeroizing::new(String::with_capacity(32 * 1024));
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH_MM}mm\" height=\"{:.2}mm\" viewBox=\"0 0 {width} {height:.2}\">\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/><path fill=\"#000\" shape-rendering=\"crispEdges\" d=\"",
        WIDTH_MM * height / width
    );
    push_modules(&mut out, &code);
    let _ = write!(
        out,
        "\"/><g fill=\"#000\" font-family=\"monospace\" font-size=\"{:.2}\" text-anchor=\"middle\">",
        width * LINE_HEIGHT * 0.8
    );
    for (line, row) in lines.iter().zip(0_u16..) {
        let y = width * (1.0 + LINE_HEIGHT * (f32::from(row) + 0.5));
        let _ = write!(out, "<text x=\"{:.2}\" y=\"{y:.2}\">{line}</text>", width / 2.0);
    }
    out.push_str("</g></svg>\n");
    Ok(out)
}

/// The dark modules, each run of a row as one rectangle.
fn push_modules(out: &mut String, code: &QrCode) {
    for y in 0..code.size() {
        let mut x = 0;
        while x < code.size() {
            let dark = (x..code.size()).take_while(|x| code.get_module(*x, y)).count();
            let run = i32::try_from(dark).unwrap_or_default();
            if run > 0 {
                let _ = write!(out, "M{} {}h{run}v1h-{run}z", x + QUIET, y + QUIET);
            }
            x += run + 1;
        }
    }
}

/// Broken after slashes, and where a part is longer than a line, within it.
fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let (mut start, mut end) = (0, 0);
    for part in text.split_inclusive('/') {
        if end + part.len() - start > LINE && end > start {
            lines.extend(text.get(start..end));
            start = end;
        }
        end += part.len();
        while end - start > LINE {
            lines.extend(text.get(start..start + LINE));
            start += LINE;
        }
    }
    lines.extend(text.get(start..end).filter(|rest| !rest.is_empty()));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn print_is_broken_after_slashes_and_loses_nothing() {
        let text = "cardea:1/lorawan/00112233445566ff/0004a30b001c0530/70b3d57ed0000001/2b7e151628aed2a6abf7158809cf4f3c/c/94d1";
        let broken = lines(text);
        assert_eq!(broken.concat(), text);
        assert!(broken.iter().all(|line| line.len() <= LINE), "{broken:?}");
        assert_eq!(broken.first(), Some(&"cardea:1/lorawan/00112233445566ff/"));
        let long = "x".repeat(100);
        assert_eq!(lines(&long).concat(), long);
        assert_eq!(lines(&long).len(), 3);
        assert!(lines("").is_empty());
    }
}
