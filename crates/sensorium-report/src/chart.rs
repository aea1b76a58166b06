//! Pictures of numbers, drawn by plotters.

use plotters::coord::Shift;
use plotters::prelude::{
    ChartBuilder, Color, DrawingArea, DrawingAreaErrorKind, IntoDrawingArea, IntoFont, LineSeries, PathElement, RGBColor, Rectangle,
    SVGBackend, TextStyle,
};
use plotters::series::DashedLineSeries;
use plotters::style::ShapeStyle;

/// A picture of numbers.
#[derive(Debug, Clone)]
pub enum Chart {
    /// Lines over a common axis.
    Curve(Curve),
    /// Bars with names, from a common zero.
    Bars {
        /// The heading.
        title: String,
        /// From top to bottom.
        bars: Vec<Bar>,
    },
}

/// Lines over a common axis.
#[derive(Debug, Clone)]
pub struct Curve {
    /// The heading.
    pub title: String,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// Drawn one over the other.
    pub lines: Vec<Line>,
}

/// An axis.
#[derive(Debug, Clone)]
pub struct Axis {
    /// What it measures, with its unit.
    pub name: String,
    /// Its end at the origin.
    pub from: f64,
    /// Its other end.
    pub to: f64,
}

/// A line.
#[derive(Debug, Clone)]
pub struct Line {
    /// What it shows.
    pub name: String,
    /// Its corners.
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub stroke: Stroke,
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stroke {
    /// Whole.
    Solid,
    /// As what to compare with.
    Dashed,
}

/// A bar.
#[derive(Debug, Clone)]
pub struct Bar {
    /// What it shows.
    pub name: String,
    /// Its length.
    pub value: f64,
    /// What stands at its end.
    pub text: String,
}

impl Axis {
    /// An axis.
    pub fn new(name: &str, from: f64, to: f64) -> Self {
        Self { name: name.into(), from, to }
    }
}

const WIDTH: u32 = 560;
const HEIGHT: u32 = 360;
const FONT: &str = "sans-serif";
const FONT_SIZE: u32 = 13;
const BAR_HEIGHT: u32 = 26;
/// Characters of a bar's name that fit beside it.
const NAME_LENGTH: usize = 24;
/// Stands for the colour of the page's text, whatever that is.
const INK: RGBColor = RGBColor(1, 2, 3);
const INK_WORD: &str = "#010203";
/// Seen by people who tell few colours apart (M. Okabe and K. Ito, Color Universal Design, 2008), and in the middle between light and dark.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(150, 150, 150),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<std::io::Error>>;

impl Chart {
    /// The heading.
    pub fn title(&self) -> &str {
        match self {
            Self::Curve(curve) => &curve.title,
            Self::Bars { title, .. } => title,
        }
    }

    /// An SVG element.
    ///
    /// # Errors
    /// When it cannot be drawn.
    pub fn svg(&self) -> Result<String, String> {
        let height = match self {
            Self::Curve(_) => HEIGHT,
            Self::Bars { bars, .. } => BAR_HEIGHT * (bars.len() as u32 + 1),
        };
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
            let drawn = match self {
                Self::Curve(curve) => curve.draw(&area),
                Self::Bars { bars, .. } => draw_bars(bars, &area),
            };
            drawn.and_then(|()| area.present()).map_err(|error| error.to_string())?;
        }
        // Scales with the page, and is told to those who cannot see it.
        let sized = format!("<svg width=\"{WIDTH}\" height=\"{height}\"");
        let named = format!("<svg role=\"img\" aria-label=\"{}\"", escaped(self.title()));
        Ok(text.replacen(&sized, &named, 1).replace(INK_WORD, "currentColor"))
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

fn style(size: u32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}

fn colour(place: usize) -> RGBColor {
    COLOURS[place % COLOURS.len()]
}

impl Curve {
    fn draw<'a>(&self, area: &Area<'a>) -> Drawn<'a> {
        // An axis of no length cannot be drawn.
        let end = |axis: &Axis| if axis.to > axis.from { axis.to } else { axis.from + 1.0 };
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .x_label_area_size(42)
            .y_label_area_size(52)
            .build_cartesian_2d(self.x.from..end(&self.x), self.y.from..end(&self.y))?;
        chart
            .configure_mesh()
            .bold_line_style(INK.mix(0.12))
            .light_line_style(INK.mix(0.0))
            .axis_style(INK.mix(0.6))
            .x_desc(self.x.name.as_str())
            .y_desc(self.y.name.as_str())
            .label_style(style(FONT_SIZE))
            .axis_desc_style(style(FONT_SIZE))
            .draw()?;
        for (place, line) in self.lines.iter().enumerate() {
            let points = line.points.iter().copied();
            let stroke = ShapeStyle { color: colour(place).mix(1.0), filled: false, stroke_width: 2 };
            let drawn = match line.stroke {
                Stroke::Solid => chart.draw_series(LineSeries::new(points, stroke))?,
                Stroke::Dashed => chart.draw_series(DashedLineSeries::new(points, 5, 4, stroke))?,
            };
            drawn.label(line.name.clone()).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], stroke));
        }
        if self.lines.len() > 1 {
            chart.configure_series_labels().border_style(INK.mix(0.0)).label_font(style(FONT_SIZE)).draw()?;
        }
        Ok(())
    }
}

fn draw_bars<'a>(bars: &[Bar], area: &Area<'a>) -> Drawn<'a> {
    let (least, most) = bars.iter().fold((0.0_f64, 0.0_f64), |(least, most), bar| (least.min(bar.value), most.max(bar.value)));
    let span = if most > least { most - least } else { 1.0 };
    // Names on the left, and room for the numbers on the right.
    let (left, room) = (190.0, f64::from(WIDTH) - 190.0 - 90.0);
    let place = |value: f64| (left + (value - least) / span * room) as i32;
    for (row, bar) in bars.iter().enumerate() {
        let top = (row as u32 * BAR_HEIGHT + BAR_HEIGHT / 2) as i32;
        let (start, end) = (place(bar.value.min(0.0)), place(bar.value.max(0.0)));
        let fill = ShapeStyle { color: colour(usize::from(bar.value < 0.0)).mix(1.0), filled: true, stroke_width: 0 };
        area.draw(&Rectangle::new([(start, top), (end.max(start + 1), top + BAR_HEIGHT as i32 - 8)], fill))?;
        let name: String = match bar.name.char_indices().nth(NAME_LENGTH) {
            Some((end, _)) => format!("{}…", &bar.name[..end]),
            None => bar.name.clone(),
        };
        area.draw_text(&name, &style(FONT_SIZE), (4, top + 2))?;
        area.draw_text(&bar.text, &style(FONT_SIZE), (end + 6, top + 2))?;
    }
    Ok(())
}
