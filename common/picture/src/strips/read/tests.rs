use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use png::{BitDepth, ColorType};
use tempfile::TempDir;
use tiff::encoder::colortype::{self, ColorType as TiffColor};
use tiff::encoder::{Compression, TiffEncoder, TiffKind, TiffKindBig, TiffKindStandard, TiffValue};
use tiff::tags::Tag;

use super::*;

const SIZES: [(u32, u32); 4] = [(1, 1), (9, 1), (1, 10), (37, 23)];

/// Bytes in which nothing repeats for long.
fn noise(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i * i % 251 + i / 7) as u8).collect()
}

fn open(bytes: &[u8]) -> Result<Option<StripReader>> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("picture");
    std::fs::write(&path, bytes).unwrap();
    let reader = StripReader::open(&path);
    // Windows does not remove the folder below an open file; nothing else needs it.
    drop(folder);
    reader
}

/// The samples of all strips one after the other, in the machine's order of bytes.
fn read_all(reader: &mut StripReader, rows: u32) -> Result<Vec<u8>> {
    let mut samples = Vec::new();
    let mut missing = reader.info().height - reader.next_row();
    while let Some(strip) = reader.read(rows)? {
        assert_eq!(strip.info(), PictureInfo { height: rows.min(missing), icc: None, ..reader.info().clone() });
        missing -= strip.height();
        samples.extend_from_slice(strip.as_image().as_bytes());
    }
    assert_eq!(missing, 0);
    Ok(samples)
}

/// Expects strips of every height to be those of the picture decoded as a whole.
fn assert_reads_as_decoded(bytes: &[u8], what: &str) {
    let whole = Picture::decode(bytes).unwrap();
    let mut reader = open(bytes).unwrap().unwrap_or_else(|| panic!("{what} is not read in strips"));
    assert_eq!((reader.info(), Some(reader.format())), (&whole.info(), whole.format()), "{what}");
    for rows in [1, 4, 7, 1000] {
        assert!(read_all(&mut reader, rows).unwrap() == whole.as_image().as_bytes(), "{what}, {rows} rows a strip");
        reader.rewind().unwrap();
    }
}

/// A PNG of any kind; a palette and a transparent colour where the kind asks for them.
fn png((width, height): (u32, u32), color: ColorType, depth: BitDepth, transparent: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == ColorType::Indexed {
        encoder.set_palette(noise(3 << depth as u8));
    }
    if let Some(transparent) = transparent {
        encoder.set_trns(transparent.to_vec());
    }
    let row = (width as usize * color.samples() * depth as usize).div_ceil(8);
    encoder.write_header().unwrap().write_image_data(&noise(row * height as usize)).unwrap();
    bytes
}

#[test]
fn every_kind_of_png_reads_as_it_decodes() {
    use BitDepth::{Eight, Four, One, Sixteen, Two};
    use ColorType::{Grayscale, GrayscaleAlpha, Indexed, Rgb, Rgba};
    for size in SIZES {
        for (color, depths) in [
            (Grayscale, &[One, Two, Four, Eight, Sixteen][..]),
            (Indexed, &[One, Two, Four, Eight]),
            (GrayscaleAlpha, &[Eight, Sixteen]),
            (Rgb, &[Eight, Sixteen]),
            (Rgba, &[Eight, Sixteen]),
        ] {
            for &depth in depths {
                let transparent: &[u8] = match color {
                    Grayscale => &[0, 1],
                    Rgb => &[0, 0, 0, 1, 0, 4],
                    _ => &[0, 100],
                };
                assert_reads_as_decoded(&png(size, color, depth, None), &format!("{color:?} {depth:?} {size:?}"));
                if matches!(color, Grayscale | Indexed | Rgb) {
                    let what = format!("{color:?} {depth:?} {size:?} with transparency");
                    assert_reads_as_decoded(&png(size, color, depth, Some(transparent)), &what);
                }
            }
        }
    }
}

fn tiff<K: TiffKind, C: TiffColor<Inner: TryFrom<usize, Error: std::fmt::Debug>>>(
    (width, height): (u32, u32),
    orientation: u16,
    compression: Compression,
) -> Vec<u8>
where
    [C::Inner]: TiffValue,
{
    let mut bytes = io::Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::<_, K>::new_generic(&mut bytes).unwrap().with_compression(compression);
    let mut image = encoder.new_image::<C>(width, height).unwrap();
    image.encoder().write_tag(Tag::Orientation, orientation).unwrap();
    image.rows_per_strip(5).unwrap();
    let samples: Vec<_> = noise(width as usize * height as usize * C::BITS_PER_SAMPLE.len())
        .into_iter()
        .map(|byte| C::Inner::try_from(usize::from(byte)).unwrap())
        .collect();
    image.write_data(&samples).unwrap();
    bytes.into_inner()
}

