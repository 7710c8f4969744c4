//! What the strip reader asks of a format's decoder.

use image::metadata::Orientation;

use super::samples::Samples;
use impasto_error::Result;

/// Bytes that a decoder may hold: some hundred rows of a picture of 100,000 pixels a row, with room to spare.
pub(super) const MAX_BYTES: usize = 256 << 20;

/// What a file's header says: enough to decide whether the file can be read in strips.
#[derive(Debug, Clone)]
pub(super) struct DecoderHeader {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) bits: u8,
    /// One to four: grey, grey and alpha, RGB, RGBA.
    pub(super) channels: usize,
    pub(super) orientation: Orientation,
    pub(super) icc: Option<Vec<u8>>,
    /// What the user should know of it.
    pub(super) note: Option<String>,
}

/// A decoder that hands out rows.
pub(super) trait RowDecoder: Send {
    fn header(&self) -> DecoderHeader;

    /// The next `rows` rows. The caller makes sure that they exist.
    fn read(&mut self, rows: usize) -> Result<Samples>;

    /// Reads and checks what follows the last row. Returns what the user should know of it.
    fn end(&mut self) -> Result<Option<String>>;

    /// Goes back to the first row.
    fn rewind(&mut self) -> Result<()>;
}
