//! `--web.config.file` and `--web.systemd-socket` of the exporters: TLS, client certificates, users, headers, a rate
//! limit, and what a reload or a renewed certificate changes. Their services are not there: who may ask does not depend
//! on them.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use medassist_tests::Error;
use medassist_tests::launch::Launch;
use medassist_tests::testbed::{Page, Program, Prometheus, Redis, Reply, RunningProgram, eventually, http};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Certificate, Client, Identity, Method};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(20);
const TARGET: &str = "--redis.addr=redis://127.0.0.1:1";

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate and its key.
    fn issue(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        (CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// A client that trusts this authority alone, with a certificate or without one.
    fn client(&self, identity: Option<&(String, String)>) -> Client {
        // Its first call installs the TLS provider.
        http::client(0).unwrap();
        let mut builder = Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(0)
            .tls_certs_only([Certificate::from_pem(self.0.pem().as_bytes()).unwrap()]);
        if let Some((certificate, key)) = identity {
            builder = builder.identity(Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap());
        }
        builder.build().unwrap()
    }
}

/// The files of one test.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Whole or not at all, as operators and Kubernetes renew files.
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path("next"), text).unwrap();
        std::fs::rename(self.path("next"), self.path(name)).unwrap();
    }

    fn write_pair(&self, (certificate, key): &(String, String)) {
        self.write("server.key", key);
        self.write("server.pem", certificate);
    }

    fn flag(&self) -> String {
        format!("--web.config.file={}", self.path("web.yml").display())
    }
}

const TLS: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";

fn users(users: &[(&str, &str)]) -> String {
    let users = users.iter().map(|(user, password)| format!("  {user}: {}\n", bcrypt::hash(password, 4).unwrap()));
    format!("basic_auth_users:\n{}", users.collect::<String>())
}

async fn start(files: &Files, args: &[&str]) -> Result<RunningProgram, Error> {
    let exporter = Program::new("redis-exporter").listen("--web.listen-address").arg(TARGET).arg(files.flag());
    let exporter = exporter.args(args).start().await?;
    let address = exporter.addresses()[0];
    eventually(TIMEOUT, "the exporter listens", async || TcpStream::connect(address).await.map(drop)).await?;
    Ok(exporter)
}

fn https(exporter: &RunningProgram, path: &str) -> String {
    exporter.url(path).replace("http://", "https://")
}

/// The status; 0 where there is no answer.
async fn status(client: &Client, url: &str) -> u16 {
    client.get(url).send().await.map_or(0, |reply| reply.status().as_u16())
}

async fn as_user(exporter: &RunningProgram, path: &str, user: &str, password: &str) -> u16 {
    let client = http::client(0).unwrap();
    let reply = client.get(exporter.url(path)).basic_auth(user, Some(password)).timeout(TIMEOUT).send().await;
    reply.map_or(0, |reply| reply.status().as_u16())
}

#[tokio::test]
async fn tls_with_the_certificate_of_the_file_and_nothing_else() -> Result<(), Error> {
    let (authority, other) = (Authority::new(), Authority::new());
    let files = Files::new();
    files.write_pair(&authority.issue(&["127.0.0.1"]));
    files.write("web.yml", TLS);
    let exporter = start(&files, &[]).await?;
    let page = authority.client(None).get(https(&exporter, "/metrics")).send().await.unwrap().text().await.unwrap();
    Page::parse(&page)?.expect("redis_up", &[], 0.0)?;
    assert_eq!(status(&other.client(None), &https(&exporter, "/metrics")).await, 0, "a stranger's certificate");
    for path in ["/metrics", "/-/healthy", "/-/ready"] {
        let plain = http::get(&exporter.url(path)).await?;
        assert_eq!(plain.status, 400, "{path} over plain HTTP");
        assert_eq!(plain.text(), "Client sent an HTTP request to an HTTPS server.\n");
    }
    Ok(())
}

