//! Instance normalisation (Ulyanov et al., 2016) and its gradient: statistics summed in chunks and merged, and the passes
//! that use them.

use candle_core::Result;

use super::launch::{Argument, Launch, Place, blocks, chunks, fits};
use super::machine::{Buffer, GpuMachine};
use super::source::KernelSource;
use super::value::{PACK_BYTES, Value};

/// The fewest values of a plane that one block sums, and the most chunks of a plane.
const CHUNK: (usize, usize) = (8192, 64);

/// The sizes of an instance normalisation of `(batch, channels, height, width)`, and the ReLU after it.
#[derive(Debug, Clone, Copy)]
pub struct Norm {
    /// The number type of pictures, results and their gradients. Weights, statistics and sums are f32.
    pub value: Value,
    /// Pictures.
    pub batch: usize,
    /// Channels of a picture.
    pub channels: usize,
    /// Pixels of a plane: height times width.
    pub plane: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether negative results become 0, before the residual is added.
    pub relu: bool,
}

impl Norm {
    /// Floats of the statistics: mean, scale, weight and bias of every plane.
    #[must_use]
    pub fn stats_len(&self) -> usize {
        4 * self.planes()
    }

    /// Floats of the sums from which the gradients are computed: two for every plane.
    #[must_use]
    pub fn sums_len(&self) -> usize {
        2 * self.planes()
    }

    fn planes(&self) -> usize {
        self.batch * self.channels
    }

    /// Writes the statistics of `xs`, with the f32 `affine`, `(2, channels)`, weights before biases, to `stats`.
    ///
    /// # Errors
    ///
    /// If a tensor is too large for one kernel, or the machine fails.
    pub fn stats<M: GpuMachine>(&self, machine: &M, [xs, affine]: [Place; 2], stats: Place) -> Result<()> {
        fits(&[self.planes() * self.plane])?;
        let (count, span) = chunks(self.plane, CHUNK.0, CHUNK.1);
        let moments = machine.buffer(8 * self.planes() * count)?;
        let arguments = [xs.into(), moments.place().into(), self.plane.into(), span.into()];
        self.launch(machine, "partial_moments", [self.planes(), count, 1], &arguments)?;
        let arguments = [
            moments.place().into(),
            affine.into(),
            stats.into(),
            self.planes().into(),
            self.channels.into(),
            self.plane.into(),
            span.into(),
            count.into(),
            (self.epsilon as f32).into(),
        ];
        self.launch(machine, "merge_moments", [blocks(self.planes()), 1, 1], &arguments)
    }

    /// Normalises `xs` by [`Self::stats`], adds the residual if there is one, and writes the result to `ys`.
    ///
    /// # Errors
    ///
    /// If the machine fails.
    pub fn normalise<M: GpuMachine>(
        &self,
        machine: &M,
        [xs, stats]: [Place; 2],
        residual: Option<Place>,
        ys: Place,
    ) -> Result<()> {
        let arguments: [Argument; 4] = [xs.into(), residual.into(), stats.into(), ys.into()];
        let wide = self.is_wide(&[xs, residual.unwrap_or(Place::NONE), ys]);
        self.elementwise(machine, "normalise", &arguments, wide)
    }

    /// Writes the sums that both gradients need to `sums`, from the input, the gradient of the result, and [`Self::stats`].
    ///
    /// # Errors
    ///
    /// If the machine has not enough memory, or fails.
    pub fn sums<M: GpuMachine>(&self, machine: &M, [xs, dy, stats]: [Place; 3], sums: Place) -> Result<()> {
        let (count, span) = chunks(self.plane, CHUNK.0, CHUNK.1);
        let halves = machine.buffer(8 * self.planes() * count)?;
        let places = [xs, dy, stats, halves.place()].map(Argument::from);
        let sizes = [self.plane.into(), span.into(), self.relu.into()];
        self.launch(machine, "partial_gradients", [self.planes(), count, 1], &[&places[..], &sizes].concat())?;
        let arguments = [halves.place().into(), sums.into(), self.planes().into(), count.into()];
        self.launch(machine, "merge_gradients", [blocks(self.planes()), 1, 1], &arguments)
    }

    /// Writes the gradient of the input to `dx`, from the arguments of [`Self::sums`] and its result.
    ///
    /// # Errors
    ///
    /// If the machine fails.
    pub fn input_gradient<M: GpuMachine>(
        &self,
        machine: &M,
        [xs, dy, stats, sums]: [Place; 4],
        dx: Place,
    ) -> Result<()> {
        let wide = self.is_wide(&[xs, dy, dx]);
        self.elementwise(machine, "input_gradient", &[xs, dy, stats, sums, dx].map(Argument::from), wide)
    }

