//! Scores the loan book from Rust: `cargo run --example score_loans`, after `cargo sensorium setup --runtime-only`.

use sensorium_engine::Session;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let models = std::env::temp_dir().join("sensorium-example");
    let session = Session::open(&models.to_string_lossy())?;
    session.sql("CREATE MODEL IF NOT EXISTS credit FROM 'examples/models/credit'").await?;
    session.register("loans", "examples/data/credit_data.parquet").await?;
    let scores = session.sql("SELECT \"Amount\", mm_predict('credit', loans.*) AS risk FROM loans LIMIT 5").await?;
    scores.show().await?;
    Ok(())
}
