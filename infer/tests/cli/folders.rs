//! Many pictures, folders, pipes.

use std::fs;

use crate::studio::{STYLE, Studio, photo};

#[test]
fn a_folders_tree_names_and_formats_are_kept() {
    let studio = Studio::new();
    for name in ["in/a.jpg", "in/b/c.png", "in/b/d/e.webp"] {
        studio.save(name, photo(9, 8));
    }
    studio.write("in/b/notes.txt", b"not a picture, and not looked at");
    let run = studio.stylize("in -o out");
    assert_eq!(studio.files("out"), ["a.jpg", "b/c.png", "b/d/e.webp"]);
    assert!(run.stderr.starts_with("painted 3 of 3 in "), "{}", run.stderr);
    assert!(run.stdout.is_empty());
    studio.stylize("in -o png --format png");
    assert_eq!(studio.files("png"), ["a.png", "b/c.png", "b/d/e.png"]);
}

/// The first bytes of files of formats that we do not read.
const HEIC: &[u8] = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf";
const AVIF: &[u8] = b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf";

#[test]
fn what_can_be_read_is_painted_whatever_its_name_and_the_rest_is_named_with_its_format() {
    let studio = Studio::new();
    studio.save("photo.jpg", photo(9, 8));
    let jpeg = fs::read(studio.path("photo.jpg")).unwrap();
    for name in ["a.jpg", "a.jpe", "b.jfif", "UPPER.JPG", "IMG_1.HEIC", "IMG_1.jpg", "no ending", "x.dat", "clip.mov"] {
        studio.write(&format!("in/{name}"), &jpeg);
    }
    for (name, bytes) in [
        ("IMG_2.HEIC", HEIC),
        ("IMG_3.heic", HEIC),
        ("c.avif", AVIF),
        ("d.jp2", b"\0\0\0\x0cjP  \r\n\x87\n"),
        ("e.NEF", b"II*\0\x08\0\0\0"),
        ("f.cr3", b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom"),
        ("g.psd", b"8BPS\0\x01"),
        ("h.svg", b"<svg xmlns="),
        ("looks like.jpg", AVIF),
        ("README.txt", b"BMW"),
        ("IMG_2.xmp", b"<x:xmpmeta>"),
        ("Thumbs.db", b"\xd0\xcf\x11\xe0"),
        (".DS_Store", b"\0\0\0\x01Bud1"),
        ("._a.jpg", b"\0\x05\x16\x07"),
        ("__MACOSX/in/._a.jpg", b"\0\x05\x16\x07"),
    ] {
        studio.write(&format!("in/{name}"), bytes);
    }
    let run = studio.run(&format!("stylize in --style {STYLE} -o out"));
    assert_eq!(run.code, Some(1));
    let painted =
        ["IMG_1.HEIC.jpg", "IMG_1.jpg", "UPPER.JPG", "a.jpe", "a.jpg", "b.jfif", "clip.mov.jpg", "no ending", "x.dat"];
    assert_eq!(studio.files("out"), painted);
    for name in painted {
        assert_eq!(
            image::guess_format(&fs::read(studio.path(format!("out/{name}"))).unwrap()).unwrap(),
            image::ImageFormat::Jpeg
        );
    }
    for (name, format, hint) in [
        ("IMG_2.HEIC", "HEIC", "heif-convert"),
        ("IMG_3.heic", "HEIC", "heif-convert"),
        ("c.avif", "AVIF", "avifdec"),
        ("looks like.jpg", "AVIF", "avifdec"),
        ("d.jp2", "JPEG 2000", "opj_decompress"),
        ("e.NEF", "camera raw", "darktable"),
        ("f.cr3", "camera raw", "darktable"),
        ("g.psd", "PSD", "export"),
        ("h.svg", "SVG", "rsvg-convert"),
    ] {
        let path = std::path::Path::new("in").join(name);
        let error =
            format!("error: cannot paint `{}`: the picture's format, {format}, is not supported\n", path.display());
        assert!(run.stderr.contains(&error), "{error}{}", run.stderr);
        assert!(run.stderr.contains(hint), "{hint}: {}", run.stderr);
    }
    assert_eq!(run.stderr.matches("heif-convert").count(), 1, "a hint is printed once: {}", run.stderr);
    assert!(run.stderr.contains("note: 2 files with metadata of macOS (`._*`, `__MACOSX`) are left out\n"));
    let summary = run.stderr.lines().last().unwrap();
    assert!(summary.starts_with("painted 9 of 18 in "), "{summary}");
    let counts = "; 2 HEIC, 2 AVIF, 1 JPEG 2000, 2 camera raw, 1 PSD and 1 SVG pictures cannot be read";
    assert!(summary.ends_with(counts), "{summary}");
    for name in ["README", "xmp", "Thumbs", "DS_Store", "no picture"] {
        assert!(!run.stderr.contains(name), "{name}: {}", run.stderr);
    }
}

#[test]
fn a_picture_that_cannot_be_read_is_called_by_its_format_where_it_is_named_alone() {
    let studio = Studio::new();
    studio.write("IMG_2.HEIC", HEIC);
    studio.write("f.cr3", b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom");
    for output in ["out.png", "out/"] {
        let run = studio.run(&format!("stylize IMG_2.HEIC --style {STYLE} -o {output}"));
        assert_eq!(run.code, Some(1));
        let error =
            "error: cannot read `IMG_2.HEIC`: the picture's format, HEIC, is not supported\nhint: convert it first";
        assert!(run.stderr.starts_with(error), "{}", run.stderr);
    }
    let run = studio.run(&format!("stylize f.cr3 --style {STYLE} -o out.png"));
    assert!(run.stderr.contains("`f.cr3`: the picture's format, camera raw, is not supported"), "{}", run.stderr);
    let run = studio.pipe(&format!("stylize - --style {STYLE} -o -"), HEIC);
    let error = "cannot paint standard input: the picture's format, HEIC, is not supported";
    assert!(run.stderr.contains(error), "{}", run.stderr);
    fs::create_dir(studio.path("in")).unwrap();
    fs::rename(studio.path("IMG_2.HEIC"), studio.path("in/IMG_2.HEIC")).unwrap();
    let run = studio.run(&format!("stylize in --style {STYLE} -o out"));
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("HEIC, is not supported") && !run.stderr.contains("no picture"), "{}", run.stderr);
}

#[test]
fn names_that_differ_in_their_endings_alone_do_not_become_one_painting() {
    let studio = Studio::new();
    studio.save("in/a.jpg", photo(9, 8));
    fs::copy(studio.path("in/a.jpg"), studio.path("in/a.jpe")).unwrap();
    studio.stylize("in -o out");
    assert_eq!(studio.files("out"), ["a.jpe", "a.jpg"]);
    studio.stylize("in/a.jpe -o single.jpe");
    assert_eq!(fs::read(studio.path("single.jpe")).unwrap(), fs::read(studio.path("out/a.jpe")).unwrap());
    let run = studio.run(&format!("stylize in --style {STYLE} -o png --format png"));
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("would both be painted into"), "{}", run.stderr);
    assert!(!studio.path("png").exists());
}

