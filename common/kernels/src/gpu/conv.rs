//! Convolution and its three gradients: cuDNN's convolution between our own kernels for upsampling, padding, bias and ReLU.
//!
//! Between ops, tensors are channels first. For 16-bit numbers cuDNN gets channels last, which its tensor cores read
//! directly; the passes that pad and add the bias change the order of axes at no extra cost. Channels-last data is
//! zero-padded to multiples of 8 channels, which tensor cores need.

use candle_core::Result;

use super::launch::{Argument, Launch, Place, blocks, chunks, fits};
use super::machine::{Buffer, Convolution, Direction, GpuMachine};
use super::source::KernelSource;
use super::value::Value;
use crate::geometry::Geometry;

/// Channel counts for tensor cores are multiples of this.
const CHANNELS: usize = 8;

/// Side of the tiles of pixels and channels that a block transposes.
const TILE: usize = 32;

/// A gradient and the ReLU result that masks it: the gradient counts as 0 where the result is not positive.
#[derive(Debug, Clone, Copy)]
pub struct Gated {
    /// The gradient, in the number type of the call.
    pub values: Place,
    /// The result, if a ReLU followed the convolution.
    pub gate: Option<Place>,
}

/// A convolution with upsampling, padding and ReLU, and the plain one that cuDNN computes for it.
#[derive(Debug, Clone, Copy)]
struct ConvolutionLaunch<'a, M> {
    machine: &'a M,
    geometry: &'a Geometry,
    plain: Convolution,
}

/// Convolves `xs`, `(batch, inputs, height, width)`, with the f32 `weight`, `(outputs, inputs, kernel, kernel)`, adds the
/// f32 `bias`, `(outputs)`, and applies a ReLU if `geometry` says so. Pictures and results are of type `value`.
///
/// # Errors
///
/// If a tensor is too large for one kernel, or the machine fails.
pub fn forward<M: GpuMachine>(
    machine: &M,
    geometry: &Geometry,
    value: Value,
    [xs, weight, bias]: [Place; 3],
    ys: Place,
) -> Result<()> {
    let pass = ConvolutionLaunch::new(machine, geometry, value)?;
    let picture = pass.picture(xs)?;
    let weight = pass.weight(weight)?;
    let arguments = [picture.place(), weight.place()];
    let (height, width) = geometry.out_size();
    let sizes = [pass.plain.outputs, height * width, geometry.relu.into()].map(Argument::from);
    if !pass.plain.last {
        machine.convolve(Direction::Forward, &pass.plain, arguments, ys)?;
        return pass.planes("finish_first", geometry.outputs, height * width, &[&[ys.into(), bias.into()], &sizes[..]]);
    }
    let raw = machine.buffer(pass.plain.bytes()[2])?;
    machine.convolve(Direction::Forward, &pass.plain, arguments, raw.place())?;
    let places = [raw.place(), bias, ys].map(Argument::from);
    pass.tiles("finish_last", geometry.outputs, height * width, &[&places, &[geometry.outputs.into()], &sizes[..]])
}

/// Writes the gradient of the input to `dxs`, from that of the result and the f32 weight.
///
/// # Errors
///
/// If a tensor is too large for one kernel, or the machine fails.
pub fn input_gradient<M: GpuMachine>(
    machine: &M,
    geometry: &Geometry,
    value: Value,
    dys: Gated,
    weight: Place,
    dxs: Place,
) -> Result<()> {
    let pass = ConvolutionLaunch::new(machine, geometry, value)?;
    let (dys, weight) = (pass.gradient(dys)?, pass.weight(weight)?);
    let arguments = [dys.place(), weight.place()];
    if pass.reads_as_is() {
        return machine.convolve(Direction::Input, &pass.plain, arguments, dxs);
    }
    let padded = machine.buffer(pass.plain.bytes()[0])?;
    machine.convolve(Direction::Input, &pass.plain, arguments, padded.place())?;
    let places = [padded.place(), dxs].map(Argument::from);
    let pixels = geometry.height * geometry.width;
    if !pass.plain.last {
        return pass.planes("fold_first", geometry.inputs, pixels, &[&places, &pass.around()]);
    }
    let channels = [geometry.inputs, pass.plain.inputs].map(Argument::from);
    pass.tiles("fold_last", geometry.inputs, pixels, &[&places, &channels, &pass.around()])
}

