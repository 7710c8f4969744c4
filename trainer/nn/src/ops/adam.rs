//! The in-place update of Adam (Kingma and Ba, 2015), and the norm of the gradient, for all parameters of a network.
//!
//! The arithmetic is PyTorch's, operation by operation. A GPU needs one launch for all parameters, instead of eleven launches
//! for each.

use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var, bail};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
mod cuda;

/// With fewer values per thread, another thread costs more time than it saves.
const VALUES_PER_THREAD: usize = 16 * 1024;

/// A parameter with its gradient and its moments, all f32 and of the same shape. Parameter and moments are updated in place.
#[derive(Debug, Clone, Copy)]
pub struct AdamParameter<'a> {
    /// The weights.
    pub weight: &'a Var,
    /// Their gradient.
    pub gradient: &'a Tensor,
    /// The running mean of the gradient.
    pub first: &'a Tensor,
    /// The running mean of its square.
    pub second: &'a Tensor,
}

/// The constants of one update, the same for all parameters, in the precision of the tensors.
#[derive(Debug, Clone, Copy)]
pub struct AdamNumbers {
    /// 1 - beta1: the weight of the new gradient in the first moment.
    pub fresh1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// 1 - beta2.
    pub fresh2: f32,
    /// Added to the square root of the second moment.
    pub epsilon: f32,
    /// Factor for the gradient.
    pub gradient_scale: f32,
    /// Learning rate divided by the first moment's bias correction.
    pub step_size: f32,
    /// Square root of the second moment's bias correction.
    pub root_correction: f32,
}

/// Updates all parameters and their moments in place.
///
/// # Errors
///
/// If a tensor is not f32 and contiguous, or shapes differ.
pub fn adam_step(parameters: &[AdamParameter], numbers: &AdamNumbers) -> Result<()> {
    for parameter in parameters {
        let shape = parameter.weight.shape();
        if [parameter.gradient, parameter.first, parameter.second].iter().any(|tensor| tensor.shape() != shape) {
            bail!("a parameter of {shape:?} has a gradient or moments of another shape")
        }
    }
    if parameters.is_empty() {
        return Ok(());
    }
    #[cfg(feature = "cuda")]
    if cuda::step(parameters, numbers)? {
        return Ok(());
    }
    parameters.iter().try_for_each(|parameter| numbers.apply(parameter))
}

/// The Euclidean norm of all gradients together, as a scalar on their device.
///
/// # Errors
///
/// If there are no gradients.
pub fn gradient_norm(gradients: &[&Tensor]) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let Some(norm) = cuda::norm(gradients)? {
        return Ok(norm);
    }
    let squares = gradients.iter().map(|gradient| gradient.sqr()?.sum_all()).collect::<Result<Vec<_>>>()?;
    Tensor::stack(&squares, 0)?.sum_all()?.sqrt()
}

impl AdamNumbers {
    /// On the CPU, no temporary tensors are needed: three passes instead of eleven.
    fn apply(&self, parameter: &AdamParameter) -> Result<()> {
        let Self { fresh1, beta2, fresh2, epsilon, gradient_scale, step_size, root_correction } = *self;
        let first = Zip2(|first: &mut f32, gradient: f32| *first += fresh1 * (gradient * gradient_scale - *first));
        parameter.first.inplace_op2(parameter.gradient, &first)?;
        let second = Zip2(|second: &mut f32, gradient: f32| {
            let gradient = gradient * gradient_scale;
            *second = *second * beta2 + fresh2 * (gradient * gradient);
        });
        parameter.second.inplace_op2(parameter.gradient, &second)?;
        let value = Zip3(|value: &mut f32, first: f32, second: f32| {
            *value -= step_size * (first / (second.sqrt() / root_correction + epsilon));
        });
        parameter.weight.inplace_op3(parameter.first, parameter.second, &value)
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

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<()> {
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
    ) -> Result<()> {
        let values = values_mut(s1, l1)?.par_iter_mut().with_min_len(VALUES_PER_THREAD);
        let others = values_of(s2, l2)?.par_iter().zip(values_of(s3, l3)?);
        values.zip(others).for_each(|(value, (&second, &third))| (self.0)(value, second, third));
        Ok(())
    }
}

fn values_of<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => bail!("expected a contiguous f32 tensor"),
    }
}

fn values_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => bail!("expected a contiguous f32 tensor"),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::testing::noise;
    use super::*;

    #[test]
    fn the_norm_is_taken_over_all_gradients() {
        let gradients = [Tensor::new(&[3f32], &Device::Cpu).unwrap(), Tensor::new(&[0f32, 4.], &Device::Cpu).unwrap()];
        let norm = gradient_norm(&gradients.each_ref()).unwrap();
        assert_eq!(norm.to_scalar::<f32>().unwrap().to_bits(), 5f32.to_bits());
    }

    #[test]
    fn a_gradient_of_another_shape_is_refused() {
        let (weight, other) = (Var::from_tensor(&noise(3, 1)).unwrap(), noise(4, 2));
        let (first, second) = (noise(3, 3), noise(3, 4));
        let parameter = AdamParameter { weight: &weight, gradient: &other, first: &first, second: &second };
        let numbers = AdamNumbers {
            fresh1: 0.1,
            beta2: 0.9,
            fresh2: 0.1,
            epsilon: 1e-8,
            gradient_scale: 1.,
            step_size: 0.1,
            root_correction: 1.,
        };
        let text = adam_step(&[parameter], &numbers).unwrap_err().to_string();
        assert!(text.starts_with("a parameter of [3] has a gradient or moments of another shape"), "{text}");
    }
}
