//! A temporary folder with a tiny style, in which tests run the program.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use image::{DynamicImage, Rgb, RgbImage};
use impasto_common::model_file::{ModelCard, StyleModel};
use impasto_common::network::StyleNetConfig;
use impasto_common::weights::{Array, StoredType, Tensors};
use tempfile::TempDir;

/// The name of the tiny style's file in every studio.
pub(crate) const STYLE: &str = "style.safetensors";

/// The result of running the program.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let stderr = String::from_utf8(output.stderr).unwrap();
        Self { code: output.status.code(), stdout: output.stdout, stderr }
    }
}

/// The folder of one test.
pub(crate) struct Studio {
    folder: TempDir,
}

impl Studio {
    pub(crate) fn new() -> Self {
        let studio = Self { folder: tempfile::tempdir().unwrap() };
        tiny_style().save(&studio.path(STYLE), StoredType::F32).unwrap();
        studio
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that runs the program in the folder.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_infer"));
        command.args(arguments).current_dir(self.folder.path()).env_remove("COLUMNS").stdin(Stdio::null());
        command
    }

    /// Runs the program in the folder with the arguments in `line`.
    pub(crate) fn run(&self, line: &str) -> Run {
        self.command(line.split_whitespace()).output().unwrap().into()
    }

    /// Paints in the tiny style, and fails the test on any error.
    pub(crate) fn stylize(&self, line: &str) -> Run {
        let run = self.run(&format!("stylize --style {STYLE} {line}"));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        run
    }

    /// Runs the program with `input` on its standard input.
    pub(crate) fn pipe(&self, line: &str, input: &[u8]) -> Run {
        let mut command = self.command(line.split_whitespace());
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap().into()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Saves an image in the format of its extension.
    pub(crate) fn save(&self, name: &str, image: impl Into<DynamicImage>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image.into().save(path).unwrap();
    }

    /// The pixels of a file, as the image crate reads it, without rotation or conversion.
    pub(crate) fn open(&self, name: &str) -> DynamicImage {
        image::ImageReader::open(self.path(name)).unwrap().with_guessed_format().unwrap().decode().unwrap()
    }

    /// All files below a folder, as sorted relative paths.
    pub(crate) fn files(&self, folder: &str) -> Vec<String> {
        let root = self.path(folder);
        let entries = walkdir::WalkDir::new(&root).sort_by_file_name().into_iter().map(Result::unwrap);
        let files = entries.filter(|entry| entry.file_type().is_file());
        files.map(|entry| entry.path().strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/")).collect()
    }
}

/// A picture with colours and edges.
pub(crate) fn photo(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let stripe = if (x / 4 + y / 3) % 2 == 0 { 190 } else { 40 };
        Rgb([stripe, (x * 255 / width.max(1)) as u8, (y * 255 / height.max(1)) as u8])
    })
}

/// A network of two channels whose weights are hashes of their positions, the same on every machine.
pub(crate) fn tiny_style() -> StyleModel {
    let config = StyleNetConfig { channels: 2, blocks: 1 };
    let mut tensors = Tensors::new();
    for layer in config.network().layers {
        // The input of the last layer is of order 1, and its output should be of order 100.
        let is_last = layer.normalization.is_none();
        let (scale, bias) = if is_last { (4.0, 128.0) } else { (0.3, 0.0) };
        let ranges = [(0.0, scale), (bias, 0.1), (1.0, 0.3), (0.2, 0.3)];
        for ((name, shape), (middle, reach)) in layer.tensors().into_iter().zip(ranges) {
            add(&mut tensors, name, &shape, middle, reach);
        }
    }
    let mut card = ModelCard::new("tiny", config);
    card.source = Some("a hash".into());
    StyleModel { card, tensors }
}

fn add(tensors: &mut Tensors, name: String, shape: &[usize], middle: f32, reach: f32) {
    let seed = name.bytes().fold(17u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let value = |i: u32| {
        let hash = (seed ^ i.wrapping_mul(0x9E37_79B9)).wrapping_mul(0x85EB_CA6B);
        let hash = (hash ^ (hash >> 15)).wrapping_mul(0xC2B2_AE35);
        middle + reach * (((hash >> 16) as f32) / 32768.0 - 1.0)
    };
    let values: Vec<f32> = (0..shape.iter().product::<usize>() as u32).map(value).collect();
    tensors.insert(name, Array::new(shape, values).unwrap());
}