/// Writes the f32 gradient of the weight to `dweight`, from that of the result and the input.
///
/// # Errors
///
/// If a tensor is too large for one kernel, or the machine fails.
pub fn weight_gradient<M: GpuMachine>(
    machine: &M,
    geometry: &Geometry,
    value: Value,
    dys: Gated,
    xs: Place,
    dweight: Place,
) -> Result<()> {
    let pass = ConvolutionLaunch::new(machine, geometry, value)?;
    let (dys, picture) = (pass.gradient(dys)?, pass.picture(xs)?);
    let arguments = [dys.place(), picture.place()];
    if !pass.packs() {
        return machine.convolve(Direction::Weight, &pass.plain, arguments, dweight);
    }
    let packed = machine.buffer(pass.plain.bytes()[1])?;
    machine.convolve(Direction::Weight, &pass.plain, arguments, packed.place())?;
    let Geometry { inputs, outputs, kernel, .. } = *geometry;
    let sizes = [outputs, inputs, kernel * kernel, pass.plain.inputs].map(Argument::from);
    let places = [packed.place(), dweight].map(Argument::from);
    pass.line("unpack_weight", geometry.weight_len(), &[&places, &sizes, &[pass.plain.last.into()]])
}

/// Writes the f32 gradient of the bias to `dbias`, from that of the result.
///
/// # Errors
///
/// If a tensor is too large for one kernel, or the machine fails.
pub fn bias_gradient<M: GpuMachine>(
    machine: &M,
    geometry: &Geometry,
    value: Value,
    dys: Gated,
    dbias: Place,
) -> Result<()> {
    let pass = ConvolutionLaunch::new(machine, geometry, value)?;
    let (height, width) = geometry.out_size();
    let (count, span) = chunks(geometry.batch * height * width, 8192, 64);
    let sums = machine.buffer(4 * geometry.outputs * count)?;
    let arguments: [Argument; 7] = [
        dys.values.into(),
        dys.gate.into(),
        sums.place().into(),
        geometry.batch.into(),
        geometry.outputs.into(),
        (height * width).into(),
        span.into(),
    ];
    pass.launch("partial_channel_sums", [geometry.outputs, count, 1], &arguments)?;
    let arguments = [sums.place().into(), dbias.into(), geometry.outputs.into(), count.into()];
    pass.launch("add_partials", [blocks(geometry.outputs), 1, 1], &arguments)
}

/// A tensor as it is, or a copy made for cuDNN.
enum Prepared<B> {
    AsIs(Place),
    Copy(B),
}

impl<B: Buffer> Prepared<B> {
    fn place(&self) -> Place {
        match self {
            Self::AsIs(place) => *place,
            Self::Copy(buffer) => buffer.place(),
        }
    }
}

impl<'a, M: GpuMachine> ConvolutionLaunch<'a, M> {
    fn new(machine: &'a M, geometry: &'a Geometry, value: Value) -> Result<Self> {
        let Geometry { batch, kernel, upsample, pad, reflect, stride, .. } = *geometry;
        let last = value != Value::F32;
        let stored = |channels: usize| if last { channels.next_multiple_of(CHANNELS) } else { channels };
        let mirrored = if reflect { 2 * pad } else { 0 };
        let plain = Convolution {
            value,
            last,
            batch,
            inputs: stored(geometry.inputs),
            outputs: stored(geometry.outputs),
            height: upsample * geometry.height + mirrored,
            width: upsample * geometry.width + mirrored,
            kernel,
            pad: if reflect { 0 } else { pad },
            stride,
        };
        fits(&plain.bytes())?;
        Ok(Self { machine, geometry, plain })
    }

