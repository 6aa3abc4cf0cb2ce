//! Values of flags that more than one exporter takes.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

/// A file of passwords or certificates is at most this large: a path to something else, a log or a device, must not fill the memory.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A threshold: a number above 0.
pub fn positive(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number > 0.0)
        .ok_or_else(|| "a number above 0 is expected".to_owned())
}

/// `5s`, `500ms`, or a number of seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let number: f64 = number.parse().map_err(|_| "a duration is expected, such as 5s, 500ms or 0.25".to_owned())?;
    Duration::try_from_secs_f64(number * unit).map_err(|error| error.to_string())
}

/// The text of a password file, without the line end that editors leave.
pub fn read_secret(path: &Path) -> io::Result<String> {
    let mut text = read_text(path)?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}

/// The text of a small file.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 1 MiB: is it the right file?"));
    }
    Ok(text)
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

    #[test]
    fn durations() {
        for (text, milliseconds) in [("5s", 5000), ("500ms", 500), ("0.25", 250), ("0", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "5ss", "5sms", "-1s", "inf", "soon"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn secrets_lose_their_line_end_only_and_have_a_bound() {
        let path = std::env::temp_dir().join(format!("read-secret-{}", std::process::id()));
        std::fs::write(&path, " se cret \r\n").unwrap();
        let secret = read_secret(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(secret.unwrap(), " se cret ");
        assert_eq!(read_secret(Path::new("/dev/zero")).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read_secret(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
