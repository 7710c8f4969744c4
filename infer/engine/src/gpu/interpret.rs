//! Interprets a program with plain loops on the CPU: the reference for the GPU, usable without a GPU.

use half::{bf16, f16};

use impasto_kernels::steps::{
    Addend, COLOURS, Channel, Field, Filter, Lattice, PaddingMode, PaintStep, Program, UNIT, Weights,
};

/// The number type that a GPU stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    F32,
    F16,
    Bf16,
}

impl Numbers {
    /// Significant bits of a number.
    pub(crate) fn digits(self) -> u32 {
        match self {
            Self::F32 => 24,
            Self::F16 => 11,
            Self::Bf16 => 8,
        }
    }

    /// A number after it was stored and read again. f16 saturates, as in the kernels.
    fn store(self, x: f32) -> f32 {
        match self {
            Self::F32 => x,
            Self::F16 => f16::from_f32(x.clamp(-65504.0, 65504.0)).to_f32(),
            Self::Bf16 => bf16::from_f32(x).to_f32(),
        }
    }
}

/// Runs programs one after the other, in one arena.
pub(crate) struct Interpreter<'a> {
    weights: &'a Weights,
    numbers: Numbers,
    arena: Vec<f32>,
    /// The mean of each colour.
    centre: [f32; COLOURS],
    /// Mean, factor and bias of each channel, by layer.
    normals: Vec<[f32; 3]>,
    /// The weight of earlier frames in the statistics, and those statistics.
    pub(crate) keep: f64,
    pub(crate) kept: Vec<[f64; 2]>,
}

impl<'a> Interpreter<'a> {
    pub(crate) fn new(weights: &'a Weights, numbers: Numbers) -> Self {
        let channels = weights.channels_before(weights.filters.len());
        let (normals, kept) = (vec![[f32::NAN; 3]; channels], vec![[0.0; 2]; channels]);
        Self { weights, numbers, arena: Vec::new(), centre: [f32::NAN; COLOURS], normals, keep: 0.0, kept }
    }

    /// Paints `frame`, `(3, height, width)` levels; the result has the same shape.
    pub(crate) fn paint(&mut self, program: &Program, frame: &[f32]) -> Vec<f32> {
        // NaN marks elements that were never written and must not be read.
        self.arena.clear();
        self.arena.resize(program.arena, f32::NAN);
        let mut painting = Vec::new();
        for step in &program.steps {
            match *step {
                PaintStep::Survey => self.survey(frame),
                PaintStep::Expand { .. } => self.expand(program.size, frame, step),
                PaintStep::Convolve { from, to, layer } => self.convolve(from, to, layer),
                PaintStep::Measure { from, lattice, layer } => self.measure(from, lattice, layer),
                PaintStep::Apply { .. } => self.apply(step),
                PaintStep::Join { from, side } => painting = self.join(program.size, from, side),
            }
        }
        painting
    }

    fn read(&self, field: &Field, y: usize, x: usize, channel: usize) -> f32 {
        assert!(y < field.height && x < field.width && channel < field.channels);
        self.arena[field.at + (y * field.width + x) * field.channels + channel]
    }

    fn write(&mut self, field: &Field, y: usize, x: usize, channel: usize, value: f32) {
        self.arena[field.at + (y * field.width + x) * field.channels + channel] = self.numbers.store(value);
    }

    fn survey(&mut self, frame: &[f32]) {
        for (centre, plane) in self.centre.iter_mut().zip(frame.chunks_exact(frame.len() / COLOURS)) {
            *centre =
                (plane.iter().map(|&level| f64::from(level)).sum::<f64>() / plane.len() as f64 + 0.5).floor() as f32;
        }
    }

    fn expand(&mut self, (height, width): (usize, usize), frame: &[f32], step: &PaintStep) {
        let &PaintStep::Expand { to, side, lead, padding_mode } = step else { return };
        for (y, x, channel) in places(&to) {
            let (shift, colour) = (channel / COLOURS, channel % COLOURS);
            let value = if shift < side * side {
                let y = inside(y + 3 * (shift / side), lead, height, padding_mode);
                let x = inside(x + 3 * (shift % side), lead, width, padding_mode);
                let level = |(y, x)| frame[(colour * height + y) * width + x];
                (y.zip(x).map_or(self.weights.zero[colour], level) - self.centre[colour]) / UNIT
            } else {
                0.0
            };
            self.write(&to, y, x, channel, value);
        }
    }