    /// Writes the gradient of `affine` to `gradient`, f32 `(2, channels)`, from [`Self::sums`].
    ///
    /// # Errors
    ///
    /// If the machine fails.
    pub fn affine_gradient<M: GpuMachine>(&self, machine: &M, sums: Place, gradient: Place) -> Result<()> {
        let arguments = [sums.into(), gradient.into(), self.batch.into(), self.channels.into()];
        self.launch(machine, "affine_gradient", [blocks(self.channels), 1, 1], &arguments)
    }

    /// Whether a kernel may load and store packs of 16 bytes. Planes must be whole packs, and the tensors must be aligned
    /// to packs; a view of a tensor may not be.
    fn is_wide(&self, tensors: &[Place]) -> bool {
        self.plane.is_multiple_of(self.value.pack()) && tensors.iter().all(|place| place.is_aligned(PACK_BYTES))
    }

    /// A kernel that treats each value by itself, or with `wide` a pack at a time.
    fn elementwise<M: GpuMachine>(
        &self,
        machine: &M,
        kernel: &'static str,
        places: &[Argument],
        wide: bool,
    ) -> Result<()> {
        let sizes: [Argument; 3] = [self.plane.into(), self.relu.into(), wide.into()];
        let each = if wide { self.plane / self.value.pack() } else { self.plane };
        self.launch(machine, kernel, [self.planes(), blocks(each), 1], &[places, &sizes].concat())
    }

    fn launch<M: GpuMachine>(
        &self,
        machine: &M,
        kernel: &'static str,
        grid: [usize; 3],
        arguments: &[Argument],
    ) -> Result<()> {
        machine.launch(&Launch { source: KernelSource::Norm, value: self.value, kernel, grid, arguments })
    }
}

#[cfg(test)]
mod tests {
    use super::super::emulator::{EmulatedMemory, Emulator};
    use super::super::testing::{VALUES, assert_close, rounded, wave};
    use super::*;
    use crate::norm as twin;

    #[test]
    fn results_and_gradients_equal_those_of_the_cpu() {
        let Some(machine) = Emulator::new() else { return };
        let shapes = [(1, 1, 1), (2, 3, 7), (1, 2, 64), (3, 2, 257), (1, 1, 8192 + 24), (1, 2, 3 * 8192 + 5)];
        for ((batch, channels, plane), value) in shapes.into_iter().flat_map(|shape| VALUES.map(|value| (shape, value)))
        {
            for relu in [false, true] {
                let norm = Norm { value, batch, channels, plane, epsilon: 1e-5, relu };
                check(&machine, &norm);
            }
        }
    }

    fn check(machine: &Emulator, norm: &Norm) {
        let &Norm { value, batch, channels, plane, .. } = norm;
        let len = batch * channels * plane;
        let [xs, residual, dy] = [3, 5, 7].map(|seed| rounded(&wave(len, seed), value));
        let affine = wave(2 * channels, 11);
        let own = |i: usize| twin::Affine {
            weight: affine[i % channels],
            bias: affine[channels + i % channels],
            epsilon: norm.epsilon,
            relu: norm.relu,
        };
        let [xs_at, residual_at, dy_at] = [&xs, &residual, &dy].map(|values| machine.values(values, value));
        let affine_at = machine.values(&affine, Value::F32);
        let stats = machine.room(norm.stats_len(), Value::F32);
        norm.stats(machine, [xs_at.place(), affine_at.place()], stats.place()).unwrap();

        let what = format!("{norm:?}");
        for added in [None, Some(&residual)] {
            let (mut expected, ys) = (vec![0.0; len], machine.room(len, value));
            for (i, (xs, ys)) in xs.chunks(plane).zip(expected.chunks_mut(plane)).enumerate() {
                twin::forward(xs, added.map(|values| &values[i * plane..][..plane]), &own(i), ys);
            }
            let place = added.map(|_| residual_at.place());
            norm.normalise(machine, [xs_at.place(), stats.place()], place, ys.place()).unwrap();
            assert_close(&ys.read(value), &expected, value, &what);
        }

        let (mut expected, mut expected_affine) = (vec![0.0; len], vec![0.0; 2 * channels]);
        for (i, (xs, dx)) in xs.chunks(plane).zip(expected.chunks_mut(plane)).enumerate() {
            let (dot, sum) = twin::backward(xs, &dy[i * plane..][..plane], &own(i), Some(dx));
            expected_affine[i % channels] += dot as f32;
            expected_affine[channels + i % channels] += sum as f32;
        }
        let (sums, dx) = (machine.room(norm.sums_len(), Value::F32), machine.room(len, value));
        let d_affine = machine.room(2 * channels, Value::F32);
        let places = [xs_at.place(), dy_at.place(), stats.place()];
        norm.sums(machine, places, sums.place()).unwrap();
        let [x, dy, stats] = places;
        norm.input_gradient(machine, [x, dy, stats, sums.place()], dx.place()).unwrap();
        norm.affine_gradient(machine, sums.place(), d_affine.place()).unwrap();
        // The gradient of a plane of one pixel is only rounding noise.
        if plane > 1 {
            assert_close(&dx.read(value), &expected, value, &what);
        }
        assert_close(&d_affine.read(Value::F32), &expected_affine, Value::F32, &what);
    }

