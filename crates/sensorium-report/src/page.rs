//! What a page is made of.

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
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// Their headings.
    pub columns: Vec<String>,
    /// One text for each column.
    pub rows: Vec<Vec<String>>,
    /// What some cells lead to.
    pub links: Vec<Link>,
}

/// What a cell of a table leads to.
#[derive(Debug, Clone)]
pub struct Link {
    /// Number of its row.
    pub row: usize,
    /// Number of its column.
    pub column: usize,
    /// Address of a page or picture.
    pub address: String,
    /// Whether that is a picture, which is shown in the cell.
    pub is_picture: bool,
}

impl Table {
    /// A table with these headings.
    pub fn new(columns: &[&str]) -> Self {
        Self { columns: columns.iter().map(ToString::to_string).collect(), rows: Vec::new(), links: Vec::new() }
    }

    /// Adds a row.
    pub fn push(&mut self, row: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(row.into_iter().map(Into::into).collect());
    }

    /// Has a cell of the last row lead to a page.
    pub fn link(&mut self, column: usize, address: impl Into<String>) {
        self.links.push(Link { row: self.rows.len().saturating_sub(1), column, address: address.into(), is_picture: false });
    }

    /// Shows a picture in a cell of the last row.
    pub fn picture(&mut self, column: usize, address: impl Into<String>) {
        self.links.push(Link { row: self.rows.len().saturating_sub(1), column, address: address.into(), is_picture: true });
    }
}