    /// Whether cuDNN can read the input directly.
    fn reads_as_is(&self) -> bool {
        !self.plain.last && !self.geometry.reflect && self.geometry.upsample == 1
    }

    /// Whether cuDNN's weight differs from ours in type or order.
    fn packs(&self) -> bool {
        self.plain.last || self.plain.value != Value::F32
    }

    /// Sizes and padding of the input, as kernel arguments.
    fn around(&self) -> [Argument; 5] {
        let Geometry { height, width, upsample, pad, reflect, .. } = *self.geometry;
        [height.into(), width.into(), upsample.into(), (if reflect { pad } else { 0 }).into(), reflect.into()]
    }

    /// The input, upsampled and padded by reflection.
    fn picture(&self, xs: Place) -> Result<Prepared<M::Buffer>> {
        if self.reads_as_is() {
            return Ok(Prepared::AsIs(xs));
        }
        let Convolution { inputs, height, width, .. } = self.plain;
        self.gather(Gated { values: xs, gate: None }, (self.geometry.inputs, inputs), height * width, &self.around())
    }

    /// The gradient of the result before the ReLU.
    fn gradient(&self, dys: Gated) -> Result<Prepared<M::Buffer>> {
        if !self.plain.last && dys.gate.is_none() {
            return Ok(Prepared::AsIs(dys.values));
        }
        let (height, width) = self.geometry.out_size();
        let around: [Argument; 5] = [height.into(), width.into(), 1.into(), 0.into(), false.into()];
        self.gather(dys, (self.geometry.outputs, self.plain.outputs), height * width, &around)
    }

    fn gather(
        &self,
        from: Gated,
        (channels, stored): (usize, usize),
        cells: usize,
        around: &[Argument],
    ) -> Result<Prepared<M::Buffer>> {
        let copy = self.machine.buffer(self.plain.batch * stored * cells * self.plain.value.bytes())?;
        let places: [Argument; 3] = [from.values.into(), from.gate.into(), copy.place().into()];
        if self.plain.last {
            self.tiles("gather_last", stored, cells, &[&places, &[channels.into(), stored.into()], around])?;
        } else {
            self.planes("gather_first", channels, cells, &[&places, around])?;
        }
        Ok(Prepared::Copy(copy))
    }

    /// The weight in cuDNN's number type and order.
    fn weight(&self, weight: Place) -> Result<Prepared<M::Buffer>> {
        if !self.packs() {
            return Ok(Prepared::AsIs(weight));
        }
        let bytes = self.plain.bytes()[1];
        let packed = self.machine.buffer(bytes)?;
        let Geometry { inputs, outputs, kernel, .. } = *self.geometry;
        let sizes = [outputs, inputs, kernel * kernel, self.plain.outputs, self.plain.inputs].map(Argument::from);
        let places = [weight, packed.place()].map(Argument::from);
        let count = bytes / self.plain.value.bytes();
        self.line("pack_weight", count, &[&places, &sizes, &[self.plain.last.into()]])?;
        Ok(Prepared::Copy(packed))
    }

    /// A thread for each of `count` values.
    fn line(&self, kernel: &'static str, count: usize, arguments: &[&[Argument]]) -> Result<()> {
        self.launch(kernel, [blocks(count), 1, 1], &arguments.concat())
    }

    /// A thread for each of `count` values of every plane.
    fn planes(&self, kernel: &'static str, channels: usize, count: usize, arguments: &[&[Argument]]) -> Result<()> {
        self.launch(kernel, [self.plain.batch * channels, blocks(count), 1], &arguments.concat())
    }

    /// A block for each tile of pixels and channels of every picture.
    fn tiles(&self, kernel: &'static str, channels: usize, count: usize, arguments: &[&[Argument]]) -> Result<()> {
        let grid = [count.div_ceil(TILE), channels.div_ceil(TILE), self.plain.batch];
        self.launch(kernel, grid, &arguments.concat())
    }

