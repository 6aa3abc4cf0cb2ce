//! The servers that Debian packages, each on a free port.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use crate::testbed::port::Port;
use crate::testbed::process::{Directory, Process};
use medassist_stack::Error;
use medassist_stack::database::{self, Flavour};
use medassist_stack::http;
use medassist_stack::launch::{self, Launch, Ready, target_directory};

macro_rules! is_a_process {
    ($($server:ident),*) => {$(
        impl Deref for $server {
            type Target = Process;
            fn deref(&self) -> &Process {
                &self.process
            }
        }
        impl DerefMut for $server {
            fn deref_mut(&mut self) -> &mut Process {
                &mut self.process
            }
        }
    )*};
}
is_a_process!(Database, Redis, HaProxy, Nginx, Prometheus, Alertmanager, Pushgateway, NodeExporter, MailServer, S3);

/// A database: `root` without a password, on the unix socket and, in MariaDB, from 127.0.0.1; no other user, no
/// database.
pub struct Database {
    process: Process,
    flavour: Flavour,
    port: Port,
    socket: PathBuf,
}

impl Database {
    /// The MariaDB that Debian 12 has.
    pub async fn start() -> Result<Self, Error> {
        Self::start_with::<&str>(&[]).await
    }

    /// It, with arguments of mariadbd that come last and so win, such as `--log-bin --server-id=1`.
    pub async fn start_with<A: Into<OsString> + Clone>(args: &[A]) -> Result<Self, Error> {
        Self::start_as(Flavour::MariaDb, args).await
    }

    pub async fn start_as<A: Into<OsString> + Clone>(flavour: Flavour, args: &[A]) -> Result<Self, Error> {
        let (directory, port) = (Directory::new(flavour.name())?, Port::lease()?);
        let data = directory.path().join("data");
        flavour.install(&target_directory()?.join(format!("testbed/{}-template", flavour.name())), &data)?;
        let socket = directory.path().join("db.sock");
        let launch = flavour.launch(&data, &socket, port.number())?.args(args.iter().cloned());
        let process = Process::start(flavour.name(), launch, Ready::Database(socket.clone()), directory).await?;
        Ok(Self { process, flavour, port, socket })
    }

    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Runs statements as root, several at once if need be; rows come back as tab-separated lines.
    pub fn sql(&self, statements: &str) -> Result<String, Error> {
        database::sql(&self.socket, statements)
    }
}

/// Redis without a password and without persistence.
pub struct Redis {
    process: Process,
    port: Port,
    socket: PathBuf,
}

impl Redis {
    pub async fn start() -> Result<Self, Error> {
        Self::start_with::<&str>(&[]).await
    }

    /// With arguments of redis-server, such as `--requirepass secret`: each word is an argument.
    pub async fn start_with<A: Into<OsString> + Clone>(args: &[A]) -> Result<Self, Error> {
        let (directory, port) = (Directory::new("redis")?, Port::lease()?);
        let socket = directory.path().join("redis.sock");
        let launch = launch::redis(directory.path(), port.number())?
            .arg("--unixsocket")
            .arg(&socket)
            .args(["--enable-debug-command", "local"])
            .args(args.iter().cloned());
        let process = Process::start("redis", launch, Ready::Redis(port.number()), directory).await?;
        Ok(Self { process, port, socket })
    }

    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

/// Which HAProxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HaProxyVersion {
    /// 2.6, of Debian 12.
    Installed,
    /// 3.2, which `tests/unpack-servers.sh` unpacks.
    Lts32,
}

/// HAProxy with the configuration of the test, which leases the ports that it writes into it.
pub struct HaProxy {
    process: Process,
    socket: PathBuf,
}

impl HaProxy {
    /// The testbed adds a stats socket of level admin, which [`HaProxy::command`] and [`HaProxy::socket`] are about.
    pub async fn start(configuration: &str) -> Result<Self, Error> {
        Self::start_with(configuration, &[]).await
    }

    /// With environment variables for `"${NAME}"` in the configuration.
    pub async fn start_with(configuration: &str, env: &[(&str, &str)]) -> Result<Self, Error> {
        Self::start_as(HaProxyVersion::Installed, configuration, env).await
    }

