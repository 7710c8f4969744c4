//! A folder with everything that a tiny training needs: photos, a style, a loss network of a few channels.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use image::{Rgb, RgbImage};
use impasto_common::network::StyleNetConfig;
use impasto_trainer::config::{Length, TrainConfig};
use impasto_trainer::peers::Seat;
use impasto_trainer::random::{Purpose, generator};
use impasto_trainer::train::{CardText, EarlierTraining, StartWeights, TrainingJob};
use rand::RngExt;

/// Index in torchvision's `features`, inputs and outputs of VGG-16's convolutions up to `relu3_3`, thinned out.
const CONVOLUTIONS: [(usize, usize, usize); 7] =
    [(0, 3, 4), (2, 4, 4), (5, 4, 6), (7, 6, 6), (10, 6, 8), (12, 8, 8), (14, 8, 8)];

pub(crate) struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("photos/more")).unwrap();
        for number in 0..12u32 {
            let name = if number < 8 { format!("{number}.png") } else { format!("more/{number}.jpg") };
            scene(number).save(folder.path().join("photos").join(name)).unwrap();
        }
        let style =
            RgbImage::from_fn(
                64,
                48,
                |x, y| if (x / 4 + y / 4) % 2 == 0 { Rgb([240, 180, 20]) } else { Rgb([20, 40, 120]) },
            );
        style.save(folder.path().join("style.png")).unwrap();
        write_loss_weights(&folder.path().join("vgg.safetensors"));
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A job that writes `NAME.safetensors` and `NAME.run`.
    pub(crate) fn job(&self, name: &str) -> TrainingJob {
        TrainingJob {
            style: self.path("style.png"),
            photos: self.path("photos"),
            held_out: None,
            loss_weights: Some(self.path("vgg.safetensors")),
            start: StartWeights::Random,
            output: self.path(&format!("{name}.safetensors")),
            dtype: impasto_common::weights::StoredType::F32,
            run_dir: self.path(&format!("{name}.run")),
            earlier: EarlierTraining::Resume,
            snapshot_every: 3,
            device: Device::Cpu,
            seat: Seat::ALONE,
            loader_threads: 2,
            cache_bytes: 1 << 20,
            card: CardText { name: "checks".into(), ..CardText::default() },
        }
    }
}

/// Eight steps of a network of 2, 4 and 8 channels on crops of 40 pixels.
pub(crate) fn config() -> TrainConfig {
    TrainConfig {
        network: StyleNetConfig { channels: 2, blocks: 1 },
        size: 40,
        style_size: 48,
        batch: 2,
        length: Length::Steps(8),
        ..TrainConfig::default()
    }
}

/// A gradient with a disc in it.
fn scene(number: u32) -> RgbImage {
    RgbImage::from_fn(50 + number, 40, |x, y| {
        let inside = (x as i32 - 25).pow(2) + (y as i32 - 20).pow(2) < 10 * number as i32;
        if inside { Rgb([220, (20 * number) as u8, 60]) } else { Rgb([(4 * x) as u8, (5 * y) as u8, 90]) }
    })
}

fn write_loss_weights(path: &Path) {
    let mut random = generator(1, Purpose::Noise, 0);
    let mut tensors = HashMap::new();
    for (index, inputs, outputs) in CONVOLUTIONS {
        let bound = (6.0 / (9 * inputs) as f32).sqrt();
        let weights: Vec<f32> = (0..outputs * inputs * 9).map(|_| random.random_range(-bound..bound)).collect();
        let weight = Tensor::from_vec(weights, (outputs, inputs, 3, 3), &Device::Cpu).unwrap();
        tensors.insert(format!("features.{index}.weight"), weight);
        tensors.insert(format!("features.{index}.bias"), Tensor::zeros(outputs, DType::F32, &Device::Cpu).unwrap());
    }
    candle_core::safetensors::save(&tensors, path).unwrap();
}
