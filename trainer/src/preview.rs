//! Contact sheets: the same few photos, painted at every snapshot, to show the progress of the training.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use image::{GenericImage, ImageFormat, RgbImage};
use impasto_common::{Result, ResultExt};
use impasto_nn::StyleNet;

use crate::photos::Photos;
use crate::resample::{self, Rectangle};

/// The largest number of photos on a sheet.
const COLUMNS: usize = 4;

/// White space between pictures, pixels.
const GAP: u32 = 4;

/// The photos of a sheet, square, each with its tensor `(1, 3, size, size)`.
#[derive(Debug)]
pub struct Preview {
    photos: Vec<(RgbImage, Tensor)>,
}

impl Preview {
    /// Takes the middle squares of the first usable photos in `paths`, at `size` pixels.
    ///
    /// # Errors
    ///
    /// If the device is out of memory.
    pub fn new(paths: Vec<PathBuf>, size: usize, device: &Device) -> Result<Self> {
        let found = Photos::new(Path::new(""), paths, size, 1.0, 0);
        let usable = (0..found.len()).filter_map(|index| found.get(index).ok()).take(COLUMNS);
        let photos = usable.map(|photo| {
            let square = middle_square(&photo, size)?;
            let tensor = impasto_nn::rgb_to_tensor(&square, device)?;
            Ok((square, tensor))
        });
        Ok(Self { photos: photos.collect::<Result<_>>()? })
    }

    /// Paints the photos and writes a PNG file to `path`, with the originals in the upper row.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write(&self, network: &StyleNet, path: &Path) -> Result<()> {
        let Some((first, _)) = self.photos.first() else { return Ok(()) };
        let side = first.width();
        let offset = |index: u32| GAP + index * (side + GAP);
        let mut sheet = RgbImage::from_pixel(offset(self.photos.len() as u32), offset(2), image::Rgb([255, 255, 255]));
        for (index, (photo, tensor)) in self.photos.iter().enumerate() {
            let painted = impasto_nn::tensor_to_rgb(&network.forward(tensor)?.detach())?;
            for (row, picture) in [photo, &painted].into_iter().enumerate() {
                sheet.copy_from(picture, offset(index as u32), offset(row as u32)).context(|| "the sheet is full")?;
            }
        }
        let mut png = Cursor::new(Vec::new());
        sheet.write_to(&mut png, ImageFormat::Png).context(|| "cannot encode the contact sheet")?;
        impasto_files::write_atomic(path, |writer| {
            writer.write_all(png.get_ref()).context(|| "cannot write the contact sheet")
        })
    }
}

fn middle_square(photo: &Arc<RgbImage>, size: usize) -> Result<RgbImage> {
    let (width, height) = photo.dimensions();
    let side = width.min(height);
    let square = Rectangle { left: (width - side) / 2, top: (height - side) / 2, width: side, height: side };
    resample::resize(photo, square, size as u32, size as u32)
}