    pub async fn start_as(version: HaProxyVersion, configuration: &str, env: &[(&str, &str)]) -> Result<Self, Error> {
        let directory = Directory::new("haproxy")?;
        let (socket, own) = (directory.path().join("admin.sock"), directory.path().join("haproxy.cfg"));
        let testbed = directory.path().join("testbed.cfg");
        std::fs::write(&own, configuration).map_err(Error::file("cannot write", &own))?;
        // Without noreuseport a second HAProxy silently shares a port with the first.
        let global = format!("global\n    noreuseport\n    stats socket {} mode 600 level admin\n", socket.display());
        std::fs::write(&testbed, global).map_err(Error::file("cannot write", &testbed))?;
        let mut launch = match version {
            HaProxyVersion::Installed => launch::haproxy(&[&testbed, &own])?,
            HaProxyVersion::Lts32 => {
                launch::haproxy_of(database::unpacked_program("haproxy", "usr/sbin/haproxy")?, &[&testbed, &own])
            }
        };
        for (key, value) in env {
            launch = launch.env(*key, *value);
        }
        let process = Process::start("haproxy", launch, Ready::HaProxy(socket.clone()), directory).await?;
        Ok(Self { process, socket })
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// One command of the runtime API, such as `disable server be/one`.
    pub fn command(&self, command: &str) -> Result<String, Error> {
        launch::haproxy_command(&self.socket, command)
    }
}

/// A server with an HTTP interface that says on a path that it is ready.
macro_rules! http_server {
    ($server:ident, $name:literal) => {
        pub struct $server {
            process: Process,
            port: Port,
        }

        impl $server {
            async fn launch(
                ready: &str,
                launch: impl FnOnce(&Path, u16) -> Result<Launch, Error>,
            ) -> Result<Self, Error> {
                let (directory, port) = (Directory::new($name)?, Port::lease()?);
                let launch = launch(directory.path(), port.number())?;
                let ready = Ready::Http(format!("http://{}{ready}", port.address()));
                let process = Process::start($name, launch, ready, directory).await?;
                Ok(Self { process, port })
            }

            pub fn address(&self) -> SocketAddr {
                self.port.address()
            }

            pub fn url(&self, path: &str) -> String {
                format!("http://{}{path}", self.port.address())
            }
        }
    };
}
http_server!(Nginx, "nginx");
http_server!(Prometheus, "prometheus");
http_server!(Alertmanager, "alertmanager");
http_server!(Pushgateway, "pushgateway");
http_server!(NodeExporter, "node_exporter");

impl Nginx {
    /// With these lines in the block `server`, which listens on the port and on the unix socket, and has `/healthz`.
    pub async fn start(worker_connections: u32, server: &str) -> Result<Self, Error> {
        Self::launch("/healthz", |directory, port| {
            let socket = directory.join("nginx.sock");
            // One process, which remains the user that owns the directory.
            let configuration = format!(
                "master_process off;\npid nginx.pid;\nerror_log stderr;\n\
                 events {{ worker_connections {worker_connections}; }}\n\
                 http {{\naccess_log off;\n\
                 client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
                 uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
                 server {{\nlisten 127.0.0.1:{port};\nlisten \"unix:{socket}\";\n\
                 location = /healthz {{ return 200; }}\n{server}\n}}\n}}\n",
                socket = socket.display()
            );
            launch::nginx(directory, &configured(directory, "nginx.conf", &configuration)?)
        })
        .await
    }

    pub fn socket(&self) -> PathBuf {
        self.directory().join("nginx.sock")
    }
}

impl Prometheus {
    pub async fn start(configuration: &str) -> Result<Self, Error> {
        Self::start_with(configuration, "groups: []", &[]).await
    }

    /// With these rules in `rules.yml`, next to the configuration, and these arguments.
    pub async fn start_with(configuration: &str, rules: &str, args: &[&str]) -> Result<Self, Error> {
        Self::launch("/-/ready", |directory, port| {
            configured(directory, "rules.yml", rules)?;
            let file = configured(directory, "prometheus.yml", configuration)?;
            Ok(launch::prometheus(&file, &directory.join("data"), port)?.args(args.iter().copied()))
        })
        .await
    }
}

/// Where a server comes from that the tests run in two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Debian 12's, which the local stack runs.
    Installed,
    /// Debian unstable's, unpacked by `tests/unpack-servers.sh`.
    Newest,
}

impl Alertmanager {
    pub async fn start(configuration: &str) -> Result<Self, Error> {
        Self::launch("/-/ready", |directory, port| {
            let file = configured(directory, "alertmanager.yml", configuration)?;
            launch::alertmanager(&file, &directory.join("data"), port)
        })
        .await
    }

