//! Sockets: TLS, how many connections, how long they may take.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::guard::{self, Link};
use crate::throttle::Origin;
use crate::{Error, Web, pages, routes, texts};

/// Connections at once. The next one takes the place of the oldest: nobody keeps the owner out by holding them open.
const CONNECTIONS: usize = 96;

/// Of those, from one address. A browser has six, with a live page in each tab.
const FROM_ONE: usize = 24;

/// A TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The head of a request; also how long a connection may rest between two.
pub(crate) const HEAD: Duration = Duration::from_secs(15);

/// A connection's whole life; a live page reconnects.
const LIFE: Duration = Duration::from_secs(60 * 60);

/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;

/// Bound addresses.
pub struct Listening {
    web: Arc<Web>,
    https: TcpListener,
    http: Option<TcpListener>,
}

impl Listening {
    pub(crate) async fn bind(web: Arc<Web>) -> Result<Self, Error> {
        async fn one(address: SocketAddr) -> Result<TcpListener, Error> {
            TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
        }
        let https = one(web.settings.https).await?;
        let http = match web.settings.http {
            Some(address) => Some(one(address).await?),
            None => None,
        };
        Ok(Self { web, https, http })
    }

    /// Where the page is: what was asked for, with the port that the system chose where that was 0.
    ///
    /// # Errors
    /// The system's.
    pub fn https(&self) -> std::io::Result<SocketAddr> {
        self.https.local_addr()
    }

    /// The same of plain HTTP.
    #[must_use]
    pub fn http(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Serves for ever.
    pub async fn serve(self) {
        let Self { web, https, http } = self;
        let port = https.local_addr().map_or(443, |address| address.port());
        let router = routes::router(&web);
        let acceptor = TlsAcceptor::from(Arc::clone(&web.tls.config));
        let page = {
            let web = Arc::clone(&web);
            accept(https, move |stream, link| {
                let (web, router, acceptor) = (Arc::clone(&web), router.clone(), acceptor.clone());
                async move {
                    // Who speaks no TLS, or does not believe in our certificate, has gone.
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        connection(web, router, link, stream).await;
                    }
                }
            })
        };
        let signpost = async {
            match http {
                Some(listener) => {
                    accept(listener, move |stream, link| plain(Arc::clone(&web), stream, link, port)).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::join!(page, signpost);
    }
}

/// Open connections, oldest first. Dropping a sender ends its connection.
type Open = Arc<Mutex<VecDeque<(Origin, oneshot::Sender<()>)>>>;

async fn accept<F, W>(listener: TcpListener, serve: F)
where
    F: Fn(TcpStream, Link) -> W,
    W: Future<Output = ()> + Send + 'static,
{
    let open = Open::default();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: it passes or it does not, but haste helps neither.
                tracing::warn!(%error, "web page");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let Ok(local) = stream.local_addr() else { continue };
        let _ = stream.set_nodelay(true);
        let origin = Origin::from(peer.ip());
        let (place, displaced) = oneshot::channel::<()>();
        {
            let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|(_, connection)| !connection.is_closed());
            if open.iter().filter(|(from, _)| *from == origin).count() >= FROM_ONE {
                let oldest = open.iter().position(|(from, _)| *from == origin);
                oldest.and_then(|oldest| open.remove(oldest));
            }
            while open.len() >= CONNECTIONS {
                open.pop_front();
            }
            open.push_back((origin, place));
        }
        let work = tokio::time::timeout(LIFE, serve(stream, Link { peer, local }));
        tokio::spawn(async move {
            tokio::select! {
                _ = work => {}
                _ = displaced => {}
            }
        });
    }
}

async fn connection<S>(web: Arc<Web>, router: Router, link: Link, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (web, router) = (Arc::clone(&web), router.clone());
        async move { Ok::<_, Infallible>(guard::answer(&web, &router, link, request).await) }
    });
    if let Err(error) = builder().serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "web connection");
    }
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_headers(64).max_buf_size(HEAD_BYTES);
    builder
}

/// Plain HTTP says where the page is and why a browser will warn. It takes nothing.
async fn plain(web: Arc<Web>, stream: TcpStream, link: Link, https: u16) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let web = Arc::clone(&web);
        async move {
            let text = texts::choose(request.headers());
            let host = guard::host(request.headers(), request.uri().authority().is_some());
            let ours = host.filter(|host| guard::is_ours(host, &web.hosts, link.local.ip()));
            let is_root = request.method() == hyper::Method::GET && request.uri().path() == "/";
            Ok::<_, Infallible>(pages::signpost(text, ours, https, is_root))
        }
    });
    let _ = builder().serve_connection(TokioIo::new(stream), service).await;
}
