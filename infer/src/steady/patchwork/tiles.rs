//! Irregular tiles that are replaced in turn: each tile once every `count` frames.

/// Side of a tile on the level that flow is searched on, pixels. Larger tiles have fewer edges between paintings, but are more
/// conspicuous when they change.
const SIDE: usize = 64;

/// The turn in which each pixel is replaced.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Vec<u8>);

impl Turns {
    /// The turns, from 0 to below `count`, of a frame of `(height, width)` pixels.
    pub(super) fn new(size: (usize, usize), count: usize) -> Self {
        Self(turns(size, count))
    }

    /// The turn of a pixel, counted row by row.
    pub(super) fn at(&self, pixel: usize) -> usize {
        usize::from(self.0[pixel])
    }
}

/// Voronoi cells around one point in each square of a grid: no edge runs straight across a picture.
fn turns((height, width): (usize, usize), count: usize) -> Vec<u8> {
    let columns = width.div_ceil(SIDE) + 2;
    let place = |row: usize, column: usize| {
        let [y, x] = [0, 1].map(|part| hash(2 * (row * columns + column) + part) as f32 / u32::MAX as f32);
        ((row as f32 - 1.0 + y) * SIDE as f32, (column as f32 - 1.0 + x) * SIDE as f32)
    };
    let turn = |y: usize, x: usize| {
        let near = (0..9).map(|i| (y / SIDE + i / 3, x / SIDE + i % 3));
        let distance = |&(row, column): &(usize, usize)| {
            let (down, right) = place(row, column);
            (down - y as f32).powi(2) + (right - x as f32).powi(2)
        };
        let (row, column) = near.min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or_default();
        // Neighbours in a row, and above each other, have different turns: each turn is spread over the picture.
        ((column + row * (1 + count / 2)) % count) as u8
    };
    (0..height * width).map(|at| turn(at / width, at % width)).collect()
}

/// A pseudorandom number.
fn hash(number: usize) -> u32 {
    let mut hash = (number as u32).wrapping_mul(0x9E37_79B1);
    hash = (hash ^ hash >> 15).wrapping_mul(0x85EB_CA6B);
    (hash ^ hash >> 13).wrapping_mul(0xC2B2_AE35) ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_turn_covers_its_share_spread_over_the_frame() {
        let size = (180, 320);
        for count in 1..6 {
            let turns = turns(size, count);
            for turn in 0..count {
                let part = |left: usize| {
                    let within = turns.iter().enumerate().filter(|(at, _)| (at % size.1) / 160 == left);
                    within.filter(|&(_, &found)| usize::from(found) == turn).count() as f32
                        / (size.0 * size.1 / 2) as f32
                };
                let fair = 1.0 / count as f32;
                for share in [part(0), part(1)] {
                    assert!((0.4 * fair..2.0 * fair).contains(&share), "{turn} of {count}: {share}");
                }
            }
        }
    }
}
