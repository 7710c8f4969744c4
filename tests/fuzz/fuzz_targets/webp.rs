//! WebP stills and animations: the chunks, and how frames are laid over each other.
#![no_main]

use impasto_fuzz::{read_animation, read_picture, start};
use impasto_picture::PictureFormat;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: start(), |bytes: &[u8]| {
    read_picture(bytes, PictureFormat::WebP);
    read_animation(bytes, PictureFormat::WebP);
});
