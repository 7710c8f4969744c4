//! From one painting and a folder of photos to a painted picture, through both command lines as a user types them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use candle_core::{Device, Tensor};
use image::{GrayImage, Rgb, RgbImage};
use impasto_common::model_file::StyleModel;
use impasto_common::network::Preset;
use impasto_infer::Stylizer;
use impasto_picture::Picture;
use tempfile::TempDir;

use crate::random::Random;

const STEPS: usize = 300;

#[test]
fn a_style_is_trained_and_paints() {
    let folder = Folder::new();
    let model = folder.path("checks.safetensors");
    assert_eq!(folder.train(&model), ExitCode::SUCCESS);

    let totals = totals(&folder.path("checks.run/metrics.csv"));
    assert_eq!(totals.len(), STEPS);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&totals[..10]), mean(&totals[STEPS - 10..]));
    assert!(last < 0.8 * first, "the loss went from {first} to {last}");

    let card = StyleModel::open(&model).unwrap().card;
    assert_eq!((card.name.as_str(), card.steps), ("checks", STEPS));
    assert_eq!(card.network.preset(), Some(Preset::Xs));
    assert!(card.command.unwrap().starts_with("trainer train --style "));

    assert_eq!(folder.paint(&model, "photos", "painted"), ExitCode::from(1), "one of the photos is damaged");
    folder.check_paintings(&model);
}

/// A painting, photos of which three are odd, and a loss network of a few channels.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(folder.path("photos/odd")).unwrap();
        for number in 0..10 {
            scene(number).save(folder.path(&format!("photos/{number}.png"))).unwrap();
        }
        let grey = GrayImage::from_fn(45, 47, |x, y| image::Luma([(3 * x + 2 * y) as u8]));
        grey.save(folder.path("photos/odd/grey.jpg")).unwrap();
        fs::write(folder.path("photos/odd/damaged.jpg"), b"\xff\xd8\xff\xe0 no more").unwrap();
        fs::write(folder.path("photos/odd/notes.txt"), "not a photo").unwrap();
        checks().save(folder.path("checks.png")).unwrap();
        write_loss_weights(&folder.path("vgg.safetensors"));
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn word(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn train(&self, model: &Path) -> ExitCode {
        let steps = STEPS.to_string();
        let (style, photos, weights) = (self.word("checks.png"), self.word("photos"), self.word("vgg.safetensors"));
        impasto_trainer::cli::run([
            "trainer",
            "train",
            "--style",
            &style,
            "--photos",
            &photos,
            "--loss-weights",
            &weights,
            "--output",
            model.to_str().unwrap(),
            "--preset",
            "xs",
            "--steps",
            &steps,
            "--size",
            "40",
            "--style-size",
            "40",
            "--batch",
            "2",
            "--lr",
            "0.01",
            "--quiet",
        ])
    }

    fn paint(&self, model: &Path, input: &str, output: &str) -> ExitCode {
        let (input, output) = (self.word(input), self.word(output));
        impasto_infer::cli::run([
            "infer",
            "stylize",
            &input,
            "--style",
            model.to_str().unwrap(),
            "--output",
            &output,
            "--quiet",
        ])
    }

    /// Every readable photo was painted with its own size and file name, with the same result as the library's.
    fn check_paintings(&self, model: &Path) {
        let stylizer = Stylizer::open(model).unwrap();
        for number in 0..10 {
            let name = format!("{number}.png");
            let photo = Picture::open(self.path("photos").join(&name)).unwrap();
            let painting = Picture::open(self.path("painted").join(&name)).unwrap();
            assert_eq!((painting.width(), painting.height()), (photo.width(), photo.height()), "{name}");
            let (photo, painting) = (photo.clone(), painting.into_rgb8());
            assert_eq!(painting, stylizer.stylize(&photo).unwrap().picture.into_rgb8(), "{name}");
            assert_ne!(painting, photo.into_rgb8(), "{name}");
        }
        assert!(self.path("painted/odd/grey.jpg").exists());
        assert!(!self.path("painted/odd/damaged.jpg").exists());
    }
}

/// The column `total` of a table of metrics.
fn totals(path: &Path) -> Vec<f64> {
    let table = fs::read_to_string(path).unwrap();
    let mut rows = table.lines().map(|row| row.split(',').collect::<Vec<_>>());
    let column = rows.next().unwrap().iter().position(|name| *name == "total").unwrap();
    rows.map(|row| row[column].parse().unwrap()).collect()
}

/// A disc in front of a colour gradient. Every scene has a different size, most of them odd.
fn scene(number: u32) -> RgbImage {
    RgbImage::from_fn(41 + 3 * number, 52 - number, |x, y| {
        let inside = x.abs_diff(20).pow(2) + y.abs_diff(20).pow(2) < 20 * (number + 1);
        if inside { Rgb([220, (20 * number) as u8, 60]) } else { Rgb([(3 * x) as u8, (4 * y) as u8, 90]) }
    })
}

fn checks() -> RgbImage {
    RgbImage::from_fn(48, 40, |x, y| if (x / 4 + y / 4) % 2 == 0 { Rgb([240, 180, 20]) } else { Rgb([20, 40, 120]) })
}

/// VGG-16 up to `relu3_3` with 4 to 8 channels and random weights: enough to distinguish textures.
fn write_loss_weights(path: &Path) {
    let mut random = Random(3);
    let mut tensors = HashMap::<String, Tensor>::new();
    for (index, inputs, outputs) in [(0, 3, 4), (2, 4, 4), (5, 4, 6), (7, 6, 6), (10, 6, 8), (12, 8, 8), (14, 8, 8)] {
        let bound = (6.0 / (9 * inputs) as f32).sqrt();
        tensors.insert(format!("features.{index}.weight"), random.tensor(&[outputs, inputs, 3, 3], bound));
        let bias = Tensor::zeros(outputs, candle_core::DType::F32, &Device::Cpu).unwrap();
        tensors.insert(format!("features.{index}.bias"), bias);
    }
    candle_core::safetensors::save(&tensors, path).unwrap();
}
