//! Noise as PyTorch's CPU generator draws it, so that a seed means the same picture as in diffusers.
//!
//! `at::mt19937` (the Mersenne Twister of Matsumoto and Nishimura, 1998) and `normal_fill` of `aten/src/ATen/native/cpu/DistributionTemplates.h`.

use std::f32::consts::TAU;

const STATE: usize = 624;
const MIDDLE: usize = 397;
/// Numbers that are made of as many others at once.
const BLOCK: usize = 16;

/// `torch.Generator("cpu").manual_seed(seed)`.
pub(super) struct Generator {
    state: [u32; STATE],
    next: usize,
    /// What a number of an odd count has left over.
    spare: Option<f64>,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        let mut state = [0; STATE];
        // The upper half counts for nothing.
        state[0] = seed as u32;
        for place in 1..STATE {
            let before: u32 = state[place - 1];
            state[place] = 1_812_433_253_u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(place as u32);
        }
        Self { state, next: STATE, spare: None }
    }

    fn draw(&mut self) -> u32 {
        if self.next == STATE {
            for place in 0..STATE {
                let mixed = (self.state[place] & 0x8000_0000) | (self.state[(place + 1) % STATE] & 0x7fff_ffff);
                let twisted = (mixed >> 1) ^ if mixed & 1 == 0 { 0 } else { 0x9908_b0df };
                self.state[place] = self.state[(place + MIDDLE) % STATE] ^ twisted;
            }
            self.next = 0;
        }
        let mut drawn = self.state[self.next];
        self.next += 1;
        drawn ^= drawn >> 11;
        drawn ^= (drawn << 7) & 0x9d2c_5680;
        drawn ^= (drawn << 15) & 0xefc6_0000;
        drawn ^ (drawn >> 18)
    }

    /// From 0 to 1, 24 bits.
    fn share(&mut self) -> f32 {
        (self.draw() & 0x00ff_ffff) as f32 / (1 << 24) as f32
    }

    /// From 0 to 1, 53 bits.
    fn fine_share(&mut self) -> f64 {
        let (high, low) = (u64::from(self.draw()), u64::from(self.draw()));
        (((high << 32) | low) & ((1 << 53) - 1)) as f64 / (1_u64 << 53) as f64
    }

    /// `torch.randn(count)`.
    pub(super) fn normal(&mut self, count: usize) -> Vec<f32> {
        if count < BLOCK {
            return (0..count).map(|_| self.one() as f32).collect();
        }
        let mut values: Vec<f32> = (0..count).map(|_| self.share()).collect();
        let whole = count / BLOCK * BLOCK;
        values[..whole].chunks_exact_mut(BLOCK).for_each(spread);
        if whole < count {
            let last = count - BLOCK;
            values[last..].iter_mut().for_each(|value| *value = self.share());
            spread(&mut values[last..]);
        }
        values
    }

    fn one(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (turn, share) = (self.fine_share(), self.fine_share());
        let (length, angle) = ((-2.0 * (-share).ln_1p()).sqrt(), std::f64::consts::TAU * turn);
        self.spare = Some(length * angle.sin());
        length * angle.cos()
    }
}

/// Box and Muller's way from even shares to normal numbers.
fn spread(block: &mut [f32]) {
    let (lengths, angles) = block.split_at_mut(BLOCK / 2);
    for (length, angle) in lengths.iter_mut().zip(angles) {
        let (radius, turn) = ((-2.0 * (1.0 - *length).ln()).sqrt(), TAU * *angle);
        *length = radius * turn.cos();
        *angle = radius * turn.sin();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `torch.randn` gives after `manual_seed`, as bits.
    fn check(seed: u64, expected: &[u32]) {
        let found = Generator::new(seed).normal(expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let expected = f32::from_bits(*expected);
            assert!((found - expected).abs() < 2e-6, "seed {seed}: {found} for {expected}");
        }
    }

    #[test]
    fn seeds_mean_what_they_mean_to_pytorch() {
        check(0, &[0x3fc5_3f5c, 0xbe96_3c50, 0xc00b_7149, 0x3f11_84b6, 0xbf8a_d1a1]);
        check(
            0,
            &[
                0xbf90_1b85,
                0xbf93_808a,
                0xbe80_4bd6,
                0xbede_255d,
                0x3f59_4515,
                0x3f31_2783,
                0xbea1_cc6d,
                0xc007_5fc1,
                0x3ea5_0138,
                0xbfa1_b4f4,
                0x3eb3_30ff,
                0x3e9d_c3bb,
                0x3df5_6f77,
                0x3f9e_6b93,
                0x3f8e_f28e,
                0xbe7d_367c,
            ],
        );
        check(
            42,
            &[
                0x3ff6_a529,
                0xbe23_6d85,
                0xbefe_aae4,
                0x3ee1_11d8,
                0xbf42_14e2,
                0x3f8a_0650,
                0x3f4d_0144,
                0x3fd7_1e93,
                0x3eb6_3345,
                0x3fa5_f12f,
                0x3f1c_4788,
                0x3faa_d8b0,
                0xbe6d_2eed,
                0x3d2b_0c00,
                0xbe80_ce7a,
                0x3f5c_1fb0,
                0xbe9e_9482,
            ],
        );
        // The upper half of a seed counts for nothing.
        assert_eq!(Generator::new(7).normal(20), Generator::new(7 | (5 << 32)).normal(20));
    }
}
