//! Streams of uncompressed frames: the header, and every frame of it.
#![no_main]

use impasto_fuzz::start;
use impasto_video::Y4mReader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: start(), |bytes: &[u8]| {
    let Ok(reader) = Y4mReader::new(bytes) else { return };
    let (width, height) = (reader.info().width, reader.info().height);
    for frame in reader.map_while(Result::ok) {
        assert_eq!((frame.picture.width(), frame.picture.height()), (width, height));
    }
});
