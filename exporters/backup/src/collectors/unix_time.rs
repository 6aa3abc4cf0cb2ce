use jiff::Timestamp;

pub(super) fn unix_seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}
