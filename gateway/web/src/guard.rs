//! What every request must be, whatever it asks for, and what every answer carries.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use crate::{Web, pages, texts, upload};

/// Largest form, bytes: a label is 256.
pub(crate) const BODY: usize = 8 * 1024;

/// Where a certificate is put in, and the largest form there: a chain of RSA certificates is 8 KiB before it is encoded.
const CERTIFICATE: &str = "/security/certificate";
const LARGE_BODY: usize = 32 * 1024;

/// A form's bytes come within this time.
pub(crate) const BODY_TIME: Duration = Duration::from_secs(10);

/// A file's bytes come within this time: a megabyte over a bad radio link.
const UPLOAD_TIME: Duration = Duration::from_secs(60);

/// Both ends of the connection that a request came on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
}

/// The form of a POST, read whole.
#[derive(Clone)]
pub(crate) struct Form(pub(crate) Bytes);

/// Sent with everything. No HSTS: over a certificate that nobody vouches for it would lock the owner out for good.
const HEADERS: [(HeaderName, &str); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // Not `no-referrer`: browsers then send `Origin: null` with our own forms.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), microphone=(), geolocation=(), payment=(), usb=(), interest-cohort=()",
    ),
    (HeaderName::from_static("x-robots-tag"), "noindex"),
];

/// The one page that may ask for the camera: it reads labels. What the camera sees stays in the browser.
const WITH_CAMERA: &str =
    "camera=(self), microphone=(), geolocation=(), payment=(), usb=(), interest-cohort=()";

/// Answers one request.
pub(crate) async fn answer<B>(web: &Arc<Web>, router: &Router, link: Link, request: Request<B>) -> Response
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let text = texts::choose(request.headers());
    let reads_labels = request.uri().path() == "/pair";
    let mut response = match admit(web, link, request).await {
        // The router's error type is `Infallible`.
        Ok(request) => TowerToHyperService::new(router.clone()).call(request).await.unwrap_or_default(),
        Err(status) => pages::refusal(text, status),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if reads_labels {
        headers.insert(HeaderName::from_static("permissions-policy"), HeaderValue::from_static(WITH_CAMERA));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// The request, its body read, or why not.
async fn admit<B>(web: &Web, link: Link, request: Request<B>) -> Result<Request<Body>, StatusCode>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut parts, body) = request.into_parts();
    let host = host(&parts.headers, parts.uri.authority().is_some()).ok_or(StatusCode::BAD_REQUEST)?;
    if !is_ours(host, &web.hosts, link.local.ip()) {
        return Err(StatusCode::MISDIRECTED_REQUEST);
    }
    if !web.rates.may_ask(link.peer.ip().into(), Instant::now()) {
        return Err(StatusCode::TOO_MANY_REQUESTS);
    }
    parts.extensions.insert(link);
    match parts.method {
        Method::GET | Method::HEAD => Ok(Request::from_parts(parts, Body::empty())),
        Method::POST => {
            if !is_from_our_page(&parts.headers, host) {
                return Err(StatusCode::FORBIDDEN);
            }
            let kind =
                parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
            let has_file = match kind.split(';').next().unwrap_or_default().trim() {
                "application/x-www-form-urlencoded" => false,
                "multipart/form-data" if upload::may(web, &parts) => true,
                "multipart/form-data" => return Err(StatusCode::FORBIDDEN),
                _ => return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE),
            };
            if has_file {
                // One at a time is in memory.
                let _one = web.operate.uploads.try_acquire().map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
                let read =
                    tokio::time::timeout(UPLOAD_TIME, Limited::new(body, upload::MOST).collect()).await;
                let read = read.map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
                let form = read.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?.to_bytes();
                let upload = upload::read(kind, form).await.ok_or(StatusCode::BAD_REQUEST)?;
                parts.extensions.insert(upload);
                return Ok(Request::from_parts(parts, Body::empty()));
            }
            let most = if parts.uri.path() == CERTIFICATE { LARGE_BODY } else { BODY };
            let read = tokio::time::timeout(BODY_TIME, Limited::new(body, most).collect()).await;
            let read = read.map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
            let form = read.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?.to_bytes();
            parts.extensions.insert(Form(form));
            Ok(Request::from_parts(parts, Body::empty()))
        }
        _ => Err(StatusCode::METHOD_NOT_ALLOWED),
    }
}

