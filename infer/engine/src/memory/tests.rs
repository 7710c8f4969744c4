use super::*;
use impasto_common::network::{Preset, StyleNetConfig};

fn plan(config: StyleNetConfig, picture: (usize, usize), memory: u64) -> Result<MemoryPlan> {
    let network = config.network();
    MemoryPlan::new(&network, &Schedule::new(&network), picture, RowsFacts { own_size: picture, own_bytes: 0 }, memory)
}

#[test]
fn less_memory_keeps_less() {
    let places = |memory| {
        let plan = plan(Preset::L.into(), (3000, 4000), memory)?;
        Ok::<_, Error>([0, 1, 2].map(|layer| plan.results[layer].place))
    };
    assert_eq!(places(4 << 30).unwrap(), [Place::Whole, Place::Whole, Place::Whole]);
    assert_eq!(places(2 << 30).unwrap(), [Place::Window, Place::Whole, Place::Whole]);
    assert_eq!(places(256 << 20).unwrap(), [Place::Window, Place::Window, Place::File]);
    let error = places(1 << 20).unwrap_err();
    assert!(error.to_string().starts_with("1 MiB of memory are not enough for a picture of 4000x3000"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.ends_with("MiB")));
}

#[test]
fn the_memory_that_an_error_asks_for_suffices_and_less_does_not() {
    for preset in Preset::ALL {
        let picture = (3648, 5472);
        let network = StyleNetConfig::from(preset).network();
        let rows = RowsFacts { own_size: (3640, 5464), own_bytes: 0 };
        let plan = |memory| MemoryPlan::new(&network, &Schedule::new(&network), picture, rows, memory);
        let error = plan(100 << 10).unwrap_err();
        assert_eq!(error.to_string(), "100 KiB of memory are not enough for a picture of 5464x3640 pixels");
        let needed = error.hint().unwrap().strip_prefix("painting it needs at least ").unwrap();
        let needed: u64 = needed.strip_suffix(" MiB").unwrap().parse().unwrap();
        assert!(plan(needed << 20).is_ok() && plan((needed - 1) << 20).is_err(), "{preset:?}: {needed} MiB");
        assert!(needed <= 48, "{preset:?}: {needed} MiB");
    }
}

#[test]
fn a_hundred_megapixels_fit_a_gibibyte() {
    for preset in Preset::ALL {
        plan(preset.into(), (8660, 11547), 600 << 20).unwrap();
    }
}

/// Rows at a time and bytes of a plan for a network of the trainer, worked out by hand for its shape alone: three layers
/// down, residual blocks, two layers up, nine parts of each colour.
fn by_hand(config: StyleNetConfig, picture: (usize, usize), places: [Place; 3], band: usize) -> ([usize; 6], u64) {
    let [first, second, trunk] = places;
    let (c1, half) = (config.channels, |(h, w): (usize, usize)| (h.div_ceil(2), w.div_ceil(2)));
    let (quarter, double) = (half(half(picture)), |(h, w): (usize, usize)| (2 * h, 2 * w));
    let (up, top) = (double(quarter), double(double(quarter)));
    // Four rows of the trunk are computed together.
    let together = band.max(4);
    let rows = |place: Place, below: Place, height: usize, band: usize| {
        if place == Place::Whole && below == Place::Whole { height.next_multiple_of(4) } else { band }
    };
    let output_rows = ((1usize << 21) / (27 * picture.1)).clamp(16, 512).next_multiple_of(4);
    let bands = [
        if first == Place::Whole { 256 } else { 4 * together },
        rows(second, first, half(picture).0, 2 * together),
        rows(trunk, second, quarter.0, together),
        rows(second, trunk, up.0, (2 * band).max(4)),
        rows(first, second, top.0, 4 * band),
        if first == Place::Whole { output_rows } else { 4 * band },
    ];
    let (width, trunk_floats) = (top.1 + 8, quarter.0 * quarter.1 * 4 * c1);
    let kept = |place, floats: usize| if place == Place::Whole { floats } else { 0 };
    let large = [kept(first, top.0 * width * c1), kept(second, up.0 * up.1 * 2 * c1)];
    let trunks = 3 - large.iter().filter(|&&floats| floats > 0).count();
    let results = large.iter().sum::<usize>() + trunks * kept(trunk, trunk_floats);
    let (band, output) = (bands[0].div_ceil(4), bands[5]);
    let window = |place, rows: usize| if place == Place::Window { rows } else { 0 };
    let file = |rows: usize| if trunk == Place::File { rows } else { 0 };
    let down =
        3 * (4 * band + 16) + c1 * (window(first, 4 * band + 8) + window(second, 2 * band + 8) + file(3 * bands[2]));
    let up = 27 * (output + 12)
        + 3 * output
        + c1 * (window(first, output + 16) + window(second, output / 2 + 12) + file(bands[2] + 8));
    // Where results are in files, nothing is kept from the way down to the way up.
    let windows = if trunk == Place::File { down.max(up) } else { down + up };
    (bands, 4 * (results + windows * width) as u64)
}

#[test]
fn the_trainers_networks_have_the_plans_worked_out_by_hand() {
    use Place::{File, Whole, Window};
    for config in Preset::ALL.map(StyleNetConfig::from) {
        let network = config.network();
        let (schedule, last) = (Schedule::new(&network), network.layers.len() - 1);
        for picture in [(64, 64), (83, 57), (512, 512), (720, 1280), (1081, 1919), (3000, 4000), (8660, 11547)] {
            for (places, band) in [
                ([Whole, Whole, Whole], 16),
                ([Window, Whole, Whole], 16),
                ([Window, Window, Whole], 16),
                ([Window, Window, File], 16),
                ([Window, Window, File], 8),
                ([Window, Window, File], 4),
                ([Window, Window, File], 2),
                ([Window, Window, File], 1),
            ] {
                let plan = MemoryPlan::with(&network, &schedule, picture, &places, band).unwrap();
                let (bands, bytes) = by_hand(config, picture, places, band);
                let up = last - 2;
                assert_eq!(plan.bands[..3], bands[..3], "{config:?} {picture:?} {places:?}");
                assert!(plan.bands[3..up].iter().all(|&rows| rows == bands[2]));
                assert_eq!(plan.bands[up..], bands[3..]);
                assert_eq!(plan.bytes(), bytes, "{config:?} {picture:?} {places:?}");
            }
        }
    }
}

#[test]
fn plans_are_tried_from_the_fastest_to_the_smallest() {
    use Place::{File, Whole, Window};
    let places: Vec<_> = candidates(2).collect();
    assert_eq!(places[0], (vec![Whole; 3], 16));
    assert_eq!(places[2], (vec![Window, Window, Whole], 16));
    assert_eq!(places[3..].iter().map(|(_, band)| *band).collect::<Vec<_>>(), [16, 8, 4, 2, 1]);
    assert_eq!(places[3].0, [Window, Window, File]);
    assert_eq!(candidates(0).map(|(places, _)| places[0]).collect::<Vec<_>>(), [Whole, File, File, File, File, File]);
}