#[test]
#[cfg(unix)]
fn one_bad_entry_does_not_stop_a_folder() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let studio = Studio::new();
    studio.save("in/a.png", photo(9, 8));
    studio.save("in/z/b.png", photo(9, 8));
    symlink("gone.jpg", studio.path("in/dangling.jpg")).unwrap();
    symlink("..", studio.path("in/z/up")).unwrap();
    symlink("circle.png", studio.path("in/circle.png")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(studio.path("in/fifo.png")).status().unwrap().success());
    let line = format!("stylize in --style {STYLE} -o out");
    let run = studio.run(&line);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert_eq!(studio.files("out"), ["a.png", "z/b.png"]);
    for words in [
        "error: cannot read `in/dangling.jpg`: it is a link to `gone.jpg`, which does not exist\n",
        "error: cannot read `in/circle.png`: Too many levels of symbolic links",
        "error: cannot read `in/z/up`: it is a link to `in`, the folder that contains it\n",
        "error: cannot read `in/fifo.png`: it is a pipe, not a file\n",
        "painted 2 of 6 in ",
    ] {
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
    // Nothing is forbidden to root.
    let (file, folder) = (studio.path("in/a.png"), studio.path("in/z"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o0)).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o0)).unwrap();
    if fs::read(&file).is_err() {
        studio.save("in/c.png", photo(9, 8));
        let run = studio.run(&line);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains("cannot read `in/a.png`: Permission denied"), "{}", run.stderr);
        assert!(run.stderr.contains("cannot read `in/z`: Permission denied"), "{}", run.stderr);
        assert!(studio.path("out/c.png").exists());
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Inputs that are shared apart from the repository.
#[test]
fn the_shared_folder_of_odd_names_is_painted_as_far_as_it_can_be_read() {
    let cases = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases/folder");
    if !cases.exists() {
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        {
            eprintln!("skipped: there is no {}", cases.display());
        }
        return;
    }
    let studio = Studio::new();
    let run: crate::studio::Run = studio
        .command([
            "stylize".as_ref(),
            cases.as_os_str(),
            "--style".as_ref(),
            STYLE.as_ref(),
            "-o".as_ref(),
            "out".as_ref(),
        ])
        .output()
        .unwrap()
        .into();
    assert_eq!(run.code, Some(1));
    assert_eq!(studio.files("out"), ["UPPER.JPG", "jfif.jfif", "photo.jpe"]);
    assert!(run.stderr.contains("IMG_0002.HEIC`: the picture's format, HEIC, is not supported"), "{}", run.stderr);
    assert!(run.stderr.contains("photo.avif`: the picture's format, AVIF, is not supported"), "{}", run.stderr);
}

