//! Compares micro-batches with the whole batch, on a tiny network.

use std::thread;

use candle_core::Var;
use impasto_common::network::StyleNetConfig;
use impasto_common::weights::Tensors;
use rand::RngExt;

use super::*;
use crate::adam::{Adam, AdamConfig};
use crate::init;
use crate::metrics::Metrics;
use crate::objective::ObjectiveConfig;
use crate::peers::Seat;
use crate::random::{Purpose, generator};
use impasto_nn::loss_network::{Architecture, LossNetwork};

const SIZE: usize = 40;
const BATCH: usize = 4;

/// The inputs of a step.
struct Training {
    config: TrainConfig,
    network: StyleNet,
    parameters: Parameters,
    objective: Objective,
    temporal: Option<TemporalLoss>,
}

/// The result of a step: its figures, its gradients and the change of the weights by Adam, by parameter.
struct Came {
    figures: Vec<f32>,
    gradients: Vec<Vec<f32>>,
    moves: Vec<Vec<f32>>,
}

impl Training {
    fn new(temporal_weight: f64) -> Self {
        let network = StyleNetConfig { channels: 2, blocks: 1 };
        let layers = |name: &str| [(name.parse().unwrap(), 1.0)].into();
        let objective = ObjectiveConfig {
            content_layers: layers("relu1_2"),
            style_layers: layers("relu1_1"),
            ..ObjectiveConfig::default()
        };
        let config = TrainConfig { network, objective, temporal_weight, batch: BATCH, ..TrainConfig::default() };
        let parameters = init::random_parameters(&network, 1, &Device::Cpu).unwrap();
        let style = Tensor::from_vec(levels(9, SIZE, 255), (1, 3, SIZE, SIZE), &Device::Cpu).unwrap();
        let style = style.to_dtype(DType::F32).unwrap();
        let temporal = TemporalLoss::new(temporal_weight, 3, &style).unwrap();
        Self {
            network: init::network(&network, &parameters).unwrap(),
            objective: Objective::new(loss_network(), &style, &config.objective).unwrap(),
            temporal: (temporal_weight > 0.0).then_some(temporal),
            parameters,
            config,
        }
    }

    fn attempt(&self, own: &Batch, count: usize, peers: &mut Peers) -> (Gradients, Metrics) {
        let step = TrainingStep {
            config: &self.config,
            network: &self.network,
            parameters: &self.parameters,
            objective: &self.objective,
            temporal: self.temporal.as_ref(),
            device: &Device::Cpu,
            done: 5,
        };
        let (gradients, figures) = step.attempt(own, count, peers).unwrap();
        (gradients, figures.read(6, 0.1).unwrap())
    }

    /// The result of a step; the weights are not changed here.
    fn step(&self, own: &Batch, count: usize, peers: &mut Peers) -> Came {
        let (gradients, metrics) = self.attempt(own, count, peers);
        let copies =
            self.parameters.iter().map(|(name, weight)| (name.clone(), Var::from_tensor(&weight.detach()).unwrap()));
        let moved: Parameters = copies.collect();
        // With a small epsilon, Adam's first step depends only on the sign of the gradient. For a gradient of zero, rounding
        // decides the sign.
        let adam = AdamConfig { epsilon: 1.0, ..AdamConfig::default() };
        Adam::new(adam, &moved).unwrap().step(&moved, &gradients, 0.1, 1.0).unwrap();
        let move_of =
            |(name, weight): (&String, &Var)| flat(&(weight.as_tensor() - self.parameters[name].as_tensor()).unwrap());
        Came {
            figures: metrics.columns(),
            gradients: gradients.0.values().map(flat).collect(),
            moves: moved.iter().map(move_of).collect(),
        }
    }
}