#[tokio::test]
async fn client_certificates_are_required_and_checked() -> Result<(), Error> {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let files = Files::new();
    files.write_pair(&authority.issue(&["127.0.0.1"]));
    files.write("ca.pem", &authority.0.pem());
    let yaml = format!("{TLS}  client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n");
    files.write("web.yml", &yaml);
    let exporter = start(&files, &[]).await?;
    let (good, bad) = (authority.issue(&["scraper.example"]), stranger.issue(&["scraper.example"]));
    for path in ["/metrics", "/-/healthy"] {
        let url = https(&exporter, path);
        assert_eq!(status(&authority.client(Some(&good)), &url).await, 200, "{path}");
        assert_eq!(status(&authority.client(Some(&bad)), &url).await, 0, "{path} with a stranger's certificate");
        assert_eq!(status(&authority.client(None), &url).await, 0, "{path} without a certificate");
    }
    // A client that is kept connected meets the new rule, too.
    let kept = Client::builder()
        .no_proxy()
        .tls_certs_only([Certificate::from_pem(authority.0.pem().as_bytes()).unwrap()])
        .identity(Identity::from_pem(format!("{}{}", good.0, good.1).as_bytes()).unwrap())
        .build()
        .unwrap();
    let metrics = https(&exporter, "/metrics");
    assert_eq!(status(&kept, &metrics).await, 200);
    files.write("web.yml", &format!("{yaml}  client_allowed_sans: [somebody.else]\n"));
    let reload = kept.post(https(&exporter, "/-/reload")).send().await.unwrap();
    assert_eq!(reload.status(), 200);
    eventually(TIMEOUT, "the kept connection is closed", async || match status(&kept, &metrics).await {
        0 => Ok(()),
        status => Err(status),
    })
    .await?;
    assert_eq!(status(&authority.client(Some(&good)), &metrics).await, 0);
    let other = authority.issue(&["somebody.else"]);
    assert_eq!(status(&authority.client(Some(&other)), &metrics).await, 200);
    Ok(())
}

