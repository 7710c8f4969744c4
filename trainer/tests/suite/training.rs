//! The training loop through the library: losses, resuming, roll-backs, errors.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor};
use impasto_common::error::ErrorKind;
use impasto_common::model_file::StyleModel;
use impasto_common::network::{Preset, StyleNetConfig};
use impasto_trainer::config::{Length, TrainConfig};
use impasto_trainer::metrics::Metrics;
use impasto_trainer::train::{EarlierTraining, Observer, Outcome, StartWeights, TrainingJob, train};

use crate::fixture::{Fixture, config};

/// Records everything, and can request a stop after a step.
#[derive(Default)]
struct Witness {
    totals: Vec<f32>,
    roll_backs: Vec<(usize, usize, f64)>,
    stop_after: Option<usize>,
    stop: AtomicBool,
}

impl Witness {
    fn train(&mut self, job: &TrainingJob, config: &TrainConfig) -> impasto_common::Result<Outcome> {
        // Here the observer owns the flag; the trainer takes them separately.
        let stop = std::mem::take(&mut self.stop);
        let mut observer = Watch { witness: self, stop: &stop };
        train(job, config, &mut observer, &stop)
    }
}

struct Watch<'a> {
    witness: &'a mut Witness,
    stop: &'a AtomicBool,
}

impl Observer for Watch<'_> {
    fn stepped(&mut self, metrics: &Metrics) {
        self.witness.totals.push(metrics.total);
        if self.witness.stop_after == Some(metrics.step) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn rolled_back(&mut self, failed: usize, step: usize, rate_scale: f64) {
        self.witness.roll_backs.push((failed, step, rate_scale));
    }
}

fn run(job: &TrainingJob, config: &TrainConfig) -> impasto_common::Result<Outcome> {
    Witness::default().train(job, config)
}

#[test]
fn the_loss_falls_and_the_card_records_how_the_model_was_made() {
    let fixture = Fixture::new();
    let mut witness = Witness::default();
    let config = TrainConfig { length: Length::Steps(60), learning_rate: 3e-2, ..config() };
    let job = fixture.job("style");
    let outcome = witness.train(&job, &config).unwrap();
    assert_eq!((outcome.steps, outcome.skipped.len()), (60, 0));
    let mean = |totals: &[f32]| totals.iter().sum::<f32>() / totals.len() as f32;
    let (first, last) = (mean(&witness.totals[..10]), mean(&witness.totals[50..]));
    assert!(last < 0.7 * first, "from {first} to {last}");
    let card = StyleModel::open(&job.output).unwrap().card;
    assert_eq!((card.name.as_str(), card.steps), ("checks", 60));
    assert_eq!(card.training.unwrap()["size"], 40);
    let total = card.objective.unwrap()["total"].as_f64().unwrap();
    assert!((total - f64::from(mean(&witness.totals))).abs() < 1e-4);
    assert_eq!(fs::read_to_string(job.run_dir.join("metrics.csv")).unwrap().lines().count(), 61);
    assert!(job.run_dir.join("previews/00000060.png").exists());
}

#[test]
fn a_run_stopped_anywhere_and_resumed_ends_with_the_bytes_of_an_uninterrupted_one() {
    let fixture = Fixture::new();
    let whole = fixture.job("whole");
    run(&whole, &config()).unwrap();
    for stop_after in [1, 3, 4, 7] {
        let parts = fixture.job(&format!("parts{stop_after}"));
        let mut witness = Witness { stop_after: Some(stop_after), ..Witness::default() };
        let error = witness.train(&parts, &config()).unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Interrupted, 130));
        assert_eq!(error.to_string(), format!("stopped after {stop_after} of 8 steps"));
        let parts = TrainingJob { loader_threads: 3, ..parts };
        run(&parts, &config()).unwrap();
        for (name, one, other) in [
            ("model", whole.output.clone(), parts.output.clone()),
            ("metrics", whole.run_dir.join("metrics.csv"), parts.run_dir.join("metrics.csv")),
            ("snapshot", whole.run_dir.join("snapshot.safetensors"), parts.run_dir.join("snapshot.safetensors")),
            ("preview", whole.run_dir.join("previews/00000006.png"), parts.run_dir.join("previews/00000006.png")),
        ] {
            assert!(fs::read(one).unwrap() == fs::read(other).unwrap(), "{name} differs after a stop at {stop_after}");
        }
        assert!(!parts.run_dir.join("interrupted.safetensors").exists());
    }
}

