//! Pages that people read: figures, tables and curves in, HTML and Markdown out.
