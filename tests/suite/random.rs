//! Pseudorandom numbers that are the same on every machine, so that test weights need not be stored.

use candle_core::{Device, Tensor};

/// `SplitMix64` (Steele et al., 2014): a small generator that works with any seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `[-1, 1)`.
    pub(crate) fn signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// A tensor of numbers in `[-bound, bound)` on the CPU.
    pub(crate) fn tensor(&mut self, shape: &[usize], bound: f32) -> Tensor {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| bound * self.signed()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }
}
