//! Rows to stdout or a file; everything else goes to stderr.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use arrow::json::LineDelimitedWriter;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches_with_options;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::StreamExt;

use crate::arguments::Format;
use crate::run::{Failure, Result, failed};

/// Rows that a printed table shows; all are counted, and all are in the other formats.
const MAX_TABLE_ROWS: usize = 1_000;
/// Longest value in a printed table: vectors and class lists are cut.
const MAX_CELL_CHARACTERS: usize = 96;

/// Prints the rows as they come; returns their number.
pub(crate) async fn print(mut stream: SendableRecordBatchStream, format: Format) -> Result<usize> {
    let schema = stream.schema();
    let mut printer = Printer::new(format, schema);
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        rows += batch.num_rows();
        printer.batch(&batch)?;
    }
    printer.finish(rows)?;
    Ok(rows)
}

/// Prints a text.
pub(crate) fn print_text(text: &str) -> Result {
    let mut stdout = io::stdout();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(|error| cannot_print(&error))
}

/// Prints the rows of a batch as a table.
pub(crate) fn print_batch(batch: &RecordBatch) -> Result {
    let mut printer = Printer::new(Format::Table, batch.schema());
    printer.batch(batch)?;
    printer.finish(batch.num_rows())
}

enum Printer {
    Table { schema: SchemaRef, kept: Vec<RecordBatch>, rows: usize },
    Csv(Box<arrow::csv::Writer<io::Stdout>>),
    Jsonl(LineDelimitedWriter<io::Stdout>),
}

fn cannot_print(error: &dyn std::error::Error) -> Failure {
    failed("cannot print")(error)
}

impl Printer {
    fn new(format: Format, schema: SchemaRef) -> Self {
        match format {
            Format::Table => Self::Table { schema, kept: Vec::new(), rows: 0 },
            Format::Csv => Self::Csv(Box::new(arrow::csv::Writer::new(io::stdout()))),
            Format::Jsonl => Self::Jsonl(LineDelimitedWriter::new(io::stdout())),
        }
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result {
        match self {
            Self::Table { kept, rows, .. } => {
                let count = batch.num_rows().min(MAX_TABLE_ROWS.saturating_sub(*rows));
                *rows += count;
                if count > 0 {
                    kept.push(shortened(&batch.slice(0, count))?);
                }
                Ok(())
            }
            Self::Csv(writer) => writer.write(&flat(batch)?).map_err(|error| cannot_print(&error)),
            Self::Jsonl(writer) => writer.write(batch).map_err(|error| cannot_print(&error)),
        }
    }

    fn finish(self, rows: usize) -> Result {
        let mut stdout = io::stdout();
        match self {
            Self::Table { schema, kept, rows: shown } => {
                if is_plan(&schema) {
                    return print_plans(&kept, &mut stdout);
                }
                let kept = if kept.is_empty() { vec![shortened(&RecordBatch::new_empty(schema))?] } else { kept };
                let table = pretty_format_batches_with_options(&kept, &FormatOptions::default()).map_err(|error| cannot_print(&error))?;
                writeln!(stdout, "{table}").map_err(|error| cannot_print(&error))?;
                if shown < rows {
                    eprintln!("{shown} of {rows} rows shown; --format csv or --output FILE.parquet gives all");
                }
            }
            Self::Jsonl(mut writer) => writer.finish().map_err(|error| cannot_print(&error))?,
            Self::Csv(_) => {}
        }
        stdout.flush().map_err(|error| cannot_print(&error))
    }
}

/// Whether the rows are EXPLAIN's.
fn is_plan(schema: &SchemaRef) -> bool {
    schema.fields().iter().map(|field| field.name().as_str()).eq(["plan_type", "plan"])
}

/// A plan is a text of its own: lines of a table would hide its indentation.
fn print_plans(batches: &[RecordBatch], stdout: &mut io::Stdout) -> Result {
    for batch in batches {
        let (kinds, plans) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
        for (kind, plan) in kinds.iter().zip(plans) {
            let lines: String = plan.unwrap_or_default().lines().map(|line| format!("  {line}\n")).collect();
            write!(stdout, "{}\n{lines}", kind.unwrap_or_default()).map_err(|error| cannot_print(&error))?;
        }
    }
    stdout.flush().map_err(|error| cannot_print(&error))
}

fn texts(array: &ArrayRef, limit: usize) -> Result<ArrayRef> {
    let options = FormatOptions::default().with_null("");
    let formatter = ArrayFormatter::try_new(array, &options).map_err(|error| cannot_print(&error))?;
    let cut = |text: String| if text.chars().count() > limit { text.chars().take(limit - 1).chain(['…']).collect() } else { text };
    let text = |row: usize| (!array.is_null(row)).then(|| cut(formatter.value(row).to_string()));
    Ok(Arc::new((0..array.len()).map(text).collect::<StringArray>()))
}

/// Nested values as text of a bounded length.
fn shortened(batch: &RecordBatch) -> Result<RecordBatch> {
    replaced(batch, MAX_CELL_CHARACTERS)
}

/// Nested values as text, which CSV has no other way to hold.
fn flat(batch: &RecordBatch) -> Result<RecordBatch> {
    replaced(batch, usize::MAX)
}

fn replaced(batch: &RecordBatch, limit: usize) -> Result<RecordBatch> {
    let column = |(index, array): (usize, &ArrayRef)| {
        let array = if array.data_type().is_nested() { texts(array, limit)? } else { Arc::clone(array) };
        Ok((batch.schema().field(index).name().clone(), array, true))
    };
    let columns = batch.columns().iter().enumerate().map(column).collect::<Result<Vec<_>>>()?;
    if columns.is_empty() {
        return Ok(batch.clone());
    }
    RecordBatch::try_from_iter_with_nullable(columns).map_err(|error| cannot_print(&error))
}

/// `error: ..`, red in a terminal, hint on a line of its own.
pub(crate) fn print_error(failure: &Failure) {
    let label = if io::stderr().is_terminal() { "\u{1b}[1;31merror\u{1b}[0m" } else { "error" };
    eprintln!("{label}: {}", failure.0.trim_end());
}
