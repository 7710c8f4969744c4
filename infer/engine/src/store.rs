//! Stores the rows of a feature map while they are needed: all in memory; all in a file with a window in memory; or only a
//! window in memory.

use std::ops::Range;

use crate::spill::Spill;
use impasto_error::Result;
use impasto_kernels::rows::mirror_borders;

/// Buffers that are kept for reuse: new ones would have to be zeroed and their pages faulted in.
#[derive(Debug, Default)]
pub(super) struct Pool {
    buffers: Vec<Vec<f32>>,
    /// Whether buffers are freed instead of kept, because memory is short.
    frugal: bool,
    /// Floats of all buffers that were made and not freed, and the most there ever were.
    made: (usize, usize),
}

impl Pool {
    /// A pool that keeps nothing.
    pub(super) fn frugal() -> Self {
        Self { frugal: true, ..Self::default() }
    }

    /// A buffer of at least `len` floats with unspecified values: the smallest that is large enough.
    pub(super) fn take(&mut self, len: usize) -> Vec<f32> {
        let fitting = self.buffers.iter().enumerate().filter(|(_, buffer)| buffer.len() >= len);
        if let Some((i, _)) = fitting.min_by_key(|(_, buffer)| buffer.len()) {
            return self.buffers.swap_remove(i);
        }
        self.made.0 += len;
        self.made.1 = self.made.1.max(self.made.0);
        vec![0.0; len]
    }

    pub(super) fn give(&mut self, buffer: Vec<f32>) {
        if self.frugal {
            self.made.0 = self.made.0.saturating_sub(buffer.len());
        } else if !buffer.is_empty() {
            self.buffers.push(buffer);
        }
    }

    /// The most floats that all buffers ever had together.
    #[cfg(test)]
    pub(super) fn most_floats(&self) -> usize {
        self.made.1
    }
}

/// How a picture is kept.
#[derive(Debug)]
enum Keep {
    /// Every row is in the buffer.
    Whole,
    /// Rows that are not in the buffer are in the file.
    File(Spill),
    /// Rows that are not in the buffer are not stored.
    Window,
}

/// The rows of a picture: `(height, channels, width)` with `border` stored columns on both sides of every line.
#[derive(Debug)]
pub(super) struct Store {
    channels: usize,
    height: usize,
    width: usize,
    border: usize,
    keep: Keep,
    buffer: Vec<f32>,
    /// The rows in the buffer.
    held: Range<usize>,
}

impl Store {
    /// A picture of which only a window of rows is held, in `buffer` while that is large enough.
    pub(super) fn window_in(channels: usize, size: (usize, usize), border: usize, buffer: Vec<f32>) -> Self {
        Self { buffer, ..Self::window(channels, size, border) }
    }

    /// A picture of which only a window of rows is held.
    pub(super) fn window(channels: usize, (height, width): (usize, usize), border: usize) -> Self {
        Self { channels, height, width, border, keep: Keep::Window, buffer: Vec::new(), held: 0..0 }
    }

    /// A picture of which all rows are held in `buffer`.
    pub(super) fn whole(channels: usize, (height, width): (usize, usize), border: usize, buffer: Vec<f32>) -> Self {
        Self { keep: Keep::Whole, buffer, held: 0..height, ..Self::window(channels, (height, width), border) }
    }

    /// A picture in a file, with a window of rows in `buffer`.
    pub(super) fn file(channels: usize, size: (usize, usize), border: usize, buffer: Vec<f32>) -> Result<Self> {
        Ok(Self { keep: Keep::File(Spill::new()?), ..Self::window_in(channels, size, border, buffer) })
    }

    pub(super) fn size(&self) -> (usize, usize) {
        (self.height, self.width)
    }

    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    pub(super) fn border(&self) -> usize {
        self.border
    }

    /// Floats of one line of one channel.
    pub(super) fn plane(&self) -> usize {
        self.width + 2 * self.border
    }

    /// Floats of one row, all channels.
    pub(super) fn row(&self) -> usize {
        self.channels * self.plane()
    }

    pub(super) fn is_window(&self) -> bool {
        matches!(self.keep, Keep::Window)
    }

    /// Whether all rows in `rows` are held.
    pub(super) fn holds(&self, rows: &Range<usize>) -> bool {
        self.held.start <= rows.start && rows.end <= self.held.end
    }

