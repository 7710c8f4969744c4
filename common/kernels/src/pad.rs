//! Upsampling and padding of a picture for a convolution, and the adjoint.
//!
//! Rows are stored as `phases` segments, pixels `x = 0, phases, 2 phases..` first, so that a convolution with that stride
//! reads neighbouring floats.

use super::layout::{Before, Layout, Normal};
use super::multiversion::multiversion;

/// The channels of one picture.
#[derive(Debug, Clone, Copy)]
pub struct Planes<'a> {
    /// The values.
    pub data: &'a [f32],
    /// Where they lie; the number of the picture is 0.
    pub layout: Layout,
    /// The transformation of the values before padding. Padding zeros stay zeros.
    pub before: Before<'a>,
}

impl<'a> Planes<'a> {
    /// `(channels, height, width)`. Values count as 0 where `mask`, of that shape, is not positive.
    #[must_use]
    pub fn planar(data: &'a [f32], mask: Option<&'a [f32]>, height: usize, width: usize) -> Self {
        Self { data, layout: Layout::planar(0, height, width), before: mask.map_or(Before::Nothing, Before::Gate) }
    }

    /// A row of a channel, and its gate.
    fn row(&self, channel: usize, y: usize, width: usize) -> (&'a [f32], Option<&'a [f32]>) {
        let start = self.layout.at(0, channel, y);
        let gate = if let Before::Gate(gate) = self.before { Some(&gate[start..][..width]) } else { None };
        (&self.data[start..][..width], gate)
    }

    fn normal(&self, channel: usize) -> Option<&Normal> {
        if let Before::Normalise(normals) = self.before { Some(&normals[channel]) } else { None }
    }
}

multiversion! {
    /// Normalises values in place.
    pub(crate) fn normalise(values: &mut [f32], normal: &Normal) {
        for value in values {
            *value = normal.of(*value);
        }
    }
}

/// The mapping of one axis of a picture to the upsampled and padded axis that a convolution reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axis {
    /// Pixels of the picture.
    pub(crate) source: usize,
    /// The upsampling factor: how often each pixel is repeated.
    pub(crate) upsample: usize,
    /// Cells before the first pixel; if negative, that many pixels are skipped.
    pub(crate) lead: isize,
    /// Whether the cells outside mirror the picture (`lead` of them on both sides) instead of being zero.
    pub(crate) reflect: bool,
}

impl Axis {
    /// The source pixel of cell `i`; `None` is a zero.
    pub(crate) fn pixel(&self, i: usize) -> Option<usize> {
        let size = (self.source * self.upsample) as isize;
        let mut at = i as isize - self.lead;
        if self.reflect && at < size + self.lead {
            at = if at < 0 { -at } else { at };
            at = if at >= size { 2 * (size - 1) - at } else { at };
        }
        (0..size).contains(&at).then(|| at as usize / self.upsample)
    }

    /// The first cell and the number of cells that hold the picture itself, within the first `cells`.
    fn interior(&self, cells: usize) -> (usize, usize) {
        let first = self.lead.max(0) as usize;
        let end = (self.lead + (self.source * self.upsample) as isize).clamp(0, cells as isize) as usize;
        (first.min(end), end.saturating_sub(first))
    }
}

/// The layout of a padded picture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PaddedFrame {
    pub(crate) rows: Axis,
    pub(crate) columns: Axis,
    /// Cells in a row that a convolution may read; those beyond the padding are zero.
    pub(crate) width: usize,
    /// Segments of a row: the stride of the convolution, 1 or 2.
    pub(crate) phases: usize,
    /// Floats in a segment: at least `width / phases`, rounded up, and whatever whole registers read beyond.
    pub(crate) segment: usize,
}

impl PaddedFrame {
    /// Floats from one row to the next.
    pub(crate) fn pitch(&self) -> usize {
        self.phases * self.segment
    }

