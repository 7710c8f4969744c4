//! Compares the loss network with candle-transformers' VGG: same random weights, same logits.
//!
//! That VGG takes one picture, needs its classifier and gives no inner features, so it cannot serve as the loss network.
//! But it is an independent implementation, so it is a reference for ours. The classifier that turns our features into
//! logits is computed here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use candle_core::{DType, Device, ModuleT, Tensor};
use candle_nn::{Linear, Module, VarBuilder};
use candle_transformers::models::vgg::{Models, Vgg};
use impasto_nn::arrays;
use impasto_nn::ops;

/// Tensors by name.
type Tensors = BTreeMap<String, Tensor>;
use impasto_nn::loss_network::{Architecture, Layer, LossNetwork};

use crate::random::Random;

/// The classifier's first layer takes 7x7 positions of 512 channels, so this is the only size that the reference supports.
const SIZE: usize = 224;
/// Largest difference allowed, relative to the largest logit. f32 sums in another order differ by about 1e-6; Winograd
/// transforms, layer after layer, by 1e-5 to 1e-4. A wrong layer, order or normalisation differs by about 1.
const TOLERANCE: f32 = 1e-3;

#[test]
fn the_loss_network_gives_the_logits_of_candle_transformers() {
    let mut random = Random(16);
    let classifier = classifier(&mut random);
    let photos = ((random.tensor(&[2, 3, SIZE, SIZE], 127.5) + 127.5).unwrap()).contiguous().unwrap();
    for (architecture, model) in [(Architecture::Vgg16, Models::Vgg16), (Architecture::Vgg19, Models::Vgg19)] {
        let features = features(architecture, &mut random);
        let ours = our_logits(architecture, &features, &classifier, &photos);
        let all: HashMap<_, _> = features.into_iter().chain(classifier.clone()).collect();
        let oracle = Vgg::new(VarBuilder::from_tensors(all, DType::F32, &Device::Cpu), model).unwrap();
        for (i, ours) in ours.iter().enumerate() {
            let expected = oracle.forward_t(&normalised(&photos.get(i).unwrap()), false).unwrap();
            assert_same(ours, &expected.flatten_all().unwrap().to_vec1().unwrap());
        }
    }
}

fn assert_same(ours: &[f32], expected: &[f32]) {
    let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let varied = expected.iter().filter(|&&x| x > 0.1 * largest).count();
    assert!(largest.is_finite() && varied > 100, "only {varied} logits say anything: the oracle proves nothing");
    assert_eq!(ours.len(), expected.len());
    let worst = ours.iter().zip(expected).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(worst <= TOLERANCE * largest, "logits differ by {worst}, the largest is {largest}");
}

/// One row of logits for each photo of a batch `(batch, 3, 224, 224)`, RGB in `[0, 255]`.
fn our_logits(architecture: Architecture, features: &Tensors, classifier: &Tensors, photos: &Tensor) -> Vec<Vec<f32>> {
    let network = LossNetwork::new(architecture, &arrays::to_arrays(features).unwrap(), &Device::Cpu).unwrap();
    let last: Layer = format!("relu5_{}", architecture.blocks()[4]).parse().unwrap();
    let ys = network.features(photos, &BTreeSet::from([last])).unwrap().remove(&last).unwrap();
    let mut ys = ops::max_pool2d(&ys).unwrap().flatten_from(1).unwrap();
    for name in ["pre_logits.fc1", "pre_logits.fc2", "head.fc"] {
        let weight = classifier[&format!("{name}.weight")].flatten_from(1).unwrap();
        let linear = Linear::new(weight, Some(classifier[&format!("{name}.bias")].clone()));
        // The reference applies a ReLU to the logits too.
        ys = linear.forward(&ys).unwrap().relu().unwrap();
    }
    ys.to_vec2().unwrap()
}

/// Convolutions under torchvision's names, scaled so that the size of the activations stays the same (He et al., 2015).
fn features(architecture: Architecture, random: &mut Random) -> Tensors {
    let mut tensors = Tensors::new();
    let (mut index, mut inputs) = (0, 3);
    for (convolutions, outputs) in architecture.blocks().into_iter().zip([64, 128, 256, 512, 512]) {
        for _ in 0..convolutions {
            let weight = random.tensor(&[outputs, inputs, 3, 3], he_bound(9 * inputs));
            tensors.insert(format!("features.{index}.weight"), weight);
            tensors.insert(format!("features.{index}.bias"), random.tensor(&[outputs], 0.1));
            inputs = outputs;
            index += 2;
        }
        index += 1;
    }
    tensors
}

fn classifier(random: &mut Random) -> Tensors {
    let mut tensors = Tensors::new();
    let shapes: [(_, &[usize]); 3] =
        [("pre_logits.fc1", &[4096, 512, 7, 7]), ("pre_logits.fc2", &[4096, 4096, 1, 1]), ("head.fc", &[1000, 4096])];
    for (name, shape) in shapes {
        let inputs = shape[1..].iter().product();
        tensors.insert(format!("{name}.weight"), random.tensor(shape, he_bound(inputs)));
        tensors.insert(format!("{name}.bias"), random.tensor(&shape[..1], 0.1));
    }
    tensors
}

fn he_bound(inputs: usize) -> f32 {
    (6.0 / inputs as f32).sqrt()
}

/// A photo normalised for torchvision's weights, implemented again here so that the loss network's own scaling is tested
/// too.
fn normalised(photo: &Tensor) -> Tensor {
    let row = |values: [f32; 3]| Tensor::from_slice(&values, (3, 1, 1), &Device::Cpu).unwrap();
    let unit = (photo / 255.0).unwrap();
    let centred = unit.broadcast_sub(&row([0.485, 0.456, 0.406])).unwrap();
    centred.broadcast_div(&row([0.229, 0.224, 0.225])).unwrap()
}