#[test]
fn a_bad_picture_is_reported_and_the_others_are_painted() {
    let studio = Studio::new();
    studio.save("in/a.png", photo(9, 8));
    studio.save("in/b.jpg", photo(64, 64));
    studio.save("in/c.png", photo(9, 8));
    let whole = fs::read(studio.path("in/b.jpg")).unwrap();
    studio.write("in/b.jpg", &whole[..whole.len() / 2]);
    let run = studio.run(&format!("stylize in --style {STYLE} -o out --quiet"));
    assert_eq!(run.code, Some(1));
    assert_eq!(studio.files("out"), ["a.png", "c.png"]);
    let lines: Vec<_> = run.stderr.lines().collect();
    let bad = std::path::Path::new("in").join("b.jpg");
    assert_eq!(
        lines[0],
        format!("error: cannot paint `{}`: the file is cut short: the last 40 of 64 rows are missing", bad.display())
    );
    assert_eq!(lines[1], "hint: copy or download it again");
    let run = studio.run(&format!("stylize in nowhere.png --style {STYLE} -o out"));
    assert!(run.stderr.contains("`nowhere.png`"), "{}", run.stderr);
    assert!(run.stderr.contains("painted 2 of 4 in "), "{}", run.stderr);
}

#[test]
fn pictures_painted_together_equal_those_painted_singly_and_bad_ones_are_reported_in_order() {
    let studio = Studio::new();
    // Sizes differ, so that each of reading, painting and writing is sometimes the slowest.
    let sizes = [(400, 300), (9, 8), (30, 200), (1, 1), (250, 250), (64, 5), (500, 20), (16, 16), (90, 60), (8, 300)];
    let formats = ["png", "jpg", "webp", "tiff", "bmp", "gif"];
    let name = |i: usize| format!("{i}.{}", formats[i % formats.len()]);
    for (i, (width, height)) in sizes.into_iter().enumerate() {
        studio.save(&format!("in/{}", name(i)), photo(width, height));
    }
    for bad in ["0a.png", "4a.png", "4b.jpg", "99.png"] {
        studio.write(&format!("in/{bad}"), b"this is no picture, whatever its name says");
    }
    for threads in [1, 2, 5] {
        let line = format!("stylize in --style {STYLE} -o out{threads} --threads {threads} --max-size 300");
        let run = studio.run(&line);
        assert_eq!(run.code, Some(1));
        let errors: Vec<_> = run.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 4, "{}", run.stderr);
        for (error, bad) in errors.iter().zip(["0a.png", "4a.png", "4b.jpg", "99.png"]) {
            assert!(error.contains(bad), "{bad} is not told in its turn: {}", run.stderr);
        }
        assert!(run.stderr.lines().last().unwrap().starts_with("painted 10 of 14 in "), "{}", run.stderr);
        assert_eq!(studio.files(&format!("out{threads}")).len(), sizes.len());
        for i in 0..sizes.len() {
            let together = fs::read(studio.path(format!("out{threads}/{}", name(i)))).unwrap();
            let alone = format!("alone/{}", name(i));
            if threads == 1 {
                studio.stylize(&format!("in/{} -o {alone} --max-size 300", name(i)));
            }
            assert!(together == fs::read(studio.path(&alone)).unwrap(), "{} with {threads} threads", name(i));
        }
    }
}

