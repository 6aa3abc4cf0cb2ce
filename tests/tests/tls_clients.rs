//! The TLS clients of our programs against real servers with a certificate as most operators make one: `openssl req
//! -x509`, which calls itself an authority. Go's programs accept it as CA, server and client certificate.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::path::PathBuf;
use std::time::Duration;

use medassist_tests::launch::{Launch, run};
use medassist_tests::testbed::{Forwarder, HaProxy, Nginx, Page, Port, Program, Redis, eventually, http};
use reqwest::{Client, Identity};
use tempfile::TempDir;
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(20);

/// A certificate for `service.test`, and not for the address of the server.
struct SelfSigned {
    directory: TempDir,
}

impl SelfSigned {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let this = Self { directory };
        let openssl = Launch::installed(&["openssl"])
            .unwrap()
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=service.test", "-addext", "subjectAltName=DNS:service.test"])
            .arg("-keyout")
            .arg(this.path("key.pem"))
            .arg("-out")
            .arg(this.path("cert.pem"));
        run(&mut openssl.wrapped(&[]), "openssl", "").unwrap();
        let both = format!("{}{}", this.text("cert.pem"), this.text("key.pem"));
        std::fs::write(this.path("both.pem"), both).unwrap();
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// The flags of one program's client.
struct Flags {
    program: &'static str,
    target: String,
    ca: &'static str,
    server_name: &'static str,
    skip_verify: &'static str,
    up: &'static str,
}

#[tokio::test]
async fn exporters_accept_the_certificate_that_their_ca_file_lists() {
    let own = SelfSigned::new();
    let (certificate, key) = (own.shown("cert.pem"), own.shown("key.pem"));
    let (redis_tls, nginx_tls, haproxy_tls) = (Port::lease().unwrap(), Port::lease().unwrap(), Port::lease().unwrap());
    let redis_port = redis_tls.number().to_string();
    let _redis = Redis::start_with(&[
        "--tls-port",
        &redis_port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
    ])
    .await
    .unwrap();
    let _nginx = Nginx::start(
        64,
        &format!(
            "listen 127.0.0.1:{} ssl; ssl_certificate \"{certificate}\"; ssl_certificate_key \"{key}\"; \
             location = /stub_status {{ stub_status; }}",
            nginx_tls.number()
        ),
    )
    .await
    .unwrap();
    let _haproxy = haproxy_with(&own, &haproxy_tls).await;
    let clients = [
        Flags {
            program: "redis-exporter",
            target: format!("--redis.addr=rediss://{}", redis_tls.address()),
            ca: "--tls-ca-cert-file",
            server_name: "--tls-server-name",
            skip_verify: "--skip-tls-verification",
            up: "redis_up",
        },
        Flags {
            program: "nginx-exporter",
            target: format!("--nginx.scrape-uri=https://{}/stub_status", nginx_tls.address()),
            ca: "--nginx.ssl-ca-cert",
            server_name: "--nginx.ssl-server-name",
            skip_verify: "--no-nginx.ssl-verify",
            up: "nginx_up",
        },
        Flags {
            program: "haproxy-exporter",
            target: format!("--haproxy.scrape-uri=https://{}/;csv", haproxy_tls.address()),
            ca: "--haproxy.ssl-ca-cert",
            server_name: "--haproxy.ssl-server-name",
            skip_verify: "--no-haproxy.ssl-verify",
            up: "haproxy_up",
        },
    ];
    for Flags { program, target, ca, server_name, skip_verify, up } in clients {
        let ca = format!("{ca}={certificate}");
        let name = |name: &str| format!("{server_name}={name}");
        for (flags, system, expected) in [
            (vec![], false, 0.0),
            (vec![ca.clone()], false, 0.0),
            (vec![ca.clone(), name("service.test")], false, 1.0),
            (vec![ca, name("other.test")], false, 0.0),
            (vec![name("service.test")], true, 1.0),
            (vec![skip_verify.to_owned()], false, 1.0),
        ] {
            let mut exporter = Program::exporter(program).arg(&target).args(&flags);
            if system {
                exporter = exporter.env("SSL_CERT_FILE", &certificate);
            }
            let exporter = exporter.start().await.unwrap();
            let page = http::get(&exporter.url("/metrics")).await.unwrap().text();
            let report = http::get(&exporter.url("/health")).await.unwrap().text();
            Page::parse(&page)
                .unwrap()
                .expect(up, &[], expected)
                .unwrap_or_else(|error| panic!("{program} {flags:?}: {error}: {report}"));
            // The advice is about the certificate, not about a service that does not run.
            assert!(expected == 1.0 || report.contains("certificate"), "{program} {flags:?}: {report}");
        }
        let wrong = Program::new(program).arg(&target).arg(format!("{}=/nonexistent", flag_of(program))).run(DEADLINE);
        let wrong = wrong.await.unwrap();
        assert_eq!(wrong.code, Some(1), "{program}: {}", wrong.stderr);
        assert!(wrong.stderr.contains("=/nonexistent: "), "{program}: {}", wrong.stderr);
    }
}

fn flag_of(program: &str) -> &'static str {
    match program {
        "redis-exporter" => "--tls-ca-cert-file",
        "nginx-exporter" => "--nginx.ssl-ca-cert",
        _ => "--haproxy.ssl-ca-cert",
    }
}

