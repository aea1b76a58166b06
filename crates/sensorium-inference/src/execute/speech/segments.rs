//! What was written for a window, cut at its times. As the end of a window cuts through speech, the next one begins at
//! the last time that was written.

use super::clip::FRAMES_A_STEP;
use crate::package::Speech;

/// A part of a text with its times.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Segment {
    /// Seconds from the start of the clip.
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) text: String,
}

/// Tokens of a part, with steps of time from the start of the window.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) tokens: &'a [u32],
}

/// The parts of `tokens`, and how many frames further the next window begins. `frames` are those of the window that
/// belong to the clip.
///
/// Two times side by side end one part and begin another. If a single time stands last, nothing is said behind it. If
/// none stand side by side, all of the window is one part.
pub(super) fn parts<'a>(tokens: &'a [u32], speech: &Speech, frames: usize) -> (Vec<Part<'a>>, usize) {
    let first = speech.first_timestamp();
    let is_time = |token: &u32| *token >= first;
    let step = |token: u32| (token - first) as usize;
    let mut cuts: Vec<usize> = (1..tokens.len()).filter(|place| is_time(&tokens[place - 1]) && is_time(&tokens[*place])).collect();
    let ends_with_time = matches!(tokens, [.., before, last] if !is_time(before) && is_time(last));
    if cuts.is_empty() {
        let last = tokens.iter().rev().find(|token| is_time(token)).map(|token| step(*token)).filter(|step| *step > 0);
        let end = last.unwrap_or(frames / FRAMES_A_STEP);
        return (vec![Part { start: 0, end, tokens }], frames);
    }
    if ends_with_time {
        cuts.push(tokens.len());
    }
    let mut start = 0;
    let mut cut = |end: usize| {
        let tokens = &tokens[start..end];
        start = end;
        let time = |token: Option<&u32>| token.copied().filter(is_time).map_or(0, step);
        Part { start: time(tokens.first()), end: time(tokens.last()), tokens }
    };
    let parts: Vec<Part<'a>> = cuts.into_iter().map(&mut cut).collect();
    // What was begun behind the last pair is left to the next window.
    let next = if ends_with_time { frames } else { parts.last().map_or(frames, |part| part.end * FRAMES_A_STEP) };
    (parts, next.max(FRAMES_A_STEP))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn speech() -> Speech {
        Speech {
            tokenizer: String::new(),
            start: 50,
            end: 51,
            languages: BTreeMap::new(),
            language: None,
            task: None,
            timestamps: true,
            no_timestamps: 99,
            max_initial_timestamp: None,
            suppressed: Vec::new(),
            suppressed_at_start: Vec::new(),
            max_tokens: 20,
        }
    }

    fn cut(tokens: &[u32]) -> (Vec<(usize, usize, Vec<u32>)>, usize) {
        let speech = speech();
        let (parts, next) = parts(tokens, &speech, 3_000);
        (parts.into_iter().map(|part| (part.start, part.end, part.tokens.to_vec())).collect(), next)
    }

    #[test]
    fn a_window_without_times_is_one_part() {
        assert_eq!(cut(&[7, 8]), (vec![(0, 1_500, vec![7, 8])], 3_000));
        assert_eq!(cut(&[]), (vec![(0, 1_500, vec![])], 3_000));
    }

    #[test]
    fn one_pair_around_all_is_one_part() {
        assert_eq!(cut(&[100, 7, 8, 180]), (vec![(0, 80, vec![100, 7, 8, 180])], 3_000));
    }

    #[test]
    fn a_single_time_at_the_end_means_silence_behind_it() {
        let (first, second) = (vec![100, 7, 150], vec![150, 8, 180]);
        assert_eq!(cut(&[first.clone(), second.clone()].concat()), (vec![(0, 50, first), (50, 80, second)], 3_000));
    }

    #[test]
    fn what_is_not_finished_is_left_to_the_next_window() {
        assert_eq!(cut(&[100, 7, 150, 150, 8]), (vec![(0, 50, vec![100, 7, 150])], 100));
        assert_eq!(cut(&[100, 7, 150, 160]), (vec![(0, 50, vec![100, 7, 150])], 100));
    }

    #[test]
    fn windows_always_move_on() {
        assert_eq!(cut(&[100, 100, 7]).1, FRAMES_A_STEP);
    }
}
