//! The table of the stack's services: name, ports, order, command, readiness. ARCHITECTURE.md documents the ports.

use crate::database::Flavour;
use crate::error::Error;
use crate::launch::{self, Launch, Ready};
use crate::layout::Layout;
use crate::nginx;
use crate::provision;

pub struct Service {
    pub name: &'static str,
    /// As documented, before the layout's offset; all of them must be free.
    pub ports: &'static [u16],
    /// The one of its ports that Prometheus scrapes.
    pub scraped: Option<u16>,
    /// For people, on the first port.
    pub url: Url,
    /// Holds what others work on: stopped after all of them.
    pub store: bool,
    launch: fn(&Service, &Layout) -> Result<Launch, Error>,
    ready: fn(&Service, &Layout) -> Ready,
    /// What must follow each start before those that come later in the table can use it.
    pub provision: fn(&Layout) -> Result<(), Error>,
}

pub enum Url {
    Http(&'static str),
    Other(&'static str),
    None,
}

impl Service {
    const BASE: Self = Self {
        name: "",
        ports: &[],
        scraped: None,
        url: Url::None,
        store: false,
        launch: |service, _| Launch::built(service.name),
        ready: |_, _| Ready::Running,
        provision: |_| Ok(()),
    };

    /// The shape that most have: one port, `/metrics` on it.
    const fn exporter(
        name: &'static str,
        port: &'static [u16; 1],
        launch: fn(&Service, &Layout) -> Result<Launch, Error>,
    ) -> Self {
        Self {
            name,
            ports: port,
            scraped: Some(port[0]),
            url: Url::Http("/metrics"),
            launch,
            ready: |service, layout| service.http(layout, "/-/healthy"),
            ..Self::BASE
        }
    }

    const fn api(name: &'static str, ports: &'static [u16; 2]) -> Self {
        Self {
            name,
            ports,
            scraped: Some(ports[1]),
            url: Url::Http("/health"),
            launch: api,
            ready: |service, layout| service.http(layout, "/readyz"),
            ..Self::BASE
        }
    }

    pub fn launch(&self, layout: &Layout) -> Result<Launch, Error> {
        (self.launch)(self, layout)
    }

    pub fn ready(&self, layout: &Layout) -> Ready {
        (self.ready)(self, layout)
    }

    /// Its first port in this layout; 0 if it listens nowhere.
    pub fn port(&self, layout: &Layout) -> u16 {
        self.ports.first().map_or(0, |port| layout.port(*port))
    }

    /// Where it is, for people.
    pub fn url(&self, layout: &Layout) -> String {
        let port = self.port(layout);
        match self.url {
            Url::Http(path) => format!("http://127.0.0.1:{port}{path}"),
            Url::Other(scheme) => format!("{scheme}://127.0.0.1:{port}"),
            Url::None => "-".to_owned(),
        }
    }

    fn http(&self, layout: &Layout, path: &str) -> Ready {
        Ready::Http(format!("http://127.0.0.1:{}{path}", self.port(layout)))
    }

    fn listen(&self, layout: &Layout) -> String {
        format!("--web.listen-address=127.0.0.1:{}", self.port(layout))
    }
}

/// In the order of their start: each needs only what stands above it.
pub static SERVICES: &[Service] = &[
    Service {
        name: "mysql",
        ports: &[MYSQL],
        url: Url::Other("mysql"),
        store: true,
        launch: |service, layout| {
            let launch =
                Flavour::MariaDb.launch(&layout.data("mysql"), &layout.run("mysql.sock"), service.port(layout))?;
            // The backup job receives it, within seconds.
            Ok(launch.args(["--log-bin=mysql-bin", "--server-id=1", "--binlog-expire-logs-seconds=86400"]))
        },
        ready: |_, layout| Ready::Database(layout.run("mysql.sock")),
        provision: provision::database_users,
        ..Service::BASE
    },
    Service {
        name: "redis",
        ports: &[REDIS],
        url: Url::Other("redis"),
        store: true,
        // The file holds the users; what comes after it on the command line wins.
        launch: |service, layout| {
            let mut launch = launch::redis(&layout.data("redis"), service.port(layout))?;
            launch.args.insert(0, layout.config("redis.conf").into());
            Ok(launch)
        },
        ready: |service, layout| Ready::Redis(service.port(layout)),
        ..Service::BASE
    },
    Service::api("api1", &[18081, 18091]),
    Service::api("api2", &[18082, 18092]),
    Service::api("api3", &[18083, 18093]),
    Service {
        name: "haproxy",
        ports: &[HAPROXY_API, HAPROXY_STATS],
        url: Url::Http("/health"),
        launch: |_, layout| {
            let address = |port| format!("127.0.0.1:{}", layout.port(port));
            Ok(launch::haproxy(&[&layout.repository().join("compose/haproxy/haproxy.cfg")])?
                .env("HAPROXY_API_BIND", address(HAPROXY_API))
                .env("HAPROXY_STATS_BIND", address(HAPROXY_STATS))
                .env("HAPROXY_SOCKET", layout.run("haproxy.sock"))
                .env("API1_ADDRESS", address(18081))
                .env("API2_ADDRESS", address(18082))
                .env("API3_ADDRESS", address(18083)))
        },
        ready: |_, layout| Ready::HaProxy(layout.run("haproxy.sock")),
        ..Service::BASE
    },
    Service {
        name: "nginx",
        ports: &[NGINX_PAGE, NGINX_STATUS],
        url: Url::Http("/"),
        launch: |service, layout| {
            let ports = nginx::Ports {
                page: service.port(layout),
                status: layout.port(NGINX_STATUS),
                api: layout.port(HAPROXY_API),
            };
            nginx::launch(layout, &ports)
        },
        ready: |_, layout| Ready::Http(format!("http://127.0.0.1:{}/healthz", layout.port(NGINX_STATUS))),
        ..Service::BASE
    },
    Service::exporter("nginx-exporter", &[19113], |service, layout| {
        Ok(Launch::built(service.name)?
            .arg(service.listen(layout))
            .arg(format!("--nginx.scrape-uri=http://127.0.0.1:{}/stub_status", layout.port(NGINX_STATUS))))
    }),
    Service::exporter("mysql-exporter", &[19104], |service, layout| {
        Ok(Launch::built(service.name)?
            .arg(service.listen(layout))
            .arg(format!("--mysqld.address=127.0.0.1:{}", layout.port(MYSQL)))
            .arg("--mysqld.username=exporter")
            .path("--mysqld.password-file", &layout.secret("mysql_exporter")))
    }),
    Service::exporter("redis-exporter", &[19121], |service, layout| {
        Ok(Launch::built(service.name)?
            .arg(service.listen(layout))
            .arg(format!("--redis.addr=redis://127.0.0.1:{}", layout.port(REDIS)))
            .arg("--redis.user=exporter")
            .path("--redis.password-file", &layout.secret("redis_exporter")))
    }),
    Service::exporter("haproxy-exporter", &[19101], |service, layout| {
        Ok(Launch::built(service.name)?
            .arg(service.listen(layout))
            .arg(format!("--haproxy.scrape-uri=unix:{}", layout.run("haproxy.sock").display())))
    }),
    Service::exporter("backup-exporter", &[19150], |service, layout| {
        Ok(Launch::built(service.name)?
            .arg(service.listen(layout))
            .arg(format!("--backup.job=mysql:{}", layout.data("backups").display())))
    }),
    Service {
        name: "pushgateway",
        ports: &[PUSHGATEWAY],
        scraped: Some(PUSHGATEWAY),
        url: Url::Http("/"),
        // What the job pushed outlives a restart, as it should anywhere.
        launch: |service, layout| {
            let launch = launch::pushgateway(service.port(layout))?;
            Ok(launch.path("--persistence.file", &layout.data("pushgateway")))
        },
        ready: |service, layout| service.http(layout, "/-/ready"),
        ..Service::BASE
    },
    Service {
        name: "mysql-backup",
        launch: |service, layout| {
            // One backup at once and then four an hour: half of the recovery point's 30 minutes.
            Ok(mysql_backup(service, layout)?.args(["--schedule.every=15m", "--binlog.stream"]))
        },
        ..Service::BASE
    },
    Service {
        name: "node-exporter",
        ports: &[19100],
        scraped: Some(19100),
        url: Url::Http("/metrics"),
        launch: |service, layout| launch::node_exporter(service.port(layout)),
        ready: |service, layout| service.http(layout, "/"),
        ..Service::BASE
    },
    Service {
        name: "alertmanager",
        ports: &[19093],
        scraped: Some(19093),
        url: Url::Http("/"),
        launch: |service, layout| {
            let configuration = layout.config("alertmanager/alertmanager.yml");
            launch::alertmanager(&configuration, &layout.data("alertmanager"), service.port(layout))
        },
        ready: |service, layout| service.http(layout, "/-/ready"),
        ..Service::BASE
    },
    Service {
        name: "prometheus",
        ports: &[PROMETHEUS],
        scraped: Some(PROMETHEUS),
        url: Url::Http("/"),
        launch: |service, layout| {
            let configuration = layout.config("prometheus/prometheus.yml");
            let launch = launch::prometheus(&configuration, &layout.data("prometheus"), service.port(layout))?;
            Ok(launch
                // Weeks of this stack; a bound for one that is never taken down.
                .arg("--storage.tsdb.retention.size=1GB")
                // 3.x expands without it.
                .arg("--enable-feature=expand-external-labels")
                .env("LINKS_URL", format!("http://127.0.0.1:{}", layout.port(NGINX_STATUS))))
        },
        ready: |service, layout| service.http(layout, "/-/ready"),
        ..Service::BASE
    },
];

const MYSQL: u16 = 13306;
const REDIS: u16 = 16379;
const HAPROXY_API: u16 = 18080;
const HAPROXY_STATS: u16 = 18404;
const NGINX_PAGE: u16 = 18000;
const NGINX_STATUS: u16 = 18001;
const PUSHGATEWAY: u16 = 19092;
const PROMETHEUS: u16 = 19090;

fn api(service: &Service, layout: &Layout) -> Result<Launch, Error> {
    let metrics = service.scraped.map_or(0, |port| layout.port(port));
    Ok(Launch::built("medassist-api")?
        .arg(service.listen(layout))
        .arg(format!("--web.metrics-address=127.0.0.1:{metrics}"))
        .arg(format!("--instance={}", service.name))
        .arg(format!("--mysql.address=127.0.0.1:{}", layout.port(MYSQL)))
        .args(["--mysql.user=api", "--mysql.database=medassist"])
        .path("--mysql.password-file", &layout.secret("mysql_api"))
        .arg(format!("--redis.address=127.0.0.1:{}", layout.port(REDIS)))
        .path("--redis.password-file", &layout.secret("redis_api"))
        .path("--webhook.token-file", &layout.secret("webhook_token"))
        .arg(format!("--backfill.prometheus-url={}", prometheus_url(layout, ""))))
}

/// The job as it runs once; the service adds its schedule.
fn mysql_backup(service: &Service, layout: &Layout) -> Result<Launch, Error> {
    Ok(Launch::built(service.name)?
        .arg(format!("--mysql.address=127.0.0.1:{}", layout.port(MYSQL)))
        .arg("--mysql.user=backup")
        .path("--mysql.password-file", &layout.secret("mysql_backup"))
        .path("--backup.directory", &layout.data("backups"))
        .args(["--backup.name=mysql", "--backup.databases=medassist"])
        // On the same disk, which only shows how it works.
        .arg(format!("--offsite.url=file://{}", layout.data("offsite").display()))
        .arg(format!("--pushgateway.url=http://127.0.0.1:{}", layout.port(PUSHGATEWAY))))
}

/// The backup job outside its schedule: `stack backup`, and what a test runs when the database is down.
pub fn backup_now(layout: &Layout) -> Result<Launch, Error> {
    mysql_backup(service("mysql-backup")?, layout)
}

/// Prometheus' own API, which knows whether all is scraped.
pub fn prometheus_url(layout: &Layout, path: &str) -> String {
    format!("http://127.0.0.1:{}{path}", layout.port(PROMETHEUS))
}

/// One row of the table; the error lists the names there are.
pub fn service(name: &str) -> Result<&'static Service, Error> {
    SERVICES.iter().find(|service| service.name == name).ok_or_else(|| {
        let names: Vec<&str> = SERVICES.iter().map(|service| service.name).collect();
        Error::Stack(format!("there is no service {name:?}; there are {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_services_share_a_name_or_a_port() {
        let names: BTreeSet<_> = SERVICES.iter().map(|service| service.name).collect();
        let ports: Vec<u16> = SERVICES.iter().flat_map(|service| service.ports).copied().collect();
        assert_eq!(names.len(), SERVICES.len());
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len());
    }

    #[test]
    fn prometheus_has_a_target_for_each_scraped_port_and_no_other() {
        let targets = Layout::new("/tmp".into(), 0).unwrap().repository().join("prometheus/targets/local");
        let mut listed = BTreeSet::new();
        for entry in std::fs::read_dir(targets).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let ports = text.split("127.0.0.1:").skip(1);
            listed.extend(ports.map(|rest| rest.split('"').next().unwrap().parse::<u16>().unwrap()));
        }
        assert_eq!(listed, SERVICES.iter().filter_map(|service| service.scraped).collect());
    }

    /// Single ports, and ranges such as `18081–18083`.
    #[test]
    fn the_map_documents_every_port() {
        let layout = Layout::new("/tmp".into(), 0).unwrap();
        let map = std::fs::read_to_string(layout.repository().join("ARCHITECTURE.md")).unwrap();
        let mut documented = BTreeSet::new();
        for word in map.split(|char: char| !char.is_ascii_digit() && char != '–') {
            let (first, last) = word.split_once('–').unwrap_or((word, word));
            if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
                documented.extend(first..=last);
            }
        }
        let ports: BTreeSet<u16> = SERVICES.iter().flat_map(|service| service.ports).copied().collect();
        let missing: Vec<_> = ports.difference(&documented).collect();
        assert!(missing.is_empty(), "ARCHITECTURE.md does not name {missing:?}");
    }
}
