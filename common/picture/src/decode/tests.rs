//! Decoding: turns, profiles, depths, limits, and what is said of files that cannot be read.

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageFormat, Rgb, RgbImage, Rgba};

use super::*;
use crate::{EncodeOptions, Loss};

#[test]
fn a_decoder_that_panics_is_an_error() {
    let error = guarded::<()>(|| panic!("as zune-jpeg 0.5.15 does, of CMYK whose black has more samples")).unwrap_err();
    assert_eq!(error.to_string(), "the decoder crashed on this file");
    assert_eq!(guarded(|| Ok(7)).unwrap(), 7);
}

/// A red left half and a blue right half: turns are easy to tell, and blocks of one colour survive JPEG.
fn halves() -> RgbImage {
    RgbImage::from_fn(32, 16, |x, _| if x < 16 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) })
}

/// An EXIF block in TIFF form whose one entry is the orientation (EXIF 2.32, 4.6.4).
fn exif(orientation: u8) -> Vec<u8> {
    let entry = [0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0];
    [b"II*\0\x08\0\0\0\x01\0".as_slice(), &entry, &[0; 4]].concat()
}

fn profile(space: &[u8]) -> Vec<u8> {
    let mut profile = vec![7; 300];
    profile[16..20].copy_from_slice(space);
    profile
}

fn jpeg(prepare: impl FnOnce(&mut JpegEncoder<&mut Vec<u8>>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 95);
    prepare(&mut encoder);
    encoder.write_image(&halves(), 32, 16, ExtendedColorType::Rgb8).unwrap();
    bytes
}

#[test]
fn a_photo_is_turned_as_its_exif_block_says() {
    // The orientation's corner of red: top left of the picture as it should be seen.
    let corner = |orientation| {
        let bytes = jpeg(|encoder| encoder.set_exif_metadata(exif(orientation)).unwrap());
        let image = Picture::decode(&bytes).unwrap().into_rgb8();
        let (right, bottom) = (image.width() - 1, image.height() - 1);
        let is_red = |x, y| image.get_pixel(x, y)[0] > 200;
        (image.dimensions(), [is_red(0, 0), is_red(right, 0), is_red(0, bottom)])
    };
    assert_eq!(corner(1), ((32, 16), [true, false, true]));
    assert_eq!(corner(3), ((32, 16), [false, true, false]));
    assert_eq!(corner(6), ((16, 32), [true, true, false]));
    assert_eq!(corner(8), ((16, 32), [false, false, true]));
}

#[test]
fn a_profile_for_rgb_is_carried_and_any_other_dropped() {
    let carried = |space: &[u8]| {
        let bytes = jpeg(|encoder| encoder.set_icc_profile(profile(space)).unwrap());
        Picture::decode(&bytes).unwrap().icc_profile().map(<[u8]>::to_vec)
    };
    assert_eq!(carried(b"RGB "), Some(profile(b"RGB ")));
    assert_eq!(carried(b"CMYK"), None);
    assert_eq!(carried(b"GRAY"), None);
}

#[test]
fn ink_palettes_and_grey_become_the_colours_they_stand_for() {
    let first = |bytes: &[u8]| Picture::decode(bytes).unwrap().into_rgb8().get_pixel(0, 0).0;
    assert_eq!(first(include_bytes!("../testdata/cmyk.jpg")), [204, 0, 0]);
    assert_eq!(first(include_bytes!("../testdata/cmyk.tiff")), [204, 0, 0]);
    assert_eq!(first(include_bytes!("../testdata/palette.png")), [255, 0, 0]);
    let mut grey = Vec::new();
    PngEncoder::new(&mut grey).write_image(&[77; 6], 3, 2, ExtendedColorType::L8).unwrap();
    assert_eq!(first(&grey), [77; 3]);
}

#[test]
fn sixteen_bits_and_alpha_survive_reading() {
    let image = image::ImageBuffer::from_pixel(3, 2, Rgba([1u16, 300, 65535, 4000]));
    for format in [PictureFormat::Png, PictureFormat::Tiff] {
        let picture = Picture::from(DynamicImage::ImageRgba16(image.clone()));
        let read = Picture::decode(&picture.encode(format.into()).unwrap()).unwrap();
        assert_eq!((read.bits(), read.has_alpha(), read.format()), (16, true, Some(format)));
        assert_eq!(*read.as_image().as_rgba16().unwrap(), image);
    }
}

