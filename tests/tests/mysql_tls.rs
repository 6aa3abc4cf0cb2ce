//! How `mysql-exporter` logs in: with TLS and without, with client certificates, and by each way in which the flavours
//! check a password.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::path::PathBuf;

use medassist_tests::database::Flavour;
use medassist_tests::launch::{self, Launch};
use medassist_tests::testbed::process::Directory;
use medassist_tests::testbed::scrape::documented;
use medassist_tests::testbed::{Database, Program, RunningProgram, mysql};

/// A certificate authority, and what it issued.
struct Authority(Directory);

/// A certificate and its key.
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let authority = Self(Directory::new("certificates").unwrap());
        authority.openssl("ca", &[]);
        authority
    }

    /// For a server that is called `db.test`, or for a client.
    fn issue(&self, name: &str) -> Identity {
        let ca = self.file("ca.pem");
        let ca_key = self.file("ca.key");
        let (ca, ca_key) = (ca.to_str().unwrap(), ca_key.to_str().unwrap());
        let extensions = ["-addext", "subjectAltName=DNS:db.test", "-addext", "basicConstraints=critical,CA:FALSE"];
        self.openssl(name, &[&["-CA", ca, "-CAkey", ca_key], extensions.as_slice()].concat());
        Identity { certificate: self.file(&format!("{name}.pem")), key: self.file(&format!("{name}.key")) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, name: &str, args: &[&str]) {
        let mut command = Launch::installed(&["openssl"])
            .unwrap()
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            // Of two authorities of one name a client can't say which it doesn't know.
            .args(["-subj", &format!("/O={}/CN={name}", self.0.path().file_name().unwrap().display())])
            .args([PathBuf::from("-out"), self.file(&format!("{name}.pem"))])
            .args([PathBuf::from("-keyout"), self.file(&format!("{name}.key"))])
            .args(args)
            .wrapped(&[]);
        launch::run(&mut command, "openssl", "").unwrap();
    }

    /// The line of `my.cnf` that trusts it.
    fn trust(&self) -> String {
        format!("ssl-ca={}\n", self.file("ca.pem").display())
    }
}

impl Identity {
    /// The lines of `my.cnf` that show it.
    fn show(&self) -> String {
        format!("ssl-cert={}\nssl-key={}\n", self.certificate.display(), self.key.display())
    }
}

/// A server with a certificate of this authority.
async fn server(flavour: Flavour, authority: &Authority) -> Database {
    let identity = authority.issue("server");
    let args = [
        format!("--ssl-ca={}", authority.file("ca.pem").display()),
        format!("--ssl-cert={}", identity.certificate.display()),
        format!("--ssl-key={}", identity.key.display()),
    ];
    mysql::server(flavour, &args.each_ref().map(String::as_str)).await.unwrap()
}

fn require(db: &Database, what: &str) {
    db.sql(&format!("ALTER USER exporter@'127.0.0.1' REQUIRE {what}")).unwrap();
}

/// With these sections as its `my.cnf`.
async fn start(db: &Database, cnf: &str, flags: &[&str]) -> RunningProgram {
    let path = db.directory().join("exporter.cnf");
    std::fs::write(&path, cnf).unwrap();
    Program::exporter("mysql-exporter")
        .arg(format!("--config.my-cnf={}", path.display()))
        .arg(format!("--mysqld.address={}", db.address()))
        .args(flags)
        .start()
        .await
        .unwrap()
}

/// Logs in with the password and these lines of `[client]`; if it isn't let in, the reason why.
async fn login(db: &Database, lines: &str, flags: &[&str]) -> Result<(), String> {
    let exporter = start(db, &format!("[client]\nuser=exporter\npassword=secret\n{lines}"), flags).await;
    let page = mysql::scrape(&exporter).await.unwrap();
    match page.value("mysql_up", &[]).unwrap() {
        1.0 => Ok(()),
        _ => {
            let report = mysql::health(&exporter).await.unwrap();
            documented(mysql::README, &report, "connect");
            Err(mysql::reason(&report, "connect"))
        }
    }
}

