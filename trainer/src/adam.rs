//! Adam (Kingma and Ba, 2015) with its moments in the open, so that a run can be resumed to the byte.
//!
//! candle's own keeps them private. The arithmetic is PyTorch's, operation by operation.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Tensor, Var};
use common::{Error, Result};
use rayon::prelude::*;

use crate::init::Parameters;

/// Below this many values per thread a second thread costs more than it saves.
const VALUES_PER_THREAD: usize = 16 * 1024;

/// The constants of Adam.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamConfig {
    /// Decay of the first moment. Default: 0.9.
    pub beta1: f64,
    /// Decay of the second moment. Default: 0.999.
    pub beta2: f64,
    /// Added to the root of the second moment. Default: 1e-8.
    pub epsilon: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

/// Running means of the gradient and of its square, shaped like their parameter.
#[derive(Debug, Clone)]
pub struct Moments {
    /// The mean of the gradient.
    pub first: Tensor,
    /// The mean of the squared gradient.
    pub second: Tensor,
}

/// The state of the optimiser.
#[derive(Debug, Clone)]
pub struct Adam {
    /// The constants.
    pub config: AdamConfig,
    /// Updates done.
    pub steps: usize,
    /// The moments of every parameter, by its name.
    pub moments: BTreeMap<String, Moments>,
}

/// The numbers of one update that all parameters share, in the precision of the tensors.
#[derive(Debug, Clone, Copy)]
struct Update {
    /// 1 - beta1: the weight of the new gradient in the first moment.
    fresh1: f32,
    beta2: f32,
    /// 1 - beta2.
    fresh2: f32,
    epsilon: f32,
    gradient_scale: f32,
    /// Learning rate over the first moment's bias correction.
    step_size: f32,
    /// Root of the second moment's bias correction.
    root_correction: f32,
}

impl Adam {
    /// The state before the first update.
    ///
    /// # Errors
    ///
    /// If the device is out of memory.
    pub fn new(config: AdamConfig, parameters: &Parameters) -> Result<Self> {
        let moments = parameters.iter().map(|(name, parameter)| {
            // Two fresh tensors: clones would share their storage, and both are updated in place.
            Ok((name.clone(), Moments { first: parameter.zeros_like()?, second: parameter.zeros_like()? }))
        });
        Ok(Self { config, steps: 0, moments: moments.collect::<Result<_>>()? })
    }

    /// Updates every parameter in place with its gradient times `gradient_scale`, at learning rate `rate`.
    ///
    /// # Errors
    ///
    /// If a parameter has no gradient: it has no part in the loss.
    pub fn step(
        &mut self,
        parameters: &Parameters,
        gradients: &GradStore,
        rate: f64,
        gradient_scale: f64,
    ) -> Result<()> {
        self.steps += 1;
        let update = self.update(rate, gradient_scale);
        for (name, parameter) in parameters {
            let gradient = gradients.get(parameter).ok_or_else(|| no_gradient(name))?.contiguous()?;
            let moments = self.moments.get_mut(name).ok_or_else(|| no_gradient(name))?;
            if parameter.device().is_cpu() {
                update.apply_in_place(parameter, &gradient, moments)?;
            } else {
                update.apply(parameter, &gradient, moments)?;
            }
        }
        Ok(())
    }

    fn update(&self, rate: f64, gradient_scale: f64) -> Update {
        let AdamConfig { beta1, beta2, epsilon } = self.config;
        let correction = |beta: f64| 1.0 - beta.powf(self.steps as f64);
        Update {
            fresh1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            fresh2: (1.0 - beta2) as f32,
            epsilon: epsilon as f32,
            gradient_scale: gradient_scale as f32,
            step_size: (rate / correction(beta1)) as f32,
            root_correction: correction(beta2).sqrt() as f32,
        }
    }
}

/// The Euclidean norm of the gradients of all parameters together, as a scalar tensor on their device.
///
/// # Errors
///
/// If a parameter has no gradient.
pub fn gradient_norm(parameters: &Parameters, gradients: &GradStore) -> Result<Tensor> {
    let squares = parameters.iter().map(|(name, parameter)| {
        let gradient = gradients.get(parameter).ok_or_else(|| no_gradient(name))?;
        Ok(gradient.sqr()?.sum_all()?)
    });
    let squares = squares.collect::<Result<Vec<_>>>()?;
    Ok(Tensor::stack(&squares, 0)?.sum_all()?.sqrt()?)
}

fn no_gradient(name: &str) -> Error {
    Error::new(format!("parameter `{name}` has no gradient"))
}

impl Update {
    /// Tensor by tensor, for any device.
    fn apply(&self, parameter: &Var, gradient: &Tensor, moments: &mut Moments) -> Result<()> {
        let times = |tensor: &Tensor, factor: f32| tensor.affine(f64::from(factor), 0.0);
        let gradient = times(gradient, self.gradient_scale)?;
        let first = (&moments.first + times(&(&gradient - &moments.first)?, self.fresh1)?)?;
        let second = (times(&moments.second, self.beta2)? + times(&gradient.sqr()?, self.fresh2)?)?;
        let root = second.sqrt()?.affine(f64::from(1.0 / self.root_correction), f64::from(self.epsilon))?;
        parameter.set(&(parameter.as_tensor() - times(&(&first / root)?, self.step_size)?)?)?;
        *moments = Moments { first, second };
        Ok(())
    }