#[test]
fn every_cut_of_every_format_is_refused() {
    for format in PictureFormat::ALL {
        let bytes = Picture::from(halves()).encode(format.into()).unwrap();
        assert_eq!(Picture::decode(&bytes).unwrap().into_rgb8().dimensions(), (32, 16));
        for length in [0, 1, 10, 40, bytes.len() / 2, bytes.len() * 9 / 10] {
            assert!(Picture::decode(&bytes[..length]).is_err(), "{format} cut to {length} of {}", bytes.len());
        }
    }
}

#[test]
fn damaged_files_never_panic() {
    for format in PictureFormat::ALL {
        let bytes = Picture::from(halves()).encode(format.into()).unwrap();
        for at in 0..bytes.len().min(400) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xFF;
            drop(Picture::decode(&damaged));
        }
    }
}

#[test]
fn a_claim_of_more_pixels_than_are_allowed_is_refused_before_anything_is_decoded() {
    let mut bytes = Vec::new();
    RgbImage::new(1, 1).write_to(&mut Cursor::new(&mut bytes), ImageFormat::Bmp).unwrap();
    // The width in a BMP header; BMP has no checksum to mend.
    bytes[18..22].copy_from_slice(&60_000u32.to_le_bytes());
    bytes[22..26].copy_from_slice(&60_000u32.to_le_bytes());
    let error = Picture::decode(&bytes).unwrap_err().to_string();
    assert_eq!(error, "a picture of 60000x60000 pixels exceeds the limit of 268 million");
}

#[test]
fn the_claimed_size_is_that_of_the_head_alone() {
    for format in PictureFormat::ALL {
        let bytes = Picture::from(halves()).encode(format.into()).unwrap();
        assert_eq!(claimed_size(&bytes).unwrap(), (16, 32), "{format}");
        assert!(claimed_size(&bytes[..10]).is_err(), "{format}");
        assert!(Picture::decode_within(&bytes, 32 * 16).is_ok(), "{format}");
        let error = Picture::decode_within(&bytes, 32 * 16 - 1).unwrap_err().to_string();
        assert!(error.contains("exceeds the limit of 0 million"), "{format}: {error}");
    }
}

#[test]
fn progressive_files_take_three_times_the_memory() {
    let mut progressive = jpeg(|_| {});
    assert_eq!(bytes_to_decode(&progressive), Some(3 * 32 * 16));
    let at = progressive.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    progressive[at + 1] = 0xC2;
    assert_eq!(bytes_to_decode(&progressive), Some(9 * 32 * 16));
    assert_eq!(bytes_to_decode(b"no picture"), None);
}

#[test]
fn errors_name_the_file_and_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.jpg");
    let bytes = jpeg(|_| {});
    std::fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
    let error = Picture::open(&path).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot read `{}`: the file is cut short: the last 8 of 16 rows are missing", path.display())
    );
    let error = Picture::open(folder.path().join("none.jpg")).unwrap_err();
    assert!(error.to_string().contains("No such file") || error.to_string().contains("cannot find"), "{error}");
}

#[test]
fn what_jpeg_cannot_hold_is_announced_and_put_on_white() {
    let image = image::RgbaImage::from_fn(16, 8, |x, _| Rgba([0, 0, 0, if x < 8 { 0 } else { 255 }]));
    let picture = Picture::from(DynamicImage::from(image));
    assert_eq!(picture.losses(PictureFormat::Jpeg), [Loss::Transparency]);
    assert_eq!(picture.losses(PictureFormat::Gif), []);
    let jpeg = EncodeOptions { format: PictureFormat::Jpeg, quality: 100 };
    let image = Picture::decode(&picture.encode(jpeg).unwrap()).unwrap().into_rgb8();
    assert!(image.get_pixel(0, 0)[0] > 250 && image.get_pixel(15, 0)[0] < 5);
}

