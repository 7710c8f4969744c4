//! Errors: their messages, their exit codes, and the files left behind.

use crate::studio::{Run, STYLE, Studio, photo};

/// Expects an exit code and words on standard error, nothing on standard output, and no files other than the inputs.
fn refused(studio: &Studio, line: &str, code: i32, words: &[&str]) {
    let run = studio.run(line);
    assert_eq!(run.code, Some(code), "{line}: {}", run.stderr);
    assert!(run.stderr.starts_with("error: "), "{line}: {}", run.stderr);
    for word in words {
        assert!(run.stderr.contains(word), "{line}: no `{word}` in: {}", run.stderr);
    }
    assert!(run.stdout.is_empty());
    assert!(!studio.files("").iter().any(|file| file.contains("out") || file.contains("tmp")), "{line}");
}

#[test]
fn invalid_arguments_end_with_exit_code_2() {
    let studio = Studio::new();
    studio.save("in.png", photo(9, 8));
    for (line, word) in [
        ("paint in.png", "paint"),
        ("stylize in.png", "--output"),
        ("stylize --output out.png", "<INPUT>"),
        ("stylize in.png -o out.png --strength 1.5", "from 0 to 1"),
        ("stylize in.png -o out.png --strength nan", "from 0 to 1"),
        ("stylize in.png -o out.png --quality 0", "--quality"),
        ("stylize in.png -o out.png --max-size 0", "--max-size"),
        ("stylize in.png -o out.png --margin 260", "expected `auto`, or a number of pixels up to 256"),
        ("stylize in.png -o out.png --style style.safetensors --margin 10", "hint: take 8 or 12"),
        ("stylize in.png -o out.png --format heic", "expected `jpg`"),
        ("stylize in.png -o out.png --device gpu", "expected `auto`"),
        (
            "stylize in.png -o out.xyz --style style.safetensors",
            "does not have the extension of a supported picture or clip format",
        ),
        ("stylize in.png in.png -o -", "there can be only one input"),
        ("stylize . -o -", "standard output"),
    ] {
        refused(&studio, line, 2, &[word]);
    }
}

#[test]
fn an_unsupported_precision_is_refused_with_a_supported_one() {
    let studio = Studio::new();
    studio.save("in.png", photo(9, 8));
    let words = ["cannot compute with `--precision f16`", "hint: use `f32`"];
    refused(&studio, "stylize in.png -o out.png --device cpu --precision f16", 2, &words);
    refused(&studio, "bench --device cpu --precision f16", 2, &words);
    refused(&studio, "serve --device cpu --precision f16 --listen 127.0.0.1:0", 2, &words);
    refused(&studio, "stylize in.png -o out.png --precision f8", 2, &["expected `f32`, `bf16` or `f16`"]);
}

/// A build with the feature reports that the machine has no GPU. On a machine with a GPU, nothing is refused.
#[cfg(not(feature = "cuda"))]
#[test]
fn a_missing_gpu_that_was_requested_is_named() {
    let studio = Studio::new();
    studio.save("in.png", photo(9, 8));
    for command in ["stylize in.png -o out.png", "bench", "serve --listen 127.0.0.1:0"] {
        refused(&studio, &format!("{command} --device cuda:1"), 1, &["`--device cuda:1`", "hint: use `--device cpu`"]);
    }
}

#[test]
fn an_unknown_style_lists_the_known_ones() {
    let studio = Studio::new();
    studio.save("in.png", photo(9, 8));
    let known = impasto_common::styles::bundled_names();
    let words = ["neither a bundled style nor a file named `nope`", "hint: bundled styles: ", &known];
    refused(&studio, "stylize in.png -o out.png --style nope", 2, &words);
    refused(&studio, "info nope", 2, &words);
}

#[test]
fn a_file_that_is_not_a_style_is_named_with_the_cause() {
    let studio = Studio::new();
    studio.save("in.png", photo(9, 8));
    let whole = std::fs::read(studio.path(STYLE)).unwrap();
    studio.write("cut", &whole[..whole.len() - 1]);
    studio.write("empty", b"");
    studio.write("text", b"no weights at all");
    studio.write("page", b"<!DOCTYPE html>\n<html><head>");
    studio.write("pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0");
    studio.write("picture", b"\x89PNG\r\n\x1a\n");
    for (style, cause) in [
        ("cut", "damaged or cut short"),
        ("empty", "the file is empty"),
        ("page", "an HTML page\nhint: download the file itself"),
        ("pointer", "a Git LFS pointer, which only says where the file is\nhint: run `git lfs pull`"),
        ("picture", "a PNG picture\nhint: a picture is not a style model"),
        ("text", "neither a safetensors file nor a PyTorch file"),
        (".", "it is a folder"),
    ] {
        let action = format!("cannot load style `{style}`: ");
        refused(&studio, &format!("stylize in.png -o out.png --style {style}"), 1, &[&action, cause]);
    }
}

/// A file with such a name may come from an archive and reach the program through a pattern such as `*`.
#[cfg(unix)]
#[test]
fn control_characters_of_a_file_name_are_escaped_for_the_terminal() {
    let studio = Studio::new();
    let name = "x\u{1b}[2J\nerror: forged";
    studio.write(name, b"neither a picture nor a model");
    for words in [
        &["info", name][..],
        &["stylize", name, "-o", "y.png", "--style", STYLE],
        &["stylize", name, "-o", "y.png", "--format", name],
        &["stylize", "-o", "y.png", "--\u{1b}[2J"],
    ] {
        let run: Run = studio.command(words).output().unwrap().into();
        assert_ne!(run.code, Some(0), "{words:?}");
        assert!(!run.stderr.chars().any(|c| c.is_control() && c != '\n'), "{:?}", run.stderr);
        assert!(run.stderr.contains(r"\u001b[2J"), "{}", run.stderr);
    }
    let run: Run = studio.command(["info", name]).output().unwrap().into();
    assert!(run.stderr.starts_with(r"error: cannot load style `x\u001b[2J\nerror: forged`"), "{}", run.stderr);
}

#[test]
fn a_file_that_is_not_a_picture_is_named_with_the_cause() {
    let studio = Studio::new();
    studio.write("text.jpg", b"this is no picture, whatever its name says");
    std::fs::create_dir(studio.path("folder")).unwrap();
    for (input, words) in [
        (
            "text.jpg -o out.png",
            ["cannot read `text.jpg`: the file is not a picture", "hint: supported formats are JPEG, PNG"],
        ),
        ("nowhere.jpg -o out.png", ["cannot read `nowhere.jpg`", "painted 0 of 1"]),
        ("folder -o out", ["there are no pictures or clips in folder `folder`", "painted 0 of 1"]),
    ] {
        refused(&studio, &format!("stylize {input} --style {STYLE}"), 1, &words);
    }
}

#[test]
fn a_folder_that_cannot_be_written_to_is_an_error_that_leaves_nothing() {
    let studio = Studio::new();
    studio.save("in.png", photo(9, 8));
    studio.write("file", b"not a folder");
    refused(&studio, &format!("stylize in.png -o file/x.png --style {STYLE}"), 1, &["cannot write `file"]);
}

#[test]
fn a_picture_too_long_for_its_format_is_refused_with_a_hint() {
    let studio = Studio::new();
    studio.save("in.png", photo(16_500, 1));
    let line = format!("stylize in.png -o out.webp --style {STYLE}");
    refused(&studio, &line, 1, &["at most 16383 pixels wide and high, not 16500", "--max-size"]);
}
