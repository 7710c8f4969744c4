//! Bounds the number of connections. If all places are taken, the connection that has been idle longest is closed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};

/// How long a connection may wait for a request before it can lose its place to another.
const IDLE: Duration = Duration::from_secs(1);
/// How often a new connection without a place checks for an idle connection to replace.
const SEARCH: Duration = Duration::from_millis(20);

/// Limits for connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// The largest number of open connections.
    pub connections: usize,
    /// The time limit for the head of a request, counted from the end of the previous answer.
    pub header_time: Duration,
    /// The time limit for a client to read some of its answer.
    pub write_time: Duration,
}

/// The connections of a server.
#[derive(Debug)]
pub struct Connections {
    limits: ConnectionLimits,
    places: Arc<Semaphore>,
    idle: Mutex<IdleConnections>,
    stop: watch::Sender<bool>,
}

/// Connections that wait for a request, ordered by when they became idle.
#[derive(Debug, Default)]
struct IdleConnections {
    begun: u64,
    waiting: BTreeMap<u64, (Instant, Arc<Notify>)>,
}

impl Connections {
    /// An empty set of connections.
    #[must_use]
    pub fn new(limits: ConnectionLimits) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { limits, places, idle: Mutex::default(), stop: watch::Sender::new(false) })
    }

    /// The number of open connections. Connections upgraded to a WebSocket are not counted.
    #[must_use]
    pub fn open(&self) -> usize {
        self.limits.connections - self.places.available_permits()
    }

    /// Signals all connections to start no new work.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Returns once the server stops.
    pub async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // The sender is a field of this: it outlives the call.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// Returns once every connection is closed.
    pub async fn closed(&self) {
        // Never closed, so this never fails.
        drop(self.places.acquire_many(self.limits.connections as u32).await);
    }

    pub(crate) fn limits(&self) -> &ConnectionLimits {
        &self.limits
    }

    /// A place for a connection, once there is one.
    pub(crate) async fn place(self: &Arc<Self>) -> Place {
        loop {
            // Only a timeout leads here: the semaphore is never closed.
            if let Ok(Ok(permit)) = timeout(SEARCH, Arc::clone(&self.places).acquire_owned()).await {
                return Place::new(Arc::clone(self), permit);
            }
            self.dismiss_idle();
        }
    }

    /// Closes the connection that has been idle for longest, if it has been for a while.
    fn dismiss_idle(&self) {
        let mut idle = self.idle();
        if let Some(longest) = idle.waiting.first_entry()
            && longest.get().0.elapsed() >= IDLE
        {
            longest.remove().1.notify_one();
        }
    }

    fn idle(&self) -> MutexGuard<'_, IdleConnections> {
        // No code that holds this lock can panic.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection. Dropping it frees the place.
pub(crate) struct Place {
    connections: Arc<Connections>,
    dismissed: Arc<Notify>,
    /// The number under which it is registered as idle.
    idle: Mutex<Option<u64>>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn new(connections: Arc<Connections>, permit: OwnedSemaphorePermit) -> Self {
        let place = Self { connections, dismissed: Arc::default(), idle: Mutex::new(None), _permit: permit };
        place.wait();
        place
    }

    /// Marks the connection as idle: it may lose its place after a while.
    pub(crate) fn wait(&self) {
        let mut own = self.own();
        if own.is_none() {
            let mut idle = self.connections.idle();
            idle.begun += 1;
            let number = idle.begun;
            idle.waiting.insert(number, (Instant::now(), Arc::clone(&self.dismissed)));
            *own = Some(number);
        }
    }

    /// Marks the connection as busy with a request.
    pub(crate) fn work(&self) {
        if let Some(number) = self.own().take() {
            self.connections.idle().waiting.remove(&number);
        }
    }

    /// Returns once the place has been given to another connection.
    pub(crate) async fn dismissed(&self) {
        self.dismissed.notified().await;
    }

    fn own(&self) -> MutexGuard<'_, Option<u64>> {
        // No code that holds this lock can panic.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.work();
    }
}
