//! The same API over HTTP/1.1 on the same socket, as `docs/openapi.json` describes it.

use std::convert::Infallible;

use bytes::Bytes;
use cardea_api::{Answer, LINES_ONLY, MAX_REQUEST, Request};
use cardea_web::Web;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::{IDLE, answer};
use crate::relay_loop::Ask;

/// Bytes of a request's head.
const HEAD: usize = 16 * 1024;

/// Serves one connection.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: S,
    asks: &mpsc::Sender<Ask>,
    page: Option<&Web>,
) -> std::io::Result<()> {
    let service = service_fn(|request| async move {
        let (status, said) = match take(request).await {
            Ok(request) => match answer(request, asks, page).await {
                good @ Answer::Ok { .. } => (StatusCode::OK, good),
                refused @ Answer::Error { .. } => (StatusCode::CONFLICT, refused),
            },
            Err((status, why)) => (status, Answer::Error { error: why }),
        };
        Ok::<_, Infallible>(response(status, &said))
    });
    let mut connection = http1::Builder::new();
    connection
        .timer(TokioTimer::new())
        .half_close(true)
        .header_read_timeout(IDLE)
        .max_headers(64)
        .max_buf_size(HEAD);
    connection.serve_connection(TokioIo::new(stream), service).await.map_err(std::io::Error::other)
}

/// The request that a POST stands for, or the status and the words of a refusal.
async fn take(request: hyper::Request<Incoming>) -> Result<Request, (StatusCode, String)> {
    let refuse = |status: StatusCode, why: &str| Err((status, why.to_owned()));
    let (parts, body) = request.into_parts();
    let Some(verb) = parts.uri.path().strip_prefix("/v1/").filter(|verb| !LINES_ONLY.contains(verb)) else {
        return refuse(StatusCode::NOT_FOUND, "there is no such path: docs/openapi.json lists them");
    };
    if !cardea_api::is_verb(verb) {
        return refuse(StatusCode::NOT_FOUND, "there is no such verb: docs/openapi.json lists them");
    }
    if parts.method != Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "a verb is a POST");
    }
    let kind = parts.headers.get(CONTENT_TYPE).map_or("application/json", |kind| kind.to_str().unwrap_or(""));
    if kind.split(';').next().unwrap_or_default().trim() != "application/json" {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a body is application/json");
    }
    let read = tokio::time::timeout(IDLE, Limited::new(body, MAX_REQUEST).collect()).await;
    let Ok(Ok(body)) = read else {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "a body is short, and comes whole");
    };
    let body = body.to_bytes();
    Request::of(verb, &body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
}

fn response(status: StatusCode, said: &Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(serde_json::to_vec(said).unwrap_or_default()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}
