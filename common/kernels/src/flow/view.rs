//! A plane of levels with a padded border, from which patches are read.

/// Height and width of a patch, pixels (Kroeger et al. take 8).
pub const PATCH: usize = 8;
/// Distance of patches, pixels: every pixel lies in four of them.
pub const STRIDE: usize = 4;
/// Width of the replicated border around a plane, pixels: a patch may leave the picture by this much.
pub const PAD: usize = 16;

/// A plane of levels with [`PAD`] pixels around it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The levels with their padding: `height + 2 * PAD` rows of [`Self::stride`] floats.
    pub data: &'a [f32],
    /// Rows without padding.
    pub height: usize,
    /// Columns without padding.
    pub width: usize,
}

impl<'a> View<'a> {
    /// Floats from one row to the next.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.width + 2 * PAD
    }

    /// The plane from pixel `x` of row `y` on. Both may lie up to [`PAD`] pixels outside.
    ///
    /// # Panics
    ///
    /// If they lie further outside, above the plane or below it.
    #[must_use]
    #[inline(always)]
    pub fn row(&self, y: isize, x: isize) -> &'a [f32] {
        let pad = PAD as isize;
        &self.data[(y + pad) as usize * self.stride() + (x + pad) as usize..]
    }

    /// `ROWS` rows of eight levels from `(y, x)` on, interpolated linearly. Positions too far outside are clamped.
    #[inline(always)]
    pub(super) fn sample<const ROWS: usize>(&self, y: f32, x: f32) -> [[f32; PATCH]; ROWS] {
        let inside =
            |at: f32, size: usize, reach: usize| at.clamp(1.0 - PAD as f32, (size + PAD) as f32 - (reach + 2) as f32);
        let (y, x) = (inside(y, self.height, ROWS), inside(x, self.width, PATCH));
        // A cast is faster than `floor` on machines without an instruction for it. Adding the padding makes the value
        // positive.
        let (row, column) = ((y + PAD as f32) as usize, (x + PAD as f32) as usize);
        let (down, right) = (y + PAD as f32 - row as f32, x + PAD as f32 - column as f32);
        let stride = self.stride();
        let line = |i: usize| {
            let levels = &self.data[(row + i) * stride + column..][..=PATCH];
            let mut line = [0.0; PATCH];
            for k in 0..PATCH {
                line[k] = levels[k] + right * (levels[k + 1] - levels[k]);
            }
            line
        };
        let mut above = line(0);
        let mut levels = [[0.0; PATCH]; ROWS];
        for (i, out) in levels.iter_mut().enumerate() {
            let below = line(i + 1);
            for k in 0..PATCH {
                out[k] = above[k] + down * (below[k] - above[k]);
            }
            above = below;
        }
        levels
    }
}

/// The sum of eight lanes, in pairs.
#[inline(always)]
pub(super) fn total(lanes: [f32; PATCH]) -> f32 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}
