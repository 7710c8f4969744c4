use super::super::tests::film::{frame, texture};
use super::*;

const SIZE: (usize, usize) = (96, 130);

fn patchwork(hold: usize) -> Patchwork {
    Patchwork::new(SteadyOptions { hold, tolerance: 20.0, ..SteadyOptions::default() }).unwrap()
}

/// A scene, moved to the left.
fn film(shift: f32) -> FlowFrame {
    frame(SIZE, |y, x| texture(y, x + shift))
}

/// A painting of one level all over.
fn flat(level: f32) -> FlowFrame {
    FlowFrame::from_pixels(SIZE, vec![[level; 4]; SIZE.0 * SIZE.1])
}

/// A pixel's bits: pixels that are not resampled must stay bit-exact.
fn bits(frame: &FlowFrame, y: usize, x: usize) -> [u32; 4] {
    frame.pixels()[y * SIZE.1 + x].map(f32::to_bits)
}

fn level(frame: &FlowFrame, y: usize, x: usize) -> f32 {
    frame.pixels()[y * SIZE.1 + x][0]
}

/// Composes one frame and keeps it.
fn next(patchwork: &mut Patchwork, film: &FlowFrame, painting: &FlowFrame) -> Composed {
    patchwork.follow(Pyramid::new(film));
    let composed = patchwork.compose(painting);
    patchwork.keep(composed.painting.clone());
    composed
}

#[test]
fn still_areas_keep_their_strokes() {
    let mut patchwork = patchwork(3);
    let strokes = frame(SIZE, |y, x| texture(2.0 * x, 2.0 * y).clamp(0.0, 255.0));
    next(&mut patchwork, &film(0.0), &strokes);
    for i in 0..12 {
        let composed = next(&mut patchwork, &film(0.0), &flat(i as f32));
        for y in 12..SIZE.0 - 12 {
            for x in 12..SIZE.1 - 12 {
                assert!(bits(&composed.painting, y, x) == bits(&strokes, y, x), "frame {i}, {y}, {x}");
            }
        }
        assert!(bits(&composed.painting, 1, 60) == [(i as f32).to_bits(); 4], "the border is new");
        assert!(composed.moved.iter().all(|&moved| moved == 0.0));
    }
}

#[test]
fn moving_areas_carry_their_strokes_for_some_frames() {
    const HOLD: usize = 3;
    let mut patchwork = patchwork(HOLD);
    let (mut kept, mut oldest) = (0, 0);
    for i in 0..12 {
        let composed = next(&mut patchwork, &film(1.5 * i as f32), &flat(i as f32));
        assert!(bits(&composed.painting, 50, 1) == [(i as f32).to_bits(); 4], "the border is new");
        for y in 20..SIZE.0 - 20 {
            for x in 30..SIZE.1 - 30 {
                // Where pieces meet, levels lie between.
                let age = i - level(&composed.painting, y, x).round() as usize;
                (kept, oldest) = (kept + usize::from(i > 3 && age > 0), oldest.max(age));
            }
        }
    }
    let share = kept as f32 / (8 * (SIZE.0 - 40) * (SIZE.1 - 60)) as f32;
    // All but one part in HOLD, except for pixels that move from one tile to another.
    assert!((0.45..0.8).contains(&share), "{share}");
    assert!((HOLD - 1..2 * HOLD - 1).contains(&oldest), "{oldest}");
    let mut anew = self::patchwork(1);
    for i in 0..4 {
        let composed = next(&mut anew, &film(1.5 * i as f32), &flat(i as f32));
        assert!(composed.painting == flat(i as f32), "a hold of one frame holds nothing");
    }
}

#[test]
fn strokes_move_as_the_film_does_and_stay_sharp() {
    let mut patchwork = patchwork(6);
    let strokes = |shift: f32| frame(SIZE, |y, x| 128.0 + 60.0 * (1.1 * (x + shift) + 0.7 * y).sin());
    for i in 0..4 {
        next(&mut patchwork, &film(0.75 * i as f32), &strokes(0.75 * i as f32));
    }
    let composed = next(&mut patchwork, &film(3.0), &strokes(3.0));
    let (mut sum, mut worst) = (0.0, 0f32);
    for y in 16..SIZE.0 - 16 {
        for x in 16..SIZE.1 - 16 {
            let off = (level(&composed.painting, y, x) - level(&strokes(3.0), y, x)).abs();
            (sum, worst) = (sum + off, worst.max(off));
        }
    }
    let mean = sum / ((SIZE.0 - 32) * (SIZE.1 - 32)) as f32;
    // Of an amplitude of 60; a tenth of a pixel off is 6.
    assert!(mean < 5.0 && worst < 30.0, "{mean} on average, {worst} at most");
}

#[test]
fn uncovered_areas_are_painted_anew() {
    let square = |left: f32| {
        frame(SIZE, move |y, x| {
            let inside = (24.0..72.0).contains(&y) && (left..left + 40.0).contains(&x);
            if inside { 255.0 - texture(1.7 * y, 1.7 * (x - left) + 400.0) } else { texture(y, x) }
        })
    };
    let mut patchwork = patchwork(6);
    next(&mut patchwork, &square(30.0), &flat(0.0));
    let composed = next(&mut patchwork, &square(42.0), &flat(255.0));
    let mean = |columns: std::ops::Range<usize>| {
        let levels = (34..62).flat_map(|y| columns.clone().map(move |x| (y, x)));
        levels.map(|(y, x)| level(&composed.painting, y, x)).sum::<f32>() / (28 * columns.len()) as f32
    };
    assert!(mean(33..40) > 170.0, "uncovered: {}", mean(33..40));
    assert!(mean(90..115) < 60.0, "background: {}", mean(90..115));
}

#[test]
fn a_new_scene_or_size_starts_over() {
    let mut patchwork = patchwork(3);
    assert!(!patchwork.follow(Pyramid::new(&film(0.0))));
    patchwork.keep(flat(0.0));
    assert!(patchwork.follow(Pyramid::new(&film(1.0))));
    patchwork.keep(flat(0.0));
    let other = frame(SIZE, |y, x| 255.0 - texture(1.3 * x + 500.0, 1.9 * y));
    assert!(!patchwork.follow(Pyramid::new(&other)));
    assert!(patchwork.compose(&flat(9.0)).painting == flat(9.0));
    patchwork.keep(flat(9.0));
    let small = FlowFrame::from_pixels((3, 2), vec![[50.0; 4]; 6]);
    assert!(!patchwork.follow(Pyramid::new(&small)));
    patchwork.keep(small.clone());
    assert!(patchwork.follow(Pyramid::new(&small)));
    patchwork.keep(small.clone());
    patchwork.reset();
    assert!(!patchwork.follow(Pyramid::new(&small)));
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut patchwork = patchwork(3);
            (0..4).map(|i| next(&mut patchwork, &film(0.8 * i as f32), &film(9.0 * i as f32)).painting).last()
        })
    };
    assert!(run(1) == run(3));
}
