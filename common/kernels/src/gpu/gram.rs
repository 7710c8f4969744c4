//! Gram matrices and their gradient as batches of matrix products, summed in f32.

use candle_core::Result;

use super::launch::{Place, fits};
use super::machine::{GpuMachine, Product};
use super::value::Value;

/// Writes the inner products of the channels, f32 `(batch, channels, channels)`, not normalised, to `grams`, from features
/// `(batch, channels, positions)` of type `value`.
///
/// # Errors
///
/// If a tensor is too large for one kernel, or the machine fails.
pub fn forward<M: GpuMachine>(
    machine: &M,
    value: Value,
    (batch, channels, positions): (usize, usize, usize),
    [features, grams]: [Place; 2],
) -> Result<()> {
    fits(&[batch * channels * positions])?;
    let result = Value::F32;
    let product =
        Product { value, result, transposed: true, batch, rows: channels, columns: channels, inner: positions };
    machine.multiply(&product, [features; 2], grams)
}

/// Writes the gradient of the features to `gradient`, from `symmetric`, which is `dG + dG^T`, and the features, all of type
/// `value`.
///
/// # Errors
///
/// If a tensor is too large for one kernel, or the machine fails.
pub fn backward<M: GpuMachine>(
    machine: &M,
    value: Value,
    (batch, channels, positions): (usize, usize, usize),
    [symmetric, features]: [Place; 2],
    gradient: Place,
) -> Result<()> {
    fits(&[batch * channels * positions])?;
    let product =
        Product { value, result: value, transposed: false, batch, rows: positions, columns: channels, inner: channels };
    machine.multiply(&product, [features, symmetric], gradient)
}

#[cfg(test)]
mod tests {
    use super::super::emulator::Emulator;
    use super::super::machine::Buffer;
    use super::super::testing::{VALUES, assert_close, rounded, wave};
    use super::*;

    #[test]
    fn products_follow_the_definition() {
        let Some(machine) = Emulator::new() else { return };
        let (batch, channels, positions) = (2, 3, 5);
        for value in VALUES {
            let features = rounded(&wave(batch * channels * positions, 3), value);
            let symmetric = rounded(&wave(batch * channels * channels, 5), value);
            let at = |n: usize, c: usize, p: usize| features[(n * channels + c) * positions + p];
            let (mut grams, mut slopes) = (vec![0.0; symmetric.len()], vec![0.0; features.len()]);
            for (n, c) in (0..batch).flat_map(|n| (0..channels).map(move |c| (n, c))) {
                for (d, p) in (0..channels).flat_map(|d| (0..positions).map(move |p| (d, p))) {
                    let place = (n * channels + c) * channels + d;
                    grams[place] += at(n, c, p) * at(n, d, p);
                    slopes[(n * channels + c) * positions + p] += symmetric[place] * at(n, d, p);
                }
            }
            let [features, symmetric] = [&features, &symmetric].map(|values| machine.values(values, value));
            let (found, gradient) = (machine.room(grams.len(), Value::F32), machine.room(slopes.len(), value));
            let size = (batch, channels, positions);
            forward(&machine, value, size, [features.place(), found.place()]).unwrap();
            backward(&machine, value, size, [symmetric.place(), features.place()], gradient.place()).unwrap();
            assert_close(&found.read(Value::F32), &grams, Value::F32, "gram");
            assert_close(&gradient.read(value), &slopes, value, "gradient");
        }
    }
}
