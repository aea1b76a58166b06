//! Two queries at once on one model, beside one query over the rows of both: what the second costs the first.
//!
//! `cargo bench --bench together -- CATALOG ROOTS CREATE FIRST WHOLE HALF HALF` prints one line of JSON with the seconds of the
//! whole query and of the two halves at once. CREATE and FIRST make and load the model before; tests/bench/compare.py
//! calls it.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::time::Instant;

use sensorium_engine::Session;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let Ok([catalog, roots, create, first, whole, one, other]) = <[String; 7]>::try_from(arguments) else {
        eprintln!("together: nothing to do without CATALOG ROOTS CREATE FIRST WHOLE HALF HALF; tests/bench/compare.py calls it with them");
        return Ok(());
    };
    let session = Session::open(&catalog)?;
    let settings = [format!("SET mm.allowed_roots = '{roots}'"), "SET mm.cache_bytes = 0".to_string()];
    for statement in settings.iter().chain([&create, &first]) {
        run(&session, statement).await?;
    }
    let start = Instant::now();
    run(&session, &whole).await?;
    let alone = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let spawned = [one, other].map(|half| {
        let session = session.clone();
        tokio::spawn(async move { run(&session, &half).await })
    });
    for half in spawned {
        half.await??;
    }
    let together = start.elapsed().as_secs_f64();
    let models = session.progress().len();
    if models != 1 {
        return Err(format!("{models} models were loaded for one").into());
    }
    println!("{{\"alone_s\": {alone}, \"together_s\": {together}}}");
    Ok(())
}

async fn run(session: &Session, statement: &str) -> Result<()> {
    session.sql(statement).await?.collect().await?;
    Ok(())
}
