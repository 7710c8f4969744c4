//! The portion of every batch that one process trains on.

use std::ops::Range;

/// One of several equal portions of every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The index of the share, from 0.
    pub index: usize,
    /// The number of shares.
    pub count: usize,
}

impl Share {
    /// The share of a single process: the whole batch.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// The number of photos of a batch in this share.
    #[must_use]
    pub fn photos(self, batch: usize) -> usize {
        batch / self.count
    }

    /// The numbers of this share's photos in batch `number`, counted over all batches of `batch` photos.
    #[must_use]
    pub fn samples(self, number: u64, batch: usize) -> Range<u64> {
        let photos = self.photos(batch) as u64;
        let first = number * batch as u64 + self.index as u64 * photos;
        first..first + photos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_each_other_within_a_batch() {
        let samples = |index| Share { index, count: 3 }.samples(2, 6);
        assert_eq!([samples(0), samples(1), samples(2)], [12..14, 14..16, 16..18]);
        assert_eq!(Share::WHOLE.samples(2, 6), 12..18);
    }
}
