//! Values of flags that several exporters take. Durations, addresses and secrets are in the service kit.

/// A threshold: a number above 0.
pub fn positive(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number > 0.0)
        .ok_or_else(|| "expected a number above 0".to_owned())
}

/// The values of these flags on an empty command line: what a collector holds until it is configured.
pub fn defaults<T: clap::Args>() -> T {
    let matches = T::augment_args(clap::Command::new("defaults").no_binary_name(true)).get_matches_from([""; 0]);
    T::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
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
