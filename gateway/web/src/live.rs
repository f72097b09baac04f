//! What changes while somebody looks: server-sent events. Each event holds the parts of a page that have changed, as the
//! page itself would have them.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use cardea_api::{Lock, RadioDetail, Reply, Request, Status};
use cardea_framing::LockId;
use hyper::body::Frame;
use tokio::sync::{Mutex, Semaphore, mpsc};

use crate::Web;
use crate::pages::{self, fleet, pair};
use crate::routes::Call;

/// Pages that are live at once, in all browsers.
const STREAMS: usize = 32;

/// How often a page is looked at again.
const TICK: Duration = Duration::from_secs(1);

/// A proxy or a browser that hears nothing for longer may think the connection dead.
const KEEP_ALIVE: u32 = 15;

/// What the gateway said last.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) status: Status,
    pub(crate) locks: Vec<Lock>,
    pub(crate) radios: Vec<RadioDetail>,
}

impl View {
    pub(crate) fn lock(&self, id: LockId) -> Option<&Lock> {
        self.locks.iter().find(|lock| lock.lock == id)
    }
}

/// All live pages ask the gateway together.
pub(crate) struct Live {
    last: Mutex<Option<(Instant, Arc<View>)>>,
    streams: Arc<Semaphore>,
    /// Pairings under way, and when each is given up. Bounded by [`pair::REMEMBERED`].
    pub(crate) pairings: std::sync::Mutex<BTreeMap<LockId, pair::Pairing>>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            last: Mutex::default(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            pairings: std::sync::Mutex::default(),
        }
    }
}

impl Web {
    /// What the gateway says, no older than `age`.
    pub(crate) async fn view(&self, age: Duration) -> Result<Arc<View>, String> {
        let mut last = self.live.last.lock().await;
        if let Some((at, view)) = last.as_ref()
            && at.elapsed() < age
        {
            return Ok(Arc::clone(view));
        }
        let odd = || "the daemon answered something else".to_owned();
        let Reply::Status(status) = self.daemon.ask(Request::Status {}).await? else { return Err(odd()) };
        let Reply::Locks(locks) = self.daemon.ask(Request::Locks {}).await? else { return Err(odd()) };
        let radios = match self.daemon.ask(Request::Radios {}).await {
            Ok(Reply::Radios(radios)) => radios,
            // Everything else can be shown all the same.
            _ => Vec::new(),
        };
        let view = Arc::new(View { status: *status, locks, radios });
        *last = Some((Instant::now(), Arc::clone(&view)));
        Ok(view)
    }
}

/// Parts of a page by the `id` of their place; `said` is read to those who listen instead of looking.
pub(crate) type Parts = BTreeMap<&'static str, String>;

pub(crate) async fn overview(web: Arc<Web>, call: Call) -> Response {
    let text = call.text;
    stream(web, call, move |_, view| fleet::overview_parts(text, view))
}

pub(crate) async fn locks(web: Arc<Web>, call: Call) -> Response {
    let (text, filter) = (call.text, fleet::Filter::of(&call));
    stream(web, call, move |_, view| fleet::locks_parts(text, view, &filter))
}

pub(crate) async fn lock(web: Arc<Web>, call: Call) -> Response {
    let (text, Some(lock)) = (call.text, call.lock()) else {
        return pages::refusal(call.text, StatusCode::NOT_FOUND);
    };
    stream_of(web, call, move |web| {
        Box::pin(async move {
            let view = web.view(TICK / 2).await.ok()?;
            let mut parts = fleet::lock_parts(text, &view, lock);
            parts.extend(pages::operate::trace_parts(&web, text, lock).await);
            Some(parts)
        })
    })
}

pub(crate) async fn pair(web: Arc<Web>, call: Call) -> Response {
    let (text, token, Some(lock)) = (call.text, call.form_token(), call.lock()) else {
        return pages::refusal(call.text, StatusCode::NOT_FOUND);
    };
    stream(web, call, move |web, view| pair::parts(text, web, view, lock, &token))
}

/// Live parts that follow from the [`View`] alone.
pub(crate) fn stream(
    web: Arc<Web>,
    call: Call,
    parts: impl Fn(&Web, &View) -> Parts + Send + Sync + 'static,
) -> Response {
    let parts = Arc::new(parts);
    stream_of(web, call, move |web| {
        let parts = Arc::clone(&parts);
        Box::pin(async move { web.view(TICK / 2).await.ok().map(|view| parts(&web, &view)) })
    })
}

/// Parts that are being made; `None`: the gateway does not answer.
pub(crate) type Making = Pin<Box<dyn Future<Output = Option<Parts>> + Send>>;

/// Live parts that have to be asked for.
pub(crate) fn stream_of(
    web: Arc<Web>,
    call: Call,
    parts: impl Fn(Arc<Web>) -> Making + Send + 'static,
) -> Response {
    let unavailable = || pages::refusal(call.text, StatusCode::SERVICE_UNAVAILABLE);
    let Ok(place) = Arc::clone(&web.live.streams).try_acquire_owned() else { return unavailable() };
    let Some((id, _)) = &call.session else { return unavailable() };
    let name = id.name();
    let (to, events) = mpsc::channel(4);
    tokio::spawn(async move {
        let _place = place;
        let mut shown = Parts::new();
        let mut quiet = 0;
        loop {
            if web.keeper.session(name, false).is_none() {
                let _ = to.send(Bytes::from_static(b"event: over\ndata: {}\n\n")).await;
                return;
            }
            // A gateway that does not answer for a moment is shown as it was; one that stops ends the stream.
            if let Some(now) = parts(Arc::clone(&web)).await {
                let changed: BTreeMap<_, _> =
                    now.iter().filter(|(id, part)| shown.get(*id) != Some(part)).collect();
                if !changed.is_empty() {
                    let Ok(json) = serde_json::to_string(&changed) else { return };
                    if to.send(Bytes::from(format!("data: {json}\n\n"))).await.is_err() {
                        return;
                    }
                    quiet = 0;
                    shown = now;
                }
            }
            quiet += 1;
            if quiet >= KEEP_ALIVE {
                quiet = 0;
                if to.send(Bytes::from_static(b":\n\n")).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = to.closed() => return,
            }
        }
    });
    let mut response = Response::new(Body::new(Events(events)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

/// Events as a body.
struct Events(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}
