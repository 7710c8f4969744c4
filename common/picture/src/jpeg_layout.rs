//! The layout of a JPEG file, and which decoder reads that layout correctly.
//!
//! The decoder that the image crate uses (zune-jpeg 0.5) returns garbage and reports success, or panics, for some rare
//! layouts: sequential files whose components are in several scans, and files whose first component is coarser than
//! another. A second decoder (jpeg-decoder 0.3) reads these correctly. It fails in a different rare case: components in
//! several scans, with sampling factors of both 4 and 2 along an axis. Tests compare both with the pixels of libjpeg in
//! `testdata/layouts`.

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage};
use impasto_error::{Error, Result};
use jpeg_decoder::{Decoder, PixelFormat};

use super::jpeg::{START_OF_SCAN, next_marker, skip_segment};

/// The content of the frame header and of the first scan header (ITU-T T.81, B.2).
#[derive(Debug)]
struct JpegLayout {
    progressive: bool,
    /// The sampling factors of each component, across and down.
    sampling: Vec<(u8, u8)>,
    /// Components in the first scan.
    scanned: usize,
}

/// The pixels and metadata of a JPEG file, before EXIF rotation.
pub(super) struct DecodedJpeg {
    pub(super) image: DynamicImage,
    pub(super) orientation: Orientation,
    pub(super) icc: Option<Vec<u8>>,
}

impl JpegLayout {
    /// Reads the headers. `None` if they are damaged or of another kind; the usual decoder then reports the error.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.get(2..)?;
        let (mut sampling, mut progressive) = (Vec::new(), false);
        while let Some((marker, after)) = next_marker(rest) {
            match marker {
                0xC0..=0xC2 => {
                    let count = usize::from(*after.get(7)?);
                    let components = after.get(8..8 + 3 * count)?.as_chunks::<3>().0;
                    sampling = components.iter().map(|&[_, factors, _]| (factors >> 4, factors & 15)).collect();
                    progressive = marker == 0xC2;
                }
                START_OF_SCAN => {
                    return Some(Self { progressive, sampling, scanned: usize::from(*after.get(2)?) });
                }
                _ => {}
            }
            rest = skip_segment(marker, after).ok()?;
        }
        None
    }

    /// Whether zune-jpeg reads it correctly.
    fn is_usual(&self) -> bool {
        let widest = self.sampling.iter().map(|&(across, _)| across).max();
        let first_is_finest = self.sampling.first().map(|&(across, _)| across) == widest;
        let together = self.progressive || self.scanned == self.sampling.len();
        let known = self.sampling.iter().all(|&(across, _)| across != 3);
        self.sampling.len() <= 1 || (first_is_finest && known && together)
    }

    /// Whether jpeg-decoder reads it correctly.
    fn is_known_to_other(&self) -> bool {
        let mixed = |factor: fn(&(u8, u8)) -> u8| {
            let has = |wanted: u8| self.sampling.iter().any(|factors| factor(factors) == wanted);
            has(4) && has(2)
        };
        let together = !self.progressive && self.scanned == self.sampling.len();
        (3..=4).contains(&self.sampling.len())
            && (together || !(mixed(|factors| factors.0) || mixed(|factors| factors.1)))
    }
}

/// Whether the usual decoder reads a file of this layout correctly.
pub(super) fn is_usual(bytes: &[u8]) -> bool {
    JpegLayout::read(bytes).is_none_or(|layout| layout.is_usual())
}

/// Decodes a file with an unusual layout.
///
/// # Errors
///
/// If neither decoder supports the layout, or the file is damaged.
pub(super) fn decode_unusual(bytes: &[u8], max_bytes: u64) -> Result<DecodedJpeg> {
    if !JpegLayout::read(bytes).is_some_and(|layout| layout.is_known_to_other()) {
        return Err(Error::new("its chroma subsampling or order of components is not supported")
            .with_hint("save it again as an ordinary JPEG or PNG"));
    }
    let damaged = |error: jpeg_decoder::Error| Error::new("the file is damaged").with_source(error);
    let mut decoder = Decoder::new(bytes);
    decoder.set_max_decoding_buffer_size(usize::try_from(max_bytes).unwrap_or(usize::MAX));
    let pixels = decoder.decode().map_err(damaged)?;
    let info = decoder.info().ok_or_else(|| Error::new("the file is damaged"))?;
    let (width, height) = (info.width.into(), info.height.into());
    let image = match info.pixel_format {
        PixelFormat::L8 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        PixelFormat::RGB24 => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
        PixelFormat::CMYK32 => RgbImage::from_raw(width, height, without_ink(&pixels)).map(DynamicImage::from),
        PixelFormat::L16 => None,
    };
    let orientation = decoder.exif_data().and_then(Orientation::from_exif_chunk);
    Ok(DecodedJpeg {
        image: image.ok_or_else(|| Error::new("this variant of the picture format is not supported"))?,
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
        icc: decoder.icc_profile(),
    })
}