    /// Writes rows `first..first + count` of one channel to `padded`.
    pub(crate) fn pad(&self, picture: &Planes, channel: usize, first: usize, count: usize, padded: &mut [f32]) {
        let source = self.columns.source;
        let normal = picture.normal(channel);
        let mut line = vec![0.0; if self.phases == 1 { 0 } else { self.pitch() }];
        for (i, row) in padded.chunks_exact_mut(self.pitch()).take(count).enumerate() {
            let Some(y) = self.rows.pixel(first + i) else {
                row.fill(0.0);
                continue;
            };
            let (pixels, mask) = picture.row(channel, y, source);
            let filled = if self.phases == 1 { &mut *row } else { &mut line };
            self.pad_row(pixels, mask, filled);
            if let Some(normal) = normal {
                // Reflected pixels are normalised like their originals; zeros stay zeros.
                let (first, count) =
                    if self.columns.reflect { (0, self.width) } else { self.columns.interior(self.width) };
                normalise(&mut filled[first..first + count], normal);
            }
            if self.phases > 1 {
                let (even, odd) = row.split_at_mut(self.segment);
                for ((even, odd), &[a, b]) in even.iter_mut().zip(odd).zip(line.as_chunks().0) {
                    (*even, *odd) = (a, b);
                }
            }
        }
    }

    /// [`Self::pad`] for consecutive channels, one into each of `planes`.
    pub(crate) fn pad_planes<'a>(
        &self,
        picture: &Planes,
        first: usize,
        count: usize,
        planes: impl Iterator<Item = &'a mut [f32]>,
    ) {
        for (channel, plane) in planes.enumerate() {
            self.pad(picture, channel, first, count, plane);
        }
    }

    fn pad_row(&self, pixels: &[f32], mask: Option<&[f32]>, row: &mut [f32]) {
        let (first, count) = self.columns.interior(self.width);
        let skipped = (-self.columns.lead).max(0) as usize;
        let inside = &mut row[first..first + count];
        match (self.columns.upsample, mask) {
            (1, None) => inside.copy_from_slice(&pixels[skipped..][..count]),
            (1, Some(mask)) => {
                for ((cell, &pixel), &mask) in inside.iter_mut().zip(&pixels[skipped..]).zip(&mask[skipped..]) {
                    *cell = if mask > 0.0 { pixel } else { 0.0 };
                }
            }
            (2, None) => {
                let (pairs, last) = inside.as_chunks_mut::<2>();
                for (pair, &pixel) in pairs.iter_mut().zip(pixels) {
                    *pair = [pixel; 2];
                }
                last.fill(pixels[count / 2..].first().copied().unwrap_or(0.0));
            }
            _ => {
                for (i, cell) in inside.iter_mut().enumerate() {
                    *cell = pixels[(skipped + i) / self.columns.upsample];
                }
            }
        }
        for i in (0..first).chain(first + count..row.len()) {
            row[i] = self.columns.pixel(i).filter(|_| i < self.width).map_or(0.0, |x| pixels[x]);
        }
    }

    /// The adjoint of [`Self::pad`] for all rows of one channel: adds every cell of `padded` to the pixel it came from.
    pub(crate) fn fold(&self, padded: &[f32], picture: &mut [f32]) {
        let source = self.columns.source;
        let mut line = vec![0.0; if self.phases == 1 { 0 } else { self.pitch() }];
        for (i, row) in padded.chunks_exact(self.pitch()).enumerate() {
            let Some(y) = self.rows.pixel(i) else { continue };
            let pixels = &mut picture[y * source..][..source];
            if self.phases == 1 {
                self.fold_row(row, pixels);
            } else {
                let (even, odd) = row.split_at(self.segment);
                for ((&even, &odd), pair) in even.iter().zip(odd).zip(line.as_chunks_mut().0) {
                    *pair = [even, odd];
                }
                self.fold_row(&line, pixels);
            }
        }
    }

    fn fold_row(&self, row: &[f32], pixels: &mut [f32]) {
        let (first, count) = self.columns.interior(self.width);
        let skipped = (-self.columns.lead).max(0) as usize;
        let inside = &row[first..first + count];
        if self.columns.upsample == 1 {
            for (pixel, &cell) in pixels[skipped..].iter_mut().zip(inside) {
                *pixel += cell;
            }
        } else if self.columns.upsample == 2 && skipped == 0 {
            for (pixel, pair) in pixels.iter_mut().zip(inside.chunks(2)) {
                *pixel += pair.iter().sum::<f32>();
            }
        } else {
            for (i, &cell) in inside.iter().enumerate() {
                pixels[(skipped + i) / self.columns.upsample] += cell;
            }
        }
        for i in (0..first).chain(first + count..self.width) {
            if let Some(x) = self.columns.pixel(i) {
                pixels[x] += row[i];
            }
        }
    }
}
