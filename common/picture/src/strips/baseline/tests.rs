use image::{Rgb, RgbImage};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::super::{PictureInfo, StripReader};
use crate::Picture;
use impasto_error::Result;

/// Smooth and rough parts, and colours that chroma of less resolution cannot follow.
fn photo(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let noise = (x * x * 7 + y * y * 13 + x * y) % 251;
        Rgb([(x * 3 + y) as u8, if (x / 5 + y / 3) % 2 == 0 { 230 } else { 20 }, noise as u8])
    })
}

fn encode(image: &RgbImage, color: ColorType, prepare: impl FnOnce(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 90);
    prepare(&mut encoder);
    let samples = image.pixels().flat_map(|&Rgb([red, green, blue])| match color {
        ColorType::Luma => vec![green],
        ColorType::Rgb => vec![red, green, blue],
        _ => vec![red, green, blue, red / 2],
    });
    let samples: Vec<u8> = samples.collect();
    encoder.encode(&samples, image.width() as u16, image.height() as u16, color).unwrap();
    bytes
}

fn open(bytes: &[u8]) -> Result<Option<StripReader>> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    StripReader::open(file.path())
}

fn read_all(reader: &mut StripReader, rows: u32) -> Result<Vec<u8>> {
    let mut samples = Vec::new();
    while let Some(strip) = reader.read(rows)? {
        samples.extend_from_slice(strip.as_image().as_bytes());
    }
    Ok(samples)
}

fn assert_reads_as_decoded(bytes: &[u8], what: &str) {
    let whole = Picture::decode(bytes).unwrap();
    let mut reader = open(bytes).unwrap().unwrap_or_else(|| panic!("{what} is not read in strips"));
    assert_eq!((reader.info(), Some(reader.format())), (&whole.info(), whole.format()), "{what}");
    for rows in [1, 7, 10_000] {
        let strips = read_all(&mut reader, rows).unwrap();
        let first = strips.iter().zip(whole.as_image().as_bytes()).position(|(strips, whole)| strips != whole);
        assert_eq!((first, strips.len()), (None, whole.as_image().as_bytes().len()), "{what}, {rows} rows a strip");
        reader.rewind().unwrap();
    }
}

#[test]
fn every_colour_and_sampling_reads_as_it_decodes() {
    use SamplingFactor::{F_1_1, F_1_2, F_1_4, F_2_1, F_2_2, F_2_4, F_4_1, F_4_2};
    for (width, height) in [(1, 1), (8, 8), (16, 17), (37, 83), (130, 33)] {
        let image = photo(width, height);
        for color in [ColorType::Luma, ColorType::Rgb, ColorType::Cmyk, ColorType::CmykAsYcck] {
            for sampling in [F_1_1, F_2_1, F_1_2, F_2_2, F_4_1, F_4_2, F_1_4, F_2_4] {
                for (restart, optimized) in [(None, false), (Some(1), true), (Some(7), false), (None, true)] {
                    let bytes = encode(&image, color, |encoder| {
                        encoder.set_sampling_factor(sampling);
                        encoder.set_optimized_huffman_tables(optimized);
                        if let Some(restart) = restart {
                            encoder.set_restart_interval(restart);
                        }
                    });
                    let what = format!("{color:?} {sampling:?} {restart:?} {optimized} {width}x{height}");
                    // This encoder writes a scan for each component where it looks for the best tables, and where one has
                    // four times the samples of another.
                    let apart = optimized || [F_4_1, F_4_2, F_1_4, F_2_4].contains(&sampling);
                    // Of CMYK it samples black finer than the other inks.
                    let coarse = color == ColorType::Cmyk && [F_2_1, F_2_2].contains(&sampling);
                    if (apart || coarse) && color != ColorType::Luma {
                        assert!(open(&bytes).unwrap().is_none(), "{what}");
                        continue;
                    }
                    assert_reads_as_decoded(&bytes, &what);
                }
            }
        }
    }
    assert_reads_as_decoded(include_bytes!("../../testdata/cmyk.jpg"), "CMYK of another encoder");
}

