//! What the measurements share: the error of a benchmark, which only its reader handles, and quantiles.

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

pub(crate) fn boxed(error: impl Into<Box<dyn std::error::Error>>) -> Box<dyn std::error::Error> {
    error.into()
}

pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let index = ((sorted.len() as f64 * q).ceil() as usize).clamp(1, sorted.len()) - 1;
    sorted[index]
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}
