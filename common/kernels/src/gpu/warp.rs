//! Samples pictures at arbitrary positions by cubic convolution (Keys, 1981), and the adjoint.
//!
//! The adjoint adds in 64-bit integers, scaled so that the largest gradient fits: their sums do not depend on the order.

use candle_core::Result;

use super::launch::{Argument, Launch, Place, blocks, chunks, fits};
use super::machine::{Buffer, GpuMachine};
use super::source::KernelSource;
use super::value::Value;

/// The sizes of a warp.
#[derive(Debug, Clone, Copy)]
pub struct Warp {
    /// The number type of pictures; positions are f32.
    pub value: Value,
    /// Pictures.
    pub batch: usize,
    /// Channels of a picture.
    pub channels: usize,
    /// Height and width of the sampled picture.
    pub size: (usize, usize),
    /// Positions sampled in every picture.
    pub places: usize,
}

impl Warp {
    /// Samples `xs`, `(batch, channels, height, width)`, at the f32 `positions`, `(batch, 2, places)`, rows before columns,
    /// in pixels; writes `(batch, channels, places)` to `ys`.
    ///
    /// # Errors
    ///
    /// If a tensor is too large for one kernel, or the machine fails.
    pub fn forward<M: GpuMachine>(&self, machine: &M, [xs, positions]: [Place; 2], ys: Place) -> Result<()> {
        fits(&[self.pixels(), self.planes() * self.places])?;
        let arguments = [&[xs.into(), positions.into(), ys.into()][..], &self.sizes()].concat();
        self.launch(machine, "warp", [self.planes(), blocks(self.places), 1], &arguments)
    }

    /// Writes the gradient of the picture to `dx`, from `dy`, that of the samples. If `dy` contains NaN, all of `dx`
    /// becomes NaN.
    ///
    /// # Errors
    ///
    /// If a tensor is too large for one kernel, or the machine fails.
    pub fn adjoint<M: GpuMachine>(&self, machine: &M, [dy, positions]: [Place; 2], dx: Place) -> Result<()> {
        let (pixels, read) = (self.pixels(), self.planes() * self.places);
        fits(&[pixels, read])?;
        let (count, span) = chunks(read, 4096, 1024);
        let (largest, factor) = (machine.buffer(4 * count)?, machine.buffer(4)?);
        let sums = machine.buffer(8 * pixels)?;
        let arguments = [dy.into(), largest.place().into(), read.into(), span.into()];
        self.launch(machine, "partial_largest", [count, 1, 1], &arguments)?;
        let arguments = [largest.place().into(), factor.place().into(), count.into()];
        self.launch(machine, "fixed_factor", [1; 3], &arguments)?;
        self.launch(machine, "clear", [blocks(pixels), 1, 1], &[sums.place().into(), pixels.into()])?;
        let places = [dy, positions, factor.place(), sums.place()].map(Argument::from);
        let arguments = [&places[..], &self.sizes()].concat();
        self.launch(machine, "warp_adjoint", [self.planes(), blocks(self.places), 1], &arguments)?;
        let arguments = [sums.place().into(), factor.place().into(), dx.into(), pixels.into()];
        self.launch(machine, "unfix", [blocks(pixels), 1, 1], &arguments)
    }

    fn planes(&self) -> usize {
        self.batch * self.channels
    }

    fn pixels(&self) -> usize {
        self.planes() * self.size.0 * self.size.1
    }

    fn sizes(&self) -> [Argument; 4] {
        [self.channels, self.size.0, self.size.1, self.places].map(Argument::from)
    }

    fn launch<M: GpuMachine>(
        &self,
        machine: &M,
        kernel: &'static str,
        grid: [usize; 3],
        arguments: &[Argument],
    ) -> Result<()> {
        machine.launch(&Launch { source: KernelSource::Warp, value: self.value, kernel, grid, arguments })
    }
}

#[cfg(test)]
mod tests {
    use super::super::emulator::Emulator;
    use super::super::testing::{VALUES, assert_close, rounded, wave};
    use super::*;
    use crate::warp as twin;

    #[test]
    fn pictures_and_gradients_equal_those_of_the_cpu() {
        let Some(machine) = Emulator::new() else { return };
        for ((height, width, places), value) in
            [(1, 1, 3), (5, 7, 24), (9, 3, 300)].into_iter().flat_map(|size| VALUES.map(|value| (size, value)))
        {
            let warp = Warp { value, batch: 2, channels: 3, size: (height, width), places };
            let reach = |axis: usize| if axis == 0 { height } else { width } as f32;
            let positions: Vec<f32> = wave(2 * 2 * places, 3)
                .iter()
                .enumerate()
                .map(|(i, x)| x * (reach(i / places % 2) / 2.0 + 3.0) + reach(i / places % 2) / 2.0)
                .collect();
            let (xs, dy) = (rounded(&wave(6 * height * width, 5), value), rounded(&wave(6 * places, 7), value));
            let (mut ys, mut dx) = (vec![0.0; dy.len()], vec![0.0; xs.len()]);
            for plane in 0..6 {
                let (rows, columns) = positions[plane / 3 * 2 * places..][..2 * places].split_at(places);
                let read = plane * places..(plane + 1) * places;
                let pixels = plane * height * width..(plane + 1) * height * width;
                twin::forward(&xs[pixels.clone()], warp.size, rows, columns, &mut ys[read.clone()]);
                twin::adjoint(&dy[read], warp.size, rows, columns, &mut dx[pixels]);
            }
            let [xs, dy] = [&xs, &dy].map(|values| machine.values(values, value));
            let positions = machine.values(&positions, Value::F32);
            let (found, gradient) = (machine.room(ys.len(), value), machine.room(dx.len(), value));
            warp.forward(&machine, [xs.place(), positions.place()], found.place()).unwrap();
            warp.adjoint(&machine, [dy.place(), positions.place()], gradient.place()).unwrap();
            assert_close(&found.read(value), &ys, value, "picture");
            assert_close(&gradient.read(value), &dx, value, "gradient");
        }
    }

    #[test]
    fn a_gradient_that_is_not_finite_shows() {
        let Some(machine) = Emulator::new() else { return };
        let warp = Warp { value: Value::F32, batch: 1, channels: 1, size: (2, 2), places: 2 };
        for bad in [f32::NAN, f32::INFINITY] {
            let (dy, positions) = (machine.values(&[bad, 1.0], Value::F32), machine.values(&[0.0; 4], Value::F32));
            let dx = machine.room(4, Value::F32);
            warp.adjoint(&machine, [dy.place(), positions.place()], dx.place()).unwrap();
            assert!(dx.read(Value::F32)[0].is_nan());
        }
    }
}
