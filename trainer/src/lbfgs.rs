//! L-BFGS (Nocedal, 1980; Liu and Nocedal, 1989) with a fixed step, the optimiser of Gatys et al. (2015).
//!
//! The arithmetic is that of `torch.optim.LBFGS` without a line search, as in the Torch 7 program that Johnson et al. (2016)
//! compare with. Each iteration evaluates the objective once, so numbers of iterations can be compared.

use std::collections::VecDeque;

use rayon::prelude::*;

/// The constants of L-BFGS.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LbfgsConfig {
    /// The number of past steps that are kept to model the curvature. Default: 100, as in the papers.
    pub history: usize,
    /// Factor for every step that the curvature model gives. Default: 1.
    pub learning_rate: f64,
    /// Length of a step without a curvature model, such as the first step: the sum of the absolute changes of all values.
    /// Default: 1, as in PyTorch.
    ///
    /// PyTorch also limits it to the gradient itself, which is far too short for an objective of order 1 with a million
    /// variables of order 100. For a picture, set it to about the number of its values.
    pub first_step: f64,
}

impl Default for LbfgsConfig {
    fn default() -> Self {
        Self { history: 100, learning_rate: 1.0, first_step: 1.0 }
    }
}

/// The state of the optimiser.
#[derive(Debug, Clone)]
pub struct Lbfgs {
    config: LbfgsConfig,
    pairs: VecDeque<Pair>,
    last: Option<Last>,
    first_step: f64,
}

/// A step and the change of the gradient along it.
#[derive(Debug, Clone)]
struct Pair {
    step: Vec<f32>,
    change: Vec<f32>,
    inverse_product: f64,
}

/// The state after the last iteration.
#[derive(Debug, Clone)]
struct Last {
    gradient: Vec<f32>,
    step: Vec<f32>,
}

impl Lbfgs {
    /// An optimiser before its first step.
    #[must_use]
    pub fn new(config: LbfgsConfig) -> Self {
        Self { config, pairs: VecDeque::new(), last: None, first_step: config.first_step }
    }

    /// Discards the curvature model. The next step follows the gradient, and is half as long as the last step.
    pub fn reset(&mut self) {
        self.pairs.clear();
        if let Some(last) = self.last.take() {
            self.first_step = sum_of_absolutes(&last.step) / 2.0;
        }
    }

    /// Makes one iteration on `values`; `gradient` is the objective's at `values`.
    pub fn step(&mut self, values: &mut [f32], gradient: &[f32]) {
        let steepness = sum_of_absolutes(gradient);
        if steepness == 0.0 {
            return;
        }
        self.learn(gradient);
        let mut step = self.direction(gradient);
        let slope = dot(&step, gradient);
        if slope >= 0.0 || !slope.is_finite() {
            // Rounding errors have made the model useless: its direction leads uphill.
            self.reset();
            step = gradient.iter().map(|g| -g).collect();
        }
        // Without a curvature model, the step length is not known. This can continue after the first step, where the objective is
        // not convex.
        let length = if self.pairs.is_empty() {
            self.config.learning_rate * self.first_step / steepness
        } else {
            self.config.learning_rate
        };
        step.par_iter_mut().for_each(|value| *value *= length as f32);
        values.par_iter_mut().zip(&step).for_each(|(value, step)| *value += step);
        self.last = Some(Last { gradient: gradient.to_vec(), step });
    }

    /// Keeps the last step and the change of the gradient along it, if the objective is convex along the step.
    fn learn(&mut self, gradient: &[f32]) {
        let Some(Last { gradient: before, step }) = &self.last else { return };
        let change: Vec<_> = gradient.par_iter().zip(before).map(|(now, before)| now - before).collect();
        let product = dot(&change, step);
        if product > f64::EPSILON * dot(&change, &change) {
            if self.pairs.len() == self.config.history {
                self.pairs.pop_front();
            }
            self.pairs.push_back(Pair { step: step.clone(), change, inverse_product: 1.0 / product });
        }
    }

