//! How good predictions are, to choose between ways to make them.

use serde::Serialize;

use crate::target::Target;

/// Figures over rows that a model has not learnt from.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Score {
    /// What was counted: `log_loss` for classes, `rmse` for numbers.
    pub loss_name: &'static str,
    /// The lower the better.
    pub loss: f64,
    /// `auc` for two classes, `accuracy` for more, `r2` for numbers.
    pub quality_name: &'static str,
    /// The higher the better.
    pub quality: f64,
}

/// Raw predictions of rows: logits, or numbers; `outputs` of each row, row by row.
pub(crate) fn score(target: &Target, rows: &[u32], raw: &[f32], weights: &[f32]) -> Score {
    let outputs = target.outputs();
    let of = |place: usize| &raw[place * outputs..(place + 1) * outputs];
    match target {
        Target::Numbers(values) => regression(values, rows, raw, weights),
        Target::Classes { codes, .. } => {
            let (mut loss, mut right, mut total) = (0.0, 0.0, 0.0);
            for (place, row) in rows.iter().enumerate() {
                let (code, weight) = (codes[*row as usize], f64::from(weights[*row as usize]));
                loss += weight * log_loss(of(place), code);
                right += weight * f64::from(u8::from(likeliest(of(place)) == code as usize));
                total += weight;
            }
            let (quality_name, quality) = match outputs {
                1 => ("auc", area(codes, rows, raw, weights)),
                _ => ("accuracy", right / total),
            };
            Score { loss_name: "log_loss", loss: loss / total, quality_name, quality }
        }
    }
}

/// What a raw prediction says in short: the probability of the second of two classes, that of the best of more, or the number.
pub(crate) fn prediction(target: &Target, raw: &[f32]) -> f32 {
    match (target, raw) {
        (Target::Numbers(_), raw) => raw[0],
        (_, [logit]) => 1.0 / (1.0 + (-logit).exp()),
        (_, logits) => {
            let top = logits.iter().copied().fold(f32::MIN, f32::max);
            1.0 / logits.iter().map(|logit| (logit - top).exp()).sum::<f32>()
        }
    }
}

fn regression(values: &[f64], rows: &[u32], raw: &[f32], weights: &[f32]) -> Score {
    let each = || rows.iter().zip(raw).map(|(row, raw)| (values[*row as usize], f64::from(*raw), f64::from(weights[*row as usize])));
    let total: f64 = each().map(|(.., weight)| weight).sum();
    let mean = each().map(|(value, _, weight)| weight * value).sum::<f64>() / total;
    let error: f64 = each().map(|(value, raw, weight)| weight * (value - raw).powi(2)).sum();
    let variation: f64 = each().map(|(value, _, weight)| weight * (value - mean).powi(2)).sum();
    Score { loss_name: "rmse", loss: (error / total).sqrt(), quality_name: "r2", quality: 1.0 - error / variation }
}

/// Negative logarithm of the probability of class `code` from logits.
pub(crate) fn log_loss(raw: &[f32], code: u32) -> f64 {
    match raw {
        [logit] => {
            let margin = if code == 1 { f64::from(*logit) } else { -f64::from(*logit) };
            // log(1 + exp(-m)) without overflow.
            (-margin).max(0.0) + (-margin.abs()).exp().ln_1p()
        }
        logits => {
            let top = logits.iter().copied().fold(f32::MIN, f32::max);
            let sum: f64 = logits.iter().map(|logit| f64::from(logit - top).exp()).sum();
            sum.ln() + f64::from(top - logits[code as usize])
        }
    }
}

fn likeliest(raw: &[f32]) -> usize {
    match raw {
        [logit] => usize::from(*logit > 0.0),
        logits => (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap_or_default(),
    }
}

/// Area under the curve of the second class's scores.
fn area(codes: &[u32], rows: &[u32], raw: &[f32], weights: &[f32]) -> f64 {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| raw[*a].total_cmp(&raw[*b]));
    let (mut pairs, mut negative, mut positive) = (0.0, 0.0, 0.0);
    for equal in order.chunk_by(|a, b| raw[*a] == raw[*b]) {
        let mut own = [0.0, 0.0];
        equal.iter().map(|place| rows[*place] as usize).for_each(|row| own[codes[row] as usize] += f64::from(weights[row]));
        pairs += own[1] * (negative + own[0] / 2.0);
        negative += own[0];
        positive += own[1];
    }
    pairs / (negative * positive)
}
