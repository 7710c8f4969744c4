//! `trainer evaluate-clip`: measures how much painted clips flicker.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use candle_core::Device;
use impasto_common::{Error, Result};
use impasto_error::escaped;
use indicatif::ProgressBar;

use super::evaluate::{self, open, print, training_config};
use super::{MachineArgs, download, stop_on_signal};
use crate::clip::{self, ClipConfig, ClipEvaluation, ClipResult};
use crate::config::TrainConfig;
use crate::objective::Objective;

/// Measure how much painted clips flicker
///
/// Computes the warping error of Lai et al. (2018): how much consecutive frames differ after the motion of the original clip
/// is undone, over pixels that are visible in both frames. It is the squared distance of colours in [0, 1], averaged over
/// pixels and then over pairs of frames. The error of the original clip is the lower limit. A blurred painting also has a low
/// error, so content and style loss are printed too. Clips are videos (which need ffmpeg) or folders of frames. Lossy
/// compression changes all figures.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The original clip: a video, or a folder of frames, ordered by name
    #[arg(long, value_name = "CLIP")]
    clip: PathBuf,
    /// A painted clip with the same number of frames; can be given several times
    #[arg(long, value_name = "CLIP", required = true)]
    painted: Vec<PathBuf>,
    /// The painting that the clips imitate; without it, content and style loss are not computed
    #[arg(long, value_name = "FILE")]
    style: Option<PathBuf>,
    /// The style that painted the clips: a style-model file or a bundled style. Its card sets the objective; without this option
    /// the default objective is used
    #[arg(long, value_name = "NAME|FILE")]
    model: Option<String>,
    /// Maximum number of frames to read
    #[arg(long, value_name = "COUNT")]
    frames: Option<usize>,
    /// Compute content and style loss only for every Nth frame
    #[arg(long, value_name = "COUNT", default_value_t = ClipConfig::default().loss_every)]
    loss_every: usize,
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

/// Runs the command. Ctrl-C ends it with the results of the frames done so far.
pub(super) fn run(args: &Args) -> Result<()> {
    if args.loss_every == 0 {
        return Err(Error::usage("`--loss-every` is 0, expected at least 1"));
    }
    let device = args.machine.open()?;
    let objective = objective(args, &device)?;
    let config = ClipConfig { loss_every: args.loss_every, max_frames: args.frames };
    let stop = stop_on_signal()?;
    let bar = if args.quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    let objective = objective.as_ref().map(|objective| (objective, &device));
    let evaluation = clip::evaluate(&args.clip, &args.painted, objective, &config, |frames| {
        bar.set_message(format!("frame {frames}"));
        bar.tick();
        !stop.load(Ordering::Relaxed)
    })?;
    bar.finish_and_clear();
    print(&evaluation, (!args.json).then_some(table))?;
    if stop.load(Ordering::Relaxed) {
        Err(Error::interrupted(format!("stopped after {} frames", evaluation.frames)))
    } else {
        Ok(())
    }
}

/// The objective that the clips' style was trained with; `None` without `--style`.
fn objective(args: &Args, device: &Device) -> Result<Option<Objective>> {
    let Some(style) = &args.style else { return Ok(None) };
    let training = match &args.model {
        Some(model) => training_config(&open(model)?)?,
        None => TrainConfig::default(),
    };
    let style = impasto_picture::read_rgb(style)?;
    let named = args.loss_weights.as_deref();
    let weights = download::loss_weights(named, training.loss_network, &training.objective, args.quiet)?;
    evaluate::objective(&training, style, &weights, device).map(Some)
}

fn table(evaluation: &ClipEvaluation) -> String {
    let ClipEvaluation { frames, height, width, seen, original, painted } = evaluation;
    let first = painted.first().map_or(f64::NAN, |first| first.warping_error);
    let row = |name: String, result: &ClipResult| {
        let ratio = result.warping_error / first;
        let losses = result.losses.map_or_else(String::new, |losses| {
            format!(" {:>10.4} {:>10.4} {:>10.4}", losses.objective, losses.content, losses.style)
        });
        format!("{:>14.3e} {ratio:>10.3}{losses}  {}", result.warping_error, escaped(&name))
    };
    let losses = if original.losses.is_some() { "  objective    content      style" } else { "" };
    let mut lines = vec![
        format!("{frames} frames of {width}x{height}, {:.1} % of the pixels count", 100.0 * seen),
        format!(" warping error   by first{losses}"),
        row(format!("{} (original)", original.path.display()), original),
    ];
    lines.extend(painted.iter().map(|result| row(result.path.display().to_string(), result)));
    lines.join("\n")
}
