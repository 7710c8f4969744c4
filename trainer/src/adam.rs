//! Adam (Kingma and Ba, 2015) with public moments, so that a resumed run gives the same bytes.
//!
//! candle's own Adam keeps its moments private. The arithmetic is PyTorch's, operation by operation.

use std::collections::BTreeMap;

use candle_core::Tensor;
use candle_core::backprop::GradStore;
use impasto_common::{Error, Result};
use impasto_nn::ops::{self, AdamNumbers, AdamParameter};

use crate::init::Parameters;
use crate::peers::Peers;

/// The constants of Adam.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamConfig {
    /// Decay of the first moment. Default: 0.9.
    pub beta1: f64,
    /// Decay of the second moment. Default: 0.999.
    pub beta2: f64,
    /// Added to the square root of the second moment. Default: 1e-8.
    pub epsilon: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

/// The learning rate of every parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearningRates<'a> {
    /// The rate of all parameters but those of `exception`.
    pub rate: f64,
    /// The name of a layer and the rate of its parameters.
    pub exception: Option<(&'a str, f64)>,
}

impl From<f64> for LearningRates<'_> {
    fn from(rate: f64) -> Self {
        Self { rate, exception: None }
    }
}

impl LearningRates<'_> {
    /// Whether `parameter` belongs to the layer that has a rate of its own.
    fn excepts(&self, parameter: &str) -> bool {
        self.exception.is_some_and(|(layer, _)| parameter.rsplit_once('.').is_some_and(|(own, _)| own == layer))
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
    /// Number of updates done.
    pub steps: usize,
    /// The moments of every parameter, by its name.
    pub moments: BTreeMap<String, Moments>,
}

/// The gradient of every parameter, by its name.
#[derive(Debug, Clone)]
pub struct Gradients(pub BTreeMap<String, Tensor>);

impl Gradients {
    /// Takes the gradients of all parameters out of a backward pass.
    ///
    /// # Errors
    ///
    /// If a parameter has none: the loss does not depend on it.
    pub fn of(parameters: &Parameters, gradients: &GradStore) -> Result<Self> {
        let own = parameters.iter().map(|(name, parameter)| {
            let gradient = gradients.get(parameter).ok_or_else(|| no_gradient(name))?;
            // Detached, because a gradient refers to all activations that it was computed from and would keep their memory.
            Ok((name.clone(), gradient.contiguous()?.detach()))
        });
        Ok(Self(own.collect::<Result<_>>()?))
    }

    /// Adds the gradients of another micro-batch.
    ///
    /// # Errors
    ///
    /// If they belong to other parameters.
    pub fn plus(self, other: &Self) -> Result<Self> {
        let sums = self.0.into_iter().map(|(name, gradient)| {
            let sum = (gradient + other.0.get(&name).ok_or_else(|| no_gradient(&name))?)?;
            Ok((name, sum))
        });
        Ok(Self(sums.collect::<Result<_>>()?))
    }

    /// The mean over all processes.
    ///
    /// # Errors
    ///
    /// If the connection to another process is lost.
    pub fn mean_over(self, peers: &mut Peers) -> Result<Self> {
        let (names, gradients): (Vec<_>, Vec<_>) = self.0.into_iter().unzip();
        Ok(Self(names.into_iter().zip(peers.means(gradients)?).collect()))
    }