fn assert_every_kind_of_tiff_reads_as_it_decodes<K: TiffKind>(name: &str) {
    for size in SIZES {
        for compression in [Compression::Uncompressed, Compression::Packbits] {
            assert_reads_as_decoded(&tiff::<K, colortype::Gray8>(size, 1, compression), &format!("{name}: grey"));
            assert_reads_as_decoded(&tiff::<K, colortype::Gray16>(size, 1, compression), &format!("{name}: grey 16"));
            assert_reads_as_decoded(&tiff::<K, colortype::RGB8>(size, 1, compression), &format!("{name}: RGB"));
            assert_reads_as_decoded(&tiff::<K, colortype::RGB8>(size, 6, compression), &format!("{name}: RGB turned"));
            assert_reads_as_decoded(&tiff::<K, colortype::RGB16>(size, 1, compression), &format!("{name}: RGB 16"));
            assert_reads_as_decoded(&tiff::<K, colortype::RGBA8>(size, 1, compression), &format!("{name}: RGBA"));
            assert_reads_as_decoded(&tiff::<K, colortype::RGBA16>(size, 1, compression), &format!("{name}: RGBA 16"));
        }
    }
}

#[test]
fn every_kind_of_tiff_reads_as_it_decodes() {
    assert_every_kind_of_tiff_reads_as_it_decodes::<TiffKindStandard>("TIFF");
}

#[test]
fn every_kind_of_big_tiff_reads_in_strips_as_it_decodes() {
    assert_every_kind_of_tiff_reads_as_it_decodes::<TiffKindBig>("BigTIFF");
}