#[tokio::test]
async fn users_need_their_password_everywhere_but_for_health_probes() -> Result<(), Error> {
    let files = Files::new();
    files.write("web.yml", &users(&[("alice", "correct horse"), ("bob", "battery")]));
    let exporter = start(&files, &[]).await?;
    for path in ["/metrics", "/probe?target=127.0.0.1:1", "/scrape?target=127.0.0.1:1", "/"] {
        for (user, password, expected) in [
            ("alice", "correct horse", 200),
            ("alice", "correct horse", 200),
            ("bob", "battery", 200),
            ("alice", "battery", 401),
            ("alice", "", 401),
            ("carol", "correct horse", 401),
            ("", "", 401),
        ] {
            assert_eq!(as_user(&exporter, path, user, password).await, expected, "{path} {user} {password}");
        }
    }
    for path in
        ["/metrics", "/health", "/", "/nowhere", "/-/reload", "/-/healthy/", "//-/healthy", "/metrics?/-/healthy"]
    {
        let reply = http::get(&exporter.url(path)).await?;
        assert_eq!(reply.status, 401, "{path}");
        assert_eq!(reply.header("www-authenticate"), "Basic realm=\"exporter\"", "{path}");
        assert!(!reply.text().contains("redis"), "{path}: {}", reply.text());
    }
    let reload = http::request(Method::POST, &exporter.url("/-/reload"), &[], Vec::new(), TIMEOUT).await?;
    assert_eq!(reload.status, 401);
    assert!(!exporter.log().contains("configuration reloaded"));
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(http::get(&exporter.url(path)).await?.status, 200, "{path}");
    }
    for secret in ["correct horse", "battery", "$2b$", "$2y$"] {
        assert!(!exporter.log().contains(secret), "{}", exporter.log());
    }
    // Series are not to be had without a password under the name of a health probe.
    let exporter = Program::new("redis-exporter").listen("--web.listen-address").arg(TARGET).arg(files.flag());
    let exporter = exporter.arg("--web.telemetry-path=/-/healthy").start().await?;
    eventually(TIMEOUT, "the series ask for a password", async || match http::get(&exporter.url("/-/healthy")).await {
        Ok(Reply { status: 401, .. }) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn headers_and_the_rate_limit_are_those_of_the_file() -> Result<(), Error> {
    let files = Files::new();
    files.write(
        "web.yml",
        "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    Strict-Transport-Security: max-age=60\n\
         rate_limit:\n  interval: 1h\n  burst: 3\n",
    );
    let exporter = start(&files, &[]).await?;
    let mut answers = Vec::new();
    for _ in 0..5 {
        let reply = http::get(&exporter.url("/metrics")).await?;
        assert_eq!(
            (reply.header("x-frame-options"), reply.header("strict-transport-security")),
            ("deny", "max-age=60")
        );
        answers.push(reply.status);
    }
    assert_eq!(answers, [200, 200, 200, 429, 429]);
    assert_eq!(http::get(&exporter.url("/-/healthy")).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_renewed_certificate_counts_without_a_reload() -> Result<(), Error> {
    let (first, second) = (Authority::new(), Authority::new());
    let files = Files::new();
    files.write_pair(&first.issue(&["127.0.0.1"]));
    files.write("web.yml", TLS);
    let exporter = start(&files, &[]).await?;
    let url = https(&exporter, "/metrics");
    assert_eq!(status(&first.client(None), &url).await, 200);
    files.write("server.pem", "rubbish");
    eventually(TIMEOUT, "the log says that the new files are invalid", async || match exporter.log() {
        log if log.contains("server.pem: no PEM certificate found") => Ok(()),
        log => {
            assert_eq!(status(&first.client(None), &url).await, 200, "the old certificate stays");
            Err(log)
        }
    })
    .await?;
    files.write_pair(&second.issue(&["127.0.0.1"]));
    eventually(TIMEOUT, "the new certificate is shown", async || match status(&second.client(None), &url).await {
        200 => Ok(()),
        status => Err(status),
    })
    .await?;
    assert_eq!(status(&first.client(None), &url).await, 0);
    assert!(!exporter.log().contains("configuration reloaded"), "{}", exporter.log());
    Ok(())
}

#[tokio::test]
async fn a_reload_takes_good_files_and_refuses_bad_ones() -> Result<(), Error> {
    let authority = Authority::new();
    let files = Files::new();
    files.write_pair(&authority.issue(&["127.0.0.1"]));
    files.write("password", "redis password");
    files.write("web.yml", &users(&[("alice", "one")]));
    let password = format!("--redis.password-file={}", files.path("password").display());
    let exporter = start(&files, &[&password]).await?;
    let reload = async |user: &str, password: &str| {
        let client = http::client(0).unwrap();
        let request = client.post(exporter.url("/-/reload")).basic_auth(user, Some(password)).timeout(TIMEOUT);
        let reply = request.send().await.unwrap();
        (reply.status().as_u16(), reply.text().await.unwrap())
    };
    let me = |password: &'static str| as_user(&exporter, "/metrics", "alice", password);
    assert_eq!((me("one").await, me("two").await), (200, 401));

    files.write("web.yml", &users(&[("alice", "two")]));
    assert_eq!((me("one").await, me("two").await), (200, 401), "nothing changes before the reload");
    assert_eq!(reload("alice", "one").await, (200, "reloaded\n".to_owned()));
    assert_eq!((me("one").await, me("two").await), (401, 200));

    // A bad file is refused in one line, by both ways, and changes nothing.
    files.write("web.yml", "basic_auth_users:\n  alice: plain\n");
    let (status, text) = reload("alice", "two").await;
    assert_eq!(status, 500);
    assert!(text.contains("web.yml: basic_auth_users.alice: ") && text.lines().count() == 1, "{text:?}");
    exporter.hang_up()?;
    eventually(TIMEOUT, "SIGHUP is refused, too", async || {
        match exporter.log().matches("basic_auth_users.alice: ").count() {
            2 => Ok(()),
            count => Err(count),
        }
    })
    .await?;
    assert_eq!((me("one").await, me("two").await), (401, 200));
    let client = http::client(0).unwrap();
    let page = client.get(exporter.url("/metrics")).basic_auth("alice", Some("two")).send().await.unwrap();
    Page::parse(&page.text().await.unwrap())?.expect("redis_exporter_config_last_reload_successful", &[], 0.0)?;

    // All or nothing: a good web configuration is not in force where the service's password file is missing.
    files.write("web.yml", &users(&[("alice", "three")]));
    std::fs::remove_file(files.path("password")).unwrap();
    let (status, text) = reload("alice", "two").await;
    assert!(status == 500 && text.contains("--redis.password-file"), "{text:?}");
    assert_eq!((me("two").await, me("three").await), (200, 401));
    files.write("password", "redis password");
    exporter.hang_up()?;
    eventually(TIMEOUT, "SIGHUP reloads the users", async || match me("three").await {
        200 => Ok(()),
        status => Err(status),
    })
    .await?;

    // From plain HTTP to TLS.
    files.write("web.yml", TLS);
    assert_eq!(reload("alice", "three").await.0, 200);
    assert_eq!(me("three").await, 400, "HTTP on the HTTPS port");
    let client = authority.client(None);
    assert_eq!(client.get(https(&exporter, "/metrics")).send().await.unwrap().status(), 200);
    Ok(())
}

#[tokio::test]
async fn a_wrong_file_stops_the_start_with_one_line_that_names_the_key() -> Result<(), Error> {
    let files = Files::new();
    files.write("web.yml", "tls_server_config:\n  cert_file: nowhere.pem\n  key_file: nowhere.key\n");
    for (name, target) in [
        ("mysql-exporter", "--mysqld.username=nobody"),
        ("redis-exporter", TARGET),
        ("haproxy-exporter", "--haproxy.scrape-uri=tcp://127.0.0.1:1"),
        ("nginx-exporter", "--nginx.scrape-uri=http://127.0.0.1:1/"),
        ("backup-exporter", "--backup.job=mysql:/nowhere/at/all"),
    ] {
        let program = Program::exporter(name).arg(target).arg(files.flag()).run(TIMEOUT).await?;
        assert_eq!((program.code, program.stderr.lines().count()), (Some(1), 1), "{}", program.stderr);
        assert!(program.stderr.contains("web.yml: tls_server_config.cert_file: "), "{}", program.stderr);
    }
    // Service files of Go exporters have an empty flag if there is no file.
    let exporter = Program::exporter("redis-exporter").arg(TARGET).arg("--web.config.file=").start().await?;
    assert_eq!(http::get(&exporter.url("/metrics")).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_silent_tls_handshake_times_out_and_does_not_delay_a_stop() -> Result<(), Error> {
    let authority = Authority::new();
    let files = Files::new();
    files.write_pair(&authority.issue(&["127.0.0.1"]));
    files.write("web.yml", TLS);
    let mut exporter = start(&files, &[]).await?;
    let connect = async || {
        let mut stream = TcpStream::connect(exporter.addresses()[0]).await.unwrap();
        // The first bytes of a hello.
        stream.write_all(&[22, 3, 1]).await.unwrap();
        stream
    };
    let (mut silent, started) = (connect().await, Instant::now());
    let ended = tokio::time::timeout(TIMEOUT, silent.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok() && started.elapsed() > Duration::from_secs(5), "{ended:?} after {:?}", started.elapsed());
    let _silent = connect().await;
    assert_eq!(status(&authority.client(None), &https(&exporter, "/-/healthy")).await, 200);
    let stopping = Instant::now();
    assert_eq!(exporter.stop().await?.code(), Some(0));
    assert!(stopping.elapsed() < Duration::from_secs(5), "{:?}", stopping.elapsed());
    Ok(())
}

#[tokio::test]
async fn prometheus_scrapes_over_tls_with_a_user_and_a_client_certificate() -> Result<(), Error> {
    let redis = Redis::start().await?;
    let authority = Authority::new();
    let files = Files::new();
    files.write_pair(&authority.issue(&["127.0.0.1"]));
    files.write("ca.pem", &authority.0.pem());
    let client = authority.issue(&["prometheus.example"]);
    files.write("client.pem", &client.0);
    files.write("client.key", &client.1);
    let demands = "  client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: [prometheus.example]\n";
    files.write("web.yml", &format!("{TLS}{demands}{}", users(&[("prometheus", "scrape")])));
    let exporter = Program::new("redis-exporter").listen("--web.listen-address").arg(files.flag());
    let exporter = exporter.arg(format!("--redis.addr=redis://{}", redis.address())).start().await?;
    let address = exporter.addresses()[0];
    let path = |name| files.path(name).display().to_string();
    let prometheus = Prometheus::start(&format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n\
         - job_name: right\n  scheme: https\n  basic_auth: {{username: prometheus, password: scrape}}\n  tls_config: {{ca_file: {ca}, cert_file: {cert}, key_file: {key}}}\n  static_configs: [{{targets: [\"{address}\"]}}]\n\
         - job_name: wrong\n  scheme: https\n  basic_auth: {{username: prometheus, password: wrong}}\n  tls_config: {{ca_file: {ca}, cert_file: {cert}, key_file: {key}}}\n  static_configs: [{{targets: [\"{address}\"]}}]\n\
         - job_name: bare\n  scheme: https\n  basic_auth: {{username: prometheus, password: scrape}}\n  tls_config: {{ca_file: {ca}}}\n  static_configs: [{{targets: [\"{address}\"]}}]\n",
        ca = path("ca.pem"),
        cert = path("client.pem"),
        key = path("client.key"),
    ))
    .await?;
    let value = async |query: &str| {
        let reply = http::get(&prometheus.url(&format!("/api/v1/query?query={query}"))).await?.json();
        Ok::<_, Error>(reply["data"]["result"][0]["value"][1].as_str().map(str::to_owned))
    };
    for (query, expected) in [
        ("redis_up%7Bjob%3D%22right%22%7D", "1"),
        ("up%7Bjob%3D%22wrong%22%7D", "0"),
        ("up%7Bjob%3D%22bare%22%7D", "0"),
    ] {
        eventually(TIMEOUT, query, async || match value(query).await? {
            Some(value) if value == expected => Ok(()),
            other => Err(Error::Series(format!("{other:?}"))),
        })
        .await?;
    }
    Ok(())
}

/// A child that ends with the test.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `program` as systemd does: the socket is its descriptor 3, and two variables say so.
fn activate(program: &Path, socket: TcpListener, log: &Path) -> Child {
    let script = r#"exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@""#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(program).args([TARGET, "--web.systemd-socket"]);
    command.stdin(Stdio::from(OwnedFd::from(socket))).stderr(std::fs::File::create(log).unwrap());
    Child(command.spawn().unwrap())
}

#[tokio::test]
async fn the_socket_that_systemd_passes_is_served() -> Result<(), Error> {
    let files = Files::new();
    let program = Launch::built("redis-exporter")?.program;
    let socket = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let url = format!("http://{}/metrics", socket.local_addr().unwrap());
    let _child = activate(&program, socket, &files.path("log"));
    let page = http::get(&url).await?.text();
    Page::parse(&page)?.expect("redis_up", &[], 0.0)?;

    let none = Program::new("redis-exporter").args([TARGET, "--web.systemd-socket"]).run(TIMEOUT).await?;
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains("--web.systemd-socket: no socket was passed"), "{}", none.stderr);
    Ok(())
}
