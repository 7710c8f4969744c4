//! What a clip holds beside its video: kept where the output can hold it, and named where it cannot.

use std::fs;
use std::path::PathBuf;

use crate::studio::{STYLE, Studio, photo};
use crate::video::{NTSC, TONE, ffmpeg, ffprobe, studio};

/// A small input that is kept beside the repository; `None`, and a word on standard error, where it is absent.
fn shared(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases/video").join(name);
    if path.exists() {
        return Some(path);
    }
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    {
        eprintln!("skipped: `{name}` is not here");
    }
    None
}

/// The codecs and cover marks of a file's streams.
fn streams(studio: &Studio, name: &str) -> Vec<String> {
    let path = studio.path(name);
    let videos = ffprobe(&path, "stream=codec_name:stream_disposition=attached_pic", "v");
    videos.into_iter().chain(ffprobe(&path, "stream=codec_name", "a")).collect()
}

#[test]
fn a_cover_picture_is_kept_to_the_byte_beside_all_other_tags() {
    let Some(studio) = studio() else { return };
    studio.save("cover.png", photo(20, 30));
    let cover = fs::read(studio.path("cover.png")).unwrap();
    let attach = "-attach cover.png -metadata:s:t mimetype=image/png -metadata:s:t filename=front.png";
    ffmpeg(
        &studio,
        &format!(
            "{NTSC} {TONE} -t 0.5 -pix_fmt yuv420p -c:a aac {attach} -metadata title=T -metadata mood=calm in.mkv"
        ),
    );
    ffmpeg(&studio, "-i in.mkv -map 0 -c copy -disposition:v:1 attached_pic in.mp4");
    for input in ["in.mkv", "in.mp4"] {
        for (output, options) in
            [("out.mp4", ""), ("out.m4v", ""), ("out.mov", ""), ("out.mkv", ""), ("out.mp4", "--start 0.2")]
        {
            let run = studio.stylize(&format!("{input} -o {output} {options}"));
            assert!(run.stderr.starts_with("painted 1 of 1"), "{input} {output}: {}", run.stderr);
            assert_eq!(streams(&studio, output), ["h264,0", "png,1", "aac"], "{input} {output} {options}");
            let kept = ffmpeg(&studio, &format!("-i {output} -map 0:v:1 -c copy -f image2pipe -"));
            assert!(kept == cover, "{input} {output}");
            let decoded = ffprobe(&studio.path(output), "frame=pts", "v:0").len();
            assert_eq!(decoded, if options.is_empty() { 15 } else { 9 }, "{input} {output}");
            let mood = ffprobe(&studio.path(output), "format_tags=mood,MOOD", "v:0");
            assert_eq!(mood == ["calm"], input == "in.mkv", "{input} {output}: {mood:?}");
        }
    }
    assert_eq!(ffprobe(&studio.path("out.mkv"), "stream_tags=filename", "v:1"), ["cover.png"]);
    studio.stylize("in.mkv -o out.mkv");
    assert_eq!(ffprobe(&studio.path("out.mkv"), "stream_tags=filename", "v:1"), ["front.png"]);
    ffmpeg(&studio, "-i in.mkv -map 0:v -c copy silent.mkv");
    ffmpeg(&studio, &format!("-i in.mkv -map 0:0 -c copy {attach} silent.mkv"));
    let run = studio.stylize("silent.mkv -o out.webm");
    assert!(
        run.stderr.contains("the cover picture of stream 1 (png) is left out: WebM cannot hold it"),
        "{}",
        run.stderr
    );
    let run = studio.stylize("in.mp4 -o out.gif");
    assert!(run.stderr.contains("GIF holds only frames; left out: the "), "{}", run.stderr);
    assert!(run.stderr.contains("the cover picture of stream 2 (png)"), "{}", run.stderr);
}

#[test]
fn a_picture_before_the_film_is_its_cover() {
    let Some(studio) = studio() else { return };
    studio.save("cover.jpg", photo(20, 30));
    ffmpeg(&studio, &format!("{NTSC} -t 0.5 -pix_fmt yuv420p film.mp4"));
    ffmpeg(&studio, "-i cover.jpg -i film.mp4 -map 0 -map 1 -c copy in.mp4");
    studio.stylize("in.mp4 -o out.mp4");
    assert_eq!(streams(&studio, "out.mp4"), ["h264,0", "mjpeg,1"]);
    assert_eq!(ffprobe(&studio.path("out.mp4"), "stream=width,nb_frames", "v:0"), ["64,15"]);
    // A film of one frame is still a film.
    ffmpeg(&studio, "-i cover.jpg -c copy one.mp4");
    studio.stylize("one.mp4 -o out.mp4");
    assert_eq!(ffprobe(&studio.path("out.mp4"), "stream=width,nb_frames", "v:0"), ["20,1"]);
    let Some(path) = shared("cover-first.mp4") else { return };
    fs::copy(path, studio.path("first.mp4")).unwrap();
    for output in ["out.mp4", "out.mov", "out.mkv"] {
        studio.stylize(&format!("first.mp4 -o {output}"));
        assert_eq!(streams(&studio, output), ["h264,0", "mjpeg,1", "aac"], "{output}");
    }
}

