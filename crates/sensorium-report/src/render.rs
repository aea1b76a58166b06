//! Pages from templates.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;

use crate::chart::Chart;
use crate::page::{Part, Report, Table};

/// That a page could not be made: a fault of this crate.
#[derive(Debug)]
pub struct RenderError(String);

impl std::fmt::Display for RenderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the report cannot be written: {}", self.0)
    }
}

impl std::error::Error for RenderError {}

/// A part as the templates read it; one of its fields is filled.
#[derive(Serialize, Default)]
struct Shown {
    text: Option<String>,
    code: Option<String>,
    table: Option<ShownTable>,
    title: Option<String>,
    svg: Option<String>,
}

#[derive(Serialize)]
struct ShownTable {
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Serialize)]
struct Cell {
    text: String,
    address: Option<String>,
    is_picture: bool,
}

impl From<Table> for ShownTable {
    fn from(table: Table) -> Self {
        let cell = |text| Cell { text, address: None, is_picture: false };
        let mut rows: Vec<Vec<Cell>> = table.rows.into_iter().map(|row| row.into_iter().map(cell).collect()).collect();
        for link in table.links {
            if let Some(cell) = rows.get_mut(link.row).and_then(|row| row.get_mut(link.column)) {
                (cell.address, cell.is_picture) = (Some(link.address), link.is_picture);
            }
        }
        Self { columns: table.columns, rows }
    }
}

#[derive(Serialize)]
struct ShownSection {
    title: String,
    parts: Vec<Shown>,
}

#[derive(Serialize)]
struct Page<'r> {
    title: &'r str,
    subtitle: &'r str,
    sections: Vec<ShownSection>,
}

const HTML: &str = include_str!("../templates/report.html");
const MARKDOWN: &str = include_str!("../templates/report.md");

/// The page as HTML that needs no other file.
///
/// # Errors
/// When it cannot be drawn.
pub fn html(report: &Report) -> Result<String, RenderError> {
    render("report.html", HTML, report, &|chart| {
        Ok(Shown { title: Some(chart.title().to_string()), svg: Some(chart.svg().map_err(RenderError)?), ..Shown::default() })
    })
}

/// The page as Markdown; of lines there are no more than a table's rows.
///
/// # Errors
/// When it cannot be written.
pub fn markdown(report: &Report) -> Result<String, RenderError> {
    render("report.md", MARKDOWN, report, &|chart| {
        Ok(Shown { title: Some(chart.title().to_string()), table: Some(chart.table().into()), ..Shown::default() })
    })
}

fn render(
    name: &str,
    template: &str,
    report: &Report,
    chart: &dyn Fn(&Chart) -> Result<Shown, RenderError>,
) -> Result<String, RenderError> {
    let failed = |error: minijinja::Error| RenderError(format!("{error:#}"));
    let part = |part: &Part| match part {
        Part::Text(text) => Ok(Shown { text: Some(text.clone()), ..Shown::default() }),
        Part::Code(code) => Ok(Shown { code: Some(code.clone()), ..Shown::default() }),
        Part::Table(table) => Ok(Shown { table: Some(table.clone().into()), ..Shown::default() }),
        Part::Chart(own) => chart(own),
    };
    let mut sections = Vec::new();
    for section in &report.sections {
        let parts = section.parts.iter().map(part).collect::<Result<_, _>>()?;
        sections.push(ShownSection { title: section.title.clone(), parts });
    }
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|name| if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None });
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(failed)?);
    environment.add_filter("plain", |text: String| plain(&text));
    environment.add_filter("fence", |text: String| fence(&text));
    environment.add_template(name, template).map_err(failed)?;
    let page = environment.get_template(name).map_err(failed)?;
    page.render(Serde(Page { title: &report.title, subtitle: &report.subtitle, sections })).map_err(failed)
}

/// Text that means nothing to Markdown, in one line.
fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\r' => safe.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' => safe.extend(['\\', letter]),
            other => safe.push(other),
        }
    }
    safe
}

