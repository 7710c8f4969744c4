//! The order of the photos.

use rand::seq::SliceRandom;

use crate::random::{Purpose, generator};

/// The order of the photos. Every epoch visits each photo once, in a new random order.
#[derive(Debug)]
pub(super) struct PhotoOrder {
    seed: u64,
    epoch: Option<u64>,
    photos: Vec<u32>,
}

impl PhotoOrder {
    /// The order of this many photos with the given `seed`.
    pub(super) fn new(photos: usize, seed: u64) -> Self {
        Self { seed, epoch: None, photos: (0..photos as u32).collect() }
    }

    /// The index of the photo of sample number `sample`.
    pub(super) fn photo(&mut self, sample: u64) -> usize {
        let count = self.photos.len() as u64;
        let epoch = sample / count;
        if self.epoch != Some(epoch) {
            // Shuffled from the sorted order each time, so that an epoch does not depend on earlier epochs.
            self.photos.sort_unstable();
            self.photos.shuffle(&mut generator(self.seed, Purpose::Order, epoch));
            self.epoch = Some(epoch);
        }
        self.photos[(sample % count) as usize] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_visits_every_photo_once_in_an_order_of_its_own() {
        let mut order = PhotoOrder::new(50, 1);
        let epochs: Vec<Vec<usize>> =
            (0..3).map(|epoch| (0..50).map(|i| order.photo(50 * epoch + i)).collect()).collect();
        for epoch in &epochs {
            let mut sorted = epoch.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        }
        assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
        assert_eq!(PhotoOrder::new(50, 1).photo(120), epochs[2][20]);
    }
}
