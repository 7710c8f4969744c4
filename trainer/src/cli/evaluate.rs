//! `trainer evaluate`: how well a network paints photos that it was not trained on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use candle_core::Device;
use image::RgbImage;
use impasto_common::model_file::StyleModel;
use impasto_common::styles::BundledStyle;
use impasto_common::{Error, Result, ResultExt};
use impasto_error::escaped_lines;
use serde::Serialize;

use super::{MachineArgs, download, progress, say, stop_on_signal};
use crate::config::TrainConfig;
use crate::evaluate::{self, EvaluateConfig, Evaluation, PhotoResult, Quartiles};
use crate::loss_weights::LossWeights;
use crate::marks::{FrameIndex, GridIndex};
use crate::objective::Objective;
use crate::{photos, resample};
use impasto_nn::StyleNet;

/// Measure how well a style paints photos that it was not trained on
///
/// For each photo, prints the objective of the result, by term, and the number of L-BFGS iterations from noise that reach the
/// same value. Johnson et al. (2016) report 50 to 100 for their networks. The objective is the one that the style was trained
/// with, as its card records.
///
/// Then prints two marks of the network, without a margin. The frame: for each side, the mean colour of the outermost 12 pixels
/// against that of the next 48, averaged over the photos and their flips, as the length of the difference in levels of 255. The
/// grid: the spectral power of the luma at a period of 4 pixels, down and across, divided by the power beside it; real paintings
/// have about 1.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Style to evaluate: a style-model file or a bundled style
    #[arg(long, value_name = "NAME|FILE")]
    model: String,
    /// The painting that the style imitates
    #[arg(long, value_name = "FILE")]
    style: PathBuf,
    /// Folder of photos; those that a training on this folder holds out are used first
    #[arg(long, value_name = "DIR")]
    photos: PathBuf,
    /// Number of photos to evaluate
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    count: usize,
    /// Height and width of the square from the middle of each photo
    #[arg(long, value_name = "PIXELS", default_value_t = EvaluateConfig::default().size)]
    size: usize,
    /// Maximum number of L-BFGS iterations per photo; 0 does without, which takes seconds
    #[arg(long, value_name = "COUNT", default_value_t = EvaluateConfig::default().max_iterations)]
    max_iterations: usize,
    /// Seed of the noise
    #[arg(long, value_name = "NUMBER", default_value_t = EvaluateConfig::default().seed)]
    seed: u64,
    /// Weights of the loss network [default: as for `trainer train`]
    #[arg(long, value_name = "FILE")]
    loss_weights: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: MachineArgs,
    /// Print only the result and errors
    #[arg(long, short)]
    quiet: bool,
}

/// Runs the command. Ctrl-C ends it with the results of the photos done so far.
pub(super) fn run(args: &Args) -> Result<()> {
    let model = open(&args.model)?;
    let training = training_config(&model)?;
    let found = photos::in_order_of_preference(&args.photos)?;
    if !args.quiet {
        found.notes.iter().for_each(|note| say(&format!("note: {note}")));
    }
    let paths: Vec<_> = found.paths.into_iter().take(args.count).collect();
    let style = impasto_picture::read_rgb(&args.style)?;
    let device = args.machine.open()?;
    // This may download 0.55 GB. So it comes after everything that can fail quickly.
    let named = args.loss_weights.as_deref();
    let weights = download::loss_weights(named, training.loss_network, &training.objective, args.quiet)?;
    let objective = objective(&training, style, &weights, &device)?;
    let config = EvaluateConfig { size: args.size, max_iterations: args.max_iterations, seed: args.seed };
    let stop = stop_on_signal()?;
    let bar = progress::bar(paths.len(), args.quiet);
    let evaluation =
        evaluate::evaluate(&StyleNet::from_model(&model, &device)?, &objective, &paths, &config, &device, |result| {
            bar.suspend(|| {
                if !args.quiet {
                    say(&line(result, args.max_iterations));
                }
            });
            bar.inc(1);
            !stop.load(Ordering::Relaxed)
        })?;
    bar.finish_and_clear();
    print(&evaluation, (!args.json).then_some(table))?;
    if stop.load(Ordering::Relaxed) {
        Err(Error::interrupted(format!("stopped after {} photos", evaluation.photos.len())))
    } else {
        Ok(())
    }
}

