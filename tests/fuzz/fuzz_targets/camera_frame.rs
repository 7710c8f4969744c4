//! What a browser sends of its camera over a WebSocket: a head of eight bytes, then pixels or a picture file.
#![no_main]

use impasto_fuzz::start;
use impasto_infer::serve::read_camera_frame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: start(), |bytes: &[u8]| {
    if let Some(picture) = read_camera_frame(bytes) {
        assert!(picture.width() > 0 && picture.height() > 0);
    }
});
