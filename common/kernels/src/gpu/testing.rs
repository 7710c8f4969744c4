//! Helpers shared by the tests of the GPU kernels.

use half::{bf16, f16};

use super::value::Value;

/// All number types.
pub(super) const VALUES: [Value; 3] = [Value::F32, Value::Bf16, Value::F16];

/// Reproducible numbers in `[-1, 1)`.
pub(super) fn wave(len: usize, seed: usize) -> Vec<f32> {
    let mut state = (seed as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(next).collect()
}

/// The numbers rounded to type `value`.
pub(super) fn rounded(numbers: &[f32], value: Value) -> Vec<f32> {
    let round = |&x: &f32| match value {
        Value::F32 => x,
        Value::Bf16 => bf16::from_f32(x).to_f32(),
        Value::F16 => f16::from_f32(x).to_f32(),
    };
    numbers.iter().map(round).collect()
}

/// Asserts that numbers agree up to 1e-4 of the largest in f32, 2e-2 in bf16 and 2e-3 in f16.
pub(super) fn assert_close(found: &[f32], expected: &[f32], value: Value, what: &str) {
    let tolerance = match value {
        Value::F32 => 1e-4,
        Value::Bf16 => 2e-2,
        Value::F16 => 2e-3,
    };
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(error <= tolerance * scale + 1e-7, "{what}: value {i} is {found}, not {expected} (of {scale})");
    }
}
