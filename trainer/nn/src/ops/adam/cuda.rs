//! Adam and the norm of the gradient on a GPU, in one launch with a table of all parameters.

use candle_core::op::BackpropOp;
use candle_core::{Device, Result, Storage, Tensor};

use super::super::cuda::floats_of;
use super::{AdamNumbers, AdamParameter};
use impasto_kernels::gpu::adam::{AdamStep, Parameter, Table};
use impasto_kernels::gpu::launch::Place;
use impasto_kernels::gpu::{Gpu, Value};

/// Updates parameters that are on a GPU. Returns whether they are.
pub(super) fn step(parameters: &[AdamParameter], numbers: &AdamNumbers) -> Result<bool> {
    let Some(first) = parameters.first() else { return Ok(true) };
    let Device::Cuda(device) = first.weight.device() else { return Ok(false) };
    let gpu = Gpu::of(device);
    let gradients = parameters.iter().map(|parameter| parameter.gradient.contiguous()).collect::<Result<Vec<_>>>()?;
    let rows = parameters.iter().zip(&gradients).map(|(parameter, gradient)| {
        let place = |tensor: &Tensor| floats_of(&gpu, tensor);
        let weight = place(parameter.weight)?;
        let places = [weight, place(gradient)?, place(parameter.first)?, place(parameter.second)?];
        Ok(Parameter { places, len: gradient.elem_count() })
    });
    let AdamNumbers { fresh1, beta2, fresh2, epsilon, gradient_scale, step_size, root_correction } = *numbers;
    let numbers = [fresh1, beta2, fresh2, epsilon, gradient_scale, step_size, root_correction];
    Table::new(&gpu, &rows.collect::<Result<Vec<_>>>()?)?.update(&gpu, &AdamStep { numbers })?;
    Ok(true)
}

/// The norm of gradients that are on a GPU.
pub(super) fn norm(gradients: &[&Tensor]) -> Result<Option<Tensor>> {
    let Some(Device::Cuda(device)) = gradients.first().map(|gradient| gradient.device()) else { return Ok(None) };
    let gpu = Gpu::of(device);
    let gradients = gradients.iter().map(|gradient| gradient.contiguous()).collect::<Result<Vec<_>>>()?;
    let rows = gradients.iter().map(|gradient| {
        let places = [Place::NONE, floats_of(&gpu, gradient)?, Place::NONE, Place::NONE];
        Ok(Parameter { places, len: gradient.elem_count() })
    });
    let table = Table::new(&gpu, &rows.collect::<Result<Vec<_>>>()?)?;
    let (norm, place) = gpu.output(1, Value::F32)?;
    table.norm(&gpu, place)?;
    Ok(Some(Tensor::from_storage(Storage::Cuda(norm), (), BackpropOp::none(), false)))
}
