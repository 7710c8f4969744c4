//! What all requests share.

use std::sync::Arc;
use std::time::Duration;

use impasto_common::Result;
use impasto_engine::default_memory;
use tokio::sync::{Semaphore, watch};

use super::config::{Limits, Observer, ServeConfig, ServeEvent};
use super::fence::Hosts;
use super::gallery::Gallery;
use super::metrics::Metrics;
use super::painters::Painters;

/// Bodies that may be in memory at once, in bodies of the largest size.
const BODIES: usize = 4;
/// The unit in which bodies are counted, bytes.
pub(super) const BODY_UNIT: usize = 1 << 10;

/// The styles, the painters, and what is left of every bound.
pub(super) struct Studio {
    pub(super) gallery: Gallery,
    pub(super) painters: Painters,
    pub(super) metrics: Metrics,
    pub(super) hosts: Hosts,
    pub(super) limits: Limits,
    /// Bytes that one painting may use.
    pub(super) memory: u64,
    /// Room for bodies, in units of [`BODY_UNIT`].
    pub(super) bodies: Arc<Semaphore>,
    /// Room for pictures from the queue until their last byte is sent.
    pub(super) pictures: Arc<Semaphore>,
    /// Room for connections.
    pub(super) connections: Arc<Semaphore>,
    /// Room for cameras.
    pub(super) cameras: Arc<Semaphore>,
    stop: watch::Sender<bool>,
    observer: Observer,
}

impl Studio {
    pub(super) fn new(config: ServeConfig) -> Result<Self> {
        let limits = config.limits;
        let painters = limits.painters;
        let memory = config.memory.unwrap_or_else(default_memory) / painters as u64;
        Ok(Self {
            gallery: Gallery::new(config.styles, memory)?,
            painters: Painters::start(painters, limits.queue)?,
            metrics: Metrics::default(),
            hosts: Hosts::new(config.hosts),
            limits,
            memory,
            bodies: semaphore((BODIES * limits.body).div_ceil(BODY_UNIT)),
            pictures: semaphore(picture_places(&limits)),
            connections: semaphore(limits.connections),
            cameras: semaphore(limits.live),
            stop: watch::Sender::new(false),
            observer: config.observer,
        })
    }

    /// Pictures in hand.
    pub(super) fn pictures_in_hand(&self) -> usize {
        picture_places(&self.limits) - self.pictures.available_permits()
    }

    pub(super) fn tell(&self, event: &ServeEvent) {
        (self.observer)(event);
    }

    /// Tells the notes of a painting.
    pub(super) fn tell_notes(&self, notes: Vec<String>) {
        for note in notes {
            self.tell(&ServeEvent::Failed(note));
        }
    }

    /// Tells everybody that no new work is begun.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Returns once the server stops.
    pub(super) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // The sender is a field of this: it outlives the call.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// Returns once every connection and camera is gone.
    pub(super) async fn empty(&self) {
        for (places, all) in [(&self.connections, self.limits.connections), (&self.cameras, self.limits.live)] {
            // Never closed, so this never fails.
            drop(places.acquire_many(all as u32).await);
        }
    }

    /// In how many seconds a refused client may try again: when the queue has moved on, by what paintings took so far.
    pub(super) fn retry_after(&self) -> Duration {
        let turn = self.metrics.mean_painting() * self.painters.waiting() as u32 / self.limits.painters as u32;
        turn.clamp(Duration::from_secs(1), Duration::from_secs(60))
    }
}

/// What is painted waits for its client: as many again as wait to be painted.
fn picture_places(limits: &Limits) -> usize {
    2 * (limits.painters + limits.queue)
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}