    fn convolve(&mut self, from: Field, to: Field, layer: usize) {
        let Filter { kernel, stride, inputs, weight, .. } = &self.weights.filters[layer];
        assert_eq!((*inputs, self.weights.filters[layer].outputs), (from.channels, to.channels));
        let weight: Vec<_> = weight.iter().map(|&x| self.numbers.store(x)).collect();
        for (y, x, output) in places(&to) {
            let mut sum = 0.0;
            for (dy, dx) in (0..*kernel).flat_map(|dy| (0..*kernel).map(move |dx| (dy, dx))) {
                let weight = &weight[((output * kernel + dy) * kernel + dx) * inputs..][..*inputs];
                let at = from.at + ((y * stride + dy) * from.width + x * stride + dx) * from.channels;
                sum += weight.iter().zip(&self.arena[at..]).map(|(w, x)| w * x).sum::<f32>();
            }
            self.write(&to, y, x, output, sum);
        }
    }

    /// Row `y`, column `x` and channel of the results.
    fn result(&self, field: &Field, lattice: Lattice, y: usize, x: usize, channel: usize) -> f32 {
        let Lattice { phases, skip, .. } = lattice;
        let phase = phases * ((y + skip) % phases) + (x + skip) % phases;
        self.read(field, (y + skip) / phases, (x + skip) / phases, phase * lattice.channels(field) + channel)
    }

    fn measure(&mut self, from: Field, lattice: Lattice, layer: usize) {
        let Lattice { height, width, .. } = lattice;
        let before = self.weights.channels_before(layer);
        for channel in 0..lattice.channels(&from) {
            let values =
                || (0..height * width).map(|i| f64::from(self.result(&from, lattice, i / width, i % width, channel)));
            let count = (height * width) as f64;
            let mean = values().sum::<f64>() / count;
            let variance = values().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
            let Channel { weight, bias, unit, sums } = self.weights.filters[layer].norm[channel];
            let unit = f64::from(unit);
            let offset: f64 =
                (0..COLOURS).map(|i| f64::from(sums[i]) * f64::from(self.centre[i] - self.weights.zero[i])).sum();
            let kept = &mut self.kept[before + channel];
            for (kept, own) in kept.iter_mut().zip([unit * mean + offset, unit * unit * variance]) {
                *kept = own + self.keep * (*kept - own);
            }
            let factor =
                f64::from(weight) / ((kept[1] + f64::from(self.weights.filters[layer].epsilon)) / (unit * unit)).sqrt();
            self.normals[before + channel] = [((kept[0] - offset) / unit) as f32, factor as f32, bias];
        }
    }

    fn apply(&mut self, step: &PaintStep) {
        let &PaintStep::Apply { from, lattice, layer, relu, residual, padding_mode, pad, to } = step else { return };
        let before = self.weights.channels_before(layer);
        for (y, x, channel) in places(&to) {
            let inner = inside(y, pad, lattice.height, padding_mode).zip(inside(x, pad, lattice.width, padding_mode));
            let value = inner.map_or(0.0, |(y, x)| {
                let [mean, factor, bias] = self.normals[before + channel];
                let value = (self.result(&from, lattice, y, x, channel) - mean) * factor + bias;
                let added =
                    residual.map_or(0.0, |Addend { field, lead }| self.read(&field, y + lead, x + lead, channel));
                if relu && value + added < 0.0 { 0.0 } else { value + added }
            });
            self.write(&to, y, x, channel, value);
        }
    }

    fn join(&self, (height, width): (usize, usize), from: Field, side: usize) -> Vec<f32> {
        let (factors, others) = self.weights.join.split_at(from.channels);
        let (biases, map) = others.split_at(COLOURS);
        let mut painting = Vec::new();
        for (colour, y) in (0..COLOURS).flat_map(|colour| (0..height).map(move |y| (colour, y))) {
            painting.extend((0..width).map(|x| {
                let part = |shift: usize| {
                    let channel = COLOURS * shift + colour;
                    factors[channel] * self.read(&from, y + 3 * (shift / side), x + 3 * (shift % side), channel)
                };
                let level = biases[colour] + (0..side * side).map(part).sum::<f32>();
                let level = if map[0] > 0.0 { map[0] * level.tanh() } else { level };
                map[1 + 2 * colour] * level + map[2 + 2 * colour]
            }));
        }
        painting
    }
}

/// The source pixel of pixel `i` of a picture padded by `pad`; `None` means zero.
fn inside(i: usize, pad: usize, size: usize, padding_mode: PaddingMode) -> Option<usize> {
    let i = i as isize - pad as isize;
    let last = size as isize - 1;
    let i = match padding_mode {
        PaddingMode::Zero if i < 0 || i > last => return None,
        PaddingMode::Replicate => i.clamp(0, last),
        PaddingMode::Reflect if i < 0 => -i,
        PaddingMode::Reflect if i > last => 2 * last - i,
        PaddingMode::Reflect | PaddingMode::Zero => i,
    };
    Some(usize::try_from(i).unwrap())
}

fn places(field: &Field) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
    let Field { height, width, channels, .. } = *field;
    (0..height * width * channels).map(move |i| (i / channels / width, i / channels % width, i % channels))
}
