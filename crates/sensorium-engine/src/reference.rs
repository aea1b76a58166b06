//! Reference pages, written from the code itself.

use std::fmt::Write;
use std::sync::Arc;

use datafusion::common::config::ExtensionOptions;
use datafusion::error::Result;
use datafusion::logical_expr::Documentation;
use sensorium_inference::Kind;

use crate::engine::Engine;
use crate::functions::{aggregate_functions, scalar_functions, table_functions};
use crate::session::Session;
use crate::settings::{MmSettings, SETTINGS};

const NOTE: &str = "<!-- Written by `cargo reference`; edit the code, not this page. -->\n";

/// `sql/functions.md`: every function with its arguments and an example.
///
/// # Errors
/// Never for a session that could be opened.
pub fn functions_page(session: &Session) -> Result<String> {
    let engine: &Arc<Engine> = session.engine();
    let mut page = format!("{NOTE}\n# Functions\n");
    let scalar = scalar_functions(engine);
    scalar.iter().filter_map(|function| Some((function.name(), function.documentation()?))).for_each(|entry| describe(&mut page, entry));
    page.push_str("\n# Aggregate functions\n");
    let aggregate = aggregate_functions();
    aggregate.iter().filter_map(|function| Some((function.name(), function.documentation()?))).for_each(|entry| describe(&mut page, entry));
    page.push_str("\n# Table functions\n");
    for entry in table_functions(engine) {
        let _ = write!(page, "\n## `{}`\n\n{}\n\n    {}\n\n```sql\n{}\n```\n", entry.name, entry.description, entry.syntax, entry.example);
    }
    Ok(page)
}

fn describe(page: &mut String, (name, documentation): (&str, &Documentation)) {
    let _ = write!(page, "\n## `{name}`\n\n{}\n\n    {}\n", documentation.description, documentation.syntax_example);
    page.push_str("\n| argument | |\n|---|---|\n");
    for (name, text) in documentation.arguments.iter().flatten() {
        let _ = writeln!(page, "| `{name}` | {text} |");
    }
    if let Some(example) = &documentation.sql_example {
        let _ = write!(page, "\n```sql\n{}\n```\n", example.trim());
    }
}

/// `sql/settings.md`: every setting with its default.
pub fn settings_page() -> String {
    let mut page = format!("{NOTE}\n# Settings\n\n`SET mm.device = 'cpu'`, `SHOW mm.device`; on the command line `--set mm.device=cpu`.\n");
    page.push_str("\n| setting | default | |\n|---|---|---|\n");
    let defaults = MmSettings::default().entries();
    for (setting, entry) in SETTINGS.iter().zip(defaults) {
        let _ = writeln!(page, "| `{}` | `{}` | {} |", entry.key, entry.value.unwrap_or_default(), setting.description);
    }
    page
}

/// `sql/errors.md`: every class of error with its remedy.
pub fn errors_page() -> String {
    let mut page =
        format!("{NOTE}\n# Errors\n\nThe `code` column of `mm_errors()`, and what to do about each.\n\n| code | remedy |\n|---|---|\n");
    for kind in Kind::ALL {
        let _ = writeln!(page, "| `{kind}` | {} |", kind.remedy());
    }
    page
}
