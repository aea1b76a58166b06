//! One hostile input per limit: with 'fail' a clear error, with 'null' every other row right and the failure listed.

mod documents;
mod series;
mod videos;

use std::net::TcpListener;

use arrow::array::{Array, AsArray};
use libtest_mimic::Failed;

use crate::support::{Fresh, cached, ensure, fresh, path_in, wav};
use crate::{Outcome, Test};

pub(crate) const TESTS: &[Test] = &[
    ("broken_documents", documents::broken),
    ("broken_pictures", broken_pictures),
    ("broken_sounds", broken_sounds),
    ("broken_videos", videos::broken),
    ("corrupt_graphs", corrupt_graphs),
    ("hanging_server", hanging_server),
    ("long_text", long_text),
    ("not_a_number", not_a_number),
    ("strips_of_text", documents::thin_strips),
    ("series_of_mixed_lengths", series::mixed_lengths),
    ("outside_the_roots", outside_the_roots),
    ("server_with_pictures", server_with_pictures),
    ("wrong_number_of_rows", wrong_number_of_rows),
];

fn contains(text: &str, parts: &[&str]) -> Outcome {
    parts.iter().try_for_each(|part| ensure(text.contains(part), || format!("no '{part}' in: {text}")))
}

fn pictures() -> Result<Fresh, Failed> {
    Fresh::with_models(&[("effnet", &cached("models/efficientnet-lite0"))])
}

/// `(uri, step, part of the message)` of each row that must fail; the row after each must not.
fn check_rows(fresh: &Fresh, model: &str, cases: &[(&str, &str, &str)], good: &str) -> Outcome {
    let quoted = |uri: &str| format!("'{}'", uri.replace('\'', "''"));
    for (uri, step, message) in cases {
        fresh.rows("SET mm.on_error = 'fail'")?;
        let error =
            fresh.error(&format!("SELECT mm_predict('{model}', uri) FROM (VALUES ({}), ({})) AS t(uri)", quoted(good), quoted(uri)))?;
        contains(&error, &["row 1", uri, step, message])?;
    }
    fresh.rows("SET mm.on_error = 'null'")?;
    let values: Vec<String> = cases.iter().map(|(uri, ..)| format!("({}), ({})", quoted(uri), quoted(good))).collect();
    let rows = fresh.rows(&format!("SELECT mm_predict('{model}', uri).label AS label FROM (VALUES {}) AS t(uri)", values.join(", ")))?;
    let labels = rows.column(0);
    for row in 0..labels.len() {
        ensure(labels.is_null(row) == (row % 2 == 0), || format!("row {row} is wrong"))?;
    }
    let listed = fresh.rows("SELECT uri, step, message FROM mm_errors() ORDER BY row")?;
    ensure(listed.num_rows() == cases.len(), || format!("{} rows in mm_errors()", listed.num_rows()))?;
    for (row, (uri, step, message)) in cases.iter().enumerate() {
        let text = |column: usize| listed.column(column).as_string::<i32>().value(row).to_string();
        contains(&text(0), &[uri])?;
        contains(&text(1), &[step])?;
        contains(&text(2), &[message])?;
    }
    Ok(())
}

fn broken_pictures() -> Outcome {
    let fresh = pictures()?;
    fresh.rows("SET mm.max_image_pixels = 4000000")?;
    fresh.rows("SET mm.max_media_bytes = 400000")?;
    let hostile = "tests/fixtures/hostile/";
    let large = cached("models/efficientnet-lite0/onnx/model.onnx");
    let folder = tempfile::TempDir::new()?;
    fresh.rows(&format!("SET mm.allowed_roots = '{},{}'", cached("models"), folder.path().display()))?;
    let (pipe, thumbnail) = (folder.path().join("pipe.jpg"), folder.path().join("thumbnail.jpg"));
    ensure(std::process::Command::new("mkfifo").arg(&pipe).status()?.success(), || "no mkfifo".into())?;
    std::fs::write(&thumbnail, cut_behind_thumbnail()?)?;
    let cases = [
        (format!("{hostile}truncated.jpg"), "decode", "JPEG"),
        (format!("{hostile}bomb.png"), "decode", "over the limit of 4000000"),
        (format!("{hostile}zero.jpg"), "decode", "the file is empty"),
        (format!("{hostile}page.jpg"), "decode", "not a picture"),
        (format!("{hostile}missing.jpg"), "fetch", "no such file"),
        (hostile.to_string(), "fetch", "not a regular file"),
        (pipe.to_string_lossy().into_owned(), "fetch", "not a regular file"),
        (thumbnail.to_string_lossy().into_owned(), "decode", "it ends early"),
        (large, "fetch", "over the limit of 400000"),
        (String::new(), "fetch", "empty URI"),
        ("ftp://127.0.0.1/a.jpg".to_string(), "fetch", "outside the allowed roots"),
    ];
    let cases: Vec<(&str, &str, &str)> = cases.iter().map(|(uri, step, message)| (uri.as_str(), *step, *message)).collect();
    check_rows(&fresh, "effnet", &cases, "tests/fixtures/pictures/photo_coffee.jpg")
}