#[test]
fn a_painting_that_cannot_be_written_does_not_stop_the_others() {
    let studio = Studio::new();
    for i in 0..6 {
        studio.save(&format!("in/{i}/a.png"), photo(30, 20));
    }
    // Files are in the places of the folders `1` and `4`.
    studio.write("out/1", b"a file");
    studio.write("out/4", b"a file");
    let run = studio.run(&format!("stylize in --style {STYLE} -o out"));
    assert_eq!(run.code, Some(1));
    assert_eq!(run.stderr.matches("error: cannot write ").count(), 2, "{}", run.stderr);
    assert!(run.stderr.contains("painted 4 of 6 in "), "{}", run.stderr);
    assert_eq!(studio.files("out"), ["0/a.png", "1", "2/a.png", "3/a.png", "4", "5/a.png"]);
}

#[test]
fn an_output_folder_below_the_input_is_not_painted_again() {
    let studio = Studio::new();
    studio.save("in/a.png", photo(9, 8));
    for _run in 0..2 {
        studio.stylize("in -o in/painted");
        assert_eq!(studio.files("in"), ["a.png", "painted/a.png"]);
    }
}

#[test]
fn an_input_is_never_replaced() {
    let studio = Studio::new();
    studio.save("in/a.png", photo(9, 8));
    let before = fs::read(studio.path("in/a.png")).unwrap();
    for line in ["in/a.png -o in/a.png", "in/a.png -o in", "in -o in", "in/a.png -o in/../in/a.png", "in -o ./in/"] {
        let run = studio.run(&format!("stylize {line} --style {STYLE}"));
        assert_eq!(run.code, Some(2), "{line}: {}", run.stderr);
        assert!(run.stderr.contains("is an input and would be replaced"), "{line}: {}", run.stderr);
        assert_eq!(fs::read(studio.path("in/a.png")).unwrap(), before);
    }
}

#[test]
fn an_input_is_never_replaced_through_a_missing_folder() {
    let studio = Studio::new();
    studio.save("in/a.png", photo(9, 8));
    let before = fs::read(studio.path("in/a.png")).unwrap();
    for line in [
        "in/a.png -o new/../in/a.png",
        "in/a.png -o new/../in",
        "in/a.png -o new/newer/../../in/",
        "in -o new/../in",
        "in -o in/new/..",
    ] {
        let run = studio.run(&format!("stylize {line} --style {STYLE}"));
        assert_eq!(run.code, Some(2), "{line}: {}", run.stderr);
        assert!(run.stderr.contains("is an input and would be replaced"), "{line}: {}", run.stderr);
        assert_eq!(fs::read(studio.path("in/a.png")).unwrap(), before);
    }
    studio.stylize("in/a.png -o new/../b.png");
    assert!(studio.path("b.png").exists());
}

#[test]
fn a_folder_is_painted_into_the_one_above_it() {
    let studio = Studio::new();
    studio.save("in/a.png", photo(9, 8));
    studio.stylize("in -o .");
    assert!(studio.path("a.png").exists());
}

#[test]
#[cfg(unix)]
fn a_device_or_pipe_is_painted_into_and_not_replaced() {
    use std::os::unix::fs::FileTypeExt;
    let studio = Studio::new();
    studio.save("in.png", photo(9, 8));
    studio.stylize("in.png -o out.png");
    let painting = fs::read(studio.path("out.png")).unwrap();
    studio.stylize("in.png -o /dev/null --format png");
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    let run = studio.stylize("in.png -o /dev/stdout --format png");
    assert!(run.stdout == painting);
    let fifo = studio.path("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for (format, expected) in [("png", &painting), ("tiff", &studio_tiff(&studio))] {
        let reading = std::thread::spawn({
            let fifo = fifo.clone();
            move || fs::read(fifo).unwrap()
        });
        studio.stylize(&format!("in.png -o fifo --format {format}"));
        assert!(reading.join().unwrap() == *expected, "{format}");
        assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());
    }
}