/// Half-transparent orange of 8 bits, and a TIFF that stores it multiplied by alpha.
fn associated_tiff() -> (Rgba<u8>, Vec<u8>) {
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = tiff::encoder::TiffEncoder::new(&mut bytes).unwrap();
    let mut image = encoder.new_image::<tiff::encoder::colortype::RGBA8>(3, 2).unwrap();
    image.encoder().write_tag(tiff::tags::Tag::ExtraSamples, 1u16).unwrap();
    image.write_data(&[128, 64, 0, 128].repeat(6)).unwrap();
    (Rgba([255, 128, 0, 128]), bytes.into_inner())
}

#[test]
fn a_tiff_with_premultiplied_alpha_is_as_bright_as_it_was_meant() {
    let (color, bytes) = associated_tiff();
    let picture = Picture::decode(&bytes).unwrap();
    assert!(picture.as_image().as_rgba8().unwrap().pixels().all(|&pixel| pixel == color));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("photo.tif"), &bytes).unwrap();
    let mut reader = crate::StripReader::open(folder.path().join("photo.tif")).unwrap().unwrap();
    assert_eq!(reader.read(2).unwrap().unwrap().as_image(), picture.as_image());
}

#[test]
fn premultiplied_levels_never_exceed_the_brightest() {
    let mut samples = [65_535u16, 1, 0, 2, 9, 9, 9, 0, 7, 65_535, 1, 65_534];
    tiff_tags::divide_samples(&mut samples);
    assert_eq!(samples, [65_535, 32_768, 0, 2, 9, 9, 9, 0, 7, 65_535, 1, 65_534]);
}

#[test]
fn a_big_tiff_is_a_tiff() {
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = tiff::encoder::TiffEncoder::new_big(&mut bytes).unwrap();
    encoder.write_image::<tiff::encoder::colortype::RGB8>(2, 1, &[1, 2, 3, 4, 5, 6]).unwrap();
    let picture = Picture::decode(bytes.get_ref()).unwrap();
    assert_eq!((picture.format(), picture.into_rgb8().into_raw()), (Some(PictureFormat::Tiff), vec![1, 2, 3, 4, 5, 6]));
    assert_eq!(PictureFormat::of_bytes(b"MM\0+\0\x08\0\0").unwrap(), PictureFormat::Tiff);
}

#[test]
fn an_animated_png_is_read_as_its_first_frame_with_a_note() {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_animated(2, 0).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[1, 2, 3, 4, 5, 6]).unwrap();
    writer.write_image_data(&[9; 6]).unwrap();
    writer.finish().unwrap();
    let picture = Picture::decode(&bytes).unwrap();
    assert_eq!(picture.notes(), ["only the first frame is painted, because animated PNG is not supported"]);
    assert_eq!(picture.into_rgb8().into_raw(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_colour_profile_of_many_megabytes_is_left_out_with_a_note() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture");
    for format in [PictureFormat::Png, PictureFormat::WebP, PictureFormat::Tiff] {
        let write = |bytes: usize| {
            let mut profile = vec![0; bytes];
            profile[16..20].copy_from_slice(b"RGB ");
            Picture { icc: Some(profile), ..Picture::from(halves()) }.encode(format.into()).unwrap()
        };
        assert_eq!(Picture::decode(&write(MAX_PROFILE)).unwrap().icc_profile().map(<[u8]>::len), Some(MAX_PROFILE));
        let bytes = write(MAX_PROFILE + 1);
        let picture = Picture::decode(&bytes).unwrap();
        assert_eq!((picture.icc_profile(), picture.notes()), (None, &[PROFILE_LEFT_OUT.to_owned()][..]), "{format}");
        assert_eq!(picture.into_rgb8(), halves());
        std::fs::write(&path, &bytes).unwrap();
        if let Some(mut reader) = crate::StripReader::open(&path).unwrap() {
            assert_eq!((&reader.info().icc, reader.notes()), (&None, &[PROFILE_LEFT_OUT.to_owned()][..]));
            assert_eq!(reader.read(16).unwrap().unwrap().into_rgb8(), halves());
        }
    }
}