/// Strips are of some megabytes, so this takes a picture of more: rows of units are cut apart in many places.
#[test]
fn a_picture_of_many_strips_reads_as_it_decodes() {
    let image = photo(6000, 1500);
    for sampling in [SamplingFactor::R_4_2_0, SamplingFactor::R_4_4_4] {
        let bytes = encode(&image, ColorType::Rgb, |encoder| encoder.set_sampling_factor(sampling));
        let whole = Picture::decode(&bytes).unwrap();
        let mut reader = open(&bytes).unwrap().unwrap();
        assert!(read_all(&mut reader, 100).unwrap() == whole.as_image().as_bytes(), "{sampling:?}");
        reader.rewind().unwrap();
        let second = [reader.read(700).unwrap(), reader.read(3).unwrap()].map(|strip| strip.unwrap().into_rgb8());
        assert!(second[1].as_raw()[..] == whole.as_image().as_bytes()[700 * 3 * 6000..][..3 * 3 * 6000]);
    }
}

#[test]
fn profile_and_turn_are_those_of_the_whole_picture() {
    let mut profile = vec![7; 70_000];
    profile[16..20].copy_from_slice(b"RGB ");
    for orientation in [1, 6, 8] {
        let bytes = encode(&photo(37, 83), ColorType::Rgb, |encoder| {
            let exif = [b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(), &[orientation, 0, 0, 0], &[0; 4]];
            encoder.add_exif_metadata(&exif.concat()).unwrap();
            encoder.add_icc_profile(&profile).unwrap();
        });
        assert_reads_as_decoded(&bytes, &format!("orientation {orientation}"));
        let info = open(&bytes).unwrap().unwrap().info().clone();
        let (width, height) = if orientation == 1 { (37, 83) } else { (83, 37) };
        assert_eq!(info, PictureInfo { width, height, bits: 8, has_alpha: false, icc: Some(profile.clone()) });
    }
}

#[test]
fn progressive_files_must_be_read_whole() {
    let bytes = encode(&photo(37, 83), ColorType::Rgb, |encoder| encoder.set_progressive(true));
    assert!(open(&bytes).unwrap().is_none());
    assert!(Picture::decode(&bytes).is_ok());
}

#[test]
fn a_file_cut_short_is_refused() {
    for restart in [0, 3] {
        let bytes = encode(&photo(37, 83), ColorType::Rgb, |encoder| encoder.set_restart_interval(restart));
        for length in (60..bytes.len()).step_by(97) {
            let error = match open(&bytes[..length]) {
                Ok(reader) => read_all(&mut reader.unwrap(), 9).unwrap_err(),
                Err(error) => error,
            };
            assert!(error.to_string().ends_with("the file is cut short"), "{error}, {length} of {}", bytes.len());
        }
        // The end marker alone is no loss.
        for length in [bytes.len() - 2, bytes.len() - 1] {
            let mut reader = open(&bytes[..length]).unwrap().unwrap();
            assert!(read_all(&mut reader, 9).unwrap() == Picture::decode(&bytes).unwrap().as_image().as_bytes());
            assert_eq!(reader.notes().len(), 1);
        }
    }
}

#[test]
fn a_damaged_file_never_panics_and_is_not_read_otherwise_than_decoded() {
    let bytes = encode(&photo(37, 40), ColorType::Rgb, |encoder| encoder.set_restart_interval(4));
    let mut read = 0;
    for at in 0..bytes.len() {
        for flip in [0xFF, 0x10] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            let strips =
                open(&damaged).and_then(|reader| reader.map(|mut reader| read_all(&mut reader, 9)).transpose());
            if let (Ok(whole), Ok(Some(strips))) = (Picture::decode(&damaged), strips) {
                assert!(strips == whole.as_image().as_bytes(), "byte {at}, {flip:#x}");
                read += 1;
            }
        }
    }
    assert!(read > 100, "{read}");
}