    /// The two loops of Nocedal (1980): the model's inverse Hessian times the negative gradient.
    fn direction(&self, gradient: &[f32]) -> Vec<f32> {
        let mut direction: Vec<_> = gradient.iter().map(|g| -g).collect();
        let mut factors = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let factor = dot(&pair.step, &direction) * pair.inverse_product;
            add_scaled(&mut direction, -factor, &pair.change);
            factors.push(factor);
        }
        if let Some(pair) = self.pairs.back() {
            let scale = 1.0 / (pair.inverse_product * dot(&pair.change, &pair.change));
            direction.par_iter_mut().for_each(|value| *value *= scale as f32);
        }
        for (pair, factor) in self.pairs.iter().zip(factors.into_iter().rev()) {
            let correction = factor - dot(&pair.change, &direction) * pair.inverse_product;
            add_scaled(&mut direction, correction, &pair.step);
        }
        direction
    }
}

/// The number of values that one task sums. It is the same for any number of threads, so sums do not depend on their number.
const CHUNK: usize = 1 << 15;

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let parts: Vec<f64> = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK)).map(|(a, b)| dot_of_chunk(a, b)).collect();
    parts.into_iter().sum()
}

/// Sixteen partial sums, so that the compiler can keep them in vector registers.
fn dot_of_chunk(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0f64; 16];
    let (a_chunks, b_chunks) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f64 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| f64::from(a * b)).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(a * b);
        }
    }
    sums.into_iter().sum::<f64>() + rest
}

fn sum_of_absolutes(values: &[f32]) -> f64 {
    let parts: Vec<f64> =
        values.par_chunks(CHUNK).map(|chunk| chunk.iter().map(|value| f64::from(value.abs())).sum()).collect();
    parts.into_iter().sum()
}

fn add_scaled(values: &mut [f32], factor: f64, direction: &[f32]) {
    let factor = factor as f32;
    values.par_iter_mut().zip(direction).for_each(|(value, direction)| *value += factor * direction);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rosenbrock's valley and its gradient.
    fn rosenbrock(x: &[f32]) -> (f64, Vec<f32>) {
        let (a, b) = (f64::from(x[0]), f64::from(x[1]));
        let valley = b - a * a;
        let gradient = [-2.0 * (1.0 - a) - 400.0 * a * valley, 200.0 * valley];
        ((1.0 - a).powi(2) + 100.0 * valley * valley, gradient.map(|g| g as f32).to_vec())
    }

    #[test]
    fn a_quadratic_is_minimised_in_about_as_many_steps_as_it_has_curvatures() {
        let mut lbfgs = Lbfgs::new(LbfgsConfig::default());
        let mut x = vec![1.0f32; 40];
        for _ in 0..25 {
            let gradient: Vec<_> = x.iter().enumerate().map(|(i, x)| x * (1 + i % 4) as f32).collect();
            lbfgs.step(&mut x, &gradient);
        }
        assert!(x.iter().all(|x| x.abs() < 1e-4), "{x:?}");
    }

    #[test]
    fn rosenbrocks_function_is_minimised() {
        let mut lbfgs = Lbfgs::new(LbfgsConfig::default());
        let mut x = vec![-1.2f32, 1.0];
        for _ in 0..100 {
            let (_, gradient) = rosenbrock(&x);
            lbfgs.step(&mut x, &gradient);
        }
        assert!(rosenbrock(&x).0 < 1e-6, "{x:?}");
    }

    #[test]
    fn the_first_step_has_the_requested_length() {
        let mut lbfgs = Lbfgs::new(LbfgsConfig { first_step: 8.0, ..LbfgsConfig::default() });
        let mut x = vec![0.0f32; 4];
        lbfgs.step(&mut x, &[1e-6, -1e-6, 1e-6, 1e-6]);
        for (x, expected) in x.iter().zip([-2.0, 2.0, -2.0, -2.0]) {
            assert!((x - expected).abs() < 1e-5);
        }
    }

    #[test]
    fn steps_keep_their_length_until_there_is_curvature_to_learn_from() {
        let mut lbfgs = Lbfgs::new(LbfgsConfig { first_step: 8.0, ..LbfgsConfig::default() });
        let mut x = vec![0.0f32; 4];
        for steps in [1.0, 2.0, 3.0] {
            lbfgs.step(&mut x, &[-1e-6; 4]);
            assert!(x.iter().all(|x| (x - 2.0 * steps).abs() < 1e-5), "{x:?} after {steps}");
        }
    }

    #[test]
    fn an_odd_number_of_values_is_summed_to_the_last() {
        let values: Vec<f32> = (0..100_003u32).map(|i| (i % 7) as f32).collect();
        let expected: f64 = values.iter().map(|&value| f64::from(value * value)).sum();
        assert!((dot(&values, &values) - expected).abs() < 1e-6);
    }
}
