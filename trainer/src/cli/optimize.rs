//! `trainer optimize`: paints one photo by optimising its pixels.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use image::ImageFormat;
use impasto_common::{Error, Result, ResultExt};

use super::objective::ObjectiveArgs;
use super::{MachineArgs, progress, stop_on_signal};
use crate::optimize::{self, Method, OptimizeConfig, Start};
use crate::output;

/// Paint one photo by optimising its pixels: slow, but the reference for quality
///
/// Use it to preview a style before a long training. The method is that of Gatys et al. (2015).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The photo to paint
    #[arg(long, value_name = "FILE")]
    photo: PathBuf,
    /// The painting to imitate
    #[arg(long, value_name = "FILE")]
    style: PathBuf,
    /// The picture file to write; its extension sets the format
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Longer side of the result; a smaller photo is not enlarged
    #[arg(long, value_name = "PIXELS", default_value_t = OptimizeConfig::default().size)]
    size: usize,
    /// Shorter side of the painting at the last scale; a smaller painting is not enlarged
    #[arg(long, value_name = "PIXELS", default_value_t = OptimizeConfig::default().style_size)]
    style_size: usize,
    /// Number of scales, each half the size of the next; large strokes form at the small scales
    #[arg(long, value_name = "COUNT", default_value_t = OptimizeConfig::default().scales)]
    scales: usize,
    /// Number of iterations at each scale
    #[arg(long, value_name = "COUNT", default_value_t = OptimizeConfig::default().iterations)]
    iterations: usize,
    /// The optimiser: `lbfgs` or `adam`
    #[arg(long, value_name = "NAME", default_value_t = Method::default())]
    method: Method,
    /// Initial picture: `photo` or `noise`
    #[arg(long, value_name = "NAME", default_value_t = Start::default())]
    start: Start,
    /// Step size of Adam, in levels of 0 to 255
    #[arg(long, value_name = "LEVELS", default_value_t = OptimizeConfig::default().learning_rate)]
    lr: f64,
    /// Number of past steps that L-BFGS uses
    #[arg(long, value_name = "COUNT", default_value_t = OptimizeConfig::default().history)]
    history: usize,
    /// Seed of the noise
    #[arg(long, value_name = "NUMBER", default_value_t = OptimizeConfig::default().seed)]
    seed: u64,
    #[command(flatten)]
    objective: ObjectiveArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// Print only errors
    #[arg(long, short)]
    quiet: bool,
}

impl Args {
    fn config(&self) -> OptimizeConfig {
        OptimizeConfig {
            objective: self.objective.config(),
            size: self.size,
            style_size: self.style_size,
            scales: self.scales,
            iterations: self.iterations,
            method: self.method,
            start: self.start,
            learning_rate: self.lr,
            history: self.history,
            seed: self.seed,
        }
    }
}

/// Runs the command. After Ctrl-C, the current picture is written.
pub(super) fn run(args: &Args) -> Result<()> {
    let config = args.config();
    config.validate()?;
    // If the output cannot be written, the command should fail before the work, not after it.
    output::check(&args.output)?;
    let format = ImageFormat::from_path(&args.output)
        .context(|| format!("cannot write `{}`", args.output.display()))
        .map_err(|error| error.with_hint("use the extension `.png` or `.jpg`"))?;
    let photo = impasto_picture::read_rgb(&args.photo)?;
    let style = impasto_picture::read_rgb(&args.style)?;
    let device = args.machine.open()?;
    let weights = args.objective.find_weights(args.quiet)?;
    let network = weights.open(args.objective.loss_network, &device)?;
    let stop = stop_on_signal()?;
    let bar = progress::bar(config.scales * config.iterations, args.quiet);
    let painted = optimize::optimize(&network, &photo, &style, &config, |progress| {
        bar.set_position(progress.iteration as u64);
        let (height, width) = progress.size;
        bar.set_message(format!(
            "{width}x{height}  objective {:.4}  content {:.4}  style {:.4}",
            progress.objective, progress.content, progress.style
        ));
        !stop.load(Ordering::Relaxed)
    })?;
    bar.finish();
    impasto_files::write_atomic(&args.output, |writer| {
        painted.write_to(writer, format).context(|| "cannot encode the picture")
    })?;
    if stop.load(Ordering::Relaxed) {
        Err(Error::interrupted(format!("stopped early; `{}` is the picture so far", args.output.display())))
    } else {
        Ok(())
    }
}
