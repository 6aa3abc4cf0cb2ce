//! Values of flags that several exporters take. Durations, addresses and secrets are in the service kit.

/// A threshold: a number above 0.
pub fn positive(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number > 0.0)
        .ok_or_else(|| "expected a number above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds() {
        assert_eq!(positive("0.5"), Ok(0.5));
        for text in ["", "0", "-1", "inf", "nan", "80%"] {
            assert!(positive(text).is_err(), "{text:?}");
        }
    }
}
