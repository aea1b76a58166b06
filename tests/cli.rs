//! The command as a user calls it: data on stdout, everything else on stderr, exit codes.

use std::process::Output;

use libtest_mimic::Failed;
use tempfile::TempDir;

use crate::support::{Bucket, command, ensure};
use crate::{Outcome, Test};

pub(crate) const TESTS: &[Test] = &[
    ("errors_go_to_stderr_with_a_hint", errors),
    ("files_are_written_to_a_bucket", written_to_a_bucket),
    ("formats", formats),
    ("missing_library_lists_what_was_tried", missing_library),
    ("nothing_is_told_elsewhere", untold),
    ("output_file", output_file),
    ("script_and_settings", script),
    ("shell_reads_several_lines", shell),
];

fn sql(arguments: &[&str]) -> Result<Output, Failed> {
    let models = TempDir::new()?;
    let models = models.path().to_string_lossy().into_owned();
    Ok(command().arg("sql").args(["--models", &models]).args(arguments).output()?)
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const CREATE: &str = "CREATE MODEL add FROM 'tests/fixtures/tiny/add.onnx';";

fn written_to_a_bucket() -> Outcome {
    let (bucket, models) = (Bucket::open()?, TempDir::new()?);
    let query = "SELECT mm_write(arrow_cast(t, 'Binary'), 's3://bucket/media') FROM (VALUES ('one'), ('two'), ('one'), (NULL)) AS v(t)";
    let mut command = command();
    bucket.tell(&mut command).args(["sql", "--format", "csv", "--set", "mm.write_roots=s3://bucket/media", "--models"]);
    // Twice: what is there stays.
    let output = command.arg(models.path()).args(["-c", &format!("{query}; {query}")]).output()?;
    let found = stdout(&output);
    ensure(output.status.success(), || String::from_utf8_lossy(&output.stderr).into_owned())?;
    let uris: Vec<&str> = found.lines().filter(|line| line.starts_with("s3://bucket/media/")).collect();
    ensure(uris.len() == 6 && uris[0] == uris[2] && uris[..3] == uris[3..], || found.clone())?;
    let read = |uri: &str| std::fs::read_to_string(bucket.path(uri.trim_start_matches("s3://bucket/")));
    ensure(read(uris[0])? == "one" && read(uris[1])? == "two", || found.clone())
}

fn formats() -> Outcome {
    let query = format!("{CREATE} SELECT a, mm_predict('add', a, 1) AS p FROM (VALUES (1.5), (NULL)) AS t(a)");
    for (format, expected) in
        [("csv", "a,p\n1.5,{sum: 2.5}\n,\n"), ("jsonl", "{\"a\":1.5,\"p\":{\"sum\":2.5}}\n{}\n"), ("table", "| 1.5 | {sum: 2.5} |")]
    {
        let output = sql(&["--quiet", "--format", format, "-c", &query])?;
        ensure(output.status.success() && stdout(&output).contains(expected), || {
            format!("{format}: {}{}", stdout(&output), stderr(&output))
        })?;
        ensure(stderr(&output).is_empty(), || format!("{format}: stderr is {}", stderr(&output)))?;
    }
    Ok(())
}

fn errors() -> Outcome {
    for (query, hint) in [
        ("SELECT mm_predict('ad', 1, 2)", "did you mean 'add'?"),
        ("SELECT mm_predict('add', 1)", "its inputs: a (number), b (number)"),
        ("SET mm.devise = 'cpu'", "did you mean 'device'?"),
        ("SELECT * FROM 'missing.csvx'", ""),
    ] {
        let output = sql(&["-c", &format!("{CREATE} {query}")])?;
        ensure(output.status.code() == Some(1), || format!("exit code {:?}: {query}", output.status.code()))?;
        ensure(stderr(&output).contains("error: ") && stderr(&output).contains(hint), || format!("{query}: {}", stderr(&output)))?;
        ensure(!stdout(&output).contains("error"), || format!("an error on stdout: {query}"))?;
    }
    let usage = sql(&["--format", "xml"])?;
    ensure(usage.status.code() == Some(2), || format!("exit code {:?} for a wrong option", usage.status.code()))
}

fn script() -> Outcome {
    let folder = TempDir::new()?;
    let file = folder.path().join("script.sql");
    std::fs::write(&file, format!("-- a comment; with a semicolon\n{CREATE}\nSHOW mm.batch_rows;\nSELECT count(*) AS loans FROM loans;"))?;
    let file = file.to_string_lossy().into_owned();
    let output = sql(&["-f", &file, "--format", "csv", "--set", "mm.batch_rows=7", "--table", "loans=examples/data/credit_data.parquet"])?;
    let found = stdout(&output);
    ensure(found.contains("mm.batch_rows,7") && found.ends_with("loans\n4454\n"), || format!("{found}{}", stderr(&output)))?;
    let wrong = sql(&["--set", "mm.batch_rows=many", "-c", "SELECT 1"])?;
    ensure(stderr(&wrong).contains("a whole number from 0 to 65536"), || stderr(&wrong))
}

fn output_file() -> Outcome {
    let folder = TempDir::new()?;
    let file = folder.path().join("out.parquet").to_string_lossy().into_owned();
    let written = sql(&["--output", &file, "-c", &format!("{CREATE} SELECT mm_predict('add', 1, 2).sum AS s")])?;
    ensure(written.status.success(), || stderr(&written))?;
    let read = sql(&["--format", "csv", "-c", &format!("SELECT s FROM '{file}'")])?;
    ensure(stdout(&read) == "s\n3.0\n", || stdout(&read) + &stderr(&read))?;
    let refused = sql(&["--output", "out.csv", "-c", "SELECT 1"])?;
    ensure(stderr(&refused).contains("ends in .parquet"), || stderr(&refused))
}

fn shell() -> Outcome {
    use std::io::Write;
    use std::process::Stdio;
    let models = TempDir::new()?;
    let mut shell = command();
    shell.args(["sql", "--format", "csv", "--models", &models.path().to_string_lossy()]).env("SENSORIUM_CACHE", models.path());
    let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let typed = b"\\h\nSELECT 1\n  AS one;\nSELECT nonsense;\nSELECT 2 AS two; SELECT 3 AS three;\n\\q\n";
    child.stdin.take().ok_or("no stdin")?.write_all(typed)?;
    let output = child.wait_with_output()?;
    let found = stdout(&output);
    ensure(output.status.success() && found == "one\n1\ntwo\n2\nthree\n3\n", || format!("{found}{}", stderr(&output)))?;
    ensure(stderr(&output).contains("nonsense"), || "the error of a statement is not shown".into())
}

/// By which it knows machines that build and test.
const BUILDERS: [&str; 12] = [
    "CI",
    "TF_BUILD",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "CIRCLECI",
    "TRAVIS",
    "JENKINS_URL",
    "CODEBUILD_BUILD_ID",
    "BUILDKITE",
    "TEAMCITY_VERSION",
    "APPVEYOR",
    "BITBUCKET_BUILD_NUMBER",
];

/// ONNX Runtime writes down what it means to send to its maker below the user's home.
fn untold() -> Outcome {
    let home = TempDir::new()?;
    let library = sensorium_inference::runtime_info()?.library;
    let mut command = command();
    command.args(["sql", "--quiet", "--models", &home.path().join("models").to_string_lossy(), "-c"]);
    command.arg(format!("{CREATE} SELECT mm_predict('add', 1, 2)")).env("ORT_DYLIB_PATH", library).env("HOME", home.path());
    command.env("SENSORIUM_CACHE", home.path().join("models"));
    // It keeps quiet on machines that build and test, too.
    ["ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME"]
        .iter()
        .chain(&BUILDERS)
        .for_each(|name| _ = command.env_remove(name));
    let output = command.output()?;
    ensure(output.status.success(), || stderr(&output))?;
    let left = std::fs::read_dir(home.path())?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    ensure(left == [home.path().join("models")], || format!("{left:?}"))
}

fn missing_library() -> Outcome {
    let empty = TempDir::new()?;
    let mut command = command();
    command.args(["sql", "--models", &empty.path().to_string_lossy(), "-c", CREATE]).env("SENSORIUM_CACHE", empty.path());
    command.env_remove("VIRTUAL_ENV").env_remove("CONDA_PREFIX").env_remove("ORT_DYLIB_PATH");
    let output = command.output()?;
    let text = stderr(&output);
    ensure(text.contains("ONNX Runtime not found, tried:") && text.contains("sensorium setup"), || text.clone())?;
    command.env("ORT_DYLIB_PATH", empty.path().join("none.so"));
    let text = stderr(&command.output()?);
    ensure(text.contains("ORT_DYLIB_PATH is not usable") && !text.contains("tried:"), || text.clone())
}
