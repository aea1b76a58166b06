//! What may be written next: the scores of tokens as the rules leave them.
//!
//! Rules, their order and their numbers are those of transformers' `generation/logits_process.py`.

use std::collections::HashSet;

use crate::package::{Drawing, Generation};
use crate::random::Random;

/// What a row has so far.
#[derive(Clone, Copy)]
pub(super) struct SoFar<'a> {
    pub(super) prompt: &'a [u32],
    pub(super) written: &'a [u32],
    /// Tokens that it may write.
    pub(super) limit: usize,
}

const NEVER: f32 = f32::NEG_INFINITY;

/// Applies the rules that say what may be written, chance aside.
pub(super) fn apply(generation: &Generation, scores: &mut [f32], so_far: SoFar<'_>) {
    let (rules, written) = (&generation.rules, so_far.written.len());
    if rules.repetition_penalty != 1.0 {
        penalise_repetition(scores, so_far, rules.repetition_penalty as f32);
    }
    if rules.no_repeat_ngram_size > 0 {
        forbid(scores, &completions(so_far, rules.no_repeat_ngram_size));
    }
    for word in &rules.bad_words {
        if let Some((last, start)) = word.split_last()
            && !(start.is_empty() && generation.ends.contains(last))
            && ends_with(so_far, start)
        {
            forbid(scores, &[*last]);
        }
    }
    if written < rules.min_tokens {
        forbid(scores, &generation.ends);
    }
    if let Some(first) = rules.forced_first.filter(|_| so_far.prompt.len() + written == 1) {
        force(scores, first);
    }
    if let Some(last) = rules.forced_last.filter(|_| written + 1 == so_far.limit) {
        force(scores, last);
    }
    forbid(scores, &rules.suppressed);
    if written == 0 {
        forbid(scores, &rules.suppressed_at_start);
    }
}

fn forbid(scores: &mut [f32], tokens: &[u32]) {
    for token in tokens {
        if let Some(score) = scores.get_mut(*token as usize) {
            *score = NEVER;
        }
    }
}

fn force(scores: &mut [f32], token: u32) {
    scores.fill(NEVER);
    if let Some(score) = scores.get_mut(token as usize) {
        *score = 0.0;
    }
}

fn penalise_repetition(scores: &mut [f32], so_far: SoFar<'_>, penalty: f32) {
    let seen: HashSet<u32> = so_far.prompt.iter().chain(so_far.written).copied().collect();
    for token in seen {
        if let Some(score) = scores.get_mut(token as usize) {
            *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
        }
    }
}

fn token_at(so_far: SoFar<'_>, place: usize) -> u32 {
    so_far.prompt.get(place).copied().unwrap_or_else(|| so_far.written[place - so_far.prompt.len()])
}

fn ends_with(so_far: SoFar<'_>, tokens: &[u32]) -> bool {
    let length = so_far.prompt.len() + so_far.written.len();
    length >= tokens.len() && tokens.iter().enumerate().all(|(place, token)| token_at(so_far, length - tokens.len() + place) == *token)
}

/// Tokens that would make the last `size` ones a sequence that is there already.
fn completions(so_far: SoFar<'_>, size: usize) -> Vec<u32> {
    let length = so_far.prompt.len() + so_far.written.len();
    let Some(start) = (length + 1).checked_sub(size) else { return Vec::new() };
    let is_same = |at: usize| (0..size - 1).all(|place| token_at(so_far, at + place) == token_at(so_far, start + place));
    (0..start).filter(|at| is_same(*at)).map(|at| token_at(so_far, at + size - 1)).collect()
}

/// A token and its score.
type Candidate = (u32, f32);

