//! The flags of the stream of the binary log.

use std::time::Duration;

use clap::Args;
use service_kit::duration::positive_duration;

use crate::binlog::Streaming;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Binary log")]
pub struct BinlogArgs {
    /// Receive the server's binary log continuously, so that a restore can end at any time
    #[arg(long = "binlog.stream")]
    pub stream: bool,

    /// Server ID of the stream; no replica and no other stream of the server may have it
    #[arg(long = "binlog.server-id", value_name = "ID", default_value = "3330933", value_parser = clap::value_parser!(u32).range(1..))]
    pub server_id: u32,

    /// How long received files stay; those that the newest backup needs always stay
    #[arg(long = "binlog.keep", value_name = "DURATION", default_value = "7d", value_parser = positive_duration)]
    pub keep: Duration,

    /// With --encrypt.recipients: receive although the binary log is stored without encryption
    #[arg(long = "binlog.plain-text")]
    pub plain_text: bool,
}

impl BinlogArgs {
    pub fn streaming(&self) -> Option<Streaming> {
        self.stream.then_some(Streaming { server_id: self.server_id, keep: self.keep })
    }
}
