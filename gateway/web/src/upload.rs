//! A form with a file: the one thing that is larger than a few kilobytes, and only the owner may send it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest as _, Multipart};
use axum::http::{Request, header, request};
use bytes::Bytes;
use cardea_api::{MAX_SECRET, Secret};
use zeroize::Zeroizing;

use crate::routes::Fields;
use crate::session::Id;
use crate::{Web, keeper};

/// The largest: a backup, encrypted and in letters, and the fields beside it. Bytes.
pub(crate) const MOST: usize = 2 * MAX_SECRET + 16 * 1024;

/// Where one may be sent.
const PATHS: [&str; 1] = ["/radios/zigbee/restore"];

/// Fields in it, and how long each may be, bytes.
const FIELDS: usize = 16;
const FIELD: usize = 1_024;

/// What came.
#[derive(Clone)]
pub(crate) struct Upload {
    pub(crate) fields: Arc<Fields>,
    pub(crate) file: Arc<Secret>,
}

/// Whether this request may bring a file: before it is read, so that nobody else can fill memory.
pub(crate) fn may(web: &Web, parts: &request::Parts) -> bool {
    let cookies = parts.headers.get(header::COOKIE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let session = || Id::from_cookies(cookies).and_then(|id| web.keeper.session(id.name(), false));
    PATHS.contains(&parts.uri.path()) && session().is_some_and(|session| session.is_fresh(keeper::now()))
}

/// Takes the form apart; `None`: it is none.
pub(crate) async fn read(kind: &str, bytes: Bytes) -> Option<Upload> {
    let request = Request::builder().header(header::CONTENT_TYPE, kind).body(Body::from(bytes)).ok()?;
    let mut form = Multipart::from_request(request, &()).await.ok()?;
    let (mut fields, mut file) = (Fields::new(), None);
    for _ in 0..FIELDS {
        let Some(field) = form.next_field().await.ok()? else { break };
        let name = field.name()?.to_owned();
        let is_file = field.file_name().is_some();
        let content = Zeroizing::new(Vec::from(field.bytes().await.ok()?));
        if is_file {
            file = Some(Secret::from(content));
        } else if content.len() <= FIELD {
            let text = Zeroizing::new(String::from_utf8_lossy(&content).into_owned());
            fields.entry(name).or_insert(text);
        }
    }
    Some(Upload { fields: Arc::new(fields), file: Arc::new(file.unwrap_or_default()) })
}
