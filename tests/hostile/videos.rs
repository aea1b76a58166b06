//! Videos that are damaged, endless, or of codecs that are not read.

use std::fs;

use super::check_rows;
use crate::Outcome;
use crate::support::{fresh, path_in};

/// An animation of black and white pixels in turn: 15 bytes a frame.
fn long_gif(frames: usize) -> Vec<u8> {
    let mut bytes = b"GIF89a\x02\x00\x02\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff".to_vec();
    for frame in 0..frames {
        let color = if frame % 2 == 0 { 0x44 } else { 0x4c };
        bytes.extend([0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, color, 1, 0]);
    }
    bytes.push(0x3b);
    bytes
}

pub(super) fn broken() -> Outcome {
    let fresh = fresh();
    fresh.rows("CREATE MODEL film FROM 'tests/fixtures/video' OPTIONS (sampling = 'uniform')")?;
    let folder = tempfile::TempDir::new_in("tests/fixtures")?;
    let file = |name: &str, bytes: &[u8]| -> Result<String, libtest_mimic::Failed> {
        fs::write(folder.path().join(name), bytes)?;
        Ok(path_in(&folder, name))
    };
    let gif = fs::read("tests/fixtures/videos/moving.gif")?;
    let mkv = fs::read("tests/fixtures/videos/main.mkv")?;
    let video = |name: &str| format!("tests/fixtures/videos/{name}");
    let hostile = |name: &str| format!("tests/fixtures/hostile/{name}");
    let cases = [
        (file("long.gif", &long_gif(100_000))?, "more than 10000 frames"),
        (file("cut.gif", &gif[..gif.len() / 2])?, ""),
        (file("cut.mkv", &mkv[..mkv.len() * 2 / 3])?, "the video is damaged"),
        (file("empty.mp4", &[])?, "the file is empty"),
        (file("page.mp4", b"<html>no video</html>")?, "not a video"),
        (hostile("truncated.mp4"), ""),
        (hostile("cut.mp4"), ""),
        (hostile("many_frames.mp4"), ""),
        // Its times overflow, which the reader of the container notices in its own ways.
        (hostile("endless.mp4"), ""),
        (video("hevc.mp4"), "damaged"),
        (video("vp9.webm"), "not H.264"),
        (video("mjpeg.avi"), "not a video"),
        (video("mjpeg.mov"), "of a codec that is read"),
        ("tests/fixtures/pictures/photo_coffee.jpg".into(), "not a video"),
        ("tests/fixtures/ocr/dark.png".into(), "a PNG of one picture"),
    ];
    let rows: Vec<(&str, &str, &str)> = cases.iter().map(|(uri, message)| (uri.as_str(), "decode", *message)).collect();
    check_rows(&fresh, "film", &rows, &video("moving.gif"))?;
    fresh.rows("SET mm.on_error = 'fail'")?;
    fresh.rows("SET mm.max_video_frames = 100000")?;
    fresh.rows(&format!("SELECT mm_predict('film', '{}')", cases[0].0)).map(|_| ())
}
