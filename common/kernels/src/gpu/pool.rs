//! 2x2 maximum pooling and its gradient.

use candle_core::Result;

use super::launch::{Argument, Launch, Place, blocks, fits};
use super::machine::GpuMachine;
use super::source::KernelSource;
use super::value::Value;

/// Writes the maxima of 2x2 blocks of `planes` planes of `(height, width)` to `ys`. An odd last row or column is left out.
///
/// # Errors
///
/// If a tensor is too large for one kernel, or the machine fails.
pub fn forward<M: GpuMachine>(
    machine: &M,
    value: Value,
    (planes, height, width): (usize, usize, usize),
    [xs, ys]: [Place; 2],
) -> Result<()> {
    let grid = [planes, blocks((height / 2) * (width / 2)), 1];
    launch(machine, value, "pool", grid, (planes, height, width), &[xs, ys])
}

/// Writes the gradient of the planes to `dx`, from that of their maxima. It is 0 except at the first maximum of each block.
///
/// # Errors
///
/// If a tensor is too large for one kernel, or the machine fails.
pub fn backward<M: GpuMachine>(
    machine: &M,
    value: Value,
    (planes, height, width): (usize, usize, usize),
    [xs, dy, dx]: [Place; 3],
) -> Result<()> {
    let grid = [planes, blocks(height.div_ceil(2) * width.div_ceil(2)), 1];
    launch(machine, value, "pool_gradient", grid, (planes, height, width), &[xs, dy, dx])
}

fn launch<M: GpuMachine>(
    machine: &M,
    value: Value,
    kernel: &'static str,
    grid: [usize; 3],
    (planes, height, width): (usize, usize, usize),
    places: &[Place],
) -> Result<()> {
    fits(&[planes * height * width])?;
    let places: Vec<Argument> = places.iter().map(|&place| place.into()).collect();
    let arguments = [&places[..], &[height.into(), width.into()]].concat();
    machine.launch(&Launch { source: KernelSource::Pool, value, kernel, grid, arguments: &arguments })
}

#[cfg(test)]
mod tests {
    use super::super::emulator::Emulator;
    use super::super::machine::Buffer;
    use super::super::testing::{VALUES, rounded, wave};
    use super::*;
    use crate::pool as twin;

    #[test]
    fn maxima_and_gradients_equal_those_of_the_cpu_to_the_bit() {
        let Some(machine) = Emulator::new() else { return };
        for ((height, width), value) in
            [(2, 2), (3, 2), (5, 7), (40, 34)].into_iter().flat_map(|size| VALUES.map(|value| (size, value)))
        {
            let (planes, plane, pooled) = (3, height * width, (height / 2) * (width / 2));
            // Few levels, so that there are ties.
            let xs: Vec<f32> = wave(planes * plane, 3).iter().map(|x| (x * 3.0).round()).collect();
            let dy = rounded(&wave(planes * pooled, 5), value);
            let (mut ys, mut dx) = (vec![0.0; planes * pooled], vec![0.0; planes * plane]);
            for i in 0..planes {
                let xs = &xs[i * plane..][..plane];
                twin::forward(xs, width, &mut ys[i * pooled..][..pooled]);
                twin::backward(xs, &dy[i * pooled..][..pooled], width, &mut dx[i * plane..][..plane]);
            }
            let (xs, dy) = (machine.values(&xs, value), machine.values(&dy, value));
            let (found, gradient) = (machine.room(planes * pooled, value), machine.room(planes * plane, value));
            let size = (planes, height, width);
            forward(&machine, value, size, [xs.place(), found.place()]).unwrap();
            backward(&machine, value, size, [xs.place(), dy.place(), gradient.place()]).unwrap();
            assert_eq!(found.read(value), ys, "{size:?} {value:?}");
            assert_eq!(gradient.read(value), dx, "{size:?} {value:?}");
        }
    }

    #[test]
    fn nan_wins_and_takes_the_gradient() {
        let Some(machine) = Emulator::new() else { return };
        for i in 0..4 {
            let mut block = [1.0, 2.0, 3.0, 4.0];
            block[i] = f32::NAN;
            let (xs, dy) = (machine.values(&block, Value::F32), machine.values(&[5.0], Value::F32));
            let (ys, dx) = (machine.room(1, Value::F32), machine.room(4, Value::F32));
            forward(&machine, Value::F32, (1, 2, 2), [xs.place(), ys.place()]).unwrap();
            backward(&machine, Value::F32, (1, 2, 2), [xs.place(), dy.place(), dx.place()]).unwrap();
            assert!(ys.read(Value::F32)[0].is_nan());
            let expected: Vec<f32> = (0..4).map(|j| if i == j { 5.0 } else { 0.0 }).collect();
            assert_eq!(dx.read(Value::F32), expected);
        }
    }
}
