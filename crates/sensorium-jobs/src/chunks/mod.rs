//! The parts that a run is committed in: by files and rows of the input, whatever the number of threads.

mod driving;
mod listing;
mod slice;

use datafusion::logical_expr::LogicalPlan;
use sensorium_engine::Session;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::driving::{driving_scans, replace_scan, scans_besides};
use self::listing::{FileRows, files_of, versions_of};
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    #[serde(with = "path")]
    pub(crate) file: object_store::path::Path,
    /// What tells the file's content from an earlier one.
    pub(crate) version: String,
    pub(crate) first: u64,
    pub(crate) rows: u64,
    /// Rows of the whole file.
    pub(crate) of: u64,
}

/// A path as a text.
mod path {
    use object_store::path::Path;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(path.as_ref())
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Path, D::Error> {
        Path::parse(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Chunk {
    /// Number of its rows.
    pub fn rows(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.rows).sum()
    }

    /// The same rows in at most `count` parts. Pieces stay whole: a part of a row group costs as much to read as all of it.
    fn split(&self, count: usize) -> Vec<Self> {
        let most = self.rows().div_ceil(count.max(1) as u64);
        let mut parts: Vec<Self> = Vec::new();
        for piece in &self.pieces {
            match parts.last_mut() {
                Some(part) if part.rows() + piece.rows <= most => part.pieces.push(piece.clone()),
                _ => parts.push(Self { pieces: vec![piece.clone()] }),
            }
        }
        parts
    }
}

impl ChunkPlan {
    /// Parts a query into chunks of at most `rows` rows of its largest table.
    ///
    /// # Errors
    /// Where the files of the table cannot be read.
    pub async fn of(session: &Session, plan: &LogicalPlan, rows: usize) -> Result<Self> {
        let candidates = match driving_scans(plan) {
            Err(why) => return Ok(Self::Whole { why }),
            Ok(candidates) => candidates,
        };
        // Of two that could be, the one with more rows.
        let (mut best, mut most, mut reason) = (None, 0, String::from("no table of files"));
        for (place, scan) in candidates {
            match files_of(session.context(), &scan).await? {
                Ok(files) => {
                    let rows: u64 = files.iter().flat_map(|file| &file.groups).sum();
                    if best.is_none() || rows > most {
                        (best, most) = (Some((place, scan, files)), rows);
                    }
                }
                Err(why) => reason = why,
            }
        }
        let Some((place, scan, files)) = best else { return Ok(Self::Whole { why: reason }) };
        let chunks = cut(files.iter().flat_map(row_groups), rows as u64);
        Ok(Self::Parts { table: scan.table_name.to_string(), place, chunks })
    }

    /// The files of the tables that all chunks read, with what tells their contents from earlier ones.
    pub(crate) async fn shared_inputs(&self, session: &Session, plan: &LogicalPlan) -> Result<Vec<(String, String)>> {
        let place = match self {
            Self::Whole { .. } => None,
            Self::Parts { place, .. } => Some(place.as_slice()),
        };
        let mut files = Vec::new();
        for scan in scans_besides(plan, place)? {
            files.extend(versions_of(session.context(), &scan).await?);
        }
        files.sort();
        Ok(files)
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

    /// Files, their versions and rows that chunk `number` is made of, as JSON.
    pub(crate) fn inputs(&self, number: usize) -> Option<String> {
        match self {
            Self::Whole { .. } => None,
            Self::Parts { chunks, .. } => serde_json::to_string(&chunks[number].pieces).ok(),
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
        sensorium_inference::hex(&digest.finalize())
    }
}

/// The row groups of a file.
fn row_groups(file: &FileRows) -> Vec<Piece> {
    let of = file.groups.iter().sum();
    let mut first = 0;
    let piece = |rows: &u64| {
        first += rows;
        Piece { file: file.path.clone(), version: file.version.clone(), first: first - rows, rows: *rows, of }
    };
    file.groups.iter().map(piece).filter(|piece| piece.rows > 0).collect()
}

/// How much longer than asked for a chunk may become, so that a row group stays whole.
const SLACK: f64 = 1.25;

/// Puts row groups together to chunks of about `most` rows; only those that are longer are cut.
fn cut(groups: impl Iterator<Item = Piece>, most: u64) -> Vec<Chunk> {
    let longest = (most as f64 * SLACK) as u64;
    let mut chunks = Vec::new();
    let mut chunk = Chunk::default();
    for group in groups {
        if chunk.rows() + group.rows > longest && !chunk.pieces.is_empty() {
            chunks.push(std::mem::take(&mut chunk));
        }
        if group.rows <= longest {
            chunk.pieces.push(group);
            continue;
        }
        let parts = group.rows.div_ceil(most);
        let border = |part: u64| group.rows * part / parts;
        let part = |part: u64| Piece { first: group.first + border(part), rows: border(part + 1) - border(part), ..group.clone() };
        chunks.extend((0..parts).map(|number| Chunk { pieces: vec![part(number)] }));
    }
    if !chunk.pieces.is_empty() {
        chunks.push(chunk);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, groups: &[u64]) -> FileRows {
        FileRows { path: name.into(), version: String::new(), groups: groups.to_vec() }
    }

    fn told(chunks: &[Chunk]) -> Vec<String> {
        let piece = |piece: &Piece| format!("{} {}+{}", piece.file, piece.first, piece.rows);
        chunks.iter().map(|chunk| chunk.pieces.iter().map(piece).collect::<Vec<_>>().join(", ")).collect()
    }

    #[test]
    fn long_row_groups_are_cut_and_short_ones_put_together() {
        let files = [file("a", &[7, 0]), file("b", &[1, 3]), file("c", &[1]), file("d", &[5, 2, 2, 1])];
        let chunks = cut(files.iter().flat_map(row_groups), 4);
        assert_eq!(told(&chunks), ["a 0+3", "a 3+4", "b 0+1, b 1+3, c 0+1", "d 0+5", "d 5+2, d 7+2, d 9+1"]);
        assert_eq!(told(&chunks[2].split(2)), ["b 0+1", "b 1+3", "c 0+1"]);
        assert_eq!(told(&chunks[4].split(3)), ["d 5+2", "d 7+2", "d 9+1"]);
        assert_eq!(told(&chunks[4].split(1)), ["d 5+2, d 7+2, d 9+1"]);
    }
}
