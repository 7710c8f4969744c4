//! Short digests by which a resumed run recognises its inputs.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use impasto_common::{Result, ResultExt};
use serde::{Deserialize, Serialize};

/// A 64-bit FNV-1a hash. It detects accidental changes, but not deliberate ones.
///
/// It is implemented here and not taken from a crate, because its values must never change: snapshots contain them, and they
/// determine which photos are held out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digest(String);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(fnv1a(OFFSET, bytes))
    }

    /// The digest of a file's content.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn of_file(path: &Path) -> Result<Self> {
        let action = || format!("cannot read `{}`", path.display());
        let mut file = File::open(path).context(action)?;
        let mut buffer = vec![0; 1 << 16];
        let mut hash = OFFSET;
        loop {
            match file.read(&mut buffer).context(action)? {
                0 => return Ok(Self::from_hash(hash)),
                read => hash = fnv1a(hash, &buffer[..read]),
            }
        }
    }

    fn from_hash(hash: u64) -> Self {
        Self(format!("{hash:016x}"))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_test_vectors_are_met() {
        assert_eq!(Digest::of(b"").to_string(), "cbf29ce484222325");
        assert_eq!(Digest::of(b"foobar").to_string(), "85944171f73967e8");
    }

    #[test]
    fn a_file_has_the_digest_of_its_bytes() {
        let bytes: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        assert_eq!(Digest::of_file(file.path()).unwrap(), Digest::of(&bytes));
    }
}
