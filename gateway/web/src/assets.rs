//! The style sheet, the script and the icon, compressed when the crate was built (`build.rs`).

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

/// One file.
pub(crate) struct Asset {
    /// Where it is served; the name changes with the content.
    pub(crate) path: &'static str,
    kind: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
    brotli: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The asset with this name, in the best coding that the browser takes.
pub(crate) fn serve(name: &str, headers: &HeaderMap) -> Response {
    let named = |asset: &&Asset| asset.path.strip_prefix("/assets/") == Some(name);
    let Some(asset) = [&STYLE, &SCRIPT, &ICON].into_iter().find(named) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let (coding, bytes) = match accepted {
        _ if accepts(accepted, "br") => (Some("br"), asset.brotli),
        _ if accepts(accepted, "gzip") => (Some("gzip"), asset.gzip),
        _ => (None, asset.plain),
    };
    let mut response = Response::builder()
        .header(header::CONTENT_TYPE, asset.kind)
        .header(header::CACHE_CONTROL, "public, max-age=31536000, immutable")
        .header(header::VARY, "accept-encoding");
    if let Some(coding) = coding {
        response = response.header(header::CONTENT_ENCODING, coding);
    }
    response.body(Body::from(bytes)).unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

pub(crate) fn accepts(header: &str, coding: &str) -> bool {
    header.split(',').any(|one| {
        let mut parts = one.split(';').map(str::trim);
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case(coding))
            && !parts.any(|p| matches!(p, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coding_is_taken_unless_it_is_refused() {
        assert!(accepts("gzip, deflate, br", "br"));
        assert!(accepts("gzip;q=0.5, BR;q=1.0", "br"));
        assert!(!accepts("gzip, br;q=0", "br"));
        assert!(!accepts("brotli", "br"));
    }

    #[test]
    fn the_script_is_small_and_all_three_together_weigh_little() {
        assert!(SCRIPT.plain.split(|byte| *byte == b'\n').count() < 300);
        let weight = STYLE.gzip.len() + SCRIPT.gzip.len() + ICON.gzip.len();
        assert!(weight < 16 * 1024, "{weight} bytes");
    }
}
