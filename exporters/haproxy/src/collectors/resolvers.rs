//! Name servers of the sections `resolvers`, from `show resolvers`: over the runtime socket only.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::selection::Part;
use crate::target::Session;

/// All are counters in fact. HAProxy's own endpoint declares gauges.
const fn count(field: &'static str, name: &'static str, help: &'static str) -> Desc {
    Desc::gauge(name, help, &["resolver", "nameserver"]).field(field)
}

#[rustfmt::skip] // One row per line: it is a table.
static COUNTERS: &[Desc] = &[
    count("sent", "haproxy_resolver_sent", "Total number of requests sent."),
    count("snd_error", "haproxy_resolver_send_error", "Total number of requests that could not be sent."),
    count("valid", "haproxy_resolver_valid", "Total number of valid responses."),
    count("update", "haproxy_resolver_update", "Total number of responses that changed an address."),
    count("cname", "haproxy_resolver_cname", "Total number of responses with a CNAME."),
    count("cname_error", "haproxy_resolver_cname_error", "Total number of responses with a CNAME that leads nowhere."),
    count("any_err", "haproxy_resolver_any_err", "Total number of empty responses to queries of type ANY."),
    count("nx", "haproxy_resolver_nx", "Total number of responses that the name does not exist."),
    count("timeout", "haproxy_resolver_timeout", "Total number of requests without a response in time."),
    count("refused", "haproxy_resolver_refused", "Total number of refused requests."),
    count("other", "haproxy_resolver_other", "Total number of other error responses."),
    count("invalid", "haproxy_resolver_invalid", "Total number of invalid responses."),
    count("too_big", "haproxy_resolver_too_big", "Total number of responses over the accepted size."),
    count("truncated", "haproxy_resolver_truncated", "Total number of truncated responses."),
    count("outdated", "haproxy_resolver_outdated", "Total number of responses that came after another name server's."),
];

pub(super) struct Resolvers;

#[async_trait]
impl Collector<Session> for Resolvers {
    fn name(&self) -> &'static str {
        "resolvers"
    }

    fn help(&self) -> &'static str {
        "Name servers of the resolvers; over the runtime socket only."
    }

    fn source(&self) -> &'static str {
        "`show resolvers`"
    }

    fn families(&self) -> Vec<Desc> {
        COUNTERS.to_vec()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        for server in session.runtime.iter().flat_map(|runtime| &runtime.name_servers) {
            for desc in COUNTERS.iter().filter(|desc| session.exports(Part::Resolver, desc)) {
                if let Some(value) = server.counter(desc.field) {
                    out.push(desc, &[&server.resolver, &server.name], value);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_kit::{lines, session, with_runtime};
    use super::*;
    use crate::columns::Naming;

    #[tokio::test]
    async fn counters_by_resolver_and_name_server() {
        let session = session("# pxname,svname,type,\n", Naming::Native);
        let answer = "Name: x\n\n\nResolvers section dns\n nameserver one:\n  sent:  2\n  timeout: 1\n  brand_new: 3\n";
        assert_eq!(
            lines(&Resolvers, &with_runtime(session, answer)).await,
            [
                r#"haproxy_resolver_sent{resolver="dns",nameserver="one"} 2"#,
                r#"haproxy_resolver_timeout{resolver="dns",nameserver="one"} 1"#,
            ]
        );
    }
}