/// Files cut short, headers that lie, no samples, endless ones, and what is no sound; a model of sounds and one that writes.
fn broken_sounds() -> Outcome {
    let fresh = Fresh::with_models(&[("mood", "tests/fixtures/sound/wav2vec2_group"), ("whisper", "tests/fixtures/sound/whisper")])?;
    let folder = tempfile::TempDir::new()?;
    fresh.rows(&format!("SET mm.allowed_roots = '{}'", folder.path().display()))?;
    fresh.rows("SET mm.max_audio_seconds = 3")?;
    let file = |name: &str, bytes: &[u8]| -> Result<String, Failed> {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes)?;
        Ok(path.to_string_lossy().into_owned())
    };
    let read = |name: &str| std::fs::read(format!("tests/fixtures/sounds/{name}"));
    let (mp3, flac, ogg, m4a) = (read("stereo.mp3")?, read("voice_1.flac")?, read("clip.ogg")?, read("clip_aac.m4a")?);
    let second = vec![0_u8; 32_000];
    let mut damaged = flac.clone();
    damaged[6_000..6_200].fill(0x55);
    let cases = [
        (file("cut.mp3", &mp3[..mp3.len() / 3])?, "the file ends at second"),
        (file("cut.flac", &flac[..flac.len() / 2])?, "second"),
        (file("damaged.flac", &damaged)?, "second"),
        (file("cut.ogg", &ogg[..ogg.len() / 3])?, ""),
        (file("cut.m4a", &m4a[..m4a.len() / 3])?, ""),
        (file("lying.wav", &wav(1, 16_000, 4_000_000_000, &second))?, "the file ends at second 1.0 of the 125000.0"),
        (file("silent.wav", &wav(1, 16_000, 0, &[]))?, "no samples"),
        (file("slow.wav", &wav(1, 1, 32_000, &second))?, "1 samples a second"),
        (file("endless.wav", &wav(1, 16_000, u32::MAX, &second.repeat(10)))?, "more than 3 seconds of sound"),
        (file("long.wav", &wav(8, 192_000, 192_000 * 16 * 4, &vec![0; 192_000 * 16 * 4]))?, "more than 3 seconds of sound"),
        (file("empty.wav", &[])?, "the file is empty"),
        (file("page.wav", b"<html>no sound</html>")?, "not a sound"),
    ];
    let good = "tests/fixtures/sounds/clip_16.wav";
    let rows: Vec<(&str, &str, &str)> = cases.iter().map(|(uri, message)| (uri.as_str(), "decode", *message)).collect();
    check_rows(&fresh, "mood", &rows, good)?;
    fresh.rows("SET mm.on_error = 'null'")?;
    let values: Vec<String> = cases.iter().map(|(uri, _)| format!("('{uri}'), ('{good}')")).collect();
    let query = format!("SELECT mm_transcribe('whisper', uri).text IS NULL AS is_null FROM (VALUES {}) AS t(uri)", values.join(", "));
    let nulls = fresh.rows(&query)?;
    let nulls = nulls.column(0).as_boolean();
    ensure((0..nulls.len()).all(|row| nulls.value(row) == (row % 2 == 0)), || format!("{nulls:?}"))?;
    // 8 channels at 192 kHz are a sound like any other.
    let fine = file("wide.wav", &wav(8, 192_000, 192_000 * 16, &vec![0; 192_000 * 16]))?;
    fresh.rows("SET mm.on_error = 'fail'")?;
    fresh.rows(&format!("SELECT mm_predict('mood', '{fine}')")).map(|_| ())
}

/// A JPEG without its last bytes whose header holds the end marker of a thumbnail.
fn cut_behind_thumbnail() -> Result<Vec<u8>, Failed> {
    let picture = std::fs::read("tests/fixtures/pictures/photo_coffee.jpg")?;
    let segment = [0xff, 0xe5, 0, 6, 0xff, 0xda, 0xff, 0xd9];
    Ok([&picture[..2], &segment, &picture[2..picture.len() - 200]].concat())
}

