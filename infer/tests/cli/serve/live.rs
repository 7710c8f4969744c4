//! `/v1/live`: the newest frame is painted, and older ones are dropped.

use std::time::{Duration, Instant};

use tungstenite::Message;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use super::client::{Served, jpeg, next, painted_frame, raw_frame};
use crate::studio::{STYLE, photo};

#[test]
fn a_frame_comes_back_painted_with_its_number() {
    let served = Served::new();
    let mut socket = served.live("strength=0.5&quality=100");
    served.studio.save("in.png", photo(64, 48));
    served.studio.stylize("in.png -o half.png --strength 0.5");
    served.studio.stylize("in.png -o full.png --keep-colors");
    for (number, setting, expected) in
        [(3, None, "half.png"), (4, Some("{\"strength\": 1, \"keep_colors\": true, \"style\": \"tiny\"}"), "full.png")]
    {
        if let Some(setting) = setting {
            socket.send(Message::text(setting)).unwrap();
        }
        socket.send(Message::binary(raw_frame(number, 64, 48))).unwrap();
        let (head, image) = painted_frame(&next(&mut socket).into_data());
        assert_eq!((head[0], head[1]), (number, 0));
        assert!(head[3] > 0, "painting took no time");
        let expected = served.studio.open(expected).into_rgb8();
        assert_eq!(image.dimensions(), expected.dimensions());
        let difference: u64 = image.iter().zip(expected.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let mean = difference as f64 / f64::from(64 * 48 * 3);
        // The error of hard edges in JPEG of the best quality.
        assert!(mean < 6.0, "{expected:?}: {mean}");
    }
    let encoded = [&9u32.to_le_bytes()[..], &[0; 4], &jpeg(40, 30)].concat();
    socket.send(Message::binary(encoded)).unwrap();
    let (head, image) = painted_frame(&next(&mut socket).into_data());
    assert_eq!((head[0], image.dimensions()), (9, (40, 30)));
    assert_eq!(STYLE, "style.safetensors");
}

#[test]
fn frames_never_queue() {
    let served = Served::new();
    let mut socket = served.live("");
    let last = 60;
    for number in 1..=last {
        socket.send(Message::binary(raw_frame(number, 640, 480))).unwrap();
    }
    let mut painted = Vec::new();
    let dropped = loop {
        let (head, _) = painted_frame(&next(&mut socket).into_data());
        painted.push(head[0]);
        if head[0] == last {
            break head[1];
        }
    };
    // In order, including the newest, and with all others counted as dropped.
    assert!(painted.is_sorted_by(|a, b| a < b), "{painted:?}");
    assert_eq!(painted.len() as u32 + dropped, last);
    assert!(dropped > 0, "all {last} frames were painted, though they came at once: {painted:?}");
    // Nothing is left over: the next response is for the next frame.
    socket.send(Message::binary(raw_frame(1000, 32, 32))).unwrap();
    assert_eq!(painted_frame(&next(&mut socket).into_data()).0[0], 1000);
    drop(socket);
    let frames = |fate: &str| {
        let metrics = served.get("/metrics").text();
        let line = format!("impasto_frames_total{{fate=\"{fate}\"}} ");
        metrics.lines().find_map(|own| own.strip_prefix(&line)).unwrap().parse::<u32>().unwrap()
    };
    let started = Instant::now();
    while frames("painted") == 0 {
        assert!(started.elapsed() < Duration::from_secs(30), "the camera is never counted");
    }
    assert_eq!((frames("painted"), frames("dropped")), (painted.len() as u32 + 1, dropped));
}

#[test]
fn a_frame_does_not_wait_behind_a_queue_of_pictures() {
    let served = Served::with("--queue 8");
    let large = jpeg(1600, 1200);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6).map(|_| scope.spawn(|| served.stylize("", &large).status)).collect();
        while !served.get("/metrics").text().contains("impasto_queue_length 5") {
            assert!(!clients.iter().all(std::thread::ScopedJoinHandle::is_finished), "the queue never filled");
        }
        let mut socket = served.live("");
        socket.send(Message::binary(raw_frame(1, 64, 48))).unwrap();
        next(&mut socket);
        let waiting = clients.iter().filter(|client| !client.is_finished()).count();
        assert!(waiting >= 2, "the frame was painted after the pictures: {waiting} are left");
        for client in clients {
            assert_eq!(client.join().unwrap(), 200);
        }
    });
}

#[test]
fn cameras_that_are_silent_or_break_the_protocol_are_closed() {
    let served = Served::with("--header-time 0.2");
    let mut socket = served.live("");
    // Two pings and a close frame with code 1008, because this client answers nothing.
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(socket.get_mut(), &mut bytes).unwrap();
    assert_eq!(bytes[..4], [0x89, 0, 0x89, 0]);
    assert_eq!((bytes[4], u16::from_be_bytes([bytes[6], bytes[7]])), (0x88, 1008));
    let mut socket = served.live("");
    // This client can send such a message, but it is over the server's limit.
    let _ = socket.send(Message::binary(vec![0; 9 << 20]));
    loop {
        match socket.read() {
            Ok(Message::Close(close)) => break assert_eq!(u16::from(close.unwrap().code), 1008),
            Ok(_) => {}
            // The rest of the message can make the connection end before the close frame is read.
            Err(_) => break,
        }
    }
    served.assert_well();
}

#[test]
fn a_close_frame_is_answered() {
    let served = Served::new();
    let mut socket = served.live("");
    socket.send(Message::binary(raw_frame(1, 32, 32))).unwrap();
    next(&mut socket);
    let close = CloseFrame { code: CloseCode::Normal, reason: "enough".into() };
    socket.close(Some(close.clone())).unwrap();
    assert_eq!(next(&mut socket), Message::Close(Some(close)));
    // Then the connection ends, after a complete closing handshake.
    assert!(matches!(socket.read(), Err(tungstenite::Error::ConnectionClosed)));
}
