//! `infer stylize`.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use common::device::{DeviceChoice, set_threads};
use common::model_file::StyleModel;
use common::picture::{DEFAULT_QUALITY, PictureFormat};
use common::styles::BundledStyle;
use common::{Error, Result};

use super::batch::{self, BatchOptions};
use super::plan::{Plan, Source, Target};
use super::talk::Talk;
use crate::stylizer::unknown_style;
use crate::{StylizeOptions, Stylizer};

/// Paint pictures in a style
///
/// JPEG, PNG, WebP, TIFF, BMP and GIF are read; the content decides, not the name. The painting has the picture's size,
/// depth (16 bits in PNG and TIFF), transparency and colour profile. Photos are turned upright; camera, place and date
/// are not copied.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Pictures, folders of pictures (searched to any depth), or `-` for standard input
    #[arg(value_name = "INPUT", required = true)]
    inputs: Vec<PathBuf>,

    /// File or folder to paint into, or `-` for standard output
    ///
    /// For several inputs or a folder this is a folder, made if missing; paintings keep their picture's name, format and
    /// place in the tree. Existing files are replaced, but never an input.
    #[arg(short, long, value_name = "FILE|DIR")]
    output: PathBuf,

    /// Bundled style (see `infer styles`) or style-model file; default: the first bundled style
    ///
    /// Files: `.safetensors` as `trainer` writes them, and `.safetensors` or `.pth` of pytorch/examples'
    /// `fast_neural_style`. A bundled name comes before a file of that name; `./NAME` is the file.
    #[arg(short, long, value_name = "NAME|FILE")]
    style: Option<PathBuf>,

    /// From 0, the photo, to 1, the painting
    #[arg(long, value_name = "0..1", default_value_t = StylizeOptions::default().strength, value_parser = parse_strength)]
    #[arg(help_heading = "Painting")]
    strength: f32,

    /// Keep the photo's colours: paint only its lights and darks
    #[arg(long, help_heading = "Painting")]
    keep_colors: bool,

    /// Make pictures smaller first so that their longer side has at most this many pixels
    ///
    /// A style knows its strokes in pixels: a smaller picture gets broader ones. It also takes less time and memory: a
    /// million pixels take about 0.34 GB with the largest networks (preset `l`).
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Painting")]
    max_size: Option<u32>,

    /// Format of the paintings: jpg, png, webp, tiff, bmp or gif; default: as --output ends, else the picture's own
    #[arg(long, value_name = "FORMAT", help_heading = "Output")]
    format: Option<PictureFormat>,

    /// JPEG quality; the other formats are written without loss
    #[arg(long, value_name = "1..100", default_value_t = DEFAULT_QUALITY, help_heading = "Output")]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,

    /// Leave pictures alone whose painting exists: goes on where an earlier run stopped
    #[arg(long, help_heading = "Output")]
    skip_existing: bool,

    /// Print errors only
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,

    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::default(), help_heading = "Computing")]
    device: DeviceChoice,

    /// Threads on the CPU; 0 is one per core
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Computing")]
    threads: usize,
}

fn parse_strength(text: &str) -> Result<f32, String> {
    let strength: f32 = text.parse().map_err(|_| "expected a number from 0 to 1")?;
    if (0.0..=1.0).contains(&strength) { Ok(strength) } else { Err("expected a number from 0 to 1".into()) }
}

/// Paints what the arguments say.
///
/// # Errors
///
/// If nothing can be painted at all. A picture that cannot is reported, and makes the exit code 1.
pub(super) fn run(args: Args) -> Result<ExitCode> {
    let mut plan = Plan::new(&args.inputs, &args.output, args.format)?;
    refuse_terminal(&plan)?;
    let skipped = if args.skip_existing { plan.skip_existing() } else { 0 };
    if args.threads > 0 {
        set_threads(args.threads)?;
    }
    let stylizer = load(args.style.as_deref(), args.device)?.with_options(StylizeOptions {
        strength: args.strength,
        keep_colors: args.keep_colors,
        max_size: args.max_size,
    })?;
    Ok(paint_all(&stylizer, &plan, skipped, &args))
}

fn paint_all(stylizer: &Stylizer, plan: &Plan, skipped: usize, args: &Args) -> ExitCode {
    let started = Instant::now();
    let talk = Talk::new(plan.jobs.len(), args.quiet);
    for failure in &plan.failures {
        talk.error(failure);
    }
    let options = BatchOptions {
        quality: args.quality,
        max_size: args.max_size,
        // Who asks for one thread does not want another two for files.
        overlap: args.threads != 1,
    };
    let failed = plan.failures.len() + batch::paint_all(stylizer, &plan.jobs, options, &talk);
    let total = plan.jobs.len() + plan.failures.len();
    let seconds = started.elapsed().as_secs_f64();
    let there = if skipped > 0 { format!(", {skipped} were there already") } else { String::new() };
    talk.finish(&format!("painted {} of {total} in {seconds:.1} s{there}", total - failed));
    ExitCode::from(u8::from(failed > 0))
}

fn load(style: Option<&Path>, device: DeviceChoice) -> Result<Stylizer> {
    let device = device.open()?;
    let Some(style) = style else {
        return Stylizer::new(&BundledStyle::default_style()?.model()?, &device);
    };
    Stylizer::new(&find_model(style)?, &device)
}

/// The bundled style of this name, or the model in this file.
pub(super) fn find_model(style: &Path) -> Result<StyleModel> {
    match style.to_str().and_then(BundledStyle::named) {
        Some(bundled) => bundled.model(),
        None if style.exists() => StyleModel::open(style),
        None => Err(unknown_style(&style.display().to_string())),
    }
}

fn refuse_terminal(plan: &Plan) -> Result<()> {
    let to_terminal = plan.jobs.iter().any(|job| job.target == Target::Stdout) && io::stdout().is_terminal();
    if to_terminal {
        return Err(Error::usage("a picture would be written to the terminal")
            .with_hint("redirect standard output, or name a file as `--output`"));
    }
    let from_terminal = plan.jobs.iter().any(|job| job.source == Source::Stdin) && io::stdin().is_terminal();
    if from_terminal {
        return Err(Error::usage("`-` reads a picture from standard input, which is the terminal"));
    }
    Ok(())
}