#[test]
fn a_training_for_videos_is_repeatable_and_reports_its_temporal_loss() {
    let fixture = Fixture::new();
    let config = TrainConfig { temporal_weight: 2.0, ..config() };
    let whole = fixture.job("whole");
    run(&whole, &config).unwrap();
    let parts = fixture.job("parts");
    Witness { stop_after: Some(4), ..Witness::default() }.train(&parts, &config).unwrap_err();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| run(&parts, &config)).unwrap();
    for (one, other) in [
        (&whole.output, &parts.output),
        (&whole.run_dir.join("metrics.csv"), &parts.run_dir.join("metrics.csv")),
        (&whole.run_dir.join("snapshot.safetensors"), &parts.run_dir.join("snapshot.safetensors")),
    ] {
        assert!(fs::read(one).unwrap() == fs::read(other).unwrap(), "{} differs", other.display());
    }
    let table = fs::read_to_string(whole.run_dir.join("metrics.csv")).unwrap();
    assert!(table.starts_with("step,learning_rate,total,content,style,tv,temporal,gradient_norm,"), "{table}");
    for row in table.lines().skip(1) {
        let row: Vec<f64> = row.split(',').map(|value| value.parse().unwrap()).collect();
        assert!(row[6] > 0.0 && (row[2] - row[3..7].iter().sum::<f64>()).abs() < 1e-4 * row[2], "{row:?}");
    }
    let card = StyleModel::open(&whole.output).unwrap().card;
    assert_eq!(card.training.unwrap()["temporal_weight"], 2.0);
    assert!(card.objective.unwrap()["temporal"].as_f64().unwrap() > 0.0);
    assert!(fs::read_to_string(whole.run_dir.join("report.html")).unwrap().contains(">temporal</text>"));
    let refused = run(&whole, &TrainConfig { temporal_weight: 0.0, ..config }).unwrap_err();
    assert_eq!(refused.to_string(), "cannot resume: `temporal_weight` was 2.0 and is now 0.0");
}

#[test]
fn the_temporal_loss_falls_when_it_has_a_weight() {
    let fixture = Fixture::new();
    let temporal_of_the_end = |weight: f64| {
        let job = fixture.job(&format!("weight{weight}"));
        let length = Length::Steps(80);
        run(&job, &TrainConfig { temporal_weight: weight, length, learning_rate: 1e-2, ..config() }).unwrap();
        let temporal = StyleModel::open(&job.output).unwrap().card.objective.unwrap()["temporal"].as_f64().unwrap();
        temporal / weight
    };
    let (with, without) = (temporal_of_the_end(100.0), temporal_of_the_end(1e-6));
    assert!(with < 0.5 * without, "{with} is not clearly below {without}");
}

#[test]
fn a_training_can_be_extended_but_not_changed() {
    let fixture = Fixture::new();
    let job = fixture.job("style");
    run(&job, &config()).unwrap();
    let refused = run(&job, &TrainConfig { learning_rate: 2e-3, ..config() }).unwrap_err();
    assert_eq!(refused.to_string(), "cannot resume: `learning_rate` was 0.004 and is now 0.002");
    assert_eq!(refused.kind(), ErrorKind::Usage);
    let mut other = config();
    other.objective.style_weight = 77.0;
    assert!(run(&job, &other).unwrap_err().to_string().contains("`objective.style_weight` was"));
    assert_eq!(run(&job, &TrainConfig { length: Length::Steps(10), ..config() }).unwrap().steps, 10);
    fs::copy(fixture.path("photos/1.png"), fixture.path("photos/new.png")).unwrap();
    let refused = run(&job, &TrainConfig { length: Length::Steps(12), ..config() }).unwrap_err();
    assert_eq!(refused.to_string(), "cannot resume: photos were added, removed or renamed");
    assert_eq!(refused.hint(), Some("undo the change, or start again with `--restart`"));
}

