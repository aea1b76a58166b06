//! How much a page of a PDF has to paint, counted before it is drawn: drawing itself cannot be stopped, and a few hundred bytes of
//! forms within forms are work for years.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use hayro::hayro_interpret::font::{Glyph, GlyphRun};
use hayro::hayro_interpret::hayro_syntax::page::Page;
use hayro::hayro_interpret::pattern::{Pattern, TilingPattern};
use hayro::hayro_interpret::util::TransformExt;
use hayro::hayro_interpret::{
    BlendMode, ClipPath, Context, Device, DrawMode, DrawProps, Image, ImageDrawProps, InterpreterCache, InterpreterSettings, Paint,
    SoftMask, interpret_page,
};
use hayro::kurbo::{Affine, BezPath, Rect, Shape};

use super::{broken, check_pixels};
use crate::error::{Error, Kind, Result};
use crate::execute::Limits;

/// What the smallest thing costs, a glyph or a line of a path, in pixels: about as long as filling so many.
const SMALLEST: f64 = 64.0;
/// Steps between two looks at whether the query was cancelled.
const STEPS_A_LOOK: u32 = 1 << 12;

/// Counts what would be painted.
struct Counter<'c> {
    target: Rect,
    limits: &'c Limits,
    check: &'c dyn Fn() -> Result<()>,
    pixels: f64,
    steps: u32,
}

/// Refuses a page of more than `mm.max_page_paint_pixels`, or with a picture in it of more than `mm.max_image_pixels`.
pub(super) fn check_paint(page: &Page<'_>, scale: f64, target: (f32, f32), limits: &Limits, check: &dyn Fn() -> Result<()>) -> Result<()> {
    let target = Rect::new(0.0, 0.0, f64::from(target.0), f64::from(target.1));
    let transform = Affine::scale(scale) * page.initial_transform(true).to_kurbo();
    let stopped = catch_unwind(AssertUnwindSafe(|| {
        let cache = InterpreterCache::new();
        let mut context = Context::new(transform, target, &cache, page.xref(), InterpreterSettings::default());
        interpret_page(page, &mut context, &mut Counter { target, limits, check, pixels: 0.0, steps: 0 });
    }));
    match stopped {
        Ok(()) => Ok(()),
        Err(cause) => Err(match cause.downcast::<Error>() {
            Ok(error) => *error,
            Err(_) => broken(&"a page that cannot be drawn"),
        }),
    }
}

/// Leaves the interpreter, which knows no errors of its device.
fn stop(error: Error) -> ! {
    resume_unwind(Box::new(error))
}

impl Counter<'_> {
    /// Counts something that lies in `area` and has so many `parts`.
    fn add(&mut self, area: Rect, parts: usize) {
        let visible = area.intersect(self.target).area();
        self.add_pixels(visible + SMALLEST * parts.max(1) as f64);
    }

    fn add_pixels(&mut self, pixels: f64) {
        // What is not a number is as bad as what has no end.
        self.pixels += if pixels.is_finite() { pixels } else { f64::MAX };
        self.steps = self.steps.wrapping_add(1);
        let limit = self.limits.max_page_paint_pixels;
        if self.pixels > limit as f64 {
            let error = Error::new(Kind::Limit, format!("a page that paints over more than {limit} pixels, all its layers together"));
            stop(error.with_hint("SET mm.max_page_paint_pixels, or mm.document_dpi to less"));
        }
        if self.steps.is_multiple_of(STEPS_A_LOOK)
            && let Err(error) = (self.check)()
        {
            stop(error);
        }
    }

    fn check_pixels(&self, width: f64, height: f64) {
        let whole = |side: f64| side.ceil().clamp(1.0, f64::from(u32::MAX)) as u32;
        if let Err(error) = check_pixels(whole(width), whole(height), self.limits) {
            stop(error);
        }
    }
}

impl<'a> Counter<'_> {
    fn mask(&mut self, mask: Option<&SoftMask<'a>>) {
        if let Some(mask) = mask {
            self.add(self.target, 1);
            mask.interpret(self);
        }
    }

    fn paint(&mut self, paint: &Paint<'a>, area: Rect) {
        let Paint::Pattern(pattern) = paint else { return };
        match pattern.as_ref() {
            Pattern::Shading(_) => self.add(area, 1),
            Pattern::Tiling(tile) => self.tiles(tile, area),
        }
    }

    /// A tile is drawn as often as it overlaps with itself, on a picture of its own.
    fn tiles(&mut self, tile: &TilingPattern<'a>, area: Rect) {
        let area = tile.matrix.inverse().transform_rect_bbox(area);
        let [a, b, c, d, ..] = tile.matrix.as_coeffs();
        let (x_step, y_step) = (f64::from(tile.x_step.abs()), f64::from(tile.y_step.abs()));
        self.check_pixels(x_step.min(area.width()) * a.hypot(b), y_step.min(area.height()) * c.hypot(d));
        let copies = (tile.bbox.width() / x_step).ceil().max(1.0) * (tile.bbox.height() / y_step).ceil().max(1.0);
        let before = self.pixels;
        let _ = tile.interpret(self, tile.matrix, false);
        let once = (self.pixels - before).max(SMALLEST);
        self.add_pixels(once * copies);
    }
}

impl<'a> Device<'a> for Counter<'_> {
    fn draw_path(&mut self, path: &BezPath, props: DrawProps<'a>, _: &DrawMode) {
        let area = props.transform.transform_rect_bbox(path.bounding_box());
        self.add(area, path.elements().len());
        self.paint(&props.paint, area);
        self.mask(props.soft_mask.as_ref());
    }

    fn push_clip_path(&mut self, clip: &ClipPath) {
        self.add(clip.path.bounding_box(), clip.path.elements().len());
    }

    fn push_transparency_group(&mut self, _: f32, mask: Option<SoftMask<'a>>, _: BlendMode) {
        self.add(self.target, 1);
        self.mask(mask.as_ref());
    }

    fn draw_glyph_run(&mut self, run: &GlyphRun<'_, 'a>, props: DrawProps<'a>, _: &DrawMode) {
        for glyph in run.glyphs() {
            self.add(Rect::ZERO, 1);
            if let Glyph::Type3(drawn) = &**glyph {
                drawn.interpret(self, props.transform, glyph.transform(), &props.paint);
            }
        }
        self.mask(props.soft_mask.as_ref());
    }

    fn draw_image(&mut self, image: Image<'a, '_>, props: ImageDrawProps<'a>) {
        let (width, height) = (f64::from(image.width()), f64::from(image.height()));
        self.check_pixels(width, height);
        // Decoded each time that it is drawn.
        self.add_pixels(width * height);
        self.add(props.transform.transform_rect_bbox(Rect::new(0.0, 0.0, width, height)), 1);
        self.mask(props.soft_mask.as_ref());
    }

    fn pop_clip(&mut self) {}

    fn pop_transparency_group(&mut self) {}
}
