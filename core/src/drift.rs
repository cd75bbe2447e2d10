//! A slope and how sure it is, of values that hang together.
//!
//! The slope is that of ordinary least squares. Response times of one moment resemble those of the moment before, and a
//! textbook's interval, which takes all values for independent, would see a drift in every slow wave. Two things help:
//!
//! * Values are those of long blocks, which resemble each other less: the method of nonoverlapping batch means (Schmeiser,
//!   "Batch size effects in the analysis of simulation output", Operations Research 30(3), 1982, which finds 10 to 30
//!   batches enough).
//! * What resemblance is left widens the interval: with the residuals' autocorrelation r between neighbours, n blocks count
//!   as n·(1 − r)/(1 + r), in the residual variance and in the degrees of freedom of Student's t (Santer et al.,
//!   "Statistical significance of trends and trend differences in layer-average atmospheric temperature time series",
//!   Journal of Geophysical Research 105(D6), 2000, equations 3 to 6). So few blocks show r too small; the bias, about
//!   −(2 + 4r)/n beside a fitted line, is taken back (after Kendall, "Note on bias in the estimation of autocorrelation",
//!   Biometrika 41, 1954).

/// With which probability the true slope is inside the interval.
pub(crate) const CONFIDENCE: f64 = 0.99;

/// Fewer blocks say nothing.
pub(crate) const MIN_BLOCKS: usize = 12;

/// Neighbours that resemble each other more are no better than so.
const MAX_AUTOCORRELATION: f64 = 0.95;

/// Student's t for [`CONFIDENCE`], two-sided, for 1, 2, … degrees of freedom.
const STUDENT: [f64; 30] = [
    63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169, 3.106, 3.055, 3.012, 2.977, 2.947, 2.921,
    2.898, 2.878, 2.861, 2.845, 2.831, 2.819, 2.807, 2.797, 2.787, 2.779, 2.771, 2.763, 2.756, 2.750,
];

/// A straight line through some points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Line {
    /// Units of y for each of x.
    pub(crate) slope: f64,
    /// Half the width of its confidence interval; infinite if nothing can be said.
    pub(crate) half_width: f64,
    /// The mean of y.
    pub(crate) mean: f64,
}

impl Line {
    /// The line through points by rising x; none through fewer than [`MIN_BLOCKS`].
    pub(crate) fn through(points: &[(f64, f64)]) -> Option<Self> {
        if points.len() < MIN_BLOCKS || points.iter().any(|(x, y)| !x.is_finite() || !y.is_finite()) {
            return None;
        }
        let count = points.len() as f64;
        let mean_of = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).fold(0.0, |sum, v| sum + v) / count;
        let (mean_x, mean) = (mean_of(|p| p.0), mean_of(|p| p.1));
        let spread = points.iter().fold(0.0, |sum, (x, _)| sum + (x - mean_x).powi(2));
        if spread <= 0.0 {
            return None;
        }
        let slope = points.iter().fold(0.0, |sum, (x, y)| sum + (x - mean_x) * (y - mean)) / spread;
        let residuals: Vec<f64> = points.iter().map(|(x, y)| y - mean - slope * (x - mean_x)).collect();
        let squares = residuals.iter().fold(0.0, |sum, r| sum + r * r);
        let half_width = if squares == 0.0 {
            0.0
        } else {
            let neighbours = residuals.windows(2).fold(0.0, |sum, pair| sum + pair[0] * pair[1]) / squares;
            let autocorrelation = (neighbours + (2.0 + 4.0 * neighbours) / count).clamp(0.0, MAX_AUTOCORRELATION);
            let freedom = count * (1.0 - autocorrelation) / (1.0 + autocorrelation) - 2.0;
            student(freedom) * (squares / freedom.max(f64::MIN_POSITIVE) / spread).sqrt()
        };
        Some(Self { slope, half_width, mean })
    }

    /// Whether the true slope is not 0, to the degree of [`CONFIDENCE`].
    pub(crate) fn is_certain(&self) -> bool {
        self.slope.abs() > self.half_width
    }
}

