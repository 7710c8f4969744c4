//! Stateless random numbers: every generator is a pure function of the seed, a purpose and a counter.
//!
//! So no state has to be saved for resuming, and results do not depend on the order of threads.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The purpose of a random number. Each purpose has its own streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The initial weights of a network.
    Weights,
    /// The order of the photos in an epoch; the counter is the epoch.
    Order,
    /// How a photo is cropped and flipped; the counter is the sample.
    Crop,
    /// The noise that an optimisation starts from.
    Noise,
    /// How a photo is changed for the temporal loss; the counter is the sample.
    Change,
    /// The size of the crops in a batch; the counter is the batch.
    Size,
}

/// The generator for `purpose` at `counter` (below 2^56).
#[must_use]
pub fn generator(seed: u64, purpose: Purpose, counter: u64) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream((purpose as u64) << 56 | counter);
    generator
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    #[test]
    fn streams_differ_by_seed_purpose_and_counter_and_repeat() {
        let draw = |seed, purpose, counter| generator(seed, purpose, counter).random::<u64>();
        let first = draw(1, Purpose::Crop, 7);
        assert_eq!(first, draw(1, Purpose::Crop, 7));
        for other in [draw(2, Purpose::Crop, 7), draw(1, Purpose::Order, 7), draw(1, Purpose::Crop, 8)] {
            assert_ne!(first, other);
        }
    }
}
