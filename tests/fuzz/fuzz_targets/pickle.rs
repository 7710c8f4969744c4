//! PyTorch files: the pickle, the tensors it describes and where they lie, the network among them.
//!
//! The input is a file of either format, or a bare pickle, which is put into a file of the old format.
#![no_main]

use impasto_common::model_file::StyleModel;
use libfuzzer_sys::fuzz_target;

/// How a file of the old format begins: the magic number, the version of the protocol, and a dictionary on the machine.
const LEGACY_START: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";

fuzz_target!(|bytes: &[u8]| {
    if bytes.starts_with(b"PK") || bytes.starts_with(&LEGACY_START[..15]) {
        drop(StyleModel::from_bytes(bytes, "fuzz"));
    } else {
        drop(StyleModel::from_bytes(&[LEGACY_START, bytes].concat(), "fuzz"));
    }
});