/// It isn't let in, and the reason has all of these words in it.
async fn refused(db: &Database, lines: &str, words: &[&str]) {
    let reason = login(db, lines, &[]).await.unwrap_err();
    assert!(words.iter().all(|word| reason.contains(word)), "{lines}: {reason}");
}

async fn the_servers_certificate_is_checked(flavour: Flavour) {
    let (authority, other) = (Authority::new(), Authority::new());
    let db = server(flavour, &authority).await;
    // Otherwise a login in the clear would do.
    require(&db, "SSL");
    refused(&db, "", &["refuses user \"exporter\"", "(REQUIRE)"]).await;
    let named = "tls-server-name=db.test\n";
    let trust = authority.trust();
    assert_eq!(login(&db, &format!("{trust}{named}"), &[]).await, Ok(()));

    // It is not called 127.0.0.1.
    refused(&db, &trust, &["not valid for name \"127.0.0.1\"", "tls-server-name"]).await;
    refused(&db, &format!("{trust}tls-server-name=other.test\n"), &["\"other.test\"", "tls-server-name"]).await;
    for wrong_authority in [other.trust(), "tls=true\n".to_owned()] {
        refused(&db, &format!("{wrong_authority}{named}"), &["no TLS with", "UnknownIssuer", "ssl-ca"]).await;
    }
    let no_certificate = format!("ssl-ca={}\n", authority.file("ca.key").display());
    refused(&db, &no_certificate, &["cannot begin TLS with", "ssl-ca"]).await;

    for unchecked in ["tls=skip-verify\n", "ssl-skip-verfication=true\n"] {
        assert_eq!(login(&db, &format!("{}{unchecked}", other.trust()), &[]).await, Ok(()));
    }
    assert_eq!(login(&db, &other.trust(), &["--tls.insecure-skip-verify"]).await, Ok(()));
}

#[tokio::test]
async fn the_certificate_of_mariadb_10_11_is_checked() {
    the_servers_certificate_is_checked(Flavour::MariaDb).await;
}

#[tokio::test]
async fn the_certificate_of_mariadb_11_8_is_checked() {
    the_servers_certificate_is_checked(Flavour::MariaDb11).await;
}

#[tokio::test]
async fn the_certificate_of_mysql_9_7_is_checked() {
    the_servers_certificate_is_checked(Flavour::MySql).await;
}