/// For fewer degrees of freedom rather than for more; infinite below one.
fn student(freedom: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
    let whole = freedom.floor().max(0.0) as usize;
    match whole.checked_sub(1) {
        None => f64::INFINITY,
        Some(place) => STUDENT[place.min(STUDENT.len() - 1)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that are the same each time.
    struct Noise(u64);

    impl Noise {
        fn even(&mut self) -> f64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        }

        fn normal(&mut self) -> f64 {
            let (a, b) = (self.even().max(1e-300), self.even());
            (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
        }

        /// Thirty blocks of `slices` values with a standard deviation of 1, each of which resembles the one before to the
        /// degree of `phi`, that rise by `rise` from the first block to the last.
        fn blocks(&mut self, slices: usize, phi: f64, rise: f64) -> Vec<(f64, f64)> {
            let mut value = self.normal();
            let mut next = || {
                value = phi * value + (1.0 - phi * phi).sqrt() * self.normal();
                value
            };
            let length = slices / 30;
            let block = |k: usize| (0..length).map(|_| next()).sum::<f64>() / length as f64 + rise * k as f64 / 29.0;
            (0..30).map(block).enumerate().map(|(k, value)| (k as f64, value)).collect()
        }

        /// How often a drift is seen in a thousand runs.
        fn seen(&mut self, slices: usize, phi: f64, rise: f64) -> usize {
            let line = |_| Line::through(&self.blocks(slices, phi, rise)).expect("enough");
            (0..1_000).map(line).filter(Line::is_certain).count()
        }
    }

    #[expect(clippy::print_stdout, reason = "figures for people")]
    fn say(line: &str) {
        println!("{line}");
    }

    #[test]
    fn flat_runs_show_no_drift_however_slow_their_waves() {
        let mut noise = Noise(88_172_645_463_325_252);
        for slices in [300, 675, 900] {
            for phi in [0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995] {
                let seen = noise.seen(slices, phi, 0.0);
                say(&format!("| {slices} | {phi} | 0 | {seen} |"));
                assert!(seen <= 50, "{seen} of 1000 at {phi} in {slices} slices");
            }
        }
    }

    #[test]
    fn what_rises_is_found() {
        let mut noise = Noise(88_172_645_463_325_252);
        for (phi, rise, at_least) in
            [(0.0, 1.0, 970), (0.5, 1.0, 700), (0.5, 2.0, 990), (0.9, 5.0, 990), (0.98, 15.0, 600)]
        {
            let seen = noise.seen(900, phi, rise);
            say(&format!("| 900 | {phi} | {rise} | {seen} |"));
            assert!(seen >= at_least, "{seen} of 1000 at {phi} with {rise}");
        }
    }

    #[test]
    fn the_interval_holds_the_true_slope_as_often_as_it_says() {
        let mut noise = Noise(2_463_534_242);
        for phi in [0.0, 0.5, 0.9, 0.98] {
            let line = |_| Line::through(&noise.blocks(900, phi, 2.9)).expect("enough");
            let held = (0..1_000).map(line).filter(|line| (line.slope - 0.1).abs() <= line.half_width).count();
            assert!(held >= 970, "{held} of 1000 at {phi}");
        }
    }

    #[test]
    fn a_textbook_s_interval_would_see_drifts_that_are_none() {
        // So that the tests above can fail: thirty blocks taken for independent.
        let mut noise = Noise(88_172_645_463_325_252);
        let naive = |points: &[(f64, f64)]| {
            let line = Line::through(points).expect("enough");
            let middle = 14.5;
            let spread: f64 = points.iter().map(|(x, _)| (x - middle).powi(2)).sum();
            let squares: f64 = points.iter().map(|(x, y)| (y - line.mean - line.slope * (x - middle)).powi(2)).sum();
            line.slope.abs() > 2.763 * (squares / 28.0 / spread).sqrt()
        };
        let seen = (0..1_000).filter(|_| naive(&noise.blocks(900, 0.99, 0.0))).count();
        assert!(seen > 200, "{seen}");
    }

    #[test]
    fn lines_through_nothing_or_through_what_never_changes() {
        let points = |count: usize, y: f64| (0..count).map(|x| (x as f64, y)).collect::<Vec<_>>();
        assert_eq!(Line::through(&points(MIN_BLOCKS - 1, 1.0)), None);
        assert_eq!(Line::through(&points(20, f64::INFINITY)), None);
        assert_eq!(Line::through(&points(20, 3.0)), Some(Line { slope: 0.0, half_width: 0.0, mean: 3.0 }));
        assert_eq!(Line::through(&[(1.0, 2.0); 20]), None);
        assert!(!Line::through(&points(20, 3.0)).expect("a line").is_certain());
    }
}
