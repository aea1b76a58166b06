//! All tests of the public surface: parity with reference outputs, SQL scripts, hostile inputs, the house itself.
//!
//! One binary, because linking DataFusion takes longer than most tests. The set-up (library, models, pictures) runs
//! first, through the `sensorium` command that users run.

mod arrows;
mod cases;
mod catalog;
mod cli;
mod codecs;
mod columns;
mod endpoints;
mod hostile;
mod inference;
mod jobs;
mod json_schema;
mod lifting;
mod pages;
mod parity;
mod polars;
mod python;
mod shapes;
mod slt;
mod support;
mod training;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// What a test returns; `?` turns any error into a failure.
type Outcome = Result<(), Failed>;
/// A test with its name.
type Test = (&'static str, fn() -> Outcome);
/// The tests of one file.
type Group = (&'static str, &'static [Test]);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if let Some(code) = catalog::worker().or_else(codecs::worker) {
        return code;
    }
    if let Err(error) = support::prepare(arguments.list) {
        eprintln!("the set-up of the tests failed: {error}");
        return ExitCode::FAILURE;
    }
    let groups: [Group; 18] = [
        ("arrows", arrows::TESTS),
        ("cases", cases::TESTS),
        ("catalog", catalog::TESTS),
        ("cli", cli::TESTS),
        ("codecs", codecs::TESTS),
        ("columns", columns::TESTS),
        ("endpoints", endpoints::TESTS),
        ("hostile", hostile::TESTS),
        ("inference", inference::TESTS),
        ("jobs", jobs::TESTS),
        ("json_schema", json_schema::TESTS),
        ("lifting", lifting::TESTS),
        ("pages", pages::TESTS),
        ("parity", parity::TESTS),
        ("polars", polars::TESTS),
        ("python", python::TESTS),
        ("shapes", shapes::TESTS),
        ("training", training::TESTS),
    ];
    let named = |(group, tests): &Group| {
        let group = (*group).to_string();
        tests.iter().map(move |(name, test)| Trial::test(format!("{group}::{name}"), *test)).collect::<Vec<_>>()
    };
    let mut trials: Vec<Trial> = groups.iter().flat_map(named).collect();
    trials.extend(slt::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}
