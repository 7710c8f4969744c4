//! Which rows of a file that may be cut short are there.

use std::io::Cursor;

use super::header::JpegHeader;
use super::scan::Scan;

/// What of a file's pixels is there.
pub(crate) struct PresentRows {
    /// Rows of pixels that are whole.
    pub(crate) present: usize,
    /// Rows of the picture.
    pub(crate) height: usize,
    /// If all rows are whole: a file of these pixels, without a profile and an EXIF block.
    pub(crate) whole: Option<Vec<u8>>,
}

/// The rows of a file that may lack its end; `None` if it is not one that can be cut into strips.
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
