//! The weights that a training starts from.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::VarBuilder;
use impasto_common::model_file::StyleModel;
use impasto_common::network::StyleNetConfig;
use impasto_common::styles::BundledStyle;
use impasto_common::{Error, Result};
use impasto_nn::{StyleNet, arrays};
use rand::RngExt;

use crate::random::{Purpose, generator};

/// What makes random results of the last layer as varied as pictures.
const OUTPUT_GAIN: f64 = 50.0;

/// The trained tensors of a network by name, in name order.
pub type Parameters = BTreeMap<String, Var>;

/// Draws the weights of a network as PyTorch's layers do, in name order from one generator.
///
/// Convolutions, their biases included, are uniform within 1 / sqrt(fan in) (He et al., 2015, with a = sqrt(5)); an
/// instance normalisation starts as the identity.
///
/// # Errors
///
/// If the device is out of memory.
pub fn random_parameters(config: &StyleNetConfig, seed: u64, device: &Device) -> Result<Parameters> {
    let shapes = shapes(config);
    let mut random = generator(seed, Purpose::Weights, 0);
    let mut parameters = Parameters::new();
    for (name, shape) in &shapes {
        let values: Vec<f32> = if let Some(fan_in) = fan_in(name, &shapes) {
            let bound = 1.0 / (fan_in as f32).sqrt();
            (0..shape.elem_count()).map(|_| random.random_range(-bound..bound)).collect()
        } else {
            vec![if name.ends_with(".weight") { 1.0 } else { 0.0 }; shape.elem_count()]
        };
        let tensor = Tensor::from_vec(values, shape, device)?;
        parameters.insert(name.clone(), Var::from_tensor(&tensor)?);
    }
    Ok(parameters)
}

/// Makes a network with random weights paint noise around `colour`, RGB in `[0, 255]`, instead of black.
///
/// The last layer's weights are in levels. As drawn they give results of about 1, and a training first has to make them
/// about fifty times as large.
///
/// # Errors
///
/// If a tensor of the last layer is missing, or the device is out of memory.
pub fn paint_around(parameters: &Parameters, config: &StyleNetConfig, colour: [f32; 3]) -> Result<()> {
    let network = config.network();
    let name = network.output_layer();
    let parameter = |part: &str| {
        let name = format!("{name}.{part}");
        parameters.get(&name).ok_or_else(|| Error::new(format!("tensor `{name}` is missing")))
    };
    let (weight, bias) = (parameter("weight")?, parameter("bias")?);
    weight.set(&(weight.as_tensor() * OUTPUT_GAIN)?)?;
    bias.set(&Tensor::new(&colour, bias.device())?)?;
    Ok(())
}

/// The bundled style that a training of a network of these sizes starts from, if there is one.
///
/// # Errors
///
/// If an embedded file is damaged.
pub fn base(config: &StyleNetConfig) -> Result<Option<BundledStyle>> {
    let base = BundledStyle::default_style()?;
    Ok((base.model()?.card.network == *config).then_some(base))
}

/// Copies the weights of another style.
///
/// # Errors
///
/// If its network has sizes different from `config`.
pub fn parameters_of(model: &StyleModel, config: &StyleNetConfig, device: &Device) -> Result<Parameters> {
    check_start(model, config)?;
    let mut parameters = Parameters::new();
    for (name, shape) in shapes(config) {
        let array = model.tensors.get(&name).filter(|array| array.shape() == shape.dims());
        let array = array.ok_or_else(|| Error::new(format!("it has no tensor `{name}` of shape {shape:?}")))?;
        parameters.insert(name, Var::from_tensor(&arrays::to_tensor(array, device)?)?);
    }
    Ok(parameters)
}

/// Checks that a training of `config` can start from a style.
///
/// # Errors
///
/// If its network has different sizes; the hint names its preset.
pub(crate) fn check_start(model: &StyleModel, config: &StyleNetConfig) -> Result<()> {
    check_sizes(model, config).map_err(|error| match model.card.network.preset() {
        Some(preset) => error.with_hint(format!("train with `--preset {preset}`")),
        None => error,
    })
}

