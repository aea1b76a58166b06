//! Runs that are made again, months later.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::Failed;

use super::place::{JOB, Place};
use crate::Outcome;
use crate::support::ensure;

/// Nothing differs on an undisturbed run, not even under a newer version of its model; a byte of the output, of a model's file or of the
/// input is found, and named.
pub(super) fn verified() -> Outcome {
    let place = Place::new(3_000)?;
    place.run_to(0, "2026-11-25", &[])?;
    let verify = |sample: &str| place.verify(sample);
    let (code, said) = verify("1000")?;
    ensure(code == Some(0) && said.contains("1000 rows made again, 0 differ, by 0 at most"), || said)?;
    // What `add` means now is something else, and that run has not used it.
    place.sql("CREATE OR REPLACE MODEL add FROM 'tests/fixtures/tiny/affine.onnx'")?;
    let (code, said) = verify("100000")?;
    ensure(code == Some(0) && said.contains("3000 rows made again, 0 differ"), || said)?;

    let output = place.output("2026-11-25");
    let bytes = fs::read(&output)?;
    place.sql(&format!(
        "COPY (SELECT id, a, CASE WHEN id = 77 THEN total + 0.25 ELSE total END AS total, day FROM '{}') TO '{}' STORED AS PARQUET",
        output.display(),
        place.path("other.parquet").display()
    ))?;
    fs::copy(place.path("other.parquet"), &output)?;
    let (code, said) = verify("100000")?;
    ensure(
        code == Some(1) && said.contains("output: ") && said.contains("1 differ, by 0.25 at most") && said.contains("differs: 77 of"),
        || said,
    )?;
    fs::write(&output, &bytes)?;
    ensure(verify("10")?.0 == Some(0), || "the output is what it was, and differs".into())?;

    // The same rows in a file that was written again.
    let input = place.path("numbers/2.parquet");
    let same = fs::read(&input)?;
    fs::remove_file(&input)?;
    fs::write(&input, same)?;
    let (code, said) = verify("10")?;
    ensure(
        code == Some(1) && said.contains("numbers/2.parquet was written again") && said.contains("10 rows made again, 0 differ"),
        || said,
    )?;

    let mut graph = fs::read("tests/fixtures/tiny/add.onnx")?;
    let model = with_bytes(&place.path("models"), &graph)?;
    let middle = graph.len() / 2;
    graph[middle] ^= 1;
    let mut permissions = fs::metadata(&model)?.permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "a file of a test in a folder of its own")]
    permissions.set_readonly(false);
    fs::set_permissions(&model, permissions)?;
    fs::write(&model, graph)?;
    let (code, said) = verify("10")?;
    ensure(code == Some(1) && said.contains("model add@1: add.onnx has another SHA-256"), || said)
}

/// One byte of one picture, in the middle of its data or behind its end, where no decoder looks: the row and the picture are named.
pub(super) fn a_picture() -> Outcome {
    let place = Place::new(40)?;
    place.sql("CREATE MODEL vit FROM 'tests/fixtures/vit'")?;
    let from = fs::read_dir("tests/fixtures/vit_pictures")?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    fs::create_dir(place.path("pictures"))?;
    for id in 1..=40 {
        fs::copy(&from[id % from.len()], place.path(&format!("pictures/{id}.png")))?;
    }
    let query =
        format!("SELECT id, mm_predict('vit', 'file://{}/' || id || '.png').score AS score FROM numbers", place.path("pictures").display());
    place.write(JOB, &query)?;
    place.run_to(0, "2026-11-25", &[])?;
    let (code, said) = place.verify("1000")?;
    ensure(code == Some(0) && said.contains("40 rows made again, 0 differ"), || said)?;
    let picture = place.path("pictures/17.png");
    let mut bytes = fs::read(&picture)?;
    bytes.push(0);
    fs::write(&picture, &bytes)?;
    let (code, said) = place.verify("1000")?;
    ensure(
        code == Some(1)
            && said.contains("input: row 17 is made of other values or media than it was; its media are now: ")
            && said.contains("pictures/17.png")
            && said.contains("40 rows made again, 1 differ, by 0 at most"),
        || said,
    )
}

/// The file below a folder that has these bytes.
fn with_bytes(folder: &Path, bytes: &[u8]) -> Result<PathBuf, Failed> {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if fs::read(entry.path())? == bytes {
                return Ok(entry.path());
            }
        }
    }
    Err("no such file".into())
}

impl Place {
    fn verify(&self, sample: &str) -> Result<(Option<i32>, String), Failed> {
        let job = self.path("scores.toml").to_string_lossy().into_owned();
        let done = self.command("verify", &[&job, "scores-2026-11-25-1", "--sample", sample]).output()?;
        Ok((done.status.code(), format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))))
    }
}
