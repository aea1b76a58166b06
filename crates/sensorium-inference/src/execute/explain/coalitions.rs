//! Sets of players and their weights.

/// The Shapley weight of what a player adds to a set of `size` others, of `players` in all: `size! (players - size - 1)! / players!`.
pub(super) fn weight(size: usize, players: usize) -> f64 {
    // The chance that exactly these others come before the player in an order that is drawn: 1 / (players * C(players - 1, size)).
    let others = players - 1;
    let choices = (0..size).fold(1.0, |choices, place| choices * (others - place) as f64 / (place + 1) as f64);
    1.0 / (players as f64 * choices)
}

/// What each player is worth, from what each set of them is; sets are bits.
pub(super) fn shapley(players: usize, worth: impl Fn(usize) -> f64) -> Vec<f64> {
    let of_player = |player: usize| {
        let sets = (0..1_usize << players).filter(|set| set >> player & 1 == 0);
        sets.map(|set| weight(set.count_ones() as usize, players) * (worth(set | 1 << player) - worth(set))).sum()
    };
    (0..players).map(of_player).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The glove game: one has a left glove, two have right ones, and a pair is worth 1.
    #[test]
    fn the_glove_game_has_its_known_values() {
        let worth = |set: usize| f64::from(u8::from(set & 1 == 1 && set & 0b110 != 0));
        let values = shapley(3, worth);
        for (value, expected) in values.iter().zip([2.0 / 3.0, 1.0 / 6.0, 1.0 / 6.0]) {
            assert!((value - expected).abs() < 1e-12, "{values:?}");
        }
    }

    #[test]
    fn weights_add_up_to_one() {
        for players in 1..12 {
            let sets = (0..1_usize << (players - 1)).map(|set| weight(set.count_ones() as usize, players));
            assert!((sets.sum::<f64>() - 1.0).abs() < 1e-12, "{players}");
        }
    }
}