    #[test]
    fn views_that_begin_amid_a_pack_are_read_value_by_value() {
        let Some(machine) = Emulator::new() else { return };
        for value in VALUES {
            let (channels, plane) = (2, 64);
            let norm = Norm { value, batch: 1, channels, plane, epsilon: 1e-5, relu: true };
            let len = channels * plane;
            let [xs, residual, dy] = [3, 5, 7].map(|seed| rounded(&wave(len, seed), value));
            let affine = machine.values(&[1.5, -0.5, 0.25, 0.75], Value::F32);
            let (stats, sums) = (machine.room(norm.stats_len(), Value::F32), machine.room(norm.sums_len(), Value::F32));
            // Each tensor starts after `shift` other values, as a view of a larger one.
            let run = |shifts: [usize; 4]| {
                let place = |memory: &EmulatedMemory, i: usize| memory.place().after(shifts[i] * value.bytes());
                let behind =
                    |values: &[f32], i: usize| machine.values(&[&vec![9.0; shifts[i]][..], values].concat(), value);
                let tensors = [behind(&xs, 0), behind(&residual, 1), behind(&dy, 2)];
                let [xs, residual, dy] = [0, 1, 2].map(|i| place(&tensors[i], i));
                let [ys, dx] = [(); 2].map(|()| machine.room(shifts[3] + len, value));
                norm.stats(&machine, [xs, affine.place()], stats.place()).unwrap();
                norm.normalise(&machine, [xs, stats.place()], Some(residual), place(&ys, 3)).unwrap();
                norm.sums(&machine, [xs, dy, stats.place()], sums.place()).unwrap();
                norm.input_gradient(&machine, [xs, dy, stats.place(), sums.place()], place(&dx, 3)).unwrap();
                let wide = [norm.is_wide(&[xs, residual, place(&ys, 3)]), norm.is_wide(&[xs, dy, place(&dx, 3)])];
                (wide, [ys, dx].map(|memory| memory.read(value)[shifts[3]..].to_vec()))
            };
            let (wide, expected) = run([0; 4]);
            assert_eq!(wide, [true; 2]);
            for (shifts, packs) in [([1, 0, 0, 0], [false; 2]), ([0, 1, 0, 0], [false, true])].into_iter().chain([
                ([0, 0, 3, 0], [true, false]),
                ([0, 0, 0, 1], [false; 2]),
                ([value.pack(); 4], [true; 2]),
            ]) {
                let (wide, found) = run(shifts);
                assert_eq!(wide, packs, "{value:?}, {shifts:?}");
                assert_eq!(found, expected, "{value:?}, {shifts:?}");
            }
        }
    }

    #[test]
    fn a_large_mean_does_not_cancel() {
        let Some(machine) = Emulator::new() else { return };
        let plane = 3 * 8192 + 100;
        let norm = Norm { value: Value::F32, batch: 1, channels: 1, plane, epsilon: 1e-5, relu: false };
        let xs: Vec<f32> = wave(plane, 3).iter().map(|x| 5000.0 + x).collect();
        let (xs_at, affine) = (machine.values(&xs, Value::F32), machine.values(&[1.0, 0.0], Value::F32));
        let stats = machine.room(4, Value::F32);
        norm.stats(&machine, [xs_at.place(), affine.place()], stats.place()).unwrap();
        let mean = xs.iter().map(|&x| f64::from(x)).sum::<f64>() / plane as f64;
        let variance = xs.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / plane as f64;
        let found = stats.read(Value::F32);
        assert!((f64::from(found[0]) - mean).abs() < 1e-3, "{found:?} {mean}");
        assert!((f64::from(found[1]) * (variance + 1e-5).sqrt() - 1.0).abs() < 1e-4, "{found:?} {variance}");
    }
}
