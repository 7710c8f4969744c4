//! Clips made by ffmpeg, read back. Without ffmpeg every test here is skipped, and says so.
#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

mod transparency;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use impasto_video::{Ffmpeg, Ratio, ReadOptions, VideoFrame, VideoReader, is_video, probe};
use tempfile::TempDir;

/// A folder for a test's clips; `None`, and a word on standard error, where there is no ffmpeg.
fn studio() -> Option<TempDir> {
    if Ffmpeg::find().is_err() {
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        {
            eprintln!("skipped: there is no ffmpeg to make clips with");
        }
        return None;
    }
    Some(tempfile::tempdir().unwrap())
}

/// Runs ffmpeg with the words of `line`, the last of which is the file that it makes in `folder`.
fn make(folder: &TempDir, line: &str) -> PathBuf {
    let (arguments, name) = line.rsplit_once(' ').unwrap();
    let path = folder.path().join(name);
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y"]).args(arguments.split(' ')).arg(&path).current_dir(folder.path());
    assert!(command.status().unwrap().success(), "{line}");
    path
}

/// A copy of a clip with the note that it is to be turned by a quarter.
fn turn(folder: &TempDir, from: &str, to: &str) -> PathBuf {
    let path = folder.path().join(to);
    let run = |line: String| {
        let mut command = Command::new("ffmpeg");
        let command = command.args(["-v", "quiet", "-y"]).args(line.split(' ')).current_dir(folder.path());
        command.status().unwrap().success() && probe(&path).is_ok_and(|info| info.rotation != 0)
    };
    // From release 6 on this is an option; before, a tag of the output did the same.
    let turned = run(format!("-display_rotation 90 -i {from} -c copy {to}"))
        || run(format!("-i {from} -c copy -metadata:s:v:0 rotate=270 {to}"));
    assert!(turned, "this ffmpeg writes no rotation");
    path
}

/// The timestamps of the video that ffprobe finds, in the order in which frames show.
fn probed(path: &Path) -> Vec<i64> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "quiet", "-select_streams", "v:0", "-show_entries", "frame=pts", "-of", "csv=p=0"]).arg(path);
    let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
    text.split_whitespace().map(|line| line.trim_end_matches(',').parse().unwrap()).collect()
}

fn read(path: &Path, options: ReadOptions) -> (VideoReader, Vec<VideoFrame>) {
    let mut reader = VideoReader::with_options(path, options).unwrap();
    let frames = reader.by_ref().map(Result::unwrap).collect();
    (reader, frames)
}

fn timestamps(frames: &[VideoFrame]) -> Vec<i64> {
    frames.iter().map(|frame| frame.pts).collect()
}

fn ratio(text: &str) -> Ratio {
    text.parse().unwrap()
}

const NTSC: &str = "-f lavfi -i testsrc2=size=96x64:rate=30000/1001 -t 1";

#[test]
fn frames_come_with_the_timestamps_of_the_file() {
    let Some(folder) = studio() else { return };
    for (name, time_base) in [("a.mp4", "1/30000"), ("a.mkv", "1/1000"), ("a.ts", "1/90000"), ("a.avi", "1001/30000")] {
        let path = make(&folder, &format!("{NTSC} -pix_fmt yuv420p {name}"));
        assert!(is_video(&path).unwrap(), "{name}");
        let (reader, frames) = read(&path, ReadOptions::default());
        assert_eq!(timestamps(&frames), probed(&path), "{name}");
        assert_eq!(
            (frames.len(), reader.time_base(), reader.damage().is_none()),
            (30, ratio(time_base), true),
            "{name}"
        );
        assert_eq!(reader.info().frame_rate.map(|rate| rate.value().round()), Some(30.0), "{name}");
    }
}

#[test]
fn a_variable_frame_rate_is_read_as_it_is() {
    let Some(folder) = studio() else { return };
    let select = "-vf select=not(mod(n\\,3))+eq(n\\,4)+gt(n\\,20) -fps_mode passthrough";
    let path = make(&folder, &format!("{NTSC} {select} -pix_fmt yuv420p vfr.mp4"));
    let (_, frames) = read(&path, ReadOptions::default());
    let steps: Vec<_> = timestamps(&frames).windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(timestamps(&frames), probed(&path));
    assert!(steps.contains(&1001) && steps.contains(&3003), "{steps:?}");
}

