//! From pictures to samples of tiles: reads, pads, gates or normalises pixels, and evaluates them at the points.
//!
//! Six rows of a strip are transformed down their columns first, a register of neighbouring columns at a time, into six
//! rows of scratch. There the padding is applied. Then each row is cut into the six columns of every tile, a register for
//! each, and transformed along the rows.

use super::blocks::Strip;
use super::lanes::Lanes;
use super::transform::{self, DEAD, OUTPUTS, POINTS};
use crate::layout::{Before, Layout, Normal};
use crate::pad::Axis;

/// How [`TileSource::sample`] writes: as it is; in a pair of bf16 behind what is there; in a pair before a zero.
pub(super) const ALONE: u8 = 0;
pub(super) const BEHIND: u8 = 1;
pub(super) const BEFORE_ZERO: u8 = 2;

/// Floats in a row of scratch: the columns that a register's worth of tiles read, and the store that runs past them.
const PITCH: usize = 96;

/// What a missing row reads.
static ZEROS: [f32; PITCH] = [0.0; PITCH];

/// The source pixel of position `i`, counted from the first pixel before upsampling; `None` is a zero. Positions beyond one
/// cell of reflection padding affect no output, but must not read farther back than a tile.
fn continued(axis: &Axis, i: isize) -> Option<usize> {
    let last = axis.source as isize - 1;
    let inside = match (axis.reflect, axis.upsample) {
        (false, _) => i,
        (true, 1) => last - (last - i.abs().min(last + 1)).abs(),
        (true, _) => i.clamp(0, last),
    };
    (0..=last).contains(&inside).then_some(inside as usize)
}

/// The pixel in cell `i`. Beyond the padding, a mirroring axis repeats its last cell: no output depends on those cells,
/// but [`DEAD`] relies on equal pairs.
fn pixel(axis: &Axis, i: usize) -> Option<usize> {
    let last = (axis.source * axis.upsample) as isize + 2 * axis.lead - 1;
    axis.pixel(if axis.reflect { i.min(last as usize) } else { i })
}

/// Pictures, read in tiles of 6x6 cells for products with 3x3 weights, or in tiles of 4x4 that meet (`CELLS`).
#[derive(Debug, Clone, Copy)]
pub(super) struct TileSource<'a> {
    pub(super) data: &'a [f32],
    pub(super) layout: Layout,
    /// The transformation of the pixels; padding zeros stay zeros.
    pub(super) before: Before<'a>,
    /// Those of the pictures, times [`Self::pieces`] squared.
    pub(super) channels: usize,
    /// Pieces of a kernel along one axis: 1, or 3 for 9x9 kernels in pieces of 3x3. Every channel of the pictures then counts as
    /// nine, each read from three cells further right, and after three of them three further down.
    pub(super) pieces: usize,
    pub(super) rows: Axis,
    pub(super) columns: Axis,
}

/// The pixels of one channel that a strip reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// Where each of the six rows begins, from the start of the channel; `None` is a row of zeros.
    rows: [Option<usize>; POINTS],
    /// Pixels of a row that exist.
    len: usize,
    /// Column of the first tile's first cell, before upsampling; and cells to the first pixel and to the end.
    begin: isize,
    shift: usize,
    end: usize,
}

/// Rows of samples along one axis, waiting for the other.
#[repr(align(64))]
pub(super) struct Rows([[f32; PITCH]; POINTS]);

impl Rows {
    pub(super) fn new() -> Self {
        Self([[0.0; PITCH]; POINTS])
    }
}

impl Window {
    /// Where the rows of the channel at `plane` begin.
    #[inline(always)]
    unsafe fn start(&self, plane: *const f32) -> [*const f32; POINTS] {
        let mut start = [ZEROS.as_ptr(); POINTS];
        for (start, row) in start.iter_mut().zip(self.rows) {
            if let Some(row) = row {
                // SAFETY: `plane` is where the window's channel begins, and `TileSource::window` asserted that its rows lie within
                // the data.
                *start = unsafe { plane.add(row) };
            }
        }
        start
    }
}

/// A [`Normal`] in registers.
struct Registers<S: Lanes> {
    mean: S::V,
    factor: S::V,
    bias: S::V,
    floor: S::V,
}

impl<S: Lanes> Registers<S> {
    #[inline(always)]
    unsafe fn new(normal: &Normal) -> Self {
        let Normal { mean, factor, bias, floor } = *normal;
        // SAFETY: register arithmetic; the caller has enabled the instructions of `S`.
        unsafe { Self { mean: S::splat(mean), factor: S::splat(factor), bias: S::splat(bias), floor: S::splat(floor) } }
    }

    #[inline(always)]
    unsafe fn of(&self, x: S::V) -> S::V {
        // SAFETY: register arithmetic; the caller has enabled the instructions of `S`.
        unsafe { S::max(S::mul_add(S::sub(x, self.mean), self.factor, self.bias), self.floor) }
    }
}

