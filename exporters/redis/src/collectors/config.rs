//! The settings that are limits for other series.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::client::Session;

/// Numeric settings.
static NUMBERS: [Desc; 4] = [
    Desc::gauge("redis_config_io_threads", "Configured number of I/O threads.", &[]).field("io-threads"),
    Desc::gauge("redis_config_maxclients", "Configured limit of client connections.", &[]).field("maxclients"),
    Desc::gauge("redis_config_maxmemory", "Configured limit of used memory in bytes, 0 for none.", &[])
        .field("maxmemory"),
    Desc::gauge("redis_config_repl_backlog_size", "Configured size of the replication backlog in bytes.", &[])
        .field("repl-backlog-size"),
];
static BUFFER_LIMIT: Desc = Desc::gauge(
    "redis_config_client_output_buffer_limit_bytes",
    "Configured limit of the output buffer in bytes, 0 for none. A client over the hard limit is disconnected at once.",
    &["class", "limit"],
)
.field("client-output-buffer-limit");
static BUFFER_LIMIT_SECONDS: Desc = Desc::gauge(
    "redis_config_client_output_buffer_limit_overcome_seconds",
    "Configured seconds for which a client of this class may be over its soft limit.",
    &["class", "limit"],
)
.field("client-output-buffer-limit");

pub(super) struct Config;

#[async_trait]
impl Collector<Session> for Config {
    fn name(&self) -> &'static str {
        "config"
    }

    fn help(&self) -> &'static str {
        "Limits from CONFIG GET."
    }

    fn source(&self) -> &'static str {
        "`CONFIG GET`"
    }

    fn families(&self) -> Vec<Desc> {
        NUMBERS.iter().chain([&BUFFER_LIMIT, &BUFFER_LIMIT_SECONDS]).cloned().collect()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        for (name, value) in session.config.as_ref().map_err(Clone::clone)? {
            if let Some(desc) = NUMBERS.iter().find(|desc| desc.field == name) {
                if let Ok(value) = value.parse() {
                    out.push(desc, &[], value);
                }
            } else if name == "client-output-buffer-limit" {
                buffer_limits(value, out);
            }
        }
        Ok(())
    }
}

/// `normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60`: class, hard, soft, seconds.
fn buffer_limits(value: &str, out: &mut Families) {
    let words: Vec<&str> = value.split_whitespace().collect();
    for class in words.chunks_exact(4) {
        let [class, hard, soft, seconds] = class else { continue };
        for (desc, limit, value) in
            [(&BUFFER_LIMIT, "hard", hard), (&BUFFER_LIMIT, "soft", soft), (&BUFFER_LIMIT_SECONDS, "soft", seconds)]
        {
            if let Ok(value) = value.parse() {
                out.push(desc, &[class, limit], value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::page;
    use super::*;
    use crate::client::{Refused, session};

    #[test]
    fn numbers_and_buffer_limits() {
        let mut session = session("");
        let settings = [
            ("client-output-buffer-limit", "normal 0 0 0 pubsub 33554432 8388608 60"),
            ("databases", "16"),
            ("maxclients", "10000"),
        ];
        session.config = Ok(settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec());
        assert_eq!(
            page(&Config, &session),
            "redis_config_client_output_buffer_limit_bytes{class=\"normal\",limit=\"hard\"} 0\n\
             redis_config_client_output_buffer_limit_bytes{class=\"normal\",limit=\"soft\"} 0\n\
             redis_config_client_output_buffer_limit_bytes{class=\"pubsub\",limit=\"hard\"} 33554432\n\
             redis_config_client_output_buffer_limit_bytes{class=\"pubsub\",limit=\"soft\"} 8388608\n\
             redis_config_client_output_buffer_limit_overcome_seconds{class=\"normal\",limit=\"soft\"} 0\n\
             redis_config_client_output_buffer_limit_overcome_seconds{class=\"pubsub\",limit=\"soft\"} 60\n\
             redis_config_maxclients 10000\n"
        );
    }

    #[test]
    fn a_refused_command_is_an_error_of_this_collector() {
        use futures::FutureExt as _;

        let mut session = session("");
        session.config = Err(Refused { command: "CONFIG GET", reply: "NOPERM no".to_owned() });
        let result = Config.collect(&session, &mut Families::default()).now_or_never().unwrap();
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with("CONFIG GET was refused: NOPERM no: "), "{error}");
    }
}
