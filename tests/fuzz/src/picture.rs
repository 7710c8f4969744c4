//! Pictures, read by every way that there is.

use impasto_picture::{Animation, Picture, PictureFormat, StripReader, bytes_to_decode, claimed_size};

use crate::with_file;

/// The most pixels that are decoded. More would take longer and show nothing new.
const PIXELS: u64 = 1 << 14;

/// Rows in a strip.
const ROWS: u32 = 5;

/// Reads a picture whole and in strips; other formats are not looked at. Both ways must give the same size, and strips must
/// have as many rows as the header says.
pub fn read_picture(bytes: &[u8], format: PictureFormat) {
    if PictureFormat::of_bytes(bytes).ok() != Some(format) {
        return;
    }
    let size = claimed_size(bytes).ok();
    let _ = bytes_to_decode(bytes);
    let whole = Picture::decode_within(bytes, PIXELS).ok();
    with_file(bytes, |path| {
        let Ok(Some(mut strips)) = StripReader::open(path) else { return };
        let (width, height) = (strips.info().width, strips.info().height);
        if let Some(whole) = &whole {
            assert_eq!((whole.width(), whole.height()), (width, height));
        }
        assert!(width > 0 && height > 0);
        if u64::from(width) * u64::from(height) > PIXELS {
            return;
        }
        let mut rows = 0;
        while let Ok(Some(strip)) = strips.read(ROWS) {
            rows += strip.height();
        }
        assert!(rows <= height);
        strips.rewind().expect("the file is still there");
        assert_eq!(strips.read(height).is_ok(), rows == height);
    });
    if let (Some(whole), Some((height, width))) = (whole, size) {
        assert!([(whole.width(), whole.height()), (whole.height(), whole.width())].contains(&(width, height)));
    }
}

/// Reads the frames of an animation, all of the same size.
pub fn read_animation(bytes: &[u8], format: PictureFormat) {
    if PictureFormat::of_bytes(bytes).ok() != Some(format)
        || claimed_size(bytes).is_ok_and(|(height, width)| u64::from(height) * u64::from(width) > PIXELS)
    {
        return;
    }
    let Ok(Some(frames)) = Animation::decode(bytes) else { return };
    let mut size = None;
    for frame in frames.map_while(Result::ok) {
        let picture = frame.picture;
        assert_eq!(*size.get_or_insert((picture.width(), picture.height())), (picture.width(), picture.height()));
    }
}