    fn launch(&self, kernel: &'static str, grid: [usize; 3], arguments: &[Argument]) -> Result<()> {
        self.machine.launch(&Launch { source: KernelSource::Conv, value: self.plain.value, kernel, grid, arguments })
    }
}

#[cfg(test)]
mod tests {
    use super::super::emulator::Emulator;
    use super::super::testing::{VALUES, assert_close, rounded, wave};
    use super::*;
    use crate::simd::Level;
    use crate::{conv, conv_weight};

    fn geometries() -> impl Iterator<Item = Geometry> {
        let sizes = [(1, 3, 5, 7, 1), (3, 5, 4, 9, 3), (33, 34, 3, 11, 3), (3, 9, 11, 6, 9)];
        let around =
            [(1, false, 1, true), (1, true, 1, false), (2, true, 2, true), (1, true, 2, true), (2, false, 1, false)];
        sizes.into_iter().flat_map(move |(inputs, outputs, height, width, kernel)| {
            around.into_iter().map(move |(upsample, reflect, stride, relu)| {
                let pad = kernel / 2;
                let reflect = reflect && pad > 0;
                Geometry { batch: 2, inputs, outputs, height, width, kernel, upsample, pad, reflect, stride, relu }
            })
        })
    }

    #[test]
    fn convolutions_and_gradients_equal_those_of_the_cpu() {
        let Some(machine) = Emulator::new() else { return };
        for (g, value) in geometries().flat_map(|g| VALUES.map(|value| (g, value))) {
            let level = Level::detect();
            let (xs, dys) = (rounded(&wave(g.input_len(), 3), value), rounded(&wave(g.output_len(), 5), value));
            let (weight, bias) = (wave(g.weight_len(), 7), wave(g.outputs, 11));
            let what = format!("{g:?} {value:?}");

            let (mut expected, ys) = (vec![0.0; g.output_len()], machine.room(g.output_len(), value));
            conv::forward(level, &g, &xs, &weight, &bias, &mut expected);
            let [xs_at, dys_at] = [&xs, &dys].map(|values| machine.values(values, value));
            let [weight_at, bias_at] = [&weight, &bias].map(|values| machine.values(values, Value::F32));
            let places = [xs_at.place(), weight_at.place(), bias_at.place()];
            forward(&machine, &g, value, places, ys.place()).unwrap();
            assert_close(&ys.read(value), &expected, value, &what);

            // The mask is the result itself, in its stored precision.
            let kept = ys.read(value);
            let gate = g.relu.then_some(&kept[..]);
            let gated = Gated { values: dys_at.place(), gate: g.relu.then_some(ys.place()) };
            let (mut expected, dxs) = (vec![0.0; g.input_len()], machine.room(g.input_len(), value));
            conv::input_gradient(level, &g, &dys, gate, &weight, &mut expected);
            input_gradient(&machine, &g, value, gated, weight_at.place(), dxs.place()).unwrap();
            assert_close(&dxs.read(value), &expected, value, &what);

            let (mut expected, dweight) = (vec![0.0; g.weight_len()], machine.room(g.weight_len(), Value::F32));
            conv_weight::weight_gradient(level, &g, &xs, &dys, gate, &mut expected);
            weight_gradient(&machine, &g, value, gated, xs_at.place(), dweight.place()).unwrap();
            assert_close(&dweight.read(Value::F32), &expected, value, &what);

            let (mut expected, dbias) = (vec![0.0; g.outputs], machine.room(g.outputs, Value::F32));
            conv_weight::bias_gradient(&g, &dys, gate, &mut expected);
            bias_gradient(&machine, &g, value, gated, dbias.place()).unwrap();
            assert_close(&dbias.read(Value::F32), &expected, Value::F32, &what);
        }
    }
}
