//! The business cases of `sql/demo`, as `cargo demo` runs them: real models, and what each must find.

use libtest_mimic::Failed;

use crate::support::{command, ensure};
use crate::{Outcome, Test};

pub(crate) const TESTS: &[Test] = &[("demonstration", demonstration)];

/// What the tables say in the order of the parts: title, and cells that stand in one row.
const FOUND: &[(&str, &[&[&str]])] = &[
    ("Credit risk", &[&["good", "3200", "0.179"], &["bad", "1254", "0.543"], &["Earlier loans were paid back late"]]),
    ("Manufacturing: pictures", &[&["global", "global", "249"], &["nominal", "nominal", "367"]]),
    ("Manufacturing: vibration", &[&["7", "1.0", "global"], &["17", "1.0"], &["27", "1.0"], &["37", "1.0"]]),
    ("Product quality", &[&["global", "No fault found, the cloth is even.", "50"], &["local", "No fault found, the cloth is even."]]),
    (
        "Customer support",
        &[&["Aki", "Go forward 10 meters.", "instructions to move somewhere"], &["Cem", "talk about the character of a person"]],
    ),
    (
        "Brand monitoring",
        &[&["coffee.jpg", "a cup of coffee"], &["chelsea.jpg", "a cat"], &["rocket.jpg", "a spacecraft"], &["brick.jpg", "a brick wall"]],
    ),
    ("Audit", &[&["2024-0317", "2574.2000", "fine"], &["2024-0318", "1336.7000", "booked wrongly"]]),
    ("Churn", &[&["7", "0.72", "I am done with this"], &["1", "0.01", "Fast delivery"]]),
];

/// The same of parts for models of one's own. What models of random weights say makes no sense, but has a place.
const ANSWERED: &[(&str, &[&[&str]])] = &[
    ("Manufacturing: questions", &[&["| global/textile_0111.jpg | global |"]]),
    ("Audit: questions", &[&["| 2024-0317 | 2574.2 |"], &["| 2024-0318 | 1363.7 |"], &["| 2024-0317 |", "\"is_credit_note\""]]),
    ("Catalogue", &[&["| product | fit ", "| looks_like "], &["| a "], &["| a "], &["| a "]]),
];

fn demonstration() -> Outcome {
    let refused = command().args(["demo", "--model", "thinker=here"]).output()?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure(!refused.status.success() && said.contains("--model knows looker, painter, clip"), || said.clone())?;
    let script = shown(&[], FOUND)?;
    ensure(
        script.contains("left out: add --model looker=FOLDER") && script.contains("--model painter=FOLDER --model clip=FOLDER"),
        || script.clone(),
    )?;
    let own = |name: &str, folder: &str| format!("{name}=tests/fixtures/{folder}");
    let models = [own("looker", "vision_language/llava"), own("painter", "diffusion/model"), own("clip", "joint/clip_single")];
    shown(&models, ANSWERED).map(drop)
}

/// Runs the demonstration with models of one's own; returns what it says beside the tables, which have the rows of `parts`.
fn shown(models: &[String], parts: &[(&str, &[&[&str]])]) -> Result<String, Failed> {
    let output = command().arg("demo").args(models.iter().flat_map(|model| ["--model", model])).output()?;
    let (tables, script) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr).into_owned());
    ensure(output.status.success(), || script.clone())?;
    let mut rest = tables.lines();
    for (title, rows) in parts {
        ensure(script.contains(&format!("== {title}")), || format!("no part '{title}'"))?;
        for cells in *rows {
            let is_row = |line: &str| line.starts_with('|') && cells.iter().all(|cell| line.contains(cell));
            ensure(rest.any(is_row), || format!("{title}: no row with {cells:?} behind those before it:\n{tables}"))?;
        }
    }
    Ok(script)
}