#[tokio::test]
async fn the_backup_job_pushes_to_a_gateway_with_such_a_certificate() {
    let own = SelfSigned::new();
    let port = Port::lease().unwrap();
    let _gateway = Nginx::start(
        64,
        &format!(
            "listen 127.0.0.1:{} ssl; ssl_certificate \"{}\"; ssl_certificate_key \"{}\"; \
             location /metrics/job/ {{ return 202; }}",
            port.number(),
            own.shown("cert.pem"),
            own.shown("key.pem")
        ),
    )
    .await
    .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca = format!("--pushgateway.ssl-ca-cert={}", own.shown("cert.pem"));
    for (flags, pushed) in [
        (vec![], false),
        (vec![ca.clone()], false),
        (vec![ca, "--pushgateway.ssl-server-name=service.test".to_owned()], true),
        (vec!["--no-pushgateway.ssl-verify".to_owned()], true),
    ] {
        // No database: the failed run is what it pushes.
        let job = Program::new("mysql-backup")
            .arg("--mysql.address=127.0.0.1:1")
            .arg("--mysql.user=backup")
            .arg(format!("--backup.directory={}", directory.path().display()))
            .arg(format!("--pushgateway.url=https://{}", port.address()))
            .args(&flags)
            .run(DEADLINE)
            .await
            .unwrap();
        assert_eq!(job.code, Some(1), "{}", job.stderr);
        assert_eq!(!job.stderr.contains("push failed"), pushed, "{flags:?}: {}", job.stderr);
    }
}

/// As Prometheus does with `cert_file`, and the exporter with the same file as `client_ca_file`.
#[tokio::test]
async fn the_server_accepts_such_a_client_certificate() {
    let (own, stranger) = (SelfSigned::new(), SelfSigned::new());
    std::fs::write(
        own.path("web.yml"),
        "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n  client_ca_file: cert.pem\n  \
         client_auth_type: RequireAndVerifyClientCert\n",
    )
    .unwrap();
    let exporter = Program::new("redis-exporter")
        .listen("--web.listen-address")
        .arg("--redis.addr=redis://127.0.0.1:1")
        .arg(format!("--web.config.file={}", own.shown("web.yml")))
        .start()
        .await
        .unwrap();
    let address = exporter.addresses()[0];
    eventually(DEADLINE, "the exporter listens", async || TcpStream::connect(address).await.map(drop)).await.unwrap();
    let status = async |client: Option<&SelfSigned>| {
        // Its first call installs the TLS provider.
        http::client(0).unwrap();
        let mut builder = Client::builder().no_proxy().timeout(DEADLINE).tls_danger_accept_invalid_certs(true);
        if let Some(client) = client {
            builder = builder.identity(Identity::from_pem(client.text("both.pem").as_bytes()).unwrap());
        }
        let url = format!("https://{address}/metrics");
        builder.build().unwrap().get(url).send().await.map_or(0, |reply| reply.status().as_u16())
    };
    assert_eq!(status(Some(&own)).await, 200);
    assert_eq!(status(Some(&stranger)).await, 0);
    assert_eq!(status(None).await, 0);
    // An operator who forgot `scheme: https` gets a sentence, as in Go.
    let plain = http::get(&format!("http://{address}/metrics")).await.unwrap();
    assert_eq!((plain.status, plain.text().as_str()), (400, "Client sent an HTTP request to an HTTPS server.\n"));
}

/// A statistics page over TLS.
async fn haproxy_with(own: &SelfSigned, port: &Port) -> HaProxy {
    HaProxy::start(&format!(
        "defaults\n    mode http\n    timeout connect 1s\n    timeout client 5s\n    timeout server 5s\n\
         frontend stats\n    bind 127.0.0.1:{} ssl crt {}\n    stats enable\n    stats uri /\n",
        port.number(),
        own.shown("both.pem")
    ))
    .await
    .unwrap()
}

#[tokio::test]
async fn a_renewed_certificate_costs_none_of_300_scrapes() {
    let (old, new) = (SelfSigned::new(), SelfSigned::new());
    let (old_port, new_port) = (Port::lease().unwrap(), Port::lease().unwrap());
    let (_old, _new) = (haproxy_with(&old, &old_port).await, haproxy_with(&new, &new_port).await);
    let forwarder = Forwarder::start(old_port.address()).await.unwrap();
    let trusted = old.path("trusted.pem");
    let trust = |certificate: &SelfSigned| std::fs::copy(certificate.path("cert.pem"), &trusted).unwrap();
    trust(&old);
    let exporter = Program::exporter("haproxy-exporter")
        .arg(format!("--haproxy.scrape-uri=https://{}/;csv", forwarder.address()))
        .arg(format!("--haproxy.ssl-ca-cert={}", trusted.display()))
        .arg("--haproxy.ssl-server-name=service.test")
        .start()
        .await
        .unwrap();
    for round in 0..300 {
        let is_old = round / 10 % 2 == 0;
        let (certificate, port) = if is_old { (&old, &old_port) } else { (&new, &new_port) };
        trust(certificate);
        forwarder.switch(port.address());
        let page = http::get(&exporter.url("/metrics")).await.unwrap();
        let page = Page::parse(&page.text()).unwrap();
        page.expect("haproxy_up", &[], 1.0).unwrap_or_else(|error| panic!("scrape {round}: {error}"));
    }
    // The file that is trusted counts, not the one at the start.
    trust(&old);
    let page = Page::parse(&http::get(&exporter.url("/metrics")).await.unwrap().text()).unwrap();
    page.expect("haproxy_up", &[], 0.0).unwrap();
}
