//! The state shared by all requests.

use std::sync::Arc;
use std::time::Duration;

use impasto_common::Result;
use impasto_engine::default_memory;
use impasto_web::{ConnectionLimits, Connections};
use tokio::sync::Semaphore;

use super::config::{Limits, ServeConfig, ServeEvent, ServeObserver};
use super::gallery::Gallery;
use super::metrics::{Gauges, Metrics};
use super::painters::Painters;

/// Bodies of the largest size that fit into the memory for bodies.
const BODIES: usize = 4;
/// The unit in which bodies are counted, bytes.
pub(super) const BODY_UNIT: usize = 1 << 10;

/// The styles, the painters, and the remaining capacity of every limit.
pub(super) struct Studio {
    pub(super) gallery: Gallery,
    pub(super) painters: Painters,
    pub(super) metrics: Metrics,
    pub(super) limits: Limits,
    /// Bytes that one painting may use.
    pub(super) memory: u64,
    /// Room for bodies, in units of [`BODY_UNIT`].
    pub(super) bodies: Arc<Semaphore>,
    /// Room for pictures from the queue until their last byte is sent.
    pub(super) pictures: Arc<Semaphore>,
    pub(super) connections: Arc<Connections>,
    /// Room for cameras.
    pub(super) cameras: Arc<Semaphore>,
    observer: ServeObserver,
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
            limits,
            memory,
            bodies: semaphore((BODIES * limits.body).div_ceil(BODY_UNIT)),
            pictures: semaphore(picture_places(&limits)),
            connections: Connections::new(ConnectionLimits {
                connections: limits.connections,
                header_time: limits.header_time,
                write_time: limits.write_time,
            }),
            cameras: semaphore(limits.live),
            observer: config.observer,
        })
    }

    /// The work in progress.
    pub(super) fn gauges(&self) -> Gauges {
        Gauges {
            pictures: picture_places(&self.limits) - self.pictures.available_permits(),
            queue_length: self.painters.waiting(),
            connections: self.connections.open(),
            cameras: self.limits.live - self.cameras.available_permits(),
        }
    }

    pub(super) fn tell(&self, event: &ServeEvent) {
        (self.observer)(event);
    }

    /// Reports the notices of a painting, such as a fallback to the CPU.
    pub(super) fn tell_notes(&self, notes: Vec<String>) {
        for note in notes {
            self.tell(&ServeEvent::Failed(note));
        }
    }

    /// Returns once every connection and camera is closed.
    pub(super) async fn closed(&self) {
        self.connections.closed().await;
        // Never closed, so this never fails.
        drop(self.cameras.acquire_many(self.limits.live as u32).await);
    }

    /// When a refused client should retry: when the queue should be empty, estimated from the mean time of a picture so
    /// far.
    pub(super) fn retry_after(&self) -> Duration {
        let turn = self.metrics.mean_painting() * self.painters.waiting() as u32 / self.limits.painters as u32;
        turn.clamp(Duration::from_secs(1), Duration::from_secs(60))
    }
}

/// Finished paintings are held until their clients have read them. The limit for them equals the number of pictures being
/// painted or waiting.
fn picture_places(limits: &Limits) -> usize {
    2 * (limits.painters + limits.queue)
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}
