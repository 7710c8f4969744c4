//! Photos that are extended on all sides by repeating their border pixels.

use impasto_common::Result;
use impasto_common::network::Network;
use impasto_engine::Rows;

/// A photo that is extended by a margin on all sides, and to the right and below to the size that the network needs.
pub(super) struct Extended<F> {
    size: (usize, usize),
    margin: usize,
    read: F,
    /// The last row of the photo that was read, and its levels of red, green and blue.
    last: (usize, Vec<f32>),
}

impl<F: Fn(usize, &mut [[&mut [f32]; 3]]) -> Result<()>> Extended<F> {
    /// `read(first, rows)` reads rows of a photo of `size`, `(height, width)`, from row `first` on. In each pass over the
    /// photo, every row is requested once and in order.
    pub(super) fn new(size: (usize, usize), margin: usize, read: F) -> Self {
        Self { size, margin, read, last: (usize::MAX, vec![0.0; 3 * size.1]) }
    }

    /// Reads rows of the photo from `first` on into the middle of `rows`.
    fn read_photo(&mut self, first: usize, rows: &mut [[&mut [f32]; 3]]) -> Result<()> {
        let (margin, width) = (self.margin, self.size.1);
        let mut inside: Vec<[&mut [f32]; 3]> =
            rows.iter_mut().map(|row| row.each_mut().map(|line| &mut line[margin..][..width])).collect();
        (self.read)(first, &mut inside)?;
        if let Some(row) = inside.last() {
            for (kept, line) in self.last.1.chunks_exact_mut(width).zip(row) {
                kept.copy_from_slice(line);
            }
            self.last.0 = first + inside.len() - 1;
        }
        Ok(())
    }
}

impl<F: Fn(usize, &mut [[&mut [f32]; 3]]) -> Result<()>> Rows for Extended<F> {
    fn size(&self) -> (usize, usize) {
        let extended = |side: usize| (side + 2 * self.margin).max(Network::MIN_SIZE);
        (extended(self.size.0), extended(self.size.1))
    }

    fn own_size(&self) -> (usize, usize) {
        self.size
    }

    fn read(&mut self, first: usize, rows: &mut [[&mut [f32]; 3]]) -> Result<()> {
        if self.size() == self.size {
            return (self.read)(first, rows);
        }
        let ((height, width), margin) = (self.size, self.margin);
        if first == 0 {
            self.last.0 = usize::MAX;
        }
        let mut done = 0;
        while done < rows.len() {
            let y = first + done;
            let row = y.saturating_sub(margin).min(height - 1);
            let count = if row == self.last.0 {
                for (line, kept) in rows[done].iter_mut().zip(self.last.1.chunks_exact(width)) {
                    line[margin..][..width].copy_from_slice(kept);
                }
                1
            } else {
                // Above the photo, its first row is repeated.
                let count = if y < margin { 1 } else { (height - row).min(rows.len() - done) };
                self.read_photo(row, &mut rows[done..done + count])?;
                count
            };
            done += count;
        }
        for line in rows.iter_mut().flatten() {
            let (left, right) = (line[margin], line[margin + width - 1]);
            line[..margin].fill(left);
            line[margin + width..].fill(right);
        }
        Ok(())
    }
}

/// Bytes of a picture of `(height, width)` pixels, extended by `margin` pixels on all sides, as a GPU paints them.
pub(super) fn extend(bytes: &[u8], size: (usize, usize), channels: usize, margin: usize) -> Vec<u8> {
    let (height, width) = size;
    let mut out = Vec::with_capacity((height + 2 * margin) * (width + 2 * margin) * channels);
    for y in 0..height + 2 * margin {
        let row = &bytes[y.saturating_sub(margin).min(height - 1) * width * channels..][..width * channels];
        (0..margin).for_each(|_| out.extend_from_slice(&row[..channels]));
        out.extend_from_slice(row);
        (0..margin).for_each(|_| out.extend_from_slice(&row[(width - 1) * channels..]));
    }
    out
}

/// Removes the margin again. `size` is the size without it.
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
    fn a_photo_is_read_once_and_in_order_and_its_border_repeated() {
        for (size, margin) in [((7, 9), 4), ((7, 9), 0), ((1, 1), 2), ((2, 3), 0), ((12, 5), 1)] {
            let next = Cell::new(0);
            let read = |first: usize, rows: &mut [[&mut [f32]; 3]]| {
                assert!(first == next.get() || first == 0, "{first} after {}", next.get());
                next.set(first + rows.len());
                for (y, row) in (first..).zip(rows) {
                    for (channel, line) in row.iter_mut().enumerate() {
                        (0..).zip(line.iter_mut()).for_each(|(x, level)| *level = (100 * channel + 10 * y + x) as f32);
                    }
                }
                Ok(())
            };
            let mut photo = Extended::new(size, margin, read);
            let (height, width) = photo.size();
            for step in [1, 3, height] {
                let mut first = 0;
                while first < height {
                    let count = step.min(height - first);
                    let mut levels = vec![f32::NAN; 3 * count * width];
                    photo.read(first, &mut super::super::rows::lines(&mut levels, width)).unwrap();
                    for (at, level) in levels.iter().enumerate() {
                        let (y, channel, x) = (first + at / (3 * width), at / width % 3, at % width);
                        let [y, x] =
                            [(y, size.0), (x, size.1)].map(|(at, side)| at.saturating_sub(margin).min(side - 1));
                        let expected = 100 * channel + 10 * y + x;
                        assert!((level - expected as f32).abs() < 1e-3, "{size:?}, {margin}, {step}");
                    }
                    first += count;
                }
                assert_eq!(next.get(), size.0, "every row was read");
            }
        }
    }

    #[test]
    fn bytes_are_extended_and_cropped_again() {
        let (size, channels) = ((2, 3), 4);
        let bytes: Vec<u8> = (0..24).collect();
        for margin in 0..3 {
            let extended = extend(&bytes, size, channels, margin);
            assert_eq!(extended.len(), (2 + 2 * margin) * (3 + 2 * margin) * channels);
            assert_eq!(extended[..4], bytes[..4]);
            assert_eq!(extended[extended.len() - 4..], bytes[20..]);
            assert_eq!(crop(&extended, size, channels, margin), bytes);
        }
    }
}
