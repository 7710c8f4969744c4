//! Luma pyramids: a frame's luma at full size, half size, a quarter and so on.

use rayon::prelude::*;

use super::{Flow, FlowFrame};
use impasto_kernels::flow::{PAD, View, double_row, halve_row};

/// Rows that a thread takes at a time.
pub(super) const ROWS: usize = 16;
/// The shorter side of the coarsest level has at least this many pixels, three patches.
const COARSEST: usize = 24;

/// The luma of a frame, or of a smaller copy of it.
///
/// [`PAD`] pixels around the frame repeat its border.
#[derive(Debug, Clone)]
pub struct LumaPlane {
    height: usize,
    width: usize,
    data: Vec<f32>,
}

impl LumaPlane {
    /// A plane of `(height, width)` pixels. `fill(y, row)` writes row `y`.
    #[must_use]
    pub fn new((height, width): (usize, usize), fill: impl Fn(usize, &mut [f32]) + Sync) -> Self {
        let stride = width + 2 * PAD;
        let mut data = vec![0.0; stride * (height + 2 * PAD)];
        data[PAD * stride..][..height * stride].par_chunks_exact_mut(stride).with_min_len(ROWS).enumerate().for_each(
            |(y, row)| {
                fill(y, &mut row[PAD..][..width]);
                let (first, last) = (row[PAD], row[PAD + width - 1]);
                row[..PAD].fill(first);
                row[PAD + width..].fill(last);
            },
        );
        for y in 0..PAD {
            data.copy_within(PAD * stride..(PAD + 1) * stride, y * stride);
            let last = (PAD + height - 1) * stride;
            data.copy_within(last..last + stride, (PAD + height + y) * stride);
        }
        Self { height, width, data }
    }

    fn halved(&self) -> Self {
        let (height, width) = (self.height.div_ceil(2), self.width.div_ceil(2));
        let view = self.view();
        Self::new((height, width), |y, out| {
            let row = |y: usize| &view.row(y as isize, 0)[..2 * width];
            halve_row(row(2 * y), row(2 * y + 1), out);
        })
    }

    /// Height and width.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.height, self.width)
    }

    /// The pixels of row `y`.
    #[must_use]
    pub fn row(&self, y: usize) -> &[f32] {
        &self.view().row(y as isize, 0)[..self.width]
    }

    /// The luma at a position inside the frame, bilinearly interpolated.
    #[must_use]
    pub fn at(&self, y: f32, x: f32) -> f32 {
        let (top, left) = (y as usize, x as usize);
        let (down, right) = (y - top as f32, x - left as f32);
        let line = |row: usize| {
            let levels = self.view().row(row as isize, left as isize);
            [levels[0], levels[1]]
        };
        interpolated([line(top), line(top + 1)], (down, right))
    }

    pub(super) fn view(&self) -> View<'_> {
        View { data: &self.data, height: self.height, width: self.width }
    }
}

/// Bilinear interpolation between four neighbours, two above and two below. `down` and `right` are the distances from the
/// first of them, from 0 to 1.
pub(super) fn interpolated([above, below]: [[f32; 2]; 2], (down, right): (f32, f32)) -> f32 {
    let [above, below] = [above, below].map(|[left, behind]| left + right * (behind - left));
    above + down * (below - above)
}

/// A frame's luma at full size, half size, a quarter and so on. Flow from the frame and flow to it use the same pyramid.
#[derive(Debug, Clone)]
pub struct Pyramid(Vec<LumaPlane>);

impl Pyramid {
    /// The pyramid of a frame.
    ///
    /// # Panics
    ///
    /// If the frame is empty.
    #[must_use]
    pub fn new(frame: &FlowFrame) -> Self {
        let (height, width) = frame.size();
        assert!(height * width > 0, "a frame has pixels");
        Self::of_luma(LumaPlane::new((height, width), |y, row| {
            for (out, pixel) in row.iter_mut().zip(&frame.pixels()[y * width..][..width]) {
                *out = pixel[3];
            }
        }))
    }

    /// The pyramid of a frame with this luma.
    #[must_use]
    pub fn of_luma(luma: LumaPlane) -> Self {
        let mut levels = vec![luma];
        while let Some(last) = levels.last()
            && last.height.min(last.width) >= 2 * COARSEST
        {
            levels.push(last.halved());
        }
        Self(levels)
    }

    /// Height and width of the frame.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        self.0[0].size()
    }

    /// The levels, the finest first. There is at least one.
    #[must_use]
    pub fn levels(&self) -> &[LumaPlane] {
        &self.0
    }
}

/// A plane of `from` pixels at twice the size, `to`, each (height, width); values are multiplied by `scale`.
pub(super) fn doubled(plane: &[f32], from: (usize, usize), to: (usize, usize), scale: f32) -> Vec<f32> {
    let ((rows, columns), (height, width)) = (from, to);
    let mut out = vec![0.0; height * width];
    out.par_chunks_exact_mut(width).with_min_len(ROWS).enumerate().for_each_init(
        || vec![0.0; columns + 2],
        |scratch, (y, out)| {
            let near = y / 2;
            let far = if y % 2 == 0 { near.saturating_sub(1) } else { (near + 1).min(rows - 1) };
            let row = |y: usize| &plane[y * columns..][..columns];
            double_row(row(near), row(far), scale, scratch, out);
        },
    );
    out
}

impl Flow {
    /// The same flow between frames of twice the size, `(height, width)`.
    pub(super) fn doubled(&self, size: (usize, usize)) -> Self {
        let double = |plane: &[f32]| doubled(plane, self.size(), size, 2.0);
        Self { height: size.0, width: size.1, x: double(&self.x), y: double(&self.y) }
    }
}
