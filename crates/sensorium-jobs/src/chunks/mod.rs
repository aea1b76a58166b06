//! The parts that a run is committed in: by files and rows of the input, whatever the number of threads.

mod driving;
mod listing;
mod slice;

use datafusion::logical_expr::LogicalPlan;
use sensorium_engine::Session;
use sha2::{Digest, Sha256};

use self::driving::{Driving, driving_scan, replace_scan};
use self::listing::{FileRows, files_of};
use self::slice::Slice;
use crate::error::Result;

/// How a query is parted.
#[derive(Debug)]
pub enum ChunkPlan {
    /// It is run as a whole, because of what stands here.
    Whole {
        /// The reason.
        why: String,
    },
    /// Part by part of the rows of one table.
    Parts {
        /// Its name in the query.
        table: String,
        /// Where it stands in the plan, child by child.
        place: Vec<usize>,
        /// The parts, in the order of their rows.
        chunks: Vec<Chunk>,
    },
}

/// Some rows of a table, from one file or several.
#[derive(Debug, Clone, Default)]
pub struct Chunk {
    /// Where they lie, in their order.
    pub(crate) pieces: Vec<Piece>,
}

/// Rows of one file that follow each other.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) file: object_store::path::Path,
    /// What tells the file's content from an earlier one.
    pub(crate) version: String,
    pub(crate) first: u64,
    pub(crate) rows: u64,
    /// Rows of the whole file.
    pub(crate) of: u64,
}

impl Chunk {
    /// Number of its rows.
    pub fn rows(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.rows).sum()
    }

    /// The same rows in at most `count` parts of about one size.
    fn split(&self, count: usize) -> Vec<Self> {
        let most = self.rows().div_ceil(count.max(1) as u64).max(1);
        cut(self.pieces.iter().cloned(), most)
    }
}

impl ChunkPlan {
    /// Parts a query into chunks of at most `rows` rows of its largest table.
    ///
    /// # Errors
    /// Where the files of the table cannot be read.
    pub async fn of(session: &Session, plan: &LogicalPlan, rows: usize) -> Result<Self> {
        let (place, scan) = match driving_scan(plan) {
            Driving::None { why } => return Ok(Self::Whole { why }),
            Driving::Scan { place, scan } => (place, scan),
        };
        let files = match files_of(session.context(), &scan).await? {
            Ok(files) => files,
            Err(why) => return Ok(Self::Whole { why }),
        };
        let piece = |file: FileRows| Piece { file: file.path, version: file.version, first: 0, rows: file.rows, of: file.rows };
        let chunks = cut(files.into_iter().map(piece), rows as u64);
        Ok(Self::Parts { table: scan.table_name.to_string(), place, chunks })
    }

    /// Number of chunks.
    pub fn len(&self) -> usize {
        match self {
            Self::Whole { .. } => 1,
            Self::Parts { chunks, .. } => chunks.len(),
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The plan of chunk `number`, its rows in as many as `partitions` partitions one after another.
    pub(crate) fn plan(&self, whole: &LogicalPlan, number: usize, partitions: usize) -> Result<LogicalPlan> {
        match self {
            Self::Whole { .. } => Ok(whole.clone()),
            Self::Parts { place, chunks, .. } => {
                let parts = chunks[number].split(partitions);
                Ok(replace_scan(whole.clone(), place, &|provider| Slice::of(provider, parts.clone()))?)
            }
        }
    }

    /// Rows of chunk `number`, where they are counted.
    pub(crate) fn rows(&self, number: usize) -> Option<u64> {
        match self {
            Self::Whole { .. } => None,
            Self::Parts { chunks, .. } => Some(chunks[number].rows()),
        }
    }

    /// SHA-256 over what decides the rows of chunk `number`, `fingerprint` being what decides those of all.
    pub(crate) fn digest(&self, number: usize, fingerprint: &str) -> String {
        let mut digest = Sha256::new();
        digest.update(fingerprint);
        if let Self::Parts { chunks, .. } = self {
            for piece in &chunks[number].pieces {
                digest.update(format!("\n{} {} {} {}", piece.file, piece.version, piece.first, piece.rows));
            }
        }
        crate::hex(&digest.finalize())
    }
}

/// Cuts pieces into chunks of `most` rows, the last one with what is left.
fn cut(pieces: impl Iterator<Item = Piece>, most: u64) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut chunk = Chunk::default();
    for mut piece in pieces {
        while piece.rows > 0 {
            let room = most - chunk.rows();
            let rows = piece.rows.min(room);
            chunk.pieces.push(Piece { rows, ..piece.clone() });
            piece.first += rows;
            piece.rows -= rows;
            if chunk.rows() == most {
                chunks.push(std::mem::take(&mut chunk));
            }
        }
    }
    if !chunk.pieces.is_empty() {
        chunks.push(chunk);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(name: &str, rows: u64) -> Piece {
        Piece { file: name.into(), version: String::new(), first: 0, rows, of: rows }
    }

    fn told(chunks: &[Chunk]) -> Vec<Vec<(String, u64, u64)>> {
        chunks.iter().map(|chunk| chunk.pieces.iter().map(|piece| (piece.file.to_string(), piece.first, piece.rows)).collect()).collect()
    }

    #[test]
    fn files_are_cut_and_small_ones_are_put_together() {
        let chunks = cut([piece("a", 7), piece("b", 0), piece("c", 1), piece("d", 5)].into_iter(), 4);
        let part = |file: &str, first, rows| (file.to_string(), first, rows);
        assert_eq!(
            told(&chunks),
            [vec![part("a", 0, 4)], vec![part("a", 4, 3), part("c", 0, 1)], vec![part("d", 0, 4)], vec![part("d", 4, 1)]]
        );
        assert_eq!(told(&chunks[1].split(2)), [vec![part("a", 4, 2)], vec![part("a", 6, 1), part("c", 0, 1)]]);
    }
}
