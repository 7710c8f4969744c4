pub(super) mod film;

use image::{Rgb, RgbImage};
use impasto_common::model_file::{ModelCard, StyleModel};
use impasto_common::network::StyleNetConfig;
use impasto_flow::FlowOptions;

use super::*;

/// A small untrained network with fixed weights: its painting depends on every pixel.
fn stylizer() -> Stylizer {
    let mut tensors = impasto_common::weights::Tensors::new();
    let mut seed = 1u32;
    let mut noise = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    };
    let config = StyleNetConfig { channels: 4, blocks: 0 };
    for layer in config.network().layers {
        let is_last = layer.normalization.is_none();
        // The convolution's weight comes first, then its bias, then the normalization's scale and shift.
        let bias = if is_last { 128.0 } else { 0.0 };
        for ((name, shape), start) in layer.tensors().into_iter().zip([None, Some(bias), Some(1.0), Some(0.0)]) {
            let scale = if is_last { 10.0 } else { 1.0 };
            let values = (0..shape.iter().product()).map(|_: usize| start.unwrap_or_else(|| scale * noise())).collect();
            tensors.insert(name, impasto_common::weights::Array::new(shape, values).unwrap());
        }
    }
    let card = ModelCard::new("noise", config);
    Stylizer::new(&StyleModel { card, tensors }).unwrap()
}

/// A scene, `shift` pixels to the left, with noise of its own.
fn frame(shift: f32, noise: u32) -> Picture {
    let image = RgbImage::from_fn(96, 72, |x, y| {
        let (u, v) = (x as f32 + shift, y as f32);
        let wave = |a: f32, b: f32| 40.0 * (a * u + b * v).sin();
        let grain = (x.wrapping_mul(7919) ^ y.wrapping_mul(104_729)).wrapping_add(noise.wrapping_mul(15_485_863));
        let grain = (grain.wrapping_mul(2_654_435_761) >> 24) as f32 / 255.0 * 8.0;
        let level = |phase: f32| (120.0 + wave(0.21, 0.1 + phase) + wave(-0.07, 0.31) + grain) as u8;
        Rgb([level(0.0), level(0.02), level(0.05)])
    });
    image.into()
}

/// The mean squared difference of two pictures, levels of 255.
fn difference(a: &Picture, b: &Picture) -> f64 {
    let (a, b) = (a.as_image().as_bytes(), b.as_image().as_bytes());
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>() / a.len() as f64
}

fn stabilizer(options: SteadyOptions) -> Stabilizer {
    Stabilizer::new(stylizer(), options).unwrap()
}

#[test]
fn the_first_frame_and_the_one_after_a_cut_are_painted_like_stills() {
    let stylizer = stylizer();
    let mut steady = stabilizer(SteadyOptions::default());
    let dark = |picture: Picture| {
        let mut image = picture.into_rgb8();
        image.pixels_mut().for_each(|pixel| pixel.0 = pixel.0.map(|level| level / 4));
        Picture::from(image)
    };
    let is_still = |steady: &mut Stabilizer, picture: Picture| {
        assert!(steady.paint(picture.clone()).unwrap().picture == stylizer.stylize(&picture).unwrap().picture);
    };
    is_still(&mut steady, frame(0.0, 1));
    is_still(&mut steady, dark(frame(40.0, 2)));
    steady.reset();
    is_still(&mut steady, dark(frame(40.0, 3)));
    is_still(&mut steady, Picture::from(RgbImage::from_pixel(3, 2, Rgb([9, 99, 200]))));
    // Neither a cut nor another size: strokes are kept.
    let (first, second) = (frame(0.0, 4), frame(0.0, 5));
    is_still(&mut steady, first);
    assert!(steady.paint(second.clone()).unwrap().picture != stylizer.stylize(&second).unwrap().picture);
}

#[test]
fn a_still_camera_paints_calmly() {
    let stylizer = stylizer();
    let mut steady = stabilizer(SteadyOptions::default());
    let (mut plain, mut calm) = (Vec::new(), Vec::new());
    for noise in 0..6 {
        plain.push(stylizer.stylize(&frame(0.0, noise)).unwrap().picture);
        calm.push(steady.paint(frame(0.0, noise)).unwrap().picture);
    }
    let flicker =
        |frames: &[Picture]| frames.windows(2).skip(2).map(|pair| difference(&pair[0], &pair[1])).sum::<f64>();
    assert!(flicker(&calm) < 0.4 * flicker(&plain), "{} of {}", flicker(&calm), flicker(&plain));
}

