//! Filters from a power spectrum to mel bands, as transformers' `audio_utils.mel_filter_bank` makes them.

/// Scales of pitch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// Slaney's: linear to 1 kHz, then logarithmic. Filters are triangles over frequency, of equal area.
    Slaney,
    /// HTK's, all logarithmic. Filters are triangles over frequency, of equal height.
    Htk,
    /// Kaldi's, all logarithmic. Filters are triangles over pitch, of equal height.
    Kaldi,
}

impl Scale {
    fn mel(self, hertz: f64) -> f64 {
        match self {
            Self::Kaldi | Self::Htk => 1_127.0 * (1.0 + hertz / 700.0).ln(),
            Self::Slaney if hertz < 1_000.0 => hertz * 3.0 / 200.0,
            Self::Slaney => 15.0 + (hertz / 1_000.0).ln() * 27.0 / 6.4_f64.ln(),
        }
    }

    fn hertz(self, mel: f64) -> f64 {
        match self {
            Self::Kaldi | Self::Htk => 700.0 * ((mel / 1_127.0).exp() - 1.0),
            Self::Slaney if mel < 15.0 => mel * 200.0 / 3.0,
            Self::Slaney => 1_000.0 * ((mel - 15.0) * 6.4_f64.ln() / 27.0).exp(),
        }
    }
}

/// Weights of each band, of those bins alone that it hears.
#[derive(Debug)]
pub(super) struct MelFilters {
    bands: Vec<(usize, Vec<f64>)>,
}

impl MelFilters {
    /// `bands` filters over frequencies from and to some Hz, for spectra of `bins` bins up to half the `rate`.
    pub(super) fn new(scale: Scale, bands: usize, bins: usize, [lowest, highest]: [f64; 2], rate: u32) -> Self {
        let nyquist = f64::from(rate) / 2.0;
        let (first, last) = (scale.mel(lowest), scale.mel(highest));
        let corner = |place: usize| first + (last - first) * place as f64 / (bands + 1) as f64;
        let hertz = |bin: usize| nyquist * bin as f64 / (bins - 1) as f64;
        let band = |band: usize| {
            let corners = [corner(band), corner(band + 1), corner(band + 2)];
            let (corners, height) = match scale {
                Scale::Kaldi => (corners, 1.0),
                Scale::Htk => (corners.map(|mel| scale.hertz(mel)), 1.0),
                Scale::Slaney => {
                    let corners = corners.map(|mel| scale.hertz(mel));
                    (corners, 2.0 / (corners[2] - corners[0]))
                }
            };
            let place = |bin: usize| if scale == Scale::Kaldi { scale.mel(hertz(bin)) } else { hertz(bin) };
            let weight = |bin: usize| height * triangle(corners, place(bin)).max(0.0);
            let heard: Vec<usize> = (0..bins).filter(|bin| weight(*bin) > 0.0).collect();
            let start = heard.first().copied().unwrap_or(0);
            (start, heard.into_iter().map(weight).collect())
        };
        Self { bands: (0..bands).map(band).collect() }
    }

    /// The power of each band.
    pub(super) fn apply<'a>(&'a self, power: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        self.bands.iter().map(|(start, weights)| weights.iter().zip(&power[*start..]).map(|(weight, power)| weight * power).sum())
    }
}

fn triangle([left, middle, right]: [f64; 3], place: f64) -> f64 {
    ((place - left) / (middle - left)).min((right - place) / (right - middle))
}
