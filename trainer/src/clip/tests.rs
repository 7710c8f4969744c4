use image::{Rgb, imageops};

use super::*;

/// A folder of `count` frames.
fn clip(folder: &Path, name: &str, count: u32, frame: impl Fn(u32) -> RgbImage) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir(&path).unwrap();
    for i in 0..count {
        frame(i).save(path.join(format!("{i:03}.png"))).unwrap();
    }
    path
}

/// A scene filmed by a camera that moves by two pixels per frame.
fn pan(i: u32) -> RgbImage {
    RgbImage::from_fn(96, 64, |x, y| {
        let (x, y) = ((x + 2 * i) as f32, y as f32);
        let level = |a: f32, b: f32| (128.0 + 60.0 * (a * x + b * y).sin() + 60.0 * (0.13 * x - 0.07 * y).cos()) as u8;
        Rgb([level(0.31, 0.2), level(-0.17, 0.26), level(0.05, 0.4)])
    })
}

fn run(clip: &Path, painted: &[PathBuf]) -> Result<ClipEvaluation> {
    evaluate(clip, painted, None, &ClipConfig::default(), |_| true)
}

#[test]
fn the_warping_error_is_the_squared_distance_along_the_movement() {
    let folder = tempfile::tempdir().unwrap();
    let still = clip(folder.path(), "still", 3, |_| pan(0));
    // Grey levels 0, 51 and 0: every pair of frames differs by 0.2 in each of three channels.
    let blinks = clip(folder.path(), "blinks", 3, |i| RgbImage::from_pixel(96, 64, Rgb([51 * (i % 2) as u8; 3])));
    let evaluation = run(&still, &[blinks, still.clone()]).unwrap();
    assert_eq!((evaluation.frames, evaluation.width, evaluation.height), (3, 96, 64));
    assert!((evaluation.seen - 1.0).abs() < 1e-9 && evaluation.original.warping_error < 1e-9);
    assert!((evaluation.painted[0].warping_error - 0.12).abs() < 1e-6, "{evaluation:?}");
    assert!(evaluation.painted[1].warping_error < 1e-9);
}

#[test]
fn strokes_that_move_with_the_scene_are_stable_and_strokes_fixed_to_the_screen_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let scene = clip(folder.path(), "scene", 4, pan);
    let negative = clip(folder.path(), "negative", 4, |i| {
        let mut image = pan(i);
        imageops::invert(&mut image);
        image
    });
    let curtain = clip(folder.path(), "curtain", 4, |_| pan(0));
    let evaluation = run(&scene, &[negative, curtain]).unwrap();
    let [negative, curtain] = [0, 1].map(|i| evaluation.painted[i].warping_error);
    // The same picture except for its sign.
    assert!((negative / evaluation.original.warping_error - 1.0).abs() < 0.05, "{evaluation:?}");
    assert!(negative < 2e-3 && curtain > 20.0 * negative, "{evaluation:?}");
    assert!(evaluation.seen > 0.6 && evaluation.seen < 1.0, "the border that leaves is not seen: {evaluation:?}");
}

#[test]
fn clips_of_other_lengths_or_sizes_are_refused_and_a_larger_original_is_resized() {
    let folder = tempfile::tempdir().unwrap();
    let scene = clip(folder.path(), "scene", 3, pan);
    let short = clip(folder.path(), "short", 2, pan);
    let half = |i| imageops::thumbnail(&pan(i), 48, 32);
    let small = clip(folder.path(), "small", 3, half);
    let error = |painted: &[PathBuf]| run(&scene, painted).unwrap_err().to_string();
    assert!(error(std::slice::from_ref(&short)).contains("has only 2 frames, and the original has more"));
    assert!(error(&[scene.clone(), small.clone()]).contains("frames of different sizes"));
    assert!(run(&short, std::slice::from_ref(&scene)).unwrap_err().to_string().contains("more than the 2 frames"));
    assert_eq!(run(&scene, &[small]).unwrap().width, 48);
    let one = ClipConfig { max_frames: Some(1), ..ClipConfig::default() };
    let error = evaluate(&scene, std::slice::from_ref(&scene), None, &one, |_| true).unwrap_err();
    assert!(error.to_string().contains("fewer than two frames"));
}
