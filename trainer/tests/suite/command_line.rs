//! The command line: its exit codes and its errors.

use std::fs;
use std::process::{Command, ExitCode, Stdio};

use impasto_trainer::cli;

use crate::fixture::Fixture;

#[test]
fn a_training_runs_in_process_and_its_exit_code_gives_the_outcome() {
    let fixture = Fixture::new();
    let path = |name: &str| fixture.path(name).into_os_string().into_string().unwrap();
    let train = |steps: &str, more: &[&str]| {
        let mut words: Vec<String> = ["trainer", "train", "--preset", "xs", "--size", "40", "--batch", "1", "--quiet"]
            .map(str::to_owned)
            .to_vec();
        let files =
            ["--style", &path("style.png"), "--photos", &path("photos"), "--output", &path("style.safetensors")];
        words.extend(files.map(str::to_owned));
        words.extend(["--loss-weights", &path("vgg.safetensors"), "--steps", steps].map(str::to_owned));
        words.extend(more.iter().map(|&word| word.to_owned()));
        cli::run(words)
    };
    assert_eq!(train("2", &["--dtype", "f16"]), ExitCode::SUCCESS);
    assert_eq!(train("2", &[]), ExitCode::from(2), "there is a training already");
    assert_eq!(train("3", &["--resume", "--lr", "0.5"]), ExitCode::from(2), "with another learning rate");
    assert_eq!(train("3", &["--resume", "--restart"]), ExitCode::from(2), "one or the other");
    assert_eq!(train("3", &["--resume", "--threads", "1000000"]), ExitCode::from(2), "no machine has so many cores");
    assert_eq!(train("3", &["--resume", "--loader-threads", "1000000"]), ExitCode::from(2), "nor these");
    assert_eq!(train("3", &["--resume"]), ExitCode::SUCCESS);
    let report = fs::read_to_string(fixture.path("style.run/report.html")).unwrap();
    assert!(
        report.contains("Step 3 of 3, on 11 photos.") && report.contains("<svg") && report.contains("data:image/jpeg")
    );
    assert!(!report.contains("http"), "the report needs nothing but itself");
}

#[test]
fn a_mixture_of_two_styles_is_a_style_whose_card_records_how_it_was_made() {
    use impasto_common::model_file::StyleModel;

    let fixture = Fixture::new();
    let output = fixture.path("half.safetensors").into_os_string().into_string().unwrap();
    let interpolate = |from: &str, amount: &str| {
        cli::run([
            "trainer",
            "interpolate",
            "--from",
            from,
            "--to",
            "starry_night_video",
            "--amount",
            amount,
            "--output",
            &output,
            "-q",
        ])
    };
    assert_eq!(interpolate("no such style", "0.5"), ExitCode::from(1));
    assert_eq!(interpolate("starry_night", "half"), ExitCode::from(2));
    assert!(!fixture.path("half.safetensors").exists());
    assert_eq!(interpolate("starry_night", "0.5"), ExitCode::SUCCESS);
    let model = StyleModel::open(&fixture.path("half.safetensors")).unwrap();
    assert_eq!(model.card.name, "half");
    assert_eq!(model.card.licence.as_deref(), Some("CC0-1.0"));
    let command = model.card.command.unwrap();
    assert!(
        command.starts_with("trainer interpolate --from starry_night --to starry_night_video --amount 0.5"),
        "{command}"
    );
}

#[test]
fn an_error_names_the_file_and_says_what_to_do() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("empty")).unwrap();
    let run = |photos: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_trainer"))
            .current_dir(fixture.path(""))
            .args([
                "train",
                "--style",
                "style.png",
                "--output",
                "style.safetensors",
                "--loss-weights",
                "vgg.safetensors",
            ])
            .args(["--photos", photos])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.stdout.is_empty());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, talk) = run("empty");
    assert_eq!(code, Some(2));
    assert!(talk.starts_with("error: there are no photos in `empty`\nhint: JPEG, PNG, WebP,"), "{talk}");
    let (code, talk) = run("nowhere");
    assert_eq!(code, Some(1));
    assert!(talk.starts_with("error: cannot read folder `nowhere`: "), "{talk}");
}

#[cfg(unix)]
#[test]
fn photos_are_known_by_their_content_and_what_cannot_be_read_is_named_and_left_out() {
    let fixture = Fixture::new();
    let photos = fixture.path("photos");
    fs::rename(photos.join("more/11.jpg"), photos.join("more/11.HEIC")).unwrap();
    fs::rename(photos.join("more/10.jpg"), photos.join("more/10.jpe")).unwrap();
    fs::write(photos.join("more/IMG_1.heic"), b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf").unwrap();
    fs::write(photos.join("more/._9.jpg"), b"\0\x05\x16\x07").unwrap();
    fs::write(photos.join("README.txt"), b"no photo").unwrap();
    std::os::unix::fs::symlink("gone.jpg", photos.join("dangling.jpg")).unwrap();
    std::os::unix::fs::symlink("..", photos.join("more/up")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_trainer"))
        .current_dir(fixture.path(""))
        .args(["train", "--style", "style.png", "--photos", "photos", "--output", "style.safetensors"])
        .args(["--loss-weights", "vgg.safetensors", "--preset", "xs", "--size", "40", "--batch", "1", "--steps", "1"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let talk = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{talk}");
    for words in [
        "cannot read `photos/dangling.jpg`: it is a link to `gone.jpg`, which does not exist\n",
        "cannot read `photos/more/up`: it is a link to `photos`, the folder that contains it\n",
        "cannot read `photos/more/IMG_1.heic`: the picture's format, HEIC, is not supported; convert it first",
        "1 HEIC picture left out\n",
        "1 file with metadata of macOS (`._*`, `__MACOSX`) is left out\n",
    ] {
        assert!(talk.contains(words), "{words}: {talk}");
    }
    assert!(!talk.contains("README"), "{talk}");
    let report = fs::read_to_string(fixture.path("style.run/report.html")).unwrap();
    // Twelve photos, of which one is held out.
    assert!(report.contains("Step 1 of 1, on 11 photos."), "{talk}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_finishes_the_step_and_the_same_command_continues() {
    let fixture = Fixture::new();
    let train = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command
            .current_dir(fixture.path(""))
            .args([
                "train",
                "--style",
                "style.png",
                "--output",
                "style.safetensors",
                "--loss-weights",
                "vgg.safetensors",
            ])
            .args([
                "--photos", "photos", "--preset", "xs", "--size", "40", "--batch", "1", "--steps", "100000", "--resume",
            ])
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    for resumed in [false, true] {
        let child = train();
        // The first contact sheet or, later, some steps: by then the handler is in place.
        while !fixture.path("style.run/report.html").exists() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        let talk = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(130), "{talk}");
        assert!(
            talk.contains("error: stopped after ") && talk.contains("hint: the same command with `--resume`"),
            "{talk}"
        );
        assert_eq!(talk.contains(", from step "), resumed, "{talk}");
    }
}
