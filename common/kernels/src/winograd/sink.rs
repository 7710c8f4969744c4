//! Turns products at the points into output pictures: the transform to 4x4 outputs, bias and ReLU.

use super::blocks::Strip;
use super::lanes::Lanes;
use super::transform::{self, DEAD, OUTPUTS, POINTS};
use crate::layout::Layout;
use crate::tally::Tally;

/// The pictures that a correlation writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sink<'a> {
    pub(super) data: *mut f32,
    pub(super) layout: Layout,
    /// Rows and columns of a picture.
    pub(super) height: usize,
    pub(super) width: usize,
    /// Whether a pixel is the sum over 2x2 outputs: the adjoint of upsampling.
    pub(super) pairs: bool,
    pub(super) bias: Option<&'a [f32]>,
    /// Whether negative results become 0.
    pub(super) relu: bool,
}

// SAFETY: a sink may move to another thread because the buffer behind `data` outlives the tasks: whoever makes a sink borrows
// that buffer mutably until all tasks are done.
unsafe impl Send for Sink<'_> {}
// SAFETY: threads may share a sink because `write` is the only access to `data`, and demands that no two write one strip.
unsafe impl Sync for Sink<'_> {}

impl Sink<'_> {
    /// Outputs of a tile along one axis.
    pub(super) fn tile(&self) -> usize {
        if self.pairs { OUTPUTS / 2 } else { OUTPUTS }
    }

    /// Writes one channel of `strip`; product `p` of the tiles is at `from + p * stride`.
    ///
    /// With `FOLD`, products at the point [`DEAD`] do not exist.
    ///
    /// # Safety
    ///
    /// The caller has enabled the instructions of `S`. A register can be read at `from + p * stride` for every point. `strip` lies
    /// in the pictures, `data` holds them all, and no other thread touches the strip's pixels of this channel.
    #[inline(always)]
    pub(super) unsafe fn write<S: Lanes, const FOLD: bool>(
        &self,
        strip: &Strip,
        channel: usize,
        from: *const f32,
        stride: usize,
        tally: &mut Option<Tally<S>>,
    ) {
        let tile = self.tile();
        let (top, left) = (strip.row * tile, strip.column * tile);
        let count = (strip.tiles * tile).min(self.width - left);
        // SAFETY: by this function's contract. `rows` and `count` clip the tiles to the picture, so that what is written from `to` on
        // lies in rows of the strip's channel.
        unsafe {
            let bias = S::splat(self.bias.map_or(0.0, |bias| bias[channel]));
            let to = self.data.add(self.layout.at(strip.picture, channel, top) + left);
            let pitch = self.layout.row;
            let rows = (self.height - top).min(tile);
            if FOLD && self.pairs {
                let columns = Self::columns::<S, FOLD, 2>(from, stride, |m| transform::output_pairs::<S>(m));
                for (y, &row) in columns.iter().enumerate().take(rows) {
                    let row = S::interleave2(transform::output_pairs::<S>(row));
                    self.store::<S, 2>(to.add(y * pitch), row, bias, count, tally);
                }
            } else {
                let columns = Self::columns::<S, FOLD, OUTPUTS>(from, stride, |m| transform::output::<S>(m));
                for (y, &row) in columns.iter().enumerate().take(rows) {
                    let row = S::interleave4(transform::output::<S>(row));
                    self.store::<S, OUTPUTS>(to.add(y * pitch), row, bias, count, tally);
                }
            }
        }
    }

    /// Prefetches the pixels of one channel of `strip`, for the same reason as [`super::source::TileSource::prefetch`].
    #[inline(always)]
    pub(super) fn prefetch<S: Lanes>(&self, strip: &Strip, channel: usize) {
        let tile = self.tile();
        let (top, left) = (strip.row * tile, strip.column * tile);
        let start = self.layout.at(strip.picture, channel, top);
        for row in 0..tile {
            for x in (left..left + strip.tiles * tile + 15).step_by(16) {
                S::prefetch(self.data.wrapping_add(start + row * self.layout.row + x));
            }
        }
    }

    /// Transforms along the columns.
    #[inline(always)]
    unsafe fn columns<S: Lanes, const FOLD: bool, const N: usize>(
        from: *const f32,
        stride: usize,
        transform: impl Fn([S::V; POINTS]) -> [S::V; N],
    ) -> [[S::V; POINTS]; N] {
        // SAFETY: by the contract of `write`, whose `from` and `stride` these are: slots are numbered as the points are.
        unsafe {
            let zero = S::splat(0.0);
            let mut rows = [[zero; POINTS]; N];
            let side = if FOLD { POINTS - 1 } else { POINTS };
            let slot = |i: usize| if FOLD && i > DEAD { i - 1 } else { i };
            for j in 0..POINTS {
                if FOLD && j == DEAD {
                    continue;
                }
                let mut products = [zero; POINTS];
                for (i, product) in products.iter_mut().enumerate() {
                    if !(FOLD && i == DEAD) {
                        *product = S::load(from.add((slot(i) * side + slot(j)) * stride));
                    }
                }
                for (row, value) in rows.iter_mut().zip(transform(products)) {
                    row[j] = value;
                }
            }
            rows
        }
    }

    /// Adds the bias to a row of outputs, applies the ReLU and writes the first `count` of them.
    #[inline(always)]
    unsafe fn store<S: Lanes, const N: usize>(
        &self,
        to: *mut f32,
        row: [S::V; N],
        bias: S::V,
        count: usize,
        tally: &mut Option<Tally<S>>,
    ) {
        // SAFETY: by the contract of `write`: the instructions of `S` are enabled, and `count` floats from `to` on are this strip's.
        unsafe {
            for (i, &v) in row.iter().enumerate() {
                let v = S::add(v, bias);
                let v = if self.relu { S::max(v, S::splat(0.0)) } else { v };
                let left = count.saturating_sub(i * S::LANES);
                if let Some(tally) = tally {
                    tally.add(v, left);
                }
                if left >= S::LANES {
                    S::store(to.add(i * S::LANES), v);
                } else if left > 0 {
                    S::store_part(to.add(i * S::LANES), v, left);
                }
            }
        }
    }
}
