//! Pages that people read: figures, tables and curves in, one HTML page or one Markdown page out.
//!
//! It knows nothing of models or SQL. Curves are SVG inside the page, in the colour of its text, so that they can be read on a light and
//! on a dark screen; Markdown has their tables instead.

mod chart;
mod page;
mod render;

pub use chart::{Axis, Bar, Chart, Curve, Line, Stroke};
pub use page::{Link, Part, Report, Section, Table};
pub use render::{RenderError, html, markdown};
