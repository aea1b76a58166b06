//! The scheduler.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::place::{JOB, Place, QUERY};
use crate::Outcome;
use crate::support::ensure;

/// How long a scheduler may take to begin what is due.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was missed is made up for; SIGTERM stops a run behind its chunk, and the next scheduler goes on with it.
pub(super) fn served() -> Outcome {
    let place = Place::new(60_000)?;
    let today = place.count("SELECT arrow_cast(now(), 'Date32')")?;
    let yesterday = place.count("SELECT arrow_cast(now(), 'Date32') - INTERVAL '1 day'")?.replace("T00:00:00", "");
    let schedule = "schedule = { cron = '0 0 * * *' }\n";
    place.write(&format!("{schedule}{}", JOB.replace("700", "200")), QUERY)?;
    let job = place.path("scores.toml").to_string_lossy().into_owned();
    let if_due = || place.command("run", &[&job, "--if-due"]).output();
    let said = if_due()?;
    ensure(said.status.success() && said.stderr.is_empty(), || "a job without a run is made up for".into())?;
    place.run_to(0, &yesterday, &["--quiet"])?;
    let mut first = place.serve()?;
    let staged = place.path(&format!("out/_staging/scores-{today}-1/000001.staged"));
    wait_for(&mut first, || staged.exists())?;
    terminate(&first)?;
    ensure(first.wait()?.success(), || "a scheduler that is told to stop fails".into())?;
    ensure(!place.output(&today).exists(), || "the run was done before it could be stopped".into())?;
    // Two at once: one of them makes the run.
    let (mut second, mut third) = (place.serve()?, place.serve()?);
    wait_for(&mut second, || place.output(&today).exists())?;
    for scheduler in [&mut second, &mut third] {
        terminate(scheduler)?;
        ensure(scheduler.wait()?.success(), || "a scheduler has failed".into())?;
    }
    place.ensure_output(&today, QUERY)?;
    let said = if_due()?;
    ensure(said.status.success() && said.stderr.is_empty(), || "a date that is done is due".into())?;
    let log = place.command("logs", &[&format!("scores-{today}-1")]).output()?;
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    ensure(log.matches("rows in ").count() == 1 && log.contains("was stopped"), || log)
}