#[test]
fn a_moving_camera_leaves_no_trail() {
    let stylizer = stylizer();
    let mut steady = stabilizer(SteadyOptions::default());
    let mut last = None;
    for i in 0..6u8 {
        // The shift equals the network's subsampling, so the kept painting should equal the new one.
        let picture = frame(4.0 * f32::from(i), 0);
        last = Some((steady.paint(picture.clone()).unwrap().picture, stylizer.stylize(&picture).unwrap().picture));
    }
    let (calm, plain) = last.unwrap();
    // The error of a painting that lags behind.
    let trail = difference(&plain, &stylizer.stylize(&frame(16.0, 0)).unwrap().picture);
    assert!(difference(&calm, &plain) < 0.2 * trail, "{} of {trail}", difference(&calm, &plain));
}

#[test]
fn a_memory_that_is_restored_paints_the_very_same_frames() {
    for hold in [1, 2, 3, 5] {
        let options = SteadyOptions { hold, ..SteadyOptions::default() };
        let mut steady = stabilizer(options);
        for i in 0..12u8 {
            // Stands still at first, then moves, so that pieces of all ages are there.
            let shift = f32::from(i.saturating_sub(4));
            let mut memory = Vec::new();
            steady.save(&mut memory).unwrap();
            let mut restored = stabilizer(options);
            restored.paint(frame(99.0, 7)).unwrap();
            restored.restore(&mut &memory[..]).unwrap();
            let painting = steady.paint(frame(shift, i.into())).unwrap();
            assert!(restored.paint(frame(shift, i.into())).unwrap() == painting, "hold {hold}, frame {i}");
            let mut again = Vec::new();
            steady.save(&mut again).unwrap();
            let mut same = Vec::new();
            restored.save(&mut same).unwrap();
            assert!(again == same, "hold {hold}, frame {i}");
        }
    }
}

#[test]
fn a_memory_that_is_cut_or_changed_is_an_error_and_no_panic() {
    let mut steady = stabilizer(SteadyOptions::default());
    (0..3).for_each(|i| drop(steady.paint(frame(0.0, i)).unwrap()));
    let mut memory = Vec::new();
    steady.save(&mut memory).unwrap();
    let mut restored = stabilizer(SteadyOptions::default());
    for cut in [0, 5, 100, memory.len() / 2, memory.len() - 1] {
        assert!(restored.restore(&mut &memory[..cut]).is_err(), "{cut}");
    }
    for at in (0..memory.len().min(4000)).step_by(7) {
        let mut changed = memory.clone();
        changed[at] ^= 0xFF;
        if restored.restore(&mut &changed[..]).is_ok() {
            let _ = restored.paint(frame(0.0, 3));
        }
    }
    memory.push(0);
    assert!(restored.restore(&mut &memory[..]).is_err());
}

#[test]
fn a_hold_of_one_frame_changes_nothing() {
    let options = SteadyOptions { hold: 1, statistics: 0.0, ..SteadyOptions::default() };
    let (stylizer, mut steady) = (stylizer(), stabilizer(options));
    for noise in 0..3 {
        let picture = frame(0.0, noise);
        assert!(steady.paint(picture.clone()).unwrap().picture == stylizer.stylize(&picture).unwrap().picture);
    }
}

#[test]
fn options_out_of_range_are_refused() {
    let options = SteadyOptions::default();
    for options in [
        SteadyOptions { hold: 0, ..options },
        SteadyOptions { hold: 65, ..options },
        SteadyOptions { statistics: 1.0, ..options },
        SteadyOptions { statistics: f32::NAN, ..options },
        SteadyOptions { flow: FlowOptions { finest: 2, ..options.flow }, ..options },
        SteadyOptions { tolerance: 0.0, ..options },
    ] {
        assert_eq!(Stabilizer::new(stylizer(), options).unwrap_err().exit_code(), 2, "{options:?}");
    }
}
