//! Models at endpoints of OpenAI's protocol: llama.cpp's server with a tiny model, and one of the tests' own that answers badly.

mod hostile;
mod scripted;
mod served;

use std::path::Path;
use std::process::{Command, Output};

use libtest_mimic::Failed;
use serde_json::Value;
use tempfile::TempDir;

use crate::Test;
use crate::support::{command, ensure};

pub(crate) const TESTS: &[Test] = &[
    ("answers_that_are_bad", hostile::bad_answers),
    ("keys_are_never_told", hostile::untold),
    ("limits_are_kept", hostile::limits),
    ("llama_cpp", served::llama_cpp),
    ("requests_are_cancelled", hostile::cancelled),
    ("what_is_refused_before_it_is_asked", hostile::refused),
];

/// The key that endpoints are asked with, in a variable of the command's.
const KEY: &str = "sk-test-4f7a9c2e81";

/// A folder of models, and the command that asks them.
struct Asking {
    folder: TempDir,
    host: String,
}

impl Asking {
    fn new(port: u16) -> Result<Self, Failed> {
        Ok(Self { folder: TempDir::new()?, host: format!("127.0.0.1:{port}") })
    }

    fn models(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, sql: &str) -> Command {
        let mut command = command();
        command.args(["sql", "--quiet", "--format", "jsonl", "--models"]).arg(self.folder.path());
        command.args(["--set", &format!("mm.allowed_hosts={}", self.host), "-c", sql]).env("SENSORIUM_TEST_KEY", KEY);
        command
    }

    /// `CREATE MODEL m`, with further options.
    fn create(&self, options: &str) -> String {
        format!(
            "CREATE OR REPLACE MODEL m FROM 'openai+http://{}/v1' OPTIONS (model = 'llama', key_env = 'SENSORIUM_TEST_KEY'{options});",
            self.host
        )
    }

    /// The rows of the last statement.
    fn rows(&self, sql: &str) -> Result<Vec<Value>, Failed> {
        let output = self.command(sql).output()?;
        told_nothing(&output)?;
        ensure(output.status.success(), || format!("{sql}\n{}", String::from_utf8_lossy(&output.stderr)))?;
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(lines.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?)
    }

    /// What a person is told of a statement that must fail.
    fn error(&self, sql: &str) -> Result<String, Failed> {
        let output = self.command(sql).output()?;
        told_nothing(&output)?;
        ensure(!output.status.success(), || format!("no error: {sql}"))?;
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Nothing that is printed has the key.
fn told_nothing(output: &Output) -> Result<(), Failed> {
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(KEY);
    ensure(!told(&output.stdout) && !told(&output.stderr), || "the key was printed".into())
}
