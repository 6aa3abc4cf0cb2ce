//! One line an event on standard error, JSON by default.

use std::io;

use tracing_subscriber::{Layer, filter::LevelFilter, fmt, layer::SubscriberExt, registry, util::SubscriberInitExt};

use crate::flags::{LogFlags, LogFormat, LogLevel};

pub fn init_logging(flags: &LogFlags) {
    let level = match flags.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    // Only this program's own events: at debug the drivers would print statements, and with them users' data.
    let ours = tracing_subscriber::filter::Targets::new().with_target(env!("CARGO_CRATE_NAME"), level);
    match flags.format {
        LogFormat::Json => {
            let layer = fmt::layer().json().flatten_event(true).with_target(false).with_writer(io::stderr);
            registry().with(layer.with_filter(ours)).init();
        }
        LogFormat::Logfmt => {
            let layer = tracing_logfmt::builder().with_target(false).layer().with_writer(io::stderr);
            registry().with(layer.with_filter(ours)).init();
        }
    }
}
