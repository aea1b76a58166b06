//! The smallest rectangle around points, and a polygon that grows: what PP-OCR takes from OpenCV and Clipper.

use imageproc::geometry::convex_hull;
use imageproc::point::Point;

/// A corner, in pixels.
pub(super) type Corner = [f64; 2];

/// Corners from the upper left one clockwise, and the length of the shorter side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rectangle {
    pub(super) corners: [Corner; 4],
    pub(super) short_side: f64,
}

fn minus(a: Corner, b: Corner) -> Corner {
    [a[0] - b[0], a[1] - b[1]]
}

/// Twice the area between two vectors.
fn cross(a: Corner, b: Corner) -> f64 {
    a[0] * b[1] - a[1] * b[0]
}

fn dot(a: Corner, b: Corner) -> f64 {
    a[0] * b[0] + a[1] * b[1]
}

/// The distance of two corners.
pub(super) fn distance(a: Corner, b: Corner) -> f64 {
    let [x, y] = minus(a, b);
    x.hypot(y)
}

impl Rectangle {
    /// The rectangle of the smallest area around `points`: one of its sides lies on an edge of their hull.
    pub(super) fn around(points: Vec<Point<i32>>) -> Self {
        let hull: Vec<Corner> = convex_hull(points).iter().map(|point| [f64::from(point.x), f64::from(point.y)]).collect();
        let none = Self { corners: [hull.first().copied().unwrap_or_default(); 4], short_side: 0.0 };
        let mut best: Option<(f64, Self)> = None;
        for (place, corner) in hull.iter().enumerate() {
            let edge = minus(hull[(place + 1) % hull.len()], *corner);
            let length = edge[0].hypot(edge[1]);
            if length == 0.0 {
                continue;
            }
            let along = [edge[0] / length, edge[1] / length];
            let across = [-along[1], along[0]];
            let range = |axis: Corner| {
                let places = hull.iter().map(|corner| dot(*corner, axis));
                places.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), place| (least.min(place), most.max(place)))
            };
            let ((left, right), (top, bottom)) = (range(along), range(across));
            let area = (right - left) * (bottom - top);
            if best.as_ref().is_none_or(|(least, _)| area < least - 1e-9) {
                let corner = |u: f64, v: f64| [u * along[0] + v * across[0], u * along[1] + v * across[1]];
                let corners = [corner(left, top), corner(right, top), corner(right, bottom), corner(left, bottom)];
                best = Some((area, Self { corners: in_order(corners), short_side: (right - left).min(bottom - top) }));
            }
        }
        best.map_or(none, |(_, rectangle)| rectangle)
    }

    /// The polygon whose edges lie further out, by `ratio` times the area divided by the perimeter, with round corners, on
    /// whole pixels. Corners are cut off to whole pixels first, as Clipper takes them.
    pub(super) fn grown(&self, ratio: f64) -> Vec<Point<i32>> {
        let pairs = (0..4).map(|place| (self.corners[place], self.corners[(place + 1) % 4]));
        let area = pairs.clone().map(|(a, b)| cross(a, b)).sum::<f64>().abs() / 2.0;
        let perimeter: f64 = pairs.map(|(a, b)| distance(a, b)).sum();
        offset(&self.corners.map(|[x, y]| [x.trunc(), y.trunc()]), area * ratio / perimeter.max(f64::MIN_POSITIVE))
    }
}

/// From the upper left one clockwise: the upper and lower of the two to the left, and of those to the right.
pub(super) fn in_order(mut corners: [Corner; 4]) -> [Corner; 4] {
    // Corners are single-precision numbers there, and equal ones keep their order.
    corners = corners.map(|corner| corner.map(|place| f64::from(place as f32)));
    corners.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let sorted = |first: Corner, second: Corner| if second[1] > first[1] { (first, second) } else { (second, first) };
    let ((upper_left, lower_left), (upper_right, lower_right)) = (sorted(corners[0], corners[1]), sorted(corners[2], corners[3]));
    [upper_left, upper_right, lower_right, lower_left]
}

