//! Listens on this machine for the end of a login: one path, this host alone, and only the answer that is waited for. It exchanges
//! nothing.

use std::convert::Infallible;
use std::sync::Arc;

use abide_mcp::Login;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Where a login leads back to.
const PATH: &str = "/callback";

/// What the browser shows in the end.
const PAGE: &str = "<!doctype html><meta charset=utf-8><title>abide</title><p>abide has its answer: you can close this window, and look \
                    at the terminal.";

/// Somebody listens as long as this lives.
pub(super) struct Callback {
    led: mpsc::Receiver<String>,
    _serving: JoinSet<()>,
}

impl Callback {
    pub(super) fn listen(listener: Option<TcpListener>, login: Arc<Login>) -> Self {
        let (to, led) = mpsc::channel(1);
        let mut serving = JoinSet::new();
        if let Some(listener) = listener {
            serving.spawn(serve(listener, login, to));
        }
        Self { led, _serving: serving }
    }

    /// The next address that a browser was led back to; `None` if nobody listens.
    pub(super) async fn next(&mut self) -> Option<String> {
        self.led.recv().await
    }
}

async fn serve(listener: TcpListener, login: Arc<Login>, to: mpsc::Sender<String>) {
    let Ok(here) = listener.local_addr() else { return };
    // By the name by which the authorization server knows it.
    let here = login.redirect_uri(here.port());
    let here: Arc<str> = here.trim_start_matches("http://").trim_end_matches(PATH).into();
    let mut open = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (login, to, here) = (Arc::clone(&login), to.clone(), Arc::clone(&here));
        let service = service_fn(move |request: Request<Incoming>| {
            let (login, to, here) = (Arc::clone(&login), to.clone(), Arc::clone(&here));
            async move { Ok::<_, Infallible>(answer(&request, &here, &login, &to)) }
        });
        open.spawn(async move {
            // A browser that goes away has no more to say.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while open.try_join_next().is_some() {}
    }
}

fn answer(request: &Request<Incoming>, here: &str, login: &Login, to: &mpsc::Sender<String>) -> Response<Full<Bytes>> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if host != Some(here) {
        return page(StatusCode::FORBIDDEN, "");
    }
    if request.method() != Method::GET || request.uri().path() != PATH {
        return page(StatusCode::NOT_FOUND, "");
    }
    let led = format!("http://{here}{}", request.uri());
    if !login.is_answer(&led).unwrap_or(false) {
        return page(StatusCode::BAD_REQUEST, "<p>This is not the end of the login that abide waits for.");
    }
    match to.try_send(led) {
        Ok(()) => page(StatusCode::OK, PAGE),
        Err(_) => page(StatusCode::CONFLICT, "<p>abide has its answer already."),
    }
}

fn page(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/html; charset=utf-8"));
    // The address has the code in it.
    headers.insert(header::REFERRER_POLICY, header::HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}
