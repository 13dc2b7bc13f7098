//! The Wilson score interval: what a number of hits in a number of runs says about the rate of hits (E. B. Wilson,
//! "Probable inference, the law of succession, and statistical inference", JASA 22, 1927).

/// The bounds of the 95 % interval of the rate, both within 0 ..= 1; everything, when there were no runs.
pub fn wilson(hits: u64, runs: u64) -> (f64, f64) {
    if runs == 0 {
        return (0.0, 1.0);
    }
    let (hits, runs) = (hits.min(runs) as f64, runs as f64);
    let rate = hits / runs;
    let z2 = Z * Z;
    let centre = rate + z2 / (2.0 * runs);
    let spread = Z * (rate * (1.0 - rate) / runs + z2 / (4.0 * runs * runs)).sqrt();
    let whole = 1.0 + z2 / runs;
    (((centre - spread) / whole).max(0.0), ((centre + spread) / whole).min(1.0))
}

/// The normal deviate that leaves 2.5 % on either side.
const Z: f64 = 1.959_964;

#[cfg(test)]
mod tests {
    use super::*;

    /// R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998),
    /// table I, method 3.
    #[test]
    fn published_intervals() {
        for (hits, runs, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0000, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let (got_low, got_high) = wilson(hits, runs);
            assert!((got_low - low).abs() < 5e-5, "{hits} of {runs}: {got_low}");
            assert!((got_high - high).abs() < 5e-5, "{hits} of {runs}: {got_high}");
        }
    }

    #[test]
    fn certainty_is_never_reached() {
        assert_eq!(wilson(0, 0), (0.0, 1.0));
        let (low, high) = wilson(5000, 5000);
        assert!(low > 0.999 && low < 1.0 && (high - 1.0).abs() < 1e-9);
        assert!(wilson(26, 5000).0 >= 0.0035, "26 hits in 5,000 runs are what the target asks for");
        assert!(wilson(25, 5000).0 < 0.0035);
    }
}