#[test]
fn sound_that_no_one_knows_is_left_out_by_its_name() {
    let Some(studio) = studio() else { return };
    ffmpeg(&studio, &format!("{NTSC} {TONE} {TONE} -map 0 -map 1 -map 2 -t 0.5 -pix_fmt yuv420p -c:a aac two.mov"));
    let mut bytes = fs::read(studio.path("two.mov")).unwrap();
    // QuickTime names a codec several times, as often in the second track as in the first.
    for (name, new) in [(b"mp4a", b"apac"), (b"esds", b"dapa")] {
        let places: Vec<_> = (0..bytes.len() - 4).filter(|&at| &bytes[at..at + 4] == name).collect();
        for &at in &places[places.len() / 2..] {
            bytes[at..at + 4].copy_from_slice(new);
        }
    }
    studio.write("made.mov", &bytes);
    let path = shared("iphone16.mov");
    if let Some(path) = &path {
        fs::copy(path, studio.path("iphone16.mov")).unwrap();
    }
    for input in ["made.mov", "iphone16.mov"] {
        if !studio.path(input).exists() {
            continue;
        }
        for output in ["out.mov", "out.mp4", "out.mkv"] {
            let run = studio.stylize(&format!("{input} -o {output}"));
            let told = "the sound of stream 2 (`apac`) is left out: this ffmpeg does not know its codec";
            assert!(run.stderr.contains(told), "{input} {output}: {}", run.stderr);
            assert_eq!(streams(&studio, output), ["h264,0", "aac"], "{input} {output}");
        }
        // WebM would lose the other sound too, which Matroska holds.
        let run = studio.run(&format!("stylize {input} --style {STYLE} -o out.webm"));
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains("WebM does not hold the sound of stream 1 (aac"), "{}", run.stderr);
        assert!(run.stderr.contains("ends with .mkv, which holds it"), "{}", run.stderr);
    }
}

#[test]
fn data_and_further_videos_are_left_out_by_their_names() {
    let Some(studio) = studio() else { return };
    ffmpeg(&studio, &format!("{NTSC} -t 0.5 -pix_fmt yuv420p -timecode 01:00:00:00 coded.mov"));
    let bytes = fs::read(studio.path("coded.mov")).unwrap();
    let mut data = bytes.clone();
    for at in 0..data.len() - 4 {
        if &data[at..at + 4] == b"tmcd" {
            data[at..at + 4].copy_from_slice(b"mebx");
        }
    }
    studio.write("data.mov", &data);
    ffmpeg(&studio, &format!("-i coded.mov {NTSC} -map 0:v -map 1:v -t 0.5 -c:v:0 copy -c:v:1 mpeg4 two.mp4"));
    for output in ["out.mov", "out.mp4", "out.mkv"] {
        let run = studio.stylize(&format!("data.mov -o {output}"));
        assert!(run.stderr.contains("the data of stream 1 (`mebx`) is left out"), "{output}: {}", run.stderr);
        let run = studio.stylize(&format!("two.mp4 -o {output}"));
        let told = "the video of stream 1 (mpeg4, `mp4v`) is left out: only one video of a clip is painted";
        assert!(run.stderr.contains(told), "{output}: {}", run.stderr);
    }
}

#[test]
fn a_time_code_is_kept_and_names_the_first_frame_that_is_painted() {
    let Some(studio) = studio() else { return };
    ffmpeg(&studio, "-f lavfi -i testsrc2=size=64x48:rate=25 -t 1 -pix_fmt yuv420p -timecode 01:02:03:20 in.mov");
    for output in ["out.mov", "out.mp4", "out.mkv"] {
        for (options, time_code) in [("", "01:02:03:20"), ("--start 0.4", "01:02:04:05")] {
            let run = studio.stylize(&format!("in.mov -o {output} {options}"));
            assert!(run.stderr.starts_with("painted 1 of 1"), "{output}: {}", run.stderr);
            let tags = ffprobe(&studio.path(output), "stream_tags=timecode,TIMECODE", "v:0");
            assert_eq!(tags, [time_code], "{output} {options}");
            let track = ffprobe(&studio.path(output), "stream=codec_tag_string", "d");
            assert_eq!(track, if output == "out.mkv" { vec![] } else { vec!["tmcd"] }, "{output}");
        }
        // From a file that has it as a tag.
        studio.stylize("in.mov -o tagged.mkv");
        studio.stylize(&format!("tagged.mkv -o {output}"));
        let tags = ffprobe(&studio.path(output), "stream_tags=timecode,TIMECODE", "v:0");
        assert_eq!(tags, ["01:02:03:20"], "{output}");
    }
    let run = studio.stylize("in.mov -o out.mov --fps 10");
    let told = "the time code 01:02:03:20 is left out: it counts frames of another rate";
    assert!(run.stderr.contains(told), "{}", run.stderr);
    // Leaving out names works at 30000/1001 frames a second, and the mean of this clip is another rate.
    ffmpeg(&studio, &format!("{NTSC} -t 1 -pix_fmt yuv420p -timecode 00:00:59;20 even.mov"));
    studio.stylize("even.mov -o out.mov --start 0.5");
    assert_eq!(ffprobe(&studio.path("out.mov"), "stream_tags=timecode", "v:0"), ["00:01:00;07"]);
    let select = "-vf select=not(mod(n\\,3)) -fps_mode passthrough";
    ffmpeg(&studio, &format!("{NTSC} -t 1 {select} -pix_fmt yuv420p -metadata:s:v timecode=00:00:59;20 uneven.mkv"));
    let run = studio.stylize("uneven.mkv -o out.mov");
    assert!(run.stderr.contains("the time code 00:00:59;20 is left out: MOV cannot hold it"), "{}", run.stderr);
}

