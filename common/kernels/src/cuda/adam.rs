//! Adam's update and the norm of the gradient, for all parameters at once.

use candle_core::Result;

use super::launch::{Argument, Buffer, Launch, Machine, Place, Value};
use super::source::Source;

/// Values of a parameter that a block takes.
const CHUNK: usize = 4096;

/// Parameters, each cut into rows for blocks: see `adam.cu`.
#[derive(Debug)]
pub struct Table<B> {
    rows: B,
    count: usize,
}

/// A parameter's f32 tensors: weight, gradient, first and second moment, and their length.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    pub places: [Place; 4],
    pub len: usize,
}

/// The numbers of an update that all parameters share.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// As the kernel takes them: 1 - beta1, beta2, 1 - beta2, epsilon, gradient scale, step size, root correction.
    pub numbers: [f32; 7],
}

impl<B: Buffer> Table<B> {
    pub fn new<M: Machine<Buffer = B>>(machine: &M, parameters: &[Parameter]) -> Result<Self> {
        let mut words = Vec::new();
        for &Parameter { places, len } in parameters {
            for first in (0..len).step_by(CHUNK) {
                words.extend(places.map(|place| if place == Place::NONE { 0 } else { place.after(4 * first).0 }));
                words.push(CHUNK.min(len - first) as u64);
            }
        }
        Ok(Self { rows: machine.upload(&words)?, count: words.len() / 5 })
    }

    /// Writes the Euclidean norm of all gradients together.
    pub fn norm<M: Machine<Buffer = B>>(&self, machine: &M, norm: Place) -> Result<()> {
        let parts = machine.buffer(4 * self.count)?;
        self.launch(machine, "gradient_squares", &[self.rows.place().into(), parts.place().into()])?;
        let arguments = [parts.place().into(), norm.into(), self.count.into(), 1f32.into(), true.into()];
        let (source, value) = (Source::Difference, Value::F32);
        machine.launch(&Launch { source, value, kernel: "total", grid: [1; 3], arguments: &arguments })
    }

    /// Updates weights and moments.
    pub fn update<M: Machine<Buffer = B>>(&self, machine: &M, step: &Step) -> Result<()> {
        let numbers = step.numbers.map(Argument::from);
        self.launch(machine, "adam", &[&[self.rows.place().into()], &numbers[..]].concat())
    }

    fn launch<M: Machine>(&self, machine: &M, kernel: &'static str, arguments: &[Argument]) -> Result<()> {
        let grid = [self.count, 1, 1];
        machine.launch(&Launch { source: Source::Adam, value: Value::F32, kernel, grid, arguments })
    }
}

#[cfg(test)]
mod tests {
    use super::super::emulator::Emulator;
    use super::super::testing::{assert_close, wave};
    use super::*;

    #[test]
    fn norm_and_update_are_those_of_the_formulae() {
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

        let step = Step { numbers: [0.1, 0.999, 0.001, 1e-8, 0.5, 0.01, 0.3] };
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