    /// The same on the CPU without a temporary: three passes instead of eleven.
    fn apply_in_place(&self, parameter: &Var, gradient: &Tensor, moments: &Moments) -> Result<()> {
        let Self { fresh1, beta2, fresh2, epsilon, gradient_scale, step_size, root_correction } = *self;
        let first = Zip2(|first: &mut f32, gradient: f32| *first += fresh1 * (gradient * gradient_scale - *first));
        moments.first.inplace_op2(gradient, &first)?;
        let second = Zip2(|second: &mut f32, gradient: f32| {
            let gradient = gradient * gradient_scale;
            *second = *second * beta2 + fresh2 * (gradient * gradient);
        });
        moments.second.inplace_op2(gradient, &second)?;
        let value = Zip3(|value: &mut f32, first: f32, second: f32| {
            *value -= step_size * (first / (second.sqrt() / root_correction + epsilon));
        });
        parameter.inplace_op3(&moments.first, &moments.second, &value)?;
        Ok(())
    }
}

/// Combines every value of a tensor with its counterpart in another.
struct Zip2<F>(F);

/// Combines every value of a tensor with its counterparts in two others.
struct Zip3<F>(F);

impl<F: Fn(&mut f32, f32) + Sync> InplaceOp2 for Zip2<F> {
    fn name(&self) -> &'static str {
        "adam-moment"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> candle_core::Result<()> {
        let values = values_mut(s1, l1)?.par_iter_mut().with_min_len(VALUES_PER_THREAD);
        values.zip(values_of(s2, l2)?).for_each(|(value, &other)| (self.0)(value, other));
        Ok(())
    }
}

impl<F: Fn(&mut f32, f32, f32) + Sync> InplaceOp3 for Zip3<F> {
    fn name(&self) -> &'static str {
        "adam-update"
    }

    fn cpu_fwd(
        &self,
        s1: &mut CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> candle_core::Result<()> {
        let values = values_mut(s1, l1)?.par_iter_mut().with_min_len(VALUES_PER_THREAD);
        let others = values_of(s2, l2)?.par_iter().zip(values_of(s3, l3)?);
        values.zip(others).for_each(|(value, (&second, &third))| (self.0)(value, second, third));
        Ok(())
    }
}

fn values_of<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => candle_core::bail!("expected a contiguous f32 tensor"),
    }
}

fn values_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> candle_core::Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => candle_core::bail!("expected a contiguous f32 tensor"),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// `torch.optim.Adam([p], lr=..)` on the function below, at rates 0.1, 0.1 and 0.05.
    const PYTORCH: [f32; 4] = [0.752_622_37, -0.748_746_04, 2.250_314_5, -0.212_698_04];
    /// The same with every gradient multiplied by 1e-6.
    const PYTORCH_SCALED: [f32; 4] = [0.755_221_1, -0.744_621_1, 2.244_437_7, -0.102_335_21];

    /// Three steps on `sum(target * parameter^3) / 3`, whose gradient is `target * parameter^2`.
    fn descend(gradient_scale: f64, fused: bool) -> Vec<f32> {
        let start = Var::new(&[1.0f32, -0.5, 2.0, 1e-3], &Device::Cpu).unwrap();
        let target = Tensor::new(&[1.0f32, 2.0, -0.1, 1e3], &Device::Cpu).unwrap();
        let parameters = Parameters::from([("weight".to_owned(), start.clone())]);
        let mut adam = Adam::new(AdamConfig::default(), &parameters).unwrap();
        for rate in [0.1, 0.1, 0.05] {
            let cubes = (start.sqr().unwrap() * start.as_tensor()).unwrap();
            let loss = ((cubes * &target).unwrap().sum_all().unwrap() / 3.0).unwrap();
            let gradients = loss.backward().unwrap();
            if fused {
                adam.step(&parameters, &gradients, rate, gradient_scale).unwrap();
            } else {
                adam.steps += 1;
                let update = adam.update(rate, gradient_scale);
                let gradient = gradients.get(&start).unwrap();
                update.apply(&start, gradient, adam.moments.get_mut("weight").unwrap()).unwrap();
            }
        }
        start.to_vec1().unwrap()
    }

    fn assert_close(values: &[f32], expected: &[f32]) {
        for (value, expected) in values.iter().zip(expected) {
            assert!((value - expected).abs() <= 2e-6 * expected.abs().max(0.1), "{values:?} is not {expected:?}");
        }
    }

    #[test]
    fn three_steps_give_pytorchs_numbers() {
        assert_close(&descend(1.0, true), &PYTORCH);
    }

    #[test]
    fn a_clipped_gradient_gives_pytorchs_numbers() {
        // So small that epsilon weighs.
        assert_close(&descend(1e-6, true), &PYTORCH_SCALED);
    }

    #[test]
    fn the_tensor_path_and_the_in_place_path_agree() {
        for scale in [1.0, 1e-6] {
            assert_close(&descend(scale, false), &descend(scale, true));
        }
    }

    #[test]
    fn the_gradient_norm_is_taken_over_all_parameters() {
        let a = Var::new(&[3.0f32, 0.0], &Device::Cpu).unwrap();
        let b = Var::new(2.0f32, &Device::Cpu).unwrap();
        let loss = ((a.sum_all().unwrap() * 3.0).unwrap() + (b.as_tensor() * 4.0).unwrap()).unwrap();
        let parameters = Parameters::from([("a".to_owned(), a), ("b".to_owned(), b)]);
        let norm = gradient_norm(&parameters, &loss.backward().unwrap()).unwrap();
        assert_close(&[norm.to_scalar().unwrap()], &[34f32.sqrt()]);
    }

    #[test]
    fn a_parameter_without_part_in_the_loss_is_named() {
        let parameters = Parameters::from([("idle".to_owned(), Var::new(1.0f32, &Device::Cpu).unwrap())]);
        let used = Var::new(1.0f32, &Device::Cpu).unwrap();
        let error = gradient_norm(&parameters, &used.sqr().unwrap().backward().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "parameter `idle` has no gradient");
    }
}
