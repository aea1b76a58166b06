//! Which token comes next: the likeliest that may stand there.
//!
//! As OpenAI's `decoding.py` (`SuppressBlank`, `SuppressTokens`, `ApplyTimestampRules`) and transformers'
//! `WhisperTimeStampLogitsProcessor`.

use crate::package::Speech;

/// The next token after `written`, the tokens behind the prompt. `scores` has one number for each token that there is.
pub(super) fn next_token(scores: &mut [f32], written: &[u32], speech: &Speech) -> u32 {
    let forbid = |scores: &mut [f32], tokens: &[u32]| {
        for token in tokens {
            if let Some(score) = scores.get_mut(*token as usize) {
                *score = f32::NEG_INFINITY;
            }
        }
    };
    if written.is_empty() {
        forbid(scores, &speech.suppressed_at_start);
    }
    forbid(scores, &speech.suppressed);
    if speech.timestamps {
        keep_times_in_order(scores, written, speech);
    } else if let Some(times) = scores.get_mut(speech.first_timestamp() as usize..) {
        // Asked for none, a model hardly ever writes one; it would stand in the way of the words behind it.
        times.fill(f32::NEG_INFINITY);
    }
    likeliest(scores)
}

/// Times come in pairs but at the start and at the end, never go back, and come when they are likelier than any word.
fn keep_times_in_order(scores: &mut [f32], written: &[u32], speech: &Speech) {
    let (first, end) = (speech.first_timestamp() as usize, speech.end as usize);
    let first = first.min(scores.len());
    let is_time = |token: &u32| *token as usize >= first;
    let forbid = |scores: &mut [f32]| scores.fill(f32::NEG_INFINITY);
    if let Some(score) = scores.get_mut(speech.no_timestamps as usize) {
        *score = f32::NEG_INFINITY;
    }
    let last_is_time = written.last().is_some_and(is_time);
    let one_before_is_time = written.len() < 2 || is_time(&written[written.len() - 2]);
    match (last_is_time, one_before_is_time) {
        // A pair is complete: words follow.
        (true, true) => forbid(&mut scores[first..]),
        // Words have ended: their other time, or the end.
        (true, false) => forbid(&mut scores[..end.min(first)]),
        _ => {}
    }
    if let Some(last) = written.iter().rev().find(|token| is_time(token)) {
        // The second of a pair may be the same time, and any other is later.
        let least = *last as usize + usize::from(!last_is_time || one_before_is_time);
        let least = least.min(scores.len());
        forbid(&mut scores[first..least]);
    }
    if written.is_empty() {
        forbid(&mut scores[..first]);
        if let Some(most) = speech.max_initial_timestamp {
            let behind = (first + most as usize + 1).min(scores.len());
            forbid(&mut scores[behind..]);
        }
    }
    // Both on the scale of the whole distribution, whose sum cancels out.
    let (words, times) = scores.split_at(first);
    let most = times.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let all_times =
        if most == f32::NEG_INFINITY { f32::NEG_INFINITY } else { most + times.iter().map(|score| (score - most).exp()).sum::<f32>().ln() };
    if all_times > words.iter().copied().fold(f32::NEG_INFINITY, f32::max) {
        forbid(&mut scores[..first]);
    }
}

/// The place of the largest score, the first of several.
pub(super) fn likeliest(scores: &[f32]) -> u32 {
    let best = |best: (usize, f32), (place, score): (usize, &f32)| if *score > best.1 { (place, *score) } else { best };
    scores.iter().enumerate().fold((0, f32::NEG_INFINITY), best).0 as u32
}