#[test]
fn a_photo_that_was_replaced_under_its_name_is_noticed() {
    let fixture = Fixture::new();
    let job = fixture.job("style");
    run(&job, &config()).unwrap();
    fs::copy(fixture.path("photos/2.png"), fixture.path("photos/1.png")).unwrap();
    let refused = run(&job, &TrainConfig { length: Length::Steps(12), ..config() }).unwrap_err();
    assert_eq!(refused.to_string(), "cannot resume: photos were replaced by others with the same names");
    assert_eq!(refused.kind(), ErrorKind::Usage);
}

#[test]
fn a_damaged_snapshot_is_noticed_before_anything_is_trained_on_it() {
    let fixture = Fixture::new();
    let job = fixture.job("style");
    run(&job, &config()).unwrap();
    let path = job.run_dir.join("snapshot.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&path, bytes).unwrap();
    for earlier in [EarlierTraining::Resume, EarlierTraining::Refuse] {
        let error = run(&TrainingJob { earlier, ..job.clone() }, &config()).unwrap_err();
        assert!(error.to_string().ends_with("the snapshot is damaged: its checksum does not match"), "{error}");
        assert_eq!(error.hint(), Some("start again with `--restart`"));
    }
    run(&TrainingJob { earlier: EarlierTraining::Discard, ..job }, &config()).unwrap();
}

#[test]
fn an_output_that_cannot_be_written_is_refused_before_the_first_step() {
    let fixture = Fixture::new();
    for output in ["photos", "style.png/style.safetensors"] {
        let job = TrainingJob { output: fixture.path(output), ..fixture.job("style") };
        let mut witness = Witness::default();
        let error = witness.train(&job, &config()).unwrap_err().to_string();
        assert!(error.starts_with("cannot write `") && error.contains(output), "{error}");
        assert_eq!((witness.totals.len(), job.run_dir.exists()), (0, false));
    }
}

/// Replaces the folder of the output with a file after the first step.
struct Saboteur(PathBuf);

impl Observer for Saboteur {
    fn stepped(&mut self, metrics: &Metrics) {
        if metrics.step == 1 {
            fs::remove_dir_all(&self.0).unwrap();
            fs::write(&self.0, b"").unwrap();
        }
    }
}

#[test]
fn a_style_that_cannot_be_written_in_the_end_is_kept_in_the_run_folder() {
    let fixture = Fixture::new();
    let job = TrainingJob { output: fixture.path("out/style.safetensors"), ..fixture.job("style") };
    let error = train(&job, &config(), &mut Saboteur(fixture.path("out")), &AtomicBool::new(false)).unwrap_err();
    assert!(
        error.to_string().starts_with("the training is finished, but its style could not be saved: cannot write `"),
        "{error}"
    );
    let kept = job.run_dir.join("style.safetensors");
    assert_eq!(
        error.hint(),
        Some(&*format!("the style was saved as `{}` instead: copy it to where you want it", kept.display()))
    );
    run(&fixture.job("same"), &config()).unwrap();
    assert!(fs::read(kept).unwrap() == fs::read(fixture.path("same.safetensors")).unwrap());
}

#[test]
fn an_earlier_training_is_not_overwritten_and_can_be_restarted() {
    let fixture = Fixture::new();
    let job = fixture.job("style");
    run(&job, &config()).unwrap();
    let error = run(&TrainingJob { earlier: EarlierTraining::Refuse, ..job.clone() }, &config()).unwrap_err();
    assert!(error.to_string().ends_with("style.run` contains a training of 8 steps"), "{error}");
    let short = TrainConfig { length: Length::Steps(2), seed: 9, ..config() };
    assert_eq!(run(&TrainingJob { earlier: EarlierTraining::Discard, ..job.clone() }, &short).unwrap().steps, 2);
    assert!(!job.run_dir.join("previews/00000006.png").exists());
}

#[test]
fn one_run_folder_takes_one_training_at_a_time() {
    let fixture = Fixture::new();
    let job = fixture.job("style");
    let folder = impasto_trainer::run_folder::RunFolder::open(&job.run_dir).unwrap();
    let error = run(&job, &config()).unwrap_err();
    assert!(error.to_string().ends_with("another training is using it"), "{error}");
    drop(folder);
    run(&job, &config()).unwrap();
}

#[test]
fn losses_that_overflow_roll_back_to_half_the_rate_until_they_do_not() {
    let fixture = Fixture::new();
    let mut witness = Witness::default();
    // Weights of this size overflow the squared Gram matrices; somewhat smaller ones do not.
    let config = TrainConfig { learning_rate: 1e4, ..config() };
    let outcome = witness.train(&fixture.job("style"), &config).unwrap();
    assert_eq!(outcome.steps, 8);
    assert!(!witness.roll_backs.is_empty());
    for (index, &(failed, step, scale)) in witness.roll_backs.iter().enumerate() {
        assert!(step <= failed && step % 3 == 0);
        assert!((scale - 0.5f64.powi(index as i32 + 1)).abs() < f64::EPSILON);
    }
}

#[test]
fn losses_that_overflow_at_any_rate_end_in_an_error_that_says_so() {
    let fixture = Fixture::new();
    let mut witness = Witness::default();
    let config = TrainConfig { learning_rate: 1e30, ..config() };
    let error = witness.train(&fixture.job("style"), &config).unwrap_err();
    assert!(error.to_string().contains("not finite") && error.hint().unwrap().contains("`--lr`"), "{error}");
    assert_eq!(witness.roll_backs.len(), 8);
}

#[test]
fn a_training_can_start_from_another_style() {
    let fixture = Fixture::new();
    run(&fixture.job("first"), &config()).unwrap();
    let mut scratch = Witness::default();
    scratch.train(&fixture.job("scratch"), &config()).unwrap();
    let job = TrainingJob { start: StartWeights::File(fixture.path("first.safetensors")), ..fixture.job("second") };
    let mut warm = Witness::default();
    warm.train(&job, &config()).unwrap();
    assert!(warm.totals[0] < scratch.totals[0], "{} is not below {}", warm.totals[0], scratch.totals[0]);
}

#[test]
fn a_network_of_a_bundled_styles_size_starts_from_it_unless_it_is_told_not_to() {
    let fixture = Fixture::new();
    let first_total = |name: &str, start: StartWeights, network: StyleNetConfig| {
        let mut witness = Witness::default();
        let job = TrainingJob { start, ..fixture.job(name) };
        let config = TrainConfig { network, length: Length::Steps(1), ..config() };
        witness.train(&job, &config).unwrap();
        (witness.totals[0], job)
    };
    let bundled = Preset::M.into();
    let (based, job) = first_total("based", StartWeights::Base, bundled);
    let (random, _) = first_total("random", StartWeights::Random, bundled);
    assert_ne!(based.to_bits(), random.to_bits());
    let refused = run(&TrainingJob { start: StartWeights::Random, ..job }, &config_of_one_step(bundled)).unwrap_err();
    assert_eq!(refused.to_string(), "cannot resume: the style to start from has changed");
    // No bundled style has this size.
    let (same, _) = first_total("same", StartWeights::Base, config().network);
    let (again, _) = first_total("again", StartWeights::Random, config().network);
    assert_eq!(same.to_bits(), again.to_bits());
}

fn config_of_one_step(network: StyleNetConfig) -> TrainConfig {
    TrainConfig { network, length: Length::Steps(1), ..config() }
}

#[test]
fn a_time_becomes_a_number_of_steps_that_a_resumed_training_keeps() {
    let fixture = Fixture::new();
    let job = fixture.job("style");
    let minutes = |minutes| TrainConfig { length: Length::Minutes(minutes), ..config() };
    // So short that it is one step on any machine.
    assert_eq!(run(&job, &minutes(1e-6)).unwrap().steps, 1);
    assert_eq!(StyleModel::open(&job.output).unwrap().card.training.unwrap()["length"]["steps"], 1);
    assert_eq!(run(&job, &minutes(60.0)).unwrap().steps, 1, "the plan of the first run holds");
    assert_eq!(run(&job, &TrainConfig { length: Length::Steps(3), ..config() }).unwrap().steps, 3);
    let begun = std::time::Instant::now();
    let timed = run(&fixture.job("timed"), &minutes(0.05)).unwrap();
    assert!(timed.steps > 1 && begun.elapsed().as_secs() < 60, "{} steps", timed.steps);
}

#[test]
fn a_random_network_begins_with_the_mean_colour_of_the_style() {
    let config = config().network;
    let parameters = impasto_trainer::init::random_parameters(&config, 0, &Device::Cpu).unwrap();
    impasto_trainer::init::paint_around(&parameters, &config, [200.0, 100.0, 50.0]).unwrap();
    let network = impasto_trainer::init::network(&config, &parameters).unwrap();
    let photo = Tensor::rand(0f32, 255f32, (1, 3, 40, 40), &Device::Cpu).unwrap();
    let painted = network.forward(&photo).unwrap();
    for (channel, expected) in [200.0, 100.0, 50.0].into_iter().enumerate() {
        let levels = painted.narrow(1, channel, 1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let mean = levels.iter().sum::<f32>() / levels.len() as f32;
        let deviation = (levels.iter().map(|level| (level - mean).powi(2)).sum::<f32>() / levels.len() as f32).sqrt();
        assert!((mean - expected).abs() < 60.0, "{mean} is far from {expected}");
        assert!((10.0..120.0).contains(&deviation), "{deviation}");
    }
}

#[test]
fn unusable_photos_are_listed_and_the_training_continues() {
    let fixture = Fixture::new();
    let whole = fs::read(fixture.path("photos/more/9.jpg")).unwrap();
    fs::write(fixture.path("photos/cut.jpg"), &whole[..whole.len() / 3]).unwrap();
    fs::write(fixture.path("photos/empty.png"), b"").unwrap();
    image::RgbImage::new(8, 90).save(fixture.path("photos/tiny.png")).unwrap();
    image::GrayImage::from_fn(60, 60, |x, y| image::Luma([(2 * x + y) as u8]))
        .save(fixture.path("photos/grey.png"))
        .unwrap();
    image::ImageBuffer::from_fn(60, 60, |x, y| image::Rgba([999 * x as u16, 999 * y as u16, 9, u16::MAX]))
        .save(fixture.path("photos/deep.png"))
        .unwrap();
    // The image crate reads CMYK but does not write it.
    fs::write(fixture.path("photos/cmyk.jpg"), include_bytes!("../data/cmyk.jpg")).unwrap();
    image::RgbImage::from_pixel(60, 60, image::Rgb([255; 3])).save(fixture.path("photos/white.png")).unwrap();
    let config = TrainConfig { length: Length::Epochs(2), held_out: 0, ..config() };
    let outcome = run(&fixture.job("style"), &config).unwrap();
    assert_eq!(outcome.steps, 19);
    let names: Vec<_> = outcome.skipped.keys().map(String::as_str).collect();
    assert_eq!(names, ["cut.jpg", "empty.png", "tiny.png", "white.png"]);
}
