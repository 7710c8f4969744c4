//! Mean squared differences, the total variation, and their gradients.

use candle_core::Result;

use super::launch::{Argument, Launch, Place, blocks, chunks, fits};
use super::machine::{Buffer, GpuMachine};
use super::source::KernelSource;
use super::value::Value;

/// The fewest values that one block sums, and the most partial sums.
const CHUNK: (usize, usize) = (4096, 1024);

/// Writes the mean of `(a - b)^2` over `count` values to `result`, one f32. Without `b` it is the mean of `a^2`.
///
/// # Errors
///
/// If a tensor is too large for one kernel, or the machine fails.
pub fn mean_square<M: GpuMachine>(
    machine: &M,
    value: Value,
    count: usize,
    (a, b): (Place, Option<Place>),
    result: Place,
) -> Result<()> {
    fits(&[count])?;
    let (number, span) = chunks(count, CHUNK.0, CHUNK.1);
    let sums = machine.buffer(4 * number)?;
    let arguments = [a.into(), b.into(), sums.place().into(), count.into(), span.into()];
    launch(machine, value, "partial_squares", number, &arguments)?;
    total(machine, number, sums.place(), 1.0 / count as f64, result)
}

/// Writes `factor * gradient * (a - b)` to `da`; `gradient` is one f32.
///
/// # Errors
///
/// If a tensor is too large for one kernel, or the machine fails.
pub fn scaled_difference<M: GpuMachine>(
    machine: &M,
    value: Value,
    count: usize,
    [a, b, gradient]: [Place; 3],
    factor: f64,
    da: Place,
) -> Result<()> {
    fits(&[count])?;
    let arguments = [a.into(), b.into(), gradient.into(), da.into(), count.into(), Argument::from(factor as f32)];
    launch(machine, value, "scaled_difference", blocks(count), &arguments)
}

/// Writes the sum of squared differences between horizontal and vertical neighbours, divided by `count`, to `result`, one f32.
/// `xs` has `count` values in planes of `(height, width)`.
///
/// # Errors
///
/// If a tensor is too large for one kernel, or the machine fails.
pub fn variation<M: GpuMachine>(
    machine: &M,
    value: Value,
    (count, height, width): (usize, usize, usize),
    xs: Place,
    result: Place,
) -> Result<()> {
    fits(&[count])?;
    let (number, span) = chunks(count, CHUNK.0, CHUNK.1);
    let sums = machine.buffer(4 * number)?;
    let sizes = [count, height, width, span].map(Argument::from);
    launch(machine, value, "partial_variation", number, &[&[xs.into(), sums.place().into()], &sizes[..]].concat())?;
    total(machine, number, sums.place(), 1.0 / count as f64, result)
}

/// Writes the gradient of [`variation`] times `gradient`, one f32, to `dx`.
///
/// # Errors
///
/// If a tensor is too large for one kernel, or the machine fails.
pub fn variation_gradient<M: GpuMachine>(
    machine: &M,
    value: Value,
    (count, height, width): (usize, usize, usize),
    [xs, gradient]: [Place; 2],
    dx: Place,
) -> Result<()> {
    fits(&[count])?;
    let places = [xs, gradient, dx].map(Argument::from);
    let sizes = [count.into(), height.into(), width.into(), Argument::from((2.0 / count as f64) as f32)];
    launch(machine, value, "variation_gradient", blocks(count), &[&places[..], &sizes].concat())
}

fn total<M: GpuMachine>(machine: &M, number: usize, sums: Place, factor: f64, result: Place) -> Result<()> {
    let arguments = [sums.into(), result.into(), number.into(), (factor as f32).into(), false.into()];
    launch(machine, Value::F32, "total", 1, &arguments)
}

fn launch<M: GpuMachine>(
    machine: &M,
    value: Value,
    kernel: &'static str,
    blocks: usize,
    arguments: &[Argument],
) -> Result<()> {
    machine.launch(&Launch { source: KernelSource::Difference, value, kernel, grid: [blocks, 1, 1], arguments })
}

#[cfg(test)]
mod tests {
    use super::super::emulator::Emulator;
    use super::super::testing::{VALUES, assert_close, rounded, wave};
    use super::*;
    use crate::difference as twin;

    #[test]
    fn means_of_squares_and_their_gradients_equal_those_of_the_cpu() {
        let Some(machine) = Emulator::new() else { return };
        for (count, value) in [1, 300, 4096, 12_345].into_iter().flat_map(|count| VALUES.map(|value| (count, value))) {
            let [a, b] = [3, 5].map(|seed| rounded(&wave(count, seed), value));
            let [a_at, b_at] = [&a, &b].map(|values| machine.values(values, value));
            let (result, da) = (machine.room(1, Value::F32), machine.room(count, value));
            mean_square(&machine, value, count, (a_at.place(), Some(b_at.place())), result.place()).unwrap();
            let expected = twin::squared_distance(&a, &b) / count as f64;
            assert_close(&result.read(Value::F32), &[expected as f32], Value::F32, "distance");

            let gradient = machine.values(&[0.75], Value::F32);
            let places = [a_at.place(), b_at.place(), gradient.place()];
            scaled_difference(&machine, value, count, places, 2.0 / count as f64, da.place()).unwrap();
            let mut expected = vec![0.0; count];
            twin::scaled_difference(&a, &b, 1.5 / count as f32, &mut expected);
            assert_close(&da.read(value), &expected, value, "gradient");

            mean_square(&machine, value, count, (a_at.place(), None), result.place()).unwrap();
            let expected = twin::squared_distance(&a, &vec![0.0; count]) / count as f64;
            assert_close(&result.read(Value::F32), &[expected as f32], Value::F32, "squares");
        }
    }

    #[test]
    fn variations_and_their_gradients_equal_those_of_the_cpu() {
        let Some(machine) = Emulator::new() else { return };
        for ((height, width), value) in
            [(1, 1), (1, 9), (9, 1), (5, 7), (70, 40)].into_iter().flat_map(|size| VALUES.map(|value| (size, value)))
        {
            let count = 2 * height * width;
            let xs = rounded(&wave(count, 3), value);
            let (xs_at, gradient) = (machine.values(&xs, value), machine.values(&[0.5], Value::F32));
            let (result, dx) = (machine.room(1, Value::F32), machine.room(count, value));
            let size = (count, height, width);
            variation(&machine, value, size, xs_at.place(), result.place()).unwrap();
            let sum: f64 = xs.chunks(height * width).map(|plane| twin::variation(plane, width)).sum();
            assert_close(&result.read(Value::F32), &[(sum / count as f64) as f32], Value::F32, "variation");

            variation_gradient(&machine, value, size, [xs_at.place(), gradient.place()], dx.place()).unwrap();
            let mut expected = vec![0.0; count];
            for (xs, dx) in xs.chunks(height * width).zip(expected.chunks_mut(height * width)) {
                twin::variation_gradient(xs, width, 1.0 / count as f32, dx);
            }
            assert_close(&dx.read(value), &expected, value, "gradient");
        }
    }
}