async fn a_client_certificate_is_shown(flavour: Flavour) {
    let (authority, other) = (Authority::new(), Authority::new());
    let db = server(flavour, &authority).await;
    require(&db, "X509");
    let checked = format!("{}tls-server-name=db.test\n", authority.trust());
    let (mine, strangers) = (authority.issue("client"), other.issue("client"));
    refused(&db, &checked, &["refuses user \"exporter\"", "(REQUIRE)"]).await;
    assert_eq!(login(&db, &format!("{checked}{}", mine.show()), &[]).await, Ok(()));
    refused(&db, &format!("{checked}{}", strangers.show()), &["no TLS with", "ssl-cert"]).await;
    let mixed = Identity { certificate: mine.certificate.clone(), key: strangers.key };
    refused(&db, &format!("{checked}{}", mixed.show()), &["cannot begin TLS with", "ssl-key"]).await;

    // Without the check of the server's certificate the own one is shown all the same.
    let unchecked = format!("{}{}", other.trust(), mine.show());
    assert_eq!(login(&db, &format!("{unchecked}tls=skip-verify\n"), &[]).await, Ok(()));
    assert_eq!(login(&db, &unchecked, &["--tls.insecure-skip-verify"]).await, Ok(()));
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_mariadb_10_11() {
    a_client_certificate_is_shown(Flavour::MariaDb).await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_mysql_9_7() {
    a_client_certificate_is_shown(Flavour::MySql).await;
}

/// A certificate lasts months and an exporter as long; who renews the files needs not know of it.
#[tokio::test]
async fn renewed_files_count_without_a_restart() {
    let (authority, other) = (Authority::new(), Authority::new());
    let db = server(Flavour::MariaDb, &authority).await;
    require(&db, "X509");
    let (right, wrong) = (authority.issue("client"), other.issue("client"));
    let own = Identity { certificate: other.file("own.pem"), key: other.file("own.key") };
    let trusted = other.file("trusted.pem");
    let copy = |from: &Identity, authority: &Authority| {
        std::fs::copy(&from.certificate, &own.certificate).unwrap();
        std::fs::copy(&from.key, &own.key).unwrap();
        std::fs::copy(authority.file("ca.pem"), &trusted).unwrap();
    };
    copy(&wrong, &authority);
    let tls = format!("{}ssl-ca={}\ntls-server-name=db.test\n", own.show(), trusted.display());
    let exporter = start(&db, &format!("[client]\nuser=exporter\npassword=secret\n{tls}"), &[]).await;
    for (identity, trusted, up) in
        [(&wrong, &authority, 0.0), (&right, &other, 0.0), (&right, &authority, 1.0), (&wrong, &other, 0.0)]
    {
        copy(identity, trusted);
        mysql::scrape(&exporter).await.unwrap().expect("mysql_up", &[], up).unwrap();
    }
    std::fs::remove_file(&own.key).unwrap();
    let report = mysql::health(&exporter).await.unwrap();
    documented(mysql::README, &report, "connect");
    let reason = mysql::reason(&report, "connect");
    assert!(reason.contains("cannot begin TLS with") && reason.contains("No such file"), "{reason}");
}

/// What a server makes for itself names nobody, and so nobody can be sure of it.
#[tokio::test]
async fn the_certificate_that_mysql_makes_for_itself() {
    let db = mysql::server(Flavour::MySql, &[]).await.unwrap();
    require(&db, "X509");
    let file = |name: &str| db.directory().join("data").join(name);
    let trust = format!("ssl-ca={}\n", file("ca.pem").display());
    let identity = Identity { certificate: file("client-cert.pem"), key: file("client-key.pem") };
    refused(&db, &trust, &["not valid for any names", "the server's certificate"]).await;
    assert_eq!(login(&db, &format!("{trust}{}tls=skip-verify\n", identity.show()), &[]).await, Ok(()));
}

#[tokio::test]
async fn a_server_without_tls_and_one_that_demands_it() {
    let db = mysql::server(Flavour::MariaDb, &[]).await.unwrap();
    refused(&db, "tls=true\n", &["no TLS with", "the server has no TLS"]).await;
    let db = mysql::server(Flavour::MySql, &["--require-secure-transport=ON"]).await.unwrap();
    refused(&db, "", &["no TLS with", "ER_SECURE_TRANSPORT_REQUIRED", "check ssl-mode"]).await;
    assert_eq!(login(&db, "tls=skip-verify\n", &[]).await, Ok(()));
}

/// With TLS, over the unix socket, and in the clear, where the server's RSA key hides the password.
#[tokio::test]
async fn caching_sha2_password_in_each_way_cold_and_warm() {
    let db = mysql::server(Flavour::MySql, &[]).await.unwrap();
    let local = mysql::default_grants(Flavour::MySql).unwrap().replace("127.0.0.1", "localhost");
    db.sql(&local).unwrap();
    let plugins = db.sql("SELECT DISTINCT plugin FROM mysql.user WHERE user = 'exporter'").unwrap();
    assert_eq!(plugins.trim(), "caching_sha2_password");
    let socket = format!("socket={}\n", db.socket().display());
    for way in ["tls=skip-verify\n", &socket, ""] {
        // It forgets whom it let in: the fast way in needs what it remembers.
        db.sql("FLUSH PRIVILEGES").unwrap();
        refused(&db, &format!("{way}password=wrong\n"), &["refuses user \"exporter\""]).await;
        for _cold_then_warm in 0..2 {
            assert_eq!(login(&db, way, &[]).await, Ok(()), "{way}");
        }
        refused(&db, &format!("{way}password=wrong\n"), &["refuses user \"exporter\""]).await;
    }
}

#[tokio::test]
async fn caching_sha2_password_over_plain_tcp_without_a_key_is_reported() {
    let no_key =
        ["--caching-sha2-password-auto-generate-rsa-keys=OFF", "--caching-sha2-password-private-key-path=none"];
    let db = mysql::server(Flavour::MySql, &no_key).await.unwrap();
    refused(&db, "", &["refuses user \"exporter\"", "TLS"]).await;
    assert_eq!(login(&db, "tls=skip-verify\n", &[]).await, Ok(()));
    // Now the server remembers.
    assert_eq!(login(&db, "", &[]).await, Ok(()));
}

#[tokio::test]
async fn other_ways_to_check_a_password() {
    for (flavour, user) in [
        (
            Flavour::MariaDb,
            "INSTALL SONAME 'auth_ed25519'; ALTER USER exporter@'127.0.0.1' IDENTIFIED VIA ed25519 USING PASSWORD('secret')",
        ),
        (
            Flavour::MariaDb11,
            "INSTALL SONAME 'auth_parsec'; ALTER USER exporter@'127.0.0.1' IDENTIFIED VIA parsec USING PASSWORD('secret')",
        ),
    ] {
        let db = mysql::server(flavour, &[]).await.unwrap();
        db.sql(user).unwrap();
        assert_eq!(login(&db, "", &[]).await, Ok(()), "{user}");
        refused(&db, "password=wrong\n", &["refuses user \"exporter\""]).await;
    }
    let db = mysql::server(Flavour::MySql, &[]).await.unwrap();
    db.sql(
        "DROP USER exporter@'127.0.0.1'; CREATE USER exporter@'127.0.0.1' IDENTIFIED WITH sha256_password BY 'secret'",
    )
    .unwrap();
    refused(&db, "", &["sha256_password", "use caching_sha2_password"]).await;
}

/// An option file for MySQL's own programs has the socket next to the TLS options.
#[tokio::test]
async fn a_unix_socket_needs_no_tls() {
    for flavour in [Flavour::MariaDb, Flavour::MySql] {
        let authority = Authority::new();
        let db = server(flavour, &authority).await;
        db.sql(&mysql::default_grants(flavour).unwrap().replace("127.0.0.1", "localhost")).unwrap();
        let lines =
            format!("socket={}\n{}{}", db.socket().display(), authority.trust(), authority.issue("client").show());
        assert_eq!(login(&db, &lines, &[]).await, Ok(()), "{flavour:?}");
    }
}

#[tokio::test]
async fn odd_passwords_from_my_cnf_and_from_a_file() {
    let db = mysql::server(Flavour::MariaDb, &[]).await.unwrap();
    let file = db.directory().join("password");
    // The password, and its spelling in my.cnf.
    for (password, written) in [
        (r#"a;b;c"d e"#, r#"a;b;c"d e"#),
        (r#"a#b;c"d e"#, r#""a#b;c\"d e" # mine"#),
        ("# begins and ends with it #", "'# begins and ends with it #'"),
        (" spaces around ", "' spaces around '"),
        (r#""quoted""#, r#"'"quoted"'"#),
        ("$5 = ${4}.50 \\n % é", "$5 = ${FOUR}.50 \\\\n % é"),
        ("${FOUR", "'${FOUR'"),
    ] {
        let escaped = password.replace('\\', "\\\\").replace('\'', "\\'");
        db.sql(&format!("SET PASSWORD FOR exporter@'127.0.0.1' = PASSWORD('{escaped}')")).unwrap();
        let cnf = db.directory().join("exporter.cnf");
        std::fs::write(&file, format!("{password}\n")).unwrap();
        for (lines, flag) in [
            (format!("[client]\nuser=exporter\npassword={written}\n"), None),
            ("[client]\nuser=exporter\n".to_owned(), Some(format!("--mysqld.password-file={}", file.display()))),
        ] {
            std::fs::write(&cnf, lines).unwrap();
            let exporter = Program::exporter("mysql-exporter")
                .arg(format!("--config.my-cnf={}", cnf.display()))
                .arg(format!("--mysqld.address={}", db.address()))
                .args(flag)
                .env("FOUR", "${4}")
                .start()
                .await
                .unwrap();
            let page = mysql::scrape(&exporter).await.unwrap();
            let report = mysql::health(&exporter).await.unwrap();
            page.expect("mysql_up", &[], 1.0).unwrap_or_else(|error| panic!("{password:?}: {error}: {report:#}"));
        }
    }
}

#[tokio::test]
async fn a_probe_has_the_tls_of_its_section() {
    let authority = Authority::new();
    let db = server(Flavour::MySql, &authority).await;
    require(&db, "X509");
    let account = "user=exporter\npassword=secret\n";
    let tls = format!("{}{}tls-server-name=db.test\n", authority.trust(), authority.issue("client").show());
    // `heir` has the rest from `tls`.
    let cnf =
        format!("[client]\n{account}[tls]\n{account}{tls}[tls.heir]\n[tls.misnamed]\ntls-server-name=other.test\n");
    let exporter = start(&db, &cnf, &[]).await;
    for (section, up) in [("client", 0.0), ("tls", 1.0), ("tls.heir", 1.0), ("tls.misnamed", 0.0)] {
        let path = format!("/probe?target={}&auth_module={section}", db.address());
        let page = mysql::get_page(&exporter, &path).await.unwrap();
        page.expect("mysql_up", &[], up).unwrap_or_else(|error| panic!("{section}: {error}"));
        assert_eq!(page.has("mysql_global_status_uptime"), up == 1.0, "{section}");
    }
}

/// Keys of `[client]`, and what they come to on a server whose certificate is of the authority and for `db.test`.
async fn each_ssl_mode(flavour: Flavour) {
    let (authority, other) = (Authority::new(), Authority::new());
    let db = server(flavour, &authority).await;
    // Otherwise a login in the clear would do.
    require(&db, "SSL");
    let (trust, strangers, named) = (authority.trust(), other.trust(), "tls-server-name=db.test\n");
    let directory = format!("ssl-capath={}\n", authority.file("").display());
    for lines in [
        "ssl-mode=PREFERRED\n".to_owned(),
        "ssl-mode=REQUIRED\n".to_owned(),
        "ssl\n".to_owned(),
        "tls-version=TLSv1.2\nssl-mode=REQUIRED\n".to_owned(),
        "tls-version=TLSv1.3\nssl-mode=REQUIRED\n".to_owned(),
        format!("ssl-mode=REQUIRED\n{trust}"),
        format!("ssl-mode=VERIFY_CA\n{trust}"),
        format!("ssl-mode=VERIFY_CA\n{directory}"),
        format!("{trust}skip-ssl-verify-server-cert\n"),
        format!("ssl-mode=VERIFY_IDENTITY\n{trust}{named}"),
        format!("ssl-mode=VERIFY_IDENTITY\n{directory}{named}"),
        format!("ssl-verify-server-cert\n{trust}{named}"),
    ] {
        assert_eq!(login(&db, &lines, &[]).await, Ok(()), "{lines}");
    }
    for (lines, words) in [
        ("ssl-mode=DISABLED\n".to_owned(), "refuses user \"exporter\""),
        (format!("ssl-mode=REQUIRED\n{strangers}"), "UnknownIssuer"),
        (format!("ssl-mode=VERIFY_CA\n{strangers}"), "UnknownIssuer"),
        ("ssl-mode=VERIFY_CA\n".to_owned(), "UnknownIssuer"),
        (format!("ssl-mode=VERIFY_IDENTITY\n{strangers}{named}"), "UnknownIssuer"),
        (format!("ssl-mode=VERIFY_IDENTITY\n{trust}"), "not valid for name \"127.0.0.1\""),
        (format!("ssl-verify-server-cert\n{trust}"), "not valid for name \"127.0.0.1\""),
    ] {
        refused(&db, &lines, &[words]).await;
    }
}

#[tokio::test]
async fn each_ssl_mode_with_mariadb_10_11() {
    each_ssl_mode(Flavour::MariaDb).await;
}

#[tokio::test]
async fn each_ssl_mode_with_mariadb_11_8() {
    each_ssl_mode(Flavour::MariaDb11).await;
}

#[tokio::test]
async fn each_ssl_mode_with_mysql_9_7() {
    each_ssl_mode(Flavour::MySql).await;
}

#[tokio::test]
async fn each_ssl_mode_with_a_server_without_tls() {
    let db = mysql::server(Flavour::MariaDb, &[]).await.unwrap();
    for mode in ["DISABLED", "PREFERRED"] {
        assert_eq!(login(&db, &format!("ssl-mode={mode}\n"), &[]).await, Ok(()), "{mode}");
    }
    for mode in ["REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"] {
        refused(&db, &format!("ssl-mode={mode}\n"), &["no TLS with", "the server has no TLS"]).await;
    }
}

/// The certificate and the authority change every tenth scrape; none of them fails.
async fn certificates_are_renewed_on_the_server(flavour: Flavour, reload: &str) {
    let authorities = [Authority::new(), Authority::new()];
    let identities = authorities.each_ref().map(|authority| authority.issue("server"));
    let files = Authority::new();
    let [ca, certificate, key] = ["used-ca.pem", "used.pem", "used.key"].map(|name| files.file(name));
    let renew = |number: usize| {
        std::fs::copy(authorities[number].file("ca.pem"), &ca).unwrap();
        std::fs::copy(&identities[number].certificate, &certificate).unwrap();
        std::fs::copy(&identities[number].key, &key).unwrap();
    };
    renew(0);
    let args = [("ca", &ca), ("cert", &certificate), ("key", &key)];
    let args = args.map(|(name, path)| format!("--ssl-{name}={}", path.display()));
    let db = mysql::server(flavour, &args.each_ref().map(String::as_str)).await.unwrap();
    require(&db, "SSL");
    let cnf = format!(
        "[client]\nuser=exporter\npassword=secret\nssl-mode=VERIFY_IDENTITY\nssl-ca={}\ntls-server-name=db.test\n",
        ca.display()
    );
    let exporter = start(&db, &cnf, &[]).await;
    for number in 0..300 {
        if number % 10 == 0 {
            renew(number / 10 % 2);
            db.sql(reload).unwrap();
        }
        let page = mysql::scrape(&exporter).await.unwrap();
        assert_eq!(page.expect("mysql_up", &[], 1.0).map_err(|error| error.to_string()), Ok(()), "scrape {number}");
        assert!(mysql::failed(&page).is_empty(), "scrape {number}: {:?}", mysql::failed(&page));
    }
}

#[tokio::test]
async fn certificates_are_renewed_on_mariadb() {
    certificates_are_renewed_on_the_server(Flavour::MariaDb, "FLUSH SSL").await;
}

#[tokio::test]
async fn certificates_are_renewed_on_mysql() {
    certificates_are_renewed_on_the_server(Flavour::MySql, "ALTER INSTANCE RELOAD TLS").await;
}

/// As `openssl req -x509` makes it: an authority that is a server's certificate.
#[tokio::test]
async fn a_self_signed_certificate_is_its_own_authority() {
    let (own, other) = (Authority::new(), Authority::new());
    own.openssl("server", &["-addext", "subjectAltName=DNS:db.test"]);
    other.openssl("server", &["-addext", "subjectAltName=DNS:db.test"]);
    let ca = |authority: &Authority| format!("ssl-ca={}\n", authority.file("server.pem").display());
    for flavour in [Flavour::MariaDb, Flavour::MySql] {
        let args = [("cert", "server.pem"), ("key", "server.key")]
            .map(|(name, file)| format!("--ssl-{name}={}", own.file(file).display()));
        let db = mysql::server(flavour, &args.each_ref().map(String::as_str)).await.unwrap();
        require(&db, "SSL");
        for lines in ["ssl-mode=VERIFY_CA\n", "ssl-mode=VERIFY_IDENTITY\ntls-server-name=db.test\n"] {
            assert_eq!(login(&db, &format!("{}{lines}", ca(&own)), &[]).await, Ok(()), "{flavour:?}: {lines}");
            refused(&db, &format!("{}{lines}", ca(&other)), &["no TLS with"]).await;
        }
        let misnamed = format!("{}ssl-mode=VERIFY_IDENTITY\ntls-server-name=other.test\n", ca(&own));
        refused(&db, &misnamed, &["not valid for name \"other.test\""]).await;
    }
}
