//! The loop that takes connections, and what happens on one of them.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::connections::{Connections, Place};
use crate::socket::Socket;
use crate::write_timeout::WriteTimeout;

/// The largest head of a request, and the read size of its body, bytes.
const BUFFER: usize = 64 << 10;
/// Delay before the next attempt if `accept` fails, for example without free file descriptors.
const RECOVERY: Duration = Duration::from_millis(100);

/// Accepts connections and answers with `router` until `stop` is ready. Calls `failed` if `accept` fails.
///
/// The port is free on return. Open connections continue: see [`Connections::stop`] and [`Connections::closed`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    connections: &Arc<Connections>,
    stop: impl Future<Output = ()>,
    failed: impl Fn(&io::Error),
) {
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => return,
            () = accept(&listener, &router, connections, &failed) => {}
        }
    }
}

/// Accepts one connection, and answers on it once there is a place for it.
async fn accept(listener: &TcpListener, router: &Router, connections: &Arc<Connections>, failed: &impl Fn(&io::Error)) {
    match listener.accept().await {
        Ok((stream, _)) => {
            let place = connections.place().await;
            tokio::spawn(answer(stream, place, router.clone(), Arc::clone(connections)));
        }
        Err(error) => {
            failed(&error);
            sleep(RECOVERY).await;
        }
    }
}

async fn answer(stream: TcpStream, place: Place, router: Router, connections: Arc<Connections>) {
    // Small messages should not wait for a packet to fill. If this fails, they are only delayed.
    let _ = stream.set_nodelay(true);
    let (limits, place) = (connections.limits(), Arc::new(place));
    let socket = Socket::new(stream, &place);
    let io = TokioIo::new(WriteTimeout::new(socket.clone(), limits.write_time));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request| {
        let (socket, busy, response) = (socket.clone(), socket.begin(), router.call(request));
        async move {
            let _busy = busy;
            tokio::select! {
                biased;
                response = response => response.map_err(|never| match never {}),
                () = socket.gone() => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(BUFFER)
        .half_close(true)
        .serve_connection(io, service)
        .with_upgrades();
    let mut connection = pin!(connection);
    // Errors of a closing client are ignored.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = place.dismissed() => {}
        () = connections.stopped() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