/// More backticks than stand anywhere in the text.
fn fence(text: &str) -> String {
    let longest = text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

/// Rows of a line's table in Markdown.
const ROWS: usize = 11;

impl Chart {
    /// Its numbers: the bars, or some points of each line.
    fn table(&self) -> Table {
        match self {
            Self::Bars { bars, .. } => {
                let mut table = Table::new(&["", ""]);
                bars.iter().for_each(|bar| table.push([bar.name.clone(), bar.text.clone()]));
                table
            }
            Self::Curve(curve) => {
                let mut table = Table::new(&["", &curve.x.name, &curve.y.name]);
                for line in &curve.lines {
                    let last = line.points.len().saturating_sub(1);
                    let rows = line.points.len().min(ROWS);
                    for row in 0..rows {
                        let (x, y) = line.points[row * last / (rows - 1).max(1)];
                        table.push([line.name.clone(), format!("{x:.4}"), format!("{y:.4}")]);
                    }
                }
                table
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Axis, Bar, Curve, Line, Section, Stroke};

    fn report() -> Report {
        let line = |name: &str, stroke| Line { name: name.into(), points: vec![(0.0, 0.0), (0.5, 0.8), (1.0, 1.0)], stroke };
        let lines = vec![line("model <1>", Stroke::Solid), line("chance", Stroke::Dashed)];
        let curve = Curve { title: "ROC & co".into(), x: Axis::new("x", 0.0, 1.0), y: Axis::new("y", 0.0, 1.0), lines };
        let bars =
            vec![Bar { name: "a|b".into(), value: -0.5, text: "-0.5".into() }, Bar { name: "c".into(), value: 1.0, text: "1".into() }];
        let parts = vec![
            Part::Text("<script>alert(1)</script>".into()),
            Part::Code("SELECT *\n```\n<b>".into()),
            Part::Chart(Chart::Curve(curve)),
            Part::Chart(Chart::Bars { title: "bars".into(), bars }),
        ];
        Report { title: "A report".into(), subtitle: "of nothing".into(), sections: vec![Section { title: "First".into(), parts }] }
    }

    #[test]
    fn a_page_holds_all_it_needs_and_nothing_that_runs() {
        let page = html(&report()).expect("a page");
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
        assert_eq!(page.matches("<svg role=\"img\"").count(), 2);
        assert!(page.contains("currentColor") && !page.contains("#010203"));
        // Names of namespaces are no addresses that are read.
        assert!(!page.replace("http://www.w3.org", "").contains("http"), "{page}");
    }

    #[test]
    fn cells_lead_to_pages_and_show_pictures() {
        let mut table = Table::new(&["run", "picture"]);
        table.push(["a & b", "no \"picture\""]);
        table.link(0, "runs/a?x=1&y=<2>");
        table.picture(1, "media/a/0");
        let parts = vec![Part::Table(table)];
        let report = Report { sections: vec![Section { title: "First".into(), parts }], ..Report::default() };
        let page = html(&report).expect("a page");
        assert!(page.contains("<a href=\"runs&#x2f;a?x=1&amp;y=&lt;2&gt;\">a &amp; b</a>"), "{page}");
        assert!(page.contains("<img src=\"media&#x2f;a&#x2f;0\" alt=\"no &quot;picture&quot;\""), "{page}");
        assert!(markdown(&report).expect("a page").contains("| a & b | no \"picture\" |"));
    }

    #[test]
    fn markdown_has_tables_for_curves() {
        let page = markdown(&report()).expect("a page");
        assert!(page.contains("| model \\<1\\> | 0.5000 | 0.8000 |"), "{page}");
        assert!(page.contains("| a\\|b | -0.5 |"), "{page}");
        assert!(page.contains("````\nSELECT *\n```\n<b>\n````"), "{page}");
    }

    #[test]
    fn numbers_of_no_spread_can_be_drawn() {
        let flat = Line { name: "flat".into(), points: vec![(2.0, 2.0)], stroke: Stroke::Solid };
        let curve = Curve { title: "t".into(), x: Axis::new("x", 2.0, 2.0), y: Axis::new("y", 2.0, 2.0), lines: vec![flat] };
        assert!(Chart::Curve(curve).svg().is_ok());
        assert!(Chart::Bars { title: "t".into(), bars: Vec::new() }.svg().is_ok());
    }
}