/// Converts CMYK, with 255 for full ink, to RGB.
fn without_ink(pixels: &[u8]) -> Vec<u8> {
    let rgb = |&[cyan, magenta, yellow, black]: &[u8; 4]| {
        let light = |ink: u8| u16::from(255 - ink) * u16::from(255 - black);
        [cyan, magenta, yellow].map(|ink| ((light(ink) + 127) / 255) as u8)
    };
    pixels.as_chunks::<4>().0.iter().flat_map(rgb).collect()
}

/// The height and width of a file with an unusual layout.
///
/// # Errors
///
/// If the header is damaged.
pub(super) fn unusual_size(bytes: &[u8]) -> Result<(u32, u32)> {
    let mut decoder = Decoder::new(bytes);
    decoder.read_info().map_err(|error| Error::new("the file is damaged").with_source(error))?;
    let info = decoder.info().ok_or_else(|| Error::new("the file is damaged"))?;
    Ok((info.height.into(), info.width.into()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use crate::{Picture, StripReader};

    /// The largest difference in levels between two correct decoders, due to the inverse transform and to chroma
    /// interpolation.
    const TOLERANCE: u8 = 8;

    fn largest_difference(found: &Picture, expected: &Picture) -> u8 {
        assert_eq!((found.width(), found.height()), (expected.width(), expected.height()));
        let pairs = found.as_image().as_bytes().iter().zip(expected.as_image().as_bytes());
        pairs.map(|(found, expected)| found.abs_diff(*expected)).max().unwrap_or(0)
    }

    #[test]
    fn every_sampling_and_order_of_scans_gives_the_pixels_of_libjpeg_or_is_refused() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testdata/layouts");
        let (mut right, mut refused) = (0, Vec::new());
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "jpg") {
                continue;
            }
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let (sampling, _) = name.split_once('.').unwrap();
            let expected = Picture::open(path.with_file_name(format!("{sampling}.png"))).unwrap();
            let whole = match Picture::open(&path) {
                Ok(picture) => picture,
                Err(error) => {
                    assert!(error.to_string().ends_with("order of components is not supported"), "{name}: {error}");
                    refused.push(name);
                    continue;
                }
            };
            let off = largest_difference(&whole, &expected);
            assert!(off <= TOLERANCE, "{name}: {off} levels");
            if let Some(mut reader) = StripReader::open(&path).unwrap() {
                let strips = reader.read(1000).unwrap().unwrap();
                assert!(strips.as_image() == whole.as_image(), "{name} in strips");
            }
            right += 1;
        }
        refused.sort();
        let corner = ["apart", "last_apart", "luma_apart"].map(|scans| format!("4x1_2x1_1x1.{scans}.jpg"));
        assert_eq!((right, refused), (72, corner.to_vec()));
    }

    #[test]
    fn a_photo_that_lacks_only_its_end_marker_is_read_with_a_note_and_one_cut_short_says_how_many_rows_are_missing() {
        let whole = include_bytes!("testdata/layouts/2x2_1x1_1x1.interleaved.jpg");
        let unended = &whole[..whole.len() - 2];
        let picture = Picture::decode(unended).unwrap();
        assert_eq!(picture.notes(), ["the file has no end marker, but all pixels are complete"]);
        assert!(picture.as_image() == Picture::decode(whole).unwrap().as_image());
        assert!(Picture::decode(whole).unwrap().notes().is_empty());

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unended.jpg");
        fs::write(&path, unended).unwrap();
        let mut reader = StripReader::open(&path).unwrap().unwrap();
        assert!(reader.read(1000).unwrap().unwrap().as_image() == picture.as_image());
        assert_eq!(reader.notes(), picture.notes());

        let error = Picture::decode(&whole[..whole.len() - 20]).unwrap_err().to_string();
        assert_eq!(error, "the file is cut short: the last 13 of 29 rows are missing");
    }
}