#[cfg(unix)]
fn studio_tiff(studio: &Studio) -> Vec<u8> {
    studio.stylize("in.png -o out.tiff");
    fs::read(studio.path("out.tiff")).unwrap()
}

#[test]
#[cfg(unix)]
fn a_link_in_place_of_a_temporary_file_is_not_followed() {
    let studio = Studio::new();
    studio.save("in.png", photo(9, 8));
    studio.write("victim", b"untouched");
    fs::create_dir(studio.path("out")).unwrap();
    let mut command = studio.command(["stylize", "in.png", "--style", STYLE, "-o", "out/a.png"]);
    let child = command.spawn().unwrap();
    // The temporary name that earlier versions used.
    std::os::unix::fs::symlink("../victim", studio.path(format!("out/.a.png.{}.tmp", child.id()))).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(fs::read(studio.path("victim")).unwrap(), b"untouched");
    let long = format!("{}.png", "n".repeat(251));
    studio.stylize(&format!("in.png -o {long}"));
    assert!(studio.path(&long).exists());
}

#[test]
fn two_pictures_are_never_painted_into_one_file() {
    let studio = Studio::new();
    studio.save("x/a.png", photo(9, 8));
    studio.save("y/a.png", photo(9, 8));
    let run = studio.run(&format!("stylize x y --style {STYLE} -o out"));
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("would both be painted into"), "{}", run.stderr);
    let run = studio.run(&format!("stylize x/a.png y/a.png --style {STYLE} -o x/a.png"));
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("several inputs cannot be painted into one file"), "{}", run.stderr);
    assert!(!studio.path("out").exists());
}

#[test]
fn existing_paintings_are_replaced_or_skipped_as_requested() {
    let studio = Studio::new();
    studio.save("in/a.png", photo(9, 8));
    studio.save("in/b.png", photo(9, 8));
    studio.write("out/a.png", b"old");
    let run = studio.stylize("in -o out --skip-existing");
    assert_eq!(fs::read(studio.path("out/a.png")).unwrap(), b"old");
    assert!(run.stderr.contains("painted 1 of 1 in "), "{}", run.stderr);
    assert!(run.stderr.contains("1 already existed"), "{}", run.stderr);
    studio.stylize("in -o out");
    assert_eq!(studio.open("out/a.png"), studio.open("out/b.png"));
}

#[test]
fn one_picture_goes_into_a_folder_that_exists_or_is_written_as_one() {
    let studio = Studio::new();
    studio.save("a.png", photo(9, 8));
    fs::create_dir(studio.path("there")).unwrap();
    studio.stylize("a.png -o there");
    studio.stylize("a.png -o new/");
    assert_eq!((studio.files("there"), studio.files("new")), (vec!["a.png".into()], vec!["a.png".into()]));
}

#[test]
fn pipes_carry_only_the_painting() {
    let studio = Studio::new();
    studio.save("in.webp", photo(9, 8));
    studio.stylize("in.webp -o out.webp");
    let bytes = fs::read(studio.path("in.webp")).unwrap();
    let painting = fs::read(studio.path("out.webp")).unwrap();
    // By default, the painting has the format of its picture.
    assert!(studio.pipe(&format!("stylize - --style {STYLE} -o -"), &bytes).stdout == painting);
    assert!(studio.stylize("in.webp -o -").stdout == painting);
    let png = studio.pipe(&format!("stylize - --style {STYLE} -o - --format png"), &bytes).stdout;
    assert_eq!(image::guess_format(&png).unwrap(), image::ImageFormat::Png);
    let run = studio.pipe(&format!("stylize - --style {STYLE} -o piped.webp"), &bytes);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(fs::read(studio.path("piped.webp")).unwrap() == painting);
    let run = studio.pipe(&format!("stylize - --style {STYLE} -o -"), b"");
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("cannot paint standard input: the file is empty"), "{}", run.stderr);
}
