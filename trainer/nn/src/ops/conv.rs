//! Two-dimensional convolution, fused with nearest-neighbour upsampling, zero or reflection padding, stride, bias and ReLU.
//!
//! Odena et al. (2016) replace transposed convolutions by upsampling and a plain convolution, to avoid checkerboard artefacts.
//! Upsampled or padded pictures are never part of the graph.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

#[cfg(feature = "cuda")]
use super::cuda;
use impasto_kernels::conv;
use impasto_kernels::conv_weight;
use impasto_kernels::geometry::Geometry;
#[cfg(feature = "cuda")]
use impasto_kernels::gpu::{Gpu, Value, conv as kernels};
use impasto_kernels::simd::Level;

/// The padding of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// This many zeros on all four sides.
    Zero(usize),
    /// This many pixels mirrored outwards without repeating the edge.
    Reflect(usize),
}

/// The geometry of a convolution: upsample, pad, convolve with a stride, add the bias, rectify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2d {
    /// Nearest-neighbour upsampling of the input, 1 or 2. Default: 1.
    pub upsample: usize,
    /// The padding, after upsampling. Default: none.
    pub padding: Padding,
    /// Step between output positions, 1 or 2. Default: 1.
    pub stride: usize,
    /// Whether negative results become zero. Default: no.
    pub relu: bool,
}

impl Default for Conv2d {
    fn default() -> Self {
        Self { upsample: 1, padding: Padding::Zero(0), stride: 1, relu: false }
    }
}

/// Convolves `xs` `(batch, in, height, width)` with `weight` `(out, in, kernel, kernel)` and adds `bias` `(out)`.
///
/// The result is `(batch, out, (upsample * height + 2 * pad - kernel) / stride + 1, ..)`. Differentiable in all three.
///
/// # Errors
///
/// If the shapes do not match, or the reflection padding is not smaller than the picture.
pub fn conv2d(xs: &Tensor, weight: &Tensor, bias: &Tensor, config: &Conv2d) -> Result<Tensor> {
    let g = geometry(xs, weight, bias, config)?;
    xs.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, Forward(g))
}

fn geometry(xs: &Tensor, weight: &Tensor, bias: &Tensor, config: &Conv2d) -> Result<Geometry> {
    let (batch, inputs, height, width) = xs.dims4()?;
    let (outputs, taken, kernel, kernel_width) = weight.dims4()?;
    let (pad, reflect) = match config.padding {
        Padding::Zero(pad) => (pad, false),
        Padding::Reflect(pad) => (pad, pad > 0),
    };
    let (upsample, stride, relu) = (config.upsample, config.stride, config.relu);
    if taken != inputs || kernel != kernel_width || kernel == 0 || bias.dims() != [outputs] {
        candle_core::bail!(
            "cannot convolve {:?} with weight {:?} and bias {:?}: expected (batch, in, height, width), (out, in, kernel, \
             kernel) and (out)",
            xs.dims(),
            weight.dims(),
            bias.dims()
        )
    }
    if !(1..=2).contains(&upsample) || !(1..=2).contains(&stride) {
        candle_core::bail!("cannot upsample by {upsample} and stride by {stride}: each is 1 or 2")
    }
    let (padded_height, padded_width) = (upsample * height, upsample * width);
    if reflect && (pad >= padded_height || pad >= padded_width) {
        candle_core::bail!("cannot reflect {pad} pixels of a {padded_height}x{padded_width} picture")
    }
    if padded_height + 2 * pad < kernel || padded_width + 2 * pad < kernel || batch * inputs * outputs == 0 {
        candle_core::bail!("cannot convolve {:?}, padded by {pad}, with weight {:?}", xs.dims(), weight.dims())
    }
    Ok(Geometry { batch, inputs, outputs, height, width, kernel, upsample, pad, reflect, stride, relu })
}

/// The floats of a contiguous tensor.
fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let floats = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&floats[start..end]),
        None => candle_core::bail!("the kernels need contiguous tensors"),
    }
}

/// [`conv2d`], as a function of (input, weight, bias).
struct Forward(Geometry);

