//! Files of SQLite that several processes use at once.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

/// How long to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(30);
/// Between two tries of what SQLite does not wait for by itself.
const PAUSE: Duration = Duration::from_millis(20);

/// Opens or makes a file with a write-ahead log, so that readers do not wait for writers.
///
/// # Errors
/// For a file that cannot be written or is none of SQLite, and where another process keeps it for more than half a minute.
pub fn open_shared(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    let start = Instant::now();
    // While a file is given its log, others are turned away, and the busy handler is not asked (sqlite.org/wal.html).
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && start.elapsed() < BUSY => std::thread::sleep(PAUSE),
            result => return result.map(|()| connection),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_may_make_the_file_at_once() {
        for _ in 0..10 {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("new.sqlite");
            std::thread::scope(|scope| {
                let all: Vec<_> = (0..8)
                    .map(|number: i64| {
                        let path = &path;
                        scope.spawn(move || {
                            let connection = open_shared(path)?;
                            connection.execute_batch("CREATE TABLE IF NOT EXISTS t (n INTEGER)")?;
                            connection.execute("INSERT INTO t VALUES (?1)", [number])
                        })
                    })
                    .collect();
                all.into_iter().for_each(|one| assert_eq!(one.join().expect("no panic").expect("a file"), 1));
            });
            let count: i64 =
                open_shared(&path).and_then(|file| file.query_row("SELECT count(*) FROM t", [], |row| row.get(0))).expect("rows");
            assert_eq!(count, 8);
        }
    }
}