    /// Multiplies all gradients by `factor`.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn times(self, factor: f64) -> Result<Self> {
        Ok(Self(self.0.into_iter().map(|(name, gradient)| Ok((name, (gradient * factor)?))).collect::<Result<_>>()?))
    }

    /// The Euclidean norm of all gradients together, as a scalar tensor on their device.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn norm(&self) -> Result<Tensor> {
        Ok(ops::gradient_norm(&self.0.values().collect::<Vec<_>>())?)
    }
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

    /// Updates every parameter in place with its gradient times `gradient_scale`, at its learning rate.
    ///
    /// # Errors
    ///
    /// If a parameter has no gradient: the loss does not depend on it.
    pub fn step<'a>(
        &mut self,
        parameters: &Parameters,
        gradients: &Gradients,
        rates: impl Into<LearningRates<'a>>,
        gradient_scale: f64,
    ) -> Result<()> {
        self.steps += 1;
        let rates = rates.into();
        let groups = [(false, Some(rates.rate)), (true, rates.exception.map(|(_, rate)| rate))];
        for (excepted, rate) in groups.into_iter().filter_map(|(excepted, rate)| Some((excepted, rate?))) {
            let own = parameters.iter().filter(|(name, _)| rates.excepts(name) == excepted);
            let own = own.map(|(name, weight)| {
                let gradient = gradients.0.get(name).ok_or_else(|| no_gradient(name))?;
                let Moments { first, second } = self.moments.get(name).ok_or_else(|| no_gradient(name))?;
                Ok(AdamParameter { weight, gradient, first, second })
            });
            ops::adam_step(&own.collect::<Result<Vec<_>>>()?, &self.numbers(rate, gradient_scale))?;
        }
        Ok(())
    }

    fn numbers(&self, rate: f64, gradient_scale: f64) -> AdamNumbers {
        let AdamConfig { beta1, beta2, epsilon } = self.config;
        let correction = |beta: f64| 1.0 - beta.powf(self.steps as f64);
        AdamNumbers {
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

fn no_gradient(name: &str) -> Error {
    Error::new(format!("parameter `{name}` has no gradient"))
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    /// `torch.optim.Adam([p], lr=..)` on the function below, at rates 0.1, 0.1 and 0.05.
    const PYTORCH: [f32; 4] = [0.752_622_37, -0.748_746_04, 2.250_314_5, -0.212_698_04];
    /// The same with every gradient multiplied by 1e-6.
    const PYTORCH_SCALED: [f32; 4] = [0.755_221_1, -0.744_621_1, 2.244_437_7, -0.102_335_21];

    /// Three steps on `sum(target * parameter^3) / 3`, whose gradient is `target * parameter^2`.
    fn descend(gradient_scale: f64) -> Vec<f32> {
        let start = Var::new(&[1.0f32, -0.5, 2.0, 1e-3], &Device::Cpu).unwrap();
        let target = Tensor::new(&[1.0f32, 2.0, -0.1, 1e3], &Device::Cpu).unwrap();
        let parameters = Parameters::from([("weight".to_owned(), start.clone())]);
        let mut adam = Adam::new(AdamConfig::default(), &parameters).unwrap();
        for rate in [0.1, 0.1, 0.05] {
            let cubes = (start.sqr().unwrap() * start.as_tensor()).unwrap();
            let loss = ((cubes * &target).unwrap().sum_all().unwrap() / 3.0).unwrap();
            let gradients = Gradients::of(&parameters, &loss.backward().unwrap()).unwrap();
            adam.step(&parameters, &gradients, rate, gradient_scale).unwrap();
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
        assert_close(&descend(1.0), &PYTORCH);
    }

    #[test]
    fn a_clipped_gradient_gives_pytorchs_numbers() {
        // So small that epsilon matters.
        assert_close(&descend(1e-6), &PYTORCH_SCALED);
    }

    #[test]
    fn one_layer_may_have_a_rate_of_its_own() {
        let names = ["out.weight", "out.bias", "in.weight"];
        let parameters: Parameters =
            names.map(|name| (name.to_owned(), Var::new(&[1.0f32], &Device::Cpu).unwrap())).into();
        let mut adam = Adam::new(AdamConfig::default(), &parameters).unwrap();
        let gradients = names.map(|name| (name.to_owned(), Tensor::new(&[2.0f32], &Device::Cpu).unwrap()));
        let rates = LearningRates { rate: 0.01, exception: Some(("out", 0.1)) };
        adam.step(&parameters, &Gradients(gradients.into()), rates, 1.0).unwrap();
        // The first step of Adam is as long as the rate.
        let values = names.map(|name| parameters[name].to_vec1::<f32>().unwrap()[0]);
        assert_close(&values, &[0.9, 0.9, 0.99]);
    }

    #[test]
    fn the_gradient_norm_is_taken_over_all_parameters() {
        let a = Var::new(&[3.0f32, 0.0], &Device::Cpu).unwrap();
        let b = Var::new(2.0f32, &Device::Cpu).unwrap();
        let loss = ((a.sum_all().unwrap() * 3.0).unwrap() + (b.as_tensor() * 4.0).unwrap()).unwrap();
        let parameters = Parameters::from([("a".to_owned(), a), ("b".to_owned(), b)]);
        let norm = Gradients::of(&parameters, &loss.backward().unwrap()).unwrap().norm().unwrap();
        assert_close(&[norm.to_scalar().unwrap()], &[34f32.sqrt()]);
    }

    #[test]
    fn a_parameter_without_a_gradient_is_named() {
        let parameters = Parameters::from([("idle".to_owned(), Var::new(1.0f32, &Device::Cpu).unwrap())]);
        let used = Var::new(1.0f32, &Device::Cpu).unwrap();
        let error = Gradients::of(&parameters, &used.sqr().unwrap().backward().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "parameter `idle` has no gradient");
    }
}