#[test]
fn turned_frames_are_upright_and_odd_sizes_whole() {
    let Some(folder) = studio() else { return };
    let plain = make(&folder, &format!("{NTSC} -pix_fmt yuv444p -c:v ffv1 plain.mkv"));
    let upright = read(&plain, ReadOptions::default()).1[7].picture.clone().into_rgb8();
    make(&folder, "-i plain.mkv -c:v libx264 -qp 0 flat.mp4");
    let turned = turn(&folder, "flat.mp4", "turned.mp4");
    let (reader, frames) = read(&turned, ReadOptions::default());
    assert_eq!((reader.size(), reader.info().width, reader.info().height), ((64, 96), 64, 96));
    let shown = frames[7].picture.clone().into_rgb8();
    let back = if reader.info().rotation == 90 {
        image::imageops::rotate90(&shown)
    } else {
        image::imageops::rotate270(&shown)
    };
    let off = back.iter().zip(upright.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(off <= 2, "{off} levels off");
    let odd = make(&folder, "-f lavfi -i rgbtestsrc=size=33x17:rate=25 -t 0.2 -c:v ffv1 -pix_fmt yuv420p odd.mkv");
    let (reader, frames) = read(&odd, ReadOptions::default());
    assert_eq!((reader.size(), frames.len(), frames[0].picture.width()), ((33, 17), 5, 33));
}

#[test]
fn parts_rates_and_sizes_are_those_asked_for() {
    let Some(folder) = studio() else { return };
    let path = make(&folder, "-f lavfi -i testsrc2=size=96x64:rate=25 -t 2 -pix_fmt yuv420p a.mp4");
    let all = read(&path, ReadOptions::default()).1;
    let part = ReadOptions { start: Some(0.8), duration: Some(0.4), ..Default::default() };
    let (reader, frames) = read(&path, part);
    assert!(frames == all[20..30], "{:?}", timestamps(&frames));
    assert!(reader.damage().is_none());
    assert!(read(&path, ReadOptions { skip: 7, ..Default::default() }).1 == all[7..]);
    assert!(read(&path, ReadOptions { skip: 3, ..part }).1 == all[23..30]);
    let (reader, frames) = read(&path, ReadOptions { frame_rate: Some(ratio("10")), ..Default::default() });
    assert_eq!((reader.time_base(), timestamps(&frames)), (ratio("1/10"), (0..20).collect()));
    let (reader, frames) = read(&path, ReadOptions { size: Some((48, 20)), ..Default::default() });
    assert_eq!((reader.size(), frames[3].picture.width(), frames[3].picture.height()), ((48, 20), 48, 20));
    let error = VideoReader::with_options(&path, ReadOptions { start: Some(9.0), ..Default::default() }).err().unwrap();
    assert!(
        error.exit_code() == 2 && error.to_string().ends_with("ends after 2.00 s, before the requested start"),
        "{error}"
    );
}

#[test]
fn levels_are_those_of_the_matrix_and_range_that_the_clip_names() {
    let Some(folder) = studio() else { return };
    for (matrix, range) in [("bt709", "tv"), ("bt709", "pc"), ("smpte170m", "tv"), ("bt2020nc", "tv")] {
        let name = matrix.replace("bt2020nc", "bt2020");
        let convert = format!("-vf scale=out_color_matrix={name}:out_range={range}");
        let tags = format!("-colorspace {matrix} -color_range {range} -c:v libx264 -qp 0 -pix_fmt yuv444p");
        let source = "-f lavfi -i color=c=0xC86432:size=32x32:rate=5 -t 0.4";
        let path = make(&folder, &format!("{source} {convert} {tags} a.mkv"));
        let (reader, frames) = read(&path, ReadOptions::default());
        assert_eq!((reader.color().matrix.tag(), reader.color().full_range), (matrix, range == "pc"));
        let pixel = frames[1].picture.clone().into_rgb8().get_pixel(9, 9).0;
        let off = pixel.iter().zip([200_u8, 100, 50]).map(|(a, b)| a.abs_diff(b)).max().unwrap();
        assert!(off <= 1, "{matrix} {range}: {pixel:?}");
    }
}

#[test]
fn deep_and_hdr_clips_become_eight_bits() {
    let Some(folder) = studio() else { return };
    let source = "-f lavfi -i testsrc2=size=64x64:rate=5 -t 0.4";
    let deep = make(&folder, &format!("{source} -c:v ffv1 -pix_fmt yuv420p10le deep.mkv"));
    let (reader, frames) = read(&deep, ReadOptions::default());
    assert_eq!((reader.info().bits, frames[0].picture.bits(), reader.is_tone_mapped()), (10, 8, false));
    let tags = "-color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc";
    let hdr = make(&folder, &format!("{source} -c:v ffv1 -pix_fmt yuv420p10le {tags} hdr.mkv"));
    let (reader, frames) = read(&hdr, ReadOptions::default());
    assert!(reader.info().color.is_hdr() && frames.len() == 2);
    if reader.is_tone_mapped() {
        assert_eq!(reader.color().transfer.as_deref(), Some("bt709"));
    }
}

#[test]
fn a_clip_cut_short_gives_what_decodes_and_says_what_is_lost() {
    let Some(folder) = studio() else { return };
    let path = make(&folder, &format!("{NTSC} -pix_fmt yuv420p -g 5 -movflags +faststart a.mp4"));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() * 2 / 3]).unwrap();
    let (reader, frames) = read(&path, ReadOptions::default());
    let damage = reader.damage().unwrap().to_string();
    assert!((8..30).contains(&frames.len()), "{}", frames.len());
    assert!(damage.starts_with(&format!("{} of 30 frames are lost: ", 30 - frames.len())), "{damage}");
    fs::write(&path, &bytes[..200]).unwrap();
    assert!(VideoReader::open(&path).err().unwrap().to_string().contains("cannot read"));
    fs::write(&path, b"this is no clip, whatever its name says").unwrap();
    let error = VideoReader::open(&path).err().unwrap();
    assert!(error.to_string().contains("ffprobe found no clip in it"), "{error}");
    assert!(VideoReader::open(&folder.path().join("none.mp4")).err().unwrap().to_string().contains("No such file"));
}