/// The one `Host`; a second one, or a request line with an authority of its own, is somebody's trick.
pub(crate) fn host(headers: &HeaderMap, in_request_line: bool) -> Option<&str> {
    let mut all = headers.get_all(header::HOST).iter();
    let host = all.next()?.to_str().ok()?;
    (all.next().is_none() && !in_request_line).then_some(host)
}

/// A state changes only by a form of our own. Browsers say where a form comes from, and no page can make them lie.
fn is_from_our_page(headers: &HeaderMap, host: &str) -> bool {
    let one = |name| {
        let mut all = headers.get_all(name).iter();
        let first = all.next().map(|value| value.to_str().unwrap_or_default());
        first.filter(|_| all.next().is_none())
    };
    let origin = one(header::ORIGIN).and_then(|origin| origin.strip_prefix("https://"));
    let site = headers.contains_key("sec-fetch-site");
    origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
        && (!site || one(HeaderName::from_static("sec-fetch-site")) == Some("same-origin"))
}

/// The names that this page answers to: configured ones, and this machine's.
pub(crate) fn hosts(configured: &[String]) -> Vec<String> {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine = machine.trim().to_ascii_lowercase();
    let mut hosts: Vec<String> = configured.iter().map(|name| name.to_ascii_lowercase()).collect();
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if !machine.is_empty() && machine.chars().all(is_name) {
        hosts.push(format!("{machine}.local"));
        hosts.push(machine);
    }
    hosts.push("localhost".into());
    hosts.sort();
    hosts.dedup();
    hosts
}

/// Against DNS rebinding: a stranger's name that leads here is not ours. An address is, when the connection came to it.
pub(crate) fn is_ours(host: &str, hosts: &[String], local: IpAddr) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or((host, ""), |(name, port)| (name, port)),
        None => host
            .split_once(':')
            .map_or((host, ""), |(name, _)| (name, host.get(name.len()..).unwrap_or_default())),
    };
    let port_is_one = port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok());
    let named = || hosts.iter().any(|ours| ours.eq_ignore_ascii_case(name));
    let addressed = || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical() == local.to_canonical());
    port_is_one && (named() || addressed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_ours_by_name_or_by_the_address_that_was_connected_to() {
        let hosts = ["gateway.local".to_owned()];
        let ours = |host: &str, local: &str| is_ours(host, &hosts, local.parse().unwrap());
        assert!(ours("gateway.local", "192.0.2.1") && ours("GATEWAY.local:8443", "192.0.2.1"));
        assert!(ours("192.0.2.1:8443", "192.0.2.1") && ours("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(ours("[2001:db8::1]:8443", "2001:db8::1"));
        for foreign in [
            "evil.example",
            "gateway.local.evil.example",
            "evil-gateway.local",
            "192.0.2.2",
            "",
            ":8443",
            "gateway.local:x",
            "gateway.local:8443:1",
            "[gateway.local",
            "gateway.local@evil.example",
            "gateway.local:-1",
            "gateway.local.",
        ] {
            assert!(!ours(foreign, "192.0.2.1"), "{foreign}");
        }
    }

    #[test]
    fn a_form_says_that_it_comes_from_here() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in pairs {
                map.append(*name, HeaderValue::from_static(value));
            }
            map
        };
        let good = |pairs: &[_]| is_from_our_page(&headers(pairs), "gateway.local:8443");
        let ours = ("origin", "https://gateway.local:8443");
        assert!(good(&[ours]) && good(&[ours, ("sec-fetch-site", "same-origin")]));
        for bad in [
            &[][..],
            &[("sec-fetch-site", "same-origin")],
            &[("origin", "null")],
            &[("origin", "http://gateway.local:8443")],
            &[("origin", "https://gateway.local")],
            &[("origin", "https://gateway.local:8443.evil.example")],
            &[ours, ours],
            &[ours, ("sec-fetch-site", "same-site")],
            &[ours, ("sec-fetch-site", "none")],
            &[ours, ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(!good(bad), "{bad:?}");
        }
    }
}
