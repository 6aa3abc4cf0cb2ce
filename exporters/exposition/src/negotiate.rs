//! What the scraper accepts: the format by `Accept`, the compression by `Accept-Encoding`.

use crate::encode::Format;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    Identity,
    Gzip,
    Zstd,
}

impl Compression {
    /// The value of the header `Content-Encoding`; `None` for a plain body.
    pub fn content_encoding(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }
}

/// The form in which a scraper accepts the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form {
    pub format: Format,
    pub compression: Compression,
}

/// The preferred format of the scraper. Without a known format in the header it is text 0.0.4, which every scraper
/// reads.
pub fn format(accept: Option<&str>) -> Format {
    best(accept.unwrap_or_default(), |media_type| {
        let mut parameters = media_type.split(';').map(str::trim);
        let name = parameters.next().unwrap_or_default().to_ascii_lowercase();
        let version = parameters.find_map(|p| p.strip_prefix("version=")).map(|v| v.trim_matches('"'));
        match (name.as_str(), version) {
            ("application/openmetrics-text", None | Some("1.0.0" | "0.0.1")) => Some(Format::OpenMetrics),
            ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => Some(Format::Text),
            _ => None,
        }
    })
    .unwrap_or(Format::Text)
}

/// The preferred compression of the scraper. Of equal preferences the cheapest one is used.
pub fn compression(accept_encoding: Option<&str>) -> Compression {
    let accept_encoding = accept_encoding.unwrap_or_default();
    let quality = |encoding: &str| {
        items(accept_encoding)
            .filter(|(name, _)| name.eq_ignore_ascii_case(encoding))
            .map(|(_, q)| q)
            .next()
            .unwrap_or(0)
    };
    let (zstd, gzip, identity) = (quality("zstd"), quality("gzip"), quality("identity"));
    if zstd > 0 && zstd >= gzip.max(identity) {
        Compression::Zstd
    } else if gzip > 0 && gzip >= identity {
        Compression::Gzip
    } else {
        Compression::Identity
    }
}

/// The choice of the item with the highest quality, the first among equals.
fn best<T>(header: &str, choice: impl Fn(&str) -> Option<T>) -> Option<T> {
    let mut best: Option<(u32, T)> = None;
    for (item, quality) in items(header) {
        if quality > best.as_ref().map_or(0, |(q, _)| *q)
            && let Some(choice) = choice(item)
        {
            best = Some((quality, choice));
        }
    }
    best.map(|(_, choice)| choice)
}

/// The items of a header with their quality in thousandths. 0 means "not acceptable".
fn items(header: &str) -> impl Iterator<Item = (&str, u32)> {
    header.split(',').map(str::trim).filter(|item| !item.is_empty()).map(|item| {
        let quality = item.split(';').skip(1).find_map(|p| p.trim().strip_prefix("q="));
        let quality = quality.map_or(1.0, |q| q.parse::<f64>().unwrap_or(0.0)).clamp(0.0, 1.0);
        let name = item.split_once(";q=").or_else(|| item.split_once("; q=")).map_or(item, |(name, _)| name);
        (name.trim_end(), (quality * 1000.0) as u32)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            (None, Format::Text),
            (Some(""), Format::Text),
            (Some("*/*"), Format::Text),
            (Some("text/html,*/*;q=0.8"), Format::Text),
            (Some("application/json"), Format::Text),
            (Some(prometheus_2), Format::OpenMetrics),
            (Some(prometheus_3), Format::OpenMetrics),
            (Some("text/plain;version=0.0.4;q=0.9,application/openmetrics-text;version=1.0.0;q=0.2"), Format::Text),
            (Some("application/openmetrics-text; version=1.0.0; charset=utf-8"), Format::OpenMetrics),
            (Some("application/openmetrics-text;version=1.0.0;q=0"), Format::Text),
            (Some("application/openmetrics-text;version=9.0.0"), Format::Text),
            (
                Some(
                    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.9,text/plain;q=0.1",
                ),
                Format::Text,
            ),
        ] {
            assert_eq!(format(accept), expected, "{accept:?}");
        }
    }

    #[test]
    fn compressions() {
        for (accept, expected) in [
            (None, Compression::Identity),
            (Some("gzip"), Compression::Gzip),
            (Some("gzip, deflate, br, zstd"), Compression::Zstd),
            (Some("zstd;q=0.5, gzip"), Compression::Gzip),
            (Some("GZip ; q=0.5"), Compression::Gzip),
            (Some("identity, gzip;q=0.5"), Compression::Identity),
            (Some("identity, gzip"), Compression::Gzip),
            (Some("gzip;q=0"), Compression::Identity),
            (Some("identity"), Compression::Identity),
            (Some("br"), Compression::Identity),
        ] {
            assert_eq!(compression(accept), expected, "{accept:?}");
        }
    }
}
