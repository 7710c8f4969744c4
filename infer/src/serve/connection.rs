//! Connections: taken, bounded in number and patience, and let go when the server stops.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::config::ServeEvent;
use super::patience::Patient;
use super::routes;
use super::studio::Studio;

/// Bytes of a request's head, and of what is read of its body at a time.
const BUFFER: usize = 64 << 10;
/// Until the next try where the system gives no connection, such as without free file descriptors.
const RECOVERY: Duration = Duration::from_millis(100);

/// Answers until `shutdown` is ready; then finishes what is under way.
pub(super) async fn serve(listener: TcpListener, studio: &Arc<Studio>, shutdown: impl Future<Output = ()>) {
    let mut shutdown = pin!(shutdown);
    let router = routes::router(studio);
    let warming = tokio::spawn(Arc::clone(studio).warm());
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            () = accept(&listener, &router, studio) => {}
        }
    }
    drop(listener);
    warming.abort();
    studio.stop();
    // Whoever is not done by then is cut off.
    let _ = timeout(studio.limits.grace, studio.empty()).await;
}

/// Takes one connection once there is room for it.
async fn accept(listener: &TcpListener, router: &Router, studio: &Arc<Studio>) {
    // Never closed, so there is always a permit in the end.
    let Ok(place) = Arc::clone(&studio.connections).acquire_owned().await else { return };
    let stream = match listener.accept().await {
        Ok((stream, _)) => stream,
        Err(error) => {
            studio.tell(&ServeEvent::Failed(format!("cannot take a connection: {error}")));
            return sleep(RECOVERY).await;
        }
    };
    let (router, studio) = (router.clone(), Arc::clone(studio));
    tokio::spawn(async move {
        answer(stream, router, &studio).await;
        drop(place);
    });
}

async fn answer(stream: TcpStream, router: Router, studio: &Studio) {
    // A frame of a camera should not wait for the next one to fill a packet. Without it, it is late, no more.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Patient::new(stream, studio.limits.write_time));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(studio.limits.header_time)
        .max_buf_size(BUFFER)
        .serve_connection(io, TowerToHyperService::new(router))
        .with_upgrades();
    let mut connection = pin!(connection);
    // How a client ends its connection is its own affair.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = studio.stopped() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
