//! Kills the program at random moments (SIGKILL, as when a machine crashes) and starts it again with the same command.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use impasto_trainer::random::{Purpose, generator};
use rand::RngExt;

use crate::fixture::Fixture;

/// Starts a training in `folder`. Its model card must not depend on the folder.
fn start(fixture: &Fixture, folder: &Path, steps: usize) -> Child {
    let file = |name: &str| fixture.path(name).into_os_string();
    Command::new(env!("CARGO_BIN_EXE_trainer"))
        .current_dir(folder)
        .args(["train", "--output", "style.safetensors", "--preset", "xs", "--size", "40", "--batch", "2"])
        .args(["--snapshot-every", "4", "--threads", "1", "--device", "cpu", "--resume", "--quiet"])
        .arg("--steps")
        .arg(steps.to_string())
        .arg("--style")
        .arg(file("style.png"))
        .arg("--photos")
        .arg(file("photos"))
        .arg("--loss-weights")
        .arg(file("vgg.safetensors"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills a run `kills` times at random moments of up to `longest`, and compares the final result.
fn survives(kills: usize, steps: usize, longest: Duration) {
    let fixture = Fixture::new();
    let [whole, killed] = ["whole", "killed"].map(|name| fixture.path(name));
    for folder in [&whole, &killed] {
        fs::create_dir(folder).unwrap();
    }
    assert!(start(&fixture, &whole, steps).wait().unwrap().success());
    let mut random = generator(4, Purpose::Noise, 1);
    for _ in 0..kills {
        let mut child = start(&fixture, &killed, steps);
        std::thread::sleep(longest.mul_f64(random.random()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(start(&fixture, &killed, steps).wait().unwrap().success());
    for name in ["style.safetensors", "style.run/snapshot.safetensors", "style.run/metrics.csv"] {
        assert!(fs::read(whole.join(name)).unwrap() == fs::read(killed.join(name)).unwrap(), "{name} differs");
    }
}

#[test]
fn a_run_killed_twice_ends_with_the_same_bytes() {
    survives(2, 12, Duration::from_millis(400));
}

#[test]
#[ignore = "needs a minute: kills a longer run ten times"]
fn a_run_killed_ten_times_ends_with_the_same_bytes() {
    survives(10, 120, Duration::from_secs(3));
}
