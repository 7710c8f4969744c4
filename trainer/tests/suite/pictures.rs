//! Optimising a picture, and evaluating a network by the number of iterations that this takes, with the tiny loss network.

use std::process::ExitCode;

use candle_core::Device;
use impasto_nn::StyleNet;
use impasto_nn::loss_network::{Architecture, LossNetwork};
use impasto_trainer::evaluate::{EvaluateConfig, evaluate};
use impasto_trainer::init;
use impasto_trainer::objective::{Objective, ObjectiveConfig};
use impasto_trainer::optimize::{Method, OptimizeConfig, Progress, Start, optimize};

use crate::fixture::{self, Fixture};

fn loss_network(fixture: &Fixture) -> LossNetwork {
    LossNetwork::open(Architecture::Vgg16, &fixture.path("vgg.safetensors"), &Device::Cpu).unwrap()
}

/// The objective before every iteration.
fn course(fixture: &Fixture, config: &OptimizeConfig) -> Vec<Progress> {
    let photo = impasto_picture::read_rgb(&fixture.path("photos/7.png")).unwrap();
    let style = impasto_picture::read_rgb(&fixture.path("style.png")).unwrap();
    let mut course = Vec::new();
    let painted = optimize(&loss_network(fixture), &photo, &style, config, |progress| {
        course.push(*progress);
        true
    });
    assert_eq!(painted.unwrap().dimensions(), photo.dimensions());
    course
}

#[test]
fn every_method_lowers_the_objective_from_every_start() {
    let fixture = Fixture::new();
    for (method, start) in [(Method::Lbfgs, Start::Photo), (Method::Lbfgs, Start::Noise), (Method::Adam, Start::Noise)]
    {
        let config = OptimizeConfig { method, start, scales: 1, iterations: 30, ..OptimizeConfig::default() };
        let course = course(&fixture, &config);
        let (first, last) = (course[0].objective, course[29].objective);
        assert!(last < 0.8 * first, "{method} from {start}: {first} to {last}");
    }
}

#[test]
fn coarse_scales_come_first_and_the_last_has_the_size_asked_for() {
    let fixture = Fixture::new();
    let config = OptimizeConfig { size: 80, style_size: 64, scales: 2, iterations: 2, ..OptimizeConfig::default() };
    let sizes: Vec<_> = course(&fixture, &config).iter().map(|progress| (progress.iteration, progress.size)).collect();
    assert_eq!(sizes, [(1, (29, 40)), (2, (29, 40)), (3, (40, 57)), (4, (40, 57))]);
}

#[test]
fn a_stopped_optimisation_gives_the_picture_as_far_as_it_came() {
    let fixture = Fixture::new();
    let photo = impasto_picture::read_rgb(&fixture.path("photos/7.png")).unwrap();
    let style = impasto_picture::read_rgb(&fixture.path("style.png")).unwrap();
    let mut iterations = 0;
    let config = OptimizeConfig { scales: 1, ..OptimizeConfig::default() };
    let painted = optimize(&loss_network(&fixture), &photo, &style, &config, |_| {
        iterations += 1;
        iterations < 3
    });
    assert_eq!((iterations, painted.unwrap().dimensions()), (3, photo.dimensions()));
}

#[test]
fn scales_too_small_for_strokes_are_refused() {
    let error = OptimizeConfig { scales: 6, ..OptimizeConfig::default() }.validate().unwrap_err();
    assert_eq!(error.to_string(), "`--scales 6` starts at 16 pixels, below the minimum of 32");
}

#[test]
fn a_network_is_as_good_as_the_iterations_it_takes_to_beat_it() {
    let fixture = Fixture::new();
    let style = impasto_picture::read_rgb(&fixture.path("style.png")).unwrap();
    let style = impasto_nn::rgb_to_tensor(&style, &Device::Cpu).unwrap();
    let objective = Objective::new(loss_network(&fixture), &style, &ObjectiveConfig::default()).unwrap();
    let sizes = fixture::config().network;
    let parameters = init::random_parameters(&sizes, 0, &Device::Cpu).unwrap();
    let network: StyleNet = init::network(&sizes, &parameters).unwrap();
    let photos = ["photos/1.png", "photos/2.png", "photos/more/9.jpg"].map(|name| fixture.path(name));
    let config = EvaluateConfig { size: 40, max_iterations: 60, seed: 0 };
    let evaluation = evaluate(&network, &objective, &photos, &config, &Device::Cpu, |_| true).unwrap();
    assert_eq!(evaluation.photos.len(), 3);
    for photo in &evaluation.photos {
        let terms = photo.painted;
        assert!((terms.content + terms.style + terms.tv - terms.objective).abs() < 1e-4 * terms.objective);
        // The network is untrained, so the photo itself has a lower objective, and L-BFGS soon does too.
        assert!(photo.unpainted.objective < terms.objective);
        assert!(photo.iterations.is_some_and(|iterations| iterations < 60), "{:?}", photo.iterations);
    }
    let json = serde_json::to_value(&evaluation).unwrap();
    assert_eq!(json["iterations"]["median"], evaluation.iterations.median);
    assert_eq!((evaluation.frame, evaluation.grid), (None, None), "paintings of 32 pixels are too small to tell");
    let config = EvaluateConfig { size: 64, max_iterations: 0, seed: 0 };
    let evaluation = evaluate(&network, &objective, &photos[..1], &config, &Device::Cpu, |_| true).unwrap();
    assert_eq!(evaluation.photos[0].iterations, None, "nothing was searched");
    assert!(evaluation.frame.is_some());
}

#[test]
fn the_commands_write_the_requested_files() {
    let fixture = Fixture::new();
    let file = |name: &str| fixture.path(name).into_os_string().into_string().unwrap();
    let [photo, style, weights, output] = ["photos/7.png", "style.png", "vgg.safetensors", "out.jpg"].map(file);
    let run = |words: &[&str]| impasto_trainer::cli::run(words);
    let optimize = |output: &str| {
        run(&[
            "trainer",
            "optimize",
            "--photo",
            &photo,
            "--style",
            &style,
            "--loss-weights",
            &weights,
            "--output",
            output,
            "--scales",
            "1",
            "--iterations",
            "2",
            "--quiet",
        ])
    };
    assert_eq!(optimize(&output), ExitCode::SUCCESS);
    assert_eq!(impasto_picture::read_rgb(&fixture.path("out.jpg")).unwrap().dimensions(), (57, 40));
    assert_eq!(optimize(&file("out.xyz")), ExitCode::from(1));
    let missing = file("missing.safetensors");
    let evaluate = run(&["trainer", "evaluate", "--model", &missing, "--style", &style, "--photos", &photo, "--quiet"]);
    assert_eq!(evaluate, ExitCode::from(1));
}
