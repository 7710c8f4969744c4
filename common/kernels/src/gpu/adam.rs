//! Adam's update (Kingma and Ba, 2015) and the norm of the gradient, for all parameters in one launch.

use candle_core::Result;

use super::launch::{Argument, Launch, Place};
use super::machine::{Buffer, GpuMachine};
use super::source::KernelSource;
use super::value::Value;

/// Values of a parameter per block.
const CHUNK: usize = 4096;

/// All parameters of a network in a machine's memory, each cut into rows of up to 4096 values, a block for each row: see
/// `adam.cu`.
#[derive(Debug)]
pub struct Table<B> {
    rows: B,
    count: usize,
}

/// A parameter's f32 tensors.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Weight, gradient, first moment, second moment. For the norm alone the gradient suffices; the others may be
    /// [`Place::NONE`].
    pub places: [Place; 4],
    /// Values of each of the tensors.
    pub len: usize,
}

/// The scalars of an update that all parameters share.
#[derive(Debug, Clone, Copy)]
pub struct AdamStep {
    /// In the order of the kernel's arguments: 1 - beta1, beta2, 1 - beta2, epsilon, gradient scale, step size, root correction.
    pub numbers: [f32; 7],
}

impl<B: Buffer> Table<B> {
    /// Uploads the addresses of the parameters, which must stay where they are as long as the table is used.
    ///
    /// # Errors
    ///
    /// If the machine does not have enough memory.
    pub fn new<M: GpuMachine<Buffer = B>>(machine: &M, parameters: &[Parameter]) -> Result<Self> {
        let mut words = Vec::new();
        for &Parameter { places, len } in parameters {
            for first in (0..len).step_by(CHUNK) {
                words.extend(places.map(|place| if place == Place::NONE { 0 } else { place.after(4 * first).0 }));
                words.push(CHUNK.min(len - first) as u64);
            }
        }
        Ok(Self { rows: machine.upload(&words)?, count: words.len() / 5 })
    }

    /// Writes the Euclidean norm of all gradients together to `norm`, one f32.
    ///
    /// # Errors
    ///
    /// If the machine has not enough memory, or fails.
    pub fn norm<M: GpuMachine<Buffer = B>>(&self, machine: &M, norm: Place) -> Result<()> {
        let partials = machine.buffer(4 * self.count)?;
        self.launch(machine, "gradient_squares", &[self.rows.place().into(), partials.place().into()])?;
        let arguments = [partials.place().into(), norm.into(), self.count.into(), 1f32.into(), true.into()];
        let (source, value) = (KernelSource::Difference, Value::F32);
        machine.launch(&Launch { source, value, kernel: "total", grid: [1; 3], arguments: &arguments })
    }

    /// Updates weights and moments in place.
    ///
    /// # Errors
    ///
    /// If the machine fails.
    pub fn update<M: GpuMachine<Buffer = B>>(&self, machine: &M, step: &AdamStep) -> Result<()> {
        let numbers = step.numbers.map(Argument::from);
        self.launch(machine, "adam", &[&[self.rows.place().into()], &numbers[..]].concat())
    }

    fn launch<M: GpuMachine>(&self, machine: &M, kernel: &'static str, arguments: &[Argument]) -> Result<()> {
        let grid = [self.count, 1, 1];
        machine.launch(&Launch { source: KernelSource::Adam, value: Value::F32, kernel, grid, arguments })
    }
}

#[cfg(test)]
mod tests {
    use super::super::emulator::Emulator;
    use super::super::testing::{assert_close, wave};
    use super::*;

    #[test]
    fn norm_and_update_follow_the_formulae() {
        let Some(machine) = Emulator::new() else { return };
        let lens = [1, 300, CHUNK, 2 * CHUNK + 77];
        let numbers = |seed| lens.map(|len| wave(len, seed + len));
        let (weights, gradients, firsts) = (numbers(1), numbers(2), numbers(3));
        let seconds = numbers(4).map(|values| values.iter().map(|x| x * x).collect::<Vec<_>>());
        let memory = [&weights, &gradients, &firsts, &seconds]
            .map(|values| values.each_ref().map(|values| machine.values(values, Value::F32)));
        let parameters: Vec<_> = (0..lens.len())
            .map(|i| Parameter { places: [0, 1, 2, 3].map(|kind: usize| memory[kind][i].place()), len: lens[i] })
            .collect();
        let table = Table::new(&machine, &parameters).unwrap();

        let norm = machine.room(1, Value::F32);
        table.norm(&machine, norm.place()).unwrap();
        let squares: f64 = gradients.iter().flatten().map(|&x| f64::from(x).powi(2)).sum();
        assert_close(&norm.read(Value::F32), &[squares.sqrt() as f32], Value::F32, "norm");

        let step = AdamStep { numbers: [0.1, 0.999, 0.001, 1e-8, 0.5, 0.01, 0.3] };
        table.update(&machine, &step).unwrap();
        let [fresh1, beta2, fresh2, epsilon, scale, size, root] = step.numbers;
        for (i, len) in lens.into_iter().enumerate() {
            let first: Vec<f32> =
                (0..len).map(|j| firsts[i][j] + fresh1 * (gradients[i][j] * scale - firsts[i][j])).collect();
            let second: Vec<f32> =
                (0..len).map(|j| seconds[i][j] * beta2 + fresh2 * (gradients[i][j] * scale).powi(2)).collect();
            let weight: Vec<f32> =
                (0..len).map(|j| weights[i][j] - size * (first[j] / (second[j].sqrt() / root + epsilon))).collect();
            for (found, expected) in
                [&memory[0][i], &memory[2][i], &memory[3][i]].into_iter().zip([weight, first, second])
            {
                assert_close(&found.read(Value::F32), &expected, Value::F32, "update");
            }
        }
    }
}
