//! The first bytes of any file: a clip, a picture or neither, and the size that a picture claims. Nothing is both.
#![no_main]

use impasto_picture::{PictureFormat, bytes_to_decode, claimed_size};
use impasto_video::is_video_start;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: impasto_fuzz::start(), |bytes: &[u8]| {
    let format = PictureFormat::of_bytes(bytes);
    let _ = (claimed_size(bytes), bytes_to_decode(bytes));
    // Two bytes are all that tells a BMP file.
    if is_video_start(bytes) {
        assert!(matches!(format, Err(_) | Ok(PictureFormat::Bmp)));
    }
});
