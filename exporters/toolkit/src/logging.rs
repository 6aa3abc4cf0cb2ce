//! Logs on standard error, logfmt or JSON.

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum LogFormat {
    Logfmt,
    Json,
}

pub(crate) fn init(level: Level, format: LogFormat) {
    let level = match level {
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warn => LevelFilter::WARN,
        Level::Error => LevelFilter::ERROR,
    };
    // Libraries log each connection at debug; what is ours says it better.
    let filter = tracing_subscriber::filter::Targets::new().with_default(level).with_targets(
        ["hyper", "hyper_util", "mysql_async", "reqwest", "rustls"].map(|library| (library, LevelFilter::WARN)),
    );
    // At each lookup it warns of what it does not know in /etc/resolv.conf.
    let filter = filter.with_target("hickory", LevelFilter::ERROR);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Logfmt => {
            let layer = tracing_logfmt::builder().with_target(false).layer();
            registry.with(layer.with_writer(std::io::stderr)).init();
        }
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_target(false);
            registry.with(layer.with_writer(std::io::stderr)).init();
        }
    }
}
