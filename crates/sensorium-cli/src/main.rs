//! The `sensorium` command.

mod allocator;
mod arguments;
mod demo;
mod output;
mod progress;
mod run;
mod setup;
mod shell;
mod sql;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

fn main() -> ExitCode {
    allocator::prepare();
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Sql(options) => run::blocking(sql::run(options)),
        Command::Setup(options) => setup::run(&options),
        Command::Demo(options) => run::blocking(demo::run(options)),
        Command::Reference { check } => sql::write_reference(check),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(&error);
            ExitCode::from(1)
        }
    }
}