fn outside_the_roots() -> Outcome {
    let fresh = pictures()?;
    let folder = tempfile::TempDir::new()?;
    let outside = folder.path().join("a.jpg");
    std::fs::copy("tests/fixtures/pictures/photo_coffee.jpg", &outside)?;
    let link = tempfile::TempDir::new_in("tests/fixtures")?;
    std::os::unix::fs::symlink(&outside, link.path().join("link.jpg"))?;
    let inside = path_in(&link, "link.jpg");
    let outside = outside.to_string_lossy().into_owned();
    let dots = format!("tests/../../../../../../../../../..{outside}");
    for uri in [
        outside.as_str(),
        inside.as_str(),
        dots.as_str(),
        &format!("file://{outside}"),
        "/etc/passwd",
        "http://127.0.0.1:9/a.jpg",
        "s3://bucket/a.jpg",
    ] {
        let error = fresh.error(&format!("SELECT mm_predict('effnet', '{uri}')"))?;
        contains(&error, &["outside the allowed roots", "hint: SET mm.allowed_roots"])?;
    }
    fresh.rows(&format!("SET mm.allowed_roots = '{}'", folder.path().display()))?;
    fresh.rows(&format!("SELECT mm_predict('effnet', '{inside}')")).map(|_| ())
}

/// A server that accepts and never answers.
fn hanging_server() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}", listener.local_addr()?);
    let fresh = pictures()?;
    fresh.rows(&format!("SET mm.allowed_roots = '{address}'"))?;
    fresh.rows("SET mm.fetch_timeout_ms = 300")?;
    let start = std::time::Instant::now();
    check_rows(&fresh, "effnet", &[(&format!("{address}/a.jpg"), "fetch", "")], "tests/fixtures/pictures/photo_coffee.jpg")?;
    ensure(start.elapsed().as_secs() < 30, || format!("{:?} for a server that hangs", start.elapsed()))
}

/// A small web server: one good picture, one that is not there, one that is too large.
fn server_with_pictures() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}", listener.local_addr()?);
    let picture = std::fs::read("tests/fixtures/pictures/photo_coffee.jpg")?;
    std::thread::spawn(move || serve(&listener, &picture));
    let fresh = pictures()?;
    fresh.rows(&format!("SET mm.allowed_roots = '{address}/shop'"))?;
    fresh.rows("SET mm.max_media_bytes = 1000000")?;
    fresh.rows("SET mm.fetch_retries = 0")?;
    let local = fresh.rows("SELECT mm_predict('effnet', 'tests/fixtures/pictures/photo_coffee.jpg').label")?;
    let remote = fresh.rows(&format!("SELECT mm_predict('effnet', '{address}/shop/good.jpg').label"))?;
    ensure(local.column(0).as_ref() == remote.column(0).as_ref(), || "the picture over HTTP is another one".into())?;
    let uri = |name: &str| format!("{address}/shop/{name}");
    let cases = [
        (uri("missing.jpg"), "fetch", "no such object"),
        (uri("large.jpg"), "fetch", "over the limit of 1000000"),
        // A redirect could lead anywhere, so none is followed.
        (uri("moved.jpg"), "fetch", "302 Found"),
        (uri("good.jpg?key=1"), "fetch", "query or fragment"),
        (format!("{address}/other/good.jpg"), "fetch", "outside the allowed roots"),
    ];
    let cases: Vec<(&str, &str, &str)> = cases.iter().map(|(uri, step, message)| (uri.as_str(), *step, *message)).collect();
    check_rows(&fresh, "effnet", &cases, &uri("good.jpg"))
}

fn serve(listener: &TcpListener, picture: &[u8]) {
    use std::io::{BufRead, BufReader, Write};
    for stream in listener.incoming().flatten() {
        let picture = picture.to_vec();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(&stream);
            loop {
                let mut line = String::new();
                if !matches!(reader.read_line(&mut line), Ok(count) if count > 0) {
                    return;
                }
                let path = line.split(' ').nth(1).unwrap_or_default().to_string();
                while line.trim() != "" {
                    line.clear();
                    if reader.read_line(&mut line).is_err() {
                        return;
                    }
                }
                let body = if path.ends_with("large.jpg") { vec![0; 2_000_000] } else { picture.clone() };
                let head = if path.ends_with("moved.jpg") {
                    "HTTP/1.1 302 Found\r\nLocation: /other/good.jpg\r\nContent-Length: 0\r\n\r\n".to_string()
                } else if path.ends_with("missing.jpg") {
                    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_string()
                } else {
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n", body.len())
                };
                let is_missing = path.ends_with("missing.jpg") || path.ends_with("moved.jpg");
                // The client closes the connection once it has seen that the body is too large.
                if (&stream).write_all(head.as_bytes()).is_err() || (!is_missing && (&stream).write_all(&body).is_err()) {
                    return;
                }
            }
        });
    }
}

