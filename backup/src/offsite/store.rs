//! The store of off-site copies: a directory, such as a mount, or an S3-compatible bucket.

use std::{path::PathBuf, sync::Arc, time::Duration};

use object_store::{
    ClientOptions, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, Checksum},
    local::LocalFileSystem,
    path::Path,
};
use reqwest::Url;
use service_kit::secret::{Secret, SecretError};

const SECRET_FLAG: &str = "--offsite.secret-key-file";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Of one request, which has at most one part.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// The client repeats a request; a failed copy as a whole is repeated later.
const RETRIES: usize = 3;

/// Where the copies go.
#[derive(Debug, Clone)]
pub struct Location {
    pub url: Url,
    pub endpoint: Option<Url>,
    pub region: Option<String>,
    pub access_key: Option<String>,
    pub secret_key_file: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("--offsite.url={0}: expected file:///DIRECTORY or s3://BUCKET/PREFIX")]
    Url(Url),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("--offsite.url={url}: {source}")]
    Open { url: Url, source: Box<object_store::Error> },
}

/// An open store. It needs no right to delete or overwrite.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(crate) store: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl Remote {
    /// Reads the secret key's file; makes no request.
    pub(crate) fn open(location: &Location) -> Result<Self, StoreError> {
        let Location { url, endpoint, region, access_key, secret_key_file } = location;
        // For messages: a login that somebody put there is not shown.
        let mut shown = url.clone();
        let _ = (shown.set_username(""), shown.set_password(None));
        let open = |source| StoreError::Open { url: shown.clone(), source: Box::new(source) };
        match (url.scheme(), url.host_str()) {
            ("file", None) => {
                let directory = url.to_file_path().map_err(|()| StoreError::Url(shown.clone()))?;
                let store = LocalFileSystem::new_with_prefix(directory).map_err(open)?.with_fsync(true);
                Ok(Self { store: Arc::new(store), prefix: Path::default() })
            }
            ("s3", Some(bucket)) => {
                let options = ClientOptions::new().with_connect_timeout(CONNECT_TIMEOUT).with_timeout(REQUEST_TIMEOUT);
                let retry =
                    RetryConfig { max_retries: RETRIES, retry_timeout: REQUEST_TIMEOUT, ..RetryConfig::default() };
                // The environment of AWS's own tools: keys, roles, region.
                let mut builder = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_checksum_algorithm(Checksum::SHA256)
                    .with_client_options(options)
                    .with_retry(retry);
                if let Some(endpoint) = endpoint {
                    let plain = endpoint.scheme() == "http";
                    builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/')).with_allow_http(plain);
                }
                if let Some(region) = region {
                    builder = builder.with_region(region);
                }
                if let Some(key) = access_key {
                    builder = builder.with_access_key_id(key);
                }
                if let Some(path) = secret_key_file {
                    builder = builder.with_secret_access_key(Secret::read(SECRET_FLAG, path)?.expose());
                }
                let prefix = Path::parse(url.path().trim_matches('/')).map_err(|_| StoreError::Url(shown.clone()))?;
                Ok(Self { store: Arc::new(builder.build().map_err(open)?), prefix })
            }
            _ => Err(StoreError::Url(shown)),
        }
    }

    pub(crate) fn path(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    pub(crate) fn prefix(&self) -> Option<&Path> {
        (!self.prefix.as_ref().is_empty()).then_some(&self.prefix)
    }
}
