//! GIF stills and animations, and how often they play.
#![no_main]

use impasto_fuzz::{read_animation, read_picture, start};
use impasto_picture::PictureFormat;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: start(), |bytes: &[u8]| {
    read_picture(bytes, PictureFormat::Gif);
    read_animation(bytes, PictureFormat::Gif);
});
