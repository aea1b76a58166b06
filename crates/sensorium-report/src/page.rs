//! What a page is made of.

use serde::Serialize;

use crate::chart::Chart;

/// A page.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The heading.
    pub title: String,
    /// A line below it.
    pub subtitle: String,
    /// In the order in which they stand.
    pub sections: Vec<Section>,
}

/// Parts below a heading.
#[derive(Debug, Clone, Default)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// In the order in which they stand.
    pub parts: Vec<Part>,
}

/// Something in a section.
#[derive(Debug, Clone)]
pub enum Part {
    /// A paragraph.
    Text(String),
    /// Text that stands as it is, such as a query.
    Code(String),
    /// Rows of columns.
    Table(Table),
    /// A picture of numbers.
    Chart(Chart),
}

/// Rows of columns, ready to be read.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Table {
    /// Their headings.
    pub columns: Vec<String>,
    /// One text for each column.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(columns: &[&str]) -> Self {
        Self { columns: columns.iter().map(ToString::to_string).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn push(&mut self, row: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(row.into_iter().map(Into::into).collect());
    }
}
