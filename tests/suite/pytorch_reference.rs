//! Compares our results with PyTorch's, which `tests/reference/make.py` made once and which are stored next to it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use impasto_common::model_file::StyleModel;
use impasto_common::network::StyleNetConfig;
use impasto_common::weights;
use impasto_infer::Stylizer;
use impasto_nn::StyleNet;
use impasto_nn::arrays;
use impasto_nn::loss_network::{Architecture, LossNetwork, LossPadding};
use impasto_nn::ops::{self, Conv2d, InstanceNorm, Padding};
use impasto_trainer::lbfgs::{Lbfgs, LbfgsConfig};
use impasto_trainer::objective::{Convention, Objective, ObjectiveConfig};

/// Rounding of f32 sums in another order, relative to the largest value.
const TOLERANCE: f32 = 2e-5;

/// The tolerance for the whole network, whose gradients pass through 16 normalisations.
const NETWORK_TOLERANCE: f32 = 2e-4;

/// A file of `tests/reference`, as f32.
fn reference(name: &str) -> BTreeMap<String, Tensor> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("reference");
    let arrays = weights::read_tensors(&folder.join(format!("{name}.safetensors"))).unwrap();
    arrays::to_tensors(&arrays, &Device::Cpu).unwrap()
}

/// The tensors whose names begin with `prefix` and a dot, without it.
fn under(tensors: &BTreeMap<String, Tensor>, prefix: &str) -> BTreeMap<String, Tensor> {
    let named = tensors.iter().filter_map(|(name, tensor)| {
        let name = name.strip_prefix(prefix)?.strip_prefix('.')?;
        Some((name.to_owned(), tensor.clone()))
    });
    let named: BTreeMap<_, _> = named.collect();
    assert!(!named.is_empty(), "no `{prefix}`");
    named
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_close(what: &str, found: &Tensor, expected: &Tensor, tolerance: f32) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let (found, expected) = (values(found), values(expected));
    let scale = expected.iter().fold(0f32, |scale, value| scale.max(value.abs()));
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let error = (found - expected).abs();
        assert!(error <= tolerance * scale, "{what}[{i}]: {found} for {expected}, largest {scale}");
    }
}

/// Runs `op` on the stored inputs and compares its result and the gradients of all of them.
fn check_op(
    all: &BTreeMap<String, Tensor>,
    case: &str,
    op: impl Fn(&HashMap<&str, Tensor>) -> candle_core::Result<Tensor>,
) {
    let stored = under(all, case);
    let inputs: BTreeMap<&str, Var> = ["xs", "weight", "bias", "residual"]
        .into_iter()
        .filter_map(|name| Some((name, Var::from_tensor(stored.get(name)?).unwrap())))
        .collect();
    let result = op(&inputs.iter().map(|(name, input)| (*name, input.as_tensor().clone())).collect()).unwrap();
    assert_close(case, &result, &stored["result"], TOLERANCE);
    let gradients = (result * &stored["weighting"]).unwrap().sum_all().unwrap().backward().unwrap();
    for (name, input) in &inputs {
        let expected = &stored[&format!("{name}.gradient")];
        assert_close(&format!("{case}: {name}"), gradients.get(input).unwrap(), expected, TOLERANCE);
    }
}

#[test]
fn convolutions_and_their_gradients() {
    let all = reference("ops");
    let same = Conv2d::default();
    let reflect = |pad| Conv2d { padding: Padding::Reflect(pad), ..same };
    let cases = [
        ("conv.reflect3", reflect(1)),
        ("conv.reflect3_stride2", Conv2d { stride: 2, ..reflect(1) }),
        ("conv.reflect9", reflect(4)),
        ("conv.upsample2", Conv2d { upsample: 2, ..reflect(1) }),
        ("conv.zero3_relu", Conv2d { padding: Padding::Zero(1), relu: true, ..same }),
        ("conv.wide", reflect(1)),
    ];
    for (case, config) in cases {
        check_op(&all, case, |inputs| ops::conv2d(&inputs["xs"], &inputs["weight"], &inputs["bias"], &config));
    }
}

