//! JPEG files: their segments, the choice of a decoder, the reader of strips, and what a file that is cut short still holds.
#![no_main]

use impasto_fuzz::{read_picture, start};
use impasto_picture::PictureFormat;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: start(), |bytes: &[u8]| {
    read_picture(bytes, PictureFormat::Jpeg);
});