    /// Makes room for `rows` and keeps those already held, which must be the first of them. Returns the rows that are
    /// missing.
    pub(super) fn make_room(&mut self, rows: &Range<usize>, pool: &mut Pool) -> Range<usize> {
        if matches!(self.keep, Keep::Whole) {
            return rows.clone();
        }
        let row = self.row();
        let kept = if self.held.contains(&rows.start) {
            rows.start..self.held.end.min(rows.end)
        } else {
            rows.start..rows.start
        };
        if self.buffer.len() < rows.len() * row {
            let mut buffer = pool.take(rows.len() * row);
            let from = (kept.start - self.held.start.min(kept.start)) * row;
            if !kept.is_empty() {
                buffer[..kept.len() * row].copy_from_slice(&self.buffer[from..][..kept.len() * row]);
            }
            pool.give(std::mem::replace(&mut self.buffer, buffer));
        } else if !kept.is_empty() {
            let from = (kept.start - self.held.start) * row;
            self.buffer.copy_within(from..from + kept.len() * row, 0);
        }
        self.held = rows.clone();
        kept.end..rows.end
    }

    /// Ensures that `rows` of a picture that is kept in memory or in a file are held.
    pub(super) fn load(&mut self, rows: &Range<usize>, pool: &mut Pool) -> Result<()> {
        if self.holds(rows) {
            return Ok(());
        }
        let missing = self.make_room(rows, pool);
        let (row, at) = (self.row(), self.held.start);
        if let Keep::File(spill) = &mut self.keep {
            let to = &mut self.buffer[(missing.start - at) * row..(missing.end - at) * row];
            spill.read(missing.start * row, to)?;
        }
        Ok(())
    }

    /// Rows that are held.
    pub(super) fn held(&self, rows: &Range<usize>) -> &[f32] {
        let row = self.row();
        &self.buffer[(rows.start - self.held.start) * row..(rows.end - self.held.start) * row]
    }

    /// Rows that are held, to be written.
    pub(super) fn held_mut(&mut self, rows: &Range<usize>) -> &mut [f32] {
        let row = self.row();
        &mut self.buffer[(rows.start - self.held.start) * row..(rows.end - self.held.start) * row]
    }

    /// The first row that is held.
    pub(super) fn first(&self) -> usize {
        self.held.start
    }

    /// Everything that is held.
    pub(super) fn all(&self) -> &[f32] {
        &self.buffer[..self.held.len() * self.row()]
    }

    /// To be called after held rows were written: fills their borders, and stores them in the file if there is one.
    pub(super) fn written(&mut self, rows: &Range<usize>) -> Result<()> {
        if self.border > 0 {
            let (plane, border) = (self.plane(), self.border);
            mirror_borders(self.held_mut(rows), plane, border);
        }
        let row = self.row();
        let from = (rows.start - self.held.start) * row;
        if let Keep::File(spill) = &mut self.keep {
            spill.write(rows.start * row, &self.buffer[from..][..rows.len() * row])?;
        }
        Ok(())
    }

    /// Changes a picture that is kept, `band` rows at a time.
    pub(super) fn each_band(&mut self, band: usize, mut change: impl FnMut(&mut [f32])) -> Result<()> {
        let mut pool = Pool::default();
        for rows in bands(self.height, band) {
            self.load(&rows, &mut pool)?;
            change(self.held_mut(&rows));
            self.written(&rows)?;
        }
        Ok(())
    }

    /// The same, with the rows of another picture of this size, cropped by `crop` rows and columns on each side.
    pub(super) fn each_band_with(
        &mut self,
        other: &mut Self,
        crop: usize,
        band: usize,
        mut change: impl FnMut(&mut [f32], &[f32]),
    ) -> Result<()> {
        let mut pool = Pool::default();
        for rows in bands(self.height, band) {
            let others = rows.start + crop..rows.end + crop;
            self.load(&rows, &mut pool)?;
            other.load(&others, &mut pool)?;
            change(self.held_mut(&rows), other.held(&others));
            self.written(&rows)?;
        }
        Ok(())
    }

    pub(super) fn give_back(self, pool: &mut Pool) {
        pool.give(self.buffer);
    }
}

/// The rows of a picture, `band` at a time.
pub(super) fn bands(height: usize, band: usize) -> impl Iterator<Item = Range<usize>> {
    (0..height).step_by(band.max(1)).map(move |first| first..height.min(first + band))
}