#[test]
fn instance_normalisation_and_its_gradients() {
    let all = reference("ops");
    for (case, relu) in [("norm.plain", false), ("norm.relu", true), ("norm.residual", false)] {
        let config = InstanceNorm { relu, ..InstanceNorm::default() };
        check_op(&all, case, |inputs| {
            ops::instance_norm(&inputs["xs"], &inputs["weight"], &inputs["bias"], inputs.get("residual"), &config)
        });
    }
}

#[test]
fn pooling_with_ties_and_gram_matrices_and_their_gradients() {
    let all = reference("ops");
    check_op(&all, "pool", |inputs| ops::max_pool2d(&inputs["xs"]));
    check_op(&all, "gram", |inputs| ops::gram(&inputs["xs"]));
}

#[test]
fn pictures_read_at_positions_and_their_gradients() {
    let all = reference("ops");
    check_op(&all, "warp", |inputs| ops::warp(&inputs["xs"], &all["warp.positions"]));
}

#[test]
fn the_style_network_and_the_gradients_of_all_its_weights() {
    let all = reference("stylenet");
    let config = StyleNetConfig { channels: 4, blocks: 3 };
    let variables: BTreeMap<String, Var> =
        under(&all, "weights").into_iter().map(|(name, weight)| (name, Var::from_tensor(&weight).unwrap())).collect();
    let tensors: HashMap<_, _> =
        variables.iter().map(|(name, variable)| (name.clone(), variable.as_tensor().clone())).collect();
    let network =
        StyleNet::new(&config.network(), VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)).unwrap();
    for size in ["33x47", "64x64"] {
        let stored = under(&all, size);
        let painted = network.forward(&stored["photo"]).unwrap();
        assert_close(size, &painted, &stored["painted"], NETWORK_TOLERANCE);
        let gradients = (painted * &stored["weighting"]).unwrap().sum_all().unwrap().backward().unwrap();
        for (name, variable) in &variables {
            let gradient = gradients.get(variable).unwrap();
            if is_cancelled(name) {
                assert!(values(gradient).iter().all(|gradient| gradient.abs() < 1e-3), "{size}: {name}");
                continue;
            }
            let expected = &stored[&format!("gradient.{name}")];
            assert_close(&format!("{size}: {name}"), gradient, expected, NETWORK_TOLERANCE);
        }
    }
}

/// A constant before an instance normalisation has no effect: its gradient is rounding noise.
fn is_cancelled(name: &str) -> bool {
    let before_a_norm = name.ends_with("conv2d.bias") && !name.starts_with("deconv3");
    let end_of_a_block = name.starts_with("res") && name.ends_with("in2.bias");
    before_a_norm || end_of_a_block
}

#[test]
fn features_of_the_loss_network_and_the_objective_with_its_gradient() {
    let stored = reference("objective");
    let network = LossNetwork::new(Architecture::Vgg16, &arrays::to_arrays(&stored).unwrap(), &Device::Cpu).unwrap();
    let painted = Var::from_tensor(&stored["painted"]).unwrap();
    let names = ["relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"];
    let layers = names.map(|name| name.parse().unwrap());
    let features = network.features(&painted, &layers.into()).unwrap();
    for (name, layer) in names.iter().zip(layers) {
        assert_close(name, &features[&layer], &stored[&format!("found.{name}")], TOLERANCE);
    }

    let config = ObjectiveConfig {
        content_weight: 2.0,
        style_weight: 3.0,
        tv_weight: 0.5,
        content_layers: [(layers[2], 1.0)].into(),
        style_layers: layers[..3].iter().map(|&layer| (layer, 1.0)).collect(),
        convention: Convention::Johnson,
        loss_padding: LossPadding::Zero,
    };
    let objective = Objective::new(network, &stored["style"], &config).unwrap();
    let losses = objective.losses(&painted, &stored["photo"]).unwrap();
    assert_close("content", &losses.content, &(&stored["content"] * 2.).unwrap(), TOLERANCE);
    assert_close("style", &losses.style, &(&stored["style_loss"] * 3.).unwrap(), TOLERANCE);
    assert_close("total", &losses.total, &stored["total"], TOLERANCE);
    let gradients = losses.total.backward().unwrap();
    assert_close("gradient", gradients.get(&painted).unwrap(), &stored["gradient"], TOLERANCE);
}