/// Largest distance of an arc from its chords (Clipper 6, `ArcTolerance`).
const ARC_TOLERANCE: f64 = 0.25;

/// A convex polygon whose edges lie `distance` further out, with round joins (Clipper 6, `ClipperOffset::DoOffset`).
fn offset(corners: &[Corner; 4], distance: f64) -> Vec<Point<i32>> {
    let mut own: Vec<Corner> = corners.to_vec();
    own.dedup();
    if own.len() > 1 && own.first() == own.last() {
        own.pop();
    }
    let count = own.len();
    let whole = |value: f64| value.round() as i32;
    if count < 3 || distance <= 0.0 {
        return own.iter().map(|[x, y]| Point::new(whole(*x), whole(*y))).collect();
    }
    if (0..count).map(|place| cross(own[place], own[(place + 1) % count])).sum::<f64>() < 0.0 {
        own.reverse();
    }
    let tolerance = ARC_TOLERANCE.min(distance * ARC_TOLERANCE);
    let steps = (std::f64::consts::PI / (1.0 - tolerance / distance).acos()).min(distance * std::f64::consts::PI);
    let (sine, cosine) = (std::f64::consts::TAU / steps).sin_cos();
    let normal = |place: usize| {
        let [x, y] = minus(own[(place + 1) % count], own[place]);
        let length = x.hypot(y);
        [y / length, -x / length]
    };
    let mut grown = Vec::new();
    for (place, [x, y]) in own.iter().enumerate() {
        let (before, after) = (normal((place + count - 1) % count), normal(place));
        let mut put = |[dx, dy]: Corner| grown.push(Point::new(whole(x + dx * distance), whole(y + dy * distance)));
        let (turn, straight) = (cross(before, after), dot(before, after));
        if (turn * distance).abs() < 1.0 && straight > 0.0 {
            put(before);
        } else if turn < 0.0 {
            [before, [0.0, 0.0], after].into_iter().for_each(&mut put);
        } else {
            let mut direction = before;
            for _ in 0..((steps / std::f64::consts::TAU * turn.atan2(straight).abs()).round() as usize).max(1) {
                put(direction);
                direction = [direction[0] * cosine - sine * direction[1], direction[0] * sine + direction[1] * cosine];
            }
            put(after);
        }
    }
    grown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(places: &[(i32, i32)]) -> Vec<Point<i32>> {
        places.iter().map(|(x, y)| Point::new(*x, *y)).collect()
    }

    #[test]
    fn a_turned_rectangle_is_its_own() {
        let found = Rectangle::around(points(&[(0, 10), (20, 0), (25, 10), (5, 20), (12, 9)]));
        assert!((found.short_side - 125.0_f64.sqrt()).abs() < 1e-9);
        assert_eq!(found.corners.map(|[x, y]| (x.round() as i32, y.round() as i32)), [(0, 10), (20, 0), (25, 10), (5, 20)]);
    }

    #[test]
    fn points_on_a_line_have_no_short_side() {
        assert_eq!(Rectangle::around(points(&[(1, 1), (5, 5), (3, 3)])).short_side.round(), 0.0);
        assert_eq!(Rectangle::around(points(&[(4, 4)])).short_side, 0.0);
    }

    #[test]
    fn a_rectangle_grows_on_all_sides() {
        let own = Rectangle::around(points(&[(10, 10), (110, 10), (110, 30), (10, 30)]));
        // 2,000 square pixels and a perimeter of 240: 1.6 times their quotient is 13.3 pixels.
        let grown = Rectangle::around(own.grown(1.6));
        assert_eq!(grown.corners, [[-3.0, -3.0], [123.0, -3.0], [123.0, 43.0], [-3.0, 43.0]]);
    }
}
