//! Photos with mirrored surroundings: the photo goes on beyond its borders as its own reflection.
//!
//! Positions count from the top left of the surrounded photo. A reflection does not repeat the outermost pixel, as in
//! reflection padding; a photo smaller than its surroundings is reflected again and again.

use impasto_common::Result;
use impasto_common::network::Network;
use impasto_engine::Rows;

use super::rows::lines;

/// The position in a photo of `side` pixels whose level the surrounded photo has at `place`, `before` pixels of surroundings
/// coming first.
fn reflected(place: usize, before: usize, side: usize) -> usize {
    let period = 2 * side.saturating_sub(1);
    if period == 0 {
        return 0;
    }
    // Adding whole periods keeps the difference positive.
    let at = (place + before.div_ceil(period) * period - before) % period;
    at.min(period - at)
}

/// A photo with surroundings of `margin` pixels on all sides; to the right and below there are more if the network needs
/// a larger picture.
///
/// The photo is read once and in order in each pass, so rows that come again later are kept: those of the top, for the
/// reflection above it, and those of the bottom.
pub(super) struct SurroundedPhoto<F> {
    size: (usize, usize),
    margin: usize,
    read: F,
    kept: KeptRows,
}

/// The last rows that were read of a photo.
struct KeptRows {
    /// Row `y` has place `y % rows`: red, green and blue one after another.
    levels: Vec<f32>,
    rows: usize,
    width: usize,
    /// The number of rows read so far in this pass.
    read: usize,
}

impl KeptRows {
    fn row(&self, y: usize) -> &[f32] {
        &self.levels[y % self.rows * 3 * self.width..][..3 * self.width]
    }

    /// Keeps the next row.
    fn keep(&mut self, row: &[&mut [f32]; 3]) {
        let place = self.read % self.rows * 3 * self.width;
        let kept = self.levels[place..][..3 * self.width].chunks_exact_mut(self.width);
        kept.zip(row).for_each(|(kept, line)| kept.copy_from_slice(line));
        self.read += 1;
    }
}

impl<F: Fn(usize, &mut [[&mut [f32]; 3]]) -> Result<()>> SurroundedPhoto<F> {
    /// `read(first, rows)` reads rows of a photo of `size`, `(height, width)`, from row `first` on. In each pass over the
    /// photo, every row is requested once and in order.
    pub(super) fn new(size: (usize, usize), margin: usize, read: F) -> Self {
        let (height, width) = size;
        let below = surrounded_side(height, margin) - height - margin;
        let rows = (margin.max(below) + 1).min(height);
        let kept = KeptRows { levels: vec![0.0; rows * 3 * width], rows, width, read: 0 };
        Self { size, margin, read, kept }
    }

    /// Bytes of the rows that are kept.
    pub(super) fn bytes(&self) -> u64 {
        size_of_val(self.kept.levels.as_slice()) as u64
    }

    /// Reads the next rows of the photo into the middle of `rows`, and keeps them.
    fn read_photo(&mut self, rows: &mut [[&mut [f32]; 3]]) -> Result<()> {
        let (margin, width) = (self.margin, self.size.1);
        let mut inside: Vec<[&mut [f32]; 3]> =
            rows.iter_mut().map(|row| row.each_mut().map(|line| &mut line[margin..][..width])).collect();
        (self.read)(self.kept.read, &mut inside)?;
        for row in &inside {
            self.kept.keep(row);
        }
        Ok(())
    }

    /// Reads the first rows of the photo, down to the farthest one that is reflected above it, and keeps them.
    fn read_top(&mut self) -> Result<()> {
        let (height, width) = self.size;
        let count = (self.margin + 1).min(height);
        let mut levels = vec![0.0; count * 3 * width];
        let mut rows = lines(&mut levels, width);
        (self.read)(0, &mut rows)?;
        self.kept.read = 0;
        for row in &rows {
            self.kept.keep(row);
        }
        Ok(())
    }
}

/// Height or width of a photo with its surroundings.
fn surrounded_side(side: usize, margin: usize) -> usize {
    (side + 2 * margin).max(Network::MIN_SIZE)
}

impl<F: Fn(usize, &mut [[&mut [f32]; 3]]) -> Result<()>> Rows for SurroundedPhoto<F> {
    fn size(&self) -> (usize, usize) {
        (surrounded_side(self.size.0, self.margin), surrounded_side(self.size.1, self.margin))
    }

    fn own_size(&self) -> (usize, usize) {
        self.size
    }

    fn own_bytes(&self) -> u64 {
        self.bytes()
    }

    fn read(&mut self, first: usize, rows: &mut [[&mut [f32]; 3]]) -> Result<()> {
        if self.size() == self.size {
            return (self.read)(first, rows);
        }
        let ((height, width), margin) = (self.size, self.margin);
        if first == 0 {
            self.read_top()?;
        }
        let mut done = 0;
        while done < rows.len() {
            let y = reflected(first + done, margin, height);
            if y < self.kept.read {
                for (line, kept) in rows[done].iter_mut().zip(self.kept.row(y).chunks_exact(width)) {
                    line[margin..][..width].copy_from_slice(kept);
                }
                done += 1;
            } else {
                let count = (height - y).min(rows.len() - done);
                self.read_photo(&mut rows[done..done + count])?;
                done += count;
            }
        }
        for line in rows.iter_mut().flatten() {
            for x in (0..margin).chain(margin + width..line.len()) {
                line[x] = line[margin + reflected(x, margin, width)];
            }
        }
        Ok(())
    }
}