impl CustomOp3 for Forward {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        xs_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let g = &self.0;
        let (xs, weight, bias) = (floats(xs, xs_layout)?, floats(weight, weight_layout)?, floats(bias, bias_layout)?);
        let mut ys = vec![0.0; g.output_len()];
        conv::forward(Level::detect(), g, xs, weight, bias, &mut ys);
        let (height, width) = g.out_size();
        Ok((CpuStorage::F32(ys), (g.batch, g.outputs, height, width).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        xs: &CudaStorage,
        xs_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (g, gpu) = (&self.0, cuda::gpu(xs));
        let (xs, value) = gpu.input(xs, xs_layout)?;
        let (weight, bias) = (cuda::floats(&gpu, weight, weight_layout)?, cuda::floats(&gpu, bias, bias_layout)?);
        let (ys, place) = gpu.output(g.output_len(), value)?;
        kernels::forward(&gpu, g, value, [xs, weight, bias], place)?;
        let (height, width) = g.out_size();
        Ok((ys, (g.batch, g.outputs, height, width).into()))
    }

    fn bwd(
        &self,
        xs: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        ys: &Tensor,
        dys: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let g = self.0;
        let dys = dys.contiguous()?;
        let dxs = xs.track_op().then(|| dys.apply_op3_no_bwd(weight, ys, &InputGradient(g))).transpose()?;
        let dweight = weight.track_op().then(|| dys.apply_op3_no_bwd(xs, ys, &WeightGradient(g))).transpose()?;
        let dbias = bias.track_op().then(|| dys.apply_op2_no_bwd(ys, &BiasGradient(g))).transpose()?;
        Ok((dxs, dweight, dbias))
    }
}

/// The gradient of [`Forward`]'s input, as a function of (the result's gradient, weight, result).
struct InputGradient(Geometry);

impl CustomOp3 for InputGradient {
    fn name(&self) -> &'static str {
        "conv2d-input-gradient"
    }