/// Two convolutions of random weights.
fn loss_network() -> LossNetwork {
    let mut random = generator(1, Purpose::Noise, 0);
    let mut tensors = Tensors::new();
    for (index, inputs, outputs) in [(0, 3, 4), (2, 4, 4)] {
        let weights: Vec<f32> = (0..outputs * inputs * 9).map(|_| random.random_range(-0.4..0.4)).collect();
        let weights = impasto_common::weights::Array::new([outputs, inputs, 3, 3], weights).unwrap();
        tensors.insert(format!("features.{index}.weight"), weights);
        tensors.insert(
            format!("features.{index}.bias"),
            impasto_common::weights::Array::new([outputs], vec![0.0; outputs]).unwrap(),
        );
    }
    LossNetwork::new(Architecture::Vgg16, &tensors, &Device::Cpu).unwrap()
}

/// A picture of some structure, with levels up to `most`.
fn levels(number: usize, size: usize, most: usize) -> Vec<u8> {
    (0..3 * size * size).map(|at| (at * (at / (7 + number)) % (most + 1)) as u8).collect()
}

/// Photos of different contrast, so that the magnitudes of their features differ.
fn batch() -> Batch {
    let photos = [255, 40, 120, 15].into_iter().enumerate();
    let pixels = photos.flat_map(|(number, most)| levels(number, SIZE, most)).collect();
    Batch { size: SIZE, pixels, skipped: [].into() }
}

fn share(index: usize, count: usize) -> Batch {
    let batch = batch();
    let bytes = batch.pixels.len() / count;
    Batch { pixels: batch.pixels[index * bytes..][..bytes].to_vec(), ..batch }
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Vectors agree within 1e-5 of the length of all of them together.
fn assert_close(name: &str, split: &[Vec<f32>], whole: &[Vec<f32>]) {
    let length = |vectors: &[Vec<f32>]| vectors.iter().flatten().map(|value| value * value).sum::<f32>().sqrt();
    let pairs = split.iter().zip(whole);
    let apart: Vec<Vec<f32>> =
        pairs.map(|(split, whole)| split.iter().zip(whole).map(|(a, b)| a - b).collect()).collect();
    let (apart, length) = (length(&apart), length(whole));
    assert!(length > 0.0 && apart <= 1e-5 * length, "{name}: {apart} of {length}");
}

fn assert_same(split: &Came, whole: &Came) {
    assert_eq!(split.figures.len(), whole.figures.len());
    for (split, whole) in split.figures.iter().zip(&whole.figures) {
        assert!((split - whole).abs() <= 1e-5 * whole.abs(), "{split} instead of {whole}");
    }
    assert_close("gradients", &split.gradients, &whole.gradients);
    assert_close("moves", &split.moves, &whole.moves);
}

#[test]
fn a_step_in_micro_batches_is_the_step_of_the_whole_batch() {
    for temporal_weight in [0.0, 2.0] {
        let training = Training::new(temporal_weight);
        let whole = training.step(&batch(), 1, &mut Peers::alone());
        for count in [2, 4] {
            assert_same(&training.step(&batch(), count, &mut Peers::alone()), &whole);
        }
    }
}

#[test]
fn independent_micro_batches_would_have_different_losses() {
    let training = Training::new(0.0);
    let whole = training.step(&batch(), 1, &mut Peers::alone());
    let content = |came: &Came| came.figures[1];
    let halves = [0, 1].map(|index| content(&training.step(&share(index, 2), 1, &mut Peers::alone())));
    let mean = f32::midpoint(halves[0], halves[1]);
    assert!((mean - content(&whole)).abs() > 0.01 * content(&whole), "{mean}: the magnitudes are too much alike");
}

#[test]
fn processes_with_micro_batches_take_the_same_step_as_one_process() {
    for temporal_weight in [0.0, 2.0] {
        let whole = Training::new(temporal_weight).step(&batch(), 1, &mut Peers::alone());
        let work = move |seat: Seat| {
            let mut peers = Peers::meet(&seat, &Device::Cpu).unwrap();
            Training::new(temporal_weight).step(&share(seat.index, 2), 2, &mut peers)
        };
        let threads: Vec<_> = Seat::local(2).into_iter().map(|seat| thread::spawn(move || work(seat))).collect();
        for thread in threads {
            assert_same(&thread.join().unwrap(), &whole);
        }
    }
}