#[test]
fn chapters_subtitles_and_fonts_are_kept_without_a_word() {
    let Some(studio) = studio() else { return };
    studio.write("in.srt", b"1\n00:00:00,100 --> 00:00:00,400\nhello\n");
    studio.write("font.ttf", b"no font, but nobody looks");
    let chapters = ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/10\nSTART=0\nEND=2\ntitle=one\n[CHAPTER]\nTIMEBASE=1/10\nSTART=2\nEND=5\ntitle=two\n";
    studio.write("chapters.txt", chapters.as_bytes());
    let attach = "-attach font.ttf -metadata:s:t mimetype=application/x-truetype-font";
    let inputs = format!("{NTSC} -i in.srt -i chapters.txt -map 0 -map 1 -map_chapters 2 -t 0.5 -pix_fmt yuv420p");
    ffmpeg(&studio, &format!("{inputs} -c:s copy {attach} in.mkv"));
    ffmpeg(&studio, &format!("{inputs} -c:s mov_text in.mp4"));
    for (input, output, subtitle) in [
        ("in.mkv", "out.mkv", "subrip"),
        ("in.mp4", "out.mkv", "subrip"),
        ("in.mp4", "out.mp4", "mov_text"),
        ("in.mp4", "out.mov", "mov_text"),
        ("in.mp4", "out.webm", "webvtt"),
    ] {
        let run = studio.stylize(&format!("{input} -o {output}"));
        assert!(run.stderr.starts_with("painted 1 of 1"), "{input} {output}: {}", run.stderr);
        let path = studio.path(output);
        assert_eq!(ffprobe(&path, "stream=codec_name", "s"), [subtitle], "{input} {output}");
        assert_eq!(ffprobe(&path, "chapter_tags=title", "v"), ["one", "two"], "{input} {output}");
        let fonts = ffprobe(&path, "stream_tags=filename", "t");
        assert_eq!(fonts.len(), usize::from(input == "in.mkv"), "{input} {output}");
    }
    let run = studio.stylize("in.mkv -o out.mp4");
    assert!(
        run.stderr.contains("the attached file of stream 2 (ttf) is left out: MP4 cannot hold it"),
        "{}",
        run.stderr
    );
}

#[test]
fn in_a_folder_only_the_clip_whose_sound_does_not_fit_fails() {
    let Some(studio) = studio() else { return };
    fs::create_dir(studio.path("in")).unwrap();
    for (name, sound) in [("a.avi", "pcm_s16le"), ("b.avi", "adpcm_ms"), ("c.avi", "mp3"), ("d.mp4", "aac")] {
        ffmpeg(&studio, &format!("{NTSC} {TONE} -t 0.3 -c:v mpeg4 -c:a {sound} in/{name}"));
    }
    studio.save("in/e.png", photo(9, 8));
    let run = studio.run(&format!("stylize in -o out --style {STYLE} --format mp4"));
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("painted 3 of 5 in "), "{}", run.stderr);
    assert!(run.stderr.contains("MP4 does not hold the sound of stream 1 (pcm_s16le)"), "{}", run.stderr);
    assert!(run.stderr.contains("MP4 does not hold the sound of stream 1 (adpcm_ms)"), "{}", run.stderr);
    assert!(run.stderr.contains("hint: use `--format mkv`"), "{}", run.stderr);
    assert_eq!(studio.files("out"), ["c.mp4", "d.mp4", "e.png"]);
    studio.stylize("in -o kept");
    assert_eq!(studio.files("kept"), ["a.mkv", "b.mkv", "c.mkv", "d.mp4", "e.png"]);
}

#[test]
fn an_encoder_that_the_file_cannot_hold_is_refused_before_anything_is_painted() {
    let Some(studio) = studio() else { return };
    ffmpeg(&studio, &format!("{NTSC} -t 0.3 -pix_fmt yuv420p in.mp4"));
    for (options, told) in [("out.mp4 --codec ffv1", "MP4"), ("out.webm --codec h264", "WebM")] {
        let run = studio.run(&format!("stylize in.mp4 --style {STYLE} -o {options}"));
        assert_eq!(run.code, Some(2), "{options}: {}", run.stderr);
        assert!(run.stderr.contains(&format!("{told} does not hold video of this encoder")), "{}", run.stderr);
        assert!(run.stderr.contains("hint: choose another `--codec`"), "{}", run.stderr);
        assert!(!studio.files("").iter().any(|name| name.starts_with("out")), "{options}");
    }
}
