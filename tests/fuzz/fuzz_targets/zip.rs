//! PyTorch files of the new format: the archive, and the pickle and the storages in it.
//!
//! The input is an archive, or a pickle, which is put into an archive with three storages: a changed byte of an archive's
//! entry only breaks its checksum.
#![no_main]

use impasto_common::model_file::StyleModel;
use impasto_common::weights::read_tensors;
use impasto_fuzz::with_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let packed = if bytes.starts_with(b"PK") { bytes.to_vec() } else { archive(bytes) };
    drop(StyleModel::from_bytes(&packed, "fuzz"));
    with_file(&packed, |path| drop(read_tensors(path)));
});

/// An archive of stored entries, with this pickle and the storages `0`, `1` and `2`.
fn archive(pickle: &[u8]) -> Vec<u8> {
    let storage = [0x3C; 64];
    let entries: [(&str, &[u8]); 4] =
        [("a/data.pkl", pickle), ("a/data/0", &storage), ("a/data/1", &storage), ("a/data/2", &storage)];
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, body) in entries {
        let (at, length) = (file.len() as u32, body.len() as u32);
        let mut shared = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for number in [crc32(body), length, length] {
            shared.extend(number.to_le_bytes());
        }
        shared.extend([name.len() as u8, 0, 0, 0]);
        file.extend([b"PK\x03\x04", &shared[..], name.as_bytes(), body].concat());
        directory.extend([b"PK\x01\x02\x14\x00", &shared[..], &[0; 10]].concat());
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (at, length) = (file.len() as u32, directory.len() as u32);
    let count = entries.len() as u8;
    file.extend(directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([count, 0, count, 0]);
    file.extend([length, at].map(u32::to_le_bytes).concat());
    file.extend([0, 0]);
    file
}

/// The checksum of zip, bit by bit: the inputs are short.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}