#[test]
fn lbfgs_takes_the_same_steps_as_torch() {
    let stored = under(&reference("optimisers"), "lbfgs");
    let [curvature, target, start] = ["curvature", "target", "start"].map(|name| values(&stored[name]));
    let gradient = |at: &[f32]| -> Vec<f32> {
        let cube = |i: usize| if i > 0 && i < at.len() { (at[i] - at[i - 1]).powi(3) } else { 0. };
        (0..at.len()).map(|i| curvature[i] * (at[i] - target[i]) + cube(i) - cube(i + 1)).collect()
    };
    let mut lbfgs = Lbfgs::new(LbfgsConfig::default());
    let mut at = start;
    for (i, expected) in stored["values"].to_vec2::<f32>().unwrap().into_iter().enumerate() {
        let gradient = gradient(&at);
        lbfgs.step(&mut at, &gradient);
        for (found, expected) in at.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-3, "iteration {i}: {found} for {expected}");
        }
    }
}

/// The picture that `synthetic_photo` in `make.py` computes.
fn synthetic_photo(height: usize, width: usize) -> Tensor {
    let mut photo = Vec::new();
    for channel in 0..3 {
        for y in 0..height as i64 {
            for x in 0..width as i64 {
                let (across, down) = (x - width as i64 / 3, y - height as i64 / 2);
                let blob = 200 - (across * across + down * down).min(40_000) * 200 / 40_000;
                let stripes = (x * 7 + y * 3) % 64 * 3;
                let checks = (x / 16 + y / 16) % 2 * 120;
                let texture = (x * x * 31 + y * y * 17 + x * y * 13) % 37;
                let level = match channel {
                    0 => blob + texture,
                    1 => stripes + checks / 2,
                    _ => 255 - blob / 2 - checks / 3 + texture,
                };
                photo.push(level.clamp(0, 255) as f32);
            }
        }
    }
    Tensor::from_vec(photo, (1, 3, height, width), &Device::Cpu).unwrap()
}

/// Third-party trained networks are not stored in the repository: `IMPASTO_DATA` or `../shared/data` may hold them.
fn trained_networks() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("IMPASTO_DATA").map_or_else(default, PathBuf::from).join("stylenets");
    folder.is_dir().then_some(folder)
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that is skipped should say so")]
fn trained_networks_paint_within_a_level_of_pytorch() {
    let Some(folder) = trained_networks() else {
        eprintln!("skipped: no folder `stylenets` in `IMPASTO_DATA` or in `../shared/data`");
        return;
    };
    let all = reference("trained");
    for (name, file) in [("candy", "candy.safetensors"), ("mosaic", "mosaic.pth")] {
        let model = StyleModel::open(&folder.join(file)).unwrap();
        let network = StyleNet::from_model(&model, &Device::Cpu).unwrap();
        let stylizer = Stylizer::new(&model).unwrap();
        for (height, width) in [(64, 64), (101, 67), (256, 256)] {
            let case = format!("{name}.{height}x{width}");
            let stored = under(&all, &case);
            let photo = synthetic_photo(height, width);
            let by_engine = stylizer.stylize_planes(&values(&photo), (height, width)).unwrap().levels;
            let by_engine = Tensor::from_vec(by_engine, (1, 3, height, width), &Device::Cpu).unwrap();
            for painted in [network.forward(&photo).unwrap(), by_engine] {
                let painted = painted.clamp(0f32, 255f32).unwrap().round().unwrap();
                let sixth = |size: usize| Tensor::arange_step(0u32, size as u32, 6, &Device::Cpu).unwrap();
                let every_sixth = painted.index_select(&sixth(height), 2).unwrap();
                let every_sixth = every_sixth.index_select(&sixth(width), 3).unwrap();
                let corner = painted.narrow(2, height - 24, 24).unwrap().narrow(3, width - 24, 24).unwrap();
                assert_within_a_level(&case, &every_sixth, &stored["sixth"]);
                assert_within_a_level(&case, &corner, &stored["corner"]);
            }
        }
    }
}

fn assert_within_a_level(case: &str, found: &Tensor, expected: &Tensor) {
    let difference = (found.squeeze(0).unwrap() - expected).unwrap();
    let worst = values(&difference).into_iter().fold(0f32, |worst, value| worst.max(value.abs()));
    assert!(worst <= 1., "{case}: {worst} levels");
}
