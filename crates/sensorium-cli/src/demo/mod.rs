//! `sensorium demo`: cases of business, with the SQL shown.

mod data;

use std::path::Path;
use std::time::Instant;

use sensorium_engine::{Session, split_statements};
use sensorium_jobs::SqlJobs;

use crate::arguments::{DemoOptions, Format, SetupOptions};
use crate::run::{Failure, Result};
use crate::sql::execute;
use crate::{output, setup};

/// A title, a script, and the models that it needs besides those of the set-up.
type Part = (&'static str, &'static str, &'static [&'static str]);

const PARTS: [Part; 11] = [
    ("Credit risk: figures and (synthetic) loan notes in one query", include_str!("../../../../sql/demo/credit.sql"), &[]),
    ("Manufacturing: pictures of textiles, nominal or with a defect", include_str!("../../../../sql/demo/manufacturing.sql"), &[]),
    ("Manufacturing: questions about the defects", include_str!("../../../../sql/demo/manufacturing_questions.sql"), &["looker"]),
    ("Manufacturing: vibration of machines beside pictures of what they made", include_str!("../../../../sql/demo/machines.sql"), &[]),
    ("Product quality: pictures against (synthetic) reports", include_str!("../../../../sql/demo/quality.sql"), &[]),
    ("Customer support: recordings to text to matters", include_str!("../../../../sql/demo/support.sql"), &[]),
    ("Brand monitoring: photographs against terms", include_str!("../../../../sql/demo/brand.sql"), &[]),
    ("Audit: scanned invoices against the ledger", include_str!("../../../../sql/demo/audit.sql"), &[]),
    ("Audit: questions to the scans", include_str!("../../../../sql/demo/audit_questions.sql"), &["looker"]),
    ("Churn: (synthetic) purchases and reviews", include_str!("../../../../sql/demo/churn.sql"), &[]),
    (
        "Catalogue: pictures drawn for texts, and how well they fit",
        include_str!("../../../../sql/demo/catalogue.sql"),
        &["painter", "clip"],
    ),
];

/// What a model of one's own is called in the scripts.
const OWN_MODELS: [&str; 3] = ["looker", "painter", "clip"];

pub(crate) async fn run(options: DemoOptions) -> Result {
    let start = Instant::now();
    if let Some((unknown, _)) = options.model.iter().find(|(name, _)| !OWN_MODELS.contains(&name.as_str())) {
        return Err(Failure(format!("no part of the demonstration uses a model '{unknown}': --model knows {}", OWN_MODELS.join(", "))));
    }
    eprintln!("set-up (once; later runs find everything in the cache folder)");
    let python = options.python.clone();
    let set_up = move || setup::run(&SetupOptions { gpu: false, runtime_only: false, python });
    tokio::task::spawn_blocking(set_up).await.map_err(|error| Failure(format!("the set-up stopped: {error}")))??;
    let folder = data::prepare()?;
    let session = Session::open(&folder.join("catalog").to_string_lossy())?;
    for (key, value) in &options.set {
        session.set(key, value).await?;
    }
    data::register(&session, &folder).await?;
    for (name, package) in &options.model {
        data::create_model(&session, name, Path::new(package), data::Known::Replaced, "").await?;
    }
    let jobs = SqlJobs { folder: folder.join("jobs"), ledger: folder.join("jobs.sqlite").to_string_lossy().into_owned() };
    for (title, script, models) in PARTS {
        eprintln!("\n== {title}\n");
        let missing: Vec<String> = models
            .iter()
            .filter(|model| options.model.iter().all(|(name, _)| name != *model))
            .map(|model| format!("--model {model}=FOLDER"))
            .collect();
        if !missing.is_empty() {
            eprintln!("left out: add {}", missing.join(" "));
            continue;
        }
        for statement in split_statements(script)? {
            eprintln!("{statement};\n");
            if let Err(error) = execute(&session, &jobs, &statement, Format::Table, false).await {
                output::print_error(&error);
                return Err(Failure("the demonstration stopped".into()));
            }
        }
    }
    eprintln!(
        "\ndone in {:.0} s; the same by hand: sensorium sql --models {}",
        start.elapsed().as_secs_f64(),
        folder.join("catalog").display()
    );
    Ok(())
}
