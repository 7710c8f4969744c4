//! Clips with an alpha channel, and the pictures beside a film.

use impasto_video::{Ffmpeg, ReadOptions, StreamKind, probe};

use super::{make, probed, read, studio, timestamps};

/// The left half is transparent.
const HALF: &str =
    "-f lavfi -i testsrc2=size=64x48:rate=10,format=rgba,geq=r=r(X\\,Y):g=g(X\\,Y):b=b(X\\,Y):a=255*gte(X\\,32) -t 0.5";

#[test]
fn transparency_is_read_wherever_ffmpeg_keeps_it() {
    let Some(folder) = studio() else { return };
    let has_vpx = Ffmpeg::find().unwrap().has_decoder("libvpx-vp9");
    let hdr = "-color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc";
    for (codec, name) in [
        ("-c:v png".to_owned(), "png.mov"),
        ("-c:v qtrle".to_owned(), "qtrle.mov"),
        ("-c:v prores_ks -pix_fmt yuva444p10le".to_owned(), "prores.mov"),
        ("-c:v libvpx-vp9 -pix_fmt yuva420p -b:v 200k".to_owned(), "vp9.webm"),
        (format!("-c:v ffv1 -pix_fmt yuva420p10le {hdr}"), "hdr.mkv"),
    ] {
        if name == "vp9.webm" && !has_vpx {
            continue;
        }
        let path = make(&folder, &format!("{HALF} {codec} {name}"));
        for size in [None, Some((32, 24))] {
            let (reader, frames) = read(&path, ReadOptions { size, ..ReadOptions::default() });
            assert!(reader.info().has_alpha, "{name}");
            assert_eq!(timestamps(&frames), probed(&path), "{name}");
            let image = frames[3].picture.clone().into_image().into_rgba8();
            let (left, right) =
                (image.get_pixel(image.width() / 5, 9)[3], image.get_pixel(image.width() * 4 / 5, 9)[3]);
            assert!(left <= 4 && right >= 251, "{name}: {left} and {right}");
        }
    }
    let opaque = make(&folder, "-f lavfi -i testsrc2=size=64x48:rate=10 -t 0.2 -pix_fmt yuv420p opaque.mp4");
    assert!(!read(&opaque, ReadOptions::default()).1[0].picture.has_alpha());
}

#[test]
fn a_single_picture_beside_a_film_is_its_cover() {
    let Some(folder) = studio() else { return };
    make(&folder, "-f lavfi -i testsrc2=size=64x48:rate=25 -t 0.4 -pix_fmt yuv420p -timecode 01:02:03:04 film.mov");
    make(&folder, "-f lavfi -i testsrc2=size=20x30 -frames:v 1 -pix_fmt yuvj420p cover.jpg");
    let path = make(&folder, "-i cover.jpg -i film.mov -map 0 -map 1:v -c copy both.mov");
    let info = probe(&path).unwrap();
    assert_eq!((info.stream, info.width), (1, 64));
    assert_eq!(info.others[0].kind, StreamKind::Cover);
    assert_eq!(info.time_code.as_deref(), Some("01:02:03:04"));
    assert_eq!(info.others.last().map(|stream| stream.kind), Some(StreamKind::TimeCode));
    let alone = make(&folder, "-i cover.jpg -c copy alone.mov");
    assert_eq!(probe(&alone).unwrap().width, 20);
}