fn long_text() -> Outcome {
    let fresh = Fresh::with_models(&[("minilm", &cached("models/minilm"))])?;
    let error = fresh.error("SELECT mm_embed('minilm', repeat('word ', 200001))")?;
    contains(&error, &["tokenize", "1000005 bytes of text are over the limit of 1000000", "hint: SET mm.max_text_bytes"])?;
    fresh.rows("SET mm.on_error = 'null'")?;
    let rows = fresh.rows("SELECT mm_embed('minilm', t) FROM (VALUES ('short'), (repeat('word ', 200001)), ('also short')) AS v(t)")?;
    let is_null: Vec<bool> = (0..3).map(|row| rows.column(0).is_null(row)).collect();
    ensure(is_null == [false, true, false], || format!("{is_null:?}"))?;
    fresh.rows("SET mm.max_text_bytes = 2000000")?;
    let one_megabyte = fresh.rows("SELECT mm_embed('minilm', repeat('word ', 200001))")?;
    ensure(one_megabyte.column(0).is_valid(0), || "a long text below the limit failed".into())
}

fn not_a_number() -> Outcome {
    let fresh = fresh();
    fresh.rows("CREATE MODEL judge FROM 'tests/fixtures/tiny/affine.onnx' OPTIONS (task = 'regression')")?;
    for value in ["'NaN'::DOUBLE", "'Infinity'::DOUBLE", "-'Infinity'::DOUBLE"] {
        let error = fresh.error(&format!("SELECT mm_predict('judge', x, y) FROM (VALUES (1.0, 1.0), (1.0, {value})) AS t(x, y)"))?;
        contains(&error, &["row 1", "model", "NaN or infinite"])?;
    }
    fresh.rows("SET mm.on_error = 'null'")?;
    let rows = fresh.rows("SELECT mm_predict('judge', x, y) FROM (VALUES (1.0, 1.0), (1.0, 'NaN'::DOUBLE), (0.0, 0.0)) AS t(x, y)")?;
    let values = rows.column(0).as_primitive::<arrow::datatypes::Float32Type>();
    ensure(values.iter().eq([Some(6.0), None, Some(1.0)]), || format!("{values:?}"))
}

fn corrupt_graphs() -> Outcome {
    let fresh = fresh();
    let hostile = "tests/fixtures/hostile/";
    for (file, parts) in [
        ("corrupt.onnx", ["not an ONNX model", "hint"]),
        ("truncated.onnx", ["onnx", "truncated"]),
        ("outside.onnx", ["outside the model's folder", "../secret.bin"]),
        ("missing.onnx", ["no such file or folder", "missing.onnx"]),
    ] {
        let error = fresh.error(&format!("CREATE MODEL m FROM '{hostile}{file}'"))?;
        contains(&error, &parts)?;
    }
    let models = fresh.rows("SHOW MODELS")?;
    ensure(models.num_rows() == 0, || "a damaged model is in the catalog".into())
}

fn wrong_number_of_rows() -> Outcome {
    let error = fresh().error("CREATE MODEL wrong FROM 'tests/fixtures/hostile/wrong_rows.onnx'")?;
    contains(&error, &["has 3 rows for 2 rows of input", "hint"])?;
    // One that hides it until there are three.
    let fresh = Fresh::with_models(&[("some", "tests/fixtures/hostile/some_rows.onnx")])?;
    let error = fresh.error("SELECT mm_predict('some', x) FROM (VALUES (1.0), (2.0), (3.0)) AS t(x)")?;
    contains(&error, &["has 2 rows for 3 rows of input", "hint"])?;
    fresh.rows("SET mm.on_error = 'null'")?;
    let rows = fresh.rows("SELECT mm_predict('some', x) FROM (VALUES (1.0), (2.0), (3.0)) AS t(x)")?;
    ensure(rows.column(0).null_count() == 3, || "answers of a graph that mixes up rows".into())
}