    /// The repository's configuration, with these targets (name and value) and the webhook's token `token`. `edit`
    /// changes the text, for what no test can wait for. It logs each notification that it does not send.
    pub async fn start_ours(
        release: Release,
        targets: &[(&str, &str)],
        edit: impl FnOnce(String) -> String,
    ) -> Result<Self, Error> {
        Self::launch("/-/ready", |directory, port| {
            let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../alertmanager");
            let folder = directory.join("targets");
            std::fs::create_dir_all(&folder).map_err(Error::file("cannot create", &folder))?;
            for (name, value) in targets {
                configured(&folder, name, value)?;
            }
            let render = Launch::new(repository.join("render")).arg(folder);
            let text = launch::run(&mut render.wrapped(&[]), "alertmanager/render", "")?;
            let templates = format!("{}/*.tmpl", repository.join("templates").display());
            let text = edit(text.replace("templates/*.tmpl", &templates));
            let file = configured(directory, "alertmanager.yml", &text)?;
            configured(directory, "webhook_token", "token")?;
            let mut launch = launch::alertmanager(&file, &directory.join("data"), port)?;
            if release == Release::Newest {
                launch.program = database::unpacked_program("unstable", "usr/bin/prometheus-alertmanager")?.program;
            }
            Ok(launch.arg("--log.level=debug"))
        })
        .await
    }
}

/// A real SMTP server (aiosmtpd), which delivers to a folder.
pub struct MailServer {
    process: Process,
    port: Port,
}

/// An S3-compatible store with one bucket, `backups`. It takes every key.
pub struct S3 {
    process: Process,
    port: Port,
}

impl S3 {
    pub async fn start() -> Result<Self, Error> {
        let (directory, port) = (Directory::new("s3")?, Port::lease()?);
        let packages = target_directory()?.join("unpacked/moto");
        let launch = Launch::installed(&["python3"])?.env("PYTHONPATH", packages).args([
            "-m",
            "moto.server",
            "--host=127.0.0.1",
            &format!("--port={}", port.number()),
        ]);
        let ready = Ready::Http(format!("http://{}/moto-api/", port.address()));
        let process = Process::start("s3", launch, ready, directory).await?;
        let store = Self { process, port };
        store.make_bucket().await?;
        Ok(store)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.port.address())
    }

    async fn make_bucket(&self) -> Result<(), Error> {
        // The region is read from the login, and the signature from nowhere.
        let login =
            "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=none";
        let failed = |error| Error::io("cannot make a bucket")(std::io::Error::other(error));
        let client = http::client(0).map_err(failed)?;
        let request = client.put(format!("{}/backups", self.url())).header("authorization", login);
        request.send().await.and_then(|answer| answer.error_for_status()).map(drop).map_err(failed)
    }
}

impl MailServer {
    pub async fn start() -> Result<Self, Error> {
        let (directory, port) = (Directory::new("smtp")?, Port::lease()?);
        let launch = launch::mail_server(&directory.path().join("mail"), port.number());
        let process = Process::start("smtp", launch, Ready::Smtp(port.number()), directory).await?;
        Ok(Self { process, port })
    }

    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Every mail so far, headers and decoded text, in no order.
    pub fn mails(&self) -> Vec<String> {
        launch::mails(&self.directory().join("mail"))
    }
}

impl Pushgateway {
    pub async fn start() -> Result<Self, Error> {
        Self::launch("/-/ready", |_, port| launch::pushgateway(port)).await
    }
}

impl NodeExporter {
    pub async fn start() -> Result<Self, Error> {
        Self::launch("/", |_, port| launch::node_exporter(port)).await
    }
}

fn configured(directory: &Path, name: &str, text: &str) -> Result<PathBuf, Error> {
    let file = directory.join(name);
    std::fs::write(&file, text).map_err(Error::file("cannot write", &file))?;
    Ok(file)
}
