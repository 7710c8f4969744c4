//! The CPU engine: packed weights, and buffers that are reused from one picture to the next.

use std::fmt;
use std::sync::Mutex;

use super::layer::PackedLayer;
use super::memory::{MemoryPlan, RowsFacts};
use super::painting::Painting;
use super::schedule::Schedule;
use super::store::Pool;
use super::{PaintPrecision, Rows, Sink, Statistics};
use impasto_common::network::Network;
use impasto_common::weights::Tensors;
use impasto_error::{Error, Result};
use impasto_kernels::simd::Level;

/// One style's network, ready to paint.
pub struct Engine {
    pub(super) network: Network,
    pub(super) schedule: Schedule,
    pub(super) layers: Vec<PackedLayer>,
    /// Buffers that are reused from one picture to the next.
    pool: Mutex<Pool>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("network", &self.network).finish_non_exhaustive()
    }
}

impl Engine {
    /// Packs the weights of a network, named as its description names them, for this machine.
    ///
    /// # Errors
    ///
    /// If the description is invalid, a tensor is missing or has another shape than described, or the CPU does not support
    /// `precision`.
    pub fn new(network: &Network, tensors: &Tensors, precision: PaintPrecision) -> Result<Self> {
        precision.check()?;
        Self::with_level(network, tensors, precision, Level::detect())
    }

    pub(super) fn with_level(
        network: &Network,
        tensors: &Tensors,
        precision: PaintPrecision,
        level: Level,
    ) -> Result<Self> {
        network.validate()?;
        let schedule = Schedule::new(network);
        let how = (level, precision == PaintPrecision::Bf16);
        let kernels = schedule.layers.iter().map(|layer| layer.kernel).enumerate();
        let layers = kernels.map(|(index, kernel)| PackedLayer::new(network, index, tensors, kernel, how));
        Ok(Self { layers: layers.collect::<Result<_>>()?, schedule, network: network.clone(), pool: Mutex::default() })
    }

    /// The network's description.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Paints `picture` into `sink`, using about `memory` bytes besides the weights, the picture and the sink;
    /// [`default_memory`](super::default_memory) is a good choice. Less memory takes longer. If memory is too small even
    /// so, results are kept in unnamed files in the folder for temporary files.
    ///
    /// The picture's normalizations follow `statistics`: [`Statistics::own`], or those of the frames before it, see
    /// [`Statistics::over_frames`].
    ///
    /// # Errors
    ///
    /// If a side of the picture is shorter than [`Network::smallest_side`], `memory` is too small for a few rows of the
    /// picture, there is no room for temporary files, or the picture or the sink fails.
    pub fn paint_steadily(
        &self,
        picture: &mut dyn Rows,
        memory: u64,
        statistics: &mut Statistics,
        sink: &mut Sink,
    ) -> Result<()> {
        let (height, width) = picture.size();
        let smallest = self.network.smallest_side();
        if height.min(width) < smallest {
            let (height, width) = picture.own_size();
            return Err(Error::new(format!(
                "a picture of {width}x{height} pixels is too small: both sides need at least {smallest}"
            )));
        }
        let plan = MemoryPlan::new(&self.network, &self.schedule, (height, width), RowsFacts::of(picture), memory)?;
        // Two pictures painted at once with one engine each have a pool; the one returned last is kept.
        let mut pool = self.pool.lock().map(|mut pool| std::mem::take(&mut *pool)).unwrap_or_default();
        if plan.is_frugal() {
            pool = Pool::frugal();
        }
        let painted = self.paint_planned(picture, &plan, &mut pool, statistics, sink);
        if let Ok(mut kept) = self.pool.lock() {
            *kept = if plan.is_frugal() { Pool::default() } else { pool };
        }
        painted
    }

    pub(super) fn paint_planned(
        &self,
        picture: &mut dyn Rows,
        plan: &MemoryPlan,
        pool: &mut Pool,
        statistics: &mut Statistics,
        sink: &mut Sink,
    ) -> Result<()> {
        statistics.rewind();
        Painting { engine: self, plan, pool, statistics }.paint(picture, sink)
    }

    /// Frees the memory that is kept for the next picture, which then takes a little longer.
    pub fn release(&self) {
        if let Ok(mut kept) = self.pool.lock() {
            *kept = Pool::default();
        }
    }
}