/// Bytes of a picture of `(height, width)` pixels with surroundings of `margin` pixels on all sides, as a GPU paints them.
pub(super) fn surround(bytes: &[u8], size: (usize, usize), channels: usize, margin: usize) -> Vec<u8> {
    let (height, width) = size;
    let mut out = Vec::with_capacity((height + 2 * margin) * (width + 2 * margin) * channels);
    for y in 0..height + 2 * margin {
        let row = &bytes[reflected(y, margin, height) * width * channels..][..width * channels];
        let outside = |x| &row[reflected(x, margin, width) * channels..][..channels];
        (0..margin).for_each(|x| out.extend_from_slice(outside(x)));
        out.extend_from_slice(row);
        (margin + width..width + 2 * margin).for_each(|x| out.extend_from_slice(outside(x)));
    }
    out
}

/// Removes the surroundings again. `size` is the size without them.
pub(super) fn crop(bytes: &[u8], size: (usize, usize), channels: usize, margin: usize) -> Vec<u8> {
    let line = (size.1 + 2 * margin) * channels;
    let rows = bytes.chunks_exact(line).skip(margin).take(size.0);
    rows.flat_map(|row| &row[margin * channels..][..size.1 * channels]).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_reflection_does_not_repeat_the_edge_and_begins_anew_where_a_photo_is_tiny() {
        let around = |margin: usize, side: usize| {
            (0..side + 2 * margin).map(|place| reflected(place, margin, side)).collect::<Vec<_>>()
        };
        assert_eq!(around(2, 4), [2, 1, 0, 1, 2, 3, 2, 1]);
        assert_eq!(around(4, 3), [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]);
        assert_eq!(around(3, 2), [1, 0, 1, 0, 1, 0, 1, 0]);
        assert_eq!(around(2, 1), [0; 5]);
    }

    /// Reads the photo whose level of `channel` at `(y, x)` is `1e4 * channel + 100 * y + x`, and checks the order of rows.
    fn reader(next: &Cell<usize>) -> impl Fn(usize, &mut [[&mut [f32]; 3]]) -> Result<()> {
        |first: usize, rows: &mut [[&mut [f32]; 3]]| {
            assert!(first == next.get() || first == 0, "{first} after {}", next.get());
            next.set(first + rows.len());
            for (y, row) in (first..).zip(rows) {
                for (channel, line) in row.iter_mut().enumerate() {
                    (0..).zip(line.iter_mut()).for_each(|(x, level)| *level = (10_000 * channel + 100 * y + x) as f32);
                }
            }
            Ok(())
        }
    }

    #[test]
    fn a_photo_is_read_once_and_in_order_and_mirrored_around_it() {
        for (size, margin) in
            [((7, 9), 4), ((7, 9), 0), ((1, 1), 2), ((2, 3), 0), ((12, 5), 1), ((3, 20), 8), ((40, 2), 12)]
        {
            let next = Cell::new(0);
            let mut photo = SurroundedPhoto::new(size, margin, reader(&next));
            let (height, width) = photo.size();
            for step in [1, 3, height] {
                let mut first = 0;
                while first < height {
                    let count = step.min(height - first);
                    let mut levels = vec![f32::NAN; 3 * count * width];
                    photo.read(first, &mut lines(&mut levels, width)).unwrap();
                    for (at, level) in levels.iter().enumerate() {
                        let (y, channel, x) = (first + at / (3 * width), at / width % 3, at % width);
                        let [y, x] = [(y, size.0), (x, size.1)].map(|(at, side)| reflected(at, margin, side));
                        let expected = 10_000 * channel + 100 * y + x;
                        assert!((level - expected as f32).abs() < 1e-3, "{size:?}, {margin}, {step}");
                    }
                    first += count;
                }
                assert_eq!(next.get(), size.0, "every row was read");
            }
        }
    }

    #[test]
    fn only_the_rows_that_come_again_are_kept() {
        let next = Cell::new(0);
        for (size, margin, rows) in [((1000, 10), 32, 33), ((20, 10), 32, 20), ((1000, 10), 4, 5), ((2, 10), 0, 2)] {
            let photo = SurroundedPhoto::new(size, margin, reader(&next));
            assert_eq!(photo.bytes(), 4 * 3 * 10 * rows, "{size:?}, {margin}");
        }
    }

    #[test]
    fn bytes_are_mirrored_and_cropped_again() {
        let (size, channels) = ((2, 3), 4);
        let bytes: Vec<u8> = (0..24).collect();
        for margin in 0..7 {
            let surrounded = surround(&bytes, size, channels, margin);
            assert_eq!(surrounded.len(), (2 + 2 * margin) * (3 + 2 * margin) * channels);
            for (i, pixel) in surrounded.chunks_exact(channels).enumerate() {
                let [y, x] = [(i / (3 + 2 * margin), 2), (i % (3 + 2 * margin), 3)]
                    .map(|(place, side)| reflected(place, margin, side));
                assert_eq!(pixel, &bytes[(3 * y + x) * channels..][..channels], "{margin}");
            }
            assert_eq!(crop(&surrounded, size, channels, margin), bytes);
        }
    }
}
