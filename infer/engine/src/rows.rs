//! The interfaces through which the engine reads a picture and writes a painting.

use impasto_error::Result;

/// A picture that the engine reads from top to bottom, several times.
pub trait Rows {
    /// Height and width in pixels.
    fn size(&self) -> (usize, usize);

    /// Height and width of what the user knows as the picture, for messages, where `size` has a margin that was added to it.
    fn own_size(&self) -> (usize, usize) {
        self.size()
    }

    /// Bytes that the reader takes besides the rows that it is given. They count as memory for painting.
    fn own_bytes(&self) -> u64 {
        0
    }

    /// Reads the rows from `first` on, RGB in `[0, 255]`: `rows[i]` takes red, green and blue of row `first + i`, each of
    /// the picture's width.
    ///
    /// `first` is the end of the previous call's rows, or 0.
    ///
    /// # Errors
    ///
    /// If the picture cannot be read.
    fn read(&mut self, first: usize, rows: &mut [[&mut [f32]; 3]]) -> Result<()>;
}

/// Receives the painting from top to bottom: the first row of a band, and the band, `(rows, 3, width)`, RGB nominally in
/// `[0, 255]`, not clamped. It may modify the band.
pub type Sink<'a> = dyn FnMut(usize, &mut [f32]) -> Result<()> + 'a;
