//! Reads a picture file from the top down.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use image::metadata::Orientation;

use super::baseline::JpegRows;
use super::decoder::RowDecoder;
use super::info::PictureInfo;
use super::png::PngRows;
use super::tiff::TiffRows;
use super::turned::Turned;
use crate::{Picture, PictureFormat, TELLING_BYTES, decode};
use impasto_error::{Error, Result, ResultExt};

/// A picture file that is read in strips from the top down, any number of times.
///
/// The strips have the same values as the result of [`Picture::decode`] for the whole file.
pub struct StripReader {
    path: PathBuf,
    info: PictureInfo,
    format: PictureFormat,
    rows: Box<dyn RowDecoder>,
    /// Channels of the decoder's samples. Grey is converted to RGB in the strips.
    channels: usize,
    next_row: u32,
    notes: Vec<String>,
}

impl StripReader {
    /// Opens a picture file; `None` if it must be read as a whole with [`Picture::open`].
    ///
    /// This applies to WebP, BMP and GIF; to JPEG that is progressive or has its components in separate scans; to
    /// interlaced and animated PNG; and to TIFF with planes, CMYK, floating point, or strips (or rows of tiles) of more
    /// than 256 MiB.
    ///
    /// A picture with an EXIF rotation needs a temporary file of the size of its pixels.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is not a supported picture, or its header is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Option<Self>> {
        let path = path.as_ref();
        let (file, beginning) = open_and_look(path).context(|| cannot_read(path))?;
        decode::guarded(|| Self::new(path, file, &beginning)).context(|| cannot_read(path))
    }

    fn new(path: &Path, file: File, beginning: &[u8]) -> Result<Option<Self>> {
        let format = PictureFormat::of_file(path, beginning)?;
        let rows: Option<Box<dyn RowDecoder>> = match format {
            PictureFormat::Png => PngRows::open(file)?.map(|rows| Box::new(rows) as _),
            PictureFormat::Jpeg => JpegRows::open(file)?.map(|rows| Box::new(rows) as _),
            PictureFormat::Tiff => TiffRows::open(BufReader::new(file))?.map(|rows| Box::new(rows) as _),
            _ => None,
        };
        let Some(mut rows) = rows else { return Ok(None) };
        if rows.header().orientation != Orientation::NoTransforms {
            rows = Box::new(Turned::new(rows));
        }
        let header = rows.header();
        let info = PictureInfo {
            width: header.width,
            height: header.height,
            bits: header.bits,
            has_alpha: header.channels % 2 == 0,
            icc: header.icc.filter(|profile| decode::describes_rgb(profile)),
        };
        Ok(Some(Self {
            path: path.into(),
            info,
            format,
            rows,
            channels: header.channels,
            next_row: 0,
            notes: header.note.into_iter().collect(),
        }))
    }

    /// The picture's size, depth, alpha and profile.
    #[must_use]
    pub fn info(&self) -> &PictureInfo {
        &self.info
    }

    /// The file's format.
    #[must_use]
    pub fn format(&self) -> PictureFormat {
        self.format
    }

    /// Notices for the user about how the file was read. They are complete once the last row is read.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The first row of the next strip; the picture's height once all rows are read.
    #[must_use]
    pub fn next_row(&self) -> u32 {
        self.next_row
    }

    /// The next `rows` rows, fewer at the end of the picture, as a picture without a profile; `None` after the last.
    ///
    /// # Errors
    ///
    /// If `rows` is 0, or the file is cut short or damaged. Only [`Self::rewind`] makes sense after that.
    pub fn read(&mut self, rows: u32) -> Result<Option<Picture>> {
        if rows == 0 {
            return Err(Error::new("a strip must have at least one row"));
        }
        let rows = rows.min(self.info.height - self.next_row);
        if rows == 0 {
            return Ok(None);
        }
        let strip = decode::guarded(|| self.read_rows(rows)).context(|| cannot_read(&self.path))?;
        Ok(Some(strip))
    }

    fn read_rows(&mut self, rows: u32) -> Result<Picture> {
        let samples = self.rows.read(rows as usize)?;
        self.next_row += rows;
        if self.next_row == self.info.height {
            self.notes.extend(self.rows.end()?);
            self.notes.dedup();
        }
        let image = samples.into_image(self.channels, self.info.width, rows)?;
        Ok(Picture { format: Some(self.format), ..Picture::from(image) })
    }

    /// Goes back to the first row.
    ///
    /// # Errors
    ///
    /// If the file can no longer be read.
    pub fn rewind(&mut self) -> Result<()> {
        self.next_row = 0;
        self.rows.rewind().context(|| cannot_read(&self.path))
    }
}

/// The file, positioned at its beginning, and its first bytes.
fn open_and_look(path: &Path) -> io::Result<(File, Vec<u8>)> {
    let mut file = File::open(path)?;
    let mut beginning = Vec::new();
    file.by_ref().take(TELLING_BYTES).read_to_end(&mut beginning)?;
    file.rewind()?;
    Ok((file, beginning))
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read `{}`", path.display())
}

#[cfg(test)]
mod tests;