impl TileSource<'_> {
    /// Where a channel of a picture begins.
    #[inline(always)]
    fn plane(&self, (picture, channel): (usize, usize)) -> usize {
        let (channel, right) = if self.pieces == 1 { (channel, 0) } else { (channel / 9, 3 * (channel % 3)) };
        picture * self.layout.picture + channel * self.layout.plane + right
    }

    /// Which of a strip's windows shows a channel: the row of its piece of the kernel.
    #[inline(always)]
    pub(super) fn piece(&self, channel: usize) -> usize {
        if self.pieces == 1 { 0 } else { channel / 3 % 3 }
    }

    /// What `strip` reads: a window for each row of pieces.
    ///
    /// # Panics
    ///
    /// If that is not all stored.
    pub(super) fn windows<const CELLS: usize>(&self, strip: &Strip) -> impl Iterator<Item = Window> {
        (0..self.pieces).map(|piece| self.window::<CELLS>(strip, 3 * piece))
    }

    fn window<const CELLS: usize>(&self, strip: &Strip, down: usize) -> Window {
        let Axis { source: width, upsample, lead, .. } = self.columns;
        // An upsampled tile begins amid a pair of equal pixels.
        let begin = ((OUTPUTS * strip.column) as isize - lead - (upsample as isize - 1)) / upsample as isize;
        let end = OUTPUTS / upsample * strip.tiles + CELLS - OUTPUTS;
        let first = begin.clamp(0, width as isize) as usize;
        let last = (begin + end as isize).clamp(first as isize, width as isize) as usize;
        let row = |i| if i < CELLS { pixel(&self.rows, OUTPUTS * strip.row + down + i) } else { None };
        let rows: [_; POINTS] = std::array::from_fn(|i| row(i).map(|y| self.layout.at(0, 0, y) + first));
        let reach = rows.iter().flatten().max().map_or(0, |&row| row + last - first);
        assert!(
            self.plane((strip.picture, self.channels - 1)) + reach <= self.data.len(),
            "a strip lies within its rows"
        );
        let complete = rows.iter().take(CELLS).all(Option::is_some);
        assert!(complete || !matches!(self.before, Before::Normalise(_)), "only what mirrors its border is normalised");
        Window { rows, len: last - first, begin, shift: (first as isize - begin) as usize, end }
    }

    /// Samples what `window` shows of a channel of a picture, both in `plane`; sample `p` of the tiles goes to
    /// `to + p * stride`, `room` floats at most.
    ///
    /// With `FOLD`, samples at the point [`DEAD`] are left out. `HOW` is [`ALONE`], [`BEHIND`] or [`BEFORE_ZERO`].
    ///
    /// # Safety
    ///
    /// The caller has enabled the instructions of `S`. `window` was made by this source. From `to + p * stride` on, the smaller of
    /// `room` and a register's floats may be written, and with [`BEHIND`] read.
    #[inline(always)]
    pub(super) unsafe fn sample<S: Lanes, const CELLS: usize, const FOLD: bool, const HOW: u8>(
        &self,
        window: &Window,
        plane: (usize, usize),
        rows: &mut Rows,
        to: *mut f32,
        stride: usize,
        room: usize,
    ) {
        // SAFETY: by this function's contract; `rows` outlives the calls.
        unsafe { self.down_the_columns::<S, CELLS>(window, plane, rows) };
        let mut p = 0;
        for (_, row) in rows.0.iter().enumerate().filter(|&(i, _)| !(FOLD && i == DEAD)) {
            // SAFETY: the caller has enabled the instructions of `S`, and a row is what `tiles` reads.
            let samples = unsafe { Self::transform::<S, CELLS>(self.tiles::<S, CELLS>(row.as_ptr())) };
            for (_, &sample) in samples.iter().enumerate().filter(|&(j, _)| !(FOLD && j == DEAD)) {
                // SAFETY: by this function's contract; `p` is below the number of points.
                unsafe { Self::store::<S, HOW>(to.add(p * stride), sample, room) };
                p += 1;
            }
        }
    }

    /// Writes the samples of a register's tiles at one point, `room` of them at most.
    #[inline(always)]
    unsafe fn store<S: Lanes, const HOW: u8>(to: *mut f32, sample: S::V, room: usize) {
        // SAFETY: the caller has enabled the instructions of `S`, and vouches for the smaller of `room` and a register's floats.
        unsafe {
            let sample = match HOW {
                BEHIND if room < S::LANES => S::pair(S::load_part(to, room), sample),
                BEHIND => S::pair(S::load(to), sample),
                BEFORE_ZERO => S::pair(sample, S::splat(0.0)),
                _ => sample,
            };
            if room < S::LANES { S::store_part(to, sample, room) } else { S::store(to, sample) }
        }
    }

    /// The transform for tiles of this size; of four cells, the last two do not count.
    #[inline(always)]
    unsafe fn transform<S: Lanes, const CELLS: usize>(cells: [S::V; POINTS]) -> [S::V; POINTS] {
        // SAFETY: register arithmetic; the caller has enabled the instructions of `S`.
        unsafe {
            if CELLS == OUTPUTS {
                transform::output_adjoint::<S>([cells[0], cells[1], cells[2], cells[3]])
            } else {
                transform::input::<S>(cells)
            }
        }
    }

    /// The six columns of each tile, as registers over the tiles.
    #[inline(always)]
    unsafe fn tiles<S: Lanes, const CELLS: usize>(&self, row: *const f32) -> [S::V; POINTS] {
        // SAFETY: the caller has enabled the instructions of `S`, and `row` is one of [`Rows`]: `PITCH` floats, which are more than
        // the 4 registers and 2 floats that are read here, also with 16 lanes.
        unsafe {
            let at = |i: usize| S::load(row.add(i * S::LANES));
            if self.columns.upsample == 1 {
                let [a, b, c, d] = S::deinterleave4([at(0), at(1), at(2), at(3)]);
                if CELLS == OUTPUTS {
                    return [a, b, c, d, S::splat(0.0), S::splat(0.0)];
                }
                let next = |v, i: usize| S::shift_in(v, *row.add(OUTPUTS * S::LANES + i));
                [a, b, c, d, next(a, 0), next(b, 1)]
            } else {
                let [a, b] = S::deinterleave2([at(0), at(1)]);
                let next = |v, i: usize| S::shift_in(v, *row.add(2 * S::LANES + i));
                let c = next(a, 0);
                [a, b, b, c, c, next(b, 1)]
            }
        }
    }

    /// Prefetches the part of a plane in `window`. Its short rows are too far apart for the hardware prefetcher: without
    /// this, loading them takes longer than all computation on them.
    #[inline(always)]
    pub(super) fn prefetch<S: Lanes>(&self, window: &Window, plane: (usize, usize)) {
        let plane = self.plane(plane);
        let gate = if let Before::Gate(gate) = self.before { Some(gate) } else { None };
        for data in [Some(self.data), gate].into_iter().flatten() {
            for row in window.rows.iter().flatten() {
                for x in (0..window.len + 15).step_by(16) {
                    S::prefetch(data.as_ptr().wrapping_add(plane + row + x));
                }
            }
        }
    }

    /// Transforms along the columns: pixels of six rows to six rows of samples, continued beyond the border.
    #[inline(always)]
    unsafe fn down_the_columns<S: Lanes, const CELLS: usize>(
        &self,
        window: &Window,
        plane: (usize, usize),
        rows: &mut Rows,
    ) {
        let Window { len, begin, shift, end, .. } = *window;
        let start = self.plane(plane);
        // SAFETY: the caller has enabled the instructions of `S`. `window` was made by this source, which asserted that `len` floats
        // follow in each row; a gate has as many floats as the data. Missing rows read `ZEROS`, which has more than `len`. A store
        // ends less than a register after `shift + len`, within the `PITCH` floats of a row.
        unsafe {
            let pixels = window.start(self.data.as_ptr().add(start));
            let gates = match self.before {
                Before::Gate(gate) => Some(window.start(gate.as_ptr().add(start))),
                _ => None,
            };
            let normal = match self.before {
                Before::Normalise(normals) => Some(Registers::<S>::new(&normals[plane.1])),
                _ => None,
            };
            let mut x = 0;
            while x < len {
                let mut columns = Self::load_columns::<S, CELLS>(pixels, gates, x, len - x);
                if let Some(normal) = &normal {
                    for column in columns.iter_mut().take(CELLS) {
                        *column = normal.of(*column);
                    }
                }
                for (row, sample) in rows.0.iter_mut().zip(Self::transform::<S, CELLS>(columns)) {
                    S::store(row.as_mut_ptr().add(shift + x), sample);
                }
                x += S::LANES;
            }
        }
        for i in (0..shift.min(end)).chain(shift + len..end) {
            let copied = continued(&self.columns, begin + i as isize).map(|x| (x as isize - begin) as usize);
            for row in &mut rows.0 {
                row[i] = copied.map_or(0.0, |from| row[from]);
            }
        }
    }

    /// A register of pixels at column `x` from each row, gated. `left` columns exist from there on.
    #[inline(always)]
    unsafe fn load_columns<S: Lanes, const CELLS: usize>(
        pixels: [*const f32; POINTS],
        gates: Option<[*const f32; POINTS]>,
        x: usize,
        left: usize,
    ) -> [S::V; POINTS] {
        // SAFETY: the caller has enabled the instructions of `S`, and vouches for `left` floats from column `x` of each row.
        unsafe {
            let load = |from: *const f32| {
                if left < S::LANES { S::load_part(from.add(x), left) } else { S::load(from.add(x)) }
            };
            let mut columns = [S::splat(0.0); POINTS];
            for i in 0..CELLS {
                columns[i] = load(pixels[i]);
                if let Some(gates) = gates {
                    columns[i] = S::keep_where_positive(columns[i], load(gates[i]));
                }
            }
            columns
        }
    }
}
