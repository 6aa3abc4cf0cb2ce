//! Counters of HAProxy's modules: TLS, HTTP/1, HTTP/2, HTTP/3, QUIC.

use exporter_toolkit::{BoxError, Collector, Desc, Families, Kind, async_trait};

use super::rows::Rows;
use crate::columns::{Naming, Scope};
use crate::target::Session;

const SCOPES: [(Scope, &str); 4] = [
    (Scope::Frontend, "frontend"),
    (Scope::Backend, "backend"),
    (Scope::Server, "server"),
    (Scope::Listener, "listener"),
];

pub(super) struct Modules;

#[async_trait]
impl Collector<Session> for Modules {
    fn name(&self) -> &'static str {
        "modules"
    }

    fn help(&self) -> &'static str {
        "Counters of HAProxy's modules (ssl, h1, h2, h3, quic), with --haproxy.extra-counters or ?extra-counters."
    }

    fn source(&self) -> &'static str {
        "`show stat`, the columns after `-`"
    }

    fn families(&self) -> Vec<Desc> {
        SCOPES.map(|(scope, name)| desc(scope, name, "<counter>", Naming::Native)).to_vec()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        if session.stat.modules().is_empty() {
            return Ok(());
        }
        for (scope, name) in SCOPES {
            let rows = Rows::new(session, scope);
            for (column, index) in session.stat.modules() {
                let desc = desc(scope, name, column, session.options.naming);
                rows.write(out, &desc, Some(module(column)), |row| rows.number(row, *index));
            }
        }
        Ok(())
    }
}

/// All are counters in HAProxy's own endpoint, even the current numbers of connections and streams.
fn desc(scope: Scope, scope_name: &str, column: &str, naming: Naming) -> Desc {
    let help = "Counter of one of HAProxy's modules, as HAProxy names it.";
    Desc::dynamic(Kind::Counter, format!("haproxy_{scope_name}_{column}"), help, naming.labels_and_module(scope))
        .field("<counter>")
}

/// HAProxy's name of the module. Three columns of HTTP/3 do not begin with it.
fn module(column: &str) -> &str {
    match column.split('_').next().unwrap_or_default() {
        "pack" | "qpack" => "h3",
        module => module,
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_kit::{lines, session};
    use super::*;

    #[tokio::test]
    async fn counters_after_the_separator() {
        let csv = "# pxname,svname,type,-,ssl_sess,h2_x,pack_y,\nfe,FRONTEND,0,-,7,8,9,\nbe,one,2,-,6,,,\n";
        assert_eq!(
            lines(&Modules, &session(csv, Naming::Native)).await,
            [
                r#"haproxy_frontend_h2_x{proxy="fe",mod="h2"} 8"#,
                r#"haproxy_frontend_pack_y{proxy="fe",mod="h3"} 9"#,
                r#"haproxy_frontend_ssl_sess{proxy="fe",mod="ssl"} 7"#,
                r#"haproxy_server_ssl_sess{proxy="be",server="one",mod="ssl"} 6"#,
            ]
        );
        let lines = lines(&Modules, &session(csv, Naming::Exporter)).await;
        assert!(lines.contains(&r#"haproxy_server_ssl_sess{backend="be",server="one",mod="ssl"} 6"#.to_owned()));
    }
}
