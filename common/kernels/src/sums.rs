//! Sums over long slices: f32 lanes within a block that stays in the first-level cache, f64 across blocks.
//!
//! A block is short enough that no lane adds more than `BLOCK`` / ``LANES` numbers, so the error does not grow with the
//! picture, and the order of summation depends on the length alone: the same bytes on any number of threads.

/// Independent f32 accumulators: enough to hide the latency of an addition at 16 lanes a register.
const LANES: usize = 64;

/// Elements summed in f32 before the sum moves to f64: 16 KiB.
pub(crate) const BLOCK: usize = 4096;

/// Elements that one thread takes at a time from a flat slice: 256 KiB.
pub const CHUNK: usize = 1 << 16;

/// Sums every part of `term(a[i], b[i])` over two slices of one length, each part in [`LANES`] lanes.
#[inline(always)]
pub(crate) fn lane_sums<const N: usize>(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> [f32; N]) -> [f64; N] {
    let mut lanes = [[0f32; LANES]; N];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            let terms = term(a[i], b[i]);
            for n in 0..N {
                lanes[n][i] += terms[n];
            }
        }
    }
    for (i, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        for (lanes, term) in lanes.iter_mut().zip(term(a, b)) {
            lanes[i] += term;
        }
    }
    lanes.map(|lanes| lanes.iter().map(|&lane| f64::from(lane)).sum())
}

/// Sums `term(a[i])` in [`LANES`] lanes.
#[inline(always)]
pub(crate) fn lane_sum(a: &[f32], term: impl Fn(f32) -> f32) -> f64 {
    let [sum] = lane_sums(a, a, |a, _| [term(a)]);
    sum
}