/// The pages and figures of the scheduler, read as a browser and a monitor do; a webhook that is told of a failure; the page that is kept of a
/// run. Media of failed rows are shown where they are pictures, and nothing else of the machine is.
pub(super) fn pages() -> Outcome {
    let place = Place::new(400)?;
    place.sql("CREATE MODEL vit FROM 'tests/fixtures/vit'")?;
    let whole = fs::read("tests/fixtures/vit_pictures/photo_coffee.png")?;
    fs::write(place.path("cut.png"), &whole[..1500])?;
    fs::write(place.path("evil.png"), "<html><script>alert(1)</script>")?;
    fs::write(place.path("secret.png"), &whole)?;
    let hook = TcpListener::bind("127.0.0.1:0")?;
    let folder = place.path("").display().to_string();
    // A picture that the query may not read, and so nobody else by it.
    let outside = tempfile::TempDir::new()?;
    fs::copy(place.path("secret.png"), outside.path().join("secret.png"))?;
    let elsewhere = outside.path().join("secret.png").display().to_string();
    let query = format!(
        "SELECT id, mm_predict('vit', CASE WHEN id = 17 THEN '{folder}/cut.png' WHEN id = 18 THEN '{folder}/evil.png' WHEN id = 19 THEN '{elsewhere}' ELSE 'file://{}' END).label AS l FROM numbers",
        std::env::current_dir()?.join("tests/fixtures/vit_pictures/photo_coffee.png").display()
    );
    let job = JOB.replace("700", "100");
    let settings = format!(
        "settings = {{ 'mm.allowed_roots' = '{folder}' }}\nwebhook = {{ url = 'http://{}/told?key=secret' }}\n",
        hook.local_addr()?
    );
    place.write(&format!("description = 'Parts & <b>pieces</b>'\n{settings}{job}"), &query)?;
    place.run_to(3, "2026-11-25", &[])?;
    place.write(&format!("{settings}{job}[[check]]\nkind = 'rows'\nat_most = 1\n"), &query)?;
    let told = std::thread::spawn(move || -> std::io::Result<String> {
        let (mut stream, _) = hook.accept()?;
        let mut request = vec![0; 4096];
        let mut length = 0;
        // Head and body may come one by one.
        while !String::from_utf8_lossy(&request[..length]).contains("\"run_date\"") {
            length += stream.read(&mut request[length..])?;
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")?;
        Ok(String::from_utf8_lossy(&request[..length]).into_owned())
    });
    place.run_to(1, "2026-11-26", &[])?;
    let told = told.join().map_err(|_| "the webhook's other side has failed")??;
    ensure(
        told.starts_with("POST /told?key=secret")
            && told.contains("\"state\":\"failed\"")
            && told.contains("\"run\":\"scores-2026-11-26-1\""),
        || told.clone(),
    )?;

    let folder = place.path("").to_string_lossy().into_owned();
    let mut serve = place.command("serve", &[&folder, "--listen", "127.0.0.1:0"]).stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(serve.stderr.take().ok_or("no standard error")?).lines();
    let address = loop {
        let line = lines.next().ok_or("the scheduler has ended")??;
        let event: serde_json::Value = serde_json::from_str(&line)?;
        if let Some(rest) = event["message"].as_str().and_then(|message| message.strip_prefix("pages at http://")) {
            break rest.split(',').next().unwrap_or_default().to_string();
        }
    };
    let checked = check_pages(&address);
    terminate(&serve)?;
    ensure(serve.wait()?.success(), || "a scheduler that is told to stop fails".into())?;
    checked?;

    let page = place.command("report", &["scores-2026-11-25-1"]).output()?;
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    ensure(page.contains("<svg") && page.contains("cut.png") && !page.contains("<img") && !page.contains("<script"), || page.clone())?;
    let log = place.command("logs", &["scores-2026-11-26-1"]).output()?;
    ensure(!String::from_utf8_lossy(&log.stdout).contains("secret"), || "the webhook's address is in the log".into())
}

fn check_pages(address: &str) -> Outcome {
    for (path, status, expected) in [
        ("/", "200", vec!["/jobs/scores", "/runs/scores-2026-11-25-1", "failed"]),
        ("/jobs/scores", "200", vec!["2026-11-25", "vit@1", "check failed: rows is 400"]),
        ("/runs/scores-2026-11-25-1", "200", vec!["/media/scores-2026-11-25-1", "not a readable PNG", "Rows of", "decode"]),
        ("/runs/scores-2026-11-26-1", "200", vec!["check failed: rows is 400", "otherwise"]),
        ("/runs/none", "404", vec![]),
        ("/jobs/none", "404", vec![]),
        ("/media/scores-2026-11-25-1/0", "200", vec!["content-type: image/png"]),
        ("/media/scores-2026-11-25-1/1", "404", vec!["text/plain"]),
        ("/media/scores-2026-11-25-1/2", "404", vec![]),
        ("/media/..%2f..%2fsecret.png/0", "404", vec![]),
        ("/secret.png", "404", vec![]),
        ("/health", "200", vec!["ok"]),
        (
            "/metrics",
            "200",
            vec![
                "application/openmetrics-text",
                "sensorium_job_last_rejected_rows{job=\"scores\"} 3",
                "sensorium_job_failed{job=\"scores\"} 1",
                "# EOF",
            ],
        ),
    ] {
        let answer = get(address, path)?;
        ensure(answer.starts_with(&format!("HTTP/1.1 {status} ")), || format!("{path}: {answer}"))?;
        for text in expected {
            ensure(answer.contains(text) || answer.replace("&#x2f;", "/").contains(text), || format!("{path} has no '{text}': {answer}"))?;
        }
        ensure(!answer.contains("<script") && !answer.contains("<b>pieces"), || format!("{path}: {answer}"))?;
    }
    // A page from elsewhere whose name leads here.
    let other = request_of(address, "GET / HTTP/1.1", "evil.example")?;
    ensure(other.starts_with("HTTP/1.1 421 "), || other)?;
    let post = request(address, "POST / HTTP/1.1")?;
    ensure(post.starts_with("HTTP/1.1 405 "), || post)
}

fn get(address: &str, path: &str) -> Result<String, libtest_mimic::Failed> {
    request(address, &format!("GET {path} HTTP/1.1"))
}

fn request(address: &str, line: &str) -> Result<String, libtest_mimic::Failed> {
    request_of(address, line, address)
}

fn request_of(address: &str, line: &str, host: &str) -> Result<String, libtest_mimic::Failed> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(format!("{line}\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

impl Place {
    fn serve(&self) -> Result<Child, libtest_mimic::Failed> {
        let folder = self.path("").to_string_lossy().into_owned();
        Ok(self.command("serve", &[&folder]).stderr(Stdio::null()).spawn()?)
    }
}

pub(super) fn terminate(child: &Child) -> Outcome {
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
    ensure(sent.success(), || "no signal was sent".into())
}

pub(super) fn wait_for(child: &mut Child, holds: impl Fn() -> bool) -> Outcome {
    let start = Instant::now();
    while !holds() {
        ensure(start.elapsed() < PATIENCE && child.try_wait()?.is_none(), || "the scheduler does nothing, or has ended".into())?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
