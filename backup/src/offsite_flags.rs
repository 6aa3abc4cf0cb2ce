//! The flags that say where copies of the backups go.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use reqwest::Url;
use service_kit::duration::positive_duration;

use crate::offsite::{Location, Offsite};

/// The store of off-site copies.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Off-site")]
pub struct OffsiteArgs {
    /// Store for a second copy of each backup: file:///DIRECTORY or s3://BUCKET/PREFIX
    #[arg(long = "offsite.url", value_name = "URL")]
    pub url: Option<Url>,

    /// Endpoint of an S3-compatible store, such as https://s3.example.org:9000 [default: AWS]
    #[arg(long = "offsite.endpoint", value_name = "URL", requires = "url")]
    pub endpoint: Option<Url>,

    /// Region of the bucket [default: AWS_REGION, else us-east-1]
    #[arg(long = "offsite.region", value_name = "REGION", requires = "url")]
    pub region: Option<String>,

    /// Access key [default: AWS_ACCESS_KEY_ID, or the role of the machine]
    #[arg(long = "offsite.access-key", value_name = "KEY", requires = "url")]
    pub access_key: Option<String>,

    /// File containing only the secret key; read for each copy [default: AWS_SECRET_ACCESS_KEY]
    #[arg(long = "offsite.secret-key-file", value_name = "FILE", requires = "url")]
    pub secret_key_file: Option<PathBuf>,

    /// Timeout of one attempt to copy all that is missing in the store
    #[arg(long = "offsite.timeout", value_name = "DURATION", default_value = "1h", value_parser = positive_duration)]
    pub attempt_timeout: Duration,
}

impl OffsiteArgs {
    pub fn offsite(self) -> Option<Offsite> {
        let Self { url, endpoint, region, access_key, secret_key_file, attempt_timeout: timeout } = self;
        Some(Offsite { location: Location { url: url?, endpoint, region, access_key, secret_key_file }, timeout })
    }
}