/// The bundled style with this name, otherwise the style-model file at this path.
pub(super) fn open(model: &str) -> Result<StyleModel> {
    match BundledStyle::named(model) {
        Some(style) => style.model(),
        None => StyleModel::open(Path::new(model)),
    }
}

/// The configuration that a style was trained with; the default configuration if another program trained it.
pub(super) fn training_config(model: &StyleModel) -> Result<TrainConfig> {
    match &model.card.training {
        None => Ok(TrainConfig::default()),
        Some(training) => serde_json::from_value(training.clone())
            .context(|| format!("cannot read the training configuration of style `{}`", model.card.name)),
    }
}

/// The objective of a style that was trained with this configuration.
pub(super) fn objective(
    training: &TrainConfig,
    style: RgbImage,
    weights: &LossWeights,
    device: &Device,
) -> Result<Objective> {
    let style = resample::shrink_to_short_side(style, training.style_size)?;
    let network = weights.open(training.loss_network, device)?;
    Objective::new(network, &impasto_nn::rgb_to_tensor(&style, device)?, &training.objective)
}

/// Prints an evaluation as a table, or as JSON if `table` is `None`.
pub(super) fn print<T: Serialize>(evaluation: &T, table: Option<fn(&T) -> String>) -> Result<()> {
    let text = match table {
        Some(table) => table(evaluation),
        None => serde_json::to_string_pretty(evaluation).context(|| "cannot write JSON")?,
    };
    writeln!(std::io::stdout(), "{}", escaped_lines(&text)).context(|| "cannot write to standard output")
}

/// The result for one photo; `limit` is that of the search, if there was one.
fn line(result: &PhotoResult, limit: usize) -> String {
    let PhotoResult { photo, painted, unpainted, iterations } = result;
    let search = match iterations {
        _ if limit == 0 => String::new(),
        Some(iterations) => format!("  L-BFGS {iterations}"),
        None => "  L-BFGS more".into(),
    };
    format!("{}  objective {:.4} (unpainted {:.4}){search}", photo.display(), painted.objective, unpainted.objective)
}

fn table(evaluation: &Evaluation) -> String {
    let row = |name: &str, quartiles: &Quartiles, digits: usize| {
        let number = |value: f64| {
            if value.is_finite() { format!("{value:.digits$}") } else { format!("> {}", evaluation.max_iterations) }
        };
        let [lower, median, upper] = [quartiles.lower, quartiles.median, quartiles.upper].map(number);
        format!("{name:<18} {lower:>10} {median:>10} {upper:>10}")
    };
    let mut rows = vec![
        format!("{} photos at {} pixels", evaluation.photos.len(), evaluation.size),
        format!("{:<18} {:>10} {:>10} {:>10}", "", "quartile", "median", "quartile"),
        row("objective", &evaluation.objective, 4),
        row("content", &evaluation.content, 4),
        row("style", &evaluation.style, 4),
        row("total variation", &evaluation.tv, 4),
    ];
    if evaluation.max_iterations > 0 {
        rows.push(row("L-BFGS iterations", &evaluation.iterations, 0));
    }
    if let Some(FrameIndex { top, bottom, left, right }) = evaluation.frame {
        rows.push(format!("frame, in levels    top {top:.1}, bottom {bottom:.1}, left {left:.1}, right {right:.1}"));
    }
    if let Some(GridIndex { down, across }) = evaluation.grid {
        rows.push(format!("grid, 1 is none     down {down:.2}, across {across:.2}"));
    }
    rows.join("\n")
}