/// Checks that the network of a style has the sizes of `config`.
///
/// # Errors
///
/// If the sizes differ.
pub(crate) fn check_sizes(model: &StyleModel, config: &StyleNetConfig) -> Result<()> {
    let theirs = model.card.network;
    if theirs == *config {
        return Ok(());
    }
    let sizes = |config: &StyleNetConfig| format!("{} channels and {} blocks", config.channels, config.blocks);
    Err(Error::usage(format!("style `{}` has {}, not {}", model.card.name, sizes(&theirs), sizes(config))))
}

/// Builds the network on `parameters`. It shares them, so it always uses their current values.
///
/// # Errors
///
/// If a tensor is missing or has another shape than `config` asks for.
pub fn network(config: &StyleNetConfig, parameters: &Parameters) -> Result<StyleNet> {
    let tensors: HashMap<_, _> =
        parameters.iter().map(|(name, parameter)| (name.clone(), parameter.as_tensor().clone())).collect();
    let device = parameters.values().next().map_or(Device::Cpu, |parameter| parameter.device().clone());
    Ok(StyleNet::new(&config.network(), VarBuilder::from_tensors(tensors, DType::F32, &device))?)
}

/// The number of inputs per output value of the convolution that `name` belongs to; `None` for an instance normalisation.
fn fan_in(name: &str, shapes: &BTreeMap<String, Shape>) -> Option<usize> {
    let (layer, _) = name.rsplit_once('.')?;
    match shapes.get(&format!("{layer}.weight"))?.dims() {
        [_, inputs, height, width] => Some(inputs * height * width),
        _ => None,
    }
}

/// Names and shapes of a network's tensors, in name order.
fn shapes(config: &StyleNetConfig) -> BTreeMap<String, Shape> {
    config.network().tensors().into_iter().map(|(name, shape)| (name, shape.into())).collect()
}

#[cfg(test)]
mod tests {
    use impasto_common::model_file::ModelCard;
    use impasto_common::network::Preset;

    use super::*;

    fn values(parameters: &Parameters, name: &str) -> Vec<f32> {
        parameters[name].flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn the_same_seed_draws_the_same_weights_and_another_seed_others() {
        let config = Preset::Xs.into();
        let draw = |seed| values(&random_parameters(&config, seed, &Device::Cpu).unwrap(), "res2.conv1.conv2d.weight");
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn convolutions_are_drawn_up_to_their_bound_and_norms_start_as_the_identity() {
        let parameters = random_parameters(&Preset::Xs.into(), 3, &Device::Cpu).unwrap();
        let bound = 1.0 / (3.0f32 * 81.0).sqrt();
        for name in ["conv1.conv2d.weight", "conv1.conv2d.bias"] {
            let largest = values(&parameters, name).into_iter().map(f32::abs).fold(0.0, f32::max);
            assert!(largest <= bound && largest > 0.5 * bound, "{name}: {largest} against {bound}");
        }
        assert_eq!(values(&parameters, "in2.weight"), [1.0; 8]);
        assert_eq!(values(&parameters, "res1.in1.bias"), [0.0; 16]);
    }

    #[test]
    fn another_style_is_taken_over_to_the_bit_and_another_size_is_refused_with_the_preset_to_use() {
        let config = Preset::Xs.into();
        let parameters = random_parameters(&config, 3, &Device::Cpu).unwrap();
        let tensors = arrays::to_arrays(parameters.iter().map(|(name, var)| (name, var.as_tensor()))).unwrap();
        let model = StyleModel { card: ModelCard::new("other", config), tensors };
        let copy = parameters_of(&model, &config, &Device::Cpu).unwrap();
        assert_eq!(values(&copy, "deconv3.conv2d.weight"), values(&parameters, "deconv3.conv2d.weight"));
        let error = parameters_of(&model, &Preset::S.into(), &Device::Cpu).unwrap_err();
        assert_eq!(error.to_string(), "style `other` has 4 channels and 3 blocks, not 8 channels and 5 blocks");
        assert_eq!(error.hint(), Some("train with `--preset xs`"));
    }
}
