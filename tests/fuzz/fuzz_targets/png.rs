//! PNG files: the chunks before the pixels, and strips.
#![no_main]

use impasto_fuzz::{read_picture, start};
use impasto_picture::PictureFormat;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: start(), |bytes: &[u8]| {
    read_picture(bytes, PictureFormat::Png);
});
