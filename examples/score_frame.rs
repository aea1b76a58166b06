//! A Polars frame in Rust: `cargo run --example score_frame`, after `cargo sensorium setup --runtime-only`.
#![expect(clippy::print_stdout, reason = "an example prints")]

use sensorium_engine::Session;
use sensorium_polars::PolarsSession;
use sensorium_polars::polars::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let models = std::env::temp_dir().join("sensorium-example");
    let session = Session::open(&models.to_string_lossy())?;
    session.sql("CREATE MODEL IF NOT EXISTS loom FROM 'examples/models/loom'").await?;

    // Readings of four looms: the later ones shake more.
    let readings = |machine: i32| (0..64).map(move |step| (f64::from(step) * 0.4).sin() * f64::from(machine)).collect::<Series>();
    let looms = df!("loom" => [1, 2, 3, 4], "readings" => (1..=4).map(readings).collect::<Vec<_>>())?;

    // A frame is a table for the statement, and its columns are not copied.
    let query = "SELECT loom, mm_predict('loom', readings) AS shakes FROM looms";
    println!("{}", session.query_frame(query, vec![("looms", (&looms).into())]).await?);

    // As a lazy frame, whose model runs on the rows that the filter leaves.
    let lazy = session.scan_query(query, vec![("looms", looms.lazy().into())]).await?;
    println!("{}", lazy.filter(col("loom").gt(lit(2))).collect()?);
    Ok(())
}
