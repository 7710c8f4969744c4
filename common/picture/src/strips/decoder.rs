//! The interface between the strip reader and the decoder of a format.

use image::metadata::Orientation;

use super::samples::Samples;
use impasto_error::Result;

/// The memory limit of a decoder, in bytes: enough for several hundred rows of 100,000 pixels.
pub(super) const MAX_BYTES: usize = 256 << 20;

/// The content of a file's header that decides whether the file can be read in strips.
#[derive(Debug, Clone)]
pub(super) struct DecoderHeader {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) bits: u8,
    /// The number of channels, one to four: grey, grey and alpha, RGB, RGBA.
    pub(super) channels: usize,
    pub(super) orientation: Orientation,
    pub(super) icc: Option<Vec<u8>>,
    /// A notice for the user.
    pub(super) note: Option<String>,
}

/// A decoder that returns rows.
pub(super) trait RowDecoder: Send {
    fn header(&self) -> DecoderHeader;

    /// The next `rows` rows. The caller makes sure that they exist.
    fn read(&mut self, rows: usize) -> Result<Samples>;

    /// Reads and checks what follows the last row. May return a notice for the user.
    fn end(&mut self) -> Result<Option<String>>;

    /// Goes back to the first row.
    fn rewind(&mut self) -> Result<()>;
}
