//! Pages that are written from the code, and the README's blocks.

use libtest_mimic::Failed;
use tempfile::TempDir;

use crate::support::{command, ensure, fresh, root};
use crate::{Outcome, Test};

pub(crate) const TESTS: &[Test] =
    &[("printed_output_is_up_to_date", printed), ("readme_statements_run", readme), ("reference_pages_are_up_to_date", reference)];

/// The block that begins with CREATE MODEL, statement by statement.
/// Runs the blocks of the README that need nothing but what lies in `examples/`.
fn readme() -> Outcome {
    let page = std::fs::read_to_string("README.md")?;
    let blocks = page.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next());
    let fresh = fresh();
    let mut run = 0;
    for block in blocks.filter(|block| block.starts_with("CREATE MODEL") && block.contains("'examples/")) {
        for statement in sensorium_engine::split_statements(block)? {
            fresh.rows(&statement)?;
        }
        run += 1;
    }
    ensure(run == 2, || format!("{run} blocks were run"))
}

fn reference() -> Outcome {
    let output = command().args(["reference", "--check"]).output()?;
    ensure(output.status.success(), || String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Runs the commands of `sql/output.md` in order and compares; `PAGES_COMPLETE=1` writes what they print instead.
fn printed() -> Outcome {
    let path = "sql/output.md";
    let page = std::fs::read_to_string(path)?;
    let models = TempDir::new()?;
    let mut fresh_page = String::new();
    let mut parts = page.split("```console\n$ ");
    fresh_page.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (block, rest) = part.split_once("```").ok_or("a block without an end")?;
        let line = block.lines().next().unwrap_or_default();
        fresh_page.push_str(&format!("```console\n$ {line}\n{}```{rest}", run(line, &models)?));
    }
    if std::env::var_os("PAGES_COMPLETE").is_some() {
        return Ok(std::fs::write(path, fresh_page)?);
    }
    let differs = page.lines().zip(fresh_page.lines()).find(|(old, new)| old != new);
    ensure(page == fresh_page, || format!("{path} is stale: {differs:?}\n\nhint: PAGES_COMPLETE=1 cargo test --test sensorium pages"))
}

/// What a shell line prints, without what differs from run to run: times and the place of the checkout.
fn run(line: &str, models: &TempDir) -> Result<String, Failed> {
    let program = command();
    let folder = std::path::Path::new(program.get_program()).parent().ok_or("no folder")?;
    let search = format!("{}:{}", folder.display(), std::env::var("PATH")?);
    let output = std::process::Command::new("sh")
        .args(["-c", &format!("{{ {line} ; }} 2>&1")])
        .current_dir(root())
        .env("PATH", search)
        .env("SENSORIUM_MODELS", models.path())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let place = root().display().to_string();
    let text = text.replace(place.trim_start_matches('/'), "..");
    let timeless = |line: &str| match line.split_once(" in ") {
        Some((rows, time)) if rows.contains(" row") && time.ends_with(" s") => format!("{rows} in .. s\n"),
        _ => format!("{}\n", line.trim_end()),
    };
    Ok(text.lines().map(timeless).collect())
}