    fn cpu_fwd(
        &self,
        dys: &CpuStorage,
        dys_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        ys: &CpuStorage,
        ys_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let g = &self.0;
        let (dys, weight, ys) = (floats(dys, dys_layout)?, floats(weight, weight_layout)?, floats(ys, ys_layout)?);
        let mut dxs = vec![0.0; g.input_len()];
        conv::input_gradient(Level::detect(), g, dys, g.relu.then_some(ys), weight, &mut dxs);
        Ok((CpuStorage::F32(dxs), (g.batch, g.inputs, g.height, g.width).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        dys: &CudaStorage,
        dys_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
        ys: &CudaStorage,
        ys_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (g, gpu) = (&self.0, cuda::gpu(dys));
        let (value, dys) = gated(&gpu, g, (dys, dys_layout), (ys, ys_layout))?;
        let weight = cuda::floats(&gpu, weight, weight_layout)?;
        let (dxs, place) = gpu.output(g.input_len(), value)?;
        kernels::input_gradient(&gpu, g, value, dys, weight, place)?;
        Ok((dxs, (g.batch, g.inputs, g.height, g.width).into()))
    }
}

/// The gradient of [`Forward`]'s weight, as a function of (the result's gradient, input, result).
struct WeightGradient(Geometry);

impl CustomOp3 for WeightGradient {
    fn name(&self) -> &'static str {
        "conv2d-weight-gradient"
    }

    fn cpu_fwd(
        &self,
        dys: &CpuStorage,
        dys_layout: &Layout,
        xs: &CpuStorage,
        xs_layout: &Layout,
        ys: &CpuStorage,
        ys_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let g = &self.0;
        let (dys, xs, ys) = (floats(dys, dys_layout)?, floats(xs, xs_layout)?, floats(ys, ys_layout)?);
        let mut dweight = vec![0.0; g.weight_len()];
        conv_weight::weight_gradient(Level::detect(), g, xs, dys, g.relu.then_some(ys), &mut dweight);
        Ok((CpuStorage::F32(dweight), (g.outputs, g.inputs, g.kernel, g.kernel).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        dys: &CudaStorage,
        dys_layout: &Layout,
        xs: &CudaStorage,
        xs_layout: &Layout,
        ys: &CudaStorage,
        ys_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (g, gpu) = (&self.0, cuda::gpu(dys));
        let (value, dys) = gated(&gpu, g, (dys, dys_layout), (ys, ys_layout))?;
        let (xs, _) = gpu.input(xs, xs_layout)?;
        let (dweight, place) = gpu.output(g.weight_len(), Value::F32)?;
        kernels::weight_gradient(&gpu, g, value, dys, xs, place)?;
        Ok((dweight, (g.outputs, g.inputs, g.kernel, g.kernel).into()))
    }
}

/// The gradient of [`Forward`]'s bias, as a function of (the result's gradient, result).
struct BiasGradient(Geometry);

impl CustomOp2 for BiasGradient {
    fn name(&self) -> &'static str {
        "conv2d-bias-gradient"
    }

    fn cpu_fwd(
        &self,
        dys: &CpuStorage,
        dys_layout: &Layout,
        ys: &CpuStorage,
        ys_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let g = &self.0;
        let (dys, ys) = (floats(dys, dys_layout)?, floats(ys, ys_layout)?);
        let mut dbias = vec![0.0; g.outputs];
        conv_weight::bias_gradient(g, dys, g.relu.then_some(ys), &mut dbias);
        Ok((CpuStorage::F32(dbias), g.outputs.into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        dys: &CudaStorage,
        dys_layout: &Layout,
        ys: &CudaStorage,
        ys_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (g, gpu) = (&self.0, cuda::gpu(dys));
        let (value, dys) = gated(&gpu, g, (dys, dys_layout), (ys, ys_layout))?;
        let (dbias, place) = gpu.output(g.outputs, Value::F32)?;
        kernels::bias_gradient(&gpu, g, value, dys, place)?;
        Ok((dbias, g.outputs.into()))
    }
}

/// The result's gradient on a GPU, with the result if a ReLU masks the gradient.
#[cfg(feature = "cuda")]
fn gated(
    gpu: &Gpu,
    g: &Geometry,
    dys: (&CudaStorage, &Layout),
    ys: (&CudaStorage, &Layout),
) -> Result<(Value, kernels::Gated)> {
    let (value, [values, ys]) = cuda::places(gpu, [dys, ys])?;
    Ok((value, kernels::Gated { values, gate: g.relu.then_some(ys) }))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;

    /// The same computation as a composition of candle's own ops.
    fn oracle(xs: &Tensor, weight: &Tensor, bias: &Tensor, config: &Conv2d) -> Result<Tensor> {
        let (_, _, h, w) = xs.dims4()?;
        let xs = match config.upsample {
            1 => xs.clone(),
            n => xs.upsample_nearest2d(n * h, n * w)?,
        };
        let (xs, pad) = match config.padding {
            Padding::Zero(pad) => (xs, pad),
            Padding::Reflect(pad) => (reflect_pad2d(&xs, pad)?, 0),
        };
        let ys = xs.contiguous()?.conv2d(weight, pad, config.stride, 1, 1)?;
        let ys = ys.broadcast_add(&bias.reshape((1, (), 1, 1))?)?;
        if config.relu { ys.relu() } else { Ok(ys) }
    }

    fn reflect_pad2d(xs: &Tensor, pad: usize) -> Result<Tensor> {
        let mirror = |size: usize| -> Vec<u32> {
            let last = size as i64 - 1;
            (-(pad as i64)..size as i64 + pad as i64).map(|i| (last - (last - i.abs()).abs()) as u32).collect()
        };
        let (_, _, h, w) = xs.dims4()?;
        let rows = Tensor::new(mirror(h), xs.device())?;
        let columns = Tensor::new(mirror(w), xs.device())?;
        xs.contiguous()?.index_select(&rows, 2)?.index_select(&columns, 3)
    }

    fn noise(shape: impl Into<Shape>, seed: u32) -> Var {
        let shape = shape.into();
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let values: Vec<f32> = (0..shape.elem_count()).map(|_| next()).collect();
        Var::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn difference(a: &Tensor, b: &Tensor) -> f32 {
        let scale = b.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() / scale.max(1e-3)
    }

    fn configs(kernel: usize) -> impl Iterator<Item = Conv2d> {
        let half = kernel / 2;
        let paddings = [Padding::Zero(0), Padding::Zero(half), Padding::Reflect(half)];
        let flags = [(1, 1, false), (1, 2, true), (2, 1, true), (2, 2, false)];
        flags.into_iter().flat_map(move |(upsample, stride, relu)| {
            paddings.into_iter().map(move |padding| Conv2d { upsample, padding, stride, relu })
        })
    }

    #[test]
    fn results_and_gradients_equal_those_of_candles_operations() {
        for (kernel, (h, w)) in [(1, (3, 5)), (3, (7, 19)), (3, (4, 34)), (9, (11, 9))] {
            for config in configs(kernel) {
                let (xs, weight, bias) = (noise((2, 3, h, w), 1), noise((5, 3, kernel, kernel), 2), noise(5, 3));
                let ys = conv2d(&xs, &weight, &bias, &config).unwrap();
                let expected = oracle(&xs, &weight, &bias, &config).unwrap();
                assert_eq!(ys.shape(), expected.shape(), "{config:?}");
                assert!(difference(&ys, &expected) < 1e-5, "{config:?}");
                let upstream = noise(ys.shape(), 4);
                let gradients = (&ys * upstream.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
                let oracle = (&expected * upstream.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
                for var in [&xs, &weight, &bias] {
                    let (gradient, expected) = (gradients.get(var).unwrap(), oracle.get(var).unwrap());
                    assert!(difference(gradient, expected) < 1e-4, "{kernel} {config:?} {:?}", var.shape());
                }
            }
        }
    }

    #[test]
    fn only_tracked_arguments_have_a_gradient() {
        let (xs, weight, bias) = (noise((1, 2, 5, 5), 1), noise((2, 2, 3, 3), 2), noise(2, 3));
        let frozen = (weight.detach(), bias.detach());
        let gradients =
            conv2d(&xs, &frozen.0, &frozen.1, &Conv2d::default()).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&xs).is_some());
        assert!(gradients.get(&frozen.0).is_none() && gradients.get(&frozen.1).is_none());
        let gradients =
            conv2d(&xs.detach(), &weight, &bias, &Conv2d::default()).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&xs.detach()).is_none());
        assert!(gradients.get(&weight).is_some() && gradients.get(&bias).is_some());
    }

    #[test]
    fn strided_arguments_are_read_in_their_order() {
        let (xs, weight, bias) = (noise((1, 3, 6, 8), 1), noise((2, 3, 3, 3), 2), noise(2, 3));
        let (turned, kernel) = (xs.transpose(2, 3).unwrap(), weight.transpose(2, 3).unwrap());
        let ys = conv2d(&turned, &kernel, &bias, &Conv2d::default()).unwrap();
        let expected = conv2d(&xs, &weight, &bias, &Conv2d::default()).unwrap().transpose(2, 3).unwrap();
        assert!(difference(&ys, &expected.contiguous().unwrap()) < 1e-6);
        let narrow = xs.narrow(3, 1, 5).unwrap();
        let ys = conv2d(&narrow, &weight, &bias, &Conv2d::default()).unwrap();
        let expected = oracle(&narrow, &weight, &bias, &Conv2d::default()).unwrap();
        assert!(difference(&ys, &expected) < 1e-5);
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
        let error = |xs: &[usize], weight: &[usize], bias: &[usize], config: Conv2d| {
            conv2d(&zeros(xs), &zeros(weight), &zeros(bias), &config).unwrap_err().to_string()
        };
        let plain = Conv2d::default();
        let text = error(&[1, 3, 8, 8], &[2, 4, 3, 3], &[2], plain);
        assert!(text.contains("cannot convolve [1, 3, 8, 8] with weight [2, 4, 3, 3] and bias [2]"), "{text}");
        let text = error(&[1, 3, 2, 2], &[2, 3, 3, 3], &[2], plain);
        assert!(text.contains("cannot convolve [1, 3, 2, 2], padded by 0, with weight [2, 3, 3, 3]"), "{text}");
        let text = error(&[1, 3, 4, 9], &[2, 3, 9, 9], &[2], Conv2d { padding: Padding::Reflect(4), ..plain });
        assert!(text.contains("cannot reflect 4 pixels of a 4x9 picture"), "{text}");
        let text = error(&[1, 3, 8, 8], &[2, 3, 3, 3], &[2], Conv2d { stride: 3, ..plain });
        assert!(text.contains("cannot upsample by 1 and stride by 3: each is 1 or 2"), "{text}");
    }
}