/// The tokens that one is drawn from, with what they weigh.
pub(super) fn candidates(scores: &[f32], drawing: &Drawing) -> Vec<Candidate> {
    let temperature = drawing.temperature as f32;
    let scaled = scores.iter().enumerate().map(|(token, score)| (token as u32, score / temperature));
    let mut kept: Vec<Candidate> = scaled.filter(|(_, score)| *score > NEVER).collect();
    if drawing.top_k > 0 && drawing.top_k < kept.len() {
        let mut all: Vec<f32> = kept.iter().map(|(_, score)| *score).collect();
        let (_, least, _) = all.select_nth_unstable_by(drawing.top_k - 1, |one, other| other.total_cmp(one));
        let least = *least;
        kept.retain(|(_, score)| *score >= least);
    }
    let largest = kept.iter().map(|(_, score)| *score).fold(NEVER, f32::max);
    kept.iter_mut().for_each(|(_, score)| *score = (*score - largest).exp());
    if drawing.top_p < 1.0 {
        kept = likeliest_share(kept, drawing.top_p as f32);
    }
    if drawing.min_p > 0.0 {
        // The likeliest weighs one.
        kept.retain(|(_, weight)| *weight >= drawing.min_p as f32);
    }
    kept
}

/// The likeliest that together have the share `top_p`; the least likely whose sum is no more than the rest go.
fn likeliest_share(mut kept: Vec<Candidate>, top_p: f32) -> Vec<Candidate> {
    kept.sort_by(|one, other| one.1.total_cmp(&other.1));
    let all: f32 = kept.iter().map(|(_, weight)| weight).sum();
    let mut sum = 0.0;
    let last = kept.len().saturating_sub(1);
    let gone = kept.iter().take(last).take_while(|(_, weight)| {
        sum += weight / all;
        sum <= 1.0 - top_p
    });
    let gone = gone.count();
    kept.drain(..gone);
    kept.sort_by_key(|(token, _)| *token);
    kept
}

/// Numbers that are the same for the same prompt, whichever rows it is written beside.
/// `media` is a digest of a row's media.
pub(super) fn seeded(seed: u64, prompt: &[u32], question: &[u32], media: u64) -> Random {
    let tokens = prompt.iter().chain(question).map(|token| u64::from(*token));
    let mixed = tokens.chain((media != 0).then_some(media)).fold(seed, |seed, token| Random::new(seed ^ token).next());
    Random::new(mixed)
}

/// One of the candidates, drawn by their weights; `None` where there is none.
pub(super) fn draw(candidates: &[Candidate], random: &mut Random) -> Option<u32> {
    let all: f64 = candidates.iter().map(|(_, weight)| f64::from(*weight)).sum();
    // 53 bits, as many as fit.
    let share = (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
    let mut left = share * all;
    let chosen = candidates.iter().find(|(_, weight)| {
        left -= f64::from(*weight);
        left < 0.0
    });
    chosen.or(candidates.last()).map(|(token, _)| *token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SO_FAR: SoFar<'_> = SoFar { prompt: &[1, 2, 3, 1, 2], written: &[4, 1, 2], limit: 9 };

    #[test]
    fn sequences_are_completed_across_the_prompt() {
        assert_eq!(completions(SO_FAR, 3), [3, 4]);
        assert_eq!(completions(SO_FAR, 1), [1, 2, 3, 1, 2, 4, 1, 2]);
        assert!(completions(SoFar { prompt: &[1], written: &[], limit: 9 }, 3).is_empty());
    }

    #[test]
    fn what_is_drawn_has_its_share() {
        let scores = [0.0, 3.0_f32.ln(), NEVER, 6.0_f32.ln()];
        let all = candidates(&scores, &Drawing { top_k: 0, ..Drawing::default() });
        let mut random = Random::new(1);
        let mut seen = [0_u32; 4];
        (0..10_000).for_each(|_| seen[draw(&all, &mut random).expect("a token") as usize] += 1);
        assert!(seen[2] == 0 && seen[0].abs_diff(1_000) < 100 && seen[1].abs_diff(3_000) < 150, "{seen:?}");
        let few = candidates(&scores, &Drawing { top_p: 0.55, top_k: 0, ..Drawing::default() });
        assert_eq!(few.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [3]);
    }
}
