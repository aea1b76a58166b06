//! The `sensorium` command.

mod arguments;
mod demo;
mod job;
mod output;
mod progress;
mod run;
mod setup;
mod shell;
mod sql;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

/// Tensors and columns are megabytes that come and go on several threads, which the system's allocator gives back to the
/// kernel and asks for again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = |()| ExitCode::SUCCESS;
    let result = match arguments.command {
        Command::Sql(options) => run::blocking(sql::run(options)).map(done),
        Command::Job { command } => run::blocking(job::execute(command)),
        Command::Setup(options) => setup::run(&options).map(done),
        Command::Demo(options) => run::blocking(demo::run(options)).map(done),
        Command::Reference { check } => sql::write_reference(check).map(done),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            output::print_error(&error);
            ExitCode::from(1)
        }
    }
}