/// Raw files of cameras hold a small preview first, which is not the photo.
#[test]
fn the_preview_in_a_raw_file_of_a_camera_is_not_taken_for_the_photo() {
    let error = "the picture's format, camera raw, is not supported";
    let pixels = [noise(5 * 3)];
    let tags = [(256, 5), (257, 3), (258, 8), (262, 1), (277, 1), (278, 3)];
    let raw = |more: &[(u16, u32)]| raw_tiff(&pixels, (273, 279), &[&tags, more].concat());
    for bytes in [raw(&[(50_706, 0x0401)]), raw(&[(254, 1), (330, 8)])] {
        assert_eq!(Picture::decode(&bytes).unwrap_err().to_string(), error);
        assert!(open(&bytes).err().unwrap().to_string().ends_with(error));
    }
    for plain in [raw(&[]), raw(&[(254, 1)]), raw(&[(254, 0), (330, 8)])] {
        assert_reads_as_decoded(&plain, "a TIFF");
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("DSC_0001.NEF");
    std::fs::write(&path, raw(&[])).unwrap();
    for text in [Picture::open(&path).err().unwrap().to_string(), StripReader::open(&path).err().unwrap().to_string()] {
        assert!(text.ends_with(&format!("DSC_0001.NEF`: {error}")), "{text}");
    }
}

/// A little-endian TIFF made by hand: pixel data of equal parts, and short or long tags.
fn raw_tiff(parts: &[Vec<u8>], (offsets, counts): (u16, u16), tags: &[(u16, u32)]) -> Vec<u8> {
    let mut file = b"II*\0\0\0\0\0".to_vec();
    let long = |numbers: &[u32], file: &mut Vec<u8>| {
        let at = file.len() as u32;
        file.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        if numbers.len() == 1 { numbers[0] } else { at }
    };
    let places: Vec<_> = parts.iter().map(|part| (file.len() as u32, file.extend(part)).0).collect();
    let offsets = (offsets, places.len() as u32, long(&places, &mut file));
    let lengths: Vec<_> = parts.iter().map(|part| part.len() as u32).collect();
    let counts = (counts, lengths.len() as u32, long(&lengths, &mut file));
    let mut entries: Vec<_> = tags.iter().map(|&(tag, value)| (tag, 1, value)).chain([offsets, counts]).collect();
    entries.sort_unstable();
    let directory = file.len() as u32;
    file[4..8].copy_from_slice(&directory.to_le_bytes());
    file.extend((entries.len() as u16).to_le_bytes());
    for (tag, count, value) in entries {
        file.extend([tag.to_le_bytes(), 4u16.to_le_bytes()].concat());
        file.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
    }
    file.extend([0; 4]);
    file
}

#[test]
fn a_tiff_of_bits_and_one_of_tiles_read_as_they_decode() {
    let (width, height) = (37, 23);
    for white_is_zero in [1, 0] {
        let strips = [noise(5 * 16), noise(5 * 7)];
        let tags = [(256, width), (257, height), (258, 1), (262, white_is_zero), (277, 1), (278, 16)];
        assert_reads_as_decoded(&raw_tiff(&strips, (273, 279), &tags), "a TIFF of bits");
    }
    let tiles: Vec<_> = (0..6).map(|tile| noise(16 * 16 + tile)[tile..].to_vec()).collect();
    let tags = [(256, width), (257, height), (258, 8), (262, 1), (277, 1), (322, 16), (323, 16)];
    assert_reads_as_decoded(&raw_tiff(&tiles, (324, 325), &tags), "a TIFF of tiles");
}

#[test]
fn what_is_not_stored_from_the_top_down_must_be_read_whole() {
    for format in [PictureFormat::WebP, PictureFormat::Bmp, PictureFormat::Gif] {
        let picture = Picture::from(image::RgbImage::new(5, 3));
        assert!(open(&picture.encode(format.into()).unwrap()).unwrap().is_none(), "{format}");
    }
    assert!(open(include_bytes!("../../testdata/cmyk.tiff")).unwrap().is_none());
    let mut interlaced = png((5, 3), ColorType::Rgb, BitDepth::Eight, None);
    interlaced[28] = 1;
    let sum = crc(&interlaced[12..29]);
    interlaced[29..33].copy_from_slice(&sum.to_be_bytes());
    assert!(open(&interlaced).unwrap().is_none());
}

/// The check sum of a PNG chunk (PNG, annex D).
fn crc(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| if sum & 1 == 1 { 0xEDB8_8320 ^ (sum >> 1) } else { sum >> 1 };
    !bytes.iter().fold(u32::MAX, |sum, &byte| (0..8).fold(sum ^ u32::from(byte), step))
}

#[test]
fn a_reader_rewinds_from_anywhere() {
    for format in [PictureFormat::Png, PictureFormat::Tiff] {
        let picture = Picture::decode(&png((37, 23), ColorType::Rgb, BitDepth::Sixteen, None)).unwrap();
        let mut reader = open(&picture.encode(format.into()).unwrap()).unwrap().unwrap();
        for rows in [5, 22, 23, 100] {
            reader.read(rows).unwrap();
            assert_eq!(reader.next_row(), rows.min(23));
            reader.rewind().unwrap();
            assert!(read_all(&mut reader, 4).unwrap() == picture.as_image().as_bytes(), "{format}");
            assert!(reader.read(1).unwrap().is_none());
            reader.rewind().unwrap();
        }
        assert!(reader.read(0).is_err());
    }
}

#[test]
fn a_profile_for_rgb_is_found_and_any_other_dropped() {
    for (space, found) in [(b"RGB ", true), (b"CMYK", false)] {
        let mut profile = noise(300);
        profile[16..20].copy_from_slice(space);
        let mut bytes = Vec::new();
        let mut encoder = PngEncoder::new(&mut bytes);
        encoder.set_icc_profile(profile.clone()).unwrap();
        encoder.write_image(&[0; 45], 5, 3, ExtendedColorType::Rgb8).unwrap();
        assert_eq!(open(&bytes).unwrap().unwrap().info().icc, found.then_some(profile));
    }
}

#[test]
fn files_that_are_no_pictures_or_cut_short_are_named_with_the_cause() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("picture");
    let message = |cause: &str| format!("cannot read `{}`: {cause}", path.display());
    let failure = || match StripReader::open(&path) {
        Ok(reader) => read_all(&mut reader.unwrap(), 4).unwrap_err(),
        Err(error) => error,
    };
    assert!(failure().to_string().starts_with(&message("")));
    std::fs::write(&path, b"this is no picture, whatever its name says").unwrap();
    assert_eq!(failure().to_string(), message("the file is not a picture"));
    let pictures = [
        png((37, 23), ColorType::Rgba, BitDepth::Eight, None),
        tiff::<TiffKindStandard, colortype::RGB8>((37, 23), 1, Compression::Uncompressed),
    ];
    for bytes in pictures {
        for length in [60, bytes.len() / 2, bytes.len() * 9 / 10] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let error = failure();
            assert_eq!(error.to_string(), message("the file is cut short"), "{length} of {}", bytes.len());
            assert_eq!(error.hint(), Some("copy or download it again"));
        }
    }
}

#[test]
fn damaged_files_never_panic_and_are_not_read_otherwise_than_decoded() {
    let pictures = [
        png((17, 9), ColorType::Indexed, BitDepth::Four, Some(&[9])),
        tiff::<TiffKindStandard, colortype::Gray8>((17, 9), 1, Compression::Packbits),
        tiff::<TiffKindStandard, colortype::RGB16>((3, 9), 1, Compression::Uncompressed),
    ];
    for bytes in pictures {
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xFF;
            let whole = Picture::decode(&damaged);
            let strips =
                open(&damaged).and_then(|reader| reader.map(|mut reader| read_all(&mut reader, 4)).transpose());
            if let (Ok(whole), Ok(Some(strips))) = (whole, strips) {
                assert!(strips == whole.as_image().as_bytes(), "byte {at}");
            }
        }
    }
}
