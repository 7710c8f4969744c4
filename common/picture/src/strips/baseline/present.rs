//! Finds the rows that exist in a file that may be cut short.

use std::io::Cursor;

use super::header::JpegHeader;
use super::scan::Scan;

/// The rows that exist in a file.
pub(crate) struct PresentRows {
    /// Complete rows of pixels.
    pub(crate) present: usize,
    /// Rows of the whole picture.
    pub(crate) height: usize,
    /// If all rows are complete: a file with these pixels, without a profile and an EXIF block.
    pub(crate) whole: Option<Vec<u8>>,
}

/// The rows of a file whose end may be missing; `None` if the file cannot be divided into strips.
pub(crate) fn rows_of(bytes: &[u8]) -> Option<PresentRows> {
    let header = JpegHeader::read(bytes).ok()??;
    let frame = &header.frame;
    let data = bytes.get(usize::try_from(header.scan_at).ok()?..)?.to_vec();
    let mut scan = Scan::new(Box::new(Cursor::new(data)), frame);
    let rows: Vec<_> = (0..frame.mcu_rows()).map_while(|_| scan.next_row(frame).ok()).collect();
    let height = usize::from(frame.height);
    let present = (rows.len() * frame.mcu_height()).min(height);
    Some(PresentRows { present, height, whole: (present == height).then(|| header.strip(height, &rows)) })
}
